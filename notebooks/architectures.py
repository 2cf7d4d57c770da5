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
# # Locality and stiffness: convolutional against fully connected networks
#
# **What this page shows.** The paper closes with an expectation that it does not test: a convolutional network, whose
# filters cover a small part of the image at a time, should be stiffer than a fully connected one (C14). Here both kinds
# learn the same photographs, CIFAR-10, and are stopped at the same *training loss*, so that no network is ahead of the
# others on the images that it learns. Stiffness is then measured on validation images, where they may differ.

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Parameters", "code_prompt_hide": "Parameters"}
dataset: str = "cifar10"  # cifar10, or digits, which needs no download
convolutional: list = ["cnn-32-64-128-256", "cnn-16-32-32"]  # 3x3 convolutions, each pooled: v1's, v3's
connected: list = ["fc-400-200-200-200-200-200", "fc-500-300-100"]  # compared with these: v1's, v3's
optimizer: str = "adam"  # adam or sgd
learning_rate: float = 0.001  # constant throughout training
batch_size: int = 32  # examples in a step
seeds: int = 5  # runs of each network, with seeds 0, 1, ...: initialisation, order of the data
train_size: int = None  # training examples, class-balanced; None is all of them
unit_length: bool = False  # scale each input to length 1, as v3 does
probe_size: int = 500  # validation examples whose pairs are measured
stage_losses: list = [1.5, 1.25, 1.0]  # the training losses at which networks are compared, largest first
max_steps: int = 30000  # where a loss that is not reached is given up

# %% tags=["hide-input"]
from stiffness_book import charts, claims, figures, page, summaries, texts
from stiffness_book.words import name_of

parameters = page.start()
table, provenance = page.runs(figures.architectures(**parameters), "network")
networks, pairs = convolutional + connected, list(zip(convolutional, connected))
verdict = claims.locality_stiffens(table, pairs)
differences = summaries.network_differences(table, pairs)
page.answer(texts.convolutional_is_stiffer(differences), verdict)

# %% [markdown]
# ## Stiffness at equal training loss
#
# Points are means over the runs with their 95 % intervals, before training and at each loss. Where a network has no
# point, none of its runs reached the loss.

# %% tags=["hide-input"]
chart = charts.network_stiffness_points(table, networks, "within_class", title=["Within classes", name_of(dataset)])
page.show(chart, "Chart 1", "Stiffness within classes of four networks at equal training loss.")

# %% tags=["hide-input"]
chart = charts.network_stiffness_points(table, networks, "between_classes", title=["Between classes", name_of(dataset)])
page.show(chart, "Chart 2", "Stiffness between classes of the same networks.")

# %% [markdown]
# ## What is measured
#
# There are four networks, two of each version of the paper. The convolutional network of its first version has 32, 64,
# 128 and 256 filters, the fully connected one a hidden layer of 400 units and five of 200. Those of its third version
# have 16, 32 and 32 filters, and hidden layers of 500, 300 and 100 units.

# %% [markdown]
# ## The differences
#
# The stiffness of each convolutional network minus that of the fully connected network of the same version of the
# paper, with Welch's 95 % intervals. To the right of the dotted line the convolutional network is the stiffer one.

# %% tags=["hide-input"]
if differences["low"].notna().any():
    page.show(charts.network_difference_points(differences, networks, title="Convolutional minus fully connected"),
              "Chart 3", "The stiffness of a convolutional network minus that of a fully connected one, at equal loss.")
else:
    page.say("No loss was reached by two runs or more of both networks, so there is nothing to compare.")

# %% [markdown]
# ## When the losses were reached

# %% tags=["hide-input"]
page.say(texts.where_networks_stopped(table, networks, stage_losses, seeds))

# %% [markdown]
# The loss is measured at regular intervals, and the first measurement at or below the target counts, so the measured
# loss is a little below the target.

# %% [markdown]
# ## What was found

# %% tags=["hide-input"]
page.found(verdict)
page.say(
    texts.networks_that_fell_short(table, networks, stage_losses, seeds),
    texts.convolutional_by_cosine(differences),
    texts.ceiling_of_the_sign(table, connected) + " [The method page](../book/method.md) says why +1 is to be expected "
    "there.")

# %% [markdown]
# Convolutional networks are not only local. They also use the same weights everywhere, have pooling layers, and have a
# different total number of weights; the comparison cannot tell which of these causes the difference.

# %% [markdown]
# ## One pair of images
#
# What is measured, on two handwritten digits and the first convolutional network before training: `gradient_gram` gives
# the inner product of the two loss gradients, and its sign and cosine are the stiffness of the pair. Then comes
# the same by definition, with `tf.GradientTape`.

# %%
import keras
import numpy as np
import tensorflow as tf

from stiffness import gradient_gram

model, x, y = page.two_images(convolutional[0])
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
page.summary(provenance)
