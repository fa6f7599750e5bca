"""Phase `pipeline`: images a second of DALI's batches, and of a training that is fed by them."""

import itertools
import statistics
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

from acceptance.record import Check, Finding
from acceptance.setting import IMAGE_SIZE, SEED, Setting, opened, seconds_of, wait
from fastwsol.batches.dali_batches import DaliBatches
from fastwsol.batches.image_checksums import Decoding
from fastwsol.batches.stream import Stream, training_plan
from fastwsol.config import Augmentation
from fastwsol.training.step import train_step


@dataclass(frozen=True)
class Feed:
    """How batches are made."""

    batch_size: int = 256
    aug: Any = "gr"
    resampler: Any = "bicubic"
    decoding: Decoding = "host"
    threads: int = 8

    def __str__(self) -> str:
        return f"{self.batch_size}, {self.aug}, {self.resampler}, {self.decoding}, {self.threads} threads"


def checks(setting: Setting) -> list[Check]:
    """The usual feed, whole trainings, then every combination."""
    if setting.dry_run:
        usual = Feed(4, threads=1)
        feeds = [usual, Feed(4, "gr-hns", "bilinear", threads=1)]
    else:
        usual = Feed(threads=16)
        axes = ((256, 1024, 32), ("gr", "gr-hns"), ("bicubic", "bilinear"), ("host", "mixed"), (16, 8, 4))
        feeds = [Feed(*values) for values in itertools.product(*axes)]  # type: ignore[arg-type]
        feeds.sort(key=lambda feed: sum(a != b for a, b in zip(_values(feed), _values(usual), strict=True)))
    of_phase = [Check(f"batches, {usual}", partial(feed_rate, setting, usual))]
    for compiled, seconds in ((False, 10), (True, 60)):
        how = "compiled" if compiled else "eager"
        run = partial(training_rate, setting, usual, compiled)
        of_phase.append(Check(f"training, {how}, {setting.networks[0]}, {usual}", run, seconds))
    return [*of_phase, *(Check(f"batches, {feed}", partial(feed_rate, setting, feed), 3) for feed in feeds[1:])]


def _values(feed: Feed) -> tuple[Any, ...]:
    return feed.batch_size, feed.aug, feed.resampler, feed.decoding, feed.threads


def batches(setting: Setting, feed: Feed) -> DaliBatches:
    """The training batches of the shards, made as `feed` says."""
    data = opened(setting.shards)
    split, size = data.splits["train"], feed.batch_size
    augmentation = Augmentation(feed.aug, True, False, feed.resampler, IMAGE_SIZE)
    plan = training_plan(SEED, len(split), size)
    stream = Stream(split, plan, size, augmentation, SEED, data.manifest.statistics)
    return DaliBatches(stream, setting.device, feed.threads, decoding=feed.decoding)


def feed_rate(setting: Setting, feed: Feed) -> Finding:
    """Images a second with nothing else to do, by the host's clock."""
    rounds = _seconds_a_batch(batches(setting, feed), setting)
    return Finding(figures={"images/s": round(feed.batch_size / statistics.median(rounds), 1), "seconds": rounds})


def _seconds_a_batch(stream: DaliBatches, setting: Setting) -> list[float]:
    """Seconds a batch in each of a few rounds; what was made ahead goes before."""
    for _ in range(5):
        next(stream)
    count = setting.sized(24, 2)
    rounds = []
    for _ in range(setting.sized(5, 1)):
        wait(setting.device)
        start = time.perf_counter()
        for _ in range(count):
            next(stream)
        wait(setting.device)
        rounds.append((time.perf_counter() - start) / count)
    return rounds


def training_rate(setting: Setting, feed: Feed, compiled: bool) -> Finding:
    """Images a second of pipeline and step together, beside each alone: the slower one is the most there could be."""
    state = setting.state(setting.networks[0], "bf16")
    loss_of = setting.loss(state, "bf16", compiled)
    images, labels = setting.batch(feed.batch_size)
    repeats = setting.sized(5, 1)
    alone = statistics.median(
        seconds_of(lambda: train_step(state, loss_of, images, labels, 0.01), setting.device, repeats)
    )
    stream = batches(setting, feed)
    seconds_a_batch = statistics.median(_seconds_a_batch(stream, setting))

    def step() -> None:
        batch = next(stream)
        train_step(state, loss_of, batch.images, batch.labels, 0.01)

    together = []
    for _ in range(repeats):
        wait(setting.device)
        start = time.perf_counter()
        count = setting.sized(24, 2)
        for _ in range(count):
            step()
        wait(setting.device)
        together.append((time.perf_counter() - start) / count)
    size, seconds = feed.batch_size, statistics.median(together)
    return Finding(
        figures={
            "images/s": round(size / seconds, 1),
            "of the slower alone": max(alone, seconds_a_batch) / seconds,
            "step alone images/s": round(size / alone, 1),
            "batches alone images/s": round(size / seconds_a_batch, 1),
            "seconds": together,
        }
    )
