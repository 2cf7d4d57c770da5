"""What the page on the three texts says: which of them the same runs agree with, and which choice decides it."""

from stiffness_book.contradiction import AT, FALLS, NEITHER, RISES, SIZES, STIFFNESSES, counts
from stiffness_book.texts.tables import as_table

LOSS, EPOCH = AT[:2], AT[2:4]
DOMAIN, *LENGTHS = SIZES.values()
WORDS = {"dataset": "the data", "network": "the network", "optimizer": "Adam or plain SGD", "at": "what is equal",
         "measure": "what is measured", "kind": "sign or cosine", "space": "the space of the distance"}
# each text's statement, the cases that it is about, and the trend that it states
STATEMENTS = {
    "first version: stiffness between classes rises, at equal training loss (C6)":
        ("stiffness", {"measure": [STIFFNESSES["between_classes"]], "at": LOSS}, RISES),
    "first version: stiff domains grow, at equal training loss (C8)":
        ("size", {"measure": [DOMAIN], "at": LOSS}, RISES),
    "text of 2019: stiffness falls, at equal training loss (C6′)": ("stiffness", {"at": LOSS}, FALLS),
    "text of 2019: stiffness falls, at a given epoch (C6′)": ("stiffness", {"at": EPOCH}, FALLS),
    "third version: the critical length shrinks (C9)": ("size", {"measure": LENGTHS}, FALLS),
}


def three_texts(stiffness, sizes):
    """A table of how often the runs do what each text states. stiffness, sizes: as from `contradiction.trends`."""
    rows = []
    for statement, (kind, about, stated) in STATEMENTS.items():
        own = _about(stiffness if kind == "stiffness" else sizes, about)
        reverse = FALLS if stated == RISES else RISES
        there = own[own["trend"] == stated]
        by_measure = "; ".join(f"{measure} {(there['measure'] == measure).sum()} of {count}" for measure, count in
                               own["measure"].value_counts(sort=False).items())
        rows.append([statement, f"{len(own)}", f"{len(there)}", f"{(own['trend'] == reverse).sum()}",
                     f"{(own['trend'] == NEITHER).sum()}", by_measure])
    return as_table(["statement", "cases", "as stated", "the reverse", "neither is shown", "as stated, by measure"],
                    rows)


def trends_by_measure(found):
    """A table of the trends of each measure. found: as from `contradiction.trends`."""
    rows = counts(found)
    return as_table(["measure", WORDS[rows.index.names[1]], RISES, FALLS, "neither is shown"],
                    [[*key, *map(str, row)] for key, row in zip(rows.index, rows.to_numpy())])


def what_turns_it(turned):
    """A table of how often each choice, by itself, turns the trend. turned: as from `contradiction.turns`."""
    rows = turned[turned["pairs"] > 0].sort_values("turned", ascending=False)
    return as_table(["choice", "pairs of cases that differ in it alone", "one rises, the other falls"],
                    [[WORDS[row.choice], f"{row.pairs:,}", f"{row.turned:,} ({row.turned / row.pairs:.0%})"]
                     for row in rows.itertuples()])


def small_or_large_rates(stiffness):
    """The finding in a sentence. stiffness: as from `contradiction.trends`."""
    told = []
    for summary in ("between_classes", "within_class"):
        own = stiffness[stiffness["measure"] == STIFFNESSES[summary]]
        told.append(f"{STIFFNESSES[summary]} it rises with the rate in {(own['trend'] == RISES).sum()} of {len(own)} "
                    f"cases and falls in {(own['trend'] == FALLS).sum()}")
    return ("**Do small learning rates make networks stiffer, or large ones?** It depends on which pairs of images are "
            f"averaged: {'; '.join(told)}.")


def abstract(stiffness, sizes, stiffness_turned, sizes_turned):
    """The page's abstract: how many cases there are, what they show, and which choice turns the trend."""
    totals = [found["trend"].value_counts() for found in (stiffness, sizes)]
    most = [turned.sort_values("turned").iloc[-1] for turned in (stiffness_turned, sizes_turned)]

    def told(count, cases):
        return (f"in {cases} cases it rises with the rate in {count.get(RISES, 0)}, falls in {count.get(FALLS, 0)}, "
                f"and shows neither in {count.get(NEITHER, 0)}")

    def turning(row):
        if not row["turned"]:
            return "no choice, made differently by itself, turns it from rising to falling"
        return (f"the choice that turns it most often by itself is {WORDS[row['choice']]}, in {row['turned']} of "
                f"{row['pairs']} pairs of cases")

    return (f"Stiffness: {told(totals[0], len(stiffness))}; {turning(most[0])}. Sizes of stiff domains and critical "
            f"lengths: {told(totals[1], len(sizes))}; {turning(most[1])}.")


def _about(found, choices):
    for name, options in choices.items():
        found = found[found[name].isin(options)]
    return found
