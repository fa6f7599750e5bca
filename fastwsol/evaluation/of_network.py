"""A run's network on a split: forward pass, then boxes, then counts. Training and `evaluate` share it.

Boxes and numbers take little, and the leading process makes them alone.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch

from fastwsol.config import Augmentation, Fit
from fastwsol.dataset.shards import Shards, Split
from fastwsol.evaluation import metrics
from fastwsol.evaluation.boxes import PROTOCOLS, curve_hits, hits_of, localize, score_boxes
from fastwsol.evaluation.fixed_masks import fixed_masks
from fastwsol.evaluation.forward import EvaluationSetup, Outputs, forward_split, plain_batches
from fastwsol.evaluation.maps import NetworkMaps
from fastwsol.evaluation.masks import SplitMasks
from fastwsol.evaluation.measure import NOTHING_MORE, EvaluatedImages, Question, measure
from fastwsol.evaluation.metrics import IOU_THRESHOLDS
from fastwsol.evaluation.of_localizer import LocalizerMeasurement, measure_localizer
from fastwsol.evaluation.of_training_images import tuning_images
from fastwsol.evaluation.per_image import ImageRows
from fastwsol.evaluation.pixels import PixelsOfAll, measure_localizers
from fastwsol.evaluation.thresholds import (
    CAM_THRESHOLD,
    ChosenLevels,
    Cut,
    box_free_threshold,
    choose_levels,
    default_cut,
)
from fastwsol.evaluation.truths import Truths
from fastwsol.host.errors import UserError
from fastwsol.localizer.localizers import LOCALIZERS, Localizer
from fastwsol.localizer.localizing import LocalizingModel
from kernels.levels import threshold_of
from kernels.pixels import OBJECT


@dataclass(frozen=True)
class Evaluation:
    """A report; what its localizers say of each image, by their names; and what it was made of."""

    report: dict[str, Any]
    rows: dict[str, ImageRows]
    outputs: Outputs


def evaluate_model(
    model: LocalizingModel,
    split_name: str,
    step: int,
    setup: EvaluationSetup,
    question: Question = NOTHING_MORE,
    cuts: Mapping[str, Cut] | None = None,
) -> Evaluation | None:
    """Evaluate `model`, which has done `step` steps, on a split; None but in the leading process.

    cuts: the run's own, by localizer. All processes share the forward pass. Baselines' boxes are found on what is left
    of train. Raises UserError where a threshold is to be chosen and there are no boxes to choose it by.
    """
    world, shards, views = setup.world, setup.shards, setup.config.views
    split, square, fit = shards.splits[split_name], views.image_size, views.fit
    localizers = [each.name for each in model.localizers]
    tuned = None
    if question.threshold in ("auto", "box-free"):
        rule: Literal["auto", "box-free"] = "auto" if question.threshold == "auto" else "box-free"
        tuning, name = world.together(lambda: tuning_images(shards, split_name, rule))
        if question.threshold == "auto" and not Truths.of_split(tuning).has_boxes.any():
            raise UserError(f"--threshold auto: none of {name} has a box to choose it by; give a number, or box-free")
        tuned = _Tuning(forward_split(model, tuning, setup, question.cam_class, localizers), tuning, name)
    start = time.perf_counter()
    outputs = forward_split(model, split, setup, question.cam_class, localizers)
    seconds = {"forward": time.perf_counter() - start}
    inside = classes_inside_and_outside(model, split, setup)

    def report() -> Evaluation:
        names, wnids = split.names(range(len(split))), [each.wnid for each in shards.manifest.classes]
        images = EvaluatedImages(names, Truths.of_split(split, fit), split.labels, outputs.predicted, wnids)
        train = Truths.of_split(shards.splits["train"], fit)
        by_boxes = tuned if question.threshold == "auto" else None
        chosen = {each.name: by_boxes.levels(each, square, fit) for each in model.localizers} if by_boxes else {}
        cams = NetworkMaps(outputs.cams, square)
        measurement = measure(images, cams, question, train, chosen.get("cam"), setup.threads)
        start, of_localizer = time.perf_counter(), {}
        for each in model.localizers:
            own = chosen.get(each.name)
            cut = _cut_of(each, question, (cuts or {}).get(each.name), tuned, own, square)
            curve = measurement.curve if each.name == "cam" else None
            maps = outputs.maps[each.name]
            of_localizer[str(each.name)] = measure_localizer(
                each, maps, square, images, cut, question.cam_class, own, curve
            )
        seconds["localizers"] = time.perf_counter() - start
        few = setup.config.localizer.boxes_per_class
        about = _about(split, step, setup) | {"localizers": _as_rows(of_localizer, inside, few)}
        rows = {name: each.rows for name, each in of_localizer.items()} | {"cam": measurement.rows}
        if (why := why_no_pixels(split, fit)) is None:
            start = time.perf_counter()
            pixels = _pixels(model.localizers, outputs, of_localizer, split, images, shards, square)
            seconds["pixels"] = time.perf_counter() - start
            for each in about["localizers"]:
                each["pixels"] = pixels.of_localizer[each["name"]].numbers
            about["pixels"] = pixels.of_localizer["cam"].numbers | pixels.shared
            rows = {name: replace(each, mask_ious=pixels.of_localizer[name].ious) for name, each in rows.items()}
        elif split.has_mask.any():
            about["no_pixels"] = why
        return Evaluation(measurement.report(about, seconds), rows, outputs)

    return world.lead_does(report)


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


def _pixels(
    localizers: Sequence[Localizer],
    outputs: Outputs,
    measured: Mapping[str, LocalizerMeasurement],
    split: Split,
    images: EvaluatedImages,
    shards: Shards,
    square: int,
) -> PixelsOfAll:
    """All localizers' maps against the masks of a split, each cut where its boxes were."""
    maps = {str(each.name): NetworkMaps(outputs.maps[each.name], square, each.scale) for each in localizers}
    thresholds = {name: each.thresholds for name, each in measured.items()}
    fixed = fixed_masks(SplitMasks(shards.splits["train"]))
    return measure_localizers(maps, thresholds, SplitMasks(split), fixed, split.labels, images.classes)


@dataclass(frozen=True)
class _Tuning:
    """Other images' maps, to find cuts on. name: which images they are."""

    outputs: Outputs
    images: Split
    name: str

    def levels(self, localizer: Localizer, square: int, fit: Fit) -> ChosenLevels:
        """The levels that are best on them, by their boxes."""
        own = Truths.of_split(self.images, fit).shown
        maps, scale = self.outputs.maps[localizer.name], localizer.scale
        curve = curve_hits(maps, square, own.widths, own.heights, own.boxes, own.offsets, IOU_THRESHOLDS, scale)
        return choose_levels(curve, f"{self.name}, by their boxes")


def _cut_of(
    localizer: Localizer,
    question: Question,
    of_run: Cut | None,
    tuned: _Tuning | None,
    chosen: ChosenLevels | None,
    square: int,
) -> Cut:
    """Where a localizer's maps are cut: as asked, else as the run cuts them, else as all runs do."""
    if chosen is not None:
        level = int(chosen.levels[IOU_THRESHOLDS.index(0.5)])
        return Cut("auto", threshold_of(level), chosen.images)
    if question.threshold == "otsu":
        return Cut("otsu", None, "each image itself, without a box")
    if question.threshold == "box-free":
        assert tuned is not None
        value = box_free_threshold(tuned.outputs.maps[localizer.name], square, localizer.scale)
        return Cut("box-free", value, f"{tuned.name}, without a box")
    if question.fixed_threshold is not None:
        return Cut("asked", question.fixed_threshold, "the command line")
    return of_run if of_run is not None else default_cut(localizer)


def _as_rows(
    measured: Mapping[str, LocalizerMeasurement], inside: dict[str, float] | None, boxes_per_class: int
) -> list[dict[str, Any]]:
    """The numbers of all localizers, a mask's with what the network says of its inside and outside, and with how many
    images' boxes of each class it was trained with.
    """
    rows = []
    for name, each in measured.items():
        row = each.numbers | ({"class_probability": inside} if name == "mask" and inside is not None else {})
        if boxes_per_class and LOCALIZERS[name].trained:
            row |= {"boxes_per_class": boxes_per_class}
        rows.append(row)
    return rows


def classes_inside_and_outside(model: LocalizingModel, split: Split, setup: EvaluationSetup) -> dict[str, float] | None:
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
            with setup.autocast():
                passed = model(batch.images)
                assert passed.mask is not None
                assert passed.cut is not None
                for k, mask in enumerate((passed.mask, 1 - passed.mask)):
                    of_truth = model.classes_inside(passed.cut, mask).gather(1, batch.labels[:, None])
                    sums[k] += float(of_truth[: seen.stop - seen.start].sum())
    return {"images": len(part), "inside": sums[0] / len(part), "outside": sums[1] / len(part)}


_MASKS_LOOKED_AT = 64


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
