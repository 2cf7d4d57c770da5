"""The claims of the first version of the stiffness paper (Fort, Nowak, Narayanan 2019), in the order of their ids.

A rule's docstring is printed on its page. Where the third version makes a claim too, its source says so.
"""

import numpy as np

from stiffness_book import blocks
from stiffness_book.claims.registry import NotMeasured, claim
from stiffness_book.summaries import (
    distance_curves,
    domain_sizes,
    mean_and_interval,
    network_differences,
    onset,
    over_seeds,
    probe_errors,
    rank_correlation,
    slope_per_decade,
    trends,
)
from stiffness_book.table import BIN, STIFFNESS
from stiffness_book.words import interval, percent, signed, signed3

SMALL = 0.05  # half an interval; the most that rounding to one decimal changes


@claim("C1", source="v1",
       statement="Within-class stiffness is positive at initialisation and through most of training.",
       pages={"fig03_class_stiffness_mnist": "MNIST", "fig05_class_stiffness_fashion": "Fashion-MNIST",
              "fig06_class_stiffness_cifar10": "CIFAR-10, with a convolutional network"})
def within_class_positive(table):
    """By within-class sign stiffness, positive meaning that its 95 % interval over seeds lies above 0:

    - reproduced: positive at initialisation and at more than half of the later stages
    - partly: one of the two
    - opposite: the interval lies below 0 at initialisation and at more than half of the later stages
    - not reproduced: anything else
    """
    stages = over_seeds(_through_training(table, "within_class_sign"), ["step"]).set_index("step")
    first, later = stages.iloc[0], stages.iloc[1:]
    lowest = later["mean"].idxmin()
    measured = (f"{interval(first)} at initialisation; positive at {(later['low'] > 0).sum()} of {len(later)} later "
                f"stages, lowest {interval(stages.loc[lowest])} after {lowest:,} steps")
    held = [first["low"] > 0, (later["low"] > 0).mean() > 0.5]
    return measured, held, first["high"] < 0 and (later["high"] < 0).mean() > 0.5


@claim("C2", source="v1",
       statement="Between-class stiffness is not consistent at initialisation, grows with training, and is positive "
                 "for most class pairs.",
       pages={"fig03_class_stiffness_mnist": "MNIST", "fig05_class_stiffness_fashion": "Fashion-MNIST",
              "fig06_class_stiffness_cifar10": "CIFAR-10, with a convolutional network"})
def between_classes_grows(table):
    """Three parts, by sign stiffness and 95 % intervals over seeds. *Not consistent at initialisation*: fewer than
    half of the class pairs have the same sign in every run. *Grows*: the interval of the change from
    initialisation to the last stage lies above 0. *Positive for most*: the interval of the share of class pairs
    that are positive at the last stage lies above one half.

    - reproduced: all three
    - partly: one or two
    - opposite: the interval of the change lies below 0
    - not reproduced: anything else
    """
    between = _through_training(table, "between_classes_sign").pivot(index="seed", columns="step", values="value")
    change = _row(mean_and_interval(between.iloc[:, -1] - between.iloc[:, 0]))
    matrices = table[(table["quantity"] == "class_stiffness_sign") & (table["class_a"] < table["class_b"])]
    first = matrices[matrices["step"] == between.columns[0]]
    signs = np.sign(first["value"]).groupby([first["class_a"], first["class_b"]]).mean()
    consistent = (signs.abs() == 1).mean()
    last = matrices[matrices["step"] == between.columns[-1]]
    positive = _row(np.clip(mean_and_interval((last["value"] > 0).groupby(last["seed"]).mean()), 0, 1))
    start, end = (interval(_row(mean_and_interval(between.iloc[:, at]))) for at in (0, -1))
    measured = (f"{start} at initialisation, where {percent(consistent)} of the class pairs have one sign in all runs; "
                f"{end} after {between.columns[-1]:,} steps, a change of {interval(change)}; share of positive class "
                f"pairs then {interval(positive, percent)}")
    held = [consistent < 0.5, change["low"] > 0, positive["low"] > 0.5]
    return measured, held, change["high"] < 0


@claim("C3", source="v1",
       statement="With over-fitting, within-class stiffness falls towards 0; between-class stiffness plateaus, then "
                 "falls towards 0.",
       pages={"fig02_overfitting": "MNIST and Fashion-MNIST"})
def overfitting_loses_stiffness(table):
    """The onset of over-fitting is the stage with the lowest mean validation loss. Three parts for each data set,
    by sign stiffness and 95 % intervals over seeds. *Within-class falls*: the interval of its change from the
    onset to the last stage lies below 0. *Between-class plateaus*: at no stage after the onset does the interval
    of its change since then lie above 0. *Between-class falls*: at the last stage that interval lies below 0.
    How far towards 0 is told, not judged.

    - reproduced: every part, for every data set
    - partly: some
    - opposite: for every data set both changes to the last stage lie above 0
    - not reproduced: anything else
    """
    measured, parts, rises = [], {}, []
    for dataset, rows in table.groupby("dataset", sort=False):
        start, told = onset(rows), []
        for name, words in (("within_class", "within classes"), ("between_classes", "between classes")):
            stages = _summary(rows, f"{name}_sign").pivot(index="seed", columns="step", values="value").loc[:, start:]
            later = [_row(mean_and_interval(stages[step] - stages[start])) for step in stages.columns[1:]]
            change = later[-1] if later else _row((0, np.nan, np.nan))  # the onset may be the last stage
            ends = [interval(_row(mean_and_interval(stages.iloc[:, at]))) for at in (0, -1)]
            told.append(f"{words} from {ends[0]} to {ends[1]}, a change of {interval(change)}")
            if name == "between_classes":
                parts[f"{words} plateaus ({dataset})"] = bool(later) and not any(row["low"] > 0 for row in later)
            parts[f"{words} falls ({dataset})"] = change["high"] < 0
            rises.append(change["low"] > 0)
        measured.append(f"{dataset}, onset after {start:,} steps, last stage {stages.columns[-1]:,}: {'; '.join(told)}")
    measured.append(f"Parts that hold: {', '.join(part for part, holds in parts.items() if holds) or 'none'}")
    return ". ".join(measured), parts.values(), all(rises)


@claim("C4", source="v1",
       statement="With permuted labels no positive between-class stiffness develops; it goes negative.",
       pages={"fig04_permuted_labels": "MNIST"})
def permuted_labels_negative(table):
    """Two parts, by sign stiffness and 95 % intervals over seeds. *None develops*: at no stage after initialisation
    does the interval lie above 0. *Goes negative*: at the last stage it lies below 0.

    - reproduced: both
    - partly: one
    - opposite: at the last stage the interval lies above 0
    - not reproduced: anything else
    """
    stages = over_seeds(_through_training(table, "between_classes_sign"), ["step"]).set_index("step")
    later, last = stages.iloc[1:], stages.iloc[-1]
    highest = later["mean"].idxmax()
    measured = (f"{interval(last)} after {stages.index[-1]:,} steps; highest after initialisation "
                f"{interval(stages.loc[highest])}, after {highest:,} steps")
    held = [not (later["low"] > 0).any(), last["high"] < 0]
    return measured, held, last["low"] > 0


@claim("C5", source="v1 and v3",
       statement="CIFAR-100 shows super-class blocks early in training; in the third version also blocks of the living "
                 "and of the non-living.",
       pages={"fig07_super_classes": "CIFAR-100 {cite}`krizhevsky2009`"})
def super_class_blocks(tested, one_pass):
    """Blocks are *there* at a stage where, by sign stiffness, classes of one group help each other more than
    classes of different groups do, and in every run fewer than 1 in 100 random relabellings of the classes reach
    that difference (p < 0.01). *Early* is after initialisation and within the first pass over the training data.
    The living and the non-living are compared over pairs of different super-classes, whole super-classes being
    relabelled.

    - reproduced: both kinds of blocks are there at an early stage
    - partly: one of them
    - opposite: at every early stage the 95 % interval over seeds of the super-classes' difference lies below 0
    - not reproduced: anything else
    """
    stages = blocks.stages(tested)
    measured, held, below = [], [], False
    for division in (blocks.SUPER, blocks.LIVING_OR_NOT):
        rows = stages.loc[division]
        early = rows[(rows.index > 0) & (rows.index <= one_pass)]
        held.append(early["there"].any())
        below |= division == blocks.SUPER and len(early) > 0 and (early["high"] < 0).all()
        first = f"from {early.index[early['there']][0]:,} steps on" if held[-1] else "at no early stage"
        if not held[-1] and rows["there"].any():
            first += f", but after {rows.index[rows['there']][0]:,} steps"
        largest = early["mean"].idxmax() if early["mean"].notna().any() else None
        size = "no pairs to tell by" if largest is None else (
            f"largest difference {interval(early.loc[largest], signed3)}, after {largest:,} steps, p at most "
            f"{early.loc[largest, 'p']:.4f}")
        measured.append(f"{division}: there {first}; {size}")
    return "; ".join(measured) + f"; one pass is {one_pass:,} steps", held, below


@claim("C6", source="v1",
       statement="At equal training loss, a higher learning rate gives higher between-class stiffness.",
       pages={"fig08_learning_rate": "MNIST and Fashion-MNIST"})
def higher_rate_is_stiffer(table):
    """For each data set and training loss: the least-squares slope, in each seed's runs, of between-class sign
    stiffness against the logarithm of the learning rate, which is its change per tenfold rate. The verdict
    counts the 95 % intervals of the slope over seeds.

    - reproduced: all lie above 0
    - partly: some do
    - opposite: all lie below 0
    - not reproduced: anything else
    """
    between = _at_losses(_summary(table, "between_classes_sign"))
    slopes = trends(between, ["dataset", "target_loss"], "learning_rate", slope_per_decade)
    return f"change per tenfold rate: {_by_loss(slopes)}", slopes["low"] > 0, (slopes["high"] < 0).all()


@claim("C7", source="v1",
       statement="Below a critical distance stiffness is positive, in every layer; deeper layers have smaller stiff "
                 "domains.",
       pages={"fig09_distance": "MNIST and Fashion-MNIST"})
def near_pairs_are_stiff(table):
    """Two parts for each data set, by the sign over all pairs and 95 % intervals over seeds. *Positive below a
    critical distance*: in every space, the input and each layer's representation, the interval lies above 0 in
    the nearest bin of distance. The critical distance is where the first bin begins of which that is not so.
    *Smaller in deeper layers*: the interval of Kendall's rank correlation, in each run, between a hidden layer's
    depth and the size of its stiff domain lies below 0; a curve that never falls to zero has a size larger than
    any.

    - reproduced: both parts, for every data set
    - partly: some
    - opposite: for every data set the interval of the correlation lies above 0
    - not reproduced: anything else
    """
    curves = distance_curves(table, ["dataset"])
    curves = curves[(curves["pairs"] == "all") & (curves["kind"] == "sign")]
    sizes = _summary(domain_sizes(table), "stiff_domain_size_sign")
    hidden = sizes[sizes["space"].str.startswith("layer ")]
    hidden = hidden.assign(depth=hidden["space"].str.removeprefix("layer ").astype(int))
    correlations = trends(hidden, ["dataset"], "depth", rank_correlation, bounds=STIFFNESS).set_index("dataset")
    measured, held = [], []
    for dataset, of_dataset in sizes.groupby("dataset", sort=False):
        told, stiff = [], []
        for space in of_dataset["space"].unique():
            curve = curves[(curves["dataset"] == dataset) & (curves["space"] == space)].sort_values("distance")
            ends = curve.loc[~(curve["low"] > 0), "distance"]
            stiff.append(curve["low"].iloc[0] > 0)
            if stiff[-1]:
                told.append(f"{space} below {ends.iloc[0] - BIN / 2:.2f}" if len(ends) else f"{space} at any")
        correlation = correlations.loc[dataset]
        held += [all(stiff), correlation["high"] < 0]
        endless = np.isinf(of_dataset["value"]).sum()
        measured.append(f"{dataset}: positive in {', '.join(told) or 'no space'}; correlation of a hidden layer's "
                        f"depth with its stiff domain's size {interval(correlation)}; {endless} of {len(of_dataset)} "
                        "curves never fall to zero")
    return ". ".join(measured), held, (correlations["low"] > 0).all()


@claim("C8", source="v1",
       statement="The size of stiff domains grows with the learning rate.",
       pages={"fig10_domain_size": "MNIST and Fashion-MNIST"})
def domain_grows_with_rate(table):
    """For each data set and training loss, in input space: Kendall's rank correlation, in each seed's runs, between
    the learning rate and the size of the stiff domain (by sign, over all pairs). A curve that never falls to
    zero has a size larger than any, and those are equal. The verdict counts the 95 % intervals of the
    correlation over seeds. The layers' representations are counted beside it, and not judged.

    - reproduced: all lie above 0
    - partly: some do
    - opposite: all lie below 0
    - not reproduced: anything else
    """
    sizes = _at_losses(_summary(domain_sizes(table), "stiff_domain_size_sign"))
    correlations = trends(sizes, ["dataset", "target_loss", "space"], "learning_rate", rank_correlation,
                          bounds=STIFFNESS)
    judged = correlations[correlations["space"] == "input"]
    layers = correlations[correlations["space"] != "input"]
    endless = np.isinf(sizes.loc[sizes["space"] == "input", "value"])
    measured = (f"rank correlation in input space: {_by_loss(judged)}; {endless.sum()} of {len(endless)} curves never "
                f"fall to zero. In the layers: above 0 in {(layers['low'] > 0).sum()} of {len(layers)} cases, below 0 "
                f"in {(layers['high'] < 0).sum()}")
    return measured, judged["low"] > 0, (judged["high"] < 0).all()


@claim("C12", source="v1 and v3",
       statement="A probe set of 500 images, or of 3,000 where there are 100 classes, gives a small statistical error.",
       pages={"probe_images": "MNIST and CIFAR-100"})
def probe_images_suffice(tables):
    """The error is half the 95 % interval that the choice of probe images gives sign stiffness within and between
    classes: 1.96 times the stratified jackknife error. It is *small* where it is below 0.05 at every stage and
    in every run, less than rounding to one decimal does. Each data set is judged with its whole probe set.

    - reproduced: small for every data set
    - partly: for some
    - opposite: at no stage of any run below 0.05, for any data set
    - not reproduced: anything else
    """
    measured, held, none = [], [], []
    for name, table in tables.items():
        errors = probe_errors(table)
        errors = errors[(errors["kind"] == "sign") & (errors["probe_images"] == errors["probe_images"].max())]
        held.append(len(errors) > 0 and (errors["value"] < SMALL).all())
        none.append(len(errors) > 0 and (errors["value"] >= SMALL).all())
        images = f"{errors['probe_images'].max():,} images of {name}" if len(errors) else f"{name}: unknown"
        largest = [f"{errors.loc[errors['summary'] == summary, 'value'].max():.3f} {words}" for summary, words in
                   (("within_class", "within classes"), ("between_classes", "between them")) if len(errors)]
        measured.append(": ".join([images, *([f"at most ±{' and ±'.join(largest)}"] if largest else [])]))
    return "; ".join(measured), held, all(none)


@claim("C14", source="expected in v1",
       statement="Locality gives higher stiffness: a convolutional network is stiffer than a fully connected one.",
       pages={"architectures": "CIFAR-10"})
def locality_stiffens(table, pairs):
    """Compared are the two networks of each paper at each training loss, by sign stiffness: the difference of their
    means with its 95 % interval (Welch's, over runs). There is no comparison where fewer than two runs of a
    network reach the loss. Two parts, *within classes* and *between classes*: most of the intervals lie above 0,
    and none below.

    - reproduced: both
    - partly: one
    - opposite: most of all the intervals lie below 0, and none above
    - not reproduced: anything else
    """
    rows = network_differences(table, pairs)
    rows = rows[rows["kind"] == "sign"]
    compared = rows[rows["runs"] > 1]
    above, below = compared["low"] > 0, compared["high"] < 0
    measured, held = [], []
    for summary, words in (("within_class", "within classes"), ("between_classes", "between them")):
        own = compared["summary"] == summary
        held.append(above[own].mean() > 0.5 and not below[own].any())
        differences = compared.loc[own, "mean"]
        size = f", differences {signed(differences.min())} to {signed(differences.max())}" if own.any() else ""
        measured.append(f"{words}: the convolutional network is stiffer in {above[own].sum()} of {own.sum()} "
                        f"comparisons, less stiff in {below[own].sum()}{size}")
    if len(compared) < len(rows):
        measured.append(f"{len(rows) - len(compared)} comparisons lack runs that reached the loss")
    return "; ".join(measured), held, below.mean() > 0.5 and not above.any()


@claim("C15", source="asked in v1",
       statement="The super-class structure changes over training: it appears, and it fades.",
       pages={"fig07_super_classes": "CIFAR-100"})
def super_classes_appear_and_fade(tested):
    """The paper asks when; so nothing counts as opposite. The structure is *there* at a stage where, by sign
    stiffness, classes of one super-class help each other more than others do, with p < 0.01 in every run against
    random relabellings. It *appears* at the first such stage, which for this rule must come after
    initialisation. It *fades* at the first stage after its peak where it is no longer there, or where the 95 %
    interval over seeds of the difference lies below half of the peak.

    - reproduced: it appears, and fades
    - partly: one of the two: there from the start, or not faded by the last stage
    - not reproduced: anything else
    """
    rows = blocks.stages(tested).loc[blocks.SUPER]
    there = rows[rows["there"]]
    first, last = rows.index[0], rows.index[-1]

    def at(step):
        return f"{interval(rows.loc[step], signed3)}, p at most {rows.loc[step, 'p']:.4f}"

    if there.empty:
        measured = f"there at no stage: {at(first)} at the first, {at(last)} after {last:,} steps"
        return measured, [False, False], False
    appears, peak = there.index[0], there["mean"].idxmax()
    gone = rows[(rows.index > peak) & (~rows["there"] | (rows["high"] < rows.loc[peak, "mean"] / 2))].index
    start = f"appears after {appears:,} steps ({at(appears)})" if appears > first else "there from the first stage on"
    if len(gone):
        how = "falls below half of that" if rows.loc[gone[0], "there"] else "no longer there"
        end = f"{how} after {gone[0]:,} steps ({at(gone[0])})"
    else:
        end = f"not faded after {last:,} ({at(last)})"
    measured = f"{at(first)} at the first stage; {start}; peak after {peak:,} steps ({at(peak)}); {end}"
    return measured, [appears > first, len(gone) > 0], False


def _row(triple):
    return dict(zip(("mean", "low", "high"), triple))


def _summary(table, quantity):
    return table[table["quantity"] == quantity]


def _through_training(table, quantity):
    """The rows of the quantity, at initialisation and at one later stage or more."""
    rows = _summary(table, quantity)
    if rows["step"].nunique() < 2:
        raise NotMeasured("no stage after initialisation was measured in any run")
    return rows


def _at_losses(table):
    rows = table[table["target_loss"].notna()]
    if rows.empty:
        raise NotMeasured("no run reached any of the training losses")
    return rows


def _by_loss(rows):
    """Intervals by data set and training loss, as text: mnist +0.07 [+0.05, +0.09] at loss 0.3, ...; ..."""
    return "; ".join(
        dataset + " " + ", ".join(f"{interval(row)} at loss {row['target_loss']:g}" for _, row in group.iterrows())
        for dataset, group in rows.groupby("dataset", sort=False))
