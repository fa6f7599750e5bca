"""How good can boxes from maps be? Bounds: perfect masks on a grid, and the best choice among components.

    python -m fastwsol.evaluate RUN --export-maps MAPS --localizer NAME
    python bench/map_bounds.py --shards SHARDS --maps MAPS/maps.npy --threshold CUT --classes N --out FILE

A perfect mask is the largest ground-truth box of an image, drawn on a grid: the value of a cell is the share
of it that the box covers. It is upsampled and boxed as any map is. Where its boxes miss, the grid is too coarse; where
the best of all components hits and the largest does not, the choice among them is at fault. All of it looks at the
ground truth of the images that it is measured on: bounds, and no results. Val images of the first N classes count.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import kernels
from fastwsol.dataset.shards import open_shards
from fastwsol.evaluation.boxes import CurveHits, hits_of
from fastwsol.evaluation.fixed_boxes import fixed_box_hits, fixed_boxes
from fastwsol.evaluation.maps import NetworkMaps, localize_maps
from fastwsol.evaluation.metrics import IOU_THRESHOLDS
from fastwsol.evaluation.truths import Truths
from fastwsol.host.command_line import parse_flags, run_command
from fastwsol.host.environment import environment
from fastwsol.host.errors import UserError
from fastwsol.host.files import write_json
from fastwsol.host.places import require_new
from kernels.levels import level_of


@dataclass(frozen=True)
class Flags:
    """The command line."""

    shards: Path
    """folder that pack.py wrote, which the maps are of"""
    maps: Path
    """maps.npy that `evaluate --export-maps` wrote of all of val"""
    threshold: float
    """where the run cuts them"""
    out: Path
    """JSON file to write; one that is there is not replaced"""
    classes: int = 0
    """the first N classes alone; 0: all"""
    own_scale: bool = False
    """the maps are a mask head's, and not to be scaled each by its own extremes"""
    square: int = 64
    """side of the network's square, in pixels"""
    grids: tuple[int, ...] = (4, 8, 10, 16, 32)
    """cells a side of the grids that perfect masks are drawn on"""


def main(arguments: Sequence[str]) -> int:
    """Measure, print a line each, and write the file."""
    flags = parse_flags(Flags, arguments, "bench/map_bounds.py", "How good boxes from maps can be.")
    require_new("--out", flags.out)
    shards, maps = open_shards(flags.shards), np.load(flags.maps)
    val, train = shards.splits["val"], shards.splits["train"]
    if len(maps) != len(val):
        raise UserError(f"{flags.maps}: {len(maps)} maps, and {len(val)} val images in {flags.shards}")
    count = flags.classes or len(shards.manifest.classes)
    rows, of_train = np.flatnonzero(val.labels < count), np.flatnonzero(train.labels < count)
    truths = Truths.of_split(val.subset("val", rows))
    scale: kernels.Scale = "own" if flags.own_scale else "min-max"
    localized = localize_maps(NetworkMaps(maps[rows], flags.square, scale), truths, flags.threshold)
    found: dict[str, Any] = {
        "largest component": percent(hits_of(localized.at_cut.ious, "strict").T, truths),
        "best component": at_level(localized.curve.multiple, level_of(flags.threshold), truths),
        "largest component, best threshold": at_best(localized.curve.single, truths),
        "best component, best threshold": at_best(localized.curve.multiple, truths),
    }
    for fixed in fixed_boxes(Truths.of_split(train.subset("train", of_train)), flags.square):
        found[fixed.name] = percent(fixed_box_hits(fixed, truths, flags.square, "strict").T, truths)
    for grid in flags.grids:
        curve = perfect(truths, grid, flags.square)
        found[f"perfect mask, {grid} x {grid} cells, at 0.5"] = at_level(curve.single, level_of(0.5), truths)
        found[f"perfect mask, {grid} x {grid} cells, best threshold"] = at_best(curve.single, truths)
    for name, rates in found.items():
        said = ", ".join(f"{rate:.1f} at IoU {iou}" for rate, iou in zip(rates, IOU_THRESHOLDS, strict=True))
        print(f"{name}: {said}")
    about = {"maps": f"{flags.maps.parent.name}/{flags.maps.name}", "images": len(rows), "threshold": flags.threshold}
    write_json(flags.out, about | {"classes": count, "gt_known_loc": found, **environment()})
    return 0


def perfect(truths: Truths, grid: int, square: int) -> CurveHits:
    """The hits of perfect masks at every level."""
    boxes = np.zeros((len(truths), 4))
    for n in range(len(truths)):
        own = truths.boxes[truths.offsets[n] : truths.offsets[n + 1]]
        if len(own):
            boxes[n] = own[np.argmax((own[:, 2] - own[:, 0]) * (own[:, 3] - own[:, 1]))]
    scales = grid / np.stack([truths.widths, truths.heights, truths.widths, truths.heights], axis=1)
    across, down = (covered(boxes[:, k] * scales[:, k], boxes[:, k + 2] * scales[:, k + 2], grid) for k in (0, 1))
    masks = (down[:, :, None] * across[:, None, :]).astype(np.float32)
    return localize_maps(NetworkMaps(masks, square, "own"), truths).curve


def covered(low: NDArray[np.float64], high: NDArray[np.float64], cells: int) -> NDArray[np.float64]:
    """The share of each of `cells` unit cells that low .. high covers, [N, cells]."""
    starts = np.arange(cells)
    return (np.minimum(high[:, None], starts + 1) - np.maximum(low[:, None], starts)).clip(0)


def percent(hit: NDArray[np.bool_], truths: Truths) -> list[float]:
    """The share of the images with boxes that are hit, for each IoU threshold: hits [N, T]."""
    return [100 * float(each) for each in hit[truths.has_boxes].mean(0)]


def at_level(hit: NDArray[np.bool_], level: int, truths: Truths) -> list[float]:
    """The same at one level, of hits [N, T, levels]."""
    return percent(hit[:, :, level], truths)


def at_best(hit: NDArray[np.bool_], truths: Truths) -> list[float]:
    """The same at the level that is best for each IoU threshold."""
    return [100 * float(each) for each in hit[truths.has_boxes].mean(0).max(1)]


if __name__ == "__main__":
    sys.exit(run_command(main))
