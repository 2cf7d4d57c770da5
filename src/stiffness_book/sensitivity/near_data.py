"""What charts, texts and claims compute from runs in input space: near the training points, and away from them."""

import numpy as np
import pandas as pd

from stiffness_book.sensitivity.input_space import CORNERS, DIFFERENT, PATHS

BEFORE, AFTER = MOMENTS = ("before training", "after training")
AT, BETWEEN = PLACES = ("at the points", "between them")
MIDDLES = (0.0, 120.0, 240.0)  # degrees, midway between the points of an ellipse
AROUND = 15  # degrees to each side of a place, over which transitions are counted there
SMOOTHED = 15  # degrees, over which the transitions of an ellipse are averaged where they are drawn
NORMS = ("norm", "logit_norm")
LEAST = 1e-300  # of a norm that rounds to 0 where a network is very sure, so that it has a logarithm
NEAR, FAR = (0.0, 0.1), (0.4, 0.6)  # distances from a point, over its mean distance to the other two


def moment_of(table):
    """Of each row the moment in words."""
    return table["step"].eq(0).map({True: BEFORE, False: AFTER})


def levels(table):
    """Of each ellipse and measure: seed, moment, path, triple, measure, place, value.

    A norm at the points, or between them, is the geometric mean over the three places; so is that of all angles, whose
    place is "everywhere". Transitions are the mean density within 15 degrees of the places, or over the whole ellipse.
    """
    rows = table[table["quantity"].isin([*NORMS, "transitions"])]
    rows = rows.assign(moment=moment_of(rows), measure=rows["quantity"])
    norms, changes = rows[rows["measure"].isin(NORMS)], rows[rows["measure"] == "transitions"]
    norms = norms.assign(value=np.log(norms["value"].clip(lower=LEAST)))
    width = np.diff(np.sort(rows["angle"].unique())).min()
    middles = changes["angle"] + width / 2  # changes are counted from an angle to the next
    found = []
    for place, angles in zip(PLACES, (CORNERS, MIDDLES)):
        near = np.any([abs((middles - angle + 180) % 360 - 180) < AROUND for angle in angles], axis=0)
        found += [norms[norms["angle"].isin(angles)].assign(place=place), changes[near].assign(place=place)]
    found += [norms.assign(place="everywhere"), changes.assign(place="everywhere")]
    by = ["seed", "moment", "path", "triple", "measure", "place"]
    means = pd.concat(found).groupby(by, sort=False)["value"].mean().reset_index()
    of_logarithms = means["measure"].isin(NORMS)
    means.loc[of_logarithms, "value"] = np.exp(means.loc[of_logarithms, "value"])
    return means


def factors(table, measure, path, over=None):
    """{moment: by seed, the logarithm to base 10 of a factor}, the median over the ellipses.

    Without `over` it is the level at the points over that between them; with a kind of path it is the median level on
    the ellipses of that kind over the level at the points.
    """
    found = levels(table)
    found = found[found["measure"] == measure]
    if measure == "transitions":
        found = found.assign(value=found["value"].clip(lower=1e-3))  # a density of 0 has no logarithm
    found = found.assign(value=np.log10(found["value"]))
    at = found[(found["path"] == path) & (found["place"] == AT)].set_index(["moment", "seed", "triple"])["value"]
    if over is None:
        other = found[(found["path"] == path) & (found["place"] == BETWEEN)]
        difference = (at - other.set_index(["moment", "seed", "triple"])["value"]).groupby(["moment", "seed"]).median()
    else:
        there = found[(found["path"] == over) & (found["place"] == "everywhere")]
        difference = there.groupby(["moment", "seed"])["value"].median() - at.groupby(["moment", "seed"]).median()
    return {moment: difference[moment] for moment in MOMENTS}


def learnt(found):
    """By seed, what training has added to a factor: its logarithm after training less that before."""
    return found[AFTER] - found[BEFORE]


def bands(table, measure):
    """The measure along the ellipses over all ellipses and runs: moment, path, angle, middle, low and high (the median,
    and the tenth and the ninetieth percentile). Transitions are first averaged over 15 degrees of each ellipse."""
    rows = table[table["quantity"] == measure]
    rows = rows.assign(moment=moment_of(rows))
    if measure == "transitions":
        lines = rows.pivot(index=["seed", "moment", "path", "triple"], columns="angle", values="value")
        reach = max(1, round(SMOOTHED / np.diff(lines.columns).min()))  # counts are of the steps after an angle
        lines[:] = np.mean([np.roll(lines, shift - reach // 2, axis=1) for shift in range(reach)], axis=0)
        rows = lines.stack().rename("value").reset_index()
    found = rows.groupby(["moment", "path", "angle"])["value"].quantile([0.1, 0.5, 0.9]).unstack()
    return found.set_axis(["low", "middle", "high"], axis=1).reset_index()


def around(table):
    """Changes of the code per unit of length around the points: seed, moment, path, distance, value."""
    rows = table[table["quantity"] == "ray_transitions"]
    return rows.assign(moment=moment_of(rows))[["seed", "moment", "path", "distance", "value"]]


def densities(table, path=DIFFERENT):
    """{(moment, "near" or "far"): by seed, the mean number of changes per unit of length}."""
    rows = around(table)
    rows = rows[rows["path"] == path]
    return {(moment, name): rows[(rows["moment"] == moment) & rows["distance"].between(*ends)].groupby("seed")[
        "value"].mean() for moment in MOMENTS for name, ends in (("near", NEAR), ("far", FAR))}


def first_ellipse(table, path, seed):
    """The three points of the first ellipse of a kind: (3, rows, columns)."""
    rows = table[(table["quantity"] == "input") & (table["path"] == path) & (table["seed"] == seed)]
    size = tuple(int(rows[key].max()) + 1 for key in ("corner", "row", "column"))
    return rows.sort_values(["corner", "row", "column"])["value"].to_numpy().reshape(size)


def picture(table, name, moment):
    """(size, size) what a quantity of the picture is in each cell of the plane. table: of one run."""
    rows = table[(table["quantity"] == name) & (moment_of(table) == moment)]
    size = int(rows["row"].max()) + 1
    return rows.sort_values(["row", "column"])["value"].to_numpy(int).reshape(size, size)


def labels_of(table, path, triple, seed):
    """The class indices of the three points of an ellipse through training examples."""
    rows = table[(table["quantity"] == "label") & (table["path"] == path) & (table["triple"] == triple)
                 & (table["seed"] == seed)]
    return rows.sort_values("corner")["value"].astype(int).tolist()


def lengths(table):
    """The mean length of the ellipses of each kind."""
    rows = table[table["quantity"] == "length"]
    return {path: float(rows.loc[rows["path"] == path, "value"].mean()) for path in PATHS}
