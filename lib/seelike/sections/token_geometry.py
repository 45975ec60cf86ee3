"""What came later, tokens: do they know their place, what tells CLS from patches, and what do others need of it?

Let x [t, d] be the tokens of one image in one layer.

*Where they are.* A ridge regression reads row and column of a patch, from -1 to 1, from its token, on other images
than it was fitted to. Its R^2 is 1 where the place can be read without error, and 0 where the mean place does as
well.

*How alike those of one image are.* Of the variance of patches over images and places, the share between places of
one image is

    sum over images and places of ||x_place - mean of the image||^2 / sum of ||x_place - mean of all||^2.

It is 0 where all patches of an image are the same, as after a global pooling.

*CLS and patches.* The mean cosine of CLS with the patches, the mean cosine of different patches, and the length of
CLS over the mean length of a patch.

*Instead.* A token can be replaced after every block, by zeros, by its mean over images, or by that of another
image: how far the others then move says what they need of it.

Sources: Ghiasi et al. (2022) for places; Marouani et al. (2026) for CLS and patches; Parodi et al. (2026) for what
is put in the place of tokens; Sun et al. (2024) and Jiang et al. (2025) for large numbers in few channels.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float64, Int
from torch import Tensor, nn

from seelike.models import Layer, read

# Of the mean variance of a channel: so little that it only keeps the equations solvable.
_RIDGE = 1e-3
# Images whose tokens of all blocks are kept at a time.
_AT_A_TIME = 16
REPLACEMENTS = ("zeros", "mean over images", "another image")


def place_read(tokens: Float[Tensor, "n t d"], grid: tuple[int, int]) -> float:
    """Tell how well a linear probe reads the place of a patch from its token.

    The probe is fitted to the first half of the images, and tested on the others.

    Args:
        tokens: Of the patches alone, row by row, for four images or more.
        grid: Rows and columns.

    Returns:
        R^2 of row and column together: 1 for no error, 0 for the mean place, below 0 for worse.

    Raises:
        ValueError: There are fewer than four images, or not as many tokens as places, or a single place.

    Example:
        >>> places = torch.stack(torch.meshgrid(torch.arange(3.0), torch.arange(3.0), indexing="ij"), dim=2)
        >>> round(place_read(places.reshape(1, 9, 2).repeat(4, 1, 1), (3, 3)), 3)
        1.0
    """
    n, t, d = tokens.shape
    rows, columns = grid
    if n < 4 or t != rows * columns or t < 2:
        raise ValueError(
            f"Got {n} images of {t} tokens for a grid of {rows} x {columns} places; expected four images or more, "
            "and a token for each of two places or more."
        )
    # One row is in the middle.
    sides = [torch.linspace(-1, 1, side, dtype=torch.float64) * (side > 1) for side in grid]
    place = torch.stack(torch.meshgrid(*sides, indexing="ij"), dim=2).reshape(t, 2)
    x = tokens.double().cpu()
    fit, test = x[: n // 2].reshape(-1, d), x[n // 2 :].reshape(-1, d)
    wanted, there = place.repeat(n // 2, 1), place.repeat(n - n // 2, 1)
    middle = fit.mean(dim=0)
    covariance = (fit - middle).T @ (fit - middle)
    covariance.diagonal().add_(_RIDGE * covariance.diagonal().mean() + torch.finfo(torch.float64).tiny)
    weights = torch.linalg.lstsq(covariance, (fit - middle).T @ wanted).solution
    error = ((test - middle) @ weights - there).square().sum()
    return float(1 - error / there.square().sum())


def share_between_places(tokens: Float[Tensor, "n t d"]) -> float:
    """Compute the share of the variance of patches that is between the places of one image.

    Args:
        tokens: Of the patches alone.

    Returns:
        0 where all patches of an image are the same, 1 where all images have the same mean. NaN where nothing
        varies.

    Example:
        >>> share_between_places(torch.tensor([[[1.0], [1.0]], [[3.0], [3.0]]]))
        0.0
        >>> share_between_places(torch.tensor([[[1.0], [3.0]], [[3.0], [1.0]]]))
        1.0
    """
    x = tokens.double()
    within = (x - x.mean(dim=1, keepdim=True)).square().sum()
    return float(within / (x - x.mean(dim=(0, 1))).square().sum())


def cls_and_patches(tokens: Float[Tensor, "n t d"], prefix: int = 1) -> Float64[np.ndarray, " 3"]:
    """Compare CLS with the patches of its image.

    Args:
        tokens: CLS first, then the other tokens without a place, then the patches.
        prefix: How many tokens have no place.

    Returns:
        Mean over images of: the cosine of CLS with a patch, the cosine of two different patches, and the length of
        CLS over the mean length of a patch.

    Raises:
        ValueError: There is no CLS, or there are fewer than two patches.

    Example:
        >>> cls_and_patches(torch.tensor([[[0.0, 3.0], [1.0, 0.0], [1.0, 1.0]]])).round(3).tolist()
        [0.354, 0.707, 2.485]
    """
    patches = tokens.shape[1] - prefix
    if prefix < 1 or patches < 2:
        raise ValueError(
            f"Got {tokens.shape[1]} tokens, of which {prefix} have no place; expected CLS and two patches or more."
        )
    x = tokens.double()
    lengths = x.norm(dim=2)
    units = x / lengths.clamp_min(torch.finfo(torch.float64).tiny)[:, :, None]
    cls, others = units[:, 0], units[:, prefix:]
    with_cls = (others @ cls[:, :, None]).mean()
    together = others.sum(dim=1).square().sum(dim=1) - others.square().sum(dim=(1, 2))
    among = (together / (patches * (patches - 1))).mean()
    longer = (lengths[:, 0] / lengths[:, prefix:].mean(dim=1)).mean()
    return torch.stack([with_cls, among, longer]).cpu().numpy()


def commonest(values: Int[np.ndarray, " n"]) -> float:
    """Compute the share of the commonest of some whole numbers.

    Args:
        values: Such as the channel that has the largest number, for each image.

    Returns:
        1 where all are the same.

    Raises:
        ValueError: There are none.

    Example:
        >>> commonest(np.array([7, 7, 3, 7]))
        0.75
    """
    if len(values) == 0:
        raise ValueError("There are no numbers, so none is the commonest. Give one or more.")
    return float(np.unique(values, return_counts=True)[1].max() / len(values))


def where_largest(tokens: Float[Tensor, "n t d"]) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " n"]]:
    """Find the largest number of each image.

    Args:
        tokens: What a layer gives, as `seelike.models.Place.tokens` sees it.

    Returns:
        For each image the token, and the channel, of the number that is largest by absolute value.

    Example:
        >>> where_largest(torch.tensor([[[1.0, 2.0], [-9.0, 0.0]]]))
        (array([1]), array([0]))
    """
    place = tokens.flatten(1).abs().argmax(dim=1).cpu().numpy()
    return place // tokens.shape[2], place % tokens.shape[2]


def replacement(tokens: Float[Tensor, "n t d"], how: str) -> Float[Tensor, "n t d"]:
    """Make what is put in the place of some tokens.

    Args:
        tokens: As the network had them, for some images.
        how: One of `REPLACEMENTS`; "another image" is the image before.

    Returns:
        As many tokens.

    Raises:
        ValueError: There is no such replacement.

    Example:
        >>> tokens = torch.tensor([[[1.0]], [[3.0]]])
        >>> [replacement(tokens, how).flatten().tolist() for how in REPLACEMENTS]
        [[0.0, 0.0], [2.0, 2.0], [3.0, 1.0]]
    """
    if how == "zeros":
        return torch.zeros_like(tokens)
    if how == "mean over images":
        return tokens.mean(dim=0, keepdim=True).expand_as(tokens)
    if how == "another image":
        return tokens.roll(1, dims=0)
    raise ValueError(f"There is no replacement {how!r}; expected one of {', '.join(map(repr, REPLACEMENTS))}.")


def with_tokens(
    model: nn.Module,
    blocks: Sequence[Layer],
    images: Float[Tensor, "n c height width"],
    instead: Mapping[str, Float[Tensor, "n t d"]],
    reduce: Callable[[Layer, Tensor], Any],
) -> dict[str, Any]:
    """Read the blocks of a ViT while the first tokens after each block are replaced.

    Args:
        model: A network in evaluation mode whose blocks give `[n, tokens, d]`.
        blocks: Its blocks, each the output of a module.
        images: Prepared images.
        instead: For each block that is changed what its first tokens are to be. As many are replaced.
        reduce: As `seelike.models.read` takes it. It sees what a block hands on, with the replacement in it.

    Returns:
        What `reduce` gave, by the name of the block.

    Raises:
        ValueError: A block is not the output of a module, or gives no tokens.

    Example:
        >>> from seelike.models import layers, load
        >>> model = load("tiny/vit_7x7:random")
        >>> blocks, images = layers(model, kinds=["block"]), torch.randn(2, 1, 28, 28)
        >>> zeros = {block.name: torch.zeros(2, 1, 64) for block in blocks}
        >>> with_tokens(model, blocks, images, zeros, lambda _, tokens: tuple(tokens.shape))["block 8"]
        (2, 50, 64)
    """
    modules = dict(model.named_modules())
    with ExitStack() as stack:
        for block in blocks:
            if block.side != "output" or block.call != 0:
                raise ValueError(
                    f"{block.name} is not what a module gives, so that its tokens cannot be replaced."
                )
            if block.name in instead:
                hook = _putting(instead[block.name], block.name)
                stack.callback(modules[block.module].register_forward_hook(hook).remove)
        return read(model, blocks, images, reduce)


def moved_by_replacement(
    model: nn.Module, blocks: Sequence[Layer], images: Float[Tensor, "n c height width"], prefix: int
) -> Float64[np.ndarray, "replacements blocks"]:
    """Tell how far the patches of a ViT move when CLS and registers are replaced after every block.

    Args:
        model: A network in evaluation mode whose blocks give `[n, tokens, d]`.
        blocks: Its blocks.
        images: Prepared images.
        prefix: How many of the first tokens are replaced.

    Returns:
        For each of `REPLACEMENTS`, and each block, the mean cosine of a patch with what it was: 1 where it has not
        moved.

    Raises:
        ValueError: There is no token to replace, or a block gives no tokens.

    Example:
        >>> from seelike.models import layers, load
        >>> model = load("tiny/vit_7x7:random")
        >>> blocks, images = layers(model, kinds=["block"]), torch.randn(4, 1, 28, 28)
        >>> moved_by_replacement(model, blocks, images, 1)[:, 0].round(6).tolist()  # CLS had no part in it yet
        [1.0, 1.0, 1.0]
    """
    if prefix < 1:
        raise ValueError("The network has no CLS token and no registers, so there is nothing to replace.")
    as_it_was = read(model, blocks, images, lambda _, tokens: tokens[:, :prefix].clone())
    cosines, done = np.zeros((len(REPLACEMENTS), len(blocks))), 0
    for some in images.split(_AT_A_TIME):
        before = read(model, blocks, some, lambda _, tokens: tokens[:, prefix:].clone())

        def with_before(layer: Layer, tokens: Tensor, before: dict[str, Tensor] = before) -> float:
            cosine = nn.functional.cosine_similarity(
                tokens[:, prefix:].double(), before[layer.name].double(), dim=2
            )
            return float(cosine.mean(dim=1).sum())

        for row, how in enumerate(REPLACEMENTS):
            instead = {name: replacement(each, how)[done : done + len(some)] for name, each in as_it_was.items()}
            cosines[row] += list(with_tokens(model, blocks, some, instead, with_before).values())
        done += len(some)
    return cosines / len(images)


def _putting(new: Tensor, name: str) -> Callable[[nn.Module, Any, Tensor], Tensor]:
    def hook(_: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        if output.ndim != 3 or output.shape[0] != new.shape[0] or output.shape[2] != new.shape[2]:
            raise ValueError(f"{name} gives {list(output.shape)}, where {list(new.shape)} cannot be put in.")
        return torch.cat([new.to(output.device, output.dtype), output[:, new.shape[1] :]], dim=1)

    return hook
