"""The tidy table of a run: its columns, and the quantities that its rows hold."""

COLUMNS = {"stage": "int64", "step": "int64", "target_loss": "float64", "quantity": "string", "class_a": "Int16",
           "class_b": "Int16", "space": "string", "distance": "float64", "probe_images": "Int32", "value": "float64"}

FARTHEST = 2  # the largest distance there is, 1 - cosine of opposite directions
BIN = 0.05  # the width of a bin of distance; the same for all runs, so that curves average over seeds
FEWEST_PAIRS = 20  # in a bin that is drawn, judged or sought for a zero: the mean of fewer signs is mostly noise
