"""Measure every quantity against its float64 formula, and write the largest errors.

    python benchmarks/accuracy.py [--device cuda] [--rounds 5]

The formulas are those that the tests hold the library to, in tests/references*.py: NumPy, float64, slow. What is
drawn is in the function `errors` of each measurement's benchmark. Each round draws new random input, in each dtype
and in odd shapes. The reference gets the very same rounded numbers: what rounding the input itself does is no
error of the measurement. The table is benchmarks/results/accuracy.json.
"""

import json

import torch
from registry import MEASUREMENTS
from side_by_side import RESULTS, arguments, surroundings

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


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
                for quantity, error in measurement.errors(normal):
                    errors = largest.setdefault(quantity, {})
                    errors[name] = max(errors.get(name, 0.0), error)
    result = {"largest_errors": largest, **surroundings("accuracy", options)}
    (RESULTS / "accuracy.json").write_text(json.dumps(result, indent=2) + "\n")
    for quantity, errors in largest.items():
        print(f"{quantity}: " + ", ".join(f"{name} {error:.0e}" for name, error in errors.items()))


if __name__ == "__main__":
    main()
