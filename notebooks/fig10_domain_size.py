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
# # Figure 10: stiff domains and the learning rate
#
# **What this page shows.** How far does the help of one image reach, and does that depend on the learning rate? For the
# runs of [Figure 8](fig08_learning_rate.ipynb), stopped at equal training loss, the reach is read off the curves that
# [Figure 9](fig09_distance.ipynb) draws for one of the rates.
#
# The two versions of the paper read it off differently, and what they say sounds opposite. The first takes the *stiff
# domain*: the distance at which the sign stiffness of all pairs first falls to zero, in input space and in each layer's
# representation. It claims that stiff domains grow with the learning rate (C8). The third takes the *critical
# length* ξ: where a straight line through the pairs of one class reaches zero. It claims that ξ shrinks (C9), which
# this page does not judge. Both are drawn here, from the same runs. The [theory page](../book/theory.md) has the
# equations.

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
import numpy as np

from stiffness_book import charts, claims, page, store, summaries, sweep
from stiffness_book.table import BIN

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
table = table[table["target_loss"].notna()]
provenance = store.provenance(experiments)
sizes = summaries.domain_sizes(table)
medians = summaries.medians(sizes, ["dataset", "target_loss", "learning_rate", "space", "quantity"])
layers = [space for space in sizes["space"].unique() if space != "input"]

# %% [markdown]
# ## In input space, by both definitions
#
# The first row of panels has the stiff domains of the first version, the second the critical length of the third, by
# the cosine. Lines are medians over the runs; bands reach from the least to the largest, or to the panel's edge. The
# axes give the distance as 1 − cosine, and the cosine, the first version's distance, in brackets. A triangle at the
# upper edge says that there is no such distance: stiffness is positive, and falls to zero nowhere. By the sign, a
# critical length is not to be expected, as within a class [+1 is](../book/method.md), at every distance; the table
# below counts.

# %% tags=["hide-input"]
charts.domain_sizes_against_rate(
    medians, [("stiff domain, v1: zero of all pairs, sign", "stiff_domain_size_sign", "input"),
              ("ξ, v3: line through one class, cosine", "critical_length_cosine", "input")],
    title="Figure 10. Sizes in input space",
)

# %% [markdown]
# ## In the layers' representations
#
# The stiff domains of the first version:

# %% tags=["hide-input"]
charts.domain_sizes_against_rate(medians, [(space, "stiff_domain_size_sign", space) for space in layers],
                                 title="Stiff domains (v1) in the layers")

# %% [markdown]
# The critical length of the third version, by the cosine. That version measures it in input space alone.

# %% tags=["hide-input"]
charts.domain_sizes_against_rate(medians, [(space, "critical_length_cosine", space) for space in layers],
                                 title="Critical length ξ (v3) in the layers")

# %% [markdown]
# ## What was found

# %% tags=["hide-input"]
short = summaries.stops(table, losses).query("runs < @seeds")
if len(short):
    page.say(f"Not every run came down to every loss: {claims.reached(short, seeds)}.")
page.found(claims.domain_grows_with_rate(table))
trends = summaries.trends(sizes, ["dataset", "target_loss", "space", "quantity"], "learning_rate",
                          summaries.rank_correlation, bounds=summaries.STIFFNESS)
names = {"stiff_domain_size_sign": "stiff domain (v1)", "critical_length_cosine": "ξ by cosine (v3)",
         "critical_length_sign": "ξ by sign (v3)"}
rows = ["| size | space | grows | shrinks | neither is shown | never zero |", "|---|---|---|---|---|---|"]
for quantity, name in names.items():
    for space in sizes["space"].unique():
        own = trends[(trends["quantity"] == quantity) & (trends["space"] == space)]
        endless = np.isinf(sizes.loc[(sizes["quantity"] == quantity) & (sizes["space"] == space), "value"])
        grows, shrinks = (own["low"] > 0).sum(), (own["high"] < 0).sum()
        rows.append(f"| {name} | {space} | {grows} | {shrinks} | {len(own) - grows - shrinks} | {endless.sum()} of "
                    f"{len(endless)} |")
page.say("How the sizes move with the learning rate, by the 95 % interval of the rank correlation over seeds. Each "
             "data set with each training loss is a case; *never zero* are the runs in which there is no finite "
             "size.\n\n" + "\n".join(rows))

# %% [markdown]
# ### Why the two definitions need not agree
#
# A critical length is about pairs of one class, a stiff domain about all pairs, most of which are of different
# classes. [Figure 9](fig09_distance.ipynb) draws the two apart: pairs of one class are common nearby and rare far
# away, and the curve of all pairs crosses zero where those of different classes outweigh them. If pairs of different
# classes become stiffer at every distance, the crossing moves outwards without any length having grown. Do the
# two go together, run by run?

# %% tags=["hide-input"]
between = table[table["quantity"] == "between_classes_sign"]
run = ["dataset", "target_loss", "learning_rate", "seed"]
domains = sizes[sizes["quantity"] == "stiff_domain_size_sign"].merge(
    between[[*run, "value"]].rename(columns={"value": "between"}), on=run)
together = domains.groupby(["space"], sort=False).apply(lambda rows: np.mean(
    [summaries.rank_correlation(group["between"], group["value"])
     for _, group in rows.groupby(["dataset", "target_loss"])]), include_groups=False)
page.say(
    "Rank correlation between a run's between-class stiffness and the size of its stiff domain, over the runs of all "
    "rates that were stopped at one loss, averaged over data sets and losses: "
    + ", ".join(f"{claims.signed(value)} ({space})" for space, value in together.items()) + "."
)
domain, length = (
    trends[(trends["space"] == "input") & (trends["quantity"] == name)].set_index(["dataset", "target_loss"])
    for name in ("stiff_domain_size_sign", "critical_length_cosine"))
lengths = sizes[(sizes["quantity"] == "critical_length_cosine") & (sizes["space"] == "input")].set_index(run)["value"]
pairs = table[(table["quantity"] == "distance_pairs_within_class") & (table["space"] == "input") & (table["value"] > 0)]
farthest = pairs.groupby(run)["distance"].max() + BIN / 2
page.say(
    "A straight line can be followed farther than there are pairs: in input space ξ by cosine lies beyond the farthest "
    f"pair of one class in {(lengths > farthest.reindex(lengths.index)).sum()} of {len(lengths)} cases of run and loss."
)
page.say(
    "In input space both papers' statements hold at once, stiff domains growing while ξ by cosine shrinks, in "
    f"{((domain['low'] > 0) & (length['high'] < 0)).sum()} of {len(domain)} cases of data set and loss; both grow "
    f"in {((domain['low'] > 0) & (length['low'] > 0)).sum()}. The rank correlation of ξ by cosine with the rate is "
    + ", ".join(f"{claims.interval(row)} ({dataset}, loss {loss:g})" for (dataset, loss), row in length.iterrows())
    + "."
)

# %% [markdown]
# ## The runs
#
# The first folded cell above holds this page's parameters. The runs are those of [Figure 8](fig08_learning_rate.ipynb).

# %% tags=["hide-input"]
page.summary(provenance)
