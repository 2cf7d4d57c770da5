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
# # What makes a network sensitive?
#
# **What this page shows.** A network is sensitive if its output moves much for a small change of its input. Figure 4 of
# Novak et al. {cite}`novak2018` compares networks that differ in one thing. It finds that random labels and full
# batches raise the norm of the Jacobian, that augmentation and ReLU units lower it (claim N3), and that the
# generalisation gap moves with the norm. This page draws such pairs from [the survey of many networks](survey.ipynb),
# where augmentation means that images are moved by up to three pixels.

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
verdict = claims.factors_change_the_norm(networks)
page.answer(texts.factors_and_norm(networks, verdict), verdict)
page.say(texts.factors_by_data(verdict))

# %% [markdown]
# ## Pairs that differ in one thing
#
# Each point is a pair of networks of the same shape that start from the same weights and differ in one setting (those
# with full batches also take fewer steps). The vertical axis has the value of one of them, the horizontal axis that of
# the other. On the dashed line both are equal. In the paper's figure the points for gap and norm lie above the line in
# every row.

# %% tags=["hide-input"]
page.show(charts.factor_pairs({factor: survey.pairs(networks, factor) for factor in survey.FACTORS},
                              texts.FACTOR_WORDS, title="Pairs of networks"),
          "Chart 1", "Gap, norm and transitions of pairs of networks that differ in labels, batches, units, "
                       "or augmentation: above the dashed line the network on the vertical axis has the larger value. "
                       "The axes of norm and transitions are logarithmic.")

# %% tags=["hide-input"]
page.say(texts.sides_of_the_diagonal(networks))

# %% [markdown]
# The shares are means over shapes of networks, with 95 % intervals. *Number* is the number of pairs; transitions are
# those of pairs with ReLU units alone.
#
# ## What is measured
#
# Both networks of a pair classify every training image correctly at the end of training; the pairs of batches and of
# units are of both kinds of labels. A network that is trained on translated images hardly ever sees the same picture
# twice, so it is accepted if it classifies 95 % of the untranslated training images correctly. Training with full
# batches takes 400 steps, with batches of 50 it takes 3,000. The saturating units are `hard_tanh`, which is linear
# between −1 and 1 and constant outside; transitions are counted for ReLU units only. Their path is a translation of the
# image, on which a network that is trained on translated images is bound to change less.
#
# The Jacobian is that of the class probabilities. A network that is less sure of its answers has a larger one whatever
# its logits do, and a network that is trained on moved images can be less sure of those that are not moved. Whether
# this is why translation does not lower the norm was not tested.
#
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
