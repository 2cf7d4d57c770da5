"""What a check of a model depends on, apart from its weights: if this stays the same, it need not be checked again."""

import weakref

import keras

from stiffness.engine.keras_private import DTYPE_POLICY, REMAT

# attributes that every layer, or every model, has: what matters of them is in the signature in another way
_BOOKKEEPING = {of_model: frozenset(vars(kind())) - {"call", "activity_regularizer", REMAT}
                for of_model, kind in ((False, keras.layers.Layer), (True, keras.Model))}


def signature_of(layers, variables, losses, examples, *settings):
    """Attributes of layers and loss, the identity of variables, the shapes of examples, and the settings."""
    shapes = [(part.shape[1:], part.dtype.str) for part in keras.tree.flatten(examples)]
    return (tuple(map(_attributes, layers)), tuple(map(_Same, variables)), tuple(shapes), losses.whole,
            tuple(map(_of_loss, losses.parts)), _plain(losses.weights), *settings)


def _of_loss(part):
    """What distinguishes a loss function: the settings of one of Keras's, the identity of others."""
    own = tuple((name, _plain(value)) for name, value in getattr(part.source, "__dict__", {}).items()
                if name not in ("name", DTYPE_POLICY))
    return type(part.source) if part.from_keras and own else _plain(part.source), own


class _Same:
    """Equal only if it stands for the same object, which it does not keep alive."""

    __slots__ = ("number", "reference")

    def __init__(self, thing):
        self.number = id(thing)  # another object may have it later
        try:
            self.reference = weakref.ref(thing)
        except TypeError:  # its type does not support weak references
            self.reference = None

    def __eq__(self, other):
        return isinstance(other, _Same) and self.number == other.number and (
            self.reference is None or self.reference() is not None)


def _attributes(layer):
    """The layer's attributes, without those of Keras's own bookkeeping."""
    keeps = _BOOKKEEPING[isinstance(layer, keras.Model)]
    own = [(name, _plain(value)) for name, value in vars(layer).items() if name not in keeps and name[:6] != "_self_"]
    return type(layer), _Same(type(layer).call), layer.compute_dtype, layer.variable_dtype, tuple(own)


def _plain(value):
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, dict):
        return tuple((name, _plain(part)) for name, part in value.items())
    if isinstance(value, list | tuple):
        return tuple(map(_plain, value))
    return _Same(value)


def code_is_keras(layers):
    """Whether all code of the layers is that of Keras and its hub. Other code may read values that can change unseen.
    """
    for layer in layers:
        if isinstance(layer, keras.layers.Lambda) or "call" in vars(layer):
            return False
        for part in (layer, getattr(layer, "activation", None) or layer):
            if not getattr(part, "__module__", "").startswith(("keras.", "keras_hub.")):
                return False
    return True
