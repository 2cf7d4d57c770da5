"""Stiffness of neural networks: does a gradient step on one example help another?

The names below are the whole public interface. Those that need Keras are imported when they are first used.
"""

from importlib import import_module
from importlib.metadata import version

from stiffness.measures import (
    between_classes,
    class_stiffness,
    critical_length,
    stiffness_vs_distance,
    within_class,
    zero_crossing,
)

__version__ = version("stiffness")

__all__ = [
    "StiffnessCallback",
    "between_classes",
    "class_stiffness",
    "cosine_class_stiffness",
    "critical_length",
    "gradient_gram",
    "gradient_norms",
    "jacobian_norm",
    "nearest_gradients",
    "stiffness_vs_distance",
    "transitions",
    "within_class",
    "zero_crossing",
]

_NEEDS_KERAS = {
    **dict.fromkeys(["cosine_class_stiffness", "gradient_gram", "gradient_norms", "nearest_gradients"],
                    "stiffness.gram"),
    **dict.fromkeys(["jacobian_norm", "transitions"], "stiffness.sensitivity"),
    "StiffnessCallback": "stiffness.callback",
}


def __getattr__(name):
    if name in _NEEDS_KERAS:
        return getattr(import_module(_NEEDS_KERAS[name]), name)
    raise AttributeError(f"module 'stiffness' has no attribute {name!r}")


def __dir__():
    return [*__all__, "__version__"]
