"""python -m fastwsol.predict RUN IMAGES... --out boxes.json: classes, boxes and masks for unlabelled images.

IMAGES are files, folders (all images in them) and zips. Boxes are in the pixels of the image as a viewer shows it. A
file that is no image is reported and skipped, and the exit status is then 3; the counts that are printed add up.

Several processes or machines share a set by --part K/N, whose files `python -m fastwsol.convert` joins to the one that
a single process would have written.
"""

if __name__ == "__main__":  # before the imports, which take seconds
    from fastwsol.host.starting import run

    run("predict")

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Literal

import tyro

from fastwsol.evaluation.table_cells import to_type
from fastwsol.formats.flags import FormatFlag, ImagePrefixFlag
from fastwsol.formats.folders import refuse_long
from fastwsol.formats.labelled_images import GIVEN_CLASS, GIVEN_CLASSES, About, Images, Part, Skipped, counted
from fastwsol.formats.png_masks import save_mask
from fastwsol.formats.writing import (
    FORMATS,
    IMAGE_PREFIX,
    AnyFormat,
    format_of,
    is_folder,
    not_held,
    note_of,
    refuse_another_ending,
    refuse_beside,
    refuse_shared,
    refuse_useless_prefix,
    write_set,
)
from fastwsol.host.command_line import DONE_WITH_SKIPS, parse_flags
from fastwsol.host.device import Precision
from fastwsol.host.errors import Interrupted, UserError
from fastwsol.host.files import folder_when_whole
from fastwsol.host.flags import OptionalPath, shown_as, threshold_spec
from fastwsol.host.places import require_apart, require_new, require_new_folder
from fastwsol.host.ticker import image_ticker
from fastwsol.host.words import first_few, number_of
from fastwsol.localizer.flags import LocalizerFlag
from fastwsol.network.backbone_weights import PRETRAINED
from fastwsol.prediction import overlays
from fastwsol.prediction.components import WhichBoxes
from fastwsol.prediction.cut_on_boxes import cut_on_boxes
from fastwsol.prediction.labelled import labelled, with_files
from fastwsol.prediction.named import ClassesByName
from fastwsol.prediction.predictions import Prediction, Request
from fastwsol.prediction.predictor import WHOLE_BATCHES, Predictor
from fastwsol.prediction.unfinished import BLOCK, digest_of_parts, kept_blocks, work_of
from fastwsol.prediction.user_images import ImageListing, NamedImage, find_images, has_more_frames
from fastwsol.runs.folder import RunDir
from fastwsol.runs.info import RunInfo
from fastwsol.sources.coco_json import read_coco
from fastwsol.sources.decode import NEARLY_BLACK
from fastwsol.sources.known_boxes import names_of_both

PROG = "python -m fastwsol.predict"
DESCRIPTION = (
    "Classes, boxes and masks for images, by a trained run's network, as COCO's, YOLO's, VOC's, Label Studio's files."
)


@dataclass(frozen=True)
class Flags:
    """The command line."""

    run: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]
    """folder of the run; with --backbone the first of the images"""
    images: Annotated[
        tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="IMAGES", help_behavior_hint="(required)")
    ]
    """images, folders of images, zips"""
    out: Path
    """file for the boxes; its ending says the format: .json COCO, .csv, .jsonl; a new folder for yolo,
    yolo-segments, voc, class-folders and masks"""
    backbone: Annotated[str | None, shown_as("NAME")] = None
    """in place of a run: a network of timm, with the classes of its published weights"""
    weights: str = PRETRAINED
    """of --backbone: pretrained, or a .safetensors or .pth file"""
    image_size: Annotated[int | None, shown_as("PIXELS")] = None
    """of --backbone: side of its square input (default: that of its weights)"""
    format: FormatFlag = "auto"
    part: Annotated[str | None, shown_as("K/N")] = None
    """predict only the K-th of N parts of the images, so that processes or machines can share them; python -m
    fastwsol.convert joins the COCO files"""
    top: int = 1
    """boxes of the N likeliest classes; with --boxes all of a mask each box has its own class, and this says how many
    classes .jsonl lists"""
    of_class: Annotated[str | None, shown_as("NAME", name="class")] = None
    """boxes of this class alone, named as the data set names it or as people do"""
    class_of_folder: bool = False
    """take each image's class from the name of its folder, and box that class: for images that are sorted by classes
    already, as those trained on"""
    skip_other_folders: bool = False
    """with --class-of-folder: leave out images in folders that are named after no class, and count them"""
    boxes: WhichBoxes = "largest"
    """largest: the box of a class's largest component; all: a box of every component (of a mask each with its own
    class), for images that may show several objects"""
    threshold: Annotated[float | Literal["own", "otsu"], threshold_spec("own", "otsu")] = "own"
    """where a map is cut, on its scale of 0 to 1. own: where the run cuts the maps of the localizer; otsu: at a number
    for each image. Where there are boxes, python -m fastwsol.evaluate RUN --threshold auto finds a good one"""
    cut_on: OptionalPath = None
    """boxes of some of the images, in COCO's JSON, as the page of python -m fastwsol.review exports it, or as CSV
    (name,x0,y0,x1,y1): maps are cut where most of these boxes are hit"""
    localizer: LocalizerFlag = None
    """what makes the maps; default: the mask where one was trained, else cam"""
    least_score: Annotated[float | None, shown_as("SCORE")] = None
    """leave out boxes of a lower score. The score is the class's probability (with --boxes all and a mask: that of the
    box alone) times the map's peak in the box. Default: 0; with --boxes all and a mask twice chance, at most 0.5"""
    signals: bool = False
    """note with each box whether it is found again in the mirror image, in a smaller one and by another localizer, and
    how clear its map is; this costs three looks at each image. python -m
    fastwsol.evaluate --predictions calibrates certainties from that"""
    follow_links: bool = False
    """in folders, also take images behind links that lead out of them"""
    relative_to: Annotated[Path | None, shown_as("DIR")] = None
    """name each image by its path below this folder. Default: with one folder or zip, by the path in it; with several,
    by that path after the place as you typed it; single files as you typed them"""
    skip_known: Annotated[tuple[Path, ...], shown_as("FILE...")] = ()
    """COCO's JSON of earlier predictions: images that it has, by their names, are left out, and counted. python -m
    fastwsol.convert joins the files"""
    overlays: OptionalPath = None
    """new folder for pictures: each image with its map and boxes"""
    masks: OptionalPath = None
    """new folder for masks: a PNG an image, a.jpg.png for a.jpg, 255 where its boxes' map is kept in them and 0
    elsewhere, as pack --masks takes them"""
    image_prefix: ImagePrefixFlag = IMAGE_PREFIX
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
    before: int = 0
    """Of all these, how many were predicted in work that was stopped."""
    nearly_black: int = 0
    """Of those predicted now."""
    of_several_frames: list[str] = field(default_factory=list)
    """Of those predicted now, the names."""
    contents: Counter[str] = field(default_factory=Counter)
    """What there was that not every format can hold."""


def main(arguments: Sequence[str]) -> int:
    """Write the boxes of all images; exit status 0, or 3 where some could not be read."""
    flags = parse_flags(Flags, arguments, PROG, DESCRIPTION)
    form = checked_format(flags)
    refuse_useless_prefix(form, flags.image_prefix)
    check_places(flags, form)
    part = checked_part(flags, form)
    if flags.backbone is None:
        RunDir(flags.run).read_info()  # before images are looked for where the run was meant
    listing = find_images(places_of(flags), flags.follow_links, flags.relative_to)
    known = known_names(listing, flags.skip_known)
    names = [image.name for image in listing.images]
    if is_folder(form):
        refuse_shared(form, names, f"--format {form}")
    if flags.masks is not None:
        refuse_shared("masks", names, f"--masks {flags.masks}")
    if flags.overlays is not None:
        for name in names:
            refuse_long(f"--overlays {flags.overlays}", name, overlays.overlay_file(name))
    predictor = predictor_of(flags)
    threshold = None if flags.threshold == "own" else flags.threshold
    request = Request(flags.top, flags.of_class, flags.boxes, threshold, flags.least_score, flags.signals)
    predictor.check(request)
    if flags.backbone is None and (note := note_on_unfinished(flags.run, predictor)):
        print(note)
    if flags.class_of_folder:
        of_classes = of_their_folders(listing.images, predictor.info, flags.skip_other_folders)
        listing = replace(listing, images=of_classes)
    if flags.cut_on is not None:
        own, predictor.cut = predictor.cut, cut_on_boxes(predictor, request, listing.images, flags.cut_on)
        assert predictor.cut.value is not None
        beside = f" (the run itself cuts them at {to_type(own.value)})" if own.value is not None else ""
        print(f"maps are cut at {to_type(predictor.cut.value)}{beside}, the best on {predictor.cut.chosen_on}")
    listing = without_known(listing, known, flags.skip_known)
    about = about_of(flags, predictor)
    if part is not None:
        work = work_of(predictor, request, flags.class_of_folder, listing.images, about)
        whole = digest_of_parts(work, flags.precision)
        listing, of_set = part_of(listing, *part)
        about = replace(about, part=of_set._replace(of=whole))
    start = time.perf_counter()
    counts = predict_all(flags, form, predictor, request, listing, about)
    rate = (len(listing.images) - counts.before) / (time.perf_counter() - start)
    tell(flags, form, listing, counts, rate)
    return DONE_WITH_SKIPS if counts.skipped else 0


def predict_all(
    flags: Flags,
    form: AnyFormat,
    predictor: Predictor,
    request: Request,
    listing: ImageListing,
    about: About,
) -> Counts:
    """Write what the network says of all images, and count it. Raises Interrupted where a signal stops work that goes
    on later.
    """
    counts, total = Counts(), len(listing.images)
    with contextlib.ExitStack() as unfinished:
        pictures = None if flags.overlays is None else unfinished.enter_context(folder_when_whole(flags.overlays))
        masks = None if flags.masks is None else unfinished.enter_context(folder_when_whole(flags.masks))
        blocks = None
        if form != "jsonl" and pictures is None and total > BLOCK:
            work = work_of(predictor, request, flags.class_of_folder, listing.images, about)
            names = [image.name for image in listing.images]
            blocks = unfinished.enter_context(kept_blocks(flags.out, work, about, names))
            counts.before = blocks.done
        if counts.before:
            print(f"{flags.out}: {counts.before:,} of {total:,} images were predicted before; it goes on behind them")
        predictions = with_progress(predictor, listing, request, pictures, counts)
        images: Images = labelled(predictions, predictor.info.classes)
        if blocks is not None:
            images = blocks.images(images)
        if FORMATS[form].images != "none":
            images = with_files(listing.images, images)
        images = counted(tallied(images, counts), about, counts.contents, FORMATS[form].numbers_pixels)
        if masks is not None:
            images = with_masks(images, masks)
        try:
            write_set(flags.out, form, images, about)
        except KeyboardInterrupt:
            if blocks is None:
                raise
            done = f"{blocks.done:,} of {total:,} images are predicted; the same command goes on behind them"
            none = f"nothing is kept of fewer than {BLOCK} images; the same command begins anew"
            raise Interrupted(done if blocks.done else none) from None
    return counts


def about_of(flags: Flags, predictor: Predictor) -> About:
    """What the predictions say of themselves."""
    info = predictor.info
    model = f"{flags.run.resolve().name}, step {predictor.step}"
    if flags.backbone is not None:
        model = flags.backbone + (f", weights {Path(flags.weights).name}" if flags.weights != PRETRAINED else "")
    model += f", {predictor.description}"
    if flags.class_of_folder:
        model += f", {GIVEN_CLASSES}"
    if flags.of_class is not None:
        model += f", {GIVEN_CLASS}{flags.of_class}"
    return About(model, info.all_classes, flags.image_prefix)


def checked_format(flags: Flags) -> AnyFormat:
    """The format of the file. Raises UserError where its ending tells none."""
    if flags.format != "auto":
        refuse_another_ending(flags.format, flags.out)
        return flags.format
    form = format_of(flags.out.suffix)
    if form is None:
        raise UserError(
            f"--out {flags.out}: its ending tells no format; end it in .json, .csv or .jsonl, or give --format"
        )
    return form


def checked_part(flags: Flags, form: AnyFormat) -> tuple[int, int] | None:
    """K and N of `K/N`. Raises UserError where it is none, or the parts could not be joined."""
    text = flags.part
    if text is None:
        return None
    if flags.skip_known:
        raise UserError(f"--part {text}: parts are joined with parts alone; predict what is new in one command")
    number, slash, count = text.partition("/")
    if not (slash and number.isdecimal() and count.isdecimal() and 1 <= int(number) <= int(count)):
        raise UserError(f"--part {text}: must be K/N with K from 1 to N, as 3/8")
    if form != "coco":
        raise UserError(
            f"--part {text}: goes with --format coco, not {form}; python -m fastwsol.convert joins the parts and "
            f"writes any format"
        )
    return int(number), int(count)


def known_names(listing: ImageListing, files: Sequence[Path]) -> frozenset[str]:
    """The names of the images that are in files of earlier predictions; those that were skipped there are not. Raises
    UserError where a file cannot be read or has none of these images, or where all of them are known.
    """
    names, known = [image.name for image in listing.images], set[str]()
    for file in files:
        content = read_coco(file, f"--skip-known {file}")
        theirs = {image.name for image in content.images.values()}
        if theirs.isdisjoint(names):
            example = names_of_both(content, names)
            raise UserError(f"--skip-known {file}: has none of these images{example}; leave it out, or name them alike")
        known |= theirs
    if known.issuperset(names):
        raise UserError(
            f"--skip-known {files[0]}: all {len(names):,} images are known; leave it out to predict them again"
        )
    return frozenset(known)


def without_known(listing: ImageListing, known: frozenset[str], files: Sequence[Path]) -> ImageListing:
    """The images whose names are not `known` from files."""
    if not known:
        return listing
    rest = [image for image in listing.images if image.name not in known]
    left_out = number_of(len(listing.images) - len(rest), "image")
    return ImageListing(rest, [*listing.notes, f"{left_out} left out, as {' or '.join(map(str, files))} has them"])


def part_of(listing: ImageListing, number: int, count: int) -> tuple[ImageListing, Part]:
    """The images of part `number` of `count`, from 1, and which they are: whole batches in a row, so that each image is
    put to the network beside the same others as without parts.
    """
    total = len(listing.images)
    blocks = -(-total // WHOLE_BATCHES)
    first, end = (min(total, WHOLE_BATCHES * (blocks * k // count)) for k in (number - 1, number))
    if first == end:
        print(
            f"part {number} of {count} has none of the {total:,} images, which are shared in blocks of {WHOLE_BATCHES}"
        )
    return ImageListing(listing.images[first:end], listing.notes), Part(number, count, first, end, total)


def places_of(flags: Flags) -> tuple[Path, ...]:
    """Where the images are: with --backbone the first one stands where a run does."""
    return flags.images if flags.backbone is None else (flags.run, *flags.images)


def refuse_among_images(places: Sequence[Path], folders: Mapping[str, Path | None]) -> None:
    """Raise UserError for a folder of pictures that is to be written into a folder of images, where another command
    would take them for images too. folders: by their flags.
    """
    for name, folder in folders.items():
        around = [] if folder is None else [folder.resolve(), *folder.resolve().parents]
        if (place := next((each for each in places if each.is_dir() and each.resolve() in around), None)) is not None:
            raise UserError(
                f"{name} {folder}: lies in {place}, where its pictures would be taken for images; name a folder beside "
                f"it"
            )


def check_places(flags: Flags, form: AnyFormat) -> None:
    """Raise UserError where something lies in the place of what is to be written, or nothing can be written there, and
    for flags that do not go together.
    """
    refuse_beside(flags.out, form)
    require_apart({"--out": flags.out, "--overlays": flags.overlays, "--masks": flags.masks})
    require_new("--out", flags.out)
    require_new_folder("--overlays", flags.overlays)
    require_new_folder("--masks", flags.masks)
    if not flags.images and flags.backbone is None:
        raise UserError("no images; name files, folders or zips behind the run")
    pictures = {"--overlays": flags.overlays, "--masks": flags.masks, "--out": flags.out if is_folder(form) else None}
    refuse_among_images(places_of(flags), pictures)
    if flags.class_of_folder:
        for name, is_given in {"--class": flags.of_class is not None, "--top": flags.top != 1}.items():
            if is_given:
                raise UserError(f"{name}: --class-of-folder says which class an image's boxes are of; leave one out")
    if flags.skip_other_folders and not flags.class_of_folder:
        raise UserError("--skip-other-folders: goes with --class-of-folder; add that, or leave it out")
    if flags.cut_on is not None and flags.threshold != "own":
        raise UserError(f"--cut-on {flags.cut_on}: chooses the threshold, and --threshold gives one; leave one out")
    if flags.backbone is None and (flags.image_size is not None or flags.weights != PRETRAINED):
        name = "--image-size" if flags.image_size is not None else "--weights"
        raise UserError(f"{name}: is of --backbone; a run has its own, leave the flag out")


def of_their_folders(images: Sequence[NamedImage], info: RunInfo, skip_others: bool = False) -> list[NamedImage]:
    """The images with the class of the first of their folders that is named after one (`NamedImage.folders`). With
    `skip_others` those without such a folder are left out, which is said. Raises UserError where an image has none, or
    none is left, or a folder's name may mean several classes.
    """
    classes = ClassesByName(info)
    labels = {name: classes.labelled_as(name) for name in {name for image in images for name in image.folders}}
    found, strays = [], Counter[str]()
    for image in images:
        label = next((labels[name] for name in image.folders if labels[name] is not None), None)
        if label is not None:
            found.append(replace(image, label=label))
        else:
            strays[image.name.rpartition("/")[0] or next(iter(image.folders[-1:]), "the top")] += 1
    if strays:
        shown = ", ".join(f"{count:,} in {where}" for where, count in strays.most_common(3))
        more = f" and others in {len(strays) - 3:,} more folders" if len(strays) > 3 else ""
        if not (skip_others and found):
            or_else = "" if skip_others else ", or leave the others out with --skip-other-folders"
            raise UserError(
                f"--class-of-folder: images without a class: {shown}{more}; no folder that they lie in is named after "
                f"a class of the run (such as {info.class_names[0]}): name the folders of its classes{or_else}"
            )
        print(f"{number_of(strays.total(), 'image')} left out, in folders of no class of the run: {shown}{more}")
    return found


def predictor_of(flags: Flags) -> Predictor:
    """The network that the flags name: a run's, or a backbone with its own classes."""
    if flags.backbone is None:
        return Predictor.of_run(
            flags.run,
            flags.device,
            precision=flags.precision,
            threads=flags.threads,
            localizer=flags.localizer,
        )
    return Predictor.of_backbone(
        flags.backbone,
        weights=flags.weights,
        image_size=flags.image_size,
        device=flags.device,
        precision=flags.precision,
        threads=flags.threads,
        localizer=flags.localizer,
    )


def note_on_unfinished(folder: Path, predictor: Predictor) -> str:
    """What is said of a run that has no report of its end; nothing of another."""
    config = predictor.info.config
    if RunDir(folder).finished(config):
        return ""
    headless = ", before its mask head is trained" if config.localizer.trains_mask and not predictor.model.head else ""
    step = f"step {predictor.step:,}{headless}"
    boxes = f"boxes are of {predictor.localizer.name} at {step}"
    return f"{folder}: has no report, since it was not evaluated or its training is not finished; {boxes}"


def with_progress(
    predictor: Predictor, listing: ImageListing, request: Request, pictures: Path | None, counts: Counts
) -> Iterator[Prediction | Skipped]:
    """The predictions of all images but those predicted before. Progress is shown, and overlays are drawn."""
    paths = overlays.overlay_paths(pictures, [each.name for each in listing.images]) if pictures is not None else []
    rest = predictor.stream(listing.images[counts.before :], request)
    with image_ticker("predicting", len(listing.images)) as ticker:
        for number, each in enumerate(rest, counts.before + 1):
            if isinstance(each, Prediction):
                counts.nearly_black += each.nearly_black
                counts.of_several_frames += [each.name] if has_more_frames(listing.images[number - 1]) else []
            if isinstance(each, Prediction) and pictures is not None:
                draw(paths[number - 1], each, listing.images[number - 1])
            ticker.update(number)
            yield each


def tallied(images: Images, counts: Counts) -> Images:
    """Pass images on, count them, and report those that were skipped."""
    for image in images:
        if isinstance(image, Skipped):
            counts.skipped += 1
            print(f"skipped: {image.name}: {image.reason}", file=sys.stderr)
        else:
            counts.predicted += 1
            counts.boxes += len(image.objects)
            counts.without_box += not image.objects
        yield image


def with_masks(images: Images, folder: Path) -> Images:
    """Pass images on, and write the mask of each."""
    for image in images:
        if not isinstance(image, Skipped):
            save_mask(folder, image)
        yield image


def draw(path: Path, prediction: Prediction, image: NamedImage) -> None:
    """Write the overlay of an image. The image is read once more; where that fails, a warning says so."""
    try:
        overlays.save(path, prediction, image.pixels())
    except ValueError as error:
        print(f"no picture of {image.name}: {error}", file=sys.stderr)


def tell(flags: Flags, form: AnyFormat, listing: ImageListing, counts: Counts, rate: float) -> None:
    """Print what was done, in numbers that add up. rate: images a second."""
    print(
        f"{flags.out}: {number_of(counts.boxes, 'box', 'boxes')} in {number_of(counts.predicted, 'image')}"
        + (f", {counts.without_box:,} of them without a box" if counts.without_box else "")
        + f"; {rate:,.{int(rate < 10)}f} images/s"
    )
    if counts.skipped:
        print(f"{counts.predicted:,} predicted and {counts.skipped:,} skipped, {len(listing.images):,} in all")
    for note in listing.notes:
        print(note)
    now = f" of the {len(listing.images) - counts.before:,} predicted now" if counts.before else ""
    if several := counts.of_several_frames:
        files = number_of(len(several), "file")
        print(f"of several frames or pages, of which the first is taken: {files}{now} ({first_few(several, 3)})")
    if counts.nearly_black:
        print(
            f"nearly black, with no pixel above {NEARLY_BLACK} of 255: {number_of(counts.nearly_black, 'image')}{now} "
            f"(levels of 12 bits that are stored in 16 have to be scaled to all 16 first)"
        )
    for note in (not_held(form, counts.contents), note_of(form, flags.out)):
        if note:
            print(note)
    if flags.overlays is not None:
        print(f"pictures in {flags.overlays}")
    if flags.masks is not None:
        print(f"masks of {number_of(counts.predicted, 'image')} in {flags.masks}")
