"""That the run with bounds checking (`make check-bounds`) would see an index out of bounds."""

import numba
import numpy as np
import pytest

from kernels import components, pixels, sweep
from kernels.upsampling import checked_cams

pytestmark = pytest.mark.skipif(not numba.config.BOUNDSCHECK, reason="NOT CHECKED for bounds: make check-bounds does")


def test_runs_beyond_the_width_that_was_told_are_seen():
    bits = np.full((1, 2, 1), 0x5555555555555555, np.uint64)
    with pytest.raises(IndexError):
        components.largest_component_boxes(bits, 4, False, 1)


def test_a_step_out_of_the_map_is_seen():
    maps = np.zeros((1, 3, 3), np.uint8)
    groups, jumps = sweep._grouped(3)
    with pytest.raises(IndexError):
        sweep._sweep_boxes(maps, groups, jumps + np.uint64(100), 1)


def test_pixels_beyond_the_masks_are_seen():
    cams, how = checked_cams(np.random.default_rng(0).random((1, 3, 3), np.float32), 8, "own")
    masks, counts = np.zeros((1, 8, 4), np.uint8), np.zeros((1, 2, pixels.PIXEL_LEVELS), np.int32)
    with pytest.raises(IndexError):
        pixels._count_levels(cams, how, masks, counts, 1)
