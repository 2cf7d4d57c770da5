# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Figure 1: when does learning one example help another?
#
# **What this page shows.** A network learns by taking small steps, each of which lowers its loss on some example. The
# same step also moves the loss on every other example. Whether that second loss goes down, stays, or goes up depends
# on nothing but the angle between two arrows. Here you can turn one of them.
#
# **The two arrows.** Write $L_1$ and $L_2$ for the network's losses on two examples, and $W$ for all its parameters.
# The gradient $g_1 = \partial L_1 / \partial W$ points to where $L_1$ grows fastest, $g_2$ does the same for $L_2$.
# Training on example 1 takes a small step $-\varepsilon\, g_1$, straight against the first arrow. To first order it
# changes the other loss by
#
# $$\Delta L_2 = -\varepsilon\, (g_1 \cdot g_2).$$
#
# A real network has a gradient of many thousand entries. Any two of them span a plane, and that plane is drawn here.
#
# Move the sliders, or drag the orange arrow: the angle between the two gradients, and the length of the second.

# %% tags=["hide-input"]
import altair as alt
from myst_nb import glue

from stiffness_book.charts import look

look.enable()

FIRST, SECOND, STEP = "#1f77b4", "#d1660f", "#6b7280"
HEAD = "M0,-0.5L-0.4,0.5L0.4,0.5Z"  # an arrowhead that points up
REACH = 2.2  # the plane is drawn from -REACH to REACH

# One invisible point per angle (in steps of 5 degrees) and length (in steps of 0.1): what the pointer can pick.
ANGLES, LENGTHS = 37, 18
grid = (
    alt.Chart(alt.sequence(ANGLES * LENGTHS, as_="i"))
    .transform_calculate(angle=f"5 * (datum.i % {ANGLES})", length=f"(3 + floor(datum.i / {ANGLES})) / 10")
    .transform_calculate(
        x="datum.length * cos(datum.angle * PI / 180)", y="datum.length * sin(datum.angle * PI / 180)"
    )
)
picked = alt.selection_point(
    name="second",
    fields=["length", "angle"],  # their sliders appear in the opposite order
    nearest=True,
    on="[pointerdown, window:pointerup] > pointermove, click",
    clear=False,
    toggle=False,
    value=[{"angle": 50, "length": 1.5}],
    bind={
        "angle": alt.binding_range(min=0, max=180, step=5, name="Angle in degrees"),
        "length": alt.binding_range(min=0.3, max=2, step=0.1, name="Length of g₂"),
    },
)


def axis(name: str):
    """One axis of the plane, without ticks: its unit is the length of the first gradient."""
    domain = [-REACH, REACH] if name == "x" else [-0.55, REACH]
    channel = alt.X if name.startswith("x") else alt.Y
    return channel(f"{name}:Q", axis=None, scale=alt.Scale(domain=domain, nice=False, zero=False))


def arrow(base: alt.Chart, colour: str, rotation: str, **line) -> alt.LayerChart:
    """An arrow from the origin to (x, y); `rotation` is the expression of its head's angle, clockwise from up."""
    shaft = base.mark_rule(color=colour, strokeWidth=4, strokeCap="round", **line)
    head = base.mark_point(shape=HEAD, color=colour, filled=True, opacity=1, size=1100, angle=alt.expr(rotation))
    return shaft.encode(axis("x"), axis("y"), x2=alt.datum(0), y2=alt.datum(0)) + head.encode(axis("x"), axis("y"))


def fixed(x: float, y: float, **fields) -> alt.Chart:
    """One row of data at a fixed place."""
    return alt.Chart(alt.InlineData(values=[{"x": x, "y": y, **fields}]))


def concept() -> alt.LayerChart:
    """Two gradients in the plane they span, the half-space of agreement, and what follows for the second loss."""
    chosen = (
        grid.transform_filter(picked)
        .transform_calculate(
            cosine="datum.angle == 90 ? 0 : cos(datum.angle * PI / 180)",  # cos(PI / 2) is not quite 0
            sign="datum.angle < 90 ? 1 : datum.angle > 90 ? -1 : 0",
        )
        .transform_calculate(
            sentence="'A small step −ε g₁ ' + (datum.sign > 0 ? 'lowers' : datum.sign < 0 ? 'raises' : "
            "'does not change') + '/the loss on example 2'",
            numbers="'sign ' + format(datum.sign, '+d') + '   cosine ' + format(datum.cosine, '+.2f')"
            " + '   product g₁·g₂ ' + format(datum.cosine * datum.length, '+.2f')",
        )
    )
    half = alt.Chart(alt.InlineData(values=[{"x": 0, "x2": REACH, "y": -0.55, "y2": REACH}]))
    shade = half.mark_rect(color=FIRST, opacity=0.2).encode(axis("x"), axis("y"), x2="x2:Q", y2="y2:Q")
    labels = [
        fixed(2.1, -0.47).mark_text(align="right", text="g₁·g > 0: agree"),
        fixed(-2.1, -0.47).mark_text(align="left", text="g₁·g < 0: disagree"),
        fixed(0.95, -0.2).mark_text(align="center", text="g₁", fontWeight="bold", fontSize=15, color=FIRST),
        fixed(-0.6, -0.2).mark_text(align="center", text="step −ε g₁", color=STEP, fontSize=13),
    ]
    labels = [label.encode(axis("x"), axis("y")) for label in labels]
    second = chosen.transform_calculate(
        x="datum.x + 0.28 * cos(datum.angle * PI / 180)", y="datum.y + 0.28 * sin(datum.angle * PI / 180)"
    )
    name = second.mark_text(text="g₂", fontWeight="bold", fontSize=15, color=SECOND).encode(axis("x"), axis("y"))
    # these two stand above the plane, placed by pixels; in two lines the sentence fits a phone
    sentence = chosen.mark_text(align="left", fontSize=14, fontWeight="bold", x=0, y=-54, lineBreak="/", lineHeight=19)
    figures = chosen.mark_text(align="left", fontSize=14, x=0, y=-12)
    dots = grid.mark_point(opacity=0, size=1, aria=False).encode(axis("x"), axis("y")).add_params(picked)
    layers = [
        shade,
        arrow(fixed(-0.6, 0), STEP, "-90", strokeDash=[5, 6]),
        arrow(fixed(1, 0), FIRST, "90"),
        arrow(chosen, SECOND, "90 - second_angle"),
        name,
        *labels,
        sentence.encode(text="sentence:N"),
        figures.encode(text="numbers:N"),
        dots,
    ]
    return alt.layer(*layers).properties(
        width=336,
        height=210,
        description=(
            "Two arrows from one point: the gradient g1 of the loss on example 1, pointing right, and the gradient g2 "
            "of the loss on example 2, whose angle and length the sliders set. The half-plane to the right, where the "
            "product with g1 is positive, is shaded. While g2 lies in it, a small step against g1 lowers the loss on "
            "example 2; outside it the step raises that loss, and on the border it changes nothing. The angle starts "
            "at 50 degrees."
        ),
    )


chart = concept()
chart

# %% [markdown]
# **Figure 1.** The gradients of two examples in the plane that they span. The shaded half-space holds every $g$ with
# $g_1 \cdot g > 0$. Lengths are in units of $|g_1|$.

# %% tags=["remove-cell"]
glue("fig01", chart, display=False)

# %% [markdown]
# **What was found.**
#
# - Within 90 degrees of $g_1$ the product is positive: the step for example 1 *lowers* the loss on example 2, too.
#   The pair is *stiff*: the function that the network computes moves at both places together.
# - Beyond 90 degrees the product is negative, and example 2 pays for what example 1 gains.
# - At exactly 90 degrees the two do not notice each other.
# - The length of $g_2$ changes how *much* the second loss moves, never in which direction. That is why this book
#   counts the sign and the cosine of the angle, and leaves the lengths out.
#
# Averaged over many pairs of examples, the sign and the cosine are the *stiffness* of the network, which the next
# pages measure.
