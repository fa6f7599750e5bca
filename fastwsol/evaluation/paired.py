"""Two networks or localizers on the same images: by how much they differ, and how far chance reaches."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastwsol.evaluation.metrics import Outcome, Outcomes, interval, percent, sign_test
from fastwsol.evaluation.resampling import resampled_counts


@dataclass(frozen=True)
class Pair:
    """A rate of both, or a mean over images, in percent."""

    rates: tuple[float | None, float | None]
    difference: float | None
    """B - A, in points."""
    interval: tuple[float, float] | None
    """The difference's 95 % interval."""
    only: tuple[int, int]
    """Images that one alone got right, or better: A, and B."""

    @property
    def p(self) -> float:
        """The sign test's p value."""
        return sign_test(*self.only)

    def to_json(self) -> dict[str, Any]:
        """As files hold it."""
        return {
            "a": self.rates[0],
            "b": self.rates[1],
            "difference": self.difference,
            "interval": self.interval,
            "a_alone": self.only[0],
            "b_alone": self.only[1],
            "p": self.p,
        }


def paired(a: Outcomes, b: Outcomes) -> dict[str, Pair]:
    """Each rate that both have, by its name."""
    names = [name for name in a if name in b and a[name].counted.any()]
    flags = [flag for name in names for flag in (*_discordant(a[name], b[name]), a[name].counted)]
    resampled = resampled_counts(np.column_stack(flags)).astype(np.float64)
    pairs = {}
    for k, name in enumerate(names):
        only_a, only_b = (int(each.sum()) for each in flags[3 * k : 3 * k + 2])
        counted = int(a[name].counted.sum())
        with np.errstate(invalid="ignore"):
            in_resamples = 100 * (resampled[:, 3 * k + 1] - resampled[:, 3 * k]) / resampled[:, 3 * k + 2]
        rate_a, rate_b = (percent(int(each[name].succeeded.sum()), counted) for each in (a, b))
        points = percent(only_b - only_a, counted)
        pairs[name] = Pair((rate_a, rate_b), points, interval(in_resamples), (only_a, only_b))
    return pairs


def paired_means(a: NDArray[np.float64], b: NDArray[np.float64]) -> Pair:
    """The means over images of two numbers [N] in 0..1, as the IoU of masks; NaN of an image that does not count."""
    both = ~np.isnan(a) & ~np.isnan(b)
    ours, theirs = a[both], b[both]
    resampled = resampled_counts(np.stack([theirs - ours, np.ones_like(ours)], axis=1)).astype(np.float64)
    only_a, only_b = int((ours > theirs).sum()), int((theirs > ours).sum())
    with np.errstate(invalid="ignore"):
        in_resamples = 100 * resampled[:, 0] / resampled[:, 1]
    means = 100 * float(ours.mean()), 100 * float(theirs.mean())
    return Pair(means, 100 * float((theirs - ours).mean()), interval(in_resamples), (only_a, only_b))


def _discordant(a: Outcome, b: Outcome) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    return a.succeeded & ~b.succeeded, b.succeeded & ~a.succeeded
