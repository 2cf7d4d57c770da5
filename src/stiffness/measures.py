"""Stiffness averaged by class and by distance (Fort et al.). NumPy only; s is any (n, m) matrix of signs or cosines.

Equations are cited by their labels on the book's theory page, book/theory.md. Stiffness has no units.
"""

from typing import NamedTuple

import numpy as np

ROWS_AT_ONCE = 1024  # of s that are converted to double precision at a time


def class_stiffness(s, labels, labels2=None, *, num_classes=None):
    """Class stiffness matrix C(a, b) = E[ s_ij | label_i = a, label2_j = b, i != j ] (equation `class-stiffness`).

    Pairs of an example with itself are excluded only if labels2 is None. Pairs whose s is NaN (a zero gradient has no
    cosine) are not counted.

    Args:
        s: (n, m) signs or cosines.
        labels: (n,) class indices of the rows, as whole numbers, or one-hot rows.
        labels2: (m,) of the columns; None means that the columns are the same examples as the rows.
        num_classes: the number of classes Nc; None means the largest label + 1.

    Returns:
        (Nc, Nc); NaN where there is no pair.

    Raises:
        ValueError: the shapes do not fit, or a label is out of range or no whole number.
        TypeError: the labels are no numbers.

    >>> import numpy as np
    >>> from stiffness import class_stiffness
    >>> signs = np.array([[1, 1, -1], [1, 1, 0], [-1, 0, 1]])
    >>> class_stiffness(signs, [0, 0, 1]).tolist()  # class 1 has one example, so no pair
    [[1.0, -0.5], [-0.5, nan]]
    """
    s = np.asarray(s)
    same_examples = labels2 is None
    labels = class_indices("labels", labels, s.shape[0])
    labels2 = labels if same_examples else class_indices("labels2", labels2, s.shape[1])
    if same_examples and s.shape[0] != s.shape[1]:
        raise ValueError(f"s has shape {s.shape}; a matrix that is not square needs labels2, the labels of its columns")
    largest = max(labels.max(initial=-1), labels2.max(initial=-1))
    num_classes = largest + 1 if num_classes is None else num_classes
    if largest >= num_classes:
        raise ValueError(f"label {largest} is out of range for num_classes {num_classes}")
    rows, columns = np.eye(num_classes)[labels], np.eye(num_classes)[labels2]
    sums, pairs = np.zeros((2, num_classes, num_classes))
    for start in range(0, len(s), ROWS_AT_ONCE):  # a copy of all of s in double precision would need too much memory
        part, of_class = s[start : start + ROWS_AT_ONCE], rows[start : start + ROWS_AT_ONCE].T
        counted = ~np.isnan(part)
        if same_examples:
            np.fill_diagonal(counted[:, start:], False)
        pairs += of_class @ counted @ columns
        sums += of_class @ np.where(counted, part, 0) @ columns
    return _ratio(sums, pairs)


def within_class(C):
    """Within-class stiffness: the mean of C's diagonal (equation `within`).

    C: (Nc, Nc), a class stiffness matrix; NaN entries are left out. Returns a float, NaN if there is no entry. Raises
    ValueError if C is not square.

    >>> from stiffness import within_class
    >>> within_class([[0.75, 0.125], [0.125, 0.25]])
    0.5
    """
    return _mean(np.diagonal(square(C)))


def between_classes(C):
    """Between-class stiffness: the sum over a != b of C(a, b), divided by Nc (Nc - 1) (equation `between`).

    C: (Nc, Nc), a class stiffness matrix; NaN entries are left out of the sum and of the count. Returns a float, NaN
    if there is no entry. Raises ValueError if C is not square.

    >>> from stiffness import between_classes
    >>> between_classes([[0.75, 0.125], [0.125, 0.25]])
    0.125
    """
    C = square(C)
    return _mean(C[~np.eye(len(C), dtype=bool)])


def pandas_for(what):
    """The module pandas, which only tables need."""
    try:
        import pandas
    except ImportError as error:
        raise ImportError(f"{what} returns a pandas data frame, and pandas is not installed: pip install pandas"
                          ) from error
    return pandas


class DistanceCurve(NamedTuple):
    """Mean stiffness by bin of distance: arrays with one entry per bin; `table()` makes a data frame of them."""

    left: np.ndarray  # the bin's edges
    right: np.ndarray
    distance: np.ndarray  # mean over the bin's pairs
    stiffness: np.ndarray  # mean over the bin's pairs
    standard_error: np.ndarray  # treats pairs as independent; too small, because pairs share examples
    pairs: np.ndarray  # number of pairs

    def table(self):
        """The curve as a pandas data frame with one row per bin."""
        return pandas_for("DistanceCurve.table()").DataFrame(self._asdict())


def stiffness_vs_distance(s, distance, *, bins=20, pairs=None):
    """Mean stiffness of the pairs in each bin of distance (equation `distance`).

    Args:
        s, distance: (n, m), stiffness and distance of each pair, in any convention of distance.
        bins: a number of equal bins over the range of the distances, or the bins' edges.
        pairs: (n, m) bool, the pairs that count. None means all, without self-pairs if s is square.

    Returns:
        `DistanceCurve` with one entry per non-empty bin, in units of `distance`.

    Raises:
        ValueError: the shapes do not fit.

    >>> import numpy as np
    >>> from stiffness import stiffness_vs_distance
    >>> signs = np.array([[1, 1, -1], [1, 1, 0], [-1, 0, 1]])
    >>> distance = np.array([[0, 0.1, 0.9], [0.1, 0, 0.8], [0.9, 0.8, 0]])
    >>> curve = stiffness_vs_distance(signs, distance, bins=[0, 0.5, 1])
    >>> curve.stiffness.tolist(), curve.pairs.tolist()
    ([1.0, -0.5], [2, 4])
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
    standard_error = np.sqrt(_ratio(mean(deviations), count - 1))  # NaN for a single pair
    return DistanceCurve(edges[filled], edges[filled + 1], mean(distance), stiffness, standard_error, count)


def zero_crossing(distance, stiffness):
    """Size of the stiff domain: the distance at which the curve first falls to zero (equation `domain`).

    Linear interpolation between the curve's points, starting from the nearest pairs. Distance must therefore GROW as
    examples become less alike: pass 1 - cosine, not the cosine.

    Args:
        distance, stiffness: (k,), the curve of `stiffness_vs_distance`, in any order. NaN entries are left out.

    Returns:
        The distance as a float; NaN if the curve does not start above zero or never reaches it.

    Source: Fort et al. v1.

    >>> from stiffness import zero_crossing
    >>> zero_crossing([0, 1, 2], [1, 0.5, -0.5])
    1.5
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
    """Dynamical critical length: where the straight line fitted to WITHIN-class stiffness reaches zero.

    xi = -alpha / beta of the least-squares fit s_ij = alpha + beta d_ij over the pairs of equal label (equation
    `length`). Self-pairs are excluded if labels2 is None.

    Args:
        s, distance: (n, m), stiffness and distance of each pair.
        labels, labels2: (n,) and (m,) class indices; None for labels2 means that the columns are the rows' examples.

    Returns:
        xi as a float, in units of `distance`; NaN if the line does not fall.

    Raises:
        ValueError: the shapes do not fit.

    Source: Fort et al. v3.

    >>> import numpy as np
    >>> from stiffness import critical_length
    >>> distance = np.array([[0, 0.5, 1], [0.5, 0, 0.75], [1, 0.75, 0]])
    >>> critical_length(1 - distance / 2, distance, [0, 0, 0])
    2.0
    """
    s, distance = np.asarray(s), np.asarray(distance)
    labels = class_indices("labels", labels, len(s))
    same = labels[:, None] == (labels if labels2 is None else class_indices("labels2", labels2, s.shape[1]))[None, :]
    if labels2 is None:
        same &= ~np.eye(len(labels), dtype=bool)
    counted = _counted(s, distance, same)
    if counted.sum() < 2:
        return np.nan
    s, distance = s[counted].astype(float), distance[counted].astype(float)
    from_mean = distance - distance.mean()
    slope = _ratio(from_mean @ (s - s.mean()), from_mean @ from_mean)  # exactly 0 if all signs are equal
    return float(distance.mean() - s.mean() / slope) if slope < 0 else np.nan


def jackknife_errors(s, labels, *, num_classes=None):
    """Standard errors of `within_class` and `between_classes` due to the choice of the n examples.

    They are delete-one jackknife estimates stratified by class, because probe sets are drawn class by class: with
    theta_k the summary of C without example k, n_c the size of class c and theta_c the mean of theta_k over class c,
    error^2 = sum over c of (n_c - 1) / n_c * sum over k in c of (theta_k - theta_c)^2.

    s: (n, n), symmetric; labels: (n,) class indices. Returns (within, between), NaN where the summary is NaN. A class
    contributes only if it has three examples or more: one is left out, and two form a pair. Raises what
    `class_stiffness` raises.
    Source: Arvesen 1969 (the jackknife of means over pairs); Jones 1974 (strata).
    """
    C = class_stiffness(s, labels, num_classes=num_classes)
    labels = class_indices("labels", labels, len(s))
    counted = ~np.isnan(s)
    np.fill_diagonal(counted, False)
    own = np.eye(len(C))[labels]
    sums, pairs = np.where(counted, s, 0) @ own, counted @ own  # (n, Nc): of each example with each class
    # the row of example k's class in C without k; within the class each of k's pairs occurs twice
    left_sums, left_pairs = ((own.T @ part)[labels] - part * (1 + own) for part in (sums, pairs))
    row = _ratio(left_sums, left_pairs)
    own = own > 0
    within = np.where(own, row, np.diagonal(C))
    # off the diagonal, leaving out k changes the row and the column of k's class
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
    """sums / counts; NaN where the count is 0."""
    sums = np.asarray(sums, float)
    return np.divide(sums, counts, out=np.full_like(sums, np.nan), where=np.asarray(counts) > 0)


def class_indices(name, labels, expected):
    """(n,) class indices, given as whole numbers, floats too, of shape (n,) or (n, 1), or as one-hot rows (n, Nc)."""
    if np.ma.is_masked(labels):
        raise ValueError(f"{name} is a masked array with {np.ma.count_masked(labels)} masked entries; drop their "
                         "examples")
    labels = np.asarray(labels)
    if labels.dtype.kind not in "biuf":
        raise TypeError(f"{name} has dtype {labels.dtype}; expected class indices, whole numbers")
    if len(labels) != expected:
        raise ValueError(f"{name} has {len(labels)} entries for {expected} examples of s")
    if labels.ndim > 2 or (labels.ndim == 2 and labels.shape[1] > 1):
        if labels.ndim > 2 or not (np.isin(labels, (0, 1)).all() and (labels.sum(axis=1) == 1).all()):
            raise ValueError(f"{name} has shape {labels.shape} and is not one-hot; expected one class for each "
                             f"example, as indices ({expected},) or as one-hot rows")
        return labels.argmax(axis=1)
    labels = labels.reshape(-1)
    if labels.dtype.kind == "f":
        fractions = labels != np.floor(labels)  # NaN too
        if fractions.any():
            raise ValueError(f"{name} holds {labels[fractions][0]}; expected class indices, whole numbers")
    labels = labels.astype(np.int64)
    if labels.min(initial=0) < 0:
        raise ValueError(f"{name} holds {labels.min()}; class indices start at 0")
    return labels


def square(C):
    """C as an array; ValueError if it is not a square matrix."""
    C = np.asarray(C)
    if C.ndim != 2 or C.shape[0] != C.shape[1]:
        raise ValueError(f"C has shape {C.shape}; expected a class stiffness matrix, (Nc, Nc)")
    return C


def _mean(values):
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else np.nan
