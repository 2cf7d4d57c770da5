"""The chart of stiffness against the distance between two examples."""

import altair as alt
import numpy as np

from stiffness_book.charts.look import CURVES, GREY, MARK
from stiffness_book.charts.parts import (
    LINE_SYMBOL,
    PANEL,
    STIFFNESS_TOOLTIP,
    drawable,
    kind_switch,
    no_data,
    of_kind,
    once,
    or_unknown,
    rounded,
    sentences,
    with_notes,
    zero_line,
)

PAIRS = {"all": "all pairs", "within_class": "one class", "between_classes": "different classes"}


def stiffness_against_distance(curves, sizes, *, title, paper=None):
    """Stiffness against distance: a column for each data set, a panel for each space. A switch chooses the kind.

    curves: as from `summaries.distance_curves` by dataset. sizes: the first version's size of stiff domains, as from
    `summaries.medians` by dataset and space, drawn as vertical lines. paper: as from
    `published.stiffness_by_distance`, of all pairs by sign, drawn dashed.
    """
    what = ("Lines of stiffness against distance for all pairs, for pairs of one class and of different classes")
    if curves.empty or sizes.empty:
        return no_data(title, what)
    curves, notes = drawable(curves, column="mean")
    if curves["mean"].isna().all():
        return no_data(title, what, notes=notes)
    columns, told = [], []
    for dataset, of_dataset in sizes.groupby("dataset", sort=False):
        panels = []
        for size in of_dataset.itertuples():
            shown = curves[(curves["dataset"] == dataset) & (curves["space"] == size.space)]
            first, last = (size.space == of_dataset["space"].iloc[at] for at in (0, -1))
            zero = f"zero at {size.median:.2f}" if np.isfinite(size.median) else "no zero"
            heading = alt.Title([dataset, f"{size.space}: {zero}"] if first else f"{size.space}: {zero}", fontSize=13)
            if shown["mean"].isna().all():
                panels.append(no_data(heading, what, width=PANEL, height=110))
                told.append(f"{dataset}, {size.space}: no data.")
                continue
            theirs = None if paper is None else paper[(paper["dataset"] == dataset) & (paper["space"] == size.space)]
            panels.append(_panel(shown, size.median, theirs, curves["distance"].max(), bottom=last).properties(
                width=PANEL, height=110, title=heading))
            means = shown[(shown["kind"] == "sign") & (shown["pairs"] == "all")].sort_values("distance")["mean"]
            nearest, farthest = (or_unknown(means.iloc[at], ".2f") if len(means) else "unknown" for at in (0, -1))
            told.append(f"{dataset}, {size.space}: {nearest} among the nearest pairs, {zero}, "
                        f"{farthest} among the farthest.")
        columns.append(alt.vconcat(*panels, spacing=6))
    notes = [*notes, "grey, dashed: the paper’s figure, all pairs"] if paper is not None else notes
    return alt.hconcat(*columns).add_params(kind_switch()).properties(
        title=with_notes(title, notes),
        description=sentences(f"{what}. All pairs, by the sign: " + " ".join(told), notes))


def _panel(shown, size, paper, farthest, *, bottom):
    """Stiffness against distance in one space. The height of a bar says how many pairs are in its bin."""
    shown = rounded(shown).assign(what=shown["pairs"].map(PAIRS))
    bars = shown.loc[shown["pairs"] == "all", ["kind", "distance", "number"]]
    bars["height"] = (0.5 * bars.pop("number") / shown["number"].max() - 1).round(3)
    shown = shown[["what", "kind", "distance", "mean", "low", "high", "seeds", "number"]]
    axis = alt.Axis(grid=False, tickCount=6, labels=bottom, labelExpr="[datum.label, format(1 - datum.value, '.1f')]")
    x = alt.X("distance:Q", scale=alt.Scale(domain=[0, float(farthest)]), axis=axis,
              title=["distance: 1 − cosine (third version)", "below it the cosine (first version)"] if bottom else None)
    y = {"scale": alt.Scale(domain=[-1, 1]), "axis": alt.Axis(grid=False, values=[-1, 0, 1]), "title": "stiffness"}
    base = of_kind(shown).encode(x, alt.Color("what:N", sort=list(PAIRS.values()), scale=CURVES, legend=alt.Legend(
        title=None, orient="top", **LINE_SYMBOL))).transform_calculate(cosine="1 - datum.distance")
    tooltip = [alt.Tooltip("what:N", title="pairs"), alt.Tooltip("distance:Q", title="1 − cosine"),
               alt.Tooltip("cosine:Q", format=".3~f"), *STIFFNESS_TOOLTIP,
               alt.Tooltip("number:Q", title="pairs in the bin", format=",.0f")]
    layers = [of_kind(bars).mark_bar(color=GREY, opacity=0.35, width=4).encode(
                  x, alt.Y("height:Q", **y), alt.Y2(datum=-1)),
              zero_line(),
              base.mark_area(opacity=0.25).encode(alt.Y("low:Q", **y), alt.Y2("high:Q")),
              base.mark_line(point=alt.OverlayMarkDef(size=14)).encode(alt.Y("mean:Q", **y), tooltip=tooltip)]
    if paper is not None and len(paper):
        theirs = alt.Chart(paper[["distance", "value"]].assign(kind="sign").round(3)).transform_filter(
            "datum.kind == kind").encode(x, alt.Y("value:Q", **y))
        layers += [theirs.mark_line(color=GREY, strokeDash=[4, 3], clip=True),
                   theirs.mark_point(color=GREY, filled=False, size=16, clip=True).encode(tooltip=[
                       alt.Tooltip("distance:Q", title="1 − cosine"),
                       alt.Tooltip("value:Q", title="the paper, all pairs", format="+.3f")])]
    if np.isfinite(size):
        layers.append(once().mark_rule(color=MARK, strokeWidth=2).encode(x=alt.datum(round(size, 3))))
    return alt.layer(*layers)
