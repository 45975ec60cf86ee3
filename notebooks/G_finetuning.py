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
# # Appendix G: Finetuning
#
# **Question.** A trained network is trained on, on other images. Which of its layers change, and do they change more when the other images
# are farther from the first?
#
# | | |
# |---|---|
# | **You will learn** | to compare a network with its own past, block by block; which blocks a new task leaves alone |
# | **You need** | [Section 8](08_scale_and_transfer.ipynb), which compares networks in the same way; [words](../book/glossary.md) |
# | **Cost** | half a minute on two CPU cores (`tiny`); not yet measured on a GPU (`colab`, `paper`) |

# %% tags=["remove-cell"]
# Colab only: install the library when it is missing.
import importlib.util

if importlib.util.find_spec("seelike") is None:
    _repository = "git+https://github.com/seelike/seelike"
    get_ipython().run_line_magic("pip", f'install -q "seelike @ {_repository}"')

# %% [markdown]
# These parameters can be changed here or from the command line, as in
# `.venv/bin/papermill notebooks/G_finetuning.ipynb out.ipynb -p images ~/photos`; `None` takes the value of the profile.

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

run = seelike.start(globals(), "G_finetuning")

# %% [markdown]
# ## The targets
#
# The paper finetunes on natural images that are near to those of pretraining (ImageNet, CIFAR-100) and on medical and satellite images that are far. The tiny
# networks were pretrained on garments. Their targets, from near to far: garments turned by 90 degrees, garments with black and white exchanged, handwritten
# digits, and textures.
#
# The larger profiles have a network before and after finetuning on ImageNet. Then there is one target, and no claim about distance.

# %%
from seelike.models import training_record

groups = run.groups["finetuned"]
for before, *after in groups:
    print(before)
    for name in after:
        if record := training_record(name):
            print(
                f"    on {record.training_images:,} images of {record.images}: {record.accuracy:.1%} of its test images right"
            )

# %% [markdown]
# ## Before against after: Figure G.1
#
# For each block: CKA of its output before finetuning with its output after it, on the same images. Which images? Those of pretraining ask what of the old
# is kept; those of the target ask what is used of it. The paper does not say which it took. Here are those of pretraining, for all targets the same;
# below you can look at the others.
#
# By hand, for one block: a network that is compared with itself has CKA 1; finetuning can only lower that.

# %%
import torch

from seelike.cka import cka

torch.manual_seed(0)
before_by_hand = torch.randn(16, 10)
for change in (0.0, 0.5, 2.0):
    after_by_hand = before_by_hand + change * torch.randn(16, 10)
    print(f"changed by {change}: CKA {cka(before_by_hand, after_by_hand):.2f}")

# %% [markdown]
# **Predict.** Draw a line over depth for a near target, and one for a far target.

# %%
from seelike.cka import compare_pairs


def similarity(before, after, images):
    """CKA of each block before with after finetuning, per repeat."""
    return compare_pairs(
        run.models[before],
        run.models[after],
        images,
        batch_size=min(run.batch_size, len(images) // 2),
        repeats=run.repeats,
        number_of_images=min(run.number_of_images, len(images) // 2),
        seed=run.seed,
    ).cka


kept = {
    (before, name): similarity(before, name, run.images_for([before, name]))
    for before, *after in groups
    for name in after
}

# %% mystnb={"figure": {"caption": "CKA of each block before with after finetuning, for several targets and sizes (the paper's Figures G.1 and G.2), on images like those of pretraining. Bands are 95 % intervals over draws of images.", "name": "fig-finetuned"}, "image": {"alt": "A line for each finetuned network: CKA with the network before finetuning, against relative depth. The claims below compare low with high blocks, and near with far targets."}}
import numpy as np

from seelike import claims, plots


def over_depth(values):
    """Relative depth, mean and band of some values per repeat and block."""
    depth = np.linspace(0, 1, values.shape[1])
    return depth, *claims.mean_and_uncertainty(values)


lines = {name: over_depth(values) for (_, name), values in kept.items()}
if lines:
    display(plots.depth_lines(lines, y_label="CKA before and after"))

# %% [markdown]
# ### What is kept?
#
# The first claim: the first third of the blocks is kept more than the last.

# %%
from seelike.scale import first_minus_last_third

claims.record_difference(
    "low_layers_are_kept_in_finetuning",
    [first_minus_last_third(values) for values in kept.values()],
    [np.zeros(run.repeats)] if kept else [],
    figure_name="fig-finetuned",
    compares="a network before finetuning with the same after it",
)

# %% [markdown]
# The second: the last block changes more for the farthest target, the last of its group, than for the nearest, the first.

# %%
several = [group for group in groups if len(group) > 2]
claims.record_difference(
    "far_targets_change_more",
    [kept[group[0], group[1]][:, -1] for group in several],
    [kept[group[0], group[-1]][:, -1] for group in several],
    figure_name="fig-finetuned",
    compares="a near with a far target of finetuning",
)

# %% [markdown]
# ## Look around
#
# For each finetuned network: compared on images like those of pretraining, and on images like those of its target.

# %%
import seelike.data

figures, alt = {}, {}
for (before, name), values in kept.items():
    lines = {"images of pretraining": over_depth(values)}
    record = training_record(name)
    if record is not None:
        target = seelike.data.load(f"{record.images}/test")
        lines["images of the target"] = over_depth(similarity(before, name, target))
    figures[name] = plots.depth_lines(
        lines, y_label="CKA before and after", title=name
    )
    ends = ", ".join(f"{key} {line[1][-1]:.2f}" for key, line in lines.items())
    alt[name] = f"CKA of the last block of {name}, before and after: {ends}."
plots.states(figures, "Network", alt) if figures else None

# %% [markdown]
# With a kernel, any two of them together.


# %% tags=["remove-output"]
def two_targets(one, other):
    """Draw two finetuned networks."""
    chosen = {
        name: over_depth(v) for (_, name), v in kept.items() if name in (one, other)
    }
    return plots.depth_lines(chosen, y_label="CKA before and after")


if kept:
    finetuned = [name for _, name in kept]
    display(plots.live(two_targets, one=finetuned, other=finetuned[::-1]))

# %% [markdown]
# ## What we take with us
#
# **The paper found** that the first four to five layers are very well preserved for all targets and sizes, and that medical and satellite images change the
# rest more than natural ones do.
#
# **Here we see**
#
# <!-- numbers: what to say here -->
#
# **Why.** The gradient is the same for all layers, so it is not that low layers are not trained. What they compute serves any image, and there is little to gain
# by changing it. How much a target changes depends on how long and how fast the training goes on, too: here ten passes (forty over the few digits) at a quarter
# of the learning rate.
#
# ## Try it yourself
#
# 1. Compare a network with one that shares nothing with it: `models` `"tiny/vit_7x7>tiny/vit_7x7_gap"`. Is a finetuned network more like its own past than that?
# 2. Two networks finetuned on different targets are both compared with their past. How alike are they to each other? Guess from the lines, then measure.
#
# <details><summary>Answers</summary>
#
# 1. Look at the first and the last block: another network of the same kind has low layers that are alike, too. What is kept is what lies above that.
# 2. `models` `"tiny/vit_7x7_on_digits>tiny/vit_7x7_on_textures"`: where both kept the old, they are alike; where both changed, they need not have
#    changed in the same way.
#
# </details>
#
# **Next:** [Appendix H](H_mixer.ipynb), networks without attention.
