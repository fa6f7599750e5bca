"""Two networks or localizers on the same images: by how much they differ, and how far chance reaches."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastwsol.draws import signs
from fastwsol.evaluation.metrics import interval, percent, sign_test
from fastwsol.evaluation.resampling import resampled_counts

FLIPS = 9999


@dataclass(frozen=True)
class Pair:
    """A rate of both, or a mean over images, in percent."""

    rates: tuple[float | None, float | None]
    difference: float | None
    """B - A, in points."""
    interval: tuple[float, float] | None
    """The difference's 95 % interval; None where no image differs, of which resampling can tell nothing."""
    only: tuple[int, int]
    """Images that A alone got right, and B alone; of a mean, those that A has the larger number of, and B."""
    counted: int
    """Of how many images the rates are."""
    p: float
    """Two-sided: of a rate the exact sign test's, of another mean that of `sign_flip_test`."""

    def to_json(self) -> dict[str, Any]:
        """As files hold it."""
        return {
            "a": self.rates[0],
            "b": self.rates[1],
            "difference": self.difference,
            "interval": self.interval,
            "counted": self.counted,
            "a_alone": self.only[0],
            "b_alone": self.only[1],
            "p": self.p,
        }


def paired_means(a: NDArray[np.float64], b: NDArray[np.float64]) -> Pair:
    """The means over images of two numbers [N] in 0..1, of a rate 0 and 1 alone; NaN of one that does not count."""
    counts = ~np.isnan(a) & ~np.isnan(b)
    ours, theirs = np.where(counts, a, 0), np.where(counts, b, 0)
    apart, number = theirs - ours, int(counts.sum())
    only = int((apart < 0).sum()), int((apart > 0).sum())
    resampled = resampled_counts(np.stack([apart, counts], axis=1)).astype(np.float64)
    with np.errstate(invalid="ignore"):
        in_resamples = 100 * resampled[:, 0] / resampled[:, 1]
    mean_a, mean_b, points = (percent(float(each.sum()), number) for each in (ours, theirs, apart))
    reach = interval(in_resamples) if any(only) else None
    is_rate = bool(np.isin(ours, (0, 1)).all() and np.isin(theirs, (0, 1)).all())
    return Pair((mean_a, mean_b), points, reach, only, number, sign_test(*only) if is_rate else sign_flip_test(apart))


def sign_flip_test(differences: NDArray[np.float64], images_at_once: int = 256) -> float:
    """The two-sided p value that the mean of differences [N] is other than 0 by chance: a permutation test of pairs, in
    which the two numbers of an image change places or not, drawn `FLIPS` times, for an image always alike.

    images_at_once: those whose draws are in memory together, 80 KB each.
    """
    sums, rows = np.zeros(FLIPS), np.flatnonzero(differences)
    for start in range(0, len(rows), images_at_once):
        part = rows[start : start + images_at_once]
        sums += differences[part] @ signs(part, FLIPS).astype(np.float64)
    as_far = np.abs(sums) >= abs(differences.sum()) * (1 - 1e-9)
    return (int(as_far.sum()) + 1) / (FLIPS + 1)
