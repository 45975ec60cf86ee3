"""Measure every quantity against its float64 formula, and write the largest errors.

    python benchmarks/accuracy.py [--device cuda] [--rounds 5]

The formulas are those that the tests hold the library to, in tests/references*.py: NumPy, float64, slow. Each
round draws new random input, in each dtype and in odd shapes. The reference gets the very same rounded numbers:
what rounding the input itself does is no error of the measurement. The table is benchmarks/results/accuracy.json.
"""

import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from side_by_side import RESULTS, arguments, surroundings
from torch import nn

import seelike.receptive_field
from seelike.attention import AttentionDistance
from seelike.cka import cka
from seelike.localization import TokenPatchCKA
from seelike.models import layers, load
from seelike.probes.ridge import ridge_path
from seelike.skip import SkipRatio

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import references
import references_attention
import references_probes
import references_receptive_field
import references_tokens

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)
Draw = Callable[..., torch.Tensor]


def relative(measured: torch.Tensor | np.ndarray | float, expected: np.ndarray | float) -> float:
    """Largest difference over the largest expected number."""
    measured, expected = np.asarray(torch.as_tensor(measured).double().cpu()), np.asarray(expected)
    return float(np.abs(measured - expected).max() / np.abs(expected).max())


def absolute(measured: torch.Tensor | float, expected: np.ndarray | float) -> float:
    """Largest difference."""
    return float(np.abs(np.asarray(torch.as_tensor(measured).double().cpu()) - np.asarray(expected)).max())


def numpy(x: torch.Tensor) -> np.ndarray:
    """Give the very same numbers in float64."""
    return x.double().cpu().numpy()


def cka_errors(normal: Draw) -> Iterator[tuple[str, float]]:
    """CKA of related layers, with a mean of 0 and of 1,000 times the spread."""
    for n, p, q in ((31, 3200, 70), (64, 5001, 333)):
        shared = normal(n, 3, dtype=torch.float32)
        x = shared @ normal(3, p, dtype=torch.float32) + normal(n, p, dtype=torch.float32)
        y = (shared @ normal(3, q, dtype=torch.float32)).relu() + normal(n, q, dtype=torch.float32)
        for name, mean in (("CKA", 0.0), ("CKA, mean 1,000 times the spread", 1000.0)):
            a, b = ((features + mean).to(normal(1).dtype) for features in (x, y))
            yield name, absolute(cka(a, b), references.cka(numpy(a), numpy(b)))


def attention_errors(normal: Draw) -> Iterator[tuple[str, float]]:
    """Attention distance from queries and keys, relative."""
    grid, patch_size, prefix = (5, 3), (16, 16), 2
    q, k = (normal(3, 2, prefix + 15, 13) for _ in range(2))
    attention = references_attention.softmax_attention(numpy(q), numpy(k), 13**-0.5)
    heads = AttentionDistance(grid, patch_size, prefix)
    heads.update_qk(q, k, 13**-0.5)
    expected, _, mass = references_attention.by_image(attention, grid, patch_size, prefix)
    yield "attention distance", relative(heads.compute().distance, expected.mean(axis=0))
    yield "attention to CLS and registers", relative(heads.compute().prefix_mass, mass.mean(axis=0))


def skip_errors(normal: Draw) -> Iterator[tuple[str, float]]:
    """Skip ratio and cosines."""
    skip, branch = 3 * normal(5, 7, 33), normal(5, 7, 33)
    ratios = SkipRatio(num_prefix_tokens=1)
    ratios.update(skip, branch)
    measured = ratios.compute().tokens
    for name, (mean, _) in references_tokens.skip_statistics(numpy(skip), numpy(branch)).items():
        error = absolute if name.startswith("cosine") else relative
        yield f"skip: {name.replace('_', ' ')}", error(getattr(measured, name), mean)


def localization_errors(normal: Draw) -> Iterator[tuple[str, float]]:
    """CKA of tokens with patches."""
    grid = (2, 3)
    similarity = TokenPatchCKA(grid)
    minibatches = []
    for n in (9, 8):
        images = normal(n, 3, 8, 12)
        patches = images.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 1, 4, 5).reshape(n, 6, -1)
        tokens = torch.cat((patches, normal(n, 6, 20)), dim=2)
        similarity.update(images, tokens)
        minibatches.append((numpy(images), numpy(tokens)))
    yield (
        "CKA of tokens with patches",
        absolute(similarity.compute(), references_tokens.token_patch_cka(minibatches, grid)),
    )


def receptive_field_errors(normal: Draw) -> Iterator[tuple[str, float]]:
    """Receptive fields of a network of the book, against one backward pass for each image and channel."""
    if normal(1).dtype in (torch.bfloat16, torch.float16):
        return  # The derivative itself is then that of a rounded network: there is no formula to compare with.
    model = load("tiny/vit_7x7").to(normal(1).device, normal(1).dtype)
    images = normal(2, 1, 28, 28)
    chosen = layers(model, ["block 2/mlp", "block 2", "block 3/attention"])
    fields = seelike.receptive_field.effective_receptive_field(model, chosen, images)
    exact: nn.Module = load("tiny/vit_7x7").double()
    for layer in chosen:
        expected = references_receptive_field.field_by_loop(exact, layer, images.double().cpu(), 1, (7, 7))
        yield "receptive field", relative(fields.after[layer.name], expected)


def probe_errors(normal: Draw) -> Iterator[tuple[str, float]]:
    """Weights of a ridge regression, on the side of the images and on that of the features."""
    for n, d in ((40, 17), (20, 51)):
        x = normal(n, d)
        labels = torch.arange(n, device=x.device) % 3
        for strength in (0.1, 10.0):
            fitted = ridge_path(x, labels, 3).at(torch.tensor(strength))
            weights, _ = references_probes.ridge(numpy(x), labels.cpu().numpy(), 3, strength)
            yield "probe: weights", relative(fitted.weights, weights)


MEASUREMENTS = (
    cka_errors,
    attention_errors,
    receptive_field_errors,
    skip_errors,
    localization_errors,
    probe_errors,
)


def main() -> None:
    """Measure, print and write the table."""
    options = arguments(__doc__).parse_args()
    largest: dict[str, dict[str, float]] = {}
    for dtype in DTYPES:
        name = str(dtype).removeprefix("torch.")
        for round_ in range(options.rounds):
            generator = torch.Generator().manual_seed(round_)

            def normal(
                *shape: int, dtype: torch.dtype = dtype, generator: torch.Generator = generator
            ) -> torch.Tensor:
                values = torch.randn(*shape, generator=generator, dtype=torch.float64)
                return values.to(dtype).to(options.device)

            for measurement in MEASUREMENTS:
                for quantity, error in measurement(normal):
                    errors = largest.setdefault(quantity, {})
                    errors[name] = max(errors.get(name, 0.0), error)
    result = {"largest_errors": largest, **surroundings("accuracy", options)}
    (RESULTS / "accuracy.json").write_text(json.dumps(result, indent=2) + "\n")
    for quantity, errors in largest.items():
        print(f"{quantity}: " + ", ".join(f"{name} {error:.0e}" for name, error in errors.items()))


if __name__ == "__main__":
    main()
