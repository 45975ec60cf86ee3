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
# # The tiny networks
#
# **Question.** For many of the paper's comparisons there are no public checkpoints: networks without some skip connections, trained on a tenth of the
# data, or finetuned step by step. So this book trains its own. What are they, how well did
# they learn, and what can they stand for?
#
# | | |
# |---|---|
# | **You will learn** | which networks stand in for which of the paper's; how much a skip connection, a class token or the number of images is worth in accuracy |
# | **You need** | to know what a ViT, a ResNet and an MLP-Mixer are |
# | **Cost** | a minute on two CPU cores: accuracies are read from the records of training, CKA and attention distances are measured |
#
# They are small: 28 x 28 grey images of garments (Fashion-MNIST), ten classes, 0.1 to 1.6 million parameters. The paper's
# ViTs have 86 to 632 million and saw 300 million photographs. An effect that the tiny networks show is no proof for large
# ones, and one that they do not show is no refutation; every page says what it measured on which.

# %% tags=["remove-cell"]
# Colab only: install the library when it is missing.
import importlib.util

if importlib.util.find_spec("seelike") is None:
    _repository = "git+https://github.com/seelike/seelike"
    get_ipython().run_line_magic(
        "pip", f'install -q "seelike[hub] @ {_repository}"'
    )

# %% [markdown]
# Every page has these parameters. This page takes no `models` and no `images`: they are always its own.

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
# One line loads what the parameters name.

# %%
import seelike

run = seelike.start(globals(), "tiny_networks")

# %% [markdown]
# Training leaves a record beside the weights of each network. The accuracy is that of the weights as they are stored, on
# test images that were never trained on.

# %%
from seelike.models import model_card, training_record, training_records

with_checkpoints = training_records()
records = [
    record
    for record in with_checkpoints
    if "checkpoint_of" not in record.configuration
]

# %% [markdown]
# ## What they are called
#
# The names say what a network is.
#
# - `vit_7x7` cuts an image into 7 x 7 patches and stands in for ViT-B/32 of the paper, `vit_14x14` for ViT-B/16. `large` and
#   `largest` are one and a half times and twice as wide, and stand in for ViT-L/16 and ViT-H/14; unlike those they keep 7 x 7 patches,
#   which takes a sixth of the time. `small` is half as wide.
# - `gap` classifies by the mean of its tokens (global average pooling) instead of a class token.
# - `without_skips_4` has no skip connections in block 4: neither around its attention nor around its MLP.
# - `10_percent` saw a tenth of the images of each class; the images of a smaller share are part of those of a larger share.
# - `seed_1` began with other weights and saw the images in another order; `other_order` began with the same weights. The smallest ViT and the smallest
#   ResNet are trained several times, to see how far apart two trainings are that differ only by chance. The variants of this ViT without skips, with
#   GAP and on shares of the data come in threes. Each variant is the **twin** of an intact network: the same weights before training, the same images
#   in the same order.
# - `on_digits` began with the weights of the network whose name precedes it, all but its classifier, and was trained on another set.

# %% [markdown]
# ## How they learned
#
# **Predict.** One network saw each of 60,000 images ten times, another each of 1,800 images three hundred times. Which curve rises faster, and which ends higher?
#
# The horizontal axis counts images seen, so that networks on little data and on much can be laid side by side: one on 3 %
# of the data sees each image many times.

# %% mystnb={"figure": {"caption": "Accuracy on the test images during training, by the number of training images seen, each repetition counted. Of networks that were trained from several seeds, the first training.", "name": "fig-learning-curves"}, "image": {"alt": "A panel of rising curves for each group of networks, accuracy against training images seen on a logarithmic axis: networks on all data, trainings of the smallest ViT on all data, networks without the skip connections of one block, on shares of the data, and finetuned. The table below gives the last value of each."}}
from seelike import plots

panels = {}
for record in (record for record in records if "_seed_" not in record.name):
    # "ViTs on all images" and "ResNets on all images" share a panel.
    title = record.group.partition(" ")[2].capitalize()
    if title == "On all images" and record.configuration.get("embed_dim") == 32:
        title = "The smallest ViT, on all images"
    panels.setdefault(title, []).append(record)
plots.learning_curves(panels)

# %% [markdown]
# A network on little data climbs as fast as one on all data at first, and then stays behind. It sees no new images, however often it sees the old ones.
#
# Are they trained to the end? That is, how much did accuracy still rise in the last tenth of a training?

# %%
from seelike.sections.twins import last_gain

gains = last_gain(records)
steepest = max(gains, key=gains.get)
print(
    f"{len(gains)} curves; the steepest, of {steepest}: "
    f"{100 * gains[steepest]:.1f} points in the last tenth"
)

# %% [markdown]
# The learning rate falls to zero, which flattens every curve. A flat curve does not say that a longer training would give no better network.

# %% [markdown]
# ## The table
#
# Trainings that differ in their seed alone share a line. Where no set of images is named, a network was trained on garments (Fashion-MNIST).

# %%
cards = model_card(records)
# What stands behind ± is the same for all trainings of a line.
accuracies = cards.pop("accuracy (%)").str.split(" ± ", expand=True)
cards["accuracy (%)"], cards["±"] = accuracies[0], accuracies[1]
cards["trained on"] = cards["trained on"].str.removesuffix(" fashion-mnist")
without_seed = cards.index.str.replace(r"_seed_\d+$", "", regex=True)
joined = {"accuracy (%)": ", ".join, "minutes": ", ".join}
cards.groupby(without_seed, sort=False).agg(dict.fromkeys(cards, "first") | joined)

# %% [markdown]
# The number after ± is the binomial error of the first accuracy, `sqrt(a (1 - a) / n)`: one standard error, and not a 95 % interval as elsewhere. It says how much another draw of test images would change the
# accuracy. The lines with several accuracies show how much another training would change it.
#
# ### Where and how they were trained

# %%
for device in sorted(
    {f"{record.device}, {record.precision}" for record in records}
):
    of_device = [
        record
        for record in records
        if f"{record.device}, {record.precision}" == device
    ]
    hours = sum(record.seconds for record in of_device) / 3600
    print(f"{len(of_device)} networks on {device}: {hours:.1f} hours in all")

# %% [markdown]
# Every image is shifted by up to two pixels, mirrored with probability one half (digits are not), and in a quarter of the
# images a square is erased. The optimiser is AdamW with a linear warm-up and a cosine decay; all settings are in
# [`seelike.train`](../book/reference_models.md) and in one table, `lib/seelike/models/tiny.toml`. To train one again, or all:
#
# ```bash
# python -m seelike.train vit_7x7_gap
# python -m seelike.train --family vit_7x7_small --at-once 8 --device cuda
# python -m seelike.train --all
# ```
#
# The second trains networks that differ in seed, share of the data, removed skips or pooling side by side, as one model: small networks do not fill a
# GPU, many together do. The third trains all that have no weights yet. A run that was stopped goes on where it was.

# %% [markdown]
# ## What comes about when?
#
# Some trainings have checkpoints: the network before training, and after some passes over the images. So each measure of this book can be followed
# during training.
#
# **Predict.** A network learns from its top: the loss is there. Which of its blocks settle first, the low ones or the high ones?

# %%
from seelike.models import load

on_the_way = {}
for record in with_checkpoints:
    if end := record.configuration.get("checkpoint_of"):
        epochs = record.configuration["after_epochs"]
        on_the_way.setdefault(f"tiny/{end}", {})[epochs] = record.name
for end, found in on_the_way.items():
    print(
        f"{end}: after {', '.join(map(str, sorted(found)))} epochs, and at the end"
    )

# %% [markdown]
# Each checkpoint is compared with the end of the same training, block by block, on images that it was not trained on.

# %%
from seelike.cka import compare_pairs

garments = seelike.data.load("fashion-mnist/test")
amounts = {"number_of_images": run.number_of_images, "batch_size": run.batch_size}
amounts |= {"repeats": run.repeats, "seed": run.seed}


def with_the_end(name, end):
    """CKA of each block of a network with the same block of another, per repeat."""
    return compare_pairs(load(name), load(end), garments, **amounts).cka


# %% mystnb={"figure": {"caption": "CKA of each block on the way with the same block at the end of the training. Bands are 95 % intervals over draws of images.", "name": "fig-on-the-way"}, "image": {"alt": "A panel for each training with a line for each checkpoint, from before training to shortly before the end. Horizontal axis: block. Vertical axis: CKA with the same block at the end."}}
from seelike.claims import mean_and_uncertainty

panels = {}
for end, found in on_the_way.items():
    for epochs, name in sorted(found.items()):
        values = with_the_end(name, end)
        passes = "epoch" if epochs == 1 else "epochs"
        label = f"after {epochs} {passes}" if epochs else "before training"
        line = range(1, values.shape[1] + 1), *mean_and_uncertainty(values)
        panels.setdefault(end, {})[label] = line
plots.line_panels(panels, x_label="block", y_label="CKA with the end")

# %% [markdown]
# The first block changes least: its CKA with the end is high before any training. A high CKA does not need learning, since the images alone can produce it. The higher a block is,
# the later it reaches its final state, in the ViT and in the ResNet. [Raghu et al. (2017)](https://arxiv.org/abs/1706.05806)
# saw this in CNNs: networks settle from the bottom up.
#
# We also follow two measures of Sections 4 and 5: how uniform the CKA map is, and how near the nearest head of the two lowest blocks looks.

# %%
from seelike.cka import compare_models
from seelike.sections.local_global import measure_heads
from seelike.sections.representation_structure import mean_off_diagonal

seeds = range(run.seed, run.seed + run.repeats)
draws = [garments.sample(run.number_of_images, seed=each) for each in seeds]


def measured(name):
    """How uniform the map of a network is, and of a ViT how far its nearest low head looks."""
    model = load(name)
    within = compare_models({name: model}, garments, **amounts).between(name, name)
    found = {"mean CKA of all pairs of layers": mean_off_diagonal(within)}
    if "vit" in name:
        nearest = measure_heads(model, draws, batch_size=run.batch_size).nearest_low
        found["nearest low head, as a share of uniform"] = nearest
    return found


# %% [markdown]
# Each is measured at every checkpoint, and at the end.

# %%
import numpy as np

rows = {}
for end, found in on_the_way.items():
    last = training_record(end).configuration["epochs"]
    for epochs, name in sorted({**found, last: end}.items()):
        for measure, values in measured(name).items():
            of_end = rows.setdefault(measure, {}).setdefault(end, ([], []))
            of_end[0].append(epochs)
            of_end[1].append(values)

# %% mystnb={"figure": {"caption": "Two measures along the training of a network, by the number of passes over its images. Bands are 95 % intervals over draws of images.", "name": "fig-measures-on-the-way"}, "image": {"alt": "A panel for each measure. Horizontal axis: epochs, from zero to the end of the training. Vertical axis: the measure. A line for each network."}}
panels = {
    measure: {
        end: (epochs, *mean_and_uncertainty(np.array(values).T))
        for end, (epochs, values) in lines.items()
    }
    for measure, lines in rows.items()
}
plots.line_panels(panels, x_label="epochs", y_label="measure")

# %% [markdown]
# Training makes the ViT's map less uniform and the ResNet's more: before training the ViT's is by far the more uniform one, after the first epoch the two are about level, and then they change places. So the uniform map
# that the paper shows of trained ViTs is what this ViT begins with, and not what it learns. The nearest low head of the ViT comes nearer from checkpoint to checkpoint, and still looks far at the end.
#
# ## What is a skip connection worth?
#
# The paper trains ViTs in which one block hands on only what its branches make, without the sum. Figure 8 shows what
# that does to the representations. Here we ask what it costs.
#
# **Predict.** The network has eight blocks. Without the skips of which one does it lose most: the first, one in the
# middle, or the last? More or less than the four points of accuracy that the paper reports?
#
# Twins are compared on the same test images, in ten parts: an image that is hard for one is hard for the other, and the
# difference has a smaller error than either accuracy. Where a network was trained from several seeds, these vary, too.

# %%
from seelike import claims
from seelike.models import accuracy_difference
from seelike.sections.twins import twins

cut = twins(records, "without_skips")
for intact, without in cut.items():
    for record in without:
        lost = accuracy_difference(training_record(intact), [record])
        mean, half_width = claims.mean_and_uncertainty(lost)
        print(
            f"{record.name}: {100 * mean:.1f} ± {100 * half_width:.1f} points less"
        )

# %% [markdown]
# The claim is about middle blocks: all but the first and the last. Its unit is the training, so it takes the network that was
# trained from several seeds.

# %%
from seelike.evidence import trained_most

lost = {}
for intact, without in cut.items():
    depth = training_record(intact).configuration["depth"]
    middle = [r for r in without if 1 < r.configuration["without_skips"] < depth]
    if middle:
        lost[intact] = accuracy_difference(training_record(intact), middle)
claims.record(
    "middle_skips_are_worth_accuracy",
    {name: lost[name] for name in trained_most(lost)},
    figure_name="fig-learning-curves",
)

# %% [markdown]
# ## Class token or mean?
#
# **Predict.** One ViT gathers what it knows in a class token, the other gives the mean of all its tokens to the classifier.
# Which is more accurate?
#
# The paper finds the two equal. "Equal" cannot be shown, so we say beforehand what difference still counts as equal: one
# point.

# %%
difference = {
    intact: -accuracy_difference(training_record(intact), gap)
    for intact, gap in twins(records, "pooling", first="cls").items()
}
for intact, parts in difference.items():
    print(f"{intact}: with GAP {100 * parts.mean():.1f} points more")
claims.record(
    "gap_trains_as_well",
    {name: difference[name] for name in trained_most(difference)},
    figure_name="fig-learning-curves",
)

# %% [markdown]
# ## Did any head become local?
#
# With enough data, some heads in the lowest blocks of a ViT look only at patches nearby; with little data none does (the
# paper's Figures 3 and 4, which Section 5 tests). One number shows whether our ViTs had enough data: the attention distance of the nearest head of the first two blocks, as a share of the distance of a head that looks everywhere alike.

# %%
from seelike.attention import attention_distances

some = garments.sample(128, seed=0)
nearest = {}
for record in records:
    if (
        record.configuration["architecture"] == "vit"
        and "without_skips" not in record.configuration
    ):
        blocks = list(attention_distances(load(record.name), some).values())
        nearest[record.name] = [b.distance.min() / b.uniform for b in blocks[:2]]

# %% [markdown]
# For each block, the cell prints the range over all these ViTs: from the ViT whose nearest head looks nearest to the ViT whose nearest head looks
# farthest.

# %%
for block in (0, 1):
    ordered = sorted(nearest, key=lambda name: nearest[name][block])
    ends = [
        f"{nearest[name][block]:.2f} ({name})" for name in (ordered[0], ordered[-1])
    ]
    print(f"block {block + 1}, {len(ordered)} ViTs: from {' to '.join(ends)}")

# %% [markdown]
# 1 is a head that looks everywhere alike, 0 one that looks at its own patch only. The paper's nearest heads in low blocks are far below one half.
#
# ## What we take with us
#
# The claims of this page, in this run:

# %%
claims.on_this_page()

# %% [markdown]
# And in words:
#
# - **Of the blocks tested, only the first clearly needs its skip connections.** Without the skip connections of the first block a ViT loses a few points of accuracy, in every training. Without those of a middle block
#   it loses about as much as our margin, so that claim is undecided, and without those of the last block nothing that can be seen. The paper's ViTs have twelve blocks and more, and lose four points in the middle.
# - **Class token or mean of the tokens: no clear difference.** In some pairs the ViT with GAP is more accurate, in others the one with a CLS token, and none of the differences is large.
# - **No head became local.** The nearest ones of the lowest blocks look more than half as far as uniform attention.
# - **They are trained, but not to the end.** The schedules are what two CPU cores can do in some hours. The table says how long each was; with a GPU the same
#   command trains them longer, and every page is made anew from the new weights.
# - **Compare within a group.** Networks of one group differ in one thing only. The exceptions are `vit_14x14`, `large` and `largest`, for which a pass takes
#   several times as long, and `resnet_wide` and `resnet_short`: these were trained for fewer passes. This may be why the larger ViTs are less accurate. Across groups the number of
#   passes differs, too: networks on little data saw each image more often. The smallest ViT saw as many images in all as on all data, the larger ones and the ResNets fewer.
# - **Chance.** The errors in the table cover only the draw of test images. Claims that rest on several trainings also cover the differences between
#   trainings, and say how many trainings there were.
#
# ## Try it yourself
#
# Put a name in the place of `None` and run the cell: it says what is off.
#
# **tiny.1** Which network of the table differs from `vit_7x7` in nothing but the class token? Give its name, such as `"vit_14x14"`.

# %% tags=["exercise", "show-code"]
from seelike import exercises

answer = None
exercises.check("tiny.1", answer)

# %% [markdown]
# And to do:
#
# 1. Add a network: copy three lines of the table `lib/seelike/models/tiny.toml` under a new name, change one entry, and train it with
#    `python -m seelike.train NAME`. It is then `tiny/NAME` on every page.
#
# <details><summary>Answers</summary>
#
# **tiny.1** `answer = "vit_7x7_gap"`.
#
# 1. `like = "vit_7x7"` takes over everything that you do not change.
#
# </details>
#
# **Next:** [the scoreboard](../book/scoreboard.md).
