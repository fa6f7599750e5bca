"""Intersection over union of half-open boxes `x0,y0,x1,y1`, in float64: exact areas for whole-pixel boxes.

Ground truth comes as one array [M, 4] for all images, with `offsets` int64 [N + 1]: image n owns rows offsets[n] up
to offsets[n + 1], possibly none.
"""

import numpy as np
import numpy.typing as npt
from numba import prange

from kernels.checks import BoxArray, checked_boxes, checked_offsets, refuse_forked
from kernels.compiling import njit


def best_iou(boxes: BoxArray, truths: BoxArray, offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """IoU float64 [N] of each image's box [N, 4] with the best of its ground-truth boxes [M, 4]; NaN if it has none.

    Raises ValueError for other dtypes or shapes, for coordinates that are NaN or infinite, and for `offsets` that do
    not divide the truths among the images.
    """
    boxes, truths = checked_boxes(boxes, "boxes"), checked_boxes(truths, "truths")
    return _best_iou(boxes, truths, checked_offsets(offsets, len(boxes), len(truths)), True)


def best_iou_paper2018(boxes: BoxArray, truths: BoxArray, offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """As `best_iou`, with the rule of Choe et al. 2018's code (docs/paper.md, "CAM to box").

    The intersection is (right - left) * (bottom - top) even where both are negative, so boxes apart on both axes may
    score, and values may leave 0..1. An empty or inverted box, which that code never has, gets 0, and so does a pair
    whose union comes out as 0.
    """
    boxes, truths = checked_boxes(boxes, "boxes"), checked_boxes(truths, "truths")
    return _best_iou(boxes, truths, checked_offsets(offsets, len(boxes), len(truths)), False)


def fixed_box_hits(
    candidates: npt.NDArray[np.int32], truths: BoxArray, offsets: npt.NDArray[np.int64], iou_thresholds: npt.ArrayLike
) -> npt.NDArray[np.int64]:
    """How many images each candidate box [K, 4] would hit if it were the answer for all of them: int64 [K, T].

    A hit is `best_iou` >= threshold, for each of `iou_thresholds` [T]; images without ground truth are no hit.
    Raises ValueError as `best_iou` does.
    """
    candidates, truths = checked_boxes(candidates, "candidates"), checked_boxes(truths, "truths")
    images = np.size(offsets) - 1
    thresholds = np.ascontiguousarray(iou_thresholds, np.float64)
    if thresholds.ndim != 1:
        raise ValueError(f"iou_thresholds has shape {thresholds.shape}, expected [T]")
    offsets = checked_offsets(offsets, images, len(truths))
    # Most images have one box, and it is not empty: these need no search for the best, and their loop is vectorised.
    single = np.diff(offsets) == 1
    own = truths[offsets[:-1][single]]
    single[single] = (own[:, 2:] > own[:, :2]).all(axis=1)
    sides = np.ascontiguousarray(truths[offsets[:-1][single]].T)
    others = np.flatnonzero(~single)
    refuse_forked()
    return _hits_of_single_truths(candidates, sides, thresholds) + _hits_of_images(
        candidates, truths, offsets, others, thresholds
    )


@njit()
def _iou(boxes: npt.NDArray[np.float64], i: int, truths: npt.NDArray[np.float64], j: int, clamped: bool) -> float:
    across = min(boxes[i, 2], truths[j, 2]) - max(boxes[i, 0], truths[j, 0])
    down = min(boxes[i, 3], truths[j, 3]) - max(boxes[i, 1], truths[j, 1])
    if clamped and (across <= 0 or down <= 0):
        return 0.0  # also where a box is empty or inverted: it has no width or height to share
    width, height = boxes[i, 2] - boxes[i, 0], boxes[i, 3] - boxes[i, 1]
    truth_width, truth_height = truths[j, 2] - truths[j, 0], truths[j, 3] - truths[j, 1]
    if min(width, height) <= 0 or min(truth_width, truth_height) <= 0:
        return 0.0
    intersection = across * down
    union = width * height + truth_width * truth_height - intersection
    return intersection / union if union != 0 else 0.0


# Not in parallel: ten thousand images take less time than waking a second thread is worth.
@njit()
def _best_iou(
    boxes: npt.NDArray[np.float64], truths: npt.NDArray[np.float64], offsets: npt.NDArray[np.int64], clamped: bool
) -> npt.NDArray[np.float64]:
    best = np.full(len(boxes), np.nan)
    for image in range(len(boxes)):
        for truth in range(offsets[image], offsets[image + 1]):
            iou = _iou(boxes, image, truths, truth, clamped)
            if not iou <= best[image]:  # true for the first, which meets NaN
                best[image] = iou
    return best


@njit(parallel=True, error_model="numpy")
def _hits_of_single_truths(
    candidates: npt.NDArray[np.float64], sides: npt.NDArray[np.float64], thresholds: npt.NDArray[np.float64]
) -> npt.NDArray[np.int64]:
    """`sides` are x0, y0, x1, y1 of one box an image, [4, images], none of them empty: so no union is 0."""
    hits = np.zeros((len(candidates), len(thresholds)), np.int64)
    x0s, y0s, x1s, y1s = sides[0], sides[1], sides[2], sides[3]
    for candidate in prange(len(candidates)):
        x0, y0 = candidates[candidate, 0], candidates[candidate, 1]
        x1, y1 = candidates[candidate, 2], candidates[candidate, 3]
        area = max(x1 - x0, 0.0) * max(y1 - y0, 0.0)
        for level in range(len(thresholds)):
            count = 0
            for image in range(len(x0s)):
                across = max(min(x1, x1s[image]) - max(x0, x0s[image]), 0.0)
                down = max(min(y1, y1s[image]) - max(y0, y0s[image]), 0.0)
                shared = across * down
                union = area + (x1s[image] - x0s[image]) * (y1s[image] - y0s[image]) - shared
                count += shared / union >= thresholds[level]
            hits[candidate, level] = count
    return hits


@njit(parallel=True)
def _hits_of_images(
    candidates: npt.NDArray[np.float64],
    truths: npt.NDArray[np.float64],
    offsets: npt.NDArray[np.int64],
    images: npt.NDArray[np.int64],
    thresholds: npt.NDArray[np.float64],
) -> npt.NDArray[np.int64]:
    """The same of `images` alone, which may have any number of boxes."""
    hits = np.zeros((len(candidates), len(thresholds)), np.int64)
    for candidate in prange(len(candidates)):
        for image in images:
            best = np.nan
            for truth in range(offsets[image], offsets[image + 1]):
                iou = _iou(candidates, candidate, truths, truth, True)
                if not iou <= best:
                    best = iou
            for level in range(len(thresholds)):
                hits[candidate, level] += best >= thresholds[level]
    return hits
