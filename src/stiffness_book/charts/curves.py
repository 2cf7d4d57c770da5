"""Charts of how stiffness, losses and blocks evolve through training."""

import altair as alt
import numpy as np

from stiffness_book.charts.look import CURVES, GREY, MARK
from stiffness_book.charts.parts import (
    GREY_SYMBOL,
    LINE_SYMBOL,
    PANEL,
    drawable,
    interval,
    labelled_axis,
    logarithmic,
    mean_tooltip,
    no_data,
    or_unknown,
    rounded,
    sentences,
    ticks_at,
    to_digits,
    with_notes,
)
from stiffness_book.summaries import loss_curves, over_seeds, stiffness_curves
from stiffness_book.table import KINDS, SINGLE, SUMMARIES
from stiffness_book.words import REGIME_WORDS, WORDS

FIRST_STEPS = 10  # an axis of steps is linear up to about here, then logarithmic


def stiffness_evolution(table, *, title, mark=None):
    """Within-class and between-class stiffness, sign and cosine, through training.

    mark: (step, label) of a vertical line. Steps at which runs diverged are marked too; means and intervals are over
    the runs that were measured at the step.
    """
    quantities = {f"{pairs}_{kind}": f"{pairs.replace('_', ' ')}, {kind}"
                  for pairs in ("within_class", "between_classes") for kind in KINDS}
    return _stiffness(table, quantities, title, mark)


def precision_evolution(table, *, title, mark=None):
    """Sign stiffness through training, exact and with the loss in single precision; else as `stiffness_evolution`."""
    quantities = {f"{pairs}_sign{suffix}": f"{pairs.replace('_', ' ')}, {precision}"
                  for pairs in ("within_class", "between_classes")
                  for suffix, precision in (("", "exact"), (SINGLE, "loss in single precision"))}
    return _stiffness(table, quantities, title, mark)


def regime_evolution(table, kind, *, title, mark=None):
    """Stiffness within and between classes through training, over pairs of validation and of training examples.

    kind: sign or cosine; else as `stiffness_evolution`.
    """
    regimes = {"": "validation–validation", **{f"_{regime}": words for regime, words in REGIME_WORDS.items()}}
    quantities = {f"{summary}_{kind}{suffix}": f"{regime}, {WORDS[summary]}"
                  for suffix, regime in regimes.items() for summary in SUMMARIES}
    return _stiffness(table, quantities, title, mark)


def body_evolution(table, kind, *, title, mark=None):
    """Stiffness within and between classes through training, of a whole transformer and without its head.

    kind: sign or cosine; else as `stiffness_evolution`.
    """
    quantities = {f"{summary}_{kind}{suffix}": f"{words}, {WORDS[summary]}"
                  for suffix, words in (("", "all parameters"), ("_body", "without the head")) for summary in SUMMARIES}
    return _stiffness(table, quantities, title, mark)


def loss_evolution(table, *, title, guessing=None, mark=None, paper=None):
    """Training and validation loss through training, on a logarithmic axis: geometric means over the runs.

    guessing: the loss of a network that guesses, drawn as a line; the axis is then linear and fits the curves closely.
    mark, and runs that diverged: as in `stiffness_evolution`. paper: the paper's losses, dashed: step, quantity, value.
    """
    quantities, what = {"train_loss": "training", "validation_loss": "validation"}, "loss"
    if table.empty:
        return no_data(title, _lines(what))
    rows, notes = drawable(table[table["quantity"].isin(quantities)], positive=True)
    ended = _diverged(table)
    if rows["value"].isna().all():
        return no_data(title, _lines(what), notes=[*notes, *_in_words(ended)])
    with np.errstate(over="ignore"):  # the interval of few, very different losses
        curves = loss_curves(rows, list(quantities))
    if guessing is not None:
        return _evolution(curves, quantities, what, title, scale=alt.Scale(zero=False, nice=False),
                          reference=(guessing, "guessing"), mark=mark, ended=ended, notes=notes)
    below = 0.1 if mark else 0.04  # room for the mark's label
    scale, ticks = logarithmic(curves[["mean", "low", "high"]], below)
    return _evolution(curves, quantities, what, title, scale=scale, ticks=ticks, mark=mark, ended=ended, notes=notes,
                      paper=paper)


def block_evolution(tested, *, title, table=None):
    """How much stiffer pairs of classes of one group are than other pairs, through training.

    tested: as from `blocks.through_training`. table: the runs' own, whose runs that diverged are marked.
    """
    what = "difference of stiffness"
    if tested.empty:
        return no_data(title, _lines(what), notes=_in_words(_diverged(table)))
    labels = tested["division"] + ", " + tested["kind"]
    return _labelled(tested, labels, (-2, 2), what, title, (0, ""), table)


def measure_evolution(rows, what, *, title):
    """A positive measure through training, on a logarithmic axis: geometric means over the runs.

    rows: step, seed, labels (of the curves), value; what: the measure in words. Values that are not positive are left
    out.
    """
    if rows.empty:
        return no_data(title, _lines(what))
    rows, notes = drawable(rows, positive=True)
    if rows["value"].isna().all():
        return no_data(title, _lines(what), notes=notes)
    with np.errstate(over="ignore"):  # the interval of few, very different values
        curves = loss_curves(rows.assign(quantity=rows["labels"]), list(set(rows["labels"])))
    scale, ticks = logarithmic(curves[["mean", "low", "high"]])
    return _evolution(curves, dict(zip(rows["labels"], rows["labels"])), what, title, scale=scale, ticks=ticks,
                      notes=notes)


def labelled_evolution(rows, what, *, title, bounds=(-np.inf, np.inf), reference=None):
    """A number through training, with 95 % intervals that end at the bounds.

    rows: step, seed, labels (of the curves), value; what: the number in words. reference: (value, label) of a
    horizontal line.
    """
    if rows.empty:
        return no_data(title, _lines(what))
    return _labelled(rows, rows["labels"], bounds, what, title, reference, None)


def domain_evolution(sizes, *, title):
    """The size of the stiff domain in each space through training. sizes: as from `summaries.domain_sizes`; those that
    are not finite are left out, and told."""
    what = "size of the stiff domain (1 − cosine)"
    if sizes.empty:
        return no_data(title, _lines(what))
    rows = sizes[sizes["quantity"] == "stiff_domain_size_sign"]
    return _labelled(rows, rows["space"], (0, 2), what, title, None, None)


def agreement_evolution(agreement, *, title, table=None):
    """How well clusters found in the matrix agree with the super-classes, through training.

    agreement: as from `blocks.agreement`. table: as in `block_evolution`.
    """
    what = "adjusted Rand index"
    if agreement.empty:
        return no_data(title, _lines(what), notes=_in_words(_diverged(table)))
    labels = "clusters by " + agreement["kind"]
    reference = (agreement["chance"].max(), "95 % of random divisions")
    return _labelled(agreement, labels, (-1, 1), what, title, reference, table)


def _stiffness(table, quantities, title, mark):
    what = "stiffness"
    if table.empty:
        return no_data(title, _lines(what))
    rows, notes = drawable(table[table["quantity"].isin(quantities)])
    ended = _diverged(table)
    if rows["value"].isna().all():
        return no_data(title, _lines(what), notes=[*notes, *_in_words(ended)])
    curves = stiffness_curves(rows, list(quantities))
    return _evolution(curves, quantities, what, title, reference=(0, ""), mark=mark, ended=ended, notes=notes)


def _labelled(rows, labels, bounds, what, title, reference, table):
    """Curves of rows that have a value and, in `labels`, the label of their curve."""
    rows, notes = drawable(rows.assign(quantity=labels))
    ended = _diverged(table)
    if rows["value"].isna().all():
        return no_data(title, _lines(what), notes=[*notes, *_in_words(ended)])
    curves = over_seeds(rows, ["step", "quantity"], bounds=bounds)
    return _evolution(curves, dict(zip(labels, labels)), what, title, reference=reference, ended=ended, notes=notes)


def _evolution(curves, quantities, what, title, *, scale=alt.Undefined, ticks=6, reference=None, mark=None, ended=(),
               notes=(), paper=None):
    """Curves of mean and 95 % interval over the runs against the number of steps, as wide as the page.

    quantities: name -> label, or "name, kind": a colour for each name, a dash for each kind. reference: (value, label)
    of a horizontal line. mark: (step, label) of a vertical one. ended: as from `_diverged`. paper: as in
    `loss_evolution`.
    """
    parts = curves["quantity"].map(quantities).str.partition(", ")
    form = "+.3f" if what == "stiffness" else ".3~g"  # losses have many magnitudes
    shown = (rounded(curves) if what == "stiffness" else to_digits(curves)).assign(what=parts[0], kind=parts[2])
    names, kinds = (list(dict.fromkeys(label.partition(", ")[at] for label in quantities.values())) for at in (0, 2))
    x = alt.X("step:Q", title="steps of training (0 is initialisation)",
              scale=alt.Scale(type="symlog", constant=FIRST_STEPS),
              axis=labelled_axis(shown["step"], lambda step: np.log1p(step / FIRST_STEPS)))
    y_axis = alt.Axis(grid=False, **ticks_at(ticks), labelExpr=alt.Undefined if what != "loss" else
                      "format(datum.value, datum.value < 0.001 ? '~e' : '~g')")  # 1e-6 rather than 0.000001
    base = alt.Chart(shown).transform_calculate(**interval(form)).encode(
        x, alt.Color("what:N", sort=names, scale=CURVES,
                     legend=alt.Legend(title=None, orient="top", columns=2, **LINE_SYMBOL)), detail="quantity:N")
    single = shown["step"].nunique() == 1  # an area of no width would be invisible
    band = base.mark_rule(strokeWidth=2) if single else base.mark_area(opacity=0.25)
    band = band.encode(alt.Y("low:Q", title=what, scale=scale, axis=y_axis), alt.Y2("high:Q"))
    line = base.mark_line(point=True).encode(alt.Y("mean:Q"))
    rows = ["what:N", alt.Tooltip("step:Q", format=",d"), *mean_tooltip(form)]
    if parts[2].any():
        line = line.encode(alt.StrokeDash("kind:N", sort=kinds, legend=alt.Legend(
            title=None, orient="bottom", symbolType="stroke", symbolSize=400, **GREY_SYMBOL)))
        rows.insert(1, "kind:N")
    layers = [band, line.encode(tooltip=rows)]
    if paper is not None and len(paper):
        theirs = alt.Chart(paper.assign(what=paper["quantity"].map(quantities))).encode(
            x, alt.Y("value:Q", scale=scale), alt.Color("what:N", sort=names, scale=CURVES), tooltip=[
                "what:N", alt.Tooltip("step:Q", format=",d"), alt.Tooltip("value:Q", title="the paper", format=form)])
        layers.append(theirs.mark_line(strokeDash=[4, 3], opacity=0.8, clip=True))
        notes = [*notes, "dashed: the paper’s figure"]
    if reference is not None and np.isfinite(reference[0]):
        layers += _reference_line(shown, curves, *reference)
    description = f"{_lines(what)}. " + _ends(curves, quantities, ".2f" if what == "stiffness" else "#.3g")
    last = max([shown["step"].max(), *(step for step, *_ in ended)])
    if mark is not None:
        step, label = mark
        layers += _vertical_line(shown, step, label, late=_late(step, last), bottom=True)
        description += f" A vertical line after {step:,} steps: {label}."
    for place, (step, number, runs) in enumerate(ended):
        label = f"{number} of {runs} runs diverged" if len(ended) <= 4 or place == len(ended) - 1 else ""
        layers += _vertical_line(shown, step, label, late=_late(step, last), row=place % 5)
    return alt.layer(*layers).properties(width="container", height=240, title=with_notes(title, notes),
                                         description=sentences(description, [*notes, *_in_words(ended)]))


def _lines(what):
    return f"Lines of {what} against the steps of training"


def _ends(curves, quantities, form):
    """Where each curve starts and ends, in words."""
    told = []
    for quantity, label in quantities.items():
        means = curves.sort_values("step").loc[curves["quantity"] == quantity, "mean"]
        start, end = (or_unknown(means.iloc[at], form) if len(means) else "unknown" for at in (0, -1))
        told.append(f"{label.capitalize()}: from {start} to {end}.")
    return " ".join(told)


def _reference_line(shown, curves, value, label):
    """A dotted horizontal line with its label on the side where no curve ends nearby."""
    rule = alt.Chart(shown.iloc[:1]).encode(y=alt.datum(value))
    line = rule.mark_rule(strokeDash=[2, 4], color=GREY)
    if not label:
        return [line]
    ends = (curves.loc[curves["step"] == curves["step"].max(), "mean"] - value).dropna()
    below = len(ends) > 0 and ends[ends.abs().idxmin()] > 0
    return [line, rule.mark_text(text=label, align="right", baseline="top" if below else "bottom", dx=-4,
                                 dy=3 if below else 0, x="width")]  # in the default colour, which follows the page


def _late(step, last):
    """Whether a step lies in the right half of an axis that ends at the last one."""
    return np.log1p(step / FIRST_STEPS) > 0.5 * np.log1p(last / FIRST_STEPS)


def _vertical_line(shown, step, label, *, late, bottom=False, row=0):
    """A vertical line with its label; on the left of it if the line is so late that there is no room on its right.

    bottom: the label stands at the bottom of the chart, else at its top, in the given row.
    """
    rule = alt.Chart(shown.iloc[:1]).encode(x=alt.datum(step))
    place = {"baseline": "bottom", "y": "height", "dy": -4} if bottom else {"baseline": "top", "y": 4 + 16 * row}
    text = rule.mark_text(text=label, color=MARK, fontWeight="bold", align="right" if late else "left",
                          dx=-6 if late else 6, **place)
    return [rule.mark_rule(color=MARK, strokeWidth=2, strokeDash=alt.Undefined if bottom else [6, 4]),
            *([text] if label else [])]


def _diverged(table):
    """For each step at which runs diverged: the step, how many had diverged by then, and how many runs there are."""
    if table is None or table.empty:
        return []
    steps = table[table["quantity"] == "diverged"].groupby("seed")["step"].min()
    return [(int(step), int((steps <= step).sum()), table["seed"].nunique()) for step in sorted(set(steps))]


def _in_words(ended):
    if not ended:
        return []
    steps = [f"{number} of {runs} by step {step:,}" for step, number, runs in ended]
    return [f"runs diverged: {', '.join(steps)}; means and intervals are over the runs that were measured"]


def arithmetic_evolution(found, paper, words, *, title):
    """Sign stiffness within and between classes in several arithmetics against the images seen, and the paper's curve.

    found: as from `rounding.curves`; paper: as from `rounding.published_curves`; words: {arithmetic: its name}, whose
    order the legend has.
    """
    what = "Lines of sign stiffness against the number of images seen"
    if found.empty:
        return no_data(title, what)
    means = found[found["seen"] > 0].groupby(["seen", "arithmetic", "summary"])["value"].agg(
        mean="mean", low="min", high="max", runs="size").reset_index()
    means = rounded(means).assign(arithmetic=means["arithmetic"].map(words))
    order = [name for name in words.values() if name in set(means["arithmetic"])]
    # between linear, on which the beginning vanishes, and logarithmic, on which the end does
    x = alt.X("seen:Q", title="images seen", scale=alt.Scale(type="pow", exponent=0.4, nice=False),
              axis=alt.Axis(grid=False, values=[1e4, 1e5, 5e5, 1e6, 2e6, 4e6], labelExpr="datum.value < 1e6 ? "
                            "format(datum.value / 1e3, 'd') + 'k' : format(datum.value / 1e6, 'd') + 'M'"))
    colour = alt.Color("arithmetic:N", sort=order, scale=CURVES, legend=alt.Legend(
        title=None, orient="bottom", columns=1, labelLimit=320, **LINE_SYMBOL))
    panels, told = [], []
    for summary, heading in (("within_class", "within classes"), ("between_classes", "between classes")):
        own, theirs = means[means["summary"] == summary], paper[paper["summary"] == summary]
        y = {"scale": alt.Scale(domain=[-0.2, 1] if summary == "within_class" else [-0.6, 0.6]), "title": "stiffness"}
        base = alt.Chart(own).encode(x, colour)
        curve = alt.Chart(theirs).encode(x)
        panels.append(alt.layer(
            base.mark_area(opacity=0.2, clip=True).encode(alt.Y("low:Q", **y), alt.Y2("high:Q")),
            base.mark_line().encode(alt.Y("mean:Q", **y), tooltip=[
                "arithmetic:N", alt.Tooltip("seen:Q", title="images seen", format=",d"),
                alt.Tooltip("mean:Q", format="+.3f"), alt.Tooltip("low:Q", title="lowest run", format="+.3f"),
                alt.Tooltip("high:Q", title="highest run", format="+.3f"), alt.Tooltip("runs:Q")]),
            curve.mark_line(color=GREY, strokeDash=[4, 3]).encode(alt.Y("value:Q", **y)),
            curve.mark_point(color=GREY, filled=True, size=14).encode(alt.Y("value:Q", **y), tooltip=[
                alt.Tooltip("seen:Q", title="images seen", format=",d"), alt.Tooltip("value:Q", title="the paper"),
                alt.Tooltip("error:Q", title="error of reading, ±")]),
        ).properties(width=PANEL, height=260, title=heading))
        for name in order:
            last = own[own["arithmetic"] == name].sort_values("seen")["mean"].iloc[-1]
            told.append(f"{heading}, {name}: {last:.2f} at the end")
        told += [f"{heading}, the paper: {value:.2f}" for value in theirs["value"].iloc[-1:]]
    note = f"grey, dashed: the paper’s Figure {paper['figure'].iloc[0]}; " if len(paper) else ""
    return alt.hconcat(*panels).properties(title=with_notes(title, [f"{note}bands: all runs"]),
                                           description=f"{what}. {'; '.join(told)}.")
