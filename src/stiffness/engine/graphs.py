"""Compiled graphs, made from the second time on that their shapes occur, as making one takes longer than running it."""

import keras

MOST = 32  # graphs that are kept: one for each shape of a chunk of examples, of a tile, and of a repeated call
SEEN_ONCE, NOT_COMPILABLE = "seen once", "cannot be compiled"


class Graphs:
    """The graphs of one model."""

    def __init__(self):
        self.kept = {}  # key -> SEEN_ONCE, NOT_COMPILABLE, or a graph; the latest used last

    def get(self, kind, examples, make):
        """The graph that make() returns, once a nest of examples of these shapes has occurred before; None if there is
        none. make() may return NOT_COMPILABLE."""
        key = kind, shapes_of(examples)
        graph = self.kept.get(key)
        graph = SEEN_ONCE if graph is None else make() if graph is SEEN_ONCE else graph
        self.keep(key, graph)
        return None if graph in (SEEN_ONCE, NOT_COMPILABLE) else graph

    def keep(self, key, graph):
        self.kept.pop(key, None)
        self.kept[key] = graph
        if len(self.kept) > MOST:
            del self.kept[next(iter(self.kept))]


def shapes_of(nest):
    return tuple((tuple(part.shape), str(part.dtype)) for part in keras.tree.flatten(nest))
