"""Pictures of predictions: the image, the first class's map as heat over it, and the boxes with class and score."""

import contextlib
import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from fastwsol.formats.folders import path_inside
from fastwsol.host.files import naming
from fastwsol.prediction.predictions import Prediction
from fastwsol.sources import Class
from kernels import Scale

LONGEST_SIDE = 1024
"""Pixels: larger images are drawn smaller."""
SHORTEST_SIDE = 320
"""Pixels of the longer side: smaller ones are drawn larger, so that a label can be read."""
_HEAT = 0.45  # how much of the picture is heat
_BOX_COLOR = (40, 220, 60)
_JPEG_QUALITY = 90


def draw(pixels: NDArray[np.uint8], prediction: Prediction) -> Image.Image:
    """The overlay of an upright image, uint8 [H, W, 3], which the prediction is of."""
    scale = min(LONGEST_SIDE / max(pixels.shape[:2]), max(1.0, SHORTEST_SIDE / max(pixels.shape[:2])))
    size = tuple(max(1, round(scale * side)) for side in (prediction.width, prediction.height))
    picture = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
    x, y, width, height = (round(scale * edge) for edge in prediction.shown)
    part = (x, y, x + max(1, width), y + max(1, height))
    coloured = heat(prediction.maps[0], (part[2] - part[0], part[3] - part[1]), prediction.scale)
    picture.paste(Image.blend(picture.crop(part), coloured, _HEAT), part)
    canvas = ImageDraw.Draw(picture)
    line = max(2, round(max(size) / 250))
    font, can_write_all = _font(max(11, round(max(size) / 40)))
    for box in reversed(prediction.boxes):  # the best one last, on top
        x0, y0, x1, y1 = (scale * edge for edge in (box.x0, box.y0, box.x1, box.y1))
        canvas.rectangle((x0, y0, max(x0, x1 - 1), max(y0, y1 - 1)), outline=_BOX_COLOR, width=line)
        name = Class(box.wnid, box.name).short_name
        text = f"{name if can_write_all else in_ascii(name)} {box.score:.2f}"
        _label(canvas, text, (x0, y0), font)
    return picture


def _font(size: int) -> tuple[ImageFont.FreeTypeFont | ImageFont.ImageFont, bool]:
    """A font of the system with most of the world's letters, and true; where there is none Pillow's own, which has
    ASCII's, and false.
    """
    for name in ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "LiberationSans-Regular.ttf", "Arial.ttf"):
        with contextlib.suppress(OSError):
            return ImageFont.truetype(name, size), True
    return ImageFont.load_default(size), False


def in_ascii(text: str) -> str:
    """A text as ASCII: letters without what stands above or below them, and `?` for what has no such form."""
    plain = unicodedata.normalize("NFKD", text.replace("ß", "ss"))
    return "".join(each for each in plain if not unicodedata.combining(each)).encode("ascii", "replace").decode()


def heat(cam: NDArray[np.float32], size: tuple[int, ...], scale: Scale) -> Image.Image:
    """A map [h, w], on its scale of 0..1 and enlarged to `size` (width, height), in colours from blue over green to
    red.
    """
    width, height = size
    low, high = (0.0, 1.0) if scale == "own" else (float(cam.min()), float(cam.max()))
    levels = (cam - low) / (high - low) if high > low else np.zeros_like(cam)
    enlarged = Image.fromarray(levels.astype(np.float32)).resize((width, height), Image.Resampling.BILINEAR)
    grey = Image.fromarray(np.rint(255 * np.asarray(enlarged)).astype(np.uint8))
    return ImageOps.colorize(grey, black=(0, 0, 160), mid=(60, 220, 60), white=(230, 0, 0))


def overlay_file(name: str) -> PurePosixPath:
    """Where the overlay of image `name` goes, below the folder of overlays."""
    path = path_inside(name)
    return path.with_name(f"{path.name}.jpg")


def overlay_paths(folder: Path, names: Iterable[str]) -> list[Path]:
    """Where the overlays of images go, a place for each: where two names would share one, which a file system that
    minds no case has more often, the later ones are numbered.
    """
    taken: set[str] = set()
    paths = []
    for name in names:
        path = first = folder / overlay_file(name)
        number = 1
        while str(path).lower() in taken:
            number += 1
            path = first.with_name(f"{first.name.removesuffix('.jpg')} ({number}).jpg")
        taken.add(str(path).lower())
        paths.append(path)
    return paths


def save(path: Path, prediction: Prediction, pixels: NDArray[np.uint8]) -> None:
    """Draw the overlay of `prediction` and write it to `path`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with naming(path):
        draw(pixels, prediction).save(path, quality=_JPEG_QUALITY)


def _label(
    canvas: ImageDraw.ImageDraw,
    text: str,
    corner: tuple[float, float],
    font: ImageFont.FreeTypeFont | ImageFont.ImageFont,
) -> None:
    """Write `text` on a ground of its own at a box's upper left corner, inside the picture."""
    x, y = corner
    left, top, right, bottom = canvas.textbbox((0, 0), text, font=font)
    pad = 2
    width, height = right - left + 2 * pad, bottom - top + 2 * pad
    x = max(0, min(x, canvas.im.size[0] - width))
    y = y - height if y >= height else y
    canvas.rectangle((x, y, x + width, y + height), fill=_BOX_COLOR)
    canvas.text((x + pad - left, y + pad - top), text, fill=(0, 0, 0), font=font)
