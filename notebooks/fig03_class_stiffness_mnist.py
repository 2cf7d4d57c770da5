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
# # Figure 3: stiffness between classes, MNIST
#
# **What this page shows.** A fully connected network learns to read handwritten digits. At several stages of training
# its weights are fixed, and one question is answered for every pair of images from a set that it has never trained on:
# would a small gradient step on the first image lower the loss on the second?

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Parameters", "code_prompt_hide": "Parameters"}
setting: str = "v1"  # the version of the paper whose settings come first: v1, its first, or v3, its third
beside: bool = True  # draw the runs of the other version's settings too
dataset: str = "mnist"  # mnist, fashion_mnist, or digits, which needs no download
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
figure, *others = [ClassFigure.of(3, experiments, note=f"network of {version}")
                   for version, experiments in versions.items()]
verdicts = [claims.within_class_positive(figure.table, figure.shown),
            claims.between_classes_grows(figure.table, figure.shown)]
page.answer(texts.help_between_classes(figure.dataset, figure.table), *verdicts)

# %% [markdown]
# ## Beside the paper
#
# Blue is positive stiffness, red is negative, and the neutral colour is 0 in every matrix of this book. Point at a cell
# to see its value. Above are the runs of this book, below is the paper's own figure, read off its colours.

# %% tags=["hide-input", "full-width"]
page.show(figure.panels(), "Figure 3a", figure.caption)

# %% tags=["hide-input"]
page.say(texts.agreement_with_the_paper(figure.pairs))

# %% [markdown]
# ## What is measured
#
# The answer is +1 (yes), −1 (the loss would rise) or 0. It is the sign of the inner product of the two images' loss
# gradients with respect to all weights. Averaged over the pairs with the first image in class $a$ and the second in
# class $b$, it becomes the *class stiffness matrix* $C(a, b)$. Its diagonal shows how much the images of one class help
# each other; the other entries show how much one class helps another. An image is never paired with itself, but in the
# comparison with the paper, whose averages contain such pairs. The [theory page](../book/theory.md) gives the
# definitions.
#
# The paper claims that the diagonal is positive from the start (C1), and that the other entries are inconsistent at
# first and become positive as the network learns (C2).

# %% [markdown]
# ## Through training
#
# Move the slider through training, and switch between the sign (the first version of the paper) and the cosine of the
# angle between the gradients (its third version), which also measures how strongly two examples help each other.

# %% tags=["hide-input"]
page.show(figure.slider(), "Figure 3b",
          "Class stiffness through training, by sign or by cosine.")

# %% [markdown]
# ## The two summaries
#
# *Within classes* is the mean of the diagonal, *between classes* the mean of all other entries. The bands are 95 %
# intervals over the runs.

# %% tags=["hide-input"]
page.show(figure.stiffness(), "Figure 3c", "Stiffness within and between classes through training.")

# %% tags=["hide-input"]
page.show(figure.losses(), "Figure 3d", "Training and validation loss of the same runs.")

# %% [markdown]
# ## With the other version's settings

# %% tags=["hide-input"]
page.say(texts.beside(versions))

# %% tags=["hide-input", "full-width"]
for other in others:
    page.show(other.panels(), "Figure 3e", other.caption)
    page.show(other.stiffness(), "Figure 3f", "Stiffness within and between classes of these runs.")

# %% [markdown]
# ## What was found

# %% tags=["hide-input"]
page.say(
    texts.over_fitting_within_classes(figure.table) + " The paper says that it falls as a network over-fits (C3); "
    "[Figure 2](fig02_overfitting.ipynb) judges that.",
    "The claims are about the sign. Within a class the last layer alone always gives +1, as [the method "
    "page](../book/method.md) shows; only the layers below can make it negative. The cosine "
    "weighs how strongly two images help or harm each other. " + texts.cosines_from_first_to_last(figure.table))
for verdict in verdicts:
    page.found(verdict)
page.front("moving-matrix", figure.moving())
page.front("between-classes", texts.help_between_classes(figure.dataset, figure.table, cosine=False))

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
# The settings are under *Parameters*, near the top. With other values, the same page is drawn again:
#
# ```sh
# papermill notebooks/fig03_class_stiffness_mnist.ipynb out.ipynb -p setting v3 -p beside false -p learning_rate 0.01
# ```

# %% tags=["hide-input"]
page.say(texts.protocol(3, figure.provenance))

# %% tags=["hide-input"]
for shown in (figure, *others):
    page.summary(shown.provenance)
