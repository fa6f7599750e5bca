"""Masks of predictions as files hold them: PNG, and COCO's run lengths."""

from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from fastwsol.host.files import naming
from fastwsol.prediction.predictions import Prediction
from fastwsol.prediction.user_images import path_inside
from fastwsol.sources.mask_images import encode_mask
from kernels.pixels import OBJECT


def mask_file(name: str) -> PurePosixPath:
    """Where the mask of an image of this name goes, below the folder of masks."""
    path = path_inside(name)
    return path.with_name(f"{path.name}.png")


def save_mask(folder: Path, prediction: Prediction) -> None:
    """Write the mask of an image below `folder`, named like the image with `.png` behind, as `pack --masks` and
    `evaluate --masks` take it: 0 background, 255 object.
    """
    path = folder / mask_file(prediction.name)
    path.parent.mkdir(parents=True, exist_ok=True)
    with naming(path):
        path.write_bytes(encode_mask(prediction.mask_of_all().astype(np.uint8) * OBJECT))


def run_lengths(mask: NDArray[np.bool_]) -> dict[str, object]:
    """A mask [H, W] as COCO has it compressed: `size` [H, W], and `counts`, the lengths of its runs column by column,
    background first, each less the one two before it, five bits a character.
    """
    flat = np.concatenate([[False], mask.ravel(order="F")])
    ends = np.flatnonzero(np.diff(flat.astype(np.int8)))
    lengths = np.diff(np.concatenate([[0], ends, [mask.size]])).tolist()
    text = bytearray()
    for k, length in enumerate(lengths):
        left = length - lengths[k - 2] if k > 2 else length
        while True:
            bits, left = left & 31, left >> 5
            more = left != (-1 if bits & 16 else 0)
            text.append(48 + bits + 32 * more)
            if not more:
                break
    return {"size": [*mask.shape], "counts": text.decode()}
