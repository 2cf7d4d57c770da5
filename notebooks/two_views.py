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
# **Abstract.** Stiffness asks how the loss of one example moves when the weights take a step for another. Sensitivity
# asks how the output moves with the input. Both have been said to go with generalisation. This page measures both on
# the same many networks, which differ in size, training and data, and asks which of the two tells more about the
# generalisation gap, whether either adds to the other, and what each costs to measure.

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Parameters", "code_prompt_hide": "Parameters"}
datasets: list = ["mnist", "fashion_mnist"]  # also cifar10, or digits, which needs no download
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
networks = survey.networks(runs)
right = survey.right(networks)
page.say(texts.which_predicts_better(networks))

# %% [markdown]
# ## Rank correlations with the gap
#
# For each measure its rank correlation with the generalisation gap over networks that have every training label right:
# over all of them; over those with *true labels*; and among *alike networks*, of one shape, with the same kind of
# labels and images. Each of the ten is a number for a whole network.

# %% tags=["hide-input"]
names = {measure: words.removeprefix("stiffness ") for measure, words in survey.MEASURES.items()}
page.show(charts.estimates(survey.correlation_rows(right, names), "rank correlation with the gap",
                           title="Ten measures and the gap"),
          "Chart 1", "Rank correlations of the ten measures with the gap, over all networks and among alike ones.")

# %% [markdown]
# ## What is measured
#
# - *Sensitivity*: the norm of the Jacobian and the transitions, as in [the survey](survey.ipynb).
# - *Stiffness*: within and between classes, by sign and by cosine, over pairs of test images, and over pairs of a
#   training image and a test image. Random labels count as labels: stiffness is then measured on what was trained on.
#
# A positive correlation means: the larger the number, the worse the network generalises. The intervals come from
# resampling the shapes of networks, because networks of one shape start from the same weights.
#
# ## What each adds
#
# A linear regression of the ranks of the gaps on the ranks of the measures, over ReLU networks, which have them all. It
# is judged on shapes of networks that it was not fitted on: 1 means that it explains all of the variance, 0 none, and
# less than 0 that it does worse than the mean. *Added* is what the explained share loses if the group is left out.

# %% tags=["hide-input"]
added = survey.additions(right)
page.show(charts.estimates(added, "explained share of the variance", title="Alone, and added to the others"),
          "Chart 2", "What each group of measures explains of the gap, alone and added to all others.")
page.say(texts.what_each_adds(added))

# %% [markdown]
# ## What they cost

# %% tags=["hide-input"]
import json

measured = json.loads((store.REPOSITORY / "benchmarks" / "two_views.json").read_text(encoding="utf-8"))
page.say(f"Of {measured['examples']} images on one core, the networks before training; transitions on "
         f"{measured['paths']} closed paths; the stiffness of all pairs by class.")
page.say(texts.cost_of_two_views(measured))

# %% [markdown]
# ## The runs
#
# *Parameters*, near the top, contains this page's parameters. Each run trains several networks of one shape at once.

# %% tags=["hide-input"]
page.summary(store.provenance(runs))
