"""What the page on regimes of pairs says: training images, validation images, and both."""

from stiffness_book.claims.parts import CLEAR
from stiffness_book.table import KINDS, REGIMES, SUMMARIES
from stiffness_book.texts.tables import as_table, mean_of
from stiffness_book.words import REGIME_WORDS, WORDS


def regimes_alike(tables):
    """The finding in a sentence. tables: those of the runs, by data set."""
    largest = []
    for name, table in tables.items():
        for summary, regime, kind, difference, step in _differences(table):
            if kind == "sign":
                where = f"{REGIME_WORDS[regime]} pairs, {WORDS[summary]}, {name}"
                largest.append((abs(difference[step].mean()), where))
    most, where = max(largest)
    word = "Nearly" if most <= CLEAR else "Not everywhere"
    return (f"**Do training images behave like others?** {word}: by sign, no mean differs by more than {most:.2f} from "
            f"that of two validation images at any stage ({where}).")


def _differences(table):
    """For each summary, regime and kind: the difference from pairs of validation images by seed and step, and the
    step at which its mean is largest."""
    table = table[table["target_loss"].isna()]
    for summary in SUMMARIES:
        for regime in REGIMES:
            for kind in KINDS:
                by_step = [table[table["quantity"] == f"{summary}_{kind}{suffix}"].pivot_table(
                    index="seed", columns="step", values="value") for suffix in (f"_{regime}", "")]
                difference = by_step[0] - by_step[1]
                yield summary, regime, kind, difference, difference.mean().abs().idxmax()


def largest_differences(tables):
    """A table of how much the other regimes differ from pairs of validation images, at the stage where most."""
    rows = {}
    for name, table in tables.items():
        for summary, regime, _, difference, step in _differences(table):
            rows.setdefault((name, WORDS[summary], REGIME_WORDS[regime]), []).append(
                f"{mean_of(difference[step], bounds=(-2, 2))}, {step:,} steps")
    return (as_table(["data", "stiffness", "pairs", "difference by sign", "difference by cosine"],
                     [[*key, *cells] for key, cells in rows.items()])
            + "\n\nEach is the regime minus that of pairs of two validation images, at the stage at which the mean "
            "differs most.")
