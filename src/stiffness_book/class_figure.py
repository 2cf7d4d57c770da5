"""The page of class stiffness matrices through training that Figures 3 to 6 share."""

import math
from dataclasses import dataclass

import numpy as np
import pandas as pd
from IPython.display import HTML

from stiffness_book import charts, page, published, rounding, summaries
from stiffness_book.words import name_of


@dataclass
class ClassFigure:
    """The charts of runs of one network on one data set, measured at stages.

    name: of the figure. dataset, network: as the titles have them.
    """

    name: str
    dataset: str
    network: str
    table: pd.DataFrame
    provenance: pd.DataFrame
    note: str = ""  # what is special about the runs, for titles
    details: str = ""  # and in full, for the charts' descriptions

    @classmethod
    def of(cls, name, experiments, **notes):
        """The figure of the experiments, whose missing runs are computed first."""
        table, provenance = page.runs(experiments)
        table = table[table["target_loss"].isna()]  # of the stages by loss each run has its own steps
        return cls(name, name_of(experiments[0].dataset), experiments[0].network, table, provenance, **notes)

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

    def panels(self, stages):
        """The matrices by sign at some of the stages, side by side; without those that no run reached."""
        reached = [step for step in stages if step <= self.last]
        return charts.matrix_panels(self.matrices, reached, "sign", title=["Class stiffness (sign)", self._on()],
                                    of=self._of())

    def beside_the_paper(self, number):
        """{images seen: (ours, the paper's)}: the class stiffness matrices of a figure of the paper, and ours at the
        nearest stage on the largest nested probe set, self-pairs counted; the mean over the runs."""
        found = rounding.matrices(self.table, int(self.table["probe_images"][self._nested].max()))
        steps = {step for _, step, _ in found}
        pairs = {}
        for images, theirs in published.matrices(number).items():
            step = min(steps, key=lambda step, images=images: abs(step * published.BATCH - images))
            ours = [C for (_, at, arithmetic), C in found.items() if (at, arithmetic) == (step, rounding.EXACT)]
            pairs[images] = np.mean(ours, axis=0), theirs
        return pairs

    def panels_beside_the_paper(self, pairs):
        """The matrices of `beside_the_paper` above each other."""
        named = {f"{images:,} images" if images else "at initialisation": both for images, both in pairs.items()}
        return charts.matrices_beside(named, self.class_names, title=["Class stiffness (sign)", self._on()],
                                      of=self._of())

    @property
    def _nested(self):
        return self.table["quantity"] == "nested_class_stiffness_sign"

    def slider(self, first=None):
        """The matrices of all stages, by sign and by cosine. first: the step of the stage shown first, or the last."""
        first = first if first in set(self.table["step"]) else None
        return charts.matrix_slider(self.matrices, title=["Class stiffness", self._on()], of=self._of(), first=first)

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
