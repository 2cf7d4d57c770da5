"""Charts of a model's stiffness in one line each, with Altair: pip install 'stiffness[plot]'.

They are Altair charts: `.save("chart.html")`, `.save("chart.svg")`, `.properties(width=...)` and so on work on them.
"""

import numpy as np

from stiffness.measures import between_classes, square, within_class

SCALE = {"scheme": "redblue", "domain": [-1, 1], "domainMid": 0}  # of stiffness: red is negative, 0 is neutral
CELL = 34  # pixels of a cell with its number in it
NUMBERED = 15  # classes up to which the cells are large enough for numbers
SIDE = 400  # pixels of larger matrices
OF = {"within_class": "within classes", "between_classes": "between classes", "all_pairs": "all pairs"}


def class_matrix(C, names=None, *, title="Class stiffness"):
    """Chart of a class stiffness matrix: blue where a step on one class lowers the loss of the other, red where it
    raises it.

    Args:
        C: (Nc, Nc), from `class_stiffness` or `cosine_class_stiffness`; NaN where there is no pair, which is not drawn.
        names: the names of the Nc classes; None means 0 to Nc - 1.
        title: above the chart.

    Returns:
        An `altair.Chart`.

    Raises:
        ValueError: C is not square, or names are not Nc different ones. ImportError: Altair is not installed.

    >>> import numpy as np
    >>> from stiffness import plots
    >>> chart = plots.class_matrix(np.array([[0.9, -0.2], [-0.2, 0.7]]), ["cat", "dog"])
    >>> chart.description
    'Heat map of a class stiffness matrix of 2 classes: +0.80 within classes, -0.20 between classes.'
    """
    C = square(C).astype(float)
    names = [str(name) for name in (range(len(C)) if names is None else names)]
    if len(names) != len(C) or len(set(names)) != len(names):
        raise ValueError(f"names are {len(names)}, {len(set(names))} of them different; C has {len(C)} classes")
    alt = _altair("class_matrix")
    cells = [{"step": names[a], "loss": names[b], "stiffness": round(float(C[a, b]), 4)}
             for a, b in np.argwhere(np.isfinite(C))]
    angle = 0 if max(map(len, names)) <= 2 else -60
    size = CELL * len(C) if len(C) <= NUMBERED else SIDE
    base = alt.Chart(alt.InlineData(values=cells)).encode(
        alt.X("loss:N", sort=names, title="class whose loss changes", scale=alt.Scale(domain=names),
              axis=alt.Axis(labelAngle=angle)),
        alt.Y("step:N", sort=names, title="gradient step on class", scale=alt.Scale(domain=names)),
        tooltip=[alt.Tooltip("step:N", title="step on"), alt.Tooltip("loss:N", title="loss of"),
                 alt.Tooltip("stiffness:Q", format="+.3f")])
    chart = base.mark_rect().encode(alt.Color("stiffness:Q", scale=alt.Scale(**SCALE)))
    if len(C) <= NUMBERED:
        on_dark = alt.condition("abs(datum.stiffness) > 0.7", alt.value("white"), alt.value("#111"))
        chart += base.mark_text(fontSize=10).encode(alt.Text("stiffness:Q", format="+.2f"), color=on_dark)
    return chart.properties(width=size, height=size, title=title, description=(
        f"Heat map of a class stiffness matrix of {len(C)} classes: {within_class(C):+.2f} within classes, "
        f"{between_classes(C):+.2f} between classes."))


def evolution(callback, *, title="Stiffness during training"):
    """Chart of what a `StiffnessCallback` has measured: stiffness within and between classes at each step, by sign and
    by cosine; over all pairs where the examples have no classes.

    Args:
        callback: a `StiffnessCallback`, or its `table`, perhaps read from a file.
        title: above the chart.

    Returns:
        An `altair.HConcatChart` of two panels.

    Raises:
        ValueError: there is no measurement yet. ImportError: Altair is not installed.

    >>> import pandas as pd
    >>> from stiffness import plots
    >>> table = pd.DataFrame({"step": [0, 9], "quantity": ["within_class_sign"] * 2, "value": [0.2, 0.9]})
    >>> plots.evolution(table).description
    'Stiffness against optimizer steps. By sign: within classes +0.20 at step 0 and +0.90 at step 9.'
    """
    table = getattr(callback, "table", callback)
    found = {kind: {words: table[table["quantity"] == f"{name}_{kind}"] for name, words in OF.items()}
             for kind in ("sign", "cosine")}
    found = {kind: {words: rows for words, rows in each.items() if len(rows)} for kind, each in found.items()}
    found = {kind: each for kind, each in found.items() if each}
    if not found:
        raise ValueError("there is no measurement yet; pass the callback to model.fit(..., callbacks=[callback]) first")
    alt = _altair("evolution")
    order = [words for words in OF.values() if any(words in each for each in found.values())]

    def panel(kind, each):
        values = [{"step": int(step), "pairs": words, "stiffness": round(float(value), 4)}
                  for words, rows in each.items() for step, value in zip(rows["step"], rows["value"])
                  if np.isfinite(value)]
        zero = alt.Chart(alt.InlineData(values=[{}])).mark_rule(color="#888", strokeDash=[3, 3]).encode(y=alt.datum(0))
        return zero + alt.Chart(alt.InlineData(values=values), title=kind).mark_line(point=True).encode(
            alt.X("step:Q", title="optimizer steps", axis=alt.Axis(tickMinStep=1, format="~s")),
            alt.Y("stiffness:Q", title="mean stiffness", scale=alt.Scale(domain=[-1, 1])),
            alt.Color("pairs:N", sort=order, scale=alt.Scale(domain=order), title=None,
                      legend=alt.Legend(orient="top")),
            tooltip=["pairs:N", alt.Tooltip("step:Q", format=",d"), alt.Tooltip("stiffness:Q", format="+.3f")],
        ).properties(width=260, height=220)

    def in_words(kind, each):
        parts = [f"{words} {rows['value'].iloc[0]:+.2f} at step {rows['step'].iloc[0]} and "
                 f"{rows['value'].iloc[-1]:+.2f} at step {rows['step'].iloc[-1]}" for words, rows in each.items()]
        return f" By {kind}: {'; '.join(parts)}."

    return alt.hconcat(*[panel(kind, each) for kind, each in found.items()]).properties(
        title=title, description="Stiffness against optimizer steps." + "".join(
            in_words(kind, each) for kind, each in found.items()))


def _altair(what):
    try:
        import altair
    except ImportError as error:
        raise ImportError(f"plots.{what} draws with Altair, which is not installed: pip install 'stiffness[plot]'"
                          ) from error
    return altair
