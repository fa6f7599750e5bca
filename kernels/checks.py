"""What the wrappers ask of their input before a bare kernel sees it. Everything here raises ValueError in words."""

import contextlib
import os
from collections.abc import Sequence
from operator import index

import numpy as np
import numpy.typing as npt
from numba import get_num_threads, threading_layer

BoxArray = npt.NDArray[np.float32] | npt.NDArray[np.int32]


def check_array(name: str, array: npt.NDArray, dtype: npt.DTypeLike, shape: Sequence[int | None]) -> None:
    """Raise ValueError unless it is a C-contiguous array of the dtype and shape; None stands for any number."""
    if not isinstance(array, np.ndarray):
        raise ValueError(f"{name}: a {type(array).__name__}, expected a NumPy array of {np.dtype(dtype)}")
    fits = len(shape) == array.ndim and all(each in (None, n) for each, n in zip(shape, array.shape, strict=True))
    if array.dtype != dtype or not fits or not array.flags.c_contiguous:
        wanted = ", ".join("any" if each is None else str(each) for each in shape)
        raise ValueError(
            f"{name}: {array.dtype} {list(array.shape)}, expected {np.dtype(dtype)} [{wanted}], C-contiguous"
        )


def checked_maps(maps: npt.NDArray, dtypes: tuple[type, ...]) -> npt.NDArray:
    """`maps`, C-contiguous, if it is [N, H, W] of one of the dtypes and no map is without pixels."""
    if not isinstance(maps, np.ndarray) or maps.dtype not in dtypes:
        names = " or ".join(np.dtype(dtype).name for dtype in dtypes)
        kind, remedy = _kind_and_remedy(maps, dtypes[0])
        raise ValueError(f"maps are {kind}, expected a NumPy array of {names}{remedy}")
    if maps.ndim != 3 or maps.shape[1] < 1 or maps.shape[2] < 1:
        one = "; of a single map give maps[np.newaxis]" if maps.ndim == 2 else ""
        raise ValueError(f"maps have shape {maps.shape}, expected [N, H, W] with H and W at least 1{one}")
    return np.ascontiguousarray(maps)


def _kind_and_remedy(array: npt.NDArray, dtype: type) -> tuple[str, str]:
    """What is there in the place of an array of `dtype`, and how to make one of it."""
    if isinstance(array, np.ndarray):
        return str(array.dtype), f"; give array.astype(np.{np.dtype(dtype).name})"
    of_tensor = "; give tensor.cpu().numpy()" if hasattr(array, "numpy") else ""
    return str(getattr(array, "dtype", type(array).__name__)), of_tensor


def checked_size(size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width of `size`, which is a pair or one number for both. Raises TypeError for numbers that are not
    whole.
    """
    pair = size if isinstance(size, (tuple, list)) else (size, size)
    if len(pair) != 2:
        raise ValueError(f"size {size}: expected height and width, as image.shape[:2], or one number for both")
    height, width = (index(each) for each in pair)
    if height < 1 or width < 1:
        raise ValueError(f"boxes are wanted in {height} x {width} pixels, expected at least 1 x 1")
    return height, width


def check_unit_interval(threshold: float | npt.NDArray[np.float64]) -> None:
    """Refuse a threshold outside 0..1."""
    values = np.atleast_1d(threshold)
    if len(bad := values[~((values >= 0) & (values <= 1))]):
        raise ValueError(f"threshold is {bad[0]}, expected 0..1")


def thresholds_of(threshold: float | npt.NDArray[np.float64], maps: int) -> npt.NDArray[np.float64]:
    """One threshold a map, float64 [N], of one for all or one each. Raises ValueError where there are others."""
    if np.ndim(threshold) > 1 or np.size(threshold) not in (1, maps):
        raise ValueError(
            f"thresholds have shape {np.shape(threshold)}, expected one number or one for each of {maps} maps"
        )
    return np.array(np.broadcast_to(threshold, maps), np.float64)


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
        kind, remedy = _kind_and_remedy(boxes, np.float32)
        raise ValueError(f"{name} are {kind}, expected a NumPy array of float32 or int32{remedy}")
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise ValueError(f"{name} have shape {boxes.shape}, expected [N, 4]")
    finite = np.isfinite(boxes).all(axis=1)
    if not finite.all():
        raise ValueError(f"row {np.argmin(finite)} of {name} holds NaN or infinity")
    return np.ascontiguousarray(boxes, np.float64)


def checked_offsets(offsets: npt.NDArray[np.int64], images: int, truths: int) -> npt.NDArray[np.int64]:
    """`offsets` int64 [N + 1], C-contiguous, if they divide the truths among the images."""
    if not isinstance(offsets, np.ndarray) or offsets.dtype != np.int64 or offsets.shape != (images + 1,) or images < 0:
        raise ValueError(
            f"offsets must be an int64 array of {max(images, 0) + 1} numbers, one more than images; of the boxes that "
            f"each image has it is np.cumsum([0, *counts])"
        )
    if offsets[0] != 0 or offsets[-1] != truths or (np.diff(offsets) < 0).any():
        raise ValueError(f"offsets must rise from 0 to {truths}, the number of truths")
    return np.ascontiguousarray(offsets)


def parts_of(maps: npt.NDArray) -> int:
    """How many threads share the maps. (Asked outside: a kernel that asks for it cannot be cached.) Raises RuntimeError
    as `refuse_forked` does.
    """
    refuse_forked()
    return min(len(maps), get_num_threads())


_forked: list[int] = []
"""This process, where it was forked from one that had the kernels' threads."""


def _note_fork() -> None:
    """In a process that was just forked."""
    with contextlib.suppress(ValueError):  # there were no threads
        if threading_layer() == "omp":
            _forked.append(os.getpid())


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_note_fork)


def refuse_forked() -> None:
    """Raise RuntimeError in a process that was forked from one that had the kernels' threads: GNU's OpenMP would end it
    without a word of ours.
    """
    if _forked:
        raise RuntimeError(
            "kernels had threads before this process was forked, and they are not here; start workers by spawn, as "
            'multiprocessing.get_context("spawn"), or DataLoader(multiprocessing_context="spawn")'
        )
