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
# # Your own models
#
# **Question.** How does *your* network see? This page takes any networks and any images, and measures on them what Sections 4 to 8 measure.
#
# **Predict.** Before you run it: are the layers of your network more alike than those of the network beside it? Does it have near heads in its lowest blocks? Write it down, and compare it with the table at the end.
#
# | | |
# |---|---|
# | **You will learn** | to run the whole book on two networks of your own by one command; which measurements apply to which architecture |
# | **You need** | only the names of your networks; the earlier pages explain what the figures mean |
# | **Cost** | about a minute on two CPU cores (`tiny`), some minutes for networks of ordinary size; [other profiles](../book/costs.md) |
#
# ```sh
# .venv/bin/papermill notebooks/10_your_own_models.ipynb out.ipynb \
#     -p models vit_tiny_patch16_224,resnet18 -p images ~/photos
# ```
#
# A network is given by a name of the timm library (`resnet18`, with its tag if you like: `resnet18.a1_in1k`), a safetensors file of a timm
# architecture (`~/weights.safetensors`, or `resnet18@~/weights.safetensors` where the file does not name it), or either with `:random` after the name
# for random weights. The files that a timm name needs are fetched once from the Hugging Face hub, as safetensors only; the line below the parameters
# names their commit. `images` is a folder. If it has one subfolder for each class, probes are trained as well.

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
# `.venv/bin/papermill notebooks/10_your_own_models.ipynb out.ipynb -p images ~/photos`; `None` takes the value of the profile.

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

run = seelike.start(globals(), "10_your_own_models")

# %% [markdown]
# ## What they are
#
# In most architectures the library finds the blocks and the residual additions. In any other architecture it reads the modules, and some of the
# measurements below are left out.

# %%
import pandas as pd

from seelike.models import family, layers, preprocessing

rows = {}
for name, network in run.models.items():
    shape = preprocessing(network)(run.images[0]).shape
    rows[name] = {
        "family": family(network),
        "parameters": f"{sum(p.numel() for p in network.parameters()):,}",
        "reads": " x ".join(map(str, shape)),
        "layers": len(layers(network)),
        "blocks": sum(layer.kind == "block" for layer in layers(network)),
    }
pd.DataFrame.from_dict(rows, orient="index")

# %% [markdown]
# ## Layer by layer
#
# CKA of all layers, as in [Section 4](04_representation_structure.ipynb): within each network, then between them.

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

# %% mystnb={"figure": {"caption": "CKA of all pairs of layers, within each network and between each two.", "name": "fig-own-cka"}, "image": {"alt": "Heat maps of CKA from 0, dark, to 1, bright: one within each network, and one between each two. The table at the end of the page has their means."}}
from itertools import combinations

from seelike import plots

names = list(run.models)
pairs = [(name, name) for name in names] + list(combinations(names, 2))
plots.cka_maps([plots.map_between(comparison, *pair) for pair in pairs])

# %% [markdown]
# ## How far heads look
#
# Attention distances, as in [Section 5](05_local_global.ipynb), of the networks that have attention that can be read.

# %% mystnb={"figure": {"caption": "Attention distance of all heads. The dashed line is a head that looks everywhere alike.", "name": "fig-own-heads"}, "image": {"alt": "A panel for each network with attention: attention distance of each head in pixels, by block."}}
from seelike.sections.local_global import measure_heads

heads = seelike.where_possible(
    names, lambda name: measure_heads(run.models[name], run.draws())
)
plots.all_heads(heads) if heads else run.say_missing("vits")

# %% [markdown]
# ## What units see
#
# Effective receptive fields of the outputs of blocks, estimated from four channels, on four images for each repeat.

# %%
from seelike.sections.local_global import measure_fields, radii

few = [
    run.images.sample(min(4, len(run.images)), seed=run.seed + repeat)
    for repeat in range(run.repeats)
]


def fields_of(name):
    """Receptive fields of one network: each draw has its own images and channels."""
    return measure_fields(run.models[name], few, channels=4, seed=run.seed)


fields = seelike.where_possible(names, fields_of)

# %% mystnb={"figure": {"caption": "Effective receptive fields of some blocks, from low to high; brightness is logarithmic, and what is below a thousandth is black.", "name": "fig-own-fields"}, "image": {"alt": "A row of small images for each network: the receptive fields of five blocks from low to high."}}
import numpy as np


def five_of(name):
    """Five of a network's fields, evenly spaced, mean over the draws."""
    blocks = list(fields[name][0].after)
    places = np.unique(np.linspace(0, len(blocks) - 1, 5).round().astype(int))
    return {
        blocks[p]: np.mean(
            [f.after[blocks[p]].numpy() for f in fields[name]], axis=0
        )
        for p in places
    }


maps = {name: five_of(name) for name in fields}
plots.field_maps(maps) if maps else run.say_missing()

# %% [markdown]
# ## What skip connections carry
#
# Skip ratios, as in [Section 6](06_skip_connections.ipynb).

# %%
from seelike.sections.skip_connections import propagation

skips = seelike.where_possible(
    names, lambda name: propagation(run.models[name], run.draws())
)
lines = {}
for name, each in skips.items():
    if each.ratio_of_cls is not None:
        lines[f"{name}, CLS"] = plots.over_depth(each.ratio_of_cls)
    lines[f"{name}, spatial"] = plots.over_depth(each.ratio_of_spatial)

# %% mystnb={"figure": {"caption": "Skip ratio by relative depth. Bands are 95 % intervals over draws of images.", "name": "fig-own-skips"}, "image": {"alt": "Lines of the skip ratio, on a logarithmic axis, against relative depth, for CLS and spatial tokens of each network."}}
plots.depth_lines(
    lines, y_label="skip ratio", y_scale="log"
) if lines else run.say_missing()

# %% [markdown]
# ## Whether tokens know their place
#
# CKA of tokens of the last block with patches of the image, as in [Section 7](07_spatial_localization.ipynb).

# %%
from seelike.localization import token_patch_cka
from seelike.sections.spatial_localization import mapped_blocks


def last_block(name):
    """CKA of all tokens with all patches, for each draw."""
    block = mapped_blocks(run.models[name], run.images, number=1)
    if not block:
        raise ValueError(
            "It has no last block with a grid of 4 x 4 places or more."
        )
    size = {"minibatch": run.batch_size}
    tokens = [
        token_patch_cka(run.models[name], block, d, **size) for d in run.draws()
    ]
    return [each[block[0].name].cka for each in tokens]


places = seelike.where_possible(names, last_block)

# %% mystnb={"figure": {"caption": "CKA of single tokens of the last block with all patches. A frame marks the token's own place.", "name": "fig-own-places"}, "image": {"alt": "A row of heat maps for each network: tokens at a corner, at an edge and inside, with a frame at the token's own place."}}
mean = {
    name: np.mean([m.numpy() for m in maps], axis=0)
    for name, maps in places.items()
}
plots.token_maps(mean) if mean else run.say_missing()

# %% [markdown]
# ## What can be read from each block
#
# Linear probes, as in [Section 8](08_scale_and_transfer.ipynb), if the images have classes, with ten or more images of each.

# %% mystnb={"figure": {"caption": "Accuracy of linear probes on the mean of the tokens of each block. Bands are 95 % intervals over draws of images.", "name": "fig-own-probes"}, "image": {"alt": "A line for each network: accuracy of probes against relative depth."}}
from seelike.sections.linear_probes import accuracy_by_block


def probes(name):
    """Accuracy of the probes of each block, per repeat."""
    options = {"tokens": ["mean"], "repeats": run.repeats, "seed": run.seed}
    images = run.probe_images_for([name])
    found = accuracy_by_block({name: run.models[name]}, images, **options)
    return found[name]["mean"]


accuracy = seelike.where_possible(names, probes)
lines = {name: plots.over_depth(values) for name, values in accuracy.items()}
plots.depth_lines(
    lines, y_label="accuracy of probes", within=(0.0, 1.0)
) if lines else run.say_missing()

# %% [markdown]
# ## All numbers
#
# One table for a paper or a lab book: means over draws of images, with half the width of their 95 % intervals. An entry is empty if it could not be
# measured.
#
# - *Mean CKA*: of all pairs of different layers.
# - *Nearest low head*: attention distance of the nearest head of the two lowest blocks, as a share of uniform attention.
# - *Localization* is the share of Section 7. Its contrast says how much more the interior tokens of the last block are like their own patch and the eight around it than like all others. It is divided by
#   the contrast of the patches themselves.
# - *Radius of the first field*: around a place of the first block, as a share of the image's height.
# - *Skip ratio*: of the spatial tokens, mean over blocks of its logarithm.

# %%
from seelike import claims
from seelike.sections import representation_structure as structure
from seelike.sections.place_contrasts import contrast, maps_of_patches


def share(name):
    """Contrast of a network's tokens, divided by that of the patches, for each draw."""
    (last,) = mapped_blocks(run.models[name], run.images, number=1)
    size = {"minibatch": run.batch_size}
    pixels = [
        maps_of_patches(run.models[name], last, d, **size) for d in run.draws()
    ]
    tokens, patches = (
        np.array([contrast(cka) for cka in of]) for of in (places[name], pixels)
    )
    return tokens / patches


localization = seelike.where_possible(places, share)

# %% [markdown]
# All other numbers were measured above.

# %%
uniformity = structure.mean_off_diagonal
logarithm = {n: np.log10(s.ratio_of_spatial) for n, s in skips.items()}
table = {
    "mean CKA": {n: uniformity(comparison.between(n, n)) for n in names},
    "nearest low head / uniform": {n: h.nearest_low for n, h in heads.items()},
    "radius of the first field": {n: radii(f)[:, 0] for n, f in fields.items()},
    "log10 skip ratio": {n: ratio.mean(axis=1) for n, ratio in logarithm.items()},
    "localization": localization,
    "accuracy at the last block": {n: a[:, -1] for n, a in accuracy.items()},
}

# %% [markdown]
# Each entry is a mean with its uncertainty.

# %%
written = {
    quantity: {
        name: claims.summary(np.asarray(values, dtype=float))
        for name, values in of_networks.items()
    }
    for quantity, of_networks in table.items()
}
table = pd.DataFrame.from_dict(written, orient="index", columns=names).fillna("")
table

# %% [markdown]
# The same as CSV, to copy. The versions, seeds and amounts that belong to it are in the line at the top of the page.

# %%
print(table.to_csv())

# %% [markdown]
# ## Look around
#
# Each layer map alone, larger.

# %%
figures, alt = {}, {}
for a, b in pairs:
    label = a if a == b else f"{a} and {b}"
    figures[label] = plots.cka_maps([plots.map_between(comparison, a, b)])
    alt[label] = f"CKA map of {label}, mean {comparison.mean(a, b).mean():.2f}."
plots.states(figures, "Networks", alt)

# %% [markdown]
# With a kernel, you can see the CKA of one layer with all layers of another network.


# %% tags=["remove-output"]
def one_layer(network, other, percent):
    """Draw CKA of a layer, at a depth in percent, with all layers of another network."""
    row = int(np.abs(comparison.depth(network) - percent / 100).argmin())
    values = comparison.between(network, other)[:, row]
    line = comparison.depth(other), *claims.mean_and_uncertainty(values)
    layer = comparison.layers[network][row].name
    return plots.depth_lines(
        {f"{layer} of {network}": line}, y_label="CKA", title=other
    )


display(plots.live(one_layer, network=names, other=names[::-1], percent=range(101)))

# %% [markdown]
# ## What to make of it
#
# - **Compare like with like.** Probes and CKA depend on the images. Two pages made on different images cannot be compared.
# - **Look at random weights first.** Run the page with `:random` after both names: what looks the same as before needs no learning to explain it.
# - **One training is one training.** The intervals cover the draw of images only. If your folder is small, draws share images and these intervals are too narrow:
#   the note at the top of the page says so.
#
# **Next:** [what came later](11_what_came_later.ipynb), and [questions of measure](12_questions_of_measure.ipynb): what speaks against CKA, and which
# other measures there are.
