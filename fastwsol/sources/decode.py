"""Judge images by decoding them: the one place where packing looks at pixels.

Images that a decoder repairs in silence are refused here: training sees each image hundreds of times, and a decoder
there fills in missing or damaged data without a word. (A JPEG has no checksum, so damage that still reads as pixels
remains.) Size limits are held against the header, before any pixel is decoded. Where decoders make different pixels of
a healthy image, it is packed in a form of which all make the same.
"""

import contextlib
import io
import struct
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from fastwsol.sources import heif
from fastwsol.sources.encode import as_png
from fastwsol.sources.jpeg_markers import JPEG_START, JpegFacts, read_markers
from fastwsol.sources.orientation import orientation, turned
from fastwsol.sources.png_chunks import PNG_START, without_texts
from fastwsol.sources.tiff import TIFF_STARTS, check_tiff, do_not_turn
from kernels.compiling import njit

MAX_IMAGE_BYTES = 32 * 2**20
"""Largest encoded image: half a shard. ImageNet's largest has 15 MB."""
MAX_SIDE = 16_384
"""Most pixels a side."""
MAX_PIXELS = 64 * 2**20
"""Most pixels of an image: 192 MiB once decoded, in each decoding thread."""
MIN_SIDE = 8
"""Fewest pixels a side, a JPEG block: what is smaller is a placeholder."""

GIF_START = b"GIF8"
_JPEG_QUALITY = 95
_PNG_END = b"IEND\xaeB`\x82"

TURNED = "upright, encoded anew, as their EXIF or XMP turns them"
ANEW = "as PNG of 8 bits, since decoders differ about them"
AS_PNG = "as PNG, since few decoders know HEIC and AVIF"
FROM_GIF_OR_TIFF = "as PNG, since few decoders know GIF and TIFF"
AS_JPEG = f"as JPEG of quality {_JPEG_QUALITY}, since few decoders know HEIC and AVIF"
MENDED = "with scan headers as their frames ask for"
DARK = "as PNG of 8 bits, nearly black, as they use some sixteenth of their 16 bits (scale them to all first)"
CUT = "without what lay behind their ends, which was more than they are"
"""How images were packed that were not packed as they came."""

NEARLY_BLACK = 16
"""What the highest level of 12 bits becomes of 255 where it is stored in 16 (`of_16_bits`)."""

# What files with an image's name often are instead, by their first bytes; for the message alone.
_OTHER_KINDS = (
    (b"%PDF", "a PDF"),
    (b"PK\x03\x04", "a zip archive"),
    (b"\x1f\x8b", "a gzip file"),
    (b"\0\0\0\x0cjP", "a JPEG 2000"),
    (b"\xff\x0a", "a JPEG XL"),
    (b"version https://git-lfs", "a Git LFS pointer"),
)


_DAMAGE = ("truncated", "damaged", "the file is empty", "its header says both", "no JPEG")
_OTHER_IMAGES = ("(a JPEG 2000)", "(a JPEG XL)")


def is_damage(reason: str) -> bool:
    """Whether a reason that `judge_images` gives is of damage, and not of an intact image that cannot be packed."""
    return reason.startswith(_DAMAGE) and not reason.endswith(_OTHER_IMAGES)


class ImageFacts(NamedTuple):
    """What decoding an image told: its size in pixels, and int64 [2, 3], sum and sum of squares of R, G, B.

    instead: what is to be packed in its place, where decoders would differ about it or it is to be turned, which no
    decoder of the pipelines does; size and sums are of that. how: which of the two and others it was.
    """

    width: int
    height: int
    moments: NDArray[np.int64]
    instead: bytes | None = None
    how: str = ""


def judge_images(images: Sequence[bytes], turns: bool = False, lossless: bool = False) -> list[ImageFacts | str]:
    """Decode each image; for a bad one, the reason. Grey and other modes count as RGB.

    turns: as EXIF says. lossless: what was JPEG, HEIC or AVIF and is encoded anew becomes PNG and not JPEG.
    """
    facts: list[ImageFacts | str] = []
    instead: bytes | None
    for image in images:
        try:
            pixels = decode(image)
            if turns and (orientation_of := orientation(image)) != 1:
                lossy = not lossless and (image.startswith(JPEG_START) or heif.kind_of(image) is not None)
                instead, how = _encode(turned(pixels, orientation_of), lossy), TURNED
            else:
                instead, how = _for_all_decoders(image, pixels, lossless)
            if instead is not None and len(instead) > MAX_IMAGE_BYTES:
                hint = "; leave out --lossless" if lossless else ""
                limit = f"more than the {MAX_IMAGE_BYTES:,} allowed"
                raise ValueError(f"encoded anew as PNG it has {len(instead):,} bytes, {limit}{hint}")
            if instead is not None:
                pixels = decode(instead)  # it may have become too large
        except ValueError as error:
            facts.append(str(error))
            continue
        # int64 is exact up to 1.4e14 pixels (9.2e18 / 255^2), some hundred times all of ImageNet.
        moments = np.zeros((2, 3), np.int64)
        _add_moments(pixels, moments)
        facts.append(ImageFacts(pixels.shape[1], pixels.shape[0], moments, instead, how))
    return facts


def _for_all_decoders(image: bytes, pixels: NDArray[np.uint8], lossless: bool) -> tuple[bytes | None, str]:
    """A form of a good image of which all decoders make `pixels`, and how it came about; None where it has it."""
    if image.startswith(JPEG_START):
        jpeg = read_markers(image)
        if not jpeg.adobe and _color_space(image) in _FOUR_INKS:  # whether 0 is no ink or full is each one's guess
            return _encode(pixels, lossy=False), ANEW
        if jpeg.mended is not None:  # as long as it came
            return jpeg.mended[: jpeg.end] if len(image) > 2 * jpeg.end else jpeg.mended, MENDED
        if len(image) > 2 * jpeg.end:
            return image[: jpeg.end], CUT
    elif image.startswith(PNG_START):
        (bits,) = _unpacked("B", image, 24)
        if bits == 16:
            return _encode(pixels, lossy=False), DARK if pixels.max() <= NEARLY_BLACK else ANEW
    elif image.startswith(b"BM") and (_bmp_bits(image) == 16 or _has_bit_fields(image)):
        return _encode(pixels, lossy=False), ANEW
    elif heif.kind_of(image) is not None:
        return _encode(pixels, lossy=not lossless), AS_PNG if lossless else AS_JPEG
    elif image.startswith((GIF_START, *TIFF_STARTS)):
        is_dark = pixels.max() <= NEARLY_BLACK and _has_16_bits(image)
        return _encode(pixels, lossy=False), DARK if is_dark else FROM_GIF_OR_TIFF
    return None, ""


def _has_16_bits(image: bytes) -> bool:
    """Whether Pillow reads an image as grey of more than 8 bits."""
    with Image.open(io.BytesIO(image)) as opened:
        return opened.mode.startswith("I")


def _encode(pixels: NDArray[np.uint8], lossy: bool) -> bytes:
    """A JPEG of a quality that loses next to nothing, or a PNG."""
    if lossy:
        return simplejpeg.encode_jpeg(pixels, _JPEG_QUALITY, "RGB", "444")
    return as_png(pixels)


def decode(image: bytes, min_side: int = MIN_SIDE) -> NDArray[np.uint8]:
    """The pixels of an encoded image, uint8 [height, width, 3]. Raises ValueError with the reason when it is bad, or
    has a side of fewer pixels than `min_side`.
    """
    if not image:
        raise ValueError("the file is empty")
    if len(image) > MAX_IMAGE_BYTES:
        raise ValueError(f"{len(image):,} bytes, more than the {MAX_IMAGE_BYTES:,} allowed")
    if image.startswith(JPEG_START):
        jpeg = read_markers(image)
        check_size(*jpeg.size, min_side)
        return _decode_jpeg(image if jpeg.mended is None else jpeg.mended, jpeg)
    check_announced_size(image, min_side)
    if image.startswith(PNG_START):
        return _decode_png(image)
    if image.startswith(_BMP_START):
        return _decode_with_pillow(image, "BMP", _bmp_size(image))
    if _is_webp(image):
        return _decode_with_pillow(image, "WEBP", _webp_size(image))
    if (kind := heif.kind_of(image)) is not None:
        heif.let_pillow_read(kind)
        return _decode_with_pillow(image, kind, min_side=min_side)
    if image.startswith(GIF_START):
        return _decode_with_pillow(image, "GIF", min_side=min_side)
    if image.startswith(TIFF_STARTS):
        return _decode_with_pillow(image, "TIFF", min_side=min_side)
    raise ValueError(f"{NONE_OF_OURS} ({_kind(image)})")


def check_announced_size(image: bytes, min_side: int = MIN_SIDE) -> None:
    """`check_size` of what the header of a PNG, BMP or WEBP says, before a decoder takes memory for it. Raises
    ValueError.
    """
    if image.startswith(PNG_START):
        check_size(*_png_size(image), min_side)
    elif image.startswith(_BMP_START):
        check_size(*_bmp_size(image), min_side)
    elif _is_webp(image):
        check_size(*_webp_size(image), min_side)


_BMP_START = b"BM"


def _is_webp(image: bytes) -> bool:
    return image.startswith(b"RIFF") and image[8:12] == b"WEBP"


NONE_OF_OURS = "no JPEG, PNG, BMP, WEBP, GIF or TIFF"
"""What a file is called that is of no format that is packed."""
_FOUR_INKS = ("CMYK", "YCCK")


def _decode_jpeg(image: bytes, jpeg: JpegFacts) -> NDArray[np.uint8]:
    """Decode a JPEG strictly: libjpeg's warnings, of data that is missing, damaged or left over, are errors here.

    Pillow lets them pass; on what both accept the pixels are the same.
    """
    color_space = _color_space(image)
    if color_space is None:
        return _decode_with_pillow(image, "JPEG", jpeg.size)
    try:
        if color_space in _FOUR_INKS:
            simplejpeg.decode_jpeg(image, "CMYK")  # for its strictness; it cannot make RGB of them
            return _decode_with_pillow(image, "JPEG", jpeg.size)
        return simplejpeg.decode_jpeg(image, "RGB")
    except ValueError as error:
        fault = str(error)
        raise ValueError(f"{'truncated' if 'Premature end' in fault else 'damaged'}: {fault}") from None


def _color_space(image: bytes) -> str | None:
    """None where simplejpeg does not know it: for rare subsampling too, which Pillow knows."""
    try:
        _, _, color_space, _ = simplejpeg.decode_jpeg_header(image)
    except ValueError:
        return None
    return str(color_space)


def _decode_png(image: bytes) -> NDArray[np.uint8]:
    if b"acTL" in image.partition(b"IDAT")[0]:  # looked for here, as Pillow warns of a damaged one
        raise ValueError("an animated PNG")
    if _PNG_END not in image:
        raise ValueError("truncated: the PNG has no end mark")
    return _decode_with_pillow(without_texts(image), "PNG", _png_size(image))


def _decode_with_pillow(
    image: bytes, kind: str, size: tuple[int, int] | None = None, min_side: int = MIN_SIDE
) -> NDArray[np.uint8]:
    """size: as a header says it, which was checked; None: as Pillow reads it, checked here."""
    try:
        with pillows_reasons():
            if kind == "PNG":
                with Image.open(io.BytesIO(image), formats=[kind]) as opened:
                    opened.verify()  # the checksums, which decoding skips
            with Image.open(io.BytesIO(image), formats=[kind]) as opened:
                if size is None:
                    check_size(*opened.size, min_side)
                elif opened.size != size:
                    told = f"{opened.width}x{opened.height}"
                    raise ValueError(f"its header says both {size[0]}x{size[1]} and {told} pixels")
                if getattr(opened, "is_animated", False):
                    raise ValueError("a TIFF of several pages" if kind == "TIFF" else f"an animated {kind}")
                if kind == "TIFF":
                    check_tiff(opened)
                    do_not_turn(opened)
                return as_rgb(opened)
    except UnidentifiedImageError:  # its text is of our buffer, not of the file
        if kind == "TIFF":
            raise ValueError("a TIFF that is damaged, or of a kind that is not read here") from None
        raise ValueError(f"damaged: a {kind} whose header cannot be read") from None


@contextlib.contextmanager
def pillows_reasons() -> Iterator[None]:
    """Make a ValueError with the reason of what Pillow raises over a bad image. What it cannot identify, and a lack of
    memory, stay as they are.
    """
    try:
        yield
    except (MemoryError, UnidentifiedImageError):
        raise
    # Pillow's own limit is asked before `check_size` is. (Its warning is raised where warnings are errors.)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ValueError(f"more pixels than {_MOST}") from None
    except Exception as error:  # on damaged data Pillow's decoders let escape what they happen to stumble over
        if isinstance(error, ValueError) and str(error):
            raise
        raise ValueError(f"damaged: {str(error) or type(error).__name__}") from None


def as_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """A Pillow image as uint8 [H, W, 3]; alpha is dropped. Raises ValueError for pixels without a range."""
    if image.mode.startswith("I"):  # 16 bits, whatever they are held in
        levels = np.asarray(image).astype(np.int64)
        if levels.min() < 0 or levels.max() > 0xFFFF:
            raise ValueError("more than 16 bits a channel; convert it to 8 or 16")
        return np.repeat(of_16_bits(levels)[..., None], 3, axis=2)
    if image.mode == "F":
        raise ValueError("pixels in floating point have no known range; convert it to 8 or 16 bits")
    image.info.pop("transparency", None)  # dropped in any case, but for a palette not without a warning
    return np.asarray(image.convert("RGB"))


def of_16_bits(levels: NDArray[Any]) -> NDArray[np.uint8]:
    """Levels 0 .. 65,535 as the nearest of 0 .. 255."""
    return ((levels.astype(np.int64) + 128) // 257).astype(np.uint8)


def check_size(width: int, height: int, min_side: int) -> None:
    """Raise ValueError for an image that is too small, or too large."""
    if min(width, height) < min_side:
        raise ValueError(f"{width}x{height} pixels, a side must have {min_side} at least")
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise ValueError(f"{width:,}x{height:,} pixels, more than {_MOST}")


_MOST = f"the {MAX_SIDE:,} a side or {MAX_PIXELS:,} in all allowed"


def _png_size(image: bytes) -> tuple[int, int]:
    width, height = _unpacked(">II", image, 16)
    return width, height


def _bmp_size(image: bytes) -> tuple[int, int]:
    (header_bytes,) = _unpacked("<I", image, 14)
    width, height = _unpacked("<HH" if header_bytes == 12 else "<ii", image, 18)
    return width, abs(height)  # a negative height: the rows come from top to bottom


def _bmp_bits(image: bytes) -> int:
    """A pixel's."""
    (header_bytes,) = _unpacked("<I", image, 14)
    (bits,) = _unpacked("<H", image, 24 if header_bytes == 12 else 28)
    return bits


def _has_bit_fields(image: bytes) -> bool:
    """Whether a BMP says by masks which bits are red, green and blue, which not all decoders ask of a pixel of 32."""
    (header_bytes,) = _unpacked("<I", image, 14)
    return header_bytes > 12 and _unpacked("<I", image, 30)[0] in (3, 6)


def _webp_size(image: bytes) -> tuple[int, int]:
    kind = image[12:16]
    if kind == b"VP8X":
        low_width, high_width, low_height, high_height = _unpacked("<HBHB", image, 24)
        return (low_width | high_width << 16) + 1, (low_height | high_height << 16) + 1
    if kind == b"VP8L":
        (bits,) = _unpacked("<I", image, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    width, height = _unpacked("<HH", image, 26)
    return width & 0x3FFF, height & 0x3FFF


def _unpacked(layout: str, image: bytes, at: int) -> tuple[int, ...]:
    try:
        return struct.unpack_from(layout, image, at)
    except struct.error:
        raise ValueError("truncated: the file ends in its header") from None


def _kind(image: bytes) -> str:
    """What `image` seems to be instead."""
    for start, kind in _OTHER_KINDS:
        if image.startswith(start):
            return kind
    if image[:512].lstrip().lower().startswith((b"<!doctype html", b"<html")):
        return "an HTML page"
    if not image.strip(b"\0"):
        return "nothing but zeros"
    text = image[:512]
    if text.isascii() and text.decode("ascii").replace("\n", "").replace("\r", "").replace("\t", "").isprintable():
        return "text"
    return f"its first bytes are {image[:4].hex(' ')}"


@njit()
def _add_moments(pixels, moments):  # type: ignore[no-untyped-def]
    """Add the sum and the sum of squares of pixels (uint8 [H, W, 3]) to moments (int64 [2, 3])."""
    for y in range(pixels.shape[0]):
        for x in range(pixels.shape[1]):
            for channel in range(3):
                value = np.int64(pixels[y, x, channel])
                moments[0, channel] += value
                moments[1, channel] += value * value
