"""Predictions as folders with a file an image, which training tools and annotation tools read.

- yolo: `images/NAME`, a copy of each image; `labels/NAME.txt`, a line a box, `class x y width height`, the middle and
  the sides as shares of the image, empty for an image without a box; and `data.yaml`, which names the classes, and all
  images as train and val, as Ultralytics' tools take it. It holds no score and no mask.
- voc: `Annotations/NAME.xml`, Pascal VOC's, an `object` a box. VOC counts pixels from 1 and its ends are the last
  pixels, so edges are rounded outwards to whole ones. It holds no score and no mask.

Images that could not be read are left out.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import ceil, floor
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

from fastwsol.host.files import naming
from fastwsol.prediction.predictions import Prediction, ScoredBox, Skipped
from fastwsol.prediction.user_images import NamedImage, path_inside, refuse_shared_files

FolderFormat = Literal["yolo", "voc"]

Answers = Iterable[Prediction | Skipped]
Classes = Sequence[tuple[str, str]]
"""Wnids and names in label order."""


def export_folder(
    folder: Path, form: FolderFormat, images: Sequence[NamedImage], predictions: Answers, classes: Classes
) -> None:
    """Fill `folder` with the predictions of `images`, in their order. Raises UserError where two images would share a
    file.
    """
    refuse_shared_labels(form, images)
    _WRITERS[form](folder, images, predictions, classes)


def refuse_shared_labels(form: FolderFormat, images: Sequence[NamedImage]) -> None:
    """Raise UserError where two images would share a file of annotations."""
    suffix = {"yolo": ".txt", "voc": ".xml"}[form]
    refuse_shared_files(f"--format {form}", images, lambda name: path_inside(name).with_suffix(suffix))


def _read(images: Sequence[NamedImage], predictions: Answers) -> Iterator[tuple[NamedImage, Prediction]]:
    """Each image that could be read with its prediction."""
    for image, each in zip(images, predictions, strict=True):
        if isinstance(each, Prediction):
            yield image, each


def _write_yolo(folder: Path, images: Sequence[NamedImage], predictions: Answers, classes: Classes) -> None:
    numbers = {wnid: number for number, (wnid, _) in enumerate(classes)}
    for image, each in _read(images, predictions):
        path = path_inside(image.name)
        assert image.encoded is not None  # of a file
        _write(folder / "images" / path, image.encoded())
        lines = [_yolo_line(numbers[box.wnid], box, each) for box in each.boxes]
        _write((folder / "labels" / path).with_suffix(".txt"), "".join(lines).encode())
    # JSON is YAML: quoted so, any name of a class stays itself.
    names = "".join(f"  {number}: {json.dumps(name)}\n" for number, (_, name) in enumerate(classes))
    _write(folder / "data.yaml", f"train: images\nval: images\nnames:\n{names}".encode())


def _yolo_line(number: int, box: ScoredBox, image: Prediction) -> str:
    x, y = (box.x0 + box.x1) / 2 / image.width, (box.y0 + box.y1) / 2 / image.height
    width, height = (box.x1 - box.x0) / image.width, (box.y1 - box.y0) / image.height
    return f"{number} {x:.6f} {y:.6f} {width:.6f} {height:.6f}\n"


def _write_voc(folder: Path, images: Sequence[NamedImage], predictions: Answers, classes: Classes) -> None:
    for image, each in _read(images, predictions):
        path = path_inside(image.name)
        root = ElementTree.Element("annotation")
        _add(root, "folder", str(path.parent))
        _add(root, "filename", path.name)
        size = ElementTree.SubElement(root, "size")
        for name, value in (("width", each.width), ("height", each.height), ("depth", 3)):
            _add(size, name, str(value))
        _add(root, "segmented", "0")
        for box in each.boxes:
            thing = ElementTree.SubElement(root, "object")
            for name, text in (("name", box.name), ("pose", "Unspecified"), ("truncated", "0"), ("difficult", "0")):
                _add(thing, name, text)
            edges = ElementTree.SubElement(thing, "bndbox")
            for name, value in (
                ("xmin", floor(box.x0) + 1),
                ("ymin", floor(box.y0) + 1),
                ("xmax", ceil(box.x1)),
                ("ymax", ceil(box.y1)),
            ):
                _add(edges, name, str(value))
        ElementTree.indent(root)
        _write((folder / "Annotations" / path).with_suffix(".xml"), ElementTree.tostring(root, "utf-8") + b"\n")


def _add(parent: ElementTree.Element, name: str, text: str) -> None:
    ElementTree.SubElement(parent, name).text = text


def _write(path: Path, content: bytes) -> None:
    with naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


_WRITERS: dict[FolderFormat, Callable[[Path, Sequence[NamedImage], Answers, Classes], None]] = {
    "yolo": _write_yolo,
    "voc": _write_voc,
}
