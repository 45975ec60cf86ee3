"""Receptive fields from the definition: by central differences, and by one backward pass for each channel."""

from itertools import permutations

import numpy as np
import torch

from seelike.models import read


def centre(activation, prefix, grid):
    """Channels [b, c] at the centre location; `prefix` tokens come before the grid, None says [b, c, h, w]."""
    row, column = grid[0] // 2, grid[1] // 2
    if prefix is None:
        return activation[:, :, row, column]
    return activation[:, prefix + row * grid[1] + column, :]


def fields_by_differences(model, places, images, step=1e-6):
    """|dz_c/dx|, averaged over channels, colours and images, with (z(x + h) - z(x - h)) / 2h for each pixel.

    `places` are layers with their prefix and grid, as `centre` takes them.
    """
    fields = {layer.name: [] for layer, _, _ in places}
    layers = [layer for layer, _, _ in places]
    for image in images:
        shifts = step * torch.eye(image.numel(), dtype=image.dtype).reshape(-1, *image.shape)
        up, down = (read(model, layers, image + sign * shifts) for sign in (1, -1))
        for layer, prefix, grid in places:
            above, below = (centre(shifted[layer.name].numpy(), prefix, grid) for shifted in (up, down))
            derivative = ((above - below) / (2 * step)).reshape(*image.shape, -1)
            fields[layer.name].append(np.abs(derivative).mean(axis=-1).mean(axis=0))
    return {name: np.mean(each, axis=0) for name, each in fields.items()}


def field_by_loop(model, layer, images, prefix, grid):
    """The same, with a forward and a backward pass of its own for each image and channel."""
    module = model.get_submodule(layer.module)
    derivatives = []
    for image in images:
        channel, width = 0, 1
        while channel < width:
            seen, calls = [], []

            def keep(_, given, output=None, seen=seen, calls=calls):
                calls.append(None)
                if len(calls) == layer.call + 1:
                    # At once, and copied: what comes after may write in place.
                    seen.append(centre(given[0] if output is None else output, prefix, grid).clone())

            hooked = module.register_forward_pre_hook if layer.side == "input" else module.register_forward_hook
            handle = hooked(keep)
            x = image[None].clone().requires_grad_()
            model(x)
            handle.remove()
            width = seen[0].shape[1]
            seen[0][0, channel].backward()
            derivatives.append(x.grad[0].double().abs().mean(dim=0).numpy())
            channel += 1
    return np.mean(derivatives, axis=0)


def radius(field, middle):
    """Half of the mass lies within this distance of `middle`, with linear interpolation between distances."""
    mass_at = {0.0: 0.0}
    for (row, column), mass in np.ndenumerate(field):
        distance = round(float(np.sqrt((row - middle[0]) ** 2 + (column - middle[1]) ** 2)), 9)
        mass_at[distance] = mass_at.get(distance, 0.0) + float(mass)
    before, below = 0.0, 0.0
    for distance in sorted(mass_at):
        within = below + mass_at[distance]
        if within >= field.sum() / 2:
            missing = field.sum() / 2 - below
            return distance if distance == 0 else before + (distance - before) * missing / (within - below)
        before, below = distance, within
    raise AssertionError


def all_draws(magnitudes, channels):
    """Every way to pair the images and to deal channels, each once, to the pairs: lists of (images, channels)."""
    images, width = magnitudes.shape[:2]
    for order in permutations(range(images)):
        pairs = [order[start : start + 2] for start in range(0, images, 2)]
        if pairs == sorted(map(tuple, map(sorted, pairs))):
            for dealt in permutations(range(width), len(pairs) * channels):
                yield [(pair, dealt[u * channels : (u + 1) * channels]) for u, pair in enumerate(pairs)]
