"""Charts of what happens within a pass over the training data, whose examples come in some order."""

import altair as alt

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
    with_notes,
    zero_line,
)
from stiffness_book.experiment import ORDERS
from stiffness_book.summaries import over_seeds


def within_passes(rows, steps, what, *, title, bounds):
    """A number through some passes over the training data: a panel for each pass, a line for each order.

    rows: stages by step, with the columns order, seed and value. steps: those of a pass. what: the number in words.
    bounds: its range, at which intervals end.
    """
    described = f"Lines of {what} within passes over the training data, one for each order"
    if rows.empty:
        return no_data(title, described)
    rows, notes = drawable(rows[rows["step"] > 0])
    if rows["value"].isna().all():
        return no_data(title, described, notes=notes)
    rows = rows.assign(number=(rows["step"] - 1) // steps + 1)
    order = [name for name in ORDERS if name in set(rows["order"])]
    curves = rounded(over_seeds(rows, ["number", "step", "order"], bounds=bounds))
    curves["share"] = (100 * (curves["step"] - (curves["number"] - 1) * steps) / steps).round(1)
    y = {"title": what, "axis": alt.Axis(grid=False, tickCount=6)}
    panels, told = [], []
    for number, own in curves.groupby("number"):
        base = alt.Chart(own).transform_calculate(**interval(".3~f")).encode(
            alt.X("share:Q", title="% of the pass", scale=alt.Scale(domain=[0, 100], nice=False),
                  axis=alt.Axis(grid=False, values=[0, 25, 50, 75, 100])),
            alt.Color("order:N", scale=alt.Scale(domain=ORDERS, scheme="tableau10"), legend=alt.Legend(
                title=None, orient="bottom", columns=2, values=order, **LINE_SYMBOL)))
        layers = [base.mark_area(opacity=0.2).encode(alt.Y("low:Q", **y), alt.Y2("high:Q")),
                  base.mark_line(point=True).encode(alt.Y("mean:Q", **y), tooltip=[
                      "order:N", alt.Tooltip("step:Q", format=",d"), *mean_tooltip(".3~f")])]
        panels.append(alt.layer(*layers, *([zero_line()] if bounds[0] < 0 else [])).properties(
            width=PANEL, height=170, title=alt.Title(f"pass {number}", fontSize=13)))
        told += [f"Pass {number}, {name}: from {or_unknown(line['mean'].iloc[0], '.2f')} to "
                 f"{or_unknown(line['mean'].iloc[-1], '.2f')}, between {or_unknown(line['mean'].min(), '.2f')} and "
                 f"{or_unknown(line['mean'].max(), '.2f')}." for name, line in own.groupby("order", sort=False)]
    return alt.concat(*panels, columns=2, spacing=14).resolve_scale(y="shared").properties(
        title=with_notes(title, notes), description=sentences(f"{described}. " + " ".join(told), notes))


def class_accuracies(rows, steps, class_names, *, title):
    """The accuracy of each class at the stages of each pass, as a heat map for each order.

    rows: those of `validation_accuracy_of_class`, with the columns order and seed. steps: those of a pass.
    """
    what = "Heat maps of the accuracy of each class at each stage"
    if rows.empty:
        return no_data(title, what)
    rows, notes = drawable(rows[rows["step"] > 0])
    if rows["value"].isna().all():
        return no_data(title, what, notes=notes)
    means = rows.groupby(["order", "step", "class_a"], sort=False)["value"].mean().round(3).reset_index()
    means["name"] = means["class_a"].map(dict(enumerate(class_names)))
    means["moment"] = [f"{(step - 1) // steps + 1}: {100 * ((step - 1) % steps + 1) / steps:.0f} %"
                       for step in means["step"]]
    order = list(dict.fromkeys(means.sort_values("step")["moment"]))
    panels, told = [], []
    for name, own in means.groupby("order", sort=False):
        panels.append(alt.Chart(own.drop(columns=["order", "class_a"])).mark_rect().encode(
            alt.X("moment:O", sort=order, title="pass, and how much of it is over", axis=alt.Axis(
                labelAngle=-90, labelOverlap=True)),
            alt.Y("name:N", sort=list(class_names), title=None, axis=alt.Axis(labelLimit=90)),
            alt.Color("value:Q", title="accuracy", scale=alt.Scale(scheme="viridis", domain=[0, 1]),
                      legend=alt.Legend(orient="bottom", format=".0%")),
            tooltip=[alt.Tooltip("name:N", title="class"), alt.Tooltip("step:Q", format=",d"),
                     alt.Tooltip("value:Q", title="accuracy", format=".1%")],
        ).properties(width=PANEL, height=190, title=alt.Title(name, fontSize=13)))
        last = own[own["step"] == own["step"].max()].sort_values("value")
        worst, best = (f"{or_unknown(row['value'], '.0%')} ({row['name']})" for _, row in last.iloc[[0, -1]].iterrows())
        told.append(f"{name}: at the last stage from {worst} to {best}.")
    return alt.concat(*panels, columns=2, spacing=14).properties(
        title=with_notes(title, notes), description=sentences(f"{what}. " + " ".join(told), notes))
