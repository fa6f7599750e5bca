"""Maps against masks: PxAP (Choe et al. 2020) and the mask's IoU, with intervals, beside masks that look at no image.

PxAP is the area under the curve of pixel precision against pixel recall over 1,001 thresholds, of all images' pixels
together, of maps that are min-max scaled each, as the benchmark has it. The IoU is that of all that is kept at a
threshold of the maps on their own scale, a mean over images. Maps are brought to a square of `masks.PIXEL_SIDE`
bilinearly (of the benchmark's own evaluator bicubically: `pxap_wsoleval`), masks by nearest neighbour; ignored pixels
count nowhere. An image without object pixels has no IoU, and its pixels count as background.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

import kernels
from fastwsol.evaluation.choe2020 import enlarged_bicubically
from fastwsol.evaluation.evaluated_images import EvaluatedImages
from fastwsol.evaluation.fixed_masks import FixedCounts, FixedMask
from fastwsol.evaluation.maps import Maps
from fastwsol.evaluation.masks import PIXEL_SIDE, Masks
from fastwsol.evaluation.metrics import OBJECT_SIZES, interval, size_groups
from fastwsol.evaluation.report_types import ClassIou, FixedMaskRow, Pixels, Report, SizeIou
from fastwsol.evaluation.resampling import resampled_counts
from fastwsol.host.errors import UserError
from kernels.levels import PIXEL_LEVELS, PIXEL_STEP

_AT_ONCE = 512
"""Images whose masks are in memory together."""


@dataclass(frozen=True)
class PixelMeasurement:
    """The numbers of a localizer's `pixels`; and each image's IoU in 0..1, NaN without a mask of an object:
    [N].
    """

    numbers: Pixels
    ious: NDArray[np.float64]


@dataclass(frozen=True)
class PixelsOfAll:
    """Of all localizers, by name; of the masks that look at no image; and what was measured against."""

    of_localizer: dict[str, PixelMeasurement]
    baselines: list[FixedMaskRow]
    digest: str

    def add_to(self, numbers: Report) -> None:
        """Put all of it into a report on the same localizers."""
        numbers["masks"] = {"digest": self.digest, "baselines": self.baselines}
        for row in numbers["localizers"]:
            row["pixels"] = self.of_localizer[row["name"]].numbers

    @property
    def ious(self) -> dict[str, NDArray[np.float64]]:
        """Of each image's mask, by localizer: [N]."""
        return {name: each.ious for name, each in self.of_localizer.items()}


class _Counter:
    """What masks say of the maps of one localizer, added part by part."""

    def __init__(self, scale: kernels.Scale, threshold: kernels.Thresholds, count: int, wsoleval: bool) -> None:
        self._scale, self._threshold, self._count = scale, threshold, count
        self._of_benchmark = np.zeros((2, PIXEL_LEVELS), np.int64) if wsoleval else None
        self._rows: list[NDArray[np.int64]] = []
        self._counts: list[NDArray[np.int64]] = []
        # By scale, of objects and of the rest. No count of a level reaches 2^16, as the square has fewer pixels.
        self._levels: dict[kernels.Scale, list[tuple[NDArray[np.uint16], NDArray[np.uint16]]]] = {"min-max": []}
        self._levels[scale] = []

    def add(self, rows: NDArray[np.int64], maps: NDArray[np.float32], masks: NDArray[np.uint8]) -> None:
        """Add the maps [n, h, w] of images `rows`, and their masks [n, side, side]."""
        thresholds = np.broadcast_to(np.float64(self._threshold), self._count)[rows]
        self._rows.append(rows)
        self._counts.append(kernels.pixel_counts(maps, masks, thresholds, self._scale))
        for scale, parts in self._levels.items():
            objects, rest = kernels.pixel_histograms(maps, masks, scale)
            parts.append((objects.astype(np.uint16), rest.astype(np.uint16)))
        if self._of_benchmark is not None:
            enlarged = np.stack([enlarged_bicubically(each, PIXEL_SIDE).astype(np.float32) for each in maps])
            for sums, of_images in zip(
                self._of_benchmark, kernels.pixel_histograms(enlarged, masks, "min-max"), strict=True
            ):
                sums += of_images.sum(0, dtype=np.int64)

    def measured(self, labels: NDArray[np.int64] | None, classes: Sequence[str]) -> PixelMeasurement:
        """The numbers. labels: of all N images, where known. Raises UserError where no pixel is an object's."""
        rows, counts = np.concatenate(self._rows), np.concatenate(self._counts)
        levels = {
            scale: [np.concatenate([part[k] for part in parts]) for k in (0, 1)]
            for scale, parts in self._levels.items()
        }
        objects, rest = levels["min-max"]
        of_objects = objects.sum(1, dtype=np.int64)
        if not of_objects.any():
            raise UserError(
                "--masks: no mask has a pixel of an object (255), so nothing can be measured; check their values"
            )
        shown, has_object = of_objects + rest.sum(1, dtype=np.int64), of_objects > 0
        ious = counts[has_object, 0] / counts[has_object].sum(1)
        of_images = np.full(self._count, np.nan)
        of_images[rows[has_object]] = ious
        curve = _curve(*(each[has_object] for each in levels[self._scale]))
        sums = resampled_counts(np.concatenate([objects, rest], 1))
        of_ious = resampled_counts(np.stack([ious, np.ones_like(ious)], 1))
        with np.errstate(invalid="ignore"):  # a resample may have no image of those that count
            intervals = {
                "pxap": pxap(sums[:, :PIXEL_LEVELS], sums[:, PIXEL_LEVELS:]),
                "iou": 100 * of_ious[:, 0] / of_ious[:, 1],
            }
        shares = np.full(self._count, np.nan)
        shares[rows[has_object]] = (of_objects / shown.clip(1))[has_object]
        own = levels[self._scale]
        numbers: Pixels = {
            "images": len(rows),
            "images_with_object": int(has_object.sum()),
            "pxap": float(pxap(objects.sum(0, dtype=np.int64), rest.sum(0, dtype=np.int64))),
            "pxap_on_own_scale": float(pxap(*(each.sum(0, dtype=np.int64) for each in own))),
            "iou": {
                "threshold": self._threshold if isinstance(self._threshold, float) else None,
                "mean": 100 * float(ious.mean()),
                "best": 100 * float(curve.max()),
                "best_threshold": float(curve.argmax() * PIXEL_STEP),
            },
            "intervals": {name: _interval(values.astype(np.float64)) for name, values in intervals.items()},
            "sizes": _by_size(of_images, shares),
            "classes": _by_class(of_images, labels, classes),
        }
        if self._of_benchmark is not None:
            numbers["pxap_wsoleval"] = float(pxap(*self._of_benchmark))
        return PixelMeasurement(numbers, of_images)


def _interval(resampled: NDArray[np.float64]) -> tuple[float, float] | None:
    """The interval of resampled values; None where they tell nothing, as of one image."""
    return None if np.nanmax(resampled) - np.nanmin(resampled) < _NOTHING else interval(resampled)


_NOTHING = 1e-3
"""Points: less is rounding."""


def _curve(objects: NDArray[np.uint16], rest: NDArray[np.uint16]) -> NDArray[np.float64]:
    """The mean IoU at every threshold, the first of which keeps everything, from counts [n, levels]."""
    total = np.zeros(objects.shape[1])
    for first in range(0, len(objects), _AT_ONCE):
        part = slice(first, first + _AT_ONCE)
        kept, kept_rest = (np.cumsum(each[part, ::-1], 1, dtype=np.int64)[:, ::-1] for each in (objects, rest))
        total += (kept / (kept[:, :1] + kept_rest)).sum(0)
    return total / len(objects)


def _by_size(ious: NDArray[np.float64], shares: NDArray[np.float64]) -> list[SizeIou]:
    """Mean IoU by the share of the image that the object's pixels cover."""
    bounds, groups = [0.0, *OBJECT_SIZES, 1.0], size_groups(shares)
    means = [_mean_iou(ious[groups == k]) for k in range(len(bounds) - 1)]
    return [
        {"share": [bounds[k], bounds[k + 1]], "images": images, "iou": iou} for k, (images, iou) in enumerate(means)
    ]


def _by_class(ious: NDArray[np.float64], labels: NDArray[np.int64] | None, classes: Sequence[str]) -> list[ClassIou]:
    """Mean IoU of the images of each class; nothing where labels are not known."""
    if labels is None:
        return []
    means = [_mean_iou(ious[labels == label]) for label in range(len(classes))]
    return [{"class": name, "images": images, "iou": iou} for name, (images, iou) in zip(classes, means, strict=True)]


def _mean_iou(ious: NDArray[np.float64]) -> tuple[int, float | None]:
    """How many images have an IoU, and its mean in percent."""
    known = ious[~np.isnan(ious)]
    return len(known), 100 * float(known.mean()) if len(known) else None


def measure_pixels(
    maps: Mapping[str, Maps],
    thresholds: Mapping[str, kernels.Thresholds],
    images: EvaluatedImages,
    masks: Masks,
    fixed: Sequence[FixedMask],
    wsoleval: bool,
) -> PixelsOfAll:
    """The maps of localizers, by name, each cut at its threshold, against the masks of those of the images that have
    one; all maps come in the same groups. wsoleval: also PxAP as the benchmark's evaluator has it. Raises UserError
    where no pixel is an object's, and as `Maps.groups` and `Masks.read` do.
    """
    count = len(images.truths)
    has_mask = np.isin(np.arange(count), masks.rows)
    counters = {name: _Counter(each.scale, thresholds[name], count, wsoleval) for name, each in maps.items()}
    of_fixed, digests = FixedCounts(fixed), dict[int, bytes]()
    for groups in zip(*(each.groups(images.truths) for each in maps.values()), strict=True):
        for some in _in_parts(np.flatnonzero(has_mask[groups[0].rows])):
            rows = groups[0].rows[some]
            of_rows = masks.read(rows)
            digests.update(zip(rows.tolist(), map(_digest, of_rows), strict=True))
            of_fixed.add(of_rows)
            for counter, group in zip(counters.values(), groups, strict=True):
                counter.add(rows, group.maps[some], of_rows)
    measured = {name: each.measured(images.labels, images.classes) for name, each in counters.items()}
    return PixelsOfAll(measured, of_fixed.numbers(), digest_of_masks(digests))


def _digest(mask: NDArray[np.uint8]) -> bytes:
    return hashlib.sha256(mask.tobytes()).digest()


def digest_of_masks(digests: Mapping[int, bytes]) -> str:
    """What tells the masks of two evaluations apart, whatever the order they were read in: SHA-256 over the rows of
    images and the digests of their masks.
    """
    return hashlib.sha256(
        b"".join(row.to_bytes(8, "little") + each for row, each in sorted(digests.items()))
    ).hexdigest()


def _in_parts(rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """The rows, `_AT_ONCE` at a time."""
    for first in range(0, len(rows), _AT_ONCE):
        yield rows[first : first + _AT_ONCE]


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
