"""Try every measurement on timm's architectures with random weights, and hold it against another computation.

    python benchmarks/families.py [NAMES ...] [--threads 1] [--table]

Without names it runs those of architectures.txt that have no result yet. Norms and scales that begin at zero are
set to other numbers, so that no branch is closed, and running statistics are drawn. Results are compared with

    blocks          what a plain hook on the block's module gives; output = skip + branch, both caught where
                    PyTorch's own methods add; in autograd's graph, the branch comes from the skip or both from one
    places          timm's maps (`forward_intermediates`, NCHW), number by number; pixels, changed at one place
    skip ratios     NumPy, on the operands that were caught
    fields          autograd on timm's maps, or on what a plain hook gives, and on the caught branch
    localization    the accumulator, fed with timm's maps
    attention       maps of a network that was built without fused attention, and a plain sum over distances
    probes          a probe of the mean of timm's maps

A status is "right", "refused: why", "wrong: what", or "crash: what" for an error that the library does not raise
on purpose. No status is written by hand. The table is benchmarks/results/families.md, which the book shows.
"""

import argparse
import gc
import json
import re
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import timm
import timm.layers
import torch
from side_by_side import RESULTS, surroundings
from torch import Tensor, nn
from torch.nn import functional

from seelike.attention import attention_distances
from seelike.localization import TokenPatchCKA, token_patch_cka
from seelike.models import Layer, layers, places, read, residuals
from seelike.probes import RidgeProbe, probe_layers
from seelike.receptive_field import balanced_channels, effective_receptive_field
from seelike.skip import skip_ratios

NAME = "families"
LIST = Path(__file__).parent / "architectures.txt"
LARGEST_SIDE = 256
SIDES = {"samvit_base_patch16": 256, "naflexvit_base_patch16_gap": 224}


class Wrong(Exception):
    """Two computations do not agree."""


class Refused(Exception):
    """There is nothing to measure."""


def build(name: str, fused: bool = True) -> nn.Module:
    """Build a network in evaluation mode, the same weights each time, with no branch or gate at zero."""
    timm.layers.set_fused_attn(fused)
    try:
        size = timm.get_pretrained_cfg(name).input_size if timm.get_pretrained_cfg(name) else (3, 224, 224)
        side = SIDES.get(name, size[-1])
        if side > LARGEST_SIDE:
            side = 224
        torch.manual_seed(0)
        try:
            model = timm.create_model(name, **({"img_size": side} if side != size[-1] else {}))
        except TypeError:  # a network that takes images of any size
            model = timm.create_model(name)
    finally:
        timm.layers.set_fused_attn(True)
    generator = torch.Generator().manual_seed(1)
    for key, parameter in model.named_parameters():
        if float(parameter.detach().abs().max()) < 1e-3 or bool((parameter == parameter.flatten()[0]).all()):
            with torch.no_grad():
                if key.endswith("bias") or (parameter.ndim > 1 and min(parameter.shape[-2:]) > 1):
                    parameter.normal_(std=0.1, generator=generator)
                else:
                    parameter.uniform_(0.5, 1.5, generator=generator)
    for module in model.modules():
        if isinstance(getattr(module, "running_var", None), Tensor):
            module.running_mean.normal_(std=0.1, generator=generator)
            module.running_var.uniform_(0.5, 1.5, generator=generator)
    model.pretrained_cfg = {**(model.pretrained_cfg or {}), "input_size": (3, side, side)}
    return model.eval()


@dataclass
class Sum:
    """An addition as it was caught: both operands, their sum, and their places in autograd's graph."""

    left: Tensor
    right: Tensor
    left_node: Any
    right_node: Any


@contextmanager
def replaced(owner: Any, name: str, by: Callable[[Any], Any]) -> Iterator[None]:
    """Put another function in the place of one."""
    own, original = name in vars(owner), getattr(owner, name)
    setattr(owner, name, by(original))
    try:
        yield
    finally:
        setattr(owner, name, original) if own else delattr(owner, name)


@contextmanager
def catching_sums(sums: list[Sum], keep: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Catch what PyTorch's own methods add."""

    def catch(left: Any, right: Any) -> None:
        if isinstance(left, Tensor) and isinstance(right, Tensor) and left.shape == right.shape and left.ndim > 1:
            sums.append(Sum(keep(left), keep(right), left.grad_fn, right.grad_fn))

    def adding(original: Any) -> Any:
        def add(left: Any, right: Any, *args: Any, **options: Any) -> Any:
            scale = options.get("alpha", 1)
            catch(left, right if scale == 1 else scale * right)
            return original(left, right, *args, **options)

        return add

    def multiplying(original: Any) -> Any:
        def add(left: Any, one: Any, other: Any, *args: Any, value: Any = 1, **options: Any) -> Any:
            catch(left, value * (one * other))
            return original(left, one, other, *args, value=value, **options)

        return add

    with (
        replaced(Tensor, "__add__", adding),
        replaced(Tensor, "__iadd__", adding),
        replaced(Tensor, "add", adding),
        replaced(Tensor, "add_", adding),
        replaced(torch, "add", adding),
        replaced(torch, "addcmul", multiplying),
        replaced(Tensor, "addcmul", multiplying),
        replaced(Tensor, "addcmul_", multiplying),
    ):
        yield


def hooked(model: nn.Module, layer: Layer, images: Tensor) -> Tensor:
    """Give what the module of a layer gives, by a plain hook."""
    seen: list[Tensor] = []
    hook = model.get_submodule(layer.module).register_forward_hook(
        lambda module, given, output: seen.append(output.clone())
    )
    try:
        model(images)
    finally:
        hook.remove()
    return seen[layer.call]


def channels_last(model: nn.Module, x: Tensor) -> bool:
    """Say by convention where the channels are: last in tokens; in maps, where the two equal sides are not."""
    if x.ndim != 4:
        return True
    _, first, second, last = x.shape
    if second == last != first:
        return False
    if first == second != last:
        return True
    widths = {each["num_chs"] for each in getattr(model, "feature_info", [])}
    return second != 4 and first not in widths and last in widths


def channels_first(model: nn.Module, x: Tensor) -> Tensor:
    """See `[b, rows, columns, channels]` as a map, and MobileViT's `[b, channels, 2 x 2, patches]`."""
    if channels_last(model, x):
        return x.permute(0, 3, 1, 2)
    side = round(x.shape[3] ** 0.5)
    if x.shape[2] == 4 and side**2 == x.shape[3] != 4:
        folded = x.unflatten(3, (side, side)).unflatten(2, (2, 2))
        return folded.permute(0, 1, 4, 2, 5, 3).flatten(4, 5).flatten(2, 3)
    return x


def close(ours: Any, theirs: Any, what: str, tolerance: float) -> None:
    """Compare, relative to the largest number."""
    a, b = (torch.as_tensor(np.asarray(x)).double() for x in (ours, theirs))
    if a.shape != b.shape:
        raise Wrong(f"{what} of shape {list(a.shape)}, not {list(b.shape)}")
    off = float((a - b).abs().max()) / max(float(b.abs().max()), 1e-30)
    if not off <= tolerance:
        raise Wrong(f"{what} off by {off:.1g}")


@dataclass
class Case:
    """A network, and what is known of it by other ways than the library's."""

    name: str
    model: nn.Module
    images: Tensor
    notes: dict[str, str] = field(default_factory=dict)

    @cached_property
    def residuals(self) -> list:
        """All residual additions."""
        return residuals(self.model)

    @property
    def residuals_or_none(self) -> list:
        """The same; none for a network without."""
        return self.residuals if any(layer.kind == "block" for layer in self.blocks) else []

    @cached_property
    def blocks(self) -> list[Layer]:
        """The blocks; of a network without, the modules that have no parts."""
        every = layers(self.model)
        found = [layer for layer in every if layer.kind == "block"]
        return found or [each for each in every if not [*self.model.get_submodule(each.module).children()]]

    @cached_property
    def where(self) -> dict:
        """Where the library says the numbers of the blocks are."""
        return places(self.model, self.blocks, self.images)

    @cached_property
    def on_grid(self) -> list[Layer]:
        """The blocks whose places are known."""
        found = [layer for layer in self.blocks if self.where[layer.name].grid is not None]
        if not found:
            raise Refused(next(iter(self.where.values())).why)
        return found

    @property
    def last(self) -> Layer:
        """The last layer whose places are more than one, if there is any."""
        several = [layer for layer in self.on_grid if self.where[layer.name].grid != (1, 1)]
        return (several or self.on_grid)[-1]

    def maps(self, images: Tensor) -> list[Tensor]:
        """Give timm's maps; none where timm has none."""
        if not hasattr(self.model, "forward_intermediates"):
            return []
        found = self.model.forward_intermediates(images, output_fmt="NCHW", norm=False, intermediates_only=True)
        return [each for each in found if isinstance(each, Tensor) and each.ndim == 4]

    def as_map(self, layer: Layer, activation: Tensor) -> Tensor:
        """See what the library reads as a map, as the library says."""
        place = self.where[layer.name]
        tokens = place.tokens(activation)[:, len(place.prefix) :]
        return tokens.transpose(1, 2).unflatten(2, place.require_grid())

    def independent_map(self, layer: Layer, images: Tensor) -> Tensor:
        """Give the map of a layer as timm gives it, else by a hook and by convention."""
        with torch.no_grad():
            ours = self.as_map(layer, read(self.model, [layer], images)[layer.name])
        for each in self.maps(images):
            if agreement(ours, each.detach()) is not None:
                return each
        x = hooked(self.model, layer, images)
        self.notes["maps"] = "by a hook"
        if x.ndim == 3:
            prefix = getattr(self.model, "num_prefix_tokens", 0)
            side = round((x.shape[1] - prefix) ** 0.5)
            if side**2 != x.shape[1] - prefix:
                prefix, side = 0, round(x.shape[1] ** 0.5)
            return x[:, prefix:].transpose(1, 2).unflatten(2, (side, -1))
        if x.ndim != 4:
            raise Wrong("nothing independent gives this map")
        return channels_first(self.model, x)


def agreement(ours: Tensor, theirs: Tensor) -> bool | None:
    """Say whether two maps are the same; False for the same numbers in another order, None for other numbers."""
    if ours.numel() != theirs.numel():
        return None
    scale = 1e-4 * max(float(theirs.abs().max()), 1e-30)
    if ours.shape == theirs.shape and float((ours - theirs).abs().max()) <= scale:
        return True
    if float((ours[0].flatten().sort()[0] - theirs[0].flatten().sort()[0]).abs().max()) <= scale:
        return False
    return None


def check_blocks(case: Case) -> str:
    """Blocks and residual additions."""
    try:
        found = case.residuals
    except ValueError as error:
        if "no residual connections" not in str(error):
            raise
        raise Refused("no residual connections") from error
    model, images = case.model, case.images[:2]
    blocks = [layer for layer in case.blocks if layer.side == "output"]
    asked = {layer.name: layer for each in found for layer in (*each.operands, each.output)}
    asked |= {layer.name: layer for layer in blocks}
    seen = read(model, list(asked.values()), images)
    outputs: dict[tuple[str, int], Tensor] = {}
    calls: Counter[str] = Counter()

    def on_output(path: str) -> Callable[..., None]:
        def keep(module: nn.Module, given: Any, output: Any) -> None:
            outputs[path, calls[path]] = output.detach().clone()
            calls[path] += 1

        return keep

    hooks = [
        model.get_submodule(path).register_forward_hook(on_output(path))
        for path in dict.fromkeys(layer.module for layer in blocks)
    ]
    sums: list[Sum] = []
    with catching_sums(sums, lambda x: x.detach().clone()):
        model(images.clone().requires_grad_())
    for hook in hooks:
        hook.remove()
    for layer in blocks:
        close(seen[layer.name], outputs[layer.module, layer.call], layer.name, 1e-5)
    left = iter(sums)
    for each in found:
        skip, branch = (seen[layer.name] for layer in each.operands)
        expected = skip + branch
        if each.activation:
            expected = getattr(torch.ops.aten, each.activation)(expected)
        output = seen[each.output.name]
        if output.numel() != expected.numel():
            raise Wrong(f"{each.name}: the output has another size than the sum")
        try:
            close(output.reshape(expected.shape), expected, f"{each.name}: output", 1e-5)
        except Wrong:
            # The same numbers in another layout.
            close(output.flatten().sort()[0], expected.flatten().sort()[0], f"{each.name}: output", 1e-5)
        side = each.addition[2]
        match = next((one for one in left if _is(one, side, skip, branch)), None)
        if match is None:
            raise Wrong(f"{each.name}: no such addition was caught")
        case.__dict__.setdefault("matched", []).append((each, match))
        nodes = (match.left_node, match.right_node)
        skip_node, branch_node = nodes if side == "left" else nodes[::-1]
        below = _below(branch_node)
        if each.skip.kind != "shortcut":
            if not any(node in below for node in _views(skip_node)):
                raise Wrong(f"{each.name}: the branch does not come from the skip")
        elif not (below & _below(skip_node)):
            raise Wrong(f"{each.name}: skip and branch have nothing in common")
    numbers = Counter(layer.name.partition("/")[0] for layer in case.blocks)
    without = len(numbers) - len({f"block {each.block}" for each in found})
    return f"{len(numbers)} blocks, {len(found)} sums" + (f", {without} blocks without" if without else "")


def _is(caught: Sum, side: str, skip: Tensor, branch: Tensor) -> bool:
    left, right = (skip, branch) if side == "left" else (branch, skip)
    both = ((caught.left, left), (caught.right, right))
    return all(a.shape == b.shape and float((a - b).abs().max()) <= 1e-4 * float(b.abs().max()) for a, b in both)


def _below(node: Any) -> set:
    found, left = set(), [node]
    while left:
        each = left.pop()
        if each is not None and each not in found:
            found.add(each)
            left += [before for before, _ in each.next_functions]
    return found


def _views(node: Any) -> Iterator[Any]:
    """The node and those before it that change no number."""
    names = ("View", "Permute", "Transpose", "Clone", "Reshape", "Expand", "Unsqueeze", "Squeeze", "T", "Alias")
    while node is not None:
        yield node
        if not type(node).__name__.lstrip("_").startswith(names):
            return
        node = node.next_functions[0][0]


def check_places(case: Case) -> str:
    """Grids and orders of places."""
    on_grid = case.on_grid
    images = case.images[:2]
    with torch.no_grad():
        theirs = case.maps(images)
        seen = read(case.model, on_grid, images)
        same = 0
        for layer in on_grid:
            ours = case.as_map(layer, seen[layer.name])
            agree = [agreement(ours, each) for each in theirs]
            if True in agree:
                same += 1
            elif False in agree:
                raise Wrong(f"{layer.name} has the numbers of timm's map in another order")
        if not same:
            layer = case.last
            close(case.as_map(layer, seen[layer.name]), case.independent_map(layer, images), layer.name, 1e-4)
        # The pixels of a place are changed: this place, or one beside it that overlaps, answers most.
        first = on_grid[0]
        (rows, columns), side = case.where[first.name].require_grid(), images.shape[-1]
        if rows > 2:
            row, column = rows // 2, columns // 3
            changed = images.clone()
            top, left = (int(side * (at + 0.25) / n) for at, n in ((row, rows), (column, columns)))
            changed[:, :, top : top + max(side // rows // 2, 1), left : left + max(side // columns // 2, 1)] += 3
            after = case.as_map(first, read(case.model, [first], changed)[first.name])
            apart = (after - case.as_map(first, seen[first.name])).abs().sum(dim=(0, 1))
            at = divmod(int(apart.argmax()), columns)
            if max(abs(at[0] - row), abs(at[1] - column)) > 1:
                raise Wrong(f"{first.name}: pixels of place {row, column} change place {at}")
    without = len(case.blocks) - len(on_grid)
    told = f"{same} maps as timm's" if same else "last map as a hook's"
    return told + (f", {without} of {len(case.blocks)} without a grid" if without else "")


def check_skip(case: Case) -> str:
    """Skip ratios."""
    images = case.images[:2]
    if "matched" not in case.__dict__:
        check_blocks(case)
    ratios = skip_ratios(case.model, images)
    for each, caught in case.__dict__["matched"]:
        if each.name not in ratios:
            continue
        sides = (caught.left, caught.right)
        skip, branch = sides if each.addition[2] == "left" else sides[::-1]
        ours = np.sort(ratios[each.name].tokens.mean_ratio.numpy())
        if not np.isfinite(ours).all():
            raise Wrong(f"{each.name}: NaN")
        axes = [-1 if channels_last(case.model, skip) else 1]
        if skip.ndim == 4 and len(set(skip.shape[1:])) != 2:
            axes = [1, -1]  # no two equal sides say where the channels are
        offs = []
        for axis in axes:
            norms = [np.linalg.norm(x.double(), axis=axis).reshape(len(images), -1) for x in (skip, branch)]
            expected = np.sort((norms[0] / norms[1]).mean(axis=0))
            same_size = len(expected) == len(ours)
            offs.append(np.abs(ours - expected).max() / expected.max() if same_size else np.inf)
        if not min(offs) <= 1e-4:
            raise Wrong(f"{each.name}: ratio off by {min(offs):.1g}")
    left_out = len(case.residuals) - len(ratios)
    return f"{len(ratios)} sums" + (f", {left_out} left out" if left_out else "")


def check_fields(case: Case) -> str:
    """Effective receptive fields."""
    layer, image = case.last, case.images[:1]
    found = effective_receptive_field(case.model, [layer], image, channels=4)
    # Two rows: for one, PyTorch's backward pass of a BatchNorm before tokens is wrong (seelike.receptive_field).
    pixels = image.repeat(2, 1, 1, 1).requires_grad_()
    places_of = [case.where[layer.name]]
    addition = next((each for each in case.residuals_or_none if each.output.name == layer.name), None)
    widths = {places_of[0].width}
    if addition is not None and layer.name in found.before:
        widths.add(places(case.model, [addition.branch], image)[addition.branch.name].width)
    random = np.random.default_rng(0)
    random.permutation(1)
    chosen = {
        width: balanced_channels(width, 4, 1, random)[0] if width > 4 else np.arange(width)
        for width in sorted(widths)
    }
    close(found.after[layer.name], _field(case.independent_map(layer, pixels), pixels, chosen), "after", 1e-3)
    if layer.name not in found.before:
        return "after"
    caught: list[Sum] = []
    with catching_sums(caught, lambda x: x.clone()):
        case.model(pixels)
    skip, branch = read(case.model, addition.operands, pixels.detach()).values()
    side = addition.addition[2]
    match = next((one for one in caught if _is(one, side, skip, branch)), None)
    if match is None:
        raise Wrong("no such addition was caught")
    x = match.right if side == "left" else match.left
    grid = places_of[0].require_grid()
    if x.ndim == 4:
        x = channels_first(case.model, x)
        # Nest has windows and their tokens there.
        x = x if x.shape[2:] == grid else x.flatten(2).mT
    if x.ndim == 3:
        order = places_of[0].order
        x = x if order is None else x[:, order]
        x = x[:, x.shape[1] - grid[0] * grid[1] :].transpose(1, 2).unflatten(2, grid)
    close(found.before[layer.name], _field(x, pixels, chosen), "before", 1e-3)
    return "after and before"


def _field(x: Tensor, pixels: Tensor, chosen: dict[int, np.ndarray]) -> Tensor:
    _, width, rows, columns = x.shape
    total = torch.zeros(pixels.shape[2:], dtype=torch.float64)
    if width not in chosen:
        raise Wrong(f"{width} channels, where the library has {list(chosen)}")
    for channel in chosen[width]:
        (gradient,) = torch.autograd.grad(x[0, channel, rows // 2, columns // 2], pixels, retain_graph=True)
        total += gradient[0].double().abs().mean(dim=0)
    return total / len(chosen[width])


def check_localization(case: Case) -> str:
    """CKA of tokens with patches."""
    layer = case.last
    found = token_patch_cka(case.model, [layer], case.images, minibatch=len(case.images))[layer.name]
    with torch.no_grad():
        x = case.independent_map(layer, case.images)
    theirs = TokenPatchCKA((x.shape[2], x.shape[3]))
    theirs.update(case.images, x.flatten(2).mT)
    expected = theirs.compute()
    if bool(expected.isnan().any()):
        raise Wrong("NaN")
    close(found.cka, expected, layer.name, 1e-3)
    return f"{x.shape[2]} x {x.shape[3]} places"


def check_attention(case: Case) -> str:
    """Attention distances; in float64 where a network makes more of float32's rounding than is asked for."""
    images = case.images[:2]
    try:
        return _attention(case, case.model, build(case.name, fused=False), images)
    except Wrong:
        models = (build(case.name, fused).double() for fused in (True, False))
        return _attention(case, *models, images.double()) + " (float64)"


def _attention(case: Case, model: nn.Module, unfused: nn.Module, images: Tensor) -> str:
    found = attention_distances(model, images)
    maps: list[Tensor] = []

    def keep(x: Tensor) -> Tensor:
        if x.ndim > 2 and x.shape[-2] == x.shape[-1] and len(x) % len(images) == 0:
            maps.append(x.detach().double().reshape(len(images), -1, *x.shape[-2:]))
        return x

    def plain_attention(original: Any) -> Any:
        def attend(q: Tensor, k: Tensor, v: Tensor, mask: Any = None, *_: Any, **options: Any) -> Tensor:
            mask = options.get("attn_mask", mask)
            scores = q @ k.mT * (options.get("scale") or q.shape[-1] ** -0.5)
            if mask is not None:
                scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
            return torch.softmax(scores, dim=-1) @ v

        return attend

    def softmax(original: Any) -> Any:
        return lambda x, *args, **options: keep(original(x, *args, **options))

    with (
        torch.no_grad(),
        replaced(functional, "scaled_dot_product_attention", plain_attention),
        replaced(torch, "softmax", softmax),
        replaced(Tensor, "softmax", softmax),
    ):
        unfused(images)
    left = iter(maps)
    for block, ours in found.items():
        offs = []
        for attention in left:
            if attention.shape[1] == len(ours.distance):
                offs += [_off(case, block, attention, ours.distance)]
                if offs[-1] <= 1e-5:
                    break
        else:
            raise Wrong(f"{block}: distance off by {min(offs, default=np.inf):.1g}")
    return f"{len(found)} attentions"


def _off(case: Case, block: str, attention: Tensor, ours: Tensor) -> float:
    tokens, side = attention.shape[-1], case.images.shape[-1]
    prefixes = (getattr(case.model, "num_prefix_tokens", 0), 0, 1, 2)
    prefix = next((each for each in prefixes if round((tokens - each) ** 0.5) ** 2 == tokens - each), None)
    if prefix is None:
        return float("inf")
    rows = round((tokens - prefix) ** 0.5)
    if hasattr(case.model, "reroll"):  # Hiera has the places of what it masks together
        numbers = torch.arange(float(tokens))[None, :, None]
        order = case.model.reroll(numbers, int(block.split()[1]) - 1).flatten().long()
        attention = attention[:, :, order][..., order]
    # Pixels from one place to the next, as timm states it: the nearest to what the grid asks for.
    stated = [each["reduction"] for each in getattr(case.model, "feature_info", [])] or [side / rows]
    step = min(stated, key=lambda each: abs(each - side / rows))
    if hasattr(case.model, "img_size_scaled"):  # CrossViT shows its branches images of several sizes
        step = side / rows
    at = [(row * step, column * step) for row in range(rows) for column in range(rows)]
    expected = np.zeros(attention.shape[1])
    a = attention.numpy()[:, :, prefix:, prefix:]
    for q, (y, x) in enumerate(at):
        distances = np.array([((y - other) ** 2 + (x - another) ** 2) ** 0.5 for other, another in at])
        expected += ((a[:, :, q] * distances).sum(-1) / a[:, :, q].sum(-1)).mean(0) / len(at)
    return float(np.abs(ours.numpy() - expected).max() / expected.max())


def check_probes(case: Case) -> str:
    """Linear probes."""
    layer = case.last
    labels = torch.tensor([0, 1] * (len(case.images) // 2))
    other = case.images.flip(-1)
    (probe,) = probe_layers(
        case.model, (case.images, labels), (other, labels), tokens="mean of spatial", layers=[layer.name],
        alphas=[1.0], held_out=(other, labels),
    )  # fmt: skip
    with torch.no_grad():
        features = [case.independent_map(layer, x).mean(dim=(2, 3)).double() for x in (case.images, other)]
    solver = RidgeProbe(alphas=[1.0]).fit(features[0].numpy(), labels.numpy())
    hits = (solver.predict(features[1].numpy()) == labels.numpy()).mean()
    if abs(float(probe.accuracy) - hits) > 1e-6:
        raise Wrong(f"accuracy {float(probe.accuracy):.3f}, not {hits:.3f}")
    return "mean of places"


CHECKS: dict[str, Callable[[Case], str]] = {
    "blocks": check_blocks,
    "places": check_places,
    "skip ratios": check_skip,
    "receptive fields": check_fields,
    "localization": check_localization,
    "attention distance": check_attention,
    "probes": check_probes,
}


def reason(message: str) -> str:
    """Shorten an error of the library to its reason."""
    message = re.sub(r"^The attention of \w+ has no distance: (it has none\.)?", r"", message)
    if message.startswith(" Expected attention"):
        return "no attention"
    message = re.sub(r"^The tokens of \w+ are not known: ", "", message)
    message = re.sub(r"^(Layer '[^']+'|[\w.]+( \d+)?): ", "", message)
    message = re.sub(r"^.*for one image[:,] (and )?", "", message)
    message = re.split(r"\. |: |\.$", message.strip())[0]
    return message if len(message) < 120 else message[:117] + "..."


def status(check: Callable[[Case], str], case: Case) -> dict[str, str]:
    """Run one check."""
    try:
        with warnings.catch_warnings(record=True) as warned:
            warnings.simplefilter("always")
            told = check(case)
    except Refused as error:
        return {"status": "refused", "why": reason(str(error))}
    except Wrong as error:
        return {"status": "wrong", "why": str(error)}
    except ValueError as error:
        deepest = traceback.extract_tb(error.__traceback__)[-1].filename
        if "seelike" in deepest and "failed: " not in str(error):
            return {"status": "refused", "why": reason(str(error)), "message": str(error)}
        return {"status": "crash", "why": f"{type(error).__name__}: {str(error)[:300]}"}
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        told = f"{type(error).__name__} in {where.name}: {str(error)[:300]}"
        return {"status": "crash", "why": told}
    result = {"status": "right", "why": told}
    left_out = [str(each.message) for each in warned if "left out" in str(each.message)]
    if left_out:
        result["message"] = left_out[0]
    return result


def run(name: str, checks: Sequence[str], known: Mapping[str, Any]) -> dict[str, Any]:
    """Run some checks on one network, and keep what is known of the others."""
    model = build(name)
    channels, side, _ = model.pretrained_cfg["input_size"]
    images = torch.randn(8, channels, side, side, generator=torch.Generator().manual_seed(2))
    case = Case(name, model, images)
    row = {"class": type(model).__name__, "side": side, **known}
    begin = time.perf_counter()
    for what in checks:
        row[what] = status(CHECKS[what], case)
    seconds = round(time.perf_counter() - begin, 1)
    print(f"{name} ({seconds:.0f} s)", flush=True)
    for what in checks:
        print(f"    {what}: {row[what]['status']}: {row[what]['why']}", flush=True)
    return {"class": row["class"], "side": side} | {what: row[what] for what in CHECKS}


def table(rows: dict[str, dict]) -> str:
    """Write the tables of the book: how many are right, and what is refused of each network and why."""
    kinds = ["right", "refused", "wrong", "crash"]
    lines = [
        f"{len(rows)} architectures.",
        "",
        "| Measurement | Right | Refused | Wrong | Crash |",
        "|" + "---|" * 5,
    ]
    for what in CHECKS:
        count = Counter(row[what]["status"] for row in rows.values())
        lines.append(f"| {what[0].upper()}{what[1:]} | " + " | ".join(str(count[kind]) for kind in kinds) + " |")
    lines += ["", "<!-- networks -->", "", "| Network | Found | Not measured, and why |", "|---|---|---|"]
    for name, row in rows.items():
        others: dict[str, list[str]] = {}
        for what in CHECKS:
            cell = row[what]
            if "message" in cell and cell["status"] == "right":
                count, _, rest = cell["message"].partition("left out")
                part = count.partition(" are ")[0].partition(" have ")[0]
                others.setdefault(reason(rest.lstrip(".: ")), []).append(f"{what} ({part})")
            elif cell["status"] != "right":
                label = "" if cell["status"] == "refused" else f"{cell['status']}: "
                others.setdefault(label + cell["why"], []).append(what)
        # What says itself what is missing needs no name of the measurement.
        told = "; ".join(
            why if why.startswith("no ") else f"{', '.join(whats)}: {why}" for why, whats in others.items()
        )
        found = row["blocks"]["why"] if row["blocks"]["status"] == "right" else ""
        lines.append(f"| {name.replace('_', '_<wbr>')} | {found} | {told} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run what is asked for, and write results and table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="architectures of timm (those of the list without a result)")
    parser.add_argument("--checks", nargs="+", choices=CHECKS, default=list(CHECKS), help="only these (all)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--table", action="store_true", help="only make the table anew")
    parser.add_argument("--results", type=Path, default=RESULTS / f"{NAME}.json")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    file = options.results
    listed = LIST.read_text().split()
    rows = json.loads(file.read_text())["rows"] if file.exists() else {}
    names = options.names or [name for name in listed if name not in rows]
    how = argparse.Namespace(device="cpu", threads=options.threads)
    for name in [] if options.table else names:
        try:
            rows[name] = run(name, options.checks if name in rows else list(CHECKS), rows.get(name, {}))
        except Exception:
            traceback.print_exc()
            print(f"{name}: not built", flush=True)
            continue
        order = {each: place for place, each in enumerate(listed)}
        rows = dict(sorted(rows.items(), key=lambda row: order.get(row[0], len(order))))
        file.write_text(json.dumps({"rows": rows, **surroundings(NAME, how)}, indent=2) + "\n")
        gc.collect()
    file.with_suffix(".md").write_text(table(rows))


if __name__ == "__main__":
    main()
