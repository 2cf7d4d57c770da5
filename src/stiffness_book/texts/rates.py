"""What the pages of Figures 8 to 10 say: stiffness against the learning rate and against distance."""

import numpy as np

from stiffness_book import published, summaries
from stiffness_book.table import BIN, FARTHEST, STIFFNESS
from stiffness_book.texts.tables import as_table
from stiffness_book.words import interval, percent, signed, signed3

_RUN = ["dataset", "target_loss", "learning_rate", "seed"]


# Figures 8 to 10

def where_runs_stopped(stops, seeds):
    """A table of the losses and steps at which the runs were stopped. stops: as from `summaries.stops`."""
    rows = []
    for (dataset, loss), own in stops.groupby(["dataset", "target_loss"], sort=False):
        measured = f"{own['lowest'].min():.3f} to {own['highest'].max():.3f}" if own["runs"].any() else "none"
        steps = f"{own['step'].max():,.0f} and {own['step'].min():,.0f}" if own["runs"].any() else "none"
        rows.append([dataset, f"{loss:g}", measured, steps, f"{own['runs'].sum()} of {len(own) * seeds}"])
    return as_table(["data", "target loss", "measured loss", "steps, slowest and fastest rate", "runs that reached it"],
                  rows)


def not_reached(stops, seeds):
    """The losses that not every run reached; empty where all did. stops: as from `summaries.stops`."""
    short = stops[stops["runs"] < seeds]
    runs = [f"{row.dataset}, loss {row.target_loss:g}, rate {row.learning_rate:g}: {row.runs} of {seeds} runs"
            for row in short.itertuples()]
    return runs and f"Not every run reached every loss. Means are over those that did: {'; '.join(runs)}."


def loss_checks(experiment):
    """How often the loss of such a run is looked at, and when it ends at the latest."""
    return (f"The loss is measured every {experiment.check_every} steps, and a run ends after {experiment.max_steps:,} "
            "at the latest.")


def lines_beside_the_paper(table):
    """A table of how far the lines of between-class stiffness against the rate are from the paper's."""
    between, means, _ = _between_by_rate(table)
    both = means.merge(published.stiffness_by_rate()[["dataset", "target_loss", "learning_rate", "value"]],
                       on=["dataset", "target_loss", "learning_rate"])
    rows = []
    for (dataset, loss), line in both.groupby(["dataset", "target_loss"], sort=False):
        spread = between[(between["dataset"] == dataset) & (between["target_loss"] == loss)].groupby(
            "learning_rate")["value"].std().mean()
        rows.append([dataset, f"{loss:g}", f"{len(line)}", signed((line["mean"] - line["value"]).mean()),
                     f"{(line['mean'] - line['value']).abs().mean():.3f}", f"{spread:.3f}",
                     signed(line["mean"].corr(line["value"])) if len(line) > 2 else "–"])
    return rows and (
        as_table(["data", "training loss", "rates in both", "mean difference", "mean absolute difference",
                "spread over seeds", "correlation"], rows)
        + "\n\nThis book's mean minus the paper's line, at the rates that both have. The paper's values are read to "
        "±0.0005; the spread is the standard deviation of a run.")


def distances_beside_the_paper(curves):
    """A table of how far the curves of all pairs are from the paper's. curves: as from `summaries.distance_curves`."""
    paper, rows = published.stiffness_by_distance(), []
    for (dataset, space), theirs in paper.groupby(["dataset", "space"], sort=False):
        own = _of(curves, dataset, space, "all").sort_values("distance")
        theirs = theirs[theirs["distance"].between(own["distance"].min(), own["distance"].max())]
        if len(theirs):
            ours = np.interp(theirs["distance"], own["distance"], own["mean"])
            rows.append([dataset, space, f"{len(theirs)}", signed((ours - theirs["value"]).mean()),
                         f"{np.abs(ours - theirs['value']).mean():.2f}",
                         signed(np.corrcoef(ours, theirs["value"])[0, 1])])
    head = ["data", "space", "points in both", "mean difference", "mean absolute difference", "correlation"]
    return rows and (
        as_table(head, rows)
        + "\n\nThis book's curve of all pairs minus the paper's, which is read to ±0.003. The paper tells neither the "
        "rate nor the loss of its Figure 9.")


def domains_beside_the_paper(medians):
    """A table of how far the sizes of stiff domains are from the paper's. medians: as from `summaries.medians`."""
    sizes = medians[medians["quantity"] == "stiff_domain_size_sign"]
    both = sizes.merge(published.domains_by_rate(), on=["dataset", "target_loss", "space", "learning_rate"])
    rows = []
    for (dataset, space), line in both.groupby(["dataset", "space"], sort=False):
        off = (line["median"] - line["value"])[np.isfinite(line["median"])]
        rows.append([dataset, space, f"{len(line)}", f"{len(line) - len(off)}",
                     *([signed(off.mean()), f"{off.abs().mean():.2f}"] if len(off) else ["–", "–"])])
    head = ["data", "space", "rates in both", "of these without a zero here", "mean difference elsewhere",
            "mean absolute difference"]
    return rows and (as_table(head, rows)
                     + f"\n\nThis book's median minus the paper's size, at its training loss of "
                     f"{published.DOMAIN_LOSS:g}. The paper's sizes are read to ±0.7 %.")


def stiffest_rates(table):
    """At which rate each line is highest, and how many means lie above and below 0."""
    between, means, lines = _between_by_rate(table)
    order = list(dict.fromkeys(zip(between["dataset"], between["target_loss"])))
    stiffest = lines.idxmax(axis=1).loc[order]
    rates = "; ".join(f"{rate:g} ({dataset}, loss {loss:g})" for (dataset, loss), rate in stiffest.items())
    theirs = published.stiffness_by_rate().sort_values("learning_rate").groupby(["dataset", "target_loss"])["value"]
    turns = int((theirs.max() > theirs.last()).sum())
    return (f"The highest rate is the stiffest in {(stiffest == lines.columns[-1]).sum()} of the {len(lines)} lines. "
            f"Each is highest at: {rates}. Of the {len(means)} points {(means['low'] > 0).sum()} are clearly positive, "
            f"by their interval, and {(means['high'] < 0).sum()} clearly negative. In the paper's figure {turns} of "
            f"{len(theirs)} lines are highest below the highest rate.")


def rate_against_loss(table):
    """How much the rate changes stiffness, compared with the step from one loss to the next; empty for one loss."""
    _, _, lines = _between_by_rate(table)
    neighbours = lines.groupby("dataset").diff().abs().stack().mean()
    rise = (lines.ffill(axis=1).iloc[:, -1] - lines.bfill(axis=1).iloc[:, 0]).mean()
    if not neighbours > 0:  # with a single loss there is nothing to compare with
        return ""
    return ("Could the slopes come from runs that were stopped a little below their target loss, the faster ones "
            "further below? Even the whole step from one loss to the next, at the same rate, changes stiffness by only "
            f"{neighbours:.3f} on average, up or down. The step from the lowest rate to the highest, at the same loss, "
            f"changes it by {signed3(rise)}, which is {abs(rise) / neighbours:.1f} times as much.")


def slopes_by_cosine(table):
    """The slopes of between-class cosine stiffness against the logarithm of the rate."""
    cosines = table[(table["quantity"] == "between_classes_cosine") & table["target_loss"].notna()]
    slopes = summaries.trends(cosines, ["dataset", "target_loss"], "learning_rate", summaries.slope_per_decade)
    return (f"By the cosine, the interval of the slope lies above 0 for {(slopes['low'] > 0).sum()} of the "
            f"{len(slopes)} lines and below for {(slopes['high'] < 0).sum()}; the slopes are between "
            f"{signed3(slopes['mean'].min())} and {signed3(slopes['mean'].max())} per tenfold rate.")


def sizes_of_reach(medians, curves):
    """A table of the stiff domains and critical lengths, and how many curves and lines have none.

    medians: as from `summaries.medians`, by dataset, space and quantity; curves: as from `summaries.distance_curves`.
    """
    wide = medians.pivot(index=["dataset", "space"], columns="quantity", values="median").loc[
        list(dict.fromkeys(zip(medians["dataset"], medians["space"])))]
    rows = []
    for (dataset, space), sizes in wide.iterrows():
        pairs = _of(curves, dataset, space, "all")
        nearer = pairs.loc[pairs["distance"] < sizes["stiff_domain_size_sign"], "number"].sum() / pairs["number"].sum()
        rows.append([dataset, space, _size(sizes["stiff_domain_size_sign"]), percent(nearer),
                     _size(sizes["critical_length_cosine"]), _size(sizes["critical_length_sign"])])
    totals = medians.groupby("quantity")[["runs", "finite"]].sum()
    missing = {name: f"{runs - finite} of {runs}" for name, runs, finite in totals.itertuples()}
    head = ["data", "space", "zero of all pairs, sign", "pairs that are nearer", "ξ, cosine", "ξ, sign"]
    return (as_table(head, rows)
            + "\n\nA size is missing (*none*) where stiffness is positive and does not reach zero at any possible "
            f"distance. This is so in {missing['stiff_domain_size_sign']} curves of all pairs, over runs and spaces, "
            f"in {missing['critical_length_cosine']} lines by cosine and in {missing['critical_length_sign']} by sign.")


def runs_at_the_loss(table, datasets, seeds):
    """The data sets whose loss not every run reached; empty where all did."""
    reached = table.groupby("dataset")["seed"].nunique().reindex(list(datasets), fill_value=0)
    short = [f"{dataset}: {number} of {seeds}" for dataset, number in reached.items()]
    return (reached < seeds).any() and f"The loss was not reached by every run: {', '.join(short)}."


def stiffer_at_a_tenfold_rate(table):
    """The finding in a sentence. table: as for claim C6, which judges rates over a factor of ten alone."""
    judged = summaries.over_a_decade(table)
    _, _, lines = _between_by_rate(judged if len(judged) else table)
    rises = lines.apply(lambda line: line.dropna().iloc[-1] - line.dropna().iloc[0], axis=1)
    turns = lines.apply(lambda line: line.idxmax() < line.dropna().index[-1], axis=1)
    word = "Yes" if (rises > 0).all() else "No" if (rises < 0).all() else "In part"
    return (f"**Does a higher learning rate give stiffer networks?** {word}: at equal training loss, on "
            f"{' and '.join(lines.index.unique('dataset'))}, stiffness between classes changes by "
            f"{signed(rises.min())} to {signed(rises.max())} from the lowest rate to the highest. In {turns.sum()} of "
            f"{len(turns)} lines it is highest below the highest rate.")


def mix_of_pairs(curves):
    """The curve of all pairs as a mix of pairs of one class and of different classes. curves: as from
    `summaries.distance_curves`."""
    within = curves[(curves["kind"] == "sign") & (curves["pairs"] == "within_class")]
    nearest = _nearest(curves, "between_classes")
    return (
        "The curve of all pairs is a mix. Pairs of one class have a sign stiffness of at least "
        f"{signed(within['mean'].min())} at every distance, in every space. The nearest pairs of *different* classes "
        f"have {signed(nearest['mean'].min())} to {signed(nearest['mean'].max())}, with the interval below 0 in "
        f"{(nearest['high'] < 0).sum()} of {len(nearest)} spaces and above 0 in {(nearest['low'] > 0).sum()}. A curve "
        "of all pairs falls with distance because pairs of one class become rare, even where neither of the two falls.")


def help_between_near_images(curves):
    """The finding in a sentence. curves: as in `mix_of_pairs`"""
    nearest = _nearest(curves, "between_classes")
    within = _nearest(curves, "within_class")["mean"].min()
    far = curves[(curves["kind"] == "sign") & (curves["pairs"] == "within_class")]["mean"].min()
    word = ("No, likeness is not enough" if nearest["mean"].max() < 0 else
            "Yes" if min(within, nearest["mean"].min()) > 0 else "In part")
    return (f"**Do images help each other because they look alike?** {word}: the stiffness of the nearest pairs of "
            f"different classes is {signed(nearest['mean'].min())} to {signed(nearest['mean'].max())}, depending on "
            f"the layer; pairs of one class have {signed(far)}{'' if far > 0.995 else ' or more'} at every distance.")


def _nearest(curves, pairs):
    """The nearest bin of distance in each space, by sign."""
    signs = curves[(curves["kind"] == "sign") & (curves["pairs"] == pairs)].sort_values("distance")
    return signs.drop_duplicates(["dataset", "space"])


def cosines_near_and_far(curves):
    """The cosine of pairs of one class among the nearest and among the farthest."""
    cosines = curves[(curves["kind"] == "cosine") & (curves["pairs"] == "within_class")].sort_values("distance")
    near, far = (f"{signed(means.min())} to {signed(means.max())}"
                 for means in (cosines.groupby(["dataset", "space"])["mean"].nth(place) for place in (0, -1)))
    return (f"The cosine tells more: for pairs of one class it is {near} among the nearest, depending on the space, "
            f"and {far} among the farthest.")


def positive_again(curves):
    """In how many spaces the curve of all pairs rises above 0 again beyond its first zero."""
    spaces = list(dict.fromkeys(zip(curves["dataset"], curves["space"])))
    again = []
    for dataset, space in spaces:
        line = _of(curves, dataset, space, "all").sort_values("distance")
        if (line["low"] > 0)[(line["high"] < 0).cummax()].any():
            again.append(f"{dataset} {space}")
    return (f"Beyond the critical distance: in {len(again)} of {len(spaces)} spaces the curve of all pairs, once below "
            f"0, rises above 0 again farther out{' (' + ', '.join(again) + ')' if again else ''}.")


SIZES = {"stiff_domain_size_sign": "stiff domain (v1)", "critical_length_cosine": "ξ by cosine (v3)",
         "critical_length_sign": "ξ by sign (v3)"}


def sizes_against_rate(sizes):
    """A table of how the sizes change with the learning rate. sizes: as from `summaries.domain_sizes`."""
    trends = _trends(sizes)
    rows = []
    for quantity, name in SIZES.items():
        for space in sizes["space"].unique():
            own = trends[(trends["quantity"] == quantity) & (trends["space"] == space)]
            endless = np.isinf(sizes.loc[(sizes["quantity"] == quantity) & (sizes["space"] == space), "value"])
            grows, shrinks = (own["low"] > 0).sum(), (own["high"] < 0).sum()
            rows.append([name, space, f"{grows}", f"{shrinks}", f"{len(own) - grows - shrinks}",
                         f"{endless.sum()} of {len(endless)}"])
    return ("How the sizes change with the learning rate, by the 95 % interval of the rank correlation over seeds. "
            "Each data set with each training loss is a case; *never zero* counts the runs in which there is no finite "
            "size.\n\n" + as_table(["size", "space", "grows", "shrinks", "neither is shown", "never zero"], rows))


def domains_follow_stiffness(table, sizes):
    """The rank correlation of a run's stiff domain with its between-class stiffness."""
    between = table[table["quantity"] == "between_classes_sign"]
    domains = sizes[sizes["quantity"] == "stiff_domain_size_sign"].merge(
        between[[*_RUN, "value"]].rename(columns={"value": "between"}), on=_RUN)
    together = domains.groupby("space", sort=False).apply(lambda rows: np.mean(
        [summaries.rank_correlation(group["between"], group["value"])
         for _, group in rows.groupby(["dataset", "target_loss"])]), include_groups=False)
    return ("Rank correlation between a run's between-class stiffness and the size of its stiff domain, over the runs "
            "of all rates that were stopped at one loss, averaged over data sets and losses: "
            + ", ".join(f"{signed(value)} ({space})" for space, value in together.items()) + ".")


def beyond_the_pairs(table, sizes):
    """In how many runs the critical length lies beyond the farthest pair of one class."""
    lengths = sizes[(sizes["quantity"] == "critical_length_cosine") & (sizes["space"] == "input")]
    lengths = lengths.set_index(_RUN)["value"]
    pairs = table[(table["quantity"] == "distance_pairs_within_class") & (table["space"] == "input")
                  & (table["value"] > 0)]
    farthest = pairs.groupby(_RUN)["distance"].max() + BIN / 2
    return ("A straight line can be followed farther than there are pairs: in input space ξ by cosine lies beyond the "
            f"farthest pair of one class in {(lengths > farthest.reindex(lengths.index)).sum()} of {len(lengths)} "
            "cases of run and loss.")


def both_versions_at_once(sizes):
    """In how many cases stiff domains grow while critical lengths shrink, and the correlations of the latter."""
    trends = _trends(sizes)
    domain, length = (
        trends[(trends["space"] == "input") & (trends["quantity"] == name)].set_index(["dataset", "target_loss"])
        for name in ("stiff_domain_size_sign", "critical_length_cosine"))
    correlations = ", ".join(f"{interval(row)} ({dataset}, loss {loss:g})"
                             for (dataset, loss), row in length.iterrows())
    return ("In input space both papers' statements hold at once, stiff domains growing while ξ by cosine shrinks, in "
            f"{((domain['low'] > 0) & (length['high'] < 0)).sum()} of {len(domain)} cases of data set and loss; both "
            f"grow in {((domain['low'] > 0) & (length['low'] > 0)).sum()}. The rank correlation of ξ by cosine with "
            f"the rate is {correlations}.")

def _between_by_rate(table):
    """Between-class sign stiffness at the stage losses: rows, their means, and these with a column for each rate."""
    between = table[(table["quantity"] == "between_classes_sign") & table["target_loss"].notna()]
    means = summaries.over_seeds(between, ["dataset", "target_loss", "learning_rate"])
    return between, means, means.pivot(index=["dataset", "target_loss"], columns="learning_rate", values="mean")


def _trends(sizes):
    return summaries.trends(sizes, ["dataset", "target_loss", "space", "quantity"], "learning_rate",
                            summaries.rank_correlation, bounds=STIFFNESS)


def _of(curves, dataset, space, pairs):
    """The sign curve of the pairs in a space."""
    return curves[(curves["dataset"] == dataset) & (curves["space"] == space) & (curves["pairs"] == pairs)
                  & (curves["kind"] == "sign")]


def _size(value):
    """A distance, and the first version's in brackets."""
    return f"{value:.2f} ({signed(1 - value)})" if value < FARTHEST else "none"
