"""Charts of the page on three texts that contradict each other: trends against the learning rate, by every choice."""

import altair as alt
import numpy as np
import pandas as pd

from stiffness_book.charts.look import GREY, MARK, STIFFNESS_SCALE
from stiffness_book.charts.parts import no_data
from stiffness_book.contradiction import AT, DIPS, FALLS, NEITHER, PEAKS, RISES, TRENDS, counts
from stiffness_book.summaries import medians, over_seeds
from stiffness_book.table import FARTHEST, STIFFNESS
from stiffness_book.words import interval

CHOICES = {"dataset": "data ", "network": "network ", "optimizer": "training ", "at": "compared at ",
           "measure": "measure ", "kind": "stiffness by ", "space": "distance in "}
ARROWS = {RISES: "▲", FALLS: "▼", DIPS: "∪", PEAKS: "∩", NEITHER: "·"}


def trend_switch(rows, trends, choices, first, *, title, size=False):
    """A value against the learning rate, with a menu for each choice, and its trend in words.

    rows: as from `contradiction.compared`; trends: as from `contradiction.trends` with these choices. first: of each
    choice the option that is shown first. size: the value is a distance, drawn by medians and ranges, and where it is
    larger than any a triangle; else means with 95 % intervals.
    """
    what = "The value against the learning rate for one choice of data, network, training and measure"
    if rows.empty:
        return no_data(title, what)
    by = [*choices, "told", "learning_rate"]
    if size:
        shown = medians(rows.sort_values("learning_rate"), by).rename(
            columns={"median": "middle", "least": "low", "largest": "high"})
    else:
        shown = over_seeds(rows, by, bounds=STIFFNESS).rename(columns={"mean": "middle"})
    endless = np.isinf(shown["middle"])
    ends = ["middle", "low", "high"]
    shown = shown.assign(shape=np.where(endless, "larger than any distance", "a value"),
                         **shown[ends].clip(upper=FARTHEST).round(3))[[*by, *ends, "shape"]]
    options = [list(dict.fromkeys(trends[name])) for name in choices]
    told = trends.merge(shown[[*choices, "told"]].drop_duplicates(), on=choices).set_index(choices)
    told = told.assign(text=[f"At {row.told}: {row.trend}; rank correlation {interval(row._asdict())}"
                             for row in told.itertuples()])
    told = told.reindex(pd.MultiIndex.from_product(options, names=choices)).reset_index()
    told["text"] = told["text"].fillna("not compared: not every run reached it, or the line reaches zero in none")
    chosen = " && ".join(f"datum.{name} == chosen_{name}" for name in choices)
    x = alt.X("learning_rate:Q", title="learning rate", scale=alt.Scale(type="log", nice=False, padding=12),
              axis=alt.Axis(format="~e", grid=False, labelOverlap=True, values=_round_rates(shown["learning_rate"])))
    y = {"title": "distance, 1 − cosine" if size else "stiffness", "scale": alt.Scale(zero=False),
         "axis": alt.Axis(grid=False, tickCount=6, minExtent=42)}
    base = alt.Chart(shown).transform_filter(chosen).encode(x)
    tooltip = [alt.Tooltip("learning_rate:Q", title="learning rate", format="~e"),
               alt.Tooltip("middle:Q", title="median" if size else "mean", format="+.3f"),
               alt.Tooltip("low:Q", title="least" if size else "95 %, from", format="+.3f"),
               alt.Tooltip("high:Q", title="largest" if size else "to", format="+.3f")]
    shape = alt.Shape("shape:N", title=None, scale=alt.Scale(
        domain=["a value", "larger than any distance"], range=["circle", "triangle-up"]),
        legend=alt.Legend(orient="bottom", symbolFillColor=GREY) if size else None)
    menus = [alt.param(name=f"chosen_{name}", value=first[name], bind=alt.binding_select(
        options=own, name=CHOICES[name])) for name, own in zip(choices, options)]
    words = alt.Chart(told[[*choices, "text"]]).transform_filter(chosen).mark_text(
        align="left", x=0, y=-24, color=MARK, fontWeight="bold", lineBreak="; ", lineHeight=14).encode(text="text:N")
    return alt.layer(
        base.mark_area(opacity=0.2).encode(alt.Y("low:Q", **y), alt.Y2("high:Q")),
        base.mark_line().encode(alt.Y("middle:Q", **y)),
        base.mark_point(filled=True, size=60, opacity=1).encode(alt.Y("middle:Q", **y), shape=shape, tooltip=tooltip),
        words).add_params(*menus).properties(
            width="container", height=260, title=alt.Title(title, offset=32),
            description=f"{what}, chosen by menus. {_in_words(trends)}")


def trend_grid(trends, rows, *, title):
    """A cell for each choice: its colour the rank correlation of the value with the learning rate, its sign the trend.

    trends: as from `contradiction.trends`, of one data set; rows: the two choices that make the rows. A panel for each
    network and training; the columns are what is compared.
    """
    what = "A grid of trends with the learning rate"
    if trends.empty:
        return no_data(title, what)
    trends = trends.assign(row=trends[rows[0]] + ", " + trends[rows[1]], arrow=trends["trend"].map(ARROWS),
                           told=[interval(row) for _, row in trends.iterrows()])
    trends["change"] = ["without end" if np.isinf(change) else f"{change:+.2f}" for change in trends["change"]]
    order = list(dict.fromkeys(trends["row"]))
    panels = []
    for (network, optimizer), own in trends.groupby(["network", "optimizer"], sort=False):
        first = not panels
        base = alt.Chart(own[["at", "row", "mean", "arrow", "told", "change", "trend"]]).encode(
            alt.X("at:N", title=None, sort=list(AT), scale=alt.Scale(domain=list(AT)),
                  axis=alt.Axis(labelAngle=-60, orient="bottom", domain=False, ticks=False)),
            alt.Y("row:N", title=None, sort=order, scale=alt.Scale(domain=order),
                  axis=alt.Axis(domain=False, ticks=False, labelLimit=260, labels=first)),
            tooltip=[alt.Tooltip("trend:N", title="with the learning rate it"),
                     alt.Tooltip("told:N", title="rank correlation"), alt.Tooltip("change:N", title="change"),
                     alt.Tooltip("row:N", title="measure"), alt.Tooltip("at:N", title="compared at")])
        panels.append(alt.layer(
            base.mark_rect().encode(alt.Color(
                "mean:Q", title="rank correlation", scale=STIFFNESS_SCALE,
                legend=alt.Legend(orient="bottom", gradientLength=160) if first else None)),
            base.mark_text(fontSize=12).encode(text="arrow:N", color=alt.condition(
                "abs(datum.mean) > 0.6", alt.value("white"), alt.value("black")))).properties(
                width=24 * len(AT), height=22 * len(order), title=alt.Title([network, optimizer], fontSize=12)))
    return alt.hconcat(*panels, spacing=8).properties(
        title=alt.Title(title, subtitle=[", ".join(f"{ARROWS[trend]} {trend.replace(',', '')}" for trend in line)
                                         for line in (TRENDS[:2], TRENDS[2:4], TRENDS[4:])]),
        description=f"{what}. {_in_words(trends)}")


def _round_rates(rates):
    """1 and 3 times powers of ten from the lowest to the highest rate, for the ticks."""
    low, high = np.floor(np.log10([min(rates), max(rates)])).astype(int)
    return [float(f"{digit}e{power}") for power in range(low, high + 1) for digit in (1, 3)]


def _in_words(trends):
    """How many cases of each measure have each trend, in sentences."""
    return " ".join(f"{', '.join(key)}: " + ", ".join(f"{trend.replace(',', '')} in {row[trend]}" for trend in TRENDS)
                    + " cases." for key, row in counts(trends).iterrows())
