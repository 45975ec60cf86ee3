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
# still about that patch? Who wants to find objects, and not only to name them, needs to know.
#
# | | |
# |---|---|
# | **You will learn** | to map a token back onto the image; why the way a network is read out decides what its tokens keep; what a probe on a single token can tell |
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
# Take one token over many images, and the pixels of one patch over the same images. CKA says how alike the two arrange the images.
# Do that for all patches, and a token has a map of the image: bright where it is about.
#
# By hand, on images of 2 x 2 patches of one pixel each. The first token copies its own patch and adds a little noise; the
# second is a mixture of all patches.

# %%
import torch

torch.manual_seed(0)
pixels = torch.randn(64, 1, 2, 2)
own = pixels[:, 0, 0, :1] + 0.3 * torch.randn(64, 1)
mixture = pixels.flatten(1) @ torch.randn(4, 3)
tokens = [own, mixture]

# %% [markdown]
# For each token and each patch one CKA, as in Section 3.

# %%
from seelike.cka import cka

for token in tokens:
    print(
        [round(cka(token, pixels[:, 0, i, j]), 3) for i in (0, 1) for j in (0, 1)]
    )

# %% [markdown]
# The first token's map is bright at its own patch and dark elsewhere, that of the mixture is not. The library computes all tokens
# against all patches as one product of matrices.

# %%
from seelike.localization import TokenPatchCKA

similarity = TokenPatchCKA(grid=(2, 2))
four_tokens = torch.zeros(64, 4, 3)
four_tokens[:, 0, :1], four_tokens[:, 1] = own, mixture
four_tokens[:, 2:] = pixels.flatten(1)[:, 2:, None]
similarity.update(pixels, four_tokens)
print(similarity.compute()[:2].flatten(1))

# %% [markdown]
# ## Measure
#
# The last block of every network, once for each draw of images. A location of a CNN's feature map counts as a token, and the image is cut
# into as many patches as the map has locations. A warning names patches that are the same in all images of a draw, such as black corners:
# they have no CKA.

# %%
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
# A network without such a grid is named. Figures show the mean over draws.

# %%
maps = seelike.where_possible(dict.fromkeys([*run.names, *grouped]), maps_of)
mean_maps = {
    name: torch.stack(draws).mean(dim=0).numpy() for name, draws in maps.items()
}

# %% [markdown]
# ## Tokens on the image: Figure 9
#
# **Predict.** The paper shows a token at the corner, one at an edge and some of the interior. For which of them will the map of a ViT have a single
# bright spot? And where will a CNN's tokens be bright?

# %% mystnb={"figure": {"caption": "CKA of single tokens of the last block with all patches of the image (the paper's Figure 9). A frame marks the token's own place. Each row has its own scale. Grey: a patch that is the same in all images of a draw.", "name": "fig-token-maps"}, "image": {"alt": "A row of heat maps for each network: a token at the corner, one at an edge, two of the interior. A white frame marks the token's own place. The numbers below say how often the brightest patch is there."}}
from seelike import plots

shown = {name: mean_maps[name] for name in run.names if name in maps}
plots.token_maps(shown) if shown else run.say_missing()

# %% [markdown]
# ### How many tokens know their place?
#
# For each interior token we look for its brightest patch, and count those for which it is their own or one of the eight
# around it. Try it by eye on the four tokens of one row above. A token that knows nothing would be right by chance in 9 of 49
# cases on a grid of 7 x 7, on a coarser grid more often: so chance is subtracted, and 1 means that all tokens know their place, 0 that none does.
#
# By hand, on the first draw of the first network, with 9 patches of all for the chance, and by the library, which leaves out patches without
# a CKA.

# %%
import numpy as np

from seelike.sections.spatial_localization import localization_above_chance

for name in list(maps)[:1]:
    first = maps[name][0]
    rows, columns = first.shape[1:]
    near = []
    for row in range(1, rows - 1):
        for column in range(1, columns - 1):
            of_token = first[row * columns + column].nan_to_num(-1)
            best = divmod(int(of_token.argmax()), columns)
            near.append(abs(best[0] - row) <= 1 and abs(best[1] - column) <= 1)
    share, chance = np.mean(near), 9 / (rows * columns)
    print(f"by hand {(share - chance) / (1 - chance):.3f}, share {share:.3f}")
    print(f"by the library {localization_above_chance(first):.3f}")

# %% [markdown]
# All networks, the mean over draws.

# %%
knows_place = {
    name: np.array([localization_above_chance(each) for each in draws])
    for name, draws in maps.items()
}
for name, values in knows_place.items():
    print(f"{name}: {values.mean():.2f}")

# %% [markdown]
# The claim compares ViTs with CNNs.

# %%
from seelike import claims


def of(names, values):
    """The values of some networks, where there are any."""
    return [values[name] for name in names if name in values]


claims.record_difference(
    "vit_tokens_stay_at_their_place",
    of(run.vits, knows_place),
    of(run.cnns, knows_place),
    figure_name="fig-token-maps",
)

# %% [markdown]
# ## Another way to read out: Figure 10
#
# A ViT has a CLS token for the classifier, a CNN gives it the mean of all locations. A ViT can be trained like that, too: global
# average pooling, GAP.
#
# **Predict.** The classifier of a GAP ViT reads every token. Will its tokens know their place better than those of a ViT with a CLS token, or
# worse?

# %% mystnb={"figure": {"caption": "The same maps for a ViT with CLS token and one that was trained with global average pooling (the paper's Figure 10).", "name": "fig-gap"}, "image": {"alt": "Two rows of heat maps, one for the ViT with CLS token and one for the ViT with GAP. A white frame marks the token's own place. The claim below says which of the two knows its place better."}}
pair_maps = {
    name: mean_maps[name] for pair in pairs for name in pair if name in maps
}
plots.token_maps(pair_maps) if pair_maps else run.say_missing("cls_and_gap")

# %% [markdown]
# The claim takes the first network of the pair as the one with the CLS token.

# %%
claims.record_difference(
    "gap_localizes_less",
    of([pair[0] for pair in pairs], knows_place),
    of([pair[1] for pair in pairs], knows_place),
    figure_name="fig-gap",
    compares="a ViT with CLS token with one trained with GAP",
)

# %% [markdown]
# ## What can be read from one token: Figure 11
#
# A token that keeps to its patch cannot know what the whole image shows. So train a linear classifier on a single token, and see: where tokens are
# local it should fail. The classifier is a ridge regression on ten images of each class, in closed form. Its strength is chosen with half of them
# held out; then it is trained on all.
#
# By hand, for one token of a single number, four images and two classes, -1 and 1: the slope is the covariance over the variance plus the
# strength.

# %%
token = torch.tensor([0.0, 1.0, 4.0, 5.0])
target = torch.tensor([-1.0, -1.0, 1.0, 1.0])
centred, strength = token - token.mean(), 1.0
slope = (centred @ target) / (centred @ centred + strength)
print(f"slope {slope:.3f}, at 3: {slope * (3 - token.mean()) + target.mean():.3f}")

# %% [markdown]
# Above zero means the second class. The library's probe says the same, for any number of features, classes and tokens at once.

# %%
from seelike.probes import RidgeProbe

probe = RidgeProbe(alphas=[strength]).fit(token[:, None], [-1, -1, 1, 1])
of_three = probe.decision_function(torch.tensor([[3.0]]))
print(f"slope {probe.coef_[1, 0]:.3f}, at 3: {of_three[0]:.3f}")

# %% [markdown]
# **Predict.** In the last block: which network's single tokens classify best, and which worst?
#
# As in the paper, these are the ViT with CLS token, the one with GAP, and CNNs. A CNN's lower blocks are finer and have fewer
# channels: their maps are cut into patches, flattened and pooled to the grid of the last stage. Training and test images share none.

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
# For each network and each kind of token that is the accuracy by repeat and block. For single tokens it is the mean over the
# spatial tokens; where several tokens are taken together, their mean is what is classified.


# %%
def line(name, kind):
    """Relative depth, mean accuracy and its band, for a figure."""
    return plots.over_depth(accuracy[name][kind])


# %% [markdown]
# First, single tokens: the left half of Figure 11, a panel for each set of images.

# %% mystnb={"figure": {"caption": "Accuracy of linear probes on single spatial tokens, mean over tokens, by relative depth (the paper's Figure 11, left). Bands are 95 % intervals over draws of images.", "name": "fig-probes-each"}, "image": {"alt": "A line for each network: accuracy of probes on single tokens against relative depth. The claims below compare their right ends."}}
panels = {}
for name in accuracy:
    panel = panels.setdefault(run.probe_images_for([name]).name, {})
    panel[name] = line(name, "each")
plots.depth_panels(
    panels, y_label="accuracy, single token"
) if panels else run.say_missing()

# %% [markdown]
# The claims compare the last block. The ViT with CLS token is the first of the pair. Where there are no probes, the cards say why.

# %%
top = {name: kinds["each"][:, -1] for name, kinds in accuracy.items()}
for name, values in top.items():
    print(f"{name}: {values.mean():.3f}")


def record(claim_id, larger, smaller, compares):
    """Record a claim about probes of a figure, or why there are none."""
    figure = f"fig-probes-{'pooled' if 'one_gap' in claim_id else 'each'}"
    if why_not:
        claims.not_testable(claim_id, why_not, figure_name=figure)
    else:
        claims.record_difference(
            claim_id, larger, smaller, figure_name=figure, compares=compares
        )


# %% [markdown]
# First against the ViT with GAP, then against the CNNs.

# %%
cls_vits, gap_vits = ([pair[place] for pair in pairs] for place in (0, 1))
# Beside CNNs only a ViT that was probed on the same images: where tiny networks stand in for the pair, the run's own.
beside_cnns = [pair[0] for pair in run.own_groups("cls_and_gap")] or run.vits[:1]
record(
    "spatial_tokens_of_cls_classify_worse_than_gap",
    of(gap_vits, top),
    of(cls_vits, top),
    "single tokens of a ViT with GAP and of one with CLS token",
)
record(
    "spatial_tokens_of_cls_classify_worse_than_resnet",
    of(run.cnns, top),
    of(beside_cnns, top),
    "single tokens of CNNs and of a ViT with CLS token",
)

# %% [markdown]
# ### One token for all?
#
# Now ViTs, read out in three ways: by their first token, by the mean of all tokens, and by the mean of all but the first. In a ViT
# with CLS token that is the first. One with GAP has none: its first token is that of the upper left corner.
#
# **Predict.** How far below the mean of all tokens does the corner of the GAP network stay, in its first block and in its last?

# %% mystnb={"figure": {"caption": "Accuracy of linear probes on the first token, on the mean of all tokens and on the mean of all but the first, for the first ViT, and for the pair of a ViT with CLS token and one with GAP: the paper's Figure 11, right. Bands are 95 % intervals over draws of images.", "name": "fig-probes-pooled"}, "image": {"alt": "A panel for each ViT, with three lines: accuracy of the first token, of the mean of all tokens and of the mean of all but the first, against relative depth. The claim below compares two of the right ends of the GAP network."}}
panels = {
    name: {kind: line(name, kind) for kind in ("first", "mean", "mean but first")}
    for name in dict.fromkeys([*run.vits[:1], *grouped])
    if name in accuracy
}
plots.depth_panels(panels, y_label="accuracy") if panels else run.say_missing(
    "cls_and_gap"
)

# %% [markdown]
# "As well as all" cannot be shown as such. The claim says that the corner token of the GAP network is at most five points of accuracy
# behind the mean of all tokens. Is the corner a token like any other? The mean over all single tokens stands beside it.

# %%
for name in panels:
    for kind, values in accuracy[name].items():
        print(f"{name}, {kind}: {values[:, -1].mean():.3f}")
gaps = [name for name in gap_vits if name in accuracy]
record(
    "one_gap_token_does_as_well_as_all",
    [accuracy[name]["first"][:, -1] + 0.05 for name in gaps],
    [accuracy[name]["mean"][:, -1] for name in gaps],
    "tokens of a ViT with GAP",
)

# %% [markdown]
# ## Look around
#
# The slider goes over the image, row by row. Beside each other are the tokens at the same place of the first ViT, of the one with GAP and of the
# first CNN. Follow one network from the corner to the middle: does the bright spot go along with the frame?

# %%
beside = [*run.vits[:1], *gap_vits[:1]]
beside += [*run.cnns[:1], *run.mixers[:1], *run.others[:1]]
beside_maps = {name: mean_maps[name] for name in beside if name in maps}
figures, alt = {}, {}
for row in range(7 if beside_maps else 0):
    for column in range(7):
        label = f"row {row + 1}, column {column + 1}"
        down, across = (row + 0.5) / 7, (column + 0.5) / 7
        figures[label] = plots.same_place(beside_maps, down, across)
        alt[label] = plots.same_place_alt(beside_maps, down, across)
plots.states(figures, "Place", alt) if figures else run.say_missing()

# %% [markdown]
# With a kernel, any token of any network.


# %% tags=["remove-output"]
def one_token(network, token):
    """Draw the map of one token."""
    own = {network: mean_maps[network]}
    return plots.token_maps(own, {network: [token % len(own[network])]})


if maps:
    most = max(len(each) for each in mean_maps.values())
    display(plots.live(one_token, network=list(maps), token=range(most)))

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
# **The pretrained networks** agree with half of it. Tokens of the last block of the ViT-S/14, which began as DINOv2, are not more like their own patch than the locations of EfficientNet-Lite0 are: by the mean the CNN is even ahead, and draws of images differ so much that the claim stays open. All its
# maps are faint. A token there is like other things than the pixels at its place: this network was trained to say of each place whether it stands out from the rest of the picture, and the paper's ViTs never were.
#
# Single tokens do what the paper found. On CIFAR-10, half-way up, those of the ViT are better than those of the CNN, whose locations have seen little by then; at the top the CNN's know more of the class. The ViT's last task had no use for classes, and its accuracy falls towards the top. Ten images of each class are few for hundreds of features: [Appendix F](F_linear_probes.ipynb) takes a thousand.
#
# A twin with GAP has no public network of this size on the same images; the pair is tiny in this run.
#
# **The tiny networks** do what the paper found. Many of the interior tokens of the ViTs' last blocks are most like the patch at their own place or beside it, beyond chance; few of the ResNets' are.
# Single tokens classify worst in the ViT with CLS token, and equally well in the one with GAP and the wide ResNet. With GAP, one token is as good as all. Only the claim of
# Figure 10 is undecided: tokens of the ViT with GAP know their place less often than those of the one with CLS token, but by how much differs from draw to draw.
#
# **Why.** A loss that reads only the CLS token leaves the other tokens free: what they carry in the last block is used by nothing, so the skip
# connections may as well hand their patch on. A loss that reads the mean of all tokens asks each of them to speak for the class. The images
# have a part in it, too. The garments of the tiny networks are all in the middle and all upright: the patches of one image tell much of each
# other, and a token can be like a distant patch because both are dark. So a low number has two possible causes, the network and the images;
# [Appendix D](D_localization.ipynb) measures the tiny networks on textures, where the second is missing.
#
# ## Try it yourself
#
# 1. Set `models` to `"tiny/vit_7x7:random,tiny/resnet:random"`. How well do tokens know their place before training, and why is that no surprise?
# 2. Set `images` to `"textures/test"`. In a texture every place looks like every other. What becomes of the maps?
# 3. The paper's probes take ten images of each class. Give `accuracy_by_block` a `per_class` of 50. Which lines move?
#
# <details><summary>Answers</summary>
#
# 1. Very well in the ViT: with random weights the branches add little, and the skip connections hand each patch on. Localization is not
#    learned, it is what training may destroy. A random convolution is local, too, and so the ResNet does well for the same reason.
# 2. Neighbouring patches of a texture are alike in kind but not in phase, so a map is nearly flat but for the token's own place. More
#    tokens of the tiny networks know their place than on garments, whose distant patches tell of each other.
# 3. All of them should rise: a probe with many weights needs many images.
#
# </details>
#
# **Next:** [Section 8](08_scale_and_transfer.ipynb) asks what more data changes. Earlier blocks and maps of the accuracy are in
# [Appendix D](D_localization.ipynb).
