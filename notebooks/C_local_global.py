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
# **Question.** [Section 5](05_local_global.ipynb) showed a few blocks. What do the receptive fields of all sublayers look like, and which part of them
# comes through the skip connection?
#
# | | |
# |---|---|
# | **You will learn** | to tell the receptive field of a branch from that of the residual stream; how far the heads of all blocks look; what happens to a small ViT on little data |
# | **You need** | [Section 5](05_local_global.ipynb); [words](../book/glossary.md) |
# | **Cost** | about half a minute on two CPU cores (`tiny`); [other profiles](../book/costs.md) |

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
# `.venv/bin/papermill notebooks/C_local_global.ipynb out.ipynb -p images ~/photos`; `None` takes the value of the profile.

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

run = seelike.start(globals(), "C_local_global")

# %% [markdown]
# ## Two fields of one addition
#
# A block adds the output of its branch to its own input: output = skip + branch. The output has a receptive field, and so has the branch alone.
#
# We measure at every residual addition: after attention and after the MLP in a ViT, after each block in a CNN. As in Section 5, a sample of 4 channels stands for all, and the images come in
# draws of eight.

# %%
from seelike.sections.local_global import measure_fields

few = [
    run.images.sample(min(8, len(run.images)), seed=run.seed + repeat)
    for repeat in range(min(4, run.repeats))
]


def fields_of(name):
    """Receptive fields of all sublayers of one network: each draw has its own images and channels."""
    model = run.models[name]
    return measure_fields(model, few, additions=True, channels=4, seed=run.seed)


with_tokens = [*run.vits, *run.mixers, *run.others]
fields = seelike.where_possible([*with_tokens[:2], *run.cnns[:1]], fields_of)

# %% [markdown]
# ## After the addition: Figures C.1, C.2 and C.3
#
# **Predict.** A ViT's token, block after block: will the field after attention differ from that after the MLP? When will its own patch stop being the brightest?

# %% mystnb={"figure": {"caption": "Effective receptive fields of a ViT after the residual addition, all sublayers (the paper's Figure C.1). Each is divided by its largest value; brightness is logarithmic, and what is below a thousandth is black.", "name": "fig-after-vit"}, "image": {"alt": "Two rows of small square images, one for the sums after attention and one for those after the MLP, a column for each block: the field of the token in the middle, from black, a thousandth of the largest value or less, to bright, the largest. The cell before the claim says in numbers how much lies in the own patch."}}
from seelike import plots
from seelike.sections.local_global import by_sublayer, mean_fields


def rows_of(names, side):
    """All fields of some networks, a row for each sublayer."""
    return {
        name if sublayer == "block" else f"{name}, {sublayer}": blocks
        for name in names
        if name in fields
        for sublayer, blocks in by_sublayer(mean_fields(fields[name], side)).items()
    }


rows = rows_of(with_tokens[:1], "after")
plots.field_maps(rows) if rows else run.say_missing("vits")

# %% [markdown]
# The CNN has one sum in a block.

# %% mystnb={"figure": {"caption": "Effective receptive fields of all blocks of a CNN, after the residual addition (the paper's Figure C.2).", "name": "fig-after-cnn"}, "image": {"alt": "A small square image for each block of a CNN: the field of the location in the middle, from black, a thousandth of the largest value or less, to bright, the largest. The lines further below say in numbers how large the fields are."}}
rows = rows_of(run.cnns[:1], "after")
plots.field_maps(rows) if rows else run.say_missing("cnns")

# %% [markdown]
# Here is a larger ViT, drawn like the first.

# %% mystnb={"figure": {"caption": "Effective receptive fields of a larger ViT after the residual addition, all sublayers (the paper's Figure C.3).", "name": "fig-after-large"}, "image": {"alt": "As for the first ViT: two rows of small square images, a column for each block, for a larger network."}}
rows = rows_of(with_tokens[1:2], "after")
if rows:
    display(plots.field_maps(rows))
else:
    print("Nothing to show here. Add a second, larger ViT to models.")

# %% [markdown]
# ## Before the addition: Figure C.4
#
# **Predict.** Now the branches alone: does attention make the bright patch in the middle, or does the skip connection only hand it on? Will a CNN's fields change as much?

# %% mystnb={"figure": {"caption": "Effective receptive fields before the residual addition, all sublayers of a ViT and all blocks of a CNN (the paper's Figure C.4): what the branch alone sees.", "name": "fig-before"}, "image": {"alt": "Rows of small square images of the branches alone, for attention and MLP of a ViT and for the blocks of a CNN, a column for each block. The claim below compares the own patch before and after the addition, for attention."}}
rows = rows_of([*with_tokens[:1], *run.cnns[:1]], "before")
plots.field_maps(rows) if rows else run.say_missing()

# %% [markdown]
# ### Before and after, by hand
#
# Take a branch that blurs seven pixels:

# %%
import torch

image = torch.randn(1, 1, 1, 7, requires_grad=True)
kernel = torch.full((1, 1, 1, 3), 1 / 3)
branch = torch.nn.functional.conv2d(image, kernel, padding=(0, 1))
for label, layer in (("before", branch), ("after", image + branch)):
    (field,) = torch.autograd.grad(layer[0, 0, 0, 3], image, retain_graph=True)
    print(f"{label:<7}", (3 * field).round().flatten().tolist(), "thirds")

# %% [markdown]
# In the field of the branch (before the addition), three pixels count alike. In the field of the sum (after the addition), the middle one counts most.
# The next cell does the same for the attention of the first block of a small ViT, channel by channel. The token in the middle of 7 x 7 is number 25, after CLS and 24 others.

# %%
from seelike.models import layers, load

small = load("tiny/vit_7x7")
image = torch.randn(1, 1, 28, 28, requires_grad=True)
kept = {}
hook = small.blocks[0].attn.register_forward_hook(
    lambda module, given, output: kept.update(branch=output)
)
small(image)
hook.remove()
channels = kept["branch"][0, 25]
grads = [torch.autograd.grad(c, image, retain_graph=True)[0] for c in channels]
by_hand = torch.stack(grads).abs().mean(dim=(0, 1, 2))

# %% [markdown]
# The library gives the same, and both fields from one pass.

# %%
from seelike.receptive_field import effective_receptive_field

name = "block 1/after attention"
both = effective_receptive_field(small, layers(small, [name]), image.detach())
print(f"by hand, pixel in the middle: {float(by_hand[14, 14]):.8f}")
print(f"library, before the addition: {float(both.before[name][14, 14]):.8f}")
print(f"library, after the addition:  {float(both.after[name][14, 14]):.8f}")

# %% [markdown]
# ### How much lies in the middle?
#
# We take the share of a field that lies in the token's own patch, averaged over all attention branches. If a field is the same everywhere, this share
# is one divided by the number of tokens.

# %%
import numpy as np

from seelike.sections.local_global import share_in_own_patch

tied = {}
for name in run.vits:
    if name in fields:
        after, before = (
            share_in_own_patch(fields[name], side) for side in ("after", "before")
        )
        tokens = np.prod(next(iter(fields[name][0].grids.values())))
        print(
            f"{name}: after {after.mean():.3f}, before {before.mean():.3f}, even {1 / tokens:.3f}"
        )
        if np.isfinite(after - before).all():
            tied[name] = after - before

# %% [markdown]
# The claim: the field of attention alone is less tied to the token's own patch than the field after the addition.

# %%
from seelike import claims

claims.record(
    "attention_fields_are_less_tied",
    np.mean(list(tied.values()), axis=0) if tied else [],
    figure_name="fig-before",
    otherwise="This run has no ViT whose attention can be measured: add one to models.",
)

# %% [markdown]
# ### Do fields shrink?
#
# The paper notes that a CNN's field seems to shrink in the first block of each stage, but only before the addition. Before the addition, the long
# branch is drawn without the shortcut. So the figure shows the radius before and after the addition: of attention for a ViT, of whole blocks for a CNN.

# %% mystnb={"figure": {"caption": "Radius that holds half of the receptive field, as a share of the side of the image, after and before the residual addition, by relative depth: attention of ViTs, blocks of CNNs. Bands are 95 % intervals over draws of images.", "name": "fig-radii-sides"}, "image": {"alt": "A panel for each network with two lines over relative depth: the radius of the receptive field after and before the residual addition."}}
from seelike.sections.local_global import radii


def both_sides(name):
    """Radii of attention, or of blocks where there is none, after and before the addition."""
    lines = {}
    for label, side in (("after the addition", "after"), ("before it", "before")):
        by_layer = dict(
            zip(fields[name][0].after, radii(fields[name], side).T, strict=True)
        )
        first, *_ = by_sublayer(by_layer).values()
        lines[label] = plots.over_depth(np.array(list(first.values())).T)
    return lines


panels = {name: both_sides(name) for name in fields}
plots.depth_panels(panels, y_label="radius / side") if panels else run.say_missing()

# %% [markdown]
# ## With less data: Figure C.5
#
# Section 5 asked whether a ViT on little data learns local heads. The paper adds that its smallest ViT, ViT-B/32, learns local heads on ImageNet alone,
# and performs as well there as with more data, unlike the larger ViTs.
#
# **Predict.** Compare a ViT trained on little data with its twin trained on much data. Are the two more alike if they are small than if they are large?

# %%
from seelike.sections.local_global import measure_heads

pairs = run.groups["much_and_little_data"]
of_pairs = [name for pair in pairs for name in pair]


def all_of(name):
    """All heads of one network."""
    draws = run.draws(run.images_for([name]))
    return measure_heads(run.models[name], draws, batch_size=run.batch_size)


heads = seelike.where_possible(dict.fromkeys([*of_pairs, *run.vits[-1:]]), all_of)

# %% [markdown]
# The figure shows the smallest pair.

# %% mystnb={"figure": {"caption": "Sorted attention distances of the smallest ViT on much data, left, and on little, right (the paper's Figure C.5). The dashed line is a head that looks everywhere alike. Bars are 95 % intervals over draws of images.", "name": "fig-heads-smallest"}, "image": {"alt": "Two panels, a network on much data left and on little right: mean attention distance in pixels against the rank of the head, with different marks for the two lowest and the two highest blocks, and a dashed line for uniform attention. The list below has the nearest low head of each network."}}
read = [pair for pair in pairs if all(name in heads for name in pair)]
smallest = {name: heads[name] for pair in read[:1] for name in pair}
plots.sorted_heads(smallest) if smallest else run.say_missing(
    "much_and_little_data"
)

# %% [markdown]
# In numbers, for all pairs from small to large: the accuracy of each ViT on the test images, and the attention distance of its nearest head in the two
# lowest blocks, as a share of the distance of a uniform head. A head at 0 looks at its own patch alone. A head at 1 looks no nearer than a head that
# looks everywhere alike. (Public networks come without the accuracy.)

# %%
from seelike.models import training_record

for name in (name for pair in read for name in pair):
    record = training_record(name)
    right = f"{record.accuracy:.1%} right, " if record else ""
    print(f"{name}: {right}nearest head {heads[name].nearest_low.mean():.2f}")

# %% [markdown]
# ## The largest: Figure C.6
#
# The paper's Figure 3 again, for the largest network.

# %% mystnb={"figure": {"caption": "Attention distance of the heads of the largest ViT (the paper's Figure C.6): the two lowest and the two highest blocks, sorted, and beside them all blocks. The dashed line is a head that looks everywhere alike. Bars are 95 % intervals over draws of images.", "name": "fig-heads-largest"}, "image": {"alt": "Left: mean attention distance in pixels against the rank of the head, with different marks for the two lowest and the two highest blocks. Right: the same heads against the number of their block. A dashed line is uniform attention."}}
largest = {name: heads[name] for name in run.vits[-1:] if name in heads}
plots.all_heads(largest) if largest else run.say_missing("vits")

# %% [markdown]
# ## Look around
#
# The slider goes through the sublayers of each network, ten at most: after the addition on the left, before it on the right. Watch the own patch in late attention.

# %%
from seelike.sections.local_global import evenly_spaced, own_patch


def shares(each):
    """How many times its share the own patch of each layer has, after and before."""
    own = [own_patch(each, side).mean(axis=0) for side in ("after", "before")]
    return {name: pair for name, *pair in zip(each[0].after, *own, strict=True)}


# %%
figures, alt = {}, {}
for name, each in fields.items():
    maps = [mean_fields(each, side) for side in ("after", "before")]
    times = shares(each)
    for place in evenly_spaced(len(maps[1]), 10):
        title = list(maps[1])[place]
        after, before = (fields_of_side[title] for fields_of_side in maps)
        label = f"{name}, {title}".replace("/after", ",")
        pair = {"after the addition": after, "before it": before}
        figures[label] = plots.field_maps({label: pair})
        one, other = times[title]
        alt[label] = f"Own patch: {one:.1f} its share after, {other:.1f} before."
plots.states(figures, "Layer", alt) if figures else run.say_missing()

# %% [markdown]
# With a kernel, you can look at any block of any of these networks, after and before the addition.


# %% tags=["remove-output"]
def one_block(network, block):
    """Draw all fields of a block; past its last, the last."""
    rows = {}
    for label, side in (("after the addition", "after"), ("before it", "before")):
        sublayers = by_sublayer(mean_fields(fields[network], side))
        rows[label] = {
            sublayer: list(blocks.values())[min(block, len(blocks)) - 1]
            for sublayer, blocks in sublayers.items()
        }
    return plots.field_maps(rows)


if fields:
    display(plots.live(one_block, network=list(fields), block=range(1, 25)))

# %% [markdown]
# ## What we take with us
#
# **The paper found** that the fields of a ViT stay tied to their patch at all depths after the residual addition; that before the addition the fields
# of later attention branches are not tied to it; and that a ResNet's fields look much the same before and after, except in the first block of each
# stage.
#
# The claims of this page, in this run:

# %%
claims.on_this_page()

# %% [markdown]
#
# **The pretrained ViT** does as the claim says, and so it does before training: the sum contains the token itself, so the claim is nearly true by construction. After the addition, a token's own patch is the brightest up to the last block, in all sublayers. Before
# the addition, attention sees much of the image from the first block on, somewhat less in the next ones, and most at the top. The skip connection hides this: it
# adds the token itself. What an MLP adds stays tied to the token's own patch. In EfficientNet-Lite0 the fields before and after differ little; the fields before the
# addition are a bit wider. A second, larger ViT is not in this run.
#
# **The tiny networks** do as the claim says. After the addition, a token's own patch holds many times the share that it would have in a uniform field.
# Before the addition it holds much less, though still more than in a uniform field. So attention depends less on the token's own patch, but it still
# depends on it: the
# heads of these networks are nearly uniform, but a token attends to itself as well as to the others, and each token is tied to its own patch. No tiny
# network has a local head, whether it was trained on much data or on little, and however wide it is.
#
# **Why.** What a branch sees of the image passes through all layers below it. A late attention branch reads tokens that are each tied to their own patch, and spreads over all of them:
# its field is wide. The sum adds the token itself, whose field is a point. The skip ratio of [Section 6](06_skip_connections.ipynb) says which of the
# two dominates.
#
# ## Try it yourself
#
# Put a number or a function in the place of `None` and run the cell: it says what is off.
#
# **C.1** Two convolutions of 3 x 3 follow each other, and the first has a stride of 2. How many pixels wide is the receptive field of one output of the
# second convolution?

# %% tags=["exercise", "show-code"]
from seelike import exercises

answer = None
exercises.check("C.1", answer)

# %% [markdown]
# **C.2** An image has 28 x 28 pixels. How many pixels wide can the field of attention in the first block be, before the addition?

# %% tags=["exercise", "show-code"]
answer = None
exercises.check("C.2", answer)

# %% [markdown]
# And to look into with the page itself:
#
# 1. Suppose attention were uniform for every image. What would its field look like before the addition, and what after?
#
# <details><summary>Answers</summary>
#
# **C.1** `answer = 7`: three places that are two pixels apart, each three pixels wide.
#
# **C.2** `answer = 28`: attention reads the embeddings of all patches. A first convolution of 3 x 3 sees three pixels, whatever it learns.
#
# 1. Before: a field that is the same for all patches, because each patch reaches the token with the same weight. After: the same field, and on top of
#    it the token's own patch, which the skip connection adds.
#
# </details>
#
# **Next:** [Appendix D](D_localization.ipynb), localization in other layers.
