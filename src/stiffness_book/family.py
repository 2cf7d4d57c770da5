"""Other measures of how the gradients of examples agree, from the same Gram matrices K (m, m) as stiffness.

They are computed from what a run stores of each matrix: the means of its diagonal and of its other entries, its lowest
entry, and the mean norm.
"""

import numpy as np
import pandas as pd

STIFFNESS = {"within_class_sign": "within classes, sign", "between_classes_sign": "between classes, sign",
             "within_class_cosine": "within classes, cosine", "between_classes_cosine": "between classes, cosine"}
# in words; the notebook has the formulas
MEASURES = {"confusion": "gradient confusion", "diversity": "gradient diversity", "coherence": "m-coherence",
            "noise_scale": "simple noise scale", "grand": "GraNd"}


def measures(table, images, columns=()):
    """A row for each run and stage: seed, step, target_loss, the given columns, the MEASURES, and stiffness.

    table: of runs that measured the Gram matrix of so many images. A measure is missing where it is not defined: the
    noise scale where the mean product is not positive, diversity and coherence where that sum is not.
    """
    keys = ["seed", "step", "target_loss", *columns]
    rows = table[table["quantity"].str.startswith("gram_") | table["quantity"].isin(STIFFNESS)]
    wide = rows.assign(target_loss=rows["target_loss"].fillna(np.inf)).pivot_table(
        index=keys, columns="quantity", values="value").reset_index()
    square, product = wide["gram_mean_square_norm"], wide["gram_mean_product"]
    coherence = 1 + (images - 1) * product / square
    found = pd.DataFrame({
        "confusion": (-wide["gram_lowest_product"]).clip(lower=0), "diversity": 1 / coherence.where(coherence > 0),
        "coherence": coherence.where(coherence > 0), "noise_scale": ((square - product) / product).where(product > 0),
        "grand": wide["gram_mean_norm"]})
    return pd.concat([wide[[*keys, *STIFFNESS]].replace({"target_loss": {np.inf: np.nan}}), found], axis=1)
