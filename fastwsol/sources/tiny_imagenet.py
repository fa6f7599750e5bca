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

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fastwsol.errors import UserError
from fastwsol.sources import Class, Fault, Record
from fastwsol.sources.tree import BadFile, Folder, Tree, Zip

LAYOUT_NAME = "tiny-imagenet-200"
MAX_TEXT_BYTES = 64 * 2**20
"""Largest annotation file; the official words.txt has 2.6 MB."""
MAX_FILE_BYTES = 64 * 2**20
"""Largest image file that is read at all; what is too large for packing is smaller, and the packer's to say."""

_DOWNLOAD = f"get the official {LAYOUT_NAME}.zip and give it as --source"
_REPLACE = f"take the file from the official {LAYOUT_NAME}.zip"
_CORRECT = f"correct the line, or take the file from the official {LAYOUT_NAME}.zip"
_PUT_WHOLE = "put a whole copy in its place, or remove image and line"


@dataclass(frozen=True)
class _Annotation:
    """One annotated image: its path in the layout, its label, its box with half-open edges, where that is said, the
    image file's stamp, and what is wrong already.
    """

    path: str
    label: int
    box: tuple[int, int, int, int]
    text: str
    line: int
    stamp: str = ""
    fault: Fault | None = None


class TinyImageNet:
    """A `Source` over the official layout. `class_count` keeps the first classes of wnids.txt (default: all).

    Raises UserError for every mistake in the layout that is not one image's, naming file, line and remedy.
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
        """How many records and faults `records(split)` yields."""
        return len(self._annotations[split])

    def labels(self, split: str) -> NDArray[np.int64]:
        """The labels of all annotated images."""
        return np.array([annotation.label for annotation in self._annotations[split]], np.int64)

    def known_faults(self, split: str) -> dict[int, Fault]:
        """The annotations whose image is missing or whose box cannot be."""
        annotations = enumerate(self._annotations[split])
        return {index: annotation.fault for index, annotation in annotations if annotation.fault is not None}

    def records(self, split: str, start: int = 0) -> Iterator[Record | Fault]:
        """Yield the records of `split` from index `start` on; names are paths in the layout."""
        for annotation in self._annotations[split][start:]:
            if annotation.fault is not None:
                yield annotation.fault
                continue
            try:
                image = self._tree.read(annotation.path, MAX_FILE_BYTES)
            except BadFile as error:
                yield Fault(annotation.path, str(error), _PUT_WHOLE)
            else:
                yield Record(annotation.path, image, annotation.label, np.array([annotation.box], np.float32))

    def origin(self, split: str, index: int) -> str:
        """The annotation file and line that record `index` comes from."""
        annotation = self._annotations[split][index]
        return f"{self._tree.where(annotation.text)} line {annotation.line}"

    def fingerprint(self, split: str, start: int, stop: int) -> str:
        """A hash over paths, labels, boxes, and the files' checksums (zip) or sizes and times of change (folder)."""
        digest = hashlib.sha256()
        for each in self._annotations[split][start:stop]:
            digest.update(f"{each.path}\t{each.label}\t{each.box}\t{each.stamp}\t{each.fault}\n".encode())
        return digest.hexdigest()


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


def _open_tree(path: Path) -> Tree:
    layout = find_layout(path)
    tree: Tree = Zip(layout, LAYOUT_NAME, _DOWNLOAD) if layout.is_file() else Folder(layout)
    if "wnids.txt" not in tree.names(""):
        raise UserError(
            f"{layout}: not a Tiny ImageNet layout (expected wnids.txt, at the top or in {LAYOUT_NAME}/); {_DOWNLOAD}"
        )
    return tree


def _read_classes(tree: Tree) -> tuple[Class, ...]:
    """The classes in the order of wnids.txt, with their names from words.txt."""
    line_of_wnid: dict[str, int] = {}
    for line, (wnid,) in _rows(tree, "wnids.txt", "<wnid>"):
        if not re.fullmatch(r"\w[\w.-]*", wnid):
            raise UserError(f"{tree.where('wnids.txt')} line {line}: {wnid[:80]!r} is no WordNet id; {_CORRECT}")
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


def _read_train(tree: Tree, labels: dict[str, int], class_count: int) -> list[_Annotation]:
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
                of_class.append(_annotation(tree, text, line, images, file, label, box))
            annotations += _match_images(tree, text, images, of_class)
    return annotations


def _read_val(tree: Tree, labels: dict[str, int], class_count: int) -> list[_Annotation]:
    """The val annotations of the first `class_count` classes; the lines of the others are checked too."""
    text, images = "val/val_annotations.txt", "val/images"
    annotations: list[_Annotation] = []
    for line, (file, wnid, *box) in _rows(tree, text, "<file> <wnid> <x0> <y0> <x1> <y1>"):
        if wnid not in labels:
            raise UserError(
                f"{tree.where(text)} line {line}: {wnid!r} is not a class of {tree.where('wnids.txt')}; {_CORRECT}"
            )
        annotations.append(_annotation(tree, text, line, images, file, labels[wnid], box))
    matched = _match_images(tree, text, images, annotations)
    return [annotation for annotation in matched if annotation.label < class_count]


def _match_images(tree: Tree, text: str, folder: str, annotations: list[_Annotation]) -> list[_Annotation]:
    """Give each annotation its image's stamp, or a fault where there is no image.

    Raises UserError for an image annotated twice and an image without an annotation.
    """
    line_of_path: dict[str, int] = {}
    for annotation in annotations:
        if annotation.path in line_of_path:
            raise UserError(
                f"{tree.where(text)} line {annotation.line}: {annotation.path.rpartition('/')[2]} stands in line "
                f"{line_of_path[annotation.path]} already; {_CORRECT}"
            )
        line_of_path[annotation.path] = annotation.line
    stamps = {f"{folder}/{name}": stamp for name, stamp in tree.stamps(folder).items()}
    for path in stamps:
        if path not in line_of_path:
            raise UserError(
                f"{tree.where(path)}: {tree.where(text)} has no annotation for this image; add the line, or remove "
                f"the image"
            )
    return [
        replace(each, stamp=stamps[each.path])
        if each.path in stamps
        else replace(each, fault=Fault(each.path, "no such image", "put the image back, or remove the line"))
        for each in annotations
    ]


def _rows(tree: Tree, path: str, fields: str) -> Iterator[tuple[int, list[str]]]:
    """Yield line number (from 1) and the tab-separated values of each line that is not blank.

    `fields` names them, separated by blanks. Raises UserError for a line with another number of values.
    """
    try:
        text = tree.read(path, MAX_TEXT_BYTES).decode("utf-8")
    except BadFile as error:
        raise UserError(f"{tree.where(path)}: {error}; {_REPLACE}") from None
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


def _annotation(
    tree: Tree, text: str, line: int, folder: str, file: str, label: int, corners: list[str]
) -> _Annotation:
    """The annotation of a line, its box with half-open edges; whether that lies in the image is for the packer to say.

    A box that can be in no image is the annotation's fault. Raises UserError for a line that is no annotation.
    """
    where = f"{tree.where(text)} line {line}"
    if "/" in file or "\0" in file or file.startswith("."):
        raise UserError(f"{where}: {file[:80]!r} is no image's name; {_CORRECT}")
    for value in corners:
        if not re.fullmatch(r"-?[0-9]{1,9}", value):
            raise UserError(f"{where}: box coordinate {value[:40]!r}, expected an integer; {_CORRECT}")
    path = f"{folder}/{file}"
    x0, y0, x1, y1 = (int(value) for value in corners)
    fault = None
    if x0 < 0 or y0 < 0:
        fault = Fault(path, f"box ({x0}, {y0}, {x1}, {y1}) begins outside the image", _CORRECT)
    elif x1 < x0 or y1 < y0:
        reason = f"box ({x0}, {y0}, {x1}, {y1}) is inverted, expected x0 <= x1 and y0 <= y1"
        fault = Fault(path, reason, _CORRECT)
    return _Annotation(path, label, (x0, y0, x1 + 1, y1 + 1), text, line, fault=fault)
