"""Each measure against values computed by hand and against its definition written as loops."""

from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stiffness import (
    between_classes,
    class_stiffness,
    critical_length,
    measures,
    stiffness_vs_distance,
    within_class,
    zero_crossing,
)
from stiffness.measures import jackknife_errors

S = np.array([[1, 1, -1], [1, 1, 0], [-1, 0, 1]])


def class_stiffness_by_loops(s, labels, labels2=None, num_classes=None):
    columns = labels if labels2 is None else labels2
    num_classes = num_classes or max(*labels, *columns) + 1
    C = np.full((num_classes, num_classes), np.nan)
    for a, b in np.ndindex(*C.shape):
        pairs = [s[i, j] for i, j in np.ndindex(*s.shape)
                 if labels[i] == a and columns[j] == b and (labels2 is not None or i != j) and not np.isnan(s[i, j])]
        if pairs:
            C[a, b] = np.mean(pairs)
    return C


@pytest.mark.equation("class-stiffness")
def test_class_stiffness_by_hand():
    # classes 0, 0, 1: the two pairs of class 0 are both S[0, 1]; class 1 has one member, so no pair
    np.testing.assert_array_equal(class_stiffness(S, [0, 0, 1]), [[1, -0.5], [-0.5, np.nan]])


@pytest.mark.equation("within")
@pytest.mark.equation("between")
def test_within_and_between_classes_by_hand():
    C = np.array([[0.8, 0.1, 0.3], [0.1, 0.6, np.nan], [0.3, np.nan, np.nan]])
    assert within_class(C) == pytest.approx(0.7)
    assert between_classes(C) == pytest.approx(0.2)


@pytest.mark.equation("class-stiffness")
@given(seed=st.integers(0, 10_000), own=st.booleans(), at_once=st.integers(1, 9))
@settings(max_examples=60, deadline=None)
def test_class_stiffness_against_its_definition(seed, own, at_once):
    rng = np.random.default_rng(seed)
    n, m = rng.integers(1, 9, 2)
    labels, labels2 = rng.integers(0, 4, n), None if own else rng.integers(0, 4, m)
    s = rng.uniform(-1, 1, (n, n if own else m))
    s[rng.random(s.shape) < 0.1] = np.nan
    with patch.object(measures, "ROWS_AT_ONCE", at_once):
        found = class_stiffness(s, labels, labels2, num_classes=5)
    np.testing.assert_allclose(found, class_stiffness_by_loops(s, labels, labels2, 5))


@given(seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_permuting_examples_changes_nothing(seed):
    rng = np.random.default_rng(seed)
    s, labels, order = rng.normal(size=(8, 8)), rng.integers(0, 3, 8), rng.permutation(8)
    np.testing.assert_allclose(class_stiffness(s[np.ix_(order, order)], labels[order], num_classes=3),
                               class_stiffness(s, labels, num_classes=3))


def test_self_pairs_count_between_two_sets():
    assert class_stiffness(np.eye(2), [0, 0])[0, 0] == 0
    assert class_stiffness(np.eye(2), [0, 0], [0, 0])[0, 0] == 0.5


@pytest.mark.parametrize("arguments, error, match", [
    ((S, [0, 1]), ValueError, "labels has 2 entries for 3"),
    ((S, [0, 1, -1]), ValueError, "labels holds -1"),
    ((S, np.ones((3, 2))), ValueError, r"labels has shape \(3, 2\) and is not one-hot; expected one class for each"),
    ((S, [0.0, 1.5, 1.0]), ValueError, "labels holds 1.5; expected class indices, whole numbers"),
    ((S, [0.0, np.nan, 1.0]), ValueError, "labels holds nan"),
    ((S, ["a", "b", "a"]), TypeError, "labels has dtype <U1; expected class indices"),
    ((S[:2], [0, 1]), ValueError, "needs labels2"),
])
def test_errors_of_class_stiffness(arguments, error, match):
    with pytest.raises(error, match=match):
        class_stiffness(*arguments)


def test_class_labels_may_be_one_hot_or_whole_floats():
    plain = class_stiffness(S, [0, 2, 2])
    for labels in (np.eye(3)[[0, 2, 2]], np.eye(3, dtype=int)[[0, 2, 2]], [0.0, 2.0, 2.0], [[0], [2], [2]]):
        np.testing.assert_array_equal(class_stiffness(S, labels), plain)
        np.testing.assert_array_equal(class_stiffness(S, labels, labels), class_stiffness(S, [0, 2, 2], [0, 2, 2]))


def test_label_out_of_range():
    with pytest.raises(ValueError, match="label 2 is out of range for num_classes 2"):
        class_stiffness(S, [0, 1, 2], num_classes=2)


def test_summaries_need_a_square_matrix():
    with pytest.raises(ValueError, match=r"shape \(2, 3\)"):
        within_class(S[:2])
    assert np.isnan(between_classes([[1.0]]))


@pytest.mark.equation("distance")
def test_stiffness_by_distance_by_hand():
    distance = np.array([[0, 0.1, 0.9], [0.1, 0, 0.8], [0.9, 0.8, 0]])
    curve = stiffness_vs_distance(S, distance, bins=[0, 0.5, 1])
    assert curve.pairs.tolist() == [2, 4]  # each pair twice, self-pairs not at all
    assert curve.stiffness.tolist() == [1, -0.5]
    assert curve.distance.tolist() == pytest.approx([0.1, 0.85])
    chosen = stiffness_vs_distance(S, distance, bins=[0, 0.5, 1], pairs=distance > 0.85)
    assert chosen.table()[["left", "pairs", "stiffness"]].values.tolist() == [[0.5, 2, -1]]


@pytest.mark.equation("distance")
def test_stiffness_by_distance_against_its_definition():
    rng = np.random.default_rng(0)
    s, distance = rng.normal(size=(20, 30)), rng.uniform(0, 2, (20, 30))
    curve = stiffness_vs_distance(s, distance, bins=5)
    for row in curve.table().itertuples():
        inside = (distance >= row.left) & ((distance < row.right) | (row.right == curve.right.max()))
        assert row.pairs == inside.sum() and row.stiffness == pytest.approx(s[inside].mean())
        assert row.distance == pytest.approx(distance[inside].mean())
        assert row.standard_error == pytest.approx(s[inside].std(ddof=1) / inside.sum() ** 0.5)
    assert curve.pairs.sum() == s.size


def test_pairs_without_a_distance_or_outside_the_bins_do_not_count():
    distance = np.array([[0, np.nan, 0.9], [np.nan, 0, 3], [0.9, 3, 0]])
    curve = stiffness_vs_distance(S, distance, bins=[0, 0.5, 1])
    assert curve.table()[["pairs", "stiffness"]].values.tolist() == [[2, -1]] and curve.left.tolist() == [0.5]
    single = stiffness_vs_distance(S, distance, bins=[0, 1], pairs=np.triu(np.ones((3, 3), bool), 1))
    assert single.pairs.item() == 1 and np.isnan(single.standard_error.item())


@pytest.mark.equation("domain")
def test_zero_crossing_by_hand():
    assert zero_crossing([0, 1, 2, 3], [1, 0.5, -0.5, 1]) == 1.5
    assert zero_crossing([2, 0, 1, 3], [-0.5, 1, 0.5, 1]) == 1.5
    assert zero_crossing([0, 1, 2], [1, np.nan, -1]) == 1
    assert np.isnan(zero_crossing([0, 1], [1, 0.5])) and np.isnan(zero_crossing([0, 1], [-1, 0.5]))


@pytest.mark.equation("length")
def test_critical_length_by_hand():
    # within class 0 stiffness falls as 1 - distance / 1.5; the pairs between classes would give another line
    distance = np.array([[0, 0.3, 0.6, 0.1], [0.3, 0, 0.9, 0.1], [0.6, 0.9, 0, 0.1], [0.1, 0.1, 0.1, 0]])
    s = 1 - distance / 1.5
    s[3], s[:, 3] = -5, -5
    assert critical_length(s, distance, [0, 0, 0, 1]) == pytest.approx(1.5)
    assert np.isnan(critical_length(-s, distance, [0, 0, 0, 1]))
    assert np.isnan(critical_length(s, distance, [0, 1, 2, 3]))


@pytest.mark.equation("length")
def test_critical_length_against_a_library_fit():
    rng = np.random.default_rng(0)
    labels, distance = rng.integers(0, 3, 30), rng.uniform(0, 2, (30, 30))
    s = rng.normal(1 - distance, 0.5)
    s[3, 4] = np.nan
    same = (labels[:, None] == labels) & ~np.eye(30, dtype=bool) & ~np.isnan(s)
    slope, intercept = np.polyfit(distance[same], s[same], 1)
    assert critical_length(s, distance, labels) == pytest.approx(-intercept / slope)


def test_no_critical_length_where_every_pair_is_stiff():
    distance = np.random.default_rng(0).uniform(0, 2, (40, 40))
    assert np.isnan(critical_length(np.ones((40, 40)), distance, np.zeros(40, int)))


def jackknife_by_loops(s, labels, num_classes, summary):
    thetas = np.array([summary(class_stiffness(np.delete(np.delete(s, k, 0), k, 1), np.delete(labels, k),
                                               num_classes=num_classes)) for k in range(len(labels))])
    squares = 0
    for c in set(labels):
        own = thetas[labels == c]
        squares += (len(own) - 1) / len(own) * np.sum((own - own.mean()) ** 2)
    return squares**0.5


@given(seed=st.integers(0, 10_000))
@settings(max_examples=30, deadline=None)
def test_jackknife_against_leaving_out_one_by_one(seed):
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(3), rng.integers(1, 7, 3)))  # also classes of one or two examples
    s = rng.uniform(-1, 1, (len(labels), len(labels)))
    s = s + s.T
    s[0], s[:, 0] = np.nan, np.nan  # as of a zero gradient
    expected = [jackknife_by_loops(s, labels, 4, summary) for summary in (within_class, between_classes)]
    np.testing.assert_allclose(jackknife_errors(s, labels, num_classes=4), expected, atol=1e-12)


def test_jackknife_of_a_mean_by_hand():
    # s_ij = v_i + v_j: C(a, a) is twice the mean of v in class a, so its error is twice that of a mean
    labels, v = np.repeat([0, 1], [4, 5]), np.random.default_rng(0).normal(size=9)
    errors = np.array([v[labels == c].std(ddof=1) / np.sum(labels == c) ** 0.5 for c in (0, 1)])
    assert jackknife_errors(v[:, None] + v, labels) == pytest.approx([np.hypot(*errors)] * 2)


def test_distance_must_fit():
    with pytest.raises(ValueError, match=r"s has shape \(3, 3\) and distance \(2, 2\)"):
        stiffness_vs_distance(S, np.zeros((2, 2)))
