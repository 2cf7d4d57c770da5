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
# # Figure 9: stiffness and distance
#
# **What this page shows.** Do two images help each other more if they are closer to each other? Closeness is measured
# by the angle between the two images as vectors of pixels, or between their *representations*, the outputs of a layer.
# A network is stopped at a given training loss, all pairs of a set of validation images are sorted by distance, and the
# mean stiffness of the pairs at each distance is drawn: once for the input, and once for each layer.

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Parameters", "code_prompt_hide": "Parameters"}
setting: str = "v1"  # the version of the paper whose settings come first: v1, its first, or v3, its third
beside: bool = True  # draw the runs of the other version's settings too
losses: dict = None  # data sets, and the training losses at which each is measured; None: the version's
shown_losses: dict = None  # the one of them that is drawn; None: the version's
learning_rate: float = None  # constant throughout training; None: the version's
network: str = None  # fully connected, widths of the hidden layers, fc-500-300-100; None: the version's
optimizer: str = "adam"  # adam or sgd
batch_size: int = 32  # examples in a step
seeds: int = 5  # runs, with seeds 0, 1, ...: initialisation, order of the data
train_size: int = None  # training examples, class-balanced; None is all of them
unit_length: bool = False  # scale each input to length 1, as v3 does
probe_size: int = 500  # validation examples whose pairs are measured
max_steps: int = None  # a run that has not reached its losses by then ends without them; None: the version's

# %% tags=["hide-input"]
from stiffness_book import charts, claims, figures, page, published, summaries, texts
from stiffness_book.words import named

parameters = page.start()
versions, shown = figures.distance(**parameters), figures.shown_losses(**parameters)
tables, provenances = {}, {}
for version, experiments in versions.items():
    tables[version], provenances[version] = page.runs(experiments, "dataset")
    at_loss = tables[version]["target_loss"] == tables[version]["dataset"].map(named(shown[version]))
    tables[version] = tables[version][at_loss]
table = tables[setting]
curves = summaries.distance_curves(table, ["dataset"])
medians = summaries.medians(summaries.domain_sizes(table), ["dataset", "space", "quantity"])
domains = medians[medians["quantity"] == "stiff_domain_size_sign"]
verdict = claims.near_pairs_are_stiff(table)
page.answer(texts.help_between_near_images(curves), verdict)

# %% [markdown]
# ## Stiffness against distance
#
# The vertical line is the size of the stiff domain, the median over the runs; the bands are 95 % intervals over the
# runs. The grey bars show how the pairs are distributed over the distances: point at a curve to see their number. The
# curve of all pairs is a mix of the two other curves, of pairs of one class and of pairs of different classes. The
# paper's own curve, dashed, is of all pairs, on MNIST.

# %% tags=["hide-input"]
page.show(charts.stiffness_against_distance(curves, domains, title="Stiffness against distance",
                                            paper=published.stiffness_by_distance()), "Figure 9a",
          "Stiffness against the distance of two images, in input space and in each layer's representation.")

# %% tags=["hide-input"]
page.say(texts.distances_beside_the_paper(curves))

# %% [markdown]
# ## What is measured
#
# The first version of the paper gives the distance as the cosine of that angle, which is 1 for identical directions;
# the third version gives 1 − cosine. The axes show both. The paper claims that there is a critical distance below which
# stiffness is positive, in every layer, and that deeper layers have smaller *stiff domains* (C7). The size of a stiff
# domain is the distance at which the curve of all pairs first falls to zero. The [theory page](../book/theory.md) has
# the equations.

# %% [markdown]
# ## The sizes
#
# The two versions of the paper measure the reach of stiffness differently. The first takes the zero of the sign curve
# over *all* pairs. The third fits a straight line to the stiffness of the pairs of *one class* and takes the zero of
# that line, the *critical length* ξ. The table gives medians over the runs, with the first version's distance, the
# cosine, in brackets.

# %% tags=["hide-input"]
page.say(texts.sizes_of_reach(medians, curves))

# %% [markdown]
# ## What was found

# %% tags=["hide-input"]
page.say(
    texts.runs_at_the_loss(table, named(shown[setting]), seeds),
    texts.mix_of_pairs(curves),
    texts.cosines_near_and_far(curves),
    texts.positive_again(curves))
page.found(verdict)
page.front("near-images", texts.help_between_near_images(curves))

# %% [markdown]
# ## With the other version's settings

# %% tags=["hide-input"]
page.say(texts.beside(versions))
for version in list(versions)[1:]:
    other = tables[version]
    other = other[other["dataset"] == other["dataset"].iloc[0]]
    sizes = summaries.medians(summaries.domain_sizes(other), ["dataset", "space", "quantity"])
    page.show(charts.stiffness_against_distance(
        summaries.distance_curves(other, ["dataset"]),
        sizes[sizes["quantity"] == "stiff_domain_size_sign"], title="Stiffness against distance"), "Figure 9b",
        "The same with the other version's settings.")

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

distance = 1 - x[0].ravel() @ x[1].ravel() / np.linalg.norm(x[0]) / np.linalg.norm(x[1])
print(f"distance of the two images in input space: {distance:.2f}")

# %% [markdown]
# ## The runs
#
# The settings are under *Parameters*, near the top. The runs are those of [Figure
# 8](fig08_learning_rate.ipynb) with one learning rate; [Figure 10](fig10_domain_size.ipynb) has the sizes for all
# rates.

# %% tags=["hide-input"]
at_loss = ", ".join(f"{loss:g} ({dataset})" for dataset, loss in named(shown[setting]).items())
page.say(texts.protocol(9, provenances[setting], **figures.compared(versions[setting]) | {"losses": at_loss}))

# %% tags=["hide-input"]
for provenance in provenances.values():
    page.summary(provenance)
