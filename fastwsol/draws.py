"""All chance in a run: images' order, crop windows, flips, hidden cells, colour jitter, mixed views, hidden attention.

Every draw is a function of (seed, epoch, image id, purpose) through Philox4x32-10, so what the network sees of an image
does not depend on threads, batch size, world size or the point of resume. Nothing here has a state, and nothing else
in fastwsol draws at random (initial weights excepted, which come from one generator of the same seed).
"""

import functools
import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray

from fastwsol.config import Augmentation
from fastwsol.geometry import shown_windows
from kernels import Jitter
from kernels.compiling import njit
from kernels.philox import philox4x32, random_words

CELLS = 16
"""Cells a side of a drawn Hide-and-Seek mask: the finest grid; a coarser grid's cells are blocks of these."""

GRIDS = (0, 4, 8, 16)
"""Hide-and-Seek grid sizes, one drawn for each view; 0 hides nothing (paper, section 3; HnS mixed)."""

COLOR_STEPS = 4
"""Brightness, contrast, saturation and lighting, in an order drawn for each view."""


class Purpose(IntEnum):
    """What a draw is for: the third word of its Philox counter. The values are part of every run's meaning."""

    ORDER = 0
    CROP = 1
    FLIP = 2
    GRID = 3
    CELLS = 4
    COLOR = 5
    HOLDOUT = 6
    BOOTSTRAP = 7
    VAL = 8
    GALLERY = 9
    MIX = 10
    REVIEW = 11
    ATTENTION = 12
    SIGNS = 13


@dataclass(frozen=True)
class Views:
    """How each of N images is shown to the network this time."""

    windows: NDArray[np.int32]
    """Crop windows x, y, width, height in the original image's pixels: [N, 4]. Without GR all that is shown."""
    flips: NDArray[np.int32]
    """1 where the view is mirrored left to right: [N]."""
    cells: NDArray[np.uint8] | None
    """Hide-and-Seek, 1 where a cell is kept and 0 where it is hidden: [N, 16, 16]; None without HnS."""
    color: Jitter | None
    """Colour jitter, four affine steps; None without it."""


@dataclass(frozen=True)
class Mixes:
    """What each of N views takes of its partner."""

    windows: NDArray[np.int32]
    """CutMix: the window that is the partner's, x, y, width, height in the network's square: [N, 4]; else zeros."""
    kept: NDArray[np.float32]
    """The share of the view that stays its own, in 0..1, and so its label's: [N]."""


def stream_slice(seed: int, count: int, start: int, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the image ids and the epochs, int64 [size] each, at positions start .. start + size of the endless stream.

    The stream is the epochs' permutations of 0 .. count - 1 laid end to end; a slice may straddle epochs.
    """
    positions = np.arange(start, start + size, dtype=np.int64)
    epochs = positions // count
    ids = np.empty(size, np.int64)
    for epoch in np.unique(epochs):
        inside = epochs == epoch
        ids[inside] = epoch_order(seed, int(epoch), count)[positions[inside] % count]
    return ids, epochs


@functools.lru_cache(maxsize=4)
def epoch_order(seed: int, epoch: int, count: int, purpose: Purpose = Purpose.ORDER) -> NDArray[np.int64]:
    """Return the epoch's order, int64 [count], read-only: the ids 0 .. count - 1 sorted by a random key each."""
    ids = np.arange(count, dtype=np.int64)
    words = random_words(ids, np.full(count, epoch), purpose, 1, _key(seed)).astype(np.uint64)
    order = np.argsort(words[:, 0] << np.uint64(32) | words[:, 1], kind="stable")
    order.flags.writeable = False
    return order


HOLDOUT_SEED = 0
"""The seed of the order in which images are held out. It is not the run's seed: runs with other seeds hold out the same
images, and so can be compared on them.
"""


def ids_of_each_class(labels: NDArray[np.int64], per_class: int) -> NDArray[np.int64]:
    """Return the ids, ascending int64, of `per_class` images of each class, chosen by a seeded order.

    labels: int64 [N]. A larger `per_class` gives the same images and more.
    """
    order = epoch_order(HOLDOUT_SEED, 0, len(labels), Purpose.HOLDOUT)
    by_class = order[np.argsort(labels[order], kind="stable")]
    _, counts = np.unique(labels, return_counts=True)
    ends = np.cumsum(counts)
    of_classes = [by_class[end - min(per_class, count) : end] for end, count in zip(ends, counts, strict=True)]
    return np.sort(np.concatenate(of_classes))


def val_order(count: int) -> NDArray[np.int64]:
    """The order, int64 [count], in which a class's images become val where a data set has none."""
    return epoch_order(HOLDOUT_SEED, 0, count, Purpose.VAL)[::-1]


def gallery_order(count: int) -> NDArray[np.int64]:
    """The order, int64 [count], in which a report's random images are taken."""
    return epoch_order(HOLDOUT_SEED, 0, count, Purpose.GALLERY)


def review_order(count: int, seed: int) -> NDArray[np.int64]:
    """The order, int64 [count], in which images are taken into a review's random sample."""
    return epoch_order(seed, 0, count, Purpose.REVIEW)


BOOTSTRAP_SEED = 0
"""The seed of the resamples that intervals are made of. The same results have the same intervals, whatever the run's
seed is.
"""

# How often one of many images is drawn in a resample is Poisson distributed with mean 1; of 2**32 equally likely words,
# those from the k-th bound on mean "more than k times". More than 12 times has a probability below 2**-32.
_POISSON_BOUNDS = np.array(
    [round(2**32 * sum(math.exp(-1) / math.factorial(j) for j in range(k + 1))) for k in range(12)], np.uint32
)


def bootstrap_weights(ids: NDArray[np.int64], resamples: int) -> NDArray[np.float32]:
    """How often each image `ids` [N] stands in each resample of a Poisson bootstrap: float32 [resamples, N], small
    whole numbers.

    An image's weights depend on its id alone, so images can be resampled in parts, and two networks on the same images
    with the same resamples (Chamandy et al. 2012).
    """
    words = random_words(ids, np.zeros(len(ids), np.int64), Purpose.BOOTSTRAP, -(-resamples // 4), _key(BOOTSTRAP_SEED))
    weights = np.empty((len(ids), resamples), np.float32)
    _poisson(words, _POISSON_BOUNDS, weights)
    return weights.T


def signs(ids: NDArray[np.int64], draws: int) -> NDArray[np.int8]:
    """1 or -1, equally likely, of each image `ids` [N] in each of some draws: int8 [N, draws]."""
    words = random_words(ids, np.zeros(len(ids), np.int64), Purpose.SIGNS, -(-draws // 128), _key(BOOTSTRAP_SEED))
    bits = np.unpackbits(words.view(np.uint8), axis=1, count=draws)
    return 2 * bits.view(np.int8) - 1


@njit()
def _poisson(words, bounds, weights):  # type: ignore[no-untyped-def]
    count, resamples = weights.shape
    for image in range(count):
        for resample in range(resamples):
            word, drawn = words[image, resample], 0
            for bound in bounds:  # without a branch, twelve times as fast as a search
                drawn += word >= bound
            weights[image, resample] = drawn


def draw_views(
    augmentation: Augmentation,
    seed: int,
    ids: NDArray[np.int64],
    epochs: NDArray[np.int64],
    widths: NDArray[np.int32],
    heights: NDArray[np.int32],
    packed_rows: NDArray[np.int64] | None = None,
) -> Views:
    """Draw the views of images `ids` [N] in their `epochs` [N]; `widths`, `heights` [N] are the originals' pixels.

    packed_rows: each image's row in the packed split, [N], where `ids` number a subset of it (default: `ids`). The few
    crops of an image are drawn by its row, since their features are kept for the whole packed split.
    """
    key = _key(seed)
    windows = shown_windows(augmentation.fit, widths, heights)
    if augmentation.crops:
        of_crops, turns = ids, epochs
        if augmentation.crops_per_image:
            of_crops = ids if packed_rows is None else packed_rows
            turns = epochs % augmentation.crops_per_image
        origins, (widths, heights) = windows[:, :2], np.ascontiguousarray(windows[:, 2:].T)
        windows = _crop_windows(of_crops, turns, widths, heights, key)
        windows[:, :2] += origins
    flips = np.zeros(len(ids), np.int32)
    if augmentation.flip:
        flips[:] = random_words(ids, epochs, Purpose.FLIP, 1, key)[:, 0] >> 31
    return Views(
        windows=windows,
        flips=flips,
        cells=_hidden_cells(ids, epochs, key) if augmentation.hides else None,
        color=_color_steps(ids, epochs, key) if augmentation.color else None,
    )


def draw_mixes(augmentation: Augmentation, seed: int, ids: NDArray[np.int64], epochs: NDArray[np.int64]) -> Mixes:
    """Draw what the views of images `ids` [N] take of their partners in their `epochs` [N].

    A view is mixed with probability `mix_share`; then the share that it keeps is uniform (the papers' alpha of 1). A
    CutMix window has the square's proportions and a uniform centre, and is cut off at the square's edges; what is kept
    is what lies outside of it (Yun et al. 2019; Zhang et al. 2018).
    """
    uniform = (random_words(ids, epochs, Purpose.MIX, 1, _key(seed)) + 0.5) * 2.0**-32
    mixed, kept = uniform[:, 0] < augmentation.mix_share, uniform[:, 1]
    windows = np.zeros((len(ids), 4), np.int32)
    if augmentation.mix == "cutmix":
        size = augmentation.image_size
        half, centres = size * np.sqrt(1 - kept[:, None]) / 2, size * uniform[:, 2:]
        begins, ends = (np.rint(each).clip(0, size).astype(np.int32) for each in (centres - half, centres + half))
        windows[mixed] = np.concatenate([begins, ends - begins], axis=1)[mixed]
        kept = 1 - windows[:, 2].astype(np.float64) * windows[:, 3] / size**2
    return Mixes(windows, np.where(mixed, kept, 1).astype(np.float32))


def draw_drops(
    rate: float, places: int, seed: int, ids: NDArray[np.int64], epochs: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Draw at which of `places` in the network what is strongest in images `ids` [N] is hidden in their `epochs` [N]:
    bool [N, places], true with probability `rate`.
    """
    words = random_words(ids, epochs, Purpose.ATTENTION, -(-places // 4), _key(seed))
    return (words[:, :places] + 0.5) * 2.0**-32 < rate


def _key(seed: int) -> NDArray[np.uint32]:
    return np.array([seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF], np.uint32)


_CROP = int(Purpose.CROP)
_CROP_TRIES = 10
_AREA_LOW = 0.08
_RATIO_LOW, _RATIO_HIGH = 0.75, 1.333


@njit()
def _crop_windows(ids, epochs, widths, heights, key):  # type: ignore[no-untyped-def]
    """GoogLeNet-resize windows x, y, width, height, int32 [N, 4], by the sampler of the paper's code.

    Area uniform in 8-100 % of the image, ratio uniform in 0.75-1.333, sides swapped with probability 1/2, up to ten
    tries, the first that fits is taken at a uniform place; else the whole image. Try t uses blocks 2t and 2t + 1.
    """
    windows = np.empty((ids.shape[0], 4), np.int32)
    for i in range(ids.shape[0]):
        width, height = widths[i], heights[i]
        windows[i, 0], windows[i, 1], windows[i, 2], windows[i, 3] = 0, 0, width, height
        id_word, epoch_word = np.uint32(ids[i]), np.uint32(epochs[i])
        for attempt in range(_CROP_TRIES):
            w0, w1, w2, _ = philox4x32(id_word, epoch_word, np.uint32(_CROP), np.uint32(2 * attempt), key[0], key[1])
            area = (_AREA_LOW + (1.0 - _AREA_LOW) * _uniform(w0)) * width * height
            ratio = _RATIO_LOW + (_RATIO_HIGH - _RATIO_LOW) * _uniform(w1)
            w = max(1, int(np.sqrt(area * ratio) + 0.5))
            h = max(1, int(np.sqrt(area / ratio) + 0.5))
            if w2 >> np.uint32(31):
                w, h = h, w
            if w <= width and h <= height:
                w0, w1, _, _ = philox4x32(
                    id_word, epoch_word, np.uint32(_CROP), np.uint32(2 * attempt + 1), key[0], key[1]
                )
                windows[i, 0] = int(_uniform(w0) * (width - w + 1))
                windows[i, 1] = int(_uniform(w1) * (height - h + 1))
                windows[i, 2], windows[i, 3] = w, h
                break
    return windows


@njit(inline="always")
def _uniform(word):  # type: ignore[no-untyped-def]
    """A float64 in the open interval (0, 1) from a random uint32."""
    return (np.float64(word) + 0.5) * 2.0**-32


_GRID, _CELLS = int(Purpose.GRID), int(Purpose.CELLS)


@njit()
def _hidden_cells(ids, epochs, key):  # type: ignore[no-untyped-def]
    """Hide-and-Seek masks, uint8 [N, 16, 16]: a grid size for each view, then one bit for each of the grid's cells.

    The bits are those of the words of blocks 0 and 1, lowest first.
    """
    grids = random_words(ids, epochs, _GRID, 1, key)[:, 0] >> np.uint32(30)
    words = random_words(ids, epochs, _CELLS, CELLS * CELLS // 128, key)
    masks = np.ones((ids.shape[0], CELLS, CELLS), np.uint8)
    for i in range(ids.shape[0]):
        grid = GRIDS[grids[i]]
        side = CELLS // max(grid, 1)
        for row in range(grid):
            for column in range(grid):
                bit = row * grid + column
                is_kept = (words[i, bit // 32] >> np.uint32(bit % 32)) & np.uint32(1)
                masks[i, row * side : (row + 1) * side, column * side : (column + 1) * side] = is_kept
    return masks


# The ImageNet colour covariance of Krizhevsky et al. (2012) as the paper's code uses it, RGB, in 0..255 units.
_LIGHTING_EIGENVALUES = np.array([0.2175, 0.0188, 0.0045]) * 255
_LIGHTING_EIGENVECTORS = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
_LIGHTING_STD = 0.1
_LUMA = np.array([0.299, 0.587, 0.114])


def _color_steps(ids: NDArray[np.int64], epochs: NDArray[np.int64], key: NDArray[np.uint32]) -> Jitter:
    """The common tail of the paper's code: brightness, contrast, saturation x U(.6, 1.4), lighting .1, random order."""
    count = len(ids)
    words = random_words(ids, epochs, Purpose.COLOR, 3, key)
    uniform = (words + 0.5) * 2.0**-32
    brightness, contrast, saturation = (0.6 + 0.8 * uniform[:, k] for k in (4, 5, 6))
    # Box-Muller: three of the four normals that two pairs of uniforms give.
    radius = np.sqrt(-2 * np.log(uniform[:, 8:10]))
    angle = 2 * np.pi * uniform[:, 10:12]
    normals = np.concatenate([radius * np.cos(angle), radius[:, :1] * np.sin(angle[:, :1])], axis=1)

    identity = np.eye(3)
    matrices = np.tile(identity, (count, COLOR_STEPS, 1, 1))
    matrices[:, 0] *= brightness[:, None, None]
    matrices[:, 1] *= contrast[:, None, None]
    matrices[:, 2] = saturation[:, None, None] * identity + (1 - saturation)[:, None, None] * _LUMA
    mean_weights = np.zeros((count, COLOR_STEPS))
    mean_weights[:, 1] = 1 - contrast
    offsets = np.zeros((count, COLOR_STEPS, 3))
    offsets[:, 3] = (normals * _LIGHTING_STD * _LIGHTING_EIGENVALUES) @ _LIGHTING_EIGENVECTORS.T

    order = np.argsort(words[:, :COLOR_STEPS], axis=1, kind="stable")
    rows = np.arange(count)[:, None]
    return Jitter(
        matrices=matrices[rows, order].astype(np.float32),
        mean_weights=mean_weights[rows, order].astype(np.float32),
        offsets=offsets[rows, order].astype(np.float32),
    )
