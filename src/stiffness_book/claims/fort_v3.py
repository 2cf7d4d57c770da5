"""The claims of the stiffness paper's third version (Fort et al. 2019), and of the version between, by their ids."""

from stiffness_book import contradiction
from stiffness_book.claims.fort_v1 import over_a_decade
from stiffness_book.claims.parts import SMALL, Part
from stiffness_book.claims.registry import NotMeasured, claim
from stiffness_book.table import REGIMES, SUMMARIES
from stiffness_book.words import REGIME_WORDS, WORDS


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
