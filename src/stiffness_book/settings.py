"""What every kind of run has in common: frozen settings, checked and made plain, that name its result file."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from math import isfinite
from numbers import Real
from typing import ClassVar

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Frozen settings of one run: everything that its numbers depend on, and nothing else.

    Every setting has a default; one of them is `network`. Values are checked and made plain: NumPy's numbers are
    accepted, 1 and 1.0 are one setting, and "false" is read as False. Raises TypeError and ValueError that name the
    setting, its value and what was expected.
    """

    KIND: ClassVar[str] = ""  # of run, as it stands in the result's provenance; experiments have none

    def __post_init__(self):
        for field in fields(self):  # values that mean the same must be one address: 1 and 1.0, lists and tuples
            if field.compare:
                object.__setattr__(self, field.name, plain(field.name, field.type, getattr(self, field.name)))

    @property
    def layers(self):
        """The network's kind and its hidden layers' widths or channels: ("fc", (500, 300, 100))."""
        kind, *widths = self.network.split("-")
        return kind, tuple(map(int, widths))

    def settings(self):
        """The settings as plain JSON values, without fields that are not compared, on which no number depends."""
        own = {field.name: asdict(self)[field.name] for field in fields(self) if field.compare}
        return json.loads(json.dumps(({"kind": self.KIND} if self.KIND else {}) | own))

    @property
    def digest(self):
        """Of the settings. Defaults are left out, so that a new setting with a default moves no older run."""
        default = type(self)().settings()
        chosen = {name: value for name, value in self.settings().items() if value != default[name]}
        return hashlib.sha256(json.dumps(chosen, sort_keys=True).encode()).hexdigest()[:12]


def plain(name, kind, value):
    """The value as a plain Python value of the setting's type; raises TypeError where it is none."""
    if kind == int | None and value is None:
        return None
    if kind in (tuple[int, ...], tuple[float, ...], tuple[str, ...]):
        if not isinstance(value, Sequence | np.ndarray) or isinstance(value, str):
            items = "names" if kind == tuple[str, ...] else "numbers"
            raise TypeError(f"{name} is {value!r}; expected a list of {items}")
        return tuple(plain(name, kind.__args__[0], one) for one in value)
    if kind is str and isinstance(value, str):
        return str(value)
    if kind is bool:
        text = value.lower() if isinstance(value, str) else value  # papermill hands -p unit_length false over as text
        if isinstance(value, bool | np.bool_) or text in ("true", "false"):
            return text == "true" if isinstance(text, str) else bool(value)
    elif kind is not str and isinstance(value, Real) and not isinstance(value, bool | np.bool_) and isfinite(value):
        if kind is float:
            return float(value)
        if value == int(value):
            return int(value)
    expected = {str: "text", bool: "true or false", float: "a finite number"}.get(kind, "a whole number")
    raise TypeError(f"{name} is {value!r}; expected {expected}")


def one_of(name, value, known):
    if value not in known:
        raise ValueError(f"{name} is {value!r}; known are {', '.join(known)}")


def require(condition, name, value, expected):
    if not condition:
        raise ValueError(f"{name} is {value!r}; expected {expected}")
