"""The axes of the charts: what is labelled where there is not room for everything."""

import json
import re

import numpy as np
import pytest

from stiffness_book import charts


def labelled(numbers, scale):
    """The labelled numbers of an axis, on a phone and elsewhere."""
    axis = charts._labelled_axis(numbers, scale).to_dict()
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
    scale, chosen = charts._logarithmic(values)
    assert sorted(chosen) == pytest.approx(ticks)
    low, high = scale.domain
    assert low < np.nanmin(values) and np.nanmax(values) < high
    assert high / low < 10 * np.nanmax(values) / np.nanmin(values)
