"""YOLO's folders, as Ultralytics' tools train on them.

images/[SPLIT/]NAME       the images as they are, a JPEG under an ending that Ultralytics knows; what it does not take,
                          or not everywhere (a GIF, of which the first frame, AVIF and HEIC), as PNG; what EXIF or XMP
                          turns upright, encoded anew
labels/[SPLIT/]NAME.txt   a line an object: `class x y width height`, the middle and the sides as shares of the
                          image; or for segmentation `class x y x y ...`, the corners of its mask's outline, and of
                          its box where it has no mask; empty for an image without an object
data.yaml                 the splits' folders and the names of the classes; `predicted`: how many images have boxes that
                          a network predicted and nobody has judged, where some have

Ultralytics finds an image's labels by the last `images` in its path, so a folder of that name in NAME is called
`images-`.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from fastwsol.formats.folders import as_it_is_read, image_file, in_split, path_inside, upright, write_file
from fastwsol.formats.labelled_images import About, Images, LabelledImage, LabelledObject, Skipped
from fastwsol.formats.polygons import one_polygon
from fastwsol.host.errors import UserError


def write_yolo(folder: Path, splits: Mapping[str, Images], about: About, segments: bool) -> None:
    """Write the images of each split, "" for a set without splits, their labels, and `data.yaml`, which every reader
    takes for the set. A set without splits is both train and val. Raises UserError where outlines are asked for, and no
    object has a mask.
    """
    predicted = accepted = objects = masks = 0
    for split, images in splits.items():
        for each in _written(folder, split, images, segments):
            predicted += each.is_predicted
            accepted += each.is_accepted
            objects += len(each.objects)
            masks += sum(thing.mask is not None for thing in each.objects)
    if segments and objects and not masks:
        raise UserError("--format yolo-segments: no object has a mask; choose --format yolo")
    train, val = (f"images/{split}" if split else "images" for split in (next(iter(splits)), [*splits][-1]))
    # JSON is YAML: quoted so, any name of a class stays itself.
    names = "".join(f"  {number}: {_quoted(name)}\n" for number, name in enumerate(about.names))
    counts = (("predicted", predicted), ("accepted", accepted))
    said = "".join(f"{name}: {count}\n" for name, count in counts if count)
    write_file(folder / "data.yaml", f"train: {train}\nval: {val}\n{said}names:\n{names}".encode())


def _written(folder: Path, split: str, images: Images, segments: bool) -> Iterator[LabelledImage]:
    """Write the images of a split, and pass them on."""
    for each in images:
        if isinstance(each, Skipped):
            continue
        assert each.encoded is not None
        encoded = upright(as_it_is_read(each.encoded(), each.name))
        path = in_split(_without_images(image_file(each.name, encoded)), split)
        if path.suffix.lower() in _UNKNOWN_ENDINGS:
            path = path.with_name(f"{path.name}.jpg")
        write_file(folder / "images" / path, encoded)
        lines = [(_corners if segments else _box)(thing, each) for thing in each.objects]
        write_file((folder / "labels" / path).with_suffix(".txt"), "".join(lines).encode())
        yield each


_UNKNOWN_ENDINGS = (".jpe", ".jfif")
"""Of JPEG. Ultralytics ignores files that end so."""


def label_file(name: str) -> PurePosixPath:
    """Where the labels of an image of this name go, below the folder of labels."""
    return _without_images(path_inside(name)).with_suffix(".txt")


def _without_images(path: PurePosixPath) -> PurePosixPath:
    """A path with no folder that is called `images`."""
    return PurePosixPath(*("images-" if part == "images" else part for part in path.parts[:-1]), path.name)


def _quoted(name: str) -> str:
    """A text in YAML's double quotes: as JSON has it, characters beyond ASCII written plainly where YAML has them."""
    return _NOT_PLAIN.sub(lambda one: f"\\u{ord(one[0]):04x}", json.dumps(name, ensure_ascii=False))


_NOT_PLAIN = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")


def _box(thing: LabelledObject, image: LabelledImage) -> str:
    x0, y0, x1, y1 = thing.box
    x, y = (x0 + x1) / 2 / image.width, (y0 + y1) / 2 / image.height
    width, height = (x1 - x0) / image.width, (y1 - y0) / image.height
    return f"{thing.label} {x:.6f} {y:.6f} {width:.6f} {height:.6f}\n"


def _corners(thing: LabelledObject, image: LabelledImage) -> str:
    outline = None if thing.mask is None else one_polygon(thing.mask())
    if outline is None:
        x0, y0, x1, y1 = thing.box
        corners = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    else:
        corners = outline.astype(np.float64)
    shares = corners / (image.width, image.height)
    return " ".join([str(thing.label), *(f"{value:.6f}" for value in shares.ravel())]) + "\n"
