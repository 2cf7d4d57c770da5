"""The book's charts: functions of a tidy table that return an Altair chart with its alternative text."""

import altair as alt

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
                      bind=alt.binding_range(min=0, max=len(steps) - 1, step=1, name="stage of training "))
    kind = alt.param(name="kind", value=KINDS[0], bind=alt.binding_radio(options=KINDS, name="stiffness "))
    now = "datum.stage == stage"
    matrix = _matrix(shown, size=290, title=alt.Undefined, labels=True, stiffness="mean stiffness").transform_filter(
        f"{now} && datum.kind == kind")
    headings = shown[["stage", "step"]].drop_duplicates().assign(label=lambda rows: rows["step"].map(_after))
    heading = alt.Chart(headings).mark_text(
        align="left", baseline="bottom", fontSize=15, fontWeight="bold", dy=-6
    ).encode(text="label:N", x=alt.value(0), y=alt.value(0)).transform_filter(now)
    return alt.layer(matrix, heading).add_params(stage, kind).properties(title=title, description=description)


def evolution(curves, *, quantities, y, title, description, log=False):
    """Curves of mean and 95 % interval over seeds against the number of steps. quantities: name -> label.

    With `log` the y axis is logarithmic, and intervals that reach 0 are cut; else a line marks 0.
    """
    shown = _rounded(curves).assign(label=curves["quantity"].map(quantities))
    order = list(quantities.values())
    x = alt.X("step:Q", title="steps of training (0 is initialisation)",
              scale=alt.Scale(type="symlog", constant=10),
              axis=alt.Axis(values=sorted(set(shown["step"])), labelOverlap=True, grid=False, format=",d"))
    color = alt.Color("label:N", title=None, sort=order, scale=alt.Scale(scheme="tableau10"),
                      legend=alt.Legend(orient="top", columns=2, labelLimit=300, symbolType="square", symbolOpacity=1))
    base = alt.Chart(shown).encode(x, color)
    if log:
        shown["low"] = shown["low"].clip(lower=shown.loc[shown["mean"] > 0, "mean"].min() / 10)
    y_scale = alt.Scale(type="log" if log else "linear")
    band = base.mark_area(opacity=0.25).encode(alt.Y("low:Q", title=y, scale=y_scale), alt.Y2("high:Q"))
    line = base.mark_line(point=True).encode(
        alt.Y("mean:Q"),
        tooltip=[alt.Tooltip("label:N", title="what"), alt.Tooltip("step:Q", format=",d"),
                 *_INTERVAL])
    zero = alt.Chart(shown.iloc[:1]).mark_rule(strokeDash=[4, 4], color="#888888").encode(y=alt.datum(0))
    layers = [band, line] if log else [zero, band, line]
    return alt.layer(*layers).properties(width=560, height=240, title=title, description=description)


def in_words(matrices, steps, kind):
    """What class stiffness matrices show, in a sentence for each of the first and last steps: for alternative texts."""
    shown = matrices[matrices["kind"] == kind]
    own = shown["class_a"] == shown["class_b"]

    def sentence(step):
        now = shown["step"] == step
        return (f"{_after(step).capitalize()} the mean {kind} stiffness is {shown.loc[now & own, 'mean'].mean():.2f} "
                f"within classes and {shown.loc[now & ~own, 'mean'].mean():.2f} between them.")

    return " ".join(map(sentence, dict.fromkeys((steps[0], steps[-1]))))


def curves_in_words(curves, quantities):
    """Where each curve starts and ends, for alternative texts. quantities: name -> label."""
    return " ".join(
        f"The {label} goes from {rows['mean'].iloc[0]:.2f} to {rows['mean'].iloc[-1]:.2f}."
        for quantity, label in quantities.items() for rows in [curves[curves["quantity"] == quantity]])


_INTERVAL = [alt.Tooltip("mean:Q", title="mean over seeds", format="+.3f"),
             alt.Tooltip("low:Q", title="95 % interval from", format="+.3f"),
             alt.Tooltip("high:Q", title="to", format="+.3f"),
             alt.Tooltip("seeds:Q")]


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
        tooltip=[alt.Tooltip("class_a:N", title="step on class"), alt.Tooltip("class_b:N", title="loss of class"),
                 *_INTERVAL])


def _after(step):
    return f"after {step:,} steps" if step else "at initialisation"


def _rounded(table):
    return table.round({"mean": 3, "low": 3, "high": 3})
