"""Counts and percentages."""

import ast
from pathlib import Path

import numpy as np
import pytest

from fastwsol import metrics
from fastwsol.metrics import IOU_THRESHOLDS, LocalizationCounts, count


def flags(text):
    return np.array([letter == "1" for letter in text])


# Five images: a hit and right; a hit and wrong; a miss and right; right, but without boxes; padding.
HITS = np.stack([flags("11011"), flags("11011"), flags("01011")])
CORRECT, HAS_BOXES, VALID = flags("10111"), flags("11101"), flags("11110")


def test_each_metric_counts_what_it_says():
    assert count(HITS, CORRECT, HAS_BOXES, VALID) == LocalizationCounts(
        images=4, images_with_boxes=3, top1_clas=3, loc=(2, 2, 1), top1_loc=(1, 1, 0)
    )


def test_padding_never_enters_a_metric():
    padding = ~VALID
    for hits, correct, has_boxes in (
        (HITS, CORRECT, HAS_BOXES),
        (HITS ^ padding, CORRECT ^ padding, HAS_BOXES ^ padding),
    ):
        assert count(hits, correct, has_boxes, VALID) == count(HITS[:, :4], CORRECT[:4], HAS_BOXES[:4], VALID[:4])


def test_localization_is_out_of_images_with_boxes_and_classification_out_of_all():
    rates = count(HITS, CORRECT, HAS_BOXES, VALID).rates()
    assert rates == {
        "top1_clas": 75.0,
        "gt_known_loc@0.3": pytest.approx(200 / 3),
        "top1_loc@0.3": pytest.approx(100 / 3),
        "gt_known_loc@0.5": pytest.approx(200 / 3),
        "top1_loc@0.5": pytest.approx(100 / 3),
        "gt_known_loc@0.7": pytest.approx(100 / 3),
        "top1_loc@0.7": 0.0,
    }


def test_counts_of_shards_add_up_to_the_counts_of_all():
    rng = np.random.default_rng(0)
    hits = rng.random((len(IOU_THRESHOLDS), 100)) < 0.5
    correct, has_boxes, valid = rng.random((3, 100)) < 0.7
    shards = [slice(0, 13), slice(13, 13), slice(13, 77), slice(77, 100)]
    parts = [count(hits[:, shard], correct[shard], has_boxes[shard], valid[shard]) for shard in shards]
    assert sum(parts, LocalizationCounts()) == count(hits, correct, has_boxes, valid)


def test_counts_are_plain_whole_numbers():
    counts = count(HITS, CORRECT, HAS_BOXES, VALID)
    numbers = [counts.images, counts.images_with_boxes, counts.top1_clas, *counts.loc, *counts.top1_loc]
    assert {type(number) for number in numbers} == {int}


def test_nothing_counted_gives_none_and_not_zero():
    assert all(rate is None for rate in LocalizationCounts().rates().values())


def test_other_shapes_and_dtypes_are_refused():
    with pytest.raises(ValueError, match=r"hits has shape \(2, 5\), expected \(3, 5\)"):
        count(HITS[:2], CORRECT, HAS_BOXES, VALID)
    with pytest.raises(ValueError, match=r"correct has shape \(4,\), expected \(5,\)"):
        count(HITS, CORRECT[:4], HAS_BOXES, VALID)
    with pytest.raises(ValueError, match="boolean"):
        count(HITS, CORRECT.astype(int), HAS_BOXES, VALID)


def test_metrics_import_no_other_module_of_ours():
    tree = ast.parse(Path(metrics.__file__).read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert not {name for name in imported if name.split(".")[0] in ("fastwsol", "kernels")}
