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
# # Section 5: Local and global information
#
# **Question.** A convolution sees three pixels across, and the next one five. Attention may look at the whole image from the first layer on. Does
# it? And do local heads learn what a CNN learns?
#
# | | |
# |---|---|
# | **You will learn** | to measure how far a head of attention looks; how much data it takes to learn to look nearby; what a receptive field really is, and how it grows |
# | **You need** | [Section 3](03_background.ipynb) for CKA; [words](../book/glossary.md) |
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
# `.venv/bin/papermill notebooks/05_local_global.ipynb out.ipynb -p images ~/photos`; `None` takes the value of the profile.

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

run = seelike.start(globals(), "05_local_global")

# %% [markdown]
# ## How far does a head look?
#
# A head gives every patch a set of weights over all patches. Multiply each weight by the distance of the two patches in pixels, and
# add up: that is the *attention distance* of the head, after averaging over patches and images.
#
# By hand, for three patches in a row, 10 pixels apart. Each of them looks at itself with weight 0.8 and at its right neighbour with weight
# 0.2, but for the last, which looks at itself.

# %%
import torch

attention = torch.tensor([[0.8, 0.2, 0.0], [0.0, 0.8, 0.2], [0.0, 0.0, 1.0]])
position = torch.tensor([0.0, 10.0, 20.0])
distance = (position[:, None] - position[None, :]).abs()
print((attention * distance).sum(dim=1).mean())

# %% [markdown]
# The library gives the same, and the distance of a head that looks everywhere alike: what is near that is global.

# %%
from seelike.attention import AttentionDistance, uniform_distance

measure = AttentionDistance(grid=(1, 3), patch_size=10, num_prefix_tokens=0)
measure.update(attention[None, None])
print(measure.compute().distance, uniform_distance((1, 3), 10))

# %% [markdown]
# ## Low and high blocks: Figure 3
#
# **Predict.** The two lowest and the two highest blocks of a ViT: which of them have heads that look nearby, and which have heads that look far?
#
# One call measures all heads of a network, without storing any map. CLS tokens and registers are left out, as they have no place in the
# image. A network whose attention cannot be read is named.

# %%
from seelike.sections.local_global import measure_heads

pairs = run.groups["much_and_little_data"]
of_pairs = [name for pair in pairs for name in pair]


def all_of(name):
    """All heads of one network."""
    draws = run.draws(run.images_for([name]))
    return measure_heads(run.models[name], draws, batch_size=run.batch_size)


with_heads = dict.fromkeys([*run.vits, *run.others, *of_pairs])
heads = seelike.where_possible(with_heads, all_of)
vits = {name: heads[name] for name in run.vits if name in heads}
shown = vits or {name: heads[name] for name in run.others if name in heads}

# %% [markdown]
# Each row of the figure is a ViT. On the left are the heads of the two lowest and the two highest blocks, sorted; on the right those of all blocks.

# %% mystnb={"figure": {"caption": "Attention distance of the heads of each ViT (the paper's Figure 3): the two lowest and the two highest blocks, sorted, and beside them all blocks. The dashed line is a head that looks everywhere alike. Bars are 95 % intervals over draws of images; many are smaller than their mark.", "name": "fig-heads"}, "image": {"alt": "A row for each ViT. Left: mean attention distance in pixels against the rank of the head, with different marks for the two lowest and the two highest blocks. Right: the same heads against the number of their block. A dashed line is uniform attention. The claims below give the nearest and the farthest head in numbers."}}
from seelike import plots

plots.all_heads(shown) if shown else run.say_missing("vits")

# %% [markdown]
# ### Local and global at once?
#
# The paper's finding has three parts. Low blocks have heads that look nearby: nearer than half of the dashed line.

# %%
import numpy as np

from seelike import claims

for name, each in vits.items():
    print(
        f"{name}: nearest {each.nearest_low.mean():.2f} of uniform, "
        f"farthest {each.farthest_low.mean():.2f}; at the top nearest {each.nearest_high.mean():.2f}"
    )

# %% [markdown]
# The card has the mean over the ViTs.


# %%
def record_of_vits(claim, values, figure_name):
    """Record a claim about ViTs alone, or that this run has none."""
    if values:
        claims.record(claim, np.mean(values, axis=0), figure_name=figure_name)
    else:
        why = "This run has no ViT that can be measured: add one to models."
        claims.not_testable(claim, why, figure_name=figure_name)


nearest = [0.5 - each.nearest_low for each in vits.values()]
record_of_vits("low_layers_have_local_heads", nearest, "fig-heads")

# %% [markdown]
# They have heads that look far as well, and high blocks have nothing but these.

# %%
farthest = [each.farthest_low - 0.8 for each in vits.values()]
record_of_vits("low_layers_have_global_heads", farthest, "fig-heads")
higher = [each.nearest_high - each.nearest_low for each in vits.values()]
record_of_vits("high_layers_are_global", higher, "fig-heads")

# %% [markdown]
# ## With less data: Figure 4
#
# Nothing in a ViT says that neighbours matter. It has to find that out.
#
# **Predict.** The same network, trained on a small part of the data: will its low heads be more local or less?

# %% mystnb={"figure": {"caption": "Sorted attention distances of networks that were trained on much data, left, and of the same networks on little data, right (the paper's Figure 4). Marks, bars and the dashed line are those of Figure 3.", "name": "fig-heads-data"}, "image": {"alt": "A row for each pair of networks, the one on much data left and the one on little data right: mean attention distance of the heads of the two lowest and highest blocks, and a dashed line for uniform attention. The claim below compares the nearest low heads."}}
read = [pair for pair in pairs if all(name in heads for name in pair)]
compared = {name: heads[name] for pair in read for name in pair}
plots.sorted_heads(compared) if compared else run.say_missing(
    "much_and_little_data"
)

# %% [markdown]
# The claim compares the nearest head of the two lowest blocks. Read it together with the first card: the left side can look nearer than the right though no head of
# either is local.

# %%
claims.record_difference(
    "little_data_gives_no_local_heads",
    [heads[less].nearest_low for _, *little in read for less in little],
    [heads[much].nearest_low for much, *_ in read],
    figure_name="fig-heads-data",
    compares="a ViT on little data with the same ViT on much",
)

# %% [markdown]
# ## Do local heads see what a CNN sees? Figure 5
#
# Take the heads of the first block in the order of their distance, a quarter of them at a time, and compare what each such subset gives with the low
# layers of a CNN.
#
# What a subset gives is the outputs of its heads, side by side. Here by hand: CKA of two toy heads together with a toy layer.

# %%
from seelike.cka import HeadComparison, cka, compare_heads, hsic
from seelike.models import layers

generator = torch.Generator().manual_seed(run.seed)
parts = torch.randn(3, 8, 5, generator=generator, dtype=torch.float64)
first, second, layer = parts
print(f"side by side {float(cka(torch.cat([first, second], dim=1), layer)):.6f}")

# %% [markdown]
# The library adds up HSICs of single heads, which gives the same for every subset at once.

# %%
hsics = np.array([[[float(hsic(x, y)) for y in parts] for x in parts]])
a_layer = layers(next(iter(run.models.values())))[:1]
of_both = HeadComparison(2, a_layer, hsics).between([[0, 1]])
print(f"from the HSICs of single heads {of_both.item():.6f}")

# %% [markdown]
# Two networks look at each image here, so each repeat takes half as many.
#
# **Predict.** Which subset is most like the CNN, and does likeness fall with distance?


# %%
def with_low_layers(name):
    """CKA of the heads of a ViT's first block with the low layers of the first CNN."""
    cnn = run.models[run.cnns[0]]
    return compare_heads(
        run.models[name],
        cnn,
        run.images,
        layers=[layer for layer in layers(cnn) if layer.depth < 1 / 3],
        batch_size=run.batch_size,
        repeats=run.repeats,
        number_of_images=max(run.batch_size, run.number_of_images // 2),
        seed=run.seed,
    )


of_heads = seelike.where_possible(vits if run.cnns else (), with_low_layers)

# %% [markdown]
# The subsets come afterwards: of each, the mean distance of its heads and its CKA with the low CNN layers, on average over these layers.

# %%
from seelike.sections.local_global import rank_correlation, subsets_of_heads

subsets, correlations = {}, []
for name, comparison in of_heads.items():
    distance = vits[name].distance[:, 0].mean(axis=0)
    chosen = subsets_of_heads(distance)
    far = np.array([distance[subset].mean() for subset in chosen])
    subsets[name] = (far, comparison.between(chosen).mean(axis=2))
    correlations.append(rank_correlation(*subsets[name]))

# %% [markdown]
# Each dotted line is a ViT, from its most local heads to its most global ones.

# %% mystnb={"figure": {"caption": "CKA of subsets of the heads of the first block with the lowest third of the layers of a CNN, against the mean attention distance of the subset (the paper's Figure 5). Bars are 95 % intervals over draws of images.", "name": "fig-subsets"}, "image": {"alt": "A dotted line for each ViT: CKA with low CNN layers against mean attention distance of the subset of heads. The claim below gives the rank correlation."}}
plots.subsets_of_heads(subsets) if subsets else run.say_missing("vits", "cnns")

# %% [markdown]
# The claim is about the order only: minus the rank correlation is 1 where likeness falls with every step. The card has the mean over ViTs, and its uncertainty is that of the
# images alone. So look at each ViT, too: with few heads, a small number of either sign says little.

# %%
for name, correlation in zip(subsets, correlations, strict=True):
    print(f"{name}: rank correlation {correlation.mean():+.2f}")
if np.isnan(correlations).any():
    why = "CKA or distance is the same for all subsets, or a layer is dead."
    claims.not_testable(
        "local_heads_look_like_resnet", why, figure_name="fig-subsets"
    )
else:
    claims.record_difference(
        "local_heads_look_like_resnet",
        [-correlation for correlation in correlations],
        [np.zeros(run.repeats)] if correlations else [],
        figure_name="fig-subsets",
        compares="heads of ViTs with CNNs",
    )

# %% [markdown]
# ## What a unit sees: Figure 6
#
# A layer's *effective receptive field* is how much each pixel moves the middle of its map: the absolute derivative, averaged over
# channels and images. By hand, for a layer that averages three neighbours, twice:

# %%
image = torch.randn(1, 1, 1, 7, requires_grad=True)
blur = torch.nn.Conv2d(1, 1, (1, 3), padding=(0, 1), bias=False)
torch.nn.init.constant_(blur.weight, 1 / 3)
twice = torch.nn.Sequential(blur, blur).eval()
(field,) = torch.autograd.grad(twice(image)[0, 0, 0, 3], image)
print((9 * field).round().flatten().tolist(), "ninths")

# %% [markdown]
# Five pixels, the middle one most: that is how the fields of a CNN grow. The library gives the same.

# %%
from seelike.receptive_field import effective_receptive_field

twice.pretrained_cfg = {"input_size": (1, 1, 7)}
*_, last = layers(twice)
measured = effective_receptive_field(twice, [last], image.detach()).after[last.name]
print((9 * measured).round().flatten().tolist(), "ninths")

# %% [markdown]
# The paper differentiates every channel, for 32 images. So do we, but for a sample of 4 channels for each image in place of all: an unbiased estimate at a small
# part of the cost. The images come in draws of eight, one for each repeat and at most four, so that there is an uncertainty.
#
# **Predict.** How far does the first block of a ViT see, and how far the last block of a CNN?

# %%
from seelike.sections.local_global import measure_fields

few = [
    run.images.sample(min(8, len(run.images)), seed=run.seed + repeat)
    for repeat in range(min(4, run.repeats))
]


def fields_of(name):
    """Receptive fields of one network, once for each draw."""
    return measure_fields(run.models[name], few, channels=4, seed=run.seed)


fields = seelike.where_possible(run.names, fields_of)

# %% [markdown]
# Five blocks of each network, from low to high.

# %% mystnb={"figure": {"caption": "Effective receptive fields of the middle location after some blocks, from low to high (the paper's Figure 6). Each is the mean over the images of all draws, divided by its largest value; brightness is its square root.", "name": "fig-fields"}, "image": {"alt": "A row of small square images for each network, from low to high blocks: the field of the location in the middle, from black, none, to bright, the largest value. The figure and the claims below say in numbers how large the fields are and how they grow."}}
from seelike.sections.local_global import evenly_spaced, mean_fields


def some_blocks(name, count=5):
    """Fields of some blocks, evenly spaced from first to last, mean over the draws."""
    mean = mean_fields(fields[name])
    blocks = list(mean)
    return {blocks[i]: mean[blocks[i]] for i in evenly_spaced(len(blocks), count)}


maps = {name: some_blocks(name) for name in fields}
plots.field_maps(maps) if maps else run.say_missing()

# %% [markdown]
# ### How large, and how does it grow?
#
# One number says how large a field is: the radius within which half of it lies, as a share of the side of the image. By hand: a row of four pixels
# with 1, 3, 3 and 1 parts, and as far from the middle 1.5, 0.5, 0.5 and 1.5 pixels. At 0.5 there are 6 of 8 parts, more than half; half is reached
# by two thirds of the way there.

# %%
from seelike.receptive_field import radius as radius_of

print(f"{0.5 * 4 / 6:.4f}, {radius_of(torch.tensor([[1.0, 3.0, 3.0, 1.0]])):.4f}")

# %% [markdown]
# And the radii of our networks, block by block. A field that is the same everywhere has a radius of 0.4: the circle that holds half of a square.

# %% mystnb={"figure": {"caption": "Radius of the receptive field that holds half of it, as a share of the side of the image, by relative depth. Bands are 95 % intervals over draws of images.", "name": "fig-radii"}, "image": {"alt": "A line for each network: radius of the receptive field against relative depth. The claims below compare the left thirds and the largest steps."}}
from seelike.sections.local_global import radii

radius = {name: radii(each) for name, each in fields.items()}
lines = {name: plots.over_depth(each) for name, each in radius.items()}
plots.depth_lines(
    lines, y_label="radius / side of the image"
) if lines else run.say_missing()

# %% [markdown]
# The first claim: in the lowest third of the blocks the fields of ViTs are the larger ones.

# %%
from seelike.sections.local_global import largest_step, mean_of_first_third


def of(names, statistic):
    """A statistic of the radii of some of the networks."""
    return [statistic(radius[name]) for name in names if name in radius]


claims.record_difference(
    "vit_fields_are_larger_early",
    of(run.vits, mean_of_first_third),
    of(run.cnns, mean_of_first_third),
    figure_name="fig-radii",
)

# %% [markdown]
# The second: fields of ViTs grow in a jump, those of CNNs step by step. How much of all the growth is in the largest step between two blocks? A network of
# n blocks that grew evenly would have 1 / (n - 1).

# %%
steps = of(run.vits, largest_step), of(run.cnns, largest_step)
for name in radius:
    print(f"{name}: {np.mean(largest_step(radius[name])):.2f} in the largest step")
if any(np.isnan(each).any() for side in steps for each in side):
    claims.not_testable(
        "vit_fields_jump",
        "In some network the last field is no larger than the first: there is no growth.",
        figure_name="fig-radii",
    )
else:
    claims.record_difference("vit_fields_jump", *steps, figure_name="fig-radii")

# %% [markdown]
# Last: however much a ViT's token sees, does it still depend on its own patch most? 1 would be no more than its share of the area.

# %%
from seelike.sections.local_global import own_patch

at_the_patch = {
    name: own_patch(fields[name])[:, -1] for name in run.vits if name in fields
}
for name, times in at_the_patch.items():
    print(f"{name}: the own patch has {times.mean():.1f} times its share")
more = [times - 1 for times in at_the_patch.values()]
record_of_vits("vit_fields_stay_at_their_patch", more, "fig-fields")

# %% [markdown]
# ## Look around
#
# Behind each distance is a picture: the mean attention of a head, by the offset from the patch that looks to the patch that is seen. The cross is
# the own patch. A local head is bright at the cross and dark elsewhere. But mind: one that looks everywhere alike is brightest there, too, and fades evenly to the
# corners, since more pairs of patches are near each other than far apart.
#
# The slider goes through blocks and heads of the first ViT (of many, a choice from first to last), and of each block to the nearest head, one in the middle and the farthest.
# The ring says which one it is.

# %%
from seelike.attention import mean_attention

sample = run.images.sample(min(64, len(run.images)), seed=run.seed)
figures, alt = {}, {}
for name, each in list(shown.items())[:1]:
    mean = each.distance.mean(axis=0)
    for block in evenly_spaced(len(mean), 8):
        maps = mean_attention(run.models[name], sample, block + 1).numpy()
        order = np.argsort(mean[block])
        for head in order[evenly_spaced(len(order), 3)].tolist():
            label = f"block {block + 1}, head {head + 1}"
            figures[label] = plots.head_map(each, block + 1, head + 1, maps[head])
            share = mean[block, head] / each.uniform
            alt[label] = f"Attention distance {share:.2f} of uniform."
plots.states(figures, "Head", alt) if figures else run.say_missing("vits")

# %% [markdown]
# With a kernel, the heads of any ViT of this run.


# %% tags=["remove-output"]
def one_head(network, block, head):
    """Draw one head of a network; past its last block or head, the last."""
    each = heads[network]
    block = min(block, each.distance.shape[1])
    head = min(head, each.distance.shape[2])
    attention = mean_attention(run.models[network], sample, block).numpy()
    return plots.head_map(each, block, head, attention[head - 1])


if shown:
    numbers = [
        max(each.distance.shape[i] for each in shown.values()) for i in (1, 2)
    ]
    block, head = (range(1, number + 1) for number in numbers)
    display(plots.live(one_head, network=list(shown), block=block, head=head))

# %% [markdown]
# ## What we take with us
#
# **The paper found** that the lowest blocks of a ViT attend locally and globally at once, and the highest only globally; that with ImageNet alone, large
# ViTs do not learn to attend locally; that local heads are more like a ResNet than global ones; and that receptive fields are larger in low layers of a
# ViT, jump to the whole image half-way, and stay strongest at their own patch.
#
# The claims of this page, in this run:

# %%
claims.on_this_page()

# %% [markdown]
# **The pretrained ViT**, a ViT-S/14 that began as DINOv2, shows Figure 3 as the paper has it. In the second block one head looks at its nearest surroundings, while heads of the first block look nearly everywhere. Local heads go on to
# the middle of the network, and at the top none is left. There is no second one that was trained on less data, so that Figure 4 is of tiny networks in this run.
#
# In Figure 5 the subsets with local heads are the more like a low CNN layer, in rank. The bars are wide, though, and the heads of the first block that make up these subsets are none of the local ones: with six heads in a block,
# a subset is one head or two.
#
# Receptive fields stay brightest at the token's own patch from the first block to the last, and are larger in low layers than those of EfficientNet-Lite0. The jump is missing: the field of this ViT grows from block to block, and no
# step is larger than the CNN's largest. Whether that is its size or its task, which is about places in the image and not about one class for all of it, a single network does not tell.
#
# **The tiny networks** have no local heads: the nearest head in the two lowest blocks looks most of the way that uniform attention looks, in `vit_7x7` as in `vit_7x7_large` and `vit_14x14`. The
# paper's large ViTs have heads far below one half there. The other two parts of Figure 3 hold: low blocks have heads that look far, and high blocks have nothing else. Where heads differ so little,
# the order of subsets in Figure 5 is partly chance: not every ViT has the paper's sign, and the mean of all, which the claim is about, has it.
#
# Figure 4 holds in its sign only. With 3 % of the data the nearest head of `vit_7x7` looks farther than with all of it: what little it has of nearness takes data. The small ViT
# has none to lose, and no head is local in either.
#
# Receptive fields are as in the paper: those of ViTs are larger in low layers, and stay strongest at their own patch, which has many times its share to the end. In the 7 x 7 ViTs they jump to the image in one
# step, with most of their growth; a ResNet's growth is spread over its blocks. In the 14 x 14 ViT the first block sees about as far as the last: there is hardly any growth to divide, or none, and that keeps the claim from being decided.
#
# **Why.** A ViT has to learn that neighbours matter, and only a task that cannot be solved otherwise teaches it. The whole garments that the tiny networks learned, in the middle of
# 28 x 28 pixels, can be told apart by where they are bright; published recipes by which small ViTs learn local heads train for hundreds of
# epochs. Distances are also coarse at `tiny`: the nearest neighbour of a 4-pixel patch is 4 pixels away, and the whole image 28.
#
# ## Try it yourself
#
# 1. What is the attention distance of a head that always looks at the patch on its right, in a grid of 7 x 7 patches of 4 pixels?
# 2. Set `models` to `"tiny/vit_7x7:random"`. Where are its heads, and where its receptive fields?
# 3. The receptive field of the *sum* of the channels takes one backward pass in place of hundreds. Why is it another quantity?
#
# <details><summary>Answers</summary>
#
# 1. Four pixels for each patch that has a neighbour on its right. The library's measure leaves those without one to wherever they look.
# 2. Heads of a random ViT are uniform: queries and keys have nothing to do with each other. Its fields are at their own patch and faint elsewhere.
# 3. Channels pull a pixel up and down. In the derivative of their sum these cancel; in the mean of absolute derivatives they do not.
#
# </details>
#
# **Next:** [Section 6](06_skip_connections.ipynb) asks what keeps a token at its own patch. All sublayers are in
# [Appendix C](C_local_global.ipynb).
