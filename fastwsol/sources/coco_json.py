"""COCO's JSON of images, categories and annotations, read as if nobody had meant well.

What is ours in it: a category's `wnid`, an image's `category_id` and `probabilities`, an annotation's `difficult`,
`score` and `probability`, and what a review says of an image (`Verdict`, `Phase`). Other tools pass them over, and
files without them are read as well.
"""

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import numpy as np

from fastwsol.host.errors import UserError
from fastwsol.host.files import read_utf8
from fastwsol.sources import Class
from fastwsol.sources.annotated import is_text
from fastwsol.sources.boxes import CORRECT, Box, box_of, has_extent, refuse_shares, size_of
from fastwsol.sources.decode import MAX_PIXELS, MAX_SIDE
from fastwsol.sources.verdicts import verdict_of

_SIZE = ("width", "height")
_ADDRESS = "/local-files/?d="


class CocoImage(NamedTuple):
    """An image of the file: its name, and width and height where they are told; `fields`: all that it says."""

    name: str
    size: tuple[int, int] | None
    fields: Mapping[str, Any]
    where: str

    @property
    def review(self) -> Mapping[str, Any]:
        """What a review says of it; empty where none does."""
        said = self.fields.get("review")
        return said if isinstance(said, dict) else {}

    @property
    def verdict(self) -> str:
        """What became of it in a review; empty where there was none."""
        return verdict_of(self.review)


class CocoAnnotation(NamedTuple):
    """An object of the file. `where` it stands; `category`: None in a file that lists none; `fields`: all it says."""

    where: str
    image_id: Any
    image: CocoImage
    category: Class | None
    box: Box
    crowd: bool
    difficult: bool
    fields: Mapping[str, Any]

    @property
    def counts(self) -> bool:
        """Whether it is the box of an object that is to be found: no crowd, and not difficult."""
        return not self.crowd and not self.difficult


@dataclass(frozen=True)
class CocoFile:
    """The content of a file: images and categories by their ids, in their order."""

    path: Path
    images: dict[Any, CocoImage]
    categories: dict[Any, Class]
    raw_annotations: list[Any]
    content: Mapping[str, Any]
    left_out: frozenset[int] = frozenset()
    """The places of annotations that are ignored."""

    @property
    def marked_masks(self) -> int:
        """How many annotations are marked as crowds for their run lengths' sake alone."""
        return sum(isinstance(each, dict) and _marks_masks_as_crowds(each) for each in self.raw_annotations)

    def annotations(self) -> Iterator[CocoAnnotation]:
        """The annotations in their order. Raises UserError, naming it, for one that is none."""
        for number, annotation in enumerate(self.raw_annotations):
            if number in self.left_out:
                continue
            where = f"{self.path} annotation {number}"
            if not isinstance(annotation, dict) or not {"image_id", "bbox"} <= annotation.keys():
                raise UserError(f"{where}: has no image_id or no bbox; {CORRECT}")
            where += f" (id {annotation['id']!r:.40})" if "id" in annotation else ""
            image = _listed(self.images, annotation["image_id"], "image_id", where)
            category = self._category(annotation, where)
            box = annotation["bbox"]
            if not isinstance(box, list) or len(box) != 4 or any(isinstance(value, str) for value in box):
                raise UserError(f"{where}: bbox {box!r:.80} is not x, y, width, height; {CORRECT}")
            x, y, width, height = box_of(box, where)
            if not (math.isfinite(x + width) and math.isfinite(y + height)):
                raise UserError(f"{where}: bbox {box!r:.80} is not x, y, width, height; {CORRECT}")
            yield CocoAnnotation(
                where,
                annotation["image_id"],
                image,
                category,
                (x, y, x + width, y + height),
                _mark(annotation, "iscrowd", where) and not _marks_masks_as_crowds(annotation),
                _mark(annotation, "difficult", where),
                annotation,
            )

    def by_image(self) -> Mapping[Any, list[CocoAnnotation]]:
        """The annotations of each image that has some, by its id. Raises UserError as `annotations` does, and where all
        boxes that are not empty are in shares of their image. (One alone may be a pixel in the corner.)
        """
        found: dict[Any, list[CocoAnnotation]] = {}
        first, in_pixels = None, False
        for each in self.annotations():
            found.setdefault(each.image_id, []).append(each)
            if has_extent(each.box):
                first = first or each
                in_pixels = in_pixels or not all(0 <= edge <= 1 for edge in each.box)
        if first is not None and not in_pixels:
            refuse_shares(first.box, first.where)
        return found

    def category_of(self, number: Any, where: str) -> Class:
        """The category of an id. Raises UserError where there is none."""
        try:
            return self.categories[number]
        except (KeyError, TypeError):
            ids = ", ".join(f"{each!r:.20}" for each in [*self.categories][:4])
            raise UserError(
                f"{where}: category_id {number!r:.40} is none of the file's categories ({ids}"
                f"{', ...' if len(self.categories) > 4 else ''}); count both from the same number"
            ) from None

    def _category(self, annotation: Mapping[str, Any], where: str) -> Class | None:
        """An annotation's category; None in a file that lists none."""
        if not self.categories:
            return None
        if "category_id" not in annotation:
            raise UserError(f"{where}: has no category_id, and the file lists categories; {CORRECT}")
        return self.category_of(annotation["category_id"], where)


def read_coco(path: Path, said: str) -> CocoFile:
    """The content of a file. `said`: how messages name it. Raises UserError where it cannot be read or is no COCO."""
    return parse_coco(path, read_utf8(path, said, "name a COCO JSON file"), said)


def parse_coco(path: Path, text: str, said: str) -> CocoFile:
    """The content of a file from its text; see `read_coco`."""
    try:
        content = json.loads(text, object_hook=_with_compact_probabilities)
        listed, kinds, annotations = content["images"], content.get("categories", []), content["annotations"]
        images: dict[Any, CocoImage] = {}
        categories: dict[Any, Class] = {}
        for number, image in enumerate(listed):
            where = f"{path} image {number}"
            _enter(images, image["id"], _image(image, where), where)
        for number, kind in enumerate(kinds):
            where = f"{path} category {number}"
            wnid = kind.get("wnid", kind["name"])
            if not isinstance(kind["name"], str) or not isinstance(wnid, str):
                raise UserError(f"{where}: its name is no text; {CORRECT}")
            if not is_text(wnid) or not is_text(kind["name"]):
                raise UserError(f"{where}: its name {kind['name']!a:.60} is no text of a single line; {CORRECT}")
            _enter(categories, kind["id"], Class(wnid, kind["name"]), where)
    except json.JSONDecodeError as error:
        raise UserError(f"{said} line {error.lineno}: not JSON ({error.msg}); name a file in COCO's JSON") from None
    except (KeyError, TypeError, AttributeError, RecursionError, ValueError) as error:
        reason = f"no {error.args[0]!r}" if isinstance(error, KeyError) else "its parts are not lists of objects"
        raise UserError(f"{said}: not COCO's JSON ({reason}); it needs images and annotations") from None
    if not isinstance(annotations, list):
        raise UserError(f"{said}: not COCO's JSON (annotations is no list); it needs images and annotations")
    return CocoFile(path, images, categories, annotations, content)


def unjudged_images(file: CocoFile) -> int:
    """How many images have an object with a score, which a prediction gives it, and no verdict of a review; or as many
    as the file says are `predicted`, as one of a packed set of predictions does.
    """
    if type(told := file.content.get("predicted")) is int:
        return told
    predicted = {each.image_id for each in file.annotations() if "score" in each.fields}
    return sum(number in predicted and not image.verdict for number, image in file.images.items())


def _with_compact_probabilities(thing: dict[str, Any]) -> dict[str, Any]:
    """An object of the file, its probabilities as an array: of a thousand classes a list is six times as large."""
    values = thing.get("probabilities")
    if isinstance(values, list):
        # What is wrong with them is said where they are asked for.
        with contextlib.suppress(TypeError, ValueError, OverflowError):
            thing["probabilities"] = np.array(values, np.float64)
    return thing


def _marks_masks_as_crowds(annotation: Mapping[str, Any]) -> bool:
    """Whether an annotation is as Datumaro, and with it CVAT, writes a mask: as a crowd, whatever it is, since COCO has
    run lengths of crowds alone; with `attributes`, which COCO does not have.
    """
    is_marked = annotation.get("iscrowd") in (1, "1", True)
    return is_marked and isinstance(annotation.get("segmentation"), dict) and "attributes" in annotation


def note_of_marked_masks(count: int) -> str:
    """What to say of so many `CocoFile.marked_masks`."""
    return f"{count:,} masks that are marked as crowds, as CVAT and Datumaro mark every mask, are taken for objects"


def _mark(annotation: Mapping[str, Any], name: str, where: str) -> bool:
    """Whether an annotation is marked: 0 or 1, false or true."""
    value = annotation.get(name, 0)
    if value is None or value == "0" or value == "1" or (isinstance(value, int | float) and value in (0, 1)):
        return value in (1, "1")
    raise UserError(f"{where}: {name} {value!r:.40} is neither 0 nor 1; {CORRECT}")


def _image(image: Mapping[str, Any], where: str) -> CocoImage:
    name = image["file_name"]
    if not isinstance(name, str):
        raise UserError(f"{where}: its file_name is no text; {CORRECT}")
    if _ADDRESS in name:  # as Label Studio has images that lie in a folder of its machine
        name = unquote(name.partition(_ADDRESS)[2].partition("&")[0]).replace("\\", "/")
    if not name or not is_text(name):
        raise UserError(f"{where}: its file_name {name!a:.60} is no name of a file; {CORRECT}")
    size = size_of([image.get(side) for side in _SIZE], where)
    if size is not None and (max(size) > MAX_SIDE or size[0] * size[1] > MAX_PIXELS):
        raise UserError(f"{where}: {size[0]:,}x{size[1]:,} pixels, more than the {MAX_PIXELS:,} allowed; {CORRECT}")
    return CocoImage(name, size, image, where)


def _enter(entries: dict[Any, Any], number: Any, value: Any, where: str) -> None:
    """Note what an id stands for. Raises UserError where it stands for something else already."""
    known = entries.setdefault(number, value)
    if (known[:2] if isinstance(known, tuple) else known) != (value[:2] if isinstance(value, tuple) else value):
        raise UserError(
            f"{where}: its id {number!r:.40} is another's too, as after joining two files; number them anew"
        )


def _listed(entries: dict[Any, Any], number: Any, what: str, where: str) -> Any:
    try:
        return entries[number]
    except (KeyError, TypeError):
        raise UserError(f"{where}: {what} {number!r:.40} is in no list of the file; {CORRECT}") from None
