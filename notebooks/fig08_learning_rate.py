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
# # Figure 8: stiffness and the learning rate
#
# **What this page shows.** The same network learns the same images with different learning rates. A network that takes
# large steps learns faster, so the runs are not compared after the same number of steps but after they have learnt the
# same amount: each run is stopped when its training loss has fallen to the same value. How much do images of
# *different* classes help each other at that point?

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Parameters", "code_prompt_hide": "Parameters"}
setting: str = "v1"  # the version of the paper whose settings come first: v1, its first, or v3, its third
beside: bool = True  # draw the runs of the other version's settings too
losses: dict = None  # data sets, and the training losses at which each is measured; None: the version's
learning_rates: list = None  # each constant throughout training; None: the version's
network: str = None  # fully connected, widths of the hidden layers, fc-500-300-100; None: the version's
optimizer: str = "adam"  # adam or sgd
batch_size: int = 32  # examples in a step
seeds: int = 5  # runs at each rate, with seeds 0, 1, ...: initialisation, order of the data
train_size: int = None  # training examples, class-balanced; None is all of them
unit_length: bool = False  # scale each input to length 1, as v3 does
probe_size: int = 500  # validation examples whose pairs are measured
max_steps: int = None  # a run that has not reached its losses by then ends without them; None: the version's

# %% tags=["hide-input"]
from stiffness_book import charts, claims, figures, page, published, summaries, texts

parameters = page.start()
versions = figures.at_equal_loss(**parameters)
found = {version: page.runs(experiments, "dataset", "learning_rate") for version, experiments in versions.items()}
table, provenance = found[setting]
stops = summaries.stops(table, figures.losses_of(versions[setting]))
verdict = claims.higher_rate_is_stiffer(table, 8)
page.answer(texts.stiffer_at_a_tenfold_rate(table), verdict)

# %% [markdown]
# ## Stiffness against the rate
#
# There is a line for each training loss; the bands are 95 % intervals over the runs. Switch from the sign, which the
# claim is about, to the cosine, which also measures how strongly two images help each other. The paper's own lines are
# dashed; what its bands mean is not told, and they are left out.

# %% tags=["hide-input"]
page.show(charts.stiffness_against_rate(table, stops, title="Stiffness between classes",
                                        paper=published.stiffness_by_rate()), "Figure 8a",
          "Stiffness between classes against the learning rate, at equal training loss, beside the paper's.")

# %% tags=["hide-input"]
page.say(texts.lines_beside_the_paper(table))

# %% [markdown]
# ## What is measured
#
# The chart shows between-class stiffness, the mean of all entries off the diagonal of the
# [class stiffness matrix](../book/theory.md), over pairs of validation images. The paper claims that a higher learning
# rate gives a higher between-class stiffness, on both data sets and at each of three losses (C6). It interprets this as
# a regularising effect of the learning rate: what is learnt in large steps is useful to more classes.

# %% [markdown]
# ## Where the runs were stopped
#
# At regular intervals during training, the loss is measured on a fixed set of training images. The first measurement at
# or below the target counts, so the measured loss is at most the target.

# %% tags=["hide-input"]
page.say(
    texts.loss_checks(versions[setting][0]),
    texts.where_runs_stopped(stops, seeds),
    texts.not_reached(stops, seeds))

# %% [markdown]
# ## What was found

# %% tags=["hide-input"]
page.say(texts.stiffest_rates(table), texts.rate_against_loss(table), texts.slopes_by_cosine(table))
page.found(verdict)

# %% [markdown]
# ## With the other version's settings

# %% tags=["hide-input"]
page.say(texts.beside(versions))
for version in list(versions)[1:]:
    other, _ = found[version]
    page.show(charts.stiffness_against_rate(other, summaries.stops(other, figures.losses_of(versions[version])),
                                            title="Stiffness between classes"), "Figure 8b",
              "The same with the other version's settings.")
    page.say(texts.stiffest_rates(other))

# %% [markdown]
# ## One pair of images
#
# What is measured, on two handwritten digits and this page's network before training: `gradient_gram` gives the inner
# product of the two loss gradients, and its sign and cosine are the stiffness of the pair. Then comes the
# same by definition, with `tf.GradientTape`.

# %%
import keras
import numpy as np
import tensorflow as tf

from stiffness import gradient_gram

model, x, y = page.two_images(versions[setting][0].network)
gram = gradient_gram(model, x, y)
print(f"library:    product {gram.products[0, 1]:.2f}, sign {gram.sign()[0, 1]:+.0f}, cosine {gram.cosine()[0, 1]:.2f}")

with tf.GradientTape() as tape:
    losses = keras.losses.sparse_categorical_crossentropy(y, model(x), from_logits=True)
parts = tape.jacobian(losses, [weight.value for weight in model.trainable_weights])
g1, g2 = (np.concatenate([np.ravel(part[i]) for part in parts]) for i in (0, 1))
product, norms = g1 @ g2, np.linalg.norm(g1) * np.linalg.norm(g2)
print(f"definition: product {product:.2f}, sign {np.sign(product):+.0f}, cosine {product / norms:.2f}")

# %% [markdown]
# ## The runs
#
# The settings are under *Parameters*, near the top. [Figure 9](fig09_distance.ipynb) and
# [Figure 10](fig10_domain_size.ipynb) use the same runs.

# %% tags=["hide-input"]
page.say(texts.protocol(8, provenance, **figures.compared(versions[setting])))

# %% tags=["hide-input"]
for _, provenance in found.values():
    page.summary(provenance)
