"""CUB-200-2011 as it is distributed (Wah et al. 2011), unpacked, or packed anew as a zip.

    classes.txt                  1 001.Black_footed_Albatross
    images.txt                   1 001.Black_footed_Albatross/Black_Footed_Albatross_0046_18.jpg
    image_class_labels.txt       1 1
    train_test_split.txt         1 0                             1: train; 0: test, which is val here
    bounding_boxes.txt           1 60.0 27.0 325.0 304.0         x, y, width, height
    images/<name in images.txt>

Each file has a line for each image, or class, by its number; records come in the order of images.txt.
"""

import re
from pathlib import Path

from fastwsol.host.errors import UserError
from fastwsol.sources import Class, Fault
from fastwsol.sources.annotated import AnnotatedBox, AnnotatedImage, FileSource, first_classes, images_below, read_rows
from fastwsol.sources.boxes import Box
from fastwsol.sources.tree import Folder, Tree, Zip

LAYOUT_NAME = "CUB_200_2011"
IDENTITY = "CUB-200-2011"
_REPLACE = f"take the file from the official {LAYOUT_NAME}.tgz"
_CORRECT = f"correct the line, or take the file from the official {LAYOUT_NAME}.tgz"


class Cub(FileSource):
    """A `Source` over CUB-200-2011; `class_count` keeps the first classes.

    Raises UserError for every mistake in the layout that is not one image's, naming file, line and remedy.
    """

    def __init__(self, path: Path, *, class_count: int | None = None, follow_links: bool = False):
        tree = _open_tree(path, follow_links)
        wnids = _numbered(tree, "classes.txt", "<number> <class>")
        every = tuple(Class(each, _readable(each)) for each in wnids.values())
        classes = first_classes(every, class_count, tree.where("classes.txt"))
        label_of = {number: label for label, number in enumerate(wnids)}
        names = _numbered(tree, "images.txt", "<number> <image>")
        numbers = _numbered(tree, "image_class_labels.txt", "<number> <class>", names)
        in_train = _numbered(tree, "train_test_split.txt", "<number> <0|1>", names)
        boxes = _boxes(tree, names)
        stamps, _ = images_below(tree, "images")
        listed = {f"images/{name}" for name in names.values()}
        if stray := next((path for path in stamps if path not in listed), None):
            raise UserError(
                f"{tree.where(stray)}: {tree.where('images.txt')} does not name it; add its lines, or remove it"
            )
        annotations: dict[str, list[AnnotatedImage]] = {"train": [], "val": []}
        for line, (number, name) in enumerate(names.items(), 1):
            origin = f"{tree.where('images.txt')} line {line}"
            if (label := label_of.get(numbers[number])) is None:
                raise UserError(
                    f"{tree.where('image_class_labels.txt')}: image {number} is of class {numbers[number]!r}, which is "
                    f"not in classes.txt; {_CORRECT}"
                )
            if in_train[number] not in ("0", "1"):
                raise UserError(
                    f"{tree.where('train_test_split.txt')}: image {number} has {in_train[number]!r}, expected 0 or 1; "
                    f"{_CORRECT}"
                )
            path_in = f"images/{name}"
            fault = None
            if path_in not in stamps:
                fault = Fault(path_in, "no such image", "put the image back, or remove its lines")
            if label < len(classes):
                split = "train" if in_train[number] == "1" else "val"
                box = AnnotatedBox(boxes[number], label)
                annotations[split].append(
                    AnnotatedImage(path_in, label, (box,), origin, stamps.get(path_in, ""), fault)
                )
        super().__init__(IDENTITY, classes, tree, annotations)


def _open_tree(path: Path, follow_links: bool) -> Tree:
    if path.is_dir() and not (path / "images.txt").is_file() and (path / LAYOUT_NAME).is_dir():
        path = path / LAYOUT_NAME
    unpack = f"unpack the official {LAYOUT_NAME}.tgz and give its folder as --source"
    tree: Tree = Zip(path, LAYOUT_NAME, unpack) if path.is_file() else Folder(path, follow_links)
    if "images.txt" not in tree.names(""):
        raise UserError(f"{path}: not the layout of {LAYOUT_NAME} (expected images.txt in it); {unpack}")
    return tree


def _numbered(tree: Tree, path: str, fields: str, images: dict[str, str] | None = None) -> dict[str, str]:
    """The value that each number has in a file. Raises UserError for a number that stands there twice, and, where the
    numbers are those of `images`, for one that is missing or too many.
    """
    value_of: dict[str, str] = {}
    for line, (number, value) in read_rows(tree, path, fields, _REPLACE, _CORRECT, " "):
        where = f"{tree.where(path)} line {line}"
        if not re.fullmatch(r"[0-9]{1,9}", number):
            raise UserError(f"{where}: {number[:40]!r} is no number; {_CORRECT}")
        if number in value_of:
            raise UserError(f"{where}: {number} stands there twice; {_CORRECT}")
        if images is not None and number not in images:
            raise UserError(f"{where}: there is no image {number} in images.txt; {_CORRECT}")
        value_of[number] = value
    _check_complete(tree, path, value_of, images)
    return value_of


def _check_complete(tree: Tree, path: str, value_of: dict, images: dict[str, str] | None) -> None:
    if not value_of:
        raise UserError(f"{tree.where(path)}: has no line; {_REPLACE}")
    missing = [number for number in images or () if number not in value_of]
    if missing:
        raise UserError(f"{tree.where(path)}: has no line for image {missing[0]}; add it, or {_REPLACE}")


def _boxes(tree: Tree, images: dict[str, str]) -> dict[str, Box]:
    """The box of each image."""
    path, fields = "bounding_boxes.txt", "<number> <x> <y> <width> <height>"
    box_of: dict[str, Box] = {}
    for line, (number, *values) in read_rows(tree, path, fields, _REPLACE, _CORRECT, " "):
        where = f"{tree.where(path)} line {line}"
        for value in values:
            if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value):
                raise UserError(f"{where}: {value[:40]!r}, expected a number of pixels; {_CORRECT}")
        if number not in images or number in box_of:
            what = "stands there twice" if number in box_of else "is no image's number in images.txt"
            raise UserError(f"{where}: {number[:40]} {what}; {_CORRECT}")
        x, y, width, height = map(float, values)
        box_of[number] = (x, y, x + width, y + height)
    _check_complete(tree, path, box_of, images)
    return box_of


def _readable(wnid: str) -> str:
    """A class's name without its number: 001.Black_footed_Albatross is Black footed Albatross."""
    return wnid.partition(".")[2].replace("_", " ") or wnid
