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
# **Question.** The paper is of 2021, and most of it rests on one measure, CKA. What has been said against that measure since? Would others have found the same? And how do
# Vision Transformers that came later differ from those of the paper?
#
# | | |
# |---|---|
# | **You will learn** | what moves CKA though it should not; two other measures, and whether they agree; what massive activations and registers are; what self-supervised and distilled ViTs do otherwise |
# | **You need** | [Section 3](03_background.ipynb) and [Section 4](04_representation_structure.ipynb); [words](../book/glossary.md) |
# | **Cost** | about a minute on two CPU cores (`tiny`); not yet measured on a GPU (`colab`, `paper`) |

# %% tags=["remove-cell"]
# Colab only: install the library when it is missing.
import importlib.util

if importlib.util.find_spec("seelike") is None:
    _repository = "git+https://github.com/seelike/seelike"
    get_ipython().run_line_magic("pip", f'install -q "seelike @ {_repository}"')

# %% [markdown]
# These parameters can be changed here or from the command line, as in
# `.venv/bin/papermill notebooks/11_what_came_later.ipynb out.ipynb -p images ~/photos`; `None` takes the value of the profile.

# %% tags=["parameters"]
profile = "tiny"  # "tiny", "colab" or "paper"
models = None  # names of networks, as a list or separated by commas
images = None  # "fashion-mnist", or a folder of images
number_of_images = None
batch_size = None
repeats = None
seed = 0
device = None  # "cpu" or "cuda"
precision = None  # "float32", or "mixed": products in 16 bits

# %% [markdown]
# One line loads the networks and the images that the parameters name.

# %%
import seelike

run = seelike.start(globals(), "11_what_came_later")

# %% [markdown]
# ## The clouds
#
# To a measure that does not mind rotations, a layer is a cloud of points, one for each image. The *coordinates* of the cloud are the images' places along its principal
# directions: of 128 images at most 127 numbers each, however wide the layer is. Everything on this page is made of them.
#
# Here are those of all blocks of all networks, for each draw of images. (Of an architecture whose blocks are not known here, eight layers or so stand for them.)

# %%
import torch

from seelike.models import layers, preprocessing, read
from seelike.similarities import coordinates


def blocks_of(name):
    """The blocks of a network."""
    every = layers(run.models[name])
    blocks = [layer for layer in every if layer.kind == "block"]
    return blocks or every[:: max(1, len(every) // 8)]


def clouds_of(name, images):
    """Coordinates of some images in every block of a network."""
    prepare = preprocessing(run.models[name])
    pixels = torch.stack([prepare(image) for image in images])
    blocks = blocks_of(name)
    return read(run.models[name], blocks, pixels, lambda _, x: coordinates(x))


# %%
draws = list(run.draws())
clouds = seelike.where_possible(
    run.models, lambda name: [clouds_of(name, images) for images in draws]
)

# %% [markdown]
# ## One image far away
#
# [Davari et al. (2023)](https://arxiv.org/abs/2210.16156) show that a few points can decide a CKA. By hand: two layers of random numbers that have nothing to do with each other, and
# the CKA of Equation 1, as in Section 3.

# %%
import numpy as np

random = np.random.default_rng(run.seed)
x, y = (each - each.mean(axis=0) for each in random.normal(size=(2, 50, 10)))


def equation_1(x, y):
    """CKA as the paper writes it, for centred features."""
    of_both = np.sum((x.T @ y) ** 2)
    return of_both / np.sqrt(np.sum((x.T @ x) ** 2) * np.sum((y.T @ y) ** 2))


print(f"unrelated: {equation_1(x, y):.3f}")

# %% [markdown]
# Now the first image is moved, in both layers: each gets one more neuron, which is 100 for this image and 0 for all others. All other images stay where they were.

# %%
moved = [np.column_stack([each, np.zeros(50)]) for each in (x, y)]
for each in moved:
    each[0, -1] = 100
    each -= each.mean(axis=0)
print(f"one image moved: {equation_1(*moved):.3f}")

# %% [markdown]
# The library gives the same, and the unbiased CKA, which all pages of this book use.

# %%
from seelike.similarities import plain_cka, unbiased_cka

print(f"plain    {plain_cka(x, y):.3f}, one image moved {plain_cka(*moved):.3f}")
print(
    f"unbiased {unbiased_cka(x, y):.3f}, one image moved {unbiased_cka(*moved):.3f}"
)

# %% [markdown]
# The unbiased form has not moved at all. It leaves out the diagonal of the Gram matrix, where the moved image meets itself; its entries with all others changed by the same
# number, and centring takes that away. **Predict.** What if *two* images are moved, to the same far place?
#
# On our networks: the first block of the first network against the last block of the last one. The distance is in units of the usual distance from the mean.

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
one, other = next(iter(clouds)), list(clouds)[-1]
ends = [
    (next(iter(a.values())), list(b.values())[-1])
    for a, b in zip(clouds[one], clouds[other], strict=True)
]

# %% [markdown]
# Procrustes and CCA are two other measures, to which we come below. (Where images are few, CCA gets fewer directions.)

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
    for name, (_, values, _) in lines.items():
        print(f"{title}: {name:<14} {values[0]:.2f} before, {values[-1]:.2f} after")

# %% [markdown]
# ### A broken image
#
# Nobody moves images in a layer. But data sets have broken files. We replace one image, two, or eight by pure noise, and ask how far the map of all blocks of the first
# network moves: the mean absolute difference over all pairs of blocks.

# %%
from PIL import Image

from seelike.similarities import similarity_map


def with_noise(images, number):
    """The same images, the first of them replaced by noise."""
    kept = list(images)[number:]
    return [Image.effect_noise(kept[0].size, 100) for _ in range(number)] + kept


# %% [markdown]
# Every block with every block, on the first draw of images.

# %%
whole = {
    name: similarity_map(clouds[one][0], clouds[one][0], measure)
    for name, measure in measures.items()
}
for number in (1, 2, 8):
    cloud = clouds_of(one, with_noise(draws[0], min(number, len(draws[0]) // 2)))
    for name, measure in measures.items():
        change = np.abs(similarity_map(cloud, cloud, measure) - whole[name]).mean()
        print(f"{number} broken: {name:<14} moves by {change:.4f}")

# %% [markdown]
# ## A few directions
#
# CKA weighs the principal directions of a layer by their variance, twice: once for each layer. **Predict.** Keep the first direction of a layer and throw away all
# others. How like the whole layer is it?
#
# The last block of each network: its first few directions against the whole of it.


# %% mystnb={"figure": {"caption": "The first principal directions of the last block against the whole block: their share of the variance, and how like the whole they are. Bands are 95 % intervals over draws of images.", "name": "fig-directions"}, "image": {"alt": "A panel for each network: three rising lines, share of the variance, unbiased CKA and Procrustes, against the number of directions kept. CKA rises fastest. The table below gives its first values."}}
def of_first(name, measure):
    """A measure's line: directions kept, mean and band over draws."""
    last = [list(cloud.values())[-1] for cloud in clouds[name]]
    values = [[measure(x[:, :number], x) for number in kept] for x in last]
    return kept, *claims.mean_and_uncertainty(np.array(values))


kept = np.array([1, 2, 3, 5, 8, 12, 20, 30])
lines = {
    "share of variance": lambda first, whole: np.sum(first**2) / np.sum(whole**2),
    "CKA, unbiased": unbiased_cka,
    "Procrustes": procrustes,
}
panels = {n: {k: of_first(n, each) for k, each in lines.items()} for n in clouds}
plots.line_panels(panels, x_label="directions kept", y_label="likeness")

# %% [markdown]
# How few directions reach a CKA of 0.9 with the whole?

# %%
for name, each in panels.items():
    cka_of_first = each["CKA, unbiased"][1]
    reached = kept[cka_of_first >= 0.9]
    share = each["share of variance"][1][np.argmax(cka_of_first >= 0.9)]
    if len(reached):
        print(f"{name}: {reached[0]} directions, {share:.0%} of the variance")
    else:
        print(f"{name}: more than {kept[-1]} directions")

# %% [markdown]
# So a high CKA says that two layers agree in the few directions along which images differ most. What a network does with the others CKA can hardly see, and a classifier may need
# exactly those: [Ding et al. (2021)](https://arxiv.org/abs/2108.01661) remove directions that decide the accuracy and CKA does not notice. [Nguyen et al.
# (2022)](https://arxiv.org/abs/2202.07184) find that the bright blocks in CKA maps of large networks come from one dominant direction, and that a few images make it.
#
# A third criticism is the bias of the plain form, which makes wide layers look alike: [Section 3](03_background.ipynb) draws it, [Murphy et al.
# (2024)](https://arxiv.org/abs/2405.01012) show what it does to comparisons with brains. The unbiased form of this book has none.
#
# ## Two other measures
#
# *Procrustes* turns one cloud until it lies on the other as well as can be, and gives what is then the same. By hand: a triangle, and the same one turned by 90 degrees with
# one corner pushed. The singular values of `X'Y` do the turning.

# %%
triangle = np.array([[2.0, 0.0], [-1.0, 1.0], [-1.0, -1.0]])
pushed = triangle @ np.array([[0.0, 1.0], [-1.0, 0.0]]) + [[0, 0], [0, 0], [0.6, 0]]
pushed -= pushed.mean(axis=0)
singular_values = np.linalg.svd(triangle.T @ pushed, compute_uv=False)
lengths = np.linalg.norm(triangle) * np.linalg.norm(pushed)
print(f"{singular_values.sum() / lengths:.6f} {procrustes(triangle, pushed):.6f}")

# %% [markdown]
# *CCA* looks for directions in both layers along which the images are correlated, and averages the squared correlations. How much variance a direction has does not matter to
# it, so both layers are first cut down to twenty principal directions ([Raghu et al., 2017](https://arxiv.org/abs/1706.05806)). [Klabunde et al. (2023)](https://arxiv.org/abs/2305.06329) list some thirty
# more measures.
#
# **Predict.** Section 4 found maps of ViTs and of ResNets by CKA. Which of its findings will the two others share?

# %%
compared = {name: measures[name] for name in list(measures)[1:]}
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

# %% mystnb={"figure": {"caption": "Likeness of all blocks within the first and the last network, and between them, by three measures: a row for each.", "name": "fig-three-measures"}, "image": {"alt": "Rows of square heat maps, a row each for unbiased CKA, Procrustes and CCA; columns are the first network, the last network, and the two together. Colour is likeness from 0, dark, to 1, bright. The table below gives their means."}}
from seelike.plots import CKAMap


def drawn(name, a, b):
    """One map, mean over draws."""
    blocks = [blocks_of(each) for each in (a, b)]
    matrix = of_all[name, a, b].mean(axis=0)
    labels = {"y_label": a, "x_label": b} if a != b else {"y_label": a}
    return CKAMap(matrix, *blocks, **labels, title=name)


columns = list(dict.fromkeys([(one, one), (other, other), (one, other)]))
every = [drawn(name, a, b) for name in compared for a, b in columns]
plots.cka_maps(every, columns=len(columns), label="likeness")

# %% [markdown]
# ### Does Section 4 depend on the measure?
#
# For each measure: its mean over all pairs of different blocks, the value that it gives by chance to layers of the same shape whose images are shuffled, and the rank correlation of
# all entries of its maps with those of CKA. At 1 it would put all pairs of blocks in the same order.

# %%
from scipy.stats import spearmanr

from seelike.representation_structure import mean_off_diagonal
from seelike.similarities import of_shuffled


def entries(name):
    """All entries of a measure's maps, mean over draws."""
    maps = [of_all[name, a, b].mean(axis=0) for a, b in columns]
    return np.concatenate([each.ravel() for each in maps])


def rank_correlation(name):
    """Of a measure's maps with those of CKA."""
    return spearmanr(entries(name), entries("CKA, unbiased")).statistic


# %% [markdown]
# A row for each measure.

# %%
import pandas as pd

table = {}
for name, measure in compared.items():
    by_chance = [of_shuffled(*pair, measure, run.seed) for pair in ends]
    table[name] = {
        one: mean_off_diagonal(of_all[name, one, one]).mean(),
        other: mean_off_diagonal(of_all[name, other, other]).mean(),
        "by chance": np.mean(by_chance),
        "rank correlation with CKA": rank_correlation(name),
    }
pd.DataFrame(table).T.round(3)

# %% [markdown]
# ## Massive activations and registers
#
# In large trained ViTs a few numbers are hundreds or thousands of times larger than all others of their layer. [Sun et al. (2024)](https://arxiv.org/abs/2402.17762) find them in one or two channels, the same ones for every
# image, and call them *massive activations*. [Darcet et al. (2024)](https://arxiv.org/abs/2309.16588) find tokens of ten times the usual length in dull parts of the image: the network has emptied them to keep global notes there. Give it
# a few tokens of its own for that, *registers*, and the image's tokens stay clean.
#
# Two ratios for each block: the largest number over the median one, and the longest token over the median one. By hand, for one image with three tokens:

# %%
from seelike.massive_activations import unevenness

tokens = torch.tensor([[[1.0, -1.0], [1.0, 1.0], [1.0, 50.0]]])
lengths = tokens[0].norm(dim=1)
print("by hand", tokens.abs().max() / 1, lengths.max() / lengths.median())
print("library", 10 ** unevenness(tokens)[0])

# %% [markdown]
# **Predict.** Our networks have a few hundred thousand parameters. Will they have massive activations?

# %%
from seelike.massive_activations import massive_activations

massive = seelike.where_possible(
    run.models, lambda name: massive_activations(run.models[name], draws)
)

# %% mystnb={"figure": {"caption": "Largest number over the median one, and longest token over the median one, in the output of each block. Bands are 95 % intervals over draws of images.", "name": "fig-massive"}, "image": {"alt": "Lines on a logarithmic axis against relative depth, two for each network: largest number and longest token, over the median. The last values are printed below."}}


lines = {}
for name, each in massive.items():
    lines[f"{name}, number"] = plots.over_depth(each.largest_number)
    lines[f"{name}, token"] = plots.over_depth(each.longest_token)
plots.depth_lines(
    lines, y_label="largest / median", y_scale="log"
) if lines else None

# %% [markdown]
# A channel with massive activations is a dominant direction as well. What does CKA say when the one channel of the largest variance is set to zero, in every block?

# %%
from seelike.cka import cka
from seelike.massive_activations import without_largest_channel

for name in massive:
    prepare = preprocessing(run.models[name])
    pixels = torch.stack([prepare(image) for image in draws[0]])
    found = read(
        run.models[name],
        blocks_of(name),
        pixels,
        lambda _, x: cka(x, without_largest_channel(x)),
    )
    lowest = min(found, key=found.get)
    print(f"{name}: lowest at {lowest}, {found[lowest]:.3f}")

# %% [markdown]
# ## Networks of after the paper
#
# What made the paper's ViTs is the architecture, labels, and a great many photographs. All three have been changed since.
#
# | | what is new | what was found, in the words of this book |
# |---|---|---|
# | DeiT ([Touvron et al., 2021](https://arxiv.org/abs/2012.12877)) | learns with strong augmentation, on ImageNet alone, also from a convolutional teacher by a token of its own | the ViT needs no 300 million photographs to be accurate. Compare it with the paper's Figure 4 |
# | DINO ([Caron et al., 2021](https://arxiv.org/abs/2104.14294)), DINOv2 ([Oquab et al., 2024](https://arxiv.org/abs/2304.07193)) | no labels: two views of an image shall give the same | the CLS token's attention outlines objects. High blocks look far, and their heads become alike ([Park et al., 2023](https://arxiv.org/abs/2305.00729)) |
# | MAE ([He et al., 2022](https://arxiv.org/abs/2111.06377)) | no labels: hidden patches are filled in | attention stays nearer, also in the last blocks, and tokens stay different from each other; linear probes are worse, finetuning is not (Park et al., 2023; [Walmer et al., 2023](https://arxiv.org/abs/2212.03862)) |
# | registers (Darcet et al., 2024) | extra tokens to keep notes in | no long tokens in the image, and cleaner maps |
# | ConvNeXt ([Liu et al., 2022](https://arxiv.org/abs/2201.03545)) | a ResNet with the training and the proportions of a Transformer | as accurate as ViTs of its size: much of the difference was not attention |
#
# Is what the paper found a matter of the architecture, or of how it was trained? Walmer et al. compare ViTs that differ in training alone, and find that attention and features
# differ with it. So a sentence such as "ViTs attend locally and globally at once" is about ViTs that were trained on labels.
#
# These checkpoints cannot be had without a network connection, so at `tiny` they are missing. The larger profiles load them, and the cells above and below show them.

# %% mystnb={"figure": {"caption": "Attention distance of all heads of later networks, block by block (compare the paper's Figure 3).", "name": "fig-later-heads"}, "image": {"alt": "A row for each later network with attention: attention distance of each head, by block, with a dashed line for a head that looks everywhere alike."}}
from seelike.local_global import measure_heads

later = run.lists.get("later", [])
heads = seelike.where_possible(
    later, lambda name: measure_heads(run.models[name], draws)
)
if not later:
    print("This run has no later networks. With a network connection, run it as")
    print("papermill 11_what_came_later.ipynb out.ipynb -p profile colab")
plots.all_heads(heads) if heads else None

# %% [markdown]
# And their skip ratios, as in [Section 6](06_skip_connections.ipynb).

# %% mystnb={"figure": {"caption": "Skip ratio of the spatial tokens of later networks, by relative depth (compare the paper's Figure 7).", "name": "fig-later-skips"}, "image": {"alt": "A line for each later network: skip ratio on a logarithmic axis against relative depth."}}
from seelike.propagation import propagation

skips = seelike.where_possible(
    later, lambda name: propagation(run.models[name], draws)
)
lines = {
    name: plots.over_depth(each.ratio_of_spatial) for name, each in skips.items()
}
plots.depth_lines(lines, y_label="skip ratio", y_scale="log") if lines else None

# %% [markdown]
# ## Look around
#
# Choose a measure and a pair of networks: larger maps of what stands side by side above.

# %%
figures, alt = {}, {}
for name in compared:
    for a, b in columns:
        pair = name, a if a == b else f"{a} and {b}"
        figures[pair] = plots.cka_maps([drawn(name, a, b)], label="likeness")
        alt[pair] = f"{name}, {pair[1]}: mean {of_all[name, a, b].mean():.2f}."
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
# **Others found** that a few points, one dominant direction or a small sample can decide a CKA; that large ViTs keep notes in a few enormous numbers; and that how a ViT was
# trained shapes its attention as much as that it is a ViT.
#
# **Here we see**, with the trained networks of the `tiny` profile:
#
# - One image far away decides plain CKA and cannot move the unbiased one. Two images can: they take it from 0.68 to 1. That takes points far out. Real noise among the images is not far
#   out for these networks: eight broken images of 128 move CKA by 0.01 on average.
# - CKA sees little of a layer. Three directions of the ViT's last block, with half of its variance, have a CKA of 0.9 with the whole; five do in the ResNet.
# - One finding of Section 4 hangs on the measure. Pairs of blocks are as much alike in the ViT as in the ResNet by CKA (0.88 and 0.88); by CCA the ViT is more uniform (0.81 and 0.74), and the map of the
#   ResNet falls into its three stages, as in the paper's Figure 1. The rest of the order is shared: rank correlations with CKA are 0.98 for Procrustes and 0.86 for CCA.
# - There are no massive activations here. The largest number is nine times the median one in the ViT, and without its largest channel a block keeps a CKA of 0.998 or more.
#
# **Why.** A measure is a choice of what shall count. CKA takes what varies most, CCA takes the first directions alike, Procrustes lies between. A finding that all three share is about the
# networks. One that depends on the measure is about the measure, until someone says why just that one is right.
#
# ## Try it yourself
#
# 1. Move one image in *one* of the two layers only. What becomes of plain CKA, and of the unbiased one?
# 2. Two layers hold the same twenty directions, but in one of them the variances are all alike, in the other they fall by half from each to the next. What does CCA say, and what does CKA?
# 3. Set `models` to `"tiny/vit_7x7:random,tiny/resnet:random"`. Which measure comes nearest to telling the untrained networks from the trained ones?
#
# <details><summary>Answers</summary>
#
# 1. Plain CKA falls towards the likeness of that one image's distance with everything, which is near 0. The unbiased one stays, again.
# 2. CCA says 1. CKA looks at the first few directions of the second layer, which are only a few of twenty in the first: by hand, the sum of `a_i b_i` over the root of the sums of
#    `a_i^2` and `b_i^2` is about 0.39.
# 3. Look at the table: the rows of all three change, and in which direction depends on the network. A likeness alone does not say that anything was learned.
#
# </details>
#
# **Next:** [the tiny networks](tiny_networks.ipynb) that this book trained for itself, and [the scoreboard](../book/scoreboard.md).
