"""Phase `data`: DALI's batches on the GPU are the ones that its twin in Pillow and NumPy makes.

Distances are in levels of 0..255. Decoded on the host, bounds are those of the tests on a CPU: within a level where
pixels are resampled, float rounding else. nvJPEG (mixed) may round otherwise than libjpeg-turbo: on average less than a
level, and hardly a pixel beyond four.
"""

import itertools
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from acceptance.record import Bound, Check, Finding
from acceptance.setting import IMAGE_SIZE, SEED, Setting, opened, wait
from fastwsol.batches import views_reference as reference
from fastwsol.batches.dali_batches import DaliBatches
from fastwsol.batches.image_checksums import Decoding
from fastwsol.batches.stream import Stream, training_plan
from fastwsol.config import Augmentation
from fastwsol.dataset.shards import Split
from fastwsol.draws import COLOR_STEPS, draw_views
from fastwsol.host.errors import RunFailure

HOST_RESAMPLED, HOST_EXACT = 1.001, 1e-3
HOST_SHARE_OVER_HALF = 0.02
MIXED_MEAN, MIXED_SHARE_OVER_FOUR = 1.0, 0.01
COLOR_GAIN = 1.4
"""The most by which a step of the jitter enlarges a difference."""

GR_HNS = Augmentation("gr-hns", flip=True, color=False, resampler="bicubic", image_size=IMAGE_SIZE)


def checks(setting: Setting) -> list[Check]:
    """Host decoding of every augmentation, the stream, colour, mixed decoding, then what does not decode."""
    augs: tuple[Any, ...] = ("none", "hns", "gr", "gr-hns", "hns-gr")
    resamplers: tuple[Any, ...] = ("bicubic", "bilinear")
    of_phase = []
    for resampler, aug in itertools.product(resamplers, augs):
        if resampler == "bicubic" or "gr" in aug:  # without crops nothing is resampled
            augmentation = Augmentation(aug, True, False, resampler, IMAGE_SIZE)
            of_phase.append(Check(f"host, {aug}, {resampler}", partial(pixels, setting, augmentation, "host")))
    of_phase += [
        Check("labels, ids and channels-last layout", partial(labels_and_layout, setting)),
        Check("batches stay valid while others are made", partial(stream, setting)),
        Check("started at step k, the stream is the same", partial(resumed_stream, setting)),
    ]
    for aug in ("none", "gr", "gr-hns", "hns-gr"):
        augmentation = Augmentation(cast(Any, aug), True, True, "bicubic", IMAGE_SIZE)
        of_phase.append(Check(f"host, {aug}, colour", partial(pixels, setting, augmentation, "host")))
    for aug in augs:
        augmentation = Augmentation(aug, True, False, "bicubic", IMAGE_SIZE)
        of_phase.append(Check(f"mixed, {aug}", partial(pixels, setting, augmentation, "mixed"), needs_cuda=True))
    run = partial(bad_image, setting, "mixed")
    of_phase.append(Check("an image that does not decode is named, mixed", run, needs_cuda=True))
    # Last: DALI 2.4 ended the process there (bench/results/h200), before damaged images were kept from it.
    return [*of_phase, Check("an image that does not decode is named, host", partial(bad_image, setting, "host"))]


def batches(setting: Setting, augmentation: Augmentation, decoding: Decoding, start: int = 0) -> DaliBatches:
    """The training batches of the shards."""
    data = opened(setting.shards)
    split = data.splits["train"]
    return _batches(setting, split, augmentation, decoding, start)


def _batches(setting: Setting, split: Split, augmentation: Augmentation, decoding: Decoding, start: int) -> DaliBatches:
    manifest = opened(setting.shards).manifest
    size = _batch_size(setting)
    plan = training_plan(SEED, len(split), size)
    stream = Stream(split, plan, size, augmentation, SEED, manifest.statistics)
    return DaliBatches(stream, setting.device, setting.threads, start, decoding)


def _batch_size(setting: Setting) -> int:
    return setting.sized(128, 8)


def pixels(setting: Setting, augmentation: Augmentation, decoding: Decoding) -> Finding:
    """Two batches against the twin's, in levels."""
    data = opened(setting.shards)
    split = data.splits["train"]
    stream = batches(setting, augmentation, decoding)
    off = []
    for step in range(2):
        ids, epochs = training_plan(SEED, len(split), _batch_size(setting))(step)
        views = draw_views(augmentation, SEED, ids, epochs, split.widths[ids], split.heights[ids])
        encoded = [split.image(int(index)) for index in ids]
        expected = reference.batch(encoded, views, augmentation, data.manifest.statistics)
        image_batch = next(stream).images.permute(0, 2, 3, 1).cpu().numpy()
        off.append(np.abs(image_batch - expected) * np.array(data.manifest.statistics.std))
    return Finding(_bounds(np.concatenate(off), augmentation, decoding), _spread(np.concatenate(off)))


def _bounds(off: NDArray[Any], augmentation: Augmentation, decoding: Decoding) -> tuple[Bound, ...]:
    if decoding == "mixed":
        return (
            Bound("mean level apart", float(off.mean()), MIXED_MEAN),
            Bound("share over 4 levels", float((off > 4).mean()), MIXED_SHARE_OVER_FOUR),
        )
    most = HOST_RESAMPLED if augmentation.crops else HOST_EXACT
    if augmentation.color:
        most = sum(COLOR_GAIN**k for k in range(COLOR_STEPS))
    return (
        Bound("levels apart", float(off.max()), most),
        Bound("share over half a level", float((off > 0.5).mean()), HOST_SHARE_OVER_HALF),
    )


def _spread(off: NDArray[Any]) -> dict[str, Any]:
    return {"max": float(off.max()), "mean": float(off.mean()), "share over 1": float((off > 1.001).mean())}


def labels_and_layout(setting: Setting) -> Finding:
    """Labels are those of the ids that the plan gives, on the device; images lie in channels-last memory, float32."""
    split = opened(setting.shards).splits["train"]
    stream = batches(setting, GR_HNS, "host")
    wrong, others = 0, 0
    for step in range(3):
        batch = next(stream)
        ids, _ = training_plan(SEED, len(split), _batch_size(setting))(step)
        wrong += int((batch.labels.cpu().numpy() != split.labels[ids]).sum())
        others += not batch.images.is_contiguous(memory_format=torch.channels_last)
        others += batch.images.dtype != torch.float32 or batch.images.device != setting.device
        others += batch.labels.device != setting.device
    return Finding((Bound("wrong labels", wrong, 0), Bound("batches in another form", others, 0)))


def stream(setting: Setting) -> Finding:
    """Batches read late, with the GPU busy in between, against the same batches read one by one and waited for: kept
    until all are made, and dropped as soon as they are asked to be read, as a training does.
    """
    steps = 10
    late, dropped = batches(setting, GR_HNS, "host"), batches(setting, GR_HNS, "host")
    side = setting.sized(4096, 64)
    load = torch.randn(side, side, device=setting.device)
    kept, copies_of_dropped = [], []
    for _ in range(steps):
        kept.append(next(late).images)
        load = (load @ load).tanh()  # the stream that reads the batches falls behind the one that makes them
        copies_of_dropped.append(next(dropped).images.clone())
    copies = [images.clone() for images in kept]
    wait(setting.device)
    differ = differ_dropped = 0
    for copy, other, batch in zip(copies, copies_of_dropped, batches(setting, GR_HNS, "host"), strict=False):
        wait(setting.device)
        differ += int((copy != batch.images).sum())
        differ_dropped += int((other != batch.images).sum())
    return Finding(
        (Bound("values that differ", differ, 0), Bound("of batches dropped at once", differ_dropped, 0)),
        {"batches": steps},
    )


def resumed_stream(setting: Setting) -> Finding:
    """A pipeline begun at step 3 against one begun at step 0."""
    unbroken = batches(setting, GR_HNS, "host")
    expected = [next(unbroken) for _ in range(6)][3:]
    resumed = batches(setting, GR_HNS, "host", start=3)
    differ = sum(int((next(resumed).images != each.images).sum()) for each in expected)
    return Finding((Bound("values that differ", differ, 0),))


class OneTruncated:
    """A split one of whose images ends after a third of its bytes; None: not yet."""

    def __init__(self, split: Split, bad: int | None) -> None:
        self._split, self.bad = split, bad

    def __getattr__(self, name: str) -> Any:
        return getattr(self._split, name)

    def __len__(self) -> int:
        return len(self._split)

    def image(self, index: int) -> bytes:
        """As the split's, or the first third."""
        whole = self._split.image(index)
        return whole[: len(whole) // 3] if index == self.bad else whole

    def gather(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.uint8] | list[NDArray[np.uint8]], NDArray[np.int64]]:
        """As the split's, but for the length."""
        encoded, lengths = self._split.gather(ids)
        lengths[ids == self.bad] //= 3
        return encoded, lengths


def bad_image(setting: Setting, decoding: Decoding) -> Finding:
    """The error that a truncated image raises names it. It is truncated in mid-run: before, it would not be opened."""
    split = opened(setting.shards).splits["train"]
    ids, _ = training_plan(SEED, len(split), _batch_size(setting))(0)
    bad = int(ids[3])
    damaged = OneTruncated(split, None)
    batches = _batches(setting, cast(Split, damaged), GR_HNS, decoding, 0)
    damaged.bad = bad
    try:
        next(batches)
        message = "nothing"
    except RunFailure as failure:
        message = str(failure)
    return Finding((Bound("images not named", int(split.names([bad])[0] not in message), 0),), {"said": message})
