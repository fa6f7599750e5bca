"""CSV and JSON lines.

- csv: a line an object, `name,width,height,x0,y0,x1,y1,label,score,probability`, in pixels, x1 and y1 exclusive; for
  an image without any a line without a box, with its class. Of packed sets `label` is the image's class, as `pack
  --boxes` and `evaluate --boxes` take it, where no object has another; and `difficult` (0 or 1) stands behind, and the
  `verdict` of a review on the image, where there is one.
- jsonl: a JSON object a line and image, with classes, objects and a review's `verdict`, and the images that were
  skipped with the reason.
"""

from typing import Any, BinaryIO

from fastwsol.formats.json_text import json_text, rounded
from fastwsol.formats.labelled_images import About, Images, LabelledImage, Skipped
from fastwsol.host.files import csv_text

CSV_COLUMNS = ("name", "width", "height", "x0", "y0", "x1", "y1", "label", "score", "probability")


def write_csv(file: BinaryIO, images: Images, about: About) -> None:
    """Write a line an object."""
    file.write(csv_text([(*CSV_COLUMNS, "difficult", "verdict")]).encode())
    for each in images:
        if not isinstance(each, Skipped):
            file.write(csv_text(_rows(each, about)).encode())


def _rows(image: LabelledImage, about: About) -> list[list[object]]:
    size = (image.name, image.width, image.height)
    if image.objects:
        return [
            [
                *size,
                *thing.box,
                about.classes[thing.label].wnid,
                _or_empty(thing.score),
                _or_empty(thing.probability),
                int(thing.difficult),
                image.verdict,
            ]
            for thing in image.objects
        ]
    wnid = "" if image.label is None else about.classes[image.label].wnid
    return [
        [
            *size,
            *[""] * 4,
            wnid,
            "",
            round(image.listed[0].probability, 6) if image.listed else "",
            "",
            image.verdict,
        ]
    ]


def _or_empty(value: float | None) -> float | str:
    return "" if value is None else value


def write_json_lines(file: BinaryIO, images: Images, about: About) -> None:
    """Write a line an image."""
    for each in images:
        value = {"name": each.name, "skipped": each.reason} if isinstance(each, Skipped) else _object(each, about)
        file.write(json_text(value).encode() + b"\n")


def _object(image: LabelledImage, about: About) -> dict[str, Any]:
    found: dict[str, Any] = {"name": image.name, "width": image.width, "height": image.height}
    if image.listed:
        found["classes"] = [_named(about, each.label) | {"probability": each.probability} for each in image.listed]
    elif image.label is not None:
        found["class"] = _named(about, image.label)
    if image.verdict:
        found["verdict"] = image.verdict
    found["boxes"] = [
        {
            **_named(about, thing.label),
            "box": [*thing.box],
            **{
                name: value
                for name, value in (("score", thing.score), ("probability", thing.probability))
                if value is not None
            },
            **({"difficult": True} if thing.difficult else {}),
            **({"signals": {**thing.signals}} if thing.signals is not None else {}),
            **({"certainty": thing.certainty} if thing.certainty is not None else {}),
        }
        for thing in image.objects
    ]
    if image.probabilities is not None:
        found["probabilities"] = rounded(image.probabilities)
    return found


def _named(about: About, label: int) -> dict[str, str]:
    return {"wnid": about.classes[label].wnid, "name": about.classes[label].name}
