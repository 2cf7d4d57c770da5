"""The book's charts: functions of a tidy table that return an Altair chart with its alternative text."""

import altair as alt

from stiffness.summaries import loss_curves, stiffness_curves

# one scale for every matrix of the book, so that colours compare across figures; 0 is its neutral middle
STIFFNESS = alt.Scale(scheme="redblue", domain=[-1, 1], domainMid=0)
KINDS = ["sign", "cosine"]


def class_matrices(matrices, steps, kind, *, title, description):
    """Class stiffness matrices at the given steps, side by side. matrices: as from `summaries.class_matrices`."""
    missing = sorted(set(steps) - set(matrices["step"]))
    if missing:
        raise ValueError(f"no stage was measured at steps {missing}; "
                         f"measured were {', '.join(map(str, sorted(set(matrices['step']))))}")
    shown = matrices[matrices["step"].isin(steps) & (matrices["kind"] == kind)]
    panels = [_matrix(_rounded(shown[shown["step"] == step]), size=150, title=_after(step), labels=step == steps[0],
                      stiffness=f"mean {kind} stiffness") for step in steps]
    return alt.hconcat(*panels, spacing=12).resolve_scale(color="shared").properties(
        title=title, description=description)


def class_matrix_slider(matrices, *, title, description):
    """One class stiffness matrix, with a slider over all measured stages and a choice of sign or cosine."""
    steps = sorted(set(matrices["step"]))
    shown = _rounded(matrices).assign(stage=[steps.index(step) for step in matrices["step"]])
    stage = alt.param(name="stage", value=len(steps) - 1,
                      bind=alt.binding_range(min=0, max=len(steps) - 1, step=1, name=f"stage, 0 to {len(steps) - 1} "))
    kind = alt.param(name="kind", value=KINDS[0], bind=alt.binding_radio(options=KINDS, name="stiffness "))
    now = "datum.stage == stage"
    matrix = _matrix(shown, size=290, title=alt.Undefined, labels=True, stiffness="mean stiffness").transform_filter(
        f"{now} && datum.kind == kind")
    headings = shown[["stage", "step"]].drop_duplicates().assign(label=lambda rows: rows["step"].map(_after))
    heading = alt.Chart(headings).mark_text(
        align="left", baseline="bottom", fontSize=15, fontWeight="bold", dy=-6
    ).encode(text="label:N", x=alt.value(0), y=alt.value(0)).transform_filter(now)
    return alt.layer(matrix, heading).add_params(stage, kind).properties(title=title, description=description)


def stiffness_evolution(table, *, title):
    """Within-class and between-class stiffness, sign and cosine, through training."""
    quantities = {f"{pairs}_{kind}": f"{pairs.replace('_', ' ')}, {kind}"
                  for pairs in ("within_class", "between_classes") for kind in KINDS}
    curves = stiffness_curves(table, list(quantities))
    return _evolution(curves, quantities, "stiffness", title, reference=(0, ""))


def loss_evolution(table, *, title, guessing=None):
    """Training and validation loss through training, on a logarithmic axis.

    guessing: the loss of saying nothing, drawn as a line; the axis is then linear and closes around the curves.
    """
    quantities = {"train_loss": "training", "validation_loss": "validation"}
    curves = loss_curves(table, list(quantities))
    if guessing is None:
        return _evolution(curves, quantities, "loss", title, scale=alt.Scale(type="log"))
    return _evolution(curves, quantities, "loss", title, scale=alt.Scale(zero=False, nice=False),
                      reference=(guessing, "guessing"))


def _evolution(curves, quantities, y, title, *, scale=alt.Undefined, reference=None):
    """Curves of mean and 95 % interval over seeds against the number of steps, as wide as the page.

    quantities: name -> label, or "what, kind": a colour for each what, a dash for each kind. reference: (value, label)
    of a horizontal line.
    """
    parts = curves["quantity"].map(quantities).str.partition(", ")
    shown = _rounded(curves).assign(what=parts[0], kind=parts[2])
    whats = list(dict.fromkeys(label.partition(", ")[0] for label in quantities.values()))
    legend = alt.Legend(title=None, orient="top", columns=2, symbolType="stroke", symbolStrokeWidth=3, symbolOpacity=1)
    x = alt.X("step:Q", title="steps of training (0 is initialisation)",
              scale=alt.Scale(type="symlog", constant=10),
              axis=alt.Axis(values=sorted(set(shown["step"])), labelOverlap=True, grid=False, format=",d"))
    y_axis = alt.Axis(grid=False, tickCount=6)
    base = alt.Chart(shown).transform_calculate(**_INTERVAL).encode(
        x, alt.Color("what:N", sort=whats, scale=alt.Scale(scheme="tableau10"), legend=legend), detail="quantity:N")
    band = base.mark_area(opacity=0.25).encode(alt.Y("low:Q", title=y, scale=scale, axis=y_axis), alt.Y2("high:Q"))
    line = base.mark_line(point=True).encode(alt.Y("mean:Q"))
    rows = ["what:N", alt.Tooltip("step:Q", format=",d"), *_VALUE]
    if parts[2].any():
        dashes = alt.Legend(title=None, orient="bottom", symbolType="stroke", symbolSize=400, symbolFillColor="#888888",
                            symbolStrokeColor="#888888")
        line = line.encode(alt.StrokeDash("kind:N", sort=KINDS, legend=dashes))
        rows.insert(1, "kind:N")
    layers = [band, line.encode(tooltip=rows)]
    if reference is not None:
        value, label = reference
        rule = alt.Chart(shown.iloc[:1]).encode(y=alt.datum(value))
        grey = {"color": "#888888"}
        layers += [rule.mark_rule(strokeDash=[2, 4], **grey),
                   rule.mark_text(text=label, align="right", baseline="bottom", dx=-4, x="width", **grey)]
    ends = [(label, means.iloc[0], means.iloc[-1]) for quantity, label in quantities.items()
            for means in [curves.loc[curves["quantity"] == quantity, "mean"]]]
    description = f"Lines of {y} against the steps of training. " + " ".join(
        f"{label.capitalize()}: from {start:.2f} to {end:.2f}." for label, start, end in ends)
    return alt.layer(*layers).properties(width="container", height=240, title=title, description=description)


def in_words(matrices, steps, kinds=KINDS):
    """What class stiffness matrices show, in a sentence for each step: for alternative texts."""
    own = matrices["class_a"] == matrices["class_b"]

    def sentence(step):
        means = [f"{kind} {matrices.loc[now & own, 'mean'].mean():.2f} within classes and "
                 f"{matrices.loc[now & ~own, 'mean'].mean():.2f} between them"
                 for kind in kinds for now in [(matrices["step"] == step) & (matrices["kind"] == kind)]]
        return f"{_after(step).capitalize()} the mean stiffness is: {', '.join(means)}."

    return " ".join(map(sentence, steps))


# a tooltip's last rows, from columns mean, low, high and seeds
_INTERVAL = {
    "interval": "format(datum.low, '+.3f') + ' to ' + format(datum.high, '+.3f') + ', ' + datum.seeds + ' runs'"
}
_VALUE = [alt.Tooltip("mean:Q", title="mean", format="+.3f"), alt.Tooltip("interval:N", title="95 % interval")]


def _matrix(shown, *, size, title, labels, stiffness):
    order = list(dict.fromkeys(shown["class_a"]))
    angle = 0 if max(map(len, order)) < 3 else -60
    axis = {"sort": order, "axis": alt.Axis(labelAngle=angle, ticks=False, domain=False)}
    y = alt.Y("class_a:N", title="gradient step on class" if labels else None, **axis)
    if not labels:
        y.axis = None
    return alt.Chart(shown, width=size, height=size, title=title).mark_rect().encode(
        alt.X("class_b:N", title="class whose loss changes" if labels else "", **axis),
        y,
        alt.Color("mean:Q", title=stiffness, scale=STIFFNESS,
                  legend=alt.Legend(orient="bottom", gradientLength=220, titleLimit=300)),
        tooltip=[alt.Tooltip("pair:N", title="classes"), *_VALUE],
    ).transform_calculate(pair="'a step on ' + datum.class_a + ', the loss of ' + datum.class_b", **_INTERVAL)


def _after(step):
    return f"after {step:,} steps" if step else "at initialisation"


def _rounded(table):
    return table.round({"mean": 3, "low": 3, "high": 3})
