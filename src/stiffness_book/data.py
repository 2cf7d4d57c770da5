"""The data sets, all through one function and in one form."""

import os
import socket
from dataclasses import dataclass, replace
from functools import lru_cache
from urllib.parse import urlsplit
from urllib.request import getproxies

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split

from stiffness_book import grammar, harmonics
from stiffness_book.experiment import TEXT, check_dataset, degrees_and_draw

EMBEDDED = ("digits", "grammar")
_VALIDATION = {"glue/mnli": "validation_matched"}  # elsewhere the split is called "test"


class DataUnavailable(OSError):
    """The data set is neither on this machine nor to be downloaded."""


@dataclass(frozen=True)
class Split:
    """Inputs (n, height, width, channels), or (n, 2) sentence pairs, or the numbers of their tokens (n, tokens), and
    labels (n,) of class indices."""

    inputs: np.ndarray
    labels: np.ndarray

    def __len__(self):
        return len(self.labels)

    def take(self, indices):
        return Split(self.inputs[indices], self.labels[indices])


@dataclass(frozen=True)
class Dataset:
    """One data set. `super_labels[c]` is the index in `super_names` of class c's super-class, or both are None."""

    name: str
    train: Split
    validation: Split
    class_names: tuple[str, ...]
    super_labels: np.ndarray | None = None
    super_names: tuple[str, ...] | None = None

    @property
    def num_classes(self):
        return len(self.class_names)

    @property
    def split_sizes(self):
        return {"train": len(self.train), "validation": len(self.validation)}


def is_available(name):
    """Whether `load(name)` needs no download."""
    return name in EMBEDDED or bool(degrees_and_draw(name)[0]) or _builder(name).is_prepared()


@lru_cache(maxsize=2)
def load(name):
    """The data set `name`, which `stiffness_book.experiment.check_dataset` knows, as `Dataset`; inputs as stored.

    Raises ValueError for an unknown name, DataUnavailable where it is not prepared and cannot be downloaded.
    """
    check_dataset(name)
    degrees, draw = degrees_and_draw(name)
    if degrees:
        return _harmonics(name, degrees, draw)
    return {"digits": _load_digits, "grammar": _load_grammar}[name]() if name in EMBEDDED else _load_tfds(name)


def standardise(dataset, *, unit_length=False):
    """Inputs with zero mean and unit variance per channel, as float32, by the training split's mean and variance.

    With `unit_length` each example is then scaled to Euclidean length 1, as v3 does. Text passes unchanged.
    """
    if dataset.train.inputs.dtype.kind in "OSU":
        return dataset
    axes = tuple(range(dataset.train.inputs.ndim - 1))
    mean = dataset.train.inputs.mean(axes, dtype=np.float64)
    deviation = dataset.train.inputs.std(axes, dtype=np.float64)

    def scaled(split):
        inputs = ((split.inputs - mean) / deviation).astype(np.float32)
        if unit_length:
            inputs /= np.linalg.norm(inputs.reshape(len(inputs), -1), axis=1).reshape(-1, *[1] * (inputs.ndim - 1))
        return replace(split, inputs=inputs)

    return replace(dataset, train=scaled(dataset.train), validation=scaled(dataset.validation))


def training_examples(dataset, size, seed):
    """The training split, or, unless `size` is None, so many of its examples, class-balanced and fixed by `seed`.

    Raises ValueError where there are too few.
    """
    split = dataset.train
    if size is None:
        return split
    if size > len(split):
        raise ValueError(f"train_size is {size}; {dataset.name} has {len(split)}")
    return split.take(balanced_indices(split.labels, size, seed, "train_size"))


def balanced_indices(labels, size, seed, name="probe_size"):
    """(size,) ascending indices of a class-balanced subset, fixed by `seed`: as many of each class, give or take one.

    Raises ValueError, with the name of the size, where a class has too few examples.
    """
    rng = np.random.default_rng(seed)
    classes, counts = np.unique(labels, return_counts=True)
    wanted = np.full(len(classes), size // len(classes))
    wanted[rng.permutation(len(classes))[: size % len(classes)]] += 1
    if (counts < wanted).any():
        short = np.argmax(counts < wanted)
        raise ValueError(f"a balanced set of {size} needs {wanted[short]} examples of class {classes[short]}, which "
                         f"has {counts[short]}; lower {name} to at most {counts.min() * len(classes)}")
    chosen = [rng.choice(np.flatnonzero(labels == c), n, replace=False) for c, n in zip(classes, wanted)]
    return np.sort(np.concatenate(chosen))


def permute_labels(labels, fraction, seed):
    """The labels, with those of a random `fraction` of the examples permuted among themselves."""
    rng = np.random.default_rng([seed, 1])
    chosen = rng.permutation(len(labels))[: round(fraction * len(labels))]
    permuted = labels.copy()
    permuted[chosen] = labels[rng.permutation(chosen)]
    return permuted


def _load_digits():
    digits = load_digits()
    inputs, labels = digits.images[..., None], digits.target.astype(np.int64)
    train, validation = train_test_split(np.arange(len(labels)), test_size=597, stratify=labels, random_state=0)
    whole = Split(inputs, labels)
    return Dataset("digits", whole.take(train), whole.take(validation), tuple(map(str, digits.target_names)))


def _harmonics(name, degrees, draw):
    """Points on the sphere as inputs (n, 3, 1, 1), and the sign of a function on it as labels."""
    splits = []
    for part, size in enumerate(harmonics.SIZES):
        points = harmonics.points(size, np.random.default_rng([draw, part]))
        labels = (harmonics.components(points, degrees, draw).sum(0) > 0).astype(np.int64)
        splits.append(Split(points[:, :, None, None], labels))
    return Dataset(name, *splits, ("negative", "positive"))


def _load_grammar():
    whole, n = Split(*grammar.generate()), grammar.TRAINING
    return Dataset("grammar", whole.take(slice(n)), whole.take(slice(n, None)), grammar.LABELS)


def _builder(name):
    import tensorflow_datasets as tfds  # slow to import, and the embedded data does without

    return tfds.builder(name, data_dir=os.environ.get("TFDS_DATA_DIR"), try_gcs=False)


def _load_tfds(name):
    import tensorflow_datasets as tfds

    builder = _builder(name)
    if not builder.is_prepared():
        _download(builder, name)
    import tensorflow as tf

    try:
        train, validation = (tfds.as_numpy(builder.as_dataset(split=split, batch_size=-1))
                             for split in ("train", _VALIDATION.get(name, "test")))
    except (tf.errors.OpError, OSError, ValueError) as error:  # a shard is missing or damaged
        raise DataUnavailable(f"{name} in {builder.data_dir} cannot be read ({str(error).splitlines()[0]}). Delete "
                              "that folder, and the data set is downloaded again; or set TFDS_DATA_DIR to a folder "
                              "of complete prepared TensorFlow Datasets.") from error
    features = builder.info.features
    super_labels = super_names = None
    if "coarse_label" in features:
        super_names = tuple(features["coarse_label"].names)
        super_labels = np.empty(features["label"].num_classes, int)
        super_labels[train["label"]] = train["coarse_label"]  # every example of a class has the same super-class
    return Dataset(name, _as_split(train), _as_split(validation), tuple(features["label"].names),
                   super_labels, super_names)


def _as_split(columns):
    if "premise" in columns:
        pairs = [[premise.decode(), hypothesis.decode()]
                 for premise, hypothesis in zip(columns["premise"], columns["hypothesis"])]
        return Split(np.array(pairs, object), columns["label"])
    return Split(columns["image"], columns["label"])


def _download(builder, name):
    unavailable = DataUnavailable(
        f"{name} is not in {builder.data_dir} and cannot be downloaded from here. Set TFDS_DATA_DIR to a folder of "
        f"prepared TensorFlow Datasets, or use the embedded alternative, dataset {EMBEDDED[name in TEXT]!r}.")
    if not _reachable(builder):
        raise unavailable
    try:
        builder.download_and_prepare()
    except OSError as error:  # no network, a dead host, a full disk
        raise unavailable from error


def _reachable(builder):
    """Whether any host that the data set comes from is known: tfds would otherwise retry for minutes."""
    if getproxies():
        return True
    for host in {urlsplit(url).hostname for url in builder.url_infos}:
        try:
            socket.getaddrinfo(host, 443)
            return True
        except OSError:
            continue
    return False
