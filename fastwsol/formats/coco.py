"""COCO's JSON: images, categories and, as annotations, the objects.

`bbox` is x, y, width, height in pixels; `segmentation` the object's mask, as run lengths or as polygons, and empty
where there is none; `area` its pixels, else the box's. The annotations alone are a COCO results list.

Ours, which other tools ignore: a category's `wnid`; an image's `category_id`, `probabilities` (of all classes in the
order of the categories) and `review`; an annotation's `score`, `probability`, `difficult`, `signals` and `certainty`;
the list `skipped`; `predicted`, how many images of a packed set have boxes that are predictions; and in `info` the
`part` that a process had and what certainties were `calibrated_on`.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
from numpy.typing import NDArray

import kernels
from fastwsol.formats.json_text import element, json_text, rounded, short
from fastwsol.formats.labelled_images import About, Images, LabelledImage, LabelledObject, Skipped
from fastwsol.formats.polygons import polygons
from fastwsol.host.files import naming
from fastwsol.sources.segmentations import SegmentationMask

Outline = Literal["runs", "polygons"]


def write_coco(file: BinaryIO, images: Images, about: About, outline: Outline = "runs") -> None:
    """Write images one at a time. outline: how masks are written."""
    categories = [
        {"id": number, "name": name, "wnid": one.wnid}
        for number, (one, name) in enumerate(zip(about.classes, about.names, strict=True), 1)
    ]
    info: dict[str, Any] = {"description": f"by fastwsol, {about.model}"}
    if about.calibrated_on is not None:
        info["calibrated_on"] = about.calibrated_on
    if about.part is not None:
        info["part"] = about.part._asdict()
    file.write(f'{{"info": {json_text(info)},\n"categories": {json_text(categories)},\n"images": ['.encode())
    count = objects = predicted = 0
    skipped: list[dict[str, str]] = []
    place = Path(tempfile.gettempdir())
    with tempfile.TemporaryFile() as annotations:  # they come with their images, and stand behind all of them
        for each in images:
            if isinstance(each, Skipped):
                skipped.append({"file_name": each.name, "reason": each.reason})
                continue
            count += 1
            predicted += each.of_predicted_set and each.is_predicted
            file.write(element(_image(each, count), first=count == 1))
            for thing in each.objects:
                objects += 1
                annotation = {"id": objects, "image_id": count, **_annotation(thing, outline)}
                with naming(place):
                    annotations.write(element(annotation, first=objects == 1))
        file.write(b'],\n"annotations": [')
        annotations.seek(0)
        shutil.copyfileobj(annotations, file)
    told = f',\n"predicted": {predicted}' if predicted else ""
    file.write(f'],\n"skipped": {json_text(skipped)}{told}}}\n'.encode())


def _image(image: LabelledImage, number: int) -> dict[str, Any]:
    found: dict[str, Any] = {"id": number, "file_name": image.name, "width": image.width, "height": image.height}
    if image.label is not None:
        found["category_id"] = image.label + 1
    if image.probabilities is not None:
        found["probabilities"] = rounded(image.probabilities)
    if image.review:
        found["review"] = image.review
    return found


def _annotation(thing: LabelledObject, outline: Outline) -> dict[str, Any]:
    x0, y0, x1, y1 = thing.box
    width, height = short(x1 - x0), short(y1 - y0)
    segmentation: Any = []
    area: float = short(width * height)
    runs = thing.mask.compressed_runs() if isinstance(thing.mask, SegmentationMask) and outline == "runs" else None
    if runs is not None:
        segmentation, area = runs
    elif thing.mask is not None:
        pixels = thing.mask()
        area = int(pixels.sum())
        segmentation = run_lengths(pixels)
        if outline == "polygons":
            segmentation = [ring.ravel().tolist() for ring in polygons(pixels)]
    found: dict[str, Any] = {
        "category_id": thing.label + 1,
        "bbox": [x0, y0, width, height],
        "segmentation": segmentation,
        "area": area,
        "iscrowd": 0,
    }
    for name, value in (("score", thing.score), ("probability", thing.probability)):
        if value is not None:
            found[name] = value
    if thing.difficult:
        found["difficult"] = 1
    if thing.signals is not None:
        found["signals"] = {name: round(value, 4) for name, value in thing.signals.items()}
    if thing.certainty is not None:
        found["certainty"] = round(thing.certainty, 4)
    return found


def run_lengths(mask: NDArray[np.bool_]) -> dict[str, object]:
    """A mask [H, W] as COCO has it compressed: `size` [H, W], and `counts`, the lengths of its runs column by column,
    background first, each less the one two before it, five bits a character.
    """
    from pycocotools import mask as coco_mask  # here: an evaluation of a run does without it

    height, width = mask.shape
    plain = {"size": [height, width], "counts": kernels.run_lengths(mask.astype(np.bool_, copy=False)).tolist()}
    return {"size": [height, width], "counts": coco_mask.frPyObjects(plain, height, width)["counts"].decode()}
