"""Masks of images as PNG files: 8 bits grey, 0 is background, 255 the object, 128 is left out of every measure.

A mask is named like its image, with `.png` behind the name or in place of its ending.
"""

import io
import itertools
import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from fastwsol.sources.tree import BadFile
from kernels.pixels import IGNORED, OBJECT

MASK_REMEDY = f"save it as PNG of 8 bits grey: 0 background, {OBJECT} object, {IGNORED} left out"
BENCHMARK_SIDE = 224
"""Pixels. The side of the square that maps and masks are brought to before they are counted (Choe et al. 2020)."""
_MOST_PIXELS = 2**26


def mask_paths(image: str) -> tuple[str, ...]:
    """What the mask of an image may be called, by the image's path: the longer name first."""
    folder, _, name = image.rpartition("/")
    stem, dot, _ = name.rpartition(".")
    shorter = f"{folder}/{stem}.png" if folder else f"{stem}.png"
    return tuple(dict.fromkeys((f"{image}.png", shorter if stem and dot else f"{image}.png")))


def read_mask(content: bytes, size: tuple[int, int] | None = None) -> NDArray[np.uint8]:
    """The pixels [H, W] of a mask. size: the width and height of its image. Raises BadFile saying what is wrong."""
    pixels = _grey_pixels(content, size)
    if (bad := _NO_VALUE[pixels]).any():
        raise BadFile(f"has a pixel of {pixels[bad].min()}")
    return pixels


_NO_VALUE = np.ones(256, np.bool_)
"""Whether a value of a pixel is none of a mask's."""
_NO_VALUE[[0, IGNORED, OBJECT]] = False


def read_region(content: bytes) -> NDArray[np.bool_]:
    """The pixels [H, W] that a file of the WSOL benchmark marks: those that are not 0, as its code has it. Raises
    BadFile as `read_mask` does.
    """
    return _grey_pixels(content, None) > 0


def _grey_pixels(content: bytes, size: tuple[int, int] | None) -> NDArray[np.uint8]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # its size is checked below
            with Image.open(io.BytesIO(content), formats=["PNG"]) as opened:
                if size is not None and opened.size != size:
                    told = "x".join(map(str, opened.size))
                    raise BadFile(f"has {told} pixels, its image {size[0]}x{size[1]}; a mask has its image's size")
                if opened.size[0] * opened.size[1] > _MOST_PIXELS:
                    raise BadFile(f"has {opened.size[0]}x{opened.size[1]} pixels, more than {_MOST_PIXELS:,}")
                if opened.mode not in ("L", "1"):
                    raise BadFile(f"is a PNG of mode {opened.mode}")
                return np.asarray(opened.convert("L"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        reason = "it is no PNG" if isinstance(error, UnidentifiedImageError) else str(error)
        raise BadFile(f"cannot be read as a mask ({reason})") from None


def at_benchmark_side(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A mask [H, W] at `BENCHMARK_SIDE` pixels a side, by nearest neighbour as the benchmark's code does it: each takes
    the pixel that its corner lies in.
    """
    return at_size(pixels, (BENCHMARK_SIDE, BENCHMARK_SIDE))


def at_size(pixels: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """A mask [H, W] at another width and height, by the same rule."""
    if pixels.shape == (size[1], size[0]):
        return pixels
    rows, columns = (_nearest(own, new) for own, new in zip(pixels.shape, size[::-1], strict=True))
    return pixels[np.ix_(rows, columns)]


def _nearest(own: int, new: int) -> NDArray[np.int64]:
    """Which of `own` pixels each of `new` ones takes, as OpenCV's INTER_NEAREST has it, with the rounding of its
    doubles: of one size in fifteen a few are others than those of whole numbers.
    """
    return np.minimum(np.floor(np.arange(new) * (1.0 / (new / own))).astype(np.int64), own - 1)


def joined_mask(objects: Sequence[NDArray[np.bool_]], ignored: Sequence[NDArray[np.bool_]]) -> NDArray[np.uint8]:
    """One mask of several regions: the object's where any of `objects` is, left out where else any of `ignored` is.

    Regions of different sizes are brought to the benchmark's square first.
    """
    both = [region.astype(np.uint8) for region in itertools.chain(objects, ignored)]
    if len({region.shape for region in both}) > 1:
        both = [at_benchmark_side(region) for region in both]
    found = np.zeros(both[0].shape, np.uint8)
    for region in both[len(objects) :]:
        found[region > 0] = IGNORED
    for region in both[: len(objects)]:
        found[region > 0] = OBJECT
    return found
