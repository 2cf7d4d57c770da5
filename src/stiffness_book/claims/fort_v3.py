"""The claims of the stiffness paper's third version (Fort et al. 2019), and of the version between, by their ids."""

import numpy as np
import pandas as pd

from stiffness_book import contradiction, lengths
from stiffness_book.claims.fort_v1 import (
    _by_step,
    _change,
    _share_positive,
    _steps,
    over_a_decade,
)
from stiffness_book.claims.parts import CLEAR, ORDERED, SMALL, Part, difference
from stiffness_book.claims.registry import NotMeasured, claim
from stiffness_book.summaries import hidden_domains, onset, order_with_depth
from stiffness_book.table import REGIMES, SUMMARIES
from stiffness_book.words import REGIME_WORDS, WORDS, by_percent, percent

TENTH = float(np.log(1.1))  # of the logarithm of a length: the least that counts as a change


@claim("C9", source="v3", statement="The critical length ξ shrinks with the learning rate, and with training.",
       pages={"critical_length": "MNIST, Fashion-MNIST and CIFAR-10"})
def critical_length_shrinks(rates, training):
    """Two parts for each data set and network, and a third where runs are followed through training; by cosine and in
    input space. Changes are those of the logarithm of ξ; less than 10 % does not count. *Shrinks at low rates* and
    *at high rates*: at equal training loss, the least-squares slope against the logarithm of the rate, averaged over
    the losses, is −10 % per tenfold rate or less; from the lowest rate to the middle one (the lower of two), and from
    there to the highest. *Shrinks with training*: at one rate, ξ falls by 10 % or more from initialisation to the last
    stage. *Reverse*: ξ grows by as much. A seed whose line does not fall to zero at both ends is left out.
    """
    parts, missing, whole = [], 0, 0
    by_rate = {"shrinks at low rates": lengths.at_low_rates, "shrinks at high rates": lengths.at_high_rates}
    expected = {"expects": "below", "size": TENTH, "form": by_percent, "bounds": (-np.inf, np.inf)}
    for table, change, measures in (
            (rates, lengths.per_decade, by_rate),
            (training, lengths.through_training, {"shrinks with training": lambda rows: rows})):
        rows = lengths.known(table, "cosine")
        rows = rows[rows["space"] == "input"]
        missing, whole = missing + rows["value"].isna().sum(), whole + len(rows)
        for dataset, own in rows.groupby("dataset", sort=False):
            found = {name: change(choose(own)) for name, choose in measures.items()}
            parts += [Part.over(f"{name} ({dataset})", values, **expected)
                      for name, values in found.items() if len(values)]
    if not parts:
        raise NotMeasured("no line through the pairs of one class falls to zero in the runs to be compared")
    return parts, f"Lines that do not fall to zero: {missing} of {whole}"


@claim("C6′", source="2019",
       statement="Small learning rates give higher stiffness, at equal training loss and at a given epoch.",
       pages={"contradiction": "MNIST"})
def small_rates_are_stiffer(rows):
    """With the first version's network and Adam, for each data set, within and between classes, by sign and by cosine:
    *at equal training loss*, the lowest that all runs reach, and *at an equal epoch*, the last that all runs have,
    stiffness falls by 0.05 or more from the lowest learning rate to the highest. A data set whose rates span less than
    a factor of ten is drawn, and not judged.
    """
    ways = {contradiction.AT[1]: "equal loss", contradiction.AT[3]: "equal epoch"}
    rows = rows[rows["at"].isin(ways) & rows["measure"].isin(
        [contradiction.STIFFNESSES[summary] for summary in SUMMARIES])]
    if rows.empty:
        raise NotMeasured("no learning rates were compared at equal loss or epoch")
    parts, by = [], ["dataset", "at", "measure", "kind"]
    for (dataset, at, measure, kind), own in over_a_decade(rows).groupby(by, sort=False):
        by_rate = own.pivot(index="seed", columns="learning_rate", values="value")
        parts.append(Part.over(f"{measure}, {kind}, {ways[at]} ({dataset})",
                               by_rate[by_rate.columns[-1]] - by_rate[by_rate.columns[0]], expects="below", size=SMALL,
                               bounds=(-2.0, 2.0)))
    return parts


@claim("C10", source="v3",
       statement="Stiffness behaves alike for pairs of two training examples, of a training and a validation example, "
                 "and of two validation examples.",
       pages={"regimes": "MNIST, Fashion-MNIST and, with a convolutional network, CIFAR-10"})
def regimes_behave_alike(tables):
    """For each data set, by sign stiffness. *Changes*: between classes it changes by 0.1 or more from initialisation to
    the last stage, up or down, over pairs of validation examples; where nothing changes, nothing can behave alike.
    *Alike*, within and between classes, for each of the two other regimes: at the stage at which its mean differs most
    from that of pairs of validation examples, the interval of the difference lies within ±0.1.
    """
    parts, told = [], []
    for name, table in tables.items():
        table = table[table["target_loss"].isna()]
        by_step = {quantity: rows.pivot_table(index="seed", columns="step", values="value")
                   for quantity, rows in table.groupby("quantity") if quantity.startswith(SUMMARIES)}
        if f"{SUMMARIES[0]}_sign_{REGIMES[0]}" not in by_step:
            raise NotMeasured(f"{name}: the runs measure no pairs of training examples")
        between = by_step["between_classes_sign"]
        first, last = between.columns[0], between.columns[-1]
        change = between[last] - between[first]
        for summary in SUMMARIES:
            for regime in REGIMES:
                difference = by_step[f"{summary}_sign_{regime}"] - by_step[f"{summary}_sign"]
                step = difference.mean().abs().idxmax()
                parts.append(Part.over(f"{REGIME_WORDS[regime]} alike, {WORDS[summary]} ({name})", difference[step],
                                       expects="within", bounds=(-2.0, 2.0)))
                told.append(f"{name}, {REGIME_WORDS[regime]}, {WORDS[summary]}: {step:,}")
        parts.append(Part.over(f"changes ({name})", change, expects="above" if change.mean() > 0 else "below",
                               bounds=(-2.0, 2.0)))
    return parts, f"differ most after steps: {'; '.join(told)}"


@claim("C11", source="v3",
       statement="A transformer on MNLI shows the same pattern as the networks on images.",
       pages={"transformer": "MNLI {cite}`williams2018`"})
def transformers_show_the_pattern(tables):
    """The pattern is that of C1 to C3. As the third version prefers the cosine, it is used within classes, where by
    sign hardly anything moves; between classes it is the sign. Four parts for each network. *Within classes positive*:
    the share of training steps in which stiffness within classes is positive, and above that between classes (by cosine
    both), exceeds one half by 0.1 or more; between two stages it is taken to change evenly. An untrained network has
    that too; the other parts it has not. *Between classes it grows*: by at least 0.1 from initialisation to the last
    stage. *Between classes it becomes positive*: at the last stage it is +0.05 or more, and more than at initialisation
    by as much; the smaller number counts. *Within classes it falls with over-fitting*: from the stage with the lowest
    mean validation loss to the last by 0.1 or more; left out where that is the first or the last stage. A network whose
    training loss does not fall below three quarters of the loss of guessing in every run has not learnt, and is not
    judged.
    """
    parts, told = [], []
    for name, table in tables.items():
        first, *_, last = steps = _steps(table)
        guessing = np.log(table["class_a"].max() + 1)
        if not (_by_step(table, "train_loss").min(axis=1) < 0.75 * guessing).all():
            told.append(f"{name}: not judged, as the training loss of a run never fell below three quarters of "
                        f"{guessing:.2f}, that of guessing")
            continue
        within, between = (_by_step(table, f"{summary}_cosine") for summary in SUMMARIES)
        ends = _by_step(table, "between_classes_sign")
        parts += [
            Part.over(f"within classes positive ({name})",
                      _share_positive(np.minimum(within, within - between), steps), none=0.5, bounds=(0.0, 1.0),
                      form=percent),
            _change(f"between classes it grows ({name})", table, "between_classes_sign", first, last),
            Part.over(f"between classes it becomes positive ({name})", np.minimum(ends[last], ends[last] - ends[first]),
                      size=SMALL)]
        start = onset(table)
        if start in (first, last):
            told.append(f"{name}: the validation loss is lowest at the {'first' if start == first else 'last'} stage, "
                        "so over-fitting is not judged")
        else:
            parts.append(_change(f"within classes it falls with over-fitting ({name})", table, "within_class_cosine",
                                 start, last, expects="below"))
            told.append(f"{name}: the validation loss is lowest after {start:,} steps, the last stage is {last:,}")
    if not parts:
        raise NotMeasured("; ".join(told))
    return parts, "; ".join(told)


@claim("C13", source="v3", statement="The picture holds for a residual network, ResNet20 without batch normalisation.",
       pages={"resnet": "CIFAR-10 and MNIST"})
def picture_holds_for_a_residual_network(tables, network, other):
    """Five parts for each data set, by sign stiffness, at the lowest of the training losses. *Between classes it
    grows*: from initialisation it changes by +0.1 or more. *Within classes it stays positive*: at every loss it is 0.1
    or more, and exceeds that between classes by 0.1 or more; the smallest of these numbers counts. *Deeper blocks have
    smaller domains*: Kendall's rank correlation of a block's depth with the size of its stiff domain is −0.5 or less.
    *Within*, and *between classes, as in the convolutional network*: the interval of the difference (Welch's, over
    runs) lies within ±0.1. A data set on which the residual network, or two runs of the other one, did not reach the
    lowest loss, or on which that is more than half of the loss at initialisation, is not judged.
    """
    parts, told = [], []
    for name, table in tables.items():
        own = table[table["network"] == network]
        start = own[own["target_loss"].isna() & (own["step"] == 0)]
        losses = table["target_loss"].dropna()
        lowest = losses.min()
        within, between = ({loss: _by_seed(own[own["target_loss"] == loss], f"{summary}_sign") for loss in set(losses)}
                           for summary in SUMMARIES)
        theirs = table[(table["network"] == other) & (table["target_loss"] == lowest)]
        reached = losses.size and min(len(within[lowest]), len(_by_seed(theirs, "within_class_sign"))) > 1
        first, last = (_by_seed(rows, "train_loss").mean() for rows in (start, own[own["target_loss"] == lowest]))
        if not reached or not last < first / 2:
            told.append(f"{name}: not judged, as a network did not get far enough")
            continue
        smallest = pd.concat([values for loss in within for values in (
            within[loss], within[loss] - between[loss])], axis=1).min(axis=1)
        depth = order_with_depth(hidden_domains(own[own["target_loss"] == lowest]))
        parts += [
            Part.over(f"between classes it grows ({name})", between[lowest] - _by_seed(start, "between_classes_sign"),
                      bounds=(-2.0, 2.0)),
            Part.over(f"within classes it stays positive ({name})", smallest),
            Part.over(f"deeper blocks have smaller domains ({name})", depth, expects="below", size=ORDERED),
            *(difference(f"{WORDS[summary]}, as in the convolutional network ({name})", values[lowest].to_numpy(),
                         _by_seed(theirs, f"{summary}_sign").to_numpy(), expects="within", size=CLEAR)
              for summary, values in zip(SUMMARIES, (within, between)))]
        told.append(f"{name}: at loss {lowest:g}")
    if not parts:
        raise NotMeasured("; ".join(told))
    return parts, "; ".join(told)


def _by_seed(rows, quantity):
    return rows[rows["quantity"] == quantity].set_index("seed")["value"]
