"""The journal of a packing: what its finished shards hold, so that the same command goes on behind them.

It lies in the shard folder as packing.json from before the first shard until the manifest is there, and is rewritten
durably after each shard. It is no part of the data set. Where it lies, the packer may remove the other files of the
folder.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from fastwsol.dataset.shard_writer import is_shard_name
from fastwsol.dataset.shards import JOURNAL_NAME, MANIFEST_NAME, QUARANTINE_NAME, ShardFile
from fastwsol.host.errors import UserError
from fastwsol.host.files import PARTIAL_SUFFIX, write_bytes
from fastwsol.sources import Source


def schema_version_for(source: Source) -> int:
    """The schema that a source's shards are written in: the first that can hold what it knows."""
    return 2 if source.beyond_boxes else 1


_FORMAT_VERSION = 1
_ELSEWHERE = "delete the folder if it holds nothing you want, or give another with --out"


@dataclass(frozen=True)
class Quarantined:
    """One image that was quarantined: which, of which class, why, and where its annotation stands."""

    split: str
    name: str
    wnid: str
    reason: str
    origin: str


@dataclass(frozen=True)
class FinishedShard:
    """A shard that lies whole on disk, and what it took from the source: its split's records up to index `stop`.

    last: whether no row of the split came after it; fingerprint: `Source.fingerprint` of those records, from where the
    shard before ended; pixels, moments: of its images, as in `PixelMoments`; quarantined: what was quarantined among
    those records; changed: how many of its images were packed otherwise than they came, by how; cut: how many of their
    boxes were cut at the image's edge.
    """

    split: str
    shard: ShardFile
    stop: int
    last: bool
    fingerprint: str
    pixels: int
    moments: list[list[int]]
    quarantined: tuple[Quarantined, ...]
    changed: dict[str, int] = field(default_factory=dict)
    cut: int = 0


@dataclass
class Journal:
    """What is being packed, and the shards that are finished, in order.

    An equal `work` means that its shards can be part of the same data set: source and classes.
    """

    folder: Path
    work: dict[str, Any]
    finished: list[FinishedShard]
    _lines: list[str] = field(default_factory=list, repr=False, compare=False)
    """Of `finished`, those that were written, as JSON."""

    @staticmethod
    def begin(folder: Path, source: Source, max_shard_bytes: int, lossless: bool = False) -> "Journal":
        """An empty journal of packing `source` into `folder`."""
        work = {
            "source": source.identity,
            "classes": [one.wnid for one in source.classes],
            "schema_version": schema_version_for(source),
            "max_shard_bytes": max_shard_bytes,
            **({"lossless": True} if lossless else {}),  # a journal of before the option has no such key
        }
        return Journal(folder, work, [])

    @staticmethod
    def read(folder: Path) -> "Journal | None":
        """The journal in `folder`, or None. Raises UserError for one that this program did not write."""
        path = folder / JOURNAL_NAME
        try:
            fields = json.loads(path.read_bytes())
            if fields["format_version"] == _FORMAT_VERSION:
                return Journal(folder, dict(fields["work"]), [_finished_shard(each) for each in fields["finished"]])
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = f"{type(error).__name__}: {error}"
            raise UserError(f"{path}: no journal of a packing ({reason}); {_ELSEWHERE}") from None
        raise UserError(f"{path}: written by another version of this program; {_ELSEWHERE}")

    def add(self, shard: FinishedShard) -> None:
        """Note a finished shard, durably."""
        self.finished.append(shard)
        self.write()

    def write(self) -> None:
        """Write the journal as it stands, durably: JSON, with a line for each shard, which is encoded once."""
        self._lines += [json.dumps(asdict(each)) for each in self.finished[len(self._lines) :]]
        begin = json.dumps({"format_version": _FORMAT_VERSION, "work": self.work}).removesuffix("}")
        finished = ",\n".join(self._lines)
        write_bytes(self.folder / JOURNAL_NAME, f'{begin}, "finished": [\n{finished}\n]}}\n'.encode())

    def of(self, split: str) -> list[FinishedShard]:
        """The finished shards of `split`."""
        return [each for each in self.finished if each.split == split]

    def still_true(self, source: Source) -> list[FinishedShard]:
        """The finished shards that can be kept: their files are as they were written, and their records are unchanged.
        The list ends before the first shard that changed, since later shards depend on where it ended.
        """
        whole_shards: list[FinishedShard] = []
        starts = dict.fromkeys(source.splits, 0)
        for each in self.finished:
            start, count = starts[each.split], source.count(each.split)
            # The last shard of a split ends where the records do; with more of them it would have held more.
            if each.stop > count or each.last != (each.stop == count):
                break
            if source.fingerprint(each.split, start, each.stop) != each.fingerprint or not self._is_whole(each.shard):
                break
            starts[each.split] = each.stop
            whole_shards.append(each)
        return whole_shards

    def remove(self) -> None:
        """Remove the journal from the folder."""
        (self.folder / JOURNAL_NAME).unlink(missing_ok=True)

    def _is_whole(self, shard: ShardFile) -> bool:
        try:
            with (self.folder / shard.file).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == shard.sha256
        except OSError:
            return False


def is_unfinished_work(file_name: str) -> bool:
    """Whether a packing that was stopped before its manifest may have left a file of this name beside its journal."""
    final_name = file_name.removesuffix(PARTIAL_SUFFIX)
    if final_name == MANIFEST_NAME:
        return final_name != file_name
    return is_shard_name(final_name) or final_name in (JOURNAL_NAME, QUARANTINE_NAME)


def _finished_shard(fields: dict[str, Any]) -> FinishedShard:
    shard = ShardFile(**fields["shard"])
    quarantined = tuple(Quarantined(**each) for each in fields["quarantined"])
    return FinishedShard(**{**fields, "shard": shard, "quarantined": quarantined})
