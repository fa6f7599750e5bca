"""Orientation: how an image must be turned to be seen as its camera was held. EXIF tells it, or else XMP."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fastwsol.sources import heif
from fastwsol.sources.jpeg_markers import JPEG_START, header_of
from fastwsol.sources.png_chunks import PNG_START, without_texts
from fastwsol.sources.tiff import TIFF_STARTS

PROFILES = (b"Raw profile type ", b"XML:com.adobe.xmp")
"""How the keywords of texts in a PNG begin that hold EXIF or XMP."""
_JPEG_MARKS = (b"Exif\0\0", b"http://ns.adobe.com/xap/")
_PNG_MARKS = (b"eXIf", *PROFILES)
_OTHER_MARKS = (b"Exif", b"EXIF", b"XMP ", b"irot", b"imir")
"""One of them is in each image that tells an orientation: in the header of a JPEG; in a WEBP or HEIF container."""
_FORMATS = ("JPEG", "PNG", "WEBP", "TIFF")
_ORIENTATION = 0x0112  # the tag


def orientation(image: bytes) -> int:
    """The orientation of an encoded JPEG, PNG, WEBP, TIFF, AVIF or HEIC, 1 to 8; 1, upright, where none can be read."""
    marks: tuple[bytes, ...] = _OTHER_MARKS
    place = image
    if image.startswith(JPEG_START):
        place, marks = header_of(image), _JPEG_MARKS
    elif image.startswith(PNG_START):
        marks = _PNG_MARKS
    if not image.startswith(TIFF_STARTS) and not any(mark in place for mark in marks):
        return 1
    if image.startswith(PNG_START):
        image = without_texts(image, keep=PROFILES)
    kind = heif.kind_of(image)
    try:
        with Image.open(io.BytesIO(image), formats=_FORMATS if kind is None else (kind,)) as opened:
            value = opened.getexif().get(_ORIENTATION, 1)
    except MemoryError:
        raise
    except Exception:  # on damaged data Pillow lets escape what it happens to stumble over
        return 1
    return value if value in range(1, 9) else 1


def upright_size(image: bytes) -> tuple[int, int]:
    """Width and height of an encoded image, turned upright, from its header. Raises ValueError where that cannot be
    read.
    """
    plain = without_texts(image) if image.startswith(PNG_START) else image
    if (kind := heif.kind_of(image)) is not None:
        heif.let_pillow_read(kind)
    try:
        with Image.open(io.BytesIO(plain)) as opened:
            width, height = opened.size
            how = 1 if plain is not image else opened.getexif().get(_ORIENTATION, 1)
            if opened.format == "TIFF" and _ORIENTATION in opened.tag_v2:  # type: ignore[attr-defined]
                how = 1  # which its size is of already; else XMP tells it
        # In a JPEG the orientation may stand elsewhere than in EXIF, in a PNG also where nothing can read it.
        how = orientation(image) if image.startswith((JPEG_START, PNG_START)) else how
    except Exception as error:
        raise ValueError(f"its header cannot be read ({error})") from None
    return (height, width) if how in (5, 6, 7, 8) else (width, height)


def turned(pixels: NDArray[np.uint8], how: int) -> NDArray[np.uint8]:
    """Pixels [H, W, 3] as the orientation `how` wants them shown."""
    if how in (5, 6, 7, 8):
        pixels = pixels.transpose(1, 0, 2)
    if how in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if how in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)
