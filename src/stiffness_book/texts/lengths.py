"""What the page on the critical length says."""

import numpy as np
import pandas as pd

from stiffness_book import lengths
from stiffness_book.table import BIN, FARTHEST, FEWEST_PAIRS, KINDS
from stiffness_book.texts.tables import as_table, mean_of
from stiffness_book.words import by_percent, listed, percent


def does_the_length_shrink(rates, training):
    """The finding in three sentences. rates, training: as for claim C9"""
    by_rate, by_time = (_changes(table, change) for table, change in (
        (rates, lengths.per_decade), (training, lengths.through_training)))
    words, told = zip(*map(_told, (by_rate, by_time)))
    turning, lines = _turning(rates)
    known = pd.concat([_of_inputs(table, "cosine") for table in (rates, training)])
    return (f"**Does the critical length shrink with the learning rate?** {words[0]}: where the rate grows tenfold it "
            f"changes by {told[0]}, at equal training loss. In {turning} of {lines} lines it falls at first and grows "
            f"again at the highest rates. **And with training?** {words[1]}: from initialisation to the last stage it "
            f"changes by {told[1]}. **How sure is it?** {percent(known['inside'].mean())} of these lines fall to "
            "zero within the measured pairs; the other lengths are extrapolated.")


def measured_pairs():
    """How far pairs count as measured, in a sentence."""
    return (f"Pairs are *measured* as far as bins of distance, {BIN:g} wide, have at least {FEWEST_PAIRS} pairs of one "
            "class each.")


def smallest_at(rates):
    """At which rate the length is least on average, for each data set and training loss; empty without any length."""
    logs = _by_rate(rates)
    if logs.empty:
        return ""
    where = "; ".join(f"{rate:g} ({dataset}, loss {loss:g})" for (dataset, loss), rate in logs.idxmin(axis=1).items())
    turning, lines = _turning(rates)
    return (f"A single slope need not tell the whole story: in {turning} of {lines} lines ξ is least at a rate "
            f"between the lowest and the highest. It is least at: {where}.")


def length_changes_by_space(rates):
    """A table of how the lengths by cosine change with the rate in each space, and in how many cases they grow."""
    rows, means = [], {}
    for (dataset, space), own in lengths.known(rates, "cosine").groupby(["dataset", "space"], sort=False):
        values = lengths.per_decade(own)
        rows.append([dataset, space, _mean(values) if len(values) else "unknown", percent(own["inside"].mean())])
        means[dataset, space] = values.mean()
    return "Where the rate grows tenfold, " + _where_it_grows(means) + "\n\n" + as_table(
        ["data", "space", "per tenfold rate", "lines that reach zero within the measured pairs"], rows)


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
        told.append(f"by {kind} {there:,} of {lines:,} lines fall to zero, {inside:,} of them within the measured "
                    f"pairs, and {beyond:,} only beyond 2, the largest distance that two images can have")
    return f"**Is there a critical length?** In input space {'; '.join(told)}."


def lengths_by_window(rates, training):
    """A table of how the lengths change with the rate and with training, by the window of the fit."""
    found = [(lengths.curves(table[table["space"] == "input"], "cosine"), change) for table, change in (
        (rates, lengths.per_decade), (training, lengths.through_training))]
    rows, grows = {}, {}
    for window in lengths.WINDOWS:
        for column, (curves, change) in enumerate(found):
            chosen = lengths.by_share(curves, window)
            for dataset, own in chosen.groupby("dataset", sort=False):
                values = change(own)
                rows.setdefault((dataset, window), ["–", "–"])[column] = _mean(values) if len(values) else "none"
                if len(values):
                    grows.setdefault((dataset, column), set()).add(values.mean() > 0)
    order = dict.fromkeys([*rates["dataset"], *training["dataset"]])
    turned = dict.fromkeys(dataset for (dataset, _), directions in grows.items() if len(directions) > 1)
    where = f"not the same in all windows on {listed(turned)}" if turned else "the same in all windows"
    return f"The direction of the change is {where}; its size is not.\n\n" + as_table(
        ["data", "window", "per tenfold rate", "from initialisation to the last stage"],
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
    return as_table(["data", "loss", "rate", "ξ", "Student’s t over the runs", "bootstrap over the runs",
                     "bootstrap over the bins"], rows)


def along_training(training):
    """A table of the lengths at the beginning, at the end, and at their least, and in how many cases they grow."""
    rows, means = [], {}
    for dataset, own in training.groupby("dataset", sort=False):
        for space, of_space in lengths.known(own, "cosine").groupby("space", sort=False):
            of_space = of_space[of_space["target_loss"].isna()]
            by_step = np.log(of_space.pivot(index="seed", columns="step", values="value"))
            if by_step.notna().any().sum() < 2:
                continue
            steps = by_step.mean().dropna()
            first, least, last = steps.index[0], steps.idxmin(), steps.index[-1]
            values = lengths.through_training(of_space)
            ends = [f"{np.exp(steps[step]):.2f}" for step in (first, last, least)]
            rows.append([dataset, space, _mean(values), *ends, f"{least:,}"])
            means[dataset, space] = values.mean()
    return "From initialisation to the last stage, " + _where_it_grows(means) + "\n\n" + as_table(
        ["data", "space", "change", "ξ at initialisation", "at the last stage", "least", "after steps"], rows)


def lengths_with_other_settings(rates, training):
    """The same two changes in runs with the other version's settings, in a sentence; empty without runs."""
    told = []
    for dataset, values in _changes(rates, lengths.per_decade).items():
        known = rates.loc[rates["dataset"] == dataset, "learning_rate"]
        told.append(f"{_mean(values)} per tenfold rate on {dataset} (rates {known.min():g} to {known.max():g})")
    told += [f"{_mean(values)} from initialisation to the last stage on {dataset}"
             for dataset, values in _changes(training, lengths.through_training).items()]
    return told and (f"With the network {listed(dict.fromkeys(rates['network']))}, which the verdict leaves out, ξ in "
                     f"input space changes by {'; '.join(told)}.")


def _of_inputs(table, kind):
    rows = lengths.known(table, kind)
    return rows[rows["space"] == "input"]


def _by_rate(rates):
    """The mean ln length in input space, by cosine: a row for each data set and training loss, a column for each
    rate."""
    rows = _of_inputs(rates, "cosine").dropna(subset=["target_loss", "value"])
    return rows.assign(value=np.log(rows["value"])).pivot_table(
        index=["dataset", "target_loss"], columns="learning_rate", values="value", sort=False)


def _turning(rates):
    """In how many of how many lines against the rate the length is least between the lowest and the highest rate."""
    logs = _by_rate(rates)
    return sum(line.idxmin() not in line.dropna().index[[0, -1]] for _, line in logs.iterrows()), len(logs)


def _changes(table, change):
    """{data set: the change of ln length by seed}, by cosine and in input space, where there is one."""
    found = {dataset: change(own) for dataset, own in _of_inputs(table, "cosine").groupby("dataset", sort=False)}
    return {dataset: values for dataset, values in found.items() if len(values)}


def _told(changes):
    """Where the length shrinks, in a word or two, and by how much it changes. changes: as from `_changes`"""
    if not changes:
        return "Unknown", "an unknown amount"
    shrinking = [dataset for dataset, values in changes.items() if values.mean() < 0]
    word = "No" if not shrinking else "Yes" if len(shrinking) == len(changes) else f"Only on {listed(shrinking)}"
    return word, "; ".join(f"{by_percent(values.mean())} on {dataset}" for dataset, values in changes.items())


def _where_it_grows(means):
    """In how many cases the mean change is positive, by kind of space. means: {(data set, space): change}"""
    told = []
    for words, belongs in (("in input space", lambda space: space == "input"),
                           ("in hidden layers", lambda space: space.startswith("layer")),
                           ("in the logits", lambda space: space == "logits")):
        values = [value for (_, space), value in means.items() if belongs(space) and not np.isnan(value)]
        told += [f"{words} in {sum(value > 0 for value in values)} of {len(values)} cases"] * bool(values)
    return f"ξ grows {listed(told)}." if told else "nothing is known of ξ."


def _mean(values):
    return mean_of(values, by_percent)
