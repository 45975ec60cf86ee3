"""The places of a network that the paper reads, by names that all architectures share.

With x for the residual stream, the blocks of the networks that the paper compares are

    Transformer   x <- x + attention(norm(x))             x <- x + mlp(norm(x))
    Mixer         x <- x + token mixing(norm(x))          x <- x + mlp(norm(x))
    ResNetV2      x <- shortcut(x) + branch(x)            normalisation comes first in the branch
    ResNet        x <- relu(shortcut(x) + branch(x))

where `shortcut` is the identity, or a convolution where the resolution changes. Blocks count from 1, as in
the paper's prose, and go on counting through the stages of a ResNet. The table `_BLOCKS` below says, for each
kind of block in timm, which module gives each place, in the order in which they fire. To add an architecture,
add its block there and its class to `_ARCHITECTURES`.

All is read in evaluation mode, where timm's dropouts and stochastic depths hand on what they get. So
`drop_path1` is the attention branch after LayerScale, and `mlp.drop1` the hidden activation of plain and of
gated MLPs.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal, NamedTuple

import torch
from timm.models import mlp_mixer, resnet, resnetv2, vision_transformer
from torch import Tensor, nn

from seelike.errors import unknown_name
from seelike.models.measurable import input_size, require_measurable, require_unwrapped
from seelike.models.without_skips import BlockWithoutSkips

Family = Literal["vit", "resnet", "mixer", "other"]
require_evaluation_mode = require_measurable  # its name before


@dataclass(frozen=True)
class Layer:
    """A place in a network, and how to read it.

    Attributes:
        name: "block 3/attention"; for unknown architectures the module's name.
        kind: "embedding", "norm", "attention", "token mixing", "branch" (of a ResNet), "shortcut" (its
            convolution), "hidden" (a convolution in a branch, or the inside of token mixing), "mlp hidden",
            "mlp", "residual" (the stream after attention or token mixing) or "block" (the block's output).
            For unknown architectures the class of the module.
        block: Number of the block, from 1; None outside of blocks.
        depth: Place in firing order among all layers of the network, from 0 (first) to 1 (last).
        module: Path of the module that is hooked.
        side: Whether the module's output or its first input is read.
        call: Which of the module's calls in one forward pass is read, from 0.
    """

    name: str
    kind: str
    block: int | None
    depth: float
    module: str
    side: Literal["output", "input"] = "output"
    call: int = 0


@dataclass(frozen=True)
class Residual:
    """A residual addition: output = skip + branch, then the activation if there is one."""

    skip: Layer
    branch: Layer
    output: Layer
    activation: Literal["relu"] | None = None

    @property
    def name(self) -> str:
        """The name of the branch."""
        return self.branch.name

    @property
    def kind(self) -> str:
        """The kind of the branch: "attention", "token mixing", "mlp" or "branch"."""
        return self.branch.kind

    @property
    def block(self) -> int | None:
        """The number of the block, from 1."""
        return self.branch.block


class _Place(NamedTuple):
    name: str
    kind: str
    modules: str  # path inside the block; of several, the first that the block has
    side: Literal["output", "input"] = "output"
    call: int = 0


_OUTPUT = _Place("", "block", "")
_SHORTCUT = _Place("shortcut", "shortcut", "downsample")
_TRANSFORMER = (
    _Place("attention norm", "norm", "norm1"),
    _Place("attention", "attention", "drop_path1"),
    _Place("after attention", "residual", "norm2", side="input"),
    _Place("mlp norm", "norm", "norm2"),
    _Place("mlp hidden", "mlp hidden", "mlp.drop1"),
    _Place("mlp", "mlp", "drop_path2"),
    _OUTPUT,
)
_BLOCKS: dict[type[nn.Module], tuple[_Place, ...]] = {
    vision_transformer.Block: _TRANSFORMER,
    # "after attention" is there what the attention gave, and the output what the MLP gave.
    BlockWithoutSkips: _TRANSFORMER,
    # The one drop_path of a Mixer block takes both branches, after the tokens are transposed back.
    mlp_mixer.MixerBlock: (
        _Place("token mixing norm", "norm", "norm1"),
        _Place("token mixing hidden", "hidden", "mlp_tokens.drop1"),
        _Place("token mixing", "token mixing", "drop_path"),
        _Place("after token mixing", "residual", "norm2", side="input"),
        _Place("mlp norm", "norm", "norm2"),
        _Place("mlp hidden", "mlp hidden", "mlp_channels.drop1"),
        _Place("mlp", "mlp", "drop_path", call=1),
        _OUTPUT,
    ),
    # In ResNets a norm is read after the activation that follows it.
    resnetv2.PreActBottleneck: (
        _Place("norm 1", "norm", "norm1"),
        _SHORTCUT,
        _Place("conv 1", "hidden", "conv1"),
        _Place("norm 2", "norm", "norm2"),
        _Place("conv 2", "hidden", "conv2"),
        _Place("norm 3", "norm", "norm3"),
        _Place("branch", "branch", "drop_path"),
        _OUTPUT,
    ),
    resnetv2.PreActBasic: (
        _Place("norm 1", "norm", "norm1"),
        _SHORTCUT,
        _Place("conv 1", "hidden", "conv1"),
        _Place("norm 2", "norm", "norm2"),
        _Place("branch", "branch", "drop_path"),
        _OUTPUT,
    ),
    resnetv2.Bottleneck: (
        _SHORTCUT,
        _Place("conv 1", "hidden", "conv1"),
        _Place("norm 1", "norm", "norm1"),
        _Place("conv 2", "hidden", "conv2"),
        _Place("norm 2", "norm", "norm2"),
        _Place("conv 3", "hidden", "conv3"),
        _Place("branch", "branch", "drop_path"),
        _OUTPUT,
    ),
    resnet.BasicBlock: (
        _Place("conv 1", "hidden", "conv1"),
        _Place("norm 1", "norm", "act1"),
        _Place("conv 2", "hidden", "conv2"),
        _Place("branch", "branch", "drop_path se bn2"),
        _SHORTCUT,
        _OUTPUT,
    ),
    resnet.Bottleneck: (
        _Place("conv 1", "hidden", "conv1"),
        _Place("norm 1", "norm", "act1"),
        _Place("conv 2", "hidden", "conv2"),
        _Place("norm 2", "norm", "act2"),
        _Place("conv 3", "hidden", "conv3"),
        _Place("branch", "branch", "drop_path se bn3"),
        _SHORTCUT,
        _OUTPUT,
    ),
}
# The blocks that end in an activation, and its name.
_LAST_ACTIVATION: dict[type[nn.Module], str] = {
    resnetv2.Bottleneck: "act3",
    resnet.BasicBlock: "act2",
    resnet.Bottleneck: "act3",
}


class _Architecture(NamedTuple):
    family: Family
    embedding: str
    stages: str  # paths of the Sequentials of blocks; a star stands for all children
    final_norm: str


# With average pooling, most of timm's ViTs normalise after it: then fc_norm is read, [n, channels].
_ARCHITECTURES: dict[type[nn.Module], _Architecture] = {
    vision_transformer.VisionTransformer: _Architecture("vit", "norm_pre", "blocks", "norm fc_norm"),
    mlp_mixer.MlpMixer: _Architecture("mixer", "stem", "blocks", "norm"),
    resnetv2.ResNetV2: _Architecture("resnet", "stem", "stages.*.blocks", "norm"),
    resnet.ResNet: _Architecture("resnet", "maxpool", "layer1 layer2 layer3 layer4", ""),
}


def family(model: nn.Module) -> Family:
    """Name the family of a network, which says which layers it has.

    Args:
        model: Any network.

    Returns:
        "vit", "resnet" or "mixer"; "other" where the blocks are not those of the paper (say, with attention
        and MLP in parallel) or not known here.

    Example:
        >>> import timm
        >>> family(timm.create_model("resnet10t")), family(nn.Linear(1, 1))
        ('resnet', 'other')
    """
    known = _architecture(model)
    return known.family if known else "other"


def layers(
    model: nn.Module, names: Sequence[str] | None = None, kinds: Sequence[str] | None = None
) -> list[Layer]:
    """List the layers of a network that the paper reads, in the order in which they fire (Sections 2 and 4).

    A network of an unknown architecture runs once, on two images of zeros, to see which modules fire and in
    what order. Every module that gives one tensor with a row for each image is listed, by the module's name;
    a further call is "name/call 2". A module that only hands on a tensor is not listed.

    Args:
        model: Any network.
        names: Only the layers of these names.
        kinds: Only the layers of these kinds. With `names`, only those that match both.

    Returns:
        The layers, in firing order also where `names` has another.

    Raises:
        UnknownName: The network has no layer of such a name or kind.
        ValueError: The architecture is unknown, and the network is in training mode or does not run on the
            images of its `pretrained_cfg`.

    Example:
        >>> import timm
        >>> model = timm.create_model("test_vit")
        >>> [layer.name for layer in layers(model)][:8]  # doctest: +NORMALIZE_WHITESPACE
        ['embedding', 'block 1/attention norm', 'block 1/attention', 'block 1/after attention',
         'block 1/mlp norm', 'block 1/mlp hidden', 'block 1/mlp', 'block 1']
        >>> [layer.name for layer in layers(model, kinds=["attention"])][:2]
        ['block 1/attention', 'block 2/attention']
    """
    known = _architecture(model)
    everything = list(_named_places(model, known)) if known else _fired_modules(model)
    last = max(len(everything) - 1, 1)
    everything = [replace(layer, depth=index / last) for index, layer in enumerate(everything)]
    for name in names or ():
        if all(layer.name != name for layer in everything):
            raise unknown_name("layer", name, [layer.name for layer in everything])
    for kind in kinds or ():
        if all(layer.kind != kind for layer in everything):
            raise unknown_name("kind of layer", kind, dict.fromkeys(layer.kind for layer in everything))
    return [
        layer
        for layer in everything
        if (names is None or layer.name in names) and (kinds is None or layer.kind in kinds)
    ]


def residuals(model: nn.Module) -> list[Residual]:
    """List every residual addition of a network: output = skip + branch, then the activation (Section 4).

    Args:
        model: A network of a known family.

    Returns:
        Two for each Transformer or Mixer block, one for each ResNet block, in firing order; none for a block
        without skip connections.

    Raises:
        ValueError: The architecture is not known here.

    Example:
        >>> import timm
        >>> first = residuals(timm.create_model("test_vit"))[0]
        >>> first.skip.name, first.branch.name, first.output.name
        ('embedding', 'block 1/attention', 'block 1/after attention')
    """
    architecture = _architecture(model)
    if architecture is None:
        raise ValueError(
            f"The residual connections of {type(model).__name__} with these blocks are not known. Known are "
            "the standard blocks of timm's VisionTransformer, MlpMixer, ResNetV2 and ResNet (with ReLU). "
            "layers(model) lists any network by its modules."
        )
    without_skips = {
        number
        for number, path in enumerate(_block_paths(model, architecture), start=1)
        if isinstance(model.get_submodule(path), BlockWithoutSkips)
    }
    embedding, *rest = layers(model)
    found: list[Residual] = []
    stream, skip, branch = embedding, None, embedding
    for layer in rest:
        if layer.kind == "shortcut":
            skip = layer
        elif layer.kind in ("attention", "token mixing", "mlp", "branch"):
            branch = layer
        elif layer.kind in ("residual", "block"):
            if layer.block not in without_skips:
                activated = type(model.get_submodule(layer.module)) in _LAST_ACTIVATION
                found.append(Residual(skip or stream, branch, layer, "relu" if activated else None))
            stream, skip = layer, None
    return found


def _architecture(model: nn.Module) -> _Architecture | None:
    require_unwrapped(model)
    for known, architecture in _ARCHITECTURES.items():
        if isinstance(model, known):
            blocks = [model.get_submodule(path) for path in _block_paths(model, architecture)]
            return architecture if blocks and all(map(_is_known_block, blocks)) else None
    return None


def _is_known_block(block: nn.Module) -> bool:
    # The exact class: a subclass may put its parts together in another way.
    last = _LAST_ACTIVATION.get(type(block))
    return type(block) in _BLOCKS and (last is None or isinstance(getattr(block, last), nn.ReLU))


def _block_paths(model: nn.Module, architecture: _Architecture) -> list[str]:
    stages = architecture.stages.split()
    if "*" in architecture.stages:
        parent, _, child = architecture.stages.partition(".*.")
        stages = [f"{parent}.{name}.{child}" for name, _ in model.get_submodule(parent).named_children()]
    return [f"{stage}.{name}" for stage in stages for name, _ in model.get_submodule(stage).named_children()]


def _named_places(model: nn.Module, architecture: _Architecture) -> Iterator[Layer]:
    yield Layer("embedding", "embedding", None, 0.0, architecture.embedding)
    for number, path in enumerate(_block_paths(model, architecture), start=1):
        block = model.get_submodule(path)
        for place in _BLOCKS[type(block)]:
            inside = _first_present(block, place.modules)
            if inside is not None:
                name = f"block {number}/{place.name}".removesuffix("/")
                module = f"{path}.{inside}".removesuffix(".")
                yield Layer(name, place.kind, number, 0.0, module, place.side, place.call)
    for path in architecture.final_norm.split():
        # timm writes Identity for the norm that a network does not have.
        if not isinstance(model.get_submodule(path), nn.Identity):
            yield Layer("final norm", "norm", None, 0.0, path)


def _first_present(block: nn.Module, paths: str) -> str | None:
    """Of several paths, the first that leads to a module; the empty path is the block itself."""
    modules = dict(block.named_modules(remove_duplicate=False))
    return next((path for path in paths.split() or [""] if path in modules), None)


def _fired_modules(model: nn.Module) -> list[Layer]:
    require_measurable(model)
    like = next(model.parameters(), torch.empty(0))
    images = torch.zeros(2, *input_size(model), device=like.device, dtype=like.dtype)
    calls: Counter[str] = Counter()
    # The tensors are kept, so that no later one takes the identity of an earlier one. Writing in place
    # changes the version: the output of an in-place ReLU is not the tensor that the ReLU got.
    outputs: dict[tuple[int, int], Tensor] = {}
    found: list[Layer] = []

    def note(path: str, module: nn.Module, _: Any, output: Any) -> None:
        calls[path] += 1
        if not (isinstance(output, Tensor) and output.ndim > 1 and len(output) == len(images)):
            return
        key = (id(output), output._version)
        if key not in outputs:
            outputs[key] = output
            name = path if calls[path] == 1 else f"{path}/call {calls[path]}"
            found.append(Layer(name, type(module).__name__, None, 0.0, path, call=calls[path] - 1))

    with ExitStack() as hooks:
        for path, module in model.named_modules():
            if path:
                hooks.callback(module.register_forward_hook(partial(note, path)).remove)
        try:
            with torch.inference_mode(False), torch.no_grad():
                model(images)
        except Exception as error:
            raise ValueError(
                f"{type(model).__name__} is of an unknown architecture, and finding its layers by running it "
                f"on zeros of shape {tuple(images.shape)} failed: {error}. If it takes other images, say so: "
                "model.pretrained_cfg = {'input_size': (channels, height, width)}."
            ) from error
    return found
