"""What is found on images trained on, without a box, once a training is done: directions of classes, and cuts."""

from collections.abc import Iterator
from typing import Literal

import numpy as np
import torch

from fastwsol.dataset.shards import Shards, Split
from fastwsol.draws import holdout_ids
from fastwsol.evaluation.forward import EvaluationSetup, forward_split, plain_batches
from fastwsol.evaluation.thresholds import (
    Cut,
    box_free_threshold,
    default_cut,
)
from fastwsol.host.errors import UserError
from fastwsol.host.words import number_of
from fastwsol.localizer.ddt import DdtDirections, direction_of
from fastwsol.localizer.localizing import LocalizingModel
from fastwsol.network.cam import class_activation_maps
from fastwsol.sources import FULLSUP

IMAGES_FOR_DIRECTIONS = 16
"""Images of each class that its direction is found on."""

MOST_FOR_BOX_FREE = 256
"""Images of train that a threshold is found on without a box, about."""


def find_directions(model: LocalizingModel, setup: EvaluationSetup) -> DdtDirections:
    """The directions of all classes (`fastwsol.localizer.ddt`), found on images trained on, without a box. The leading
    process finds them.
    """
    world, train = setup.process.world, setup.shards.splits["train"]
    classes, weight = len(setup.shards.manifest.classes), model.network.classifier.weight.detach()
    ids = holdout_ids(train.labels, IMAGES_FOR_DIRECTIONS)
    ids = ids[np.argsort(train.labels[ids], kind="stable")]

    def find() -> DdtDirections:
        part = train.subset("train", ids)
        found = DdtDirections(*(torch.zeros(classes, weight.shape[1]) for _ in DdtDirections._fields))
        waiting: list[torch.Tensor] = []
        for number, features in enumerate(_features_of(model, part, setup)):
            waiting.append(features)
            label = int(part.labels[number])
            if number + 1 == len(part) or part.labels[number + 1] != label:
                of_class, labels = torch.stack(waiting), torch.full((len(waiting),), label, device=weight.device)
                positive = class_activation_maps(of_class, weight.clamp(min=0), labels)
                found.means[label], found.directions[label] = direction_of(of_class, positive)
                waiting.clear()
        return found

    return DdtDirections(*world.from_lead(find))


def _features_of(model: LocalizingModel, split: Split, setup: EvaluationSetup) -> Iterator[torch.Tensor]:
    """The features of each image, [C, h, w], in the split's order."""
    model.eval()
    for rows, batch in plain_batches(split, setup):
        # Not around the yield, which would leave the caller in them.
        with torch.inference_mode(), setup.process.autocast():
            features = model(batch.images).features.float()
        yield from features[: rows.stop - rows.start]


def own_cuts(model: LocalizingModel, setup: EvaluationSetup) -> dict[str, Cut]:
    """Where a trained run cuts the maps of its localizers: those on their own scale at a number that is found on images
    trained on, without a box.
    """
    cuts: dict[str, Cut] = {each.name: default_cut(each) for each in model.localizers}
    found = [each for each in model.localizers if each.scale == "own"]
    if found:
        tuning, name = tuning_images(setup.shards, "val", "box-free")
        outputs = forward_split(model, tuning, setup, localizers=[each.name for each in found])
        square = setup.config.views.image_size
        for each in found:
            value = box_free_threshold(outputs.maps[each.name], square, each.scale)
            cuts[each.name] = Cut("box-free", value, f"{name}, without a box")
    return cuts


def tuning_images(
    shards: Shards, split_name: str, rule: Literal["auto", "box-free"] = "auto", most: int = 10_000
) -> tuple[Split, str]:
    """The images that a threshold for `split_name` is found on: by their boxes those of fullsup, else the holdout, else
    `most` of those trained on that have one; without a box always `most` of the latter. And how many there are, and of
    what.
    """
    fullsup = shards.splits.get(FULLSUP)
    if rule == "auto" and fullsup is not None and len(fullsup.boxes) and split_name != FULLSUP:
        split = fullsup
        return split, _with_boxes(split, f"images of {FULLSUP}")
    if rule == "auto" and "holdout" in shards.splits and split_name != "holdout":
        split = shards.splits["holdout"]
        return split, _with_boxes(split, "images held out of train")
    if rule == "auto" and split_name == "train":
        raise UserError(
            "--threshold auto: the run has no holdout, and the images trained on are those evaluated; train with "
            "--holdout N, or give a number"
        )
    train = shards.splits["train"]
    most = most if rule == "auto" else MOST_FOR_BOX_FREE
    rows = np.flatnonzero(np.diff(train.box_offsets)) if rule == "auto" else np.arange(len(train))
    per_class = max(1, most // max(1, len(np.unique(train.labels[rows]))))
    split = train.subset("train", rows[holdout_ids(train.labels[rows], per_class)] if len(rows) else rows)
    return split, f"{number_of(len(split), 'image')} trained on" if len(split) else "the images trained on"


def _with_boxes(split: Split, what: str) -> str:
    """How many images of a split have boxes, where not all have."""
    with_boxes = int(np.count_nonzero(np.diff(split.box_offsets)))
    return f"{len(split):,} {what}" if with_boxes == len(split) else f"{with_boxes:,} of {len(split):,} {what}"
