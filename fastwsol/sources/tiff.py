"""TIFF as it is stored: Pillow turns it while it decodes, where every other format is turned here, and it fills what is
missing. Damage within a compressed strip that still decodes is not seen.
"""

import math
from typing import Any

from PIL import ExifTags, Image

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""How a file begins; the last two are BigTIFF."""
_UPRIGHT = 1
_WHITE_IS_ZERO = 0
_IN_PLANES = 2


def do_not_turn(opened: Image.Image) -> None:
    """Have Pillow decode a TIFF that it has opened to the pixels as they lie in the file."""
    opened.getexif()[ExifTags.Base.Orientation] = _UPRIGHT


def check_tiff(opened: Image.Image) -> None:
    """Raise ValueError for a TIFF that Pillow has opened and would decode to other pixels than it has: one that lists
    fewer strips or tiles than it is made of, and one of 16 bits of which 0 is white. Other formats pass.
    """
    tags: Any = getattr(opened, "tag_v2", None)
    if not tags:
        return
    height, width = tags.get(ExifTags.Base.ImageLength, 0), tags.get(ExifTags.Base.ImageWidth, 0)
    if ExifTags.Base.TileOffsets in tags:
        offsets = tags[ExifTags.Base.TileOffsets]
        down, across = (tags.get(tag) or 1 for tag in (ExifTags.Base.TileLength, ExifTags.Base.TileWidth))
        parts = math.ceil(height / down) * math.ceil(width / across)
    else:
        offsets = tags.get(ExifTags.Base.StripOffsets, ())
        parts = math.ceil(height / min(tags.get(ExifTags.Base.RowsPerStrip) or height, height or 1))
    if tags.get(ExifTags.Base.PlanarConfiguration) == _IN_PLANES:
        parts *= tags.get(ExifTags.Base.SamplesPerPixel, 1)
    if len(offsets) < parts:
        raise ValueError(f"damaged: a TIFF that lists {len(offsets)} of its {parts} strips or tiles")
    if opened.mode.startswith("I") and tags.get(ExifTags.Base.PhotometricInterpretation) == _WHITE_IS_ZERO:
        raise ValueError("16 bits of which 0 is white; convert it to 8 bits")
