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
# # Figure 4: the same with permuted labels
#
# **What this page shows.** The network, the images and the training of [Figure 3](fig03_class_stiffness_mnist.ipynb),
# with one change: before training, the labels of the training images are permuted at random. What the network learns
# about one image then tells it nothing about another, so there is nothing general to learn. What happens to stiffness?

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Parameters", "code_prompt_hide": "Parameters"}
setting: str = "v1"  # the version of the paper whose settings come first: v1, its first, or v3, its third
beside: bool = True  # draw the runs of the other version's settings too
dataset: str = "mnist"  # mnist, fashion_mnist, or digits, which needs no download
network: str = None  # fully connected, widths of the hidden layers, fc-500-300-100; None: the version's
optimizer: str = "adam"  # adam or sgd
learning_rate: float = 0.001  # constant throughout training
batch_size: int = 32  # examples in a step
seeds: int = 5  # runs, with seeds 0, 1, ...: initialisation, order of the data, permutation of the labels
train_size: int = None  # training examples, class-balanced; None is all of them
unit_length: bool = False  # scale each input to length 1, as v3 does
probe_size: int = 500  # validation examples whose pairs are measured
stages: list = None  # steps at which to measure; None: the version's
permuted_fraction: float = 1.0  # share of the training labels that is permuted; 0 draws Figure 3
memorising_train_size: int = 2000  # training examples of the networks of Figure 4f, few enough to be memorised
memorising_learning_rate: float = 0.0001  # and their learning rate

# %% tags=["hide-input"]
from stiffness_book import claims, figures, page, texts
from stiffness_book.class_figure import ClassFigure

parameters = page.start()
versions = figures.permuted_labels(**parameters)
figure, *others, memorising = [
    ClassFigure.of(4, experiments, details=f" with {permuted_fraction:.0%} of the labels permuted",
                   note=f"permuted labels, {'few images' if version == 'memorising' else f'network of {version}'}")
    for version, experiments in versions.items()]
verdict = claims.permuted_labels_negative(figure.table, figure.shown)
page.answer(texts.help_between_classes(f"{figure.dataset} with permuted labels", figure.table), verdict)

# %% [markdown]
# ## Beside the paper
#
# The colours are those of Figure 3: blue is positive, red negative. Above are the runs of this book, below is the
# paper's own figure.

# %% tags=["hide-input", "full-width"]
page.show(figure.panels(), "Figure 4a", figure.caption)

# %% tags=["hide-input"]
page.say(texts.agreement_with_the_paper(figure.pairs))

# %% [markdown]
# ## What is measured
#
# As before, stiffness is measured on validation images with their true labels. The paper claims that no positive
# stiffness between classes develops, and that it becomes negative (C4).

# %% [markdown]
# ## Through training

# %% tags=["hide-input"]
page.show(figure.slider(), "Figure 4b",
          "Class stiffness through training, by sign or by cosine.")

# %% [markdown]
# ## The two summaries

# %% tags=["hide-input"]
page.show(figure.stiffness(), "Figure 4c", "Stiffness within and between classes through training.")

# %% [markdown]
# The training loss is computed with the permuted labels, the validation loss with the true ones. The dotted line is the
# loss of a network that gives every class the same probability for every image.

# %% tags=["hide-input"]
page.show(figure.losses(beside_guessing=True), "Figure 4d",
          "Training and validation loss of the same runs, beside the loss of guessing.")

# %% [markdown]
# ## Networks that memorise the labels
#
# The third version's network, trained on fewer images and with a lower learning rate, can memorise its permuted labels.
# Its summaries, on the same validation images:

# %% tags=["hide-input"]
page.show(memorising.stiffness("Stiffness of networks that memorise"), "Figure 4e",
          "Stiffness of networks that learn the permuted labels of few images by heart.")

# %% [markdown]
# ## What was found

# %% tags=["hide-input"]
page.found(verdict)
page.say(
    texts.the_same_of_every_image(figure.table, len(figure.class_names)),
    texts.labels_by_heart(memorising.table, memorising_train_size) + " So it matters how a network fails to "
    "generalise: claim C4 describes one that gives up.",
    texts.disappears_or_negative(figure.table))

# %% [markdown]
# ## With the other version's settings

# %% tags=["hide-input"]
page.say(texts.beside(versions))

# %% tags=["hide-input", "full-width"]
for other in others:
    page.show(other.panels(), "Figure 4f", other.caption)
    page.show(other.stiffness(), "Figure 4g", "Stiffness within and between classes of these runs.")

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

wrong = gradient_gram(model, x, [y[0], y[0]])
print(f"if the second image is labelled as the first: sign {wrong.sign()[0, 1]:.0f}, cosine {wrong.cosine()[0, 1]:.2f}")

# %% [markdown]
# ## The runs
#
# The settings are under *Parameters*, near the top.

# %% tags=["hide-input"]
page.say(texts.protocol(4, figure.provenance))

# %% tags=["hide-input"]
for shown in (figure, *others, memorising):
    page.summary(shown.provenance)
