"""A prediction that goes on where it was stopped: blocks of images, kept beside the file that they become.

OUT.unfinished/
  work.json      what is predicted, and by which network: no other prediction goes on with it
  000000.json    the first BLOCK images, as COCO's JSON has them; and so on
"""

import contextlib
import hashlib
import itertools
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from fastwsol.config import flag
from fastwsol.formats.coco import write_coco
from fastwsol.formats.labelled_images import About, Images
from fastwsol.formats.of_coco import labelled_images
from fastwsol.host.errors import UserError
from fastwsol.host.files import PARTIAL_SUFFIX, sole_worker, write_durably, write_json
from fastwsol.host.source_code import source_digest
from fastwsol.prediction.predictions import Request
from fastwsol.prediction.predictor import WHOLE_BATCHES, Predictor
from fastwsol.prediction.user_images import NamedImage
from fastwsol.sources.coco_json import read_coco

BLOCK = 16 * WHOLE_BATCHES
"""Images of a block: at most so many are predicted twice where a prediction is stopped."""
_WORK = "work.json"


def work_of(
    predictor: Predictor, request: Request, class_of_folder: bool, images: Sequence[NamedImage], about: About
) -> dict[str, Any]:
    """What decides a prediction: the images' files, the network, and what is asked of it."""
    names = [image.name for image in images]
    return {
        "images": len(images),
        "names": _digest(names),
        "files": _digest([image.stamp for image in images]),
        "by": about.model,
        "network": predictor.identity(),
        "request": asdict(request) | {"class_of_folder": class_of_folder},
        "source": source_digest(),
    }


def _digest(texts: Sequence[str]) -> str:
    return hashlib.sha256("\0".join(texts).encode(errors="surrogateescape")).hexdigest()


def digest_of_parts(work: Mapping[str, Any], precision: str) -> str:
    """Of the whole work that parts are of. Machines that share it may be of several kinds, and their files have other
    times. precision: as it was asked for.
    """
    network = {name: each for name, each in work["network"].items() if name not in ("device", "precision")}
    same = [work["names"], work["by"], network, work["request"], work["source"], precision]
    return hashlib.sha256(json.dumps(same, sort_keys=True).encode()).hexdigest()[:16]


class Blocks:
    """The blocks in a folder, and how many there are: all but the last are of BLOCK images."""

    def __init__(self, folder: Path, about: About, names: Sequence[str]) -> None:
        self.folder, self._about, self._names = folder, replace(about, part=None), names
        self._there = next(number for number in itertools.count() if not self._file(number).is_file())

    @property
    def done(self) -> int:
        """How many of the images are in them."""
        return min(len(self._names), self._there * BLOCK)

    def images(self, rest: Images) -> Images:
        """All images, in order. rest: those behind the ones that are done; each block of them is kept before it is
        passed on. Raises UserError, naming it, for a block that cannot be read.
        """
        for number in range(self._there):
            yield from self._read(number)
        rest = iter(rest)
        for number in range(self._there, -(-len(self._names) // BLOCK)):
            block = itertools.islice(rest, BLOCK)
            write_durably(self._file(number), lambda file, block=block: write_coco(file, block, self._about))  # type: ignore[misc]
            self._there = number + 1
            yield from self._read(number)
        yield from rest  # nothing is left; what counts them comes to its end

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:06}.json"

    def _read(self, number: int) -> Images:
        path, names = self._file(number), self._names[number * BLOCK : (number + 1) * BLOCK]
        try:
            found = {each.name: each for each in labelled_images([read_coco(path, str(path))], self._about.classes)}
            if found.keys() != set(names):
                raise UserError(f"{path}: is of other images")
        except UserError as error:
            raise UserError(f"{error} (a part of unfinished work: delete {self.folder} to begin anew)") from None
        yield from (found[name] for name in names)  # COCO's file has those that were skipped at its end


@contextlib.contextmanager
def kept_blocks(out: Path, work: dict[str, Any], about: About, names: Sequence[str]) -> Iterator[Blocks]:
    """The blocks of the prediction `work` of images `names` that becomes `out`, which are removed once the context has
    come to its end.

    Raises UserError where there are those of another prediction, or another process is at work on them.
    """
    folder = out.with_name(f"{out.name}.unfinished")
    folder.mkdir(parents=True, exist_ok=True)
    with sole_worker(folder):
        _refuse_others(folder, work, out)
        write_json(folder / _WORK, work)
        blocks = Blocks(folder, about, names)
        try:
            yield blocks
        except BaseException:
            if not blocks.done:
                shutil.rmtree(folder)
            raise
        shutil.rmtree(folder)


def _refuse_others(folder: Path, work: dict[str, Any], out: Path) -> None:
    if all(path.name.endswith(PARTIAL_SUFFIX) for path in folder.iterdir()):
        return
    try:
        there = json.loads((folder / _WORK).read_bytes())
    except (OSError, ValueError):
        there = None
    asked = json.loads(json.dumps(work))
    if there == asked:
        return
    what = f"holds an unfinished prediction {_difference(there, asked)}" if isinstance(there, dict) else "is in the way"
    raise UserError(
        f"{folder}: {what}; finish that with its own command, delete the folder, or name another --out than {out}"
    )


def _difference(there: dict[str, Any], asked: dict[str, Any]) -> str:
    """How two works differ, in words."""
    differing = []
    for name, ours in asked["request"].items():
        if (theirs := (there.get("request") or {}).get(name)) != ours:
            shown = [_UNASKED.get(name, "not given") if value is None else value for value in (theirs, ours)]
            differing.append(f"{'--class' if name == 'of_class' else flag(name)} {shown[0]}, not {shown[1]}")
    for name, words in _WORDS.items():
        if name == "files" and ("files" not in there or there.get("names") != asked["names"]):
            continue  # an earlier version did not note them, or other names say enough
        if there.get(name) != asked[name] and words not in differing:
            differing.append(words)
    return f"({'; '.join(differing)})"


_UNASKED = {"threshold": "own"}
"""How a command line says that nothing is asked for, where it can."""
_WORDS = {
    "images": "of other images",
    "names": "of other images",
    "files": "of files of these names whose sizes or times have changed since",
    "by": "by another network, or cut otherwise",
    "network": "by another network, or cut otherwise",
    "source": "by another version of fastwsol",
}
