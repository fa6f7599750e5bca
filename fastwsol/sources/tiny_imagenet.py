"""Tiny ImageNet in its official layout, from a folder or straight out of the zip, which is never extracted.

    wnids.txt                          one WordNet id a line; this order is the label order
    words.txt                          WordNet id, tab, human name
    train/<wnid>/<wnid>_boxes.txt      file, x0, y0, x1, y1, tab-separated
    train/<wnid>/images/<file>
    val/val_annotations.txt            file, wnid, x0, y0, x1, y1, tab-separated
    val/images/<file>

Box ends are inclusive there and get + 1 here. Records come in the order of the annotation lines, train class by class
in label order, so folder and zip give the same sequence. The unlabelled test images are not read. Everything but the
images themselves is read and checked when the source is opened.
"""

import re
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from fastwsol.errors import UserError
from fastwsol.sources import Class, Record

LAYOUT_NAME = "tiny-imagenet-200"

_DOWNLOAD = f"get the official {LAYOUT_NAME}.zip and give it as --source"
_REPLACE = f"take the file from the official {LAYOUT_NAME}.zip"
_CORRECT = f"correct the line, or take the file from the official {LAYOUT_NAME}.zip"


@dataclass(frozen=True)
class _Annotation:
    """One annotated image: its path in the layout, its label, its box with half-open edges, and where that is said."""

    path: str
    label: int
    box: tuple[int, int, int, int]
    text: str
    line: int


class TinyImageNet:
    """A `Source` over the official layout. `class_count` keeps the first classes of wnids.txt (default: all).

    Raises UserError for every mistake in the layout, naming file, line and remedy.
    """

    identity = LAYOUT_NAME
    splits = ("train", "val")

    def __init__(self, path: Path, class_count: int | None = None):
        self._tree = _open_tree(path)
        all_classes = _read_classes(self._tree)
        if class_count is not None and not 1 <= class_count <= len(all_classes):
            raise UserError(
                f"--classes {class_count}: {self._tree.where('wnids.txt')} has {len(all_classes)} classes; "
                f"choose 1 to {len(all_classes)}"
            )
        self.classes = all_classes[:class_count]
        labels = {one.wnid: label for label, one in enumerate(all_classes)}
        self._annotations = {
            "train": _read_train(self._tree, labels, len(self.classes)),
            "val": _read_val(self._tree, labels, len(self.classes)),
        }

    def count(self, split: str) -> int:
        """How many records `records(split)` yields."""
        return len(self._annotations[split])

    def records(self, split: str) -> Iterator[Record]:
        """Yield the records of `split`; names are paths in the layout. Raises UserError for an unreadable image."""
        for annotation in self._annotations[split]:
            boxes = np.array([annotation.box], np.float32)
            yield Record(annotation.path, self._tree.read(annotation.path), annotation.label, boxes)

    def origin(self, split: str, index: int) -> str:
        """The annotation file and line that record `index` comes from."""
        annotation = self._annotations[split][index]
        return f"{self._tree.where(annotation.text)} line {annotation.line}"


def find_layout(path: Path) -> Path:
    """The folder or zip that `path` means: itself, or the official folder or zip inside it.

    Raises UserError when there is neither.
    """
    if path.is_file():
        return path
    if not path.exists():
        raise UserError(f"{path}: no such folder or zip; {_DOWNLOAD}, or put it into data/raw")
    candidates = (path, path / LAYOUT_NAME)
    for folder in candidates:
        if (folder / "wnids.txt").is_file():
            return folder
    archive = path / f"{LAYOUT_NAME}.zip"
    if archive.is_file():
        return archive
    raise UserError(
        f"{path}: not a Tiny ImageNet layout (expected wnids.txt, a folder {LAYOUT_NAME} or {archive.name} in it); "
        f"{_DOWNLOAD}"
    )


class _Tree(Protocol):
    """Files under a layout's root, wherever they are kept. Paths are relative to the root, with slashes."""

    def where(self, path: str) -> str:
        """The file as the user would find it."""

    def read(self, path: str) -> bytes:
        """A file's bytes. Raises UserError when it is missing or cannot be read."""

    def names(self, folder: str) -> list[str]:
        """The names directly in `folder`, hidden ones left out, sorted; none when there is no such folder."""


class _Folder:
    def __init__(self, root: Path):
        self._root = root

    def where(self, path: str) -> str:
        return str(self._root / path)

    def read(self, path: str) -> bytes:
        try:
            return (self._root / path).read_bytes()
        except FileNotFoundError:
            raise UserError(f"{self.where(path)}: missing; {_REPLACE}") from None
        except OSError as error:
            raise UserError(f"{self.where(path)}: cannot be read ({error.strerror}); {_REPLACE}") from None

    def names(self, folder: str) -> list[str]:
        where = self._root / folder
        try:
            return sorted(entry.name for entry in where.iterdir() if not entry.name.startswith("."))
        except (FileNotFoundError, NotADirectoryError):
            return []
        except OSError as error:
            raise UserError(f"{where}: cannot be listed ({error.strerror}); check its permissions") from None


class _Zip:
    def __init__(self, path: Path):
        self._path = path
        try:
            self._archive = zipfile.ZipFile(path)
        except zipfile.BadZipFile as error:
            raise UserError(f"{path}: not a whole zip archive ({error}); {_DOWNLOAD}") from None
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror}); check its permissions") from None
        members = [member for member in self._archive.namelist() if not member.endswith("/")]
        self._prefix = f"{LAYOUT_NAME}/" if f"{LAYOUT_NAME}/wnids.txt" in members else ""
        self._names = self._names_by_folder(
            [member.removeprefix(self._prefix) for member in members if member.startswith(self._prefix)]
        )

    def _names_by_folder(self, files: list[str]) -> dict[str, set[str]]:
        names: dict[str, set[str]] = {}
        for file in files:
            folder, _, name = file.rpartition("/")
            of_folder = names.setdefault(folder, set())
            if name in of_folder:
                raise UserError(f"{self.where(file)}: the archive has two files of this name; {_DOWNLOAD}")
            of_folder.add(name)
        for folder in list(names):
            while folder:  # a folder need not have a member of its own
                folder, _, name = folder.rpartition("/")
                names.setdefault(folder, set()).add(name)
        return names

    def where(self, path: str) -> str:
        return f"{self._path}: {self._prefix}{path}"

    def read(self, path: str) -> bytes:
        try:
            return self._archive.read(self._prefix + path)
        except KeyError:
            raise UserError(f"{self.where(path)}: missing; {_DOWNLOAD}") from None
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError) as error:
            # RuntimeError: the member is encrypted; NotImplementedError: an unknown compression.
            raise UserError(f"{self.where(path)}: the archive is damaged here ({error}); {_DOWNLOAD}") from None

    def names(self, folder: str) -> list[str]:
        return sorted(name for name in self._names.get(folder, ()) if not name.startswith("."))


def _open_tree(path: Path) -> _Tree:
    layout = find_layout(path)
    tree: _Tree = _Zip(layout) if layout.is_file() else _Folder(layout)
    if "wnids.txt" not in tree.names(""):
        raise UserError(
            f"{layout}: not a Tiny ImageNet layout (expected wnids.txt, at the top or in {LAYOUT_NAME}/); {_DOWNLOAD}"
        )
    return tree


def _read_classes(tree: _Tree) -> tuple[Class, ...]:
    """The classes in the order of wnids.txt, with their names from words.txt."""
    line_of_wnid: dict[str, int] = {}
    for line, (wnid,) in _rows(tree, "wnids.txt", "<wnid>"):
        if wnid in line_of_wnid:
            raise UserError(
                f"{tree.where('wnids.txt')} line {line}: {wnid} stands in line {line_of_wnid[wnid]} already; {_CORRECT}"
            )
        line_of_wnid[wnid] = line
    if not line_of_wnid:
        raise UserError(f"{tree.where('wnids.txt')}: names no class; {_REPLACE}")
    names = {wnid: name for _, (wnid, name) in _rows(tree, "words.txt", "<wnid> <name>")}
    for wnid, line in line_of_wnid.items():
        if wnid not in names:
            raise UserError(
                f"{tree.where('words.txt')}: no name for {wnid} (wnids.txt line {line}); add a line, or {_REPLACE}"
            )
    return tuple(Class(wnid, names[wnid]) for wnid in line_of_wnid)


def _read_train(tree: _Tree, labels: dict[str, int], class_count: int) -> list[_Annotation]:
    """The train annotations of the first `class_count` classes."""
    for folder in tree.names("train"):
        if folder not in labels:
            raise UserError(
                f"{tree.where(f'train/{folder}')}: {folder!r} is not a class of {tree.where('wnids.txt')}; "
                f"remove it, or add the class there"
            )
    annotations: list[_Annotation] = []
    for wnid, label in labels.items():
        if label < class_count:
            text, images = f"train/{wnid}/{wnid}_boxes.txt", f"train/{wnid}/images"
            of_class = []
            for line, (file, *box) in _rows(tree, text, "<file> <x0> <y0> <x1> <y1>"):
                of_class.append(_Annotation(f"{images}/{file}", label, _box(tree, text, line, box), text, line))
            _match_images(tree, text, images, of_class)
            annotations += of_class
    return annotations


def _read_val(tree: _Tree, labels: dict[str, int], class_count: int) -> list[_Annotation]:
    """The val annotations of the first `class_count` classes; the lines of the others are checked too."""
    text, images = "val/val_annotations.txt", "val/images"
    annotations: list[_Annotation] = []
    for line, (file, wnid, *box) in _rows(tree, text, "<file> <wnid> <x0> <y0> <x1> <y1>"):
        if wnid not in labels:
            raise UserError(
                f"{tree.where(text)} line {line}: {wnid!r} is not a class of {tree.where('wnids.txt')}; {_CORRECT}"
            )
        annotations.append(_Annotation(f"{images}/{file}", labels[wnid], _box(tree, text, line, box), text, line))
    _match_images(tree, text, images, annotations)
    return [annotation for annotation in annotations if annotation.label < class_count]


def _match_images(tree: _Tree, text: str, folder: str, annotations: list[_Annotation]) -> None:
    """Refuse an image annotated twice, an annotation without its image, and an image without an annotation."""
    line_of_path: dict[str, int] = {}
    for annotation in annotations:
        if annotation.path in line_of_path:
            raise UserError(
                f"{tree.where(text)} line {annotation.line}: {annotation.path.rpartition('/')[2]} stands in line "
                f"{line_of_path[annotation.path]} already; {_CORRECT}"
            )
        line_of_path[annotation.path] = annotation.line
    paths = [f"{folder}/{name}" for name in tree.names(folder)]
    without_image = line_of_path.keys() - paths
    if without_image:
        path = min(without_image, key=lambda path: line_of_path[path])
        raise UserError(
            f"{tree.where(path)}: no such image, and {tree.where(text)} line {line_of_path[path]} annotates it; "
            f"put the image back, or remove the line"
        )
    for path in paths:
        if path not in line_of_path:
            raise UserError(
                f"{tree.where(path)}: {tree.where(text)} has no annotation for this image; add the line, or remove "
                f"the image"
            )


def _rows(tree: _Tree, path: str, fields: str) -> Iterator[tuple[int, list[str]]]:
    """Yield line number (from 1) and the tab-separated values of each line that is not blank.

    `fields` names them, separated by blanks. Raises UserError for a line with another number of values.
    """
    try:
        text = tree.read(path).decode("utf-8")
    except UnicodeDecodeError:
        raise UserError(f"{tree.where(path)}: not UTF-8 text; {_REPLACE}") from None
    field_count = len(fields.split())
    # Not splitlines(), which also splits at characters that a name may hold.
    for line, content in enumerate(text.split("\n"), start=1):
        values = content.rstrip("\r").split("\t")
        if values == [""]:
            continue
        if len(values) != field_count or not all(values):
            raise UserError(
                f"{tree.where(path)} line {line}: found {content.strip()[:80]!r}, expected {fields} separated by tabs; "
                f"{_CORRECT}"
            )
        yield line, values


def _box(tree: _Tree, text: str, line: int, values: list[str]) -> tuple[int, int, int, int]:
    """The half-open box of an annotation with inclusive ends. Whether it lies in the image is for the packer to say."""
    for value in values:
        if not re.fullmatch(r"-?[0-9]{1,9}", value):
            raise UserError(
                f"{tree.where(text)} line {line}: box coordinate {value[:40]!r}, expected an integer; {_CORRECT}"
            )
    x0, y0, x1, y1 = (int(value) for value in values)
    if x0 < 0 or y0 < 0:
        raise UserError(
            f"{tree.where(text)} line {line}: box ({x0}, {y0}, {x1}, {y1}) begins outside the image; {_CORRECT}"
        )
    if x1 < x0 or y1 < y0:
        raise UserError(
            f"{tree.where(text)} line {line}: box ({x0}, {y0}, {x1}, {y1}) is inverted, expected x0 <= x1 and "
            f"y0 <= y1; {_CORRECT}"
        )
    return x0, y0, x1 + 1, y1 + 1
