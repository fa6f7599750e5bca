"""python -m fastwsol.predict RUN IMAGES... --out boxes.json: classes and boxes for images that nobody has labelled.

IMAGES are files, folders (all images in them) and zips. Boxes are in the pixels of the image as a viewer shows it. A
file that is no image is reported and skipped, and the exit status is then 3; the counts that are printed add up.
"""

if __name__ == "__main__":  # before the imports, which take seconds
    from fastwsol.host.starting import say_when_interrupted

    say_when_interrupted()

import contextlib
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from fastwsol.host.command_line import (
    DONE_WITH_SKIPS,
    OptionalPath,
    duration,
    parse_flags,
    require_new,
    run_command,
    threshold_flag,
)
from fastwsol.host.device import Precision
from fastwsol.host.errors import UserError
from fastwsol.host.files import folder_when_whole, write_durably
from fastwsol.host.ticker import Ticker
from fastwsol.localizer.localizers import LocalizerName
from fastwsol.network.backbone_weights import PRETRAINED
from fastwsol.prediction import overlays
from fastwsol.prediction.components import WhichBoxes
from fastwsol.prediction.file_formats import About, Format, export, format_of
from fastwsol.prediction.folder_formats import FolderFormat, export_folder, refuse_shared_labels
from fastwsol.prediction.masks import mask_file, save_mask
from fastwsol.prediction.predictions import Prediction, Request, Skipped
from fastwsol.prediction.predictor import Predictor
from fastwsol.prediction.user_images import ImageListing, NamedImage, find_images, refuse_shared_files

PROG = "python -m fastwsol.predict"
DESCRIPTION = (
    "Classes and boxes for images, by a trained run's network: as COCO JSON, CSV, JSON lines or Label Studio's."
)


@dataclass(frozen=True)
class Flags:
    """The command line."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """folder of the run; with --backbone the first of the images"""
    images: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGES")]
    """images, folders of images, zips"""
    out: Path
    """file for the boxes; its ending says the format: .json COCO, .csv, .jsonl; a new folder for yolo and voc"""
    backbone: Annotated[str | None, tyro.conf.arg(metavar="NAME")] = None
    """in place of a run: a network of timm, with the classes of its published weights"""
    weights: str = PRETRAINED
    """of --backbone: pretrained, or a .safetensors or .pth file"""
    image_size: Annotated[int | None, tyro.conf.arg(metavar="PIXELS")] = None
    """of --backbone: side of its square input (default: that of its weights)"""
    format: Literal["auto"] | Format | FolderFormat = "auto"
    """the format, whatever the ending; label-studio: tasks with pre-annotations; yolo: images, labels and data.yaml;
    voc: an XML file an image"""
    top: int = 1
    """boxes of the so many likeliest classes; with --boxes all of a mask each box has its own class, and this says how
    many classes .jsonl lists"""
    of_class: Annotated[str | None, tyro.conf.arg(name="class", metavar="NAME")] = None
    """boxes of this class alone, named as the data set names it or as people do"""
    boxes: WhichBoxes = "largest"
    """largest: the box of a class's largest component; all: of every component, of a mask each with its own class, so
    that an image may show several"""
    threshold: threshold_flag("own", "otsu") = "own"  # type: ignore[valid-type]
    """where a map is cut, on its scale of 0 to 1. own: where the run cuts the maps of the localizer; otsu: at a number
    for each image. Where there are boxes, python -m fastwsol.evaluate RUN --threshold auto finds a good one"""
    localizer: LocalizerName | None = None
    """what makes the maps; default: the mask where one was trained, else cam"""
    least_score: Annotated[float | None, tyro.conf.arg(metavar="SCORE")] = None
    """leave out boxes of a lower score: the class's probability (with --boxes all of a mask: that of the box alone)
    times the map's peak in the box. Default: with --boxes all of a mask twice chance, at most 0.5; else 0"""
    follow_links: bool = False
    """in folders, also take images behind links that lead out of them"""
    overlays: OptionalPath = None
    """new folder for pictures: each image with its map and boxes"""
    masks: OptionalPath = None
    """new folder for masks: a PNG an image, NAME.png, 255 where its boxes' map is kept in them and 0 elsewhere, as
    pack --masks takes them"""
    image_prefix: str = "/data/local-files/?d="
    """for label-studio: what to put before an image's name to make it an address that Label Studio can open"""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N"""
    precision: Precision = "auto"
    """auto: the number format the run was trained in"""
    threads: int = 0
    """threads for decoding and for the CPU's part of the network; 0: all cores"""


@dataclass
class Counts:
    """What became of the images."""

    predicted: int = 0
    boxes: int = 0
    without_box: int = 0
    skipped: int = 0


def main(arguments: Sequence[str]) -> int:
    """Write the boxes of all images; exit status 0, or 3 where some could not be read."""
    flags = parse_flags(Flags, arguments, PROG, DESCRIPTION)
    form = checked_format(flags)
    check_places(flags)
    listing = find_images(flags.images if flags.backbone is None else (flags.run, *flags.images), flags.follow_links)
    if form == "yolo" or form == "voc":
        refuse_shared_labels(form, listing.images)
    if flags.masks is not None:
        refuse_shared_files(f"--masks {flags.masks}", listing.images, mask_file)
    predictor = predictor_of(flags)
    threshold = None if flags.threshold == "own" else flags.threshold
    request = Request(flags.top, flags.of_class, flags.boxes, threshold, flags.least_score)
    predictor.check(request)
    info = predictor.info
    about = About(
        f"{flags.run.resolve().name}, step {predictor.step}, {predictor.localizer.name}"
        if flags.backbone is None
        else flags.backbone,
        tuple(zip(info.classes, info.class_names, strict=True)),
        flags.image_prefix,
    )
    counts, start = Counts(), time.perf_counter()

    with contextlib.ExitStack() as unfinished:
        pictures = None if flags.overlays is None else unfinished.enter_context(folder_when_whole(flags.overlays))
        masks = None if flags.masks is None else unfinished.enter_context(folder_when_whole(flags.masks))

        answers = watched(predictor, listing, request, counts, pictures, masks)
        if form == "yolo" or form == "voc":
            folder = unfinished.enter_context(folder_when_whole(flags.out))
            export_folder(folder, form, listing.images, answers, about.classes)
        else:
            write_durably(flags.out, lambda file: export(file, form, answers, about))
    tell(flags, listing, counts, time.perf_counter() - start)
    return DONE_WITH_SKIPS if counts.skipped else 0


def checked_format(flags: Flags) -> Format | FolderFormat:
    """The format of the file. Raises UserError where its ending tells none."""
    if flags.format != "auto":
        return flags.format
    form = format_of(flags.out.suffix)
    if form is None:
        raise UserError(
            f"--out {flags.out}: its ending tells no format; end it in .json, .csv or .jsonl, or give --format"
        )
    return form


def check_places(flags: Flags) -> None:
    """Raise UserError where something lies already in the place of what is to be written, or no folder is there."""
    for name, place in {"--out": flags.out, "--overlays": flags.overlays, "--masks": flags.masks}.items():
        if place is not None:
            require_new(name, place)
    if not flags.images and flags.backbone is None:
        raise UserError("no images; name files, folders or zips behind the run")
    if flags.backbone is None and (flags.image_size is not None or flags.weights != PRETRAINED):
        name = "--image-size" if flags.image_size is not None else "--weights"
        raise UserError(f"{name}: is of --backbone; a run has its own, leave the flag out")


def predictor_of(flags: Flags) -> Predictor:
    """The network that the flags name: a run's, or a backbone with its own classes."""
    if flags.backbone is None:
        return Predictor.of_run(flags.run, flags.device, flags.precision, flags.threads, flags.localizer)
    return Predictor.of_backbone(
        flags.backbone,
        flags.weights,
        flags.image_size,
        flags.device,
        flags.precision,
        flags.threads,
        flags.localizer,
    )


def watched(
    predictor: Predictor,
    listing: ImageListing,
    request: Request,
    counts: Counts,
    pictures: Path | None,
    masks: Path | None,
) -> Iterator[Prediction | Skipped]:
    """Pass the predictions on. On the way they are counted, progress is shown, overlays are drawn, masks are written,
    and skipped images are reported.
    """

    def line(images: int, rate: float, left: float) -> str:
        return f"{images:,} of {len(listing.images):,} images  {rate:,.0f} images/s  {duration(left)} left"

    ticker = Ticker(len(listing.images), line)
    paths = overlays.overlay_paths(pictures, [each.name for each in listing.images]) if pictures is not None else []
    for number, each in enumerate(predictor.stream(listing.images, request), 1):
        if isinstance(each, Skipped):
            counts.skipped += 1
            print(f"skipped: {each.name}: {each.reason}", file=sys.stderr)
        else:
            counts.predicted += 1
            counts.boxes += len(each.boxes)
            counts.without_box += not each.boxes
            if pictures is not None:
                draw(paths[number - 1], each, listing.images[number - 1])
            if masks is not None:
                save_mask(masks, each)
        ticker.update(number)
        yield each
    ticker.close()


def draw(path: Path, prediction: Prediction, image: NamedImage) -> None:
    """Write the overlay of an image. The image is read once more; where that fails, a warning says so."""
    try:
        overlays.save(path, prediction, image.pixels())
    except ValueError as error:
        print(f"no picture of {image.name}: {error}", file=sys.stderr)


def tell(flags: Flags, listing: ImageListing, counts: Counts, seconds: float) -> None:
    """Print what was done, in numbers that add up."""
    print(
        f"{flags.out}: {counts.boxes:,} boxes in {counts.predicted:,} images"
        + (f", {counts.without_box:,} of them without a box" if counts.without_box else "")
        + f"; {len(listing.images) / seconds:,.0f} images/s"
    )
    if counts.skipped:
        print(f"{counts.predicted:,} predicted and {counts.skipped:,} skipped, {len(listing.images):,} in all")
    for note in listing.notes:
        print(note)
    if flags.overlays is not None:
        print(f"pictures in {flags.overlays}")
    if flags.masks is not None:
        print(f"masks of {counts.predicted:,} images in {flags.masks}")


if __name__ == "__main__":
    sys.exit(run_command(main))
