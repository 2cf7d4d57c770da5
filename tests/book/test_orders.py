"""The orders of the training examples: groups one after another, fresh within each, and every pass another one."""

import itertools

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold

from stiffness_book import data, orders
from stiffness_book.experiment import ORDERS


@pytest.fixture(scope="module")
def digits():
    split = data.standardise(data.load("digits")).train
    return split.take(data.balanced_indices(split.labels, 400, 0))


def test_easiness_is_the_logarithm_of_the_probability_of_the_label(digits):
    inputs = digits.inputs.reshape(400, -1).astype(float)
    expected = np.empty(400)
    for fitted, left_out in StratifiedKFold(5).split(inputs, digits.labels):
        reduced = PCA(50, whiten=True, svd_solver="covariance_eigh").fit(inputs[fitted])
        model = LogisticRegression(max_iter=1000).fit(reduced.transform(inputs[fitted]), digits.labels[fitted])
        p = model.predict_proba(reduced.transform(inputs[left_out]))
        expected[left_out] = np.log(p[np.arange(len(left_out)), digits.labels[left_out]])
    np.testing.assert_allclose(orders.easiness(digits), expected, rtol=1e-6)
    with pytest.raises(ValueError, match=r"class 3 has 1 training examples; .* needs 5 or more"):
        orders.easiness(digits.take(np.append(np.flatnonzero(digits.labels != 3),
                                              np.flatnonzero(digits.labels == 3)[:1])))


def test_groups(digits):
    found = orders.groups(digits, ORDERS)
    assert list(found) == list(ORDERS) and found["shuffled"] is None
    assert list(orders.groups(digits, ["by class"])) == ["by class"]
    np.testing.assert_array_equal(found["by class"], digits.labels)
    easy, hard = found["easy first"], found["hard first"]
    assert np.bincount(easy).tolist() == [40] * 10
    np.testing.assert_array_equal(easy + hard, 9)
    easiness = orders.easiness(digits)
    for tenth in range(9):
        assert easiness[easy == tenth].min() >= easiness[easy == tenth + 1].max()


def test_each_pass_has_its_groups_in_order_and_a_fresh_order_within_them():
    groups = np.repeat([2, 0, 1], 40)
    first, second = itertools.islice(orders.passes(120, 10, 7, groups=groups), 2)
    for one in (first, second):
        assert sorted(one.ravel()) == list(range(120)) and (np.diff(groups[one.ravel()]) >= 0).all()
    assert (first != second).mean() > 0.8
    np.testing.assert_array_equal(first, next(orders.passes(120, 10, 7, groups=groups)))
    assert (first != next(orders.passes(120, 10, 8, groups=groups))).any()


@pytest.mark.parametrize("groups", [None, np.arange(100) % 3])
def test_passes_can_begin_anywhere(groups):
    whole = np.concatenate(list(itertools.islice(orders.passes(100, 8, 0, groups=groups), 3)))
    for start in (0, 5, 12, 20):
        found = np.concatenate(list(itertools.islice(orders.passes(100, 8, 0, start, groups), 4)))
        np.testing.assert_array_equal(found[: len(whole) - start], whole[start:])
    np.testing.assert_array_equal(orders.coming(100, 8, 0, 9, groups), whole[9:17])


def test_a_batch_that_is_never_full_is_refused():
    with pytest.raises(ValueError, match="batch_size is 8; expected at most the 7 training examples"):
        next(orders.passes(7, 8, 0))


def test_neighbours_are_pairs_of_batches_that_follow_each_other():
    batches = np.array([[3, 1], [4, 0], [0, 2]])  # two passes meet between the last two
    found = np.argwhere(orders.neighbours(batches))
    assert found.tolist() == [[0, 2], [0, 3], [1, 2], [1, 3], [2, 4], [2, 5], [3, 5]]
