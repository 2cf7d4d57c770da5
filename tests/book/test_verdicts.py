"""The rules of the verdicts: what a part is, and that neither an untrained network nor noise passes a rule."""

import itertools

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from tables import (
    LOSSES,
    PAIRS,
    RATES,
    around_data,
    by_kind,
    dips,
    harmonic,
    networks,
    ordered,
    probes,
    residual,
    spaces,
    super_class_table,
    super_classes,
    sweep,
    table,
    trained_networks,
    with_losses,
)

from stiffness_book import blocks, claims
from stiffness_book.claims.parts import OUTCOMES, Part, outcomes, verdict
from stiffness_book.sensitivity.input_space import RANDOM
from stiffness_book.table import REGIMES, neighbours_in

LEARNT = {"train": (2.3, 0.5, 0.01), "validation": (2.3, 0.5, 0.9)}
UNTRAINED = {"train": (2.3, 2.3, 2.3), "validation": (2.3, 2.3, 2.3)}


# Parts

@pytest.mark.parametrize("mean, error, expects, outcome", [
    (0.5, 0.01, "above", "holds"), (0.5, 0.4, "above", "undecided"), (0.04, 0.001, "above", "fails"),
    (0.0, 0.01, "above", "fails"), (-0.5, 0.01, "above", "reverse"), (0.09, 0.03, "above", "undecided"),
    (-0.5, 0.01, "below", "holds"), (0.5, 0.01, "below", "reverse"), (0.0, 0.01, "below", "fails"),
    (0.0, 0.01, "within", "holds"), (0.0, 0.3, "within", "undecided"), (0.5, 0.01, "within", "fails"),
    (0.09, 0.03, "within", "undecided"), (0.0, 0.0, "above", "fails"), (0.5, 0.0, "above", "holds")])
def test_outcome_of_a_part(mean, error, expects, outcome):
    assert Part("", mean, error, 4, expects=expects).outcome() == outcome


def test_a_single_run_decides_nothing():
    part = Part.over("", [0.9])
    assert np.isnan(part.interval).all() and part.outcome() == "undecided" and verdict([part])[0] == "undecided"
    assert Part.over("", []).outcome() == "undecided"


def test_interval_and_p_are_students():
    values = [0.3, 0.5, 0.2, 0.6]
    part, expected = Part.over("", [*values, np.nan]), stats.ttest_1samp(values, 0, alternative="greater")
    assert part.interval == pytest.approx(tuple(stats.ttest_1samp(values, 0).confidence_interval(0.95)))
    assert part.p == pytest.approx(expected.pvalue)
    assert Part.over("", values, expects="below").p == pytest.approx(1 - expected.pvalue)
    wider = Part.over("", values, probe_error=0.2)
    assert wider.error == pytest.approx(np.hypot(np.std(values, ddof=1) / 2, 0.2))


def test_a_ceiling_is_told():
    assert Part.over("", [1, 1, 1]).at_a_bound and not Part.over("", [0.5, 0.5, 0.5]).at_a_bound
    assert Part.over("", [0.9, 1, 1]).interval[1] == 1


def test_holm_guards_several_parts():
    weak = [Part(f"{k}", 0.3, 0.1, 20) for k in range(10)]  # each alone: p = 0.0035
    assert outcomes(weak[:1]) == ["holds"] and "holds" not in outcomes(weak)
    assert outcomes([*weak, Part("strong", 0.9, 0.01, 20)])[-1] == "holds"
    rng, passed = np.random.default_rng(0), 0
    for _ in range(400):
        parts = [Part.over(f"{k}", rng.normal(0, 1, 5), size=0.01, bounds=(-9, 9)) for k in range(6)]
        passed += "holds" in outcomes(parts)
    assert passed / 400 < 0.05  # 2.5 % are expected


@pytest.mark.parametrize("found, word, held", [
    (["holds", "holds"], "reproduced", 2), (["holds", "fails"], "partly", 1), (["holds", "undecided"], "partly", 1),
    (["fails", "undecided"], "undecided", 0), (["fails", "fails"], "not reproduced", 0),
    (["reverse", "reverse"], "opposite", 0), (["reverse", "fails"], "not reproduced", 0)])
def test_verdict_from_parts(found, word, held):
    made = {"holds": (0.5, 0.001), "fails": (0.0, 0.001), "undecided": (0.0, 0.3), "reverse": (-0.5, 0.001)}
    parts = [Part(f"{k}", *made[outcome], 40) for k, outcome in enumerate(found)]
    assert set(found) <= set(OUTCOMES) and outcomes(parts) == found
    assert verdict(parts) == (word, held)
    if word == "reproduced":
        assert verdict(parts, question=True)[0] == "answered"


# Rules. Each is fed: an untrained network, a constant table, noise, the reverse of the claim, the ideal case

def matrix(within, between):
    """A class stiffness matrix; between classes +- 0.2 about the mean, as class pairs are not alike."""
    scatter = np.where(np.add.outer(np.arange(4), np.arange(4)) % 2, 0.2, -0.2) if between is not None else 0
    return np.where(np.eye(4, dtype=bool), within, np.clip((between or 0) + scatter, -1, 1))


def runs(within, between, losses=LEARNT, *, start=None, **options):
    """A table with stages at which the two summaries have these values. start: (seed) -> matrix at initialisation."""
    def at(step, seed):
        number = {0: 0, 10: 1, 100: 2}[step]
        return start(seed) if start and step == 0 else matrix(within[number], between[number])
    return with_losses(table(at, **options), **losses)


def random_signs(seed):
    """At initialisation class pairs have random signs."""
    signs = np.triu(np.random.default_rng(seed).choice([-0.3, 0.3], (4, 4)), 1)
    return signs + signs.T + np.eye(4)


def noise(rng, losses=LEARNT):
    """Every entry of every matrix is noise."""
    def at(*_):
        half = np.triu(rng.normal(0, 0.3, (4, 4)))
        return half + np.triu(half, 1).T
    return with_losses(table(at, spread=0), **losses)


def by_dataset(rows):
    return pd.concat([rows.assign(dataset=name) for name in ("a", "b")])


def block_tests(strength_at, **options):
    names, living = super_classes()
    return blocks.through_training(super_class_table(strength_at, **options), names, living, permutations=500)


def flat_rate(rng):
    return sweep(lambda *_: rng.normal(0, 0.05), spread=0)


def never(*_):
    return 0.0


RULES = {  # rule: (untrained, constant, noise, reverse, ideal)
    "C1": (claims.within_class_positive,
           lambda: runs((1, 1, 1), (-0.5, -0.5, -0.5), UNTRAINED), lambda: runs((0.5,) * 3, (0.5,) * 3, LEARNT),
           noise, lambda: runs((-0.5, -0.6, -0.7), (0, 0, 0)), lambda: runs((1, 0.9, 0.8), (-0.5, 0, 0.2))),
    "C2": (claims.between_classes_grows,
           lambda: runs((1, 1, 1), (0, 0, 0), UNTRAINED, start=random_signs), lambda: runs((0.5,) * 3, (0.5,) * 3),
           noise, lambda: runs((1, 1, 1), (0.5, 0, -0.6)),
           lambda: runs((1, 1, 1), (0, 0.3, 0.6), start=random_signs)),
    "C3": (claims.overfitting_loses_stiffness,
           lambda: by_dataset(runs((1, 1, 1), (0.3,) * 3, UNTRAINED)),
           lambda: by_dataset(runs((0.5,) * 3, (0.5,) * 3)), lambda rng: by_dataset(noise(rng)),
           lambda: by_dataset(plateau((0.3, 0.9), (0.3, 0.3, 0.6))),
           lambda: by_dataset(plateau((0.9, 0.3), (0.4, 0.42, 0.1)))),
    "C4": (claims.permuted_labels_negative,
           lambda: runs((1, 1, 1), (-0.5,) * 3, UNTRAINED), lambda: runs((0.5,) * 3, (-0.9,) * 3), noise,
           lambda: runs((1, 1, 1), (-0.5, 0, 0.5)), lambda: runs((1, 1, 1), (-0.4, -0.8, -1.2))),
    "C5": (lambda rows: claims.super_class_blocks(rows, 100),
           lambda: block_tests(lambda _: 0.3, sides=0.3), lambda: block_tests(lambda _: 0.0),
           lambda rng: block_tests(never),
           lambda: block_tests(lambda step: -0.3 * (step > 0)),
           lambda: pd.concat([grown(0, 0.0), grown(10, 0.3).assign(p=0.001), grown(100, 0.2), grown(1000, 0.0)])),
    "C6": (claims.higher_rate_is_stiffer,
           lambda: sweep(lambda *_: -0.2), lambda: sweep(lambda *_: 0.3, spread=0), flat_rate,
           lambda: sweep(lambda d, loss, rate: -0.1 * np.log10(rate)),
           lambda: sweep(lambda d, loss, rate: 0.1 * np.log10(rate))),
    "C6′": (claims.small_rates_are_stiffer,
            lambda: choices(lambda *_: -0.2), lambda: choices(lambda *_: 0.3, spread=0),
            lambda rng: choices(lambda *_: rng.normal(0, 0.05), spread=0),
            lambda: choices(lambda d, loss, rate: 0.1 * np.log10(rate)),
            lambda: choices(lambda d, loss, rate: -0.1 * np.log10(rate))),
    "C7": (claims.near_pairs_are_stiff,
           lambda: spaces(lambda *_: -0.1, lambda *_: 0.3), lambda: spaces(lambda *_: 0.0, lambda *_: 0.3),
           lambda rng: spaces(lambda *_: rng.normal(0, 0.3), lambda *_: rng.uniform(0, 1)),
           lambda: spaces(lambda *_: -0.5, lambda space, _: 0.2 * depth(space)),
           lambda: spaces(lambda *_: 0.5, lambda space, _: 1 - 0.2 * depth(space))),
    "C8a": (claims.domain_grows_with_rate,
            lambda: spaces(lambda *_: 0.5, lambda *_: np.nan, rates=RATES),
            lambda: spaces(lambda *_: 0.5, lambda *_: 0.5, rates=RATES),
            lambda rng: spaces(lambda *_: 0.5, lambda *_: rng.uniform(0, 1), rates=RATES, seeds=5),
            lambda: spaces(lambda *_: 0.5, lambda _, rate: 0.5 - 30 * rate, rates=RATES),
            lambda: spaces(lambda *_: 0.5, lambda _, rate: 30 * rate, rates=RATES)),
    "C9": (lambda rows: claims.critical_length_shrinks(rows, rows),
           lambda: lengths_at(lambda *_: 1.2), lambda: lengths_at(lambda *_: 0.7, spread=0),
           lambda rng: lengths_at(lambda *_: np.exp(rng.normal(0, 0.5)), spread=0),
           lambda: lengths_at(lambda rate, stage: (1e4 * rate) ** 0.1 * (1 + stage)),
           lambda: lengths_at(lambda rate, stage: (1e4 * rate) ** -0.1 / (1 + stage))),
    "C10": (lambda rows: claims.regimes_behave_alike({"a": rows}),
            lambda: in_regimes(runs((1, 1, 1), (-0.5,) * 3, UNTRAINED)),
            lambda: in_regimes(runs((0.5,) * 3, (0.5,) * 3)),
            lambda rng: in_regimes(noise(rng), lambda: rng.normal(0, 0.3)),
            lambda: in_regimes(runs((1, 1, 1), (-0.5, 0, 0.5)), lambda: -0.5),
            lambda: in_regimes(runs((1, 1, 1), (-0.5, 0, 0.5)), lambda: 0.03)),
    "C11": (lambda rows: claims.transformers_show_the_pattern({"a": rows}),
            lambda: runs((1, 1, 1), (-0.5,) * 3, UNTRAINED), lambda: runs((0.5,) * 3, (0.5,) * 3), noise,
            lambda: runs((0.1, 0.2, 0.6), (0.9, 0.8, 0.3)), lambda: runs((1, 0.9, 0.5), (-0.5, 0, 0.2))),
    "C13": (lambda rows: claims.picture_holds_for_a_residual_network({"a": rows}, "resnet-20", "cnn-1"),
            lambda: residual(1, (-0.5, -0.5), losses=(2.3, 2.3)), lambda: residual(0.5, (0.5, 0.5), slope=0),
            lambda rng: residual(lambda: rng.normal(0, 0.5), (lambda: rng.normal(0, 0.5),) * 2,
                                 slope=lambda: rng.normal(0, 0.1)),
            lambda: residual(-0.5, (0.5, -0.5), slope=0.1), lambda: residual(0.8, (-0.5, 0.1))),
    "C14": (lambda rows: claims.locality_stiffens(rows, PAIRS),
            lambda: networks(by_kind(0.5, 0.5), by_kind(-0.2, -0.2)), lambda: networks(by_kind(1, 1), by_kind(0, 0)),
            lambda rng: networks(lambda *_: rng.normal(0, 0.1), lambda *_: rng.normal(0, 0.1)),
            lambda: networks(by_kind(0.5, 0.9), by_kind(0.1, 0.4)),
            lambda: networks(by_kind(0.9, 0.5), by_kind(0.4, 0.1))),
    "C15": (claims.super_classes_appear_and_fade,
            lambda: block_tests(lambda _: 0.3), lambda: block_tests(lambda _: 0.0), lambda rng: block_tests(never),
            lambda: block_tests(lambda step: -0.3 * (0 < step < 1000)),
            lambda: block_tests(lambda step: 0.3 * (0 < step < 1000))),
    "C16": (claims.domain_follows_length_scale,
            lambda: harmonic(lambda scale, _: scale, reached=False), lambda: harmonic(lambda *_: 0.6),
            lambda rng: harmonic(lambda *_: rng.uniform(0, 3)), lambda: harmonic(lambda scale, _: 0.5 / scale),
            lambda: harmonic(lambda scale, _: 1.02 * scale)),
    "C17": (lambda rows: claims.order_leaves_its_mark({"a": rows}),
            lambda: ordered(lambda *_: -0.4, lambda *_: 0.1, losses=(2.3, 2.3, 2.3)),
            lambda: ordered(lambda *_: 0.3, lambda *_: 0.3),
            lambda rng: ordered(lambda *_: rng.normal(0, 0.2), lambda *_: rng.normal(0, 0.2)),
            lambda: ordered(lambda order, _: 0.1, lambda order, of: 0.9 * (of == "by class")),  # alike in all networks
            lambda: ordered(lambda order, _: 0.6 * (order == "by class") - 0.3 * (order == "hard first"),
                            lambda order, of: 0.5 * (order == of))),
    "C18": (claims.overfitting_loses_stiffness_of_cnns,
            lambda: runs((1, 1, 1), (-0.5,) * 3, UNTRAINED), lambda: runs((0.5,) * 3, (0.5,) * 3), noise,
            lambda: runs((1, 0.5, 0.9), (0, 0.1, 0.6)), lambda: runs((1, 0.9, 0.3), (0, 0.5, 0.1))),
}
def factors(times):
    """The norm of a network whose factors multiply it by so much each, as the paper has it."""
    def norm(row):
        raised = (row["condition"] == "random labels") + (row["batch"] == "full") + (row["activation"] == "hard_tanh")
        return times ** (raised - (row["condition"] == "translated")) * (1 + row["width"] / 1e4)
    return norm


def same(area):
    return lambda _: area


RULES |= {
    "N2": (claims.norm_correlates_with_gap, lambda: trained_networks(right=False), trained_networks,
           lambda rng: trained_networks(lambda _: rng.normal(), lambda _: rng.exponential()),
           lambda: trained_networks(lambda row: 1 / row["width"], lambda row: row["width"]),
           lambda: trained_networks(lambda row: 1 / row["width"], lambda row: 2 / row["width"])),
    "N3": (claims.factors_change_the_norm, lambda: trained_networks(right=False), trained_networks,
           lambda rng: trained_networks(norm=lambda _: rng.exponential()),
           lambda: trained_networks(norm=factors(1 / 2)), lambda: trained_networks(norm=factors(2))),
    "N4": (claims.norm_tells_wrong_points, lambda: trained_networks(right=False),
           lambda: trained_networks(area=same(0.5)), lambda rng: trained_networks(area=lambda _: rng.normal(0.5, 0.1)),
           lambda: trained_networks(area=same(0.3)), lambda: trained_networks(area=same(0.7))),
    "N5": (claims.larger_networks_are_better, lambda: trained_networks(right=False), trained_networks,
           lambda rng: trained_networks(lambda _: rng.normal(), lambda _: rng.exponential()),
           lambda: trained_networks(lambda row: row["width"], lambda row: row["width"]),
           lambda: trained_networks(lambda row: 1 / row["width"], lambda row: 1 / row["width"])),
}
for name, judge in (("N1", claims.low_near_the_data), ("N6", claims.regions_grow_sparser)):
    RULES[name] = (
        judge,
        # before training the levels dip as they do after it: what geometry alone does
        lambda: around_data(lambda path, near, _: 100 * 10.0 ** (-2 * near * (path != RANDOM))),
        lambda: around_data(lambda *_: 100.0, spread=0),
        lambda rng: around_data(lambda *_: 10.0 ** rng.normal(1, 1)),
        lambda: around_data(dips(-2)), lambda: around_data(dips(2)))
RULES["C8b"] = (claims.layer_domains_grow_with_rate, *RULES["C8a"][1:])


def choices(value_at, **options):
    """Runs at several rates compared at equal loss and at an equal epoch, by sign and by cosine."""
    return pd.concat([sweep(value_at, **options).query("target_loss == 0.1").assign(at=at, measure=measure, kind=kind)
                      for at in ("equal loss, later", "equal epoch, later")
                      for measure in ("within classes", "between classes") for kind in ("sign", "cosine")])


def lengths_at(length_at, seeds=5, spread=0.01):
    """Runs of two data sets, with critical lengths in input space. length_at: (rate, stage) -> length; the stages by
    step, 0 and 1, are at the middle rate."""
    rows = []
    for dataset, seed in itertools.product(("a", "b"), range(seeds)):
        stages = [(rate, 100, loss, 0) for rate in RATES for loss in LOSSES]
        for rate, step, loss, stage in [*stages, (RATES[1], 0, np.nan, 0), (RATES[1], 100, np.nan, 1)]:
            run = {"dataset": dataset, "network": "fc-1", "learning_rate": rate, "seed": seed, "step": step,
                   "target_loss": loss, "space": "input"}
            rows += [run | {"quantity": "critical_length_cosine", "distance": np.nan,
                            "value": length_at(rate, stage) * (1 + spread * seed)},
                     run | {"quantity": "distance_pairs_within_class", "distance": 0.775, "value": 100}]
    return pd.DataFrame(rows)


def in_regimes(rows, off=lambda: 0.0):
    """The table with the two other regimes of pairs, which are off by so much."""
    signs = rows[rows["quantity"].isin(["within_class_sign", "between_classes_sign"])]
    others = [signs.assign(quantity=signs["quantity"] + f"_{regime}",
                           value=[value + off() for value in signs["value"]]) for regime in REGIMES]
    return pd.concat([rows, *others]).assign(target_loss=np.nan)


def depth(space):
    return {"input": 0, "layer 1": 1, "layer 2": 2, "layer 3": 3, "logits": 4}[space]


def grown(step, sides):
    """The stage of runs at which both divisions have blocks of this strength. (With the six super-classes here, the
    living and the non-living could be told apart by chance in one of ten cases.)"""
    return block_tests(lambda _: sides, sides=sides).query(f"step == {step}")


def plateau(within, between):
    """Runs with a stage halfway between the onset, at step 10, and the last one, at 100."""
    rows = runs((1, *within), (0, between[0], between[2]))
    half = table(lambda *_: matrix(np.mean(within), between[1])).query("step == 100").assign(step=55)
    halfway = with_losses(half, train=(0.1,), validation=(0.7,))
    return pd.concat([rows, halfway])


@pytest.mark.parametrize("case", ["untrained", "constant"])
@pytest.mark.parametrize("name", RULES)
def test_nothing_happening_is_not_reproduced(name, case):
    judge, untrained, constant, *_ = RULES[name]
    judged = judge({"untrained": untrained, "constant": constant}[case]())
    assert judged.verdict in ("not reproduced", "not measured", "undecided", "opposite", "partly"), judged.measured
    if judged.verdict == "partly":  # of C1 and C2 some parts are facts of initialisation
        assert name in ("C1", "C2", "C5", "C7", "C15"), judged.measured


@pytest.mark.parametrize("name", RULES)
def test_noise_is_not_reproduced(name):
    judge, _, _, noisy, *_ = RULES[name]
    rng = np.random.default_rng(0)
    found = [judge(noisy(rng)).verdict for _ in range(3 if name in ("C5", "C15") else 20)]
    assert not {"reproduced", "answered", "opposite"} & set(found)


@pytest.mark.parametrize("name", RULES)
def test_the_reverse_is_not_reproduced(name):
    judge, *_, reverse, _ = RULES[name]
    judged = judge(reverse())
    assert judged.verdict not in ("reproduced", "answered"), judged.measured
    if name in ("C6", "C6′", "C8a", "C8b", "C9", "C14", "N2", "N3", "N4", "N5"):
        assert judged.verdict == "opposite" or "reverse" in judged.measured


@pytest.mark.parametrize("name", RULES)
def test_the_ideal_case_is_reproduced(name):
    judge, *_, ideal = RULES[name]
    judged = judge(ideal())
    assert judged.verdict == ("answered" if name in ("C15", "C16") else "reproduced"), judged.measured
    assert judged.claim == name and all(part.name in judged.measured for part in judged.parts)


# Faults that the first rules had

def test_c1_counts_training_and_not_stages():
    early = runs((1, 1, -0.5), (-0.5, 0, 0))  # positive at two of three stages, for a few of 100 steps
    share = claims.within_class_positive(early).parts[1]
    assert share.mean == pytest.approx(0.1 + 0.9 * 1 / 1.5, abs=0.02)
    late = claims.within_class_positive(runs((1, -0.2, -0.5), (-0.5, 0, 0))).parts[1]
    assert late.mean == pytest.approx(0.1 * 1 / 1.2, abs=0.02) and late.outcome() == "reverse"


@pytest.mark.parametrize("seeds", [3, 5, 12])
def test_c2_is_the_same_for_any_number_of_runs(seeds):
    agreements = []
    for k in range(20):
        judged = claims.between_classes_grows(runs((1, 1, 1), (0, 0.3, 0.6), seeds=seeds,
                                                   start=lambda seed, k=k: random_signs(seed + 100 * k)))
        agreements.append(judged.parts[2].mean)
    assert np.mean(agreements) == pytest.approx(0.5, abs=0.06)


def test_c3_asks_for_a_plateau_and_for_a_fall_towards_0():
    noisy = plateau((0.9, 0.3), (0.4, 0.4, 0.1))
    rng = np.random.default_rng(0)
    half = noisy["step"].eq(55) & noisy["quantity"].eq("between_classes_sign")
    noisy.loc[half, "value"] += rng.normal(0, 0.5, half.sum())  # no change could be seen
    parts = claims.overfitting_loses_stiffness(noisy.assign(dataset="a")).parts
    assert parts[1].outcome() == "undecided"
    away = claims.overfitting_loses_stiffness(plateau((0.9, 0.3), (-0.2, -0.2, -0.8)).assign(dataset="a")).parts
    assert away[2].outcome() == "reverse"  # it falls, and away from 0


def test_c4_is_not_passed_at_initialisation_nor_by_a_network_that_rises():
    assert claims.permuted_labels_negative(runs((1, 1, 1), (-1.2,) * 3, UNTRAINED)).verdict == "not reproduced"
    rising = claims.permuted_labels_negative(runs((1, 1, 1), (-0.9, 0.4, -1.2)))
    assert rising.parts[1].outcome() == "reverse"  # positive stiffness developed on the way


def test_c6_sees_a_curve_that_turns_down():
    def turning(dataset, loss, rate):
        return {1e-4: -0.2, 1e-3: 0.3, 1e-2: 0.1}[rate]
    judged = claims.higher_rate_is_stiffer(sweep(turning))
    found = dict(zip([part.name for part in judged.parts], outcomes(judged.parts)))
    assert judged.verdict == "partly" and judged.held == "4 of 8 parts"
    assert found["rises (a, loss 0.3)"] == "holds" and found["does not turn down (a, loss 0.3)"] == "fails"


def test_rates_that_span_less_than_a_decade_are_not_judged():
    made = sweep(lambda d, loss, rate: 0.1 * np.log10(rate))
    few = made[made["learning_rate"].isin(RATES[:2]) | (made["dataset"] == "a")]
    near = (few["dataset"] == "b") & (few["learning_rate"] > RATES[0])
    few = few.assign(learning_rate=few["learning_rate"].mask(near, 3 * RATES[0]))
    names = [part.name for part in claims.higher_rate_is_stiffer(few).parts]
    assert names and all("(a, " in name for name in names)
    judged = claims.higher_rate_is_stiffer(few[few["dataset"] == "b"])
    assert judged.verdict == "not measured" and "span a factor of ten" in judged.measured


def test_c7_judges_different_classes_apart():
    rows = spaces(lambda *_: 0.0, lambda space, _: 1 - 0.2 * depth(space))
    rows.loc[rows["quantity"] == "distance_curve_within_class_sign", "value"] = 0.9
    rows.loc[rows["quantity"] == "distance_curve_all_sign", "value"] = 0.1  # as 1 in 4 pairs are of one class
    judged = claims.near_pairs_are_stiff(rows)
    found = dict(zip([part.name for part in judged.parts], outcomes(judged.parts)))
    assert found["all pairs (a)"] == found["pairs of one class (a)"] == "holds"
    assert found["pairs of different classes (a)"] == "reverse"


def test_c9_sees_a_length_that_grows_again():
    turning = {1e-4: 1.5, 1e-3: 1.0, 1e-2: 1.3}
    parts = claims.critical_length_shrinks(*[lengths_at(lambda rate, _: turning[rate])] * 2).parts
    low, high = (next(part for part in parts if part.name == f"shrinks at {where} rates (a)")
                 for where in ("low", "high"))
    assert low.mean == pytest.approx(np.log(1 / 1.5)) and low.outcome() == "holds"
    assert high.mean == pytest.approx(np.log(1.3)) and high.outcome() == "reverse"


def test_c9_is_not_judged_where_no_line_falls():
    assert claims.critical_length_shrinks(*[lengths_at(lambda *_: np.nan)] * 2).verdict == "not measured"
    made = lengths_at(lambda rate, stage: np.nan if rate == RATES[-1] else 1.0)
    assert not any("high rates" in part.name for part in claims.critical_length_shrinks(made, made).parts)


def test_c13_is_not_judged_before_anything_is_learnt():
    untrained = residual(1, (-0.5, 0.5), losses=(2.3, 1.2))
    judged = RULES["C13"][0](untrained)
    assert judged.verdict == "not measured" and "a: not judged, as a network did not get far enough" in judged.measured
    ideal = residual(0.8, (-0.5, 0.1))
    short = ideal[(ideal["network"] != "resnet-20") | ideal["target_loss"].isna()]  # it never got there
    judged = claims.picture_holds_for_a_residual_network({"a": short, "b": ideal}, "resnet-20", "cnn-1")
    assert judged.verdict == "reproduced" and {part.name[-3:] for part in judged.parts} == {"(b)"}
    far = ideal.copy()
    far.loc[(far["network"] == "cnn-1") & (far["quantity"] == "within_class_sign"), "value"] -= 0.5
    judged = RULES["C13"][0](far)
    assert judged.verdict == "partly" and "fails: within classes, as in" in "; ".join(
        f"{outcome}: {part.name}" for part, outcome in zip(judged.parts, outcomes(judged.parts)))


def test_c11_judges_no_network_that_has_not_learnt_and_no_fall_without_over_fitting():
    guessing = runs((1, 0.9, 0.5), (-0.5, 0, 0.2), {"train": (5.0, 1.5, 1.4), "validation": (5.0, 1.5, 1.6)})
    assert claims.transformers_show_the_pattern({"a": guessing}).verdict == "not measured"
    improving = runs((1, 0.9, 0.5), (-0.5, 0, 0.2), {"train": (2.3, 0.5, 0.1), "validation": (2.3, 0.9, 0.5)})
    ideal = runs((1, 0.9, 0.5), (-0.5, 0, 0.2))
    judged = claims.transformers_show_the_pattern({"a": improving, "b": ideal, "c": guessing})
    assert len(judged.parts) == 7 and "a: the validation loss is lowest at the last stage" in judged.note
    assert "c: not judged" in judged.note


def test_c11_asks_for_more_than_stays_from_initialisation():
    # what an untrained network has: within classes above between classes, by label geometry alone
    judged = claims.transformers_show_the_pattern({"a": runs((1, 1, 1), (-0.5,) * 3)})
    found = dict(zip([part.name for part in judged.parts], outcomes(judged.parts)))
    assert judged.verdict != "reproduced" and found["between classes it grows (a)"] == "fails"
    assert found["between classes it becomes positive (a)"] != "holds"
    assert found["within classes it falls with over-fitting (a)"] == "fails"


def test_c12_judges_each_version_by_its_own_sizes():
    tables = {"a": probes(lambda *_: 0.01, sizes=(150, 500)).assign(class_a=9)}
    assert claims.probe_images_suffice(tables).verdict == "reproduced"
    first = claims.first_probe_sets_suffice(tables)  # the error of 150 images is larger
    assert first.verdict == "reproduced" and first.parts[0].mean > claims.probe_images_suffice(tables).parts[0].mean
    large = {"a": probes(lambda *_: 0.02, sizes=(150, 500)).assign(class_a=9)}
    assert claims.probe_images_suffice(large).verdict == "reproduced"
    assert claims.first_probe_sets_suffice(large).verdict in ("not reproduced", "opposite")
    without = {"a": probes(lambda *_: 0.02, sizes=(500,)).assign(class_a=9)}
    assert claims.first_probe_sets_suffice(without).verdict == "not measured"


def test_c14_leaves_out_what_has_no_room_to_be_exceeded():
    judged = claims.locality_stiffens(networks(by_kind(0.98, 1), by_kind(0.4, 0.1)), PAIRS)
    assert judged.verdict == "reproduced" and "4 because the fully connected network is at the ceiling" in judged.note
    below = claims.locality_stiffens(networks(by_kind(0.8, 1), by_kind(0.4, 0.1)), PAIRS)
    assert below.held == "4 of 8 parts, 4 the reverse"
    assert claims.locality_stiffens(networks(by_kind(0.9, 1), by_kind(0.4, 0.1), runs=1), PAIRS).verdict == (
        "not measured")


def test_c16_tells_of_domains_that_outgrow_the_length_scale_and_of_those_without_end():
    growing = harmonic(lambda scale, step: scale * (1 + (step == 100)))
    judged = claims.domain_follows_length_scale(growing)
    found = dict(zip([part.name for part in judged.parts], outcomes(judged.parts)))
    assert judged.verdict == "partly" and found["equal, at training loss 0.2"] == "holds"
    assert found["equal, after 100 steps"] == "fails" and "above 1.1 for degree 1, 2, 4" in judged.note
    changed = claims.domain_follows_length_scale(harmonic(lambda scale, step: scale * (0.3 if step == 0 else 1)))
    assert {part.name: part.outcome() for part in changed.parts}["as before training, at training loss 0.2"] == "fails"
    rows = harmonic(lambda scale, _: scale)
    of_one = (rows["degree"] == 1) & (rows["quantity"] == "angle_stiff_domain_size_sign")
    rows.loc[of_one, "value"] = np.nan  # the curve starts positive
    endless = claims.domain_follows_length_scale(rows)
    assert endless.verdict == "answered" and "above 1.1 for degree 1" in endless.note
    assert claims.domain_follows_length_scale(rows[rows["degree"] < 3]).verdict == "not measured"


def test_c17_compares_the_same_batches_in_both_networks_by_the_cosine_where_the_sign_has_no_room():
    rows = ordered(lambda order, _: 0.5 * (order != "shuffled"),
                   lambda order, of: 0.98 if of == "by class" else 0.5 * (order == of))
    rows.loc[(rows["quantity"] == neighbours_in("by class", "cosine")) & (rows["order"] == "shuffled"), "value"] -= 0.4
    judged = claims.order_leaves_its_mark({"a": rows})
    assert judged.verdict == "reproduced" and [(part.name, round(part.mean, 6)) for part in judged.parts] == [
        ("between classes, by class (a)", 0.5), ("neighbours in time, by class, cosine (a)", 0.4),
        ("between classes, hard first (a)", 0.5), ("neighbours in time, hard first (a)", 0.5)]
    late = claims.order_leaves_its_mark({"a": ordered(lambda order, step: (order != "shuffled") * (step == 0),
                                                      lambda *_: 0.0)})
    assert late.verdict == "not reproduced"  # what is there before training is not counted
    alone = ordered(lambda *_: 0.0, lambda *_: 0.0, orders=("shuffled",))
    assert claims.order_leaves_its_mark({"a": alone}).verdict == "not measured"


def test_the_error_of_the_probe_set_widens_an_interval():
    rows = runs((1, 0.9, 0.8), (-0.5, 0, 0.2))
    errors = pd.DataFrame([{"step": 0, "seed": seed, "quantity": "within_class_sign_error", "probe_images": images,
                            "value": error} for seed in range(5) for images, error in ((50, 0.9), (500, 0.3))])
    narrow, wide = (claims.within_class_positive(some).parts[0] for some in (rows, pd.concat([rows, errors])))
    assert wide.error == pytest.approx(np.hypot(narrow.error, 0.3)) and wide.mean == narrow.mean


def test_a_number_is_drawn_with_its_interval_and_the_papers():
    svg = claims.picture(Part("", 0.5, 0.01, 4, paper=0.3))
    assert svg.count("<circle") == 2 and 'class="interval"' in svg and "the paper +0.30" in svg
    assert claims.picture(Part.over("", [0.5])).count("<circle") == 1


def test_a_network_that_has_not_learnt_its_images_is_not_judged():
    for judge in (claims.low_near_the_data, claims.regions_grow_sparser):
        judged = judge(around_data(dips(2), accuracy=0.5))
        assert judged.verdict == "not measured" and "a training accuracy stayed below 0.9" in judged.note


def test_n1_gives_the_papers_factors():
    parts = {part.name: part for part in claims.low_near_the_data(around_data(dips(2))).parts}
    assert 10 ** parts["norm dip, different classes"].paper == pytest.approx(0.1 / 5000)
    assert 10 ** parts["norm higher at random"].paper == pytest.approx(20_000 / 0.1)
    assert 10 ** parts["transitions dip, different classes"].paper == pytest.approx(0.406, abs=0.001)
    assert parts["norm dip, one class"].mean == pytest.approx(-2, abs=0.1)
    assert parts["norm higher at random"].mean == pytest.approx(2, abs=0.1)


def test_n1_needs_the_size_of_an_effect():
    judged = claims.low_near_the_data(around_data(dips(0.2)))  # a factor of 1.6: enough for transitions alone
    found = dict(zip([part.name for part in judged.parts], outcomes(judged.parts)))
    assert found["norm dip, different classes"] == "fails" and found["transitions dip, different classes"] == "holds"


def test_n6_asks_for_more_than_fewer_boundaries_everywhere():
    fewer = claims.regions_grow_sparser(around_data(lambda path, near, trained: 50.0 if trained else 100.0))
    assert outcomes(fewer.parts) == ["holds", "fails", "fails"] and fewer.verdict == "partly"
