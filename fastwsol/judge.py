"""Judge images by decoding them: the one place where packing looks at pixels.

A module of its own because the packer's worker processes import it, and it is light to import.
"""

import io
import multiprocessing
import os
import signal
import threading
from dataclasses import dataclass

import numba
import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

# What the training pipeline's decoder reads as well; Pillow alone would also accept a GIF under any name.
_FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
_JPEG_START = b"\xff\xd8"
_JPEG_END = b"\xff\xd9"


@dataclass(frozen=True, eq=False)
class Verdict:
    """What decoding a list of images told, up to the first bad one.

    sizes: width and height in pixels of each good image; moments: int64 [2, 3], sum and sum of squares over their
    pixels for R, G, B; fault: why the image after the last good one is bad, or None when all are good.
    """

    sizes: list[tuple[int, int]]
    moments: NDArray[np.int64]
    fault: str | None


def judge_images(images: list[bytes]) -> Verdict:
    """Decode `images` in order, stopping at the first that is bad. Grey and other modes count as RGB."""
    sizes: list[tuple[int, int]] = []
    # int64 is exact up to 1.4e14 pixels (9.2e18 / 255^2), some hundred times all of ImageNet.
    moments = np.zeros((2, 3), np.int64)
    for image in images:
        try:
            pixels = decode(image)
        except ValueError as error:
            return Verdict(sizes, moments, str(error))
        sizes.append((pixels.shape[1], pixels.shape[0]))
        _add_moments(pixels, moments)
    return Verdict(sizes, moments, None)


def decode(image: bytes) -> NDArray[np.uint8]:
    """The pixels of an encoded image, uint8 [height, width, 3]. Raises ValueError with the reason when it is bad."""
    if not image:
        raise ValueError("the file is empty")
    # libjpeg takes zeros for coefficients and does not insist on the end: a truncated file that a crash filled up with
    # zeros, or that lost its last two bytes alone, decodes without complaint. The end mark is gone all the same.
    if image.startswith(_JPEG_START) and _JPEG_END not in image:
        raise ValueError("truncated: the JPEG has no end mark")
    try:
        with Image.open(io.BytesIO(image), formats=_FORMATS) as opened:
            return np.asarray(opened.convert("RGB"))
    except UnidentifiedImageError:
        raise ValueError(f"no image in {', '.join(_FORMATS[:-1])} or {_FORMATS[-1]} format") from None
    except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
        raise ValueError(str(error) or type(error).__name__) from None


def start_worker() -> None:
    """Prepare a worker process: the parent alone answers Ctrl-C, and a worker never outlives a killed parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


@numba.njit(cache=True, nogil=True)
def _add_moments(pixels, moments):  # type: ignore[no-untyped-def]
    """Add the sum and the sum of squares of pixels (uint8 [H, W, 3]) to moments (int64 [2, 3])."""
    for y in range(pixels.shape[0]):
        for x in range(pixels.shape[1]):
            for channel in range(3):
                value = np.int64(pixels[y, x, channel])
                moments[0, channel] += value
                moments[1, channel] += value * value
