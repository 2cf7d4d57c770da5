"""What the pages on ellipses and on linear regions say."""

import numpy as np
import pandas as pd

from stiffness_book import published
from stiffness_book.claims.novak import DOUBLE, FIFTH
from stiffness_book.claims.parts import by_outcome
from stiffness_book.sensitivity import near_data
from stiffness_book.sensitivity.input_space import DIFFERENT, ONE, PATHS, RANDOM
from stiffness_book.sensitivity.near_data import AFTER, AT, BEFORE, BETWEEN, MOMENTS
from stiffness_book.summaries import mean_and_interval
from stiffness_book.texts.tables import as_table, mean_of
from stiffness_book.words import factor, percent


def _added(values):
    """What training has added to a factor, with its interval, as text."""
    return mean_of(values, factor)


def _times(logarithm):
    """A factor without its sign, as text: 0.41."""
    return factor(logarithm).removeprefix("×")


def less_sensitive_near_data(table, others=None):
    """The finding in a few sentences. others: {name of another network: table}."""
    def learnt(measure, path):
        return near_data.learnt(near_data.factors(table, measure, path)).mean()

    norm, changes, one = learnt("norm", DIFFERENT), learnt("transitions", DIFFERENT), learnt("norm", ONE)
    logits = learnt("logit_norm", DIFFERENT)
    both = norm <= -DOUBLE and changes <= -FIFTH
    answer = ("The class probabilities are, where classes differ" if both else
              "In part" if norm <= -DOUBLE or changes <= -FIFTH else "No")
    told = [f"{factor(near_data.learnt(near_data.factors(other, 'transitions', DIFFERENT)).mean())} ({name})"
            for name, other in (others or {}).items()]
    return (f"**Are networks less sensitive near the data?** {answer}. Compared with places midway between three "
            "training images of different classes, training changes the Jacobian norm at the images by "
            f"{factor(norm)}, and the density of transitions by {factor(changes)}; with images of one class it changes "
            f"the norm by "
            f"{factor(one)}. The Jacobian norm of the logits, before the softmax, "
            f"{'falls too' if logits <= -FIFTH else 'hardly falls'}: {factor(logits)}."
            + (f" With other networks and settings the density of transitions changes by {', '.join(told)}."
               if told else ""))


def levels_on_ellipses(tables):
    """A table of the levels after training on each kind of ellipse. tables: {name of the network: table}."""
    rows = []
    for name, table in tables.items():
        found = near_data.levels(table)
        found = found[found["moment"] == AFTER]
        for path in PATHS:
            cells = []
            for measure in ("norm", "transitions"):
                for place in (AT, BETWEEN):
                    values = found[(found["path"] == path) & (found["measure"] == measure) & (found["place"] == place)]
                    medians = values.groupby("seed")["value"].median()
                    cells.append(_level(np.exp(np.log(medians.clip(lower=near_data.LEAST)).mean())
                                        if measure == "norm" else medians.mean()))
            rows.append([name, path, *cells])
    for path in PATHS:
        rows.append(["the paper, about", path, *(_published(measure, path, place) for measure in ("norm", "transitions")
                                                for place in (AT, BETWEEN))])
    return as_table(["network", "points", "norm at the points", "norm between", "transitions at the points",
                     "transitions between"], rows)


def _level(value):
    """A level that may be very small or large, as text: 0.137, 8.5·10⁻⁷, 131."""
    if 1e-4 < value < 1e6:
        return f"{float(f'{value:.3g}'):,.0f}" if value >= 1000 else f"{value:.3g}"
    return _times(np.log10(value))


def _published(measure, path, place):
    rows = published.ellipse_levels()
    rows = rows[(rows["measure"] == measure) & (rows["path"] == path)]
    if "everywhere" not in set(rows["place"]):
        rows = rows[rows["place"] == place]
    row = rows.iloc[0]
    return _level(row["low"]) if row["low"] == row["high"] else f"{_level(row['low'])} to {_level(row['high'])}"


def dips(tables):
    """A table of what training adds at the points of ellipses over that between them, for each network."""
    rows = []
    for name, table in tables.items():
        for path in (DIFFERENT, ONE):
            rows.append([name, path, *(_added(near_data.learnt(near_data.factors(table, measure, path)))
                                       for measure in ("norm", "logit_norm", "transitions"))])
    return as_table(["network", "points", "Jacobian norm", "that of the logits", "transitions"], rows)


def dip_factors(tables):
    """The rows of `charts.factor_points` for ellipses through images of different classes."""
    words = {"norm": "Jacobian norm", "logit_norm": "Jacobian norm of the logits", "transitions": "transitions"}
    found = []
    for name, table in tables.items():
        for measure, told in words.items():
            mean, low, high = mean_and_interval(near_data.learnt(near_data.factors(table, measure, DIFFERENT)))
            found.append({"network": name, "measure": told, "mean": mean, "low": low, "high": high})
    return pd.DataFrame(found)


def confidence(table):
    """How much of the dip the confidence of the softmax makes, in a sentence."""
    norm, logits = (near_data.learnt(near_data.factors(table, measure, DIFFERENT)).mean()
                    for measure in ("norm", "logit_norm"))
    share = logits / norm if norm < 0 else np.nan
    told = ("so nearly all of the dip is the confidence of the softmax" if share < 0.1 else
            "so part of the dip is in the logits too" if share < 0.9 else "so the dip is in the logits too")
    ending = f", {told}" if norm <= -DOUBLE else ""
    return (f"At training images of different classes training changes the norm of the probabilities by {factor(norm)} "
            f"against that between them, and the norm of the logits by {factor(logits)}{ending}.")


def ellipse_lengths(table):
    """That ellipses of different kinds have different lengths, in a sentence."""
    lengths = near_data.lengths(table)
    told = ", ".join(f"{lengths[path]:.0f} through {words}" for path, words in (
        (RANDOM, "random points"), (DIFFERENT, "images of different classes"), (ONE, "images of one class")))
    return (f"The mean length of an ellipse is {told}, in units of the standardised input. A longer way crosses more "
            "boundaries in any network, which is why every factor is compared with that before training.")


def reached_accuracies(tables):
    """The training and the validation accuracy after training, in a sentence."""
    told = []
    for name, table in tables.items():
        last = table[table["step"] > 0].groupby("quantity")["value"].mean()
        told.append(f"{name}: {percent(last['train_accuracy'])} of the training and "
                    f"{percent(last['validation_accuracy'])} of the validation images")
    return f"Classified correctly after training, on average over the runs: {'; '.join(told)}."


def sparser_regions(table, others=None, name=None):
    """The finding about linear regions in a few sentences. name: of the network. others: {another one's name: table}.
    """
    at, random = (near_data.densities(table, path) for path in (DIFFERENT, RANDOM))
    near, far = (_change(at, where) for where in ("near", "far"))
    away = _change(random, "near")
    here, *elsewhere = (_sparser(one) for one in (table, *(others or {}).values()))
    answer = ("Yes" if all(elsewhere) else f"In {name or 'this network'} they do, but not with every network and "
              "learning rate") if here else "Hardly"
    return (f"**Do linear regions grow sparser around training points?** {answer}. Near a training image, training "
            f"changes the number of boundaries on a line by {factor(near.mean())}, far from it by "
            f"{factor(far.mean())}, and near a random point by {factor(away.mean())}." + (
                " Near a training image it is " + ", ".join(
                    f"{factor(_change(near_data.densities(other), 'near').mean())} for {other_name}"
                    for other_name, other in others.items()) + "." if others else ""))


def _sparser(table):
    """Whether there are fewer boundaries near training images than there were, and than far from them."""
    near, far = (_change(near_data.densities(table), where) for where in ("near", "far"))
    return near.mean() <= -FIFTH and (near - far).mean() <= -FIFTH


def by_the_same_rule(verdicts):
    """What the rule says of other networks, in a table. verdicts: {name of a network: verdict}."""
    rows = [[name, ", ".join(filter(None, [verdict.verdict, verdict.held])),
             *(by_outcome(verdict.parts).get(outcome, "–") for outcome in ("holds", "undecided")),
             "; ".join(f"{names} ({outcome})" if outcome == "reverse" else names
                       for outcome, names in by_outcome(verdict.parts).items() if outcome in ("fails", "reverse"))
             or "–"] for name, verdict in verdicts.items()]
    return rows and "The same rule, for the other networks and settings:\n\n" + as_table(
        ["network", "verdict", "holds", "undecided", "fails"], rows)


def _change(densities, where):
    return np.log10(densities[AFTER, where] / densities[BEFORE, where])


def densities_near_and_far(tables):
    """A table of the number of boundaries per unit of length around each kind of point, for each network."""
    rows = []
    for name, table in tables.items():
        for path in (DIFFERENT, ONE, RANDOM):
            found = near_data.densities(table, path)
            rows.append([name, path, *(f"{found[moment, where].mean():.2f}" for where in ("near", "far")
                                       for moment in MOMENTS),
                         *(_added(_change(found, where)) for where in ("near", "far"))])
    return as_table(["network", "points", "near, before", "near, after", "far, before", "far, after", "change near",
                     "change far"], rows)


def sparser_everywhere(table):
    """Whether training thins the boundaries on the whole plane of images of one class, in a sentence."""
    found = near_data.densities(table, ONE)
    near, far = (_change(found, where).mean() for where in ("near", "far"))
    return (f"On planes through images of one class the first of these networks has fewer boundaries not only near the "
            f"images but everywhere: {factor(near)} near them, {factor(far)} far from them."
            if near <= -FIFTH and far <= -FIFTH else "")


def regions_counted(drawn):
    """How many linear regions the drawn plane has, and how many boundaries are near its images, in sentences."""
    found = drawn[drawn["quantity"] == "regions"].sort_values("step")["value"].astype(int).tolist()
    cells = len(drawn[(drawn["quantity"] == "shade") & (drawn["step"] == 0)])
    densities = near_data.densities(drawn)
    near = [densities[moment, "near"].mean() for moment in MOMENTS]
    return (f"The {cells:,} cells of the picture lie in {found[0]:,} linear regions before training, and in "
            f"{found[1]:,} after it; a region smaller than a cell may be missed. Near the images of this network’s "
            f"planes, a line of length 1 crosses {near[0]:.2f} boundaries before training and {near[1]:.2f} after it.")
