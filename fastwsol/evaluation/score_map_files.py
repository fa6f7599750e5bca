"""Score maps of any network, from files, and the boxes they are measured on: what `evaluate --maps` reads.

The boxes file is CSV in UTF-8 with a header line and a line for each ground-truth box:

    name,width,height,x0,y0,x1,y1,label,predicted
    val/cat_1.jpg,500,375,12,30,240,375,cat,cat;dog
    val/cat_1.jpg,500,375,300,20,410,250,cat,cat;dog
    val/dog_7.jpg,320,240,,,,,dog,cat

`x0,y0,x1,y1` are half-open edges in the pixels of the image, which is of `width` x `height` (where the ends of your
boxes are inclusive, add 1 to x1 and y1); empty for an image without a box. `label` and `predicted` may be left out:
with `label` there are results by class, with both of them Top-1 rates, and with five predicted classes, `;` between
them, the most likely first, Top-5 rates. Lines of one image say the same of all but its box.

Maps are NumPy files: in a folder one of [h, w] for each image, named like it with `.npy` behind (or instead of its
ending); or one file of [N, h, w] in the order in which the boxes file first names the images. A map covers its whole
image, in any size and range: it is upsampled to the image's size (of an image with a side above 1024 pixels, to one
scaled down to that) and normalised to 0..1. It is the true class's; where it is the predicted class's, --cam-class
predicted says so, and the rate is not called GT-known.
"""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastwsol.evaluation.boxes import CurveHits
from fastwsol.evaluation.measure import Boxes, Localized, Truths, localize_maps
from fastwsol.evaluation.metrics import BEYOND_TOP_5, IOU_THRESHOLDS, LEVELS
from fastwsol.evaluation.per_image import SEPARATOR
from fastwsol.host.device import kernel_threads
from fastwsol.host.errors import UserError, line_of
from fastwsol.host.files import write_bytes, write_durably

SIDES = ("x0", "y0", "x1", "y1")
REQUIRED = ("name", "width", "height", *SIDES)
OPTIONAL = ("label", "predicted")
LARGEST_FRAME = 1024
"""The longest side, in pixels, that a map is upsampled to."""

SQUARE_SIDE = 224
"""What the older evaluator takes on its own data sets."""

_LARGEST_SIDE = 30_000  # of an image or a map, in pixels
_PIXELS_AT_ONCE = 2**25  # of maps held in memory, as they are or upsampled


@dataclass(frozen=True)
class Annotations:
    """What a boxes file says of its N images, in the order in which it first names them."""

    path: Path
    names: list[str]
    truths: Truths
    labels: NDArray[np.int64] | None
    """[N], indices of `classes`; None without a column `label`."""
    predicted: NDArray[np.int64] | None
    """[N, up to 5], indices of `classes`, -1 beyond what is said; None without a column `predicted`."""
    classes: list[str]
    """Every class that is named, sorted."""

    @property
    def tells_five(self) -> bool:
        """Whether the first five classes of every image are known (all, where there are fewer)."""
        wanted = min(BEYOND_TOP_5, len(self.classes))
        return self.predicted is not None and self.predicted.shape[1] == wanted and bool((self.predicted >= 0).all())


def read_annotations(path: Path) -> Annotations:
    """Read a boxes file. Raises UserError naming the file and the line."""
    remedy = "see python -m fastwsol.evaluate --help"
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); name a boxes file (CSV)") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}, line {line_of(error)}: not UTF-8 text; {remedy}") from None
    lines = csv.reader(io.StringIO(text, newline=""), strict=True)
    try:
        header = [each.strip() for each in next(lines, [])]
        rows = list(_rows(path, header, lines))
    except csv.Error as error:
        raise UserError(f"{path}, line {lines.line_num}: not CSV ({error}); {remedy}") from None
    if not rows:
        raise UserError(f"{path}: has no line below its header; give one for each ground-truth box")
    of_image: dict[str, list[_Row]] = defaultdict(list)
    for row in rows:
        first = of_image[row.name][0] if of_image[row.name] else row
        if row.of_image != first.of_image:
            raise UserError(
                f"{path}, line {row.line}: says another size, label or prediction of {row.name!r} than line "
                f"{first.line}; let all lines of an image say the same of all but its box"
            )
        of_image[row.name].append(row)
    firsts = [own[0] for own in of_image.values()]
    boxes = [[row.box for row in own if row.box is not None] for own in of_image.values()]
    truths = Truths(
        np.array([row.width for row in firsts], np.int32),
        np.array([row.height for row in firsts], np.int32),
        np.array([box for own in boxes for box in own], np.float32).reshape(-1, 4),
        np.cumsum([0, *map(len, boxes)], dtype=np.int64),
    )
    shares = len(truths.boxes) and truths.boxes.max() <= 1 and (truths.boxes % 1 > 0).any()
    if shares and min(truths.widths.min(), truths.heights.min()) > 1:
        raise UserError(f"{path}: every edge lies between 0 and 1; edges are in pixels, multiply by width and height")
    named = {row.label for row in firsts} | {each for row in firsts for each in row.predicted}
    classes = sorted(named)
    index = {name: k for k, name in enumerate(classes)}
    labels = predicted = None
    if "label" in header:
        labels = np.array([index[row.label] for row in firsts])
    if "predicted" in header:
        most = max(len(row.predicted) for row in firsts)
        predicted = np.array(
            [[*(index[each] for each in row.predicted), *[-1] * (most - len(row.predicted))] for row in firsts]
        )
    return Annotations(path, list(of_image), truths, labels, predicted, classes)


@dataclass(frozen=True)
class _Row:
    line: int
    name: str
    width: int
    height: int
    box: tuple[float, ...] | None
    label: str
    predicted: tuple[str, ...]

    @property
    def of_image(self) -> tuple[object, ...]:
        """What all lines of an image have in common."""
        return self.width, self.height, self.label, self.predicted


def _rows(path: Path, header: Sequence[str], lines: Any) -> Iterator[_Row]:
    missing = [name for name in REQUIRED if name not in header]
    if missing or len(set(header)) < len(header):
        raise UserError(
            f"{path}, line 1: the header {','.join(header)!r} "
            f"{'lacks ' + ', '.join(missing) if missing else 'names a column twice'}; "
            f"expected {','.join(REQUIRED)} and, if known, {','.join(OPTIONAL)}"
        )
    if unknown := [name for name in header if name not in (*REQUIRED, *OPTIONAL)]:
        raise UserError(f"{path}, line 1: there is no column {unknown[0]!r}; use {', '.join((*REQUIRED, *OPTIONAL))}")
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
        predicted = tuple(each.strip() for each in cell.get("predicted", "").split(SEPARATOR) if each.strip())
        if "predicted" in header and not predicted:
            raise UserError(f"{where}: nothing is predicted; name a class for every image, or leave out the column")
        if len(predicted) > 5 or len(set(predicted)) < len(predicted):
            raise UserError(f"{where}: {cell['predicted']!r} is not up to five different classes, best first")
        if SEPARATOR in cell.get("label", ""):
            raise UserError(f"{where}: the label {cell['label']!r} has a {SEPARATOR!r}, which stands between classes")
        if "label" in header and not cell["label"]:
            raise UserError(f"{where}: the label is empty; name a class for every image, or leave out the column")
        box = _box(where, [cell[side] for side in SIDES], width, height)
        yield _Row(number, cell["name"], width, height, box, cell.get("label", ""), predicted)


def _side(where: str, name: str, text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 9 or not 1 <= int(text) <= _LARGEST_SIDE:
        raise UserError(f"{where}: {name} {text!r} is not a whole number from 1 to {_LARGEST_SIDE}, pixels")
    return int(text)


def _box(where: str, texts: list[str], width: int, height: int) -> tuple[float, ...] | None:
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
    if min(x0, y0) < 0 or x1 > width or y1 > height:
        raise UserError(
            f"{where}: the box {','.join(texts)} reaches outside its image of {width} x {height} pixels; "
            f"clip it, or mend width and height (are they swapped?)"
        )
    return x0, y0, x1, y1


class ScoreMaps:
    """The maps of the images of a boxes file; `read` gives one."""

    def __init__(self, path: Path, annotations: Annotations):
        """Find every map. Raises UserError naming what is missing."""
        self._all: NDArray | None = None
        self.files: list[Path] = []
        names = annotations.names
        if path.is_dir():
            self.files = [_find(path, name, annotations.path) for name in names]
            owner: dict[Path, str] = {}
            for file, name in zip(self.files, names, strict=True):
                if owner.setdefault(file, name) != name:
                    raise UserError(
                        f"{file}: is the map of both {owner[file]!r} and {name!r}; name each map like its image, with "
                        f".npy behind the whole name"
                    )
            return
        self._all = _load(path)
        if self._all.ndim != 3 or len(self._all) != len(names):
            raise UserError(
                f"{path}: has shape {list(self._all.shape)}, and {annotations.path} names {len(names):,} images; "
                f"expected [{len(names)}, h, w], or a folder with one map an image"
            )
        self.files = [path] * len(names)

    def read(self, row: int) -> NDArray[np.float32]:
        """Map [h, w] of image `row`. Raises UserError naming the file where it is none, or not finite."""
        stored = self._all[row] if self._all is not None else _load(self.files[row])
        where = f"{self.files[row]}" if self._all is None else f"{self.files[row]}, map {row}"
        if stored.ndim != 2 or 0 in stored.shape or max(stored.shape) > _LARGEST_SIDE:
            raise UserError(f"{where}: has shape {list(stored.shape)}, expected [h, w], each of 1 to {_LARGEST_SIDE}")
        if stored.dtype.kind not in "fu" or stored.dtype.itemsize > 8:
            raise UserError(
                f"{where}: is of {stored.dtype}, expected floating point or unsigned numbers; use .astype('float32')"
            )
        with np.errstate(over="ignore"):
            values = stored.astype(np.float32)
        if not np.isfinite(values).all():
            raise UserError(f"{where}: holds NaN or infinity (in float32); there is no box in such a map")
        if values.min() == values.max() and stored.min() < stored.max():
            raise UserError(f"{where}: its values differ by less than float32 can tell; stretch them to 0..1")
        return values


_IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".ppm"}


def _find(folder: Path, name: str, annotations: Path) -> Path:
    if Path(name).is_absolute() or ".." in Path(name).parts or not Path(name).name:
        raise UserError(f"{annotations}: the name {name!r} leads out of {folder}; use names inside it")
    candidates = [folder / f"{name}.npy"]
    if Path(name).suffix.lower() in _IMAGE_SUFFIXES:  # of any other ending `a.b` may stand beside an image `a`
        candidates.append((folder / name).with_suffix(".npy"))
    try:
        both = [each for each in dict.fromkeys(candidates) if each.is_file()]
    except OSError as error:
        raise UserError(f"{annotations}: no file can have the name {name!r} ({error.strerror}); mend it") from None
    if not both:
        raise UserError(
            f"{' or '.join(map(str, candidates))}: no such file, and {annotations} names the image {name!r}; "
            f"give every image a map, or take it out of the boxes file"
        )
    if len(both) > 1:
        raise UserError(f"{both[0]}: is a map of {name!r}, and so is {both[1].name}; remove one of them")
    return both[0]


def _load(path: Path) -> NDArray:
    try:
        stored = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(stored, np.ndarray):
            raise ValueError("an archive of arrays")
        return stored
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); give a folder or a .npy file") from None
    except Exception:  # what NumPy's reader raises on damaged headers is of a dozen kinds
        raise UserError(f"{path}: is no array of numbers in NumPy's .npy format; save it with numpy.save") from None


def localize_score_maps(
    maps: ScoreMaps, truths: Truths, threshold: float | None, tick: Callable[[int], None]
) -> Localized:
    """Box all maps under both protocols and at every threshold, those of one shape and image size together.

    tick: told how many maps are done.
    """
    count = len(truths)
    shape = (count, len(IOU_THRESHOLDS), LEVELS)
    curve = CurveHits(np.zeros(shape, bool), np.zeros(shape, bool))
    found: dict[str, Boxes] = {}
    given = None if threshold is None else _room(count)
    done = 0
    for rows, cams in _groups(maps, truths):
        own = truths.of_rows(rows)
        with kernel_threads(len(rows)):
            part = localize_maps(cams, _frame(int(own.heights[0]), int(own.widths[0])), own, threshold)
        for protocol, boxes in part.found.items():
            _put(found.setdefault(protocol, _room(count)), rows, boxes)
        if given is not None and part.given is not None:
            _put(given, rows, part.given)
        curve.single[rows], curve.multiple[rows] = part.curve.single, part.curve.multiple
        done += len(rows)
        tick(done)
    return Localized(found, given, curve)


def _groups(maps: ScoreMaps, truths: Truths) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Rows and maps [n, h, w] of one shape, for images of one size; few enough at a time for the memory."""
    waiting: dict[tuple[int, ...], list[tuple[int, NDArray[np.float32]]]] = defaultdict(list)
    held = 0
    for row in range(len(truths)):
        cam = maps.read(row)
        key = (*cam.shape, int(truths.heights[row]), int(truths.widths[row]))
        waiting[key].append((row, cam))
        held += _pixels(key)
        if held >= _PIXELS_AT_ONCE:
            most = max(waiting, key=lambda each: len(waiting[each]) * _pixels(each))
            held -= len(waiting[most]) * _pixels(most)
            yield _stacked(waiting.pop(most))
    for each in waiting.values():
        yield _stacked(each)


def _pixels(key: tuple[int, ...]) -> int:
    height, width, image_height, image_width = key
    return height * width + math.prod(_frame(image_height, image_width))


def _frame(height: int, width: int) -> tuple[int, int]:
    """The size that maps of an image of this size are upsampled to."""
    scale = min(1.0, LARGEST_FRAME / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _stacked(
    pairs: list[tuple[int, NDArray[np.float32]]],
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    return np.array([row for row, _ in pairs]), np.stack([cam for _, cam in pairs])


def _room(count: int) -> Boxes:
    return Boxes(np.zeros((count, 4), np.float32), np.full(count, np.nan))


def _put(whole: Boxes, rows: NDArray[np.int64], part: Boxes) -> None:
    whole.boxes[rows], whole.ious[rows] = part.boxes, part.ious


def square_side(truths: Truths) -> int:
    """The side, in pixels, of the square that fixed boxes are made in and `wsoleval` maps are of.

    The images' own where all are one square, as a run of that size has it, else SQUARE_SIDE.
    """
    sides = set(truths.widths.tolist()) | set(truths.heights.tolist())
    return sides.pop() if len(sides) == 1 else SQUARE_SIDE


def write(
    folder: Path,
    names: Sequence[str],
    truths: Truths,
    labels: NDArray[np.str_],
    predicted: NDArray[np.str_],
    cams: NDArray[np.float32],
) -> None:
    """Write maps [N, h, w], labels [N] and predicted classes [N, up to 5] as boxes.csv and maps.npy of a new folder."""
    folder.mkdir(parents=True)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*REQUIRED, *OPTIONAL])
    for n, name in enumerate(names):
        own = truths.boxes[truths.offsets[n] : truths.offsets[n + 1]].tolist() or [[""] * len(SIDES)]
        for box in own:
            sides = [side if side == "" else f"{side:.9g}" for side in box]
            classes = SEPARATOR.join(predicted[n].tolist())
            writer.writerow([name, truths.widths[n], truths.heights[n], *sides, labels[n], classes])
    write_bytes(folder / "boxes.csv", text.getvalue().encode())
    write_durably(folder / "maps.npy", lambda file: np.save(file, cams))
