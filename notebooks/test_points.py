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
# # Which test points does a network get wrong?
#
# **What this page shows.** Novak et al. {cite}`novak2018` find that a network is more sensitive at the test points that
# it gets wrong (claim N4): its Jacobian norm is larger there. A network that is unsure is also more sensitive, since
# the softmax of nearly equal logits moves most; so is it the sensitivity that tells, or the doubt? And does
# [stiffness](../book/theory.md) tell as well, which says how far a step on training images would help the point? The
# networks are those of [the survey](survey.ipynb) that fit every one of their true training labels.

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
from stiffness_book import charts, claims, figures, page, texts
from stiffness_book.sensitivity import survey

parameters = page.start()
runs = figures.ensembles(**parameters)
networks, provenance = survey.networks(runs)
from stiffness_book.sensitivity.ensemble import PREDICTORS

verdict = claims.norm_tells_wrong_points(networks)
right = survey.right(networks)
right = right[right["condition"] != "random labels"]
page.answer(texts.wrong_points(networks, verdict), verdict)

# %% [markdown]
# ## Share of wrong points by tenths
#
# For each network the test points are sorted by a number and split into ten equal groups, the smallest values first.
# Which share of each group is classified wrongly? If the number tells nothing, the line is flat.

# %% tags=["hide-input"]
drawn = {name: PREDICTORS[name] for name in ("norm", "margin", "stiffness_cosine")}
page.show(charts.errors_by_decile(survey.by_decile(right, drawn), title="Share of wrong test points"),
          "Chart 1", "The share of wrong test points in each tenth of them, by norm, margin and stiffness. Bands are "
          "95 % intervals over shapes of networks.")

# %% [markdown]
# ## What is measured
#
# - *Norm of the Jacobian*: of the class probabilities by the input, at the point.
# - *Norm, over the softmax's*: the same, divided by the norm of the softmax's own Jacobian, that of the probabilities
#   by the logits. It is roughly how much the logits move.
# - *Margin*: the difference of the two largest logits. A small one is doubt.
# - *Stiffness*: the mean sign, or cosine, of the inner products of the point's loss gradient with those of training
#   images: *all*, or those with the *same label* as the point. The point's label is the predicted one, so a step helps
#   the prediction, be it right or wrong. With the *true label* the measure uses what it should predict; it is only
#   there for comparison.
#
# The *area under the (ROC) curve* is the probability that of a wrong and a right point the wrong one has the larger
# number (the smaller margin, the smaller stiffness): 0.5 is chance, 1 is perfect. *At equal margin* counts only pairs
# among ten points at a time that are neighbours by margin, so that doubt is nearly the same for both. The paper has no
# such control.

# %% tags=["hide-input"]
names = {name: words.removeprefix("stiffness, ") for name, words in PREDICTORS.items()}
page.show(charts.estimates(survey.area_rows(right, names), "area under the curve", none=0.5,
                           title="Telling the wrong points"),
          "Chart 2", "Areas under the curve for norm and margin, and for stiffness by sign and by cosine: 0.5, dotted, "
          "is chance. Lines are 95 % intervals over shapes of networks.")

# %% tags=["hide-input"]
page.say(texts.areas_under_the_curve(networks), texts.left_of_the_doubt(networks))

# %% [markdown]
# ## What was found

# %% tags=["hide-input"]
page.found(verdict)

# %% [markdown]
# ## The runs
#
# The settings are under *Parameters*, near the top. The runs are those of [the survey](survey.ipynb); each trains six
# networks of one shape at once.

# %% tags=["hide-input"]
page.summary(provenance)
