"""The Gram matrix in tiles of rows and columns, so that its intermediate values fit into a memory budget."""

import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import cached_property

import keras
import numpy as np
from keras import ops

from stiffness.engine.engine import slices_of
from stiffness.engine.examples import NotFinite, count_of, take, to_numpy

LARGEST_BLOCK = 1024  # examples along a side of a tile; larger tiles are no faster
SMALLEST_BLOCK = 1000  # a symmetric matrix of fewer examples is one tile, which is computed in strips
BLOCKS = 8  # per side of a symmetric matrix; the tiles that are computed then cover 9/16 of it
LONG = 10  # seconds to go from which on progress is shown
LARGE = 2**30  # bytes of a result from which on its size is told before the work starts


@dataclass
class Block:
    """The features of some examples, and their squared norms, relative to the squares of the scales."""

    where: slice
    features: dict  # label of a layer -> its features
    scales: np.ndarray
    x_name: str

    @cached_property
    def parts(self):
        """{label: (n,)}: each layer's part of the squared norms."""
        parts = {label: to_numpy(sum(feature.squares() for feature in own))
                 for label, own in self.features.items() if own}
        for label, part in parts.items():
            check_norms(part, label, self.where.start, self.x_name)
        return parts

    @property
    def squares(self):
        return sum(self.parts.values(), start=np.zeros(len(self.scales)))

    @property
    def traces(self):
        """{label: the layer's part of the sum of the squared norms}"""
        return {label: float(part @ self.scales**2) for label, part in self.parts.items()}


def block_of(engine, examples, where, chunk, x_name):
    return Block(where, *engine.features(*take(examples, where), chunk, where.start, x_name), x_name)


def tiles(engine, rows, columns, budget, verbose, by_layer=False):
    """Yields (the rows' `Block`, the columns' `Block`, rows, columns, products, parts) for all pieces of all tiles;
    columns None: those on and above the diagonal of the symmetric matrix of the rows, where the blocks of a tile on the
    diagonal are one object. The rows and columns of a piece are slices of the whole matrix.

    The features of as many blocks of rows as the budget allows are kept in memory; each block of columns is multiplied
    with all of them, and so is computed once for each group of row blocks.
    """
    symmetric = columns is None
    others, name = (rows, "x") if symmetric else (columns, "x2")
    n, m = count_of(rows[1]), count_of(others[1])
    # of a symmetric matrix only the tiles on and above the diagonal are computed, which saves more with more blocks
    several = min(max(n // SMALLEST_BLOCK, 1), BLOCKS) if symmetric else 1
    plan = engine.plan(budget, n, m, largest=min(-(-max(n, m) // several), LARGEST_BLOCK), by_layer=by_layer)
    row_blocks = slices_of(n, plan.rows)
    column_blocks = row_blocks if symmetric else slices_of(m, plan.columns)
    count = len(row_blocks) * (len(row_blocks) + 1) // 2 if symmetric else len(row_blocks) * len(column_blocks)
    progress = Progress(count, n, m, engine.dtype.itemsize, verbose)

    if symmetric and len(row_blocks) == 1 and plan.chunk >= n:
        kept = _whole if by_layer else ops.diagonal
        found = engine.products_at_once(*rows, kept)
        if found:
            block = Block(row_blocks[0], {}, found[0], "x")
            for r, c, total, parts in found[1]:
                yield block, block, r, c, total, parts
            return

    def of_group(group):  # a function, so that its features are freed before the next group's are computed
        lefts = [block_of(engine, rows, r, plan.chunk, "x") for r in row_blocks[group]]
        for c in column_blocks[group.start :] if symmetric else column_blocks:
            same = [left for left in lefts if symmetric and left.where == c]
            right = same[0] if same else block_of(engine, others, c, plan.chunk, name)
            for left in lefts:
                if symmetric and c.start < left.where.start:
                    continue
                kept = _whole if by_layer else ops.diagonal if left is right else None
                for r, c_, total, parts in engine.products(left.features, right.features, kept):
                    yield left, right, _shifted(r, left), _shifted(c_, right), total, parts
                progress.add()

    for group in slices_of(len(row_blocks), plan.held):
        yield from of_group(group)


def _shifted(part, block):
    return slice(part.start + block.where.start, part.stop + block.where.start)


def _whole(part):
    return part


@dataclass
class Products:
    """The inner products of all gradients, relative to a scale of each example, and what they consist of."""

    scaled: np.ndarray
    scales: np.ndarray
    scales2: np.ndarray
    squares: np.ndarray
    squares2: np.ndarray
    shares: dict
    layers: dict = field(default_factory=dict)


def all_products(engine, rows, columns, budget, per_layer, verbose):
    symmetric = columns is None
    n, m = count_of(rows[1]), count_of((rows if symmetric else columns)[1])
    products = np.empty((n, m), engine.dtype)
    squares, squares2 = np.zeros(n, engine.dtype), np.zeros(m, engine.dtype)
    scales, scales2 = np.zeros(n), np.zeros(m)
    layers, traces, seen = {}, Counter(), set()
    for left, right, r, c, total, parts in tiles(engine, rows, columns, budget, verbose, per_layer):
        _place(products, r, c, total, symmetric)
        if left is right:
            scales[left.where] = left.scales
        elif not symmetric:
            for block, own_squares, own_scales in ((left, squares, scales), (right, squares2, scales2)):
                if (block.x_name, block.where.start) not in seen:
                    seen.add((block.x_name, block.where.start))
                    own_squares[block.where], own_scales[block.where] = block.squares, block.scales
                    traces.update(block.traces if block is left else {})
        for label, part in parts.items():
            if per_layer:
                _place(layers.setdefault(label, np.zeros((n, m), engine.dtype)), r, c, part, symmetric)
            if left is right:
                squared = to_numpy(ops.diagonal(part) if per_layer else part)
                check_norms(squared, label, r.start, "x")
                traces[label] += float(squared @ scales[r]**2)
    if symmetric:
        squares = squares2 = products.diagonal().copy()
        scales2 = scales
    trace = sum(traces.values())
    shares = {label: part / trace for label, part in traces.items()} if trace else {}
    return Products(products, scales, scales2, squares, squares2, shares, layers)


def _place(matrix, r, c, part, symmetric):
    part = to_numpy(part)
    if symmetric and r != c:
        matrix[c, r] = part.T
    matrix[r, c] = part


def largest_of_each_row(engine, rows, columns, budget, k, value_of, verbose):
    """((n, k) values, (n, k) columns): the k largest of value_of(left, right, products) in each row, largest first.

    NaN and -1 where a row has fewer values that are numbers. columns None: the other rows.
    """
    n = count_of(rows[1])
    best, where = np.full((n, k), -np.inf), np.full((n, k), -1)
    for left, right, _, _, total, _ in tiles(engine, rows, rows if columns is None else columns, budget, verbose):
        values = value_of(left, right, to_numpy(total)).astype(float)
        values[np.isnan(values)] = -np.inf
        numbers = np.broadcast_to(np.arange(right.where.start, right.where.stop), values.shape)
        if columns is None:
            values[numbers == np.arange(left.where.start, left.where.stop)[:, None]] = -np.inf
        values = np.hstack([best[left.where], values])
        numbers = np.hstack([where[left.where], numbers])
        order = np.argsort(-values, axis=1, kind="stable")[:, :k]
        best[left.where] = np.take_along_axis(values, order, axis=1)
        where[left.where] = np.take_along_axis(numbers, order, axis=1)
    none = np.isneginf(best)
    return np.where(none, np.nan, best), np.where(none, -1, where)


def unit_sums(engine, examples, labels, num_classes, plan, x_name, verbose):
    """([(num_classes, p)] for each part of p weights, (num_classes,)): the sum of the unit gradients of each class, and
    how many of its gradients are not 0."""
    sums, counts = None, np.zeros(num_classes, int)
    progress = Progress(-(-len(labels) // plan.rows), len(labels), 1, engine.dtype.itemsize, verbose)
    for c in slices_of(len(labels), plan.rows):
        found = block_of(engine, examples, c, plan.chunk, x_name)  # unit gradients need no scale
        features = [feature for parts in found.features.values() for feature in parts]
        sums = sums or [np.zeros((num_classes, feature.length()), engine.dtype) for feature in features]
        norms = root(found.squares)
        for label in np.unique(labels[c]):
            members = np.flatnonzero((labels[c] == label) & (norms > 0))
            counts[label] += len(members)
            for total, feature in zip(sums, features):
                total[label] += to_numpy(feature.weighted_sum(members, 1 / norms[members]))
        progress.add()
    return sums, counts


def root(squares):
    return np.sqrt(np.maximum(squares, 0))  # rounding may make a square negative


def check_norms(squares, label, start, x_name):
    """Raises NotFinite for squared norms of a layer's gradients that are infinite or NaN. squares: (n,).

    By the Cauchy-Schwarz inequality all products are finite if the squared norms are.
    """
    bad = np.flatnonzero(~np.isfinite(squares))
    if len(bad):
        raise NotFinite(f"the squared norm of the gradient of example {start + bad[0]} of {x_name} is "
                        f"{squares[bad[0]]} in {squares.dtype} in layer {label} (not finite for {len(bad)} of "
                        f"{len(squares)} examples measured together): the model's weights or activations are too "
                        "large, or a function in it has no gradient there; look for a weight that has diverged")


class Progress:
    """The size of the work before it starts, and a progress bar. verbose: 1 always, 0 never, "auto" for long work."""

    def __init__(self, tiles, n, m, itemsize, verbose):
        self.tiles, self.verbose = tiles, verbose
        self.done, self.started, self.bar = 0, time.perf_counter(), None
        self.what = f"{n:,} x {m:,} products, {n * m * itemsize / 1e9:.2g} GB, in {tiles:,} tiles"
        if verbose == 1 or (verbose == "auto" and n * m * itemsize > LARGE):
            print(self.what, file=sys.stderr)

    def add(self):
        self.done += 1
        left = (time.perf_counter() - self.started) / self.done * (self.tiles - self.done)
        # the first tiles take longer, because they are compiled
        long = self.verbose == "auto" and self.done > 3 and left > LONG
        if self.bar is None and self.tiles > 1 and (self.verbose == 1 or long):
            self.bar = keras.utils.Progbar(self.tiles, unit_name="tile")
        if self.bar is not None:
            self.bar.update(self.done)
