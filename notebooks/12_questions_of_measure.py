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
# # Questions of measure
#
# **Question.** Most of the paper rests on one measure, CKA. How has CKA been criticised since then? What does CKA actually measure? And would other
# measures have found the same?
#
# | | |
# |---|---|
# | **You will learn** | what changes CKA although it should not; what a measure gives by chance; which claims of Section 4 depend on the measure; what CKA says about linear readouts |
# | **You need** | [Section 3](03_background.ipynb) and [Section 4](04_representation_structure.ipynb); [words](../book/glossary.md) |
# | **Cost** | a minute on two CPU cores (`tiny`); [other profiles](../book/costs.md) |

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
# `.venv/bin/papermill notebooks/12_questions_of_measure.ipynb out.ipynb -p images ~/photos`; `None` takes the value of the profile.

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

run = seelike.start(globals(), "12_questions_of_measure")

# %% [markdown]
# To a measure that ignores rotations, a layer is a cloud of points, one for each image. Its *coordinates* are their positions along its principal directions. Most of this page is computed from the coordinates of all blocks, for each draw of images.
# It looks mainly at two networks, the first ViT of this run and its last CNN, and calls them *the ViT* and *the CNN*. Where a run does not have both, two others take their place, *the first* and *the second*.

# %%
from seelike.sections.blocks import blocks_of, clouds_of
from seelike.similarities import coordinates

draws = list(run.draws())
clouds = seelike.where_possible(
    run.models,
    lambda name: [clouds_of(run.models[name], images) for images in draws],
)
one = next((name for name in run.vits if name in clouds), next(iter(clouds)))
rest = [name for name in clouds if name != one] or [one]
cnns = [name for name in run.cnns if name in rest]
other = (cnns or rest)[-1]
both = one in run.vits and other in run.cnns
short = {one: "ViT" if both else "first", other: "CNN" if both else "second"}
for name, called in short.items():
    print(f"{called}: {name}")

# %% [markdown]
# ## One image far away
#
# [Davari et al. (2023)](https://arxiv.org/abs/2210.16156) show that a few points can decide a CKA. Take two unrelated layers of random numbers, and
# move the first image in both: each layer gets one more neuron, which is 100 for this image and 0 for all others.
#
# *Plain* CKA is the paper's Equation 1 ([Section 3](03_background.ipynb)). All pages of this book use the *unbiased* one. It leaves out the diagonal of the Gram matrix, where an image is compared with itself.

# %%
import numpy as np

from seelike.similarities import plain_cka, unbiased_cka

random = np.random.default_rng(run.seed)
x, y = (each - each.mean(axis=0) for each in random.normal(size=(2, 50, 10)))
moved = [np.column_stack([each, np.zeros(50)]) for each in (x, y)]
for each in moved:
    each[0, -1] = 100
    each -= each.mean(axis=0)
for name, cka in {"plain": plain_cka, "unbiased": unbiased_cka}.items():
    print(
        f"{name:<8} as they are {cka(x, y):.3f}, one image moved {cka(*moved):.3f}"
    )

# %% [markdown]
# The unbiased CKA has not changed at all. The entries of the Gram matrix that compare the moved image with the others
# all changed by the same number, and centring removes this number. **Predict.** What if *two* images are moved, to the same far place?
#
# Now on our networks: we compare the first block of the ViT with the last block of the CNN, and move images in both. The distance is in units of
# the usual distance of an image from the mean. Procrustes and CCA are two other measures, which are explained below.

# %%
from seelike.similarities import cca, move_away, procrustes

few = min(20, run.number_of_images // 3)  # directions for CCA
measures = {
    "CKA, plain": plain_cka,
    "CKA, unbiased": unbiased_cka,
    "Procrustes": procrustes,
    "CCA": lambda x, y: cca(x, y, few),
}
distances = np.array([0, 1, 2, 4, 7, 10, 15, 20, 30])
ends = [
    (next(iter(a.values())), list(b.values())[-1])
    for a, b in zip(clouds[one], clouds[other], strict=True)
]

# %% mystnb={"figure": {"caption": "Likeness of two layers when one image, or two, are moved away from all others in both layers, by four measures. Bands are 95 % intervals over draws of images.", "name": "fig-far-away"}, "image": {"alt": "Two panels, one image moved and two images moved: likeness against distance, a line for each of plain CKA, unbiased CKA, Procrustes and CCA. The table below gives the right ends of the lines."}}
from seelike import claims, plots


def when_moved(measure, number):
    """A measure's line: distances, mean and band over draws."""

    def at(times, pair):
        return measure(*(move_away(x, times, number) for x in pair))

    values = np.array([[at(times, pair) for times in distances] for pair in ends])
    return distances, *claims.mean_and_uncertainty(values)


panels = {
    title: {name: when_moved(each, number) for name, each in measures.items()}
    for title, number in {"one image moved": 1, "two images moved": 2}.items()
}
plots.line_panels(panels, x_label="distance", y_label="likeness")

# %% [markdown]
# In numbers, before and after.

# %%
for title, lines in panels.items():
    for name, (_, values, band) in lines.items():
        first, last = (f"{values[at]:.2f} ± {band[at]:.2f}" for at in (0, -1))
        print(f"{title}: {name:<14} {first} before, {last} after")

# %% [markdown]
# One image moves plain CKA, and not the unbiased one. Two, at the same place, take the unbiased one to the top as well. CCA hardly changes.
#
# ### A broken image
#
# Nobody moves images in a layer. But data sets have broken files. We replace eight images by pure noise, and ask how far the map of all blocks of the
# ViT moves: the mean absolute difference over all pairs of blocks. Measures have different room to move: above what a measure gives by chance, Procrustes has little. So the move is also given as a share of the range between chance and 1.

# %%
from PIL import Image

from seelike.models import preprocessing
from seelike.similarities import of_shuffled, similarity_map
from seelike.streaming import Images


def with_noise(network, images, number):
    """The same images as a network takes them, the first of them replaced by noise."""
    pixels, size = Images(images, network)[:], images[number].size
    for place in range(number):
        pixels[place] = preprocessing(network)(Image.effect_noise(size, 100))
    return pixels


# %%
moves = {name: [] for name in measures}
for images, cloud in zip(draws, clouds[one], strict=True):
    noisy = with_noise(run.models[one], images, min(8, len(images) // 2))
    noisy = clouds_of(run.models[one], noisy)
    for name, measure in measures.items():
        maps = [similarity_map(each, each, measure) for each in (cloud, noisy)]
        moves[name].append(np.abs(maps[1] - maps[0]).mean())

# %%
for name, found in moves.items():
    chance = []
    for each in map(list, (cloud.values() for cloud in clouds[one])):
        chance.append(of_shuffled(each[0], each[-1], measures[name], run.seed))
    share = claims.summary(np.array(found) / (1 - np.mean(chance)))
    found = claims.summary(np.array(found))
    print(f"{name:<14} moves by {found}, as a share of its range {share}")

# %% [markdown]
# ## A few directions
#
# CKA weighs the principal directions of a layer by their variance, twice: once for each layer. **Predict.** Keep the first principal direction of a layer and
# throw away all others. How alike are this one direction and the whole layer?
#
# By hand: a layer of three directions, along which four images have the variances 9, 4 and 1. The first direction has 9 of 14 parts of the variance.
# CKA squares the variances.

# %%
directions = np.array(
    [[1, 1, 1, 1], [1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]]
)
layer = directions[1:].T * np.sqrt([9.0, 4.0, 1.0])
first_alone = layer[:, :1]
print(f"share of the variance {9 / (9 + 4 + 1):.3f}")
print(f"CKA, by hand {9 / np.sqrt(9**2 + 4**2 + 1**2):.3f}", end=", ")
print(f"library {plain_cka(first_alone, layer):.3f}")

# %% [markdown]
# Now we take the last block of each of the two networks. We compare the whole block with the part of it along its first few directions, and then
# with the part along all other directions. The directions are found on other images. Directions found on the same images would fit the noise of
# these images, and the part along all other directions would come out as *un*like the whole: no estimate is unbiased for directions that were
# chosen on the same data.

# %%
from seelike.models import read
from seelike.similarities import principal_directions


def features_of(name, images):
    """The last block of a network, laid flat."""
    network = run.models[name]
    block = blocks_of(network)[-1:]
    pixels = Images(images, network)[:]
    flat = read(network, block, pixels, lambda _, x: x.flatten(1).double().cpu())
    return next(iter(flat.values()))


def other_images(repeat):
    """Images for the directions, drawn on their own."""
    seed = run.seed + run.repeats + repeat
    return run.images.sample(run.number_of_images, seed=seed)


# %% [markdown]
# The first few directions divide a layer into two parts: the part along them, and the rest. Four numbers compare these parts with the whole layer.


# %%
def parts(x, directions):
    """Share of the variance, Procrustes and CKA of what directions hold; CKA of all else."""
    places = x @ directions
    layers = places, x - places @ directions.T, x
    first, others, whole = map(coordinates, layers)
    return [
        np.sum(first**2) / np.sum(whole**2),
        procrustes(first, whole),
        unbiased_cka(first, whole),
        unbiased_cka(others, whole),
    ]


# %%
def all_parts(name):
    """The four numbers of a network, [draws, numbers of directions, 4]."""
    values = []
    for repeat, images in enumerate(draws):
        found = principal_directions(features_of(name, other_images(repeat)), 30)
        x = features_of(name, images)
        x = x - x.mean(dim=0)
        values.append([parts(x, found[:, :number]) for number in kept])
    return np.array(values)


kept = np.array([n for n in (1, 2, 3, 5, 8, 12, 20, 30) if n < len(draws[0]) - 1])
measured = seelike.where_possible(dict.fromkeys([one, other]), all_parts)

# %% mystnb={"figure": {"caption": "The first principal directions of the last block against the whole block: their share of the variance, how like the whole they are, and how like it all others are. The directions come from other images. Bands are 95 % intervals over draws of images.", "name": "fig-directions"}, "image": {"alt": "A panel for each network, against the number of directions: the share of the variance of the first directions, their CKA and their Procrustes similarity with the whole and the CKA of all other directions with the whole. The numbers below give the first values."}}
titles = [
    "variance of the first",
    "Procrustes of the first",
    "CKA of the first",
    "CKA of the others",
]
panels = {}
for name, values in measured.items():
    mean, band = claims.mean_and_uncertainty(values)
    each = zip(titles, mean.T, band.T, strict=True)
    panels[name] = {title: (kept, *line) for title, *line in each}
label = "with the whole layer"
plots.line_panels(
    panels, x_label="directions", y_label=label
) if panels else run.say_missing()

# %% [markdown]
# How few directions reach a CKA of 0.9 with the whole block? What share of the variance do they have, and what is the CKA of all other directions with
# the whole?

# %%
for name, values in measured.items():
    cka_of_first = values.mean(axis=0)[:, 2]
    at = int(np.argmax(cka_of_first >= 0.9))
    if cka_of_first[at] < 0.9:
        print(f"{name}: more than the first {kept[-1]}")
        continue
    share, _, _, of_others = map(claims.summary, values[:, at].T)
    print(f"{name}: first {kept[at]}, share of the variance {share}", end="; ")
    print(f"the others: a CKA of {of_others}")

# %% [markdown]
# Where a few directions hold the largest variances, a high CKA can come from these few alone. A classifier may need the other directions. [Ding et
# al. (2021)](https://arxiv.org/abs/2108.01661) remove principal directions and ask which measure notices what a linear probe loses. CKA is slow to
# notice it. [Nguyen et al.
# (2022)](https://arxiv.org/abs/2202.07184) find that the bright blocks in CKA maps of large networks come from one dominant direction, and that a few images make it.
#
# ## Few images
#
# A third criticism is a bias. [Section 3](03_background.ipynb) drew it with random numbers: the wider a layer is beside the number of images, the nearer plain CKA comes to 1. [Murphy et al.
# (2024)](https://arxiv.org/abs/2405.01012) show what this bias does to comparisons with brains, where images are few: the likeness is about as
# high when the images are shuffled.
#
# We do the same with our two layers. The images of one layer are shuffled, so that the layers have nothing to do with each other, and we take fewer
# and fewer images.
# **Predict.** Which of the four measures will still say 0 with eight images?

# %%
import torch

numbers = [n for n in (8, 16, 32, 64, 128, 256, 512) if n <= run.number_of_images]
numbers = np.array(numbers or [run.number_of_images])


def by_chance(measure, number):
    """What a measure gives of some images of two layers, shuffled, in each draw."""
    part = [[coordinates(torch.from_numpy(x[:number])) for x in xy] for xy in ends]
    return [of_shuffled(*xy, measure, run.seed) for xy in part]


# %% [markdown]
# CCA gets a direction for every three images, and twenty at most.

# %% mystnb={"figure": {"caption": "Likeness of two layers that have nothing to do with each other, as one of them is shown the images in another order, against the number of images. Bands are 95 % intervals over draws of images.", "name": "fig-by-chance"}, "image": {"alt": "Four lines against the number of images. Plain CKA and Procrustes are highest at eight images and fall as images are added; CCA lies below them and depends on its number of directions; unbiased CKA lies near zero, with a wide band at eight images. The numbers below give the ends of the lines."}}
lines = {}
for name, measure in measures.items():
    if name == "CCA":
        measure = lambda x, y: cca(x, y, min(20, len(x) // 3))  # noqa: E731
    values = np.transpose([by_chance(measure, number) for number in numbers])
    lines[name] = numbers, *claims.mean_and_uncertainty(values)
figure = plots.line_panels(
    {"": lines}, x_label="images", y_label="likeness by chance"
)
figure.axes[0].set_xscale("log")
figure.axes[0].set_xticks(numbers, numbers)
figure.axes[0].minorticks_off()
figure

# %% [markdown]
# In numbers, at both ends.

# %%
for name, (_, values, band) in lines.items():
    first, last = (f"{values[at]:+.3f} ± {band[at]:.3f}" for at in (0, -1))
    print(f"{name:<14} {numbers[0]} images {first}, {numbers[-1]} images {last}")

# %% [markdown]
# The unbiased CKA of this book has no such bias, though with few images it is a rough estimate. The other measures have this bias: their numbers mean
# something only in comparison with what they give by chance.
#
# ### The best of many
#
# A search over layers is affected by chance, too. The claim that the last third of the ViT matches the CNN less takes the highest of many
# values, and the highest of many values is high even where all of them are noise. [Gröger et al. (2026)](https://arxiv.org/abs/2602.14486) correct
# for this, for any measure and any search. They shuffle the images of one network, in the same order for all of its layers, and repeat the *same
# search*, many times. The value that only one in twenty of these searches exceeds is the new zero: `(found - zero) / (1 - zero)`. With this
# correction, they find, networks no longer become more alike by CKA as they grow, though they still do by their nearest neighbours.
#
# **Predict.** We search for the most alike pair among every second block of our two networks. How much of its likeness will be left, by each measure?

# %%
from seelike.sections.measures import calibrated_highest, shuffled_maps

compared = {name: measures[name] for name in list(measures)[1:]}
every_second = {
    name: [dict(list(cloud.items())[::2]) for cloud in clouds[name]]
    for name in dict.fromkeys([one, other])
}

# %% [markdown]
# The highest, the new zero, and what is left: for each measure, over draws.

# %%
for name, measure in compared.items():
    of_draws = []
    for pair in zip(every_second[one], every_second[other], strict=True):
        shuffled = shuffled_maps(*pair, measure, run.seed, 19)
        of_draws.append(
            calibrated_highest(similarity_map(*pair, measure), shuffled)
        )
    best, zero, left = map(claims.summary, np.transpose(of_draws))
    print(f"{name:<14} highest {best}, zero at {zero}, calibrated {left}")

# %% [markdown]
# The higher a measure is by chance, the less of its highest value is left.
#
# ## Two networks, the same images
#
# There is one more reason for a high CKA. Images with similar pixels still have similar features some layers later, in any network. [Cui et al. (2022)](https://arxiv.org/abs/2202.00095) point out that even
# untrained networks are therefore like each other. **Predict.** How alike are a trained ViT and an untrained CNN: as alike as the ViT and a trained
# CNN, half as alike, or not at all?
#
# The last blocks of the two networks, of the same two before training, and the pixels themselves.

# %%
from seelike.models import load


def last_block(name):
    """Coordinates of each draw of images in the last block of a network."""
    network = run.models.get(name) or load(name, device=run.device)
    return [list(clouds_of(network, images).values())[-1] for images in draws]


names = [one, other]
names += [f"{name.removesuffix(':random')}:random" for name in names]
last = seelike.where_possible(dict.fromkeys(names), last_block)
last["pixels"] = [
    coordinates(Images(images, run.models[one])[:]) for images in draws
]

# %% [markdown]
# A row and a column for each, mean over draws.

# %%
import pandas as pd

of_draw = [
    {name: each[draw] for name, each in last.items()} for draw in range(len(draws))
]
tables = {
    name: np.array([similarity_map(each, each, measure) for each in of_draw])
    for name, measure in compared.items()
}
table = tables["CKA, unbiased"].mean(axis=0)
pd.DataFrame(table, index=list(last), columns=list(last)).round(2)

# %% [markdown]
# Two untrained networks can be more alike than two trained ones, and a trained and an untrained one nearly as alike as two trained ones. So compare a CKA of two networks with that of networks that learned nothing. Cui et al. go further, and remove from both layers what the pixels
# explain.
#
# Which measure tells best what was learned? [Bo et al. (2024)](https://arxiv.org/abs/2411.14633) ask this of eight measures. CKA and Procrustes
# separate trained from untrained networks best, and agree with how alike the answers of the networks are. The next cell prints, for each measure, how
# much more alike the two trained networks are than a trained and an untrained one.


# %%
def above_untrained(name):
    """Trained with trained, minus trained with untrained, for each draw."""
    table = tables[name]
    return table[:, 0, 1] - (table[:, 0, 3] + table[:, 2, 1]) / 2


for name in compared if len(last) == 5 else ():
    spread = claims.summary(tables[name][:, 0, 1])
    print(
        f"{name:<14} {spread}, above untrained {claims.summary(above_untrained(name))}"
    )

# %% [markdown]
# ## What CKA says of readouts
#
# What is a CKA of a half? [Harvey et al. (2024)](https://arxiv.org/abs/2411.08197) answer in terms of decoding. Take a target: one random number for
# each image. Read it out of a layer, along the direction that covaries most with the target. This readout gives one number for each image. Do the same
# in another layer. How far the two readouts agree, over many targets, *is* plain CKA. In ten lines, with the two layers from above:

# %%
from seelike.sections.measures import agreement_of_readouts

x, y = ends[0]
for number in (10, 100, 1000, 10_000):
    found = []
    for seed in range(8):
        targets = np.random.default_rng(seed).normal(size=(len(x), number))
        found.append(agreement_of_readouts(x, y, targets))
    print(f"{number:>6} targets: agreement {claims.summary(np.array(found))}")
print(f"plain CKA: {plain_cka(x, y):.3f}")

# %% [markdown]
# So CKA says how far two layers agree on *random* targets. In practice nobody needs random targets. Whether the layers agree on targets that
# matter, such as classes, has to be tested with a [linear probe](08_scale_and_transfer.ipynb).
#
# ## Two other measures
#
# *Procrustes* rotates one cloud until it lies on the other as closely as possible, and measures how well the two then agree. It does well in the tests of Ding et al., and its angle
# is a distance in the strict sense ([Williams et al., 2021](https://arxiv.org/abs/2110.14739)). By hand: a triangle, and the same one turned by 90 degrees with one corner pushed. The singular values of
# `X'Y` give the agreement after the best rotation.

# %%
triangle = np.array([[2.0, 0.0], [-1.0, 1.0], [-1.0, -1.0]])
pushed = triangle @ np.array([[0.0, 1.0], [-1.0, 0.0]]) + [[0, 0], [0, 0], [0.6, 0]]
pushed -= pushed.mean(axis=0)
singular_values = np.linalg.svd(triangle.T @ pushed, compute_uv=False)
lengths = np.linalg.norm(triangle) * np.linalg.norm(pushed)
print(f"{singular_values.sum() / lengths:.6f} {procrustes(triangle, pushed):.6f}")

# %% [markdown]
# *CCA*, canonical correlation analysis, looks for directions in both layers along which the images are correlated, and averages the squared correlations
# ([Kornblith et al., 2019](https://arxiv.org/abs/1905.00414)). How much variance a direction has does not matter to it. By hand: scale all directions of both layers to the same length, and the
# singular values of their product are the correlations. Six images, two neurons; the second layer has the first neuron of the first, and a new one.

# %%
x = np.array(
    [[1.0, 2.0], [3.0, 0.0], [-2.0, 1.0], [0.0, -3.0], [-3.0, 1.0], [1.0, -1.0]]
)
y = np.column_stack([100 * x[:, 0], [2.0, 0.0, -1.0, 1.0, -1.0, -1.0]])
scaled = [np.linalg.svd(each, full_matrices=False)[0] for each in (x, y)]
correlations = np.linalg.svd(scaled[0].T @ scaled[1], compute_uv=False)
print("correlations", correlations.round(3))
print(f"{np.mean(correlations**2):.6f} {cca(x, y, 2):.6f}")

# %% [markdown]
# With as many directions as images everything is correlated. So each layer is first reduced to its first principal directions. SVCCA ([Raghu et al.,
# 2017](https://arxiv.org/abs/1706.05806)) takes those that hold 99 % of the variance. How many directions are these in our layers, and what does CCA
# give with them, for the two layers and by chance?

# %%
from seelike.similarities import directions_that_keep

pair = [layer[:, : directions_that_keep(layer, 0.99)] for layer in ends[0]]
print(f"{[each.shape[1] for each in pair]} directions for {len(pair[0])} images")
all_of_them = max(each.shape[1] for each in pair)
for what, number in {"99 % of the variance": all_of_them, "few": few}.items():
    measure = lambda x, y, number=number: cca(x, y, number)  # noqa: E731
    try:
        found, chance = measure(*pair), of_shuffled(*pair, measure, run.seed)
        print(f"{what}: {number} directions, {found:.3f}, by chance {chance:.3f}")
    except ValueError as error:
        print(f"{what}: not here, {error}")

# %% [markdown]
# Where 99 % of the variance takes nearly as many directions as there are images, chance gives almost as much as the layers do, or everything is correlated and CCA says nothing. So this page takes
# fewer: a third of the number of images, twenty at most. Kornblith et al. show that every measure that ignores how much directions vary needs more images than directions. [Klabunde et al. (2025)](https://arxiv.org/abs/2305.06329) list many more measures, and [hold 24 of them](https://arxiv.org/abs/2408.00531) to tests whose answer is known, such as that nearer layers are more alike; none is best everywhere.
#
# **Predict.** Section 4 drew maps of ViTs and of CNNs by CKA. Which of its findings will the two others share?

# %%
of_all = {
    (name, a, b): np.array(
        [
            similarity_map(x, y, measure)
            for x, y in zip(clouds[a], clouds[b], strict=True)
        ]
    )
    for name, measure in compared.items()
    for a, b in {(one, one), (other, other), (one, other)}
}

# %% [markdown]
# For unrelated layers the three measures give different values: Procrustes is far above CKA. To draw all of them on one scale of colours, each entry is
# rescaled, so that 0 is what the measure gives by chance for these very layers, and 1 stays 1.

# %% mystnb={"figure": {"caption": "Likeness of all blocks within each of the two networks, and between them, by three measures: a row for each. Each entry is on the scale from 0, what the measure gives of these blocks by chance, to 1.", "name": "fig-three-measures"}, "image": {"alt": "Rows of square heat maps, a row each for unbiased CKA, Procrustes and CCA; columns are the two networks, each with itself, and the one with the other. Colour is likeness beyond chance from 0, dark, to 1, bright. The table below gives their means."}}
from seelike.plots import CKAMap
from seelike.sections.measures import beyond_chance


def drawn(name, a, b):
    """One map beyond chance, mean over draws."""
    blocks = [blocks_of(run.models[each]) for each in (a, b)]
    pair = clouds[a][0], clouds[b][0]
    chance = shuffled_maps(*pair, compared[name], run.seed, 3).mean(axis=0)
    matrix = beyond_chance(of_all[name, a, b].mean(axis=0), chance)
    labels = {"y_label": short[a]} | ({"x_label": short[b]} if a != b else {})
    return CKAMap(matrix, *blocks, **labels, title=name.partition(",")[0])


columns = list(dict.fromkeys([(one, one), (other, other), (one, other)]))
every = {(name, a, b): drawn(name, a, b) for name in compared for a, b in columns}
plots.cka_maps(
    list(every.values()), columns=len(columns), label="likeness beyond chance"
)

# %% [markdown]
# ### Does Section 4 depend on the measure?
#
# For each measure: its mean over all pairs of different blocks, the value that it gives by chance to layers of the same shape whose images are shuffled, and the rank correlation of
# all entries of its maps with those of CKA: at 1 the measure would put all pairs of blocks in the same order as CKA. The table also has a test of
# Klabunde et al. (2025): in what share of all triples of blocks of one network are the outer two the least alike?

# %%
from scipy.stats import spearmanr

from seelike.sections.measures import share_in_order
from seelike.sections.representation_structure import mean_off_diagonal


def entries(name):
    """All entries of a measure's maps, mean over draws."""
    maps = [of_all[name, a, b].mean(axis=0) for a, b in columns]
    return np.concatenate([each.ravel() for each in maps])


def rank_correlation(name):
    """Of a measure's maps with those of CKA."""
    return spearmanr(entries(name), entries("CKA, unbiased")).statistic


def in_order(name, network):
    """Share of triples of blocks whose likeness is in their order."""
    maps = of_all[name, network, network]
    return claims.summary(np.array([share_in_order(each) for each in maps]))


# %%
table = {}
for name, measure in compared.items():
    by_chance = [of_shuffled(*pair, measure, run.seed) for pair in ends]
    table[name] = {
        one: claims.summary(mean_off_diagonal(of_all[name, one, one])),
        other: claims.summary(mean_off_diagonal(of_all[name, other, other])),
        "by chance": claims.summary(np.array(by_chance)),
        "rank correlation with CKA": f"{rank_correlation(name):.3f}",
        **{f"{called}, in order": in_order(name, n) for n, called in short.items()},
    }
pd.DataFrame(table).T

# %% [markdown]
# And the claims themselves: the five statistics of Section 4, each the larger the more its claim is true. There they were taken over all layers of several networks, and here over the blocks of two.


# %%
from seelike.sections import representation_structure as structure


def stages_of(name):
    """The stage of each block of a network."""
    return structure.stages(blocks_of(run.models[name]))


# %%
def within_networks(name):
    """Section 4's statistics of maps within networks, by a measure: ViT against CNN."""
    maps = [of_all[name, one, one], of_all[name, other, other]]
    depths = [np.linspace(0, 1, each.shape[1]) for each in maps]
    stages = [stages_of(each) for each in (one, other)]
    stages[0] = structure.stages_like(stages[0], depths[0], stages[1], depths[1])
    mean = [structure.mean_off_diagonal(each) for each in maps]
    ends = list(map(structure.first_third_with_last_third, maps, depths))
    step = list(map(structure.within_minus_between_stages, maps, stages))
    return {
        "ViT more uniform": mean[0] - mean[1],
        "low and high blocks alike in the ViT": ends[0] - ends[1],
        "CNN falls into stages": step[1] - step[0],
    }


# %%
def between_networks(name):
    """Section 4's statistics of the map between networks, by a measure."""
    both = of_all[name, one, other]
    vit, cnn = (np.linspace(0, 1, size) for size in both.shape[1:])
    low = structure.lowest_minus_second_quarter(both, vit, cnn)
    last = structure.row_maximum_middle_minus_last_third(both, vit)
    return {
        "second quarter of CNN matches lowest of ViT": low,
        "last third of ViT matches less": last,
    }


def claims_of(name):
    """All five, each with its uncertainty."""
    values = within_networks(name) | between_networks(name)
    return {claim: claims.summary(value) for claim, value in values.items()}


# %% [markdown]
# A row for each claim, a column for each measure. Where the intervals of a row all lie on the same side of zero, the direction does not depend on the measure: above zero the claim points the paper's way, below it the other way.

# %%
found = seelike.where_possible(compared if both else (), claims_of)
pd.DataFrame(found) if found else run.say_missing("vits", "cnns")

# %% [markdown]
# ## Look around
#
# Choose a measure and a pair of networks: larger maps of what stands side by side above.

# %%
figures, alt = {}, {}
for name in compared:
    for a, b in columns:
        pair = name, a if a == b else f"{a} and {b}"
        figures[pair] = plots.cka_maps([every[name, a, b]], label="beyond chance")
        alt[pair] = (
            f"{name}, {pair[1]}: mean {every[name, a, b].matrix.mean():.2f}."
        )
plots.states_of_two(figures, ("Measure", "Networks"), alt)

# %% [markdown]
# With a kernel, one block of a network against all blocks of another, by all three measures.


# %% tags=["remove-output"]
def one_block(network, against, percent):
    """Draw the likeness of a block, at a depth in percent, with all blocks of another network."""
    lines = {}
    for name, measure in compared.items():
        rows = []
        for a, b in zip(clouds[network], clouds[against], strict=True):
            block = list(a.values())[round(percent / 100 * (len(a) - 1))]
            rows.append([measure(block, other) for other in b.values()])
        lines[name] = plots.over_depth(np.array(rows))
    return plots.depth_lines(lines, y_label="likeness", title=against)


names = list(clouds)
display(
    plots.live(one_block, network=names, against=names[::-1], percent=range(101))
)

# %% [markdown]
# ## What we take with us
#
# **Others found** that a few points, one dominant direction, a small sample, a search over layers or the images themselves can decide a CKA; that chance can be taken away from any measure; and that CKA is how far the readouts of two layers agree.
#
# **The pretrained networks** confirm a part of this. One image far away decides plain CKA, and two decide the unbiased CKA. Noise among photographs moves the
# map of the unbiased CKA most, in absolute numbers and as a share of its range. In the last block of the ViT-S/14, two or three directions reach a high CKA with the whole block; but all
# others together still have a middling one. For EfficientNet-Lite0 the page cannot tell: directions that were found on so few images hold almost none of the variance of other images. With so few images, Procrustes is nearly as high by chance. Whether trained networks are, in their last blocks, more like each other
# than like untrained ones, so few images cannot tell. By all three measures the last third of the ViT matches less, as in Section 4; no measure finds the ViT more uniform.
#
# **The tiny networks** confirm this, as far as they can show it.
#
# - Two images far away raise the unbiased CKA to 1; one image does not change it. To these networks, images of pure noise are not far from the others: some broken images change CKA by next to nothing.
# - To CKA, the few largest directions of a last block, found on other images, are almost the whole block, although they have little more than half of the variance.
# - With eight images, layers that have nothing to do with each other are alike by all measures but the unbiased CKA. The best pair of blocks stands far above the best of a search among shuffled images.
# - Taken over the outputs of blocks, three findings of Section 4 cannot be decided by CKA, but hold by CCA. The two findings about the pair of networks have the same sign by all three measures. By every measure, nearer blocks are more alike.
#
# **Why.** A measure is a choice of what counts. CKA gives most weight to the directions that vary most, CCA gives the first directions equal weight,
# and Procrustes lies between. A finding that all three share is about the networks. A finding that depends on the measure is about the measure,
# until someone gives a reason why this measure is the right one.
#
# ## Try it yourself
#
# Put a number in the place of `None` and run the cell: it says what is off.
#
# **12.1** A layer has three principal directions, with the variances 2, 1 and 1. What is the plain CKA of the first direction with the whole layer?

# %% tags=["exercise", "show-code"]
from seelike import exercises

answer = None
exercises.check("12.1", answer)

# %% [markdown]
# **12.2** One image is moved far away in *one* of two layers only. Towards which number does plain CKA go, if there are very many images?

# %% tags=["exercise", "show-code"]
answer = None
exercises.check("12.2", answer)

# %% [markdown]
# And to look into with the page itself:
#
# 1. Set `models` to `"tiny/vit_7x7:random,tiny/resnet:random"`. Which claims of Section 4 hold, by which measure, before anything was learned?
#
# <details><summary>Answers</summary>
#
# **12.1** `answer = 2 / 6**0.5`: CKA squares the variances, so that the whole has the length of (2, 1, 1), which is the root of six.
#
# **12.2** `answer = 0`: one layer says that one image is unlike all others, and the other layer does not. With few images a little is left: the share of this image in the other layer. The unbiased one stays, again:
#    `a, b = ends[0]; print(plain_cka(move_away(a, 100), b), unbiased_cka(move_away(a, 100), b))`.
#
# 1. All of them, by all three measures. Whatever holds there as in trained networks need not have been learned. A likeness alone does not say that anything was.
#
# </details>
#
# ## Summary
#
# - Unrelated layers have some likeness by chance, and the best pair of a search has more. Both can be measured by shuffling images, and corrected for.
# - CKA can be decided by a few images that lie far out, by the direction that varies most, and in its plain form by chance. The unbiased form is 0 on average for unrelated layers, and is not moved by a single image. With few images it is rough, and the best of a search lies above 0 by chance.
# - Compare a high CKA of two networks with that of untrained ones, and a finding by CKA with that of another measure. Procrustes and CCA give directions other weights.
# - CKA is the agreement of readouts of random targets. It does not say whether layers agree on the targets that matter.
#
# **Next:** [massive activations and registers](13_massive_activations.ipynb), which can decide CKA, too, and [the scoreboard](../book/scoreboard.md).
