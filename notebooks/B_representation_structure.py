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
# # Appendix B: More on representation structure
#
# **Question.** [Section 4](04_representation_structure.ipynb) compared a few ViTs with a few CNNs. Do its findings depend on the size of the networks?
# And if many low layers of a CNN match a few low layers of a ViT, how many are they? What do the other layers match?
#
# The paper's Figure B.1 adds three CKA maps: ViT-B/32 with itself, ViT-B/32 with ResNet50, and its largest pair, ViT-H/14 with
# ResNet152x2. With the `tiny` profile, this page draws these maps for networks of other sizes than those of Section 4.
#
# | | |
# |---|---|
# | **You will learn** | to follow, layer by layer, which part of one network matches which part of another; which findings of Section 4 also hold for larger networks |
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
# `.venv/bin/papermill notebooks/B_representation_structure.ipynb out.ipynb -p images ~/photos`; `None` takes the value of the profile.

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

run = seelike.start(globals(), "B_representation_structure")

# %% [markdown]
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
)

# %% [markdown]
# ## Within: Figure B.1, top
#
# One map for each ViT, from small to large. (A run without ViTs shows what it has.) The paper's map of ViT-B/32 is nearly uniform,
# with a grid. **Predict.** Will the maps of larger ViTs be brighter away from the diagonal, or darker?

# %% mystnb={"figure": {"caption": "CKA of all pairs of layers within each ViT, from small to large (the paper's Figure B.1, top).", "name": "fig-within-sizes"}, "image": {"alt": "One square heat map for each ViT, the first layer at the lower left. Colour is CKA from 0, dark, to 1, bright. The table below gives the mean of each map, and of its corner that compares the first third with the last."}}
from seelike import plots

shown = run.vits or list(run.models)
plots.cka_maps([plots.map_between(comparison, name, name) for name in shown])

# %% [markdown]
# The table has the three statistics of Section 4 that describe a single network, for all networks of this page, with 95 % intervals over repeats. No
# claim is recorded here a second time. A network without stages is cut where the first CNN's stages end, as in Section 4.

# %%
from seelike.sections import representation_structure as structure

stage = {name: structure.stages(comparison.layers[name]) for name in run.names}
staged = [name for name in run.cnns if stage[name].max() > 0][:1]

# %% [markdown]
# A row for each network.

# %%
import pandas as pd

from seelike.claims import mean_and_uncertainty, summary

rows = {}
for name in run.names:
    cka, depth = comparison.between(name, name), comparison.depth
    ends = structure.first_third_with_last_third(cka, depth(name))
    rows[name] = {"all pairs": summary(structure.mean_off_diagonal(cka))}
    rows[name]["first with last third"] = summary(ends)
    for cnn in staged:
        cut = structure.stages_like(
            stage[name], depth(name), stage[cnn], depth(cnn)
        )
        step = structure.within_minus_between_stages(cka, cut)
        rows[name]["within minus between stages"] = summary(step)
pd.DataFrame.from_dict(rows, orient="index")

# %% [markdown]
# Are the larger networks also better? In the `tiny` profile the ViTs cut their images into the same patches and differ in width. A wider network has
# more parameters; the records of training say whether it is more accurate.

# %%
from seelike.models import size_and_accuracy

size_and_accuracy(run.models)

# %% [markdown]
# ## Best matches
#
# Take a map between a ViT, in rows, and a CNN, in columns. The *best match* of a CNN layer is the row in which its column is
# largest. Section 4 asked you to guess the match of the middle layer. Here we look for the matches of all.
#
# On a map of three by four layers that is easily read: the first two columns are largest in the first row, the third in the
# second row, the last in the third.

# %%
import numpy as np

toy = np.array([[0.9, 0.8, 0.3, 0.1], [0.4, 0.6, 0.7, 0.2], [0.1, 0.2, 0.5, 0.6]])
depth_of_rows = np.array([0.0, 0.5, 1.0])
# The function takes the maps of all repeats at once; here it gets a single one.
print(structure.depth_of_best_matches(toy[None], depth_of_rows)[0].tolist())

# %% [markdown]
# **Predict.** Draw the depth of the CNN layer from left to right, and the depth of its best match in the ViT upwards. If both networks computed the same at the same
# relative depth (at *equal pace*), the line would be the diagonal. **Where does the line run if a CNN needs half of its layers for what a ViT has after
# a quarter? And what does the line of the largest pair look like?**
#
# ## Between: Figure B.1, bottom
#
# The smallest ViT beside the smallest CNN, and every larger ViT beside the largest CNN. These are the paper's two pairs, and the pairs between them.

# %% mystnb={"figure": {"caption": "CKA of all layers of a ViT (upwards) with all layers of a CNN (rightwards): the smallest of both, then each larger ViT with the largest CNN (the paper's Figure B.1, bottom). The colours span the values of these maps. Dots: the stream layer of the ViT that each stream layer of the CNN is most like.", "name": "fig-between-sizes"}, "image": {"alt": "One heat map for each pair of a ViT, vertical axis, and a CNN, horizontal axis. Colour is CKA, from the lowest value of these maps, dark, to the highest, bright. A white dot marks, for each layer of the CNN's stream, the layer of the ViT's stream that it is most like: the next figure has these dots as lines."}}
pairs = structure.pairs_by_size(run.vits, run.cnns)
maps = [plots.map_between(comparison, *pair, ridge=True) for pair in pairs]
plots.cka_maps(maps, own_scale=True) if maps else run.say_missing("vits", "cnns")

# %% [markdown]
# ### Which layer matches which?
#
# The dots as lines: for each layer of a CNN's residual stream, the depth of the layer of the ViT's stream that is most like it. The straight diagonal is what equal pace
# would give. The branches are left out, as in Section 4: each of them is unlike its neighbours, and the match would jump between stream and branches. Where several ViT layers are nearly equally like a CNN layer, the match jumps from one draw of images to the next: there
# the band is wide. A pair is left out if the stream of one of its networks is not known.

# %%
from seelike.models import STREAM

stream = comparison.only(STREAM)
matches = {
    (vit, cnn): structure.depth_of_best_matches(
        stream.between(vit, cnn), stream.depth(vit)
    )
    for vit, cnn in pairs
    if {vit, cnn} <= stream.layers.keys()
}

# %% mystnb={"figure": {"caption": "The depth of the layer of the ViT's residual stream that is most like each layer of the CNN's. Below the diagonal, the ViT is ahead. Bands are 95 % intervals over repeats.", "name": "fig-best-match-depth"}, "image": {"alt": "One line for each pair. Horizontal axis: relative depth of a layer of the CNN's stream. Vertical axis: relative depth of its best match in the ViT's stream. A straight diagonal marks equal pace. The table below gives the means of the lower and of the upper half."}}
lines = {}
for (vit, cnn), found in matches.items():
    band = mean_and_uncertainty(found)
    lines[f"{cnn} in {vit}"] = (stream.depth(cnn), *band)
if lines:
    ends = np.array([0.0, 1.0])
    lines["equal pace"] = (ends, ends, 0 * ends)
    label = "depth of the best match in the ViT"
    display(plots.depth_lines(lines, y_label=label, within=(0.0, 1.0)))
else:
    run.say_missing("vits", "cnns")

# %% [markdown]
# The table has the same in numbers, beside the two statistics of Section 4 that describe pairs. The first two rows are the mean of the line over the
# lower and over the upper half of the CNN. The third row is the share of the CNN's stream layers whose match lies in the lowest quarter of the ViT: the paper counts
# 60 layers of ResNet50, of all kinds, that are like the lowest 25 or so of ViT-B/32. (Section 4's claim about these layers uses the residual streams, too, but not best matches.)

# %%
rows = {}
for (vit, cnn), found in matches.items():
    similarity, depth = comparison.between(vit, cnn), comparison.depth
    last = structure.row_maximum_middle_minus_last_third(similarity, depth(vit))
    upper = stream.depth(cnn) >= 0.5
    rows[f"{cnn} in {vit}"] = {
        "lower half": summary(found[:, ~upper].mean(axis=1)),
        "upper half": summary(found[:, upper].mean(axis=1)),
        "share in lowest quarter": summary((found <= 0.25).mean(axis=1)),
        "middle minus last third of the ViT": summary(last),
    }

# %% [markdown]
# The last row is the statistic of Section 4's claim about these layers, from the residual streams alone.

# %%
for vit, cnn in matches:
    early = structure.lowest_minus_second_quarter(
        stream.between(vit, cnn), stream.depth(vit), stream.depth(cnn)
    )
    rows[f"{cnn} in {vit}"]["lowest minus second quarter"] = summary(early)
table = pd.DataFrame.from_dict(rows, orient="index").T
table if rows else run.say_missing("vits", "cnns")

# %% [markdown]
# ## Look around
#
# Move the slider, or choose from the menu: every pair of networks of this run. Two ViTs of unequal width are a pair, too.

# %%
from itertools import combinations_with_replacement

figures, alt = {}, {}
for a, b in combinations_with_replacement(run.models, 2):
    label = f"{a} and {b}"
    figures[label] = plots.cka_maps([plots.map_between(comparison, a, b)])
    alt[label] = f"CKA map of {label}, mean {comparison.mean(a, b).mean():.2f}."
plots.states(figures, "Networks", alt)

# %% [markdown]
# With a kernel, you can take any one layer and see its CKA with all layers of another network: one row of a map.


# %% tags=["remove-output"]
def one_layer(network, other, percent):
    """Draw the CKA of the layer at a depth of one network with all layers of another."""
    row = round(percent / 100 * (len(comparison.layers[network]) - 1))
    values = mean_and_uncertainty(comparison.between(network, other)[:, row])
    label = f"{comparison.layers[network][row].name} in {other}"
    return plots.depth_lines(
        {label: (comparison.depth(other), *values)}, y_label="CKA"
    )


names = list(run.models)
plots.live(one_layer, network=names, other=names[::-1], percent=range(0, 101, 5))

# %% [markdown]
# ## What we take with us
#
# **The paper found** the same in ViT-B/32 as in larger ViTs: the grid, and the similarity of lower and higher layers. About 60 of the
# lowest layers of ResNet50 are like about 25 of the lowest of ViT-B/32, "with the remaining layers most similar to each other"; of
# ResNet152x2, about 100 layers are like the lowest 30 of ViT-H/14.
#
# In the table under *Which layer matches which?*, equal pace would give 0.25 for the lower half of a CNN and 0.75 for the upper half.
#
# **The pretrained networks** match differently. Few low layers of EfficientNet-Lite0 have their match in the lowest quarter of the ViT-S/14; most have it near its middle. By CKA, the
# second quarter of EfficientNet-Lite0 is far more like the ViT's second quarter than like the ViT's lowest quarter; by shared neighbours this is not sure ([Section 4](04_representation_structure.ipynb)). The match climbs in steps and ends well below the top: no layer of the CNN is most like the last
# blocks of the ViT. There is one ViT, so this run cannot say whether size matters; the tiny networks below are of several sizes.
#
# **The tiny networks** match even earlier than in the paper: all layers of the streams of both ResNets but the last one or two, and not of their lower halves alone, have their match in the lowest quarter of a ViT, whatever its width. Only the last
# layers match the top of a ViT. Section 4 has a steadier number for this, and it is there before training.
# The maps do not follow the order of size. Among the ViTs, the largest has the most uniform map, and the
# second largest has the least uniform one. The maps of both ResNets are more uniform than those of all ViTs.
#
# **Why.** Neighbouring layers of a residual stream are much alike, so that a layer of the other network has several nearly equal matches, and small
# differences choose among them. A mean over half a network is steadier than the match of one layer. The tiny ViTs differ in width and not in depth or patches, so that
# size means less here than in the paper, where ViT-H/14 has 32 blocks and ViT-B/32 has 12. All tiny ViTs saw the same 60,000 images, and the larger
# ones saw them less often: they have not become better networks.
#
# ## Try it yourself
#
# Put a number or a function in the place of `None` and run the cell: it says what is off.
#
# **B.1** Write a function that takes a map `[layers of one, layers of the other]` and gives, for each layer of the one network, the depth of its best
# match, from 0 to 1.

# %% tags=["exercise", "show-code"]
from seelike import exercises

answer = None
exercises.check("B.1", answer)

# %% [markdown]
# And to look into with the page itself:
#
# 1. Here each ResNet layer has its best match in the ViT. Turn this round: use `comparison.between(resnet, vit)` and the ResNet's depths. Is each layer
#    the best match of its own best match?
#
# <details><summary>Answers</summary>
#
# **B.1**
#
# ```python
# def answer(cka):
#     return cka.argmax(axis=1) / (cka.shape[1] - 1)
# ```
#
# 1. `structure.depth_of_best_matches(comparison.between(resnet, vit), comparison.depth(resnet))` has one entry for each ViT layer. Matches are
#    not mutual: many ResNet layers can have the same ViT layer as their best, and that one has a single best of its own.
#
# </details>
#
# ## Summary
#
# - Best matches turn a map into a line that can be compared with the diagonal of equal pace.
# - A maximum over nearly equal numbers is unsteady. Look at its band, and at means over many layers.
# - The tables repeat Section 4, at `tiny` for other sizes: a finding that depends on the size of the networks would show there.
#
# **Next:** [Appendix C](C_local_global.ipynb) has more of what single layers see.
