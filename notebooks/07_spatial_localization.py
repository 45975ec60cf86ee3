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
# # Section 7: Spatial information and localization
#
# **Question.** A token of a ViT begins as one patch of the image. After a dozen blocks in which every token looked at every other: is it
# still about that patch? This matters for finding objects, and not only naming them.
#
# | | |
# |---|---|
# | **You will learn** | to map a token back onto the image; how much of such a map comes from the images and not from the network; whether tokens keep other things when the classifier reads CLS than when it reads the mean; what a probe on a single token can tell |
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
# `.venv/bin/papermill notebooks/07_spatial_localization.ipynb out.ipynb -p images ~/photos`; `None` takes the value of the profile.

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

run = seelike.start(globals(), "07_spatial_localization")

# %% [markdown]
# ## The measure
#
# Take one token over many images, and the pixels of one patch over the same images. CKA says whether images that are alike in the token are also alike
# in the patch. With all patches, this gives a map of the image for each token. The map is bright at the patches that the token is about.
#
# We do this for the last block of every network, once for each draw of images. A location of a CNN's feature map counts as a token, and the image is cut
# into as many patches as the map has locations. A warning names patches that are the same in all images of a draw, such as black corners:
# they have no CKA.

# %%
import torch

from seelike.localization import token_patch_cka
from seelike.sections.spatial_localization import mapped_blocks

pairs = run.groups["cls_and_gap"]
grouped = [name for pair in pairs for name in pair]


def maps_of(name):
    """CKA of all tokens of the last block with all patches, for each draw of images."""
    network, images = run.models[name], run.images_for([name])
    last = mapped_blocks(network, images, number=1)
    if not last:
        raise ValueError("It has no last block of 4 x 4 places or more.")
    size = {"minibatch": run.batch_size}
    draws = run.draws(images)
    found = [token_patch_cka(network, last, each, **size) for each in draws]
    return [each[last[0].name].cka for each in found]


# %% [markdown]
# A network whose last block has fewer than 4 x 4 places is left out, with a warning. Figures show the mean over draws.

# %%
maps = seelike.where_possible(dict.fromkeys([*run.names, *grouped]), maps_of)
mean_maps = {
    name: torch.stack(draws).mean(dim=0).numpy() for name, draws in maps.items()
}

# %% [markdown]
# ## Tokens on the image: Figure 9
#
# **Predict.** The paper shows a token at the corner, one at an edge and some of the interior. Will each of them be bright at its own patch in
# a ViT, and there alone? A ViT hands its tokens on by skip connections. But some patches look much the same, such as those of a plain background. A token that is like one of them is like all of them:
# where in the image are they? Then a CNN's tokens: is each bright at its own place, or are all of them bright where the object usually is, in the middle? In the last layer of a CNN each location can see nearly the whole
# image. Only the mean of all locations is classified, so it does not matter which location holds what.

# %% mystnb={"figure": {"caption": "CKA of single tokens of the last block with all patches of the image (the paper's Figure 9). A frame marks the token's own place. Each row has its own scale. Grey: a patch that is the same in all images of a draw.", "name": "fig-token-maps"}, "image": {"alt": "A row of heat maps for each network: a token at the corner, one at an edge, two of the interior. A white frame marks the token's own place. The contrasts under Do tokens know their place say how much brighter the maps are around it."}}
from seelike import plots

shown = {name: mean_maps[name] for name in run.names if name in maps}
plots.token_maps(shown) if shown else run.say_missing()

# %% [markdown]
# The images are such as these. Where in them is the object, and which patches look much the same in all of them?

# %% mystnb={"figure": {"caption": "Some images of this run; where they must not be shown, those that come with seelike in their place.", "name": "fig-images-located"}, "image": {"alt": "A row of eight small images at most, such as the networks are shown."}}
pictures = run.to_show(run.images)
plots.image_rows({"": [pictures[i] for i in range(min(8, len(pictures)))]})

# %% [markdown]
# ### The maps, by hand
#
# Take images of 2 x 2 patches of one pixel each. The first token copies its own patch and adds a little noise; the
# second is a mixture of all patches. We compute one CKA for each token and each patch, as in Section 3.

# %%
from seelike.cka import cka

torch.manual_seed(0)
pixels = torch.randn(64, 1, 2, 2)
own = pixels[:, 0, 0, :1] + 0.3 * torch.randn(64, 1)
mixture = pixels.flatten(1) @ torch.randn(4, 3)
tokens = [own, mixture]
for token in tokens:
    print(
        [round(cka(token, pixels[:, 0, i, j]), 3) for i in (0, 1) for j in (0, 1)]
    )

# %% [markdown]
# The map of the first token is bright at its own patch and dark elsewhere. The map of the mixture is not.

# %% [markdown]
# ### Do tokens know their place?
#
# The *contrast* is one number for all maps of a layer: how much more is an interior token like its own patch and the eight around it than like all
# other patches?
#
# $$\text{contrast} = \overline{\text{CKA}}_\text{near} - \overline{\text{CKA}}_\text{far}$$
#
# If a token is equally like all places, its contrast is 0, however bright its map is. The next cell computes the contrast by hand and
# with the library, on the first draw of the first network, leaving out patches without a CKA.

# %%
import numpy as np

from seelike.sections.place_contrasts import contrast

for name in list(maps)[:1]:
    first = maps[name][0]
    rows, columns = first.shape[1:]
    brighter = []
    for row in range(1, rows - 1):
        for column in range(1, columns - 1):
            of_token = first[row * columns + column]
            near = torch.zeros(rows, columns, dtype=torch.bool)
            near[row - 1 : row + 2, column - 1 : column + 2] = True
            brighter += [of_token[near].nanmean() - of_token[~near].nanmean()]
    print(f"by hand {torch.stack(brighter).nanmean():.4f}, {contrast(first):.4f}")

# %% [markdown]
# But how high can a contrast be? In images with one thing in the middle, distant patches are correlated, and no token can be like one place only. So we
# compare the patches themselves with each other, as if each were a token. This gives the contrast of a token that copies its patch, pixel for pixel,
# and needs no network. The *share* of a layer is its contrast divided by the contrast of the patches. The share is 1 where tokens are as local as the
# pixels themselves, and 0 where tokens are not local at all. It can be compared between kinds of images, too.
#
# One thing remains. *Near* is the own patch and the eight around it. On a coarse grid these are a larger part of the image than on a fine one. The contrast of the patches is taken on the same grid, which accounts for
# most of this, but not for all. So the shares of two networks on different grids should be compared with care.

# %%
from seelike.sections.place_contrasts import maps_of_patches


def contrasts(name):
    """Contrast of a network's tokens and of the patches themselves, for each draw."""
    network, images = run.models[name], run.images_for([name])
    (last,) = mapped_blocks(network, images, number=1)
    size = {"minibatch": run.batch_size}
    pixels = [
        maps_of_patches(network, last, each, **size) for each in run.draws(images)
    ]
    return np.array([[contrast(cka) for cka in of] for of in (maps[name], pixels)])


found = seelike.where_possible(maps, contrasts)

# %% [markdown]
# All networks, the mean over draws.

# %%
knows_place = {name: tokens / pixels for name, (tokens, pixels) in found.items()}
for name, (tokens, pixels) in found.items():
    print(
        f"{name}: contrast {tokens.mean():.3f} of {pixels.mean():.3f}, "
        f"a share of {knows_place[name].mean():.2f}"
    )

# %% [markdown]
# CKA is one measure of several. The second measure of Section 4 gives maps, too: the fraction of the nearest neighbours, among the images, that a token
# and a patch have in common. The next cell computes the same contrasts with this measure.

# %%
from seelike.sections.place_neighbours import place_maps_by_neighbours


def contrasts_by_neighbours(name):
    """The same contrasts by the neighbours that tokens share with patches."""
    network, images = run.models[name], run.images_for([name])
    (last,) = mapped_blocks(network, images, number=1)
    size = {"minibatch": run.batch_size, "seed": run.seed}
    draws = [
        place_maps_by_neighbours(network, last, each, **size)
        for each in run.draws(images)
    ]
    return np.array([[contrast(of) for of in draw] for draw in draws]).T


by_neighbours = seelike.where_possible(found, contrasts_by_neighbours)
knows_by_neighbours = {
    name: tokens / pixels for name, (tokens, pixels) in by_neighbours.items()
}

# %% [markdown]
# The claim compares the shares of ViTs with a CLS token with the shares of CNNs. Each ViT is one case, and the interval covers how much the ViTs
# differ. If the CNNs are one network trained several times, the interval covers how much these trainings differ, too. If they are different networks, they are too few to speak about CNNs
# in general, and the claim is about these CNNs alone.

# %%
from seelike import claims
from seelike.sections.twins import are_trainings


def of(names, values):
    """The values of some networks by name, of those that have any."""
    return {name: values[name] for name in names if name in values}


def of_cnns(values):
    """The values of the CNNs, by name where these are trainings of one."""
    own = of(run.cnns, values)
    return own if are_trainings(own) else [*own.values()]


# %% [markdown]
# The claim, by CKA and by shared neighbours.


# %%
def vits_and_cnns(values):
    """Of the ViTs with a CLS token by name, and of the CNNs."""
    return of(with_cls, values), of_cnns(values)


with_cls = [*run.vits, *(pair[0] for pair in run.own_groups("cls_and_gap"))]
claims.record_difference(
    "vit_tokens_stay_at_their_place",
    *vits_and_cnns(knows_place),
    by_neighbours=vits_and_cnns(knows_by_neighbours),
    figure_name="fig-token-maps",
)

# %% [markdown]
# ## Another way to read out: Figure 10
#
# In a ViT the classifier reads the CLS token. In a CNN it reads the mean of all locations: global average pooling, GAP. A ViT can be trained with GAP,
# too.
#
# **Predict.** The classifier of a GAP ViT reads every token. Will its tokens know their place better than those of a ViT with a CLS token, or
# worse?

# %% mystnb={"figure": {"caption": "The same maps for a ViT with CLS token and one that was trained with global average pooling (the paper's Figure 10), mean over the pairs that have the same grid as the first. Each row has its own scale: compare where it is bright, and read in its colour bar how much.", "name": "fig-gap"}, "image": {"alt": "Two rows of heat maps, one for the ViT with CLS token and one for the ViT with GAP. A white frame marks the token's own place. The next figure says which of the two knows its place better."}}
pairs = [pair for pair in pairs if all(name in by_neighbours for name in pair)]
pair_maps = {}
for place, title in enumerate(("CLS token", "GAP") if pairs else ()):
    every_map = [mean_maps[pair[place]] for pair in pairs]
    same_grid = [each for each in every_map if each.shape == every_map[0].shape]
    pair_maps[title] = np.mean(same_grid, axis=0)
plots.token_maps(pair_maps) if pair_maps else run.say_missing("cls_and_gap")

# %% [markdown]
# The claim compares the contrasts of each pair, whose two networks saw the same images. The first network of a pair is the one with the CLS token; a point is a pair.

# %% mystnb={"figure": {"caption": "Contrast of the tokens of the last block: with CLS token minus with global average pooling. What lies in the grey band is too small to count.", "name": "fig-gap-contrast"}, "image": {"alt": "One row with a point for each pair of networks and a line at their mean. The horizontal axis is a difference of CKA, with a line at zero and a grey band around it. The claim below has the mean."}}
from seelike.plots.twins import differences

of_contrast = claims.CLAIMS["gap_localizes_less"]
less, less_by_neighbours = (
    {first: values[first][0] - values[second][0] for first, second, *_ in pairs}
    for values in (found, by_neighbours)
)
differences(
    {"CLS minus GAP": less}, x_label="contrast (CKA)", margin=of_contrast.margin
) if less else run.say_missing("cls_and_gap")

# %% [markdown]
# A point to the right of the grey band is a pair in which GAP localizes less, as in the paper. Where there are several pairs, the interval covers how much they differ.

# %%
of_both = "a ViT with CLS token with one with global average pooling"
claims.record(
    "gap_localizes_less",
    less,
    by_neighbours=less_by_neighbours,
    figure_name="fig-gap-contrast",
    otherwise=f"It compares {of_both}: this run does not have both.",
)

# %% [markdown]
# ## What can be read from one token: Figure 11
#
# A token that keeps to its patch cannot know what the whole image shows. So we train a linear classifier, a *probe*, on a single token: the more tokens
# keep to their place, the lower its accuracy should be. The probe is a ridge regression on ten images of each class, in closed form. The strength of
# the regularisation is chosen with half of the images held out; then the probe is trained on all of them. For centred features $X$, targets $y$ and strength $\lambda$ its weights are
#
# $$w = (X^\top X + \lambda I)^{-1} X^\top y .$$
#
# By hand, for one token of a single number, four images and two classes, -1 and 1: the slope is the covariance, divided by the sum of variance
# and strength.

# %%
token = torch.tensor([0.0, 1.0, 4.0, 5.0])
target = torch.tensor([-1.0, -1.0, 1.0, 1.0])
centred, strength = token - token.mean(), 1.0
slope = (centred @ target) / (centred @ centred + strength)
print(f"slope {slope:.3f}, at 3: {slope * (3 - token.mean()) + target.mean():.3f}")

# %% [markdown]
# Above zero means the second class.
#
# **Predict.** There are three kinds of network, as in the paper: a ViT with CLS token, a ViT with GAP, and CNNs. Take one spatial token of the last block, not CLS. In which kind of network
# does it classify worst, and in which best? Two may be equally good. Which tokens does each network's classifier read? And in which networks do tokens stay with their patch? The networks also differ in accuracy as a whole, so small differences say little.
#
# The lower blocks of a CNN have finer maps with fewer channels: these
# maps are cut into patches, flattened and pooled to the grid of the last stage. No image is used for both training and testing.

# %%
from seelike.sections.linear_probes import accuracy_by_block, why_no_probes

why_not = why_no_probes(run.probe_images, per_class=10)
print(why_not or "Probes can be trained on these images.")
amounts = {"repeats": run.repeats, "seed": run.seed, "batch_size": run.batch_size}


def probes(name):
    """Accuracy of the probes of one network, by what they see."""
    tokens = ["each", "first", "mean", "mean but first"]
    network, images = {name: run.models[name]}, run.probe_images_for([name])
    return accuracy_by_block(network, images, tokens=tokens, **amounts)[name]


probed = dict.fromkeys([*run.vits[:1], *grouped, *run.cnns]) or run.names
accuracy = seelike.where_possible([] if why_not else probed, probes)

# %% [markdown]
# The result is the accuracy for each network and each kind of token, by repeat and block. For single tokens it is the mean accuracy over the spatial
# tokens. Where several tokens are taken together, the probe classifies their mean. Pairs of the same kind are drawn as one line.

# %%
cls_vits, gap_vits = ([pair[place] for pair in pairs] for place in (0, 1))


def title_of(names, kind):
    """What a line is called: its network, or the kind of several of them."""
    return names[0] if len(names) == 1 else f"ViTs with {kind}"


drawn_as = {title_of([name], ""): [name] for name in [*run.vits[:1], *run.cnns]}
for names, kind in ((cls_vits, "CLS token"), (gap_vits, "GAP")):
    if names:
        drawn_as[title_of(names, kind)] = names
drawn_as = drawn_as or {name: [name] for name in run.names}


# %% [markdown]
# First, single tokens: the left half of Figure 11, a panel for each set of images.

# %% mystnb={"figure": {"caption": "Accuracy of linear probes on single spatial tokens, mean over tokens, by relative depth (the paper's Figure 11, left). Thin lines are trainings, thick ones their means.", "name": "fig-probes-each"}, "image": {"alt": "A line for each network or kind of network: accuracy of probes on single tokens against relative depth. The claims below compare their right ends."}}
from seelike.plots.twins import lines


def kinds_of(names, kind):
    """Accuracy of some networks from one kind of token."""
    return {name: accuracy[name][kind] for name in names if name in accuracy}


panels = {}
for title, names in drawn_as.items():
    if each := kinds_of(names, "each"):
        panels.setdefault(run.probe_images_for(names).name, {})[title] = each
lines(panels, y_label="accuracy, single token") if panels else run.say_missing()

# %% [markdown]
# The claims compare the last block. Where there are no probes, the results below say why.

# %%
top = {name: kinds["each"][:, -1] for name, kinds in accuracy.items()}
for name, values in top.items():
    print(f"{name}: {values.mean():.3f}")

# %% [markdown]
# First against the ViT with GAP, pair by pair. Two repeats draw their images for probes at random and so share a few of them. `share_drawn` says which part;
# the interval of the claim allows for it.

# %%
from seelike.sections.linear_probes import share_drawn

known = [pair for pair in pairs if top.keys() >= set(pair[:2])]
less = {one: top[two] - top[one] for one, two, *_ in known}
overlap = share_drawn(run.probe_images_for(grouped))
claims.record(
    "spatial_tokens_of_cls_classify_worse_than_gap",
    less,
    figure_name="fig-probes-each",
    overlap=overlap,
    otherwise=why_not or f"It compares {of_both}: this run does not have both.",
)

# %% [markdown]
# Next, ViTs with CLS token against CNNs. This uses only ViTs that were probed on the same images as the CNNs: where tiny networks stand in for the
# pairs, these are the run's own ViTs.

# %%
with_cnn = "spatial_tokens_of_cls_classify_worse_than_resnet"
in_figure = {
    "figure_name": "fig-probes-each",
    "compares": "single tokens of CNNs and of a ViT with CLS token",
}
if why_not:
    claims.not_testable(with_cnn, why_not, figure_name="fig-probes-each")
else:
    in_figure["overlap"] = share_drawn(run.probe_images)
    claims.record_difference(with_cnn, of_cnns(top), of(with_cls, top), **in_figure)

# %% [markdown]
# ### One token for all?
#
# Now we probe ViTs in three ways: on the first token, on the mean of all tokens, and on the mean of all but the first. In a ViT with CLS token, the
# first token is the CLS token. A ViT with GAP has no CLS token: its first token is that of the upper left corner.
#
# **Predict.** How far below the mean of all tokens does the corner of the GAP network stay, in its first block and in its last?

# %% mystnb={"figure": {"caption": "Accuracy of linear probes on the first token, on the mean of all tokens and on the mean of all but the first, for the first ViT, and for ViTs with CLS token and with GAP: the paper's Figure 11, right. Thin lines are trainings, thick ones their means.", "name": "fig-probes-pooled"}, "image": {"alt": "A panel for each ViT or kind of ViT, with three lines: accuracy of the first token, of the mean of all tokens and of the mean of all but the first, against relative depth. The claim below compares two of the right ends of the GAP networks."}}
read_out = ("first", "mean", "mean but first")
panels = {
    title: {kind: kinds_of(names, kind) for kind in read_out}
    for title, names in drawn_as.items()
    if names[0] in accuracy and names[0] not in run.cnns
}
lines(panels, y_label="accuracy") if panels else run.say_missing("cls_and_gap")

# %% [markdown]
# No measurement can show that one token does exactly "as well as all". So the claim says that the corner token of the GAP network is at most two points of accuracy
# behind the mean of all tokens. Is the corner a token like any other? To answer this, the cell also prints the mean over all single tokens.

# %%
for title in panels:
    for kind in ("each", *read_out):
        last = [
            values[:, -1].mean()
            for values in kinds_of(drawn_as[title], kind).values()
        ]
        print(f"{title}, {kind}: {np.mean(last):.3f}")

# %% [markdown]
# For each GAP network, the claim takes the accuracy of the first token minus that of the mean of all tokens.

# %%
behind = {
    name: accuracy[name]["first"][:, -1] - accuracy[name]["mean"][:, -1]
    for name in gap_vits
    if name in accuracy
}
claims.record(
    "one_gap_token_does_as_well_as_all",
    behind,
    figure_name="fig-probes-pooled",
    overlap=overlap,
    otherwise=why_not or "It is about a ViT with GAP, and this run has none.",
)

# %% [markdown]
# ## Look around
#
# The slider goes over the image, every second row and column of seven, and begins in the middle. It shows, side by side, the maps of the token at the same place in the first ViT, in the ViT with GAP and
# in the first CNN. Follow one network from the middle towards a corner: does the bright spot move with the frame?

# %%
beside = [*run.vits[:1], *gap_vits[:1]]
beside += [*run.cnns[:1], *run.mixers[:1], *run.others[:1]]
beside_maps = {name: mean_maps[name] for name in beside if name in maps}
figures, alt = {}, {}
for row in range(1, 7 if beside_maps else 0, 2):
    for column in range(1, 7, 2):
        label = f"row {row + 1}, column {column + 1}"
        down, across = (row + 0.5) / 7, (column + 0.5) / 7
        figures[label] = plots.same_place(beside_maps, down, across)
        alt[label] = plots.same_place_alt(beside_maps, down, across)
plots.states(
    figures, "Place", alt, begin="row 4, column 4"
) if figures else run.say_missing()

# %% [markdown]
# With a kernel, you can look at any token of any network.


# %% tags=["remove-output"]
def one_token(network, token):
    """Draw the map of one token."""
    own = {network: mean_maps[network]}
    return plots.token_maps(own, {network: [token % len(own[network])]})


if maps:
    most = max(len(each) for each in mean_maps.values())
    middle = {"token": plots.places(*mean_maps[next(iter(maps))].shape[1:])[-1]}
    choices = {"network": list(maps), "token": range(most)}
    display(plots.live(one_token, begin=middle, **choices))

# %% [markdown]
# ## What we take with us
#
# **The paper found** that interior tokens of a ViT's last block are most like their own patch, and that tokens at the edge are like other places of the
# edge; that ResNets localize far less; that GAP reduces localization in a ViT; that single spatial tokens classify poorly in a ViT with CLS token and
# well in a ResNet and in a ViT with GAP; and that in the latter one token does as well as all.
#
# The claims of this page, in this run:

# %%
claims.on_this_page()

# %% [markdown]
# **The pretrained networks**: a token of the last block of the ViT-S/14, which began as DINOv2, has little in common with the pixels at its place. This
# network was trained to say for each place whether it stands out from the rest of the picture; the paper's ViTs were not. All maps of this ViT are
# faint.
#
# Before training the tokens of the ViT are nearly as local as the patches themselves, and those of the CNN are far less so. So the paper's finding needs no training, and this network has lost it.
#
# Single tokens agree with what the paper found. In the last block, the locations of the CNN classify better than the tokens of the ViT on CIFAR-10. Half-way up, draws of ten images of each class cannot tell the two apart. The last task of the ViT did not use
# classes. Its single tokens are best in the last block, but the mean of its tokens falls towards the top. Ten images of each class are few for hundreds of features: [Appendix F](F_linear_probes.ipynb) takes a thousand.
#
# There is no public ViT of this size that was trained with GAP on the same images, so the pair is tiny in this run.
#
# **The tiny networks**: here ViTs and ResNets are equally accurate. Whether the tokens of the ViTs' last blocks have a larger share of the contrast that the images allow than those of the ResNets is open, since three
# trainings of one ViT differ much. No network has most of it. In all three pairs single tokens classify worse with a CLS token than with GAP, and before training they do not. Single tokens of the ResNets classify only
# a little better than those of the ViTs with CLS token: a CNN that is no more accurate has little lead. With GAP, tokens keep their place less in all three pairs, but how much less is open, and so is whether the first
# token of a ViT with GAP is as good as the mean of all.
#
# **Why.** A loss that reads only the CLS token leaves the other tokens free: nothing uses what they carry in the last block, so the skip connections
# may simply hand their patch on. A loss that reads the mean of all tokens trains each of them to represent the class. The images matter, too. The
# garments of the tiny networks are all in the middle and all upright: the patches of one image say much about each other, and a token can be like a
# distant patch because both are dark. In textures, distant patches say nothing about each other. There, all tokens of the last block of the ViT with CLS token have their brightest patch at their own place, and fewer
# do in the ResNet and in the ViT with GAP. So the number of such tokens depends on the images as well as on the network.
# [Appendix D](D_localization.ipynb) has this number for both kinds of images. The share of what the images allow removes most of this influence.
#
# ## Try it yourself
#
# Put a number or a function in the place of `None` and run the cell: it says what is off.
#
# **07.1** An interior token picks one of 7 x 7 patches at random as the most similar. How often does it pick its own patch, or one of the eight around
# it?

# %% tags=["exercise", "show-code"]
from seelike import exercises

answer = None
exercises.check("07.1", answer)

# %% [markdown]
# **07.2** Write the contrast of one token, of its map `[rows, columns]`, its row and its column.

# %% tags=["exercise", "show-code"]
answer = None
exercises.check("07.2", answer)

# %% [markdown]
# And to look into with the page itself:
#
# 1. Set `models` to `"tiny/vit_7x7:random,tiny/resnet:random"`. How well do tokens know their place before training, and why is that no surprise?
# 2. Set `images` to `"textures/test"`. In a texture every place looks like every other. What becomes of the contrast of the patches, and what of the networks' shares of it?
# 3. The paper's probes take ten images of each class. Give `accuracy_by_block` a `per_class` of 50. Which lines move?
#
# <details><summary>Answers</summary>
#
# **07.1** `answer = 9 / 49`: nearly one in five knows its place by chance alone.
#
# **07.2**
#
# ```python
# import numpy as np
#
# def answer(cka, row, column):
#     near = np.zeros(cka.shape, bool)
#     near[row - 1 : row + 2, column - 1 : column + 2] = True
#     return cka[near].mean() - cka[~near].mean()
# ```
#
# 1. Very well in the ViT: with random weights the branches add little, and the skip connections hand each patch on. Localization is not learned;
#    training may destroy it. A random ResNet mixes neighbouring places, block by block, and has little localization left in the last block.
# 2. Neighbouring patches of a texture are alike in kind but not in phase, so a map is nearly flat but for the patch itself: the contrast of the patches is less than that of garments. The shares
#    stay in their order: that of ResNets is small on both, and that of ViTs larger.
# 3. All of them: a probe with many weights needs many images. [Appendix F](F_linear_probes.ipynb) shows how far they rise with a thousand.
#
# </details>
#
# **Next:** [Section 8](08_scale_and_transfer.ipynb) asks what more data changes. Earlier blocks and maps of the accuracy are in
# [Appendix D](D_localization.ipynb).
