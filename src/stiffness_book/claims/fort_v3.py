"""The claims that the third version of the stiffness paper (Fort et al. 2019) makes, in the order of their ids."""

import numpy as np

from stiffness_book.claims.fort_v1 import (
    _by_step,
    _change,
    _over_fitting,
    _require_learning,
    _share_positive,
    _steps,
    _through_training,
)
from stiffness_book.claims.parts import Part
from stiffness_book.claims.registry import NotMeasured, claim
from stiffness_book.table import REGIMES, SUMMARIES
from stiffness_book.words import REGIME_WORDS, WORDS, percent


@claim("C10", source="v3",
       statement="Stiffness behaves alike for pairs of two training examples, of a training and a validation example, "
                 "and of two validation examples.",
       pages={"regimes": "MNIST and Fashion-MNIST"})
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
    """The pattern is that of C1 to C3; as the third version prefers, by cosine within classes and by sign between
    them. For each network: *Within classes positive and higher*: the share of training steps in which stiffness within
    classes is positive and above that between classes (both by cosine) exceeds one half by 0.1 or more; between two
    stages it is taken to change evenly. *By a clear difference*: averaged over these steps, the difference is 0.1 or
    more. *Between classes it grows*: by at least 0.1 from initialisation to the last stage. *Within classes it falls
    with over-fitting*: from the stage with the lowest mean validation loss to the last by 0.1 or more; left out where
    that is the last stage. A network whose training loss never falls to three quarters of what it was at
    initialisation has not learnt, and the claim is not judged.
    """
    parts, told = [], []
    for name, table in tables.items():
        first, *_, last = steps = _steps(table)
        _require_learning(table, share=0.75)
        within, between = (_by_step(table, f"{summary}_cosine") for summary in SUMMARIES)
        lower = np.minimum(within, within - between)
        parts += [
            Part.over(f"within classes positive and higher ({name})", _share_positive(lower, steps), none=0.5,
                      bounds=(0.0, 1.0), form=percent),
            Part.over(f"by a clear difference ({name})", _through_training(within - between, steps),
                      bounds=(-2.0, 2.0)),
            _change(f"between classes it grows ({name})", table, "between_classes_sign", first, last)]
        try:
            start, *_ = _over_fitting(table)
        except NotMeasured:
            told.append(f"{name}: the validation loss is lowest at an end of training, so nothing over-fits")
        else:
            parts.append(_change(f"within classes it falls with over-fitting ({name})", table, "within_class_cosine",
                                 start, last, expects="below"))
            told.append(f"{name}: the validation loss is lowest after {start:,} steps, the last stage is {last:,}")
    return parts, "; ".join(told)
