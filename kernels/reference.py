"""The plain twin of every kernel: NumPy, SciPy and loops, slow and obvious. Only tests import it.

Each twin has the name of its kernel and gives the same bits. Input is taken to be valid.
"""

import math

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from kernels.levels import LEVELS, PIXEL_LEVELS, PIXEL_STEP
from kernels.pixels import IGNORED, OBJECT

Box = tuple[int, int, int, int]
NO_BOX: Box = (0, 0, 0, 0)


def threshold_sweep(maps: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """Twin of `kernels.threshold_sweep`."""
    boxes = [[_largest(found) for found in _at_every_level(pixels)] for pixels in maps]
    return np.array(boxes, np.int32).reshape(-1, LEVELS, 4)


def sweep_ious(
    maps: npt.NDArray[np.uint8],
    truths: npt.NDArray,
    offsets: npt.NDArray[np.int64],
    sizes: npt.NDArray[np.int32],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Twin of `kernels.sweep_ious`."""
    height, width = maps.shape[1:]
    of_largest, best_of_all = np.full((2, len(maps), LEVELS), np.nan)
    for n, pixels in enumerate(maps):
        own = truths[offsets[n] : offsets[n + 1]]
        across, down = sizes[n].tolist()

        def score(box: Box, own: npt.NDArray = own, across: int = across, down: int = down) -> float:
            x0, y0, x1, y1 = box
            sides = [x0 * across / width, y0 * down / height, x1 * across / width, y1 * down / height]
            return max(_iou(np.array(sides, np.float32), truth, True) for truth in own)

        before = None
        for level, found in enumerate(_at_every_level(pixels) if len(own) else ()):
            if found is not before:
                scores = score(_largest(found)), max((score(box) for _, box in found), default=0)
            of_largest[n, level], best_of_all[n, level] = scores
            before = found
    return of_largest, best_of_all


def pixel_histograms(
    cams: npt.NDArray[np.float32], masks: npt.NDArray[np.uint8], scale: str = "min-max"
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Twin of `kernels.pixel_histograms`."""
    edges = [*(k * PIXEL_STEP for k in range(PIXEL_LEVELS)), np.inf]
    counts = np.zeros((2, len(cams), PIXEL_LEVELS), np.int32)
    for n, (cam, mask) in enumerate(zip(cams, masks, strict=True)):
        x = scaled(upsample(cam, mask.shape), scale)
        for k, value in enumerate((OBJECT, 0)):
            values = np.zeros(mask.shape) if x is None else x
            counts[k, n], _ = np.histogram(values[mask == value], edges)
    return counts[0], counts[1]


def pixel_counts(
    cams: npt.NDArray[np.float32],
    masks: npt.NDArray[np.uint8],
    threshold: float | npt.NDArray[np.float64],
    scale: str = "min-max",
) -> npt.NDArray[np.int64]:
    """Twin of `kernels.pixel_counts`."""
    rows = []
    for cam, mask, own_threshold in zip(cams, masks, np.broadcast_to(threshold, len(cams)), strict=True):
        x = scaled(upsample(cam, mask.shape), scale)
        kept = np.zeros(mask.shape, bool) if x is None else x >= own_threshold
        truth, known = mask == OBJECT, mask != IGNORED
        rows.append([(kept & truth).sum(), (kept & ~truth & known).sum(), (~kept & truth).sum()])
    return np.array(rows, np.int64).reshape(-1, 3)


def cam_boxes(
    cams: npt.NDArray[np.float32],
    size: int | tuple[int, int],
    threshold: float | npt.NDArray[np.float64],
    scale: str = "min-max",
) -> npt.NDArray[np.int32]:
    """Twin of `kernels.cam_boxes`."""
    boxes = []
    for cam, own_threshold in zip(cams, np.broadcast_to(threshold, len(cams)), strict=True):
        x = scaled(upsample(cam, size), scale)
        boxes.append(NO_BOX if x is None else _most_pixels(x >= own_threshold))
    return np.array(boxes, np.int32).reshape(-1, 4)


def cam_boxes_paper2018(
    cams: npt.NDArray[np.float32], size: int | tuple[int, int], threshold: float
) -> npt.NDArray[np.int32]:
    """Twin of `kernels.cam_boxes_paper2018`."""
    boxes = []
    for cam in cams:
        x = normalise(upsample(cam, size))
        if x is None:
            boxes.append(NO_BOX)
            continue
        u = np.minimum((256 * x).astype(int), 255)  # the code's own numbers: the twin of `levels.paper2018_threshold`
        x0, y0, x1, y1 = _widest(u > int(threshold * u.max()))
        boxes.append((x0, y0, x1 + 1, y1 + 1) if x1 else NO_BOX)
    return np.array(boxes, np.int32).reshape(-1, 4)


def mask_in_box(
    cam: npt.NDArray[np.float32],
    square: int,
    size: tuple[int, int],
    box: Box,
    threshold: float,
    scale: str = "min-max",
) -> npt.NDArray[np.bool_]:
    """Twin of `kernels.mask_in_box`."""
    x0, y0, x1, y1 = box
    of_square, inside = upsample(cam, square), upsample(cam, size)[y0:y1, x0:x1]
    low, high = (0.0, 1.0) if scale == "own" else (of_square.min(), of_square.max())
    if high <= low:
        return np.zeros(inside.shape, bool)
    kept = (inside - low) / (high - low) >= threshold
    if not kept.any():
        kept.ravel()[inside.argmax()] = True
    return kept


def run_lengths(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Twin of `kernels.run_lengths`."""
    lengths, value = [0], False
    for pixel in mask.T.ravel().tolist():
        if pixel != value:
            lengths.append(0)
            value = pixel
        lengths[-1] += 1
    return np.array(lengths, np.int64)


def cam_component_boxes(
    cams: npt.NDArray[np.float32],
    size: int | tuple[int, int],
    threshold: float | npt.NDArray[np.float64],
    scale: str = "min-max",
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32], npt.NDArray[np.float64], npt.NDArray[np.int64]]:
    """Twin of `kernels.cam_component_boxes`."""
    boxes, pixels, peaks, numbers = [], [], [], []
    for cam, own_threshold in zip(cams, np.broadcast_to(threshold, len(cams)), strict=True):
        x = scaled(upsample(cam, size), scale)
        if x is None:
            numbers.append(0)
            continue
        components = _components(x >= own_threshold)
        numbers.append(len(components))
        for count, (x0, y0, x1, y1) in components:
            boxes.append((x0, y0, x1, y1))
            pixels.append(count)
            peaks.append(x[y0:y1, x0:x1].max())
    offsets = np.cumsum([0, *numbers], dtype=np.int64)
    return np.array(boxes, np.int32).reshape(-1, 4), np.array(pixels, np.int32), np.array(peaks, np.float64), offsets


def cam_levels(
    cams: npt.NDArray[np.float32], size: int | tuple[int, int], scale: str = "min-max"
) -> npt.NDArray[np.uint8]:
    """Twin of `kernels.cam_levels`: how many of the thresholds above 0 each pixel reaches."""
    height, width = (size, size) if isinstance(size, int) else size
    levels = np.zeros((len(cams), height, width), np.uint8)
    for cam, own in zip(cams, levels, strict=True):
        x = scaled(upsample(cam, size), scale)
        if x is not None:
            own[:] = (x[..., np.newaxis] >= np.arange(1, LEVELS) / (LEVELS - 1)).sum(axis=-1)
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


def scaled(pixels: npt.NDArray[np.float64], scale: str) -> npt.NDArray[np.float64] | None:
    """The pixels as shares of 1 under a scale, or None where they say nothing."""
    return pixels if scale == "own" else normalise(pixels)


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


def _most_pixels(mask: npt.NDArray[np.bool_]) -> Box:
    return _largest(_components(mask))


def _largest(components: list[tuple[int, Box]]) -> Box:
    """The box of the component with the most pixels; `max` keeps the first of equals."""
    return max(components, key=lambda component: component[0], default=(0, NO_BOX))[1]


def _at_every_level(pixels: npt.NDArray[np.uint8]) -> list[list[tuple[int, Box]]]:
    """The components of pixels >= k for every level k; no pixel of value k - 1 means the same ones as before."""
    components: list[list[tuple[int, Box]]] = []
    for level in range(LEVELS):
        same = level > 0 and not (pixels == level - 1).any()
        components.append(components[-1] if same else _components(pixels >= level))
    return components


def _widest(mask: npt.NDArray[np.bool_]) -> Box:
    """The box of the component whose box is the largest; `max` keeps the first of equals."""

    def rectangle(component: tuple[int, Box]) -> int:
        x0, y0, x1, y1 = component[1]
        return (x1 - x0) * (y1 - y0)

    return max(_components(mask), key=rectangle, default=(0, NO_BOX))[1]


def _components(mask: npt.NDArray[np.bool_]) -> list[tuple[int, Box]]:
    """Pixel count and tight half-open box of each connected component, in row order of their first pixels."""
    labels, _ = ndimage.label(mask, structure=np.ones((3, 3)))
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
