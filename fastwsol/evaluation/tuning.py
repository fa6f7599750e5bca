"""Cuts that are found on images which are not those evaluated: by their boxes, or without a box."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from fastwsol.config import Augmentation
from fastwsol.dataset.shards import Shards, Split
from fastwsol.draws import ids_of_each_class
from fastwsol.evaluation.forward import EvaluationSetup, SplitOutputs, forward_split
from fastwsol.evaluation.question import Question
from fastwsol.evaluation.thresholds import BY_BOXES, ChosenLevels, Cut, box_free_threshold, choose_levels, default_cut
from fastwsol.evaluation.truths import Truths
from fastwsol.host.errors import UserError
from fastwsol.host.words import number_of
from fastwsol.localizer.localizers import Localizer
from fastwsol.localizer.localizing import LocalizingModel
from fastwsol.sources import FULLSUP

MOST_BY_BOXES = 10_000
"""Images of train that a threshold is found on by their boxes, about."""

MOST_FOR_BOX_FREE = 256
"""Images of train that a threshold is found on without a box, about."""


class TuningImages(NamedTuple):
    """The images that a threshold is found on."""

    split: Split
    described: str
    """How many there are, and of what."""


def tuning_images(shards: Shards, split_name: str, rule: Literal["auto", "box-free"] = "auto") -> TuningImages:
    """The images that a threshold for `split_name` is found on: by their boxes those of fullsup, else the holdout, else
    some of those trained on that have one; without a box always some of those trained on.

    Raises UserError where the images trained on are those evaluated, and boxes were to choose.
    """
    fullsup = shards.splits.get(FULLSUP)
    if rule == "auto" and fullsup is not None and len(fullsup.boxes) and split_name != FULLSUP:
        return TuningImages(fullsup, _with_boxes(fullsup, f"images of {FULLSUP}"))
    if rule == "auto" and "holdout" in shards.splits and split_name != "holdout":
        holdout = shards.splits["holdout"]
        return TuningImages(holdout, _with_boxes(holdout, "images held out of train"))
    if rule == "auto" and split_name == "train":
        raise UserError(
            "--threshold auto: the run has no holdout, and the images trained on are those evaluated; train with "
            "--holdout N, or give a number"
        )
    train = shards.splits["train"]
    most = MOST_BY_BOXES if rule == "auto" else MOST_FOR_BOX_FREE
    rows = np.flatnonzero(np.diff(train.box_offsets)) if rule == "auto" else np.arange(len(train))
    per_class = max(1, most // max(1, len(np.unique(train.labels[rows]))))
    split = train.subset("train", rows[ids_of_each_class(train.labels[rows], per_class)] if len(rows) else rows)
    described = f"{number_of(len(split), 'image')} trained on" if len(split) else "the images trained on"
    return TuningImages(split, described)


def _with_boxes(split: Split, what: str) -> str:
    """How many images of a split have boxes, where not all have."""
    with_boxes = int(np.count_nonzero(np.diff(split.box_offsets)))
    return f"{len(split):,} {what}" if with_boxes == len(split) else f"{with_boxes:,} of {len(split):,} {what}"


class TuningMaps(NamedTuple):
    """The maps of the images that cuts are found on."""

    images: TuningImages
    outputs: SplitOutputs
    views: Augmentation
    """How the run shows its images."""

    def box_free_cut(self, localizer: Localizer) -> Cut:
        """The cut of a localizer's maps that needs no box."""
        maps = self.outputs.maps[localizer.name]
        value = box_free_threshold(maps, self.views.image_size, localizer.scale)
        return Cut("box-free", value, f"{self.images.described}, without a box")

    def levels_by_boxes(self, localizer: Localizer, near: float | None) -> ChosenLevels:
        """The levels that are best for these images' boxes. near: as `choose_levels` takes it."""
        truths = Truths.of_split(self.images.split, self.views.fit).shown
        curve = truths.curve_hits(self.outputs.maps[localizer.name], self.views.image_size, localizer.scale)
        return choose_levels(curve, f"{self.images.described}, {BY_BOXES}", near)


@dataclass(frozen=True)
class CutChoice:
    """How the cuts of maps are chosen: as is asked, by the maps of other images, or as the run cuts them."""

    question: Question
    of_run: Mapping[str, Cut]
    """The run's own, by localizer."""
    tuned: TuningMaps | None
    """None where the question's threshold needs no other images."""

    def levels(self, localizer: Localizer) -> ChosenLevels | None:
        """Under `auto` the levels that are best on the other images, by their boxes; else None."""
        if self.tuned is None or self.question.threshold != "auto":
            return None
        return self.tuned.levels_by_boxes(localizer, self._own(localizer).value)

    def cut(self, localizer: Localizer, levels: ChosenLevels | None) -> Cut:
        """Where a localizer's maps are cut: as asked, else as the run cuts them, else as all runs do. levels: its
        `levels`.
        """
        if levels is not None:
            return levels.cut()
        if self.tuned is not None:
            return self.tuned.box_free_cut(localizer)
        return self.question.asked_cut or self._own(localizer)

    def _own(self, localizer: Localizer) -> Cut:
        return self.of_run.get(localizer.name) or default_cut(localizer)


def own_cuts(model: LocalizingModel, setup: EvaluationSetup) -> dict[str, Cut]:
    """Where a trained run cuts the maps of its localizers: those on their own scale at a number that is found on images
    trained on, without a box.
    """
    cuts: dict[str, Cut] = {each.name: default_cut(each) for each in model.localizers}
    found = [each for each in model.localizers if each.scale == "own"]
    if found:
        images = tuning_images(setup.shards, "val", "box-free")
        outputs = forward_split(model, images.split, setup, localizers=[each.name for each in found])
        maps = TuningMaps(images, outputs, setup.config.views)
        cuts |= {each.name: maps.box_free_cut(each) for each in found}
    return cuts
