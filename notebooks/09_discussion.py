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
# Each page stores its claims in its executed notebook. `make book` runs all other pages first, and this page then collects the claims and judges them
# together. If you run this page alone, as on Colab, there is nothing to collect: the
# [scoreboard](../book/scoreboard.md) of the published book has the same verdicts, and explains the rule.

# %%
from seelike import claims, verdicts

results = verdicts.gather(f"build/executed/{run.profile}")
tested = sum(result.statistic is not None for result in results)
print(f"{tested} of {len(results)} claims could be tested in this run.")

# %% [markdown]
# **Predict.** A claim holds where all of its interval lies beyond its margin, the smallest effect of interest. Of the claims
# that you remember: which did you expect to hold for the networks of this run, and which not? Which effects are there, but
# too small to matter?

# %% mystnb={"figure": {"caption": "Every claim of the paper with its statistic and its 95 % interval, in units of the smallest effect of interest. An interval right of the grey band: holds; within it: negligible; left of it: reversed. Does not hold: the interval ends below the right edge of the band and is neither of these, or the claim is one that cannot be reversed, such as one at every depth or about a threshold. A claim outside the band is still undecided if a second measure, too few networks, or the correction for many tests leaves it uncertain. A claim of no effect holds within the band. The axis is linear within the band and logarithmic outside it.", "name": "fig-all-claims"}, "image": {"alt": "A line for each claim, in the order of the paper, with a mark at its statistic against a grey band about zero: blue circles right of the band hold, green diamonds within it are negligible, orange triangles left of it are reversed, purple crosses do not hold, brown plus signs depend on the measure, grey squares are undecided. The lists below give the same in words."}}
from seelike import plots

plots.forest(results) if results else print(
    "Nothing to show here: run the other pages first, with make book."
)

# %% [markdown]
# The next cell lists the claims by verdict, with the number of each. *In these networks* means that each network was trained once; *not learned*
# that the claim holds before training, too; *perhaps not learned* that it is undecided there; *without control* that it was not measured there.

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
# [The story](../book/story.md) explains the paper's argument as a chain of causes with six links. Each link has claims that test it.

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
        spatial_tokens_of_cls_classify_worse_than_resnet
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
# **Do Vision Transformers see like convolutional networks?** Link by link, first for the pretrained networks, where they could be tested.
#
# 1. *Attention.* One of the two lowest blocks of the pretrained ViT has a head that looks nearby, and in both some heads look much farther than others, as in the paper; this was learned. Heads that look nearby beside heads that look nearly everywhere begin with the third block. But
#    not all heads of its highest blocks are global.
# 2. *Skip connections.* They carry the CLS token more through the lower half, as the paper says. They also carry the spatial tokens more through the
#    lower half, the reverse of what the paper says. The results exclude that skip connections matter more than in a CNN at every depth.
# 3. *Layers.* The paper finds the layers of a ViT alike, from the lowest to the highest. Here it is open whether all layers of the ViT are more alike than those of a CNN; its low and high layers are not more alike. Its last third
#    is less like any layer of a CNN than its middle third. By CKA, most layers of the CNN are most like the middle of the ViT, and none is most like its last blocks.
# 4. *Places.* The paper finds that the tokens of a ViT know their place at the top. Here a token's receptive field stays at its patch, but does so before any training. The tokens of the last block keep
#    their place about as well as those of the CNN. Before training they keep it far better, and better than those of the CNN: training takes this from them.
# 5. *The classifier.* Single tokens of a ViT with CLS token classify worse than those of a CNN, as the paper finds, and before training they do not. With a hundred times as many training images for the probes most of this difference is gone ([Appendix F](F_linear_probes.ipynb)).
#    A CLS token could be compared with GAP in tiny networks only. In all of the pairs single tokens classify worse with the CLS token. The scoreboard says whether
#    this is still sure after the correction for many tests. Whether tokens of a ViT with CLS token keep their place better than those of one with GAP is open.
# 6. *Data.* Here, too, only tiny networks could be compared. At half of the depth, much data gives better features in every pair. The evidence that low layers need
#    little data is no stronger than chance.
#
# So single parts of the chain hold in the pretrained ViT, and others do not: the chain as a whole is not there. ViT and CNN are most alike in their middle blocks. The last blocks of the ViT are like no layer of the CNN, and its lowest blocks
# are unlike the CNN's high layers. The two were also trained for different tasks, which may be why their last blocks differ. And part of what looks typical of a ViT is there before any training.
#
# **The tiny networks** add the spread between trainings, and this makes the results less certain. Most of what one training seems to show remains
# undecided after several, and after the correction for many tests.
#
# - **Part is there before training.** A token's receptive field is strongest at its own patch, and training weakens this. Large fields in low layers are learned: before training the
#   lead over the ResNets is small and uncertain.
# - **What the paper sees in networks trained on much data is hardly there.** No head became local. The CLS token does its work in the first blocks and not in the last.
# - **Finetuning changes** high blocks more than low ones in every network.
# - **Other claims depend on how they are read.** Whether ViTs are more uniform depends on whether branches count, and on the measure. Whether skip
#   connections carry more in ViTs depends on whether this has to hold at every depth. A Mixer is about equally like a ViT and a CNN.
#
# ## What a verdict can say
#
# - **It is mostly about these networks.** The interval covers the draw of images, and the training where there were several.
#   Where each network was trained once, the verdict says so: another training could move the number by more than its
#   interval. The paper's own figures have no interval at all.
# - **It is about an effect that matters.** With enough images, even a tiny difference has a certain sign. So each claim has a margin, and an effect
#   within it is called negligible. The margin is our choice; the scoreboard gives the reason for each.
# - **It is one of many.** Among many tests some err by chance, so all are corrected together.
# - **It is about one number.** A claim such as "more uniform" has many readings. Each page says which one it took, and the
#   statistic is written beside the verdict. Where another reading gives another answer, the page says so.
# - **A claim that does not hold here is not refuted**, and neither is one that is reversed. The paper speaks of networks of 86 to 632 million parameters, trained on up to
#   300 million photographs. If a tiny network disagrees, then size, or data, or the kind of image matters. If a pretrained network disagrees, then it
#   matters on what and how it was trained.
# - **A claim that holds here is not proved, either.** Some of the paper's pictures are there before any training. Where we
#   looked, such a claim is marked *not learned*, or *perhaps not learned*; see the first open exercise of [Section 4](04_representation_structure.ipynb), too.
#
# ## Try it yourself
#
# Put a number in the place of `None` and run the cell: it says what is off.
#
# **09.1** Forty claims are all false, and each is tested by an interval that misses in one case of twenty. How many are decided wrongly, on average?

# %% tags=["exercise", "show-code"]
from seelike import exercises

answer = None
exercises.check("09.1", answer)

# %% [markdown]
# And to look into:
#
# 1. Run one page with another seed (`-p seed 1`), and save it as `build/executed/tiny/` and the name of the page; then run this page again. Which verdicts change, and may they?
#
# <details><summary>Answers</summary>
#
# **09.1** `answer = 2`: a twentieth of forty. This is why all claims are corrected together.
#
# 1. A new seed draws new images, and moves each number a little within its interval. A verdict whose interval ends near the margin may
#    change to undecided or back. None should jump from one side of the margin to the other.
#
# </details>
#
# **Next:** [your own networks](10_your_own_models.ipynb), [what came later](11_what_came_later.ipynb), [questions of measure](12_questions_of_measure.ipynb), and [massive activations](13_massive_activations.ipynb).
