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
# # Appendix A: Methods
#
# **Question.** The paper estimates CKA from minibatches of 1,024 images, ten of them, and repeats that twenty times. Would other amounts give other pictures?
#
# | | |
# |---|---|
# | **You will learn** | what the protocol is; how much a CKA moves with the size of the minibatch and with the number of images; how this book's networks and images differ from the paper's |
# | **You need** | [Section 3](03_background.ipynb); [words](../book/glossary.md) |
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
# `.venv/bin/papermill notebooks/A_methods.ipynb out.ipynb -p images ~/photos`; `None` takes the value of the profile.

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

run = seelike.start(globals(), "A_methods")

# %% [markdown]
# ## The protocol
#
# Each minibatch of n images gives three numbers for each pair of layers: the HSIC of the two layers with each other, and the HSIC of each layer with
# itself. Each of the three is averaged over the minibatches, and only then are the averages divided. [Section 3](03_background.ipynb) explains this
# step by step. The estimate of HSIC is unbiased for any n: a small minibatch brings noise, but no error in one direction.
#
# ## Other amounts
#
# **Predict.** A quarter of the minibatch size, or a quarter of the images: how far does a CKA of 0.8 move, by 0.1, by 0.01, by 0.001?
#
# We compare all layers of the first two networks: with the profile's amounts, with minibatches of a half and a quarter of the size, and with
# half and a quarter of the images.

# %%
from seelike.cka import compare_models

names = list(run.models)[:2]


def compare(number, size):
    """CKA of all layers of both, on a number of images in minibatches of a size."""
    return compare_models(
        {name: run.models[name] for name in names},
        run.images,
        number_of_images=number,
        batch_size=size,
        repeats=run.repeats,
        seed=run.seed,
        device=run.device,
    )


# %% [markdown]
# Minibatches need four images or more.

# %%
number, size = full = (run.number_of_images, run.batch_size)
amounts = {(number, size // part) for part in (1, 2, 4)}
amounts |= {(number // part, size) for part in (2, 4)}
comparisons = {
    amount: compare(*amount)
    for amount in sorted(amounts, reverse=True)
    if 4 <= amount[1] <= amount[0]
}

# %% [markdown]
# For each setting: the differences of all CKA from those of the profile's own amounts, repeat by repeat.

# %%
import numpy as np


def every_pair(comparison):
    """CKA of all pairs of different layers, `[repeats, pairs]`."""
    maps = [comparison.between(a, b) for a in names for b in names]
    return np.concatenate([m.reshape(len(m), -1) for m in maps], axis=1)


reference = every_pair(comparisons[full])
differences = {
    amount: every_pair(comparison) - reference
    for amount, comparison in comparisons.items()
    if amount != full
}
for (number, size), difference in differences.items():
    mean = difference.mean(axis=0)
    print(f"{number:>6} images in minibatches of {size:>4}:", end=" ")
    print(f"mean {np.nanmean(mean):+.4f}, largest {np.nanmax(np.abs(mean)):.4f}")

# %% mystnb={"figure": {"caption": "How far CKA moves from that of the profile's own amounts, for all pairs of layers of two networks: median, quartiles and extremes of the mean over draws of images (Appendix A of the paper).", "name": "fig-amounts"}, "image": {"alt": "A box for each setting of images and minibatch: differences of CKA from the reference setting, around zero. The claim below gives their mean size."}}
from seelike import plots

boxes = {
    f"{number:,} images,\nminibatches of {size}": difference.mean(axis=0)
    for (number, size), difference in differences.items()
}
plots.boxes(boxes, label="difference of CKA") if boxes else print(
    "No smaller amounts to compare with: give more images."
)

# %% [markdown]
# "No noticeable effect" is not a number. The margin on the claim's card is a difference too small to see in a map. We ask whether the mean absolute
# difference over all pairs of layers stays within this margin, in the setting where the difference is largest. Noise counts as a difference, and with
# fewer images the estimates scatter more.

# %%
from seelike import claims

sizes = [np.abs(each).mean(axis=1) for each in differences.values()]
claims.record(
    "batch_size_has_no_effect_on_cka",
    np.max(sizes, axis=0) if sizes else [],
    figure_name="fig-amounts",
    otherwise="This run has no smaller amounts to compare with: give more images.",
)

# %% [markdown]
# ### The estimate, by hand
#
# Random numbers have a true HSIC of zero. The estimates from small minibatches scatter more, but the mean is the same for every n.

# %%
import torch

from seelike.cka import hsic

torch.manual_seed(0)
for n in (8, 32, 128):
    values = [hsic(torch.randn(n, 4), torch.randn(n, 4)) for _ in range(200)]
    error = np.std(values) / np.sqrt(len(values))
    print(
        f"n = {n:>3}: mean {np.mean(values):+.3f} +- {error:.3f}, scatter {np.std(values):.3f}"
    )

# %% [markdown]
# ## Look around
#
# The map of the first network at each setting.

# %%
from dataclasses import replace

figures, alt = {}, {}
for (number, size), comparison in comparisons.items():
    label = f"{number:,} images, minibatches of {size}"
    drawn = plots.map_between(comparison, names[0], names[0])
    figures[label] = plots.cka_maps([replace(drawn, title=label)])
    alt[label] = f"Mean CKA {comparison.mean(names[0], names[0]).mean():.3f}."
plots.states(figures, "Amount", alt)

# %% [markdown]
# With a kernel, you can compare one layer of the first network with all others, at two settings.

# %% tags=["remove-output"]
settings = {
    f"{key[0]:,} images in minibatches of {key[1]}": key for key in comparisons
}


def two_amounts(layer, one, other):
    """Draw a row of the map at two settings."""
    lines = {}
    for setting in (one, other):
        whole = comparisons[settings[setting]].between(names[0], names[0])
        lines[setting] = plots.over_depth(whole[:, layer])
    return plots.depth_lines(lines, y_label="CKA")


count, labels = len(comparisons[full].layers[names[0]]), list(settings)
display(plots.live(two_amounts, layer=range(count), one=labels, other=labels[::-1]))

# %% [markdown]
# ## Networks and images
#
# | | the paper | this book, `tiny` | this book, `pretrained` | this book, `colab` and `paper` |
# |---|---|---|---|---|
# | ViTs | B/32, B/16, L/16, H/14, trained on JFT-300M or ImageNet | 28 x 28 pixels, 49 or 196 tokens, 0.1 to 1.6 million parameters, trained on Fashion-MNIST | public checkpoints of size S: DINOv2 S/14, trained without labels, and S/16, trained on ImageNet | public checkpoints trained on ImageNet-21k, or on ImageNet |
# | CNNs | ResNet50x1 and 152x2 with group norm and weight standardisation (BiT) | two ResNetV2 of the same kind, with 8 and 13 blocks | public checkpoints of EfficientNet-Lite0 and -Lite2 and of ResNet50, trained on ImageNet | public BiT checkpoints |
# | ViT with GAP | trained like the others, with a lower learning rate | trained like the others | a public ViT of medium size, trained with GAP | the same |
# | images | JFT-300M and ImageNet, not seen in training | test images of Fashion-MNIST | photographs: validation images of 100 classes of ImageNet, if no others are given | validation images of ImageNet: of 100 classes, or all |
# | probes | 10 images of each class, ridge regression in closed form | the same | the same, on CIFAR-10 | the same |
#
# Networks that cannot be had are left out, and a note at the top of each page says so. If a page then lacks networks of some kind, tiny networks of
# this kind take their place, if there are any.
#
# The page of [the tiny networks](tiny_networks.ipynb) tests whether a ViT with GAP is as accurate as one with a CLS token.
#
# For CKA the paper takes 10,240 images in minibatches of 1,024, and repeats this 20 times. Section 4 takes here:

# %%
from seelike.profiles import NAMES, profile_of

for name in NAMES:
    own = profile_of(name, "04_representation_structure")
    amount = f"{own.number_of_images:,} images in minibatches of {own.batch_size:,}"
    print(f"{name}: {amount}, {own.repeats} times")

# %% [markdown]
# ## What we take with us
#
# **The paper found** no noticeable effect of minibatches from 128 to 1,024 and of 2,560 to 10,240 images.
#
# The claims of this page, in this run:

# %%
claims.on_this_page()

# %% [markdown]
# **The pretrained networks** were shown few images, since each image takes long on two cores, and the smallest minibatches have a dozen. Where the
# difference is largest, it is about what one would just see, and whether it is beyond the margin is undecided. These amounts are a hundredth of the
# paper's.
#
# **The tiny networks** show that no size of minibatch moves the mean CKA by anything that one would see in a map. Single entries of a map scatter, and
# they scatter most where there are few images. With a quarter of the images, 64, the mean absolute difference is about as large as the margin, so the
# claim is undecided. The paper's smallest amount is forty times that.
#
# **Why.** The mean hardly moves from setting to setting, because the estimate has no bias. What moves is noise. The noise falls with the number of
# images, whatever the size of the minibatch.
#
# ## Try it yourself
#
# Put a number or a function in the place of `None` and run the cell: it says what is off.
#
# **A.1** Twice as many images in each repeat: how many times smaller is the scatter of the repeats?

# %% tags=["exercise", "show-code"]
from seelike import exercises

answer = None
exercises.check("A.1", answer)

# %% [markdown]
# **A.2** What is the plain CKA of two unrelated layers of 100 features on 32 images, with `trace(K H L H) / (n - 1)^2` for HSIC? Draw some, and take
# the mean.

# %% tags=["exercise", "show-code"]
answer = None
exercises.check("A.2", answer)

# %% [markdown]
# <details><summary>Answers</summary>
#
# **A.1** `answer = 2**0.5`.
#
# **A.2** `answer = 0.76`, about, though they share nothing: with fewer images than features, all pairs of layers look alike. [Section 3](03_background.ipynb) draws
# it.
#
# </details>
#
# **Next:** [Appendix B](B_representation_structure.ipynb).
