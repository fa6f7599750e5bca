"""The thresholds that a report gives numbers at: the paper's fixed one, one that was asked for, those chosen on other
images, and the oracle's. How a threshold cuts a map stands in `kernels.levels`.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fastwsol.evaluation.boxes import CurveHits
from kernels.levels import level_of

CAM_THRESHOLD = 0.2
"""The paper's, a share of the map's maximum (paper.md, "CAM to box")."""

PAPER_LEVEL = level_of(CAM_THRESHOLD)

ThresholdKind = Literal["asked", "chosen", "oracle"]
"""Where a threshold beside the paper's is from: the command line; other images; these very images."""


@dataclass(frozen=True)
class ChosenLevels:
    """A level of the curve for each IoU threshold, int64 [T], and on which images' boxes they were chosen."""

    levels: NDArray[np.int64]
    images: str


def choose_levels(curve: CurveHits, images: str) -> ChosenLevels:
    """The levels that hit most of the images that `curve` is of, the lowest of equals; without ground truth level 0."""
    return ChosenLevels(best_levels(curve.single.sum(axis=0)), images)


def best_levels(single: NDArray[np.int64]) -> NDArray[np.int64]:
    """The level that hits most images at each IoU threshold, int64 [T], from counts [T, LEVELS]; the lowest of ties."""
    return single.argmax(axis=-1)
