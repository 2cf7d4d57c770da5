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
# # Does over-fitting lose stiffness, or does float32?
#
# **What this page shows.** The first version of the paper trains a network for almost a hundred passes over MNIST and
# sees stiffness fall towards zero. Its Figure 2 reads that as a mark of over-fitting. Here the same network is trained
# for as long, and its stiffness is computed from the same weights in several arithmetics, beside the paper's curve.

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Parameters", "code_prompt_hide": "Parameters"}
dataset: str = "mnist"  # or digits, which needs no download
network: str = "fc-400-200-200-200-200-200"  # fully connected, widths of the hidden layers; the first version's
optimizer: str = "adam"  # adam or sgd
learning_rate: float = 0.001  # constant throughout training
batch_size: int = 32  # examples in a step
seeds: int = 2  # runs, with seeds 0, 1, ...: initialisation, order of the data
train_size: int = None  # training examples, class-balanced; None is all of them
unit_length: bool = False  # scale each input to length 1
probe_size: int = 500  # validation examples whose pairs are measured
nested_probes: list = [150, 30]  # smaller probe sets, each within the one before
probe_images: int = 30  # the one of them that is drawn: Figure 2 has three images a class
arithmetics: list = ["float32", "clipped", "step_1e-3", "step_1e-5"]  # beside the exact one
also: list = ["regimes", "gram"]  # what else the runs measure, for other pages
stages: list = [0, 25, 50, 100, 150, 200, 300, 1825, 3625, 5450, 7250, 9075, 10875, 14500, 19950, 25375, 32625, 39875,
                48950, 59825, 72525, 87025, 103350, 119650, 139600, 159550, 175850, 179475]  # steps at which to measure
stage_losses: list = [0.1, 0.01, 0.001, 0.0001, 1e-05, 1e-06]  # and training losses, where they are reached
check_every: int = 500  # steps between two checks of the training loss
max_steps: int = 179475  # where a loss that is not reached is given up

# %% tags=["hide-input"]
from stiffness_book import charts, figures, page, rounding, texts
from stiffness_book.words import name_of

parameters = page.start()
table, provenance = page.runs(figures.one_network(**parameters))
found = rounding.curves(table, probe_images)
distances = rounding.distances(found)
page.answer(texts.over_fitting_or_rounding(found, distances))

# %% [markdown]
# ## Five ways to compute one sign
#
# - *Exact*: the sign of the inner product of the two loss gradients, without rounding.
# - *Float32, from logits*: the same product of gradients in single precision, from the numerically stable form of the
#   loss. Where a probability is closer to 1 than seven digits can tell, the gradient is a rounding error, or zero.
# - *Float32, probabilities clipped*: the loss is given probabilities, which are clipped at $10^{-7}$ as some frameworks
#   do. No gradient passes a clipped probability.
# - *Float32 change of the loss*: a step of finite size along the first gradient, and the sign of the change of the
#   second loss, computed in single precision. This is how the paper's equations 2 to 4 define stiffness, before the
#   limit of small steps. It alone can give a matrix that is not symmetric.

# %% tags=["hide-input"]
page.show(charts.arithmetic_evolution(found, rounding.published_curves(), rounding.WORDS,
                                      title=["Sign stiffness through training", name_of(dataset)]), "Chart 1",
          "Sign stiffness in five arithmetics from the same weights, and the paper's Figure 2.")

# %% [markdown]
# Each image is also paired with itself here, and there are three images a class, as
# [the paper's numbers themselves say](how_made.ipynb).
#
# ## Which comes nearest to the paper?

# %% tags=["hide-input"]
page.say(texts.distances_from_the_paper(distances))

# %% [markdown]
# ## The losses

# %% tags=["hide-input"]
page.show(charts.loss_evolution(table[table["target_loss"].isna()], title=["Losses", name_of(dataset)]), "Chart 2",
          "Training and validation loss of the same runs.")

# %% [markdown]
# ## White rows and matrices that are not symmetric
#
# The last matrix of the paper's Figure 3 has a row and a column of zeros, and is not symmetric. In which arithmetic can
# that happen? First the share of gradients that are exactly zero, by class, at the last stage; then how far the
# matrices are from symmetric there.

# %% tags=["hide-input"]
page.say(texts.zero_gradients_by_class(rounding.zero_gradients(table, nested_probes[0])),
         texts.symmetric_or_not(rounding.matrices(table, nested_probes[0])))

# %% [markdown]
# ## What this does not show
#
# What the authors ran. Their code is not known, and another cause could give the same curve. What it shows is that
# these networks, trained for as long as theirs, keep their stiffness within classes when it is computed without
# rounding, and lose it, as the paper's do, in single precision.
#
# ## The runs

# %% tags=["hide-input"]
page.summary(provenance)
