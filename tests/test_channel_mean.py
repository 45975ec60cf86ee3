"""Fields of a mean channel, and of stacked kernels, against sums by hand."""

import numpy as np
import pytest
import torch

from seelike.models import Layer, layers, load
from seelike.sections.channel_mean import field_of_channel_mean, half_width, stack_of_kernels


def test_the_field_is_the_positive_derivative_of_the_mean_channel():
    model = load("tiny/vit_7x7:random").double()
    (block,) = layers(model, ["block 2"])
    images = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    seen = []
    handle = model.blocks[1].register_forward_hook(lambda *args: seen.append(args[2]))
    expected = torch.zeros(28, 28, dtype=torch.float64)
    for image in images:
        pixels = image[None].clone().requires_grad_()
        model(pixels)
        # CLS, then the middle of 7 x 7 tokens.
        seen.pop()[0, 1 + 3 * 7 + 3].mean().backward()
        expected += pixels.grad[0, 0].clamp_min(0) / 3
    handle.remove()
    assert torch.allclose(field_of_channel_mean(model, block, images), expected, rtol=0, atol=1e-12)


def test_channels_of_opposite_sign_cancel():
    class Opposite(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = torch.nn.Conv2d(1, 2, 3, padding=1, bias=False)
            self.conv.weight.data = torch.stack([torch.ones(1, 3, 3), -torch.ones(1, 3, 3)])

        def forward(self, x):
            return self.conv(x).flatten(1).mean(dim=1, keepdim=True)

    model = Opposite().eval()
    model.pretrained_cfg = {"input_size": (1, 5, 5)}
    field = field_of_channel_mean(model, Layer("conv", "", None, 0.0, "conv"), torch.randn(2, 1, 5, 5))
    assert not field.any()


@pytest.mark.parametrize(("number", "size"), [(1, 5), (3, 3), (4, 7)])
def test_a_stack_is_one_sum_over_all_paths(number, size):
    kernels = np.random.default_rng(number).normal(size=(number, size))
    reach = number * (size - 1) // 2
    field = {0: 1.0}
    for kernel in kernels:
        longer = {}
        for at, value in field.items():
            for place, weight in enumerate(kernel):
                to = at + place - size // 2
                longer[to] = longer.get(to, 0.0) + value * weight
        field = longer
    expected = [abs(field[at]) for at in range(-reach, reach + 1)]
    assert np.allclose(stack_of_kernels(kernels), expected, rtol=0, atol=1e-12)


def test_half_of_an_even_field_lies_within_half_of_it():
    # 9 places, 4.5 of mass: 3 within 1, 5 within 2.
    assert half_width(np.ones(9)) == pytest.approx(1.75)
    for field in (np.ones(4), np.zeros(3)):
        with pytest.raises(ValueError, match="expected an odd number and some mass"):
            half_width(field)
