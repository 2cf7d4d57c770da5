"""Charts of dynamical critical lengths, and of the straight lines from which they come."""

import altair as alt
import numpy as np
import pandas as pd

from stiffness_book.charts.look import CHOSEN, CURVES, GREY, MARK
from stiffness_book.charts.parts import (
    EXTENT,
    LINE_SYMBOL,
    PANEL,
    drawable,
    kind_switch,
    labelled_axis,
    logarithmic,
    mean_tooltip,
    no_data,
    once,
    or_unknown,
    sentences,
    ticks_at,
    to_digits,
    with_notes,
    zero_line,
)
from stiffness_book.charts.parts import interval as interval_field
from stiffness_book.summaries import geometric_over_seeds

OPEN = "open symbols: ξ lies beyond the measured pairs"
AXES = {"learning_rate": "learning rate", "step": "step of training", "end": "end of the window"}
TICKS = (0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 5, 7)  # of an axis of lengths
FIRST_STEPS = 10  # an axis of steps is linear up to about here, then logarithmic
FARTHEST_SHOWN = 3  # of the axis on which a line is drawn to its crossing


def critical_lengths(rows, x, colour, *, title, label=None):
    """Critical lengths: a panel for each data set, against a column x, a line for each value of the column colour.

    rows: as from `lengths.known`, or `lengths.in_windows`, of one space unless the colour is the space. x: one of AXES.
    Points are geometric means over the runs that have a length; they are open where in at least half of these runs the
    line reaches zero beyond the measured pairs. label: what the colours are.
    """
    what = f"Lines of the critical length against the {AXES[x]}"
    if rows.empty:
        return no_data(title, what)
    without = int(rows["value"].isna().sum())
    drawn, notes = drawable(rows, positive=True)
    notes += [f"lines that do not fall to zero: {without:,} of {len(rows):,}"] * bool(without)
    there = drawn.dropna(subset=["value"])
    if there.empty:
        return no_data(title, what, notes=notes)
    by = ["dataset", x, colour]
    means = geometric_over_seeds(there, by)
    means["inside"] = means.merge(there.groupby(by)["inside"].mean().reset_index(), on=by)["inside"] > 0.5
    notes += [OPEN] * bool((~means["inside"]).any())
    # a very wide interval would flatten all others
    least, largest = means["mean"].min() / 1.5, means["mean"].max() * 1.5
    shown = to_digits(means).assign(bottom=means["low"].clip(least, largest), top=means["high"].clip(least, largest))
    order = sorted(set(rows[colour]), key=lambda value: (value == "logits", value), reverse=colour == "target_loss")
    names = {value: f"{value:g}" if isinstance(value, float | int) else str(value) for value in order}
    shown["line"] = shown[colour].map(names)
    scale, ticks = logarithmic(shown[["mean", "bottom", "top"]])
    low, high = scale["domain"]
    if len(between := [tick for tick in TICKS if low <= tick <= high]) > len(ticks):
        ticks = between
    y = {"title": "critical length ξ (log scale)", "scale": scale,
         "axis": alt.Axis(grid=False, **ticks_at(ticks), format="~g", minExtent=EXTENT)}
    panels, told = [], []
    apart = colour == "target_loss"  # each data set has its own
    for dataset in dict.fromkeys(there["dataset"]):
        own = shown[shown["dataset"] == dataset]
        lines = [name for name in names.values() if not apart or name in set(own["line"])]
        panels.append(_panel(own, x, lines, label, y).properties(
            width=PANEL - 20 * (x == "step"), height=240, title=alt.Title(dataset, fontSize=13)))
        told += [f"{dataset}, {label or colour} {name}: from {or_unknown(line['mean'].iloc[0], '.2f')} to "
                 f"{or_unknown(line['mean'].iloc[-1], '.2f')}."
                 for name, line in own.sort_values(x).groupby("line", sort=False)]
    return alt.concat(*panels, columns=2).resolve_scale(
        y="shared", color="independent" if apart else "shared").properties(
        title=with_notes(title, notes), description=sentences(f"{what}. {' '.join(told)}", notes))


def window_sliders(cases, *, title):
    """The stiffness of pairs of one class against distance, and a straight line; sliders choose the window of the fit.

    cases: as from `lengths.cases`; a menu chooses among them, a switch the kind of stiffness.
    """
    what = "Points: stiffness of pairs of one class against their distance, and the straight line through a window"
    rows = [own.assign(which=name) for name, own in cases.items() if len(own)]
    if not rows:
        return no_data(title, what)
    names = [own["which"].iloc[0] for own in rows]
    which = alt.param(name="chosen", value=names[0], bind=alt.binding_select(options=names, name="runs "))
    start = alt.param(name="start", value=0, bind=alt.binding_range(min=0, max=1, step=0.05, name="window from "))
    end = alt.param(name="end", value=2, bind=alt.binding_range(min=0.2, max=2, step=0.05, name="to "))
    data = pd.concat(rows, ignore_index=True)[["which", "kind", "distance", "mean", "pairs", "farthest"]]
    data, notes = drawable(data.round({"mean": 3, "distance": 3, "pairs": 0}), column="mean")
    data = data.dropna(subset="mean")
    if data.empty:
        return no_data(title, what, notes=notes)
    base = alt.Chart(data).transform_filter("datum.which == chosen && datum.kind == kind").transform_calculate(
        inside="datum.distance > start && datum.distance < end")
    x = {"scale": alt.Scale(domain=[0, FARTHEST_SHOWN], nice=False), "title": "distance (1 − cosine)",
         "axis": alt.Axis(grid=False, tickCount=6)}
    y = {"scale": alt.Scale(domain=[-0.5, 1.1], nice=False), "title": "stiffness of pairs of one class",
         "axis": alt.Axis(grid=False, tickCount=6)}
    points = base.mark_circle(opacity=0.9, clip=True).encode(
        alt.X("distance:Q", **x), alt.Y("mean:Q", **y),
        alt.Size("pairs:Q", scale=alt.Scale(range=[8, 160]), legend=None),
        color=alt.condition("datum.inside", alt.value(CHOSEN), alt.value(GREY)),
        tooltip=[alt.Tooltip("distance:Q", format=".3f"), alt.Tooltip("mean:Q", title="stiffness", format="+.3f"),
                 alt.Tooltip("pairs:Q", title="pairs in the bin", format=",.0f")])
    fit = (
        base.transform_filter("datum.inside")
        .transform_calculate(nx="datum.pairs * datum.distance", ny="datum.pairs * datum.mean",
                             nxx="datum.pairs * datum.distance * datum.distance",
                             nxy="datum.pairs * datum.distance * datum.mean")
        .transform_aggregate(n="sum(pairs)", sx="sum(nx)", sy="sum(ny)", sxx="sum(nxx)", sxy="sum(nxy)",
                             farthest="max(farthest)", bins="count()")
        .transform_filter("datum.bins > 2")
        .transform_calculate(slope="(datum.n * datum.sxy - datum.sx * datum.sy) / "
                                   "(datum.n * datum.sxx - datum.sx * datum.sx)")
        .transform_calculate(intercept="(datum.sy - datum.slope * datum.sx) / datum.n")
        .transform_calculate(xi="datum.slope < -1e-6 && datum.intercept > 0 ? -datum.intercept / datum.slope : null")
        .transform_calculate(
            to=f"isValid(datum.xi) ? min(datum.xi, {FARTHEST_SHOWN}) : {FARTHEST_SHOWN}",
            beyond="isValid(datum.xi) && datum.xi > datum.farthest", first="0",
            said="isValid(datum.xi) ? 'ξ = ' + format(datum.xi, '.2f') + (datum.xi > datum.farthest ? "
                 "', beyond the measured pairs' : '') : 'the line does not fall to zero'")
        .transform_calculate(at="datum.intercept + datum.slope * datum.to"))
    at_end = [alt.X("to:Q", **x), alt.Y("at:Q", **y)]
    marker = fit.transform_filter("isValid(datum.xi)")
    curve = data[(data["which"] == names[0]) & (data["kind"] == "cosine")]
    return alt.layer(
        zero_line(),
        points,
        fit.mark_rule(color=MARK, strokeWidth=2.5, clip=True).encode(
            alt.X("first:Q", **x), alt.Y("intercept:Q", **y), alt.X2("to:Q"), alt.Y2("at:Q")),
        fit.mark_rule(color=GREY, strokeDash=[4, 3]).encode(alt.X("farthest:Q", **x)),
        marker.transform_filter("!datum.beyond").mark_point(filled=True, opacity=1, size=120, color=MARK, clip=True
                                                            ).encode(*at_end),
        marker.transform_filter("datum.beyond").mark_point(filled=False, opacity=1, size=120, strokeWidth=2.5,
                                                           color=MARK, clip=True).encode(*at_end),
        fit.mark_text(align="left", baseline="bottom", fontWeight="bold", fontSize=14, x=8, y="height", dy=-24).encode(
            text="said:N"),
        once().mark_text(text="dashed: the farthest measured pairs", color=GREY, align="left", baseline="bottom", x=8,
                         y="height", dy=-6),
    ).add_params(which, kind_switch("cosine"), start, end).properties(
        width="container", height=280, title=with_notes(title, notes), description=sentences(
            f"{what}, extended to where it reaches zero. {names[0]}: from "
            f"{or_unknown(curve['mean'].iloc[0] if len(curve) else np.nan, '.2f')} among the nearest pairs to "
            f"{or_unknown(curve['mean'].iloc[-1] if len(curve) else np.nan, '.2f')} among the farthest, by cosine. "
            "Sliders choose the window.", notes))


def _panel(own, x, names, label, y):
    """A data set's lines, bands and points."""
    places = sorted(set(own[x]))
    if x == "step":
        scale = alt.Scale(type="symlog", constant=FIRST_STEPS, nice=False)
        axis = labelled_axis(places, lambda step: np.log1p(step / FIRST_STEPS))
    elif x == "learning_rate":
        scale = alt.Scale(type="log", nice=False, padding=12)
        axis = alt.Axis(values=places, format="~e", grid=False, labelOverlap=True, labelSeparation=4)
    else:
        scale, axis = alt.Scale(nice=False, zero=False), alt.Axis(grid=False, tickCount=5)
    base = alt.Chart(own.drop(columns="dataset")).transform_calculate(**interval_field(".3~g")).encode(
        alt.X(f"{x}:Q", title=AXES[x], scale=scale, axis=axis),
        alt.Color("line:N", title=label, sort=names, scale=CURVES, legend=alt.Legend(
            orient="bottom", columns=3, **LINE_SYMBOL)))
    band = base.mark_area(opacity=0.2) if len(places) > 1 else base.mark_rule(strokeWidth=2)
    tooltip = [alt.Tooltip("line:N", title=label or " "), alt.Tooltip(f"{x}:Q", title=AXES[x], format="~g"),
               *mean_tooltip(".3~g"), alt.Tooltip("inside:N", title="within the measured pairs")]
    points = [base.transform_filter(("" if inside else "!") + "datum.inside").mark_point(
        filled=inside, opacity=1, size=45, strokeWidth=1.5).encode(alt.Y("mean:Q", **y), tooltip=tooltip)
        for inside in (True, False)]
    return alt.layer(band.encode(alt.Y("bottom:Q", **y), alt.Y2("top:Q")), base.mark_line().encode(
        alt.Y("mean:Q", **y)), *points)
