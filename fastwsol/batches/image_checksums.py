"""What a split's images were when the run began, so that one that changed since does not reach DALI where that ends the
process.

Packing refuses images that do not decode, and opening the shards refuses files that changed since. Images can still
change under a run, whose files are mapped and not held.
"""

import itertools
import zlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from fastwsol.config import Augmentation
from fastwsol.dataset.shards import Split

Decoding = Literal["host", "mixed"]
"""Where JPEGs are decoded for a GPU: host keeps libjpeg's pixels; mixed is nvJPEG, whose pixels may differ."""


def decodes_on_host(augmentation: Augmentation, decoding: Decoding) -> bool:
    """Whether JPEGs are decoded on the host for a GPU. Colour steps take the image's mean as a named argument, which
    DALI wants on the CPU: then all before is there too.
    """
    return decoding == "host" or augmentation.color


def dies_of_bad_images(device: torch.device, augmentation: Augmentation, decoding: Decoding) -> bool:
    """Whether DALI 2.4 ends the process at an image that does not decode, and does not raise: on a GPU where images are
    decoded on the host (bench/results/h200/by-hand.md).
    """
    return device.type == "cuda" and decodes_on_host(augmentation, decoding)


class ImageChecksums:
    """CRC-32 of each encoded image of a split, as it is when this is made. They serve any subset of the split too."""

    def __init__(self, split: Split, threads: int) -> None:
        def sums(ids: NDArray[np.int64]) -> list[int]:
            return [zlib.crc32(split.image(index)) for index in ids.tolist()]

        with ThreadPoolExecutor(threads) as pool:
            parts = pool.map(sums, np.array_split(np.arange(len(split)), 4 * threads))
            found = np.fromiter(itertools.chain.from_iterable(parts), np.uint32, len(split))
        self._of_packed_row = np.zeros(int(split.rows.max(initial=-1)) + 1, np.uint32)
        self._of_packed_row[split.rows] = found

    def changed(
        self,
        split: Split,
        ids: NDArray[np.int64],
        encoded: Iterable[Any],
        lengths: NDArray[np.int64],
    ) -> NDArray[np.int64]:
        """Those of `split`'s rows `ids` [B] whose images `encoded`, as `Split.gather` gives them, are others than they
        were.
        """
        sums = [zlib.crc32(row[:length]) for row, length in zip(encoded, lengths.tolist(), strict=True)]
        return np.unique(ids[np.array(sums, np.uint32) != self._of_packed_row[split.rows[ids]]])
