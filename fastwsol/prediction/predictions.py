"""What is asked of a network about images, and what it answers: classes, boxes, masks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

import kernels
from fastwsol.prediction.components import WhichBoxes
from fastwsol.prediction.signals import Signals


class ClassScore(NamedTuple):
    """A class and its softmax probability. `wnid`: the class as the data set names it; `name`: as a person does."""

    wnid: str
    name: str
    probability: float


class ScoredBox(NamedTuple):
    """A box of a class: half-open edges in the pixels of the upright original image.

    score: the class's probability times the highest value that its map, on its scale, has in the box. So the boxes of a
    class are in the order of their peaks, and the score of the box that holds a min-max scaled map's maximum is the
    class's probability. The probability is that of the image. Where all boxes of a mask are asked for, it is that of
    the component, from the features under the mask in its box.
    """

    wnid: str
    name: str
    x0: float
    y0: float
    x1: float
    y1: float
    score: float
    probability: float
    """The class's probability, from which the score is made."""
    signals: Signals | None = None
    """What else speaks for the box, where signals are asked for."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What the network says of one image. `width`, `height`: of the upright image."""

    name: str
    width: int
    height: int
    classes: tuple[ClassScore, ...]
    """The likeliest classes, or the one that was asked for."""
    boxes: tuple[ScoredBox, ...]
    """Boxes of those classes, the highest score first; where all boxes of a mask are asked for, they may be of other
    classes. A class whose map says nothing has no box.
    """
    maps: NDArray[np.float32] = field(repr=False)
    """The classes' maps as the localizer gives them: [len(classes), h, w]."""
    shown: tuple[int, int, int, int]
    """What the maps cover of the image: x, y, width, height in its pixels."""
    square: int
    """The side, in pixels, of the square that maps were upsampled to before they were cut and boxed."""
    probabilities: NDArray[np.float64] = field(repr=False)
    """The softmax probabilities of all classes in the run's label order: [classes]."""
    scale: kernels.Scale = "min-max"
    """What the maps' values mean."""
    cuts: tuple[float, ...] = ()
    """Where each class's map was cut, on its scale."""
    nearly_black: bool = False
    """Whether no pixel is brighter than 16 of 255, as where levels of 12 bits are stored in 16."""
    by: str = ""
    """The step, localizer and configuration of the predictor that made it."""

    def mask(self, box: ScoredBox) -> NDArray[np.bool_]:
        """The pixels of the image, [height, width], that the map of a box's class keeps inside the box: the map,
        upsampled bilinearly to what it covers of the image, reaches the cut that the box was found at. A box has one
        pixel at least. Raises ValueError for a box that is none of `boxes`.
        """
        if box not in self.boxes:
            raise ValueError(f"{self.name}: {box!r:.200} is none of this prediction's boxes")
        labels = [each.wnid for each in self.classes]
        number = labels.index(box.wnid) if box.wnid in labels else 0  # a mask is one for all classes
        x, y, width, height = self.shown
        x0, x1 = _whole(box.x0 - x, box.x1 - x, width)
        y0, y1 = _whole(box.y0 - y, box.y1 - y, height)
        found = np.zeros((self.height, self.width), np.bool_)
        found[y + y0 : y + y1, x + x0 : x + x1] = kernels.mask_in_box(
            self.maps[number], self.square, (height, width), (x0, y0, x1, y1), self.cuts[number], self.scale
        )
        return found

    def mask_of_all(self) -> NDArray[np.bool_]:
        """The pixels that any of the boxes keeps: [height, width]."""
        found = np.zeros((self.height, self.width), np.bool_)
        for box in self.boxes:
            found |= self.mask(box)
        return found


def _whole(first: float, end: float, size: int) -> tuple[int, int]:
    """An edge and the one opposite in whole pixels, at least one apart, within 0..size."""
    start = min(max(0, round(first)), size - 1)
    return start, min(max(start + 1, round(end)), size)


@dataclass(frozen=True)
class Request:
    """Which boxes are asked for."""

    top: int = 1
    """The number of likeliest classes that get boxes; where all boxes of a mask are asked for, each has a class of its
    own.
    """
    of_class: str | None = None
    """The only class that gets boxes, by wnid or name."""
    boxes: WhichBoxes = "largest"
    """largest: for each class the box of the largest component; all: the boxes of all components. With all, each
    component of a mask has a class of its own, and those of less than a fifth of the largest one's pixels are left out.
    """
    threshold: float | Literal["otsu"] | None = None
    """Where the map is cut on its scale: what is at or above it is kept. otsu: at Otsu's threshold of each map; None:
    where the run cuts it itself."""
    least_score: float | None = None
    """Boxes of a lower score are left out. None: where all boxes of a mask are asked for, those below twice chance (at
    most 0.5) are left out; otherwise none.
    """
    signals: bool = False
    """Whether boxes get `Signals`: the network then looks at each image three times."""

    def __post_init__(self) -> None:
        """NumPy's numbers become Python's."""
        for name in ("top", "threshold", "least_score"):
            if isinstance(value := getattr(self, name), np.integer | np.floating):
                object.__setattr__(self, name, value.item())
