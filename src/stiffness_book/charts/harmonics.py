"""Charts of labels whose length scale is known: the size of stiff domains, and stiffness against the angle."""

import altair as alt
import numpy as np
import pandas as pd

from stiffness_book.charts.look import CURVES, GREY
from stiffness_book.charts.parts import (
    LINE_SYMBOL,
    STIFFNESS_INTERVAL,
    STIFFNESS_TOOLTIP,
    drawable,
    interval,
    logarithmic,
    mean_tooltip,
    no_data,
    or_unknown,
    rounded,
    sentences,
    ticks_at,
    with_notes,
    zero_line,
)
from stiffness_book.summaries import over_seeds
from stiffness_book.table import STIFFNESS

SMALL_PANEL = 150  # width of one of three panels side by side


def domain_sizes_against_scale(sizes, *, title):
    """The size of the stiff domain against the labels' length scale, both in radians, at several moments.

    sizes: as from `harmonics.domains`, with the column moment; sizes that are 0 or infinite are left out, and counted.
    """
    what = "Points with 95 % intervals: the size of the stiff domain against the length scale of the labels"
    if sizes.empty:
        return no_data(title, what)
    sizes, notes = drawable(sizes, positive=True, column="size")
    if sizes["size"].isna().all():
        return no_data(title, what, notes=notes)
    order = list(dict.fromkeys(sizes["moment"]))
    rows = over_seeds(sizes.assign(value=sizes["size"]), ["moment", "degree", "scale"], bounds=(1e-3, np.pi))
    scale, ticks = logarithmic(rows[["scale", "mean", "low", "high"]])
    x = alt.X("scale:Q", title="length scale of the labels (radians)", scale=scale,
              axis=alt.Axis(grid=False, **ticks_at(ticks), format="~g"))
    y = {"title": "size of the stiff domain", "scale": scale,
         "axis": alt.Axis(grid=False, **ticks_at(ticks), format="~g")}
    base = alt.Chart(rounded(rows).round({"scale": 4})).transform_calculate(**interval(".2f")).encode(
        x, alt.Color("moment:N", sort=order, scale=CURVES,
                     legend=alt.Legend(title=None, orient="bottom", columns=1, symbolOpacity=1)))
    hollow = alt.Shape("moment:N", sort=order, legend=None)  # as the points of all moments may lie on each other
    ends = pd.DataFrame({"scale": scale.domain, "value": scale.domain})
    told = [f"{moment}: " + ", ".join(f"degree {row.degree}: {or_unknown(row.mean, '.2f')}, scale {row.scale:.2f}"
                                      for row in rows[rows["moment"] == moment].itertuples()) + "."
            for moment in order]
    return alt.layer(
        alt.Chart(ends).mark_line(color=GREY, strokeDash=[4, 4]).encode(x, alt.Y("value:Q", **y)),
        base.mark_rule(strokeWidth=1.5, opacity=0.7).encode(alt.Y("low:Q", **y), alt.Y2("high:Q")),
        base.mark_point(filled=False, strokeWidth=2, size=110).encode(alt.Y("mean:Q", **y), hollow, tooltip=[
            "moment:N", "degree:Q", alt.Tooltip("scale:Q", title="length scale", format=".3f"), *mean_tooltip(".2f")]),
    ).properties(width="container", height=300, title=with_notes(title, [*notes, "dashed: both alike"]),
                 description=sentences(f"{what}. " + " ".join(told), notes))


def stiffness_against_angle(curves, agreement, *, title):
    """Sign stiffness of all pairs against the angle between two points, a panel for each degree.

    curves: rows with degree, moment, seed, distance and value. agreement: degree, distance, value: how far labels alone
    agree, drawn dashed.
    """
    what = "Lines of sign stiffness against the angle between two points"
    if curves.empty:
        return no_data(title, what)
    curves, notes = drawable(curves)
    if curves["value"].isna().all():
        return no_data(title, what, notes=notes)
    order = list(dict.fromkeys(curves["moment"]))
    rows = rounded(over_seeds(curves, ["degree", "moment", "distance"], bounds=STIFFNESS))
    x = alt.X("distance:Q", title="angle (radians)", scale=alt.Scale(domain=[0, 3.15], nice=False),
              axis=alt.Axis(grid=False, values=[0, 1, 2, 3]))
    y = {"scale": alt.Scale(domain=[-1, 1]), "title": "stiffness", "axis": alt.Axis(grid=False, values=[-1, 0, 1])}
    panels, told = [], []
    for degree, own in rows.groupby("degree"):
        base = alt.Chart(own.drop(columns="degree")).transform_calculate(**STIFFNESS_INTERVAL).encode(
            x, alt.Color("moment:N", sort=order, scale=CURVES, legend=alt.Legend(
                title=None, orient="bottom", columns=1, **LINE_SYMBOL)))
        expected = agreement.loc[agreement["degree"] == degree, ["distance", "value"]].round(3)
        panels.append(alt.layer(
            zero_line(),
            base.mark_area(opacity=0.15).encode(alt.Y("low:Q", **y), alt.Y2("high:Q")),
            base.mark_line().encode(alt.Y("mean:Q", **y), tooltip=[
                "moment:N", alt.Tooltip("distance:Q", title="angle"), *STIFFNESS_TOOLTIP]),
            alt.Chart(expected).mark_line(color=GREY, strokeDash=[4, 3]).encode(x, alt.Y("value:Q", **y)),
        ).properties(width=SMALL_PANEL, height=120, title=alt.Title(f"degree {degree}", fontSize=13)))
        means = own.set_index(["moment", "distance"])["mean"]
        told.append(f"Degree {degree}: " + "; ".join(
            f"{moment} from {or_unknown(means[moment].iloc[0], '.2f')} at the nearest to "
            f"{or_unknown(means[moment].min(), '.2f')} at the lowest" for moment in order if moment in means) + ".")
    notes = [*notes, "grey, dashed: the agreement of two labels at this angle"]
    return alt.concat(*panels, columns=3, spacing=12).properties(
        title=with_notes(title, notes), description=sentences(f"{what}. " + " ".join(told), notes))
