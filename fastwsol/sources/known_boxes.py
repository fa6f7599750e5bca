"""Known boxes of images that were predicted: a review's export, anyone's COCO JSON, or CSV as `boxes_file` reads it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from fastwsol.host.errors import UserError
from fastwsol.host.files import read_utf8
from fastwsol.host.words import number_of
from fastwsol.sources import Class
from fastwsol.sources.boxes import CORRECT, Box, has_extent, refuse_shares
from fastwsol.sources.boxes_file import BoxLine, FileBoxes, csv_lines, refuse_crossed
from fastwsol.sources.coco_json import CocoFile, CocoImage, read_coco
from fastwsol.sources.names import Names, own_names


def read_known_boxes(file: Path, said: str) -> CocoFile:
    """The images and boxes of a file. CSV is read as COCO's JSON of the same would be: a label is a category. What of
    it is ignored is printed.

    said: how messages name the file. Raises UserError where it cannot be read, naming the line or annotation.
    """
    if file.suffix.lower() != ".csv":
        content = read_coco(file, said)
        content.by_image()  # refuses boxes in shares
        empty = {number for number, each in enumerate(content.annotations()) if not _is_box(each.box, each.where)}
        _tell_of_empty(said, len(empty))
        return replace(content, left_out=frozenset(empty))
    return _of_csv(file, said)


def _of_csv(file: Path, said: str) -> CocoFile:
    images: dict[Any, CocoImage] = {}
    categories: dict[Any, Class] = {}
    annotations: list[dict[str, Any]] = []
    found, empty = FileBoxes(), 0
    for line in csv_lines(file, read_utf8(file, said, "name a CSV or COCO JSON file"), found, said):
        is_empty = not _is_box(line.box, line.where)
        if not is_empty:
            refuse_shares(line.box, line.where)
        empty += is_empty
        x0, y0, x1, y1 = line.box
        image = images.setdefault(line.name, CocoImage(line.name, line.size, _said(line), line.where))
        if image.size is None:
            images[line.name] = image._replace(size=line.size)
        elif line.size not in (None, image.size):
            raise UserError(f"{line.where}: {line.name!r:.80} has two sizes, {image.size} and {line.size}; {CORRECT}")
        if bool(categories) != (line.label is not None) and annotations:
            raise UserError(f"{line.where}: some boxes have a label and some have none; give all one, or none")
        if is_empty:
            continue
        box = {"image_id": line.name, "bbox": [x0, y0, x1 - x0, y1 - y0], "difficult": int(line.difficult)}
        if line.unjudged:
            box["score"] = None  # one that there is says that a network predicted the box
        if line.label is not None:
            categories.setdefault(line.label, Class(line.label, line.label))
            box["category_id"] = line.label
        annotations.append(box)
    _tell_of_empty(said, empty)
    if not annotations:
        raise UserError(f"{said}: holds no box; give boxes of some of the images")
    if found.ignored():
        print(f"{said}: {'; '.join(found.ignored())}")
    return CocoFile(file, images, categories, annotations, {})


def _said(line: BoxLine) -> dict[str, Any]:
    """What a line says of its image, as COCO's JSON has it."""
    return {"review": {"verdict": line.verdict}} if line.verdict else {}


def _tell_of_empty(said: str, empty: int) -> None:
    if empty:
        print(f"{said}: {number_of(empty, 'box', 'boxes')} without a width or a height, left out")


def _is_box(box: Box, where: str) -> bool:
    """Whether a box has a width and a height. Raises UserError for one that ends before it begins."""
    refuse_crossed(box, where)
    return has_extent(box)


def names_of_both(file: CocoFile, names: Sequence[str]) -> str:
    """An image's name as the file gives it and one as it is called here, where they have no name in common: for a
    message, in brackets.
    """
    theirs = [image.name for image in file.images.values()]
    if not theirs or not names or {*theirs} & {*names}:
        return ""
    return f" (its images are called like {theirs[0]!r:.100}, and these like {names[0]!r:.100})"


def image_finder(names: Iterable[str], file: CocoFile, said: str) -> Callable[[str], str | None]:
    """A function from a name in `file` to the image of `names` that it means: the one of that name, else, of a name
    without folders, the only one whose file name it is and that the file does not name itself; None otherwise. Names
    are alike in either Unicode form. What another tool put before all names of the file is taken away, which is said
    (`own_names`).

    The function raises UserError, with `said` for the file, where several images have that file name.
    """
    known, theirs = Names(names), [image.name for image in file.images.values()]
    found = own_names(theirs, known, {one.name for one in file.categories.values()})
    if found is not None:
        print(f"{said}: {found.told}")
    own = found.of if found is not None else {}
    listed = Names(own.get(name, name) for name in theirs)

    def find(name: str) -> str | None:
        name = own.get(name, name)
        if (found := known.whole(name)) is not None:
            return found
        candidates = known.by_end(name) if "/" not in name else []
        if len(candidates) > 1:
            raise UserError(f"{said}: {name!r:.80} may be {' or '.join(candidates[:3])}; give its path")
        return next((each for each in candidates if listed.whole(each) is None), None)

    return find
