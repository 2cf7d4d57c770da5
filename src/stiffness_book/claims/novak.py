"""The claims of Novak et al. 2018 on sensitivity, in the order of their ids.

A rule's docstring is printed on its page.
"""

import numpy as np

from stiffness_book.claims.fort_v1 import ORDERED
from stiffness_book.claims.parts import CLEAR, SMALL, Part
from stiffness_book.claims.registry import NotMeasured, claim
from stiffness_book.sensitivity import survey

TIMES = np.log10(1.25)  # the least ratio of two norms that counts as an effect
ENOUGH = 10  # networks on a data set


def times(logarithm):
    """A ratio from its logarithm to the base 10, as text: ×1.26."""
    return f"×{10**logarithm:.2f}"


@claim("N2", source="Novak", statement="Across many trained networks, the norm of the Jacobian correlates with the "
                                       "generalisation gap.",
       pages={"survey": "MNIST, Fashion-MNIST and CIFAR-10"})
def norm_correlates_with_gap(networks):
    """Of the networks with every training label right, at the end of training, for each data set: Kendall's rank
    correlation of the mean norm at test points with the gap (training accuracy minus test accuracy). *All*: 0.5 or
    more over all of these networks. *True labels*: 0.5 or more over those trained on true labels, so that random
    labels, which raise both, are not all there is to it. The interval comes from resampling the shapes of networks,
    since those of one shape start from the same weights.
    """
    parts = []
    for name, found in _by_dataset(survey.right(networks)):
        for words, chosen in (("all", found), ("true labels", found[found["condition"] != "random labels"])):
            if len(chosen) < ENOUGH:
                raise NotMeasured(f"{name}: {len(chosen)} networks have every training label right; {words} needs "
                                  f"{ENOUGH}")
            tau, error, shapes = survey.correlation(chosen, "jacobian_norm")
            parts.append(Part(f"{words} ({name})", tau, error, shapes - 1, size=ORDERED))
    return parts


@claim("N3", source="Novak", statement="Random labels and full-batch training raise the norm of the Jacobian; "
                                       "augmentation and ReLU units lower it.",
       pages={"factors": "MNIST, Fashion-MNIST and CIFAR-10"})
def factors_change_the_norm(networks):
    """Pairs of networks that differ in one thing and start from the same weights, at the end of training, both with
    every training label right (where images are translated in every batch, 95 % of those that are not). For each data
    set, the ratio of the mean norms at test points, as the mean of its logarithm over pairs, then over shapes of
    networks: *labels*, random to true; *batches*, full to mini; *units*, saturating to ReLU; *augmentation*, without
    to with translation. Each is 1.25 or more. The interval is over shapes.
    """
    parts = []
    for factor in survey.FACTORS:
        for name, found in _by_dataset(networks):
            ratios = survey.log_ratios(found, factor)
            if len(ratios) < 2:
                raise NotMeasured(f"{name}: {factor} has pairs of {len(ratios)} shapes; two are needed")
            parts.append(Part.over(f"{factor} ({name})", ratios, size=TIMES, form=times, bounds=(-np.inf, np.inf)))
    return parts


@claim("N4", source="Novak", statement="The norm of the Jacobian predicts which single test points a network has "
                                       "right.",
       pages={"test_points": "MNIST, Fashion-MNIST and CIFAR-10"})
def norm_tells_wrong_points(networks):
    """Of the networks that were trained on true labels and have every one right, at the end of training, for each data
    set: the probability that of two test points, of which the network has one wrong, the wrong one has the larger norm
    (the area under the curve). *Alone*: 0.6 or more. *At equal margin*: 0.55 or more among ten points at a time that
    are neighbours by margin, the difference of the two largest logits. A confident softmax has a small Jacobian by
    itself, so without this the norm may only say what the margin says. Means over the networks of a shape; the interval
    is over shapes.
    """
    parts = []
    for name, found in _by_dataset(survey.right(networks)):
        by_shape = found[found["condition"] != "random labels"].groupby(survey.SHAPE)
        if len(by_shape) < 2:
            raise NotMeasured(f"{name}: {len(by_shape)} shapes of networks have every training label right; two are "
                              "needed")
        for words, quantity, size in (("alone", "auc_norm", CLEAR), ("at equal margin", "auc_at_equal_margin_norm",
                                                                     SMALL)):
            parts.append(Part.over(f"{words} ({name})", by_shape[quantity].mean(), none=0.5, size=size,
                                   bounds=(0.0, 1.0), form="{:.3f}".format))
    return parts


@claim("N5", source="Novak", statement="Larger networks, with more weights than they need, generalise better and are "
                                       "less sensitive.",
       pages={"survey": "MNIST, Fashion-MNIST and CIFAR-10"})
def larger_networks_are_better(networks):
    """Of the networks that have every true training label right, at the end of training, for each data set: the rank
    correlation of the width with the gap, and with the mean norm at test points, among networks that are alike in
    everything else, where three or more widths have every label right. *Gap* and *norm*: the mean over these ways of
    training is -0.5 or less.
    """
    true = networks[networks["condition"] != "random labels"]
    parts = []
    for words, quantity in (("gap", "gap"), ("norm", "jacobian_norm")):
        for name, found in _by_dataset(true):
            taus = survey.size_correlations(found, quantity)
            if len(taus) < 2:
                raise NotMeasured(f"{name}: {len(taus)} ways of training have every label right at three widths; two "
                                  "are needed")
            parts.append(Part.over(f"{words} ({name})", taus, expects="below", size=ORDERED))
    return parts


def _by_dataset(networks):
    """The networks of each data set, in order of appearance. Raises NotMeasured where there are none."""
    if networks.empty:
        raise NotMeasured("no network has every training label right")
    return networks.groupby("dataset", sort=False)
