"""Decoded images to what the network sees: crop, resample, mirror, normalise and hide, in one pass an image.

The pixels are resampled as `fn.resize(antialias=False)` of DALI does it: half-pixel centres, clamped edges, float
between the passes, one rounding to uint8 at the end. Every image is computed alone, so its pixels depend neither on
the batch it is in nor on the thread that made it.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from numba import njit


class Look(NamedTuple):
    """What all views of a run share."""

    bicubic: bool
    """Cubic convolution (Keys 1981, a = -0.5) where true, linear interpolation where false."""
    hides_first: bool
    """Cells are hidden in the image before it is cropped (where true), or in the finished view."""
    hidden_pixel: npt.NDArray[np.uint8]
    """What hides a cell of the image, uint8 [3]; a cell of the finished view becomes 0."""
    mean: npt.NDArray[np.float64]
    std: npt.NDArray[np.float64]
    """Subtracted and divided by: float64 [3] each, in 0..255."""


def show_views(
    images: npt.NDArray[np.uint8],
    windows: npt.NDArray[np.int32],
    flips: npt.NDArray[np.int32],
    cells: npt.NDArray[np.uint8] | None,
    look: Look,
    out: npt.NDArray[np.float32],
) -> None:
    """Fill `out`, float32 [N, S, S, 3], with the views of `images`, uint8 [N, H, W, 3]. Releases the GIL.

    windows: int32 [N, 4], x, y, width, height inside the image; flips: int32 [N], 1 mirrors; cells: uint8 [N, c, c],
    0 where a cell is hidden, or None. A pixel belongs to the cell that its centre lies in. Raises ValueError for
    shapes that do not belong together and for a window that is empty or reaches outside.
    """
    count, height, width, _ = images.shape
    if out.shape[0] != count or out.ndim != 4 or out.shape[1] != out.shape[2] or out.shape[3] != 3:
        raise ValueError(f"out has shape {out.shape}, expected [{count}, S, S, 3]")
    if windows.shape != (count, 4) or flips.shape != (count,) or (cells is not None and len(cells) != count):
        raise ValueError(f"windows, flips and cells must be of {count} images, as the images are")
    if count and (
        windows[:, :2].min() < 0
        or windows[:, 2:].min() < 1
        or (windows[:, 0] + windows[:, 2]).max() > width
        or (windows[:, 1] + windows[:, 3]).max() > height
    ):
        raise ValueError(f"a window is empty or reaches outside its image of {width}x{height} pixels")
    scale, shift = (1 / look.std).astype(np.float32), (-look.mean / look.std).astype(np.float32)
    hidden = 1 - cells if cells is not None else np.empty((count, 0, 0), np.uint8)
    first, last = (hidden, hidden[:, :0, :0]) if look.hides_first else (hidden[:, :0, :0], hidden)
    _show(images, windows, flips, first, last, look.bicubic, look.hidden_pixel, scale, shift, out)


@njit(cache=True, nogil=True)
def _show(images, windows, flips, hidden_first, hidden_last, bicubic, hidden_pixel, scale, shift, out):  # type: ignore[no-untyped-def]
    size = out.shape[1]
    for i in range(len(images)):
        x, y, width, height = windows[i]
        columns = _columns(images[i], x, y, width, height)
        _hide(hidden_first[i], images.shape[1], images.shape[2], x, y, columns, hidden_pixel)
        rows = _stretch_across(columns, width, size, flips[i], bicubic)
        _stretch_down(rows, bicubic, scale, shift, out[i])
        _clear(hidden_last[i], out[i])


@njit(cache=True, nogil=True)
def _columns(image, x, y, width, height):  # type: ignore[no-untyped-def]
    """The window's pixels on their side, float32 [3 * width, height].

    So a column is contiguous, and the pass along x, which mixes columns by weights of their own, is vectorised over y.
    """
    lines = image.reshape(image.shape[0], -1)
    columns = np.empty((3 * width, height), np.float32)
    for row in range(height):
        for k in range(3 * width):
            columns[k, row] = lines[y + row, 3 * x + k]
    return columns


@njit(cache=True, nogil=True)
def _stretch_across(columns, width, size, flip, bicubic):  # type: ignore[no-untyped-def]
    """Resample along x, mirroring on the way, and stand the result upright: float32 [height, 3 * size]."""
    height = columns.shape[1]
    rows = np.empty((height, 3 * size), np.float32)
    line = np.empty(height, np.float32)
    for target in range(size):
        (i0, i1, i2, i3), (w0, w1, w2, w3) = _taps(target, width, size, bicubic)
        place = size - 1 - target if flip else target
        for channel in range(3):
            a, b = columns[3 * i0 + channel], columns[3 * i1 + channel]
            c, d = columns[3 * i2 + channel], columns[3 * i3 + channel]
            for row in range(height):
                line[row] = w0 * a[row] + w1 * b[row] + w2 * c[row] + w3 * d[row]
            for row in range(height):
                rows[row, 3 * place + channel] = line[row]
    return rows


@njit(cache=True, nogil=True)
def _stretch_down(rows, bicubic, scale, shift, out):  # type: ignore[no-untyped-def]
    """Resample along y, round to 0..255, normalise."""
    height, size = len(rows), len(out)
    lines = out.reshape(size, -1)
    scales, shifts = np.empty(3 * size, np.float32), np.empty(3 * size, np.float32)
    for k in range(3 * size):
        scales[k], shifts[k] = scale[k % 3], shift[k % 3]
    half, black, white = np.float32(0.5), np.float32(0), np.float32(255)
    for target in range(size):
        (i0, i1, i2, i3), (w0, w1, w2, w3) = _taps(target, height, size, bicubic)
        a, b, c, d = rows[i0], rows[i1], rows[i2], rows[i3]
        for k in range(3 * size):
            value = w0 * a[k] + w1 * b[k] + w2 * c[k] + w3 * d[k]
            level = np.floor(min(max(value + half, black), white))
            lines[target, k] = level * scales[k] + shifts[k]


@njit(cache=True, nogil=True, inline="always")
def _taps(target, length, size, bicubic):  # type: ignore[no-untyped-def]
    """Which four of `length` pixels make pixel `target` of `size`, clamped at the edges, and their weights."""
    centre = (target + 0.5) * length / size - 0.5
    first = int(np.floor(centre))
    t = centre - first
    s = 1.0 - t
    if bicubic:
        w0, w3 = -0.5 * t * s * s, -0.5 * s * t * t
        w1, w2 = (1.5 * t - 2.5) * t * t + 1.0, (1.5 * s - 2.5) * s * s + 1.0
    else:  # two of four weights are 0: cheaper than a second loop is long
        w0, w1, w2, w3 = 0.0, s, t, 0.0
    end = length - 1
    indices = (
        min(max(first - 1, 0), end),
        min(max(first, 0), end),
        min(max(first + 1, 0), end),
        min(max(first + 2, 0), end),
    )
    return indices, (np.float32(w0), np.float32(w1), np.float32(w2), np.float32(w3))


@njit(cache=True, nogil=True)
def _hide(hidden, image_height, image_width, x, y, columns, pixel):  # type: ignore[no-untyped-def]
    """Put `pixel` where cells of the image [c, c] are hidden, inside the window at x, y that `columns` holds."""
    cells = len(hidden)
    width, height = columns.shape[0] // 3, columns.shape[1]
    for i in range(cells):
        top = max(_cell_start(i, cells, image_height) - y, 0)
        bottom = min(_cell_start(i + 1, cells, image_height) - y, height)
        for j in range(cells):
            if hidden[i, j] and top < bottom:
                left = max(_cell_start(j, cells, image_width) - x, 0)
                right = min(_cell_start(j + 1, cells, image_width) - x, width)
                for column in range(left, right):
                    for channel in range(3):
                        columns[3 * column + channel, top:bottom] = pixel[channel]


@njit(cache=True, nogil=True)
def _clear(hidden, out):  # type: ignore[no-untyped-def]
    """Put 0, the normalised mean, where cells of the view [c, c] are hidden."""
    cells, size = len(hidden), len(out)
    for i in range(cells):
        top, bottom = _cell_start(i, cells, size), _cell_start(i + 1, cells, size)
        for j in range(cells):
            if hidden[i, j]:
                left, right = _cell_start(j, cells, size), _cell_start(j + 1, cells, size)
                for row in range(top, bottom):
                    out[row, left:right] = 0


@njit(cache=True, nogil=True, inline="always")
def _cell_start(cell, cells, length):  # type: ignore[no-untyped-def]
    """The first of `length` pixels whose centre lies in `cell` of `cells` or beyond: (pixel + 1/2) * cells / length."""
    return -((cells - 2 * length * cell) // (2 * cells))
