"""What the figures and claims read off the tidy tables: means over seeds with their 95 % intervals."""

import numpy as np
import pandas as pd
from scipy.stats import t

LEVEL = 0.95
STIFFNESS = (-1, 1)  # what a sign or a cosine can be, so also where the interval of their mean ends


def mean_and_interval(values):
    """mean, low, high: Student's t interval of the mean at 95 %; the bounds are missing for fewer than two values."""
    values = np.asarray(values, float)
    values = values[~np.isnan(values)]
    if len(values) < 2:
        return (values.mean() if len(values) else np.nan), np.nan, np.nan
    half = t.ppf((1 + LEVEL) / 2, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return values.mean(), values.mean() - half, values.mean() + half


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
    """The same for losses, by geometric means and the intervals of their logarithms, as a logarithmic axis wants."""
    chosen = table[table["quantity"].isin(quantities)]
    curves = over_seeds(chosen.assign(value=np.log(chosen["value"])), ["step", "quantity"])
    return curves.assign(**np.exp(curves[["mean", "low", "high"]]))


def at(table, quantity, step):
    """The quantity at one stage: mean, low, high, seeds."""
    chosen = table[(table["quantity"] == quantity) & (table["step"] == step)]
    return over_seeds(chosen, ["step"]).iloc[0]


def class_matrices(table, class_names):
    """Class stiffness matrices of all stages: step, kind (sign or cosine), class_a, class_b, mean, low, high, seeds."""
    matrices = table[table["quantity"].str.startswith("class_stiffness_")]
    matrices = over_seeds(matrices, ["step", "quantity", "class_a", "class_b"], bounds=STIFFNESS)
    matrices.insert(1, "kind", matrices.pop("quantity").str.removeprefix("class_stiffness_"))
    for column in ("class_a", "class_b"):
        matrices[column] = [class_names[index] for index in matrices[column]]
    return matrices
