"""What came later, receptive fields: what the mean over channels hides, and how far stacked kernels reach.

The paper's field of a layer (`seelike.receptive_field`) is the mean over channels of the absolute derivative of
each. Many tools differentiate the mean of the channels once instead. At a pixel, with g_c for the derivative of
channel c,

    mean over c of |g_c|    against    |mean over c of g_c|:

where channels answer with opposite signs the second is smaller. It is what survives the addition, and not what the
layer can see. With positive numbers alone, max(mean of g_c, 0), it is the one that openerf gives.

Stacked convolutions without anything between are one convolution, whose kernel is the convolution of all kernels:
the receptive field of the stack, by hand.

Sources: Luo et al. (2016) for both; Ding et al. (2022) for few large kernels against many small ones.
"""

import numpy as np
import torch
from jaxtyping import Float, Float64
from torch import Tensor, nn

from seelike.models import Layer, places
from seelike.models.reading import listening


def field_of_channel_mean(
    model: nn.Module, layer: Layer, images: Float[Tensor, "n c height width"]
) -> Float64[Tensor, "height width"]:
    """Differentiate the mean channel of a layer's centre location once, and keep positive numbers.

    Args:
        model: A network in evaluation mode.
        layer: A layer whose activation lies on a grid.
        images: Prepared images.

    Returns:
        The mean over images and colours.

    Raises:
        ValueError: The layer is not on a grid.

    Example:
        >>> from seelike.models import layers, load
        >>> model = load("tiny/vit_7x7:random")
        >>> field_of_channel_mean(model, layers(model, ["block 1"])[0], torch.randn(2, 1, 28, 28)).shape
        torch.Size([28, 28])
    """
    place = places(model, [layer], images[:1])[layer.name]
    rows, columns = place.require_grid()
    centre = place.index(rows // 2, columns // 2)
    like = next(model.parameters(), images)
    with torch.inference_mode(False), torch.enable_grad():
        pixels = images.detach().to(like.device, like.dtype).requires_grad_()
        seen: list[Tensor] = []
        with listening(model, [layer], lambda _, activation: seen.append(activation[centre].mean(dim=1).sum())):
            model(pixels)
        (gradient,) = torch.autograd.grad(seen[0], pixels)
    return gradient.double().clamp_min(0).mean(dim=(0, 1)).cpu()


def stack_of_kernels(kernels: Float[np.ndarray, "layers size"]) -> Float64[np.ndarray, " reach"]:
    """Compute the receptive field of stacked convolutions along one line.

    Args:
        kernels: One of each layer, all of one odd size.

    Returns:
        The derivative of the middle output with respect to each input that it can see, by absolute value.

    Example:
        >>> stack_of_kernels(np.ones((2, 3))).tolist()
        [1.0, 2.0, 3.0, 2.0, 1.0]
    """
    field = np.ones(1)
    for kernel in kernels:
        field = np.convolve(field, kernel)
    return np.abs(field)


def half_width(field: Float[np.ndarray, " reach"]) -> float:
    """Measure how far from the middle half of a field's mass lies, along one line.

    Args:
        field: Numbers that are not negative, of an odd number of places.

    Returns:
        Places; interpolated between whole numbers.

    Raises:
        ValueError: The number of places is even, or there is no mass.

    Example:
        >>> half_width(np.array([0.0, 0.0, 1.0, 0.0, 0.0])), half_width(np.array([1.0, 0.0, 0.0, 0.0, 1.0]))
        (0.0, 1.5)
    """
    if len(field) % 2 == 0 or not field.sum() > 0:
        raise ValueError(f"Got {len(field)} places of mass {field.sum()}; expected an odd number and some mass.")
    middle = len(field) // 2
    within = np.array([field[middle - d : middle + d + 1].sum() for d in range(middle + 1)])
    return float(np.interp(within[-1] / 2, within, np.arange(middle + 1)))
