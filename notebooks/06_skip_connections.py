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
# **Question.** In a ViT a *skip connection* carries every token past attention and MLP, the two *branches* of a block. The branches only add to the
# token. How much do they add? Does a token reach the last block almost unchanged, or do the branches replace it? And what happens to a ViT without the skip connections of one block?
#
# | | |
# |---|---|
# | **You will learn** | to read the skip ratio; where in the network the CLS token is rewritten, and where the spatial tokens are; what one block without skip connections does to a network |
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
# No branch of a block replaces a token $z$. The branch adds to the token: $z + f(z)$, where $f$ is attention or the MLP. Which of the two terms is
# larger? The *skip ratio* says so:
#
# $$r = \frac{\lVert z \rVert}{\lVert f(z) \rVert} .$$
#
# At 10 the token is handed on nearly as it was; at one tenth it is overwritten.
#
# One call reads both terms, the *skip* $z$ and the *branch* $f(z)$, wherever a branch is added, for each draw of images. It keeps three numbers: the two lengths, and the angle between the token before and after.
# Where skip or branch is exactly zero, as can happen at the black border of an image, there is no ratio, and the place does not count.

# %%
from seelike.models import family
from seelike.sections.skip_connections import propagation


def propagation_of(name):
    """Skip against branch in one network."""
    return propagation(run.models[name], run.draws(), batch_size=run.batch_size)


# Claims about ViTs are about these and the intact ones of Figure 8.
intact = [group[0] for group in run.own_groups("without_skips")]
every = dict.fromkeys([*run.names, *intact])
measured = seelike.where_possible(every, propagation_of)
vits = [name for name in run.vits if name in measured]
all_vits = vits + [
    name
    for name in dict.fromkeys(intact)
    if name in measured and family(run.models[name]) == "vit" and name not in vits
]

# %% [markdown]
# ## Token by token: Figure 7, left
#
# **Predict.** The CLS token starts the same for every image. It can only collect what the other tokens hold at that point of the network. The other tokens start as plain pixels, so something has to be made
# of them before it is worth collecting. In the end only the CLS token is read. A small skip ratio means that a token is rewritten. **In which half of the network is the skip ratio of the CLS token small,
# in which half that of the others?**
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
# ### The ratio, by hand
#
# Take one image with two tokens. The first token has length 5, and the branch adds a vector of length 1 in the same direction. The second token
# has length 1, and the branch adds a vector of length 2 at a right angle.

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
# ### Do CLS token and spatial tokens change places?
#
# The claims compare the two halves of the network, by the logarithm of the ratio, averaged over all residual
# additions of a half. The first claim leaves out ViTs without a CLS token. Each ViT is one case: the interval covers how much the ViTs differ.

# %%
import numpy as np

from seelike import claims
from seelike.sections.skip_connections import first_half_minus_second


def halves(ratio):
    """First half minus second half of the logarithm of skip ratios, per repeat."""
    return first_half_minus_second(np.log10(ratio))


of_cls = {name: measured[name].ratio_of_cls for name in all_vits}
of_cls = {name: halves(r) for name, r in of_cls.items() if r is not None}
of_spatial = {name: -halves(measured[name].ratio_of_spatial) for name in all_vits}

# %% [markdown]
# The paper finds that the CLS token is handed on in the lower half and rewritten in the upper one, and that the spatial tokens are rewritten in the lower half and handed on in the upper one. Where a ViT
# agrees with that, both numbers are above zero; the larger they are, the stronger the effect.


# %%
def record_of_vits(claim, by_network, what):
    """Record a claim about ViTs alone, or that this run has none."""
    if by_network and np.isfinite(list(by_network.values())).all():
        claims.record(claim, by_network, figure_name="fig-skip-tokens")
    else:
        why = f"It compares {what}, and this run has none that can be measured."
        claims.not_testable(claim, why, figure_name="fig-skip-tokens")


record_of_vits(
    "class_token_is_kept_low", of_cls, "the two halves of a ViT with a CLS token"
)
record_of_vits(
    "spatial_tokens_are_kept_high", of_spatial, "the two halves of a ViT"
)

# %% [markdown]
# ## Against CNNs: Figure 7, right
#
# A CNN has skip connections, too. Its branch is all the convolutions of a block; a block of a ViT has two branches, attention and MLP.
#
# **Predict.** If a block adds little, its skip ratio is large, and its output is like its input. Think of the maps of [Section 4](04_representation_structure.ipynb): are blocks next to each other
# more alike in a ViT or in a CNN? Which of the two should then have the larger skip ratio?
#
# The lines are means over tokens; bands are 95 % intervals over the draws of images.

# %% mystnb={"figure": {"caption": "Skip ratio by relative depth: CLS token and mean of the spatial tokens of each ViT, and mean over locations of each CNN (the paper's Figure 7, right). Bands are 95 % intervals.", "name": "fig-skip-lines"}, "image": {"alt": "Lines of the skip ratio, on a logarithmic axis, against relative depth: for each ViT one for the CLS token and one for the spatial tokens, for each CNN one. The claim below gives the smallest difference at any depth."}}
lines = {}
for name in (name for name in run.names if name in measured):
    result = measured[name]
    if result.ratio_of_cls is not None:
        lines[f"{name}, CLS"] = plots.over_depth(result.ratio_of_cls)
    lines[f"{name}, spatial"] = plots.over_depth(result.ratio_of_spatial)
plots.depth_lines(
    lines, y_label="skip ratio", y_scale="log"
) if lines else run.say_missing()

# %% [markdown]
# The line of a ViT zigzags because its two branches, attention and MLP, alternate.
#
# The paper says that the ratio of ViTs is higher "throughout". A mean over depth would hide a part of the network where the CNN has the higher ratio.
# So the claim takes the depth at which the lead of the ViT is smallest: the logarithms of both ratios are interpolated linearly between additions, and
# their smallest difference counts. This difference has to be above the margin. By hand, for a ViT with ratios of 10, 100 and 10
# and a CNN with 1 and 10:

# %%
from seelike.sections.skip_contrasts import smallest_difference

vit, cnn = np.array([[10.0, 100.0, 10.0]]), np.array([[1.0, 10.0]])
# Half-way the logarithm of the CNN's ratio is 0.5.
print(
    f"{min(1 - 0, 2 - 0.5, 1 - 1):.1f}, {smallest_difference(vit, cnn).item():.1f}"
)

# %% [markdown]
# The cell compares every ViT with every CNN. A number below 1 says that the CNN has the higher ratio at some depth.

# %%
differences = []
for vit in vits:
    for cnn in (name for name in run.cnns if name in measured):
        pair = (measured[name].ratio_of_spatial for name in (vit, cnn))
        differences.append(smallest_difference(*pair))
        least = 10 ** differences[-1].mean()
        print(f"{vit}: at least {least:.2g} times as high as {cnn}")
claims.record(
    "skips_matter_more_in_vits",
    np.mean(differences, axis=0) if differences else [],
    figure_name="fig-skip-lines",
    otherwise="It compares ViTs with CNNs, and this run does not have both.",
)

# %% [markdown]
# ## Without skip connections: Figure 8
#
# If the skip connections carry most of what a ViT knows, a ViT without some of them should have other representations. The paper trains ViTs in which one block hands on `f(z)`
# alone, for attention and MLP, and draws their CKA maps. No such checkpoint is public, so this part uses the tiny networks at every
# profile.
#
# **Predict.** The map of an intact ViT is a bright square. Take the skip connections from a block in the middle: what happens to the map on either side of that
# block, and what to the two corners that compare one side with the other?

# %%
from seelike.cka import compare_models


def of_itself(name, network, images):
    """CKA of all layers of one network, and the neighbours that they share."""
    return compare_models(
        {name: network},
        images,
        number_of_images=min(run.number_of_images, len(images) // 2),
        batch_size=run.batch_size,
        repeats=min(run.repeats, 3),
        seed=run.seed,
        device=run.device,
        neighbours=True,
    )


# %% [markdown]
# Every group is an intact ViT and its twins. The twins began with the same weights as the intact ViT, and were trained without the skip connections of
# one block.

# %%
similarity, without = {}, []
for intact, *cut in run.groups["without_skips"]:
    if family(run.models[intact]) == "vit":
        without += [(intact, name) for name in cut]
        images = run.images_for([intact, *cut])
        for name in [intact, *cut]:
            similarity[name] = of_itself(name, run.models[name], images)

# %% [markdown]
# The next cell finds out which block was cut: the one whose residual additions are missing.

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

# %% [markdown]
# First the maps of one group, as the paper draws them.

# %% mystnb={"figure": {"caption": "CKA maps of the intact ViT and of ViTs that were trained without the skip connections of one block, which dashed lines mark (the paper's Figure 8), of the first group.", "name": "fig-without-skips"}, "image": {"alt": "A square heat map for each network, the intact one first. Dashed lines mark the block without skip connections. Colour is CKA from 0, dark, to 1, bright. The next figures say how much the parts before and after the block differ from those of the intact network."}}
from dataclasses import replace


def drawn(name):
    """The CKA map of a network, with the block that was cut marked."""
    whole = plots.map_between(similarity[name], name, name)
    title = name.removeprefix("tiny/vit_7x7_")
    return replace(whole, title=title, marked_block=cut_block.get(name))


group = next(iter(run.groups["without_skips"]), [])
maps = [drawn(name) for name in group if name in similarity]
plots.cka_maps(maps) if maps else run.say_missing("without_skips")

# %% [markdown]
# The map of an intact network has bright and dark corners, too. So we subtract the intact map from the cut one. The difference is what the cut did.

# %%
from seelike.sections.skip_contrasts import difference_of_shared

changed, with_blocks = {}, [pair for pair in without if cut_block.get(pair[1])]
for intact, name in with_blocks:
    both = []
    for each in (name, intact):
        both += [similarity[each].mean(each, each), similarity[each].layers[each]]
    matrix, shared = difference_of_shared(*both)
    changed.setdefault((cut_block[name], len(shared)), []).append((matrix, shared))

# %% [markdown]
# **Predict.** Two parts that have little to do with each other: which squares of the difference must then be orange, and which purple?

# %% mystnb={"figure": {"caption": "CKA without the skip connections of one block minus CKA of the intact twin, for each block that was cut, mean over twins. White is no change. Dashed lines mark the block.", "name": "fig-cut-minus-intact"}, "image": {"alt": "A square map for each block that was cut. Purple is less alike than in the intact network, orange more alike. Dashed lines at the block divide the map into two squares, before and after it, and two corners that compare the one with the other. The next figure has the difference of these in numbers."}}
from seelike.plots.twins import difference_maps

maps = []
for (block, _), twins in sorted(changed.items(), key=lambda one: one[0]):
    mean, shared = np.mean([matrix for matrix, _ in twins], axis=0), twins[0][1]
    title = f"block {block}"
    maps.append(plots.CKAMap(mean, shared, shared, "", "", title, block))
difference_maps(maps, label="cut minus intact") if maps else run.say_missing(
    "without_skips"
)

# %% [markdown]
# If the network falls into two parts, the corners that compare the two sides are purple, and the squares along the diagonal are not: each part stays as
# it is, and has less to do with the other. A map that is purple all over, or in stripes, has changed without falling
# apart at the block.
#
# ### Is the map in two parts?
#
# One number measures this: how much more alike are two layers on the same side of the block than two layers on different sides? The intact twin has
# such a difference as well, since layers that are near each other are more alike in any network. The cut network's number minus the twin's is what the
# cut added.

# %%
from seelike.sections.skip_contrasts import apart, mean_across_cut


def parts(own, name, block):
    """How far the parts of a network are apart, by CKA and by shared neighbours."""
    both = own, own.by_neighbours
    maps = [each.between(name, name) for each in both]
    return np.array([apart(each, own.layers[name], block) for each in maps])


split, of_twin = {}, {}
for intact, name in with_blocks:
    block = cut_block[name]
    cut, whole = (parts(similarity[n], n, block) for n in (name, intact))
    split.setdefault(f"block {block}", {})[name] = cut[0] - whole[0]
    of_twin.setdefault(intact, []).append(cut - whole)

# %% [markdown]
# As a control, the same of the same networks before any training: without the skip connections, too, or with all.

# %%
from seelike.models import load

pairs = [] if weights == "random" else with_blocks
new = {}
for name in dict.fromkeys(name for pair in pairs for name in pair):
    network = load(f"{name}:random").to(run.device)
    new[name] = of_itself(name, network, run.images_for([name]))
before = {}
for intact, name in pairs:
    block = cut_block[name]
    cut, whole = (parts(new[n], n, block)[0] for n in (name, intact))
    before.setdefault(f"block {block}, before training", {})[name] = cut - whole

# %% [markdown]
# A difference does not say whether the two parts have nothing in common. So here is also the mean CKA of a layer before the block with a layer after it:


# %%
def across(name, block):
    """Mean CKA of a layer before the block with a layer after it."""
    own = similarity[name]
    return mean_across_cut(own.between(name, name), own.layers[name], block).mean()


for block in sorted({cut_block[name] for _, name in with_blocks}):
    twins = [pair for pair in with_blocks if cut_block[pair[1]] == block]
    whole, cut = np.mean(
        [[across(n, block) for n in pair] for pair in twins], axis=0
    )
    print(
        f"block {block}: {cut:.2f} across the cut, {whole:.2f} in the intact twin"
    )

# %% [markdown]
# Each point is a cut network beside its intact twin; the line is the mean. Grey are the same before training.

# %% mystnb={"figure": {"caption": "How much farther apart the parts before and after a block are without its skip connections than in the intact twin: mean CKA within the parts minus mean CKA across the block, cut minus intact. Grey points: before training. What lies in the grey band is too small to count.", "name": "fig-split"}, "image": {"alt": "A row for each block that was cut, with a point for each training and a line at their mean, and below it a grey row for the same before training. The horizontal axis is a difference of CKA, with a line at zero and a grey band around it. The claim below has the mean of all."}}
from seelike.plots.twins import differences as points

of_parts = claims.CLAIMS["removed_skips_split_the_network"]
points(
    dict(sorted((split | before).items())),
    x_label="apart, cut minus intact (CKA)",
    margin=of_parts.margin,
    controls=[*before],
) if split else run.say_missing("without_skips")

# %% [markdown]
# Points to the right of the grey band are networks that fell apart by more than the margin. If the points in a row are far from each other, chance did
# as much as the cut. For each intact twin, the claim takes the mean over the blocks that were cut.

# %%
by_twin = {intact: np.mean(cuts, axis=0) for intact, cuts in of_twin.items()}
claims.record(
    of_parts.id,
    {intact: by_cka for intact, (by_cka, _) in by_twin.items()},
    by_neighbours={intact: shared for intact, (_, shared) in by_twin.items()},
    figure_name="fig-split",
    otherwise="It compares an intact ViT with one without the skip connections of a block: this run has no such pair.",
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
# **The pretrained networks** show part of this in reverse. The CLS token of the ViT-S/14, which began as DINOv2, agrees with the paper on average: it
# is handed on more in the first half. But the attention of the first block and the MLP of the third rewrite it. Then the token is handed on through some blocks with hardly
# any change, and in the upper half it is changed again, mostly by the MLPs. The spatial tokens do the opposite of the paper's: they are handed on a little more in the first half, and the attention of the last block
# all but replaces them.
#
# Skip ratios are *lower* in this ViT than in EfficientNet-Lite0. Before training they are *higher* at every depth, as in the paper. This does not contradict what the paper says of ResNets. The blocks of EfficientNet
# end in a narrow layer without an activation, and add its output to a stream that nothing else changes. A ResNet applies a ReLU to the sum after each
# addition, or normalises before it. This ViT also has a learned factor for each channel of a branch, which the paper's ViTs do not have. This profile
# also has a ResNet50, for readers who can download one.
#
# **The tiny networks** do not show the transition. Whether the spatial tokens are handed on more in the upper half is open: on average they are, but the ViTs
# differ much. On average the CLS token does the opposite of the paper's, and before training even more so. It begins as a constant, attention and MLP of the first block overwrite it, and from then on it is
# handed on like all other tokens. (The ResNets of this page are more accurate than its ViTs, unlike those of Section 4.) Skip ratios are higher in the ViTs than in the ResNets for most of the depth, but not throughout: in the first blocks the ResNets are ahead.
#
# Figure 8 shows tiny networks in every run. In every training, and for each of the three blocks, the network without the skip connections of the block is farther apart there than its intact
# twin. Where the middle block was cut, the map shows the paper's two squares. But the parts still have much in common, and the effect is about as large as the smallest that
# counts, so the claim is undecided. The grey points show the same before any training: at the first block the cut parts the layers far more, at the others about as much. So this needs no training. A block without skip connections hands on
# nothing unchanged, whatever its weights. What the cuts cost in accuracy is on the page of [the tiny networks](tiny_networks.ipynb).
#
# **Why.** The skip ratio depends on two lengths, and each of them has its own causes. The residual stream of a ViT grows from block to block, as
# every branch adds to it, while each branch reads a normalised copy: later ratios grow for that reason alone, for all tokens.
# The CLS token begins as one learned vector, and training sets its length. A ResNet with few blocks has hardly any residual stream: in the first block of a stage the skip connection is itself a convolution.
#
# ## Try it yourself
#
# Put a number or a function in the place of `None` and run the cell: it says what is off.
#
# **06.1** Write the skip ratio of one token, from what the skip connection hands on and what the branch adds, `[images, channels]` each. For each image
# divide the first length by the second, then take the mean over images.

# %% tags=["exercise", "show-code"]
from seelike import exercises

answer = None
exercises.check("06.1", answer)

# %% [markdown]
# **06.2** A token of length 1 gets one branch after the other added, each of length 1 and at a right angle to all before. What is the skip ratio at the twelfth addition?

# %% tags=["exercise", "show-code"]
answer = None
exercises.check("06.2", answer)

# %% [markdown]
# And to look into with the page itself:
#
# 1. Set `models` to `"tiny/vit_7x7:random"`. Which claim holds before any training, and why?
# 2. The ratio of means and the mean of ratios can differ. `SkipStatistics.tokens` has both: where do they part?
#
# <details><summary>Answers</summary>
#
# **06.1**
#
# ```python
# import numpy as np
#
# def answer(skip, branch):
#     lengths = [np.linalg.norm(each, axis=1) for each in (skip, branch)]
#     return (lengths[0] / lengths[1]).mean()
# ```
#
# **06.2** `answer = 12**0.5`: eleven branches have been added, so the token has the length of twelve vectors at right angles. The ratio grows with depth, though no branch changes.
#
# 1. With random weights the branches of all blocks add vectors of about equal length to a stream that grows. The ratio rises with
#    depth, without anything learned. So a rise alone says little; that the CLS token *falls* would
#    be the striking part.
# 2. They differ where a few images have a branch near zero: such an image has a very large ratio and pulls the mean of ratios up. It hardly changes the
#    ratio of means.
#
# </details>
#
# **Next:** [Section 7](07_spatial_localization.ipynb) asks what the skip connections are good for: whether a token still knows
# its place at the top. More views of the same measurement are in [Appendix E](E_propagation.ipynb).
