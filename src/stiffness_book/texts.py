"""The paragraphs and tables of the figures' pages whose numbers come from the runs, as Markdown.

Each function returns text for `page.say`; an empty text is not shown.
"""

from itertools import combinations, product

import numpy as np

from stiffness.measures import between_classes, within_class
from stiffness_book import blocks, pictures, published, rounding, summaries
from stiffness_book import protocol as protocols
from stiffness_book.claims.parts import CLEAR, SMALL
from stiffness_book.table import BIN, FARTHEST, KINDS, STIFFNESS, SUMMARIES
from stiffness_book.words import WORDS, interval, percent, signed, signed3, small

_RUN = ["dataset", "target_loss", "learning_rate", "seed"]


# Figure 2

def losses_at_the_onset(dataset, table):
    """The losses and accuracies at the onset of over-fitting and at the last stage."""
    start, last = summaries.onset(table), summaries.first_and_last(table)[-1]
    train, validation = (summaries.loss_curves(table, [f"{name}_loss"]).set_index("step")["mean"]
                         for name in ("train", "validation"))
    accuracy = [interval(summaries.at(table, "validation_accuracy", step), percent) for step in (start, last)]
    return (
        f"**{dataset}.** The validation loss is lowest after {start:,} steps, at {validation[start]:.2f}, where the "
        f"training loss is {small(train[start])}; after {last:,} steps they are {validation[last]:.2f} and "
        f"{small(train[last])}. The training loss is lowest after {train.idxmin():,} steps, at {small(train.min())}. "
        f"The networks classify {accuracy[0]} of the validation images correctly at the onset, {accuracy[1]} at the "
        "last stage." + ("" if last > start else " So these runs do not over-fit."))


def stiffness_after_the_onset(table):
    """A table of how stiffness changes from the onset of over-fitting on."""
    rows = []
    for kind, summary in product(KINDS, SUMMARIES):
        stages = summaries.stiffness_curves(table, [f"{summary}_{kind}"]).set_index("step").loc[summaries.onset(table):]
        extremes = [f"{interval(stages.loc[step])}, {step:,} steps"
                    for step in (stages["mean"].idxmax(), stages["mean"].idxmin())]
        zero = stages.index[(stages["low"] <= 0) & (stages["high"] >= 0)]
        rows.append([f"{WORDS[summary]}, {kind}", interval(stages.iloc[0]), *extremes, interval(stages.iloc[-1]),
                     f"{zero[0]:,} steps" if len(zero) else "never"])
    return _table(["from the onset on", "at the onset", "highest", "lowest", "at the last stage",
                   "interval first contains 0"], rows)


def negative_at_the_onset(tables):
    """A note on the data sets whose between-class stiffness is below 0 before it could fall towards it."""
    negative = [dataset for dataset, table in tables.items()
                if summaries.at(table, "between_classes_sign", summaries.onset(table))["mean"] < 0]
    return negative and (f"Between classes, stiffness is already negative at the onset ({', '.join(negative)}), so "
                         "that a fall leads away from 0. The rule still asks for a fall, because the paper shows one.")


def lowest_in_single_precision(dataset, table):
    """The lowest within-class sign stiffness with the loss in single precision, beside the exact one."""
    exact, single = (summaries.stiffness_curves(part, ["within_class_sign"]).set_index("step")
                     for part in (table, summaries.in_single_precision(table)))
    lowest = single["mean"].idxmin()
    return (f"**{dataset}.** Within classes, the lowest mean in single precision is {interval(single.loc[lowest])}, "
            f"after {lowest:,} steps; without rounding it is {interval(exact.loc[lowest])} there, and "
            f"{interval(exact.loc[exact['mean'].idxmin()])} at its lowest.")


def rounding_or_over_fitting(tables):
    """The finding in a sentence, on the data set that loses most of its stiffness to rounding. tables: {name: table}"""
    lowest = {}
    for dataset, table in tables.items():
        exact, single = (summaries.stiffness_curves(part, ["within_class_sign"]).set_index("step")["mean"]
                         for part in (table, summaries.in_single_precision(table)))
        step = single.idxmin()
        lowest[dataset] = single[step] - exact[step], step, single[step], exact[step]
    dataset = min(lowest, key=lowest.get)
    _, step, single, exact = lowest[dataset]
    share = (1 - exact) / (1 - single) if single < 1 else 1
    word = "Mostly through rounding" if share < 0.5 else "Mostly through over-fitting"
    return (f"**Does stiffness vanish through over-fitting, or through rounding?** {word}: on {dataset}, after "
            f"{step:,} steps, stiffness within classes is {signed(single)} in single precision, which loses the signs "
            f"of a very sure network's small gradients, and {signed(exact)} without rounding.")


# Figures 3, 5 and 6

def help_between_classes(dataset, table):
    """The finding in a sentence."""
    first, last = summaries.first_and_last(table)
    before, then = (signed(summaries.at(table, "between_classes_sign", step)["mean"]) for step in (first, last))
    means = [summaries.at(table, "between_classes_sign", step) for step in (first, last)]
    word = ("Yes, " if means[1]["low"] > CLEAR else "A little: " if means[1]["low"] > 0 else
            "No, it harms them: " if means[1]["high"] < 0 else "Not clearly: ")
    return (f"**Does learning one class help with the others?** {word}on {dataset}, stiffness between classes goes "
            f"from {before} before training to {then} after {last:,} steps.")


def over_fitting_within_classes(table):
    """Accuracy, losses and within-class stiffness at the lowest validation loss and at the last stage."""
    validation = summaries.loss_curves(table, ["validation_loss"]).set_index("step")["mean"]
    best, last = validation.idxmin(), summaries.first_and_last(table)[-1]
    within = [interval(summaries.at(table, "within_class_sign", step)) for step in (best, last)]
    accuracy = interval(summaries.at(table, "validation_accuracy", last), percent)
    return (f"After {last:,} steps the networks read {accuracy} of the validation images correctly. Their validation "
            f"loss is lowest after {best:,} steps, at {validation[best]:.3f}, and ends at {validation[last]:.3f}, "
            f"while within-class stiffness goes from {within[0]} to {within[1]}.")


def cosines_from_first_to_last(table):
    """The cosine stiffness at the first and at the last stage."""
    within, between = (
        " to ".join(interval(summaries.at(table, f"{summary}_cosine", step), signed3)
                    for step in summaries.first_and_last(table)) for summary in SUMMARIES)
    return f"From the first stage to the last it goes from {within} within classes, and from {between} between them."


def harmful_pairs(matrices, step):
    """How many pairs of classes harm each other at the step, and which least and most."""
    pairs = summaries.pairs_of_classes(matrices, step)
    lowest = ", ".join(f"{' and '.join(classes)} {interval(row)}" for classes, row in pairs.iloc[:3].iterrows())
    return (f"After {step:,} steps {(pairs['high'] < 0).sum()} of {len(pairs)} pairs of classes harm each other on "
            f"average: the interval of their sign stiffness lies below 0. The lowest are {lowest}; the highest is "
            f"{' and '.join(pairs.index[-1])} {interval(pairs.iloc[-1])}.")


def three_stages(table):
    """Accuracy at the last stage, and sign stiffness at the first, at the lowest validation loss and at the last."""
    best, (first, last) = summaries.onset(table), summaries.first_and_last(table)
    accuracy = interval(summaries.at(table, "validation_accuracy", last), percent)
    within, between = ([interval(summaries.at(table, f"{summary}_sign", step)) for step in (first, best, last)]
                       for summary in SUMMARIES)
    return (f"At the last stage, after {last:,} steps, {accuracy} of the validation images are classified correctly. "
            f"The validation loss is lowest after {best:,} steps. Within classes, sign stiffness is {within[0]} at the "
            f"first stage, {within[1]} there and {within[2]} at the last; between them {between[0]}, {between[1]} and "
            f"{between[2]}.")


def extreme_pairs(matrices, step):
    """The pairs of classes with the highest and the lowest sign stiffness at the step."""
    pairs = summaries.pairs_of_classes(matrices, step)
    return (f"After {step:,} steps the pair of classes with the highest mean sign stiffness is "
            f"{' and '.join(pairs.index[-1])} ({interval(pairs.iloc[-1])}), the one with the lowest "
            f"{' and '.join(pairs.index[0])} ({interval(pairs.iloc[0])}).")


# Figure 4

def the_same_of_every_image(table, num_classes):
    """Whether the networks come to give every image the same answer, and what that makes of the cosines."""
    last = summaries.first_and_last(table)[-1]
    within = summaries.stiffness_curves(table, ["within_class_cosine"]).set_index("step")["mean"]
    alike = [step for step in within.index if (within.loc[step:] > 0.99).all()]
    accuracy = interval(summaries.at(table, "validation_accuracy", last), percent)
    if not alike:
        return (f"The networks still tell images apart: they are right on {accuracy} of the validation images, and two "
                f"images of one class have gradients of cosine {within[last]:.3f}.")
    between = interval(summaries.at(table, "between_classes_cosine", last), signed3)
    return (
        f"How it comes about: from step {alike[0]:,} on, two images of one class have gradients of cosine "
        f"{within[last]:.3f}, and the networks are right on {accuracy} of the validation images. They have come to "
        "give the same answer for every image, so a step on an image depends on its label alone: it raises the "
        f"probability of one class and lowers that of the {num_classes - 1} others. If all classes had the same "
        f"probability and all hidden layers the same values, the cosine between classes would be −1/{num_classes - 1}, "
        f"{signed3(-1 / (num_classes - 1))}; measured is {between}.")


def labels_by_heart(table, train_size):
    """How many permuted labels the second network has learnt, and its stiffness then."""
    last = summaries.first_and_last(table)[-1]
    known = interval(summaries.at(table, "train_accuracy", last), percent)
    within, between = (interval(summaries.at(table, f"{summary}_sign", last)) for summary in SUMMARIES)
    return (f"The networks trained on {train_size:,} images know {known} of their permuted labels after {last:,} "
            f"steps. Their sign stiffness is then {within} within classes and {between} between them.")


def disappears_or_negative(table):
    """Whether stiffness between classes disappears or turns negative: the paper says both."""
    last = summaries.first_and_last(table)[-1]
    level = summaries.at(table, "between_classes_sign", last)
    found = ("negative, as in the figure" if level["high"] < -SMALL else
             "gone, as in the text" if abs(level[["low", "high"]]).max() < SMALL else "neither")
    return ("The paper says two things: its conclusion, that stiffness disappears when labels are permuted; its Figure "
            f"4, that it goes to −1 between classes, while it stays +1 within them. Here, after {last:,} steps, it is "
            f"{interval(level)} between classes: {found}. Within classes it is "
            f"{interval(summaries.at(table, 'within_class_sign', last))}.")


# Figure 7

def block_tests(by_sign):
    """A table of the differences that make blocks, with their p values. by_sign: as from `blocks.stages`."""
    rows = []
    for step in by_sign.loc[blocks.SUPER].index:
        row = [f"{step:,}"]
        for division in (blocks.SUPER, blocks.LIVING_OR_NOT):
            tested = by_sign.loc[(division, step)]
            row += [interval(tested, signed3), f"{tested['p']:.4f}"]
        rows.append(row)
    head = ["steps", "super-classes", "largest p of a run", "living / non-living", "largest p of a run"]
    return (_table(head, rows) + f"\n\n{blocks.PERMUTATIONS:,} relabellings, the same for all matrices, so that p is "
            f"at least {1 / (1 + blocks.PERMUTATIONS):.4f}; for the living and the non-living, whole super-classes are "
            "relabelled.")


def super_classes_help_more(by_sign):
    """The finding in a sentence."""
    difference = by_sign.loc[blocks.SUPER, "mean"]
    return ("**Do classes of one kind help each other more?** The stiffness of two classes of one super-class exceeds "
            f"that of two others by {signed3(difference.iloc[0])} before training and by at most "
            f"{signed3(difference.max())}, after {difference.idxmax():,} steps.")


def differences_in_words(by_sign):
    """The super-classes' differences at each stage, for a chart's description."""
    return ", ".join(f"{row['mean']:.3f} after {step:,} steps" for step, row in by_sign.loc[blocks.SUPER].iterrows())


def strongest_super_classes(by_sign, matrices, super_classes, agreement):
    """The super-classes that help each other most and least at the peak, and the best clustering.

    matrices: rows of (step, kind, matrix), as from `blocks.arrangements`; agreement: as from `blocks.agreement`.
    """
    peak = by_sign.loc[blocks.SUPER, "mean"].idxmax()
    at_peak = next(C for step, kind, C in matrices if (step, kind) == (peak, "sign"))
    strongest = [f"{name.replace('_', ' ')} ({signed(difference)})"
                 for name, difference in blocks.by_group(at_peak, super_classes)]
    index = summaries.over_seeds(agreement[agreement["kind"] == "sign"], ["step"], bounds=STIFFNESS).set_index("step")
    best = index["mean"].idxmax()
    return (f"The super-classes' difference is largest after {peak:,} steps. Taken one by one, the super-classes whose "
            f"classes then help each other most, compared with the rest, are {', '.join(strongest[:3])}; least, "
            f"{', '.join(strongest[-3:])}. The clusters found in the matrix come closest to the super-classes after "
            f"{best:,} steps, with an adjusted Rand index of {interval(index.loc[best])}; 95 % of random divisions "
            f"stay below {agreement['chance'].max():.2f}.")


def validation_at_the_end(table):
    """The lowest validation loss, the last one, and the accuracy at the last stage."""
    last = summaries.first_and_last(table)[-1]
    validation = summaries.loss_curves(table, ["validation_loss"]).set_index("step")["mean"]
    accuracy = interval(summaries.at(table, "validation_accuracy", last), percent)
    return (f"The validation loss is lowest after {validation.idxmin():,} steps, at {validation.min():.2f}; after "
            f"{last:,} it is {validation[last]:.2f}, and {accuracy} of the validation images are classified correctly.")


# Figures 8 to 10

def where_runs_stopped(stops, seeds):
    """A table of the losses and steps at which the runs were stopped. stops: as from `summaries.stops`."""
    rows = []
    for (dataset, loss), own in stops.groupby(["dataset", "target_loss"], sort=False):
        measured = f"{own['lowest'].min():.3f} to {own['highest'].max():.3f}" if own["runs"].any() else "none"
        steps = f"{own['step'].max():,.0f} and {own['step'].min():,.0f}" if own["runs"].any() else "none"
        rows.append([dataset, f"{loss:g}", measured, steps, f"{own['runs'].sum()} of {len(own) * seeds}"])
    return _table(["data", "target loss", "measured loss", "steps, slowest and fastest rate", "runs that reached it"],
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
        _table(["data", "training loss", "rates in both", "mean difference", "mean absolute difference",
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
    return rows and (
        _table(["data", "space", "points in both", "mean difference", "mean absolute difference", "correlation"], rows)
        + "\n\nThis book's curve of all pairs minus the paper's, which is read to ±0.003. The paper tells neither the "
        "rate nor the loss of its Figure 9.")


def domains_beside_the_paper(medians):
    """A table of how far the sizes of stiff domains are from the paper's. medians: as from `summaries.medians`."""
    sizes = medians[medians["quantity"] == "stiff_domain_size_sign"]
    both = sizes.merge(published.domains_by_rate(), on=["dataset", "target_loss", "space", "learning_rate"])
    both = both[np.isfinite(both["median"])]
    rows = [[dataset, space, f"{len(line)}", signed((line["median"] - line["value"]).mean()),
             f"{(line['median'] - line['value']).abs().mean():.2f}"]
            for (dataset, space), line in both.groupby(["dataset", "space"], sort=False)]
    return rows and (_table(["data", "space", "rates in both", "mean difference", "mean absolute difference"], rows)
                     + f"\n\nThis book's median minus the paper's size, at its training loss of "
                     f"{published.DOMAIN_LOSS:g}. The paper's sizes are read to ±0.7 %.")


def stiffest_rates(table):
    """At which rate each line is highest, and how many means lie above and below 0."""
    between, means, lines = _between_by_rate(table)
    order = list(dict.fromkeys(zip(between["dataset"], between["target_loss"])))
    stiffest = lines.idxmax(axis=1).loc[order]
    rates = "; ".join(f"{rate:g} ({dataset}, loss {loss:g})" for (dataset, loss), rate in stiffest.items())
    return (f"The highest rate is the stiffest in {(stiffest == lines.columns[-1]).sum()} of the {len(lines)} lines. "
            f"Each is highest at: {rates}. A positive slope does not mean that a line never turns. Of the {len(means)} "
            f"means {(means['low'] > 0).sum()} have an interval above 0 and {(means['high'] < 0).sum()} one below.")


def rate_against_loss(table):
    """How much the rate changes stiffness, compared with the step from one loss to the next; empty for one loss."""
    _, _, lines = _between_by_rate(table)
    neighbours = lines.groupby("dataset").diff().abs().stack().mean()
    rise = (lines.iloc[:, -1] - lines.iloc[:, 0]).mean()
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
    return (_table(["data", "space", "zero of all pairs, sign", "pairs that are nearer", "ξ, cosine", "ξ, sign"], rows)
            + "\n\nA size is missing (*none*) where stiffness is positive and does not reach zero at any possible "
            f"distance. This is so in {missing['stiff_domain_size_sign']} curves of all pairs, over runs and spaces, "
            f"in {missing['critical_length_cosine']} lines by cosine and in {missing['critical_length_sign']} by sign.")


def runs_at_the_loss(table, datasets, seeds):
    """The data sets whose loss not every run reached; empty where all did."""
    reached = table.groupby("dataset")["seed"].nunique().reindex(list(datasets), fill_value=0)
    short = [f"{dataset}: {number} of {seeds}" for dataset, number in reached.items()]
    return (reached < seeds).any() and f"The loss was not reached by every run: {', '.join(short)}."


def stiffer_at_a_tenfold_rate(table):
    """The finding in a sentence. table: as for claim C6"""
    between, *_ = _between_by_rate(table)
    slopes = summaries.trends(between, ["dataset", "target_loss"], "learning_rate", summaries.slope_per_decade)["mean"]
    return ("**Does a higher learning rate give stiffer networks?** At equal training loss, a rate ten times as high "
            f"changes stiffness between classes by {signed(slopes.min())} to {signed(slopes.max())}.")


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
    classes = ("Only images of one class do" if within > 0 > nearest["mean"].max() else
               "Images of one class do, those of different classes in part" if within > 0 else "Not in all layers")
    return (f"**Do images help each other because they look alike?** {classes}. For the nearest pairs of one class, "
            f"stiffness is {signed(within)}{'' if within > 0.995 else ' or more'} in every layer; for the nearest "
            f"pairs of different classes it is {signed(nearest['mean'].min())} to {signed(nearest['mean'].max())}.")


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
            "size.\n\n" + _table(["size", "space", "grows", "shrinks", "neither is shown", "never zero"], rows))


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


# Architectures

def where_networks_stopped(table, networks, losses, seeds):
    """A table of when each network reached each training loss."""
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
            rows.append([network, f"{loss:g}", f"{runs} of {seeds}", *measured])
    return _table(["network", "target loss", "runs that reached it", "steps, mean", "measured loss, mean",
                   "validation accuracy"], rows)


def networks_that_fell_short(table, networks, losses, seeds):
    """The losses that not all runs of a network reached; empty where all did."""
    runs = table[table["quantity"] == "train_loss"].groupby(["network", "target_loss"]).size()
    short = [f"{network}, loss {loss:g}" for network in networks for loss in losses
             if runs.get((network, loss), 0) < seeds]
    return short and f"Not all runs reached every loss: {'; '.join(short)}."


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
    return (_table(["data", "stiffness", "images", "from the images", "from the seed"], rows),
            f"Rows of the table above in which the choice of images moves the number more than the seed does: "
            f"{'; '.join(told) or 'none'}.")


def _table(head, rows):
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows))


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


# Beside the paper

def agreement_with_the_paper(pairs):
    """A table of how well matrices agree with the paper's, beside how well two runs of this book agree. pairs: those of
    a `ClassFigure`; empty without them."""
    rows = []
    for images, (ours, theirs) in pairs.items():
        means = [f"{signed(within_class(C))} and {signed(between_classes(C))}" for C in (ours.mean(axis=0), theirs)]
        with_paper = [published.agreement(C, theirs) for C in ours]
        among = [published.agreement(a, b) for a, b in combinations(ours, 2)]
        rows.append([f"{images:,}", *means, *(_mean_of(found, "correlation_between", signed)
                                              for found in (with_paper, among)),
                     *(_mean_of(found, "distance", "{:.2f}".format) for found in (with_paper, among))])
    return rows and (
        _table(["images seen", "here, within and between", "the paper", "correlation with the paper",
                "of two runs here", "mean difference from the paper", "of two runs here"], rows)
        + "\n\nCorrelations are over the cells between classes, differences are absolute and over all cells. Each "
        "compares one run of this book with the paper's, or with another run of this book: if the paper's run were "
        "another run of ours, both would be about the same. The paper's cells are read off its colours, to "
        f"±{published.MATRIX_ERROR}. Each image is also paired with itself in all of these.")


def _mean_of(found, name, form):
    """The mean of a number of several `published.agreement`s, as text; a dash where it is never defined."""
    values = [one[name] for one in found if not np.isnan(one[name])]
    return form(np.mean(values)) if values else "–"


def protocol(number, provenance, **compared):
    """A table of what the paper did for a figure, what this book did, and why they differ; arguments: as of
    `stiffness_book.protocol.protocol`."""
    return _table(["", "the paper's first version", "this book", "why they differ"],
                  protocols.protocol(number, provenance, **compared))


def beside(versions):
    """What the section on the other version's settings draws. versions: of the runs, the chosen one first."""
    return {"v1": "The same with the network and the stages of the paper's first version.",
            "v3": "The same with the network of the paper's third version, whose stages are not known: these are this "
                  "book's.",
            None: "Only the runs of one version are drawn here: the parameter `beside` is false."
            }[next((version for version in list(versions)[1:] if version in ('v1', 'v3')), None)]


# Over-fitting or rounding

def over_fitting_or_rounding(found):
    """The finding in a sentence. found: as from `rounding.curves`."""
    last = found["step"].max()
    within = found[(found["summary"] == "within_class") & (found["step"] == last)].groupby("arithmetic")["value"].mean()
    named = {"float32": "in float32 from logits", "clipped": "from clipped probabilities",
             "step_1e-3": "by the float32 change of the loss"}
    ends = ", ".join(f"{signed(within[name])} {words}" for name, words in named.items() if name in within)
    return ("**Does over-fitting lose stiffness, or does float32?** At the end of training, stiffness within classes "
            f"is {signed(within[rounding.EXACT])} if it is computed without rounding. From the same weights it is "
            f"{ends}.")


def at_equal_training_loss(tables):
    """A table of sign stiffness where the training loss first comes down to each value. tables: {training: table}"""
    rows = []
    losses = sorted({loss for table in tables.values() for loss in table["target_loss"].dropna()}, reverse=True)
    for loss, (name, table) in product(losses, tables.items()):
        own = table[table["target_loss"] == loss]
        if len(own):
            means = [interval(dict(zip(("mean", "low", "high"), summaries.mean_and_interval(
                own.loc[own["quantity"] == quantity, "value"]))))
                for quantity in ("within_class_sign", "within_class_sign_single", "between_classes_sign",
                                 "between_classes_sign_single")]
            rows.append([f"{loss:g}", name, f"{own['seed'].nunique()} of {table['seed'].nunique()}",
                         f"{own.groupby('seed')['step'].first().median():,.0f}", *means])
    return _table(["training loss", "trained with", "runs that reached it", "steps, median", "within classes, exact",
                   "float32", "between classes, exact", "float32"], rows)


def distances_from_the_paper(distances):
    """A table of how far each arithmetic's curves are from the paper's. distances: as from `rounding.distances`."""
    rows = []
    for arithmetic, words in rounding.WORDS.items():
        own = distances[distances["arithmetic"] == arithmetic]
        if len(own):
            cells = [interval(dict(zip(("mean", "low", "high"), summaries.mean_and_interval(
                own.loc[own["summary"] == summary, "value"]))), "{:.2f}".format) for summary in SUMMARIES]
            rows.append([words, *cells])
    return (_table(["arithmetic", "within classes", "between classes"], rows) + "\n\nThe mean absolute difference "
            f"between a run's curve and the paper's, over {distances['stages'].max()} of the paper's stages: mean and "
            "interval over the runs. The paper's curve is one run on 30 images, so even the right arithmetic would not "
            "give 0.")


def zero_gradients_by_class(zeros, images):
    """A table of the share of gradients that are exactly 0 at the last stage. zeros: as from
    `rounding.zero_gradients` on so many probe images."""
    last = zeros[zeros["step"] == zeros["step"].max()]
    wide = last.groupby(["arithmetic", "class_a"])["value"].mean().unstack()
    rows = [[rounding.WORDS[arithmetic], *(percent(value) for value in wide.loc[arithmetic])]
            for arithmetic in rounding.WORDS if arithmetic in wide.index]
    return (_table(["share of zero gradients, class", *map(str, wide.columns)], rows)
            + f"\n\nOf {images} probe images, {images // len(wide.columns)} per class; the mean over the runs.")


def symmetric_or_not(found):
    """A table of how far late matrices are from symmetric. found: as from `rounding.matrices`."""
    rows = []
    for arithmetic, words in rounding.WORDS.items():
        own = {(seed, step): C for (seed, step, name), C in found.items() if name == arithmetic}
        if own:
            last = max(step for _, step in own)
            uneven = [np.abs(C - C.T).max() for (_, step), C in own.items() if step == last]
            rows.append([words, f"{np.mean(uneven):.2f}", f"{max(uneven):.2f}"])
    return _table(["arithmetic", "largest difference of mirrored cells, mean over runs", "largest of a run"], rows)


# What the pictures say

def inferred():
    """The inferences in a paragraph."""
    images, passes, matrices = pictures.images_a_class(), pictures.lengths_of_a_pass(), pictures.asymmetry()
    best = images.loc[images["distance"].idxmin()]
    uneven = matrices[matrices["differ"] > 0]
    zero = pictures.first_half_step()
    return (f"**Inferred.** The paper's Figure 2 measures {best['images']:.0f} images per class, not 15; each image is "
            f"also paired with itself; a pass over MNIST is {passes['step'].iloc[0]:,} images; {len(uneven)} of "
            f"{len(matrices)} matrices are not symmetric, although inner products of gradients would be; and from "
            f"{zero:,} images on, some gradients are exactly zero.")


def grids(images):
    """A table of how near Figure 2's values are to the grid of each number of images. images: as from `pictures`."""
    rows = [[f"{row.images}", f"{row.pairs:,}", f"{row.spacing:.4f}", f"{row.distance:.2f}", f"{row.p:.4f}"]
            for row in images.itertuples() if row.images <= 10 or row.images == images["images"].max()]
    best = images.loc[images["distance"].idxmin()]
    return (_table(["images per class", "pairs of images", "spacing of the grid", "distance from the grid", "p"], rows)
            + f"\n\nThe values lie on the grid of {best['images']:.0f} images per class, which is "
            f"{10 * best['images']:.0f} images in all. For more than about ten, the grid is finer than the error of "
            "reading, and nothing could be told.")


def with_or_without_self_pairs(pairs):
    """A table of how near Figure 2's early values within classes are to the grids with and without self-pairs."""
    rows = [[row.pairs, f"{row.number}", f"{row.values}", f"{row.distance:.2f}"] for row in pairs.itertuples()]
    return _table(["", "pairs in all classes", "values below 1", "distance from the grid"], rows)


def passes(found):
    """A table of the printed stages and their greatest common divisors. found: as from `pictures.lengths_of_a_pass`."""
    rows = [[row.of, ", ".join(f"{images:,}" for images in row.stages), f"{row.step:,}",
             ", ".join(map(str, row.passes)), f"{row.batches:,}"] for row in found.itertuples()]
    return _table(["data", "late stages, images seen", "greatest common divisor", "stage ÷ divisor: passes",
                   "batches of 32"], rows)


def mirrored(matrices):
    """A table of how far each matrix of Figures 3 to 6 is from symmetric. matrices: as from `pictures.asymmetry`."""
    rows = [[f"{row.figure}, {row.of}", f"{row.images:,}", f"{row.largest:.2f}", f"{row.differ} of 45",
             percent(row.zero), f"{row.diagonal:.2f}"] for row in matrices.itertuples()]
    return _table(["figure", "images seen", "largest difference", "pairs of cells that differ", "cells at 0",
                   "mean diagonal"], rows)


def zeros(matrices, first):
    """What shows gradients of zero. matrices: as from `pictures.asymmetry`."""
    empty = matrices[matrices["zero_rows"].map(len) > 0]
    rows = "; ".join(f"Figure {row.figure} after {row.images:,} images, class {row.zero_rows[0]}" for row in
                     empty.itertuples())
    last = matrices[matrices["figure"] == 6].iloc[-1]
    ends = sorted(pictures.zero_gradients(last["diagonal"], 15))
    return (f"In the paper's Figure 2 the first value halfway between two values of the grid comes after {first:,} "
            f"images. Whole rows of zeros are in {rows}: there even the pairs of an image with itself are 0. The last "
            f"matrix of Figure 6 has a mean diagonal of {last['diagonal']:.2f}. With self-pairs counted and 15 images "
            "per class, "
            f"{percent(ends[0])} of the gradients are then zero if the signs of all other pairs cancel, and "
            f"{percent(ends[1])} if they agree.")


def two_figures(stages):
    """Figures 2 and 3 at equal images seen. stages: as from `pictures.equal_images`."""
    told = [f"after {row.images:,} images {row.figure_2:.2f} in Figure 2 and {row.figure_3:.2f} in Figure 3"
            for row in stages.itertuples()]
    return (f"Both show a fully connected network on MNIST at a learning rate of 0.001. Within classes stiffness is "
            f"{'; '.join(told)}.")
