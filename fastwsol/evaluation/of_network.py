"""A run's network on a split: forward pass, then boxes, then counts. Training and `evaluate` share it.

Boxes and numbers take little, and the leading process makes them alone.
"""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from fastwsol.config import Augmentation
from fastwsol.dataset.shards import Shards, Split
from fastwsol.draws import holdout_ids
from fastwsol.evaluation import metrics
from fastwsol.evaluation.boxes import PROTOCOLS, localize, score_boxes
from fastwsol.evaluation.forward import EvaluationSetup, Outputs, forward_split
from fastwsol.evaluation.maps import NetworkMaps, localize_maps
from fastwsol.evaluation.measure import NOTHING_MORE, EvaluatedImages, Question, hits_of, measure
from fastwsol.evaluation.per_image import ImageRows
from fastwsol.evaluation.thresholds import CAM_THRESHOLD, choose_levels
from fastwsol.evaluation.truths import Truths
from fastwsol.host.errors import UserError
from fastwsol.network.classifier import Classifier


@dataclass(frozen=True)
class Evaluation:
    """A report; what it says of each image; and what it was made of."""

    report: dict[str, Any]
    rows: ImageRows
    outputs: Outputs


def evaluate_model(
    model: Classifier, split_name: str, step: int, setup: EvaluationSetup, question: Question = NOTHING_MORE
) -> Evaluation | None:
    """Evaluate `model`, which has done `step` steps, on a split; None but in the leading process.

    All processes share the forward pass. Baselines' boxes are found on what is left of train. Raises UserError where a
    threshold is to be chosen and there are no boxes to choose it by.
    """
    world, shards, views = setup.world, setup.shards, setup.config.views
    split, square, fit = shards.splits[split_name], views.image_size, views.fit
    tuned = None
    if question.threshold == "auto":
        tuning, name = world.together(lambda: tuning_images(shards, split_name))
        if not Truths.of_split(tuning).has_boxes.any():
            raise UserError(f"--threshold auto: none of {name} has a box to choose it by; give a number")
        tuned = forward_split(model, tuning, setup, question.cam_class), tuning, name
    start = time.perf_counter()
    outputs = forward_split(model, split, setup, question.cam_class)
    seconds = {"forward": time.perf_counter() - start}

    def report() -> Evaluation:
        chosen = None
        if tuned is not None:
            tuning_outputs, tuning, name = tuned
            localized = localize_maps(NetworkMaps(tuning_outputs.cams, square), Truths.of_split(tuning, fit))
            chosen = choose_levels(localized.curve, f"{name}, by their boxes")
        names, wnids = split.names(range(len(split))), [each.wnid for each in shards.manifest.classes]
        images = EvaluatedImages(names, Truths.of_split(split, fit), split.labels, outputs.predicted, wnids)
        train = Truths.of_split(shards.splits["train"], fit)
        measurement = measure(images, NetworkMaps(outputs.cams, square), question, train, chosen, setup.threads)
        return Evaluation(measurement.report(_about(split, step, setup), seconds), measurement.rows, outputs)

    return world.lead_does(report)


def _about(split: Split, step: int, setup: EvaluationSetup) -> dict[str, Any]:
    """What a report is of, as JSON."""
    config, shards = setup.config, setup.shards
    return {
        "source": shards.manifest.source,
        "split": split.name,
        "seeds": 1,
        "config": config.to_json(),
        "config_digest": config.digest(),
        "shards_digest": shards.digest,
        "step": step,
        "total_steps": config.total_steps(len(shards.splits["train"])),
        "precision": setup.autocast.precision,
        "device": setup.autocast.device.type,
        "data": setup.feed.data(split),
        "threads": setup.threads,
        "world_size": setup.world.size,
    }


def rates_of(outputs: Outputs, split: Split, views: Augmentation) -> dict[str, dict[str, float | None]]:
    """The rates under every protocol at the fixed threshold, without the rest of a report. views: the run's."""
    truths, ranks = Truths.of_split(split, views.fit).shown, metrics.ranks(outputs.predicted, split.labels)
    of_protocol = {}
    for protocol in PROTOCOLS:
        boxes = localize(outputs.cams, protocol, views.image_size, truths.widths, truths.heights, CAM_THRESHOLD)
        hits = hits_of(score_boxes(boxes, truths.boxes, truths.offsets, protocol), protocol)
        of_protocol[protocol] = metrics.rates(metrics.outcomes(hits, truths.has_boxes, ranks))
    return of_protocol


def tuning_images(shards: Shards, split_name: str, most: int = 10_000) -> tuple[Split, str]:
    """The images that a threshold for `split_name` is chosen on: the holdout, or else `most` of those trained on."""
    if "holdout" in shards.splits and split_name != "holdout":
        split = shards.splits["holdout"]
        return split, f"{len(split):,} images held out of train"
    if split_name == "train":
        raise UserError(
            "--threshold auto: the run has no holdout, and the images trained on are those evaluated; train with "
            "--holdout N, or give a number"
        )
    train = shards.splits["train"]
    per_class = max(1, most // len(np.unique(train.labels)))
    split = train.subset("train", holdout_ids(train.labels, per_class))
    return split, f"{len(split):,} images trained on"
