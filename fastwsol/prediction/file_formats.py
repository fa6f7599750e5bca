"""Predictions as files that other tools read. Each writer takes them one at a time and holds none.

- coco: COCO's JSON with images, categories and, as annotations, the boxes with their scores (`bbox` x, y, width, height
  in pixels; `segmentation` is what a mask keeps in the box, as run lengths, `area` its pixels; of other maps it is the
  box's outline). pycocotools loads it; its `annotations` alone are a COCO results list.
- csv: a line a box, `name,width,height,x0,y0,x1,y1,label,score,probability`, in pixels, x1 and y1 exclusive; one line
  without a box for an image without any. `scripts/pack.py --boxes` takes it.
- jsonl: a JSON object a line and image, with classes and boxes, and the images that were skipped with the reason.
- label-studio: tasks with pre-annotations, in percent of the image, for a labeling configuration whose
  `<Image name="image">` and `<RectangleLabels name="label" toName="image">` are called so. An image's address is the
  prefix and its name, percent-encoded but for slashes.
"""

import json
import shutil
import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Literal
from urllib.parse import quote

from fastwsol.host.files import csv_text, naming
from fastwsol.prediction.masks import run_lengths
from fastwsol.prediction.predictions import Prediction, ScoredBox, Skipped

Format = Literal["coco", "csv", "jsonl", "label-studio"]

CSV_COLUMNS = ("name", "width", "height", "x0", "y0", "x1", "y1", "label", "score", "probability")

_BY_SUFFIX: dict[str, Format] = {".json": "coco", ".csv": "csv", ".jsonl": "jsonl"}


@dataclass(frozen=True)
class About:
    """What predictions are of. `classes`: wnids and names in label order."""

    model: str
    """The run and its step."""
    classes: tuple[tuple[str, str], ...]
    image_prefix: str = ""
    """What stands before an image's name in Label Studio's tasks: the address of their folder."""


Predictions = Iterable[Prediction | Skipped]


def format_of(suffix: str) -> Format | None:
    """The format that a file's ending stands for, or None."""
    return _BY_SUFFIX.get(suffix.lower())


def export(file: BinaryIO, form: Format, predictions: Predictions, about: About) -> None:
    """Write `predictions` to `file` in the format `form`."""
    _WRITERS[form](file, predictions, about)


def _write_coco(file: BinaryIO, predictions: Predictions, about: About) -> None:
    numbers = {wnid: number for number, (wnid, _) in enumerate(about.classes, 1)}
    categories = [{"id": numbers[wnid], "name": name, "wnid": wnid} for wnid, name in about.classes]
    info = {"description": f"boxes by fastwsol, {about.model}"}
    file.write(f'{{"info": {_json(info)},\n"categories": {_json(categories)},\n"images": ['.encode())
    images = boxes = 0
    place = Path(tempfile.gettempdir())
    with tempfile.TemporaryFile() as annotations:  # they come with their images, and stand behind all of them
        for each in predictions:
            if isinstance(each, Skipped):
                continue
            images += 1
            image = {"id": images, "file_name": each.name, "width": each.width, "height": each.height}
            file.write(_element(image, first=images == 1))
            for box in each.boxes:
                boxes += 1
                x, y, width, height = _rounded(box.x0, box.y0, box.x1 - box.x0, box.y1 - box.y0)
                outline: Any = [[x, y, x + width, y, x + width, y + height, x, y + height]]
                area = round(width * height, 4)
                if each.scale == "own":
                    mask = each.mask(box)
                    outline, area = run_lengths(mask), int(mask.sum())
                annotation = {
                    "id": boxes,
                    "image_id": images,
                    "category_id": numbers[box.wnid],
                    "bbox": [x, y, width, height],
                    "segmentation": outline,
                    "area": area,
                    "iscrowd": 0,
                    "score": box.score,
                }
                with naming(place):
                    annotations.write(_element(annotation, first=boxes == 1))
        file.write(b'],\n"annotations": [')
        annotations.seek(0)
        shutil.copyfileobj(annotations, file)
    file.write(b"]}\n")


def _write_csv(file: BinaryIO, predictions: Predictions, about: About) -> None:
    file.write(csv_text([CSV_COLUMNS]).encode())
    for each in predictions:
        if isinstance(each, Skipped):
            continue
        image = (each.name, each.width, each.height)
        rows = [
            [*image, *_rounded(box.x0, box.y0, box.x1, box.y1), box.wnid, box.score, box.probability]
            for box in each.boxes
        ]
        if not rows:
            likeliest = each.classes[0]
            rows = [[*image, *[""] * 4, likeliest.wnid, "", likeliest.probability]]
        file.write(csv_text(rows).encode())


def _write_json_lines(file: BinaryIO, predictions: Predictions, about: About) -> None:
    for each in predictions:
        if isinstance(each, Skipped):
            value: dict[str, Any] = {"name": each.name, "skipped": each.reason}
        else:
            value = {
                "name": each.name,
                "width": each.width,
                "height": each.height,
                "classes": [one._asdict() for one in each.classes],
                "boxes": [
                    {
                        "wnid": box.wnid,
                        "name": box.name,
                        "box": _edges(box),
                        "score": box.score,
                        "probability": box.probability,
                    }
                    for box in each.boxes
                ],
            }
        file.write(_json(value).encode() + b"\n")


def _write_label_studio(file: BinaryIO, predictions: Predictions, about: About) -> None:
    file.write(b"[")
    first = True
    for each in predictions:
        if isinstance(each, Skipped):
            continue
        prediction = {
            "model_version": about.model,
            "score": each.classes[0].probability,
            "result": [_region(each, box, number) for number, box in enumerate(each.boxes, 1)],
        }
        task = {"data": {"image": about.image_prefix + quote(each.name)}, "predictions": [prediction]}
        file.write(_element(task, first))
        first = False
    file.write(b"]\n")


def _region(image: Prediction, box: ScoredBox, number: int) -> dict[str, Any]:
    """A box as Label Studio has it: in percent of the image."""
    x0, x1 = 100 * box.x0 / image.width, 100 * box.x1 / image.width
    y0, y1 = 100 * box.y0 / image.height, 100 * box.y1 / image.height
    x, y, width, height = _rounded(x0, y0, x1 - x0, y1 - y0)
    return {
        "id": f"box{number}",
        "type": "rectanglelabels",
        "from_name": "label",
        "to_name": "image",
        "original_width": image.width,
        "original_height": image.height,
        "image_rotation": 0,
        "value": {"x": x, "y": y, "width": width, "height": height, "rotation": 0, "rectanglelabels": [box.name]},
        "score": box.score,
    }


_WRITERS: dict[Format, Callable[[BinaryIO, Predictions, About], None]] = {
    "coco": _write_coco,
    "csv": _write_csv,
    "jsonl": _write_json_lines,
    "label-studio": _write_label_studio,
}


def _element(value: dict[str, Any], first: bool) -> bytes:
    """An element of a JSON array, with what stands before it."""
    return ("\n" if first else ",\n").encode() + _json(value).encode()


def _json(value: Any) -> str:
    return json.dumps(value, allow_nan=False)


def _edges(box: ScoredBox) -> list[float]:
    return _rounded(box.x0, box.y0, box.x1, box.y1)


def _rounded(*values: float) -> list[float]:
    """To a ten-thousandth, so that a float32's digits beyond its precision do not fill the file."""
    return [round(value, 4) for value in values]
