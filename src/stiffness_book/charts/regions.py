"""Charts of linear regions: the plane through three training examples, and how dense regions are around them."""

import base64
import struct
import zlib

import altair as alt
import numpy as np
import pandas as pd

from stiffness_book.charts.ellipses import PHONE
from stiffness_book.charts.look import CURVES
from stiffness_book.charts.parts import (
    LINE_SYMBOL,
    PANEL,
    drawable,
    interval,
    mean_tooltip,
    no_data,
    or_unknown,
    rounded,
    sentences,
    ticks_at,
    with_notes,
)
from stiffness_book.sensitivity.input_space import EXTENT, PATHS, SHADES
from stiffness_book.sensitivity.near_data import MOMENTS
from stiffness_book.summaries import over_seeds

# Tableau's ten colours, one for each class; their shades are mixed with white
CLASSES = ("4e79a7", "f28e2b", "e15759", "76b7b2", "59a14f", "edc948", "b07aa1", "ff9da7", "9c755f", "bab0ac")
INK = "#111"  # of names on the picture, which is as light on a dark page, where texts in black turn white
LIGHTEST = 0.75  # the largest share of white in a shade
CLOSEST = 8  # the largest magnification
WHOLE = "whole plane"


def region_pictures(pictures, corners, names, *, title):
    """The plane through three training examples before and after training, beside each other, with a zoom.

    pictures: {moment: (shades, classes)}, each (size, size) with row 0 at the bottom. corners: (3, 2) the places of the
    examples, over the radius of the circle through them. names: their classes, in words.
    """
    what = "Pictures of the plane through three training examples, coloured by linear region"
    if not pictures:
        return no_data(title, what)
    looks = [WHOLE, *(f"example {number}" for number in range(1, 4))]
    look = alt.param(name="look", value=WHOLE, bind=alt.binding_radio(options=looks, name="centre "))
    zoom = alt.param(name="zoom", value=1, bind=alt.binding_range(min=1, max=CLOSEST, step=0.5, name="zoom "))
    points = pd.DataFrame({"x": corners[:, 0].round(4), "y": corners[:, 1].round(4),
                           "example": looks[1:], "name": [f"{k}: “{name}”" for k, name in enumerate(names, start=1)]})
    axes = {}
    for name in "xy":
        places = [0.0, *points[name]]
        centre = " : ".join([*(f"look == '{option}' ? {place}" for option, place in zip(looks, places)), "0"])
        inside = f"clamp({centre}, -{EXTENT} * (1 - 1 / zoom), {EXTENT} * (1 - 1 / zoom))"  # nothing beyond the picture
        ends = [alt.ExprRef(f"{inside} {sign} {EXTENT} / zoom") for sign in "-+"]
        axes[name] = {"axis": None, "scale": alt.Scale(domainMin=ends[0], domainMax=ends[1], nice=False, zero=False)}
    x, y = alt.X("x:Q", **axes["x"]), alt.Y("y:Q", **axes["y"])
    panels = []
    for number, (moment, (shades, classes)) in enumerate(pictures.items()):
        wide = alt.ExprRef(f"{PANEL} * zoom")
        image = alt.Chart(pd.DataFrame({"x": [0.0], "y": [0.0], "url": [picture_of(shades, classes)]})).mark_image(
            width=wide, height=wide, smooth=False, clip=True, aspect=False).encode(x, y, url="url:N")
        marks = alt.Chart(points).encode(x, y)
        panels.append(alt.layer(
            image, marks.mark_point(filled=True, size=90, color="white", stroke="black", strokeWidth=2, opacity=1,
                                    clip=True).encode(tooltip=["name:N"]),
            marks.mark_text(dy=-14, fontWeight="bold", color=INK, stroke="white", strokeWidth=3, clip=True,
                            strokeJoin="round").encode(text="name:N"),
            marks.mark_text(dy=-14, fontWeight="bold", color=INK, clip=True).encode(text="name:N"),
        ).properties(width=PANEL, height=PANEL, title=moment, name=f"plane_{number}"))
    told = ", ".join(f"example {number} is of class {name}" for number, name in enumerate(names, start=1))
    return alt.hconcat(*panels).resolve_scale(x="shared", y="shared").add_params(look, zoom).properties(
        title=with_notes(title, ["one shade: a linear region;", "black: where the class changes"]),
        description=f"{what}, before and after training; hues are classes, and black lines are the boundaries between "
                    f"them. Sliders magnify the surroundings of each example; {told}.")


def picture_of(shades, classes):
    """A PNG as a data address: the class as the hue, the linear region as its shade, black where the class changes."""
    classes = np.asarray(classes)
    palette = [[round(int(colour[k : k + 2], 16) * (1 - share) + 255 * share) for k in (0, 2, 4)]
               for colour in CLASSES for share in np.linspace(0, LIGHTEST, SHADES)]
    black = len(palette)
    colours = classes % len(CLASSES) * SHADES + np.asarray(shades)
    changes = np.zeros(classes.shape, bool)
    changes[1:] |= classes[1:] != classes[:-1]
    changes[:, 1:] |= classes[:, 1:] != classes[:, :-1]
    colours[changes] = black
    return png(colours[::-1], [*palette, [0, 0, 0]])


def png(colours, palette):
    """A PNG image as a data address. colours: (height, width) places in the palette of up to 256 colours (r, g, b)."""
    colours = np.asarray(colours, np.uint8)
    height, width = colours.shape
    lines = np.hstack([np.zeros((height, 1), np.uint8), colours])  # each begins with its filter: none

    def chunk(kind, content):
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    content = b"\x89PNG\r\n\x1a\n" + b"".join([
        chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        chunk(b"PLTE", bytes(int(part) for colour in palette for part in colour)),
        chunk(b"IDAT", zlib.compress(lines.tobytes(), 9)), chunk(b"IEND", b"")])
    return "data:image/png;base64," + base64.b64encode(content).decode()


def regions_by_distance(around, *, title):
    """How often the code changes around points of each kind, by the distance from them, before and after training.

    around: as from `near_data.around`.
    """
    what = "Lines of changes of the code per unit of length against the distance from the points"
    if around.empty:
        return no_data(title, what)
    around, notes = drawable(around)
    if around["value"].isna().all():
        return no_data(title, what, notes=notes)
    rows = rounded(over_seeds(around, ["moment", "path", "distance"], bounds=(0, np.inf)))
    top = float(f"{1.05 * np.nanmax(rows[['mean', 'high']]):.3g}")
    y = {"title": "changes per unit of length", "scale": alt.Scale(domain=[0, top], nice=False),
         "axis": alt.Axis(grid=False, tickCount=6)}
    x = alt.X("distance:Q", title="distance, over that between the points",
              scale=alt.Scale(domain=[0, 0.6], nice=False), axis=alt.Axis(grid=False, **ticks_at([0, 0.2, 0.4, 0.6])))
    panels, told = [], []
    for path in (name for name in PATHS[1:] + PATHS[:1] if name in set(rows["path"])):
        own = rows[rows["path"] == path]
        base = alt.Chart(own).transform_calculate(**interval(".3~g")).encode(x, alt.Color(
            "moment:N", sort=list(MOMENTS), scale=CURVES,
            legend=alt.Legend(title=None, orient="bottom", **LINE_SYMBOL)))
        panels.append(alt.layer(
            base.mark_area(opacity=0.2).encode(alt.Y("low:Q", **y), alt.Y2("high:Q")),
            base.mark_line(point=True).encode(alt.Y("mean:Q", **y), tooltip=[
                "moment:N", "distance:Q", *mean_tooltip(".3~g")])).properties(width=PANEL, height=200, title=path))
        for moment in MOMENTS:
            line = own[own["moment"] == moment].sort_values("distance")["mean"]
            if len(line):
                told.append(f"{path.capitalize()}, {moment}: {or_unknown(line.iloc[0], '.3g')} nearest to the points, "
                            f"{or_unknown(line.iloc[-1], '.3g')} farthest.")
    return alt.concat(*panels, columns=2, spacing=12).properties(
        title=with_notes(title, notes), usermeta={"narrow": {"size": PHONE}},
        description=sentences(f"{what}. " + " ".join(told), notes))
