"""What the pages on many trained networks say."""

import numpy as np
import pandas as pd

from stiffness_book.claims.novak import QUARTER
from stiffness_book.claims.parts import CLEAR, outcomes
from stiffness_book.sensitivity import survey
from stiffness_book.sensitivity.ensemble import PREDICTORS
from stiffness_book.texts.tables import as_table, mean_of
from stiffness_book.words import factor, interval, listed, percent, signed

FACTOR_WORDS = {"labels": ("random labels", "true labels"), "batches": ("full batch", "mini-batches"),
                "units": ("saturating units", "ReLU units"), "augmentation": ("not translated", "translated")}
SETTING_WORDS = {"condition": "labels and images", "width": "width", "depth": "hidden layers", "activation": "units",
                 "optimizer": "optimizer", "batch": "batches", "learning_rate": "learning rate"}
FACTORS_IN_WORDS = {"labels": "Random labels", "batches": "Full batches", "units": "Saturating units",
                    "augmentation": "Images that are not translated"}


def norm_and_gap(networks, verdict):
    """The finding in sentences: the norm's correlation with the gap in each stratum."""
    found = survey.right(networks)
    taus = pd.DataFrame({name: {kind: signed(correlated("jacobian_norm")[0])
                                for kind, correlated in survey.strata(own).items()}
                         for name, own in found.groupby("dataset", sort=False)})
    word = {"reproduced": "It does", "not reproduced": "It does not", "opposite": "It does not"}.get(
        verdict.verdict, "In part")
    return ("**Does the norm of a network’s Jacobian tell how well the network generalises?** "
            f"{word}. Over {len(found):,} networks that fit every training label, the rank correlation of norm and "
            f"generalisation gap is {_each(taus.loc['all'])}. Without random labels it is "
            f"{_each(taus.loc['without random labels'])}, and among networks that are alike in shape, labels and "
            f"images {_each(taus.loc['alike networks'])}.")


def networks_trained(networks):
    """A table of how many networks there are, and of their gaps and norms."""
    rows = []
    for name, own in networks[networks["moment"] == "end"].groupby("dataset", sort=False):
        for condition, trained in own.groupby("condition", sort=False):
            right = survey.right(trained)
            rows.append([name, condition, f"{len(trained)}", f"{len(right)}", _range(right["gap"], "{:.2f}"),
                         _range(right["jacobian_norm"], "{:.2g}")])
    return as_table(["data", "training", "networks", "that fit every label", "their gap", "their norm"], rows)


def changes_with_the_stratum(networks, measure):
    """Whether a measure's correlation with the gap is another among networks that are alike, in sentences."""
    turned, weaker, told = [], [], []
    for name, own in survey.right(networks).groupby("dataset", sort=False):
        every, _, alike = (survey.with_interval(*correlated(measure)) for correlated in survey.strata(own).values())
        if np.isfinite([every["mean"], alike["mean"]]).all():
            clear = [one["low"] * one["high"] > 0 for one in (every, alike)]
            (turned if all(clear) and every["mean"] * alike["mean"] < 0 else
             weaker if abs(alike["mean"]) < abs(every["mean"]) else []).append(name)
            told.append(f"from {signed(every['mean'])} to {signed(alike['mean'])} ({name})")
    says = (f"It clearly turns round on {listed(turned)}: that is Simpson’s paradox" if turned else
            f"It does not clearly turn round, but it is weaker on {listed(weaker)}" if weaker else
            "It does not clearly turn round")
    return told and (f"Among networks that are alike, the rank correlation of the {survey.MEASURES[measure]} with the "
                     f"gap goes {'; '.join(told)}. {says}.")


def within_each_setting(networks, measure):
    """A table of a measure's rank correlation with the gap among the networks that have one setting alike."""
    found = survey.right(networks)
    names = list(dict.fromkeys(found["dataset"]))
    rows = [[words, f"{value:g}" if isinstance(value, float) else f"{value}",
             *(f"{_tau(taus[name][0])}, {taus[name][1]}" if name in taus else "–" for name in names)]
            for setting, words in SETTING_WORDS.items()
            for (_, value), taus in survey.within_settings(found, measure, [setting]).items()]
    return as_table(["setting", "", *(f"{name}, networks" for name in names)], rows)


def transitions_and_gap(networks):
    """What the transitions tell of the gap without random labels, in a sentence."""
    told = {}
    for name, own in survey.right(networks).groupby("dataset", sort=False):
        found = survey.strata(own)["without random labels"]("transitions")
        if np.isfinite(found[0]):
            told[name] = found
    if not told:
        return ""
    word = ("the smaller" if all(value < 0 for value, *_ in told.values()) else
            "the larger" if all(value > 0 for value, *_ in told.values()) else "on some data the smaller")
    return (f"Without random labels, networks with more transitions have {word} gap: "
            f"{_each({name: _tau(found) for name, found in told.items()})}. Larger networks have more units that can "
            "switch, and a smaller gap.")


def sizes_and_sensitivity(networks):
    """A table of how gap and norm go with the width."""
    true = survey.without_random_labels(networks)
    rows = []
    for name, own in true.groupby("dataset", sort=False):
        found = [survey.size_correlations(own, quantity) for quantity in ("gap", "jacobian_norm")]
        rows.append([name, f"{len(found[0])}", *(mean_of(taus, bounds=(-1, 1)) for taus in found)])
    return as_table(["data", "ways of training", "width and gap", "width and norm"], rows)


def factors_and_norm(networks, verdict):
    """The finding, in a sentence for each factor: whether it raises the norm by enough, by less, or not at all."""
    by_name = {part.name: (part, outcome) for part, outcome in zip(verdict.parts, outcomes(verdict.parts))}
    told = []
    for what, which in FACTORS_IN_WORDS.items():
        own = {name[len(what) + 2 : -1]: found for name, found in by_name.items() if name.startswith(f"{what} (")}
        does = ("raise it" if all(outcome == "holds" for _, outcome in own.values()) else
                f"raise it by less than the factor of {10**QUARTER:.3g} that counts here, or not surely by more"
                if all(part.mean > 0 for part, _ in own.values()) else "do not raise it on all data")
        if own:
            told.append(f"{which} {does}: {_each({name: factor(part.mean) for name, (part, _) in own.items()})}.")
    return ("**What makes a network sensitive?** The sensitivity is the norm of the Jacobian. "
            f"{' '.join(told) or verdict.measured}")


def factors_by_data(verdict):
    """A table of the factor by which the norm differs in pairs of each kind, on each data set."""
    rows = {}
    for part, outcome in zip(verdict.parts, outcomes(verdict.parts)):
        what, data = part.name[:-1].split(" (")
        low, high = part.interval
        rows.setdefault(what, {})[data] = (
            f"{interval({'mean': part.mean, 'low': low, 'high': high}, factor)}, {outcome}")
    names = list(dict.fromkeys(name for row in rows.values() for name in row))
    return rows and as_table(["norm of / norm of", *names], [
        [" / ".join(FACTOR_WORDS[what]), *(row.get(name, "") for name in names)] for what, row in rows.items()])


def sides_of_the_diagonal(networks):
    """A table: the share of pairs in which the first network has the higher number, with an interval over shapes."""
    rows = []
    for what, (one, other) in FACTOR_WORDS.items():
        for name, own in networks.groupby("dataset", sort=False):
            both = survey.pairs(own, what)
            told = []
            for column in ("gap", "jacobian_norm", "transitions"):
                known = both[np.isfinite(both[[f"{column}_one", f"{column}_other"]].astype(float)).all(axis=1)]
                higher = (known[f"{column}_one"] > known[f"{column}_other"]).groupby(
                    [known[name] for name in survey.SHAPE]).mean()
                told.append(mean_of(higher, percent, (0, 1)) if len(higher) else "not measured")
            rows.append([f"{one} / {other}", name, f"{len(both)}", *told])
    return as_table(["pairs", "data", "number", "gap higher", "norm higher", "transitions higher"], rows)


def wrong_points(networks, verdict):
    """The finding in sentences: what the norm tells, what the margin tells, and what stiffness tells."""
    means = _areas(networks)
    if means.empty:
        return f"**Does the norm tell which test points a network gets wrong?** {verdict.measured}"

    def each(quantity):
        return _each({name: f"{value:.2f}" for name, value in means[quantity].items()})

    alone = [outcome for part, outcome in zip(verdict.parts, outcomes(verdict.parts)) if part.name.startswith("alone")]
    word = ("It does" if set(alone) == {"holds"} else "It does not" if "holds" not in alone else
            "On some of the data it does")
    if "holds" in alone and (means["auc_at_equal_margin_norm"] < 0.5 + CLEAR).all():
        word += ", but hardly more than the network’s own doubt tells"
    known = [f"auc_{name}" for name in PREDICTORS if name.startswith("stiffness") and not name.endswith("_true")]
    best = means[known].mean().idxmax()
    return ("**Does the norm tell which test points a network gets wrong?** "
            f"{word}. Of a wrong and a right point, the wrong one has the larger norm with probability "
            f"{each('auc_norm')}, and the smaller margin, which is doubt, with probability {each('auc_margin')}. Among "
            f"points of equal margin it has the larger norm with probability {each('auc_at_equal_margin_norm')}; a "
            f"half would be chance. The smaller stiffness, of the kind that tells most "
            f"({PREDICTORS[best.removeprefix('auc_')].removeprefix('stiffness, ')}), it has with probability "
            f"{each(best)}.")


def left_of_the_doubt(networks):
    """What the margin tells among points of equal margin, in a sentence."""
    means = _areas(networks)["auc_at_equal_margin_margin"]
    return len(means) and ("Among points of equal margin, the small differences that are left still tell as much as "
                           f"{_each({name: f'{value:.2f}' for name, value in means.items()})}: so much of the norm’s "
                           "number there is doubt too.")


def areas_under_the_curve(networks):
    """A table of the areas under the curve for each predictor, alone and at equal margin."""
    found = survey.without_random_labels(survey.right(networks))
    rows = []
    for predictor, words in PREDICTORS.items():
        told = []
        for quantity in (f"auc_{predictor}", f"auc_at_equal_margin_{predictor}"):
            for _, own in found.groupby("dataset", sort=False):
                told.append(mean_of(own.groupby(survey.SHAPE)[quantity].mean(), "{:.2f}".format, (0, 1)))
        rows.append([words, *told])
    names = list(dict.fromkeys(found["dataset"]))
    return as_table(["predictor", *names, *(f"{name}, equal margin" for name in names)], rows)


def which_predicts_better(networks):
    """The finding of the two views in sentences: the strongest rank correlations without random labels."""
    told, clear = {}, {}
    for name, own in survey.right(networks).groupby("dataset", sort=False):
        correlated = survey.strata(own)["without random labels"]
        measures = ["jacobian_norm", *survey.STIFFNESS]
        found = {measure: survey.with_interval(*correlated(measure)) for measure in measures}
        found = {measure: tau for measure, tau in found.items() if np.isfinite(tau["mean"])}
        norm, kinds = found.get("jacobian_norm"), found.keys() & set(survey.STIFFNESS)
        if norm and kinds:
            best = found[max(kinds, key=lambda measure: abs(found[measure]["mean"]))]
            word, more = max(("sensitivity", norm), ("stiffness", best), key=lambda one: abs(one[1]["mean"]))
            clear.setdefault(word if more["low"] * more["high"] > 0 else "neither clearly", []).append(name)
            told[name] = f"{signed(norm['mean'])} and {signed(best['mean'])}"
    if not told:
        return ""
    words = "; ".join(f"{word} on {listed(which)}" for word, which in clear.items())
    return ("**Which tells more about generalisation, sensitivity to the input or stiffness?** "
            f"{words[0].upper()}{words[1:]}. Among networks that fit every one of their labels, which are not random, "
            "the rank correlations of the norm of the Jacobian and of the strongest of eight kinds of stiffness with "
            f"the generalisation gap are {'; '.join(f'{both} ({name})' for name, both in told.items())}.")


def what_each_explains(rows):
    """What sensitivity and stiffness explain, alone and beside each other, in sentences. rows: as from
    `survey.explained_rows`."""
    true = rows[rows["kind"] == "without random labels"].set_index(["name", "dataset"])["mean"]
    if true.empty:
        return ""

    def each(name):
        return _each(true[name].map(signed))

    return ("Without random labels, the share of the variance of the gap’s ranks that sensitivity alone explains is "
            f"{each('sensitivity')}; stiffness alone explains {each('stiffness')}. Added to sensitivity, stiffness "
            f"changes it by {each('stiffness, added to sensitivity')}; sensitivity, added to stiffness, by "
            f"{each('sensitivity, added to stiffness')}. The intervals are wide, as the networks are of few shapes.")


def _areas(networks):
    """For each data set the means of the areas under the curve, over the networks of a shape, then over shapes."""
    found = survey.without_random_labels(survey.right(networks))
    names = [name for name in found if name.startswith("auc_")]
    by_shape = found.groupby(survey.SHAPE, sort=False)[names].mean()
    return by_shape.groupby(level="dataset", sort=False).mean()


def _each(by_data):
    """What holds on each data set: 0.88 (MNIST) and 0.81 (Fashion-MNIST)."""
    return listed([f"{value} ({name})" for name, value in by_data.items()])


def _tau(found):
    return interval(survey.with_interval(*found)) if np.isfinite(found[0]) else "not measured"


def _range(values, form):
    return f"{form.format(values.min())} to {form.format(values.max())}" if len(values) else "–"


def cost_of_two_views(measured):
    """A table of the seconds that each measure takes. measured: as `benchmarks.two_views` writes it."""
    rows, shares = [], []
    for network, ways in measured["seconds"].items():
        whole = np.median(ways["norm of the Jacobian"])
        rows += [[network, way, f"{np.median(seconds):.3f}", f"{min(seconds):.3f} to {max(seconds):.3f}",
                  f"{np.median(seconds) / whole:.2f}"] for way, seconds in ways.items()]
        shares += [np.median(seconds) / whole for way, seconds in ways.items() if way.startswith("stiffness")]
    told = shares and (f"Stiffness takes {percent(min(shares))} to {percent(max(shares))} of the time that the norm of "
                       "the Jacobian takes.")
    head = ["network", "measure", "seconds, median", "shortest to longest", "relative to the norm"]
    return "\n\n".join(filter(None, [as_table(head, rows), told]))


def speed_of_ensembles(measured):
    """A table of the seconds in which networks are trained together and one by one. measured: as
    `benchmarks.ensembles` writes it."""
    rows = []
    for network, ways in measured["seconds"].items():
        together, alone = (np.array(ways[way]) for way in ("together", "one by one"))
        ratios = alone / together
        rows.append([network, f"{np.median(together):.2f}", f"{np.median(alone):.2f}",
                     f"{np.median(ratios):.1f} ({ratios.min():.1f} to {ratios.max():.1f})"])
    return as_table(["networks", "seconds, together", "seconds, one by one", "times as fast"], rows)
