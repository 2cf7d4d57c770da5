"""The book's charts: functions of a tidy table that return an Altair chart with its alternative text."""

import math

import altair as alt
import numpy as np

from stiffness_book.summaries import SINGLE, loss_curves, over_seeds, stiffness_curves

# one scale for every matrix of the book, so that colours compare across figures; 0 is its neutral middle
STIFFNESS_SCALE = alt.Scale(scheme="redblue", domain=[-1, 1], domainMid=0)
KINDS = ["sign", "cosine"]
MARK = "#9467bd"  # of what is marked in a chart: reads on white and on black
PANEL = 262  # width of one of two panels side by side: a phone shows one whole
EXTENT = 42  # room for an axis's longest labels, where a switch changes them: the chart does not move then
FIRST_STEPS = 10  # an axis of steps is linear up to about here, then logarithmic
ZERO = ["falls to zero there", "never falls to zero"]  # the two ways in which a size is drawn
PAIRS = {"all": "all pairs", "within_class": "one class", "between_classes": "different classes"}
FOUND = "found clusters"
WORDS = {"within_class": "within classes", "between_classes": "between classes"}


def matrix_panels(matrices, steps, kind, *, title, of):
    """Class stiffness matrices at the given steps, side by side; by two where the classes have names, not numbers.

    matrices: as from `summaries.class_matrices`. of: whose they are, in words, for the alternative text.
    """
    missing = sorted(set(steps) - set(matrices["step"]))
    if missing:
        raise ValueError(f"no stage was measured at steps {missing}; "
                         f"measured were {', '.join(map(str, sorted(set(matrices['step']))))}")
    shown = matrices[matrices["step"].isin(steps) & (matrices["kind"] == kind)]
    columns, size = (2, 190) if _named(matrices["class_a"]) else (len(steps), 150)
    panels = [_matrix(_rounded(shown[shown["step"] == step]), size=size, title=_after(step), labels=i % columns == 0,
                      stiffness=f"mean {kind} stiffness") for i, step in enumerate(steps)]
    description = f"{len(steps)} heat maps of the class stiffness matrix of {of}. {in_words(matrices, steps, [kind])}"
    return alt.concat(*panels, columns=columns, spacing=12).resolve_scale(color="shared").properties(
        title=title, description=description)


def matrix_slider(matrices, *, title, of):
    """One class stiffness matrix, with a slider over all measured stages and a choice of sign or cosine.

    matrices, of: as in `matrix_panels`.
    """
    steps = sorted(set(matrices["step"]))
    shown = _rounded(matrices).assign(stage=[steps.index(step) for step in matrices["step"]])
    size = 240 if _named(matrices["class_a"]) else 290  # with the names it fits a phone
    matrix = _matrix(shown, size=size, title=alt.Undefined, labels=True, stiffness="mean stiffness").transform_filter(
        "datum.stage == stage && datum.kind == kind")
    description = (f"The class stiffness matrix of {of} at each of {len(steps)} stages of training, chosen by a "
                   f"slider, for the sign or the cosine. {in_words(matrices, steps)}")
    return alt.layer(matrix, _stage_heading(steps)).add_params(
        _stage_slider(steps, steps[-1]), _kind_switch()).properties(title=title, description=description)


def matrix_orders(matrices, arrangements, class_names, super_classes, *, step, title, description):
    """A class stiffness matrix of many classes: a slider over stages, sign or cosine, and a choice of the order.

    matrices, arrangements: as from `blocks.arrangements`; step: the stage shown first. There are so many numbers that
    they are rounded to 0.01, and of a symmetric matrix the lower triangle is stored. Cells look theirs up: were they
    rows of data, chosen by a filter, a browser would take seconds to replace them.
    """
    steps = sorted({step for step, _, _ in matrices})
    orders = [name for name in arrangements if isinstance(name, str)] + [FOUND]
    classes = len(class_names)
    size = max(4, 300 // classes) * classes  # whole pixels, or cells would look uneven; enough of them to point at
    values = {f"{kind} {steps.index(step)}": [[None if np.isnan(mean) else round(100 * mean) for mean in row[: a + 1]]
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
    boxes = outlines.mark_rect(fill="none", fillOpacity=0, stroke="#111").encode(**ends, strokeWidth=thickness)
    text = {"align": "left", "baseline": "middle", "fontSize": 10, "dx": 5}
    labels = outlines.transform_calculate(middle="(datum.start + datum.end) / 2").mark_text(**text).encode(
        text="label:N", x=alt.value(size), y=alt.Y("middle:Q", scale=y))
    longest = max((block["label"] for block in drawn), key=len)  # keeps room: a chart does not grow when it changes
    room = alt.Chart(alt.InlineData(values=[{}])).mark_text(text=longest, opacity=0, **text).encode(x=alt.value(size))
    return alt.layer(matrix, boxes, labels, room, _stage_heading(steps), width=size, height=size).add_params(
        *known, _stage_slider(steps, step), _kind_switch(), order, key).properties(title=title, description=description)


def stiffness_evolution(table, *, title, mark=None):
    """Within-class and between-class stiffness, sign and cosine, through training. mark: as in `_evolution`."""
    quantities = {f"{pairs}_{kind}": f"{pairs.replace('_', ' ')}, {kind}"
                  for pairs in ("within_class", "between_classes") for kind in KINDS}
    curves = stiffness_curves(table, list(quantities))
    return _evolution(curves, quantities, "stiffness", title, reference=(0, ""), mark=mark)


def precision_evolution(table, *, title, mark=None):
    """Sign stiffness through training, as it is and with the loss in single precision. mark: as in `_evolution`."""
    quantities = {f"{pairs}_sign{suffix}": f"{pairs.replace('_', ' ')}, {precision}"
                  for pairs in ("within_class", "between_classes")
                  for suffix, precision in (("", "exact"), (SINGLE, "loss in single precision"))}
    curves = stiffness_curves(table, list(quantities))
    return _evolution(curves, quantities, "stiffness", title, reference=(0, ""), mark=mark)


def loss_evolution(table, *, title, guessing=None, mark=None):
    """Training and validation loss through training, on a logarithmic axis. mark: as in `_evolution`.

    guessing: the loss of saying nothing, drawn as a line; the axis is then linear and closes around the curves.
    """
    quantities = {"train_loss": "training", "validation_loss": "validation"}
    curves = loss_curves(table, list(quantities))
    if guessing is None:
        scale, ticks = _logarithmic(curves[["mean", "low", "high"]], below=0.1 if mark else 0.04)  # its label is there
        return _evolution(curves, quantities, "loss", title, scale=scale, ticks=ticks, mark=mark)
    return _evolution(curves, quantities, "loss", title, scale=alt.Scale(zero=False, nice=False),
                      reference=(guessing, "guessing"), mark=mark)


def _evolution(curves, quantities, y, title, *, scale=alt.Undefined, ticks=6, reference=None, mark=None):
    """Curves of mean and 95 % interval over seeds against the number of steps, as wide as the page.

    quantities: name -> label, or "what, kind": a colour for each what, a dash for each kind. reference: (value, label)
    of a horizontal line. mark: (step, label) of a vertical one.
    """
    parts = curves["quantity"].map(quantities).str.partition(", ")
    form = "+.3f" if y == "stiffness" else ".3~g"  # losses have many magnitudes
    shown = (_rounded(curves) if y == "stiffness" else _to_digits(curves)).assign(what=parts[0], kind=parts[2])
    whats, kinds = (list(dict.fromkeys(label.partition(", ")[at] for label in quantities.values())) for at in (0, 2))
    legend = alt.Legend(title=None, orient="top", columns=2, symbolType="stroke", symbolStrokeWidth=3, symbolOpacity=1)
    x = alt.X("step:Q", title="steps of training (0 is initialisation)",
              scale=alt.Scale(type="symlog", constant=FIRST_STEPS),
              axis=_labelled_axis(shown["step"], lambda step: np.log1p(step / FIRST_STEPS)))
    y_axis = alt.Axis(grid=False, **_ticks(ticks), labelExpr=alt.Undefined if y != "loss" else
                      "format(datum.value, datum.value < 0.001 ? '~e' : '~g')")  # 1e-6 rather than 0.000001
    base = alt.Chart(shown).transform_calculate(**_interval(form)).encode(
        x, alt.Color("what:N", sort=whats, scale=alt.Scale(scheme="tableau10"), legend=legend), detail="quantity:N")
    band = base.mark_area(opacity=0.25).encode(alt.Y("low:Q", title=y, scale=scale, axis=y_axis), alt.Y2("high:Q"))
    line = base.mark_line(point=True).encode(alt.Y("mean:Q"))
    rows = ["what:N", alt.Tooltip("step:Q", format=",d"), *_value(form)]
    if parts[2].any():
        dashes = alt.Legend(title=None, orient="bottom", symbolType="stroke", symbolSize=400, symbolFillColor="#888888",
                            symbolStrokeColor="#888888")
        line = line.encode(alt.StrokeDash("kind:N", sort=kinds, legend=dashes))
        rows.insert(1, "kind:N")
    layers = [band, line.encode(tooltip=rows)]
    if reference is not None:
        value, label = reference
        rule = alt.Chart(shown.iloc[:1]).encode(y=alt.datum(value))
        layers.append(rule.mark_rule(strokeDash=[2, 4], color="#888888"))
        ends = curves.loc[curves["step"] == curves["step"].max(), "mean"] - value
        below = ends[ends.abs().idxmin()] > 0  # the side of the line where no curve ends nearby
        if label:  # in the text's default colour, which follows the page
            layers.append(rule.mark_text(text=label, align="right", baseline="top" if below else "bottom", dx=-4,
                                         dy=3 if below else 0, x="width"))
    ends = [(label, means.iloc[0], means.iloc[-1]) for quantity, label in quantities.items()
            for means in [curves.loc[curves["quantity"] == quantity, "mean"]]]
    told = ".2f" if y == "stiffness" else "#.3g"
    description = f"Lines of {y} against the steps of training. " + " ".join(
        f"{label.capitalize()}: from {start:{told}} to {end:{told}}." for label, start, end in ends)
    if mark is not None:
        step, label = mark
        rule = alt.Chart(shown.iloc[:1]).encode(x=alt.datum(step))
        late = step > shown["step"].max() / 10  # leaves no room for the label on its right
        layers += [rule.mark_rule(color=MARK, strokeWidth=2),
                   rule.mark_text(text=label, color=MARK, fontWeight="bold", align="right" if late else "left",
                                  baseline="bottom", dx=-6 if late else 6, y="height", dy=-4)]
        description += f" A vertical line after {step:,} steps: {label}."
    return alt.layer(*layers).properties(width="container", height=240, title=title, description=description)


def block_evolution(tested, *, title):
    """How much more classes of one group help each other than others do. tested: as `blocks.through_training`."""
    labels = tested["division"] + ", " + tested["kind"]
    curves = over_seeds(tested.assign(quantity=labels), ["step", "quantity"], bounds=(-2, 2))
    return _evolution(curves, dict(zip(labels, labels)), "difference of stiffness", title, reference=(0, ""))


def agreement_evolution(agreement, *, title):
    """How far clusters found in the matrix are the super-classes. agreement: as `blocks.agreement`."""
    labels = "clusters by " + agreement["kind"]
    curves = over_seeds(agreement.assign(quantity=labels), ["step", "quantity"], bounds=(-1, 1))
    return _evolution(curves, dict(zip(labels, labels)), "adjusted Rand index", title,
                      reference=(agreement["chance"].max(), "95 % of random divisions"))


def probe_error_curves(errors, small, *, title):
    """The statistical error against the number of probe images, both on logarithmic axes; a switch chooses the kind.

    errors: as from `summaries.probe_errors`, with the column data. Of each number of images the largest error over all
    stages and runs is drawn, and through the last of them the line of an error that falls as 1 / sqrt(number). small:
    (error, label) of a horizontal line.
    """
    by = ["data", "summary", "kind", "probe_images"]
    rows = errors.groupby(by)["value"].max().reset_index()
    last = rows.groupby(by[:3])[["probe_images", "value"]].transform("last")
    rows["law"] = last["value"] * np.sqrt(last["probe_images"] / rows["probe_images"].astype(float))
    rows["what"] = rows["summary"].map(WORDS)
    legend = alt.Legend(title=None, orient="bottom", columns=1, symbolFillColor="#888888", symbolStrokeColor="#888888")
    shown = rows[rows["value"] > 0]  # no error at all, as where every sign is 1, has no place on a logarithmic axis
    base = alt.Chart(shown.round({"value": 4, "law": 4})).transform_filter("datum.kind == kind").encode(
        alt.X("probe_images:Q", title="probe images", axis=_labelled_axis(rows["probe_images"], np.log),
              scale=alt.Scale(type="log", nice=False, padding=12)),
        alt.Color("data:N", sort=list(dict.fromkeys(errors["data"])), scale=alt.Scale(scheme="tableau10"),
                  legend=alt.Legend(title=None, orient="top", offset=26, symbolOpacity=1)))
    value, label = small
    scale, ticks = _logarithmic([*shown["value"], *shown["law"], value])
    y = {"title": "half the 95 % interval", "scale": scale,
         "axis": alt.Axis(grid=False, **_ticks(ticks), format="~g")}
    rule = alt.Chart(alt.InlineData(values=[{}]))
    signs = rows[rows["kind"] == "sign"]
    told = [f"{data}, {what}: " + ", ".join(f"{error:.3f} for {number:,}" for number, error in
                                            zip(own["probe_images"], own["value"])) + "."
            for (data, what), own in signs.groupby(["data", "what"], sort=False)]
    return alt.layer(
        base.mark_line(strokeWidth=1, opacity=0.6).encode(alt.Y("law:Q", **y), detail="what:N"),
        base.mark_point(filled=True, opacity=1, size=80).encode(
            alt.Y("value:Q", **y), alt.Shape("what:N", sort=list(WORDS.values()), legend=legend),
            tooltip=["data:N", alt.Tooltip("what:N", title="stiffness"), alt.Tooltip("probe_images:Q", format=",d"),
                     alt.Tooltip("value:Q", title="half interval", format=".4f")]),
        rule.mark_rule(color=MARK, strokeWidth=2).encode(y=alt.datum(value)),
        # above the plot, as within it there is a point everywhere for one kind or the other
        rule.mark_text(text=f"{label}, {value:g}", color=MARK, fontWeight="bold", align="left", x=0, y=-10),
    ).add_params(_kind_switch()).properties(
        width="container", height=280, title=title, description="Points: the statistical error of stiffness against "
        "the number of probe images. The largest by the sign: " + " ".join(told))


def network_stiffness_points(table, networks, summary, *, title):
    """Stiffness of several networks at initialisation and at each training loss; a switch chooses the kind.

    table: with the column network. summary: within_class or between_classes.
    """
    moments = {loss: f"loss {loss:g}" for loss in sorted(table["target_loss"].dropna().unique(), reverse=True)}
    rows = table[table["quantity"].isin([f"{summary}_{kind}" for kind in KINDS])]
    rows = rows[rows["target_loss"].notna() | (rows["step"] == 0)]
    rows = rows.assign(moment=rows["target_loss"].map(moments).fillna("start"),
                       kind=rows["quantity"].str.rpartition("_")[2])
    rows = over_seeds(rows, ["network", "moment", "kind"], bounds=STIFFNESS_SCALE.domain)
    points = alt.Chart(_rounded(rows)).transform_filter("datum.kind == kind").transform_calculate(**_INTERVAL).encode(
        alt.X("moment:N", sort=["start", *moments.values()], title="start, then training losses",
              axis=alt.Axis(labelAngle=0, grid=False)),
        alt.XOffset("network:N", sort=networks),
        alt.Color("network:N", scale=_network_colours(networks), legend=_network_legend()))
    y = {"title": f"stiffness {WORDS[summary]}", "axis": alt.Axis(grid=False, tickCount=6, minExtent=EXTENT)}
    signs = rows[rows["kind"] == "sign"].set_index(["network", "moment"])["mean"]
    told = [f"{network}: " + ", ".join(f"{signs[network, moment]:.2f} at {moment}" for moment in
                                       ["start", *moments.values()] if (network, moment) in signs) + "."
            for network in networks]
    return alt.layer(
        points.mark_rule(strokeWidth=2).encode(alt.Y("low:Q", **y), alt.Y2("high:Q")),
        points.mark_point(filled=True, opacity=1, size=70).encode(
            alt.Y("mean:Q", **y), tooltip=["network:N", "moment:N", *_VALUE]),
        _zero(),
    ).add_params(_kind_switch()).properties(
        width="container", height=240, title=title, description=f"Points with intervals: stiffness {WORDS[summary]} of "
        f"{len(networks)} networks at initialisation and at equal training losses. By the sign: " + " ".join(told))


def network_difference_points(differences, networks, *, title):
    """Differences of stiffness between two networks at equal training loss; a switch chooses the kind.

    differences: as from `summaries.network_differences`; rows without an interval are left out. networks: as in
    `network_stiffness_points`, whose colours it has.
    """
    rows = differences.dropna(subset="low")
    rows = rows.assign(networks=rows["one"] + " minus " + rows["other"],
                       row=[f"{WORDS[row.summary]}, loss {row.target_loss:g}" for row in rows.itertuples()],
                       seeds=rows["runs"])
    order = list(dict.fromkeys(rows.sort_values("summary", ascending=False, kind="stable")["row"]))
    points = alt.Chart(_rounded(rows)).transform_filter("datum.kind == kind").transform_calculate(**_INTERVAL).encode(
        alt.Y("row:N", sort=order, title=None, axis=alt.Axis(grid=False, labelLimit=200)),
        alt.YOffset("one:N", sort=networks),
        alt.Color("one:N", scale=_network_colours(list(dict.fromkeys(rows["one"]))), legend=_network_legend()))
    x = {"title": "difference of stiffness", "axis": alt.Axis(grid=False, tickCount=6)}
    told = [f"{row.networks}, {row.row}: {row.mean:.2f}." for row in rows[rows["kind"] == "sign"].itertuples()]
    zero = alt.Chart(alt.InlineData(values=[{}])).mark_rule(color="#888888", strokeDash=[2, 4]).encode(x=alt.datum(0))
    return alt.layer(
        points.mark_rule(strokeWidth=2).encode(alt.X("low:Q", **x), alt.X2("high:Q")),
        points.mark_point(filled=True, opacity=1, size=70).encode(
            alt.X("mean:Q", **x), tooltip=["networks:N", alt.Tooltip("row:N", title="where"), *_VALUE]),
        zero,
    ).add_params(_kind_switch()).properties(
        width="container", height=240, title=title,
        description="Points with 95 % intervals: differences of stiffness. By the sign: " + " ".join(told))


def stiffness_against_rate(table, stops, *, title):
    """Between-class stiffness against the learning rate: a panel for each data set, a line for each training loss.

    table: with columns dataset and learning_rate; stops: as from `summaries.stops`. A switch chooses the kind.
    """
    by = ["dataset", "target_loss", "learning_rate"]
    rows = table[table["quantity"].isin([f"between_classes_{kind}" for kind in KINDS])]
    rows = over_seeds(rows, [*by, "quantity"], bounds=STIFFNESS_SCALE.domain).merge(stops, on=by)
    rows["kind"] = rows["quantity"].str.removeprefix("between_classes_")
    rows = rows.rename(columns={"loss": "measured"})
    tooltip = [*_VALUE, alt.Tooltip("measured:Q", title="measured loss", format=".3f"),
               alt.Tooltip("step:Q", title="after steps", format=",.0f")]
    panels = []
    for dataset in stops["dataset"].unique():
        chart = _of_kind(_rounded(rows[rows["dataset"] == dataset]))
        layers = _against_rate(chart, ["mean", "low", "high"], tooltip, title="stiffness",
                               axis=alt.Axis(grid=False, tickCount=6, minExtent=EXTENT))
        panels.append(alt.layer(*layers, _zero()).properties(width=PANEL, height=240,
                                                             title=alt.Title(dataset, fontSize=13)))
    signs = rows[rows["kind"] == "sign"].sort_values(["target_loss", "learning_rate"], ascending=[False, True])
    told = [f"{dataset}, loss {loss:g}: from {line['mean'].iloc[0]:.2f} at rate {line['learning_rate'].iloc[0]:g} to "
            f"{line['mean'].iloc[-1]:.2f} at {line['learning_rate'].iloc[-1]:g}."
            for (dataset, loss), line in signs.groupby(["dataset", "target_loss"], sort=False)]
    return alt.hconcat(*panels).resolve_scale(color="independent", y="shared").add_params(_kind_switch()).properties(
        autosize=alt.AutoSizeParams(type="pad", resize=True),  # one kind's labels reach higher than the other's
        title=title, description="Lines of between-class stiffness against the learning rate, one for each training "
                                 "loss. By the sign: " + " ".join(told))


def stiffness_against_distance(curves, sizes, *, title):
    """Stiffness against distance: a column for each data set, a panel for each space. A switch chooses the kind.

    curves: as from `summaries.distance_curves` by dataset. sizes: v1's, as from `summaries.medians` by dataset and
    space, drawn as vertical lines.
    """
    columns, told = [], []
    for dataset, of_dataset in sizes.groupby("dataset", sort=False):
        panels = []
        for size in of_dataset.itertuples():
            shown = curves[(curves["dataset"] == dataset) & (curves["space"] == size.space)]
            first, last = (size.space == of_dataset["space"].iloc[at] for at in (0, -1))
            zero = f"zero at {size.median:.2f}" if np.isfinite(size.median) else "no zero"
            heading = [dataset, f"{size.space}: {zero}"] if first else f"{size.space}: {zero}"
            panels.append(_distance_panel(shown, size.median, curves["distance"].max(), bottom=last).properties(
                width=PANEL, height=110, title=alt.Title(heading, fontSize=13)))
            means = shown[(shown["kind"] == "sign") & (shown["pairs"] == "all")].sort_values("distance")["mean"]
            told.append(f"{dataset}, {size.space}: {means.iloc[0]:.2f} among the nearest pairs, {zero}, "
                        f"{means.iloc[-1]:.2f} among the farthest.")
        columns.append(alt.vconcat(*panels, spacing=6))
    return alt.hconcat(*columns).add_params(_kind_switch()).properties(
        title=title, description="Lines of stiffness against distance for all pairs, for pairs of one class and of "
                                 "different classes. All pairs, by the sign: " + " ".join(told))


def domain_sizes_against_rate(sizes, rows, *, title):
    """Sizes of stiff domains against the learning rate: a column for each data set, a line for each training loss.

    sizes: as from `summaries.medians` by dataset, target_loss, learning_rate, space and quantity. rows: for each row
    of panels its label, quantity and space. Sizes that are not finite are triangles at the panel's upper edge.
    """
    columns, told = [], []
    for dataset, of_dataset in sizes.groupby("dataset", sort=False):
        panels = []
        for label, quantity, space in rows:
            same = sizes[(sizes["quantity"] == quantity) & (sizes["space"] == space)]
            finite = same["median"].replace(np.inf, np.nan).max()  # of the medians: one run must not flatten them all
            shown = of_dataset[(of_dataset["quantity"] == quantity) & (of_dataset["space"] == space)]
            heading = [dataset, label] if label == rows[0][0] else label
            panels.append(_size_panel(shown, 1.3 * finite if finite > 0 else 1, last=label == rows[-1][0]).properties(
                width=PANEL - 27, height=130, title=alt.Title(heading, fontSize=13)))
            for loss, line in shown.sort_values("learning_rate").groupby("target_loss", sort=False):
                ends = [_size_in_words(line["median"].iloc[at]) for at in (0, -1)]
                told.append(f"{dataset}, {label}, loss {loss:g}: from {ends[0]} to {ends[1]}.")
        columns.append(alt.vconcat(*panels, spacing=6))
    return alt.hconcat(*columns).resolve_scale(color="independent").properties(
        title=title, description="Lines of the size of stiff domains against the learning rate, one for each training "
                                 "loss. Medians at the lowest and the highest rate: " + " ".join(told))


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
def _interval(form):
    return {"interval": f"format(datum.low, '{form}') + ' to ' + format(datum.high, '{form}') + ', ' + datum.seeds "
                        "+ ' runs'"}


def _value(form):
    return [alt.Tooltip("mean:Q", title="mean", format=form), alt.Tooltip("interval:N", title="95 % interval")]


_INTERVAL, _VALUE = _interval("+.3f"), _value("+.3f")


def _ticks(ticks):
    """An axis's ticks: at these values, or about so many."""
    # without the count Vega would leave out every second of the values, the last one, too, where it finds them many
    return {"tickCount": ticks} if isinstance(ticks, int) else {
        "values": ticks, "tickCount": len(ticks), "labelOverlap": False}


def _logarithmic(values, below=0.04):
    """Scale and ticks of a logarithmic axis that ends where the values do; powers of 10, others if there is room.

    below: the empty part under the values.
    """
    low, high = np.nanmin(values), np.nanmax(values)
    low, high = low / max(1.1, (high / low) ** below), high * max(1.1, (high / low) ** 0.04)
    low, high = float(f"{low:.3g}"), float(f"{high:.3g}")
    powers = range(math.floor(math.log10(low)), math.floor(math.log10(high)) + 1)
    for leading in ((1, 2, 5), (1, 3), (1,)):
        ticks = [tick for power in powers for digit in leading if low <= (tick := float(f"{digit}e{power}")) <= high]
        if len(ticks) <= 10:
            break
    every = math.ceil(len(ticks) / 10)
    return alt.Scale(type="log", domain=[low, high], nice=False), ticks[::-every]


def _labelled_axis(numbers, scale):
    """An x axis with a tick at each number, and a label where there is room: the ends first, then 10, 100 ..., 30 ...

    scale: the function that the axis places numbers by. (Vega would leave out the last label rather than another.)
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
    return alt.Axis(**_ticks(numbers), format=",d", grid=False, labelFlush=False,
                    labelExpr=f"indexof({shown}, datum.value) < 0 ? '' : datum.label")


def _network_colours(networks):
    return alt.Scale(domain=networks, scheme="tableau20")


def _network_legend():
    return alt.Legend(title=None, orient="bottom", columns=1, labelLimit=300)


def _stage_slider(steps, first):
    last = len(steps) - 1
    return alt.param(name="stage", value=steps.index(first),
                     bind=alt.binding_range(min=0, max=last, step=1, name=f"stage, 0 to {last} "))


def _stage_heading(steps):
    """The words for the stage that the slider is at, above the chart."""
    labels = [{"stage": number, "label": _after(step)} for number, step in enumerate(steps)]
    return alt.Chart(alt.InlineData(values=labels)).mark_text(
        align="left", baseline="bottom", fontSize=15, fontWeight="bold", dy=-6
    ).encode(text="label:N", x=alt.value(0), y=alt.value(0)).transform_filter("datum.stage == stage")


def _kind_switch():
    return alt.param(name="kind", value=KINDS[0], bind=alt.binding_radio(options=KINDS, name="stiffness "))


def _zero():
    return alt.Chart(alt.InlineData(values=[{}])).mark_rule(color="#888888", strokeDash=[2, 4]).encode(y=alt.datum(0))


def _of_kind(rows):
    """A chart of the rows of the kind that the switch is at, with their intervals for tooltips."""
    return alt.Chart(rows).transform_filter("datum.kind == kind").transform_calculate(**_INTERVAL)


def _against_rate(chart, columns, tooltip, *, x_title="learning rate", shape=alt.Undefined, **y):
    """Layers of band, line and points, a line for each target_loss. columns: middle, low and high of a point."""
    middle, low, high = (f"{name}:Q" for name in columns)
    shown = chart.data
    losses = sorted(set(shown["target_loss"]), reverse=True)
    chart.data = shown.assign(loss=[f"{loss:g}" for loss in shown["target_loss"]])
    base = chart.encode(
        alt.X("learning_rate:Q", title=x_title, scale=alt.Scale(type="log", nice=False, padding=12), axis=alt.Axis(
            values=sorted(set(shown["learning_rate"])), format="~e", grid=False, labelOverlap=True, labelSeparation=4)),
        alt.Color("loss:N", title="training loss", sort=[f"{loss:g}" for loss in losses],
                  scale=alt.Scale(scheme="tableau10"), legend=alt.Legend(
                      orient="bottom", symbolType="stroke", symbolStrokeWidth=3, symbolOpacity=1)))
    tooltip = [alt.Tooltip("loss:N", title="training loss"),
               alt.Tooltip("learning_rate:Q", title="learning rate", format="~e"), *tooltip]
    return (base.mark_area(opacity=0.2).encode(alt.Y(low, **y), alt.Y2(high)),
            base.mark_line().encode(alt.Y(middle, **y)),
            base.mark_point(filled=True, size=45).encode(alt.Y(middle, **y), shape=shape, tooltip=tooltip))


def _distance_panel(shown, size, farthest, *, bottom):
    """Stiffness against distance in one space. The bars say how many pairs there are, by their height."""
    shown = _rounded(shown).assign(what=shown["pairs"].map(PAIRS))
    bars = shown.loc[shown["pairs"] == "all", ["kind", "distance", "number"]]
    bars["height"] = (0.5 * bars.pop("number") / shown["number"].max() - 1).round(3)
    shown = shown[["what", "kind", "distance", "mean", "low", "high", "seeds", "number"]]
    axis = alt.Axis(grid=False, tickCount=6, labels=bottom, labelExpr="[datum.label, format(1 - datum.value, '.1f')]")
    x = alt.X("distance:Q", scale=alt.Scale(domain=[0, float(farthest)]), axis=axis,
              title=["distance: 1 − cosine (third version)", "below it the cosine (first version)"] if bottom else None)
    y = {"scale": alt.Scale(domain=[-1, 1]), "axis": alt.Axis(grid=False, values=[-1, 0, 1]), "title": "stiffness"}
    legend = alt.Legend(title=None, orient="top", symbolType="stroke", symbolStrokeWidth=3, symbolOpacity=1)
    base = _of_kind(shown).encode(x, alt.Color("what:N", sort=list(PAIRS.values()),
                                               scale=alt.Scale(scheme="tableau10"), legend=legend)
                                  ).transform_calculate(cosine="1 - datum.distance")
    tooltip = [alt.Tooltip("what:N", title="pairs"), alt.Tooltip("distance:Q", title="1 − cosine"),
               alt.Tooltip("cosine:Q", format=".3~f"), *_VALUE,
               alt.Tooltip("number:Q", title="pairs in the bin", format=",.0f")]
    layers = [_of_kind(bars).mark_bar(color="#888888", opacity=0.35, width=4).encode(
                  x, alt.Y("height:Q", **y), alt.Y2(datum=-1)),
              _zero(),
              base.mark_area(opacity=0.25).encode(alt.Y("low:Q", **y), alt.Y2("high:Q")),
              base.mark_line(point=alt.OverlayMarkDef(size=14)).encode(alt.Y("mean:Q", **y), tooltip=tooltip)]
    if np.isfinite(size):
        layers.append(alt.Chart(alt.InlineData(values=[{}])).mark_rule(color=MARK, strokeWidth=2).encode(
            x=alt.datum(round(size, 3))))
    return alt.layer(*layers)


def _size_panel(shown, top, *, last):
    """Sizes of stiff domains against the learning rate, those that are not finite at the upper edge."""
    ends = zip(shown["least"], shown["largest"])
    shown = shown.assign(
        reached=np.where(np.isfinite(shown["median"]), *ZERO),
        size=shown["median"].map(_size_in_words), cosine=(1 - shown["median"]).map("{:.2f}".format),
        range=[f"{_size_in_words(low)} to {_size_in_words(high)}" for low, high in ends],
        runs=[f"{finite} of {runs}" for finite, runs in zip(shown["finite"], shown["runs"])],
        **shown[["median", "least", "largest"]].clip(upper=top).round(3))
    legend = alt.Legend(orient="bottom", symbolFillColor="#888888", labelLimit=260)
    shape = alt.Shape("reached:N", title=None, legend=legend,
                      scale=alt.Scale(domain=ZERO, range=["circle", "triangle-up"]))
    tooltip = [alt.Tooltip("size:N", title="median, 1 − cosine"), alt.Tooltip("cosine:N", title="the same as cosine"),
               alt.Tooltip("range:N", title="all runs"), alt.Tooltip("runs:N", title="finite in")]
    axis = alt.Axis(grid=False, tickCount=4, labelExpr="datum.label + ' (' + format(1 - datum.value, '.1f') + ')'")
    return alt.layer(*_against_rate(
        alt.Chart(shown), ["median", "least", "largest"], tooltip, x_title="learning rate" if last else None,
        shape=shape, title="distance (cosine)", scale=alt.Scale(domain=[0, float(top)], nice=False), axis=axis))


def _size_in_words(size):
    return f"{size:.2f}" if np.isfinite(size) else "none"


def _matrix(shown, *, size, title, labels, stiffness):
    order = list(dict.fromkeys(shown["class_a"]))
    x, y = (alt.Axis(labelAngle=angle, ticks=False, domain=False) for angle in (-60 if _named(order) else 0, 0))
    return alt.Chart(shown, width=size, height=size, title=title).mark_rect().encode(
        alt.X("class_b:N", sort=order, title="class whose loss changes" if labels else "", axis=x),
        alt.Y("class_a:N", sort=order, title="gradient step on class" if labels else None, axis=y if labels else None),
        alt.Color("mean:Q", title=stiffness, scale=STIFFNESS_SCALE,
                  legend=alt.Legend(orient="bottom", gradientLength=220, titleLimit=300)),
        tooltip=[alt.Tooltip("pair:N", title="classes"), *_VALUE],
    ).transform_calculate(pair="'a step on ' + datum.class_a + ', the loss of ' + datum.class_b", **_INTERVAL)


def _named(classes):
    return max(map(len, classes)) > 2


def _after(step):
    return f"after {step:,} steps" if step else "at initialisation"


def _to_digits(table):
    """The same for losses, which keep four digits however small they are: a logarithmic axis has no 0."""
    return table.assign(**{name: [float(f"{value:.4g}") for value in table[name]] for name in ("mean", "low", "high")})


def _rounded(table):
    return table.round({"mean": 3, "low": 3, "high": 3})
