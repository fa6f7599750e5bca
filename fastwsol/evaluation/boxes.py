"""Class activation maps to boxes, and boxes to hits, under a named protocol.

`strict` is the field's: the largest component by pixel count, its tight box, IoU >= the threshold (Choe et al. 2020).
`paper2018` is what the code of Choe et al. 2018 does (docs/paper.md, "CAM to box"): the component with the largest
bounding rectangle, a box a pixel larger, an intersection that is not clamped at 0, IoU > the threshold.

Boxes are float32 `x0,y0,x1,y1`, half-open, in the original image's pixels. The network sees each image stretched to a
square, its input; `to_square` and `to_original` of `fastwsol.geometry` are the only way between the two.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

import kernels
from fastwsol.evaluation.metrics import IOU_THRESHOLDS
from fastwsol.geometry import Size, both_sides, to_original
from kernels.checks import checked_offsets, thresholds_of
from kernels.levels import LEVELS, threshold_of
from kernels.upsampling import checked_cams

BoxProtocol = Literal["strict", "paper2018"]
"""The protocols by which this module makes boxes of maps."""
ProtocolName = Literal["strict", "paper2018", "wsoleval"]
"""And `wsoleval`, whose boxes are another program's (`fastwsol.evaluation.choe2020`)."""
PROTOCOLS: tuple[BoxProtocol, ...] = ("strict", "paper2018")

_IS_HIT: dict[ProtocolName, np.ufunc] = {
    "strict": np.greater_equal,
    "paper2018": np.greater,
    "wsoleval": np.greater_equal,
}
"""Of an IoU and its threshold."""


_PIXELS_AT_ONCE = 2**23  # of upsampled maps, a byte each


def localize(
    maps: npt.NDArray[np.float32],
    protocol: BoxProtocol,
    size: Size,
    widths: npt.ArrayLike,
    heights: npt.ArrayLike,
    threshold: kernels.Thresholds,
    scale: kernels.Scale,
) -> npt.NDArray[np.float32]:
    """One box an image, float32 [N, 4] in its original pixels, from maps float32 [N, h, w]; 0,0,0,0 where nothing is
    kept.

    Maps are upsampled to `size`. Pixels that reach `threshold` (under `strict` also one for each image, [N]) on the
    maps' `scale` are kept, by the protocol's rule; a constant map that is min-max scaled keeps nothing. Raises
    ValueError for an unknown protocol or scale, a map that holds NaN or infinity, a threshold outside 0..1, sizes that
    are not positive, thresholds or sizes that are neither one for all maps nor one each, and what `paper2018` does not
    know: the scale `own`, and thresholds of each map.
    """
    _check(protocol)
    maps, _ = checked_cams(maps, size, scale)  # all at once, so that a bad one is named by its place among all
    thresholds = thresholds_of(threshold, len(maps))
    if protocol == "paper2018" and (scale != "min-max" or np.ndim(threshold)):
        raise ValueError("paper2018 cuts maps that are min-max scaled, all at one threshold; others are for strict")
    boxes = []
    for part in parts_of_maps(len(maps), size):
        if protocol == "strict":
            boxes.append(kernels.cam_boxes(maps[part], size, thresholds[part], scale))
        else:
            boxes.append(kernels.cam_boxes_paper2018(maps[part], size, float(thresholds[part.start])))
    return to_original(np.concatenate([np.empty((0, 4), np.int32), *boxes]), widths, heights, size)


@dataclass(frozen=True)
class CurveHits:
    """Which images are hit at every level (`kernels.levels`), under `strict`: bool [N, T, LEVELS], T being
    `IOU_THRESHOLDS`. An image without ground truth is no hit.
    """

    single: npt.NDArray[np.bool_]
    """The largest component's box is a hit."""
    multiple: npt.NDArray[np.bool_]
    """Any component's box is."""

    def counts(self) -> dict[str, dict[str, list[int]]]:
        """How many images are hit at each level, as reports hold it."""
        return {
            name: dict(zip(map(str, IOU_THRESHOLDS), flags.sum(axis=0).tolist(), strict=True))
            for name, flags in (("single", self.single), ("multiple", self.multiple))
        }


def thresholds_by_iou(levels: npt.NDArray[np.int64]) -> dict[str, float]:
    """The thresholds of a level for each of `IOU_THRESHOLDS`, [T], as reports hold them."""
    return {str(iou): threshold_of(level) for iou, level in zip(IOU_THRESHOLDS, levels.tolist(), strict=True)}


def curve_hits(
    maps: npt.NDArray[np.float32],
    size: Size,
    widths: npt.NDArray[np.int32],
    heights: npt.NDArray[np.int32],
    truths: npt.NDArray[np.float32],
    offsets: npt.NDArray[np.int64],
    scale: kernels.Scale,
) -> CurveHits:
    """The hits of maps float32 [N, h, w] at all levels; arguments as in `localize` and `score_boxes`.

    At each level they equal the hits of `localize` at the level's threshold. A constant map that is min-max scaled hits
    nothing. Raises ValueError as they do, and unless widths and heights are whole numbers, one a map.
    """
    maps, _ = checked_cams(maps, size, scale)
    offsets = checked_offsets(offsets, len(maps), len(truths))
    sizes = np.stack(np.broadcast_arrays(widths, heights), axis=-1)
    if sizes.shape != (len(maps), 2) or sizes.dtype.kind not in "iu" or (len(maps) and sizes.max() >= 2**31):
        raise ValueError(
            f"widths and heights are {sizes.dtype} {sizes.shape[:-1]}, expected integers [{len(maps)}] below 2^31"
        )
    shape = (len(maps), len(IOU_THRESHOLDS), LEVELS)
    single, multiple = np.zeros(shape, bool), np.zeros(shape, bool)
    for part in parts_of_maps(len(maps), size):
        levels = kernels.cam_levels(maps[part], size, scale)
        own = offsets[part.start : part.stop + 1]
        ious = kernels.sweep_ious(levels, truths[own[0] : own[-1]], own - own[0], sizes[part].astype(np.int32))
        varied = ((levels.max(axis=(1, 2)) > 0) | (scale == "own"))[:, np.newaxis, np.newaxis]
        for flags, iou in ((single, ious[0]), (multiple, ious[1])):
            flags[part] = iou[:, np.newaxis] >= np.asarray(IOU_THRESHOLDS)[:, np.newaxis]
            flags[part] &= varied
    return CurveHits(single, multiple)


def score_boxes(
    boxes: npt.NDArray[np.float32],
    truths: npt.NDArray[np.float32],
    offsets: npt.NDArray[np.int64],
    protocol: BoxProtocol,
) -> npt.NDArray[np.float64]:
    """IoU float64 [N] of each box with the best of its image's ground-truth boxes, by the protocol's rule.

    Image n owns rows offsets[n] up to offsets[n + 1] of `truths` [M, 4]. An image that owns none gets NaN, and
    `~np.isnan(ious)` is how the metrics learn which images count for localization.
    """
    _check(protocol)
    if protocol == "strict":
        return kernels.best_iou(boxes, truths, offsets)
    return kernels.best_iou_paper2018(boxes, truths, offsets)


def hits(ious: npt.NDArray[np.float64], iou_threshold: float, protocol: ProtocolName) -> npt.NDArray[np.bool_]:
    """Which boxes are right: IoU > the threshold under `paper2018`, else >= it. NaN, no ground truth, is no hit."""
    is_hit: npt.NDArray[np.bool_] = _IS_HIT[protocol](ious, iou_threshold)
    return is_hit


def hits_of(ious: npt.NDArray[np.float64], protocol: ProtocolName) -> npt.NDArray[np.bool_]:
    """Hits bool [T, N], a row for each of `IOU_THRESHOLDS`."""
    return np.stack([hits(ious, threshold, protocol) for threshold in IOU_THRESHOLDS])


def _check(protocol: str) -> None:
    """Raise ValueError for another name, as of a caller that is not checked by mypy."""
    if protocol not in PROTOCOLS:
        raise ValueError(f"there is no protocol {protocol!r}; choose from {', '.join(PROTOCOLS)}")


def parts_of_maps(count: int, size: Size) -> list[slice]:
    """Slices of `count` maps, each of as many as are upsampled to `size` at a time."""
    height, width = both_sides(size)
    at_once = max(1, _PIXELS_AT_ONCE // max(1, height * width))
    return [slice(start, min(start + at_once, count)) for start in range(0, count, at_once)]
