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
# # Figure 2: stiffness and over-fitting
#
# **What this page shows.** A network that is trained for long enough memorises its images: its loss on them keeps
# falling while its loss on other images rises again. This is over-fitting. What happens to stiffness, measured on
# images that the network has never trained on?

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Parameters", "code_prompt_hide": "Parameters"}
setting: str = "v1"  # the version of the paper whose settings come first: v1, its first, or v3, its third
beside: bool = True  # draw the runs of the other version's settings too
datasets: list = ["mnist", "fashion_mnist"]  # or digits, which needs no download
train_size: int = None  # training examples, class-balanced; None: the version's, for v1 all of them, for v3 1,000
network: str = None  # fully connected, widths of the hidden layers, fc-500-300-100; None: the version's
optimizer: str = "adam"  # adam or sgd
learning_rate: float = 0.001  # constant throughout training
batch_size: int = 32  # examples in a step
seeds: int = 5  # runs, with seeds 0, 1, ...: initialisation, training examples, order of the data
unit_length: bool = False  # scale each input to length 1, as v3 does
probe_size: int = 500  # validation examples whose pairs are measured
stages: list = None  # steps at which to measure; None: the version's

# %% tags=["hide-input"]
from string import ascii_lowercase

import pandas as pd

from stiffness_book import charts, claims, figures, page, published, rounding, summaries, texts
from stiffness_book.words import name_of

parameters = page.start()
versions = figures.long_training(**parameters)
tables, provenances = {}, {}
for version, experiments in versions.items():
    table, provenances[version] = page.runs(experiments, "dataset")
    table = table[table["target_loss"].isna()]
    tables[version] = {dataset: table[table["dataset"] == dataset] for dataset in map(name_of, datasets)}
runs = tables[setting]
marks = {dataset: (summaries.onset(rows), "lowest validation loss") for dataset, rows in runs.items()}
together = pd.concat(runs.values())
verdict = claims.overfitting_loses_stiffness(together)
page.answer(texts.rounding_or_over_fitting(runs), verdict)

# %% [markdown]
# ## Beside the paper
#
# The paper's Figure 2 has three images a class, and counts each image also as a pair with itself, as
# [its own numbers say](how_made.ipynb). So do the curves of this book in this chart, once without rounding, and once
# from the loss in single precision.

# %% tags=["hide-input"]
figure = (f"Figure 2{letter}" for letter in ascii_lowercase)
for dataset, rows in runs.items():
    found = rounding.curves(rows, published.FIGURE_2_IMAGES)
    found = found[found["arithmetic"].isin([rounding.EXACT, "float32"])]
    if len(found):
        paper = rounding.published_curves(dataset)
        page.show(charts.arithmetic_evolution(found, paper, rounding.WORDS,
                                              title=["Sign stiffness through training", dataset]), next(figure),
                  f"Sign stiffness on {dataset}, without rounding and with it{', and the paper’s' * bool(len(paper))}.")

# %% [markdown]
# ## Stiffness and losses through training
#
# The same networks, measured on more images and without the pairs of an image with itself. The vertical line marks the
# onset of over-fitting: the stage with the lowest mean validation loss. The paper marks the point where the two losses
# separate. The bands are 95 % intervals over the runs.

# %% tags=["hide-input"]
for dataset, rows in runs.items():
    page.show(charts.stiffness_evolution(rows, title=["Stiffness through training", dataset], mark=marks[dataset]),
              next(figure), f"Stiffness within and between classes on {dataset}, through long training.")
    page.show(charts.loss_evolution(rows, title=["Losses", dataset], mark=marks[dataset],
                                    paper=rounding.published_losses(dataset) if setting == "v1" else None),
              next(figure), f"Training and validation loss of the same runs on {dataset}.")

# %% [markdown]
# ## What is measured
#
# The charts show the two losses and the two summaries of the [class stiffness matrix](../book/theory.md): stiffness
# *within classes* and *between* them. The paper claims that when over-fitting begins, stiffness within classes falls
# towards 0, while stiffness between classes first stays constant and then falls towards 0 too (C3).

# %% [markdown]
# ## What was found

# %% tags=["hide-input"]
for dataset, rows in runs.items():
    page.say(texts.losses_at_the_onset(dataset, rows), texts.stiffness_after_the_onset(rows))
page.found(verdict)
page.say(texts.negative_at_the_onset(runs))

# %% [markdown]
# In convolutional networks sign stiffness within classes does fall, as [Figure 6](fig06_class_stiffness_cifar10.ipynb)
# and [Figure 7](fig07_super_classes.ipynb) show. For many pairs there, what the layers below contribute outweighs the
# last layer, whose contribution is always positive within a class ([why](../book/method.md)).

# %% [markdown]
# ## The effect of rounding
#
# A network that has memorised its images is very confident, also about images that it has not seen. The gradient of the
# loss at the logit of the correct class is $p - 1$, where $p$ is that class's probability. When $p$ is closer to 1 than
# single precision can resolve, the computed $p - 1$ is a rounding error: 0, or one or two units in the last digit, of
# either sign. The numbers above do not have this flaw, as the [method page](../book/method.md) explains. Below they are
# compared with signs that do have it, from the same networks and the same images. [Another page](float32.ipynb) asks
# what more there is to it.

# %% tags=["hide-input"]
for dataset, rows in runs.items():
    page.show(charts.precision_evolution(rows, title=["Sign stiffness", dataset], mark=marks[dataset]),
              next(figure), f"Sign stiffness on {dataset}, exact and with the loss in single precision.")

# %% tags=["hide-input"]
page.say(*(texts.lowest_in_single_precision(dataset, rows) for dataset, rows in runs.items()))
page.front("rounding", texts.rounding_or_over_fitting(runs))
flawed = claims.overfitting_loses_stiffness(summaries.in_single_precision(together))
page.say(texts.verdicts_beside(verdict, flawed))

# %% [markdown]
# ## With the other version's settings

# %% tags=["hide-input"]
page.say(texts.beside(versions))
for version in list(versions)[1:]:
    for dataset, rows in tables[version].items():
        mark = summaries.onset(rows), "lowest validation loss"
        page.show(charts.precision_evolution(rows, title=["Sign stiffness", dataset], mark=mark),
                  next(figure), f"Sign stiffness on {dataset} with the other version's settings.")
    page.say(texts.rounding_or_over_fitting(tables[version]))

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
# The settings are under *Parameters*, near the top. More training examples delay the onset:
#
# ```sh
# papermill notebooks/fig02_overfitting.ipynb out.ipynb -p setting v3 -p beside false -p train_size 5000
# ```

# %% tags=["hide-input"]
page.say(texts.protocol(2, provenances[setting]))

# %% tags=["hide-input"]
for provenance in provenances.values():
    page.summary(provenance)
