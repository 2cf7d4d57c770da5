"""Blocks in a class stiffness matrix: do classes of one group help each other more than others do?"""

from collections import Counter
from itertools import groupby

import numpy as np
import pandas as pd
from scipy.cluster.hierarchy import fcluster, leaves_list, linkage
from scipy.spatial.distance import squareform

from stiffness_book import published
from stiffness_book.summaries import over_seeds
from stiffness_book.table import KINDS

# Of CIFAR-100's 20 super-classes (Krizhevsky 2009, by their names in TensorFlow Datasets) those of living things. The
# division is this book's: a forest is a scene here, and a mushroom, listed among the vegetables, alive.
LIVING = frozenset({
    "aquatic_mammals", "fish", "flowers", "fruit_and_vegetables", "insects", "large_carnivores",
    "large_omnivores_and_herbivores", "medium_mammals", "non-insect_invertebrates", "people", "reptiles",
    "small_mammals", "trees",
})
PERMUTATIONS = 10_000
SIGNIFICANT = 0.01  # p below it in every run: blocks are there
DIFFERENCE = (-2, 2)  # what a difference of two mean stiffnesses can be
SUPER, LIVING_OR_NOT = "super-classes", "living / non-living"


def block_test(matrices, groups, units=None, *, permutations=PERMUTATIONS, seed=0):
    """Mean stiffness over pairs of classes of one group, minus that over pairs of different groups; and its p value.

    matrices: (..., Nc, Nc); groups: (Nc,), the group of each class; units: (Nc,), the finer group of each class, where
    there are such: pairs within a unit then do not count, and whole units are relabelled. A class is never paired with
    itself. p is the share of random relabellings to groups of the same numbers of units that reach the difference, the
    true one counted among them (Phipson and Smyth 2010); all matrices are tested on the same ones.
    Returns two arrays (...), NaN where there is no pair of one of the two kinds.
    """
    matrices = np.asarray(matrices, float)
    groups = np.unique(groups, return_inverse=True)[1]
    _, first, unit = np.unique(np.arange(len(groups)) if units is None else units,
                               return_index=True, return_inverse=True)
    a, b = np.triu_indices(len(groups), 1)
    a, b = a[unit[a] != unit[b]], b[unit[a] != unit[b]]
    pairs = ((matrices + matrices.swapaxes(-1, -2)) / 2)[..., a, b].reshape(-1, len(a)).T
    known, pairs = ~np.isnan(pairs), np.nan_to_num(pairs)

    def differences(group_of_unit):
        same = (group_of_unit[:, unit[a]] == group_of_unit[:, unit[b]]).astype(float)
        within, counts = same @ pairs, same @ known
        with np.errstate(invalid="ignore"):  # 0 / 0 where there is no such pair
            return within / counts - (pairs.sum(0) - within) / (known.sum(0) - counts)

    true = differences(groups[first][None])[0]
    rng, reached = np.random.default_rng(seed), np.ones(len(true))
    for start in range(0, permutations, 500):  # at once: more need more memory
        orders = np.tile(groups[first], (min(500, permutations - start), 1))
        reached += (differences(rng.permuted(orders, axis=1)) >= true - 1e-9).sum(0)
    p = np.where(np.isnan(true), np.nan, reached / (1 + permutations))
    return true.reshape(matrices.shape[:-2]), p.reshape(matrices.shape[:-2])


def through_training(table, super_classes, living, *, permutations=PERMUTATIONS):
    """`block_test` for each stage and run: step, seed, kind (sign or cosine), division, value, p.

    super_classes: the super-class of each class; living: the super-classes on one side of the coarser division. That
    is tested between super-classes, as a difference between its sides would otherwise contain that of super-classes.
    """
    rows = []
    for kind in KINDS:
        by_run, matrices = matrix_stack(table, kind)
        for division, groups, units in ((SUPER, super_classes, None),
                                        (LIVING_OR_NOT, [name in living for name in super_classes], super_classes)):
            value, p = block_test(matrices, groups, units, permutations=permutations)
            rows.append(by_run.assign(kind=kind, division=division, value=value, p=p))
    return pd.concat(rows, ignore_index=True)


def stages(blocks, kind="sign"):
    """`through_training` by division and step: mean, low, high over seeds, the runs' largest p, and whether blocks
    are there: p < SIGNIFICANT in every run."""
    chosen, by = blocks[blocks["kind"] == kind], ["division", "step"]
    rows = over_seeds(chosen, by, bounds=DIFFERENCE).set_index(by).assign(p=chosen.groupby(by)["p"].max())
    return rows.assign(there=rows["p"] < SIGNIFICANT)


def matrix_stack(table, kind):
    """The k matrices of all runs and stages by step: a table of k rows (step, seed), and an array (k, Nc, Nc)."""
    entries = table[(table["quantity"] == f"class_stiffness_{kind}") & table["target_loss"].isna()]
    wide = entries.pivot(index=["step", "seed"], columns=["class_a", "class_b"], values="value").sort_index(axis=1)
    classes = round(len(wide.columns) ** 0.5)
    return wide.index.to_frame(index=False), wide.to_numpy().reshape(-1, classes, classes)


def found_clusters(C, number):
    """Clusters of classes by average linkage at distance 1 − stiffness, without information about any groups.

    C: (Nc, Nc), whose two triangles are averaged. Returns the order of the classes in the tree, optimised so that
    neighbours are similar, and (Nc,) the cluster of each class if the tree is cut into at most `number` clusters.
    """
    distance = 1 - np.nan_to_num((C + C.T) / 2)  # of no known stiffness: as if it were 0
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), "average", optimal_ordering=True)
    return leaves_list(tree), fcluster(tree, number, "maxclust")


def agreement(table, super_classes, *, permutations=200, seed=0):
    """How well clusters agree with the super-classes: rows of step, seed, kind, value (adjusted Rand index), chance.

    There are as many clusters as super-classes. The index is 1 for the same division and 0 on average for random ones;
    95 % of random orders of the super-classes stay below `chance`.
    """
    from sklearn.metrics import adjusted_rand_score  # slow to import

    rng, rows = np.random.default_rng(seed), []
    orders = [rng.permutation(super_classes) for _ in range(permutations)]
    for kind in KINDS:
        by_run, matrices = matrix_stack(table, kind)
        for run, C in zip(by_run.to_dict("records"), matrices):
            clusters = found_clusters(C, len(set(super_classes)))[1]
            chance = np.quantile([adjusted_rand_score(order, clusters) for order in orders], 0.95)
            rows.append(run | {"kind": kind, "value": adjusted_rand_score(super_classes, clusters), "chance": chance})
    return pd.DataFrame(rows)


def by_group(C, groups):
    """(name, difference) of each group with two or more classes, largest first: the mean over its own pairs minus that
    over its pairs with other groups. C: (Nc, Nc); groups: (Nc,)."""
    groups, rows = np.asarray(groups), []
    for group in sorted(set(groups)):
        own = groups == group
        pairs = C[np.ix_(own, own)][~np.eye(own.sum(), dtype=bool)]
        if len(pairs):
            rows.append((str(group), float(np.nanmean(pairs) - np.nanmean(C[np.ix_(own, ~own)]))))
    return sorted(rows, key=lambda row: -row[1])


def of_groups(C, groups):
    """The mean stiffness over pairs of two classes of two groups, (groups, groups), in alphabetical order; without the
    pairs of a class with itself. C: (Nc, Nc); groups: (Nc,)."""
    _, number = np.unique(groups, return_inverse=True)
    members = np.eye(number.max() + 1)[number].T  # (groups, Nc)
    apart = ~np.eye(len(C), dtype=bool)
    with np.errstate(invalid="ignore"):  # 0 / 0 for a group of one class
        return (members @ np.where(apart, C, 0) @ members.T) / (members @ apart @ members.T)


def beside_the_paper(table):
    """The paper's Figure 7 beside the runs: images seen, those of the runs (runs, Nc, Nc) at the nearest stage, and the
    paper's (Nc, Nc), by sign."""
    ((images, theirs),) = published.matrices(7).items()
    by_run, matrices = matrix_stack(table, "sign")
    nearest = min(set(by_run["step"]), key=lambda step: abs(step * published.BATCH - images))
    return images, matrices[(by_run["step"] == nearest).to_numpy()], theirs


def arrangements(table, class_names, super_classes, living):
    """Mean matrices over the runs, and orders of the classes in which to draw them, with the blocks that each shows.

    Returns a list of (step, kind, matrix) and a dictionary of (order, blocks): "super-class" and LIVING_OR_NOT, and
    for each step and kind (step, kind), the order found by clustering. order: class indices; blocks: rows of start,
    end, label (empty for none) and thick, positions in the order.
    """
    matrices, found = [], {}
    for kind in KINDS:
        by_run, stack = matrix_stack(table, kind)
        for step in sorted(set(by_run["step"])):
            C = stack[(by_run["step"] == step).to_numpy()].mean(0)
            order, clusters = found_clusters(C, len(set(super_classes)))
            matrices.append((step, kind, C))
            found[step, kind] = list(map(int, order)), _blocks(
                order, clusters, lambda members: _commonest([super_classes[c] for c in members]))
    classes = range(len(class_names))
    by_super = sorted(classes, key=lambda c: (super_classes[c], class_names[c]))
    by_side = sorted(by_super, key=lambda c: super_classes[c] not in living)
    sides = [name in living for name in super_classes]
    own_name = [name.replace("_", " ") for name in super_classes]
    return matrices, {
        "super-class": (by_super, _blocks(by_super, super_classes, lambda members: own_name[members[0]])),
        LIVING_OR_NOT: (by_side, _blocks(by_side, super_classes, lambda members: own_name[members[0]])
                        + _blocks(by_side, sides, lambda _: "", thick=True)),
        **found,
    }


def _blocks(order, groups, label, thick=False):
    """The runs of classes of one group in the order."""
    rows, start = [], 0
    for _, run in groupby(order, key=lambda c: groups[c]):
        members = list(run)
        rows.append({"start": start, "end": start + len(members), "label": label(members), "thick": thick})
        start += len(members)
    return rows


def _commonest(groups):
    """The most frequent group in a cluster, in words; empty for clusters too small for a label."""
    name, number = Counter(groups).most_common(1)[0]
    return f"{name.replace('_', ' ')}, {number} of {len(groups)}" if len(groups) > 2 else ""
