"""From maps to boxes: threshold, largest 8-connected component, its bounding box. One box a map.

Boxes are half-open int32 `x0,y0,x1,y1`. Whatever is in floating point here is done in float64, in the order the
docstrings give and without fastmath, so that the twin in `kernels.reference` gets the same bits and the same boxes.
"""

import numpy as np
import numpy.typing as npt
from numba import get_num_threads, njit, prange

from kernels.components import largest_component_boxes


def largest_box(
    maps: npt.NDArray[np.float32] | npt.NDArray[np.uint8], threshold: npt.ArrayLike
) -> npt.NDArray[np.int32]:
    """Boxes int32 [N, 4] around the largest component of the pixels >= `threshold`; 0,0,0,0 where there is none.

    `maps` is float32 or uint8 [N, H, W]; `threshold` is one number or [N], rounded to float32 (so that a pixel of 0.7
    reaches a threshold of 0.7). Components are 8-connected, the largest has the most pixels, and a tie goes to the one
    whose first pixel comes first in row order.

    Raises ValueError for another dtype or shape, a map that holds NaN or infinity, and a threshold that is NaN.
    """
    maps = _checked_maps(maps, (np.float32, np.uint8))
    thresholds = np.asarray(threshold, np.float32)
    if thresholds.shape not in ((), (len(maps),)):
        raise ValueError(f"threshold has shape {thresholds.shape}, expected one number or [{len(maps)}], one a map")
    if np.isnan(thresholds).any():
        raise ValueError("threshold is NaN")
    bits = _empty_bits(len(maps), *maps.shape[1:])
    finite = _keep_at_or_above(maps, np.full(len(maps), thresholds), bits, _parts(maps))
    _refuse_non_finite(finite)
    return largest_component_boxes(bits.view(np.uint64), maps.shape[2], False, _parts(maps))


def cam_boxes(cams: npt.NDArray[np.float32], height: int, width: int, threshold: float = 0.2) -> npt.NDArray[np.int32]:
    """Boxes int32 [N, 4] of class activation maps by the field's protocol (`strict`: Choe et al. 2020).

    `cams` float32 [N, h, w] are upsampled to `height` x `width` pixels, v, and normalised: x = (v - min v) /
    (max v - min v). The box is that of the largest component of x >= `threshold`, as in `largest_box`. A constant map
    says nothing about where the object is: it gets 0,0,0,0, as if x were 0 everywhere and nothing were kept.

    Upsampling is bilinear between pixel centres with edges clamped (torch's `align_corners=False`), in float64: first
    along x, then along y, each a + (b - a) * t with t = max(0, (i + 0.5) * in / out - 0.5) - floor(of the same).

    Raises ValueError for another dtype or shape, a map that holds NaN or infinity, a size below 1, and a threshold
    outside 0..1.
    """
    _check_unit_interval(threshold)
    return _boxes_of_cams(cams, height, width, threshold, by_rectangle=False)


def cam_boxes_paper2018(
    cams: npt.NDArray[np.float32], height: int, width: int, threshold: float = 0.2
) -> npt.NDArray[np.int32]:
    """Boxes int32 [N, 4] of class activation maps by the protocol of Choe et al. 2018 (paper.md, "CAM to box").

    With x as in `cam_boxes`, u = min(int(256 x), 255) and kept is u > int(threshold * max(u)). Of the 8-connected
    components, the one with the largest bounding rectangle w * h wins, the first in row order of a tie. The estimate
    is (x0, y0, x1 + 1, y1 + 1) of its tight half-open box, so it may reach `width` + 1 and `height` + 1; 0,0,0,0 where
    nothing is kept. Raises ValueError as `cam_boxes` does.
    """
    _check_unit_interval(threshold)
    # A map that is not constant has x = 1 somewhere, so max(u) = 255. For a whole number k < 256, u >= k says just
    # x >= k / 256, since neither 256 x nor k / 256 is rounded. With k = 256 nothing is kept.
    least = int(threshold * 255) + 1
    boxes = _boxes_of_cams(cams, height, width, least / 256 if least < 256 else np.inf, by_rectangle=True)
    boxes[boxes[:, 2] > 0, 2:] += 1
    return boxes


def _boxes_of_cams(
    cams: npt.NDArray[np.float32], height: int, width: int, threshold: float, by_rectangle: bool
) -> npt.NDArray[np.int32]:
    cams = _checked_maps(cams, (np.float32,))
    if height < 1 or width < 1:
        raise ValueError(f"boxes are wanted in {height} x {width} pixels, expected at least 1 x 1")
    _refuse_non_finite(np.all(np.isfinite(cams), axis=(1, 2)))
    bits = _empty_bits(len(cams), height, width)
    rows, columns = _source_positions(cams.shape[1], height), _source_positions(cams.shape[2], width)
    _keep_high_activations(cams, *rows, *columns, threshold, bits, _parts(cams))
    return largest_component_boxes(bits.view(np.uint64), width, by_rectangle, _parts(cams))


def _checked_maps(maps: npt.NDArray, dtypes: tuple[type, ...]) -> npt.NDArray:
    """`maps`, C-contiguous, if it is [N, H, W] of one of the dtypes and no map is without pixels."""
    if not isinstance(maps, np.ndarray) or maps.dtype not in dtypes:
        names = " or ".join(np.dtype(dtype).name for dtype in dtypes)
        raise ValueError(f"maps are {getattr(maps, 'dtype', type(maps).__name__)}, expected a NumPy array of {names}")
    if maps.ndim != 3 or maps.shape[1] < 1 or maps.shape[2] < 1:
        raise ValueError(f"maps have shape {maps.shape}, expected [N, H, W] with H and W at least 1")
    return np.ascontiguousarray(maps)


def _check_unit_interval(threshold: float) -> None:
    if not 0 <= threshold <= 1:
        raise ValueError(f"threshold is {threshold}, expected 0..1, a share of the normalised map's maximum")


def _refuse_non_finite(finite: npt.NDArray[np.bool_]) -> None:
    if not finite.all():
        raise ValueError(f"map {np.argmin(finite)} holds NaN or infinity")


def _parts(maps: npt.NDArray) -> int:
    """How many threads share the maps. (Asked here: a kernel that asks for it cannot be cached.)"""
    return min(len(maps), get_num_threads())


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
