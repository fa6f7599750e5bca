"""Pixels as encoded images."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def encoded(picture: Image.Image, form: str, **options: Any) -> bytes:
    """A picture in one of Pillow's formats, with the options of that."""
    file = io.BytesIO()
    picture.save(file, form, **options)
    return file.getvalue()


def as_png(pixels: NDArray[np.uint8]) -> bytes:
    """Pixels [H, W, 3], or grey ones [H, W] as of a mask, as a PNG."""
    return encoded(Image.fromarray(pixels), "PNG")  # optimize=True takes three times as long, and spares little
