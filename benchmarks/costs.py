"""Estimate what each page costs at `colab` and `paper`, by counting operations, images and bytes.

    python benchmarks/costs.py

Nothing is run here. benchmarks/results/architectures.json says how many operations each measurement takes of each
architecture; below stands what each page measures. Three things are added up: operations, at a share of the GPU's
peak rate that such work reaches; preparing images on the CPU, once for each network and draw; and a start. The
result is benchmarks/results/costs.md, which the book shows, with the architectures' own table. It is an estimate:
only a run on the GPU measures.
"""

import functools
import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import timm
import torch
from architectures import STATISTICS
from hardware import Operations
from scale import ARCHITECTURES
from side_by_side import RESULTS, between_marks, si
from timm.data import resolve_data_config

from seelike.models import PRECISIONS
from seelike.profiles import LISTS, Profile, profile_of

DRAWS = None  # number_of_images in each repeat
VITS, CNNS, MIXERS, LATER = "vits", "cnns", "mixers", "later"


@dataclass(frozen=True)
class Work:
    """One measurement of a page.

    Attributes:
        measurement: As benchmarks/architectures.py calls it.
        roles: Whose networks.
        images: How many images in all; None for `number_of_images` in each repeat.
        times: How often each image counts: channels, or settings.
        first: Take only the first few networks of each role.
    """

    measurement: str
    roles: tuple[str, ...]
    images: int | None = DRAWS
    times: float = 1
    first: int | None = None


# Small things are left out, and so are the tiny networks. tests/test_benchmarks.py holds this to the notebooks.
PAGES = {
    "03_background": [Work("forward passes", (VITS,), 512, first=1)],
    "04_representation_structure": [Work("CKA of all layers", (VITS, CNNS))],
    "05_local_global": [
        # The ViTs once more before training, and so the CNN of Figure 5.
        Work("attention distance", (VITS, "much_and_little_data")),
        Work("attention distance", (VITS,)),
        Work("CKA of heads", (VITS,), times=2),
        Work("receptive fields", (VITS, CNNS), 32, times=8),
    ],
    "06_skip_connections": [Work("skip ratios", (VITS, CNNS))],
    "07_spatial_localization": [
        Work("localization", (VITS, CNNS, "cls_and_gap"), times=2),
        Work("probes", (CNNS, "cls_and_gap"), 0),
    ],
    "08_scale_and_transfer": [Work("probes", (VITS, CNNS, "much_and_little_data"), 0)],
    # Two pictures, and for each of some 50 patches a backward pass of four channels through half of the blocks.
    "patch_explorer": [Work("forward passes", (VITS, CNNS), 2, times=150, first=1)],
    "A_methods": [Work("CKA of all layers", (VITS, CNNS), times=4.75, first=1)],
    "B_representation_structure": [Work("CKA of all layers", (VITS, CNNS))],
    "C_local_global": [
        Work("receptive fields", (VITS, CNNS), 32, times=16, first=2),
        Work("attention distance", (VITS, "much_and_little_data")),
    ],
    "D_localization": [
        Work("localization", (VITS, CNNS, "cls_and_gap"), times=8),
        Work("probes", (CNNS, "cls_and_gap"), 0),
    ],
    "E_propagation": [Work("skip ratios", (VITS, CNNS))],
    "F_linear_probes": [Work("probes", (VITS, CNNS, "much_and_little_data", "cls_and_gap"), 0)],
    "G_finetuning": [Work("CKA of blocks", ("finetuned",))],
    "H_mixer": [Work("CKA of all layers", (MIXERS, VITS, CNNS))],
    "10_your_own_models": [
        Work("CKA of all layers", (VITS, CNNS)),
        Work("attention distance", (VITS,)),
        Work("skip ratios", (VITS, CNNS)),
        Work("localization", (VITS, CNNS)),
        Work("receptive fields", (VITS, CNNS), 20, times=4),
        Work("probes", (VITS, CNNS), 0),
    ],
    "11_what_came_later": [
        # What all blocks are asked in one pass, and the same of a network before training.
        Work("forward passes", (VITS, CNNS, LATER)),
        Work("forward passes", (VITS, LATER), first=1),
        Work("attention distance", (LATER,)),
        Work("skip ratios", (LATER,)),
        Work("receptive fields", (VITS, CNNS), 8, times=4, first=1),
    ],
    "12_questions_of_measure": [
        Work("forward passes", (VITS, CNNS)),
        # Broken images, directions, networks before training.
        Work("forward passes", (VITS, CNNS), times=4, first=1),
    ],
    "13_massive_activations": [
        # What all blocks are asked in one pass, and without the largest channel.
        Work("forward passes", (VITS, CNNS, LATER), times=2),
        # Norms, and of a few images what replaced tokens do: as they are, and in three ways.
        Work("forward passes", (VITS, LATER)),
        Work("forward passes", (VITS, LATER), 128, times=4),
        # Planted numbers, and a network before training.
        Work("forward passes", (VITS, LATER), times=8, first=1),
    ],
    "interventions": [
        # Heads, shuffles and CLS tokens of the first network, the table of all.
        Work("forward passes", (VITS,), times=70),
        Work("attention distance", (VITS,), times=9),
        Work("skip ratios", (VITS,)),
    ],
}
# What notebooks measure of tiny networks alone.
OF_TINY_NETWORKS = {
    "06_skip_connections": {"CKA of all layers"},
    "08_scale_and_transfer": {"CKA of blocks"},
    "tiny_networks": {"CKA of all layers", "CKA of blocks", "attention distance"},
    "uncertainty": {"CKA of all layers", "CKA of blocks", "attention distance"},
}
# Classes of the images; probes take ten training images of each, and 500 test images, in each repeat.
CLASSES = {"colab": 100, "paper": 1000}
# Architectures that were not counted, by one that is built like them. Forward passes say by how much they differ.
LIKE = {
    "convnext_base": "ResNet50x1",
    "convnext_large": "ResNet50x1",
    "deit_base_distilled_patch16_224": "ViT-B/16",
    "vit_base_patch14_dinov2": "DINOv2 with registers",
    "vit_large_patch14_dinov2": "DINOv2 with registers",
    "vit_large_patch14_reg4_dinov2": "DINOv2 with registers",
}


@dataclass(frozen=True)
class Machine:
    """A GPU, by the operations a second that such work reaches: a share of its peak, which is a guess.

    Attributes:
        name: What it is called.
        rates: Operations a second by type.
        prepared: Images that its host opens, resizes and normalises in a second.
    """

    name: str
    rates: dict[str, float]
    prepared: float


MACHINES = {
    # Peaks: 65, 8.1 and 0.25 tera-operations a second. Colab's machine has two cores.
    "colab": Machine("T4, 16 GB", {"float16": 0.35 * 65e12, "float32": 0.6 * 8.1e12, "float64": 0.2e12}, 150),
    # 989 (dense), 67 and 67.
    "paper": Machine(
        "H200, 141 GB", {"float16": 0.4 * 989e12, "float32": 0.6 * 67e12, "float64": 0.5 * 67e12}, 1500
    ),
}
START = 60.0  # seconds: imports, and weights from the disk to the GPU


def base_name(network: str) -> str:
    """Leave out the tag of a timm name: it says how a network was trained, not how it is built."""
    return network.partition(".")[0]


@functools.cache
def forward_operations(network: str) -> float:
    """Count the operations of one image's forward pass, on a device that computes nothing."""
    with torch.device("meta"):
        model = timm.create_model(base_name(network)).eval()
        image = torch.zeros(1, *resolve_data_config(model.pretrained_cfg)["input_size"])
    with torch.no_grad(), Operations() as counted:
        model(image)
    return counted.by_type.total()


@functools.cache
def parameters(network: str) -> int:
    """Count the parameters of a network."""
    with torch.device("meta"):
        return sum(parameter.numel() for parameter in timm.create_model(base_name(network)).parameters())


def networks_of(profile: Profile, work: Work) -> list[str]:
    """List the networks of some roles, each once, without the tiny ones."""
    found: list[str] = []
    for role in work.roles:
        groups = [profile.lists.get(role, [])] if role in LISTS else profile.groups.get(role, [])
        found += [name for group in groups for name in group[: work.first]]
    return [name for name in dict.fromkeys(found) if not name.startswith("tiny/")]


def operations(profile: Profile, work: Work, network: str, images: float, counted: dict) -> Counter[str]:
    """Scale what was counted on a few images to the images of a page."""
    base = base_name(network)
    names = {timm_name: name for name, timm_name in ARCHITECTURES.items()}
    row = counted[names.get(base) or LIKE[base]][profile.precision]
    scale = forward_operations(network) / (row["operations"]["forward passes"].total() / row["images"])
    result: Counter[str] = Counter()
    # Of receptive fields one image was counted, of all else `row["images"]`.
    of_images = 1 if work.measurement == "receptive fields" else row["images"]
    for kind, number in row["operations"].get(work.measurement, Counter()).items():
        kind = "float16" if kind == "bfloat16" else kind
        per_image = number / of_images
        if work.measurement.startswith("CKA") and kind == "float64":
            # Gram matrices: so few images were in float64, a minibatch is in float32; they grow with its square.
            kind, per_image = "float32", per_image * profile.batch_size / row["images"]
        result[kind] += scale * per_image * images * work.times
    return result


def page_cost(name: str, page: str, works: Iterable[Work], counted: dict) -> dict:
    """Estimate one page."""
    profile, machine = profile_of(name, page), MACHINES[name]
    total: Counter[str] = Counter()
    prepared, networks = 0.0, []
    for work in works:
        draws = profile.number_of_images * profile.repeats
        of_probes = (10 * CLASSES[name] + 500) * profile.repeats
        images = of_probes if work.measurement == "probes" else draws if work.images is None else work.images
        for network in networks_of(profile, work):
            total += operations(profile, work, network, images, counted)
            prepared += images
            networks.append(network)
    seconds = sum(number / machine.rates[kind] for kind, number in total.items())
    return {
        "operations": total,
        "images": prepared,
        "download": 4 * sum(map(parameters, dict.fromkeys(networks))) / 1e9,
        "minutes": (START + seconds + prepared / machine.prepared) / 60,
    }


def table(name: str, counted: dict) -> str:
    """Write the pages of a profile as a Markdown table."""
    lines = [
        f"`{name}` on a GPU such as {MACHINES[name].name}:",
        "",
        "| Page | Estimate | Operations in 16 bits | In 32 bits and more | Images | Weights |",
        "|---|---|---|---|---|---|",
    ]
    for page, works in PAGES.items():
        cost = page_cost(name, page, works, counted)
        sixteen = cost["operations"]["float16"]
        lines.append(
            f"| {page} | {cost['minutes']:.0f} min | {si(sixteen)} | {si(cost['operations'].total() - sixteen)} "
            f"| {cost['images']:,.0f} | {cost['download']:.1f} GB |"
        )
    return "\n".join(lines)


def architectures_table(measured: dict) -> str:
    """Write seconds and peak memory of all measurements on each architecture, at both precisions."""
    rows = measured["rows"]
    versions = ", ".join(f"{name} {measured['versions'][name]}" for name in ("python", "torch", "timm"))
    images = next(iter(rows.values()))["float32"]["images"]
    lines = [
        f"All measurements, one after the other, on {images} images with random weights, in seconds of the "
        f"processor: {measured['device']}, "
        f"threads: {measured['threads']}, {versions}, {measured['date']}.",
        "",
        "| Architecture | Parameters | Layers | float32 | mixed |",
        "|---|---|---|---|---|",
    ]
    for name, both in rows.items():
        cells = [f"{both['float32']['parameters'] / 1e6:.0f} million", f"{both['float32']['layers']}"]
        for row in both.values():
            cells.append(f"{sum(row['seconds'].values()):.0f} s, {row['peak_gigabytes']:.1f} GB")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def precision_table(measured: dict) -> str:
    """Write how far mixed precision moves the statistic of each measurement."""
    # Of blocks with themselves CKA is 1 at any precision.
    names = [name for name in STATISTICS if name not in ("forward passes", "CKA of blocks")]
    lines = [f"| Architecture | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for architecture, both in measured["rows"].items():
        full, mixed = (both[precision]["statistics"] for precision in PRECISIONS)
        cells = [f"{abs(mixed[name] - full[name]):.0e}" if name in full else "" for name in names]
        lines.append(f"| {architecture} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Write the tables."""
    measured = json.loads((RESULTS / "architectures.json").read_text())
    rows = measured["rows"]
    for both in rows.values():
        for row in both.values():
            row["operations"] = {key: Counter(value) for key, value in row["operations"].items()}
    parts = {
        "pages": "\n\n".join(table(name, rows) for name in MACHINES),
        "architectures": architectures_table(measured),
        "precision": precision_table(measured),
    }
    text = between_marks(parts)
    (RESULTS / "costs.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
