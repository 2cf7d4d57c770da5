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
dataset: str = "mnist"  # mnist, fashion_mnist, or digits, which needs no download
network: str = "fc-500-300-100"  # fully connected, widths of the hidden layers; v3's. v1's: fc-400-200-200-200-200-200
optimizer: str = "adam"  # adam or sgd
learning_rate: float = 0.001  # constant throughout training
batch_size: int = 32  # examples in a step
seeds: int = 5  # runs, with seeds 0, 1, ...: initialisation, order of the data, permutation of the labels
train_size: int = None  # training examples, class-balanced; None is all of them
unit_length: bool = False  # scale each input to length 1, as v3 does
probe_size: int = 500  # validation examples whose pairs are measured
stages: list = [0, 10, 30, 100, 300, 1000, 3000, 6000, 10000, 20000, 40000]  # steps at which to measure
shown_stages: list = [0, 300, 10000, 40000]  # the stages that are drawn side by side
permuted_fraction: float = 1.0  # share of the training labels that is permuted; 0 draws Figure 3
memorising_train_size: int = 2000  # training examples of the second network, few enough to be memorised
memorising_learning_rate: float = 0.0001  # and its learning rate
first_version: dict = {  # the first version's network, its stages, and what is measured at them
    "network": "fc-400-200-200-200-200-200", "nested_probes": [150, 30], "also": ["regimes", "gram"],
    "stages": [0, 50, 150, 300, 600, 1500, 3000, 6000, 12000, 23575],
}

# %% tags=["hide-input"]
from stiffness_book import claims, figures, page, texts
from stiffness_book.class_figure import ClassFigure

parameters = page.start()
experiments = figures.fig04(**parameters)
figure = ClassFigure.of("Figure 4", experiments["permuted"], note="permuted labels",
                        details=f" with {permuted_fraction:.0%} of the labels permuted")
memorising = ClassFigure.of("Figure 4", experiments["memorising"])
first = ClassFigure.of("Figure 4", experiments["first version"], note="permuted labels, the first version's network",
                       details=f" with {permuted_fraction:.0%} of the labels permuted")
verdict = claims.permuted_labels_negative(first.table, 4 if dataset == "mnist" else None)
page.answer(texts.help_between_classes(f"{figure.dataset} with permuted labels", figure.table), verdict)

# %% [markdown]
# ## Four stages side by side
#
# The colours are those of Figure 3: blue is positive, red negative.

# %% tags=["hide-input", "full-width"]
page.show(figure.panels(shown_stages), "Figure 4a",
          "Class stiffness by sign at four stages of training, the mean over the runs.")

# %% [markdown]
# ## Beside the paper
#
# The first version of the paper has another network and other stages, which it gives in images seen. These are runs
# with its network at its stages, on a probe set as small as its own, above the paper's own matrices.

# %% tags=["hide-input", "full-width"]
pairs = first.beside_the_paper(4)
page.show(first.panels_beside_the_paper(pairs), "Figure 4b",
          "Class stiffness by sign at the paper's stages: this book's runs above, the paper's matrices below.")

# %% tags=["hide-input"]
page.say(texts.agreement_with_the_paper(pairs))

# %% [markdown]
# ## What is measured
#
# As before, stiffness is measured on validation images with their true labels. The paper claims that no positive
# stiffness between classes develops, and that it becomes negative (C4).

# %% [markdown]
# ## All measured stages

# %% tags=["hide-input"]
page.show(figure.slider(shown_stages[len(shown_stages) // 2]), "Figure 4c",
          "Class stiffness at every measured stage, by sign or by cosine.")

# %% [markdown]
# ## The two summaries

# %% tags=["hide-input"]
page.show(figure.stiffness(), "Figure 4d", "Stiffness within and between classes through training.")

# %% [markdown]
# The training loss is computed with the permuted labels, the validation loss with the true ones. The dashed line is the
# loss of a network that gives every class the same probability for every image.

# %% tags=["hide-input"]
page.show(figure.losses(beside_guessing=True), "Figure 4e",
          "Training and validation loss of the same runs, beside the loss of guessing.")

# %% [markdown]
# ## A network that memorises the labels
#
# The same network, trained on fewer images and with a lower learning rate, can memorise its permuted labels. Its
# summaries, on the same validation images:

# %% tags=["hide-input"]
page.show(memorising.stiffness("Stiffness of a network that memorises"), "Figure 4f",
          "Stiffness of networks that learn the permuted labels of few images by heart.")

# %% [markdown]
# ## What was found

# %% tags=["hide-input"]
page.found(verdict)
page.say(
    texts.the_same_of_every_image(figure.table, len(figure.class_names)),
    texts.labels_by_heart(memorising.table, memorising_train_size) + " So it matters how a network fails to "
    "generalise: claim C4 describes one that gives up, and is judged on the first version's network.")

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

wrong = gradient_gram(model, x, [y[0], y[0]])
print(f"if the second image is labelled as the first: sign {wrong.sign()[0, 1]:.0f}, cosine {wrong.cosine()[0, 1]:.2f}")

# %% [markdown]
# ## The runs
#
# The first folded cell above contains this page's parameters.

# %% tags=["hide-input"]
page.summary(first.provenance)
page.summary(figure.provenance)
page.summary(memorising.provenance)
