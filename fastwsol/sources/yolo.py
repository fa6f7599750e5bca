"""A detection set in YOLO's form, as Ultralytics' tools train on it, and as `convert --format yolo` writes it.

    data.yaml               the names of the classes, and of each split the folder of its images, a text file that lists
                            them, or several of these; their paths count from `path`, or from this file. What lies
                            before the set in a path, as on the machine that it was made on, is ignored.
                            `predicted`: of how many images the boxes are a network's, and `accepted`: of how many they
                            were accepted of one, as `convert` writes it
    classes.txt, obj.names  in its place, also in labels/: the names, a line each
    images/NAME.jpg         an image, in folders of any depth
    labels/NAME.txt         its objects (`yolo_labels`), in the folder that is called `labels` where the image's last
                            `images` is, or else `JPEGImages`, or beside the image

Where data.yaml tells no splits they are those of the lists train.txt and val.txt, or of the paths after `train` and
`valid` in obj.data; or else of folders that are called train, val (or valid, validation) and test; without any all is
train. Which class an image is of: `of_objects`. Outlines become masks, where every object of the image's class has one.
Of poses (`kpt_shape` in data.yaml) the boxes alone are taken. Images without a file of labels show no object.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import yaml

from fastwsol.host.errors import UserError
from fastwsol.host.words import number_of
from fastwsol.sources import Class, Fault, Record
from fastwsol.sources.annotated import (
    PUT_WHOLE,
    AnnotatedImage,
    files_below,
    images_below,
    is_text,
    read_text,
)
from fastwsol.sources.boxes import CORRECT, Box
from fastwsol.sources.decode import judge_images
from fastwsol.sources.of_objects import AnnotatedObject, DetectionSet, ImageOfObjects
from fastwsol.sources.orientation import upright_size
from fastwsol.sources.splits import SPLIT_OR_TEST_CALLED, TEST, ValChoice, splits_of_folders
from fastwsol.sources.tree import Tree, joined, open_tree, outer_folders
from fastwsol.sources.yolo_labels import Line, Outlines, read_lines

_YAML, _TEXT, _DATA = (".yaml", ".yml"), ".txt", ".data"
_IMAGES, _LABELS, _CLASSES = ("images", "jpegimages"), "labels", "classes.txt"


class Yolo(DetectionSet):
    """A `Source` over a detection set in YOLO's form. `notes`: what became of its objects, in sentences.

    val, class_count, follow_links, quarantine: as of `ImageFolder`. Raises UserError for every mistake that is not one
    image's, naming file, line and remedy.
    """

    def __init__(
        self,
        path: Path,
        *,
        val: ValChoice = None,
        class_count: int | None = None,
        follow_links: bool = False,
        quarantine: bool = False,
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
            labels[image]: read_lines(tree, labels[image], told.names, told.points)
            for images in in_split.values()
            for image in images
            if image in labels
        }
        lines = {image: of_file.get(labels.get(image, ""), []) for images in in_split.values() for image in images}
        self._outlines = outlines = Outlines(lines)
        splits = {
            split: [_image(tree, image, stamps[image], labels, lines, outlines) for image in images]
            for split, images in in_split.items()
        }
        classes = [Class(name, name) for name in told.names.values()]
        predicted = max(told.predicted, sum(any(line.predicted for line in of_image) for of_image in lines.values()))
        about = f"{number_of(predicted, 'image')} with boxes" if predicted else ""
        super().__init__(
            path,
            "yolo",
            tree,
            splits,
            classes,
            outlines,
            class_count=class_count,
            val=val,
            predicted=about,
            accepted=told.accepted,
            quarantine=quarantine,
        )
        self.notes += [*notes, *outlines.notes()]
        if told.points is not None:
            self.notes.append("of poses the boxes were taken, and no points")
        if strange:
            self.notes.append(f"{number_of(strange, 'file')} of labels without an image, and not packed")

    def _record(self, annotation: AnnotatedImage, image: bytes) -> Record | Fault:
        """An image with its boxes in pixels. Those of its annotation are shares."""
        try:
            width, height = upright_size(image)
        except ValueError as error:
            (why,) = judge_images([image])
            return Fault(annotation.path, why if isinstance(why, str) else str(error), PUT_WHOLE)
        if annotation.mask is not None:
            self._outlines.sizes[annotation.mask] = width, height
        boxes = tuple(each._replace(box=_scaled(each.box, width, height)) for each in annotation.boxes)
        return super()._record(replace(annotation, boxes=boxes, size=(width, height)), image)


def _scaled(box: Box, width: int, height: int) -> Box:
    x0, y0, x1, y1 = box
    return x0 * width, y0 * height, x1 * width, y1 * height


class _SetConfig(NamedTuple):
    """What a set's file says. names: of the classes by their numbers; root: the folder of the set; splits: the paths
    that it gives for each, which count from `base`; points: how many numbers the points of a pose are, behind its box;
    predicted, accepted: how many images have a network's boxes, and such that somebody has accepted.
    """

    file: str
    root: str
    names: dict[int, str]
    splits: Mapping[str, list[str]] = MappingProxyType({})
    base: str = ""
    points: int | None = None
    predicted: int = 0
    accepted: int = 0


def _told(tree: Tree, path: Path) -> _SetConfig:
    """What the set's file says, which lies at the top, or as in a zip in the only folder of the only folder."""
    for root in outer_folders(tree):
        if (found := _told_in(tree, root)) is not None:
            return found
    raise UserError(
        f"{path}: no data.yaml with names and no classes.txt in it; give the folder of a set in YOLO's form, and name "
        f"its classes there"
    )


def _told_in(tree: Tree, root: str) -> _SetConfig | None:
    usual, with_names, failure = joined(root, "data.yaml"), {}, None
    for file in (joined(root, name) for name in tree.names(root) if name.lower().endswith(_YAML)):
        try:
            content = _yaml(tree, file)
        except UserError as error:  # which may be another tool's
            if file == usual:
                raise
            failure = failure or error
            continue
        if isinstance(content, dict) and "names" in content:
            with_names[file] = content
    if len(with_names) > 1 and usual not in with_names:
        one, other = [*with_names][:2]
        raise UserError(f"{tree.where(other)}: {one!r} names classes too; put one of them away")
    if with_names:
        file = usual if usual in with_names else next(iter(with_names))
        told = _of_yaml(tree, file, root, with_names[file])
        return told if told.splits else told._replace(splits=_listed_splits(tree, root))
    for folder in (root, joined(root, _LABELS)):
        for name in tree.names(folder):
            if name.lower() == _CLASSES or name.lower().endswith(".names"):
                file = joined(folder, name)
                text = read_text(tree, file, "put a list of the classes' names there")
                names = {number: line.strip() for number, line in enumerate(text.rstrip().split("\n"))}
                return _SetConfig(file, root, _checked(names, tree.where(file)), _listed_splits(tree, root))
    if failure is not None:
        raise failure
    return None


def _listed_splits(tree: Tree, root: str) -> dict[str, list[str]]:
    """The paths of each split's list by a file like obj.data, or else of the lists that lie there. Raises UserError
    where there is another and none of train, and where two may be of one split.
    """
    names = tree.names(root)
    found: dict[str, list[str]] = {}
    for file in (joined(root, name) for name in names if name.lower().endswith(_DATA)):
        for line in read_text(tree, file, "put a whole copy in its place").split("\n"):
            key, is_set, value = (part.strip() for part in line.partition("="))
            if is_set and value and key.lower() in SPLIT_OR_TEST_CALLED:
                found.setdefault(SPLIT_OR_TEST_CALLED[key.lower()], []).append(f"/{value}")  # from where Darknet lies
    if "train" not in found:
        found = {}
        for name in names:
            stem, _, ending = name.lower().rpartition(".")
            if f".{ending}" == _TEXT and stem in SPLIT_OR_TEST_CALLED:
                found.setdefault(SPLIT_OR_TEST_CALLED[stem], []).append(name)
    where = tree.where(root) if root else tree.where("").rstrip("/")
    for split, paths in found.items():
        if len(paths) > 1:
            raise UserError(f"{where}: {' and '.join(paths)} may both be {split}; put one of them away")
    if "val" in found and "train" not in found:
        raise UserError(f"{where}: there is no train.txt beside {found['val'][0]}; add it, or take that away")
    return found if "train" in found else {}


def _yaml(tree: Tree, file: str) -> Any:
    """The content of a file, its numbers and words as they stand there: `no` is a name."""
    try:
        return yaml.load(read_text(tree, file, "put a whole copy in its place"), Loader=yaml.BaseLoader)
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        mark = getattr(error, "problem_mark", None)
        line = f" line {mark.line + 1}" if mark is not None else ""
        raise UserError(f"{tree.where(file)}{line}: not YAML ({type(error).__name__}); correct it") from None


def _of_yaml(tree: Tree, file: str, root: str, content: Mapping[str, Any]) -> _SetConfig:
    where, names = tree.where(file), content["names"]
    try:
        numbered = {int(number): name for number, name in names.items()} if isinstance(names, dict) else None
        if numbered is None:
            numbered = dict(enumerate(names if isinstance(names, list) else None))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        raise UserError(f"{where}: names is no list of classes, and gives none their numbers; correct it") from None
    splits: dict[str, list[str]] = {}
    for key, value in content.items():
        called = SPLIT_OR_TEST_CALLED.get(key.lower()) if isinstance(key, str) else None
        if called is None or value in ("", "null", "~", []):
            continue
        paths = value if isinstance(value, list) else [value]
        if called in splits or not all(isinstance(each, str) for each in paths):
            raise UserError(f"{where}: {key} is told twice, or is neither a path nor a list of paths; correct it")
        splits[called] = paths
    if splits and "train" not in splits:
        raise UserError(f"{where}: tells where {' and '.join(splits)} is, and not where train is; add it")
    base, counts = content.get("path", ""), []
    for name in ("predicted", "accepted"):
        count = content.get(name, "0")
        if not (isinstance(count, str) and count.isdecimal()):
            raise UserError(f"{where}: {name} {count!r:.40} is no number of images; correct it, or leave it out")
        counts.append(int(count))
    numbered = _checked(numbered, where)
    base = base if isinstance(base, str) else ""
    return _SetConfig(file, root, numbered, splits, base, _points(content.get("kpt_shape"), where), *counts)


def _points(shape: Any, where: str) -> int | None:
    """How many numbers the points of a pose are. shape: how many points, and how many numbers each."""
    if shape is None:
        return None
    try:
        count, each = map(int, shape)
    except (TypeError, ValueError):
        raise UserError(f"{where}: kpt_shape {shape!r:.40} is no number of points and of their numbers") from None
    return count * each


def _checked(names: Mapping[int, Any], where: str) -> dict[int, str]:
    """Names of classes by their numbers. Raises UserError for one that is no name, or another class's too."""
    number_of_name: dict[str, int] = {}
    for number, name in names.items():
        if not isinstance(name, str) or not name.strip() or not is_text(name):
            raise UserError(f"{where}: class {number} has no name of a single line; give it one")
        if (other := number_of_name.setdefault(name, number)) != number:
            raise UserError(f"{where}: classes {other} and {number} are both {name!r:.40}; give each its own name")
    return {number: name for name, number in sorted(number_of_name.items(), key=lambda one: one[1])}


def _splits(tree: Tree, told: _SetConfig, images: list[str]) -> tuple[dict[str, list[str]], list[str]]:
    """The images of train, and of val where there is one, and what is to be said of all others."""
    where = tree.where(told.file)
    if told.splits:
        found = {split: _images_of(tree, told, split, paths, images) for split, paths in told.splits.items()}
    else:
        found = {}
        below = {image.removeprefix(told.root): image for image in images}
        for path, split in splits_of_folders(below, where).items():
            found.setdefault(split, []).append(below[path])
    found = found or {"train": images}
    notes = []
    train, val = found["train"], found.get("val")
    if val is not None and {*val} == {*train}:
        if told.splits.get("train") != told.splits.get("val"):
            raise UserError(
                f"{where}: train {told.splits['train'][0]!r:.60} and val {told.splits['val'][0]!r:.60} lead to the "
                f"same images here; correct them"
            )
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
        notes.append(f"{number_of(others, 'image')} in no split, and not packed")
    return {"train": train, **({} if val is None else {"val": val})}, notes


def _by_folder(images: list[str]) -> dict[str, list[str]]:
    """The images that lie in each folder or below, "" being the top."""
    found: dict[str, list[str]] = {"": [*images]}
    for image in images:
        folder = image
        while folder := folder.rpartition("/")[0]:
            found.setdefault(folder, []).append(image)
    return found


def _images_of(tree: Tree, told: _SetConfig, split: str, paths: Iterable[str], images: list[str]) -> list[str]:
    """The images of a split, each once. Raises UserError where a path of train or val leads to none."""
    every, in_folder = {*images}, _by_folder(images)
    in_folder.setdefault(told.root, [])
    found: dict[str, None] = {}
    for path in paths:
        fewest = 1 if _is_absolute(path) else len(_parts(path))
        for end in _ends(path if _is_absolute(path) else f"{told.base}/{path}", fewest):
            place = joined(told.root, end)
            if place in in_folder:
                found |= dict.fromkeys(in_folder[place])
                break
            if place.lower().endswith(_TEXT) and place.rpartition("/")[2] in tree.names(place.rpartition("/")[0]):
                found |= dict.fromkeys(_listed(tree, told, place, every, needs_all=split != TEST))
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


def _listed(tree: Tree, told: _SetConfig, file: str, images: set[str], needs_all: bool) -> Iterator[str]:
    """The images that a list names. Raises UserError for one that is not there, where the list `needs_all`."""
    folder = file.rpartition("/")[0]
    for number, line in enumerate(read_text(tree, file, "put a list of the split's images there").split("\n"), 1):
        if not line.strip():
            continue
        ends = [*_ends(line.strip(), 1)]
        places = [joined(folder, ends[0]), *(joined(told.root, end) for end in ends)] if ends else []
        image = next((place for place in places if place in images), None)
        if image is None:
            if not needs_all:
                continue
            raise UserError(f"{tree.where(file)} line {number}: {line.strip()!r:.80} is no image here; {CORRECT}")
        yield image


def _is_absolute(path: str) -> bool:
    return path.startswith(("/", "\\")) or re.match("[A-Za-z]:", path) is not None


def _parts(path: str) -> list[str]:
    """The parts of a path of any system, without those that lead up."""
    every = re.split(r"[/\\]", re.sub("^[A-Za-z]:", "", path))
    return [part for part in every if part not in ("", ".", "..")]


def _ends(path: str, fewest: int) -> Iterator[str]:
    """A path within a set, and what is left of it as one folder after the other is ignored, down to the last
    `fewest` parts.
    """
    parts = _parts(path)
    return ("/".join(parts[start:]) for start in range(len(parts) - fewest + 1))


def _files_of_labels(tree: Tree, told: _SetConfig, images: Iterable[str]) -> tuple[dict[str, str], int]:
    """The file of labels of each image that has one, and how many there are of none: in a folder of labels, or beside
    images and with a number at its beginning.
    """
    files = {each[: -len(_TEXT)]: each for each in files_below(tree, told.root, _TEXT)}
    found, folders = dict[str, str](), set[str]()
    for image in images:
        folders.add(image.rpartition("/")[0])
        file = next((files[stem] for stem in _labels_of(image) if stem in files), None)
        if file is not None:
            found[image] = file
    strange = 0
    for file in {*files.values()} - {*found.values(), told.file}:
        folder, _, name = file.rpartition("/")
        if name.lower() == _CLASSES:
            continue
        in_labels = _LABELS in map(str.lower, file.split("/")[:-1])
        strange += in_labels or (folder in folders and _begins_with_a_number(tree, file))
    return found, strange


def _begins_with_a_number(tree: Tree, file: str) -> bool:
    words = read_text(tree, file, "put a whole copy in its place").split(maxsplit=1)
    return bool(words) and words[0].isdecimal()


def _labels_of(image: str) -> list[str]:
    """Where the labels of an image may be, without the ending: in `labels`, or `Labels`, for its last folder that is
    called `images`, as Ultralytics looks for them, or else `JPEGImages`; beside it.
    """
    stem = image.rpartition(".")[0]
    *folders, name = stem.split("/")
    lowered, found = [folder.lower() for folder in folders], []
    for called in _IMAGES:
        if called in lowered:
            last = len(lowered) - 1 - lowered[::-1].index(called)
            for labels in (_LABELS, _LABELS.capitalize()):
                found.append("/".join([*folders[:last], labels, *folders[last + 1 :], name]))
    return [*found, stem]


def _image(
    tree: Tree,
    image: str,
    stamp: str,
    labels: Mapping[str, str],
    lines: Mapping[str, list[Line]],
    outlines: Outlines,
) -> ImageOfObjects:
    where = tree.where(labels.get(image, image))
    objects = [AnnotatedObject(line.class_name, line.box, where=line.where) for line in lines[image]]
    return ImageOfObjects(image, where, stamp, None, objects, mask=partial(outlines.of_image, image))
