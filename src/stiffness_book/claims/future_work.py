"""What the first version of the stiffness paper leaves to future work, in the order of the claims' ids.

A rule's docstring is printed on its page.
"""

import numpy as np

from stiffness_book import blocks, harmonics
from stiffness_book.claims.fort_v1 import block_parts, divided
from stiffness_book.claims.parts import ORDERED, SMALL, Part, difference
from stiffness_book.claims.registry import NotMeasured, claim
from stiffness_book.summaries import against_shuffled, by_stage, rank_correlation
from stiffness_book.table import SUMMARIES, neighbours_in
from stiffness_book.words import WORDS, signed3


@claim("C14", source="expected in v1",
       statement="Locality gives higher stiffness: a convolutional network is stiffer than a fully connected one.",
       pages={"architectures": "CIFAR-10"}, before={"architectures": "partly"},
       changed="Where the fully connected network is at +1.00 nothing can be stiffer, and the first rule counted that; "
               "that a convolutional network is less stiff there counts.")
def locality_stiffens(table, pairs):
    """One part for each two networks, training loss and summary (within or between classes), by sign stiffness: the
    convolutional network exceeds the fully connected one by 0.05 or more (Welch's interval over runs). There is no
    comparison where fewer than two runs of a network reach the loss, or where the fully connected network is above
    +0.95, which leaves no room, and the convolutional one is not clearly below it.
    """
    parts, short, full = [], 0, 0
    for one, other in pairs:
        for loss in sorted(table["target_loss"].dropna().unique(), reverse=True):
            for summary in SUMMARIES:
                chosen = table[(table["quantity"] == f"{summary}_sign") & (table["target_loss"] == loss)]
                a, b = (chosen.loc[chosen["network"] == name, "value"].to_numpy() for name in (one, other))
                if min(len(a), len(b)) < 2:
                    short += 1
                    continue
                part = difference(f"{one} and {other}, loss {loss:g}, {WORDS[summary]}", a, b, size=SMALL)
                if b.mean() > 1 - SMALL and part.outcome() != "reverse":
                    full += 1
                else:
                    parts.append(part)
    if not parts:
        raise NotMeasured("no two networks could be compared at any loss")
    reasons = [f"{full} because the fully connected network is at the ceiling"] * bool(full) + [
        f"{short} because fewer than two runs of a network reached the loss"] * bool(short)
    return parts, f"no comparison: {', '.join(reasons)}" if reasons else ""


@claim("C15", source="asked in v1", question=True,
       statement="When does the super-class structure appear over training, and when does it fade?",
       pages={"fig07_super_classes": "CIFAR-100"}, before={"fig07_super_classes": "reproduced"},
       changed="It is a question, which can be answered but not reproduced.")
def super_classes_appear_and_fade(tested):
    """Three parts, by the sign stiffness of classes of one super-class minus that of others, at the stage where it is
    largest. *Grown*: since initialisation by 0.05 or more. *Not by chance*: p < 0.01 in every run against random
    relabellings. *Fades*: from there to the last stage it falls by half of its largest value or more.
    """
    by_step, p = divided(tested, blocks.SUPER)
    peak, last = by_step.mean().idxmax(), max(by_step)
    there = [step for step in by_step if p[step] < blocks.SIGNIFICANT]
    gone = [step for step in by_step if step > peak and by_step[step].mean() < by_step[peak].mean() / 2]
    return [*block_parts("super-classes", by_step, p, peak),
            Part.over("fades", by_step[last] - by_step[peak], expects="below",
                      size=max(abs(by_step[peak].mean()) / 2, SMALL / 2), form=signed3, bounds=(-2.0, 2.0))], (
        f"p < {blocks.SIGNIFICANT} in every run from step {there[0]:,} to step {there[-1]:,}; " if there else
        f"at no stage p < {blocks.SIGNIFICANT}; ") + (
        f"largest after {peak:,} steps; " + (f"less than half of that from step {gone[0]:,} on" if gone else
                                             f"not below half of that by step {last:,}"))


@claim("C16", source="v1, future work", question=True,
       statement="How does the size of the stiff domain depend on the length scale of the function behind the labels?",
       pages={"harmonics": "spherical harmonics"})
def domain_follows_length_scale(table):
    """The size of the stiff domain is the angle at which the sign stiffness of all pairs first falls to zero, in input
    space; the length scale is the angle at which the autocorrelation of the function does. They are compared at the
    lowest training loss that all runs reach, and at the last stage. *Equal*, in both: the median over the degrees of
    size / length scale lies within 1 ± 0.1, with its whole interval over seeds. *In order*, in both: the rank
    correlation of size and length scale over the degrees, in the runs of each seed, is 0.5 or more. *As before
    training*, at the loss: the change of this median since initialisation lies within ±0.1.
    """
    moments = harmonics.moments(table)
    if len(moments) < 3:
        raise NotMeasured("no training loss was reached in all runs")
    if table["degree"].nunique() < 3:
        raise NotMeasured("fewer than three degrees were measured")
    found = {}
    for name, rows in moments.items():
        sizes = harmonics.domains(table[rows])
        sizes = sizes[sizes["space"] == "input"]
        by_seed = sizes.groupby("seed")
        found[name] = (by_seed.apply(lambda run: rank_correlation(run["scale"], run["size"]), include_groups=False),
                       by_seed["ratio"].median(), sizes.groupby("degree")["ratio"].median())
    parts, (start, *later) = [], found
    for name in later:
        order, ratio, _ = found[name]
        parts += [Part.over(f"equal, {name}", ratio, expects="within", none=1.0, bounds=(0.0, np.inf),
                            form="{:.2f}".format),
                  Part.over(f"in order, {name}", order, size=ORDERED)]
    parts.append(Part.over(f"as before training, {later[0]}", found[later[0]][1] - found[start][1], expects="within",
                           bounds=(-np.inf, np.inf)))
    larger = [f"{degree}" for degree, ratio in found[later[1]][2].items() if ratio > 1.1]
    return parts, (f"size / length scale is {found[start][1].mean():.2f} before training, and "
                   + ", ".join(f"{found[name][1].mean():.2f} {name}" for name in later)
                   + (f", where it is above 1.1 for degree {', '.join(larger)}" if larger else ""))


@claim("C17", source="v1, future work",
       statement="Stiffness reflects the order in which training data is presented.",
       pages={"data_order": "MNIST and Fashion-MNIST"})
def order_leaves_its_mark(tables):
    """For each data set and each order other than shuffled, by sign stiffness, averaged over the stages after
    initialisation, and in comparison with the shuffled run of the same seed at the same steps. *Between classes*: the
    stiffness of validation images of different classes differs by 0.1 or more, in either direction. *Neighbours in
    time*: so does that of training images of two batches that follow each other in this order. It is measured on the
    same batches in both networks, so that it is not the images that differ. Where the shuffled network leaves no room,
    above +0.95 by sign, the cosine is compared instead. Where its training loss never halves, nothing is judged.
    """
    parts = []
    for name, table in tables.items():
        shuffled = table[table["order"] == "shuffled"]
        losses = shuffled[shuffled["quantity"] == "train_loss"].sort_values("step").groupby("seed")["value"]
        if shuffled.empty or not (losses.min() < losses.first() / 2).all():
            raise NotMeasured(f"{name}: no shuffled run, or one whose training loss never fell to half of what it was")
        for order in dict.fromkeys(table.loc[table["order"] != "shuffled", "order"]):
            room = by_stage(shuffled, neighbours_in(order, "sign")).mean(axis=None) <= 1 - SMALL
            for what, quantity in (
                    (f"between classes, {order}", "between_classes_sign"),
                    (f"neighbours in time, {order}{'' if room else ', cosine'}",
                     neighbours_in(order, "sign" if room else "cosine"))):
                change = against_shuffled(table, order, quantity)
                parts.append(Part.over(f"{what} ({name})", change, bounds=(-2.0, 2.0),
                                       expects="above" if change.mean() > 0 else "below"))
    if not parts:
        raise NotMeasured("no order but shuffled was measured")
    return parts
