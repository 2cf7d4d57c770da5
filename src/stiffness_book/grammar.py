"""A generated data set of premises and hypotheses whose labels are true by logic, for runs without a download.

A sentence says that all, some, no or not all of some animals or people do something: *not all poodles sleep*. Nouns
and verbs form trees. Whatever is below a word is a kind of it: poodles are dogs, and who runs, moves. Words of which
neither is below the other exclude each other: nobody runs and walks at a time. There is one or more of each noun.

A hypothesis is entailed if it is true in every world in which the premise is, contradicted if in none, else neutral.
"""

from functools import cache
from itertools import chain, combinations, product

import numpy as np

LABELS = ("entailment", "neutral", "contradiction")  # in MNLI's order
OPPOSITE = {"all": "not all", "some": "no", "no": "some", "not all": "all"}  # of the quantifiers
NOUNS = {"animals": None, "dogs": "animals", "poodles": "dogs", "beagles": "dogs", "cats": "animals",
         "tabbies": "cats", "birds": "animals", "owls": "birds",
         "people": None, "children": "people", "girls": "children", "boys": "children", "adults": "people",
         "nurses": "adults", "sailors": "adults"}  # each with what it is a kind of
VERBS = {"move": None, "run": "move", "walk": "move", "swim": "move",
         "rest": None, "sleep": "rest", "sit": "rest"}
TRAINING, VALIDATION = 3600, 960  # pairs


def generate(seed=0):
    """The pairs (n, 2) as text and the labels (n,), all different, the three labels equally often, in random order.

    The hypothesis has the premise's quantifier or its opposite, and its noun is related to the premise's. Each label
    has each premise's quantifier equally often, and the neutral pairs have both kinds of hypotheses equally often. So
    no quantifier alone tells the label.
    """
    rng, chosen = np.random.default_rng(seed), []
    for q1, label in product(OPPOSITE, range(len(LABELS))):
        quantifiers = {0: [q1], 1: [q1, OPPOSITE[q1]], 2: [OPPOSITE[q1]]}[label]
        for q2 in quantifiers:
            pairs = [(f"{q1} {n1} {v1}", f"{q2} {n2} {v2}", label)
                     for n1, n2 in product(NOUNS, NOUNS) if (nouns := relation(NOUNS, n1, n2)) != "apart"
                     for v1, v2 in product(VERBS, VERBS)
                     if label_of(q1, q2, nouns, relation(VERBS, v1, v2)) == label]
            number = (TRAINING + VALIDATION) // (len(OPPOSITE) * len(LABELS) * len(quantifiers))
            chosen += [pairs[at] for at in rng.choice(len(pairs), number, replace=False)]
    chosen = [chosen[at] for at in rng.permutation(len(chosen))]
    return np.array([pair[:2] for pair in chosen], object), np.array([pair[2] for pair in chosen])


def relation(tree, one, other):
    """What the other word is to the one: "same", "above", "below" or "apart"."""
    if one == other:
        return "same"
    return "above" if other in _above(tree, one) else "below" if one in _above(tree, other) else "apart"


@cache
def label_of(q1, q2, nouns, verbs):
    """The label's index of a pair, which depends on its quantifiers and on how its words are related.

    A world is a set of kinds of beings, and a being is of a kind by whether each noun and each verb is true of it.
    """
    allowed = {"same": {(0, 0), (1, 1)}, "above": {(0, 0), (0, 1), (1, 1)}, "below": {(0, 0), (1, 0), (1, 1)},
               "apart": {(0, 0), (0, 1), (1, 0)}}
    beings = [(*is_noun, *does) for is_noun in allowed[nouns] for does in allowed[verbs]]
    worlds = chain.from_iterable(combinations(beings, size) for size in range(1, len(beings) + 1))
    found = {_holds(q2, [b[3] for b in world if b[1]]) for world in worlds
             if any(b[0] for b in world) and any(b[1] for b in world) and _holds(q1, [b[2] for b in world if b[0]])}
    return {(True,): 0, (False, True): 1, (False,): 2}[tuple(sorted(found))]


def _holds(quantifier, does):
    """Whether the quantifier is true of beings of which each does something or not."""
    return {"all": all(does), "some": any(does), "no": not any(does), "not all": not all(does)}[quantifier]


def _above(tree, word):
    """All that the word is a kind of."""
    found = []
    while (word := tree[word]) is not None:
        found.append(word)
    return found
