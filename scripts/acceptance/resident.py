"""Phase `resident`: images a second from decoded pixels on the GPU, and of trainings fed so, beside synthetic input.

No DALI, but for the last checks, which have it beside them.
"""

import itertools
import statistics
import time
from functools import partial
from typing import Any

import torch

from acceptance.augment import batches, on_device, stream_of
from acceptance.record import Bound, Check, Finding
from acceptance.setting import IMAGE_SIZE, Kept, Network, Setting, decoded, seconds_of, wait
from fastwsol.batches.stream import Batches
from fastwsol.config import Augmentation
from fastwsol.training.step_mode import Mode

AT_LEAST_OF_SYNTHETIC = 0.98
"""What of synthetic input's rate a training must reach whose images come from the store."""


def checks(setting: Setting) -> list[Check]:
    """The decoded set, the usual views, trainings at the usual batches, then every combination of views."""
    sizes = (4,) if setting.dry_run else (256, 32, 1024)
    of_phase = [Check("decoded and on the device", partial(upload, setting), 30)]
    usual = Augmentation("gr", True, False, "bicubic", IMAGE_SIZE)
    for size in sizes[:2]:
        of_phase.append(
            Check(f"compiled views, {size}, gr, bicubic", partial(view_rate, setting, usual, size, True), 20)
        )
    modes: tuple[Mode, ...] = ("captured", "compiled-captured")  # those that train, where there is time to choose
    for network, size, mode in itertools.product(setting.networks[:1], sizes[:2], modes):
        run = partial(training_rates, setting, network, size, mode)
        name = f"training beside synthetic input, {mode}, {network}, batch {size}"
        of_phase.append(Check(name, run, 40 if "compiled" in mode else 15))
    for size, aug, resampler, compiled in itertools.product(
        sizes, ("gr", "gr-hns"), ("bicubic", "bilinear"), (True, False)
    ):
        augmentation = Augmentation(aug, True, False, resampler, IMAGE_SIZE)  # type: ignore[arg-type]
        if not (compiled and augmentation == usual and size in sizes[:2]):
            name = f"{'compiled' if compiled else 'eager'} views, {size}, {aug}, {resampler}"
            of_phase.append(
                Check(name, partial(view_rate, setting, augmentation, size, compiled), 15 if compiled else 5)
            )
    run = partial(beside_dali, setting, usual, sizes[0])
    return [*of_phase, Check(f"views beside DALI's batches, {sizes[0]}, gr, bicubic", run, 30)]


def upload(setting: Setting) -> Finding:
    """Seconds to decode the train split once, and to bring it to the device."""
    start = time.perf_counter()
    store = decoded(setting)
    built = time.perf_counter()
    pixels = on_device(setting)
    wait(setting.device)
    figures = {"decoded s": built - start, "uploaded s": time.perf_counter() - built, "bytes": pixels.nbytes}
    return Finding(figures=figures | {"images": len(store.values)})


def view_rate(setting: Setting, augmentation: Augmentation, size: int, compiled: bool) -> Finding:
    """Images a second of bf16 batches with nothing else to do, draws and uploads included, by the host's clock; the
    bytes that must be moved for them, over the time: pixels in, views out.
    """
    stream = batches(setting, augmentation, torch.bfloat16, compiled, size=size)
    start = time.perf_counter()
    next(stream)
    wait(setting.device)
    first = time.perf_counter() - start
    seconds = _seconds_a_batch(stream, setting, size)
    median = statistics.median(seconds)
    moved = size * IMAGE_BYTES * (1 + 2)
    figures: dict[str, Any] = {
        "images/s": round(size / median, 1),
        "GB/s": moved / median / 1e9,
        "first batch s": first,
    }
    return Finding(figures=figures | {"seconds": seconds})


IMAGE_BYTES = IMAGE_SIZE * IMAGE_SIZE * 3


def _seconds_a_batch(stream: Batches, setting: Setting, size: int) -> list[float]:
    """Seconds a batch in each of a few rounds."""
    count = max(2, setting.sized(50_000, 8) // size)
    rounds = []
    for _ in range(setting.sized(5, 1)):
        wait(setting.device)
        start = time.perf_counter()
        for _ in range(count):
            next(stream)
        wait(setting.device)
        rounds.append((time.perf_counter() - start) / count)
    return rounds


def training_rates(setting: Setting, network: Network, size: int, mode: Mode) -> Finding:
    """Steps on batches from the store and on one batch that stays, in turns: their rates, and the one over the other.

    On a GPU the store must not be slower than AT_LEAST_OF_SYNTHETIC has it.
    """
    state = setting.state(network, "bf16")
    augmentation = Augmentation("gr", True, False, "bicubic", IMAGE_SIZE)
    store = batches(setting, augmentation, torch.bfloat16, compiled=True, size=size)
    first = next(store)
    given: dict[str, Batches] = {"store": store, "synthetic": Kept(first.images, first.labels)}
    ways = {way: (setting.stepper(state, "bf16", mode, stream, stream.take()), stream) for way, stream in given.items()}
    seconds: dict[str, list[float]] = {way: [] for way in ways}
    count = max(1, setting.sized(6_000, 4) // size)
    for turn in range(setting.sized(6, 2)):
        for way, (stepper, stream) in ways.items():
            wait(setting.device)
            start = time.perf_counter()
            for _ in range(count):
                stepper.step(stream.take(), 0.001)
            wait(setting.device)
            if turn:  # the first warms up
                seconds[way].append((time.perf_counter() - start) / count)
    rates = {way: size / statistics.median(times) for way, times in seconds.items()}
    pairs = zip(seconds["synthetic"], seconds["store"], strict=True)
    of_synthetic = statistics.median(synthetic / store for synthetic, store in pairs)
    bounds = (Bound("lost to synthetic input", 1 - of_synthetic, 1 - AT_LEAST_OF_SYNTHETIC),)
    figures: dict[str, Any] = {f"{way} images/s": round(rate, 1) for way, rate in rates.items()}
    figures |= {"of synthetic": of_synthetic, "seconds": seconds}
    return Finding(bounds if setting.device.type == "cuda" else (), figures)


def beside_dali(setting: Setting, augmentation: Augmentation, size: int) -> Finding:
    """Seconds a batch from the store and by DALI's pipeline, each alone."""
    try:
        from fastwsol.batches.dali_batches import DaliBatches
    except ImportError:
        return Finding(figures={"DALI": "not installed"})
    dali = DaliBatches(stream_of(setting, augmentation, size), setting.device, setting.threads)
    for _ in range(4):
        next(dali)
    stream = batches(setting, augmentation, torch.float32, True, size=size)
    next(stream)
    ours = statistics.median(_seconds_a_batch(stream, setting, size))
    count = setting.sized(24, 2)
    wait(setting.device)
    theirs = seconds_of(lambda: next(dali), setting.device, count)
    figures = {"store images/s": size / ours, "DALI images/s": size / statistics.median(theirs)}
    return Finding(figures=figures | {"over DALI": statistics.median(theirs) / ours})
