"""Shards: a packed data set on disk, and its verified, memory-mapped reader. `shard_writer` writes them.

    folder/
      train-00000.arrow ...   Arrow IPC files, uncompressed, at most 64 MiB each, never rewritten in place
      val-00000.arrow ...
      quarantine.json         the images that were quarantined, where there were any
      manifest.json           written last: without it there is no data set

A row is `name, image, width, height, label, boxes`: the image is the encoded file as it came, or anew where decoders
would differ about it or it had to be turned; boxes are in float32 x0, y0, x1, y1,
half-open edges in the image's own pixels. Schema 2, which is written where a source knows more than boxes of the
images' own classes, adds `box_labels, box_difficult` in step with the boxes, and `mask`, a PNG (`mask_images`) or null.
But for the paths that quarantine.json names, nothing in any file depends on the time or the machine: the same input
packs to the same bytes.
"""

import contextlib
import copy
import errno
import hashlib
import json
import math
import mmap
import resource
import shlex
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from fastwsol.config import Channels, Statistics, as_channels
from fastwsol.dataset.ragged_boxes import Objects, offsets_of
from fastwsol.host.errors import UserError, first_line
from fastwsol.sources import Class, Record
from kernels.compiling import njit

SCHEMA_VERSIONS = (1, 2)
MANIFEST_NAME = "manifest.json"
QUARANTINE_NAME = "quarantine.json"
JOURNAL_NAME = "packing.json"
"""There while a packing is not finished."""

_COLUMNS = (
    pa.field("name", pa.string(), nullable=False),
    pa.field("image", pa.binary(), nullable=False),
    pa.field("width", pa.int32(), nullable=False),
    pa.field("height", pa.int32(), nullable=False),
    pa.field("label", pa.int64(), nullable=False),
    pa.field("boxes", pa.list_(pa.list_(pa.float32(), 4)), nullable=False),
)
_COLUMNS_OF_2 = (
    pa.field("box_labels", pa.list_(pa.int64()), nullable=False),
    pa.field("box_difficult", pa.list_(pa.bool_()), nullable=False),
    pa.field("mask", pa.binary()),
)


def schema(version: int) -> pa.Schema:
    """The columns of a shard of a schema version."""
    columns = _COLUMNS if version == 1 else _COLUMNS + _COLUMNS_OF_2
    return pa.schema(columns, metadata={"fastwsol_schema_version": str(version)})


class Row(NamedTuple):
    """A record whose image has been decoded once, and so has a known size in pixels."""

    record: Record
    width: int
    height: int


@dataclass(frozen=True)
class ShardFile:
    """One shard as the manifest knows it."""

    file: str
    rows: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class SplitFiles:
    """One split as the manifest knows it: how many images, the shards that hold them, in order, and how many images
    of the source were quarantined.
    """

    images: int
    shards: tuple[ShardFile, ...]
    quarantined: int = 0


@dataclass(frozen=True)
class Manifest:
    """What a packed data set is. `statistics`: of the train pixels, every pixel weighing one; `schema_version`: of its
    shards.
    """

    source: str
    classes: tuple[Class, ...]
    splits: dict[str, SplitFiles]
    statistics: Statistics
    schema_version: int = 1


class Split:
    """One split of a packed data set, read through its mapped shards.

    labels: int64 [N]; widths, heights: int32 [N], pixels; boxes: float32 [M, 4], the ground-truth boxes of all images
    end to end, those of an image's own class that are not difficult; box_offsets: int64 [N + 1], image i has
    boxes[box_offsets[i] : box_offsets[i + 1]]; objects: every box with its class; packed_name, rows: the split as
    part of which it was packed, and where each image stands in that, int64 [N]. Safe to share between threads.
    """

    def __init__(self, name: str, shards: "list[_MappedShard]"):
        self.name = self.packed_name = name
        self.labels = _join([shard.labels for shard in shards], np.int64)
        self.widths = _join([shard.widths for shard in shards], np.int32)
        self.heights = _join([shard.heights for shard in shards], np.int32)
        box_counts = _join([shard.box_counts for shard in shards], np.int64)
        self.objects = Objects(
            _join([shard.boxes for shard in shards], np.float32).reshape(-1, 4),
            _join([shard.box_labels for shard in shards], np.int64),
            _join([shard.box_difficult for shard in shards], np.bool_),
            offsets_of(box_counts),
        )
        self.boxes, self.box_offsets = self.objects.truths(self.labels)
        self.rows = np.arange(len(self.labels))
        self._mappings = [shard.mapping for shard in shards]
        self._files = [shard.file for shard in shards]
        self._shard_of_row = np.repeat(np.arange(len(shards), dtype=np.int32), [len(shard.labels) for shard in shards])
        self._images = _Spans.join([shard.images for shard in shards])
        self._names = _Spans.join([shard.names for shard in shards])
        self._masks = _Spans.join([shard.masks for shard in shards])

    def __len__(self) -> int:
        return len(self.labels)

    def subset(self, name: str, ids: NDArray[np.int64]) -> "Split":
        """The rows `ids` as a split of their own, numbered anew from 0; it reads through the same mapped shards."""
        part = copy.copy(self)
        part.name = name
        part.labels, part.widths, part.heights = self.labels[ids], self.widths[ids], self.heights[ids]
        part.rows = self.rows[ids]
        part.objects = self.objects.of_rows(ids)
        part.boxes, part.box_offsets = part.objects.truths(part.labels)
        part._shard_of_row = self._shard_of_row[ids]
        part._images, part._names = self._images.of_rows(ids), self._names.of_rows(ids)
        part._masks = self._masks.of_rows(ids)
        return part

    @property
    def image_bytes(self) -> NDArray[np.int64]:
        """The lengths of the encoded images: [N]."""
        return self._images.lengths

    @property
    def has_mask(self) -> NDArray[np.bool_]:
        """Which images have a mask: [N]."""
        return self._masks.lengths > 0

    def mask(self, index: int) -> bytes | None:
        """The mask of row `index`, a PNG (`mask_images.read_mask` reads it), or None. Raises as `image` does."""
        return self._bytes(self._masks, int(index)) or None

    def names(self, ids: Iterable[int]) -> list[str]:
        """The names of rows `ids`, in the order asked."""
        return [self._bytes(self._names, int(index)).decode() for index in ids]

    def image(self, index: int) -> bytes:
        """The encoded image of row `index`, as it was packed. Raises IndexError outside 0..N-1."""
        return self._bytes(self._images, int(index))

    def gather(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.uint8] | list[NDArray[np.uint8]], NDArray[np.int64]]:
        """The encoded images of rows `ids` [B]: uint8 [B, longest], each row padded with zeros, and lengths int64 [B].
        Where one is so long that the padding would take more than `_MOST_PADDED` bytes: B arrays, each as it is.

        All are fresh arrays. Raises IndexError when an id lies outside 0..N-1.
        """
        ids = np.ascontiguousarray(ids, np.int64)
        if ids.size and (ids.min() < 0 or ids.max() >= len(self)):
            raise IndexError(f"ids {ids.min()}..{ids.max()} reach outside the {len(self)} images of {self.name!r}")
        starts, lengths = self._images.starts[ids], self._images.lengths[ids]
        longest = int(lengths.max(initial=0))
        if len(ids) * longest > _MOST_PADDED:
            return [np.frombuffer(self.image(index), np.uint8) for index in ids.tolist()], lengths
        images = np.empty((len(ids), longest), np.uint8)
        shards = self._shard_of_row[ids]
        for shard in np.unique(shards):
            _copy_rows(self._files[shard], starts, lengths, np.flatnonzero(shards == shard), images)
        return images, lengths

    @contextlib.contextmanager
    def read_here_and_there(self) -> Iterator[None]:
        """Have the system read of the shards what is asked for, and nothing ahead."""
        self._advise(mmap.MADV_RANDOM)
        try:
            yield
        finally:
            self._advise(mmap.MADV_NORMAL)

    def _advise(self, how: int) -> None:
        for mapping in self._mappings:
            if isinstance(mapping, mmap.mmap):  # an empty file has no mapping
                mapping.madvise(how)

    def image_ends(self, index: int, count: int) -> bytes:
        """The first and the last `count` bytes of the encoded image of row `index`."""
        start, length = self._images.starts[index], self._images.lengths[index]
        file = self._files[self._shard_of_row[index]]
        return bytes(file[start : start + min(count, length)]) + bytes(
            file[start + max(0, length - count) : start + length]
        )

    def _bytes(self, spans: "_Spans", index: int) -> bytes:
        if not 0 <= index < len(self):
            raise IndexError(f"{index} is outside the {len(self)} images of {self.name!r}")
        start, length = spans.starts[index], spans.lengths[index]
        return self._files[self._shard_of_row[index]][start : start + length].tobytes()


_MOST_PADDED = 2**26
"""Bytes of a batch of encoded images that are padded: one photograph of 30 MB among 256 would make gigabytes."""


@dataclass(frozen=True, eq=False)
class Shards:
    """A packed data set, open for reading. `digest`: SHA-256 of the manifest, which names every shard by its own."""

    folder: Path
    manifest: Manifest
    digest: str
    splits: dict[str, Split]


_HASHED_AT_ONCE = 8


def open_shards(folder: Path | str, verify: bool = True) -> Shards:
    """Open the data set in `folder`; with `verify`, every shard is hashed before it is parsed.

    Raises UserError, naming the file and the remedy, when there is no manifest, its schema version is unknown, or a
    shard is missing or is not the one that was packed.
    """
    folder = Path(folder)
    manifest, digest = read_manifest(folder)
    _allow_open_files(sum(len(split.shards) for split in manifest.splits.values()))
    pool = ThreadPoolExecutor(_HASHED_AT_ONCE)  # hashing holds no lock of Python's
    try:
        opened = {
            name: [
                pool.submit(_open_shard, folder / shard.file, shard, manifest.schema_version, verify)
                for shard in split.shards
            ]
            for name, split in manifest.splits.items()
        }
        splits = {name: Split(name, [each.result() for each in shards]) for name, shards in opened.items()}
    finally:
        pool.shutdown(cancel_futures=True)  # a shard that is missing, or Ctrl-C, does not wait for all the others
    return Shards(folder, manifest, digest, splits)


def read_manifest(folder: Path) -> tuple[Manifest, str]:
    """The manifest in `folder` and the SHA-256 of its bytes. Raises UserError when there is none or it is damaged."""
    path = folder / MANIFEST_NAME
    try:
        content = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        raise UserError(
            f"{folder}: no packed data set ({MANIFEST_NAME} is missing); {_remedy(folder)}, or name another folder"
        ) from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the file and its permissions") from None
    try:
        fields = json.loads(content)
        version = fields["schema_version"]
        if version in SCHEMA_VERSIONS and type(version) is int:
            return _manifest(fields), hashlib.sha256(content).hexdigest()
    except (KeyError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise UserError(f"{path}: not a manifest ({reason}); delete {folder}, then {_pack_again(folder)}") from None
    raise UserError(
        f"{path}: schema version {version!r}, and this program reads {' and '.join(map(str, SCHEMA_VERSIONS))}; delete "
        f"{folder}, then {_pack_again(folder)}"
    )


def _manifest(fields: dict[str, Any]) -> Manifest:
    splits = {
        name: SplitFiles(
            int(split["images"]),
            tuple(ShardFile(**shard) for shard in split["shards"]),
            int(split["quarantined"]),
        )
        for name, split in fields["splits"].items()
    }
    for name, split in splits.items():
        if split.images != sum(shard.rows for shard in split.shards):
            raise ValueError(f"split {name!r} has {split.images} images and shards with another number of rows")
        if any(Path(shard.file).name != shard.file for shard in split.shards):
            raise ValueError(f"split {name!r} has a shard outside the folder")
    return Manifest(
        source=fields["source"],
        classes=tuple(Class(**one) for one in fields["classes"]),
        splits=splits,
        statistics=Statistics(_channels(fields["mean"]), _channels(fields["std"])),
        schema_version=fields["schema_version"],
    )


def _channels(values: list[float]) -> Channels:
    if not all(map(math.isfinite, channels := as_channels(values))):
        raise ValueError(f"pixel statistics {values} are not finite")
    return channels


class _Spans(NamedTuple):
    """Where the values of a variable-length column lie in their shard's file: int64 [N] byte offsets and lengths."""

    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @staticmethod
    def of(column: pa.Array, file_address: int) -> "_Spans":
        """The spans of a binary or string `column` whose buffers are mapped from a file that begins at an address; of
        length 0 where it is null.
        """
        _, offset_buffer, values = column.buffers()
        offsets = np.frombuffer(offset_buffer, np.int32, len(column) + 1).astype(np.int64)
        first = values.address - file_address if values is not None else 0
        return _Spans(first + offsets[:-1], offsets[1:] - offsets[:-1])

    def of_rows(self, ids: NDArray[np.int64]) -> "_Spans":
        return _Spans(self.starts[ids], self.lengths[ids])

    @staticmethod
    def join(pieces: "list[_Spans]") -> "_Spans":
        return _Spans(
            _join([piece.starts for piece in pieces], np.int64), _join([piece.lengths for piece in pieces], np.int64)
        )


class _MappedShard(NamedTuple):
    """One shard's mapped file, the same as an array (uint8 [bytes], read-only), and its columns; boxes float32
    [4 * boxes of the shard], box_labels int64 and box_difficult bool [boxes].
    """

    mapping: mmap.mmap | bytes
    file: NDArray[np.uint8]
    labels: NDArray[np.int64]
    widths: NDArray[np.int32]
    heights: NDArray[np.int32]
    boxes: NDArray[np.float32]
    box_counts: NDArray[np.int64]
    box_labels: NDArray[np.int64]
    box_difficult: NDArray[np.bool_]
    images: _Spans
    names: _Spans
    masks: _Spans


def _open_shard(path: Path, expected: ShardFile, version: int, verify: bool) -> _MappedShard:
    """Map a shard, check that it is the one the manifest names, then parse that same mapping."""
    remedy = f"copy it anew, or delete {path.parent} and {_pack_again(path.parent)}"
    try:
        # An empty file cannot be mapped, and so would fail before its size is compared.
        byte_count = path.stat().st_size
        mapping = map_file(path) if byte_count else b""
    except FileNotFoundError:
        raise UserError(f"{path}: the manifest names this shard and it is missing; {remedy}") from None
    except OSError as error:
        if error.errno in (errno.EMFILE, errno.ENFILE):
            remedy = "raise the number of files that may be open (ulimit -n)"
        raise UserError(f"{path}: cannot be read ({error.strerror}); {remedy}") from None
    if len(mapping) != expected.bytes:
        raise UserError(f"{path}: {len(mapping):,} bytes, the manifest says {expected.bytes:,}; {remedy}")
    if verify and hashlib.sha256(mapping).hexdigest() != expected.sha256:
        raise UserError(f"{path}: its SHA-256 is not the manifest's, so the file was damaged or changed; {remedy}")
    try:
        return _parse_shard(mapping, expected.rows, version)
    except (pa.ArrowException, ValueError, OSError) as error:  # pyarrow raises plain OSError too
        raise UserError(f"{path}: not a shard of this program ({first_line(error)}); {remedy}") from None


def _parse_shard(mapping: mmap.mmap | bytes, row_count: int, version: int) -> _MappedShard:
    """Look up the columns in the mapped file; only numbers are copied, images and names stay where they lie."""
    buffer = pa.py_buffer(mapping)
    with pa.ipc.open_file(pa.BufferReader(buffer)) as reader:
        if not reader.schema.equals(schema(version), check_metadata=True):
            raise ValueError(f"its columns are {', '.join(reader.schema.names)}, or of another schema version")
        batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
    if sum(batch.num_rows for batch in batches) != row_count:
        raise ValueError(f"{sum(batch.num_rows for batch in batches)} rows, the manifest says {row_count}")
    boxes = [batch.column("boxes") for batch in batches]
    box_counts = _join([np.diff(column.offsets.to_numpy()) for column in boxes], np.int64)
    labels = _join([batch.column("label").to_numpy() for batch in batches], np.int64)
    images = _Spans.join([_Spans.of(batch.column("image"), buffer.address) for batch in batches])
    if version == 1:  # every box is of its image's class, and no image has a mask
        box_labels, difficult = np.repeat(labels, box_counts), np.zeros(box_counts.sum(), np.bool_)
        masks = _Spans(images.starts, np.zeros_like(images.lengths))
    else:
        box_labels = _of_boxes(batches, "box_labels", box_counts, np.int64)
        difficult = _of_boxes(batches, "box_difficult", box_counts, np.bool_)
        masks = _Spans.join([_Spans.of(batch.column("mask"), buffer.address) for batch in batches])
    return _MappedShard(
        mapping=mapping,
        file=np.frombuffer(buffer, np.uint8),
        labels=labels,
        widths=_join([batch.column("width").to_numpy() for batch in batches], np.int32),
        heights=_join([batch.column("height").to_numpy() for batch in batches], np.int32),
        boxes=_join([column.flatten().flatten().to_numpy() for column in boxes], np.float32),
        box_counts=box_counts,
        box_labels=box_labels,
        box_difficult=difficult,
        images=images,
        names=_Spans.join([_Spans.of(batch.column("name"), buffer.address) for batch in batches]),
        masks=masks,
    )


def _of_boxes(
    batches: list[pa.RecordBatch], name: str, box_counts: NDArray[np.int64], dtype: type[np.generic]
) -> NDArray[Any]:
    """The values of a column that has one for each box. Raises ValueError where it has another number of them."""
    columns = [batch.column(name) for batch in batches]
    if not np.array_equal(_join([np.diff(column.offsets.to_numpy()) for column in columns], np.int64), box_counts):
        raise ValueError(f"{name} has another number of values than there are boxes")
    return _join([column.flatten().to_numpy(zero_copy_only=False) for column in columns], dtype)


def map_file(path: Path) -> mmap.mmap:
    """The file's bytes, mapped read-only. The file stays open as long (before Python 3.13, which can do without)."""
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def _allow_open_files(count: int) -> None:
    """Have so many files more open at a time, as far as the system's hard limit goes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count + _OTHER_OPEN_FILES
    if soft != resource.RLIM_INFINITY and soft < wanted:
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, limit), hard))


_OTHER_OPEN_FILES = 1024


def _join(pieces: list[NDArray[Any]], dtype: type[np.generic]) -> NDArray[Any]:
    """The one-dimensional `pieces` end to end, also when there are none."""
    return np.concatenate([np.empty(0, dtype), *pieces], dtype=dtype)


def _remedy(folder: Path) -> str:
    """What is to be done about a folder that is no packed set, by what it holds instead."""
    if (folder / JOURNAL_NAME).is_file():
        return "its packing has not finished: run the same pack command once more"
    try:
        inner = sorted(each for each in folder.iterdir() if each.is_dir())
    except OSError:
        inner = []
    if packed := [each for each in inner if (each / MANIFEST_NAME).is_file()]:
        return f"{packed[0]} is one"
    if inner:
        source = f"--layout imagefolder --source {shlex.quote(str(folder))}"
        return f"where it holds your images, in class folders, pack them with `python scripts/pack.py {source}`"
    return _pack_again(folder)


def _pack_again(folder: Path) -> str:
    return (
        f"pack it with `python scripts/pack.py --out {folder}` (Tiny ImageNet), photographs in class folders with "
        f"`--layout imagefolder --source PHOTOS`"
    )


@njit()
def _copy_rows(file, starts, lengths, rows, images):  # type: ignore[no-untyped-def]
    """For each i in `rows` copy file[starts[i] : starts[i] + lengths[i]] to the front of images[i], zeros behind it.

    file: uint8 [bytes]; starts, lengths: int64 [B]; rows: int64 [R]; images: uint8 [B, longest].
    """
    for i in rows:
        length = lengths[i]
        images[i, :length] = file[starts[i] : starts[i] + length]
        images[i, length:] = 0
