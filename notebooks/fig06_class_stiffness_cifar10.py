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
# # Figure 6: stiffness between classes, CIFAR-10
#
# **What this page shows.** The question of [Figure 3](fig03_class_stiffness_mnist.ipynb), asked of photographs: does a
# small gradient step on an image of one class lower the loss on an image of another? The network is now the
# convolutional one of the paper's first version. Its small filters slide over the image, so that what it learns in one
# place applies everywhere. Stiffness is measured on validation images, as before.

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Parameters", "code_prompt_hide": "Parameters"}
setting: str = "v1"  # the version of the paper whose settings come first: v1, its first, or v3, its third
beside: bool = True  # draw the runs of the other version's settings too
dataset: str = "cifar10"  # cifar10, or digits, which needs no download
network: str = None  # 3x3 convolutions, their channels, each pooled, cnn-32-64-128-256; None: the version's
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
versions = figures.convolutional(**parameters)
figure, *others = [ClassFigure.of(6, experiments, note=f"network of {version}")
                   for version, experiments in versions.items()]
verdicts = [claims.within_class_positive(figure.table, figure.shown),
            claims.between_classes_grows(figure.table, figure.shown),
            claims.overfitting_loses_stiffness_of_cnns(figure.table, figure.shown)]
page.answer(texts.help_between_classes(figure.dataset, figure.table), *verdicts)

# %% [markdown]
# ## Beside the paper
#
# Blue is positive, red negative, in the colours of the other figures. Above are the runs of this book, below is the
# paper's own figure.

# %% tags=["hide-input", "full-width"]
page.show(figure.panels(), "Figure 6a", figure.caption)

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
page.show(figure.slider(), "Figure 6b",
          "Class stiffness through training, by sign or by cosine.")

# %% [markdown]
# ## The two summaries, and the losses

# %% tags=["hide-input"]
page.show(figure.stiffness(), "Figure 6c", "Stiffness within and between classes through training.")

# %% tags=["hide-input"]
page.show(figure.losses(), "Figure 6d", "Training and validation loss of the same runs.")

# %% [markdown]
# ## With the other version's settings

# %% tags=["hide-input"]
page.say(texts.beside(versions))

# %% tags=["hide-input", "full-width"]
for other in others:
    page.show(other.panels(), "Figure 6e", other.caption)
    page.show(other.stiffness(), "Figure 6f", "Stiffness within and between classes of these runs.")

# %% [markdown]
# ## What was found
#
# C1 and C2 are judged by the rules of Figure 3's page.

# %% tags=["hide-input"]
for verdict in verdicts:
    page.found(verdict, "fig06_class_stiffness_cifar10")

# %% tags=["hide-input"]
page.say(
    texts.three_stages(figure.table) + " Whether over-fitting makes it fall (C3) is the question of "
    "[Figure 2](fig02_overfitting.ipynb).",
    texts.extreme_pairs(figure.matrices, figure.last))

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
page.say(texts.protocol(6, figure.provenance))

# %% tags=["hide-input"]
for shown in (figure, *others):
    page.summary(shown.provenance)
