"""Ground truth and predicted classes of images in a CSV file, which score maps are measured on: `evaluate --boxes`.

It is in UTF-8 with a header line and a line for each ground-truth box:

    name,width,height,x0,y0,x1,y1,label,predicted
    val/cat_1.jpg,500,375,12,30,240,375,cat,cat;dog
    val/cat_1.jpg,500,375,300,20,410,250,cat,cat;dog
    val/dog_7.jpg,320,240,,,,,dog,cat

`x0,y0,x1,y1` are half-open edges in the pixels of the image, which is of `width` x `height` (where the ends of your
boxes are inclusive, add 1 to x1 and y1); empty for an image without a box. `label` and `predicted` may be left out:
with `label` there are results by class, with both of them Top-1 rates, and with five predicted classes, `;` between
them, the most likely first, Top-5 rates (a `;` or a backslash in a name has a backslash before it). Lines of one image
say the same of all but its box. A box with a 1 in a column `difficult` is no ground truth; other columns, as of CSV
that `convert` wrote, are ignored and named.
"""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fastwsol.dataset.ragged_boxes import offsets_of
from fastwsol.evaluation.evaluated_images import EvaluatedImages
from fastwsol.evaluation.per_image import split_classes
from fastwsol.evaluation.truths import Truths
from fastwsol.host.errors import UserError
from fastwsol.host.files import read_utf8
from fastwsol.host.words import number_of, plain
from fastwsol.sources.boxes import OVERHANG, SIDES, Box, cut_at_edge, lies_in

REQUIRED = ("name", "width", "height", *SIDES)
OPTIONAL = ("label", "predicted", "difficult")
LARGEST_SIDE = 30_000  # of an image or a map, in pixels


def read_annotations(path: Path) -> EvaluatedImages:
    """Read a boxes file; images in the order in which it first names them, classes sorted. Raises UserError naming the
    file and the line.
    """
    remedy = "see python -m fastwsol.evaluate --help"
    text = read_utf8(path, str(path), "name a boxes file (CSV)")
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [each.strip() for each in next(lines, [])]
        rows = list(_rows(path, header, lines))
    except csv.Error as error:
        raise UserError(f"{path}, line {lines.line_num}: not CSV ({error}); {remedy}") from None
    if not rows:
        raise UserError(f"{path}: has no line below its header; give one for each ground-truth box")
    for note in _notes(header, rows):
        print(f"{path}: {note}")
    of_image: dict[str, list[_Row]] = defaultdict(list)
    for row in rows:
        first = of_image[row.name][0] if of_image[row.name] else row
        if row.of_image != first.of_image:
            raise UserError(
                f"{path}, line {row.line}: says another size, label or prediction of {row.name!r} than line "
                f"{first.line}; let all lines of an image say the same of all but its box (label is the image's class)"
            )
        of_image[row.name].append(row)
    firsts = [own[0] for own in of_image.values()]
    boxes = [[row.box for row in own if row.box is not None and not row.difficult] for own in of_image.values()]
    truths = Truths(
        np.array([row.width for row in firsts], np.int32),
        np.array([row.height for row in firsts], np.int32),
        np.array([box for own in boxes for box in own], np.float32).reshape(-1, 4),
        offsets_of([*map(len, boxes)]),
    )
    shares = len(truths.boxes) and truths.boxes.max() <= 1 and (truths.boxes % 1 > 0).any()
    if shares and min(truths.widths.min(), truths.heights.min()) > 1:
        raise UserError(f"{path}: every edge lies between 0 and 1; edges are in pixels, multiply by width and height")
    names = {row.label for row in firsts} | {each for row in firsts for each in row.predicted}
    classes = sorted(names)
    index = {name: k for k, name in enumerate(classes)}
    labels = predicted = None
    if "label" in header:
        labels = np.array([index[row.label] for row in firsts])
    if "predicted" in header:
        most = max(len(row.predicted) for row in firsts)
        predicted = np.array(
            [[*(index[each] for each in row.predicted), *[-1] * (most - len(row.predicted))] for row in firsts]
        )
    return EvaluatedImages(list(of_image), truths, labels, predicted, classes)


@dataclass(frozen=True)
class _Row:
    line: int
    name: str
    width: int
    height: int
    box: Box | None
    label: str
    predicted: tuple[str, ...]
    difficult: bool
    score: bool
    """Whether the box has one, as of a prediction."""
    cut: bool
    """Whether the box reached a little outside its image."""

    @property
    def of_image(self) -> tuple[object, ...]:
        """What all lines of an image have in common."""
        return self.width, self.height, self.label, self.predicted


def _notes(header: Sequence[str], rows: Sequence[_Row]) -> Iterator[str]:
    """What is to be said of lines and columns that are no ground truth, or may be none."""
    if others := [name for name in header if name not in (*REQUIRED, *OPTIONAL)]:
        yield f"columns ignored: {', '.join(plain(name) or repr(name) for name in others)}"
    if difficult := sum(row.difficult for row in rows):
        yield f"{number_of(difficult, 'difficult box is', 'difficult boxes are')} no ground truth"
    if cut := sum(row.cut for row in rows):
        yield f"{number_of(cut, 'box', 'boxes')} reached up to {OVERHANG:g} pixels outside the image: cut at the edge"
    if scored := sum(row.score and not row.difficult for row in rows):
        are = number_of(scored, "box has a score", "boxes have scores")
        yield f"{are}, as predictions have; every box is taken for ground truth"


def _check_header(path: Path, header: Sequence[str]) -> None:
    """Raise UserError where columns are missing, there twice, or one of ours in capitals."""
    missing = [name for name in REQUIRED if name not in header]
    if missing or len(set(header)) < len(header):
        raise UserError(
            f"{path}, line 1: the header {','.join(header)!r} "
            f"{'lacks ' + ', '.join(missing) if missing else 'names a column twice'}; "
            f"expected {','.join(REQUIRED)} and, if known, {','.join(OPTIONAL)}"
        )
    for name in header:
        if name not in OPTIONAL and name.lower() in OPTIONAL:
            raise UserError(f"{path}, line 1: the column {name!r} is {name.lower()!r} but for capitals; write it so")


def _rows(path: Path, header: Sequence[str], lines: Any) -> Iterator[_Row]:
    _check_header(path, header)
    for cells in lines:
        if not cells:
            continue
        number = lines.line_num  # of its last line, where a quoted field goes over several
        where = f"{path}, line {number}"
        if len(cells) != len(header):
            raise UserError(f"{where}: has {len(cells)} fields, the header has {len(header)}")
        cell = dict(zip(header, (each.strip() for each in cells), strict=True))
        if not cell["name"]:
            raise UserError(f"{where}: the name is empty; name the image")
        width, height = (_side(where, name, cell[name]) for name in ("width", "height"))
        predicted = tuple(each.strip() for each in split_classes(cell.get("predicted", "")) if each.strip())
        if "predicted" in header and not predicted:
            raise UserError(f"{where}: nothing is predicted; name a class for every image, or leave out the column")
        if len(predicted) > 5 or len(set(predicted)) < len(predicted):
            raise UserError(f"{where}: {cell['predicted']!r} is not up to five different classes, best first")
        if "label" in header and not cell["label"]:
            raise UserError(f"{where}: the label is empty; name a class for every image, or leave out the column")
        whole = _box(where, [cell[side] for side in SIDES], width, height)
        box = None if whole is None else cut_at_edge(whole, width, height)
        difficult = cell.get("difficult") or "0"
        if difficult not in ("0", "1"):
            raise UserError(f"{where}: difficult {difficult!r:.40} is neither 0 nor 1; correct the line")
        of_box = box is not None and difficult == "1", box is not None and bool(cell.get("score")), box != whole
        yield _Row(number, cell["name"], width, height, box, cell.get("label", ""), predicted, *of_box)


def _side(where: str, name: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9 or not 1 <= int(text) <= LARGEST_SIDE:
        raise UserError(f"{where}: {name} {text!r} is not a whole number from 1 to {LARGEST_SIDE}, pixels")
    return int(text)


def _box(where: str, texts: list[str], width: int, height: int) -> Box | None:
    if not any(texts):
        return None
    try:
        x0, y0, x1, y1 = (float(each) for each in texts)
    except ValueError:
        x0 = y0 = x1 = y1 = math.nan
    if not all(map(math.isfinite, (x0, y0, x1, y1))):
        raise UserError(f"{where}: {','.join(texts)!r} are not four numbers x0,y0,x1,y1; leave all empty for no box")
    if x1 < x0 or y1 < y0:
        raise UserError(
            f"{where}: the box {','.join(texts)} ends before it begins; give x0,y0,x1,y1, not x,y,width,height"
        )
    if x1 == x0 or y1 == y0:
        raise UserError(
            f"{where}: the box {','.join(texts)} is empty; its ends are exclusive: add 1 to x1 and y1 if yours are not"
        )
    if not lies_in((x0, y0, x1, y1), width, height):
        raise UserError(
            f"{where}: the box {','.join(texts)} reaches more than {OVERHANG:g} pixels outside its image of {width} x "
            f"{height}; clip it, or mend width and height (are they swapped?)"
        )
    return x0, y0, x1, y1
