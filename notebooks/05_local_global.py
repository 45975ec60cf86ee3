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
# it? And do local heads learn what a ResNet learns?
#
# | | |
# |---|---|
# | **You will learn** | to measure how far a head of attention looks; how much data it takes to learn to look nearby; what a receptive field really is, and how it grows |
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
# `.venv/bin/papermill notebooks/05_local_global.ipynb out.ipynb -p images ~/photos`; `None` takes the value of the profile.

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
# image.

# %%
from seelike.local_global import measure_heads

pairs = run.groups["much_and_little_data"]
names = dict.fromkeys([*run.vits, *(name for pair in pairs for name in pair)])
heads, unreadable = {}, {}
for name in names:
    try:
        heads[name] = measure_heads(
            run.models[name], run.draws(), batch_size=run.batch_size
        )
    except ValueError as error:
        unreadable[name] = error
for name, error in unreadable.items():
    print(f"{name}: {error}")

# %% mystnb={"figure": {"caption": "Attention distance of the heads of the two lowest and the two highest blocks, sorted (the paper's Figure 3). The dashed line is a head that looks everywhere alike. Bars are 95 % intervals over draws of images.", "name": "fig-heads"}, "image": {"alt": "A panel for each ViT: mean attention distance in pixels against the rank of the head, with different marks for the two lowest and the two highest blocks, and a dashed line for uniform attention. The claims below give the nearest and the farthest head in numbers."}}
from seelike import plots

vits = {name: heads[name] for name in run.vits if name in heads}
plots.sorted_heads(vits) if vits else None

# %% [markdown]
# ### Local and global at once?
#
# The paper's finding has three parts. Low blocks have heads that look nearby: nearer than half of the dashed line.

# %%
import numpy as np

from seelike import claims

zero = [np.zeros(run.repeats)] if vits else []
a_vit = "the heads of a ViT with the distance of uniform attention"
for name, each in vits.items():
    print(
        f"{name}: nearest {each.nearest_low.mean():.2f} of uniform, "
        f"farthest {each.farthest_low.mean():.2f}; at the top nearest {each.nearest_high.mean():.2f}"
    )
claims.record_difference(
    "low_layers_have_local_heads",
    [0.5 - each.nearest_low for each in vits.values()],
    zero,
    figure_name="fig-heads",
    compares=a_vit,
)

# %% [markdown]
# They have heads that look far as well, and high blocks have nothing but these.

# %%
claims.record_difference(
    "low_layers_have_global_heads",
    [each.farthest_low - 0.8 for each in vits.values()],
    zero,
    figure_name="fig-heads",
    compares=a_vit,
)
claims.record_difference(
    "high_layers_are_global",
    [each.nearest_high for each in vits.values()],
    [each.nearest_low for each in vits.values()],
    figure_name="fig-heads",
    compares="high with low blocks of a ViT",
)

# %% [markdown]
# ## With less data: Figure 4
#
# Nothing in a ViT says that neighbours matter. It has to find that out.
#
# **Predict.** The same network, trained on a small part of the data: will its low heads be more local or less?

# %% mystnb={"figure": {"caption": "The same for networks that were trained on much and on little data (the paper's Figure 4, and C.5).", "name": "fig-heads-data"}, "image": {"alt": "A panel for each network, those on much and on little data side by side: mean attention distance of the heads of the two lowest and highest blocks, and a dashed line for uniform attention. The claim below compares the nearest low heads."}}
of_pairs = {name: heads[name] for pair in pairs for name in pair if name in heads}
plots.sorted_heads(of_pairs) if of_pairs else None

# %% [markdown]
# The claim compares the nearest head of the two lowest blocks.

# %%
read = [pair for pair in pairs if all(name in heads for name in pair)]
claims.record_difference(
    "little_data_gives_no_local_heads",
    [heads[pair[1]].nearest_low for pair in read],
    [heads[pair[0]].nearest_low for pair in read],
    figure_name="fig-heads-data",
    compares="a ViT on little data with the same ViT on much",
)

# %% [markdown]
# ## Do local heads see what a ResNet sees? Figure 5
#
# Take the heads of the first block in the order of their distance, a quarter of them at a time, and compare what each such subset gives with the low
# layers of a ResNet.
#
# **Predict.** Which subset is most like the ResNet, and does likeness fall with distance?

# %%
from seelike.cka import compare_heads
from seelike.local_global import rank_correlation, subsets_of_heads
from seelike.models import layers

subsets, correlations = {}, []
if vits and run.resnets:
    resnet = run.models[run.resnets[0]]
    low = [layer for layer in layers(resnet) if layer.depth < 1 / 3]
    for name, each in vits.items():
        distance = each.distance[:, 0].mean(axis=0)
        chosen = subsets_of_heads(distance)
        comparison = compare_heads(
            run.models[name],
            resnet,
            run.images,
            layers=low,
            batch_size=run.batch_size,
            repeats=run.repeats,
            number_of_images=run.number_of_images,
            seed=run.seed,
        )
        cka = comparison.between(chosen).mean(axis=2)
        far = np.array([distance[subset].mean() for subset in chosen])
        subsets[name] = (far, cka)
        correlations.append(rank_correlation(far, cka))

# %% mystnb={"figure": {"caption": "CKA of subsets of the heads of the first block with the lowest third of the layers of a ResNet, against the mean attention distance of the subset (the paper's Figure 5). Bars are 95 % intervals over draws of images.", "name": "fig-subsets"}, "image": {"alt": "A dotted line for each ViT: CKA with low ResNet layers against mean attention distance of the subset of heads. The claim below gives the rank correlation."}}
plots.subsets_of_heads(subsets) if subsets else None

# %% [markdown]
# The claim is about the order only: minus the rank correlation is 1 where likeness falls with every step.

# %%
claims.record_difference(
    "local_heads_look_like_resnet",
    [-correlation for correlation in correlations],
    zero if correlations else [],
    figure_name="fig-subsets",
    compares="heads of a ViT with a ResNet",
)

# %% [markdown]
# ## What a unit sees: Figure 6
#
# A layer's *effective receptive field* is how much each pixel moves the middle of its map: the absolute derivative, averaged over
# channels and images. By hand, for a layer that averages three neighbours, twice:

# %%
image = torch.randn(1, 1, 1, 7, requires_grad=True)
kernel = torch.full((1, 1, 1, 3), 1 / 3)
once = torch.nn.functional.conv2d(image, kernel, padding=(0, 1))
twice = torch.nn.functional.conv2d(once, kernel, padding=(0, 1))
(field,) = torch.autograd.grad(twice[0, 0, 0, 3], image)
print((9 * field).round().flatten().tolist(), "ninths")

# %% [markdown]
# Five pixels, the middle one most: that is how the fields of a ResNet grow. The library does this for every channel; here for a sample of 8
# channels of each block, which is an unbiased estimate, on eight images for each repeat.
#
# **Predict.** How far does the first block of a ViT see, and how far the last block of a ResNet?

# %%
from seelike.local_global import measure_fields, radii

fields = {}
for name in [*run.vits, *run.resnets, *run.mixers]:
    few = [
        run.images.sample(min(8, len(run.images)), seed=run.seed + repeat)
        for repeat in range(run.repeats)
    ]
    fields[name] = measure_fields(run.models[name], few, channels=8, seed=run.seed)

# %% mystnb={"figure": {"caption": "Effective receptive fields of the middle location after some blocks, from low to high (the paper's Figure 6). Each is divided by its largest value; brightness is its square root.", "name": "fig-fields"}, "image": {"alt": "A row of small images for each network, from low to high blocks. The fields of ResNets are spots that grow. Those of ViTs have a bright patch in the middle and a fainter ground over the whole image."}}


def five_of(name):
    """Five of a network's fields, evenly spaced from first to last, mean over the draws."""
    blocks = list(fields[name][0].after)
    places = np.unique(np.linspace(0, len(blocks) - 1, 5).round().astype(int))
    mean = {
        b: np.mean([f.after[b].numpy() for f in fields[name]], axis=0)
        for b in blocks
    }
    return {blocks[place]: mean[blocks[place]] for place in places}


plots.field_maps({name: five_of(name) for name in fields}) if fields else None

# %% [markdown]
# ### How large, and how does it grow?
#
# One number says how large a field is: the radius within which half of it lies, as a share of the side of the image.

# %% mystnb={"figure": {"caption": "Radius of the receptive field that holds half of it, as a share of the side of the image, by relative depth. Bands are 95 % intervals over draws of images.", "name": "fig-radii"}, "image": {"alt": "A line for each network: radius of the receptive field against relative depth. The claims below compare the left thirds and the largest steps."}}
radius = {name: radii(each) for name, each in fields.items()}
lines = {
    name: (np.linspace(0, 1, each.shape[1]), *claims.mean_and_uncertainty(each))
    for name, each in radius.items()
}
plots.depth_lines(lines, y_label="radius / side of the image") if lines else None

# %% [markdown]
# The claims: fields of ViTs are larger in the lowest third, and grow in a jump where those of ResNets grow step by step.

# %%
from seelike.local_global import largest_step, mean_of_first_third


def of(names, statistic):
    """A statistic of the radii of some of the networks."""
    return [statistic(radius[name]) for name in names]


for claim, statistic in (
    ("vit_fields_are_larger_early", mean_of_first_third),
    ("vit_fields_jump", largest_step),
):
    claims.record_difference(
        claim,
        of(run.vits, statistic),
        of(run.resnets, statistic),
        figure_name="fig-radii",
    )

# %% [markdown]
# Last: however much a ViT's token sees, does it still depend on its own patch most? 1 would be no more than its share of the area.

# %%
from seelike.receptive_field import centre_mass

at_the_patch = []
for name in run.vits:
    last = list(fields[name][0].after)[-1]
    mass = [
        centre_mass(each.after[last], each.grids[last]) for each in fields[name]
    ]
    print(f"{name}: the own patch has {np.mean(mass):.1f} times its share")
    at_the_patch.append(np.array(mass) - 1)
claims.record_difference(
    "vit_fields_stay_at_their_patch",
    at_the_patch,
    [np.zeros(run.repeats)] if at_the_patch else [],
    figure_name="fig-fields",
    compares="the fields of a ViT with uniform ones",
)

# %% [markdown]
# ## Look around
#
# Behind each distance is a picture: the mean attention of a head, by the offset from the patch that looks to the patch that is seen. The cross is
# the own patch. The slider goes through all heads of the first ViT.

# %%
from seelike.attention import mean_attention

figures, alt = {}, {}
if vits:
    name, each = next(iter(vits.items()))
    sample = run.images.sample(min(64, len(run.images)), seed=run.seed)
    blocks = range(1, each.distance.shape[1] + 1)
    maps = {b: mean_attention(run.models[name], sample, b).numpy() for b in blocks}
    for block in blocks:
        for head, attention in enumerate(maps[block], start=1):
            far = each.distance[:, block - 1, head - 1].mean()
            label = f"block {block}, head {head}: {far:.1f} pixels"
            figures[label] = plots.attention_map(attention, label)
            alt[label] = (
                f"Mean attention, {far / each.uniform:.2f} of uniform distance."
            )
plots.states(figures, "Head", alt) if figures else None

# %% [markdown]
# With a kernel, the heads of any ViT of this run.


# %% tags=["remove-output"]
def one_head(network, block, head):
    """Draw the mean attention of one head."""
    block = min(block, heads[network].distance.shape[1])
    attention = mean_attention(run.models[network], sample, block).numpy()
    return plots.attention_map(attention[(head - 1) % len(attention)], network)


if vits:
    display(
        plots.live(
            one_head, network=list(vits), block=range(1, 13), head=range(1, 13)
        )
    )

# %% [markdown]
# ## What we take with us
#
# **The paper found** that the lowest blocks of a ViT attend locally and globally at once, and the highest only globally; that with ImageNet alone, large
# ViTs do not learn to attend locally; that local heads are more like a ResNet than global ones; and that receptive fields are larger in low layers of a
# ViT, jump to the whole image half-way, and stay strongest at their own patch.
#
# **Here we see**
#
# <!-- numbers: what to say here -->
#
# **Why.** A ViT has to learn that neighbours matter, and only a task that cannot be solved otherwise teaches it. Whole garments in the middle of
# 28 x 28 pixels can be told apart by where they are bright; published recipes by which small ViTs learn local heads train for hundreds of
# epochs. Distances are also coarse here: the nearest neighbour of a 4-pixel patch is 4 pixels away, and the whole image 28.
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
