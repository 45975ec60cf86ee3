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
# | **You will learn** | to measure how far a head of attention looks; whether its heads look nearby before and after training; what a receptive field really is, and how it grows |
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
# A head gives every patch a set of weights over all patches. For one patch, multiply each weight by the distance, in pixels, to the patch that it belongs to, and
# add up. The mean over all patches and images is the *attention distance* of the head. With the attention $A_{ij}$ of patch $i$ to patch $j$, and $x_i$ the place of patch $i$ in pixels, of $n$ patches,
#
# $$d = \frac{1}{n} \sum_{i=1}^{n} \sum_{j=1}^{n} A_{ij} \, \lVert x_i - x_j \rVert .$$

# %% [markdown]
# ## Low and high blocks: Figure 3
#
# **Predict.** Take the two lowest and the two highest blocks of a ViT. In each of these blocks: do all heads look nearby, do all look far, or some nearby and others far?
# (A head that gives all patches the same weight counts as far.) A look nearby finds edges and textures; a look at the whole image finds its light and its colours. Does a low block need one of these, or both? In a high
# block, edges and textures have been found already. What is left to find, and does it lie nearby or far apart?
#
# One call measures all heads of a network. Only patches count: other tokens, such as CLS, have no place in the image. A network whose attention cannot be read is named.

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
# Claims about ViTs are about these and those of the pairs that had much data.
much_data = [pair[0] for pair in run.own_groups("much_and_little_data")]
all_vits = {name: heads[name] for name in [*vits, *much_data] if name in heads}
shown = vits or {name: heads[name] for name in run.others if name in heads}

# %% [markdown]
# The dashed line is *uniform* attention: the same weight for every patch. A head whose distance is near this line is *global*, and one
# far below it is *local*.

# %% mystnb={"figure": {"caption": "Attention distance of the heads of each ViT (the paper's Figure 3): the two lowest and the two highest blocks, sorted, and beside them all blocks. The dashed line is a head that looks everywhere alike. Bars are 95 % intervals over draws of images; many are smaller than their mark.", "name": "fig-heads"}, "image": {"alt": "A row for each ViT. Left: mean attention distance in pixels against the rank of the head, with different marks for the two lowest and the two highest blocks. Right: the same heads against the number of their block. A dashed line is uniform attention. The claims below give the nearest and the farthest head in numbers."}}
from seelike import plots

plots.all_heads(shown) if shown else run.say_missing("vits")

# %% [markdown]
# ### The distance, by hand
#
# Take three patches in a row, 10 pixels apart. Each of them looks at itself with weight 0.8 and at its right neighbour with weight
# 0.2; the last has no right neighbour, and looks at itself with weight 1. So they look 2, 2 and 0 pixels far.

# %%
import torch

attention = torch.tensor([[0.8, 0.2, 0.0], [0.0, 0.8, 0.2], [0.0, 0.0, 1.0]])
position = torch.tensor([0.0, 10.0, 20.0])
distance = (position[:, None] - position[None, :]).abs()
print((attention * distance).sum(dim=1).mean())

# %% [markdown]
# ### Local and global at once?
#
# The paper's finding has three parts: low blocks have heads that look nearby, they have heads that look far at the same time, and high blocks have only
# heads that look far. Which of these parts are there before any training? We measure the ViTs of the figure once more, with random weights.

# %%
from seelike.models import load


def untrained(name):
    """The same network with random weights."""
    return load(f"{name}:random").to(run.device)


def all_of_untrained(name):
    """All heads of the same network before training."""
    draws = run.draws(run.images_for([name]))
    return measure_heads(untrained(name), draws, batch_size=run.batch_size)


# %%
new = {} if weights == "random" else all_vits
new = seelike.where_possible(new, all_of_untrained)
label = "before training" if weights == "random" else "trained"
by_kind = {label: {name: all_vits[name] for name in new or all_vits}}
by_kind = {"before training": new} | by_kind if new else by_kind

# %% [markdown]
# Three numbers are enough for this: how far the head looks that looks least far (the *nearest*), in the two low blocks and in the two high blocks; and how much farther the *farthest* head of
# a low block looks than the nearest of the same block, mean over the two.

# %%
import numpy as np

from seelike import claims

MARGINS = {name: claim.margin for name, claim in claims.CLAIMS.items()}
CHOSEN = {
    "nearest,\nlow blocks": lambda each: each.nearest_low,
    "farthest minus\nnearest,\na low block": lambda each: each.spread_low,
    "nearest,\nhigh blocks": lambda each: each.nearest_high,
}
low, far, high = {}, {}, {}
for name, each in all_vits.items():
    low[name] = 1 - each.nearest_low
    far[name] = each.spread_low
    high[name] = each.nearest_high - 1

# %%
marks = {
    group: [
        {name: of(each) for name, each in kind.items()} for kind in by_kind.values()
    ]
    for group, of in CHOSEN.items()
}
bands = [
    (1 - MARGINS["low_layers_have_local_heads"], 1.0),
    (0.0, MARGINS["low_layers_have_global_heads"]),
    (1 - MARGINS["high_layers_are_global"], 1.0),
]

# %% [markdown]
# Each small mark is a ViT, and a thin line joins it with the same ViT before training. In the first group, a local head lies below the band. In the
# second group, heads of one block that differ enough lie above the band. In the third group, no head lies below the band if the high blocks have only heads
# that look far.

# %% mystnb={"figure": {"caption": "Attention distance of the nearest head of the two lowest blocks, of the farthest minus the nearest head of one of them, and of the nearest head of the two highest, before training and after it. Small marks are ViTs, large marks are means. The grey bands are the margins of the three claims.", "name": "fig-heads-new"}, "image": {"alt": "Three groups of marks: grey ones for ViTs before training on the left, coloured ones for the same ViTs after it on the right, joined by thin lines, with the mean of each. The vertical axis is the attention distance as a share of uniform, which is a dashed line. The claims below give the numbers of the trained ones."}}
from seelike.plots.twins import side_by_side

side_by_side(
    marks,
    names=list(by_kind),
    y_label="attention distance / uniform",
    bands=dict(zip(marks, bands, strict=True)),
    controls=["before training"],
    reference=(1.0, "everywhere alike"),
) if low else run.say_missing("vits")

# %% [markdown]
# The three claims take the means over the ViTs. Their intervals are over ViTs and draws of images: one ViT that is unlike the others makes them wide.

# %%
for claim, values in {
    "low_layers_have_local_heads": low,
    "low_layers_have_global_heads": far,
    "high_layers_are_global": high,
}.items():
    claims.record(
        claim,
        values,
        figure_name="fig-heads-new",
        otherwise="This run has no ViT that can be measured: add one to models.",
    )

# %% [markdown]
# ## With less data: Figure 4
#
# Nothing in a ViT says that neighbours matter. It has to find that out.
#
# **Predict.** The same network, trained on a small part of the data: will its low heads be more local or less? And how much do two trainings differ that
# saw the same images, in another order?
#
# All networks of a group begin with the same weights. Where there is a control, it saw all of the data again, in another order: how far it is from the first shows what chance alone does.


# %%
from seelike.sections.shares_of_data import Pair


def by_amount(of_heads):
    """A number of each network: on much data, as the control, and the mean of its twins on little."""
    kinds = {"much data": {}, "much data again": {}, "little data": {}}
    for first, *rest in read:
        kinds["much data"][first] = of_heads(heads[first])
        for kind, again in (("much data again", True), ("little data", False)):
            such = [name for name in rest if Pair(first, name).is_control is again]
            if such:
                found = [of_heads(heads[name]) for name in such]
                kinds[kind][first] = np.mean(found, axis=0)
    return {kind: found for kind, found in kinds.items() if len(found) == len(read)}


read = [pair for pair in pairs if all(name in heads for name in pair)]
amounts = {group: by_amount(of) for group, of in CHOSEN.items()}

# %% mystnb={"figure": {"caption": "The same three numbers, trained on much and on little data (after the paper's Figure 4). Small marks are trainings, thin lines join those that began with the same weights, large marks are means. Grey: trained on much data again, in another order. A training within the grey band differs too little from the mean on much data to count.", "name": "fig-heads-data"}, "image": {"alt": "Three groups of marks. In each, trainings on much data stand on the left, grey controls beside them, and their twins on little data on the right, joined by thin lines, with the mean of each. The vertical axis is the attention distance as a share of uniform, which is a dashed line. The claim below compares the nearest low heads."}}
group = next(iter(CHOSEN))
kinds = amounts[group]
much = [each for kind, each in kinds.items() if kind.startswith("much")]
more = {name: np.mean([each[name] for each in much], axis=0) for name in much[0]}
less = kinds.get("little data", {})
middle = np.mean(list(more.values())) if more else 0
margin = MARGINS["little_data_gives_no_local_heads"]
side_by_side(
    {group: [*kinds.values()] for group, kinds in amounts.items()},
    names=[*kinds],
    y_label="attention distance / uniform",
    bands={group: (middle - margin, middle + margin)},
    controls=["much data again"],
    reference=(1.0, "everywhere alike"),
) if read else run.say_missing("much_and_little_data")

# %% [markdown]
# The claim is about the first group: the mean of little data has to lie above the grey band around the mean of much data, control included, by more than trainings differ among themselves. Read this
# claim together with the claim on local heads above: little data can move a head even where no head is local on much data.

# %%
claims.record(
    "little_data_gives_no_local_heads",
    {name: less[name] - more[name] for name in more},
    figure_name="fig-heads-data",
    otherwise="It compares a ViT on little data with the same on much: this run does not have both.",
)

# %% [markdown]
# ## Do local heads see what a CNN sees? Figure 5
#
# Take the heads of the first block in the order of their distance, a quarter of them at a time, and compare what each such subset gives with the low
# layers of a CNN.
#
# The output of a subset is the outputs of its heads, side by side. The HSIC of a subset is the sum of the HSICs of its heads, so one pass is enough for
# all subsets.
#
# **Predict.** Which subset is most like the CNN, and does likeness fall with distance?


# %%
from seelike.cka import compare_heads
from seelike.models import layers


def with_low_layers(vit, cnn):
    """CKA of the heads of a ViT's first block with the low layers of a CNN."""
    return compare_heads(
        vit,
        cnn,
        run.images,
        layers=[layer for layer in layers(cnn) if layer.depth < 1 / 3],
        batch_size=run.batch_size,
        repeats=run.repeats,
        number_of_images=max(run.batch_size, run.number_of_images // 2),
        seed=run.seed,
    )


# %%
both = vits if run.cnns else {}
of_heads = seelike.where_possible(
    both, lambda name: with_low_layers(run.models[name], run.models[run.cnns[0]])
)
of_new = seelike.where_possible(
    [name for name in of_heads if name in new],
    lambda name: with_low_layers(untrained(name), untrained(run.cnns[0])),
)

# %% [markdown]
# Of each subset: the mean distance of its heads, and its mean CKA with the low CNN layers.

# %%
from seelike.sections.local_global import rank_correlation, subsets_of_heads


def far_and_alike(each, comparison):
    """Of each subset of heads its mean distance, and its CKA with the CNN."""
    distance = each.distance[:, 0].mean(axis=0)
    chosen = subsets_of_heads(distance)
    far = np.array([distance[subset].mean() for subset in chosen])
    return far, comparison.between(chosen).mean(axis=2)


subsets = {name: far_and_alike(vits[name], each) for name, each in of_heads.items()}

# %% [markdown]
# Each dotted line is a ViT, from its most local heads to its most global ones.

# %% mystnb={"figure": {"caption": "CKA of subsets of the heads of the first block with the lowest third of the layers of a CNN, against the mean attention distance of the subset (the paper's Figure 5). Bars are 95 % intervals over draws of images.", "name": "fig-subsets"}, "image": {"alt": "A dotted line for each ViT: CKA with low CNN layers against mean attention distance of the subset of heads. The claim below gives the rank correlation."}}
plots.subsets_of_heads(subsets) if subsets else run.say_missing("vits", "cnns")

# %% [markdown]
# The claim is only about the order: minus the rank correlation is 1 where CKA falls with every step of distance. With few heads, chance alone gives a
# large rank correlation of either sign. So each ViT is one case, and the interval covers how much ViTs differ: a single ViT cannot decide the claim.

# %%
against = {name: -rank_correlation(*values) for name, values in subsets.items()}
against_new = {
    name: -rank_correlation(*far_and_alike(new[name], each))
    for name, each in of_new.items()
}

# %% mystnb={"figure": {"caption": "Minus the rank correlation of CKA with distance, over the subsets of the heads of each ViT: 1 means that a more local subset is always more like the CNN. Each point is a ViT, trained or before training; before training the CNN is untrained, too. Correlations within the grey band are too weak to count.", "name": "fig-subsets-order"}, "image": {"alt": "Two rows of points, trained and before training, a point for each ViT, between -1 and 1, with their mean and a grey band around zero. The claim below gives the mean of the trained ones."}}
from seelike.plots.twins import differences

rows = {label: against} | ({"before training": against_new} if against_new else {})
differences(
    rows,
    x_label="minus rank correlation",
    margin=MARGINS["local_heads_look_like_resnet"],
) if against else run.say_missing("vits", "cnns")

# %%
claims.record(
    "local_heads_look_like_resnet",
    against,
    figure_name="fig-subsets-order",
    otherwise="It compares heads of ViTs with CNNs: this run does not have both.",
)

# %% [markdown]
# ## What a unit sees: Figure 6
#
# A layer's *effective receptive field* says how much each pixel changes the layer's output at the middle of its map: the absolute derivative, averaged
# over channels and images. With the output $z_c$ of channel $c$ there, and $x_{uv}$ the pixel in row $u$ and column $v$, it is, for one image,
#
# $$F_{uv} = \frac{1}{C} \sum_{c=1}^{C} \left| \frac{\partial z_c}{\partial x_{uv}} \right| .$$
#
# By hand, for a layer that averages three neighbours, twice:

# %%
image = torch.randn(1, 1, 1, 7, requires_grad=True)
blur = torch.nn.Conv2d(1, 1, (1, 3), padding=(0, 1), bias=False)
torch.nn.init.constant_(blur.weight, 1 / 3)
twice = torch.nn.Sequential(blur, blur).eval()
(field,) = torch.autograd.grad(twice(image)[0, 0, 0, 3], image)
print((9 * field).round().flatten().tolist(), "ninths")

# %% [markdown]
# The field has five pixels, and the middle one counts most. The fields of a CNN grow like this.
#
# The paper differentiates every channel, for 32 images. We take draws of eight images, at most four, and in each draw another sample of 4 channels: an unbiased estimate that costs much less.
#
# **Predict.** How far does the first block of a ViT see, and how far the last block of a CNN?

# %%
from seelike.sections.local_global import measure_fields

few = [
    run.images.sample(min(8, len(run.images)), seed=run.seed + repeat)
    for repeat in range(min(4, run.repeats))
]


def fields_of(name):
    """Receptive fields of one network: each draw has its own images and channels."""
    return measure_fields(run.models[name], few, channels=4, seed=run.seed)


fields = seelike.where_possible(dict.fromkeys([*run.names, *all_vits]), fields_of)

# %% mystnb={"figure": {"caption": "Effective receptive fields of the middle location after some blocks, from low to high (the paper's Figure 6). Each is the mean over the images of all draws, divided by its largest value; brightness is logarithmic, and what is below a thousandth is black.", "name": "fig-fields"}, "image": {"alt": "A row of small square images for each network, from low to high blocks: the field of the location in the middle, from black, a thousandth of the largest value or less, to bright, the largest. The figure and the claims below say in numbers how large the fields are and how they grow."}}
from seelike.sections.local_global import evenly_spaced, mean_fields


def some_blocks(name, count=5):
    """Fields of some blocks, evenly spaced from first to last, mean over the draws."""
    mean = mean_fields(fields[name])
    blocks = list(mean)
    return {blocks[i]: mean[blocks[i]] for i in evenly_spaced(len(blocks), count)}


maps = {name: some_blocks(name) for name in run.names if name in fields}
plots.field_maps(maps) if maps else run.say_missing()

# %% [markdown]
# ### How large, and how does it grow?
#
# One number says how large a field is: the radius within which half of it lies, as a share of the side of the image. A field that is the same everywhere
# has a radius of 0.4: the circle that holds half of a square.

# %% mystnb={"figure": {"caption": "Radius of the receptive field that holds half of it, as a share of the side of the image, by relative depth. Bands are 95 % intervals over draws of images.", "name": "fig-radii"}, "image": {"alt": "A line for each network: radius of the receptive field against relative depth. The claims below compare the left thirds and the largest steps."}}
from seelike.sections.local_global import radii

radius = {name: radii(each) for name, each in fields.items()}
lines = {
    name: plots.over_depth(radius[name]) for name in run.names if name in radius
}
plots.depth_lines(
    lines, y_label="radius / side of the image"
) if lines else run.say_missing()

# %% [markdown]
# The first claim: in the lowest third of the blocks the fields of ViTs are the larger ones.

# %%
from seelike.sections.local_global import mean_of_first_third


def of(names, statistic):
    """A statistic of the radii of some of the networks, each one case."""
    return {name: statistic(radius[name]) for name in names if name in radius}


claims.record_difference(
    "vit_fields_are_larger_early",
    of(all_vits, mean_of_first_third),
    list(of(run.cnns, mean_of_first_third).values()),
    figure_name="fig-radii",
)

# %% [markdown]
# The second claim: the fields of ViTs grow in a jump, those of CNNs step by step. A step is the growth of the radius from one block to the next, in
# units of the image's side. The *jump* of a network is its largest step minus its mean step. The jump is zero where the field grows evenly, however
# much it grows. A ViT whose first block sees everything has no jump either, since its field cannot grow any more.

# %%
from seelike.sections.growth import jump

jumps = of(all_vits, jump), list(of(run.cnns, jump).values())
for name in radius:
    print(f"{name}: jump of {jump(radius[name]).mean():.3f} of the side")
claims.record_difference("vit_fields_jump", *jumps, figure_name="fig-radii")

# %% [markdown]
# The last claim: does a ViT's token still depend most on its own patch, however much it sees? We divide the patch's share of the field by its share of
# the area. A ratio of 1 is what the area alone would give. The claim takes the logarithm to the base 2, so that a ViT with small patches, whose share
# of the area is small, does not outweigh the others. A logarithm of 1 is twice what the area alone would give.

# %%
from seelike.sections.local_global import own_patch

at_the_patch = {
    name: own_patch(fields[name])[:, -1] for name in all_vits if name in fields
}
for name, times in at_the_patch.items():
    print(f"{name}: the own patch has {times.mean():.1f} times its share")
doublings = {name: np.log2(times) for name, times in at_the_patch.items()}
claims.record(
    "vit_fields_stay_at_their_patch",
    doublings,
    figure_name="fig-fields",
    otherwise="This run has no ViT that can be measured: add one to models.",
)

# %% [markdown]
# ## Look around
#
# Each picture shows the mean attention of a head, by the offset from the patch that looks to the patch that it looks at: the mean over all pairs of patches
# with this offset. The cross marks the patch that looks. A local head is bright at the cross and dark elsewhere. A uniform head has the same colour everywhere. Only few pairs of patches are
# far apart, so that the corners, with one pair each, depend on the images of this run.
#
# The slider goes through the blocks of the first ViT (a selection from first to last, if there are many). A ring marks the head among all heads.

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
# With a kernel, you can look at the heads of any ViT of this run.


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
# **The pretrained ViT**, a ViT-S/14 that began as DINOv2, shows a part of Figure 3. In the second block one head looks at its nearest surroundings, but none looks everywhere; in the first block all heads look far. In both, the farthest head looks much farther than the nearest, but heads that look nearby beside heads that look nearly everywhere begin with the third block. All of this
# was learned: before training all heads look everywhere alike. At the top no head is as local, but some look only about half as far as a head that looks
# everywhere alike, so "entirely global" says too much. No second ViT of this kind was trained on less data: Figure 4 is of tiny networks.
#
# In Figure 5, by rank, the subsets whose heads look nearer are more like a low CNN layer, but before any training perhaps they are, too. This is a single
# network with six heads in a block, and its local heads are not in the first block, whose heads make up these subsets.
#
# Receptive fields stay brightest at the token's own patch from the first block to the last, but before training they do so even more. Whether they are
# larger in low layers than those of EfficientNet-Lite0 stays open. There is no jump: the field of this ViT grows from block to block.
#
# **The tiny networks** have no local heads: the nearest head in the two lowest blocks looks most of the way that uniform attention looks, in all of them. The
# paper's large ViTs have heads far below one half there. As all heads look far, it says little that the heads of the highest blocks look far, too.
# Where heads differ so little, the order of subsets in Figure 5 is partly chance: the sign of the rank correlation differs between ViTs.
#
# In Figure 4 the grey controls, on all data once more, lie about as far from the first networks as those on little data do. So what differs is no more than chance makes.
#
# On average, receptive fields of these ViTs are larger in low layers than those of the ResNets, and stay strongest at their own patch, which has many times its share
# of the area even in the last block. Four ViTs are too few to make both certain after the correction. The fields of the 7 x 7 ViTs grow most from the first block to the second, and not midway as the paper's do; the 14 x 14 ViT sees from its first block about as far as from its last.
#
# **Why.** A ViT has to learn that neighbours matter, and only a task that cannot be solved otherwise teaches it. The tiny networks learned whole
# garments in the middle of 28 x 28 pixels, which can be told apart by where they are bright. (The fields of the 14 x 14 ViT also have a bright spot at an edge of the image, in every block. We do not know why.) Published recipes by which small ViTs learn local heads
# train for hundreds of epochs. Distances are also coarse at `tiny`: the nearest neighbour of a 4-pixel patch is 4 pixels away, and the whole image 28.
#
# ## Try it yourself
#
# Put a number or a function in the place of `None` and run the cell: it says what is off.
#
# **05.1** What is the attention distance of a head that always looks at the patch on its right, in a grid of 7 x 7 patches of 4 pixels? Leave out
# patches that have none there.

# %% tags=["exercise", "show-code"]
from seelike import exercises

answer = None
exercises.check("05.1", answer)

# %% [markdown]
# **05.2** Write the mean attention distance in pixels, of an attention matrix `[queries, keys]`, the rows and columns of the grid, and the side of a
# patch.

# %% tags=["exercise", "show-code"]
answer = None
exercises.check("05.2", answer)

# %% [markdown]
# And to look into with the page itself:
#
# 1. Set `models` to `"tiny/vit_7x7:random"`. Where are its heads, and where its receptive fields?
# 2. The receptive field of the *sum* of the channels takes one backward pass in place of hundreds. Why is it another quantity?
#
# <details><summary>Answers</summary>
#
# **05.1** `answer = 4`: one patch, of four pixels.
#
# **05.2**
#
# ```python
# import numpy as np
#
# def answer(attention, rows, columns, side):
#     y, x = np.divmod(np.arange(rows * columns), columns)
#     distance = side * np.hypot(y[:, None] - y, x[:, None] - x)
#     return (attention * distance).sum(axis=1).mean()
# ```
#
# 1. Heads of a random ViT are uniform: queries and keys have nothing to do with each other. Its fields are at their own patch and faint elsewhere.
# 2. Channels pull a pixel up and down. In the derivative of their sum these cancel; in the mean of absolute derivatives they do not.
#
# </details>
#
# **Next:** [Section 6](06_skip_connections.ipynb) asks what keeps a token at its own patch. All sublayers are in
# [Appendix C](C_local_global.ipynb).
