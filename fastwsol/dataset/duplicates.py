"""Images of a packed set that are one another's copies, byte for byte."""

import hashlib
import zlib
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from fastwsol.dataset.shards import Shards
from fastwsol.host.ticker import image_ticker

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
    lengths, times = np.unique(np.concatenate([each.image_bytes for each in splits.values()]), return_counts=True)
    repeated = lengths[times > 1]
    alike: dict[tuple[int, int], list[Place]] = defaultdict(list)
    for name, split in splits.items():
        rows = np.flatnonzero(np.isin(split.image_bytes, repeated)).tolist()
        with split.read_here_and_there(), image_ticker(f"copies in {name}", len(rows)) as ticker:
            for number, row in enumerate(rows, 1):
                length, ends = int(split.image_bytes[row]), zlib.crc32(split.image_ends(row, _LOOKED_AT))
                alike[length, ends].append(Place(name, row))
                ticker.update(number)
    for group in alike.values():
        if len(group) == 1:
            continue
        same: dict[bytes, list[Place]] = defaultdict(list)
        for place in group:
            same[hashlib.sha256(splits[place.split].image(place.row)).digest()].append(place)
        yield from (each for each in same.values() if len(each) > 1)


def note_of_copies(shards: Shards) -> str:
    """What to say of a set's copies; empty where it has none."""
    splits, number, other_class, known, across = shards.splits, 0, 0, 0, 0
    example = ""
    for first, *others in copies_in(shards):
        label = splits[first.split].labels[first.row]
        number += len(others)
        other_class += sum(bool(splits[each.split].labels[each.row] != label) for each in others)
        elsewhere = sum(each.split != first.split for each in others)
        known += elsewhere if first.split == "train" else 0
        across += elsewhere if first.split != "train" else 0
        if not example:
            names = (splits[each.split].names([each.row])[0] for each in (others[0], first))
            example = " is ".join(names)
    if not number:
        return ""
    more = f"; {other_class:,} of them are of another class than that" if other_class else ""
    more += f"; {known:,} are in another split, and what is measured there was trained on" if known else ""
    more += f"; {across:,} are in another split than that, and in none that is trained on" if across else ""
    return f"copies, byte for byte, of an image that comes before: {number:,} ({example}){more}"
