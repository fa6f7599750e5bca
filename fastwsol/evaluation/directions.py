"""The directions of classes (`fastwsol.localizer.ddt`), found on images trained on, without a box."""

from collections.abc import Iterator

import numpy as np
import torch

from fastwsol.dataset.shards import Split
from fastwsol.draws import ids_of_each_class
from fastwsol.evaluation.forward import EvaluationSetup, plain_batches
from fastwsol.host.ticker import image_ticker
from fastwsol.localizer.ddt import DdtDirections, direction_of
from fastwsol.localizer.localizing import LocalizingModel
from fastwsol.network.cam import class_activation_maps

IMAGES_FOR_DIRECTIONS = 16
"""Images of each class that its direction is found on."""


def find_directions(model: LocalizingModel, setup: EvaluationSetup) -> DdtDirections:
    """The directions of all classes. The leading process finds them."""
    world, train = setup.process.world, setup.shards.splits["train"]
    classes, weight = len(setup.shards.manifest.classes), model.network.classifier.weight.detach()
    ids = ids_of_each_class(train.labels, IMAGES_FOR_DIRECTIONS)
    ids = ids[np.argsort(train.labels[ids], kind="stable")]

    def find() -> DdtDirections:
        part = train.subset("train", ids)
        found = DdtDirections(*(torch.zeros(classes, weight.shape[1]) for _ in DdtDirections._fields))
        waiting: list[torch.Tensor] = []
        with image_ticker("directions of classes", len(part)) as ticker:
            for number, features in enumerate(_features_of(model, part, setup), 1):
                waiting.append(features)
                label = int(part.labels[number - 1])
                if number == len(part) or part.labels[number] != label:
                    of_class, labels = torch.stack(waiting), torch.full((len(waiting),), label, device=weight.device)
                    positive = class_activation_maps(of_class, weight.clamp(min=0), labels)
                    found.means[label], found.directions[label] = direction_of(of_class, positive)
                    waiting.clear()
                ticker.update(number)
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
