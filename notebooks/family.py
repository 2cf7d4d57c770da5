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
# # The same Gram matrix, other measures
#
# **What this page shows.** Stiffness is one of several measures of how the gradients of single examples agree. All of
# them can be read off the same matrix, the inner products of all pairs. Do they say the same, or does each say
# something of its own?

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Parameters", "code_prompt_hide": "Parameters"}
dataset: str = "mnist"  # mnist, fashion_mnist, or digits, which needs no download
network: str = None  # fully connected, widths of the hidden layers, fc-500-300-100; None: the first version's
optimizer: str = "adam"  # adam or sgd
learning_rate: float = 0.001  # constant throughout training
batch_size: int = 32  # examples in a step
seeds: int = 5  # runs, with seeds 0, 1, ...: initialisation, order of the data
train_size: int = None  # training examples, class-balanced; None is all of them
unit_length: bool = False  # scale each input to length 1, as v3 does
probe_size: int = 500  # validation examples whose pairs are measured
stages: list = None  # steps at which to measure; None: those of Figures 2 to 4
losses: list = None  # training losses at which learning rates are compared; None: those of Figure 8
learning_rates: list = None  # None: those of Figure 8
max_steps: int = None  # where a loss that is not reached is given up; None: as in Figure 8

# %% tags=["hide-input"]
import pandas as pd

from stiffness_book import charts, family, figures, page, texts
from stiffness_book.words import name_of

parameters = page.start()
parts = figures.family(**parameters)
found = {name: page.runs(experiments, "learning_rate") for name, experiments in parts.items()}
rows = {name: family.measures(table, probe_size, ["learning_rate"]) for name, (table, _) in found.items()}
by_rate = rows.pop("learning rates")
by_rate = by_rate[by_rate["target_loss"].notna()]
trained = rows["true labels"][rows["true labels"]["step"] > 0]
permuted = rows["permuted labels"]
permuted = permuted[(permuted["step"] > 0) & permuted["target_loss"].isna()]
page.say(f"**Do these measures say the same as stiffness?** On {name_of(dataset)}, over the stages of training: "
         f"{texts.says_the_same(trained[trained['target_loss'].isna()], [])} With permuted labels "
         f"{texts.says_the_same(permuted, [])}")

# %% [markdown]
# ## The measures
#
# $K_{ij}$ is the inner product of the loss gradients of examples $i$ and $j$, of which there are $m$. Stiffness keeps
# the sign of $K_{ij}$, or the cosine $K_{ij} / \sqrt{K_{ii} K_{jj}}$, and averages it by class.
#
# - *Gradient confusion* {cite}`sankararaman2020`: $\max(0, -\min_{i \ne j} K_{ij})$, how strongly the two most opposed
#   examples disagree.
# - *Gradient diversity* {cite}`yin2018`: $\operatorname{tr} K \,/\, 1^\top K 1$, the sum of the squared norms over the
#   squared norm of the sum.
# - *m-coherence* {cite}`chatterjee2020`: its inverse, $1^\top K 1 \,/\, \operatorname{tr} K$: how many
#   examples benefit from a step on one of them, that one counted as 1.
# - *Simple noise scale* {cite}`mccandlish2018`: the variance of a gradient over the squared norm of the mean gradient,
#   $(\operatorname{tr} K - 1^\top K 1 / m) \,/\, (m - 1)$ over the mean of $K_{ij}$ with $i \ne j$.
# - *GraNd* {cite}`paul2021`: the norm of a gradient, $\sqrt{K_{ii}}$; here its mean.
#
# Diversity, coherence and the noise scale are functions of one number, the mean inner product over the mean squared
# norm: where all three are defined, they order networks in the same way, or in the reverse. The noise scale is not
# defined where the mean inner product is negative.
#
# ## Through training, with true and with permuted labels
#
# The lines are geometric means over the runs, the bands their 95 % intervals. Where a measure is 0 or not defined,
# nothing is drawn. The runs with permuted labels are shorter.

# %% tags=["hide-input"]
for number, (name, words) in enumerate(family.MEASURES.items(), start=1):
    curves = pd.concat([own[own["target_loss"].isna()].assign(labels=label, value=own[name])
                        for label, own in rows.items()])
    title = words[:1].upper() + words[1:]
    page.show(charts.measure_evolution(curves, words, title=[title, name_of(dataset)]), f"Chart {number}",
              f"{title} through training, with true and with permuted labels.")

# %% [markdown]
# ## Do they order the stages as stiffness does?
#
# Kendall's rank correlation over the stages of a run after initialisation, and its 95 % interval over the runs. 1 and
# −1 are the same and the reverse order, 0 is none.

# %% tags=["hide-input"]
page.say(texts.correlations(trained[trained["target_loss"].isna()], []))

# %% [markdown]
# With permuted labels:

# %% tags=["hide-input"]
page.say(texts.correlations(permuted, []))

# %% [markdown]
# ## Do they order runs as stiffness does?
#
# Stages of one training differ in many things. Here runs with different learning rates are compared where their
# training losses are equal, as in [Figure 8](fig08_learning_rate.ipynb): the rank correlation is over the rates, with
# its 95 % interval over the seeds; those of the losses are averaged.

# %% tags=["hide-input"]
page.say(f"Over learning rates {texts.says_the_same(by_rate, ['target_loss'])}",
         texts.correlations(by_rate, ["target_loss"]))

# %% [markdown]
# ## What is left out
#
# TracIn sums $K$ over checkpoints, weighted by the learning rate, and influence functions weigh gradients by the
# inverse of a curvature; both ask which example matters for which, and not how much all agree. Local elasticity, the
# alignment of the tangent kernel, and counts of forgotten examples cannot be read off $K$. A criticism of stiffness
# {cite}`chatterjee2020` is that the sign, and the division by the norms, loosen its tie to the change of the loss. The
# measures above have no such division, and so they depend on how large the gradients are, and on how far a network has
# been trained.
#
# ## The runs
#
# The settings are under *Parameters*, near the top. The runs are those of
# [Figure 3](fig03_class_stiffness_mnist.ipynb), [Figure 4](fig04_permuted_labels.ipynb) and
# [Figure 8](fig08_learning_rate.ipynb).

# %% tags=["hide-input"]
for _, provenance in found.values():
    page.summary(provenance)
