"""Ground-truth masks in a folder or zip of their own: one file an image, or as the WSOL benchmark lists them."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastwsol.host.errors import UserError
from fastwsol.sources.annotated import MAX_FILE_BYTES, images_below
from fastwsol.sources.encode import as_png
from fastwsol.sources.mask_images import joined_mask, mask_paths, read_region
from fastwsol.sources.tree import BadFile, Tree, open_tree

_NAMED_ALIKE = "name each mask like its image, with .png behind the whole name"


class MaskFolder:
    """Masks that are named like their images (`mask_images.mask_paths`), each of its image's size. `files`: their
    stamps by path; `ignored_files`: how many other files there are, by why.
    """

    own_sizes = False

    def __init__(self, path: Path, follow_links: bool = False):
        self.path = path
        self._tree = _tree(path, follow_links)
        stamps, self.ignored_files = images_below(self._tree, "")
        self.files = {file: stamp for file, stamp in stamps.items() if file.lower().endswith(".png")}
        self._called = {f"{file[: -len('.png')]}.png": file for file in sorted(self.files)}  # 0.PNG is 0.png too
        if other := len(stamps) - len(self.files):
            self.ignored_files = self.ignored_files + Counter({"as they are no PNG": other})

    def of_images(self, images: Iterable[str]) -> dict[str, str]:
        """The path of each image's mask, by the image's; those without one are left out. Raises UserError where two
        would share one.
        """
        found: dict[str, str] = {}
        owner: dict[str, str] = {}
        for image in images:
            mask = next((self._called[path] for path in mask_paths(image) if path in self._called), None)
            if mask is None:
                continue
            if owner.setdefault(mask, image) != image:
                raise UserError(
                    f"{self._tree.where(mask)}: is the mask of both {owner[mask]!r} and {image!r}; {_NAMED_ALIKE}"
                )
            found[image] = mask
        return found

    def read(self, name: str) -> bytes:
        """The file of a mask, by its path. Raises BadFile."""
        try:
            return self._tree.read(name, MAX_FILE_BYTES)
        except BadFile as error:
            raise BadFile(f"{self._tree.where(name)} cannot be had: {error}") from None

    def stamp(self, name: str) -> str:
        """Another text when the mask was changed."""
        return self.files[name]

    def where(self, name: str) -> str:
        """The file of a mask."""
        return self._tree.where(name)


@dataclass(frozen=True)
class Regions:
    """The files that mark an image's objects, and those that mark what is left out: paths below the masks' folder."""

    objects: Sequence[str]
    ignored: Sequence[str]


class BenchmarkMasks:
    """The masks of images as the WSOL benchmark has them: several files an object, and files of what is left out.

    regions: by image. Raises UserError for a file that is not there.
    """

    own_sizes = True

    def __init__(self, path: Path, regions: Mapping[str, Regions], follow_links: bool = False):
        self._tree, self._regions = _tree(path, follow_links), regions
        self._stamps, _ = images_below(self._tree, "")
        for image, each in regions.items():
            for file in (*each.objects, *each.ignored):
                if file not in self._stamps:
                    raise UserError(
                        f"{self._tree.where(file)}: no such file, and it is a mask of {image}; put it there, or name "
                        f"the masks' folder with --masks"
                    )

    def read(self, name: str) -> bytes:
        """The mask of the image `name`, as one PNG. Raises BadFile."""
        of_image = self._regions[name]
        objects, ignored = ([self._region(file) for file in files] for files in (of_image.objects, of_image.ignored))
        return as_png(joined_mask(objects, ignored))

    def _region(self, file: str) -> NDArray[np.bool_]:
        try:
            return read_region(self._tree.read(file, MAX_FILE_BYTES))
        except BadFile as error:
            raise BadFile(f"{self._tree.where(file)} {error}") from None

    def stamp(self, name: str) -> str:
        """Another text when one of its files was changed."""
        of_image = self._regions[name]
        stamps = [self._stamps[file] for file in (*of_image.objects, *of_image.ignored)]
        return f"{of_image.objects} {of_image.ignored} {stamps}"

    def where(self, name: str) -> str:
        """The files of a mask."""
        return " and ".join(self._tree.where(file) for file in self._regions[name].objects)


def _tree(path: Path, follow_links: bool) -> Tree:
    if not path.exists():
        raise UserError(f"--masks {path}: no such folder or zip; name the one that holds the masks")
    return open_tree(path, follow_links)
