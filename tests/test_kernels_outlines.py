"""Outlines of masks enclose their pixels, whoever fills them."""

import numpy as np
import pytest
from PIL import Image, ImageDraw
from pycocotools import mask as coco_mask

from kernels.outlines import Ring, outlines, signed_area, simplified


def filled(rings: list[Ring], shape: tuple[int, int]) -> np.ndarray:
    """The slow twin's opposite: the pixels whose middle an odd number of ways run around, edge by edge."""
    inside = np.zeros(shape, np.bool_)
    for ring in rings:
        for (x0, y0), (x1, y1) in zip(ring.tolist(), np.roll(ring, -1, axis=0).tolist(), strict=True):
            assert (x0 == x1) != (y0 == y1), "along one axis, and not of length 0"
            for row in range(min(y0, y1), max(y0, y1)):
                inside[row, x0:] ^= True
    return inside


def blobs(seed: int, shape: tuple[int, int], share: float) -> np.ndarray:
    coarse = np.random.default_rng(seed).random((shape[0] // 9 + 2, shape[1] // 9 + 2)).astype(np.float32)
    return np.asarray(Image.fromarray(coarse).resize(shape[::-1], Image.Resampling.BILINEAR)) < share


SHAPES = [(1, 1), (1, 9), (9, 1), (7, 12), (60, 45)]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("shape", SHAPES)
def test_outlines_enclose_the_pixels_of_any_mask(shape: tuple[int, int], share: float) -> None:
    for seed in range(6):
        for mask in (np.random.default_rng(seed).random(shape) < share, blobs(seed, shape, share)):
            before = mask.copy()
            rings = outlines(mask)
            np.testing.assert_array_equal(filled(rings, shape), mask)
            assert sum(map(signed_area, rings)) == mask.sum()
            np.testing.assert_array_equal(mask, before)
            for ring in rings:
                turns = np.roll(ring, -1, axis=0) - ring
                assert ((turns != 0).sum(1) == 1).all()
                assert ((turns[:, 0] == 0) != (np.roll(turns, -1, axis=0)[:, 0] == 0)).all(), "each corner turns"


def test_a_hole_runs_the_other_way_and_pixels_at_a_corner_are_apart() -> None:
    mask = np.zeros((6, 8), np.bool_)
    mask[1:5, 1:6] = True
    mask[2:4, 2:4] = False
    mask[5, 6] = True
    assert sorted(map(signed_area, outlines(mask))) == [-4, 1, 20]
    assert outlines(np.zeros((3, 4), np.bool_)) == []
    assert outlines(np.zeros((0, 4), np.bool_)) == []
    (ring,) = outlines(np.ones((2, 3), np.bool_))
    assert ring.tolist() == [[0, 0], [3, 0], [3, 2], [0, 2]]
    with pytest.raises(ValueError, match=r"mask uint8 \[3, 4\], expected bool"):
        outlines(np.zeros((3, 4), np.uint8))  # type: ignore[arg-type]


@pytest.mark.parametrize("tolerance", [0.5, 1.0, 3.0])
def test_what_a_simpler_way_leaves_out_lies_within_the_tolerance(tolerance: float) -> None:
    for seed in range(5):
        for ring in outlines(blobs(seed, (80, 90), 0.5)):
            fewer = simplified(ring, tolerance)
            assert 2 <= len(fewer) <= len(ring)
            assert {tuple(corner) for corner in fewer.tolist()} <= {tuple(corner) for corner in ring.tolist()}
            starts, ends = fewer.astype(float), np.roll(fewer, -1, axis=0).astype(float)
            along = ends - starts
            for corner in ring.astype(float):
                share = ((corner - starts) * along).sum(1) / np.maximum((along**2).sum(1), 1e-9)
                nearest = starts + np.clip(share, 0, 1)[:, None] * along
                assert np.hypot(*(nearest - corner).T).min() <= tolerance + 1e-9


def test_a_slope_needs_few_corners() -> None:
    picture = Image.new("1", (300, 200))
    ImageDraw.Draw(picture).polygon([(20, 180), (270, 150), (60, 15)], fill=1)
    mask = np.asarray(picture)
    (ring,) = outlines(mask)
    fewer = simplified(ring, 1.0)
    assert len(fewer) < 50 < 300 < len(ring)
    theirs = coco_mask.decode(coco_mask.frPyObjects([fewer.ravel().tolist()], 200, 300))[..., 0].astype(bool)
    assert (theirs & mask).sum() / (theirs | mask).sum() > 0.98
