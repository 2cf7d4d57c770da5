"""The charts: their axes, their descriptions, and what they show where the numbers are unusual."""

import base64
import json
import re
import struct
import zlib

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
    matrix,
    networks,
    probes,
    residual,
    spaces,
    super_class_table,
    super_classes,
    sweep,
    table,
)

from stiffness_book import blocks, charts, published, summaries
from stiffness_book.charts import look, parts
from stiffness_book.sensitivity import near_data
from stiffness_book.sensitivity.input_space import PATHS, ellipse


def labelled(numbers, scale):
    """The labelled numbers of an axis, on a phone and elsewhere."""
    axis = parts.labelled_axis(numbers, scale).to_dict()
    assert axis["tickCount"] == len(axis["values"])  # or Vega would leave some out
    return [json.loads(chosen) for chosen in re.findall(r"\[[^]]*\]", axis["labelExpr"])]


def symlog(step):
    return np.log1p(step / 10)


def test_the_last_stage_and_powers_of_ten_are_labelled():
    steps = [0, 10, 30, 60, 100, 200, 300, 600, 1000, 2000, 3000, 6000, 10000, 20000]
    phone, page = labelled(steps, symlog)
    assert phone == [0, 10, 30, 100, 300, 1000, 20000]
    assert set(phone) < set(page) and 3000 in page


@pytest.mark.parametrize("numbers, scale", [([0], symlog), ([0, 10], symlog), ([50, 500, 3000], np.log)])
def test_few_numbers_are_all_labelled(numbers, scale):
    assert labelled(numbers[::-1], scale) == [numbers, numbers]


@pytest.mark.parametrize("values, ticks", [
    ([0.11, 2.4], [0.1, 0.2, 0.5, 1, 2]),
    ([0.004, 7, np.nan], [0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5]),
    ([0.001, 30], [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30]),
    ([2e-7, 2.4], [1e-6, 1e-5, 1e-4, 1e-3, 0.01, 0.1, 1]),
    ([2e-12, 2.4], [1e-12, 1e-10, 1e-8, 1e-6, 1e-4, 0.01, 1]),
    ([1, 1], [1]),
])
def test_logarithmic_axes_close_around_the_values(values, ticks):
    scale, chosen = parts.logarithmic(values)
    assert sorted(chosen) == pytest.approx(ticks)
    low, high = scale.domain
    assert low < np.nanmin(values) and np.nanmax(values) < high
    assert high / low < 10 * np.nanmax(values) / np.nanmin(values)


def test_charts_of_class_matrices():
    matrices = summaries.mean_matrices(table(lambda step, _: matrix(0.5, -step / 200)), list("abcd"))
    assert charts.in_words(matrices, [0, 100], ["sign"]) == (
        "At initialisation the mean stiffness is: sign 0.50 within classes and 0.00 between them. "
        "After 100 steps the mean stiffness is: sign 0.50 within classes and -0.50 between them.")
    for chart in (charts.matrix_panels(matrices, [0, 100], "sign", title="t", of="a network"),
                  charts.matrix_slider(matrices, title="t", of="a network")):
        assert {"text/html", "image/svg+xml", "text/plain"} == look.render(chart.to_dict()).keys()


def test_a_stage_that_was_not_measured_is_named():
    matrices = summaries.mean_matrices(table(lambda *_: matrix(1, 0)), list("abcd"))
    with pytest.raises(ValueError, match=r"no stage was measured at steps \[7\]; measured were 0, 10, 100"):
        charts.matrix_panels(matrices, [0, 7], "sign", title="t", of="a network")


def test_curves_are_described_by_their_ends():
    chart = charts.stiffness_evolution(table(lambda step, _: matrix(0.5, -step / 200)), title="t")
    assert "Between classes, sign: from 0.00 to -0.50." in chart.description
    losses = pd.concat([pd.DataFrame({"step": [0, 10], "seed": seed, "quantity": name, "value": [2.0, 0.5]})
                        for seed in range(2) for name in ("train_loss", "validation_loss")])
    for chart in (charts.loss_evolution(losses, title="t"), charts.loss_evolution(losses, title="t", guessing=2.3)):
        assert "Validation: from 2.00 to 0.500." in look.render(chart.to_dict())["text/plain"]


def test_a_transformer_without_its_head_is_drawn_beside_the_whole():
    whole = table(lambda step, _: matrix(0.5, -step / 200))
    body = whole.assign(quantity=whole["quantity"] + "_body", value=whole["value"] / 2)
    chart = charts.body_evolution(pd.concat([whole, body]), "sign", title="t", mark=(10, "onset"))
    assert "All parameters, between classes: from 0.00 to -0.50." in chart.description
    assert "Without the head, between classes: from 0.00 to -0.25." in look.render(chart.to_dict())["text/plain"]


def test_a_chart_without_alternative_text_is_refused():
    matrices = summaries.mean_matrices(table(lambda *_: matrix(1, 0)), list("abcd"))
    chart = charts.matrix_slider(matrices, title="the title", of="a network").properties(description=" ")
    with pytest.raises(ValueError, match="'the title' has no alternative text"):
        look.render(chart.to_dict())


def test_charts_of_a_sweep():
    made = sweep(growth({"a": 0.1, "b": 0.2}))
    made = pd.concat([made, made.assign(quantity="between_classes_cosine"),
                      made.assign(quantity="train_loss", value=made["target_loss"])])
    chart = charts.stiffness_against_rate(made, summaries.stops(made, {"a": LOSSES, "b": LOSSES}), title="t")
    assert "b, loss 0.1: from -0.80 at rate 0.0001 to -0.40 at 0.01." in look.render(chart.to_dict())["text/plain"]
    runs = spaces(lambda _, distance: 0.6 - 10 * distance, lambda _, rate: 30 * rate if rate < 5e-3 else np.nan,
                  rates=RATES)
    sizes = summaries.domain_sizes(runs)
    by = ["dataset", "target_loss", "learning_rate", "space", "quantity"]
    chart = charts.domain_sizes_against_rate(
        summaries.medians(sizes, by), [("one", "stiff_domain_size_sign", "input"),
                                       ("two", "critical_length_sign", "layer 1")], title="t")
    assert "a, two, loss 0.1: from 0.00 to none." in look.render(chart.to_dict())["text/plain"]
    runs = runs[runs["learning_rate"] == RATES[-1]]
    marks = summaries.medians(summaries.domain_sizes(runs).query("quantity == 'stiff_domain_size_sign'"),
                              ["dataset", "space"])
    chart = charts.stiffness_against_distance(summaries.distance_curves(runs, ["dataset"]), marks, title="t")
    told = look.render(chart.to_dict())["text/plain"]
    assert "a, input: 0.36 among the nearest pairs, no zero, -0.14 among the farthest." in told


def test_a_marked_step_is_told():
    chart = charts.stiffness_evolution(table(lambda *_: matrix(1, 0)), title="t", mark=(10, "the onset"))
    assert "A vertical line after 10 steps: the onset." in look.render(chart.to_dict())["text/plain"]


def test_charts_of_networks():
    made = networks(by_kind(0.9, 0.5), by_kind(0.4, 0.1))
    start = made[made["target_loss"] == 0.3].assign(step=0, target_loss=np.nan, value=0.0)
    names = ["cnn-1", "cnn-2", "fc-1", "fc-2"]
    chart = charts.network_stiffness_points(pd.concat([start, made]), names, "within_class", title="t")
    assert "cnn-1: 0.00 at start, 0.90 at loss 0.3, 0.90 at loss 0.1." in chart.description
    differences = summaries.network_differences(made[(made["network"] != "fc-2") | (made["target_loss"] > 0.1)], PAIRS)
    other = charts.network_difference_points(differences, names, title="t")
    assert "cnn-1 minus fc-1, between classes, loss 0.1: 0.30." in other.description
    assert "cnn-2 minus fc-2, between classes, loss 0.1" not in other.description
    for drawn in (chart, other):
        assert look.render(drawn.to_dict())["image/svg+xml"].startswith("<svg")


def test_differences_from_several_networks():
    made = networks(by_kind(0.9, 0.5), by_kind(0.4, 0.1))
    differences = summaries.network_differences(made, [("cnn-1", "fc-1"), ("cnn-1", "fc-2")])
    chart = charts.network_difference_points(differences, ["cnn-1", "fc-1", "fc-2"], title="t", by="other").to_dict()
    drawn = look.render(chart)["image/svg+xml"]
    assert "fc-2" in drawn and "cnn-1" not in drawn  # the legend tells apart what differs, in the colours of the page
    assert json.dumps(chart).count('"domain": ["cnn-1", "fc-1", "fc-2"]') == 2


def test_stiff_domains_by_depth():
    made = residual(0.8, (-0.5, 0.1))
    lost = made["space"].eq("layer 4") & made["network"].eq("fc-1") & made["quantity"].eq("stiff_domain_size_sign")
    made.loc[lost, "value"] = np.nan
    tables = {"a": made, "b": made[made["target_loss"].isna()]}
    sizes = summaries.domains_at_lowest_loss(tables)
    chart = charts.domains_by_depth(sizes, ["resnet-20", "fc-1"], title="t")
    told = look.render(chart.to_dict())["text/plain"]
    assert "a, resnet-20: from 0.40 to 0.10. a, fc-1: from 0.40 to 0.20." in told
    assert "Not drawn: 1 infinite value." in told


def test_pictures_of_large_heat_maps_are_small_and_the_same():
    names = [f"class {i}" for i in range(40)]
    C = np.random.default_rng(0).normal(size=(40, 40))
    C = (C + C.T) / 8
    arrangements = {"super-class": (list(range(40)), [{"start": 0, "end": 40, "label": "all", "thick": True}])}
    chart = charts.matrix_orders([(0, "sign", C)], arrangements, names, names, step=0, title="t",
                                 description="d").to_dict()
    picture = look.picture(chart)
    plain = look.vl_convert.vegalite_to_svg(chart, vl_version="6.4")
    assert len(picture) < len(plain) / 3
    assert picture.count("h7v7h-7Z") == plain.count("h7v7h-7Z") > 1000


def test_both_precisions_are_described():
    both = both_precisions()
    chart = charts.precision_evolution(both, title="t")
    assert "Within class, exact: from 1.00 to 0.90." in chart.description
    assert "Between classes, loss in single precision: from 1.00 to 0.20." in chart.description


def test_the_curve_of_errors_is_described():
    errors = summaries.probe_errors(probes(lambda *_: 0.01))
    errors.loc[errors["summary"] == "within_class", "value"] = 0.0
    chart = charts.probe_error_curves(errors.assign(data="a"), (0.05, "small"), title="t")
    assert "a, within classes: 0.000 for 50, 0.000 for 500." in chart.description
    assert "a, between classes: 0.062 for 50, 0.020 for 500." in chart.description
    assert look.render(chart.to_dict())["image/svg+xml"].startswith("<svg")


def test_the_orders_of_a_matrix():
    names = [f"class {i}" for i in range(12)]
    matrices, arrangements = blocks.arrangements(super_class_table(lambda _: 0.8), names, *super_classes())
    matrices[0][2][3, 2] = np.nan
    chart = charts.matrix_orders(matrices, arrangements, names, super_classes()[0], step=0, title="t",
                                 description="d").to_dict()
    values = next(param["value"] for param in chart["params"] if param["name"] == "values")
    assert values["sign 0"][3][2] is None and values["cosine 3"][1] == [
        round(100 * matrices[7][2][1, 0]), round(100 * matrices[7][2][1, 1])]
    assert look.render(chart)["image/svg+xml"].startswith("<svg")


def test_charts_along_ellipses_are_described():
    made = around_data(dips(2))
    for measure in ("norm", "logit_norm", "transitions"):
        paper = published.ellipse_levels() if measure != "logit_norm" else None
        chart = charts.along_ellipses(near_data.bands(made, measure), measure, title=["t", "a"], paper=paper)
        told = look.render(chart.to_dict())["text/plain"]
        if measure != "transitions":  # those are averaged over 15 degrees
            assert "Different classes, after training: 1 at the points, 100 between them." in told
            assert "One class, before training: 100 at the points, 100 between them." in told
        assert ("about the levels in the paper" in told) == (paper is not None)
        assert "bands: 80 % of the ellipses" in told
    zeros = near_data.bands(made.assign(value=0.0), "norm")
    assert "no data" in charts.along_ellipses(zeros, "norm", title="t").description


def test_the_bands_of_transitions_are_averaged_and_their_level_kept():
    made = around_data(dips(0), spread=0)
    rows = made["quantity"].eq("transitions") & made["angle"].eq(100)
    made.loc[rows, "value"] = 400.0
    found = near_data.bands(made, "transitions").query("moment == 'after training' and path == 'one class'")
    assert found.set_index("angle")["middle"][[90, 95, 100, 105, 110]].tolist() == [100, 200, 200, 200, 100]
    assert found["middle"].mean() == pytest.approx(100 + 300 / 72)


def explorer():
    made = around_data(dips(2), seeds=1)
    points = {path: near_data.first_ellipse(made, path, 0) for path in PATHS}
    rows = made[(made["quantity"] == "norm") & (made["triple"] == 0)]
    curves = pd.concat([rows[rows["step"] > 0].rename(columns={"value": "norm"}).assign(before=100.0)])
    return points, charts.round_an_ellipse(points, curves, dict.fromkeys(PATHS, "a, b, c"), title="t")


def test_the_input_at_the_cursor_is_that_of_the_ellipse():
    """The picture is computed by Vega; the cells of the chart are compared with the plain formula."""
    points, chart = explorer()
    told = look.render(chart.to_dict())["text/plain"]
    assert "Different classes (a, b, c): from 1 to 1e+02 along the ellipse, 1 at the points." in told
    for angle in (60, 180, 250):
        spec = chart.to_dict()
        for param in spec["params"]:
            if param["name"] == "at":
                param["value"] = [{"angle": angle}]
        vega = vl_convert.vegalite_to_vega(spec, vl_version="6.4")
        formula = next(transform["expr"] for data in vega["data"] for transform in data.get("transform", [])
                       if transform.get("as") == "value")
        expected = ellipse(points["different classes"], [angle])[0].ravel()
        one, two, three = points["different classes"].reshape(3, -1)
        python = re.sub(r"\(isValid\(at_angle\) \? at_angle : [\d.]+\)", str(angle), formula)
        names = {"cos": np.cos, "sin": np.sin, "sqrt": np.sqrt, "PI": np.pi,
                 "one": one, "two": two, "three": three}
        assert eval(re.sub(r"datum\.(\w+)", r"\1", python), names) == pytest.approx(expected)


def test_factors_of_networks_are_described():
    rows = pd.DataFrame({"network": ["a", "a", "b"], "measure": ["norm", "transitions", "norm"],
                         "mean": [-2.0, np.log10(0.5), np.nan], "low": [-3, -0.5, np.nan], "high": [-1, -0.1, np.nan]})
    chart = charts.factor_points(rows, title="t", what="the level here over that there")
    told = look.render(chart.to_dict())["text/plain"]
    assert "a, norm: ×0.01. a, transitions: ×0.50." in told and "b, norm" not in told
    assert "no data" in charts.factor_points(rows.assign(mean=np.nan), title="t", what="w").description


def test_pictures_of_regions_are_read_back():
    shades, classes = np.array([[0, 1, 2], [3, 4, 5]]), np.array([[0, 0, 1], [0, 0, 1]])
    address = charts.regions.picture_of(shades, classes)
    pixels = decoded(address)
    assert pixels.shape == (2, 3, 3)
    assert (pixels[:, 2] == 0).all()  # where the class changes
    first = [int(charts.regions.CLASSES[0][k : k + 2], 16) for k in (0, 2, 4)]
    assert pixels[1, 0].tolist() == first  # row 0 is at the bottom, and shade 0 is the colour itself
    assert (pixels[0, 0] > pixels[1, 0]).all() and (pixels[0, 1] > pixels[0, 0]).all()  # lighter shades
    corners = np.array([[1.0, 0], [-0.5, 0.8], [-0.5, -0.8]])
    chart = charts.region_pictures({"before training": (shades, classes), "after training": (shades, classes)},
                                   corners, ["2", "7", "0"], title="t")
    drawn = look.render(chart.to_dict())
    assert "example 2 is of class 7" in drawn["text/plain"] and address in drawn["image/svg+xml"]
    assert "no data" in charts.region_pictures({}, corners, [], title="t").description


def decoded(address):
    """The pixels (height, width, 3) of a PNG with a palette, as a data address."""
    content = base64.b64decode(address.partition(",")[2])
    chunks, at = {}, 8
    while at < len(content):
        length, = struct.unpack(">I", content[at : at + 4])
        kind, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        assert zlib.crc32(kind + body) == struct.unpack(">I", content[at + 8 + length : at + 12 + length])[0]
        chunks[kind], at = body, at + 12 + length
    width, height = struct.unpack(">II", chunks[b"IHDR"][:8])
    lines = np.frombuffer(zlib.decompress(chunks[b"IDAT"]), np.uint8).reshape(height, width + 1)
    return np.frombuffer(chunks[b"PLTE"], np.uint8).reshape(-1, 3)[lines[:, 1:]].astype(int)


def test_regions_by_distance_are_described():
    chart = charts.regions_by_distance(near_data.around(around_data(dips(1), spread=0)), title="t")
    told = look.render(chart.to_dict())["text/plain"]
    assert "Random points, after training: 100 nearest to the points, 100 farthest." in told
    assert re.search(r"Different classes, after training: 10\.\d nearest to the points, 100 farthest\.", told)
    empty = near_data.around(around_data(dips(1), seeds=1)).iloc[:0]
    assert "no data" in charts.regions_by_distance(empty, title="t").description
