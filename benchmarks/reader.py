"""Time the reader of images against PyTorch's DataLoader, in images a second.

    python benchmarks/reader.py [--images 512] [--rounds 5]

JPEGs of 500 x 375 pixels, the usual size of ImageNet's, made on the fly: smooth random pictures with a little
noise, some 50 kB each. They are prepared for ViT-Tiny at 224 pixels, in batches of 64, and not used. The peer is
`torch.utils.data.DataLoader` with as many worker processes as the reader has threads, on the same images and with
the network's own preprocessing, image by image. Both give the same numbers to the last bit, which is checked. The
peer's processes are started before the time is taken, and prepare two batches ahead each; the reader starts its
threads anew in each round, and prepares one batch ahead.
"""

import tempfile
from pathlib import Path

import numpy as np
import timm
import torch
from PIL import Image
from side_by_side import arguments, report, row, side_by_side
from torch.utils.data import DataLoader, Dataset

from seelike import data
from seelike.data import ImageSet
from seelike.models import preprocessing
from seelike.streaming import Images
from seelike.streaming.images import workers

BATCH = 64


class Prepared(Dataset[torch.Tensor]):
    """What the peer reads: each image as the network's preprocessing gives it."""

    def __init__(self, images: ImageSet, model: torch.nn.Module) -> None:
        """Remember both."""
        self.images, self.prepare = images, preprocessing(model)

    def __len__(self) -> int:
        """Count the images."""
        return len(self.images)

    def __getitem__(self, i: int) -> torch.Tensor:
        """Prepare one."""
        return self.prepare(self.images[i])


def photographs(folder: Path, number: int) -> ImageSet:
    """Write smooth random pictures, with a little noise as cameras have it."""
    random = np.random.default_rng(0)
    for i in range(number):
        coarse = Image.fromarray(random.integers(0, 256, (12, 16, 3), dtype=np.uint8))
        smooth = np.asarray(coarse.resize((500, 375), Image.Resampling.BICUBIC))
        noisy = smooth + random.normal(0, 6, smooth.shape)
        Image.fromarray(noisy.clip(0, 255).astype(np.uint8)).save(folder / f"{i:05}.jpg", quality=90)
    return data.load(folder)


def main() -> None:
    """Measure, print and write the table."""
    parser = arguments(__doc__)
    parser.add_argument("--images", type=int, default=512, help="how many images there are (512)")
    options = parser.parse_args()
    model = timm.create_model("vit_tiny_patch16_224").eval()
    parts = [slice(start, start + BATCH) for start in range(0, options.images, BATCH)]
    with tempfile.TemporaryDirectory() as folder:
        images = photographs(Path(folder), options.images)
        reader = Images(images, model)
        loader = DataLoader(
            Prepared(images, model), batch_size=BATCH, num_workers=workers(), persistent_workers=True
        )
        for ours, theirs in zip(reader.batches(parts), loader, strict=True):
            assert torch.equal(ours, theirs)

        def read() -> None:
            for _ in reader.batches(parts):
                pass

        def load() -> None:
            for _ in loader:
                pass

        seconds = side_by_side({"reader": read, "loader": load}, options.rounds)
    rates = {name: [options.images / each for each in times] for name, times in seconds.items()}
    rows = [
        row(
            "images",
            f"JPEGs of 500 x 375 pixels, {workers()} workers",
            ("seelike.streaming.Images", rates["reader"]),
            ("torch.utils.data.DataLoader", rates["loader"]),
            asked=">= 0.95",
            unit="images a second",
        )
    ]
    report("reader", rows, options)


if __name__ == "__main__":
    main()
