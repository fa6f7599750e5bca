"""The files that predictions are of, found again by the names that predictions give them."""

from collections.abc import Sequence
from pathlib import Path

from fastwsol.host.errors import UserError
from fastwsol.sources.tree import BadFile, Folder, Tree, open_tree

REMEDY = "name with --images what was predicted, each place as predict was given it"


class PredictedImages:
    """The files in `places`, as `find_images` names them: by their path in the one folder or zip; where there are
    several places, with that before it.

    follow_links: in folders also what lies behind links that lead out of them. Raises UserError for a place that is not
    there, or is a zip that is not whole.
    """

    def __init__(self, places: Sequence[Path], follow_links: bool = False) -> None:
        self._trees: dict[str, Tree] = {}
        self._files: dict[str, Path] = {}
        for place in places:
            if not place.exists():
                raise UserError(f"--images {place}: no such folder, zip or image; {REMEDY}")
            if place.is_dir() or place.suffix.lower() == ".zip":
                self._trees[f"{place}/" if len(places) > 1 else ""] = open_tree(place, follow_links)
            else:
                self._files[str(place)] = place

    def where(self, name: str) -> str:
        """The file of this name as the user would find it; the name itself where it lies in none of the places."""
        found = self._found(name)
        return name if found is None else found[0].where(found[1])

    def read(self, name: str, max_bytes: int) -> bytes:
        """The bytes of the file of this name. Raises BadFile where it is missing, larger than `max_bytes`, or cannot be
        read.
        """
        found = self._found(name)
        if found is None:
            raise BadFile("lies in no place that --images names")
        return found[0].read(found[1], max_bytes)

    def _found(self, name: str) -> tuple[Tree, str] | None:
        """The place that a name is of, and its path there."""
        if name in self._files:
            real = self._files[name].resolve()
            return Folder(real.parent), real.name
        before = max((each for each in self._trees if name.startswith(each)), key=len, default=None)
        if before is None or (not before and (Path(name).is_absolute() or ".." in Path(name).parts)):
            return None
        return self._trees[before], name.removeprefix(before)
