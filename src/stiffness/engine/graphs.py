"""Compiled graphs, each for examples of given shapes."""

import keras

MOST = 32  # graphs that are kept: one for each shape of a chunk of examples and of a tile
NOT_COMPILABLE = "cannot be compiled"


class Graphs:
    """The graphs of one model."""

    def __init__(self):
        self.kept = {}  # key -> NOT_COMPILABLE or a graph; the latest used last

    def get(self, kind, examples, make):
        """The graph for examples of these shapes, which make() returns once; None if that is NOT_COMPILABLE."""
        key = kind, tuple((tuple(part.shape), str(part.dtype)) for part in keras.tree.flatten(examples))
        graph = self.kept.pop(key, None) or make()
        self.kept[key] = graph
        if len(self.kept) > MOST:
            del self.kept[next(iter(self.kept))]
        return None if graph is NOT_COMPILABLE else graph
