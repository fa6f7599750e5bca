"""Do a network's maps lie where the pixels are that made them? Boxes of maps that are moved by parts of a cell.

    python -m fastwsol.evaluate RUN --split train --export-maps MAPS
    python bench/map_offset.py --maps MAPS/maps.npy --boxes MAPS/boxes.csv --out FILE

Padding and strides may let a cell of the last features look beside its place. If all maps of a network lie off, moving
them back raises GT-known Loc, at the fixed cut and at the oracle's, by the same move on every set. Maps are moved to
the right and down by `offset` cells, interpolated once onto the square, edges repeated.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastwsol.evaluation.annotations_file import read_annotations
from fastwsol.evaluation.boxes import hits_of
from fastwsol.evaluation.maps import NetworkMaps, localize_maps
from fastwsol.evaluation.metrics import IOU_THRESHOLDS
from fastwsol.host.command_line import parse_flags, run_command
from fastwsol.host.environment import environment
from fastwsol.host.errors import UserError
from fastwsol.host.files import write_json
from fastwsol.host.places import require_new


@dataclass(frozen=True)
class Flags:
    """The command line."""

    maps: Path
    """maps.npy that `evaluate --export-maps` wrote: min-max scaled maps [N, h, w]"""
    boxes: Path
    """boxes.csv that it wrote"""
    out: Path
    """JSON file to write; one that is there is not replaced"""
    offsets: tuple[float, ...] = (-0.5, -0.25, 0.0, 0.25, 0.5)
    """cells"""
    square: int = 224
    """side of the network's square, in pixels"""


def main(arguments: Sequence[str]) -> int:
    """Measure the maps at every offset, print a line each, and write the file."""
    flags = parse_flags(Flags, arguments, "bench/map_offset.py", "Boxes of maps that are moved by parts of a cell.")
    require_new("--out", flags.out)
    images, maps = read_annotations(flags.boxes), np.load(flags.maps)
    if len(maps) != len(images.truths.widths):
        raise UserError(f"{flags.maps}: {len(maps)} maps, and {len(images.truths.widths)} images in {flags.boxes}")
    results = {}
    for offset in flags.offsets:
        localized = localize_maps(NetworkMaps(moved(maps, offset, flags.square), flags.square), images.truths)
        has_boxes = images.truths.has_boxes
        fixed = 100 * hits_of(localized.boxes["strict"].ious, "strict")[:, has_boxes].mean(1)
        oracle = 100 * localized.curve.single[has_boxes].mean(0).max(1)
        results[f"{offset:g}"] = {"gt_known_loc": fixed.tolist(), "oracle": oracle.tolist()}
        said = ", ".join(
            f"IoU {t:g}: {a:.1f} (oracle {b:.1f})" for t, a, b in zip(IOU_THRESHOLDS, fixed, oracle, strict=True)
        )
        print(f"moved by {offset:+g} cells: {said}", flush=True)
    write_json(flags.out, {"offsets": results, "maps": list(maps.shape), **environment()})
    return 0


def moved(maps: NDArray[np.float32], offset: float, square: int) -> NDArray[np.float32]:
    """The maps [N, h, w] on the square's pixels, [N, square, square], moved right and down by `offset` cells: bilinear
    between the centres of cells.
    """
    result = maps.astype(np.float64)
    for axis in (1, 2):
        cells = result.shape[axis]
        places = np.clip((np.arange(square) + 0.5) * cells / square - 0.5 - offset, 0, cells - 1)
        before = np.floor(places).astype(np.int64)
        share = np.expand_dims(places - before, tuple(k for k in range(3) if k != axis))
        after = np.minimum(before + 1, cells - 1)
        result = np.take(result, before, axis) * (1 - share) + np.take(result, after, axis) * share
    return result.astype(np.float32)


if __name__ == "__main__":
    sys.exit(run_command(main))
