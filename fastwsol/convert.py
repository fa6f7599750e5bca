"""python -m fastwsol.convert SHARDS|PREDICTIONS... --format voc --out FOLDER: labelled images in another tool's form.

SHARDS is a packed set: its images and what is known of them are written into a new folder, which a training tool takes.
PREDICTIONS is COCO's JSON, as `python -m fastwsol.predict` writes it: one file, or all parts of one (--part K/N), which
are joined. What a format cannot hold is counted and said.
"""

if __name__ == "__main__":  # before the imports, which take seconds
    from fastwsol.host.starting import run

    run("convert")

import shlex
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import tyro

from fastwsol.config import flag
from fastwsol.dataset.shards import MANIFEST_NAME, Shards, open_shards
from fastwsol.formats.flags import FormatFlag, ImagePrefixFlag
from fastwsol.formats.folders import image_file, in_split, write_file
from fastwsol.formats.labelled_images import About, Images, LabelledImage, Skipped, class_of, counted
from fastwsol.formats.of_coco import labelled_images, note_of_lost_keys, read_predictions
from fastwsol.formats.of_shards import DividedMasks, divided_masks, labelled_split
from fastwsol.formats.writing import (
    FORMATS,
    IMAGE_PREFIX,
    AnyFormat,
    format_of,
    holds_masks_of_objects,
    is_folder,
    not_held,
    note_of,
    refuse_another_ending,
    refuse_beside,
    refuse_shared,
    refuse_useless_prefix,
    takes,
    write_in_file,
    write_in_folder,
    write_set,
)
from fastwsol.host.command_line import parse_flags
from fastwsol.host.errors import UserError
from fastwsol.host.files import folder_when_whole, write_bytes, write_durably
from fastwsol.host.flags import shown_as
from fastwsol.host.places import require_new
from fastwsol.host.ticker import image_ticker
from fastwsol.host.words import number_of
from fastwsol.prediction.predicted_images import REMEDY, PredictedImages
from fastwsol.sources import FULLSUP
from fastwsol.sources.coco_json import CocoFile, note_of_marked_masks
from fastwsol.sources.of_objects import ACCEPTED_BOXES, PREDICTED_BOXES
from fastwsol.sources.splits import drawn_val
from fastwsol.sources.verdicts import note_of_unjudged

PROG = "python -m fastwsol.convert"
DESCRIPTION = (
    "Write a packed set, or predictions, as COCO, YOLO, VOC, class folders, Label Studio's tasks, CSV, JSON lines or "
    "PNG masks."
)


@dataclass(frozen=True)
class Flags:
    """The command line."""

    inputs: Annotated[
        tuple[Path, ...],
        tyro.conf.Positional,
        tyro.conf.arg(metavar="SHARDS|PREDICTIONS", help_behavior_hint="(required)"),
    ]
    """folder that pack.py wrote; or COCO's JSON that predict wrote, all parts of one"""
    out: Path
    """for predictions a new file, whose ending says the format (.json COCO, .csv, .jsonl), or a new folder; for shards
    a new folder, into which the images are written too"""
    format: FormatFlag = "auto"
    images: Annotated[tuple[Path, ...], tyro.conf.UseAppendAction, shown_as("PLACE")] = ()
    """for predictions: folder or zip of the images; yolo, yolo-segments and class-folders need it, voc copies the
    images where it is given. Where several places were predicted, give --images for each"""
    follow_links: bool = False
    """in folders of --images, also take images behind links that lead out of them"""
    skip_missing: bool = False
    """leave out images that no place of --images holds any more, and count them"""
    least_score: Annotated[float | None, shown_as("SCORE")] = None
    """of predictions: leave out boxes of a lower score, and images that are left without a box; what a review has
    judged stays"""
    least_certainty: Annotated[float | None, shown_as("CHANCE")] = None
    """the same by certainty, which evaluate --predictions --reviewed --out finds (0..1)"""
    val_fraction: Annotated[float | None, shown_as("SHARE")] = None
    """of predictions, for yolo, yolo-segments, voc and class-folders: the share of each class's images that becomes
    val, the same images each time; the others are train (default: no splits)"""
    split: Annotated[str | None, shown_as("NAME")] = None
    """of shards: this split alone (default: train and val)"""
    image_prefix: ImagePrefixFlag = IMAGE_PREFIX


@dataclass
class Written:
    """What was written."""

    images: int = 0
    objects: int = 0
    masks: int = 0
    """Of a format with a mask for each image."""
    skipped: int = 0
    rejected: int = 0
    unsure_boxes: int = 0
    boxes_without: int = 0
    """Without a score or a certainty, where that has a limit."""
    unsure_images: int = 0
    missing: int = 0
    """Images whose files are not there any more."""
    contents: Counter[str] = field(default_factory=Counter)
    """What there was that not every format can hold."""
    notes: list[str] = field(default_factory=list)


def main(arguments: Sequence[str]) -> int:
    """Convert as the flags say; exit status 0. Raises UserError for what cannot be read, naming it."""
    flags = parse_flags(Flags, arguments, PROG, DESCRIPTION)
    if not flags.inputs:
        raise UserError("nothing to convert; name the folder of a packed set, or predictions in COCO's JSON")
    if missing := [path for path in flags.inputs if not path.exists()]:
        raise UserError(f"{missing[0]}: no such file or folder; name a packed set, or predictions in COCO's JSON")
    packed = [path for path in flags.inputs if path.is_dir()]
    if others := [path for path in packed if not (path / MANIFEST_NAME).is_file()]:
        raise UserError(
            f"{others[0]}: no packed set ({MANIFEST_NAME} is missing); name a folder that pack.py wrote, or "
            f"predictions in COCO's JSON, the one form of theirs that is read again"
        )
    form = checked_format(flags, bool(packed))
    refuse_without_images(flags)
    check_limits(flags, bool(packed))
    require_new("--out", flags.out)
    if not packed:
        refuse_beside(flags.out, form)
    if packed and len(flags.inputs) > 1:
        raise UserError(f"{packed[0]}: is a folder, and beside it stands {flags.inputs[-1]}; convert one at a time")
    written = Written()
    (convert_shards if packed else convert_predictions)(flags, form, written)
    tell(flags, form, written)
    return 0


def tell(flags: Flags, form: AnyFormat, written: Written) -> None:
    """Print what was written, and what was not."""
    print(
        f"{flags.out}: {form}, {number_of(written.images, 'image')}, {number_of(written.objects, 'object')}"
        + (f", {number_of(written.masks, 'mask')}" if FORMATS[form].has_mask is not None else "")
    )
    if written.skipped:
        print(f"{number_of(written.skipped, 'image')} beside them could not be read when they were predicted")
    if written.rejected:
        left = number_of(written.rejected, "image")
        print(f"{left} left out: rejected in a review, and nothing else is known")
    if written.missing:
        print(f"{number_of(written.missing, 'image')} left out, as no place of --images holds their files")
    if written.unsure_boxes or written.boxes_without or written.unsure_images:
        none = written.boxes_without
        beside = f" and {none:,} that have none (of an image the best box alone has a certainty)" if none else ""
        boxes = number_of(written.unsure_boxes, "box", "boxes")
        images = number_of(written.unsure_images, "image")
        print(f"{boxes} below the limit{beside} left out, and {images} left without a box")
    how = how_to_pack(flags.out) if form == "class-folders" else ""
    for note in (*written.notes, not_held(form, written.contents), how):
        if note:
            print(note)


def how_to_pack(folder: Path) -> str:
    """The command that packs class folders, with what lies beside the images."""
    beside = [("--boxes", folder / "boxes.csv"), ("--masks", folder / "masks")]
    words = ["--source", str(folder / "images"), *(str(w) for each in beside if each[1].exists() for w in each)]
    return f"to pack it: python scripts/pack.py --layout imagefolder {shlex.join(words)}"


def checked_format(flags: Flags, of_shards: bool) -> AnyFormat:
    """The format to write. Raises UserError where none is said, or a flag is of the other kind of input."""
    if flags.images and of_shards:
        raise UserError(f"--images {flags.images[0]}: is of predictions; shards hold their images, leave it out")
    if flags.split is not None and not of_shards:
        raise UserError(f"--split {flags.split}: is of shards; predictions have none, leave it out")
    if flags.format != "auto":
        form: AnyFormat | None = flags.format
    else:
        form = None if of_shards else format_of(flags.out.suffix)
    if form is None:
        raise UserError(
            f"--out {flags.out}: "
            + ("shards become a folder" if of_shards else "its ending tells no format")
            + "; say the format with --format, as coco, yolo or voc"
        )
    if not of_shards:
        refuse_another_ending(form, flags.out)
    if FORMATS[form].images == "needed" and not of_shards and not flags.images:
        raise UserError(f"--format {form}: its folder holds the images; say where they are with --images FOLDER")
    if flags.images and FORMATS[form].images == "none":
        raise UserError(f"--images {flags.images[0]}: {form} takes no images along; leave it out")
    if flags.val_fraction is not None and of_shards:
        raise UserError(f"--val-fraction {flags.val_fraction:g}: is of predictions; shards have splits, leave it out")
    if flags.val_fraction is not None and FORMATS[form].images == "none":
        raise UserError(
            f"--val-fraction {flags.val_fraction:g}: {form} has no splits; choose yolo, yolo-segments, voc or "
            f"class-folders, or leave it out"
        )
    refuse_useless_prefix(form, flags.image_prefix)
    return form


def refuse_without_images(flags: Flags) -> None:
    """Raise UserError for a flag that is of the places of images, where none is named."""
    for name, given in (("--follow-links", flags.follow_links), ("--skip-missing", flags.skip_missing)):
        if given and not flags.images:
            raise UserError(f"{name}: is of the folders of --images; leave it out")


def check_limits(flags: Flags, of_shards: bool) -> None:
    """Raise UserError for a limit that is none, or beside shards, whose boxes are known."""
    for name in ("least_score", "least_certainty"):
        if (limit := getattr(flags, name)) is None:
            continue
        if of_shards:
            raise UserError(f"{flag(name)} {limit:g}: is of predictions; what is packed is known, leave it out")
        if not 0 <= limit <= 1:
            raise UserError(f"{flag(name)} {limit:g}: must be from 0 to 1")


def convert_shards(flags: Flags, form: AnyFormat, written: Written) -> None:
    """Write a packed set into a new folder: with a file for each split, or as the format has splits."""
    (folder,) = flags.inputs
    shards = open_shards(folder)
    if flags.split is not None and flags.split not in shards.splits:
        raise UserError(f"--split {flags.split}: {folder} has {', '.join(shards.splits)}; choose one of them")
    splits = {name: of for name, of in shards.splits.items() if flags.split == name}
    if flags.split is None:
        splits = {name: of for name, of in shards.splits.items() if name != FULLSUP}
        if (left_out := shards.splits.get(FULLSUP)) is not None:
            print(
                f"{number_of(len(left_out), 'image')} of {FULLSUP} left out, as readers know train and val; --split "
                f"{FULLSUP} writes them"
            )
    about = About(shards.manifest.source, shards.manifest.classes, f"{flags.image_prefix}images/")  # where they go
    if is_folder(form):
        for name, of_split in splits.items():
            refuse_shared(form, of_split.names(range(len(of_split))), f"--format {form}", name)
    if form == "yolo-segments" and not any(of_split.has_mask.any() for of_split in splits.values()):
        raise UserError("--format yolo-segments: no object has a mask; choose --format yolo")
    if holds_masks_of_objects(form):
        divided = [divided_masks(of_split) for of_split in splits.values()]
        tell_of_divided(DividedMasks(*map(sum, zip(*divided, strict=True))))
    predicted = PREDICTED_BOXES in shards.manifest.source
    written.notes += notes_of_boxes(shards)
    with folder_when_whole(flags.out) as out:
        every = {
            name: with_progress(labelled_split(of_split, predicted), form, about, written, name, len(of_split))
            for name, of_split in splits.items()
        }
        if is_folder(form):
            write_in_folder(out, form, every, about)
            written.notes.append(note_of(form, flags.out, [*splits]))
            return
        for name, images in every.items():
            suffix = FORMATS[form].suffix
            place = out / ("annotations" if suffix == ".json" else ".") / f"{name}{suffix}"
            place.parent.mkdir(exist_ok=True)
            beside = with_their_images(images, out / "images", name)
            write_durably(place, lambda file, beside=beside: write_in_file(file, form, beside, about))  # type: ignore[misc]
        if (needed := FORMATS[form].beside) is not None:
            write_bytes(out / needed.ending.lstrip("-"), needed.content(about))
            written.notes.append(f"{needed.what} is {flags.out / needed.ending.lstrip('-')}")


def tell_of_divided(masks: DividedMasks) -> None:
    """Print what becomes of masks of images with several objects of their class."""
    told = []
    if masks.shared:
        told.append(f"{number_of(masks.shared, 'mask')} of objects whose boxes overlap may have pixels of others")
    if masks.outside:
        told.append(f"{number_of(masks.outside, 'mask')} had pixels in no box, and those are of no object now")
    if told:
        why = "a packed set has one mask an image, of which each of several objects takes what is in its box"
        print(f"{'; '.join(told)}: {why}")


def notes_of_boxes(shards: Shards) -> list[str]:
    """What to say of a packed set whose boxes are a network's, or were accepted of one."""
    source = shards.manifest.source
    notes = [note_of_unjudged(f"{source}: boxes")] if PREDICTED_BOXES in source else []
    if ACCEPTED_BOXES in source:
        notes.append(f"{source}: which boxes were accepted is not told of a packed set")
    return notes


def with_their_images(images: Images, folder: Path, split: str) -> Iterator[LabelledImage | Skipped]:
    """Write the files of images into `folder`, and pass them on under their path in it."""
    for each in images:
        if isinstance(each, Skipped):
            yield each
            continue
        assert each.encoded is not None
        encoded = each.encoded()
        path = in_split(image_file(each.name, encoded), split)
        write_file(folder / path, encoded)
        yield replace(each, name=str(path))


def convert_predictions(flags: Flags, form: AnyFormat, written: Written) -> None:
    """Write predictions to a new file or folder."""
    files, about = read_predictions(flags.inputs)
    about = replace(about, image_prefix=flags.image_prefix)
    every = [image for file in files for image in file.images.values()]
    names = [image.name for image in every if image.verdict != "rejected"]
    written.rejected = len(every) - len(names)
    if written.rejected and not names:
        of = f"{files[0].path}{' and the others' if len(files) > 1 else ''}"
        raise UserError(f"{of}: no image is left, as a review has rejected {number_of(written.rejected, 'image')}")
    if marked := sum(file.marked_masks for file in files):
        written.notes.append(note_of_marked_masks(marked))
    written.notes.append(note_of_lost_keys(files))
    if is_folder(form):
        refuse_shared(form, names, f"--format {form}")
    images: Images = labelled_images(files, about.classes)
    limits = {"score": flags.least_score, "certainty": flags.least_certainty}
    for of_box, limit in limits.items():
        if limit is not None:
            refuse_none(of_box, limit, files)
            images = sure_ones(images, of_box, limit, written)
    if flags.images:
        files_of = PredictedImages(flags.images, flags.follow_links)
        images = with_files_of(those_there(images, files_of, names, flags.skip_missing, written), files_of)
    if flags.val_fraction is not None:
        assert is_folder(form)
        splits = split_in_two(images, flags.val_fraction)
        for split, of_split in splits.items():
            refuse_shared(form, [each.name for each in of_split], f"--format {form}", split)
        with folder_when_whole(flags.out) as out:
            counted_splits = {
                name: with_progress(of_split, form, about, written, name, len(of_split))
                for name, of_split in splits.items()
            }
            write_in_folder(out, form, counted_splits, about)
        return
    images = with_progress(images, form, about, written, "images", len(names))
    write_set(flags.out, form, images, about)
    written.notes.append(note_of(form, flags.out))


def split_in_two(images: Images, fraction: float) -> dict[str, list[LabelledImage | Skipped]]:
    """Images as train and val, of each class a fraction of val; what could not be read goes with train. Raises
    UserError where the fraction is none, or no image becomes val.
    """
    skipped: list[LabelledImage | Skipped] = []
    read: list[LabelledImage] = []
    for each in images:
        (skipped if isinstance(each, Skipped) else read).append(each)  # type: ignore[arg-type]
    splits = drawn_val(read, class_of, fraction)
    if not splits["val"]:
        raise UserError(
            f"--val-fraction {fraction:g}: no class has two images, so none becomes val; leave the flag out"
        )
    return {"train": [*splits["train"], *skipped], "val": [*splits["val"]]}


def refuse_none(of_box: str, limit: float, files: Sequence[CocoFile]) -> None:
    """Raise UserError where no box has what the limit is of."""
    if any(isinstance(each, dict) and each.get(of_box) is not None for file in files for each in file.raw_annotations):
        return
    where = {"score": "predict writes them", "certainty": "evaluate --predictions --reviewed --out finds them"}[of_box]
    raise UserError(f"--least-{of_box} {limit:g}: no box of {files[0].path} has one; {where}, or leave the flag out")


def sure_ones(images: Images, of_box: str, limit: float, written: Written) -> Iterator[LabelledImage | Skipped]:
    """The same without boxes whose `of_box` is below the limit, or that have none, and without images that are left
    without a box, which are counted. What somebody has judged stays.
    """
    for each in images:
        if isinstance(each, Skipped) or each.verdict:
            yield each
            continue
        values = [getattr(one, of_box) for one in each.objects]
        kept = tuple(
            one for one, value in zip(each.objects, values, strict=True) if value is not None and value >= limit
        )
        none = sum(value is None for value in values)
        written.boxes_without += none
        written.unsure_boxes += len(each.objects) - len(kept) - none
        if kept:
            yield replace(each, objects=kept)
        else:
            written.unsure_images += 1


def those_there(
    images: Images, files: PredictedImages, names: Sequence[str], may_miss: bool, written: Written
) -> Images:
    """The images whose files are there, as they come; others are counted. names: of all images. Raises UserError where
    none of them is there, and for the first that is not unless some `may_miss`.
    """
    missing = {*files.missing(names)}
    if missing and (not may_miss or len(missing) == len(names)):
        first = next(name for name in names if name in missing)
        what = f"{len(missing):,} of the {len(names):,} images of the file are"
        or_else = ", or leave such images out with --skip-missing" if len(missing) < len(names) else ""
        refusal = UserError(f"{files.where(first)}: missing, and the predictions name it ({what}); {REMEDY}{or_else}")
        if len(missing) == len(names):
            raise refusal

    def there() -> Iterator[LabelledImage | Skipped]:
        for each in images:
            if isinstance(each, Skipped) or each.name not in missing:
                yield each
            elif may_miss:
                written.missing += 1
            else:
                raise refusal

    return there()


def with_files_of(images: Images, files: PredictedImages) -> Iterator[LabelledImage | Skipped]:
    """The same with the bytes of their files. Raises UserError for one that is not there, or of another size."""
    for each in images:
        yield each if isinstance(each, Skipped) else replace(each, encoded=partial(files.content_of, each))


def with_progress(images: Images, form: AnyFormat, about: About, written: Written, what: str, total: int) -> Images:
    """Pass images on, count them, and show progress."""
    has_mask = FORMATS[form].has_mask
    with image_ticker(what, total) as ticker:
        for number, each in enumerate(counted(images, about, written.contents, FORMATS[form].numbers_pixels), 1):
            if isinstance(each, Skipped):
                written.skipped += 1
            elif takes(form, each):
                written.images += 1
                written.objects += len(each.objects)
                written.masks += has_mask is not None and has_mask(each)
            yield each
            ticker.update(number)
