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
# # How many images are enough?
#
# **What this page shows.** Stiffness is measured on a small sample, the *probe set*: here 500 validation images where
# there are 10 classes, 3,000 where there are 100, as in the third version of the paper. The first version speaks of
# about 150 and 1,000. Its authors state that this is enough (C12a, C12b), without showing how they know. Other images
# would have given other numbers: how different would they be?

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Parameters", "code_prompt_hide": "Parameters"}
data_sets: dict = {  # for each: number of runs (seeds 0, 1, ...), probe images, and network and steps or a figure's
    "mnist": {"like": "class stiffness", "seeds": 5, "probe_size": 500},  # the runs of Figure 3
    "cifar100": {"like": "super-classes", "seeds": 5, "probe_size": 3000},  # the runs of Figure 7
}

# %% tags=["hide-input"]
import pandas as pd

from stiffness_book import charts, claims, figures, page, summaries, sweep, texts
from stiffness_book.words import named

parameters = page.start()
experiments = figures.probe_images(**parameters)
sweep.compute_missing([run for runs in experiments.values() for run in runs])  # side by side
tables, provenances = {}, {}
for name, runs in named(experiments).items():
    tables[name], provenances[name] = page.runs(runs)
errors = pd.concat([summaries.probe_errors(table).assign(data=name) for name, table in tables.items()])
verdicts = claims.probe_images_suffice(tables), claims.first_probe_sets_suffice(tables)
page.answer(f"**Are 500 images enough?** With them, or with 3,000 where there are 100 classes, the error is below "
            f"{claims.SMALL} in {verdicts[0].count} cases.", *verdicts)

# %% [markdown]
# ## The error against the number of images
#
# The chart shows half the width of the 95 % interval, 1.96 standard errors, for parts of the probe set and for the
# whole set. For each size it shows the largest error at any stage of any run, if it is not 0. If errors fell as one
# over the square root of the number of images, they would follow the lines, which go through the last points. The sign
# within classes need not do so: for MNIST it is +1 for nearly all pairs, whatever the images. Switch from the sign to
# the cosine.

# %% tags=["hide-input"]
page.show(charts.probe_error_curves(errors, (claims.SMALL, "small: below this line"),
                                    title="Error from the choice of images"), "Chart 1",
          "Half the 95 % interval of stiffness that the choice of probe images gives, against their number.")

# %% [markdown]
# ## What is measured
#
# The sample itself gives the answer. If one image is left out, the number changes a little; the sizes of these changes,
# over all images, give its standard error. (This is the jackknife, applied class by class because the sample is drawn
# that way. Pairs share images, so they must not be counted as independent measurements.)
#
# The runs are those of [Figure 3](fig03_class_stiffness_mnist.ipynb) and [Figure 7](fig07_super_classes.ipynb).

# %% [markdown]
# ## Against the spread over seeds
#
# The intervals elsewhere in this book are over seeds, with the same images. Would other images have changed the numbers
# more than another seed does? Both columns are standard deviations of the sign stiffness of one run, as root mean
# squares over the stages: one due to the choice of images, the other due to the seed.

# %% tags=["hide-input"]
spread, images_matter_more = texts.images_against_seeds(tables)
page.say(spread)

# %% [markdown]
# ## What was found

# %% tags=["hide-input"]
for verdict in verdicts:
    page.found(verdict)
page.say(
    f"{images_matter_more} An interval over seeds does not contain what the choice of images does, as all runs are "
    "measured on the same ones.")

# %% [markdown]
# ## One pair of images
#
# What is measured, on two handwritten digits and the network of Figure 3 before training: `gradient_gram` gives the
# inner product of the two loss gradients, and its sign and cosine are the stiffness of the pair. Then comes the
# same by definition, with `tf.GradientTape`.

# %%
import keras
import numpy as np
import tensorflow as tf

from stiffness import gradient_gram

model, x, y = page.two_images(next(iter(experiments.values()))[0].network)
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
# The settings are under *Parameters*, near the top.

# %% tags=["hide-input"]
for provenance in provenances.values():
    page.summary(provenance)
