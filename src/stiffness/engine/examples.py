"""Converts the examples of a measurement to arrays, and explains what is wrong with them."""

import re

import keras
import numpy as np
from keras import ops

MOST = 100_000  # examples that are read from a source of unknown length before it is taken for infinite
LOOKED_AT = 1000  # labels, of which some examples are chosen
UNITS = {"": 1, **{f"{letter}{kind}": base**power for power, letter in enumerate("kmgt", start=1)
                   for kind, base in (("b", 1000), ("ib", 1024))}, "b": 1}


class NotFinite(ValueError, FloatingPointError):
    """A loss or a gradient is infinite or NaN."""


def bytes_of(memory_budget):
    """The number of bytes, given as a number or as text such as "1GB", "500 MB" or "2GiB"."""
    if isinstance(memory_budget, str):
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*", memory_budget.lower())
        if not found or found[2] not in UNITS:
            raise ValueError(f"memory_budget is {memory_budget!r}; expected a number of bytes or text such as '1GB'")
        return int(float(found[1]) * UNITS[found[2]])
    if isinstance(memory_budget, bool) or not isinstance(memory_budget, int | float | np.number):
        raise TypeError(f"memory_budget is of type {type(memory_budget).__name__}; expected a number of bytes or text "
                        "such as '1GB'")
    return int(memory_budget)


def brings_labels(x):
    """Whether x is a pair (x, y) or a source of batches: a data set, a PyDataset, a generator, a data loader."""
    return _is_pair(x) or hasattr(x, "as_numpy_iterator") or isinstance(x, keras.utils.PyDataset) or (
        hasattr(x, "__iter__") and not hasattr(x, "__array__") and not isinstance(x, list | tuple | dict | str)
        and not hasattr(x, "shape"))


def _is_pair(x):
    return isinstance(x, tuple) and len(x) == 2


def examples_of(x_name, x, y_name, y, model):
    """(x, y) as NumPy arrays with the examples along the first axis, or nests of them."""
    if _is_pair(x) and y is None:
        x, y = x
    elif brings_labels(x) and not _is_pair(x):
        if y is not None:
            raise ValueError(f"{x_name} is a data set, which brings its labels; leave {y_name} out")
        x, y = _read(x_name, x, model)
    if x is None:
        raise ValueError(f"{x_name} is missing; expected an array of examples")
    if y is None:
        raise ValueError(f"{y_name} is missing; only a data set of (x, y) batches, or a tuple (x, y), does without")
    x = _nest(x_name, x, getattr(model, "inputs", None))
    y = _nest(y_name, y, getattr(model, "outputs", None))
    for part in keras.tree.flatten(y):
        if _is_text(part):
            raise TypeError(f"{y_name} holds text; expected numbers: np.unique({y_name}, return_inverse=True)[1] gives "
                            "class indices")
    n = len(keras.tree.flatten(x)[0])
    for name, nest in ((x_name, x), (y_name, y)):
        for part in keras.tree.flatten(nest):
            if len(part) == 0:
                raise ValueError(f"{name} is empty; expected at least one example")
            if len(part) != n:
                other = f"and {y_name} has {len(part)}" if name is y_name else f"and {len(part)} in another input"
                raise ValueError(f"{x_name} has {n} examples {other}; expected as many of each")
    _check_types(x_name, x, model)
    return x, y


def inputs_of(x_name, x, model):
    """x alone as `examples_of` gives it."""
    if x is None:
        raise ValueError(f"{x_name} is missing; expected an array of examples")
    x = _nest(x_name, x, getattr(model, "inputs", None))
    lengths = [len(part) for part in keras.tree.flatten(x)]
    if len(set(lengths)) > 1 or not lengths[0]:
        raise ValueError(f"{x_name} has {' and '.join(map(str, lengths))} examples; expected as many in each input, "
                         "one or more")
    _check_types(x_name, x, model)
    return x


def _check_types(x_name, x, model):
    inputs = keras.tree.flatten(getattr(model, "inputs", None) or [])
    parts = [x.get(each.name) for each in inputs] if isinstance(x, dict) else keras.tree.flatten(x)
    for part, expected in zip(parts, inputs):
        if part is None:  # the keys of a dictionary need not be the names of the inputs
            continue
        if _is_text(part) and expected.dtype != "string":
            raise TypeError(f"{x_name} holds text and the model's input {expected.name} is {expected.dtype}; encode it "
                            "as for training")
        if part.dtype.kind == "c" and "complex" not in expected.dtype:
            raise TypeError(f"{x_name} has dtype {part.dtype} and the model's input {expected.name} is "
                            f"{expected.dtype}, which would drop the imaginary part; pass real numbers, such as the "
                            "real and imaginary parts as two channels")


def _read(name, source, model):
    """(x, y) of all elements of a source of batches, or of single examples."""
    endless = False  # or not known to end
    if hasattr(source, "as_numpy_iterator"):
        endless = int(source.cardinality()) < 0
        if int(source.cardinality()) == -1:
            raise ValueError(f"{name} is an infinite data set; pass a finite part of it, {name}.take(batches)")
        elements = source.as_numpy_iterator()
    elif isinstance(source, keras.utils.PyDataset):
        if source.num_batches is None:
            raise ValueError(f"{name} is a PyDataset without an end; define its __len__ or num_batches")
        elements = (source[i] for i in range(source.num_batches))
    else:
        elements, endless = iter(source), not hasattr(source, "__len__")
    batches, count = [], 0
    for element in elements:
        batches.append(_pair(name, element))
        count += len(keras.tree.flatten(batches[-1])[0]) if _batched(batches[-1], model) else 1
        if endless and count > MOST:
            raise ValueError(f"{name} has given {count:,} examples without an end, so it may be infinite; pass a "
                             "finite part of it, or arrays")
    if not batches:
        raise ValueError(f"{name} is empty; expected a data set of (x, y) batches")
    joined = np.concatenate if _batched(batches[0], model) else np.stack
    return tuple(keras.tree.map_structure(lambda *parts: joined([np.asarray(part) for part in parts]), *part)
                 for part in zip(*batches))


def _pair(name, element):
    if isinstance(element, list | tuple) and len(element) == 3:
        raise ValueError(f"{name} is a data set whose elements are no (x, y) batches; sample weights have no part in "
                         "the measure, drop them with .map(lambda x, y, weights: (x, y))")
    if not isinstance(element, list | tuple) or len(element) != 2:
        raise ValueError(f"{name} is a data set whose elements are no (x, y) batches")
    return tuple(keras.tree.map_structure(
        lambda part: part if isinstance(part, np.ndarray) else ops.convert_to_numpy(part), part) for part in element)


def _batched(pair, model):
    """Whether the element of a data set is a batch of examples, and not one example."""
    x, y = (keras.tree.flatten(part)[0] for part in pair)
    inputs = keras.tree.flatten(getattr(model, "inputs", None) or [])
    return np.ndim(y) > 0 and (not inputs or np.ndim(x) == len(inputs[0].shape))


def _nest(name, given, expected):
    """Arrays in the nest that is given. A list of arrays is read as several inputs or outputs of the model, unless it
    has one; a list of numbers as one array."""
    several = expected is None or len(expected) > 1
    nested = isinstance(given, dict) or (isinstance(given, list | tuple) and several and len(given) > 0 and
                                         all(getattr(part, "shape", ()) for part in given))
    if isinstance(given, list | tuple) and expected is not None and len(expected) == len(given) == 1:
        nested = bool(getattr(given[0], "shape", ()))
    return keras.tree.map_structure(lambda part: _array(name, part), given) if nested else _array(name, given)


def _array(name, part):
    """The part as a NumPy array with the examples along its first axis."""
    if hasattr(part, "toarray"):  # of SciPy; NumPy would make an array of one object of it
        raise TypeError(f"{name} is a sparse matrix ({type(part).__name__}); pass {name}.toarray()")
    if np.ma.is_masked(part):
        raise ValueError(f"{name} is a masked array with {np.ma.count_masked(part)} masked entries, which are not "
                         f"supported; fill them, {name}.filled(value), or drop their examples")
    try:
        array = np.asarray(part) if isinstance(part, list | tuple | np.ndarray) else ops.convert_to_numpy(part)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{name} cannot be made an array ({error}); expected the examples along the first axis, all "
                         "of one shape") from error
    if array.dtype.kind == "O" and not _is_text(array):
        kinds = ", ".join(sorted({type(entry).__name__ for entry in array.flat}))
        raise TypeError(f"{name} holds Python objects ({kinds}); expected numbers")
    if array.ndim == 0:
        raise ValueError(f"{name} is a scalar; expected an array with the examples along its first axis")
    return array


def _is_text(array):
    return array.dtype.kind in "US" or (
        array.dtype.kind == "O" and array.size > 0 and all(isinstance(entry, str | bytes) for entry in array.flat))


def to_numpy(tensor):
    """The tensor as a NumPy array; bfloat16, which NumPy does not know, as float32."""
    if keras.backend.standardize_dtype(tensor.dtype) == "bfloat16":
        tensor = ops.cast(tensor, "float32")
    return ops.convert_to_numpy(tensor)


def varied(y, most):
    """The places of at most `most` examples: two of each of some different labels, where there are such."""
    labels = keras.tree.flatten(y)[0]
    looked_at = np.unique(np.linspace(0, len(labels) - 1, LOOKED_AT).astype(int))
    _, kinds, counts = np.unique(labels[looked_at].reshape(len(looked_at), -1), axis=0, return_inverse=True,
                                 return_counts=True)
    kinds = kinds.ravel()
    earlier = np.empty(len(kinds), int)  # how many of the same label stand before
    earlier[np.argsort(kinds, kind="stable")] = np.concatenate([np.arange(count) for count in counts])
    chosen = np.lexsort((kinds, counts[kinds] == 1, earlier > 1))[:most]
    return looked_at[np.sort(chosen)].tolist()


def take(examples, which):
    return keras.tree.map_structure(lambda part: part[which], examples)


def count_of(examples):
    return keras.tree.flatten(examples)[0].shape[0]
