"""A folder of masks: a PNG an image, `NAME.png`, as `pack --masks` and `evaluate --masks` take them.

255 is the object, 0 the background, 128 what is left out of measures. Of a packed set they are its own masks; of others
what the masks of an image's objects keep, of whatever class these are. An image with an object that has no mask has
none either, as `pack` has it of COCO's: the object would become background.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastwsol.formats.folders import in_split, mask_file, write_file
from fastwsol.formats.labelled_images import About, Images, LabelledImage, Skipped
from fastwsol.host.errors import UserError
from fastwsol.sources.encode import as_png
from kernels.pixels import OBJECT


def write_masks(folder: Path, splits: Mapping[str, Images], about: About) -> None:
    """Write the mask of every image that has one. Raises UserError where none has."""
    saved = False
    for split, images in splits.items():
        for each in images:
            if not isinstance(each, Skipped):
                saved |= save_mask(folder, each, split)
    if not saved:
        raise UserError("--format masks: no image has a mask; choose another format")


def save_mask(folder: Path, image: LabelledImage, split: str = "") -> bool:
    """Write the mask of an image of a split, if it has one, and return whether it has."""
    if (pixels := mask_of(image)) is None:
        return False
    write_file(folder / in_split(mask_file(image.name), split), as_png(pixels))
    return True


def has_mask(image: LabelledImage) -> bool:
    """Whether an image has a mask: its own, or one for every object, of which there are some."""
    return image.mask is not None or (bool(image.objects) and all(each.mask is not None for each in image.objects))


def mask_of(image: LabelledImage) -> NDArray[np.uint8] | None:
    """The mask [H, W] of an image: its own, else all that its objects' masks keep; None where it `has_mask` not."""
    if not has_mask(image):
        return None
    if image.mask is not None:
        return image.mask()
    masks = [each.mask() for each in image.objects if each.mask is not None]
    return np.logical_or.reduce(masks).astype(np.uint8) * OBJECT
