"""Every private name of Keras that the library uses. Tested with Keras 3.8 and 3.15."""

from types import SimpleNamespace

import keras
from keras.src.backend import get_keras_mask, set_keras_mask
from keras.src.trainers.compile_utils import CompileLoss, get_loss

__all__ = ["DTYPE_POLICY", "REMAT", "StatelessReads", "StructuredLoss", "added_losses", "attach_logits",
           "attached_logits", "compiled_weights", "compute_loss", "get_keras_mask", "get_loss", "layers_of",
           "loss_settings", "overrides_compute_loss", "own_variables", "set_keras_mask", "unreduced"]

DTYPE_POLICY = "_dtype_policy"  # attribute of a loss
REMAT = "_remat_mode"  # attribute of a layer: whether its call is computed again on the way back


def layers_of(model):
    """The model itself and all layers in it, those inside other layers too."""
    return list(model._flatten_layers())


def own_variables(layer):
    """The variables that the layer itself has for training, frozen or not."""
    return layer._trainable_variables


def added_losses(model):
    """What the calls since the last one of the model added: by add_loss and by activity regularisers."""
    return [loss for layer in layers_of(model) for loss in layer._get_own_losses()]


def overrides_compute_loss(model):
    return isinstance(model, keras.Model) and type(model).compute_loss is not keras.Model.compute_loss


def compiled_weights(model):
    """The `loss_weights` given to `compile`, or None."""
    return getattr(getattr(model, "_compile_loss", None), "_user_loss_weights", None)


def compute_loss(model, x, y, y_pred):
    """The model's own `compute_loss`, whose signature differs between versions. It reads variables, and writes none."""
    with keras.StatelessScope(state_mapping=[(v, v.value) for v in model.trainable_variables]):
        return model._compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=None, training=False)


def attached_logits(part):
    """The logits of which a softmax or a sigmoid was computed: Keras's cross-entropies use them instead."""
    return getattr(part, "_keras_logits", None)


def attach_logits(part, logits):
    part._keras_logits = logits


def loss_settings(loss):
    """The keyword arguments of the function that a loss of Keras wraps."""
    return getattr(loss, "_fn_kwargs", {})


def unreduced(loss, dtype=None):
    """A copy of the loss that returns one value for each example or position, computed in dtype."""
    copy = object.__new__(type(loss))  # copy.copy would lose its dtype
    vars(copy).update(vars(loss), reduction="none", **{"_dtype": dtype} if dtype else {})
    return copy


class StructuredLoss(CompileLoss):
    """How `compile` matches losses, their weights, labels and outputs; without its metrics, which are variables."""

    def __init__(self, loss, loss_weights, output_names, dtype):
        super().__init__(loss, loss_weights, output_names=output_names)
        self._tracker = SimpleNamespace(add_to_store=lambda *_: None)
        self._dtype = dtype

    @property
    def metrics(self):
        return [None] * len(self._flat_losses or [None])


class StatelessReads(keras.StatelessScope):
    """Calls noted(variable) at every read of a Keras variable, and discards all writes."""

    def __init__(self, noted):
        super().__init__()
        self.noted = noted

    def get_current_value(self, variable):
        self.noted(variable)
        return super().get_current_value(variable)
