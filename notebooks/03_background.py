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
# # Section 3: How to compare two layers
#
# **Question.** Two layers see the same images. One has 3,000 numbers for each image, the other 50,000, and no neuron
# of one corresponds to a neuron of the other. How alike are they?
#
# The paper answers with one number, *centered kernel alignment* (CKA): 1 for layers that are alike, 0 for unrelated ones.
# Section 4 is based on CKA. So this page computes CKA by hand, shows where its plain form fails, and corrects it.
#
# | | |
# |---|---|
# | **You will learn** | what a Gram matrix keeps of a layer; what CKA does not see; why its plain form is too high on few images; how minibatches give the same answer |
# | **You need** | matrix products, and a little PyTorch |
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
# `.venv/bin/papermill notebooks/03_background.ipynb out.ipynb -p images ~/photos`; `None` takes the value of the profile.

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

run = seelike.start(globals(), "03_background")

# %% [markdown]
# ## A layer is a cloud of points
#
# Show *n* images to a network and stop at one layer. Each image leaves a row of numbers there: all tokens and channels,
# laid flat. The layer is then a matrix $X$ of shape $n \times p$: one point in $p$-dimensional space for each image.
#
# We use two layers of the first network of this run: the input of the first block and the output of the last block. (If the blocks of an architecture
# are not known here, we use its first and its last layer.)

# %%
from seelike.models import layers

name, network = next(iter(run.models.items()))
every = layers(network)
ends = [layer for layer in every if layer.kind in ("embedding", "block")] or every
first, last = ends[0], ends[-1]

# %% [markdown]
# Now we read both, on some images.

# %%
import torch

from seelike.models import read
from seelike.streaming import Images

sample = run.images.sample(min(512, run.number_of_images), seed=run.seed)
pixels = Images(sample, network)[:]
features = {
    layer: x.float().cpu()
    for layer, x in read(network, [first, last], pixels).items()
}
{layer: tuple(x.flatten(1).shape) for layer, x in features.items()}

# %% [markdown]
# The axes of these two spaces mean different things, so the points cannot be laid on top of each other. What can be
# compared is the *shape* of the two clouds: which images lie near which. The figure shows this for the first 48 images: a square for each layer, a point
# for each pair of images. How such a picture is computed is what this page explains next.

# %% mystnb={"figure": {"caption": "The same images in two layers of one network: a row and a column for each image, in the same order in both. Orange: two images on the same side of the cloud; purple: on opposite sides; grey: an image with itself. Images are in the order of the first principal component of the upper layer.", "name": "fig-two-clouds"}, "image": {"alt": "Two square maps of the same images, for the lower layer on the left and for the upper layer on the right. Images that are alike in the upper layer form orange squares there. The lower layer has its own pattern in the same order."}}
from seelike import plots
from seelike.cka import gram, u_center

some = {layer: x[:48].flatten(1).double() for layer, x in features.items()}
plots.gram_maps({layer: u_center(gram(x)).numpy() for layer, x in some.items()})

# %% [markdown]
# Each row and each column stands for one image, such as these.

# %% mystnb={"figure": {"caption": "Some images of this run; where they must not be shown, those that come with seelike in their place.", "name": "fig-images"}, "image": {"alt": "A row of eight small images at most, such as the networks are shown."}}
pictures = run.to_show(run.images)
plots.image_rows({"": [pictures[i] for i in range(min(8, len(pictures)))]})

# %% [markdown]
# **Predict.** CKA asks how well the two pictures agree, point by point. Is it nearer to 0 or to 1? The answer comes below, once we have built the measure.
#
# ## The Gram matrix keeps the shape
#
# Four images and two neurons are enough to see it. The Gram matrix $K = X X^\top$ holds the dot product of every pair of
# images; the neurons are gone.

# %%
import numpy as np

X = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 2.0], [3.0, 3.0]])
K = X @ X.T
K

# %% [markdown]
# A dot product depends on where the origin is. Centring removes this dependence: $K' = H K H$ with
# $H = I - \frac{1}{n} \mathbf{1}\mathbf{1}^\top$, the same as subtracting the mean of each neuron first.

# %%
n = len(X)
H = np.eye(n) - 1 / n
centred_K = H @ K @ H
centred_X = X - X.mean(axis=0)
print(centred_K)
print(
    "the same from centred neurons:",
    np.allclose(centred_K, centred_X @ centred_X.T),
)

# %% [markdown]
# Every row of $K'$ sums to zero. A large entry says that two images lie on the same side of the cloud, a negative one
# that they lie on opposite sides.
#
# ## CKA is the cosine between two Gram matrices
#
# Flatten both centred Gram matrices into vectors and take the dot product of the two vectors. Divided by $(n-1)^2$, this dot product is HSIC, the
# Hilbert-Schmidt independence criterion of [Gretton et al. (2005)](https://doi.org/10.1007/11564089_7); divided by the lengths of the two vectors, it
# is CKA, the paper's Equation 1, from [Kornblith et al. (2019)](https://arxiv.org/abs/1905.00414):
#
# $$\text{CKA}(K, L) = \frac{\text{HSIC}(K, L)}{\sqrt{\text{HSIC}(K, K)\,\text{HSIC}(L, L)}}$$


# %%
def plain_hsic(x, y):
    """Equation 1's HSIC, as the paper writes it."""
    n = len(x)
    H = np.eye(n) - 1 / n
    return np.sum((H @ x @ x.T @ H) * (H @ y @ y.T @ H)) / (n - 1) ** 2


def plain_cka(x, y):
    """The cosine between two centred Gram matrices."""
    return plain_hsic(x, y) / np.sqrt(plain_hsic(x, x) * plain_hsic(y, y))


# %% [markdown]
# ## What CKA does not see
#
# **Predict** before you run the next cell. We change the four points in four ways: turn them by 30 degrees, make them
# three times as large, add a constant to each neuron, and stretch one of the two neurons tenfold. Which of them change CKA?

# %%
angle = np.pi / 6
turned = X @ np.array(
    [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
)
stretched = X * [1.0, 10.0]
changes = {
    "turned": turned,
    "3 times as large": 3 * X,
    "moved": X + [5.0, -2.0],
    "one neuron stretched": stretched,
}
for change, Y in changes.items():
    print(f"{change:>20}: {plain_cka(X, Y):.4f}")

# %% [markdown]
# Turning (and so any reordering of neurons), scaling and moving leave CKA at 1. Stretching one direction does not. This is intended: a measure that ignored every invertible linear map could not tell two layers apart once they have more neurons than
# there are images.
#
# ## Why the plain form is too high
#
# **Predict.** Two layers of random numbers have nothing to do with each other, so their CKA should be 0. With 64 images and
# 1,000 neurons, what does Equation 1 give: about 0, about 0.5, or nearly 1?
#
# We draw both layers at random, with more and more neurons, and measure them in the plain form and in the
# library's unbiased one.

# %%
from seelike.cka import cka

random = np.random.default_rng(run.seed)
widths = [4, 16, 64, 256, 1024, 4096]
pairs = [
    (random.normal(size=(64, width)), random.normal(size=(64, width)))
    for width in widths
]
plain = [plain_cka(x, y) for x, y in pairs]
unbiased = [cka(torch.tensor(x), torch.tensor(y)) for x, y in pairs]
print("plain   ", np.round(plain, 3))
print("unbiased", np.round(unbiased, 3))

# %% [markdown]
# The figure shows both forms.

# %% mystnb={"figure": {"caption": "CKA between two layers of independent random numbers on 64 images. The plain form of Equation 1 climbs towards 1 as layers get wider; the unbiased estimate stays at 0.", "name": "fig-plain-and-unbiased"}, "image": {"alt": "Line plot. Horizontal axis: neurons per layer, 4 to 4,096, logarithmic. The plain CKA rises from near 0 to almost 1. The unbiased CKA stays near 0 at every width."}}
import matplotlib.pyplot as plt

figure, axes = plt.subplots(figsize=(4.8, 3.1))
axes.semilogx(widths, plain, marker="o", label="plain (Equation 1)")
axes.semilogx(widths, unbiased, marker="s", label="unbiased")
axes.axhline(0, color="grey", linewidth=0.8)
axes.set(
    xlabel="neurons in each layer",
    ylabel="CKA of unrelated layers",
    ylim=(-0.25, 1.05),
)
axes.legend(frameon=False)
plt.show()

# %% [markdown]
# With more neurons than images, every image is far from every other. Both Gram matrices are then dominated by their
# diagonals, and two diagonals always look alike. Real layers have thousands of numbers for each image, so the
# plain form would call almost any two of them similar.
#
# ## The unbiased estimate
#
# [Song et al. (2012)](https://jmlr.org/papers/v13/song12a.html) leave the diagonal out. Call the corrected Gram matrix
# $U(K)$: set the diagonal of $K$ to zero, subtract from every entry the sum of its row and the sum of its column, each divided by $n - 2$, add the sum
# of all entries divided by $(n - 1)(n - 2)$, and set the diagonal to zero again. The diagonal compares each image with itself, which says nothing about
# the similarity of two layers. The corrections make every row sum to zero again, as centring did. Then
#
# $$\text{HSIC}(K, L) = \frac{\langle U(K),\, U(L)\rangle}{n\,(n - 3)}.$$


# %%
def corrected(K):
    """Zero the diagonal of a Gram matrix and centre what is left."""
    n = len(K)
    K = K - np.diag(np.diag(K))
    sums = K.sum(axis=1)
    U = (
        K
        - sums[:, None] / (n - 2)
        - sums[None, :] / (n - 2)
        + sums.sum() / ((n - 1) * (n - 2))
    )
    return U - np.diag(np.diag(U))


# %% [markdown]
# Here is $U(K)$ of the four toy images.

# %%
U = corrected(K)
print(U.round(3))
print("every row sums to zero:", np.allclose(U.sum(axis=1), 0))

# %% [markdown]
# The library does the same, so its number and ours agree.

# %%
from seelike.cka import hsic

x, y = pairs[1]
by_hand = np.sum(corrected(x @ x.T) * corrected(y @ y.T)) / (64 * 61)
print(f"by hand {by_hand:.12f}")
print(f"library {float(hsic(torch.tensor(x), torch.tensor(y))):.12f}")

# %% [markdown]
# The two pictures of the first figure are $U(K)$ of two layers. Here is their CKA, on the 48 images of that figure. Was your prediction right?

# %%
print(f"CKA of the two layers: {cka(*some.values()):.2f}")

# %% [markdown]
# An unbiased estimate may be below zero where the true value is zero. We keep negative values: cutting the estimate off at 0 would make it biased
# again.
#
# ## Minibatches
#
# A Gram matrix of 10,240 images has a hundred million entries, and there is one for each layer. The paper follows
# [Nguyen et al. (2021)](https://arxiv.org/abs/2010.15327): take the images in minibatches, average each of
# the three HSICs over the minibatches, and only then divide.
#
# **Predict.** Averaging the *CKA* of each minibatch looks like the same thing. Is it?
#
# We cut the images into minibatches of different sizes. Then we compare three ways with the value from all images at once: average the HSICs and then
# divide, average the unbiased CKAs, and average the plain CKAs.

# %%
from seelike.cka import MinibatchCKA, minibatches

early, late = (x.flatten(1) for x in features.values())
whole = cka(early, late)
n = len(early)
sizes = [size for size in (8, 16, 32, 64, 128, 256) if size <= n] or [n]

# %% [markdown]
# For each size, one row holds all three ways.

# %%
rows = []
for size in sizes:
    batches = [(early[part], late[part]) for part in minibatches(n, size)]
    streaming = MinibatchCKA()
    for x, y in batches:
        streaming.update({"early": x}, {"late": y})
    unbiased = np.mean([cka(x, y) for x, y in batches])
    plain = np.mean(
        [plain_cka(x.double().numpy(), y.double().numpy()) for x, y in batches]
    )
    rows.append((streaming.compute().item(), unbiased, plain))

# %% [markdown]
# The line is the answer from all images at once.

# %% mystnb={"figure": {"caption": "Three ways to use minibatches, against the answer from all images at once (line), for the first and the last layer of one network.", "name": "fig-minibatch"}, "image": {"alt": "Line plot. Horizontal axis: images per minibatch. Three lines, for the mean of plain CKAs, the mean of unbiased CKAs and averaged HSIC, and a horizontal one for all images at once. The numbers below say how far each is from it."}}
figure, axes = plt.subplots(figsize=(4.8, 3.5), layout="constrained")
axes.axhline(whole, color="grey", linewidth=1, label=f"all {len(early)} at once")
labels = ["mean HSIC, then divide", "mean of unbiased CKAs", "mean of plain CKAs"]
for label, marker, values in zip(labels, "osv", np.transpose(rows), strict=True):
    axes.semilogx(sizes, values, marker=marker, label=label)
axes.set(xlabel="images in a minibatch", ylabel="CKA, first and last layer")
axes.set_xticks(sizes, sizes)
axes.minorticks_off()
figure.legend(loc="outside lower center", ncols=2)
plt.show()

# %% [markdown]
# The numbers behind the picture: how far each way is from the full batch.

# %%
print(f"{'minibatch':>9} {'HSIC first':>11} {'mean CKA':>9} {'plain CKA':>10}")
for size, row in zip(sizes, rows, strict=True):
    print(
        f"{size:>9} {row[0] - whole:>+11.4f} {row[1] - whole:>+9.4f} {row[2] - whole:>+10.4f}"
    )

# %% [markdown]
# ## What we take with us
#
# **The paper found** that CKA from minibatches of 1,024 images, over 10,240 images and 20 repeats, does not change
# noticeably for minibatches down to 128 images (its Appendix A).
#
# **The tiny networks** show the same. If the HSICs are averaged before the division, the unbiased estimate agrees with the line, except on the smallest
# minibatches. There the estimate is a little too high, because dividing by a noisy number is itself a little biased. Dividing first and averaging
# afterwards makes this error larger. The plain form is far too high on small minibatches, and does not reach the line even on the largest.
#
# **The pretrained networks** show the same of the plain form. Between the two unbiased ways there is no clear winner; on the smallest minibatches both are too high.
#
# **Why it matters.** Section 4 compares thousands of pairs of layers of unequal width. A bias that grows with width would add a false pattern to every
# figure.
#
# ## Try it yourself
#
# Put a number or a function in the place of `None` and run the cell: it says what is off.
#
# **03.1** Write plain CKA of two arrays of features, `[images, features]` each.

# %% tags=["exercise", "show-code"]
from seelike import exercises

answer = None
exercises.check("03.1", answer)

# %% [markdown]
# **03.2** How few images can the unbiased estimate take? Read its formula, then try `cka(early[:3], late[:3])`.

# %% tags=["exercise", "show-code"]
answer = None
exercises.check("03.2", answer)

# %% [markdown]
# And to look into with the page itself:
#
# 1. Copy two of the four toy images, so that `X` has six rows. Does the plain CKA of `X` and `stretched` change? Does the
#    unbiased one?
# 2. Add 1,000 to every number in `early` and compute `cka(early, late)` again, in float32. By how much does it change?
#
# <details><summary>Answers</summary>
#
# **03.1**
#
# ```python
# def answer(X, Y):
#     X, Y = X - X.mean(axis=0), Y - Y.mean(axis=0)
#     K, L = X @ X.T, Y @ Y.T
#     return (K * L).sum() / ((K * K).sum() * (L * L).sum()) ** 0.5
# ```
#
# **03.2** `answer = 4`: with three the factor $n - 3$ is zero, and the library says so.
#
# 1. Both change. Each image counts the same, so a copy doubles its weight: CKA describes a *set of images* as much as
#    two layers.
# 2. Hardly at all. Rounding the features to float32 near 1,000 costs a little; the library loses nothing more, because it subtracts the mean of the batch before it multiplies. Multiplying first, as `corrected` does,
#    would be far off in float32.
#
# </details>
#
# ## Summary
#
# - A Gram matrix keeps which images lie near which, and forgets the neurons.
# - CKA is the cosine of two centred Gram matrices. It ignores turning and mirroring, scaling and moving, and nothing else.
# - The plain form rises with the width of a layer. The unbiased form does not, and may go below zero.
# - Average HSIC over minibatches first, divide afterwards.
#
# **Next:** [Section 4](04_representation_structure.ipynb) measures CKA between every pair of layers of ViTs and ResNets.
