"""JPEG bytes to normalised channels-last batches: the DALI graph beside a torch DataLoader with Pillow.

    pytest bench/test_pipeline.py --benchmark-only

Both sides read the same shards, crop the same windows, resample alike, hide the same cells and give float32 batches of
the same layout on two cores: two DALI threads, two worker processes. Their batches are compared before they are timed.
"""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from fastwsol.config import Augmentation
from fastwsol.draws import draw_views, stream_slice
from fastwsol.packing import pack
from fastwsol.pipeline import Batches, training_plan
from fastwsol.shards import open_shards
from fastwsol.sources.synthetic import Synthetic

BATCH = 256
BATCHES_A_ROUND = 8
ROUNDS = 7
CORES = 2
SEED = 0
# How far apart the sides may be, in levels: Pillow resamples bicubic with weights made anew at the window's edges,
# DALI with clamped pixels; away from the edges they agree.
MEAN_LEVELS_APART = 0.5


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench") / "shards"
    pack(Synthetic(class_count=8, train_count=400, val_count=1), folder)
    return open_shards(folder)


class PillowImages(torch.utils.data.Dataset):
    """One image at a time, as a user of torch alone would write it."""

    def __init__(self, split, augmentation, mean, std):
        self.split, self.augmentation = split, augmentation
        self.mean, self.std = np.array(mean, np.float32), np.array(std, np.float32)
        self.filter = Image.Resampling[augmentation.resampler.upper()]

    def __getitem__(self, view):
        index, (x, y, width, height), flip, cells = view
        size = self.augmentation.image_size
        image = Image.open(io.BytesIO(self.split.image(index))).convert("RGB")
        image = image.crop((x, y, x + width, y + height)).resize((size, size), self.filter)
        if flip:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = (np.asarray(image, np.float32) - self.mean) / self.std
        if cells is not None:
            pixels *= cells.repeat(size // 16, 0).repeat(size // 16, 1)[..., None]
        return torch.from_numpy(pixels)


class Views(torch.utils.data.Sampler):
    """Endless batches of (id, window, flip, cells): the same draws as the DALI graph gets."""

    def __init__(self, split, augmentation):
        self.split, self.augmentation = split, augmentation

    def __iter__(self):
        step = 0
        while True:
            ids, epochs = stream_slice(SEED, len(self.split), step * BATCH, BATCH)
            sizes = self.split.widths[ids], self.split.heights[ids]
            views = draw_views(self.augmentation, SEED, ids, epochs, *sizes)
            cells = views.cells if views.cells is not None else [None] * BATCH
            yield list(zip(ids.tolist(), views.windows.tolist(), views.flips.tolist(), cells, strict=True))
            step += 1


def dali(shards, augmentation):
    split = shards.splits["train"]
    batches = Batches(
        split,
        training_plan(SEED, len(split), BATCH),
        BATCH,
        augmentation,
        SEED,
        shards.manifest.mean,
        shards.manifest.std,
        torch.device("cpu"),
        threads=CORES,
    )
    return (batch.images for batch in batches)


def pillow_dataloader(shards, augmentation):
    split = shards.splits["train"]
    loader = torch.utils.data.DataLoader(
        PillowImages(split, augmentation, shards.manifest.mean, shards.manifest.std),
        batch_sampler=Views(split, augmentation),
        num_workers=CORES,
        collate_fn=lambda pixels: torch.stack(pixels).permute(0, 3, 1, 2),
    )
    return iter(loader)


@pytest.mark.parametrize("side", [dali, pillow_dataloader], ids=lambda side: side.__name__)
@pytest.mark.parametrize("resampler", ["bilinear", "bicubic"])
@pytest.mark.parametrize("aug", ["gr", "gr-hns"])
def test_pipeline(benchmark, shards, aug, resampler, side):
    augmentation = Augmentation(aug, flip=True, color=False, resampler=resampler, image_size=64)
    batches, twin = side(shards, augmentation), dali(shards, augmentation)
    ours, theirs = next(twin), next(batches)
    assert theirs.dtype == ours.dtype == torch.float32
    assert theirs.is_contiguous(memory_format=torch.channels_last)
    levels = (ours - theirs).abs() * torch.tensor(shards.manifest.std)[:, None, None]
    assert levels.mean() < MEAN_LEVELS_APART
    del twin

    def some_batches():
        for _ in range(BATCHES_A_ROUND):
            next(batches)

    benchmark.group = f"{aug} {resampler}, batch {BATCH}, {CORES} cores"
    benchmark.extra_info["ours"] = side is dali
    benchmark.extra_info["images"] = BATCH * BATCHES_A_ROUND
    benchmark.pedantic(some_batches, rounds=ROUNDS, warmup_rounds=2)
    if benchmark.stats is not None:
        benchmark.extra_info["images_per_second"] = BATCH * BATCHES_A_ROUND / benchmark.stats.stats.median
