"""Charts of what a network does along ellipses in input space."""

import altair as alt
import numpy as np
import pandas as pd

from stiffness_book.charts.look import CURVES, GREY, MARK
from stiffness_book.charts.parts import (
    EXTENT,
    LINE_SYMBOL,
    PANEL,
    drawable,
    logarithmic,
    no_data,
    or_unknown,
    sentences,
    ticks_at,
    with_notes,
    zero_line,
)
from stiffness_book.sensitivity.input_space import CORNERS, PATHS, RANDOM, ellipse, in_plane
from stiffness_book.sensitivity.near_data import AROUND, MIDDLES, MOMENTS, SMOOTHED
from stiffness_book.words import factor

WORDS = {"norm": "Jacobian norm", "logit_norm": "Jacobian norm of the logits", "transitions": "transitions per radian"}
PI_LABELS = "{60: 'π/3', 180: 'π', 300: '5π/3'}[datum.value]"
PHONE = 270  # pixels, the side of a panel where they stand one below the other
SHADES = 32  # of grey: cells of one shade are one path of the chart's picture
THIRD = 196  # the side of one of three panels side by side: seven pixels for each of 28
DRAGGED = "pointerdown, [pointerdown, window:pointerup] > pointermove"


def along_ellipses(bands, measure, *, title, paper=None):
    """A measure along the three kinds of ellipses before and after training: medians, and the middle 80 % of ellipses.

    bands: as from `near_data.bands`. paper: levels in the paper's figure, as from `published.ellipse_levels`.
    """
    what = f"Lines of the {WORDS[measure]} against the angle along ellipses"
    logarithm = measure != "transitions"
    if bands.empty:
        return no_data(title, what)
    rows = bands
    for column in ("low", "middle", "high"):
        rows, notes = drawable(rows, positive=logarithm, column=column)
    if rows["middle"].isna().all():
        return no_data(title, what, notes=notes)
    theirs = _paper_areas(paper, measure)
    shown = [rows[["low", "middle", "high"]].to_numpy().ravel(), theirs[["low", "high"]].to_numpy().ravel()]
    if logarithm:
        scale, ticks = logarithmic(np.concatenate(shown))
        axis = alt.Axis(grid=False, **ticks_at(ticks), minExtent=EXTENT, labelExpr="format(datum.value, "
                        "datum.value < 0.001 || datum.value > 9999 ? '~e' : '~g')")
    else:
        scale = alt.Scale(domain=[0, float(f"{1.04 * np.nanmax(np.concatenate(shown)):.3g}")], nice=False)
        axis = alt.Axis(grid=False, tickCount=6, minExtent=EXTENT)
    y = {"title": WORDS[measure], "scale": scale, "axis": axis}
    x = alt.X("angle:Q", title="angle", scale=alt.Scale(domain=[0, 360], nice=False),
              axis=alt.Axis(grid=False, **ticks_at(list(CORNERS)), labelExpr=PI_LABELS))
    rows = rows.assign(**{name: [float(f"{value:.3g}") for value in rows[name]] for name in ("low", "middle", "high")})
    if not logarithm or measure == "logit_norm":  # smooth curves: every second place is enough
        rows = rows[rows["angle"].isin(sorted(set(rows["angle"]))[::2])]
    panels, told = [], []
    for path in (name for name in PATHS if name in set(rows["path"])):
        own = rows[rows["path"] == path]
        base = alt.Chart(own).encode(x, alt.Color("moment:N", sort=list(MOMENTS), scale=CURVES, legend=alt.Legend(
            title=None, orient="bottom", **LINE_SYMBOL)))
        layers = [base.mark_area(opacity=0.2, clip=True).encode(alt.Y("low:Q", **y), alt.Y2("high:Q")),
                  base.mark_line().encode(alt.Y("middle:Q", **y), tooltip=[
                      "moment:N", alt.Tooltip("angle:Q", title="angle (degrees)"),
                      alt.Tooltip("middle:Q", title="median", format=".3~g"),
                      alt.Tooltip("low:Q", title="tenth percentile", format=".3~g"),
                      alt.Tooltip("high:Q", title="ninetieth", format=".3~g")])]
        if path != RANDOM:
            layers.insert(0, alt.Chart(pd.DataFrame({"angle": CORNERS})).mark_rule(
                color=GREY, strokeDash=[2, 4]).encode(x))
        areas = theirs[theirs["path"] == path]
        if len(areas):
            end = alt.X2("end:Q")
            drawn = alt.Chart(areas.drop(columns="path"))
            layers += [drawn.mark_rect(color=GREY, opacity=0.35, clip=True).encode(
                           x, end, alt.Y("low:Q", **y), alt.Y2("high:Q")),
                       drawn.mark_rule(color=GREY, strokeWidth=2).encode(x, end, alt.Y("middle:Q", **y))]
        panels.append(alt.layer(*layers).properties(width=PANEL, height=220, title=path))
        for moment in MOMENTS:
            middle = own[own["moment"] == moment].set_index("angle")["middle"]
            at, between = (np.exp(np.log(middle.reindex(list(angles)).clip(lower=1e-300)).mean())
                           for angles in (CORNERS, MIDDLES))
            told.append(f"{path.capitalize()}, {moment}: {or_unknown(at, '.3g')} at the points, "
                        f"{or_unknown(between, '.3g')} between them.")
    if len(theirs):
        notes = [*notes, "grey: about the levels in the paper’s Figure 2"]
    notes = [*notes, "lines: medians; bands: 80 % of the ellipses"]
    if not logarithm:
        notes = [*notes, f"each ellipse averaged over {SMOOTHED} degrees"]
    return alt.concat(*panels, columns=2, spacing=12).properties(
        title=with_notes(title, notes), usermeta={"narrow": {"size": PHONE}},
        description=sentences(f"{what}. " + " ".join(told), notes))


def round_an_ellipse(points, curves, names, *, title):
    """An ellipse of each kind with a cursor: the input at its place, and the Jacobian norm there.

    points: {kind of ellipse: (3, rows, columns) three points}. curves: rows with path, angle, norm and before (the norm
    before training). names: {kind: what its points are, in words}. The cursor follows a slider and the pointer.
    """
    paths = [path for path in PATHS if path in points]
    what = "An ellipse through three inputs, with a slider that moves a cursor round it, and the image at the cursor"
    if not paths or curves.empty:
        return no_data(title, what)
    notes = []
    for name in ("norm", "before"):
        curves, own = drawable(curves, positive=True, column=name)
        notes += [f"{note} ({name})" for note in own]
    if curves["norm"].isna().all():
        return no_data(title, what, notes=notes)
    places = pd.concat([_places(points[path], curves[curves["path"] == path], names[path]) for path in paths])
    places = places.assign(**{name: [float(f"{value:.4g}") for value in places[name]] for name in ("norm", "before")})
    angles = np.sort(places["angle"].unique())
    step = float(angles[1] - angles[0])
    kind = alt.param(name="kind", value=paths[min(1, len(paths) - 1)],
                     bind=alt.binding_radio(options=paths, name="points "))
    cursor = alt.selection_point(name="at", fields=["angle"], nearest=True, on=DRAGGED, clear=False, toggle=False,
                                 value=[{"angle": CORNERS[0]}],
                                 bind=alt.binding_range(min=0, max=float(angles[-1]), step=step, name="angle "))
    scale, ticks = logarithmic(places[["norm", "before"]])
    base = alt.Chart(places).transform_filter("datum.path == kind")
    cursor_angle = f"(isValid(at_angle) ? at_angle : {CORNERS[0]})"
    here = base.transform_filter(f"datum.angle == {cursor_angle}")
    corners = base.transform_filter(alt.FieldOneOfPredicate("angle", list(CORNERS)))
    reach = float(f"{1.1 * np.abs(places[['x', 'y']]).max(axis=None):.3g}")
    square = {"scale": alt.Scale(domain=[-reach, reach], nice=False), "axis": None}
    x, y = alt.X("x:Q", **square), alt.Y("y:Q", **square)
    tooltip = [alt.Tooltip("angle:Q", title="angle (degrees)"), alt.Tooltip("norm:Q", format=".3~g"),
               alt.Tooltip("before:Q", title="norm before training", format=".3~g")]
    colour = alt.Color("norm:Q", title="Jacobian norm", scale=alt.Scale(
        type="log", domain=scale.domain, scheme="viridis", reverse=True), legend=alt.Legend(
            orient="bottom", direction="horizontal", gradientLength=THIRD - 16, values=ticks[:: -(-len(ticks) // 3)],
            labelExpr="format(datum.value, '.0e')"))
    ring = alt.layer(
        base.mark_point(filled=True, size=60, opacity=1).encode(x, y, colour, tooltip=tooltip).add_params(cursor),
        corners.mark_point(filled=False, size=240, strokeWidth=2, color=GREY).encode(x, y),
        corners.mark_text(dy=-18).encode(x, y, text="label:N"),
        here.mark_point(shape="cross", size=200, strokeWidth=2, color=MARK, filled=True, opacity=1,
                        stroke="white").encode(x, y)).properties(width=THIRD, height=THIRD, title="the ellipse")
    line_y = {"title": "Jacobian norm", "scale": scale, "axis": alt.Axis(
        grid=False, **ticks_at(ticks), minExtent=EXTENT,
        labelExpr="format(datum.value, datum.value < 0.001 || datum.value > 9999 ? '~e' : '~g')")}
    angle = alt.X("angle:Q", title="angle", scale=alt.Scale(domain=[0, 360], nice=False),
                  axis=alt.Axis(grid=False, **ticks_at(list(CORNERS)), labelExpr=PI_LABELS))
    curve = alt.layer(
        base.mark_line(color=GREY, strokeDash=[4, 3]).encode(angle, alt.Y("before:Q", **line_y)),
        base.mark_line().encode(angle, alt.Y("norm:Q", **line_y)),
        base.mark_point(filled=True, size=30, opacity=0).encode(angle, alt.Y("norm:Q", **line_y), tooltip=tooltip),
        here.mark_rule(color=MARK, strokeWidth=2).encode(angle),
        here.transform_calculate(told="format(datum.norm, '.2g')").mark_text(
            align="center", dy=-8, fontWeight="bold", y=0).encode(angle, text="told:N"),
    ).properties(width=THIRD, height=THIRD, title="norm (dashed: untrained)")
    pixels = pd.concat([_pixels(points[path]).assign(path=number) for number, path in enumerate(paths)])
    rows, columns = points[paths[0]].shape[1:]
    low, high = np.quantile(pixels[["one", "two", "three"]], [0.005, 0.995])
    turn = f"{cursor_angle} * PI / 180"
    side = max(1, THIRD // columns)  # of a pixel: whole, or seams would show
    compact = alt.InlineData(values=pixels.to_csv(index=False), format=alt.CsvDataFormat(  # a quarter of the size
        type="csv", parse=dict.fromkeys(pixels, "number")))
    image = alt.Chart(compact).transform_filter(f"datum.path == indexof({paths}, kind)").transform_calculate(
        value=f"(datum.one + datum.two + datum.three) / 3 + (datum.one - 2 * datum.two + datum.three) / 3 * cos({turn})"
              f" + (datum.one - datum.three) / sqrt(3) * sin({turn})",
    ).mark_rect().encode(
        alt.X("column:O", axis=None, scale=alt.Scale(padding=0)), alt.Y("row:O", axis=None, scale=alt.Scale(padding=0)),
        alt.Color("value:Q", legend=None, scale=alt.Scale(
            type="quantize", scheme=alt.SchemeParams(name="greys", count=SHADES), reverse=True,
            domain=[float(low), float(high)])),
    ).properties(width=side * columns, height=side * rows, title="the input there")
    told = [f"{path.capitalize()} ({names[path]}): from {or_unknown(own['norm'].min(), '.2g')} to "
            f"{or_unknown(own['norm'].max(), '.2g')} along the ellipse, {or_unknown(_at_corners(own), '.2g')} at the "
            "points." for path in paths
            for own in [places[places["path"] == path]]]
    return alt.concat(curve, ring, image, columns=3, spacing=10).resolve_scale(color="independent").add_params(
        kind).properties(
        title=with_notes(title, ["drag the cursor along the ellipse, or use the slider", *notes]),
        usermeta={"narrow": {"size": PHONE // columns * columns}},
        description=sentences(f"{what}; the colour and a curve show the Jacobian norm after training. "
                              + " ".join(told), notes))


def factor_points(rows, *, title, what):
    """Factors with 95 % intervals, a row for each network.

    rows: network, measure, mean, low and high, which are logarithms to base 10. what: the factor in words.
    """
    description = f"Points with 95 % intervals: {what}"
    rows, notes = drawable(rows, column="mean") if len(rows) else (rows, [])
    rows = rows[rows["mean"].notna()] if len(rows) else rows
    if rows.empty:
        return no_data(title, description, notes=notes)
    with np.errstate(over="ignore"):
        rows = rows.assign(**{name: 10.0 ** rows[name].astype(float) for name in ("mean", "low", "high")},
                           told=rows["mean"].map(factor))
    scale, ticks = logarithmic(np.append(rows[["mean", "low", "high"]].to_numpy().ravel(), 1))
    order = list(dict.fromkeys(rows["network"]))
    x = {"title": "factor, added by training", "scale": scale, "axis": alt.Axis(
        grid=False, **ticks_at(ticks[:: -(-len(ticks) // 5)]),
        labelExpr="format(datum.value, datum.value < 0.001 ? '~e' : '~g')")}
    base = alt.Chart(rows).encode(
        alt.Y("network:N", sort=order, title=None, axis=alt.Axis(labelLimit=150)), alt.YOffset("measure:N"),
        alt.Color("measure:N", scale=CURVES, legend=alt.Legend(title=None, orient="bottom", columns=1, labelLimit=320)))
    told = [f"{row.network}, {row.measure}: {row.told}." for row in rows.itertuples()]
    return alt.layer(
        base.mark_rule(strokeWidth=2).encode(alt.X("low:Q", **x), alt.X2("high:Q")),
        base.mark_point(filled=True, size=70, opacity=1).encode(alt.X("mean:Q", **x), tooltip=[
            "network:N", "measure:N", alt.Tooltip("told:N", title="factor")]),
        zero_line(x=alt.datum(1)),
    ).properties(width="container", height=50 * len(order) + 30, title=with_notes(title, notes),
                 description=sentences(f"{description}. " + " ".join(told), notes))


def _paper_areas(paper, measure):
    """The levels of the paper as areas of a chart: path, angle, end, low, middle, high."""
    columns = ["path", "angle", "end", "low", "middle", "high"]
    if paper is None:
        return pd.DataFrame(columns=columns)
    places = {"everywhere": [(0, 360)], "at the points": [(c - AROUND, c + AROUND) for c in CORNERS],
              "between them": [(0, AROUND), *((m - AROUND, m + AROUND) for m in MIDDLES[1:]), (360 - AROUND, 360)]}
    return pd.DataFrame([
        (row.path, start, end, row.low, (row.low * row.high) ** 0.5, row.high)
        for row in paper[paper["measure"] == measure].itertuples() for start, end in places[row.place]],
        columns=columns)


def _places(points, curve, names):
    """The curve's rows with their places in the plane of the ellipse, and the name of a point at its angle: its number
    and its class. names: of the three classes, if they are of classes."""
    corners = in_plane(points)
    around = ellipse(corners, curve["angle"])
    around = around - corners.mean(axis=0)
    classes = names.split(", ") if names.count(", ") == len(CORNERS) - 1 else [""] * len(CORNERS)
    labels = {angle: f"{number}: “{name}”" if name else f"{number}"
              for number, (angle, name) in enumerate(zip(CORNERS, classes), start=1)}
    return curve.assign(x=around[:, 0].round(4), y=around[:, 1].round(4),
                        label=curve["angle"].map(labels).fillna(""))


def _pixels(points):
    """A row for each pixel, with its number at each of the three points."""
    row, column = np.indices(points.shape[1:]).reshape(2, -1)
    one, two, three = points.reshape(3, -1).round(2)
    return pd.DataFrame({"row": row, "column": column, "one": one, "two": two, "three": three})


def _at_corners(places):
    return np.exp(np.log(places.loc[places["angle"].isin(CORNERS), "norm"]).mean())
