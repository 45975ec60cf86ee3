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
# # Appendix B: More representation structure
#
# **Question.** [Section 4](04_representation_structure.ipynb) looked at two ViTs and two ResNets. Do other sizes show the same?
#
# | | |
# |---|---|
# | **You will learn** | whether the pictures of Section 4 depend on the size of the networks; which layers of one network stand for which of another |
# | **You need** | [Section 4](04_representation_structure.ipynb); [words](../book/glossary.md) |
# | **Cost** | about a minute on two CPU cores (`tiny`); not yet measured on a GPU (`colab`, `paper`) |

# %% tags=["remove-cell"]
# Colab only: install the library when it is missing.
import importlib.util

if importlib.util.find_spec("seelike") is None:
    _repository = "git+https://github.com/seelike/seelike"
    get_ipython().run_line_magic("pip", f'install -q "seelike @ {_repository}"')

# %% [markdown]
# These parameters can be changed here or from the command line, as in
# `.venv/bin/papermill notebooks/B_representation_structure.ipynb out.ipynb -p images ~/photos`; `None` takes the value of the profile.

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

run = seelike.start(globals(), "B_representation_structure")

# %% [markdown]
# ## Measure
#
# The same call as in Section 4, with other networks: at the `tiny` profile the larger ViTs.

# %%
from seelike.cka import compare_models

comparison = compare_models(
    run.models,
    run.images,
    number_of_images=run.number_of_images,
    batch_size=run.batch_size,
    repeats=run.repeats,
    seed=run.seed,
    device=run.device,
)

# %% [markdown]
# ## Within: Figure B.1, top
#
# **Predict.** A ViT twice as wide: brighter, darker, or the same grid?

# %% mystnb={"figure": {"caption": "CKA of all pairs of layers within each network (the paper's Figure B.1, top).", "name": "fig-more-within"}, "image": {"alt": "One square heat map for each network. Colour is CKA from 0, dark, to 1, bright. The table below gives the numbers of Section 4 for each."}}
from seelike import plots

plots.cka_maps([plots.map_between(comparison, name, name) for name in run.models])

# %% [markdown]
# By hand, one number of a map, as in Section 4: first against last layer of the first network, on the first draw.

# %%
import numpy as np
import torch

from seelike.cka import hsic, minibatches
from seelike.models import preprocessing, read

name, network = next(iter(run.models.items()))
first, *_, last = comparison.layers[name]
sample, prepare = (
    run.images.sample(run.number_of_images, seed=run.seed),
    preprocessing(network),
)
sums = np.zeros(3)
for part in minibatches(len(sample), run.batch_size):
    pixels = torch.stack([prepare(sample[i]) for i in range(part.start, part.stop)])
    x, y = read(network, [first, last], pixels).values()
    sums += [hsic(x, y), hsic(x, x), hsic(y, y)]
in_the_map = comparison.between(name, name)[0, 0, -1]
print(
    f"by hand {sums[0] / np.sqrt(sums[1] * sums[2]):.6f}, in the map {in_the_map:.6f}"
)

# %% [markdown]
# The statistics of Section 4 for these networks, as a table. Its claims are recorded there, once.

# %%
import pandas as pd

from seelike import representation_structure as structure

rows = {}
for name in run.models:
    cka, depth = comparison.between(name, name), comparison.depth(name)
    rows[name] = {
        "mean off the diagonal": structure.mean_off_diagonal(cka).mean(),
        "first with last third": structure.first_third_with_last_third(
            cka, depth
        ).mean(),
    }
pd.DataFrame.from_dict(rows, orient="index").round(3)

# %% [markdown]
# ## Between: Figure B.1, bottom
#
# **Predict.** In the paper some 60 of the lowest layers of ResNet50 are like the lowest 25 of ViT-B/32, and some 100 of the lowest of ResNet152 like the lowest 30 of ViT-H/14.
# In which place of the map would you look for that?

# %% mystnb={"figure": {"caption": "CKA of all layers of each ViT (upwards) with all layers of each ResNet (rightwards): the paper's Figure B.1, bottom.", "name": "fig-more-between"}, "image": {"alt": "One heat map for each pair of a ViT, vertical axis, and a ResNet, horizontal axis. Colour is CKA from 0, dark, to 1, bright. The list below says which ViT layer is most like the middle of the ResNet."}}
pairs = [(vit, resnet) for vit in run.vits for resnet in run.resnets]
if pairs:
    display(
        plots.cka_maps([plots.map_between(comparison, *pair) for pair in pairs])
    )

# %% [markdown]
# For each pair: the ViT layer that is most like the middle layer of the ResNet.

# %%
for vit, resnet in pairs:
    best = structure.depth_of_best_match(
        comparison.between(vit, resnet),
        comparison.depth(vit),
        comparison.depth(resnet),
    )
    print(f"the middle of {resnet} is most like depth {best.mean():.2f} of {vit}")

# %% [markdown]
# ## Look around
#
# Every pair of networks of this run.

# %%
from itertools import combinations_with_replacement

figures, alt = {}, {}
for a, b in combinations_with_replacement(run.models, 2):
    label = f"{a} and {b}"
    figures[label] = plots.cka_maps([plots.map_between(comparison, a, b)])
    alt[label] = f"CKA map of {label}, mean {comparison.mean(a, b).mean():.2f}."
plots.states(figures, "Networks", alt)

# %% [markdown]
# With a kernel, one row of a map: how like one layer is to all layers of another network.

# %% tags=["remove-output"]
from seelike import claims


def one_layer(network, other, percent):
    """Draw CKA of a layer, at a depth in percent, with all layers of another network."""
    row = int(np.abs(comparison.depth(network) - percent / 100).argmin())
    values = comparison.between(network, other)[:, row]
    line = comparison.depth(other), *claims.mean_and_uncertainty(values)
    layer = comparison.layers[network][row].name
    return plots.depth_lines(
        {f"{layer} of {network}": line}, y_label="CKA", title=other
    )


names = list(run.models)
display(plots.live(one_layer, network=names, other=names[::-1], percent=range(101)))

# %% [markdown]
# ## What we take with us
#
# **The paper found** the same grid and the same strong likeness of low and high layers in ViT-B/32, and in two more pairs that many low layers of a ResNet are like a
# few low layers of a ViT.
#
# **Here we see**
#
# <!-- numbers: what to say here -->
#
# **Why.** Width adds features, not places to put them: a wider network of the same depth has the same blocks, and its residual stream is carried by more numbers. That
# alone makes neighbouring layers more alike, as each branch adds to a stream that is harder to move.
#
# ## Try it yourself
#
# 1. Set `models` to a Mixer and a ViT. Is the grid of a ViT's map a matter of attention?
# 2. Set `number_of_images` to 64 and `batch_size` to 16. What happens to the maps, and what to the numbers under them?
#
# <details><summary>Answers</summary>
#
# 1. The Mixer has the grid as well: it is made by branches and stream, and a Mixer has both. See [Appendix H](H_mixer.ipynb).
# 2. They become noisy and stay where they are on average: the estimate is unbiased at any size. [Appendix A](A_methods.ipynb) draws it.
#
# </details>
#
# **Next:** [Appendix C](C_local_global.ipynb), all receptive fields.
