"""What figures and claims compute from the tidy tables: means over seeds with their 95 % intervals."""

import warnings

import numpy as np
import pandas as pd
from scipy.stats import kendalltau, norm, rankdata, t, ttest_ind

from stiffness_book.table import FARTHEST, FEWEST_PAIRS, SINGLE, STIFFNESS

LEVEL = 0.95
# the sizes of stiff domains, and the curve from which each is computed
SIZES = {"stiff_domain_size_sign": "all_sign", "critical_length_cosine": "within_class_cosine",
         "critical_length_sign": "within_class_sign"}


def mean_and_interval(values):
    """mean, low, high: Student's t interval of the mean at 95 %; the bounds are missing for fewer than two values."""
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return (values.mean() if len(values) else np.nan), np.nan, np.nan
    half = t.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return values.mean(), values.mean() - half, values.mean() + half


def difference_and_interval(a, b):
    """mean(a) − mean(b), low, high: Welch's t interval at 95 %; the bounds are missing for fewer than two values."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    if min(len(a), len(b)) < 2:
        return (a.mean() - b.mean() if min(len(a), len(b)) else np.nan), np.nan, np.nan
    difference = a.mean() - b.mean()
    if np.ptp(a) == np.ptp(b) == 0:
        return difference, difference, difference
    with warnings.catch_warnings():  # where the runs of one network are all alike, their variance is 0, as told
        warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)
        return difference, *ttest_ind(a, b, equal_var=False).confidence_interval(LEVEL)


def over_seeds(table, by, *, bounds=(-np.inf, np.inf)):
    """One row for each group of `by`: mean, low, high and number of seeds of `value`; intervals end at the bounds."""
    groups = table.groupby(by, dropna=False)["value"]
    rows = groups.apply(lambda values: pd.Series([*mean_and_interval(values), len(values)],
                                                 ["mean", "low", "high", "seeds"])).unstack()
    rows[["low", "high"]] = rows[["low", "high"]].clip(*bounds)
    return rows.astype({"seeds": int}).reset_index()


def stiffness_curves(table, quantities):
    """The evolution of stiffness summaries (a list of names): step, quantity, mean, low, high, seeds."""
    return over_seeds(table[table["quantity"].isin(quantities)], ["step", "quantity"], bounds=STIFFNESS)


def loss_curves(table, quantities):
    """The same for losses, on a logarithmic axis."""
    return geometric_over_seeds(table[table["quantity"].isin(quantities)], ["step", "quantity"])


def geometric_over_seeds(table, by):
    """As `over_seeds`: geometric means with the intervals of the logarithms."""
    rows = over_seeds(table.assign(value=np.log(table["value"])), by)
    with np.errstate(over="ignore"):  # the interval of few, very different numbers
        return rows.assign(**np.exp(rows[["mean", "low", "high"]]))


def first_and_last(table):
    """The steps of the first and the last stage that were measured; a run that diverged has a row later than that."""
    steps = table.loc[table["quantity"] != "diverged", "step"]
    return int(steps.min()), int(steps.max())


def at(table, quantity, step):
    """The quantity at one stage: mean, low, high, seeds."""
    chosen = table[(table["quantity"] == quantity) & (table["step"] == step)]
    return over_seeds(chosen, ["step"]).iloc[0]


def at_seeds(table, quantity, step):
    """The quantity at one stage by seed."""
    return table[(table["quantity"] == quantity) & (table["step"] == step)].groupby("seed")["value"].mean()


def probe_error(table, summary, step):
    """The standard error that the choice of the whole probe set's images gives a summary at a stage: the mean over the
    runs, which have the same images; 0 where none is stored."""
    errors = table[(table["quantity"] == f"{summary}_error") & (table["step"] == step)]
    if errors.empty:
        return 0.0
    return float(errors.loc[errors["probe_images"] == errors["probe_images"].max(), "value"].mean())


def mean_matrices(table, class_names):
    """Class stiffness matrices of all stages over the runs: step, kind, class_a, class_b, mean, low, high, seeds."""
    matrices = table[table["quantity"].str.startswith("class_stiffness_")]
    matrices = over_seeds(matrices, ["step", "quantity", "class_a", "class_b"], bounds=STIFFNESS)
    matrices.insert(1, "kind", matrices.pop("quantity").str.removeprefix("class_stiffness_"))
    for column in ("class_a", "class_b"):
        matrices[column] = [class_names[index] for index in matrices[column]]
    return matrices


def in_single_precision(table):
    """The table with the stiffness that was measured with the loss in single precision, in place of the exact one."""
    single = table["quantity"].str.endswith(SINGLE)
    names = table.loc[single, "quantity"].str.removesuffix(SINGLE)
    return pd.concat([table[~single & ~table["quantity"].isin(set(names))], table[single].assign(quantity=names)])


def onset(table):
    """The onset of over-fitting: the step of the stage with the lowest mean validation loss."""
    return int(loss_curves(table, ["validation_loss"]).set_index("step")["mean"].idxmin())


def stops(table, losses):
    """Where runs reached the stage losses, by dataset, target_loss and learning_rate: runs, loss and its range, step.

    losses: the stage losses of each data set. `runs` is the number of runs that reached the loss, which may be 0; loss
    (mean), lowest, highest and step (mean) are over these runs.
    """
    by = ["dataset", "target_loss", "learning_rate"]
    measured = table[table["quantity"] == "train_loss"]
    rates = measured.groupby("dataset")["learning_rate"].unique()
    aimed = [(dataset, loss, rate) for dataset in losses for loss in losses[dataset] for rate in rates[dataset]]
    reached = measured.groupby(by).agg(runs=("value", "size"), loss=("value", "mean"), lowest=("value", "min"),
                                       highest=("value", "max"), step=("step", "mean"))
    rows = reached.reindex(pd.MultiIndex.from_tuples(aimed, names=by)).reset_index()
    return rows.assign(runs=rows["runs"].fillna(0).astype(int))


def distance_curves(table, by=()):
    """Stiffness against distance: a row for each of `by`, space, pairs, kind and distance.

    The columns are mean, low, high, seeds, and number, the mean number of pairs in the bin. pairs is all, within_class
    or between_classes, which is computed from the other two (for cosines, except for the pairs that have none). Bins
    with fewer than FEWEST_PAIRS pairs in any run are left out.
    """
    bins = list(dict.fromkeys([*by, "seed", "space", "distance"]))
    curves = table[table["quantity"].str.startswith("distance_curve_")]
    parts = curves["quantity"].str.removeprefix("distance_curve_").str.rpartition("_")
    curves = curves.assign(pairs=parts[0], kind=parts[2])[[*bins, "pairs", "kind", "value"]]
    numbers = table[table["quantity"].str.startswith("distance_pairs_")]
    numbers = numbers.assign(pairs=numbers["quantity"].str.removeprefix("distance_pairs_"), number=numbers["value"])
    curves = curves.merge(numbers[[*bins, "pairs", "number"]], on=[*bins, "pairs"])
    wide = curves[curves["pairs"] == "all"].merge(curves[curves["pairs"] == "within_class"], on=[*bins, "kind"],
                                                  how="left", suffixes=("", "_within"))
    within = wide["number_within"].fillna(0)
    number = wide["number"] - within
    value = (wide["value"] * wide["number"] - wide["value_within"].fillna(0) * within) / number.where(number > 0)
    between = wide[[*bins, "kind"]].assign(pairs="between_classes", number=number, value=value)
    curves = pd.concat([curves, between], ignore_index=True)
    curves = curves[curves["number"] >= FEWEST_PAIRS]
    keys = [*by, "space", "pairs", "kind", "distance"]
    rows = over_seeds(curves, keys, bounds=STIFFNESS).merge(curves.groupby(keys)["number"].mean().reset_index())
    runs = rows.groupby(list(by))["seeds"].transform("max") if by else rows["seeds"].max()
    return rows[rows["seeds"] == runs].reset_index(drop=True)


def domain_sizes(table):
    """The SIZES in every run, stage and space: the table's rows of them, with a `value` that is never missing.

    A curve, or a fitted line, that starts positive and does not reach zero at any possible distance has size `inf`,
    larger than any other. One that is not positive for the nearest pairs has size 0.
    """
    run = [name for name in ("dataset", "learning_rate", "seed", "step", "target_loss", "space") if name in table]
    sizes = table[table["quantity"].isin(SIZES)].copy()
    sizes["curve"] = sizes["quantity"].map(SIZES)
    curves = table[table["quantity"].isin([f"distance_curve_{curve}" for curve in SIZES.values()])]
    curves = curves.assign(curve=curves["quantity"].str.removeprefix("distance_curve_"), nearest=curves["value"])
    numbers = table[table["quantity"].str.startswith("distance_pairs_")]
    numbers = numbers[numbers["value"] >= FEWEST_PAIRS]
    filled = numbers.assign(pairs=numbers["quantity"].str.removeprefix("distance_pairs_"))
    curves = curves.assign(pairs=curves["curve"].str.rpartition("_")[0])
    curves = curves.merge(filled[[*run, "pairs", "distance"]], on=[*run, "pairs", "distance"])
    nearest = curves.sort_values("distance").drop_duplicates([*run, "curve"])[[*run, "curve", "nearest"]]
    sizes = sizes.merge(nearest, on=[*run, "curve"], how="left")
    finite = sizes["value"].between(0, FARTHEST)
    sizes["value"] = sizes["value"].where(finite, np.where(sizes["nearest"] > 0, np.inf, 0.0))
    return sizes.drop(columns=["curve", "nearest"])


def hidden_domains(table):
    """The stiff domains by sign in hidden representations, as from `domain_sizes`, of runs of several networks (the
    column network); depth: the representation's number, place: that divided by how many its network has."""
    found, columns = [], ["network", "seed", "depth", "place", "value"]
    for network, own in table.groupby("network", sort=False):  # the sizes are by run, which do not tell networks apart
        sizes = domain_sizes(own)
        sizes = sizes[(sizes["quantity"] == "stiff_domain_size_sign") & sizes["space"].str.startswith("layer ")]
        depth = sizes["space"].str.removeprefix("layer ").astype(int)
        found.append(sizes.assign(network=network, depth=depth, place=depth / depth.max())[columns])
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=columns)


def order_with_depth(sizes):
    """The rank correlation of depth and size by seed. sizes: of one network, with the columns seed, depth and value."""
    return sizes.groupby("seed").apply(lambda run: rank_correlation(run["depth"], run["value"]), include_groups=False)


def domains_at_lowest_loss(tables):
    """`hidden_domains` at the lowest training loss of each table, as {data set: table}; with the column dataset."""
    found = [hidden_domains(table[table["target_loss"] == table["target_loss"].min()]).assign(dataset=name)
             for name, table in tables.items() if table["target_loss"].notna().any()]
    return pd.concat(found, ignore_index=True) if found else hidden_domains(pd.DataFrame(columns=["network"])).assign(
        dataset=[])


def over_a_decade(rows):
    """The rows of data sets whose learning rates span a factor of ten or more: fewer cannot show what rates do."""
    rates = rows.groupby("dataset")["learning_rate"]
    return rows[rates.transform("max") > 9.9 * rates.transform("min")]


def medians(rows, by):
    """One row for each group of `by`, in order of appearance: median, least, largest, runs, and how many are finite."""
    return rows.groupby(by, sort=False)["value"].agg(
        median="median", least="min", largest="max", runs="size", finite=lambda values: np.isfinite(values).sum()
    ).reset_index()


def trends(rows, by, x, statistic, *, bounds=(-np.inf, np.inf)):
    """How `value` changes with the column x: `statistic(x, value)` for each seed, summarised by `over_seeds`.

    The groups of `by` keep the order of the rows. Seeds with a single x are left out.
    """
    found = [{**dict(zip([*by, "seed"], key)), "value": statistic(group[x], group["value"])
              if group[x].nunique() > 1 else np.nan} for key, group in rows.groupby([*by, "seed"])]
    return rows[by].drop_duplicates().merge(over_seeds(pd.DataFrame(found), list(by), bounds=bounds), on=by)


def slope_per_decade(x, y):
    """Least-squares slope of y against log10 x: the change of y where x grows tenfold."""
    return np.polyfit(np.log10(np.asarray(x, float)), np.asarray(y, float), 1)[0]


def rank_correlation(x, y):
    """Kendall's tau-b, from -1 to 1; infinities are the largest values, and values that are all equal have tau 0."""
    tau = kendalltau(rankdata(x), rankdata(y)).statistic
    return 0.0 if np.isnan(tau) else tau


def pairs_of_classes(matrices, step, kind="sign"):
    """The pairs of different classes at one stage, lowest mean stiffness first: rows of `mean_matrices` by both."""
    rows = matrices[(matrices["step"] == step) & (matrices["kind"] == kind)]
    rows = rows[rows["class_a"] < rows["class_b"]]  # each once: the matrix is symmetric
    return rows.set_index(["class_a", "class_b"]).sort_values("mean")


def network_differences(table, pairs):
    """The stiffness of one network minus that of another at equal training loss: mean, low, high (Welch's t interval).

    table: with the column network; pairs: a list of (one, other). A row for each pair (columns one, other),
    target_loss, summary (within_class or between_classes) and kind; `runs` is the smaller number that reached the loss.
    """
    rows = []
    for one, other in pairs:
        for loss in sorted(table["target_loss"].dropna().unique(), reverse=True):
            for summary in ("within_class", "between_classes"):
                for kind in ("sign", "cosine"):
                    chosen = table[(table["quantity"] == f"{summary}_{kind}") & (table["target_loss"] == loss)]
                    values = [chosen.loc[chosen["network"] == name, "value"] for name in (one, other)]
                    rows.append([one, other, loss, summary, kind, min(map(len, values)),
                                 *difference_and_interval(*values)])
    return pd.DataFrame(rows, columns=["one", "other", "target_loss", "summary", "kind", "runs", "mean", "low", "high"])


def seed_spread(table):
    """The standard deviation over seeds of within- and between-class stiffness: step, summary, kind, value.

    Stages by step only; one run has none.
    """
    names = [f"{summary}_{kind}" for summary in ("within_class", "between_classes") for kind in ("sign", "cosine")]
    rows = table[table["quantity"].isin(names) & table["target_loss"].isna()]
    parts = rows["quantity"].str.rpartition("_")
    rows = rows.assign(summary=parts[0], kind=parts[2])
    return rows.groupby(["step", "summary", "kind"])["value"].std().reset_index()


def probe_errors(table):
    """Half the 95 % interval that the choice of probe images gives each summary: 1.96 of its stored jackknife error.

    Columns step, seed, probe_images, summary (within_class or between_classes), kind, value. Stages by step only.
    """
    errors = table[table["quantity"].str.endswith("_error") & table["target_loss"].isna()]
    parts = errors["quantity"].str.extract("(.*)_(.*)_error")
    errors = errors.assign(summary=parts[0], kind=parts[1], value=norm.ppf((1 + LEVEL) / 2) * errors["value"])
    return errors[["step", "seed", "probe_images", "summary", "kind", "value"]].reset_index(drop=True)


def by_stage(table, quantity):
    """A row for each seed and a column for each step after the first one: of the stages by step of one quantity."""
    rows = table[(table["quantity"] == quantity) & table["target_loss"].isna() & (table["step"] > 0)]
    return rows.pivot_table(index="seed", columns="step", values="value")


def against_shuffled(table, order, quantity):
    """For each seed that has both: the quantity of the run in an order minus that of the shuffled run, averaged over
    the stages after initialisation. table: with the column order."""
    in_order, shuffled = (by_stage(table[table["order"] == name], quantity) for name in (order, "shuffled"))
    return (in_order - shuffled).mean(axis=1).dropna()
