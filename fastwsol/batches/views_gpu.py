"""Views of decoded images on a GPU, in plain torch, which torch.compile turns into one pass. `kernels.show_views` does
the same on a CPU.

The same windows, flips, cells and jitter give the same masks exactly and the same pixels within a level: taps are found
in whole numbers, weights are float32, and a GPU fuses products with sums.
"""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from fastwsol.batches.stream import mean_pixel
from fastwsol.config import Augmentation, Statistics
from fastwsol.host.device import let_compile_many


@dataclass(frozen=True)
class DeviceViews:
    """`draws.Views` on a device, of N views, and the images they are of."""

    rows: Tensor
    """Where each image stands in the store: int64 [N]."""
    windows: Tensor
    """x, y, width, height: int32 [N, 4]."""
    flips: Tensor
    """int32 [N]."""
    cells: Tensor | None = None
    """uint8 [N, c, c], 0 where a cell is hidden."""
    matrices: Tensor | None = None
    """float32 [N, K, 3, 3]; with the next two the jitter, as in `kernels.Jitter`."""
    mean_weights: Tensor | None = None
    """float32 [N, K]."""
    offsets: Tensor | None = None
    """float32 [N, K, 3]."""


@dataclass(frozen=True)
class _ViewOptions:
    """What all views of a stream share; tensors float32 [3] on the device."""

    size: int
    crops: bool
    bicubic: bool
    hides_first: bool
    hidden_pixel: Tensor
    scale: Tensor
    shift: Tensor
    dtype: torch.dtype
    tables: dict[int, Tensor] = field(default_factory=dict)
    """By the length of an image's side, `_wide_weights` of all its windows (`_table`), where they are looked up."""


Show = Callable[[Tensor, DeviceViews], Tensor]
"""pixels uint8 [M, H, W, 3], views of N of them -> what the network sees: [N, 3, S, S] in channels-last memory."""


@functools.lru_cache(maxsize=8)
def make_show(
    augmentation: Augmentation,
    statistics: Statistics,
    height: int,
    width: int,
    device: torch.device,
    dtype: torch.dtype,
    compiled: bool,
) -> Show:
    """The function that shows decoded images of one size on a device. With `compiled`, and where pixels are resampled,
    it is one pass over them; else it is a few operations, for which the weights of small images' windows are looked up.
    Functions are cached, so that each is compiled once.
    """
    mean, std = statistics
    whole = not augmentation.shows_parts and height == width == augmentation.image_size

    def on_device(values: object) -> Tensor:
        return torch.tensor(np.asarray(values), dtype=torch.float32, device=device)

    options = _ViewOptions(
        size=augmentation.image_size,
        crops=not whole,
        bicubic=augmentation.resampler == "bicubic",
        hides_first=augmentation.hides_first,
        hidden_pixel=on_device(mean_pixel(mean)),
        scale=on_device(1 / np.array(std)),
        shift=on_device(-np.array(mean) / np.array(std)),
        dtype=dtype,
    )

    if not compiled and not whole and max(_table_bytes(side, options.size) for side in (height, width)) <= _MOST_BYTES:
        options.tables.update({side: _table(side, options, device) for side in {height, width}})

    def show(pixels: Tensor, views: DeviceViews) -> Tensor:
        return _show(pixels, views, options)

    if not compiled or whole:
        return show
    let_compile_many()  # all of these functions are one to torch
    return torch.compile(show, dynamic=False)


def _show(pixels: Tensor, views: DeviceViews, options: _ViewOptions) -> Tensor:
    if not options.crops:
        levels = _mirrored(pixels[views.rows].float(), views.flips)
    elif options.tables or max(pixels.shape[1:3]) > options.size:
        levels = _shrunk(pixels, views, options)
    else:
        levels = _resampled(pixels, views, options)
    visible = None
    if views.cells is not None and not options.hides_first:
        cell = _cell_of(torch.arange(options.size, device=pixels.device), views.cells.shape[1], options.size)
        visible = views.cells[:, cell[:, None], cell[None, :], None] != 0
    if views.matrices is not None:
        # The jitter is the tail of every method: it acts on hidden cells too, which the mirror after it moves as well.
        visible = None if visible is None else _mirrored(visible, views.flips)
        levels = levels if visible is None else torch.where(visible, levels, options.hidden_pixel)
        levels, visible = _jittered(levels, views), None
    images = levels * options.scale + options.shift
    if visible is not None:
        images = images.masked_fill(~visible, 0.0)  # `torch.where` would send its 0 to the GPU
    return images.to(options.dtype).permute(0, 3, 1, 2)


def _mirrored(images: Tensor, flips: Tensor) -> Tensor:
    return torch.where(flips[:, None, None, None] != 0, images.flip(2), images)


def _resampled(pixels: Tensor, views: DeviceViews, options: _ViewOptions) -> Tensor:
    """The windows at the views' size, in whole levels: float32 [N, S, S, 3]."""
    _, height, width, _ = pixels.shape
    x, y, window_width, window_height = views.windows.long().unbind(1)
    columns, across = _taps(x, window_width, options)
    columns, across = (torch.where(views.flips[:, None, None] != 0, each.flip(1), each) for each in (columns, across))
    rows, down = _taps(y, window_height, options)
    image = views.rows[:, None, None]

    def pixel(row: Tensor, column: Tensor) -> Tensor:
        value = pixels[image, row[:, :, None], column[:, None, :]].float()
        if views.cells is None or not options.hides_first:
            return value
        count = views.cells.shape[1]
        view = torch.arange(len(row), device=row.device)[:, None, None]
        cell = _cell_of(row, count, height)[:, :, None], _cell_of(column, count, width)[:, None, :]
        return torch.where(views.cells[view, *cell, None] != 0, value, options.hidden_pixel)

    total = torch.zeros((), device=pixels.device)
    for row, row_weight in zip(rows.unbind(2), down.unbind(2), strict=True):
        line = torch.zeros((), device=pixels.device)
        for column, column_weight in zip(columns.unbind(2), across.unbind(2), strict=True):
            line = line + column_weight[:, None, :, None] * pixel(row, column)
        total = total + row_weight[:, :, None, None] * line
    return torch.floor(total + 0.5).clamp(0, 255)


def _shrunk(pixels: Tensor, views: DeviceViews, options: _ViewOptions) -> Tensor:
    """`_resampled` for images larger than the views, whose windows may shrink: then a pixel of a view is made of more
    than four a side, so each axis is one matrix product. And for small ones, whose weights are looked up: they are a
    tenth of the operations.
    """
    _, height, width, _ = pixels.shape
    x, y, window_width, window_height = views.windows.long().unbind(1)
    images = pixels[views.rows].float()
    if views.cells is not None and options.hides_first:
        rows, columns = (torch.arange(length, device=pixels.device) for length in (height, width))
        count = views.cells.shape[1]
        visible = views.cells[:, _cell_of(rows, count, height)[:, None], _cell_of(columns, count, width)[None, :]] != 0
        images = torch.where(visible[..., None], images, options.hidden_pixel)
    down = _weights(y, window_height, height, options)
    across = _weights(x, window_width, width, options)
    across = torch.where(views.flips[:, None, None] != 0, across.flip(1), across)
    lines = torch.einsum("nth,nhwc->ntwc", down, images)
    return torch.floor(torch.einsum("nsw,ntwc->ntsc", across, lines) + 0.5).clamp(0, 255).contiguous()


_MOST_BYTES = 2**26


def _table_bytes(length: int, size: int) -> int:
    """Of the weights of all windows of `length` pixels: 34 MB for views of 64 pixels of images of 64."""
    return 4 * length * (length + 1) // 2 * size * length


def _table(length: int, options: _ViewOptions, device: torch.device) -> Tensor:
    """The weights of all windows along an axis of `length` pixels: those of length 1 first, by their starts."""
    windows = [(start, each) for each in range(1, length + 1) for start in range(length + 1 - each)]
    starts, lengths = torch.tensor(windows, device=device).unbind(1)
    return _wide_weights(starts, lengths, length, options)


def _weights(start: Tensor, length: Tensor, full_length: int, options: _ViewOptions) -> Tensor:
    """`_wide_weights`, computed or looked up."""
    if full_length not in options.tables:
        return _wide_weights(start, length, full_length, options)
    shorter = length - 1
    before = shorter * (full_length + 1) - torch.div(shorter * length, 2, rounding_mode="floor")
    return options.tables[full_length][before + start]


def _wide_weights(start: Tensor, length: Tensor, full_length: int, options: _ViewOptions) -> Tensor:
    """The weight of each of an image's pixels in each of a view's, along an axis: float32 [N, S, full_length].

    Windows are as in `_taps`. What a filter would take from beyond a window's end, it takes from the end.
    """
    scale = (length[:, None, None] / options.size).clamp(min=1)
    centre = (torch.arange(options.size, device=start.device)[:, None] + 0.5) * (
        length[:, None, None] / options.size
    ) - 0.5

    def weight(place: Tensor) -> Tensor:
        distance = (place - centre).abs() / scale
        if not options.bicubic:
            return (1 - distance).clamp(min=0)
        near = (1.5 * distance - 2.5) * distance * distance + 1
        far = ((-0.5 * distance + 2.5) * distance - 4) * distance + 2
        return near * (distance < 1) + far * ((distance >= 1) & (distance < 2))

    place = torch.arange(full_length, device=start.device) - start[:, None, None]
    end = length[:, None, None] - 1
    weights = weight(place) * ((place >= 0) & (place <= end))
    reach = math.ceil((2 if options.bicubic else 1) * max(1, full_length / options.size))
    beyond = torch.arange(1, reach + 1, device=start.device)
    before, behind = (weight(each).sum(2, keepdim=True) for each in (-beyond, end + beyond))
    weights = weights + before * (place == 0) + behind * (place == end)
    return weights / weights.sum(2, keepdim=True)


def _taps(start: Tensor, length: Tensor, options: _ViewOptions) -> tuple[Tensor, Tensor]:
    """Which pixels of the image make each of a view's, clamped at the window's edges, and their weights: [N, S, K]
    each, K = 4 or 2, for windows that begin at `start` [N] and have `length` [N] pixels.
    """
    target = torch.arange(options.size, device=start.device)
    # (target + 1/2) * length / size - 1/2, over 2 * size, so that the floor is exact.
    centre = (2 * target + 1) * length[:, None] - options.size
    first = torch.div(centre, 2 * options.size, rounding_mode="floor")
    t = (centre - first * (2 * options.size)).float() / (2 * options.size)
    s = 1 - t
    if options.bicubic:
        taps = range(-1, 3)
        weights = [
            -0.5 * t * s * s,
            (1.5 * t - 2.5) * t * t + 1,
            (1.5 * s - 2.5) * s * s + 1,
            -0.5 * s * t * t,
        ]
    else:
        taps, weights = range(2), [s, t]
    end = (length - 1)[:, None]
    indices = [start[:, None] + torch.minimum((first + tap).clamp(min=0), end) for tap in taps]
    return torch.stack(indices, 2), torch.stack(weights, 2)


def _cell_of(pixel: Tensor, cells: int, length: int) -> Tensor:
    """The cell of `cells` that a pixel's centre lies in, of `length`: (pixel + 1/2) * cells / length, rounded down."""
    return (2 * pixel + 1) * cells // (2 * length)


def _jittered(levels: Tensor, views: DeviceViews) -> Tensor:
    assert views.matrices is not None
    assert views.mean_weights is not None
    assert views.offsets is not None
    for step in range(views.matrices.shape[1]):
        mean = levels.mean(dim=(1, 2), keepdim=True)
        shift = views.mean_weights[:, step, None, None, None] * mean + views.offsets[:, step, None, None, :]
        moved = torch.einsum("nyxc,ndc->nyxd", levels, views.matrices[:, step])
        levels = torch.floor(moved + shift + 0.5).clamp(0, 255)
    return levels
