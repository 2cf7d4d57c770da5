"""Figure 1: two gradients in the plane that they span; sliders turn and stretch the second one."""

import altair as alt

from stiffness_book.charts.look import FIRST_GRADIENT, SECOND_GRADIENT, STEP

HEAD = "M0,-0.5L-0.4,0.5L0.4,0.5Z"  # an arrowhead that points up
REACH, BOTTOM = 2.2, -0.55  # the plane is drawn from -REACH to REACH, and from BOTTOM to REACH
ANGLES, LENGTHS = 37, 18  # what the pointer can pick: angles in steps of 5 degrees, lengths in steps of 0.1


def two_gradients():
    """Two gradients, the half-plane in which the second agrees with the first, and what happens to the second loss."""
    ends = (  # an invisible point for each angle and length
        alt.Chart(alt.sequence(ANGLES * LENGTHS, as_="i"))
        .transform_calculate(angle=f"5 * (datum.i % {ANGLES})", length=f"(3 + floor(datum.i / {ANGLES})) / 10")
        .transform_calculate(x="datum.length * cos(datum.angle * PI / 180)",
                             y="datum.length * sin(datum.angle * PI / 180)")
    )
    picked = alt.selection_point(
        name="second",
        fields=["length", "angle"],  # their sliders appear in the opposite order
        nearest=True,
        on="[pointerdown, window:pointerup] > pointermove, click",
        clear=False,
        toggle=False,
        value=[{"angle": 50, "length": 1.5}],
        bind={"angle": alt.binding_range(min=0, max=180, step=5, name="Angle in degrees"),
              "length": alt.binding_range(min=0.3, max=2, step=0.1, name="Length of g₂")},
    )
    chosen = (
        ends.transform_filter(picked)
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
    half = alt.Chart(alt.InlineData(values=[{"x": 0, "x2": REACH, "y": BOTTOM, "y2": REACH}]))
    shade = half.mark_rect(color=FIRST_GRADIENT, opacity=0.2).encode(*_plane(), x2="x2:Q", y2="y2:Q")
    labels = [
        _at(2.1, -0.47).mark_text(align="right", text="g₁·g > 0: agree"),
        _at(-2.1, -0.47).mark_text(align="left", text="g₁·g < 0: disagree"),
        _at(0.95, -0.2).mark_text(align="center", text="g₁", fontWeight="bold", fontSize=15, color=FIRST_GRADIENT),
        _at(-0.6, -0.2).mark_text(align="center", text="step −ε g₁", color=STEP, fontSize=13),
    ]
    beyond = chosen.transform_calculate(x="datum.x + 0.28 * cos(datum.angle * PI / 180)",
                                        y="datum.y + 0.28 * sin(datum.angle * PI / 180)")
    name = beyond.mark_text(text="g₂", fontWeight="bold", fontSize=15, color=SECOND_GRADIENT)
    # these two stand above the plane, placed by pixels; in two lines the sentence fits a phone
    sentence = chosen.mark_text(align="left", fontSize=14, fontWeight="bold", x=0, y=-54, lineBreak="/", lineHeight=19)
    numbers = chosen.mark_text(align="left", fontSize=14, x=0, y=-12)
    return alt.layer(
        shade,
        _arrow(_at(-0.6, 0), STEP, "-90", strokeDash=[5, 6]),
        _arrow(_at(1, 0), FIRST_GRADIENT, "90"),
        _arrow(chosen, SECOND_GRADIENT, "90 - second_angle"),
        name.encode(*_plane()),
        *(label.encode(*_plane()) for label in labels),
        sentence.encode(text="sentence:N"),
        numbers.encode(text="numbers:N"),
        ends.mark_point(opacity=0, size=1, aria=False).encode(*_plane()).add_params(picked),
    ).properties(
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


def _plane():
    """The plane's two channels, without ticks: the unit is the length of the first gradient."""
    return [channel(f"{name}:Q", axis=None, scale=alt.Scale(domain=[start, REACH], nice=False, zero=False))
            for channel, name, start in ((alt.X, "x", -REACH), (alt.Y, "y", BOTTOM))]


def _arrow(base, colour, rotation, **line):
    """An arrow from the origin to (x, y). rotation: the expression of its head's angle, clockwise from up."""
    shaft = base.mark_rule(color=colour, strokeWidth=4, strokeCap="round", **line)
    head = base.mark_point(shape=HEAD, color=colour, filled=True, opacity=1, size=1100, angle=alt.expr(rotation))
    return shaft.encode(*_plane(), x2=alt.datum(0), y2=alt.datum(0)) + head.encode(*_plane())


def _at(x, y):
    """A chart of one row of data at a fixed place."""
    return alt.Chart(alt.InlineData(values=[{"x": x, "y": y}]))
