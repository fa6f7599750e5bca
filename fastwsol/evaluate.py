"""python -m fastwsol.evaluate RUN: the tables of a trained run, under every protocol, beside the trivial baselines.

`torchrun --nproc-per-node 8 -m fastwsol.evaluate RUN` shares the images out; the numbers are the same.

`python -m fastwsol.evaluate --maps FOLDER --boxes FILE` measures score maps that any network made, without the network:
`fastwsol.evaluation.score_map_files` describes the files.
"""

import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro

from fastwsol.batches.feed import DataFlags, Feed, open_feed
from fastwsol.dataset.holdout import hold_out
from fastwsol.dataset.shards import Shards, open_shards
from fastwsol.evaluation import choe2020 as wsoleval
from fastwsol.evaluation import metrics
from fastwsol.evaluation import score_map_files as scoremaps
from fastwsol.evaluation.boxes import CAM_THRESHOLD
from fastwsol.evaluation.console_tables import print_numbers, print_report
from fastwsol.evaluation.forward import (
    Evaluation,
    Wanted,
    evaluate_model,
    ticker_of,
    truths_of,
    tuning_images,
)
from fastwsol.evaluation.measure import REPORT_FORMAT_VERSION, fixed_boxes, measure
from fastwsol.evaluation.metrics import CamClass
from fastwsol.evaluation.per_image import SEPARATOR, ImageRows
from fastwsol.host.command_line import OptionalPath, parse_flags, run_command
from fastwsol.host.device import Autocast, Precision, pick_autocast, take_device, use_threads
from fastwsol.host.environment import environment
from fastwsol.host.errors import UserError
from fastwsol.host.files import write_json
from fastwsol.host.processes import World, joined
from fastwsol.runs.folder import RunDir, RunInfo
from fastwsol.runs.trained import read_run, trained_model

PROG = "python -m fastwsol.evaluate"
DESCRIPTION = """Evaluate a trained run, or anyone's score maps (--maps, --boxes): tables under every protocol, beside
baselines that look at no image."""


@dataclass(frozen=True)
class OfRun(DataFlags):
    """A run's evaluation. Under --data auto stores are used where there are some, and none is built."""

    shards: OptionalPath = None
    """folder that pack.py wrote; default: the one the run was trained on"""
    split: Literal["val", "holdout", "train"] = "val"
    """val: what results are reported on; holdout: what --holdout kept from training, to choose settings on; train: the
    images trained on"""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N"""
    precision: Precision = "auto"
    """auto: the number format the run was trained in"""
    export_maps: OptionalPath = None
    """new folder for the maps and boxes, in the form that --maps and --boxes take"""


@dataclass(frozen=True)
class OfMaps:
    """Score maps without a network."""

    maps: OptionalPath = None
    """folder with a NumPy file [h, w] for each image, named like it, or one file [N, h, w] in the order in which
    --boxes first names the images"""
    boxes: OptionalPath = None
    """CSV file with the ground truth: name,width,height,x0,y0,x1,y1 and, where known, label,predicted; a line a box,
    ends exclusive, in the image's pixels; empty x0 to y1: no box; `;` between up to five predicted classes"""
    train_boxes: OptionalPath = None
    """CSV file of the same form with the training images' boxes, to find the best fixed boxes on"""
    out: OptionalPath = None
    """new folder for report.json and report.csv"""


@dataclass(frozen=True)
class Flags:
    """The command line."""

    run: Annotated[Path | None, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")] = None
    """folder of the run"""
    trained_run: OfRun = OfRun()
    score_maps: OfMaps = OfMaps()
    threshold: str = str(CAM_THRESHOLD)
    """where a map, scaled to 0..1, is cut, besides at 0.2 and at the oracle. A number from 0 to 1; or auto, of a run:
    the best on images held out of train, else on images trained on, by their boxes"""
    cam_class: CamClass = "truth"
    """whose map is boxed. truth: the true class's, as the paper does; predicted: what a user without labels gets. Of
    --maps it says what they are"""
    wsoleval: bool = False
    """add the protocol of the older WSOL evaluator (needs OpenCV; tens of milliseconds an image)"""
    per_class: bool = False
    """print the results of every class, which the report holds anyway"""
    threads: int = 0
    """threads of the CPU's part of the work in each process; 0: all cores, divided among the processes"""


def main(arguments: Sequence[str]) -> int:
    """Evaluate the newest checkpoint of a run on a split, or score maps; print the tables, and write them to a file."""
    with joined() as world:
        flags = world.together(lambda: read_flags(arguments))
        if flags.score_maps.maps is not None:
            world.together(lambda: refuse_several(world.size))
            evaluate_maps(flags, flags.score_maps.maps)
        else:
            evaluate_run(flags, world)
    return 0


def read_flags(arguments: Sequence[str]) -> Flags:
    """The command line. Raises UserError where it asks for both kinds of evaluation, or for neither."""
    flags = parse_flags(Flags, arguments, PROG, DESCRIPTION)
    if flags.score_maps.boxes is not None and flags.score_maps.maps is None and flags.run is None:
        raise UserError("--boxes: needs the maps it is about; give them with --maps")
    if flags.run is None and flags.score_maps.maps is None:
        raise UserError("nothing to evaluate; name the folder of a run, or score maps with --maps and --boxes")
    kinds = {"run": (flags.trained_run, OfRun()), "maps": (flags.score_maps, OfMaps())}
    other = "run" if flags.score_maps.maps is not None else "maps"
    if flags.run is not None and other == "run":
        raise UserError(f"--maps: evaluates score maps without a run; leave out {flags.run}, or --maps")
    given, default = kinds[other]
    for name, value in vars(given).items():
        if value != getattr(default, name):
            needs = "a run" if other == "run" else "--maps"
            raise UserError(f"--{name.replace('_', '-')}: goes with {needs}; leave it out")
    if flags.score_maps.maps is not None and flags.score_maps.boxes is None:
        raise UserError("--maps: needs the ground truth; give it with --boxes FILE")
    if flags.wsoleval:
        wsoleval.require_opencv()
    fixed_threshold(flags)
    return flags


def fixed_threshold(flags: Flags) -> float | None:
    """The number of --threshold; None where it is the one that is reported anyway, or to be chosen."""
    if flags.threshold == "auto":
        if flags.score_maps.maps is not None:
            raise UserError(
                "--threshold auto: needs a run; choose on the maps of images kept apart, by the oracle that their own "
                "evaluation prints, and give that number"
            )
        return None
    try:
        threshold = float(flags.threshold)
    except ValueError:
        threshold = np.nan
    if not 0 <= threshold <= 1:
        raise UserError(f"--threshold {flags.threshold}: is neither auto nor a number from 0 to 1 (35 % is 0.35)")
    return None if threshold == CAM_THRESHOLD else threshold


def refuse_several(processes: int) -> None:
    """Raise UserError where several processes would each evaluate the same maps."""
    if processes > 1:
        raise UserError(f"--maps: is the work of one process, and there are {processes}; start it without torchrun")


def evaluate_run(flags: Flags, world: World) -> None:
    """Evaluate a run; all processes of `world` share the forward pass."""
    assert flags.run is not None
    of_run, run = flags.trained_run, RunDir(flags.run)
    world.lead_does(lambda: check_new(of_run.export_maps, "--export-maps"))
    # The leading process chooses the checkpoint: of a run in training there may be a newer one a moment later.
    read = world.lead_does(lambda: read_run(run))
    without_tensors = None if read is None else (read[0], replace(read[1], tensors={}))
    info, saved = world.value_of_lead(without_tensors)  # type: ignore[misc]
    packed = world.machine_lead_first(lambda verify: open_shards_of(run, info, of_run, verify))
    shards = world.together(lambda: hold_out_of(run, packed, info, of_run))
    if "holdout" in shards.splits:
        world.lead_does(lambda: run.check_holdout(shards.splits["holdout"]))
    device = world.together(lambda: take_device(of_run.device, world.local_rank, world.local_size))
    precision = saved.scalars["precision"] if of_run.precision == "auto" else of_run.precision
    autocast = world.together(lambda: pick_autocast(precision, device))
    chosen = flags.threshold == "auto"
    wanted = Wanted(fixed_threshold(flags), chosen, flags.wsoleval, flags.cam_class)
    asked = {"--split": of_run.split, "--cam-class": flags.cam_class, "--threshold": flags.threshold}
    world.agree_on({**asked, "--precision": autocast.precision})
    threads = world.together(lambda: use_threads(flags.threads, world.local_size))
    model = trained_model(info, read[1].tensors if read is not None else None)
    world.share_from_lead(model.state_dict().values())
    model.to(autocast.device)
    feed = feed_of(of_run, packed, shards, wanted, autocast, threads, world)
    evaluation = evaluate_model(
        model, shards, info.config, autocast, feed, threads, saved.step, world, of_run.split, wanted
    )
    world.lead_does(lambda: tell(run, info, evaluation, flags, shards))  # type: ignore[arg-type]


def open_shards_of(run: RunDir, info: RunInfo, flags: OfRun, verify: bool) -> Shards:
    """The shards that the run was trained on; raises UserError for others."""
    shards = open_shards(flags.shards if flags.shards is not None else info.shards, verify)
    if shards.digest != info.shards_digest:
        raise UserError(
            f"{shards.folder}: not the shards that {run.folder} was trained on (their manifest differs); "
            f"name those with --shards"
        )
    return shards


def hold_out_of(run: RunDir, shards: Shards, info: RunInfo, flags: OfRun) -> Shards:
    """The shards with the run's holdout apart; raises UserError where the split asked for is not there."""
    shards = hold_out(shards, info.config.holdout)
    if flags.split not in shards.splits:
        raise UserError(f"--split {flags.split}: {run.folder} held out no images; train with --holdout N")
    return shards


def feed_of(
    flags: OfRun, packed: Shards, shards: Shards, wanted: Wanted, autocast: Autocast, threads: int, world: World
) -> Feed:
    """The feed for the splits that are looked at: the one evaluated, and the one a threshold is chosen on."""
    splits = [flags.split]
    if wanted.chosen:
        splits.append(world.together(lambda: tuning_images(shards, flags.split))[0].name)  # type: ignore[arg-type]
    names = dict.fromkeys(shards.splits[name].packed_name for name in splits)
    return open_feed(flags, packed, [*names], autocast, threads, False, world, builds=False)


def tell(run: RunDir, info: RunInfo, evaluation: Evaluation, flags: Flags, shards: Shards) -> None:
    """Print the report and store it, and the maps where they were asked for."""
    print_report(evaluation.report, flags.per_class)
    path = run.write_report(evaluation.report, evaluation.rows, of_finished_run=run.finished(info.config))
    print(f"written to {path}; each image in {path.with_suffix('.csv').name}")
    if (folder := flags.trained_run.export_maps) is not None:
        truths = truths_of(shards.splits[flags.trained_run.split])
        rows = evaluation.rows
        scoremaps.write(folder, rows.names, truths, rows.labels, rows.predicted, evaluation.outputs.cams)
        whose = "" if flags.cam_class == "truth" else f" --cam-class {flags.cam_class}"
        print(f"maps and boxes in {folder}: {PROG} --maps {folder}/maps.npy --boxes {folder}/boxes.csv{whose}")


def evaluate_maps(flags: Flags, path: Path) -> None:
    """Evaluate score maps against a boxes file."""
    of_maps = flags.score_maps
    assert of_maps.boxes is not None
    check_new(of_maps.out, "--out")
    threads = use_threads(flags.threads)
    images = scoremaps.read_annotations(of_maps.boxes)
    refuse_nothing_to_measure(of_maps.boxes, images)
    train = scoremaps.read_annotations(of_maps.train_boxes).truths if of_maps.train_boxes is not None else None
    if train is not None and not train.has_boxes.any():
        raise UserError(f"--train-boxes {of_maps.train_boxes}: has no box; leave it out, or give the training images'")
    maps = scoremaps.ScoreMaps(path, images)
    threshold = fixed_threshold(flags)
    start = time.perf_counter()
    ticker = ticker_of("maps", len(images.names))
    localized = scoremaps.localize_score_maps(maps, images.truths, threshold, ticker.update)
    ticker.close()
    truths = images.truths
    side = scoremaps.square_side(truths)
    if flags.wsoleval:
        ticker = ticker_of("wsoleval", len(truths))
        in_map = truths.in_wsoleval_map(side)
        sweep = wsoleval.sweep(maps.read, side, in_map, truths.offsets, threads, ticker.update)
        ticker.close()
        localized = localized.with_wsoleval(sweep, truths)
    boxed = time.perf_counter()
    ranks = None
    if images.labels is not None and images.predicted is not None:
        ranks = metrics.ranks(images.predicted, images.labels)
        if not np.isin(images.labels, images.predicted).any():
            print(
                f"warning: {of_maps.boxes}: no label is ever predicted; use the same names in both columns, "
                f"{SEPARATOR!r} between predictions",
                file=sys.stderr,
            )
    fixed = fixed_boxes(train, side)
    measured = measure(
        localized,
        truths,
        ranks,
        fixed,
        side,
        threshold,
        labels=images.labels,
        class_names=images.classes,
        cam_class=flags.cam_class,
        top5=images.tells_five,
    )
    seconds = {"boxes": boxed - start, "numbers": time.perf_counter() - boxed}
    report: dict[str, Any] = {
        "format_version": REPORT_FORMAT_VERSION,
        "maps": path.name,
        "boxes": of_maps.boxes.name,
        "threads": threads,
        **measured,
        "seconds": {name: round(each, 3) for name, each in seconds.items()},
        **environment(),
    }
    heading = f"{path}: {len(truths):,} maps, {of_maps.boxes}"
    print_numbers(report, heading, "these maps", "maps", flags.per_class, "they are found on those of --train-boxes")
    if report["images_with_boxes"]:
        print(f"Fixed boxes are in pixels of a {side} x {side} frame that every image is stretched to.")
    if of_maps.out is not None:
        of_maps.out.mkdir(parents=True)
        rows = ImageRows.of(
            images.names, images.classes, images.labels, images.predicted, np.diff(truths.offsets), localized.found
        )
        rows.write(of_maps.out / "report.csv")
        write_json(of_maps.out / "report.json", report)
        print(f"written to {of_maps.out / 'report.json'}; each image in report.csv")
    else:
        print("nothing is written; --out NEW_FOLDER keeps the report, for python -m fastwsol.compare too")


def refuse_nothing_to_measure(boxes: Path, images: scoremaps.Annotations) -> None:
    """Raise UserError where the boxes file knows neither a box nor what the images are."""
    if not images.truths.has_boxes.any() and (images.labels is None or images.predicted is None):
        raise UserError(
            f"--boxes {boxes}: has neither a box nor both labels and predictions, so nothing can be measured; fill in "
            f"x0 to y1"
        )


def check_new(folder: Path | None, name: str) -> None:
    """Raise UserError where a folder that is to be written exists, or cannot be made."""
    if folder is None:
        return
    if os.path.lexists(folder):
        raise UserError(f"{name} {folder}: exists; nothing was changed, name a new folder")
    above = next(each for each in folder.absolute().parents if os.path.lexists(each))
    if not above.is_dir():
        raise UserError(f"{name} {folder}: {above} is no folder; name a new folder elsewhere")


if __name__ == "__main__":
    sys.exit(run_command(main))
