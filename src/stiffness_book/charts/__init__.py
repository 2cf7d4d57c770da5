"""The book's charts: functions of a tidy table that return an Altair chart with its alternative text.

Each function draws whatever the table holds: missing and infinite values are left out and counted in a note, and a
table with nothing to draw gives a chart that says so.
"""

from stiffness_book.charts.concept import two_gradients
from stiffness_book.charts.contradiction import trend_grid, trend_switch
from stiffness_book.charts.curves import (
    agreement_evolution,
    arithmetic_evolution,
    block_evolution,
    body_evolution,
    domain_evolution,
    labelled_evolution,
    loss_evolution,
    measure_evolution,
    precision_evolution,
    regime_evolution,
    stiffness_evolution,
)
from stiffness_book.charts.distance import stiffness_against_distance
from stiffness_book.charts.ellipses import along_ellipses, factor_points, round_an_ellipse
from stiffness_book.charts.harmonics import domain_sizes_against_scale, stiffness_against_angle
from stiffness_book.charts.learning_rate import domain_sizes_against_rate, stiffness_against_rate
from stiffness_book.charts.lengths import critical_lengths, window_sliders
from stiffness_book.charts.matrices import in_words, matrices_beside, matrix_orders, matrix_panels, matrix_slider
from stiffness_book.charts.moving import moving_matrix
from stiffness_book.charts.orders import class_accuracies, within_passes
from stiffness_book.charts.points import (
    domains_by_depth,
    network_difference_points,
    network_stiffness_points,
    probe_error_curves,
)
from stiffness_book.charts.regions import region_pictures, regions_by_distance
from stiffness_book.charts.survey import errors_by_decile, estimates, factor_pairs, gap_scatter, size_curves

__all__ = [
    "agreement_evolution",
    "along_ellipses",
    "arithmetic_evolution",
    "block_evolution",
    "body_evolution",
    "class_accuracies",
    "critical_lengths",
    "domain_evolution",
    "domain_sizes_against_rate",
    "domain_sizes_against_scale",
    "domains_by_depth",
    "errors_by_decile",
    "estimates",
    "factor_pairs",
    "factor_points",
    "gap_scatter",
    "in_words",
    "labelled_evolution",
    "loss_evolution",
    "matrices_beside",
    "matrix_orders",
    "matrix_panels",
    "matrix_slider",
    "measure_evolution",
    "moving_matrix",
    "network_difference_points",
    "network_stiffness_points",
    "precision_evolution",
    "probe_error_curves",
    "regime_evolution",
    "region_pictures",
    "regions_by_distance",
    "round_an_ellipse",
    "size_curves",
    "stiffness_against_angle",
    "stiffness_against_distance",
    "stiffness_against_rate",
    "stiffness_evolution",
    "trend_grid",
    "trend_switch",
    "two_gradients",
    "window_sliders",
    "within_passes",
]
