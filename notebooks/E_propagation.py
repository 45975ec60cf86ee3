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
# # Appendix E: Propagation, by length and by angle
#
# **Question.** [Section 6](06_skip_connections.ipynb) compared lengths: how long is the token on the skip connection, and how long is the vector that a
# branch adds? A long vector added in the same direction changes little. A short one added at a right angle may change much. Do angles tell the same story?
#
# | | |
# |---|---|
# | **You will learn** | to see every token of a ViT at once; why two cosines say different things |
# | **You need** | [Section 6](06_skip_connections.ipynb); [words](../book/glossary.md) |
# | **Cost** | half a minute on two CPU cores (`tiny`); [other profiles](../book/costs.md) |

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
# `.venv/bin/papermill notebooks/E_propagation.ipynb out.ipynb -p images ~/photos`; `None` takes the value of the profile.

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

run = seelike.start(globals(), "E_propagation")

# %% [markdown]
# ## Measure
#
# The same call as in Section 6: lengths and angles of skip and branch, for every token at every residual addition.

# %%
from seelike.sections.skip_connections import propagation


def propagation_of(name):
    """Skip against branch in one network."""
    return propagation(run.models[name], run.draws(), batch_size=run.batch_size)


measured = seelike.where_possible(run.names, propagation_of)
vits = [name for name in run.vits if name in measured]

# %% [markdown]
# ## All tokens: Figure E.1
#
# **Predict.** Section 6 showed ten tokens. Is what they show the same everywhere in the image, or do tokens in the middle differ from those at the edge?
#
# Tokens are numbered row by row: a pattern that repeats with every row is a pattern over the image.

# %% mystnb={"figure": {"caption": "Skip ratio of every token at each block of the first ViT, for attention and MLP (the paper's Figure E.1). Token 0 is the CLS token.", "name": "fig-all-tokens"}, "image": {"alt": "Two heat maps, attention and MLP. Horizontal axis: block. Vertical axis: all tokens, with CLS on top. Colour is the skip ratio on a logarithmic scale."}}
from seelike import plots

first = next((measured[name] for name in vits), None)
plots.skip_ratio_maps(
    first.ratio_by_kind(), num_prefix_tokens=first.num_prefix_tokens
) if first else run.say_missing("vits")

# %% [markdown]
# ## Two cosines
#
# The cosine of skip and *branch* says whether the branch adds in the direction of the token or at a right angle to it. The cosine of skip and *output*
# says whether the addition has turned the token:
#
# $$\cos(z, f(z)) = \frac{z^\top f(z)}{\lVert z \rVert \, \lVert f(z) \rVert} \quad\text{and}\quad \cos(z, z + f(z)) .$$
#
# By hand, for a token of length 2 to which a vector of length 1 is added, at a right angle:

# %%
import torch

skip, branch = torch.tensor([2.0, 0.0]), torch.tensor([0.0, 1.0])
cosine = torch.nn.functional.cosine_similarity
print("with branch", cosine(skip, branch, dim=0).item())
print("with output", round(cosine(skip, skip + branch, dim=0).item(), 3))

# %% [markdown]
# ## By angle: Figure E.2
#
# **Predict.** At which depth does the CLS token turn most, at which do the spatial tokens?

# %% mystnb={"figure": {"caption": "Cosine of each token before with after a residual addition, by relative depth: CLS token and mean of the spatial tokens (the paper's Figure E.2). Bands are 95 % intervals over draws of images.", "name": "fig-cosines"}, "image": {"alt": "Lines of the cosine of skip and output against relative depth: for each ViT one for the CLS token and one for the spatial tokens, for each CNN one. The claim below compares their halves."}}
import numpy as np

from seelike import claims

lines = {}
for name, result in measured.items():
    if result.cosine_of_cls is not None:
        lines[f"{name}, CLS"] = plots.over_depth(result.cosine_of_cls)
    lines[f"{name}, spatial"] = plots.over_depth(result.cosine_of_spatial)
plots.depth_lines(
    lines, y_label="cosine of skip and output"
) if lines else run.say_missing()

# %% [markdown]
# The claim is about two differences: the CLS token keeps its direction better in the first half than in the second, and the spatial tokens keep theirs
# better in the second half than in the first. The claim needs both differences, so the smaller of the two counts.

# %%
from seelike.sections.skip_connections import first_half_minus_second

both = [
    (
        first_half_minus_second(measured[name].cosine_of_cls),
        -first_half_minus_second(measured[name].cosine_of_spatial),
    )
    for name in vits
    if measured[name].cosine_of_cls is not None
]
claims.record(
    "class_token_turns_late",
    np.mean(both, axis=0).min(axis=0) if both else [],
    figure_name="fig-cosines",
    otherwise="It is about the CLS token of a ViT, and this run has no ViT that has one.",
)

# %% [markdown]
# The other cosine, of skip and branch, says in which direction the additions go: if it is below 0, the branch takes away from what the token had.

# %% mystnb={"figure": {"caption": "Cosine of skip and branch, mean over tokens, by relative depth. Bands are 95 % intervals over draws of images.", "name": "fig-cosine-branch"}, "image": {"alt": "A line for each network: cosine of skip and branch against relative depth, with zero where a branch adds at a right angle."}}
lines = {
    name: plots.over_depth(np.nanmean(result.cosine_with_branch, axis=2))
    for name, result in measured.items()
}
plots.depth_lines(
    lines, y_label="cosine of skip and branch"
) if lines else run.say_missing()

# %% [markdown]
# ## Look around
#
# The cosine of skip and output, token by token, for every network. It is drawn as 1 minus the cosine, so that bright means that much has changed.

# %%
figures, alt = {}, {}
for name, result in measured.items():
    turned = 1 - result.cosine_with_output.mean(axis=0)
    kinds = dict.fromkeys(result.kinds)
    figures[name] = plots.skip_ratio_maps(
        {kind: turned[result.of_kind(kind)] for kind in kinds},
        num_prefix_tokens=result.num_prefix_tokens,
        label="1 - cosine of skip and output",
    )
    alt[name] = (
        f"How much tokens of {name} turn: on average {np.nanmean(turned):.2f}."
    )
plots.states(figures, "Network", alt) if figures else run.say_missing()

# %% [markdown]
# With a kernel, you can follow one token through one network.


# %% tags=["remove-output"]
def one_token(network, token):
    """Draw how one token turns through a network."""
    every = measured[network].cosine_with_output
    cosines = every[..., min(token, every.shape[2] - 1)]
    line = {network: plots.over_depth(cosines)}
    return plots.depth_lines(line, y_label="cosine of skip and output")


if measured:
    display(plots.live(one_token, network=list(measured), token=range(49)))

# %% [markdown]
# ## What we take with us
#
# **The paper found** the same phase transition in angles as in lengths: spatial tokens change direction in early layers and hardly in late ones, the CLS token the reverse.
#
# The claims of this page, in this run:

# %%
claims.on_this_page()

# %% [markdown]
# **The pretrained ViT** does not show the paper's phase transition. In their directions, as in the skip ratios of
# [Section 6](06_skip_connections.ipynb), the CLS token and the spatial tokens do not exchange roles half-way up. In the map of all tokens nearly all patches look alike. Both kinds of token turn most in the attention of the last block, the CLS token also in the first. Nearly all branches of the ViT point against the token, in the first blocks almost straight against it.
#
# **The tiny networks** have spatial tokens that turn in the first two blocks and hardly afterwards, as in the paper. The CLS token does the same, but
# in the paper it turns late. The claim needs both differences, so the phase transition is not there: the CLS token of a tiny network gathers its
# information in the first blocks. In the map of all tokens a pattern repeats with each row of the grid: the MLP of the first block rewrites the patches at the edge, which are mostly black, more than those in the middle, and the next MLPs change them less.
#
# **Why.** Length and angle need not agree. A long branch makes the skip ratio small in whatever direction it adds; if it adds along the token, the token does not turn. Only where all
# branches add at a right angle do length and angle tell the same story.
# In many dimensions two unrelated vectors are nearly at right angles: chance gives a cosine of skip and branch near 0. A cosine far from 0 is not chance; whether it was learned, only the same network before training could say.
#
# ## Try it yourself
#
# Put a number or a function in the place of `None` and run the cell: it says what is off.
#
# **E.1** A token of length 1 gets a vector of length 1 added, at a right angle. What are the skip ratio and the cosine of skip and output? Give both as
# `(ratio, cosine)`.

# %% tags=["exercise", "show-code"]
from seelike import exercises

answer = None
exercises.check("E.1", answer)

# %% [markdown]
# **E.2** Which skip ratio at a right angle gives a cosine of 0.99?

# %% tags=["exercise", "show-code"]
answer = None
exercises.check("E.2", answer)

# %% [markdown]
# <details><summary>Answers</summary>
#
# **E.1** `answer = (1, 0.707)`: the token turns by 45 degrees.
#
# **E.2** `answer = 7.02`: the tangent of the angle is one over the ratio, and the cosine 0.99 belongs to an angle of 8 degrees.
#
# </details>
#
# **Next:** [Appendix F](F_linear_probes.ipynb), probes on other images.
