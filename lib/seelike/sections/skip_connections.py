"""Section 6 of the paper in numbers: what skip connections hand on, and what becomes of a network without them.

At a residual addition z + f(z), the *skip ratio* ||z|| / ||f(z)|| says how much of a token comes by the skip
connection: large where the branch hardly changes it. Ratios differ by powers of ten, so they are compared by their
decadic logarithm. Additions are in firing order; the *first half* of them is that of the network.

Where one block has lost its skip connections, the layers before that block are compared with those after it: mean
CKA *across the cut*.
"""

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import nn

from seelike.data import ImageSet
from seelike.models import Layer, residuals
from seelike.skip import SkipEstimates, skip_ratios


@dataclass(frozen=True)
class Propagation:
    """Skip against branch at every residual addition of one network, over draws of images.

    Attributes:
        names: Names of the additions, in firing order.
        kinds: What each branch is: "attention", "token mixing", "mlp" or "branch".
        ratio: Skip ratio of each token, CLS and registers first.
        ratio_of_spatial: Its mean over the spatial tokens.
        cosine_with_branch: Cosine of skip and branch of each token.
        cosine_with_output: Cosine of skip and sum of each token.
        cosine_of_spatial: The latter, mean over the spatial tokens.
        num_prefix_tokens: How many tokens are CLS or registers.
        has_cls: Whether the first of them is CLS, at every addition.
    """

    names: list[str]
    kinds: list[str]
    ratio: Float[np.ndarray, "repeats additions tokens"]
    ratio_of_spatial: Float[np.ndarray, "repeats additions"]
    cosine_with_branch: Float[np.ndarray, "repeats additions tokens"]
    cosine_with_output: Float[np.ndarray, "repeats additions tokens"]
    cosine_of_spatial: Float[np.ndarray, "repeats additions"]
    num_prefix_tokens: int
    has_cls: bool

    @property
    def ratio_of_cls(self) -> Float[np.ndarray, "repeats additions"] | None:
        """Skip ratio of the CLS token; None where there is none at every addition."""
        return self.ratio[..., 0] if self.has_cls else None

    @property
    def cosine_of_cls(self) -> Float[np.ndarray, "repeats additions"] | None:
        """Cosine of skip and sum of the CLS token; None where there is none at every addition."""
        return self.cosine_with_output[..., 0] if self.has_cls else None

    def ratio_by_kind(self) -> dict[str, Float[np.ndarray, "additions tokens"]]:
        """Skip ratio of each token, mean over the draws, for the additions of each kind (Figures 7 and E.1)."""
        ratio = self.ratio.mean(axis=0)
        return {kind: ratio[self.of_kind(kind)] for kind in dict.fromkeys(self.kinds)}

    def of_kind(self, kind: str) -> list[int]:
        """Places of the additions whose branch is of a kind."""
        return [place for place, each in enumerate(self.kinds) if each == kind]


def propagation(model: nn.Module, draws: Iterable[ImageSet], *, batch_size: int = 64) -> Propagation:
    """Measure skip against branch at all residual additions of a network, on each draw of images.

    Feature maps of several sizes have different numbers of tokens; then only means over tokens are kept, and
    the tokens' own numbers are cut to the fewest.

    Args:
        model: A network in evaluation mode.
        draws: Image sets, one for each repeat.
        batch_size: Images in a forward pass.

    Raises:
        ValueError: The network's residual additions are not known, or none has a ratio, as in a new network whose
            branches are all zero.

    Example:
        >>> from seelike import data
        >>> from seelike.models import load
        >>> images = data.load("fashion-mnist/test")
        >>> draws = [images.sample(8, seed=seed) for seed in (0, 1)]
        >>> measured = propagation(load("tiny/vit_7x7"), draws)
        >>> measured.ratio.shape, measured.kinds[:2]
        ((2, 16, 50), ['attention', 'mlp'])
    """
    additions = residuals(model)
    with warnings.catch_warnings():
        # Behind a ReLU the black border of an image is exactly zero. Such a place has no ratio and is left out, in
        # every draw and most ResNets: no news.
        warnings.filterwarnings("ignore", message="Skip or branch is exactly zero")
        repeats = [skip_ratios(model, images, batch_size=batch_size) for images in draws]
    first = next(iter(repeats[0].values()))
    kinds = {addition.name: addition.kind for addition in additions}

    def stack(quantity: str, *, spatial: bool = False) -> np.ndarray:
        def of(one: SkipEstimates) -> np.ndarray:
            return np.asarray(getattr(one, quantity), dtype=np.float64)

        rows = [[of(one.spatial if spatial else one.tokens) for one in repeat.values()] for repeat in repeats]
        if not spatial:
            fewest = min(len(row) for row in rows[0])
            rows = [[row[:fewest] for row in repeat] for repeat in rows]
        return np.array(rows)

    ratio_of_spatial = stack("mean_ratio", spatial=True)
    if not (np.isfinite(ratio_of_spatial) & (ratio_of_spatial > 0)).any():
        raise ValueError(
            f"In all {len(additions)} residual additions skip or branch is zero, so that there is no ratio. "
            "The branches of many networks begin so: give trained weights."
        )
    return Propagation(
        names=list(repeats[0]),
        kinds=[kinds[name] for name in repeats[0]],
        ratio=stack("mean_ratio"),
        ratio_of_spatial=ratio_of_spatial,
        cosine_with_branch=stack("cosine_with_branch"),
        cosine_with_output=stack("cosine_with_output"),
        cosine_of_spatial=stack("cosine_with_output", spatial=True),
        num_prefix_tokens=first.num_prefix_tokens,
        has_cls=all(one.num_prefix_tokens > 0 and one.has_cls for one in repeats[0].values()),
    )


def first_half_minus_second(values: Float[np.ndarray, "repeats additions"]) -> Float[np.ndarray, " repeats"]:
    """Subtract the mean over the second half of the additions from that over the first (Figures 7 and E.2).

    Args:
        values: One number for each addition, in firing order, per repeat. With an odd number, the one in the
            middle counts for neither half.

    Returns:
        One number per repeat.

    Raises:
        ValueError: There are fewer than two additions.

    Example:
        >>> first_half_minus_second(np.array([[3.0, 1.0, 9.0, 1.0, 1.0]]))
        array([1.])
    """
    half = values.shape[1] // 2
    if half == 0:
        raise ValueError(f"Two halves need two residual additions or more; got {values.shape[1]}.")
    return values[:, :half].mean(axis=1) - values[:, -half:].mean(axis=1)


def mean_across_cut(
    cka: Float[np.ndarray, "repeats n n"], layers: Sequence[Layer], block: int
) -> Float[np.ndarray, " repeats"]:
    """Average CKA of all layers before a block with all layers after it (Figure 8).

    Args:
        cka: CKA of all layers with all layers of one network, per repeat.
        layers: These layers, in firing order.
        block: The number of the block, from 1.

    Returns:
        One number per repeat.

    Raises:
        ValueError: The network has no such block, or no layer before or after it.

    Example:
        >>> layers = [Layer("", "", block, 0.0, "") for block in (None, 1, 2)]
        >>> mean_across_cut(np.array([[[1.0, 0.6, 0.2], [0.6, 1.0, 0.7], [0.2, 0.7, 1.0]]]), layers, 1)
        array([0.2])
    """
    inside = [place for place, layer in enumerate(layers) if layer.block == block]
    if not inside or inside[0] == 0 or inside[-1] == len(layers) - 1:
        blocks = sorted({layer.block for layer in layers if layer.block is not None})
        raise ValueError(
            f"Block {block} cannot be a cut: the layers are of the blocks {blocks}, and there must be a layer "
            "before the block and one after it."
        )
    return cka[:, : inside[0], inside[-1] + 1 :].mean(axis=(1, 2))
