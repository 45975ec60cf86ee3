"""Blocks of a network, and several questions in one pass."""

import numpy as np
import timm
import torch

from seelike import data
from seelike.models import layers, load, read
from seelike.sections.blocks import ask, blocks_of, clouds_of
from seelike.similarities import coordinates
from seelike.streaming import Images


def test_blocks_or_what_stands_for_them():
    assert [layer.kind for layer in blocks_of(load("tiny/resnet:random"))] == ["block"] * 8
    plain = torch.nn.Sequential(*[torch.nn.Conv2d(3, 3, 1) for _ in range(20)])
    plain.pretrained_cfg = {"input_size": (3, 8, 8)}
    assert len(blocks_of(plain.eval())) == 10


def test_questions_get_the_answers_of_a_pass_for_each():
    model = timm.create_model("test_vit").eval()
    images = torch.randn(5, 3, 160, 160)
    questions = {"mean": lambda x, _: float(x.mean()), "cloud": lambda x, _: coordinates(x)}
    found = ask(model, images, questions)
    of_blocks = read(model, layers(model, kinds=["block"]), images)
    for mean, cloud, x in zip(found["mean"], found["cloud"], of_blocks.values(), strict=True):
        assert mean == float(x.mean())
        assert np.array_equal(cloud, coordinates(x))


def test_clouds_of_prepared_images_are_those_of_the_set():
    images, model = data.load("digits/test").sample(6, seed=0), load("tiny/vit_7x7:random")
    found = clouds_of(model, Images(images, model)[:])
    for name, cloud in clouds_of(model, images).items():
        assert np.array_equal(found[name], cloud)
