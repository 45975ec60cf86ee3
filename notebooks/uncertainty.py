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
# # How sure are we?
#
# **Question.** Each number in this book was measured on some images and on some networks. Other images would give another number, and so
# would other trainings of the same network. How much of what we see is chance?
#
# | | |
# |---|---|
# | **You will learn** | which of the two, images or trainings, moves a number more; what a control is for; when a difference is too small to care about |
# | **You need** | [Section 3](03_background.ipynb) for CKA, [Section 5](05_local_global.ipynb) for attention distance, [Section 8](08_scale_and_transfer.ipynb) for shares of the data |
# | **Cost** | about a minute on two CPU cores: the networks are the tiny ones, at every profile |

# %% tags=["remove-cell"]
# Colab only: install the library when it is missing.
import importlib.util

if importlib.util.find_spec("seelike") is None:
    _repository = "git+https://github.com/seelike/seelike"
    get_ipython().run_line_magic(
        "pip", f'install -q "seelike[hub] @ {_repository}"'
    )

# %% [markdown]
# Every page has these parameters; this page uses only `number_of_images`, `batch_size`, `repeats` and `seed`.

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

run = seelike.start(globals(), "uncertainty")

# %% [markdown]
# ## Three ways to be wrong
#
# - **The images.** We measure on some hundred of them. Each *draw* of images gives another number.
# - **The training.** A network begins with random weights and sees its images in a random order. Each *training*, with another seed, gives another network.
# - **The cause.** A number may be large for a reason that has nothing to do with the claim. A *control* is a network that should not have the effect. If it has it
#   too, the claim is not wrong, but it says less than it seems to.
#
# We look at three claims of the paper, and draw everything. This page uses the smallest ViT and the smallest ResNet of this book, trained from several seeds until they are
# equally accurate.
#
# ## Are the layers of a ViT more uniform?
#
# Section 4 compares all pairs of different layers of a network by CKA. Here the number is their mean CKA, ViT minus ResNet. Control: the same before any training.
#
# **Predict.** What moves that number more: another draw of the images, or another training?

# %%
from seelike.models import load, training_records
from seelike.sections.twins import twins

VIT, RESNET = "tiny/vit_7x7_small", "tiny/resnet_short"
again = twins(training_records(), "seed", first=0)
vits = [VIT, *(record.name for record in again.get(VIT, []))]
resnets = [RESNET, *(record.name for record in again.get(RESNET, []))]
label = {name: f"ViT, seed {number}" for number, name in enumerate(vits)}
label |= {name: f"ResNet, seed {number}" for number, name in enumerate(resnets)}
print(f"{len(vits)} trainings of the ViT, {len(resnets)} of the ResNet")

# %%
from seelike.cka import compare_models
from seelike.data.draws import overlap
from seelike.sections.representation_structure import mean_off_diagonal

garments = seelike.data.load("fashion-mnist/test")
amounts = {"number_of_images": run.number_of_images, "seed": run.seed}
amounts |= {"batch_size": run.batch_size, "repeats": run.repeats}
shared = overlap(len(garments), run.number_of_images, run.seed, run.repeats)


def uniformity(name):
    """Mean over all pairs of different layers of a network, on each draw: of CKA, and of shared neighbours."""
    found = compare_models({name: load(name)}, garments, neighbours=True, **amounts)
    both = found, found.by_neighbours
    return [mean_off_diagonal(each.between(name, name)) for each in both]


# %%
from seelike import claims

before = {name: uniformity(f"{name}:random")[0] for name in (VIT, RESNET)}
both = {name: uniformity(name) for name in [*vits, *resnets]}
groups = [
    [
        {label[name]: both[name][measure] for name in names}
        for names in (vits, resnets)
    ]
    for measure in (0, 1)
]
uniform = claims.evaluate(
    "uniform_layers", *groups[0], by_neighbours=groups[1], overlap=shared
)

# %% mystnb={"figure": {"caption": "Everything behind the verdict on uniform layers. Small dots are draws of images, large ones the mean of a training; grey is the control. Blue rows are ViTs, each against the mean of the ResNets, and orange rows are ResNets, each against the mean of the ViTs. The diamond is the mean with its 95 % interval. In the shaded band an effect is too small to be of interest.", "name": "fig-evidence-uniform"}, "image": {"alt": "A row of dots for each training, a grey row for the control, and a diamond with the interval at the bottom. The title says the verdict; the numbers below say how far draws and trainings lie apart."}}
from seelike.plots.evidence import draws_and_trainings

untrained = {"before training": before[VIT] - before[RESNET]}
draws_and_trainings([uniform], [untrained])

# %% [markdown]
# The small dots of one row are draws of images, and the coloured rows are trainings. How far apart are draws, and how far are trainings?

# %%
import numpy as np


def spreads(result):
    """Print how far draws, and trainings, of the first group lie apart."""
    values = np.array(list(result.groups[0].values()))
    draw = values.std(axis=1, ddof=1).mean()
    training = values.mean(axis=1).std(ddof=1)
    print(
        f"standard deviation {draw:.4f} over draws, {training:.4f} over trainings: "
        f"{training / draw:.1f} times"
    )


spreads(uniform)

# %% [markdown]
# Another training moves this number somewhat more than another draw. The grey row lies far to the right of all others: before training, the ViT's layers are much more uniform than the
# ResNet's. Training does not make this difference, but takes it away.
#
# ## Are heads less local on little data?
#
# Section 5 measures how far each head looks. The number here is about the nearest head of the two lowest blocks. How far does it look, as a share of uniform attention, in a network trained on a tenth of the images,
# minus the same for networks on all of them?
#
# The networks are *twins*: they began with the same weights. There are two on all data, which saw the images in different orders, and the number takes their mean. Control: the second of them minus the first. These two differ by chance alone.
#
# **Predict.** Will the grey rows, of the control, lie around zero? How far from zero would a tenth of the data have to move the number, for you to believe that it is the data?

# %%
from seelike.sections.local_global import measure_heads

seeds = range(run.seed, run.seed + run.repeats)
draws = [garments.sample(run.number_of_images, seed=each) for each in seeds]
trained = {record.name for record in training_records()}


def twin(name, what):
    """The name of a twin: in it, what is different precedes the seed."""
    return name.replace(VIT, f"{VIT}_{what}")


def nearest(name):
    """Distance of the nearest head of the two lowest blocks, as a share of uniform, on each draw."""
    return measure_heads(load(name), draws).nearest_low


# %%
triples = {
    name: (twin(name, "10_percent"), twin(name, "other_order"))
    for name in vits
    if {twin(name, "10_percent"), twin(name, "other_order")} <= trained
}
distance = {name: nearest(name) for name in triples}
reordered = {name: nearest(other) for name, (_, other) in triples.items()}
few_images = {
    label[name]: nearest(few) - (distance[name] + reordered[name]) / 2
    for name, (few, _) in triples.items()
}
local = claims.evaluate(
    "little_data_gives_no_local_heads", few_images, overlap=shared
)

# %% mystnb={"figure": {"caption": "Everything behind the verdict on local heads. Small dots are draws of images, large ones the mean of a training: blue for twins on a tenth of the data, grey for the two on all data. The diamond is the mean of the blue ones with its 95 % interval. In the shaded band an effect is too small to be of interest.", "name": "fig-evidence-local"}, "image": {"alt": "A blue row of dots for each twin on a tenth of the data, a grey row for each twin on all data, and a diamond with the interval at the bottom. The title says the verdict; the numbers below say how far draws and trainings lie apart."}}
all_again = {
    f"{label[name]}, all data": reordered[name] - distance[name] for name in triples
}
draws_and_trainings([local], [all_again])

# %%
spreads(local)

# %% [markdown]
# Here another training moves the number far more than another draw. Networks that saw all of the data again differ about as much as networks that saw a tenth of it. So a difference between two single networks
# says nothing about the data.
#
# ## Do low layers need less data than high ones?
#
# Section 8 compares each block of a network with the same block of the network on all data, by CKA. The number says how far this CKA falls from the first block to the last for a twin on a tenth of the data, minus
# the same fall for a twin on all data in another order. Control: a network from another seed, on all data, in the place of the twin on a tenth.

# %%
from seelike.cka import compare_pairs
from seelike.sections.scale_and_transfer import first_minus_last_block


def fall(name, other):
    """CKA of each block with the same block of another network: first minus last, on each draw."""
    found = compare_pairs(load(name), load(other), garments, **amounts)
    return first_minus_last_block(found.cka)


chance = {name: fall(name, twin(name, "other_order")) for name in triples}

# %%
tenth = {
    label[name]: fall(name, twin(name, "10_percent")) - chance[name]
    for name in triples
}
low = claims.evaluate("low_layers_need_little_data", tenth, overlap=shared)

# %% mystnb={"figure": {"caption": "Everything behind the verdict on low layers. Small dots are draws of images, large ones the mean of a training: blue for twins on a tenth of the data, grey for networks from another seed on all data. The diamond is the mean of the blue ones with its 95 % interval. In the shaded band an effect is too small to be of interest.", "name": "fig-evidence-low"}, "image": {"alt": "A blue row of dots for each twin on a tenth of the data, a grey row for each network from another seed, and a diamond with the interval at the bottom. The title says the verdict; the numbers below say how far draws and trainings lie apart."}}
names = list(triples)
other_seed = {
    f"{label[name]}, {label[other].removeprefix('ViT, ')}": fall(name, other)
    - chance[name]
    for name, other in zip(names, names[1:] + names[:1], strict=True)
}
draws_and_trainings([low], [other_seed])

# %%
spreads(low)

# %% [markdown]
# Where the title says *does not hold*, an effect as large as the margin is excluded. Again trainings differ more than draws, and networks from another seed differ about as much as twins on a tenth of the data.
#
# ## What an interval covers
#
# In all three figures trainings differ more than draws, in one of them far more. So an interval that covers images alone is too narrow for a statement about ViTs. Claims on public networks can only have such an interval. They are marked *in these
# networks*: they say what these networks do, and not what another training would do. The networks here are fewer than those of Sections 4, 5 and 8, or different ones, so a verdict here can differ from the verdict there.
#
# Up to eight draws of a run have no image in common where the set has enough images. In a small folder draws share some, and differ less than draws from all photographs would. Probes draw their images at random, so
# that two repeats share a few. The intervals of claims allow for shared images ([Nadeau and Bengio, 2003](https://doi.org/10.1023/A:1024068626366)). Bands in figures and numbers in tables do not: where draws of a run
# share images, a note at the top of the page says so.
#
# ## The rule
#
# Each claim has a *smallest effect of interest*. We chose it after a first round of measurements, for a reason that stands in the [scoreboard](../book/scoreboard.md): it is our choice, and another is possible. The claim holds if its whole
# interval lies beyond this effect. It is reversed if the interval lies as far on the other side, and negligible if it lies between. If the interval reaches further down but ends below the margin, the claim does not hold. If the margin is in the interval, the claim is undecided. All claims are then
# corrected together, since some of forty tests err by chance. The scoreboard tells the whole rule.
#
# ## Try it yourself
#
# Put a number in the place of `None` and run the cell: it says what is off.
#
# **uncertainty.1** A claim has an interval over three trainings, which differ far more than draws of images do. How many trainings does it take, in all, to halve the interval?

# %% tags=["exercise", "show-code"]
from seelike import exercises

answer = None
exercises.check("uncertainty.1", answer)

# %% [markdown]
# And to look into with the page itself:
#
# 1. Set `repeats` to 20. Which of the intervals becomes narrower, and which does not? Why?
#
# <details><summary>Answers</summary>
#
# **uncertainty.1** `answer = 5`. The interval shrinks with the square root of the number of trainings, and with few trainings Student's factor shrinks, too. For n trainings the width goes with
# `scipy.stats.t.ppf(0.975, n - 1) / n**0.5`: compare three and five.
#
# 1. More draws make the mean of each training more certain. They do not change the spread of trainings. Where the spread of trainings is the larger of the two, the interval stays as wide.
#
# </details>
#
# **Next:** [the scoreboard](../book/scoreboard.md), on which every claim of the paper stands with its verdict.
