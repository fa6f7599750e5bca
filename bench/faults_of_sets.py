"""What is wrong with sets of photographs: one scene in both splits, bars, and boxes painted into pictures.

    python bench/faults_of_sets.py --sources SET SET --out FILE

A SET has `train/CLASS/` and `val/CLASS/`, and `boxes.csv`. Two images are alike where their thumbnails correlate by
0.8, or 0.9, and more (`fastwsol.dataset.near_copies`); how often images of other classes do says what of that is
chance. A bar is a run of rows or columns at an edge whose pixels differ by 8 levels at most. A picture has a painted
box where more than one pixel in a hundred is pure green.
"""

import csv
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fastwsol.dataset.near_copies import thumbnail
from fastwsol.host.command_line import parse_flags, run_command
from fastwsol.host.environment import environment
from fastwsol.host.files import write_json
from fastwsol.host.places import require_new

ALIKE = (0.8, 0.9)
MOST_LEVELS = 8
LEAST_GREEN = 0.01


@dataclass(frozen=True)
class Flags:
    """The command line."""

    sources: tuple[Path, ...]
    """folders with train, val and boxes.csv"""
    out: Path
    """JSON file to write; one that is there is not replaced"""


def main(arguments: Sequence[str]) -> int:
    """Look at all images, print what was found, and write the file."""
    flags = parse_flags(Flags, arguments, "bench/faults_of_sets.py", "What is wrong with sets of photographs.")
    require_new("--out", flags.out)
    found = {source.name: faults_of(source) for source in flags.sources}
    for name, of_set in found.items():
        for what, each in of_set.items():
            print(f"{name}, {what}: {each}")
    write_json(flags.out, {"sets": found, **environment()})
    return 0


def faults_of(source: Path) -> dict[str, Any]:
    """What is wrong with a set."""
    with (source / "boxes.csv").open() as file:
        boxed = {row["name"] for row in csv.DictReader(file)}
    frames = {split: sorted((source / split).glob("*/*")) for split in ("train", "val")}
    names = {split: [path.relative_to(source).as_posix() for path in of] for split, of in frames.items()}
    pixels = {split: [np.asarray(Image.open(path).convert("RGB")) for path in of] for split, of in frames.items()}
    labels = {split: np.array([path.parent.name for path in of]) for split, of in frames.items()}
    small = {split: np.stack([thumbnail(path.read_bytes()) for path in of]) for split, of in frames.items()}
    of_val = np.array([name in boxed for name in names["val"]])
    return {
        "frames": {"train": len(names["train"]), "val": len(names["val"]), "val_with_box": int(of_val.sum())},
        "painted": {
            "train": sum(map(_is_painted, pixels["train"])),
            "val_with_box": sum(_is_painted(each) for each, box in zip(pixels["val"], of_val, strict=True) if box),
            "val_without_box": sum(
                _is_painted(each) for each, box in zip(pixels["val"], of_val, strict=True) if not box
            ),
        },
        "with_a_bar": {split: sum(_bar(each) > 0 for each in of) for split, of in pixels.items()},
        "mean_bar": {split: float(np.mean([_bar(each) for each in of])) for split, of in pixels.items()},
        "val_with_box_alike_to_train": _alike(
            small["val"][of_val], labels["val"][of_val], small["train"], labels["train"]
        ),
        "train_alike_to_other_train": _alike(
            small["train"], labels["train"], small["train"], labels["train"], own=True
        ),
    }


def _is_painted(pixels: NDArray[np.uint8]) -> bool:
    red, green, blue = (pixels[..., channel].astype(int) for channel in range(3))
    return bool(((green > 200) & (red < 80) & (blue < 80)).mean() > LEAST_GREEN)


def _bar(pixels: NDArray[np.uint8]) -> float:
    """The thickest bar at an edge, as a share of the side; 0 where it is below 3 pixels."""
    thickest = 0.0
    for turned in (pixels, pixels[::-1], pixels.transpose(1, 0, 2), pixels.transpose(1, 0, 2)[::-1]):
        of_rows = turned.reshape(len(turned), -1, 3)
        flat = (of_rows.max(1).astype(int) - of_rows.min(1)).max(1) <= MOST_LEVELS
        rows = len(flat) if flat.all() else int(flat.argmin())
        thickest = max(thickest, rows / len(flat) if rows >= 3 else 0.0)
    return thickest


def _alike(
    images: NDArray[np.float32],
    classes: NDArray[Any],
    others: NDArray[np.float32],
    theirs: NDArray[Any],
    own: bool = False,
) -> dict[str, dict[str, int]]:
    """How many images have one among the others that is alike, of their class and of another, by the least correlation.
    own: both are the same images.
    """
    correlations = images @ others.T
    if own:
        np.fill_diagonal(correlations, 0)
    same = classes[:, None] == theirs[None]
    return {
        str(least): {
            "of_their_class": int(((correlations >= least) & same).any(1).sum()),
            "of_another": int(((correlations >= least) & ~same).any(1).sum()),
        }
        for least in ALIKE
    }


if __name__ == "__main__":
    sys.exit(run_command(main))
