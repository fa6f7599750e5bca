"""The pixels that a box of a map keeps, in the size of any image, and masks as runs of equal pixels."""

import numpy as np
import numpy.typing as npt

from kernels.checks import check_unit_interval
from kernels.compiling import njit
from kernels.upsampling import Maps, Scale, Upsampling, checked_cams, room_for, stretch_across, upsample

Box = tuple[int, int, int, int]


def mask_in_box(
    cam: npt.NDArray[np.float32],
    square: int,
    size: tuple[int, int],
    box: Box,
    threshold: float,
    scale: Scale = "min-max",
) -> npt.NDArray[np.bool_]:
    """The pixels of a map inside a box that `cam_boxes` found at `threshold`: bool [y1 - y0, x1 - x0].

    The map float32 [h, w] is upsampled to `size`, height and width, in which the box `x0, y0, x1, y1` is whole numbers.
    Under `min-max` it is scaled by the extremes of the map upsampled to `square` pixels a side, in which the box was
    found: so that both are cut at the same value. A map that is constant there keeps nothing. Where no pixel reaches
    the threshold, as where the peak lies between two pixels of a small image, the pixel with the greatest value is
    kept, unless the map is constant.

    Raises ValueError as `cam_boxes` does, and for a box that is empty or not inside `size`.
    """
    if np.ndim(threshold) != 0:
        raise ValueError(f"threshold has shape {np.shape(threshold)}, expected one number")
    check_unit_interval(threshold)
    if np.ndim(cam) != 2:
        raise ValueError(f"cam has shape {np.shape(cam)}, expected that of one map, [h, w]")
    cams, how = checked_cams(cam[np.newaxis], square, scale)
    low, high = _extremes(cams, how)
    _, how = checked_cams(cams, size, scale)
    x0, y0, x1, y1 = box
    if not (0 <= x0 < x1 <= how.width and 0 <= y0 < y1 <= how.height):
        raise ValueError(f"box {x0},{y0},{x1},{y1} is empty, or not inside {how.width} x {how.height} pixels")
    mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
    if high > low:
        down, across = slice(y0, y1), slice(x0, x1)
        rows = how.top[down], how.bottom[down], how.down[down]
        columns = how.left[across], how.right[across], how.across[across]
        _keep(cams, Upsampling(*rows, *columns, how.own_scale), low, high, threshold, mask)
    return mask.view(np.bool_)


def run_lengths(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """The lengths of a mask's runs, bool [H, W], column by column, those outside the object first (0 where the first
    pixel is the object's): int64 [R], of an empty mask one run. Raises ValueError for another dtype or shape.
    """
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.ndim != 2 or not mask.size:
        raise ValueError(f"mask {getattr(mask, 'dtype', '')} {list(np.shape(mask))}, expected bool [H, W] with a pixel")
    return _run_lengths(np.ascontiguousarray(mask).view(np.uint8))


@njit()
def _extremes(cams: Maps, how: Upsampling) -> tuple[float, float]:
    """The values of the first map that are 0 and 1 once it is scaled."""
    return upsample(cams, 0, how, room_for(cams, how))


@njit()
def _keep(cams: Maps, part: Upsampling, low: float, high: float, threshold: float, mask: npt.NDArray[np.uint8]) -> None:
    """Fill `mask` with the pixels of a part of the first map that reach the threshold, a row at a time: a photograph's
    are many.
    """
    height, width = mask.shape
    rows = np.empty((cams.shape[1], width))
    stretch_across(cams, 0, part.left, part.right, part.across, rows)
    kept, greatest, best_y, best_x = 0, -np.inf, 0, 0
    for y in range(height):
        upper, lower, share = part.top[y], part.bottom[y], part.down[y]
        for x in range(width):
            a = rows[upper, x]
            b = rows[lower, x]
            mask[y, x] = (a + (b - a) * share - low) / (high - low) >= threshold
        for x in range(width):
            kept += mask[y, x]
    if kept:
        return
    for y in range(height):
        upper, lower, share = part.top[y], part.bottom[y], part.down[y]
        for x in range(width):
            value = rows[upper, x] + (rows[lower, x] - rows[upper, x]) * share
            if value > greatest:
                greatest, best_y, best_x = value, y, x
    mask[best_y, best_x] = 1


@njit()
def _run_lengths(mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Rows are read as they lie in memory, twice: first the changes of each column are counted, then noted."""
    height, width = mask.shape
    changes = np.zeros(width + 1, np.int64)
    changes[1] += mask[0, 0]
    for x in range(1, width):  # the first pixel of a column stands behind the last one of the column before
        changes[x + 1] += mask[0, x] != mask[height - 1, x - 1]
    for y in range(1, height):
        for x in range(width):
            changes[x + 1] += mask[y, x] != mask[y - 1, x]
    ends = np.cumsum(changes)
    places = np.empty(ends[-1] + 2, np.int64)
    places[0], places[-1] = 0, height * width
    for x in range(width):
        before = 0 if x == 0 else mask[height - 1, x - 1]
        if mask[0, x] != before:
            ends[x] += 1
            places[ends[x]] = x * height
    for y in range(1, height):
        for x in range(width):
            if mask[y, x] != mask[y - 1, x]:
                ends[x] += 1
                places[ends[x]] = x * height + y
    return np.diff(places)
