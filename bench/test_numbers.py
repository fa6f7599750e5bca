"""All numbers of a report from maps and predictions, after the forward pass.

    pytest bench/test_numbers.py --benchmark-only --maps MAPS.npy

Boxes under `strict` and `paper2018`, the curve of 256 thresholds for one box and for all boxes, MaxBoxAcc, results by
class and size, the baselines' boxes, found on those of 100,000 images, and 1,000 resamples for the intervals. The other
side is the slow one that tests compare with, the plain twins of the kernels, on few images; it stops at boxes and
curve. Images in the figures are maps.
"""

import numpy as np
import pytest
import rounds
from rounds import Side
from test_boxing import SIZE

from fastwsol.evaluation.evaluated_images import EvaluatedImages
from fastwsol.evaluation.maps import NetworkMaps, localize_maps
from fastwsol.evaluation.measure import measure
from fastwsol.evaluation.metrics import IOU_THRESHOLDS
from fastwsol.evaluation.of_localizer import CutMaps
from fastwsol.evaluation.thresholds import CAM_THRESHOLD, default_cut
from fastwsol.evaluation.truths import Truths
from fastwsol.localizer.localizers import LOCALIZERS
from kernels import reference

IMAGES = 10_000 if rounds.timed else 1_000
TRAIN_IMAGES = 100_000
FEW_IMAGES = 10
CLASSES = 200
CAM = LOCALIZERS["cam"]


@pytest.fixture(scope="session")
def many_cams(pytestconfig, smooth_cams):
    """IMAGES maps, and where they are from."""
    path = pytestconfig.option.maps
    cams, data = smooth_cams if path is None else (np.load(path), "class activation maps of a network")
    return np.resize(cams, (IMAGES, *cams.shape[1:])), f"{data}, {IMAGES:,} in all"


def truths_of(count):
    """A random box in each image."""
    rng = np.random.default_rng(2)
    corners = rng.uniform(0, SIZE / 2, (count, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(8, SIZE / 2, (count, 2))], axis=1).astype(np.float32)
    sides = np.full(count, SIZE, np.int32)
    return Truths(sides, sides, boxes, np.arange(count + 1))


def test_all_numbers_of_a_report(paired_rounds, many_cams, cores):
    cams, data = many_cams
    truths = truths_of(len(cams))
    rng = np.random.default_rng(3)
    images = EvaluatedImages(
        [f"{k}.jpg" for k in range(len(cams))],
        truths,
        rng.integers(0, CLASSES, len(cams)),
        np.stack([rng.permutation(CLASSES)[:5] for _ in range(len(cams))]),
        [str(label) for label in range(CLASSES)],
    )
    train = truths_of(TRAIN_IMAGES)

    def ours():
        return measure(images, [CutMaps.of(CAM, cams, SIZE, default_cut(CAM))], train=train, threads=cores)

    assert ours().numbers["images"] == len(cams)
    paired_rounds({"ours": Side(ours)}, images=len(cams), rounds=5, data=data, threads=cores)


def test_boxes_and_curve_beside_the_slow_twins(paired_rounds, many_cams, cores):
    cams, data = many_cams[0][:FEW_IMAGES], many_cams[1]
    truths = truths_of(len(cams))

    def ours():
        localized = localize_maps(NetworkMaps(cams, SIZE), truths)
        boxes = [localized.boxes[protocol].boxes for protocol in ("strict", "paper2018")]
        return boxes, localized.curve.single, localized.curve.multiple

    def slow():
        levels, sizes = reference.cam_levels(cams, SIZE), np.full((len(cams), 2), SIZE, np.int32)
        boxes = [of(cams, SIZE, CAM_THRESHOLD) for of in (reference.cam_boxes, reference.cam_boxes_paper2018)]
        curves = [
            np.stack([ious >= threshold for threshold in IOU_THRESHOLDS], axis=1)
            for ious in reference.sweep_ious(levels, truths.boxes, truths.offsets, sizes)
        ]
        return boxes, *curves

    for one, other in zip(ours(), slow(), strict=True):
        np.testing.assert_array_equal(one, other)
    paired_rounds({"ours": Side(ours), "slow twins": Side(slow)}, images=len(cams), rounds=5, data=data, threads=cores)
