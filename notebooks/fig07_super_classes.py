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
# # Figure 7: super-classes, CIFAR-100
#
# **What this page shows.** CIFAR-100 has 100 classes of photographs, which its authors sorted into 20 *super-classes*
# of five: the beaver, the dolphin, the otter, the seal and the whale are aquatic mammals. A convolutional network
# learns the 100 classes and is told nothing of the 20. Does a step that helps the dolphins help the whales more than
# it helps the tractors?
#
# If so, the [class stiffness matrix](../book/theory.md), with the classes of a super-class next to each other, has
# blocks along its diagonal. The paper shows such blocks early in training, and its third version also two large ones,
# of the living and of the non-living (C5). When they appear and when they fade is a question that it leaves open (C15).

# %% tags=["parameters", "hide-input"]
dataset: str = "cifar100"  # or digits, which needs no download, with super_classes and living
network: str = "cnn-32-64-128-256"  # 3x3 convolutions, their channels, each pooled; v1's. v3's: cnn-16-32-32
optimizer: str = "adam"  # adam or sgd
learning_rate: float = 0.001  # constant throughout training
batch_size: int = 32  # examples in a step
seeds: int = 3  # runs, with seeds 0, 1, ...: initialisation, order of the data
train_size: int = None  # training examples, class-balanced; None is all of them
unit_length: bool = False  # scale each input to length 1, as v3 does
probe_size: int = 3000  # validation examples whose pairs are measured
stages: list = [0, 100, 300, 1000, 2000, 4000, 9000]  # steps at which to measure
shown_stage: int = 1000  # the stage that is shown first
super_classes: list = None  # the super-class of each class; None is the data set's own
living: list = None  # the super-classes on one side of the coarsest division; None is CIFAR-100's living ones

# %% tags=["hide-input"]
from stiffness_book import blocks, charts, claims, page, store, summaries, sweep

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
class_names = provenance["class_names"][0]
super_classes = provenance["super_classes"][0] if super_classes is None else super_classes
living = blocks.LIVING if living is None else living
matrices, arrangements = blocks.arrangements(table, class_names, super_classes, living)
tested = blocks.through_training(table, super_classes, living)
by_sign = blocks.stages(tested)
last = stages[-1]

# %% [markdown]
# ## The matrix
#
# Each of its cells is a pair of classes: blue where they help each other, red where they harm each other, the mean
# over the runs. Choose the order of the classes: by super-class (outlined); with the living before the non-living; or
# as a hierarchical clustering finds it in the matrix itself, told nothing of super-classes. Each of its clusters of
# three classes or more is named by the super-class that has most classes in it. Point at a cell for its classes.

# %% tags=["hide-input"]
charts.matrix_orders(
    matrices, arrangements, class_names, super_classes, step=shown_stage,
    title=["Figure 7. Class stiffness", dataset],
    description=f"The class stiffness matrix of a {network} network on {dataset}, {len(class_names)} classes square, "
    f"at each of {len(stages)} stages chosen by a slider. By sign stiffness, two classes of one super-class have more "
    "than two others by " + ", ".join(
        f"{by_sign.loc[(blocks.SUPER, step), 'mean']:.3f} after {step:,} steps" for step in stages) + ".",
)

# %% [markdown]
# ## Blocks through training
#
# How much more do classes of one super-class help each other? Drawn is the mean stiffness over pairs of two
# classes in one super-class, minus that over pairs in different ones. For the living and the
# non-living, pairs within a super-class do not count, and the difference is between pairs on one side and pairs across.
# Bands are 95 % intervals over the runs.

# %% tags=["hide-input"]
charts.block_evolution(tested, title=["Differences that make blocks", dataset])

# %% [markdown]
# Could it be chance? The classes are dealt out anew, at random, to super-classes of the same sizes, many times over,
# and $p$ is the share of these that reach the true difference. The table is by sign stiffness.

# %% tags=["hide-input"]
page.say(
    "| steps | super-classes | largest p of a run | living / non-living | largest p of a run |\n"
    "|---|---|---|---|---|\n" + "\n".join(
        f"| {step:,} | " + " | ".join(
            f"{claims.interval(row, claims.signed3)} | {row['p']:.4f}"
            for row in (by_sign.loc[(division, step)] for division in (blocks.SUPER, blocks.LIVING_OR_NOT))) + " |"
        for step in stages)
    + f"\n\n{blocks.PERMUTATIONS:,} relabellings, the same for all matrices, so that p is at least "
    f"{1 / (1 + blocks.PERMUTATIONS):.4f}; for the living and the non-living whole super-classes are dealt out."
)

# %% [markdown]
# ## Found without being told
#
# The clustering joins the classes, or groups of them, that help each other most on average, until as many clusters are
# left as there are super-classes. The adjusted Rand index says how far the two divisions agree: 1 is the same
# division, and random ones have 0 on average.

# %% tags=["hide-input"]
agreement = blocks.agreement(table, super_classes)
charts.agreement_evolution(agreement, title="Clusters against super-classes")

# %% [markdown]
# ## The two summaries, and the losses

# %% tags=["hide-input"]
charts.stiffness_evolution(table, title=["Stiffness through training", dataset])

# %% tags=["hide-input"]
charts.loss_evolution(table, title="The losses of the same runs")

# %% [markdown]
# ## What was found

# %% tags=["hide-input"]
page.found(claims.super_class_blocks(tested, provenance["split_sizes"][0]["train"] // batch_size))

# %% [markdown]
# What counts as early decides on the living and the non-living. A pass over the data is a choice of ours, made before
# the runs; the published training set has more images than these runs had, and longer passes.

# %% tags=["hide-input"]
page.found(claims.super_classes_appear_and_fade(tested))

# %% tags=["hide-input"]
accuracy = claims.interval(summaries.at(table, "validation_accuracy", last), claims.percent)
validation = summaries.loss_curves(table, ["validation_loss"]).set_index("step")["mean"]
peak = by_sign.loc[blocks.SUPER, "mean"].idxmax()
at_peak = next(C for step, kind, C in matrices if (step, kind) == (peak, "sign"))
strongest = [f"{name.replace('_', ' ')} ({claims.signed(difference)})"
             for name, difference in blocks.by_group(at_peak, super_classes)]
index = summaries.over_seeds(agreement[agreement["kind"] == "sign"], ["step"], bounds=(-1, 1)).set_index("step")
best = index["mean"].idxmax()
page.say(
    f"The super-classes' difference is largest after {peak:,} steps. Each by itself, the super-classes whose "
    f"classes then help each other most, compared with the rest, are {', '.join(strongest[:3])}; least, "
    f"{', '.join(strongest[-3:])}. The clusters found in the matrix come closest to the super-classes after "
    f"{best:,} steps, with an adjusted Rand index of {claims.interval(index.loc[best])}; 95 % of random divisions stay "
    f"below {agreement['chance'].max():.2f}."
)
page.say(
    f"The validation loss is lowest after {validation.idxmin():,} steps, at {validation.min():.2f}; after {last:,} it "
    f"is {validation[last]:.2f}, and {accuracy} of the validation images are classified rightly."
)

# %% [markdown]
# ## The runs
#
# The first folded cell above holds this page's parameters. Which super-classes count as living is written down
# once, in `stiffness_book.blocks.LIVING`; the 20 super-classes themselves are those of Krizhevsky,
# *Learning multiple layers of features from tiny images* (2009).

# %% tags=["hide-input"]
page.summary(provenance)
