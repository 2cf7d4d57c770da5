"""What the pages on architectures and on probe images say."""

from stiffness_book import summaries
from stiffness_book.table import SUMMARIES
from stiffness_book.texts.tables import as_table
from stiffness_book.words import WORDS, interval, percent

# Architectures

def where_networks_stopped(table, networks, losses, seeds):
    """A table of when each network reached each training loss. seeds: its number of runs, of all or of each network."""
    by = ["network", "target_loss"]
    stops = table[table["quantity"] == "train_loss"].groupby(by).agg(
        runs=("value", "size"), loss=("value", "mean"), step=("step", "mean"))
    accuracy = summaries.over_seeds(table[table["quantity"] == "validation_accuracy"], by, bounds=(0, 1)).set_index(by)
    rows = []
    for network in networks:
        for loss in losses:
            measured = ["–", "–", "–"]
            runs = 0
            if (network, loss) in stops.index:
                stop, runs = stops.loc[(network, loss)], int(stops.loc[(network, loss), "runs"])
                measured = [f"{stop['step']:,.0f}", f"{stop['loss']:.3f}",
                            interval(accuracy.loc[(network, loss)], percent)]
            rows.append([network, f"{loss:g}", f"{runs} of {_runs_of(network, seeds)}", *measured])
    return as_table(["network", "target loss", "runs that reached it", "steps, mean", "measured loss, mean",
                   "validation accuracy"], rows)


def networks_that_fell_short(table, networks, losses, seeds):
    """The losses that not all runs of a network reached; empty where all did."""
    runs = table[table["quantity"] == "train_loss"].groupby(["network", "target_loss"]).size()
    short = [f"{network}, loss {loss:g}" for network in networks for loss in losses
             if runs.get((network, loss), 0) < _runs_of(network, seeds)]
    return short and f"Not all runs reached every loss: {'; '.join(short)}."


def convolutional_is_stiffer(differences):
    """The finding in a sentence. differences: as from `summaries.network_differences`."""
    signs = differences[(differences["kind"] == "sign") & differences["low"].notna()]
    told, words = [], set()
    for summary in reversed(SUMMARIES):
        own = signs[signs["summary"] == summary]
        more, less = (own["low"] > 0).sum(), (own["high"] < 0).sum()
        told.append(f"{WORDS[summary]} they are stiffer in {more} of {len(own)} comparisons at equal training loss, "
                    f"and less stiff in {less}")
        words.add("Yes" if len(own) and more == len(own) else "No" if not more else "In part")
    return (f"**Are convolutional networks stiffer than fully connected ones?** "
            f"{words.pop() if len(words) == 1 else 'In part'}: {'; '.join(told)}.")


def _runs_of(network, seeds):
    return seeds[network] if isinstance(seeds, dict) else seeds


def convolutional_by_cosine(differences):
    """In how many comparisons the convolutional network is stiffer by the cosine."""
    cosine = differences[(differences["kind"] == "cosine") & differences["low"].notna()]
    return (f"By the cosine the convolutional network is stiffer in {(cosine['low'] > 0).sum()} of {len(cosine)} "
            f"comparisons, and less stiff in {(cosine['high'] < 0).sum()}.")


def ceiling_of_the_sign(table, connected):
    """In how many comparisons the fully connected network has the largest sign stiffness there is."""
    within = table[(table["quantity"] == "within_class_sign") & table["target_loss"].notna()]
    top = within[within["network"].isin(connected)].groupby(["network", "target_loss"])["value"].mean()
    return (f"Within classes the sign has a ceiling: in {(top > 0.995).sum()} of {len(top)} comparisons the fully "
            "connected network is at +1.00, and nothing can be stiffer.")


# How many images

def images_against_seeds(tables):
    """A table of the spread that the choice of probe images and the seed give, and the rows where images matter more.

    tables: those of the runs, by data set. Returns (table, sentence).
    """
    rows, told = [], []
    for name, table in tables.items():
        spread = summaries.seed_spread(table)
        for summary in SUMMARIES:
            full = table[(table["quantity"] == f"{summary}_sign_error") & table["target_loss"].isna()]
            full = full[full["probe_images"] == full["probe_images"].max()]
            chosen = spread[(spread["summary"] == summary) & (spread["kind"] == "sign")]
            from_images, from_seed = ((values**2).mean() ** 0.5 for values in (full["value"], chosen["value"]))
            images = f"{full['probe_images'].max():,}" if len(full) else "unknown"
            rows.append([name, WORDS[summary], images, f"{from_images:.4f}", f"{from_seed:.4f}"])
            if from_images > from_seed:
                told.append(f"{name}, {WORDS[summary]}")
    return (as_table(["data", "stiffness", "images", "from the images", "from the seed"], rows),
            f"Rows of the table above in which the choice of images moves the number more than the seed does: "
            f"{'; '.join(told) or 'none'}.")
