# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # What came later
#
# **Question.** The paper is from 2021. What have others found in Vision Transformers since, and does it show in the networks of this book? (The tiny profile has none of the later networks: there the page shows how the measures work.)
#
# | | |
# |---|---|
# | **You will learn** | whether layers come in phases; where a ViT forgets places; what a receptive field hides |
# | **You need** | [Section 4](04_representation_structure.ipynb) to [Section 7](07_spatial_localization.ipynb); [words](../book/glossary.md) |
# | **Cost** | a minute on two CPU cores (`tiny`); [other profiles](../book/costs.md) |
#
# Two subjects have pages of their own: what has been said of CKA, the paper's measure ([questions of measure](12_questions_of_measure.ipynb)), and
# [massive activations and registers](13_massive_activations.ipynb).

# %% tags=["remove-cell"]
# Colab only: install the library when it is missing.
import importlib.util

if importlib.util.find_spec("seelike") is None:
    _repository = "git+https://github.com/seelike/seelike"
    get_ipython().run_line_magic(
        "pip", f'install -q "seelike[hub] @ {_repository}"'
    )

# %% [markdown]
# These parameters can be changed here or from the command line, as in
# `.venv/bin/papermill notebooks/11_what_came_later.ipynb out.ipynb -p images ~/photos`; `None` takes the value of the profile.

# %% tags=["parameters"]
profile = None  # "tiny", "pretrained", "colab", "paper"; None: tiny, or colab on Colab's GPU
models = None  # names of networks, as a list or separated by commas
images = None  # "fashion-mnist", or a folder of images
probe_images = None  # images with classes for linear probes, if others
number_of_images = None
batch_size = None
repeats = None
seed = 0
device = None  # "cpu" or "cuda"
precision = None  # "float32", or "mixed": products in 16 bits
weights = None  # "random": the networks before any training

# %% [markdown]
# One line loads the networks and the images that the parameters name.

# %%
import seelike

run = seelike.start(globals(), "11_what_came_later")

# %% [markdown]
# ## Networks that came later
#
# Since the paper, ViTs have learned from other data, without labels, or with other parts. The figure shows the heads of such ViTs, as the paper's Figure 3 does; where a run has none,
# it shows the run's own ViTs. A table after the two figures says what is new in each network.

# %%
later = list(run.models) if models else run.lists.get("later", [])
later = [name for name in later if name in run.models]
print(
    "Networks that came after the paper:", ", ".join(later) or "none in this run."
)
shown = later or [*run.vits, *run.cnns] or list(run.models)
networks = {name: run.models[name] for name in dict.fromkeys([*shown, *run.names])}
one = next((name for name in shown if name in run.vits), shown[0])
draws = list(run.draws())

# %% [markdown]
# **Predict.** A ViT that was not trained to name classes (at the tiny profile: one that was): will its lowest heads look near and far, as in [Section 5](05_local_global.ipynb)? And its highest ones?

# %% mystnb={"figure": {"caption": "Attention distance of all heads of each network that came later, or else of the ViTs of this run (compare the paper's Figure 3): the two lowest and the two highest blocks, sorted, and beside them all blocks.", "name": "fig-later-heads"}, "image": {"alt": "A row for each network with attention: attention distance of each head, sorted on the left and by block on the right, with a dashed line for a head that looks everywhere alike. The nearest and the farthest heads are printed below."}}
from seelike import claims, plots
from seelike.sections.local_global import measure_heads

with_heads = later or run.vits
heads = seelike.where_possible(
    with_heads, lambda name: measure_heads(networks[name], draws)
)
plots.all_heads(heads) if heads else run.say_missing("vits")

# %% [markdown]
# The attention distance of the nearest and of the farthest head, in the two lowest and in the two highest blocks, as a share of that of uniform
# attention.

# %%
for name, each in heads.items():
    for which, blocks in {"lowest": slice(2), "highest": slice(-2, None)}.items():
        share = each.distance[:, blocks].reshape(len(each.distance), -1)
        share = share / each.uniform
        near, far = (
            claims.summary(share.min(axis=1)),
            claims.summary(share.max(axis=1)),
        )
        print(f"{name}, {which}: nearest {near}, farthest {far}")

# %% [markdown]
# A network is like the ViTs of the paper if its lowest blocks have both near and far heads, and its highest blocks only far ones.
#
# And are the skip ratios like those of [Section 6](06_skip_connections.ipynb)? There the paper's ViTs rewrite their spatial tokens in the lower half, and hand them on in the upper one: then the line rises.

# %% mystnb={"figure": {"caption": "Skip ratio of the spatial tokens of each network that came later, or else of the networks of this run, by relative depth (compare the paper's Figure 7).", "name": "fig-later-skips"}, "image": {"alt": "A line for each network: skip ratio on a logarithmic axis against relative depth. The means over depth are printed above the figure."}}
from seelike.sections.skip_connections import propagation

skips = seelike.where_possible(
    later or run.names, lambda name: propagation(networks[name], draws)
)
lines = {
    name: plots.over_depth(each.ratio_of_spatial) for name, each in skips.items()
}
for name, each in skips.items():
    print(f"{name}: mean {claims.summary(each.ratio_of_spatial.mean(axis=1))}")
plots.depth_lines(
    lines, y_label="skip ratio", y_scale="log"
) if lines else run.say_missing()

# %% [markdown]
# ### What is new in these networks
#
# | | what is new | what was found, in the words of this book |
# |---|---|---|
# | DeiT ([Touvron et al., 2021](https://arxiv.org/abs/2012.12877)) | learns on ImageNet alone, with strong augmentation, and from a teacher by a token of its own | a ViT does not need 300 million photographs to be accurate |
# | DINO ([Caron et al., 2021](https://arxiv.org/abs/2104.14294)), DINOv2 ([Oquab et al., 2024](https://arxiv.org/abs/2304.07193)) | no labels: two views of an image are trained to give the same output | in the last block CLS attends to objects; high blocks look far, and their heads become alike ([Park et al., 2023](https://arxiv.org/abs/2305.00729)) |
# | DINOv3 ([Siméoni et al., 2025](https://arxiv.org/abs/2508.10104)) | more images, registers, and a loss that keeps the patches' Gram matrix close to an earlier one | in long training the maps of patches blur; this loss prevents it |
# | MAE ([He et al., 2022](https://arxiv.org/abs/2111.06377)) | no labels: hidden patches are filled in | heads stay nearer and more unlike each other (Park et al.; [Xie et al., 2023](https://arxiv.org/abs/2205.13543)), or look far from the first blocks on ([Shrivastava et al., 2026](https://arxiv.org/abs/2602.03531)) |
# | ConvNeXt ([Liu et al., 2022](https://arxiv.org/abs/2201.03545)), RepLKNet ([Ding et al., 2022](https://arxiv.org/abs/2203.06717)) | CNNs with the proportions of a Transformer, or with kernels of up to 31 x 31 | as accurate as Transformers of their size, without attention |
#
# ViTs that differ in training alone differ in attention and features ([Walmer et al., 2023](https://arxiv.org/abs/2212.03862)). In all of them some heads look at the patch beside their own. So a sentence such as "high blocks look far" has to be tested anew for each way of training.
#
# Other networks of the table can be named in `models`, such as `vit_small_patch16_dinov3.lvd1689m`: the weights of DINOv3 have to be requested, and the network is
# left out where they are missing; timm has no RepLKNet.

# %% [markdown]
# ## Do layers come in phases?
#
# The paper found ViTs uniform. [Jacobs et al. (2025)](https://arxiv.org/abs/2512.19941) see a few phases in the same maps: runs of blocks that are alike. They replace
# each phase by one block that is applied again and again. A DINOv2 of two such blocks classifies nearly as well as the whole network.
#
# In any network neighbouring blocks are alike, so every map has a bright band along its diagonal, and any such band can be cut into phases. We
# therefore cut two maps: that of the network, and a control, the *smooth band*. In the smooth band every pair of blocks has the mean CKA of all
# pairs that are equally far apart.
#
# Of all possible cuts, we take the one whose phases are most alike within. The *step* is the mean CKA within phases minus the mean CKA between them. By hand, for four blocks in two phases:

# %%
import numpy as np

from seelike.sections.phases import phases, smooth_band
from seelike.sections.representation_structure import within_minus_between_stages


def step(found, asked, number):
    """Mean CKA within minus between phases of a map, cut where another says."""
    return within_minus_between_stages(asked[None], phases(found, number))[0]


two = np.kron(np.eye(2), np.ones((2, 2)))
two = np.where(two == 1, 0.9, 0.2) + 0.1 * np.eye(4)
for what, each in {"map": two, "smooth band": smooth_band(two)}.items():
    print(f"{what}: phases {phases(each, 2)}, step {step(each, each, 2):.2f}")

# %% [markdown]
# Both are cut at the same place, so the cut alone shows nothing. But the step of the map is twice as large.
#
# **Predict.** Cut the map of a trained ViT into three phases: will its step be larger than that of its smooth band? And before training?

# %%
from seelike.models import load
from seelike.sections.blocks import ask, blocks_of
from seelike.sections.token_geometry import place_read, share_between_places
from seelike.similarities import coordinates, similarity_map, unbiased_cka
from seelike.streaming import Images

# %% [markdown]
# This section and the next ask two questions of the same blocks, in one pass. A control joins the networks: one of them before any training.


# %%
def of_places(tokens, place):
    """Can a probe tell where a patch is, and how much varies between places?"""
    patches = tokens[:64, len(place.prefix) :]
    if place.grid is None or patches.shape[1] < 2:
        return np.nan, np.nan
    return place_read(patches, place.grid), share_between_places(patches)


before = f"{one.removesuffix(':random')}:random"
networks |= seelike.where_possible(
    {before: one}, lambda name: load(name, device=run.device)
)
questions = {
    "cloud": lambda tokens, _: coordinates(tokens),
    "places": of_places,
}

# %% [markdown]
# For every network, every draw of images and every block:


# %%
def answers_of(name):
    """All answers of a network, in each draw."""
    return [
        ask(networks[name], Images(images, networks[name])[:], questions)
        for images in draws
    ]


answers = seelike.where_possible(networks, answers_of)


def values_of(name, question):
    """Answers that are numbers, [draws, blocks, numbers]."""
    return np.array([each[question] for each in answers[name]])


def maps_of(name):
    """CKA of all blocks of a network, in each draw."""
    clouds = [dict(enumerate(each["cloud"])) for each in answers[name]]
    return np.array([similarity_map(each, each, unbiased_cka) for each in clouds])


of_blocks = seelike.where_possible(answers, maps_of)

# %% [markdown]
# The maps, cut in three.

# %%
from seelike.sections.representation_structure import mean_off_diagonal

cuts = {
    name: np.flatnonzero(np.diff(phases(each.mean(axis=0), 3))) + 1
    for name, each in of_blocks.items()
    if each.shape[1] >= 3
}
for name, after in cuts.items():
    mean = claims.summary(mean_off_diagonal(of_blocks[name]))
    print(f"{name}: cut after {after}, mean {mean}")

# %% mystnb={"figure": {"caption": "CKA of all blocks within each network, mean over draws of images (compare the paper's Figure 1). Dashed lines cut it into the three phases that are most alike within.", "name": "fig-later-maps"}, "image": {"alt": "A square heat map for each network, with dashed lines at two edges. Colour is CKA from 0, dark, to 1, bright. The blocks of each phase and the means are printed above the figure."}}
from seelike.plots import CKAMap

maps = [
    CKAMap(
        of_blocks[name].mean(axis=0), *[blocks_of(networks[name])] * 2, title=name
    )
    for name in cuts
]
figure = plots.cka_maps(maps) if maps else run.say_missing()
for axes, name in zip(figure.axes if maps else (), cuts, strict=False):
    for cut in cuts[name] - 0.5:
        for line in (axes.axvline, axes.axhline):  # seen on dark and on bright
            line(cut, color="white", linewidth=1.6)
            line(cut, color="black", linewidth=0.8, linestyle="--")
figure

# %% [markdown]
# A cut that is chosen on a map also fits the noise of that map. So the map of each draw of images is cut where the maps of the *other* draws say.


# %%
def steps(maps, number):
    """The step of the network's map and of its smooth band, for each draw."""
    values = []
    for draw, asked in enumerate(maps):
        found = np.delete(maps, draw, axis=0) if len(maps) > 1 else maps
        found = found.mean(axis=0)
        band = step(smooth_band(found), smooth_band(asked), number)
        values.append([step(found, asked, number), band])
    return np.array(values)


# %% mystnb={"figure": {"caption": "How much more CKA there is within phases than between them, for two to four phases: of each network's map, and of a smooth band with the same mean at every distance. Bands are 95 % intervals over draws of images.", "name": "fig-phases"}, "image": {"alt": "A panel for each network with a line for its map and one for its smooth band, against the number of phases. The differences at three phases are printed above the figure."}}
numbers = np.array([2, 3, 4])
stepped = seelike.where_possible(
    of_blocks,
    lambda name: np.stack([steps(of_blocks[name], n) for n in numbers], 1),
)
panels = {}
for name, values in stepped.items():
    mean, band = claims.mean_and_uncertainty(values)
    each = zip(("map", "smooth band"), mean.T, band.T, strict=True)
    panels[name] = {title: (numbers, *line) for title, *line in each}
    print(f"{name}: beyond its band {claims.summary(-np.diff(values[:, 1])[:, 0])}")
label = "within minus between"
plots.line_panels(
    panels, x_label="phases", y_label=label
) if panels else run.say_missing()

# %% [markdown]
# A network has phases where the step of its map is larger than that of its smooth band. Where the two lines meet, the edges in the map show only that
# blocks become less alike with distance.
#
# ## Does the last block forget places?
#
# [Ghiasi et al. (2022)](https://arxiv.org/abs/2212.06727) find that ViTs keep spatial information in all layers but the last, which works as a learned global pooling. We
# measure two things. First, how well does a linear probe read the row and column of a patch from its token, on images that it has not seen? Second,
# how much of the variance of all patch tokens lies *within* images, from place to place, and not between images? After a global pooling this share would be zero. By hand: images whose two
# patches are the same, and images whose two patches differ only by place.

# %%
import torch

pooled = torch.tensor([[[1.0], [1.0]], [[3.0], [3.0]]])
placed = torch.tensor([[[1.0], [3.0]], [[1.0], [3.0]]])
print(share_between_places(pooled), share_between_places(placed))

# %% [markdown]
# **Predict.** Where along the depth does the first fall, and where the second?

# %% mystnb={"figure": {"caption": "Above: how well a linear probe reads the row and column of a patch from its token, as R squared: 1 is without error, 0 is no better than the middle. Below: the share of the variance of all patch tokens that lies within images, from place to place. Bands are 95 % intervals over draws of images.", "name": "fig-places"}, "image": {"alt": "Two panels against relative depth, a line for each network: R squared of the place, and share of the variance between places. The values of the last two blocks are printed above the figure."}}
titles = ["place, read from a token", "variance between the places of an image"]
panels = {title: {} for title in titles}
for name, values in {each: values_of(each, "places") for each in answers}.items():
    for number, title in enumerate(titles):
        panels[title][name] = plots.over_depth(values[..., number])
    last_two = [
        [claims.summary(each[:, b]) for b in (-2, -1)]
        for each in values.T.swapaxes(1, 2)
    ]
    print(
        f"{name}: place {' then '.join(last_two[0])}, variance {' then '.join(last_two[1])}"
    )
plots.depth_panels(
    panels, y_label="R squared, or share"
) if answers else run.say_missing()

# %% [markdown]
# Only a fall *in the last block* would be what Ghiasi et al. describe. The control says what comes with the architecture: position embeddings that are sines tell places before anything is learned, small random ones do not.
#
# ## What a receptive field hides
#
# [Ding et al. (2022)](https://arxiv.org/abs/2203.06717) argue that a few large kernels see farther than many small ones with the same theoretical
# receptive field: effective receptive fields grow with the kernel's size, but only with the square root of the number of layers ([Luo et al., 2016](https://arxiv.org/abs/1701.04128)).
# By hand, along a line: stacks of random kernels that all reach 15 places to each side. **Predict.** Within how many places lies half of their field?

# %%
from seelike.sections.channel_mean import half_width, stack_of_kernels

random = np.random.default_rng(run.seed)
for number in (1, 3, 5, 15):
    kernels = random.normal(size=(200, number, 1 + 30 // number))
    found = np.array([half_width(stack_of_kernels(each)) for each in kernels])
    size = kernels.shape[2]
    print(f"{number:>2} kernels of {size:>2}: {claims.summary(found)}")

# %% [markdown]
# One large kernel has the widest field. The more small kernels share the same reach, the more of the field lies in the middle.
#
# A figure of a receptive field also depends on how its channels are combined. The paper differentiates every channel and averages the absolute values. Many tools
# differentiate the *mean of the channels* once; openerf, a tool for such figures, keeps only the positive derivatives. In the mean, channels with derivatives of opposite signs
# cancel. **Predict.** Which of the two fields is wider?

# %%
from seelike.receptive_field import effective_receptive_field, radius
from seelike.sections.channel_mean import field_of_channel_mean


def some_blocks(name):
    """Every second block of a network and the last, with their relative depths."""
    every = blocks_of(networks[name])
    at = sorted({*range(0, len(every), 2), len(every) - 1})
    return [every[place] for place in at], np.array(at) / max(1, len(every) - 1)


# %% [markdown]
# Both fields of these blocks, on the first images of each draw.


# %%
def radii_of(name):
    """Radius of both fields as shares of the image's height, [2, draws, blocks]."""
    network, blocks, found = networks[name], some_blocks(name)[0], []
    for images in draws:
        pixels = Images(images, network)[:8]
        exact = effective_receptive_field(network, blocks, pixels, 4, before=False)
        of_mean = {
            b.name: field_of_channel_mean(network, b, pixels) for b in blocks
        }
        both = [
            [radius(each[name], grid) for name, grid in exact.grids.items()]
            for each in (exact.after, of_mean)
        ]
        found.append(np.array(both) / pixels.shape[2])
    return np.array(found).swapaxes(0, 1)


# %% [markdown]
# A ViT and a CNN, where the run has both.

# %%
cnn = [name for name in [*run.cnns, *shown] if name in networks and name != one]
fields = seelike.where_possible(dict.fromkeys([one, *cnn[-1:]]), radii_of)

# %% mystnb={"figure": {"caption": "Radius of half of the receptive field's mass, as a share of the image's height, by relative depth: of all channels, as the paper has it, from four channels an image; and of the mean channel, positive numbers alone, as openerf has it. Bands are 95 % intervals over draws of images.", "name": "fig-channel-mean"}, "image": {"alt": "Two lines for each network against relative depth: radius of the field of all channels, and of the field of the mean channel. The values of the first and of the last block are printed above the figure."}}
lines = {}
for name, found in fields.items():
    for what, values in zip(("all channels", "mean channel"), found, strict=True):
        depth = some_blocks(name)[1]
        line = depth, *claims.mean_and_uncertainty(values)
        lines[f"{name}, {what}"] = line
        first, last = (claims.summary(values[:, block]) for block in (0, -1))
        print(f"{name}, {what}: first block {first}, last {last}")
plots.depth_lines(lines, y_label="radius / height") if lines else run.say_missing()

# %% [markdown]
# Where the lines differ, a figure of the mean channel does not show how far the layer sees. It shows what the channels agree on.
# Where the mean channel has the *wider* field, our reading is this: near the middle, derivatives of opposite signs cancel, and what is left is weak and spread out.

# %% [markdown]
# ## What we take with us
#
# **Others found** that training shapes attention as much as the architecture does; that blocks come in phases; that the last one forgets places; and that large kernels see farther.
#
# **The pretrained networks** show some of this. (This run has only one of the later networks, a ViT-S/14 that began as DINOv2 and was then trained by others on salient objects. One network says nothing about the
# effect of training.)
#
# - The lowest blocks of this ViT have both near and far heads, though it never learned classes. Its highest blocks keep some heads that look about half as far as uniform attention.
# - To the eye, its map has an edge near the top. But its step exceeds that of the smooth band by no more than the uncertainty. In the EfficientNet it does, by a little.
# - For most of the depth, the place of a patch can be read from its token nearly without error. What the probe reads falls most in the last block, but does not vanish. In the last block of the EfficientNet the probe does worse than guessing the middle: what it learned from some images does not carry over to others.
# - The receptive field of its mean channel is wide from the first block on, while the field of all channels grows with depth. In the EfficientNet the two lines coincide.
# - Before training the step of the ViT is that of its smooth band, and no place can be read: its position embeddings are small random numbers.
#
# **The tiny networks** show little of this.
#
# - The steps of ViT and ResNet exceed those of their smooth bands by a little. In the untrained ViT, too, though by far less.
# - Places can be read from every block. They can be read better from an untrained ViT, whose position embeddings have not been overwritten.
# - In the first block of the ViT, the field of the mean channel covers nearly the whole image, while the fields of single channels cover only their surroundings.
#
# **Why.** What comes from the architecture is visible before training, and what comes from depth alone is visible in a smooth band. Only what exceeds both controls can be called learned.
#
# ## Try it yourself
#
# Put a number in the place of `None` and run the cell: it says what is off.
#
# **11.1** In a map of six blocks, every pair of different blocks has a CKA of 0.9, except the pairs with the last block, which have 0.5. It is cut into two phases, before the last block. How much more alike are blocks of one phase than blocks of two?

# %% tags=["exercise", "show-code"]
from seelike import exercises

answer = None
exercises.check("11.1", answer)

# %% [markdown]
# And to look into:
#
# 1. What is the step of the smooth band of this map?
# 2. Why does an untrained tiny ViT know places better than a trained one?
#
# <details><summary>Answers</summary>
#
# **11.1** `answer = 0.4`: within phases 0.9, between them 0.5.
#
# 1. It is smaller: the band mixes both kinds of pairs at every distance but the largest.
#    `m = np.full((6, 6), 0.9); m[5, :5] = m[:5, 5] = 0.5; np.fill_diagonal(m, 1); print(phases(m, 2), step(smooth_band(m), smooth_band(m), 2))`.
# 2. Nothing has been written over its position embeddings, which are sines: blocks with small random weights add little to the stream. A trained block adds what it found, which differs from image to image.
#
# </details>
#
# ## Summary
#
# - The paper's ViTs were trained on labels. Others find that another way of training changes how far heads look; one network cannot test that.
# - Phases and forgotten places each need a control: a smooth band, and the untrained network.
# - A receptive field of the mean channel is another quantity than the paper's.
#
# **Next:** [questions of measure](12_questions_of_measure.ipynb), and [massive activations and registers](13_massive_activations.ipynb).
