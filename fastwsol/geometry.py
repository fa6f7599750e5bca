"""Boxes, windows and cells between an image's own pixels and the square that a network sees."""

from operator import index

import numpy as np
import numpy.typing as npt
from numpy.typing import NDArray

from fastwsol.config import Fit

Size = int | tuple[int, int]
"""Of the pixels that maps are upsampled to: height and width, or one number for both. Of a network's maps it is the
side of its square.
"""


def shown_windows(fit: Fit, widths: NDArray[np.int32], heights: NDArray[np.int32]) -> NDArray[np.int32]:
    """Return the windows x, y, width, height, int32 [N, 4], of what is shown of images of `widths` x `heights` pixels,
    [N] each: all of it, or under crop the middle square, the odd pixel being left out at the end.
    """
    if fit == "stretch":
        zeros = np.zeros_like(widths)
        return np.stack([zeros, zeros, widths, heights], axis=1).astype(np.int32)
    sides = np.minimum(widths, heights)
    return np.stack([(widths - sides) // 2, (heights - sides) // 2, sides, sides], axis=1).astype(np.int32)


def windows_in_square(windows: NDArray[np.int32], shown: NDArray[np.int32], side: int) -> NDArray[np.int32]:
    """Return `windows` [N, 4], which lie in the windows `shown` [N, 4], as they lie in squares of `side` pixels that
    those were stretched to: edges are rounded to whole pixels, and no window is empty.
    """
    lengths = shown[:, 2:].astype(np.int64)
    begins = windows[:, :2].astype(np.int64) - shown[:, :2]
    first = (2 * begins * side + lengths) // (2 * lengths)  # rounded, in whole numbers
    last = (2 * (begins + windows[:, 2:]) * side + lengths) // (2 * lengths)
    first = np.minimum(first, side - 1)
    return np.concatenate([first, np.maximum(last - first, 1)], axis=1).astype(np.int32)


def enlarge_cells(cells: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Enlarge a mask of c x c cells to pixels, uint8 [height, width]: a pixel takes the cell its centre lies in."""
    wide = np.repeat(cells, _pixels_of_cells(len(cells), width), axis=1)
    return np.repeat(wide, _pixels_of_cells(len(cells), height), axis=0)


def _pixels_of_cells(cells: int, pixels: int) -> NDArray[np.int64]:
    """How many of so many pixels have their centres in each of the cells of an axis, in whole numbers."""
    # Pixel i is the first of cell k where (i + 1/2) * cells / pixels >= k.
    firsts = -((cells - 2 * pixels * np.arange(cells + 1)) // (2 * cells))
    return np.diff(firsts)


def to_square(
    boxes: npt.NDArray[np.float32], widths: npt.ArrayLike, heights: npt.ArrayLike, size: Size
) -> npt.NDArray[np.float32]:
    """Boxes [N, 4] in the original images' pixels -> the same boxes in the network's square of `size` pixels.

    `widths` and `heights` are the original images', one number or [N]; `size` is the square's side, or a
    height and width. Raises ValueError for a size that is not positive or does not fit the boxes. `to_original` is the
    inverse, up to float32 rounding.
    """
    originals, square = _sizes(boxes, widths, heights, size)
    return (boxes.astype(np.float64) * square / originals).astype(np.float32)


def to_original(
    boxes: npt.NDArray[np.float32] | npt.NDArray[np.int32],
    widths: npt.ArrayLike,
    heights: npt.ArrayLike,
    size: Size,
) -> npt.NDArray[np.float32]:
    """Boxes [N, 4] in the network's square -> in the original images' pixels. The inverse of `to_square`."""
    originals, square = _sizes(boxes, widths, heights, size)
    return (boxes.astype(np.float64) * originals / square).astype(np.float32)


def _sizes(
    boxes: npt.NDArray, widths: npt.ArrayLike, heights: npt.ArrayLike, size: Size
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Width, height, width, height of each box's image, float64 [N, 4], and of the square [4]."""
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"boxes have shape {boxes.shape}, expected [N, 4]")
    widths, heights = np.asarray(widths, np.float64), np.asarray(heights, np.float64)
    for name, values in (("widths", widths), ("heights", heights)):
        if values.shape not in ((), (len(boxes),)):
            raise ValueError(f"{name} have shape {values.shape}, expected one number or [{len(boxes)}], one a box")
        if not (values > 0).all():
            raise ValueError(f"{name} must be positive, found {values.min()}")
    height, width = both_sides(size)
    if height < 1 or width < 1:
        raise ValueError(f"the square is {height} x {width} pixels, expected at least 1 x 1")
    sizes = np.empty((len(boxes), 4))
    sizes[:, 0::2] = widths[..., np.newaxis]
    sizes[:, 1::2] = heights[..., np.newaxis]
    return sizes, np.array([width, height, width, height], np.float64)


def both_sides(size: Size) -> tuple[int, int]:
    """Height and width of a size."""
    height, width = (index(each) for each in (size if isinstance(size, (tuple, list)) else (size, size)))
    return height, width
