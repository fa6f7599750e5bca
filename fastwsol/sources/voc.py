"""A detection set in Pascal VOC's form, as `fastwsol.convert` and `predict --format voc` write it too.

    Annotations/NAME.xml            what is in an image, an `object` each
    JPEGImages/NAME.jpg             the image, under the name that the XML gives, or the XML's own; or in images/
    ImageSets/Main/train.txt, val.txt   the names of each split (or training, valid, validation). Without train.txt
                                    trainval.txt names all of both, and without that what test.txt names is left out;
                                    without val.txt a part is drawn to be val
    SegmentationObject/NAME.png     where there is one: the number of the object that a pixel is of, 255 where left out

Or NAME.xml beside NAME.jpg, in any folders. Where there are no lists, XMLs in folders that are called train, val (or as
above) and test are of these splits; without such folders all are train. An image that is not where it should be is
looked for in the whole set, by the name that its XML gives.

Which class an image is of: `of_objects`. VOC counts pixels from 1 and its ends are the last pixels; a set in which an
edge is 0 counts from 0, with ends behind the last pixels, and that is said.
"""

import io
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fastwsol.host.errors import UserError
from fastwsol.host.words import number_of
from fastwsol.sources import Class, Fault
from fastwsol.sources.annotated import (
    IMAGE_SUFFIXES,
    MAX_FILE_BYTES,
    MAX_TEXT_BYTES,
    files_below,
    images_below,
    is_text,
    read_text,
)
from fastwsol.sources.boxes import CORRECT, Box, box_of, size_of
from fastwsol.sources.encode import as_png
from fastwsol.sources.names import Names
from fastwsol.sources.of_objects import AnnotatedObject, DetectionSet, ImageOfObjects
from fastwsol.sources.splits import SPLIT_CALLED, TEST, ValChoice, splits_of_folders
from fastwsol.sources.tree import BadFile, Tree, joined, open_tree, outer_folders
from kernels.pixels import IGNORED, OBJECT

VOID = 255
"""The number of pixels that are left out."""
PREDICTED = "predicted by a network, judged by nobody"
"""What `source/annotation` says of an image with such boxes."""
ACCEPTED = "predicted by a network, accepted by a person"
"""And with such."""


class Voc(DetectionSet):
    """A `Source` over a set in VOC's form. `notes`: what became of its objects, in sentences.

    val, class_count, follow_links, quarantine: as of `ImageFolder`. Raises UserError for every mistake that is not one
    image's, naming file and remedy.
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
        places = _places(tree, path)
        stamps, _ = images_below(tree, places.images)
        masks = _VocMasks(tree, places.numbers)
        read, by_network, others = _read_all(tree, places, stamps, masks)
        every = [each for image in read.values() for each in image.objects]
        from_zero = [each for each in every if min(each.box[:2]) < 0]
        if from_zero:
            for image in read.values():
                image.objects = [replace(each, box=_from_zero(each.box)) for each in image.objects]
        splits, note_of_others = _splits(tree, places, read)
        names = sorted({each.class_name for image in read.values() for each in image.objects})
        classes = [Class(name, name) for name in names]
        predicted = by_network[PREDICTED]
        about = f"{number_of(predicted, 'image')} with boxes" if predicted else ""
        super().__init__(
            path,
            "voc",
            tree,
            splits,
            classes,
            masks,
            class_count=class_count,
            val=val,
            predicted=about,
            accepted=by_network[ACCEPTED],
            quarantine=quarantine,
        )
        if from_zero:
            first = f", the first in {from_zero[0].where}" if from_zero[0].where else ""
            of_all = f"{len(from_zero):,} of {number_of(len(every), 'box', 'boxes')}"
            self.notes.append(
                f"{of_all} begin before pixel 1{first}: so all are taken to count from 0, and not from 1 as VOC's own"
            )
        if note_of_others:
            self.notes.append(note_of_others)
        if others:
            self.notes.append(f"{number_of(others, 'XML')} of something else, ignored")
        if without := len(stamps.keys() - {image.path for image in read.values()}):
            self.notes.append(f"{number_of(without, 'image')} without an XML, and not packed")


class _Places(NamedTuple):
    """The folders of a set: of its XMLs, images, lists of splits, and numbers of objects."""

    xml: str
    images: str
    lists: str
    numbers: str


def _places(tree: Tree, path: Path) -> _Places:
    """Beside a folder Annotations, in any case, which lies where `outer_folders` may be. Where there is none, XMLs and
    images may lie anywhere.
    """
    for root in outer_folders(tree):
        called = _in_any_case(tree, root)
        if "annotations" in called:
            images = called.get("jpegimages", called.get("images", joined(root, "JPEGImages")))
            lists = called.get("imagesets", joined(root, "ImageSets"))
            lists = _in_any_case(tree, lists).get("main", joined(lists, "Main"))
            numbers = called.get("segmentationobject", joined(root, "SegmentationObject"))
            return _Places(called["annotations"], images, lists, numbers)
    if not files_below(tree, "", ".xml"):
        raise UserError(f"{path}: no folder Annotations in it, and no XML; give the folder of a set in VOC's form")
    return _Places("", "", "ImageSets/Main", "SegmentationObject")


def _in_any_case(tree: Tree, folder: str) -> dict[str, str]:
    """The folders in a folder by their names in lower case."""
    return {name.lower(): joined(folder, name) for name in sorted(tree.folders(folder), reverse=True)}


def _xml_files(tree: Tree, folder: str) -> dict[str, str]:
    """All annotations below a folder, by their paths in it without the ending, sorted."""
    found: dict[str, str] = {}
    before = f"{folder}/" if folder else ""
    for path in files_below(tree, folder, ".xml"):
        if (other := found.setdefault(path.removeprefix(before)[: -len(".xml")], path)) != path:
            raise UserError(f"{tree.where(path)}: {other!r} has the same name; take one of them away")
    if not found:
        raise UserError(f"{tree.where(folder)}: holds no XML file; give the folder of a set in VOC's form")
    return found


def _read_all(
    tree: Tree, places: _Places, stamps: Mapping[str, str], masks: "_VocMasks"
) -> tuple[dict[str, ImageOfObjects], Counter[str], int]:
    """The annotated images by their XMLs' names without the ending, how many have boxes that are `PREDICTED` and
    `ACCEPTED`, and how many XMLs are something else.
    """
    read: dict[str, ImageOfObjects] = {}
    xml_of: dict[str, str] = {}
    by_network, others = Counter[str](), 0
    files, images = _xml_files(tree, places.xml), _Images(tree, places, stamps)
    for stem, file in files.items():
        if (annotation := _annotation_in(tree, file)) is None:
            others += 1
            continue
        image, objects_in, by = _read(tree, stem, file, annotation, images)
        by_network[by] += 1
        if (other := xml_of.setdefault(image.path, stem)) != stem:
            raise UserError(
                f"{tree.where(file)}: is of {image.path}, as {files[other]} is; {CORRECT}, or take one of them away"
            )
        read[stem] = image
        image.mask = partial(masks.of_image, stem, objects_in)
    if not read:
        raise UserError(f"{tree.where(places.xml)}: no XML in it is an annotation in VOC's form; give such a set")
    return read, by_network, others


def _annotation_in(tree: Tree, file: str) -> ElementTree.Element | None:
    """The annotation that an XML is; None where it is something else, as another tool's settings."""
    where = tree.where(file)
    try:
        root = ElementTree.fromstring(tree.read(file, MAX_TEXT_BYTES))
    except BadFile as error:
        raise UserError(f"{where}: {error}; put a whole copy in its place") from None
    except (ElementTree.ParseError, ValueError, LookupError) as error:  # of an encoding that there is not
        raise UserError(f"{where}: not XML ({error}); {CORRECT}") from None
    return root if root.tag.lower() == "annotation" or root.find("object") is not None else None


def _read(
    tree: Tree, stem: str, file: str, root: ElementTree.Element, images: "_Images"
) -> tuple[ImageOfObjects, list[str], str]:
    """An annotated image, the names of the classes of its objects in their order, and by whom these are."""
    where = tree.where(file)
    size = None
    if root.find("size") is not None:
        size = size_of([root.findtext(f"size/{side}") for side in ("width", "height")], where)
    objects = [_object(each, where) for each in root.findall("object")]
    image, stamp = images.of(stem, root.findtext("filename"))
    fault = None
    if stamp is None:
        fault = Fault(image, f"no such image, and {where} is of it", "put the image there, or take the XML away")
    found = ImageOfObjects(image, where, stamp or "", size, objects, None, fault)
    by = (root.findtext("source/annotation") or "").strip() if objects else ""
    return found, [each.class_name for each in objects], by


def _object(element: ElementTree.Element, where: str) -> AnnotatedObject:
    name = (element.findtext("name") or "").strip()
    if not name or not is_text(name):
        raise UserError(f"{where}: an object has no name of a single line; {CORRECT}")
    edges = [element.findtext(f"bndbox/{edge}") for edge in ("xmin", "ymin", "xmax", "ymax")]
    if None in edges:
        raise UserError(f"{where}: an object has no bndbox of xmin, ymin, xmax, ymax; {CORRECT}")
    x0, y0, x1, y1 = box_of(edges, where)
    difficult = (element.findtext("difficult") or "0").strip().lower() or "0"
    if difficult not in _MARKS:
        raise UserError(f"{where}: difficult {difficult!r:.40} is neither 0 nor 1; {CORRECT}")
    return AnnotatedObject(name, (x0 - 1, y0 - 1, x1, y1), _MARKS[difficult], where=where)


_MARKS = {"0": False, "false": False, "no": False, "unspecified": False, "1": True, "true": True, "yes": True}


def _from_zero(box: Box) -> Box:
    x0, y0, x1, y1 = box
    return x0 + 1, y0 + 1, x1, y1


class _Images:
    """The images that annotations are of. stamps: of those in the set's folder of images."""

    def __init__(self, tree: Tree, places: _Places, stamps: Mapping[str, str]) -> None:
        self._tree, self._folder = tree, places.images
        self._by_stem: dict[str, dict[str, str]] = {}
        for path in sorted(stamps, key=lambda path: (IMAGE_SUFFIXES.index(PurePosixPath(path).suffix.lower()), path)):
            self._by_stem.setdefault(path.rpartition(".")[0], {})[path] = stamps[path]
        self._anywhere: tuple[Names, Mapping[str, str]] | None = None

    def of(self, stem: str, filename: str | None) -> tuple[str, str | None]:
        """The image of an annotation, and its stamp, None where it is not there: of its own name, as after both were
        renamed; else of the name that it gives, in the folder that it lies in itself; else the only one anywhere in the
        set of the name that it gives. Of several of its own name the one that it gives.
        """
        own = self._by_stem.get(joined(self._folder, stem), {})
        name = PurePosixPath(filename.strip().replace("\\", "/")).name if filename else ""
        if name:
            given = str(PurePosixPath(self._folder, stem).parent / name)
            like = own or self._by_stem.get(given.rpartition(".")[0], {})
            if given in like:
                return given, like[given]
        if own:
            return next(iter(own.items()))
        names, stamps = self._all()
        there = [found for found in ([names.whole(name), *names.by_end(name)] if name else []) if found is not None]
        if len(there) == 1:
            return there[0], stamps[there[0]]
        return f"{joined(self._folder, stem)}.jpg", None

    def _all(self) -> tuple[Names, Mapping[str, str]]:
        """All images of the set, which few sets need."""
        if self._anywhere is None:
            stamps, _ = images_below(self._tree, "")
            self._anywhere = Names(stamps), stamps
        return self._anywhere


def _splits(
    tree: Tree, places: _Places, read: dict[str, ImageOfObjects]
) -> tuple[dict[str, list[ImageOfObjects]], str]:
    """The images of each split, and what is to be said of those in none."""
    folder = places.lists
    lists = _lists(tree, folder)
    if "train" not in lists and "val" in lists and _POOL not in lists:
        raise UserError(f"{tree.where(folder)}: there is no train.txt beside {lists['val']}; add it, or take that away")
    splits: dict[str, list[ImageOfObjects]]

    def listed(called: str, known: bool = True) -> dict[str, str]:
        return _list_of(tree, f"{folder}/{lists[called]}", read, known) if called in lists else {}

    if "train" in lists or _POOL in lists:
        pool = "train" if "train" in lists else _POOL
        train, val = listed(pool), listed("val")
        for name, where in val.items():
            if pool == "train" and name in train:
                raise UserError(f"{where}: {name!r:.80} is in train already; {CORRECT}")
        splits = {"train": [read[name] for name in train if name not in val]}
        if not splits["train"]:
            raise UserError(
                f"{tree.where(folder)}: {lists[pool]} names no image that {lists['val']} does not; correct it"
            )
        if "val" in lists:
            splits["val"] = [read[name] for name in val]
        used = [lists[each] for each in (pool, "val") if each in lists]
        others = f"in none of {' and '.join(used)}" if len(used) > 1 else f"not in {used[0]}"
    elif TEST not in lists and (of_folders := splits_of_folders(read, tree.where(places.xml))):
        in_split = {
            split: [read[name] for name, its in of_folders.items() if its == split] for split in ("train", "val")
        }
        splits = {split: images for split, images in in_split.items() if images}
        others = "in no folder of train or val"
    else:
        test = listed(TEST, known=False)
        splits = {"train": [image for name, image in read.items() if name not in test]}
        others = f"in {lists.get(TEST)}"
    count = len(read) - sum(map(len, splits.values()))
    return splits, f"{number_of(count, 'annotated image')} {others} not packed" if count else ""


_POOL = "trainval"
_PLAIN_LISTS = ("train.txt", "val.txt", "trainval.txt", "test.txt")


def _lists(tree: Tree, folder: str) -> dict[str, str]:
    """The lists of whole splits, by what they are of: train, val, trainval or test; of several the one that is called
    just so. (Those of a class, as `cat_train.txt`, are none.)
    """
    found: dict[str, str] = {}
    for name in sorted(tree.names(folder), key=lambda name: (name not in _PLAIN_LISTS, name)):
        stem, _, ending = name.lower().rpartition(".")
        called = SPLIT_CALLED.get(stem, stem if stem in (_POOL, TEST) else None)
        if ending != "txt" or called is None:
            continue
        if (other := found.setdefault(called, name)) != name and other not in _PLAIN_LISTS:
            raise UserError(f"{tree.where(joined(folder, name))}: {other!r} may be {called} too; put one of them away")
    return found


def _list_of(tree: Tree, path: str, read: Mapping[str, ImageOfObjects], known: bool = True) -> dict[str, str]:
    """The images that a list names, and where each stands. known: whether each needs an XML. Raises UserError for one
    that lacks it, or stands there twice.
    """
    found: dict[str, str] = {}
    for line, content in enumerate(read_text(tree, path, "put a list of the split's images there").split("\n"), 1):
        name = content.rstrip("\r")
        if name not in read:  # a name may begin or end in a blank
            name = name.strip()
        if not name:
            continue
        where = f"{tree.where(path)} line {line}"
        if name not in read and known:
            raise UserError(f"{where}: {name!r:.80} has no XML; {CORRECT}")
        if found.setdefault(name, where) != where:
            raise UserError(f"{where}: {name!r:.80} is in {path.rpartition('/')[2]} already; {CORRECT}")
    return found


class _VocMasks:
    """The masks of images, out of the numbers of their objects."""

    own_sizes = False

    def __init__(self, tree: Tree, folder: str) -> None:
        self._tree, self._folder = tree, folder
        self._stamps, _ = images_below(tree, folder)
        pngs = (path for path in self._stamps if path.lower().endswith(".png"))
        self._called = {f"{path.rpartition('.')[0]}.png": path for path in pngs}
        self._wanted: dict[str, list[int]] = {}

    def of_image(self, stem: str, classes: list[str], name: str) -> str | None:
        """What the mask of an image of the class `name` is called; None where there is no file of it."""
        path = self._called.get(f"{self._folder}/{stem}.png")
        wanted = [number for number, of_object in enumerate(classes, 1) if of_object == name]
        if path is None or not wanted:
            return None
        self._wanted[path] = wanted
        return path

    def read(self, name: str) -> bytes:
        """The mask of an image as PNG. Raises BadFile."""
        try:
            with Image.open(io.BytesIO(self._tree.read(name, MAX_FILE_BYTES)), formats=["PNG"]) as opened:
                if opened.mode not in ("P", "L"):
                    raise BadFile(f"{self.where(name)} is a PNG of mode {opened.mode}, not of numbers")
                numbers: NDArray[np.uint8] = np.asarray(opened)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise BadFile(f"{self.where(name)} cannot be read ({error})") from None
        mask = np.isin(numbers, self._wanted[name]).astype(np.uint8) * OBJECT
        mask[numbers == VOID] = IGNORED
        return as_png(mask)

    def stamp(self, name: str) -> str:
        """Another text when the file, or what is taken of it, was changed."""
        return f"{self._stamps[name]} {self._wanted[name]}"

    def where(self, name: str) -> str:
        """The file."""
        return self._tree.where(name)
