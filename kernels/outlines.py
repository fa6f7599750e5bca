"""Outlines of masks: the closed ways around their pixels, along the pixels' edges."""

import numpy as np
import numpy.typing as npt

from kernels.compiling import njit

Ring = npt.NDArray[np.int64]
"""Corners of a closed way, [n, 2]: x, y in pixels, whole numbers. The last one is joined to the first."""


def outlines(mask: npt.NDArray[np.bool_]) -> list[Ring]:
    """The ways around the pixels of a mask [H, W], which they enclose to the pixel.

    A way keeps the mask's pixels on its right (y grows downwards): around a part it runs clockwise, around a hole
    counterclockwise, so that `signed_area` tells them apart. Pixels that touch at a corner alone are parts of their
    own. Corners are where a way turns. A mask without a pixel has none.

    ::

         0 1 2 3          (1, 0) -> (3, 0)
       0 . # # .            ^         |
       1 . # # .          (1, 2) <- (3, 2)
    """
    if mask.ndim != 2 or mask.dtype != np.bool_:
        raise ValueError(f"mask {mask.dtype} {list(mask.shape)}, expected bool [H, W]")
    corners, ends = _trace(np.pad(mask, 1))
    return np.split(corners, ends[:-1]) if len(ends) else []


def signed_area(ring: Ring) -> float:
    """The pixels that a way encloses, negative where it runs counterclockwise."""
    x, y = ring[:, 0], ring[:, 1]
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2


def simplified(ring: Ring, tolerance: float) -> Ring:
    """The way with fewer corners: none of those left out lies further than `tolerance` pixels from what remains
    (Douglas and Peucker 1973, from the two corners that lie farthest apart along x or y).
    """
    span = np.ptp(ring, axis=0)
    along = ring[:, int(span[1] > span[0])]
    first, second = sorted((int(along.argmin()), int(along.argmax())))
    kept = np.zeros(len(ring) + 1, np.bool_)
    turned = np.concatenate([ring[first:], ring[: first + 1]])  # begins and ends at the same corner
    middle = second - first
    kept[[0, middle, len(ring)]] = True
    _keep_far_ones(turned, 0, middle, tolerance, kept)
    _keep_far_ones(turned, middle, len(ring), tolerance, kept)
    return turned[:-1][kept[:-1]]


# Directions: right, down, left, up.
_DX = np.array([1, 0, -1, 0])
_DY = np.array([0, 1, 0, -1])


@njit()
def _trace(mask):  # type: ignore[no-untyped-def]
    """Of a mask with a margin of one pixel, bool [H + 2, W + 2]: the corners of all ways end to end, int64 [M, 2], and
    where each way ends, int64 [ways].
    """
    height, width = mask.shape
    # edges[d, y, x]: whether an edge leads from corner (x, y) in direction d; then, whether a way has taken it.
    edges = np.zeros((4, height, width), np.bool_)
    taken = np.zeros((4, height, width), np.bool_)
    count = 0
    for y in range(1, height):
        for x in range(1, width):
            above_left, above = mask[y - 1, x - 1], mask[y - 1, x]
            left, here = mask[y, x - 1], mask[y, x]
            edges[0, y, x] = here and not above
            edges[1, y, x] = left and not here
            edges[2, y, x] = above_left and not left
            edges[3, y, x] = above and not above_left
            count += edges[0, y, x] + edges[1, y, x] + edges[2, y, x] + edges[3, y, x]
    corners = np.empty((count, 2), np.int64)
    ends = np.empty(count // 4, np.int64)
    found = ways = 0
    for start_y in range(1, height):
        for start_x in range(1, width):
            if taken[0, start_y, start_x] or not edges[0, start_y, start_x]:  # each way has an edge to the right
                continue
            start = found
            x, y, direction = start_x, start_y, 0
            before = -1
            while not taken[direction, y, x]:
                taken[direction, y, x] = True
                if direction != before:
                    corners[found, 0], corners[found, 1] = x - 1, y - 1
                    found += 1
                before = direction
                x, y = x + _DX[direction], y + _DY[direction]
                for turn in (1, 0, 3):  # to the right first: pixels that touch at a corner are apart
                    if edges[(direction + turn) % 4, y, x]:
                        direction = (direction + turn) % 4
                        break
            if before == 0:  # the way goes straight through the corner that it began at
                corners[start : found - 1] = corners[start + 1 : found].copy()
                found -= 1
            ends[ways] = found
            ways += 1
    return corners[:found], ends[:ways]


@njit()
def _keep_far_ones(ring, first, last, tolerance, kept):  # type: ignore[no-untyped-def]
    """Set `kept` for the corners between `first` and `last` that are needed for the tolerance."""
    stack = [(first, last)]
    while len(stack) > 0:
        a, b = stack.pop()
        dx, dy = ring[b, 0] - ring[a, 0], ring[b, 1] - ring[a, 1]
        length = dx * dx + dy * dy
        farthest, at = tolerance * tolerance, -1
        for k in range(a + 1, b):
            px, py = ring[k, 0] - ring[a, 0], ring[k, 1] - ring[a, 1]
            share = min(1.0, max(0.0, (px * dx + py * dy) / length)) if length > 0 else 0.0
            away_x, away_y = px - share * dx, py - share * dy
            distance = away_x * away_x + away_y * away_y
            if distance > farthest:
                farthest, at = distance, k
        if at >= 0:
            kept[at] = True
            stack.append((a, at))
            stack.append((at, b))
