"""The metadata files of the WSOL evaluation benchmark (Choe et al. 2020), over images in a folder or zip.

    <metadata>/train/class_labels.txt     path,label
    <metadata>/train/image_ids.txt        path
    <metadata>/train/image_sizes.txt      path,width,height      may be missing where no box is read, as of OpenImages
    <metadata>/train/localization.txt     path,x0,y0,x1,y1       a line a box; may be missing for train
                                          path,mask,ignored      or, with --masks, a line a mask; `ignored` may be empty
    <metadata>/test/...                   which is val here
    <metadata>/val/...                    its trainfullsup, which is `fullsup` here

A path is an image's below the source, its name here, and records come in the order of image_ids.txt. The images of
`fullsup` are there to choose settings on, by their boxes or masks, and are packed where that is asked for. Masks are
PNG files below a folder of their own: what any of an image's masks marks is the object, and what else its file of
ignored pixels marks is left out. Box ends are inclusive pixels there and get + 1 here. Labels are whole numbers from 0;
classes are named after the folder that their images of train share, where there is one, and else class-<label>.
"""

import re
from collections import defaultdict
from collections.abc import Container
from pathlib import Path

from fastwsol.host.errors import UserError
from fastwsol.sources import FULLSUP, Class, Fault
from fastwsol.sources.annotated import (
    AnnotatedBox,
    AnnotatedImage,
    FileSource,
    first_classes,
    images_below,
    read_rows,
    read_text,
)
from fastwsol.sources.boxes import Box
from fastwsol.sources.mask_folder import BenchmarkMasks, Regions
from fastwsol.sources.tree import Folder, Tree, open_tree

SPLITS = {"train": "train", "val": "test", FULLSUP: "val"}
"""Ours, and the benchmark's folder."""
_CORRECT = "correct the line"
_REPLACE = "name the benchmark's folder of metadata with --metadata"
_MOST_CLASSES = 100_000


class WsolEval(FileSource):
    """A `Source` over the benchmark's files; metadata: their folder, by default `metadata` in the source; masks: the
    folder or zip of the masks, where localization.txt names masks; fullsup: whether that split is there too.

    `class_count` keeps the labels below it. Raises UserError for every mistake that is not one image's, naming file,
    line and remedy.
    """

    def __init__(
        self,
        path: Path,
        *,
        metadata: Path | None = None,
        class_count: int | None = None,
        follow_links: bool = False,
        masks: Path | None = None,
        fullsup: bool = False,
    ):
        images = open_tree(path, follow_links)
        if metadata is None and path.is_file():
            raise UserError(f"{path}: is a zip; {_REPLACE}")
        folder = path / "metadata" if metadata is None else metadata
        if not folder.is_dir():
            raise UserError(f"{folder}: no such folder; {_REPLACE}")
        texts = Folder(folder, follow_links)
        stamps, _ = images_below(images, "")
        regions: dict[str, Regions] | None = None if masks is None else {}
        every = {
            split: _read_split(texts, their_name, stamps, regions)
            for split, their_name in SPLITS.items()
            if fullsup or split != FULLSUP
        }
        classes = first_classes(_classes(texts, every), class_count, str(folder))
        images_of = {split: [each for each in found if each.label < len(classes)] for split, found in every.items()}
        if not images_of.get(FULLSUP, [None]):
            raise UserError(
                f"--fullsup: no image of {folder / 'val'} is of the first {class_count} classes; leave it out"
            )
        mask_files = None
        if masks is not None and regions is not None:
            kept = {each.path for found in images_of.values() for each in found}
            mask_files = BenchmarkMasks(
                masks, {name: each for name, each in regions.items() if name in kept}, follow_links
            )
        super().__init__(f"{path.resolve().name} (wsoleval)", classes, images, images_of, mask_files)


def _read_split(
    texts: Tree, split: str, stamps: dict[str, str], regions: dict[str, Regions] | None
) -> list[AnnotatedImage]:
    """The annotations of one of the benchmark's splits. regions: where masks are to be had, to add those to."""
    ids, labels = f"{split}/image_ids.txt", f"{split}/class_labels.txt"
    line_of = _unique(texts, ids)
    label_of = _labels(texts, labels, line_of)
    there, boxes_file, sizes_file = texts.names(split), f"{split}/localization.txt", f"{split}/image_sizes.txt"
    is_localized = split != "train" or "localization.txt" in there
    reads_boxes = is_localized and regions is None
    if reads_boxes and _names_masks(texts, boxes_file):
        raise UserError(f"{texts.where(boxes_file)}: names masks, not boxes; say where they lie, with --masks FOLDER")
    sizes = _sizes(texts, sizes_file, line_of) if reads_boxes or "image_sizes.txt" in there else {}
    boxes = _boxes(texts, boxes_file, sizes) if reads_boxes else defaultdict(list)
    masks: dict[str, Regions] = {}
    if is_localized and regions is not None:
        masks = _masks(texts, boxes_file, line_of)
        regions |= masks
    annotations = []
    for path, line in line_of.items():
        fault = None
        if path not in stamps:
            fault = Fault(path, "no such image", "put the image back, or remove its lines")
        lines = [number for number, _ in boxes[path]]
        origin = f"{texts.where(boxes_file)} line {lines[0]}" if lines else f"{texts.where(ids)} line {line}"
        label = label_of[path]
        own = tuple(AnnotatedBox(box, label) for _, box in boxes[path])
        stamp, mask = stamps.get(path, ""), path if path in masks else None
        annotations.append(AnnotatedImage(path, label, own, origin, stamp, fault, sizes.get(path), mask))
    return annotations


def _unique(texts: Tree, file: str) -> dict[str, int]:
    """The line that each path stands in."""
    line_of: dict[str, int] = {}
    for line, (path,) in read_rows(texts, file, "<path>", _REPLACE, _CORRECT, ","):
        if path in line_of:
            raise UserError(
                f"{texts.where(file)} line {line}: {path} stands in line {line_of[path]} already; {_CORRECT}"
            )
        line_of[path] = line
    if not line_of:
        raise UserError(f"{texts.where(file)}: names no image; {_REPLACE}")
    return line_of


def _labels(texts: Tree, file: str, line_of: dict[str, int]) -> dict[str, int]:
    label_of: dict[str, int] = {}
    for line, (path, label) in read_rows(texts, file, "<path> <label>", _REPLACE, _CORRECT, ","):
        where = f"{texts.where(file)} line {line}"
        if not re.fullmatch(r"[0-9]{1,9}", label) or int(label) >= _MOST_CLASSES:
            raise UserError(f"{where}: label {label[:40]!r}, expected a whole number from 0; {_CORRECT}")
        _check_known(where, path, line_of, path in label_of)
        label_of[path] = int(label)
    _check_complete(texts, file, line_of, label_of)
    return label_of


def _sizes(texts: Tree, file: str, line_of: dict[str, int]) -> dict[str, tuple[int, int]]:
    size_of: dict[str, tuple[int, int]] = {}
    for line, (path, width, height) in read_rows(texts, file, "<path> <width> <height>", _REPLACE, _CORRECT, ","):
        where = f"{texts.where(file)} line {line}"
        if not all(re.fullmatch(r"[1-9][0-9]{0,8}", side) for side in (width, height)):
            raise UserError(f"{where}: size {width[:20]!r} x {height[:20]!r}, expected pixels; {_CORRECT}")
        _check_known(where, path, line_of, path in size_of)
        size_of[path] = int(width), int(height)
    _check_complete(texts, file, line_of, size_of)
    return size_of


def _masks(texts: Tree, file: str, line_of: dict[str, int]) -> dict[str, Regions]:
    """The files that mark each image's object, and what is left out of it, in the order of their lines."""
    if not _names_masks(texts, file):
        raise UserError(f"{texts.where(file)}: has no lines {_MASK_FIELDS}; leave --masks out, or {_REPLACE}")
    regions: dict[str, Regions] = {}
    for line, (path, mask, ignored) in read_rows(
        texts, file, _MASK_FIELDS, _REPLACE, _CORRECT, ",", last_may_be_empty=True
    ):
        _check_known(f"{texts.where(file)} line {line}", path, line_of, False)
        before = regions.get(path, Regions((), ()))
        left_out = dict.fromkeys((*before.ignored, *([ignored] if ignored else [])))
        regions[path] = Regions((*before.objects, mask), tuple(left_out))
    return regions


_MASK_FIELDS = "<path> <mask> <ignored>"


def _names_masks(texts: Tree, file: str) -> bool:
    """Whether a file's lines are of masks, and not of boxes, by its first one."""
    first = next((line for line in read_text(texts, file, _REPLACE).split("\n") if line.strip()), "")
    return first.count(",") == _MASK_FIELDS.count(" ")


def _boxes(texts: Tree, file: str, sizes: dict[str, tuple[int, int]]) -> dict[str, list[tuple[int, Box]]]:
    """The boxes of each image with their lines. Ends in the file are inclusive and become exclusive. Some equal the
    image's width or height, which no pixel has: those are exclusive already and stay.
    """
    boxes_of: dict[str, list[tuple[int, Box]]] = defaultdict(list)
    for line, (path, *values) in read_rows(texts, file, "<path> <x0> <y0> <x1> <y1>", _REPLACE, _CORRECT, ","):
        where = f"{texts.where(file)} line {line}"
        if not all(re.fullmatch(r"[0-9]{1,9}(\.[0-9]{1,9})?", value) for value in values):
            raise UserError(f"{where}: box {','.join(values)[:60]!r}, expected pixels; {_CORRECT}")
        _check_known(where, path, sizes, False)
        x0, y0, x1, y1 = map(float, values)
        width, height = sizes[path]
        box = (x0, y0, x1 if x1 == width else x1 + 1, y1 if y1 == height else y1 + 1)
        boxes_of[path].append((line, box))
    return boxes_of


def _check_known(where: str, path: str, known: Container[str], is_there: bool) -> None:
    if path not in known:
        raise UserError(f"{where}: {path[:80]!r} is not in image_ids.txt; {_CORRECT}")
    if is_there:
        raise UserError(f"{where}: {path} stands there twice; {_CORRECT}")


def _check_complete(texts: Tree, file: str, line_of: dict[str, int], value_of: dict) -> None:
    missing = next((path for path in line_of if path not in value_of), None)
    if missing is not None:
        raise UserError(f"{texts.where(file)}: has no line for {missing}; add it, or {_REPLACE}")


def _classes(texts: Tree, every: dict[str, list[AnnotatedImage]]) -> tuple[Class, ...]:
    """A class for each label up to the highest."""
    folders: dict[int, set[str]] = defaultdict(set)
    for each in every["train"]:
        folders[each.label].add(each.path.rpartition("/")[0].rpartition("/")[2])
    highest = max(each.label for of_split in every.values() for each in of_split)
    if missing := set(range(highest + 1)) - folders.keys():
        raise UserError(
            f"{texts.where('train/class_labels.txt')}: no image of label {min(missing)}, and {highest} is the highest; "
            f"labels are counted from 0 without a gap"
        )
    names = [f"class-{label}" for label in range(highest + 1)]
    own = [min(folders[label]) if len(folders[label]) == 1 else "" for label in range(highest + 1)]
    if all(own) and len(set(own)) == len(own):
        names = own
    return tuple(Class(name, name) for name in names)
