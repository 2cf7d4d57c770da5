"""Charts of points: networks compared at equal training loss, and the error from the choice of probe images."""

import altair as alt
import numpy as np

from stiffness_book.charts.look import CURVES, MARK
from stiffness_book.charts.parts import (
    EXTENT,
    GREY_SYMBOL,
    PANEL,
    STIFFNESS_TOOLTIP,
    drawable,
    kind_switch,
    labelled_axis,
    logarithmic,
    no_data,
    of_kind,
    once,
    or_unknown,
    rounded,
    sentences,
    ticks_at,
    with_notes,
    zero_line,
)
from stiffness_book.summaries import medians, over_seeds
from stiffness_book.table import KINDS, STIFFNESS
from stiffness_book.words import WORDS


def network_stiffness_points(table, networks, summary, *, title):
    """Stiffness of several networks at initialisation and at each training loss; a switch chooses the kind.

    table: with the column network. summary: within_class or between_classes.
    """
    what = f"Points with intervals: stiffness {WORDS[summary]}"
    if table.empty:
        return no_data(title, what)
    rows = table[table["quantity"].isin([f"{summary}_{kind}" for kind in KINDS])]
    rows, notes = drawable(rows[rows["target_loss"].notna() | (rows["step"] == 0)])
    if rows["value"].isna().all():
        return no_data(title, what, notes=notes)
    moments = {loss: f"loss {loss:g}" for loss in sorted(table["target_loss"].dropna().unique(), reverse=True)}
    rows = rows.assign(moment=rows["target_loss"].map(moments).fillna("start"),
                       kind=rows["quantity"].str.rpartition("_")[2])
    rows = over_seeds(rows, ["network", "moment", "kind"], bounds=STIFFNESS)
    points = of_kind(rounded(rows)).encode(
        alt.X("moment:N", sort=["start", *moments.values()], title="start, then training losses",
              axis=alt.Axis(labelAngle=0, grid=False)),
        alt.XOffset("network:N", sort=networks),
        alt.Color("network:N", scale=_colours(networks), legend=_network_legend()))
    y = {"title": f"stiffness {WORDS[summary]}", "axis": alt.Axis(grid=False, tickCount=6, minExtent=EXTENT)}
    signs = rows[rows["kind"] == "sign"].set_index(["network", "moment"])["mean"]
    told = [f"{network}: " + ", ".join(f"{or_unknown(signs[network, moment], '.2f')} at {moment}" for moment in
                                       ["start", *moments.values()] if (network, moment) in signs) + "."
            for network in networks]
    return alt.layer(
        points.mark_rule(strokeWidth=2).encode(alt.Y("low:Q", **y), alt.Y2("high:Q")),
        points.mark_point(filled=True, opacity=1, size=70).encode(
            alt.Y("mean:Q", **y), tooltip=["network:N", "moment:N", *STIFFNESS_TOOLTIP]),
        zero_line(),
    ).add_params(kind_switch()).properties(
        width="container", height=240, title=with_notes(title, notes), description=sentences(
            f"{what} of {len(networks)} networks at initialisation and at equal training losses. By the sign: "
            + " ".join(told), notes))


def network_difference_points(differences, networks, *, title, by="one"):
    """Differences of stiffness between two networks at equal training loss; a switch chooses the kind.

    differences: as from `summaries.network_differences`; rows without an interval are left out. networks: as in
    `network_stiffness_points`, whose colours are used. by: which of the two, one or other, has the colours.
    """
    what = "Points with 95 % intervals: differences of stiffness"
    if differences.empty:
        return no_data(title, what)
    differences, notes = drawable(differences, column="mean")
    rows = differences[np.isfinite(differences[["mean", "low", "high"]].astype(float)).all(axis=1)]
    if rows.empty:
        return no_data(title, what, notes=[*notes, "no loss was reached by two runs of both networks"])
    rows = rows.assign(networks=rows["one"] + " minus " + rows["other"],
                       row=[f"{WORDS[row.summary]}, loss {row.target_loss:g}" for row in rows.itertuples()],
                       seeds=rows["runs"])
    order = list(dict.fromkeys(rows.sort_values("summary", ascending=False, kind="stable")["row"]))
    drawn = list(dict.fromkeys(rows[by]))
    first = networks[:len(drawn)] == drawn  # these have their colours without the others
    points = of_kind(rounded(rows)).encode(
        alt.Y("row:N", sort=order, title=None, axis=alt.Axis(grid=False, labelLimit=200)),
        alt.YOffset(f"{by}:N", sort=networks),
        alt.Color(f"{by}:N", scale=_colours(drawn if first else networks),
                  legend=_network_legend(**({} if first else {"values": drawn}))))
    x = {"title": "difference of stiffness", "axis": alt.Axis(grid=False, tickCount=6)}
    told = [f"{row.networks}, {row.row}: {row.mean:.2f}." for row in rows[rows["kind"] == "sign"].itertuples()]
    return alt.layer(
        points.mark_rule(strokeWidth=2).encode(alt.X("low:Q", **x), alt.X2("high:Q")),
        points.mark_point(filled=True, opacity=1, size=70).encode(
            alt.X("mean:Q", **x), tooltip=["networks:N", alt.Tooltip("row:N", title="where"), *STIFFNESS_TOOLTIP]),
        zero_line(x=alt.datum(0)),
    ).add_params(kind_switch()).properties(
        width="container", height=240, title=with_notes(title, notes),
        description=sentences(f"{what}. By the sign: " + " ".join(told), notes))


def domains_by_depth(sizes, networks, *, title):
    """The size of stiff domains in hidden representations against their depth, a panel for each data set, a line for
    each network.

    sizes: as from `summaries.domains_at_lowest_loss`. Depth is the number of a layer or block, divided by how many the
    network has. Medians over the runs; infinite ones, where the curve never falls to zero, are not drawn.
    """
    what = "Lines of the size of stiff domains against the depth of the representation"
    if sizes.empty:
        return no_data(title, what)
    chosen = sizes[sizes["network"].isin(networks)]
    shown, notes = drawable(medians(chosen, ["dataset", "network", "depth", "place"]), column="median")
    if shown["median"].isna().all():
        return no_data(title, what, notes=notes)
    shown = shown.assign(runs=[f"{finite} of {runs}" for finite, runs in zip(shown["finite"], shown["runs"])]).drop(
        columns=["least", "largest", "finite"]).round({"median": 3, "place": 3})
    panels, told = [], []
    for dataset in shown["dataset"].unique():
        own = shown[(shown["dataset"] == dataset) & shown["median"].notna()]
        heading = alt.Title(dataset, fontSize=13)
        if own.empty:
            panels.append(no_data(heading, what, width=PANEL))
            continue
        base = alt.Chart(own).encode(
            alt.X("place:Q", title="depth, as a share of the network", scale=alt.Scale(domain=[0, 1]),
                  axis=alt.Axis(grid=False, tickCount=5)),
            alt.Y("median:Q", title="stiff domain (1 − cosine)", scale=alt.Scale(zero=True),
                  axis=alt.Axis(grid=False, tickCount=5, minExtent=EXTENT)),
            alt.Color("network:N", scale=_colours(networks), legend=_network_legend()))
        panels.append((base.mark_line() + base.mark_point(filled=True, opacity=1, size=45).encode(tooltip=[
            "network:N", alt.Tooltip("depth:Q", title="layer or block"),
            alt.Tooltip("median:Q", title="median size", format=".2f"),
            alt.Tooltip("runs:N", title="runs with a size")])).properties(width=PANEL, height=220, title=heading))
        told += [f"{dataset}, {network}: from {line['median'].iloc[0]:.2f} to {line['median'].iloc[-1]:.2f}."
                 for network, line in own.sort_values("depth").groupby("network", sort=False)]
    return alt.hconcat(*panels).properties(title=with_notes(title, notes),
                                           description=sentences(f"{what}. {' '.join(told)}", notes))


def probe_error_curves(errors, small, *, title):
    """The statistical error against the number of probe images, both on logarithmic axes; a switch chooses the kind.

    errors: as from `summaries.probe_errors`, with the column data. For each number of images the largest error over
    all stages and runs is drawn, and through the last of these points the line of an error that falls as
    1 / sqrt(number). small: (error, label) of a horizontal line.
    """
    what = "Points: the statistical error of stiffness against the number of probe images"
    if errors.empty:
        return no_data(title, what)
    errors, notes = drawable(errors)
    if errors["value"].isna().all():
        return no_data(title, what, notes=notes)
    by = ["data", "summary", "kind", "probe_images"]
    rows = errors.groupby(by)["value"].max().reset_index()
    last = rows.groupby(by[:3])[["probe_images", "value"]].transform("last")
    rows["law"] = last["value"] * np.sqrt(last["probe_images"] / rows["probe_images"].astype(float))
    rows["what"] = rows["summary"].map(WORDS)
    shown = rows[rows["value"] > 0]  # an error of 0, as where every sign is 1, has no place on a logarithmic axis
    if shown.empty:
        return no_data(title, what, notes=[*notes, "every error is 0"])
    base = alt.Chart(shown.round({"value": 4, "law": 4})).transform_filter("datum.kind == kind").encode(
        alt.X("probe_images:Q", title="probe images", axis=labelled_axis(rows["probe_images"], np.log),
              scale=alt.Scale(type="log", nice=False, padding=12)),
        alt.Color("data:N", sort=list(dict.fromkeys(errors["data"])), scale=CURVES,
                  legend=alt.Legend(title=None, orient="top", offset=26, symbolOpacity=1)))
    legend = alt.Legend(title=None, orient="bottom", columns=1, **GREY_SYMBOL)
    value, label = small
    scale, ticks = logarithmic([*shown["value"], *shown["law"], value])
    y = {"title": "half the 95 % interval", "scale": scale,
         "axis": alt.Axis(grid=False, **ticks_at(ticks), format="~g")}
    told = [f"{data}, {what}: " + ", ".join(f"{or_unknown(error, '.3f')} for {images:,}" for images, error in
                                            zip(own["probe_images"], own["value"])) + "."
            for (data, what), own in rows[rows["kind"] == "sign"].groupby(["data", "what"], sort=False)]
    return alt.layer(
        base.mark_line(strokeWidth=1, opacity=0.6).encode(alt.Y("law:Q", **y), detail="what:N"),
        base.mark_point(filled=True, opacity=1, size=80).encode(
            alt.Y("value:Q", **y), alt.Shape("what:N", sort=list(WORDS.values()), legend=legend),
            tooltip=["data:N", alt.Tooltip("what:N", title="stiffness"), alt.Tooltip("probe_images:Q", format=",d"),
                     alt.Tooltip("value:Q", title="half interval", format=".4f")]),
        once().mark_rule(color=MARK, strokeWidth=2).encode(y=alt.datum(value)),
        # above the plot: within it a point of one kind or the other may be anywhere
        once().mark_text(text=f"{label}, {value:g}", color=MARK, fontWeight="bold", align="left", x=0, y=-10),
    ).add_params(kind_switch()).properties(
        width="container", height=280, title=with_notes(title, notes),
        description=sentences(f"{what}. The largest by the sign: " + " ".join(told), notes))


def _colours(networks):
    return alt.Scale(domain=networks, scheme="tableau20")


def _network_legend(**options):
    return alt.Legend(title=None, orient="bottom", columns=1, labelLimit=300, **options)
