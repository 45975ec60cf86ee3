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
# # Section 4: Representation structure
#
# **Question.** A ViT and a CNN learn to tell what an image shows. Do they build the same thing on the
# way, layer by layer?
#
# This page measures CKA, from [Section 3](03_background.ipynb), between every pair of layers: within one network
# (the paper's Figure 1), and between a ViT and a CNN (its Figures 2 and B.1). A *CNN* is any convolutional network; the paper's are ResNets.
#
# | | |
# |---|---|
# | **You will learn** | to read a CKA map, and to see in it how a network divides its work; which layers of a ViT and of a CNN correspond |
# | **You need** | [Section 3](03_background.ipynb), or the idea that CKA is 1 for layers that arrange images alike and 0 for unrelated ones |
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
# `.venv/bin/papermill notebooks/04_representation_structure.ipynb out.ipynb -p images ~/photos`; `None` takes the value of the profile.

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

run = seelike.start(globals(), "04_representation_structure")


# %% [markdown]
# ## Predict
#
# Think of a square map: layers from first to last along both sides, the colour of each point the CKA of two layers. The
# diagonal is 1, as each layer equals itself. A ViT repeats one and the same block on a grid of tokens that never changes its size; a CNN
# halves its grid a few times, and can see the whole image only after many layers. **How fast does the colour fade away from the
# diagonal: in a ViT, and in a CNN?**
#
# ## Measure
#
# One call shows every image once to every network and compares all layers of all networks. The call repeats this on new draws of images, so that every
# number has an uncertainty. A layer that gives the same output for every image has no CKA: a warning names this layer,
# its rows and columns stay empty, and a claim that needs it is not tested.

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
both_measures = [comparison, comparison.by_neighbours]

# %% [markdown]
# ## Within one network: Figure 1
#
# Each map compares a network with itself. The ticks mark the first layer of each block.

# %% mystnb={"figure": {"caption": "CKA of all pairs of layers within each network (the paper's Figure 1, and B.1 top), from the first layer at the lower left to the last at the upper right.", "name": "fig-within"}, "image": {"alt": "One square heat map for each network. Colour is CKA from 0, dark, to 1, bright. The diagonal is bright. The numbers under How uniform, and under Are low and high layers alike, say how bright each map is, and where."}}
from seelike import plots

plots.cka_maps([plots.map_between(comparison, name, name) for name in run.models])

# %% [markdown]
# A bright square is a run of layers that are alike. Dark lines in a ViT's map are its *branches*: what attention or the MLP adds. The squares between them are the
# *residual stream*, the sum that is handed on.
#
# ### Which layers, which networks?
#
# The paper reads not only the output of each block but also what happens inside it. In a ViT these are the norms, the
# attention branch, the hidden layer and the output of the MLP, and the sum after each branch; in a CNN the
# convolutions and norms of each bottleneck. The next cell lists them for the first block of the first network. If its blocks are not known here, the
# cell lists the first half of the network.

# %%
from seelike.models import layers

name = next(iter(run.models))
for layer in layers(run.models[name]):
    if layer.block in (None, 1) and layer.depth < 0.5:
        print(f"{layer.depth:.2f}  {layer.kind:<12} {layer.name}")

# %% [markdown]
# The networks differ in their number of layers. So this page uses *relative depth*: 0 is the first layer, 1 the last. The networks also differ in size,
# and two networks may be unlike only because one of them is more accurate. So the next cell gives the size of each network and, for the tiny ones, the
# accuracy on the 10,000 test images of Fashion-MNIST.

# %%
from seelike.models import size_and_accuracy

size_and_accuracy(run.models)

# %% [markdown]
# ### One number by hand
#
# Before we trust such maps, we make one of their thousands of numbers by hand, as in Section 3: the first against the last
# layer of the first network, on the images of the first repeat, in the same minibatches.

# %%
import numpy as np
import torch

from seelike.cka import gram, hsic, minibatches, u_center
from seelike.models import preprocessing, read

name, network = next(iter(run.models.items()))
first, *_, last = comparison.layers[name]
sample = run.images.sample(run.number_of_images, seed=run.seed)

# %% [markdown]
# As in Section 3, the HSICs of the minibatches are added up first and divided afterwards.

# %%
prepare = preprocessing(network)
sums = np.zeros(3)
for part in minibatches(len(sample), run.batch_size):
    pixels = [prepare(sample[i]) for i in range(part.start, part.stop)]
    x, y = read(network, [first, last], torch.stack(pixels)).values()
    sums += [hsic(x, y), hsic(x, x), hsic(y, y)]
by_hand = sums[0] / np.sqrt(sums[1] * sums[2])

# %% [markdown]
# The map has the same number in its first row and last column.

# %%
in_the_map = comparison.between(name, name)[0, 0, -1]
print(f"by hand {by_hand:.6f}, in the map {in_the_map:.6f}")

# %% [markdown]
# ### How uniform?
#
# The first claim is about the whole map: the mean of everything off the diagonal.
#
# A claim that depends on the choice of measure is worth little. So the same call also computes a second measure: the
# [nearest neighbours](../book/reference_neighbours.md) that two layers share ([Huh et al., 2024](https://arxiv.org/abs/2405.07987)). For each image, we
# find the nearest other images in both layers. The score is 1 if all neighbours are shared, and 0 if no more neighbours are shared than by chance. A
# few unusual images can dominate CKA; in this score each image has the same weight.

# %%
from seelike import claims
from seelike.sections import representation_structure as structure
from seelike.sections.twins import are_trainings


def by_both(statistic, names):
    """A statistic of some networks or pairs by CKA, and by shared neighbours."""
    return [
        {name: statistic(each, name) for name in names} for each in both_measures
    ]


def uniformity_of(each, name):
    """Mean over all pairs of different layers of a network, per repeat."""
    return structure.mean_off_diagonal(each.between(name, name))


uniformity = by_both(uniformity_of, run.models)
for name in run.models:
    print(f"{name}: {uniformity[0][name].mean():.3f}")

# %% [markdown]
# A *claim* has a number and a *margin*, the smallest difference that we count. It holds if the whole 95 % interval lies above the margin, and is undecided if the margin lies
# inside ([all verdicts](../book/glossary.md)). This claim compares ViTs with CNNs, once for each repeat. If the networks differ only in their seed, they are one network that was trained several times, and the
# interval covers how much these trainings differ, too.


# %%
def of(names, values):
    """The values of some networks, by name where these are trainings of one."""
    own = {name: values[name] for name in names if name in values}
    return own if are_trainings(own) else [*own.values()]


def record_within(claim, larger, smaller, values):
    """Record a claim about maps within networks, by both measures."""
    by_cka, by_neighbours = [
        (of(larger, each), of(smaller, each)) for each in values
    ]
    claims.record_difference(
        claim, *by_cka, by_neighbours=by_neighbours, figure_name="fig-within"
    )


record_within("uniform_layers", run.vits, run.cnns, uniformity)

# %% [markdown]
# The branches make a ViT's map darker. The next cell keeps the residual stream alone: the embedding, and the sums after
# each branch. (For a network whose blocks are not known, the stream is not known either, so the network is not listed.)


# %%
from seelike.models import STREAM

stream = comparison.only(STREAM)
for name in stream.layers:
    alone = structure.mean_off_diagonal(stream.between(name, name)).mean()
    whole = uniformity[0][name].mean()
    print(f"{name}: all layers {whole:.3f}, stream alone {alone:.3f}")

# %% [markdown]
# ### Are low and high layers alike?
#
# The second claim looks at one corner of the map: the first third of the layers against the last third.


# %%
def ends_of(each, name):
    """Mean over the pairs of a layer of the first third with one of the last."""
    similarity, depth = each.between(name, name), each.depth(name)
    return structure.first_third_with_last_third(similarity, depth)


ends = by_both(ends_of, run.models)
for name in run.models:
    print(f"{name}: {ends[0][name].mean():.3f}")

# %% [markdown]
# The claim compares ViTs with CNNs as before.

# %%
record_within("lower_and_higher_layers_alike", run.vits, run.cnns, ends)

# %% [markdown]
# ### Stages?
#
# A CNN halves its resolution a few times; the blocks between are its *stages*. The third claim asks how much more alike two layers of the same stage
# are than two layers of different stages. A ViT has no stages, so we cut it at the same relative depths as the first CNN. Layers near each other are
# alike in any network, so a fair comparison needs the same cuts in both networks.

# %%
stage = {}
for name in run.names:
    stage[name] = structure.stages(comparison.layers[name])
staged = [name for name in run.cnns if stage[name].max() > 0]


def step_between_stages(each, name):
    """How much more alike layers of one stage are than layers of two, per repeat."""
    first, depth = staged[0], each.depth
    cut = structure.stages_like(
        stage[name], depth(name), stage[first], depth(first)
    )
    similarity = each.between(name, name)
    return structure.within_minus_between_stages(similarity, cut)


# %% [markdown]
# One number for each network.

# %%
steps = by_both(step_between_stages, run.names if staged else [])
for name, values in steps[0].items():
    print(f"{name}: {values.mean():.3f}")
if not staged:
    print("No CNN here has several stages: add one to models, such as resnet50.")

# %% [markdown]
# The paper's claim is that this difference, the step from stage to stage, is larger in CNNs.

# %%
record_within("resnet_stages", run.cnns, run.vits, steps)

# %% [markdown]
# ## Between the two: Figures 2 and B.1
#
# **Predict.** Take the layer in the middle of a CNN. Which layer of a ViT is most like it: one in the middle, an
# earlier one, or a later one? Attention can mix the whole image in the first block; convolutions have to be stacked for that. And is there a
# part of the ViT that is like no layer of the CNN? A CNN collects what it has found by a mean, after its last block. A ViT collects it in its CLS token, inside its
# blocks. It can do so only once there is something to collect.
#
# Each map now has the layers of a ViT from bottom to top and those of a CNN from left to right. If both networks built the same representations at the
# same relative depth, a bright band would run along the diagonal, and the dots in it. Dots below the diagonal would mean that the ViT gets there earlier, and dots above it that the
# CNN does. A dot marks which layer of the ViT's residual stream is most like a layer of the CNN's, be it by ever so little; the colours say by how much. They go from the lowest
# to the highest value of these maps, not from 0 to 1 as in Figure 1.

# %% mystnb={"figure": {"caption": "CKA of all layers of each ViT (upwards) with all layers of each CNN (rightwards): the paper's Figure 2, and B.1 bottom. The colours span the values of these maps. Dots: the stream layer of the ViT that each stream layer of the CNN is most like.", "name": "fig-between"}, "image": {"alt": "One heat map for each pair of a ViT, vertical axis, and a CNN, horizontal axis. Colour is CKA, from the lowest value of these maps, dark, to the highest, bright. A white dot marks, for each layer of the CNN's stream, the layer of the ViT's stream that it is most like. The numbers below say whether the second quarter of each CNN is more like the lowest or the second quarter of the ViT."}}
between = [(vit, cnn) for vit in run.vits for cnn in run.cnns]
if are_trainings(run.vits) and are_trainings(run.cnns):
    between = [*zip(run.vits, run.cnns, strict=False)]  # each training once
maps = [plots.map_between(comparison, *pair, ridge=True) for pair in between]
plots.cka_maps(maps, own_scale=True) if maps else run.say_missing("vits", "cnns")

# %% [markdown]
# ### Is a CNN matched early in a ViT?
#
# Where neighbouring layers are nearly alike, tiny differences decide which one matches *best*. So we take no maximum. We use only the
# residual streams, and of the CNN only the second quarter: the layers from a quarter to a half of its depth. Are these layers more like the lowest
# quarter of the ViT, or more like its second quarter? The statistic is the CKA with the lowest quarter minus the CKA with the second. If both networks
# did the same at the same depth, this difference would be below zero.


# %%
def earlier(each, pair):
    """How much more like the ViT's lowest quarter than its second the CNN's second is."""
    vit, cnn = pair
    own = each.only(STREAM)
    depths = own.depth(vit), own.depth(cnn)
    return structure.lowest_minus_second_quarter(own.between(vit, cnn), *depths)


# %% [markdown]
# The cell names each pair in which one network has no stream or too few layers.


# %%
def with_both(statistic):
    """A statistic of all pairs of a ViT with a CNN that have what it needs, by both measures."""
    known = [pair for pair in between if set(pair) <= stream.layers.keys()]
    pairs = {" and ".join(pair): pair for pair in known}
    found = seelike.where_possible(
        pairs, lambda name: [statistic(each, pairs[name]) for each in both_measures]
    )
    return [
        {pairs[name]: both[each] for name, both in found.items()} for each in (0, 1)
    ]


early = with_both(earlier)
for (vit, cnn), values in early[0].items():
    print(f"{cnn} in {vit}: {values.mean():+.3f}")

# %% [markdown]
# If the networks are trainings of one ViT and one CNN, each pair is one case of the claim. Otherwise the mean over the pairs is the only case.


# %%
def record_between(claim, values, figure_name):
    """Record a claim about maps between networks, by both measures."""
    groups = [{" and ".join(pair): each[pair] for pair in each} for each in values]
    once_each = not (are_trainings(run.vits) and are_trainings(run.cnns))
    if groups[0] and once_each:
        groups = [np.mean([*group.values()], axis=0) for group in groups]
    claims.record(
        claim,
        groups[0],
        by_neighbours=groups[1],
        figure_name=figure_name,
        otherwise="It compares ViTs with CNNs, and this run has no pair of both whose blocks are known.",
    )


# %% [markdown]
# The first of these claims:

# %%
record_between("many_low_resnet_layers_match_few_vit_layers", early, "fig-between")

# %% [markdown]
# ### Does the last third of the ViT match anything?
#
# Every layer of the ViT's stream is now given one number: its highest CKA with any layer of the CNN. The shaded bands are 95 % intervals
# over repeats. The best of many matches is above zero even if the networks have nothing in common
# ([Gröger et al., 2026](https://arxiv.org/abs/2602.14486)). The line of chance shows how high it can then be: for this line, the CNN was shown the same
# images in another order.


# %%
def of_stream(each, pair):
    """The rows of a ViT's stream, of the map of a ViT with a CNN."""
    rows = np.isin([layer.kind for layer in each.layers[pair[0]]], STREAM)
    return each.between(*pair)[:, rows]


def best_matches(each, pair):
    """The highest CKA of each layer of a ViT's stream with any layer of a CNN, per repeat."""
    return of_stream(each, pair).max(axis=2)


# %% [markdown]
# The line of chance is computed from the Gram matrices themselves.


# %%
def centred_gram(_, x):
    """The U-centred Gram matrix of what a layer gives."""
    return u_center(gram(x)).cpu()


def by_chance(vit, cnn):
    """How high these can be where the CNN sees the images in another order."""
    sample = run.images.sample(min(run.batch_size, 128), seed=run.seed)
    grams = []
    for name, chosen in ((vit, stream.layers[vit]), (cnn, comparison.layers[cnn])):
        prepare = preprocessing(run.models[name])
        pixels = torch.stack([prepare(image) for image in sample])
        every = read(run.models[name], chosen, pixels, centred_gram)
        grams.append(every)
    alive = {name: each for name, each in grams[1].items() if each.any()}
    return structure.highest_by_chance(grams[0], alive, seed=run.seed)


# %% [markdown]
# One line for each pair.

# %% mystnb={"figure": {"caption": "The highest CKA of each layer of the ViT's residual stream with any layer of a CNN, by the ViT layer's relative depth. Bands are 95 % intervals over repeats. The line of chance is of the first pair, on one minibatch: 19 of 20 orders of the images stay below it.", "name": "fig-best-match"}, "image": {"alt": "One line for each pair of a ViT and a CNN, and one for what chance gives. Horizontal axis: relative depth in the ViT. Vertical axis: highest CKA with any CNN layer. The text below says how the last third compares with the middle third."}}
matched, highest = with_both(best_matches), {}
for (vit, cnn), values in matched[0].items():
    mean_and_band = claims.mean_and_uncertainty(values)
    highest[f"{vit} in {cnn}"] = (stream.depth(vit), *mean_and_band)
for vit, cnn in list(matched[0])[:1]:
    chance = by_chance(vit, cnn)
    highest["by chance"] = (stream.depth(vit), chance, 0 * chance)
plots.depth_lines(highest, y_label="highest CKA") if highest else run.say_missing(
    "vits", "cnns"
)

# %% [markdown]
# The claim compares the middle third of these lines with the last third. The cell also prints how high the values of the last third still are.


# %%
def fall(each, pair):
    """How much lower the best matches of the last third are than those of the middle third."""
    depth = stream.depth(pair[0])
    return structure.row_maximum_middle_minus_last_third(
        of_stream(each, pair), depth
    )


falls = with_both(fall)
for (vit, cnn), values in falls[0].items():
    rest = matched[0][vit, cnn][:, stream.depth(vit) > 2 / 3].mean()
    print(f"{vit} in {cnn}: {values.mean():+.3f}, last third {rest:.3f}")
record_between("last_third_matches_no_resnet_layer", falls, "fig-best-match")

# %% [markdown]
# ## Look around
#
# The Gram matrix of a layer, centred as in Section 3, says how alike every two images are in this layer. CKA asks whether the Gram matrices of two
# layers agree. So behind each point of a map is a scatter plot with a dot for each pair of images, and CKA is the correlation of the dots.
#
# In the explorer, move over a map or use the arrow keys to see which two layers a point compares. Click to see both Gram matrices, the scatter plot,
# and the pairs of pictures on which the two layers agree and disagree most. You can also choose another map, or the networks before training. If CKA is
# high, the dots lie along the diagonal: do all dots make it high, or only a few far out?
#
# The explorer has the first ViT and the first CNN. The next cell measures these two before training.

# %%
from seelike.models import load

some = [*dict.fromkeys([*run.vits[:1], *run.cnns[:1]])] or run.names[:1]
new = {} if weights == "random" else some
new = seelike.where_possible(new, lambda name: load(f"{name}:random"))
untrained = None
if new and len(new) == len(some):
    amounts = {"number_of_images": run.number_of_images, "seed": run.seed}
    amounts |= {"batch_size": run.batch_size, "device": run.device, "repeats": 1}
    untrained = compare_models(new, run.images, **amounts), new

# %% [markdown]
# The explorer shows only pictures that may be published. If these are few, further images are measured with them, but not shown.

# %%
from seelike.plots.explorers import cka_explorer

to_show = run.to_show(run.images)
cka_explorer(
    comparison,
    {name: run.models[name] for name in some},
    to_show,
    untrained,
    others=None if to_show is run.images else run.images,
    pair=(some[0], some[-1]),
    seed=run.seed,
)

# %% [markdown]
# ## What we take with us
#
# **The paper found** that a ViT's map is nearly uniform, with a clear grid and bright corners, and that a ResNet's falls into
# stages. Between the two, the lower half of the ResNet's layers is like the lowest quarter of the ViT's, and the ViT's last
# third is less like all of them.
#
# The claims of this page, in this run:

# %%
claims.on_this_page()

# %% [markdown]
# **The pretrained networks** are a ViT-S/14, which began as DINOv2 without labels and then was trained by others on salient objects (to mark what stands out), and two EfficientNet-Lites, which learned to classify.
#
# - By CKA the ViT's map is a little more uniform than the maps of the CNNs, by about the smallest effect of interest. By shared neighbours the ViT's
#   map is less uniform, so the claim is undecided. The ViT's map has a bright square of the lower blocks, and the upper blocks are less and less like
#   these. So the first and last layers of the ViT are not more alike than those of the CNNs, and if the ViT is cut at the CNNs' stages, it falls apart
#   more than the CNNs do, by CKA. Before training the ViT's stream is nearly the same throughout, so that all three are the other way round.
# - The dark lines in a CNN's map are the wide layers inside its blocks. Its stages are there, too: layers of one stage are more alike than layers of two. In the residual stream alone, CNNs and ViT are about equally uniform.
# - The second quarter of a CNN is far more like the second quarter of the ViT than like its lowest quarter, the opposite of what the paper found.
#   Shared neighbours point the same way, but not with certainty.
# - The last third of the ViT clearly matches the CNNs less, by both measures: the best match that a layer has in a CNN is worse in the last third of the ViT than
#   in the middle. But the match of the last third is still far above chance.
#
# Both the task and the size differ from the paper. These networks cannot tell which of the two makes the upper blocks so unlike the lower ones.
#
# **The tiny networks** are five trainings of a ViT and five of a ResNet. The ResNets were trained for fewer passes, so that they are about as accurate as the ViTs. So accuracy hardly explains
# a difference; the shorter training may. By CKA these networks **do not show** what the paper says.
#
# - Over all layers ViTs and ResNets are about equally uniform. In the residual streams alone, the ViTs are more uniform. The branches of a tiny ViT make its
#   map darker and produce the grid.
# - Lower and higher layers are about equally alike in both kinds of network, and a ViT that is cut at the ResNet's stages falls apart nearly as much as the
#   ResNet.
# - By shared neighbours all three claims point the paper's way, and that of lower and higher layers by more than the smallest effect of interest. The two measures do not agree, so the claims are undecided. They weigh different things: a
#   branch that moves a few images far looks dark by CKA, but changes few neighbours.
# - The second quarter of a ResNet is about as much like the second quarter of a ViT as like its lowest. The ViT's last third matches the layers of a ResNet
#   nearly as well as its middle third does, and far above chance.
# - Before training, the ViT is clearly more uniform than the ResNet, and its lower and higher layers are more alike. These two things are there at the start, and by CKA training takes most of them away.
#
# **Why.** The tiny networks have eight blocks, not 12 to 50, and 28 x 28 pixels leave a ResNet three stages and little
# resolution to lose. They were trained for a few passes over 60,000 grey garments, not on 300 million
# photographs. Of the pretrained networks each was trained once: another training could move every number by more than its interval.
#
# A map does not say how much of it was learned. The first of the open exercises below looks at tiny networks before training.
#
# ## Try it yourself
#
# Put a number or a function in the place of `None` and run the cell: it says what is off.
#
# **04.1** How uniform is a map? Write the mean CKA of all pairs of different layers, of a map `[layers, layers]`.

# %% tags=["exercise", "show-code"]
from seelike import exercises

answer = None
exercises.check("04.1", answer)

# %% [markdown]
# **04.2** Are the two ends alike? Write the mean CKA of the first third with the last third of the layers.

# %% tags=["exercise", "show-code"]
answer = None
exercises.check("04.2", answer)

# %% [markdown]
# And to look into with the page itself:
#
# 1. Set `models` to `"tiny/vit_7x7:random,tiny/resnet:random"` and run the page again. Which claims of
#    Figure 1 need training?
# 2. Give `images` a folder of photographs. They are turned grey and shrunk to 28 x 28 pixels for the tiny networks. Which claims
#    change their verdict?
#
# <details><summary>Answers</summary>
#
# **04.1**
#
# ```python
# def answer(cka):
#     n = len(cka)
#     return (cka.sum() - cka.trace()) / (n * (n - 1))
# ```
#
# **04.2**
#
# ```python
# def answer(cka):
#     third = len(cka) // 3
#     return cka[:third, -third:].mean()
# ```
#
# 1. None can be said to be learned here. The first and the second hold before training, by both measures: the untrained ViT is more uniform than the untrained ResNet,
#    and its first third is more like its last. After training they no longer hold by CKA. The third, of the step between stages, does not hold before training, and by CKA hardly afterwards. The residual stream of the untrained
#    ViT is nearly the same throughout: its bright map, with its grid, is there from the start. So a map that looks like the paper's does not show what
#    was learned.
# 2. It depends on the photographs, and that is the point. CKA compares layers *on a set of images*. The paper found no meaningful
#    difference between images of ImageNet and of JFT-300M.
#
# </details>
#
# ## Summary
#
# - A CKA map shows at a glance whether a network changes its representation steadily, in stages, or hardly at all.
# - In the tiny ViTs the residual stream is the more uniform part, and the branches stand out from it as a grid.
# - A claim about *training* needs a look at networks with random weights.
#
# **Next:** [Section 5](05_local_global.ipynb) asks how far a head of attention looks.
