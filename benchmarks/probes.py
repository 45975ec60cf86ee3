"""Time linear probes against scikit-learn's RidgeClassifierCV, one problem after the other.

    python benchmarks/probes.py [--device cuda] [--rounds 5] [--problems 100]

Each problem has 1,000 training images, 384 features, 100 classes and 10 strengths. Its features are float32, and
their spread falls with the number of the direction, as that of networks does: as j^-0.75 or as j^-1.5. scikit-
learn gets the same features in float64, so that it need not convert them. Two ways of choosing the strength are
compared:

- leave-one-out, exact: scikit-learn's default (cv=None), which goes by squared error;
- held-out data, as the pages do: half of the ten images of each class; scikit-learn, by accuracy, with
  cv=PredefinedSplit of the same images, and also with its usual cv=5, which fits five times as often.

Accuracies are on 1,000 other images, and so are the points lost to the best of the ten strengths in hindsight,
in the mean over problems and in the worst. The hardware limit is the matrix products without which there is no
ridge regression: the scatter of each problem, in float32. Errors of weights are relative to the largest weight,
against scikit-learn at the strength that seelike chose.
"""

import numpy as np
import torch
from side_by_side import arguments, report, row, side_by_side
from sklearn.linear_model import RidgeClassifier, RidgeClassifierCV
from sklearn.model_selection import PredefinedSplit

from seelike.probes import RidgeProbe, held_out_part

IMAGES, FEATURES, CLASSES = 1000, 384, 100
ALPHAS = tuple(10.0**power for power in range(-3, 7))
SHARE = 0.5


def make_problems(number: int, decay: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Make training features, test features `[problems, images, features]` and the labels of both."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(IMAGES) % CLASSES
    spread = 10 * torch.arange(1, FEATURES + 1) ** -decay
    train, test = torch.empty(2, number, IMAGES, FEATURES)
    for i in range(number):
        rotation, _ = torch.linalg.qr(torch.randn(FEATURES, FEATURES, generator=generator))
        centres = 0.3 * spread * torch.randn(CLASSES, FEATURES, generator=generator)
        for features in (train, test):
            noise = torch.randn(IMAGES, FEATURES, generator=generator) * spread
            features[i] = (noise + centres[labels]) @ rotation + 5
    return train, test, labels


def lost(found: np.ndarray, best: np.ndarray) -> str:
    """Say how many points of accuracy are lost to the best strength in hindsight: in the mean and at worst."""
    points = 100 * (best - found)
    return f"{points.mean():.1f}, {points.max():.1f}"


def compare(name: str, decay: float, options, held_out: float | None) -> list[dict]:
    """Time one way of choosing the strength, and see how good both are."""
    train, test, labels = make_problems(options.problems, decay)
    arrays, numbers = train.double().numpy(), labels.numpy()
    features = train.to(options.device)
    cv = None
    if held_out is not None:
        cv = PredefinedSplit(np.where(held_out_part(labels, held_out, seed=0), 0, -1))

    def peers(cv=cv) -> list[RidgeClassifierCV]:
        return [RidgeClassifierCV(alphas=ALPHAS, cv=cv).fit(x, numbers) for x in arrays]

    def ours() -> RidgeProbe:
        return RidgeProbe(ALPHAS, held_out=held_out).fit(features, labels)

    def products() -> torch.Tensor:
        return features.mT @ features

    theirs, probe = peers(), ours()
    same = [RidgeClassifier(float(alpha)).fit(x, numbers) for alpha, x in zip(probe.alpha_, arrays, strict=True)]
    coef = probe.coef_.cpu().numpy()
    errors = [abs(w - peer.coef_).max() / abs(peer.coef_).max() for w, peer in zip(coef, same, strict=True)]
    others = test.to(options.device)
    best = np.max([RidgeProbe([alpha]).fit(features, labels).score(others, labels) for alpha in ALPHAS], axis=0)
    accuracies = np.array([peer.score(x, numbers) for peer, x in zip(theirs, test.double().numpy(), strict=True)])
    found = probe.score(others, labels)
    numbers_found = {
        "largest_error": float(max(errors)),
        "accuracy": float(np.mean(found)),
        "accuracy_of_scikit_learn": float(np.mean(accuracies)),
        "points_lost": lost(found, best),
        "points_lost_by_scikit_learn": lost(accuracies, best),
    }
    setting = (
        f"{options.problems} problems, {IMAGES} x {FEATURES}, {CLASSES} classes, {len(ALPHAS)} strengths, {name}"
    )
    works = {"seelike": ours, "scikit-learn": peers, "products": products}
    if held_out is not None:
        works["cv=5"] = lambda: peers(cv=5)
    seconds = side_by_side(works, options.rounds, options.device)
    how = "leave-one-out" if held_out is None else "held out"
    peer = "scikit-learn" if held_out is None else "scikit-learn, same split"
    asked = "<= 0.1" if decay < 1 and held_out is None else ""
    rows = [
        row(f"probes, {how}", setting, ("seelike", seconds["seelike"]), (peer, seconds["scikit-learn"]), asked,
            **numbers_found),
        row(f"probes, {how}", setting, ("seelike", seconds["seelike"]), ("scatter", seconds["products"])),
    ]  # fmt: skip
    if held_out is not None:
        rows.insert(
            1,
            row(
                f"probes, {how}",
                setting,
                ("seelike", seconds["seelike"]),
                ("scikit-learn, cv=5", seconds["cv=5"]),
                "<= 0.1",
            ),
        )
    return rows


def main() -> None:
    """Measure, print and write the table."""
    parser = arguments(__doc__)
    parser.add_argument("--problems", type=int, default=100, help="how many problems (100)")
    options = parser.parse_args()
    rows = compare("spread j^-0.75", 0.75, options, None)
    rows += compare("spread j^-1.5", 1.5, options, None)
    rows += compare("spread j^-0.75", 0.75, options, SHARE)
    rows += compare("spread j^-1.5", 1.5, options, SHARE)
    report("probes", rows, options)


if __name__ == "__main__":
    main()
