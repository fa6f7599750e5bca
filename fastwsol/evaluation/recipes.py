"""Two recipes, each of several seeds, on the same images: by how much they differ, over seeds and images alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit

from fastwsol.evaluation.metrics import CONFIDENCE, percent

LEAST_SEEDS = 2
"""Of each recipe: the spread of one is not known."""


@dataclass(frozen=True)
class RecipePair:
    """A rate or a mean over images of two recipes, in percent, each the mean over its seeds. None of a measure that no
    image counts for.
    """

    means: tuple[float | None, float | None]
    deviations: tuple[float | None, float | None]
    """Standard deviations over the seeds, in points."""
    difference: float | None
    """B - A, in points."""
    error_of_seeds: float | None
    error_of_images: float | None
    """The standard errors of the difference, in points, that the few seeds leave, and the few images; None of one
    image, which has no spread.
    """
    interval: tuple[float, float] | None
    """The difference's 95 % interval; None where there is no spread to tell it by: of one image, and where seeds and
    images are all alike.
    """
    counted: int
    """Of how many images they are."""
    p: float | None
    """Two-sided, that recipes which do not differ give a difference as large; None where the interval is."""

    def to_json(self) -> dict[str, Any]:
        """As files hold it."""
        return {
            "a": self.means[0],
            "b": self.means[1],
            "a_deviation": self.deviations[0],
            "b_deviation": self.deviations[1],
            "difference": self.difference,
            "interval": self.interval,
            "error_of_seeds": self.error_of_seeds,
            "error_of_images": self.error_of_images,
            "counted": self.counted,
            "p": self.p,
        }


def recipes_differ(a: Sequence[NDArray[np.float64]], b: Sequence[NDArray[np.float64]]) -> RecipePair:
    """Compare a measure of two recipes. a, b: of each seed what the measure is of each image, [N] in 0..1, NaN of one
    that does not count; `LEAST_SEEDS` seeds at least.

    Seeds and images are both a sample. The difference's variance is that of A's mean over seeds, that of B's, and that
    of the mean over images of the difference of both means. Its freedom is Welch's and Satterthwaite's, so that with
    few seeds the interval is Student's, as wide as these few make it. (What a seed does to single images stands in both
    parts, which makes the interval a little too wide.)
    """
    ours, theirs = np.stack(a), np.stack(b)
    counts = ~np.isnan(ours).any(axis=0) & ~np.isnan(theirs).any(axis=0)
    ours, theirs, number = ours[:, counts], theirs[:, counts], int(counts.sum())
    if not number:
        return RecipePair((None, None), (None, None), None, None, None, None, 0, None)
    of_seeds = [100 * each.mean(axis=1) for each in (ours, theirs)]
    mean_a, mean_b = (percent(float(each.mean(axis=0).sum()), number) for each in (ours, theirs))
    deviation_a, deviation_b = deviations = [_spread(each) for each in of_seeds]
    variances = [each**2 / seeds for each, seeds in zip(deviations, (len(a), len(b)), strict=True)]
    apart = 100 * (theirs.mean(axis=0) - ours.mean(axis=0))
    of_images = _spread(apart) ** 2 / number if number > 1 else None
    difference = 0.0 if abs(mean := float(apart.mean())) < _ROUNDING else mean
    interval = p = None
    if of_images is not None and (error := float(np.sqrt(sum(variances) + of_images))):
        parts = [*zip(variances, (len(a) - 1, len(b) - 1), strict=True), (of_images, number - 1)]
        freedom = error**4 / sum(part**2 / own for part, own in parts if part)
        reach = float(stdtrit(freedom, (1 + CONFIDENCE) / 2) * error)
        interval, p = (difference - reach, difference + reach), float(2 * stdtr(freedom, -abs(difference) / error))
    return RecipePair(
        (mean_a, mean_b),
        (deviation_a, deviation_b),
        difference,
        float(np.sqrt(sum(variances))),
        None if of_images is None else float(np.sqrt(of_images)),
        interval,
        number,
        p,
    )


_ROUNDING = 1e-9
"""Points: what the rounding of sums may leave of nothing."""


def _spread(values: NDArray[np.float64]) -> float:
    """The standard deviation of several values; 0 where they are equal but for rounding."""
    return 0.0 if np.ptp(values) < _ROUNDING else float(values.std(ddof=1))
