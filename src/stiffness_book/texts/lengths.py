"""What the page on the critical length says."""

import numpy as np

from stiffness_book import lengths
from stiffness_book.table import FARTHEST, KINDS
from stiffness_book.texts.tables import as_table, mean_of
from stiffness_book.words import by_percent, percent


def does_the_length_shrink(rates, training):
    """The finding in a sentence. rates, training: as for claim C9"""
    by_rate, by_time = (_changes(table, change) for table, change in (
        (rates, lengths.per_decade), (training, lengths.through_training)))
    words = [("Yes" if all(values.mean() < 0 for values in found.values()) else
              "No" if all(values.mean() > 0 for values in found.values()) else "Not everywhere") if found else "Unknown"
             for found in (by_rate, by_time)]
    told = ["; ".join(f"{by_percent(values.mean())} on {dataset}" for dataset, values in found.items())
            or "an unknown amount" for found in (by_rate, by_time)]
    return (f"**Does the critical length shrink with the learning rate?** {words[0]}: where the rate grows tenfold it "
            f"changes by {told[0]}, at equal training loss. **And with training?** {words[1]}: from initialisation to "
            f"the last stage it changes by {told[1]}.")


def smallest_at(rates):
    """At which rate the length is least on average, for each data set and training loss; empty without any length."""
    rows = _of_inputs(rates, "cosine").dropna(subset=["target_loss", "value"])
    if rows.empty:
        return ""
    logs = rows.assign(value=np.log(rows["value"])).pivot_table(
        index=["dataset", "target_loss"], columns="learning_rate", values="value", sort=False)
    least, ends = logs.idxmin(axis=1), logs.apply(lambda line: line.dropna().index[[0, -1]].tolist(), axis=1)
    between = sum(rate not in end for rate, end in zip(least, ends))
    where = "; ".join(f"{rate:g} ({dataset}, loss {loss:g})" for (dataset, loss), rate in least.items())
    return (f"A single slope need not tell the whole story: in {between} of {len(least)} lines ξ is least at a rate "
            f"between the lowest and the highest. It is least at: {where}.")


def length_changes_by_space(rates):
    """A table of how the lengths change with the rate and at which share of the cases, in each space and by both
    kinds."""
    rows = []
    spaces = list(dict.fromkeys(rates.loc[rates["space"].notna(), "space"]))
    for dataset, table in rates.groupby("dataset", sort=False):
        known = {kind: lengths.known(table, kind) for kind in KINDS}
        for space in [space for space in spaces if space in set(table["space"].dropna())]:
            cells = []
            for kind in ("cosine", "sign"):
                own = known[kind][(known[kind]["space"] == space) & known[kind]["target_loss"].notna()]
                values = lengths.per_decade(own)
                cells += [mean_of(values, by_percent) if len(values) else "none", percent(own["value"].notna().mean()),
                          percent(own["inside"].mean())] if len(own) else ["–", "–", "–"]
            rows.append([dataset, space, *cells])
    return as_table(["data", "space", "cosine: per tenfold rate", "crosses zero", "within the pairs",
                     "sign: per tenfold rate", "crosses zero", "within the pairs"], rows)


def how_often_there_is_a_length(**tables):
    """A table of how many lines in input space have a length at all, and how many within the measured pairs. tables:
    rates, training: by what is told of their runs."""
    rows = []
    for name, table in tables.items():
        for dataset, own in table.groupby("dataset", sort=False):
            for kind in KINDS:
                found = _of_inputs(own, kind)
                rows.append([dataset, name, kind, f"{len(found)}", percent(found["value"].notna().mean()),
                             percent(found["inside"].mean()), percent((found["value"] > FARTHEST).mean()),
                             f"{found['farthest'].max():.2f}" if found["farthest"].notna().any() else "none"])
    return as_table(["data", "stages", "kind", "lines", "with a length", "within the measured pairs",
                     "beyond 2, the largest distance there is", "farthest measured pairs"], rows)


def lengths_that_exist(*tables):
    """How many lines in input space reach zero at all, and where, by both kinds. tables: as for claim C9"""
    told = []
    for kind in ("cosine", "sign"):
        found = [_of_inputs(table, kind) for table in tables]
        lines, there, inside, beyond = (sum(int(count(rows)) for rows in found) for count in (
            len, lambda rows: rows["value"].notna().sum(), lambda rows: rows["inside"].sum(),
            lambda rows: (rows["value"] > FARTHEST).sum()))
        told.append(f"by {kind} {there:,} of {lines:,} lines reach zero, {inside:,} of them within the measured pairs "
                    f"and {beyond:,} only beyond 2, where no two images can be")
    return f"**Is there a critical length?** In input space {'; '.join(told)}."


def lengths_by_window(rates, training):
    """A table of how the lengths change with the rate and with training, by the window of the fit."""
    found = [(lengths.curves(table[table["space"] == "input"], "cosine"), change) for table, change in (
        (rates, lengths.per_decade), (training, lengths.through_training))]
    rows = {}
    for window in lengths.WINDOWS:
        for column, (curves, change) in enumerate(found):
            chosen = lengths.by_share(curves, window)
            for dataset, own in chosen.groupby("dataset", sort=False):
                values = change(own)
                rows.setdefault((dataset, window), ["–", "–"])[column] = (
                    mean_of(values, by_percent) if len(values) else "none")
    order = dict.fromkeys([*rates["dataset"], *training["dataset"]])
    return as_table(["data", "window", "per tenfold rate", "from initialisation to the last stage"],
                    [[*key, *rows[key]] for dataset in order for key in rows if key[0] == dataset])


def intervals_of_lengths(rates):
    """A table of the lengths at the lowest, the middle and the highest rate, at the middle loss, with intervals."""
    curves = lengths.curves(rates[(rates["space"] == "input") & rates["target_loss"].notna()], "cosine")
    rows = []
    for dataset in curves["dataset"].unique():
        own = curves[curves["dataset"] == dataset]
        loss = lengths.middle(own["target_loss"])
        own = own[own["target_loss"] == loss]
        known = sorted(set(own["learning_rate"]))
        for rate in dict.fromkeys((known[0], lengths.middle(known), known[-1])):
            found = lengths.intervals(own[own["learning_rate"] == rate])
            mean, *_ = found["seeds"]
            rows.append([dataset, f"{loss:g}", f"{rate:g}", "none" if np.isnan(mean) else f"{mean:.2f}", *(
                "unknown" if np.isnan(low) else f"{low:.2f} to {high:.2f}" for _, low, high in found.values())])
    return as_table(["data", "loss", "rate", "ξ", "over the runs (Student)", "the runs drawn again",
                     "the bins of distance drawn again"], rows)


def along_training(training):
    """When the length is least through training, and what it is at the beginning and at the end; one run's stages are
    those by step."""
    rows = []
    for dataset, own in training.groupby("dataset", sort=False):
        for space, of_space in lengths.known(own, "cosine").groupby("space", sort=False):
            of_space = of_space[of_space["target_loss"].isna()]
            by_step = np.log(of_space.pivot(index="seed", columns="step", values="value"))
            if by_step.notna().any().sum() < 2:
                continue
            steps = by_step.mean().dropna()
            first, least, last = steps.index[0], steps.idxmin(), steps.index[-1]
            rows.append([dataset, space, *(f"{np.exp(steps[step]):.2f}" for step in (first, least, last)), f"{least:,}",
                         f"{last:,}", mean_of(lengths.through_training(of_space), by_percent)])
    return as_table(["data", "space", "ξ at initialisation", "least", "at the end", "least after steps", "steps in all",
                     "from the first to the last"], rows)


def lengths_with_other_settings(rates, training):
    """The same two changes in runs with the other version's settings, in a sentence; empty without runs."""
    told = []
    for table, change, words in ((rates, lengths.per_decade, "per tenfold rate"),
                                 (training, lengths.through_training, "from initialisation to the last stage")):
        told += [f"{_mean(values)} {words} on {dataset}" for dataset, values in _changes(table, change).items()]
    return told and f"With the first version’s network and stages, ξ in input space changes by {'; '.join(told)}."


def _of_inputs(table, kind):
    rows = lengths.known(table, kind)
    return rows[rows["space"] == "input"]


def _changes(table, change):
    """{data set: the change of ln length by seed}, by cosine and in input space, where there is one."""
    found = {dataset: change(own) for dataset, own in _of_inputs(table, "cosine").groupby("dataset", sort=False)}
    return {dataset: values for dataset, values in found.items() if len(values)}


def _mean(values):
    return mean_of(values, by_percent)
