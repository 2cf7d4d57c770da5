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
# # Spherical harmonics: stiff domains where the length scale is known
#
# **What this page shows.** A stiff domain is the distance up to which a training step on one example helps another.
# Does its size tell the length over which the *values* of the learnt function change? The first version of the paper
# leaves this open, and names spherical harmonics, functions on the sphere whose length scale is known exactly (C16).
# Here a network learns the sign of such functions, from slow ones to fast ones.

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Parameters", "code_prompt_hide": "Parameters"}
degrees: list = [1, 2, 3, 4, 6, 8]  # of the harmonics, up to 16: the higher, the shorter the length scale
together: list = [1, 2, 4, 8]  # degrees whose harmonics are added up, for the last chart
network: str = "fc-500-300-100"  # fully connected, widths of the hidden layers
optimizer: str = "adam"  # adam or sgd
learning_rate: float = 0.001  # constant throughout training
batch_size: int = 32  # examples in a step
seeds: int = 5  # runs of each degree, with seeds 0, 1, ...: functions, points, initialisation, order of the data
train_size: int = None  # training examples, class-balanced; None is all of them
probe_size: int = 1000  # validation examples whose pairs are measured
stages: list = [0, 10, 50, 100, 250, 500, 1000, 2500, 5000]  # steps at which to measure
stage_losses: list = [0.5, 0.4, 0.3, 0.2]  # training losses at which to measure too, largest first
check_every: int = 10  # steps between two checks of the training loss
max_steps: int = 5000  # where a loss that is not reached is given up

# %% tags=["hide-input"]
import pandas as pd

from stiffness_book import charts, claims, figures, harmonics, page, texts

parameters = page.start()
parts = figures.harmonics(**parameters)
table, provenance = page.runs(parts["alone"], "degree")
mixed, mixed_provenance = page.runs(parts["together"])
moments = harmonics.moments(table)
sizes = pd.concat([harmonics.domains(table[rows]).assign(moment=name) for name, rows in moments.items()])
in_input = sizes[sizes["space"] == "input"]
verdict = claims.domain_follows_length_scale(table)
page.answer(texts.domain_over_scale(in_input), verdict)

# %% [markdown]
# ## The size against the length scale
#
# One point for each degree, with its 95 % interval over runs; each run has a function, points and a network of its own.
# On the dashed line the stiff domain is as large as the length scale.

# %% tags=["hide-input"]
page.show(charts.domain_sizes_against_scale(in_input, title="Stiff domains of spherical harmonics"), "Chart 1",
          "The size of the stiff domain in input space against the length scale of the labels.")

# %% [markdown]
# ## What is measured
#
# The inputs are points spread evenly over the unit sphere. Each function is a random combination of all $2l + 1$
# spherical harmonics of one degree $l$, and the label of a point $x$ is its sign: two classes. The mean of
# $f(x) f(x')$ over all pairs of points at the angle $t$ is $P_l(\cos t)$, the Legendre polynomial, whatever the
# combination. Its first zero, about $2.4 / (l + 1/2)$ radians, is the length scale: two points nearer than that tend to
# have the same label.
#
# The stiff domain is measured by the same angle: the sign stiffness of all pairs of validation points, averaged over
# bins of 0.05 radians, and the angle at which it first falls to zero. Degrees much above 10 would have their length
# scale in the first few bins.

# %% tags=["hide-input"]
page.say(texts.domains_by_degree(in_input))

# %% [markdown]
# Means with 95 % intervals, in radians. The numbers at the top of the page are medians over the degrees. *Without end*
# counts the runs whose stiffness is positive at every angle.
#
# ## Stiffness against the angle
#
# The dashed line is no measurement of a network: it is how far the labels of two points at this angle agree, on
# average.

# %% tags=["hide-input"]
curve = table[(table["quantity"] == "angle_distance_curve_all_sign") & (table["space"] == "input")]
curves = pd.concat([curve[rows[curve.index]].assign(moment=name) for name, rows in moments.items()])
angles = curve["distance"].drop_duplicates().sort_values()
agreement = pd.concat([pd.DataFrame({"degree": degree, "distance": angles,
                                     "value": harmonics.agreement(degree, angles)}) for degree in degrees])
page.show(charts.stiffness_against_angle(curves, agreement, title="Sign stiffness of all pairs"), "Chart 2",
          "Sign stiffness against the angle between two points, for each degree.")

# %% [markdown]
# Why are they so alike? With two classes the gradient of the loss of $x$ is $\pm c\, \nabla m(x)$, where $m$ is the
# difference of the two logits, $c > 0$, and the label alone decides the sign. So the stiffness of two points is the
# agreement of their labels times the sign of $\nabla m(x) \cdot \nabla m(x')$, which does not depend on their labels.
# As long as this product is positive for near points, the stiff domain ends where labels agree no more than by chance.
# That is a fact about the labels, and it is there before the first step.

# %% [markdown]
# ## What was found

# %% tags=["hide-input"]
page.found(verdict)
page.say(texts.outgrown(in_input))

# %% [markdown]
# ### In the layers' representations
#
# There the distance is the angle between two representations. The rank correlation of size and length scale over the
# degrees: +1 if every slower function has the larger stiff domain.

# %% tags=["hide-input"]
page.say(texts.order_in_spaces(sizes))

# %% [markdown]
# ### The third version's length
#
# The critical length ξ comes from pairs of one class alone, so the agreement of labels is no part of it. It is measured
# by 1 − cosine in input space, for the cosine.

# %% tags=["hide-input"]
page.say(texts.critical_lengths_by_degree(table, moments))

# %% [markdown]
# ## Are slow functions learnt first?
#
# Networks are known to learn slow functions before fast ones, which is called their *spectral bias*. The training loss
# of each degree:

# %% tags=["hide-input"]
losses = table[(table["quantity"] == "train_loss") & table["target_loss"].isna()]
page.show(charts.measure_evolution(losses.assign(labels="degree " + losses["degree"].astype(str)), "training loss",
                                   title="Training loss by degree"), "Chart 3",
          "The training loss of labels of each degree.")
page.say(texts.steps_to_losses(table))

# %% [markdown]
# ### Within one function
#
# Here the labels are the sign of a sum of harmonics of several degrees, each with the same mean square. The chart shows
# how much of each degree the network's outputs contain, relative to the labels: 0 is nothing, 1 as much as the labels.

# %% tags=["hide-input"]
names = {f"learnt_of_degree_{degree}": f"degree {degree}" for degree in together}
rows = mixed[mixed["quantity"].isin(names) & mixed["target_loss"].isna()]
page.show(charts.labelled_evolution(rows.assign(labels=rows["quantity"].map(names)), "share learnt",
                                    title="What is learnt of each degree of a sum", reference=(1, "as the labels")),
          "Chart 4", "How much of each degree of a sum of harmonics is learnt through training.")
page.say(texts.half_learnt(mixed[mixed["target_loss"].isna()], together))

# %% [markdown]
# ## The runs
#
# The settings are under *Parameters*, near the top. The data is generated, so there is nothing to download.

# %% tags=["hide-input"]
page.summary(pd.concat([provenance, mixed_provenance], ignore_index=True))
