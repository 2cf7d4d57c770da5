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
# # Figure 5: stiffness between classes, Fashion-MNIST
#
# **What this page shows.** [Figure 3](fig03_class_stiffness_mnist.ipynb) on other images: the same networks, the same
# training and the same stages, but photographs of clothes and shoes instead of digits. They are harder to tell apart,
# and some classes look alike: pullovers, coats and shirts; sandals, sneakers and ankle boots.

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Parameters", "code_prompt_hide": "Parameters"}
setting: str = "v1"  # the version of the paper whose settings come first: v1, its first, or v3, its third
beside: bool = True  # draw the runs of the other version's settings too
dataset: str = "fashion_mnist"  # fashion_mnist, or digits, which needs no download
network: str = None  # fully connected, widths of the hidden layers, fc-500-300-100; None: the version's
optimizer: str = "adam"  # adam or sgd
learning_rate: float = 0.001  # constant throughout training
batch_size: int = 32  # examples in a step
seeds: int = 5  # runs, with seeds 0, 1, ...: initialisation, order of the data
train_size: int = None  # training examples, class-balanced; None is all of them
unit_length: bool = False  # scale each input to length 1, as v3 does
probe_size: int = 500  # validation examples whose pairs are measured
stages: list = None  # steps at which to measure; None: the version's

# %% tags=["hide-input"]
from stiffness_book import claims, figures, page, texts
from stiffness_book.class_figure import ClassFigure

parameters = page.start()
versions = figures.class_stiffness(**parameters)
figure, *others = [ClassFigure.of(5, experiments, note=f"network of {version}")
                   for version, experiments in versions.items()]
verdicts = [claims.within_class_positive(figure.table, figure.shown),
            claims.between_classes_grows(figure.table, figure.shown)]
page.answer(texts.help_between_classes(figure.dataset, figure.table), *verdicts)

# %% [markdown]
# ## Beside the paper
#
# Blue is positive, red negative, in the colours of the other figures. Above are the runs of this book, below is the
# paper's own figure.

# %% tags=["hide-input", "full-width"]
page.show(figure.panels(), "Figure 5a", figure.caption)

# %% tags=["hide-input"]
page.say(texts.agreement_with_the_paper(figure.pairs))

# %% [markdown]
# ## What is measured
#
# The paper says that the result is the same on all of its data: the diagonal is positive from the start (C1), and the
# other entries are inconsistent at first and then positive (C2).

# %% [markdown]
# ## Through training

# %% tags=["hide-input"]
page.show(figure.slider(), "Figure 5b",
          "Class stiffness through training, by sign or by cosine.")

# %% [markdown]
# ## The two summaries, and the losses

# %% tags=["hide-input"]
page.show(figure.stiffness(), "Figure 5c", "Stiffness within and between classes through training.")

# %% tags=["hide-input"]
page.show(figure.losses(), "Figure 5d", "Training and validation loss of the same runs.")

# %% [markdown]
# ## With the other version's settings

# %% tags=["hide-input"]
page.say(texts.beside(versions))

# %% tags=["hide-input", "full-width"]
for other in others:
    page.show(other.panels(), "Figure 5e", other.caption)
    page.show(other.stiffness(), "Figure 5f", "Stiffness within and between classes of these runs.")

# %% [markdown]
# ## What was found
#
# C1 and C2 are judged by the rules of Figure 3's page.

# %% tags=["hide-input"]
for verdict in verdicts:
    page.found(verdict, "fig05_class_stiffness_fashion")

# %% tags=["hide-input"]
page.say(texts.harmful_pairs(figure.matrices, figure.last))

# %% [markdown]
# Classes that look alike need not help each other. A feature that distinguishes two such classes is evidence for one
# and against the other. Where such features are what is left to learn, a step for one class harms the other.

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

model, x, y = page.two_images(figure.network)
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
page.say(texts.protocol(5, figure.provenance))

# %% tags=["hide-input"]
for shown in (figure, *others):
    page.summary(shown.provenance)
