"""Maps to boxes, one thread each: ours beside what one would otherwise call.

    pytest bench/test_boxing.py --benchmark-only

Every side gets the same float32 maps and gives one box a map; the conversion to a mask is inside all timings. Before
anything is timed the boxes are compared, wherever the question has one answer. Images in the figures are maps.
"""

import functools

import cv2
import numba
import numpy as np
import pytest
from rounds import Side
from scipy import ndimage

import kernels

IMAGES = 2048
SIZE = 64
CELLS = 8
ROUNDS = 15
EIGHT_CONNECTED = np.ones((3, 3))


@pytest.fixture(autouse=True)
def one_thread():
    before = numba.get_num_threads(), cv2.getNumThreads()
    numba.set_num_threads(1)
    cv2.setNumThreads(1)
    yield
    numba.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


@pytest.fixture(scope="module")
def maps():
    """Smooth random fields in 0..1, as class activation maps are after upsampling: float32 [IMAGES, SIZE, SIZE]."""
    noise = np.random.default_rng(0).standard_normal((IMAGES, SIZE, SIZE))
    fields = ndimage.gaussian_filter(noise, (0, 6, 6))
    low, high = fields.min(axis=(1, 2), keepdims=True), fields.max(axis=(1, 2), keepdims=True)
    return ((fields - low) / (high - low)).astype(np.float32)


@pytest.fixture(scope="module")
def cams():
    """float32 [IMAGES, CELLS, CELLS]."""
    noise = np.random.default_rng(1).standard_normal((IMAGES, CELLS, CELLS))
    return ndimage.gaussian_filter(noise, (0, 0.7, 0.7)).astype(np.float32)


def with_opencv_components(maps, threshold):
    boxes = []
    for pixels in maps:
        mask = (pixels >= threshold).astype(np.uint8)
        stats = cv2.connectedComponentsWithStats(mask, connectivity=8, ltype=cv2.CV_32S)[2]
        x, y, width, height, _ = stats[1 + stats[1:, cv2.CC_STAT_AREA].argmax()]
        boxes.append((x, y, x + width, y + height))
    return np.array(boxes)


def with_opencv_contours(maps, threshold):
    """As the older code of the field has it: the contour that encloses most, which is not the most pixels."""
    boxes = []
    for pixels in maps:
        mask = (pixels >= threshold).astype(np.uint8)
        contours = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
        x, y, width, height = cv2.boundingRect(max(contours, key=cv2.contourArea))
        boxes.append((x, y, x + width, y + height))
    return np.array(boxes)


def with_scipy(maps, threshold):
    boxes = []
    for pixels in maps:
        labels = ndimage.label(pixels >= threshold, EIGHT_CONNECTED)[0]
        rows, columns = ndimage.find_objects(labels)[np.bincount(labels.ravel())[1:].argmax()]
        boxes.append((columns.start, rows.start, columns.stop, rows.stop))
    return np.array(boxes)


def with_opencv_from_cams(cams, threshold):
    upsampled = np.empty((len(cams), SIZE, SIZE), np.float32)
    for cam, pixels in zip(cams, upsampled, strict=True):
        cv2.resize(cam, (SIZE, SIZE), dst=pixels, interpolation=cv2.INTER_LINEAR)
        cv2.normalize(pixels, pixels, 0, 1, cv2.NORM_MINMAX)
    return with_opencv_components(upsampled, threshold)


def component_sizes(pixels, threshold):
    return np.sort(np.bincount(ndimage.label(pixels >= threshold, EIGHT_CONNECTED)[0].ravel())[1:])[::-1]


def measure(paired_rounds, boxes, data, maps, threshold, **parameters):
    sides = {name: Side(functools.partial(box, maps, threshold)) for name, box in boxes.items()}
    paired_rounds(sides, images=len(maps), rounds=ROUNDS, data=data, threshold=threshold, threads=1, **parameters)


@pytest.mark.parametrize("threshold", [0.2, 0.5])
def test_largest_box(paired_rounds, maps, threshold):
    sizes = [component_sizes(pixels, threshold) for pixels in maps]
    one_component = np.array([len(size) == 1 for size in sizes])
    one_largest = np.array([len(size) == 1 or size[0] > size[1] for size in sizes])
    ours = kernels.largest_box(maps, threshold)
    for box, one_answer in (
        (with_opencv_components, one_largest),
        (with_opencv_contours, one_component),
        (with_scipy, one_largest),
    ):
        assert one_answer.sum() > IMAGES / 10
        np.testing.assert_array_equal(box(maps, threshold)[one_answer], ours[one_answer])
    boxes = {
        "ours": kernels.largest_box,
        "opencv components": with_opencv_components,
        "opencv contours": with_opencv_contours,
        "scipy": with_scipy,
    }
    data = f"{IMAGES} smooth random maps of {SIZE}x{SIZE}, seed 0"
    measure(paired_rounds, boxes, data, maps, threshold)


def cam_boxes(cams, threshold):
    return kernels.cam_boxes(cams, SIZE, threshold)


def test_cam_boxes(paired_rounds, cams):
    # OpenCV upsamples in float32: where a pixel lies on the threshold the two may part.
    same = (with_opencv_from_cams(cams, 0.2) == cam_boxes(cams, 0.2)).all(axis=1)
    assert same.mean() > 0.99
    boxes = {"ours": cam_boxes, "opencv": with_opencv_from_cams}
    data = f"{IMAGES} smooth random maps of {CELLS}x{CELLS}, seed 1"
    measure(paired_rounds, boxes, data, cams, 0.2, image_size=SIZE)
