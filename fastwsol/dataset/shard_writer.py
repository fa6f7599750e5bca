"""Writes shards: record batches in memory, one shard at a time, each durably on disk before the next is begun."""

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pyarrow as pa

from fastwsol.dataset.shards import MANIFEST_NAME, Manifest, Row, ShardFile, map_file, schema
from fastwsol.host.errors import UserError
from fastwsol.host.files import write_durably, write_json

MAX_SHARD_BYTES = 64 * 2**20
"""The largest shard. A packing that was stopped goes on behind its last whole shard, so a stop costs at most this much
work.
"""

# Rows are held in memory a record batch at a time, so this bounds the writer. Large enough that Arrow's per-batch
# metadata (about 1 KiB) and the reader's per-batch work vanish.
_BATCH_BYTES = 8 * 2**20
# What Arrow adds after the last record batch: the schema once more, the end marks, and 24 bytes a batch.
_FOOTER_BYTES = 4096
_FOOTER_BYTES_A_BATCH = 24


def write_shards(
    folder: Path,
    split: str,
    rows: Iterable[Row],
    max_shard_bytes: int = MAX_SHARD_BYTES,
    first: int = 0,
    version: int = 1,
) -> Iterator[ShardFile]:
    """Write `rows` as the shards of `split`, numbered from `first`, no file above `max_shard_bytes`; yield each when it
    lies durably on disk. version: of the schema.

    Holds one record batch in memory at a time. Where a shard ends follows from its rows alone. Raises UserError when a
    single image is larger than a shard may be, OSError when the disk refuses.
    """
    batches = _record_batches(rows, min(_BATCH_BYTES, max_shard_bytes // 4), version)
    number = first
    batch = next(batches, None)
    while batch is not None:
        shard, batch = _write_shard(folder / f"{split}-{number:05d}.arrow", batch, batches, max_shard_bytes)
        number += 1
        yield shard


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write the manifest, which makes the shards in `folder` a data set."""
    fields = asdict(manifest)
    version, statistics = fields.pop("schema_version"), fields.pop("statistics")
    write_json(folder / MANIFEST_NAME, {"schema_version": version, **fields, **statistics._asdict()})


def is_shard_name(file_name: str) -> bool:
    """Whether the writer gives a shard this name."""
    return re.fullmatch(r"\w+-\d{5}\.arrow", file_name) is not None


def _write_shard(
    path: Path, first: pa.RecordBatch, batches: Iterator[pa.RecordBatch], max_bytes: int
) -> tuple[ShardFile, pa.RecordBatch | None]:
    """Fill one shard with `first` and as many of `batches` as fit; give it and the batch that did not fit, or None."""
    row_count = 0
    left_over: pa.RecordBatch | None = None

    def write(file: BinaryIO) -> None:
        nonlocal row_count, left_over
        batch: pa.RecordBatch | None = first
        footer_bytes = _FOOTER_BYTES
        with pa.ipc.new_file(file, first.schema) as writer:
            while batch is not None:
                footer_bytes += _FOOTER_BYTES_A_BATCH
                if file.tell() + pa.ipc.get_record_batch_size(batch) + footer_bytes > max_bytes:
                    break
                writer.write_batch(batch)
                row_count += batch.num_rows
                batch = next(batches, None)
        left_over = batch
        if row_count == 0:  # a batch larger than a shard holds a single row
            name, image = first.column("name")[0].as_py(), first.column("image")[0].as_buffer()
            with_mask = " with its mask" if "mask" in first.schema.names and first.column("mask")[0].is_valid else ""
            raise UserError(
                f"{name}: the image has {image.size:,} bytes and{with_mask} does not fit into a shard, which may have "
                f"{max_bytes:,}; store it smaller"
            )

    write_durably(path, write)
    mapping = map_file(path)
    return ShardFile(path.name, row_count, len(mapping), hashlib.sha256(mapping).hexdigest()), left_over


def _record_batches(rows: Iterable[Row], batch_bytes: int, version: int) -> Iterator[pa.RecordBatch]:
    """Group `rows` into record batches of at most about `batch_bytes`, one row at least."""
    pending: list[Row] = []
    pending_bytes = 0
    for row in rows:
        # 36: width, height, label and the offsets of three columns.
        row_bytes = len(row.record.image) + len(row.record.name.encode()) + row.record.boxes.nbytes + 36
        if version > 1:  # 13: offsets of three columns and a bit that says whether there is a mask
            row_bytes += 9 * len(row.record.boxes) + len(row.record.mask or b"") + 13
        if pending and pending_bytes + row_bytes > batch_bytes:
            yield _record_batch(pending, version)
            pending, pending_bytes = [], 0
        pending.append(row)
        pending_bytes += row_bytes
    if pending:
        yield _record_batch(pending, version)


def _record_batch(rows: list[Row], version: int) -> pa.RecordBatch:
    records = [row.record for row in rows]
    corners = np.concatenate([record.boxes.reshape(-1, 4) for record in records]).astype(np.float32, copy=False)
    box_offsets = np.zeros(len(rows) + 1, np.int32)
    np.cumsum([len(record.boxes) for record in records], out=box_offsets[1:])
    boxes = pa.FixedSizeListArray.from_arrays(pa.array(corners.ravel()), 4)
    columns = [
        pa.array([record.name for record in records], pa.string()),
        pa.array([record.image for record in records], pa.binary()),
        pa.array([row.width for row in rows], pa.int32()),
        pa.array([row.height for row in rows], pa.int32()),
        pa.array([record.label for record in records], pa.int64()),
        pa.ListArray.from_arrays(pa.array(box_offsets), boxes),
    ]
    if version > 1:
        labels = np.concatenate([record.labels_of_boxes for record in records])
        difficult = np.concatenate([record.difficult_boxes for record in records])
        columns += [
            pa.ListArray.from_arrays(pa.array(box_offsets), pa.array(labels, pa.int64())),
            pa.ListArray.from_arrays(pa.array(box_offsets), pa.array(difficult, pa.bool_())),
            pa.array([record.mask for record in records], pa.binary()),
        ]
    return pa.RecordBatch.from_arrays(columns, schema=schema(version))
