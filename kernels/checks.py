"""What the wrappers ask of their input before a bare kernel sees it. Everything here raises ValueError in words."""

from operator import index

import numpy as np
import numpy.typing as npt
from numba import get_num_threads

BoxArray = npt.NDArray[np.float32] | npt.NDArray[np.int32]


def checked_maps(maps: npt.NDArray, dtypes: tuple[type, ...]) -> npt.NDArray:
    """`maps`, C-contiguous, if it is [N, H, W] of one of the dtypes and no map is without pixels."""
    if not isinstance(maps, np.ndarray) or maps.dtype not in dtypes:
        names = " or ".join(np.dtype(dtype).name for dtype in dtypes)
        raise ValueError(f"maps are {getattr(maps, 'dtype', type(maps).__name__)}, expected a NumPy array of {names}")
    if maps.ndim != 3 or maps.shape[1] < 1 or maps.shape[2] < 1:
        raise ValueError(f"maps have shape {maps.shape}, expected [N, H, W] with H and W at least 1")
    return np.ascontiguousarray(maps)


def checked_size(size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width of `size`, which is a pair or one number for both. Raises TypeError for numbers that are not
    whole.
    """
    height, width = (index(each) for each in (size if isinstance(size, (tuple, list)) else (size, size)))
    if height < 1 or width < 1:
        raise ValueError(f"boxes are wanted in {height} x {width} pixels, expected at least 1 x 1")
    return height, width


def check_unit_interval(threshold: float | npt.NDArray[np.float64]) -> None:
    """Refuse a threshold outside 0..1."""
    values = np.atleast_1d(threshold)
    if len(bad := values[~((values >= 0) & (values <= 1))]):
        raise ValueError(f"threshold is {bad[0]}, expected 0..1")


def refuse_non_finite(finite: npt.NDArray[np.bool_]) -> None:
    """Name the first map of which `finite` [N] says that it is not."""
    if not finite.all():
        raise ValueError(f"map {np.argmin(finite)} holds NaN or infinity")


def refuse_other_than_shares(maps: npt.NDArray) -> None:
    """Name the first map that holds something outside 0..1."""
    if len(maps) and (maps.min() < 0 or maps.max() > 1):
        first = np.argmax((maps < 0).any(axis=(1, 2)) | (maps > 1).any(axis=(1, 2)))
        raise ValueError(f"map {first} holds values outside 0..1, which are not shares of 1; use the scale min-max")


def checked_boxes(boxes: npt.NDArray, name: str) -> npt.NDArray:
    """`boxes` [N, 4] as C-contiguous float64, which holds every float32 and int32 exactly."""
    if not isinstance(boxes, np.ndarray) or boxes.dtype not in (np.float32, np.int32):
        dtype = getattr(boxes, "dtype", type(boxes).__name__)
        raise ValueError(f"{name} are {dtype}, expected a NumPy array of float32 or int32")
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"{name} have shape {boxes.shape}, expected [N, 4]")
    finite = np.isfinite(boxes).all(axis=1)
    if not finite.all():
        raise ValueError(f"row {np.argmin(finite)} of {name} holds NaN or infinity")
    return np.ascontiguousarray(boxes, np.float64)


def checked_offsets(offsets: npt.NDArray[np.int64], images: int, truths: int) -> npt.NDArray[np.int64]:
    """`offsets` int64 [N + 1], C-contiguous, if they divide the truths among the images."""
    if not isinstance(offsets, np.ndarray) or offsets.dtype != np.int64 or offsets.shape != (images + 1,) or images < 0:
        raise ValueError(f"offsets must be an int64 array of {max(images, 0) + 1} numbers, one more than images")
    if offsets[0] != 0 or offsets[-1] != truths or (np.diff(offsets) < 0).any():
        raise ValueError(f"offsets must rise from 0 to {truths}, the number of truths")
    return np.ascontiguousarray(offsets)


def parts_of(maps: npt.NDArray) -> int:
    """How many threads share the maps. (Asked outside: a kernel that asks for it cannot be cached.)"""
    return min(len(maps), get_num_threads())
