"""The pixels that a box's map keeps, as masks of the original image: arrays, PNG files, COCO's run lengths."""

import os
from pathlib import Path, PurePosixPath

import numpy as np
import torch
from numpy.typing import NDArray

from fastwsol.host.files import write_bytes
from fastwsol.localizer.localizing import min_max, upsampled
from fastwsol.prediction.predictor import Prediction, ScoredBox
from fastwsol.sources.mask_images import encode_mask
from kernels.pixels import OBJECT


def mask_of(prediction: Prediction, box: ScoredBox) -> NDArray[np.bool_]:
    """The pixels of the image, [height, width], that the map of a box's class keeps inside the box: the map, upsampled
    bilinearly to what it covers of the image, reaches the cut that the box was found at.
    """
    labels = [each.wnid for each in prediction.classes]
    number = labels.index(box.wnid) if box.wnid in labels else 0  # a mask is one for all classes
    x, y, width, height = prediction.shown
    maps = torch.from_numpy(prediction.cams[number])[None].float()
    maps = maps if prediction.scale == "own" else min_max(maps)
    kept = upsampled(maps, height, width)[0].numpy() >= prediction.cuts[number]
    found = np.zeros((prediction.height, prediction.width), np.bool_)
    found[y : y + height, x : x + width] = kept
    x0, y0, x1, y1 = (round(edge) for edge in (box.x0, box.y0, box.x1, box.y1))
    inside = np.zeros_like(found)
    inside[max(0, y0) : y1, max(0, x0) : x1] = True
    return found & inside


def mask_of_all(prediction: Prediction) -> NDArray[np.bool_]:
    """The pixels that any of an image's boxes keeps: [height, width]."""
    found = np.zeros((prediction.height, prediction.width), np.bool_)
    for box in prediction.boxes:
        found |= mask_of(prediction, box)
    return found


def save_mask(folder: Path, prediction: Prediction) -> None:
    """Write the mask of an image below `folder`, named like the image with `.png` behind, as `pack --masks` and
    `evaluate --masks` take it: 0 background, 255 object.
    """
    parts = [part for part in PurePosixPath(prediction.name.replace(os.sep, "/")).parts if part not in ("/", "..", ".")]
    path = folder.joinpath(*parts[:-1], f"{parts[-1]}.png")
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, encode_mask(mask_of_all(prediction).astype(np.uint8) * OBJECT))


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
