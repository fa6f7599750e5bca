"""The thresholds that a report gives numbers at: the paper's fixed one, one that was asked for, those chosen on other
images, Otsu's of each image, and the oracle's. How a threshold cuts a map stands in `kernels.levels`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple, TypedDict

import numpy as np
from numpy.typing import NDArray

import kernels
from fastwsol.evaluation.boxes import CurveHits, parts_of_maps
from fastwsol.evaluation.metrics import IOU_THRESHOLDS
from fastwsol.geometry import Size
from fastwsol.localizer.localizers import Localizer
from kernels.levels import LEVELS, level_of, threshold_of
from kernels.upsampling import checked_cams

CAM_THRESHOLD = 0.2
"""The paper's, a share of the map's maximum (docs/paper.md, "CAM to box")."""

PAPER_LEVEL = level_of(CAM_THRESHOLD)

CutRule = Literal["fixed", "asked", "box-free", "otsu", "auto"]
"""How a localizer's maps are cut. fixed: always at the same number; asked: at the number that the command line gives;
box-free: at one number for each run, found on the maps of training images without any box; otsu: at Otsu's threshold of
each image; auto: at the number that is best on other images, by their boxes.
"""


class CutRow(TypedDict):
    """A `Cut`, as reports and runs hold it."""

    rule: CutRule
    value: float | None
    chosen_on: str


LEAST_IMAGES = 5
"""The least number of images with known boxes for a cut by them. With fewer, `predict --cut-on` chooses none, and
evaluations warn.
"""
BY_BOXES = "by their boxes"
"""In `Cut.chosen_on`: that boxes of the images decided."""


@dataclass(frozen=True)
class Cut:
    """Where the maps of a localizer are cut."""

    rule: CutRule
    value: float | None
    """None under `otsu`, where each image has its own."""
    chosen_on: str
    """Which images, and whether by their boxes."""

    def __post_init__(self) -> None:
        """Raise ValueError for a value that the rule cannot have."""
        if (self.value is None) != (self.rule == "otsu") or not 0 <= (self.value or 0) <= 1:
            raise ValueError(f"a cut by the rule {self.rule} at {self.value}: otsu has None, others a number in 0..1")

    def to_json(self) -> CutRow:
        """As reports and runs hold it."""
        return {"rule": self.rule, "value": self.value, "chosen_on": self.chosen_on}

    def thresholds(self, maps: NDArray[np.float32], size: Size, scale: kernels.Scale) -> kernels.Thresholds:
        """Of maps float32 [N, h, w] that are upsampled to `size`: one number, or one an image [N]."""
        return otsu_thresholds(maps, size, scale) if self.value is None else self.value


def asked_cut(threshold: float | Literal["otsu"]) -> Cut:
    """The cut that is asked for: at a number, or at Otsu's threshold of each map."""
    if threshold == "otsu":
        return Cut("otsu", None, "each image itself, without a box")
    return Cut("asked", threshold, "the command line")


def default_cut(localizer: Localizer) -> Cut:
    """Where a localizer's maps are cut in runs that found no number of their own."""
    return Cut("fixed", localizer.cut, "the same for all runs")


def otsu_thresholds(maps: NDArray[np.float32], size: Size, scale: kernels.Scale) -> NDArray[np.float64]:
    """Otsu's threshold of each map [N], of the levels of its pixels (Otsu 1979: between the two classes of pixels the
    variance is greatest).
    """
    levels = [otsu_levels(_histograms(each)) for each in _levels(maps, size, scale)]
    return np.maximum(np.concatenate([*levels, np.empty(0, np.int64)]), _least_level(scale)) / (LEVELS - 1)


def box_free_threshold(maps: NDArray[np.float32], size: Size, scale: kernels.Scale) -> float:
    """One threshold for all maps, found without a box: Otsu's of the pixels of all maps together."""
    whole = np.zeros(LEVELS, np.int64)
    for levels in _levels(maps, size, scale):
        whole += _histograms(levels).sum(axis=0)
    return threshold_of(max(int(otsu_levels(whole[np.newaxis])[0]), _least_level(scale)))


def _least_level(scale: kernels.Scale) -> int:
    """The least level to cut at. A map on a scale of its own may name nothing: level 0 is not kept then, which is all
    that such a map has.
    """
    return 1 if scale == "own" else 0


def otsu_levels(histograms: NDArray[np.int64]) -> NDArray[np.int64]:
    """The least level of the upper class, int64 [N], of pixel counts by level [N, LEVELS]; the lowest of equals. Where
    all pixels have one level it is that level.
    """
    counts = histograms.astype(np.float64)
    below = np.cumsum(counts, axis=1)[:, :-1]  # pixels below level k + 1
    sums = np.cumsum(counts * np.arange(LEVELS), axis=1)
    total, whole = counts.sum(axis=1, keepdims=True), sums[:, -1:]
    with np.errstate(invalid="ignore", divide="ignore"):
        between = (whole * below / total - sums[:, :-1]) ** 2 / (below * (total - below))
    between = np.nan_to_num(between, nan=-1.0, posinf=-1.0)
    best = between.argmax(axis=1) + 1
    return np.where(between.max(axis=1) > 0, best, histograms.argmax(axis=1))


def _levels(maps: NDArray[np.float32], size: Size, scale: kernels.Scale) -> Iterator[NDArray[np.uint8]]:
    """The levels of maps, a part of them at a time. Raises ValueError as `localize` does."""
    maps, _ = checked_cams(maps, size, scale)  # all at once, so that a bad one is named by its place among all
    for part in parts_of_maps(len(maps), size):
        yield kernels.cam_levels(maps[part], size, scale)


def _histograms(levels: NDArray[np.uint8]) -> NDArray[np.int64]:
    """How many pixels of each map have each level: [N, LEVELS]."""
    return np.stack([np.bincount(each.ravel(), minlength=LEVELS) for each in levels])


@dataclass(frozen=True)
class ChosenLevels:
    """A level of the curve for each IoU threshold, int64 [T], and on which images' boxes they were chosen."""

    levels: NDArray[np.int64]
    images: str

    def cut(self) -> Cut:
        """The one for IoU .5, as a rule to cut maps by."""
        return Cut("auto", threshold_of(int(self.levels[IOU_THRESHOLDS.index(0.5)])), self.images)


def choose_levels(curve: CurveHits, images: str, near: float | None) -> ChosenLevels:
    """The levels that hit most of the images that `curve` is of. With few images, many levels hit the same number: of
    these the one nearest to `near` is taken, the threshold that is used without these images (None: the paper's).
    """
    hits = curve.single.sum(axis=0)
    distances = np.abs(np.arange(LEVELS) - level_of(CAM_THRESHOLD if near is None else near))
    is_best = hits == hits.max(axis=-1, keepdims=True)
    return ChosenLevels(np.where(is_best, distances, LEVELS).argmin(axis=-1), images)


def best_levels(single: NDArray[np.int64]) -> NDArray[np.int64]:
    """The level that hits most images at each IoU threshold, int64 [T], from counts [T, LEVELS]; the lowest of ties."""
    return single.argmax(axis=-1)


class BestHits(NamedTuple):
    """Which of N images are hit at the level that hits most of them, one level for each of `IOU_THRESHOLDS`: what
    MaxBoxAcc and MaxBoxAccV2 count.
    """

    single: NDArray[np.bool_]
    """By the largest component's box: [N, T]."""
    multiple: NDArray[np.bool_]
    """By any component's, at levels of their own."""

    @staticmethod
    def of(single: NDArray[np.bool_], multiple: NDArray[np.bool_]) -> "BestHits":
        """From the hits at all levels, [N, T, levels]."""
        return BestHits(
            *(
                np.take_along_axis(hits, best_levels(hits.sum(axis=0))[np.newaxis, :, np.newaxis], axis=2)[:, :, 0]
                for hits in (single, multiple)
            )
        )
