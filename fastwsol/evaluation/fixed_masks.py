"""Masks that look at no image, which any localizer has to beat: the whole image, and the ellipse and the box that are
best on the masks of train.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fastwsol.draws import ids_of_each_class
from fastwsol.evaluation.masks import PIXEL_SIDE, Masks
from fastwsol.evaluation.report_types import FixedMaskRow
from kernels.pixels import IGNORED, OBJECT

Shape = Literal["ellipse", "box"]
FixedKind = Literal["whole-image", "best-ellipse", "best-box"]

_GRID = 56
"""Cells a side that the best shapes are looked for on."""
_MOST = 2_000
"""Masks of train that they are looked for on, spread over its rows."""


@dataclass(frozen=True)
class FixedMask:
    """One mask for every image. region: bool [PIXEL_SIDE, PIXEL_SIDE]; origin: where it is from."""

    kind: FixedKind
    region: NDArray[np.bool_]
    origin: str

    @property
    def name(self) -> str:
        """What a person calls it."""
        return self.kind.replace("-", " ")


def fixed_masks(train: Masks | None) -> list[FixedMask]:
    """The whole image and, where train has masks, the shapes whose mean IoU is highest on them."""
    found = [FixedMask("whole-image", np.ones((PIXEL_SIDE, PIXEL_SIDE), np.bool_), "no choice")]
    if train is None or not len(train.rows):
        return found
    rows = train.rows[ids_of_each_class(np.zeros(len(train.rows), np.int64), _MOST)]
    objects, known = _in_cells(train, rows)
    if objects.any():
        origin = f"{len(rows):,} masks of train"
        found.append(FixedMask("best-ellipse", region_of(best_shape(objects, known, "ellipse"), "ellipse"), origin))
        found.append(FixedMask("best-box", region_of(best_shape(objects, known, "box"), "box"), origin))
    return found


def _in_cells(train: Masks, rows: NDArray[np.int64]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The share of each cell that is the object's, and that is not left out: [n, cells] both."""
    parts = []
    for first in range(0, len(rows), 256):
        masks = train.read(rows[first : first + 256])
        parts.append([_shares(masks == OBJECT), _shares(masks != IGNORED)])
    objects, known = (np.concatenate([part[k] for part in parts]) for k in (0, 1))
    return objects, known


def _shares(flags: NDArray[np.bool_]) -> NDArray[np.float32]:
    side = PIXEL_SIDE // _GRID
    return flags.reshape(-1, _GRID, side, _GRID, side).mean(axis=(2, 4), dtype=np.float32).reshape(len(flags), -1)


Place = tuple[float, float, float, float]
"""The edges x0, y0, x1, y1 that a shape reaches, as shares of the image."""


_STARTS: tuple[Place, ...] = (
    (0.15, 0.15, 0.85, 0.85),
    *((0.0, 0.0, 1.0, 1.0), (0.35, 0.35, 0.65, 0.65)),
    *((0.0, 0.0, 0.5, 0.5), (0.5, 0.0, 1.0, 0.5), (0.0, 0.5, 0.5, 1.0), (0.5, 0.5, 1.0, 1.0)),
)


def best_shape(objects: NDArray[np.float32], known: NDArray[np.float32], shape: Shape) -> Place:
    """The shape with the highest mean IoU that climbing finds: from each of `_STARTS` edges are moved one at a time, in
    steps that are halved from an eighth of the image to half a cell, while the mean rises.

    objects, known: the share of each cell that is the object's and that counts, [n, cells].
    """
    of_objects = objects.sum(1)

    def mean_iou(place: Place) -> float:
        region = region_of(place, shape, _GRID).ravel().astype(np.float32)
        both, kept = objects @ region, known @ region
        return float((both / (kept + of_objects - both).clip(1e-6)).mean())

    found = []
    for place in _STARTS:
        best, step = mean_iou(place), 1 / 8
        while step >= 1 / _GRID / 2:
            moved = [_moved(place, k, way * step) for k in range(4) for way in (-1, 1)]
            ious = [mean_iou(each) for each in moved]
            if max(ious) > best:
                best, place = max(ious), moved[int(np.argmax(ious))]
            else:
                step /= 2
        found.append((best, place))
    return max(found)[1]


def _moved(place: Place, k: int, by: float) -> Place:
    """Another place; no edge leaves the image or passes the one across."""
    edges = [*place]
    across = edges[(k + 2) % 4]
    edges[k] = max(across + 0.02, min(1.0, edges[k] + by)) if k >= 2 else min(across - 0.02, max(0.0, edges[k] + by))
    return edges[0], edges[1], edges[2], edges[3]


def region_of(place: Place, shape: Shape, side: int = PIXEL_SIDE) -> NDArray[np.bool_]:
    """The pixels of a square of `side` whose centres lie in the shape: [side, side]."""
    x0, y0, x1, y1 = place
    centres = (np.arange(side) + 0.5) / side
    across, down = (2 * centres - x0 - x1) / (x1 - x0), (2 * centres - y0 - y1) / (y1 - y0)
    if shape == "box":
        return (np.abs(down) <= 1)[:, None] & (np.abs(across) <= 1)[None, :]
    return down[:, None] ** 2 + across[None, :] ** 2 <= 1


class FixedCounts:
    """What the masks of images say of fixed ones, added part by part."""

    def __init__(self, fixed: Sequence[FixedMask]) -> None:
        self.fixed, self._parts = fixed, [[] for _ in fixed]  # type: ignore[var-annotated]

    def add(self, masks: NDArray[np.uint8]) -> None:
        """Add masks [n, PIXEL_SIDE, PIXEL_SIDE]."""
        flat = masks.reshape(len(masks), -1)
        objects, known = flat == OBJECT, flat != IGNORED
        whole = [objects.sum(1), known.sum(1)]
        for each, parts in zip(self.fixed, self._parts, strict=True):
            region = each.region.ravel()
            parts.append(np.stack([objects[:, region].sum(1), known[:, region].sum(1), *whole], axis=1))

    def numbers(self) -> list[FixedMaskRow]:
        """PxAP and mean IoU of each in percent. The PxAP of a mask that knows two values has two steps."""
        found: list[FixedMaskRow] = []
        for each, parts in zip(self.fixed, self._parts, strict=True):
            both, kept, objects, known = np.concatenate(parts).T
            recall, precision = both.sum() / objects.sum(), both.sum() / max(1, kept.sum())
            area = precision * recall + objects.sum() / known.sum() * (1 - recall)
            counts = objects > 0
            ious = both[counts] / (kept + objects - both)[counts]
            found.append(
                {
                    "kind": each.kind,
                    "name": each.name,
                    "from": each.origin,
                    "pxap": 100 * float(area),
                    "iou": 100 * float(ious.mean()),
                }
            )
        return found
