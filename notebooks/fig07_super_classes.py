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
# **What this page shows.** CIFAR-100 has 100 classes of photographs, which its authors grouped into 20 *super-classes*
# of five: beaver, dolphin, otter, seal and whale are aquatic mammals. A convolutional network learns the 100 classes
# and has no information about the 20. Does a step that helps the dolphins help the whales more than the tractors?

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Parameters", "code_prompt_hide": "Parameters"}
dataset: str = "cifar100"  # or digits, which needs no download, with super_classes and living
network: str = None  # 3x3 convolutions, their channels, each pooled, cnn-32-64-128-256; None: the first version's
optimizer: str = "adam"  # adam or sgd
learning_rate: float = 0.001  # constant throughout training
batch_size: int = 32  # examples in a step
seeds: int = 5  # runs, with seeds 0, 1, ...: initialisation, order of the data
train_size: int = None  # training examples, class-balanced; None is all of them
unit_length: bool = False  # scale each input to length 1, as v3 does
probe_size: int = 3000  # validation examples whose pairs are measured
nested_probes: list = None  # smaller probe sets, each within the one before; None: of 1,000 and 300, the paper's
stages: list = None  # steps at which to measure; None: 0, 100, 300, 1000, 2000, 4000 and 9000
shown_stage: int = 1000  # the stage that is shown first
super_classes: list = None  # the super-class of each class; None is the data set's own
living: list = None  # the super-classes on one side of the coarsest division; None is CIFAR-100's living ones

# %% tags=["hide-input"]
from stiffness_book import blocks, charts, claims, figures, page, published, texts
from stiffness_book.words import name_of

parameters = page.start()
experiments = figures.super_classes(**parameters)
network, stages = experiments[0].network, experiments[0].stages
table, provenance = page.runs(experiments)
class_names = provenance["class_names"][0]
super_classes = super_classes or provenance["super_classes"][0]
living = living or blocks.LIVING
matrices, arrangements = blocks.arrangements(table, class_names, super_classes, living)
tested = blocks.through_training(table, super_classes, living)
by_sign = blocks.stages(tested)
agreement = blocks.agreement(table, super_classes)
verdicts = [claims.super_class_blocks(tested, provenance["split_sizes"][0]["train"] // batch_size),
            claims.super_classes_appear_and_fade(tested), claims.overfitting_loses_stiffness_of_cnns(table)]
page.answer(texts.super_classes_help_more(by_sign), *verdicts)

# %% [markdown]
# ## The matrix
#
# Each cell is a pair of classes: blue if they help each other, red if they harm each other. Values are means over the
# runs. Choose the order of the classes: by super-class (outlined); with living things before non-living ones; or as a
# hierarchical clustering finds it in the matrix itself, without information about super-classes. Each cluster of three
# or more classes is labelled with the super-class that has the most classes in it. Point at a cell to see its classes.

# %% tags=["hide-input"]
chart = charts.matrix_orders(
    matrices, arrangements, class_names, super_classes, step=shown_stage,
    title=["Class stiffness", name_of(dataset)],
    description=f"The class stiffness matrix of a {network} network on {name_of(dataset)}, {len(class_names)} classes "
    f"square, at each of {len(stages)} stages chosen by a slider. The sign stiffness of two classes of one super-class "
    f"exceeds that of two others by {texts.differences_in_words(by_sign)}.",
)
page.show(chart, "Figure 7a",
          "Class stiffness of all pairs of classes, in an order of your choice, at every measured stage.")

# %% [markdown]
# ## Beside the paper
#
# The paper's Figure 7 has one stage, early in training. Here its matrix and that of this book's runs are averaged over
# the classes of each two super-classes: on the diagonal over the pairs of different classes of one super-class.

# %% tags=["hide-input"]
if dataset == published.DATA[7]:
    images, ours, theirs = blocks.beside_the_paper(table)
    both = [blocks.of_groups(C, super_classes) for C in (ours.mean(axis=0), theirs)]
    names = [name.replace("_", " ") for name in sorted(set(super_classes))]
    chart = charts.matrices_beside({f"{images:,} images": both}, names,
                                   title=["Super-classes (sign)", name_of(dataset)],
                                   of=f"the network {network} on {name_of(dataset)}, by super-class")
    page.show(chart, "Figure 7b",
              "Stiffness between super-classes: this book's runs above, the paper's matrix below.")
    page.say(texts.super_classes_beside_the_paper(images, ours, theirs, super_classes))

# %% [markdown]
# ## What is measured
#
# If classes of one super-class help each other more, the [class stiffness matrix](../book/theory.md), with these
# classes next to each other, has blocks along its diagonal. The paper shows such blocks early in training, and its
# third version also shows two large ones, of living and of non-living things (C5). It leaves open when the blocks
# appear and when they fade (C15).

# %% [markdown]
# ## Blocks through training
#
# How much more do classes of one super-class help each other? The chart shows the mean stiffness over pairs of classes
# in the same super-class, minus the mean over pairs in different ones. For living and non-living things, pairs within a
# super-class are left out, and pairs on the same side are compared with pairs across. The bands are 95 % intervals over
# the runs.

# %% tags=["hide-input"]
page.show(charts.block_evolution(tested, title=["Differences that make blocks", name_of(dataset)]), "Figure 7c",
          "How much stiffer pairs of classes of one group are than other pairs, through training.")

# %% [markdown]
# Could this be chance? The classes are assigned at random to super-classes of the same sizes, many times, and $p$ is
# the share of these assignments that reach the true difference. The table is for sign stiffness.

# %% tags=["hide-input"]
page.say(texts.block_tests(by_sign))

# %% [markdown]
# ## Clusters found in the matrix
#
# The clustering repeatedly merges the two groups of classes that help each other most on average, until there are as
# many clusters as super-classes. The adjusted Rand index measures how well the two divisions agree: it is 1 for the
# same division, and 0 on average for random ones.

# %% tags=["hide-input"]
page.show(charts.agreement_evolution(agreement, title="Clusters against super-classes"), "Figure 7d",
          "How well the clusters found in the matrix agree with the super-classes, and what chance would give.")

# %% [markdown]
# ## The two summaries, and the losses

# %% tags=["hide-input"]
page.show(charts.stiffness_evolution(table, title=["Stiffness through training", name_of(dataset)]), "Figure 7e",
          "Stiffness within and between classes through training.")

# %% tags=["hide-input"]
page.show(charts.loss_evolution(table, title="The losses of the same runs"), "Figure 7f",
          "Training and validation loss of the same runs.")

# %% [markdown]
# ## What was found

# %% tags=["hide-input"]
page.found(verdicts[0])

# %% [markdown]
# The verdict on living and non-living things depends on what counts as early. One pass over the data is our choice,
# made before the runs. The published training set has more images than these runs had, so its passes are longer.

# %% tags=["hide-input"]
page.found(verdicts[1])
page.found(verdicts[2], "fig07_super_classes")

# %% tags=["hide-input"]
page.say(texts.strongest_super_classes(by_sign, matrices, super_classes, agreement), texts.validation_at_the_end(table))

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
# The settings are under *Parameters*, near the top. Which super-classes count as living is defined in
# `stiffness_book.blocks.LIVING`; the 20 super-classes themselves are those of Krizhevsky,
# *Learning multiple layers of features from tiny images* (2009).

# %% tags=["hide-input"]
page.say(texts.protocol(7, provenance))

# %% tags=["hide-input"]
page.summary(provenance)
