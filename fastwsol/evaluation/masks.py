"""Ground-truth masks of N images, from shards or from PNG files, at the square that pixels are counted in."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from fastwsol.dataset.shards import Split
from fastwsol.evaluation.truths import Truths
from fastwsol.host.errors import UserError
from fastwsol.sources.mask_folder import MaskFolder
from fastwsol.sources.mask_images import BENCHMARK_SIDE, MASK_REMEDY, at_benchmark_side, read_mask
from fastwsol.sources.tree import BadFile

PIXEL_SIDE = BENCHMARK_SIDE
"""Pixels. Maps and masks are brought to a square of this side before they are counted."""


class Masks(Protocol):
    """The masks of some of N images."""

    @property
    def rows(self) -> NDArray[np.int64]:
        """Which images have one, ascending: [n]."""

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The masks of images `rows` [m], which have some: uint8 [m, PIXEL_SIDE, PIXEL_SIDE]. Raises UserError naming
        what is no mask of its image.
        """


@dataclass(frozen=True)
class SplitMasks:
    """Those of a split's images, as they were packed."""

    split: Split

    @property
    def rows(self) -> NDArray[np.int64]:
        """Which images have one, ascending: [n]."""
        return np.flatnonzero(self.split.has_mask)

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The masks of images `rows` [m]: uint8 [m, PIXEL_SIDE, PIXEL_SIDE]."""
        masks = np.empty((len(rows), PIXEL_SIDE, PIXEL_SIDE), np.uint8)
        for k, row in enumerate(rows.tolist()):
            packed = self.split.mask(row)
            assert packed is not None
            masks[k] = at_benchmark_side(read_mask(packed))
        return masks


@dataclass(frozen=True)
class MaskFiles:
    """Those of files. files: by row; truths: of all images, for their sizes."""

    files: dict[int, Path]
    truths: Truths
    unused: int = 0
    """How many masks there are of no image."""

    @property
    def rows(self) -> NDArray[np.int64]:
        """Which images have one, ascending: [n]."""
        return np.array(sorted(self.files), np.int64)

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The masks of images `rows` [m]: uint8 [m, PIXEL_SIDE, PIXEL_SIDE]. Raises UserError naming the file that is
        no mask of its image.
        """
        masks = [self._read(row) for row in rows.tolist()]
        return np.stack(masks) if masks else np.empty((0, PIXEL_SIDE, PIXEL_SIDE), np.uint8)

    def _read(self, row: int) -> NDArray[np.uint8]:
        path = self.files[row]
        try:
            content = path.read_bytes()
            return at_benchmark_side(read_mask(content, (int(self.truths.widths[row]), int(self.truths.heights[row]))))
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
        except BadFile as error:
            raise UserError(f"{path}: {error}; {MASK_REMEDY}") from None


def find_masks(folder: Path, names: Sequence[str], truths: Truths) -> MaskFiles:
    """The masks in `folder` of images of these names and sizes. Raises UserError where there is none at all, and where
    two images would share one.
    """
    if not folder.is_dir():
        raise UserError(f"--masks {folder}: no such folder; name the one that holds the PNG masks")
    found = MaskFolder(folder, follow_links=True)
    of_images = found.of_images(names)
    files = {row: Path(found.where(of_images[name])) for row, name in enumerate(names) if name in of_images}
    if not files:
        raise UserError(
            f"--masks {folder}: none of the images has a mask there, {names[0]!r} for one; name masks like images"
        )
    return MaskFiles(files, truths, len(found.files) - len({*files.values()}))
