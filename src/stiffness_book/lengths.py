"""Dynamical critical lengths: where straight lines through the stiffness of pairs of one class reach zero.

Runs store the length of the line through all of these pairs (`stiffness.critical_length`), and the curve of means by
bin of distance, each with its number of pairs. Lines through other windows of distance are fitted to the curve, a bin
counting as often as it has pairs.
"""

import numpy as np
import pandas as pd
from scipy.stats import bootstrap

from stiffness_book.summaries import LEVEL, mean_and_interval, slope_per_decade
from stiffness_book.table import BIN, FEWEST_PAIRS

RUN = ("dataset", "network", "learning_rate", "seed", "step", "target_loss")
RESAMPLES = 999
# windows of distance by the shares of a run's pairs that are nearer than their ends
WINDOWS = {"all pairs": (0, 1), "the nearer half": (0, 0.5), "the farther half": (0.5, 1),
           "without the ends": (0.1, 0.9)}
FEWEST_BINS = 3  # of a window: two points always lie on a line
FEWEST_SHARE = 0.1  # of the pairs, in a window
FLAT = 1e-9  # a slope that is rounding
STARTS = (0.0, 0.2, 0.4)  # of the windows that are drawn


def line(distance, stiffness, pairs):
    """Intercept and slope of the least-squares line, each point counting as often as it has pairs (last axis)."""
    weights = pairs / pairs.sum(-1, keepdims=True)
    x, y = ((weights * values).sum(-1, keepdims=True) for values in (distance, stiffness))
    variance = (weights * (distance - x) ** 2).sum(-1)
    products = (weights * (distance - x) * (stiffness - y)).sum(-1)
    slope = np.divide(products, variance, out=np.full_like(products, np.nan), where=variance > 0)
    return y[..., 0] - slope * x[..., 0], slope


def crossing(intercept, slope):
    """The distance at which the line, positive at distance 0, reaches zero; NaN where it does not fall from there."""
    falls = (slope < 0) & (intercept > 0)
    return np.where(falls, -intercept / np.where(falls, slope, -1), np.nan)


def curves(table, kind):
    """The curves over pairs of one class: a row for each run, stage, space and bin: its distance, stiffness, pairs."""
    keys = [*_run(table), "space", "distance"]
    found = table[table["quantity"] == f"distance_curve_within_class_{kind}"].rename(columns={"value": "stiffness"})
    numbers = table[table["quantity"] == "distance_pairs_within_class"].rename(columns={"value": "pairs"})
    rows = found[[*keys, "stiffness"]].merge(numbers[[*keys, "pairs"]], on=keys)
    return rows.sort_values("distance", kind="stable", ignore_index=True)


def known(table, kind):
    """The stored lengths of a kind: a row for each run, stage and space.

    value: the length, missing where the line does not fall from a positive value; farthest: the end of the farthest bin
    of distance that has enough pairs of one class to be judged; inside: whether the line crosses zero before it.
    """
    keys = [*_run(table), "space"]
    found = table.loc[table["quantity"] == f"critical_length_{kind}", [*keys, "value"]]
    numbers = table[(table["quantity"] == "distance_pairs_within_class") & (table["value"] >= FEWEST_PAIRS)]
    ends = (numbers.groupby(keys, dropna=False)["distance"].max() + BIN / 2).rename("farthest").reset_index()
    found = found.merge(ends, on=keys, how="left")
    found["value"] = found["value"].where(found["value"] > 0)
    return found.assign(inside=found["value"] <= found["farthest"])


def in_windows(found, windows):
    """The lengths of the lines through the bins of each window: a row for each run, stage, space, start and end.

    found: as from `curves`; windows: pairs of start and end. A window with fewer than FEWEST_BINS bins, or less than
    FEWEST_SHARE of the pairs, has none.
    """
    keys = [*_run(found), "space"]
    whole = found.groupby(keys, dropna=False, sort=False)["pairs"].transform("sum")
    rows = []
    for start, end in windows:
        chosen = (found["distance"] > start) & (found["distance"] < end)
        own = _lengths(found[chosen].assign(share=found["pairs"] / whole), keys)
        rows.append(own[own.pop("share") >= FEWEST_SHARE].assign(start=start, end=end))
    return pd.concat(rows, ignore_index=True)


def by_share(found, window):
    """The lengths of the lines through a window whose ends are shares of the pairs, one of WINDOWS, as from `known`."""
    low, high = WINDOWS[window]
    keys = [*_run(found), "space"]
    pairs = found.groupby(keys, dropna=False, sort=False)["pairs"]
    share = (pairs.cumsum() - found["pairs"] / 2) / pairs.transform("sum")
    return _lengths(found[(share >= low) & (share <= high)].assign(share=0.0), keys).drop(columns="share")


def _lengths(found, keys):
    """The length of the line through all bins of each group of the keys, and the sum of their column share."""
    weights, x, y = (found[name] for name in ("pairs", "distance", "stiffness"))
    sums = found[keys].assign(bins=1, share=found["share"], w=weights, x=weights * x, y=weights * y,
                              xx=weights * x * x, xy=weights * x * y).groupby(keys, dropna=False, sort=False).sum()
    x, y = sums["x"] / sums["w"], sums["y"] / sums["w"]
    variance = (sums["xx"] / sums["w"] - x**2).clip(lower=0)
    slope = (sums["xy"] / sums["w"] - x * y) / variance.where(variance > 0)
    slope = slope.where(slope.abs() > FLAT)
    value = pd.Series(crossing(y - slope * x, slope), sums.index).where(sums["bins"] >= FEWEST_BINS)
    return sums[["share"]].assign(value=value).reset_index()


def per_decade(rows):
    """The change of ln length where the learning rate grows tenfold, a value for each seed: the least-squares slope
    at equal training loss, averaged over the losses. A run without a length at its lowest or highest rate is left out
    at that loss.

    rows: of one data set, network and space, as from `known`.
    """
    slopes = {}
    for (seed, loss), own in rows.dropna(subset="target_loss").groupby(["seed", "target_loss"]):
        there = own.dropna(subset="value")
        if set(rows["learning_rate"].agg(["min", "max"])) <= set(there["learning_rate"]) and len(there) > 1:
            slopes[seed, loss] = slope_per_decade(there["learning_rate"], np.log(there["value"]))
    return _by_seed(slopes)


def at_low_rates(rows):
    """The rows from the lowest to the middle learning rate."""
    return rows[rows["learning_rate"] <= middle(rows["learning_rate"])]


def at_high_rates(rows):
    """The rows from the middle learning rate to the highest."""
    return rows[rows["learning_rate"] >= middle(rows["learning_rate"])]


def through_training(rows):
    """The change of ln length from initialisation to the last stage, a value for each seed.

    rows: of one data set, network and space at one rate, as from `known`; stages by training loss are left out.
    """
    by_step = np.log(rows[rows["target_loss"].isna()].pivot(index="seed", columns="step", values="value"))
    if len(by_step.columns) < 2:
        return pd.Series(dtype=float)
    return (by_step.iloc[:, -1] - by_step.iloc[:, 0]).dropna()


def intervals(found):
    """The length of a case with its intervals at 95 %, from the curves of its runs (as from `curves`, of one case):
    {"seeds": Student's over the runs, "runs": the runs drawn again, "bins": the bins of distance drawn again}, each
    (mean, low, high).

    The mean is that of the runs' lengths. The bootstrap draws with replacement, and takes the middle 95 %.
    """
    wide = found.pivot(index="seed", columns="distance", values=["stiffness", "pairs"])
    stiffness, pairs = wide["stiffness"].to_numpy(), wide["pairs"].fillna(0).to_numpy()
    distance, stiffness = wide["stiffness"].columns.to_numpy(float), np.where(pairs > 0, stiffness, 0)

    def mean_length(chosen_distance, chosen_stiffness, chosen_pairs):
        return np.nanmean(crossing(*line(chosen_distance, chosen_stiffness, chosen_pairs)), axis=-1)

    lengths = crossing(*line(distance, stiffness, pairs))
    lengths = lengths[~np.isnan(lengths)]
    if len(lengths) < 2:
        missing = (float(lengths.mean()) if len(lengths) else np.nan, np.nan, np.nan)
        return dict.fromkeys(("seeds", "runs", "bins"), missing)

    def over_bins(places, axis):  # places: (..., bins), the same draw for all runs, which have the same images
        return mean_length(distance[places][..., None, :], np.moveaxis(stiffness[:, places], 0, -2),
                           np.moveaxis(pairs[:, places], 0, -2))

    mean, common = lengths.mean(), {"n_resamples": RESAMPLES, "confidence_level": LEVEL, "method": "percentile",
                                    "vectorized": True, "rng": np.random.default_rng(0)}
    ends = [bootstrap((values,), statistic, **common).confidence_interval for values, statistic in (
        (lengths, np.mean), (np.arange(len(distance)), over_bins))]
    return {"seeds": mean_and_interval(lengths), **{name: (mean, float(low), float(high))
                                                    for name, (low, high) in zip(("runs", "bins"), ends)}}


def middle(values):
    """The middle one of the different values, the lower of two."""
    values = sorted(set(values))
    return values[(len(values) - 1) // 2]


def at_middle_loss(rows):
    """The rows of each data set at its middle training loss, of runs at several rates."""
    losses = rows.dropna(subset="target_loss").groupby("dataset")["target_loss"].agg(middle)
    return rows[rows["target_loss"] == rows["dataset"].map(losses)]


def cases(rates):
    """The curves in input space that `charts.window_sliders` draws, at the lowest, the middle and the highest rate of
    each data set, at its middle training loss: {name: rows}, of both kinds, the means over the runs."""
    rates = at_middle_loss(rates[rates["space"] == "input"])
    found = {}
    by = ["dataset", "learning_rate", "distance"]
    ends = known(rates, "cosine").groupby(["dataset", "learning_rate"])["farthest"].min()
    for kind in ("cosine", "sign"):
        means = curves(rates, kind).groupby(by, sort=False).agg(mean=("stiffness", "mean"), pairs=("pairs", "mean"))
        for dataset, own in means.reset_index().assign(kind=kind).groupby("dataset", sort=False):
            known_rates = sorted(set(own["learning_rate"]))
            for rate in dict.fromkeys((known_rates[0], middle(known_rates), known_rates[-1])):
                chosen = own[own["learning_rate"] == rate].assign(farthest=ends[dataset, rate])
                found.setdefault(f"{dataset}, rate {rate:g}", []).append(chosen)
    return {name: pd.concat(rows, ignore_index=True) for name, rows in found.items()}


def windows(rates):
    """The lengths in input space by the window of the fit, at the middle rate and loss of each data set, as from
    `in_windows`, and `inside` as from `known`; windows begin at STARTS and end at bins' ends."""
    chosen = curves(at_middle_loss(rates[rates["space"] == "input"]), "cosine")
    found = [pd.DataFrame(columns=["dataset", "start", "end", "value", "inside"])]
    for dataset in chosen["dataset"].unique():
        own = chosen[chosen["dataset"] == dataset]
        own = own[own["learning_rate"] == middle(own["learning_rate"])]
        filled = own.groupby("distance")["pairs"].min() >= FEWEST_PAIRS
        ends = (filled[filled].index.to_numpy(float) + BIN / 2).round(3)
        if len(ends):
            rows = in_windows(own, [(start, end) for start in STARTS for end in ends if end > start])
            found.append(rows.assign(inside=rows["value"] <= ends.max()))
    return pd.concat(found[1:] or found, ignore_index=True)


def with_networks(*tables):
    """The tables, with the network in the name of each data set that several networks learn in any of them."""
    several = pd.concat(tables).groupby("dataset")["network"].nunique() > 1
    return [table.assign(dataset=table["dataset"].where(~table["dataset"].map(several), table["dataset"] + ", "
                                                        + table["network"])) for table in tables]


def _run(table):
    return [name for name in RUN if name in table]


def _by_seed(values):
    """The mean over the losses, from {(seed, loss): value}; a seed counts only with all losses that any seed has."""
    if not values:
        return pd.Series(dtype=float)
    return pd.Series(values).unstack().dropna().mean(axis=1)
