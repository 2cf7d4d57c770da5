"""The closed form of each kind of layer: per-example gradients as factors, whose products form the Gram matrix.

A rule (a class below) has two parts. `tapped` replaces the layer's `call` during one forward pass and passes
(recorded, output) to `tap`, which returns the output; `recorded` is what the gradient needs besides the gradient d with
respect to the output. `features` turns all calls (layer, recorded, d) of a layer, or of layers that share variables,
into features:

- `Factors`: matrices of (n, T, k). The product of examples i and j is the sum over t, s of the product over factors of
  F[i, t] . F[j, s]. An outer product sum_t a_t d_t^T, the gradient of every linear map, is the pair (a, d).
- `Convolved`: the same for the patches a_t of an image (n, *space, c) and d (n, *out, f), without forming the patches.
- `Rows`: gradients of rows of a table, d (n, T, k) at the rows `ids` (n, T); only equal rows have products.
"""

import itertools
import math
from dataclasses import dataclass, replace

import keras
import numpy as np
from keras import ops

from stiffness.engine import autodiff

PAIRWISE_POSITIONS = 8  # the most positions that are multiplied pair by pair, if that is cheaper
MATRICES = 3  # of (n, m) that exist at a time in a product of features
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
            first, *rest = map(autodiff.inner, *autodiff.run_after(total, pair))
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

    axes: tuple  # of `_Axis`

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
        pixels, positions = map(self._position_products, *autodiff.run_after(last, (self.parts, other.parts)))
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
        return autodiff.inner(ops.expand_dims(part, tuple(axes + 1)), ops.expand_dims(other, tuple(axes)))

    def squares(self):
        """(n,): g_i . g_i"""
        return ops.concatenate([self._factors(range(start, min(start + PATCHED, len(self.parts[0])))).squares()
                                for start in range(0, len(self.parts[0]), PATCHED)], axis=0)

    def weighted_sum(self, examples, weights):
        """(length,): the sum of weights[k] g_i over i = examples[k]."""
        return self._factors(examples).weighted_sum(np.arange(len(examples)), weights)

    def _factors(self, examples):
        x, d = [ops.take(part, np.asarray(examples), axis=0) for part in self.parts]
        return Factors((_merge_last(_patches(x, self.axes)), _positions(d)))


@dataclass(frozen=True)
class _Axis:
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
        self._sort(rows, added, examples)

    @classmethod
    def joined(cls, chunks):
        """The features of the chunks' examples, one after another."""
        rows = object.__new__(cls)
        starts = np.cumsum([0, *[len(chunk) for chunk in chunks]])
        vars(rows).update(vars(chunks[0]), n=int(starts[-1]))
        rows._sort(np.concatenate([chunk.rows for chunk in chunks]), np.concatenate([chunk.d for chunk in chunks]),
                   np.concatenate([chunk.examples + start for chunk, start in zip(chunks, starts)]))
        return rows

    def _sort(self, rows, d, examples):
        order = np.argsort(rows, kind="stable")
        self.rows, self.d, self.examples = rows[order], d[order], examples[order]

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


def rule_of(layer):
    """The rule of the layer, or None. Subclasses count only if they inherit `call` unchanged."""
    if getattr(layer, "padding", None) == "causal" and isinstance(layer, keras.layers.SeparableConv1D):
        return None
    for kind, rule in RULES.items():
        if isinstance(layer, kind) and type(layer).call is kind.call:
            return _LoraDense if rule is _Dense and getattr(layer, "lora_enabled", False) else rule
    return _Table if type(layer).__name__ == "PositionEmbedding" else None  # of keras-hub, which is not imported for it


# --- linear maps ----------------------------------------------------------------------------------------------------


class _Linear:
    """Any layer that is linear in `kernel` and then adds `bias`; the activation is applied after the tap.

    `outer` returns a call's gradient for each group of the kernel: (a, d) for sum_t a_t d_t^T, or (g,), multiplied out.
    """

    names = ("kernel", "bias")
    applied_outside = ("activation",)  # attributes that `tapped` applies itself
    compiles = True  # `features` consists of tensor operations only
    one_bias = False  # every position adds the whole bias, so it is the weight of one more input, which is always 1

    @staticmethod
    def tapped(layer, call, tap, activation):
        def tapped(inputs, *args, **kwargs):
            output = tap(inputs, call(inputs, *args, **kwargs))
            return output if activation is None else activation(output)

        return tapped

    @classmethod
    def features(cls, calls):
        kernels, biases = _by_variable(calls, "kernel"), _by_variable(calls, "bias")
        features = [feature for same in kernels for feature in cls.of_kernel(same)]
        if cls.one_bias and len(calls) == len(kernels) == len(biases) == 1:
            a, *d = features[0].parts
            if d and a.shape[1] == 1:
                return [replace(features[0], bias=True)]
        return features + [_factors(sum(_flat(cls.bias(layer, d)) for layer, _, d in same)) for same in biases]

    @classmethod
    def of_kernel(cls, calls):
        return [_factors(*_joined(group)) for group in zip(*[cls.outer(*call) for call in calls])]


class _Dense(_Linear):
    one_bias = True

    @staticmethod
    def outer(layer, a, d):
        return [(_positions(a), _positions(d))]

    @staticmethod
    def bias(layer, d):
        return ops.sum(_positions(d), axis=1)


class _LoraDense(_Dense):
    """With kernel W + s A B and G its gradient, the gradients of A and B are s G B^T and s A^T G."""

    names = ("lora_kernel_a", "lora_kernel_b", "bias")

    @classmethod
    def features(cls, calls):
        features = []
        for layer, a, d in calls:
            scale, a, d = layer.lora_alpha / layer.lora_rank, _positions(a), _positions(d)
            left, right = (ops.cast(v, d.dtype) for v in (layer.lora_kernel_a, layer.lora_kernel_b))
            features.append([(a, scale * ops.matmul(d, ops.transpose(right))), (scale * ops.matmul(a, left), d)])
        features = [_factors(*_joined(pairs)) for pairs in zip(*features)]
        biases = [_factors(sum(_flat(cls.bias(layer, d)) for layer, _, d in same))
                  for same in _by_variable(calls, "bias")]
        return features + biases


class _EinsumDense(_Linear):
    @staticmethod
    def outer(layer, a, d):
        inputs, kernel, outputs = _letters(layer.equation, a.ndim, d.ndim)
        batch = inputs[0]
        if outputs[0] != batch or batch in kernel:
            raise NotImplementedError("the first axis is not that of the examples")
        shared = [c for c in inputs[1:] if c in outputs and c in kernel]
        if shared:  # each of these positions has its own kernel
            return [(_flat(ops.einsum(f"{inputs},{outputs}->{batch}{kernel}", a, d)),)]
        positions = "".join(c for c in inputs[1:] if c in outputs)
        rows = "".join(c for c in inputs[1:] if c not in outputs)
        columns = "".join(c for c in outputs[1:] if c in kernel)
        a = ops.einsum(f"{inputs}->{batch}{positions}{rows}", a)
        d = ops.einsum(f"{outputs}->{batch}{positions}{columns}", d)
        count = math.prod(a.shape[1 : 1 + len(positions)])
        return [(ops.reshape(a, (len(a), count, -1)), ops.reshape(d, (len(d), count, -1)))]

    @staticmethod
    def bias(layer, d):
        shape = (1,) * (d.ndim - 1 - len(layer.bias.shape)) + tuple(layer.bias.shape)
        axes = [axis for axis, size in enumerate(shape, start=1) if size == 1 and d.shape[axis] > 1]
        return ops.sum(d, axis=axes) if axes else d


class _Conv(_Linear):
    @staticmethod
    def images(layer, a, d):
        """(the image that the kernel moves over, what it is multiplied with at each position)."""
        return _last(layer, a), _last(layer, d)

    @classmethod
    def of_kernel(cls, calls):
        layer, a, d = calls[0]
        image, d = cls.images(layer, a, d)
        axes, positions = _axes(image, layer), math.prod(d.shape[1:-1])
        if not len(calls) == getattr(layer, "groups", 1) == 1 < positions:
            return super().of_kernel(calls)
        convolved = Convolved((image, d), axes)
        if convolved.cost() < convolved.length():
            return [convolved]
        if _pairwise(positions, convolved.length() // d.shape[-1], d.shape[-1]):
            return super().of_kernel(calls)
        return [Factors((_flat(_kernel_gradients(image, d, axes)),))]

    @classmethod
    def outer(cls, layer, a, d):
        image, d = cls.images(layer, a, d)
        patches, d, groups = _patches(image, _axes(image, layer)), _positions(d), getattr(layer, "groups", 1)
        inputs, filters = patches.shape[-1] // groups, d.shape[-1] // groups
        return [(_merge_last(patches[..., g * inputs : (g + 1) * inputs]), d[..., g * filters : (g + 1) * filters])
                for g in range(groups)]

    @staticmethod
    def bias(layer, d):
        return ops.sum(_positions(_last(layer, d)), axis=1)


class _ConvTranspose(_Conv):
    """The adjoint of a convolution: the gradient of its kernel is that of the convolution from d to the input."""

    @staticmethod
    def images(layer, a, d):
        return _last(layer, d), _last(layer, a)


class _DepthwiseConv(_Conv):
    @classmethod
    def of_kernel(cls, calls):
        return _Linear.of_kernel.__func__(cls, calls)

    @classmethod
    def outer(cls, layer, a, d):
        image, d = cls.images(layer, a, d)
        patches = _patches(image, _axes(image, layer))
        d = ops.reshape(d, (len(d), -1, patches.shape[-1], layer.depth_multiplier))
        return [(_flat(ops.einsum("ntkc,ntcm->nkcm", patches, d)),)]


class _SeparableConv(_Conv):
    """A depthwise convolution, a pointwise one, and a bias: one tap after each of the first two."""

    names = ("depthwise_kernel", "pointwise_kernel", "bias")

    @staticmethod
    def tapped(layer, call, tap, activation):
        options = {"padding": layer.padding, "data_format": layer.data_format}

        def tapped(inputs):
            middle = tap(inputs, ops.depthwise_conv(inputs, layer.depthwise_kernel, strides=layer.strides,
                                                    dilation_rate=layer.dilation_rate, **options))
            output = ops.conv(middle, layer.pointwise_kernel, strides=1, padding="valid",
                              data_format=layer.data_format)
            if layer.use_bias:
                ones = (1,) * layer.rank
                shape = (1, *ones, -1) if layer.data_format == "channels_last" else (1, -1, *ones)
                output = ops.add(output, ops.reshape(layer.bias, shape))
            output = tap(middle, output)
            return output if activation is None else activation(output)

        return tapped

    @classmethod
    def features(cls, calls):
        depthwise, pointwise = calls[::2], calls[1::2]
        features = [_factors(*_joined([_DepthwiseConv.outer(*call)[0] for call in same]))
                    for same in _by_variable(depthwise, "depthwise_kernel")]
        for same in _by_variable(pointwise, "pointwise_kernel"):
            pairs = [(_positions(_last(layer, a)), _positions(_last(layer, d))) for layer, a, d in same]
            features.append(_factors(*_joined(pairs)))
        return features + [_factors(sum(_flat(cls.bias(layer, d)) for layer, _, d in same))
                           for same in _by_variable(pointwise, "bias")]


# --- scale and shift ------------------------------------------------------------------------------------------------


class _ScaleAndShift:
    """output = normalised * gamma + beta: the layer runs with gamma 1 and beta 0, and these are applied after it."""

    names = ("gamma", "scale", "beta")
    applied_outside = ()
    compiles = True

    @classmethod
    def tapped(cls, layer, call, tap, _):
        gamma = next((name for name in ("gamma", "scale") if isinstance(vars(layer).get(name), keras.Variable)), None)
        beta = "beta" if isinstance(vars(layer).get("beta"), keras.Variable) else None
        found = {name: vars(layer)[name] for name in (gamma, beta) if name}

        def tapped(inputs, *args, **kwargs):
            fills = {gamma: ops.ones, beta: ops.zeros}
            vars(layer).update({name: fills[name](v.shape, v.dtype) for name, v in found.items()})
            try:
                normalised = call(inputs, *args, **kwargs)
            finally:
                vars(layer).update(found)
            output = normalised
            if gamma:
                output = output * ops.cast(cls.broadcast(layer, found[gamma], output.ndim), output.dtype)
            if beta:
                output = output + ops.cast(cls.broadcast(layer, found[beta], output.ndim), output.dtype)
            return tap(normalised, output)

        return tapped

    @classmethod
    def features(cls, calls):
        gammas = [*_by_variable(calls, "gamma"), *_by_variable(calls, "scale")]
        return [_factors(sum(cls.reduce(layer, a * d) for layer, a, d in same)) for same in gammas] + [
            _factors(sum(cls.reduce(layer, d) for layer, _, d in same)) for same in _by_variable(calls, "beta")]

    @staticmethod
    def axes(layer, rank):
        axes = layer.axis if isinstance(layer.axis, list | tuple) else [layer.axis]
        return sorted(axis % rank for axis in axes)

    @classmethod
    def broadcast(cls, layer, variable, rank):
        shape = [1] * rank
        for axis, size in zip(cls.axes(layer, rank), variable.shape):
            shape[axis] = size
        return ops.reshape(variable, shape)

    @classmethod
    def reduce(cls, layer, t):
        kept = {0, *cls.axes(layer, t.ndim)}
        others = [axis for axis in range(t.ndim) if axis not in kept]
        return _flat(ops.sum(t, axis=others) if others else t)


# --- tables ---------------------------------------------------------------------------------------------------------


class _Embedding:
    names = ("embeddings",)
    applied_outside = ()
    compiles = False  # sorts and counts tokens

    @staticmethod
    def tapped(layer, call, tap, _):
        return lambda inputs: tap(inputs, call(inputs))

    @staticmethod
    def features(calls):
        return [_rows(same) for same in _by_variable(calls, "embeddings")]


class _ReversibleEmbedding:
    """Looks up rows and, in reverse, multiplies by the same table: the two uses have cross terms."""

    names = ("embeddings", "reverse_embeddings")
    applied_outside = ()
    compiles = False

    @staticmethod
    def tapped(layer, call, tap, _):
        def tapped(inputs, reverse=False):
            return tap((inputs, reverse), call(inputs, reverse=reverse))

        return tapped

    @staticmethod
    def features(calls):
        looked_up = [(layer, a, d) for layer, (a, reverse), d in calls if not reverse]
        reversed_ = [(layer, a, d) for layer, (a, reverse), d in calls if reverse]
        tied = [call for call in reversed_ if call[0].tie_weights]
        features = [_factors(*_joined([(_positions(a), _positions(d)) for _, a, d in same]))
                    for same in _by_variable([call for call in reversed_ if not call[0].tie_weights],
                                             "reverse_embeddings")]
        if not tied:
            return features + _Embedding.features(looked_up)
        for same in _by_variable([(layer, True, a, d) for layer, a, d in tied]
                                 + [(layer, False, a, d) for layer, a, d in looked_up], "embeddings"):
            pairs = [(_positions(d), _positions(a)) if reverse else
                     (ops.one_hot(_ids(a, d), layer.input_dim, dtype=d.dtype), _positions(d))
                     for layer, reverse, a, d in same]
            features.append(_factors(*_joined(pairs)))
        return features


class _Table:
    """A table that is added to the input, cut to the length of the sequence: its gradient is d itself."""

    names = ("position_embeddings",)
    applied_outside = ()
    compiles = True

    @staticmethod
    def tapped(layer, call, tap, _):
        return lambda *args, **kwargs: tap((), call(*args, **kwargs))

    @staticmethod
    def features(calls):
        if len({d.shape for _, _, d in calls}) > 1:
            raise NotImplementedError("called on sequences of different lengths")
        return [_factors(_flat(sum(d for _, _, d in calls)))]


_BY_NAME = {
    **dict.fromkeys(["Dense"], _Dense),
    **dict.fromkeys(["EinsumDense"], _EinsumDense),
    **dict.fromkeys(["Conv1D", "Conv2D", "Conv3D"], _Conv),
    **dict.fromkeys(["DepthwiseConv1D", "DepthwiseConv2D"], _DepthwiseConv),
    **dict.fromkeys(["SeparableConv1D", "SeparableConv2D"], _SeparableConv),
    **dict.fromkeys(["Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"], _ConvTranspose),
    **dict.fromkeys(["LayerNormalization", "RMSNormalization", "GroupNormalization", "BatchNormalization"],
                    _ScaleAndShift),
    **dict.fromkeys(["Embedding"], _Embedding),
    **dict.fromkeys(["ReversibleEmbedding"], _ReversibleEmbedding),
}
# older versions of Keras lack some of these layers
RULES = {getattr(keras.layers, name): rule for name, rule in _BY_NAME.items() if hasattr(keras.layers, name)}


# --- calls and shapes -----------------------------------------------------------------------------------------------


def _by_variable(calls, name):
    """The calls of layers whose variable of that name is trainable, grouped by variable."""
    found = {}
    for call in calls:
        variable = getattr(call[0], name, None)
        if isinstance(variable, keras.Variable) and variable.trainable:
            found.setdefault(id(variable), []).append(call)
    return list(found.values())


def _joined(pairs):
    """Calls (a, d) are concatenated along the positions, which yields their cross terms; calls (g,) are summed."""
    if len(pairs) == 1:
        return pairs[0]
    if len(pairs[0]) == 1:
        return (sum(g for g, in pairs),)
    return tuple(ops.concatenate(parts, axis=1) for parts in zip(*pairs))


def _factors(a, d=None):
    """sum_t a_t d_t^T, kept as factors or multiplied out, whichever makes the products cheaper. d None: a itself."""
    if d is None:
        return Factors((a,))
    apart = a.shape[1] == 1 or _pairwise(a.shape[1], a.shape[2], d.shape[2])
    return Factors((a, d) if apart else (_flat(autodiff.outer(a, d)),))


def _pairwise(positions, rows, columns):
    """Whether multiplying all pairs of positions is cheaper than multiplying the summed outer products."""
    return positions**2 * (rows + columns) < rows * columns and positions <= PAIRWISE_POSITIONS


def _ids(ids, d):
    """(n, ...) -> (n, T), integers."""
    return np.reshape(ops.convert_to_numpy(ids), (len(d), -1)).astype(int)


def _rows(calls):
    ids, ds = zip(*[(_ids(a, d), ops.convert_to_numpy(_positions(d))) for _, a, d in calls])
    return Rows(np.concatenate(ids, axis=1), np.concatenate(ds, axis=1), calls[0][0].input_dim)


def _positions(t):
    """(n, ..., k) -> (n, T, k)"""
    return ops.reshape(t, (t.shape[0], -1, t.shape[-1]))


def _merge_last(t):
    """(n, T, K, c) -> (n, T, K c)"""
    return ops.reshape(t, (*t.shape[:2], -1))


def _flat(t):
    """(n, ...) -> (n, 1, k)"""
    return ops.reshape(t, (t.shape[0], 1, -1))


def _last(layer, t):
    """The same with the channels last."""
    return t if layer.data_format == "channels_last" else ops.moveaxis(t, 1, -1)


def _axes(t, layer):
    """How the layer's kernel moves over t, (n, *space, c)."""
    axes = []
    for size, k, stride, dilation in zip(t.shape[1:-1], layer.kernel_size, layer.strides, layer.dilation_rate):
        extent = (k - 1) * dilation + 1
        before = extent - 1 if layer.padding == "causal" else 0
        out = (size + before - extent) // stride + 1
        if layer.padding == "same":
            out = -(-size // stride)
            before = max((out - 1) * stride + extent - size, 0) // 2
        after = max((out - 1) * stride + extent - size - before, 0)
        axes.append(_Axis(size, out, k, stride, dilation, before, after))
    return tuple(axes)


def _windows(t, axes):
    """(n, *space, c) -> (n, *out, c) for each offset in a convolution's kernel: the pixels it is multiplied with."""
    t = ops.pad(t, [[0, 0], *[[axis.before, axis.after] for axis in axes], [0, 0]])
    for offset in np.ndindex(*[axis.kernel for axis in axes]):
        window = tuple(slice(o * axis.dilation, o * axis.dilation + (axis.out - 1) * axis.stride + 1, axis.stride)
                       for o, axis in zip(offset, axes))
        yield t[(slice(None), *window)]


def _patches(t, axes):
    """(n, *space, c) -> (n, T, K, c): the patch at each position of the convolution, K offsets in all."""
    windows = list(_windows(t, axes))
    return ops.reshape(ops.concatenate(windows, axis=-1), (t.shape[0], -1, len(windows), t.shape[-1]))


def _kernel_gradients(image, d, axes):
    """(n, K, c, f), the gradients of a convolution's kernel, without forming patches, which would take longer."""
    d = _positions(d)
    return ops.stack([autodiff.outer(_positions(part), d) for part in _windows(image, axes)], axis=1)


def _letters(equation, input_rank, output_rank):
    """The letters of an EinsumDense equation, with its dots replaced by letters."""
    inputs, rest = equation.replace(" ", "").split(",")
    kernel, outputs = rest.split("->")
    spare = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in equation]
    dots = "".join(spare[: input_rank - len(inputs.replace("...", ""))])
    return inputs.replace("...", dots), kernel, outputs.replace("...", dots)
