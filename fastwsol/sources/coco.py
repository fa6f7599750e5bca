"""A detection set in COCO's form: JSON files of annotations, and folders of images.

    annotations/instances_train2017.json, instances_val2017.json   train2017/NAME, val2017/NAME     COCO's own
    annotations/train.json, val.json                               images/NAME       as `fastwsol.convert` writes it
    train/_annotations.coco.json, valid/_annotations.coco.json     the images beside each file

or one file named with --boxes, and images anywhere below the source; a part is drawn to be val then. A file is of the
split whose name is in its own, or in its folder's; of several for a split, the one that begins with `instances` is
taken. Which class an image is of: `of_objects`, unless the file tells it (`category_id` of an image, as ours do).
Segmentations, where every object of an image's class has one, become its mask, with crowds left out.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fastwsol.host.errors import UserError
from fastwsol.host.words import number_of
from fastwsol.sources import Class, Fault
from fastwsol.sources.annotated import images_below
from fastwsol.sources.boxes import CORRECT, has_extent
from fastwsol.sources.coco_json import (
    CocoAnnotation,
    CocoFile,
    CocoImage,
    note_of_marked_masks,
    parse_coco,
    read_coco,
    unjudged_images,
)
from fastwsol.sources.encode import as_png
from fastwsol.sources.names import Names, names_of_uploads
from fastwsol.sources.of_objects import AnnotatedObject, DetectionSet, ImageOfObjects
from fastwsol.sources.segmentations import pixels_of
from fastwsol.sources.splits import SPLIT_OR_TEST_CALLED, ValChoice, split_of_words
from fastwsol.sources.tree import BadFile, Tree, joined, open_tree, outer_folders
from kernels.pixels import IGNORED, OBJECT

MAX_JSON_BYTES = 2**31
"""COCO's own train2017 has 470 MB."""


class Coco(DetectionSet):
    """A `Source` over a detection set in COCO's form. `notes`: what became of its objects, in sentences.

    boxes: the one file of annotations; val, class_count, follow_links, quarantine: as of `ImageFolder`. Raises
    UserError for every mistake that is not one image's, naming file and place.
    """

    def __init__(
        self,
        path: Path,
        *,
        boxes: Path | None = None,
        val: ValChoice = None,
        class_count: int | None = None,
        follow_links: bool = False,
        quarantine: bool = False,
    ):
        if path.is_file() and path.suffix.lower() == ".json":
            raise UserError(
                f"--source {path}: is a file of annotations; name the images' folder with --source, and it with --boxes"
            )
        tree = open_tree(path, follow_links)
        stamps, _ = images_below(tree, "")
        if not stamps:
            raise UserError(f"{path}: holds no image; give the folder that the annotations' images lie in")
        of_test = set[str]()
        if boxes is None:
            files, root, tests = _find(tree, path)
            of_test = _images_of_test(tree, root, tests, stamps)
        else:
            files = {"train": _Annotations(read_coco(boxes, f"--boxes {boxes}"), "", "", anywhere=True)}
        classes = _classes([each.file for each in files.values()])
        masks = _CocoMasks()
        places: dict[str, str] = {}
        splits = {split: _images(each, stamps, masks, places) for split, each in files.items()}
        unjudged = sum(unjudged_images(each.file) for each in files.values())
        about = f"{unjudged:,} of the images in the annotations have boxes" if unjudged else ""
        super().__init__(
            path,
            "coco",
            tree,
            splits,
            classes,
            masks,
            class_count=class_count,
            val=val,
            predicted=about,
            accepted=_accepted([each.file for each in files.values()]),
            quarantine=quarantine,
        )
        named = {each.path for of_split in splits.values() for each in of_split}
        if of_test := of_test - named:
            self.notes.append(f"{number_of(len(of_test), 'image')} of test not packed")
        if strange := len(stamps.keys() - named - of_test):
            self.notes.append(f"{number_of(strange, 'image')} of the folder in no file of annotations, and not packed")
        if masks.not_taken:
            self.notes.append(
                f"{number_of(masks.not_taken, 'image')} with segmentations and no mask: the file does not tell the "
                f"size, or not every object of the image's class has one"
            )
        if masks.of_others:
            others = number_of(masks.of_others, "mask")
            self.notes.append(f"{others} of objects of other classes than their image's not kept, an image has one")
        if marked := sum(each.file.marked_masks for each in files.values()):
            self.notes.append(note_of_marked_masks(marked))


class _Annotations(NamedTuple):
    """A file of annotations: its content; the folder it lies in; its name without ending and `instances_` or
    `image_info_`. root: the folder of the set; split: of its images, where it is of one; anywhere: whether its images
    may lie anywhere, as those of the set's one file.
    """

    file: CocoFile
    folder: str
    stem: str
    root: str = ""
    split: str = ""
    anywhere: bool = False

    @property
    def places(self) -> list[str]:
        """What may stand before the names of its images, the first the likeliest."""
        called = [name for name, split in SPLIT_OR_TEST_CALLED.items() if split == self.split]
        below = ["images", *(f"{before}{name}" for name in (self.stem, *called) for before in ("images/", "")), ""]
        return [
            f"{self.folder}/" if self.folder else "",
            *(f"{joined(self.root, each)}/".lstrip("/") for each in below),
        ]


def _root(tree: Tree) -> str:
    """The folder of the set: the top, or as in a zip the only folder in the only folder, where that holds a file of
    annotations.
    """
    for root in outer_folders(tree):
        inside = ("", *tree.folders(root))
        if any(name.lower().endswith(".json") for each in inside for name in tree.names(joined(root, each))):
            return root
    return ""


def _find(tree: Tree, path: Path) -> tuple[dict[str, _Annotations], str, list[str]]:
    """The files of annotations, by split; the folder of the set; and the paths of files of test."""
    found: dict[str, list[str]] = defaultdict(list)
    root = _root(tree)
    folders = [root, *(joined(root, name) for name in sorted(tree.folders(root)))]
    for folder in folders:
        inside = {name for name in tree.names(folder) if name.lower().endswith(".json")}
        for name in sorted(inside):
            place = joined(folder, name)
            of_folder = None if folder == root else split_of_words(folder.rpartition("/")[2], SPLIT_OR_TEST_CALLED)
            split = split_of_words(name) or of_folder or split_of_words(name, SPLIT_OR_TEST_CALLED)
            if split is not None:
                found[split].append(place)
    if "train" not in found:
        raise UserError(
            f"{path}: no file of annotations for train (such as annotations/instances_train.json); name the set's one "
            f"file with --boxes FILE"
        )
    files = {}
    for split in ("train", "val"):
        places = found.get(split, [])
        if not places:
            continue
        instances = [each for each in places if each.rpartition("/")[2].startswith("instances")]
        chosen = instances or places
        if len(chosen) > 1:
            raise UserError(
                f"{tree.where(chosen[1])}: {chosen[0]!r} may be {split} too; put one of them away, or name one with "
                f"--boxes FILE"
            )
        (place,) = chosen
        folder, _, name = place.rpartition("/")
        try:
            text = tree.read(place, MAX_JSON_BYTES).decode("utf-8-sig")
        except BadFile as error:
            raise UserError(f"{tree.where(place)}: {error}; put a whole copy in its place") from None
        except UnicodeDecodeError:
            raise UserError(f"{tree.where(place)}: not UTF-8 text; store it as UTF-8") from None
        where = tree.where(place)
        files[split] = _Annotations(parse_coco(Path(where), text, where), folder, _stem(name), root, split)
    return files, root, found.get("test", [])


def _images_of_test(tree: Tree, root: str, places: Sequence[str], stamps: Mapping[str, str]) -> set[str]:
    """The paths of the images that files of test list. Of one that cannot be read none: nothing is packed of it."""
    found = set[str]()
    for place in places:
        folder, _, file_name = place.rpartition("/")
        try:
            listed = json.loads(tree.read(place, MAX_JSON_BYTES))["images"]
            names = [str(each["file_name"]) for each in listed]
        except (BadFile, ValueError, LookupError, TypeError, RecursionError):
            continue
        images = {number: CocoImage(name, None, {}, place) for number, name in enumerate(names)}
        file = CocoFile(Path(place), images, {}, [], {})
        find = _finder(_Annotations(file, folder, _stem(file_name), root, "test"), stamps)
        found |= {path for path, fault in map(find, names) if fault is None}
    return found


def _stem(name: str) -> str:
    return name.rpartition(".")[0].removeprefix("instances_").removeprefix("image_info_")


def _accepted(files: Sequence[CocoFile]) -> int:
    """How many images have boxes that a review has accepted as they were predicted."""
    return sum(image.verdict == "accepted" for file in files for image in file.images.values())


def _classes(files: list[CocoFile]) -> list[Class]:
    """All categories in their order. Raises UserError where there are none, or two of one name."""
    classes: dict[str, Class] = {}
    for file in files:
        if not file.categories:
            raise UserError(f"{file.path}: lists no categories, so no image has a class; add them")
        wnids = [one.wnid for one in file.categories.values()]
        if twice := next((wnid for wnid, count in Counter(wnids).items() if count > 1), None):
            raise UserError(f"{file.path}: two categories are {twice!r:.40}; give each its own name")
        for one in file.categories.values():
            classes.setdefault(one.wnid, one)
    return [*classes.values()]


def _images(
    annotations: _Annotations, stamps: Mapping[str, str], masks: "_CocoMasks", places: dict[str, str]
) -> list[ImageOfObjects]:
    """The images that a file lists, with their objects. places: where each image stands, in all files so far."""
    file = annotations.file
    of_image = file.by_image()
    find = _finder(annotations, stamps)
    found: list[ImageOfObjects] = []
    for number, image in file.images.items():
        path, fault = find(image.name)
        if (other := places.setdefault(path, image.where)) != image.where:
            raise UserError(f"{image.where}: {image.name!r:.80} is {other} too; list each image once")
        things = of_image.get(number, [])
        own = image.fields.get("category_id")
        found.append(
            ImageOfObjects(
                path,
                things[0].where if things else image.where,
                stamps.get(path, ""),
                image.size,
                [_object(each) for each in things],
                None if own is None else file.category_of(own, image.where).wnid,
                fault,
                rejected=image.verdict == "rejected",
                mask=partial(masks.of_image, path, image, things),
            )
        )
    return found


def _object(annotation: CocoAnnotation) -> AnnotatedObject:
    if annotation.category is None:
        raise UserError(f"{annotation.where}: has no category; {CORRECT}")
    return AnnotatedObject(
        annotation.category.wnid, annotation.box, annotation.difficult, annotation.crowd, annotation.where
    )


def _finder(annotations: _Annotations, stamps: Mapping[str, str]) -> Callable[[str], tuple[str, Fault | None]]:
    """A function from an image's name to its path in the tree, and what is wrong with it: the first place where there
    is one; else, of a file whose images may lie anywhere, the only path that ends so.
    """
    names, before = Names(stamps), annotations.places
    theirs = [image.name.replace("\\", "/") for image in annotations.file.images.values()]
    own = names_of_uploads(theirs, names) if annotations.anywhere else None
    if own is not None:
        print(f"{annotations.file.path}: {own.told}")
    listed = Names(theirs if own is None else own.of.values())

    def find(name: str) -> tuple[str, Fault | None]:
        name = name if own is None else own.of[name.replace("\\", "/")]
        plain, there = name.removeprefix("./"), list[str]()
        for spelled in dict.fromkeys((plain, plain.replace("\\", "/"))):  # the other: of another system
            plain = spelled
            if there := [found for each in before if (found := names.whole(each + plain)) is not None]:
                break
        if not there and annotations.anywhere:
            there = names.by_end(plain)
            if len(there) > 1:
                return plain, Fault(plain, f"may be {' or '.join(there[:3])}", "give its path in the annotations")
            end = plain
            while not there and "/" in end:  # folders that it had where it was annotated
                end = end.partition("/")[2]
                is_its_own = len(listed.by_end(end)) == 1 and listed.whole(end) is None
                found = names.whole(end)
                there = [found] if found is not None and is_its_own else names.by_end(end) if is_its_own else []
                there = there if len(there) == 1 else []
        if there:
            return there[0], None
        return plain, Fault(plain, "no such image, and the annotations list it", "put it there, or take its lines out")

    return find


class _CocoMasks:
    """The masks of images, drawn from the segmentations of their objects when they are asked for."""

    own_sizes = False

    def __init__(self) -> None:
        self.not_taken = 0
        """Images with a segmentation and without a mask."""
        self.of_others = 0
        """Segmentations of objects of other classes than their image's."""
        self._of: dict[str, tuple[CocoImage, list[CocoAnnotation], str]] = {}

    def of_image(self, path: str, image: CocoImage, annotations: list[CocoAnnotation], name: str) -> str | None:
        """What the mask of an image of the class `name` is called; None where not every object of it has pixels."""
        own = [each for each in annotations if each.category is not None and each.category.wnid == name]
        things = [each for each in own if not each.crowd and has_extent(each.box)]  # others are left out
        segmented = [each for each in things if each.fields.get("segmentation")]
        of_others = (each for each in annotations if each.category is not None and each.category.wnid != name)
        self.of_others += sum(bool(each.fields.get("segmentation")) for each in of_others)
        if image.size is None or not things or len(segmented) < len(things):
            self.not_taken += bool(segmented)
            return None
        self._of[path] = image, [each for each in own if each.crowd or has_extent(each.box)], name
        return path

    def read(self, name: str) -> bytes:
        """The mask of an image as PNG. Raises BadFile."""
        image, annotations, _ = self._of[name]
        assert image.size is not None
        width, height = image.size
        mask = np.zeros((height, width), np.uint8)
        for value, crowd in ((IGNORED, True), (OBJECT, False)):  # where both are, it is the object's
            for each in annotations:
                if each.crowd == crowd:
                    try:
                        pixels = pixels_of(each.fields.get("segmentation"), width, height, each.where)
                    except UserError as error:
                        raise BadFile(str(error)) from None
                    if pixels is not None:
                        mask[pixels] = value
        return as_png(mask)

    def stamp(self, name: str) -> str:
        """Another text when a segmentation was changed."""
        _, annotations, class_name = self._of[name]
        return f"{class_name} {[each.fields.get('segmentation') for each in annotations]}"

    def where(self, name: str) -> str:
        """The segmentations of an image."""
        return self._of[name][1][0].where
