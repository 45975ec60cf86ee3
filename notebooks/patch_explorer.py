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
# **Question.** Take one small patch of a picture, and follow it through a network. In a ViT the patch becomes a token, which is there in every block. Where do the heads look from this token? Which
# other patches does the token become like? Which pixels does it depend on? And what does a CNN have at the same place?
#
# [Section 5](05_local_global.ipynb) and [Section 7](07_spatial_localization.ipynb) answer for all patches and many images, with one number for each block. Here you see what such numbers are made of. Nothing on this page is a claim, and one patch proves nothing.
#
# | | |
# |---|---|
# | **You will learn** | to read a head, a similarity and a receptive field as maps over the patches, and to tell what depends on the place from what depends on the object shown there |
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
# One line loads the networks that the parameters name. The page uses only pictures that it is allowed to show.

# %%
import numpy as np

import seelike

run = seelike.start(globals(), "patch_explorer")
pictures = run.to_show(run.images).select(np.array([7, 3]))

# %% [markdown]
# **Predict.** In which blocks do the heads of a ViT look far, in the first or in the last? In which blocks is a token like the patches beside it, and in which like other patches of the same object?
# And which of the two networks depends on the far side of the picture first?
#
# Click a patch of the picture, or move there with the arrow keys; the slider goes through the blocks.

# %%
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
# How to read it, all for the patch in the white square:
#
# - *Heads.* The attention that the patch's token gives to each patch, without the CLS token. Above each map stands the mean distance: the attention distance of this one query. Below it stands the share of the CLS token.
# - *Alike.* The cosine of the patch's token with that of every patch: 1 where they point the same way, 0 where they have nothing in common.
# - *Receptive field.* How much the token depends on the pixels of each patch, as a share of the whole: the absolute derivatives of a sample of 4 channels, as in Section 5.
#
# A CNN has no tokens and no heads. In the place of the token, the page takes the location of the feature map that contains the middle of the patch, in the block at the same relative depth. In low blocks,
# a patch covers several locations. In high blocks, several patches share one location, and so have the same receptive field.
#
# To keep the page small, attention and receptive fields are stored in 127 steps up to the maximum of each map, and cosines to four decimals.
#
# ## Three things to try
#
# **1. Follow the distances.** Stay at one patch and move the slider from the first block to the last. Read the distances above the heads, then look at the maps: which heads have the same distance, but different maps?
#
# - **The pretrained networks**: in a block below the middle some heads look at the next few patches while others reach across the picture. That is what Section 5 finds on average. In the first block most heads
#   do not look nearby, or give most attention to the CLS token. And in the last block the same heads look nearby when the patch is on the face of a dog, and far away when it is on the
#   wall behind the dog: a mean over patches does not show this.
# - **The tiny networks**: every head has about the mean distance of a head that looks everywhere equally. But the maps differ greatly: one head may look at a far edge, another at everything. A mean distance cannot tell these heads apart.
#
# **2. From the place to the object.** Choose a patch of the object in the picture, then a patch of the background, and move the slider up through the blocks. Look at *Alike*.
#
# - **The pretrained networks**: low in the ViT, the tokens of patches that look alike are alike, such as those of the boards of the wall. In the last block of the ViT, the picture of the dogs falls into two parts:
#   the dogs, and all the rest. The second dog is like the first, however far away. So a token tells more about the object, and less about the place; [Section 7](07_spatial_localization.ipynb) measures how much of the place is left. The CNN finds the second dog, too, at half depth. In the last block of the CNN, neighbouring patches are alike instead: each location of the map sees most of what the next one sees.
# - **The tiny networks**: tokens of the ViT are like their neighbours in every block, and there are no two parts.
#
# **3. Where a token comes from.** Look at the *Receptive field* of one patch, and click through the patches in the last block.
#
# - In the ViT every part of the picture has a small share already in the first block, since attention reaches the whole picture in one step. For most patches, the brightest place is still the patch itself, up to the last block: the skip connections pass it on ([Section 6](06_skip_connections.ipynb)).
# - In the CNN the receptive field begins as the patch itself and a rim around it, and grows from block to block, as each convolution widens it. At the end the brightest place is often not the patch that you clicked.
#
# The paper's Figure 6 shows both, for the patch in the middle and averaged over images. Here you see every patch of one picture, before any average.
#
# **Next:** [Section 8](08_scale_and_transfer.ipynb), on what data and size change. Or go back to [the story](../book/story.md) with this patch in mind.
