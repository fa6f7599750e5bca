"""The protocol of the evaluator of Choe et al. 2020, as its code has it: to compare with numbers made by it.

It differs from `strict` in every step: maps are upsampled bicubically by OpenCV; a map is cut to bytes, and kept where
*greater* than the threshold's byte (`kernels.levels.wsoleval_cut`), for thresholds t = 0, .001, ... .999; the largest
is the OpenCV contour with the largest polygon area, in which a component a pixel wide has none, and the contour of a
hole counts like one of a component; a box is one past its last pixel but at most at the last of the map; ground truth
is taken as inclusive, is cut to whole pixels of the map, and IoU counts all ends as inclusive.

It needs OpenCV, and runs its contours at each value that a threshold's byte can have: tens of milliseconds a map.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastwsol.dataset.ragged_boxes import owners_of
from fastwsol.host.errors import UserError
from kernels.levels import TOP_LEVEL, WSOLEVAL_CUTS

NO_BOX = (0, 0, 0, 0)


@dataclass(frozen=True)
class WsolevalSweep:
    """At each cut of N maps: its one box, and the IoUs of that and of the best of all contours."""

    side: int
    """Pixels of the square maps."""
    truths: NDArray[np.int64]
    offsets: NDArray[np.int64]
    """As `truths_in_map` gives them; image n owns rows offsets[n] up to offsets[n + 1]."""
    boxes: NDArray[np.int32]
    """[N, WSOLEVAL_CUTS, 4]: x0, y0, x1, y1 in the map's pixels, as the evaluator writes them."""
    single: NDArray[np.float64]
    multiple: NDArray[np.float64]
    """[N, WSOLEVAL_CUTS], NaN where there is no ground truth."""


def require_opencv() -> Any:
    """The module cv2. Raises UserError where it is not installed."""
    try:
        import cv2
    except ImportError:
        raise UserError("--wsoleval: needs OpenCV; pip install opencv-python-headless, or leave it out") from None
    return cv2


def truths_in_map(
    boxes: NDArray[np.float32], widths: NDArray[np.int32], heights: NDArray[np.int32], side: int
) -> NDArray[np.int64]:
    """Half-open boxes [M, 4], each of an image of `widths` [M] x `heights` [M], as the evaluator has them in its map of
    `side` pixels: int64, inclusive ends, cut to whole numbers.
    """
    inclusive = boxes.astype(np.float64) - [0, 0, 1, 1]
    sizes = np.stack([widths, heights, widths, heights], axis=1).astype(np.float64)
    return (np.maximum(inclusive, 0) * side / sizes).astype(np.int64)


def sweep(
    map_of: Callable[[int], NDArray[np.float32]],
    side: int,
    truths: NDArray[np.int64],
    offsets: NDArray[np.int64],
    threads: int,
    tick: Callable[[int], None] = lambda images: None,
) -> WsolevalSweep:
    """Box the map [h, w] of each image, `map_of(n)`, at every cut; image n owns rows offsets[n] up to offsets[n + 1] of
    `truths`.

    tick: told how many maps are done. Raises UserError without OpenCV.
    """
    cv2 = require_opencv()
    count = len(offsets) - 1
    boxes, ious = np.zeros((count, WSOLEVAL_CUTS, 4), np.int32), np.full((2, count, WSOLEVAL_CUTS), np.nan)
    swept = WsolevalSweep(side, truths, offsets, boxes, *ious)

    def work(n: int) -> None:
        own = truths[offsets[n] : offsets[n + 1]]
        at_cuts = boxes_at_cuts(as_uint8(map_of(n), side))
        for k, boxes in enumerate(at_cuts):
            swept.boxes[n, k] = boxes[0]
        if len(own):
            for k, boxes in enumerate(at_cuts):
                ious = iou(boxes, own).max(axis=1)
                swept.single[n, k], swept.multiple[n, k] = ious[0], ious.max()

    threads_before = cv2.getNumThreads()
    cv2.setNumThreads(1)  # in each of the pool's
    try:
        with ThreadPoolExecutor(threads) as pool:
            for images, _ in enumerate(pool.map(work, range(count)), 1):
                tick(images)
    finally:
        cv2.setNumThreads(threads_before)
    return swept


def enlarged_bicubically(cam: NDArray[np.float32], side: int) -> NDArray[np.float64]:
    """The map [h, w] upsampled bicubically: [side, side]. Raises UserError without OpenCV."""
    cv2 = require_opencv()
    pixels: NDArray[np.float64] = cv2.resize(cam.astype(np.float64), (side, side), interpolation=cv2.INTER_CUBIC)
    return pixels


def as_uint8(cam: NDArray[np.float32], side: int) -> NDArray[np.uint8]:
    """The map upsampled bicubically to `side` pixels a side, min-max normalised and cut to bytes; 0 if constant."""
    pixels = enlarged_bicubically(cam, side)
    if pixels.min() == pixels.max():
        return np.zeros((side, side), np.uint8)
    pixels -= pixels.min()
    pixels /= pixels.max()
    return (pixels * TOP_LEVEL).astype(np.uint8)


def boxes_at_cuts(pixels: NDArray[np.uint8]) -> list[NDArray[np.int64]]:
    """For each cut the boxes [C, 4] of the map's contours, that with the largest area first; one NO_BOX if none.

    A map without the highest byte is a constant one, of which no cut keeps anything.
    """
    cv2 = require_opencv()
    height, width = pixels.shape
    present = np.zeros(TOP_LEVEL + 1, bool)
    present[np.unique(pixels)] = True
    at_cuts: list[NDArray[np.int64]] = []
    for k in range(WSOLEVAL_CUTS):
        if k and not present[k]:  # no pixel of value k leaves: the same mask as at the cut before
            at_cuts.append(at_cuts[-1])
            continue
        _, mask = cv2.threshold(pixels, k, TOP_LEVEL, cv2.THRESH_BINARY)
        contours = cv2.findContours(mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[-2]
        if not contours:
            at_cuts.append(np.array([NO_BOX]))
            continue
        first = max(range(len(contours)), key=lambda index: cv2.contourArea(contours[index]))
        boxes = []
        for index in [first, *range(first), *range(first + 1, len(contours))]:
            x, y, w, h = cv2.boundingRect(contours[index])
            boxes.append((x, y, min(x + w, width - 1), min(y + h, height - 1)))
        at_cuts.append(np.array(boxes))
    return at_cuts


def iou(boxes: NDArray[Any], truths: NDArray[Any]) -> NDArray[np.float64]:
    """IoU [B, G] of boxes [B, 4] and truths [G, 4], all ends inclusive."""
    low = np.maximum(boxes[:, None, :2], truths[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], truths[None, :, 2:])
    shared = np.maximum(high - low + 1, 0).prod(axis=2)
    areas = [(each[:, 2:] - each[:, :2] + 1).prod(axis=1) for each in (boxes, truths)]
    union = areas[0][:, None] + areas[1][None, :] - shared
    return np.where(union > 0, shared / np.maximum(union, 1), 0.0)


def fixed_box_ious(swept: WsolevalSweep, box: NDArray[np.int32], square: int) -> NDArray[np.float64]:
    """IoU [N] of one half-open box for all images, in a square of `square` pixels, written as the evaluator would."""
    x0, y0, x1, y1 = (int(edge) * swept.side // square for edge in box)
    written = np.array([[x0, y0, min(x1, swept.side - 1), min(y1, swept.side - 1)]])
    best = np.full(len(swept.offsets) - 1, np.nan)
    np.fmax.at(best, owners_of(swept.offsets), iou(written, swept.truths)[0])
    return best


def hits_at_cuts(swept: WsolevalSweep, iou_thresholds: Sequence[float]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which images are hit at each IoU threshold and cut, bool [N, T, WSOLEVAL_CUTS]: by the one box, and by the best
    of all.
    """
    thresholds = np.asarray(iou_thresholds)[:, np.newaxis]
    return swept.single[:, np.newaxis] >= thresholds, swept.multiple[:, np.newaxis] >= thresholds
