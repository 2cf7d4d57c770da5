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
# # Does stiffness reflect the order of the training data?
#
# **What this page shows.** Usually a network meets its training images in a random order, a fresh one in every pass
# over them. The first version of the paper leaves open what happens to stiffness otherwise (C17). Here the same network
# trains on the same images shuffled, sorted by class, from easy to hard, and from hard to easy.

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Parameters", "code_prompt_hide": "Parameters"}
datasets: list = ["mnist", "fashion_mnist"]  # also digits, which needs no download
orders: list = ["shuffled", "by class", "easy first", "hard first"]  # within each pass; shuffled must be among them
network: str = "fc-500-300-100"  # fully connected, widths of the hidden layers
optimizer: str = "adam"  # adam or sgd
learning_rate: float = 0.001  # constant throughout training
batch_size: int = 32  # examples in a step
seeds: int = 5  # runs of each order, with seeds 0, 1, ...: initialisation, order within classes and tenths
train_size: int = 16000  # training examples, class-balanced: 500 steps are a pass, 50 of them a class or a tenth
probe_size: int = 500  # validation examples whose pairs are measured
stages: list = [  # steps at which to measure: within the passes 1, 2, 5 and 10
    0, 25, 125, 225, 325, 425, 500, 525, 625, 725, 825, 925, 1000,
    2025, 2125, 2225, 2325, 2425, 2500, 4525, 4625, 4725, 4825, 4925, 5000]

# %% tags=["hide-input"]
from stiffness_book import charts, claims, figures, page, texts
from stiffness_book.table import neighbours_in
from stiffness_book.words import named

parameters = page.start()
parts = figures.data_order(**parameters)
found = {name: page.runs(experiments, "order") for name, experiments in parts.items()}
tables = named({name: table for name, (table, _) in found.items()})
steps = train_size // batch_size  # of a pass
verdict = claims.order_leaves_its_mark(tables)
page.answer(texts.order_and_stiffness(tables, verdict), verdict)

# %% [markdown]
# ## Stiffness between classes within a pass
#
# Means over the runs with 95 % intervals, by sign, for pairs of validation images of different classes. The validation
# images and the steps are the same in all orders.

# %% tags=["hide-input"]
number = iter(f"Chart {place}" for place in range(1, 40))
for dataset, table in tables.items():
    rows = table[table["quantity"] == "between_classes_sign"]
    page.show(charts.within_passes(rows, steps, "stiffness", bounds=(-1, 1), title=["Between classes", dataset]),
              next(number), f"Stiffness between classes on {dataset} within passes, in each order of the data.")

# %% [markdown]
# ## What is measured
#
# - *Shuffled*: every pass has a fresh random order.
# - *By class*: all images of the first class, then all of the second, and so on, in every pass; within a class they are
#   shuffled afresh. The same number of images of each class are taken.
# - *Easy first*: a pass goes through tenths of the images, the easiest first, shuffled afresh within a tenth. An image
#   is easy if a logistic regression gives its label a high probability. It sees the first 50 principal components of
#   the images, and is fitted on four fifths of them, to which the image does not belong.
# - *Hard first*: the same tenths, the hardest first.
#
# *Neighbours in time* are two images of which one is in the coming batch, and the other in the batch after it; they are
# taken from eight batches in a row. Their stiffness says whether the coming step helps the next one. In data sorted by
# class such images nearly always have the same class, and that alone makes them stiff. So the same pairs are also
# measured in a network that was trained on shuffled data for as many steps: what differs then is due to the training.

# %% [markdown]
# ## What training in an order does
#
# A network that sees one class at a time forgets the others. Each row of a heat map is a class, each column a stage.

# %% tags=["hide-input"]
for (dataset, table), (_, provenance) in zip(tables.items(), found.values()):
    rows = table[table["quantity"] == "validation_accuracy_of_class"]
    page.show(charts.class_accuracies(rows, steps, provenance.iloc[0]["class_names"],
                                      title=["Validation accuracy of each class", dataset]), next(number),
              f"The accuracy of each class on {dataset} through training in each order.")

# %% tags=["hide-input"]
page.say(texts.outcomes_by_order(tables))

# %% [markdown]
# These are at the last stage; the last column has the lowest and the highest mean over the runs at any stage after
# initialisation. At equal steps the orders are not at equal loss, so a difference of stiffness can be due to how far a
# network has come, and not to the order as such.
#
# ## Stiffness against shuffled data
#
# How much stiffness differs from that of the shuffled runs at the same steps, averaged over the stages after
# initialisation, on validation images:

# %% tags=["hide-input"]
page.say(texts.changes_by_order(tables))

# %% [markdown]
# Why sorted classes can make images of different classes stiff: a network that gives every image the class at hand is
# wrong about the other nine classes. One change, to lower the logit of the class at hand, helps all of these and hurts
# that one. If every sign followed from this, 36 of the 45 pairs of classes would be at +1 and 9 at −1, a mean of +0.60.
#
# ## Neighbours in time
#
# By sign, averaged over the stages after initialisation:

# %% tags=["hide-input"]
page.say(texts.neighbours_by_order(tables, "sign"))

# %% [markdown]
# By cosine:

# %% tags=["hide-input"]
page.say(texts.neighbours_by_order(tables, "cosine"))

# %% [markdown]
# Through the passes, for the orders by easiness, whose neighbours have all classes, on the first data set:

# %% tags=["hide-input"]
dataset, table = next(iter(tables.items()))
for order in [order for order in orders if order.endswith("first")]:
    rows = table[(table["quantity"] == neighbours_in(order, "sign")) & table["order"].isin(["shuffled", order])]
    page.show(charts.within_passes(rows, steps, "stiffness", bounds=(-1, 1),
                                   title=[f"Neighbours in the order {order}", dataset]), next(number),
              f"Stiffness of neighbours in the order {order} on {dataset}, in networks trained so and shuffled.")

# %% [markdown]
# ## What was found

# %% tags=["hide-input"]
page.found(verdict)

# %% [markdown]
# ## The runs
#
# The settings are under *Parameters*, near the top.

# %% tags=["hide-input"]
for _, provenance in found.values():
    page.summary(provenance)
