"""The claims of the paper on sensitivity (Novak et al. 2018) that concern one network, in the order of their ids.

A rule's docstring is printed on its page.
"""

import numpy as np

from stiffness_book import published
from stiffness_book.claims.parts import Part
from stiffness_book.claims.registry import NotMeasured, claim
from stiffness_book.sensitivity import near_data
from stiffness_book.sensitivity.input_space import DIFFERENT, ONE, RANDOM
from stiffness_book.words import factor

DOUBLE, FIFTH = np.log10(2), np.log10(1.2)  # the least factors that count: of a norm, and of a number of changes
WHAT = {"norm": ("norm", DOUBLE), "transitions": ("transitions", FIFTH)}
FREE = {"bounds": (-np.inf, np.inf), "form": factor}


@claim("N1", source="Novak",
       statement="The Jacobian norm and the number of transitions are low near the training data, and high away from "
                 "it.",
       pages={"ellipses": "MNIST"})
def low_near_the_data(table):
    """Three parts for the Jacobian norm, and the same three for the transitions. *Dips, different classes* and *dips,
    one class*: on an ellipse through three training examples, the level at these examples over that midway between
    them. *Higher at random*: the level on ellipses through random points over that at training examples of different
    classes. Each is a factor, the median over the ellipses of a run, and is divided by the same factor of the same
    network before training, so that what geometry alone does counts for nothing. A factor of 2 counts as an effect for
    the norm, and of 1.2 for the transitions. A network whose training accuracy is below 0.9 is not judged.
    """
    _require_fit(table)
    parts = []
    for measure, (name, size) in WHAT.items():
        for what, path, over, expects in (("dips, different classes", DIFFERENT, None, "below"),
                                          ("dips, one class", ONE, None, "below"),
                                          ("higher at random", DIFFERENT, RANDOM, "above")):
            values = near_data.learnt(near_data.factors(table, measure, path, over))
            parts.append(Part.over(f"{name} {what}", values, expects=expects, size=size,
                                   paper=_published(measure, path, over), **FREE))
    logits = near_data.learnt(near_data.factors(table, "logit_norm", DIFFERENT)).mean()
    return parts, ("the Jacobian norm of the logits, to which the confidence of the softmax adds nothing, dips at "
                   f"examples of different classes by {factor(logits)}")


@claim("N6", source="Novak",
       statement="Training makes linear regions sparser around the training points.",
       pages={"linear_regions": "MNIST"})
def regions_grow_sparser(table):
    """In the plane through three training examples of different classes, changes of the code per unit of length on rays
    from these examples. Near them is up to 0.1 of the distance between the examples, far from them 0.4 to 0.6. Three
    parts, each a factor by which training changes something: *near the points*, the number of changes; *near over far*,
    that near them over that far from them; *over random points*, that near them over that near random points.
    A factor of 1.2 downwards counts as an effect. A network whose training accuracy is below 0.9 is not judged.
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
