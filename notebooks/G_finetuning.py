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
# # Appendix G: Finetuning
#
# **Question.** A network that was trained on many images is trained a little more on others: it is *finetuned*. What does it
# keep, and what does it change? Does it matter how far the new images are from the old ones?
#
# The paper compares each block of a ViT before finetuning with the same block after it (its Figures G.1 and G.2). This page does
# the same, where finetuned networks are available. It takes several *targets* (the images that a network is finetuned on), from near to far, and several sizes
# of ViT. It compares them on two sets of images, since the answer depends on which images the networks are shown.
#
# | | |
# |---|---|
# | **You will learn** | which blocks finetuning changes; why it matters on which images one compares; what a far target is |
# | **You need** | [Section 3](03_background.ipynb), or the idea that CKA is 1 for layers that arrange images alike and 0 for unrelated ones |
# | **Cost** | under a minute on two CPU cores (`tiny`); [other profiles](../book/costs.md) |

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
# `.venv/bin/papermill notebooks/G_finetuning.ipynb out.ipynb -p images ~/photos`; `None` takes the value of the profile.

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

run = seelike.start(globals(), "G_finetuning")

# %% [markdown]
# ## What was finetuned on what
#
# The tiny ViTs learned to tell garments apart, the right way up and white on black. Each was finetuned on four targets, and the
# records of training say which. For public checkpoints the page knows no more than their names.

# %%
from seelike.sections.scale_and_transfer import finetunings

steps = finetunings(run.groups["finetuned"])
for before in dict.fromkeys(step.before for step in steps):
    on = [step.target for step in steps if step.before == before]
    print(f"{before}, finetuned on: {', '.join(on)}")
if not steps:
    run.say_missing("finetuned")

# %% [markdown]
# The targets of the tiny ViTs go from near to far, an order that we chose before measuring: garments turned by 90 degrees; garments with black and
# white exchanged; handwritten digits; textures, which have no outline at all. One row shows images of each, beside the images that
# the networks were trained on first.

# %%
from seelike import data

ORIGINAL, TARGET = "first training", "the target"
shown = {}
for step in steps:
    shown[step, ORIGINAL] = run.images_for([step.before, step.after])
    if step.images is not None:
        shown[step, TARGET] = data.load(step.images)

# %% mystnb={"figure": {"caption": "Images that the networks were trained on first, and images of the targets, from near to far.", "name": "fig-targets"}, "image": {"alt": "Rows of small images: those of the first training, then one row for each target of finetuning whose images are known."}}
from seelike import plots

to_show = map(run.to_show, shown.values())
rows = {images.name: images for images in to_show}
number = min([8, *map(len, rows.values())])
rows = {name: [images[i] for i in range(number)] for name, images in rows.items()}
plots.image_rows(rows) if rows else run.say_missing("finetuned")

# %% [markdown]
# How they were trained, and how well they do on the images of their target.

# %%
from seelike.models import model_card, training_record

names = dict.fromkeys(name for step in steps for name in (step.before, step.after))
records = [record for name in names if (record := training_record(name))]
model_card(records) if records else print(
    "No records of training: the tiny networks have them."
)

# %% [markdown]
# ## The measure
#
# The measure is the CKA of Section 3, of one layer of a network with *the same* layer of another, once for each block. By hand, take a toy
# network of two blocks, and six images. Finetuning swaps the two neurons of the first block and doubles them. In the second block it moves one
# image, the last, from one group to the other.

# %%
import torch

before = {
    "block 1": torch.tensor([[0, 0], [1, 0], [0, 2], [3, 3], [1, 2], [2, 1.0]]),
    "block 2": torch.tensor([[0], [0], [0], [1], [1], [1.0]]),
}
after = {
    "block 1": 2 * before["block 1"].flip(1),
    "block 2": torch.tensor([[0], [0], [0], [1], [1], [0.0]]),
}

# %% [markdown]
# The first block arranges the images as before, so its CKA is 1. The second block does not. Here is its CKA by hand, from the Gram
# matrices of Section 3 with their diagonals and means taken out:


# %%
def corrected(x):
    """Section 3's U(K) of the Gram matrix of some features."""
    n, K = len(x), x @ x.T
    K = K - torch.diag(K.diagonal())
    sums = K.sum(dim=1) / (n - 2)
    U = K - sums[:, None] - sums[None] + sums.sum() / (n - 1)
    return U - torch.diag(U.diagonal())


for block in before:
    U, V = corrected(before[block]), corrected(after[block])
    by_hand = (U * V).sum() / ((U * U).sum() * (V * V).sum()).sqrt()
    print(f"{block}: {float(by_hand):.6f}")

# %% [markdown]
# ## On which images?
#
# CKA compares two layers on a set of images, and here are two sets to choose from.
#
# - On images of **the target**, it asks how much the network had to change for the new task. Each target is then measured on images of
#   its own.
# - On images of the **first training**, it asks how much of the old representation is left. All targets are measured on the same images,
#   but these are not what the finetuned network is for.
#
# The paper does not say which it took. The claim about depth uses images of the target, where the records name them. The claim about near and far
# targets uses images of the first training: these are the same for all targets, so that only the networks differ and not the images. Beside each claim
# stands the result on the other set of images.
#
# ## Predict
#
# The loss is computed at the top of the network, and the change of every block comes from there. **Which blocks change most? And in the tiny ViTs, which
# target changes the last block least: turned garments, inverted garments, digits or textures? Is the order the same on both sets of images?**
#
# ## Measure
#
# Two networks at a time see the same images, on a new draw for each repeat.

# %%
import numpy as np

from seelike.sections.scale_and_transfer import kept


def compare(first, second, images):
    """CKA of each block of one network with the same block of another."""
    return kept(
        run.models[first],
        run.models[second],
        images,
        number_of_images=run.number_of_images,
        batch_size=run.batch_size,
        repeats=run.repeats,
        seed=run.seed,
    )


# %% [markdown]
# Before with after, on both sets of images:

# %%
compared = {
    (step, where): compare(step.before, step.after, images)
    for (step, where), images in shown.items()
}

# %% [markdown]
# Networks whose blocks do not pair up, because they have unequal numbers of them, cannot be compared in this way. And a block that shows all
# images alike has no CKA.

# %%
for (step, where), found in compared.items():
    if found is None:
        print(f"{step.before} and {step.after} have no blocks that pair up.")
    elif np.isnan(found.cka).any():
        print(
            f"{step.before} or {step.after} has a dead block, on images of {where}."
        )
compared = {key: found for key, found in compared.items() if found is not None}
cka = {key: found.cka for key, found in compared.items()}
shared = {key: found.neighbours for key, found in compared.items()}
steps = [step for step in steps if (step, ORIGINAL) in cka]
CLAIMED = {step: TARGET if (step, TARGET) in cka else ORIGINAL for step in steps}

# %% [markdown]
# ## One network, several targets: Figure G.1, top
#
# The largest network of this run. A panel for each set of images, a line for each target.

# %% mystnb={"figure": {"caption": "CKA of each block before finetuning with the same block after it, for one network and several targets: shown images of each target, and images of the first training (the paper's Figure G.1, top). Bands are 95 % intervals over repeats.", "name": "fig-targets-kept"}, "image": {"alt": "Panels for the two sets of images. Horizontal axis: block. Vertical axis: CKA before with after finetuning. One line for each target. The table below gives the last block, and the claims compare first blocks with last, and near targets with far."}}
from seelike.claims import mean_and_uncertainty

panels = {}
for (step, where), values in cka.items():
    if step.before == steps[-1].before:
        block = range(1, values.shape[1] + 1)
        lines = panels.setdefault(f"images of {where}", {})
        lines[step.target] = (list(block), *mean_and_uncertainty(values))
panels = dict(sorted(panels.items(), reverse=True))
plots.line_panels(
    panels, x_label="block", y_label="CKA before / after"
) if panels else run.say_missing("finetuned")

# %% [markdown]
# Each line is one target: the lower it is at a block, the more finetuning has changed this block. Compare the order of the targets in the two panels.
#
# ## Several sizes: Figures G.1, bottom, and G.2
#
# Here each target has a panel, with a line for each size of network. Where a size was trained from several seeds, each training is a point and the line is their
# mean. A grey line is then the baseline: it compares trainings that began with different weights, before any finetuning.

# %%
from itertools import pairwise

from seelike.sections.shares_of_data import Pair
from seelike.sections.twins import are_trainings

ANEW = "begun anew"
starts = list(dict.fromkeys(step.before for step in steps))
anew = [pair for pair in pairwise(starts) if are_trainings(pair)]
of_targets = {}
for step in steps:
    lines = of_targets.setdefault(step.target, {})
    lines.setdefault(Pair(step.before, step.after).size, []).append(
        cka[step, CLAIMED[step]].mean(axis=0)
    )

# %% [markdown]
# The grey lines, where there are any:

# %%
for step in steps:
    for first, second in anew:
        if first == step.before:
            found = compare(first, second, shown[step, CLAIMED[step]])
            lines = of_targets[step.target].setdefault(ANEW, [])
            lines.append(found.cka.mean(axis=0))
panels = {
    target: {name: np.stack(rows) for name, rows in lines.items()}
    for target, lines in of_targets.items()
}
sizes = [name for lines in panels.values() for name in lines if name != ANEW]
sizes = list(dict.fromkeys(sizes)) + [ANEW] * bool(anew)

# %% mystnb={"figure": {"caption": "CKA of each block before finetuning with the same block after it, for networks of several sizes, on images of the target where they are known (the paper's Figures G.1, bottom, and G.2). Lines are means over trainings, points single trainings. Grey: trainings that began with different weights.", "name": "fig-sizes-kept"}, "image": {"alt": "One panel for each target. Horizontal axis: block. Vertical axis: CKA before with after finetuning. One line for each size of network, and a grey one for networks that were trained anew. The claims below compare first blocks with last, over all sizes and targets."}}
from seelike.plots.trainings import over_trainings

over_trainings(
    panels, y_label="CKA before / after", names=sizes, controls=[ANEW]
) if panels else run.say_missing("finetuned")

# %% [markdown]
# ### Are low blocks kept?
#
# The statistic is the mean CKA of the first third of the blocks minus that of the last third. If the number of blocks is not a multiple of three, a third is
# rounded up: of four blocks, the first two and the last two.
#
# For each size and target, on both sets of images, the mean over trainings with 95 % intervals over repeats:

# %%
import pandas as pd

from seelike.claims import summary
from seelike.sections.scale_and_transfer import first_minus_last_third

rows = {}
for (step, where), values in cka.items():
    row = rows.setdefault(
        f"{Pair(step.before, step.after).size} on {step.target}", {}
    )
    both = first_minus_last_third(values), values[:, -1]
    for what, each in zip(
        ("first minus last third", "last block"), both, strict=True
    ):
        row.setdefault(f"{what}, {where}", []).append(each)

# %% [markdown]
# As a table:

# %%
rows = {
    of: {what: summary(np.mean(each, axis=0)) for what, each in row.items()}
    for of, row in rows.items()
}
table = pd.DataFrame.from_dict(rows, orient="index").sort_index(axis=1)
table if rows else run.say_missing("finetuned")

# %% [markdown]
# The claim averages the difference over the targets of each network. If one network was trained from several seeds, the claim is about its trainings, and
# the interval covers how much they differ. Else it is about all networks.

# %%
from seelike import claims
from seelike.evidence import trained_most

chosen = trained_most(starts)


def low_blocks_are_kept(values):
    """First third minus last third, mean over the targets of each network."""
    found = {}
    for step in steps:
        if step.before in chosen:
            difference = first_minus_last_third(values[step, CLAIMED[step]])
            found.setdefault(step.before, []).append(difference)
    return {before: np.mean(each, axis=0) for before, each in found.items()}


# %% [markdown]
# Each target has its own images. Where one has so few that draws share some, the interval allows for it.

# %%
from seelike.data.draws import overlap

amounts = run.number_of_images, run.seed, run.repeats
most_shared = max((overlap(len(i), *amounts) for i in shown.values()), default=0.0)
claims.record(
    "low_layers_are_kept_in_finetuning",
    low_blocks_are_kept(cka),
    by_neighbours=low_blocks_are_kept(shared),
    overlap=most_shared,
    figure_name="fig-targets-kept",
    otherwise="It compares a network before finetuning with the same after it: this run has no such pair.",
)

# %% [markdown]
# A difference says that the first blocks change *less*, not that they do not change. The paper speaks of four to five blocks of twelve or more that stay
# "very well preserved", so look at the height of the lines in these blocks, too.
#
# ### Do far targets change more?
#
# The claim compares the last block of the nearest target with that of the farthest, for each of the same networks that has both, on the same images for both.

# %%
from seelike.sections.scale_and_transfer import nearest_and_farthest

ends = nearest_and_farthest([step for step in steps if step.before in chosen])


def near_minus_far(values):
    """The last block, nearest target minus farthest, for each network."""
    return {
        near.before: values[near, ORIGINAL][:, -1] - values[far, ORIGINAL][:, -1]
        for near, far in ends
    }


# %%
claims.record(
    "far_targets_change_more",
    near_minus_far(cka),
    by_neighbours=near_minus_far(shared),
    overlap=most_shared,
    figure_name="fig-targets-kept",
    otherwise="It compares a near target of finetuning with a far one: this run does not have both.",
)

# %% [markdown]
# Would both verdicts be the same on the other images? Here are the same two statistics on the other images, network by network:

# %%
last = {key: values[:, -1] for key, values in cka.items()}
for near, far in ends:
    kept_low = [
        first_minus_last_third(cka[step, ORIGINAL])
        for step in steps
        if step.before == near.before
    ]
    apart = last[near, CLAIMED[near]] - last[far, CLAIMED[far]]
    print(f"{near.before}")
    print("  first minus last third, images of the first training:", end=" ")
    print(summary(np.mean(kept_low, axis=0)))
    print(
        f"  nearest minus farthest target, each on its own images: {summary(apart)}"
    )

# %% [markdown]
# ## Look around
#
# Choose a target: all sizes, on both sets of images.

# %%
figures, alt = {}, {}
for target in dict.fromkeys(step.target for step in steps):
    lines = {}
    for (step, where), values in cka.items():
        if step.target == target:
            name = f"{Pair(step.before, step.after).size}, {where}"
            lines.setdefault(name, []).append(values.mean(axis=0))
    lines = {name: np.stack(each) for name, each in lines.items()}
    figures[target] = over_trainings({target: lines}, y_label="CKA before / after")
    lowest = min(each.mean(axis=0).min() for each in lines.values())
    alt[target] = (
        f"CKA of each block before with after {target}, lowest {lowest:.2f}."
    )
plots.states(figures, "Target", alt) if figures else run.say_missing("finetuned")

# %% [markdown]
# With a kernel, you can compare any two of the networks, also two that were finetuned on different targets, on any of the images.


# %% tags=["remove-output"]
from seelike.sections.scale_and_transfer import depth_of_blocks


def two_networks(a, b, images):
    """Draw the CKA of each block of one network with the same block of another, on one draw."""
    chosen = next(one for one in shown.values() if one.name == images)
    size = {"batch_size": run.batch_size, "repeats": 1, "seed": run.seed}
    size["number_of_images"] = min(256, run.number_of_images)
    found = kept(run.models[a], run.models[b], chosen, **size)
    values = np.full((1, 2), np.nan) if found is None else found.cka
    line = (depth_of_blocks(values.shape[1]), *mean_and_uncertainty(values))
    return plots.depth_lines({f"{a}\n{b}": line}, y_label="CKA", title=images)


if shown:
    sets = list(dict.fromkeys(images.name for images in shown.values()))
    display(
        plots.live(two_networks, a=list(names), b=list(names)[::-1], images=sets)
    )

# %% [markdown]
# ## What we take with us
#
# **The paper found** that a ViT keeps much of its representation when it is finetuned on natural images, such as those of ImageNet or CIFAR-100, and changes
# more on medical and on satellite images. In all cases the first four to five blocks are very well preserved, whatever the size of the network.
#
# The claims of this page, in this run:

# %%
claims.on_this_page()

# %% [markdown]
# **The tiny networks** agree with most of this. On images of the target every line falls, in both sizes and in all three trainings of the smaller one: the first third of the blocks has a higher CKA than
# the last.
#
# The grey lines say how much that is. On turned and inverted garments the last block is changed more by finetuning than it differs between two trainings from other weights. On digits the two are level, and on textures two grey lines
# are too few to tell. The first block is kept better than between two trainings, everywhere.
#
# On textures, the farthest target, the second block of the larger ViT has already changed a good deal, and the last block has changed far more than on turned garments. The paper saw low blocks kept on all of its targets.
#
# Whether a target counts as far depends on the images of the comparison. On images of the first training the order of the targets is lost. Whether the
# farthest target changes the last block more than the nearest one, by an amount that matters, is undecided. A network can change much
# for new images, and less for the old ones.
#
# **The pretrained networks** are missing here: where no public pair can be had, before and after finetuning, a run at this profile shows the tiny networks, too.
#
# **Why.** The same change of every weight adds up from block to block, so a later block differs more for this reason alone. A line that falls is no
# proof that low blocks hold features for any task. How much changes also depends on the learning rate and on the number of steps, which finetuning keeps small. And "near" and
# "far" describe what people see. For a tiny ViT, exchanging black and white inverts every input, though we still see the same garments. Digits are
# white on black, as the garments are. The targets of the tiny networks are 28 x 28 pixels each; none is as far from the first images as an image of a retina is from a photograph of a street.
#
# ## Try it yourself
#
# Put a number or a function in the place of `None` and run the cell: it says what is off.
#
# **G.1** Write a function of the CKA of each block, an array `[blocks]`: the mean of the first third of the blocks minus the mean of the last third. A third is rounded up.

# %% tags=["exercise", "show-code"]
from seelike import exercises

answer = None
exercises.check("G.1", answer)

# %% [markdown]
# And to look into with the page itself:
#
# 1. Set `models` to `"tiny/vit_7x7_small>tiny/vit_7x7_small_seed_1"`: two trainings of one network, from other weights. Do equal blocks correspond?
#
# <details><summary>Answers</summary>
#
# **G.1**
#
# ```python
# import math
#
# def answer(cka):
#     third = math.ceil(len(cka) / 3)
#     return cka[:third].mean() - cka[-third:].mean()
# ```
#
# 1. Nothing in training says that block 4 of one network has to do what block 4 of the other does. Any agreement comes from the images and the
#    architecture. This agreement is the baseline for the lines of this page.
#
# </details>
#
# ## Summary
#
# - Finetuning is measured block by block, before with after, on images that have to be chosen.
# - Images of the target show what the new task asked for; images of the first training show what is left of the old.
# - A line that falls with depth is what the paper found, and what the tiny networks show for four targets and two sizes. The height of the line in the
#   first blocks says whether low blocks are kept.
#
# **Next:** [Appendix H](H_mixer.ipynb) asks where a network with neither attention nor convolutions stands.
