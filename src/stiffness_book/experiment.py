"""The settings of one run: everything that its numbers depend on, and nothing else."""

import itertools
import re
from dataclasses import dataclass

from stiffness_book.settings import Settings, one_of, require

DATASETS = ("mnist", "fashion_mnist", "cifar10", "cifar100", "digits", "glue/mnli")
# harmonics-DEGREE+DEGREE+...-drawNUMBER: generated, see `stiffness_book.harmonics`
HARMONICS = re.compile(r"harmonics-([1-9][0-9]?(?:\+[1-9][0-9]?)*)-draw(0|[1-9][0-9]*)", re.ASCII)
HIGHEST_DEGREE = 16  # of a spherical harmonic
# fc-WIDTH-WIDTH-...: fully connected, ReLU. cnn-CHANNELS-...: 3x3 convolutions, ReLU, each followed by 2x2 max pooling
NETWORK = re.compile("(fc|cnn)(-[1-9][0-9]*)+", re.ASCII)
OPTIMIZERS = ("adam", "sgd")
ARITHMETICS = ("float32", "clipped", "step_1e-3", "step_1e-5")  # described in `stiffness_book.arithmetic`
ALSO = ("regimes", "gram", "l1", "l2", "intensity", "angle", "neighbours", "class_accuracy")  # see `table`
ORDERS = ("shuffled", "by class", "easy first", "hard first")  # described in `stiffness_book.orders`


@dataclass(frozen=True, kw_only=True)
class Experiment(Settings):
    """Settings of one training run with its measurements; equal settings name the same result file.

    A stage is a moment of training at which the weights are fixed and everything is measured. Stages are given
    as step counts, as training losses (the first check at or below each, in inference mode on a fixed set), or both;
    training ends at the last of them, or at `max_steps` where a loss is not reached.
    """

    dataset: str = "mnist"
    network: str = "fc-500-300-100"
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    batch_size: int = 32
    seed: int = 0
    permuted_fraction: float = 0.0
    train_size: int | None = None  # None: the whole training split
    unit_length: bool = False
    probe_size: int = 500
    probe_seed: int = 0
    stages: tuple[int, ...] = (0, 100, 1000)
    stage_losses: tuple[float, ...] = ()
    max_steps: int = 100_000  # bounds the search for stage_losses
    check_every: int = 50  # steps between two checks of the training loss, while a stage loss is awaited
    nested_probes: tuple[int, ...] = ()  # sizes of probe sets within the probe set, each within the one before
    arithmetics: tuple[str, ...] = ()  # that signs are also measured in, on the nested probe sets
    also: tuple[str, ...] = ()  # what else is measured
    order: str = "shuffled"  # of the training examples within each pass over them

    def __post_init__(self):
        super().__post_init__()
        if not self.stage_losses:  # these two only bound the search for stage losses
            for name in ("max_steps", "check_every"):
                object.__setattr__(self, name, getattr(type(self), name))
        check_dataset(self.dataset)
        require(NETWORK.fullmatch(self.network), "network", self.network,
                 "a kind and its layers' widths, such as fc-500-300-100")
        one_of("optimizer", self.optimizer, OPTIMIZERS)
        one_of("order", self.order, ORDERS)
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "a positive number")
        require(0 <= self.permuted_fraction <= 1, "permuted_fraction", self.permuted_fraction, "between 0 and 1")
        for name in ("batch_size", "probe_size", "max_steps", "check_every"):
            require(getattr(self, name) >= 1, name, getattr(self, name), "at least 1")
        for name in ("seed", "probe_seed"):
            require(getattr(self, name) >= 0, name, getattr(self, name), "0 or more")
        require(self.train_size is None or self.train_size >= self.batch_size,
                 "train_size", self.train_size, "None (all) or at least one batch")
        require(self.stages or self.stage_losses, "stages", self.stages, "given, or stage_losses")
        require(all(step >= 0 for step in self.stages) and self.stages == tuple(sorted(set(self.stages))),
                 "stages", self.stages, "ascending step counts, each once")
        require(all(loss > 0 for loss in self.stage_losses)
                 and self.stage_losses == tuple(sorted(set(self.stage_losses), reverse=True)),
                 "stage_losses", self.stage_losses, "descending positive losses, each once")
        require(all(a > b for a, b in itertools.pairwise((self.probe_size, *self.nested_probes))),
                 "nested_probes", self.nested_probes, f"descending sizes below probe_size, {self.probe_size}")
        for name, known in (("arithmetics", ARITHMETICS), ("also", ALSO)):
            for one in getattr(self, name):
                one_of(name, one, known)
            object.__setattr__(self, name, tuple(one for one in known if one in getattr(self, name)))
        require(self.nested_probes or not self.arithmetics, "arithmetics", self.arithmetics,
                 "empty without nested_probes, on which they are measured")

    @property
    def cost(self):
        """A number that grows with the expected time of the run: examples passed through the network, times its size.
        """
        kind, widths = self.layers
        weights = sum(before * after for before, after in itertools.pairwise(widths)) + sum(widths)
        size = weights * (100 if kind == "cnn" else 1)  # a convolution uses each weight at every pixel
        # a loss is mostly reached well before max_steps
        steps = max(*self.stages, self.max_steps // 4 if self.stage_losses else 0, 0)
        measured = len(self.stages) + len(self.stage_losses)
        return size * (steps * self.batch_size + measured * 30 * self.probe_size)

    @property
    def degrees(self):
        """The degrees of the spherical harmonics from which the labels are made: (2, 4); () for other data sets."""
        return degrees_and_draw(self.dataset)[0]

    @property
    def degree(self):
        """The degree, where there is one; 0 elsewhere."""
        return self.degrees[0] if len(self.degrees) == 1 else 0

    @property
    def address(self):
        """The name of the run's result file, without its ending: readable, then a digest of the settings."""
        unusual = f"-permuted{self.permuted_fraction:g}" if self.permuted_fraction else ""
        unusual += f"-{self.order.replace(' ', '-')}" if self.order != ORDERS[0] else ""
        dataset = self.dataset.replace("/", "-")
        return f"{dataset}-{self.network}-{self.optimizer}{self.learning_rate:g}{unusual}-seed{self.seed}-{self.digest}"


def check_dataset(name):
    """Raises ValueError unless there is a data set of this name."""
    degrees, _ = degrees_and_draw(name)
    if not degrees:
        one_of("dataset", name, (*DATASETS, "harmonics-DEGREE-drawNUMBER, such as harmonics-2+4-draw0"))
    elif list(degrees) != sorted(set(degrees)) or degrees[-1] > HIGHEST_DEGREE:
        raise ValueError(f"dataset is {name!r}; expected ascending degrees up to {HIGHEST_DEGREE}, each once")


def degrees_and_draw(name):
    """Of the name of a data set of spherical harmonics the degrees and the number of the draw: (2, 4), 0; else (), 0.
    """
    found = HARMONICS.fullmatch(name)
    return (tuple(map(int, found[1].split("+"))), int(found[2])) if found else ((), 0)
