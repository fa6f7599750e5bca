"""The splits of a source: what they are called, and which images become val where it has none."""

import itertools
import re
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from fastwsol.draws import val_order
from fastwsol.host.errors import UserError
from fastwsol.host.words import first_few, number_of

SPLIT_CALLED = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
"""Splits by what their folders and lists are called, in lower case."""
TEST = "test"
"""A split of detection sets that is not packed."""
SPLIT_OR_TEST_CALLED = {**SPLIT_CALLED, TEST: TEST}
"""The same as `SPLIT_CALLED`, and `TEST`."""
VAL_FRACTION = 0.1
"""Of each class, where nothing else is asked for."""

Image = TypeVar("Image")


def split_of_words(name: str, called: Mapping[str, str] = SPLIT_CALLED) -> str | None:
    """The split that a word in the name of a file or folder is called, as in `instances_val2017`; None without any."""
    return next((called[word] for word in re.findall("[a-z]+", name.lower()) if word in called), None)


def splits_of_folders(paths: Iterable[str], where: str) -> dict[str, str]:
    """The split of each path that lies in a folder called train, val or test: the innermost that is just so called,
    else the innermost with such a word in its name. None at all where all are of one split, by a word alone or of
    train, which may mean something else. Raises UserError where some are just so called and none is of train; `where`
    names the set.
    """
    found: dict[str, str] = {}
    just_so: set[str] = set()
    for path in paths:
        folders = path.split("/")[-2::-1]  # from the innermost on
        exact = next(filter(None, (SPLIT_OR_TEST_CALLED.get(each.lower()) for each in folders)), None)
        split = exact or next(filter(None, (split_of_words(each, SPLIT_OR_TEST_CALLED) for each in folders)), None)
        just_so |= {exact} if exact else set()
        if split is not None:
            found[path] = split
    if "train" in found.values():
        return found if len({*found.values()}) > 1 else {}
    if just_so:
        raise UserError(f"{where}: has folders of {' and '.join(sorted(just_so))}, and none of train; add it")
    return {}


@dataclass(frozen=True)
class ValOf:
    """The val of another packed set, which lies in `folder`: the names of its images, and all classes of that set by
    what they are called there. It says nothing of other classes.
    """

    folder: Path
    names: frozenset[str]
    classes: frozenset[str]

    @property
    def flag(self) -> str:
        """As it was asked for."""
        return f"--val-of {self.folder}"

    def are_val(self, names: Sequence[str]) -> list[bool]:
        """Which images of these names are val. Where none is, one of the two sets may have an outer folder more, as a
        zip of it has.
        """
        inner = [name.partition("/")[2] for name in names]
        inner_names = {name.partition("/")[2] for name in self.names}
        for ours, theirs in ((names, self.names), (inner, self.names), (names, inner_names)):
            if any(found := [name in theirs for name in ours]):
                return found
        return [False] * len(names)

    def notes(self, val: Sequence[tuple[str, str]]) -> list[str]:
        """What to say of images that are not there any more, and of classes that the other set has not. val: the name
        and the class of each image that became val.
        """
        are_its = self.are_val([name for name, _ in val])
        of_new = [of_class for (_, of_class), is_its in zip(val, are_its, strict=True) if not is_its]
        notes = []
        if lost := len(self.names) - sum(are_its):
            notes.append(f"{self.flag}: {lost:,} of its {number_of(len(self.names), 'val image')} are not here")
        if of_new:
            called = first_few(sorted({*of_new}), 3)
            drawn = f"of each {VAL_FRACTION:g} was drawn, {number_of(len(of_new), 'image')}"
            notes.append(f"{self.flag}: has no class {called}: {drawn}")
        return notes


ValChoice = float | ValOf | None
"""Which images become val: a fraction of each class, by default `VAL_FRACTION`, or those of another set."""


def with_val(
    splits: Mapping[str, list[Image]],
    class_of: Callable[[Image], Hashable],
    name_of: Callable[[Image], str],
    choice: ValChoice,
    where: str,
    are_good: Callable[[Sequence[Image]], list[bool]] | None = None,
) -> dict[str, list[Image]]:
    """Images of train and val; where there is no val, some of train become it. class_of, name_of: an image's class, and
    its name in a packed set; are_good: which images may be drawn, as those that can be read (None: all may).

    Raises UserError, naming the source `where`, for a choice beside a val, and for one that is none.
    """
    if "val" in splits and choice is not None:
        flag = choice.flag if isinstance(choice, ValOf) else f"--val-fraction {choice}"
        raise UserError(f"{flag}: {where} has a val of its own; leave the flag out")
    if "val" in splits:
        return dict(splits)
    if not isinstance(choice, ValOf):
        return drawn_val(splits["train"], class_of, choice, are_good)
    images = splits["train"]
    are_val = choice.are_val([name_of(image) for image in images])
    if not any(are_val):
        raise UserError(f"{choice.flag}: none of its val images is in {where}; give the set of an earlier round")
    # Of a class that the other set has not, by whatever name, some become val as if there were no other set.
    known = {*choice.classes, *(class_of(image) for image, is_val in zip(images, are_val, strict=True) if is_val)}
    new = [place for place, image in enumerate(images) if class_of(image) not in known]
    of_val = {new[k] for k in _drawn_places([images[place] for place in new], class_of, VAL_FRACTION, are_good)}
    of_val |= {place for place, is_val in enumerate(are_val) if is_val}
    return _parts(images, of_val)


def drawn_val(
    images: Iterable[Image],
    class_of: Callable[[Image], Hashable],
    fraction: float | None = None,
    are_good: Callable[[Sequence[Image]], list[bool]] | None = None,
) -> dict[str, list[Image]]:
    """Images as train and val, both in their order: of each class `fraction`, and one image of two at least, becomes
    val. are_good: as of `with_val`. Raises UserError where the fraction is none.
    """
    fraction = VAL_FRACTION if fraction is None else fraction
    if not 0 < fraction < 1:
        raise UserError(f"--val-fraction {fraction}: must lie between 0 and 1 (10 % is 0.1)")
    every = [*images]
    return _parts(every, _drawn_places(every, class_of, fraction, are_good))


def _drawn_places(
    images: Sequence[Image],
    class_of: Callable[[Image], Hashable],
    fraction: float,
    are_good: Callable[[Sequence[Image]], list[bool]] | None,
) -> set[int]:
    """The places of the images that become val: of each class as many as it has them, though some are bad; but one good
    image of it is left to train on.
    """
    places: dict[Hashable, list[int]] = {}
    for place, image in enumerate(images):
        places.setdefault(class_of(image), []).append(place)
    drawn: list[tuple[list[int], int]] = []
    """Of each class its places in the order in which they become val, and how many do."""
    for of_class in places.values():
        number = min(max(1, round(fraction * len(of_class))), len(of_class) - 1)
        drawn.append(([of_class[k] for k in val_order(len(of_class)).tolist()], max(0, number)))
    if are_good is None:
        return {place for order, number in drawn for place in order[:number]}
    first = [place for order, number in drawn for place in order[: number + 1] if number]
    known = dict(zip(first, are_good([images[place] for place in first]), strict=True))  # those of all classes at once

    def is_good(place: int) -> bool:
        return known[place] if place in known else are_good([images[place]])[0]

    of_val: set[int] = set()
    for order, number in drawn:
        good = filter(is_good, order if number else [])
        taken = [*itertools.islice(good, number)]
        of_val.update(taken if next(good, None) is not None else taken[:-1])
    return of_val


def _parts(images: Sequence[Image], of_val: set[int]) -> dict[str, list[Image]]:
    splits: dict[str, list[Image]] = {"train": [], "val": []}
    for place, image in enumerate(images):
        splits["val" if place in of_val else "train"].append(image)
    return splits
