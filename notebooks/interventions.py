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
# # Interventions without retraining
#
# **Question.** All other pages look at networks and leave them unchanged. They show what a layer contains, but not what the network *needs* of it. Here
# we change networks: we take heads out, shuffle patches, cut a skip connection, exchange the CLS token. Nothing is trained again. What breaks?
#
# | | |
# |---|---|
# | **You will learn** | to change a network while it runs, by hooks; whether local or global heads can be spared; what tells a ViT the order of patches; from which depth on the CLS token decides the class; why setting a part to zero overstates its importance |
# | **You need** | [Section 5](05_local_global.ipynb) for local and global heads, [Section 6](06_skip_connections.ipynb) for skip connections; [words](../book/glossary.md) |
# | **Cost** | two minutes on two CPU cores (`tiny`); [other profiles](../book/costs.md) |

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
# `.venv/bin/papermill notebooks/interventions.ipynb out.ipynb -p images ~/photos`; `None` takes the value of the profile.

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

run = seelike.start(globals(), "interventions")

# %% [markdown]
# Each network sees the same images twice: as it was trained, and changed. Two numbers say what the change did.
#
# - **Same class.** The share of images that keep the class that the intact network gives them: its classifier, or else a linear probe of its output.
# - **CKA** of each block with the same block of the intact network, as in [Section 4](04_representation_structure.ipynb).

# %%
import numpy as np

from seelike import claims, plots
from seelike.sections.interventions import read_intact


def draws_of(name):
    """The network as it is, on each draw of images."""
    images = run.probe_images_for([name])
    amounts = {"number": run.number_of_images, "batch_size": run.batch_size}
    seeds = range(run.seed, run.seed + run.repeats)
    return [read_intact(run.models[name], images, **amounts, seed=s) for s in seeds]


intact = seelike.where_possible(run.vits, draws_of)

# %% [markdown]
# ## Without some of the heads
#
# A head reads the residual stream, computes a weighted sum of values, and adds the result to the stream. To take a head out, we replace its sum by
# something else. *Zero* is the obvious choice. The *mean* over images, for each token by itself, is milder: it keeps what the head gives for every
# image, and removes only what is specific to this image.
#
# Which heads do we take out? In each block the nearest heads by attention distance, the farthest ones, or random ones: always the same number in
# every block. These are the nearest and the farthest head of some blocks:

# %%
from seelike.sections.local_global import evenly_spaced, measure_heads


def heads_of(name):
    """Heads of a network, on the training images of each draw."""
    return [measure_heads(each.model, [each.training]) for each in intact[name]]


one = list(intact)[:1]
heads = seelike.where_possible(one, heads_of)
for name, of_draws in heads.items():
    distance = np.mean(
        [each.distance[0] / each.uniform for each in of_draws], axis=0
    )
    for place in evenly_spaced(len(distance), 4):
        near, far = distance[place].min(), distance[place].max()
        print(
            f"{name}, block {place + 1}: nearest head {near:.2f}, farthest {far:.2f}"
        )

# %% [markdown]
# Distances are given as shares of the distance of uniform attention. **Predict.** The nearest heads do what a convolution does: they gather what is
# close. The farthest heads bring together what is far apart. Which of them can the network spare? A hint: where neighbouring patches are much alike, a
# head that looks at its own patch and the neighbours adds little that is new. And in blocks in which the nearest and the farthest head hardly differ,
# the choice should not matter.

# %%
from seelike.sections.interventions import KINDS, heads_removed


def numbers_of(name):
    """How many heads of each block are taken out."""
    number = heads[name][0].distance.shape[2]
    return [1 + out for out in evenly_spaced(max(1, number - 1), 3)]


def without_some(name):
    """What is left, [draws, zero or mean, numbers, kinds, class or CKA]."""
    pairs = enumerate(zip(intact[name], heads[name], strict=True), start=run.seed)
    numbers = numbers_of(name)
    return np.array(
        [heads_removed(e, h.distance[0], numbers, seed) for seed, (e, h) in pairs]
    )


removed = seelike.where_possible(heads, without_some)


# %%
def draw(panels, x_label, y_label):
    """Lines of shares and of CKA, on an axis from 0 to 1."""
    if not any(panels.values()):
        return run.say_missing("vits")
    figure = plots.line_panels(panels, x_label=x_label, y_label=y_label)
    figure.axes[0].set_ylim(-0.03, 1.03)
    return figure


# %% mystnb={"figure": {"caption": "What is left when heads are taken out of every block, against their share: the nearest ones (local), the farthest ones (global), or random ones. Above, the share of images that keep their class; below, CKA of the last block with the intact network. Left, zero in the place of a head; right, its mean over images. Bands are 95 % intervals over draws of images.", "name": "fig-without-heads"}, "image": {"alt": "Four panels, share of heads taken out from none to nearly all: above the share of images with the same class, below CKA of the last block with the intact network; on the left heads are set to zero, on the right to their mean. A line each for local, global and random heads. The numbers below are those of the figure."}}
panels = {}
for name, values in removed.items():
    x = np.array([0, *numbers_of(name)]) / heads[name][0].distance.shape[2]
    whole = np.concatenate([np.ones_like(values[:, :, :1]), values], axis=2)
    for what, left in enumerate(("same class", "CKA")):
        for way, put in enumerate(("zero", "mean")):
            lines = panels[f"{left}, {put}"] = {}
            for place, kind in enumerate(KINDS):
                of_kind = whole[:, way, :, place, what]
                lines[kind] = x, *claims.mean_and_uncertainty(of_kind)
draw(panels, "share of the heads of every block", "share, or CKA")

# %% [markdown]
# Figures show the first network only; the table near the end shows all networks. In numbers, where fewest and where most heads are taken out. Bands, and numbers after ±, are 95 % intervals over draws of images, on the whole page. Where
# a probe reads the class, each draw has its own.

# %%
for title, lines in panels.items():
    for kind, (x, value, band) in lines.items():
        ends = ", ".join(
            f"{x[i]:.2f} out: {value[i]:.2f} ± {band[i]:.2f}" for i in (1, -1)
        )
        print(f"{title:<17} {kind:<7} {ends}")

# %% [markdown]
# First look whether the three lines differ. Where they coincide, it does not matter which heads are taken out, only how many. And no line of *same class* can be expected to fall below
# the share by chance, which is printed below. There it also says how well the class is read: where a probe is often wrong, the class changes easily. **The pretrained ViT**
# loses much as soon as one head of every block is taken out, whichever it is. By CKA, taking out half of the heads costs clearly more where they are the global ones than where they are the local ones. With fewer or more heads out, and by class, the bands
# overlap. **The tiny networks** have hardly any near heads, and their lines do coincide: a few heads can be spared, most cannot.
#
# This does not show what a head is *for*. A network trained without these heads would work differently, and here the remaining heads were never
# trained to replace the missing ones.

# %% [markdown]
# ### How heads are chosen and taken out
#
# Heads are chosen block by block: the nearest heads of the whole network would be those of low blocks, and we would compare depths. Distances and
# means come from other images than those that are tested.
#
# Why is the mean milder than zero? By hand: a head gives 5 for one image and 7 for another, and the next layer has never seen anything else.

# %%
said = np.array([5.0, 7.0])
print(
    "moved by zero:", abs(said - 0), " moved by the mean:", abs(said - said.mean())
)

# %% [markdown]
# In code, a *hook* (a function that PyTorch calls when a module runs) replaces the weighted sum of a head. Here it takes out two heads of the first block; the cell prints how far the output of the network moves.

# %% tags=["show-code"]
import torch

from seelike.interventions import without_heads

for name in one:
    network, images = run.models[name], intact[name][0].batches[0]
    with without_heads(network, [(1, 0), (1, 1)]), torch.no_grad():
        changed = network(images)
    with torch.no_grad():
        moved = (changed - network(images)).norm() / network(images).norm()
    print(f"{name}: the output moves by {moved:.3f} of its length")

# %% [markdown]
# ### How well is the class read?
#
# This is about the whole page, and about all networks: the share of images whose class is read rightly before anything is changed, and the share of pairs of images that have the same class
# by chance. Where a probe reads the class, it is trained once, on the intact network and on other images, and then not changed. The images are those on which other pages train probes, since
# these have classes.

# %%
for name, draws in intact.items():
    right = claims.summary(np.array([each.accuracy for each in draws]))
    chance = claims.summary(np.array([each.by_chance for each in draws]))
    print(
        f"{name}: class by a {draws[0].by}, right for {right}; by chance {chance}"
    )
    print(f"  {len(draws[0].classes)} images in each of {len(draws)} draws")
if not intact:
    run.say_missing("vits")

# %% [markdown]
# ## Shuffled patches
#
# We shuffle in two ways, with the same order for all images of a draw. **Pieces of the image** are shuffled before the network sees it, so each piece
# gets the position of another. **Tokens** are shuffled as they enter the first block, when they have their position already. [Naseer et al.
# (2021)](https://arxiv.org/abs/2105.10497) shuffle pieces of the image, and find that ViTs lose less by it than one would think.
#
# **Predict.** Which of the two costs more, and what does shuffling tokens cost? Go through a block: norm and MLP look at one token at a time; attention is a sum over all tokens, and a sum has no order.
#
# Pieces are of whole patches: as large as can be, in between, and single patches.

# %%
from seelike.sections.interventions import shuffle_effects


def all_shuffles(name):
    """The effect of each shuffle, by its name, on each draw."""
    return [
        shuffle_effects(e, seed) for seed, e in enumerate(intact[name], run.seed)
    ]


shuffles = seelike.where_possible(one, all_shuffles)

# %% mystnb={"figure": {"caption": "CKA of each block with the intact network when pieces of the image are shuffled before the network sees them, or tokens with their positions as they enter the first block. The order is the same for all images of a draw, so that moving what a block gives costs no CKA. Bands are 95 % intervals over draws of images and orders.", "name": "fig-shuffled"}, "image": {"alt": "Lines of CKA with the intact network against the block, from 0 to 1: one for each size of pieces, from a few large ones to single patches, and one for shuffled tokens. The numbers below are those of the figure."}}
lines = {}
for of_draws in shuffles.values():
    for kind in of_draws[0]:
        values = np.array([found[kind].cka for found in of_draws])
        blocks = np.arange(1, values.shape[1] + 1)
        lines[kind] = blocks, *claims.mean_and_uncertainty(values)
draw({"": lines}, "block", "CKA with the intact network")

# %% [markdown]
# And the class?

# %%
for of_draws in shuffles.values():
    for kind, (_, value, band) in lines.items():
        same = claims.summary(
            np.array([found[kind].same_class for found in of_draws])
        )
        print(f"{kind:<13} same class {same};", end=" ")
        print(
            f"CKA {value[0]:.2f} in the first block, {value[-1]:.2f} ± {band[-1]:.2f} in the last"
        )

# %% [markdown]
# Shuffling tokens after the embedding changes nothing: CKA is 1 in every block, and no image changes its class. A ViT knows the order of patches only
# from the positions that its tokens carry. Shuffling pieces of the image leaves the low blocks as they were. It costs more the higher the block. On average
# smaller pieces cost more, but with so few images the bands overlap. One reading: the low blocks work on the content of patches, and the arrangement enters later. **The pretrained ViT** shows this block by block,
# **the tiny networks** most in their last block.
#
# This does not show that the network makes no use of shapes: there are few images, and the cuts make edges that no photograph has. (In networks with rotary positions, such as DINOv3, positions enter
# in each attention, and the tokens do not carry them.)
#
# ## The skip connections of one block dropped
#
# The paper trains ViTs without the skip connections of one block ([Section 6](06_skip_connections.ipynb)) and loses four points. Here they are dropped from a network that was trained with them: in one block, the stream becomes
# `f(z)` in place of `z + f(z)`, for attention and MLP.
#
# **Predict.** Section 6 measures the skip ratio, the length of `z` over that of `f(z)`. Where this ratio is high, dropping the skip connection throws
# away nearly all of a token. Which of these blocks could do without its skip connections, and which least? The skip ratio of some blocks, the two branches together:

# %%
from seelike.sections.skip_connections import propagation


def ratios_of(name):
    """Skip ratio of the spatial tokens of each block."""
    first = intact[name][0]
    found = propagation(first.model, [torch.cat(first.batches)]).ratio_of_spatial[0]
    return 10 ** np.log10(found).reshape(len(first.blocks), -1).mean(axis=1)


ratios = seelike.where_possible(one, ratios_of)
for name, by_block in ratios.items():
    for place in evenly_spaced(len(by_block), 5):
        print(f"{name}, block {place + 1}: skip ratio {by_block[place]:.1f}")

# %%
from seelike.interventions import without_skip


def without_each_skip(name):
    """Same class and CKA of the last block, [draws, blocks, 2]."""
    rows = []
    for each in intact[name]:
        numbers = range(1, len(each.blocks) + 1)
        cut = [
            each.effect(lambda _, n=n, e=each: without_skip(e.model, n))
            for n in numbers
        ]
        rows.append([(effect.same_class, effect.cka[-1]) for effect in cut])
    return np.array(rows)


cut = seelike.where_possible(one, without_each_skip)

# %% mystnb={"figure": {"caption": "One block without its skip connections, in a network that was trained with all: the share of images that keep their class, and CKA of the last block with the intact network, against the block. The line by chance is how often two images have the same class. Bands are 95 % intervals over draws of images.", "name": "fig-skip-dropped"}, "image": {"alt": "Three lines against the block without skip connections: the share of images with the same class, CKA of the last block, and the share of pairs of images that have one class by chance, which is the floor. The numbers below are those of the figure."}}
lines = {}
for name, values in cut.items():
    blocks = np.arange(1, values.shape[1] + 1)
    for what, label in enumerate(("same class", "CKA of the last block")):
        lines[label] = blocks, *claims.mean_and_uncertainty(values[..., what])
    chance = np.array([each.by_chance for each in intact[name]])
    chance = np.repeat(chance[:, None], len(blocks), axis=1)
    lines["same class by chance"] = blocks, *claims.mean_and_uncertainty(chance)
draw({"": lines}, "block", "share, or CKA")

# %%
for label, (blocks, value, band) in list(lines.items())[:2]:
    for at in (int(np.argmin(value)), int(np.argmax(value))):
        word = "least" if at == np.argmin(value) else "most"
        print(
            f"{label}: {word} without block {blocks[at]}, {value[at]:.2f} ± {band[at]:.2f}"
        )

# %% [markdown]
# Where the share of images with the same class falls to the line by chance, the class given by the cut network has nothing to do with that of the
# intact one. This is so, or nearly so, in **the pretrained ViT** and in **the tiny networks**, at every block. In the pretrained ViT all skip ratios are near 1, so that its blocks do not test whether a high ratio makes it worse. In
# the pretrained ViT, CKA is higher again when one of the last blocks is cut, but the class is still lost. Over all tokens, the last block can be much
# like that of the intact network, while the few directions that a class is read from are lost.
#
# This does not show what a skip connection is worth. The paper's networks had the whole training to adapt. The networks here suddenly get a stream
# with another length and direction than they have ever seen.
#
# ## Another CLS token
#
# In a ViT with a CLS token, only this token is read at the end. At some depth it comes to carry information about the image. We replace it at one
# depth: by the CLS token of another image of another class, by the mean over images, or by zero. The spatial tokens of the image stay as they are.
#
# **Predict.** At depth 0 the token is the same for all images, and nothing can change; behind the last block the class must be that of the other image. Does
# the class change gradually or at once, and at which depth? In
# [Section 6](06_skip_connections.ipynb) the skip ratio of the CLS token says where it is written: where the ratio is low, attention overwrites it.

# %%
from seelike.sections.interventions import swapped_cls


def swaps_of(name):
    """Depths, and what the class follows there, on each draw."""
    depths = evenly_spaced(len(intact[name][0].blocks) + 1, 5)
    return depths, [swapped_cls(each, depths) for each in intact[name]]


swaps = seelike.where_possible(one, swaps_of)

# %% mystnb={"figure": {"caption": "The CLS token is replaced behind one block (0: before the first). With the token of another image, of another class: the share of images that keep their own class, and that get the class of the other. With the mean over images, and with zero: the share that keep their own. Bands are 95 % intervals over draws of images.", "name": "fig-cls-replaced"}, "image": {"alt": "Four lines against the block behind which the CLS token is replaced, from 0 to 1. With the token of another image, the share with the own class begins at 1 and ends at 0, and that with the class of the other image goes the other way; two lines for the own class with the mean token, and with zero. The numbers below are those of the figure."}}
names = {
    "own": "other image's token: own class",
    "other": "other image's token: its class",
    "by_mean": "mean token: own class",
    "by_zero": "zero: own class",
}
lines = {}
for depths, of_draws in swaps.values():
    for key, label in names.items():
        values = np.array([getattr(each, key) for each in of_draws])
        lines[label] = np.array(depths), *claims.mean_and_uncertainty(values)
draw({"": lines}, "replaced behind block", "share of images")

# %% [markdown]
# From which block on do more images have the class of the other image than their own?

# %%
for name, (depths, of_draws) in swaps.items():
    more = [np.flatnonzero(each.other > each.own) for each in of_draws]
    turns = [depths[found[0]] for found in more if len(found)]
    if turns:
        print(
            f"{name}: from behind block {min(turns)} on at the earliest draw",
            end=", ",
        )
        print(f"from behind block {max(turns)} on at the latest")
    for label, (x, value, band) in lines.items():
        at = len(x) // 2
        print(f"  behind block {x[at]}, {label}: {value[at]:.2f} ± {band[at]:.2f}")

# %% [markdown]
# Left of the point where these two shares cross, the later blocks still write the class from the spatial tokens into any CLS token. Right of it, the class is
# already in the CLS token. Only these depths are tried, so that the turn lies between two of them. **The pretrained ViT** writes it in its last blocks, **the tiny networks** about half-way, and more gradually. The mean
# token carries no wrong class. With it, images keep their own class at least as far up as with another image's token.
#
# This does not show where the class is *known*: probes find it in spatial tokens as well ([Section 7](07_spatial_localization.ipynb)). It shows
# through which token the class goes.
#
# ## What zero misleads about
#
# [Parodi et al. (2026)](https://arxiv.org/abs/2604.14433) set the register tokens of DINOv2 and DINOv3 to zero, and classification fell by up to 36.6 points: so these tokens seem indispensable. With
# the mean over images in their place, with noise, or with the registers of another image, it stayed within a point. The networks needed *some* token of
# the usual kind there, and not its information about this image. Zero is unlike anything that a network has seen, and this is one reason for the damage
# that it does. So we compare zero with the mean wherever this page has both: how many images lose their class with each?


# %%
def print_costs(what, zero, mean):
    """The loss by zero, by the mean, and their difference, on each draw."""
    costs = [claims.summary(1 - values) for values in (zero, mean)]
    more = claims.summary(mean - zero)
    print(f"{what:<25} zero {costs[0]}, mean {costs[1]}; zero costs {more} more")


# %% [markdown]
# Of the heads, and of the CLS token.

# %%
for values in removed.values():
    for place, kind in enumerate(KINDS):
        zero, mean = values[:, :, values.shape[2] // 2, place, 0].T
        print_costs(f"half of the heads, {kind}", zero, mean)
for depths, of_draws in swaps.values():
    for at in range(len(depths)):
        both = np.array([(each.by_zero[at], each.by_mean[at]) for each in of_draws])
        print_costs(f"CLS behind block {depths[at]}", *both.T)

# %% [markdown]
# At depth 0 the CLS token is the same for all images. The mean costs nothing there, since it is the token itself; so the whole cost of zero comes from the unusual value, and none of it
# from lost information. Zeros alone would have suggested that the network depends on what its first token holds. In **the pretrained ViT**, most
# images lose their class with zero from the first block on, where the mean costs next to nothing. Behind the last block the two are alike: there the
# content of the token is needed. **The tiny networks** show the same, but less strongly. For heads, the draws of images tell zero and mean hardly apart.
#
# ## Side by side
#
# The table has each intervention at one strength, for all networks of the run. One column is new: how far heads look in the changed network, on
# average over heads and blocks, as a share of uniform attention. (Heads are replaced by their means. Shuffled tokens are measured at their original
# places in the image.)

# %%
import pandas as pd

from seelike.sections.interventions import side_by_side


def table_of(name):
    """A row for each intervention: same class, CKA and distance, over draws."""
    found = heads[name] if name in heads else heads_of(name)
    pairs = enumerate(zip(intact[name], found, strict=True), start=run.seed)
    tables = [side_by_side(each, h.distance[0], seed) for seed, (each, h) in pairs]
    rows = {
        what: np.array([table[what] for table in tables]).T for what in tables[0]
    }
    columns = ("same class", "CKA, last block", "distance / uniform")
    written = {what: list(map(claims.summary, of)) for what, of in rows.items()}
    return pd.DataFrame.from_dict(written, orient="index", columns=columns)


tables = seelike.where_possible(intact, table_of)
pd.concat(tables) if tables else run.say_missing("vits")

# %% [markdown]
# ## What we take with us
#
# **Others found** that many heads of a trained Transformer can go one at a time ([Michel et al., 2019](https://arxiv.org/abs/1905.10650)), that ViTs bear shuffled patches better than CNNs ([Naseer et al., 2021](https://arxiv.org/abs/2105.10497)), and that zero overstates what a token holds (Parodi et al.).
#
# **The pretrained ViT** began as DINOv2, and has no classifier; a probe on few images reads its class, and is often wrong. So its class changes easily,
# and small losses say little. These results are clear: the order of tokens that carry their positions does not matter; shuffled pieces change the
# high blocks and not the low ones; no block can do without its skip connections; the class enters the CLS token in the last blocks, and until then the mean token, or that of another image, does almost as well in
# its place, but zero does not.
#
# **The tiny networks** can spare a quarter of their heads, and it does not matter which. No block can do without its skip connections, and the order of patches is in the position embedding alone. Their class moves into the CLS token in the middle blocks.
#
# Attention distance hardly changes when other heads are taken out. It rises when patches are shuffled or skip connections dropped, except in the tiny networks, whose heads already look about as far as uniform attention.
# (Heads that are taken out still attend, and are counted, but their output is not used.)
#
# **Why.** Taking a part out of a trained network answers another question than training without this part. It asks what the other parts *rely on*.
# They may rely on a stream of the usual length, or on a token of the usual kind. This does not say that they get any information from it.
#
# ## Try it yourself
#
# Put a number in the place of `None` and run the cell: it says what is off.
#
# **interventions.1** The pieces of an image are shuffled, and the position embedding is shuffled in the same order. Which share of the images keeps its class?

# %% tags=["exercise", "show-code"]
from seelike import exercises

answer = None
exercises.check("interventions.1", answer)

# %% [markdown]
# And to look into with the page itself:
#
# 1. Set `models` to `"tiny/vit_7x7:random"`. Which of the figures look as before any training?
# 2. Take out *all* heads of one block, with their means. What is that block then?
#
# <details><summary>Answers</summary>
#
# **interventions.1** `answer = 1`: each piece has its own position again, and the tokens are shuffled as a whole.
#
# 1. In an untrained network, the size of the random weights alone decides how much the output moves when heads are taken out or skip connections are cut. In a trained network it could also matter *which* ones: compare the three lines of the first figure.
# 2. A block whose attention adds the same to every image, at each place: a bias with a position. `without_heads(network, [(1, head) for head in range(4)], mean_of_heads(network, images))`
#
# </details>
#
# **Next:** [the tiny networks](tiny_networks.ipynb) that this book trained for itself, and [the scoreboard](../book/scoreboard.md).
