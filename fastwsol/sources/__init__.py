"""Where images come from: one module for each layout. Each yields a `Record` an image, in a fixed order."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

FULLSUP = "fullsup"
"""A split beside train and val, with boxes or masks to choose settings by: the WSOL benchmark's trainfullsup."""

TINY_IMAGENET, SYNTHETIC = "tiny-imagenet-200", "synthetic (seed "
"""The identity of Tiny ImageNet, and how that of a synthetic set begins: the sets whose images are not photographs of
many sizes.
"""

_SYNSET = re.compile(r"n\d{8}")


def holds_photographs(identity: str) -> bool:
    """Whether a packed set with this `Source.identity` holds photographs, as all do but the two."""
    return identity != TINY_IMAGENET and not identity.startswith(SYNTHETIC)


@dataclass(frozen=True)
class Class:
    """One class: its WordNet id (or a stand-in that is as unique) and the name a person reads."""

    wnid: str
    name: str

    @property
    def short_name(self) -> str:
        """Of ImageNet's classes the first of the names that stand between commas; of others the name as it is."""
        return self.name.partition(",")[0] if _SYNSET.fullmatch(self.wnid) else self.name


@dataclass(frozen=True, eq=False)
class Record:
    """One image as it came.

    name: unique within its split; image: the encoded file, byte for byte; label: index into the source's classes;
    boxes: float32 [k, 4], x0, y0, x1, y1 in the image's own pixels, half-open edges, k may be 0.
    """

    name: str
    image: bytes
    label: int
    boxes: NDArray[np.float32]
    size: tuple[int, int] | None = None
    """The width and height that the layout says the image has, where it does."""
    box_labels: NDArray[np.int64] | None = None
    """The class of each box, [k]; None: all are of the image's own."""
    difficult: NDArray[np.bool_] | None = None
    """Which boxes are marked as difficult, [k]; None: none is."""
    mask: bytes | None = None
    """A PNG as `mask_images` describes it."""
    mask_name: str = ""
    """Where the mask came from, for messages."""
    mask_is_of_own_size: bool = False
    """Whether the mask covers the whole image and may yet have another size."""

    @property
    def labels_of_boxes(self) -> NDArray[np.int64]:
        """The class of each box: [k]."""
        return np.full(len(self.boxes), self.label) if self.box_labels is None else self.box_labels

    @property
    def difficult_boxes(self) -> NDArray[np.bool_]:
        """Which boxes are marked as difficult: [k]."""
        return np.zeros(len(self.boxes), np.bool_) if self.difficult is None else self.difficult


@dataclass(frozen=True)
class Fault:
    """What stands in the place of a record that cannot be used: its name, why, and what would mend it."""

    name: str
    reason: str
    remedy: str
    box: int | None = None
    """Which of its boxes it is about."""


class Source(Protocol):
    """What a layout offers to the packer."""

    @property
    def identity(self) -> str:
        """What the manifest calls this source: the same for the same content wherever it lies."""

    @property
    def classes(self) -> tuple[Class, ...]:
        """The classes in label order."""

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits in packing order; `train` gives the pixel statistics."""

    @property
    def upright(self) -> bool:
        """Whether boxes are in the pixels of the image as its EXIF orientation turns it: it is packed turned."""

    @property
    def beyond_boxes(self) -> bool:
        """Whether records may have masks, boxes of other classes than their image's, or difficult ones."""

    @property
    def notes(self) -> Sequence[str]:
        """What the user is to know of the source, as what was ignored: sentences."""

    @property
    def boxes_used(self) -> int:
        """How many boxes its images have where the notes tell what became of all, else 0."""

    def count(self, split: str) -> int:
        """How many records and faults `records(split)` yields."""

    def labels(self, split: str) -> NDArray[np.int64]:
        """The labels [count] of all records, those that are faults among them."""

    def known_faults(self, split: str) -> Mapping[int, Fault]:
        """By index, the faults that can be told before any image is read."""

    def records(self, split: str, start: int = 0) -> Iterator[Record | Fault]:
        """Yield the records of `split` from index `start` on, reading each image when its turn comes."""

    def origin(self, split: str, index: int, box: int | None = None) -> str:
        """Where record `index` got its label and boxes, or that one of its boxes, for messages: a file and its line."""

    def fingerprint(self, split: str, start: int, stop: int) -> str:
        """A hash over the records from `start` to `stop`, without reading images: another one when they changed."""
