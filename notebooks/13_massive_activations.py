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
# # Massive activations and registers
#
# **Question.** In some ViTs a few numbers are a thousand times larger than all others. Where are they, does the network need them, and what do they do to
# CKA?
#
# | | |
# |---|---|
# | **You will learn** | what massive activations and registers are; whether the patches need what such tokens hold; what a LayerNorm does to CLS; when a few large numbers decide CKA |
# | **You need** | [Section 3](03_background.ipynb) for CKA; [what came later](11_what_came_later.ipynb) for the networks; [words](../book/glossary.md) |
# | **Cost** | a minute on two CPU cores (`tiny`); [other profiles](../book/costs.md) |

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
# `.venv/bin/papermill notebooks/13_massive_activations.ipynb out.ipynb -p images ~/photos`; `None` takes the value of the profile.

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

run = seelike.start(globals(), "13_massive_activations")

# %% [markdown]
# The networks are those of [what came later](11_what_came_later.ipynb). Where a run has none of them, the page looks at the other networks of the run.

# %%
from seelike.models import family, load

networks = dict(run.models)
one = next(
    (name for name, network in networks.items() if family(network) == "vit"),
    next(iter(networks)),
)
before = f"{one.removesuffix(':random')}:random"
networks |= seelike.where_possible(
    [before], lambda name: load(name, device=run.device)
)
draws = list(run.draws())
print(f"As a control, {before}: one of them before any training.")

# %% [markdown]
# ## Where the large numbers are
#
# [Sun et al. (2024)](https://arxiv.org/abs/2402.17762) find that in large trained ViTs a few numbers are hundreds or thousands of times larger than the
# others of their layer. These *massive activations* are in a few channels, the same ones for every image. [Darcet et al. (2024)](https://arxiv.org/abs/2309.16588) find tokens whose norm (their length as a vector) is about ten times the usual, in
# uniform parts of the image. The class of the image can be read well from these tokens, and their own patch badly: the network uses them to store
# information about the whole image. If it is given a few extra tokens for this, *registers*, the tokens of the patches stay clean. [Jiang et al.
# (2025)](https://arxiv.org/abs/2506.08010) show that this needs no training: few neurons make the long tokens, and the output of these neurons can be
# moved to an extra token at test time.
#
# Two ratios for each block: the largest number over the median one, and the longest token over the median one. **Predict.** Will the networks of this run have massive activations? (Small networks can have them: [Bach et al. (2025)](https://openreview.net/forum?id=5JflRlCt3Q)
# find long tokens in a ViT of 22 million parameters.)

# %%
import numpy as np

from seelike.massive_activations import unevenness
from seelike.sections.blocks import ask, blocks_of
from seelike.sections.token_geometry import commonest, where_largest
from seelike.streaming import Images

questions = {
    "largest": lambda tokens, _: 10 ** unevenness(tokens).mean(dim=0).cpu().numpy(),
    "commonest": lambda tokens, _: [
        commonest(each) for each in where_largest(tokens)
    ],
}

# %% [markdown]
# For every network, every draw of images and every block:


# %%
def answers_of(name):
    """Both answers of a network, in each draw."""
    return [
        ask(networks[name], Images(images, networks[name])[:], questions)
        for images in draws
    ]


answers = seelike.where_possible(networks, answers_of)


def values_of(name, question):
    """One answer, [draws, blocks, numbers]."""
    return np.array([each[question] for each in answers[name]])


# %% mystnb={"figure": {"caption": "Largest number over the median one, and longest token over the median one, in the output of each block. Bands are 95 % intervals over draws of images.", "name": "fig-massive"}, "image": {"alt": "Two panels on logarithmic axes, largest number and longest token over the median, against relative depth; a line for each network. The largest values are printed above the figure."}}
from seelike import claims, plots

panels = {"largest number": {}, "longest token": {}}
for name in answers:
    both = values_of(name, "largest").T.swapaxes(1, 2)
    for title, values in zip(panels, both, strict=True):
        panels[title][name] = plots.over_depth(values)
    number, token = (claims.summary(values.max(axis=1)) for values in both)
    print(f"{name}: number up to {number}, token up to {token}")
plots.depth_panels(
    panels, y_label="over the median", y_scale="log"
) if answers else run.say_missing()

# %% [markdown]
# Are they in the same channel for every image, as Sun et al. say, and in the same token? For each network we take the block with the largest numbers.
# The cell prints the share of images whose largest number is in the most common channel, and the share for which it is in the most common token.

# %%
for name in answers:
    block = values_of(name, "largest")[..., 0].mean(axis=0).argmax()
    token, channel = map(claims.summary, values_of(name, "commonest")[:, block].T)
    print(f"{name}: the same channel {channel}, the same token {token}")

# %% [markdown]
# ### Does a network need what these tokens say?
#
# [Parodi et al. (2026)](https://arxiv.org/abs/2604.14433) set registers to zero, as many do to find out what a token is for, and DINOv2 and DINOv3 lose much of their accuracy. When the registers are replaced by their mean, by noise, or by
# those of another image, the networks lose next to nothing. A network has never seen zeros there, and this alone may be the reason for the loss.
#
# After every block we replace the tokens that belong to no patch: CLS and registers. How far do the tokens of the *patches* move? We measure the
# cosine of each with the same token of the unchanged network. **Predict.** Which replacement moves them most?

# %%
from seelike.models import places
from seelike.sections.token_geometry import REPLACEMENTS, moved_by_replacement


def when_replaced(name):
    """Cosine of patches with what they were, [draws, replacements, blocks]."""
    network, blocks, found = networks[name], blocks_of(networks[name]), []
    for images in draws:
        pixels = Images(images, network)[:32]
        prefix = len(places(network, blocks[:1], pixels)[blocks[0].name].prefix)
        found.append(moved_by_replacement(network, blocks, pixels, prefix))
    return np.array(found)


in_vits = [name for name in networks if family(networks[name]) == "vit"]
replaced = seelike.where_possible(
    [name for name in in_vits if name != before], when_replaced
)

# %% mystnb={"figure": {"caption": "Cosine of the patches of each block with what they were, when CLS and registers are replaced after every block: by zeros, by their mean over images, or by those of another image. Bands are 95 % intervals over draws of images.", "name": "fig-replaced"}, "image": {"alt": "A panel for each ViT, cosine against the number of the block, a line for each of the three replacements. The values of the last block are printed above the figure."}}
panels = {}
for name, found in replaced.items():
    blocks = np.arange(1, found.shape[2] + 1)
    each = found.swapaxes(0, 1)
    lines = [(blocks, *claims.mean_and_uncertainty(values)) for values in each]
    panels[name] = dict(zip(REPLACEMENTS, lines, strict=True))
    for how, values in zip(REPLACEMENTS, each, strict=True):
        print(f"{name}: {how:<16} last block {claims.summary(values[:, -1])}")
plots.line_panels(
    panels, x_label="block", y_label="cosine"
) if panels else run.say_missing("vits")

# %% [markdown]
# Where zeros move the patches, and the token of another image hardly does, the patches need *some* token of the usual kind there, but not its
# content. This says nothing of what a classifier reads from CLS.
#
# ## What does a LayerNorm do to CLS?
#
# CLS and patches go through the same weights. [Marouani et al. (2026)](https://arxiv.org/abs/2602.08626) find that right after a normalisation the
# cosine of CLS with the patches is nearly zero, while patches stay as alike as they were: the network separates CLS from patches by the few weights
# of a LayerNorm. When CLS and patches get weights of their own, the features of the patches become better.
#
# By hand: CLS and two patches that share two large channels. The weights of the LayerNorm are 0 in these two channels and 1 in the others.

# %%
import torch

from seelike.sections.token_geometry import cls_and_patches

norm = torch.nn.LayerNorm(6)
norm.weight.data = torch.tensor([1.0, 1.0, 1.0, 1.0, 0.0, 0.0])
cls, patch = [1.0, -1.0, 0.0, 0.0, 6.0, -6.0], [0.0, 0.0, 1.0, -1.0, 6.0, -6.0]
tokens = torch.tensor([[cls, patch, patch]])
for what, each in {"before": tokens, "after": norm(tokens).detach()}.items():
    with_cls, among, longer = cls_and_patches(each)
    print(f"{what}: CLS with patches {with_cls:+.2f}, among patches {among:+.2f}")

# %% [markdown]
# **Predict.** Does a LayerNorm change the cosine of CLS with the patches, that of two patches, or both? Is it the same before training?

# %%
from dataclasses import replace

from seelike.models import layers, read_tokens


def first_norms(network):
    """The first norm of each block, each read on both sides."""
    norms = layers(network, kinds=["norm"])
    norms = [norm for norm in norms if norm.name.endswith("attention norm")]
    pairs = [(replace(n, name=f"into {n.name}", side="input"), n) for n in norms]
    return [layer for pair in pairs for layer in pair]


# %% [markdown]
# We take three numbers before and after each LayerNorm: two cosines, and the length of CLS relative to the patches.


# %%
def around_norms(name):
    """CLS and patches before and after each block's first norm, [draws, blocks, 2, 3]."""
    network, found = networks[name], []
    both = first_norms(network)
    for images in draws:
        pixels = Images(images, network)[:]
        prefix = len(places(network, both[1:2], pixels)[both[1].name].prefix)
        of_tokens = lambda _, x, prefix=prefix: cls_and_patches(x, prefix)  # noqa: E731
        read = list(read_tokens(network, both, pixels, of_tokens).values())
        found.append(np.reshape(read, (-1, 2, 3)))
    return np.array(found)


normed = seelike.where_possible(in_vits, around_norms)

# %% mystnb={"figure": {"caption": "Mean cosine of CLS with the patches of its image, and of two different patches, right before and right after the first LayerNorm of each block. Bands are 95 % intervals over draws of images.", "name": "fig-norms"}, "image": {"alt": "A panel for each ViT, cosine against the number of the block; four lines: CLS with patches and patches among each other, before and after the norm. The means over blocks are printed above the figure."}}
panels = {}
for name, values in normed.items():
    blocks, panels[name] = np.arange(1, values.shape[1] + 1), {}
    for kind, what in enumerate(("CLS with patches", "among patches")):
        for side, when in enumerate(("before", "after")):
            some = values[:, :, side, kind]
            line = blocks, *claims.mean_and_uncertainty(some)
            panels[name][f"{what}, {when}"] = line
            print(f"{name}: {what} {when:<6} {claims.summary(some.mean(axis=1))}")
plots.line_panels(
    panels, x_label="block", y_label="cosine"
) if panels else run.say_missing("vits")

# %% [markdown]
# A LayerNorm separates CLS from the patches where the cosine of CLS with the patches falls and that of two patches does not. How long is CLS relative
# to the patches, before and after the norm? The mean over blocks:

# %%
for name, values in normed.items():
    sides = [claims.summary(values[:, :, side, 2].mean(axis=1)) for side in (0, 1)]
    print(f"{name}: CLS over patches {sides[0]} before, {sides[1]} after")

# %% [markdown]
#
# ## What would massive activations do to CKA?
#
# As the networks of a run may have no massive activation, we plant one: in each image the first number of one token is set to many times the median
# number of the layer. By hand, for two images of two tokens: we plant it in the first token of
# the first image, and in the second token of the second image.

# %%
from seelike.massive_activations import with_massive_activation

tokens = torch.tensor([[[1.0, 2.0], [2.0, 1.0]], [[2.0, 2.0], [2.0, 1.0]]])
planted = tokens.clone()
planted[0, 0, 0] = planted[1, 1, 0] = 100 * tokens.median()
found = with_massive_activation(tokens, 100.0, torch.tensor([0.0, 0.5]))
print(bool((found == planted).all()))

# %% [markdown]
# **Predict.** We plant a massive activation in the first and in the last block of a network, with the same value in every image. Does CKA see it if
# it is in the same token in every image, such as a register? And does CKA see it if its token differs from image to image, but is the same in both
# blocks, as a residual stream would hand it on? We take two other measures as well: Procrustes, which turns one cloud of images onto the other, and CCA, which ignores how much
# each direction varies ([questions of measure](12_questions_of_measure.ipynb)).

# %%
from seelike.similarities import cca, coordinates, procrustes, unbiased_cka

in_one_token = torch.full((len(draws[0]),), 0.5)
anywhere = torch.rand(
    len(draws[0]), generator=torch.Generator().manual_seed(run.seed)
)
powers = np.array([1.0, 1.5, 2.0, 2.5, 3.0])


def planted_clouds(tokens, at):
    """A layer's coordinates with numbers of each size in it."""
    sizes = 10**powers
    planted = (with_massive_activation(tokens, s, at) for s in sizes)
    return [coordinates(each) for each in planted]


# %% [markdown]
# Both blocks are read once for each draw, and all sizes are planted into what was read, in both ways.


# %%
def when_planted(*ways):
    """Clouds with planted numbers, by block: for each draw, for each way, for each size."""
    network = networks[one]
    two = [blocks_of(network)[0], blocks_of(network)[-1]]
    every_way = lambda _, tokens: [planted_clouds(tokens, each) for each in ways]  # noqa: E731
    pixels = [Images(images, network)[:] for images in draws]
    return [list(read_tokens(network, two, x, every_way).values()) for x in pixels]


ways = {"the same token": in_one_token, "a token of its own": anywhere}
found = seelike.where_possible([one], lambda _: when_planted(*ways.values()))
planted = {
    title: [list(zip(first[way], last[way], strict=True)) for first, last in each]
    for each in found.values()
    for way, title in enumerate(ways)
}

# %% mystnb={"figure": {"caption": "Likeness of the first and the last block of a network when a massive activation is planted into both: in the same token of every image, and in a token of its own for every image. Bands are 95 % intervals over draws of images.", "name": "fig-planted"}, "image": {"alt": "Two panels, likeness against the size of the planted number from ten to a thousand times the median. A line each for CKA, Procrustes and CCA. The numbers below give the ends of the lines."}}
few = min(20, run.number_of_images // 3)  # directions for CCA
measures = {"CKA, unbiased": unbiased_cka, "Procrustes": procrustes}
measures["CCA"] = lambda x, y: cca(x, y, few)
panels = {}
for title, of_draws in planted.items():
    panels[title] = {}
    for name, measure in measures.items():
        values = [[measure(*pair) for pair in sizes] for sizes in of_draws]
        line = powers, *claims.mean_and_uncertainty(np.array(values))
        panels[title][name] = line
label = "size, as a power of ten"
plots.line_panels(
    panels, x_label=label, y_label="likeness"
) if panels else run.say_missing()

# %% [markdown]
# In numbers: ten times the median, and a thousand times.

# %%
for title, lines in panels.items():
    for name, (_, values, band) in lines.items():
        first, last = (f"{values[at]:.2f} ± {band[at]:.2f}" for at in (0, -1))
        print(f"{title}: {name:<14} {first}, then {last}")

# %% [markdown]
# Centring removes what is the same for every image, so CKA does not see a massive activation in a fixed token. Where its token changes from image
# to image and it is large enough, CKA depends mostly on *in which token it is*: two blocks that hand it on look far more alike than they are. Procrustes rises as well. CCA changes
# least: to CCA this is only one direction among many. So take care when you compare a network with registers and one without: their maps may differ by where they keep a
# few large numbers.
#
# Do the networks of this run have a channel that decides their CKA by itself? We compare each block with a copy of itself in which the channel of the largest variance is set to zero. Where this CKA is near 1, no single channel
# decides.

# %%
from seelike.cka import cka
from seelike.massive_activations import without_largest_channel


def lowest_without_channel(name):
    """The block that has least in common with itself, when its largest channel is set to zero."""
    network = networks[name]
    pixels, blocks = Images(draws[0], network)[:], blocks_of(network)
    of_block = lambda _, x: cka(x, without_largest_channel(x))  # noqa: E731
    found = read_tokens(network, blocks, pixels, of_block)
    return min(found.items(), key=lambda each: each[1])


for name, found in seelike.where_possible(networks, lowest_without_channel).items():
    print(f"{name}: lowest at {found[0]}, {found[1]:.3f}")

# %% [markdown]
# ## What we take with us
#
# **Others found** that a few enormous numbers sit in the same channels for every image, and long tokens in dull parts of it; that registers take them, and
# that their content hardly matters; that a LayerNorm tells CLS from patches.
#
# **The pretrained networks** show part of this. (This run has only one of the later networks, a ViT-S/14 that began as DINOv2 and was then trained by others on salient objects: to mark what stands out.)
#
# - It has numbers far larger than the rest, in one and the same channel and token for every image. This is the pattern of a massive activation, but the numbers are smaller than those that others report. It has no long tokens.
# - Its patches move a little when CLS is replaced by zeros, and hardly at all when CLS is replaced by its mean or by that of another image.
# - After a LayerNorm the cosine of CLS with the patches is about zero. But the cosine of two patches falls, too. So by the rule of this page the norm does not separate CLS alone.
# - Before training a LayerNorm changes neither cosine.
#
# **The tiny networks** show little of this. The ViT has neither massive activations nor long tokens, and replacing CLS hardly changes its patches. LayerNorm
# does not separate CLS from patches. The first block of the ResNet has a few numbers and places that are several times as large as the rest.
#
# **In both**, CKA does not see a planted massive activation in a fixed token. An activation whose token changes from image to image makes two unlike blocks look alike. No single channel of these networks decides
# their CKA.
#
# **Why.** What the same token says of every image is a constant, and centring takes constants away. If the token changes, two images differ more by its place than by
# anything else. Zeros are a token that the network has never seen.
#
# ## Try it yourself
#
# Put a number in the place of `None` and run the cell: it says what is off.
#
# **13.1** CLS is replaced after the last block only. By how much do the patches change?

# %% tags=["exercise", "show-code"]
from seelike import exercises

answer = None
exercises.check("13.1", answer)

# %% [markdown]
# **13.2** A massive activation has the same value in every image, but its token is one of two, by the toss of a coin. Two layers have it for the same images, and nothing else in common. What is their CKA, nearly?

# %% tags=["exercise", "show-code"]
answer = None
exercises.check("13.2", answer)

# %% [markdown]
# <details><summary>Answers</summary>
#
# **13.1** `answer = 0`: CLS reaches patches through attention, and there is no block after it.
#
# **13.2** `answer = 1`: there are two clusters of images, one for each token. All other differences are small in comparison, so two such layers have a CKA of 1, and by Procrustes
#    as well. CCA hardly changes: the difference between the clusters is one direction of its twenty. `when_planted(torch.arange(len(draws[0])) % 2 / 2)` gives the clouds.
#
# </details>
#
# ## Summary
#
# - Massive activations, long tokens and the separation of CLS from patches each need a control: the untrained network, or another image's token.
# - To learn what a token is for, replace it by that of another image, and not by zeros.
# - Large numbers in a fixed place do not change CKA. Large numbers whose place differs between images raise it.
#
# **Next:** [interventions](interventions.ipynb), and [the tiny networks](tiny_networks.ipynb) that this book trained for itself.
