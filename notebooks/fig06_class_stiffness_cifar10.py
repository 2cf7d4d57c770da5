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
# # Figure 6: stiffness between classes, CIFAR-10
#
# **What this page shows.** The question of [Figure 3](fig03_class_stiffness_mnist.ipynb), asked of photographs: does a
# small gradient step on an image of one class lower the loss on an image of another? The network is now a
# convolutional one, the first version's: small filters that slide over the image, so that what it learns in one place
# it knows in all. The images that are measured are validation images, as before.
#
# The paper says that the picture is the same on all of its data: a diagonal that is positive from the start (C1),
# and the rest inconsistent at first and then positive (C2).

# %% tags=["parameters", "hide-input"]
dataset: str = "cifar10"  # cifar10, or digits, which needs no download
network: str = "cnn-32-64-128-256"  # 3x3 convolutions, their channels, each pooled; v1's. v3's: cnn-16-32-32
optimizer: str = "adam"  # adam or sgd
learning_rate: float = 0.001  # constant throughout training
batch_size: int = 32  # examples in a step
seeds: int = 3  # runs, with seeds 0, 1, ...: initialisation, order of the data
train_size: int = None  # training examples, class-balanced; None is all of them
unit_length: bool = False  # scale each input to length 1, as v3 does
probe_size: int = 500  # validation examples whose pairs are measured
stages: list = [0, 10, 30, 100, 300, 1000, 3000, 6000, 10000]  # steps at which to measure
stage_losses: list = [1.5, 1.25, 1.0]  # and training losses, for the page on architectures, which has the same runs
shown_stages: list = [0, 100, 3000, 10000]  # the stages that stand side by side

# %% tags=["hide-input"]
from stiffness_book import charts, claims, page, store, summaries, sweep

page.start()
page.check_parameters()

# %% tags=["experiments", "hide-input"]
from stiffness_book.experiment import Experiment

experiments = [
    Experiment(dataset=dataset, network=network, optimizer=optimizer, learning_rate=learning_rate,
               batch_size=batch_size, seed=seed, train_size=train_size, unit_length=unit_length,
               probe_size=probe_size, stages=stages, stage_losses=stage_losses)
    for seed in range(seeds)
]

# %% tags=["hide-input"]
table = sweep.table_of(experiments)
table = table[table["target_loss"].isna()]  # of the stages by loss each run has its own steps
provenance = store.provenance(experiments)
matrices = summaries.class_matrices(table, provenance["class_names"][0])
last = stages[-1]

# %% [markdown]
# ## Four stages side by side
#
# Blue is positive, red negative, in the colours of the other figures.

# %% tags=["hide-input"]
charts.matrix_panels(
    matrices, shown_stages, "sign", title=["Figure 6. Class stiffness (sign)", dataset],
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
page.found(claims.within_class_positive(table), "C1-cifar10")
page.found(claims.between_classes_grows(table), "C2-cifar10")

# %% tags=["hide-input"]
best = summaries.onset(table)
accuracy = summaries.at(table, "validation_accuracy", last)
within, between = (
    [claims.interval(summaries.at(table, f"{pairs}_sign", step)) for step in (stages[0], best, last)]
    for pairs in ("within_class", "between_classes"))
page.say(
    f"At the last stage, after {last:,} steps, {claims.interval(accuracy, claims.percent)} of the validation images "
    f"are classified rightly. The validation loss is lowest after {best:,} steps. Within classes sign stiffness is "
    f"{within[0]} at the first stage, {within[1]} there and {within[2]} at the last; between them {between[0]}, "
    f"{between[1]} and {between[2]}. Whether over-fitting makes it fall (C3) is the question of "
    "[Figure 2](fig02_overfitting.ipynb)."
)
classes = summaries.pairs_of_classes(matrices, last)
page.say(
    f"After {last:,} steps the pair of classes with the highest mean sign stiffness is "
    f"{' and '.join(classes.index[-1])} ({claims.interval(classes.iloc[-1])}), the one with the lowest "
    f"{' and '.join(classes.index[0])} ({claims.interval(classes.iloc[0])})."
)

# %% [markdown]
# ## The runs
#
# The first folded cell above holds this page's parameters.

# %% tags=["hide-input"]
page.summary(provenance)
