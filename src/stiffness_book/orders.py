"""The orders in which a network meets its training examples.

Each pass over the examples has a fresh order, fixed by seed and pass. A pass can go through groups of examples one
after another, with a fresh order within each group:

- shuffled: there is one group;
- by class: the classes are the groups, in the order of their labels;
- easy first: tenths of the examples, those on which a linear classifier does best first; hard first: the reverse.
"""

import itertools

import numpy as np
from sklearn.decomposition import PCA
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline

TENTHS = 10  # groups of equal easiness: as many as the usual data sets have classes
COMPONENTS = 50  # principal components of an image that the linear classifier sees
FOLDS = 5
NEIGHBOURS = 8  # batches that follow each other, whose stiffness is measured


def groups(split, names):
    """{order: (n,) the number of each training example's group, or None where there is one group}, for several orders.
    """
    found = {"shuffled": None, "by class": split.labels}
    if not found.keys() >= set(names):
        place = np.argsort(np.argsort(-easiness(split), kind="stable"))  # 0 is the easiest
        tenths = place * TENTHS // len(place)
        found |= {"easy first": tenths, "hard first": TENTHS - 1 - tenths}
    return {name: found[name] for name in names}


def easiness(split):
    """(n,) the logarithm of the probability that a logistic regression gives each example's label.

    It sees the first principal components of the inputs, scaled to unit variance, and is fitted on the four fifths of
    the examples to which the example does not belong. Raises ValueError where a class has fewer than five examples.
    """
    classes, counts = np.unique(split.labels, return_counts=True)
    if counts.min() < FOLDS:
        raise ValueError(f"class {classes[counts.argmin()]} has {counts.min()} training examples; an order by easiness "
                         f"needs {FOLDS} or more of each class: raise train_size")
    inputs = np.asarray(split.inputs, float).reshape(len(split), -1)
    components = min(COMPONENTS, inputs.shape[1], len(inputs) // 2)
    classifier = make_pipeline(PCA(components, whiten=True, svd_solver="covariance_eigh"),
                               LogisticRegression(max_iter=1000))
    logarithms = cross_val_predict(classifier, inputs, split.labels, cv=FOLDS, method="predict_log_proba")
    return logarithms[np.arange(len(inputs)), np.searchsorted(classes, split.labels)]


def passes(number, batch_size, seed, start=0, groups=None):
    """Endless: for each pass (batches, batch_size), the indices of the examples in each of its batches.

    start: the number of batches at the beginning that are left out. The order is a pure function of seed, pass and
    groups, so it depends on nothing that ran before. A last batch that would not be full is left out; as the order
    within groups is fresh, no example is left out for good. Raises ValueError for a batch that is never full.
    """
    batches = number // batch_size
    if batches == 0:
        raise ValueError(f"batch_size is {batch_size}; expected at most the {number} training examples")
    for epoch in itertools.count(start // batches):
        order = np.random.default_rng([seed, epoch]).permutation(number)
        if groups is not None:
            order = order[np.argsort(groups[order], kind="stable")]
        first = start % batches if epoch == start // batches else 0
        yield order[: batches * batch_size].reshape(batches, batch_size)[first:]


def coming(number, batch_size, seed, start=0, groups=None):
    """(NEIGHBOURS, batch_size) the indices of the examples in the batches of the coming steps."""
    found = itertools.chain.from_iterable(passes(number, batch_size, seed, start, groups))
    return np.stack(list(itertools.islice(found, NEIGHBOURS)))


def neighbours(batches):
    """The pairs of examples of which one is in a batch and the other in the next one, as a mask over all pairs.

    batches: (b, batch_size) indices. Returns (b batch_size, b batch_size); an example has no pair with itself, which it
    would have where two passes meet.
    """
    number = np.repeat(np.arange(len(batches)), batches.shape[1])
    indices = batches.reshape(-1)
    return (number[:, None] + 1 == number) & (indices[:, None] != indices)
