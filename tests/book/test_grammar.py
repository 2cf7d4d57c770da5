"""The generated grammar: its labels are true, it is balanced, and single words do not tell the labels."""

from itertools import chain, combinations, product

import numpy as np
import pytest
from scipy.sparse import hstack
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression

from stiffness_book import data, grammar

ENTAILMENT, NEUTRAL, CONTRADICTION = range(3)


def is_a(tree, word, other):
    """Whether whatever is exactly the word is also the other."""
    while word is not None and word != other:
        word = tree[word]
    return word == other


def holds(sentence, world):
    """Whether the sentence is true in a world: beings, each exactly one noun and doing exactly one verb, or none."""
    *quantifier, noun, verb = sentence.split()
    does = [is_a(grammar.VERBS, act, verb) for being, act in world if is_a(grammar.NOUNS, being, noun)]
    assert does  # there is one or more of each noun
    return {"all": min(does), "some": max(does), "no": not max(does), "not all": not min(does)}[" ".join(quantifier)]


def label(premise, hypothesis):
    """By the truth in every world of beings that the words can tell apart."""
    nouns, verbs = ({sentence.split()[at] for sentence in (premise, hypothesis)} for at in (-2, -1))
    kinds = list(product(nouns, [*verbs, None]))
    worlds = chain.from_iterable(combinations(kinds, size) for size in range(1, len(kinds) + 1))
    worlds = [world for world in worlds
              if all(any(is_a(grammar.NOUNS, being, noun) for being, _ in world) for noun in nouns)]
    told = {holds(hypothesis, world) for world in worlds if holds(premise, world)}
    return NEUTRAL if len(told) == 2 else ENTAILMENT if told == {True} else CONTRADICTION


@pytest.mark.parametrize("premise, hypothesis, expected", [
    ("all dogs run", "all poodles move", ENTAILMENT), ("all poodles run", "all dogs run", NEUTRAL),
    ("some dogs run", "some animals move", ENTAILMENT), ("no animals move", "no dogs run", ENTAILMENT),
    ("no dogs run", "no animals run", NEUTRAL), ("all dogs run", "not all dogs move", CONTRADICTION),
    ("all dogs run", "not all dogs walk", ENTAILMENT), ("some dogs run", "no animals move", CONTRADICTION),
    ("not all dogs move", "all animals run", CONTRADICTION), ("all dogs run", "all dogs walk", CONTRADICTION)])
def test_labels_that_anybody_sees(premise, hypothesis, expected):
    assert label(premise, hypothesis) == expected
    (q1, n1, v1), (q2, n2, v2) = ((" ".join(quantifier), noun, verb) for *quantifier, noun, verb in (
        premise.split(), hypothesis.split()))
    assert grammar.label_of(q1, q2, grammar.relation(grammar.NOUNS, n1, n2),
                            grammar.relation(grammar.VERBS, v1, v2)) == expected


def test_every_label_is_true():
    pairs, labels = grammar.generate()
    assert [label(*pair) for pair in pairs] == labels.tolist()


def test_it_is_balanced_without_repetition_and_the_same_each_time():
    dataset = data.load("grammar")
    pairs = np.concatenate([dataset.train.inputs, dataset.validation.inputs])
    labels = np.concatenate([dataset.train.labels, dataset.validation.labels])
    assert dataset.split_sizes == {"train": grammar.TRAINING, "validation": grammar.VALIDATION}
    assert np.ptp(np.bincount(labels)) == 0 and len({tuple(pair) for pair in pairs}) == len(pairs)
    again, _ = grammar.generate()
    assert (again == pairs).all() and (grammar.generate(1)[0] != pairs).any()
    for sentence in (0, 1):  # no quantifier alone tells anything
        first = np.array([" ".join(pair[sentence].split()[:-2]) for pair in pairs])
        for quantifier in grammar.OPPOSITE:
            counts = np.bincount(labels[first == quantifier], minlength=3)
            assert np.ptp(counts) == 0


def test_single_words_do_not_tell_the_labels():
    dataset, words = data.load("grammar"), CountVectorizer(token_pattern=r"\w+")
    features = {split: [] for split in ("train", "validation")}
    for sentence in (0, 1):
        words.fit(dataset.train.inputs[:, sentence])
        for split, own in features.items():
            own.append(words.transform(getattr(dataset, split).inputs[:, sentence]))
    linear = LogisticRegression(max_iter=2000).fit(hstack(features["train"]), dataset.train.labels)
    assert linear.score(hstack(features["validation"]), dataset.validation.labels) < 0.4  # where guessing gives 1/3
