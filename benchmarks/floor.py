"""A lower bound of the closed form's time: its matrix products alone, at the speed of the machine."""

import math
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


def operations(settings, x):
    """Floating-point operations of the task on the examples x; a multiplication and an addition count as two.

    Only matrix products are counted, not elementwise operations, and of a symmetric matrix only n (n + 1) / 2 pairs.
    For each layer these are the forward product, the backward product with respect to its input, and its part of the
    Gram matrix in the cheapest of three exact forms. With T positions, inputs a and pre-activation gradients d:

    - pairs of positions, sum over t, s of (a_it . a_js)(d_it . d_js): 2 T^2 (d_in + d_out) per pair of examples;
    - the kernels' gradients A_i^T D_i and their products: 2 T d_in d_out per example and 2 d_in d_out per pair;
    - for a 3x3 convolution also pairs of pixels, which patches share: 2 (pixels^2 d_in / 9 + T^2 d_out) per pair.
    """
    n, network = len(x), settings["network"]
    products, per_example, per_pair, rest = parts(network, x)
    total = n * per_example + rest
    for layer in products:
        total += n * (1 if layer.first else 2) * kernel(layer)
    if settings["task"] == "cosine-classes":
        # the mean unit gradient of each class, and the products of these means
        return total + sum(n * kernel(layer) for layer in products) + (
            2 * network["classes"] ** 2 * sum(layer.d_in * layer.d_out for layer in products))
    pairs = n * (n + 1) // 2
    return total + pairs * per_pair + sum(min(gram_forms(layer, n, pairs)) for layer in products)


def gram_forms(layer, n, pairs):
    """The operations of a layer's part of the Gram matrix: by pairs of positions, kernel gradients, pairs of pixels."""
    by_positions = pairs * 2 * layer.positions**2 * (layer.d_in + layer.d_out)
    by_kernels = n * kernel(layer) + pairs * 2 * layer.d_in * layer.d_out
    by_pixels = pairs * 2 * (layer.pixels**2 * layer.d_in / 9 + layer.positions**2 * layer.d_out)
    return by_positions, by_kernels, by_pixels if layer.pixels else math.inf


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


def shape_of_rate(settings, x):
    """(m, k, m): the shape of the product whose speed is measured, similar to the costliest one of the Gram matrix."""
    n = len(x)
    pairs = n * (n + 1) // 2
    costly = max(parts(settings["network"], x)[0], key=lambda layer: min(gram_forms(layer, n, pairs)))
    forms = gram_forms(costly, n, pairs)
    widths = max(costly.d_in, costly.d_out), costly.d_in * costly.d_out, max(costly.d_in // 9, costly.d_out)
    width = widths[forms.index(min(forms))]
    # smaller products are slower, which would not give a lower bound; larger ones are no faster
    m = min(max(n, 500), 4096)
    return m, min(max(width, 500), 8192), m
