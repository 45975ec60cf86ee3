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
# # Section 7: Spatial information and localization
#
# **Question.** A token of a ViT begins as one patch of the image. After a dozen blocks in which every token looked at every other: is it
# still about that patch? Who wants to find objects, and not only to name them, needs to know.
#
# | | |
# |---|---|
# | **You will learn** | to map a token back onto the image; why the way a network is read out decides what its tokens keep; what a probe on a single token can tell |
# | **You need** | [Section 3](03_background.ipynb) for CKA; [words](../book/glossary.md) |
# | **Cost** | about a minute on two CPU cores (`tiny`); not yet measured on a GPU (`colab`, `paper`) |

# %% tags=["remove-cell"]
# Colab only: install the library when it is missing.
import importlib.util

if importlib.util.find_spec("seelike") is None:
    _repository = "git+https://github.com/seelike/seelike"
    get_ipython().run_line_magic("pip", f'install -q "seelike @ {_repository}"')

# %% [markdown]
# These parameters can be changed here or from the command line, as in
# `.venv/bin/papermill notebooks/07_spatial_localization.ipynb out.ipynb -p images ~/photos`; `None` takes the value of the profile.

# %% tags=["parameters"]
profile = "tiny"  # "tiny", "colab" or "paper"
models = None  # names of networks, as a list or separated by commas
images = None  # "fashion-mnist", or a folder of images
number_of_images = None
batch_size = None
repeats = None
seed = 0
device = None  # "cpu" or "cuda"

# %% [markdown]
# One line loads the networks and the images that the parameters name.

# %%
import seelike

run = seelike.start(globals(), "07_spatial_localization")

# %% [markdown]
# ## The measure
#
# Take one token over many images, and the pixels of one patch over the same images. CKA says how alike the two arrange the images.
# Do that for all patches, and a token has a map of the image: bright where it is about.
#
# By hand, on images of 2 x 2 patches of one pixel each. The first token copies its own patch and adds a little noise; the
# second is a mixture of all patches.

# %%
import torch

torch.manual_seed(0)
pixels = torch.randn(64, 1, 2, 2)
own = pixels[:, 0, 0, :1] + 0.3 * torch.randn(64, 1)
mixture = pixels.flatten(1) @ torch.randn(4, 3)
tokens = [own, mixture]

# %% [markdown]
# For each token and each patch one CKA, as in Section 3.

# %%
from seelike.cka import cka

for token in tokens:
    print(
        [round(cka(token, pixels[:, 0, i, j]), 3) for i in (0, 1) for j in (0, 1)]
    )

# %% [markdown]
# The first token's map is bright at its own patch and dark elsewhere, that of the mixture is not. The library computes all tokens
# against all patches as one product of matrices.

# %%
from seelike.localization import TokenPatchCKA

similarity = TokenPatchCKA(grid=(2, 2))
four_tokens = torch.zeros(64, 4, 3)
four_tokens[:, 0, :1], four_tokens[:, 1] = own, mixture
four_tokens[:, 2:] = pixels.flatten(1)[:, 2:, None]
similarity.update(pixels, four_tokens)
print(similarity.compute()[:2].flatten(1))

# %% [markdown]
# ## Measure
#
# The last block of every network, once for each draw of images. A location of a ResNet's feature map counts as a token, and the image is cut
# into as many patches as the map has locations.

# %%
from seelike.localization import token_patch_cka
from seelike.models import layers

grouped = [name for group in run.groups["cls_and_gap"] for name in group]
maps = {}
for name in dict.fromkeys([*run.vits, *run.resnets, *run.mixers, *grouped]):
    network = run.models[name]
    last = layers(network, kinds=["block"])[-1:]
    maps[name] = [
        token_patch_cka(network, last, images, minibatch=run.batch_size)[
            last[0].name
        ].cka
        for images in run.draws()
    ]

# %% [markdown]
# ## Tokens on the image: Figure 9
#
# **Predict.** The paper shows a token at the corner, one at an edge and some of the interior. For which of them will the map of a ViT have a single
# bright spot? And where will a ResNet's tokens be bright?

# %% mystnb={"figure": {"caption": "CKA of single tokens of the last block with all patches of the image (the paper's Figure 9). A frame marks the token's own place. Each row has its own scale.", "name": "fig-token-maps"}, "image": {"alt": "A row of heat maps for each network: a token at the corner, one at an edge, two of the interior. A white frame marks the token's own place. The numbers below say how often the brightest patch is there."}}
from seelike import plots

shown = [*run.vits, *run.resnets]
mean_maps = {name: torch.stack(maps[name]).mean(dim=0).numpy() for name in shown}
plots.token_maps(mean_maps) if shown else None

# %% [markdown]
# ### How many tokens know their place?
#
# For each interior token we look for its brightest patch, and count those for which it is their own or one of the eight
# around it. A token that knows nothing would be right by chance in 9 of 49 cases, more often on a coarser grid: so chance is subtracted, and
# 1 means that all tokens know their place.

# %%
import numpy as np

from seelike.spatial_information import localization_above_chance

knows_place = {
    name: np.array([localization_above_chance(each) for each in draws])
    for name, draws in maps.items()
}
for name, values in knows_place.items():
    print(f"{name}: {values.mean():.2f}")

# %% [markdown]
# The claim compares ViTs with ResNets.

# %%
from seelike import claims


def of(names, values):
    """The values of some of the networks."""
    return [values[name] for name in names]


claims.record_difference(
    "vit_tokens_stay_at_their_place",
    of(run.vits, knows_place),
    of(run.resnets, knows_place),
    figure_name="fig-token-maps",
)

# %% [markdown]
# ## Another way to read out: Figure 10
#
# A ViT has a CLS token for the classifier, a ResNet gives it the mean of all locations. A ViT can be trained like that, too: global
# average pooling, GAP.
#
# **Predict.** The classifier of a GAP ViT reads every token. Will its tokens know their place better than those of a ViT with a CLS token, or
# worse?

# %% mystnb={"figure": {"caption": "The same maps for a ViT with CLS token and one that was trained with global average pooling (the paper's Figure 10).", "name": "fig-gap"}, "image": {"alt": "Two rows of heat maps, one for the ViT with CLS token and one for the ViT with GAP. A white frame marks the token's own place. The claim below says which of the two knows its place better."}}
pairs = run.groups["cls_and_gap"]
pair_maps = {
    name: torch.stack(maps[name]).mean(dim=0).numpy()
    for pair in pairs
    for name in pair
}
plots.token_maps(pair_maps) if pairs else None

# %% [markdown]
# The claim takes the first network of the pair as the one with the CLS token.

# %%
claims.record_difference(
    "gap_localizes_less",
    of([pair[0] for pair in pairs], knows_place),
    of([pair[1] for pair in pairs], knows_place),
    figure_name="fig-gap",
    compares="a ViT with CLS token with one trained with GAP",
)

# %% [markdown]
# ## What can be read from one token: Figure 11
#
# A token that keeps to its patch cannot know what the whole image shows. So train a linear classifier on a single token, and see: where tokens are
# local it should fail. The classifier is a ridge regression on ten images of each class, in closed form; its strength is chosen on images
# that are held out.
#
# **Predict.** In the last block: which network's single tokens classify best, and which worst?
#
# As in the paper, these are the ViT with CLS token, the one with GAP, and ResNets. Probes need classes: where the images have none,
# this part is left out.

# %%
from seelike.few_shot_probes import accuracy_by_block

probed = dict.fromkeys([*grouped, *run.resnets])
accuracy = accuracy_by_block(
    {name: run.models[name] for name in probed},
    run.images,
    tokens=["each", "first", "mean"],
    repeats=run.repeats,
    seed=run.seed,
    batch_size=run.batch_size,
)


def line(name, kind):
    """Relative depth, mean accuracy and its band, for a figure."""
    values = accuracy[name][kind]
    depth = np.linspace(0, 1, values.shape[1])
    return depth, *claims.mean_and_uncertainty(values)


tested = list(accuracy)

# %% [markdown]
# First, single tokens: the left half of Figure 11.

# %% mystnb={"figure": {"caption": "Accuracy of linear probes on single spatial tokens, mean over tokens, by relative depth (the paper's Figure 11, left). Bands are 95 % intervals over draws of images.", "name": "fig-probes-each"}, "image": {"alt": "A line for each network: accuracy of probes on single tokens against relative depth. The claims below compare their right ends."}}
if tested:
    lines = {name: line(name, "each") for name in tested}
    display(plots.depth_lines(lines, y_label="accuracy, single token"))

# %% [markdown]
# The claims compare the last block. The ViT with CLS token is the first of the pair.

# %%
top = {name: accuracy[name]["each"][:, -1] for name in tested}
cls_vits = [pair[0] for pair in pairs] if tested else []
claims.record_difference(
    "spatial_tokens_of_cls_classify_worse_than_gap",
    of([pair[1] for pair in pairs] if tested else [], top),
    of(cls_vits, top),
    figure_name="fig-probes-each",
    compares="single tokens of a ViT with GAP and of one with CLS token, on images with classes",
)
claims.record_difference(
    "spatial_tokens_of_cls_classify_worse_than_resnet",
    of(run.resnets if tested else [], top),
    of(cls_vits, top),
    figure_name="fig-probes-each",
    compares="single tokens of ResNets and of a ViT with CLS token, on images with classes",
)

# %% [markdown]
# Then the same ViTs, read out in two ways: by their first token, which is the CLS token where there is one and else the token of
# the upper left corner, and by the mean of all tokens.

# %% mystnb={"figure": {"caption": "Accuracy of linear probes on the first token and on the mean of all tokens, for ViTs with CLS token and with GAP (the paper's Figure 11, right).", "name": "fig-probes-pooled"}, "image": {"alt": "Four lines for each pair: first token and mean of all tokens, of the ViT with CLS token and of the one with GAP, against relative depth. The claim below compares the right ends of the two lines of the GAP network."}}
names = [name for pair in pairs for name in pair if name in tested]
if names:
    lines = {
        f"{name}, {kind}": line(name, kind)
        for name in names
        for kind in ("first", "mean")
    }
    display(plots.depth_lines(lines, y_label="accuracy"))

# %% [markdown]
# "As well as all" cannot be shown as such. The claim says that the corner token of the GAP network is at most five points of accuracy
# behind the mean of all tokens.

# %%
gaps = [pair[1] for pair in pairs] if tested else []
claims.record_difference(
    "one_gap_token_does_as_well_as_all",
    [accuracy[name]["first"][:, -1] + 0.05 for name in gaps],
    [accuracy[name]["mean"][:, -1] for name in gaps],
    figure_name="fig-probes-pooled",
    compares="tokens of a ViT with GAP, on images with classes",
)

# %% [markdown]
# ## Look around
#
# The slider goes through all tokens of the first ViT, row by row.

# %%
figures, alt = {}, {}
if run.vits:
    name = run.vits[0]
    for token in range(0, len(mean_maps[name]), max(1, len(mean_maps[name]) // 49)):
        row, column = divmod(token, mean_maps[name].shape[2])
        label = f"token {token}: row {row + 1}, column {column + 1}"
        figures[label] = plots.token_maps({name: mean_maps[name]}, {name: [token]})
        best = divmod(
            int(np.nanargmax(mean_maps[name][token])), mean_maps[name].shape[2]
        )
        alt[label] = f"Brightest at row {best[0] + 1}, column {best[1] + 1}."
plots.states(figures, "Token", alt) if figures else None

# %% [markdown]
# With a kernel, any token of any network.


# %% tags=["remove-output"]
def one_token(network, token):
    """Draw the map of one token."""
    cka = torch.stack(maps[network]).mean(dim=0).numpy()
    return plots.token_maps({network: cka}, {network: [token % len(cka)]})


if maps:
    display(plots.live(one_token, network=list(maps), token=range(49)))

# %% [markdown]
# ## What we take with us
#
# **The paper found** that interior tokens of a ViT's last block are most like their own patch, and that tokens at the edge are like other places of the
# edge; that ResNets localize far less; that GAP reduces localization in a ViT; that single spatial tokens classify poorly in a ViT with CLS token and
# well in a ResNet and in a ViT with GAP; and that in the latter one token does as well as all.
#
# **Here we see**
#
# <!-- numbers: what to say here -->
#
# **Why.** A loss that reads only the CLS token leaves the other tokens free: what they carry in the last block is used by nothing, so the skip
# connections may as well hand their patch on. A loss that reads the mean of all tokens asks each of them to speak for the class. Garments
# are all in the middle and all upright: the patches of one image tell much of each other, and a token can be like a distant patch because
# both are dark.
#
# ## Try it yourself
#
# 1. Set `models` to `"tiny/vit_7x7:random,tiny/resnet:random"`. How well do tokens know their place before training, and why is that no surprise?
# 2. Set `images` to `"textures/test"`. In a texture every place looks like every other. What becomes of the maps?
# 3. The paper's probes take ten images of each class. Give `accuracy_by_block` a `per_class` of 50. Which lines move?
#
# <details><summary>Answers</summary>
#
# 1. Very well in the ViT: with random weights the branches add little, and the skip connections hand each patch on. Localization is not
#    learned, it is what training may destroy.
# 2. Neighbouring patches of a texture are alike in kind but not in phase, so a map is nearly flat but for the token's own place, if that is
#    kept at all.
# 3. All of them rise; those of wide layers rise most, as a probe with many weights needs many images.
#
# </details>
#
# **Next:** [Section 8](08_scale_and_transfer.ipynb) asks what more data changes. Earlier blocks and maps of the accuracy are in
# [Appendix D](D_localization.ipynb).
