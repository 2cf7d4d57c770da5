"""What the page on spherical harmonics says: the length scale of the labels, and the size of stiff domains."""

import numpy as np

from stiffness_book import harmonics, summaries
from stiffness_book.claims.parts import CLEAR
from stiffness_book.table import STIFFNESS
from stiffness_book.texts.tables import as_table, mean_of
from stiffness_book.words import signed

ANGLE = (0, np.pi)


def _number(value):
    """An angle or a ratio as text: 0.53."""
    return "none" if np.isinf(value) else f"{value:.2f}"


def domain_over_scale(sizes):
    """The finding in a sentence. sizes: as from `harmonics.domains`, of the input space, with the column moment."""
    start, *later = dict.fromkeys(sizes["moment"])
    ratios = {moment: _medians(sizes, moment) for moment in (start, *later)}
    alike = all(abs(ratios[moment].mean() - 1) <= CLEAR for moment in later)
    before = abs(ratios[start].mean() - 1) <= CLEAR
    answer = "As large as the length scale of the labels" if alike else "Not as large as the length scale of the labels"
    answer += ", and they are that before training" if alike and before else ""
    told = ", ".join(f"{mean_of(ratios[moment], _number, (0, np.inf))} {moment}" for moment in (*later, start))
    return (f"**How large are stiff domains where the length scale is known?** {answer}: the size over the length "
            f"scale is {told}.")


def _medians(sizes, moment):
    return sizes[sizes["moment"] == moment].groupby("seed")["ratio"].median()


def domains_by_degree(sizes):
    """A table of the size of the stiff domain of each degree at each moment."""
    moments = list(dict.fromkeys(sizes["moment"]))
    rows = []
    for degree, own in sizes.groupby("degree"):
        cells = []
        for moment in moments:
            values = own.loc[own["moment"] == moment, "size"]
            endless = np.isinf(values).sum()
            mean = mean_of(values[np.isfinite(values)], _number, ANGLE) if len(values) > endless else "–"
            cells.append(mean + f", {endless} without end" * bool(endless))
        rows.append([f"{degree}", _number(harmonics.length_scale(degree)), *cells])
    return as_table(["degree", "length scale", *moments], rows)


def outgrown(sizes):
    """The degrees whose stiff domain is larger than the length scale at the last moment, in a sentence or two."""
    last = list(dict.fromkeys(sizes["moment"]))[-1]
    ratios = sizes[sizes["moment"] == last].groupby("degree")["ratio"].median()
    larger = [f"{degree} (median ratio {_number(ratio)})" if np.isfinite(ratio) else f"{degree} (without end)"
              for degree, ratio in ratios.items() if ratio > 1 + CLEAR]
    if not larger:
        return f"{last.capitalize()} no degree has outgrown its length scale by a tenth or more."
    return (f"{last.capitalize()} the stiff domain has outgrown the length scale, by a tenth or more, for degree "
            f"{', '.join(larger)}. There the product of the two gradients of the logits' difference has become "
            "negative for points with different labels, so that a step on one helps the other. This part is learnt.")


def order_in_spaces(sizes):
    """A table of how well the sizes in each space are ordered as the length scales. sizes: of all spaces."""
    moments = list(dict.fromkeys(sizes["moment"]))
    rows = []
    for space in dict.fromkeys(sizes["space"]):
        own = sizes[sizes["space"] == space]
        rows.append([space, *(mean_of([summaries.rank_correlation(run["scale"], run["size"]) for _, run in
                                       own[own["moment"] == moment].groupby("seed")], bounds=STIFFNESS)
                              for moment in moments)])
    return as_table(["space", *moments], rows)


def critical_lengths_by_degree(table, moments):
    """A table of the critical length of the third version for each degree, in input space, by 1 − cosine."""
    rows = table[(table["quantity"] == "critical_length_cosine") & (table["space"] == "input")]
    made = []
    for degree, own in rows.groupby("degree"):
        values = [own.loc[mask[own.index], "value"].dropna() for mask in moments.values()]
        made.append([f"{degree}", _number(1 - np.cos(harmonics.length_scale(degree))),
                     *(mean_of(value, _number) if len(value) else "none" for value in values)])
    return as_table(["degree", "length scale, 1 − cosine", *moments], made)


def steps_to_losses(table):
    """A table of the steps after which each degree is learnt to each training loss, and which comes first."""
    reached = table[(table["quantity"] == "train_loss") & table["target_loss"].notna()]
    losses = sorted(reached["target_loss"].unique(), reverse=True)
    runs = table.groupby("degree")["seed"].nunique()
    rows = []
    for degree in sorted(table["degree"].unique()):
        cells = []
        for loss in losses:
            steps = reached.loc[(reached["degree"] == degree) & (reached["target_loss"] == loss), "step"]
            short = bool(len(steps) < runs[degree])
            cells.append((mean_of(steps, "{:,.0f}".format, (0, np.inf)) if len(steps) else "–")
                         + f" ({len(steps)} of {runs[degree]} runs)" * short)
        rows.append([f"{degree}", *cells])
    if not losses:
        return "No training loss was reached."
    order = [summaries.rank_correlation(run["degree"], run["step"])
             for (_, loss), run in reached.groupby(["seed", "target_loss"]) if run["degree"].nunique() > 1]
    return (as_table(["degree", *(f"loss {loss:g}" for loss in losses)], rows)
            + f"\n\nThe rank correlation of degree and steps is {signed(np.mean(order)) if order else 'unknown'}, "
            "averaged over seeds and losses: +1 means that every degree takes longer than the one below it.")


def half_learnt(table, degrees):
    """When half of each degree of a sum is learnt, in a sentence. table: stages by step."""
    told = []
    for degree in degrees:
        rows = table[table["quantity"] == f"learnt_of_degree_{degree}"]
        curve = rows.groupby("step")["value"].mean()
        half = curve.index[curve >= 0.5]
        told.append(f"degree {degree} {f'after {half[0]:,} steps' if len(half) else 'at no stage'}")
    return f"The first stage at which half or more is learnt, by the mean over the runs: {'; '.join(told)}."
