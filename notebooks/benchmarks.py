# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Speed and memory
#
# **What this page shows.** Stiffness needs the inner product of every pair of loss gradients. The direct way computes
# all gradients, each with as many entries as the network has weights, and multiplies them. `gradient_gram` computes the
# same matrix from the inputs and the output gradients of each layer, without forming gradients wherever that is
# cheaper. Here it is compared with the plain definition and with what other libraries offer for the same task.
#
# Each method runs in a process of its own, with the same weights and examples in 32-bit floats, on the CPU. The time is
# the median of the runs after a first one, from arrays of examples to the matrix as an array; the shortest and the
# longest run stand beside it. The memory is the peak memory of the process, including its libraries. The matrix of
# every method is compared with ours.
#
# | method | what it does |
# |---|---|
# | closed form | `gradient_gram` of this package |
# | `tape.jacobian` | the plain definition in TensorFlow, vectorised, in chunks: `method="jacobian"` |
# | loop | the plain definition in TensorFlow, one compiled gradient after another |
# | torch.func | `vmap(grad)` in PyTorch, the products added up parameter by parameter |
# | BackPACK | `BatchGrad` in PyTorch, the products added up layer by layer in the backward pass |
# | JAX | `vmap(grad)` and the products in one `jit` |
# | neural-tangents | structured derivatives of the losses' linear part, whose kernel is the matrix |
# | neural-tangents, logits | structured derivatives of the logits, their kernel then contracted with the losses' |
# | floor | the time that the closed form's matrix products alone would take, all at the rate of the costliest one |
# | floor by shape | the same with each product at the rate of a product of its own shape; narrow ones are slower |

# %% tags=["hide-input"]
import json
from math import log

import altair as alt
import numpy as np
import pandas as pd

from stiffness_book import page, store

page.start()

CASES = {  # name -> title, in the order of the page
    "mlp": "784-500-300-100-10",
    "cnn-v3": "CNN of v3 (16, 32, 32), 32×32×3",
    "cnn-v1": "CNN of v1 (32, 64, 128, 256), 32×32×3, 100 classes",
    "resnet20": "ResNet20v1 without batch normalisation, 32×32×3",
    "transformer": "transformer, 2 layers, width 128, 64 tokens",
    "mlp-pairs": "784-500-300-100-10, sign and cosine class matrices from all pairs",
    "mlp-cosines": "784-500-300-100-10, class matrix of cosines in linear time",
}
WAYS = {
    "closed-form": "closed form",
    "jacobian": "tape.jacobian",
    "loop": "loop",
    "torch-func": "torch.func",
    "backpack": "BackPACK",
    "jax": "JAX",
    "neural-tangents": "neural-tangents",
    "neural-tangents-logits": "neural-tangents, logits",
    "floor": "floor",
    "by-shape": "floor by shape",
}
PEERS = [way for way in WAYS if way not in ("closed-form", "jacobian", "loop", "floor", "by-shape")]
ALL_GRADIENTS = ["torch-func", "backpack", "jax"]  # peers that compute the gradient of every example

stored = json.loads((store.REPOSITORY / "benchmarks" / "results.json").read_text(encoding="utf-8"))
records = pd.DataFrame(stored["records"] + [
    {key: record[key] for key in ("case", "n", "finished", "commit", "dirty")} | {
        "way": "by-shape", "median": record["apart"]} for record in stored["records"] if "apart" in record])
for column in ("median", "seconds", "peak_bytes", "relative_difference", "reason"):
    if column not in records:
        records[column] = None
sizes = {case: int(rows["n"].iloc[0]) for case, rows in records.groupby("case", sort=False)}  # the table's come first
ours = records[records["way"] == "closed-form"].set_index(["case", "n"])["median"]
records["ratio"] = records["median"] / [ours.get((case, n)) for case, n in zip(records["case"], records["n"])]


def at(case, way):
    """The record of a way at the case's size in the table, or None where it did not finish."""
    rows = records[(records["case"] == case) & (records["n"] == sizes.get(case)) & (records["way"] == way)]
    return rows.iloc[0] if len(rows) and pd.notna(rows["median"].iloc[0]) else None


def three(value):
    """Three digits, without an exponent."""
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def spread(seconds):
    return f"{three(min(seconds))}–{three(max(seconds))}" if isinstance(seconds, list) else ""


# %% [markdown]
# ## The table
#
# The last column is the largest difference from the closed form's matrix, divided by its largest entry. The class
# matrices are compared with those of the plain definition on a part of the examples.

# %% tags=["hide-input"]
def row(record):
    if pd.isna(record["median"]):
        reason = str(record["reason"]).partition(" (")[0].partition("\n")[0]
        return [WAYS[record["way"]], reason, "", "", "", ""]
    peak, difference = record["peak_bytes"], record["relative_difference"]
    return [WAYS[record["way"]], three(record["median"]), spread(record["seconds"]),
            "" if pd.isna(peak) else f"{peak / 1e9:.2f}",
            "1" if record["way"] == "closed-form" else "" if pd.isna(record["ratio"]) else three(record["ratio"]),
            "" if pd.isna(difference) else f"{difference:.0e}"]


for case, title in CASES.items():
    shown = records[(records["case"] == case) & (records["n"] == sizes.get(case))].sort_values("median")
    if len(shown):
        lines = [f"**{title}, {sizes[case]:,} examples**", "",
                 "| way | seconds, median | range | peak, GB | time, ours = 1 | difference |",
                 "|---|---:|---:|---:|---:|---:|"]
        page.say("\n".join(lines + ["| " + " | ".join(row(record)) + " |" for _, record in shown.iterrows()]))

# %% [markdown]
# ## Time and memory against the number of examples
#
# The network is 784-500-300-100-10, and both axes are logarithmic. Every method has to fill a matrix of
# examples × examples, so every line ends with a slope of 2; they differ in the work per pair. The lower bound for the
# memory is the matrix itself.

# %% tags=["hide-input"]
def growth(shown, floor, y, title, unit):
    """Lines of each way against the number of examples, log-log, with the floor dashed."""
    shown = shown[["way", "n", "value"]].assign(way=shown["way"].map(WAYS))
    order = [label for label in WAYS.values() if label in set(shown["way"])]
    x = alt.X("n:Q", title="examples", scale=alt.Scale(type="log", nice=False),
              axis=alt.Axis(values=sorted(set(shown["n"])), format=",d", grid=False, labelOverlap=True))
    y = alt.Y("value:Q", title=y, scale=alt.Scale(type="log"), axis=alt.Axis(grid=False, format="~g", tickCount=6))
    legend = alt.Legend(title=None, orient="top", columns=2, symbolType="stroke", symbolStrokeWidth=3, labelLimit=200)
    lines = alt.Chart(shown).mark_line(point=True).encode(
        x, y, alt.Color("way:N", sort=order, scale=alt.Scale(scheme="tableau10"), legend=legend),
        tooltip=["way:N", alt.Tooltip("n:Q", title="examples", format=",d"),
                 alt.Tooltip("value:Q", title=unit, format=".3~g")])
    floor = floor[["n", "value"]].sort_values("n")
    dashed = alt.Chart(floor).mark_line(strokeDash=[4, 4], color="#888888").encode(x, y)
    name = alt.Chart(floor.iloc[[len(floor) // 2]]).mark_text(
        text="floor", color="#888888", align="left", baseline="top", dx=6, dy=4).encode(x, y)
    ends = "; ".join(f"{label}, {three(rows['value'].iloc[-1])} at {rows['n'].iloc[-1]:,} examples" for label in order
                     for rows in [shown[shown["way"] == label].sort_values("n")])
    return alt.layer(dashed, name, lines).properties(
        width="container", height=320, title=title,
        description=f"Lines of {unit} against the number of examples, both logarithmic. At their ends: {ends}. "
        f"The floor: {three(floor['value'].iloc[-1])} at {floor['n'].iloc[-1]:,}.")


chain = records[(records["case"] == "mlp") & records["median"].notna()]
timed = chain[~chain["way"].isin(["floor", "by-shape"])]
floors = chain[chain["way"] == "floor"].assign(value=lambda rows: rows["median"])
page.show(growth(timed.assign(value=timed["median"]), floors, "seconds",
                 ["Time for the matrix of", "784-500-300-100-10"], "seconds"),
          "Chart 1", "Seconds for the Gram matrix of all pairs against the number of examples.")

# %% tags=["hide-input"]
matrix = timed[timed["way"] == "closed-form"].assign(value=lambda rows: 4 * rows["n"].astype(float) ** 2 / 1e9)
page.show(growth(timed.assign(value=timed["peak_bytes"] / 1e9), matrix, "peak memory, GB",
                 ["Peak memory of the same runs,", "libraries included"], "GB"),
          "Chart 2", "Peak memory of the same runs against the number of examples.")


# %% [markdown]
# ## What was found
#
# Our targets, for the cases in the table:

# %% tags=["hide-input"]
def times(case, way, least):
    """At least so many times as fast as another way."""
    if (record := at(case, way)) is None:
        return f"`{WAYS[way]}` did not finish", None
    return f"{three(record['ratio'])} times as fast as `{WAYS[way]}` (the target: {least})", record["ratio"] >= least


def fastest_peer(case, ways=PEERS, least=1):
    """At least so many times as fast as the fastest of these peers."""
    finished = [record for way in ways if (record := at(case, way)) is not None]
    if not finished:
        return "no peer finished", None
    best = min(finished, key=lambda record: record["median"])
    who = "peer" if ways is PEERS else "peer that computes every gradient"
    return f"{three(best['ratio'])} times as fast as the fastest {who}, {WAYS[best['way']]} (the target: {least})", (
        best["ratio"] > 1 and best["ratio"] >= least)


def fast_on_few(case, way, few):
    """Not slower than another way on few examples either."""
    rows = records[(records["case"] == case) & (records["way"] == way) & records["n"].isin(few)].sort_values("n")
    told = " and ".join(f"{three(row['ratio'])} times as fast at {row['n']:,} examples" for _, row in rows.iterrows())
    return f"against `{WAYS[way]}` {told} (the target: 1)", bool((rows["ratio"] >= 1).all())


def memory(case, most):
    peak = at(case, "closed-form")["peak_bytes"] / 1e9
    return f"{peak:.2f} GB at its peak (the target: under {most})", peak < most


def of_floor(case, least):
    """The share of the floor's rate."""
    if (record := at(case, "floor")) is None:
        return "the floor was not measured", None
    return f"{record['ratio']:.0%} of the floor's rate (the target: {least:.0%})", record["ratio"] >= least


def times_floor(case, most, least_n):
    """At most so many times the floor's time, from a number of examples on."""
    told, good = [], True
    for n in sorted(set(records.loc[(records["case"] == case) & (records["n"] >= least_n), "n"])):
        mine, floor, by_shape = (records[(records["case"] == case) & (records["n"] == n) & (records["way"] == way)
                                         ]["median"].iloc[0] for way in ("closed-form", "floor", "by-shape"))
        told.append(f"{mine / floor:.2f} ({by_shape / floor:.2f}) at {n:,}")
        good &= bool(mine <= most * floor)
    return (f"its time divided by the floor's, in brackets the floor by shape divided by the floor: "
            f"{', '.join(told)} examples (the target: {most})"), good


def linear(case):
    """Time grows no faster than the number of examples, up to a tenth in the exponent."""
    rows = records[(records["case"] == case) & (records["way"] == "closed-form")].dropna(subset=["median"])
    if len(rows) < 2:
        return "one size measured", None
    few, many = rows.loc[rows["n"].idxmin()], rows.loc[rows["n"].idxmax()]
    power = log(many["median"] / few["median"]) / log(many["n"] / few["n"])
    return (f"time grows as the examples to the power {power:.2f} from {few['n']:,} to {many['n']:,} "
            "(the target: linear)"), power < 1.1


def exact(case):
    difference = at(case, "closed-form")["relative_difference"]
    return f"{difference:.0e} from the plain definition (the target: rounding)", difference < 1e-4


bars = {
    "mlp": lambda case: [times(case, "jacobian", 100), fastest_peer(case, ALL_GRADIENTS, 60),
                         fast_on_few(case, "neural-tangents", (100, 250)), times_floor(case, 1.5, 500)],
    "cnn-v3": lambda case: [times(case, "jacobian", 10), fastest_peer(case)],
    "cnn-v1": lambda case: [memory(case, 4), of_floor(case, 0.7)],
    "resnet20": lambda case: [fastest_peer(case), memory(case, 4)],
    "transformer": lambda case: [times(case, "jacobian", 10)],
    "mlp-pairs": lambda case: [memory(case, 2.5)],
    "mlp-cosines": lambda case: [linear(case), exact(case), memory(case, 2)],
}
sentences = []
for case, measured in bars.items():
    if at(case, "closed-form") is None:
        sentences.append(f"- **{CASES[case]}: not measured.**")
        continue
    parts = measured(case)
    met = [good for _, good in parts if good is not None]
    verdict = "met" if len(met) == len(parts) and all(met) else "not met" if not any(met) else "met in part"
    sentences.append(f"- **{CASES[case]}, {sizes[case]:,} examples: {verdict}.** "
                     + "; ".join(words for words, _ in parts) + ".")
page.say("\n".join(sentences))

# %% tags=["hide-input"]
differences = records[~records["way"].isin(["closed-form", "floor", "by-shape"])]
worst = differences["relative_difference"].max()
unfinished = records[records["median"].isna() & records["way"].isin(PEERS)]
page.say(
    f"All methods that finished agree: the largest difference from the closed form is {worst:.0e}, over "
    f"{differences['relative_difference'].notna().sum()} comparisons."
    + (f" In {len(unfinished)} of the peers' measurements there was no result; the table says why." * bool(
        len(unfinished))))

# %% tags=["hide-input"]
chosen = at("mlp", "closed-form")
if chosen is not None:
    page.say(
        f"The first measurement of a model takes longer: for {CASES['mlp']} and {sizes['mlp']:,} examples the first "
        f"call, which compares the closed forms with the plain definition and compiles, took "
        f"{three(chosen['warm_up'])} s, and each later one {three(chosen['median'])} s."
    )

# %% tags=["hide-input"]
measured = records.dropna(subset=["median"]).copy()
measured["own"] = [at(case, "closed-form")["commit"] for case in measured["case"]]
apart = measured[(measured["commit"] != measured["own"]) & (measured["way"] != "closed-form")]
if len(apart):
    told = "; ".join(f"{CASES[case]}: {', '.join(WAYS[way] for way in dict.fromkeys(rows['way']))}"
                     for case, rows in apart.groupby("case", sort=False))
    page.say("The machine's speed varies over time, so ratios hold only within one run. These methods were measured in "
             f"another run than the closed form: {told}.")

# %% [markdown]
# ## Real models
#
# Architectures as people use them, untrained, with random inputs. The loop computes the gradient of one example after
# another by one compiled function. First calls compile; the other times are medians of the later calls, with the range
# in brackets.

# %% tags=["hide-input"]
path = store.REPOSITORY / "benchmarks" / "models.json"
models = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {"cases": {}}


def calls(seconds):
    """(first call, later ones), or why there are none."""
    if isinstance(seconds, str):
        return seconds, ""
    later = sorted(seconds[1:])
    return three(seconds[0]), f"{three(later[len(later) // 2])} ({spread(later)})" if later else ""


lines = ["| model | loop: first | loop: later | ours: first | ours: later | times as fast | difference |",
         "|---|---:|---:|---:|---:|---:|---:|"]
speeds = {}
for name, found in models["cases"].items():
    if all(isinstance(found[way], list) for way in ("loop", "ours")):
        speeds[name] = float(np.median(found["loop"][1:]) / np.median(found["ours"][1:]))
    lines.append("| " + " | ".join([name, *calls(found["loop"]), *calls(found["ours"]), three(speeds[name]) if (
        name in speeds) else "", f"{found['difference']:.0e}" if "difference" in found else ""]) + " |")
page.say("\n".join(lines))

slower = [name for name, speed in speeds.items() if speed < 1]
if speeds:
    page.say(
        f"From the second call on, `gradient_gram` is {three(min(speeds.values()))} to {three(max(speeds.values()))} "
        "times as fast as the loop. "
        + (f"It is slower for: {', '.join(slower)}." if slower else "It is slower in no case.")
        + " Where the loop's time is mostly that of the model's own forward and backward pass, as in transformers, "
        "little is left to save.")

# %% [markdown]
# ## The comparison in a few lines
#
# The closed form and the plain definition on two handwritten digits, with the network of the table's first row before
# training:

# %%
from stiffness import gradient_gram

model, x, y = page.two_images("fc-500-300-100")
closed_form, definition = (gradient_gram(model, x, y, method=method).products for method in ("auto", "jacobian"))
print(f"largest relative difference: {np.abs(closed_form / definition - 1).max():.4f}")

# %% [markdown]
# ## The measurements
#
# `make bench` repeats all measurements and stores them in `benchmarks/results.json` and `benchmarks/models.json`, which
# this page reads. The scripts in `benchmarks/peers/` have pinned environments of their own, which uv creates when they
# are run.

# %% tags=["hide-input"]
machine = stored["machine"]
versions = {}
for found in records["versions"].dropna():
    for name, number in found.items():
        versions.setdefault(name, set()).add(number)
facts = {
    "machine": f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']} GB, {machine['system']}",
    "measured": " and ".join(sorted({finished[:10] for finished in records["finished"]})),
    "versions": ", ".join(f"{name} {' and '.join(sorted(numbers))}" for name, numbers in versions.items()),
    "commit": ", ".join(sorted({commit[:12] for commit in records["commit"]}))
    + (", with changes" if records["dirty"].any() else ""),
}
page.say("| the measurements | of this page |\n|---|---|\n"
             + "\n".join(f"| {name} | {fact} |" for name, fact in facts.items()))
