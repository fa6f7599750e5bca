"""Masks as polygons: corners in pixels, x and y in turn, whose inside is the mask but for a pixel at its edge.

A polygon knows no hole, so a hole is joined to the outline around it by a cut of no width, which is gone along both
ways. The same joins the parts of an object to one polygon for formats that hold one alone.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kernels.outlines import Ring, outlines, signed_area, simplified

_TOLERANCES = (1.5, 1.0, 0.5)
"""Pixels that a corner may lie off, tried in this order."""
_LEAST_IOU = 0.985
"""Of the polygons with the mask; else the outline is taken to the pixel."""
_MOST_RINGS = 256
"""Outlines of parts and holes."""
_TRIED = 128
"""Corners between which a cut is looked for."""


def polygons(mask: NDArray[np.bool_]) -> list[Ring]:
    """A polygon [n, 2] for each part of a mask [H, W]; none for an empty one. Filled as COCO's tools do it they have an
    IoU of 0.98 at least with the mask, unless it is noise of more than `_MOST_RINGS` parts and holes, of which the
    largest are kept.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return []
    corner = np.array([columns[0], rows[0]])
    part = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    nested = _nested(_without_specks(outlines(np.ascontiguousarray(part))))
    for tolerance in _TOLERANCES:
        fewer = [[simplified(ring, tolerance) for ring in rings] for rings in nested]
        found = [_with_holes(rings) for rings in fewer if len(rings[0]) > 2]
        if found and _iou(found, part) >= _LEAST_IOU:
            return [ring + corner for ring in found]
    return [_with_holes(rings) + corner for rings in nested]


def one_polygon(mask: NDArray[np.bool_]) -> Ring | None:
    """A single polygon of all parts of a mask, or None for an empty one."""
    parts = polygons(mask)
    if not parts:
        return None
    whole = parts[0]
    for part in parts[1:]:
        whole = _joined(whole, part)
    return whole


def fill(rings: Sequence[NDArray[Any]], size: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels inside any of the polygons [n, 2], by COCO's rule, of an image of `size`: height and width."""
    from pycocotools import mask as coco_mask  # here: an evaluation of a run does without it

    flat = [ring.ravel().astype(np.float64).tolist() for ring in rings]
    if not flat:
        return np.zeros(size, np.bool_)
    return coco_mask.decode(coco_mask.frPyObjects(flat, *size)).any(axis=2)


def _iou(rings: list[Ring], mask: NDArray[np.bool_]) -> float:
    inside = fill(rings, mask.shape)
    return float((inside & mask).sum() / (inside | mask).sum())


def _without_specks(rings: list[Ring]) -> list[Ring]:
    """Of a mask of very many parts and holes, which is noise, the largest of each."""
    if len(rings) <= _MOST_RINGS:
        return rings
    return sorted(rings, key=lambda ring: -abs(signed_area(ring)))[:_MOST_RINGS]


def _nested(rings: list[Ring]) -> list[list[Ring]]:
    """The outline of each part, with those of its holes behind it. rings: to the pixel."""
    parts = [[ring] for ring in rings if signed_area(ring) > 0]
    if not parts:
        return []
    areas = [signed_area(part[0]) for part in parts]
    for hole in (ring for ring in rings if signed_area(ring) < 0):
        around = [k for k, part in enumerate(parts) if _surrounds(part[0], hole)]
        if around:  # else its part was a speck
            parts[min(around, key=lambda k: areas[k])].append(hole)  # the smallest: parts may lie in holes of others
    return parts


def _surrounds(part: Ring, hole: Ring) -> bool:
    """Whether a way to the left, from the middle of a pixel in the hole, crosses the part's outline an odd number of
    times.
    """
    k = int(np.flatnonzero(np.roll(hole, -1, axis=0)[:, 0] > hole[:, 0])[0])  # to the right of this edge is the part
    x, y = hole[k] + (0.5, -0.5)
    ends = np.roll(part, -1, axis=0)
    upright = (part[:, 1] > y) != (ends[:, 1] > y)
    return bool((part[upright, 0] < x).sum() % 2)


def _with_holes(rings: list[Ring]) -> Ring:
    whole = rings[0]
    for hole in rings[1:]:
        if len(hole) > 2:  # simplified, it may be gone
            whole = _joined(whole, hole)
    return whole


def _joined(ring: Ring, other: Ring) -> Ring:
    """Two polygons as one, by a cut between two corners that lie near to each other: the nearest of up to `_TRIED` of
    each. Where it is cut changes nothing of what is inside.
    """
    steps = [-(-len(each) // _TRIED) for each in (ring, other)]
    tried, others = ring[:: steps[0]], other[:: steps[1]]
    distances = ((tried[:, np.newaxis] - others[np.newaxis]) ** 2).sum(axis=2)
    at = np.unravel_index(int(distances.argmin()), distances.shape)
    k, j = (int(place) * step for place, step in zip(at, steps, strict=True))
    there = np.concatenate([other[j:], other[: j + 1]])
    return np.concatenate([ring[: k + 1], there, ring[k:]])
