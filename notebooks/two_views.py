# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Two views of generalisation
#
# **Abstract.** Stiffness asks how the loss of one example moves when the weights take a step for another
# {cite}`fort2019v1`. Sensitivity asks how the output moves with the input {cite}`novak2018`. Both have been said to go
# with generalisation. This page measures both on the same many networks, which differ in size, training and data, and
# asks which of the two tells more about the generalisation gap, whether either adds to the other, and what each costs
# to measure.

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Parameters", "code_prompt_hide": "Parameters"}
datasets: list = ["mnist", "fashion_mnist", "cifar10"]  # or digits, which needs no download
widths: list = [4, 12, 40, 120, 400]  # units in a hidden layer
depths: list = [1, 3]  # hidden layers
ways: list = None  # how networks of a shape are trained; None: the six ways of this book's survey
train_size: int = 1000  # training examples, class-balanced: few enough to be fitted in full
probe_size: int = 300  # test images, and training images, whose pairs are measured
points: int = 500  # test images at which the Jacobian is taken
seeds: int = 1  # networks of each kind, with seeds 0, 1, ...: initialisation, order of the data

# %% tags=["hide-input"]
from stiffness_book import charts, figures, page, store, texts
from stiffness_book.sensitivity import survey

parameters = page.start()
runs = figures.ensembles(**parameters)
networks, provenance = survey.networks(runs)
right = survey.right(networks)
page.say(texts.which_predicts_better(networks))

# %% [markdown]
# ## Rank correlations with the gap
#
# The chart shows how ten measures of a whole network, two of sensitivity and eight of stiffness, order networks
# compared with their generalisation gap (training accuracy minus test accuracy), by Kendall's rank correlation. If
# sensitivity goes with poor generalisation, its correlation is positive; if stiffness goes with good generalisation,
# its correlation is negative. The networks are those of [the survey](survey.ipynb) that fit every training label: *all*
# of them; those *without random labels*; and *alike networks*, the mean over groups of one shape with the same kind of
# labels and images.

# %% tags=["hide-input"]
names = {measure: words.removeprefix("stiffness ") for measure, words in survey.MEASURES.items()}
page.show(charts.estimates(survey.correlation_rows(right, names), "rank correlation with the gap",
                           title="Ten measures and the gap"),
          "Chart 1", "Rank correlations of ten measures with the gap: right of 0, a larger value goes with a larger "
          "gap. Lines are 95 % intervals, from resampling the shapes of networks.")
page.say(texts.transitions_and_gap(networks))

# %% [markdown]
# ## What is measured
#
# - *Sensitivity*: the norm of the Jacobian and the transitions, as in [the survey](survey.ipynb).
# - *Stiffness*: within and between classes, by sign and by cosine, over pairs of test images, and over pairs of a
#   training image and a test image. Where labels are random, training images count with the labels that were trained
#   on, and test images with their true ones.
#
# ## What each adds
#
# A linear regression of the ranks of the gaps on the ranks of the measures, over ReLU networks, which have them all. It
# is evaluated on shapes of networks that were left out of the fit: 1 means that it explains all of the variance, 0
# none, and less than 0 that it does worse than the mean. *Added* is the difference that a group makes beside the other.

# %% tags=["hide-input"]
explained = survey.explained_rows(right)
page.show(charts.estimates(explained, "explained share of the variance", title="Alone, and added to each other"),
          "Chart 2", "The share of the variance of the gap's ranks that measures explain, alone and added to each "
                     "other. Lines are 95 % intervals, from leaving out one shape of networks at a "
                     "time; they are cut off at −1 and 1.")
page.say(texts.what_each_explains(explained))

# %% [markdown]
# ## What they cost

# %% tags=["hide-input"]
import json

measured = json.loads((store.REPOSITORY / "benchmarks" / "two_views.json").read_text(encoding="utf-8"))
page.say(f"The time to measure each on one core, for {measured['examples']} images and three networks before training. "
         f"Transitions are counted on {measured['paths']} closed paths. Stiffness is that of all pairs, averaged by "
         "class; sign and cosine come from one Gram matrix.")
page.say(texts.cost_of_two_views(measured))

# %% [markdown]
# ## The runs
#
# The settings are under *Parameters*, near the top. The runs are those of [the survey](survey.ipynb); each trains six
# networks of one shape at once.

# %% tags=["hide-input"]
page.summary(provenance)
