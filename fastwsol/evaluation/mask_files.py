"""Ground-truth masks from PNG files, one an image: 0 is background, 255 the object, 128 is left out.

A mask is named like its image, with `.png` behind the name or in place of its ending, and has the image's size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from fastwsol.evaluation.truths import Truths
from fastwsol.host.errors import UserError
from kernels.pixels import IGNORED, OBJECT

PIXEL_SIDE = 224
"""Pixels. Maps and masks are brought to a square of this side before they are counted (Choe et al. 2020)."""


@dataclass(frozen=True)
class MaskFiles:
    """The masks of some of N images. files: by row; truths: of all images, for their sizes."""

    files: dict[int, Path]
    truths: Truths

    def read(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The masks of images `rows` [n], which have some, by nearest neighbour: uint8 [n, PIXEL_SIDE, PIXEL_SIDE].

        Raises UserError naming the file that is no mask of its image.
        """
        masks = [self._read(row) for row in rows.tolist()]
        return np.stack(masks) if masks else np.empty((0, PIXEL_SIDE, PIXEL_SIDE), np.uint8)

    def _read(self, row: int) -> NDArray[np.uint8]:
        path = self.files[row]
        expected = int(self.truths.widths[row]), int(self.truths.heights[row])
        remedy = f"save it as PNG of 8 bits grey: 0 background, {OBJECT} object, {IGNORED} left out"
        try:
            with Image.open(path, formats=["PNG"]) as opened:
                if opened.size != expected:
                    raise UserError(
                        f"{path}: has {opened.size[0]}x{opened.size[1]} pixels, its image {expected[0]}x{expected[1]}; "
                        f"a mask has its image's size"
                    )
                if opened.mode not in ("L", "1"):
                    raise UserError(f"{path}: is a PNG of mode {opened.mode}; {remedy}")
                pixels = np.asarray(opened.convert("L"))
        except (OSError, UnidentifiedImageError, SyntaxError, ValueError) as error:
            raise UserError(f"{path}: cannot be read as a mask ({error}); {remedy}") from None
        if len(others := np.setdiff1d(pixels, (0, IGNORED, OBJECT))):
            raise UserError(f"{path}: has a pixel of {others[0]}; {remedy}")
        # As the benchmark's code takes them: the pixel in which the target's corner lies.
        rows, columns = (np.arange(PIXEL_SIDE) * side // PIXEL_SIDE for side in pixels.shape)
        return pixels[np.ix_(rows, columns)]


def find_masks(folder: Path, names: Sequence[str], truths: Truths) -> MaskFiles:
    """The masks in `folder` of images of these names and sizes. Raises UserError where there is none at all, and where
    two images would share one.
    """
    if not folder.is_dir():
        raise UserError(f"--masks {folder}: no such folder; name the one that holds the PNG masks")
    files: dict[int, Path] = {}
    owner: dict[Path, str] = {}
    for row, name in enumerate(names):
        for path in dict.fromkeys((folder / f"{name}.png", (folder / name).with_suffix(".png"))):
            if not path.is_file():
                continue
            if owner.setdefault(path, name) != name:
                raise UserError(
                    f"{path}: is the mask of both {owner[path]!r} and {name!r}; name each mask like its image, with "
                    f".png behind the whole name"
                )
            files[row] = path
            break
    if not files:
        raise UserError(
            f"--masks {folder}: none of the images has a mask there, {names[0]!r} for one; name masks like images"
        )
    return MaskFiles(files, truths)
