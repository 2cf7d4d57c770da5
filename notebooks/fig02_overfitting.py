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
# # Figure 2: stiffness and over-fitting
#
# **What this page shows.** A network that trains for long on few images ends up learning them by heart: its loss on
# them goes on falling while its loss on other images rises again. That is over-fitting. What becomes of stiffness,
# measured on images that it has never trained on?
#
# Drawn are the two losses, and the two summaries of the [class stiffness matrix](../book/theory.md): stiffness *within
# classes* and *between* them. The paper claims that when over-fitting sets in, stiffness within classes falls towards
# 0, and stiffness between them first stays where it is, then falls towards 0 too (C3).

# %% tags=["parameters", "hide-input"]
datasets: list = ["mnist", "fashion_mnist"]  # or digits, which needs no download
train_size: int = 1000  # training examples, class-balanced: few, so that they can be learnt by heart
network: str = "fc-500-300-100"  # fully connected, widths of the hidden layers; v3's. v1's: fc-500-400-300-200-100
optimizer: str = "adam"  # adam or sgd
learning_rate: float = 0.001  # constant throughout training
batch_size: int = 32  # examples in a step
seeds: int = 5  # runs, with seeds 0, 1, ...: initialisation, training examples, order of the data
unit_length: bool = False  # scale each input to length 1, as v3 does
probe_size: int = 500  # validation examples whose pairs are measured
stages: list = [0, 10, 30, 60, 100, 200, 300, 600, 1000, 2000, 3000, 6000, 10000, 20000]  # steps at which to measure

# %% tags=["hide-input"]
from IPython.display import display

from stiffness_book import charts, claims, page, store, summaries, sweep

page.start()
page.check_parameters()

# %% tags=["experiments", "hide-input"]
from stiffness_book.experiment import Experiment

experiments = [
    Experiment(dataset=dataset, network=network, optimizer=optimizer, learning_rate=learning_rate,
               batch_size=batch_size, seed=seed, train_size=train_size, unit_length=unit_length,
               probe_size=probe_size, stages=stages)
    for dataset in datasets for seed in range(seeds)
]

# %% tags=["hide-input"]
table = sweep.table_of(experiments, "dataset")
provenance = store.provenance(experiments)
tables = {dataset: table[table["dataset"] == dataset] for dataset in datasets}
onsets = {dataset: summaries.onset(rows) for dataset, rows in tables.items()}

# %% [markdown]
# ## Stiffness and losses through training
#
# The vertical line marks the onset of over-fitting. The paper marks where the two losses part; here it is the stage
# with the lowest mean validation loss, which can be computed. The bands are 95 % intervals over the runs.

# %% tags=["hide-input"]
for dataset, rows in tables.items():
    mark = (onsets[dataset], "lowest validation loss")
    display(charts.stiffness_evolution(rows, title=["Figure 2. Stiffness through training", dataset], mark=mark))
    display(charts.loss_evolution(rows, title=["The losses of the same runs", dataset], mark=mark))

# %% [markdown]
# ## What was found

# %% tags=["hide-input"]
for dataset, rows in tables.items():
    start, last = onsets[dataset], stages[-1]
    train, validation = (summaries.loss_curves(rows, [f"{name}_loss"]).set_index("step")["mean"]
                         for name in ("train", "validation"))
    accuracy = [claims.interval(summaries.at(rows, "validation_accuracy", step), claims.percent)
                for step in (start, last)]
    page.say(
        f"**{dataset}.** The validation loss is lowest after {start:,} steps, at {validation[start]:.2f}, where the "
        f"training loss is {claims.small(train[start])}; after {last:,} steps they are {validation[last]:.2f} and "
        f"{claims.small(train[last])}. The training loss is lowest after {train.idxmin():,} steps, at "
        f"{claims.small(train.min())}. The networks classify {accuracy[0]} of the validation images rightly at the "
        f"onset, {accuracy[1]} at the last stage." + ("" if last > start else " So these runs do not over-fit.")
    )
    told = []
    for quantity in ("within_class_sign", "between_classes_sign", "within_class_cosine", "between_classes_cosine"):
        after = summaries.stiffness_curves(rows, [quantity]).set_index("step").loc[start:]
        extremes = [f"{claims.interval(after.loc[step])}, {step:,} steps"
                    for step in (after["mean"].idxmax(), after["mean"].idxmin())]
        zero = after.index[(after["low"] <= 0) & (after["high"] >= 0)]
        told.append(" | ".join([
            "| " + ", ".join(quantity.replace("_", " ").rsplit(" ", 1)), claims.interval(after.iloc[0]), *extremes,
            claims.interval(after.iloc[-1]), (f"{zero[0]:,} steps" if len(zero) else "never") + " |"]))
    page.say("\n".join(["| from the onset on | at the onset | highest | lowest | at the last stage | interval "
                            "first holds 0 |", "|---|---|---|---|---|---|", *told]))
page.found(claims.overfitting_loses_stiffness(table))
negative = [dataset for dataset, rows in tables.items()
            if summaries.at(rows, "between_classes_sign", onsets[dataset])["mean"] < 0]
if negative:
    page.say(f"Between classes stiffness is already negative at the onset ({', '.join(negative)}), where 0 is "
                 "above it. The rule asks for a fall all the same, as the paper shows one.")

# %% [markdown]
# In convolutional networks the sign within classes does fall, as [Figure 6](fig06_class_stiffness_cifar10.ipynb) and
# [Figure 7](fig07_super_classes.ipynb) show. There the layers below the last outweigh it for many pairs;
# [the method page](../book/method.md) says why that is what it takes.

# %% [markdown]
# ## The same, seen through rounding
#
# A network that has learnt its images by heart is very sure of its answers, also on images that it has not seen. The
# gradient then begins with $p - 1$, $p$ being the probability of the right class, and where $p$ is nearer to 1 than
# the last digit of single precision, $p - 1$ is what rounding leaves: 0, or one or two units of the last digit, of
# either sign. All deep learning frameworks compute so. The numbers above do not have this flaw (the
# [method page](../book/method.md) says how); here they stand beside the same signs with it, of the same networks on the
# same images.

# %% tags=["hide-input"]
for dataset, rows in tables.items():
    display(charts.precision_evolution(rows, title=["Sign stiffness", dataset],
                                       mark=(onsets[dataset], "lowest validation loss")))

# %% tags=["hide-input"]
for dataset, rows in tables.items():
    exact, single = (
        summaries.stiffness_curves(part, ["within_class_sign"]).set_index("step")
        for part in (rows, summaries.in_single_precision(rows)))
    lowest = single["mean"].idxmin()
    page.say(
        f"**{dataset}.** Within classes, the lowest mean in single precision is {claims.interval(single.loc[lowest])}, "
        f"after {lowest:,} steps; without rounding it is {claims.interval(exact.loc[lowest])} there, and "
        f"{claims.interval(exact.loc[exact['mean'].idxmin()])} at its lowest."
    )
flawed = claims.overfitting_loses_stiffness(summaries.in_single_precision(table))
page.say(f"By the rule above, claim C3 would be judged *{flawed.verdict}* in single precision: {flawed.measured}.")

# %% [markdown]
# ## The runs
#
# The first folded cell above holds this page's parameters. More training examples put the onset off:
#
# ```sh
# papermill notebooks/fig02_overfitting.ipynb out.ipynb -p train_size 5000
# ```

# %% tags=["hide-input"]
page.summary(provenance)
