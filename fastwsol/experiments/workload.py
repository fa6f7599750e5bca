"""How much work trainings are, and how long what is left of them will take, by the rate of what was done."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fastwsol.config import Setting
from fastwsol.network.networks import network_gmac
from fastwsol.timetable import Timetable

Rows = Sequence[dict[str, Any]]
"""A run's metrics.jsonl."""


@dataclass(frozen=True)
class Workload:
    """Trainings on one data set, of `images` training images of `classes` classes."""

    images: int
    classes: int

    def total_steps(self, setting: Setting) -> int:
        """The steps of a whole run."""
        return self._timetable(setting).total_steps

    def _timetable(self, setting: Setting) -> Timetable:
        """Of a run; images held out are not trained on."""
        return Timetable(setting, self.images - setting.data.holdout * self.classes)

    def work(self, setting: Setting, steps: int) -> float:
        """The work of a run's first steps, in 10^9 multiply-adds of forward passes."""
        of_classifier = min(steps, self._timetable(setting).classifier_steps)
        images = of_classifier * setting.optimizer.batch_size
        images += (steps - of_classifier) * setting.localizer.head_batch_size
        return network_gmac(setting) * images

    def left(self, setting: Setting, rows: Rows) -> float:
        """The work that is left of a run."""
        return self.work(setting, self.total_steps(setting)) - self.work(setting, steps_done(rows))

    def share_done(self, setting: Setting, rows: Rows) -> float:
        """How far a run is, 0..1."""
        return min(1.0, steps_done(rows) / self.total_steps(setting))

    def spent(self, setting: Setting, rows: Rows) -> tuple[float, float]:
        """The work that a run's progress lines tell of, and the seconds it took."""
        work = seconds = 0.0
        last = 0
        for row in rows:
            if row["kind"] == "train" and row["images_per_second"]:
                images = (row["step"] - last) * setting.optimizer.batch_size
                work += network_gmac(setting) * images
                seconds += images / row["images_per_second"]
                last = row["step"]
        return work, seconds


def steps_done(rows: Rows) -> int:
    """The step of the last row."""
    return max((row["step"] for row in rows), default=0)


def seconds_left(left: Sequence[float], spent: Sequence[tuple[float, float]], jobs: int) -> float | None:
    """The seconds that the work `left`, of each run, will take, `jobs` runs at a time, at the rate of `spent`; None
    while no rate is known.
    """
    work, seconds = (sum(each[k] for each in spent) for k in range(2))
    return max(sum(left) / jobs, max(left, default=0.0)) * seconds / work if work else None
