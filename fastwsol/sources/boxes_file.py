"""Boxes of a user's images, from a CSV or COCO JSON file.

CSV has a header with at least `name,x0,y0,x1,y1` and a line a box, half-open edges in the image's pixels. `label`,
`difficult` (0 or 1) and `width,height` may stand there too; other columns are passed over and named, and so is a line
without edges counted.
COCO's JSON has its `images` and `annotations`. A name is an image's path below the source's folder, or its last part
where only one image has that. Pixels are those of the upright image.

A file is for one image size and one list of classes. What shows that it is for others is refused by its place: a size
that is not the image's, a box in shares of the image, an id that repeats or is in no list, a name that is another's but
for case or Unicode form. A box of another class of the set than its image's, and a difficult one, is kept as
that, and is no ground truth of the image's class. A crowd, and a box of no class of the set, is left aside and counted.
"""

import csv
import io
import json
import math
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from fastwsol.host.errors import UserError, line_of
from fastwsol.sources.annotated import Box

_SIDES = ("x0", "y0", "x1", "y1")
_SIZE = ("width", "height")
_LABEL = "label"
_DIFFICULT = "difficult"
_CORRECT = "correct it, or leave it out"

CROWD = "crowds"
OTHER_CLASS = "of another class than their image's"
DIFFICULT = "difficult"
NO_CLASS = "of no class of the set"


@dataclass
class ImageBoxes:
    """An image's boxes, where in the file the first of them stands, and the width and height that the file tells."""

    origin: str
    boxes: list[Box] = field(default_factory=list)
    size: tuple[int, int] | None = None
    classes: list[str | None] = field(default_factory=list)
    """Of each box the name of its class where that is not its image's."""
    difficult: list[bool] = field(default_factory=list)

    def count(self, why: str) -> int:
        """How many boxes are no ground truth of the image's class for a reason; an empty one: how many are."""
        reasons = [
            OTHER_CLASS if name else DIFFICULT if hard else ""
            for name, hard in zip(self.classes, self.difficult, strict=True)
        ]
        return reasons.count(why)


@dataclass
class FileBoxes:
    """The boxes of a file by the path of their image, and what of it was left aside: how many boxes, by reason."""

    of_image: dict[str, ImageBoxes] = field(default_factory=dict)
    aside: Counter[str] = field(default_factory=Counter)
    without_edges: int = 0
    """Lines of CSV that name an image and no box."""
    other_columns: tuple[str, ...] = ()
    """Columns of CSV that were passed over."""

    @property
    def used(self) -> int:
        """How many boxes are ground truth of their image's class."""
        return sum(each.count("") for each in self.of_image.values())

    def account(self) -> str:
        """What became of all boxes, in words."""
        beside = {why: sum(each.count(why) for each in self.of_image.values()) for why in (OTHER_CLASS, DIFFICULT)}
        kept = sum(beside.values())
        said = f"{self.used + kept + self.aside.total():,} boxes, {self.used:,} used"
        if kept:
            said += f", {kept:,} kept beside ({', '.join(f'{n:,} {why}' for why, n in beside.items() if n)})"
        if self.aside:
            said += (
                f", {self.aside.total():,} left aside ({', '.join(f'{n:,} {why}' for why, n in self.aside.items())})"
            )
        if self.without_edges:
            said += f"; {self.without_edges:,} lines without edges"
        if self.other_columns:
            said += f"; columns passed over: {', '.join(self.other_columns)}"
        return said

    def leave_aside(self, paths: Collection[str], reason: str) -> None:
        """Leave the boxes of these images aside."""
        for path in paths:
            if path in self.of_image:
                self.aside[reason] += len(self.of_image.pop(path).boxes)

    def leave_aside_classes(self, names: Collection[str], reason: str) -> None:
        """Leave the boxes of these classes in images of other ones aside."""
        for image in self.of_image.values():
            kept = [k for k, name in enumerate(image.classes) if name not in names]
            if len(kept) < len(image.boxes):
                self.aside[reason] += len(image.boxes) - len(kept)
            image.boxes, image.classes = [image.boxes[k] for k in kept], [image.classes[k] for k in kept]
            image.difficult = [image.difficult[k] for k in kept]


def read_boxes(file: Path, paths: Collection[str], class_of: Mapping[str, str], classes: Collection[str]) -> FileBoxes:
    """The boxes of a file whose images are among `paths`.

    class_of: each path's class; classes: the names of all. Raises UserError naming file and line (or annotation) for
    what is no box or is meant for other images, and for a name that is no image's or may be several's.
    """
    if file.exists() and not file.is_file():
        raise UserError(f"--boxes {file}: cannot be read (it is no plain file); name a CSV or COCO JSON file")
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"--boxes {file}: cannot be read ({error.strerror}); name a CSV or COCO JSON file") from None
    except UnicodeDecodeError as error:
        raise UserError(f"--boxes {file} line {line_of(error)}: not UTF-8 text; store it as UTF-8") from None
    find, check = _finder(file, paths), _class_checker(classes)
    found = FileBoxes()
    lines = _coco_lines(file, text) if file.suffix.lower() == ".json" else _csv_lines(file, text, found)
    for line in lines:
        path = find(line.name, line.where)
        if line.aside is not None:
            found.aside[line.aside] += 1
            continue
        other = line.label if line.label != class_of[path] else None
        if other is not None:
            check(other, line.where)
            if other not in classes:
                found.aside[NO_CLASS] += 1
                continue
        _refuse_shares(line.box, line.where)
        _add(found.of_image.setdefault(path, ImageBoxes(line.where, [], line.size)), line, other)
    return found


class _Line(NamedTuple):
    """A box: where it stands, its image's name, the box; its label and its image's width and height where they are
    told; why it is left aside, where it is for itself.
    """

    where: str
    name: str
    box: Box
    label: str | None
    size: tuple[int, int] | None
    aside: str | None = None
    difficult: bool = False


def _add(image: ImageBoxes, line: _Line, other_class: str | None) -> None:
    image.boxes.append(line.box)
    image.classes.append(other_class)
    image.difficult.append(line.difficult)
    image.size = image.size or line.size
    if image.size is not None and line.size not in (None, image.size):
        raise UserError(f"{line.where}: {line.name!r:.80} has two sizes, {image.size} and {line.size}; {_CORRECT}")


def _refuse_shares(box: Box, where: str) -> None:
    if all(0 <= edge <= 1 for edge in box):
        shown = ", ".join(f"{edge:g}" for edge in box)
        raise UserError(
            f"{where}: edges ({shown}) lie between 0 and 1, as shares of the image do; multiply them by its width and "
            f"height in pixels"
        )


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
        if like := next((known for known in (*paths, *by_last_part) if _plain(known) == _plain(name)), None):
            raise UserError(f"{where}: {name!r:.80} is {like!r:.80} {_BUT_FOR_FORM}")
        raise UserError(f"{where}: {name[:80]!r} is no image of the source; {_CORRECT}")

    return find


_BUT_FOR_FORM = "but for case or Unicode form; write both alike"


def _plain(name: str) -> str:
    """A name without what tells apart names that look alike."""
    return unicodedata.normalize("NFKC", name).casefold().strip()


def _class_checker(classes: Collection[str]) -> Callable[[str, str], None]:
    """A function that refuses a label, by where it stands, that is a class but for its form."""
    by_plain = {_plain(name): name for name in classes}

    def check(label: str, where: str) -> None:
        like = by_plain.get(_plain(label))
        if label not in classes and like is not None:
            raise UserError(f"{where}: {label!r:.80} is the class {like!r:.80} {_BUT_FOR_FORM}")

    return check


def _csv_lines(file: Path, text: str, found: FileBoxes) -> Iterator[_Line]:
    reader = csv.DictReader(io.StringIO(text, newline=""))
    names = reader.fieldnames or ()
    missing = [name for name in ("name", *_SIDES) if name not in names]
    if missing:
        raise UserError(f"--boxes {file} line 1: no column {missing[0]!r}; begin with name,{','.join(_SIDES)}")
    if twice := [name for name, count in Counter(names).items() if count > 1]:
        raise UserError(f"--boxes {file} line 1: two columns {twice[0]!r}; give each column its own name")
    if len({*_SIZE} & {*names}) == 1:
        raise UserError(f"--boxes {file} line 1: one of {' and '.join(_SIZE)} without the other; give both or neither")
    found.other_columns = tuple(name for name in names if name not in ("name", *_SIDES, *_SIZE, _LABEL, _DIFFICULT))
    try:
        for row in reader:
            where = f"{file} line {reader.line_num}"
            values = [row[side] for side in _SIDES]
            if None in row:
                raise UserError(
                    f"{where}: found {len(names) + len(row[None])} values for {len(names)} columns; numbers have a "
                    f"decimal point, and a name with a comma stands in quotes"
                )
            if row["name"] and not any(values):
                found.without_edges += 1
                continue
            if not row["name"] or not all(values):
                raise UserError(f"{where}: found {len([*filter(None, row.values())])} values; {_CORRECT}")
            size = _size([row[side] for side in _SIZE], where) if {*_SIZE} <= {*names} else None
            difficult = row.get(_DIFFICULT) or "0"
            if difficult not in ("0", "1"):
                raise UserError(f"{where}: difficult {difficult!r:.40} is neither 0 nor 1; {_CORRECT}")
            box, label = _box(values, where), row.get(_LABEL) or None
            yield _Line(where, row["name"], box, label, size, difficult=difficult == "1")
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


def _size(values: list[Any], where: str) -> tuple[int, int] | None:
    """Width and height from two values; None where there are none. Raises UserError where they are no whole numbers."""
    if values[0] in (None, "") and values[1] in (None, ""):
        return None
    try:
        width, height = (float(value) for value in values if not isinstance(value, bool))
        if width.is_integer() and height.is_integer() and min(width, height) > 0:
            return int(width), int(height)
    except (TypeError, ValueError, OverflowError):
        pass
    raise UserError(f"{where}: {values!r:.80} are no width and height in pixels; {_CORRECT}")


class _CocoImage(NamedTuple):
    name: str
    size: tuple[int, int] | None


def _coco_lines(file: Path, text: str) -> Iterator[_Line]:
    images, categories, annotations = _coco_parts(file, text)
    for number, annotation in enumerate(annotations):
        where = f"{file} annotation {number}"
        if not isinstance(annotation, dict) or not {"image_id", "bbox"} <= annotation.keys():
            raise UserError(f"{where}: has no image_id or no bbox; {_CORRECT}")
        where += f" (id {annotation['id']!r:.40})" if "id" in annotation else ""
        image = _listed(images, annotation["image_id"], "image_id", where)
        label = _label(annotation, categories, where)
        box = annotation["bbox"]
        if not isinstance(box, list) or len(box) != 4 or any(isinstance(value, str) for value in box):
            raise UserError(f"{where}: bbox {box!r:.80} is not x, y, width, height; {_CORRECT}")
        x, y, width, height = _box(box, where)
        edges = (x, y, x + width, y + height)
        yield _Line(where, image.name, edges, label, image.size, CROWD if annotation.get("iscrowd") else None)


def _coco_parts(file: Path, text: str) -> tuple[dict[Any, _CocoImage], dict[Any, str], list[Any]]:
    """Images and categories by their ids, and the annotations."""
    try:
        content = json.loads(text)
        listed, kinds, annotations = content["images"], content.get("categories", []), content["annotations"]
        images: dict[Any, _CocoImage] = {}
        categories: dict[Any, str] = {}
        for number, image in enumerate(listed):
            where = f"{file} image {number}"
            _enter(images, image["id"], _coco_image(image, where), where)
        for number, kind in enumerate(kinds):
            where = f"{file} category {number}"
            if not isinstance(kind["name"], str):
                raise UserError(f"{where}: its name is no text; {_CORRECT}")
            _enter(categories, kind["id"], kind["name"], where)
    except json.JSONDecodeError as error:
        raise UserError(f"--boxes {file} line {error.lineno}: not JSON ({error.msg}); make it anew") from None
    except (KeyError, TypeError, AttributeError, RecursionError, ValueError) as error:
        reason = f"no {error.args[0]!r}" if isinstance(error, KeyError) else "its parts are not lists of objects"
        raise UserError(f"--boxes {file}: not COCO's JSON ({reason}); it needs images and annotations") from None
    if not isinstance(annotations, list):
        raise UserError(f"--boxes {file}: not COCO's JSON (annotations is no list); it needs images and annotations")
    return images, categories, annotations


def _coco_image(image: Mapping[str, Any], where: str) -> _CocoImage:
    name = image["file_name"]
    if not isinstance(name, str):
        raise UserError(f"{where}: its file_name is no text; {_CORRECT}")
    return _CocoImage(name, _size([image.get(side) for side in _SIZE], where))


def _enter(entries: dict[Any, Any], number: Any, value: Any, where: str) -> None:
    """Note what an id stands for. Raises UserError where it stands for something else already."""
    if entries.setdefault(number, value) != value:
        raise UserError(
            f"{where}: its id {number!r:.40} is another's too, as after joining two files; number them anew"
        )


def _listed(entries: dict[Any, Any], number: Any, what: str, where: str) -> Any:
    try:
        return entries[number]
    except (KeyError, TypeError):
        raise UserError(f"{where}: {what} {number!r:.40} is in no list of the file; {_CORRECT}") from None


def _label(annotation: Mapping[str, Any], categories: dict[Any, str], where: str) -> str | None:
    """The name of an annotation's category; None in a file that lists none."""
    if not categories:
        return None
    if "category_id" not in annotation:
        raise UserError(f"{where}: has no category_id, and the file lists categories; {_CORRECT}")
    try:
        name: str = categories[annotation["category_id"]]
    except (KeyError, TypeError):
        ids = ", ".join(f"{each!r:.20}" for each in [*categories][:4])
        raise UserError(
            f"{where}: category_id {annotation['category_id']!r:.40} is none of the file's categories ({ids}"
            f"{', ...' if len(categories) > 4 else ''}); count both from the same number"
        ) from None
    return name
