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
# # Appendix H: MLP-Mixer
#
# **Question.** Is it attention that makes a ViT unlike a ResNet? A Mixer has patches and tokens like a ViT, and no attention: tokens are mixed by an MLP with fixed
# weights. Which of the two is it more like?
#
# | | |
# |---|---|
# | **You will learn** | what a ViT keeps when attention is taken away; to compare two networks with a third |
# | **You need** | [Section 4](04_representation_structure.ipynb) for the maps; [words](../book/glossary.md) |
# | **Cost** | about a minute on two CPU cores (`tiny`); not yet measured on a GPU (`colab`, `paper`) |

# %% tags=["remove-cell"]
# Colab only: install the library when it is missing.
import importlib.util

if importlib.util.find_spec("seelike") is None:
    _repository = "git+https://github.com/seelike/seelike"
    get_ipython().run_line_magic("pip", f'install -q "seelike @ {_repository}"')

# %% [markdown]
# These parameters can be changed here or from the command line, as in
# `.venv/bin/papermill notebooks/H_mixer.ipynb out.ipynb -p images ~/photos`; `None` takes the value of the profile.

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

run = seelike.start(globals(), "H_mixer")

# %% [markdown]
# ## The layers
#
# A block of a Mixer has two branches, as that of a ViT has. The first mixes tokens, channel by channel, the second mixes channels, token by token.

# %%
from seelike.models import layers

for name in run.mixers[:1]:
    for layer in layers(run.models[name]):
        if layer.block == 1:
            print(f"{layer.kind:<14} {layer.name}")

# %% [markdown]
# ## Measure
#
# One call compares all layers of all networks, as in Section 4.

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
# By hand, as always: the first with the last layer of the first network, on the first draw, in the same minibatches.

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
# ## Within a Mixer: Figure H.1
#
# **Predict.** Uniform like a ViT, in stages like a ResNet, or something of its own?

# %% mystnb={"figure": {"caption": "CKA of all pairs of layers within each Mixer (the paper's Figure H.1).", "name": "fig-mixers"}, "image": {"alt": "A square heat map for each Mixer. Colour is CKA from 0, dark, to 1, bright. The numbers below say whether it falls into two parts."}}
from seelike import plots

mixers = run.mixers
if mixers:
    display(
        plots.cka_maps(
            [plots.map_between(comparison, name, name) for name in mixers]
        )
    )

# %% [markdown]
# The paper sees two distinct, uncorrelated parts, a smaller one at the start and a larger one afterwards. Is there a place to cut a network so? For each cut
# between two blocks: mean CKA within the two parts minus mean CKA between them, on the outputs of blocks.

# %%
from seelike.representation_structure import within_minus_between_stages

for name in [*mixers, *run.vits, *run.resnets]:
    blocks = [layer.kind == "block" for layer in comparison.layers[name]]
    cka = comparison.between(name, name)[:, blocks][:, :, blocks]
    count = cka.shape[1]
    step = [
        within_minus_between_stages(cka, np.arange(count) >= cut).mean()
        for cut in range(2, count - 1)
    ]
    if step:
        best = int(np.argmax(step))
        print(
            f"{name}: best cut after block {best + 2} of {count}, step {step[best]:.2f}"
        )

# %% [markdown]
# ## Against ViT and ResNet: Figure H.2
#
# **Predict.** A Mixer shares patches and skip connections with a ViT, and fixed weights with a ResNet. Which comparison will be the brighter?

# %% mystnb={"figure": {"caption": "CKA of all layers of each Mixer (upwards) with all layers of ViTs and ResNets (rightwards): the paper's Figure H.2.", "name": "fig-mixer-and-others"}, "image": {"alt": "One heat map for each pair of a Mixer, vertical axis, and a ViT or a ResNet, horizontal axis. Colour is CKA from 0, dark, to 1, bright. The claim below compares how bright the brightest place of each row is."}}
pairs = [(mixer, other) for mixer in mixers for other in [*run.vits, *run.resnets]]
if pairs:
    display(
        plots.cka_maps([plots.map_between(comparison, *pair) for pair in pairs])
    )

# %% [markdown]
# For each Mixer layer we look up its highest CKA with any layer of the other network, and average over the Mixer's layers.

# %%
from seelike import claims

best_match = {
    pair: comparison.between(*pair).max(axis=2).mean(axis=1) for pair in pairs
}
for (mixer, other), values in best_match.items():
    print(f"{mixer} in {other}: {values.mean():.3f}")
claims.record_difference(
    "mixer_is_nearer_to_vit",
    [values for (_, other), values in best_match.items() if other in run.vits],
    [values for (_, other), values in best_match.items() if other in run.resnets],
    figure_name="fig-mixer-and-others",
    compares="a Mixer with a ViT and with a ResNet",
)

# %% [markdown]
# ## Look around
#
# All pairs of networks of this run.

# %%
from itertools import combinations_with_replacement

figures, alt = {}, {}
for a, b in combinations_with_replacement(run.models, 2):
    label = f"{a} and {b}"
    figures[label] = plots.cka_maps([plots.map_between(comparison, a, b)])
    alt[label] = f"CKA map of {label}, mean {comparison.mean(a, b).mean():.2f}."
plots.states(figures, "Networks", alt)

# %% [markdown]
# With a kernel, the best match of each layer of one network in another.


# %% tags=["remove-output"]
def best_matches(network, other):
    """Draw the highest CKA of each layer of a network with any layer of another."""
    highest = comparison.between(network, other).max(axis=2)
    line = comparison.depth(network), *claims.mean_and_uncertainty(highest)
    return plots.depth_lines({f"{network} in {other}": line}, y_label="highest CKA")


display(
    plots.live(best_matches, network=list(run.models), other=list(run.models)[::-1])
)

# %% [markdown]
# ## What we take with us
#
# **The paper found** that Mixers of all sizes fall into two distinct parts, a small one at the start and a large one afterwards, and that overall they are more
# like ViTs than like ResNets.
#
# **Here we see**
#
# <!-- numbers: what to say here -->
#
# **Why.** Mixer and ViT cut the image into the same patches and hand tokens on by the same skip connections: much of what CKA sees is that. All three were trained on the
# same images, and a network that solves a task well may be like any other that does.
#
# ## Try it yourself
#
# 1. Set `models` to `"tiny/mixer:random,tiny/vit_7x7:random,tiny/resnet:random"`. Who is like whom before training?
# 2. The highest of many numbers is high by chance, and more so the more there are. How would you make the comparison with two networks of different depth fair?
#
# <details><summary>Answers</summary>
#
# 1. Mixer and ViT: their first layer is the same kind of embedding, and their skip connections hand it on. Training did not make them alike, it left them so.
# 2. Take the same number of layers of both, for example the outputs of blocks at equal relative depth.
#
# </details>
#
# **Next:** [the scoreboard](../book/scoreboard.md) with all claims, or [Section 9](09_discussion.ipynb).
