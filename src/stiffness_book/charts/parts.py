"""What several charts share: axes, switches, tooltips, and what is shown in place of missing data."""

import math

import altair as alt
import numpy as np

from stiffness_book.charts.look import GREY
from stiffness_book.table import KINDS

PANEL = 262  # width of one of two panels side by side: a phone shows one whole panel
EXTENT = 42  # room for an axis's longest labels, so that the chart does not move when a switch changes them
LINE_SYMBOL = {"symbolType": "stroke", "symbolStrokeWidth": 3, "symbolOpacity": 1}
GREY_SYMBOL = {"symbolFillColor": GREY, "symbolStrokeColor": GREY}


# missing, infinite or no data

def no_data(title, what, *, notes=(), width="container", height=240):
    """A chart that says that there is no data. what: what would be drawn, for the alternative text."""
    return alt.Chart(alt.InlineData(values=[{}])).mark_text(text="no data", fontSize=16, color=GREY).properties(
        width=width, height=height, title=with_notes(title, notes), description=sentences(f"{what}: no data.", notes))


def drawable(table, *, positive=False, column="value"):
    """The table with NaN for each value that an axis cannot show, and a list of notes: empty, or how many there are.

    positive: the axis is logarithmic, and shows neither 0 nor negative numbers.
    """
    values = table[column].astype(float)
    hidden = np.isinf(values) | ((values <= 0) if positive else False)
    kind = "infinite, 0 or negative" if positive else "infinite"
    notes = [f"not drawn: {hidden.sum():,} {kind} value{'s' if hidden.sum() > 1 else ''}"] if hidden.any() else []
    return table.assign(**{column: values.mask(hidden)}), notes


def with_notes(title, notes):
    """The title, with the notes below it if there are any."""
    return alt.Title(title, subtitle=list(notes)) if notes else title


def sentences(description, notes):
    """An alternative text with the notes at its end, as sentences."""
    return " ".join([description, *(f"{note[0].upper()}{note[1:]}." for note in notes)])


def or_unknown(value, form):
    """A number in words: formatted, or "unknown"."""
    return f"{value:{form}}" if np.isfinite(value) else "unknown"


# numbers, as few digits as the eye needs

def rounded(table):
    """Mean and interval with three decimals, for stiffness."""
    return table.round({"mean": 3, "low": 3, "high": 3})


def to_digits(table):
    """Mean and interval with four digits, for losses, which would vanish from a logarithmic axis if rounded to 0."""
    return table.assign(**{name: [float(f"{value:.4g}") for value in table[name]] for name in ("mean", "low", "high")})


# tooltips

def interval(form):
    """The calculated field `interval` of a tooltip, from the columns low, high and seeds."""
    ends = f"format(datum.low, '{form}') + ' to ' + format(datum.high, '{form}')"
    return {"interval": f"(isValid(datum.low) ? {ends} : 'none') + ', ' + datum.seeds + "
                        "(datum.seeds == 1 ? ' run' : ' runs')"}


def mean_tooltip(form):
    """The rows of a tooltip for a mean and its interval."""
    return [alt.Tooltip("mean:Q", title="mean", format=form), alt.Tooltip("interval:N", title="95 % interval")]


STIFFNESS_INTERVAL, STIFFNESS_TOOLTIP = interval("+.3f"), mean_tooltip("+.3f")


# axes

def ticks_at(ticks):
    """Properties of an axis with ticks at these values, or with about so many."""
    # without the count Vega drops every second value, the last one included, if it finds them too many
    return {"tickCount": ticks} if isinstance(ticks, int) else {
        "values": ticks, "tickCount": len(ticks), "labelOverlap": False}


def logarithmic(values, below=0.04):
    """Scale and ticks of a logarithmic axis that fits the finite positive values closely.

    Ticks are at powers of 10, with others between them if there is room. below: the empty share beneath the values.
    """
    values = np.asarray(values, float).ravel()
    exponents = np.log10(values[np.isfinite(values) & (values > 0)])
    low, high = (np.clip(end, -300, 300) for end in (exponents.min(), exponents.max()))
    least = math.log10(1.1)
    low, high = low - max(least, (high - low) * below), high + max(least, (high - low) * 0.04)
    powers = range(math.floor(low), math.floor(high) + 1)
    low, high = float(f"{10**low:.3g}"), float(f"{10**high:.3g}")
    for leading in ((1, 2, 5), (1, 3), (1,)):
        ticks = [tick for power in powers for digit in leading if low <= (tick := float(f"{digit}e{power}")) <= high]
        if len(ticks) <= 10:
            break
    if not ticks:  # the values are nearly alike
        ticks = [float(f"{math.sqrt(low) * math.sqrt(high):.2g}")]
    every = math.ceil(len(ticks) / 10)
    return alt.Scale(type="log", domain=[low, high], nice=False), ticks[::-every]


def labelled_axis(numbers, scale):
    """An x axis with a tick at each number, and labels where there is room: the ends first, then 10, 100 ..., 30 ...

    scale: the function by which the axis places numbers. (Vega itself would drop the last label first.)
    """
    numbers = sorted(set(map(int, numbers)))
    start, end = scale(numbers[0]), scale(numbers[-1])

    def with_room(width):
        ends, kinds = (numbers[-1], numbers[0]), ("1", "3")
        order = sorted(numbers, key=lambda n: (n not in ends, *(str(n).strip("0") != kind for kind in kinds), n))
        chosen = {}  # number: place and half the width of its label
        for number in order:
            place = float(width * (scale(number) - start) / ((end - start) or 1))
            half = 4 * len(f"{number:,}") + 2
            if all(abs(place - other) > half + its_half for other, its_half in chosen.values()):
                chosen[number] = place, half
        return sorted(chosen)

    shown = f"width < 480 ? {with_room(270)} : {with_room(480)}"  # on a phone, and elsewhere
    return alt.Axis(**ticks_at(numbers), format=",d", grid=False, labelFlush=False,
                    labelExpr=f"indexof({shown}, datum.value) < 0 ? '' : datum.label")


# switches and reference lines

def with_stage_slider(chart, steps, first):
    """The chart with a slider over the stages, a parameter named `stage`. The stages in words are handed over with it,
    as the book's pages tell them, and play them, beside the slider."""
    slider = alt.binding_range(min=0, max=len(steps) - 1, step=1, name="stage of training ")
    return chart.add_params(alt.param(name="stage", value=steps.index(first), bind=slider)).properties(
        usermeta={"stages": list(map(after, steps))})


def kind_switch(first=KINDS[0]):
    """The choice between sign and cosine, a parameter named `kind`."""
    return alt.param(name="kind", value=first, bind=alt.binding_radio(options=KINDS, name="stiffness "))


def of_kind(rows):
    """A chart of the rows of the chosen kind, with their intervals for tooltips."""
    return alt.Chart(rows).transform_filter("datum.kind == kind").transform_calculate(**STIFFNESS_INTERVAL)


def once():
    """A chart of a single empty row, for marks whose place is fixed."""
    return alt.Chart(alt.InlineData(values=[{}]))


def zero_line(**place):
    """A dotted line at 0: horizontal, or where the keyword (x=...) puts it."""
    return once().mark_rule(color=GREY, strokeDash=[2, 4]).encode(**(place or {"y": alt.datum(0)}))


def after(step):
    """A stage in words."""
    return f"after {step:,} steps" if step else "at initialisation"
