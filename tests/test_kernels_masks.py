"""The pixels of a box, and runs of masks, by the kernels and by their twins."""

import numpy as np
import pytest
from pycocotools import mask as coco_mask

import kernels
from fastwsol.formats.coco import run_lengths
from kernels import reference


@pytest.mark.parametrize("scale", ["min-max", "own"])
@pytest.mark.parametrize(
    ("cells", "square", "size"),
    [((7, 7), 32, (32, 32)), ((8, 8), 64, (90, 41)), ((1, 1), 8, (5, 8)), ((9, 4), 32, (3, 7))],
)
def test_masks_equal_their_twins(scale: str, cells: tuple[int, int], square: int, size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    for threshold in (0.0, 0.2, 0.9, 1.0):
        for cam in (rng.random(cells, np.float32), np.full(cells, 0.25, np.float32)):
            (y0, x0), (y1, x1) = ((0, 0), size) if threshold == 0.2 else np.sort(rng.integers(0, size, (2, 2)), axis=0)
            box = int(x0), int(y0), max(int(x1), int(x0) + 1), max(int(y1), int(y0) + 1)
            ours = kernels.mask_in_box(cam, square, size, box, threshold, scale)
            np.testing.assert_array_equal(ours, reference.mask_in_box(cam, square, size, box, threshold, scale))
            assert ours.dtype == np.bool_


@pytest.mark.parametrize("threshold", [0.0, 0.2, 0.5, 0.9, 0.99, 1.0])
def test_a_mask_in_the_square_touches_all_edges_of_its_box(threshold: float) -> None:
    """It is cut where the box was, whatever the threshold: by the extremes of the pixels, not of the cells."""
    cams = np.random.default_rng(1).random((50, 8, 8), np.float32)
    for cam, box in zip(cams, kernels.cam_boxes(cams, 64, threshold).tolist(), strict=True):
        mask = kernels.mask_in_box(cam, 64, (64, 64), tuple(box), threshold)
        assert all(edge.any() for edge in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))


def test_a_mask_has_a_pixel() -> None:
    """Also where the peak lies between two pixels of a small image."""
    cam = np.array([[0, 0, 1, 0, 0, 0]], np.float32)
    mask = kernels.mask_in_box(cam, 96, (1, 2), (0, 0, 2, 1), 1.0)
    np.testing.assert_array_equal(mask, [[True, False]])


def test_boxes_that_are_none_are_refused() -> None:
    cam = np.zeros((4, 4), np.float32)
    for box in ((0, 0, 0, 4), (0, 0, 9, 8), (-1, 0, 4, 4), (3, 5, 4, 5)):
        with pytest.raises(ValueError, match="is empty, or not inside 8 x 8 pixels"):
            kernels.mask_in_box(cam, 8, (8, 8), box, 0.2)
    with pytest.raises(ValueError, match=r"threshold is 1\.5"):
        kernels.mask_in_box(cam, 8, (8, 8), (0, 0, 8, 8), 1.5)


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (9, 1), (13, 7), (40, 60)])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 1.0])
def test_runs_equal_their_twin_and_coco_has_them(shape: tuple[int, int], share: float) -> None:
    mask = np.random.default_rng(2).random(shape) < share
    np.testing.assert_array_equal(kernels.run_lengths(mask), reference.run_lengths(mask))
    assert run_lengths(mask)["counts"] == coco_mask.encode(np.asfortranarray(mask, np.uint8))["counts"].decode()
    np.testing.assert_array_equal(coco_mask.decode(run_lengths(mask)).astype(bool), mask)
    np.testing.assert_array_equal(kernels.run_lengths(mask.T), reference.run_lengths(mask.T))


def test_masks_without_pixels_are_refused() -> None:
    for mask in (np.zeros((2, 0), bool), np.zeros((2, 2), np.uint8), np.zeros(4, bool)):
        with pytest.raises(ValueError, match=r"expected bool \[H, W\] with a pixel"):
            kernels.run_lengths(mask)
