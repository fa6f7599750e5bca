"""From maps and truths to the numbers of a report."""

from itertools import pairwise

import numpy as np
import pytest
from scipy import ndimage
from slow_wsoleval import evaluate_plainly, iou

from fastwsol.evaluation.evaluated_images import EvaluatedImages
from fastwsol.evaluation.fixed_boxes import fixed_box_hits, fixed_boxes
from fastwsol.evaluation.maps import NetworkMaps, localize_maps
from fastwsol.evaluation.measure import measure
from fastwsol.evaluation.metrics import IOU_THRESHOLDS, interval
from fastwsol.evaluation.of_localizer import CutMaps
from fastwsol.evaluation.question import NOTHING_MORE, Question
from fastwsol.evaluation.resampling import oracles, resampled_counts
from fastwsol.evaluation.thresholds import PAPER_LEVEL, BestHits, Cut, choose_levels, default_cut
from fastwsol.evaluation.truths import Truths
from fastwsol.localizer.localizers import LOCALIZERS
from kernels.levels import level_of, threshold_of

SIZE = 32
CAM = LOCALIZERS["cam"]


def some_truths(count, seed=0, widths=SIZE, heights=SIZE):
    rng = np.random.default_rng(seed)
    numbers = rng.choice([0, 1, 1, 2], count)
    corners = rng.uniform(0, 14, (numbers.sum(), 2))
    boxes = np.concatenate([corners, corners + rng.uniform(4, 18, corners.shape)], axis=1).astype(np.float32)
    sizes = (np.full(count, side, np.int32) for side in (widths, heights))
    return Truths(*sizes, boxes, np.cumsum([0, *numbers]))


@pytest.fixture(scope="module")
def cams():
    noise = np.random.default_rng(1).standard_normal((300, 8, 8))
    return ndimage.gaussian_filter(noise, (0, 1.2, 1.2)).astype(np.float32)


@pytest.fixture(scope="module")
def report(cams):
    truths = some_truths(len(cams))
    rng = np.random.default_rng(2)
    labels = rng.integers(0, 9, len(cams))
    predicted = np.stack([rng.permutation(9)[:5] for _ in cams])
    others = localize_maps(NetworkMaps(cams[:100], SIZE), truths.of_rows(np.arange(100)))
    chosen = choose_levels(others.curve, "100 images", None)
    images = images_of(truths, labels, predicted, list("abcdefghi"))
    localizers = [
        CutMaps.of(CAM, cams, SIZE, Cut("asked", 0.4, "the command line")),
        CutMaps.of(LOCALIZERS["ddt"], cams, SIZE, chosen.cut(), chosen),
        CutMaps.of(LOCALIZERS["mask"], (cams > 0) * cams.clip(0, 1), SIZE, Cut("otsu", None, "each image itself")),
    ]
    return measure(images, localizers, train=some_truths(200, seed=3)).numbers


def measured(images, cams, question=NOTHING_MORE, train=None):
    """The numbers of class activation maps at the paper's threshold."""
    return measure(images, [CutMaps.of(CAM, cams, SIZE, default_cut(CAM))], question, train).numbers


def images_of(truths, labels=None, predicted=None, classes=()):
    names = [f"image {n}" for n in range(len(truths))]
    return EvaluatedImages(names, truths, labels, predicted, classes)


def test_rows_of_truths_keep_their_boxes():
    truths = some_truths(20, widths=40)
    rows = np.array([7, 3, 3, 19])
    part = truths.of_rows(rows)
    for k, row in enumerate(rows):
        own = truths.boxes[truths.offsets[row] : truths.offsets[row + 1]]
        np.testing.assert_array_equal(part.boxes[part.offsets[k] : part.offsets[k + 1]], own)
    assert len(truths.of_rows(np.empty(0, np.int64))) == 0


def test_an_objects_share_is_its_largest_boxs():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 20, 10], [5, 5, 6, 6]], np.float32)
    truths = Truths(np.full(3, 40, np.int32), np.full(3, 20, np.int32), boxes, np.array([0, 2, 2, 3]))
    np.testing.assert_array_equal(truths.object_shares(), [200 / 800, np.nan, 1 / 800])


def test_the_fixed_threshold_is_the_curves_at_its_level(report):
    for iou_threshold in IOU_THRESHOLDS:
        at_fixed = report["counts"]["strict"][f"gt_known_loc@{iou_threshold}"].succeeded
        assert report["localizers"][0]["curve"]["single"][str(iou_threshold)][PAPER_LEVEL] == at_fixed


def test_the_oracle_is_the_curves_highest_and_no_row_is_above_it(report):
    asked, chosen, own_scale = report["localizers"]
    boxed = report["images_with_boxes"]
    for row in report["localizers"]:
        oracle = row["oracle"]
        for iou_threshold in IOU_THRESHOLDS:
            name, curve = f"gt_known_loc@{iou_threshold}", row["curve"]["single"][str(iou_threshold)]
            assert oracle["rates"][name] == 100 * max(curve) / boxed
            assert oracle["thresholds"][str(iou_threshold)] == threshold_of(curve.index(max(curve)))
            assert row["rates"][name] <= oracle["rates"][name]
        assert row["max_box_acc"]["strict"]["rates"]["max_box_acc"] == oracle["rates"]["gt_known_loc@0.5"]
    assert report["rates"]["strict"]["gt_known_loc@0.5"] <= asked["oracle"]["rates"]["gt_known_loc@0.5"]
    assert (asked["cut"]["value"], chosen["cut"]["value"]) == (0.4, chosen["thresholds"]["0.5"])
    assert (chosen["cut"]["chosen_on"], own_scale["cut"]["value"]) == ("100 images", None)
    assert "thresholds" not in asked


def test_rates_at_chosen_thresholds_are_the_curves_at_each(report):
    chosen = report["localizers"][1]
    for iou_threshold, threshold in chosen["thresholds"].items():
        hits = chosen["curve"]["single"][iou_threshold][level_of(threshold)]
        assert chosen["counts"][f"gt_known_loc@{iou_threshold}"] == (hits, report["images_with_boxes"])


def test_the_threshold_asked_for_is_the_curves_where_it_is_a_level(cams):
    truths = some_truths(len(cams))
    localized = localize_maps(NetworkMaps(cams, SIZE), truths, threshold_of(102))
    for k, iou_threshold in enumerate(IOU_THRESHOLDS):
        np.testing.assert_array_equal(localized.at_cut.ious >= iou_threshold, localized.curve.single[:, k, 102])


def test_groups_by_size_and_class_add_up_to_the_whole(report):
    for row in report["localizers"]:
        for groups, names in ((row["sizes"], ["gt_known_loc@0.5"]), (row["classes"], list(row["counts"]))):
            for name in names:
                sums = [sum(group["counts"][name][k] for group in groups) for k in range(2)]
                assert sums == list(row["counts"][name])
    whole_image = report["baselines"][0]
    of_groups = sum(group["counts"]["gt_known_loc@0.5"][0] for group in whole_image["sizes"])
    assert 100 * of_groups / report["images_with_boxes"] == whole_image["rates"]["strict"]["gt_known_loc@0.5"]


def test_every_rate_lies_in_its_interval(report):
    for protocol, rates in report["rates"].items():
        for name, rate in rates.items():
            if rate in (0, 100):
                assert report["intervals"][protocol][name] is None
                continue
            low, high = report["intervals"][protocol][name]
            assert low < rate < high
            assert high - low < 15
    for row in report["localizers"]:
        of_oracle = row["max_box_acc"]["strict"]
        for name, reach in of_oracle["intervals"].items():
            if of_oracle["rates"][name] in (0, 100):
                assert reach is None
            else:
                assert reach[0] < of_oracle["rates"][name] < reach[1]
        parts = [of_oracle["rates"][f"max_box_acc_v2@{t}"] for t in (0.3, 0.5, 0.7)]
        assert np.mean(parts) == pytest.approx(of_oracle["rates"]["max_box_acc_v2"])


def test_a_localizer_stands_beside_the_best_box_on_the_same_images(report):
    best = {each["iou_threshold"]: each["rates"]["strict"] for each in report["baselines"]}
    for row in report["localizers"]:
        for threshold in (0.3, 0.5, 0.7):
            name = f"gt_known_loc@{threshold}"
            above = row["above_best_box"][name]
            assert above["of_box"] == best[threshold][name]
            assert above["points"] == pytest.approx(row["rates"][name] - above["of_box"])
            if above["interval"] is not None:
                assert above["interval"][0] <= above["points"] <= above["interval"][1]


def test_an_oracles_interval_is_that_of_its_rows_at_the_best_thresholds(report):
    cam = report["localizers"][0]
    oracle, found = cam["oracle"], cam["max_box_acc"]["strict"]["intervals"]
    assert found["max_box_acc"] == oracle["intervals"]["gt_known_loc@0.5"]
    widest = max(np.ptp(oracle["intervals"][f"gt_known_loc@{t}"]) for t in IOU_THRESHOLDS[:2])
    assert widest / 3 < np.ptp(found["max_box_acc_v2_single"]) < widest
    assert found["max_box_acc_v2"][0] > found["max_box_acc_v2_single"][0]


def test_where_all_images_are_alike_no_interval_is_told(cams):
    truths = some_truths(len(cams))
    right = np.zeros(len(cams), np.int64)
    images = images_of(truths, right, right[:, np.newaxis], ["a"])
    found = measured(images, cams)
    assert found["rates"]["strict"]["top1_clas"] == 100
    assert found["intervals"]["strict"]["top1_clas"] is None


def test_the_older_evaluators_numbers_are_those_of_its_description(cams):
    """On images twice as wide as high, so that sides mistaken for one another show."""
    cams, truths = cams[:12], some_truths(12, seed=4, widths=2 * SIZE)
    in_map = truths.in_wsoleval_map(SIZE)
    train = some_truths(50, seed=5, widths=2 * SIZE)
    found = measured(images_of(truths), cams, Question(wsoleval=True), train)
    at_cuts = {"single": np.zeros((3, 1000)), "multiple": np.zeros((3, 1000))}
    for n, cam in enumerate(cams):
        own = in_map[truths.offsets[n] : truths.offsets[n + 1]]
        for k, (_, single, multiple) in enumerate(evaluate_plainly(cam, own, SIZE)):
            at_cuts["single"][:, k] += np.array(IOU_THRESHOLDS) <= single
            at_cuts["multiple"][:, k] += np.array(IOU_THRESHOLDS) <= multiple
    rates = {name: 100 * each / truths.has_boxes.sum() for name, each in at_cuts.items()}
    for row, iou_threshold in enumerate(IOU_THRESHOLDS):
        assert found["rates"]["wsoleval"][f"gt_known_loc@{iou_threshold}"] == pytest.approx(rates["single"][row, 200])
        for each in found["baselines"]:
            x0, y0, x1, y1 = each["box"]
            written = (x0, y0, min(x1, SIZE - 1), min(y1, SIZE - 1))
            ious = [max((iou(written, t) for t in in_map[a:b]), default=0) for a, b in pairwise(truths.offsets)]
            expected = 100 * sum(each >= iou_threshold for each in ious) / truths.has_boxes.sum()
            assert each["rates"]["wsoleval"][f"gt_known_loc@{iou_threshold}"] == pytest.approx(expected)
    oracle = found["localizers"][0]["max_box_acc"]["wsoleval"]["rates"]
    assert oracle["max_box_acc"] == pytest.approx(rates["single"][1].max())
    assert oracle["max_box_acc_v2"] == pytest.approx(rates["multiple"].max(axis=1).mean())
    assert oracle["max_box_acc_v2_single"] == pytest.approx(rates["single"].max(axis=1).mean())
    assert oracle["max_box_acc_v2"] > oracle["max_box_acc_v2_single"]
    assert found["wsoleval_side"] == SIZE


def test_boxes_of_wide_images_are_stretched_along_their_own_sides():
    truths = Truths(
        np.array([200], np.int32), np.array([50], np.int32), np.array([[20, 10, 100, 50]], np.float32), np.array([0, 1])
    )
    assert truths.in_square(100).tolist() == [[10, 20, 50, 100]]
    assert truths.in_wsoleval_map(100).tolist() == [[10, 20, 49, 98]]
    assert fixed_box_hits(fixed_boxes(truths, 100)[3], truths, 100, "strict").all()


def test_truths_of_other_boxes_have_another_digest():
    truths = some_truths(10)
    moved = Truths(truths.widths, truths.heights, truths.boxes + 1, truths.offsets)
    assert some_truths(10).digest() == truths.digest() != moved.digest()


def test_the_interval_is_the_binomials():
    """Of 2000 images 30 %: 1.96 * sqrt(.3 * .7 / 2000) = 2.0 points on each side."""
    flags = np.column_stack([np.arange(2000) % 10 < 3, np.ones(2000, bool)])
    resampled = resampled_counts(flags).astype(float)
    low, high = interval(100 * resampled[:, 0] / resampled[:, 1])
    assert low == pytest.approx(28, abs=0.25)
    assert high == pytest.approx(32, abs=0.25)


@pytest.mark.parametrize("hit", [False, True])
def test_an_oracle_of_few_images_that_are_alike_has_no_interval(hit):
    """Also where some resamples draw none of the images with a box, whose rate is then no number."""
    has_boxes = np.arange(1000) < 2
    hits = np.zeros((1000, 3), bool) | (has_boxes & hit)[:, np.newaxis]
    found = oracles(BestHits(hits, hits), has_boxes)
    assert found["rates"]["max_box_acc"] == 100 * hit
    assert set(found["intervals"].values()) == {None}


def test_images_may_be_resampled_in_parts():
    flags = np.random.default_rng(0).random((700, 3)) < 0.5
    np.testing.assert_array_equal(resampled_counts(flags, images_at_once=64), resampled_counts(flags))


def test_a_set_without_boxes_tells_what_it_can(cams):
    truths = Truths(*np.full((2, 4), SIZE, np.int32), np.empty((0, 4), np.float32), np.zeros(5, np.int64))
    right = np.zeros(4, np.int64)
    images = images_of(truths, right, right[:, np.newaxis], ["a"])
    found = measured(images, cams[:4])
    assert found["rates"]["strict"]["gt_known_loc@0.5"] is None
    assert found["intervals"]["strict"]["gt_known_loc@0.5"] is None
    assert found["localizers"][0]["max_box_acc"]["strict"]["rates"]["max_box_acc"] is None
    assert found["rates"]["strict"]["top1_clas"] == 100
