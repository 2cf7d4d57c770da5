"""Stiffness averaged by class and by distance (Fort et al.). NumPy only; s is any (n, m) matrix of signs or cosines.

Equations are cited by their labels on the book's theory page, book/theory.md.
"""

from typing import NamedTuple

import numpy as np

ROWS_AT_ONCE = 1024


def class_stiffness(s, labels, labels2=None, *, num_classes=None):
    """Class stiffness matrix C(a, b) = E[ s_ij | label_i = a, label2_j = b, i != j ] (equation `class-stiffness`).

    s: (n, m) signs or cosines; labels: (n,), labels2: (m,) class indices, the rows' where None.
    Returns (Nc, Nc), NaN where no pair counts. Self-pairs are excluded when labels2 is None; NaN pairs (a zero
    gradient has no cosine) are not counted. Raises ValueError for shapes that do not fit and labels out of range.
    """
    s = np.asarray(s)
    own = labels2 is None
    labels = _class_indices("labels", labels, s.shape[0])
    labels2 = labels if own else _class_indices("labels2", labels2, s.shape[1])
    if own and s.shape[0] != s.shape[1]:
        raise ValueError(f"s has shape {s.shape}; a matrix that is not square needs labels2, the labels of its columns")
    largest = max(labels.max(initial=-1), labels2.max(initial=-1))
    num_classes = largest + 1 if num_classes is None else num_classes
    if largest >= num_classes:
        raise ValueError(f"label {largest} is out of range for num_classes {num_classes}")
    rows, columns = np.eye(num_classes)[labels], np.eye(num_classes)[labels2]
    sums, pairs = np.zeros((2, num_classes, num_classes))
    for start in range(0, len(s), ROWS_AT_ONCE):  # a copy of s in double precision would be the largest thing around
        part, of_class = s[start : start + ROWS_AT_ONCE], rows[start : start + ROWS_AT_ONCE].T
        counted = ~np.isnan(part)
        if own:
            np.fill_diagonal(counted[:, start:], False)
        pairs += of_class @ counted @ columns
        sums += of_class @ np.where(counted, part, 0) @ columns
    return _ratio(sums, pairs)


def within_class(C):
    """Within-class stiffness: the mean of C's diagonal (equation `within`). C: (Nc, Nc); NaN entries are left out."""
    return _mean(np.diagonal(_square(C)))


def between_classes(C):
    """Between-classes stiffness: sum over a != b of C(a, b) / (Nc (Nc - 1)) (equation `between`).

    C: (Nc, Nc); entries that no pair filled (NaN) are left out of the sum and of the count.
    """
    C = _square(C)
    return _mean(C[~np.eye(len(C), dtype=bool)])


def pandas_for(what):
    """pandas, which only tables need."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError(f"{what} returns a pandas data frame, and pandas is not installed: pip install pandas"
                          ) from error
    return pandas


class DistanceCurve(NamedTuple):
    """Mean stiffness by bin of distance: arrays of one entry for each bin, which `table()` puts into a data frame."""

    left: np.ndarray  # the bin's edges
    right: np.ndarray
    distance: np.ndarray  # the mean over the bin's pairs
    stiffness: np.ndarray
    standard_error: np.ndarray  # as if pairs were independent; too small, as pairs share examples
    pairs: np.ndarray  # their number

    def table(self):
        """The curve as a pandas data frame with a row for each bin."""
        return pandas_for("DistanceCurve.table()").DataFrame(self._asdict())


def stiffness_vs_distance(s, distance, *, bins=20, pairs=None):
    """Mean stiffness of the pairs in each bin of distance (equation `distance`).

    s, distance: (n, m), distance in any convention. bins: a count of equal bins over the distances met, or edges.
    pairs: (n, m) of bool, the pairs that count; None is all of them, without self-pairs where s is square.
    Returns a `DistanceCurve`, with an entry for each bin that is not empty.
    """
    s, distance = np.asarray(s), np.asarray(distance)
    counted = _counted(s, distance, pairs)
    s, distance = s[counted].astype(float), distance[counted].astype(float)
    edges = np.histogram_bin_edges(distance, bins)
    inside = (distance >= edges[0]) & (distance <= edges[-1])
    if not inside.all():
        s, distance = s[inside], distance[inside]
    number = np.digitize(distance, edges[1:-1])
    pairs = np.bincount(number, minlength=len(edges) - 1)
    filled = np.flatnonzero(pairs)
    count = pairs[filled]

    def mean(values):
        return np.bincount(number, values, len(pairs))[filled] / count

    stiffness = mean(s)
    deviations = np.square(s - np.bincount(filled, stiffness, len(pairs))[number])
    standard_error = np.sqrt(_ratio(mean(deviations), count - 1))  # a single pair has none
    return DistanceCurve(edges[filled], edges[filled + 1], mean(distance), stiffness, standard_error, count)


def zero_crossing(distance, stiffness):
    """Size of the stiff domain: the distance at which the curve first falls to zero (equation `domain`; v1).

    distance, stiffness: (k,), the curve that `stiffness_vs_distance` gives, in any order; read from the nearest pair
    outwards, so distance must GROW with remoteness: pass 1 - cosine, not the cosine. Linear between the points.
    Returns NaN where the curve does not start positive or never reaches zero.
    """
    order = np.argsort(distance)
    distance, stiffness = np.asarray(distance, float)[order], np.asarray(stiffness, float)[order]
    kept = ~np.isnan(stiffness)
    distance, stiffness = distance[kept], stiffness[kept]
    reached = np.flatnonzero(stiffness <= 0)
    if len(reached) == 0 or reached[0] == 0:
        return np.nan
    after = reached[0]
    before = after - 1
    step = stiffness[before] / (stiffness[before] - stiffness[after])
    return float(distance[before] + step * (distance[after] - distance[before]))


def critical_length(s, distance, labels, labels2=None):
    """Dynamical critical length xi: where the straight-line fit of WITHIN-class stiffness against distance is zero.

    Least squares over the pairs of equal label, self-pairs excluded when labels2 is None (equation `length`; v3).
    s, distance: (n, m); labels: (n,), labels2: (m,). Returns xi in units of distance, NaN where the line does not fall.
    """
    s, distance = np.asarray(s), np.asarray(distance)
    labels = np.asarray(labels)
    same = labels[:, None] == (labels if labels2 is None else np.asarray(labels2))[None, :]
    if labels2 is None:
        same &= ~np.eye(len(labels), dtype=bool)
    counted = _counted(s, distance, same)
    if counted.sum() < 2:
        return np.nan
    s, distance = s[counted].astype(float), distance[counted].astype(float)
    from_mean = distance - distance.mean()
    slope = _ratio(from_mean @ (s - s.mean()), from_mean @ from_mean)  # exactly 0 where every sign is 1
    return float(distance.mean() - s.mean() / slope) if slope < 0 else np.nan


def jackknife_errors(s, labels, *, num_classes=None):
    """Standard errors of `within_class` and `between_classes` that come from the choice of the n examples.

    The delete-one jackknife, by strata, as probe sets are drawn class by class: with theta_k the summary of C without
    example k, n_c the size of class c, theta_c the mean of theta_k over it,
    error^2 = sum over c of (n_c - 1) / n_c * sum over k in c of (theta_k - theta_c)^2.
    s: (n, n), symmetric; labels: (n,) class indices. Returns (within, between), NaN where the summary is. A class
    needs three examples to say anything: one is left out, and two make a pair. Raises as `class_stiffness`.
    Source: Arvesen 1969 (the jackknife of means over pairs); Jones 1974 (strata).
    """
    C = class_stiffness(s, labels, num_classes=num_classes)
    labels = np.asarray(labels).reshape(-1)
    counted = ~np.isnan(s)
    np.fill_diagonal(counted, False)
    own = np.eye(len(C))[labels]
    sums, pairs = np.where(counted, s, 0) @ own, counted @ own  # (n, Nc): each example's with each class
    # example k's row of C without k; in its own class each of its pairs counts twice
    left_sums, left_pairs = ((own.T @ part)[labels] - part * (1 + own) for part in (sums, pairs))
    row = _ratio(left_sums, left_pairs)
    own = own > 0
    within = np.where(own, row, np.diagonal(C))
    # of the entries off the diagonal those of k's class, in its row and its column, are replaced
    C = np.where(np.eye(len(C), dtype=bool), np.nan, C)
    row[own] = np.nan
    between = np.nansum(C) + 2 * (np.nansum(row, axis=1) - np.nansum(C, axis=1)[labels])
    entries = np.sum(~np.isnan(C)) + 2 * (np.sum(~np.isnan(row), axis=1) - np.sum(~np.isnan(C), axis=1)[labels])
    thetas = _ratio(np.nansum(within, axis=1), np.sum(~np.isnan(within), axis=1)), _ratio(between, entries)
    sizes = np.bincount(labels)
    errors = []
    for theta in thetas:
        deviations = theta - (np.bincount(labels, theta) / np.maximum(sizes, 1))[labels]
        errors.append(float(np.sqrt(np.sum((1 - 1 / sizes[labels]) * deviations**2))))
    return tuple(errors)


def _counted(s, distance, pairs):
    if s.shape != distance.shape or s.ndim != 2:
        raise ValueError(f"s has shape {s.shape} and distance {distance.shape}; expected the same (n, m)")
    if pairs is None:
        pairs = np.ones(s.shape, bool)
        if s.shape[0] == s.shape[1]:
            np.fill_diagonal(pairs, False)
    elif np.shape(pairs) != s.shape:
        raise ValueError(f"pairs has shape {np.shape(pairs)}; expected that of s, {s.shape}")
    return pairs & ~np.isnan(s) & ~np.isnan(distance)


def _ratio(sums, counts):
    """sums / counts, NaN where the count is 0."""
    sums = np.asarray(sums, float)
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=np.asarray(counts) > 0)


def _class_indices(name, labels, expected):
    if np.ma.is_masked(labels):
        raise ValueError(f"{name} is a masked array with {np.ma.count_masked(labels)} masked entries; drop their "
                         "examples")
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] > 1:
        raise ValueError(f"{name} has shape {labels.shape}, as one-hot rows have; "
                         f"expected class indices, {name}.argmax(axis=1)")
    labels = labels.reshape(-1)
    if labels.dtype.kind not in "iu":
        raise TypeError(f"{name} has dtype {labels.dtype}; expected integer class indices")
    if len(labels) != expected:
        raise ValueError(f"{name} has {len(labels)} entries for {expected} examples of s")
    if labels.min(initial=0) < 0:
        raise ValueError(f"{name} holds {labels.min()}; class indices start at 0")
    return labels


def _square(C):
    C = np.asarray(C)
    if C.ndim != 2 or C.shape[0] != C.shape[1]:
        raise ValueError(f"C has shape {C.shape}; expected a class stiffness matrix, (Nc, Nc)")
    return C


def _mean(values):
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else np.nan
