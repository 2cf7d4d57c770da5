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
# # Do linear regions grow sparser around training points?
#
# **What this page shows.** In each of many *linear regions* of its input space, a network of ReLU units is an affine
# function. Figure 3 of Novak and colleagues {cite}`novak2018` shows the boundaries of these regions on the plane
# through three training images, before and after training; after it fewer of them are near the images (claim N6).

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Parameters", "code_prompt_hide": "Parameters"}
dataset: str = "mnist"  # mnist, fashion_mnist, cifar10, cifar100, or digits, which needs no download
network: str = "fc-200-200-200-200"  # fully connected, widths of the hidden layers
drawn: str = "fc-60-60-60-60"  # narrower, so that its linear regions are large enough to be drawn
grid: int = 300  # cells along each side of the drawing
optimizer: str = "adam"  # adam or sgd
learning_rate: float = 0.001  # constant throughout training
batch_size: int = 100  # examples in a step
steps: int = 12000  # of training
train_size: int = None  # training examples, class-balanced; None is all of them
triples: int = 20  # planes of each kind
angles: int = 120  # places on an ellipse, for the page on ellipses, which has the same runs
seeds: int = 5  # runs, with seeds 0, 1, ...: initialisation, order of the data, points
variations: dict = {  # other networks or settings, each with its number of seeds
    "rate 3e-4": {"learning_rate": 0.0003},
    "cnn-16-32-32": {"network": "cnn-16-32-32", "steps": 6000, "triples": 8, "seeds": 3},
}

# %% tags=["hide-input"]
from stiffness_book import charts, claims, figures, page, texts
from stiffness_book.sensitivity import near_data
from stiffness_book.sensitivity.input_space import DIFFERENT, in_plane
from stiffness_book.words import name_of

parameters = page.start()
found = {name: page.runs(runs) for name, runs in figures.linear_regions(**parameters).items()}
tables = {network if name == "network" else name: table for name, (table, _) in found.items() if name != "drawn"}
table, (plane, provenance) = tables[network], found["drawn"]
others = {name: other for name, other in tables.items() if name != network}
verdict = claims.regions_grow_sparser(table)
page.answer(texts.sparser_regions(table, others, f"{network} at rate {learning_rate:g}"), verdict)

# %% [markdown]
# ## The plane through three training images
#
# Each patch of one shade is a linear region, and each hue a class: that of the image next to which it lies, or another
# one that the network gives in between. Zoom in on an image, and compare the size of the patches around it with those
# elsewhere. The network drawn here is narrower than the one that is judged, as the regions of the latter would be finer
# than the picture.

# %% tags=["hide-input"]
classes = provenance["class_names"].iloc[0]
names = [classes[label] for label in near_data.labels_of(plane, DIFFERENT, 0, 0)]
pictures = {moment: (near_data.picture(plane, "shade", moment), near_data.picture(plane, "class", moment))
            for moment in near_data.MOMENTS}
page.show(charts.region_pictures(pictures, in_plane(near_data.first_ellipse(plane, DIFFERENT, 0)), names,
                                 title=["Linear regions of a plane", f"{name_of(dataset)}, {drawn}"]), "Chart 1",
          "The plane through three training images before and after training, coloured by linear region and class.")
page.say(texts.regions_counted(plane))

# %% [markdown]
# ## By the distance from the points
#
# How many boundaries does a line of length 1 cross, near a point and far from it? The points are training images of
# different classes, training images of one class, or noise; the distance is divided by that between the points.

# %% tags=["hide-input"]
page.show(charts.regions_by_distance(near_data.around(table),
                                     title=["Boundaries around the points", f"{name_of(dataset)}, {network}"]),
          "Chart 2", "Boundaries of linear regions per unit of length, by the distance from the points. Bands are 95 % "
          "intervals over the runs.")

# %% [markdown]
# ## What is measured
#
# A linear region is identified by its code: for each ReLU unit whether it is on. The picture has a cell for each point
# of a grid; cells with one code have one shade. The count goes along rays: from each of the three points, eight
# directions in their plane, up to 0.6 of the mean distance to the other two. Each unit that switches on or off between
# two steps is one boundary crossed; there are ten steps between two markers of Chart 2. A line suffices: boundaries are
# surfaces, and the fewer of them it crosses, the larger the regions.
#
# There are planes through three images of different classes, through three of one class, and through random points,
# which are noise with the mean and the variance of the images. The paper's network and training are not known here. The
# result depends on the learning rate; the first one here is Keras's default. The switches of pooling layers also bound
# linear regions; they are not counted for the convolutional network.

# %% tags=["hide-input"]
page.say(texts.reached_accuracies(tables))

# %% [markdown]
# ## Other networks, another learning rate

# %% tags=["hide-input"]
for number, (name, other) in enumerate(others.items(), start=3):
    page.show(charts.regions_by_distance(near_data.around(other),
                                         title=["Boundaries around the points", f"{name_of(dataset)}, {name}"]),
              f"Chart {number}", f"Boundaries of linear regions by the distance from the points, for {name}.")
page.say(texts.densities_near_and_far(tables))

# %% [markdown]
# Boundaries per unit of length. Near is up to 0.1 of the distance between the points, far is 0.4 to 0.6. The changes
# are factors, with 95 % intervals over runs.

# %% tags=["hide-input"]
page.say(texts.sparser_everywhere(table))

# %% [markdown]
# A unit of a convolutional network that looks at the empty background of an image has an input near its threshold,
# before training too, so that a small change switches it: probably that is why such a network has more boundaries near
# images than far from them.
#
# ## What was found

# %% tags=["hide-input"]
page.found(verdict)
page.say(texts.by_the_same_rule({name: claims.regions_grow_sparser(other) for name, other in others.items()}))

# %% [markdown]
# ## One line
#
# The measurement on a handwritten digit and a small network before training: the boundaries on a line to another digit,
# sampled at more and more points, and exactly.

# %%
import numpy as np

from stiffness import transitions
from stiffness_book import page

model, x, y = page.two_images("fc-60-60")
for number in (3, 10, 100, 1000):
    line = x[0] + np.linspace(0, 1, number).reshape(-1, 1, 1, 1) * (x[1] - x[0])
    print(f"{number:5} points: {transitions(model, line, closed=False)} boundaries")
print(f"exactly: {transitions(model, x, closed=False, exact=True)}")

# %% [markdown]
# ## The runs
#
# The settings are under *Parameters*, near the top. All runs but the drawn one are those of [the page on
# ellipses](ellipses.ipynb).

# %% tags=["hide-input"]
for _, provenance in found.values():
    page.summary(provenance)
