"""Boxes of a user's images, from a CSV or COCO JSON file.

CSV has a header with at least `name,x0,y0,x1,y1` and a line a box, half-open edges in the image's pixels; further
columns are passed over, and so is a line without edges. COCO's JSON has its `images` and `annotations`; crowds are
passed over, and so is a box whose category is the name of another class than its image's. A name is an image's path
below the source's folder, or its last part where only one image has that. Pixels are those of the upright image.
"""

import csv
import io
import json
import math
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastwsol.host.errors import UserError, line_of
from fastwsol.sources.annotated import Box

_SIDES = ("x0", "y0", "x1", "y1")
_CORRECT = "correct it, or leave it out"


@dataclass
class ImageBoxes:
    """An image's boxes, and where in the file the first of them stands."""

    origin: str
    boxes: list[Box] = field(default_factory=list)


def read_boxes(
    file: Path, paths: Collection[str], class_of: Mapping[str, str], classes: Collection[str]
) -> dict[str, ImageBoxes]:
    """The boxes of a file by the path of their image, one of `paths`.

    class_of: each path's class; classes: the names of all. Raises UserError naming file and line (or annotation) for
    what is no box, and for a name that is no image's or may be several's.
    """
    if file.exists() and not file.is_file():
        raise UserError(f"--boxes {file}: cannot be read (it is no plain file); name a CSV or COCO JSON file")
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"--boxes {file}: cannot be read ({error.strerror}); name a CSV or COCO JSON file") from None
    except UnicodeDecodeError as error:
        raise UserError(f"--boxes {file} line {line_of(error)}: not UTF-8 text; store it as UTF-8") from None
    find = _finder(file, paths)
    boxes_of: dict[str, ImageBoxes] = {}
    boxes = _coco_boxes if file.suffix.lower() == ".json" else _csv_boxes
    for where, path, box, category in boxes(file, text, find):
        if category is None or category == class_of[path] or category not in classes:
            boxes_of.setdefault(path, ImageBoxes(where)).boxes.append(box)
    return boxes_of


def _finder(file: Path, paths: Collection[str]) -> Callable[[str, str], str]:
    """A function from a name, and where it stands, to the path of its image."""
    by_last_part = defaultdict(list)
    for path in paths:
        by_last_part[path.rpartition("/")[2]].append(path)

    def find(name: str, where: str) -> str:
        if name in paths:
            return name
        candidates = by_last_part.get(name, [])
        if len(candidates) == 1:
            return candidates[0]
        if candidates:
            raise UserError(f"{where}: {name!r} may be {' or '.join(candidates[:3])}; give its path")
        raise UserError(f"{where}: {name[:80]!r} is no image of the source; {_CORRECT}")

    return find


BoxRecords = Iterator[tuple[str, str, Box, str | None]]
"""Where a box stands, its image's path, the box, and the name of its category where it has one."""


def _csv_boxes(file: Path, text: str, find: Callable[[str, str], str]) -> BoxRecords:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    missing = [name for name in ("name", *_SIDES) if name not in (reader.fieldnames or ())]
    if missing:
        raise UserError(f"--boxes {file} line 1: no column {missing[0]!r}; begin with name,{','.join(_SIDES)}")
    try:
        for row in reader:
            where = f"{file} line {reader.line_num}"
            values = [row[side] for side in _SIDES]
            if row["name"] and not any(values):
                continue
            if not row["name"] or not all(values):
                raise UserError(f"{where}: found {len([*filter(None, row.values())])} values; {_CORRECT}")
            yield where, find(row["name"], where), _box(values, where), None
    except csv.Error as error:
        raise UserError(f"{file} line {reader.line_num}: {error}; {_CORRECT}") from None


def _box(values: list[Any], where: str) -> Box:
    """A box from four values. Raises UserError where they make no box. The packer checks that it lies in its image."""
    try:
        x0, y0, x1, y1 = (float(value) for value in values)
        if all(math.isfinite(value) for value in (x0, y0, x1, y1)):
            return x0, y0, x1, y1
    except (TypeError, ValueError, OverflowError):
        pass
    raise UserError(f"{where}: {values!r:.80} are not four numbers; {_CORRECT}")


def _coco_boxes(file: Path, text: str, find: Callable[[str, str], str]) -> BoxRecords:
    try:
        content = json.loads(text)
        images = {image["id"]: image["file_name"] for image in content["images"]}
        categories = {each["id"]: each["name"] for each in content.get("categories", [])}
        annotations = content["annotations"]
    except json.JSONDecodeError as error:
        raise UserError(f"--boxes {file} line {error.lineno}: not JSON ({error.msg}); make it anew") from None
    except (KeyError, TypeError, AttributeError, RecursionError, ValueError) as error:
        reason = f"no {error.args[0]!r}" if isinstance(error, KeyError) else "its parts are not lists of objects"
        raise UserError(f"--boxes {file}: not COCO's JSON ({reason}); it needs images and annotations") from None
    if not isinstance(annotations, list):
        raise UserError(f"--boxes {file}: not COCO's JSON (annotations is no list); it needs images and annotations")
    for number, annotation in enumerate(annotations):
        where = f"{file} annotation {number}"
        if not isinstance(annotation, dict) or not {"image_id", "bbox"} <= annotation.keys():
            raise UserError(f"{where}: has no image_id or no bbox; {_CORRECT}")
        where += f" (id {annotation['id']})" if "id" in annotation else ""
        if annotation.get("iscrowd"):
            continue
        try:
            name = images[annotation["image_id"]]
        except (KeyError, TypeError):
            raise UserError(f"{where}: image_id {annotation['image_id']!r:.40} is no image's; {_CORRECT}") from None
        if not isinstance(name, str):
            raise UserError(f"{where}: its image's file_name is no text; {_CORRECT}")
        box = annotation["bbox"]
        if not isinstance(box, list) or len(box) != 4 or any(isinstance(value, str) for value in box):
            raise UserError(f"{where}: bbox {box!r:.80} is not x, y, width, height; {_CORRECT}")
        x, y, width, height = _box(box, where)
        try:
            category = categories.get(annotation.get("category_id"))
        except TypeError:
            raise UserError(f"{where}: category_id is no number; {_CORRECT}") from None
        yield where, find(name, where), (x, y, x + width, y + height), category
