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
# # One patch, block by block
#
# **Question.** Take one small patch of a picture, and follow it through a network. In a ViT it becomes a token, which is there in every block. Where do the heads look from there? Which patches does
# it become like? Which pixels does it answer to? And what does a CNN have at the same place?
#
# [Section 5](05_local_global.ipynb) and [Section 7](07_spatial_localization.ipynb) answer for all patches and many images, with one number for each block. Here you see what such numbers are made of. Nothing on this page is a claim, and one patch proves nothing.
#
# | | |
# |---|---|
# | **You will learn** | to read a head, a likeness and a receptive field as maps over the patches, and to tell what belongs to the place from what belongs to the thing |
# | **You need** | the words of [the story](../book/story.md): patch, token, head, block |
# | **Cost** | seconds on two CPU cores (`tiny`); a few minutes with pretrained networks |

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
# `.venv/bin/papermill notebooks/patch_explorer.ipynb out.ipynb -p images ~/photos`; `None` takes the value of the profile.

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
# One line loads the networks that the parameters name. The pictures are some that may be shown.

# %%
import numpy as np

import seelike

run = seelike.start(globals(), "patch_explorer")
pictures = run.to_show(run.images).select(np.array([7, 3]))

# %% [markdown]
# **Predict.** The first block and the last: in which do the heads of a ViT look farther? When is a token like its neighbours, and when like other patches of the same thing? And does a CNN ever see
# what is on the other side of the picture?
#
# Click a patch of the picture, or move there with the arrow keys; the slider goes through the blocks. The number at a head is its attention distance from this one patch.

# %% mystnb={"figure": {"caption": "One patch of a picture, in some blocks of a ViT and at the same relative depth of a CNN. Attention: what each head gives to each patch, and the mean distance. Alike: the cosine of the patch's token with that of every patch. Receptive field: the share of each patch in the derivatives of the token by the pixels. The white square is the chosen patch.", "name": "fig-one-patch"}}
from seelike.plots.explorers.patch import patch_explorer


def explorer(name):
    """A ViT and the first CNN, on the same pictures."""
    networks = {each: run.models[each] for each in [name, *run.cnns[:1]]}
    return patch_explorer(
        networks, pictures, at=(0.3, 0.25), channels=4, seed=run.seed
    )


shown = seelike.where_possible(run.vits[:1], explorer)
next(iter(shown.values())) if shown else run.say_missing("vits")

# %% [markdown]
# Three things are good to know of these maps.
#
# - A CNN has no tokens. The place of its map where the middle of the patch lies stands for one. Low maps have several places in a patch; of high ones several patches share a place.
# - The field is of a sample of 4 channels of the token, as in Section 5, here on one picture for every patch.
# - What is stored is small, so some of it is rounded: attention and fields to a hundredth of the brightest patch of their map, cosines to four decimals.
#
# ## Three things to try
#
# TODO
