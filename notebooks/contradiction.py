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
# **What this page shows.** The stiffness paper exists in three versions, and they disagree. In the first, networks
# trained with a *large* learning rate are the stiffer ones, and their stiff domains are larger. In the second, a text
# of 2019, it is *small* rates that give higher stiffness. In the third, the length over which images of a class help
# each other shrinks as the rate grows. Can all three be right? Here the same runs are measured in all the ways that
# the texts leave open.

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
page.answer(texts.small_or_large_rates(trends), verdict)

# %% [markdown]
# ## Abstract
#
# Fort et al. state of the same quantity, the stiffness of a network on validation images, that it rises with the
# learning rate (first version), that it falls (text of 2019), and of the critical length that it shrinks (third
# version). None of them says in full what is held equal when rates are compared, which pairs of images are averaged, or
# how the reach of stiffness is read off. We trained two networks on two data sets with Adam and with plain gradient
# descent, at several constant rates and with several seeds. The trend with the rate was determined for every
# combination of what is equal (the training loss, the epoch, or the training accuracy), of the pairs (within classes,
# between classes, or all), of sign and cosine, and of three sizes in three spaces.

# %% tags=["hide-input"]
page.say(texts.abstract(trends, size_trends, turned, size_turned))

# %% [markdown]
# ## Try it
#
# Change one choice at a time, and see whether the line rises or falls. The words above it say what is held equal, and
# give the rank correlation of stiffness with the rate: 1 if stiffness rises at every step to the next rate, −1 if it
# falls at every step. The bands are 95 % intervals over the runs.

# %% tags=["hide-input"]
page.show(charts.trend_switch(stiffness, trends, contradiction.STIFFNESS_CHOICES, first,
                              title="Stiffness against the learning rate"), "Chart 1",
          "Stiffness against the learning rate, for a choice of data, network, training, comparison and measure.")

# %% [markdown]
# ## All choices at once
#
# Each cell is one combination. Blue means that stiffness rises with the learning rate, red that it falls, and a
# triangle that this is clear: the interval over seeds lies on one side of zero, and from the lowest rate to the highest
# stiffness changes by 0.01 or more, the last digit that this book prints. White cells were not compared, because not
# every run came that far.

# %% tags=["hide-input", "full-width"]
number = iter(range(2, 20))
for dataset in trends["dataset"].unique():
    page.show(charts.trend_grid(trends[trends["dataset"] == dataset], ("measure", "kind"),
                                title=["Stiffness and the learning rate", dataset]), f"Chart {next(number)}",
              f"Whether stiffness rises or falls with the rate on {dataset}, for every combination of choices.")

# %% tags=["hide-input"]
page.say(texts.trends_by_measure(trends))

# %% [markdown]
# ## What the three texts state, and how often the runs agree
#
# Each statement is confronted with all the cases that it could be about.

# %% tags=["hide-input"]
page.say(texts.three_texts(trends, size_trends))
page.found(verdict)

# %% [markdown]
# ## Which choice turns the trend?
#
# Take two cases that differ in a single choice. In how many of these pairs does the value rise in one case and fall in
# the other?

# %% tags=["hide-input"]
page.say(texts.what_turns_it(turned))

# %% [markdown]
# ## The reach of stiffness
#
# The first version measures the *stiff domain*: the distance of two images at which the sign stiffness of all pairs
# first falls to zero. The third measures the *critical length*: the distance at which a straight line through the
# stiffness of pairs of one class reaches zero. The distance is 1 − cosine, of the images themselves or of their
# representations in the first and in the last hidden layer. A triangle in the chart means that stiffness is positive at
# every possible distance. Lines are medians over the runs, and bands extend from the smallest to the largest value.

# %% tags=["hide-input"]
page.show(charts.trend_switch(sizes, size_trends, contradiction.SIZE_CHOICES, size_trends.iloc[0], size=True,
                              title="The reach of stiffness against the learning rate"), f"Chart {next(number)}",
          "The size of stiff domains, or the critical length, against the learning rate, for a choice of each.")

# %% tags=["hide-input", "full-width"]
for dataset in size_trends["dataset"].unique():
    page.show(charts.trend_grid(size_trends[size_trends["dataset"] == dataset], ("measure", "space"),
                                title=["Reach and the learning rate", dataset]), f"Chart {next(number)}",
              f"Whether sizes grow or shrink with the learning rate on {dataset}, for every combination of choices.")

# %% tags=["hide-input"]
page.say(texts.trends_by_measure(size_trends), texts.what_turns_it(size_turned))

# %% [markdown]
# A critical length by sign hardly exists: within classes the sign is nearly always +1 in these networks
# ([why](../book/method.md)), and no line through it reaches zero. Where all sizes are alike, nothing rises or falls.
#
# ## What this does not show
#
# The rates, the losses and the networks of the two later texts are not known, and their networks may have been trained
# for longer, on other data, or measured on other pairs. A trend here is one over the rates of this page. Beyond them
# it may turn, as the lines of [Figure 8](fig08_learning_rate.ipynb) do at the highest rates.
#
# ## The runs
#
# *Parameters*, near the top, contains this page's parameters. The runs with Adam are those of
# [Figure 8](fig08_learning_rate.ipynb) and [Figure 10](fig10_domain_size.ipynb).

# %% tags=["hide-input"]
for _, provenance in found.values():
    page.summary(provenance)
