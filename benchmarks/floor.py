"""A lower bound of the closed form's time: its matrix products alone, at the speed of the machine."""

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True)
class Product:
    """A layer that multiplies inputs (positions, d_in) by a kernel (d_in, d_out); a convolution multiplies patches."""

    positions: int
    d_in: int
    d_out: int
    first: bool = False  # its input is the example, so no gradient with respect to it is needed
    pixels: int = 0  # of the image that a 3x3 convolution moves over; d_in is 9 times the channels


def products(settings, x):
    """[(operations, (m, k, n))]: the matrix products of the task on the examples x, each with the shape of its factors.

    A multiplication and an addition count as two operations; of a symmetric matrix only n (n + 1) / 2 pairs count. For
    each layer these are the forward product, the backward product with respect to its input, and its part of the Gram
    matrix in the cheapest of three exact forms, or, for the class matrix of cosines, the sum of each class's gradients.
    """
    n, found = len(x), []
    for layer in parts(settings["network"], x)[0]:
        rows, each = n * layer.positions, n * kernel(layer)
        found.append((each, (rows, layer.d_in, layer.d_out)))
        if not layer.first:
            found.append((each, (rows, layer.d_out, layer.d_in)))
        if settings["task"] == "cosine-classes":
            found.append((each, (layer.d_in, rows // settings["network"]["classes"], layer.d_out)))
        else:
            found += min(gram_forms(layer, n), key=lambda form: sum(count for count, _ in form))
    return found


def operations(settings, x):
    """(of matrix products, other): floating-point operations of the task on the examples x, without elementwise ones.
    """
    n, network = len(x), settings["network"]
    layers, per_example, per_pair, rest = parts(network, x)
    other = n * per_example + rest
    if settings["task"] == "cosine-classes":  # the products of the classes' mean unit gradients
        other += 2 * network["classes"] ** 2 * sum(layer.d_in * layer.d_out for layer in layers)
    else:
        other += n * (n + 1) // 2 * per_pair
    return sum(count for count, _ in products(settings, x)), other


def gram_forms(layer, n):
    """[[(operations, shape)]]: a layer's part of the Gram matrix of n examples in each of its exact forms.

    With T positions, inputs a and pre-activation gradients d:

    - pairs of positions, sum over t, s of (a_it . a_js)(d_it . d_js): 2 T^2 (d_in + d_out) per pair of examples;
    - the kernels' gradients A_i^T D_i and their products: 2 T d_in d_out per example and 2 d_in d_out per pair;
    - for a 3x3 convolution also pairs of pixels, which patches share: 2 (pixels^2 d_in / 9 + T^2 d_out) per pair.
    """
    pairs, t, a, d = n * (n + 1) // 2, layer.positions, layer.d_in, layer.d_out

    def of_pairs(positions, width):
        return pairs * 2 * positions**2 * width, (n * positions, width, n * positions)

    forms = [[of_pairs(t, a), of_pairs(t, d)], [(n * kernel(layer), (a, t, d)), of_pairs(1, a * d)]]
    if layer.pixels:
        forms.append([of_pairs(layer.pixels, a // 9), of_pairs(t, d)])
    return forms


def kernel(layer):
    """Operations per example of one product with the layer's kernel."""
    return 2 * layer.positions * layer.d_in * layer.d_out


def parts(network, x):
    """(the layers that multiply by a kernel, other operations per example, per pair, and in total)."""
    shapes = {"mlp": _mlp, "cnn": _cnn, "resnet": _resnet, "transformer": _transformer}
    return shapes[network["architecture"]](network, x)


def _mlp(network, _):
    widths = [*network["input_shape"], *network["widths"], network["classes"]]
    return [Product(1, a, b, first=not i) for i, (a, b) in enumerate(pairwise(widths))], 0, 0, 0


def _cnn(network, _):
    side, _, channels = network["input_shape"]
    products = []
    for filters in network["filters"]:
        products.append(Product(side**2, 9 * channels, filters, first=not products, pixels=side**2))
        side, channels = side // 2, filters
    return [*products, Product(1, side**2 * channels, network["classes"])], 0, 0, 0


def _resnet(network, _):
    side, _, channels = network["input_shape"]
    products = [Product(side**2, 9 * channels, network["filters"][0], first=True)]
    channels = network["filters"][0]
    for stage, filters in enumerate(network["filters"]):
        for block in range(network["blocks"]):
            if stage and not block:
                side //= 2
                products.append(Product(side**2, channels, filters))  # the shortcut
            products += [Product(side**2, 9 * size, filters) for size in (channels, filters)]
            channels = filters
    return [*products, Product(1, channels, network["classes"])], 0, 0, 0


def _transformer(network, x):
    length, width, hidden = network["input_shape"][0], network["width"], network["hidden"]
    block = [Product(length, width, width)] * 4 + [Product(length, width, hidden), Product(length, hidden, width)]
    attention = 12 * length**2 * width  # scores and weighted sums: two products forward, four backward
    norms = 2 * 2 * (2 * width)  # two layers with scale and shift
    positions = 2 * length * width
    # an example's gradient is zero in the rows of tokens that it does not contain
    holders = Counter(token for example in x for token in set(example.tolist()))
    tokens = sum(n * (n + 1) // 2 for n in holders.values()) * 2 * width
    products = [*block * network["blocks"], Product(1, width, network["classes"])]
    return products, attention * network["blocks"], norms * network["blocks"] + positions, tokens


def fastest_shape(settings, x):
    """(m, k, n): a product similar to the costliest one. Smaller ones are slower, which would not give a lower bound;
    larger ones are no faster."""
    _, (m, k, n) = max(products(settings, x))
    return max(m, 500), max(k, 500), max(n, 500)
