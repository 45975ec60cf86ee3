"""The tiny networks of the book: timm's own classes, sized for 28 x 28 grey images.

Their table, architecture and training together, is `tiny.toml` beside this file.
"""

import tomllib
from collections import OrderedDict
from functools import partial
from importlib import resources
from itertools import count
from typing import Any

import torch
from timm.layers import GroupNormAct, StdConv2d, build_sincos2d_pos_embed
from timm.models.mlp_mixer import MlpMixer
from timm.models.resnetv2 import ResNetV2
from timm.models.vision_transformer import Block, VisionTransformer
from torch import nn

from seelike.errors import unknown_name
from seelike.models.without_skips import BlockWithoutSkips


def _table() -> dict[str, dict[str, Any]]:
    """Read the table, and put what a network takes over from another into its own entry."""
    found: dict[str, dict[str, Any]] = {}
    entries = tomllib.loads(resources.files("seelike.models").joinpath("tiny.toml").read_text())
    for name, entry in entries.items():
        taken_over = found[entry.pop("like")] if "like" in entry else {}
        found[name] = {**taken_over, **entry}
    return found


TINY = _table()
IMAGE_SIZE = 28
# The longest wavelength of the sines that mark a token's row and column is this times 2 pi tokens: none repeats.
SLOWEST = 10.0
NUM_CLASSES = 10
# Mean and standard deviation of the pixels of Fashion-MNIST's training images, in [0, 1].
PIXEL_MEAN, PIXEL_STD = 0.2860, 0.3530


def build(name: str) -> nn.Module:
    """Build a tiny network with random weights.

    Args:
        name: A name of the table, with or without `tiny/` before it.

    Returns:
        The network, in training mode, reading `[b, 1, 28, 28]` and giving `[b, 10]` class scores. Its
        `pretrained_cfg` tells timm how to prepare an image.

    Raises:
        UnknownName: The table has no such network.

    Example:
        >>> import torch
        >>> build("tiny/vit_7x7").eval()(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 10])
    """
    key = name.removeprefix("tiny/")
    if key not in TINY:
        raise unknown_name("tiny model", name, [f"tiny/{known}" for known in TINY])
    configuration = TINY[key]
    builders = {"vit": _vit, "resnetv2": _resnetv2, "mixer": _mixer}
    model = builders[configuration["architecture"]](configuration)
    model.pretrained_cfg = model.default_cfg = {  # type: ignore[assignment]
        "architecture": f"tiny/{key}",
        "input_size": (1, IMAGE_SIZE, IMAGE_SIZE),
        "num_classes": NUM_CLASSES,
        "mean": (PIXEL_MEAN,),
        "std": (PIXEL_STD,),
        "interpolation": "bilinear",
        "crop_pct": 1.0,
    }
    return model


def _vit(configuration: dict[str, Any]) -> VisionTransformer:
    gap = configuration["pooling"] == "gap"
    numbers = count(1)

    def block(**options: Any) -> Block:
        without_skips = next(numbers) == configuration.get("without_skips")
        return (BlockWithoutSkips if without_skips else Block)(**options)

    model = VisionTransformer(
        img_size=IMAGE_SIZE,
        patch_size=configuration["patch_size"],
        in_chans=1,
        num_classes=NUM_CLASSES,
        embed_dim=configuration["embed_dim"],
        depth=configuration["depth"],
        num_heads=configuration["heads"],
        class_token=not gap,
        global_pool="avg" if gap else "token",
        # The paper averages the tokens of the last layer as they are: normalise each, then average.
        fc_norm=False,
        weight_init=configuration.get("initialisation", ""),
        block_fn=block,  # type: ignore[arg-type]
    )
    if configuration.get("positions") == "sines":
        assert model.pos_embed is not None
        # Learned like any other weights from there. The CLS token has no place.
        sines = build_sincos2d_pos_embed(model.patch_embed.grid_size, model.embed_dim, temperature=SLOWEST)
        with torch.no_grad():
            model.pos_embed.zero_()[:, model.num_prefix_tokens :] = sines
    return model


def _resnetv2(configuration: dict[str, Any]) -> ResNetV2:
    channels = configuration["channels"]
    conv_layer = partial(StdConv2d, eps=1e-8)
    model = ResNetV2(
        layers=configuration["stages"],
        channels=channels,
        num_classes=NUM_CLASSES,
        in_chans=1,
        stem_chs=channels[0],
        # BiT's weight standardisation and group normalisation; the bottlenecks here have 8 channels and more.
        conv_layer=conv_layer,
        norm_layer=partial(GroupNormAct, num_groups=4),
    )
    # BiT's stem divides the side of the image by four, which would leave 7 x 7 locations to the first stage.
    model.stem = nn.Sequential(OrderedDict(conv=conv_layer(1, channels[0], kernel_size=3)))
    return model


def _mixer(configuration: dict[str, Any]) -> MlpMixer:
    return MlpMixer(
        num_classes=NUM_CLASSES,
        img_size=IMAGE_SIZE,
        in_chans=1,
        patch_size=configuration["patch_size"],
        num_blocks=configuration["depth"],
        embed_dim=configuration["embed_dim"],
    )
