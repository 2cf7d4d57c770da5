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
# # Figure 9: stiffness and distance
#
# **What this page shows.** Do two images help each other more the closer they are? Closeness is the angle between the
# two images as vectors of pixels, or between what a layer of the network makes of them, its *representation*. A network
# is stopped at a given training loss, all pairs of a set of validation images are sorted by their distance, and the
# mean stiffness of the pairs at each distance is drawn: once for the input, once for each layer.
#
# The first version of the paper gives the distance as the cosine of that angle, 1 for the same place; the third
# as 1 − cosine. Both stand at the axes. The paper claims that there is a critical distance below which stiffness is
# positive, in every layer, and that deeper layers have smaller *stiff domains* (C7): the size of a stiff domain is the
# distance at which the curve of all pairs first falls to zero. The [theory page](../book/theory.md) has the equations.

# %% tags=["parameters", "hide-input"]
losses: dict = {"mnist": [0.3, 0.1, 0.03], "fashion_mnist": [0.5, 0.4, 0.3]}  # data sets, and where each is measured
shown_losses: dict = {"mnist": 0.1, "fashion_mnist": 0.4}  # the one of them that is drawn
learning_rate: float = 0.0005  # constant throughout training
network: str = "fc-500-300-100"  # fully connected, widths of the hidden layers; v3's. v1's: fc-500-400-300-200-100
optimizer: str = "adam"  # adam or sgd
batch_size: int = 32  # examples in a step
seeds: int = 5  # runs, with seeds 0, 1, ...: initialisation, order of the data
train_size: int = None  # training examples, class-balanced; None is all of them
unit_length: bool = False  # scale each input to length 1, as v3 does
probe_size: int = 500  # validation examples whose pairs are measured
max_steps: int = 40000  # a run that has not reached its losses by then ends without them

# %% tags=["hide-input"]
from stiffness_book import charts, claims, page, store, summaries, sweep
from stiffness_book.table import FARTHEST

page.start()
page.check_parameters()

# %% tags=["experiments", "hide-input"]
from stiffness_book.experiment import Experiment

experiments = [
    Experiment(dataset=dataset, network=network, optimizer=optimizer, learning_rate=learning_rate,
               batch_size=batch_size, seed=seed, train_size=train_size, unit_length=unit_length,
               probe_size=probe_size, stages=[0], stage_losses=losses[dataset], max_steps=max_steps)
    for dataset in losses for seed in range(seeds)
]

# %% tags=["hide-input"]
table = sweep.table_of(experiments, "dataset")
table = table[table["target_loss"] == table["dataset"].map(shown_losses)]
provenance = store.provenance(experiments)
curves = summaries.distance_curves(table, ["dataset"])
sizes = summaries.domain_sizes(table)
medians = summaries.medians(sizes, ["dataset", "space", "quantity"])
domains = medians[medians["quantity"] == "stiff_domain_size_sign"]
reached = table.groupby("dataset")["seed"].nunique().reindex(list(losses), fill_value=0)

# %% [markdown]
# ## Stiffness against distance
#
# The vertical line is the size of the stiff domain, the median over the runs; the bands are 95 % intervals over the
# runs. The grey bars say how the pairs are spread over the distances: point at a curve for their number. Beside
# the curve of all pairs stand those of the pairs of one class, and of different classes, of which it is the mix.

# %% tags=["hide-input"]
charts.stiffness_against_distance(curves, domains, title="Figure 9. Stiffness against distance")

# %% [markdown]
# ## The sizes
#
# The two versions of the paper measure the reach of stiffness differently. The first takes the zero of the sign curve
# over *all* pairs. The third fits a straight line through the stiffness of the pairs of *one class* and takes the
# line's zero, the *critical length* ξ. Medians over the runs; the first version's distance, the cosine, in brackets.

# %% tags=["hide-input"]
def size(value):
    return f"{value:.2f} ({claims.signed(1 - value)})" if value < FARTHEST else "none"


wide = medians.pivot(index=["dataset", "space"], columns="quantity", values="median").loc[
    list(zip(domains["dataset"], domains["space"]))]
rows = ["| data | space | zero of all pairs, sign | pairs that are nearer | ξ, cosine | ξ, sign |",
        "|---|---|---|---|---|---|"]
for (dataset, space), lengths in wide.iterrows():
    pairs = curves[(curves["dataset"] == dataset) & (curves["space"] == space) & (curves["pairs"] == "all")
                   & (curves["kind"] == "sign")]
    nearer = pairs.loc[pairs["distance"] < lengths["stiff_domain_size_sign"], "number"].sum() / pairs["number"].sum()
    rows.append(f"| {dataset} | {space} | {size(lengths['stiff_domain_size_sign'])} | {claims.percent(nearer)} | "
                f"{size(lengths['critical_length_cosine'])} | {size(lengths['critical_length_sign'])} |")
page.say("\n".join(rows))
totals = medians.groupby("quantity")[["runs", "finite"]].sum()
counts = {name: f"{runs - finite} of {runs}" for name, runs, finite in totals.itertuples()}
page.say(f"A size is missing (*none*) where stiffness is positive and does not come down to zero at any distance "
             f"there is: so in {counts['stiff_domain_size_sign']} curves of all pairs, over runs and spaces, in "
             f"{counts['critical_length_cosine']} lines by cosine, and in {counts['critical_length_sign']} by sign.")

# %% [markdown]
# ## What was found

# %% tags=["hide-input"]
if (reached < seeds).any():
    page.say("The loss was not reached by every run: " + ", ".join(
        f"{dataset}: {number} of {seeds}" for dataset, number in reached.items()) + ".")
signs = curves[curves["kind"] == "sign"].sort_values("distance")
spaces = domains[["dataset", "space"]].apply(tuple, axis=1).tolist()
within = signs[signs["pairs"] == "within_class"]
nearest = signs[signs["pairs"] == "between_classes"].drop_duplicates(["dataset", "space"])
farther = [space for space in spaces for line in [signs[(signs["pairs"] == "all") & (signs["dataset"] == space[0])
                                                        & (signs["space"] == space[1])]]
           if (line["low"] > 0)[(line["high"] < 0).cummax()].any()]
page.say(
    "The curve of all pairs is a mix. Pairs of one class have a sign stiffness of at least "
    f"{claims.signed(within['mean'].min())} at every distance, in every space. The nearest pairs of *different* "
    f"classes have {claims.signed(nearest['mean'].min())} to {claims.signed(nearest['mean'].max())}, with the interval "
    f"below 0 in {(nearest['high'] < 0).sum()} of {len(nearest)} spaces and above 0 in {(nearest['low'] > 0).sum()}. A "
    "curve of all pairs falls with distance as pairs of one class become rare, even where neither of the two does."
)
cosines = curves[(curves["kind"] == "cosine") & (curves["pairs"] == "within_class")].sort_values("distance")
ends = [f"{claims.signed(means.min())} to {claims.signed(means.max())}"
        for means in (cosines.groupby(["dataset", "space"])["mean"].nth(place) for place in (0, -1))]
page.say(
    f"The cosine says more: for pairs of one class it is {ends[0]} among the nearest, depending on the space, and "
    f"{ends[1]} among the farthest."
)
page.say(
    f"Beyond the critical distance: in {len(farther)} of {len(spaces)} spaces the curve of all pairs, once below 0, "
    "comes to lie above 0 again farther out"
    + (f" ({', '.join(' '.join(space) for space in farther)})." if farther else ".")
)
page.found(claims.near_pairs_are_stiff(table))

# %% [markdown]
# ## The runs
#
# The first folded cell above holds this page's parameters. The runs are those of
# [Figure 8](fig08_learning_rate.ipynb) at one learning rate; [Figure 10](fig10_domain_size.ipynb) has the sizes at all.

# %% tags=["hide-input"]
page.summary(provenance)
