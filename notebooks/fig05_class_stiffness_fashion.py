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
# # Figure 5: stiffness between classes, Fashion-MNIST
#
# **What this page shows.** [Figure 3](fig03_class_stiffness_mnist.ipynb) on other images: the same network, the same
# training, the same stages, but photographs of clothes and shoes in place of digits. They are harder to tell
# apart, and some classes look alike: pullovers, coats and shirts; sandals, sneakers and ankle boots.
#
# The paper says that the picture is the same on all of its data: a diagonal that is positive from the start (C1), and
# the rest inconsistent at first and then positive (C2).

# %% tags=["parameters", "hide-input"]
dataset: str = "fashion_mnist"  # fashion_mnist, or digits, which needs no download
network: str = "fc-500-300-100"  # fully connected, widths of the hidden layers; v3's. v1's: fc-500-400-300-200-100
optimizer: str = "adam"  # adam or sgd
learning_rate: float = 0.001  # constant throughout training
batch_size: int = 32  # examples in a step
seeds: int = 5  # runs, with seeds 0, 1, ...: initialisation, order of the data
train_size: int = None  # training examples, class-balanced; None is all of them
unit_length: bool = False  # scale each input to length 1, as v3 does
probe_size: int = 500  # validation examples whose pairs are measured
stages: list = [0, 10, 30, 100, 300, 1000, 3000, 6000, 10000, 20000, 40000]  # steps at which to measure
shown_stages: list = [0, 300, 10000, 40000]  # the stages that stand side by side

# %% tags=["hide-input"]
from stiffness_book import charts, claims, page, store, summaries, sweep

page.start()
page.check_parameters()

# %% tags=["experiments", "hide-input"]
from stiffness_book.experiment import Experiment

experiments = [
    Experiment(dataset=dataset, network=network, optimizer=optimizer, learning_rate=learning_rate,
               batch_size=batch_size, seed=seed, train_size=train_size, unit_length=unit_length,
               probe_size=probe_size, stages=stages)
    for seed in range(seeds)
]

# %% tags=["hide-input"]
table = sweep.table_of(experiments)
provenance = store.provenance(experiments)
matrices = summaries.class_matrices(table, provenance["class_names"][0])
last = stages[-1]

# %% [markdown]
# ## Four stages side by side
#
# Blue is positive, red negative, in the colours of the other figures.

# %% tags=["hide-input"]
charts.matrix_panels(
    matrices, shown_stages, "sign", title=["Figure 5. Class stiffness (sign)", dataset],
    of=f"a {network} network on {dataset}",
)

# %% [markdown]
# ## All measured stages

# %% tags=["hide-input"]
charts.matrix_slider(matrices, title=["Class stiffness", dataset],
                           of=f"a {network} network on {dataset}")

# %% [markdown]
# ## The two summaries, and the losses

# %% tags=["hide-input"]
charts.stiffness_evolution(table, title=["Stiffness through training", dataset])

# %% tags=["hide-input"]
charts.loss_evolution(table, title="The losses of the same runs")

# %% [markdown]
# ## What was found
#
# The rules are those of Figure 3's page, applied to these runs.

# %% tags=["hide-input"]
page.found(claims.within_class_positive(table), "C1-fashion")
page.found(claims.between_classes_grows(table), "C2-fashion")

# %% tags=["hide-input"]
pairs = summaries.pairs_of_classes(matrices, last)
harmful = pairs[pairs["high"] < 0]
page.say(
    f"After {last:,} steps {len(harmful)} of {len(pairs)} pairs of classes harm each other on average: the "
    "interval of their sign stiffness lies below 0. The lowest are " + ", ".join(
        f"{' and '.join(classes)} {claims.interval(row)}" for classes, row in pairs.iloc[:3].iterrows())
    + f"; the highest is {' and '.join(pairs.index[-1])} {claims.interval(pairs.iloc[-1])}."
)

# %% [markdown]
# Looking alike is not helping each other. What tells two such classes apart is learnt for the one and against the
# other, so where that is what is left to learn, a step for one of them harms the other.

# %% [markdown]
# ## The runs
#
# The first folded cell above holds this page's parameters.

# %% tags=["hide-input"]
page.summary(provenance)
