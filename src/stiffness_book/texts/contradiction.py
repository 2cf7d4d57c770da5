"""What the page on the three texts says: which of them the same runs agree with, and which choice decides it."""

from stiffness_book.claims.parts import outcomes
from stiffness_book.contradiction import AT, DIPS, FALLS, ORDER, RISES, SIZES, STIFFNESSES, TRAINING, TRENDS, counts
from stiffness_book.texts.tables import as_table

LOSS, EPOCH = AT[:2], AT[2:4]
DOMAIN, *LENGTHS = SIZES.values()
WORDS = {"dataset": "the data", "network": "the network", "optimizer": "Adam or plain SGD", "at": "what is equal",
         "measure": "the pairs that are averaged", "kind": "sign or cosine", "space": "the space of the distance"}
# each text's statement, the cases that it is about, and the trend that it states
STATEMENTS = {
    "v1: stiffness between classes rises, at equal training loss (C6)":
        ("stiffness", {"measure": [STIFFNESSES["between_classes"]], "at": LOSS}, RISES),
    "v1: stiff domains grow, at equal training loss (C8a, C8b)":
        ("size", {"measure": [DOMAIN], "at": LOSS}, RISES),
    "2019: stiffness falls, at equal training loss (C6′)": ("stiffness", {"at": LOSS}, FALLS),
    "2019: stiffness falls, at a given epoch (C6′)": ("stiffness", {"at": EPOCH}, FALLS),
    "v3: the critical length shrinks (C9)": ("size", {"measure": LENGTHS}, FALLS),
}


def three_texts(stiffness, sizes):
    """A table of how often the runs do what each text states. stiffness, sizes: as from `contradiction.trends`."""
    rows = []
    for statement, (kind, about, stated) in STATEMENTS.items():
        own = _about(stiffness if kind == "stiffness" else sizes, about)
        there, reverse = own[own["trend"] == stated], own["trend"] == (FALLS if stated == RISES else RISES)
        split = "kind" if kind == "stiffness" else "space"
        where = [f"{measure}, {which}: {count} of {len(_about(own, {'measure': [measure], split: [which]}))}"
                 for (measure, which), count in there.groupby(["measure", split], sort=False).size().items()]
        rows.append([statement, f"{len(own)}", f"{len(there)}", f"{reverse.sum()}",
                     f"{len(own) - len(there) - reverse.sum()}", "; ".join(where) or "nowhere"])
    return as_table(["statement", "cases", "as stated", "the reverse", "neither", "where it is as stated"], rows)


def parts_of_the_claim(verdict):
    """How the parts of the claim came out, in a sentence."""
    found = outcomes(verdict.parts)
    return found and (f"Of the {len(found)} parts of the claim of 2019, {found.count('holds')} hold, "
                      f"{found.count('reverse')} show the reverse, {found.count('fails')} show too small a change, and "
                      f"{found.count('undecided')} cannot be told.")


def what_is_compared(rows):
    """A table of the rates of each training and the moments at which they are compared. rows: as from
    `contradiction.compared`."""
    cells = []
    for training, own in rows.groupby(TRAINING, sort=False):
        told = own.drop_duplicates("at").set_index("at")["told"]
        rates = ", ".join(f"{rate:g}".replace("e-0", "e-") for rate in sorted(set(own["learning_rate"])))
        cells.append([*training, rates,
                      *(told.get(at, "–").removeprefix("training loss ").removeprefix("training accuracy ")
                        .removeprefix("after ").removesuffix(" steps") for at in AT)])
    moments = ["loss, earlier", "loss, later", "steps, earlier", "steps, later", "accuracy"]
    return as_table(["data", "network", "training", "rates", *moments], cells)


def trends_by_measure(found):
    """A table of the trends of each measure. found: as from `contradiction.trends`."""
    rows = counts(found)
    return as_table(["pairs" if "kind" in rows.index.names else "size", WORDS[rows.index.names[1]], *TRENDS],
                    [[*key, *map(str, row)] for key, row in zip(rows.index, rows.to_numpy())])


def what_turns_it(turned, found):
    """A table of how often each choice, by itself, turns the trend. turned: as from `contradiction.turns`, found: as
    from `contradiction.trends`."""
    rows = turned[turned["pairs"] > 0].sort_values("turned", ascending=False)
    falling = ["{}, {}".format(*key) for key, row in counts(found).iterrows() if row[FALLS]]
    told = falling and (f"Only these fall in any case: {'; '.join(falling)}; so every pair has one of them.")
    return "\n\n".join(filter(None, [as_table(
        ["choice", "options", "pairs of cases that differ in it", "one rises, the other falls"],
        [[_word(row.choice, found), f"{found[row.choice].nunique()}", f"{row.pairs:,}",
          f"{row.turned:,} ({row.turned / row.pairs:.0%})"] for row in rows.itertuples()]), told]))


def small_or_large_rates(stiffness, sizes):
    """The finding in sentences. stiffness, sizes: as from `contradiction.trends`."""
    between = _about(stiffness, {"measure": [STIFFNESSES["between_classes"]]})
    within = _about(stiffness, {"measure": [STIFFNESSES["within_class"]], "kind": ["cosine"]})
    lengths = _about(sizes, {"measure": [LENGTHS[-1]]})
    near = lengths["space"] == ORDER["space"][0]

    def of(own, trend):
        return f"{(own['trend'] == trend).sum()} of {len(own)}"

    return ("**Do small learning rates make networks stiffer, or large ones?** It depends on what is measured. "
            f"Stiffness between classes rises with the rate in {of(between, RISES)} cases and falls in "
            f"{of(between, FALLS)}. Within classes, by cosine, it rises in {of(within, RISES)}, falls in "
            f"{of(within, FALLS)}, and first falls and then rises in {of(within, DIPS)}. The critical length by cosine "
            f"shrinks in {of(lengths[near], FALLS)} cases where the distance is that of the images, and in "
            f"{of(lengths[~near], FALLS)} where it is that of hidden representations.")


def abstract(stiffness, sizes, stiffness_turned, sizes_turned):
    """The results in the page's abstract: what each text states that the runs agree with, and which choice decides."""
    told = []
    for statement, (kind, about, stated) in STATEMENTS.items():
        own = _about(stiffness if kind == "stiffness" else sizes, about)
        reverse = (own["trend"] == (FALLS if stated == RISES else RISES)).sum()
        told.append(f"{statement.partition(' (')[0]}, in {(own['trend'] == stated).sum()} of {len(own)} cases (the "
                    f"reverse in {reverse})")
    most = []
    for what, found, turned in (("Stiffness", stiffness, stiffness_turned), ("The size", sizes, sizes_turned)):
        row = turned.sort_values("turned").iloc[-1]
        most.append(f"{what} goes from rising to falling most often by a change of {_word(row['choice'], found)}, in "
                    f"{row['turned']} of {row['pairs']} pairs of cases." if row["turned"] else
                    f"{what} goes from rising to falling by no change of a single choice.")
    return f"How often do the runs do what each text states? {'; '.join(told)}. {' '.join(most)}"


def _word(choice, found):
    return "the size that is read off" if choice == "measure" and "space" in found else WORDS[choice]


def _about(found, choices):
    for name, options in choices.items():
        found = found[found[name].isin(options)]
    return found
