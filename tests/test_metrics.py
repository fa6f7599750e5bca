"""Counts and percentages, the oracles over thresholds, intervals and the paired test."""

import ast
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastwsol.evaluation import metrics
from fastwsol.evaluation.boxes import CurveHits
from fastwsol.evaluation.metrics import (
    BEYOND_TOP_5,
    IOU_THRESHOLDS,
    counts,
    counts_of_groups,
    interval,
    max_box_acc,
    outcomes,
    ranks,
    rates,
    sign_test,
    size_groups,
)
from fastwsol.evaluation.thresholds import best_levels, choose_levels
from kernels.levels import LEVELS


def flags(text):
    return np.array([letter == "1" for letter in text])


# Five images: a hit and right; a hit and third; a miss and right; right, but without boxes; a hit and beyond the fifth.
HITS = np.stack([flags("11011"), flags("11001"), flags("01001")])
RANKS, HAS_BOXES = np.array([0, 2, 0, 0, BEYOND_TOP_5]), flags("11101")


def test_each_metric_counts_what_it_says():
    assert counts(outcomes(HITS, HAS_BOXES, RANKS)) == {
        "top1_clas": (3, 5),
        "top5_clas": (4, 5),
        "gt_known_loc@0.3": (3, 4),
        "top1_loc@0.3": (1, 4),
        "top5_loc@0.3": (2, 4),
        "gt_known_loc@0.5": (3, 4),
        "top1_loc@0.5": (1, 4),
        "top5_loc@0.5": (2, 4),
        "gt_known_loc@0.7": (2, 4),
        "top1_loc@0.7": (0, 4),
        "top5_loc@0.7": (1, 4),
    }


def test_the_predicted_classes_maps_make_no_top_5_loc():
    found = outcomes(HITS, HAS_BOXES, RANKS, "predicted")
    assert "predicted_loc@0.5" in found
    assert not {"top5_loc@0.5", "gt_known_loc@0.5"} & set(found)


def test_without_classification_localization_alone_is_told():
    assert set(outcomes(HITS, HAS_BOXES, None)) == {f"gt_known_loc@{t}" for t in IOU_THRESHOLDS}


def test_ranks_are_places_among_the_first_five():
    predicted = np.array([[3, 1, 2], [1, 3, 2], [2, 1, 3], [0, 1, 2]])
    assert ranks(predicted, np.full(4, 3)).tolist() == [0, 1, 2, BEYOND_TOP_5]


def test_localization_is_out_of_images_with_boxes_and_classification_out_of_all():
    found = rates(outcomes(HITS, HAS_BOXES, RANKS))
    assert found["top1_clas"] == 60
    assert found["gt_known_loc@0.5"] == 75


def test_counts_of_parts_add_up_to_the_counts_of_all():
    rng = np.random.default_rng(0)
    hits, has_boxes = rng.random((len(IOU_THRESHOLDS), 100)) < 0.5, rng.random(100) < 0.7
    places = rng.integers(0, 6, 100)
    parts = [slice(0, 13), slice(13, 13), slice(13, 77), slice(77, 100)]
    of_parts = [counts(outcomes(hits[:, part], has_boxes[part], places[part])) for part in parts]
    for name, count in counts(outcomes(hits, has_boxes, places)).items():
        assert tuple(sum(pair) for pair in zip(*(each[name] for each in of_parts), strict=True)) == count


def test_counts_of_groups_are_those_of_their_images():
    rng = np.random.default_rng(1)
    hits, has_boxes, places = rng.random((3, 60)) < 0.5, rng.random(60) < 0.7, rng.integers(0, 6, 60)
    groups = rng.integers(-1, 4, 60)
    of_groups = counts_of_groups(outcomes(hits, has_boxes, places), groups, 5)
    for group in range(5):
        inside = groups == group
        alone = counts(outcomes(hits[:, inside], has_boxes[inside], places[inside]))
        assert {name: each[group] for name, each in of_groups.items()} == alone


def test_counts_are_plain_whole_numbers():
    found = outcomes(HITS, HAS_BOXES, RANKS)
    numbers = [number for count in counts(found).values() for number in count]
    numbers += [n for each in counts_of_groups(found, np.zeros(5, int), 2).values() for count in each for n in count]
    assert {type(number) for number in numbers} == {int}


def test_nothing_counted_gives_none_and_not_zero():
    nothing = outcomes(np.zeros((3, 0), bool), np.zeros(0, bool), np.zeros(0, np.int64))
    assert all(rate is None for rate in rates(nothing).values())


def test_other_shapes_and_dtypes_are_refused():
    with pytest.raises(ValueError, match=r"hits has shape \(2, 5\), expected \(3, 5\)"):
        outcomes(HITS[:2], HAS_BOXES, RANKS)
    with pytest.raises(ValueError, match=r"ranks has shape \(4,\), expected \(5,\)"):
        outcomes(HITS, HAS_BOXES, RANKS[:4])
    with pytest.raises(ValueError, match="boolean"):
        outcomes(HITS.astype(int), HAS_BOXES, RANKS)


def test_groups_by_size_take_their_lower_bound():
    shares = np.array([0.0, 0.0999, 0.1, 0.25, 0.5, 0.75, 1.0, np.nan])
    assert size_groups(shares).tolist() == [0, 0, 1, 2, 3, 4, 4, -1]


def curve(**levels):
    """Counts [T, LEVELS], 0 but where said: `curve(at3=[(10, 5)])` has 5 hits at level 10 and IoU .3."""
    found = np.zeros((len(IOU_THRESHOLDS), LEVELS), np.int64)
    for row, name in enumerate(("at3", "at5", "at7")):
        for level, number in levels.get(name, []):
            found[row, level] = number
    return found


def test_max_box_acc_takes_each_iou_thresholds_own_best_level():
    single = curve(at3=[(10, 8), (20, 6)], at5=[(20, 4), (30, 3)], at7=[(200, 1)])
    multiple = curve(at3=[(10, 9)], at5=[(20, 6)], at7=[(100, 3)])
    found = max_box_acc(single, multiple, np.int64(10))
    assert found["max_box_acc"] == 40
    assert found["max_box_acc_v2"] == pytest.approx((90 + 60 + 30) / 3)
    assert found["max_box_acc_v2_single"] == pytest.approx((80 + 40 + 10) / 3)
    assert best_levels(single).tolist() == [10, 20, 200]


def test_max_box_acc_of_nothing_is_nan():
    assert all(np.isnan(each) for each in max_box_acc(curve(), curve(), np.int64(0)).values())


def test_of_equally_good_levels_the_lowest_is_taken():
    assert best_levels(curve(at3=[(7, 3), (9, 3)])).tolist() == [7, 0, 0]


@pytest.mark.parametrize(("near", "expected"), [(0.2, 60), (0.5, 128), (0.9, 200), (None, 60)])
def test_of_equally_good_levels_the_nearest_to_the_cut_without_boxes_is_chosen(near, expected):
    """Few images leave many levels that are equally good: here 60 to 200 at each IoU, for one image that is hit."""
    single = np.zeros((2, 3, LEVELS), bool)
    single[0, :, 60:201] = True
    assert choose_levels(CurveHits(single, single), "2 images", near).levels.tolist() == [expected] * 3


def test_the_interval_leaves_a_fortieth_on_each_side():
    assert interval(np.arange(1001.0)) == pytest.approx((25, 975))
    assert interval(np.array([1.0, np.nan, 1.0])) == (1.0, 1.0)
    assert interval(np.array([np.nan])) is None


@given(st.integers(0, 40), st.integers(0, 40))
def test_the_sign_test_sums_the_binomial_tails(one, other):
    number = one + other
    tails = sum(math.comb(number, k) for k in range(number + 1) if abs(2 * k - number) >= abs(one - other))
    assert sign_test(one, other) == pytest.approx(min(1.0, tails / 2**number))
    assert sign_test(one, other) == sign_test(other, one)


def test_the_sign_test_takes_thousands():
    assert sign_test(5000, 5000) == 1
    assert sign_test(0, 3000) == 0.0 or sign_test(0, 3000) < 1e-300
    assert 0.04 < sign_test(4900, 5100) < 0.05


def test_metrics_import_no_other_module_of_ours():
    tree = ast.parse(Path(metrics.__file__).read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name for name in imported if name.split(".")[0] in ("fastwsol", "kernels")}
