"""EXIF orientation: how an image must be turned to be seen as its camera was held."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_JPEG_START = b"\xff\xd8\xff"
_JPEG_MARK, _PNG_MARK, _WEBP_MARK = b"Exif\0\0", b"eXIf", b"EXIF"
_HEADER_BYTES = 2**16
"""A JPEG's EXIF segment begins within them."""
_ORIENTATION = 0x0112  # the tag


def orientation(image: bytes) -> int:
    """The EXIF orientation of an encoded JPEG, PNG or WEBP, 1 to 8; 1, upright, where none can be read."""
    if image.startswith(_JPEG_START):
        if _JPEG_MARK not in image[:_HEADER_BYTES]:
            return 1
    elif _PNG_MARK not in image and _WEBP_MARK not in image:
        return 1
    try:
        with Image.open(io.BytesIO(image), formats=["JPEG", "PNG", "WEBP"]) as opened:
            value = opened.getexif().get(_ORIENTATION, 1)
    except MemoryError:
        raise
    except Exception:  # on damaged data Pillow lets escape what it happens to stumble over
        return 1
    return value if value in range(1, 9) else 1


def turned(pixels: NDArray[np.uint8], how: int) -> NDArray[np.uint8]:
    """Pixels [H, W, 3] as the orientation `how` wants them shown."""
    if how in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if how in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if how in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
