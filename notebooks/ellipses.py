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
# # Are networks less sensitive near the data?
#
# **What this page shows.** Stiffness asks how a network's loss moves with its weights. Novak and colleagues
# {cite}`novak2018` ask how its output moves with its *input*, and find that trained networks are less sensitive near
# the training data than away from it (claim N1). Their Figure 2 goes round ellipses in input space: through random
# points, through three training images of different classes, and through three of one class.

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Parameters", "code_prompt_hide": "Parameters"}
dataset: str = "mnist"  # mnist, fashion_mnist, cifar10, cifar100, or digits, which needs no download
network: str = "fc-200-200-200-200"  # fully connected, widths of the hidden layers
optimizer: str = "adam"  # adam or sgd
learning_rate: float = 0.001  # constant throughout training
batch_size: int = 100  # examples in a step
steps: int = 12000  # of training
train_size: int = None  # training examples, class-balanced; None is all of them
triples: int = 20  # ellipses of each kind
angles: int = 120  # places on an ellipse at which the norm is measured
seeds: int = 5  # runs, with seeds 0, 1, ...: initialisation, order of the data, points of the ellipses
variations: dict = {  # other networks or settings, each with its number of seeds
    "rate 3e-4": {"learning_rate": 0.0003},
    "cnn-16-32-32": {"network": "cnn-16-32-32", "steps": 6000, "triples": 8, "seeds": 3},
}

# %% tags=["hide-input"]
from stiffness_book import charts, claims, figures, page, published, texts
from stiffness_book.sensitivity import near_data
from stiffness_book.sensitivity.input_space import PATHS
from stiffness_book.words import name_of

parameters = page.start()
found = {name: page.runs(runs) for name, runs in figures.ellipses(**parameters).items()}
tables = {network if name == "network" else name: table for name, (table, _) in found.items()}
table, others = tables[network], {name: other for name, other in tables.items() if name != network}
verdict = claims.low_near_the_data(table)
page.answer(texts.less_sensitive_near_data(table, others), verdict)

# %% [markdown]
# ## Go round an ellipse
#
# Choose what the three points are, and drag along the ellipse or move the slider: the picture is the input at the
# cursor. Between two images the input is a mixture of all three, which no network has been trained on.

# %% tags=["hide-input"]
names, classes = {PATHS[0]: "noise"}, found["network"][1]["class_names"].iloc[0]
for path in PATHS[1:]:
    names[path] = ", ".join(classes[label] for label in near_data.labels_of(table, path, 0, 0))
rows = table[(table["quantity"] == "norm") & (table["triple"] == 0) & (table["seed"] == 0)]
curves = rows.assign(moment=near_data.moment_of(rows)).pivot(
    index=["path", "angle"], columns="moment", values="value").rename(
    columns={near_data.AFTER: "norm", near_data.BEFORE: "before"}).reset_index()
points = {path: near_data.first_ellipse(table, path, 0) for path in PATHS}
page.show(charts.round_an_ellipse(points, curves, names, title="Round an ellipse in input space"), "Chart 1",
          "An ellipse through three points, the input at each of its places, and the Jacobian norm there.")

# %% [markdown]
# ## The Jacobian norm along the ellipses

# %% tags=["hide-input"]
levels = published.ellipse_levels()
page.show(charts.along_ellipses(near_data.bands(table, "norm"), "norm", paper=levels,
                                title=["Jacobian norm along ellipses", name_of(dataset)]), "Chart 2",
          "The Jacobian norm along ellipses, on a logarithmic axis: the median (line) and the middle 80 % (band) of "
          "all ellipses of all runs. Dotted: the three points. Grey: levels read off the paper's figure.")

# %% [markdown]
# ## Transitions along the ellipses
#
# A *transition* is a ReLU unit that switches on or off on the way from one place to the next, so that the path enters
# another linear region of the network.

# %% tags=["hide-input"]
page.show(charts.along_ellipses(near_data.bands(table, "transitions"), "transitions", paper=levels,
                                title=["Transitions along ellipses", name_of(dataset)]), "Chart 3",
          "How many units switch on or off per radian along ellipses: the median (line) and the middle 80 % (band) of "
          "all ellipses of all runs. Grey: levels read off the paper's figure.")

# %% [markdown]
# ## What is measured
#
# The ellipse through the points $x_1, x_2, x_3$ is $z(t) = c + u \cos t + v \sin t$, with the centre $c = (x_1 + x_2 +
# x_3) / 3$, $u = (x_1 - 2 x_2 + x_3) / 3$ and $v = (x_1 - x_3) / \sqrt 3$. It passes them at the angles $\pi/3$, $\pi$
# and $5\pi/3$. At each place the [Jacobian norm](../book/theory.md#sensitivity-to-the-input) says how far the class
# probabilities move for a small change of the input. From one place to the next, the units are compared at twelve
# steps, and the number of switches is divided by the angle in radians. In what unit the paper's figure counts is not
# known here. Random points are noise with the mean and the variance of the images, pixel by pixel.
#
# The paper's network, its training and the scale of its inputs are not known here, so the levels of this book cannot be
# expected to be its levels. What can be compared is how they change along an ellipse. Inputs here have zero mean and
# unit variance. The result depends on the learning rate; the first one here is Keras's default.

# %% tags=["hide-input"]
page.say(texts.reached_accuracies(tables), texts.ellipse_lengths(table))

# %% [markdown]
# ## Confidence, or a flatter network?
#
# Where a network is sure of a class, the softmax is flat, and the Jacobian of the probabilities is small whatever the
# network does with its input. The Jacobian of the logits, the numbers before the softmax, is free of this effect.

# %% tags=["hide-input"]
page.show(charts.along_ellipses(near_data.bands(table, "logit_norm"), "logit_norm",
                                title=["Jacobian norm of the logits", name_of(dataset)]), "Chart 4",
          "The Jacobian norm of the logits, less their mean over the classes, along the same ellipses: median and "
          "middle 80 %.")
page.say(texts.confidence(table))

# %% [markdown]
# ## Other networks, another learning rate
#
# How does training change the ratio of the level at three images of different classes to that midway between them?

# %% tags=["hide-input"]
page.show(charts.factor_points(texts.dip_factors(tables), title=["Level at the images", "over that between them"],
                               what="the level at training images of different classes over that between them, after "
                                    "training over before"), "Chart 5",
          "The ratio of the level at training images of different classes to that between them, after training over "
          "before. Lines are 95 % intervals over the runs; dotted: no change.")

# %% tags=["hide-input"]
page.say(texts.dips(tables))

# %% [markdown]
# Factors with their 95 % intervals over runs. For each of them the ratio is taken on every ellipse by itself, and then
# the median, so it can be small although the median level of Chart 2 is flat. The levels themselves, after training:
# the mean of the three points, or of the three middles, on every ellipse; then the median over the ellipses of a run;
# then the mean over runs. For the norm the means are geometric.

# %% tags=["hide-input"]
page.say(texts.levels_on_ellipses(tables))

# %% [markdown]
# ## What was found

# %% tags=["hide-input"]
page.found(verdict)
page.say(texts.by_the_same_rule({name: claims.low_near_the_data(other) for name, other in others.items()}))

# %% [markdown]
# ## One ellipse
#
# The measurement on three handwritten digits and a small network before training: the norm at the three points, and the
# transitions on closed paths of more and more points. A path of few points misses units that switch on and off again.

# %%
import numpy as np

from stiffness import jacobian_norm, transitions
from stiffness_book import page
from stiffness_book.sensitivity.input_space import ellipse

model, x, y = page.two_images("fc-60-60")
three = np.concatenate([x, x[:1, ::-1]])  # the third is the first one, upside down
print("norm at the three points:", jacobian_norm(model, ellipse(three, [60, 180, 300])).round(3))
for number in (3, 6, 30, 120):
    path = ellipse(three, 360 / number * np.arange(number))
    print(f"{number:5} points: {transitions(model, path)} transitions")
path = ellipse(three, 3 * np.arange(120))
print(f"exactly, along the sides of the polygon with 120 corners: {transitions(model, path, exact=True)}")

# %% [markdown]
# ## The runs
#
# The settings are under *Parameters*, near the top.

# %% tags=["hide-input"]
for _, provenance in found.values():
    page.summary(provenance)
