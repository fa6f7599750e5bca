"""The packer: from a source to a folder of shards, each image decoded once on the way to judge and measure it."""

import itertools
import math
import multiprocessing
import os
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fastwsol.command import parse_flags
from fastwsol.durable import sole_worker
from fastwsol.errors import Interrupted, RunFailure, UserError
from fastwsol.judge import Verdict, judge_images, start_worker
from fastwsol.shards import (
    MANIFEST_NAME,
    MAX_SHARD_BYTES,
    Manifest,
    Row,
    is_unfinished_work,
    read_manifest,
    write_manifest,
    write_split,
)
from fastwsol.sources import Record, Source
from fastwsol.sources.synthetic import Synthetic
from fastwsol.sources.tiny_imagenet import TinyImageNet

# Images handed to a worker at once: enough that the hand-over (some 0.1 ms) does not show.
_CHUNK_IMAGES = 64
# Chunks waiting or in work for each worker: none idles, and memory stays bounded.
_CHUNKS_A_WORKER = 3
# Below this many images the workers would take longer to start (about a second) than to do the work.
_IMAGES_WORTH_WORKERS = 4096
_SECONDS_BETWEEN_LINES = 2.0


@dataclass(frozen=True)
class PackFlags:
    """The packer's command line."""

    source: Path | None = None
    """Tiny ImageNet as folder or zip, or a folder that holds either (default: data/raw)"""
    out: Path = Path("data/shards")
    """the folder to pack into: new or empty"""
    classes: int | None = None
    """keep the first N classes of wnids.txt (default: all), or draw N synthetic ones"""
    synthetic: bool = False
    """pack the small generated set: a fixture to try the software with, never evidence"""


def main(arguments: Sequence[str]) -> int:
    """Pack as the flags say; exit status 0. Raises UserError, RunFailure or Interrupted."""
    flags = parse_flags(PackFlags, arguments, "scripts/pack.py", "Pack a data set into shards.")
    started = time.perf_counter()
    try:
        manifest = pack(_source(flags), flags.out)
    except KeyboardInterrupt:
        raise Interrupted(
            f"{flags.out}: not finished and not usable; the same command packs it from the start"
        ) from None
    _print_summary(manifest, flags.out, time.perf_counter() - started)
    return 0


def pack(source: Source, out: Path, max_shard_bytes: int = MAX_SHARD_BYTES, workers: int | None = None) -> Manifest:
    """Pack every split of `source` into the folder `out` and give its manifest.

    workers: processes that decode; default all cores, or this process alone when that is faster. The result does not
    depend on it. Raises UserError for a bad image or an `out` that holds something, RunFailure when writing fails.
    """
    for split in source.splits:
        if source.count(split) == 0:
            raise UserError(f"{source.identity}: split {split!r} has no images; check the annotations or --classes")
    if workers is None:
        worth_it = sum(source.count(split) for split in source.splits) >= _IMAGES_WORTH_WORKERS
        workers = _usable_cores() if worth_it else 1
    try:
        _make_folder(out)
        with sole_worker(out):
            _clear_folder(out, source)
            manifest = _write(source, out, max_shard_bytes, workers)
    except BrokenProcessPool:
        raise RunFailure("a decoding process died, perhaps for want of memory; run the same command again") from None
    except OSError as error:
        raise RunFailure(
            f"{error.filename or out}: cannot be written ({error.strerror or error}); {out} is not usable yet: make "
            f"room or correct the permissions, then run the same command again"
        ) from None
    return manifest


def _write(source: Source, out: Path, max_shard_bytes: int, workers: int) -> Manifest:
    """Write every split of `source` as shards into the empty folder `out`, and the manifest last."""
    moments = PixelMoments()
    splits = {}
    with _worker_pool(workers) as pool:
        for split in source.splits:
            rows = _judged(source, split, pool, workers, moments if split == "train" else PixelMoments())
            shown = _with_progress(rows, split, source.count(split))
            splits[split] = write_split(out, split, shown, max_shard_bytes)
    manifest = Manifest(source.identity, source.classes, splits, moments.mean(), moments.std())
    write_manifest(out, manifest)
    return manifest


class PixelMoments:
    """Exact sums over pixels, and the mean and standard deviation that follow, R, G, B in 0..255.

    Integers until the last division: neither the order of the images nor the number of workers can show.
    """

    def __init__(self) -> None:
        self.pixels = 0
        self.moments = np.zeros((2, 3), np.int64)

    def add(self, verdict: Verdict) -> None:
        """Add the good images of a verdict."""
        self.pixels += sum(width * height for width, height in verdict.sizes)
        self.moments += verdict.moments

    def mean(self) -> tuple[float, float, float]:
        """The mean of each channel."""
        red, green, blue = (total / self.pixels for total in self.moments[0].tolist())
        return red, green, blue

    def std(self) -> tuple[float, float, float]:
        """The population standard deviation of each channel."""
        n = self.pixels
        red, green, blue = (
            math.sqrt((n * squares - total * total) / (n * n)) for total, squares in self.moments.T.tolist()
        )
        return red, green, blue


def _source(flags: PackFlags) -> Source:
    if not flags.synthetic:
        return TinyImageNet(Path("data/raw") if flags.source is None else flags.source, flags.classes)
    if flags.source is not None:
        raise UserError(f"--source {flags.source}: --synthetic draws its images itself; give one of the two")
    return Synthetic() if flags.classes is None else Synthetic(class_count=flags.classes)


def _usable_cores() -> int:
    # Affinity knows of a container's or a batch system's share; not every system has it.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _make_folder(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file; give a folder with --out")
    out.mkdir(parents=True, exist_ok=True)


def _clear_folder(out: Path, source: Source) -> None:
    """Remove what an unfinished packing left in `out`, or refuse: what is finished or not ours is never touched."""
    names = sorted(entry.name for entry in out.iterdir())
    if MANIFEST_NAME in names:
        manifest, _ = read_manifest(out)
        same = (manifest.source, manifest.classes) == (source.identity, source.classes)
        state = "is packed already, and whole" if same else "holds another data set"
        raise UserError(
            f"{out}: {state} ({manifest.source}, {_contents(manifest)}); nothing was changed, to pack "
            f"{source.identity} with {len(source.classes)} classes use --out OTHER"
        )
    foreign = [name for name in names if not is_unfinished_work(name)]
    if foreign:
        raise UserError(
            f"{out}: holds {foreign[0]!r}, which packing did not write; give a new or empty folder with --out"
        )
    if names:
        print(f"{out}: an earlier packing did not finish; its {len(names)} files are replaced", file=sys.stderr)
    for name in names:
        (out / name).unlink()


def _judged(source: Source, split: str, pool: Executor | None, workers: int, moments: PixelMoments) -> Iterator[Row]:
    """Yield the rows of `split` in the source's order, each image judged; `moments` takes in their pixels.

    Raises UserError at the first image that is bad or does not hold its boxes.
    """
    index = 0
    chunks = _chunks(source.records(split), _CHUNK_IMAGES)
    for records, verdict in _verdicts(chunks, pool, workers):
        for record, (width, height) in zip(records, verdict.sizes, strict=False):
            _check_boxes(source, split, index, record, width, height)
            yield Row(record, width, height)
            index += 1
        if verdict.fault is not None:
            bad = records[len(verdict.sizes)]
            raise UserError(
                f"{bad.name}: bad image, {verdict.fault} ({source.origin(split, index)}); put a whole copy in its "
                f"place, or remove the image and that line"
            )
        moments.add(verdict)


def _verdicts(
    chunks: Iterable[list[Record]], pool: Executor | None, workers: int
) -> Iterator[tuple[list[Record], Verdict]]:
    """Yield each chunk with its verdict, in order; without a pool this process judges."""
    if pool is None:
        for chunk in chunks:
            yield chunk, judge_images([record.image for record in chunk])
        return
    in_work: deque[tuple[list[Record], Future[Verdict]]] = deque()
    for chunk in chunks:
        in_work.append((chunk, pool.submit(judge_images, [record.image for record in chunk])))
        if len(in_work) >= workers * _CHUNKS_A_WORKER:
            oldest, verdict = in_work.popleft()
            yield oldest, verdict.result()
    for chunk, verdict in in_work:
        yield chunk, verdict.result()


def _worker_pool(workers: int) -> AbstractContextManager[Executor | None]:
    """Processes that judge images. Not threads: for small images Pillow's share under the interpreter lock is most of
    the work, and two threads were no faster than one (7,000 against 14,000 images/s with two processes).
    """
    if workers == 1:
        return nullcontext()
    # A forked child inherits this process's locks as they stand; a spawned one starts clean.
    return ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), start_worker)


def _chunks(records: Iterator[Record], size: int) -> Iterator[list[Record]]:
    while chunk := list(itertools.islice(records, size)):
        yield chunk


def _check_boxes(source: Source, split: str, index: int, record: Record, width: int, height: int) -> None:
    for x0, y0, x1, y1 in record.boxes.tolist():
        if not (0 <= x0 < x1 <= width and 0 <= y0 < y1 <= height):
            raise UserError(
                f"{source.origin(split, index)}: box ({x0:g}, {y0:g}, {x1:g}, {y1:g}), half-open, reaches outside the "
                f"{width}x{height} pixels of {record.name} or is empty; correct the box"
            )


def _with_progress(rows: Iterable[Row], split: str, count: int) -> Iterator[Row]:
    """Pass `rows` on and say now and then how far it got: one line kept up to date on a terminal, else one after
    another.
    """
    on_terminal = sys.stderr.isatty()
    started = last = 0.0
    for done, row in enumerate(rows, start=1):
        if done == 1:  # the workers have started, which says nothing about the rate
            started = last = time.perf_counter()
        yield row
        now = time.perf_counter()
        if now - last >= _SECONDS_BETWEEN_LINES or (on_terminal and done == count):
            last = now
            rate = done / max(now - started, 1e-6)
            line = f"{split}  {done:,} of {count:,} images  {rate:,.0f} images/s  {(count - done) / rate:.0f} s left"
            print(
                f"\r\x1b[K{line}" if on_terminal else line, end="" if on_terminal else "\n", file=sys.stderr, flush=True
            )
    if on_terminal:
        print(file=sys.stderr)


def _print_summary(manifest: Manifest, out: Path, seconds: float) -> None:
    shards = [shard for split in manifest.splits.values() for shard in split.shards]
    images = sum(split.images for split in manifest.splits.values())
    mean, std = (", ".join(f"{value:.2f}" for value in values) for values in (manifest.mean, manifest.std))
    print(f"{out}: {manifest.source}, {_contents(manifest)}")
    print(f"{len(shards)} shards, {sum(shard.bytes for shard in shards) / 2**20:,.1f} MiB")
    print(f"{seconds:.1f} s, {images / seconds:,.0f} images/s")
    print(f"train pixels (R, G, B of 255): mean {mean}; std {std}")


def _contents(manifest: Manifest) -> str:
    images = ", ".join(f"{split.images:,} {name}" for name, split in manifest.splits.items())
    return f"{len(manifest.classes)} classes, {images} images"
