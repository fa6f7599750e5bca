"""From maps to boxes at one threshold: the largest connected component's bounding box, or all components'.

Boxes are half-open int32 `x0,y0,x1,y1`. Whatever is in floating point here is done in float64, in the order the
docstrings give and without fastmath, so that the twin in `kernels.reference` gets the same bits and the same boxes.
"""

import numpy as np
import numpy.typing as npt
from numba import prange

from kernels.checks import check_unit_interval, parts_of, thresholds_of
from kernels.compiling import njit
from kernels.components import all_component_boxes, count_components, largest_component_boxes
from kernels.levels import TOP_LEVEL, paper2018_threshold
from kernels.upsampling import Maps, Scale, Upsampling, checked_cams, room_for, upsample

Thresholds = float | npt.NDArray[np.float64]
"""One for all maps, or one for each: [N]."""


def cam_boxes(
    cams: Maps, size: int | tuple[int, int], threshold: Thresholds, scale: Scale = "min-max"
) -> npt.NDArray[np.int32]:
    """Boxes int32 [N, 4] of class activation maps by the field's protocol (`strict`: Choe et al. 2020).

    `cams` float32 [N, h, w] are upsampled to `size`, height and width or one number for both, v, and normalised: x = (v
    - min v) / (max v - min v). The box is the tight one of the largest 8-connected component of x >= `threshold`: the
    one with the most pixels, of equals the one whose first pixel comes first in row order. A constant map says nothing
    about where the object is: its box is 0,0,0,0. Each thread stores one upsampled map at a time.

    Under the scale `own` x = v: a constant map is kept as a whole or not at all, and a map that keeps nothing has the
    box 0,0,0,0. Maps are upsampled as in `kernels.upsampling`.

    Raises ValueError for another dtype or shape, a map that holds NaN or infinity (under `own`, anything outside 0..1),
    a size below 1, and a threshold outside 0..1.
    """
    check_unit_interval(threshold)
    return _boxes_of_cams(cams, size, threshold, scale, by_rectangle=False)


def cam_boxes_paper2018(cams: Maps, size: int | tuple[int, int], threshold: float) -> npt.NDArray[np.int32]:
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
    cams: Maps, size: int | tuple[int, int], threshold: Thresholds, scale: Scale = "min-max"
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """All components of x >= `threshold`, x as in `cam_boxes`: boxes int32 [M, 4], pixel counts int32 [M], peaks
    float64 [M] and offsets int64 [N + 1].

    Map n owns rows offsets[n] up to offsets[n + 1], possibly none, in row order of the components' first pixels. A peak
    is the greatest x in a box. Under `min-max` a constant map has no component. Raises ValueError as `cam_boxes` does.
    """
    check_unit_interval(threshold)
    cams, how, bits = _kept_bits(cams, size, threshold, scale)
    parts = parts_of(cams)
    offsets = np.zeros(len(cams) + 1, np.int64)
    np.cumsum(count_components(bits, how.width, parts), out=offsets[1:])
    boxes, pixels = all_component_boxes(bits, how.width, offsets, parts)
    return boxes, pixels, _find_peaks(cams, how, boxes, offsets, parts), offsets


def cam_levels(cams: Maps, size: int | tuple[int, int], scale: Scale = "min-max") -> npt.NDArray[np.uint8]:
    """Class activation maps [N, h, w] as uint8 [N, H, W] for `threshold_sweep` and `sweep_ious`.

    A pixel's level is the largest k with x >= `levels.threshold_of(k)` in float64, x as in `cam_boxes`: so the box at a
    level is that of `cam_boxes` at its threshold, exactly. Under `min-max` a constant map has level 0 everywhere (so
    its box at level 0 is the whole map, where `cam_boxes` gives 0,0,0,0). Raises ValueError as `cam_boxes` does.
    """
    cams, how = checked_cams(cams, size, scale)
    levels = np.empty((len(cams), how.height, how.width), np.uint8)
    _find_levels(cams, how, levels, parts_of(cams))
    return levels


def _kept_bits(
    cams: Maps, size: int | tuple[int, int], threshold: Thresholds, scale: Scale
) -> tuple[Maps, Upsampling, npt.NDArray[np.uint64]]:
    """What `checked_cams` gives, and the masks of what reaches `threshold`: one bit a pixel, rows of whole words."""
    cams, how = checked_cams(cams, size, scale)
    thresholds = thresholds_of(threshold, len(cams))
    bits = np.empty((len(cams), how.height, 8 * ((how.width + 63) // 64)), np.uint8)
    _keep_high_activations(cams, how, thresholds, bits, parts_of(cams))
    return cams, how, bits.view(np.uint64)


def _boxes_of_cams(
    cams: Maps,
    size: int | tuple[int, int],
    threshold: Thresholds,
    scale: Scale,
    by_rectangle: bool,
) -> npt.NDArray[np.int32]:
    cams, how, bits = _kept_bits(cams, size, threshold, scale)
    return largest_component_boxes(bits, how.width, by_rectangle, parts_of(cams))


@njit(parallel=True)
def _keep_high_activations(
    cams: Maps,
    how: Upsampling,
    thresholds: npt.NDArray[np.float64],
    bits: npt.NDArray[np.uint8],
    parts: int,
) -> None:
    """Upsample, scale and set the bits of pixels >= the map's threshold; none of a constant map that is min-max
    scaled.
    """
    count = len(cams)
    for part in prange(parts):
        room = room_for(cams, how)
        mask = np.zeros((bits.shape[1], 8 * bits.shape[2]), np.uint8)
        for index in range(part * count // parts, (part + 1) * count // parts):
            low, high = upsample(cams, index, how, room)
            if high > low:
                _mask_normalised(room.pixels, low, high, thresholds[index], mask)
            else:
                mask[:] = 0
            _pack(mask.view(np.uint64), bits, index)


@njit(parallel=True)
def _find_levels(
    cams: Maps,
    how: Upsampling,
    levels: npt.NDArray[np.uint8],
    parts: int,
) -> None:
    """Upsample, scale and quantise; 0 everywhere for a constant map that is min-max scaled."""
    count = len(cams)
    for part in prange(parts):
        room = room_for(cams, how)
        for index in range(part * count // parts, (part + 1) * count // parts):
            low, high = upsample(cams, index, how, room)
            if high > low:
                _quantise(room.pixels, low, high, levels, index)
            else:
                levels[index] = 0


@njit(parallel=True)
def _find_peaks(
    cams: Maps,
    how: Upsampling,
    boxes: npt.NDArray[np.int32],
    offsets: npt.NDArray[np.int64],
    parts: int,
) -> npt.NDArray[np.float64]:
    """Upsample and scale once more; the greatest value in each box: [M]."""
    count = len(cams)
    peaks = np.empty(len(boxes))
    for part in prange(parts):
        room = room_for(cams, how)
        for index in range(part * count // parts, (part + 1) * count // parts):
            if offsets[index] == offsets[index + 1]:
                continue
            low, high = upsample(cams, index, how, room)
            for row in range(offsets[index], offsets[index + 1]):
                peaks[row] = (_greatest(room.pixels, boxes[row]) - low) / (high - low)
    return peaks


@njit()
def _greatest(pixels: npt.NDArray[np.float64], box: npt.NDArray[np.int32]) -> float:
    greatest = -np.inf
    for y in range(box[1], box[3]):
        for x in range(box[0], box[2]):
            greatest = max(greatest, pixels[y, x])
    return greatest


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
