"""What a few known boxes do for the threshold: `predict --cut-on` with boxes of N images, measured on all others.

    python bench/cut_on_few.py --runs RUN RUN --out FILE       # runs with --holdout, of whose images both are

Of the levels that hit most of the few images, `nearest` is the one nearest to the run's own cut, which `--cut-on`
takes, and `lowest` the lowest. Each number is the mean over draws of the images whose boxes are known.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastwsol.dataset.holdout import hold_out
from fastwsol.dataset.shards import Split, open_shards
from fastwsol.evaluation.boxes import CurveHits
from fastwsol.evaluation.metrics import IOU_THRESHOLDS
from fastwsol.evaluation.thresholds import best_levels, choose_levels
from fastwsol.evaluation.truths import Truths
from fastwsol.host.command_line import parse_flags, run_command
from fastwsol.host.environment import environment
from fastwsol.host.files import write_json
from fastwsol.host.places import require_new
from fastwsol.prediction.predictor import Predictor
from kernels.levels import level_of

AT_HALF, AT_SEVEN_TENTHS = IOU_THRESHOLDS.index(0.5), IOU_THRESHOLDS.index(0.7)


@dataclass(frozen=True)
class Flags:
    """The command line."""

    runs: tuple[Path, ...]
    """folders of runs with --holdout"""
    out: Path
    """JSON file to write; one that is there is not replaced"""
    known: tuple[int, ...] = (5, 8, 12, 20)
    """of how many images boxes are known"""
    draws: int = 200
    """of those images"""


def main(arguments: Sequence[str]) -> int:
    """Measure every run, print its numbers, and write the file."""
    flags = parse_flags(Flags, arguments, "bench/cut_on_few.py", "A threshold that is chosen on a few known boxes.")
    require_new("--out", flags.out)
    results = {}
    for run in flags.runs:
        predictor = Predictor.of_run(run)
        packed = open_shards(predictor.info.shards, verify=False)
        split = hold_out(packed, predictor.info.config.data.holdout).splits["holdout"]
        results[packed.manifest.source] = measured(predictor, split, flags)
    write_json(flags.out, {"draws": flags.draws, "sets": results, **environment()})
    return 0


def measured(predictor: Predictor, split: Split, flags: Flags) -> dict[str, Any]:
    """GT-known Loc in percent at IoU .5 and .7: at the run's own cut, and by number of known boxes at both levels."""
    rows = np.flatnonzero(np.diff(split.box_offsets) > 0)
    predictions = predictor.predict([split.image(int(row)) for row in rows])
    maps, own = np.stack([each.maps[0] for each in predictions]), predictor.cut.value
    assert own is not None
    curve = (
        Truths.of_split(split, predictor.info.config.views.fit)
        .shown.of_rows(rows)
        .curve_hits(maps, predictor.info.config.views.image_size, predictor.localizer.scale)
    )
    found: dict[str, Any] = {
        "images": len(rows),
        "own": {"cut": own, "gt_known_loc": rates(curve.single, level_of(own))},
    }
    random = np.random.default_rng(0)
    for known in flags.known:
        of_draws: dict[str, list[list[float]]] = {"nearest": [], "lowest": []}
        for _ in range(flags.draws):
            order = random.permutation(len(rows))
            few, others = order[:known], curve.single[order[known:]]
            seen = CurveHits(curve.single[few], curve.multiple[few])
            chosen = {"nearest": choose_levels(seen, "", own).levels, "lowest": best_levels(seen.single.sum(axis=0))}
            for name, levels in chosen.items():
                of_draws[name].append(rates(others, int(levels[AT_HALF])))
        found[str(known)] = {name: np.mean(each, axis=0).tolist() for name, each in of_draws.items()}
    print(split.name, found, flush=True)
    return found


def rates(single: NDArray[np.bool_], level: int) -> list[float]:
    """GT-known Loc at IoU .5 and .7, in percent, of hits [N, T, LEVELS] at a level."""
    return [float(100 * single[:, at, level].mean()) for at in (AT_HALF, AT_SEVEN_TENTHS)]


if __name__ == "__main__":
    sys.exit(run_command(main))
