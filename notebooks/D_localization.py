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
# # Appendix D: Localization
#
# **Question.** In [Section 7](07_spatial_localization.ipynb), tokens of the last block were mapped onto the image. In which earlier blocks do tokens
# keep their place, and in which do they lose it? And from which places of the image can a class be read?
#
# This page shows what Section 7 measured, for more blocks, larger ViTs and lower layers of CNNs (the paper's Figures D.1, D.2 and D.3), and
# the accuracy of the probes of single tokens as maps (Figure D.4). The claims that these figures carry are tested in Section 7.
#
# | | |
# |---|---|
# | **You will learn** | how localization changes with depth, and how to draw the places of the image from which a class can be read |
# | **You need** | [Section 7](07_spatial_localization.ipynb) for maps of tokens and for probes; [words](../book/glossary.md) |
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
# `.venv/bin/papermill notebooks/D_localization.ipynb out.ipynb -p images ~/photos`; `None` takes the value of the profile.

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

run = seelike.start(globals(), "D_localization")

# %% [markdown]
# ## One number for many maps
#
# A layer has one map for each token. When we look at the paper's maps, we check whether the brightest patch of a token is its own or one of the eight
# neighbours. If so, we say that the token *knows its place*. The number is the share of interior tokens (those not at the edge) that know their place, corrected for chance: (share - chance) / (1 - chance),
# where chance is the share of the patches that count as near. It is 1 for all, 0 for chance, and below 0 where tokens point away from their place.
#
# ## Measure
#
# Up to eight blocks of every network, at equal steps of depth and always the last two, on every draw of images. Blocks of a CNN with more than
# 256 locations are left out: their patches are of few pixels, and their maps would take most of the time.

# %%
from seelike.sections.spatial_localization import mapped_blocks

pairs = run.own_groups("cls_and_gap")
of_pairs = [name for pair in pairs for name in pair]


def blocks_of(name):
    """The blocks of a network that are mapped."""
    found = mapped_blocks(run.models[name], run.images)
    if not found:
        raise ValueError(
            "It has no last block with a grid of 4 x 4 places or more."
        )
    return found


blocks = seelike.where_possible(dict.fromkeys([*run.names, *of_pairs]), blocks_of)

# %% [markdown]
# Patches that are the same in all images of a draw, such as black corners, have no CKA. The library warns of them each time; here they are
# counted instead.

# %%
import warnings

import torch

from seelike.localization import token_patch_cka

warnings.filterwarnings("ignore", "Dead", RuntimeWarning)


def maps_of(name):
    """CKA of all tokens with all patches: by block, for each draw of images."""
    of_network = {}
    for images in run.draws():
        found = token_patch_cka(
            run.models[name], blocks[name], images, minibatch=run.batch_size
        )
        for block, of_block in found.items():
            of_network.setdefault(block, []).append(of_block.cka)
    return of_network


maps = seelike.where_possible(blocks, maps_of)

# %% [markdown]
# ## Place by depth
#
# **Predict.** Draw a line for a ViT: how many interior tokens know their place, from the first block to the last? Then one for a CNN, whose
# tokens see more of the image with every block.

# %%
import numpy as np

from seelike import claims, plots
from seelike.sections.spatial_localization import localization_above_chance


def line(name):
    """Relative depth, mean localization and its band, for a figure."""
    values = [
        [localization_above_chance(draw) for draw in draws]
        for draws in maps[name].values()
    ]
    depth = np.array([block.depth for block in blocks[name]])
    return depth, *claims.mean_and_uncertainty(np.array(values).T)


# %% [markdown]
# The upper panel shows the ViTs, the lower one the networks that they are compared with.

# %% mystnb={"figure": {"caption": "How many interior tokens of a block know their place, beyond chance: 1 for all, 0 for no more than by chance. Bands are 95 % intervals over draws of images.", "name": "fig-place-by-depth"}, "image": {"alt": "Two panels with a line for each network: share of interior tokens that know their place against relative depth. Above the ViTs, below the ViT with GAP and the CNNs. The numbers are printed below."}}
gap_vits = [pair[1] for pair in pairs if pair[1] in maps]
others = dict.fromkeys([*gap_vits, *run.cnns, *run.mixers, *run.others])
panels = {
    title: {name: line(name) for name in names if name in maps}
    for title, names in {"ViTs": run.vits, "others": others}.items()
}
panels = {title: lines for title, lines in panels.items() if lines}
plots.depth_panels(
    panels, y_label="knows its place", within=(0.0, 1.0)
) if panels else run.say_missing()

# %% [markdown]
# The ends of the lines in numbers. ([Section 7](07_spatial_localization.ipynb) takes another number, which depends less on the images.)

# %%
for lines in panels.values():
    for name, (_, values, half_width) in lines.items():
        print(
            f"{name}: {blocks[name][0].name} {values[0]:.2f} ± {half_width[0]:.2f}, "
            f"{blocks[name][-1].name} {values[-1]:.2f} ± {half_width[-1]:.2f}"
        )

# %% [markdown]
# ### The same number by hand
#
# Take maps of 5 x 5 tokens in which every token is like exactly one patch. In the first "layer" it is the token's own; in the second it is
# the next to the right; in the third it is two to the right.

# %%
own_place = torch.eye(25).reshape(25, 5, 5)
toy_layers = [own_place.roll(shift, dims=2) for shift in (0, 1, 2)]

# %% [markdown]
# The nine interior tokens are at rows and columns 1 to 3. Nine of 25 patches are near a token, so chance is 0.36. What should the three
# numbers be?

# %%
for maps_by_hand in toy_layers:
    near = 0
    for row in (1, 2, 3):
        for column in (1, 2, 3):
            best = int(maps_by_hand[5 * row + column].argmax())
            near += max(abs(best // 5 - row), abs(best % 5 - column)) <= 1
    print(f"{near} of 9 near: {(near / 9 - 0.36) / (1 - 0.36):.4f}")

# %% [markdown]
# The library says the same.

# %%
print([round(localization_above_chance(each), 4) for each in toy_layers])

# %% [markdown]
# ## The largest ViT: Figure D.1
#
# Figures of single tokens show the mean over draws.

# %%
mean_maps = {
    name: {
        block: torch.stack(draws).mean(dim=0).numpy()
        for block, draws in of_network.items()
    }
    for name, of_network in maps.items()
}
for name, of_network in mean_maps.items():
    missing = [int(np.isnan(cka).any(axis=0).sum()) for cka in of_network.values()]
    if any(missing):
        print(f"{name}: up to {max(missing)} patches without a CKA in some draw")

# %% [markdown]
# The paper's largest network is ViT-H/14. Here it is the last ViT of the run, in its last two blocks. **Predict.** Are the maps of the block before the
# last clearer than those of the last?


# %%
def rows(name, chosen):
    """Maps of some blocks of a network, for a figure."""
    if name not in maps:
        return {}
    return {f"{name}\n{b.name}": mean_maps[name][b.name] for b in chosen}


# %% mystnb={"figure": {"caption": "CKA of single tokens with all patches, for the last two blocks of the largest ViT (the paper's Figure D.1). A frame marks the token's own place. Each row has its own scale. Grey: a patch that is the same in all images of a draw.", "name": "fig-largest"}, "image": {"alt": "Two rows of four heat maps, for the last two blocks of the largest ViT: a token at the corner, one at an edge, two of the interior. A white frame marks the token's own place. The line of this network in the first figure says how often the brightest patch is there."}}
largest = {}
for name in run.vits[-1:]:
    largest = rows(name, blocks[name][-2:])
plots.token_maps(largest) if largest else run.say_missing("vits")

# %% [markdown]
# ## Earlier blocks of the other ViTs: Figure D.2
#
# For each of the other ViTs of the run: of the blocks mapped here, the two that come before the last.

# %% mystnb={"figure": {"caption": "The same for blocks before the last, of the other ViTs (the paper's Figure D.2).", "name": "fig-earlier"}, "image": {"alt": "Two rows of four heat maps for each of the other ViTs, blocks before the last: a token at the corner, one at an edge, two of the interior. A white frame marks the token's own place."}}
earlier = {}
for name in run.vits[:-1] or run.vits:
    earlier |= rows(name, blocks[name][-3:-1])
plots.token_maps(earlier) if earlier else run.say_missing("vits")

# %% [markdown]
# ## Lower layers of CNNs: Figure D.3
#
# **Predict.** A convolution looks at few pixels around its place. So which blocks of a CNN should know their place best: low ones or high
# ones? Will they do better than a ViT?

# %% mystnb={"figure": {"caption": "The same for lower blocks of the CNNs: the lowest that is mapped here, and the one before the last (the paper's Figure D.3).", "name": "fig-lower-cnn"}, "image": {"alt": "Two rows of four heat maps for each CNN, a low block and the one before the last: a token at the corner, one at an edge, two of the interior. A white frame marks the token's own place."}}
lower = {}
for name in run.cnns:
    lower |= rows(name, [*blocks[name][:1], *blocks[name][-2:-1]])
plots.token_maps(lower) if lower else run.say_missing("cnns")

# %% [markdown]
# ## Is it the network or the images?
#
# A token of a late block may be most like a distant patch for two reasons. The network may have changed what the token represents. Or the images may be
# such that distant patches hold the same information. In images of garments, for example, both sleeves of a shirt are there, or neither. In a texture,
# each patch says little about the others.
#
# **Predict.** The same networks on textures: do more of their tokens know their place, or fewer?
#
# This check is our own and not in the paper. It is made with the `tiny` profile alone.

# %%
import seelike.data


def on_draw(name, images):
    """How well each block of a network localizes, on one draw of images."""
    found = token_patch_cka(
        run.models[name], blocks[name], images, minibatch=run.batch_size
    )
    return [localization_above_chance(each.cka) for each in found.values()]


textures = {}
if "textures/test" in run.other_images:
    images = seelike.data.load("textures/test")
    for name in [*run.vits[:1], *(pair[1] for pair in pairs[:1]), *run.cnns[:1]]:
        if name in maps:
            of_draws = [on_draw(name, draw) for draw in run.draws(images)]
            textures[name] = np.array(of_draws)

# %% mystnb={"figure": {"caption": "How many interior tokens of a block know their place, beyond chance: on the images of this page (above) and on textures (below), for the same networks. Mind the two scales. Bands are 95 % intervals over draws of images.", "name": "fig-textures"}, "image": {"alt": "Two panels with a line for each network: share of interior tokens that know their place against relative depth, above on the images of this page, below on textures. Compare the right ends of the lines."}}
if textures:
    on_textures = {
        name: (line(name)[0], *claims.mean_and_uncertainty(values))
        for name, values in textures.items()
    }
    both = {run.images.name: {name: line(name) for name in textures}}
    both["textures/test"] = on_textures
    display(plots.depth_panels(both, y_label="knows its place", within=(0.0, 1.0)))
else:
    print(
        "Nothing to show here. Textures are shown where maps can be made and images"
    )
    print("are those of the tiny profile: leave images as None.")

# %% [markdown]
# ## Where can a class be read? Figure D.4
#
# Section 7 trained a probe on each single token and took the mean of the accuracies. Here each accuracy is drawn at the place of its token: bright
# where the class can be read from the token. The probes
# are those of Section 7: ten images of each class to train on, other images to test.
#
# By hand on eight images of two tokens: the first token says the class, the second is noise. Which of the two accuracies is 1?

# %%
torch.manual_seed(0)
labels = torch.tensor([0, 1] * 4)
two_tokens = torch.stack([2.0 * labels - 1, torch.randn(8)])[:, :, None]
for token in two_tokens:
    centred, target = token[:, 0] - token.mean(), 2.0 * labels - 1
    slope = (centred @ target) / (centred @ centred + 1)
    right = ((slope * centred > 0) == (labels == 1)).double()
    print(f"{right.mean():.3f}")

# %% [markdown]
# **Predict.** What an image shows is mostly in its middle. In the first block, which tokens know most about the class? And in the last block of a
# network whose classifier reads the mean of all tokens?
#
# We take the first, a middle and the last block of the two ViTs (one with a CLS token, one with GAP) and of the first CNN.

# %%
from seelike.models import layers
from seelike.sections.linear_probes import why_no_probes

why_not = why_no_probes(run.probe_images, per_class=10)
print(why_not or "Probes can be trained on these images.")
probed = {}
of_kinds = dict.fromkeys([*(of_pairs or run.vits[:1]), *run.cnns[:1]])
for name in of_kinds or run.names[:1]:
    if name in maps and not why_not:
        every = layers(run.models[name], kinds=["block"])
        three = {every[0], every[len(every) // 2], every[-1]}
        probed[name] = [block.name for block in every if block in three]

# %% [markdown]
# Each repeat draws new images, to train on and to test.

# %%
from seelike.probes import probe_layers
from seelike.sections.linear_probes import HELD_OUT, training_and_test_images

accuracies = {name: [] for name in probed}
for repeat in range(run.repeats if probed else 0):
    drawn = {"number_of_test_images": 300, "seed": run.seed + repeat}
    training, test = training_and_test_images(
        run.probe_images, per_class=10, **drawn
    )
    options = {"tokens": "each", "held_out": HELD_OUT}
    for name, of_network in accuracies.items():
        found = probe_layers(
            run.models[name], training, test, layers=probed[name], **options
        )
        of_network.append([probe.map.numpy() for probe in found])

# %% mystnb={"figure": {"caption": "Accuracy of a linear probe on each single token, at its place in the image, mean over draws (the paper's Figure D.4). Each map has its own scale.", "name": "fig-accuracy-maps"}, "image": {"alt": "A row of three heat maps for each network, for its first, a middle and its last block: accuracy of a probe on each token. The lowest and highest accuracies are printed below."}}
accuracy = {
    name: dict(zip(probed[name], np.mean(draws, axis=0), strict=True))
    for name, draws in accuracies.items()
}
plots.accuracy_maps(accuracy) if accuracy else run.say_missing()

# %% [markdown]
# Each map has its own scale, so look at the numbers, too. The number after "±" says how far the mean over tokens moves from draw to draw.

# %%
for name, draws in accuracies.items():
    _, half_width = claims.mean_and_uncertainty(np.mean(draws, axis=(2, 3)))
    for (block, values), error in zip(
        accuracy[name].items(), half_width, strict=True
    ):
        print(
            f"{name}, {block}: {values.min():.0%} to {values.max():.0%}, "
            f"mean {values.mean():.1%} ± {error:.1%}"
        )

# %% [markdown]
# ## Look around
#
# The slider goes up through the blocks: of the first ViT, of the one with GAP, and of the first CNN.

# %%
figures, alt = {}, {}
roles = [run.vits, gap_vits, run.cnns, run.mixers, run.others]
firsts = dict.fromkeys(names[0] for names in roles if names)
for name in (name for name in firsts if name in maps):
    for block, value in zip(blocks[name], line(name)[1], strict=True):
        label = f"{name} {block.name}"
        figures[label] = plots.token_maps(rows(name, [block]))
        alt[label] = f"Maps of four tokens; localization of the block {value:.2f}."
plots.states(figures, "Block", alt) if figures else run.say_missing()

# %% [markdown]
# With a kernel, you can look at any token of any network and block.


# %% tags=["remove-output"]
def one_token(network, block, token):
    """Draw the map of one token."""
    name = blocks[network][block % len(blocks[network])].name
    title, own = f"{network}\n{name}", mean_maps[network][name]
    return plots.token_maps({title: own}, {title: [token % len(own)]})


if maps:
    choices = {"network": list(maps), "block": range(8), "token": range(49)}
    display(plots.live(one_token, **choices))

# %% [markdown]
# ## What we take with us
#
# **The paper found** that ViT-H/14 is well localized in its last two blocks, and ViT-L/16 and ViT-B/32 in the blocks before the last; that layers
# of a ResNet below the last localize better than the last, but not as clearly as ViTs with a CLS token; and that in the top layers probes on single
# tokens do poorly in the ViT with CLS token, and well all over the image in the one with GAP and in the ResNet.
#
# **The pretrained networks** have tokens that keep their place longer than one would expect. Up to four fifths of the depth, nearly every token is most
# like its own patch, both in the ViT-S/14 and in EfficientNet-Lite0. In the last blocks this holds for fewer tokens, and the loss is larger in the ViT.
# In the maps of accuracy, the class is best read where the object is. In CIFAR-10 the object is in the middle, and there the probes on single tokens of
# the last block are most accurate. This is plain in the CNN.
#
# **The tiny networks** point the paper's way; Section 7 says how sure that is. In the first block all tokens of all ViTs know their place. In the last block, many tokens still do in a
# ViT with a CLS token, and fewer do with GAP. In the ResNets most tokens know their place at first, and few do at the end. With a CLS token, the
# accuracies differ from token to token up to the last block; with GAP they do not.
#
# **Why.** Convolutions can keep the place of a location for some blocks, but each block mixes in what is around, and a classifier that reads the mean
# of all locations has no use for places. In a ViT the skip connection hands on the token. In a ViT with a CLS token, the loss asks nothing of the
# spatial tokens of the last block. The tiny networks may differ: with 8 blocks and 49 tokens there is little room for tokens to divide the
# work. And garments of 28 x 28 pixels are so alike in shape that a patch tells much of another patch far away: with the `tiny` profile, the two panels
# with textures say how much of the fall in localization is due to that.
#
# ## Try it yourself
#
# Put a number or a function in the place of `None` and run the cell: it says what is off.
#
# **D.1** Write a function that gives the distance in cells between a token and a patch, counted so that all eight neighbours are one cell away. Tokens
# and patches are numbered row by row from 0, and the third argument is the number of them in a row.

# %% tags=["exercise", "show-code"]
from seelike import exercises

answer = None
exercises.check("D.1", answer)

# %% [markdown]
# And to look into with the page itself:
#
# 1. Set `models` to `"tiny/vit_7x7:random,tiny/resnet:random"`. What do the lines of the first figure look like before training?
#
# <details><summary>Answers</summary>
#
# **D.1**
#
# ```python
# def answer(token, patch, width):
#     down = abs(token // width - patch // width)
#     return max(down, abs(token % width - patch % width))
# ```
#
# 1. High to the end in the ViT: with random weights its branches are small beside its skip connections. Its localization is not learned, but training may destroy it. In the ResNet each block mixes
#    neighbouring places, so that the line falls towards the end.
#
# </details>
#
# **Summary.** One number for each block says how many tokens know their place, and the maps say which patches the other tokens are like instead. Probes
# on single tokens ask another question: not which patch a token is most like, but whether the class can be read from it.
#
# **Next:** [Appendix E](E_propagation.ipynb) looks at what skip connections hand on, in every block.
