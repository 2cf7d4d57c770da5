"""Compiled graphs, each for examples of given shapes."""

import keras

MOST = 32  # graphs that are kept: one for each shape of a chunk of examples, of a tile, and of a repeated call
SEEN_ONCE, NOT_COMPILABLE = "seen once", "cannot be compiled"


class Graphs:
    """The graphs of one model."""

    def __init__(self):
        self.kept = {}  # key -> SEEN_ONCE, NOT_COMPILABLE, or a graph; the latest used last

    def get(self, kind, examples, make, at_once=True):
        """The graph that make() returns; None if that is NOT_COMPILABLE.

        at_once False: a graph is made when examples of these shapes occur for the second time, as making it takes
        longer than doing without."""
        key = kind, shapes_of(examples)
        graph = self.kept.get(key)
        if graph is SEEN_ONCE or (graph is None and at_once):
            graph = make()
        graph = graph or SEEN_ONCE
        self.keep(key, graph)
        return None if graph in (SEEN_ONCE, NOT_COMPILABLE) else graph

    def keep(self, key, graph):
        self.kept.pop(key, None)
        self.kept[key] = graph
        if len(self.kept) > MOST:
            del self.kept[next(iter(self.kept))]


def shapes_of(nest):
    return tuple((tuple(part.shape), str(part.dtype)) for part in keras.tree.flatten(nest))
