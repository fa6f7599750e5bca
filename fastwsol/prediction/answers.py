"""What a network gives for a batch of images, before it is made predictions of."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastwsol.prediction.components import Components
from fastwsol.prediction.signals import Looks


class BatchOutputs(NamedTuple):
    """What the network gives for the B images of a batch that could be read."""

    labels: NDArray[np.int64]
    """Of K classes: [B, K]."""
    maps: NDArray[np.float32]
    """[B, K, h, w]."""
    components: Components | None
    """Of maps that are one for all classes, where classes are to be told apart."""
    all_probabilities: NDArray[np.float64]
    """Of all classes: [B, classes]."""
    looks: Looks | None
    """The maps of other looks at the images, where signals are asked for: of the K classes, or of the classes of the
    components that are objects (`Components.classes_of_objects`).
    """


class Answers(NamedTuple):
    """A batch: which images it has, and what the network gives for those that could be read."""

    names: list[str]
    """Of all images."""
    reasons: dict[int, str]
    """Why an image could not be read, by its place in `names`."""
    sizes: NDArray[np.int32]
    """Width and height: [B, 2]."""
    nearly_black: NDArray[np.bool_]
    """Whether no pixel is brighter than `NEARLY_BLACK`: [B]."""
    known: NDArray[np.int64]
    """The label of the class whose boxes are asked for, or -1 where the network says it: [B]."""
    outputs: BatchOutputs | None
    """None where no image could be read."""


class FoundBoxes(NamedTuple):
    """The M boxes that one map of each of a batch's images gives."""

    owners: NDArray[np.int64]
    """Whose each is: [M]."""
    boxes: NDArray[np.int32]
    """In the square: [M, 4]."""
    peaks: NDArray[np.float64]
    """Of the map in each: [M]."""
    classes: NDArray[np.float64]
    """What the network says of all classes: [M, classes]."""
    labels: NDArray[np.int64]
    """Each box's class: [M]."""
    map_index: int
    """Which of an image's maps they are of."""
    look_index: int
    """Which of the maps of other looks are of the same class."""

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """Of each box's class: [M]."""
        of_class: NDArray[np.float64] = np.take_along_axis(self.classes, self.labels[:, np.newaxis], axis=1)[:, 0]
        return of_class
