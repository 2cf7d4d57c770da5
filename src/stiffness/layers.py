"""The closed form of each kind of layer: its examples' gradients, as factors whose Gram matrices multiply.

A rule has two parts. `tapped` stands in for the layer's `call` during one forward pass and hands (recorded, output)
to `tap`, which returns the output; the recorded part is what the gradient needs besides the output's gradient d.
`features` turns the (recorded, d) of all of the layer's calls into features:

- `Factors`: matrices of (n, T, k); example i's and j's inner product is the sum over t, s of the product over factors
  of F[i, t] . F[j, s]. An outer product sum_t a_t d_t^T, the gradient of every linear map, is the pair (a, d).
- `Rows`: gradients of rows of a table, d (n, T, k) at row `ids` (n, T); only equal rows meet.
"""

import math
from dataclasses import dataclass

import keras
import numpy as np
from keras import ops

PAIRWISE_POSITIONS = 8  # up to here positions are multiplied pair by pair where that is cheaper


@dataclass(frozen=True)
class Factors:
    parts: tuple

    def width(self):
        return sum(math.prod(part.shape[1:]) for part in self.parts)

    def products(self, other):
        positions, others = self.parts[0].shape[1], other.parts[0].shape[1]
        return sum(_hadamard(ops.matmul(a[:, t], ops.transpose(b[:, s])) for a, b in zip(self.parts, other.parts))
                   for t in range(positions) for s in range(others))

    def squares(self):
        if self.parts[0].shape[1] == 1:
            return _hadamard(ops.sum(part[:, 0] ** 2, axis=1) for part in self.parts)
        return ops.sum(_hadamard(ops.einsum("ntk,nsk->nts", part, part) for part in self.parts), axis=(1, 2))


@dataclass(frozen=True)
class Rows:
    ids: np.ndarray
    d: np.ndarray

    def width(self):
        return math.prod(self.d.shape[1:])

    def products(self, other):
        total = np.zeros((len(self.ids), len(other.ids)), self.d.dtype)
        for row in np.intersect1d(self.ids, other.ids):
            (i, a), (j, b) = self._of(row), other._of(row)
            total[np.ix_(i, j)] += a @ b.T
        return total

    def squares(self):
        same = self.ids[:, :, None] == self.ids[:, None, :]
        return np.einsum("nts,nts->n", self.d @ self.d.transpose(0, 2, 1), same)

    def _of(self, row):
        """The examples that meet this row of the table, and the sum of their gradients there."""
        at = self.ids == row
        examples = np.flatnonzero(at.any(axis=1))
        return examples, np.einsum("nt,ntk->nk", at[examples], self.d[examples])


def rule_of(layer):
    """The layer's closed form, or None; subclasses count only where they compute the same."""
    if getattr(layer, "padding", None) == "causal" and isinstance(layer, keras.layers.SeparableConv1D):
        return None
    for kind, rule in RULES.items():
        if isinstance(layer, kind) and type(layer).call is kind.call:
            return rule
    return _Table if type(layer).__name__ == "PositionEmbedding" else None  # keras-hub's, without importing it


# --- linear maps ----------------------------------------------------------------------------------------------------


class _Linear:
    """Any layer that is linear in `kernel` and then adds `bias`; the activation is applied outside the tap."""

    names = ("kernel", "bias")
    without = ("activation",)

    @staticmethod
    def tapped(layer, call, tap, activation):
        def tapped(inputs, *args, **kwargs):
            output = tap(inputs, call(inputs, *args, **kwargs))
            return output if activation is None else activation(output)

        return tapped

    @classmethod
    def features(cls, layer, records):
        kernel, bias = _trains(layer, "kernel"), _trains(layer, "bias")
        features = []
        if kernel:
            groups = zip(*[cls.outer(layer, a, d) for a, d in records])  # by group, then by call
            for calls in groups:
                a, d = (ops.concatenate(parts, axis=1) for parts in zip(*calls))
                if a.shape[1] == 1 and bias and cls.one_bias:  # the bias is one more input, which is always 1
                    return [Factors((ops.pad(a, [[0, 0], [0, 0], [0, 1]], constant_values=1), d))]
                features.append(_outer(a, d))
        if bias:
            features.append(_vector(sum(cls.bias(layer, d) for _, d in records)))
        return features


class _Dense(_Linear):
    one_bias = True

    @staticmethod
    def outer(layer, a, d):
        return [(_positions(a), _positions(d))]

    @staticmethod
    def bias(layer, d):
        return ops.sum(_positions(d), axis=1)


class _EinsumDense(_Linear):
    one_bias = False

    @staticmethod
    def outer(layer, a, d):
        inputs, kernel, outputs = _letters(layer.equation, a.ndim, d.ndim)
        batch = inputs[0]
        if outputs[0] != batch or batch in kernel:
            raise NotImplementedError("the first axis is not that of the examples")
        shared = [c for c in inputs[1:] if c in outputs and c in kernel]
        if shared:  # a kernel of its own at each of these positions
            return [_single(ops.einsum(f"{inputs},{outputs}->{batch}{kernel}", a, d))]
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
        return ops.reshape(ops.sum(d, axis=axes) if axes else d, (len(d), -1))


class _Conv(_Linear):
    one_bias = False

    @staticmethod
    def outer(layer, a, d):
        patches, d = _patches(_last(layer, a), layer), _positions(_last(layer, d))
        inputs, filters = patches.shape[-1] // layer.groups, d.shape[-1] // layer.groups
        return [(_join(patches[..., g * inputs : (g + 1) * inputs]), d[..., g * filters : (g + 1) * filters])
                for g in range(layer.groups)]

    @staticmethod
    def bias(layer, d):
        return ops.sum(_positions(_last(layer, d)), axis=1)


class _DepthwiseConv(_Conv):
    @staticmethod
    def outer(layer, a, d):
        patches, d = _patches(_last(layer, a), layer), _positions(_last(layer, d))
        d = ops.reshape(d, (*d.shape[:2], patches.shape[-1], -1))
        return [_single(ops.einsum("ntkc,ntcm->nkcm", patches, d))]


class _ConvTranspose(_Conv):
    """The adjoint of a convolution: its kernel's gradient is that of the convolution from d back to the input."""

    @staticmethod
    def outer(layer, a, d):
        return [(_join(_patches(_last(layer, d), layer)), _positions(_last(layer, a)))]


class _SeparableConv:
    """A depthwise convolution, a pointwise one, a bias: tapped after each of the two."""

    names = ("depthwise_kernel", "pointwise_kernel", "bias")
    without = ("activation",)

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
                output = output + ops.reshape(layer.bias, shape)
            output = tap(middle, output)
            return output if activation is None else activation(output)

        return tapped

    @staticmethod
    def features(layer, records):
        features = []
        depthwise, pointwise = records[::2], records[1::2]
        if _trains(layer, "depthwise_kernel"):
            features.append(_vector(sum(_DepthwiseConv.outer(layer, a, d)[0][0][:, 0] for a, d in depthwise)))
        outer = [(_positions(_last(layer, a)), _positions(_last(layer, d))) for a, d in pointwise]
        if _trains(layer, "pointwise_kernel"):
            features.append(_outer(*(ops.concatenate(parts, axis=1) for parts in zip(*outer))))
        if _trains(layer, "bias"):
            features.append(_vector(sum(ops.sum(d, axis=1) for _, d in outer)))
        return features


# --- scale and shift ------------------------------------------------------------------------------------------------


class _ScaleAndShift:
    """output = normalised * gamma + beta: the layer is run with gamma 1 and beta 0, and these applied outside."""

    names = ("gamma", "beta", "scale")
    without = ()

    @classmethod
    def tapped(cls, layer, call, tap, _):
        gamma, beta = cls.variables(layer)
        neutral = {name: fill(variable.shape, variable.dtype)
                   for name, variable, fill in ((*gamma, ops.ones), (*beta, ops.zeros)) if variable is not None}

        def tapped(inputs, *args, **kwargs):
            found = {name: vars(layer)[name] for name in neutral}
            vars(layer).update(neutral)
            try:
                normalised = call(inputs, *args, **kwargs)
            finally:
                vars(layer).update(found)
            output = normalised
            if gamma[1] is not None:
                output = output * ops.cast(cls.broadcast(layer, gamma[1], output.ndim), output.dtype)
            if beta[1] is not None:
                output = output + ops.cast(cls.broadcast(layer, beta[1], output.ndim), output.dtype)
            return tap(normalised, output)

        return tapped

    @classmethod
    def features(cls, layer, records):
        (_, gamma), (_, beta) = cls.variables(layer)
        features = []
        if gamma is not None and gamma.trainable:
            features.append(_vector(sum(cls.reduce(layer, a * d) for a, d in records)))
        if beta is not None and beta.trainable:
            features.append(_vector(sum(cls.reduce(layer, d) for _, d in records)))
        return features

    @staticmethod
    def variables(layer):
        """((name, gamma), (name, beta)), None for what the layer does not have."""
        gamma = "scale" if isinstance(layer, keras.layers.RMSNormalization) else "gamma"
        return (gamma, getattr(layer, gamma, None)), ("beta", getattr(layer, "beta", None))

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
        return ops.reshape(ops.sum(t, axis=others) if others else t, (len(t), -1))


# --- tables ---------------------------------------------------------------------------------------------------------


class _Embedding:
    names = ("embeddings",)
    without = ()

    @staticmethod
    def tapped(layer, call, tap, _):
        return lambda inputs: tap(inputs, call(inputs))

    @staticmethod
    def features(layer, records):
        ids, ds = zip(*[(np.reshape(ops.convert_to_numpy(ids), (len(d), -1)).astype(int),
                         ops.convert_to_numpy(_positions(d))) for ids, d in records])
        return [Rows(np.concatenate(ids, axis=1), np.concatenate(ds, axis=1))]


class _ReversibleEmbedding:
    """Looks rows up, and in reverse multiplies by the same table: the two uses have cross terms."""

    names = ("embeddings", "reverse_embeddings")
    without = ()

    @staticmethod
    def tapped(layer, call, tap, _):
        def tapped(inputs, reverse=False):
            inputs = inputs if reverse else ops.cast(inputs, "int32")
            return tap(inputs, call(inputs, reverse=reverse))

        return tapped

    @staticmethod
    def features(layer, records):
        uses = {name: [] for name in _ReversibleEmbedding.names}
        for inputs, d in records:
            if keras.backend.standardize_dtype(inputs.dtype) == "int32":
                rows = ops.one_hot(ops.reshape(inputs, (len(d), -1)), layer.input_dim, dtype=d.dtype)
                uses["embeddings"].append((rows, _positions(d)))
            else:
                name = "embeddings" if layer.tie_weights else "reverse_embeddings"
                uses[name].append((_positions(d), _positions(inputs)))
        return [_outer(*(ops.concatenate(parts, axis=1) for parts in zip(*uses[name])))
                for name in uses if uses[name] and _trains(layer, name)]


class _Table:
    """A table that is added as it stands, cut to the sequence's length: the gradient is d itself."""

    names = ("position_embeddings",)
    without = ()

    @staticmethod
    def tapped(layer, call, tap, _):
        return lambda *args, **kwargs: tap((), call(*args, **kwargs))

    @staticmethod
    def features(layer, records):
        if len({d.shape for _, d in records}) > 1:
            raise NotImplementedError("called on sequences of different lengths")
        return [_vector(ops.reshape(sum(d for _, d in records), (len(records[0][1]), -1)))]


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
# older Kerases lack some of these layers
RULES = {getattr(keras.layers, name): rule for name, rule in _BY_NAME.items() if hasattr(keras.layers, name)}


# --- shapes ---------------------------------------------------------------------------------------------------------


def _trains(layer, name):
    variable = getattr(layer, name, None)
    return variable is not None and variable.trainable


def _hadamard(matrices):
    return math.prod(matrices)


def _positions(t):
    """(n, ..., k) -> (n, T, k)"""
    return ops.reshape(t, (t.shape[0], -1, t.shape[-1]))


def _join(t):
    """(n, T, K, c) -> (n, T, K c)"""
    return ops.reshape(t, (*t.shape[:2], -1))


def _flat(t):
    """(n, ...) -> (n, 1, k)"""
    return ops.reshape(t, (t.shape[0], 1, -1))


def _last(layer, t):
    """With the channels last."""
    return t if layer.data_format == "channels_last" else ops.moveaxis(t, 1, -1)


def _vector(t):
    return Factors((_flat(t),))


def _single(t):
    """(n, ...) -> the outer product of it with 1, for what is no outer product by itself."""
    return _flat(t), ops.ones((t.shape[0], 1, 1), t.dtype)


def _outer(a, d):
    """sum_t a_t d_t^T: as it stands, or multiplied out where that makes the cheaper Gram matrix."""
    positions, rows, columns = a.shape[1], a.shape[2], d.shape[2]
    pairwise = positions**2 * (rows + columns) < rows * columns and positions <= PAIRWISE_POSITIONS
    return Factors((a, d)) if positions == 1 or pairwise else _vector(ops.einsum("nti,nto->nio", a, d))


def _patches(t, layer):
    """(n, *space, c) -> (n, T, K, c): what each position of the convolution sees, K being the kernel's positions."""
    padding, slices, pads = layer.padding, [], [[0, 0]]
    outs = []
    for size, k, stride, dilation in zip(t.shape[1:-1], layer.kernel_size, layer.strides, layer.dilation_rate):
        extent = (k - 1) * dilation + 1
        if padding == "same":
            out = -(-size // stride)
            total = max((out - 1) * stride + extent - size, 0)
            pads.append([total // 2, total - total // 2])
        else:
            before = extent - 1 if padding == "causal" else 0
            out = (size + before - extent) // stride + 1
            pads.append([before, 0])
        outs.append(out)
    t = ops.pad(t, [*pads, [0, 0]])
    for offset in np.ndindex(*layer.kernel_size):
        window = tuple(slice(o * r, o * r + (out - 1) * s + 1, s)
                       for o, r, out, s in zip(offset, layer.dilation_rate, outs, layer.strides))
        slices.append(t[(slice(None), *window)])
    return ops.reshape(ops.stack(slices, axis=-2), (t.shape[0], -1, len(slices), t.shape[-1]))


def _letters(equation, input_rank, output_rank):
    """The letters of an EinsumDense equation, its dots spelt out."""
    inputs, rest = equation.replace(" ", "").split(",")
    kernel, outputs = rest.split("->")
    spare = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in equation]
    dots = "".join(spare[: input_rank - len(inputs.replace("...", ""))])
    return inputs.replace("...", dots), kernel, outputs.replace("...", dots)
