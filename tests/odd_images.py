"""Odd image files: every form, mode, depth and orientation that Pillow and OpenCV write, and some that they do not;
cut by a byte, with bytes behind; by name.
"""

import io
import struct
import zlib
from collections.abc import Iterator

import cv2
import numpy as np
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from fastwsol.sources import heif

WIDTH, HEIGHT = 48, 40
_y, _x = np.mgrid[:HEIGHT, :WIDTH]
PIXELS = np.stack([_x * 5, _y * 6, (_x + _y) * 2], -1).astype(np.uint8)
PIXELS[8:20, 10:30] = (240, 30, 20)
DEEP = np.minimum(PIXELS.astype(np.int64) * 257 + 100, 0xFFFF).astype(np.uint16)
ALPHA = np.dstack([PIXELS, np.broadcast_to(_x * 5, (HEIGHT, WIDTH)).astype(np.uint8)])
IMAGE = Image.fromarray(PIXELS)
NOISE = np.random.default_rng(0)
_TIFF_NAMESPACE = 'xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"'
XMP = (
    '<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
    f"<rdf:Description {_TIFF_NAMESPACE}/></rdf:RDF></x:xmpmeta>"
)
XMP_SEGMENT = b"http://ns.adobe.com/xap/1.0/\0" + XMP.encode()


def odd_images() -> dict[str, bytes]:
    """All of them."""
    return dict([*_jpegs(), *_pngs(), *_bmps(), *_webps(), *_others()])


def _saved(form: str, image: Image.Image = IMAGE, **how: object) -> bytes:
    file = io.BytesIO()
    image.save(file, form, **how)
    return file.getvalue()


def _by_opencv(ending: str, pixels: np.ndarray, *how: int) -> bytes:
    """Of pixels in OpenCV's order, B, G, R."""
    return cv2.imencode(ending, pixels, how)[1].tobytes()


def _exif(orientation: int) -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def _segment(marker: int, content: bytes) -> bytes:
    return bytes((0xFF, marker)) + struct.pack(">H", len(content) + 2) + content


def _jpegs() -> Iterator[tuple[str, bytes]]:
    plain = _saved("JPEG", quality=90)
    for mode in ("RGB", "L", "CMYK", "1"):
        yield f"JPEG {mode}", _saved("JPEG", IMAGE.convert(mode), quality=90)
    for number, name in enumerate(("4:4:4", "4:2:2", "4:2:0")):
        yield f"JPEG {name}", _saved("JPEG", subsampling=number)
    factors = {"4:1:1": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411, "4:4:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440}
    for name, factor in factors.items():
        yield f"JPEG {name}", _by_opencv(".jpg", PIXELS, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor)
    yield "JPEG by OpenCV, grey", _by_opencv(".jpg", PIXELS[..., 0])
    yield "JPEG progressive", _saved("JPEG", progressive=True)
    yield "JPEG CMYK progressive", _saved("JPEG", IMAGE.convert("CMYK"), progressive=True)
    yield "JPEG optimised", _saved("JPEG", optimize=True)
    yield "JPEG of RGB", _saved("JPEG", keep_rgb=True)
    yield "JPEG of quality 1", _saved("JPEG", quality=1)
    yield "JPEG of quality 100", _saved("JPEG", quality=100)
    yield "JPEG with restarts", _saved("JPEG", restart_marker_blocks=2)
    yield "JPEG with a comment", _saved("JPEG", comment=b"hello")
    yield "JPEG with a large profile", _saved("JPEG", icc_profile=NOISE.bytes(70_000))
    yield "JPEG with fill bytes", plain[:2] + b"\xff\xff\xff" + plain[2:]
    yield "JPEG of several pictures", _saved("MPO", save_all=True, append_images=[IMAGE.rotate(180)])
    cmyk = _saved("JPEG", IMAGE.convert("CMYK"), quality=90)
    at = cmyk.index(b"\xff\xee")
    behind = at + 2 + int.from_bytes(cmyk[at + 2 : at + 4])
    yield "JPEG CMYK without Adobe's segment", cmyk[:at] + cmyk[behind:]
    yield "JPEG YCCK", cmyk[: behind - 1] + b"\x02" + cmyk[behind:]
    yield "JPEG and a film behind", plain + NOISE.bytes(200_000)
    yield "JPEG and a byte behind", plain + b"x"
    yield "JPEG and a JPEG behind", plain + plain
    yield "JPEG and zeros behind", plain + bytes(1000)
    for count in (1, 2, len(plain) // 2):
        yield f"JPEG without its last {count} bytes", plain[:-count]
    scan = plain.index(b"\xff\xda")
    header_end = scan + 2 + int.from_bytes(plain[scan + 2 : scan + 4])
    for name, place, value in (("last coefficient 0", -2, 0), ("bits 1", -1, 1)):
        odd = bytearray(plain)
        odd[header_end + place] = value
        yield f"JPEG, scan header with {name}", bytes(odd)
    for orientation in range(1, 10):
        yield f"JPEG, EXIF {orientation}", _saved("JPEG", quality=90, exif=_exif(orientation))
    turned = _saved("JPEG", exif=_exif(6))
    at = turned.index(b"\xff\xe1")
    behind = at + 2 + int.from_bytes(turned[at + 2 : at + 4])
    profile = b"".join(_segment(0xE2, b"ICC_PROFILE\0" + bytes((part, 2)) + NOISE.bytes(64_986)) for part in (1, 2))
    yield "JPEG, EXIF 6 behind a profile", turned[:2] + profile + turned[at:behind] + turned[2:at] + turned[behind:]
    yield "JPEG, XMP 6", plain[:2] + _segment(0xE1, XMP_SEGMENT) + plain[2:]
    yield "JPEG, XMP 6 and EXIF 1", turned[:2] + _segment(0xE1, XMP_SEGMENT) + _saved("JPEG", exif=_exif(1))[2:]
    for width, height in ((1, 1), (3, 50), (7, 7), (8, 8), (50, 3), (17, 9), (9, 200), (300, 8), (640, 480)):
        yield f"JPEG of {width}x{height}", _saved("JPEG", IMAGE.resize((width, height)))


def _pngs() -> Iterator[tuple[str, bytes]]:
    plain = _saved("PNG")
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        yield f"PNG {mode}", _saved("PNG", IMAGE.convert(mode))
    for width, height in ((1, 1), (8, 9)):
        yield f"PNG of {width}x{height}", _saved("PNG", IMAGE.resize((width, height)))
    yield "PNG P, transparent colour", _saved("PNG", IMAGE.convert("P"), transparency=3)
    yield "PNG P, alpha for colours", _saved("PNG", IMAGE.convert("P"), transparency=bytes(range(200)))
    yield "PNG L, transparent level", _saved("PNG", IMAGE.convert("L"), transparency=10)
    yield "PNG RGB, transparent colour", _saved("PNG", transparency=(0, 0, 0))
    for bits in (1, 2, 4):
        yield f"PNG P of {bits} bits", _saved("PNG", IMAGE.quantize(2**bits), bits=bits)
    yield "PNG, alpha that varies", _saved("PNG", Image.fromarray(ALPHA))
    yield "PNG, all transparent", _saved("PNG", Image.fromarray(np.dstack([PIXELS, np.zeros_like(PIXELS[..., 0])])))
    yield "PNG of 16 bits, grey, by Pillow", _saved("PNG", Image.fromarray(DEEP[..., 0]))
    yield "PNG of 16 bits, grey", _by_opencv(".png", DEEP[..., 0])
    yield "PNG of 16 bits, RGB", _by_opencv(".png", DEEP)
    yield "PNG of 16 bits, RGBA", _by_opencv(".png", np.dstack([DEEP, DEEP[..., 0]]))
    yield "PNG of 1 bit by OpenCV", _by_opencv(".png", PIXELS[..., 0], cv2.IMWRITE_PNG_BILEVEL, 1)
    yield "PNG animated", _saved("PNG", save_all=True, append_images=[IMAGE.rotate(180)])
    for name, add in (("text", PngInfo.add_text), ("international text", PngInfo.add_itxt)):
        texts = PngInfo()
        add(texts, "workflow", "x" * 3_000_000, zip=True)
        yield f"PNG with a large {name}", _saved("PNG", pnginfo=texts)
    yield "PNG with a large profile", _saved("PNG", icc_profile=NOISE.bytes(2_000_000))
    yield "PNG with a profile of zeros", _saved("PNG", icc_profile=bytes(8_000_000))
    for orientation in (1, 3, 6, 8):
        yield f"PNG, EXIF {orientation}", _saved("PNG", exif=_exif(orientation))
    texts = PngInfo()
    texts.add_itxt("XML:com.adobe.xmp", XMP)
    yield "PNG, XMP 6", _saved("PNG", pnginfo=texts)
    raw = b"Exif\0\0" + _exif(6).tobytes().removeprefix(b"Exif\0\0")
    lines = [raw.hex()[at : at + 72] for at in range(0, 2 * len(raw), 72)]
    texts = PngInfo()
    texts.add_text("Raw profile type exif", "\n".join(["", "exif", f"{len(raw):8}", *lines, ""]), zip=True)
    yield "PNG, raw profile of EXIF 6", _saved("PNG", pnginfo=texts)
    yield "PNG without its last byte", plain[:-1]
    yield "PNG cut in half", plain[: len(plain) // 2]
    yield "PNG and a byte behind", plain + b"x"
    yield "PNG and a film behind", plain + NOISE.bytes(100_000)
    rows = b"".join(b"\0" + row.tobytes() for row in PIXELS)
    yield "PNG with gamma", _png(rows, more=_chunk(b"gAMA", struct.pack(">I", 100_000)))
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    yield (
        "PNG interlaced",
        _png(
            b"".join(b"\0" + PIXELS[y, x0::dx].tobytes() for x0, y0, dx, dy in passes for y in range(y0, HEIGHT, dy)),
            interlace=1,
        ),
    )


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png(rows: bytes, interlace: int = 0, more: bytes = b"") -> bytes:
    header = _chunk(b"IHDR", struct.pack(">IIBBBBB", WIDTH, HEIGHT, 8, 2, 0, 0, interlace))
    return b"\x89PNG\r\n\x1a\n" + header + more + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def _bmps() -> Iterator[tuple[str, bytes]]:
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        yield f"BMP {mode}", _saved("BMP", IMAGE.convert(mode))
    yield "BMP of 4 bits", _saved("BMP", IMAGE.quantize(16))
    yield "BMP by OpenCV", _by_opencv(".bmp", PIXELS)
    yield "BMP by OpenCV, grey", _by_opencv(".bmp", PIXELS[..., 0])
    yield "BMP by OpenCV, alpha", _by_opencv(".bmp", ALPHA)
    red, green, blue = (PIXELS[..., k].astype("<u2") >> shift for k, shift in enumerate((3, 2, 3)))
    masks = struct.pack("<III", 0xF800, 0x7E0, 0x1F)
    yield "BMP of 5-6-5", _bmp(16, (red << 11 | green << 5 | blue)[::-1].tobytes(), compression=3, more=masks)
    masks = struct.pack("<III", 0xFF000000, 0xFF0000, 0xFF00)
    yield "BMP of 8-8-8-0", _bmp(32, np.flip(ALPHA[::-1], 2).tobytes(), compression=3, more=masks)
    yield "BMP of 5-5-5", _bmp(16, (red << 10 | green >> 1 << 5 | blue)[::-1].tobytes())
    levels = np.asarray(IMAGE.convert("L"))[::-1]
    runs = b"".join(b"".join(bytes((1, level)) for level in row) + b"\0\0" for row in levels.tolist()) + b"\0\1"
    yield "BMP in runs", _bmp(8, runs, compression=1, more=b"".join(bytes((k, k, k, 0)) for k in range(256)))
    plain = _saved("BMP")
    top_down = bytearray(plain)
    struct.pack_into("<i", top_down, 22, -HEIGHT)
    yield "BMP from top to bottom", bytes(top_down)
    yield "BMP without its last byte", plain[:-1]
    yield "BMP and a byte behind", plain + b"x"


def _bmp(bits: int, content: bytes, compression: int = 0, more: bytes = b"") -> bytes:
    header = struct.pack("<IiiHHIIiiII", 40, WIDTH, HEIGHT, 1, bits, compression, len(content), 0, 0, 0, 0)
    at = 14 + len(header) + len(more)
    return b"BM" + struct.pack("<IHHI", at + len(content), 0, 0, at) + header + more + content


def _webps() -> Iterator[tuple[str, bytes]]:
    plain = _saved("WEBP")
    yield "WEBP", plain
    yield "WEBP lossless", _saved("WEBP", lossless=True)
    yield "WEBP grey", _saved("WEBP", IMAGE.convert("L"), lossless=True)
    yield "WEBP by OpenCV", _by_opencv(".webp", PIXELS)
    yield "WEBP, alpha", _saved("WEBP", Image.fromarray(ALPHA))
    yield "WEBP lossless, alpha", _saved("WEBP", Image.fromarray(ALPHA), lossless=True)
    yield "WEBP animated", _saved("WEBP", save_all=True, append_images=[IMAGE.rotate(90)])
    yield "WEBP with a profile", _saved("WEBP", lossless=True, icc_profile=NOISE.bytes(3000))
    for orientation in (1, 3, 6, 8):
        yield f"WEBP, EXIF {orientation}", _saved("WEBP", lossless=True, exif=_exif(orientation))
    yield "WEBP, XMP 6", _saved("WEBP", lossless=True, xmp=XMP.encode())
    yield "WEBP without its last byte", plain[:-1]
    yield "WEBP and a byte behind", plain + b"x"


def _others() -> Iterator[tuple[str, bytes]]:
    yield "GIF", _saved("GIF")
    yield "GIF transparent", _saved("GIF", Image.fromarray(ALPHA))
    yield "GIF without its last byte", _saved("GIF")[:-1]
    yield "GIF animated", _saved("GIF", save_all=True, append_images=[IMAGE.rotate(90)])
    for mode in ("1", "L", "RGB", "RGBA", "CMYK"):
        yield f"TIFF {mode}", _saved("TIFF", IMAGE.convert(mode))
    yield "TIFF of 16 bits, grey", _saved("TIFF", Image.fromarray(DEEP[..., 0]))
    yield "TIFF of 16 bits by OpenCV", _by_opencv(".tiff", DEEP)
    yield "TIFF of floats", _saved("TIFF", Image.fromarray(PIXELS[..., 0].astype(np.float32)))
    for compression in ("tiff_lzw", "tiff_deflate", "jpeg", "packbits"):
        yield f"TIFF by {compression}", _saved("TIFF", compression=compression)
    for orientation in (1, 3, 6, 8):
        yield f"TIFF, EXIF {orientation}", _saved("TIFF", exif=_exif(orientation))
    yield "TIFF by tiff_lzw, EXIF 6", _saved("TIFF", compression="tiff_lzw", exif=_exif(6))
    yield "BigTIFF", _saved("TIFF", big_tiff=True)
    yield "TIFF of two pages", _saved("TIFF", save_all=True, append_images=[IMAGE.rotate(90)])
    yield "TIFF without its last byte", _saved("TIFF")[:-1]
    yield "TIFF by OpenCV", _by_opencv(".tiff", PIXELS)
    for form in ("AVIF", "JPEG2000", "PPM", "ICO", "TGA", "PCX"):
        yield form, _saved(form)
    if heif.is_read("HEIF"):
        heif.let_pillow_read("HEIF")
        yield "HEIC", _saved("HEIF")
        yield "HEIC, EXIF 6", _saved("HEIF", exif=_exif(6).tobytes())
    yield "AVIF, EXIF 6", _saved("AVIF", exif=_exif(6))
    yield "Radiance", _by_opencv(".hdr", PIXELS.astype(np.float32) / 255)
    yield "an empty file", b""
    yield "an HTML page", b"<!DOCTYPE html><html></html>"
