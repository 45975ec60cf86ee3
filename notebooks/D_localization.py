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
# # Appendix D: More on localization
#
# **Question.** [Section 7](07_spatial_localization.ipynb) looked at the last block. Where on the way up is a place lost, and where in the image can a single token be read best?
#
# | | |
# |---|---|
# | **You will learn** | how localization goes with depth and with size; how accuracy lies over the image |
# | **You need** | [Section 7](07_spatial_localization.ipynb); [words](../book/glossary.md) |
# | **Cost** | about a minute on two CPU cores (`tiny`); not yet measured on a GPU (`colab`, `paper`) |

# %% tags=["remove-cell"]
# Colab only: install the library when it is missing.
import importlib.util

if importlib.util.find_spec("seelike") is None:
    _repository = "git+https://github.com/seelike/seelike"
    get_ipython().run_line_magic("pip", f'install -q "seelike @ {_repository}"')

# %% [markdown]
# These parameters can be changed here or from the command line, as in
# `.venv/bin/papermill notebooks/D_localization.ipynb out.ipynb -p images ~/photos`; `None` takes the value of the profile.

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

run = seelike.start(globals(), "D_localization")

# %% [markdown]
# ## Measure
#
# For each network some blocks, evenly spaced from first to last, and the one before the last, which the paper shows.

# %%
import numpy as np

from seelike.localization import token_patch_cka
from seelike.models import layers

cls_and_gap = [name for group in run.groups["cls_and_gap"] for name in group]
maps = {}
for name in dict.fromkeys([*run.vits, *run.resnets, *run.mixers, *cls_and_gap]):
    blocks = layers(run.models[name], kinds=["block"])
    places = {
        0,
        len(blocks) // 3,
        2 * len(blocks) // 3,
        len(blocks) - 2,
        len(blocks) - 1,
    }
    chosen = [blocks[place] for place in sorted(places) if place >= 0]
    maps[name] = [
        token_patch_cka(run.models[name], chosen, images, minibatch=run.batch_size)
        for images in run.draws()
    ]

# %% [markdown]
# ## Other sizes and layers: Figures D.1 and D.2
#
# **Predict.** Do larger ViTs know their place better? And is the block before the last better than the last?

# %% mystnb={"figure": {"caption": "CKA of single tokens with all patches of the image: the last block of each ViT, and the block before it (the paper's Figures D.1 and D.2). A frame marks the token's own place. Each row has its own scale.", "name": "fig-vits"}, "image": {"alt": "Two rows of heat maps for each ViT, for its last block and the one before. A white frame marks the token's own place. The lines below give the share of tokens that are brightest there."}}
from seelike import plots


def mean_map(name, block):
    """CKA of all tokens with all patches, mean over the draws."""
    return np.mean([draw[block].cka.numpy() for draw in maps[name]], axis=0)


rows = {}
for name in run.vits:
    for block in list(maps[name][0])[-2:]:
        rows[f"{name.removeprefix('tiny/')} {block.removeprefix('block ')}"] = (
            mean_map(name, block)
        )
plots.token_maps(rows) if rows else None

# %% [markdown]
# ## Lower layers of ResNets: Figure D.3
#
# Low layers of a ResNet have fine maps, and the image is cut into as many patches. Such maps are drawn for a corner, an edge and two places inside, like all others.
#
# **Predict.** Do low layers of a ResNet know their place better than the last one?

# %% mystnb={"figure": {"caption": "The same for layers of ResNets, from low to high (the paper's Figure D.3).", "name": "fig-resnets"}, "image": {"alt": "Rows of heat maps for each ResNet, from low to high blocks. A white frame marks the token's own place. The lines below give the share of tokens that are brightest there."}}
rows = {}
for name in run.resnets[:1]:
    for block in maps[name][0]:
        rows[f"{name.removeprefix('tiny/')} {block.removeprefix('block ')}"] = (
            mean_map(name, block)
        )
plots.token_maps(rows) if rows else None

# %% [markdown]
# ## How many tokens know their place, by depth
#
# The number of Section 7 for all of these layers: 1 where all interior tokens are most like their own patch or a neighbour of it, 0 where it is chance.

# %% mystnb={"figure": {"caption": "Share of interior tokens that know their place, beyond chance, by relative depth. Bands are 95 % intervals over draws of images.", "name": "fig-by-depth"}, "image": {"alt": "A line for each network: share of tokens that know their place against relative depth, from 1 for all to 0 for chance."}}
from seelike import claims
from seelike.spatial_information import localization_above_chance

lines = {}
for name, draws in maps.items():
    values = np.array(
        [
            [localization_above_chance(m.cka) for m in draw.values()]
            for draw in draws
        ]
    )
    last = len(layers(run.models[name], kinds=["block"]))
    depth = np.array([int(block.removeprefix("block ")) for block in draws[0]])
    lines[name] = (
        (depth - 1) / max(1, last - 1),
        *claims.mean_and_uncertainty(values),
    )
plots.depth_lines(
    lines, y_label="knows its place, beyond chance"
) if lines else None

# %% [markdown]
# ## Where in the image can a token be read? Figure D.4
#
# Section 7 averaged the accuracy of probes over tokens. Here is each of them at its place. Every panel has its own scale, as in the paper.
#
# **Predict.** Garments are in the middle. Will tokens of the middle classify best in the first block? And in the last?
#
# Probes need classes. Where the images have none, this part is left out.

# %%
from seelike.few_shot_probes import training_and_test_images
from seelike.probes import probe_layers

probed = list(dict.fromkeys([*cls_and_gap, *run.resnets[:1]]))
accuracy = {}
if run.images.labels is not None:
    training, test = training_and_test_images(
        run.images, per_class=10, number_of_test_images=1000, seed=run.seed
    )
    for name in probed:
        blocks = layers(run.models[name], kinds=["block"])
        names = [
            blocks[place].name
            for place in sorted({0, len(blocks) // 2, len(blocks) - 1})
        ]
        found = probe_layers(
            run.models[name], training, test, tokens="each", layers=names
        )
        accuracy[name] = {probe.layer.name: probe for probe in found}

# %% mystnb={"figure": {"caption": "Accuracy of linear probes on single tokens, each at its place in the image: first, middle and last block (the paper's Figure D.4). Each panel has its own scale.", "name": "fig-accuracy-maps"}, "image": {"alt": "Three maps of accuracy for each network, for its first, middle and last block. The list below says how far apart the best and the worst token of each are."}}
panels = {
    f"{name.removeprefix('tiny/')} {block.removeprefix('block ')}": probe.map.numpy()
    for name, probes in accuracy.items()
    for block, probe in probes.items()
    if probe.grid is not None
}
plots.accuracy_maps(panels) if panels else None

# %% [markdown]
# The same in numbers.

# %%
for title, panel in panels.items():
    print(
        f"{title}: worst {panel.min():.2f}, mean {panel.mean():.2f}, best {panel.max():.2f}"
    )

# %% [markdown]
# ## Look around
#
# Every network and block of this page.

# %%
figures, alt = {}, {}
for name, draws in maps.items():
    for block in draws[0]:
        label = f"{name}, {block}"
        figures[label] = plots.token_maps({block: mean_map(name, block)})
        knows = np.mean(
            [localization_above_chance(draw[block].cka) for draw in draws]
        )
        alt[label] = f"{knows:.2f} of the tokens know their place, beyond chance."
plots.states(figures, "Layer", alt) if figures else None

# %% [markdown]
# With a kernel, any token.


# %% tags=["remove-output"]
def one_token(network, token):
    """Draw the map of one token in all blocks of a network that have it."""
    rows = {block: mean_map(network, block) for block in maps[network][0]}
    return plots.token_maps(
        rows, {block: [token % len(cka)] for block, cka in rows.items()}
    )


if maps:
    display(plots.live(one_token, network=list(maps), token=range(49)))

# %% [markdown]
# ## What we take with us
#
# **The paper found** that ViT-H/14 localizes as well, in its last block and the one before; that other high layers of ViT-L/16 and ViT-B/32 do; that lower layers of a ResNet localize better
# than its last, but not as well as a ViT with CLS token; and that probes on single tokens do badly for the CLS ViT all over the image.
#
# **Here we see**
#
# <!-- numbers: what to say here -->
#
# **Why.** A ResNet's location is a place by construction in low layers, where its field is small; with every block the field grows, and the place is blurred. A ViT's token is a place by its skip
# connections, and stays one as long as the branches add little.
#
# ## Try it yourself
#
# 1. A corner of a garment image is black in nearly all images. What should the map of its token look like, and what does its probe know?
# 2. Set `images` to `"textures/test"`: no place is special there. What happens to the maps of accuracy?
#
# <details><summary>Answers</summary>
#
# 1. A patch that is the same in all images has no CKA: its place is grey, or dark. The token may still know the class, by what attention brought there.
# 2. They become flat: what is left is noise of the test images.
#
# </details>
#
# **Next:** [Appendix E](E_propagation.ipynb), skip connections by angle.
