"""A folder for each class, from a folder or straight out of a zip, which is never extracted.

    <class>/...            the class's images, in it and in folders below it; a part is drawn to be val
    train/<class>/...      or so; what lies beside train and val is not packed, and that is said
    val/<class>/...        where there is one, nothing is drawn

The two may also be called training, and valid or validation, in any case.

A class is named after its folder; labels are in the order of the names. A set that lies whole in one outer folder is
taken from there. What ends as no image's name is ignored and counted. Boxes are optional (`boxes_file`), and so are
masks (`mask_folder`), which lie in their folder as the images do in the set's.
"""

import unicodedata
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fastwsol.host.errors import UserError
from fastwsol.host.words import number_of
from fastwsol.sources import Class
from fastwsol.sources.annotated import (
    IMAGE_SUFFIXES,
    LEFT_OUT,
    NO_TEXT,
    AnnotatedBox,
    AnnotatedImage,
    FileSource,
    GoodImages,
    first_classes,
    images_below,
    is_text,
    why_no_image,
)
from fastwsol.sources.boxes_file import FileBoxes, ImageBoxes, read_boxes
from fastwsol.sources.mask_folder import MaskFolder
from fastwsol.sources.mask_images import mask_paths
from fastwsol.sources.of_objects import whose_boxes
from fastwsol.sources.splits import SPLIT_CALLED, VAL_FRACTION, ValChoice, ValOf, with_val
from fastwsol.sources.tree import Tree, joined, name_of_set, open_tree
from fastwsol.sources.verdicts import note_of_accepted, note_of_unjudged

SPLITS = ("train", "val")


@dataclass(frozen=True)
class _Image:
    path: str
    stamp: str
    class_name: str


class ImageFolder(FileSource):
    """A `Source` over class folders. `boxes_used`: of a file of boxes.

    boxes: a file as `boxes_file` describes it; boxes_of_more: whether it may be of more images than these; val: which
    images become val where the source has none; class_count keeps the first classes; follow_links: also those that lead
    out of `path`; masks: a folder or zip of masks; quarantine: bad images will be left out, so that none is drawn
    to be val. Raises UserError for every mistake that is not one image's, naming
    file or folder and remedy.
    """

    upright = True

    def __init__(
        self,
        path: Path,
        *,
        boxes: Path | None = None,
        boxes_of_more: bool = False,
        val: ValChoice = None,
        class_count: int | None = None,
        follow_links: bool = False,
        masks: Path | None = None,
        quarantine: bool = False,
    ):
        tree = open_tree(path, follow_links)
        layout = _layout(tree, path, masks)
        labels = {name: label for label, name in enumerate(layout.names)}
        classes = first_classes(tuple(Class(name, name) for name in layout.names), class_count, f"{path}")
        images = {split: _images(tree, folder, layout.names, split) for split, folder in layout.splits.items()}
        notes = _notes_of_layout(tree, layout, path, sum((others for _, others in images.values()), Counter()))
        every = [image for of_split, _ in images.values() for image in of_split]
        own = {
            split: [image for image in of_split if labels[image.class_name] < len(classes)]
            for split, (of_split, _) in images.items()
        }
        good = GoodImages(tree)
        are_good = (lambda images: good([image.path for image in images])) if quarantine else None
        listed = with_val(own, lambda image: image.class_name, lambda image: image.path, val, str(path), are_good)
        notes += good.notes()
        if isinstance(val, ValOf):
            notes += val.notes([(image.path, image.class_name) for image in listed["val"]])
        of_file, mask_folder = FileBoxes(), None
        mask_of: dict[str, str] = {}
        if boxes is not None:
            of_file, told = _boxes_of(boxes, boxes_of_more, every, labels, len(classes))
            notes += told
        if masks is not None:
            mask_folder = MaskFolder(masks, follow_links)
            mask_of, told = _masks_of(mask_folder, layout.root, every, labels, len(classes))
            notes += told
        annotations = {
            split: [
                _annotation(tree, each, labels, of_file.of_image.get(each.path), mask_of.get(each.path))
                for each in of_split
            ]
            for split, of_split in listed.items()
        }
        drawn = "" if len(layout.splits) > 1 else _share(val)
        by_whom = whose_boxes(of_file.predicted, bool(of_file.accepted))
        super().__init__(f"{name_of_set(path)} ({_KIND}{drawn}{by_whom})", classes, tree, annotations, mask_folder)
        self.notes, self.boxes_used = notes, of_file.used


@dataclass(frozen=True)
class _Layout:
    """Where the class folders lie."""

    root: str
    """The folder of the set."""
    splits: dict[str, str]
    """The folder of each split, in packing order."""
    names: list[str]
    """Of the classes, in label order."""
    beside: list[str]
    """The folders beside those of the splits."""


def _layout(tree: Tree, path: Path, masks: Path | None) -> _Layout:
    """The class folders of a tree. masks: lie elsewhere, or beside the splits. Raises UserError where that is no set
    of two classes at least.
    """
    root = _root(tree, path)
    splits, beside = _split_folders(tree, root)
    names = sorted(tree.folders(splits["train"]))
    if len(names) < 2:
        is_a_class = root and not (names and _holds_folders_alone(tree, root))
        found = f"one, {root.rpartition('/')[2]!r}" if is_a_class else f"{len(names)} in {_or_top(splits['train'])}"
        raise UserError(f"{path}: its class folders: {found}; give a folder with one for each class, two at least")
    if masks is not None and (inside := [n for n in names if _same(tree.where(joined(splits["train"], n)), masks)]):
        raise UserError(
            f"--masks {masks}: lies among the class folders, and {inside[0]!r} would be a class; move it elsewhere"
        )
    if odd := [name for name in names if not is_text(name)]:
        raise UserError(f"{tree.where(splits['train'])}: the class folder {odd[0]!a}: {NO_TEXT}")
    _refuse_names_of_two_forms(tree, splits["train"], names)
    if len(splits) == 1:
        _refuse_splits_in_classes(tree, splits["train"], names)
    beside = [name for name in beside if masks is None or not _same(tree.where(joined(root, name)), masks)]
    return _Layout(root, splits, names, beside)


def _notes_of_layout(tree: Tree, layout: _Layout, path: Path, ignored_files: Counter[str]) -> list[str]:
    """What of the tree is not packed, or may surprise. ignored_files: files in class folders, by why."""
    root, train = layout.root, layout.splits["train"]
    notes = [_not_packed(tree, joined(root, name)) for name in layout.beside]
    if len(layout.splits) > 1 or train != root:
        notes += _images_at_top(tree, root, path)
    notes += [f"{number_of(count, 'file')} in the class folders ignored, {why}" for why, count in ignored_files.items()]
    if tree.left_out:
        notes.append(f"{tree.left_out:,} {LEFT_OUT}")
    return notes + [
        f"{tree.where(joined(train, name))}: is taken for a class, as it and all beside it hold images"
        for name in layout.names
        if name in SPLITS and train == root
    ]


def _boxes_of(
    file: Path, of_more: bool, every: Sequence[_Image], labels: dict[str, int], class_count: int
) -> tuple[FileBoxes, list[str]]:
    """The boxes of a file, and what became of all of them. every: all images, of the other classes too."""
    class_of = {each.path: each.class_name for each in every}
    boxes = read_boxes(file, class_of.keys(), class_of, labels, of_more)
    why = f"of classes beyond --classes {class_count}"
    boxes.leave_out({path for path, name in class_of.items() if labels[name] >= class_count}, why)
    boxes.leave_out_classes([name for name, label in labels.items() if label >= class_count], why)
    if not boxes.used:
        reason = f"no box is used: {boxes.account()}" if boxes.left_out or boxes.of_image else "it holds no box"
        raise UserError(f"--boxes {file}: {reason}; give boxes of this set's images and classes, or leave the flag out")
    return boxes, [
        f"{file}: {boxes.account()}",
        *([note_of_unjudged(f"{file}: has boxes")] if boxes.predicted else []),
        *([note_of_accepted(len(boxes.accepted))] if boxes.accepted else []),
    ]


def _masks_of(
    masks: MaskFolder, root: str, every: Sequence[_Image], labels: dict[str, int], class_count: int
) -> tuple[dict[str, str], list[str]]:
    """The mask of each image that has one, both by their paths; and what became of all masks. every: as of
    `_boxes_of`.
    """
    prefix = f"{root}/" if root else ""
    of_names = masks.of_images(each.path.removeprefix(prefix) for each in every)
    found = {
        path: of_names[name]
        for path, name in ((each.path, each.path.removeprefix(prefix)) for each in every)
        if name in of_names
    }
    kept = {each.path for each in every if labels[each.class_name] < class_count}
    used = {path: mask for path, mask in found.items() if path in kept}
    if not used:
        example = min(kept).removeprefix(prefix)
        raise UserError(
            f"--masks {masks.path}: none of the {len(masks.files):,} masks there is of an image; the mask of "
            f"{example} is {' or '.join(mask_paths(example))} in it"
        )
    said = f"{masks.path}: {number_of(len(masks.files), 'mask')}, {len(used):,} used"
    if beyond := len(found) - len(used):
        said += f", {beyond:,} of classes beyond --classes"
    if strange := len(masks.files) - len(found):
        said += f", {strange:,} of no image"
    if without := len(kept) - len(used):
        said += f"; {number_of(without, 'image')} without one"
    return used, [
        said,
        *(f"{number_of(count, 'file')} beside the masks ignored, {why}" for why, count in masks.ignored_files.items()),
    ]


_KIND = "class folders"


def _share(val: ValChoice) -> str:
    """What a set's name says of how its val was chosen."""
    if isinstance(val, ValOf):
        return f", val that of {name_of_set(val.folder)}"
    return f", {VAL_FRACTION if val is None else val:g} of them val"


def _annotation(
    tree: Tree, image: _Image, labels: dict[str, int], boxes: ImageBoxes | None, mask: str | None
) -> AnnotatedImage:
    label = labels[image.class_name]
    if boxes is None:
        return AnnotatedImage(image.path, label, (), tree.where(image.path), image.stamp, mask=mask)
    objects = tuple(
        AnnotatedBox(each.box, labels[each.other_class or image.class_name], each.difficult, each.where)
        for each in boxes.boxes
    )
    origin = objects[0].origin if objects else tree.where(image.path)
    return AnnotatedImage(image.path, label, objects, origin, image.stamp, size=boxes.size, mask=mask)


def _not_packed(tree: Tree, folder: str) -> str:
    """What is said of a folder beside train and val."""
    images, _ = images_below(tree, folder)
    return f"{tree.where(folder)}: neither train nor val, and not packed ({number_of(len(images), 'image')})"


def _images_at_top(tree: Tree, root: str, path: Path) -> list[str]:
    """What is said of images that lie beside the folders of the splits."""
    beside = set(tree.names(root)) - tree.folders(root)
    count = sum(name.lower().endswith(IMAGE_SUFFIXES) for name in beside)
    where = tree.where(root) if root else str(path)
    return [f"{where}: {number_of(count, 'image')} beside train and val, in no class, and not packed"] if count else []


def lies_among_classes(place: Path, path: Path) -> bool:
    """Whether a place would be taken for a class, or lies in one, of the set in class folders at `path`; beside train
    and val it would not. Raises UserError where that is no such set.
    """
    place = place.resolve()
    if not path.is_dir() or not place.is_relative_to(path.resolve()):
        return False
    tree = open_tree(path)
    root = _root(tree, path)
    splits, _ = _split_folders(tree, root)
    inside = {folder: place.is_relative_to(Path(tree.where(folder)).resolve()) for folder in (root, *splits.values())}
    return not inside[root] or any(inside[folder] for folder in splits.values())


def _root(tree: Tree, path: Path) -> str:
    """The folder of the set: the top, or the only folder there, which a zip often has."""
    root = ""
    while len(inner := tree.folders(root)) == 1 and "train" not in _splits_in(tree, root):
        (name,) = inner
        if _holds_images(tree, root):
            break
        root = joined(root, name)
        if root.count("/") > _MOST_OUTER_FOLDERS:
            raise UserError(
                f"{path}: has one folder in the other and no classes; give a folder with one for each class"
            )
    return root


_MOST_OUTER_FOLDERS = 8


def _split_folders(tree: Tree, root: str) -> tuple[dict[str, str], list[str]]:
    """The folder of each split, in packing order, and the folders beside them."""
    found = _splits_in(tree, root)
    if not found:
        return {"train": root}, []
    for split, names in found.items():
        if len(names) > 1:
            raise UserError(
                f"{tree.where(joined(root, names[1]))}: {names[0]!r} beside it may be {split} too; put one of them away"
            )
    if "train" not in found:
        where = tree.where(joined(root, found["val"][0]))
        raise UserError(f"{where}: there is no train beside it; put the classes into train")
    of_split = {split: found[split][0] for split in SPLITS if split in found}
    beside = sorted(tree.folders(root) - set(of_split.values()))
    return {split: joined(root, name) for split, name in of_split.items()}, beside


def _splits_in(tree: Tree, root: str) -> dict[str, list[str]]:
    """The names of the folders that are splits, by split. Under another name than train and val a folder is one only
    where it holds folders and no images, for it could be a class, and where none of the plain name is beside it.
    """
    found: dict[str, list[str]] = {}
    for name in sorted(tree.folders(root)):
        split = SPLIT_CALLED.get(name.lower())
        is_plain = name in SPLITS and not _is_class(tree, root, name)
        if split is not None and (is_plain or _holds_folders_alone(tree, joined(root, name))):
            found.setdefault(split, []).append(name)
    return {split: [split] if split in names else names for split, names in found.items()}


def _is_class(tree: Tree, root: str, name: str) -> bool:
    """Whether a folder that is called `train` or `val` is a class, as in a set of vehicles: it has no folders, it and
    all beside it, two at least, hold images, and nothing beside it is called like a part of a set.
    """
    names = tree.folders(root)
    others = {each.lower() for each in names - {name}}
    if len(others) < 2 or any(each in SPLIT_CALLED or each.startswith(_PARTS_OF_SETS) for each in others):
        return False
    return not tree.folders(joined(root, name)) and all(_holds_images(tree, joined(root, each)) for each in names)


_PARTS_OF_SETS = ("test", "eval", "dev", "unlabel", "extra", "mask", "label", "image", "annot", "segment", "boxes")


def _holds_images(tree: Tree, folder: str) -> bool:
    return any(name.lower().endswith(IMAGE_SUFFIXES) for name in tree.names(folder))


def _holds_folders_alone(tree: Tree, folder: str) -> bool:
    return bool(tree.folders(folder)) and not _holds_images(tree, folder)


def _refuse_splits_in_classes(tree: Tree, root: str, names: list[str]) -> None:
    """Raise UserError where all folders that would be classes hold the same folders, several, and no images."""
    inner = [tree.folders(joined(root, name)) for name in names]
    if len(inner[0]) < 2 or any(each != inner[0] for each in inner):
        return
    if all(_holds_folders_alone(tree, joined(root, name)) for name in names):
        shown = ", ".join(sorted(inner[0])[:4])
        raise UserError(
            f"{tree.where(root)}: its folders {', '.join(names[:4])} all hold the same folders ({shown}) and no "
            f"images; if they are splits, name them train and val; if these are the classes, put them at the top"
        )


def _refuse_names_of_two_forms(tree: Tree, root: str, names: list[str]) -> None:
    """Raise UserError where two classes have one name but for its Unicode form, as after copying between systems."""
    forms: dict[str, str] = {}
    for name in names:
        other = forms.setdefault(unicodedata.normalize("NFC", name), name)
        if other != name:
            raise UserError(
                f"{tree.where(joined(root, name))}: is {other!r} beside it but for Unicode form; put both into one "
                f"folder"
            )


def _images(tree: Tree, folder: str, names: list[str], split: str) -> tuple[list[_Image], Counter[str]]:
    """The images of a split, class by class, and how many files are none, by why."""
    if unknown := sorted(tree.folders(folder) - set(names)):
        raise UserError(
            f"{tree.where(joined(folder, unknown[0]))}: {unknown[0]!r} is no class of train; remove it, or add the "
            f"class there"
        )
    images: list[_Image] = []
    beside = set(tree.names(folder)) - tree.folders(folder)
    if strays := sorted(name for name in beside if name.lower().endswith(IMAGE_SUFFIXES)):
        raise UserError(
            f"{tree.where(joined(folder, strays[0]))}: lies beside the class folders; move it into its class, or away"
        )
    ignored_files = Counter(map(why_no_image, beside))
    for name in names:
        stamps, others = images_below(tree, joined(folder, name))
        if not stamps and split == "train":
            found = "; ".join(f"{number_of(count, 'file')} ignored, {why}" for why, count in others.items())
            raise UserError(
                f"{tree.where(joined(folder, name))}: class {name} has no images to train on"
                f"{f' ({found})' if found else ''}; put some there, or remove the folder"
            )
        images += [_Image(path, stamp, name) for path, stamp in stamps.items()]
        ignored_files += others
    return images, ignored_files


def _same(where: str, folder: Path) -> bool:
    return Path(where).resolve() == folder.resolve()


def _or_top(folder: str) -> str:
    return repr(folder) if folder else "the top"
