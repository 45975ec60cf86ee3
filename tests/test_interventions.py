"""Interventions against a forward pass by hand in float64, and that nothing of them is left afterwards."""

import foreign
import numpy as np
import pytest
import torch
from torch import nn

from seelike import data
from seelike.attention import attention_distances
from seelike.interventions import (
    cls_tokens,
    mean_of_heads,
    replaced_cls,
    shuffled_patches,
    shuffled_tokens,
    without_heads,
    without_skip,
)
from seelike.models import layers, load, read
from seelike.sections.interventions import choose_heads, read_intact, swapped_cls, unchanged

# In float64 the order of sums is all that differs.
TOLERANCE = 1e-10


@pytest.fixture(params=["ViT", "DINOv2 with registers", "DeiT, distilled"])
def vit(request):
    model = foreign.network(request.param).double()
    return model, foreign.images(request.param).double()


def by_hand(model, images, *, heads=(), mean=None, order=None, cut=None, cls=None):
    """A ViT's forward pass, head by head: sums over heads, norms and MLPs as in the paper of Dosovitskiy et al."""
    x = model.norm_pre(model._pos_embed(model.patch_embed(images)))
    prefix = x.shape[1] - (images.shape[2] // model.patch_embed.patch_size[0]) ** 2
    if order is not None:
        x = torch.stack([x[:, i if i < prefix else prefix + order[i - prefix]] for i in range(x.shape[1])], dim=1)
    replaced = lambda x, after: torch.cat([cls[1][:, None], x[:, 1:]], 1) if cls and cls[0] == after else x  # noqa: E731
    x = replaced(x, 0)
    for number, block in enumerate(model.blocks, start=1):
        attention, width = block.attn, x.shape[2] // block.attn.num_heads
        q, k, v = attention.qkv(block.norm1(x)).split(x.shape[2], dim=2)
        branch = attention.proj.bias.clone()
        for head in range(attention.num_heads):
            own = slice(head * width, (head + 1) * width)
            weights = (q[..., own] @ k[..., own].mT / width**0.5).softmax(dim=2)
            seen = weights @ v[..., own]
            if (number, head) in heads:
                seen = torch.zeros_like(seen) if mean is None else mean[number][:, own].expand_as(seen)
            branch = branch + seen @ attention.proj.weight[:, own].T
        branch = block.ls1(branch)
        x = branch if cut == number else x + branch
        branch = block.ls2(block.mlp(block.norm2(x)))
        x = branch if cut == number else x + branch
        x = replaced(x, number)
    return model.forward_head(model.norm(x))


def run(model, images, context):
    with context, torch.no_grad():
        return model(images)


def assert_close(found, expected):
    torch.testing.assert_close(found, expected.detach(), rtol=TOLERANCE, atol=TOLERANCE)


def test_the_forward_pass_by_hand_is_that_of_the_network(vit):
    model, images = vit
    assert_close(model(images).detach(), by_hand(model, images))


@pytest.mark.parametrize("heads", [[(1, 0)], [(2, 1)], [(1, 1), (2, 0)], [(1, 0), (1, 1)]])
def test_without_heads_is_the_sum_over_the_others(vit, heads):
    model, images = vit
    assert_close(run(model, images, without_heads(model, heads)), by_hand(model, images, heads=heads))


def test_the_mean_of_heads_is_over_images_and_takes_their_place(vit):
    model, images = vit
    with torch.no_grad():
        found = mean_of_heads(model, images, batch_size=2)
    # By hand, of the first block, whose input no head has changed.
    x = model.norm_pre(model._pos_embed(model.patch_embed(images)))
    block = model.blocks[0]
    seen = []
    block.attn.proj.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    block.attn(block.norm1(x))
    assert_close(found[1], seen[0].mean(dim=0))
    heads = [(1, 0), (2, 1)]
    expected = by_hand(model, images, heads=heads, mean=found)
    assert_close(run(model, images, without_heads(model, heads, found)), expected)


def test_shuffled_tokens_are_permuted_behind_the_embedding(vit):
    model, images = vit
    order = torch.randperm(16, generator=torch.Generator().manual_seed(2))
    assert_close(run(model, images, shuffled_tokens(model, order)), by_hand(model, images, order=order))
    # Behind the embedding a ViT knows no order: each token is what it was, at its new place.
    blocks = layers(model, kinds=["block"])
    before = read(model, blocks, images)
    with shuffled_tokens(model, order):
        after = read(model, blocks, images)
    prefix = model.num_prefix_tokens
    for name, x in before.items():
        assert_close(after[name][:, :prefix], x[:, :prefix])
        assert_close(after[name][:, prefix:], x[:, prefix:][:, order])


@pytest.mark.parametrize("block", [1, 2])
def test_without_skip_hands_on_the_branches_alone(vit, block):
    model, images = vit
    assert_close(run(model, images, without_skip(model, block)), by_hand(model, images, cut=block))


@pytest.mark.parametrize("after", [0, 1, 2])
def test_replaced_cls_goes_on_in_the_place_of_the_own(vit, after):
    model, images = vit
    (tokens,) = cls_tokens(model, images, [after])
    for token in (tokens.roll(1, dims=0), tokens.mean(dim=0, keepdim=True)):
        expected = by_hand(model, images, cls=(after, token.expand_as(tokens)))
        assert_close(run(model, images, replaced_cls(model, after, token)), expected)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 3), (4, 6), (8, 1)])
def test_shuffled_patches_are_moved_one_by_one(rows, columns):
    images = torch.randn(2, 3, 8, 12)
    order = torch.randperm(rows * columns)
    height, width = 8 // rows, 12 // columns
    expected = torch.empty_like(images)
    for place, piece in enumerate(order.tolist()):
        (to_y, to_x), (from_y, from_x) = divmod(place, columns), divmod(piece, columns)
        expected[:, :, to_y * height : (to_y + 1) * height, to_x * width : (to_x + 1) * width] = images[
            :, :, from_y * height : (from_y + 1) * height, from_x * width : (from_x + 1) * width
        ]
    assert torch.equal(shuffled_patches(images, rows, columns, order), expected)


# --- in place, and other families ----------------------------------------------------------------------------


def test_a_resnet_adds_in_place():
    torch.manual_seed(0)
    model = load("resnet18:random").double()
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    block = model.layer1[1]
    with torch.no_grad():
        x = model.layer1[0](model.maxpool(model.act1(model.bn1(model.conv1(images)))))
        x = block.act2(block.bn2(block.conv2(block.act1(block.bn1(block.conv1(x))))))
        expected = model.forward_head(model.layer4(model.layer3(model.layer2(x))))
    assert_close(run(model, images, without_skip(model, 2)), expected)


HAVE_HEADS = {
    "ViT",
    "ViT, patches of 32 x 8",
    "DINOv2 with registers",
    "registers, no CLS",
    "DINOv3, rotary",
    "EVA-02, rotary, SwiGLU",
    "BEiT, relative bias",
    "DeiT, distilled",
    "SigLIP, pooled by attention",
    "LeViT",
}
HAVE_CLS = {
    "ViT",
    "ViT, patches of 32 x 8",
    "DINOv2 with registers",
    "DINOv3, rotary",
    "EVA-02, rotary, SwiGLU",
    "BEiT, relative bias",
    "DeiT, distilled",
}
NO_SKIP_IN_BLOCK_1 = {"EfficientNet"}
# Where the heads of block 1 go side by side: the columns of these weights are those of a head.
PROJECTION = "blocks.0.attn.proj"


@pytest.mark.parametrize("name", foreign.NETWORKS)
def test_each_family_is_changed_rightly_or_refused(name):
    model, images = foreign.network(name), foreign.images(name)
    before = run(model, images, unchanged(0))
    if name in HAVE_HEADS:
        found = run(model, images, without_heads(model, [(1, 1)]))
        assert not torch.equal(found, before)
        if PROJECTION in dict(model.named_modules()):
            weight = model.get_submodule(PROJECTION).weight
            own = weight.detach().clone()
            with torch.no_grad():
                weight[:, weight.shape[1] // 2 :] = 0
                torch.testing.assert_close(found, model(images), rtol=1e-4, atol=1e-5)
                weight.copy_(own)
    else:
        with pytest.raises(ValueError, match=r"cannot be taken out one by one|no heads that can be told apart"):
            run(model, images, without_heads(model, [(1, 0)]))
    if name in NO_SKIP_IN_BLOCK_1:
        with pytest.raises(ValueError, match=r"no skip connection\. Blocks that have: 3"):
            run(model, images, without_skip(model, 1))
    else:
        assert not torch.equal(run(model, images, without_skip(model, 1)), before)
    if name in HAVE_CLS:
        (tokens,) = cls_tokens(model, images, [1])
        assert torch.equal(run(model, images, replaced_cls(model, 1, tokens)), before)
        assert not torch.equal(run(model, images, replaced_cls(model, 1, tokens + 1)), before)
    else:
        with pytest.raises(ValueError, match="has no CLS token"):
            cls_tokens(model, images, [1])
    assert torch.equal(run(model, images, unchanged(0)), before)


def test_rotary_positions_are_not_carried_by_tokens():
    model, images = foreign.network("DINOv3, rotary"), foreign.images("DINOv3, rotary")
    before = run(model, images, unchanged(0))
    # No position is added at the start: attention turns queries and keys by where they stand.
    assert (run(model, images, shuffled_tokens(model, torch.arange(15, -1, -1))) - before).abs().max() > 1e-6


def test_a_map_has_no_tokens_to_shuffle():
    model = foreign.network("BiT")
    with pytest.raises(ValueError, match=r"expected tokens \[t, d\]"):
        run(model, foreign.images("BiT"), shuffled_tokens(model, torch.arange(16)))


# --- nothing is changed where nothing is asked for, and nothing is left ---------------------------------------


@pytest.fixture(scope="module")
def tiny():
    return load("tiny/vit_7x7"), torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))


def test_an_intervention_that_changes_nothing_is_bit_equal(tiny):
    model, images = tiny
    before = run(model, images, unchanged(0))
    for context in (
        without_heads(model, []),
        shuffled_tokens(model, torch.arange(49)),
        *(replaced_cls(model, after, cls_tokens(model, images, [after])[0]) for after in (0, 4, 8)),
    ):
        assert torch.equal(run(model, images, context), before)
    # The mean over one image is what that image has.
    one, every = images[:1], [(block, head) for block in range(1, 9) for head in range(4)]
    alone = run(model, one, unchanged(0))
    assert torch.equal(run(model, one, without_heads(model, every, mean_of_heads(model, one))), alone)
    assert torch.equal(shuffled_patches(images, 7, 7, torch.arange(49)), images)


def hooks_of(model):
    return sum(len(each._forward_hooks) + len(each._forward_pre_hooks) for each in model.modules())


@pytest.mark.parametrize("error", [False, True])
def test_nothing_is_left_also_after_an_error(tiny, error):
    model, images = tiny
    before = run(model, images, unchanged(0))
    number = hooks_of(model)
    for open_context in (
        lambda: without_heads(model, [(1, 0), (3, 2)]),
        lambda: shuffled_tokens(model, torch.randperm(49)),
        lambda: without_skip(model, 3),
        lambda: replaced_cls(model, 2, torch.zeros(1, 64)),
    ):
        given = images[..., :20] if error else images  # of a size that the network does not take
        with pytest.raises(AssertionError) if error else unchanged(0):
            run(model, given, open_context())
        assert hooks_of(model) == number
        assert torch.equal(run(model, images, unchanged(0)), before)


def test_passes_within_one_context_are_all_changed_also_after_an_error(tiny):
    model, images = tiny
    expected = run(model, images, without_skip(model, 3))

    def stop(*_):
        raise InterruptedError

    with without_skip(model, 3), torch.no_grad():
        hook = model.blocks[2].mlp.register_forward_hook(stop)
        with pytest.raises(InterruptedError):
            model(images)
        hook.remove()
        assert torch.equal(model(images), expected)
        assert torch.equal(model.forward_head(model.forward_features(images)), expected)
        assert torch.equal(model.forward_head(model.forward_features(images)), expected)


def test_interventions_can_be_laid_into_each_other(tiny):
    model, images = tiny
    with without_skip(model, 8):
        both = run(model, images, without_heads(model, [(1, 0)]))
    with without_heads(model, [(1, 0)]):
        other = run(model, images, without_skip(model, 8))
    assert torch.equal(both, other)


def test_distances_follow_the_tokens_and_no_order_is_taken_for_another(tiny):
    model, images = tiny
    before = attention_distances(model, images)["block 2"].distance
    for seed in (0, 1):
        order = torch.randperm(49, generator=torch.Generator().manual_seed(seed))
        with shuffled_tokens(model, order):
            found = attention_distances(model, images)["block 2"].distance
        torch.testing.assert_close(found, before, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(attention_distances(model, images)["block 2"].distance, before)


@pytest.mark.parametrize(
    ("open_context", "said"),
    [
        (lambda model: without_heads(model, [(9, 0)]), "Block 9 of VisionTransformer has no heads"),
        (lambda model: without_heads(model, [(1, 4)]), r"heads has \[4\] of block 1, whose heads are 0 to 3"),
        (lambda model: without_heads(model, [(1, 0)], {1: torch.zeros(5, 64)}), "images of another size"),
        (lambda model: shuffled_tokens(model, torch.zeros(49).long()), "order must have each of 0 to 48 once"),
        (lambda model: without_skip(model, 9), "Block 9 of VisionTransformer has no skip connection"),
        (lambda model: replaced_cls(model, 9, torch.zeros(1, 64)), "Unknown layer 'block 9'"),
        (lambda model: replaced_cls(model, 2, torch.zeros(2, 64)), r"token is of shape \[2, 64\]; expected"),
        (lambda model: without_heads(nn.Sequential(model).train(), []), "in training mode"),
    ],
)
def test_errors_say_what_was_given_and_what_is_expected(open_context, said):
    model = load("tiny/vit_7x7")
    with pytest.raises(ValueError, match=said):
        run(model, torch.zeros(3, 1, 28, 28), open_context(model))


def test_pieces_of_unequal_size_are_refused():
    with pytest.raises(ValueError, match="3 x 3 pieces of 28 x 28 pixels are not of one size"):
        shuffled_patches(torch.zeros(1, 1, 28, 28), 3, 3, torch.arange(9))


# --- in numbers ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def garments():
    return data.load("fashion-mnist/test")


def test_unchanged_everything_is_the_same(garments):
    model = load("tiny/vit_7x7")
    intact = read_intact(model, garments, number=24, batch_size=12, seed=0)
    effect = intact.effect(unchanged)
    assert effect.same_class == 1
    np.testing.assert_allclose(effect.cka, 1)
    counts = np.bincount(intact.classes)
    assert intact.by_chance == pytest.approx((counts * (counts - 1)).sum() / (24 * 23))
    with torch.no_grad():
        assert torch.equal(torch.cat([model(batch).argmax(dim=1) for batch in intact.batches]), intact.classes)
    seen = set(intact.training.places.tolist())
    assert len(seen) == 100


def test_without_a_classifier_a_probe_gives_the_class(garments):
    model = load("tiny/vit_7x7")
    model.reset_classifier(0)
    intact = read_intact(model, garments, number=40, batch_size=40, seed=0)
    assert intact.by == "probe"
    assert intact.accuracy > 0.6
    assert intact.effect(unchanged).same_class == 1
    unlabelled = data.ImageSet(**{**vars(garments), "labels": None, "class_names": None})
    with pytest.raises(ValueError, match="no classifier, and no probe can take its place"):
        read_intact(model, unlabelled, number=8, batch_size=8, seed=0)


def test_cls_tokens_of_others_bring_their_class_at_the_top(garments):
    intact = read_intact(load("tiny/vit_7x7"), garments, number=24, batch_size=12, seed=0)
    swapped = swapped_cls(intact, [0, 8])
    assert swapped.own.tolist() == [1, 0]
    assert swapped.other.tolist() == [0, 1]
    assert swapped.by_mean[0] == 1
    # With one token for all, all have one class.
    most = np.bincount(intact.classes).max() / 24
    assert swapped.by_mean[1] <= most


def test_heads_are_chosen_in_each_block():
    distance = np.array([[3.0, 1.0, 2.0, 4.0], [5.0, 8.0, 7.0, 6.0]])
    assert choose_heads(distance, 2, "local") == {(1, 1), (1, 2), (2, 0), (2, 3)}
    assert choose_heads(distance, 2, "global") == {(1, 0), (1, 3), (2, 1), (2, 2)}
    random = choose_heads(distance, 2, "random", seed=1)
    assert [sum(block == number for block, _ in random) for number in (1, 2)] == [2, 2]
    assert random == choose_heads(distance, 2, "random", seed=1)
    assert len({tuple(sorted(choose_heads(distance, 2, "random", seed=s))) for s in range(20)}) > 5
