"""Decoded images to what the network sees: crop, resample, mirror, jitter, normalise and hide, in one pass an image.

The pixels are resampled as `fn.resize(antialias=True)` of DALI does it: half-pixel centres, clamped edges, float
between the passes, one rounding to uint8 at the end. Along an axis that shrinks, the filter is wider by the same
factor. Every image is computed alone, so its pixels depend neither on the batch it is in nor on the thread that made
it. No product is fused with a sum, so that they do not depend on the processor either.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from kernels.checks import check_array
from kernels.compiling import njit
from kernels.lanes import STREAMED_BYTES, finish_streaming, mix_lanes, stream


class ViewOptions(NamedTuple):
    """What all views of a run share."""

    bicubic: bool
    """Cubic convolution (Keys 1981, a = -0.5) where true, linear interpolation where false."""
    hides_first: bool
    """Cells are hidden in the image before it is cropped (where true), or in the finished view."""
    hidden_pixel: npt.NDArray[np.uint8]
    """What hides a cell of the image, uint8 [3]; a cell of the finished view becomes 0, or this where colour follows.
    """
    mean: npt.NDArray[np.float64]
    std: npt.NDArray[np.float64]
    """Subtracted and divided by: float64 [3] each, in 0..255."""


class Jitter(NamedTuple):
    """Affine steps of colour, K for each of N views: pixels x become matrix x + weight mean(x) + offset, as uint8."""

    matrices: npt.NDArray[np.float32]
    """[N, K, 3, 3]."""
    mean_weights: npt.NDArray[np.float32]
    """The share of the view's own mean colour: [N, K]."""
    offsets: npt.NDArray[np.float32]
    """[N, K, 3]."""


def show_views(
    images: npt.NDArray[np.uint8],
    ids: npt.NDArray[np.int64],
    windows: npt.NDArray[np.int32],
    flips: npt.NDArray[np.int32],
    cells: npt.NDArray[np.uint8] | None,
    jitter: Jitter | None,
    options: ViewOptions,
    out: npt.NDArray[np.float32] | npt.NDArray[np.uint16],
) -> None:
    """Fill `out`, [N, S, S, 3], with views of `images`, uint8 [M, H, W, 3]; view k is of image ids[k].

    windows: int32 [N, 4], x, y, width, height inside the image; flips: int32 [N], 1 mirrors; cells: uint8 [N, c, c],
    0 where a cell is hidden, or None. A pixel belongs to the cell that its centre lies in. `out` is float32, or uint16
    for the bits of bfloat16, which are those of the float32 rounded to nearest, ties to even. Cells that are hidden
    before the jitter are mirrored with the pixels, for the mirror comes last. Releases the GIL. Raises ValueError for
    dtypes and shapes that do not belong together, an id without an image, a window that is empty or reaches outside,
    and cells other than 0 and 1.
    """
    _check_views(images, ids, windows, flips, cells, jitter, options, out)
    count = len(ids)
    scale, shift = (1 / options.std).astype(np.float32), (-options.mean / options.std).astype(np.float32)
    hidden = 1 - cells if cells is not None else np.empty((count, 0, 0), np.uint8)
    if jitter is not None and not options.hides_first:
        hidden = np.where(flips[:, None, None] != 0, hidden[:, :, ::-1], hidden)
    first, last = (hidden, hidden[:, :0, :0]) if options.hides_first else (hidden[:, :0, :0], hidden)
    line_bytes = 3 * out.shape[2] * out.itemsize
    # Levels that the jitter reads again stay in the cache.
    streams = out.ctypes.data % STREAMED_BYTES == 0 and line_bytes % STREAMED_BYTES == 0 and jitter is None
    _show(images, ids, windows, flips, first, last, jitter or _no_jitter(count), options, scale, shift, streams, out)


def _check_views(
    images: npt.NDArray[np.uint8],
    ids: npt.NDArray[np.int64],
    windows: npt.NDArray[np.int32],
    flips: npt.NDArray[np.int32],
    cells: npt.NDArray[np.uint8] | None,
    jitter: Jitter | None,
    options: ViewOptions,
    out: npt.NDArray[np.float32] | npt.NDArray[np.uint16],
) -> None:
    """Raise ValueError for what `show_views` cannot take."""
    check_array("images", images, np.uint8, (None, None, None, 3))
    check_array("ids", ids, np.int64, (None,))
    count, (height, width) = len(ids), images.shape[1:3]
    check_array("windows", windows, np.int32, (count, 4))
    check_array("flips", flips, np.int32, (count,))
    if cells is not None:
        check_array("cells", cells, np.uint8, (count, None, None))
        if cells.shape[1] != cells.shape[2] or (cells.size and cells.max() > 1):
            raise ValueError(f"cells: {list(cells.shape)} up to {cells.max()}, expected [{count}, c, c] of 0 and 1")
    if jitter is not None:
        steps = jitter.offsets.shape[1] if np.ndim(jitter.offsets) == 3 else None
        check_array("jitter.offsets", jitter.offsets, np.float32, (count, steps, 3))
        check_array("jitter.matrices", jitter.matrices, np.float32, (count, steps, 3, 3))
        check_array("jitter.mean_weights", jitter.mean_weights, np.float32, (count, steps))
    check_array("options.hidden_pixel", options.hidden_pixel, np.uint8, (3,))
    check_array("options.mean", options.mean, np.float64, (3,))
    check_array("options.std", options.std, np.float64, (3,))
    side = out.shape[1] if np.ndim(out) == 4 else None
    bits = getattr(out, "dtype", None) == np.uint16
    check_array("out", out, np.uint16 if bits else np.float32, (count, side, side, 3))
    if count and (ids.min() < 0 or ids.max() >= len(images)):
        raise ValueError(f"ids {ids.min()}..{ids.max()} reach outside the {len(images)} images")
    ends = windows[:, :2].astype(np.int64) + windows[:, 2:]
    if count and (windows[:, :2].min() < 0 or windows[:, 2:].min() < 1 or (ends > (width, height)).any()):
        raise ValueError(f"a window is empty or reaches outside its image of {width}x{height} pixels")


def _no_jitter(count: int) -> Jitter:
    return Jitter(
        np.empty((count, 0, 3, 3), np.float32), np.empty((count, 0), np.float32), np.empty((count, 0, 3), np.float32)
    )


_EDGE = 2
"""Pixels that are repeated before and behind each line, so that no tap of a cubic needs to be clamped."""


@njit()
def _show(images, ids, windows, flips, hidden_first, hidden_last, jitter, options, scale, shift, streams, out):  # type: ignore[no-untyped-def]
    size, image_height, image_width = out.shape[1], images.shape[1], images.shape[2]
    scales, shifts = _line_of(scale, size), _line_of(shift, size)
    ones, zeros = np.ones(3 * size, np.float32), np.zeros(3 * size, np.float32)
    cover = _line_of(options.hidden_pixel, max(size, image_width))
    steps = jitter.matrices.shape[1]
    edges_down = _cell_edges(hidden_first.shape[1], image_height)
    edges_across = _cell_edges(hidden_first.shape[1], image_width)
    edges = _cell_edges(hidden_last.shape[1], size)
    # One value more a line: a pixel is written as four, the fourth of which is the next one's first.
    most_down, most_across = min(image_height, size), min(image_width, size)  # of windows that do not shrink
    window = np.empty((most_down, 3 * (most_across + 2 * _EDGE) + 1), np.float32)
    rows = np.empty((most_down, 3 * size + 1), np.float32)
    levels = np.empty((size, 3 * size), np.float32)
    affine = np.empty((2, len(edges) - 1, 3 * size), np.float32)
    starts, weights = np.empty(size, np.uint32), np.empty((4, size), np.float32)
    for i in range(len(ids)):
        x, y, width, height = windows[i]
        shrinks = width > size or height > size
        if shrinks:
            _shrink(
                images[ids[i]], windows[i], hidden_first[i], options, flips[i], edges_down, edges_across, cover, levels
            )
        else:
            _cut(images[ids[i]], x, y, width, height, hidden_first[i], edges_down, edges_across, cover, window)
            _repeat_edges(width, height, window)
            _find_taps(width, options.bicubic, flips[i], starts, weights)
            _stretch_across(window, width, height, flips[i], options.bicubic, starts, weights, rows)
            _find_taps(height, options.bicubic, 0, starts, weights)
        lines, hidden = out[i].reshape(size, 3 * size), hidden_last[i]
        if steps == 0:  # what is hidden becomes 0, the normalised mean
            _mask(hidden, edges, scales, shifts, zeros, affine)
            if shrinks:
                _scale(levels, edges, affine, lines)
            else:
                _stretch_down(rows[:height], options.bicubic, starts, weights, edges, affine, streams, lines)
        else:
            _mask(hidden, edges, ones, zeros, cover, affine)
            if shrinks:
                _scale(levels, edges, affine, levels)
            else:
                _stretch_down(rows[:height], options.bicubic, starts, weights, edges, affine, streams, levels)
            for step in range(steps):
                _shift_colors(jitter.matrices[i, step], jitter.mean_weights[i, step], jitter.offsets[i, step], levels)
            _normalise(levels, scales, shifts, lines)
    finish_streaming()


@njit()
def _shrink(image, box, hidden, options, flip, edges_down, edges_across, cover, levels):  # type: ignore[no-untyped-def]
    """The window of an image at a size to which it shrinks along an axis at least: whole `levels` [size, 3 * size].

    Down first, which goes along whole lines, so that the other pass has few of them left.
    """
    size = len(levels)
    x, y, width, height = box
    firsts, counts, weights = _wide_taps(height, size, options.bicubic)
    cut = np.empty((size, 3 * width), np.float32)
    # Lines of the window as numbers, each of which several targets need: as many as those of a target, in turn.
    depth = weights.shape[1]
    lines = np.empty((depth, 3 * width), np.float32)
    filled = 0  # lines before it have been made
    for target in range(size):
        first, count = firsts[target], counts[target]
        for row in range(max(filled, first), first + count):
            _line_of_window(image, y + row, x, width, hidden, edges_down, edges_across, cover, lines[row % depth])
        filled = max(filled, first + count)
        sums = cut[target]
        sums[:] = 0
        for k in range(count):
            weight, line = weights[target, k], lines[(first + k) % depth]
            for column in range(3 * width):
                sums[column] += weight * line[column]
    firsts, counts, weights = _wide_taps(width, size, options.bicubic)
    half, black, white = np.float32(0.5), np.float32(0), np.float32(255)
    for row in range(size):
        line = cut[row]
        for target in range(size):
            red = green = blue = np.float32(0)
            at = 3 * firsts[target]
            for k in range(counts[target]):
                weight = weights[target, k]
                red += weight * line[at]
                green += weight * line[at + 1]
                blue += weight * line[at + 2]
                at += 3
            place = 3 * (size - 1 - target if flip else target)
            levels[row, place] = np.floor(min(max(red + half, black), white))
            levels[row, place + 1] = np.floor(min(max(green + half, black), white))
            levels[row, place + 2] = np.floor(min(max(blue + half, black), white))


@njit()
def _wide_taps(length, size, bicubic):  # type: ignore[no-untyped-def]
    """Of each of `size` target pixels the first pixel of a line of `length` that it is made of, how many there are, and
    their weights: int64 [size] twice, float32 [size, most]. Pixels beyond the ends are the ends.
    """
    scale = max(1.0, length / size)
    reach = 2.0 * scale if bicubic else scale
    most = 2 * int(np.ceil(reach)) + 2
    firsts, counts = np.empty(size, np.int64), np.empty(size, np.int64)
    weights = np.zeros((size, most), np.float32)
    exact = np.empty(most)
    for target in range(size):
        centre = (target + 0.5) * length / size - 0.5
        low, high = int(np.floor(centre - reach)) + 1, int(np.ceil(centre + reach)) - 1
        first, last = min(max(low, 0), length - 1), min(max(high, 0), length - 1)
        exact[:] = 0
        total = 0.0
        for source in range(low, high + 1):
            weight = _filter(abs(source - centre) / scale, bicubic)
            exact[min(max(source, 0), length - 1) - first] += weight
            total += weight
        firsts[target], counts[target] = first, last - first + 1
        for k in range(last - first + 1):
            weights[target, k] = exact[k] / total
    return firsts, counts, weights


@njit()
def _filter(distance, bicubic):  # type: ignore[no-untyped-def]
    if not bicubic:
        return max(0.0, 1.0 - distance)
    if distance < 1:
        return (1.5 * distance - 2.5) * distance * distance + 1.0
    if distance < 2:
        return ((-0.5 * distance + 2.5) * distance - 4.0) * distance + 2.0
    return 0.0


@njit()
def _line_of_window(image, row, x, width, hidden, edges_down, edges_across, cover, line):  # type: ignore[no-untyped-def]
    """A line of an image's window as float32 [3 * width], with `cover` where cells [c, c] of the image are hidden."""
    source = image[row].reshape(-1)[3 * x : 3 * (x + width)]
    for k in range(3 * width):
        line[k] = source[k]
    for i in range(len(hidden)):
        if edges_down[i] <= row < edges_down[i + 1]:
            for j in range(len(hidden)):
                if hidden[i, j]:
                    first, end = max(edges_across[j] - x, 0), min(edges_across[j + 1] - x, width)
                    for k in range(3 * first, 3 * end):
                        line[k] = cover[k % 3]


@njit()
def _scale(levels, edges, affine, lines):  # type: ignore[no-untyped-def]
    """Scale and shift whole levels [size, 3 * size], as `_stretch_down` does on its way."""
    for i in range(len(edges) - 1):
        scales, shifts = affine[0, i], affine[1, i]
        for row in range(edges[i], edges[i + 1]):
            line = lines[row]
            for k in range(len(line)):
                line[k] = _number(levels[row, k] * scales[k] + shifts[k], line)


@njit()
def _line_of(pixel, length):  # type: ignore[no-untyped-def]
    """`length` times the same pixel: float32 [3 * length]."""
    line = np.empty(3 * length, np.float32)
    for k in range(3 * length):
        line[k] = pixel[k % 3]
    return line


@njit()
def _cut(image, x, y, width, height, hidden, edges_down, edges_across, cover, window):  # type: ignore[no-untyped-def]
    """The image's window, with `cover` where cells [c, c] of the image are hidden, as float32 lines of `window`.

    They begin behind room for their first pixel's repetitions.
    """
    for row in range(height):
        source = image[y + row].reshape(-1)[3 * x : 3 * (x + width)]
        line = window[row, 3 * _EDGE : 3 * (_EDGE + width)]
        for k in range(3 * width):
            line[k] = source[k]
    one, visible = np.float32(1), np.empty(3 * edges_across[-1], np.float32)
    for i in range(len(hidden)):
        first, end = max(edges_down[i] - y, 0), min(edges_down[i + 1] - y, height)
        if first < end:
            _keep(hidden[i], edges_across, visible)
            inside = visible[3 * x : 3 * (x + width)]
            for row in range(first, end):
                line = window[row, 3 * _EDGE : 3 * (_EDGE + width)]
                for k in range(3 * width):
                    line[k] = line[k] * inside[k] + cover[k] * (one - inside[k])


@njit()
def _keep(hidden, edges, visible):  # type: ignore[no-untyped-def]
    """Fill `visible`, float32 [3 * width], with 1, and with 0 where the cells [c] of a line hide it."""
    for j in range(len(hidden)):
        value = np.float32(1 - hidden[j])
        for k in range(3 * edges[j], 3 * edges[j + 1]):
            visible[k] = value


@njit()
def _cell_edges(cells, length):  # type: ignore[no-untyped-def]
    """Where each of `cells` begins among `length` pixels, and where the last ends: int64 [cells + 1].

    A pixel belongs to the cell that its centre lies in: (pixel + 1/2) * cells / length, rounded down. Without cells
    there is one, the whole length: [2].
    """
    cells = max(cells, 1)
    edges = np.empty(cells + 1, np.int64)
    for cell in range(cells + 1):
        edges[cell] = -((cells - 2 * length * cell) // (2 * cells))
    return edges


@njit()
def _repeat_edges(width, height, window):  # type: ignore[no-untyped-def]
    for row in range(height):
        line = window[row]
        for pixel in range(_EDGE):
            for channel in range(3):
                line[3 * pixel + channel] = line[3 * _EDGE + channel]
                line[3 * (_EDGE + width + pixel) + channel] = line[3 * (_EDGE + width - 1) + channel]


@njit()
def _find_taps(length, bicubic, flip, starts, weights):  # type: ignore[no-untyped-def]
    """Where in a line of `length` pixels, with its edges repeated, the taps of each target pixel begin; their weights.

    A cubic's four taps begin at `starts`, a linear one's two at the pixel behind it.
    """
    size = len(starts)
    for target in range(size):
        centre = (target + 0.5) * length / size - 0.5
        first = int(np.floor(centre))
        t = centre - first
        s = 1.0 - t
        place = size - 1 - target if flip else target
        starts[place] = first + _EDGE - 1
        if bicubic:
            weights[0, place], weights[3, place] = -0.5 * t * s * s, -0.5 * s * t * t
            weights[1, place] = (1.5 * t - 2.5) * t * t + 1.0
            weights[2, place] = (1.5 * s - 2.5) * s * s + 1.0
        else:
            weights[1, place], weights[2, place] = s, t


@njit()
def _stretch_across(window, width, height, flip, bicubic, starts, weights, rows):  # type: ignore[no-untyped-def]
    """Resample the first `height` lines along x, mirroring on the way: `rows` float32 [.., 3 * size].

    The starts are unsigned: of a signed index Numba asks each time whether it counts from the end.
    """
    size = len(starts)
    w0, w1, w2, w3 = weights[0], weights[1], weights[2], weights[3]
    for y in range(height):
        line, row = window[y], rows[y]
        if width == size and not flip:  # nothing to resample
            for k in range(3 * size):  # a slice that is assigned takes Numba two seconds more to compile
                row[k] = line[3 * _EDGE + k]
        elif bicubic:
            for target in range(size):
                four = (w0[target], w1[target], w2[target], w3[target])
                mix_lanes(row, 3 * target, line, 3 * starts[target], 3, four)
        else:
            for target in range(size):
                mix_lanes(row, 3 * target, line, 3 * starts[target] + 3, 3, (w1[target], w2[target]))


@njit()
def _mask(hidden, edges, scales, shifts, cover, affine):  # type: ignore[no-untyped-def]
    """What levels are multiplied by and what is added, for each row of cells of the view: `affine` [2, c, 3 * size].

    Where cells [c, c] are hidden, a scale of 0 and a shift to `cover`.
    """
    one, length = np.float32(1), affine.shape[2]
    visible = np.empty(length, np.float32)
    for i in range(len(edges) - 1):
        visible[:] = one
        if len(hidden):
            _keep(hidden[i], edges, visible)
        for k in range(length):
            affine[0, i, k] = scales[k] * visible[k]
            affine[1, i, k] = shifts[k] * visible[k] + cover[k] * (one - visible[k])


@njit()
def _stretch_down(rows, bicubic, starts, weights, edges, affine, streams, lines):  # type: ignore[no-untyped-def]
    """Resample `rows` along y, round to 0..255, scale and shift: `lines` [size, 3 * size]. streams: past the cache.

    The two forms are two functions: in one, the compiler would not vectorise either.
    """
    if bicubic:
        _stretch_down_cubic(rows, starts, weights, edges, affine, streams, lines)
    else:
        _stretch_down_linear(rows, starts, weights, edges, affine, streams, lines)


@njit()
def _stretch_down_linear(rows, starts, weights, edges, affine, streams, lines):  # type: ignore[no-untyped-def]
    half = np.float32(0.5)
    end, length = len(rows) - 1, lines.shape[1]
    line = np.empty(length, lines.dtype)
    for i in range(len(edges) - 1):
        scales, shifts = affine[0, i], affine[1, i]
        for target in range(edges[i], edges[i + 1]):
            w1, w2 = weights[1, target], weights[2, target]
            start = int(starts[target]) - _EDGE
            b, c = rows[min(max(start + 1, 0), end)], rows[min(start + 2, end)]
            for k in range(length):
                level = np.floor(w1 * b[k] + w2 * c[k] + half)
                line[k] = _number(level * scales[k] + shifts[k], line)
            _put(line, streams, lines, target)


@njit()
def _stretch_down_cubic(rows, starts, weights, edges, affine, streams, lines):  # type: ignore[no-untyped-def]
    half, black, white = np.float32(0.5), np.float32(0), np.float32(255)
    end, length = len(rows) - 1, lines.shape[1]
    line = np.empty(length, lines.dtype)
    for i in range(len(edges) - 1):
        scales, shifts = affine[0, i], affine[1, i]
        for target in range(edges[i], edges[i + 1]):
            w0, w1, w2, w3 = weights[0, target], weights[1, target], weights[2, target], weights[3, target]
            start = int(starts[target]) - _EDGE
            a, b = rows[min(max(start, 0), end)], rows[min(max(start + 1, 0), end)]
            c, d = rows[min(start + 2, end)], rows[min(start + 3, end)]
            for k in range(length):
                value = w0 * a[k] + w1 * b[k] + w2 * c[k] + w3 * d[k]
                level = np.floor(min(max(value + half, black), white))
                line[k] = _number(level * scales[k] + shifts[k], line)
            _put(line, streams, lines, target)


@njit(inline="always")
def _put(line, streams, lines, target):  # type: ignore[no-untyped-def]
    to = lines[target]
    if streams:
        for block in range(line.nbytes // STREAMED_BYTES):
            stream(to, block, line)
    else:
        for k in range(len(line)):
            to[k] = line[k]


@njit(inline="always")
def _number(value, line):  # type: ignore[no-untyped-def]
    """A float32 as `line` holds it: as it is, or as the bits of the nearest bfloat16, of two the even one."""
    if line.itemsize == 4:
        return value
    bits = np.float32(value).view(np.uint32)
    return (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)


@njit()
def _shift_colors(matrix, mean_weight, offset, levels):  # type: ignore[no-untyped-def]
    """One step of the jitter, in place on whole numbers 0..255: float32 [size, 3 * size]."""
    size = len(levels)
    totals = np.zeros(3, np.int64)
    for row in range(size):
        for column in range(size):
            for channel in range(3):
                totals[channel] += int(levels[row, 3 * column + channel])
    shift = np.empty(3, np.float32)
    for channel in range(3):
        shift[channel] = mean_weight * np.float32(totals[channel] / (size * size)) + offset[channel] + np.float32(0.5)
    black, white = np.float32(0), np.float32(255)
    for row in range(size):
        line = levels[row]
        for column in range(size):
            k = 3 * column
            red, green, blue = line[k], line[k + 1], line[k + 2]
            for channel in range(3):
                m = matrix[channel]
                value = m[0] * red + m[1] * green + m[2] * blue + shift[channel]
                line[k + channel] = np.floor(min(max(value, black), white))


@njit()
def _normalise(levels, scales, shifts, lines):  # type: ignore[no-untyped-def]
    for row in range(len(lines)):
        line = lines[row]
        for k in range(len(line)):
            line[k] = _number(levels[row, k] * scales[k] + shifts[k], line)
