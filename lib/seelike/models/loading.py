"""Load networks by name, and prepare images as each was trained to see them."""

import json
import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
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
from seelike.errors import require_type, unknown_name
from seelike.hub import sha256_of
from seelike.models.image_size import Size, resized
from seelike.models.measurable import input_size, require_unwrapped
from seelike.models.pretrained import filled, load_pretrained
from seelike.models.records import CHECKPOINTS
from seelike.models.sources import WeightsSource, note_source
from seelike.models.tiny import TINY, build

_WEIGHT_FILES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".npz")


# What may follow a name.
_FOLLOWS = re.compile(r"(?P<name>.+):(?:random|(?P<size>\d+(?:x\d+)?)px)")
# What timm calls the factors of a branch before it is added to the stream.
_FACTOR = re.compile(r"(?:^|\.)(?:gamma\w*|ls\d|layer_scale\w*|(?:layer|res)_scale\d?\.scale|\w*gain)$")
_NORMS = (nn.LayerNorm, nn.GroupNorm, nn.BatchNorm1d, nn.BatchNorm2d)
# LayerScale begins at 0.1 or less: deep networks at a millionth.
_NEAR_ZERO = 0.2
# Arguments of timm.create_model that say where weights are.
_SOURCES = ("pretrained", "checkpoint_path", "pretrained_cfg_overlay")


def load(
    name: str, device: str | torch.device = "cpu", *, image_size: int | tuple[int, int] | None = None
) -> nn.Module:
    """Load a network in evaluation mode.

    Args:
        name: One of

            - "tiny/vit_7x7": a network of this package (`seelike.models.tiny`);
            - "vit_base_patch32_224.augreg_in21k": any model of timm, pretrained, from the Hugging Face hub or
              its local cache (`seelike.hub`), safetensors only; the tag after the dot may be left out, and names
              that timm has given up are taken for today's;
            - "resnet18:random": any of these with random weights, the same ones every time. Where training begins
              with branches that add next to nothing (LayerScale; the last norm of a ResNet's branch), their
              factors are one: a network that hands its input on unchanged is no control;
            - "path/to/weights.safetensors": a checkpoint of a timm or tiny architecture, which the file's
              metadata name ("architecture", JSON "architecture_kwargs" for `timm.create_model`, and JSON
              "image_size", a number or [height, width]), or else a `config.json` beside the file, as on the hub;
            - "architecture@path/to/weights.safetensors": where the file does not say it;
            - any of these and ":224px", or ":224x160px" (height x width): for images of that size.
        device: Where to put the network.
        image_size: Side, or height and width, of the images that it is to read, in pixels, as in the name; by
            default that of the weights. Learned positions are resampled; of a convolutional network only the
            preprocessing changes.

    Returns:
        The network. Its parameters keep `requires_grad`.

    Raises:
        UnknownName: No such model; the message has near names.
        FileNotFoundError: No such file.
        ValueError: The file is a pickle, is damaged, does not say its architecture, or does not fit it; or the
            network cannot read images of that size.
        RuntimeError: There are no pretrained weights of this name, or none as safetensors.
        HubError: They could not be had from the hub; `seelike.hub` has a class for each cause.

    Example:
        >>> model = load("resnet18:random")
        >>> type(model).__name__, model.training
        ('ResNet', False)
        >>> preprocessing(load("test_vit:random:32px"))(Image.new("RGB", (50, 40))).shape
        torch.Size([3, 32, 32])
    """
    require_type("name", name, str, "the name of a network, or of a file")
    name, random, size = _parts(name, image_size)
    if random:
        model = _random(name, size)
    elif name.startswith("tiny/"):
        model = _tiny(name)
        model = resized(model, size) if size else model
    elif Path(name).suffix in _WEIGHT_FILES:
        model = _local(name, size)
    else:
        model = load_pretrained(_known(name), size)
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
        ValueError: The network takes neither one channel nor three, or is compiled or wrapped.

    Example:
        >>> prepare = preprocessing(load("resnet18:random"))
        >>> prepare(Image.new("L", (500, 300))).shape
        torch.Size([3, 224, 224])
    """
    require_unwrapped(model)
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


def _parts(name: str, image_size: int | tuple[int, int] | None) -> tuple[str, bool, Size | None]:
    """The name without what follows it, whether the weights are random, and the size of the images."""
    given, random = name, False
    sizes = set() if image_size is None else {_size(image_size, repr(image_size))}
    while found := _FOLLOWS.fullmatch(name):
        name = found["name"]
        random = random or found["size"] is None
        if found["size"]:
            sizes.add(_size([int(side) for side in found["size"].split("x")], repr(given)))
    if len(sizes) > 1:
        raise ValueError(f"{given!r} with image_size={image_size} names two sizes; give the size once.")
    return name, random, next(iter(sizes), None)


def _size(given: Any, told: str) -> Size:
    sides = [given, given] if isinstance(given, int) else list(given) if isinstance(given, list | tuple) else []
    sides = sides * 2 if len(sides) == 1 else sides
    if len(sides) != 2 or any(type(side) is not int or side < 1 for side in sides):
        raise ValueError(
            f"The image size of {told} is not one; expected a whole number of pixels, or height and width."
        )
    return sides[0], sides[1]


def _random(name: str, size: Size | None) -> nn.Module:
    tiny = name.startswith("tiny/")
    create = partial(build, name) if tiny else partial(timm.create_model, _known(name))

    def same(**arguments: Any) -> nn.Module:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return with_branches(create(**arguments))

    return resized(same(), size, None if tiny else same) if size else same()


def with_branches(model: nn.Module) -> nn.Module:
    """Let every branch of an untrained network act: set the factors to one that begin at, or near, zero.

    Args:
        model: A network as timm initialises it. It is changed.

    Returns:
        The same network.

    Example:
        >>> model = with_branches(timm.create_model("vit_tiny_patch16_224", init_values=1e-5))
        >>> model.blocks[0].ls1.gamma.unique().tolist()
        [1.0]
    """
    factors = [parameter for name, parameter in model.named_parameters() if _FACTOR.search(name)]
    norms = [module for module in model.modules() if isinstance(module, _NORMS)]
    factors += [norm.weight for norm in norms if isinstance(norm.weight, nn.Parameter)]
    for factor in factors:
        if bool((factor == factor.flatten()[0]).all()) and abs(factor.flatten()[0].item()) < _NEAR_ZERO:
            nn.init.ones_(factor)
    return model


def _tiny(name: str) -> nn.Module:
    model = build(name)
    path = CHECKPOINTS / f"{name.removeprefix('tiny/')}.safetensors"
    if not path.is_file():
        raise FileNotFoundError(
            f"{name!r} has no trained weights in this installation. Train it with `python -m seelike.train "
            f"{name.removeprefix('tiny/')}`, or load {name + ':random'!r}."
        )
    model.load_state_dict(_open(path)[0])
    note_source(model, WeightsSource(f"seelike/checkpoints/{path.name}", sha256_of(path)))
    return model


def _known(name: str) -> str:
    """A name of timm, or today's name for one that it has given up."""
    today = timm.models.get_deprecated_models().get(name)
    if today:
        warnings.warn(f"timm calls {name!r} {today!r} today.", stacklevel=3)
        name = today
    architecture, _, tag = name.partition(".")
    if timm.is_model(architecture) and (not tag or name in timm.list_pretrained(f"{architecture}.*")):
        return name
    known = [*(f"tiny/{tiny}" for tiny in TINY), *timm.list_models(), *timm.list_pretrained()]
    hint = (
        "Local weights are given as a path that ends in '.safetensors'. What follows a name is ':random', or the "
        "size of the images as ':224px'."
    )
    raise unknown_name("model", name, known, hint)


def _local(name: str, size: Size | None) -> nn.Module:
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
    if not architecture.startswith("tiny/"):
        architecture = _known(architecture)
        # A file may not make timm fetch or open other files.
        arguments = {key: value for key, value in arguments.items() if key not in _SOURCES}
    stated = _stated_size(path, metadata, arguments)
    build_anew = partial(_build, architecture, arguments, path)
    rebuild = None if architecture.startswith("tiny/") else build_anew
    faults = {}
    # The tensors may be for the size that the file states, for the architecture's own, or for that asked for.
    for trained_at in dict.fromkeys((stated, None, size)):
        model = resized(build_anew(), trained_at, rebuild) if trained_at else build_anew()
        faults[trained_at] = _misfit(model, tensors)
        if not faults[trained_at]:
            break
    else:
        raise ValueError(
            f"The tensors of {path} do not fit {architecture!r}: {faults[None]}. Give the right architecture as "
            f"'architecture@{path}', or what it was built with as JSON 'architecture_kwargs' in its metadata."
        )
    model.load_state_dict(tensors)
    wanted = size or stated
    if wanted:
        model = resized(model, wanted, rebuild and partial(_resampled, architecture, arguments, path, model))
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


def _stated_size(path: Path, metadata: Mapping[str, str], arguments: Mapping[str, Any]) -> Size | None:
    if "image_size" in metadata:
        try:
            stated = json.loads(metadata["image_size"])
        except json.JSONDecodeError:
            stated = None
        return _size(stated, f"{metadata['image_size']!r} in the metadata of {path}")
    if "img_size" in arguments:
        return None  # it is built for that
    configured = (arguments.get("pretrained_cfg") or {}).get("input_size")
    return _size(configured[1:], f"{configured} in the configuration of {path}") if configured else None


def _build(architecture: str, arguments: Mapping[str, Any], path: Path, **more: Any) -> nn.Module:
    if architecture.startswith("tiny/"):
        return build(architecture)
    try:
        return timm.create_model(architecture, pretrained=False, **{**arguments, **more})
    except Exception as error:
        if "img_size" in more and isinstance(error, TypeError):
            raise
        raise ValueError(
            f"timm does not build {architecture!r} with the arguments that come with {path}, {arguments}: {error}"
        ) from error


def _resampled(
    architecture: str, arguments: Mapping[str, Any], path: Path, model: nn.Module, **more: Any
) -> nn.Module:
    classes = {"num_classes": model.num_classes}
    overlay = {"pretrained_cfg_overlay": {**classes, "label_offset": 0, "input_size": input_size(model)}}
    return filled(architecture, path, **{**arguments, **classes, **overlay, **more})


def _misfit(model: nn.Module, tensors: Mapping[str, Tensor]) -> str:
    """What does not fit between a network and tensors, in words; empty if all does."""
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
    return "; ".join(
        f"{len(keys)} {fault} ({', '.join(keys[:3])}{', ...' if len(keys) > 3 else ''})"
        for fault, keys in faults.items()
        if keys
    )
