"""What each part of the mask head's training is for: the head trained with a part of it taken away or put otherwise.

    python bench/mask_ablations.py --run RUN --out FILE

RUN is a finished run with a mask head. Heads are trained behind its classifier, on its features, with its batches,
rates and seed, and measured on the very images that they are trained on, by boxes that no head and no cut has seen:
a setting is chosen so, val stays shut. On two cores a minute a variant.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fastwsol.batches.feed import open_feed
from fastwsol.batches.stream import Stream, training_plan
from fastwsol.dataset.holdout import hold_out
from fastwsol.dataset.shards import open_shards
from fastwsol.evaluate import OfRun
from fastwsol.evaluation.evaluated_images import EvaluatedImages
from fastwsol.evaluation.fixed_boxes import fixed_box_hits, fixed_boxes
from fastwsol.evaluation.measure import measure
from fastwsol.evaluation.metrics import IOU_THRESHOLDS
from fastwsol.evaluation.of_localizer import CutMaps
from fastwsol.evaluation.thresholds import Cut, box_free_threshold
from fastwsol.evaluation.truths import Truths
from fastwsol.features.feature_batches import FeatureBatches
from fastwsol.features.kept_features import open_features
from fastwsol.host.command_line import parse_flags, run_command
from fastwsol.host.device import autocast_of_run, take_device, use_threads
from fastwsol.host.environment import environment
from fastwsol.host.errors import UserError
from fastwsol.host.files import write_json
from fastwsol.host.kept_arrays import KeptArray
from fastwsol.host.places import require_new
from fastwsol.host.process import Process
from fastwsol.localizer.localizers import LOCALIZERS
from fastwsol.localizer.mask_head import MaskHead, build_mask_head
from fastwsol.localizer.mask_training import MaskTraining, ratio_of_rest
from fastwsol.runs.folder import RunDir
from fastwsol.runs.info import RunInfo
from fastwsol.runs.trained import read_run, trained_model
from fastwsol.timetable import one_cycle
from fastwsol.training.frozen_part import frozen_network, mask_views

SLACK = 0.1
"""Nats, where a constraint is one for each image; a loss beyond it counts `_SLOPE` times."""
_SLOPE = 4.0
KEPT_BY_ENOUGH = 0.95
"""The share of images that keep their class under the mask, where that steers and not the rest."""


@dataclass(frozen=True)
class Flags:
    """The command line."""

    run: Path
    """folder of a finished run with a mask head"""
    out: Path
    """JSON file to write; one that is there is not replaced"""
    only: tuple[str, ...] = ()
    """names of variants; default: all"""


@dataclass(frozen=True)
class Variant:
    """A head's training. fixed_weight: of the area, in place of one that is steered. enough: what is kept steers, not
    the rest. normalised: the last layer reads features averaged over the mask, not over the image. each_image: what is
    kept costs only an image that it tells its class `SLACK` less of than the whole does.
    """

    kept: bool = True
    rest: bool = True
    fixed_weight: float | None = None
    enough: bool = False
    fill_mean: bool = False
    normalised: bool = False
    each_image: bool = False


_LEAST_AREA = 0.05
"""Of a mask that features are averaged over: a smaller one would make noise of them."""

VARIANTS = {
    "as it is": Variant(),
    "what is kept need not tell the class": Variant(kept=False),
    "the rest may tell the class": Variant(rest=False),
    "no price of the area": Variant(fixed_weight=0.0),
    "the area's weight fixed at 1": Variant(fixed_weight=1.0),
    "the area's weight fixed at 6": Variant(fixed_weight=6.0),
    "steered by what is enough: 95 % keep their class": Variant(enough=True),
    "masked cells take the mean feature, not 0": Variant(fill_mean=True),
    "features are averaged over the mask": Variant(normalised=True),
    "a constraint for each image, the area's weight steered": Variant(each_image=True),
    "a constraint for each image, the area's weight fixed at 1": Variant(each_image=True, fixed_weight=1.0),
}


def main(arguments: Sequence[str]) -> int:
    """Train and measure every variant, print a line for each, and write the file."""
    flags = parse_flags(Flags, arguments, "bench/mask_ablations.py", "Mask heads without a part of their training.")
    require_new("--out", flags.out)
    threads = use_threads(0)
    info, saved = read_run(RunDir(flags.run))
    autocast = autocast_of_run("auto", saved.scalars["precision"], take_device("cpu"))
    network = trained_model(info, saved.tensors).to(autocast.device).eval().requires_grad_(False)
    packed = open_shards(info.shards)
    split = hold_out(packed, info.config.data.holdout).splits["train"]
    feed = open_feed(OfRun(), packed, ["train"], Process(autocast, threads), builds=False)
    views = mask_views(info.config.views)
    plan = training_plan(info.config.seed, len(split), info.config.localizer.head_batch_size)
    stream = Stream(split, plan, info.config.localizer.head_batch_size, views, info.config.seed, info.statistics)
    frozen = frozen_network(network, "tail", info.config.network, autocast)
    kept = open_features(packed, stream, feed, frozen, None)
    if kept is None:
        raise UserError(f"{flags.run}: its features cannot be kept, so that every variant would compute them anew")
    truths = Truths.of_split(split, info.config.views.fit)
    square = info.config.views.image_size
    names = split.names(range(len(split)))
    images = EvaluatedImages(names, truths, split.labels, None, info.classes)
    results: dict[str, Any] = {}
    for name, variant in VARIANTS.items():
        if flags.only and name not in flags.only:
            continue
        start = time.perf_counter()
        training = MaskTraining(network, "model", build_mask_head(_channels(kept), info.config.seed), len(info.classes))
        train(training, variant, FeatureBatches(stream, kept, autocast.device), info)
        masks = masks_of(training.head, network.trunk_cells, kept, split.rows)
        cut = Cut("box-free", box_free_threshold(masks, square, "own"), "the same images, without a box")
        numbers = measure(images, [CutMaps.of(LOCALIZERS["mask"], masks, square, cut)]).numbers["localizers"][0]
        seconds, area_weight = round(time.perf_counter() - start, 1), float(training.steering.area_weight)
        results[name] = {**numbers, "seconds": seconds, "area_weight": area_weight}
        del results[name]["curve"]
        at = " / ".join(f"{numbers['rates'][f'gt_known_loc@{t}']:.1f}" for t in IOU_THRESHOLDS)
        best = " / ".join(f"{numbers['oracle']['rates'][f'gt_known_loc@{t}']:.1f}" for t in IOU_THRESHOLDS)
        area = numbers["maps"]["mean_area"]
        print(f"{name}: {at} at {cut.value:.2f}, oracle {best}, mean area {area:.2f}", flush=True)
    fixed = {
        each.key: [100 * float(row[truths.has_boxes].mean()) for row in fixed_box_hits(each, truths, square, "strict")]
        for each in fixed_boxes(truths, square)
    }
    about = {
        "run": flags.run.name,
        "images": len(split),
        "median_box_area": float(np.nanmedian(truths.object_shares())),
        "fixed_boxes": fixed,
        "config": info.config.to_json(),
    }
    write_json(flags.out, {**about, "variants": results, **environment()})
    return 0


def _channels(kept: KeptArray) -> int:
    return int(kept.values.shape[2])


def train(training: MaskTraining, variant: Variant, batches: FeatureBatches, info: RunInfo) -> None:
    """Train the head of `training` as a run does, but for the variant."""
    settings, network = info.config.localizer, training.network
    rate = torch.tensor(settings.head_lr)
    optimizer = torch.optim.AdamW(training.head.parameters(), lr=rate, fused=True)
    mean = next(batches).images.float().mean((0, 2, 3), keepdim=True)
    for step in range(settings.head_steps):
        rate.fill_(settings.head_lr * one_cycle((step + 1) / (settings.head_steps + 1)))
        batch = next(batches)
        features, labels = batch.images.float(), batch.labels
        mask = training.head(network.trunk_cells(features))
        with torch.no_grad():
            whole, _ = network.tail(features)
        shown = network.masked(features.repeat(2, 1, 1, 1), torch.cat([mask, 1 - mask]))
        if variant.fill_mean:
            shown = shown + mean * (1 - torch.cat([mask, 1 - mask]))[:, None]
        if variant.normalised:
            both = torch.cat([mask, 1 - mask])
            read = network.pooled_of_trunk(shown) / both.mean((1, 2))[:, None, None, None].clamp(min=_LEAST_AREA)
            kept, rest = network.logits_of_pooled(read).chunk(2)
        else:
            kept, rest = network.tail(shown)[0].chunk(2)
        weight = training.steering.area_weight if variant.fixed_weight is None else variant.fixed_weight
        loss = weight * mask.mean()
        if variant.each_image:
            lost = F.cross_entropy(kept, labels, reduction="none") - F.cross_entropy(whole, labels, reduction="none")
            loss = loss + _SLOPE * F.relu(lost - SLACK).mean()
        elif variant.kept:
            loss = loss + F.cross_entropy(kept, labels)
        if variant.rest:
            loss = loss + ratio_of_rest(whole, rest, labels).mean()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        of_whole, of_kept, of_rest = ((each.argmax(1) == labels).sum() for each in (whole, kept, rest))
        follow(training, variant, of_whole, of_kept, of_rest, len(labels))


def follow(training: MaskTraining, variant: Variant, whole: Tensor, kept: Tensor, rest: Tensor, images: int) -> None:
    """Steer as a run does; under `enough` the mask grows while fewer than `KEPT_BY_ENOUGH` keep their class."""
    steering = training.steering
    if not variant.enough:
        steering.follow(rest, whole, torch.tensor(images))
        return
    with torch.no_grad():
        steering.rest_tells.lerp_((kept / whole.clamp(min=1)).float(), 0.2)
        push = ((steering.rest_tells - KEPT_BY_ENOUGH) / 0.05).clamp(-1, 1)
        steering.lasting.add_(0.03 * push).clamp_(-2.5, 1.8)
        steering.area_weight.copy_(torch.exp((steering.lasting + push).clamp(-3, 1.8)))


@torch.no_grad()
def masks_of(head: MaskHead, trunk_cells: Callable[[Tensor], Tensor], kept: KeptArray, rows: Any) -> np.ndarray:
    """The masks of the images themselves, not of their mirror images: float32 [N, h, w]."""
    head.eval()
    masks = []
    for first in range(0, len(rows), 64):
        values = torch.from_numpy(kept.values[0, rows[first : first + 64]]).view(torch.bfloat16).float()
        masks.append(head(trunk_cells(values)))
    return torch.cat(masks).numpy()


if __name__ == "__main__":
    sys.exit(run_command(main))
