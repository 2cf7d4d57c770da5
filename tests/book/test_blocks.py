"""Blocks in class stiffness matrices: their test against chance, clusters, orders, and the claims about them."""

import itertools

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import adjusted_rand_score
from tables import super_class_table, super_classes

from stiffness_book import blocks, claims, published, texts

GROUPS = np.array(["a", "a", "b", "b", "b", "c", "c"])
UNITS = np.array([0, 1, 2, 3, 3, 4, 5])  # classes 3 and 4 are one unit of group b
SIDES = np.array(["x", "x", "x", "x", "x", "y", "y"])


def symmetric(seed, classes=7):
    C = np.random.default_rng(seed).normal(size=(classes, classes))
    return C + C.T


def difference(C, groups, units):
    """The definition, pair by pair."""
    same, other = [], []
    for a, b in itertools.permutations(range(len(C)), 2):
        if units[a] != units[b] and not np.isnan(C[a, b]):
            (same if groups[a] == groups[b] else other).append(C[a, b])
    return np.mean(same) - np.mean(other)


@pytest.mark.parametrize("groups, units", [(GROUPS, None), (GROUPS, UNITS), (SIDES, GROUPS)])
@pytest.mark.parametrize("unknown", [False, True])
def test_differences_and_p_by_all_relabellings(groups, units, unknown):
    C = symmetric(3)
    if unknown:
        C[0, 2] = C[2, 0] = np.nan
    value, p = blocks.block_test(C, groups, units, permutations=4000)
    units = np.arange(7) if units is None else units
    assert value == pytest.approx(difference(C, groups, units))
    names, first = np.unique(units, return_index=True)
    relabelled = {tuple(order) for order in itertools.permutations(groups[first])}
    reached = np.mean([difference(C, np.array(order)[np.searchsorted(names, units)], units) >= value - 1e-9
                       for order in relabelled])
    assert p == pytest.approx(reached, abs=0.03)


def test_p_is_uniform_by_chance_and_least_where_blocks_are():
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(5), 3)
    same = groups[:, None] == groups
    noise = rng.normal(size=(200, 15, 15))
    _, p = blocks.block_test(noise, groups, permutations=199)
    assert p.shape == (200,) and 0.02 < (p <= 0.1).mean() < 0.2
    value, p = blocks.block_test(noise + 5 * same, groups, permutations=199)
    assert (p == 1 / 200).all() and value.mean() == pytest.approx(5, abs=0.2)


def test_matrices_are_tested_alike_and_with_the_same_relabellings():
    stack = np.stack([symmetric(seed) for seed in range(6)]).reshape(2, 3, 7, 7)
    values, p = blocks.block_test(stack, GROUPS, permutations=700)
    alone = [blocks.block_test(C, GROUPS, permutations=700) for C in stack.reshape(6, 7, 7)]
    np.testing.assert_allclose(values.ravel(), [value for value, _ in alone])
    np.testing.assert_allclose(p.ravel(), [p for _, p in alone])


def test_no_pairs_of_one_kind_is_unknown():
    value, p = blocks.block_test(symmetric(0), np.arange(7), permutations=20)
    assert np.isnan(value) and np.isnan(p)


def average_linkage(distance, number):
    """The definition: join the two clusters whose members are nearest on average, until `number` are left."""
    clusters = [[i] for i in range(len(distance))]
    while len(clusters) > number:
        i, j = min(itertools.combinations(range(len(clusters)), 2),
                   key=lambda pair: distance[np.ix_(clusters[pair[0]], clusters[pair[1]])].mean())
        clusters[i] += clusters.pop(j)
    return {frozenset(cluster) for cluster in clusters}


@pytest.mark.parametrize("seed", range(3))
def test_clusters_by_definition(seed):
    C = np.clip(symmetric(seed, 12) / 4, -1, 1)
    order, clusters = blocks.found_clusters(C, 4)
    found = {frozenset(np.flatnonzero(clusters == c)) for c in set(clusters)}
    assert found == average_linkage(1 - C, 4)
    assert sorted(order) == list(range(12))
    assert all(np.ptp(np.flatnonzero(np.isin(order, list(members)))) == len(members) - 1 for members in found)


def through(strength_at, **options):
    return blocks.through_training(super_class_table(strength_at, **options), *super_classes(), permutations=500)


def test_stages_of_loss_do_not_count():
    made = super_class_table(lambda _: 0.5)
    by_loss = made.assign(target_loss=0.5, value=-made["value"])
    both = blocks.through_training(pd.concat([made, by_loss]), *super_classes(), permutations=20)
    pd.testing.assert_frame_equal(both, blocks.through_training(made, *super_classes(), permutations=20))
    assert len(both) == 3 * 4 * 2 * 2


SUPER_ROWS = [
    ({0: 0, 10: 0.5, 100: 0.5, 1000: 0}, "partly"),
    ({0: 0.5, 10: 0, 100: 0, 1000: 0.5}, "not reproduced"),  # there, but not early
    ({0: 0, 10: -0.5, 100: -0.5, 1000: 0}, "opposite"),
]


def test_c5_looks_for_blocks_within_the_first_pass():
    made = through({0: 0, 10: 0, 100: 0.5, 1000: 0.5}.get)
    found = claims.super_class_blocks(made, one_pass=200)
    assert found.parts[0].mean > 0.4 and "super-classes: after 100 steps" in found.note
    assert claims.super_class_blocks(made, one_pass=50).parts[0].mean < 0.1  # grown too late
    assert claims.super_class_blocks(made, one_pass=5).verdict == "not measured"


@pytest.mark.parametrize("strength, verdict, told", [
    ({0: 0, 10: 0.2, 100: 0.5, 1000: 0.1}, "answered", "largest after 100 steps; less than half of that from step"),
    ({0: 0, 10: 0.2, 100: 0.5, 1000: 0.4}, "partly", "not below half of that by step 1,000"),
    ({0: 0.5, 10: 0.5, 100: 0.5, 1000: 0}, "partly", "p < 0.01 in every run from step 0 to step 100; "),
    ({0: 0, 10: 0, 100: 0, 1000: 0}, "undecided", "at no stage p < 0.01"),
])
def test_verdict_of_c15(strength, verdict, told):
    judged = claims.super_classes_appear_and_fade(through(strength.get))
    assert judged.verdict == verdict and told in judged.measured


def test_agreement_is_sklearns_and_1_where_the_blocks_are_found():
    made = super_class_table({0: 0, 10: 0.8, 100: 0.8, 1000: 0}.get)
    rows = blocks.agreement(made, super_classes()[0], permutations=100)
    assert rows[rows["step"].isin([10, 100])]["value"].tolist() == [1.0] * 12
    assert (rows[rows["step"] == 0]["value"] < 0.8).all() and rows["chance"].between(0, 0.5).all()
    by_run, matrices = blocks.matrix_stack(made, "sign")
    clusters = blocks.found_clusters(matrices[0], 6)[1]
    assert rows["value"].iloc[0] == adjusted_rand_score(super_classes()[0], clusters)
    assert by_run.iloc[0].tolist() == [0, 0] and matrices.shape == (12, 12, 12)


def test_arrangements_of_the_classes():
    names = [f"class {i}" for i in range(12)]
    matrices, arrangements = blocks.arrangements(super_class_table(lambda _: 0.8), names, *super_classes())
    assert len(matrices) == 8 and len(arrangements) == 2 + 8
    order, drawn = arrangements["living / non-living"]
    assert order == list(range(12))
    assert [(row["start"], row["end"]) for row in drawn if row["thick"]] == [(0, 6), (6, 12)]
    assert [row["label"] for row in arrangements["super-class"][1]] == [*"abcdef"]
    order, drawn = arrangements[100, "sign"]
    assert sorted(order) == list(range(12)) and [row["end"] - row["start"] for row in drawn] == [2] * 6


def test_strongest_group_by_hand():
    C = np.array([[9, 0.5, 0.1, 0.2], [0.5, 9, 0.1, 0.2], [0.1, 0.1, 9, 0.3], [0.2, 0.2, 0.3, 9]])
    ranked = blocks.by_group(C, ["a", "a", "b", "b"])
    assert [name for name, _ in ranked] == ["a", "b"]
    assert [value for _, value in ranked] == pytest.approx([0.5 - 0.15, 0.3 - 0.15])
    assert [name for name, _ in blocks.by_group(C, ["a", "a", "b", "c"])] == ["a"]  # one class has no pair


def test_names_of_found_clusters():
    assert blocks._commonest(["big_cats", "big_cats", "cars"]) == "big cats, 2 of 3"
    assert blocks._commonest(["a", "b", "c", "b"]) == "b, 2 of 4"
    assert blocks._commonest(["a", "a"]) == ""


def test_means_over_groups_are_over_their_pairs_of_different_classes():
    rng = np.random.default_rng(0)
    C, groups = rng.uniform(-1, 1, (5, 5)), ["b", "a", "b", "b", "a"]
    found = blocks.of_groups(C, groups)
    assert found[0, 0] == pytest.approx((C[1, 4] + C[4, 1]) / 2)
    assert found[0, 1] == pytest.approx(np.mean([C[i, j] for i in (1, 4) for j in (0, 2, 3)]))
    assert found[1, 1] == pytest.approx(np.mean([C[i, j] for i in (0, 2, 3) for j in (0, 2, 3) if i != j]))
    assert np.isnan(blocks.of_groups(C, [*"abcde"])[0, 0])


def test_the_papers_matrix_beside_itself():
    theirs = published.matrices(7)[3200]
    rows = pd.DataFrame([{"quantity": "class_stiffness_sign", "step": step, "seed": seed, "target_loss": np.nan,
                          "class_a": a, "class_b": b, "value": theirs[a, b] if step == 100 else 0.0}
                         for step in (0, 100, 1000) for seed in (0, 1) for a, b in np.ndindex(100, 100)])
    images, ours, again = blocks.beside_the_paper(rows)
    assert images == 3200 and (ours == theirs).all() and (again == theirs).all()
    told = texts.super_classes_beside_the_paper(images, ours, again, [name for name in "abcdefghijklmnopqrst" * 5])
    assert "correlates with the paper's by +1.00, and with another run of this book by +1.00" in told
