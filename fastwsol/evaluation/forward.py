"""One forward pass over a split: predictions and maps. Training, `evaluate` and the page share it.

Several processes share it by whole batches. The batches hold the same images for any number of processes, so the result
does not depend on it.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from fastwsol.batches.feed import Feed
from fastwsol.batches.stream import Batch, Stream, decoded_at_once, evaluation_plan, valid_images
from fastwsol.config import Config, Statistics
from fastwsol.dataset.shards import Shards, Split
from fastwsol.evaluation.metrics import TOP, CamClass
from fastwsol.host.errors import Interrupted, RunFailure
from fastwsol.host.process import Process
from fastwsol.host.ticker import image_ticker
from fastwsol.localizer.localizing import LocalizingModel

BATCH_SIZE = 256
"""Images of up to 64 pixels a side that are passed through the network at a time."""


@dataclass(frozen=True)
class EvaluationSetup:
    """The images that a run's network is evaluated on, and what this process does it with."""

    config: Config
    shards: Shards
    """With the run's holdout apart."""
    feed: Feed
    statistics: Statistics
    """What the network's input is normalised by: mean and deviation of R, G, B in 0..255."""
    process: Process
    """Whether it gives up is asked before each batch. Of several processes none leaves an evaluation."""


@dataclass(frozen=True)
class SplitOutputs:
    """What the network says of each of a split's N images, in the split's order."""

    predicted: NDArray[np.int64]
    """The classes of the five highest logits (of all where there are fewer), highest first: [N, 5]."""
    maps: dict[str, NDArray[np.float32]]
    """By localizer, of the class asked for: [N, h, w]."""

    @property
    def cams(self) -> NDArray[np.float32]:
        """The class activation maps."""
        return self.maps["cam"]


JUST_CAM = ("cam",)


def forward_split(
    model: LocalizingModel,
    split: Split,
    setup: EvaluationSetup,
    cam_class: CamClass = "truth",
    localizers: Sequence[str] = JUST_CAM,
) -> SplitOutputs:
    """Run the model over every image of `split` once, in evaluation mode; its mode before is restored.

    localizers: the names of those whose maps are made. The leading process's BN statistics become every process's.
    Raises RunFailure naming an image where maps are not finite.
    """
    world, classes = setup.process.world, len(setup.shards.manifest.classes)
    modes = [(module, module.training) for module in model.modules()]
    predicted = torch.zeros(len(split), min(TOP, classes), dtype=torch.int64)
    model.eval()
    try:
        world.share_from_lead(model.buffers())
        sizes = model.map_sizes(setup.config.views.image_size, setup.process.autocast.device)
        maps = {name: torch.zeros(len(split), *sizes[name]) for name in localizers}
        with torch.inference_mode():
            for rows, of_batch, maps_of_batch in _batches(model, split, setup, cam_class, localizers):
                predicted[rows] = of_batch.cpu()
                for name, of_localizer in maps_of_batch.items():
                    maps[name][rows] = of_localizer.cpu()
    finally:
        model.train()  # some modules drop there what they keep for evaluations
        for module, was_training in modes:
            module.training = was_training
    world.add_up(predicted)
    finite = torch.ones(len(split), dtype=torch.bool)
    for of_localizer in maps.values():
        finite &= torch.isfinite(world.add_up(of_localizer)).all(dim=2).all(dim=1)
    if len(bad := np.flatnonzero(~finite.numpy())):
        raise world.of_lead(
            RunFailure(
                f"the maps of {len(bad)} of {len(split)} {split.name} images are not finite, "
                f"{split.names(bad[:1])[0]} the first: the network's weights are damaged; go back to an earlier "
                f"checkpoint, or train with a lower --lr"
            )
        )
    return SplitOutputs(predicted.numpy(), {name: of_localizer.numpy() for name, of_localizer in maps.items()})


def _batches(
    model: LocalizingModel, split: Split, setup: EvaluationSetup, cam_class: CamClass, localizers: Sequence[str]
) -> Iterator[tuple[slice, torch.Tensor, dict[str, torch.Tensor]]]:
    """Yield rows of the split with their predictions and maps, this process's part; padding has been cut off."""
    world = setup.process.world
    with image_ticker(split.name, len(split)) as ticker:
        for rows, batch in plain_batches(split, setup, world.rank, world.size):
            valid = rows.stop - rows.start
            with setup.process.autocast():
                passed = model(batch.images)
            # Sorted stably: of equal logits the class that comes first stands first, as argmax has it.
            predicted = passed.logits.argsort(dim=1, descending=True, stable=True)[:, :TOP]
            classes = batch.labels if cam_class == "truth" else predicted[:, 0]
            maps = {name: model.maps(name, passed, classes)[:valid] for name in localizers}
            yield rows, predicted[:valid], maps
            if world.leads:
                ticker.update(rows.stop)


def plain_batches(
    split: Split, setup: EvaluationSetup, rank: int = 0, processes: int = 1
) -> Iterator[tuple[slice, Batch]]:
    """Every image of a split once, as evaluations see it: batches, each with the rows that its first images are. What
    follows them in the last batch fills it up, and counts for nothing. rank, processes: a process's share. Raises
    Interrupted where the setup gives up.
    """
    config = setup.config
    size = min(images_at_once(config.views.image_size), decoded_at_once(split), len(split))
    plan = evaluation_plan(len(split), size, rank, processes)
    numbers = range(rank, -(-len(split) // size), processes)
    stream = Stream(split, plan, size, config.views.plain, config.seed, setup.statistics, steps=len(numbers))
    for number, batch in zip(numbers, setup.feed.batches(stream), strict=False):  # a feed may have no end
        if setup.process.world.size == 1 and setup.process.gives_up():
            raise Interrupted("an evaluation was left")
        yield slice(number * size, number * size + valid_images(number, len(split), size)), batch


def images_at_once(image_size: int) -> int:
    """How many images of a size are a batch: of larger ones fewer, so that they take no more memory."""
    return max(1, BATCH_SIZE * 64**2 // max(64, image_size) ** 2)
