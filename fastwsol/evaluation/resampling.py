"""How far chance reaches: intervals by a bootstrap over images, one draw of them for all rates of a report."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastwsol.draws import bootstrap_weights
from fastwsol.evaluation.metrics import IOU_THRESHOLDS, Outcomes, interval, max_box_acc
from fastwsol.evaluation.report_types import Interval, Intervals, OracleRates
from fastwsol.evaluation.thresholds import BestHits

RESAMPLES = 1000


def intervals_of(every: Sequence[Outcomes]) -> list[Intervals]:
    """95 % intervals, in percent, of each of the outcomes' rates, by a bootstrap over images.

    None where all images are alike: resampling cannot tell how far from 0 or 100 % another set would be.
    """
    resampled = resampled_counts(
        np.column_stack([flags for each in every for outcome in each.values() for flags in outcome])
    )
    columns = iter(resampled.T.astype(np.float64))
    intervals: list[Intervals] = []
    for each in every:
        own: dict[str, Interval] = {}
        for name, outcome in each.items():
            values = _percent(next(columns), next(columns))
            alike = outcome.succeeded.sum() in (0, outcome.counted.sum())
            own[name] = None if alike else interval(values)
        intervals.append(own)
    return intervals


def oracles(best: BestHits, has_boxes: NDArray[np.bool_]) -> OracleRates:
    """MaxBoxAcc and its kin from the hits at the best thresholds, and their intervals with these thresholds held.

    (If they were chosen anew in each resample, the interval would move up, since a maximum follows chance.)
    """
    single, multiple = (hits.sum(axis=0)[:, np.newaxis] for hits in best)
    resampled = resampled_counts(np.column_stack([*best, has_boxes]))[:, :, np.newaxis]
    rows = len(IOU_THRESHOLDS)
    values = max_box_acc(resampled[:, :rows], resampled[:, rows : 2 * rows], resampled[:, -1, 0])
    return {
        "rates": _plain(max_box_acc(single, multiple, has_boxes.sum())),
        # None where all images are alike: resampling them tells nothing.
        "intervals": {name: None if _constant(each) else interval(each) for name, each in values.items()},
    }


def _constant(values: NDArray[np.float64]) -> bool:
    """Whether all numbers are equal but for NaN, the rate of a resample in which no image has a box."""
    known = values[~np.isnan(values)]
    return len(known) == 0 or bool(np.ptp(known) == 0)


def _plain(values: Mapping[str, NDArray[np.float64]]) -> dict[str, float | None]:
    return {name: None if np.isnan(value) else float(value) for name, value in values.items()}


def resampled_counts(flags: NDArray[Any], images_at_once: int = 4096) -> NDArray[np.float32]:
    """In each of `RESAMPLES` resamples of the N images, how many have each flag, or the sum of each of their numbers:
    [N, R] -> [RESAMPLES, R].

    images_at_once: the images whose weights are in memory together, 4 KiB each; the counts do not depend on it.
    """
    totals = np.zeros((RESAMPLES, flags.shape[1]), np.float32)
    for start in range(0, len(flags), images_at_once):
        stop = min(start + images_at_once, len(flags))
        totals += _weights(start, stop) @ flags[start:stop].astype(np.float32)
    return totals


_KEPT = 65_536
"""The first so many images, whose weights are kept: 256 MiB. Those of more would drive each other out."""


def _weights(start: int, stop: int) -> NDArray[np.float32]:
    """The bootstrap's weights of images `start` to `stop` of a split, which every table of a report asks for."""
    return _kept_weights(start, stop) if start < _KEPT else bootstrap_weights(np.arange(start, stop), RESAMPLES)


@lru_cache(maxsize=16)
def _kept_weights(start: int, stop: int) -> NDArray[np.float32]:
    weights = bootstrap_weights(np.arange(start, stop), RESAMPLES)
    weights.setflags(write=False)
    return weights


def _percent(succeeded: NDArray[np.float64], counted: NDArray[np.float64]) -> NDArray[np.float64]:
    with np.errstate(invalid="ignore"):
        return 100 * succeeded / counted
