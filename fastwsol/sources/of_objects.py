"""Images that have objects instead of a class, as detection sets have them: which class each is taken for.

The rule: an image is of the class whose boxes cover the most of it, those of its objects that are neither difficult nor
crowds added up; of equals the class that comes first. An image without such an object is left out. Objects of other
classes are kept, as `dataset.shards` has them, but are no ground truth of the image.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

from fastwsol.host.errors import UserError
from fastwsol.host.words import first_few, number_of
from fastwsol.sources import Class, Fault
from fastwsol.sources.annotated import (
    LEFT_OUT,
    AnnotatedBox,
    AnnotatedImage,
    FileSource,
    GoodImages,
    MaskSource,
    first_classes,
)
from fastwsol.sources.boxes import Box
from fastwsol.sources.splits import VAL_FRACTION, ValChoice, ValOf, with_val
from fastwsol.sources.tree import Tree, name_of_set
from fastwsol.sources.verdicts import note_of_accepted, note_of_unjudged

A = TypeVar("A", bound=Hashable)


PREDICTED_BOXES = ", with predicted boxes"
"""Stands in the name of a set whose boxes a network predicted, and so above every table that is made of it."""
ACCEPTED_BOXES = ", with boxes accepted as predicted"
"""The same where somebody has accepted some of them, and predicted ones that nobody has judged are not among them."""


def whose_boxes(predicted: bool, accepted: bool) -> str:
    """What stands in the name of a set with boxes that a network predicted, or that were accepted of one."""
    return PREDICTED_BOXES if predicted else ACCEPTED_BOXES if accepted else ""


@dataclass(frozen=True)
class AnnotatedObject:
    """An object: the name of its class, its box, and what is said of it."""

    class_name: str
    box: Box
    difficult: bool = False
    crowd: bool = False
    where: str = ""
    """Where it stands, for messages."""

    @property
    def counts(self) -> bool:
        """Whether it says what its image shows."""
        return not self.difficult and not self.crowd

    @property
    def area(self) -> float:
        """In the units of its box, which are pixels or shares of the image."""
        x0, y0, x1, y1 = self.box
        return max(0.0, x1 - x0) * max(0.0, y1 - y0)


@dataclass
class ImageOfObjects:
    """An image with its objects. `origin`: where they stand; `class_name`: where the file itself tells its class."""

    path: str
    origin: str
    stamp: str
    size: tuple[int, int] | None = None
    objects: list[AnnotatedObject] = field(default_factory=list)
    class_name: str | None = None
    fault: Fault | None = None
    rejected: bool = False
    """Whether a review has rejected what was predicted of it, so that nothing is known of it."""
    mask: Callable[[str], str | None] | None = None
    """Gives the name of the image's mask as an image of a class, or None."""
    repeats: int = 0
    """How many of its objects were there twice, and are not in `objects`."""


@dataclass
class ClassifiedImages:
    """Images with the class that the rule gives them, and what became of all, in sentences."""

    classes: tuple[Class, ...]
    annotations: dict[str, list[AnnotatedImage]]
    notes: list[str]
    boxes_used: int


class DetectionSet(FileSource):
    """A `Source` over a set whose images have objects. `notes`: what became of these, in sentences."""

    upright = True

    def __init__(
        self,
        path: Path,
        form: str,
        tree: Tree,
        splits: dict[str, list[ImageOfObjects]],
        classes: Sequence[Class],
        masks: MaskSource,
        *,
        class_count: int | None,
        val: ValChoice,
        predicted: str = "",
        accepted: int = 0,
        quarantine: bool = False,
    ):
        """splits, classes, class_count, val: as `assign_classes` takes them; form: the layout; predicted: how many
        images have boxes that a network predicted, in words, empty where none has; accepted: how many have boxes that
        somebody has accepted as they were predicted; quarantine: bad images will be left out, so that none is drawn to
        be val.
        """
        good = GoodImages(tree)
        ruled = assign_classes(str(path), splits, classes, class_count, val, good if quarantine else None)
        any_mask = any(each.mask for of_split in ruled.annotations.values() for each in of_split)
        identity = f"{name_of_set(path)} ({form}{whose_boxes(bool(predicted), bool(accepted))})"
        super().__init__(identity, ruled.classes, tree, ruled.annotations, masks if any_mask else None)
        self.boxes_used = ruled.boxes_used
        self.notes: list[str] = [*ruled.notes, *good.notes()]
        if predicted:
            self.notes.append(note_of_unjudged(predicted))
        if accepted:
            self.notes.append(note_of_accepted(accepted))
        if tree.left_out:
            self.notes.append(f"{tree.left_out:,} {LEFT_OUT}")


def class_of_image(image: ImageOfObjects, order: Mapping[str, int]) -> str | None:
    """The class of an image by the rule, or None. order: the place of each class among all."""
    if image.class_name is not None:
        return image.class_name
    return class_of_areas(((each.class_name, each.area) for each in image.objects if each.counts), order.__getitem__)


def class_of_areas(areas: Iterable[tuple[A, float]], place: Callable[[A], int]) -> A | None:
    """The rule: the class with the largest sum of areas, of equals the one whose place is first; None without any."""
    sums: dict[A, float] = {}
    for of_class, area in areas:
        sums[of_class] = sums.get(of_class, 0.0) + area
    return min(sums, key=lambda each: (-sums[each], place(each)), default=None)


def assign_classes(
    where: str,
    splits: dict[str, list[ImageOfObjects]],
    classes: Sequence[Class],
    class_count: int | None,
    val: ValChoice,
    are_good: Callable[[Sequence[str]], list[bool]] | None = None,
) -> ClassifiedImages:
    """The images of each split as a `Source` has them. where: the source, for messages; classes: all that objects may
    be of; class_count: keeps the first of those that have images to train on; val: which become val, where there is
    none; are_good: which images may be drawn, by their paths (None: all may).

    Raises UserError where fewer than two classes have images to train on.
    """
    order = {one.wnid: place for place, one in enumerate(classes)}
    counts: Counter[_Count] = Counter()
    chosen: dict[str, list[tuple[ImageOfObjects, str]]] = {}
    for split, images in splits.items():
        chosen[split] = []
        for image in map(_without_repeats, images):
            counts[_REPEATS] += image.repeats
            name = None if image.rejected else class_of_image(image, order)
            if name is None:
                counts[_REJECTED if image.rejected else _WITHOUT_OBJECT] += 1
                counts[_OF_LEFT_OUT] += len(image.objects)
            else:
                chosen[split].append((image, name))
    trained = {name for _, name in chosen["train"]}
    kept = tuple(one for one in classes if one.wnid in trained)
    if len(kept) < 2:
        found = number_of(len(kept), "class", "classes")
        crowds = sum(each.crowd for images in splits.values() for image in images for each in image.objects)
        why = f" ({crowds:,} objects are marked as crowds, iscrowd 1, and give none)" if crowds else ""
        raise UserError(f"{where}: its images to train on are of {found}{why}; two at least are needed")
    if untrained := [one.name for one in classes if one.wnid not in trained]:
        counts[_untrained(untrained)] = len(untrained)
    kept = first_classes(kept, class_count, where)
    label_of = {one.wnid: label for label, one in enumerate(kept)}
    for split, images_of in chosen.items():
        packed = [(image, name) for image, name in images_of if name in label_of]
        counts[_OF_OTHERS] += len(images_of) - len(packed)
        counts[_OF_LEFT_OUT] += sum(len(image.objects) for image, name in images_of if name not in label_of)
        chosen[split] = packed
    judge = None if are_good is None else lambda some: are_good([image.path for image, _ in some])
    chosen = with_val(chosen, lambda one: one[1], lambda one: one[0].path, val, where, judge)
    used = 0
    annotations: dict[str, list[AnnotatedImage]] = {}
    for split, images_of in chosen.items():
        annotations[split] = []
        for image, name in images_of:
            annotation, left, beside = _annotation(image, name, label_of)
            annotations[split].append(annotation)
            counts += left
            used += len(annotation.boxes) - beside
    several = sum(len({each.class_name for each in image.objects if each.counts}) > 1 for image, _ in _all(chosen))
    counts[_SEVERAL] = several
    notes = [f"{number_of(count, *which.things)} {which.what}" for which, count in counts.items() if count]
    if "val" not in splits and not isinstance(val, ValOf):
        share = VAL_FRACTION if val is None else val
        notes.append(f"there is no val: of each class {share:g} was drawn, {number_of(len(chosen['val']), 'image')}")
    if isinstance(val, ValOf):
        notes += val.notes([(image.path, name) for image, name in chosen["val"]])
    return ClassifiedImages(kept, annotations, notes, used)


class _Count(NamedTuple):
    """What a count is of: the things, one and several, and what became of them."""

    things: tuple[str, str]
    what: str


_IMAGES, _BOXES = ("image", "images"), ("box", "boxes")
_WITHOUT_OBJECT = _Count(_IMAGES, "without an object that counts, left out")
_REJECTED = _Count(_IMAGES, "that a review has rejected, left out")
_OF_OTHERS = _Count(_IMAGES, "of classes that are not packed, left out")
_SEVERAL = _Count(_IMAGES, "with objects of several classes: of the one whose boxes cover the most")
_OF_LEFT_OUT = _Count(_BOXES, "of images that were left out")
_REPEATS = _Count(_BOXES, "repeated, of the same class and edges: taken once")
_CROWDS = _Count(_BOXES, "of crowds, left out")
_EMPTY = _Count(_BOXES, "without a width or a height, left out")
_UNPACKED = _Count(_BOXES, "of classes that are not packed, left out")


def _untrained(names: Sequence[str]) -> _Count:
    return _Count(("class", "classes"), f"of no image to train on, left out ({first_few(names, 4)})")


def _without_repeats(image: ImageOfObjects) -> ImageOfObjects:
    """An image with one object of those that differ in nothing but where they stand, and how many others there were."""
    once: dict[tuple[object, ...], AnnotatedObject] = {}
    for each in image.objects:
        once.setdefault((each.class_name, each.box, each.difficult, each.crowd), each)
    objects = [*once.values()]
    return replace(image, objects=objects, repeats=len(image.objects) - len(objects))


def _all(chosen: dict[str, list[tuple[ImageOfObjects, str]]]) -> Iterable[tuple[ImageOfObjects, str]]:
    return (each for of_split in chosen.values() for each in of_split)


def _annotation(
    image: ImageOfObjects, name: str, label_of: dict[str, int]
) -> tuple[AnnotatedImage, Counter[_Count], int]:
    """An image of a class, how many of its objects are left out, by why, and how many are kept but no ground truth."""
    left: Counter[_Count] = Counter()
    kept = []
    for each in image.objects:
        if each.crowd:
            left[_CROWDS] += 1
        elif each.box[0] == each.box[2] or each.box[1] == each.box[3]:
            left[_EMPTY] += 1
        elif each.class_name not in label_of:
            left[_UNPACKED] += 1
        else:
            kept.append(each)
    boxes = tuple(
        AnnotatedBox(each.box, label_of[each.class_name], each.difficult, each.where if len(kept) > 1 else "")
        for each in kept
    )
    own, mask = label_of[name], None if image.mask is None else image.mask(name)
    annotation = AnnotatedImage(image.path, own, boxes, image.origin, image.stamp, image.fault, image.size, mask)
    return annotation, left, sum(each.label != own or each.difficult for each in boxes)
