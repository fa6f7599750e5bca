"""What every phase works on: the device, the sizes, and batches made by Pillow and NumPy, for which none needs DALI."""

import atexit
import contextlib
import functools
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from fastwsol.batches import views_reference as reference
from fastwsol.batches.decoded_store import Store, default_folder
from fastwsol.batches.stream import Batches, Inputs
from fastwsol.config import Augmentation, Config, Stem
from fastwsol.dataset.shards import Shards, open_shards
from fastwsol.draws import draw_views, stream_slice
from fastwsol.host.device import Autocast
from fastwsol.host.kept_arrays import KeptArray
from fastwsol.training.step import ClassifierState, Loss, make_loss, new_state
from fastwsol.training.step_mode import Mode, Stepper, possible_modes

SEED = 0
IMAGE_SIZE = 64
GR = Augmentation("gr", flip=True, color=False, resampler="bicubic", image_size=IMAGE_SIZE)


@dataclass(frozen=True)
class Network:
    """One of the paper's networks."""

    depth: int
    stem: Stem

    def __str__(self) -> str:
        return f"{self.depth}{self.stem}"

    @property
    def config(self) -> Config:
        """A configuration with this network; the rest is the default's."""
        return Config.of(depth=self.depth, stem=self.stem)


@dataclass(frozen=True)
class Setting:
    """Where and how large. `deadline`, of time.monotonic, is the phase's."""

    device: torch.device
    shards: Path
    dry_run: bool
    deadline: float
    threads: int

    def sized(self, full: int, dry: int) -> int:
        """A size of the real thing, and of the dry run."""
        return dry if self.dry_run else full

    @property
    def networks(self) -> tuple[Network, ...]:
        """The networks in the order of worth."""
        if self.dry_run:
            return (Network(18, "C"),)
        return Network(18, "A"), Network(34, "A"), Network(18, "C"), Network(34, "C")

    @property
    def seconds_left(self) -> float:
        """Until the phase's deadline."""
        return self.deadline - time.monotonic()

    def autocast(self, precision: str) -> Autocast:
        """The number format on the setting's device; fp16 on a CPU too, where training refuses it for its slowness."""
        return Autocast(self.device, precision)  # type: ignore[arg-type]

    def state(self, network: Network, precision: str) -> ClassifierState:
        """A fresh state, the same each time."""
        return new_state(network.config, len(opened(self.shards).manifest.classes), self.autocast(precision))

    def loss(self, state: ClassifierState, precision: str, compiled: bool) -> Loss:
        """The state's loss function, eager or compiled anew.

        The dry run only captures the graph: the rest takes half a minute, and on a CPU a C++ compiler.
        """
        loss_of = make_loss(state.model, self.autocast(precision), compiled and not self.dry_run)
        if compiled:
            torch.compiler.reset()  # or the ninth network of the process would quietly stay eager
        return torch.compile(loss_of, backend="eager") if compiled and self.dry_run else loss_of

    def stepper(self, state: ClassifierState, precision: str, mode: Mode, batches: Batches, sample: Inputs) -> Stepper:
        """What takes the state's steps in `mode`, made anew."""
        return Stepper(mode, state, self.loss(state, precision, "compiled" in mode), batches, sample)

    @property
    def modes(self) -> list[Mode]:
        """The modes that a step can be tried in; a dry run's graph is no graph, but goes through the same code."""
        return ["eager", "captured", "compiled"] if self.dry_run else possible_modes(self.device, 1)

    def batch(self, size: int) -> tuple[Tensor, Tensor]:
        """The first `size` GR crops of the stream, float32 channels-last [size, 3, 64, 64], and labels, on the device.

        From 512 on they repeat.
        """
        images, labels = prepared(self.shards, min(size, 512))
        repeats = -(-size // len(images))
        images, labels = images.repeat(repeats, 1, 1, 1)[:size], labels.repeat(repeats)[:size]
        return images.to(self.device, memory_format=torch.channels_last), labels.to(self.device)


class Kept(Batches):
    """The same batch again and again."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self._taken = {"images": images, "labels": labels}

    def take(self) -> Inputs:
        """See `Batches.take`."""
        return self._taken


@functools.lru_cache(maxsize=1)
def opened(shards: Path) -> Shards:
    """The shards, opened once."""
    return open_shards(shards)


@functools.lru_cache(maxsize=1)
def decoded(setting: Setting) -> KeptArray:
    """The train split, decoded once; beside the shards, or where they cannot be written in a folder of this process."""
    folder = default_folder(opened(setting.shards))
    if not os.access(setting.shards, os.W_OK):
        folder = Path(tempfile.mkdtemp(prefix="accept-"))
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Store(opened(setting.shards), "train", folder).open(setting.threads)


@functools.lru_cache(maxsize=4)
def prepared(shards: Path, count: int) -> tuple[Tensor, Tensor]:
    """The first `count` GR crops of the training stream by the pipeline's slow twin, on the CPU; about 3 ms each."""
    data = opened(shards)
    split = data.splits["train"]
    ids, epochs = stream_slice(SEED, len(split), 0, count)
    views = draw_views(GR, SEED, ids, epochs, split.widths[ids], split.heights[ids])
    encoded = [split.image(int(index)) for index in ids]
    pixels = reference.batch(encoded, views, GR, data.manifest.statistics)
    return torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.from_numpy(split.labels[ids])


@contextlib.contextmanager
def full_float32() -> Iterator[None]:
    """Compute float32 products in float32: cuDNN's convolutions take TF32 otherwise, some 3e-4 off."""
    before = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = before


@contextlib.contextmanager
def nothing_waits(device: torch.device) -> Iterator[None]:
    """Have torch raise RuntimeError where the host waits for the device, a GPU; what was asked of it before is done."""
    wait(device)
    if device.type == "cuda":
        torch.cuda.set_sync_debug_mode("error")
    try:
        yield
    finally:
        if device.type == "cuda":
            torch.cuda.set_sync_debug_mode("default")


def wait(device: torch.device) -> None:
    """Wait until the device has done all that was asked of it."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


_LEAST_SECONDS = 0.05


def seconds_of(work: Callable[[], object], device: torch.device, repeats: int) -> list[float]:
    """Seconds of one call of `work`, `repeats` times: each over as many calls as fill `_LEAST_SECONDS`.

    On a GPU by events on its stream. Three calls go before, uncounted.
    """
    for _ in range(3):
        work()
    wait(device)
    start = time.perf_counter()
    work()
    wait(device)
    calls = max(1, round(_LEAST_SECONDS / (time.perf_counter() - start)))
    return [_round(work, device, calls) / calls for _ in range(repeats)]


def _round(work: Callable[[], object], device: torch.device, calls: int) -> float:
    if device.type != "cuda":
        start = time.perf_counter()
        for _ in range(calls):
            work()
        return time.perf_counter() - start
    first, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    first.record()
    for _ in range(calls):
        work()
    end.record()
    end.synchronize()
    return first.elapsed_time(end) / 1000
