"""Maps against ground-truth masks, pixel by pixel: the counts from which PxAP and a mask's IoU follow.

Maps are upsampled and scaled as in `kernels.upsampling`, in float64, so that the twins in `kernels.reference` count the
same. A mask's pixel is the object's (`OBJECT`), is left out (`IGNORED`), or is background (0).
"""

import numpy as np
import numpy.typing as npt
from numba import prange

from kernels.boxes import Thresholds
from kernels.checks import check_unit_interval, parts_of, thresholds_of
from kernels.compiling import njit
from kernels.levels import PIXEL_LEVELS, PIXEL_STEP
from kernels.upsampling import Maps, Scale, Upsampling, checked_cams, room_for, upsample

OBJECT = 255
IGNORED = 128

Masks = npt.NDArray[np.uint8]
"""[N, H, W], of values 0, `IGNORED` and `OBJECT`."""


def pixel_histograms(
    cams: Maps, masks: Masks, scale: Scale = "min-max"
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """How many pixels of the object, and of the background, each image has at each level: int32 [N, PIXEL_LEVELS] both.

    Maps float32 [N, h, w] are upsampled to the masks' size and scaled to x. A pixel's level is the largest k with x >=
    k * `PIXEL_STEP` in float64. Under `min-max` a constant map has level 0 everywhere. Raises ValueError as
    `boxes.cam_boxes` does, and for masks of another dtype, shape or value.
    """
    cams, how = _checked(cams, masks, scale)
    counts = np.zeros((len(cams), 2, PIXEL_LEVELS), np.int32)
    _count_levels(cams, how, np.ascontiguousarray(masks), counts, parts_of(cams))
    return counts[:, 1], counts[:, 0]


def pixel_counts(cams: Maps, masks: Masks, threshold: Thresholds, scale: Scale = "min-max") -> npt.NDArray[np.int64]:
    """How many pixels of each image are both the object's and kept, only kept, and only the object's: int64 [N, 3].

    Kept is x >= threshold, x as in `pixel_histograms`; a constant map keeps nothing under `min-max`, as it has no box.
    Raises ValueError as `pixel_histograms` does, and for a threshold outside 0..1.
    """
    check_unit_interval(threshold)
    cams, how = _checked(cams, masks, scale)
    thresholds = thresholds_of(threshold, len(cams))
    counts = np.zeros((len(cams), 3), np.int64)
    _count_kept(cams, how, np.ascontiguousarray(masks), thresholds, counts, parts_of(cams))
    return counts


def _checked(cams: Maps, masks: Masks, scale: Scale) -> tuple[Maps, Upsampling]:
    if masks.dtype != np.uint8 or masks.ndim != 3 or len(masks) != len(cams) or 0 in masks.shape[1:]:
        remedy = f"; give {OBJECT} * masks.astype(np.uint8)" if masks.dtype == np.bool_ else ""
        raise ValueError(f"masks are {masks.dtype} {masks.shape}, expected uint8 [{len(cams)}, H, W]{remedy}")
    if _has_other_values(np.ascontiguousarray(masks).reshape(-1)):
        raise ValueError(f"masks have values other than 0, background, {IGNORED}, left out, and {OBJECT}, the object")
    return checked_cams(cams, (masks.shape[1], masks.shape[2]), scale)


@njit()
def _has_other_values(values: npt.NDArray[np.uint8]) -> bool:
    others = False
    for k in range(len(values)):
        others |= (values[k] != 0) & (values[k] != IGNORED) & (values[k] != OBJECT)
    return others


@njit(parallel=True)
def _count_levels(
    cams: Maps,
    how: Upsampling,
    masks: Masks,
    counts: npt.NDArray[np.int32],
    parts: int,
) -> None:
    """Upsample, scale and count; counts [N, 2, PIXEL_LEVELS]: background, object."""
    count = len(cams)
    for part in prange(parts):
        room = room_for(cams, how)
        pixels = room.pixels
        for index in range(part * count // parts, (part + 1) * count // parts):
            low, high = upsample(cams, index, how, room)
            constant = high <= low
            for y in range(pixels.shape[0]):
                for x in range(pixels.shape[1]):
                    truth = masks[index, y, x]
                    if truth == IGNORED:
                        continue
                    level = 0
                    if not constant:
                        value = (pixels[y, x] - low) / (high - low)
                        near = int(value / PIXEL_STEP)  # the quotient is rounded: the level may be one more or less
                        level = near + (value >= (near + 1) * PIXEL_STEP) - (value < near * PIXEL_STEP)
                    counts[index, int(truth == OBJECT), level] += 1


@njit(parallel=True)
def _count_kept(
    cams: Maps,
    how: Upsampling,
    masks: Masks,
    thresholds: npt.NDArray[np.float64],
    counts: npt.NDArray[np.int64],
    parts: int,
) -> None:
    """Upsample, scale, cut and count; counts [N, 3]: both, kept alone, object alone."""
    count = len(cams)
    for part in prange(parts):
        room = room_for(cams, how)
        pixels = room.pixels
        kept = np.empty(pixels.shape[1], np.uint8)
        for index in range(part * count // parts, (part + 1) * count // parts):
            low, high = upsample(cams, index, how, room)
            threshold = thresholds[index] if high > low else np.inf
            span = high - low if high > low else 1.0
            for y in range(pixels.shape[0]):
                for x in range(pixels.shape[1]):
                    kept[x] = (pixels[y, x] - low) / span >= threshold
                both, kept_alone, object_alone = 0, 0, 0
                for x in range(pixels.shape[1]):  # without a branch, so that it is vectorised
                    truth = masks[index, y, x]
                    is_object, is_known = np.uint8(truth == OBJECT), np.uint8(truth != IGNORED)
                    both += kept[x] & is_object
                    kept_alone += kept[x] & is_known & (1 - is_object)
                    object_alone += (1 - kept[x]) & is_object
                counts[index, 0] += both
                counts[index, 1] += kept_alone
                counts[index, 2] += object_alone
