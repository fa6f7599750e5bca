"""What a JPEG's markers tell: its size, its scans and its end. No pixel is decoded (ITU-T T.81, annex B)."""

import re
import struct
from typing import NamedTuple

JPEG_START = b"\xff\xd8\xff"
_MOST_SCANS = 100
"""Of a progressive JPEG. Encoders write some ten; each costs a pass over all coefficients."""
_SCANS_ALWAYS = 20
"""How many are taken of an image of any size."""
_MOST_PASSES = 2**31
"""Scans times pixels, beyond which no more scans are taken than `_SCANS_ALWAYS`."""
_MOST_SEGMENTS = 2**16
"""Before the end mark. The longest are of 64 KiB."""

_SCAN, _END, _TEM, _APP14 = 0xDA, 0xD9, 0x01, 0xEE
_RESTARTS = range(0xD0, 0xD8)
# Start-of-frame markers; C4, C8 and CC lie among them and are not.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_SEQUENTIAL = (0xC0, 0xC1)
_SEQUENTIAL_SCAN = b"\x00\x3f\x00"
"""What ends the header of a scan that has all coefficients: the first, the last, and their bits."""
_FILL_BYTES = re.compile(rb"\xff+")
_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]", re.DOTALL)
"""Among coefficients: 00 stands behind an FF of theirs, and restart markers belong to the scan."""


class JpegFacts(NamedTuple):
    """size: width and height; end: the byte behind the end mark; adobe: whether a segment of Adobe's tells the colours;
    mended: the same image with the scan headers that its frame asks for, where some are otherwise.

    Some cameras leave zeros in scan headers. All decoders ignore that, and all but the strict say so.
    """

    size: tuple[int, int]
    end: int
    adobe: bool
    mended: bytes | None


def read_markers(image: bytes) -> JpegFacts:
    """Walk over the markers up to the end mark; what lies behind it is no part of the image. Raises ValueError with the
    reason for an image that is damaged or has too many scans.

    DALI's parser wants each segment to begin where the one before it ends; libjpeg ignores what lies between.
    """
    size, sequential, adobe = None, False, False
    scans: list[int] = []
    """Where the last three bytes of each scan's header stand."""
    behind = 2
    segments = 0
    while (at := _next_segment(image, behind)) is not None:
        segments += 1
        if segments > _MOST_SEGMENTS:
            raise ValueError(f"a JPEG of more than {_MOST_SEGMENTS:,} segments")
        marker = image[at + 1]
        if marker == _END:
            if not scans:
                raise ValueError("truncated: the JPEG ends in its header")
            assert size is not None
            return JpegFacts(size, at + 2, adobe, _mended(image, scans) if sequential else None)
        behind = at + 2 + int.from_bytes(image[at + 2 : at + 4])
        if marker == _APP14:
            adobe |= image[at + 4 : at + 9] == b"Adobe"
        if size is None and marker in _FRAMES and at + 9 <= len(image):
            height, width = struct.unpack_from(">HH", image, at + 5)
            size, sequential = (width, height), marker in _SEQUENTIAL
        if marker == _SCAN:
            if size is None:
                raise ValueError("damaged: a JPEG whose first scan comes before its frame header")
            scans.append(behind - len(_SEQUENTIAL_SCAN))
            most = min(_MOST_SCANS, max(_SCANS_ALWAYS, _MOST_PASSES // max(1, size[0] * size[1])))
            if len(scans) > most:
                raise ValueError(f"a JPEG of {size[0]}x{size[1]} pixels and more than {most} scans")
        if scans:
            found = _MARKER.search(image, behind)
            behind = found.start() if found is not None else len(image)
    raise ValueError(f"truncated: the JPEG {'has no end mark' if scans else 'ends in its header'}")


def header_of(image: bytes) -> bytes:
    """What stands before the first scan of a JPEG, EXIF among it; all of it where it is damaged before."""
    behind = 2
    try:
        for _ in range(_MOST_SEGMENTS):
            at = _next_segment(image, behind)
            if at is None:
                break
            if image[at + 1] == _SCAN:
                return image[:at]
            behind = at + 2 + int.from_bytes(image[at + 2 : at + 4])
    except ValueError:
        pass
    return image


def _next_segment(image: bytes, at: int) -> int | None:
    """Where the marker stands that begins the next segment, or is the end mark; None behind the last. Any fill bytes
    may stand before it, and TEM and RSTn, which have no length. Raises ValueError where no marker stands.
    """
    for _ in range(_MOST_SEGMENTS):
        fill = _FILL_BYTES.match(image, at)
        if fill is None and at + 2 <= len(image):
            raise ValueError("damaged: a JPEG segment does not begin where the one before it ends")
        if fill is None or fill.end() == len(image):
            return None
        at = fill.end() - 1
        if image[at + 1] != _TEM and image[at + 1] not in _RESTARTS:
            return at
        at += 2
    raise ValueError(f"damaged: a JPEG with more than {_MOST_SEGMENTS:,} marks between two segments")


def _mended(image: bytes, scans: list[int]) -> bytes | None:
    wrong = [at for at in scans if image[at : at + len(_SEQUENTIAL_SCAN)] != _SEQUENTIAL_SCAN]
    if not wrong:
        return None
    mended = bytearray(image)
    for at in wrong:
        mended[at : at + len(_SEQUENTIAL_SCAN)] = _SEQUENTIAL_SCAN
    return bytes(mended)
