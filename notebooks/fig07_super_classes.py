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
# # Figure 7: super-classes, CIFAR-100
#
# **What this page shows.** CIFAR-100 has 100 classes of photographs, which its authors sorted into 20 *super-classes*
# of five: the beaver, the dolphin, the otter, the seal and the whale are aquatic mammals. A convolutional network
# learns the 100 classes and is told nothing of the 20. Does a step that helps the dolphins help the whales more than
# it helps the tractors?
#
# If so, the [class stiffness matrix](../book/theory.md), with the classes of a super-class next to each other, has
# blocks along its diagonal. The paper shows such blocks early in training, and its third version also two large ones,
# of the living and of the non-living (C5). When they appear and when they fade is a question that it leaves open (C15).

# %% tags=["parameters", "hide-input"]
dataset: str = "cifar100"  # or digits, which needs no download, with super_classes and living
network: str = "cnn-32-64-128-256"  # 3x3 convolutions, their channels, each pooled; v1's. v3's: cnn-16-32-32
optimizer: str = "adam"  # adam or sgd
learning_rate: float = 0.001  # constant throughout training
batch_size: int = 32  # examples in a step
seeds: int = 3  # runs, with seeds 0, 1, ...: initialisation, order of the data
train_size: int = None  # training examples, class-balanced; None is all of them
unit_length: bool = False  # scale each input to length 1, as v3 does
probe_size: int = 3000  # validation examples whose pairs are measured
stages: list = [0, 100, 300, 1000, 2000, 4000, 9000]  # steps at which to measure
shown_stage: int = 1000  # the stage that is shown first
super_classes: list = None  # the super-class of each class; None is the data set's own
living: list = None  # the super-classes on one side of the coarsest division; None is CIFAR-100's living ones

# %% tags=["hide-input"]
from stiffness_book import blocks, charts, claims, figures, page, texts

parameters = page.start()
table, provenance = page.runs(figures.fig07(**parameters))
class_names = provenance["class_names"][0]
super_classes = super_classes or provenance["super_classes"][0]
living = living or blocks.LIVING
matrices, arrangements = blocks.arrangements(table, class_names, super_classes, living)
tested = blocks.through_training(table, super_classes, living)
by_sign = blocks.stages(tested)
agreement = blocks.agreement(table, super_classes)

# %% [markdown]
# ## The matrix
#
# Each of its cells is a pair of classes: blue where they help each other, red where they harm each other, the mean
# over the runs. Choose the order of the classes: by super-class (outlined); with the living before the non-living; or
# as a hierarchical clustering finds it in the matrix itself, told nothing of super-classes. Each of its clusters of
# three classes or more is named by the super-class that has most classes in it. Point at a cell for its classes.

# %% tags=["hide-input"]
charts.matrix_orders(
    matrices, arrangements, class_names, super_classes, step=shown_stage,
    title=["Figure 7. Class stiffness", dataset],
    description=f"The class stiffness matrix of a {network} network on {dataset}, {len(class_names)} classes square, "
    f"at each of {len(stages)} stages chosen by a slider. The sign stiffness of two classes of one super-class exceeds "
    f"that of two others by {texts.differences_in_words(by_sign)}.",
)

# %% [markdown]
# ## Blocks through training
#
# How much more do classes of one super-class help each other? Drawn is the mean stiffness over pairs of two
# classes in one super-class, minus that over pairs in different ones. For the living and the
# non-living, pairs within a super-class do not count, and the difference is between pairs on one side and pairs across.
# Bands are 95 % intervals over the runs.

# %% tags=["hide-input"]
charts.block_evolution(tested, title=["Differences that make blocks", dataset])

# %% [markdown]
# Could it be chance? The classes are dealt out anew, at random, to super-classes of the same sizes, many times over,
# and $p$ is the share of these that reach the true difference. The table is by sign stiffness.

# %% tags=["hide-input"]
page.say(texts.block_tests(by_sign))

# %% [markdown]
# ## Found without being told
#
# The clustering joins the classes, or groups of them, that help each other most on average, until as many clusters are
# left as there are super-classes. The adjusted Rand index says how far the two divisions agree: 1 is the same
# division, and random ones have 0 on average.

# %% tags=["hide-input"]
charts.agreement_evolution(agreement, title="Clusters against super-classes")

# %% [markdown]
# ## The two summaries, and the losses

# %% tags=["hide-input"]
charts.stiffness_evolution(table, title=["Stiffness through training", dataset])

# %% tags=["hide-input"]
charts.loss_evolution(table, title="The losses of the same runs")

# %% [markdown]
# ## What was found

# %% tags=["hide-input"]
page.found(claims.super_class_blocks(tested, provenance["split_sizes"][0]["train"] // batch_size))

# %% [markdown]
# What counts as early decides on the living and the non-living. A pass over the data is a choice of ours, made before
# the runs; the published training set has more images than these runs had, and longer passes.

# %% tags=["hide-input"]
page.found(claims.super_classes_appear_and_fade(tested))

# %% tags=["hide-input"]
page.say(texts.strongest_super_classes(by_sign, matrices, super_classes, agreement), texts.validation_at_the_end(table))

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
print(f"product {gram.products[0, 1]:.2f}, sign {gram.sign()[0, 1]:.0f}, cosine {gram.cosine()[0, 1]:.2f}")

with tf.GradientTape() as tape:
    losses = keras.losses.sparse_categorical_crossentropy(y, model(x), from_logits=True)
parts = tape.jacobian(losses, [weight.value for weight in model.trainable_weights])
g1, g2 = (np.concatenate([np.ravel(part[i]) for part in parts]) for i in (0, 1))
product, norms = g1 @ g2, np.linalg.norm(g1) * np.linalg.norm(g2)
print(f"product {product:.2f}, sign {np.sign(product):.0f}, cosine {product / norms:.2f}")

# %% [markdown]
# ## The runs
#
# The first folded cell above holds this page's parameters. Which super-classes count as living is written down
# once, in `stiffness_book.blocks.LIVING`; the 20 super-classes themselves are those of Krizhevsky,
# *Learning multiple layers of features from tiny images* (2009).

# %% tags=["hide-input"]
page.summary(provenance)
