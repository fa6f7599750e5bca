"""Maps against masks: PxAP (Choe et al. 2020) and the mask's IoU, with intervals, beside the whole image as a mask.

PxAP is the area under the curve of pixel precision against pixel recall over 1,001 thresholds, of all images' pixels
together. Maps are brought to a square of `mask_files.PIXEL_SIDE` bilinearly, masks by nearest neighbour; ignored pixels
count nowhere. An image without object pixels has no IoU, and its pixels count as background.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

import kernels
from fastwsol.evaluation.maps import Maps
from fastwsol.evaluation.mask_files import MaskFiles
from fastwsol.evaluation.measure import resampled_counts
from fastwsol.evaluation.metrics import interval
from fastwsol.evaluation.truths import Truths
from fastwsol.host.errors import UserError
from kernels.levels import PIXEL_STEP

_AT_ONCE = 512
"""Images whose masks are in memory together."""


def measure_pixels(maps: Maps, masks: MaskFiles, truths: Truths, threshold: float) -> dict[str, Any]:
    """The numbers of a report's `pixels`: PxAP and mean IoU at `threshold`, in percent, the best IoU of any threshold,
    95 % intervals, and the whole image's. Of N images those that have a mask count. Raises as `Maps.groups` and
    `MaskFiles.read` do.
    """
    parts: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int64]]] = []
    for group in maps.groups(truths):
        with_mask = np.array([k for k, row in enumerate(group.rows.tolist()) if row in masks.files], np.int64)
        for first in range(0, len(with_mask), _AT_ONCE):
            some = with_mask[first : first + _AT_ONCE]
            of_some = masks.read(group.rows[some])
            counts = kernels.pixel_counts(group.cams[some], of_some, threshold, maps.scale)
            parts.append((*kernels.pixel_histograms(group.cams[some], of_some, maps.scale), counts))
    objects, rest = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    counts = np.concatenate([part[2] for part in parts])
    if not objects.any():
        raise UserError(
            "--masks: no mask has a pixel of an object (255), so nothing can be measured; check their values"
        )
    pixels, has_object = objects.sum(1) + rest.sum(1), objects.any(1)
    ious = counts[has_object, 0] / counts[has_object].sum(1)
    kept, kept_rest = (np.cumsum(each[has_object, ::-1], 1)[:, ::-1] for each in (objects, rest))
    curve = (kept / (kept[:, :1] + kept_rest)).mean(0)  # of every threshold, the first of which keeps everything
    levels = objects.shape[1]
    sums = resampled_counts(np.concatenate([objects, rest], 1))
    of_ious = resampled_counts(np.stack([ious, np.ones_like(ious)], 1))
    with np.errstate(invalid="ignore"):  # a resample may have no image of those that count
        intervals = {"pxap": pxap(sums[:, :levels], sums[:, levels:]), "iou": 100 * of_ious[:, 0] / of_ious[:, 1]}
    return {
        "images": len(objects),
        "images_with_object": int(has_object.sum()),
        "pxap": float(pxap(objects.sum(0), rest.sum(0))),
        "iou": {
            "threshold": threshold,
            "mean": 100 * float(ious.mean()),
            "best": 100 * float(curve.max()),
            "best_threshold": float(curve.argmax() * PIXEL_STEP),
        },
        "intervals": {name: interval(values.astype(np.float64)) for name, values in intervals.items()},
        "whole_image": {
            "pxap": 100 * float(objects.sum() / pixels.sum()),
            "iou": 100 * float((objects.sum(1) / pixels.clip(1))[has_object].mean()),
        },
    }


def pxap(objects: NDArray[Any], rest: NDArray[Any]) -> NDArray[np.float64]:
    """The area in percent, [...], from how many pixels of objects and of the rest have each level: [..., levels] both.

    From the highest threshold down each gain of recall counts at the precision that is reached with it. NaN without a
    pixel of an object.
    """
    true = np.cumsum(np.asarray(objects, np.float64)[..., ::-1], -1)
    kept = true + np.cumsum(np.asarray(rest, np.float64)[..., ::-1], -1)
    with np.errstate(invalid="ignore", divide="ignore"):
        precision = np.where(kept > 0, true / kept, 0.0)
        recall = true / true[..., -1:]
    gains = np.diff(recall, axis=-1, prepend=0.0)
    return 100 * np.asarray((precision * gains).sum(-1))
