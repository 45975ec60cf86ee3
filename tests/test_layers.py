"""The layers are the places of the paper: every residual addition adds up, in every family of networks."""

from functools import partial

import numpy as np
import pytest
import torch
from timm.layers import BatchNormAct2d, BlurPool2d, GluMlp, GroupNorm, GroupNormAct, StdConv2d, SwiGLU
from timm.models import resnet, vision_transformer
from timm.models.deit import VisionTransformerDistilled
from timm.models.mlp_mixer import MlpMixer, ResBlock
from timm.models.resnet import ResNet
from timm.models.resnetv2 import ResNetV2
from timm.models.vision_transformer import VisionTransformer
from torch import nn
from torch.nn import functional

from seelike.errors import UnknownName
from seelike.models import family, layers, read, residuals
from seelike.models.tiny import TINY, build

vit = partial(VisionTransformer, img_size=16, patch_size=8, embed_dim=16, depth=2, num_heads=2)
mixer = partial(MlpMixer, img_size=16, patch_size=8, embed_dim=16, num_blocks=2)
resnet_v2 = partial(
    ResNetV2,
    layers=[2, 1],
    channels=(32, 64),
    stem_chs=16,
    norm_layer=partial(GroupNormAct, num_groups=4),
    conv_layer=StdConv2d,
)
plain_resnet = partial(ResNet, layers=[2, 1, 1, 1], channels=(8, 16, 16, 16))

# Many of the tiny networks differ by how they are trained and begun only. All weights are drawn anew here, so that
# such are one network, which goes by the first of their names.
OF_WEIGHTS = {
    "initialisation",
    "positions",
    "epochs",
    "seed",
    "share_of_images",
    "finetuned_from",
    "images",
    "learning_rate",
    "mirrored",
}
SHAPES = {
    name: {key: value for key, value in table.items() if key not in OF_WEIGHTS} for name, table in TINY.items()
}
UNLIKE = [name for place, name in enumerate(TINY) if SHAPES[name] not in list(SHAPES.values())[:place]]

NETWORKS = {
    "vit": vit,
    "vit, pooled before the norm": partial(vit, class_token=False, global_pool="avg"),
    "vit, pooled after the norm": partial(vit, class_token=False, global_pool="avg", fc_norm=False),
    "vit, registers": partial(vit, reg_tokens=4, no_embed_class=True, pre_norm=True),
    "vit, LayerScale": partial(vit, init_values=1e-5, drop_path_rate=0.5),
    "vit, gated MLP": partial(vit, mlp_layer=partial(GluMlp, gate_last=False)),
    "vit, SwiGLU and inner norms": partial(vit, mlp_layer=SwiGLU, scale_mlp_norm=True, scale_attn_norm=True),
    "vit, distilled": partial(
        VisionTransformerDistilled, img_size=16, patch_size=8, embed_dim=16, depth=2, num_heads=2
    ),
    "mixer": mixer,
    "mixer, stochastic depth": partial(mixer, drop_path_rate=0.5),
    "mixer, gated MLP": partial(mixer, mlp_layer=GluMlp),
    "resnetv2": resnet_v2,
    "resnetv2, stochastic depth": partial(resnet_v2, drop_path_rate=0.5, avg_down=True, stem_type="deep"),
    "resnetv2, basic": partial(resnet_v2, basic=True),
    "resnetv2, activation last": partial(resnet_v2, preact=False, norm_layer=BatchNormAct2d),
    "resnet, basic": partial(plain_resnet, block=resnet.BasicBlock),
    "resnet, bottleneck": partial(plain_resnet, block=resnet.Bottleneck),
    "resnet, squeeze": partial(
        plain_resnet, block=resnet.Bottleneck, block_args={"attn_layer": "se"}, drop_path_rate=0.5
    ),
    "resnet, blurred": partial(
        plain_resnet, block=resnet.BasicBlock, aa_layer=BlurPool2d, stem_type="deep", avg_down=True
    ),
    "resnet, group norm": partial(
        plain_resnet, block=resnet.Bottleneck, norm_layer=partial(GroupNorm, num_groups=2)
    ),
    **{f"tiny/{name}": partial(build, name) for name in UNLIKE},
}


def network(name: str) -> nn.Module:
    """Random weights everywhere: timm starts some branches at zero, where every reading of them would add up."""
    torch.manual_seed(0)
    model = NETWORKS[name]().eval()
    for tensor in [*model.parameters(), *model.buffers()]:
        if tensor.is_floating_point():
            nn.init.uniform_(tensor, 0.1, 0.5)
    return model


def images(model: nn.Module) -> torch.Tensor:
    channels, side = (1, 28) if model.num_classes == 10 else (3, 16 if family(model) != "resnet" else 64)
    return torch.randn(3, channels, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", NETWORKS)
def test_output_is_skip_plus_branch(name):
    model = network(name)
    found = residuals(model)
    activations = read(model, layers(model), images(model))
    for residual in found:
        skip, branch = activations[residual.skip.name], activations[residual.branch.name]
        expected = torch.relu(skip + branch) if residual.activation else skip + branch
        # The network adds the same numbers: no tolerance.
        assert torch.equal(activations[residual.output.name], expected), residual.name
        assert branch.abs().max() > 0
        assert residual.block == residual.output.block
    blocks = [layer for layer in layers(model) if layer.kind == "block"]
    # The block that a name such as tiny/vit_7x7_without_skips_4 ends with adds nothing.
    with_skips = [block for block in blocks if not name.endswith(f"without_skips_{block.block}")]
    assert len(found) == len(with_skips) * (1 if family(model) == "resnet" else 2)
    assert found[-1].output == with_skips[-1]
    activated = name.startswith("resnet,") or "activation last" in name
    assert {residual.activation for residual in found} == {"relu" if activated else None}


@pytest.mark.parametrize("name", NETWORKS)
def test_layers_are_listed_as_they_fire(name):
    model = network(name)
    listed = layers(model)
    fired = []
    read(model, listed, images(model), lambda layer, activation: fired.append(layer.name))
    assert [layer.name for layer in listed] == fired
    np.testing.assert_allclose([layer.depth for layer in listed], np.linspace(0, 1, len(listed)), rtol=1e-12)


def test_names_and_kinds_of_a_vit():
    model = network("vit")
    of_a_block = {
        "attention norm": "norm",
        "attention": "attention",
        "after attention": "residual",
        "mlp norm": "norm",
        "mlp hidden": "mlp hidden",
        "mlp": "mlp",
    }
    expected = [("embedding", "embedding", None)]
    for block in (1, 2):
        expected += [(f"block {block}/{name}", kind, block) for name, kind in of_a_block.items()]
        expected.append((f"block {block}", "block", block))
    expected.append(("final norm", "norm", None))
    assert [(layer.name, layer.kind, layer.block) for layer in layers(model)] == expected


def test_names_of_resnets_count_through_the_stages():
    names = [layer.name for layer in layers(network("resnetv2"))]
    assert names[:9] == [
        "embedding",
        "block 1/norm 1",
        "block 1/shortcut",
        "block 1/conv 1",
        "block 1/norm 2",
        "block 1/conv 2",
        "block 1/norm 3",
        "block 1/branch",
        "block 1",
    ]
    assert [layer.module for layer in layers(network("resnetv2"), kinds=["block"])] == [
        "stages.0.blocks.0",
        "stages.0.blocks.1",
        "stages.1.blocks.0",
    ]
    plain = layers(network("resnet, bottleneck"))
    assert [layer.name for layer in plain if layer.block == 2] == [
        "block 2/conv 1",
        "block 2/norm 1",
        "block 2/conv 2",
        "block 2/norm 2",
        "block 2/conv 3",
        "block 2/branch",
        "block 2",
    ]


def test_places_of_a_vit_block_by_hand():
    model = network("vit, LayerScale")
    activations = read(model, layers(model), images(model))
    block = model.blocks[0]
    with torch.no_grad():
        x = model._pos_embed(model.patch_embed(images(model)))
        torch.testing.assert_close(activations["embedding"], x)
        normed = functional.layer_norm(x, (16,), block.norm1.weight, block.norm1.bias, eps=1e-6)
        torch.testing.assert_close(activations["block 1/attention norm"], normed)
        branch = block.attn(normed) * block.ls1.gamma
        torch.testing.assert_close(activations["block 1/attention"], branch)
        x = x + branch
        torch.testing.assert_close(activations["block 1/after attention"], x)
        normed = functional.layer_norm(x, (16,), block.norm2.weight, block.norm2.bias, eps=1e-6)
        hidden = functional.gelu(normed @ block.mlp.fc1.weight.T + block.mlp.fc1.bias)
        torch.testing.assert_close(activations["block 1/mlp hidden"], hidden)


def test_token_mixing_comes_as_tokens_by_channels():
    model = network("mixer")
    read_layers = layers(model, ["embedding", "block 1/token mixing", "block 1/mlp"])
    assert [tuple(a.shape) for a in read(model, read_layers, images(model)).values()] == [(3, 4, 16)] * 3


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("vit", (3, 5, 16)),
        ("vit, registers", (3, 9, 16)),
        ("vit, pooled after the norm", (3, 4, 16)),
        ("vit, pooled before the norm", (3, 16)),
    ],
)
def test_final_norm_is_before_or_after_the_pooling(name, shape):
    model = network(name)
    assert read(model, layers(model, ["final norm"]), images(model))["final norm"].shape == shape


def test_names_and_kinds_choose():
    model = network("vit")
    chosen = layers(model, kinds=["attention", "mlp"])
    assert [layer.name for layer in chosen] == [
        "block 1/attention",
        "block 1/mlp",
        "block 2/attention",
        "block 2/mlp",
    ]
    assert all(layer in layers(model) for layer in chosen)
    assert [layer.name for layer in layers(model, names=["block 2", "block 1"])] == ["block 1", "block 2"]
    assert layers(model, names=["block 1"], kinds=["mlp"]) == []
    assert layers(model, names=[]) == []


def test_unknown_names_and_kinds_name_the_near_ones():
    with pytest.raises(UnknownName, match=r"layer 'block 1/atention'.*'block 1/attention'"):
        layers(network("vit"), names=["block 1/atention"])
    with pytest.raises(UnknownName, match=r"kind of layer 'atention'.*'attention'"):
        layers(network("vit"), kinds=["atention"])


UNLIKE_THE_PAPER = {
    "normalised after the branch": (partial(vit, block_fn=vision_transformer.ResPostBlock), ["attention", "mlp"]),
    "attention and MLP at once": (partial(vit, block_fn=vision_transformer.ParallelScalingBlock), ["attention"]),
    "two attentions at once": (
        partial(vit, block_fn=vision_transformer.ParallelThingsBlock),
        ["attention", "mlp"],
    ),
    "ResMLP": (partial(mixer, block_layer=ResBlock, mlp_ratio=4), ["token mixing", "mlp"]),
    "another activation": (partial(plain_resnet, block=resnet.Bottleneck, act_layer=nn.SiLU), ["branch"]),
    "another activation, ResNetV2": (
        partial(resnet_v2, preact=False, norm_layer=BatchNormAct2d, act_layer=nn.SiLU),
        ["branch"],
    ),
}


@pytest.mark.parametrize("name", UNLIKE_THE_PAPER)
def test_blocks_unlike_the_papers_are_found(name):
    make, of_block = UNLIKE_THE_PAPER[name]
    model = make().eval()
    side = 64 if family(model) == "resnet" else 16
    model.pretrained_cfg = {"input_size": (3, side, side)}
    blocks = layers(model, kinds=["block"])
    kinds = [[each.kind for each in residuals(model) if each.block == block.block] for block in blocks]
    assert kinds == [of_block] * len(blocks)


def test_a_network_without_residual_connections_says_so():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 4, 3)).eval()
    assert [layer.name for layer in layers(model)] == ["0", "1", "2"]
    with pytest.raises(ValueError, match=r"no residual connections.*layers\(model\)"):
        residuals(model)


class Unknown(nn.Module):
    """What other people's networks have: registration out of order, one ReLU for all, tuples, unused modules."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(4, 2)
        self.unused = nn.Linear(1, 1)
        self.relu = nn.ReLU(inplace=True)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Identity())

    def forward(self, x):
        x = self.relu(self.body(x)).flatten(2).transpose(1, 2)
        return self.head(self.relu(self.attention(x, x, x)[0]).mean(1))


def test_unknown_architecture_is_read_by_module_in_firing_order():
    model = Unknown().eval()
    model.pretrained_cfg = {"input_size": (3, 8, 8)}
    listed = layers(model)
    # Identity and Sequential hand on the convolution's output; attention gives a tuple; `unused` never fires.
    assert [layer.name for layer in listed] == ["body.0", "relu", "relu/call 2", "head"]
    assert [layer.kind for layer in listed] == ["Conv2d", "ReLU", "ReLU", "Linear"]
    assert [layer.depth for layer in listed] == pytest.approx([0, 1 / 3, 2 / 3, 1])
    pictures = torch.randn(5, 3, 8, 8)
    activations = read(model, listed, pictures)
    # PyTorch's attention takes another path without gradients: float32 rounding.
    torch.testing.assert_close(activations["head"], model(pictures))
    assert torch.equal(activations["body.0"], model.body[0](pictures))
    assert not any(module._forward_hooks for module in model.modules())


def test_a_network_that_was_changed_is_not_taken_for_what_it_was():
    model = vit(depth=3).eval()
    own = model.blocks[1]
    # A new module may get the address of one that is gone.
    for _ in range(3):
        model.blocks[1] = nn.Identity()
        assert len(residuals(model)) == 4
        model.blocks[1] = nn.Sequential(vit(depth=1).blocks[0], vit(depth=1).blocks[0]).eval()
        assert len(residuals(model)) == 8
    model.blocks[1] = own
    assert len(residuals(model)) == 6


def test_unknown_architecture_that_takes_other_images_says_what_to_do():
    model = nn.Sequential(nn.Conv2d(5, 4, 3)).eval()
    with pytest.raises(ValueError, match=r"of shape \(3, 224, 224\) failed.*model.pretrained_cfg ="):
        layers(model)


def test_families():
    families = {name: family(network(name)) for name in NETWORKS if name.startswith("tiny/")}
    assert families == {
        f"tiny/{name}": {"resnetv2": "resnet"}.get(table["architecture"], table["architecture"])
        for name, table in SHAPES.items()
        if name in UNLIKE
    }
    with pytest.raises(ValueError, match="pretrained_cfg"):
        family(nn.Linear(1, 1))
