"""The page of class stiffness matrices through training that Figures 3 to 6 share."""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd
from IPython.display import HTML

from stiffness_book import charts, page, published, rounding, summaries
from stiffness_book.words import name_of

MOST_STAGES = 6  # of a slider, beside those of the paper's figure


@dataclass
class ClassFigure:
    """The charts of runs of one network on one data set, measured at stages.

    number: of the paper's figure. dataset, network: as the titles have them.
    """

    number: int
    dataset: str
    network: str
    table: pd.DataFrame
    provenance: pd.DataFrame
    note: str = ""  # what is special about the runs, for titles
    details: str = ""  # and in full, for the charts' descriptions

    @classmethod
    def of(cls, number, experiments, **notes):
        """The figure of the experiments, whose missing runs are computed first."""
        table, provenance = page.runs(experiments)
        table = table[table["target_loss"].isna()]  # of the stages by loss each run has its own steps
        return cls(number, name_of(experiments[0].dataset), experiments[0].network, table, provenance, **notes)

    @property
    def shown(self):
        """The paper's figure, if it is of this data set; else None."""
        return self.number if self.dataset == name_of(published.DATA[self.number]) else None

    @property
    def class_names(self):
        return self.provenance["class_names"].iloc[0]

    @property
    def matrices(self):
        return summaries.mean_matrices(self.table, self.class_names)

    @property
    def last(self):
        """The step of the last stage that was measured."""
        return summaries.first_and_last(self.table)[-1]

    @cached_property
    def nearest(self):
        """{images seen at a stage of the paper's figure: the nearest measured step}."""
        measured = np.array(sorted(set(self.table.loc[self.table["quantity"] == "within_class_sign", "step"])))
        return {images: int(measured[np.abs(np.log((1 + measured) / (1 + images / published.BATCH))).argmin()])
                for images in sorted(published.matrices(self.number))}

    @cached_property
    def pairs(self):
        """{images seen: (ours, the paper's)}: the paper's class stiffness matrices (Nc, Nc), and those of our runs
        (runs, Nc, Nc) at the nearest stages on the largest nested probe set, self-pairs counted. Empty without the
        paper's data or without such a probe set."""
        if self.shown is None or not (self.table["quantity"] == "nested_class_stiffness_sign").any():
            return {}
        found = rounding.matrices(self.table, rounding.most_images(self.table))
        theirs = published.matrices(self.number)
        return {images: (np.stack([C for (_, at, arithmetic), C in found.items()
                                   if (at, arithmetic) == (step, rounding.EXACT)]), theirs[images])
                for images, step in self.nearest.items()}

    def panels(self):
        """The matrices by sign at the stages of the paper's figure, side by side; above its own if there are `pairs`.
        """
        title = ["Class stiffness (sign)", self._on()]
        if not self.pairs:
            steps = list(dict.fromkeys(self.nearest.values()))
            return charts.matrix_panels(self.matrices, steps, "sign", title=title, of=self._of())
        named = {f"{images:,} images" if images else "at initialisation": (ours.mean(axis=0), theirs)
                 for images, (ours, theirs) in self.pairs.items()}
        return charts.matrices_beside(named, self.class_names, title=title, of=self._of())

    @property
    def caption(self):
        """What `panels` shows."""
        return ("Class stiffness by sign at the paper's stages: this book's runs above, the paper's matrices below."
                if self.pairs else "Class stiffness by sign through training, the mean over the runs.")

    def slider(self):
        """The matrices through training, by sign and by cosine; first that which is nearest to the paper's third.

        Of many stages some are left out, evenly: a page must stay light.
        """
        matrices = self.matrices
        steps = sorted(set(matrices["step"]))
        even = {steps[place] for place in np.linspace(0, len(steps) - 1, MOST_STAGES).round().astype(int)}
        shown = matrices[matrices["step"].isin(even | set(self.nearest.values()))]
        return charts.matrix_slider(shown, title=["Class stiffness", self._on()], of=self._of(),
                                    first=list(self.nearest.values())[2])

    def moving(self):
        """The matrices of all stages as HTML, which plays them."""
        return HTML(charts.moving_matrix(self.matrices, of=self._of()))

    def stiffness(self, title="Stiffness through training"):
        """Stiffness within and between classes through training."""
        return charts.stiffness_evolution(self.table, title=[title, self._on()])

    def losses(self, *, beside_guessing=False):
        """The losses; beside_guessing: with that of a network that gives every class the same probability."""
        guessing = math.log(len(self.class_names)) if beside_guessing else None
        return charts.loss_evolution(self.table, title="The losses of the same runs", guessing=guessing)

    def _on(self):
        return f"{self.dataset}{', ' * bool(self.note)}{self.note}"

    def _of(self):
        return f"the network {self.network} on {self.dataset}{self.details}"
