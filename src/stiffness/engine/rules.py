"""The closed form of each kind of layer: its per-example gradients as features.

A rule (a class below) has two parts. `tapped` replaces the layer's `call` during one forward pass and passes
(recorded, output) to `tap`, which returns the output; `recorded` is what the gradient needs besides the gradient d with
respect to the output. `features` turns all calls (layer, recorded, d) of a layer, or of layers that share variables,
into features, as in `stiffness.engine.features`.
"""

import math
from dataclasses import replace

import keras
import numpy as np
from keras import ops

from stiffness.engine.backend import backend
from stiffness.engine.examples import to_numpy
from stiffness.engine.features import (
    PAIRWISE_POSITIONS,
    Axis,
    Convolved,
    Factors,
    Rows,
    flat,
    merge_last,
    patches_of,
    positions_of,
    windows,
)
from stiffness.engine.taps import patched


def rule_of(layer):
    """The rule of the layer, or None. Subclasses count only if they inherit `call` unchanged."""
    if getattr(layer, "padding", None) == "causal" and isinstance(layer, keras.layers.SeparableConv1D):
        return None
    for kind, rule in RULES.items():
        if isinstance(layer, kind) and type(layer).call is kind.call:
            if issubclass(rule, _Recurrent) and (type(layer.cell) is not CELLS[kind] or layer.stateful):
                return None
            return LORA.get(rule) if getattr(layer, "lora_enabled", False) else rule
    return _Table if type(layer).__name__ == "PositionEmbedding" else None  # of keras-hub, which is not imported for it


# --- linear maps ----------------------------------------------------------------------------------------------------


class _Linear:
    """Any layer that is linear in `kernel` and then adds `bias`; the activation is applied after the tap.

    `outer` returns a call's gradient for each group of the kernel: (a, d) for sum_t a_t d_t^T, or (g,), multiplied out.
    """

    names = ("kernel", "bias")
    applied_outside = ("activation",)  # attributes that `tapped` applies itself
    compiles = True  # `features` consists of tensor operations only
    fuses = False  # whether a graph of such layers alone is faster when XLA compiles it
    rows_apart = False  # whether rows of one example in the batch's axis are calls of their own, and no positions
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
        return features + [_factors(sum(flat(cls.bias(layer, d)) for layer, _, d in same)) for same in biases]

    @classmethod
    def of_kernel(cls, calls):
        return [_factors(*_joined(group)) for group in zip(*[cls.outer(*call) for call in calls])]


class _Dense(_Linear):
    one_bias = True
    fuses = True

    @staticmethod
    def outer(layer, a, d):
        return [(positions_of(a), positions_of(d))]

    @staticmethod
    def bias(layer, d):
        return ops.sum(positions_of(d), axis=1)


class _LoraDense(_Dense):
    """With kernel W + s A B and G its gradient, the gradients of A and B are s G B^T and s A^T G."""

    names = ("lora_kernel_a", "lora_kernel_b", "bias")

    @classmethod
    def features(cls, calls):
        features = []
        for layer, a, d in calls:
            scale, a, d = _lora_scale(layer), positions_of(a), positions_of(d)
            left, right = (ops.cast(v, d.dtype) for v in (layer.lora_kernel_a, layer.lora_kernel_b))
            features.append([(a, scale * ops.matmul(d, ops.transpose(right))), (scale * ops.matmul(a, left), d)])
        features = [_factors(*_joined(pairs)) for pairs in zip(*features)]
        biases = [_factors(sum(flat(cls.bias(layer, d)) for layer, _, d in same))
                  for same in _by_variable(calls, "bias")]
        return features + biases


class _EinsumDense(_Linear):
    @classmethod
    def outer(cls, layer, a, d):
        return [cls.outer_of(_letters(layer.equation, a.ndim), a, d)]

    @staticmethod
    def outer_of(letters, a, d):
        """The gradient of the kernel as (a, d) or (g,), as `outer` returns it; letters: of inputs, kernel, outputs."""
        inputs, kernel, outputs = letters
        batch = inputs[0]
        if outputs[0] != batch or batch in kernel:
            raise NotImplementedError("the first axis is not that of the examples")
        shared = [c for c in inputs[1:] if c in outputs and c in kernel]
        if shared:  # each of these positions has its own kernel
            return (flat(ops.einsum(f"{inputs},{outputs}->{batch}{kernel}", a, d)),)
        positions = "".join(c for c in inputs[1:] if c in outputs)
        rows = "".join(c for c in inputs[1:] if c not in outputs)
        columns = "".join(c for c in outputs[1:] if c in kernel)
        a = ops.einsum(f"{inputs}->{batch}{positions}{rows}", a)
        d = ops.einsum(f"{outputs}->{batch}{positions}{columns}", d)
        count = math.prod(a.shape[1 : 1 + len(positions)])
        return ops.reshape(a, (a.shape[0], count, -1)), ops.reshape(d, (d.shape[0], count, -1))

    @staticmethod
    def bias(layer, d):
        shape = (1,) * (d.ndim - 1 - len(layer.bias.shape)) + tuple(layer.bias.shape)
        axes = [axis for axis, size in enumerate(shape, start=1) if size == 1 and d.shape[axis] > 1]
        return ops.sum(d, axis=axes) if axes else d


class _LoraEinsumDense(_EinsumDense):
    """With kernel W + s A B, where B multiplies the last axis: as in `_LoraDense`."""

    names = ("lora_kernel_a", "lora_kernel_b", "bias")

    @classmethod
    def features(cls, calls):
        pairs = [cls._pairs(*call) for call in calls]
        return [_factors(*_joined(same)) for same in zip(*pairs)] + [
            _factors(sum(flat(cls.bias(layer, d)) for layer, _, d in same)) for same in _by_variable(calls, "bias")]

    @classmethod
    def _pairs(cls, layer, a, d):
        inputs, kernel, outputs = _letters(layer.equation, a.ndim)
        last, rank = kernel[-1], next(c for c in "abcdefghijklmnopqrstuvwxyz" if c not in inputs + kernel + outputs)
        if last not in outputs or any(c in inputs and c in outputs for c in kernel):
            raise NotImplementedError("the last axis of the kernel is no output, or each position has its own kernel")
        left, right = (ops.cast(v, d.dtype) for v in (layer.lora_kernel_a, layer.lora_kernel_b))
        scale = _lora_scale(layer)
        narrow = outputs.replace(last, rank)
        of_a = cls.outer_of((inputs, kernel[:-1] + rank, narrow), a,
                            scale * ops.einsum(f"{outputs},{rank}{last}->{narrow}", d, right))
        # at each position and each other output, the last axis of the kernel is a linear map of its own
        other = outputs.replace(last, "")
        inner = scale * ops.einsum(f"{inputs},{kernel[:-1]}{rank}->{other}{rank}", a, left)
        d = ops.einsum(f"{outputs}->{other}{last}", d)
        return of_a, (positions_of(inner), positions_of(d))


class _Conv(_Linear):
    rows_apart = True

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
        return [Factors((flat(_kernel_gradients(image, d, axes)),))]

    @classmethod
    def outer(cls, layer, a, d):
        image, d = cls.images(layer, a, d)
        patches, d, groups = patches_of(image, _axes(image, layer)), positions_of(d), getattr(layer, "groups", 1)
        inputs, filters = patches.shape[-1] // groups, d.shape[-1] // groups
        return [(merge_last(patches[..., g * inputs : (g + 1) * inputs]), d[..., g * filters : (g + 1) * filters])
                for g in range(groups)]

    @staticmethod
    def bias(layer, d):
        return ops.sum(positions_of(_last(layer, d)), axis=1)


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
        patches = patches_of(image, _axes(image, layer))
        d = ops.reshape(d, (d.shape[0], -1, patches.shape[-1], layer.depth_multiplier))
        return [(flat(ops.einsum("ntkc,ntcm->nkcm", patches, d)),)]


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
            pairs = [(positions_of(_last(layer, a)), positions_of(_last(layer, d))) for layer, a, d in same]
            features.append(_factors(*_joined(pairs)))
        return features + [_factors(sum(flat(cls.bias(layer, d)) for layer, _, d in same))
                           for same in _by_variable(pointwise, "bias")]


# --- scale and shift ------------------------------------------------------------------------------------------------


class _ScaleAndShift:
    """output = normalised * gamma + beta: the layer runs with gamma 1 and beta 0, and these are applied after it."""

    names = ("gamma", "scale", "beta")
    applied_outside = ()
    compiles = True
    fuses = False
    rows_apart = True

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
        return flat(ops.sum(t, axis=others) if others else t)


# --- recurrent layers -----------------------------------------------------------------------------------------------


class _Recurrent:
    """z_t = x_t W + h_(t-1) U + b at each step t: the gradients d_t at z_t give those of W, U and b.

    To get d_t out of the loop over the steps, zeros are appended to the inputs and an identity matrix to the kernel, so
    that z_t = x_t W + 0 + ...; their gradient is d_t.
    """

    names = ("cell.kernel", "cell.recurrent_kernel", "cell.bias")
    applied_outside = ()
    compiles = True
    fuses = False
    rows_apart = True

    @staticmethod
    def tapped(layer, call, tap, _):
        def tapped(sequences, initial_state=None, mask=None, **kwargs):
            if mask is not None and initial_state is not None:
                raise NotImplementedError("the state before the first step that is not masked is unknown")
            kernel = ops.convert_to_tensor(layer.cell.kernel)
            appended = tap(sequences, ops.zeros((*sequences.shape[:2], kernel.shape[1]), sequences.dtype))
            settings = {"return_sequences": True, "zero_output_for_mask": False, "use_cudnn": False}
            wider = ops.concatenate([kernel, ops.eye(kernel.shape[1], dtype=kernel.dtype)], axis=0)
            with patched([(layer.cell, {"kernel": wider}),
                          (layer, {name: value for name, value in settings.items() if name in vars(layer)})]):
                found = call(ops.concatenate([sequences, appended], axis=-1), initial_state=initial_state, mask=mask,
                             **kwargs)
            outputs, *states = found if isinstance(found, list | tuple) else [found]
            first = keras.tree.flatten(initial_state)[0] if initial_state is not None else ops.zeros_like(outputs[:, 0])
            before = ops.concatenate([first[:, None], outputs[:, :-1]], axis=1)
            outputs = tap(ops.flip(before, axis=1) if layer.go_backwards else before, outputs)
            if mask is not None and layer.zero_output_for_mask:
                mask = ops.flip(mask, axis=1) if layer.go_backwards else mask
                outputs = ops.where(mask[..., None], outputs, ops.zeros_like(outputs))
            outputs = outputs if layer.return_sequences else outputs[:, -1]
            return (outputs, *states) if layer.return_state else outputs

        return tapped

    @classmethod
    def features(cls, calls):
        calls = [(layer, (x, h), d) for (layer, x, d), (_, h, _) in zip(calls[::2], calls[1::2])]
        features = [_factors(*_joined([(x, d) for _, (x, _), d in same]))
                    for same in _by_variable(calls, "cell.kernel")]
        for same in _by_variable(calls, "cell.recurrent_kernel"):
            pairs = [cls.recurrent(layer.cell, *states, d) for layer, states, d in same]
            features += [_factors(*_joined(parts)) for parts in zip(*pairs)]
        return features + [_factors(sum(cls.bias(layer.cell, *states, d) for layer, states, d in same))
                           for same in _by_variable(calls, "cell.bias")]

    @staticmethod
    def recurrent(cell, x, h, d):
        """The pairs (a, d) of the recurrent kernel."""
        return [(h, d)]

    @staticmethod
    def bias(cell, x, h, d):
        return flat(ops.sum(d, axis=1))


class _GRU(_Recurrent):
    """The reset gate r_t multiplies the candidate's part of h U + b, or h before it is multiplied by U."""

    @staticmethod
    def reset_gate(cell, x, h):
        units = slice(cell.units, 2 * cell.units)
        z = sum(ops.matmul(state, ops.cast(kernel[:, units], state.dtype))
                for state, kernel in ((x, cell.kernel), (h, cell.recurrent_kernel)))
        if cell.use_bias:
            bias = ops.cast(cell.bias, z.dtype)
            z = z + ops.sum(ops.reshape(bias, (-1, 3 * cell.units)), axis=0)[units]
        return cell.recurrent_activation(z)

    @classmethod
    def recurrent(cls, cell, x, h, d):
        if cell.reset_after:
            return [(h, cls.inner(cell, x, h, d))]
        return [(h, d[..., : 2 * cell.units]), (cls.reset_gate(cell, x, h) * h, d[..., 2 * cell.units :])]

    @classmethod
    def inner(cls, cell, x, h, d):
        """The gradients at h U + b."""
        gates, candidate = d[..., : 2 * cell.units], d[..., 2 * cell.units :]
        return ops.concatenate([gates, cls.reset_gate(cell, x, h) * candidate], axis=-1)

    @classmethod
    def bias(cls, cell, x, h, d):
        parts = [d, cls.inner(cell, x, h, d)] if cell.reset_after else [d]  # of the inputs' and of the states' products
        return flat(ops.concatenate([ops.sum(part, axis=1) for part in parts], axis=-1))


# --- tables ---------------------------------------------------------------------------------------------------------


class _Embedding:
    names = ("embeddings",)
    applied_outside = ()
    compiles = False  # sorts and counts tokens
    fuses = False
    rows_apart = False

    @staticmethod
    def tapped(layer, call, tap, _):
        return lambda inputs: tap(inputs, call(inputs))

    @staticmethod
    def features(calls):
        return [_rows(same) for same in _by_variable(calls, "embeddings")]


class _LoraEmbedding(_Embedding):
    """With table W + s A B."""

    names = ("lora_embeddings_a", "lora_embeddings_b")

    @staticmethod
    def features(calls):
        left, right = [], []
        for layer, ids, d in calls:
            scale, d = _lora_scale(layer), positions_of(d)
            a, b = (ops.cast(v, d.dtype) for v in (layer.lora_embeddings_a, layer.lora_embeddings_b))
            left.append((layer, ids, scale * ops.matmul(d, ops.transpose(b))))
            right.append((scale * ops.take(a, _ids(ids, d), axis=0), d))
        return [_rows(left), _factors(*_joined(right))]


class _ReversibleEmbedding:
    """Looks up rows and, in reverse, multiplies by the same table: the two uses have cross terms."""

    names = ("embeddings", "reverse_embeddings")
    applied_outside = ()
    compiles = False
    fuses = False
    rows_apart = False

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
        features = [_factors(*_joined([(positions_of(a), positions_of(d)) for _, a, d in same]))
                    for same in _by_variable([call for call in reversed_ if not call[0].tie_weights],
                                             "reverse_embeddings")]
        if not tied:
            return features + _Embedding.features(looked_up)
        for same in _by_variable([(layer, True, a, d) for layer, a, d in tied]
                                 + [(layer, False, a, d) for layer, a, d in looked_up], "embeddings"):
            pairs = [(positions_of(d), positions_of(a)) if reverse else
                     (ops.one_hot(_ids(a, d), layer.input_dim, dtype=d.dtype), positions_of(d))
                     for layer, reverse, a, d in same]
            features.append(_factors(*_joined(pairs)))
        return features


class _Table:
    """A table that is added to the input, cut to the length of the sequence: its gradient is d itself."""

    names = ("position_embeddings",)
    applied_outside = ()
    compiles = True
    fuses = False
    rows_apart = False

    @staticmethod
    def tapped(layer, call, tap, _):
        return lambda *args, **kwargs: tap((), call(*args, **kwargs))

    @staticmethod
    def features(calls):
        if len({d.shape for _, _, d in calls}) > 1:
            raise NotImplementedError("called on sequences of different lengths")
        return [_factors(flat(sum(d for _, _, d in calls)))]


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
    **dict.fromkeys(["LSTM", "SimpleRNN"], _Recurrent),
    **dict.fromkeys(["GRU"], _GRU),
}
# older versions of Keras lack some of these layers
RULES = {getattr(keras.layers, name): rule for name, rule in _BY_NAME.items() if hasattr(keras.layers, name)}

LORA = {_Dense: _LoraDense, _EinsumDense: _LoraEinsumDense, _Embedding: _LoraEmbedding}
CELLS = {keras.layers.LSTM: keras.layers.LSTMCell, keras.layers.GRU: keras.layers.GRUCell,
         keras.layers.SimpleRNN: keras.layers.SimpleRNNCell}


def _lora_scale(layer):
    return getattr(layer, "lora_alpha", layer.lora_rank) / layer.lora_rank  # older versions of Keras have no lora_alpha


# --- calls and shapes -----------------------------------------------------------------------------------------------


def attribute(layer, name):
    """The layer's attribute, such as kernel or cell.kernel; None if there is none."""
    for part in name.split("."):
        layer = getattr(layer, part, None)
    return layer


def _by_variable(calls, name):
    """The calls of layers whose variable of that name is trainable, grouped by variable."""
    found = {}
    for call in calls:
        variable = attribute(call[0], name)
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
    return Factors((a, d) if apart else (flat(backend.outer(a, d)),))


def _pairwise(positions, rows, columns):
    """Whether multiplying all pairs of positions is cheaper than multiplying the summed outer products."""
    return positions**2 * (rows + columns) < rows * columns and positions <= PAIRWISE_POSITIONS


def _ids(ids, d):
    """(n, ...) -> (n, T), integers."""
    return np.reshape(to_numpy(ids), (d.shape[0], -1)).astype(int)


def _rows(calls):
    ids, ds = zip(*[(_ids(a, d), to_numpy(positions_of(d))) for _, a, d in calls])
    return Rows(np.concatenate(ids, axis=1), np.concatenate(ds, axis=1), calls[0][0].input_dim)


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
        axes.append(Axis(size, out, k, stride, dilation, before, after))
    return tuple(axes)


def _kernel_gradients(image, d, axes):
    """(n, K, c, f), the gradients of a convolution's kernel, without forming patches, which would take longer."""
    d = positions_of(d)
    return ops.stack([backend.outer(positions_of(part), d) for part in windows(image, axes)], axis=1)


def _letters(equation, rank):
    """The letters of an EinsumDense equation, with its dots, and axes of rows after the first, replaced by letters."""
    inputs, rest = equation.replace(" ", "").split(",")
    kernel, outputs = rest.split("->")
    spare = [c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in equation]
    count = rank - len(inputs.replace("...", ""))
    if "..." in inputs:
        return inputs.replace("...", "".join(spare[:count])), kernel, outputs.replace("...", "".join(spare[:count]))
    rows = "".join(spare[:count])
    return inputs[0] + rows + inputs[1:], kernel, outputs[0] + rows + outputs[1:]
