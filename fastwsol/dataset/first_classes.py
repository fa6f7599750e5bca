"""The first classes of a packed data set as a data set of their own: what a sweep is tried on."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastwsol.dataset.packer import pack
from fastwsol.dataset.shards import MANIFEST_NAME, Shards, open_shards, read_manifest
from fastwsol.host.errors import UserError
from fastwsol.sources import FULLSUP, Fault, Record


class FirstClasses:
    """A `Source` of the images of the first `count` classes of `shards`, byte for byte. Raises UserError where it has
    not so many.
    """

    upright = False  # they were packed as they are to be
    notes: Sequence[str] = ()
    boxes_used = 0

    def __init__(self, shards: Shards, count: int) -> None:
        class_count = len(shards.manifest.classes)
        if not 1 <= count <= class_count:
            raise UserError(f"--classes {count}: {shards.folder} has {class_count} classes; choose 1 to {class_count}")
        self.classes = shards.manifest.classes[:count]
        self.identity = shards.manifest.source
        self._shards = shards
        self.beyond_boxes = shards.manifest.schema_version > 1
        self._ids = {name: np.flatnonzero(split.labels < count) for name, split in shards.splits.items()}
        self.splits = tuple(name for name, ids in self._ids.items() if len(ids) or name != FULLSUP)

    def count(self, split: str) -> int:
        """How many records `records(split)` yields."""
        return len(self._ids[split])

    def labels(self, split: str) -> NDArray[np.int64]:
        """The labels of all records."""
        return self._shards.splits[split].labels[self._ids[split]]

    def known_faults(self, split: str) -> dict[int, Fault]:
        """None: what was packed is good."""
        return {}

    def records(self, split: str, start: int = 0) -> Iterator[Record]:
        """Yield the records of `split` from index `start` on, in the order of the shards."""
        images = self._shards.splits[split]
        for row in self._ids[split][start:].tolist():
            own = images.objects.of_rows(np.array([row])).of_labels_below(len(self.classes))
            size = int(images.widths[row]), int(images.heights[row])
            name, image, label = images.names([row])[0], images.image(row), int(images.labels[row])
            mask = images.mask(row)
            yield Record(
                name,
                image,
                label,
                own.boxes,
                size=size,
                box_labels=own.labels,
                difficult=own.difficult,
                mask=mask,
                mask_name=name,
                mask_is_of_own_size=True,
            )

    def origin(self, split: str, index: int, box: int | None = None) -> str:
        """The row that record `index` was packed as."""
        return f"{self._shards.folder}, {split}, row {self._ids[split][index]}"

    def fingerprint(self, split: str, start: int, stop: int) -> str:
        """A hash over the data set and the rows taken from it."""
        rows = self._ids[split][start:stop].tobytes()
        return hashlib.sha256(f"{self._shards.digest} {split} ".encode() + rows).hexdigest()


def folder_of_first_classes(folder: Path, count: int) -> Path:
    """Where the first `count` classes of the shards in `folder` go."""
    _, digest = read_manifest(folder)
    if folder.name in ("", ".."):
        folder = folder.resolve()
    return folder.with_name(f"{folder.name}-first-{count}-{digest[:8]}")


def with_first_classes(folder: Path, count: int) -> Path:
    """The folder of the first `count` classes of the shards in `folder`. It lies beside `folder`, and is packed if it
    is not there. For all classes it is `folder` itself.

    Its name holds a digest of the shards, so that a set packed anew with other images has a folder of its own. Raises
    UserError where `folder` has fewer classes, or something else lies in that place.
    """
    manifest, _ = read_manifest(folder)
    if count == len(manifest.classes):
        return folder
    out = folder_of_first_classes(folder, count)
    if not (out / MANIFEST_NAME).is_file():
        pack(FirstClasses(open_shards(folder), count), out)
    earlier, _ = read_manifest(out)
    if (earlier.source, earlier.classes) != (manifest.source, manifest.classes[:count]):
        raise UserError(
            f"--classes {count}: {out} holds another data set; move it away, or pack with --classes {count}"
        )
    return out
