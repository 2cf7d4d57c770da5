"""Charts of class stiffness matrices. Cells without a known stiffness are grey."""

import altair as alt
import numpy as np
import pandas as pd

from stiffness_book.charts.look import GREY, STIFFNESS_SCALE
from stiffness_book.charts.parts import (
    STIFFNESS_INTERVAL,
    STIFFNESS_TOOLTIP,
    after,
    drawable,
    kind_switch,
    no_data,
    once,
    or_unknown,
    rounded,
    sentences,
    with_notes,
    with_stage_slider,
)
from stiffness_book.table import KINDS

FOUND = "found clusters"
HEAT_MAP = "Heat map of the class stiffness matrix"
BLOCK_LABELS = "block labels"  # the layer that names blocks; a phone has no room for it
UNKNOWN = "grey cells are unknown"


def matrix_panels(matrices, steps, kind, *, title, of):
    """Class stiffness matrices at the given steps, side by side; in two columns if the classes have names, not numbers.

    matrices: as from `summaries.mean_matrices`. kind: sign or cosine. of: whose they are, in words, for the
    alternative text. Raises ValueError for a step at which no stage was measured.
    """
    if matrices.empty:
        return no_data(title, HEAT_MAP)
    _check_measured(steps, matrices["step"])
    matrices, notes = drawable(matrices, column="mean")
    shown = matrices[matrices["step"].isin(steps) & (matrices["kind"] == kind)]
    if shown["mean"].isna().all():
        return no_data(title, HEAT_MAP, notes=notes)
    notes += [UNKNOWN] * _has_gaps(shown)
    columns, size = (2, 220) if _named(matrices["class_a"]) else (len(steps), 190)
    panels = [_grey_behind(_matrix(rounded(own), size=size, title=after(step), labels=i % columns == 0,
                                   stiffness=f"mean {kind} stiffness"), _has_gaps(own))
              for i, step in enumerate(steps) for own in [shown[shown["step"] == step]]]
    description = f"{len(steps)} heat maps of the class stiffness matrix of {of}. {in_words(matrices, steps, [kind])}"
    return alt.concat(*panels, columns=columns, spacing=12).resolve_scale(color="shared").properties(
        usermeta={"narrow": {"columns": 2 if size == 190 else 1, "size": 128 if size == 190 else 200}},
        title=with_notes(title, notes), description=sentences(description, notes))


def matrices_beside(pairs, class_names, *, title, of):
    """Class stiffness matrices of this book above those of the paper, in one scale.

    pairs: {stage in words: (ours, the paper's)}, each (Nc, Nc); of: whose they are, for the alternative text.
    """
    if not pairs:
        return no_data(title, HEAT_MAP)
    rows, told = [], []
    for place, name in enumerate(("this book", "the paper")):
        panels = []
        for stage, both in pairs.items():
            C = both[place]
            cells = pd.DataFrame([
                {"class_a": class_names[a], "class_b": class_names[b], "mean": round(float(C[a, b]), 2)}
                for a, b in np.ndindex(*C.shape)])
            panels.append(_grey_behind(_matrix(cells, size=150 if len(C) <= 10 else 300, title=[stage, name],
                                               labels=not panels, stiffness="mean sign stiffness", interval=False),
                                       not np.isfinite(C).all()))
            own = np.eye(len(C), dtype=bool)
            told.append(f"{stage}, {name}: {C[own].mean():.2f} within classes, {C[~own].mean():.2f} between them")
        rows += panels
    order = [place + row for place in range(len(pairs)) for row in (0, len(pairs))]  # each of ours beside the paper's
    return alt.concat(*rows, columns=len(pairs), spacing=12).resolve_scale(color="shared").properties(
        usermeta={"narrow": {"columns": 2, "size": 128, "order": order, "labels": not _named(class_names)}
                  if len(class_names) <= 10 else {"size": 280, "labels": False}}, title=title,
        description=f"Heat maps of the class stiffness matrix of {of}, above those of the paper. {'; '.join(told)}.")


def matrix_slider(matrices, *, title, of, first=None):
    """One class stiffness matrix, with a slider over all measured stages and a choice of sign or cosine.

    matrices, of: as in `matrix_panels`. first: the step of the stage shown first, the last one by default; ValueError
    if it was not measured.
    """
    if matrices.empty:
        return no_data(title, HEAT_MAP)
    _check_measured([] if first is None else [first], matrices["step"])
    matrices, notes = drawable(matrices, column="mean")
    if matrices["mean"].isna().all():
        return no_data(title, HEAT_MAP, notes=notes)
    notes += [UNKNOWN] * _has_gaps(matrices)
    steps = sorted(set(matrices["step"]))
    shown = rounded(matrices).assign(stage=[steps.index(step) for step in matrices["step"]])
    size = 240 if _named(matrices["class_a"]) else 290  # with names it still fits a phone
    matrix = _matrix(shown, size=size, title=alt.Undefined, labels=True, stiffness="mean stiffness").transform_filter(
        "datum.stage == stage && datum.kind == kind")
    description = (f"The class stiffness matrix of {of} at each of {len(steps)} stages of training, chosen by a "
                   f"slider, for the sign or the cosine. {in_words(matrices, steps)}")
    chart = _grey_behind(alt.layer(matrix, _stage_heading(steps)), _has_gaps(shown))
    return with_stage_slider(chart, steps, steps[-1] if first is None else first).add_params(kind_switch()).properties(
        title=with_notes(title, notes), description=sentences(description, notes))


def matrix_orders(matrices, arrangements, class_names, super_classes, *, step, title, description):
    """A class stiffness matrix of many classes: a slider over stages, sign or cosine, and a choice of the order.

    matrices, arrangements: as from `blocks.arrangements`. step: the stage shown first; ValueError if it was not
    measured. The many numbers are rounded to 0.01, and only the lower triangle of a symmetric matrix is stored. Each
    cell looks its number up: with rows of data and a filter a browser would take seconds to switch.
    """
    if not matrices or all(np.isnan(C).all() for *_, C in matrices):
        return no_data(title, HEAT_MAP)
    steps = sorted({step for step, _, _ in matrices})
    _check_measured([step], steps)
    notes = [UNKNOWN] * any(not np.isfinite(C).all() for *_, C in matrices)
    orders = [name for name in arrangements if isinstance(name, str)] + [FOUND]
    classes = len(class_names)
    size = max(4, 300 // classes) * classes  # whole pixels, or cells would look uneven; large enough to point at
    values = {f"{kind} {steps.index(step)}": [
        [round(100 * float(mean)) if np.isfinite(mean) else None for mean in row[: a + 1]]
        for a, row in enumerate(C)] for step, kind, C in matrices}
    drawn, places = [], {}
    for name, (order, blocks) in arrangements.items():
        place = [0] * classes
        for position, c in enumerate(order):
            place[c] = position
        key = name if isinstance(name, str) else f"{name[1]} {steps.index(name[0])}"
        places[key] = place
        drawn += [{"key": key, **block} for block in blocks]
    order = alt.param(name="order", value=orders[0], bind=alt.binding_radio(options=orders, name="order of classes "))
    key = alt.param(name="key", expr=f"order == '{FOUND}' ? kind + ' ' + stage : order")
    full_names = [f"{name} ({group})".replace("_", " ") for name, group in zip(class_names, super_classes)]
    known = [alt.param(name=name, value=value) for name, value in
             (("values", values), ("places", places), ("names", full_names))]
    both = [alt.Axis(labels=False, ticks=False, domain=False, grid=False, title=title)
            for title in ("class whose loss changes", "gradient step on class")]
    x, y = (alt.Scale(domain=[0, classes], nice=False, reverse=reverse) for reverse in (False, True))
    matrix = alt.Chart(alt.sequence(classes**2, as_="cell")).transform_calculate(
        a=f"floor(datum.cell / {classes})", b=f"datum.cell % {classes}",
        value="values[kind + ' ' + stage][max(datum.a, datum.b)][min(datum.a, datum.b)]",
        mean="datum.value === null ? null : datum.value / 100", x="places[key][datum.b]", y="places[key][datum.a]",
        right="datum.x + 1", below="datum.y + 1",
        pair="'a step on ' + names[datum.a] + ', the loss of ' + names[datum.b]"
    ).mark_rect().encode(
        alt.X("x:Q", scale=x, axis=both[0]), alt.X2("right"), alt.Y("y:Q", scale=y, axis=both[1]), alt.Y2("below"),
        alt.Color("mean:Q", title="mean stiffness", scale=STIFFNESS_SCALE,
                  legend=alt.Legend(orient="bottom", gradientLength=220, titleLimit=300)),
        tooltip=[alt.Tooltip("pair:N", title="classes"), alt.Tooltip("mean:Q", format="+.2f")],
    )
    outlines = alt.Chart(alt.InlineData(values=drawn)).transform_filter("datum.key == key")
    ends = {"x": alt.X("start:Q", scale=x), "x2": "end", "y": alt.Y("start:Q", scale=y), "y2": "end"}
    thickness = alt.condition("datum.thick", alt.value(2), alt.value(0.7))
    # not filled: on a canvas a transparent filling would take the pointer from the cells below
    boxes = outlines.mark_rect(filled=False, stroke="#111").encode(**ends, strokeWidth=thickness)
    text = {"align": "left", "baseline": "middle", "fontSize": 10, "dx": 5}
    labels = outlines.transform_calculate(middle="(datum.start + datum.end) / 2").mark_text(**text).encode(
        text="label:N", x=alt.value(size), y=alt.Y("middle:Q", scale=y))
    longest = max((block["label"] for block in drawn), key=len, default="")
    room = once().mark_text(text=longest, opacity=0, **text).encode(x=alt.value(size))  # the width stays as it is
    named = alt.layer(labels, room).properties(name=BLOCK_LABELS)
    chart = alt.layer(matrix, boxes, named, _stage_heading(steps), width=size, height=size)
    chart = with_stage_slider(_grey_behind(chart, bool(notes)), steps, step).add_params(
        *known, kind_switch(), order, key)
    # thousands of cells: on a canvas a browser redraws them faster than as SVG
    return chart.properties(usermeta={**chart.usermeta, "embedOptions": {"renderer": "canvas"},
                                      "narrow": {"size": max(1, 300 // classes) * classes, "without": BLOCK_LABELS}},
                            title=with_notes(title, notes), description=sentences(description, notes))


def in_words(matrices, steps, kinds=KINDS):
    """What class stiffness matrices show, in a sentence for each step, for alternative texts."""
    own = matrices["class_a"] == matrices["class_b"]

    def sentence(step):
        means = [f"{kind} {or_unknown(matrices.loc[now & own, 'mean'].mean(), '.2f')} within classes and "
                 f"{or_unknown(matrices.loc[now & ~own, 'mean'].mean(), '.2f')} between them"
                 for kind in kinds for now in [(matrices["step"] == step) & (matrices["kind"] == kind)]]
        return f"{after(step).capitalize()} the mean stiffness is: {', '.join(means)}."

    return " ".join(map(sentence, steps))


def _check_measured(steps, measured):
    measured = sorted(set(measured))
    if missing := sorted(set(steps) - set(measured)):
        raise ValueError(f"no stage was measured at steps {missing}; measured were {', '.join(map(str, measured))}")


def _matrix(shown, *, size, title, labels, stiffness, interval=True):
    order = list(dict.fromkeys(shown["class_a"]))
    x, y = (alt.Axis(labelAngle=angle, ticks=False, domain=False) for angle in (-60 if _named(order) else 0, 0))
    return alt.Chart(shown, width=size, height=size, title=title).mark_rect().encode(
        alt.X("class_b:N", sort=order, title="class whose loss changes" if labels else "", axis=x),
        alt.Y("class_a:N", sort=order, title="gradient step on class" if labels else None, axis=y if labels else None),
        alt.Color("mean:Q", title=stiffness, scale=STIFFNESS_SCALE,
                  legend=alt.Legend(orient="bottom", gradientLength=220, titleLimit=300)),
        tooltip=[alt.Tooltip("pair:N", title="classes"), *STIFFNESS_TOOLTIP[: 2 if interval else 1]],
    ).transform_calculate(pair="'a step on ' + datum.class_a + ', the loss of ' + datum.class_b",
                          **(STIFFNESS_INTERVAL if interval else {}))


def _has_gaps(matrices):
    """Whether any of the matrices lacks a cell or has one without a known mean."""
    cells = matrices.groupby(["step", "kind"])["mean"].count()
    return bool((cells < len({*matrices["class_a"], *matrices["class_b"]}) ** 2).any())


def _grey_behind(chart, unknown):
    """The chart with a grey background, which shows where a cell is not drawn."""
    return chart.properties(view=alt.ViewBackground(fill=GREY)) if unknown else chart


def _stage_heading(steps):
    """The chosen stage in words, above the chart."""
    labels = [{"stage": number, "label": after(step)} for number, step in enumerate(steps)]
    return alt.Chart(alt.InlineData(values=labels)).mark_text(
        align="left", baseline="bottom", fontSize=15, fontWeight="bold", dy=-6
    ).encode(text="label:N", x=alt.value(0), y=alt.value(0)).transform_filter("datum.stage == stage")


def _named(classes):
    """Whether the classes have names rather than numbers."""
    return max(map(len, classes)) > 2
