"""Pairs of sentences as numbers: [CLS] premise [SEP] hypothesis [SEP], filled up with [PAD], as for BERT."""

import os
from collections import Counter
from dataclasses import replace
from functools import lru_cache
from itertools import chain
from pathlib import Path

import numpy as np

from stiffness_book import data, pretrained
from stiffness_book.experiment import SPECIAL

PAD, UNKNOWN, START, END = SPECIAL[:4]


@lru_cache(maxsize=2)
def tokenizer(experiment):
    """The run's tokenizer, of the package tokenizers: (n) pairs of sentences become encodings of one length.

    A pretrained network brings its word pieces. One from scratch has the commonest words of the training split, those
    that are equally common in alphabetical order; all other words are [UNK].
    """
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # it warns of its threads in processes that start others
    from tokenizers import BertWordPieceTokenizer

    if experiment.layers[0] == "pretrained":
        vocabulary, lowercase = _of_preset(experiment)
    else:
        vocabulary, lowercase = _commonest(data.load(experiment.dataset).train, experiment.vocabulary_size), True
    numbers = {word: number for number, word in enumerate(vocabulary)}
    if missing := {*SPECIAL} - numbers.keys():
        raise ValueError(f"the vocabulary of {experiment.network} lacks {', '.join(sorted(missing))}; expected that of "
                         "a BERT-type network")
    words = BertWordPieceTokenizer(numbers, lowercase=lowercase)
    words.enable_truncation(experiment.sequence_length)
    words.enable_padding(length=experiment.sequence_length, pad_id=numbers[PAD])
    return words


def encoded(dataset, experiment):
    """The data set with the numbers of tokens, (n, sequence_length) int32, in place of the pairs of sentences."""
    words = tokenizer(experiment)

    def numbers(split):
        encodings = words.encode_batch([tuple(pair) for pair in split.inputs])
        return replace(split, inputs=np.array([one.ids for one in encodings], np.int32))

    return replace(dataset, train=numbers(dataset.train), validation=numbers(dataset.validation))


def counts(ids, padding):
    """(n, tokens): how often each example has each token that any has, padding aside. What distances between inputs
    are of: a text has no pixels."""
    found, places = np.unique(ids, return_inverse=True)
    table = np.zeros((len(ids), len(found)), np.float32)
    np.add.at(table, (np.arange(len(ids))[:, None], places.reshape(ids.shape)), 1)
    return table[:, found != padding]


def _commonest(split, size):
    from tokenizers.normalizers import BertNormalizer
    from tokenizers.pre_tokenizers import BertPreTokenizer

    lower, cut = BertNormalizer(lowercase=True), BertPreTokenizer()
    number = Counter(word for sentence in chain.from_iterable(split.inputs)
                     for word, _ in cut.pre_tokenize_str(lower.normalize_str(sentence)))
    return [*SPECIAL, *sorted(number, key=lambda word: (-number[word], word))[: size - len(SPECIAL)]]


def _of_preset(experiment):
    """The vocabulary, and whether it is in lower case."""
    place = pretrained.place_of(experiment)
    if Path(place).is_dir():
        lines = (Path(place) / "vocab.txt").read_text("utf-8").split("\n")
        return [line.rstrip("\r") for line in lines if line], pretrained.lowercase(place)
    from keras_hub.models import BertTokenizer

    own = pretrained.load(BertTokenizer, experiment)
    return own.get_vocabulary(), own.lowercase
