"""TIFF as it is stored: Pillow turns it while it decodes, where every other format is turned here."""

from PIL import ExifTags, Image

TIFF_STARTS = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
"""How a file begins; the last two are BigTIFF."""
_UPRIGHT = 1


def do_not_turn(opened: Image.Image) -> None:
    """Have Pillow decode a TIFF that it has opened to the pixels as they lie in the file."""
    opened.getexif()[ExifTags.Base.Orientation] = _UPRIGHT
