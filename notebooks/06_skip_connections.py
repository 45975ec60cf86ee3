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
# # Section 6: Skip connections
#
# **Question.** In a ViT every token travels on a straight line, and attention and MLP only add to it. How much do they add? Does
# a token arrive at the top as it was, or as what the branches made of it? And what happens to a ViT from which the line is cut?
#
# | | |
# |---|---|
# | **You will learn** | to read the skip ratio; how the CLS token and the spatial tokens change places half-way; what one block without skip connections does to a network |
# | **You need** | [Section 4](04_representation_structure.ipynb) for the CKA maps; [words](../book/glossary.md) |
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
# `.venv/bin/papermill notebooks/06_skip_connections.ipynb out.ipynb -p images ~/photos`; `None` takes the value of the profile.

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

run = seelike.start(globals(), "06_skip_connections")

# %% [markdown]
# ## The measure
#
# A block does not replace a token `z`, it adds to it: `z + f(z)`, where `f` is attention or the MLP. Two lengths say which
# of the two wins: the *skip ratio* is the length of `z` over the length of `f(z)`. At 10 the token is handed on nearly as it was;
# at one tenth it is overwritten.
#
# By hand, for one image with two tokens. The first token has length 5 and gets something of length 1 added, the second has
# length 1 and gets something of length 2.

# %%
import torch

skip = torch.tensor([[[3.0, 4.0], [1.0, 0.0]]])
branch = torch.tensor([[[0.6, 0.8], [0.0, 2.0]]])
by_hand = skip.norm(dim=-1) / branch.norm(dim=-1)
print(by_hand)

# %% [markdown]
# The library gives the same, and besides the angle between the token before and after. The first token keeps its direction
# (cosine 1), the second turns by 63 degrees.

# %%
from seelike.skip import SkipRatio

measure = SkipRatio()
measure.update(skip, branch)
tokens = measure.compute().tokens
print("ratio ", tokens.mean_ratio)
print("cosine", tokens.cosine_with_output)

# %% [markdown]
# ## Measure
#
# One call reads skip and branch at every residual addition, for each draw of images, and keeps only their lengths and angles.
# Mixers have residual additions as well; a network in which none can be found is named. Where skip or branch is exactly zero, as a CNN's can be
# at the black border of an image, there is no ratio, and the place does not count.

# %%
from seelike.sections.skip_connections import propagation


def propagation_of(name):
    """Skip against branch in one network."""
    return propagation(run.models[name], run.draws(), batch_size=run.batch_size)


measured = seelike.where_possible(run.names, propagation_of)
vits = [name for name in run.vits if name in measured]

# %% [markdown]
# ## Token by token: Figure 7, left
#
# **Predict.** In a trained ViT the CLS token starts as a constant: it is the same for all images until attention fills it. The
# spatial tokens start as patches. **In which half of the network is the CLS token overwritten, in which half are they?**
#
# The map shows the first ten tokens, as the paper's does. Token 0 is the CLS token, if the network has one.

# %% mystnb={"figure": {"caption": "Skip ratio of the first ten tokens at each block of the first ViT, for the attention branch and the MLP branch (the paper's Figure 7, left). Bright: handed on by the skip connection. Dark: made by the branch.", "name": "fig-skip-tokens"}, "image": {"alt": "Two heat maps, attention and MLP. Horizontal axis: block. Vertical axis: token, with CLS on top. Colour is the skip ratio on a logarithmic scale. The claims below say in numbers where the CLS token and the others are bright."}}
from seelike import plots

first = next((measured[name] for name in vits), None)
plots.skip_ratio_maps(
    {kind: ratio[:, :10] for kind, ratio in first.ratio_by_kind().items()},
    num_prefix_tokens=first.num_prefix_tokens,
) if first else run.say_missing("vits")

# %% [markdown]
# ### Do CLS token and spatial tokens change places?
#
# The claims compare the two halves of the network, by the logarithm of the ratio, averaged over all residual
# additions of a half. ViTs without a CLS token do not count for the first.

# %%
import numpy as np

from seelike import claims
from seelike.sections.skip_connections import first_half_minus_second


def halves(ratio):
    """First half minus second half of the logarithm of skip ratios, per repeat."""
    return first_half_minus_second(np.log10(ratio))


of_cls = [measured[name].ratio_of_cls for name in vits]
of_cls = [halves(ratio) for ratio in of_cls if ratio is not None]
of_spatial = [-halves(measured[name].ratio_of_spatial) for name in vits]

# %% [markdown]
# Both are arranged so that the paper's finding is above zero.

# %%
zero = [np.zeros(run.repeats)]
claims.record_difference(
    "class_token_is_kept_low",
    of_cls,
    zero if of_cls else [],
    figure_name="fig-skip-tokens",
    compares="the two halves of a ViT with a CLS token",
)
claims.record_difference(
    "spatial_tokens_are_kept_high",
    of_spatial,
    zero if of_spatial else [],
    figure_name="fig-skip-tokens",
    compares="the two halves of a ViT",
)

# %% [markdown]
# ## Against CNNs: Figure 7, right
#
# **Predict.** A CNN has skip connections, too. Is its ratio larger or smaller than a ViT's?
#
# The lines are means over tokens; bands are 95 % intervals over the draws of images. For CNNs the branch is all the convolutions of
# a block.

# %% mystnb={"figure": {"caption": "Skip ratio by relative depth: CLS token and mean of the spatial tokens of each ViT, and mean over locations of each CNN (the paper's Figure 7, right). Bands are 95 % intervals.", "name": "fig-skip-lines"}, "image": {"alt": "Lines of the skip ratio, on a logarithmic axis, against relative depth: for each ViT one for the CLS token and one for the spatial tokens, for each CNN one. The claim below gives the difference of their means."}}
lines = {}
for name, result in measured.items():
    if result.ratio_of_cls is not None:
        lines[f"{name}, CLS"] = plots.over_depth(result.ratio_of_cls)
    lines[f"{name}, spatial"] = plots.over_depth(result.ratio_of_spatial)
plots.depth_lines(
    lines, y_label="skip ratio", y_scale="log"
) if lines else run.say_missing()

# %% [markdown]
# The zigzag of a ViT is that of its two branches: attention and MLP take turns. The claim takes the mean of the logarithm over all of them.

# %%


def mean_logarithm(names):
    """Mean over residual additions of the logarithm of the skip ratio, per repeat, for each network."""
    return [
        np.log10(measured[name].ratio_of_spatial).mean(axis=1)
        for name in names
        if name in measured
    ]


claims.record_difference(
    "skips_matter_more_in_vits",
    mean_logarithm(run.vits),
    mean_logarithm(run.cnns),
    figure_name="fig-skip-lines",
)

# %% [markdown]
# ## Without skip connections: Figure 8
#
# If the straight line carries most of what a ViT knows, cutting it should show. The paper trains ViTs in which one block hands on `f(z)`
# alone, for attention and MLP, and draws their CKA maps. No such checkpoint is public, so this part uses the tiny networks at every
# profile.
#
# **Predict.** The map of an intact ViT is a bright square. Cut the line at a block in the middle: what happens to the map on either side of the
# cut, and what to the two corners that compare one side with the other?

# %%
from seelike.cka import compare_models
from seelike.models import family


def of_itself(name, images):
    """CKA of all layers of one network."""
    return compare_models(
        {name: run.models[name]},
        images,
        number_of_images=min(run.number_of_images, len(images) // 2),
        batch_size=run.batch_size,
        repeats=min(run.repeats, 3),
        seed=run.seed,
        device=run.device,
    )


# %% [markdown]
# Every group is an intact ViT, and the same one trained without the skips of one block.

# %%
similarity, without = {}, []
for intact, *cut in run.groups["without_skips"]:
    if family(run.models[intact]) == "vit":
        without += [(intact, name) for name in cut]
        images = run.images_for([intact, *cut])
        similarity |= {name: of_itself(name, images) for name in [intact, *cut]}

# %% [markdown]
# Which block was cut is read off the network: it is the one whose additions are missing.

# %%
from seelike.models import layers, residuals


def blocks_of(name):
    """Numbers of all blocks, and of those that add to what they get."""
    every = {layer.block for layer in layers(run.models[name])} - {None}
    return every, {addition.block for addition in residuals(run.models[name])}


blocks = seelike.where_possible(similarity, blocks_of)
cut_block = {}
for intact, name in without:
    if {intact, name} <= blocks.keys():
        adds, (every, still_adds) = blocks[intact][1], blocks[name]
        cut_block[name] = min(adds & every - still_adds, default=None)

# %% [markdown]
# These are the blocks.

# %%
for name, block in cut_block.items():
    print(f"{name}: block {block}" if block else f"{name}: no block was cut")
if not cut_block:
    run.say_missing("without_skips")

# %% mystnb={"figure": {"caption": "CKA maps of the intact ViT and of ViTs that were trained without the skip connections of one block, which dashed lines mark (the paper's Figure 8).", "name": "fig-without-skips"}, "image": {"alt": "A square heat map for each network, the intact one first. Dashed lines mark the block without skip connections. Colour is CKA from 0, dark, to 1, bright. The table below says how bright the corners are that compare layers before the block with layers after it."}}
from dataclasses import replace


def drawn(name):
    """The CKA map of a network, with the block that was cut marked."""
    whole = plots.map_between(similarity[name], name, name)
    title = name.removeprefix("tiny/vit_7x7_")
    return replace(whole, title=title, marked_block=cut_block.get(name))


maps = [drawn(name) for name in similarity]
plots.cka_maps(maps) if maps else run.say_missing("without_skips")

# %% [markdown]
# ### Is the map in two parts?
#
# For each cut: the mean CKA of all layers before the block with all layers after it, in the intact network and in the one
# without these skip connections.

# %%
from seelike.sections.skip_connections import mean_across_cut

lost = []
for intact, name in without:
    if cut_block.get(name):
        across = {}
        for each in (intact, name):
            network = similarity[each]
            cka, places = network.between(each, each), network.layers[each]
            across[each] = mean_across_cut(cka, places, cut_block[name])
        lost.append(across[intact] - across[name])
        means = (across[each].mean() for each in (intact, name))
        print("block {}: intact {:.2f}, cut {:.2f}".format(cut_block[name], *means))

# %% [markdown]
# The claim averages the difference over the cuts.

# %%
claims.record_difference(
    "removed_skips_split_the_network",
    lost,
    [np.zeros(len(lost[0]))] if lost else [],
    figure_name="fig-without-skips",
    compares="an intact ViT with ViTs without the skip connections of one block",
)

# %% [markdown]
# What the cuts cost in accuracy (the paper: four points) is on the page of [the tiny networks](tiny_networks.ipynb), where all of
# their accuracies are.
#
# ## Look around
#
# The slider goes through all tokens at all blocks of each network, not only the first ten of the first ViT.

# %%
figures, alt = {}, {}
for name, result in measured.items():
    ratio = result.ratio.mean(axis=0)
    kinds = dict.fromkeys(result.kinds)
    figures[name] = plots.skip_ratio_maps(
        {kind: ratio[result.of_kind(kind)] for kind in kinds},
        num_prefix_tokens=result.num_prefix_tokens,
    )
    low, high = np.nanpercentile(ratio, [5, 95])
    alt[name] = f"Skip ratios of {name}, most of them from {low:.2g} to {high:.2g}."
plots.states(figures, "Network", alt) if figures else run.say_missing()

# %% [markdown]
# With a kernel, you can look at any single token.


# %% tags=["remove-output"]
def one_token(network, token):
    """Draw one token's skip ratio through a network."""
    every = measured[network].ratio
    ratio = every[..., min(token, every.shape[2] - 1)]
    line = {network: plots.over_depth(ratio)}
    return plots.depth_lines(line, y_label="skip ratio", y_scale="log")


if measured:
    display(plots.live(one_token, network=list(measured), token=range(49)))

# %% [markdown]
# ## What we take with us
#
# **The paper found** a phase transition: in the first half of a ViT the CLS token is handed on and the spatial tokens are
# changed, in the second half the reverse. Skip ratios are higher in ViTs than in ResNets throughout. A ViT without the skip connections of one block
# falls into two parts that have little to do with each other.
#
# The claims of this page, in this run:

# %%
claims.on_this_page()

# %% [markdown]
# **The pretrained networks** turn part of it around. The CLS token of the ViT-S/14, which began as DINOv2, does as in the paper on average: it is handed on more in the first half. But first it is overwritten, by the attention of the first block; then for some
# blocks it is carried with hardly any change, and in the upper half attention and MLP take turns at writing it. The spatial tokens go the other way than the paper's: they are handed on a little more in the first half, and the attention of the last block
# all but replaces them.
#
# Skip ratios are *lower* in this ViT than in EfficientNet-Lites. That is no contradiction to what the paper says of ResNets. The blocks of EfficientNet end without an activation, in a narrow layer, and add
# what it gives to a stream that nothing else touches; a ResNet rectifies the sum after each addition, or normalises before. This ViT also has a learned factor for each channel of a branch, which those of the paper have not. A ResNet50 is in
# this profile for those who can fetch one.
#
# **The tiny networks** show half of the transition. The spatial tokens do as in the paper: they are changed early and handed on late. The CLS token does the reverse of the paper's. It is overwritten in the first two
# blocks, where attention fills the constant that it begins as, and from then on it is handed on like all others. Skip ratios are higher in the ViTs than in the ResNets.
#
# Figure 8 is of tiny networks in every run. Without the
# skips of one block the two parts of the network are less alike than in an intact one, most for the last block. In the maps of blocks 6 and 8 the border is plain to see, but the corners are nothing like as dark as the paper's. The
# accuracies go with it: on [their page](tiny_networks.ipynb), the skips of the first block turn out to be worth most, those of the third one little, and those of later blocks nothing.
#
# **Why.** A ratio is made of two lengths, and both have reasons of their own. The residual stream of a ViT grows from block to block, as
# every branch adds to it, while each branch reads a normalised copy: later ratios are large for that reason alone, for all tokens.
# The CLS token begins as one learned vector, whose length is what training made it. A ResNet with few blocks has little
# room for a stream: in the first block of a stage the skip connection is itself a convolution.
#
# ## Try it yourself
#
# 1. Set `models` to `"tiny/vit_7x7:random"`. Which claim holds before any training, and why?
# 2. The ratio of means and the mean of ratios can differ. `SkipStatistics.tokens` has both: where do they part?
# 3. Give `models` a ViT without class token, `"tiny/vit_7x7_gap"`. Do its spatial tokens take the part of the CLS token?
#
# <details><summary>Answers</summary>
#
# 1. With random weights the branches of all blocks add vectors of about equal length to a stream that grows. The ratio rises with
#    depth for the spatial tokens, as the second claim says, without anything learned. So a rise alone says little; that the CLS token *falls* would
#    be the striking part.
# 2. They part where a few images have a branch near zero: such an image has a very large ratio and pulls the mean up. The
#    ratio of means does not mind.
# 3. Look at the last blocks: there is no token left that must be changed for the classifier, and all of them are read by it.
#
# </details>
#
# **Next:** [Section 7](07_spatial_localization.ipynb) asks what the straight line is good for: whether a token still knows
# its place at the top. More views of the same measurement are in [Appendix E](E_propagation.ipynb).
