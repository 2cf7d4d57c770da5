"""The claims of the paper on sensitivity (Novak et al. 2018), in the order of their ids: N1 and N6 are on one network,
the others on many.

A rule's docstring is printed on its page.
"""

import numpy as np

from stiffness_book import published
from stiffness_book.claims.fort_v1 import ORDERED
from stiffness_book.claims.parts import CLEAR, SMALL, Part
from stiffness_book.claims.registry import NotMeasured, claim
from stiffness_book.sensitivity import near_data, survey
from stiffness_book.sensitivity.input_space import DIFFERENT, ONE, RANDOM
from stiffness_book.words import factor

# the least factors that count as an effect, as logarithms: of one network's norm, of a number of changes, and of the
# norms of two networks
DOUBLE, FIFTH, QUARTER = np.log10(2), np.log10(1.2), np.log10(1.25)
WHAT = {"norm": ("norm", DOUBLE), "transitions": ("transitions", FIFTH)}
FREE = {"bounds": (-np.inf, np.inf), "form": factor}
ENOUGH = 10  # networks on a data set


@claim("N1", source="Novak",
       statement="The Jacobian norm and the number of transitions are low near the training data, and high away from "
                 "it.",
       pages={"ellipses": "MNIST, at rate 1e-3"}, before={"ellipses": "partly"},
       changed="The first rule also asked for fewer transitions at examples of one class, where the paper’s own figure "
               "has no dip.")
def low_near_the_data(table):
    """Three parts for the Jacobian norm, two for the transitions. *Dip, different classes* and *dip, one class*: on an
    ellipse through three training examples, the level at these examples over that midway between them; for the
    transitions the first alone, as the paper's figure has no dip of theirs at examples of one class. *Higher at
    random*: the level on ellipses through random points over that at training examples of different classes. Each is a
    factor, the median over the ellipses of a run, and is divided by the same factor of the same network before
    training, so that what geometry alone does counts for nothing; the paper's, read off its figure, cannot be divided
    so. A factor of 2 counts as an effect for the norm, and of 1.2 for the transitions. A network whose training
    accuracy is below 0.9 is not judged.
    """
    _require_fit(table)
    parts = []
    for measure, (name, size) in WHAT.items():
        for what, path, over, expects in (("dip, different classes", DIFFERENT, None, "below"),
                                          ("dip, one class", ONE, None, "below"),
                                          ("higher at random", DIFFERENT, RANDOM, "above")):
            if measure == "transitions" and path == ONE:
                continue
            values = near_data.learnt(near_data.factors(table, measure, path, over))
            parts.append(Part.over(f"{name} {what}", values, expects=expects, size=size,
                                   paper=_published(measure, path, over), **FREE))
    logits = near_data.learnt(near_data.factors(table, "logit_norm", DIFFERENT)).mean()
    return parts, ("the same factor of the Jacobian norm of the logits, to which the confidence of the softmax adds "
                   f"nothing, is {factor(logits)} for different classes")


@claim("N2", source="Novak", statement="Across many trained networks, the norm of the Jacobian correlates with the "
                                       "generalisation gap.",
       pages={"survey": "MNIST, Fashion-MNIST and CIFAR-10"})
def norm_correlates_with_gap(networks):
    """Of the networks that fit every training label, at the end of training, for each data set: Kendall's rank
    correlation of the mean norm at test points with the gap (training accuracy minus test accuracy). *All*: 0.5 or
    more over all of these networks. *Without random labels*: 0.5 or more over the others, so that random labels, which
    raise both, are not all there is to it. The interval comes from resampling the shapes of networks, since those of
    one shape start from the same weights.
    """
    parts = []
    for name, found in _by_dataset(survey.right(networks)):
        for words, chosen in (("all", found), ("without random labels", survey.without_random_labels(found))):
            if len(chosen) < ENOUGH:
                raise NotMeasured(f"{name}: {len(chosen)} networks fit every training label; {words} needs "
                                  f"{ENOUGH}")
            tau, error, shapes = survey.correlation(chosen, "jacobian_norm")
            parts.append(Part(f"{words} ({name})", tau, error, shapes - 1, size=ORDERED))
    return parts


@claim("N3", source="Novak", statement="Random labels and full-batch training raise the norm of the Jacobian; "
                                       "augmentation and ReLU units lower it.",
       pages={"factors": "MNIST, Fashion-MNIST and CIFAR-10"})
def factors_change_the_norm(networks):
    """Pairs of networks that differ in one thing and start from the same weights, at the end of training, which both
    fit every training label (where images are translated in every batch, 95 % of those that are not). For each data
    set, the ratio of the mean norms at test points, as the mean of its logarithm over pairs, then over shapes of
    networks: *labels*, random to true; *batches*, full to mini; *units*, saturating to ReLU; *augmentation*, without
    to with translation. Each is 1.25 or more. The interval is over shapes.
    """
    parts = []
    for what in survey.FACTORS:
        for name, found in _by_dataset(networks):
            ratios = survey.log_ratios(found, what)
            if len(ratios) < 2:
                raise NotMeasured(f"{name}: {what} has pairs of {len(ratios)} shapes; two are needed")
            parts.append(Part.over(f"{what} ({name})", ratios, size=QUARTER, **FREE))
    return parts


@claim("N4", source="Novak", statement="The norm of the Jacobian predicts which single test points a network gets "
                                       "right.",
       pages={"test_points": "MNIST, Fashion-MNIST and CIFAR-10"})
def norm_tells_wrong_points(networks):
    """Of the networks that were trained on true labels and fit every one, at the end of training, for each data set:
    the probability that of two test points, of which the network gets one wrong, the wrong one has the larger norm
    (the area under the ROC curve). *Alone*: 0.6 or more; this is what the paper states. *At equal margin*: 0.55 or
    more among ten points at a time that are neighbours by margin, the difference of the two largest logits; this is a
    control that the paper does not have. A confident softmax has a small Jacobian by itself, so without it the norm
    may only say what the margin says. Means over the networks of a shape; the interval is over shapes.
    """
    parts = []
    for name, found in _by_dataset(survey.right(networks)):
        by_shape = survey.without_random_labels(found).groupby(survey.SHAPE)
        if len(by_shape) < 2:
            raise NotMeasured(f"{name}: {len(by_shape)} shapes of networks fit every training label; two are "
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
    """Of the networks that fit every true training label, at the end of training, for each data set: the rank
    correlation of the width with the gap, and with the mean norm at test points, among networks that differ in their
    width alone, where networks of three or more widths fit every label. *Gap* and *norm*: the mean over these ways of
    training is -0.5 or less.
    """
    true = survey.without_random_labels(networks)
    parts = []
    for words, quantity in (("gap", "gap"), ("norm", "jacobian_norm")):
        for name, found in _by_dataset(true):
            taus = survey.size_correlations(found, quantity)
            if len(taus) < 2:
                raise NotMeasured(f"{name}: {len(taus)} ways of training fit every label at three widths; two "
                                  "are needed")
            parts.append(Part.over(f"{words} ({name})", taus, expects="below", size=ORDERED))
    return parts


@claim("N6", source="Novak",
       statement="Training makes linear regions sparser around the training points.",
       pages={"linear_regions": "MNIST, fully connected, at rate 1e-3"})
def regions_grow_sparser(table):
    """In the plane through three training examples of different classes, changes of the code per unit of length on
    rays from these examples. Near them is up to 0.1 of the distance between the examples, far from them 0.4 to 0.6.
    Three parts, each a factor by which training changes something: *near the points*, the number of changes; *near
    over far*, that near them over that far from them; *over random points*, that near them over that near random
    points. A factor of 1.2 downwards counts as an effect. A network whose training accuracy is below 0.9 is not
    judged.
    """
    _require_fit(table)
    at, random = (near_data.densities(table, path) for path in (DIFFERENT, RANDOM))

    def grown(found, where):
        before, after = (found[moment, where] for moment in near_data.MOMENTS)
        return np.log10(after / before)

    near = grown(at, "near")
    return [Part.over(name, values, expects="below", size=FIFTH, **FREE) for name, values in (
        ("near the points", near), ("near over far", near - grown(at, "far")),
        ("over random points", near - grown(random, "near")))]


def _require_fit(table):
    accuracies = table.loc[(table["quantity"] == "train_accuracy") & (table["step"] > 0), "value"]
    if accuracies.empty or accuracies.min() < 0.9:
        raise NotMeasured("a training accuracy stayed below 0.9" if len(accuracies) else "no network was trained")


def _published(measure, path, over):
    """The logarithm of the factor in the paper's Figure 2, from the middles of the levels in it; None without them."""
    shown = published.ellipse_levels()
    shown = shown[shown["measure"] == measure].set_index(["path", "place"])
    middle = np.log10(shown[["low", "high"]]).mean(axis=1)
    at, other = (path, near_data.AT), (path, near_data.BETWEEN) if over is None else (over, "everywhere")
    if not {at, other} <= set(middle.index):
        return None
    return float(middle[at] - middle[other] if over is None else middle[other] - middle[at])


def _by_dataset(networks):
    """The networks of each data set, in order of appearance. Raises NotMeasured where there are none."""
    if networks.empty:
        raise NotMeasured("no network fits every training label")
    return networks.groupby("dataset", sort=False)
