"""Where a map is cut. All thresholds lie on a map's scale of 0..1: of a min-max scaled map they are shares of its
maximum.

- A threshold t keeps x >= t, in float64.
- The curve has `LEVELS` thresholds: level k keeps x >= k / (LEVELS - 1).
- The code of Choe et al. 2018 cuts bytes, `paper2018_threshold`; the evaluator of Choe et al. 2020 other ones,
  `wsoleval_cut`.

These numbers stand here and nowhere else.
"""

import math

LEVELS = 256
"""Thresholds of the curve."""

TOP_LEVEL = LEVELS - 1
"""The level that keeps the maximum alone."""

PIXEL_STEP = 0.001
"""Level k of the pixel curve keeps x >= k * PIXEL_STEP, the product in float64: the thresholds of Choe et al. 2020."""

PIXEL_LEVELS = 1001
"""Those thresholds, and 1."""

WSOLEVAL_CUTS = 255
"""Values that `wsoleval_cut` takes for thresholds below 1."""


def threshold_of(level: int) -> float:
    """The threshold that a level stands for."""
    return level / TOP_LEVEL


def level_of(threshold: float) -> int:
    """The lowest level that keeps nothing below a threshold of 0..1."""
    return math.ceil(threshold * TOP_LEVEL - 1e-9)  # 0.2 is level 51, whatever the product is rounded to


def paper2018_threshold(threshold: float) -> float:
    """What x has to reach under the rule of Choe et al. 2018's code; infinite where that keeps nothing.

    The code makes u = min(int(256 x), 255) and keeps u > int(threshold * max(u)). The maximum of a map that varies is
    255. For a whole number k < 256, u >= k says just x >= k / 256, as neither 256 x nor k / 256 is rounded.
    """
    least = int(threshold * 255) + 1
    return least / 256 if least < 256 else math.inf


def wsoleval_cut(threshold: float) -> int:
    """The byte that a pixel has to exceed under the rule of the evaluator of Choe et al. 2020: int(255 t)."""
    return int(threshold * WSOLEVAL_CUTS)
