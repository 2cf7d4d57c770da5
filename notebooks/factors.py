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
# **What this page shows.** Figure 4 of Novak et al. has pairs of networks that differ in one thing. Random labels and
# full batches, they find, raise the norm of the Jacobian, augmentation and ReLU units lower it (N3), and the
# generalisation gap moves with it. Here are such pairs from [the survey of many networks](survey.ipynb).

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
from stiffness_book import charts, claims, figures, page, store, texts
from stiffness_book.sensitivity import survey

parameters = page.start()
runs = figures.ensembles(**parameters)
networks = survey.networks(runs)
verdict = claims.factors_change_the_norm(networks)
page.answer(texts.factors_and_norm(networks, verdict), verdict)

# %% [markdown]
# ## Pairs that differ in one thing
#
# Each point is a pair of networks of the same shape that start from the same weights and are alike in everything but
# one: its height is the number of the one, its place on the horizontal axis that of the other. On the dashed line both
# are alike; above it the first one is higher, as the paper finds in each row for gap and norm.

# %% tags=["hide-input"]
page.show(charts.factor_pairs({factor: survey.pairs(networks, factor) for factor in survey.FACTORS},
                              texts.FACTOR_WORDS, title="Pairs of networks"),
          "Chart 1", "Gap, norm and transitions of pairs of networks that differ in labels, batches, units, "
                       "or augmentation.")

# %% tags=["hide-input"]
page.say(texts.sides_of_the_diagonal(networks))

# %% [markdown]
# The shares are means over shapes of networks, with 95 % intervals.
#
# ## What is measured
#
# Both networks of a pair have every training label right at the end of training. Where images are moved in every batch,
# the network never sees one twice in the same place; 95 % of the images that are not moved are enough then. Full
# batches take 400 steps, batches of 50 take 3,000, so the number of steps differs with the batches. The saturating
# units are `hard_tanh`, which is the straight line between -1 and 1; they have no transitions here, as the code of a
# network is that of its ReLU units.
#
# The Jacobian is that of the class probabilities. A network that is less sure of its answers has a larger one whatever
# its logits do, and a network that is trained on moved images can be less sure of those that are not moved.
#
# ## What was found

# %% tags=["hide-input"]
page.found(verdict)

# %% [markdown]
# ## The runs
#
# *Parameters*, near the top, contains this page's parameters. Each run trains several networks of one shape at once.

# %% tags=["hide-input"]
page.summary(store.provenance(runs))
