"""The splits of a source: what they are called, and which images become val where it has none."""

from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import TypeVar

from fastwsol.draws import val_ids
from fastwsol.host.errors import UserError

SPLIT_CALLED = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
"""Splits by what their folders and lists are called, in lower case."""
VAL_FRACTION = 0.1
"""Of each class, where nothing else is asked for."""

Image = TypeVar("Image")


def with_val(
    splits: Mapping[str, list[Image]], class_of: Callable[[Image], Hashable], fraction: float | None, where: str
) -> dict[str, list[Image]]:
    """Images of train and val; where there is no val, `fraction` of train becomes it (`drawn_val`).

    Raises UserError, naming the source `where`, for a fraction beside a val, and for one that is none.
    """
    if "val" not in splits:
        return drawn_val(splits["train"], class_of, fraction)
    if fraction is not None:
        raise UserError(f"--val-fraction {fraction}: {where} has a val of its own; leave the flag out")
    return dict(splits)


def drawn_val(
    images: Iterable[Image], class_of: Callable[[Image], Hashable], fraction: float | None = None
) -> dict[str, list[Image]]:
    """Images as train and val, both in their order: of each class `fraction`, and one image of two at least, becomes
    val. Raises UserError where the fraction is none.
    """
    fraction = VAL_FRACTION if fraction is None else fraction
    if not 0 < fraction < 1:
        raise UserError(f"--val-fraction {fraction}: must lie between 0 and 1 (10 % is 0.1)")
    every: list[Image] = []
    places: dict[Hashable, list[int]] = {}
    for place, image in enumerate(images):
        every.append(image)
        places.setdefault(class_of(image), []).append(place)
    of_val: set[int] = set()
    for of_class in places.values():
        number = min(max(1, round(fraction * len(of_class))), len(of_class) - 1)
        of_val.update(of_class[k] for k in val_ids(len(of_class), max(0, number)).tolist())
    splits: dict[str, list[Image]] = {"train": [], "val": []}
    for place, image in enumerate(every):
        splits["val" if place in of_val else "train"].append(image)
    return splits
