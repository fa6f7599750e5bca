"""One forward pass over a split: predictions and maps. Training, `evaluate` and the page share it.

Several processes share it by whole batches. The batches hold the same images for any number of processes, so the result
does not depend on it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fastwsol.batches.feed import Feed
from fastwsol.batches.stream import Stream, evaluation_plan, valid_images
from fastwsol.config import Config
from fastwsol.dataset.shards import Shards, Split
from fastwsol.evaluation.metrics import BEYOND_TOP_5, CamClass
from fastwsol.host.command_line import image_ticker
from fastwsol.host.device import Autocast
from fastwsol.host.errors import RunFailure
from fastwsol.host.processes import World
from fastwsol.network.cam import maps_of_classes
from fastwsol.network.classifier import Classifier

BATCH_SIZE = 256
"""Images of up to 64 pixels a side that are passed through the network at a time."""


Channels = tuple[float, float, float]
"""Of R, G, B."""


@dataclass(frozen=True)
class EvaluationSetup:
    """The images that a run's network is evaluated on in this process, and what it computes with."""

    config: Config
    shards: Shards
    """With the run's holdout apart."""
    feed: Feed
    autocast: Autocast
    threads: int
    world: World
    statistics: tuple[Channels, Channels]
    """What the network's input is normalised by: mean and deviation of R, G, B in 0..255."""


@dataclass(frozen=True)
class Outputs:
    """What the network says of each of a split's N images, in the split's order."""

    predicted: NDArray[np.int64]
    """The classes of the five highest logits (of all where there are fewer), highest first: [N, 5]."""
    cams: NDArray[np.float32]
    """Maps of the class asked for: [N, h, w]."""


def forward_split(model: Classifier, split: Split, setup: EvaluationSetup, cam_class: CamClass = "truth") -> Outputs:
    """Run the model over every image of `split` once, in evaluation mode; its mode before is restored.

    The leading process's BN statistics become every process's. Raises RunFailure naming an image where maps are not
    finite.
    """
    world, classes = setup.world, len(setup.shards.manifest.classes)
    side = setup.config.views.image_size // model.map_stride
    predicted = torch.zeros(len(split), min(BEYOND_TOP_5, classes), dtype=torch.int64)
    cams = torch.zeros(len(split), side, side)
    was_training = model.training
    model.eval()
    try:
        world.share_from_lead(model.buffers())
        with torch.inference_mode():
            for rows, of_batch, maps in _batches(model, split, setup, cam_class):
                predicted[rows] = of_batch.cpu()
                cams[rows] = maps.cpu()
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
    model: Classifier, split: Split, setup: EvaluationSetup, cam_class: CamClass
) -> Iterator[tuple[slice, torch.Tensor, torch.Tensor]]:
    """Yield rows of the split with their predictions and maps, this process's part; padding has been cut off."""
    config, world = setup.config, setup.world
    size = min(images_at_once(config.views.image_size), len(split))
    plan = evaluation_plan(len(split), size, world.rank, world.size)
    stream = Stream(split, plan, size, config.views.plain, config.seed, *setup.statistics)
    batches = setup.feed.batches(stream)
    ticker = image_ticker(split.name, len(split))
    for number in range(world.rank, -(-len(split) // size), world.size):
        batch = next(batches)
        with setup.autocast():
            logits, features = model(batch.images)
        # Sorted stably: of equal logits the class that comes first stands first, as argmax has it.
        predicted = logits.argsort(dim=1, descending=True, stable=True)[:, :BEYOND_TOP_5]
        maps = maps_of_classes(model, features, batch.labels if cam_class == "truth" else predicted[:, 0])
        valid = valid_images(number, len(split), size)
        yield slice(number * size, number * size + valid), predicted[:valid], maps[:valid]
        if world.leads:
            ticker.update(number * size + valid)
    ticker.close()


def images_at_once(image_size: int) -> int:
    """How many images of a size are a batch: of larger ones fewer, so that they take no more memory."""
    return max(1, BATCH_SIZE * 64**2 // max(64, image_size) ** 2)
