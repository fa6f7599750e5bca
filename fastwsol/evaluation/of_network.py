"""A run's network on a split: forward pass, then boxes, then counts. Training and `evaluate` share it.

Boxes and numbers take little, and the leading process makes them alone.
"""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from fastwsol.config import Augmentation, Fit
from fastwsol.dataset.shards import Split
from fastwsol.evaluation import metrics
from fastwsol.evaluation.boxes import PROTOCOLS, hits_of
from fastwsol.evaluation.evaluated_images import EvaluatedImages
from fastwsol.evaluation.fixed_masks import fixed_masks
from fastwsol.evaluation.forward import EvaluationSetup, SplitOutputs, forward_split, plain_batches
from fastwsol.evaluation.maps import NetworkMaps
from fastwsol.evaluation.masks import SplitMasks
from fastwsol.evaluation.measure import measure
from fastwsol.evaluation.of_localizer import CutMaps
from fastwsol.evaluation.pixels import measure_pixels
from fastwsol.evaluation.question import NOTHING_MORE, Question
from fastwsol.evaluation.report_rows import ReportRows
from fastwsol.evaluation.report_types import AboutRun, ClassProbability, LocalizerRow, RunReport
from fastwsol.evaluation.thresholds import CAM_THRESHOLD, LEAST_IMAGES, Cut
from fastwsol.evaluation.truths import Truths
from fastwsol.evaluation.tuning import CutChoice, TuningImages, TuningMaps
from fastwsol.host.errors import UserError
from fastwsol.localizer.localizers import LOCALIZERS, Localizer
from fastwsol.localizer.localizing import LocalizingModel
from fastwsol.timetable import Timetable
from kernels.pixels import OBJECT


@dataclass(frozen=True)
class Evaluation:
    """A report, what its localizers say of each image, and what it was made of."""

    report: RunReport
    rows: ReportRows
    outputs: SplitOutputs


def evaluate_model(
    model: LocalizingModel,
    split_name: str,
    step: int,
    setup: EvaluationSetup,
    question: Question = NOTHING_MORE,
    cuts: Mapping[str, Cut] | None = None,
    tuning: TuningImages | None = None,
) -> Evaluation | None:
    """Evaluate `model`, which has done `step` steps, on a split. None in all processes but the leading one, which
    measures what all have computed.

    cuts: the run's own, by localizer; tuning: the images that a threshold is found on, where the question asks for
    that. Baselines' boxes are found on what is left of train. Raises UserError where a threshold is to be chosen by
    boxes and there are none.
    """
    world, localizers = setup.process.world, [each.name for each in model.localizers]
    assert (tuning is None) == (question.tuning_rule is None)
    split, tuned = setup.shards.splits[split_name], None
    if tuning is not None:
        if question.threshold == "auto":
            world.together(lambda: _require_boxes(tuning, world.leads))
        outputs = forward_split(model, tuning.split, setup, question.cam_class, localizers)
        tuned = TuningMaps(tuning, outputs, setup.config.views)
    start = time.perf_counter()
    outputs = forward_split(model, split, setup, question.cam_class, localizers)
    seconds = {"forward": time.perf_counter() - start}
    inside = classes_inside_and_outside(model, split, setup)

    choice = CutChoice(question, cuts or {}, tuned)
    return world.lead_does(
        lambda: _evaluation(
            model.localizers, outputs, split, setup, choice, _about(split, step, setup), inside, seconds
        )
    )


def _require_boxes(tuning: TuningImages, leads: bool) -> None:
    """Raise UserError where no image has a box to choose a threshold by; warn, in the leading process, of few."""
    with_boxes = int(Truths.of_split(tuning.split).has_boxes.sum())
    if not with_boxes:
        raise UserError(
            f"--threshold auto: none of {tuning.described} has a box to choose it by; give a number, or box-free"
        )
    if leads and with_boxes < LEAST_IMAGES:
        print(f"warning: --threshold auto: chosen by few boxes, those of {tuning.described}", file=sys.stderr)


def _evaluation(
    localizers: Sequence[Localizer],
    outputs: SplitOutputs,
    split: Split,
    setup: EvaluationSetup,
    choice: CutChoice,
    about: AboutRun,
    inside: ClassProbability | None,
    seconds: dict[str, float],
) -> Evaluation:
    """The numbers of a network's outputs. about: what they are of; inside: see `classes_inside_and_outside`; seconds:
    what was spent before.
    """
    shards, square, fit, question = setup.shards, setup.config.views.image_size, setup.config.views.fit, choice.question
    names, wnids = split.names(range(len(split))), [each.wnid for each in shards.manifest.classes]
    images = EvaluatedImages(names, Truths.of_split(split, fit), split.labels, outputs.predicted, wnids)
    of = []
    for each in localizers:
        levels = choice.levels(each)
        of.append(CutMaps.of(each, outputs.maps[each.name], square, choice.cut(each, levels), levels))
    measurement = measure(images, of, question, Truths.of_split(shards.splits["train"], fit), setup.process.threads)
    rows, pixels = measurement.rows, None
    if (why := why_no_pixels(split, fit)) is None:
        start = time.perf_counter()
        maps = {str(each.name): NetworkMaps(outputs.maps[each.name], square, each.scale) for each in localizers}
        fixed = fixed_masks(SplitMasks(shards.splits["train"]))
        pixels = measure_pixels(maps, measurement.thresholds, images, SplitMasks(split), fixed, question.wsoleval)
        rows = rows.with_mask_ious(pixels.ious)
        seconds["pixels"] = time.perf_counter() - start
    making = measurement.making(setup.process.threads, seconds)
    report: RunReport = {**making, **about, **measurement.numbers}
    if pixels is not None:
        pixels.add_to(report)
    elif why is not None and split.has_mask.any():
        report["no_pixels"] = why
    _add_trained(report["localizers"], inside, setup.config.localizer.boxes_per_class)
    return Evaluation(report, rows, outputs)


def why_no_pixels(split: Split, fit: Fit) -> str | None:
    """Why maps are not measured against a split's masks, or None where they can be."""
    if not split.has_mask.any():
        return "no image has a mask"
    if fit == "crop":
        return "the run sees the middle square of each image alone (--fit crop)"
    masks = SplitMasks(split)
    if not any((masks.read(masks.rows[first : first + 1]) == OBJECT).any() for first in range(len(masks.rows))):
        return "no mask has a pixel of an object (255)"
    return None


def _add_trained(rows: Sequence[LocalizerRow], inside: ClassProbability | None, boxes_per_class: int) -> None:
    """Add to the rows of masks what the network says of their inside and outside, and with how many images' boxes of
    each class they were trained.
    """
    for row in rows:
        if row["name"] == "mask" and inside is not None:
            row["class_probability"] = inside
        if boxes_per_class and LOCALIZERS[row["name"]].trained:
            row["boxes_per_class"] = boxes_per_class


def classes_inside_and_outside(model: LocalizingModel, split: Split, setup: EvaluationSetup) -> ClassProbability | None:
    """What the network says of the masks' inside and of the rest: the mean probability of the true class, of at most
    `_MASKS_LOOKED_AT` images that are spread over the split. None without a mask head.
    """
    if model.head is None:
        return None
    rows = np.unique(np.linspace(0, len(split) - 1, min(_MASKS_LOOKED_AT, len(split))).astype(np.int64))
    part = split.subset(split.name, rows)
    sums = np.zeros(2)
    model.eval()
    with torch.inference_mode():
        for seen, batch in plain_batches(part, setup):
            with setup.process.autocast():
                passed = model(batch.images)
                assert passed.mask is not None
                assert passed.trunk_features is not None
                for k, mask in enumerate((passed.mask, 1 - passed.mask)):
                    of_truth = model.classes_inside(passed.trunk_features, mask).gather(1, batch.labels[:, None])
                    sums[k] += float(of_truth[: seen.stop - seen.start].sum())
    return {"images": len(part), "inside": sums[0] / len(part), "outside": sums[1] / len(part)}


_MASKS_LOOKED_AT = 64


def _about(split: Split, step: int, setup: EvaluationSetup) -> AboutRun:
    config, shards = setup.config, setup.shards
    return {
        "source": shards.manifest.source,
        "split": split.name,
        "seeds": 1,
        "config": config.to_json(),
        "config_digest": config.digest(),
        "shards_digest": shards.digest,
        "step": step,
        "total_steps": Timetable(config, len(shards.splits["train"])).total_steps,
        "precision": setup.process.autocast.precision,
        "device": setup.process.autocast.device.type,
        "data": setup.feed.data(split),
        "world_size": setup.process.world.size,
    }


def rates_of(outputs: SplitOutputs, split: Split, views: Augmentation) -> dict[str, dict[str, float | None]]:
    """The rates under every protocol at the fixed threshold, without the rest of a report. views: the run's."""
    truths, ranks = Truths.of_split(split, views.fit).shown, metrics.ranks(outputs.predicted, split.labels)
    of_protocol: dict[str, dict[str, float | None]] = {}
    for protocol in PROTOCOLS:
        boxes = truths.localize(outputs.cams, protocol, views.image_size, CAM_THRESHOLD, "min-max")
        hits = hits_of(truths.ious(boxes, protocol), protocol)
        of_protocol[protocol] = metrics.rates(metrics.outcomes(hits, truths.has_boxes, ranks))
    return of_protocol
