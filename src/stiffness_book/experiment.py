"""The settings of one run: everything that its numbers depend on, and nothing else."""

import itertools
import re
from dataclasses import dataclass, field

from stiffness_book.settings import Settings, one_of, require

DATASETS = ("mnist", "fashion_mnist", "cifar10", "cifar100", "digits", "glue/mnli", "grammar")
TEXT = ("glue/mnli", "grammar")  # pairs of sentences
# harmonics-DEGREE+DEGREE+...-drawNUMBER: generated, see `stiffness_book.harmonics`
HARMONICS = re.compile(r"harmonics-([1-9][0-9]?(?:\+[1-9][0-9]?)*)-draw(0|[1-9][0-9]*)", re.ASCII)
HIGHEST_DEGREE = 16  # of a spherical harmonic
# fc-WIDTH-WIDTH-...: fully connected, ReLU. cnn-CHANNELS-...: 3x3 convolutions, ReLU, each followed by 2x2 max pooling.
# resnet-DEPTH: residual, without batch normalisation, three stages of (DEPTH - 2) / 6 blocks; -he: initialised by He
# transformer-LAYERSxWIDTH: of BERT's kind, from scratch. pretrained-NAME: see `stiffness_book.pretrained`
NETWORK = re.compile(r"(fc|cnn)(-[1-9][0-9]*)+|resnet-[1-9][0-9]*(-he)?|transformer-[1-9][0-9]*x[1-9][0-9]*"
                     r"|pretrained-\S+", re.ASCII)
RESNET_FILTERS = (16, 32, 64)  # of the three stages
OPTIMIZERS = ("adam", "sgd")
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")  # the tokens that every vocabulary begins with
ARITHMETICS = ("float32", "clipped", "step_1e-3", "step_1e-5")  # described in `stiffness_book.arithmetic`
ALSO = ("regimes", "gram", "l1", "l2", "intensity", "angle", "neighbours", "class_accuracy", "body", "majority")
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
    sequence_length: int = 64  # tokens of a pair of sentences; longer ones are cut
    vocabulary_size: int = 8000  # of a transformer from scratch: the commonest words of the training split
    accumulate: int = 1  # batches whose gradients are averaged for one step
    mixed_precision: bool = False  # compute in bfloat16, with weights in float32
    # where a pretrained network lies on this machine: no part of the settings
    folder: str | None = field(default=None, compare=False, repr=False)

    def __post_init__(self):
        super().__post_init__()
        unused = [] if self.stage_losses else ["max_steps", "check_every"]  # they bound the search for stage losses
        kind = self.network.partition("-")[0]
        if kind != "transformer":
            unused.append("vocabulary_size")
        if self.dataset not in TEXT:
            unused.append("sequence_length")
        for name in unused:
            object.__setattr__(self, name, getattr(type(self), name))
        check_dataset(self.dataset)
        require(NETWORK.fullmatch(self.network), "network", self.network,
                "a kind and its layers' widths, such as fc-500-300-100, resnet-20, transformer-2x128, "
                "or pretrained-NAME")
        _, widths = self.layers
        require(kind != "resnet" or (widths and f"resnet-{2 * len(widths) + 2}" == self.network.removesuffix("-he")),
                "network", self.network, "resnet- and a depth of 6 n + 2: resnet-8, resnet-14, resnet-20 ...")
        text = kind in ("transformer", "pretrained")
        require(text == (self.dataset in TEXT), "network", self.network,
                f"transformer-... or pretrained-... for pairs of sentences and no other for images; dataset is "
                f"{self.dataset!r}")
        require(text or not self.mixed_precision, "mixed_precision", self.mixed_precision, "false for images")
        require(self.sequence_length >= 4, "sequence_length", self.sequence_length, "at least 4")
        require(self.vocabulary_size > len(SPECIAL), "vocabulary_size", self.vocabulary_size,
                f"more than the {len(SPECIAL)} special tokens")
        one_of("optimizer", self.optimizer, OPTIMIZERS)
        one_of("order", self.order, ORDERS)
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "a positive number")
        require(0 <= self.permuted_fraction <= 1, "permuted_fraction", self.permuted_fraction, "between 0 and 1")
        for name in ("batch_size", "probe_size", "max_steps", "check_every", "accumulate"):
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
        for name, images in (("intensity", True), ("body", False)):
            require(name not in self.also or images != text, "also", name, "images" if images else "a transformer")
        require(self.nested_probes or not self.arithmetics, "arithmetics", self.arithmetics,
                "empty without nested_probes, on which they are measured")

    @property
    def cost(self):
        """A number that grows with the expected time of the run: examples passed through the network, times its size.
        """
        kind, widths = self.layers
        if kind in ("transformer", "pretrained"):  # uses each weight at every token; a pretrained one's are not known
            size = sum(12 * width**2 for width in widths or [768] * 12) * self.sequence_length
        else:
            weights = sum(before * after for before, after in itertools.pairwise(widths)) + sum(widths)
            size = weights * {"fc": 1, "cnn": 100, "resnet": 1000}[kind]  # a convolution uses weights at every pixel
        # a loss is mostly reached well before max_steps
        steps = max(*self.stages, self.max_steps // 4 if self.stage_losses else 0, 0)
        measured = len(self.stages) + len(self.stage_losses)
        return size * (steps * self.batch_size * self.accumulate + measured * 30 * self.probe_size)

    @property
    def layers(self):
        """The network's kind and its hidden representations' widths or channels: ("fc", (500, 300, 100)).

        Those of a residual network are its blocks'. A pretrained one, which the settings do not describe, has none.
        """
        kind, _, rest = self.network.removesuffix("-he").partition("-")
        if kind == "pretrained":
            return kind, ()
        if kind == "transformer":
            number, width = map(int, rest.split("x"))
            return kind, (width,) * number
        widths = tuple(map(int, rest.split("-")))
        if kind == "resnet":
            depth, = widths
            widths = tuple(width for width in RESNET_FILTERS for _ in range((depth - 2) // 6))
        return kind, widths

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
        dataset, network = (re.sub(r"[^\w.@+-]+", "-", name) for name in (self.dataset, self.network))
        return f"{dataset}-{network}-{self.optimizer}{self.learning_rate:g}{unusual}-seed{self.seed}-{self.digest}"


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
