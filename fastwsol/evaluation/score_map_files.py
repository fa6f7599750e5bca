"""Score maps of any network, from files, and the boxes they are measured on: what `evaluate --maps` reads.

The boxes file is CSV in UTF-8 with a header line and a line for each ground-truth box:

    name,width,height,x0,y0,x1,y1,label,predicted
    val/cat_1.jpg,500,375,12,30,240,375,cat,cat;dog
    val/cat_1.jpg,500,375,300,20,410,250,cat,cat;dog
    val/dog_7.jpg,320,240,,,,,dog,cat

`x0,y0,x1,y1` are half-open edges in the pixels of the image, which is of `width` x `height` (where the ends of your
boxes are inclusive, add 1 to x1 and y1); empty for an image without a box. `label` and `predicted` may be left out:
with `label` there are results by class, with both of them Top-1 rates, and with five predicted classes, `;` between
them, the most likely first, Top-5 rates (a `;` or a backslash in a name has a backslash before it). Lines of one image
say the same of all but its box. A box with a 1 in a column `difficult` is no ground truth; other columns, as of CSV
that `convert` wrote, are passed over and named.

Maps are NumPy files: in a folder one of [h, w] for each image, named like it with `.npy` behind (or instead of its
ending); or one file of [N, h, w] in the order in which the boxes file first names the images. A map covers its whole
image, in any size and range: it is upsampled to the image's size (of an image with a side above 1024 pixels, to one
scaled down to that) and normalised to 0..1 by its own extremes, unless --scale own says that its values are shares of
1 already, as a mask's. It is the true class's; where it is the predicted class's, --cam-class predicted says so, and
the rate is not called GT-known.

`about.json` beside the maps, as `evaluate RUN --export-maps` writes it, says that the maps cover a square that every
image was stretched to: they are then upsampled to that square, as a network's are, and the same boxes come out. It
names their scale and the localizer that made them, too. For maps without that file `--square` says the same: boxes
that are found at the image's own size are other ones by a pixel here and there, which moves rates by a point.
"""

from __future__ import annotations

import csv
import io
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from fastwsol.dataset.ragged_boxes import offsets_of
from fastwsol.evaluation.evaluated_images import EvaluatedImages
from fastwsol.evaluation.maps import MapGroup, NetworkMaps
from fastwsol.evaluation.per_image import ImageRows, join_classes, split_classes
from fastwsol.evaluation.truths import Truths
from fastwsol.host.errors import UserError
from fastwsol.host.files import csv_text, folder_when_whole, read_utf8, write_bytes, write_durably, write_json
from fastwsol.host.words import number_of, plain
from fastwsol.localizer.localizers import LocalizerName
from fastwsol.sources.annotated import IMAGE_SUFFIXES
from fastwsol.sources.boxes import OVERHANG, SIDES, Box, cut_at_edge, lies_in
from kernels import Scale

REQUIRED = ("name", "width", "height", *SIDES)
OPTIONAL = ("label", "predicted", "difficult")
LONGEST_SIDE = 1024
"""The longest side, in pixels, that a map is upsampled to."""

LARGEST_SQUARE = 4096
"""The longest side of the square that all maps are upsampled to."""

ABOUT_NAME = "about.json"
MAPS_NAME = "maps.npy"
ABOUT_MAKER = "fastwsol.evaluate --export-maps"

SQUARE_SIDE = 224
"""What the older evaluator takes on its own data sets."""

LARGEST_SIDE = 30_000  # of an image or a map, in pixels
_PIXELS_AT_ONCE = 2**25  # of maps held in memory, as they are or upsampled


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
        yield f"columns passed over: {', '.join(plain(name) or repr(name) for name in others)}"
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


class ScoreMaps:
    """The maps of the images of a boxes file: `fastwsol.evaluation.maps.Maps` over files."""

    def __init__(
        self,
        path: Path,
        images: EvaluatedImages,
        boxes_file: Path,
        scale: Scale | None = None,
        square: int | None = None,
    ) -> None:
        """Find every map. scale: what their values mean; None: what `about.json` says, else min-max. square: the side
        of the square that they are enlarged to; None: what `about.json` says, else the size of each image. Raises
        UserError naming what is missing.
        """
        if (path / MAPS_NAME).is_file() and (path / ABOUT_NAME).is_file():  # a folder of `write_maps`
            path = path / MAPS_NAME
        self._all: NDArray | None = None
        self.files: list[Path] = []
        about = _read_about(path if path.is_dir() else path.parent)
        self._stretched_to = square or about.square
        self.scale: Scale = scale or about.scale
        self.localizer = about.localizer
        """What made them, where `about.json` says so."""
        self._own_square = _common_side(images.truths)
        names = images.names
        self._folder = path if path.is_dir() else None
        if path.is_dir():
            self.files = [_find(path, name, boxes_file) for name in names]
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
                f"{path}: has shape {list(self._all.shape)}, and {boxes_file} names {len(names):,} images; "
                f"expected [{len(names)}, h, w], or a folder with one map an image"
            )
        self.files = [path] * len(names)

    @property
    def square(self) -> int:
        """The side of the square that the maps cover or, of others, that their images are; else `SQUARE_SIDE`."""
        return self._stretched_to or self._own_square or SQUARE_SIDE

    @property
    def covers_square(self) -> bool:
        """Whether the maps are enlarged to a square that every image is stretched to."""
        return self._stretched_to is not None

    def unused(self) -> int:
        """How many `.npy` files lie below the folder beside those of the images."""
        return len({*self._folder.rglob("*.npy")} - {*self.files}) if self._folder is not None else 0

    def groups(self, truths: Truths) -> Iterator[MapGroup]:
        """Maps of one shape, of images of one size; few enough at a time for the memory."""
        waiting: dict[tuple[int, int, int, int], list[tuple[int, NDArray[np.float32]]]] = defaultdict(list)
        pixels_held = 0
        for row in range(len(truths)):
            cam = self.read(row)
            key = (*cam.shape, *self._size(int(truths.heights[row]), int(truths.widths[row])))
            waiting[key].append((row, cam))
            pixels_held += _pixels(key)
            if pixels_held >= _PIXELS_AT_ONCE:
                most = max(waiting, key=lambda each: len(waiting[each]) * _pixels(each))
                pixels_held -= len(waiting[most]) * _pixels(most)
                yield _group(waiting.pop(most), most[2:])
        for key, each in waiting.items():
            yield _group(each, key[2:])

    def _size(self, height: int, width: int) -> tuple[int, int]:
        """What the maps of an image of this size are upsampled to."""
        if self._stretched_to:
            return self._stretched_to, self._stretched_to
        scale = min(1.0, LONGEST_SIDE / max(height, width))
        return max(1, round(height * scale)), max(1, round(width * scale))

    def read(self, row: int) -> NDArray[np.float32]:
        """Map [h, w] of image `row`. Raises UserError naming the file where it is none, or not finite."""
        stored = self._all[row] if self._all is not None else _load(self.files[row])
        where = f"{self.files[row]}" if self._all is None else f"{self.files[row]}, map {row}"
        if stored.ndim != 2 or 0 in stored.shape or max(stored.shape) > LARGEST_SIDE:
            raise UserError(f"{where}: has shape {list(stored.shape)}, expected [h, w], each of 1 to {LARGEST_SIDE}")
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
        least, most = float(values.min()), float(values.max())
        if self.scale == "own" and (least < 0 or most > 1):
            raise UserError(
                f"{where}: has values from {least:.3g} to {most:.3g}, and on a scale of its own they are shares of 1; "
                f"bring them there, or leave out --scale own"
            )
        return values


_IMAGE_SUFFIXES = {*IMAGE_SUFFIXES, ".heic", ".heif", ".avif", ".ppm"}


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
        remedy = "give every image a map, or take it out of the boxes file"
        if (folder / MAPS_NAME).is_file():
            remedy += f"; or are all maps in {folder / MAPS_NAME}? Then name that file"
        raise UserError(
            f"{' or '.join(map(str, candidates))}: no such file, and {annotations} names the image {name!r}; {remedy}"
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


def _pixels(key: tuple[int, int, int, int]) -> int:
    height, width, upsampled_height, upsampled_width = key
    return height * width + upsampled_height * upsampled_width


def _group(pairs: list[tuple[int, NDArray[np.float32]]], size: tuple[int, int]) -> MapGroup:
    return MapGroup(np.array([row for row, _ in pairs]), np.stack([cam for _, cam in pairs]), size)


def _common_side(truths: Truths) -> int | None:
    """The side of all images, where all are one square."""
    sides = set(truths.widths.tolist()) | set(truths.heights.tolist())
    return sides.pop() if len(sides) == 1 else None


class _About(NamedTuple):
    """What a file of ours says of the maps beside it."""

    square: int | None = None
    """The side of the square that they cover, in pixels."""
    scale: Scale = "min-max"
    localizer: LocalizerName | None = None


def _read_about(folder: Path) -> _About:
    """What is known of the maps in `folder`. Raises UserError for a damaged file."""
    path = folder / ABOUT_NAME
    try:
        about = json.loads(path.read_bytes())
    except FileNotFoundError:
        return _About()
    except (OSError, ValueError):
        about = {"made_by": ABOUT_MAKER}
    if not isinstance(about, dict) or about.get("made_by") != ABOUT_MAKER:
        return _About()  # of somebody else
    square, scale = about.get("square"), about.get("scale", "min-max")  # older files are of CAMs
    if type(square) is not int or not 1 <= square <= LARGEST_SQUARE:
        raise UserError(f"{path}: does not say which square the maps cover; export the maps anew, or remove the file")
    if scale not in get_args(Scale):
        raise UserError(f"{path}: does not say the maps' scale; export the maps anew, or remove the file")
    localizer = about.get("localizer")
    return _About(square, scale, localizer if localizer in get_args(LocalizerName) else None)


def write_maps(folder: Path, rows: ImageRows, truths: Truths, maps: NetworkMaps, localizer: LocalizerName) -> None:
    """Write a network's maps by a localizer, and what its evaluation says of each image, into a new folder, for
    `read_annotations` and `ScoreMaps`.
    """
    lines: list[Sequence[object]] = [[*REQUIRED, "label", "predicted"]]
    for n, name in enumerate(rows.names):
        own = truths.boxes[truths.offsets[n] : truths.offsets[n + 1]].tolist() or [[""] * len(SIDES)]
        for box in own:
            sides = [side if side == "" else f"{side:.9g}" for side in box]
            classes = join_classes(rows.predicted[n].tolist())
            lines.append([name, truths.widths[n], truths.heights[n], *sides, str(rows.labels[n]), classes])
    with folder_when_whole(folder) as new:
        write_bytes(new / "boxes.csv", csv_text(lines).encode())
        about = {"made_by": ABOUT_MAKER, "localizer": localizer, "square": maps.square, "scale": maps.scale}
        write_json(new / ABOUT_NAME, about)
        write_durably(new / MAPS_NAME, lambda file: np.save(file, maps.maps))
