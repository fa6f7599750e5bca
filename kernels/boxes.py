"""From maps to boxes at one threshold: the largest connected component's bounding box, or all components'.

Boxes are half-open int32 `x0,y0,x1,y1`. Whatever is in floating point here is done in float64, in the order the
docstrings give and without fastmath, so that the twin in `kernels.reference` gets the same bits and the same boxes.
"""

from typing import Literal

import numpy as np
import numpy.typing as npt
from numba import prange

from kernels.checks import (
    check_unit_interval,
    checked_maps,
    checked_size,
    parts_of,
    refuse_non_finite,
    refuse_other_than_shares,
)
from kernels.compiling import njit
from kernels.components import all_component_boxes, count_components, largest_component_boxes
from kernels.levels import TOP_LEVEL, paper2018_threshold

Scale = Literal["min-max", "own"]
"""What a map's values mean. min-max: each map is scaled by its own extremes, so that it always reaches 0 and 1, as a
class activation map is; own: values are shares of 1 already, as a mask's are, and a map may reach nothing.
"""

Thresholds = float | npt.NDArray[np.float64]
"""One for all maps, or one for each: [N]."""


def cam_boxes(
    cams: npt.NDArray[np.float32], size: int | tuple[int, int], threshold: Thresholds, scale: Scale = "min-max"
) -> npt.NDArray[np.int32]:
    """Boxes int32 [N, 4] of class activation maps by the field's protocol (`strict`: Choe et al. 2020).

    `cams` float32 [N, h, w] are upsampled to `size`, height and width or one number for both, v, and normalised: x = (v
    - min v) / (max v - min v). The box is the tight one of the largest 8-connected component of x >= `threshold`: the
    one with the most pixels, of equals the one whose first pixel comes first in row order. A constant map says nothing
    about where the object is: its box is 0,0,0,0. No upsampled map is ever stored but one a thread.

    Under the scale `own` x = v, a constant map is the whole or nothing, and a map that keeps nothing has the box
    0,0,0,0.

    Upsampling is bilinear between pixel centres with edges clamped (torch's `align_corners=False`), in float64: first
    along x, then along y, each a + (b - a) * t with t = max(0, (i + 0.5) * in / out - 0.5) - floor(of the same).

    Raises ValueError for another dtype or shape, a map that holds NaN or infinity (under `own`, anything outside 0..1),
    a size below 1, and a threshold outside 0..1.
    """
    check_unit_interval(threshold)
    return _boxes_of_cams(cams, size, threshold, scale, by_rectangle=False)


def cam_boxes_paper2018(
    cams: npt.NDArray[np.float32], size: int | tuple[int, int], threshold: float
) -> npt.NDArray[np.int32]:
    """Boxes int32 [N, 4] of class activation maps by the protocol of Choe et al. 2018 (docs/paper.md, "CAM to box").

    Kept is what reaches `levels.paper2018_threshold`, x being as in `cam_boxes`. Of the 8-connected components the one
    with the largest bounding rectangle w * h wins, the first in row order of a tie. The estimate is (x0, y0, x1 + 1,
    y1 + 1) of its tight half-open box, so it may reach a pixel past the map; 0,0,0,0 where nothing is kept. Raises
    ValueError as `cam_boxes` does.
    """
    check_unit_interval(threshold)
    boxes = _boxes_of_cams(cams, size, paper2018_threshold(threshold), "min-max", by_rectangle=True)
    boxes[boxes[:, 2] > 0, 2:] += 1
    return boxes


def cam_component_boxes(
    cams: npt.NDArray[np.float32], size: int | tuple[int, int], threshold: Thresholds, scale: Scale = "min-max"
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """All components of x >= `threshold`, x as in `cam_boxes`: boxes int32 [M, 4], pixel counts int32 [M], peaks
    float64 [M] and offsets int64 [N + 1].

    Map n owns rows offsets[n] up to offsets[n + 1], possibly none, in row order of the components' first pixels. A peak
    is the greatest x in a box. Under `min-max` a constant map has no component. Raises ValueError as `cam_boxes` does.
    """
    check_unit_interval(threshold)
    cams, rows, columns, bits = _kept_bits(cams, size, threshold, scale)
    width, parts = len(columns[0]), parts_of(cams)
    offsets = np.zeros(len(cams) + 1, np.int64)
    np.cumsum(count_components(bits, width, parts), out=offsets[1:])
    boxes, pixels = all_component_boxes(bits, width, offsets, parts)
    return boxes, pixels, _find_peaks(cams, *rows, *columns, scale == "own", boxes, offsets, parts), offsets


def cam_levels(
    cams: npt.NDArray[np.float32], size: int | tuple[int, int], scale: Scale = "min-max"
) -> npt.NDArray[np.uint8]:
    """Class activation maps [N, h, w] as uint8 [N, H, W] for `threshold_sweep` and `sweep_ious`.

    A pixel's level is the largest k with x >= `levels.threshold_of(k)` in float64, x as in `cam_boxes`: so the box at a
    level is that of `cam_boxes` at its threshold, exactly. Under `min-max` a constant map has level 0 everywhere (and
    its box at level 0 is the whole map, which `cam_boxes` does not say of it). Raises ValueError as `cam_boxes` does.
    """
    cams, rows, columns = checked_cams(cams, size, scale)
    levels = np.empty((len(cams), len(rows[0]), len(columns[0])), np.uint8)
    _find_levels(cams, *rows, *columns, scale == "own", levels, parts_of(cams))
    return levels


Positions = tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]
"""Of each pixel along an axis the cells on both sides of it, and the second one's share."""


def checked_cams(
    cams: npt.NDArray[np.float32], size: int | tuple[int, int], scale: Scale
) -> tuple[npt.NDArray[np.float32], Positions, Positions]:
    """The maps, C-contiguous, and where their upsampled rows and columns are taken from. Raises ValueError as
    `cam_boxes` does.
    """
    cams = checked_maps(cams, (np.float32,))
    height, width = checked_size(size)
    refuse_non_finite(np.all(np.isfinite(cams), axis=(1, 2)))
    if scale == "own":
        refuse_other_than_shares(cams)
    return cams, _source_positions(cams.shape[1], height), _source_positions(cams.shape[2], width)


def _kept_bits(
    cams: npt.NDArray[np.float32], size: int | tuple[int, int], threshold: Thresholds, scale: Scale
) -> tuple[npt.NDArray[np.float32], Positions, Positions, npt.NDArray[np.uint64]]:
    """What `checked_cams` gives, and the masks of what reaches `threshold`: one bit a pixel, rows of whole words."""
    cams, rows, columns = checked_cams(cams, size, scale)
    thresholds = np.ascontiguousarray(np.broadcast_to(np.float64(threshold), len(cams)))
    bits = np.empty((len(cams), len(rows[0]), 8 * ((len(columns[0]) + 63) // 64)), np.uint8)
    _keep_high_activations(cams, *rows, *columns, scale == "own", thresholds, bits, parts_of(cams))
    return cams, rows, columns, bits.view(np.uint64)


def _boxes_of_cams(
    cams: npt.NDArray[np.float32],
    size: int | tuple[int, int],
    threshold: Thresholds,
    scale: Scale,
    by_rectangle: bool,
) -> npt.NDArray[np.int32]:
    cams, _, columns, bits = _kept_bits(cams, size, threshold, scale)
    return largest_component_boxes(bits, len(columns[0]), by_rectangle, parts_of(cams))


def _source_positions(size: int, target_size: int) -> Positions:
    """Of `target_size` pixels along an axis of `size` cells."""
    position = np.maximum((np.arange(target_size) + 0.5) * size / target_size - 0.5, 0.0)
    below = np.minimum(position.astype(np.int64), size - 1)
    return below, np.minimum(below + 1, size - 1), position - below


@njit(parallel=True)
def _keep_high_activations(
    cams: npt.NDArray[np.float32],
    top: npt.NDArray[np.int64],
    bottom: npt.NDArray[np.int64],
    down: npt.NDArray[np.float64],
    left: npt.NDArray[np.int64],
    right: npt.NDArray[np.int64],
    across: npt.NDArray[np.float64],
    own_scale: bool,
    thresholds: npt.NDArray[np.float64],
    bits: npt.NDArray[np.uint8],
    parts: int,
) -> None:
    """Upsample, scale and set the bits of pixels >= the map's threshold; none of a constant map that is min-max
    scaled.
    """
    count = len(cams)
    height, width = len(top), len(left)
    for part in prange(parts):
        mask = np.zeros((height, 8 * bits.shape[2]), np.uint8)
        rows = np.empty((cams.shape[1], width))
        pixels = np.empty((height, width))
        extremes = np.empty((2, width))
        for index in range(part * count // parts, (part + 1) * count // parts):
            stretch_across(cams, index, left, right, across, rows)
            low, high = stretch_down(rows, top, bottom, down, pixels, extremes)
            if own_scale:
                low, high = 0.0, 1.0
            if high > low:
                _mask_normalised(pixels, low, high, thresholds[index], mask)
            else:
                mask[:] = 0
            _pack(mask.view(np.uint64), bits, index)


@njit(parallel=True)
def _find_levels(
    cams: npt.NDArray[np.float32],
    top: npt.NDArray[np.int64],
    bottom: npt.NDArray[np.int64],
    down: npt.NDArray[np.float64],
    left: npt.NDArray[np.int64],
    right: npt.NDArray[np.int64],
    across: npt.NDArray[np.float64],
    own_scale: bool,
    levels: npt.NDArray[np.uint8],
    parts: int,
) -> None:
    """Upsample, scale and quantise; 0 everywhere for a constant map that is min-max scaled."""
    count = len(cams)
    height, width = len(top), len(left)
    for part in prange(parts):
        rows = np.empty((cams.shape[1], width))
        pixels = np.empty((height, width))
        extremes = np.empty((2, width))
        for index in range(part * count // parts, (part + 1) * count // parts):
            stretch_across(cams, index, left, right, across, rows)
            low, high = stretch_down(rows, top, bottom, down, pixels, extremes)
            if own_scale:
                low, high = 0.0, 1.0
            if high > low:
                _quantise(pixels, low, high, levels, index)
            else:
                levels[index] = 0


@njit(parallel=True)
def _find_peaks(
    cams: npt.NDArray[np.float32],
    top: npt.NDArray[np.int64],
    bottom: npt.NDArray[np.int64],
    down: npt.NDArray[np.float64],
    left: npt.NDArray[np.int64],
    right: npt.NDArray[np.int64],
    across: npt.NDArray[np.float64],
    own_scale: bool,
    boxes: npt.NDArray[np.int32],
    offsets: npt.NDArray[np.int64],
    parts: int,
) -> npt.NDArray[np.float64]:
    """Upsample and scale once more; the greatest value in each box: [M]."""
    count = len(cams)
    peaks = np.empty(len(boxes))
    for part in prange(parts):
        rows = np.empty((cams.shape[1], len(left)))
        pixels = np.empty((len(top), len(left)))
        extremes = np.empty((2, len(left)))
        for index in range(part * count // parts, (part + 1) * count // parts):
            if offsets[index] == offsets[index + 1]:
                continue
            stretch_across(cams, index, left, right, across, rows)
            low, high = stretch_down(rows, top, bottom, down, pixels, extremes)
            if own_scale:
                low, high = 0.0, 1.0
            for row in range(offsets[index], offsets[index + 1]):
                x0, y0, x1, y1 = boxes[row]
                peaks[row] = (pixels[y0:y1, x0:x1].max() - low) / (high - low)
    return peaks


@njit()
def _quantise(
    pixels: npt.NDArray[np.float64], low: float, high: float, levels: npt.NDArray[np.uint8], index: int
) -> None:
    for y in range(pixels.shape[0]):
        for x in range(pixels.shape[1]):
            value = (pixels[y, x] - low) / (high - low)
            near = int(TOP_LEVEL * value)  # the product is rounded: the level may be one more or less
            levels[index, y, x] = near + (value >= (near + 1) / TOP_LEVEL) - (value < near / TOP_LEVEL)


@njit()
def stretch_across(
    cams: npt.NDArray[np.float32],
    index: int,
    left: npt.NDArray[np.int64],
    right: npt.NDArray[np.int64],
    across: npt.NDArray[np.float64],
    rows: npt.NDArray[np.float64],
) -> None:
    """Upsample map `index` of [N, h, w] along x, into `rows` [h, W]."""
    for y in range(cams.shape[1]):
        for x in range(len(left)):
            a = np.float64(cams[index, y, left[x]])
            b = np.float64(cams[index, y, right[x]])
            rows[y, x] = a + (b - a) * across[x]


@njit()
def stretch_down(
    rows: npt.NDArray[np.float64],
    top: npt.NDArray[np.int64],
    bottom: npt.NDArray[np.int64],
    down: npt.NDArray[np.float64],
    pixels: npt.NDArray[np.float64],
    extremes: npt.NDArray[np.float64],
) -> tuple[float, float]:
    """Fill `pixels`; returns their least and greatest, taken a column at a time so that the loops stay vectorised."""
    extremes[0] = np.inf
    extremes[1] = -np.inf
    for y in range(len(top)):
        upper, lower, share = top[y], bottom[y], down[y]
        for x in range(rows.shape[1]):
            a = rows[upper, x]
            b = rows[lower, x]
            pixels[y, x] = a + (b - a) * share
        for x in range(rows.shape[1]):
            extremes[0, x] = min(extremes[0, x], pixels[y, x])
            extremes[1, x] = max(extremes[1, x], pixels[y, x])
    return extremes[0].min(), extremes[1].max()


@njit()
def _mask_normalised(
    pixels: npt.NDArray[np.float64], low: float, high: float, threshold: float, mask: npt.NDArray[np.uint8]
) -> None:
    for y in range(pixels.shape[0]):
        for x in range(pixels.shape[1]):
            mask[y, x] = (pixels[y, x] - low) / (high - low) >= threshold


@njit()
def _pack(words: npt.NDArray[np.uint64], bits: npt.NDArray[np.uint8], index: int) -> None:
    """Make bits of bytes: a word holds eight pixels, each 0 or 1, the leftmost in its lowest byte (little-endian).

    The product has pixel k on bit 56 + k, and nothing else reaches its top byte.
    """
    for y in range(words.shape[0]):
        for k in range(words.shape[1]):
            bits[index, y, k] = (words[y, k] * np.uint64(0x0102040810204080)) >> np.uint64(56)
