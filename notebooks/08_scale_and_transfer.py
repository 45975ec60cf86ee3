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
# # Section 8: Effects of scale on transfer learning
#
# **Question.** Vision Transformers became good when they were shown hundreds of millions of images. What do more images change
# inside: the low layers, the high ones, or all?
#
# | | |
# |---|---|
# | **You will learn** | which layers stay the same when a network is trained on a tenth of the data; what a probe half-way up a network shows; how much of this is chance |
# | **You need** | [Section 3](03_background.ipynb) for CKA, [Section 7](07_spatial_localization.ipynb) for probes; [words](../book/glossary.md) |
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
# `.venv/bin/papermill notebooks/08_scale_and_transfer.ipynb out.ipynb -p images ~/photos`; `None` takes the value of the profile.

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

run = seelike.start(globals(), "08_scale_and_transfer")

# %% [markdown]
# ## The same network on less data: Figure 12
#
# Train one network on all images. Train a second network, with the same architecture and the same initial weights, on a tenth of them. Then compare the
# two, block by block, by CKA: how alike are the first blocks, and how alike are the last?
#
# **Predict.** Networks on 30, 10 and 3 % of the data, each compared with the one on all of it. Draw three lines over depth: where do they
# begin, where do they end, and does a larger network need more data or less?
#
# The grey lines are controls that the paper does not have. For them a network is trained on all data twice more: once from the same initial
# weights with the images in another order, and once from other initial weights as well. These networks differ by chance alone. So only what lies
# below the grey lines is due to the data.
#
# No networks trained on shares of the data are public, so every profile uses the tiny networks here.

# %%
from seelike.cka import compare_pairs
from seelike.sections import shares_of_data

pairs_of_shares = shares_of_data.pairs(run.groups["shares_of_data"])
amounts = {"repeats": run.repeats, "seed": run.seed, "batch_size": run.batch_size}


def with_full_data(name):
    """CKA of each block with the same block of the network on all data."""
    pair = pairs_of_shares[name]
    images = run.images_for([pair.full, pair.other])
    number = min(run.number_of_images, len(images) // 2)
    networks = run.models[pair.full], run.models[pair.other]
    return compare_pairs(
        *networks, images, number_of_images=number, neighbours=True, **amounts
    )


# %% [markdown]
# Networks without partners for all of their blocks are named.

# %%
compared = seelike.where_possible(pairs_of_shares, with_full_data)
similarity = {pairs_of_shares[name]: each.cka for name, each in compared.items()}
shared = {pairs_of_shares[name]: each.neighbours for name, each in compared.items()}

# %% mystnb={"figure": {"caption": "CKA of each block with the same block of the network that was trained on all data, for networks trained on shares of it, two sizes (the paper's Figure 12). Lines are means over trainings, points single trainings, grey lines networks that were trained on all data once more. The shaded band is the smallest effect of interest: a difference within it does not count.", "name": "fig-shares"}, "image": {"alt": "Two panels, one for each size of network: CKA with the network on all data, over blocks, a line for each share of the data and grey lines for networks on all data. The claims below compare left and right ends."}}
from seelike import claims, plots
from seelike.plots.trainings import over_trainings

panels = shares_of_data.by_size_and_label(similarity)
over_trainings(
    panels,
    y_label="CKA with full data",
    names=shares_of_data.labels(similarity),
    controls=["all, in another order", "all, another seed"],
    margin=claims.CLAIMS["low_layers_need_little_data"].margin,
) if panels else run.say_missing("shares_of_data")

# %% [markdown]
# ### The comparison, by hand
#
# Take two "networks" of two layers, on eight images. Their first layers differ by a rotation, which CKA does not see. Their second layers are
# unrelated, since one of them is noise. (On eight images an unbiased CKA of unrelated layers scatters widely around 0.)

# %%
import torch

from seelike.cka import cka

torch.manual_seed(0)
images_by_hand = torch.randn(8, 5)
rotation, _ = torch.linalg.qr(torch.randn(5, 5))
print("first layers ", round(cka(images_by_hand, images_by_hand @ rotation), 3))
print("second layers", round(cka(images_by_hand, torch.randn(8, 5)), 3))

# %% [markdown]
# ### Which layers need the data?
#
# The lines fall. The grey lines fall, too: two trainings agree more on the low blocks than on the high ones, whatever data they used. The first claim
# is therefore about the additional fall: how much further the line of a network on a tenth of the data falls than the line of a network on all data in
# another order. All these networks began with the same weights.

# %%
due_to_data = shares_of_data.due_to_data(similarity, share=0.1)
by_neighbours = shares_of_data.due_to_data(shared, share=0.1)
claims.record(
    "low_layers_need_little_data",
    next(iter(due_to_data.values()), {}),
    by_neighbours=next(iter(by_neighbours.values()), {}),
    figure_name="fig-shares",
    otherwise="It needs a network on a tenth of the data, and one on all data in another order.",
)

# %% [markdown]
# The second claim says that this additional fall is larger in a larger network.

# %%
larger_and_smaller = [
    (list(each.values())[-1], next(iter(each.values())))
    if len(each) > 1
    else ({}, {})
    for each in (due_to_data, by_neighbours)
]
claims.record_difference(
    "larger_networks_need_more_data",
    *larger_and_smaller[0],
    by_neighbours=larger_and_smaller[1],
    figure_name="fig-shares",
    compares="two sizes of network, each on all data twice from the same weights",
)

# %% [markdown]
# ## Better in the middle? Figure 13
#
# CKA says that layers differ, but not which one is better. A probe can say this: it is a linear classifier on the output of one block, averaged over
# its tokens, and it is trained on ten images of each class.
#
# **Predict.** Two networks of one architecture, one trained on much data, one on little. Their accuracy at the top may well differ. Do they
# already differ half-way up?
#
# Probes need classes. Where the images have none, this part is left out.

# %%
from seelike.sections.linear_probes import accuracy_by_block, share_drawn

pairs = run.groups["much_and_little_data"]
of_pairs = [name for pair in pairs for name in pair]


def probes(name):
    """Accuracy of the probes of each block of one network."""
    network, images = {name: run.models[name]}, run.probe_images_for([name])
    found = accuracy_by_block(network, images, tokens=["mean"], **amounts)
    return found[name]["mean"]


tested = seelike.where_possible(dict.fromkeys([*of_pairs, *run.names]), probes)

# %% [markdown]
# For each network that gives a table: a row for each repeat, a column for each block.

# %% mystnb={"figure": {"caption": "Accuracy of linear probes on the mean of the tokens of each block, for networks trained on much and on little data (the paper's Figure 13, left). Lines are means over trainings, points single trainings.", "name": "fig-much-and-little"}, "image": {"alt": "A panel for each size of network with two lines: accuracy of probes over blocks, of networks on much and on little data. The claim below compares them at half depth."}}
panels = shares_of_data.much_and_little(pairs, tested)
over_trainings(panels, y_label="accuracy of probes") if panels else run.say_missing(
    "much_and_little_data"
)

# %% [markdown]
# The claim compares the two of each pair half-way up. Its unit is the pair: a network on much data and one on little. Two repeats
# draw their images for probes at random and so share a few of them; the interval allows for it.

# %%
from seelike.sections.scale_and_transfer import at_half_depth


def halfway(names):
    """Accuracy at half depth, per repeat, for each network that was tested."""
    return [at_half_depth(tested[name]) for name in names if name in tested]


def gain(pair):
    """Accuracy half-way up, on much data minus on little, per repeat."""
    much, little = halfway(pair[:2])
    return much - little


gains = {pair[0]: gain(pair) for pair in pairs if {*pair[:2]} <= {*tested}}
of_gains, of_all = (
    share_drawn(run.probe_images_for(names)) for names in (of_pairs, run.names)
)

# %%
claims.record(
    "data_buys_better_middle_layers",
    gains,
    figure_name="fig-much-and-little",
    overlap=of_gains,
    otherwise="It needs networks on much and on little data, and images with classes.",
)

# %% [markdown]
# Last, all ViTs and CNNs of this run, without regard to the amount of their data.

# %% mystnb={"figure": {"caption": "Accuracy of linear probes on the mean of the tokens of each block, for ViTs and CNNs (the paper's Figure 13, right). Bands are 95 % intervals over draws of images.", "name": "fig-vits-and-cnns"}, "image": {"alt": "A line for each ViT and each CNN: accuracy of probes against relative depth. The claim below compares the largest ViT with the CNNs at half depth."}}
lines = {
    name: plots.over_depth(tested[name]) for name in run.names if name in tested
}
plots.depth_lines(
    lines, y_label="accuracy of probes", within=(0.0, 1.0)
) if lines else run.say_missing()

# %% [markdown]
# The claim takes the largest ViT, the last of the list. If the CNNs are one network trained several times, its interval covers how much these trainings differ, too.

# %%
from seelike.sections.twins import are_trainings

cnns = {n: at_half_depth(tested[n]) for n in run.cnns if n in tested}
claims.record_difference(
    "larger_vits_have_stronger_middle_layers",
    halfway(run.vits[-1:]),
    cnns if are_trainings(cnns) else [*cnns.values()],
    figure_name="fig-vits-and-cnns",
    overlap=of_all,
    compares="the largest ViT with CNNs, on images with classes",
)

# %% [markdown]
# ## Look around
#
# The slider goes through the pairs of networks: CKA of each block of the one with the same block of the other. The grey line is the control of the same network:
# trained on all data from the same initial weights, in another order. Where there is none, no control was trained.

# %%
CONTROL = "what differs by chance"
controls = {pair.full: pair for pair in similarity if pair.is_control}
figures, alt = {}, {}
for pair, values in similarity.items():
    name, control, lines = str(pair), controls.get(pair.full, pair), {}
    if control != pair:
        lines[CONTROL] = plots.over_depth(similarity[control])
    lines[name] = plots.over_depth(values)
    figures[name] = plots.depth_lines(lines, y_label="CKA", within=(0.0, 1.0))
    figures[name].axes[0].set_ylim(0, 1)
    low, *_, high = values.mean(axis=0)
    alt[name] = f"From {low:.2f} at the first block to {high:.2f} at the last."
plots.states(figures, "Data", alt) if figures else run.say_missing("shares_of_data")

# %% [markdown]
# With a kernel, any two of the networks' probes side by side.


# %% tags=["remove-output"]
def two_networks(one, other):
    """Draw the probes of two networks."""
    chosen = {name: plots.over_depth(tested[name]) for name in (one, other)}
    return plots.depth_lines(
        chosen, y_label="accuracy of probes", within=(0.0, 1.0)
    )


if tested:
    display(plots.live(two_networks, one=list(tested), other=list(tested)[::-1]))

# %% [markdown]
# ## What we take with us
#
# **The paper found** that low layers are nearly the same with a tenth of the data, that high layers need much more, and larger networks more
# still; that pretraining on JFT-300M instead of ImageNet buys up to 30 points of accuracy in the middle of large ViTs; and that large ViTs are
# better half-way up than ResNets.
#
# The claims of this page, in this run:

# %%
claims.on_this_page()

# %% [markdown]
# **The pretrained networks** appear only in Figure 13, right. No public networks were trained on shares of the same data, and no pair trained on much
# and on little data was available for this run. Half-way up, the ViT-S/14 and
# EfficientNet-Lite0 are level on CIFAR-10, as far as these draws of images can tell. Higher up, the CNN goes on
# rising and the ViT falls: the ViT was last trained on salient objects, whatever their class.
#
# **The tiny networks** show the falling lines of Figure 12, but not that less data is the cause. (That figure shows tiny networks in every run.) With a tenth of the data the first blocks are nearly the same as with all of it, and the last are not.
# But look at the grey lines. A network that began with the same weights and saw all of the data in another order differs in its last block just as
# much. So the high blocks differ because there were two trainings. Less data adds nothing that can be told from chance. The paper's figure has no such
# control. This page cannot say whether larger networks
# need more data: the larger network has no control, and its lines are not in the order of the shares.
#
# In Figure 13 on the left, half-way up, more data is better in all three pairs, by more than our margin, though by far less than the paper's 30 points. On the right, half-way up, every
# ViT is ahead of ResNets that are as accurate as the smallest of them. In the last third of the depth these ResNets catch up.
#
# **Why.** Low layers compute edges and blobs, which are in any thousand images. High layers compute what tells the classes apart. There are many ways
# to compute this, and each training finds one of them. The smallest ViTs on a share of the data took as many training steps as those on all of it. They
# differ only in the images: with less data, each image was seen more often. The larger ViTs took fewer steps on less data, so part of the difference
# between them is the length of training. Half-way up, a large ViT also has more features than a small CNN, and a probe can use them: the claim compares networks, not equally many features. This page cannot say what the size of a network does either: the two largest tiny ViTs were trained for fewer epochs than the others, and are less accurate.
#
# ## Try it yourself
#
# Put a word or a function in the place of `None` and run the cell: it says what is off.
#
# **08.1** A claim has a margin of `0.05`, and its difference is `0.04 ± 0.02`. What is the verdict: `"holds"`, `"negligible"`, `"reversed"` or
# `"undecided"`?

# %% tags=["exercise", "show-code"]
from seelike import exercises

answer = None
exercises.check("08.1", answer)

# %% [markdown]
# **08.2** Write how much further a line falls than its control: of two arrays `[blocks]`, the CKA of a network on a tenth of the data with that on all of it, and of one on all of it in another order. Take the first block minus
# the last, of each.

# %% tags=["exercise", "show-code"]
answer = None
exercises.check("08.2", answer)

# %% [markdown]
# And to look into with the page itself:
#
# 1. Compare a ViT that is read out by its CLS token with one that is read out by the mean of its tokens: set `models` to
#    `"tiny/vit_7x7>tiny/vit_7x7_gap"`. Which blocks of the two are alike?
# 2. The grey lines are not at 1, although data and architecture are the same. What differs between the networks?
#
# <details><summary>Answers</summary>
#
# **08.1** `answer = "undecided"`: the interval, `0.02` to `0.06`, crosses the margin.
#
# **08.2**
#
# ```python
# def answer(share, control):
#     return (share[0] - share[-1]) - (control[0] - control[-1])
# ```
#
# 1. The first ones: what happens at the end of a network reaches back only so far.
# 2. The order of the images, and which images were shifted, mirrored and erased; with another seed the initial weights, too. CKA does not see
#    rotations of the features, so the fall of the line has another reason: the two networks found different features for the same task.
#
# </details>
#
# **Next:** [Section 9](09_discussion.ipynb) puts all claims side by side. Finetuning is in [Appendix G](G_finetuning.ipynb).
