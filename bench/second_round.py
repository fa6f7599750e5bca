"""Does a second round pay? A head that is trained on what a run's first masks are sure of.

    python bench/second_round.py --runs RUN ... --out FILE

Each RUN is a finished run with a mask head. Its masks of all training images, and of their mirror images, teach another
head of the same form: cells above an upper bound are the object, below a lower one background, and the rest say nothing
(after SPOL, Wei et al. 2021); or all cells with the mask as a soft answer. It is measured on the images that taught,
by boxes that no training has seen, for several seeds of what is taught. Nothing in the package does any of this.
"""

import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mask_ablations import masks_of
from numpy.typing import NDArray
from torch import Tensor

from fastwsol.batches.feed import open_feed
from fastwsol.batches.stream import Stream, training_plan
from fastwsol.dataset.holdout import hold_out
from fastwsol.dataset.shards import open_shards
from fastwsol.evaluate import OfRun
from fastwsol.evaluation.boxes import hits_of
from fastwsol.evaluation.maps import NetworkMaps, localize_maps
from fastwsol.evaluation.thresholds import box_free_threshold
from fastwsol.evaluation.truths import Truths
from fastwsol.features.kept_features import open_features
from fastwsol.host.command_line import parse_flags, run_command
from fastwsol.host.device import autocast_of_run, take_device, use_threads
from fastwsol.host.environment import environment
from fastwsol.host.errors import UserError
from fastwsol.host.files import write_json
from fastwsol.host.places import require_new
from fastwsol.host.process import Process
from fastwsol.localizer.mask_head import MaskHead, build_mask_head
from fastwsol.runs.folder import RunDir
from fastwsol.runs.trained import read_trained
from fastwsol.timetable import one_cycle
from fastwsol.training.frozen_part import frozen_network, mask_views

SURE = {"sure above .7 and below .2": (0.7, 0.2), "sure above .6 and below .3": (0.6, 0.3), "all, softly": None}
"""The bounds of what a first mask is sure of."""
STEPS, BATCH, RATE = 300, 16, 2e-3


@dataclass(frozen=True)
class Flags:
    """The command line."""

    runs: tuple[Path, ...]
    """folders of finished runs with a mask head, whose features can be kept"""
    out: Path
    """JSON file to write; one that is there is not replaced"""
    seeds: int = 3
    """of what is taught"""


@dataclass(frozen=True)
class Taught:
    """What a run gives to learn from: features of both views of N images, [2, N, C, h, w]; its masks of them,
    [2, N, h, w]; the side of its square; and what the images show.
    """

    features: Tensor
    masks: Tensor
    square: int
    truths: Truths


def main(arguments: Sequence[str]) -> int:
    """Teach and measure, print a line each, and write the file."""
    flags = parse_flags(Flags, arguments, "bench/second_round.py", "Heads taught by a run's first masks.")
    require_new("--out", flags.out)
    use_threads(0)
    found: dict[str, Any] = {}
    for run in flags.runs:
        taught = taught_by(run)
        rows: dict[str, list[list[float]]] = {"the first masks": [of_masks(taught, taught.masks[0].numpy())]}
        for seed in range(flags.seeds):
            for name, bounds in SURE.items():
                rows.setdefault(f"another head, {name}", []).append(
                    of_masks(taught, second_masks(taught, bounds, seed))
                )
        found[run.name] = rows
        for name, of_seeds in rows.items():
            means = " / ".join(f"{statistics.mean(column):.1f}" for column in zip(*of_seeds, strict=True))
            print(f"{run.name}, {name}: {means} at IoU .5 / .7, {len(of_seeds)} seeds", flush=True)
    write_json(flags.out, {"gt_known_loc@0.5_and_0.7": found, "steps": STEPS, "batch": BATCH, **environment()})
    return 0


def taught_by(run: Path) -> Taught:
    """What a run gives. Raises UserError where its features cannot be kept."""
    folder = RunDir(run)
    info, saved, model = read_trained(folder)
    autocast = autocast_of_run("auto", saved.scalars["precision"], take_device("cpu"))
    model.eval().requires_grad_(False)
    network, head = model.network, model.head
    assert head is not None
    packed = open_shards(info.shards, verify=False)
    split = hold_out(packed, info.config.data.holdout).splits["train"]
    feed = open_feed(OfRun(), packed, ["train"], Process(autocast, 2), builds=False)
    plan = training_plan(info.config.seed, len(split), info.config.localizer.head_batch_size)
    views = mask_views(info.config.views)
    stream = Stream(split, plan, info.config.localizer.head_batch_size, views, info.config.seed, info.statistics)
    frozen = frozen_network(network, "tail", info.config.network, autocast)
    kept = open_features(packed, stream, feed, frozen, None)
    if kept is None:
        raise UserError(f"{run}: its features cannot be kept")
    values = torch.from_numpy(kept.values[:, split.rows]).view(torch.bfloat16).float()
    cells = torch.stack([network.trunk_cells(of_view) for of_view in values])
    with torch.no_grad():
        masks = torch.stack([torch.from_numpy(masks_of(head, network.trunk_cells, kept, split.rows)), head(cells[1])])
    return Taught(cells, masks, info.config.views.image_size, Truths.of_split(split))


def second_masks(taught: Taught, bounds: tuple[float, float] | None, seed: int) -> NDArray[np.float32]:
    """The masks [N, h, w] of a head that the first masks teach."""
    head: MaskHead = build_mask_head(taught.features.shape[2], 1000 + seed)

    def loss(features: Tensor, masks: Tensor) -> Tensor:
        found = head(features).clamp(1e-6, 1 - 1e-6)
        if bounds is None:
            return F.binary_cross_entropy(found, masks)
        sure = (masks >= bounds[0]) | (masks <= bounds[1])
        return F.binary_cross_entropy(found[sure], (masks[sure] >= bounds[0]).float())

    teach(head, taught, loss, seed)
    with torch.no_grad():
        return head.eval()(taught.features[0]).numpy()


def teach(head: MaskHead, taught: Taught, loss: Any, seed: int) -> None:
    """Train a head on drawn views of the images and of their mirror images."""
    generator, count = torch.Generator().manual_seed(seed), taught.features.shape[1]
    optimizer = torch.optim.AdamW(head.parameters(), lr=RATE)
    head.train()
    for step in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = RATE * one_cycle((step + 1) / (STEPS + 1))
        rows = torch.randint(count, (BATCH,), generator=generator)
        views = torch.randint(2, (BATCH,), generator=generator)
        optimizer.zero_grad(set_to_none=True)
        loss(taught.features[views, rows], taught.masks[views, rows]).backward()
        optimizer.step()


def of_masks(taught: Taught, masks: NDArray[np.float32]) -> list[float]:
    """GT-known Loc at IoU .5 and .7 of masks, cut where Otsu's rule over all of them says."""
    cut = box_free_threshold(masks, taught.square, "own")
    localized = localize_maps(NetworkMaps(masks, taught.square, "own"), taught.truths, cut)
    return _rates(localized.at_cut.ious, taught)


def _rates(ious: NDArray[np.float64], taught: Taught) -> list[float]:
    hit = 100 * hits_of(ious, "strict")[:, taught.truths.has_boxes].mean(1)
    return [float(hit[1]), float(hit[2])]


if __name__ == "__main__":
    sys.exit(run_command(main))
