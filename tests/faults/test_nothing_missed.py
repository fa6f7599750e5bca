"""Promise 3: whatever the number of processes, and wherever a run is taken up, no image is missed or seen twice."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from fastwsol.batches.dali_batches import DaliBatches
from fastwsol.batches.stream import Stream, evaluation_plan, training_plan, valid_images
from fastwsol.config import Config
from fastwsol.dataset.shards import open_shards

from .tally import Tally

PROMISE = "3 nothing missed or repeated"
WORLDS = (1, 2, 4)
COUNT, BATCH, STEPS = 80, 16, 15
"""Three epochs of 80 images; the fourth step of a batch of 24 crosses an epoch's edge."""


def ids_of(batch: int, worlds: dict[int, int]) -> np.ndarray:
    """The images of a run whose world has `worlds[step]` processes from that step on, each step's parts end to end."""
    world, found = 1, []
    for step in range(COUNT * 3 // batch):
        world = worlds.get(step, world)
        found += [training_plan(7, COUNT, batch, rank, world)(step)[0] for rank in range(world)]
    return np.concatenate(found)


@pytest.mark.parametrize("batch", [16, 24])
def test_taken_up_at_any_step_by_any_number_of_processes(batch: int, tally: Tally) -> None:
    unbroken = ids_of(batch, {})
    for epoch in range(3):
        assert sorted(unbroken[epoch * COUNT : (epoch + 1) * COUNT]) == list(range(COUNT)), "each image once an epoch"
    count = tally.of(PROMISE, "a run taken up at a step by another number of processes: the stream's slices")
    for first in WORLDS:
        for then in WORLDS:
            for step in range(1, COUNT * 3 // batch):
                same = np.array_equal(ids_of(batch, {0: first, step: then}), unbroken)
                count(f"{first} processes, then {then} from step {step}, batch {batch}", same)
    assert count.lost == []


def test_the_pipeline_gives_the_images_of_its_slice(synthetic_shards: Path, tally: Tally, full: bool) -> None:
    """DALI's own batches, of each process and from each step on, against the plan."""
    shards = open_shards(synthetic_shards)
    split, augmentation = shards.splits["train"], Config.of(aug="gr-hns").views
    moments = shards.manifest.statistics
    count = tally.of(PROMISE, "the pipeline begun at a step, of each process: its images and labels")
    for world in WORLDS:
        for rank in range(world):
            for start in range(STEPS) if full else (0, 4, 7):
                plan = training_plan(7, COUNT, BATCH, rank, world)
                stream = Stream(split, plan, BATCH // world, augmentation, 7, moments)
                batches = DaliBatches(stream, torch.device("cpu"), threads=1, start=start)
                for step, batch in zip(range(start, start + 2), batches, strict=False):
                    wanted, _ = plan(step)
                    same = np.array_equal(batch.labels.numpy(), split.labels[wanted])
                    count(f"process {rank} of {world}, step {step}, begun at {start}", same)
    assert count.lost == []


def test_an_evaluation_counts_each_image_once(tally: Tally) -> None:
    count = tally.of(PROMISE, "an evaluation by several processes: each image once")
    for images in (1, 2, 15, 16, 17, 63, 64, 65, 500):
        for world in WORLDS:
            seen: Counter[int] = Counter()
            for rank in range(world):
                plan = evaluation_plan(images, BATCH, rank, world)
                for step in range(-(-images // (BATCH * world))):
                    own = valid_images(step * world + rank, images, BATCH)
                    seen.update(plan(step)[0][:own].tolist())
            count(f"{images} images, {world} processes", seen == Counter(range(images)))
    assert count.lost == []
