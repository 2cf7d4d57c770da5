"""Charts of many trained networks: their generalisation gap against what is measured of each."""

import math

import altair as alt
import numpy as np
import pandas as pd

from stiffness_book.charts.look import CURVES, GREY
from stiffness_book.charts.parts import (
    LINE_SYMBOL,
    PANEL,
    drawable,
    interval,
    logarithmic,
    mean_tooltip,
    no_data,
    or_unknown,
    sentences,
    ticks_at,
    with_notes,
    zero_line,
)
from stiffness_book.summaries import rank_correlation

SCATTER = 225  # width of one of two panels beside bars with long names
PAIR_PANEL = 150  # width of one of three panels side by side
NARROW = 165  # width of a panel beside names, on a phone
TWO_LINES = "[split(datum.value, ', ')[0], join(slice(split(datum.value, ', '), 1), ', ')]"  # of a name
THOUSANDS = "format(datum.value, abs(datum.value) < 1000 ? '~g' : '~s')"  # 0.05, 200, 6k
CONDITION = alt.Scale(domain=["true labels", "random labels", "translated"], range=["#1f77b4", "#d1660f", "#2ca02c"])
PICKED = {"width": "width", "depth": "hidden layers", "activation": "units", "optimizer": "optimizer",
          "batch": "batches", "learning_rate": "learning rate"}
COLUMNS = {"gap": "gap", "jacobian_norm": "norm", "transitions": "transitions"}


def gap_scatter(found, measures, *, title):
    """The generalisation gap against the norm of the Jacobian, and against another measure, which a menu chooses.

    An area drawn with the pointer on the first panel, or a click on a bar below, picks networks: in both panels the
    others fade, and the bars count the settings of those in the area. found: networks as from `survey.right`. measures:
    {column: name} of the menu.
    """
    what = "Two scatter plots of the generalisation gap of many networks"
    if found.empty:
        return no_data(title, what)
    found, notes = drawable(found, positive=True, column="jacobian_norm")
    found = found[found["jacobian_norm"].notna()]
    if found.empty:
        return no_data(title, what, notes=notes)
    datasets = list(dict.fromkeys(found["dataset"]))
    rows = found[["dataset", "condition", *PICKED, "gap", "jacobian_norm", *measures]].copy()
    rows[["gap", *measures]] = rows[["gap", *measures]].astype(float).round(4)
    rows["jacobian_norm"] = [float(f"{value:.3g}") for value in rows["jacobian_norm"]]
    data = alt.param(name="data", value=datasets[0], bind=alt.binding_radio(options=datasets, name="data "))
    measure = alt.param(name="measure", value=next(iter(measures)), bind=alt.binding_select(
        options=list(measures), labels=list(measures.values()), name="second panel "))
    area = alt.selection_interval(name="area")
    picks = [alt.selection_point(name=f"pick_{name}", fields=[name]) for name in PICKED]
    picked = area
    for pick in picks:
        picked = picked & pick
    scale, ticks = logarithmic(rows["jacobian_norm"])
    base = alt.Chart(rows).transform_filter("datum.dataset == data")
    gap = alt.Y("gap:Q", title="generalisation gap", scale=alt.Scale(zero=False),
                axis=alt.Axis(grid=False, format=".1f", tickCount=6))
    points = base.mark_circle(size=34).encode(
        gap, alt.Color("condition:N", scale=CONDITION, legend=alt.Legend(
            title=None, orient="bottom", columns=1, symbolOpacity=1)),
        opacity=alt.when(picked).then(alt.value(0.8)).otherwise(alt.value(0.07)),
        tooltip=["condition:N", *(alt.Tooltip(f"{name}:N", title=words) for name, words in PICKED.items()),
                 alt.Tooltip("gap:Q", format=".3f"), alt.Tooltip("jacobian_norm:Q", title="norm", format=".3~g")])
    first = points.encode(alt.X("jacobian_norm:Q", title="mean norm of the Jacobian", scale=scale, axis=alt.Axis(
        grid=False, **ticks_at(ticks), format="~g"))).add_params(area, data)
    second = points.transform_calculate(chosen="datum[measure]").transform_filter("isValid(datum.chosen)").encode(
        alt.X("chosen:Q", title="the chosen measure", scale=alt.Scale(zero=False),
              axis=alt.Axis(grid=False, tickCount=4, labelExpr=THOUSANDS))).add_params(measure)
    bars = [base.mark_bar(cornerRadius=2).encode(
        alt.Y(f"{name}:N", title=words, sort=sorted(set(rows[name]))), alt.X("count():Q", title="networks",
                                                                            axis=alt.Axis(grid=False, tickCount=4)),
        opacity=alt.when(pick).then(alt.value(0.9)).otherwise(alt.value(0.2)), color=alt.value(GREY),
        tooltip=[alt.Tooltip(f"{name}:N", title=words), alt.Tooltip("count():Q", title="networks")],
    ).transform_filter(area).add_params(pick).properties(width=SCATTER - 60, height=alt.Step(16))
        for (name, words), pick in zip(PICKED.items(), picks)]
    told = []
    for name, own in found.groupby("dataset", sort=False):
        true = own[own["condition"] != "random labels"]
        told.append(f"{name}: {len(own)} networks, rank correlation of norm and gap "
                    f"{or_unknown(rank_correlation(own['jacobian_norm'], own['gap']), '.2f')}, without random labels "
                    f"{or_unknown(rank_correlation(true['jacobian_norm'], true['gap']), '.2f')}.")
    panels = [panel.properties(width=SCATTER, height=230) for panel in (first, second)]
    return alt.concat(*panels, *bars, columns=2, spacing=16).properties(
        title=with_notes(title, notes),
        description=sentences(f"{what}. " + " ".join(told), notes))


def factor_pairs(pairs, factors, *, title):
    """Pairs of networks that differ in one thing: a row of panels for each, with gap, norm and transitions.

    pairs: {factor: as from `survey.pairs`}; factors: {factor: (words of the first value, of the other one)}. Each point
    is a pair, the first one's number against the other's; on the diagonal both are alike.
    """
    what = "Scatter plots of pairs of networks that differ in one thing"
    panels, told, hidden = [], [], 0
    for factor, rows in pairs.items():
        one, other = factors[factor]
        for column, words in COLUMNS.items() if len(rows) else ():
            both = rows[["dataset", "width", "depth", f"{column}_one", f"{column}_other"]]
            both = both.set_axis(["dataset", "width", "depth", "one", "other"], axis=1)
            positive = column != "gap"
            both = both[both[["one", "other"]].notna().all(axis=1)]
            drawn = np.isfinite(both[["one", "other"]].astype(float)).all(axis=1)
            drawn &= (both[["one", "other"]] > 0).all(axis=1) if positive else True
            hidden += int((~drawn).sum())
            both = both[drawn]
            if both.empty:
                panels.append(alt.Chart(alt.InlineData(values=[{}])).mark_text(text="not measured", color=GREY)
                              .properties(width=PAIR_PANEL, height=PAIR_PANEL, title=alt.Title(words, fontSize=13)))
                continue
            both = both.assign(**{name: [float(f"{value:.3g}") for value in both[name]] for name in ("one", "other")})
            if positive:
                scale, ticks = logarithmic(both[["one", "other"]])
                ticks = ticks[::-math.ceil(len(ticks) / 4)]
            else:
                ends = [float(both[["one", "other"]].min().min()), float(both[["one", "other"]].max().max())]
                scale, ticks = alt.Scale(domain=ends, nice=True, zero=False), 4
            ends = pd.DataFrame({"one": scale.domain, "other": scale.domain})
            axis = {"scale": scale, "axis": alt.Axis(grid=False, **ticks_at(ticks), format="~g")}
            x = alt.X("other:Q", title=other, **axis)
            panels.append(alt.layer(
                alt.Chart(ends).mark_line(color=GREY, strokeDash=[4, 4]).encode(x, alt.Y("one:Q", title=one, **axis)),
                alt.Chart(both).mark_circle(size=26, opacity=0.6).encode(
                    x, alt.Y("one:Q", title=one, **axis), alt.Color("dataset:N", scale=CURVES, legend=alt.Legend(
                        title=None, orient="bottom", columns=1, symbolOpacity=1)),
                    tooltip=["dataset:N", "width:Q", alt.Tooltip("depth:Q", title="hidden layers"),
                             alt.Tooltip("one:Q", title=one, format=".3~g"),
                             alt.Tooltip("other:Q", title=other, format=".3~g")]),
            ).properties(width=PAIR_PANEL, height=PAIR_PANEL, title=alt.Title(words, fontSize=13)))
            share = (both["one"] > both["other"]).mean()
            told.append(f"{words}, {one} against {other}: higher in {share:.0%} of {len(both)} pairs.")
    notes = [f"not drawn: {hidden:,} pairs with an infinite, 0 or negative value"] if hidden else []
    if not told:
        return no_data(title, what, notes=notes)
    return alt.concat(*panels, columns=3, spacing=14).properties(
        title=with_notes(title, notes),
        description=sentences(f"{what}. " + " ".join(told), notes))


def size_curves(rows, *, title):
    """Gap and norm against the width of the hidden layers, a line for each data set.

    rows: dataset, width, quantity (gap or jacobian_norm), mean, low, high, seeds: the number of networks.
    """
    what = "Lines of the generalisation gap and of the norm of the Jacobian against the width"
    rows, notes = _whole(rows)
    if rows.empty:
        return no_data(title, what, notes=notes)
    panels, told = [], []
    for quantity, words in (("gap", "generalisation gap"), ("jacobian_norm", "norm of the Jacobian")):
        own = rows[rows["quantity"] == quantity].round({"mean": 4, "low": 4, "high": 4})
        y = {"title": words, "scale": alt.Scale(zero=False), "axis": alt.Axis(grid=False, tickCount=5)}
        base = alt.Chart(own).transform_calculate(**interval(".3f")).encode(
            alt.X("width:Q", title="units in a hidden layer", scale=alt.Scale(type="log", nice=False, padding=10),
                  axis=alt.Axis(grid=False, **ticks_at(sorted(map(int, set(own["width"])))), format="d")),
            alt.Color("dataset:N", scale=CURVES, legend=alt.Legend(title=None, orient="bottom", columns=1,
                                                                   **LINE_SYMBOL)))
        panels.append(alt.layer(
            base.mark_area(opacity=0.2).encode(alt.Y("low:Q", **y), alt.Y2("high:Q")),
            base.mark_line(point=True).encode(alt.Y("mean:Q", **y), tooltip=["dataset:N", "width:Q",
                                                                             *mean_tooltip(".3f")]),
        ).properties(width=PANEL, height=220, title=alt.Title(words, fontSize=13)))
        told += [f"{words}, {name}: from {or_unknown(line['mean'].iloc[0], '.3f')} at width {line['width'].iloc[0]} to "
                 f"{or_unknown(line['mean'].iloc[-1], '.3f')} at {line['width'].iloc[-1]}."
                 for name, line in own.sort_values("width").groupby("dataset", sort=False)]
    return alt.concat(*panels, columns=2, spacing=16).properties(
        title=with_notes(title, notes),
        description=sentences(f"{what}. " + " ".join(told), notes))


def estimates(rows, x, *, title, none=0.0, form=".2f"):
    """Points with 95 % intervals: a panel for each data set, a row for each name, a colour for each kind.

    rows: dataset, name, kind, mean, low, high. x: the title of the axis. none: where a line marks no effect.
    """
    what = f"Points with 95 % intervals: {x}"
    rows, notes = drawable(rows, column="mean") if len(rows) else (rows, [])
    if rows.empty or rows["mean"].isna().all():
        return no_data(title, what, notes=notes)
    rows = rows.round({"mean": 3, "low": 3, "high": 3})
    names, kinds = (list(dict.fromkeys(rows[column])) for column in ("name", "kind"))
    values = rows[["mean", "low", "high"]].to_numpy(float).ravel()
    values = np.append(values[np.isfinite(values)], none)
    margin = 0.03 * (values.max() - values.min()) or 0.1
    ends = [float(f"{end:.3g}") for end in (values.min() - margin, values.max() + margin)]
    panels, told = [], []
    for dataset, own in rows.groupby("dataset", sort=False):
        base = alt.Chart(own).encode(
            alt.Y("name:N", sort=names, title=None, axis=alt.Axis(
                grid=False, labelLimit=260, labelExpr=TWO_LINES, labelLineHeight=11, labelBaseline="middle")),
            alt.YOffset("kind:N", sort=kinds),
            alt.Color("kind:N", sort=kinds, scale=CURVES, legend=alt.Legend(title=None, orient="bottom", columns=1,
                                                                            symbolOpacity=1)))
        axis = {"title": x, "scale": alt.Scale(domain=ends, nice=False), "axis": alt.Axis(grid=False, tickCount=4)}
        panels.append(alt.layer(
            zero_line(x=alt.XDatum(none, scale=axis["scale"])),
            base.mark_rule(strokeWidth=2).encode(alt.X("low:Q", **axis), alt.X2("high:Q")),
            base.mark_point(filled=True, opacity=1, size=50).encode(alt.X("mean:Q", **axis), tooltip=[
                "name:N", "kind:N", alt.Tooltip("mean:Q", format=form), alt.Tooltip("low:Q", format=form),
                alt.Tooltip("high:Q", format=form)]),
        ).properties(width=PANEL, height=alt.Step(13), title=alt.Title(dataset, fontSize=13)))
        told += [f"{dataset}, {row.name}, {row.kind}: {or_unknown(row.mean, form)}."
                 for row in own[["name", "kind", "mean"]].itertuples(index=False, name="Row")]
    return alt.concat(*panels, columns=1, spacing=12).properties(
        title=with_notes(title, notes), usermeta={"narrow": {"width": NARROW}},
        description=sentences(f"{what}. " + " ".join(told), notes))


def errors_by_decile(rows, *, title):
    """The share of wrong test points in each tenth of them, by what orders them: a panel for each data set.

    rows: dataset, name, decile from 1, mean, low, high, seeds: the number of networks.
    """
    what = "Lines of the share of wrong test points against the tenth of points"
    rows, notes = _whole(rows)
    if rows.empty:
        return no_data(title, what, notes=notes)
    rows = rows.round({"mean": 3, "low": 3, "high": 3})
    order = list(dict.fromkeys(rows["name"]))
    panels, told = [], []
    y = {"title": "wrong", "axis": alt.Axis(grid=False, format=".0%", tickCount=5)}
    for dataset, own in rows.groupby("dataset", sort=False):
        base = alt.Chart(own).transform_calculate(**interval(".3f")).encode(
            alt.X("decile:O", title="tenth of the test points", axis=alt.Axis(labelAngle=0, grid=False)),
            alt.Color("name:N", sort=order, scale=CURVES, legend=alt.Legend(
                title=None, orient="bottom", columns=1, labelLimit=260, **LINE_SYMBOL)))
        panels.append(alt.layer(
            base.mark_area(opacity=0.2).encode(alt.Y("low:Q", **y), alt.Y2("high:Q")),
            base.mark_line(point=True).encode(alt.Y("mean:Q", **y), tooltip=["name:N", "decile:O",
                                                                             *mean_tooltip(".3f")]),
        ).properties(width=PANEL, height=190, title=alt.Title(dataset, fontSize=13)))
        told += [f"{dataset}, {name}: from {or_unknown(line['mean'].iloc[0], '.2f')} in the first tenth to "
                 f"{or_unknown(line['mean'].iloc[-1], '.2f')} in the last."
                 for name, line in own.sort_values("decile").groupby("name", sort=False)]
    return alt.concat(*panels, columns=2, spacing=16).properties(
        title=with_notes(title, notes),
        description=sentences(f"{what}. " + " ".join(told), notes))


def _whole(rows):
    """The rows with a finite mean, and the notes of `drawable`."""
    if rows.empty:
        return rows, []
    rows, notes = drawable(rows, column="mean")
    return rows[rows["mean"].notna()], notes
