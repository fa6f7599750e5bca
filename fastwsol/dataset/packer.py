"""The packer: from a source to a folder of shards, each image decoded once on the way to judge and measure it."""

import math
from collections import Counter, deque
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path
from typing import NoReturn

import numpy as np

from fastwsol.config import Channels, Statistics
from fastwsol.dataset.checked_source import check_source, checked_records
from fastwsol.dataset.packing_journal import FinishedShard, Journal, Quarantined, schema_version_for
from fastwsol.dataset.shard_folder import make_folder, open_folder
from fastwsol.dataset.shard_writer import MAX_SHARD_BYTES, write_manifest, write_shards
from fastwsol.dataset.shards import QUARANTINE_NAME, Manifest, Row, ShardFile, SplitFiles
from fastwsol.host.errors import RunFailure, UserError
from fastwsol.host.files import sole_worker, write_json
from fastwsol.host.limits import usable_cores
from fastwsol.host.ticker import Ticker, image_ticker
from fastwsol.host.words import number_of
from fastwsol.sources import Fault, Record, Source
from fastwsol.sources.annotated import PUT_WHOLE
from fastwsol.sources.boxes import OVERHANG, lies_in
from fastwsol.sources.decode import TURNED, ImageFacts, is_damage, judge_images
from fastwsol.sources.mask_images import MASK_REMEDY, read_mask
from fastwsol.sources.tree import BadFile

# Records handed to a thread at once: enough that the hand-over (some 0.1 ms) does not show, and bounded in bytes so
# that memory is, too.
_CHUNK_RECORDS = 64
_CHUNK_BYTES = 8 * 2**20
# Chunks waiting or in work for each thread: none idles, and memory stays bounded.
_CHUNKS_A_WORKER = 3

_CONVERT = "convert it to a JPEG or PNG that can be packed, or remove image and line"


def pack(
    source: Source,
    out: Path | str,
    max_shard_bytes: int = MAX_SHARD_BYTES,
    workers: int | None = None,
    quarantine: bool = False,
    lossless: bool = False,
    tell: Callable[[str], None] = print,
) -> Manifest:
    """Pack every split of `source` into the folder `out` and return the manifest. A packing that was stopped goes on
    behind its last whole shard.

    workers: threads that decode; default all cores. The result depends neither on it nor on where an earlier packing
    was stopped. lossless: as of `judge_images`; tell: takes what there is to say of the images, once all are packed.
    Raises UserError for a bad image (with `quarantine`: for a split or class that has no other), a source that is not
    as `Source` and `Record` describe it, or an `out` that holds something else, RunFailure when writing fails.
    """
    check_source(source)
    out = Path(out)
    if not quarantine:
        _refuse_known_faults(source)
    try:
        make_folder(out)
        with sole_worker(out):
            journal = open_folder(out, source, max_shard_bytes, quarantine, lossless)
            packing = _Packing(source, out, journal, max_shard_bytes, quarantine, lossless)
            manifest = packing.run(workers or usable_cores())
    except OSError as error:
        raise RunFailure(
            f"{error.filename or out}: cannot be written ({error.strerror or error}); {out} is not usable yet: make "
            f"room or correct the permissions, then run the same command again"
        ) from None
    for note in packing.notes():
        tell(note)
    return manifest


class PixelMoments:
    """Exact sums over pixels, and the mean and standard deviation that follow, R, G, B in 0..255.

    Integers until the last division: neither the order of the images nor the number of workers can show.
    """

    def __init__(self) -> None:
        self.pixels = 0
        self.moments = np.zeros((2, 3), np.int64)

    def add(self, facts: ImageFacts) -> None:
        """Add an image."""
        self.pixels += facts.width * facts.height
        self.moments += facts.moments

    def add_shard(self, shard: FinishedShard) -> None:
        """Add the images of a finished shard."""
        self.pixels += shard.pixels
        self.moments += np.array(shard.moments, np.int64)

    def mean(self) -> Channels:
        """The mean of each channel."""
        red, green, blue = (total / self.pixels for total in self.moments[0].tolist())
        return red, green, blue

    def std(self) -> Channels:
        """The population standard deviation of each channel."""
        n = self.pixels
        red, green, blue = (
            math.sqrt((n * squares - total * total) / (n * n)) for total, squares in self.moments.T.tolist()
        )
        return red, green, blue


class _Packing:
    """A packing under way: its journal, and the images that the writer has and no finished shard holds yet."""

    def __init__(
        self, source: Source, out: Path, journal: Journal, max_shard_bytes: int, quarantine: bool, lossless: bool
    ) -> None:
        self._source, self._out, self._journal = source, out, journal
        self._max_shard_bytes, self._quarantine, self._lossless = max_shard_bytes, quarantine, lossless
        self._schema_version = schema_version_for(source)
        # By their index in the split; with the boxes that were cut.
        self._rows: deque[tuple[int, ImageFacts, int]] = deque()
        self._quarantined: deque[tuple[int, Quarantined]] = deque()

    def run(self, workers: int) -> Manifest:
        """Write what is missing of every split, the quarantine's list, and the manifest last."""
        splits = {}
        quarantined: list[Quarantined] = []
        pool = ThreadPoolExecutor(workers)
        try:
            for split in self._source.splits:
                self._write_split(split, pool, workers)
                shards = self._journal.of(split)
                bad = [each for shard in shards for each in shard.quarantined]
                bad += [each for _, each in self._quarantined]  # some only where the split has no row at all
                self._quarantined.clear()
                images = sum(each.shard.rows for each in shards)
                if images + len(bad) != self._source.count(split):  # the journal was a file that anyone could change
                    raise RunFailure(
                        f"{self._out}: {images:,} images of {split!r} packed and {len(bad):,} quarantined are not the "
                        f"source's {self._source.count(split):,}; delete the folder and pack anew"
                    )
                splits[split] = SplitFiles(images, tuple(each.shard for each in shards), len(bad))
                quarantined += bad
        finally:
            pool.shutdown(cancel_futures=True)
        if quarantined:
            write_json(self._out / QUARANTINE_NAME, [asdict(each) for each in quarantined])
            _refuse_emptied(self._source, quarantined, self._out)
        moments = PixelMoments()
        for shard in self._journal.of("train"):
            moments.add_shard(shard)
        manifest = Manifest(
            self._source.identity,
            self._source.classes,
            splits,
            Statistics(moments.mean(), moments.std()),
            self._schema_version,
        )
        write_manifest(self._out, manifest)
        self._journal.remove()
        return manifest

    def notes(self) -> list[str]:
        """What there is to say of the packed images: how many are not as they came, and boxes that were cut."""
        shards = [each for split in self._source.splits for each in self._journal.of(split)]
        changed = sum((Counter(each.changed) for each in shards), Counter())
        notes = [f"{number_of(count, 'image is', 'images are')} packed {how}" for how, count in changed.items()]
        if cut := sum(each.cut for each in shards):
            boxes = number_of(cut, "box", "boxes")
            notes.append(f"{boxes} reached up to {OVERHANG:g} pixels outside the image: cut at the edge")
        return notes

    def _write_split(self, split: str, pool: Executor, workers: int) -> None:
        """Write the shards of `split` that are missing."""
        finished = self._journal.of(split)
        start = finished[-1].stop if finished else 0
        first = len(finished)
        with image_ticker(split, self._source.count(split)) as ticker:
            rows = self._judged(split, start, pool, workers, ticker)
            for shard in write_shards(self._out, split, rows, self._max_shard_bytes, first, self._schema_version):
                entry = self._finish(split, start, shard)
                self._journal.add(entry)
                start = entry.stop

    def _facts(
        self, split: str, start: int, pool: Executor, workers: int
    ) -> Iterator[tuple[Record | Fault, ImageFacts | Fault | None]]:
        """Yield each record from index `start` on with what decoding it told, in order; None for a fault."""
        in_work: deque[tuple[list[Record | Fault], Future[list[ImageFacts | Fault]]]] = deque()
        for chunk in _chunks(checked_records(self._source, split, start)):
            records = [record for record in chunk if isinstance(record, Record)]
            in_work.append((chunk, pool.submit(_judge, records, self._source.upright, self._lossless)))
            if len(in_work) >= workers * _CHUNKS_A_WORKER:
                yield from _paired(*in_work.popleft())
        while in_work:
            yield from _paired(*in_work.popleft())

    def _judged(self, split: str, start: int, pool: Executor, workers: int, ticker: Ticker) -> Iterator[Row]:
        """Yield the rows of `split` from record `start` on, in the source's order, each image judged.

        A bad record is quarantined, or raises UserError.
        """
        labels = self._source.labels(split)
        for index, (record, facts) in enumerate(self._facts(split, start, pool, workers), start):
            ticker.update(index + 1)
            fault = record if isinstance(record, Fault) else facts if isinstance(facts, Fault) else None
            if fault is None:
                assert isinstance(record, Record)
                assert isinstance(facts, ImageFacts)
                packed = _as_packed(record, facts)
                self._rows.append((index, facts, _boxes_cut(record, packed)))
                yield Row(packed, facts.width, facts.height)
            elif self._quarantine:
                wnid = self._source.classes[labels[index]].wnid
                origin = self._source.origin(split, index, fault.box)
                self._quarantined.append((index, Quarantined(split, fault.name, wnid, fault.reason, origin)))
            else:
                _refuse(self._source, split, index, fault)

    def _finish(self, split: str, start: int, shard: ShardFile) -> FinishedShard:
        """The journal's entry for a shard just finished; the writer may have been handed more than it holds."""
        moments = PixelMoments()
        stop, cut = start, 0
        changed: Counter[str] = Counter()
        for _ in range(shard.rows):
            index, facts, cut_of_image = self._rows.popleft()
            moments.add(facts)
            changed[facts.how] += facts.instead is not None
            cut += cut_of_image
            stop = index + 1
        last = not self._rows
        if last:  # what was quarantined behind its rows belongs to it
            stop = self._source.count(split)
        bad = []
        while self._quarantined and self._quarantined[0][0] < stop:
            bad.append(self._quarantined.popleft()[1])
        fingerprint = self._source.fingerprint(split, start, stop)
        sums = moments.moments.tolist()
        ways = {how: count for how, count in changed.items() if count}
        return FinishedShard(split, shard, stop, last, fingerprint, moments.pixels, sums, tuple(bad), ways, cut)


def _refuse_known_faults(source: Source) -> None:
    for split in source.splits:
        for index, fault in source.known_faults(split).items():
            _refuse(source, split, index, fault)


def _refuse(source: Source, split: str, index: int, fault: Fault) -> NoReturn:
    where = source.origin(split, index, fault.box)
    raise UserError(
        f"{fault.name}: {fault.reason} ({where}); {fault.remedy}, or leave bad images out with --quarantine"
    )


def _refuse_emptied(source: Source, quarantined: list[Quarantined], out: Path) -> None:
    """Raise UserError where a split, or a class of those that are trained on, has lost all its images."""
    for split in source.splits:
        bad = Counter(each.wnid for each in quarantined if each.split == split)
        before = Counter(source.classes[label].wnid for label in source.labels(split))
        emptied = [wnid for wnid in before if bad[wnid] == before[wnid]]
        if emptied and (split == "train" or len(emptied) == len(before)):
            what = f"class {emptied[0]} in split {split!r}" if len(emptied) < len(before) else f"split {split!r}"
            raise UserError(
                f"{source.identity}: all images of {what} are bad, so nothing is left of it; see "
                f"{out / QUARANTINE_NAME}, mend the source and run the same command again"
            )


def _judge(records: list[Record], upright: bool, lossless: bool) -> list[ImageFacts | Fault]:
    """What decoding each record's image tells, or why the record cannot be packed."""
    judged = judge_images([record.image for record in records], upright, lossless)
    return [_fault(record, facts) or facts for record, facts in zip(records, judged, strict=True)]  # type: ignore[misc]


def _paired(
    chunk: list[Record | Fault], facts: Future[list[ImageFacts | Fault]]
) -> Iterator[tuple[Record | Fault, ImageFacts | Fault | None]]:
    of_records = iter(facts.result())
    for record in chunk:
        yield record, next(of_records) if isinstance(record, Record) else None


def _chunks(records: Iterator[Record | Fault]) -> Iterator[list[Record | Fault]]:
    chunk: list[Record | Fault] = []
    chunk_bytes = 0
    for record in records:
        chunk.append(record)
        chunk_bytes += len(record.image) + len(record.mask or b"") if isinstance(record, Record) else 0
        if len(chunk) == _CHUNK_RECORDS or chunk_bytes >= _CHUNK_BYTES:
            yield chunk
            chunk, chunk_bytes = [], 0
    if chunk:
        yield chunk


def _fault(record: Record, facts: ImageFacts | str) -> Fault | None:
    """Why a record cannot be packed, or None. facts: of its image, or why that is bad."""
    if isinstance(facts, str):
        return Fault(record.name, f"bad image, {facts}", PUT_WHOLE if is_damage(facts) else _CONVERT)
    width, height = facts.width, facts.height
    if record.size is not None and record.size != (width, height):
        turned = " once it is turned as its EXIF says" if facts.how == TURNED else ""
        said = f"its annotation says {record.size[0]}x{record.size[1]}"
        reason = f"the image has {width}x{height} pixels{turned}, and {said}"
        return Fault(
            record.name, reason, "bring boxes and size to its pixels, or put the image back that belongs there"
        )
    for number, (x0, y0, x1, y1) in enumerate(record.boxes.tolist()):
        if not lies_in((x0, y0, x1, y1), width, height):
            reason = f"box ({x0:g}, {y0:g}, {x1:g}, {y1:g}), half-open, reaches outside the "
            reason += f"{width}x{height} pixels or is empty"
            return Fault(record.name, reason, "correct the box", number)
    if record.mask is not None:
        try:
            read_mask(record.mask, None if record.mask_is_of_own_size else (width, height))
        except BadFile as error:
            turned = " (it is packed turned, as its EXIF says)" if facts.how == TURNED else ""
            return Fault(record.name, f"its mask {record.mask_name} {error}{turned}", MASK_REMEDY)
    return None


def _as_packed(record: Record, facts: ImageFacts) -> Record:
    """The record with its image in a form for all decoders, upright, and its boxes cut at the image's edges."""
    most = np.array([facts.width, facts.height, facts.width, facts.height], np.float32)
    image = record.image if facts.instead is None else facts.instead
    return replace(record, image=image, boxes=record.boxes.clip(0, most))


def _boxes_cut(record: Record, packed: Record) -> int:
    return int((record.boxes != packed.boxes).any(axis=1).sum())
