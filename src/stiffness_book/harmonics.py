"""Functions on the sphere whose length scale is known: random combinations of the spherical harmonics of a degree."""

import numpy as np
from scipy.optimize import brentq
from scipy.special import eval_legendre, sph_harm_y

SIZES = 20_000, 5_000  # points for training and for validation


def points(number, rng):
    """(number, 3): points spread evenly over the unit sphere at random."""
    vectors = rng.normal(size=(number, 3))
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def components(points, degrees, draw):
    """(number of degrees, n): for each degree a function with mean square 1 on the sphere, at the points.

    It combines all 2 l + 1 real spherical harmonics of degree l with random weights, which are fixed by the degree and
    by the number `draw`.
    """
    x, y, z = np.asarray(points, float).reshape(-1, 3).T
    polar, azimuth = np.arccos(np.clip(z, -1, 1)), np.arctan2(y, x)
    values = []
    for degree in degrees:
        weights = np.random.default_rng([draw, degree]).normal(size=2 * degree + 1)
        orders = np.arange(degree + 1)
        complex_harmonics = sph_harm_y(degree, orders[:, None], polar, azimuth)
        real = np.concatenate([complex_harmonics.real[:1], 2**0.5 * complex_harmonics.real[1:],
                               2**0.5 * complex_harmonics.imag[1:]])  # orthonormal
        values.append((4 * np.pi) ** 0.5 * weights @ real / np.linalg.norm(weights))
    return np.array(values)


def length_scale(degree):
    """The angle, in radians, at which the autocorrelation of every function of this degree first falls to zero.

    By the addition theorem the mean of f(x) f(x') over all pairs of points at the angle t is P_l(cos t), the Legendre
    polynomial, in units of the mean square of f.
    """
    first = 2.5 / (degree + 0.5)  # beyond the first zero, which is near 2.405 / (l + 1/2), and before the second
    return brentq(lambda angle: eval_legendre(degree, np.cos(angle)), 0, min(first, np.pi))
