"""Images outside of train that look like one of train, as two shots of one scene or two frames of one clip do: what is
measured on them was in part trained on.
"""

import io
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fastwsol.dataset.shards import Shards, Split
from fastwsol.host.limits import usable_cores
from fastwsol.host.ticker import image_ticker
from fastwsol.host.words import first_few, number_of
from fastwsol.sources.decode import decode

MOST_IMAGES = 20_000
"""Of a set in which they are looked for: every image is decoded once more, small, and compared with each of train."""
NEAR_COPIES_NAME = "near-copies.json"
_SIDE = 24
_LEAST_CORRELATION = 0.9
"""Of three sets of photographs 7 of 512 val images have one of train of their own class that is as like, and none one
of another class (bench/results/faults-of-sets.json).
"""
_DRAFT = (4 * _SIDE, 4 * _SIDE)
"""A JPEG is decoded no larger than needed for this size, which takes a fraction of the time."""
_CHUNK = 256


class NearCopy(NamedTuple):
    """An image, by its split and row, the row of that of train that is most like it, and how far they correlate."""

    split: str
    row: int
    of_row: int
    correlation: float


def near_copies(shards: Shards) -> list[NearCopy]:
    """The images outside of train whose grey pixels, at 24 x 24, correlate with those of an image of train by 0.9 and
    more, but for copies byte for byte; in order.
    """
    train = shards.splits["train"]
    if not len(train):
        return []
    of_train = _thumbnails(train)
    found = []
    for name, split in shards.splits.items():
        if name == "train":
            continue
        first = 0
        for part in np.array_split(_thumbnails(split), max(1, len(split) // _CHUNK)):
            correlations = part @ of_train.T
            best = correlations.argmax(axis=1)
            for k in np.flatnonzero(correlations.max(axis=1) >= _LEAST_CORRELATION).tolist():
                if split.image(first + k) != train.image(int(best[k])):
                    found.append(NearCopy(name, first + k, int(best[k]), float(correlations[k, best[k]])))
            first += len(part)
    return found


class NearCopies:
    """Those of a packed set; `listed`: each of them, as JSON."""

    def __init__(self, shards: Shards) -> None:
        self._is_too_large = sum(map(len, shards.splits.values())) > MOST_IMAGES
        found = [] if self._is_too_large else near_copies(shards)
        train = shards.splits["train"]
        self.listed: list[dict[str, str | float]] = [
            {
                "image": shards.splits[each.split].names([each.row])[0],
                "split": each.split,
                "of_train": train.names([each.of_row])[0],
                "correlation": round(each.correlation, 3),
            }
            for each in found
        ]

    @property
    def note(self) -> str:
        """What to say of them; empty where there are none."""
        if self._is_too_large:
            return f"images that look like one of train were not looked for, as there are more than {MOST_IMAGES:,}"
        if not self.listed:
            return ""
        pairs = [f"{each['image']} like {each['of_train']}" for each in self.listed]
        looks = number_of(len(pairs), "image looks", "images look")
        return (
            f"{looks} like one of train, and may be shots of one scene, so that results may be too good: "
            f"{first_few(pairs, 3)}"
        )


def _thumbnails(split: Split) -> NDArray[np.float32]:
    """The `thumbnail` of each image, float32 [N, 24 * 24]."""
    rows = np.zeros((len(split), _SIDE * _SIDE), np.float32)
    with ThreadPoolExecutor(usable_cores()) as pool, image_ticker(f"likeness in {split.name}", len(split)) as ticker:
        # A thread reads its image itself: all of them at once would not fit into memory.
        for row, levels in enumerate(pool.map(lambda row: thumbnail(split.image(row)), range(len(split)))):
            rows[row] = levels
            ticker.update(row + 1)
    return rows


def thumbnail(image: bytes) -> NDArray[np.float32]:
    """An encoded image in grey at 24 x 24, with mean 0 and norm 1 (of one level alone: 0): float32 [24 * 24]. The
    product of two is how far they correlate.
    """
    try:
        with Image.open(io.BytesIO(image)) as opened:
            opened.draft("L", _DRAFT)
            grey = opened.convert("L")
    except Exception:  # of what Pillow stumbles over where packing, which has decoded it, did not
        grey = Image.fromarray(decode(image)).convert("L")
    levels = np.asarray(grey.resize((_SIDE, _SIDE), Image.Resampling.BOX), np.float32).ravel()
    levels = levels - levels.mean()
    norm = float(np.linalg.norm(levels))
    return levels / norm if norm > 1 else np.zeros_like(levels)
