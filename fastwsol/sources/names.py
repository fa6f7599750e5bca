"""Images by what files of boxes call them: by their path, or its end, in either Unicode form."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import takewhile
from typing import NamedTuple

from fastwsol.sources.splits import SPLIT_CALLED


class Names:
    """The names, or paths, of images."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = frozenset(names)
        self._composed: dict[str, list[str]] = defaultdict(list)
        for name in sorted(self.names):
            self._composed[_composed(name)].append(name)
        self._deepest = max((name.count("/") for name in self._composed), default=0)
        self._by_end: dict[int, Mapping[str, list[str]]] = {}
        """By a number of parts: the images of more parts, by their last ones."""

    def whole(self, name: str) -> str | None:
        """The image of this very name, or the only one whose name is the same but for its Unicode form: accents may be
        characters of their own, as on a Mac.
        """
        if name in self.names:
            return name
        same = self._composed.get(_composed(name), [])
        return same[0] if len(same) == 1 else None

    def by_end(self, name: str) -> list[str]:
        """The images whose names end in `/` and this one, sorted: those that lie in folders that it does not tell."""
        end = _composed(name)
        parts = end.count("/") + 1
        if parts > self._deepest:
            return []
        if parts not in self._by_end:
            self._by_end[parts] = self._named_by_last(parts)
        return self._by_end[parts].get(end, [])

    def _named_by_last(self, parts: int) -> Mapping[str, list[str]]:
        """The images of more parts than so many, sorted, by their last ones."""
        found: dict[str, list[str]] = defaultdict(list)
        for composed, names in self._composed.items():
            _, *last = composed.rsplit("/", parts)
            if len(last) == parts:
                found["/".join(last)] += names
        return found


class OwnNames(NamedTuple):
    """The names in a file by those that another tool made of them, and what it put before them, in words."""

    of: dict[str, str]
    before: str

    @property
    def told(self) -> str:
        """What to say of them."""
        return f"the names of its images are taken without {self.before} before them"


def own_names(theirs: Sequence[str], known: Names, classes: Collection[str]) -> OwnNames | None:
    """The names of a file's images without what the tool that wrote it put before all of them: folders, or the eight
    digits that Label Studio gives to uploads. classes: those of the file; a folder that is called as one of them, or as
    a split, is never taken away, since the file may then be of other images.

    None where an image is known by a name as it is, and where not all are known by those that are left.
    """
    if not theirs or any(_found(name, known) for name in theirs):
        return None
    levels = zip(*(name.split("/")[:-1] for name in theirs), strict=False)  # as deep as the one that lies highest
    folders = [level[0] for level in takewhile(lambda level: len({*level}) == 1, levels)]
    for count, folder in enumerate(folders, 1):
        if folder in classes or folder in SPLIT_CALLED:
            break
        before = "/".join(folders[:count]) + "/"
        own = {name: name.removeprefix(before) for name in theirs}
        if all(known.whole(name) is not None for name in own.values()):
            return OwnNames(own, repr(before))
    return names_of_uploads(theirs, known)


def names_of_uploads(theirs: Sequence[str], known: Names) -> OwnNames | None:
    """The names of the files that Label Studio has under these. None where an image is known by a name as it is, where
    some are no upload's or two would be alike (a date may stand before a name as well), and where not all are known.
    """
    own = {name: match[1] for name in theirs if (match := _UPLOADED.fullmatch(name)) is not None}
    are_uploads = bool(own) and len(own) == len({*theirs}) == len({*own.values()})
    if not are_uploads or any(_found(name, known) for name in theirs):
        return None
    return OwnNames(own, "the eight digits of uploads") if all(_found(name, known) for name in own.values()) else None


def _found(name: str, known: Names) -> bool:
    """Whether a name, or the end of one, is an image's."""
    return known.whole(name) is not None or len(known.by_end(name)) == 1


_UPLOADED = re.compile(r"(?:.*/)?[0-9a-f]{8}-([^/]+)")


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)
