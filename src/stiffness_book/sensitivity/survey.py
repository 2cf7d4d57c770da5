"""What the pages on many trained networks compute from the tables of their ensembles."""

from functools import partial

import numpy as np
import pandas as pd
from scipy.stats import rankdata, t

from stiffness_book import sweep
from stiffness_book.sensitivity.ensemble import DECILES, Ensemble
from stiffness_book.summaries import LEVEL, over_seeds, rank_correlation
from stiffness_book.table import KINDS, SUMMARIES
from stiffness_book.words import WORDS, name_of

MINI = {"batch_size": 50, "steps": 3000, "check_every": 100}
FULL = {"batch_size": None, "steps": 400, "check_every": 20}
RATES = {"adam": (0.003, 0.001), "momentum": (0.03, 0.01), "sgd": (0.1, 0.03)}
# how the networks of each shape are trained
WAYS = (*({"optimizer": name, "learning_rates": rates, **MINI} for name, rates in RATES.items()),
        *({"optimizer": name, "learning_rates": RATES[name], **FULL} for name in ("adam", "momentum")),
        {"optimizer": "adam", "learning_rates": RATES["adam"], "activation": "hard_tanh", **MINI})
SETTINGS = ["dataset", "width", "depth", "activation", "optimizer", "batch", "learning_rate", "condition", "seed"]
SHAPE = ["dataset", "width", "depth"]  # networks of one shape begin alike, so they are not independent
# pairs of networks that differ in one thing: the setting, and its two values. The paper has the first one higher
FACTORS = {"labels": ("condition", "random labels", "true labels"),
           "batches": ("batch", "full", "mini"),
           "units": ("activation", "hard_tanh", "relu"),
           "augmentation": ("condition", "true labels", "translated")}
ALMOST = 0.95  # training accuracy that is enough for a network that never sees an image twice in the same place
MEASURES = {"jacobian_norm": "norm of the Jacobian", "transitions": "transitions",
            **{f"{summary}_{kind}{regime}": f"stiffness {WORDS[summary]}, {kind}{which}"
               for regime, which in (("", ""), ("_train_validation", ", training–test"))
               for summary in SUMMARIES for kind in KINDS}}
SENSITIVITY = ["jacobian_norm", "transitions"]
STIFFNESS = [name for name in MEASURES if name not in SENSITIVITY]
GROUPS = {"norm alone": ["jacobian_norm"], "sensitivity": SENSITIVITY, "stiffness": STIFFNESS,
          "all ten": [*SENSITIVITY, *STIFFNESS]}
RESAMPLED = 200  # times, for an interval
FEWEST = 5  # networks, for a rank correlation


def ensembles(*, datasets, widths, depths, seeds, ways=None, **settings):
    """The ensembles of every shape, each trained in all ways."""
    return [Ensemble(dataset=dataset, network="-".join(["fc", *[str(width)] * depth]), seed=seed, **settings, **way)
            for dataset in datasets for depth in depths for width in widths for seed in range(seeds)
            for way in ways or WAYS]


def networks(runs):
    """A row for each network and moment of the ensembles, which are computed if they are missing: SETTINGS, moment,
    step, gap, and the quantities; networks that diverged are left out. And a table of the ensembles' provenance.

    The gap is the training accuracy minus the test accuracy.
    """
    by_address = {run.address: run for run in runs}
    table, provenance = sweep.with_provenance(runs, "address")
    table = table[table["quantity"] != "diverged"]
    table = table.assign(quantity=table["quantity"].str.cat(table["decile"].astype("string"), sep=" ").fillna(
        table["quantity"]))
    wide = table.pivot(index=["address", "member", "moment", "step", "seed"], columns="quantity", values="value")
    wide = wide.reset_index().rename_axis(columns=None)
    wide = wide.sort_values("address", key=lambda column: column.map(list(by_address).index), kind="stable",
                            ignore_index=True)
    own = [by_address[address] for address in wide["address"]]
    told = pd.DataFrame([{
        "dataset": name_of(run.dataset), "width": run.layers[1][0], "depth": len(run.layers[1]),
        "activation": run.activation, "optimizer": run.optimizer, "batch": "mini" if run.batch_size else "full",
        "learning_rate": run.members[member][0], "condition": run.members[member][1]}
        for run, member in zip(own, wide["member"])], index=wide.index)
    gap = (wide["train_accuracy"] - wide["test_accuracy"]).rename("gap")
    return pd.concat([told, wide, gap], axis=1), provenance


def right(found, almost=()):
    """The networks that have every training label right at the end. almost: conditions for which ALMOST is enough."""
    enough = np.where(found["condition"].isin(almost), ALMOST, 1.0)
    return found[(found["moment"] == "end") & (found["train_accuracy"] >= enough)]


def without_random_labels(found):
    """The networks with true labels, whether or not their images are translated."""
    return found[found["condition"] != "random labels"]


def pairs(found, factor):
    """Pairs of networks that differ in one of the FACTORS and in nothing else: columns of both, ending in _one and
    _other. Both are right on the training examples; almost, where images are translated."""
    setting, one, other = FACTORS[factor]
    chosen = right(found, almost=("translated",))
    rest = [name for name in SETTINGS if name != setting]
    if setting != "condition":  # the other conditions are pairs of their own
        chosen = chosen[chosen["condition"] != "translated"]
    halves = [chosen[chosen[setting] == value] for value in (one, other)]
    return halves[0].merge(halves[1], on=rest, suffixes=("_one", "_other"))


def log_ratios(found, factor, quantity="jacobian_norm"):
    """For each shape the mean over its pairs of log10 of the first one's quantity divided by the other's."""
    both = pairs(found, factor)
    with np.errstate(divide="ignore"):
        ratios = np.log10(both[f"{quantity}_one"] / both[f"{quantity}_other"])
    return ratios.where(np.isfinite(ratios)).groupby([both[name] for name in SHAPE]).mean()


def correlation(found, measure):
    """Kendall's rank correlation of a measure with the gap: the value, its standard error, and the number of shapes.

    For the error the shapes are resampled as wholes, since networks of one shape are not independent. Networks without
    the measure are left out.
    """
    known = found[found[measure].notna()]
    if len(known) < FEWEST:
        return np.nan, np.nan, 0
    values, gaps = known[measure].to_numpy(float), known["gap"].to_numpy(float)
    shapes = list(known.groupby(SHAPE).indices.values())
    if len(shapes) < 2:
        return rank_correlation(values, gaps), np.nan, len(shapes)
    rng, again = np.random.default_rng(0), []
    for _ in range(RESAMPLED):
        chosen = np.concatenate([shapes[k] for k in rng.integers(0, len(shapes), len(shapes))])
        again.append(rank_correlation(values[chosen], gaps[chosen]))
    return rank_correlation(values, gaps), float(np.std(again, ddof=1)), len(shapes)


def correlation_within(found, measure, alike=("condition",)):
    """The same among networks of one shape that are alike in these settings too: the mean over shapes, its standard
    error, and the number of shapes. Groups of fewer than FEWEST networks are left out."""
    known = found[found[measure].notna()]
    groups = pd.Series({key: rank_correlation(rows[measure], rows["gap"])
                        for key, rows in known.groupby([*SHAPE, *alike]) if len(rows) >= FEWEST}, dtype=float)
    values = groups.groupby(level=list(range(len(SHAPE)))).mean() if len(groups) else groups
    spread = float(values.std(ddof=1) / len(values) ** 0.5) if len(values) > 1 else np.nan
    return float(values.mean()) if len(values) else np.nan, spread, len(values)


def within_settings(found, measure, settings):
    """{(setting, value): {data set: `correlation` among the networks with that value, and their number}}."""
    return {(setting, value): {name: (correlation(own, measure), len(own))
                               for name, own in chosen.groupby("dataset", sort=False)}
            for setting in settings for value, chosen in found.groupby(setting)}


def strata(found):
    """{name: a function of a measure that gives its correlation with the gap among those networks}."""
    return {"all": partial(correlation, found),
            "without random labels": partial(correlation, without_random_labels(found)),
            "alike networks": partial(correlation_within, found)}


def with_interval(value, error, shapes, bounds=(-1.0, 1.0)):
    """mean, low and high, by name; the ends are missing for a single shape."""
    half = t.ppf((1 + LEVEL) / 2, shapes - 1) * error if shapes > 1 else np.nan
    low, high = np.clip([value - half, value + half], *bounds)
    return {"mean": value, "low": low, "high": high}


def correlation_rows(found, measures):
    """Rows for `charts.estimates`: for each data set and measure {column: name} its correlation in each of `strata`."""
    rows = []
    for dataset, own in found.groupby("dataset", sort=False):
        for kind, correlated in strata(own).items():
            for measure, name in measures.items():
                rows.append([dataset, name, kind, *with_interval(*correlated(measure)).values()])
    return pd.DataFrame(rows, columns=["dataset", "name", "kind", "mean", "low", "high"])


def explained(found, measures):
    """The share of the variance of the gap's ranks that a linear regression on the measures' ranks tells of shapes that
    it was not fitted on: 1 for all of it; 0 or less for no more than their mean."""
    from sklearn.linear_model import LinearRegression  # slow to import, and most pages do without
    from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict

    ranks = np.stack([rankdata(found[name]) / len(found) for name in measures], axis=1)
    gap = rankdata(found["gap"]) / len(found)
    told = cross_val_predict(LinearRegression(), ranks, gap, groups=found.groupby(SHAPE).ngroup(),
                             cv=LeaveOneGroupOut())
    return 1 - ((gap - told) ** 2).sum() / ((gap - gap.mean()) ** 2).sum()


def explained_rows(found):
    """Rows for `charts.estimates`: for each data set what each of the GROUPS of measures explains, over all networks
    and over those without random labels, and what sensitivity and stiffness add to each other; with intervals
    from the jackknife over shapes, which are cut off at -1 and 1. Networks without a measure are left out.
    """
    def values(chosen):
        told = {name: explained(chosen, measures) for name, measures in GROUPS.items()}
        return told | {"sensitivity, added to stiffness": told["all ten"] - told["stiffness"],
                       "stiffness, added to sensitivity": told["all ten"] - told["sensitivity"]}

    rows = []
    for dataset, whole in found[found[GROUPS["all ten"]].notna().all(axis=1)].groupby("dataset", sort=False):
        for kind, own in (("all networks", whole), ("without random labels", without_random_labels(whole))):
            shapes = own.groupby(SHAPE).ngroup()
            n = shapes.nunique()
            if n < 4:
                continue
            without = pd.DataFrame([values(own[shapes != shape]) for shape in range(n)])
            errors = ((n - 1) * without.var(ddof=0)) ** 0.5
            rows += [[dataset, name, kind, *with_interval(value, errors[name], n, (-1.0, 1.0)).values()]
                     for name, value in values(own).items()]
    return pd.DataFrame(rows, columns=["dataset", "name", "kind", "mean", "low", "high"])


def size_correlations(found, measure):
    """For each way of training in one depth, the rank correlation of a measure with the width, where three or more
    widths have every training label right. A series by dataset and the other settings."""
    chosen = right(found)
    rest = [name for name in SETTINGS if name != "width"]
    return pd.Series({key: rank_correlation(rows["width"], rows[measure])
                      for key, rows in chosen.groupby(rest) if rows["width"].nunique() >= 3}, dtype=float)


def by_width(found):
    """Gap and norm by width: rows for `charts.size_curves`. For each data set, over the ways of training that fit every
    label at each width, of the widths at which FEWEST of them or more do."""
    rest, parts = [name for name in SETTINGS if name != "width"], []
    for _, own in right(found).groupby("dataset", sort=False):
        ways = own.groupby("width")["gap"].size()
        own = own[own["width"].isin(ways.index[ways >= FEWEST])]
        parts.append(own[own.groupby(rest)["width"].transform("size") == own["width"].nunique()])
    chosen = pd.concat(parts) if parts else right(found)
    long = chosen.melt(id_vars=["dataset", "width"], value_vars=["gap", "jacobian_norm"], var_name="quantity")
    return over_seeds(long, ["dataset", "width", "quantity"], bounds=(0, np.inf)) if len(long) else long


def by_decile(found, names):
    """Rows for `charts.errors_by_decile`. names: {predictor: words}. Means over the networks of a shape, then over
    shapes."""
    rows = []
    for predictor, words in names.items():
        columns = {f"error_by_{predictor} {tenth}": tenth + 1 for tenth in range(DECILES)}
        long = found.melt(id_vars=SHAPE, value_vars=list(columns), var_name="decile")
        long = long.assign(decile=long["decile"].map(columns))
        means = long.groupby([*SHAPE, "decile"], sort=False)["value"].mean().reset_index()
        rows.append(over_seeds(means, ["dataset", "decile"], bounds=(0, 1)).assign(name=words))
    return pd.concat(rows, ignore_index=True)


def area_rows(found, names):
    """Rows for `charts.estimates`: the areas under the curve of the predictors, alone and at equal margin."""
    rows = []
    for predictor, words in names.items():
        for kind, quantity in (("alone", f"auc_{predictor}"), ("at equal margin", f"auc_at_equal_margin_{predictor}")):
            means = found.groupby(SHAPE, sort=False)[quantity].mean().rename("value").reset_index()
            rows.append(over_seeds(means, ["dataset"], bounds=(0, 1)).assign(name=words, kind=kind))
    together = pd.concat(rows, ignore_index=True)
    order = list(dict.fromkeys(found["dataset"]))
    return together.sort_values("dataset", key=lambda column: column.map(order.index), kind="stable", ignore_index=True)
