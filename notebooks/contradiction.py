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
# # Small or large learning rates? Three texts, one set of runs
#
# **What this page shows.** Two images are stiff if a small training step on one of them lowers the loss of the other:
# stiffness is the sign, or the cosine, of the inner product of their loss gradients. The paper on it exists in three
# versions, and they disagree about the learning rate. In the first (*v1*, {cite}`fort2019v1`), networks trained with a
# *large* rate are the stiffer ones, and their *stiff domains*, the distances over which images help each other, are
# larger. In a second text (*2019*), it is *small* rates that give higher stiffness. In the third (*v3*,
# {cite}`fort2019`), a *critical length* over which images of one class help each other shrinks as the rate grows. Can
# all three be right? Here the same runs are measured in all the ways that the texts leave open.

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Parameters", "code_prompt_hide": "Parameters"}
losses: dict = None  # data sets, and the training losses at which each is measured; None: those of Figures 8 to 10
learning_rates: list = None  # of Adam, each constant throughout training; None: those of Figures 8 to 10
sgd_learning_rates: list = None  # of plain gradient descent; None: 0.01, 0.03 and 0.1
network: str = None  # fully connected, widths of the hidden layers, fc-500-300-100; None: those of both versions
batch_size: int = 32  # examples in a step
seeds: int = 5  # runs at each rate, with seeds 0, 1, ...: initialisation, order of the data
train_size: int = None  # training examples, class-balanced; None is all of them
unit_length: bool = False  # scale each input to length 1, as v3 does
probe_size: int = 500  # validation examples whose pairs are measured
stages: list = None  # steps at which to measure beside the losses; None: 0, and one and five passes over the images
max_steps: int = None  # a run that has not reached its losses by then ends without them; None: the version's

# %% tags=["hide-input"]
import pandas as pd

from stiffness_book import charts, claims, contradiction, figures, page, texts

parameters = page.start()
parts = figures.contradiction(**parameters)
found = {way: page.runs(experiments, "dataset", "network", "optimizer", "learning_rate")
         for way, experiments in parts.items()}
table = contradiction.labelled(pd.concat([table for table, _ in found.values()], ignore_index=True))
stiffness = contradiction.compared(contradiction.stiffness(table), table)
sizes = contradiction.compared(contradiction.sizes(table), table)
trends = contradiction.trends(stiffness, contradiction.STIFFNESS_CHOICES)
size_trends = contradiction.trends(sizes, contradiction.SIZE_CHOICES)
turned = contradiction.turns(trends, contradiction.STIFFNESS_CHOICES)
size_turned = contradiction.turns(size_trends, contradiction.SIZE_CHOICES)
first = trends.iloc[0]
main = (stiffness["network"] == first["network"]) & (stiffness["optimizer"] == first["optimizer"])
verdict = claims.small_rates_are_stiffer(stiffness[main])
page.answer(texts.small_or_large_rates(trends, size_trends), verdict)
page.say(texts.parts_of_the_claim(verdict))

# %% [markdown]
# ## Abstract
#
# On the stiffness of a network on validation images the texts of Fort et al. disagree: it rises with the learning rate
# (v1), or it falls (2019); the third (v3) says that the critical length shrinks. Two of them say that rates are
# compared at equal training loss, but none says in full at which, which pairs of images are averaged, or how the reach
# of stiffness is read off. We trained two networks on two data sets with Adam and with plain stochastic gradient
# descent (SGD), at constant rates, with five seeds each. The trend with the rate was determined for every *case*: a
# combination of the data, the network, the optimizer, what is equal (the training loss or the number of steps, each at
# an earlier and a later moment, or the training accuracy), the pairs that are averaged (within classes, between
# classes, or all), and sign or cosine; and, for the reach, of the stiff domain and the critical length by sign and by
# cosine, with distances between images and between hidden representations.

# %% tags=["hide-input"]
page.say(texts.abstract(trends, size_trends, turned, size_turned),
         "Cases share runs, so they are not independent, and these counts are no test of significance.")

# %% [markdown]
# ## Try it
#
# Change one choice at a time, and see whether the line rises or falls. The words above it say what is held equal, and
# give Kendall's rank correlation of stiffness with the rate, the mean over seeds with its 95 % interval: 1 if stiffness
# rises at every step to the next rate, −1 if it falls at every step.

# %% tags=["hide-input"]
page.show(charts.trend_switch(stiffness, trends, contradiction.STIFFNESS_CHOICES, first,
                              title="Stiffness against the learning rate"), "Chart 1",
          "Mean stiffness of pairs of validation images against the learning rate, with 95 % intervals over the runs, "
          "for a choice of data, network, training, comparison and measure.")

# %% [markdown]
# ## All choices at once
#
# These are the moments at which rates are compared. The losses are the first and the last that every run reached, the
# steps about one and five passes over the images; the accuracy, on training images, is the highest whole per cent that
# every run passed. So cases with other data or another optimizer also differ in their losses and rates.

# %% tags=["hide-input"]
page.say(texts.what_is_compared(stiffness))

# %% [markdown]
# Each cell of the charts is one case. Its colour is the rank correlation: blue if stiffness rises with the learning
# rate, red if it falls. A triangle says that this is clear: the interval over seeds lies on one side of zero, and from
# the lowest rate to the highest stiffness changes by 0.01 or more, the last digit that this book prints. ∪ and ∩ say
# that the line turns: in the runs of every seed, stiffness at a rate in between is lower, or higher, than at both ends.
# A cell in deep colour with a dot changes consistently, but by less than 0.01; a missing cell was not compared.

# %% tags=["hide-input", "full-width"]
number = iter(range(2, 20))
for dataset in trends["dataset"].unique():
    page.show(charts.trend_grid(trends[trends["dataset"] == dataset], ("measure", "kind"),
                                title=["Stiffness and the learning rate", dataset]), f"Chart {next(number)}",
              f"Whether stiffness rises or falls with the rate on {dataset}, for every combination of choices: a row "
              "for each measure, a column for each moment of comparison.")

# %% tags=["hide-input"]
page.say(texts.trends_by_measure(trends))

# %% [markdown]
# ## What the three texts state, and how often the runs agree
#
# Each statement is checked in every case that its wording allows. *Neither* is no clear trend, or one that turns.

# %% tags=["hide-input"]
page.say(texts.three_texts(trends, size_trends))

# %% [markdown]
# The verdict on the text of 2019 uses a stricter rule than the charts: the change from the lowest to the highest rate,
# of 0.05 or more. A line that turns can be the reverse by this rule, and turn in the chart.

# %% tags=["hide-input"]
page.found(verdict)

# %% [markdown]
# ## Which choice turns the trend?
#
# Take two cases that differ in a single choice. In how many of these pairs does stiffness rise in one case and fall in
# the other?

# %% tags=["hide-input"]
page.say(texts.what_turns_it(turned, trends))

# %% [markdown]
# ## The reach of stiffness
#
# The first version measures the *stiff domain*: the distance of two images at which the sign stiffness of all pairs
# first falls to zero. The third measures the *critical length*: the distance at which a straight line through the
# stiffness of pairs of one class reaches zero. The distance is 1 − cosine, of the images themselves or of their
# representations in the first and in the last hidden layer. A triangle in the chart means that stiffness falls to zero
# at no possible distance. A critical length by sign hardly exists: within classes the sign is nearly always +1 in these
# networks ([why](../book/method.md)), and no line through it reaches zero; cases without any length are left out.

# %% tags=["hide-input"]
page.show(charts.trend_switch(sizes, size_trends, contradiction.SIZE_CHOICES, size_trends.iloc[0], size=True,
                              title=["The reach of stiffness", "against the learning rate"]), f"Chart {next(number)}",
          "The size of stiff domains, or the critical length, against the learning rate: medians over the runs, and "
          "bands from the smallest to the largest value.")

# %% tags=["hide-input", "full-width"]
for dataset in size_trends["dataset"].unique():
    page.show(charts.trend_grid(size_trends[size_trends["dataset"] == dataset], ("measure", "space"),
                                title=["Reach and the learning rate", dataset]), f"Chart {next(number)}",
              f"Whether sizes grow or shrink with the learning rate on {dataset}, for every combination of choices: a "
              "row for each size and space, a column for each moment of comparison.")

# %% tags=["hide-input"]
page.say(texts.trends_by_measure(size_trends), "Which choice turns the trend of a size?",
         texts.what_turns_it(size_turned, size_trends))

# %% [markdown]
# ## What this does not show
#
# The rates, the losses and the networks of the two later texts are not known, and their networks may have been trained
# for longer, on other data, or measured on other pairs. A trend here is one over the rates of the table above, which
# are few in some cases; beyond them it may turn.
#
# ## The runs
#
# The settings are under *Parameters*, near the top. The runs with Adam are those of [Figure
# 8](fig08_learning_rate.ipynb) and [Figure 10](fig10_domain_size.ipynb).

# %% tags=["hide-input"]
for _, provenance in found.values():
    page.summary(provenance)
