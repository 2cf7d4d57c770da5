"""The papers' claims, one module a paper and one for future work. Each is judged by a rule that the program applies and
the page prints."""

from stiffness_book.claims.fort_v1 import (
    between_classes_grows,
    domain_grows_with_rate,
    first_probe_sets_suffice,
    higher_rate_is_stiffer,
    layer_domains_grow_with_rate,
    near_pairs_are_stiff,
    overfitting_loses_stiffness,
    overfitting_loses_stiffness_of_cnns,
    permuted_labels_negative,
    probe_images_suffice,
    super_class_blocks,
    within_class_positive,
)
from stiffness_book.claims.fort_v3 import (
    critical_length_shrinks,
    picture_holds_for_a_residual_network,
    regimes_behave_alike,
    small_rates_are_stiffer,
    transformers_show_the_pattern,
)
from stiffness_book.claims.future_work import (
    domain_follows_length_scale,
    locality_stiffens,
    order_leaves_its_mark,
    super_classes_appear_and_fade,
)
from stiffness_book.claims.novak import (
    factors_change_the_norm,
    larger_networks_are_better,
    low_near_the_data,
    norm_correlates_with_gap,
    norm_tells_wrong_points,
    regions_grow_sparser,
)
from stiffness_book.claims.parts import SMALL, by_outcome, outcomes
from stiffness_book.claims.registry import CLAIMS, claim, in_order, in_words, picture, scorecard

__all__ = [
    "CLAIMS",
    "SMALL",
    "between_classes_grows",
    "by_outcome",
    "claim",
    "critical_length_shrinks",
    "domain_follows_length_scale",
    "domain_grows_with_rate",
    "factors_change_the_norm",
    "first_probe_sets_suffice",
    "higher_rate_is_stiffer",
    "in_order",
    "in_words",
    "larger_networks_are_better",
    "layer_domains_grow_with_rate",
    "locality_stiffens",
    "low_near_the_data",
    "near_pairs_are_stiff",
    "norm_correlates_with_gap",
    "norm_tells_wrong_points",
    "order_leaves_its_mark",
    "outcomes",
    "overfitting_loses_stiffness",
    "overfitting_loses_stiffness_of_cnns",
    "permuted_labels_negative",
    "picture",
    "picture_holds_for_a_residual_network",
    "probe_images_suffice",
    "regimes_behave_alike",
    "regions_grow_sparser",
    "scorecard",
    "small_rates_are_stiffer",
    "super_class_blocks",
    "super_classes_appear_and_fade",
    "transformers_show_the_pattern",
    "within_class_positive",
]
