"""What every format writes: an image, its class and its objects, whoever said so, a network or a packed set."""

import functools
import itertools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastwsol.sources import Class
from fastwsol.sources.of_objects import class_of_areas
from fastwsol.sources.verdicts import verdict_of
from kernels.pixels import IGNORED

MOST_NUMBERS = 254
"""Objects that pixels of 8 bits can number, 0 being none and 255 what is left out."""

GIVEN_CLASSES = "of the classes that their folders are named after"
"""What `About.model` says of predictions whose classes were known, and not predicted."""
GIVEN_CLASS = "of a class that was given: "
"""The same where one class was asked of all images; its name stands behind."""

Mask = Callable[[], NDArray[np.bool_]]
"""Gives the pixels [H, W] of something in an upright image when they are asked for."""


@dataclass(frozen=True, eq=False)
class LabelledObject:
    """An object: its class as a label, and its box, half-open edges in the pixels of the upright image."""

    label: int
    box: tuple[float, float, float, float]
    """x0, y0, x1, y1."""
    score: float | None = None
    """Of a prediction (`prediction.predictions.ScoredBox`)."""
    probability: float | None = None
    """Of its class, of a prediction."""
    mask: Mask | None = None
    difficult: bool = False
    signals: Mapping[str, float] | None = None
    """What else speaks for it, of a prediction (`prediction.signals`)."""
    certainty: float | None = None
    """The chance that class and box are right, where a prediction was calibrated (`evaluation.certainty`)."""


class Listed(NamedTuple):
    """A class that is named for an image: its label and probability."""

    label: int
    probability: float


def empty_mask(height: int, width: int) -> NDArray[np.uint8]:
    """That of an image in which nothing is found: uint8 [height, width]."""
    return np.zeros((height, width), np.uint8)


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """An image. `width`, `height`: upright, in pixels."""

    name: str
    """A path with slashes."""
    width: int
    height: int
    objects: tuple[LabelledObject, ...] = ()
    label: int | None = None
    """Its class; of a prediction the likeliest, or the one that was asked for."""
    probabilities: NDArray[np.float64] | None = None
    """Of all classes, of a prediction: [classes]."""
    listed: tuple[Listed, ...] = ()
    """Of a prediction, the classes that were asked for."""
    mask: Callable[[], NDArray[np.uint8]] | None = None
    """Gives the mask of its class, uint8 [H, W], as `sources.mask_images` describes it; of a packed set, and of a
    prediction without a box.
    """
    encoded: Callable[[], bytes] | None = None
    """Gives its file's bytes."""
    review: Mapping[str, Any] = field(default_factory=dict)
    """What somebody said of it who looked at it, as the page of `review` exports it."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """What was read of it and is not here, and how often."""
    of_predicted_set: bool = False
    """Whether it is of a packed set whose boxes are predictions (`sources.of_objects.PREDICTED_BOXES`)."""

    @property
    def verdict(self) -> str:
        """What became of it in a review; empty where there was none."""
        return verdict_of(self.review)

    @property
    def is_predicted(self) -> bool:
        """Whether its boxes are a network's, which nobody has judged."""
        if self.of_predicted_set:
            return bool(self.objects)
        return not self.verdict and any(each.score is not None for each in self.objects)

    @property
    def is_accepted(self) -> bool:
        """Whether its boxes are a network's, which somebody has accepted."""
        return self.verdict == "accepted" and bool(self.objects)


@dataclass(frozen=True)
class Skipped:
    """An image that could not be read, and why."""

    name: str
    reason: str


Images = Iterable[LabelledImage | Skipped]


class Part(NamedTuple):
    """The images that one of several processes has of a set: part `number` of `parts`, from 1, the images `first` to
    `end` of `total`.
    """

    number: int
    parts: int
    first: int
    end: int
    total: int
    of: str = ""
    """A digest of what decides the predictions: parts of one whole have the same."""


@dataclass(frozen=True)
class About:
    """What labelled images are of."""

    model: str
    """Who says so: a run and its step, or a packed set."""
    classes: tuple[Class, ...]
    """In label order."""
    image_prefix: str = ""
    """What stands before an image's name in Label Studio's tasks: the address of their folder."""
    calibrated_on: str | None = None
    """What certainties were calibrated on."""
    part: "Part | None" = None
    """Of a set that several processes share."""

    @property
    def names(self) -> list[str]:
        """The classes as a person reads them, each told from the others: where two share a name, with their wnids."""
        names = [one.name for one in self.classes]
        while len(set(names)) < len(names):
            counts = Counter(names)
            names = [
                f"{name} ({one.wnid})" if counts[name] > 1 else name
                for name, one in zip(names, self.classes, strict=True)
            ]
        return names


BOXES = "boxes"
BOXES_OF_MASKS = "boxes beside masks"
CLASSES = "classes of objects"
SCORES = "scores"
SIGNALS = "certainties or what they are made of"
PROBABILITIES = "lists of all classes' probabilities"
MASKS = "masks"
WHOLE_MASKS = "masks of images without a box"
LEFT_OUT = "masks with pixels that are left out"
PARTIAL = "masks of images with an object that has none"
PARTIAL_OF_CLASS = "masks of images with an object of their class that has none"
OF_OTHERS = "masks of objects that are not of their image's class"
DIFFICULT = "marks of difficult objects"
EMPTY_CLASSES = "classes of images without a box"
NO_CLASS = "images without a class"
BOXES_OF_NO_CLASS = "boxes of images without a class"
FRACTIONS = "boxes with fractions of a pixel"
WNIDS = "ids of classes beside their names"
NAMES = "names of classes beside their ids"
OTHER_CLASSES = "classes of images that their boxes do not tell"
UNMASKED = "boxes without a mask, but as four corners"
NO_MASK = "images without a mask"
TO_THE_PIXEL = "masks to the pixel (outlines, of an IoU of 0.98 at least)"
BY_CLASS = f"masks by class, of more than {MOST_NUMBERS} classes"
VERDICTS = "marks of images that a review corrected or drew"
MANY = "masks of a 255th and further objects of an image"
CROWDS = "crowds"
IMPOSSIBLE = "boxes outside of their image, or empty"
CUT = "parts of boxes outside of their image"
HIDDEN = "masks that others hide wholly"
SKIPPED = "images that could not be read"


def one_of(things: str) -> str:
    """One of the things that are named so."""
    first, _, rest = things.partition(" ")
    one = {"boxes": "box", "classes": "class", "certainties": "certainty"}.get(first, first.removesuffix("s"))
    return f"{one} {rest}" if rest else one


def contents_of(image: LabelledImage | Skipped, about: About) -> Counter[str]:
    """What an image has that not every format can hold, and how often."""
    if isinstance(image, Skipped):
        return Counter({SKIPPED: 1})
    masks = sum(each.mask is not None for each in image.objects)
    label = class_of(image)
    of_class = [each.label == label for each in image.objects]
    own = [each for each, is_own in zip(image.objects, of_class, strict=True) if is_own and each.mask is not None]
    of_set = image.mask is not None and image.probabilities is None
    found: Counter[str] = Counter(
        {
            BOXES: len(image.objects),
            CLASSES: len(image.objects),
            BOXES_OF_MASKS: masks,
            SCORES: sum(each.score is not None for each in image.objects),
            SIGNALS: sum(each.signals is not None or each.certainty is not None for each in image.objects),
            PROBABILITIES: int(image.probabilities is not None),
            MASKS: masks,
            WHOLE_MASKS: int(of_set and not masks),
            PARTIAL: masks if not of_set and masks < len(image.objects) else 0,
            PARTIAL_OF_CLASS: len(own) if not of_set and masks and len(own) < sum(of_class) else 0,
            OF_OTHERS: 0 if of_set else masks - len(own),
            LEFT_OUT: int(of_set and image.mask is not None and bool((image.mask() == IGNORED).any())),
            DIFFICULT: sum(each.difficult for each in image.objects),
            NO_CLASS: int(label is None),
            BOXES_OF_NO_CLASS: len(image.objects) if label is None else 0,
            EMPTY_CLASSES: int(not image.objects and image.label is not None),
            OTHER_CLASSES: int(bool(image.objects) and image.label not in (None, class_by_boxes(image))),
            UNMASKED: len(image.objects) - masks,
            TO_THE_PIXEL: masks,
            NO_MASK: int(image.mask is None and not 0 < masks == len(image.objects)),
            BY_CLASS: int(masks > 0 and len(about.classes) > MOST_NUMBERS),
            VERDICTS: int(image.verdict in ("corrected", "drawn")),
            MANY: max(0, len(image.objects) - MOST_NUMBERS) if masks else 0,
            FRACTIONS: sum(any(edge != int(edge) for edge in each.box) for each in image.objects),
            WNIDS: (doubly := sum(_is_named_doubly(about.classes[each.label]) for each in image.objects)),
            NAMES: doubly,
            **image.left_out,
        }
    )
    return +found


def class_of(image: LabelledImage) -> int | None:
    """The image's class; where a file tells none, as of sets of others, `class_by_boxes`."""
    return image.label if image.label is not None else class_by_boxes(image)


def object_numbers(image: LabelledImage) -> tuple[NDArray[np.uint8], int]:
    """By pixel [H, W], the number of the object whose mask is in front there, from 1, of the first MOST_NUMBERS; 0:
    none. And how many masks the others hide wholly. The smaller mask is in front, of equals the one that comes first.
    """
    masks = {k: each.mask for k, each in enumerate(image.objects[:MOST_NUMBERS], 1) if each.mask is not None}
    pixels = functools.lru_cache(maxsize=4)(lambda k: masks[k]())  # all may not fit into memory
    areas = {k: int(np.count_nonzero(pixels(k))) for k in masks}
    numbers = np.zeros((image.height, image.width), np.uint8)
    for k in sorted(areas, key=lambda k: (-areas[k], -k)):
        numbers[pixels(k)] = k
    shown = int(np.count_nonzero(np.bincount(numbers.reshape(-1), minlength=256)[1:]))
    return numbers, sum(area > 0 for area in areas.values()) - shown


def hidden_masks(image: LabelledImage) -> int:
    """How many masks have no pixel of their own where each pixel is of one object."""
    boxes = [each.box for each in image.objects[:MOST_NUMBERS] if each.mask is not None]
    overlap = any(
        max(a[0], b[0]) < min(a[2], b[2]) and max(a[1], b[1]) < min(a[3], b[3])
        for a, b in itertools.combinations(boxes, 2)
    )
    return object_numbers(image)[1] if overlap else 0


def class_by_boxes(image: LabelledImage) -> int | None:
    """The label that is read of an image where a file says none: that whose boxes cover the most, difficult ones aside;
    None without any.
    """
    return class_of_areas(
        (
            (each.label, (each.box[2] - each.box[0]) * (each.box[3] - each.box[1]))
            for each in image.objects
            if not each.difficult
        ),
        int,
    )


def _is_named_doubly(one: Class) -> bool:
    return one.wnid != one.name


def counted(
    images: Images, about: About, counts: Counter[str], numbers_pixels: bool = False
) -> Iterator[LabelledImage | Skipped]:
    """Pass images on, and count what is in them. numbers_pixels: whether they go where a pixel is of one object: only
    then masks are drawn for the count.
    """
    for image in images:
        counts += contents_of(image, about)
        if numbers_pixels and isinstance(image, LabelledImage) and (hidden := hidden_masks(image)):
            counts[HIDDEN] += hidden
        yield image
