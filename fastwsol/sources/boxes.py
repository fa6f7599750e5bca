"""Boxes of objects as files have them: four edges in the pixels of an image."""

import math
from typing import Any

from fastwsol.host.errors import UserError

Box = tuple[float, float, float, float]
"""x0, y0, x1, y1, half-open, in the image's pixels; of `Yolo`'s files, which tell no sizes, in shares of the image."""

SIDES = ("x0", "y0", "x1", "y1")
"""The columns of CSV files that have the edges of a box."""
OVERHANG = 2.0
"""Pixels. A box may reach so far outside its image, as those of published sets do; it is cut at the edge then."""
CORRECT = "correct it, or leave it out"
"""The remedy for what is no box."""


def has_extent(box: Box) -> bool:
    """Whether a box has a width and a height."""
    x0, y0, x1, y1 = box
    return x0 < x1 and y0 < y1


def cut_at_edge(box: Box, width: int, height: int) -> Box:
    """What of a box lies in its image."""
    x0, y0, x1, y1 = box
    return max(x0, 0.0), max(y0, 0.0), min(x1, float(width)), min(y1, float(height))


def lies_in(box: Box, width: int, height: int) -> bool:
    """Whether a box has something of an image in it, and reaches no more than `OVERHANG` outside."""
    x0, y0, x1, y1 = box
    inside = -OVERHANG <= x0 < min(x1, width) and -OVERHANG <= y0 < min(y1, height)
    return inside and 0 < x1 <= width + OVERHANG and 0 < y1 <= height + OVERHANG


def refuse_shares(box: Box, where: str) -> None:
    """Raise UserError for a box in shares of its image."""
    if all(0 <= edge <= 1 for edge in box):
        shown = ", ".join(f"{edge:g}" for edge in box)
        raise UserError(
            f"{where}: edges ({shown}) lie between 0 and 1, as shares of the image do; multiply them by its width and "
            f"height in pixels"
        )


def box_of(values: list[Any], where: str) -> Box:
    """A box from four values. Raises UserError where they make no box. The packer checks that it lies in its image."""
    try:
        x0, y0, x1, y1 = (float(value) for value in values)
        if all(math.isfinite(value) for value in (x0, y0, x1, y1)):
            return x0, y0, x1, y1
    except (TypeError, ValueError, OverflowError):
        pass
    raise UserError(f"{where}: {values!r:.80} are not four numbers; {CORRECT}")


def size_of(values: list[Any], where: str) -> tuple[int, int] | None:
    """Width and height from two values; None where there are none. Raises UserError where they are no whole numbers."""
    if values[0] in (None, "") and values[1] in (None, ""):
        return None
    try:
        width, height = (float(value) for value in values if not isinstance(value, bool))
        if width.is_integer() and height.is_integer() and min(width, height) > 0:
            return int(width), int(height)
    except (TypeError, ValueError, OverflowError):
        pass
    raise UserError(f"{where}: {values!r:.80} are no width and height in pixels; {CORRECT}")
