"""Sign stiffness of one network in different arithmetics, beside the paper's Figure 2 or 6."""

import numpy as np
import pandas as pd

from stiffness.measures import between_classes, within_class
from stiffness_book import published
from stiffness_book.experiment import ARITHMETICS
from stiffness_book.words import name_of

EXACT = "exact"
WORDS = {EXACT: "exact", "float32": "float32, from logits", "clipped": "float32, probabilities clipped at 1e-7",
         "step_1e-3": "float32 change of the loss, step 1e-3", "step_1e-5": "float32 change of the loss, step 1e-5"}


def matrices(table, images):
    """{(seed, step, arithmetic): (Nc, Nc)} of the nested probe set with so many images, self-pairs counted.

    Stages by step only. Two images of a class count once, as in the paper's Figure 2.
    """
    rows = table[table["target_loss"].isna() & (table["probe_images"] == images)
                 & table["quantity"].str.startswith("nested_")]
    found, keys = {}, ["seed", "step"]
    for arithmetic in (EXACT, *ARITHMETICS):
        name = "sign" if arithmetic == EXACT else f"sign_{arithmetic}"
        own = {key: part.sort_values("class_a")["value"].to_numpy() for key, part in
               rows[rows["quantity"] == f"nested_self_stiffness_{name}"].groupby(keys)}
        for key, part in rows[rows["quantity"] == f"nested_class_stiffness_{name}"].groupby(keys):
            C = part.pivot(index="class_a", columns="class_b", values="value").to_numpy()
            self_stiffness = 1.0 if arithmetic == EXACT else own[key]
            found[(*key, arithmetic)] = published.with_self_pairs(C, images // len(C), self_stiffness)
    return found


def most_images(table):
    """The size of the largest nested probe set, on which all arithmetics are measured."""
    return int(table.loc[table["quantity"].str.startswith("nested_"), "probe_images"].max())


def curves(table, images):
    """Stiffness within and between classes by seed, step, images seen and arithmetic, from `matrices`."""
    return pd.DataFrame(columns=["seed", "step", "seen", "arithmetic", "summary", "value"], data=[
        {"seed": seed, "step": step, "seen": step * published.BATCH, "arithmetic": arithmetic, "summary": summary,
         "value": of(C)}
        for (seed, step, arithmetic), C in matrices(table, images).items()
        for summary, of in (("within_class", within_class), ("between_classes", between_classes))])


def zero_gradients(table, images):
    """The share of gradients that are exactly 0 by seed, step, arithmetic and class: of images whose pair with
    itself has the sign 0."""
    rows = table[table["target_loss"].isna() & (table["probe_images"] == images)
                 & table["quantity"].str.startswith("nested_self_stiffness_sign_")]
    return rows.assign(arithmetic=rows["quantity"].str.removeprefix("nested_self_stiffness_sign_"),
                       value=1 - rows["value"])[["seed", "step", "arithmetic", "class_a", "value"]]


def published_curves(dataset):
    """The paper's stiffness through training: figure, seen, summary, value, error. Figure 2's curves, or the means of
    Figure 6's matrices after initialisation; empty for another data set than theirs."""
    if dataset == name_of(published.DATA[6]):
        return pd.DataFrame([{"figure": 6, "seen": seen, "summary": summary, "value": of(C),
                              "error": published.MATRIX_ERROR}
                             for summary, of in (("between_classes", between_classes), ("within_class", within_class))
                             for seen, C in sorted(published.matrices(6).items()) if seen])
    rows = _figure_2(dataset)
    names = {"same class": "within_class", "different class": "between_classes"}
    rows = rows[rows["series"].isin(names)]
    return pd.DataFrame({"figure": 2, "seen": rows["x"], "summary": rows["series"].map(names), "value": rows["y"],
                         "error": rows["error"]}).sort_values(["summary", "seen"], ignore_index=True)


def published_losses(dataset):
    """Figure 2's losses: step, quantity (train_loss or validation_loss), value. Empty for another data set."""
    rows = _figure_2(dataset)
    names = {"training loss": "train_loss", "validation loss": "validation_loss"}
    rows = rows[rows["series"].isin(names) & rows["y"].notna()]
    return pd.DataFrame({"step": rows["x"] / published.BATCH, "quantity": rows["series"].map(names),
                         "value": rows["y"]}).sort_values(["quantity", "step"], ignore_index=True)


def _figure_2(dataset):
    rows = published.curves(2)
    return rows if dataset == name_of(published.DATA[2]) else rows[:0]


def distances(found, paper):
    """How far each arithmetic's curve is from the paper's: the mean absolute difference over the paper's stages, by
    seed, figure of the paper, arithmetic and summary.

    found: as from `curves`, whose values are interpolated against the logarithm of the images seen; paper: as from
    `published_curves`, whose stages before the first of these after initialisation, and after the last, are left out.
    """
    rows = []
    for (seed, arithmetic, summary), own in found[found["seen"] > 0].groupby(["seed", "arithmetic", "summary"]):
        own = own.sort_values("seen")
        theirs = paper[(paper["summary"] == summary) & paper["seen"].between(own["seen"].min(), own["seen"].max())]
        if theirs.empty:
            continue
        ours = np.interp(np.log(theirs["seen"]), np.log(own["seen"]), own["value"])
        rows.append({"seed": seed, "figure": theirs["figure"].iloc[0], "arithmetic": arithmetic, "summary": summary,
                     "stages": len(theirs), "value": float(np.abs(ours - theirs["value"]).mean())})
    return pd.DataFrame(rows, columns=["seed", "figure", "arithmetic", "summary", "stages", "value"])
