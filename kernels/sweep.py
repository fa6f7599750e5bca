"""Every threshold at once: one pass over a map's pixels by falling value gives the boxes at every level.

As the level falls, pixels join and nothing ever leaves. A pixel looks at the eight around it that are in already:

    # # .        neighbours that touch each other are one component already,
    . p .        so it is enough to ask one of each group: here two, the upper left and the lower right.
    . . #        Which ones, a table says that has an entry for each state of the eight.

A union-find over components, each with its pixel count and tight box, merges what the pixel joins. Counts only grow, so
the largest component of a level is found by looking at those that changed (the same idea as in a component tree: Najman
and Couprie 2006).
"""

import functools

import numpy as np
import numpy.typing as npt
from numba import prange

from kernels.checks import BoxArray, checked_boxes, checked_maps, checked_offsets, parts_of
from kernels.compiling import njit
from kernels.components import root_of
from kernels.levels import LEVELS, TOP_LEVEL

# Columns of the component table. FIRST is the first pixel in row order, y * W + x; CHANGED the last level it grew at.
PIXELS, FIRST, X0, Y0, X1, Y1, CHANGED = range(7)

# Numba makes float64 of uint64 with int64, so every operand beside an unsigned number is one; and an unsigned index is
# not asked whether it counts from the end.
_ONE, _SIXTEEN, _LOW_HALF = np.uint64(1), np.uint64(16), np.uint64(0xFFFF)

_LONGEST_SIDE = 0xFFFF  # a pixel's place is y << 16 | x in 32 bits

# The eight neighbours as (dy, dx); bit k of a mask stands for the k-th.
_STATES = 1 << 8  # each of them may be in or not
_AROUND = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))


def threshold_sweep(maps: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """Boxes int32 [N, LEVELS, 4]: at [n, k] that of the largest component of maps[n] >= k, chosen as `cam_boxes` does.

    `maps` is uint8 [N, H, W]. Raises ValueError for another dtype or shape.
    """
    maps = _checked(maps)
    return _sweep_boxes(maps, *_grouped(maps.shape[2]), parts_of(maps))


def sweep_ious(
    maps: npt.NDArray[np.uint8],
    truths: BoxArray,
    offsets: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int32],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """What `best_iou` gives at every level, float64 [N, LEVELS] twice: of the largest component's box, and the best of
    all components' boxes (so the second is nowhere below the first). Rows of images without ground truth are NaN.

    `maps` is uint8 [N, H, W]; image n owns rows offsets[n] up to offsets[n + 1] of `truths` [M, 4], in the pixels of
    the original images. `sizes` int32 [N, 2] is the width and height of each, which its map covers: there a side of a
    box is float32(side * width / W). Raises ValueError as `best_iou` and `threshold_sweep` do, and for sizes of another
    shape or below 1.
    """
    maps = _checked(maps)
    truths = checked_boxes(truths, "truths")
    offsets = checked_offsets(offsets, len(maps), len(truths))
    if (
        not isinstance(sizes, np.ndarray)
        or sizes.dtype != np.int32
        or sizes.shape != (len(maps), 2)
        or (sizes < 1).any()
    ):
        raise ValueError(f"sizes must be int32 [{len(maps)}, 2], the width and height of each image, at least 1")
    sizes = np.ascontiguousarray(sizes)
    return _sweep_ious(maps, truths, offsets, sizes, *_grouped(maps.shape[2]), parts_of(maps))


def _checked(maps: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    maps = checked_maps(maps, (np.uint8,))
    if max(maps.shape[1:]) > _LONGEST_SIDE:
        raise ValueError(f"maps have shape {maps.shape}, expected sides of at most {_LONGEST_SIDE}")
    return maps


@functools.lru_cache
def _grouped(width: int) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.uint64]]:
    """For each mask of neighbours that are in: how many groups of them are apart without the pixel, uint8 [states], and
    the way to one of each group, uint64 [states, 4], as steps (modulo 2**64) through maps of rows of `width` + 2.
    """
    groups, jumps = np.zeros(_STATES, np.uint8), np.zeros((_STATES, 4), np.int64)
    for mask in range(_STATES):
        for group, (down, across) in enumerate(_representatives(mask)):
            groups[mask] = group + 1
            jumps[mask, group] = down * (width + 2) + across
    return groups, jumps.astype(np.uint64)


@functools.cache
def _representatives(mask: int) -> list[tuple[int, int]]:
    """One place of each connected group of the neighbours in `mask` that touch the pixel."""
    present = {place for k, place in enumerate(_AROUND) if mask >> k & 1}
    answers = []
    while touching := [place for place in present if _touch(place, (0, 0))]:
        answers.append(min(touching))
        edge = {answers[-1]}
        while edge:
            present -= edge
            edge = {place for place in present if any(_touch(place, each) for each in edge)}
    return answers


def _touch(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return max(abs(one[0] - other[0]), abs(one[1] - other[1])) == 1


@njit(parallel=True)
def _sweep_boxes(
    maps: npt.NDArray[np.uint8], groups: npt.NDArray[np.uint8], jumps: npt.NDArray[np.uint64], parts: int
) -> npt.NDArray[np.int32]:
    count, height, width = maps.shape
    boxes = np.empty((count, LEVELS, 4), np.int32)
    for part in prange(parts):
        places, starts, labels, parents, table = _scratch(height, width)
        for index in range(part * count // parts, (part + 1) * count // parts):
            _sort(maps, index, places, starts)
            labels[:] = -1
            components, largest = 0, -1
            for level in range(TOP_LEVEL, -1, -1):
                first, last = starts[TOP_LEVEL - level], starts[LEVELS - level]
                components, largest = _add(
                    places[first:last], level, width, groups, jumps, labels, parents, table, components, largest
                )
                for side in range(4):
                    boxes[index, level, side] = table[largest, X0 + side] if largest >= 0 else 0
    return boxes


@njit(parallel=True)
def _sweep_ious(
    maps: npt.NDArray[np.uint8],
    truths: npt.NDArray[np.float64],
    offsets: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int32],
    groups: npt.NDArray[np.uint8],
    jumps: npt.NDArray[np.uint64],
    parts: int,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    count, height, width = maps.shape
    of_largest = np.full((count, LEVELS), np.nan)
    best_of_all = np.full((count, LEVELS), np.nan)
    for part in prange(parts):
        places, starts, labels, parents, table = _scratch(height, width)
        ious = np.empty(len(parents))
        live = np.empty(len(parents), np.int32)
        for index in range(part * count // parts, (part + 1) * count // parts):
            own = truths[offsets[index] : offsets[index + 1]]
            if len(own) == 0:
                continue
            _sort(maps, index, places, starts)
            labels[:] = -1
            components, living, largest = 0, 0, -1
            iou = best = 0.0
            for level in range(TOP_LEVEL, -1, -1):
                first, last = starts[TOP_LEVEL - level], starts[LEVELS - level]
                if first < last:
                    before = components
                    components, largest = _add(
                        places[first:last], level, width, groups, jumps, labels, parents, table, components, largest
                    )
                    for component in range(before, components):
                        live[living] = component
                        living += 1
                    living, best = _score(parents, table, live, living, level, own, sizes[index], height, width, ious)
                    iou = ious[largest]
                of_largest[index, level] = iou
                best_of_all[index, level] = best
    return of_largest, best_of_all


@njit()
def _scratch(
    height: int, width: int
) -> tuple[
    npt.NDArray[np.uint32],
    npt.NDArray[np.int64],
    npt.NDArray[np.int32],
    npt.NDArray[np.int32],
    npt.NDArray[np.int32],
]:
    """Room for the sorted pixels and where each value starts, for labels, and for components' parents and table."""
    places = np.empty(height * width, np.uint32)
    labels = np.empty((height + 2) * (width + 2), np.int32)
    # Pixels that met no neighbour when they joined are no neighbours of each other: at most every other one.
    parents = np.empty((height * width + 1) // 2, np.int32)
    return places, np.empty(LEVELS + 1, np.int64), labels, parents, np.empty((len(parents), 7), np.int32)


@njit()
def _score(
    parents: npt.NDArray[np.int32],
    table: npt.NDArray[np.int32],
    live: npt.NDArray[np.int32],
    living: int,
    level: int,
    truths: npt.NDArray[np.float64],
    size: npt.NDArray[np.int32],
    height: int,
    width: int,
    ious: npt.NDArray[np.float64],
) -> tuple[int, float]:
    """Bring `ious` of the first `living` components in `live` up to date, and drop from there those merged into others.

    Returns how many are left and the best IoU among them.
    """
    left, best = 0, 0.0
    for k in range(living):
        component = live[k]
        if parents[component] != component:
            continue
        live[left] = component
        left += 1
        if table[component, CHANGED] == level:
            x0 = _stretched(table[component, X0], size[0], width)
            y0 = _stretched(table[component, Y0], size[1], height)
            x1 = _stretched(table[component, X1], size[0], width)
            y1 = _stretched(table[component, Y1], size[1], height)
            ious[component] = _best_iou(x0, y0, x1, y1, truths)
        best = max(best, ious[component])
    return left, best


@njit()
def _stretched(side: int, of_image: int, of_map: int) -> float:
    """A side of a box of the map in the pixels of its image, as float32 holds it."""
    return np.float64(np.float32(side * of_image / of_map))  # `float` would keep it float32 here


@njit()
def _best_iou(x0: float, y0: float, x1: float, y1: float, truths: npt.NDArray[np.float64]) -> float:
    """As `kernels.best_iou` of one box that is not empty, with `truths` [1 or more, 4]."""
    best = 0.0
    for k in range(len(truths)):
        across = min(x1, truths[k, 2]) - max(x0, truths[k, 0])
        down = min(y1, truths[k, 3]) - max(y0, truths[k, 1])
        width, height = truths[k, 2] - truths[k, 0], truths[k, 3] - truths[k, 1]
        if min(across, down, width, height) > 0:
            shared = across * down
            best = max(best, shared / ((x1 - x0) * (y1 - y0) + width * height - shared))
    return best


@njit()
def _sort(
    maps: npt.NDArray[np.uint8], index: int, places: npt.NDArray[np.uint32], starts: npt.NDArray[np.int64]
) -> None:
    """Fill `places` with y << 16 | x of all pixels by falling value, in row order within one.

    Those of value TOP_LEVEL - k stand at starts[k] up to starts[k + 1].
    """
    height, width = maps.shape[1:]
    ends = np.zeros(LEVELS, np.int64)
    for y in range(height):
        for x in range(width):
            ends[maps[index, y, x]] += 1
    starts[0] = 0
    for k in range(LEVELS):
        starts[k + 1] = starts[k] + ends[TOP_LEVEL - k]
        ends[TOP_LEVEL - k] = starts[k]
    for y in range(height):
        for x in range(width):
            value = maps[index, y, x]
            places[ends[value]] = y << 16 | x
            ends[value] += 1


@njit()
def _add(
    places: npt.NDArray[np.uint32],
    level: int,
    width: int,
    groups: npt.NDArray[np.uint8],
    jumps: npt.NDArray[np.uint64],
    labels: npt.NDArray[np.int32],
    parents: npt.NDArray[np.int32],
    table: npt.NDArray[np.int32],
    components: int,
    largest: int,
) -> tuple[int, int]:
    """Let the pixels at `places` join; returns the number of components there ever were, and the largest one's row.

    `labels` holds a component of each pixel that is in, -1 elsewhere, for a map with a pixel more on every side, row
    after row. Sides that do not change are not stored: that a component grows inwards is what mostly happens.
    """
    for place in places:
        y, x = place >> _SIXTEEN, place & _LOW_HALF
        here = (y + _ONE) * np.uint64(width + 2) + x + _ONE
        mask = _neighbours(labels, here, np.uint64(width + 2))
        row, column, first = np.int32(y), np.int32(x), np.int32(y) * width + np.int32(x)
        if groups[mask] == 0:
            root = components
            components += 1
            parents[root] = root
            table[root, PIXELS] = 0
            table[root, FIRST] = first
            table[root, X0] = column
            table[root, Y0] = row
            table[root, X1] = column + 1
            table[root, Y1] = row + 1
        else:
            root = root_of(parents, labels[here + jumps[mask, 0]])
            for group in range(1, groups[mask]):
                root = _unite(parents, table, root, root_of(parents, labels[here + jumps[mask, group]]))
            if first < table[root, FIRST]:
                table[root, FIRST] = first
            if column < table[root, X0]:
                table[root, X0] = column
            if row < table[root, Y0]:
                table[root, Y0] = row
            if column >= table[root, X1]:
                table[root, X1] = column + 1
            if row >= table[root, Y1]:
                table[root, Y1] = row + 1
        labels[here] = root
        table[root, PIXELS] += 1
        table[root, CHANGED] = level
        if root != largest and (largest < 0 or _larger(table, root, largest)):
            largest = root
    return components, largest


@njit()
def _neighbours(labels: npt.NDArray[np.int32], here: np.uint64, stride: np.uint64) -> np.uint64:
    """Which of the eight pixels around `here` are in, a bit each in the order of `_AROUND`."""
    above, below = here - stride, here + stride
    return (
        np.uint64(labels[above - _ONE] >= 0)
        | np.uint64(labels[above] >= 0) << np.uint64(1)
        | np.uint64(labels[above + _ONE] >= 0) << np.uint64(2)
        | np.uint64(labels[here - _ONE] >= 0) << np.uint64(3)
        | np.uint64(labels[here + _ONE] >= 0) << np.uint64(4)
        | np.uint64(labels[below - _ONE] >= 0) << np.uint64(5)
        | np.uint64(labels[below] >= 0) << np.uint64(6)
        | np.uint64(labels[below + _ONE] >= 0) << np.uint64(7)
    )


@njit()
def _unite(parents: npt.NDArray[np.int32], table: npt.NDArray[np.int32], one: int, other: int) -> int:
    """Merge two roots, counts and boxes included; returns the larger, which stands for both from now on."""
    if one == other:
        return one
    larger, smaller = (one, other) if table[one, PIXELS] >= table[other, PIXELS] else (other, one)
    parents[smaller] = larger
    table[larger, PIXELS] += table[smaller, PIXELS]
    table[larger, FIRST] = min(table[larger, FIRST], table[smaller, FIRST])
    table[larger, X0] = min(table[larger, X0], table[smaller, X0])
    table[larger, Y0] = min(table[larger, Y0], table[smaller, Y0])
    table[larger, X1] = max(table[larger, X1], table[smaller, X1])
    table[larger, Y1] = max(table[larger, Y1], table[smaller, Y1])
    return larger


@njit()
def _larger(table: npt.NDArray[np.int32], one: int, other: int) -> bool:
    """Whether `one` has more pixels than `other`, or as many and its first pixel comes first.

    `other` may have been merged into another component, which then has more pixels than it had and was compared since.
    """
    more = table[one, PIXELS] - table[other, PIXELS]
    return more > 0 or (more == 0 and table[one, FIRST] < table[other, FIRST])
