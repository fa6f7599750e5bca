"""That the run with bounds checking (`make check-bounds`) would see an index out of bounds."""

import numba
import numpy as np
import pytest

from kernels import components, sweep

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
