"""Cams, predictions, labels and boxes to counts, the slow way: plain loops, one image at a time, nothing of ours.

It is written from the definitions (paper.md, "CAM to box" and "Metrics") and shares no code with the package.
"""

import numpy as np
from scipy import ndimage


def evaluate_slowly(
    cams, predictions, labels, boxes_of_images, widths, heights, image_size, protocol, iou_thresholds, threshold=0.2
):
    """Integer counts as a dict; the names are those of `fastwsol.metrics.LocalizationCounts`."""
    counts = {"images": 0, "images_with_boxes": 0, "top1_clas": 0}
    counts["loc"] = [0] * len(iou_thresholds)
    counts["top1_loc"] = [0] * len(iou_thresholds)
    images = zip(cams, predictions, labels, boxes_of_images, widths, heights, strict=True)
    for cam, prediction, label, truths, width, height in images:
        counts["images"] += 1
        if prediction == label:
            counts["top1_clas"] += 1
        if not truths:
            continue
        counts["images_with_boxes"] += 1
        box = box_of_cam(cam, image_size, protocol, threshold)
        sizes = (width, height, width, height)
        box = [side * size / image_size for side, size in zip(box, sizes, strict=True)]
        for level, iou_threshold in enumerate(iou_thresholds):
            if any(is_hit(box, truth, iou_threshold, protocol) for truth in truths):
                counts["loc"][level] += 1
                if prediction == label:
                    counts["top1_loc"][level] += 1
    return counts


def box_of_cam(cam, image_size, protocol, threshold):
    pixels = upsample(cam, image_size)
    low, high = pixels.min(), pixels.max()
    if low == high:
        return 0, 0, 0, 0
    best_size, best_box = 0, (0, 0, 0, 0)
    for ys, xs in components(keep((pixels - low) / (high - low), protocol, threshold)):
        x0, y0, x1, y1 = min(xs), min(ys), max(xs) + 1, max(ys) + 1
        size = len(xs) if protocol == "strict" else (x1 - x0) * (y1 - y0)
        if size > best_size:
            best_size = size
            best_box = (x0, y0, x1, y1) if protocol == "strict" else (x0, y0, x1 + 1, y1 + 1)
    return best_box


def keep(x, protocol, threshold):
    if protocol == "strict":
        return x >= threshold
    u = np.minimum((256 * x).astype(int), 255)
    return u > int(threshold * u.max())


def components(mask):
    """(ys, xs) of each 8-connected component, in row order of their first pixels."""
    labels, number = ndimage.label(mask, [[1, 1, 1], [1, 1, 1], [1, 1, 1]])
    found = [np.nonzero(labels == label) for label in range(1, number + 1)]
    found = [(ys.tolist(), xs.tolist()) for ys, xs in found]
    return sorted(found, key=lambda pixels: min(zip(*pixels, strict=True)))


def upsample(cam, size):
    """Each pixel is the weighted mean of the four cells around its centre; cells past the edge repeat the edge."""
    rows, columns = cam.shape
    pixels = np.zeros((size, size))
    for y in range(size):
        for x in range(size):
            across, down = (x + 0.5) / size * columns - 0.5, (y + 0.5) / size * rows - 0.5
            left, top = int(np.floor(across)), int(np.floor(down))
            for row, row_weight in ((top, top + 1 - down), (top + 1, down - top)):
                for column, weight in ((left, left + 1 - across), (left + 1, across - left)):
                    cell = cam[min(max(row, 0), rows - 1), min(max(column, 0), columns - 1)]
                    pixels[y, x] += row_weight * weight * float(cell)
    return pixels


def is_hit(box, truth, iou_threshold, protocol):
    across = min(box[2], truth[2]) - max(box[0], truth[0])
    down = min(box[3], truth[3]) - max(box[1], truth[1])
    intersection = across * down
    if protocol == "strict" and (across < 0 or down < 0):
        intersection = 0
    area, truth_area = (box[2] - box[0]) * (box[3] - box[1]), (truth[2] - truth[0]) * (truth[3] - truth[1])
    if area == 0:
        return False
    union = area + truth_area - intersection
    if union == 0:
        return False
    return intersection / union >= iou_threshold if protocol == "strict" else intersection / union > iou_threshold
