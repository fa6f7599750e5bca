"""Predictions, or anyone's annotations, read from COCO's JSON as labelled images."""

import json
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastwsol.formats.labelled_images import (
    CROWDS,
    CUT,
    IMPOSSIBLE,
    About,
    LabelledImage,
    LabelledObject,
    Listed,
    Part,
    Skipped,
    empty_mask,
)
from fastwsol.host.errors import UserError
from fastwsol.host.words import plain
from fastwsol.sources import Class
from fastwsol.sources.boxes import CORRECT, Box, cut_at_edge, has_extent
from fastwsol.sources.coco_json import CocoAnnotation, CocoFile, CocoImage, read_coco
from fastwsol.sources.segmentations import SegmentationMask


def read_predictions(paths: Sequence[Path]) -> tuple[list[CocoFile], About]:
    """The files, in the order of their parts, and what they are of.

    Raises UserError where one is no COCO, tells no sizes or no categories, is of other classes than the first, or
    where parts are missing or given twice.
    """
    files = [read_coco(path, str(path)) for path in paths]
    classes = [tuple(each.categories.values()) for each in files]
    for file, of_file in zip(files, classes, strict=True):
        if not of_file:
            raise UserError(f"{file.path}: lists no categories; give predictions, or annotations with categories")
        wnids = [one.wnid for one in of_file]
        if twice := next((wnid for wnid, count in Counter(wnids).items() if count > 1), None):
            raise UserError(f"{file.path}: two categories are {twice!r:.40}; give each its own name")
        if of_file != classes[0]:
            raise UserError(f"{file.path}: has other categories than {files[0].path}; convert the two apart")
    parts = [_part(file) for file in files]
    if any(part is not None for part in parts):
        files = _all_parts(files, parts)
    model, calibrated = _info(files[0]).get("description") or "", _info(files[0]).get("calibrated_on")
    return files, About(str(model).removeprefix("by fastwsol, "), classes[0], calibrated_on=calibrated)


def labelled_images(files: Sequence[CocoFile], classes: tuple[Class, ...]) -> Iterator[LabelledImage | Skipped]:
    """The images of files, one file behind the other, and those that a prediction has skipped, once each, where no file
    has them as images; without those that a review has rejected.

    Raises UserError, naming its place, for an image or annotation that is none, or an image that two files have.
    """
    label_of = {one.wnid: label for label, one in enumerate(classes)}
    seen: dict[str, str] = {}
    are_there = {image.name for file in files for image in file.images.values()}
    for file in files:
        of_image = file.by_image()
        for number, image in file.images.items():
            if (other := seen.setdefault(image.name, image.where)) != image.where:
                raise UserError(
                    f"{image.where}: {image.name!r:.80} is {other} too; give each image once (those of several "
                    f"folders: predict them in one command, which names images by their folders)"
                )
            if image.verdict != "rejected":
                yield _labelled(file, image, of_image.get(number, []), label_of)
        for skipped in _skipped(file):
            if skipped.name not in are_there:
                are_there.add(skipped.name)
                yield skipped


def note_of_lost_keys(files: Sequence[CocoFile]) -> str:
    """What to say of keys of other tools, which no format here takes along; empty where there are none."""
    of_images = _keys_beside((each.fields for file in files for each in file.images.values()), _KEYS_OF_IMAGES)
    of_boxes = _keys_beside((each for file in files for each in file.raw_annotations), _KEYS_OF_ANNOTATIONS)
    lost = [f"{', '.join(keys)} of {of}" for keys, of in ((of_images, "images"), (of_boxes, "annotations")) if keys]
    return f"not taken along: {plain('; '.join(lost))}" if lost else ""


_KEYS_OF_IMAGES = {"id", "file_name", "width", "height", "category_id", "probabilities", "review"}
_KEYS_OF_ANNOTATIONS = {
    *("id", "image_id", "category_id", "bbox", "area", "iscrowd", "segmentation"),
    *("score", "probability", "difficult", "signals", "certainty"),
}


def _keys_beside(things: Iterable[Any], known: Collection[str]) -> list[str]:
    """The keys of objects that hold something and are not known, and how often they do."""
    found = Counter(
        key
        for thing in things
        if isinstance(thing, dict)
        for key, value in thing.items()
        if key not in known and value not in (None, "", [], {})
    )
    return [f"{key!s:.40} ({count:,})" for key, count in found.items()]


def _skipped(file: CocoFile) -> list[Skipped]:
    skipped = file.content.get("skipped", [])
    try:
        return [Skipped(str(each["file_name"]), str(each["reason"])) for each in skipped]
    except (KeyError, TypeError):
        raise UserError(f"{file.path}: its skipped is no list of file_name and reason; {CORRECT}") from None


def _info(file: CocoFile) -> dict[str, Any]:
    info = file.content.get("info")
    return info if isinstance(info, dict) else {}


def _part(file: CocoFile) -> Part | None:
    values = _info(file).get("part")
    if values is None:
        return None
    try:
        part = Part(**values)
        types_fit = [*map(type, part)] == [int, int, int, int, int, str]
        if types_fit and 1 <= part.number <= part.parts and 0 <= part.first <= part.end:
            return part
    except TypeError:
        pass
    raise UserError(f"{file.path}: its part is {values!r:.80}, none of a prediction; {CORRECT}")


def _all_parts(files: list[CocoFile], parts: list[Part | None]) -> list[CocoFile]:
    """The files in the order of their parts. Raises UserError where they are not all parts of one whole."""
    by_number: dict[int, tuple[CocoFile, Part]] = {}
    count, total = max((part.parts, part.total) for part in parts if part is not None)
    of = next(part.of for part in parts if part is not None)
    about = _info(files[0]) | {"part": None}
    for file, part in zip(files, parts, strict=True):
        if part is None or (part.parts, part.total) != (count, total):
            raise UserError(f"{file.path}: is no part of {count}, as others are; give the parts of one prediction")
        if bool(part.of) != bool(of):
            older = files[0].path if part.of else file.path
            raise UserError(f"{older}: was made by an earlier version, which did not note what was asked; make it anew")
        if _info(file) | {"part": None} != about or part.of != of:
            raise UserError(
                f"{file.path}: was predicted otherwise than {files[0].path}; give the parts of one prediction"
            )
        if part.number in by_number:
            other = by_number[part.number][0].path
            raise UserError(f"{file.path}: is part {part.number} of {count}, as {other} is; give it once")
        by_number[part.number] = file, part
    if len(by_number) < count:
        missing = [number for number in range(1, min(count, len(by_number) + 9) + 1) if number not in by_number]
        shown = ", ".join(map(str, missing[:8])) + (", ..." if count - len(by_number) > 8 else "")
        are = f"part {shown} is" if len(missing) == 1 else f"parts {shown} are"
        raise UserError(f"{files[0].path}: is one of {count} parts, and {are} missing; give all of them")
    end = 0
    for _, (file, part) in sorted(by_number.items()):
        if part.first != end:
            raise UserError(
                f"{file.path}: begins at image {part.first:,}, and the part before it ends at {end:,}; make both anew"
            )
        end = part.end
    if end != total:
        raise UserError(f"{files[0].path}: its parts end at image {end:,} of {total:,}; make them anew")
    return [by_number[number][0] for number in sorted(by_number)]


def _labelled(
    file: CocoFile, image: CocoImage, annotations: list[CocoAnnotation], label_of: Mapping[str, int]
) -> LabelledImage:
    if image.size is None:
        raise UserError(f"{image.where}: tells no width and height; add them")
    width, height = image.size
    probabilities = _probabilities(image, len(label_of))
    label = None
    if image.fields.get("category_id") is not None:
        label = label_of[file.category_of(image.fields["category_id"], image.where).wnid]
    listed: tuple[Listed, ...] = ()
    if probabilities is not None and label is not None:
        listed = (Listed(label, float(probabilities[label])),)
    things = [each for each in annotations if not each.crowd]
    inside = [each for each in things if _has_a_part_in(each.box, width, height)]
    objects = tuple(_object(each, width, height, label_of) for each in inside)
    aside = {
        CROWDS: len(annotations) - len(things),
        IMPOSSIBLE: len(things) - len(inside),
        CUT: sum(_reaches_out(each.box, width, height) for each in inside),
    }
    nothing = None if probabilities is None or objects else partial(empty_mask, height, width)
    seen = image.review
    try:
        json.dumps(seen, allow_nan=False)
    except ValueError:
        raise UserError(f"{image.where}: its review holds a number that is infinite or none; {CORRECT}") from None
    return LabelledImage(
        image.name,
        width,
        height,
        objects,
        label=label,
        probabilities=probabilities,
        listed=listed,
        mask=nothing,
        review=seen,
        of_predicted_set=bool(file.content.get("predicted")),
        left_out=aside,
    )


def _object(annotation: CocoAnnotation, width: int, height: int, label_of: Mapping[str, int]) -> LabelledObject:
    """An object with its box cut at the image's edges."""
    assert annotation.category is not None  # the file lists categories
    segmentation = annotation.fields.get("segmentation")
    mask = None if segmentation in (None, []) else SegmentationMask(segmentation, width, height, annotation.where)
    x0, y0, x1, y1 = (round(edge, 9) for edge in annotation.box)  # a width that was rounded reaches a hair too far
    score, probability = (_number(annotation, name) for name in ("score", "probability"))
    label = label_of[annotation.category.wnid]
    signals = _signals(annotation)
    sure = _number(annotation, "certainty")
    return LabelledObject(
        label,
        cut_at_edge((x0, y0, x1, y1), width, height),
        score=score,
        probability=probability,
        mask=mask,
        difficult=annotation.difficult,
        signals=signals,
        certainty=sure,
    )


def _has_a_part_in(box: Box, width: int, height: int) -> bool:
    return has_extent(cut_at_edge(box, width, height))


def _reaches_out(box: Box, width: int, height: int) -> bool:
    """Whether a box reaches outside of its image, by more than numbers are rounded."""
    x0, y0, x1, y1 = box
    return min(x0, y0) < -_ROUNDING or x1 > width + _ROUNDING or y1 > height + _ROUNDING


_ROUNDING = 1e-3


def _signals(annotation: CocoAnnotation) -> dict[str, float] | None:
    values = annotation.fields.get("signals")
    if values is None:
        return None
    if isinstance(values, dict) and all(map(_is_number, values.values())):
        return values
    raise UserError(f"{annotation.where}: its signals are not numbers by name; {CORRECT}")


def _number(annotation: CocoAnnotation, name: str) -> float | None:
    value = annotation.fields.get(name)
    if value is None or _is_number(value):
        return value
    raise UserError(f"{annotation.where}: {name} {value!r:.40} is no number; {CORRECT}")


def _is_number(value: Any) -> bool:
    """Whether a value of JSON is a number that a float can hold."""
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    except OverflowError:
        return False


def _probabilities(image: CocoImage, count: int) -> NDArray[np.float64] | None:
    values = image.fields.get("probabilities")
    if values is None:
        return None
    try:
        probabilities = np.asarray(values, np.float64)  # which they are as they were read, if they are numbers
        if probabilities.shape == (count,) and ((probabilities >= 0) & (probabilities <= 1)).all():
            return probabilities
    except (TypeError, ValueError, OverflowError):
        pass
    raise UserError(f"{image.where}: its probabilities are not {count} numbers in 0..1, one a category; {CORRECT}")
