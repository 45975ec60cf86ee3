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
# # Appendix F: Linear probes on other images
#
# **Question.** The probes of Sections 7 and 8 were trained and tested on one set of images: in the paper on ImageNet, at `tiny` on garments like those that the tiny networks were trained on.
# Do their findings hold on other images?
#
# | | |
# |---|---|
# | **You will learn** | whether what probes found on one set of images holds on another; how to read a probe when the classes are new |
# | **You need** | [Section 7](07_spatial_localization.ipynb) and [Section 8](08_scale_and_transfer.ipynb); [words](../book/glossary.md) |
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
# `.venv/bin/papermill notebooks/F_linear_probes.ipynb out.ipynb -p images ~/photos`; `None` takes the value of the profile.

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

run = seelike.start(globals(), "F_linear_probes")

# %% [markdown]
# ## The images
#
# The paper takes CIFAR-10 and CIFAR-100 beside ImageNet. At the `tiny` profile this page takes handwritten digits and generated textures beside the garments.
# At `pretrained` it takes CIFAR-10 beside the photographs; Sections 7 and 8 probe it at this profile, too. The larger profiles have no other set that
# could be downloaded without asking: there the page uses your images alone.

# %%
import seelike.data

sets = {each.name: each for each in (run.images, run.probe_images)}
for name in run.other_images:
    sets[name] = seelike.data.load(name)
for name, images in sets.items():
    classes = (
        "no classes"
        if images.labels is None
        else f"{len(set(images.labels))} classes"
    )
    print(f"{name}: {len(images):,} images, {classes}")

# %% [markdown]
# ## Measure
#
# Ten images of each class to train on, others to test on, for all networks and sets.

# %%
from seelike.sections.linear_probes import accuracy_by_block, share_drawn


def on(images, names, kind):
    """On one image set: accuracy by network, repeat and block."""
    options = {"tokens": [kind], "repeats": run.repeats, "seed": run.seed}

    def of(name):
        network = {name: run.models[name]}
        return accuracy_by_block(network, images, **options)[name][kind]

    return seelike.where_possible(dict.fromkeys(names), of)


def probes(names, kind):
    """The same for each image set that can be probed."""
    measured = {name: on(images, names, kind) for name, images in sets.items()}
    return {name: found for name, found in measured.items() if found}


# %% [markdown]
# First on the mean of all tokens. Figure F.2 comes before Figure F.1, as it shows the networks of every run.

# %%
data_pairs = run.own_groups("much_and_little_data")
of_data = [name for pair in data_pairs for name in pair]
accuracy = probes([*run.names, *of_data], "mean")

# %% [markdown]
# **Predict.** On images of a kind that no network was trained on: will features of the last block be better than those of the middle?
#
# ## ViTs and CNNs: Figure F.2

# %% mystnb={"figure": {"caption": "Accuracy of probes on the mean of the tokens of each block, for ViTs and CNNs, a panel for each image set (the paper's Figure F.2). Bands are 95 % intervals over draws of images.", "name": "fig-networks-elsewhere"}, "image": {"alt": "A panel for each image set, with a line for each ViT and each CNN: accuracy of probes against relative depth. The claim below compares the largest ViT with the CNNs at half depth."}}
import numpy as np

from seelike import claims, plots


def panels(measured, names):
    """For each image set the lines of some networks."""
    return {
        image_set: lines
        for image_set, found in measured.items()
        if (lines := {n: plots.over_depth(found[n]) for n in names if n in found})
    }


shown = panels(accuracy, run.names)
plots.depth_panels(
    shown, y_label="accuracy", within=(0.0, 1.0)
) if shown else run.say_missing()

# %% [markdown]
# ### A probe by hand
#
# A probe takes three steps: centre the features, solve one linear system, and take the class with the highest score. Here are the weights for two features and
# two classes, first by hand and then by the library.

# %%
import torch

from seelike.probes import RidgeProbe

features = torch.tensor(
    [[0.0, 1.0], [1.0, 0.0], [4.0, 4.0], [5.0, 3.0]], dtype=torch.float64
)
targets = torch.tensor([-1.0, -1.0, 1.0, 1.0], dtype=torch.float64)
x, y = features - features.mean(dim=0), targets - targets.mean()
by_hand = torch.linalg.solve(
    x.T @ x + 0.1 * torch.eye(2, dtype=torch.float64), x.T @ y
)
probe = RidgeProbe(alphas=[0.1]).fit(features, ["low", "low", "high", "high"])
print(by_hand.numpy(), probe.coef_.numpy().round(4))

# %% [markdown]
# ### The claim, on the other image sets
#
# All claims of this page are those of Sections 7 and 8, measured as the mean over the *other* image sets: all sets except this run's own images. Two repeats draw
# their images for probes at random and so share a few of them. `share_drawn` says which part; the intervals of the claims allow for it.

# %%
from seelike.sections.scale_and_transfer import at_half_depth

others = [image_set for image_set in accuracy if image_set != run.images.name]
overlap = max((share_drawn(sets[name]) for name in others), default=0.0)


def elsewhere(measured, names, statistic):
    """A statistic of the probes of some networks, mean over the other image sets."""
    found = [measured.get(each, {}) for each in others]
    known = [
        name for name in names if found and all(name in each for each in found)
    ]
    return [
        np.mean([statistic(each[name]) for each in found], axis=0) for name in known
    ]


# %% [markdown]
# The first claim is that of Figure F.2, at half depth. It takes the largest ViT of this run; tiny networks that stand in do not count.

# %%
claims.record_difference(
    "larger_vits_have_stronger_middle_layers_elsewhere",
    elsewhere(accuracy, run.vits[-1:], at_half_depth),
    elsewhere(accuracy, run.cnns, at_half_depth),
    figure_name="fig-networks-elsewhere",
    overlap=overlap,
    compares="the largest ViT with CNNs, on other images with classes",
)

# %% [markdown]
# ## Much and little data: Figure F.1

# %% mystnb={"figure": {"caption": "Accuracy of probes on the mean of the tokens of each block, for networks on much and on little data, a panel for each image set (the paper's Figure F.1). Bands are 95 % intervals over draws of images.", "name": "fig-data-elsewhere"}, "image": {"alt": "A panel for each image set, with a line for each network: accuracy of probes against relative depth. The claim below compares much with little data at half depth."}}
shown = panels(accuracy, of_data)
plots.depth_panels(
    shown, y_label="accuracy", within=(0.0, 1.0)
) if shown else run.say_missing("much_and_little_data")

# %% [markdown]
# This claim compares networks on much data with networks on little, at half depth, too.

# %%
claims.record_difference(
    "data_buys_better_middle_layers_elsewhere",
    elsewhere(accuracy, [pair[0] for pair in data_pairs], at_half_depth),
    elsewhere(accuracy, [pair[1] for pair in data_pairs], at_half_depth),
    figure_name="fig-data-elsewhere",
    overlap=overlap,
    compares="networks on much and on little data, on other images with classes",
)

# %% [markdown]
# ## Single tokens: Figure F.3
#
# **Predict.** Will the spatial tokens of the ViT with CLS token be as far behind those of the ViT with GAP on other images, too?

# %% mystnb={"figure": {"caption": "Accuracy of probes on single spatial tokens, mean over tokens, for a ViT with CLS token, one with GAP, and CNNs (the paper's Figure F.3). Bands are 95 % intervals.", "name": "fig-tokens-elsewhere"}, "image": {"alt": "A panel for each image set, with a line for each network: accuracy of probes on single tokens against relative depth. The claim below compares the last block of GAP and CLS."}}
gap_pairs = run.own_groups("cls_and_gap")
of_gap = [name for pair in gap_pairs for name in pair]
compared = [*dict.fromkeys([*run.vits[:1], *of_gap, *run.cnns])] or run.names
single = probes(compared, "each")
shown = panels(single, compared)
plots.depth_panels(
    shown, y_label="accuracy, single token", within=(0.0, 1.0)
) if shown else run.say_missing()

# %% [markdown]
# The claim compares the last blocks.


# %%
def last_block(values):
    """The last block's value, per repeat."""
    return values[:, -1]


claims.record_difference(
    "spatial_tokens_of_cls_classify_worse_elsewhere",
    elsewhere(single, [pair[1] for pair in gap_pairs], last_block),
    elsewhere(single, [pair[0] for pair in gap_pairs], last_block),
    figure_name="fig-tokens-elsewhere",
    overlap=overlap,
    compares="single tokens of a ViT with GAP and of one with CLS token, on other images",
)

# %% [markdown]
# ## Many more images for the probe
#
# A probe that fails may lack images: one token has hundreds of features, and ten images of each class are few. So here the probes of the first
# ViT and the first CNN are trained on a thousand images of each class if the set has twice as many, and otherwise on half of what it has.
#
# **Predict.** Which lines will rise most, those of single tokens or those of the mean? Will they rise more in low blocks or in high ones?

# %%
from seelike.sections.linear_probes import accuracy_on_many

kinds = {
    "each": "single tokens",
    "first": "first token",
    "mean": "mean of the tokens",
}
many = seelike.where_possible(
    [*run.vits[:1], *run.cnns[:1]] or run.names[:1],
    lambda name: accuracy_on_many(
        run.models[name], run.probe_images, tokens=[*kinds], seed=run.seed
    ),
)

# %% [markdown]
# Beside these probes stand those on ten images of each class, from above.

# %% mystnb={"figure": {"caption": "Accuracy of probes on single spatial tokens (mean over tokens), on the first token and on the mean of all, trained on ten and on many images of each class. Bands are 95 % intervals: over draws of images for ten, over test images for many.", "name": "fig-many-images"}, "image": {"alt": "A panel for each kind of token, with a line for each network trained on many images of each class, and where it was measured above on ten: accuracy against relative depth."}}
on_ten = {
    "each": single.get(run.probe_images.name, {}),
    "mean": accuracy.get(run.probe_images.name, {}),
}
shown = {}
for kind, title in kinds.items():
    panel = shown.setdefault(title, {})
    for name, lines in many.items():
        if name in on_ten.get(kind, {}):
            panel[f"{name}, ten"] = plots.over_depth(on_ten[kind][name])
        panel[f"{name}, many"] = lines[kind]
plots.depth_panels(
    shown, y_label="accuracy", within=(0.0, 1.0)
) if many else run.say_missing()

# %% [markdown]
# ## Look around
#
# Choose a network and an image set to see the probes on the mean of all tokens, and on single tokens where these were probed.

# %%
figures, alt = {}, {}
for image_set, found in accuracy.items():
    for name, values in found.items():
        label = f"{name} on {image_set}"
        lines = {"mean of the tokens": plots.over_depth(values)}
        if name in single.get(image_set, {}):
            lines["single tokens"] = plots.over_depth(single[image_set][name])
        figures[label] = plots.depth_lines(
            lines, y_label="accuracy", title=label, within=(0.0, 1.0)
        )
        top = ", ".join(f"{kind} {line[1][-1]:.2f}" for kind, line in lines.items())
        alt[label] = f"Accuracy at the last block: {top}."
plots.states(figures, "Network", alt) if figures else run.say_missing()

# %% [markdown]
# With a kernel, any two networks on any set.


# %% tags=["remove-output"]
def two_networks(images, one, other):
    """Draw two networks' probes on the mean of the tokens."""
    lines = {
        name: plots.over_depth(accuracy[images][name]) for name in (one, other)
    }
    return plots.depth_lines(
        lines, y_label="accuracy", title=images, within=(0.0, 1.0)
    )


if accuracy:
    chosen = list(next(iter(accuracy.values())))
    display(
        plots.live(
            two_networks, images=list(accuracy), one=chosen, other=chosen[::-1]
        )
    )

# %% [markdown]
# ## What we take with us
#
# **The paper found** the same on CIFAR-10 and CIFAR-100 as on ImageNet: more data makes better middle layers, large ViTs are better than ResNets at half depth, and single tokens of a ViT with CLS token
# classify poorly.
#
# The claims of this page, in this run:

# %%
claims.on_this_page()

# %% [markdown]
# **The pretrained networks** are probed on CIFAR-10 alone, since the photographs have only one image of each class. At half depth, the difference between ViT and CNN is no larger than
# that between draws of images. Higher up the mean of the ViT's tokens falls again, and that of the CNN rises to the top. With a thousand images of each class every line rises: in low blocks that of the mean rises most, and at the top single tokens rise as much as the mean. So a good part of every low accuracy
# came from probes that had seen too few images. With a thousand images, the single tokens of the ViT are as good as those of the CNN over most of the depth. At the top
# the CNN is slightly ahead on single locations, where the bands touch, and the ViT on its first token, the CLS token.
#
# DINOv2's authors report far higher accuracies on CIFAR-10 for a ViT-S/14. The note at the top of this run says why the ViT-S/14 of this run does not reach them.
#
# **The tiny networks** show none of this on digits and textures. Much or little data makes no difference that can be told from zero, and on textures the networks on little
# data are, if anything, ahead. At half depth, the larger ViT is far worse than the ResNet on textures, and not on digits. There are so few digits that the draws share most of
# them, so that the intervals are wide and all claims stay open. On garments, single tokens of the ViT with CLS token
# classify worse than those of the ViT with GAP; on digits they classify better, and on textures worse. So for the tiny networks these claims are about garments only.
#
# **Why.** CIFAR is nearer to ImageNet than digits and textures are to garments. On images of another kind the last blocks may be worse than the middle ones: they tell apart what they were trained to tell apart, and
# nothing else.
#
# ## Try it yourself
#
# Put a number or a function in the place of `None` and run the cell: it says what is off.
#
# **F.1** Write the weights of a ridge regression of features `[images, features]` on targets `[images]` with a given strength. A constant is fitted, too,
# and is not penalised.

# %% tags=["exercise", "show-code"]
from seelike import exercises

answer = None
exercises.check("F.1", answer)

# %% [markdown]
# And to look into with the page itself:
#
# 1. On which set does the accuracy fall towards the top, and why?
#
# <details><summary>Answers</summary>
#
# **F.1**
#
# ```python
# import numpy as np
#
# def answer(X, y, strength):
#     X, y = X - X.mean(axis=0), y - y.mean()
#     return np.linalg.solve(X.T @ X + strength * np.eye(X.shape[1]), X.T @ y)
# ```
#
# 1. On the set whose classes have least to do with the classes of training. The network discards what tells the new classes apart, because the classes of training do not need it. The tiny networks were trained to tell ten garments apart.
#
# </details>
#
# **Next:** [Appendix G](G_finetuning.ipynb), on finetuning.
