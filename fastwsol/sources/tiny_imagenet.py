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

import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from fastwsol.host.errors import UserError
from fastwsol.sources import TINY_IMAGENET, Class, Fault
from fastwsol.sources.annotated import (
    IMAGE_SUFFIXES,
    AnnotatedBox,
    AnnotatedImage,
    FileSource,
    first_classes,
    read_rows,
)
from fastwsol.sources.tree import Folder, Tree, Zip

LAYOUT_NAME = TINY_IMAGENET
_DOWNLOAD = f"get the official {LAYOUT_NAME}.zip and give it as --source"
_REPLACE = f"take the file from the official {LAYOUT_NAME}.zip"
_CORRECT = f"correct the line, or take the file from the official {LAYOUT_NAME}.zip"


class TinyImageNet(FileSource):
    """A `Source` over the official layout. `class_count` keeps the first classes of wnids.txt (default: all);
    follow_links: also links that lead out of `path`.

    Raises UserError for every mistake in the layout that is not one image's, naming file, line and remedy.
    """

    def __init__(self, path: Path, *, class_count: int | None = None, follow_links: bool = False):
        tree = _open_tree(path, follow_links)
        all_classes = _read_classes(tree)
        classes = first_classes(all_classes, class_count, tree.where("wnids.txt"))
        labels = {one.wnid: label for label, one in enumerate(all_classes)}
        annotations = {"train": _read_train(tree, labels, len(classes)), "val": _read_val(tree, labels, len(classes))}
        super().__init__(LAYOUT_NAME, classes, tree, annotations)


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
    remedy = _DOWNLOAD
    if any(each.suffix.lower() in IMAGE_SUFFIXES for each in itertools.islice(path.glob("*/*"), _LOOKED_AT)):
        remedy = f"of images in class folders say --layout imagefolder, or {_DOWNLOAD}"
    expected = f"wnids.txt, a folder {LAYOUT_NAME} or {archive.name} in it"
    raise UserError(f"{path}: not a Tiny ImageNet layout (expected {expected}); {remedy}")


_LOOKED_AT = 1000
"""Files of a folder, at most."""


def _open_tree(path: Path, follow_links: bool) -> Tree:
    layout = find_layout(path)
    tree: Tree = Zip(layout, LAYOUT_NAME, _DOWNLOAD) if layout.is_file() else Folder(layout, follow_links)
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


def _read_train(tree: Tree, labels: dict[str, int], class_count: int) -> list[AnnotatedImage]:
    """The train annotations of the first `class_count` classes."""
    for folder in tree.names("train"):
        if folder not in labels:
            raise UserError(
                f"{tree.where(f'train/{folder}')}: {folder!r} is not a class of {tree.where('wnids.txt')}; "
                f"remove it, or add the class there"
            )
    annotations: list[AnnotatedImage] = []
    for wnid, label in labels.items():
        if label < class_count:
            text, images = f"train/{wnid}/{wnid}_boxes.txt", f"train/{wnid}/images"
            of_class = []
            for line, (file, *box) in _rows(tree, text, "<file> <x0> <y0> <x1> <y1>"):
                of_class.append((line, _annotation(tree, text, line, images, file, label, box)))
            annotations += _match_images(tree, text, images, of_class)
    return annotations


def _read_val(tree: Tree, labels: dict[str, int], class_count: int) -> list[AnnotatedImage]:
    """The val annotations of the first `class_count` classes; the lines of the others are checked too."""
    text, images = "val/val_annotations.txt", "val/images"
    annotations: list[tuple[int, AnnotatedImage]] = []
    for line, (file, wnid, *box) in _rows(tree, text, "<file> <wnid> <x0> <y0> <x1> <y1>"):
        if wnid not in labels:
            raise UserError(
                f"{tree.where(text)} line {line}: {wnid!r} is not a class of {tree.where('wnids.txt')}; {_CORRECT}"
            )
        annotations.append((line, _annotation(tree, text, line, images, file, labels[wnid], box)))
    matched = _match_images(tree, text, images, annotations)
    return [annotation for annotation in matched if annotation.label < class_count]


def _match_images(
    tree: Tree, text: str, folder: str, annotations: list[tuple[int, AnnotatedImage]]
) -> list[AnnotatedImage]:
    """Give each annotation of a line its image's stamp, or a fault where there is no image.

    Raises UserError for an image annotated twice and an image without an annotation.
    """
    line_of_path: dict[str, int] = {}
    for line, annotation in annotations:
        if annotation.path in line_of_path:
            raise UserError(
                f"{tree.where(text)} line {line}: {annotation.path.rpartition('/')[2]} stands in line "
                f"{line_of_path[annotation.path]} already; {_CORRECT}"
            )
        line_of_path[annotation.path] = line
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
        for _, each in annotations
    ]


def _rows(tree: Tree, path: str, fields: str) -> Iterator[tuple[int, list[str]]]:
    return read_rows(tree, path, fields, _REPLACE, _CORRECT)


def _annotation(
    tree: Tree, text: str, line: int, folder: str, file: str, label: int, corners: list[str]
) -> AnnotatedImage:
    """The annotation of a line, its box with half-open edges. The packer checks that the box lies in its image. A box
    that can be in no image becomes the annotation's fault. Raises UserError for a line that is no annotation.
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
    return AnnotatedImage(path, label, (AnnotatedBox((x0, y0, x1 + 1, y1 + 1), label),), where, fault=fault)
