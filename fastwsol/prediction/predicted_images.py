"""The files that predictions are of, found again by the names that predictions give them."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastwsol.formats.labelled_images import LabelledImage
from fastwsol.host.errors import UserError
from fastwsol.prediction.user_images import MAX_BYTES, decode_upright
from fastwsol.sources.orientation import upright_size
from fastwsol.sources.tree import BadFile, Folder, Tree, open_tree

REMEDY = "name with --images what was predicted, each place as predict was given it"


class PredictedImages:
    """The files in `places`, as `find_images` names them: by their path in the one folder or zip; where there are
    several places, with the place before it. Where each place was predicted alone, names are without a place: the file
    must then be in exactly one of them.

    follow_links: in folders also what lies behind links that lead out of them. Raises UserError for a place that is not
    there, or is a zip that is not whole.
    """

    def __init__(self, places: Sequence[Path], follow_links: bool = False) -> None:
        self._trees: dict[str, Tree] = {}
        self._files: dict[str, Path] = {}
        self._listed: dict[tuple[str, str], frozenset[str] | None] = {}
        """The names in a folder of a place; None behind a link that is not followed."""
        for place in places:
            if not place.exists():
                raise UserError(f"--images {place}: no such folder, zip or image; {REMEDY}")
            if place.is_dir() or place.suffix.lower() == ".zip":
                self._trees[f"{place}/" if len(places) > 1 else ""] = open_tree(place, follow_links)
            else:
                self._files[str(place)] = place

    def missing(self, names: Iterable[str]) -> list[str]:
        """Those of these images that lie in none of the places; one that may lie in several is none of them."""
        return [name for name in names if not self._is_there(name)]

    def _is_there(self, name: str) -> bool:
        try:
            found = self._found(name)
        except BadFile:  # in several, which is told where it is read
            return True
        if found is None or name in self._files:
            return found is not None
        place = next(place for place, tree in self._trees.items() if tree is found[0])
        return self._has(place, found[1]) is not False  # reading it says what the link is

    def where(self, name: str) -> str:
        """The file of this name as the user would find it; the name itself where it lies in none of the places, or in
        several.
        """
        try:
            found = self._found(name)
        except BadFile:
            return name
        return name if found is None else found[0].where(found[1])

    def content_of(self, image: LabelledImage) -> bytes:
        """The bytes of an image's file. Raises UserError where it is not there, bad, or of another size than was
        predicted.
        """
        with self._naming(image):
            content = self._read(image.name)
            size = upright_size(content)
        self._check_size(image, size)
        return content

    def pixels_of(self, image: LabelledImage) -> NDArray[np.uint8]:
        """An image's pixels, upright, uint8 [H, W, 3]. Raises UserError as `content_of` does."""
        with self._naming(image):
            pixels = decode_upright(self._read(image.name))
        self._check_size(image, (pixels.shape[1], pixels.shape[0]))
        return pixels

    def _read(self, name: str) -> bytes:
        """Raises BadFile where the file of this name is missing, too large, or cannot be read."""
        found = self._found(name)
        if found is None:
            raise BadFile("lies in no place that --images names")
        return found[0].read(found[1], MAX_BYTES)

    @contextlib.contextmanager
    def _naming(self, image: LabelledImage) -> Iterator[None]:
        try:
            yield
        except (BadFile, ValueError) as error:
            raise UserError(f"{self.where(image.name)}: {error}, and the predictions name it; {REMEDY}") from None

    def _check_size(self, image: LabelledImage, size: tuple[int, int]) -> None:
        if size != (image.width, image.height):
            raise UserError(
                f"{self.where(image.name)}: has {size[0]}x{size[1]} pixels, and {image.width}x{image.height} were "
                f"predicted; {REMEDY}"
            )

    def _found(self, name: str) -> tuple[Tree, str] | None:
        """The place that a name is of, and its path there."""
        if name in self._files:
            real = self._files[name].resolve()
            return Folder(real.parent), real.name
        before = max((each for each in self._trees if name.startswith(each)), key=len, default=None)
        inside = name.removeprefix(before or "")
        if Path(inside).is_absolute() or ".." in Path(inside).parts:
            return None
        if before is None:
            having = [place for place in self._trees if self._has(place, name)]
            if len(having) > 1:
                places = " and ".join(place.removesuffix("/") for place in having[:2])
                raise BadFile(f"lies in {places} (predict both in one command, which names images by their place)")
            return (self._trees[having[0]], name) if having else None
        return self._trees[before], inside

    def _has(self, place: str, path: str) -> bool | None:
        """Whether there is a file of this path in a place; None behind a link that is not followed."""
        folder, _, name = path.rpartition("/")
        if (place, folder) not in self._listed:
            try:
                self._listed[place, folder] = frozenset(self._trees[place].names(folder))
            except UserError:
                self._listed[place, folder] = None
        names = self._listed[place, folder]
        return None if names is None else name in names
