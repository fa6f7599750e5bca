"""JPEG bytes to normalised channels-last float32 batches: ours beside what one would otherwise write.

    pytest bench/test_pipeline.py --benchmark-only --shards data/shards

Sides, each on the same cores and one thread or worker a core:

- ours: `fastwsol.batches.dali_batches.DaliBatches`, DALI's decoder and one Numba kernel.
- dali operators: the same class with DALI's own operators behind the decoder, as it has them for a GPU.
- pillow dataloader: a torch DataLoader with Pillow. Its workers stay alive, fetch whole batches and hand them over as
  uint8, a quarter of the bytes; the main process normalises and masks a batch at a time with torch, on one thread,
  since the workers have the cores (on all threads, or in the workers, it was slower).
- simplejpeg threads: a pool of threads with libjpeg-turbo and OpenCV, two batches ahead of the consumer, each image
  normalised while it is in the cache. Bilinear alone: OpenCV's cubic has another kernel (a = -0.75), another task.

All get the same bytes, ids, windows, flips and cells, and draw nothing inside. Their batches are compared before they
are timed. Each turn is a stretch of a stream in full swing: batches made ahead are used up before the clock starts.
"""

import gc
import io
import itertools
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
import rounds
import simplejpeg
import torch
from PIL import Image
from rounds import Side

from fastwsol.batches import dali_batches as pipeline
from fastwsol.batches.dali_batches import DaliBatches
from fastwsol.batches.stream import Stream, training_plan
from fastwsol.config import Augmentation
from fastwsol.draws import CELLS, draw_views, stream_slice

BATCH = 256
BATCHES_A_TURN = 16 if rounds.timed else 2
BATCHES_AHEAD = 4  # used up before a turn: no side prepares more (but for the DataLoader, whose turn is an epoch)
ROUNDS = 11
SIZE = 64
SEED = 0
CPU = torch.device("cpu")
# How far apart the sides' pixels may be, in levels of 255. Bilinear: OpenCV and Pillow round their weights to 11 and
# 22 bits, and Pillow rounds between its two passes. Bicubic: Pillow makes the weights at a window's edge anew where
# DALI and ours repeat the edge pixel; away from the edges they agree.
MEAN_LEVELS_APART = {"bilinear": 0.2, "bicubic": 0.5}
KINDS_OF_VIEWS = [
    ("gr", "bicubic"),
    ("gr-hns", "bilinear"),
    pytest.param("gr", "bilinear", marks=pytest.mark.like_another),
    pytest.param("gr-hns", "bicubic", marks=pytest.mark.like_another),
]


def views_of(split, augmentation, step):
    ids, epochs = stream_slice(SEED, len(split), step * BATCH, BATCH)
    return ids, draw_views(augmentation, SEED, ids, epochs, split.widths[ids], split.heights[ids])


def stream(batches):
    """A side that goes on for ever, making few batches ahead; these are ready before another side's turn begins."""
    return Side(
        turn=lambda: take(batches, BATCHES_A_TURN), before=lambda: take(batches, BATCHES_AHEAD), after=wait_until_idle
    )


def wait_until_idle():
    """Until no thread of this process works: what one side makes ahead is not to be counted as another's."""
    while True:
        before = time.process_time()
        time.sleep(0.02)
        if time.process_time() - before < 0.002:
            return


def take(batches, count):
    for _ in range(count):
        last = next(batches)
    return last


def stream_of(shards, augmentation):
    split, manifest = shards.splits["train"], shards.manifest
    plan = training_plan(SEED, len(split), BATCH)
    return Stream(split, plan, BATCH, augmentation, SEED, manifest.statistics)


def ours(shards, augmentation, cores):
    batches = DaliBatches(stream_of(shards, augmentation), CPU, cores)
    return (batch.images for batch in batches)


def dali_operators(shards, augmentation, cores):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "kernel_serves", lambda device: False)
        return ours(shards, augmentation, cores)


def scale_and_shift(shards):
    """What pixels are multiplied by and what is added, float32 [S, S, 3] each.

    As large as an image: NumPy and torch are twice as fast so as with three channels to broadcast.
    """
    mean, std = (np.array(each, np.float32) for each in shards.manifest.statistics)
    return np.tile(1 / std, (SIZE, SIZE, 1)), np.tile(-mean / std, (SIZE, SIZE, 1))


class PillowBatches(torch.utils.data.Dataset):
    """Item k is a batch as a worker makes it: uint8 [B, S, S, 3], and its cells."""

    def __init__(self, split, augmentation, batches):
        self.split, self.augmentation, self.batches = split, augmentation, batches
        self.filter = Image.Resampling[augmentation.resampler.upper()]

    def __len__(self):
        return self.batches

    def __getitem__(self, step):
        ids, views = views_of(self.split, self.augmentation, step)
        pixels = np.empty((len(ids), SIZE, SIZE, 3), np.uint8)
        for index, window, flip, out in zip(
            ids.tolist(), views.windows.tolist(), views.flips.tolist(), pixels, strict=True
        ):
            image = pillow_decode(self.split.image(index))
            if self.augmentation.crops:
                x, y, width, height = window
                image = image.crop((x, y, x + width, y + height)).resize((SIZE, SIZE), self.filter)
            if flip:  # Pillow's is three times as fast as a copy with NumPy's negative strides
                image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
            out[:] = image
        return torch.from_numpy(pixels), views.cells


def pillow_decode(encoded):
    image = Image.open(io.BytesIO(encoded))
    return image if image.mode == "RGB" else image.convert("RGB")


def started(loader):
    """An iterator over `loader`, whose workers are forked here if they do not live yet.

    What this process holds is hidden from the workers' garbage collection: a worker that found an old DALI pipeline
    among it and destroyed it would wait for threads that it does not have, and die.
    """
    gc.freeze()
    try:
        return iter(loader)
    finally:
        gc.unfreeze()


class PillowDataLoader:
    """A turn is the middle of an epoch: nothing is left in a queue, and no worker runs on into another side's turn."""

    def __init__(self, shards, augmentation, cores, normalises=True):
        self.scale, self.shift = (torch.from_numpy(each) for each in scale_and_shift(shards))
        self.normalises = normalises
        batches = BATCHES_AHEAD + BATCHES_A_TURN + 2 * cores
        self.loader = torch.utils.data.DataLoader(
            PillowBatches(shards.splits["train"], augmentation, batches),
            batch_size=None,
            num_workers=cores,
            persistent_workers=True,
            prefetch_factor=2,
        )

    def __iter__(self):
        for pixels, cells in started(self.loader):
            yield self.normalised(pixels, cells) if self.normalises else pixels

    def normalised(self, pixels, cells):
        images = torch.addcmul(self.shift, pixels.float(), self.scale)
        if cells is not None:
            block = SIZE // CELLS
            blocks = images.view(-1, CELLS, block, CELLS, block, 3)
            blocks.mul_(cells.view(-1, CELLS, 1, CELLS, 1, 1))
        return images.permute(0, 3, 1, 2)

    def first(self):
        first, *_ = self
        return first

    def side(self, cores):
        def before():
            torch.set_num_threads(1)
            self.epoch = iter(self)
            take(self.epoch, BATCHES_AHEAD)

        def after():
            deque(self.epoch, 0)
            torch.set_num_threads(cores)

        return Side(turn=lambda: take(self.epoch, BATCHES_A_TURN), before=before, after=after)


def simplejpeg_threads(shards, augmentation, cores, normalises=True):
    """Two batches ahead, each made by all threads. Both libraries release the GIL while they work, as NumPy does."""
    split = shards.splits["train"]
    scale, shift = scale_and_shift(shards)

    def make(index, window, flip, cells, out):
        image = simplejpeg.decode_jpeg(split.image(index))
        if augmentation.crops:
            x, y, width, height = window
            image = cv2.resize(image[y : y + height, x : x + width], (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
        if flip:
            image = cv2.flip(image, 1)
        if not normalises:
            out[:] = image
            return
        np.multiply(image, scale, out=out)
        out += shift
        if cells is not None:
            block = SIZE // CELLS
            blocks = out.reshape(CELLS, block, CELLS, block, 3)
            blocks *= cells[:, None, :, None, None]

    def start(step):
        ids, views = views_of(split, augmentation, step)
        images = np.empty((BATCH, SIZE, SIZE, 3), np.float32 if normalises else np.uint8)
        cells = views.cells if views.cells is not None else [None] * BATCH
        work = list(zip(ids.tolist(), views.windows.tolist(), views.flips.tolist(), cells, images, strict=True))
        parts = [pool.submit(lambda part: [make(*each) for each in part], work[k::cores]) for k in range(cores)]
        return parts, images

    with ThreadPoolExecutor(cores) as pool:
        ahead = deque([start(0), start(1)])
        for step in itertools.count(2):
            parts, images = ahead.popleft()
            ahead.append(start(step))
            for part in parts:
                part.result()
            yield torch.from_numpy(images).permute(0, 3, 1, 2) if normalises else torch.from_numpy(images)


def data_of(shards, split):
    return f"{shards.manifest.source}, {len(shards.splits[split])} images of {split}, manifest {shards.digest[:16]}"


def all_of_size(split, size):
    return bool(((split.widths == size) & (split.heights == size)).all())


@pytest.mark.parametrize(("aug", "resampler"), KINDS_OF_VIEWS)
def test_pipeline(paired_rounds, shards, cores, aug, resampler):
    augmentation = Augmentation(aug, flip=True, color=False, resampler=resampler, image_size=SIZE)
    streams = {
        "ours": ours(shards, augmentation, cores),
        "dali operators": dali_operators(shards, augmentation, cores),
    }
    if resampler == "bilinear":
        streams["simplejpeg threads"] = simplejpeg_threads(shards, augmentation, cores)
    loader = PillowDataLoader(shards, augmentation, cores)
    expected = next(streams["ours"])
    firsts = {name: next(batches) for name, batches in streams.items() if name != "ours"}
    for name, images in {**firsts, "pillow dataloader": loader.first()}.items():
        assert images.dtype == expected.dtype == torch.float32, name
        assert images.is_contiguous(memory_format=torch.channels_last), name
        levels_apart = (images - expected).abs() * torch.tensor(shards.manifest.statistics.std)[:, None, None]
        assert levels_apart.mean() < MEAN_LEVELS_APART[resampler], name
    paired_rounds(
        {name: stream(batches) for name, batches in streams.items()} | {"pillow dataloader": loader.side(cores)},
        images=BATCH * BATCHES_A_TURN,
        rounds=ROUNDS,
        data=data_of(shards, "train"),
        **vars(augmentation),
        batch_size=BATCH,
    )


def test_decoding(paired_rounds, shards, cores):
    """The floor: JPEG bytes to uint8 pixels and nothing else. The pixels are equal to the last bit."""
    augmentation = Augmentation("none", flip=False, color=False, resampler="bilinear", image_size=SIZE)
    if not all_of_size(shards.splits["train"], SIZE):
        pytest.skip(f"images of {shards.folder} are not all {SIZE}x{SIZE}, and decoding alone makes no batch of them")
    streams = {
        "dali decoder": dali_decoder(shards, augmentation, cores),
        "simplejpeg threads": simplejpeg_threads(shards, augmentation, cores, normalises=False),
    }
    loader = PillowDataLoader(shards, augmentation, cores, normalises=False)
    expected = next(streams["dali decoder"])
    assert torch.equal(next(streams["simplejpeg threads"]), expected)
    assert torch.equal(loader.first(), expected)
    paired_rounds(
        {name: stream(batches) for name, batches in streams.items()} | {"pillow dataloader": loader.side(cores)},
        images=BATCH * BATCHES_A_TURN,
        rounds=ROUNDS,
        data=data_of(shards, "train"),
        batch_size=BATCH,
    )


def dali_decoder(shards, augmentation, cores):
    """The decoding part of ours, as it stands in it."""
    batches = DaliBatches(stream_of(shards, augmentation), CPU, cores)
    while True:
        (pixels,) = batches._pipeline.run()
        yield torch.utils.dlpack.from_dlpack(pixels.as_tensor())
