"""The folder that a packing writes into: new, or with what the same packing left there; anything else is refused."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from fastwsol.dataset.packing_journal import Journal, is_unfinished_work
from fastwsol.dataset.shards import JOURNAL_NAME, MANIFEST_NAME, Manifest, read_manifest
from fastwsol.host.errors import UserError
from fastwsol.host.files import PARTIAL_SUFFIX
from fastwsol.host.words import number_of
from fastwsol.sources import Source


def make_folder(out: Path) -> None:
    """Make the folder where there is none. Raises UserError where a file is in its place."""
    if out.exists() and not out.is_dir():
        raise UserError(f"{out}: is a file; give a folder with --out")
    out.mkdir(parents=True, exist_ok=True)


def open_folder(out: Path, source: Source, max_shard_bytes: int, quarantine: bool, lossless: bool = False) -> Journal:
    """The journal to go on with, in a folder that holds nothing else than its shards.

    max_shard_bytes: the most that a shard may hold. quarantine: whether bad images are quarantined. lossless: whether
    images encoded anew lose nothing. Raises UserError where `out` holds anything but an unfinished packing of `source`:
    that is never touched.
    """
    names = sorted(entry.name for entry in out.iterdir())
    if MANIFEST_NAME in names:
        _refuse_finished(out, source)
    new = Journal.begin(out, source, max_shard_bytes, lossless)
    earlier = Journal.read(out)
    ours = is_unfinished_work if earlier is not None else (JOURNAL_NAME + PARTIAL_SUFFIX).__eq__
    foreign = [name for name in names if not ours(name)]
    if foreign:
        raise UserError(
            f"{out}: holds {foreign[0]!r}, which packing did not write; give a new or empty folder with --out"
        )
    if earlier is not None:
        _refuse_other_work(earlier, new, quarantine, source.splits)
        new.finished = earlier.still_true(source)
        _say_what_is_kept(out, source, new, earlier)
    file_names = {each.shard.file for each in new.finished} | {JOURNAL_NAME}
    for name in names:
        if name not in file_names:
            (out / name).unlink()
    new.write()
    return new


def _refuse_finished(out: Path, source: Source) -> NoReturn:
    manifest, _ = read_manifest(out)
    (out / JOURNAL_NAME).unlink(missing_ok=True)  # of a process killed between writing the one and removing the other
    same = (manifest.source, manifest.classes) == (source.identity, source.classes)
    state = "holds another data set"
    if same:
        bad = sum(split.quarantined for split in manifest.splits.values())
        state = f"is packed already, {bad:,} bad images quarantined" if bad else "is packed already, and whole"
        there = bad + sum(split.images for split in manifest.splits.values())
        if (now := sum(source.count(split) for split in source.splits)) != there:
            state = f"is packed already, of {there:,} images where the source has {now:,} now"
    classes = number_of(len(source.classes), "class", "classes")
    raise UserError(
        f"{out}: {state} ({manifest.source}, {contents(manifest)}); nothing was changed, to pack "
        f"{source.identity} with {classes}{' once more' if same else ''} use --out OTHER, and "
        f"train with --shards OTHER"
    )


def _refuse_other_work(earlier: Journal, new: Journal, quarantine: bool, splits: Sequence[str]) -> None:
    """Raise UserError where the shards of the earlier packing cannot be part of the new one's data set."""
    if earlier.work != new.work:
        source, classes = earlier.work.get("source"), earlier.work.get("classes", ())
        what = f"{source} with {number_of(len(classes), 'class', 'classes')}"
        if (source, classes) == (new.work["source"], new.work["classes"]):
            what = "another version of this program"
            if earlier.work | {"lossless": None} == new.work | {"lossless": None}:
                what = f"{source} {'with' if 'lossless' in earlier.work else 'without'} --lossless"
            elif earlier.work | {"schema_version": None} == new.work | {"schema_version": None}:
                more = earlier.work["schema_version"] > new.work["schema_version"]
                what = f"{source} {'with' if more else 'without'} masks (--masks) or boxes of other classes (--boxes)"
        raise UserError(
            f"{earlier.folder}: holds an unfinished packing of {what}; finish that with its own command, delete the "
            f"folder, or give another with --out"
        )
    if more := sorted({each.split for each in earlier.finished} - {*splits}):
        raise UserError(
            f"{earlier.folder}: holds an unfinished packing of {', '.join(more)} too; finish that with its own "
            f"command, delete the folder, or give another with --out"
        )
    bad = sum(len(each.quarantined) for each in earlier.finished)
    if bad and not quarantine:
        raise UserError(
            f"{earlier.folder}: holds an unfinished packing with --quarantine, {bad:,} images quarantined so far; give "
            f"it again to continue, or another folder with --out"
        )


def _say_what_is_kept(out: Path, source: Source, journal: Journal, earlier: Journal) -> None:
    dropped = len(earlier.finished) - len(journal.finished)
    images = sum({each.split: each.stop for each in journal.finished}.values())
    total = sum(source.count(split) for split in source.splits)
    where = f"continues at image {images + 1:,} of {total:,}" if images else "begins anew: no shard of it can be kept"
    why = f"; as they or their images changed since, {dropped} of its shards are packed anew" if dropped else ""
    print(f"{out}: an earlier packing did not finish; {where}{why}", file=sys.stderr)


def finished_shards(out: Path) -> int:
    """How many shards an unfinished packing has left in `out`."""
    journal = Journal.read(out) if out.is_dir() else None
    return len(journal.finished) if journal is not None else 0


def contents(manifest: Manifest) -> str:
    """What a data set holds, in words."""
    images = ", ".join(f"{split.images:,} {name}" for name, split in manifest.splits.items())
    return f"{number_of(len(manifest.classes), 'class', 'classes')}, {images} images"
