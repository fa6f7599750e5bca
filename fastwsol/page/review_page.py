"""The page of a review: which images are reviewed, in which order, and all that the page needs of each.

First those that are drawn without help, where some are, and the random sample, both drawn from all images; then the
least certain of the others.
"""

import base64
import hashlib
import html
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from string import Template
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fastwsol.draws import review_order
from fastwsol.evaluation.certainty import best_object, uncalibrated
from fastwsol.formats.coco import run_lengths
from fastwsol.formats.labelled_images import About, LabelledImage
from fastwsol.sources.encode import encoded
from fastwsol.sources.verdicts import Phase

LONGEST_SIDE = 512
"""Pixels that an image has on the page at most; larger ones are shrunk."""
_JPEG_QUALITY = 78


@dataclass(frozen=True)
class Sizes:
    """How many images are reviewed: drawn without help, in the random sample, and of the least certain."""

    drawn: int
    sample: int
    uncertain: int


def chosen(certainties: NDArray[np.float64], sizes: Sizes, seed: int) -> list[tuple[int, Phase]]:
    """The places of the images to look at, in order, each with why. certainties: of all images, [N]."""
    order = review_order(len(certainties), seed).tolist()
    drawn, sample = order[: sizes.drawn], order[sizes.drawn : sizes.drawn + sizes.sample]
    others = np.setdiff1d(np.arange(len(certainties)), [*drawn, *sample])
    least = others[np.argsort(certainties[others], kind="stable")][: sizes.uncertain].tolist()
    found: list[tuple[int, Phase]] = [(place, "drawn") for place in drawn]
    found += [(place, "sample") for place in sample]
    found += [(place, "uncertain") for place in least]
    return found


def certainty(image: LabelledImage) -> float:
    """How sure a prediction is of an image: where it was calibrated the chance that it is right."""
    best = best_object(image)
    return uncalibrated(image) if best is None or best.certainty is None else best.certainty


def page(
    title: str,
    images: Sequence[tuple[int, LabelledImage, Phase]],
    pixels_of: Callable[[LabelledImage], NDArray[np.uint8]],
    about: About,
    seed: int,
) -> str:
    """The page. images: each with its number in the predictions and why it is looked at; pixels_of: gives an image
    upright, uint8 [H, W, 3].
    """
    shown, pictures = [], []
    for place, (number, image, phase) in enumerate(images):
        pictures.append(f'<script type="text/plain" id="p{place}">{_picture(pixels_of(image))}</script>')
        shown.append(
            {
                "id": number,
                "name": image.name,
                "width": image.width,
                "height": image.height,
                "label": image.label,
                "phase": phase,
                "objects": [
                    {
                        "label": each.label,
                        "box": [round(edge, 4) for edge in each.box],
                        "score": each.score,
                        **({"difficult": 1} if each.difficult else {}),
                        "counts": None if each.mask is None else run_lengths(each.mask())["counts"],
                    }
                    for each in image.objects
                ],
            }
        )
    phases = {phase: sum(each == phase for *_, each in images) for phase in ("drawn", "sample", "uncertain")}
    data: dict[str, Any] = {
        "classes": about.names,
        "categories": [
            {"id": number, "name": name, "wnid": one.wnid}
            for number, (one, name) in enumerate(zip(about.classes, about.names, strict=True), 1)
        ],
        "phases": phases,
        "seed": seed,
        "images": shown,
    }
    data["key"] = hashlib.sha256(json.dumps(data).encode()).hexdigest()[:16]
    # No text in it can begin or end an element; JSON reads the escape as the same character.
    text = json.dumps(data, allow_nan=False).replace("<", "\\u003c")
    parts = {name: resources.files("fastwsol.page").joinpath(f"review.{name}").read_text("utf-8") for name in _PARTS}
    return Template(parts["html"]).substitute(
        title=html.escape(title), css=parts["css"], js=parts["js"], data=text, pictures="\n".join(pictures)
    )


_PARTS = ("html", "css", "js")


def _picture(pixels: NDArray[np.uint8]) -> str:
    """An image as base64 of a JPEG, shrunk where it is large."""
    picture = Image.fromarray(pixels)
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return base64.b64encode(encoded(picture, "JPEG", quality=_JPEG_QUALITY)).decode()
