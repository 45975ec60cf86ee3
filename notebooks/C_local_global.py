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
# # Appendix C: More on local and global
#
# **Question.** [Section 5](05_local_global.ipynb) showed a few blocks. What do the receptive fields of all sublayers look like, and what of them comes by the skip
# connection?
#
# | | |
# |---|---|
# | **You will learn** | to tell the field of a branch from that of the stream; how heads of all blocks look; what happens to a small ViT on little data |
# | **You need** | [Section 5](05_local_global.ipynb); [words](../book/glossary.md) |
# | **Cost** | about a minute on two CPU cores (`tiny`); not yet measured on a GPU (`colab`, `paper`) |

# %% tags=["remove-cell"]
# Colab only: install the library when it is missing.
import importlib.util

if importlib.util.find_spec("seelike") is None:
    _repository = "git+https://github.com/seelike/seelike"
    get_ipython().run_line_magic("pip", f'install -q "seelike @ {_repository}"')

# %% [markdown]
# These parameters can be changed here or from the command line, as in
# `.venv/bin/papermill notebooks/C_local_global.ipynb out.ipynb -p images ~/photos`; `None` takes the value of the profile.

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

run = seelike.start(globals(), "C_local_global")

# %% [markdown]
# ## Measure
#
# Receptive fields after and before the residual addition come from one pass. All residual additions of a ViT (attention and MLP apart), all blocks of a ResNet. A sample
# of 8 channels of each, eight images for each repeat.

# %%
from seelike.models import layers
from seelike.receptive_field import effective_receptive_field

fields = {}
for name in [*run.vits[:2], *run.resnets[:1], *run.mixers[:1]]:
    sums = layers(run.models[name], kinds=["residual", "block"])
    fields[name] = [
        effective_receptive_field(
            run.models[name],
            sums,
            run.images.sample(min(8, len(run.images)), seed=run.seed + repeat),
            channels=8,
            seed=run.seed,
        )
        for repeat in range(run.repeats)
    ]

# %% [markdown]
# By hand, why the two differ. A layer that adds a blurred copy to what it gets: before the addition its field is the blur, after it there is a peak on top.

# %%
import torch

image = torch.randn(1, 1, 1, 7, requires_grad=True)
kernel = torch.full((1, 1, 1, 3), 1 / 3)
branch = torch.nn.functional.conv2d(image, kernel, padding=(0, 1))
for label, layer in (("before", branch), ("after", image + branch)):
    (field,) = torch.autograd.grad(layer[0, 0, 0, 3], image, retain_graph=True)
    print(f"{label:<7}", (3 * field).round().flatten().tolist(), "thirds")

# %% [markdown]
# ## After the addition: Figures C.1, C.2 and C.3
#
# **Predict.** Will attention and MLP differ, after the addition?

# %% mystnb={"figure": {"caption": "Effective receptive fields after the residual addition, from low to high (the paper's Figures C.1 to C.3). Each is divided by its largest value; brightness is its square root.", "name": "fig-after"}, "image": {"alt": "A row of small images for each network, from low to high sublayers. Those of ViTs have a bright patch in the middle at all depths; those of ResNets are spots that grow."}}
import numpy as np

from seelike import plots


def some_of(name, side, count=6):
    """Some of a network's fields, evenly spaced from first to last, mean over the draws."""
    every = [getattr(each, side) for each in fields[name]]
    titles = list(every[0])
    places = np.unique(np.linspace(0, len(titles) - 1, count).round().astype(int))
    chosen = [titles[place] for place in places]
    means = {
        t: np.mean([each[t].numpy() for each in every], axis=0) for t in chosen
    }
    return {
        t.replace("after ", "").replace("block ", ""): m for t, m in means.items()
    }


after = {name: some_of(name, "after") for name in fields}
plots.field_maps(after) if fields else None

# %% [markdown]
# ## Before the addition: Figure C.4
#
# **Predict.** And before it: is the bright patch in the middle made by attention, or only handed on?

# %% mystnb={"figure": {"caption": "The same before the residual addition: what the branch alone sees (the paper's Figure C.4).", "name": "fig-before"}, "image": {"alt": "A row of small images for each network, from low to high sublayers, of the branches alone. The claim below compares the middle patch before and after the addition, for attention."}}
before = {name: some_of(name, "before") for name in fields}
plots.field_maps(before) if fields else None

# %% [markdown]
# ### How much lies in the middle?
#
# The share of a field in the token's own patch. The outputs of a ViT's blocks are those of its MLPs; what is named "after attention" is the sum after the attention
# branch.

# %%
from seelike.receptive_field import centre_mass


def own_patch(each, side):
    """Share of the field in the own patch, mean over all attention branches."""
    shares = [
        centre_mass(field, each.grids[name]) / np.prod(each.grids[name])
        for name, field in getattr(each, side).items()
        if "attention" in name
    ]
    return np.mean(shares)


tied = {
    name: np.array(
        [own_patch(f, "after") - own_patch(f, "before") for f in fields[name]]
    )
    for name in run.vits[:2]
}
for name, values in tied.items():
    print(f"{name}: after minus before {values.mean():.3f}")

# %% [markdown]
# The claim: attention's own field is less tied to the patch.

# %%
from seelike import claims

claims.record_difference(
    "attention_fields_are_less_tied",
    list(tied.values()),
    [np.zeros(run.repeats)] if tied else [],
    figure_name="fig-before",
    compares="the fields of a ViT after and before the residual addition",
)

# %% [markdown]
# ## All heads: Figures C.5 and C.6
#
# Section 5 showed the two lowest and the two highest blocks. Here are all of them, for all sizes.

# %%
from seelike.local_global import measure_heads

heads = {}
for name in run.vits:
    try:
        heads[name] = measure_heads(
            run.models[name], run.draws(), batch_size=run.batch_size
        )
    except ValueError as error:
        print(f"{name}: {error}")

# %% mystnb={"figure": {"caption": "Attention distance of all heads of all blocks (compare the paper's Figures C.5 and C.6). The dashed line is a head that looks everywhere alike.", "name": "fig-all-heads"}, "image": {"alt": "A panel for each ViT: attention distance in pixels of each head, by block, and a dashed line for uniform attention."}}
plots.all_heads(heads) if heads else None

# %% [markdown]
# ## With less data: Figure C.5
#
# The paper adds that ViT-B/32 learns local heads on ImageNet alone, unlike the larger ones. So the smaller the network, the less data it needs? The list has the nearest head of
# the two lowest blocks for each size, on much and on little data.

# %%
for much, little in run.groups["much_and_little_data"]:
    nearest = []
    for name in (much, little):
        if name in run.vits or hasattr(run.models[name], "blocks"):
            try:
                each = measure_heads(
                    run.models[name], run.draws(), batch_size=run.batch_size
                )
            except ValueError as error:
                print(f"{name}: {error}")
                continue
            nearest.append(f"{name} {each.nearest_low.mean():.2f}")
    print(", ".join(nearest), "of uniform")

# %% [markdown]
# ## Look around
#
# The slider goes through all sublayers: after the addition on the left, before it on the right.

# %%
figures, alt = {}, {}
for name, repeats in fields.items():
    for layer in repeats[0].before:
        pair = {
            side: np.mean(
                [getattr(each, side)[layer].numpy() for each in repeats], axis=0
            )
            for side in ("after", "before")
        }
        label = f"{name}, {layer}"
        figures[label] = plots.field_maps({name: pair})
        mass = [
            centre_mass(torch.tensor(f), repeats[0].grids[layer])
            for f in pair.values()
        ]
        alt[label] = (
            f"Own patch: {mass[0]:.1f} times its share after, {mass[1]:.1f} before."
        )
plots.states(figures, "Layer", alt) if figures else None

# %% [markdown]
# With a kernel, the radius of the fields of any two networks over depth.

# %% tags=["remove-output"]
from seelike.local_global import radii


def two_networks(one, other):
    """Draw the radius of the fields of two networks."""
    lines = {}
    for name in (one, other):
        values = radii(fields[name])
        depth = np.linspace(0, 1, values.shape[1])
        lines[name] = depth, *claims.mean_and_uncertainty(values)
    return plots.depth_lines(lines, y_label="radius / side of the image")


if fields:
    display(plots.live(two_networks, one=list(fields), other=list(fields)[::-1]))

# %% [markdown]
# ## What we take with us
#
# **The paper found** that the fields of a ViT stay tied to their patch at all depths after the residual addition; that before it those of later attention branches are
# not; and that a ResNet's fields look much the same before and after, but for the first block of each stage.
#
# **Here we see**
#
# <!-- numbers: what to say here -->
#
# **Why.** What a branch sees of the image passes through all layers below it. A late attention branch reads tokens that are each tied to their own patch, and spreads over all of them:
# its field is wide. The sum adds the token itself, whose field is a point. Which of the two wins is the skip ratio of [Section 6](06_skip_connections.ipynb).
#
# ## Try it yourself
#
# 1. The field of a branch of the first block, before the addition, of an MLP: how large can it be?
# 2. Here 8 channels stand for all of a layer. Set `channels` to `"all"` for the smallest network: how far are the maps off?
#
# <details><summary>Answers</summary>
#
# 1. As large as what the MLP reads: attention stands before it, so the whole image. The field of the *attention* branch of the first block, too: it reads the embeddings of all patches.
# 2. By little, and on no side: the sample is drawn anew for each image, and its error is known: `after_error`.
#
# </details>
#
# **Next:** [Appendix D](D_localization.ipynb), localization in other layers.
