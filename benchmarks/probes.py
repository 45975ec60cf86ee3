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

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from errors import Draw, formulas, numpy, relative
from expected import forward
from few_shot_baseline import fit_few_shot_probe
from hardware import OF_EIGENDECOMPOSITION
from scale import SMALLER_VIT, Count, Growth, Limit, Row, Size, Works, beside_forward_passes, evenly
from side_by_side import arguments, report, row, side_by_side
from sklearn.linear_model import RidgeClassifier, RidgeClassifierCV
from sklearn.model_selection import PredefinedSplit
from torch import Tensor, nn

from seelike.data import ImageSet
from seelike.models import layers
from seelike.probes import STRENGTHS, RidgeProbe, held_out_part, probe_layers
from seelike.probes.ridge import ridge_path
from seelike.sections.linear_probes import HELD_OUT

IMAGES, FEATURES, CLASSES = 1000, 384, 100
ALPHAS = tuple(10.0**power for power in range(-3, 7))
SHARE = 0.5
FEW_SHOT_STRENGTH = 2.0**10


def errors(normal: Draw) -> Iterator[tuple[str, float]]:
    """Weights of a ridge regression, on the side of the images and on that of the features."""
    for n, d in ((40, 17), (20, 51)):
        x = normal(n, d)
        labels = torch.arange(n, device=x.device) % 3
        for strength in (0.1, 10.0):
            fitted = ridge_path(x, labels, 3).at(torch.tensor(strength))
            weights, _ = formulas("references_probes").ridge(numpy(x), labels.cpu().numpy(), 3, strength)
            yield "probe: weights", relative(fitted.weights, weights)


def accuracy(model: nn.Module, images: ImageSet) -> float:
    """Figures 11, 13, D.4 and F.1 to F.3: probes on each token of each block, trained on half of the images."""
    half = len(images) // 2
    train, test = images.select(np.arange(half)), images.select(np.arange(half, 2 * half))
    probes = probe_layers(model, train, test, tokens=["each", "mean"], held_out=test)
    return float(np.mean([probe.accuracy.double().mean() for probe in probes]))


STATISTICS = {"probes": accuracy}


def of_probes(size: Size, models: Sequence[nn.Module], images: Tensor) -> Works:
    """Figures 11 and D.4: a probe of each token of each block."""
    (model,) = models
    labels = torch.arange(len(images)) % size.classes
    blocks = [layer.name for layer in evenly(layers(model, kinds=["block"]), size.layers)]

    def ours(n: int) -> None:
        train, test = slice(0, n - size.test), slice(n - size.test, n)
        probe_layers(
            model,
            (images[train], labels[train]),
            (images[test], labels[test]),
            tokens="each",
            layers=blocks,
            held_out=HELD_OUT,
            batch_size=size.passes,
            memory=size.memory,
        )

    read = f"{len(blocks)} blocks, each token, {size.classes} classes, {size.test} images to test"
    return beside_forward_passes(ours, size, models, images, read=read)


def counts(size: Size, models: Sequence[nn.Module], side: int) -> tuple[Count, Count]:
    """Sums over images and eigendecompositions in float64, and the outputs of all strengths."""
    (model,) = models
    d, tokens = model.embed_dim, model.patch_embed.num_patches + model.num_prefix_tokens
    problems = tokens * (size.layers or len(model.blocks))
    train = size.images - size.test
    held_out = HELD_OUT * train
    # Factorised for the part that is not held out, and then for all.
    factorised = 2 * (OF_EIGENDECOMPOSITION * d**3 + 2 * d**2 * size.classes) + 2 * d**2 * size.classes
    outputs = held_out * (2 * d**2 + len(STRENGTHS) * 2 * d * size.classes) + size.test * 2 * d * size.classes
    return (
        forward(size, models, side),
        {"float32": problems * outputs, "float64": problems * (factorised + 2 * train * d**2)},
    )


def of_probe_peers(size: Size, models: Sequence[nn.Module], images: Tensor) -> Works:
    """Probes of one strength on each token of the last block, against big_vision's, one token after the other."""
    (model,) = models
    labels = torch.arange(len(images), device=images.device) % size.classes
    with torch.no_grad():
        features = torch.cat([model.forward_features(batch) for batch in images.split(size.passes)])
    features = features[:, : size.layers].movedim(1, 0).float().contiguous()

    def peer(n: int) -> None:
        for token in features:
            fit_few_shot_probe(token[:n], labels[:n], size.classes, FEW_SHOT_STRENGTH)

    return Works(
        lambda n: RidgeProbe(alphas=[FEW_SHOT_STRENGTH]).fit(features[:, :n], labels[:n]),
        peer,
        "big_vision's few-shot probe",
        read=f"{len(features)} tokens, {size.classes} classes, one strength",
    )


ROWS = {
    "figure_11": Row(
        "Figures 11 and D.4, ViT-B/16",
        of_probes,
        Size(("ViT-B/16",), 10_500, 256, classes=1000, test=500, memory="110GB"),
        Size((SMALLER_VIT,), 320, 32, classes=20, test=40, memory="4GB"),
        Limit(ratio=1.5),
        counts=counts,
    ),
    "probe_peers": Row(
        "Probes beside big_vision's, ViT-B/16",
        of_probe_peers,
        Size(("ViT-B/16",), 10_000, 256, layers=16, classes=1000),
        Size((SMALLER_VIT,), 320, 32, layers=16, classes=20),
        precisions=("float32",),
    ),
}
GROWTH = Growth("probes", of_probes, batch="passes")


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
    differences = [relative(w, peer.coef_) for w, peer in zip(coef, same, strict=True)]
    others = test.to(options.device)
    best = np.max([RidgeProbe([alpha]).fit(features, labels).score(others, labels) for alpha in ALPHAS], axis=0)
    accuracies = np.array([peer.score(x, numbers) for peer, x in zip(theirs, test.double().numpy(), strict=True)])
    found = probe.score(others, labels)
    numbers_found = {
        "largest_error": max(differences),
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
