"""What the pages on many trained networks say."""

import numpy as np

from stiffness_book.sensitivity import survey
from stiffness_book.sensitivity.ensemble import PREDICTORS
from stiffness_book.texts.tables import as_table, mean_of
from stiffness_book.words import factor, interval, percent, signed

FACTOR_WORDS = {"labels": ("random labels", "true labels"), "batches": ("full batch", "mini-batches"),
                "units": ("saturating units", "ReLU units"), "augmentation": ("not translated", "translated")}


def norm_and_gap(networks, verdict):
    """The finding in a sentence."""
    found = survey.right(networks)
    told = []
    for name, own in found.groupby("dataset", sort=False):
        values = [_tau(of("jacobian_norm")) for of in survey.strata(own).values()]
        told.append(f"{values[0]} over all of them, {values[1]} without random labels ({name})")
    word = {"reproduced": "It does", "not reproduced": "It does not", "opposite": "It does not"}.get(
        verdict.verdict, "In part")
    return ("**Does the norm of a network’s Jacobian tell how well the network generalises?** "
            f"{word}: over {len(found):,} networks with every training label right, the rank correlation of norm and "
            f"generalisation gap is {'; '.join(told)}.")


def networks_trained(networks):
    """A table of how many networks there are, and of their gaps and norms."""
    rows = []
    for name, own in networks[networks["moment"] == "end"].groupby("dataset", sort=False):
        for condition, trained in own.groupby("condition", sort=False):
            right = survey.right(trained)
            rows.append([name, condition, f"{len(trained)}", f"{len(right)}", _range(right["gap"], "{:.2f}"),
                         _range(right["jacobian_norm"], "{:.2g}")])
    return as_table(["data", "training", "networks", "every training label right", "their gap", "their norm"], rows)


def correlations_by_stratum(networks, measures):
    """A table of the rank correlations of measures {column: name} with the gap, in each stratum."""
    found, rows = survey.right(networks), []
    for name, own in found.groupby("dataset", sort=False):
        of = survey.strata(own)
        rows += [[name, words, *(_tau(correlated(measure)) for correlated in of.values())]
                 for measure, words in measures.items()]
    return as_table(["data", "measure", *survey.strata(found)], rows)


def changes_with_the_stratum(networks, measure):
    """Whether a measure's correlation with the gap is another among networks that are alike, in a sentence."""
    told = []
    for name, own in survey.right(networks).groupby("dataset", sort=False):
        values = [correlated(measure)[0] for correlated in survey.strata(own).values()]
        if np.isfinite(values).all():
            told.append(f"{signed(values[0])}, {signed(values[1])} and {signed(values[2])} ({name})")
    return told and ("Over all networks, over those without random labels, and among networks that are alike in shape "
                     f"and labels, it is {'; '.join(told)}.")


def sizes_and_sensitivity(networks):
    """How gap and norm go with the width, in a sentence."""
    true = networks[networks["condition"] != "random labels"]
    told = []
    for name, own in true.groupby("dataset", sort=False):
        taus = [mean_of(survey.size_correlations(own, quantity), bounds=(-1, 1))
                for quantity in ("gap", "jacobian_norm")]
        told.append(f"{taus[0]} of width and gap, {taus[1]} of width and norm ({name})")
    return f"The rank correlation, among networks that are alike in everything else, is {'; '.join(told)}."


def factors_and_norm(networks, verdict):
    """The finding in a sentence."""
    told = []
    for what, (one, other) in FACTOR_WORDS.items():
        ratios = [survey.log_ratios(own, what).mean() for _, own in networks.groupby("dataset", sort=False)]
        told.append(f"{one} against {other} " + ", ".join(
            factor(ratio) if np.isfinite(ratio) else "not measured" for ratio in ratios))
    return ("**What makes a network sensitive?** The norm of the Jacobian changes by these mean factors (on "
            f"{_and(dict.fromkeys(networks['dataset']))}): {'; '.join(told)}. That is as the paper says in "
            f"{verdict.count} comparisons.")


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
    """The finding in a sentence."""
    found = survey.right(networks)
    found = found[found["condition"] != "random labels"]
    told = []
    for name, own in found.groupby("dataset", sort=False):
        means = own.groupby(survey.SHAPE)[["auc_norm", "auc_margin", "auc_at_equal_margin_norm"]].mean().mean()
        told.append(f"{means['auc_norm']:.2f}, the smaller margin {means['auc_margin']:.2f}, and the larger norm among "
                    f"points of equal margin {means['auc_at_equal_margin_norm']:.2f} ({name})")
    return ("**Does the norm tell which test points a network has wrong?** "
            f"Of a wrong and a right point the wrong one has the larger norm with probability {'; '.join(told)}. "
            f"A half would be chance. {verdict.count} parts of the claim hold.")


def areas_under_the_curve(networks):
    """A table of the areas under the curve for each predictor, alone and at equal margin."""
    found = survey.right(networks)
    by = found[found["condition"] != "random labels"]
    rows = []
    for predictor, words in PREDICTORS.items():
        told = []
        for quantity in (f"auc_{predictor}", f"auc_at_equal_margin_{predictor}"):
            for _, own in by.groupby("dataset", sort=False):
                told.append(mean_of(own.groupby(survey.SHAPE)[quantity].mean(), "{:.2f}".format, (0, 1)))
        rows.append([words, *told])
    names = list(dict.fromkeys(by["dataset"]))
    return as_table(["predictor", *names, *(f"{name}, equal margin" for name in names)], rows)


def which_predicts_better(networks):
    """The finding of the two views in a sentence: the strongest rank correlations without random labels."""
    told = []
    for name, own in survey.right(networks).groupby("dataset", sort=False):
        correlated = survey.strata(own)["true labels"]
        norm = correlated("jacobian_norm")
        taus = {words: correlated(measure) for measure, words in survey.MEASURES.items()
                if measure.startswith(("within", "between"))}
        taus = {words: tau for words, tau in taus.items() if np.isfinite(tau[0])}
        if taus:
            best = max(taus, key=lambda words: abs(taus[words][0]))
            told.append(f"the norm {_tau(norm)}, and of the kinds of stiffness the one "
                        f"{best.removeprefix('stiffness ')} most, {_tau(taus[best])} ({name})")
    return ("**Which tells more about generalisation, sensitivity to the input or stiffness?** Among networks trained "
            f"on true labels that have every one right, the rank correlation with the gap has {'; '.join(told)}.")


def what_each_adds(added):
    """What each group of measures adds to the others, in a sentence. added: as from `survey.additions`."""
    rows = added[added["kind"] == "added"]
    clear = rows[rows["low"] > 0]
    told = [f"{row['name']} adds {interval(row, '{:.2f}'.format)} ({row['dataset']})" for _, row in clear.iterrows()]
    return (f"Beyond what the others explain, {'; '.join(told)}." if told else
            "No group of measures clearly adds to what the others explain: every interval has 0 in it." if len(rows)
            else "")


def _tau(found):
    return interval(survey.with_interval(*found)) if np.isfinite(found[0]) else "not measured"


def _range(values, form):
    return f"{form.format(values.min())} to {form.format(values.max())}" if len(values) else "–"


def _and(names):
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def cost_of_two_views(measured):
    """A table of the seconds that each measure takes. measured: as `benchmarks.two_views` writes it."""
    rows = []
    for network, ways in measured["seconds"].items():
        whole = np.median(ways["norm of the Jacobian"])
        rows += [[network, way, f"{np.median(seconds):.3f}", f"{min(seconds):.3f} to {max(seconds):.3f}",
                  f"{np.median(seconds) / whole:.2f}"] for way, seconds in ways.items()]
    return as_table(["network", "measure", "seconds, median", "shortest to longest", "of the norm's"], rows)
