"""Cams, predictions, labels and boxes to counts, the slow way: plain loops, one image at a time, nothing of ours.

It is written from the definitions (docs/paper.md, "CAM to box" and "Metrics") and shares no code with the package.
"""

import numpy as np
from scipy import ndimage


def evaluate_slowly(
    cams, predicted, labels, boxes_of_images, widths, heights, image_size, protocol, iou_thresholds, threshold=0.2
):
    """For each rate, by its name in `fastwsol.evaluation.metrics`, how many images succeeded and how many counted.

    predicted: for each image its classes, the most likely first.
    """
    names = [f"{rate}@{t}" for rate in ("gt_known_loc", "top1_loc", "top5_loc") for t in iou_thresholds]
    counts = {name: [0, 0] for name in ("top1_clas", "top5_clas", *names)}

    def note(name, success):
        counts[name][0] += success
        counts[name][1] += 1

    images = zip(cams, predicted, labels, boxes_of_images, widths, heights, strict=True)
    for cam, classes, label, truths, width, height in images:
        first, among_five = classes[0] == label, label in classes[:5]
        note("top1_clas", first)
        note("top5_clas", among_five)
        if not truths:
            continue
        box = box_of_cam(cam, image_size, protocol, threshold)
        sizes = (width, height, width, height)
        box = [side * size / image_size for side, size in zip(box, sizes, strict=True)]
        for iou_threshold in iou_thresholds:
            hit = any(is_hit(box, truth, iou_threshold, protocol) for truth in truths)
            note(f"gt_known_loc@{iou_threshold}", hit)
            note(f"top1_loc@{iou_threshold}", hit and first)
            note(f"top5_loc@{iou_threshold}", hit and among_five)
    return {name: tuple(pair) for name, pair in counts.items()}


def hits_slowly(cams, boxes_of_images, widths, heights, image_size, iou_threshold, threshold):
    """How many images are hit at a threshold, under `strict`: by the largest component's box, by any component's."""
    single = multiple = 0
    for cam, truths, width, height in zip(cams, boxes_of_images, widths, heights, strict=True):
        sizes = (width, height, width, height)
        boxes = [box for _, box in boxes_of_cam(cam, image_size, "strict", threshold)]
        boxes = [[side * size / image_size for side, size in zip(box, sizes, strict=True)] for box in boxes]
        found = [any(is_hit(box, truth, iou_threshold, "strict") for truth in truths) for box in boxes]
        single += bool(found) and found[0]
        multiple += any(found)
    return single, multiple


def box_of_cam(cam, image_size, protocol, threshold):
    return next((box for _, box in boxes_of_cam(cam, image_size, protocol, threshold)), (0, 0, 0, 0))


def boxes_of_cam(cam, image_size, protocol, threshold):
    """Size and box of all components, the largest first."""
    pixels = upsample(cam, image_size)
    low, high = pixels.min(), pixels.max()
    if low == high:
        return []
    found = []
    for ys, xs in components(keep((pixels - low) / (high - low), protocol, threshold)):
        x0, y0, x1, y1 = min(xs), min(ys), max(xs) + 1, max(ys) + 1
        if protocol == "strict":
            found.append((len(xs), (x0, y0, x1, y1)))
        else:
            found.append(((x1 - x0) * (y1 - y0), (x0, y0, x1 + 1, y1 + 1)))
    return sorted(found, key=lambda each: -each[0])  # stable: of equals the first in row order


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
