"""The formats: which there are, what each can hold, and how a set is written in one.

coco, coco-polygons      a JSON file (`coco`)
csv, jsonl               `tables`
label-studio             tasks with pre-annotations (`label_studio`)
yolo, yolo-segments      folders (`yolo`)
voc                      folders (`voc`)
masks                    a folder of PNG files (`png_masks`)
class-folders            folders of classes, with boxes and masks (`class_folders`)
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import BinaryIO, Literal, NamedTuple, get_args

from typing_extensions import TypeIs

from fastwsol.formats import labelled_images as has
from fastwsol.formats.class_folders import has_mask_of_its_class, write_class_folders
from fastwsol.formats.coco import write_coco
from fastwsol.formats.folders import in_split, mask_file, path_inside, refuse_shared_files
from fastwsol.formats.label_studio import labeling_configuration, write_label_studio
from fastwsol.formats.labelled_images import About, Images, LabelledImage
from fastwsol.formats.png_masks import has_mask, write_masks
from fastwsol.formats.tables import write_csv, write_json_lines
from fastwsol.formats.voc import write_voc, xml_file
from fastwsol.formats.yolo import label_file, write_yolo
from fastwsol.host.errors import UserError
from fastwsol.host.files import folder_when_whole, write_bytes, write_durably
from fastwsol.host.words import number_of

FileFormat = Literal["coco", "coco-polygons", "csv", "jsonl", "label-studio"]
FolderFormat = Literal["yolo", "yolo-segments", "voc", "masks", "class-folders"]
AnyFormat = Literal[FileFormat, FolderFormat]


class Beside(NamedTuple):
    """A file that a tool needs beside a format's own: what it is, what its name ends in, and its content."""

    what: str
    ending: str
    content: Callable[[About], bytes]


@dataclass(frozen=True)
class Format:
    """What a format can hold, and how it is written: into a file, or into a folder."""

    holds: frozenset[str]
    """What of `labelled_images.contents_of` it has a place for."""
    suffix: str = ""
    """What its files end in."""
    write_file: Callable[[BinaryIO, Images, About], None] | None = None
    write_folder: Callable[[Path, Mapping[str, Images], About], None] | None = None
    """Fills an empty folder with the images of each split; "" is a set without splits."""
    own_file: Callable[[str], PurePosixPath] = path_inside
    """Of a folder: where the file goes that an image has to itself, by the image's name."""
    images: Literal["none", "taken along", "needed"] = "none"
    """Whether its folder holds the images."""
    has_mask: Callable[[LabelledImage], bool] | None = None
    """Of a format that holds a mask for each image, and not one for each object: whether it writes that of an image."""
    numbers_pixels: bool = False
    """Whether each pixel of its masks is of one object."""
    beside: Beside | None = None
    has_addresses: bool = False
    """Whether images stand there under addresses, which `About.image_prefix` begins."""
    note_of_one_split: str = ""
    """What is to be said of a folder without train and val."""


_OF_ONE_MASK = {has.PARTIAL, has.PARTIAL_OF_CLASS, has.OF_OTHERS}
"""What is lost where the masks of an image's objects become one."""
_OF_NO_CLASS = {has.NO_CLASS, has.BOXES_OF_NO_CLASS}
_PLAIN = frozenset(
    {
        *(has.BOXES, has.CLASSES, has.BOXES_OF_MASKS, has.FRACTIONS, has.NAMES, has.MANY),
        *(has.TO_THE_PIXEL, has.UNMASKED, has.NO_MASK, has.BY_CLASS, has.VERDICTS, *_OF_NO_CLASS, *_OF_ONE_MASK),
    }
)
_JSON = _PLAIN | {
    *(has.SCORES, has.SIGNALS, has.PROBABILITIES, has.DIFFICULT),
    *(has.EMPTY_CLASSES, has.OTHER_CLASSES, has.WNIDS, has.SKIPPED),
}
_TRAINS_ON_WHAT_IT_VALIDATES = "data.yaml has the same images for training and for validation"

FORMATS: dict[AnyFormat, Format] = {
    "coco": Format(_JSON | {has.MASKS}, ".json", write_coco),
    "coco-polygons": Format(_JSON - {has.TO_THE_PIXEL} | {has.MASKS}, ".json", partial(write_coco, outline="polygons")),
    "csv": Format(_PLAIN - {has.NAMES} | {has.SCORES, has.DIFFICULT, has.EMPTY_CLASSES, has.WNIDS}, ".csv", write_csv),
    "jsonl": Format(_JSON, ".jsonl", write_json_lines),
    "label-studio": Format(
        _PLAIN | {has.SCORES, has.MASKS},
        ".json",
        write_label_studio,
        beside=Beside("Label Studio's labeling configuration", "-labels.xml", labeling_configuration),
        has_addresses=True,
    ),
    "yolo": Format(
        _PLAIN - {has.VERDICTS},
        write_folder=partial(write_yolo, segments=False),
        own_file=label_file,
        images="needed",
        note_of_one_split=_TRAINS_ON_WHAT_IT_VALIDATES,
    ),
    "yolo-segments": Format(
        _PLAIN - {has.BOXES_OF_MASKS, has.UNMASKED, has.VERDICTS, has.TO_THE_PIXEL} | {has.MASKS},
        write_folder=partial(write_yolo, segments=True),
        own_file=label_file,
        images="needed",
        note_of_one_split=_TRAINS_ON_WHAT_IT_VALIDATES,
    ),
    "voc": Format(
        _PLAIN - {has.FRACTIONS, has.MANY, has.BY_CLASS, has.VERDICTS} | {has.MASKS, has.LEFT_OUT, has.DIFFICULT},
        write_folder=write_voc,
        own_file=xml_file,
        images="taken along",
        numbers_pixels=True,
    ),
    "masks": Format(
        frozenset(
            {
                *(has.MASKS, has.TO_THE_PIXEL, has.WHOLE_MASKS, has.LEFT_OUT, has.MANY, has.BY_CLASS),
                *(has.PARTIAL_OF_CLASS, has.OF_OTHERS),
            }
        )
        | _OF_NO_CLASS,
        write_folder=write_masks,
        own_file=mask_file,
        has_mask=has_mask,
    ),
    "class-folders": Format(
        _JSON
        - {has.NAMES, has.SIGNALS, has.PROBABILITIES, has.SKIPPED, has.PARTIAL_OF_CLASS, has.OF_OTHERS}
        - _OF_NO_CLASS
        | {has.MASKS, has.WHOLE_MASKS, has.LEFT_OUT},
        write_folder=write_class_folders,
        images="needed",
        has_mask=has_mask_of_its_class,
    ),
}
"""By their names."""

_BY_SUFFIX: dict[str, FileFormat] = {".json": "coco", ".csv": "csv", ".jsonl": "jsonl"}


def format_of(suffix: str) -> FileFormat | None:
    """The format that a file's ending stands for, or None."""
    return _BY_SUFFIX.get(suffix.lower())


def is_folder(form: AnyFormat) -> TypeIs[FolderFormat]:
    """Whether a format is written as a folder."""
    return form in get_args(FolderFormat)


def holds_masks_of_objects(form: AnyFormat) -> bool:
    """Whether a format holds a mask for each object, and not one an image."""
    return has.MASKS in FORMATS[form].holds and FORMATS[form].has_mask is None


def takes(form: AnyFormat, image: LabelledImage) -> bool:
    """Whether an image comes into what is written."""
    if has.NO_MASK not in FORMATS[form].holds:
        return has_mask(image)
    return has.NO_CLASS in FORMATS[form].holds or has.class_of(image) is not None


IMAGE_PREFIX = "/data/local-files/?d="
"""What Label Studio puts before the names of files on its own disk."""


def refuse_another_ending(form: AnyFormat, out: Path) -> None:
    """Raise UserError where the ending of --out is that of a file of another format."""
    ending = out.suffix.lower()
    if is_folder(form):
        if ending in _BY_SUFFIX:
            raise UserError(f"--out {out}: --format {form} writes a folder; name one, or leave --format out")
    elif ending in _BY_SUFFIX and ending != FORMATS[form].suffix:
        raise UserError(f"--out {out}: a file of --format {form} ends in {FORMATS[form].suffix}; name it so")


def refuse_beside(out: Path, form: AnyFormat) -> None:
    """Raise UserError where something lies in the place of a file that is written beside --out."""
    for path in files_beside(out, form):
        if path.exists() or path.is_symlink():
            raise UserError(f"--out {out}: {path}, which is written beside it, exists; name another file")


def refuse_useless_prefix(form: AnyFormat, prefix: str) -> None:
    """Raise UserError where --image-prefix is given for a format that has no addresses."""
    if not FORMATS[form].has_addresses and prefix != IMAGE_PREFIX:
        others = " or ".join(name for name, each in FORMATS.items() if each.has_addresses)
        raise UserError(f"--image-prefix {prefix}: is of --format {others}, not of {form}; leave it out")


def not_held(form: AnyFormat, counts: Mapping[str, int]) -> str:
    """A sentence of what a format could not hold, by the counts of what there was (`labelled_images.counted`); empty
    where it is nothing.
    """
    lost = {what: count for what, count in counts.items() if count and what not in FORMATS[form].holds}
    told = [number_of(count, has.one_of(what), what) for what, count in lost.items() if _WHOLE.get(what) not in lost]
    return f"{form} has no place for {', '.join(told)}" if told else ""


_WHOLE = {
    **dict.fromkeys((has.LEFT_OUT, has.PARTIAL, has.PARTIAL_OF_CLASS, has.OF_OTHERS), has.MASKS),
    **dict.fromkeys((has.MANY, has.BY_CLASS, has.TO_THE_PIXEL), has.MASKS),
    **dict.fromkeys((has.BOXES_OF_MASKS, has.FRACTIONS, has.DIFFICULT, has.UNMASKED), has.BOXES),
    **dict.fromkeys((has.WNIDS, has.NAMES), has.CLASSES),
}
"""Of what is told as a part of something else, where that is not lost as a whole."""


def write_in_file(file: BinaryIO, form: FileFormat, images: Images, about: About) -> None:
    """Write images to a file, one at a time."""
    write = FORMATS[form].write_file
    assert write is not None
    write(file, images, about)


def note_of(form: AnyFormat, out: Path, splits: Sequence[str] = ()) -> str:
    """What is to be said of images in a format; empty where that is nothing. splits: those that were written."""
    if (beside := FORMATS[form].beside) is not None:
        return f"{beside.what} is {files_beside(out, form)[0]}"
    if (note := FORMATS[form].note_of_one_split) and len(splits) < 2:
        return f"{note}: {f'only {splits[0]} was written' if splits else 'there are no splits here'}"
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
        needed = FORMATS[form].beside
        for path in files_beside(out, form):  # before the file is in place, which says that all is there
            assert needed is not None
            write_bytes(path, needed.content(about), is_new=True)
            beside.append(path)

    try:
        write_durably(out, write, is_new=True)
    except BaseException:
        for path in beside:
            path.unlink(missing_ok=True)
        raise


def files_beside(out: Path, form: AnyFormat) -> list[Path]:
    """The files that are written beside the one named `out`."""
    needed = FORMATS[form].beside
    return [] if needed is None else [out.with_name(f"{out.stem}{needed.ending}")]


def write_in_folder(folder: Path, form: FolderFormat, splits: Mapping[str, Images], about: About) -> None:
    """Fill an empty folder with the images of each split; "" is a set without splits."""
    write = FORMATS[form].write_folder
    assert write is not None
    write(folder, splits, about)


def refuse_shared(form: FolderFormat, names: Iterable[str], flag: str, split: str = "") -> None:
    """Raise UserError where two images of a split would share a file. flag: what is named, as `--format voc`."""
    refuse_shared_files(flag, names, lambda name: in_split(FORMATS[form].own_file(name), split))
