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
# # Section 9: What held, and what did not
#
# **Question.** Every page before this one put some of the paper's claims to the test, and each left a number with an
# uncertainty. Seen together: do Vision Transformers see like convolutional networks?
#
# | | |
# |---|---|
# | **You will learn** | to read many verdicts at once; to ask why some claims hold and others do not; what a verdict here can and cannot say |
# | **You need** | to have seen some of the pages before |
# | **Cost** | seconds: it only reads what the other pages left |

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
# `.venv/bin/papermill notebooks/09_discussion.ipynb out.ipynb -p images ~/photos`; `None` takes the value of the profile.

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
# One line reads the parameters. This page measures nothing of its own, so it needs their `profile` alone.

# %%
import seelike

run = seelike.start(globals(), "09_discussion")

# %% [markdown]
# ## All verdicts at once
#
# Each page leaves its claims in its executed notebook. `make book` runs all pages first and this one last, and here
# they are gathered and judged together. Where you run this page alone, as on Colab, there is nothing to gather: the
# [scoreboard](../book/scoreboard.md) of the published book has the same verdicts, and explains the rule.

# %%
from seelike import claims, verdicts

results = verdicts.gather(f"build/executed/{run.profile}")
print(f"{len(results)} of {len(claims.CLAIMS)} claims have been put to the test.")

# %% [markdown]
# **Predict.** A claim holds where all of its interval lies beyond its margin, the smallest effect of interest. Of the claims
# that you remember: which did you expect to hold for the networks of this run, and which not? Which effects are there, but
# too small to matter?

# %% mystnb={"figure": {"caption": "Every claim of the paper with its statistic and its 95 % interval, in units of the smallest effect of interest: right of the grey band the claim holds, within it the effect is negligible, left of it it is reversed. What is undecided out there is not sure by a second measure, or after the correction for many tests. A claim of no effect holds within the band. There the axis is linear, beyond logarithmic.", "name": "fig-all-claims"}, "image": {"alt": "A line for each claim, in the order of the paper, with a mark at its statistic against a grey band about zero: blue circles right of the band hold, green diamonds within it are negligible, orange triangles left of it are reversed, purple crosses do not hold, brown plus signs depend on the measure, grey squares are undecided. The lists below give the same in words."}}
from seelike import plots

plots.forest(results) if results else print(
    "Nothing to show here: run the other pages first, with make book."
)

# %% [markdown]
# The same in words, verdict by verdict, and how many there are of each. *In these networks* stands where each network was
# trained once, *not learned* where the claim holds before training, too.

# %%
import textwrap

for verdict, sign in claims.SIGNS.items():
    such = [result for result in results if result.verdict == verdict]
    if such:
        print(f"{verdict}: {len(such)} of {len(results)}")
    for result in such:
        line = f"{sign} {result.says}: {result.claim.statement}"
        if result.statistic is not None:
            line += f" ({result.statistic:.3f})"
        print(textwrap.fill(line, 66, subsequent_indent="  "))

# %% [markdown]
# ## Link by link
#
# [The story](../book/story.md) told the paper's chain of causes in six links. Each has claims that test it. A chain is as strong as its weakest link, so read them one by one.

# %%
CHAIN = {
    "1. Attention is global from the first block": """low_layers_have_local_heads
        low_layers_have_global_heads vit_fields_are_larger_early""",
    "2. Skip connections hand the stream on": """skips_matter_more_in_vits class_token_is_kept_low
        spatial_tokens_are_kept_high removed_skips_split_the_network""",
    "3. So the layers are alike": """uniform_layers lower_and_higher_layers_alike resnet_stages""",
    "4. So the tokens keep their place": """vit_tokens_stay_at_their_place
        vit_fields_stay_at_their_patch""",
    "5. The classifier decides what a token must know": """gap_localizes_less
        spatial_tokens_of_cls_classify_worse_than_gap one_gap_token_does_as_well_as_all""",
    "6. Some of this takes many pictures": """little_data_gives_no_local_heads
        low_layers_need_little_data data_buys_better_middle_layers""",
}

# %% [markdown]
# A line for each claim, with its verdict at the profile of this run.

# %%
by_claim = {result.claim.id: result for result in results}
for link, ids in CHAIN.items():
    print(link)
    for result in (by_claim[name] for name in ids.split() if name in by_claim):
        line = f"{claims.SIGNS[result.verdict]} {result.says}: {result.claim.statement}"
        print(
            textwrap.fill(line, 66, initial_indent="  ", subsequent_indent="    ")
        )

# %% [markdown]
# ## What we take with us
#
# How many claims hold in this run, and how many do not, stands in the list above.
#
# **Do Vision Transformers see like convolutional networks?** Link by link, and first for the pretrained networks, as far as there are any.
#
# 1. *Attention.* The lowest blocks of the pretrained ViT have heads that look nearby beside heads that look far, as in the paper, and this was learned. But its highest blocks are not all global.
# 2. *Skip connections.* They carry the CLS token through the lower half, as the paper says, and the tokens of patches the other way round. That they matter more than in a CNN at every depth is excluded.
# 3. *Layers.* Whether all its layers are more alike than those of a CNN is open; its low and high ones are not. Its last third is less like any layer of a CNN than its middle: what a ViT has in common with a CNN it has lower down, at about the same pace.
# 4. *Places.* A token's receptive field stays at its patch, but does so before any training. The tokens of the last block keep their place no better than those of a CNN.
# 5. *The classifier.* Only tiny networks could be compared: single tokens classify worse where a CLS token does the work. Whether they keep their place better is open.
# 6. *Data.* Here, too, the networks are tiny: half-way up, much data gives better features. That low layers need little of it is no more than chance.
#
# So the first link holds where a network has learned from enough pictures, and the chain that is to follow from it does not, in these networks. They see differently from the first block on. How differently at the end depends on what they were trained for,
# and part of what looks like a ViT's own way of seeing is there before it has seen anything.
#
# **The tiny networks** add the spread of trainings, and with it doubt. Most of what one training seems to show, three do not decide.
#
# - **What lies in the architecture is there.** Receptive fields of ViTs are large from the start and stay strongest at their patch.
# - **What has to be learned from much data is hardly there.** No head became local. The CLS token does its work in the first blocks and not in the last.
# - **What finetuning changes** is more in high blocks than in low ones in both sizes of network; two are few for a verdict on more.
# - **What is between depends on the reading.** Whether ViTs are the more uniform ones hangs on whether branches count, and on the measure. Whether skip connections carry more in ViTs hangs on whether that is to be so at every depth. A Mixer is no nearer to the one kind of network than to the other.
#
# ## What a verdict can say
#
# - **It is mostly about these networks.** The interval covers the draw of images, and the training where there were several.
#   Where each network was trained once, the verdict says so: another training could move the number by more than its
#   interval. The paper's own figures have no interval at all.
# - **It is about an effect that matters.** Any sign can be sure, with images enough. So each claim has a margin, and an effect
#   within it is called negligible. The margin is our choice; the scoreboard gives the reason for each.
# - **It is one of many.** Among many tests some err by chance, so all are corrected together.
# - **It is about one number.** A claim such as "more uniform" has many readings. Each page says which one it took, and the
#   statistic is written beside the verdict. Where another reading gives another answer, the page says so.
# - **A claim that does not hold here is not refuted**, and neither is one that is reversed. The paper speaks of networks of 86 to 632 million parameters, trained on up to
#   300 million photographs. A tiny network that disagrees says that size, or data, or the kind of image matters;
#   a pretrained one, that it matters on what and how it was trained.
# - **A claim that holds here is not proved, either.** Some of the paper's pictures are there before any training. Where we
#   looked, such a claim is marked *not learned*; see the first open exercise of [Section 4](04_representation_structure.ipynb), too.
#
# ## Try it yourself
#
# 1. Which claims would you drop if you could keep five? Look for claims that say the same thing twice.
# 2. Run one page with another seed (`-p seed 1`), then this one again. Which verdicts change? They should not,
#    where the interval is honest.
#
# <details><summary>Answers</summary>
#
# 1. There is no single answer. Figures 7 and E.2 say the same by lengths and by angles; Figures 9 and 11 say the same by CKA and by
#    probes; the claims of Appendix F repeat those of Sections 7 and 8 on other images.
# 2. A new seed draws new images, and moves each number a little within its interval. A verdict whose interval ends near the margin may
#    change to undecided or back. None should jump from one side of the margin to the other.
#
# </details>
#
# **Next:** [your own networks](10_your_own_models.ipynb), [what came later](11_what_came_later.ipynb), and [questions of measure](12_questions_of_measure.ipynb).
