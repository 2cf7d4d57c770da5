"""The kinds of stored runs: of each the settings, how its table is checked, and the module that computes it."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module

from stiffness_book import table
from stiffness_book.experiment import Experiment
from stiffness_book.sensitivity import ensemble, input_space
from stiffness_book.settings import Settings


@dataclass(frozen=True)
class Kind:
    """check: as `table.check`. module: has a function `train` as that of `training`; with TensorFlow, so it is imported
    where it is needed."""

    settings: type[Settings]
    check: Callable
    module: str


KINDS = {kind.settings.KIND: kind for kind in (
    Kind(Experiment, table.check, "stiffness_book.training"),
    Kind(ensemble.Ensemble, ensemble.check, "stiffness_book.sensitivity.ensemble_training"),
    Kind(input_space.InputSpace, input_space.check, "stiffness_book.sensitivity.input_space_training"),
)}


def from_settings(settings):
    """The run of these settings, as provenance has them. Raises ValueError and TypeError for settings of no kind."""
    own = dict(settings)
    kind = own.pop("kind", "")
    if kind not in KINDS:
        raise ValueError(f"kind is {kind!r}; known are {', '.join(filter(None, KINDS))}")
    return KINDS[kind].settings(**own)


def check(found, run, provenance):
    """Raises `table.NotWhole` unless the table is whole, as the run's kind defines it."""
    KINDS[run.KIND].check(found, run, provenance)


def train(run, **options):
    """Computes the run, as `training.train` does."""
    return import_module(KINDS[run.KIND].module).train(run, **options)
