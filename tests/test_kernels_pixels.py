"""Pixels counted by the kernels, by their twins, and by the rule of the WSOL benchmark's code."""

import numpy as np
import pytest

import kernels
from kernels import reference
from kernels.levels import PIXEL_LEVELS
from kernels.pixels import IGNORED, OBJECT


def random_masks(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.choice(np.array([0, IGNORED, OBJECT], np.uint8), shape, p=[0.6, 0.1, 0.3])


@pytest.mark.parametrize("scale", ["min-max", "own"])
@pytest.mark.parametrize(
    ("cells", "size"), [((7, 7), (32, 32)), ((14, 9), (40, 23)), ((1, 1), (5, 8)), ((40, 50), (16, 20))]
)
def test_counts_equal_their_twins(scale: str, cells: tuple[int, int], size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    maps = rng.random((13, *cells), np.float32)
    maps[3] = 0.25  # constant
    maps[4] = np.round(maps[4] * 10) / 10  # on the levels, once it is upsampled to cells of its own
    masks = random_masks(rng, (13, *size))
    masks[5] = 0
    masks[6] = OBJECT
    masks[7] = IGNORED
    for ours, twins in zip(
        kernels.pixel_histograms(maps, masks, scale), reference.pixel_histograms(maps, masks, scale), strict=True
    ):
        np.testing.assert_array_equal(ours, twins)
        assert ours.dtype == np.int32
    thresholds = rng.random(13)
    for threshold in (0.0, 0.2, 1.0, thresholds):
        np.testing.assert_array_equal(
            kernels.pixel_counts(maps, masks, threshold, scale), reference.pixel_counts(maps, masks, threshold, scale)
        )


def test_every_threshold_of_the_histogram_is_a_cut() -> None:
    """Kept from a level on is what is kept at its threshold."""
    rng = np.random.default_rng(1)
    maps = np.round(rng.random((4, 8, 8)), 3).astype(np.float32)
    maps[:, 0, 0], maps[:, 0, 1] = 0, 1
    masks = random_masks(rng, (4, 8, 8))
    objects, others = kernels.pixel_histograms(maps, masks)
    for level in (0, 1, 57, 500, 999, 1000):
        counts = kernels.pixel_counts(maps, masks, level * 0.001)
        np.testing.assert_array_equal(objects[:, level:].sum(1), counts[:, 0])
        np.testing.assert_array_equal(others[:, level:].sum(1), counts[:, 1])
    assert objects.shape[1] == PIXEL_LEVELS


def test_masks_that_are_none_are_refused() -> None:
    maps = np.zeros((2, 4, 4), np.float32)
    good = np.zeros((2, 8, 8), np.uint8)
    for masks, said in (
        (good[:1], r"uint8 \(1, 8, 8\), expected uint8 \[2, H, W\]"),
        (good.astype(bool), r"bool \(2, 8, 8\), expected uint8"),
        (good + 1, "values other than 0, background, 128, left out, and 255"),
    ):
        with pytest.raises(ValueError, match=said):
            kernels.pixel_histograms(maps, masks)
    with pytest.raises(ValueError, match="NaN"):
        kernels.pixel_counts(maps + np.float32(np.nan), good, 0.5)
    assert kernels.pixel_counts(maps[:0], good[:0], 0.5).shape == (0, 3)
