"""The views of an image, by number, where there is a bounded number of them: its crops, each as it is and mirrored."""

import numpy as np
from numpy.typing import NDArray

from fastwsol.config import Augmentation
from fastwsol.draws import Views


def view_count(augmentation: Augmentation) -> int:
    """How many different views of an image there are: 0 where there is no end of them."""
    endless = augmentation.crops and not augmentation.crops_per_image
    if augmentation.hides or augmentation.color or augmentation.mix != "none" or endless:
        return 0
    return (augmentation.crops_per_image if augmentation.crops else 1) * (2 if augmentation.flip else 1)


def view_numbers(augmentation: Augmentation, views: Views, epochs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Which of its image's views each of these is: [B]. epochs: those that they are drawn for, [B]."""
    crops = epochs % augmentation.crops_per_image if augmentation.crops else np.zeros_like(epochs)
    return crops * 2 + views.flips if augmentation.flip else crops


def crop_and_flip(augmentation: Augmentation, number: int) -> tuple[int, int]:
    """Of a view the epoch that shows its crop, and whether it is mirrored (0 or 1)."""
    return divmod(number, 2) if augmentation.flip else (number, 0)
