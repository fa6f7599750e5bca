"""python scripts/pack.py: pack Tiny ImageNet, own images, or the small synthetic set, into shards.

`python -m fastwsol.pack` is the same command.
"""

if __name__ == "__main__":  # before the imports, which take seconds
    from fastwsol.host.starting import run

    run("pack")

import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal, TypedDict

import numpy as np

from fastwsol.config import flag
from fastwsol.dataset.duplicates import COPIES_NAME, Copies
from fastwsol.dataset.near_copies import NEAR_COPIES_NAME, NearCopies
from fastwsol.dataset.packer import pack
from fastwsol.dataset.shard_folder import contents, finished_shards
from fastwsol.dataset.shards import QUARANTINE_NAME, Manifest, Shards, open_shards
from fastwsol.host.command_line import DONE_WITH_SKIPS, drop_output, parse_flags
from fastwsol.host.errors import Interrupted, UserError
from fastwsol.host.files import write_json
from fastwsol.host.flags import OptionalPath, shown_as
from fastwsol.host.words import first_few, number_of, plain
from fastwsol.sources import Source
from fastwsol.sources.coco import Coco
from fastwsol.sources.cub import Cub
from fastwsol.sources.download import TINY_IMAGENET, Download, fetch
from fastwsol.sources.imagefolder import ImageFolder, lies_among_classes
from fastwsol.sources.splits import ValChoice, ValOf
from fastwsol.sources.synthetic import Synthetic
from fastwsol.sources.tiny_imagenet import TinyImageNet, find_layout
from fastwsol.sources.voc import Voc
from fastwsol.sources.wsol_metadata import WsolEval
from fastwsol.sources.yolo import Yolo

RAW = Path("data/raw")
"""Where a source is looked for, and downloaded to, when none is named."""

Layout = Literal["tiny-imagenet", "imagefolder", "cub", "wsoleval", "coco", "voc", "yolo"]

_FLAGS_OF_LAYOUTS: dict[str, tuple[Layout, ...]] = {
    "boxes": ("imagefolder", "coco"),
    "boxes_of_more": ("imagefolder",),
    "masks": ("imagefolder", "wsoleval"),
    "val_fraction": ("imagefolder", "coco", "voc", "yolo"),
    "val_of": ("imagefolder", "coco", "voc", "yolo"),
    "metadata": ("wsoleval",),
    "fullsup": ("wsoleval",),
}


@dataclass(frozen=True)
class PackFlags:
    """The packer's command line."""

    source: OptionalPath = None
    """the images, as folder or zip; of Tiny ImageNet also a folder that holds either (default: data/raw, or else a
    download to there)"""
    layout: Layout = "tiny-imagenet"
    """how they lie there. imagefolder: a folder for each class; cub: CUB-200-2011 as distributed; wsoleval: the
    metadata files of the WSOL evaluation benchmark; coco, voc and yolo: detection sets, where an image is of the class
    whose boxes cover the most of it"""
    boxes: OptionalPath = None
    """for imagefolder: the images' boxes, a CSV file name,x0,y0,x1,y1[,label][,difficult][,width,height][,verdict] or
    COCO's JSON; for coco: the set's annotations, where it has one file of them"""
    boxes_of_more: bool = False
    """for imagefolder: --boxes may be of more images than these, as of a whole set of which some were taken; its other
    boxes are left out and counted"""
    masks: OptionalPath = None
    """for imagefolder: folder or zip of the masks, with the same inner folders as the source; 8-bit grey PNGs of the
    upright image's size: 0 background, 255 object, 128 left out. For wsoleval: folder or zip of the masks that
    localization.txt names"""
    val_fraction: Annotated[float | None, shown_as("SHARE")] = None
    """for imagefolder, coco, voc and yolo without a val of their own: the share of each class that becomes val (default
    0.1)"""
    val_of: OptionalPath = None
    """for the same layouts: folder of an earlier packed set. Its val images, found by name, are val here too, and all
    others are train, so that two rounds of a growing set are evaluated on the same images"""
    follow_links: bool = False
    """also take what lies behind links that lead out of the source"""
    lossless: bool = False
    """where an image has to be encoded anew (JPEGs that EXIF turns, HEIC, AVIF): as PNG, with exact pixels and some
    five times as large, in place of JPEG of quality 95"""
    metadata: OptionalPath = None
    """for wsoleval: the folder of its text files (default: metadata in the source)"""
    fullsup: bool = False
    """for wsoleval: pack also its val (trainfullsup), images with boxes or masks to choose settings by"""
    out: Path = Path("data/shards")
    """the folder to pack into: new, empty, or begun by the same command"""
    classes: Annotated[int | None, shown_as("N")] = None
    """keep the first N classes (default: all), or draw N synthetic ones"""
    quarantine: bool = False
    """leave bad images out, listed in quarantine.json, instead of stopping at the first; exit status 3"""
    synthetic: bool = False
    """pack the small generated set: a fixture to try the software with, never evidence"""


def main(arguments: Sequence[str]) -> int:
    """Pack as the flags say; exit status 0, or 3 with images in quarantine. Raises UserError, RunFailure or
    Interrupted.
    """
    flags = parse_flags(PackFlags, arguments, "scripts/pack.py", "Pack a data set into shards.")
    path = find_source(flags)
    continued = finished_shards(flags.out) > 0
    start, told = time.perf_counter(), list[str]()
    try:
        source = _open_source(flags, path)
        manifest = pack(source, flags.out, quarantine=flags.quarantine, lossless=flags.lossless, tell=told.append)
    except KeyboardInterrupt:
        behind = "continues behind the last whole shard" if finished_shards(flags.out) else "begins anew"
        raise Interrupted(f"{flags.out}: not finished and not usable yet; the same command {behind}") from None
    try:
        _print_summary(manifest, flags.out, time.perf_counter() - start, continued)
        packed = _print_contents(flags.out)
        for note in (*told, *source.notes):
            print(plain(note))
        if (used := source.boxes_used) > packed:
            print(f"of the boxes used, {used - packed:,} of images that were quarantined are not packed")
        _print_copies(NearCopies(open_shards(flags.out, verify=False)), flags.out / NEAR_COPIES_NAME)
    except (KeyboardInterrupt, BrokenPipeError) as end:
        if isinstance(end, BrokenPipeError):
            drop_output()
        print(f"{flags.out}: packed whole; only its summary was cut short", file=sys.stderr)
    return DONE_WITH_SKIPS if any(split.quarantined for split in manifest.splits.values()) else 0


def find_source(flags: PackFlags, download: Download = TINY_IMAGENET) -> Path | None:
    """The path of the source that the flags name. Where they name none, it is looked for in data/raw, and downloaded to
    there if it is missing. None for the synthetic set.
    """
    refuse_flags_of_others(flags)
    if flags.source is not None or flags.synthetic:
        return flags.source
    try:
        return find_layout(RAW)
    except UserError:
        return fetch(download, RAW)


def refuse_flags_of_others(flags: PackFlags) -> None:
    """Raise UserError for a flag that says nothing of what is packed, and for a source that is missing or not there."""
    if flags.source is not None and flags.synthetic:
        raise UserError(f"--source {flags.source}: --synthetic draws its images itself; give one of the two")
    for name, layouts in _FLAGS_OF_LAYOUTS.items():
        if getattr(flags, name) != getattr(PackFlags(), name) and flags.layout not in layouts:
            raise UserError(f"{flag(name)}: goes with --layout {' or '.join(layouts)}; leave it out, or add that")
    if flags.boxes_of_more and flags.boxes is None:
        raise UserError("--boxes-of-more: is of a file of boxes; name it with --boxes, or leave the flag out")
    if flags.synthetic and flags.layout != "tiny-imagenet":
        raise UserError(f"--layout {flags.layout}: --synthetic draws its images itself; give one of the two")
    if flags.follow_links and flags.synthetic:
        raise UserError("--follow-links: --synthetic draws its images itself; give one of the two")
    if flags.layout != "tiny-imagenet":
        if flags.source is None:
            raise UserError(f"--layout {flags.layout}: say where the images are, with --source DIR or ZIP")
        if not flags.source.exists():
            raise UserError(f"--source {flags.source}: no such folder or zip; name the one that holds the images")


def _open_source(flags: PackFlags, path: Path | None) -> Source:
    common: _OfEvery = {"class_count": flags.classes, "follow_links": flags.follow_links}
    if path is not None:
        drawn: _OfDrawnVal = {"val": _val_choice(flags), "quarantine": flags.quarantine}
        match flags.layout:
            case "imagefolder":
                if lies_among_classes(flags.out, path):
                    raise UserError(
                        f"--out {flags.out}: lies in --source {path}, among its class folders, and would be one the "
                        f"next time; name a folder elsewhere"
                    )
                more = flags.boxes_of_more
                return ImageFolder(path, boxes=flags.boxes, boxes_of_more=more, masks=flags.masks, **drawn, **common)
            case "cub":
                return Cub(path, **common)
            case "coco":
                return Coco(path, boxes=flags.boxes, **drawn, **common)
            case "voc":
                return Voc(path, **drawn, **common)
            case "yolo":
                return Yolo(path, **drawn, **common)
            case "wsoleval":
                metadata, masks, fullsup = flags.metadata, flags.masks, flags.fullsup
                return WsolEval(path, metadata=metadata, masks=masks, fullsup=fullsup, **common)
            case "tiny-imagenet":
                return TinyImageNet(path, **common)
    return Synthetic() if flags.classes is None else Synthetic(class_count=flags.classes)


class _OfEvery(TypedDict):
    """What every layout takes."""

    class_count: int | None
    follow_links: bool


class _OfDrawnVal(TypedDict):
    """What those layouts take in which val may have to be drawn."""

    val: ValChoice
    quarantine: bool


def _val_choice(flags: PackFlags) -> ValChoice:
    """Which images become val. Raises UserError where both ways are named, or the other set cannot be read."""
    if flags.val_of is None:
        return flags.val_fraction
    if flags.val_fraction is not None:
        raise UserError(f"--val-fraction {flags.val_fraction}: --val-of names the images of val; leave one of them out")
    earlier = open_shards(flags.val_of)
    val = earlier.splits["val"]
    classes = frozenset(one.wnid for one in earlier.manifest.classes)
    return ValOf(flags.val_of, frozenset(val.names(range(len(val)))), classes)


def _print_summary(manifest: Manifest, out: Path, seconds: float, continued: bool) -> None:
    shards = [shard for split in manifest.splits.values() for shard in split.shards]
    images = sum(split.images for split in manifest.splits.values())
    bad = sum(split.quarantined for split in manifest.splits.values())
    mean, std = (", ".join(f"{value:.2f}" for value in values) for values in manifest.statistics)
    print(f"{out}: {manifest.source}, {contents(manifest)}")
    print(f"{number_of(len(shards), 'shard')}, {sum(shard.bytes for shard in shards) / 2**20:,.1f} MiB")
    print(f"{seconds:.1f} s, {'for the rest' if continued else f'{images / seconds:,.0f} images/s'}")
    print(f"train pixels (R, G, B of 255): mean {mean}; std {std}")
    if bad:
        print(f"{images:,} packed and {bad:,} quarantined, {images + bad:,} in all; see {out / QUARANTINE_NAME}")


def _missing_classes(shards: Shards) -> dict[str, list[str]]:
    """The classes of which a split has no image, as one that has a single image or whose images were all quarantined:
    their wnids, by split.
    """
    classes = shards.manifest.classes
    missing = {
        name: [classes[label].wnid for label in np.setdiff1d(np.arange(len(classes)), split.labels).tolist()]
        for name, split in shards.splits.items()
    }
    return {name: wnids for name, wnids in missing.items() if wnids}


def _notes_of_unequal_classes(shards: Shards) -> list[str]:
    """The smallest and largest classes of each split, where one has more than twice the images of another."""
    notes = []
    for name, split in shards.splits.items():
        labels, counts = np.unique(split.labels, return_counts=True)  # of classes without an image it is said apart
        least, most = (shards.manifest.classes[int(labels[k])].wnid for k in (counts.argmin(), counts.argmax()))
        if 2 * counts.min() < counts.max():
            fewest = number_of(int(counts.min()), "image")
            notes.append(f"classes are unequal: {fewest} ({least}) to {counts.max():,} ({most}) in {name}")
    return notes


def _print_copies(copies: Copies | NearCopies, file: Path) -> None:
    """Say how many there are, and list them in a file."""
    where = ""
    if copies.listed:
        try:
            write_json(file, copies.listed)
            where = f"; all are in {file}"
        except OSError as error:  # the set is whole all the same
            where = f"; they could not be listed in {file} ({error.strerror})"
    if copies.note:
        print(copies.note + where)


def _print_contents(out: Path) -> int:
    """Say how many images have boxes and masks, and what of them is odd. Returns the number of boxes."""
    shards = open_shards(out, verify=False)
    for name, wnids in _missing_classes(shards).items():
        print(f"no image of {first_few(wnids, 3)} is in {name}: nothing is measured there on such a class")
    for note in _notes_of_unequal_classes(shards):
        print(note)
    _print_copies(Copies(shards), out / COPIES_NAME)
    splits = shards.splits.values()
    with_boxes = {name: int((np.diff(each.box_offsets) > 0).sum()) for name, each in shards.splits.items()}
    of_each = ", ".join(f"{with_boxes[name]:,} of {len(each):,} in {name}" for name, each in shards.splits.items())
    boxes = sum(len(each.boxes) for each in splits)
    print(f"images with boxes: {of_each}; {number_of(boxes, 'box', 'boxes')} in all" if boxes else "no image has a box")
    if others := sum(len(each.objects.boxes) for each in splits) - boxes:
        boxes_of = number_of(others, "box", "boxes")
        print(f"{boxes_of} beside them, of other classes than their image's, or difficult")
    if with_mask := sum(int(each.has_mask.sum()) for each in splits):
        print(f"images with a mask: {with_mask:,} of {sum(map(len, splits)):,}")
    return boxes
