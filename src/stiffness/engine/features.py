"""Per-example gradients as factors, whose products form the Gram matrix.

- `Factors`: matrices of (n, T, k). The product of examples i and j is the sum over t, s of the product over factors of
  F[i, t] . F[j, s]. An outer product sum_t a_t d_t^T, the gradient of every linear map, is the pair (a, d).
- `Convolved`: the same for the patches a_t of an image (n, *space, c) and d (n, *out, f), without forming the patches.
- `Rows`: gradients of rows of a table, d (n, T, k) at the rows `ids` (n, T); only equal rows have products.
"""


import itertools
import math
from dataclasses import dataclass, replace

import numpy as np
from keras import ops

from stiffness.engine.backend import backend

PAIRWISE_POSITIONS = 8  # the most positions that are multiplied pair by pair, if that is cheaper
MATRICES = 3  # of (n, m) that exist at a time in a product of features
STRIP = 256  # rows of a strip, in which the tiles on the diagonal are computed, as half of such a tile is a repeat
SIDE = 300  # examples per side of a tile in products that need many numbers for each pair of examples
PATCHED = 64  # examples whose patches are formed at a time to compute their gradients' norms
ELEMENTWISE = 60  # operations of a matrix product that take the time of one elementwise operation


def even_size(n, most):
    """The part size when n is divided into as few and as equal parts as possible, none larger than `most`."""
    return -(-n // -(-n // most))


@dataclass(frozen=True)
class _Parts:
    """Features stored as tensors (n, ...), with settings."""

    parts: tuple
    compiles = True

    def width(self):
        """How many numbers there are per example."""
        return sum(math.prod(part.shape[1:]) for part in self.parts)

    def per_pair(self):
        """How many numbers a product needs per pair of examples, in tiles of SIDE examples, besides MATRICES."""
        return 0

    def __len__(self):
        return self.parts[0].shape[0]

    def __getitem__(self, examples):
        return replace(self, parts=tuple(part[examples] for part in self.parts))

    @staticmethod
    def joined(chunks):
        """The features of the chunks' examples, one after another."""
        parts = zip(*[chunk.parts for chunk in chunks])
        return replace(chunks[0], parts=tuple(ops.concatenate(part, axis=0) for part in parts))


@dataclass(frozen=True)
class Factors(_Parts):
    bias: bool = False  # only with one position: the first factor has one more column, of ones

    def length(self):
        """The length of the gradient as a vector."""
        first, *rest = [part.shape[2] for part in self.parts]
        return (first + self.bias) * math.prod(rest)

    def products(self, other):
        """(n, m): g_i . g_j"""
        total = None
        for pair in itertools.product(self._steps(), other._steps()):
            first, *rest = map(backend.inner, *backend.run_after(total, pair))
            term = math.prod(rest, start=first + 1 if self.bias else first)
            total = term if total is None else total + term
        return total

    def _steps(self):
        """For each position, the matrices (n, k) of the factors."""
        if self.parts[0].shape[1] == 1:
            return [[ops.reshape(part, (part.shape[0], -1)) for part in self.parts]]  # without a copy
        return list(zip(*[ops.unstack(part, axis=1) for part in self.parts]))

    def squares(self):
        """(n,): g_i . g_i"""
        if self.parts[0].shape[1] == 1:
            first, *rest = [ops.sum(part[:, 0] ** 2, axis=1) for part in self.parts]
            return math.prod(rest, start=first + self.bias)
        return ops.sum(math.prod(ops.einsum("ntk,nsk->nts", part, part) for part in self.parts), axis=(1, 2))

    def weighted_sum(self, examples, weights):
        """(length,): the sum of weights[k] g_i over i = examples[k]."""
        first, *rest = [ops.take(part, examples, axis=0) for part in self.parts]
        if self.bias:
            first = ops.pad(first, [[0, 0], [0, 0], [0, 1]], constant_values=1)
        first = first * ops.reshape(ops.convert_to_tensor(weights, first.dtype), (-1, 1, 1))
        first, *rest = [ops.reshape(part, (-1, part.shape[-1])) for part in (first, *rest)]
        return ops.reshape(ops.matmul(ops.transpose(first), rest[0]) if rest else ops.sum(first, axis=0), (-1,))


@dataclass(frozen=True)
class Convolved(_Parts):
    """The inner product of two patches is the sum, over the kernel's offsets, of the inner products of their pixels.

    Patches overlap, so each pair of pixels is multiplied only once, and the sums are taken axis by axis.
    """

    axes: tuple  # of `Axis`

    def per_pair(self):
        return 2 * self._pairs(0) + self._pairs(1)

    def length(self):
        """The length of the gradient as a vector."""
        return math.prod(axis.kernel for axis in self.axes) * math.prod(part.shape[-1] for part in self.parts)

    def cost(self):
        """The number of multiplications and additions per pair of examples."""
        products = sum(self._pairs(number) * part.shape[-1] for number, part in enumerate(self.parts))
        return products + (len(self.axes) + 2) * self._pairs(1) * ELEMENTWISE

    def _pairs(self, number):
        """The number of pairs of positions in a part."""
        return math.prod(self.parts[number].shape[1:-1]) ** 2

    def products(self, other):
        """(n, m): g_i . g_j"""
        symmetric = self is other  # then only the tiles on and above the diagonal are computed
        ones, others = (of._slices(2 if symmetric else 1) for of in (self, other))
        tiles, last = {}, None
        for r, c in np.ndindex(len(ones), len(others)):
            if symmetric and c < r:
                tiles[r, c] = ops.transpose(tiles[c, r])
                continue
            last = ones[r]._products(others[c], last)
            tiles[r, c] = (last + ops.transpose(last)) / 2 if symmetric and c == r else last  # exactly symmetric
        return ops.concatenate([ops.concatenate([tiles[r, c] for c in range(len(others))], axis=1)
                                for r in range(len(ones))], axis=0)

    def _slices(self, least):
        n = self.parts[0].shape[0]
        side = even_size(n, min(SIDE, -(-n // least)))
        return [replace(self, parts=tuple(part[start : start + side] for part in self.parts))
                for start in range(0, n, side)]

    def _products(self, other, last):
        """(n, m). A graph computes it after the product `last`, to limit its memory."""
        pixels, positions = map(self._position_products, *backend.run_after(last, (self.parts, other.parts)))
        n, m, done = *pixels.shape[-2:], 1
        for axis in self.axes:
            seen = ops.convert_to_tensor(axis.pairs(), pixels.dtype)
            pixels = ops.matmul(seen, ops.reshape(pixels, (done, axis.size**2, -1)))
            done *= axis.out**2
        terms = ops.reshape(pixels, (done, -1)) * ops.reshape(positions, (done, -1))
        return ops.reshape(ops.matmul(ops.ones((1, done), terms.dtype), terms), (n, m))  # faster than ops.sum

    @staticmethod
    def _position_products(part, other):
        """(S, S, ..., n, m): the inner products of all pairs of positions, axis by axis, for (n, S, ..., k)."""
        part, other = (ops.moveaxis(t, 0, -2) for t in (part, other))
        axes = 2 * np.arange(part.ndim - 2)
        return backend.inner(ops.expand_dims(part, tuple(axes + 1)), ops.expand_dims(other, tuple(axes)))

    def squares(self):
        """(n,): g_i . g_i"""
        return ops.concatenate([self._factors(range(start, min(start + PATCHED, len(self)))).squares()
                                for start in range(0, len(self), PATCHED)], axis=0)

    def weighted_sum(self, examples, weights):
        """(length,): the sum of weights[k] g_i over i = examples[k]."""
        return self._factors(examples).weighted_sum(np.arange(len(examples)), weights)

    def _factors(self, examples):
        x, d = [ops.take(part, np.asarray(examples), axis=0) for part in self.parts]
        return Factors((merge_last(patches_of(x, self.axes)), positions_of(d)))


@dataclass(frozen=True)
class Axis:
    """How a convolution moves along one spatial axis."""

    size: int
    out: int
    kernel: int
    stride: int
    dilation: int
    before: int  # padding in pixels
    after: int

    def pairs(self):
        """(out^2, size^2): for how many of the kernel's offsets two positions see two pixels, which are not padding."""
        offsets, positions = np.ogrid[: self.kernel, : self.out]
        seen = positions * self.stride + offsets * self.dilation - self.before
        sees = (seen[..., None] == np.arange(self.size)).astype(float)
        return np.einsum("ktu,ksv->tsuv", sees, sees).reshape(self.out**2, self.size**2)


class Rows:
    compiles = False  # works on NumPy arrays

    def __init__(self, ids, d, table):
        """ids: (n, T) rows of a table with `table` rows; d: (n, T, k). Equal rows of an example are summed."""
        self.n, self.table = len(ids), table
        keys, place = np.unique((ids + table * np.arange(self.n)[:, None]).reshape(-1), return_inverse=True)
        added, self.steps = np.zeros((len(keys), d.shape[-1]), d.dtype), ids.shape[1]
        np.add.at(added, place, d.reshape(-1, d.shape[-1]))
        examples, rows = np.divmod(keys, table)
        self.rows, self.d, self.examples = _by_row(rows, added, examples)

    @classmethod
    def joined(cls, chunks):
        """The features of the chunks' examples, one after another."""
        rows = object.__new__(cls)
        starts = np.cumsum([0, *[len(chunk) for chunk in chunks]])
        found = _by_row(np.concatenate([chunk.rows for chunk in chunks]), np.concatenate([chunk.d for chunk in chunks]),
                        np.concatenate([chunk.examples + start for chunk, start in zip(chunks, starts)]))
        vars(rows).update(vars(chunks[0]), n=int(starts[-1]), **dict(zip(("rows", "d", "examples"), found)))
        return rows

    def __len__(self):
        return self.n

    def per_pair(self):
        return 0

    def width(self):
        return self.steps * self.d.shape[1]

    def length(self):
        return self.table * self.d.shape[1]

    def products(self, other):
        total, of_all = np.zeros((self.n, other.n), self.d.dtype), []
        common = np.intersect1d(self.rows, other.rows)
        for mine, others in zip(self._of(common), other._of(common)):
            if mine.stop - mine.start == self.n and others.stop - others.start == other.n:
                of_all.append((mine, others))  # in every example, as positions are: one matrix product for all of these
            else:
                total[self.examples[mine, None], other.examples[others]] += self.d[mine] @ other.d[others].T
        if of_all:
            mine, others = (np.hstack([d[row] for row in rows]) for d, rows in zip((self.d, other.d), zip(*of_all)))
            total += mine @ others.T
        return ops.convert_to_tensor(total)

    def squares(self):
        return ops.convert_to_tensor(np.bincount(self.examples, (self.d**2).sum(axis=1), self.n).astype(self.d.dtype))

    def weighted_sum(self, examples, weights):
        weight_of = np.zeros(self.n, self.d.dtype)
        weight_of[examples] = weights
        total = np.zeros((self.table, self.d.shape[1]), self.d.dtype)
        np.add.at(total, self.rows, self.d * weight_of[self.examples, None])
        return total.reshape(-1)

    def _of(self, rows):
        """The slice of each of these rows of the table."""
        return list(map(slice, np.searchsorted(self.rows, rows), np.searchsorted(self.rows, rows, "right")))


def _by_row(rows, d, examples):
    """The gradients of rows of a table, sorted by row."""
    order = np.argsort(rows, kind="stable")
    return rows[order], d[order], examples[order]


# --- shapes ---------------------------------------------------------------------------------------------------------


def positions_of(t):
    """(n, ..., k) -> (n, T, k)"""
    return ops.reshape(t, (t.shape[0], -1, t.shape[-1]))


def merge_last(t):
    """(n, T, K, c) -> (n, T, K c)"""
    return ops.reshape(t, (*t.shape[:2], -1))


def flat(t):
    """(n, ...) -> (n, 1, k)"""
    return ops.reshape(t, (t.shape[0], 1, -1))


def windows(t, axes):
    """(n, *space, c) -> (n, *out, c) for each offset in a convolution's kernel: the pixels it is multiplied with."""
    t = ops.pad(t, [[0, 0], *[[axis.before, axis.after] for axis in axes], [0, 0]])
    for offset in np.ndindex(*[axis.kernel for axis in axes]):
        window = tuple(slice(o * axis.dilation, o * axis.dilation + (axis.out - 1) * axis.stride + 1, axis.stride)
                       for o, axis in zip(offset, axes))
        yield t[(slice(None), *window)]


def patches_of(t, axes):
    """(n, *space, c) -> (n, T, K, c): the patch at each position of the convolution, K offsets in all."""
    seen = list(windows(t, axes))
    return ops.reshape(ops.concatenate(seen, axis=-1), (t.shape[0], -1, len(seen), t.shape[-1]))
