"""One forward pass over a split: predictions and maps, then boxes, then counts. Training and `evaluate` share it.

Several processes share the forward pass by whole batches, which hold the same images however many they are: so what
comes out does not depend on their number. Boxes and counts take little, and each process makes them all.
"""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from fastwsol.baselines import best_fixed_box, whole_frame
from fastwsol.cam import class_activation_maps
from fastwsol.command import duration
from fastwsol.config import Config
from fastwsol.distributed import ALONE, World
from fastwsol.errors import RunFailure
from fastwsol.localize import CAM_THRESHOLD, PROTOCOLS, hits, localize, score_boxes, to_input, to_original
from fastwsol.machine import Autocast
from fastwsol.metrics import IOU_THRESHOLDS, CamClass, LocalizationCounts, count
from fastwsol.model import PreActResNet
from fastwsol.pipeline import Batches, evaluation_plan, valid_images
from fastwsol.rundir import RunInfo, environment
from fastwsol.shards import Shards, Split
from fastwsol.ticker import Ticker

BATCH_SIZE = 256


@dataclass(frozen=True)
class Outputs:
    """What the network says of each of a split's N images, in the split's order."""

    predictions: NDArray[np.int64]
    """The class of the highest logit: [N]."""
    cams: NDArray[np.float32]
    """Maps of the class asked for: [N, h, w]."""


def forward_split(
    model: PreActResNet,
    shards: Shards,
    split: Split,
    config: Config,
    autocast: Autocast,
    threads: int,
    world: World = ALONE,
    cam_class: CamClass = "truth",
) -> Outputs:
    """Run the model over every image of `split` once, in evaluation mode; its mode before is restored.

    The leading process's BN statistics become every process's. Raises RunFailure naming an image where maps are not
    finite.
    """
    was_training = model.training
    model.eval()
    predictions = torch.zeros(len(split), dtype=torch.int64)
    cams = torch.zeros(len(split), config.map_size, config.map_size)
    try:
        world.share_from_lead(model.buffers())
        with torch.inference_mode():
            batches = _batches(model, shards, split, config, autocast, threads, world, cam_class)
            for rows, batch_predictions, batch_cams in batches:
                predictions[rows] = batch_predictions.cpu()
                cams[rows] = batch_cams.cpu()
    finally:
        model.train(was_training)
    world.add_up(predictions)
    world.add_up(cams)
    if len(bad := np.flatnonzero(~torch.isfinite(cams).all(dim=(1, 2)).numpy())):
        raise world.of_lead(
            RunFailure(
                f"the maps of {len(bad)} of {len(split)} {split.name} images are not finite, "
                f"{split.names(bad[:1])[0]} the first: the network's weights are damaged; go back to an earlier "
                f"checkpoint, or train with a lower --lr"
            )
        )
    return Outputs(predictions.numpy(), cams.numpy())


def _batches(
    model: PreActResNet,
    shards: Shards,
    split: Split,
    config: Config,
    autocast: Autocast,
    threads: int,
    world: World,
    cam_class: CamClass,
) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor]]:
    """Yield rows of the split with their predictions and maps, this process's part; padding has been cut off."""
    size = min(BATCH_SIZE, len(split))
    batches = Batches(
        split,
        evaluation_plan(len(split), size, world.rank, world.size),
        size,
        config.evaluation,
        config.seed,
        shards.manifest.mean,
        shards.manifest.std,
        autocast.device,
        threads,
    )
    ticker = _ticker(split)
    for number in range(world.rank, -(-len(split) // size), world.size):
        batch = next(batches)
        with autocast():
            logits, features = model(batch.images)
        classes = logits.argmax(1)
        maps = class_activation_maps(features, model.fc.weight, batch.labels if cam_class == "truth" else classes)
        valid = valid_images(number, len(split), size)
        yield slice(number * size, number * size + valid), classes[:valid], maps[:valid]
        if world.leads:
            ticker.update(number * size + valid)
    ticker.close()


def _ticker(split: Split) -> Ticker:
    def line(done: int, rate: float, left: float) -> str:
        return f"{split.name}  {done:,} of {len(split):,} images  {rate:,.0f} images/s  {duration(left)} left"

    return Ticker(len(split), line)


def count_hits(outputs: Outputs, split: Split, image_size: int) -> dict[str, LocalizationCounts]:
    """Box every map and count, under every protocol."""
    correct = outputs.predictions == split.labels
    counts = {}
    for protocol in PROTOCOLS:
        boxes = localize(outputs.cams, protocol, image_size, split.widths, split.heights)
        counts[protocol] = count_boxes(boxes, correct, split, protocol)
    return counts


def count_boxes(
    boxes: NDArray[np.float32], correct: NDArray[np.bool_], split: Split, protocol: str
) -> LocalizationCounts:
    """Count one box an image, float32 [N, 4] in original pixels, against the split's boxes under `protocol`."""
    ious = score_boxes(boxes, split.boxes, split.box_offsets, protocol)
    found = np.stack([hits(ious, threshold, protocol) for threshold in IOU_THRESHOLDS])
    return count(found, correct, ~np.isnan(ious), np.ones(len(split), bool))


@dataclass(frozen=True)
class FixedBox:
    """A baseline that looks at no image: one box for all, in the input frame, int32 [4]; and where it is from."""

    name: str
    box: NDArray[np.int32]
    origin: str


def fixed_boxes(train: Split, image_size: int) -> list[FixedBox]:
    """The whole frame, and for each IoU threshold the box that hits most of `train`."""
    boxes = [FixedBox("whole frame", whole_frame(image_size), "no choice")]
    image_of_box = np.repeat(np.arange(len(train)), np.diff(train.box_offsets))
    truths = to_input(train.boxes, train.widths[image_of_box], train.heights[image_of_box], image_size)
    for threshold in IOU_THRESHOLDS if len(truths) else ():
        box = best_fixed_box(truths, train.box_offsets, image_size, threshold)
        boxes.append(FixedBox(f"best box at IoU {threshold}", box, "boxes of train"))
    return boxes


def baseline_rates(
    fixed: FixedBox, split: Split, correct: NDArray[np.bool_], image_size: int, cam_class: CamClass = "truth"
) -> dict[str, Any]:
    """The rates, by protocol, of answering `fixed` for every image; `correct` lends it a network's classification."""
    box = np.tile(fixed.box, (len(split), 1))
    boxes = to_original(box, split.widths, split.heights, image_size)
    return {protocol: count_boxes(boxes, correct, split, protocol).rates(cam_class) for protocol in PROTOCOLS}


def evaluate_model(
    model: PreActResNet,
    shards: Shards,
    info: RunInfo,
    autocast: Autocast,
    threads: int,
    step: int,
    world: World,
    split_name: str,
    cam_class: CamClass = "truth",
) -> dict[str, Any]:
    """Evaluate `model`, which has done `step` steps of the run `info`, on a split: the JSON object of a report.

    `shards` have the run's holdout apart: the baselines' boxes are found on what is left of train.
    """
    config, split = info.config, shards.splits[split_name]
    start = time.perf_counter()
    outputs = forward_split(model, shards, split, config, autocast, threads, world, cam_class)
    forwarded = time.perf_counter()
    counts = count_hits(outputs, split, config.image_size)
    counted = time.perf_counter()
    correct = outputs.predictions == split.labels
    baselines = [
        {
            "name": fixed.name,
            "box": fixed.box.tolist(),
            "from": fixed.origin,
            "rates": baseline_rates(fixed, split, correct, config.image_size, cam_class),
        }
        for fixed in fixed_boxes(shards.splits["train"], config.image_size)
    ]
    return {
        "format_version": 2,
        "source": shards.manifest.source,
        "classes": len(info.classes),
        "split": split_name,
        "images": len(split),
        "seeds": 1,
        "config": config.to_json(),
        "config_digest": config.digest(),
        "shards_digest": shards.digest,
        "step": step,
        "total_steps": config.total_steps(len(shards.splits["train"])),
        "precision": autocast.precision,
        "device": autocast.device.type,
        "threads": threads,
        "world_size": world.size,
        "cam_class": cam_class,
        "cam_threshold": CAM_THRESHOLD,
        "counts": {protocol: asdict(each) for protocol, each in counts.items()},
        "rates": {protocol: each.rates(cam_class) for protocol, each in counts.items()},
        "baselines": baselines,
        "seconds": {"forward": round(forwarded - start, 3), "boxes": round(counted - forwarded, 3)},
        **environment(),
    }
