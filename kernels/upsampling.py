"""Maps upsampled to the pixels that they are cut and measured in, one map at a time and a thread: none is ever stored.

Upsampling is bilinear between pixel centres with edges clamped (torch's `align_corners=False`), in float64 without
fastmath: first along x, then along y, each a + (b - a) * t with t = max(0, (i + 0.5) * in / out - 0.5) - floor(of the
same).
"""

from typing import Literal, NamedTuple, get_args

import numpy as np
import numpy.typing as npt

from kernels.checks import checked_maps, checked_size, refuse_non_finite, refuse_other_than_shares
from kernels.compiling import njit

Scale = Literal["min-max", "own"]
"""What a map's values mean. min-max: each map is scaled by its own extremes, so that it always reaches 0 and 1, as a
class activation map is; own: values are shares of 1 already, as a mask's are, and a map may reach nothing.
"""

Maps = npt.NDArray[np.float32]
"""[N, h, w]."""


class Upsampling(NamedTuple):
    """How maps [h, w] become pixels [H, W]: of each row of pixels and each column the cells on both sides of it and the
    second one's share; and whether values are on their own scale.
    """

    top: npt.NDArray[np.int64]
    bottom: npt.NDArray[np.int64]
    down: npt.NDArray[np.float64]
    left: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]
    across: npt.NDArray[np.float64]
    own_scale: bool

    @property
    def height(self) -> int:
        """H."""
        return len(self.top)

    @property
    def width(self) -> int:
        """W."""
        return len(self.left)


class Room(NamedTuple):
    """What a thread upsamples a map in."""

    rows: npt.NDArray[np.float64]
    """Stretched across alone: [h, W]."""
    pixels: npt.NDArray[np.float64]
    """[H, W]."""
    extremes: npt.NDArray[np.float64]
    """The least and greatest of each column: [2, W]."""


def checked_cams(cams: Maps, size: int | tuple[int, int], scale: Scale) -> tuple[Maps, Upsampling]:
    """The maps, C-contiguous, and how they are upsampled to `size`, height and width or one number for both.

    Raises ValueError for another dtype, shape or scale, a map that holds NaN or infinity (under `own`, anything outside
    0..1), and a size below 1.
    """
    if scale not in get_args(Scale):
        raise ValueError(f"there is no scale {scale!r}; choose from {', '.join(get_args(Scale))}")
    cams = checked_maps(cams, (np.float32,))
    height, width = checked_size(size)
    refuse_non_finite(np.all(np.isfinite(cams), axis=(1, 2)))
    if scale == "own":
        refuse_other_than_shares(cams)
    along_y, along_x = _source_positions(cams.shape[1], height), _source_positions(cams.shape[2], width)
    return cams, Upsampling(*along_y, *along_x, scale == "own")


def _source_positions(
    size: int, target_size: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Of `target_size` pixels along an axis of `size` cells."""
    position = np.maximum((np.arange(target_size) + 0.5) * size / target_size - 0.5, 0.0)
    below = np.minimum(position.astype(np.int64), size - 1)
    return below, np.minimum(below + 1, size - 1), position - below


@njit()
def room_for(cams: Maps, how: Upsampling) -> Room:
    """Room for one of the maps after the other."""
    height, width = len(how.top), len(how.left)
    return Room(np.empty((cams.shape[1], width)), np.empty((height, width)), np.empty((2, width)))


@njit()
def upsample(cams: Maps, index: int, how: Upsampling, room: Room) -> tuple[float, float]:
    """Fill the pixels of `room` with map `index`. Returns the values v that are 0 and 1 once they are scaled: x = (v -
    low) / (high - low). They are equal for a constant map that is scaled by its extremes.
    """
    stretch_across(cams, index, how.left, how.right, how.across, room.rows)
    low, high = _stretch_down(room.rows, how.top, how.bottom, how.down, room.pixels, room.extremes)
    return (0.0, 1.0) if how.own_scale else (low, high)


@njit()
def stretch_across(
    cams: Maps,
    index: int,
    left: npt.NDArray[np.int64],
    right: npt.NDArray[np.int64],
    across: npt.NDArray[np.float64],
    rows: npt.NDArray[np.float64],
) -> None:
    """Upsample map `index` along x, into `rows` [h, W]."""
    for y in range(cams.shape[1]):
        for x in range(len(left)):
            a = np.float64(cams[index, y, left[x]])
            b = np.float64(cams[index, y, right[x]])
            rows[y, x] = a + (b - a) * across[x]


@njit()
def _stretch_down(
    rows: npt.NDArray[np.float64],
    top: npt.NDArray[np.int64],
    bottom: npt.NDArray[np.int64],
    down: npt.NDArray[np.float64],
    pixels: npt.NDArray[np.float64],
    extremes: npt.NDArray[np.float64],
) -> tuple[float, float]:
    """Fill `pixels`; returns their least and greatest, taken a column at a time so that the loops stay vectorised."""
    extremes[0] = np.inf
    extremes[1] = -np.inf
    for y in range(len(top)):
        upper, lower, share = top[y], bottom[y], down[y]
        for x in range(rows.shape[1]):
            a = rows[upper, x]
            b = rows[lower, x]
            pixels[y, x] = a + (b - a) * share
        for x in range(rows.shape[1]):
            extremes[0, x] = min(extremes[0, x], pixels[y, x])
            extremes[1, x] = max(extremes[1, x], pixels[y, x])
    return extremes[0].min(), extremes[1].max()
