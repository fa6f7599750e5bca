"""The images that a report shows of every run: which they are, and what the page needs to show each of them.

The page cuts no map and measures no box: each image carries its box and IoU at every level, from Python.
"""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import kernels
from fastwsol.config import Augmentation
from fastwsol.dataset.shards import Split
from fastwsol.draws import gallery_order
from fastwsol.evaluation.truths import Truths
from fastwsol.geometry import shown_windows, to_square
from fastwsol.sources.decode import decode
from fastwsol.sources.encode import encoded
from fastwsol.sources.jpeg_markers import JPEG_START

Kind = Literal["best", "worst", "random"]
KINDS: tuple[Kind, ...] = ("best", "worst", "random")

NO_TRUTH = np.iinfo(np.uint8).max
"""In place of an IoU where there is no ground truth."""

LONGEST_SIDE = 128
"""Pixels that an image has on the page at most; larger ones are shrunk."""


@dataclass(frozen=True)
class GalleryImages:
    """K images, the same for every run."""

    ids: NDArray[np.int64]
    """Rows of the split, [K]."""
    kinds: list[Kind]
    """Why each is shown: [K]."""


def choose_images(ious: Sequence[NDArray[np.float64]], count: int) -> GalleryImages:
    """Up to `count` images of N: a third of them the best, a third the worst, the rest drawn from the others.

    ious: for each run the IoU of each image's box, float64 [N], NaN where it has no ground truth. Best and worst are
    by the mean over runs; of equals the first counts as better. Images without ground truth can only be drawn.
    """
    mean = np.mean(ious, axis=0)
    ranked = np.argsort(-mean, kind="stable")[: int((~np.isnan(mean)).sum())]  # NaN sorts last
    third = min(min(count, len(mean)) // 3, len(ranked) // 2)
    best, worst = ranked[:third], ranked[len(ranked) - third :][::-1]
    order = gallery_order(len(mean))
    others = order[~np.isin(order, np.concatenate([best, worst]))][: count - 2 * third]
    kinds: list[Kind] = [*["best"] * len(best), *["worst"] * len(worst), *["random"] * len(others)]  # type: ignore[list-item]
    return GalleryImages(np.concatenate([best, worst, others]), kinds)


def shown_images(split: Split, gallery: GalleryImages, views: Augmentation) -> list[dict[str, Any]]:
    """What the page shows of each image whatever the run: its name, label, picture, and ground-truth boxes.

    The picture is what the network is shown; boxes are in the pixels of the network's square, which the page stretches
    over the picture.
    """
    images = []
    truths = Truths.of_split(split, views.fit).shown
    windows = shown_windows(views.fit, split.widths, split.heights)
    for row, kind in zip(gallery.ids.tolist(), gallery.kinds, strict=True):
        boxes = truths.boxes[truths.offsets[row] : truths.offsets[row + 1]]
        in_square = to_square(boxes, int(truths.widths[row]), int(truths.heights[row]), views.image_size)
        images.append(
            {
                "name": split.names([row])[0],
                "kind": kind,
                "label": int(split.labels[row]),
                "picture": picture(split.image(row), windows[row]),
                "truths": [[round(side, 2) for side in box] for box in in_square.tolist()],
            }
        )
    return images


def picture(image: bytes, window: NDArray[np.int32]) -> str:
    """A window x, y, width, height of an image as a data address: as it came where that is the whole of a small JPEG,
    else shrunk and encoded as one.
    """
    x, y, width, height = window.tolist()
    pixels = decode(image)
    is_whole = pixels.shape[:2] == (height, width)
    if is_whole and image.startswith(JPEG_START) and max(width, height) <= LONGEST_SIDE:
        return data_address("image/jpeg", image)
    small = Image.fromarray(pixels[y : y + height, x : x + width])
    small.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return data_address("image/jpeg", encoded(small, "JPEG", quality=85))


def shown_maps(
    maps: NDArray[np.float32],
    predicted: NDArray[np.int64],
    split: Split,
    ids: NDArray[np.int64],
    views: Augmentation,
    scale: kernels.Scale,
) -> list[dict[str, Any]]:
    """What the page shows of each image of one run: its map, and at each level (`kernels.levels`) its box and IoU.

    maps: float32 [K, h, w] and predicted: int64 [K], of rows `ids` [K] of the split. In the page's JSON: map: an 8-bit
    grey PNG of the square's size but for what LONGEST_SIDE shrinks, of the levels of each pixel; boxes: [LEVELS, 4]
    whole pixels of the square, as base64 of uint16, little-endian; ious: [LEVELS], hundredths rounded down, as base64
    of uint8, NO_TRUTH without ground truth: so a box is a hit at IoU .3, .5 or .7 exactly where its number is at least
    30, 50 or 70.
    """
    levels = kernels.cam_levels(maps, views.image_size, scale)
    boxes = kernels.threshold_sweep(levels)
    truths = Truths.of_split(split.subset("gallery", ids), views.fit).shown
    sizes = np.stack([truths.widths, truths.heights], axis=1).astype(np.int32)
    ious, _ = kernels.sweep_ious(levels, truths.boxes, truths.offsets, sizes)
    # A constant map hits nothing, though its box at level 0 is the whole map: as `curve_hits` counts it.
    constant = (levels.max(axis=(1, 2)) == 0) & (scale == "min-max")
    boxes[constant], ious[constant] = 0, np.where(np.isnan(ious[constant]), np.nan, 0)
    return [
        {
            "predicted": int(predicted[k]),
            "map": grey_png(levels[k]),
            "boxes": base64.b64encode(boxes[k].astype("<u2").tobytes()).decode(),
            "ious": base64.b64encode(hundredths(ious[k]).tobytes()).decode(),
        }
        for k in range(len(ids))
    ]


def hundredths(ious: NDArray[np.float64]) -> NDArray[np.uint8]:
    """IoUs in hundredths, rounded down: k stands for an IoU of k / 100 or more; NO_TRUTH for NaN."""
    steps = np.arange(1, 101) / 100
    levels = np.searchsorted(steps, ious, side="right")  # NaN sorts behind all
    return np.where(np.isnan(ious), NO_TRUTH, levels).astype(np.uint8)


def grey_png(levels: NDArray[np.uint8]) -> str:
    """A map's levels uint8 [S, S] as a data address."""
    image = Image.fromarray(levels)
    image.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    return data_address("image/png", encoded(image, "PNG", optimize=True))


def data_address(kind: str, content: bytes) -> str:
    """Content that a page holds itself."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
