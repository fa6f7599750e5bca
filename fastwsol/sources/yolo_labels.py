"""The labels of images in YOLO's form: a line an object, and masks out of the outlines among them.

    class x y width height      a box: the middle and the sides as shares of the upright image
    class x y x y ...           the corners of an outline; a last one that repeats the first is ignored
    class x y width height ...  a box with the points of a pose

A last number more is the confidence of a network that predicted the object. An outline of four corners with sides along
the image's is a box. Where all outlines of a set have four corners they are turned boxes, and the boxes around them are
taken.
"""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from fastwsol.host.errors import UserError
from fastwsol.host.words import first_few, number_of
from fastwsol.sources.annotated import read_text
from fastwsol.sources.boxes import CORRECT, Box
from fastwsol.sources.encode import as_png
from fastwsol.sources.segmentations import pixels_of
from fastwsol.sources.tree import BadFile, Tree
from kernels.pixels import OBJECT

_OUTSIDE = 0.01
"""By which a share may lie outside of 0 to 1."""
_ROUNDED = 1e-6
"""By which an edge may lie outside after rounding."""


class Line(NamedTuple):
    """An object: the box and the outline x, y, x, y, ... in shares of the image; outline: None where it has none, or is
    a `rectangle`, which is the box.
    """

    class_name: str
    box: Box
    outline: tuple[float, ...] | None
    rectangle: bool
    predicted: bool
    where: str


def read_lines(tree: Tree, file: str, names: Mapping[int, str], points: int | None) -> list[Line]:
    """The objects of a file of labels. names: of the classes by their numbers; points: how many numbers the points of
    a pose are, None where there are no poses. Raises UserError, naming the line, for one that is none.
    """
    found = []
    for number, line in enumerate(read_text(tree, file, "put a whole copy in its place").split("\n"), 1):
        if not line.strip():
            continue
        where = f"{tree.where(file)} line {number}"
        try:
            values = [float(each) for each in line.split()]
        except ValueError:
            values = []
        if len(values) < 5 or not all(map(math.isfinite, values)):
            raise UserError(
                f"{where}: {line.strip()!r:.60} is neither class x y width height nor a class and the corners of an "
                f"outline; {CORRECT}"
            )
        label, shares = values[0], values[1:]
        if label not in names:
            known = first_few([*map(str, names)], 4)
            raise UserError(f"{where}: class {label:g} is none of {known}, which have names; {CORRECT}")
        behind = len(shares) - 4
        predicted = behind % 2 == 1 if points is None else behind in (1, points + 1)
        if points is not None and behind - predicted not in (0, points):
            raise UserError(
                f"{where}: {len(shares) - 4} numbers behind the box, and kpt_shape says {points}; {CORRECT}"
            )
        shares = shares[:4] if points is not None else shares[: len(shares) - predicted]
        if beyond := [each for each in shares if not -_OUTSIDE <= each <= 1 + _OUTSIDE]:
            tracked = len(shares) == 6 and beyond == shares[5:] and beyond[0].is_integer()
            remedy = "take the tracks' numbers off" if tracked else "divide pixels by its width and height"
            raise UserError(f"{where}: {beyond[0]:g} is no share of an image, 0 to 1; {remedy}")
        box, outline = _box_and_outline(shares)
        found.append(Line(names[int(label)], box, outline, outline is None and len(shares) > 4, predicted, where))
    return found


def _box_and_outline(shares: list[float]) -> tuple[Box, tuple[float, ...] | None]:
    """A box, and the outline where the shares are of one that is no rectangle."""
    if len(shares) > 6 and shares[:2] == shares[-2:]:
        shares = shares[:-2]
    if len(shares) == 4:
        x, y, width, height = shares
        x0, y0, x1, y1 = map(_within, (x - width / 2, y - height / 2, x + width / 2, y + height / 2))
        return (x0, y0, x1, y1), None
    xs, ys = shares[::2], shares[1::2]
    is_box = len(shares) == 8 and len({*xs}) == len({*ys}) == 2 and len({*zip(xs, ys, strict=True)}) == 4
    return (min(xs), min(ys), max(xs), max(ys)), None if is_box else tuple(shares)


def _within(edge: float) -> float:
    """An edge, in 0..1 where it lies outside by no more than the six decimals of middle and side lose."""
    return min(max(edge, 0.0), 1.0) if -_ROUNDED <= edge <= 1 + _ROUNDED else edge


class Outlines:
    """The masks of images, drawn from the outlines of their objects when they are asked for. lines: by their images;
    `sizes`: width and height of an image whose mask is to be read.
    """

    own_sizes = False

    def __init__(self, lines: Mapping[str, list[Line]]) -> None:
        self._lines = lines
        self.sizes: dict[str, tuple[int, int]] = {}
        every = [line.outline for of_image in lines.values() for line in of_image if line.outline is not None]
        self._turned_boxes = bool(every) and all(len(each) == 8 for each in every)
        self._of: dict[str, list[Line]] = {}
        self._has_masks = bool(every) and not self._turned_boxes
        self._not_taken = self._of_others = self._of_rectangles = 0

    def of_image(self, image: str, name: str) -> str | None:
        """What the mask of an image of the class `name` is called; None where not every object of it has an outline."""
        if self._turned_boxes:
            return None
        own = [line for line in self._lines[image] if line.class_name == name]
        outlined = sum(line.outline is not None for line in own)
        self._of_others += sum(line.outline is not None for line in self._lines[image]) - outlined
        if outlined < len(own) or not own:
            self._not_taken += outlined > 0
            self._of_rectangles += not outlined and any(line.rectangle for line in own)
            return None
        self._of[image] = own
        return image

    def notes(self) -> list[str]:
        """What became of the outlines."""
        found = []
        if self._turned_boxes:
            found.append("all outlines have four corners, as turned boxes have: the boxes around them were taken")
        if self._not_taken:
            images = number_of(self._not_taken, "image")
            found.append(f"{images} with outlines and no mask, as not every object of its class has one")
        if self._has_masks and self._of_rectangles:
            images = number_of(self._of_rectangles, "image")
            found.append(f"{images} with rectangles as outlines, which are taken for boxes: no mask")
        if self._of_others:
            others = number_of(self._of_others, "outline")
            found.append(f"{others} of objects of other classes than their image's not kept, an image has one mask")
        return found

    def read(self, name: str) -> bytes:
        """The mask of an image as PNG. Raises BadFile."""
        width, height = self.sizes.pop(name)
        mask = np.zeros((height, width), np.uint8)
        for line in self._of[name]:
            assert line.outline is not None
            corners = np.reshape(line.outline, (-1, 2)) * (width, height)
            try:
                pixels = pixels_of([corners.ravel().tolist()], width, height, line.where)
            except UserError as error:
                raise BadFile(str(error)) from None
            assert pixels is not None
            mask[pixels] = OBJECT
        return as_png(mask)

    def stamp(self, name: str) -> str:
        """Another text when an outline was changed."""
        return str([line.outline for line in self._of[name]])

    def where(self, name: str) -> str:
        """The labels of an image."""
        return self._of[name][0].where
