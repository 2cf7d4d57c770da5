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
# **What this page shows.** A network that is trained for a long time on few images memorises them: its loss on these
# images keeps falling while its loss on other images rises again. This is over-fitting. What happens to stiffness,
# measured on images that the network has never trained on?

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Parameters", "code_prompt_hide": "Parameters"}
datasets: list = ["mnist", "fashion_mnist"]  # or digits, which needs no download
train_size: int = 1000  # training examples, class-balanced: few enough to be memorised
network: str = "fc-500-300-100"  # fully connected, widths of the hidden layers; v3's. v1's: fc-400-200-200-200-200-200
optimizer: str = "adam"  # adam or sgd
learning_rate: float = 0.001  # constant throughout training
batch_size: int = 32  # examples in a step
seeds: int = 5  # runs, with seeds 0, 1, ...: initialisation, training examples, order of the data
unit_length: bool = False  # scale each input to length 1, as v3 does
probe_size: int = 500  # validation examples whose pairs are measured
stages: list = [0, 10, 30, 60, 100, 200, 300, 600, 1000, 2000, 3000, 6000, 10000, 20000]  # steps at which to measure

# %% tags=["hide-input"]
from string import ascii_lowercase

from stiffness_book import charts, claims, figures, page, summaries, texts
from stiffness_book.words import name_of

parameters = page.start()
table, provenance = page.runs(figures.fig02(**parameters), "dataset")
tables = {dataset: table[table["dataset"] == dataset] for dataset in map(name_of, datasets)}
marks = {dataset: (summaries.onset(rows), "lowest validation loss") for dataset, rows in tables.items()}
verdict = claims.overfitting_loses_stiffness(table)
page.answer(texts.rounding_or_over_fitting(tables), verdict)

# %% [markdown]
# ## Stiffness and losses through training
#
# The vertical line marks the onset of over-fitting. The paper marks the point where the two losses separate; here it is
# the stage with the lowest mean validation loss, which can be computed. The bands are 95 % intervals over the runs.

# %% tags=["hide-input"]
figure = (f"Figure 2{letter}" for letter in ascii_lowercase)
for dataset, rows in tables.items():
    page.show(charts.stiffness_evolution(rows, title=["Stiffness through training", dataset], mark=marks[dataset]),
              next(figure), f"Stiffness within and between classes on {dataset}, through long training.")
    page.show(charts.loss_evolution(rows, title=["Losses", dataset], mark=marks[dataset]),
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
for dataset, rows in tables.items():
    page.say(texts.losses_at_the_onset(dataset, rows), texts.stiffness_after_the_onset(rows))
page.found(verdict)
page.say(texts.negative_at_the_onset(tables))

# %% [markdown]
# In convolutional networks sign stiffness within classes does fall, as [Figure 6](fig06_class_stiffness_cifar10.ipynb)
# and [Figure 7](fig07_super_classes.ipynb) show. For many pairs there, the layers below the last one outweigh it;
# [the method page](../book/method.md) explains why nothing else can make the sign negative.

# %% [markdown]
# ## The effect of rounding
#
# A network that has memorised its images is very confident, also about images that it has not seen. Its gradients are
# proportional to $p - 1$, where $p$ is the probability of the correct class. When $p$ is closer to 1 than single
# precision can resolve, the computed $p - 1$ is a rounding error: 0, or one or two units in the last digit, of either
# sign. The numbers above do not have this flaw, as the [method page](../book/method.md) explains. Below they are
# compared with signs that do have it, from the same networks and the same images. [Another page](float32.ipynb) does so
# at the paper's own length of training.

# %% tags=["hide-input"]
for dataset, rows in tables.items():
    page.show(charts.precision_evolution(rows, title=["Sign stiffness", dataset], mark=marks[dataset]),
              next(figure), f"Sign stiffness on {dataset}, exact and with the loss in single precision.")

# %% tags=["hide-input"]
page.say(*(texts.lowest_in_single_precision(dataset, rows) for dataset, rows in tables.items()))
page.front("rounding", texts.rounding_or_over_fitting(tables))
flawed = claims.overfitting_loses_stiffness(summaries.in_single_precision(table))
page.say(f"By the rule above, claim C3 would be judged *{flawed.verdict}* in single precision: {flawed.measured}.")

# %% [markdown]
# ## One pair of images
#
# What is measured, on two handwritten digits and this page's network before training: `gradient_gram` gives the inner
# product of the two loss gradients, and its sign and cosine are the stiffness of the pair. Below it stands the
# definition, with `tf.GradientTape`.

# %%
import keras
import numpy as np
import tensorflow as tf

from stiffness import gradient_gram

model, x, y = page.two_images(network)
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
# The first folded cell above contains this page's parameters. More training examples delay the onset:
#
# ```sh
# papermill notebooks/fig02_overfitting.ipynb out.ipynb -p train_size 5000
# ```

# %% tags=["hide-input"]
page.summary(provenance)
