"""The plain twin of every kernel: NumPy, SciPy and loops, slow and obvious. Only tests import it.

Each twin has the name of its kernel and gives the same bits. Input is taken to be valid.
"""

import math

import numpy as np
import numpy.typing as npt
from scipy import ndimage

Box = tuple[int, int, int, int]
NO_BOX: Box = (0, 0, 0, 0)


def largest_box(maps: npt.NDArray, threshold: npt.ArrayLike, connectivity: int = 8) -> npt.NDArray[np.int32]:
    """Twin of `kernels.largest_box`."""
    thresholds = np.broadcast_to(np.asarray(threshold, np.float32), len(maps))
    boxes = [_most_pixels(pixels >= least, connectivity) for pixels, least in zip(maps, thresholds, strict=True)]
    return np.array(boxes, np.int32).reshape(-1, 4)


def component_boxes(
    maps: npt.NDArray, threshold: npt.ArrayLike, connectivity: int = 8
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Twin of `kernels.component_boxes`."""
    thresholds = np.broadcast_to(np.asarray(threshold, np.float32), len(maps))
    each = [_components(pixels >= least, connectivity) for pixels, least in zip(maps, thresholds, strict=True)]
    boxes = np.array([box for components in each for _, box in components], np.int32).reshape(-1, 4)
    pixels = np.array([count for components in each for count, _ in components], np.int32)
    return boxes, pixels, np.cumsum([0, *map(len, each)], dtype=np.int64)


def threshold_sweep(maps: npt.NDArray[np.uint8], connectivity: int = 8) -> npt.NDArray[np.int32]:
    """Twin of `kernels.threshold_sweep`."""
    boxes = [[_largest(found) for found in _at_every_level(pixels, connectivity)] for pixels in maps]
    return np.array(boxes, np.int32).reshape(-1, 256, 4)


def sweep_ious(
    maps: npt.NDArray[np.uint8],
    truths: npt.NDArray,
    offsets: npt.NDArray[np.int64],
    frames: npt.NDArray[np.int32] | None = None,
    connectivity: int = 8,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Twin of `kernels.sweep_ious`."""
    height, width = maps.shape[1:]
    of_largest, best_of_all = np.full((2, len(maps), 256), np.nan)
    for n, pixels in enumerate(maps):
        own = truths[offsets[n] : offsets[n + 1]]
        across, down = (width, height) if frames is None else frames[n].tolist()

        def score(box: Box, own: npt.NDArray = own, across: int = across, down: int = down) -> float:
            x0, y0, x1, y1 = box
            sides = [x0 * across / width, y0 * down / height, x1 * across / width, y1 * down / height]
            return max(_iou(np.array(sides, np.float32), truth, True) for truth in own)

        before = None
        for level, found in enumerate(_at_every_level(pixels, connectivity) if len(own) else ()):
            if found is not before:
                scores = score(_largest(found)), max((score(box) for _, box in found), default=0)
            of_largest[n, level], best_of_all[n, level] = scores
            before = found
    return of_largest, best_of_all


def cam_boxes(
    cams: npt.NDArray[np.float32], size: int | tuple[int, int], threshold: float = 0.2
) -> npt.NDArray[np.int32]:
    """Twin of `kernels.cam_boxes`."""
    boxes = []
    for cam in cams:
        x = normalise(upsample(cam, size))
        boxes.append(NO_BOX if x is None else _most_pixels(x >= threshold))
    return np.array(boxes, np.int32).reshape(-1, 4)


def cam_boxes_paper2018(
    cams: npt.NDArray[np.float32], size: int | tuple[int, int], threshold: float = 0.2
) -> npt.NDArray[np.int32]:
    """Twin of `kernels.cam_boxes_paper2018`."""
    boxes = []
    for cam in cams:
        x = normalise(upsample(cam, size))
        if x is None:
            boxes.append(NO_BOX)
            continue
        u = np.minimum((256 * x).astype(int), 255)
        x0, y0, x1, y1 = _widest(u > int(threshold * u.max()))
        boxes.append((x0, y0, x1 + 1, y1 + 1) if x1 else NO_BOX)
    return np.array(boxes, np.int32).reshape(-1, 4)


def cam_levels(cams: npt.NDArray[np.float32], size: int | tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Twin of `kernels.cam_levels`: how many of 1/255, 2/255, ... each pixel reaches."""
    height, width = (size, size) if isinstance(size, int) else size
    levels = np.zeros((len(cams), height, width), np.uint8)
    for cam, own in zip(cams, levels, strict=True):
        x = normalise(upsample(cam, size))
        if x is not None:
            own[:] = (x[..., np.newaxis] >= np.arange(1, 256) / 255).sum(axis=-1)
    return levels


def upsample(cam: npt.NDArray[np.float32], size: int | tuple[int, int]) -> npt.NDArray[np.float64]:
    """Bilinear half-pixel upsampling of [h, w] to [height, width] in float64, along x first; edges clamped."""
    height, width = (size, size) if isinstance(size, int) else size
    rows = np.empty((cam.shape[0], width))
    for x in range(width):
        left, right, share = _neighbours(x, cam.shape[1], width)
        a, b = cam[:, left].astype(np.float64), cam[:, right].astype(np.float64)
        rows[:, x] = a + (b - a) * share
    pixels = np.empty((height, width))
    for y in range(height):
        top, bottom, share = _neighbours(y, cam.shape[0], height)
        pixels[y] = rows[top] + (rows[bottom] - rows[top]) * share
    return pixels


def normalise(pixels: npt.NDArray[np.float64]) -> npt.NDArray[np.float64] | None:
    """Min-max normalised to 0..1, or None where all pixels are equal."""
    if pixels.min() == pixels.max():
        return None
    return (pixels - pixels.min()) / (pixels.max() - pixels.min())


def iou(boxes: npt.NDArray, truths: npt.NDArray) -> npt.NDArray[np.float64]:
    """Twin of `kernels.iou`."""
    return np.array([_iou(box, truth, True) for box, truth in zip(boxes, truths, strict=True)], np.float64)


def best_iou(boxes: npt.NDArray, truths: npt.NDArray, offsets: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Twin of `kernels.best_iou`."""
    return _best(boxes, truths, offsets, True)


def best_iou_paper2018(
    boxes: npt.NDArray, truths: npt.NDArray, offsets: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """Twin of `kernels.best_iou_paper2018`."""
    return _best(boxes, truths, offsets, False)


def fixed_box_hits(
    candidates: npt.NDArray[np.int32],
    truths: npt.NDArray,
    offsets: npt.NDArray[np.int64],
    iou_thresholds: npt.ArrayLike,
) -> npt.NDArray[np.int64]:
    """Twin of `kernels.fixed_box_hits`."""
    thresholds = np.asarray(iou_thresholds)
    hits = np.zeros((len(candidates), len(thresholds)), np.int64)
    for k, candidate in enumerate(candidates):
        ious = best_iou(np.tile(candidate, (len(offsets) - 1, 1)), truths, offsets)
        for level, threshold in enumerate(thresholds):
            hits[k, level] = (ious >= threshold).sum()
    return hits


def _most_pixels(mask: npt.NDArray[np.bool_], connectivity: int = 8) -> Box:
    return _largest(_components(mask, connectivity))


def _largest(components: list[tuple[int, Box]]) -> Box:
    """The box of the component with the most pixels; `max` keeps the first of equals."""
    return max(components, key=lambda component: component[0], default=(0, NO_BOX))[1]


def _at_every_level(pixels: npt.NDArray[np.uint8], connectivity: int) -> list[list[tuple[int, Box]]]:
    """The components of pixels >= k for k = 0 to 255; no pixel of value k - 1 means the same ones as before."""
    found: list[list[tuple[int, Box]]] = []
    for level in range(256):
        same = level > 0 and not (pixels == level - 1).any()
        found.append(found[-1] if same else _components(pixels >= level, connectivity))
    return found


def _widest(mask: npt.NDArray[np.bool_]) -> Box:
    """The box of the component whose box is the largest; `max` keeps the first of equals."""

    def rectangle(component: tuple[int, Box]) -> int:
        x0, y0, x1, y1 = component[1]
        return (x1 - x0) * (y1 - y0)

    return max(_components(mask), key=rectangle, default=(0, NO_BOX))[1]


def _components(mask: npt.NDArray[np.bool_], connectivity: int = 8) -> list[tuple[int, Box]]:
    """Pixel count and tight half-open box of each connected component, in row order of their first pixels."""
    corner = connectivity == 8
    labels, _ = ndimage.label(mask, structure=[[corner, 1, corner], [1, 1, 1], [corner, 1, corner]])
    in_order = dict.fromkeys(labels[mask].tolist())  # SciPy does not promise an order
    components = []
    for label in in_order:
        ys, xs = np.nonzero(labels == label)
        box = (int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1)
        components.append((len(xs), box))
    return components


def _neighbours(pixel: int, cells: int, pixels: int) -> tuple[int, int, float]:
    """The cells on both sides of a pixel's centre along an axis, and the second one's share."""
    position = max((pixel + 0.5) * cells / pixels - 0.5, 0.0)
    below = min(math.floor(position), cells - 1)
    return below, min(below + 1, cells - 1), position - below


def _best(boxes: npt.NDArray, truths: npt.NDArray, offsets: npt.NDArray, clamped: bool) -> npt.NDArray[np.float64]:
    best = []
    for box, first, last in zip(boxes, offsets[:-1], offsets[1:], strict=True):
        best.append(max((_iou(box, truth, clamped) for truth in truths[first:last]), default=math.nan))
    return np.array(best, np.float64)


def _iou(box: npt.NDArray, truth: npt.NDArray, clamped: bool) -> float:
    x0, y0, x1, y1 = (float(side) for side in box)
    a0, b0, a1, b1 = (float(side) for side in truth)
    if x1 <= x0 or y1 <= y0 or a1 <= a0 or b1 <= b0:
        return 0.0
    across, down = min(x1, a1) - max(x0, a0), min(y1, b1) - max(y0, b0)
    if clamped:
        across, down = max(across, 0.0), max(down, 0.0)
    intersection = across * down
    union = (x1 - x0) * (y1 - y0) + (a1 - a0) * (b1 - b0) - intersection
    return intersection / union if union else 0.0
