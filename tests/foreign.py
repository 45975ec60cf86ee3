"""Small networks of many families with random weights, for what must hold for any network."""

from functools import partial

import timm
import torch
from timm.layers import GatedMlp
from timm.models.mlp_mixer import Affine, MlpMixer, ResBlock, SpatialGatingBlock
from torch import nn

_MIXER = {"img_size": 64, "patch_size": 16, "num_blocks": 2, "embed_dim": 48}
_TOKENS = {"img_size": 64, "embed_dim": 48, "num_heads": 2}

# By what they are here for: how to build them.
NETWORKS = {
    "ViT": partial(timm.create_model, "vit_tiny_patch16_224", depth=2, **_TOKENS),
    "ViT, patches of 32 x 8": partial(
        timm.create_model, "vit_tiny_patch16_224", depth=2, patch_size=(32, 8), **_TOKENS
    ),
    "DINOv2 with registers": partial(
        timm.create_model, "vit_small_patch14_reg4_dinov2", depth=2, img_size=56, embed_dim=48, num_heads=2
    ),
    "registers, no CLS": partial(timm.create_model, "vit_medium_patch16_reg4_gap_256", depth=2, **_TOKENS),
    "DINOv3, rotary": partial(timm.create_model, "vit_small_patch16_dinov3", depth=2, **_TOKENS),
    "EVA-02, rotary, SwiGLU": partial(
        timm.create_model, "eva02_tiny_patch14_224", depth=2, img_size=56, embed_dim=48, num_heads=2
    ),
    "BEiT, relative bias": partial(timm.create_model, "beit_base_patch16_224", depth=2, **_TOKENS),
    "DeiT, distilled": partial(timm.create_model, "deit_tiny_distilled_patch16_224", depth=2, **_TOKENS),
    "SigLIP, pooled by attention": partial(timm.create_model, "vit_base_patch16_siglip_224", depth=2, **_TOKENS),
    "CaiT, talking heads": partial(timm.create_model, "cait_xxs24_224", depth=2, **_TOKENS),
    "ResMLP": partial(MlpMixer, **_MIXER, mlp_ratio=4, block_layer=ResBlock, norm_layer=Affine),
    "gMLP": partial(MlpMixer, **_MIXER, mlp_ratio=4, block_layer=SpatialGatingBlock, mlp_layer=GatedMlp),
    "Mixer": partial(MlpMixer, **_MIXER),
    "Swin": partial(
        timm.create_model,
        "swin_tiny_patch4_window7_224",
        img_size=56,
        embed_dim=24,
        depths=(2, 2),
        num_heads=(2, 4),
        window_size=7,
    ),
    "Hiera": partial(timm.create_model, "hiera_tiny_224", img_size=(64, 64)),
    "PVT": partial(timm.create_model, "pvt_v2_b0"),
    "LeViT": partial(timm.create_model, "levit_128s", img_size=64),
    "ConvNeXt": partial(timm.create_model, "test_convnext"),
    "EfficientNet": partial(timm.create_model, "tf_efficientnet_lite0"),
    "RegNet": partial(timm.create_model, "regnety_002"),
    "NFNet": partial(timm.create_model, "test_nfnet"),
    "MambaOut, channels last": partial(timm.create_model, "test_mambaout"),
    "BiT": partial(timm.create_model, "resnetv2_50x1_bit"),
}
SIDE = {"Swin": 56, "DINOv2 with registers": 56, "EVA-02, rotary, SwiGLU": 56}


def network(name: str) -> nn.Module:
    """Build one, in evaluation mode, with no branch or gate at zero."""
    torch.manual_seed(0)
    model = NETWORKS[name]().eval()
    for parameter in model.parameters():
        if not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    for module in model.modules():
        if isinstance(getattr(module, "running_var", None), torch.Tensor):
            module.running_mean.normal_(std=0.1)
            module.running_var.uniform_(0.5, 1.5)
    for key, parameter in model.named_parameters():
        if "gamma" in key or "alpha" in key or key.endswith(("ls1", "ls2")):
            nn.init.uniform_(parameter, 0.5, 1.5)
    side = SIDE.get(name, 64)
    model.pretrained_cfg = {**getattr(model, "pretrained_cfg", {}), "input_size": (3, side, side)}
    return model


def images(name: str, n: int = 3) -> torch.Tensor:
    """Give it some noise to look at."""
    side = SIDE.get(name, 64)
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(1))
