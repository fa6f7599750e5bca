"""Masks as maps: the components of pixels at or above a level, found by the kernels of maps or by their twins."""

from types import ModuleType

import numpy as np
from numpy.typing import NDArray

import kernels


def as_cams(maps: NDArray, least: object) -> NDArray[np.float32]:
    """1 where a pixel of maps [N, H, W] reaches `least`, one number or [N]: float32 [N, H + 1, W].

    The row below them is 0, so that a map of ones is no constant one.
    """
    bound = np.reshape(least, (-1, 1, 1)) if np.ndim(least) else least
    return np.pad((maps >= bound).astype(np.float32), ((0, 0), (0, 1), (0, 0)))


def largest_box(maps: NDArray, least: object, by: ModuleType = kernels) -> NDArray[np.int32]:
    """The box [N, 4] of each map's largest component."""
    cams = as_cams(maps, least)
    return by.cam_boxes(cams, cams.shape[1:], 0.5)


def component_boxes(maps: NDArray, least: object, by: ModuleType = kernels) -> tuple[NDArray, NDArray, NDArray]:
    """All components' boxes [M, 4] and pixel counts [M], and offsets [N + 1]."""
    cams = as_cams(maps, least)
    boxes, pixels, _, offsets = by.cam_component_boxes(cams, cams.shape[1:], 0.5)
    return boxes, pixels, offsets
