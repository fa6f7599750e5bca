"""Score maps of any network, from files: what `evaluate --maps` reads.

They are measured on the boxes of a file (`fastwsol.evaluation.annotations_file`), and are NumPy files: in a folder one
of [h, w] for each image, named like it with `.npy` behind (or instead of its ending); or one file of [N, h, w] in the
order in which that file first names the images. A map covers its whole image, in any size and range: it is upsampled to
the image's size (of an image with a side above 1024 pixels, to one scaled down to that) and normalised to 0..1 by its
own extremes, unless --scale own says that its values are shares of 1 already, as a mask's. It is the true class's;
where it is the predicted class's, --cam-class predicted says so, and the rate is not called GT-known.

`about.json` beside the maps, as `evaluate RUN --export-maps` writes it, says that the maps cover a square that every
image was stretched to: they are then upsampled to that square, as a network's are, and the same boxes come out. It
names their scale and the localizer that made them, too. For maps without that file `--square` says the same: boxes
that are found at the image's own size are other ones by a pixel here and there, which moves rates by a point.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from fastwsol.evaluation.annotations_file import LARGEST_SIDE, REQUIRED
from fastwsol.evaluation.evaluated_images import EvaluatedImages
from fastwsol.evaluation.maps import MapGroup, NetworkMaps
from fastwsol.evaluation.per_image import ImageRows, join_classes
from fastwsol.evaluation.truths import Truths
from fastwsol.host.errors import UserError
from fastwsol.host.files import csv_text, folder_when_whole, write_bytes, write_durably, write_json
from fastwsol.localizer.localizers import LocalizerName
from fastwsol.sources.annotated import IMAGE_SUFFIXES
from fastwsol.sources.boxes import SIDES
from kernels import Scale

LONGEST_SIDE = 1024
"""The longest side, in pixels, that a map is upsampled to."""

LARGEST_SQUARE = 4096
"""The longest side of the square that all maps are upsampled to."""

ABOUT_NAME = "about.json"
MAPS_NAME = "maps.npy"
ABOUT_MAKER = "fastwsol.evaluate --export-maps"

SQUARE_SIDE = 224
"""What the older evaluator takes on its own data sets."""

_PIXELS_AT_ONCE = 2**25  # of maps held in memory, as they are or upsampled


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
