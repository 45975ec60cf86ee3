"""Time linear probes against scikit-learn's RidgeClassifierCV, one problem after the other.

    python benchmarks/probes.py [--device cuda] [--rounds 5] [--problems 100]

Each problem has 1,000 training images, 384 features, 100 classes and 10 strengths. Its features are float32, and
their spread falls with the number of the direction, as that of networks does: as j^-0.75, where float32 with
refinement suffices, or as j^-1.5, where all is done again in float64. scikit-learn gets the same features in
float64, so that it need not convert them. Two ways of choosing the strength are compared:

- leave-one-out, exact, by squared error: scikit-learn's default (cv=None);
- held-out data, by accuracy: scikit-learn with cv=PredefinedSplit of the same images, and also with its usual
  cv=5, which fits five times as often.

The hardware limit is the matrix products without which there is no ridge regression: the scatter of each problem,
in float32. Errors are relative to the largest weight; accuracies are on 1,000 other images.
"""

import numpy as np
import torch
from side_by_side import arguments, report, row, side_by_side
from sklearn.linear_model import RidgeClassifierCV
from sklearn.model_selection import PredefinedSplit

from seelike.probes import RidgeProbe
from seelike.probes.ridge import held_out_part

IMAGES, FEATURES, CLASSES = 1000, 384, 100
ALPHAS = tuple(10.0**power for power in range(-3, 7))
SHARE = 0.2


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


def compare(name: str, decay: float, options, held_out: float | None) -> list[dict]:
    """Time one way of choosing the strength, and see that both find the same."""
    train, test, labels = make_problems(options.problems, decay)
    arrays, numbers = train.double().numpy(), labels.numpy()
    features = train.to(options.device)
    # Of equal accuracies scikit-learn takes the first, seelike the strongest.
    alphas = ALPHAS if held_out is None else ALPHAS[::-1]
    cv = None
    if held_out is not None:
        cv = PredefinedSplit(np.where(held_out_part(labels, held_out, seed=0), 0, -1))

    def peers(cv=cv) -> list[RidgeClassifierCV]:
        return [RidgeClassifierCV(alphas=alphas, cv=cv).fit(x, numbers) for x in arrays]

    def ours() -> RidgeProbe:
        return RidgeProbe(alphas, held_out=held_out).fit(features, labels)

    def products() -> torch.Tensor:
        return features.mT @ features

    theirs, probe = peers(), ours()
    coef, strength = probe.coef_.cpu().numpy(), probe.alpha_.cpu().numpy()
    same = np.isclose(strength, [peer.alpha_ for peer in theirs])
    errors = [abs(w - peer.coef_).max() / abs(peer.coef_).max() for w, peer in zip(coef, theirs, strict=True)]
    accuracies = [peer.score(x, numbers) for peer, x in zip(theirs, test.double().numpy(), strict=True)]
    numbers_found = {
        "same_strength": f"{same.sum()} of {len(same)}",
        "largest_error": float(max(errors)),
        "largest_difference_of_accuracy": float(
            abs(probe.score(test.to(options.device), labels) - accuracies).max()
        ),
        "accuracy": float(np.mean(accuracies)),
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
    report("probes", rows, options)


if __name__ == "__main__":
    main()
