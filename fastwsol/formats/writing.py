"""The formats: which there are, what each can hold, and how a set is written in one.

coco, coco-polygons      a JSON file (`coco`)
csv, jsonl               `tables`
label-studio             tasks with pre-annotations (`label_studio`)
yolo, yolo-segments      folders (`yolo`)
voc                      folders (`voc`)
masks                    a folder of PNG files (`png_masks`)
class-folders            folders of classes, with boxes and masks (`class_folders`)
"""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal, get_args

from typing_extensions import TypeIs

from fastwsol.formats import labelled_images as has
from fastwsol.formats.class_folders import write_class_folders
from fastwsol.formats.coco import write_coco
from fastwsol.formats.folders import mask_file, path_inside, refuse_shared_files
from fastwsol.formats.label_studio import labeling_configuration, write_label_studio
from fastwsol.formats.labelled_images import About, Images
from fastwsol.formats.png_masks import write_masks
from fastwsol.formats.tables import write_csv, write_json_lines
from fastwsol.formats.voc import finish_voc, write_voc
from fastwsol.formats.yolo import finish_yolo, without_images, write_yolo
from fastwsol.host.errors import UserError
from fastwsol.host.files import folder_when_whole, write_bytes, write_durably

FileFormat = Literal["coco", "coco-polygons", "csv", "jsonl", "label-studio"]
FolderFormat = Literal["yolo", "yolo-segments", "voc", "masks", "class-folders"]
AnyFormat = Literal[FileFormat, FolderFormat]

_BY_SUFFIX: dict[str, FileFormat] = {".json": "coco", ".csv": "csv", ".jsonl": "jsonl"}
SUFFIXES: dict[FileFormat, str] = {
    "coco": ".json",
    "coco-polygons": ".json",
    "csv": ".csv",
    "jsonl": ".jsonl",
    "label-studio": ".json",
}
"""What files of a format end in."""

_WRITERS: dict[FileFormat, Callable[[BinaryIO, Images, About], None]] = {
    "coco": write_coco,
    "coco-polygons": lambda file, images, about: write_coco(file, images, about, "polygons"),
    "csv": write_csv,
    "jsonl": write_json_lines,
    "label-studio": write_label_studio,
}

_OF_ONE_MASK = {has.PARTIAL, has.PARTIAL_OF_CLASS, has.OF_OTHERS}
"""What is lost where the masks of an image's objects become one."""
_PLAIN = frozenset(
    {has.BOXES, has.CLASSES, has.BOXES_OF_MASKS, has.FRACTIONS, has.NAMES, has.MANY, has.NO_CLASS, *_OF_ONE_MASK}
)
_JSON = _PLAIN | {
    *(has.SCORES, has.SIGNALS, has.PROBABILITIES, has.DIFFICULT),
    *(has.EMPTY_CLASSES, has.OTHER_CLASSES, has.WNIDS, has.SKIPPED),
}
_HOLDS: dict[AnyFormat, frozenset[str]] = {
    "coco": _JSON | {has.MASKS},
    "coco-polygons": _JSON | {has.MASKS},
    "csv": _PLAIN - {has.NAMES} | {has.SCORES, has.DIFFICULT, has.EMPTY_CLASSES, has.WNIDS},
    "jsonl": _JSON,
    "label-studio": _PLAIN | {has.SCORES, has.MASKS},
    "yolo": _PLAIN,
    "yolo-segments": _PLAIN - {has.BOXES_OF_MASKS} | {has.MASKS},
    "voc": _PLAIN - {has.FRACTIONS, has.MANY} | {has.MASKS, has.LEFT_OUT, has.DIFFICULT},
    "masks": frozenset({has.MASKS, has.WHOLE_MASKS, has.LEFT_OUT, has.MANY, has.NO_CLASS})
    | (_OF_ONE_MASK - {has.PARTIAL}),
    "class-folders": _JSON
    - {has.NAMES, has.SIGNALS, has.PROBABILITIES, has.SKIPPED, has.NO_CLASS, has.PARTIAL_OF_CLASS, has.OF_OTHERS}
    | {has.MASKS, has.WHOLE_MASKS, has.LEFT_OUT},
}


def format_of(suffix: str) -> FileFormat | None:
    """The format that a file's ending stands for, or None."""
    return _BY_SUFFIX.get(suffix.lower())


def is_folder(form: AnyFormat) -> TypeIs[FolderFormat]:
    """Whether a format is written as a folder."""
    return form in get_args(FolderFormat)


def holds_masks_of_objects(form: AnyFormat) -> bool:
    """Whether a format holds a mask for each object, and not one an image."""
    return has.MASKS in _HOLDS[form] and form not in ("masks", "class-folders")


def left_out_images(form: AnyFormat, counts: Mapping[str, int]) -> int:
    """How many of the images that were counted are not in what was written."""
    return 0 if has.NO_CLASS in _HOLDS[form] else counts.get(has.NO_CLASS, 0)


def numbers_pixels(form: AnyFormat) -> bool:
    """Whether each pixel of a format's masks is of one object."""
    return form == "voc"


def holds_images(form: AnyFormat) -> bool:
    """Whether a format's folder takes the images along."""
    return form == "voc" or needs_images(form)


def needs_images(form: AnyFormat) -> bool:
    """Whether there is no folder of a format without the images."""
    return form in ("yolo", "yolo-segments", "class-folders")


IMAGE_PREFIX = "/data/local-files/?d="
"""What Label Studio puts before the names of files on its own disk."""


def refuse_another_ending(form: AnyFormat, out: Path) -> None:
    """Raise UserError where the ending of --out is that of a file of another format."""
    ending = out.suffix.lower()
    if is_folder(form):
        if ending in _BY_SUFFIX:
            raise UserError(f"--out {out}: --format {form} writes a folder; name one, or leave --format out")
    elif ending in _BY_SUFFIX and ending != SUFFIXES[form]:
        raise UserError(f"--out {out}: a file of --format {form} ends in {SUFFIXES[form]}; name it so")


def refuse_beside(out: Path, form: AnyFormat) -> None:
    """Raise UserError where something lies in the place of a file that is written beside --out."""
    for path in files_beside(out, form):
        if path.exists() or path.is_symlink():
            raise UserError(f"--out {out}: {path}, which is written beside it, exists; name another file")


def refuse_useless_prefix(form: AnyFormat, prefix: str) -> None:
    """Raise UserError where --image-prefix is given for a format that has no addresses."""
    if form != "label-studio" and prefix != IMAGE_PREFIX:
        raise UserError(f"--image-prefix {prefix}: is of --format label-studio, not of {form}; leave it out")


def not_held(form: AnyFormat, counts: Mapping[str, int]) -> str:
    """A sentence of what a format could not hold, by the counts of what there was (`labelled_images.counted`); empty
    where it is nothing.
    """
    lost = [f"{count:,} {what}" for what, count in counts.items() if what not in _HOLDS[form]]
    return f"{form} has no place for {', '.join(lost)}" if lost else ""


def write_in_file(file: BinaryIO, form: FileFormat, images: Images, about: About) -> None:
    """Write images to a file, one at a time."""
    _WRITERS[form](file, images, about)


def note_of(form: AnyFormat, out: Path) -> str:
    """What is to be said of images without splits in a format; empty where that is nothing."""
    if form == "label-studio":
        return f"Label Studio's labeling configuration is {files_beside(out, form)[0]}"
    if form in ("yolo", "yolo-segments"):
        return "data.yaml has the same images for training and for validation: there are no splits here"
    return ""


def write_set(out: Path, form: AnyFormat, images: Images, about: About) -> None:
    """Write images without splits to `out`, a new file or a new folder, which is there once it is whole."""
    if is_folder(form):
        with folder_when_whole(out) as folder:
            write_in_folder(folder, form, {"": images}, about)
        return

    beside: list[Path] = []

    def write(file: BinaryIO) -> None:
        write_in_file(file, form, images, about)
        for path in files_beside(out, form):  # before the file is in place, which says that all is there
            write_bytes(path, labeling_configuration(about), is_new=True)
            beside.append(path)

    try:
        write_durably(out, write, is_new=True)
    except BaseException:
        for path in beside:
            path.unlink(missing_ok=True)
        raise


def files_beside(out: Path, form: AnyFormat) -> list[Path]:
    """The files that are written beside the one named `out`."""
    return [out.with_name(f"{out.stem}-labels.xml")] if form == "label-studio" else []


def write_in_folder(folder: Path, form: FolderFormat, splits: Mapping[str, Images], about: About) -> None:
    """Fill an empty folder with the images of each split; "" is a set without splits."""
    if form == "class-folders":
        write_class_folders(folder, splits, about)
        return
    for split, images in splits.items():
        match form:
            case "yolo" | "yolo-segments":
                write_yolo(folder, split, images, form == "yolo-segments")
            case "voc":
                write_voc(folder, split, images, about)
            case "masks":
                write_masks(folder, split, images)
    if form == "voc":
        finish_voc(folder, about)
    elif form != "masks":
        finish_yolo(folder, [*splits], about)


def refuse_shared(form: FolderFormat, names: Iterable[str], flag: str) -> None:
    """Raise UserError where two images of a split would share a file. flag: what is named, as `--format voc`."""
    suffixes = {"yolo": ".txt", "yolo-segments": ".txt", "voc": ".xml"}

    def file_of(name: str) -> PurePosixPath:
        if form == "masks":
            return mask_file(name)
        path = path_inside(name)
        if form == "class-folders":
            return path
        return (path if form == "voc" else without_images(path)).with_suffix(suffixes[form])

    refuse_shared_files(flag, names, file_of)
