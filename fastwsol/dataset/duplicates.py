"""Images of a packed set that are one another's copies, byte for byte."""

import hashlib
import zlib
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from fastwsol.dataset.shards import Shards

_LOOKED_AT = 2048
"""Bytes at an image's begin and at its end by which it is told from others as long."""


class Place(NamedTuple):
    """Where an image stands: its split, and its row there."""

    split: str
    row: int


def copies_in(shards: Shards) -> Iterator[list[Place]]:
    """The images that are there more than once: each group's places, in the order of the splits and of their rows.

    Only images of one length whose begins and ends are equal are read whole.
    """
    splits = shards.splits
    lengths = np.concatenate([split.image_bytes for split in splits.values()])
    places = [Place(name, row) for name, split in splits.items() for row in range(len(split))]
    _, which, counts = np.unique(lengths, return_inverse=True, return_counts=True)
    alike: dict[tuple[int, int], list[Place]] = defaultdict(list)
    for k in np.flatnonzero(counts[which] > 1).tolist():
        image = splits[places[k].split].image(places[k].row)
        alike[len(image), zlib.crc32(image[-_LOOKED_AT:], zlib.crc32(image[:_LOOKED_AT]))].append(places[k])
    for group in alike.values():
        if len(group) == 1:
            continue
        same: dict[bytes, list[Place]] = defaultdict(list)
        for place in group:
            same[hashlib.sha256(splits[place.split].image(place.row)).digest()].append(place)
        yield from (each for each in same.values() if len(each) > 1)


def note_of_copies(shards: Shards) -> str:
    """What to say of a set's copies; empty where it has none."""
    splits, number, other_class, across = shards.splits, 0, 0, 0
    example = ""
    for first, *others in copies_in(shards):
        label = splits[first.split].labels[first.row]
        number += len(others)
        other_class += sum(bool(splits[each.split].labels[each.row] != label) for each in others)
        across += sum(each.split != first.split for each in others)
        if not example:
            names = (splits[each.split].names([each.row])[0] for each in (others[0], first))
            example = " is ".join(f"{name}" for name in names)
    if not number:
        return ""
    more = f"; {other_class:,} of them are of another class than that" if other_class else ""
    more += f"; {across:,} are in another split, and what is measured there was trained on" if across else ""
    return f"{number:,} images are, byte for byte, one that comes before them ({example}){more}"
