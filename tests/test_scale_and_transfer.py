"""What finetuning keeps of each block: statistics from their definitions, and which layers are partners."""

import numpy as np
import pytest
import torch

from seelike import data
from seelike.cka import cka
from seelike.models import layers, load, preprocessing, read
from seelike.sections import scale_and_transfer


@pytest.fixture(scope="module")
def vit():
    return load("test_vit:random")


def test_the_records_say_what_was_finetuned_on_what():
    groups = [["vit", "vit_on_cats"], ["tiny/vit_7x7", "tiny/vit_7x7_gap", "resnet18"]]
    found = scale_and_transfer.finetunings(groups)
    assert [(step.before, step.target, step.images) for step in found] == [
        ("vit", "on_cats", None),
        ("tiny/vit_7x7", "fashion-mnist", "fashion-mnist/test"),
        ("tiny/vit_7x7", "resnet18", None),
    ]


def test_nothing_was_finetuned():
    assert scale_and_transfer.finetunings([]) == []
    assert scale_and_transfer.nearest_and_farthest([]) == []


def test_nearest_and_farthest_are_of_one_network():
    steps = scale_and_transfer.finetunings([["a", "a_1"], ["b", "b_1", "b_2", "b_3"], ["c", "c_1", "c_2"]])
    ends = [(near.after, far.after) for near, far in scale_and_transfer.nearest_and_farthest(steps)]
    assert ends == [("b_1", "b_3"), ("c_1", "c_2")]


def test_depth_of_blocks():
    assert scale_and_transfer.depth_of_blocks(5).tolist() == [0, 0.25, 0.5, 0.75, 1]
    assert scale_and_transfer.depth_of_blocks(1).tolist() == [0]


def test_partners_are_blocks_of_one_architecture(vit):
    before, after = scale_and_transfer.partners(vit, vit)
    assert [layer.kind for layer in before] == ["block"] * len(before)
    assert before == after
    assert scale_and_transfer.partners(vit, load("resnet18:random")) is None
    # As many blocks are needed on both sides.
    assert scale_and_transfer.partners(load("resnet18:random"), load("resnet34:random")) is None


def test_of_unknown_blocks_all_layers_are_partners():
    unknown = load("repvgg_a0:random")
    before, after = scale_and_transfer.partners(unknown, unknown)
    assert before == after == layers(unknown)


def test_kept_is_the_cka_of_each_block(vit):
    other, images = load("test_vit:random"), data.load("digits")
    found = scale_and_transfer.kept(vit, other, images, number_of_images=12, batch_size=12, repeats=2, seed=3)
    pixels = torch.stack([preprocessing(vit)(image) for image in images.sample(12, seed=4)])
    blocks = layers(vit, kinds=["block"])
    before, after = read(vit, blocks, pixels), read(other, blocks, pixels)
    expected = [cka(before[layer.name].flatten(1), after[layer.name].flatten(1)) for layer in blocks]
    np.testing.assert_allclose(found.cka[1], expected, rtol=0, atol=1e-5)


def test_repeats_take_at_most_half_of_the_images(vit):
    images = data.load("digits").sample(20, seed=0)
    amounts = {"batch_size": 100, "repeats": 1, "seed": 0}
    half = scale_and_transfer.kept(vit, load("test_vit:random"), images, number_of_images=20, **amounts)
    assert half.cka.shape == half.neighbours.shape == (1, 6)
    np.testing.assert_allclose(
        scale_and_transfer.kept(vit, vit, images, number_of_images=9, **amounts).cka, 1, atol=1e-6
    )


def test_networks_that_do_not_pair_up_keep_nothing_to_measure(vit):
    amounts = {"number_of_images": 8, "batch_size": 8, "repeats": 1, "seed": 0}
    assert scale_and_transfer.kept(vit, load("resnet18:random"), data.load("digits"), **amounts) is None


@pytest.mark.parametrize("blocks", [1, 2, 3, 7, 12])
def test_first_and_last(blocks):
    values = np.random.default_rng(blocks).random((4, blocks))
    assert np.allclose(scale_and_transfer.first_minus_last_block(values), [row[0] - row[-1] for row in values])
    third = next(count for count in range(1, blocks + 1) if 3 * count >= blocks)
    expected = [sum(row[:third]) / third - sum(row[-third:]) / third for row in values]
    assert np.allclose(scale_and_transfer.first_minus_last_third(values), expected, atol=1e-12)


@pytest.mark.parametrize(("row", "expected"), [([0.3], 0.3), ([0.2, 0.6], 0.4), ([0.1, 0.5, 0.9], 0.5)])
def test_half_depth(row, expected):
    assert scale_and_transfer.at_half_depth(np.array([row])) == pytest.approx([expected])


def test_half_depth_of_an_even_number_is_between_the_two_in_the_middle():
    values = np.random.default_rng(0).random((3, 8))
    assert np.allclose(scale_and_transfer.at_half_depth(values), (values[:, 3] + values[:, 4]) / 2)
