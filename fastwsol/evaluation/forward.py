"""One forward pass over a split: predictions and maps, then boxes, then counts. Training and `evaluate` share it.

Several processes share the forward pass by whole batches, which hold the same images however many they are: so what
comes out does not depend on their number. Boxes and numbers take little, and the leading process makes them alone.
"""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fastwsol.batches.feed import Feed
from fastwsol.batches.stream import Stream, evaluation_plan, valid_images
from fastwsol.config import Config
from fastwsol.dataset.shards import Shards, Split
from fastwsol.draws import holdout_ids
from fastwsol.evaluation import choe2020 as wsoleval
from fastwsol.evaluation import metrics
from fastwsol.evaluation.boxes import PROTOCOLS, localize, score_boxes
from fastwsol.evaluation.measure import (
    REPORT_FORMAT_VERSION,
    Chosen,
    Truths,
    choose,
    fixed_boxes,
    hits_of,
    localize_maps,
    measure,
)
from fastwsol.evaluation.per_image import ImageRows
from fastwsol.host.command_line import duration
from fastwsol.host.device import Autocast
from fastwsol.host.environment import environment
from fastwsol.host.errors import RunFailure, UserError
from fastwsol.host.processes import ALONE, World
from fastwsol.host.ticker import Ticker
from fastwsol.network.cam import class_activation_maps
from fastwsol.network.preact_resnet import PreActResNet

BATCH_SIZE = 256
"""Images of up to 64 pixels a side that are passed through the network at a time."""
TUNING_IMAGES = 10_000
"""At most about so many images trained on are passed through the network to choose a threshold."""


@dataclass(frozen=True)
class Outputs:
    """What the network says of each of a split's N images, in the split's order."""

    predicted: NDArray[np.int64]
    """The classes of the five highest logits (of all where there are fewer), highest first: [N, 5]."""
    cams: NDArray[np.float32]
    """Maps of the class asked for: [N, h, w]."""


def forward_split(
    model: PreActResNet,
    shards: Shards,
    split: Split,
    config: Config,
    autocast: Autocast,
    feed: Feed,
    world: World = ALONE,
    cam_class: metrics.CamClass = "truth",
) -> Outputs:
    """Run the model over every image of `split` once, in evaluation mode; its mode before is restored.

    The leading process's BN statistics become every process's. Raises RunFailure naming an image where maps are not
    finite.
    """
    was_training = model.training
    model.eval()
    predicted = torch.zeros(len(split), min(metrics.BEYOND_TOP_5, len(shards.manifest.classes)), dtype=torch.int64)
    cams = torch.zeros(len(split), config.map_size, config.map_size)
    try:
        world.share_from_lead(model.buffers())
        with torch.inference_mode():
            batches = _batches(model, shards, split, config, autocast, feed, world, cam_class)
            for rows, batch_predicted, batch_cams in batches:
                predicted[rows] = batch_predicted.cpu()
                cams[rows] = batch_cams.cpu()
    finally:
        model.train(was_training)
    world.add_up(predicted)
    world.add_up(cams)
    if len(bad := np.flatnonzero(~torch.isfinite(cams).all(dim=(1, 2)).numpy())):
        raise world.of_lead(
            RunFailure(
                f"the maps of {len(bad)} of {len(split)} {split.name} images are not finite, "
                f"{split.names(bad[:1])[0]} the first: the network's weights are damaged; go back to an earlier "
                f"checkpoint, or train with a lower --lr"
            )
        )
    return Outputs(predicted.numpy(), cams.numpy())


def _batches(
    model: PreActResNet,
    shards: Shards,
    split: Split,
    config: Config,
    autocast: Autocast,
    feed: Feed,
    world: World,
    cam_class: metrics.CamClass,
) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor]]:
    """Yield rows of the split with their predictions and maps, this process's part; padding has been cut off."""
    size = min(images_at_once(config.image_size), len(split))
    plan = evaluation_plan(len(split), size, world.rank, world.size)
    manifest = shards.manifest
    batches = feed.batches(Stream(split, plan, size, config.evaluation, config.seed, manifest.mean, manifest.std))
    ticker = ticker_of(split.name, len(split))
    for number in range(world.rank, -(-len(split) // size), world.size):
        batch = next(batches)
        with autocast():
            logits, features = model(batch.images)
        # Sorted stably: of equal logits the class that comes first stands first, as argmax has it.
        predicted = logits.argsort(dim=1, descending=True, stable=True)[:, : metrics.BEYOND_TOP_5]
        classes = batch.labels if cam_class == "truth" else predicted[:, 0]
        maps = class_activation_maps(features, model.fc.weight, classes)
        valid = valid_images(number, len(split), size)
        yield slice(number * size, number * size + valid), predicted[:valid], maps[:valid]
        if world.leads:
            ticker.update(number * size + valid)
    ticker.close()


def images_at_once(image_size: int) -> int:
    """How many images of a size are a batch: of larger ones fewer, so that they take no more memory."""
    return max(1, BATCH_SIZE * 64**2 // max(64, image_size) ** 2)


def ticker_of(name: str, total: int) -> Ticker:
    """Progress through `total` images."""

    def line(done: int, rate: float, left: float) -> str:
        return f"{name}  {done:,} of {total:,} images  {rate:,.0f} images/s  {duration(left)} left"

    return Ticker(total, line)


def rates_of(outputs: Outputs, split: Split, image_size: int) -> dict[str, dict[str, float | None]]:
    """The rates under every protocol at the fixed threshold, without the rest of a report."""
    truths, ranks = truths_of(split), metrics.ranks(outputs.predicted, split.labels)
    found = {}
    for protocol in PROTOCOLS:
        boxes = localize(outputs.cams, protocol, image_size, split.widths, split.heights)
        ious = score_boxes(boxes, truths.boxes, truths.offsets, protocol)
        found[protocol] = metrics.rates(metrics.outcomes(hits_of(ious, protocol), truths.has_boxes, ranks))
    return found


def truths_of(split: Split) -> Truths:
    """What the split's images are known to show."""
    return Truths(split.widths, split.heights, split.boxes, split.box_offsets)


@dataclass(frozen=True)
class Wanted:
    """What a report is asked for beyond the rates at the fixed threshold."""

    threshold: float | None = None
    """Another threshold of the maps to report at."""
    chosen: bool = False
    """Choose the threshold on images held out of train, or else on images trained on."""
    wsoleval: bool = False
    """Add the protocol of the older evaluator."""
    cam_class: metrics.CamClass = "truth"


NOTHING_MORE = Wanted()


@dataclass(frozen=True)
class Evaluation:
    """A report; what it says of each image; and what it was made of."""

    report: dict[str, Any]
    rows: ImageRows
    outputs: Outputs


def tuning_images(shards: Shards, split_name: str) -> tuple[Split, str]:
    """The images that a threshold for `split_name` is chosen on: the holdout, or else some that were trained on."""
    if "holdout" in shards.splits and split_name != "holdout":
        split = shards.splits["holdout"]
        return split, f"{len(split):,} images held out of train"
    if split_name == "train":
        raise UserError(
            "--threshold auto: the run has no holdout, and the images trained on are those evaluated; train with "
            "--holdout N, or give a number"
        )
    train = shards.splits["train"]
    per_class = max(1, TUNING_IMAGES // len(np.unique(train.labels)))
    split = train.subset("train", holdout_ids(train.labels, per_class))
    return split, f"{len(split):,} images trained on"


def evaluate_model(
    model: PreActResNet,
    shards: Shards,
    config: Config,
    autocast: Autocast,
    feed: Feed,
    threads: int,
    step: int,
    world: World,
    split_name: str,
    wanted: Wanted = NOTHING_MORE,
) -> Evaluation | None:
    """Evaluate `model`, which has done `step` steps of a run of `config`, on a split; None but in the leading process.

    All processes share the forward pass. `shards` have the run's holdout apart: the baselines' boxes are found on what
    is left of train.
    """
    split = shards.splits[split_name]

    def forward(images: Split) -> Outputs:
        return forward_split(model, shards, images, config, autocast, feed, world, wanted.cam_class)

    tuned = None
    if wanted.chosen:
        tuning, name = world.together(lambda: tuning_images(shards, split_name))
        if not truths_of(tuning).has_boxes.any():
            raise UserError(f"--threshold auto: none of {name} has a box to choose it by; give a number")
        tuned = forward(tuning), truths_of(tuning), f"{name}, by their boxes"
    start = time.perf_counter()
    outputs = forward(split)
    seconds = time.perf_counter() - start
    how = {
        "source": shards.manifest.source,
        "split": split_name,
        "seeds": 1,
        "config": config.to_json(),
        "config_digest": config.digest(),
        "shards_digest": shards.digest,
        "step": step,
        "total_steps": config.total_steps(len(shards.splits["train"])),
        "precision": autocast.precision,
        "device": autocast.device.type,
        "data": feed.data(split),
        "threads": threads,
        "world_size": world.size,
    }

    def report() -> Evaluation:
        size = config.image_size
        chosen = choose(localize_maps(tuned[0].cams, size, tuned[1]).curve, tuned[2]) if tuned is not None else None
        return _evaluation(outputs, shards, split, size, threads, wanted, chosen, how, seconds)

    return world.lead_does(report)


def _evaluation(
    outputs: Outputs,
    shards: Shards,
    split: Split,
    image_size: int,
    threads: int,
    wanted: Wanted,
    chosen: Chosen | None,
    how: dict[str, Any],
    forward_seconds: float,
) -> Evaluation:
    """Boxes and numbers, after the forward pass."""
    start = time.perf_counter()
    truths = truths_of(split)
    localized = localize_maps(outputs.cams, image_size, truths, wanted.threshold)
    if wanted.wsoleval:
        ticker = ticker_of("wsoleval", len(truths))
        in_map = truths.in_wsoleval_map(image_size)
        sweep = wsoleval.sweep(outputs.cams.__getitem__, image_size, in_map, truths.offsets, threads, ticker.update)
        ticker.close()
        localized = localized.with_wsoleval(sweep, truths)
    boxed = time.perf_counter()
    wnids = [each.wnid for each in shards.manifest.classes]
    measured = measure(
        localized,
        truths,
        metrics.ranks(outputs.predicted, split.labels),
        fixed_boxes(truths_of(shards.splits["train"]), image_size),
        image_size,
        wanted.threshold,
        chosen,
        split.labels,
        wnids,
        wanted.cam_class,
    )
    seconds = {"forward": forward_seconds, "boxes": boxed - start, "numbers": time.perf_counter() - boxed}
    report = {
        "format_version": REPORT_FORMAT_VERSION,
        **how,
        **measured,
        "seconds": {name: round(each, 3) for name, each in seconds.items()},
        **environment(),
    }
    names, box_counts = split.names(range(len(split))), np.diff(truths.offsets)
    rows = ImageRows.of(names, wnids, split.labels, outputs.predicted, box_counts, localized.found)
    return Evaluation(report, rows, outputs)
