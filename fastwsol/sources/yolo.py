"""A detection set in YOLO's form, as Ultralytics' tools train on it, and as `convert` and `predict --format yolo` write
it too.

    data.yaml               the names of the classes, and of each split the folder of its images, a text file that lists
                            them, or several of these; their paths count from `path`, or from this file. What lies
                            before the set in a path, as on the machine that it was made on, is passed over.
                            `predicted`: of how many images the boxes are a network's, as `convert` writes it
    classes.txt, obj.names  in its place, also in labels/: the names, a line each. The lists train.txt and val.txt tell
                            the splits then, or else folders that are called so; without any all is train
    images/NAME.jpg         an image, in folders of any depth
    labels/NAME.txt         a line an object, in the folder that is called `labels` where the image's last `images` is,
                            or else beside the image:
                            `class x y width height`, the middle and the sides as shares of the upright image;
                            or `class x y x y ...`, the corners of the object's outline; a last number more, of either,
                            is the confidence of a network that predicted it

Which class an image is of: `of_objects`. Outlines become masks, where every object of the image's class has one; those
of four corners along the image's edges are boxes, and all are where none has another number, as turned boxes have. Of
poses (`kpt_shape` in data.yaml) the boxes alone are taken. Images without a file of labels show no object.
"""

import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import yaml

from fastwsol.host.errors import UserError
from fastwsol.host.words import first_few, number_of
from fastwsol.sources import Class, Fault, Record
from fastwsol.sources.annotated import (
    LEFT_OUT,
    MAX_FILE_BYTES,
    PUT_WHOLE,
    AnnotatedImages,
    Annotation,
    Box,
    files_below,
    images_below,
    is_text,
    read_text,
)
from fastwsol.sources.coco_json import CORRECT, note_of_unjudged, pixels_of
from fastwsol.sources.decode import judge_images
from fastwsol.sources.mask_images import encode_mask
from fastwsol.sources.of_objects import PREDICTED_BOXES, AnObject, ObjectImage, rule_over
from fastwsol.sources.orientation import upright_size
from fastwsol.sources.splits import SPLIT_CALLED, TEST, ValChoice, split_of_words
from fastwsol.sources.tree import BadFile, Tree, joined, name_of_set, open_tree
from kernels.pixels import OBJECT

_YAML, _TEXT = (".yaml", ".yml"), ".txt"
_IMAGES, _LABELS = "images", "labels"
_CALLED = {**SPLIT_CALLED, TEST: TEST}
_OUTSIDE = 0.01
"""By which a share may lie outside of 0 to 1."""
_ROUNDED = 1e-6
"""By which an edge may lie outside after rounding."""


class Yolo(AnnotatedImages):
    """A `Source` over a detection set in YOLO's form. `notes`: what became of its objects, in sentences.

    val, class_count, follow_links: as of `ImageFolder`. Raises UserError for every mistake that is not one image's,
    naming file, line and remedy.
    """

    upright = True

    def __init__(
        self,
        path: Path,
        *,
        val: ValChoice = None,
        class_count: int | None = None,
        follow_links: bool = False,
    ):
        tree = open_tree(path, follow_links)
        told = _told(tree, path)
        stamps, _ = images_below(tree, told.root)
        if not stamps:
            raise UserError(f"{path}: holds no image; give the folder of a set in YOLO's form")
        in_split, notes = _splits(tree, told, [*stamps])
        labels, strange = _files_of_labels(tree, told, stamps)
        if not labels:
            where = tree.where(f"{_labels_of(next(iter(stamps)))[0]}{_TEXT}")
            raise UserError(f"{path}: no image has a file of labels; put them there, the first image's at {where}")
        of_file = {
            labels[image]: _lines(tree, labels[image], told)
            for images in in_split.values()
            for image in images
            if image in labels
        }
        lines = {image: of_file.get(labels.get(image, ""), []) for images in in_split.values() for image in images}
        outlines = _Outlines(tree, lines)
        splits = {
            split: [_image(tree, image, stamps[image], labels, lines, outlines) for image in images]
            for split, images in in_split.items()
        }
        classes = [Class(name, name) for name in told.names.values()]
        ruled = rule_over(str(path), splits, classes, class_count, val)
        self.notes, self.boxes_used = [*ruled.notes, *notes, *outlines.notes()], ruled.boxes_used
        predicted = max(told.predicted, sum(any(line.predicted for line in each) for each in lines.values()))
        if predicted:
            self.notes.append(note_of_unjudged(f"{number_of(predicted, 'image')} with boxes"))
        if told.poses:
            self.notes.append("of poses the boxes were taken, and no points")
        if strange:
            self.notes.append(f"{number_of(strange, 'file')} of labels without an image, and not packed")
        if tree.left_out:
            self.notes.append(f"{tree.left_out:,} {LEFT_OUT}")
        any_mask = any(each.mask for of_split in ruled.annotations.values() for each in of_split)
        name = f"{name_of_set(path)} (yolo{PREDICTED_BOXES if predicted else ''})"
        super().__init__(name, ruled.classes, tree, ruled.annotations, outlines if any_mask else None)

    def _record(self, annotation: Annotation, image: bytes) -> Record | Fault:
        """An image with its boxes in pixels. Those of its annotation are shares."""
        try:
            width, height = upright_size(image)
        except ValueError as error:
            (why,) = judge_images([image])
            return Fault(annotation.path, why if isinstance(why, str) else str(error), PUT_WHOLE)
        boxes = tuple((x0 * width, y0 * height, x1 * width, y1 * height) for x0, y0, x1, y1 in annotation.boxes)
        return super()._record(replace(annotation, boxes=boxes, size=(width, height)), image)


class _Told(NamedTuple):
    """What a set's file says. names: of the classes by their numbers; root: the folder of the set; splits: the paths
    that it gives for each, which count from `base`; poses: whether points follow each box; predicted: how many images
    have a network's boxes.
    """

    file: str
    root: str
    names: dict[int, str]
    splits: Mapping[str, list[str]] = MappingProxyType({})
    base: str = ""
    poses: bool = False
    predicted: int = 0


def _told(tree: Tree, path: Path) -> _Told:
    """What the set's file says, which lies at the top, or as in a zip in the only folder of the only folder."""
    root = ""
    for _ in range(4):
        if (found := _told_in(tree, root)) is not None:
            return found
        inner = tree.folders(root)
        if len(inner) != 1:
            break
        (name,) = inner
        root = joined(root, name)
    raise UserError(
        f"{path}: no data.yaml with names and no classes.txt in it; give the folder of a set in YOLO's form, and name "
        f"its classes there"
    )


def _told_in(tree: Tree, root: str) -> _Told | None:
    files = [joined(root, name) for name in tree.names(root) if name.lower().endswith(_YAML)]
    with_names = {}
    for file in files:
        content = _yaml(tree, file)
        if isinstance(content, dict) and "names" in content:
            with_names[file] = content
    usual = joined(root, "data.yaml")
    if len(with_names) > 1 and usual not in with_names:
        one, other = [*with_names][:2]
        raise UserError(f"{tree.where(other)}: {one!r} names classes too; put one of them away")
    for file, content in with_names.items():
        if len(with_names) == 1 or file == usual:
            return _of_yaml(tree, file, root, content)
    for folder in (root, joined(root, _LABELS)):
        for name in tree.names(folder):
            if name.lower() == "classes.txt" or name.lower().endswith(".names"):
                return _of_lines(tree, joined(folder, name), root)
    return None


def _yaml(tree: Tree, file: str) -> Any:
    """The content of a file, its numbers and words as they stand there: `no` is a name."""
    try:
        return yaml.load(read_text(tree, file, "put a whole copy in its place"), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark is not None else ""
        raise UserError(f"{tree.where(file)}{line}: not YAML ({type(error).__name__}); correct it") from None


def _of_yaml(tree: Tree, file: str, root: str, content: Mapping[str, Any]) -> _Told:
    where, names = tree.where(file), content["names"]
    try:
        numbered = {int(number): name for number, name in names.items()} if isinstance(names, dict) else None
        if numbered is None:
            numbered = dict(enumerate(names if isinstance(names, list) else None))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise UserError(f"{where}: names is no list of classes, and gives none their numbers; correct it") from None
    splits: dict[str, list[str]] = {}
    for key, value in content.items():
        called = _CALLED.get(key.lower()) if isinstance(key, str) else None
        if called is None or value in ("", []):
            continue
        paths = value if isinstance(value, list) else [value]
        if called in splits or not all(isinstance(each, str) for each in paths):
            raise UserError(f"{where}: {key} is told twice, or is neither a path nor a list of paths; correct it")
        splits[called] = paths
    if "val" in splits and "train" not in splits:
        raise UserError(f"{where}: tells where val is, and not where train is; add it")
    base, predicted = content.get("path", ""), content.get("predicted", "0")
    if not (isinstance(predicted, str) and predicted.isdecimal()):
        raise UserError(f"{where}: predicted {predicted!r:.40} is no number of images; correct it, or leave it out")
    numbered = _checked(numbered, where)
    base = base if isinstance(base, str) else ""
    return _Told(file, root, numbered, splits, base, "kpt_shape" in content, int(predicted))


def _of_lines(tree: Tree, file: str, root: str) -> _Told:
    text = read_text(tree, file, "put a list of the classes' names there")
    names = {number: line.strip() for number, line in enumerate(text.rstrip().split("\n"))}
    lists = {
        _CALLED[stem]: [name]
        for name in tree.names(root)
        if (stem := name.lower().removesuffix(_TEXT)) in _CALLED and name.lower() != stem
    }
    return _Told(file, root, _checked(names, tree.where(file)), lists if "train" in lists else {})


def _checked(names: Mapping[int, Any], where: str) -> dict[int, str]:
    """Names of classes by their numbers. Raises UserError for one that is no name, or another class's too."""
    number_of_name: dict[str, int] = {}
    for number, name in names.items():
        if not isinstance(name, str) or not name.strip() or not is_text(name):
            raise UserError(f"{where}: class {number} has no name of a single line; give it one")
        if (other := number_of_name.setdefault(name, number)) != number:
            raise UserError(f"{where}: classes {other} and {number} are both {name!r:.40}; give each its own name")
    return {number: name for name, number in sorted(number_of_name.items(), key=lambda one: one[1])}


def _splits(tree: Tree, told: _Told, images: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    """The images of train, and of val where there is one, and what is to be said of all others."""
    where = tree.where(told.file)
    if told.splits:
        found = {split: _images_of(tree, told, split, paths, images) for split, paths in told.splits.items()}
        said = "that it is told of"
    else:
        found = {}
        for image in images:
            folders = image.removeprefix(told.root).split("/")[:-1]
            split = next((split for each in folders if (split := split_of_words(each, _CALLED))), None)
            if split is not None:
                found.setdefault(split, []).append(image)
        if found and "train" not in found:
            raise UserError(
                f"{where}: images lie in folders of {' and '.join(found)}, and none in one of train; add it"
            )
        said = "by its folder"
    found = found or {"train": images}
    notes = []
    train, val = found["train"], found.get("val")
    if val is not None and {*val} == {*train}:
        notes.append("train and val are the same images, so that there is no val of its own")
        val = None
    if val is not None and (both := sorted({*train} & {*val})):
        raise UserError(
            f"{where}: {number_of(len(both), 'image')} of train also of val ({both[0]}); take them out of one"
        )
    used = {*train, *(val or [])}
    tested = {*found.get(TEST, [])} - used
    if tested:
        notes.append(f"{number_of(len(tested), 'image')} of test not packed")
    if others := len(images) - len(used | tested):
        notes.append(f"{number_of(others, 'image')} in no split {said}, and not packed")
    return {"train": train, **({} if val is None else {"val": val})}, notes


def _images_of(tree: Tree, told: _Told, split: str, paths: Iterable[str], images: list[str]) -> list[str]:
    """The images of a split, each once. Raises UserError where a path of train or val leads to none."""
    every = {*images}
    folders = {told.root, *(str(parent) for image in images for parent in PurePosixPath(image).parents)}
    found: dict[str, None] = {}
    for path in paths:
        fewest = 1 if _is_absolute(path) else len(_parts(path))
        for end in _ends(path if _is_absolute(path) else f"{told.base}/{path}", fewest):
            place = joined(told.root, end)
            if place in folders:
                found |= dict.fromkeys(each for each in images if not place or each.startswith(f"{place}/"))
                break
            if place.lower().endswith(_TEXT) and place.rpartition("/")[2] in tree.names(place.rpartition("/")[0]):
                found |= dict.fromkeys(_listed(tree, told, place, every))
                break
        else:
            if split != TEST:  # which is not packed, and often not there
                raise UserError(
                    f"{tree.where(told.file)}: {split} {path!r:.80} is no folder of images here, and no list of them; "
                    f"correct it"
                )
    if not found and split != TEST:
        raise UserError(f"{tree.where(told.file)}: {split} has no image; correct where it is told to be")
    return [*found]


def _listed(tree: Tree, told: _Told, file: str, images: set[str]) -> Iterator[str]:
    """The images that a list names."""
    folder = file.rpartition("/")[0]
    for number, line in enumerate(read_text(tree, file, "put a list of the split's images there").split("\n"), 1):
        if not line.strip():
            continue
        ends = [*_ends(line.strip(), 1)]
        places = [joined(folder, ends[0]), *(joined(told.root, end) for end in ends)] if ends else []
        image = next((place for place in places if place in images), None)
        if image is None:
            raise UserError(f"{tree.where(file)} line {number}: {line.strip()!r:.80} is no image here; {CORRECT}")
        yield image


def _is_absolute(path: str) -> bool:
    return path.startswith(("/", "\\")) or re.match("[A-Za-z]:", path) is not None


def _parts(path: str) -> list[str]:
    """The parts of a path of any system, without those that lead up."""
    every = re.split(r"[/\\]", re.sub("^[A-Za-z]:", "", path))
    return [part for part in every if part not in ("", ".", "..")]


def _ends(path: str, fewest: int) -> Iterator[str]:
    """A path within a set, and what is left of it as one folder after the other is passed over, down to the last
    `fewest` parts.
    """
    parts = _parts(path)
    return ("/".join(parts[start:]) for start in range(len(parts) - fewest + 1))


def _files_of_labels(tree: Tree, told: _Told, images: Iterable[str]) -> tuple[dict[str, str], int]:
    """The file of labels of each image that has one, and how many there are of none."""
    files = {each[: -len(_TEXT)]: each for each in files_below(tree, told.root, _TEXT)}
    found = {}
    for image in images:
        file = next((files[stem] for stem in _labels_of(image) if stem in files), None)
        if file is not None:
            found[image] = file
    in_labels = {each for each in files.values() if _LABELS in each.split("/")[:-1]}
    return found, len(in_labels - {*found.values(), told.file})


def _labels_of(image: str) -> list[str]:
    """Where the labels of an image may be, without the ending: in `labels` for its last `images`; beside it."""
    stem = image.rpartition(".")[0]
    folders = stem.split("/")[:-1]
    if _IMAGES not in folders:
        return [stem]
    last = len(folders) - 1 - folders[::-1].index(_IMAGES)
    return ["/".join([*folders[:last], _LABELS, *folders[last + 1 :], stem.rpartition("/")[2]]), stem]


class _Line(NamedTuple):
    """An object: the box and the outline x, y, x, y, ... in shares of the image; outline: None where it has none."""

    class_name: str
    box: Box
    outline: tuple[float, ...] | None
    predicted: bool
    where: str


def _lines(tree: Tree, file: str, told: _Told) -> list[_Line]:
    """The objects of a file of labels. Raises UserError, naming the line, for one that is none."""
    found = []
    for number, line in enumerate(read_text(tree, file, "put a whole copy in its place").split("\n"), 1):
        if not line.strip():
            continue
        where = f"{tree.where(file)} line {number}"
        try:
            values = [float(each) for each in line.split()]
        except ValueError:
            values = []
        if len(values) < 5 or not all(map(math.isfinite, values)):
            raise UserError(
                f"{where}: {line.strip()!r:.60} is neither class x y width height nor a class and the corners of an "
                f"outline; {CORRECT}"
            )
        label, shares = values[0], values[1:]
        if label not in told.names:
            raise UserError(
                f"{where}: class {label:g} is none of {first_few([*map(str, told.names)], 4)}, which "
                f"{told.file} names; {CORRECT}"
            )
        predicted = not told.poses and len(shares) % 2 == 1
        shares = shares[:4] if told.poses else shares[: len(shares) - predicted]
        if beyond := [each for each in shares if not -_OUTSIDE <= each <= 1 + _OUTSIDE]:
            raise UserError(
                f"{where}: {beyond[0]:g} is no share of an image, 0 to 1; divide pixels by its width and height"
            )
        box, outline = _box_and_outline(shares)
        found.append(_Line(told.names[int(label)], box, outline, predicted, where))
    return found


def _box_and_outline(shares: list[float]) -> tuple[Box, tuple[float, ...] | None]:
    """A box, and the outline where the shares are of one that is no box."""
    if len(shares) == 4:
        x, y, width, height = shares
        x0, y0, x1, y1 = map(_within, (x - width / 2, y - height / 2, x + width / 2, y + height / 2))
        return (x0, y0, x1, y1), None
    xs, ys = shares[::2], shares[1::2]
    is_box = len(shares) == 8 and len({*xs}) == len({*ys}) == 2 and len({*zip(xs, ys, strict=True)}) == 4
    return (min(xs), min(ys), max(xs), max(ys)), None if is_box else tuple(shares)


def _within(edge: float) -> float:
    """An edge, in 0..1 where it lies outside by no more than the six decimals of middle and side lose."""
    return min(max(edge, 0.0), 1.0) if -_ROUNDED <= edge <= 1 + _ROUNDED else edge


def _image(
    tree: Tree,
    image: str,
    stamp: str,
    labels: Mapping[str, str],
    lines: Mapping[str, list[_Line]],
    outlines: "_Outlines",
) -> ObjectImage:
    where = tree.where(labels.get(image, image))
    objects = [AnObject(line.class_name, line.box, where=line.where) for line in lines[image]]
    return ObjectImage(image, where, stamp, None, objects, mask=partial(outlines.of_image, image))


class _Outlines:
    """The masks of images, drawn from the outlines of their objects when they are asked for. lines: by their images."""

    own_sizes = False

    def __init__(self, tree: Tree, lines: Mapping[str, list[_Line]]) -> None:
        self._tree, self._lines = tree, lines
        every = [line.outline for of_image in lines.values() for line in of_image if line.outline is not None]
        self._turned_boxes = bool(every) and all(len(each) == 8 for each in every)
        self._of: dict[str, list[_Line]] = {}
        self._not_taken = self._of_others = 0

    def of_image(self, image: str, name: str) -> str | None:
        """What the mask of an image of the class `name` is called; None where not every object of it has an outline."""
        if self._turned_boxes:
            return None
        own = [line for line in self._lines[image] if line.class_name == name]
        outlined = sum(line.outline is not None for line in own)
        self._of_others += sum(line.outline is not None for line in self._lines[image]) - outlined
        if outlined < len(own) or not own:
            self._not_taken += outlined > 0
            return None
        self._of[image] = own
        return image

    def notes(self) -> list[str]:
        """What became of the outlines."""
        found = []
        if self._turned_boxes:
            found.append("all outlines have four corners, as turned boxes have: the boxes around them were taken")
        if self._not_taken:
            images = number_of(self._not_taken, "image")
            found.append(f"{images} with outlines and no mask, as not every object of its class has one")
        if self._of_others:
            others = number_of(self._of_others, "outline")
            found.append(f"{others} of objects of other classes than their image's not kept, an image has one mask")
        return found

    def read(self, name: str) -> bytes:
        """The mask of an image as PNG. Raises BadFile."""
        try:
            width, height = upright_size(self._tree.read(name, MAX_FILE_BYTES))
            mask = np.zeros((height, width), np.uint8)
            for line in self._of[name]:
                assert line.outline is not None
                corners = np.reshape(line.outline, (-1, 2)) * (width, height)
                pixels = pixels_of([corners.ravel().tolist()], width, height, line.where)
                assert pixels is not None
                mask[pixels] = OBJECT
        except (UserError, ValueError) as error:
            raise BadFile(str(error)) from None
        return encode_mask(mask)

    def stamp(self, name: str) -> str:
        """Another text when an outline was changed."""
        return str([line.outline for line in self._of[name]])

    def where(self, name: str) -> str:
        """The labels of an image."""
        return self._of[name][0].where
