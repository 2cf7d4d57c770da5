"""Charts against the learning rate: a column for each data set, a line for each training loss."""

import altair as alt
import numpy as np

from stiffness_book.charts.look import CURVES, GREY
from stiffness_book.charts.parts import (
    EXTENT,
    LINE_SYMBOL,
    PANEL,
    STIFFNESS_TOOLTIP,
    drawable,
    kind_switch,
    no_data,
    of_kind,
    or_unknown,
    rounded,
    sentences,
    with_notes,
    zero_line,
)
from stiffness_book.summaries import over_seeds
from stiffness_book.table import KINDS, STIFFNESS

ZERO = ["falls to zero there", "never falls to zero"]  # the two ways in which a size is drawn
DOMAINS = "stiff_domain_size_sign"  # the sizes that the paper's Figure 10 has
DASHED = "dashed, with rings: the paper’s figure"


def stiffness_against_rate(table, stops, *, title, paper=None):
    """Between-class stiffness against the learning rate: a panel for each data set, a line for each training loss.

    table: with columns dataset and learning_rate. stops: as from `summaries.stops`. A switch chooses the kind.
    paper: as from `published.stiffness_by_rate`, drawn dashed; it is by sign.
    """
    what = "Lines of between-class stiffness against the learning rate, one for each training loss"
    if table.empty or stops.empty:
        return no_data(title, what)
    by = ["dataset", "target_loss", "learning_rate"]
    rows, notes = drawable(table[table["quantity"].isin([f"between_classes_{kind}" for kind in KINDS])])
    if rows["value"].isna().all():
        return no_data(title, what, notes=notes)
    rows = over_seeds(rows, [*by, "quantity"], bounds=STIFFNESS).merge(stops, on=by)
    rows["kind"] = rows["quantity"].str.removeprefix("between_classes_")
    rows = rows.rename(columns={"loss": "measured"})
    tooltip = [*STIFFNESS_TOOLTIP, alt.Tooltip("measured:Q", title="measured loss", format=".3f"),
               alt.Tooltip("step:Q", title="after steps", format=",.0f")]
    panels = []
    for dataset in stops["dataset"].unique():
        own, heading = rows[rows["dataset"] == dataset], alt.Title(dataset, fontSize=13)
        if own["mean"].isna().all():
            panels.append(no_data(heading, what, width=PANEL))
            continue
        theirs = None if paper is None else paper[paper["dataset"] == dataset].assign(kind="sign")
        layers = _against_rate(of_kind(rounded(own)), ["mean", "low", "high"], tooltip, paper=theirs,
                               title="stiffness", axis=alt.Axis(grid=False, tickCount=6, minExtent=EXTENT))
        panels.append(alt.layer(*layers, zero_line()).properties(width=PANEL, height=240, title=heading))
    notes = [*notes, DASHED] if paper is not None else notes
    signs = rows[rows["kind"] == "sign"].sort_values(["target_loss", "learning_rate"], ascending=[False, True])
    told = [f"{dataset}, loss {loss:g}: from {or_unknown(line['mean'].iloc[0], '.2f')} at rate "
            f"{line['learning_rate'].iloc[0]:g} to {or_unknown(line['mean'].iloc[-1], '.2f')} at "
            f"{line['learning_rate'].iloc[-1]:g}."
            for (dataset, loss), line in signs.groupby(["dataset", "target_loss"], sort=False)]
    return alt.hconcat(*panels).resolve_scale(color="independent", y="shared").add_params(kind_switch()).properties(
        autosize=alt.AutoSizeParams(type="pad", resize=True),  # the labels of one kind reach higher than the other's
        title=with_notes(title, notes), description=sentences(f"{what}. By the sign: " + " ".join(told), notes))


def domain_sizes_against_rate(sizes, rows, *, title, paper=None):
    """Sizes of stiff domains against the learning rate: a column for each data set, a line for each training loss.

    sizes: as from `summaries.medians` by dataset, target_loss, learning_rate, space and quantity. rows: the label,
    quantity and space of each row of panels. Sizes that are not finite are triangles at the panel's upper edge.
    paper: as from `published.domains_by_rate`, drawn dashed beside the stiff domains.
    """
    what = "Lines of the size of stiff domains against the learning rate, one for each training loss"
    if sizes.empty or sizes["median"].isna().all():
        return no_data(title, what)
    columns, told = [], []
    for dataset, of_dataset in sizes.groupby("dataset", sort=False):
        panels = []
        for label, quantity, space in rows:
            same = sizes[(sizes["quantity"] == quantity) & (sizes["space"] == space)]
            finite = same["median"].replace(np.inf, np.nan).max()  # of the medians: one run must not flatten them all
            shown = of_dataset[(of_dataset["quantity"] == quantity) & (of_dataset["space"] == space)]
            heading = alt.Title([dataset, label] if label == rows[0][0] else label, fontSize=13)
            size = {"width": PANEL - 27, "height": 130}
            if shown["median"].isna().all():
                panels.append(no_data(heading, what, **size))
                told.append(f"{dataset}, {label}: no data.")
                continue
            theirs = None if paper is None or quantity != DOMAINS else paper[
                (paper["dataset"] == dataset) & (paper["space"] == space)]
            panels.append(_size_panel(shown, 1.3 * finite if finite > 0 else 1, theirs, last=label == rows[-1][0]
                                      ).properties(title=heading, **size))
            for loss, line in shown.sort_values("learning_rate").groupby("target_loss", sort=False):
                ends = [_size_in_words(line["median"].iloc[at]) for at in (0, -1)]
                told.append(f"{dataset}, {label}, loss {loss:g}: from {ends[0]} to {ends[1]}.")
        columns.append(alt.vconcat(*panels, spacing=6))
    return alt.hconcat(*columns).resolve_scale(color="independent").properties(
        title=with_notes(title, [DASHED] if paper is not None else []),
        description=f"{what}. Medians at the lowest and the highest rate: " + " ".join(told))


def _against_rate(chart, columns, tooltip, *, paper=None, x_title="learning rate", shape=alt.Undefined, **y):
    """Layers of band, line and points, one line for each target_loss. columns: middle, low and high of a point.

    paper: the paper's points, in a column `value`, at losses that are drawn; with a `kind`, where a switch chooses it.
    """
    middle, low, high = (f"{name}:Q" for name in columns)
    shown = chart.data
    losses, rates = sorted(set(shown["target_loss"]), reverse=True), sorted(set(shown["learning_rate"]))
    chart.data = shown.assign(loss=[f"{loss:g}" for loss in shown["target_loss"]])
    if paper is not None:
        paper = paper[paper["target_loss"].isin(losses)]
        rates = sorted({*rates, *paper["learning_rate"]})
    encodings = (
        alt.X("learning_rate:Q", title=x_title, scale=alt.Scale(type="log", nice=False, padding=12), axis=alt.Axis(
            values=rates, format="~e", grid=False, labelOverlap=True, labelSeparation=4)),
        alt.Color("loss:N", title="training loss", sort=[f"{loss:g}" for loss in losses], scale=CURVES,
                  legend=alt.Legend(orient="bottom", **LINE_SYMBOL)))
    base = chart.encode(*encodings)
    theirs = ()
    if paper is not None and len(paper):
        points = alt.Chart(paper.assign(loss=[f"{loss:g}" for loss in paper["target_loss"]]).drop(columns="dataset"))
        if "kind" in paper:
            points = points.transform_filter("datum.kind == kind")
        points = points.encode(*encodings, alt.Y("value:Q", **y))
        theirs = (points.mark_line(strokeDash=[4, 3], strokeWidth=1.5, clip=True),
                  points.mark_point(filled=False, size=45, clip=True).encode(tooltip=[
                      alt.Tooltip("loss:N", title="training loss"),
                      alt.Tooltip("learning_rate:Q", title="learning rate", format="~e"),
                      alt.Tooltip("value:Q", title="the paper", format=".3~f")]))
    tooltip = [alt.Tooltip("loss:N", title="training loss"),
               alt.Tooltip("learning_rate:Q", title="learning rate", format="~e"), *tooltip]
    # an area of no width would be invisible
    band = base.mark_area(opacity=0.2) if len(rates) > 1 else base.mark_rule(strokeWidth=2)
    return (band.encode(alt.Y(low, **y), alt.Y2(high)),
            base.mark_line().encode(alt.Y(middle, **y)),
            base.mark_point(filled=True, size=45).encode(alt.Y(middle, **y), shape=shape, tooltip=tooltip), *theirs)


def _size_panel(shown, top, paper, *, last):
    """Sizes of stiff domains against the learning rate; those that are not finite stand at the upper edge."""
    ends = zip(shown["least"], shown["largest"])
    shown = shown.assign(
        reached=np.where(np.isfinite(shown["median"]), *ZERO),
        size=shown["median"].map(_size_in_words), cosine=(1 - shown["median"]).map("{:.2f}".format),
        range=[f"{_size_in_words(low)} to {_size_in_words(high)}" for low, high in ends],
        runs=[f"{finite} of {runs}" for finite, runs in zip(shown["finite"], shown["runs"])],
        **shown[["median", "least", "largest"]].clip(upper=top).round(3))
    legend = alt.Legend(orient="bottom", symbolFillColor=GREY, labelLimit=260)
    shape = alt.Shape("reached:N", title=None, legend=legend,
                      scale=alt.Scale(domain=ZERO, range=["circle", "triangle-up"]))
    tooltip = [alt.Tooltip("size:N", title="median, 1 − cosine"), alt.Tooltip("cosine:N", title="the same as cosine"),
               alt.Tooltip("range:N", title="all runs"), alt.Tooltip("runs:N", title="finite in")]
    axis = alt.Axis(grid=False, tickCount=4, labelExpr="datum.label + ' (' + format(1 - datum.value, '.1f') + ')'")
    return alt.layer(*_against_rate(
        alt.Chart(shown), ["median", "least", "largest"], tooltip, paper=paper,
        x_title="learning rate" if last else None, shape=shape, title="distance (cosine)",
        scale=alt.Scale(domain=[0, float(top)], nice=False), axis=axis))


def _size_in_words(size):
    return "unknown" if np.isnan(size) else f"{size:.2f}" if np.isfinite(size) else "none"
