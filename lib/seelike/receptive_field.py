"""Effective receptive fields: which pixels a place in the middle of the network answers to.

Let z be the feature map of a layer, z_c its channel c at the centre location, and x the image, prepared as the
network takes it: all derivatives are with respect to these normalised pixels. The field of the layer is

    F(pixel) = mean over images, channels c, colours of  |d z_c(centre) / d x(colour, pixel)|,

an image [H, W]. The centre of a side of n locations is location n // 2. The feature map of a ViT is the grid of
its spatial tokens, without CLS and registers. The absolute value comes before the mean over channels, so
each channel needs a backward pass. (One backward pass from the sum of the channels is cheap, but lets
channels of opposite sign cancel: that is another quantity.)

**Before and after the residual addition.** For output = skip + branch, with J for the derivative of a layer's
centre, per channel,

    J(output) = J(skip) + J(branch).

J(skip) is that of the addition before, so one backward pass for each channel and addition, from the branch, gives
the field of the branch ("before") and of the output ("after"). Where J(skip) is not at hand, or an activation
follows the addition, the output is differentiated too. The MLP of a Transformer works on each token by itself.
Then its J(branch) is d branch / d skip, [channels, channels] at the centre token, times J(skip): a matrix
product in place of a backward pass through the whole network.

**One forward pass for all channels.** The image is repeated along the batch, and row r is differentiated with
respect to channel r: a chunk of channels takes one backward pass of the batch, and all chunks and layers share
the forward pass. Weights take no gradient.

**Fewer channels.** Each image may instead be asked for k of the D channels only. Images are drawn into random
pairs; the U pairs get channels from shuffled lists of all D, one list after the other, so every channel is used
equally often, and both images of a pair get the same channels. Each image is equally likely to get any channel:
the mean of what is sampled has no bias. Its standard error is that of drawing channels, for these very images. In

    |d z_c / d x| of image i  =  what the image adds + what the channel adds, b_c + what is left, e_ic

the image's part is sampled whole, and the channel's part, too, except for the last, unfinished list of
r = U k mod D channels. What is left is sampled in k of D places. With n images, g = n / U of them in a group,

    variance = { [n k (1 - k/D) - g r (1 - r/D)] var(e) + g^2 r (1 - r/D) [var(b) + var(e) / g] } / (n k)^2.

Within a pair, the mean of the two images at each sampled channel varies by var(b) + var(e) / 2, and what the
two have not in common gives var(e): both are estimated without bias. (The variance among an image's channels,
var(b) + var(e), would do for images that draw by themselves. Here it gives error bars that are too long, up to
seven times at the centre of low layers.)

Sources: Luo et al. (2016), Understanding the effective receptive field in deep convolutional neural networks;
Raghu et al. (2021), Section 4, Figure 6 and Appendix C; for balanced samples Cochran (1977), Sampling techniques.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from jaxtyping import Float, Float64, Int64
from torch import Tensor, nn

from seelike.data import ImageSet
from seelike.jackknife import jackknife
from seelike.models import Layer, Place, Residual, places
from seelike.models.layers import require_layers, structure
from seelike.models.measurable import require_measurable
from seelike.models.reading import listening
from seelike.streaming import Accumulator, HalvingBatch, Images, accumulate

# Groups of images that `ReceptiveFields.jackknife` leaves out in turn: all that is kept of single images.
_GROUPS = 8


def radius(field: Float[Tensor, "height width"], grid: tuple[int, int] = (1, 1)) -> float:
    """Measure the distance around the centre within which half of a field's mass lies.

    Args:
        field: Receptive field of a layer.
        grid: Locations of the layer's feature map, (rows, columns), as `ReceptiveFields.grids` has it. The centre
            is the middle of the centre location's share of the image. For even grids that is not the middle
            of the image; (1, 1) stands for that.

    Returns:
        Radius in pixels. Mass counts at the middle of its pixel, and is interpolated linearly between the
        distances at which pixels lie.

    Raises:
        ValueError: The field has no mass, or negative or infinite numbers.

    Source:
        The paper's Figure 6 shows fields; half of the mass is our measure of their size.

    Example:
        >>> radius(torch.tensor([[0.0, 0.0, 0.0], [2.0, 0.0, 2.0], [0.0, 0.0, 0.0]]))
        0.5
        >>> round(radius(torch.ones(200, 200)), 1)  # the disc of half the area: sqrt(200 * 200 / 2 / pi)
        79.8
    """
    mass = _mass(field)
    rows, columns = (
        np.arange(pixels) - ((places // 2 + 0.5) * pixels / places - 0.5)
        for pixels, places in zip(mass.shape, grid, strict=True)
    )
    # Rounded, so that distances equal on paper are equal here.
    distances = np.hypot(rows[:, None], columns[None, :]).round(9)
    steps, place = np.unique(distances, return_inverse=True)
    within = np.cumsum(np.bincount(place.reshape(-1), weights=mass.reshape(-1)))
    if steps[0] > 0:
        steps, within = np.insert(steps, 0, 0.0), np.insert(within, 0, 0.0)
    return float(np.interp(within[-1] / 2, within, steps))


def centre_mass(field: Float[Tensor, "height width"], grid: tuple[int, int]) -> float:
    """Divide the share of the mass that lies in the centre patch by that patch's share of the area.

    Args:
        field: Receptive field of a layer.
        grid: How many patches the image is cut into, (rows, columns): for a ViT its token grid. The centre patch
            is the one in row `rows // 2` and column `columns // 2`. A pixel that two patches share is divided.

    Returns:
        1 for a uniform field; up to rows x columns where all the mass is in the centre patch.

    Raises:
        ValueError: The field has no mass, or negative or infinite numbers.

    Source:
        Section 4: "ViT receptive fields also show strong dependence on their center patch".

    Example:
        >>> centre_mass(torch.ones(6, 6), (3, 3))
        1.0
        >>> field = torch.zeros(4, 4)
        >>> field[2:, 2:] = 1
        >>> centre_mass(field, (2, 2))
        4.0
    """
    mass = _mass(field)
    inside = [
        np.clip(np.minimum(pixels + 1, last) - np.maximum(pixels, first), 0, 1)
        for pixels, first, last in (
            (np.arange(size), places // 2 * size / places, (places // 2 + 1) * size / places)
            for size, places in zip(mass.shape, grid, strict=True)
        )
    ]
    share = inside[0] @ mass @ inside[1] / mass.sum()
    return float(share * grid[0] * grid[1])


def _mass(field: Tensor) -> Float64[np.ndarray, "height width"]:
    mass = field.detach().double().cpu().numpy()
    if not (np.isfinite(mass).all() and (mass >= 0).all() and mass.sum() > 0):
        raise ValueError("this is no receptive field: expected finite numbers, none negative and not all zero.")
    return mass


def balanced_channels(
    width: int, channels: int, groups: int, random: np.random.Generator
) -> Int64[np.ndarray, "groups channels"]:
    """Draw channels for each group of images, every channel equally often.

    The channels come from shuffled lists of all of them, one list after the other. No group has one twice.

    Args:
        width: Channels of the layer.
        channels: How many each group gets, at most `width`.
        groups: How many groups.
        random: Source of randomness.

    Returns:
        Channels, one row for each group. Over all rows, two channels differ in use by one at most.

    Example:
        >>> balanced_channels(6, 2, 3, np.random.default_rng(0))
        array([[3, 2],
               [5, 4],
               [0, 1]])
    """
    rows = np.empty((groups, channels), dtype=np.int64)
    left = np.empty(0, dtype=np.int64)
    for row in rows:
        missing = channels - len(left)
        if missing > 0:
            fresh = random.permutation(width).astype(np.int64)
            others = fresh[~np.isin(fresh, left)][:missing]
            row[:] = np.concatenate([left, others])
            left = fresh[~np.isin(fresh, others)]
        else:
            row[:], left = left[:channels], left[channels:]
    return rows


class ReceptiveField(Accumulator):
    """Running receptive field of one layer: the mean over images, and its standard error.

    What is kept are float64 sums. Two accumulators that saw different images can be merged, and the state can be
    saved and loaded.

    Args:
        width: Channels of the layer.

    Example:
        >>> receptive_field = ReceptiveField(width=2)
        >>> gradients = torch.tensor([[1.0, -3.0], [2.0, 0.0]]).reshape(1, 2, 1, 1, 2)
        >>> receptive_field.update(gradients)
        >>> receptive_field.compute(), receptive_field.standard_error
        (tensor([[1.5000, 1.5000]], dtype=torch.float64), tensor([[0., 0.]], dtype=torch.float64))
    """

    _settings = ("width",)
    # Channels of each image; images and fields by group; how many updates had a sample of the channels, and how
    # many of these two images or more; and the variances that they gave.
    _names = ("channels", "images", "fields", "samples", "shared", "channel_variance", "rest_variance")

    def __init__(self, width: int) -> None:
        """Start without images."""
        self.width = width
        super().__init__()

    def update(self, gradients: Float[Tensor, "b channels colours height width"], group: int = 0) -> None:
        """Add images for which the same channels were differentiated.

        Args:
            gradients: d z_c(centre) / d x of b images, for all channels, or for a random sample of them.
            group: Which of the groups that `ReceptiveFields.jackknife` leaves out in turn these images are in.

        Raises:
            ValueError: The number of channels or pixels is not that of the images before.

        Example:
            >>> receptive_field = ReceptiveField(width=64)
            >>> receptive_field.update(torch.randn(2, 4, 3, 28, 28))  # two images, the same four channels
            >>> receptive_field.update(torch.randn(2, 4, 3, 28, 28))  # two others, other four channels
            >>> receptive_field.count, receptive_field.standard_error.shape
            (4, torch.Size([28, 28]))
        """
        images, channels = gradients.shape[:2]
        if not 1 <= channels <= self.width:
            raise ValueError(f"got gradients of {channels} channels; the layer has {self.width}.")
        # float32 holds a magnitude as exactly as the derivative; float64 adds them up.
        if gradients.dtype != torch.float64:
            gradients = gradients.float()
        magnitudes = gradients.abs().mean(dim=2)
        of_group = torch.arange(_GROUPS) == group % _GROUPS
        field = _to_float64(magnitudes.mean(dim=1, dtype=_widest(magnitudes))).sum(dim=0)
        samples = shared = 0
        channel_variance = rest_variance = torch.zeros_like(field)
        if channels < self.width:
            magnitudes = _to_float64(magnitudes)
            common = magnitudes.mean(dim=0)
            # One channel alone has no variance: NaN.
            samples = 1
            channel_variance = common.var(dim=0) if channels > 1 else torch.full_like(field, torch.nan)
            if images > 1:
                rest = (magnitudes - common).square().sum(dim=(0, 1))
                rest -= channels * (magnitudes - common).mean(dim=1).square().sum(dim=0)
                shared = 1
                freedom = (images - 1) * (channels - 1)
                rest_variance = rest.clamp(min=0) / freedom if freedom else torch.full_like(field, torch.nan)
        sums = {
            "channels": channels,
            "images": images * of_group,
            "fields": torch.where(of_group[:, None, None], field, 0),
            "samples": torch.tensor(samples),
            "shared": torch.tensor(shared),
            "channel_variance": channel_variance,
            "rest_variance": rest_variance,
        }
        self._add(images, sums)

    def _describe(self, sums: Mapping[str, Any]) -> str:
        return f"gradients of {sums['channels']} channels for {list(sums['fields'].shape[1:])} pixels"

    def compute(self) -> Float64[Tensor, "height width"]:
        """Give the field: the mean over all images.

        Raises:
            RuntimeError: There were no images.

        Example:
            >>> receptive_field = ReceptiveField(width=1)
            >>> receptive_field.update(torch.tensor([1.0, -3.0]).reshape(2, 1, 1, 1, 1))
            >>> float(receptive_field.compute())
            2.0
        """
        self._require_updates()
        return self._sums["fields"].sum(dim=0) / self.count

    @property
    def standard_error(self) -> Float64[Tensor, "height width"]:
        """Standard error of the field for having only a sample of the channels; zero with all channels.

        It says how far the field of these very images may be, not that of other images. With k channels and n
        images, n / 2 (k - 1) are its degrees of freedom for Student's t. NaN where each image had but one
        channel. For one image without another of the same channels, the variance among its channels is all there
        is to go by.

        Raises:
            RuntimeError: There were no images.
        """
        self._require_updates()
        n, k = self.count, self._sums["channels"]
        of_channel, of_the_rest = self._sums["channel_variance"], self._sums["rest_variance"]
        if k == self.width:
            return torch.zeros_like(of_channel)
        groups, shared = int(self._sums["samples"]), int(self._sums["shared"])
        size, unfinished = n / groups, groups * k % self.width
        of_channels = size * unfinished * (1 - unfinished / self.width)
        of_rest = n * k * (1 - k / self.width) - of_channels
        variance = size * of_channels * of_channel / groups
        if shared:
            variance = variance + of_rest * of_the_rest / shared
        else:  # No two images share channels, so what is left cannot be told from what the channels add.
            variance = variance + of_rest * of_channel / groups
        return variance.sqrt() / (n * k)

    def without(self, group: int) -> Float64[Tensor, "height width"]:
        """Give the field without one of the groups of images.

        Raises:
            RuntimeError: There are no other images.
        """
        self._require_updates()
        left = self.count - int(self._sums["images"][group])
        if left == 0:
            raise RuntimeError("There is nothing to compute: all images are in the group that is left out.")
        return (self._sums["fields"].sum(dim=0) - self._sums["fields"][group]) / left

    @property
    def groups(self) -> list[int]:
        """The groups that have images."""
        return self._sums["images"].nonzero().flatten().tolist() if self.count else []


def _widest(x: Tensor) -> torch.dtype:
    # Apple's GPUs have no float64.
    return torch.float32 if x.device.type == "mps" else torch.float64


def _to_float64(x: Tensor) -> Tensor:
    return x.detach().to(_widest(x)).cpu().double()


@dataclass(frozen=True)
class ReceptiveFields:
    """Receptive fields of several layers, each `[H, W]` over the pixels of the image, by the layer's name.

    Attributes:
        after: Field of each layer as it is: for the output of a residual addition, after it.
        before: Field of the branch alone, for the layers that are outputs of a residual addition.
        after_error: Standard error of `after` for having only a sample of the channels; zero with all.
        before_error: The same of `before`.
        grids: Locations of each layer's feature map, (rows, columns).
    """

    after: dict[str, Tensor]
    before: dict[str, Tensor]
    after_error: dict[str, Tensor]
    before_error: dict[str, Tensor]
    grids: dict[str, tuple[int, int]]
    _accumulators: dict[str, dict[str, ReceptiveField]] = field(repr=False)

    def jackknife(self, statistic: Callable[["ReceptiveFields"], float]) -> tuple[float, float]:
        """Compute a statistic of the fields and its standard error over images.

        Eight groups of the images (fewer where there are fewer images) are left out in turn. Unlike `after_error`
        this says how far the statistic would vary with other images, and with other channels where they are a
        sample.

        Args:
            statistic: Any function of the fields. It is called with all images, and without each group. Then
                `after_error` and `before_error` are empty.

        Returns:
            The statistic of all images, and its standard error; NaN where the images are one group.

        Source:
            Tukey (1958); with groups Wolter (2007), Introduction to variance estimation, chapter 4.

        Example:
            >>> from seelike.models import layers, load
            >>> model = load("tiny/vit_7x7:random")
            >>> fields = effective_receptive_field(model, layers(model, ["block 1"]), torch.randn(2, 1, 28, 28))
            >>> value, error = fields.jackknife(lambda fields: centre_mass(fields.after["block 1"], (7, 7)))
            >>> value > 1, error >= 0
            (True, True)
        """
        groups = next(iter(self._accumulators["after"].values())).groups
        values = []
        for group in groups if len(groups) > 1 else ():
            after, before = (
                {name: each.without(group) for name, each in self._accumulators[kind].items()}
                for kind in ("after", "before")
            )
            values.append(statistic(replace(self, after=after, before=before, after_error={}, before_error={})))
        return statistic(self), float(jackknife(torch.tensor(values, dtype=torch.float64)))


def effective_receptive_field(
    model: nn.Module,
    layers: Sequence[Layer],
    images: ImageSet | Tensor,
    channels: Literal["all"] | int = "all",
    *,
    before: bool = True,
    seed: int = 0,
    batch_size: int = 32,
    cache: str | Path | None = None,
) -> ReceptiveFields:
    """Measure the effective receptive fields of layers, after and before the residual addition.

    It takes about one backward pass for each image, channel and residual addition: with all channels of a ViT-L/16
    and 32 images 27 PFLOP. Asking consecutive residual additions together is cheapest, because each is then
    differentiated once. Weights take no gradient meanwhile; afterwards `requires_grad` is as it was.

    Args:
        model: A network in evaluation mode, not compiled.
        layers: Layers of this network, from `seelike.models.layers`, whose activations lie on a grid
            (`seelike.models.places`): tokens or maps. Those that are outputs of a residual addition have a field
            before it as well.
        images: An image set, prepared as the network's configuration asks, or prepared images
            `[n, colours, H, W]`. The paper takes 32.
        channels: "all" for the exact field; or how many channels to differentiate for each image, in random
            pairs of images, for an unbiased estimate with standard errors. With 2 or more, errors are finite.
            Layers of no more channels are exact.
        before: Whether the fields of branches, before the addition, are wanted too. Without them the outputs of
            a ViT's blocks take half the time.
        seed: Of the choice of channels.
        batch_size: Rows of a backward pass: images times channels. Out of memory, it is halved, with one
            warning. The result does not depend on it.
        cache: Folder to keep the state in, so that a call that was stopped goes on where it was.

    Returns:
        The fields. Derivatives are with respect to the prepared (normalised) pixels.

    Raises:
        ValueError: The network is in training mode or compiled; a layer is not on a grid; a field is zero
            everywhere, NaN or infinite; `channels` is neither "all" nor 1 or more; `layers` is empty or has a
            layer twice.
        UnknownName: A layer is not of this network.
        RuntimeError: A layer did not fire.

    Source:
        Section 4, "Effective Receptive Fields"; Figures 6, C.1 to C.4.

    Example:
        >>> from seelike.models import layers, load
        >>> model = load("tiny/vit_7x7:random")
        >>> sublayers = layers(model, ["embedding", "block 1/after attention", "block 1"])
        >>> fields = effective_receptive_field(model, sublayers, torch.randn(2, 1, 28, 28))
        >>> list(fields.after), list(fields.before), fields.after["block 1"].shape
        (['embedding', 'block 1/after attention', 'block 1'], ['block 1/after attention', 'block 1'], \
torch.Size([28, 28]))
        >>> round(radius(fields.after["embedding"], fields.grids["embedding"]), 2) < 3  # its own patch of 4 x 4
        True
    """
    if channels != "all" and not (isinstance(channels, int) and channels >= 1):
        raise ValueError(f"channels is {channels!r}; expected 'all', or how many for each image, 1 or more.")
    require_measurable(model)
    # Tensors that are made in inference mode cannot be differentiated.
    with torch.inference_mode(False):
        number = len(images)
        random = np.random.default_rng(seed)
        if channels != "all":
            images = _reordered(images, random.permutation(number))
        prepared = Images(images, model)
        plan = _Plan.of(model, layers, prepared[:1], before)
        # Images that share channels, and the channels they share. Layers of one width share them too, so that
        # the derivatives of skip and branch are those of the same channels.
        group = 1 if channels == "all" else 2
        groups = -(-number // group)
        widths = sorted({place.width for place in plan.places.values()})
        chosen = {
            width: np.arange(width)[None].repeat(groups, axis=0)
            if channels == "all" or channels >= width
            else balanced_channels(width, channels, groups, random)
            for width in widths
        }
        # A chunk of channels no larger than the narrowest layer leaves no row empty.
        narrowest = min(rows.shape[1] for rows in chosen.values())
        rows = HalvingBatch(batch_size)

        def measure(batch: Tensor, first: int) -> dict[str, ReceptiveField]:
            if first % group or (len(batch) % group and first + len(batch) != number):
                raise RuntimeError("Out of memory: two images, of one channel each, are too much for one pass.")
            parts = plan.accumulators()
            done = 0
            while done < len(batch):
                chunk = -(-narrowest // -(-narrowest // rows.size))
                some = batch[done : done + max(rows.size // chunk // group, 1) * group]
                shares = np.arange(first + done, first + done + len(some)) // group
                found = None
                with rows.or_half():
                    found = _measure(model, plan, some, shares, chosen, chunk)
                if found is not None:
                    for name, part in parts.items():
                        part.merge(found[name])
                    done += len(some)
            return parts

        with _frozen(model):
            together = max(batch_size // narrowest // group, 1) * group
            accumulators = accumulate(
                model,
                images,
                measure,
                plan.accumulators(),
                batch_size=together,
                what="receptive fields",
                settings=f"{[layer.name for layer in layers]} channels={channels} before={before} seed={seed}",
                cache=cache,
                gradients=True,
            )
    return _result(plan, accumulators)


def _reordered(images: ImageSet | Tensor, order: np.ndarray) -> ImageSet | Tensor:
    if isinstance(images, ImageSet):
        return replace(images, labels=None, class_names=None, places=images.places[order])
    return images[torch.from_numpy(order)]


@contextmanager
def _frozen(model: nn.Module) -> Iterator[None]:
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    try:
        for parameter in learning:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


@dataclass(frozen=True)
class _Plan:
    """What to differentiate: the layers asked for, in firing order, and the branches of residual additions."""

    layers: list[Layer]
    places: dict[str, Place]
    residuals: dict[str, Residual]  # by the name of their output
    asked: list[str]  # names in the order of the caller

    @classmethod
    def of(cls, model: nn.Module, layers: Sequence[Layer], image: Tensor, before: bool) -> "_Plan":
        require_layers(layers)
        if not layers:
            raise ValueError("layers is empty; expected one or more of seelike.models.layers(model).")
        names = {layer.name for layer in layers}
        known = structure(model, (image.shape[2], image.shape[3])).residuals if before else ()
        additions = {each.output.name: each for each in known if each.output.name in names}
        branches = {each.branch.name: each.branch for each in additions.values()}
        found = places(
            model, [*layers, *(branch for name, branch in branches.items() if name not in names)], image
        )
        for layer in layers:
            found[layer.name].require_grid()
        # A branch that has no centre of its own, as one of CLS alone, has no field.
        additions = {name: each for name, each in additions.items() if found[each.branch.name].grid is not None}
        found = {name: place for name, place in found.items() if place.grid is not None}
        in_order = sorted(layers, key=lambda layer: layer.depth)
        return cls(in_order, found, additions, [layer.name for layer in layers])

    def centre(self, name: str) -> tuple[Any, ...]:
        """The index of the centre in a layer's activation."""
        rows, columns = self.places[name].require_grid()
        return self.places[name].index(rows // 2, columns // 2)

    def accumulators(self) -> dict[str, ReceptiveField]:
        after = {f"after {name}": ReceptiveField(self.places[name].width) for name in self.asked}
        before = {f"before {name}": ReceptiveField(self.places[name].width) for name in self.residuals}
        return after | before

    def to_read(self) -> list[Layer]:
        """Each layer that is asked for, and each branch."""
        branches = [each.branch for each in self.residuals.values()]
        return list({layer.name: layer for layer in (*self.layers, *branches)}.values())

    def chained(self, name: str) -> bool:
        """Whether a layer's derivative is that of a layer asked for before, plus that of the branch."""
        addition = self.residuals.get(name)
        if addition is None or addition.activation is not None or addition.skip.name not in self.places:
            return False
        skip, own = self.places[addition.skip.name], self.places[name]
        return (skip.grid, skip.width) == (own.grid, own.width)

    def needed_later(self) -> set[str]:
        return {addition.skip.name for name, addition in self.residuals.items() if self.chained(name)}


class _Graph:
    """A forward pass of images, each repeated along the batch, to be differentiated again and again.

    Args:
        model: The network.
        plan: Layers of which the centre is kept.
        images: `[b, colours, H, W]`.
        copies: Rows for each image, which are the channels that one backward pass takes.
    """

    def __init__(self, model: nn.Module, plan: _Plan, images: Tensor, copies: int) -> None:
        # Never a single row: there PyTorch 2.15 gives a wrong gradient of BatchNorm on a CPU where what comes next
        # takes its map as tokens.
        copies = max(copies, 2) if len(images) == 1 else copies
        self.images, self.copies, self._plan = len(images), copies, plan
        self.pixels = images.detach().repeat_interleave(copies, dim=0).requires_grad_()
        self.centres: dict[str, Tensor] = {}
        self._activations: dict[str, tuple[Tensor, int]] = {}

        def keep(layer: Layer, activation: Any) -> None:
            # A copy: what comes next may write in place, and a view would then be differentiated after that.
            self.centres[layer.name] = activation[plan.centre(layer.name)].clone()
            self._activations[layer.name] = (activation, activation._version)

        with listening(model, plan.to_read(), keep):
            model(self.pixels)

    def derivative(self, name: str, channels: Tensor) -> Tensor:
        """Differentiate channels `[b, k]` at a layer's centre by the pixels: `[b, k, colours, H, W]`."""
        found = None
        for start, chunk in self._chunks(name, self.pixels, channels):
            if found is None:
                found = chunk.new_empty(*channels.shape, *chunk.shape[2:])
            found[:, start : start + chunk.shape[1]] = chunk
        assert found is not None
        return found

    def derivative_by_centre(self, name: str, source: str, channels: Tensor) -> Tensor | None:
        """Differentiate channels `[b, k]` of a layer by another layer at the centre: `[b, k, source channels]`.

        None where the layer depends on other locations of the source too, or the source was overwritten.
        """
        activation, version = self._activations[source]
        if activation._version != version:
            return None
        chunks = []
        for _, chunk in self._chunks(name, activation, channels):
            centre = chunk.flatten(0, 1)[self._plan.centre(source)]
            if torch.count_nonzero(chunk) != torch.count_nonzero(centre):
                return None
            chunks.append(centre.unflatten(0, chunk.shape[:2]))
        return torch.cat(chunks, dim=1)

    def _chunks(self, name: str, source: Tensor, channels: Tensor) -> Iterator[tuple[int, Tensor]]:
        centre = self.centres[name]
        for start in range(0, channels.shape[1], self.copies):
            chunk = channels[:, start : start + self.copies]
            chosen = centre.new_zeros(self.images, self.copies, centre.shape[1])
            chosen[:, : chunk.shape[1]].scatter_(2, chunk[..., None], 1)
            gradient = None
            if centre.requires_grad:
                (gradient,) = torch.autograd.grad(
                    centre, source, chosen.flatten(0, 1), retain_graph=True, allow_unused=True
                )
            if gradient is None:
                gradient = torch.zeros_like(source)
            # Derivatives are added up along the residual stream: in float32 or wider.
            wide = gradient if gradient.dtype == torch.float64 else gradient.float()
            yield start, wide.unflatten(0, (self.images, self.copies))[:, : chunk.shape[1]]


def _measure(
    model: nn.Module,
    plan: _Plan,
    images: Tensor,
    shares: np.ndarray,
    chosen: Mapping[int, np.ndarray],
    chunk: int,
) -> dict[str, ReceptiveField]:
    """Measure images that fit into one forward pass; `shares` says which of them share channels."""
    accumulators = plan.accumulators()
    graph = _Graph(model, plan, images, chunk)

    def add(name: str, derivative: Tensor) -> None:
        for share in np.unique(shares):
            accumulators[name].update(derivative[torch.from_numpy(shares == share)], group=int(share))

    later = plan.needed_later()
    kept: dict[str, Tensor] = {}
    for layer in plan.layers:
        name, width = layer.name, plan.places[layer.name].width
        channels = torch.from_numpy(chosen[width][shares]).to(images.device)
        addition = plan.residuals.get(name)
        skip = kept.pop(addition.skip.name) if addition is not None and plan.chained(name) else None
        if addition is not None:
            branch = _of_branch(graph, plan, addition, skip, channels)
            add(f"before {name}", branch)
        derivative = graph.derivative(name, channels) if addition is None or skip is None else skip.add_(branch)
        add(f"after {name}", derivative)
        if name in later:
            kept[name] = derivative
    return accumulators


def _of_branch(graph: _Graph, plan: _Plan, addition: Residual, skip: Tensor | None, channels: Tensor) -> Tensor:
    # The MLP after attention or token mixing: what it reads is the stream, which no module overwrites.
    if addition.kind == "mlp" and skip is not None:
        width = plan.places[addition.skip.name].width
        if channels.shape[1] == skip.shape[1] == width:
            own = graph.derivative_by_centre(addition.branch.name, addition.skip.name, channels)
            if own is not None:
                return (own @ skip.flatten(2)).view_as(skip)
    return graph.derivative(addition.branch.name, channels)


def _result(plan: _Plan, accumulators: Mapping[str, ReceptiveField]) -> ReceptiveFields:
    for name, accumulator in accumulators.items():
        found = accumulator.compute()
        if not bool(torch.isfinite(found).all()):
            raise ValueError(
                f"The receptive field {name!r} has NaN or infinite numbers. Use a wider dtype: model.float()."
            )
        if not bool(found.any()):
            raise ValueError(
                f"The receptive field {name!r} is zero everywhere: no pixel reaches the centre of this layer. Is "
                "the network cut by a detach(), or a branch closed by a norm that starts at zero (timm's ResNets "
                "without training)? Leave this layer out, or open it."
            )
    after = {name: accumulators[f"after {name}"] for name in plan.asked}
    before = {name: accumulators[f"before {name}"] for name in plan.asked if name in plan.residuals}
    return ReceptiveFields(
        after={name: each.compute() for name, each in after.items()},
        before={name: each.compute() for name, each in before.items()},
        after_error={name: each.standard_error for name, each in after.items()},
        before_error={name: each.standard_error for name, each in before.items()},
        grids={name: plan.places[name].require_grid() for name in plan.asked},
        _accumulators={"after": after, "before": before},
    )
