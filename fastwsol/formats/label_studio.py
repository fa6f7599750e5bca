"""Label Studio's tasks, with objects as pre-annotations: rectangles, and of masks polygons and brush strokes too.

The labeling configuration (`labeling_configuration`) lies beside them, and may leave out those of its parts that are
not wanted, which are not shown then.

Coordinates are in percent of the image. An image's address is the prefix and its name, percent-encoded but for slashes;
a `verdict` beside it is a review's.
"""

from typing import Any, BinaryIO
from urllib.parse import quote
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from fastwsol.formats.json_text import element
from fastwsol.formats.labelled_images import About, Images, LabelledImage, LabelledObject, Skipped
from fastwsol.formats.polygons import polygons
from fastwsol.formats.xml_text import xml_text


def write_label_studio(file: BinaryIO, images: Images, about: About) -> None:
    """Write a task an image."""
    names = [xml_text(name) for name in about.names]  # as its configuration has them
    file.write(b"[")
    first = True
    for each in images:
        if isinstance(each, Skipped):
            continue
        result = [
            region for number, thing in enumerate(each.objects, 1) for region in _regions(each, thing, number, names)
        ]
        prediction: dict[str, Any] = {"model_version": about.model, "result": result}
        if each.listed:
            prediction["score"] = round(each.listed[0].probability, 6)
        data = {"image": about.image_prefix + quote(each.name)}
        if each.verdict:
            data["verdict"] = each.verdict
        task = {"data": data, "predictions": [prediction]}
        file.write(element(task, first))
        first = False
    file.write(b"]\n")


def labeling_configuration(about: About) -> bytes:
    """What Label Studio's project is set up with, so that it takes the tasks: XML with the names of all classes."""
    view = ElementTree.Element("View")
    ElementTree.SubElement(view, "Image", name="image", value="$image")
    for kind, name in (("RectangleLabels", "label"), ("PolygonLabels", "polygon"), ("BrushLabels", "brush")):
        labels = ElementTree.SubElement(view, kind, name=name, toName="image")
        for class_name in about.names:
            ElementTree.SubElement(labels, "Label", value=xml_text(class_name))
    ElementTree.indent(view)
    return ElementTree.tostring(view, "utf-8") + b"\n"


def _regions(image: LabelledImage, thing: LabelledObject, number: int, names: list[str]) -> list[dict[str, Any]]:
    """An object's rectangle, polygons and brush strokes."""
    common: dict[str, Any] = {
        "to_name": "image",
        "original_width": image.width,
        "original_height": image.height,
        "image_rotation": 0,
    }
    if thing.score is not None:
        common["score"] = thing.score
    label = [names[thing.label]]
    size = np.array([image.width, image.height])
    (x, y), (width, height) = _percent(thing.box[:2], size), _percent(np.subtract(thing.box[2:], thing.box[:2]), size)
    rectangle = {"x": x, "y": y, "width": width, "height": height, "rotation": 0, "rectanglelabels": label}
    found = [
        {"id": f"box{number}", "type": "rectanglelabels", "from_name": "label", **common, "value": rectangle},
    ]
    if thing.mask is None:
        return found
    pixels = thing.mask()
    for k, ring in enumerate(polygons(pixels), 1):
        value = {"points": [_percent(corner, size) for corner in ring], "closed": True, "polygonlabels": label}
        name = f"polygon{number}-{k}"
        found.append({"id": name, "type": "polygonlabels", "from_name": "polygon", **common, "value": value})
    if pixels.any():
        value = {"format": "rle", "rle": brush_runs(pixels), "brushlabels": label}
        found.append({"id": f"brush{number}", "type": "brushlabels", "from_name": "brush", **common, "value": value})
    return found


def _percent(pixels: Any, size: NDArray[np.int64]) -> list[float]:
    return [round(value, 6) for value in (100 * np.asarray(pixels, np.float64) / size).tolist()]


_WORD_BITS = 8
_SIZES = (3, 4, 8, 16)
"""Bits that a run's length may take."""


def brush_runs(mask: NDArray[np.bool_]) -> list[int]:
    """A mask [H, W] as a brush stroke's bytes: of the image's RGBA values, each pixel 255 four times or 0, row by row.

    The bytes are a stream of bits: the number of values in 32, the bits of a value less one in 5, the four sizes less
    one in 4 each; then blocks, of which each has a bit that is 1 where a value is repeated, two bits that choose a
    size, the count less one in that many bits, and the value in 8.
    """
    flat = mask.ravel()
    starts = np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1])
    lengths = 4 * np.diff(np.concatenate([starts, [flat.size]]))
    bits = [f"{4 * flat.size:032b}", f"{_WORD_BITS - 1:05b}", *(f"{size - 1:04b}" for size in _SIZES)]
    for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
        value = f"{255 * int(flat[start]):08b}"
        while length:
            count = min(length, 1 << _SIZES[-1])
            choice = next(k for k, size in enumerate(_SIZES) if count <= 1 << size)
            bits += ["1", f"{choice:02b}", f"{count - 1:0{_SIZES[choice]}b}", value]
            length -= count
    text = "".join(bits)
    text += "0" * (-len(text) % 8)
    return [*int(text, 2).to_bytes(len(text) // 8, "big")]
