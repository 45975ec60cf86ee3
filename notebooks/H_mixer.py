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
# # Appendix H: MLP-Mixer
#
# **Question.** A ViT differs from a CNN in two things: it cuts the image into patches, and it has attention. A Mixer, by
# [Tolstikhin et al. (2021)](https://arxiv.org/abs/2105.01601), has the patches and no attention. Does it see like a ViT or like a CNN?
#
# The paper closes with two figures about Mixers: the CKA maps of several of them (H.1), and the maps of a Mixer with a ViT and with a
# CNN (H.2). This page draws both, and puts a number to each of the two things that the paper reads from them.
#
# | | |
# |---|---|
# | **You will learn** | what a Mixer is made of; to find where a network falls into two parts; to say which of two networks a third is nearer to |
# | **You need** | [Section 4](04_representation_structure.ipynb): how to read a CKA map |
# | **Cost** | about a minute on two CPU cores (`tiny`); [other profiles](../book/costs.md) |

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
# `.venv/bin/papermill notebooks/H_mixer.ipynb out.ipynb -p images ~/photos`; `None` takes the value of the profile.

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

run = seelike.start(globals(), "H_mixer")

# %% [markdown]
# ## What a Mixer is
#
# A block of a Mixer is a block of a ViT with a different first half: in the place of attention, an MLP mixes the tokens, with the same weights for
# every channel. These weights are fixed after training, so the mixing does not depend on what the tokens contain. There is no CLS token: the classifier reads the mean of all tokens.
#
# ## Predict
#
# In the paper, the maps of ViTs are nearly uniform, and those of CNNs fade from stage to stage. **What will a Mixer's map look like? And will the map
# of a Mixer be brighter with a ViT or with a CNN?**
#
# ## Measure
#
# One call, as in Section 4: all layers of all networks, on the same images, on a new draw for each repeat.

# %%
from seelike.cka import compare_models

comparison = compare_models(
    run.models,
    run.images,
    number_of_images=run.number_of_images,
    batch_size=run.batch_size,
    repeats=run.repeats,
    seed=run.seed,
    device=run.device,
    neighbours=True,
)

# %% [markdown]
# ## Mixers: Figure H.1
#
# One map for each Mixer. (A run without Mixers shows what it has.)

# %% mystnb={"figure": {"caption": "CKA of all pairs of layers within each Mixer (the paper's Figure H.1), from the first layer at the lower left to the last at the upper right.", "name": "fig-mixers"}, "image": {"alt": "One square heat map for each Mixer. Colour is CKA from 0, dark, to 1, bright. The table under Two parts says where each map falls into two parts most, how bright the two parts are, and how bright what lies between."}}
from seelike import plots

names = run.mixers or list(run.models)
plots.cka_maps([plots.map_between(comparison, name, name) for name in names])

# %% [markdown]
# ### Which layers, which networks?
#
# A Mixer has token mixing where a ViT has attention. Here are the first layers of each kind of network.

# %%
from seelike.models import layers, size_and_accuracy

groups = {"Mixer": run.mixers, "ViT": run.vits, "CNN": run.cnns}
groups["of no role"] = run.others
for kind, names in groups.items():
    if names:
        first = [layer.name for layer in layers(run.models[names[0]])][:8]
        print(f"{kind}: {', '.join(first)}")

# %% [markdown]
# The table has the size of each network and, for the tiny ones, the accuracy. Networks that do equally well may be alike for that reason alone, so keep these numbers in mind.

# %%
size_and_accuracy(run.models)

# %% [markdown]
# ### Two parts?
#
# The paper sees maps that "fall very clearly into distinct, uncorrelated blocks, with a smaller block in the beginning and a larger block afterwards".
# A "block" in this quote is a bright square on the diagonal of the map. To measure this, cut the network between two of its own blocks. Take the mean
# CKA of all pairs of layers on the same side of the cut, and subtract the mean CKA of all pairs across the cut. The best cut is where this difference, the
# *step*, is largest.
#
# By hand, on a map of four blocks with one layer each. The first is unlike the other three.

# %%
import numpy as np

toy = np.array(
    [
        [1.0, 0.1, 0.1, 0.1],
        [0.1, 1.0, 0.7, 0.7],
        [0.1, 0.7, 1.0, 0.7],
        [0.1, 0.7, 0.7, 1.0],
    ]
)
after_first = np.mean([0.7, 0.7, 0.7]) - np.mean([0.1, 0.1, 0.1])
after_second = np.mean([0.1, 0.7]) - np.mean([0.1, 0.1, 0.7, 0.7])
after_third = np.mean([0.1, 0.1, 0.7]) - np.mean([0.1, 0.7, 0.7])
print(f"{after_first:.3f}, {after_second:.3f}, {after_third:.3f}")

# %% [markdown]
# The best cut is the one after the first block. Every network has a best cut, and its step is above zero in any map that fades from the diagonal. So the table lists the ViTs and CNNs as
# well, for comparison. The first part is *small* if its share is below one half. The parts are *distinct* if the step is large, and *uncorrelated* if the
# CKA across the cut is near zero.

# %%
from seelike import claims
from seelike.sections import representation_structure as structure

rows = {}
for name in dict.fromkeys([*run.mixers, *run.names]):
    cka = comparison.between(name, name)
    found = structure.two_parts(cka, comparison.layers[name])
    if found is not None:
        cut = {"cut after block": found.after_block, "share": round(found.share, 2)}
        rows[name] = cut | {
            "CKA in the first": claims.summary(found.within_first),
            "in the second": claims.summary(found.within_second),
            "across": claims.summary(found.across),
            "step": claims.summary(found.step),
        }
# %% [markdown]
# Networks with fewer than two known blocks are not among them.

# %%
import pandas as pd

pd.DataFrame.from_dict(rows, orient="index") if rows else print(
    "No network here has two blocks: give others as models."
)

# %% [markdown]
# ## With a ViT and with a CNN: Figure H.2
#
# Each Mixer has two maps, with its own layers from bottom to top. From left to right are the layers of the smallest ViT in the first map, and of the
# smallest CNN in the second. The other pairs are under *Look around*.

# %% mystnb={"figure": {"caption": "CKA of all layers of each Mixer (upwards) with all layers of the smallest ViT and of the smallest CNN (rightwards): the paper's Figure H.2.", "name": "fig-mixer-with-others"}, "image": {"alt": "For each Mixer, on the vertical axis, two heat maps: with a ViT and with a CNN on the horizontal axis. Colour is CKA from 0, dark, to 1, bright. The claim below says which of the two holds the better matches."}}
others = [*run.vits[:1], *run.cnns[:1]]
pairs = [(mixer, other) for mixer in run.mixers for other in others]
maps = [plots.map_between(comparison, *pair) for pair in pairs]
plots.cka_maps(maps) if maps else run.say_missing("mixers", "vits", "cnns")

# %% [markdown]
# ### Nearer to which?
#
# Every Mixer layer is given one number: its highest CKA with any layer of the other network. The mean of these numbers says how much of
# the Mixer can be found in the other network. It is the brightest point of its row of the map.
#
# The lines show the numbers before the mean is taken: for the smallest Mixer, with each of the other networks. The figure, the claim and
# the first two columns of the table keep the residual streams alone: with the branches in between, every line would be a zigzag. Bands are 95 % intervals over repeats.

# %%
from seelike.models import STREAM

both = [each.only(STREAM) for each in (comparison, comparison.by_neighbours)]
fewest = min(map(len, both[0].layers.values()), default=0)

# %% mystnb={"figure": {"caption": "The highest CKA of each layer of the smallest Mixer with any layer of each ViT and CNN, in the residual streams alone, by relative depth in the Mixer. Bands are 95 % intervals over repeats.", "name": "fig-mixer-best-match"}, "image": {"alt": "One line for each ViT and CNN. Horizontal axis: relative depth in the Mixer. Vertical axis: the highest CKA with any layer of that network's residual stream. The table below has the means, over as many layers of each."}}
lines = {}
for mixer in run.mixers[:1]:
    for other in [*run.vits, *run.cnns]:
        if {mixer, other} <= both[0].layers.keys():
            highest = both[0].between(mixer, other).max(axis=2)
            band = claims.mean_and_uncertainty(highest)
            lines[f"{mixer} in {other}"] = (both[0].depth(mixer), *band)
plots.depth_lines(lines, y_label="highest CKA") if lines else run.say_missing(
    "mixers", "vits", "cnns"
)

# %% [markdown]
# The table gives such means, for every Mixer with every other network. A maximum over more layers is never smaller, so the first two columns and the claim take
# as many layers of each network as the one with the fewest has, from residual streams alone. The second column is the same measure by the
# [nearest neighbours](../book/reference_neighbours.md) that layers share. The third is the mean CKA of all pairs of layers, branches included; no layers are chosen.


# %%
def nearness_of(mixer, other):
    """How near a Mixer is to another network, by CKA and by shared neighbours, per repeat."""
    some = structure.evenly_spaced(len(both[0].layers[other]), fewest)
    matched = [each.between(mixer, other)[:, :, some] for each in both]
    return [structure.mean_highest(each) for each in matched]


pairs = [(mixer, other) for mixer in run.mixers for other in [*run.vits, *run.cnns]]
nearness = {
    pair: nearness_of(*pair) for pair in pairs if set(pair) <= both[0].layers.keys()
}

# %% [markdown]
# A row for each pair.

# %%
rows = {
    f"{mixer} in {other}": {
        f"highest CKA among {fewest} layers": claims.summary(by_cka),
        "highest share of neighbours": claims.summary(by_neighbours),
        "mean CKA of all pairs": claims.summary(
            comparison.between(mixer, other).mean(axis=(1, 2))
        ),
    }
    for (mixer, other), (by_cka, by_neighbours) in nearness.items()
}
table = pd.DataFrame.from_dict(rows, orient="index")
table if rows else run.say_missing("mixers", "vits", "cnns")

# %% [markdown]
# The claim takes the first column, ViTs minus CNNs.


# %%
def nearness_to(names, measure):
    """How near each Mixer is to each of these networks, per repeat."""
    return [both[measure] for pair, both in nearness.items() if pair[1] in names]


groups = [
    (nearness_to(run.vits, measure), nearness_to(run.cnns, measure))
    for measure in (0, 1)
]
claims.record_difference(
    "mixer_is_nearer_to_vit",
    *groups[0],
    by_neighbours=groups[1],
    figure_name="fig-mixer-with-others",
    compares="a Mixer with a ViT and with a CNN",
)

# %% [markdown]
# ## Look around
#
# Every pair that has a Mixer in it. Two Mixers are a pair, too.

# %%
from itertools import combinations_with_replacement

figures, alt = {}, {}
for a, b in combinations_with_replacement(run.models, 2):
    if not run.mixers or {a, b} & set(run.mixers):
        label = f"{a} and {b}"
        figures[label] = plots.cka_maps([plots.map_between(comparison, a, b)])
        alt[label] = f"CKA map of {label}, mean {comparison.mean(a, b).mean():.2f}."
plots.states(figures, "Networks", alt)

# %% [markdown]
# With a kernel, you can move the cut. The line is the mean CKA of each layer with all layers below the cut. Where a network falls into two parts, the line
# drops steeply at one place.


# %% tags=["remove-output"]
def with_layers_below(network, percent):
    """Draw the mean CKA of each layer with all layers of the network below some depth."""
    depth = comparison.depth(network)
    below = comparison.between(network, network)[:, :, depth <= percent / 100]
    line = (depth, *claims.mean_and_uncertainty(below.mean(axis=2)))
    return plots.depth_lines({network: line}, y_label="mean CKA with lower layers")


plots.live(with_layers_below, network=list(run.models), percent=range(0, 101, 5))

# %% [markdown]
# ## What we take with us
#
# **The paper found** that Mixers of all sizes fall into two blocks, a smaller one at the beginning and a larger one afterwards, that have little in common, and that
# "overall, the models behave more similar to ViT than ResNets". It calls these results preliminary.
#
# The claims of this page, in this run:

# %%
claims.on_this_page()

# %% [markdown]
# In the table under *Two parts?* the paper's picture would be a share below one half, a step much larger than those of the ViTs, and a
# CKA across near zero. In the table under *Nearer to which?*, columns that do not agree on the order say that the claim depends on how nearness is measured.
#
# **The tiny networks** do not look like this. Both tiny Mixers are best cut behind their middle, so that the first part is the larger one, and the CKA across is high: the parts are no more distinct than those of the ResNets, and a little
# more than those of the ViTs. By the claim's own measure, the first column under *Nearer to which?*, ViTs and ResNets
# are about equally near. Both Mixers are nearest to the ViT that cuts the image into the same patches, also by neighbours; the other three networks cannot be told apart.
# The mean of all pairs puts the Mixers nearer to the ResNets: it includes the branches of the ViTs.
#
# Before training, Mixers are clearly nearer to ViTs, by both measures. So what the architecture brings is there at the start; in the trained networks it is no longer large enough to matter.
#
# **The pretrained networks** are missing here: where no public Mixer can be had, a run at this profile shows the tiny networks, too.
#
# **Why.** There are good reasons to expect a Mixer to be nearer to a ViT, before anything is measured: the tiny Mixers and the 7 x 7 ViTs cut the image alike, have the same number of blocks and hand a residual
# stream from the first to the last. The first layer, one linear map of each patch, is of the same kind in both. The task is a reason against it. On images of
# 28 x 28 pixels, where garments are always upright and in the middle, fixed mixing does nearly the same as attention, and so do convolutions with a large enough receptive field:
# all these networks may learn much the same. And the intervals cover the draw of images only; each network was trained once.
#
# ## Try it yourself
#
# Put a number or a function in the place of `None` and run the cell: it says what is off.
#
# **H.1** How large is the step between two parts? Write a function of a map and of the number of layers before the cut: the mean CKA of different
# layers within a part minus the mean CKA between the parts.

# %% tags=["exercise", "show-code"]
from seelike import exercises

answer = None
exercises.check("H.1", answer)

# %% [markdown]
# And to look into with the page itself:
#
# 1. Set `models` to `"tiny/mixer:random,tiny/vit_7x7:random,tiny/resnet:random"`. Is an untrained Mixer nearer to an untrained ViT? Does it fall into two parts?
#
# <details><summary>Answers</summary>
#
# **H.1**
#
# ```python
# import numpy as np
#
# def answer(cka, cut):
#     part = np.arange(len(cka)) < cut
#     same = part[:, None] == part
#     within = same & ~np.eye(len(cka), dtype=bool)
#     return cka[within].mean() - cka[~same].mean()
# ```
#
# 1. Yes, it is clearly nearer to the ViT: the claim holds. And it does not fall into two parts, as its step is small. What is there before training comes from the patches and the skip connections, not from what was
#    learned.
#
# </details>
#
# ## Summary
#
# - A Mixer is a ViT whose attention was replaced by fixed mixing of tokens.
# - Every map has a best cut. What counts is how large the step is, beside that of other networks, and how dark the map is across it.
# - Whether a Mixer is nearer to a ViT depends on how nearness is counted: best matches, neighbours and the mean of all pairs disagree here.
#
# **Next:** the [scoreboard](../book/scoreboard.md) puts the numbers of all pages side by side.
