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
# # Figure 8: stiffness and the learning rate
#
# **What this page shows.** The same network learns the same images at different learning rates. A network that takes
# large steps gets anywhere sooner, so the runs are not compared after equally many steps but where they have learnt
# equally much: each is stopped when its loss on the training images comes down to the same value. There, how much do
# images of *different* classes help each other?
#
# Drawn is between-class stiffness, the mean of everything off the diagonal of the
# [class stiffness matrix](../book/theory.md), over pairs of validation images. The paper claims that a higher rate
# gives a higher one, on both data sets and at each of three losses (C6), and reads this as a regularising effect of the
# learning rate: what is learnt in large steps is of use to more classes.

# %% tags=["parameters", "hide-input"]
losses: dict = {"mnist": [0.3, 0.1, 0.03], "fashion_mnist": [0.5, 0.4, 0.3]}  # data sets, and where each is measured
learning_rates: list = [3e-5, 8e-5, 2e-4, 5e-4, 1.2e-3, 3e-3]  # each constant throughout training
network: str = "fc-500-300-100"  # fully connected, widths of the hidden layers; v3's. v1's: fc-500-400-300-200-100
optimizer: str = "adam"  # adam or sgd
batch_size: int = 32  # examples in a step
seeds: int = 5  # runs at each rate, with seeds 0, 1, ...: initialisation, order of the data
train_size: int = None  # training examples, class-balanced; None is all of them
unit_length: bool = False  # scale each input to length 1, as v3 does
probe_size: int = 500  # validation examples whose pairs are measured
max_steps: int = 40000  # a run that has not reached its losses by then ends without them

# %% tags=["hide-input"]
from stiffness_book import charts, claims, page, store, summaries, sweep

page.start()
page.check_parameters()

# %% tags=["experiments", "hide-input"]
from stiffness_book.experiment import Experiment

experiments = [
    Experiment(dataset=dataset, network=network, optimizer=optimizer, learning_rate=learning_rate,
               batch_size=batch_size, seed=seed, train_size=train_size, unit_length=unit_length,
               probe_size=probe_size, stages=[0], stage_losses=losses[dataset], max_steps=max_steps)
    for dataset in losses for learning_rate in learning_rates for seed in range(seeds)
]

# %% tags=["hide-input"]
table = sweep.table_of(experiments, "dataset", "learning_rate")
provenance = store.provenance(experiments)
stops = summaries.stops(table, losses)

# %% [markdown]
# ## Stiffness against the rate
#
# A line for each training loss; the bands are 95 % intervals over the runs. Switch from the sign, which the claim is
# about, to the cosine, which also says how strongly two images help each other.

# %% tags=["hide-input"]
charts.stiffness_against_rate(table, stops, title="Figure 8. Stiffness between classes")

# %% [markdown]
# ## Where the runs were stopped
#
# While a run trains, its weights are held now and then to measure the loss on a fixed set of training images. The
# first measurement at or below the target counts, so the loss there is the target or lower.

# %% tags=["hide-input"]
page.say(f"The loss is measured every {experiments[0].check_every} steps.")
rows = ["| data | loss aimed at | loss measured | steps, slowest and fastest rate | runs that reached it |",
        "|---|---|---|---|---|"]
for (dataset, loss), own in stops.groupby(["dataset", "target_loss"], sort=False):
    numbers = f"{own['lowest'].min():.3f} to {own['highest'].max():.3f} | {own['step'].max():,.0f} and " \
              f"{own['step'].min():,.0f}" if own["runs"].any() else "none | none"
    rows.append(f"| {dataset} | {loss:g} | {numbers} | {own['runs'].sum()} of {len(own) * seeds} |")
page.say("\n".join(rows))
short = stops[stops["runs"] < seeds]
if len(short):
    page.say(f"Not every run came down to every loss within {max_steps:,} steps: {claims.reached(short, seeds)}. "
                 "The means there are over those that did.")

# %% [markdown]
# ## What was found

# %% tags=["hide-input"]
between = table[(table["quantity"] == "between_classes_sign") & table["target_loss"].notna()]
means = summaries.over_seeds(between, ["dataset", "target_loss", "learning_rate"])
lines = means.pivot(index=["dataset", "target_loss"], columns="learning_rate", values="mean")
stiffest = lines.idxmax(axis=1).loc[list(dict.fromkeys(zip(between["dataset"], between["target_loss"])))]
page.say(
    f"The highest rate is the stiffest in {(stiffest == lines.columns[-1]).sum()} of the {len(lines)} lines. Each is "
    "highest at: " + "; ".join(f"{rate:g} ({dataset}, loss {loss:g})" for (dataset, loss), rate in stiffest.items())
    + ". A positive slope does not say that a line never turns. Of the "
    f"{len(means)} means {(means['low'] > 0).sum()} have an interval above 0 and {(means['high'] < 0).sum()} one below."
)
neighbours, rise = lines.groupby("dataset").diff().abs().stack(), (lines.iloc[:, -1] - lines.iloc[:, 0]).mean()
page.say(
    "Could it be that the slopes come from runs that were stopped below their loss, and faster ones further below? "
    f"Even the whole way from one loss to the next changes stiffness by only {neighbours.mean():.3f} on average, up or "
    f"down, at the same rate. The way from the lowest rate to the highest, at the same loss, changes it by "
    f"{claims.signed3(rise)}, which is {abs(rise) / neighbours.mean():.1f} times as much."
)
cosines = table[(table["quantity"] == "between_classes_cosine") & table["target_loss"].notna()]
cosines = summaries.trends(cosines, ["dataset", "target_loss"], "learning_rate", summaries.slope_per_decade)
page.say(
    f"By the cosine, the interval of the slope lies above 0 for {(cosines['low'] > 0).sum()} of the {len(cosines)} "
    f"lines and below for {(cosines['high'] < 0).sum()}; the slopes are between "
    f"{claims.signed3(cosines['mean'].min())} and {claims.signed3(cosines['mean'].max())} per tenfold rate."
)
page.found(claims.higher_rate_is_stiffer(table))

# %% [markdown]
# ## The runs
#
# The first folded cell above holds this page's parameters. [Figure 9](fig09_distance.ipynb) and
# [Figure 10](fig10_domain_size.ipynb) draw the same runs.

# %% tags=["hide-input"]
page.summary(provenance)
