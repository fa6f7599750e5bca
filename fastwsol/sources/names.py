"""Images by what files of boxes call them: by their path, or its end, in either Unicode form."""

import unicodedata
from collections import defaultdict
from collections.abc import Iterable


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


def _last_parts(name: str, count: int) -> str:
    return "/".join(name.rsplit("/", count)[-count:])


def _composed(name: str) -> str:
    return unicodedata.normalize("NFC", name)
