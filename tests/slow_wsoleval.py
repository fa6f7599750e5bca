"""The evaluator of Choe et al. 2020, transcribed plainly from its description: all 1000 thresholds, one by one."""

import cv2
import numpy as np

THRESHOLDS = np.arange(0, 1, 0.001)


def evaluate_plainly(cam, truths, side):
    """For each of the 1000 thresholds: the one box, its best IoU, and the best IoU of all contours' boxes."""
    pixels = cv2.resize(cam.astype(np.float64), (side, side), interpolation=cv2.INTER_CUBIC)
    pixels = pixels - pixels.min()
    pixels = pixels / pixels.max() if pixels.max() > 0 else pixels
    image = (pixels * 255).astype(np.uint8)
    found = []
    for threshold in THRESHOLDS:
        mask = np.where(image > int(threshold * image.max()), 255, 0).astype(np.uint8)
        contours, _ = cv2.findContours(mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)
        boxes = [(0, 0, 0, 0)]
        if contours:
            areas = [cv2.contourArea(contour) for contour in contours]
            boxes = []
            for contour in [contours[areas.index(max(areas))], *contours]:
                x, y, width, height = cv2.boundingRect(contour)
                boxes.append((x, y, min(x + width, side - 1), min(y + height, side - 1)))
        ious = [max((iou(box, truth) for truth in truths), default=np.nan) for box in boxes]
        found.append((boxes[0], ious[0], max(ious)))
    return found


def iou(box, truth):
    across = min(box[2], truth[2]) - max(box[0], truth[0]) + 1
    down = min(box[3], truth[3]) - max(box[1], truth[1]) + 1
    shared = max(across, 0) * max(down, 0)
    areas = [(each[2] - each[0] + 1) * (each[3] - each[1] + 1) for each in (box, truth)]
    return shared / (sum(areas) - shared)
