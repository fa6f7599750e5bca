"""Images by what files of boxes call them: by their path, or its end, in either Unicode form."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import takewhile
from typing import NamedTuple


class Names:
    """The names, or paths, of images."""

    def __init__(self, names: Iterable[str]) -> None:
        self.names = frozenset(names)
        self._composed: dict[str, list[str]] = defaultdict(list)
        self._by_end: dict[str, list[tuple[str, str]]] = defaultdict(list)
        """Composed form and name of the images whose last part, or last two parts, these are."""
        for name in sorted(self.names):
            composed = _composed(name)
            self._composed[composed].append(name)
            for parts in (1, 2):
                self._by_end[_last_parts(composed, parts)].append((composed, name))

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
        candidates = self._by_end.get(_last_parts(end, 2), [])
        return [name for composed, name in candidates if composed.endswith(f"/{end}")]


class OwnNames(NamedTuple):
    """The names in a file by those that another tool made of them, and what it put before them, in words."""

    of: dict[str, str]
    before: str


def own_names(theirs: Sequence[str], known: Names) -> OwnNames | None:
    """The names of a file's images without what the tool that wrote it put before all of them: the eight digits that
    Label Studio gives to uploads, or folders. None where some are `known` as they are, and where nothing is found.
    """
    if any(known.whole(name) is not None for name in theirs):
        return None
    if uploads := _names_of_uploads(theirs):
        return OwnNames(uploads, "the eight digits of uploads")
    levels = zip(*(name.split("/")[:-1] for name in theirs), strict=False)  # as deep as the one that lies highest
    folders = [level[0] for level in takewhile(lambda level: len({*level}) == 1, levels)]
    for count in range(1, len(folders) + 1):
        before = "/".join(folders[:count]) + "/"
        own = {name: name.removeprefix(before) for name in theirs}
        if any(known.whole(name) is not None for name in own.values()):
            return OwnNames(own, repr(before))
    return None


def _names_of_uploads(names: Sequence[str]) -> dict[str, str]:
    """The names of the files that Label Studio has under these; none where some are no upload's, or two would be alike.
    (A date may stand before a name as well.)
    """
    found = {name: match[1] for name in names if (match := _UPLOADED.fullmatch(name)) is not None}
    return found if len(found) == len({*names}) == len({*found.values()}) else {}


_UPLOADED = re.compile(r"(?:.*/)?[0-9a-f]{8}-([^/]+)")


def _last_parts(name: str, count: int) -> str:
    return "/".join(name.rsplit("/", count)[-count:])


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)
