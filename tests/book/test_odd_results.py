"""Every public chart, drawn from results that are flat, missing, infinite, few, diverged or hostile."""

import json
import re
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest
import vl_convert
from tables import (
    LOSSES,
    PAIRS,
    RATES,
    around_data,
    both_precisions,
    by_kind,
    dips,
    growth,
    harmonic,
    matrix,
    networks,
    ordered,
    probes,
    residual,
    spaces,
    super_class_table,
    super_classes,
    sweep,
    table,
    trained_networks,
)

from stiffness_book import blocks, charts, harmonics, summaries
from stiffness_book.charts import look
from stiffness_book.sensitivity import near_data, survey
from stiffness_book.sensitivity.input_space import PATHS
from stiffness_book.table import REGIMES

NAMES = ["cnn-1", "cnn-2", "fc-1", "fc-2"]
TWELVE = [f"class {i}" for i in range(12)]
RATE = ["dataset", "target_loss", "learning_rate"]


def losses_of(rows):
    return pd.concat([rows[rows["quantity"] == "within_class_sign"].assign(quantity=name, value=abs(rows["value"]) + 1)
                      for name in ("train_loss", "validation_loss")])


def run():
    """A table with stiffness and losses of five seeds at three stages."""
    made = table(lambda step, _: matrix(0.5, -step / 200))
    return pd.concat([made, losses_of(made)], ignore_index=True)


def without_a_head():
    made = run()
    return pd.concat([made, made.assign(quantity=made["quantity"] + "_body")], ignore_index=True)


def run_in_regimes():
    made = run()
    signs = made[made["quantity"].isin(["within_class_sign", "between_classes_sign"])]
    return pd.concat([made, *(signs.assign(quantity=signs["quantity"] + f"_{regime}") for regime in REGIMES)],
                     ignore_index=True)


def rates():
    made = sweep(growth({"a": 0.1, "b": 0.2}))
    return pd.concat([made, made.assign(quantity="between_classes_cosine"),
                      made.assign(quantity="train_loss", value=made["target_loss"])], ignore_index=True)


def curves():
    return summaries.distance_curves(spaces(lambda _, distance: 0.6 - 10 * distance, lambda *_: 0.3), ["dataset"])


def sizes(by):
    made = summaries.domain_sizes(spaces(lambda *_: 0.5, lambda _, rate: 30 * rate, rates=RATES))
    return summaries.medians(made[made["quantity"] == "stiff_domain_size_sign"], by)


def sizes_by_step():
    made = summaries.domain_sizes(spaces(lambda *_: 0.5, lambda *_: 0.3))
    made = made[(made["quantity"] == "stiff_domain_size_sign") & (made["dataset"] == "a")]
    return pd.concat([made.drop(columns="distance").assign(step=step, value=made["value"] + step / 1000)
                      for step in (0, 10, 100)], ignore_index=True)


def stops():
    return summaries.stops(rates(), {"a": LOSSES, "b": LOSSES})


def compared():
    made = networks(by_kind(0.9, 0.5), by_kind(0.4, 0.1))
    start = made[made["target_loss"] == 0.3].assign(step=0, target_loss=np.nan, value=0.0)
    return pd.concat([start, made], ignore_index=True)


def matrices():
    return summaries.mean_matrices(run()[lambda rows: rows["quantity"].str.startswith("class_")], [*"abcd"])


def agreement():
    return pd.DataFrame([{"step": step, "seed": seed, "kind": kind, "value": 0.1 * seed, "chance": 0.1}
                         for step in (0, 10) for seed in range(3) for kind in ("sign", "cosine")])


def block_differences():
    return agreement().assign(division="super-classes", p=0.5)


def sizes_by_degree():
    rows = harmonics.domains(harmonic(lambda scale, _: scale, seeds=3))
    return rows[rows["space"] == "input"].assign(moment=lambda rows: "after " + rows["step"].astype(str)).reset_index()


def curves_by_angle():
    rows = harmonic(lambda scale, _: scale, seeds=3).query("quantity == 'angle_distance_curve_all_sign'")
    return rows[rows["space"] == "input"].assign(moment=lambda rows: "after " + rows["step"].astype(str)).reset_index()


def of_orders(quantity):
    rows = ordered(lambda order, _: 0.3 * (order == "shuffled"), lambda *_: 0.5).drop(columns="target_loss")
    return rows[(rows["quantity"] == quantity) & (rows["step"] > 0)].reset_index(drop=True)


def between_in_orders():
    return of_orders("between_classes_sign")


def class_accuracies():
    return of_orders("validation_accuracy_of_class")


def pairs_of_networks():
    return survey.pairs(trained_networks(norm=lambda row: row["width"] * (2.0 + (row["condition"] == "random labels"))),
                        "labels")


def area_rows():
    return survey.area_rows(trained_networks(norm=lambda row: row["width"]), {"norm": "norm", "margin": "margin"})


def decile_rows():
    return survey.by_decile(trained_networks(), {"norm": "norm", "margin": "margin"})


def width_rows():
    return survey.by_width(trained_networks(lambda row: 1 / row["width"] + row["learning_rate"],
                                            lambda row: 1 / row["width"] + row["learning_rate"]))


def along_ellipses():
    return near_data.bands(around_data(dips(2)), "norm")


def explored():
    made = around_data(dips(2), seeds=1)
    rows = made[(made["quantity"] == "norm") & (made["triple"] == 0) & (made["step"] > 0)]
    return rows.rename(columns={"value": "norm"}).assign(before=rows["value"]).drop(
        columns=["seed", "distance"])


def explorer(rows):
    points = {path: near_data.first_ellipse(around_data(dips(2), seeds=1), path, 0) for path in PATHS}
    return charts.round_an_ellipse(points, rows, dict.fromkeys(PATHS, "a, b, c"), title="t")


def region_changes():
    return near_data.around(around_data(dips(1)))


def factors():
    return pd.DataFrame({"network": [*"abcdef"], "measure": ["norm", "transitions"] * 3, "mean": -1.0, "low": -2.0,
                         "high": -0.5})


def critical():
    """Critical lengths of three runs at each rate and loss."""
    made = sweep(lambda dataset, loss, rate: 1.5 + loss + 10 * rate, seeds=3)
    return made.assign(inside=made["value"] < 1.7)


def lines():
    """The curves of one case, by both kinds."""
    distance = np.arange(0.025, 1, 0.05)
    return pd.concat([pd.DataFrame({"kind": kind, "distance": distance, "mean": 0.8 - 0.6 * distance, "pairs": 100.0,
                                    "farthest": 1.0}) for kind in ("cosine", "sign")], ignore_index=True)


# each chart: its rows, the column whose numbers are drawn, and the chart of the rows
CHARTS = {
    "stiffness_evolution": (run, "value", lambda rows: charts.stiffness_evolution(rows, title="t", mark=(10, "onset"))),
    "precision_evolution": (both_precisions, "value", lambda rows: charts.precision_evolution(rows, title="t")),
    "loss_evolution": (run, "value", lambda rows: charts.loss_evolution(rows, title="t", mark=(10, "onset"))),
    "loss_evolution, linear": (run, "value", lambda rows: charts.loss_evolution(rows, title="t", guessing=2.3)),
    "block_evolution": (block_differences, "value", lambda rows: charts.block_evolution(rows, title="t")),
    "measure_evolution": (lambda: agreement().assign(labels="true", value=lambda rows: rows["value"] + 1), "value",
                          lambda rows: charts.measure_evolution(rows, "a measure", title="t")),
    "regime_evolution": (run_in_regimes, "value", lambda rows: charts.regime_evolution(rows, "sign", title="t")),
    "body_evolution": (without_a_head, "value", lambda rows: charts.body_evolution(rows, "sign", title="t")),
    "domain_evolution": (sizes_by_step, "value", lambda rows: charts.domain_evolution(rows, title="t")),
    "agreement_evolution": (agreement, "value", lambda rows: charts.agreement_evolution(rows, title="t")),
    "matrix_panels": (matrices, "mean", lambda rows: charts.matrix_panels(
        rows, sorted(set(rows.get("step", [])))[:2], "sign", title="t", of="a network")),
    "matrix_slider": (matrices, "mean", lambda rows: charts.matrix_slider(rows, title="t", of="a network")),
    "network_stiffness_points": (compared, "value", lambda rows: charts.network_stiffness_points(
        rows, NAMES, "within_class", title="t")),
    "network_difference_points": (
        lambda: summaries.network_differences(compared(), PAIRS), ["mean", "low", "high"],
        lambda rows: charts.network_difference_points(rows, NAMES, title="t")),
    "probe_error_curves": (
        lambda: summaries.probe_errors(probes(lambda *_: 0.01)).assign(data="a"), "value",
        lambda rows: charts.probe_error_curves(rows, (0.05, "small"), title="t")),
    "domains_by_depth": (
        lambda: summaries.domains_at_lowest_loss({"a": residual(0.8, (-0.5, 0.1))}), "value",
        lambda rows: charts.domains_by_depth(rows, ["resnet-20", "cnn-1", "fc-1"], title="t")),
    "critical_lengths": (critical, "value", lambda rows: charts.critical_lengths(
        rows, "learning_rate", "target_loss", title="t")),
    "window_sliders": (lines, "mean", lambda rows: charts.window_sliders({"one": rows}, title="t")),
    "stiffness_against_rate": (rates, "value", lambda rows: charts.stiffness_against_rate(rows, stops(), title="t")),
    "domain_sizes_against_rate": (
        lambda: sizes([*RATE, "space", "quantity"]), ["median", "least", "largest"],
        lambda rows: charts.domain_sizes_against_rate(
            rows, [("one", "stiff_domain_size_sign", "input"), ("two", "critical_length_sign", "input")], title="t")),
    "stiffness_against_distance": (curves, ["mean", "low", "high"], lambda rows: charts.stiffness_against_distance(
        rows, sizes(["dataset", "space"]), title="t")),
    "domain_sizes_against_scale": (sizes_by_degree, "size", lambda rows: charts.domain_sizes_against_scale(
        rows, title="t")),
    "stiffness_against_angle": (curves_by_angle, "value", lambda rows: charts.stiffness_against_angle(
        rows, pd.DataFrame({"degree": 1, "distance": [0.1, 0.2], "value": [0.9, 0.8]}), title="t")),
    "labelled_evolution": (lambda: agreement().assign(labels="one"), "value", lambda rows: charts.labelled_evolution(
        rows, "a number", title="t", reference=(1, "all"))),
    "within_passes": (between_in_orders, "value", lambda rows: charts.within_passes(
        rows, 20, "stiffness", title="t", bounds=(-1, 1))),
    "class_accuracies": (class_accuracies, "value", lambda rows: charts.class_accuracies(
        rows, 20, [*"abcd"], title="t")),
    "gap_scatter": (lambda: trained_networks(norm=lambda row: float(row["width"])), "jacobian_norm",
                    lambda rows: charts.gap_scatter(rows, {"within_class_sign": "stiffness"}, title="t")),
    "factor_pairs": (pairs_of_networks, ["jacobian_norm_one", "gap_one", "transitions_one"],
                     lambda rows: charts.factor_pairs({"labels": rows}, {"labels": ("one", "other")}, title="t")),
    "size_curves": (width_rows, ["mean", "low", "high"], lambda rows: charts.size_curves(rows, title="t")),
    "estimates": (area_rows, ["mean", "low", "high"], lambda rows: charts.estimates(rows, "an area", title="t")),
    "along_ellipses": (along_ellipses, ["low", "middle", "high"], lambda rows: charts.along_ellipses(
        rows, "norm", title="t")),
    "round_an_ellipse": (explored, ["norm", "before"], explorer),
    "regions_by_distance": (region_changes, "value", lambda rows: charts.regions_by_distance(rows, title="t")),
    "factor_points": (factors, ["mean", "low", "high"], lambda rows: charts.factor_points(
        rows, title="t", what="w")),
    "errors_by_decile": (decile_rows, ["mean", "low", "high"], lambda rows: charts.errors_by_decile(rows, title="t")),
}
each_chart = pytest.mark.parametrize("name", CHARTS)
UNKNOWN_IS_ITS_OWN = {"domain_sizes_against_rate"}  # where an infinite size is a finding, drawn as a triangle


def drawn(chart):
    """The chart's texts, marks and description; NaN must be nowhere in its picture."""
    bundle = look.render(chart.to_dict())
    svg = bundle["image/svg+xml"]
    ElementTree.fromstring(svg)
    assert "NaN" not in svg and "Infinity" not in svg
    assert "nan" not in bundle["text/plain"] and "inf " not in bundle["text/plain"]
    return re.findall(r"<(?:text|tspan)[^>]*>([^<]+)<", svg), svg.count("<path"), bundle["text/plain"]


def test_every_public_chart_is_here():
    others = {"matrix_orders", "moving_matrix", "two_gradients", "in_words", "region_pictures"}  # which draw no table
    others |= {"matrices_beside", "arithmetic_evolution"}  # in test_pictures.py and test_rounding.py
    others |= {"trend_grid", "trend_switch"}  # of trends that are computed from the rows, in test_contradiction.py
    assert {name.partition(",")[0] for name in CHARTS} | others == set(charts.__all__)


@each_chart
def test_an_empty_table_says_no_data(name):
    rows, _, draw = CHARTS[name]
    for empty in (rows().iloc[:0], pd.DataFrame()):
        texts, _, told = drawn(draw(empty))
        assert "no data" in texts and told.endswith("no data.")


@each_chart
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_nothing_finite_says_no_data(name, value):
    rows, column, draw = CHARTS[name]
    if name in UNKNOWN_IS_ITS_OWN and value > 0:
        texts, _, told = drawn(draw(rows().assign(median=value, largest=value)))
        assert "never falls to zero" in texts and "from none to none" in told
        return
    changed = rows()
    changed[column] = value
    texts, _, told = drawn(draw(changed))
    assert "no data" in texts and "no data." in told
    if np.isinf(value) and name not in UNKNOWN_IS_ITS_OWN:
        assert "Not drawn: " in told and any("infinite" in text for text in texts)


@each_chart
@pytest.mark.parametrize("value", [0.0, 0.37, 1.0, 3.5, 1e-9, 1e-45, 3e38])
def test_numbers_all_alike(name, value):
    rows, column, draw = CHARTS[name]
    changed = rows()
    changed[column] = value
    texts, marks, _ = drawn(draw(changed))
    if value > 0:
        assert (marks > 3 and "no data" not in texts) or name == "domain_sizes_against_rate"


@each_chart
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 0.0, -1.0])
def test_some_numbers_that_are_odd(name, value):
    rows, column, draw = CHARTS[name]
    changed = rows()
    changed.loc[changed.index % 3 == 0, column] = value
    _, marks, _ = drawn(draw(changed))
    assert marks > 3


@each_chart
def test_a_single_run(name):
    rows, column, draw = CHARTS[name]
    few = rows()
    if "seed" in few:
        few = few[few["seed"] == few["seed"].iloc[0]]
    elif isinstance(column, str):
        few = few.assign(low=np.nan, high=np.nan, seeds=1)
    texts, marks, _ = drawn(draw(few))
    assert marks > 3 and "no data" not in texts[:1]


@each_chart
@pytest.mark.parametrize("column", ["step", "learning_rate", "probe_images", "distance", "target_loss"])
def test_a_single_stage_or_place(name, column):
    rows, _, draw = CHARTS[name]
    few = rows()
    if column not in few:
        pytest.skip(f"has no {column}")
    _, marks, _ = drawn(draw(few[few[column] == few[column].dropna().iloc[-1]]))
    assert marks > 3


def test_the_interval_of_a_single_stage_is_visible():
    chart = charts.stiffness_evolution(run()[lambda rows: rows["step"] == 10], title="t")
    assert '<g class="mark-rule' in look.picture(chart.to_dict())


def test_unknown_cells_are_grey_and_told():
    unknown = matrices()
    for chart in (charts.matrix_slider, lambda *rows, **words: charts.matrix_panels(*rows, [0], "sign", **words)):
        assert look.GREY not in look.picture(chart(unknown, title="t", of="a network").to_dict())
    unknown.loc[unknown["class_a"] == "a", "mean"] = np.nan
    for changed in (unknown, unknown[unknown["class_a"] != "a"]):
        chart = charts.matrix_slider(changed, title="t", of="a network")
        assert look.GREY in look.picture(chart.to_dict()) and chart.description.endswith("Grey cells are unknown.")


@pytest.mark.parametrize("change, grey, words", [
    (lambda C: C, False, None), (lambda C: C * 0 + 0.5, False, None),
    (lambda C: np.where(C > 0.5, np.nan, C), True, None),
    (lambda C: np.where(C > 0.5, np.inf, C), True, None), (lambda C: C * np.nan, None, "no data")])
def test_orders_of_odd_matrices(change, grey, words):
    found, arrangements = blocks.arrangements(super_class_table(lambda _: 0.8), TWELVE, *super_classes())
    found = [(step, kind, change(C)) for step, kind, C in found]
    chart = charts.matrix_orders(found, arrangements, TWELVE, super_classes()[0], step=0, title="t", description="d")
    texts, _, told = drawn(chart)
    assert ("no data" in texts) == (words == "no data")
    if grey is not None:
        assert (look.GREY in look.picture(chart.to_dict())) == grey == ("Grey cells are unknown." in told)


def test_orders_of_no_matrix_and_of_a_stage_that_was_not_measured():
    found, arrangements = blocks.arrangements(super_class_table(lambda _: 0.8), TWELVE, *super_classes())
    empty = charts.matrix_orders([], {}, [], [], step=0, title="t", description="d")
    assert "no data" in drawn(empty)[0]
    with pytest.raises(ValueError, match=r"no stage was measured at steps \[7\]; measured were 0, 10, 100, 1000"):
        charts.matrix_orders(found, arrangements, TWELVE, super_classes()[0], step=7, title="t", description="d")


# runs that diverged

def with_diverged(rows, steps):
    """The rows with a row `diverged` for each seed of `steps`, whose later stages are gone."""
    last = rows["seed"].map(steps).fillna(np.inf)
    ended = pd.DataFrame([{"step": step, "seed": seed, "quantity": "diverged", "value": step}
                          for seed, step in steps.items()])
    return pd.concat([rows[rows["step"] < last], ended], ignore_index=True)


@pytest.mark.parametrize("draw", [charts.stiffness_evolution, charts.loss_evolution])
def test_diverged_runs_are_marked_and_told(draw):
    texts, _, told = drawn(draw(with_diverged(run(), {0: 7, 3: 50}), title="t"))
    assert {"1 of 5 runs diverged", "2 of 5 runs diverged"} <= set(texts)
    assert "Runs diverged: 1 of 5 by step 7, 2 of 5 by step 50; means and intervals are over the runs" in told
    assert not any("diverged" in text for text in drawn(draw(run(), title="t"))[0])


def test_intervals_are_of_the_runs_that_are_left():
    rows = with_diverged(run(), {0: 7, 3: 50})
    shown = charts.stiffness_evolution(rows, title="t").to_dict()
    data = next(data for data in shown["datasets"].values() if len(data) > 1)
    seeds = {row["step"]: row["seeds"] for row in data}
    assert seeds == {0: 5, 10: 4, 100: 3}


def test_derived_curves_mark_diverged_runs_too():
    ended = pd.DataFrame({"step": [5, 0], "seed": [0, 1], "quantity": ["diverged", "within_class_sign"], "value": 0.0})
    for draw, rows in ((charts.block_evolution, block_differences()), (charts.agreement_evolution, agreement())):
        texts, _, told = drawn(draw(rows, title="t", table=ended))
        assert "1 of 2 runs diverged" in texts and "1 of 2 by step 5" in told


def test_all_runs_diverged_before_anything_was_measured():
    ended = pd.DataFrame({"step": [1, 1], "seed": [0, 1], "quantity": "diverged", "value": 1.0})
    for draw in (charts.stiffness_evolution, charts.loss_evolution):
        texts, _, told = drawn(draw(ended, title="t"))
        assert "no data" in texts and "Runs diverged: 2 of 2 by step 1" in told


# text from results must not become script

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>"


def hostile_charts():
    rows = summaries.mean_matrices(run()[lambda rows: rows["quantity"].str.startswith("class_")],
                                    [HOSTILE, *"bcd"])
    yield charts.matrix_slider(rows, title=HOSTILE, of=HOSTILE)
    yield charts.matrix_panels(rows, [0], "sign", title=HOSTILE, of=HOSTILE)
    rows = compared().replace({"network": {"cnn-1": HOSTILE}})
    yield charts.network_stiffness_points(rows, [HOSTILE, *NAMES[1:]], "within_class", title=HOSTILE)
    yield charts.stiffness_against_rate(rates().replace({"dataset": {"a": HOSTILE}}), stops().replace(
        {"dataset": {"a": HOSTILE}}), title=HOSTILE)
    found, arrangements = blocks.arrangements(super_class_table(lambda _: 0.8), [HOSTILE, *TWELVE[1:]],
                                              [HOSTILE, HOSTILE, *super_classes()[0][2:]], [HOSTILE])
    yield charts.matrix_orders(found, arrangements, [HOSTILE, *TWELVE[1:]], [HOSTILE, HOSTILE, *super_classes()[0][2:]],
                               step=0, title=HOSTILE, description=HOSTILE)


class Elements(HTMLParser):
    """The elements of a page, and the texts outside of its scripts."""

    def __init__(self, text):
        super().__init__()
        self.tags = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)


def test_text_from_a_result_adds_no_element():
    plain = charts.matrix_slider(matrices(), title="t", of="a network")
    expected = [tag for tag in Elements(look.render(plain.to_dict())["text/html"]).tags]
    for chart in hostile_charts():
        bundle = look.render(chart.to_dict())
        tags = Elements(bundle["text/html"]).tags
        assert [tag for tag in tags if tag != "script"] == [tag for tag in expected if tag != "script"]
        assert tags.count("script") - ("ResizeObserver" in bundle["text/html"]) == expected.count("script")
        elements = ElementTree.fromstring(bundle["image/svg+xml"]).iter()
        pictured = {element.tag.rpartition("}")[2] for element in elements}
        assert not pictured & {"script", "img", "image", "foreignObject"}


def test_text_from_a_result_adds_no_element_to_the_moving_matrix():
    rows = summaries.mean_matrices(run()[lambda rows: rows["quantity"].str.startswith("class_")], [HOSTILE, *"bcd"])
    plain, hostile = (Elements(charts.moving_matrix(part, of=of)).tags for part, of in (
        (matrices(), "a network"), (rows, HOSTILE)))
    assert plain == hostile


def test_the_moving_matrix_shows_every_stage_in_the_colours_of_the_other_charts():
    rows = matrices()
    shown = charts.moving_matrix(rows, of="a network")
    data = json.loads(re.search(r'(\{"colours".*?\]\]\})', shown)[1])
    steps = sorted(set(rows["step"]))
    assert len(data["colours"]) == len(data["captions"]) == len(steps)
    for step, colours in zip(steps, data["colours"]):
        signs = rows[(rows["step"] == step) & (rows["kind"] == "sign")].sort_values(["class_a", "class_b"])["mean"]
        for k, mean in enumerate(signs):
            red, blue = (int(colours[6 * k + at : 6 * k + at + 2], 16) for at in (0, 4))
            assert np.sign(blue - red) == np.sign(round(mean, 6))  # blue is positive, red is negative
    assert shown.count('class="cell"') == 16 and "of a network. At initialisation" in shown


def test_text_from_a_result_opens_no_dialog(browser, tmp_path):
    bundle = vl_convert.javascript_bundle(vl_version=".".join(look.VEGALITE_VERSION.split(".")[:2]))
    versions = {"vega_version": look.VEGA_VERSION, "vegalite_version": look.VEGALITE_VERSION,
                "vegaembed_version": look.VEGAEMBED_VERSION}
    parts = [look.render(chart.to_dict()) for chart in hostile_charts()]
    shown = "".join(part["text/html"] + part["image/svg+xml"] for part in parts)
    (tmp_path / "page.html").write_text(f"<meta charset=utf-8><script>var VEGA_DEBUG = {versions};\n(function () {{"
                                        f"{bundle}}})();</script>{shown}", encoding="utf-8")
    page, dialogs, errors = browser.new_page(), [], []
    page.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.goto((tmp_path / "page.html").as_uri())
    page.wait_for_function("[...document.querySelectorAll('div[id^=\"altair-viz-\"]')].every("
                           "box => box.classList.contains('vega-embed'))")
    for box in page.locator('div[id^="altair-viz-"]').all():  # tooltips hold class names
        canvas, tooltip = box.locator("canvas"), page.locator("#vg-tooltip-element")
        if canvas.count():  # along the matrix's diagonal, as one class has the name
            for place in range(40, 320, 20):
                canvas.hover(position={"x": place, "y": place + 30}, force=True)
                page.wait_for_timeout(100)
                if HOSTILE in tooltip.inner_text():
                    break
        else:
            box.locator("svg .mark-rect path, svg .mark-symbol path").first.hover(force=True)
            page.wait_for_timeout(100)
    assert HOSTILE in tooltip.inner_text()
    assert not dialogs and not errors
    page.close()


def test_drawing_imports_no_tensorflow():
    code = ("import sys; from stiffness_book import charts; from stiffness_book.charts import look;"
            "look.enable(); look.render(charts.two_gradients().to_dict());"
            "print([name for name in ('tensorflow', 'keras', 'jax', 'torch') if name in sys.modules])")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
