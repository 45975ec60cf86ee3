"""Load networks by name, and prepare images as each was trained to see them."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import numpy as np
import timm
import timm.data
import torch
from jaxtyping import Float
from PIL import Image
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from seelike.data import grey_or_rgb
from seelike.errors import unknown_name
from seelike.hub import sha256_of
from seelike.models.pretrained import load_pretrained
from seelike.models.records import CHECKPOINTS
from seelike.models.sources import WeightsSource, note_source
from seelike.models.tiny import TINY, build

_WEIGHT_FILES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".npz")


def load(name: str, device: str | torch.device = "cpu") -> nn.Module:
    """Load a network in evaluation mode.

    Args:
        name: One of

            - "tiny/vit_7x7": a network of this package (`seelike.models.tiny`);
            - "vit_base_patch32_224.augreg_in21k": any model of timm, pretrained, from the Hugging Face hub or
              its local cache (`seelike.hub`), safetensors only; the tag after the dot may be left out;
            - "resnet18:random": any of these with random weights, the same ones every time;
            - "path/to/weights.safetensors": a checkpoint of a timm or tiny architecture, which the file's
              metadata name ("architecture", and JSON "architecture_kwargs" for `timm.create_model`), or else a
              `config.json` beside the file, as on the hub;
            - "architecture@path/to/weights.safetensors": where the file does not say it.
        device: Where to put the network.

    Returns:
        The network. Its parameters keep `requires_grad`.

    Raises:
        UnknownName: No such model; the message has near names.
        FileNotFoundError: No such file.
        ValueError: The file is a pickle, is damaged, does not say its architecture, or does not fit it.
        RuntimeError: There are no pretrained weights of this name, or none as safetensors.
        HubError: They could not be had from the hub; `seelike.hub` has a class for each cause.

    Example:
        >>> model = load("resnet18:random")
        >>> type(model).__name__, model.training
        ('ResNet', False)
    """
    if name.endswith(":random"):
        model = _random(name.removesuffix(":random"))
    elif name.startswith("tiny/"):
        model = _tiny(name)
    elif Path(name).suffix in _WEIGHT_FILES:
        model = _local(name)
    else:
        _check_name(name)
        model = load_pretrained(name)
    return model.to(device).eval()


def available(pattern: str = "*") -> list[str]:
    """List the models with trained weights that `load` knows: those of this package, then those of timm.

    Args:
        pattern: Shell-style pattern with `*` and `?`.

    Example:
        >>> available("tiny/mixer*")
        ['tiny/mixer', 'tiny/mixer_large']
    """
    names = [f"tiny/{name}" for name in TINY] + timm.list_models(pretrained=True)
    return [name for name in names if fnmatchcase(name, pattern)]


def input_size(model: nn.Module) -> tuple[int, int, int]:
    """Give the channels, height and width of the images that a network takes, in pixels.

    Args:
        model: A network. What it was built for counts more than its `pretrained_cfg`; without either, it is
            taken to read 224 x 224 colour images.

    Example:
        >>> input_size(timm.create_model("vit_tiny_patch16_224", img_size=32, in_chans=1))
        (1, 32, 32)
    """
    channels, height, width = timm.data.resolve_model_data_config(model)["input_size"]
    channels = getattr(model, "in_chans", channels)
    # The patch embedding of a ViT, or of a Mixer; dynamic ones have no fixed size.
    patches = getattr(model, "patch_embed", getattr(model, "stem", None))
    height, width = getattr(patches, "img_size", None) or (height, width)
    return channels, height, width


@dataclass(frozen=True)
class Preprocessing:
    """An image as a network was trained to see it; made by `preprocessing`."""

    mode: str
    transform: Callable[[Image.Image], Tensor]

    def __call__(self, image: Image.Image) -> Float[Tensor, "channels height width"]:
        """Convert, resize, crop and normalise one image."""
        return self.transform(grey_or_rgb(image).convert(self.mode))


def preprocessing(model: nn.Module) -> Preprocessing:
    """Make the function that prepares an image for a network: timm's evaluation transform for it.

    Transparent images are laid on white, and 16-bit grey ones scaled to 8 bits, before they become grey
    (networks of one channel) or RGB (three).

    Args:
        model: A network; its size, crop and normalisation come from its `pretrained_cfg`.

    Returns:
        A callable, which can be pickled: PIL image to float32 tensor `[channels, height, width]`.

    Raises:
        ValueError: The network takes neither one channel nor three.

    Example:
        >>> prepare = preprocessing(load("resnet18:random"))
        >>> prepare(Image.new("L", (500, 300))).shape
        torch.Size([3, 224, 224])
    """
    size = input_size(model)
    channels = size[0]
    if channels not in (1, 3):
        raise ValueError(
            f"{type(model).__name__} takes images of {channels} channels; expected 1 (grey) or 3 (RGB)."
        )
    config = timm.data.resolve_model_data_config(model)
    for key in ("mean", "std"):
        if len(config[key]) != channels:  # built for another number of channels than its weights were
            config[key] = (float(np.mean(config[key])),) * channels
    transform = timm.data.create_transform(**{**config, "input_size": size}, is_training=False)
    return Preprocessing("L" if channels == 1 else "RGB", transform)


def _random(name: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if name.startswith("tiny/"):
            return build(name)
        _check_name(name)
        return timm.create_model(name, pretrained=False)


def _tiny(name: str) -> nn.Module:
    model = build(name)
    path = CHECKPOINTS / f"{name.removeprefix('tiny/')}.safetensors"
    if not path.is_file():
        raise FileNotFoundError(
            f"{name!r} has no trained weights in this installation. Train it with `python -m seelike.train "
            f"{name.removeprefix('tiny/')}`, or load {name + ':random'!r}."
        )
    _fill(model, name, path, _open(path)[0])
    note_source(model, WeightsSource(f"seelike/checkpoints/{path.name}", sha256_of(path)))
    return model


def _check_name(name: str) -> None:
    architecture, _, tag = name.partition(".")
    if timm.is_model(architecture) and (not tag or name in timm.list_pretrained(f"{architecture}.*")):
        return
    known = [*(f"tiny/{tiny}" for tiny in TINY), *timm.list_models(), *timm.list_pretrained()]
    hint = "Local weights are given as a path that ends in '.safetensors'."
    raise unknown_name("model", name, known, hint)


def _local(name: str) -> nn.Module:
    given, path = "", Path(name).expanduser()
    if not path.exists() and "@" in name:
        given, _, rest = name.partition("@")
        path = Path(rest).expanduser()
    if path.suffix != ".safetensors":
        raise ValueError(
            f"{path} is not a safetensors file. Other formats may hide code that runs when they are opened, "
            "so they are not read. Convert one that you trust: safetensors.torch.save_file(torch.load(path, "
            "weights_only=True), 'weights.safetensors')."
        )
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}. Expected the path of a safetensors file.")
    tensors, metadata = _open(path)
    architecture, arguments = (given, {}) if given else _configuration(path, metadata)
    model = _fill(_build(architecture, arguments, path), architecture, path, tensors)
    note_source(model, WeightsSource(str(path), sha256_of(path)))
    return model


def _open(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except SafetensorError as error:
        raise ValueError(
            f"{path} is not a whole safetensors file ({error}). Expected one as safetensors.torch.save_file "
            "writes it; download or copy it again."
        ) from error


def _configuration(path: Path, metadata: Mapping[str, str]) -> tuple[str, dict[str, Any]]:
    """The architecture of a checkpoint, and what to build it with, from its metadata or its config.json."""
    beside = path.with_name("config.json")
    try:
        if "architecture" in metadata:
            return metadata["architecture"], dict(json.loads(metadata.get("architecture_kwargs", "{}")))
        config = json.loads(beside.read_text()) if beside.is_file() else {}
        if "architecture" in config:
            kept = {key: config[key] for key in ("num_classes", "pretrained_cfg") if key in config}
            return config["architecture"], {**kept, **config.get("model_args", {})}
    except (json.JSONDecodeError, TypeError, ValueError) as error:
        raise ValueError(f"The architecture that {path} or {beside} states is not right JSON: {error}") from error
    raise ValueError(
        f"{path} does not say its architecture. Give it as 'architecture@{path}', or as 'architecture' in "
        "the file's metadata or in a config.json beside it."
    )


def _build(architecture: str, arguments: Mapping[str, Any], path: Path) -> nn.Module:
    if architecture.startswith("tiny/"):
        return build(architecture)
    _check_name(architecture)
    # A file may not make timm fetch or open other files.
    arguments = {**arguments, "pretrained": False, "checkpoint_path": ""}
    try:
        return timm.create_model(architecture, **arguments)
    except Exception as error:
        raise ValueError(
            f"timm does not build {architecture!r} with the arguments that come with {path}, {arguments}: {error}"
        ) from error


def _fill(model: nn.Module, architecture: str, path: Path, tensors: Mapping[str, Tensor]) -> nn.Module:
    classifier = tensors.get(f"{getattr(model, 'pretrained_cfg', {}).get('classifier')}.weight")
    if classifier is not None and len(classifier) != model.num_classes:
        # Fine-tuned to other classes. Every model of timm has this method, but nn.Module does not say so.
        model.reset_classifier(len(classifier))  # type: ignore[operator]
    expected = model.state_dict()
    faults = {
        "missing": sorted(expected.keys() - tensors.keys()),
        "not of this architecture": sorted(tensors.keys() - expected.keys()),
        "of another shape": [
            f"{key} {list(tensors[key].shape)}, expected {list(expected[key].shape)}"
            for key in expected
            if key in tensors and tensors[key].shape != expected[key].shape
        ],
    }
    if any(faults.values()):
        told = "; ".join(
            f"{len(keys)} {fault} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
            for fault, keys in faults.items()
            if keys
        )
        raise ValueError(
            f"The tensors of {path} do not fit {architecture!r}: {told}. Give the right architecture as "
            f"'architecture@{path}', or what it was built with as JSON 'architecture_kwargs' in its metadata."
        )
    model.load_state_dict(tensors)
    return model
