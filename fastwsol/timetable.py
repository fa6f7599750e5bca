"""When a run does what: its steps, the sides of its images, its learning rate."""

import math
from dataclasses import dataclass
from fractions import Fraction

from fastwsol.config import SIZE_STEP, Setting

_WARMUP_SHARE = 0.2
"""Of the steps of one cycle, those in which the rate rises."""


@dataclass(frozen=True)
class Timetable:
    """The course of a run of `setting` that trains on `train_images` images."""

    setting: Setting
    train_images: int

    @property
    def total_steps(self) -> int:
        """Steps in the whole run: the classifier's, and then the mask head's."""
        return self.classifier_steps + self.setting.localizer.trains_mask * self.setting.localizer.head_steps

    @property
    def classifier_steps(self) -> int:
        """Steps in which the classifier is trained."""
        # Rounded first: 1.1 epochs of 100 images are 110 images, though the product of floats is a little more.
        epochs, batch_size = self.setting.schedule.epochs, self.setting.optimizer.batch_size
        return max(1, math.ceil(round(epochs * self.train_images / batch_size, 6)))

    @property
    def phases(self) -> list[tuple[int, int]]:
        """The sides that the network's square has while the classifier is trained, each with the step before which it
        ends.
        """
        schedule, total = self.setting.schedule, self.classifier_steps
        largest = schedule.end_size or self.setting.views.image_size
        sizes = range(schedule.start_size or largest, largest + 1, SIZE_STEP)
        ends = [total * (k + 1) // len(sizes) for k in range(len(sizes))]
        return [(end, size) for end, size, first in zip(ends, sizes, [0, *ends], strict=False) if first < end]

    def learning_rate(self, step: int) -> float:
        """The classifier's learning rate in `step` (from 0)."""
        lr, schedule = self.setting.optimizer.lr, self.setting.schedule
        if schedule.schedule == "step":
            return lr * 0.1 ** self.times_passed(step, schedule.lr_step_epochs)
        return lr * one_cycle((step + 1) / (self.classifier_steps + 1))

    def times_passed(self, step: int, epochs: float) -> int:
        """How many times `epochs` epochs, as that number is written in decimal, have passed after `step` steps.

        It counts in whole numbers, since the quotient of the floats 0.3 and 0.1 is less than 3.
        """
        images = step * self.setting.optimizer.batch_size
        return int(Fraction(images, self.train_images) / Fraction(repr(float(epochs))))


def one_cycle(share: float) -> float:
    """The factor on the highest learning rate when `share` of the steps are done: linear up, then linear down to 0."""
    return min(share / _WARMUP_SHARE, (1 - share) / (1 - _WARMUP_SHARE))
