"""From maps to boxes at one threshold: the largest connected component's bounding box, or all components'.

Boxes are half-open int32 `x0,y0,x1,y1`. Whatever is in floating point here is done in float64, in the order the
docstrings give and without fastmath, so that the twin in `kernels.reference` gets the same bits and the same boxes.
"""

import numpy as np
import numpy.typing as npt
from numba import njit, prange

from kernels.checks import (
    check_connectivity,
    check_unit_interval,
    checked_maps,
    checked_size,
    checked_thresholds,
    parts_of,
    refuse_non_finite,
)
from kernels.components import all_component_boxes, count_components, largest_component_boxes


def largest_box(
    maps: npt.NDArray[np.float32] | npt.NDArray[np.uint8], threshold: npt.ArrayLike, connectivity: int = 8
) -> npt.NDArray[np.int32]:
    """Boxes int32 [N, 4] around the largest component of the pixels >= `threshold`; 0,0,0,0 where there is none.

    `maps` is float32 or uint8 [N, H, W]; `threshold` is one number or [N], rounded to float32 (so that a pixel of 0.7
    reaches a threshold of 0.7). Components are 8-connected, or 4-connected; the largest has the most pixels, and a tie
    goes to the one whose first pixel comes first in row order.

    Raises ValueError for another dtype or shape, a map that holds NaN or infinity, a threshold that is NaN, and another
    connectivity.
    """
    maps, bits = _bits_at_or_above(maps, threshold, connectivity)
    return largest_component_boxes(bits, maps.shape[2], connectivity == 8, False, parts_of(maps))


def component_boxes(
    maps: npt.NDArray[np.float32] | npt.NDArray[np.uint8], threshold: npt.ArrayLike, connectivity: int = 8
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """All components of the pixels >= `threshold`: boxes int32 [M, 4], pixel counts int32 [M], offsets int64 [N + 1].

    Map n owns rows offsets[n] up to offsets[n + 1], possibly none, in row order of the components' first pixels.
    Arguments and errors are those of `largest_box`.
    """
    maps, bits = _bits_at_or_above(maps, threshold, connectivity)
    width, corners, parts = maps.shape[2], connectivity == 8, parts_of(maps)
    offsets = np.zeros(len(maps) + 1, np.int64)
    np.cumsum(count_components(bits, width, corners, parts), out=offsets[1:])
    boxes, pixels = all_component_boxes(bits, width, corners, offsets, parts)
    return boxes, pixels, offsets


def cam_boxes(
    cams: npt.NDArray[np.float32], size: int | tuple[int, int], threshold: float = 0.2
) -> npt.NDArray[np.int32]:
    """Boxes int32 [N, 4] of class activation maps by the field's protocol (`strict`: Choe et al. 2020).

    `cams` float32 [N, h, w] are upsampled to `size`, height and width or one number for both, v, and normalised:
    x = (v - min v) / (max v - min v). The box is that of the largest component of x >= `threshold`, as in
    `largest_box`. A constant map says nothing about where the object is: it gets 0,0,0,0, as if x were 0 everywhere and
    nothing were kept. No upsampled map is ever stored but one a thread.

    Upsampling is bilinear between pixel centres with edges clamped (torch's `align_corners=False`), in float64: first
    along x, then along y, each a + (b - a) * t with t = max(0, (i + 0.5) * in / out - 0.5) - floor(of the same).

    Raises ValueError for another dtype or shape, a map that holds NaN or infinity, a size below 1, and a threshold
    outside 0..1.
    """
    check_unit_interval(threshold)
    return _boxes_of_cams(cams, size, threshold, by_rectangle=False)


def cam_boxes_paper2018(
    cams: npt.NDArray[np.float32], size: int | tuple[int, int], threshold: float = 0.2
) -> npt.NDArray[np.int32]:
    """Boxes int32 [N, 4] of class activation maps by the protocol of Choe et al. 2018 (paper.md, "CAM to box").

    With x as in `cam_boxes`, u = min(int(256 x), 255) and kept is u > int(threshold * max(u)). Of the 8-connected
    components, the one with the largest bounding rectangle w * h wins, the first in row order of a tie. The estimate
    is (x0, y0, x1 + 1, y1 + 1) of its tight half-open box, so it may reach a pixel past the frame; 0,0,0,0 where
    nothing is kept. Raises ValueError as `cam_boxes` does.
    """
    check_unit_interval(threshold)
    # A map that is not constant has x = 1 somewhere, so max(u) = 255. For a whole number k < 256, u >= k says just
    # x >= k / 256, since neither 256 x nor k / 256 is rounded. With k = 256 nothing is kept.
    least = int(threshold * 255) + 1
    boxes = _boxes_of_cams(cams, size, least / 256 if least < 256 else np.inf, by_rectangle=True)
    boxes[boxes[:, 2] > 0, 2:] += 1
    return boxes


def cam_levels(cams: npt.NDArray[np.float32], size: int | tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Class activation maps [N, h, w] as uint8 [N, H, W] for `threshold_sweep` and `sweep_ious`.

    A pixel's level is the largest k with x >= k / 255 in float64, x as in `cam_boxes`: so the box at level 51 is that
    of `cam_boxes` at 0.2 exactly, and at level k that of k / 255. A constant map has level 0 everywhere (and its box at
    level 0 is the whole frame, which `cam_boxes` does not say of it). Raises ValueError as `cam_boxes` does.
    """
    cams = checked_maps(cams, (np.float32,))
    height, width = checked_size(size)
    refuse_non_finite(np.all(np.isfinite(cams), axis=(1, 2)))
    levels = np.empty((len(cams), height, width), np.uint8)
    rows, columns = _source_positions(cams.shape[1], height), _source_positions(cams.shape[2], width)
    _find_levels(cams, *rows, *columns, levels, parts_of(cams))
    return levels


def _bits_at_or_above(
    maps: npt.NDArray, threshold: npt.ArrayLike, connectivity: int
) -> tuple[npt.NDArray, npt.NDArray[np.uint64]]:
    """The maps, C-contiguous, and the masks of their pixels >= `threshold`, checked as `largest_box` promises."""
    maps = checked_maps(maps, (np.float32, np.uint8))
    thresholds = checked_thresholds(threshold, len(maps))
    check_connectivity(connectivity)
    bits = _empty_bits(len(maps), *maps.shape[1:])
    refuse_non_finite(_keep_at_or_above(maps, thresholds, bits, parts_of(maps)))
    return maps, bits.view(np.uint64)


def _boxes_of_cams(
    cams: npt.NDArray[np.float32], size: int | tuple[int, int], threshold: float, by_rectangle: bool
) -> npt.NDArray[np.int32]:
    cams = checked_maps(cams, (np.float32,))
    height, width = checked_size(size)
    refuse_non_finite(np.all(np.isfinite(cams), axis=(1, 2)))
    bits = _empty_bits(len(cams), height, width)
    rows, columns = _source_positions(cams.shape[1], height), _source_positions(cams.shape[2], width)
    _keep_high_activations(cams, *rows, *columns, threshold, bits, parts_of(cams))
    return largest_component_boxes(bits.view(np.uint64), width, True, by_rectangle, parts_of(cams))


def _empty_bits(count: int, height: int, width: int) -> npt.NDArray[np.uint8]:
    """Room for masks of one bit a pixel, rows padded to whole 64-bit words, as bytes: [N, H, 8 * ceil(W / 64)]."""
    return np.empty((count, height, 8 * ((width + 63) // 64)), np.uint8)


def _source_positions(
    size: int, wanted: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """For each of `wanted` pixels along an axis of `size` cells: the cells on both sides and the second one's share."""
    position = np.maximum((np.arange(wanted) + 0.5) * size / wanted - 0.5, 0.0)
    below = np.minimum(position.astype(np.int64), size - 1)
    return below, np.minimum(below + 1, size - 1), position - below


@njit(cache=True, nogil=True, parallel=True)
def _keep_at_or_above(
    maps: npt.NDArray, thresholds: npt.NDArray[np.float32], bits: npt.NDArray[np.uint8], parts: int
) -> npt.NDArray[np.bool_]:
    """Set the bits of pixels >= threshold; returns which maps are finite, found while they are in the cache anyway."""
    count, height, width = maps.shape
    finite = np.empty(count, np.bool_)
    for part in prange(parts):
        mask = np.zeros((height, 8 * bits.shape[2]), np.uint8)
        doubt = np.empty(width, np.float32)
        for index in range(part * count // parts, (part + 1) * count // parts):
            finite[index] = _mask_and_check(maps, index, thresholds[index], mask, doubt)
            _pack(mask.view(np.uint64), bits, index)
    return finite


@njit(cache=True, nogil=True)
def _mask_and_check(
    maps: npt.NDArray, index: int, threshold: np.float32, mask: npt.NDArray[np.uint8], doubt: npt.NDArray[np.float32]
) -> bool:
    doubt[:] = 0
    for y in range(maps.shape[1]):
        for x in range(maps.shape[2]):
            value = np.float32(maps[index, y, x])
            mask[y, x] = value >= threshold
            doubt[x] += value - value  # 0, or NaN for NaN and infinity; a sum a column keeps the loop vectorised
    return not np.isnan(doubt.sum())


@njit(cache=True, nogil=True, parallel=True)
def _keep_high_activations(
    cams: npt.NDArray[np.float32],
    top: npt.NDArray[np.int64],
    bottom: npt.NDArray[np.int64],
    down: npt.NDArray[np.float64],
    left: npt.NDArray[np.int64],
    right: npt.NDArray[np.int64],
    across: npt.NDArray[np.float64],
    threshold: float,
    bits: npt.NDArray[np.uint8],
    parts: int,
) -> None:
    """Upsample, normalise and set the bits of pixels >= threshold; none of a constant map."""
    count = len(cams)
    height, width = len(top), len(left)
    for part in prange(parts):
        mask = np.zeros((height, 8 * bits.shape[2]), np.uint8)
        rows = np.empty((cams.shape[1], width))
        pixels = np.empty((height, width))
        extremes = np.empty((2, width))
        for index in range(part * count // parts, (part + 1) * count // parts):
            _stretch_across(cams, index, left, right, across, rows)
            low, high = _stretch_down(rows, top, bottom, down, pixels, extremes)
            if high > low:
                _mask_normalised(pixels, low, high, threshold, mask)
            else:
                mask[:] = 0
            _pack(mask.view(np.uint64), bits, index)


@njit(cache=True, nogil=True, parallel=True)
def _find_levels(
    cams: npt.NDArray[np.float32],
    top: npt.NDArray[np.int64],
    bottom: npt.NDArray[np.int64],
    down: npt.NDArray[np.float64],
    left: npt.NDArray[np.int64],
    right: npt.NDArray[np.int64],
    across: npt.NDArray[np.float64],
    levels: npt.NDArray[np.uint8],
    parts: int,
) -> None:
    """Upsample, normalise and quantise; 0 everywhere for a constant map."""
    count = len(cams)
    height, width = len(top), len(left)
    for part in prange(parts):
        rows = np.empty((cams.shape[1], width))
        pixels = np.empty((height, width))
        extremes = np.empty((2, width))
        for index in range(part * count // parts, (part + 1) * count // parts):
            _stretch_across(cams, index, left, right, across, rows)
            low, high = _stretch_down(rows, top, bottom, down, pixels, extremes)
            if high > low:
                _quantise(pixels, low, high, levels, index)
            else:
                levels[index] = 0


@njit(cache=True, nogil=True)
def _quantise(
    pixels: npt.NDArray[np.float64], low: float, high: float, levels: npt.NDArray[np.uint8], index: int
) -> None:
    for y in range(pixels.shape[0]):
        for x in range(pixels.shape[1]):
            value = (pixels[y, x] - low) / (high - low)
            near = int(255 * value)  # the product is rounded: the level may be one more or less
            levels[index, y, x] = near + (value >= (near + 1) / 255) - (value < near / 255)


@njit(cache=True, nogil=True)
def _stretch_across(
    cams: npt.NDArray[np.float32],
    index: int,
    left: npt.NDArray[np.int64],
    right: npt.NDArray[np.int64],
    across: npt.NDArray[np.float64],
    rows: npt.NDArray[np.float64],
) -> None:
    for y in range(cams.shape[1]):
        for x in range(len(left)):
            a = np.float64(cams[index, y, left[x]])
            b = np.float64(cams[index, y, right[x]])
            rows[y, x] = a + (b - a) * across[x]


@njit(cache=True, nogil=True)
def _stretch_down(
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


@njit(cache=True, nogil=True)
def _mask_normalised(
    pixels: npt.NDArray[np.float64], low: float, high: float, threshold: float, mask: npt.NDArray[np.uint8]
) -> None:
    for y in range(pixels.shape[0]):
        for x in range(pixels.shape[1]):
            mask[y, x] = (pixels[y, x] - low) / (high - low) >= threshold


@njit(cache=True, nogil=True)
def _pack(words: npt.NDArray[np.uint64], bits: npt.NDArray[np.uint8], index: int) -> None:
    """Make bits of bytes: a word holds eight pixels, each 0 or 1, the leftmost in its lowest byte (little-endian).

    The product has pixel k on bit 56 + k, and nothing else reaches its top byte.
    """
    for y in range(words.shape[0]):
        for k in range(words.shape[1]):
            bits[index, y, k] = (words[y, k] * np.uint64(0x0102040810204080)) >> np.uint64(56)
