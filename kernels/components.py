"""The connected components of bit masks, run by run.

A run is a stretch of set pixels in one row. Rows are 64-bit words, so a run's two edges are found with a few bit
operations and the cost follows the number of runs, not of pixels. Runs that touch a run of the row above

    . # # . . .        touching, sideways or by a corner, is   start <= end_above  and  start_above <= end
    . . . # # .        with half-open [start, end)

join its component; a union-find over components merges those that meet later, and each component carries its pixel
count and tight box along, so there is no second pass over the pixels.
"""

import numpy as np
import numpy.typing as npt
from numba import prange

from kernels.compiling import njit

# Columns of the component table.
PIXELS, X0, Y0, X1, Y1 = range(5)

# A product with this de Bruijn sequence puts a different six-bit number on top for each power of two: the position of
# a word's single set bit is one multiplication and one look-up (Leiserson, Prokop, Randall 1998).
_DE_BRUIJN = np.uint64(0x03F79D71B4CB0A89)
_BIT_POSITION = np.empty(64, np.int64)
_BIT_POSITION[[(int(_DE_BRUIJN) << bit) % 2**64 >> 58 for bit in range(64)]] = range(64)

# Numba makes float64 of uint64 with int64, so every operand beside a word is a word.
_ONE, _58, _63 = np.uint64(1), np.uint64(58), np.uint64(63)


@njit(parallel=True)
def largest_component_boxes(
    bits: npt.NDArray[np.uint64], width: int, by_rectangle: bool, parts: int
) -> npt.NDArray[np.int32]:
    """Tight half-open boxes int32 [N, 4] of each mask's largest component; 0,0,0,0 where the mask is empty.

    `bits` is uint64 [N, H, ceil(width / 64)]: pixel x is bit x % 64 of word x // 64, and bits from `width` on are 0.
    Pixels are 8-connected. The largest has the most pixels or, `by_rectangle`, the largest box; ties go to the
    component whose first pixel comes first in row order. The N masks are shared out over `parts` threads, each with its
    own scratch.
    """
    count, height = bits.shape[:2]
    boxes = np.zeros((count, 4), np.int32)
    for part in prange(parts):
        edges, labels, parents, table = _scratch(height, width)
        for index in range(part * count // parts, (part + 1) * count // parts):
            components = _label(bits, index, edges, labels, parents, table)
            largest = _largest(parents, table, components, by_rectangle)
            if largest >= 0:
                for side in range(4):
                    boxes[index, side] = table[largest, X0 + side]
    return boxes


@njit(parallel=True)
def count_components(bits: npt.NDArray[np.uint64], width: int, parts: int) -> npt.NDArray[np.int64]:
    """How many components each mask has, int64 [N]; arguments as in `largest_component_boxes`."""
    count, height = bits.shape[:2]
    numbers = np.zeros(count, np.int64)
    for part in prange(parts):
        edges, labels, parents, table = _scratch(height, width)
        for index in range(part * count // parts, (part + 1) * count // parts):
            for component in range(_label(bits, index, edges, labels, parents, table)):
                numbers[index] += parents[component] == component
    return numbers


@njit(parallel=True)
def all_component_boxes(
    bits: npt.NDArray[np.uint64], width: int, offsets: npt.NDArray[np.int64], parts: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Boxes int32 [M, 4] and pixel counts int32 [M] of all components, in row order of their first pixels.

    Those of mask n go to rows offsets[n] up to offsets[n + 1], as many as `count_components` says.
    """
    count, height = bits.shape[:2]
    boxes = np.empty((offsets[-1], 4), np.int32)
    pixels = np.empty(offsets[-1], np.int32)
    for part in prange(parts):
        edges, labels, parents, table = _scratch(height, width)
        for index in range(part * count // parts, (part + 1) * count // parts):
            row = offsets[index]
            for component in range(_label(bits, index, edges, labels, parents, table)):
                if parents[component] == component:
                    pixels[row] = table[component, PIXELS]
                    for side in range(4):
                        boxes[row, side] = table[component, X0 + side]
                    row += 1
    return boxes, pixels


@njit()
def _scratch(
    height: int, width: int
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Room for the edges and labels of a mask's runs, and for the parents and table of its components."""
    edges = np.empty(height * (width + 1), np.int32)  # a row has at most (width + 1) // 2 runs of two edges
    labels = np.empty(len(edges) // 2, np.int32)
    # Two rows' upper runs and the lower one's that touch none of them stand at least a pixel apart.
    parents = np.empty(((height + 1) // 2) * ((width + 1) // 2), np.int32)
    return edges, labels, parents, np.empty((len(parents), 5), np.int32)


@njit()
def _label(
    bits: npt.NDArray[np.uint64],
    index: int,
    edges: npt.NDArray[np.int32],
    labels: npt.NDArray[np.int32],
    parents: npt.NDArray[np.int32],
    table: npt.NDArray[np.int32],
) -> int:
    """Fill `parents` and `table` with the components of mask `index`; returns how many rows of them are in use.

    A component is a row that is its own parent. It is the one of its first pixel in row order, since rows are used in
    that order and a union keeps the smaller.
    """
    components = 0
    runs = row_start = 0
    for y in range(bits.shape[1]):
        above, above_end = row_start, runs
        row_start = runs
        runs = _find_runs(bits, index, y, edges, runs)
        for run in range(row_start, runs):
            start, end = edges[2 * run], edges[2 * run + 1]
            while above < above_end and edges[2 * above + 1] < start:
                above += 1
            root = -1
            touching = above
            while touching < above_end and edges[2 * touching] <= end:
                other = root_of(parents, labels[touching])
                root = other if root < 0 else _unite(parents, table, root, other)
                touching += 1
            if root < 0:
                root = components
                components += 1
                parents[root] = root
                table[root, PIXELS] = 0
                table[root, X0] = start
                table[root, Y0] = y
                table[root, X1] = end
            table[root, PIXELS] += end - start
            table[root, X0] = min(table[root, X0], start)
            table[root, X1] = max(table[root, X1], end)
            table[root, Y1] = y + 1
            labels[run] = root
    return components


@njit()
def _find_runs(bits: npt.NDArray[np.uint64], index: int, y: int, edges: npt.NDArray[np.int32], runs: int) -> int:
    """Append start and end of each run of row `y` to the `runs` already in `edges`; returns their new number."""
    words = bits.shape[2]
    edge = 2 * runs
    inside = np.uint64(0)
    for k in range(words):
        word = bits[index, y, k]
        changes = word ^ ((word << _ONE) | inside)  # a bit for each pixel that differs from the one on its left
        inside = word >> _63
        while changes:
            lowest = changes & (~changes + _ONE)
            edges[edge] = 64 * k + _BIT_POSITION[(lowest * _DE_BRUIJN) >> _58]
            edge += 1
            changes ^= lowest
    if inside:
        edges[edge] = 64 * words
        edge += 1
    return edge // 2


@njit()
def root_of(parents: npt.NDArray[np.int32], component: int) -> int:
    """The row that stands for the component; halves the path on its way."""
    while parents[component] != component:
        parents[component] = parents[parents[component]]
        component = parents[component]
    return component


@njit()
def _unite(parents: npt.NDArray[np.int32], table: npt.NDArray[np.int32], one: int, other: int) -> int:
    """Merge two roots, counts and boxes included; returns the smaller, which stands for both from now on."""
    if one == other:
        return one
    root, child = min(one, other), max(one, other)
    parents[child] = root
    table[root, PIXELS] += table[child, PIXELS]
    table[root, X0] = min(table[root, X0], table[child, X0])
    table[root, X1] = max(table[root, X1], table[child, X1])
    table[root, Y1] = max(table[root, Y1], table[child, Y1])  # Y0 is the kept one's: it began in an earlier row
    return root


@njit()
def _largest(parents: npt.NDArray[np.int32], table: npt.NDArray[np.int32], components: int, by_rectangle: bool) -> int:
    """The first row with the most pixels (or the largest box), -1 where there is none."""
    largest, most = -1, 0
    for component in range(components):
        if parents[component] != component:
            continue
        if by_rectangle:
            size = (table[component, X1] - table[component, X0]) * (table[component, Y1] - table[component, Y0])
        else:
            size = table[component, PIXELS]
        if size > most:
            largest, most = component, size
    return largest
