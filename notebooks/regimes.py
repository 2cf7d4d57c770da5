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
# # Training and validation images: three regimes of pairs
#
# **What this page shows.** Everywhere else in this book both images of a pair are validation images, on which the
# network has never trained. The third version of the paper also takes pairs of two training images, and pairs of a
# training and a validation image, and finds that all three behave alike (C10). Do they, also when a network over-fits?

# %% tags=["parameters", "hide-input"] mystnb={"code_prompt_show": "Parameters", "code_prompt_hide": "Parameters"}
datasets: list = ["mnist", "fashion_mnist"]  # or digits, which needs no download
convolutional_dataset: str = "cifar10"  # of the first version's convolutional network; None leaves it out
permuted_dataset: str = "mnist"  # of the runs whose training labels are permuted
network: str = None  # fully connected, widths of the hidden layers, fc-500-300-100; None: the first version's
convolutional_network: str = None  # 3x3 convolutions, their channels, cnn-32-64-128-256; None: the first version's
optimizer: str = "adam"  # adam or sgd
learning_rate: float = 0.001  # constant throughout training
batch_size: int = 32  # examples in a step
seeds: int = 5  # runs, with seeds 0, 1, ...: initialisation, order of the data
train_size: int = None  # training examples, class-balanced; None is all of them
unit_length: bool = False  # scale each input to length 1, as v3 does
probe_size: int = 500  # images of each kind: validation images, and training images
stages: list = None  # steps at which to measure; None: those of Figures 2 to 4

# %% tags=["hide-input"]
from stiffness_book import charts, claims, figures, page, summaries, texts
from stiffness_book.words import name_of, named

parameters = page.start()
parts = figures.regimes(**parameters)
found = {name: page.runs(experiments) for name, experiments in parts.items()}
tables = named({name: table for name, (table, _) in found.items() if name != "permuted"})
permuted = found["permuted"][0]
verdict = claims.regimes_behave_alike(tables)
page.answer(texts.regimes_alike(tables), verdict)

# %% [markdown]
# ## Three regimes through training
#
# By sign and by cosine; the bands are 95 % intervals over the runs. Where the three curves lie on each other, the last
# one hides the others. The vertical line marks the onset of over-fitting, the stage with the lowest mean validation
# loss.

# %% tags=["hide-input"]
chart = (f"Chart {number}" for number in range(1, 20))
for dataset, table in tables.items():
    rows = table[table["target_loss"].isna()]
    mark = summaries.onset(rows), "lowest validation loss"
    for kind in ("sign", "cosine"):
        page.show(charts.regime_evolution(rows, kind, title=[f"Stiffness by {kind}", dataset], mark=mark), next(chart),
                  f"Stiffness on {dataset} by {kind}, over pairs of validation images, of training images, and mixed.")

# %% [markdown]
# ## What is measured
#
# One Gram matrix of training images, and one rectangular one of training images against validation images: as many of
# each as the probe set has, the same number of each class. No image is paired with itself.
#
# ## With permuted labels
#
# The labels of the training images are permuted at random, those of the validation images are the true ones.

# %% tags=["hide-input"]
page.show(charts.regime_evolution(permuted[permuted["target_loss"].isna()], "sign",
                                  title=["Stiffness by sign", f"{name_of(permuted_dataset)}, permuted labels"]),
          next(chart), "The three regimes with permuted labels.")

# %% [markdown]
# ## What was found

# %% tags=["hide-input"]
page.say(texts.largest_differences({**tables, f"{name_of(permuted_dataset)}, permuted labels": permuted}))
page.found(verdict)

# %% [markdown]
# ## The runs
#
# The settings are under *Parameters*, near the top. The runs are those of
# [Figures 2](fig02_overfitting.ipynb), [3](fig03_class_stiffness_mnist.ipynb),
# [4](fig04_permuted_labels.ipynb), [5](fig05_class_stiffness_fashion.ipynb) and
# [6](fig06_class_stiffness_cifar10.ipynb).

# %% tags=["hide-input"]
for _, provenance in found.values():
    page.summary(provenance)
