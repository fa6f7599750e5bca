"""The pixels of COCO's segmentations: polygons and run lengths."""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastwsol.host.errors import UserError
from fastwsol.sources.boxes import CORRECT


@dataclass(frozen=True, eq=False)
class SegmentationMask:
    """The mask of a segmentation that is not empty, when it is asked for."""

    segmentation: Any
    width: int
    height: int
    where: str
    """It stands, for messages."""

    def __call__(self) -> NDArray[np.bool_]:
        """Its pixels, [height, width]. Raises UserError as `pixels_of` does."""
        pixels = pixels_of(self.segmentation, self.width, self.height, self.where)
        assert pixels is not None
        return pixels

    def compressed_runs(self) -> tuple[dict[str, Any], int] | None:
        """The segmentation itself, where it is of compressed runs, and how many pixels are the object's: so it is
        copied without being decoded. Raises UserError as `pixels_of` does.
        """
        if not isinstance(self.segmentation, dict) or not isinstance(self.segmentation.get("counts"), str):
            return None
        with _told(self.where):
            lengths = _lengths(self.segmentation, self.width, self.height, self.where)
        return {"size": [self.height, self.width], "counts": self.segmentation["counts"]}, sum(lengths[1::2])


def pixels_of(segmentation: Any, width: int, height: int, where: str) -> NDArray[np.bool_] | None:
    """The pixels [height, width] of a segmentation: polygons, or run lengths, compressed or not. None for an empty one.

    Raises UserError where it is neither, or of another size.
    """
    from pycocotools import mask as coco_mask  # here: not every reading of boxes needs it

    if segmentation is None or segmentation == []:
        return None
    with _told(where):
        if isinstance(segmentation, dict):
            runs = segmentation
            _lengths(runs, width, height, where)
            if isinstance(runs["counts"], list):
                runs = coco_mask.frPyObjects(runs, height, width)
            pixels = coco_mask.decode(runs)
        else:
            flat = [[float(value) for value in polygon] for polygon in segmentation]
            if any(len(polygon) < 6 or len(polygon) % 2 or not all(map(math.isfinite, polygon)) for polygon in flat):
                raise ValueError("polygons of fewer than three corners")
            limit = 16 * max(width, height)
            if any(abs(value) > limit for polygon in flat for value in polygon):
                raise ValueError("corners far outside of the image")
            if sum(map(_outline_length, flat)) > _LONGEST_OUTLINE:
                raise ValueError(f"an outline of more than {_LONGEST_OUTLINE:,} pixels")
            pixels = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(flat, height, width)))
    return pixels.astype(np.bool_)


@contextlib.contextmanager
def _told(where: str) -> Iterator[None]:
    """Have what is wrong with a segmentation raise UserError."""
    try:
        yield
    except (KeyError, TypeError, ValueError, OverflowError, IndexError, MemoryError) as error:
        raise UserError(f"{where}: its segmentation cannot be read ({error!s:.60}); {CORRECT}") from None


def _lengths(runs: Mapping[str, Any], width: int, height: int, where: str) -> list[int]:
    """The lengths of runs, which what decodes them would not check: it notices neither a part of a pixel nor another
    number of pixels. Raises UserError where they are of another size.
    """
    if [*runs["size"]] != [height, width]:
        raise UserError(
            f"{where}: its segmentation is of {runs['size']} pixels (height, width), and the image has "
            f"{[height, width]}; {CORRECT}"
        )
    lengths: list[int] = runs["counts"] if isinstance(runs["counts"], list) else _run_lengths(runs["counts"])
    if any(type(each) is not int for each in lengths) or min(lengths) < 0 or sum(lengths) != width * height:
        raise ValueError("runs of another number of pixels")
    return lengths


_LONGEST_OUTLINE = 2**22
"""Pixels, of all polygons of an object. What draws them takes some 80 bytes for each."""


_LONGEST_LENGTH = 30
"""Bits of a run's length before its last five; more are no number for what decodes them."""


def _outline_length(polygon: Sequence[float]) -> float:
    """Of a closed polygon x, y, x, y, ..., in pixels; of each edge the longer side counts."""
    corners = np.reshape(polygon, (-1, 2))
    return float(np.abs(corners - np.roll(corners, 1, axis=0)).max(axis=1).sum())


def _run_lengths(text: str) -> list[int]:
    """The lengths of compressed runs: five bits a character, the lowest first, a sixth where more follow; each length
    from the third on less the one two before it.
    """
    lengths: list[int] = []
    value = shift = 0
    for character in text:
        bits = ord(character) - 48
        if not 0 <= bits < 64:
            raise ValueError(f"{character!r} in its runs")
        if shift > _LONGEST_LENGTH:
            raise ValueError("a run of more pixels than an image can have")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            value -= (bits & 16) << (shift - 4)  # the sign
            lengths.append(value + (lengths[-2] if len(lengths) > 2 else 0))
            value = shift = 0
    if shift or not lengths:
        raise ValueError("runs without an end")
    return lengths
