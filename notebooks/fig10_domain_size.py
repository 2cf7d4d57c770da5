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
# # Figure 10: stiff domains and the learning rate
#
# **What this page shows.** Up to which distance do images help each other, and does this reach depend on the learning
# rate? For the runs of [Figure 8](fig08_learning_rate.ipynb), stopped at equal training loss, the reach is determined
# from the curves that [Figure 9](fig09_distance.ipynb) draws for one of the rates.

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Parameters", "code_prompt_hide": "Parameters"}
setting: str = "v1"  # the version of the paper whose settings come first: v1, its first, or v3, its third
beside: bool = True  # draw the runs of the other version's settings too
losses: dict = None  # data sets, and the training losses at which each is measured; None: the version's
learning_rates: list = None  # each constant throughout training; None: the version's
network: str = None  # fully connected, widths of the hidden layers, fc-500-300-100; None: the version's
optimizer: str = "adam"  # adam or sgd
batch_size: int = 32  # examples in a step
seeds: int = 5  # runs at each rate, with seeds 0, 1, ...: initialisation, order of the data
train_size: int = None  # training examples, class-balanced; None is all of them
unit_length: bool = False  # scale each input to length 1, as v3 does
probe_size: int = 500  # validation examples whose pairs are measured
max_steps: int = None  # a run that has not reached its losses by then ends without them; None: the version's

# %% tags=["hide-input"]
from stiffness_book import charts, claims, figures, page, published, summaries, texts

parameters = page.start()
versions = figures.at_equal_loss(**parameters)
found = {version: page.runs(experiments, "dataset", "learning_rate") for version, experiments in versions.items()}
by = ["dataset", "target_loss", "learning_rate", "space", "quantity"]
table, provenance = found[setting]
table = table[table["target_loss"].notna()]
judged = summaries.over_a_decade(table)  # fewer rates cannot show what they do
table = judged if len(judged) else table
sizes = summaries.domain_sizes(table)
medians = summaries.medians(sizes, by)
layers = [space for space in sizes["space"].unique() if space != "input"]
verdicts = claims.domain_grows_with_rate(table, 10), claims.layer_domains_grow_with_rate(table, 10)
page.answer(f"**Do stiff domains grow with the learning rate?** In input space in {verdicts[0].count} cases of data "
            f"set and training loss, in the hidden layers in {verdicts[1].count}.", *verdicts)

# %% [markdown]
# ## In input space, by both definitions
#
# The first row of panels shows the stiff domains of the first version, the second the critical length of the third
# version, for the cosine. Lines are medians over the runs; bands extend from the smallest to the largest value, or to
# the edge of the panel. The axes give the distance as 1 − cosine and, in brackets, the cosine, which is the first
# version's distance. A triangle at the upper edge means that there is no such distance: stiffness is positive and never
# falls to zero. For the sign there is hardly a critical length, because within a class it is nearly always +1 in these
# networks ([why](../book/method.md)); the table below counts the cases.

# %% tags=["hide-input"]
chart = charts.domain_sizes_against_rate(
    medians, [("stiff domain, v1: zero of all pairs, sign", "stiff_domain_size_sign", "input"),
              ("ξ, v3: line through one class, cosine", "critical_length_cosine", "input")],
    title="Sizes in input space", paper=published.domains_by_rate(),
)
page.show(chart, "Figure 10a", "Stiff domains and critical lengths in input space against the learning rate.")
page.say(texts.beyond_the_pairs(table, sizes))

# %% [markdown]
# ## What is measured
#
# The two versions of the paper define the reach differently, and their conclusions seem to contradict each other. The
# first uses the *stiff domain*: the distance at which the sign stiffness of all pairs first falls to zero, in input
# space and in each layer's representation. It claims that stiff domains grow with the learning rate (C8a, C8b). The
# third uses the *critical length* ξ: the distance at which a straight line through the pairs of one class reaches zero.
# It claims that ξ shrinks (C9), which [a page of its own](critical_length.ipynb) judges. Both are drawn here, from the
# same runs. The [theory page](../book/theory.md) has the equations.

# %% [markdown]
# ## In the layers' representations
#
# The stiff domains of the first version:

# %% tags=["hide-input"]
page.show(charts.domain_sizes_against_rate(medians, [(space, "stiff_domain_size_sign", space) for space in layers],
                                           title="Stiff domains (v1) in the layers",
                                           paper=published.domains_by_rate()), "Figure 10b",
          "Stiff domains in the layers' representations against the learning rate.")

# %% [markdown]
# The critical length of the third version, for the cosine. That version measures it only in input space.

# %% tags=["hide-input"]
page.show(charts.domain_sizes_against_rate(medians, [(space, "critical_length_cosine", space) for space in layers],
                                           title="Critical length ξ (v3) in the layers"), "Figure 10c",
          "Critical lengths in the layers' representations against the learning rate.")

# %% [markdown]
# ## What was found

# %% tags=["hide-input"]
page.say(texts.domains_beside_the_paper(medians))
losses_of = {name: own for name, own in figures.losses_of(versions[setting]).items() if name in set(table["dataset"])}
page.say(texts.not_reached(summaries.stops(table, losses_of), seeds))
for verdict in verdicts:
    page.found(verdict)
page.say(texts.sizes_against_rate(sizes))

# %% [markdown]
# ### Why the two definitions need not agree
#
# A critical length concerns pairs of one class; a stiff domain concerns all pairs, most of which are of different
# classes. [Figure 9](fig09_distance.ipynb) draws the two separately: pairs of one class are common at short distances
# and rare at long ones, and the curve of all pairs crosses zero where pairs of different classes outweigh them. If
# pairs of different classes become stiffer at every distance, the crossing moves outwards although no length has grown.
# Are the two related, run by run?

# %% tags=["hide-input"]
page.say(
    texts.domains_follow_stiffness(table, sizes),
    texts.both_versions_at_once(sizes))

# %% [markdown]
# ## With the other version's settings

# %% tags=["hide-input"]
page.say(texts.beside(versions))
for version in list(versions)[1:]:
    other, _ = found[version]
    other = summaries.domain_sizes(other[other["target_loss"].notna()])
    chart = charts.domain_sizes_against_rate(
        summaries.medians(other, by), [("stiff domain, v1: zero of all pairs, sign", "stiff_domain_size_sign", "input"),
                                       ("ξ, v3: line through one class, cosine", "critical_length_cosine", "input")],
        title="Sizes in input space")
    page.show(chart, "Figure 10d", "Stiff domains and critical lengths with the other version's settings.")
    page.say(texts.both_versions_at_once(other))

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
# The settings are under *Parameters*, near the top. The runs are those of
# [Figure 8](fig08_learning_rate.ipynb).

# %% tags=["hide-input"]
page.say(texts.protocol(10, provenance, **figures.compared(versions[setting])))

# %% tags=["hide-input"]
for _, provenance in found.values():
    page.summary(provenance)
