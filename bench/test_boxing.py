"""Maps to boxes: ours beside what one would otherwise call.

    pytest bench/test_boxing.py --benchmark-only --maps MAPS.npy

Every side gets a network's maps as they are, float32 of a few cells, and gives boxes. Upsampling, scaling to 0..1 and
masks are inside all timings; the sweep over thresholds alone begins with upsampled maps. Before anything is timed the
boxes are compared, wherever the question has one answer. With one thread each side is as it is. With two, ours shares
its maps out, and the others are called from a pool of two threads (OpenCV and SciPy let go of Python's lock). Images in
the figures are maps.
"""

import functools
from concurrent.futures import ThreadPoolExecutor

import cv2
import numba
import numpy as np
import pytest
import rounds
import torch
from rounds import Side
from scipy import ndimage

import kernels

IMAGES = 2048
SWEPT_IMAGES = 64 if rounds.timed else 8  # the older evaluator takes tens of milliseconds each
SIZE = 64
ROUNDS = 11
EIGHT_CONNECTED = np.ones((3, 3))
OLDER_THRESHOLDS = np.arange(0, 1, 0.001)


@pytest.fixture(params=[1, 2])
def threads(request, cores):
    if request.param > cores:
        pytest.skip(f"--cores {cores}: {request.param} threads are not measured")
    before = numba.get_num_threads(), cv2.getNumThreads()
    numba.set_num_threads(request.param)
    cv2.setNumThreads(1)  # a map is too small to share
    yield request.param
    numba.set_num_threads(before[0])
    cv2.setNumThreads(before[1])


@pytest.fixture(scope="session", params=["smooth", "real"])
def cams(request, pytestconfig):
    """Maps [up to IMAGES, h, w] as a network gives them, and where they are from."""
    if request.param == "smooth":
        return request.getfixturevalue("smooth_cams")
    path = pytestconfig.option.maps
    if path is None:
        pytest.skip("NOT MEASURED on a network's maps: name them with --maps")
    cams = np.load(path)[:IMAGES]
    return cams, f"class activation maps of {cams.shape[1]}x{cams.shape[2]}"


@pytest.fixture
def maps(cams):
    """The same upsampled and normalised to 0..1: float32 [N, SIZE, SIZE]."""
    pixels = torch.nn.functional.interpolate(torch.from_numpy(cams[0])[:, None], (SIZE, SIZE), mode="bilinear")[:, 0]
    low, high = pixels.amin((1, 2), keepdim=True), pixels.amax((1, 2), keepdim=True)
    return ((pixels - low) / (high - low)).numpy(), f"{cams[1]}, upsampled to {SIZE}x{SIZE}"


def shared_out(box, threads):
    """`box`, on the maps' parts in a pool of threads."""
    if threads == 1:
        return box

    def boxes(cams, *arguments):
        with ThreadPoolExecutor(threads) as pool:
            parts = pool.map(lambda part: box(part, *arguments), np.array_split(cams, threads))
            return np.concatenate(list(parts))

    return boxes


def upsampled(cams):
    """float32 [N, SIZE, SIZE], scaled to 0..1, as OpenCV does it."""
    maps = np.empty((len(cams), SIZE, SIZE), np.float32)
    for cam, pixels in zip(cams, maps, strict=True):
        cv2.resize(cam, (SIZE, SIZE), dst=pixels, interpolation=cv2.INTER_LINEAR)
        cv2.normalize(pixels, pixels, 0, 1, cv2.NORM_MINMAX)
    return maps


def with_opencv_components(cams, threshold):
    boxes = []
    for pixels in upsampled(cams):
        mask = (pixels >= threshold).astype(np.uint8)
        stats = cv2.connectedComponentsWithStats(mask, connectivity=8, ltype=cv2.CV_32S)[2]
        x, y, width, height, _ = stats[1 + stats[1:, cv2.CC_STAT_AREA].argmax()]
        boxes.append((x, y, x + width, y + height))
    return np.array(boxes)


def with_opencv_contours(cams, threshold):
    """As the older code of the field has it: the contour that encloses most, which is not the most pixels."""
    boxes = []
    for pixels in upsampled(cams):
        mask = (pixels >= threshold).astype(np.uint8)
        contours = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]
        x, y, width, height = cv2.boundingRect(max(contours, key=cv2.contourArea))
        boxes.append((x, y, x + width, y + height))
    return np.array(boxes)


def with_scipy(cams, threshold):
    return scipy_boxes(pixels >= threshold for pixels in upsampled(cams))


def scipy_boxes(masks):
    boxes = []
    for mask in masks:
        labels = ndimage.label(mask, EIGHT_CONNECTED)[0]
        rows, columns = ndimage.find_objects(labels)[np.bincount(labels.ravel())[1:].argmax()]
        boxes.append((columns.start, rows.start, columns.stop, rows.stop))
    return np.array(boxes)


def component_sizes(mask):
    return np.sort(np.bincount(ndimage.label(mask, EIGHT_CONNECTED)[0].ravel())[1:])[::-1]


def with_older_evaluator(maps):
    """Boxes [N, 1000, 4] as the evaluator of Choe et al. 2020 finds them: contours anew for each of 1000 thresholds."""
    boxes = np.empty((len(maps), len(OLDER_THRESHOLDS), 4), np.int32)
    for pixels, own in zip(maps, boxes, strict=True):
        image = (pixels * 255).astype(np.uint8)
        for k, threshold in enumerate(OLDER_THRESHOLDS):
            mask = cv2.threshold(image, int(threshold * image.max()), 255, cv2.THRESH_BINARY)[1]
            contours = cv2.findContours(mask, cv2.RETR_TREE, cv2.CHAIN_APPROX_SIMPLE)[0]
            x, y, width, height = cv2.boundingRect(max(contours, key=cv2.contourArea)) if contours else (0, 0, 0, 0)
            own[k] = x, y, min(x + width, SIZE - 1), min(y + height, SIZE - 1)
    return boxes


def as_levels(maps):
    return (maps * 255).astype(np.uint8)


def sweep(maps):
    return kernels.threshold_sweep(as_levels(maps))


def sides_of(boxes, threads, *arguments):
    """`boxes` by name; ours, which begin with that word, share their maps out themselves."""
    return {
        name: Side(functools.partial(box if name.startswith("ours") else shared_out(box, threads), *arguments))
        for name, box in boxes.items()
    }


def cam_boxes(cams, threshold):
    return kernels.cam_boxes(cams, SIZE, threshold)


@pytest.mark.parametrize("threshold", [0.2, 0.5])
def test_cam_boxes(paired_rounds, cams, threshold, threads):
    # OpenCV upsamples in float32: where a pixel lies on the threshold it may part from ours.
    cams, data = cams
    sizes = [component_sizes(pixels >= threshold) for pixels in upsampled(cams)]
    one_component = np.array([len(size) == 1 for size in sizes])
    one_largest = np.array([len(size) == 1 or size[0] > size[1] for size in sizes])
    boxes = cam_boxes(cams, threshold)
    for box, one_answer in (
        (with_opencv_components, one_largest),
        (with_opencv_contours, one_component),
        (with_scipy, one_largest),
    ):
        assert one_answer.sum() > len(cams) / 10
        same = (shared_out(box, threads)(cams, threshold) == boxes).all(axis=1)
        assert same[one_answer].mean() > 0.99
    by_name = {
        "ours": cam_boxes,
        "opencv components": with_opencv_components,
        "opencv contours": with_opencv_contours,
        "scipy": with_scipy,
    }
    sides = sides_of(by_name, threads, cams, threshold)
    paired_rounds(
        sides, images=len(cams), rounds=ROUNDS, data=data, threshold=threshold, threads=threads, image_size=SIZE
    )


def test_threshold_sweep(paired_rounds, maps, threads):
    maps, data = maps[0][:SWEPT_IMAGES], maps[1]
    swept = sweep(maps)
    for level in range(1, 256, 16):
        masks = as_levels(maps) >= level
        sizes = [component_sizes(mask) for mask in masks]
        one_largest = np.array([len(size) == 1 or size[0] > size[1] for size in sizes])
        np.testing.assert_array_equal(scipy_boxes(masks)[one_largest], swept[one_largest, level])
    boxes = {"ours": sweep, "older evaluator": with_older_evaluator}
    paired_rounds(sides_of(boxes, threads, maps), images=len(maps), rounds=7, data=data, threads=threads)
