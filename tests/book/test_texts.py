"""The paragraphs and tables of the pages: their numbers are those of the runs, also where runs ended early."""

import numpy as np
import pandas as pd
import pytest
from tables import (
    LOSSES,
    PAIRS,
    RATES,
    STEPS,
    both_precisions,
    by_kind,
    growth,
    harmonic,
    matrix,
    networks,
    ordered,
    probes,
    residual,
    spaces,
    super_class_table,
    super_classes,
    sweep,
    table,
)

from stiffness_book import blocks, claims, harmonics, summaries, texts, words

NETWORKS = [name for pair in PAIRS for name in pair]


def measured(quantity, *values):
    """Rows of one quantity, a value for each of STEPS, in five runs."""
    return pd.DataFrame([{"step": step, "seed": seed, "quantity": quantity, "value": value}
                         for step, value in zip(STEPS, values) for seed in range(5)])


def run(within=(0.9, 0.8, 0.7), between=(0.0, 0.2, -0.4), validation=(2.0, 0.5, 0.9), training=(2.0, 0.4, 0.001)):
    """A table of five runs whose validation loss is lowest at the second of three stages."""
    made = table(lambda step, _: matrix(within[STEPS.index(step)], between[STEPS.index(step)]))
    return pd.concat([made, measured("validation_loss", *validation), measured("train_loss", *training),
                      measured("validation_accuracy", 0.1, 0.8, 0.75),
                      measured("train_accuracy", 0.1, 0.9, 1)],
                     ignore_index=True).assign(target_loss=np.nan)


def cells(text):
    """The rows of a Markdown table without its head, as lists of cells."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert set(lines[1]) <= set("|- ") and len({line.count("|") for line in lines}) == 1
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def test_losses_at_the_onset_of_over_fitting():
    said = texts.losses_at_the_onset("mnist", run())
    assert said.startswith("**mnist.** The validation loss is lowest after 10 steps, at 0.50, where")
    assert "the training loss is 0.4; after" in said
    assert "after 100 steps they are 0.90 and 0.001" in said and "80.0\N{NO-BREAK SPACE}%" in said
    assert "do not over-fit" not in said
    assert texts.losses_at_the_onset("mnist", run(validation=(2, 0.9, 0.5))).endswith("So these runs do not over-fit.")


def test_whether_one_class_helps_another():
    for between, word in ((0.3, "yes"), (-0.3, "no, it harms them"),
                          (-0.01, "no, it harms them about as often as it helps")):
        assert f"By sign, {word}: on x, stiffness" in texts.help_between_classes("x", run(between=(0, 0, between)))


def test_stiffness_from_the_onset_on():
    rows = cells(texts.stiffness_after_the_onset(run()))
    assert [row[0] for row in rows] == ["within classes, sign", "between classes, sign", "within classes, cosine",
                                        "between classes, cosine"]
    assert rows[0][1].startswith("+0.80 [") and rows[0][2].endswith(", 10 steps") and rows[0][5] == "never"
    assert rows[1][4].startswith("−0.40 [")
    assert cells(texts.stiffness_after_the_onset(run(between=(0, 0.2, 0))))[1][5] == "100 steps"


def test_between_class_stiffness_below_0_at_the_onset_is_noted():
    assert not texts.negative_at_the_onset({"a": run()})
    assert "(b)" in texts.negative_at_the_onset({"a": run(), "b": run(between=(0, -0.1, -0.4))})


def test_single_precision_beside_exact():
    said = texts.lowest_in_single_precision("mnist", both_precisions())
    assert "is +0.40 [unknown, unknown], after 10 steps; without rounding it is +0.90" in said


def test_summaries_of_class_figures():
    said = texts.over_fitting_within_classes(run())
    assert "at 0.500, and ends at 0.900, while within-class stiffness goes from +0.80" in said
    said = texts.cosines_from_first_to_last(run())
    assert "from +0.900 [" in said and "to −0.400 [" in said
    said = texts.three_stages(run())
    assert "after 100 steps, 75.0" in said and "sign stiffness is +0.90" in said and "between them +0.00" in said


def test_pairs_of_classes():
    C = matrix(1, 0.1) + np.diag([-0.5, 0, 0.3], 1) + np.diag([-0.5, 0, 0.3], -1)
    matrices = summaries.mean_matrices(table(lambda *_: C), ["cat", "dog", "car", "ship"])
    assert texts.harmful_pairs(matrices, 100).startswith("After 100 steps 1 of 6 pairs of classes harm each other")
    assert "The lowest are cat and dog −0.40" in texts.harmful_pairs(matrices, 100)
    said = texts.extreme_pairs(matrices, 100)
    assert "is car and ship (+0.40" in said and said.split("lowest")[1].startswith(" cat and dog (−0.40")


def test_a_network_that_gives_every_image_the_same_answer():
    assert "still tell images apart" in texts.the_same_of_every_image(run(), 4)
    said = texts.the_same_of_every_image(run(within=(0.2, 0.999, 1), between=(0, -0.3, -0.333)), 4)
    assert "from step 10 on" in said and "−1/3, −0.333; measured is −0.333 [" in said


def test_labels_learnt_by_heart():
    said = texts.labels_by_heart(run(), 2000)
    assert said.startswith("The networks trained on 2,000 images know 100.0")
    assert "+0.70 [" in said and "−0.40 [" in said


def test_super_classes():
    names, living = super_classes()
    made = super_class_table(lambda step: 0.3 if step == 100 else 0.1)
    by_sign = blocks.stages(blocks.through_training(made, names, living, permutations=200))
    rows = cells(texts.block_tests(by_sign))
    assert [row[0] for row in rows] == ["0", "10", "100", "1,000"] and rows[2][1].startswith("+0.289 [")
    assert texts.differences_in_words(by_sign).split(", ")[2] == "0.289 after 100 steps"
    matrices, _ = blocks.arrangements(made, [f"class {i}" for i in range(12)], names, living)
    said = texts.strongest_super_classes(by_sign, matrices, names, blocks.agreement(made, names, permutations=20))
    assert said.startswith("The super-classes' difference is largest after 100 steps.")
    assert "Rand index of +1.00;" in said
    assert texts.validation_at_the_end(run()).startswith(
        "The validation loss is lowest after 10 steps, at 0.50; after 100 it is 0.90, and 75.0")


def rates(slopes=None):
    made = sweep(growth(slopes or {"a": 0.1, "b": 0.2}))
    return pd.concat([made, made.assign(quantity="between_classes_cosine", value=-made["value"]),
                      made.assign(quantity="train_loss", value=made["target_loss"] - 0.01)], ignore_index=True)


def test_where_the_runs_of_a_sweep_stopped():
    made = rates()
    stops = summaries.stops(made, {"a": LOSSES, "b": LOSSES})
    assert cells(texts.where_runs_stopped(stops, 5))[0] == ["a", "0.3", "0.290 to 0.290", "100 and 100", "15 of 15"]
    assert not texts.not_reached(stops, 5)
    few = made[(made["learning_rate"] < 1e-2) | (made["seed"] < 2)]
    stops = summaries.stops(few, {"a": LOSSES, "b": (0.3, 0.01)})
    assert cells(texts.where_runs_stopped(stops, 5))[3] == ["b", "0.01", "none", "none", "0 of 15"]
    assert "a, loss 0.3, rate 0.01: 2 of 5 runs" in texts.not_reached(stops, 5)


def test_rates():
    said = texts.stiffest_rates(rates({"a": 0.1, "b": -0.2}))
    assert said.startswith("The highest rate is the stiffest in 2 of the 4 lines.") and "0.0001 (b, loss 0.3)" in said
    assert not texts.rate_against_loss(rates())  # stiffness is the same at both losses
    by_loss = rates().assign(value=lambda rows: rows["value"] - rows["target_loss"])
    assert "by only 0.200 on average" in texts.rate_against_loss(by_loss)
    assert "changes it by +0.300, which is 1.5 times as much" in texts.rate_against_loss(by_loss)
    said = texts.slopes_by_cosine(rates())
    assert "above 0 for 0 of the 4 lines and below for 4; the slopes are between −0.200 and −0.100" in said


def test_distances():
    made = spaces(lambda _, distance: 0.6 - 10 * distance, lambda *_: 0.05)
    curves = summaries.distance_curves(made, ["dataset"])
    medians = summaries.medians(summaries.domain_sizes(made), ["dataset", "space", "quantity"])
    text = texts.sizes_of_reach(medians, curves)
    rows = cells(text)
    assert rows[0] == ["a", "input", "0.05 (+0.95)", "50.0\N{NO-BREAK SPACE}%", "0.05 (+0.95)", "0.05 (+0.95)"]
    assert len(rows) == 10 and "in 0 of 30 curves of all pairs" in text
    assert not texts.runs_at_the_loss(made, ["a", "b"], 3)
    assert "a: 3 of 4, c: 0 of 4" in texts.runs_at_the_loss(made, ["a", "c"], 4)
    assert "at least −0.14 at every distance" in texts.mix_of_pairs(curves)
    assert "it is +0.36 to +0.36 among the nearest" in texts.cosines_near_and_far(curves)
    assert "in 0 of 10 spaces" in texts.positive_again(curves)
    rising = summaries.distance_curves(spaces(lambda _, distance: 10 * distance - 0.5, lambda *_: 0.05), ["dataset"])
    assert "in 10 of 10 spaces" in texts.positive_again(rising)


def test_sizes_against_the_rate():
    made = spaces(lambda *_: 0.5, lambda _, rate: 30 * rate, rates=RATES)
    sizes = summaries.domain_sizes(made)
    rows = cells(texts.sizes_against_rate(sizes))
    assert rows[0] == ["stiff domain (v1)", "input", "2", "0", "0", "0 of 18"] and len(rows) == 15
    between = made[made["quantity"] == "stiff_domain_size_sign"].assign(quantity="between_classes_sign", space=None)
    with_summary = pd.concat([made, between.drop_duplicates(["dataset", "learning_rate", "seed"])])
    assert "+1.00 (input)" in texts.domains_follow_stiffness(with_summary, sizes)
    assert "in 6 of 18 cases" in texts.beyond_the_pairs(made, sizes)  # at the highest rate 0.3 is beyond 0.15
    assert "shrinks, in 0 of 2 cases of data set and loss; both grow in 2" in texts.both_versions_at_once(sizes)


def test_networks():
    made = networks(by_kind(0.9, 1.0), by_kind(0.4, 0.1))
    reached = made[made["quantity"] == "within_class_sign"]
    made = pd.concat([made, reached.assign(quantity="train_loss", value=0.29),
                      reached.assign(quantity="validation_accuracy", value=0.5)])
    few = made[(made["network"] != "fc-2") | (made["target_loss"] > 0.1)]
    rows = cells(texts.where_networks_stopped(few, NETWORKS, LOSSES, 3))
    assert rows[0][:5] == ["cnn-1", "0.3", "3 of 3", "100", "0.290"] and rows[-1][2:] == ["0 of 3", "–", "–", "–"]
    assert texts.networks_that_fell_short(few, NETWORKS, LOSSES, 3).endswith("every loss: fc-2, loss 0.1.")
    assert not texts.networks_that_fell_short(made, NETWORKS, LOSSES, 3)
    assert "in 4 of 8 comparisons, and less stiff in 4" in texts.convolutional_by_cosine(
        summaries.network_differences(made, PAIRS))
    assert texts.convolutional_is_stiffer(summaries.network_differences(made, PAIRS)).endswith(
        "In part: between classes they are stiffer in 4 of 4 comparisons at equal training loss, and less stiff in 0; "
        "within classes they are stiffer in 0 of 4 comparisons at equal training loss, and less stiff in 4.")
    assert "in 4 of 4 comparisons" in texts.ceiling_of_the_sign(made, ["fc-1", "fc-2"])


def test_a_residual_network_beside_others():
    made = residual(0.8, (-0.5, 0.1))
    names = ["resnet-20", "cnn-1", "fc-1"]
    tables = {"a": made, "b": made[made["target_loss"].isna()]}
    verdict = claims.picture_holds_for_a_residual_network(tables, *names[:2])
    said = texts.residual_in_a_sentence(tables, *names[:2], verdict)
    assert said.startswith("**Does a residual network show the same pattern?** Yes. ")
    assert ("on a stiffness between classes goes from −0.50 to +0.10 (convolutional: +0.10), and within classes from "
            "+0.80 to +0.80 (convolutional: +0.80); on b it reached none of the training losses.") in said
    rows = cells(texts.sizes_by_depth({"a": made}, [*names, "other"]))
    assert rows[0] == ["a", "resnet-20", "4", "0.40", "0.10", "−1.00", "−1.00", "0 of 12"] and len(rows) == 3
    rows = cells(texts.with_another_initialisation({"a": made}, "resnet-20", ["cnn-1"]))
    assert [row[:4] for row in rows] == [["a", "start", "resnet-20", "2.30"], ["a", "start", "cnn-1", "2.30"],
                                         ["a", "loss 0.1", "resnet-20", "0.10"], ["a", "loss 0.1", "cnn-1", "0.10"]]
    assert rows[3][4].startswith("+0.80 [") and rows[3][5].startswith("+0.10 [")
    assert not texts.with_another_initialisation({"a": made}, "resnet-20", ["none"])
    runs = {"resnet-20": 3, "fc-1": 5}
    rows = cells(texts.where_networks_stopped(made, list(runs), [0.1], runs))
    assert [row[2] for row in rows] == ["3 of 3", "3 of 5"]
    assert texts.networks_that_fell_short(made, list(runs), [0.1], runs).endswith("loss: fc-1, loss 0.1.")


def test_changes_of_logarithms_as_percent():
    assert [words.by_percent(np.log(value)) for value in (1.12, 0.3, 1.001, 0.999)] == [
        f"{number}\N{NO-BREAK SPACE}%" for number in ("+12", "−70", "+0", "+0")]


def test_images_against_seeds():
    made = pd.concat([probes(lambda *_: 0.5), table(lambda *_: matrix(0.5, 0.1)).assign(target_loss=np.nan)])
    made = made.astype({"probe_images": "Int32"})
    text, sentence = texts.images_against_seeds({"a": made})
    assert cells(text)[0] == ["a", "within classes", "500", "0.5000", f"{np.std([-2, -1, 0, 1, 2], ddof=1) / 100:.4f}"]
    assert "does: a, within classes; a, between classes." in sentence


@pytest.mark.parametrize("write", [
    texts.over_fitting_within_classes, texts.cosines_from_first_to_last, texts.three_stages,
    lambda rows: texts.losses_at_the_onset("a", rows), texts.stiffness_after_the_onset,
    lambda rows: texts.the_same_of_every_image(rows, 4), lambda rows: texts.labels_by_heart(rows, 100)])
def test_runs_that_diverged_do_not_end_a_text(write):
    early = run()[lambda rows: (rows["seed"] > 0) | (rows["step"] == 0)]
    ended = pd.DataFrame([{"step": 150, "seed": 0, "quantity": "diverged", "value": 1.0, "target_loss": np.nan}])
    said = write(pd.concat([early, ended], ignore_index=True))
    assert "nan" not in said and "150" not in said
    first = run()[lambda rows: rows["step"] == 0]
    assert "nan" not in write(pd.concat([first, *(ended.assign(seed=seed) for seed in range(5))], ignore_index=True))


def test_small_numbers_as_markdown():
    assert [words.small(value) for value in (0.36, 2.0, 1.9e-5, 0.0)] == ["0.36", "2", r"$1.9 \times 10^{-5}$", "0"]


def test_regimes_of_pairs_are_compared_where_they_differ_most():
    made = run()
    signs = made[made["quantity"].str.fullmatch("(within_class|between_classes)_(sign|cosine)")]
    cosines = signs.assign(quantity=signs["quantity"].str.replace("sign", "cosine"))
    both = pd.concat([signs, cosines])
    off = {0: 0.0, 10: -0.2, 100: 0.1}
    others = [both.assign(quantity=both["quantity"] + f"_{regime}", value=both["value"] + both["step"].map(off))
              for regime in ("train_train", "train_validation")]
    made = pd.concat([made, cosines, *others]).assign(target_loss=np.nan)
    rows = cells(texts.largest_differences({"a": made}))
    assert len(rows) == 4 and all(row[3] == "−0.20, 10 steps" for row in rows)
    told = texts.regimes_alike({"a": made})
    assert "Not everywhere: by sign, no mean differs by more than 0.20 from" in told


def test_stiff_domains_beside_the_length_scale():
    rows = harmonic(lambda scale, step: 1.03 * scale if step < 100 else 2 * scale)
    moments = harmonics.moments(rows)
    assert list(moments) == ["before training", "at training loss 0.2", "after 100 steps"]
    sizes = pd.concat([harmonics.domains(rows[chosen]).assign(moment=name) for name, chosen in moments.items()])
    in_input = sizes[sizes["space"] == "input"]
    said = texts.domain_over_scale(in_input)
    assert "Not as large as the length scale of the labels: the size" in said and "is 1.03 at training" in said
    assert said.endswith("2.00 after 100 steps, 1.03 before training.")
    assert "After 100 steps the stiff domain has outgrown the length scale, by a tenth or more, for degree 1 (median "\
           "ratio 2.00), 2 (median" in texts.outgrown(in_input)
    assert "no degree has" in texts.outgrown(in_input[in_input["moment"] == "before training"])
    early = texts.domain_over_scale(in_input[in_input["moment"] != "after 100 steps"])
    assert "As large as the length scale of the labels, and they are that before training: the size" in early
    found = cells(texts.domains_by_degree(in_input))
    assert found[1][:2] == ["2", "0.96"] and found[1][2].startswith("0.98 [") and found[1][4].startswith("1.91")
    assert [row[0] for row in cells(texts.order_in_spaces(sizes))] == ["input", "layer 1"]
    assert set(cells(texts.order_in_spaces(sizes))[0][1:]) == {"+1.00"}
    assert cells(texts.critical_lengths_by_degree(rows, moments))[2] == ["4", "0.14", "5.50", "5.50", "5.50"]
    endless = in_input.assign(size=np.where(in_input["degree"] == 1, np.inf, in_input["size"]))
    assert cells(texts.domains_by_degree(endless))[0][2] == "–, 5 without end"


def test_which_degree_is_learnt_first():
    rows = harmonic(lambda scale, _: scale)
    rows.loc[rows["target_loss"].notna(), "step"] += rows["degree"]
    table, told = texts.steps_to_losses(rows).split("\n\n")
    assert cells(table) == [["1", "31"], ["2", "32"], ["4", "34"]] and "is +1.00, averaged" in told
    one = rows[~((rows["degree"] == 4) & (rows["seed"] == 0) & rows["target_loss"].notna())]
    assert cells(texts.steps_to_losses(one).split("\n\n")[0])[2] == ["4", "34 (4 of 5 runs)"]
    assert texts.steps_to_losses(rows[rows["target_loss"].isna()]) == "No training loss was reached."
    assert texts.half_learnt(rows, [1, 8]).endswith("over the runs: degree 1 after 100 steps; degree 8 at no stage.")


def test_what_orders_of_the_data_do():
    tables = {"a": ordered(lambda order, _: 0.1 + 0.5 * (order == "by class"), lambda order, of: 0.5 * (order == of))}
    said = texts.order_and_stiffness(tables, claims.order_leaves_its_mark(tables))
    assert "in 3 of 4 comparisons" in said
    assert "it is +0.10 [+0.08, +0.12] shuffled, +0.60 [+0.58, +0.62] by class, +0.10 [" in said
    assert said.endswith("(a).")
    changes = cells(texts.changes_by_order(tables))
    assert [row[1:4] for row in changes] == [["by class", "+0.50", "+0.50"], ["hard first", "+0.00", "+0.00"]]
    neighbours = cells(texts.neighbours_by_order(tables, "sign"))
    assert neighbours[1][1] == "by class" and [cell[:5] for cell in neighbours[1][2:]] == ["+0.50", "+0.00", "+0.00"]
    outcomes = cells(texts.outcomes_by_order(tables))
    assert outcomes[0] == ["a", "shuffled", "0.100", "0.100", "60.0\N{NO-BREAK SPACE}%",
                           "15.0\N{NO-BREAK SPACE}% to 60.0\N{NO-BREAK SPACE}%"]


def of_transformers(**ends):
    """Runs of a transformer, as `run`, with what is measured without its head."""
    made = run(**ends)
    summaries_of = made[made["quantity"].str.match("(within_class|between_classes)_(sign|cosine)$")]
    return pd.concat([made, summaries_of.assign(quantity=summaries_of["quantity"] + "_body",
                                                value=summaries_of["value"] / 2),
                      measured("head_share", 0.9, 0.5, 0.25), measured("embedding_share", 0.05, 0.1, 0.125),
                      measured("majority_accuracy", 0.35, 0.35, 0.35)], ignore_index=True)


def test_transformers_from_first_to_last():
    tables = {"from scratch": of_transformers(), "pretrained": of_transformers()}
    said = texts.pattern_of_transformers(tables, "MNLI", claims.transformers_show_the_pattern(tables))
    assert said.startswith("**Does a transformer behave like the networks on images?** In part. ")
    assert "On MNLI: *From scratch*, before training, after 10 steps (lowest validation loss) and after 100" in said
    assert said.count("within classes is +0.90, +0.80 and +0.70 by cosine, and between classes +0.00, +0.20 and ") == 2
    turning = of_transformers(between=(-0.8, -1.0, -0.3))
    said = texts.pattern_of_transformers({"a": turning}, "MNLI", claims.transformers_show_the_pattern({"a": turning}))
    assert said.endswith("by sign. Between classes it grows only while the network over-fits.")


def test_accuracies_beside_the_majority():
    rows = cells(texts.accuracy_beside_the_majority({"from scratch": of_transformers()}))
    assert [row[1] for row in rows] == ["0", "10", "100"]  # the lowest validation loss is after 10 steps
    assert rows[1][2:] == ["0.400", "0.500", *(f"{share}\N{NO-BREAK SPACE}%" for share in ("90.0", "80.0", "35.0"))]
    best_at_the_end = of_transformers(validation=(2.0, 0.9, 0.5))
    assert len(cells(texts.accuracy_beside_the_majority({"a": best_at_the_end}))) == 2


def test_a_network_that_learns_by_heart_is_told():
    learnt = of_transformers()
    by_heart = learnt.assign(value=learnt["value"].mask(learnt["quantity"] == "validation_accuracy", 0.36))
    told = texts.what_transformers_learn({"from scratch": by_heart, "pretrained": learnt}).split("\n\n")
    assert told[0].startswith("*From scratch*: after 100 steps 100.0\N{NO-BREAK SPACE}% of the training pairs are")
    assert "36.0\N{NO-BREAK SPACE}% of new ones; the commonest class alone would give 35.0" in told[0]
    assert "learns its training pairs by heart" in told[0] and "by heart" not in told[1]


def test_stiffness_with_and_without_the_head():
    rows = cells(texts.with_and_without_the_head({"from scratch": of_transformers()}))
    assert len(rows) == 3
    assert rows[-1][1:] == ["100", "+0.70 / +0.35", "−0.40 / −0.20", "+0.70 / +0.35", "−0.40 / −0.20",
                            "25.0\N{NO-BREAK SPACE}%", "12.5\N{NO-BREAK SPACE}%"]


def test_how_much_of_mnli_is_at_hand():
    def told(train, validation, dataset="glue/mnli"):
        return texts.pairs_at_hand(pd.DataFrame({"split_sizes": [{"train": train, "validation": validation}]}), dataset)

    assert told(392_702, 9_815).endswith("9,815. That is all of MNLI.")
    assert "Four in five of them serve for training, which is 2.0\N{NO-BREAK SPACE}% of" in told(7_876, 1_939)
    assert told(1_000, 9_815).endswith("MNLI has 392,702 training pairs and 9,815 matched validation pairs.")
    assert told(3_600, 960, "grammar") == "The networks train on 3,600 pairs and are validated on 960."
