"""Images of a packed set that are one another's copies, byte for byte."""

import hashlib
import zlib
from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from fastwsol.dataset.shards import Shards
from fastwsol.host.ticker import image_ticker
from fastwsol.host.words import first_few

_LOOKED_AT = 2048
"""Bytes at an image's begin and at its end by which it is told from others as long."""


class Place(NamedTuple):
    """Where an image stands: its split, and its row there."""

    split: str
    row: int


COPIES_NAME = "copies.json"
"""Beside the shards, where there are some: what `Copies.listed` holds."""


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


class Copies:
    """The images that are copies of one that comes before, counted; `listed`: each of them, as JSON."""

    def __init__(self, shards: Shards) -> None:
        self.listed: list[dict[str, str]] = []
        self._of_kind: dict[str, list[str]] = {kind: [] for kind in ("", *_KINDS)}
        splits, classes = shards.splits, shards.manifest.classes

        def described(place: Place) -> tuple[str, str]:
            split = splits[place.split]
            return split.names([place.row])[0], classes[int(split.labels[place.row])].wnid

        for first, *others in copies_in(shards):
            name, wnid = described(first)
            for other in others:
                copy, its_class = described(other)
                self.listed.append(
                    {"copy": copy, "split": other.split, "class": its_class}
                    | {"of": name, "of_split": first.split, "of_class": wnid}
                )
                kinds = ["", *([_OTHER_CLASS] if its_class != wnid else [])]
                if other.split != first.split:
                    kinds.append(_TRAINED_ON if first.split == "train" else _ACROSS)
                for kind in kinds:
                    self._of_kind[kind].append(f"{copy} is {name}")

    @property
    def note(self) -> str:
        """What to say of them; empty where there are none."""
        kinds = [(kind, found) for kind, found in self._of_kind.items() if found]
        # The ones that can do harm are named, and others where there are none of those.
        said = [
            f"{kind}{len(found):,}" + (f" ({first_few(found, 3)})" if kind or len(kinds) == 1 else "")
            for kind, found in kinds
        ]
        return f"copies, byte for byte, of an image that comes before: {'; '.join(said)}" if said else ""


_OTHER_CLASS = "of another class than that: "
_TRAINED_ON = "in another split, so that what is measured there was trained on: "
_ACROSS = "in another split than that, and in none that is trained on: "
_KINDS = (_OTHER_CLASS, _TRAINED_ON, _ACROSS)
