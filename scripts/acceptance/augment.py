"""Phase `augment`: views of decoded images made by torch on the GPU are the ones of the slow twin. No DALI.

Masks exactly, pixels within a level and nearly all equal: a GPU fuses products with sums, so that a value that lies on
the edge between two levels may fall to the other side.
"""

import functools
import itertools
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from acceptance.record import Bound, Check, Finding
from acceptance.setting import IMAGE_SIZE, SEED, Setting, decoded, nothing_waits, opened
from fastwsol.batches import views_reference as reference
from fastwsol.batches.drawn_ahead import BLOCK_IMAGES
from fastwsol.batches.store_batches import DeviceBatches
from fastwsol.batches.stream import Batch, Stream, training_plan
from fastwsol.batches.views_gpu import make_show
from fastwsol.config import Augmentation
from fastwsol.draws import COLOR_STEPS

LEVELS, SHARE_OVER_HALF = 1.001, 0.001
COLOR_GAIN = 1.4
"""The most by which a step of the jitter enlarges a difference."""
AUGS: tuple[Any, ...] = ("none", "hns", "gr", "gr-hns", "hns-gr")
OTHER_SIZES = (32, 80)
"""Sides of views beside those of the store's images, as where images grow."""
GR_HNS = Augmentation("gr-hns", flip=True, color=False, resampler="bicubic", image_size=IMAGE_SIZE)


def checks(setting: Setting) -> list[Check]:
    """Compiled where it is the form that trains, eager all of them, then the stream and what waits for what."""
    of_phase = []
    for aug, resampler in itertools.product(("gr", "gr-hns", "hns-gr"), ("bicubic", "bilinear")):
        augmentation = Augmentation(aug, True, False, resampler, IMAGE_SIZE)  # type: ignore[arg-type]
        run = partial(pixels, setting, augmentation, compiled=True)
        of_phase.append(Check(f"compiled, {aug}, {resampler}", run, 20))
    for jitters, aug in itertools.product((False, True), AUGS):
        augmentation = Augmentation(aug, True, jitters, "bicubic", IMAGE_SIZE)
        run = partial(pixels, setting, augmentation, compiled=False)
        of_phase.append(Check(f"eager, {aug}{', colour' if jitters else ''}", run))
    for size in OTHER_SIZES:
        run = partial(pixels, setting, Augmentation("gr", True, False, "bicubic", size), compiled=False)
        of_phase.append(Check(f"eager, gr, at {size} pixels", run))
    color = Augmentation("gr-hns", True, True, "bicubic", IMAGE_SIZE)
    return [
        *of_phase,
        Check("compiled, gr-hns, colour", partial(pixels, setting, color, compiled=True), 20),
        Check("bf16 and fp16 are the rounded float32", partial(halves, setting)),
        Check("started at step k, the stream is the same", partial(resumed_stream, setting)),
        Check("no batch waits for the device", partial(waits, setting), 10, needs_cuda=True),
    ]


def stream_of(setting: Setting, augmentation: Augmentation, size: int) -> Stream:
    """The training stream of the shards."""
    data = opened(setting.shards)
    split = data.splits["train"]
    plan = training_plan(SEED, len(split), size)
    return Stream(split, plan, size, augmentation, SEED, data.manifest.statistics)


@functools.lru_cache(maxsize=1)
def on_device(setting: Setting) -> Tensor:
    """The decoded train split: uint8 [N, H, W, 3] on the device."""
    return torch.from_numpy(np.array(decoded(setting).values)).to(setting.device)


def batches(
    setting: Setting,
    augmentation: Augmentation,
    dtype: torch.dtype = torch.float32,
    compiled: bool = False,
    start: int = 0,
    size: int | None = None,
) -> DeviceBatches:
    """The training batches, made on the device. The dry run only captures the graph: the rest takes half a minute."""
    stream = stream_of(setting, augmentation, size or setting.sized(128, 8))
    if compiled:
        make_show.cache_clear()
        torch.compiler.reset()  # or the ninth form in the process would quietly stay eager
    batches_of_device = DeviceBatches(stream, on_device(setting), dtype, compiled and not setting.dry_run, start)
    if compiled and setting.dry_run:
        batches_of_device._show = torch.compile(batches_of_device._show, backend="eager", dynamic=False)
    return batches_of_device


def pixels(setting: Setting, augmentation: Augmentation, compiled: bool) -> Finding:
    """Two batches against the twin's, in levels; and the pixels that are 0 in one of them alone."""
    data = opened(setting.shards)
    stream = stream_of(setting, augmentation, setting.sized(128, 8))
    torch_batches = batches(setting, augmentation, compiled=compiled)
    off, masks = [], 0
    for step in range(2):
        ids, epochs = stream.plan(step)
        encoded = [stream.split.image(int(index)) for index in ids]
        views = stream.views(ids, epochs)
        expected = reference.batch(encoded, views, augmentation, data.manifest.statistics)
        image_batch = next(torch_batches).images.permute(0, 2, 3, 1).cpu().numpy()
        off.append(np.abs(image_batch - expected) * np.array(data.manifest.statistics.std))
        masks += int(((image_batch == 0) != (expected == 0)).sum())
    apart = np.concatenate(off)
    most = sum(COLOR_GAIN**k for k in range(COLOR_STEPS)) if augmentation.color else LEVELS
    bounds = [Bound("levels apart", float(apart.max()), most)]
    if not augmentation.color:
        bounds += [
            Bound("share over half a level", float((apart > 0.5).mean()), SHARE_OVER_HALF),
            Bound("masked otherwise", masks, 0),
        ]
    return Finding(tuple(bounds), {"mean": float(apart.mean()), "pixels": apart.size})


def halves(setting: Setting) -> Finding:
    """The batches in half precision against float32's, rounded afterwards as autocast does."""
    images = next(batches(setting, GR_HNS)).images
    differ = 0
    for dtype in (torch.bfloat16, torch.float16):
        differ += int((next(batches(setting, GR_HNS, dtype)).images != images.to(dtype)).sum())
    return Finding((Bound("values that differ", differ, 0),))


def resumed_stream(setting: Setting) -> Finding:
    """Batches from step 3 on, of a stream begun there and of one begun at 0, all of them kept."""

    def taken(start: int) -> list[Batch]:
        stream = batches(setting, GR_HNS, start=start)
        return [next(stream) for _ in range(start, 8)]

    pairs = list(zip(taken(3), taken(0)[3:], strict=True))
    differ = sum(int((a.images != b.images).sum() + (a.labels != b.labels).sum()) for a, b in pairs)
    return Finding((Bound("values that differ", differ, 0),), {"batches": len(pairs)})


def waits(setting: Setting) -> Finding:
    """Batches across several blocks of draws, with torch told to raise where anything waits for the device."""
    size = 1024
    stream = batches(setting, GR_HNS, torch.bfloat16, size=size)
    steps = 2 * (BLOCK_IMAGES // size) + 3
    next(stream)
    with nothing_waits(setting.device):
        for _ in range(steps):
            next(stream)
    return Finding((Bound("waits", 0, 0),), {"batches": steps})
