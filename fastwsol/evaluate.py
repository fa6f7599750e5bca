"""python -m fastwsol.evaluate RUN: the tables of a trained run, under every protocol, beside the trivial baselines.

`torchrun --nproc-per-node 8 -m fastwsol.evaluate RUN` shares the images out; the numbers are the same.

`python -m fastwsol.evaluate --maps FOLDER --boxes FILE` measures score maps that any network made, without the network:
`fastwsol.evaluation.score_map_files` and `fastwsol.evaluation.annotations_file` describe the files.

`python -m fastwsol.evaluate --predictions FILE --reviewed FILE` says how good predictions are by images that somebody
has reviewed, and calibrates how sure they are: `fastwsol.evaluation.of_predictions`.
"""

if __name__ == "__main__":  # before the imports, which take seconds
    from fastwsol.host.starting import run

    run("evaluate")

import contextlib
import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from fastwsol.batches.feed import open_feed
from fastwsol.batches.stores import DataFlags
from fastwsol.config import flag
from fastwsol.dataset.holdout import hold_out
from fastwsol.dataset.shards import Shards
from fastwsol.evaluation import choe2020
from fastwsol.evaluation.console_tables import print_numbers, print_report
from fastwsol.evaluation.directions import find_directions
from fastwsol.evaluation.forward import EvaluationSetup
from fastwsol.evaluation.maps import NetworkMaps
from fastwsol.evaluation.metrics import CamClass
from fastwsol.evaluation.of_maps import report_of_maps
from fastwsol.evaluation.of_network import Evaluation, evaluate_model
from fastwsol.evaluation.of_predictions import judge
from fastwsol.evaluation.prediction_tables import print_judged
from fastwsol.evaluation.question import Question
from fastwsol.evaluation.reading import preferred_row
from fastwsol.evaluation.report_rows import ReportRows
from fastwsol.evaluation.report_types import MapsReport, Report, RunReport, SplitName
from fastwsol.evaluation.report_words import heading_of
from fastwsol.evaluation.score_map_files import LARGEST_SQUARE, write_maps
from fastwsol.evaluation.summary_table import print_summary
from fastwsol.evaluation.thresholds import CAM_THRESHOLD
from fastwsol.evaluation.truths import Truths
from fastwsol.evaluation.tuning import tuning_images
from fastwsol.formats.coco import write_coco
from fastwsol.host.command_line import parse_flags
from fastwsol.host.device import Precision, autocast_of_run, take_device, use_threads
from fastwsol.host.errors import DeferredErrors, UserError
from fastwsol.host.files import folder_when_whole, sole_worker, write_durably, write_json
from fastwsol.host.flags import OptionalPath, shown_as, threshold_spec
from fastwsol.host.places import require_apart, require_new_folder
from fastwsol.host.process import Process
from fastwsol.host.world import World, joined
from fastwsol.localizer.ddt import DdtDirections
from fastwsol.localizer.flags import LocalizerFlag
from fastwsol.localizer.localizers import LOCALIZERS
from fastwsol.prediction.named import chosen_localizer
from fastwsol.runs.folder import RunDir
from fastwsol.runs.info import RunInfo
from fastwsol.runs.reports import ReportOf, counts_of
from fastwsol.runs.trained import read_together, shards_of_run
from fastwsol.sources import FULLSUP
from fastwsol.timetable import Timetable

PROG = "python -m fastwsol.evaluate"
DESCRIPTION = """Evaluate a trained run, or anyone's score maps (--maps, --boxes): tables under every protocol, beside
baselines that look at no image."""


@dataclass(frozen=True)
class OfRun(DataFlags):
    """A run's evaluation. Under --data auto stores are used where there are some, made anew where another
    version made them, and none is built where there is none."""

    shards: OptionalPath = None
    """folder that pack.py wrote; default: the one the run was trained on. The same images packed anew, with boxes or
    masks that came later, serve too"""
    split: SplitName = "val"
    """val: what results are reported on; holdout: what --holdout kept from training, to choose settings on; fullsup:
    the WSOL benchmark's images to choose settings on (pack --fullsup); train: the images trained on"""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N"""
    precision: Precision = "auto"
    """auto: the number format the run was trained in"""
    export_maps: OptionalPath = None
    """new folder for the maps and boxes, in the form that --maps and --boxes take"""
    localizer: LocalizerFlag = None
    """the localizer whose maps are exported; default: the one that predict takes"""


@dataclass(frozen=True)
class OfMaps:
    """Score maps without a network."""

    maps: OptionalPath = None
    """folder with a NumPy file [h, w] for each image, named like it, or one file [N, h, w] in the order in which
    --boxes first names the images"""
    boxes: OptionalPath = None
    """CSV file with the ground truth: name,width,height,x0,y0,x1,y1 and, where known, label,predicted; a line a box,
    ends exclusive, in the image's pixels; empty x0 to y1: no box; `;` between up to five predicted classes; with
    difficult 1 a box is no ground truth; other columns are ignored"""
    masks: OptionalPath = None
    """folder of PNG masks named like the images, 0 background, 255 object, 128 left out: adds PxAP and the masks' IoU,
    at the threshold"""
    scale: Annotated[Literal["min-max", "own"] | None, shown_as("{min-max,own}")] = None
    """what the maps' values mean. min-max: each map is scaled by its own extremes; own: they are shares of 1, as a
    mask's, and are cut as they are, at the --threshold that they need. Default: min-max, or what --export-maps
    wrote"""
    square: Annotated[int | None, shown_as("PIXELS")] = None
    """enlarge the maps to a square of this side and find the boxes there, as a run's are (224 under --preset photos).
    Default: to the size of each image, or to the square that --export-maps wrote"""
    train_boxes: OptionalPath = None
    """CSV file of the same form with the training images' boxes, to find the best fixed boxes on"""


@dataclass(frozen=True)
class OfPredictions:
    """Predictions, by reviewed images."""

    predictions: Annotated[tuple[Path, ...], shown_as()] = ()
    """COCO's JSON that predict wrote, all parts of one"""
    reviewed: OptionalPath = None
    """what the page of python -m fastwsol.review exported; or anyone's boxes of these images, in COCO's JSON or as CSV
    (name,x0,y0,x1,y1,label)"""


@dataclass(frozen=True)
class Flags:
    """The command line."""

    run: Annotated[Path | None, tyro.conf.Positional, shown_as("RUN")] = None
    """folder of the run; leave it out with --maps or --predictions"""
    trained_run: OfRun = OfRun()
    score_maps: OfMaps = OfMaps()
    reviewed_predictions: OfPredictions = OfPredictions()
    out: OptionalPath = None
    """new folder for the report (default for a run: the run's own folder); with --predictions also for the predictions
    with calibrated certainties, where enough images were reviewed"""
    threshold: Annotated[
        float | Literal["own", "auto", "box-free", "otsu"], threshold_spec("own", "auto", "box-free", "otsu")
    ] = "own"
    """where maps are cut. A number from 0 to 1; otsu: Otsu's threshold of each image. For a run also: own: where the
    run itself cuts each localizer's maps; auto: the best by boxes, of fullsup, else of the holdout, else of images
    trained on; box-free: one number, found on images trained on without a box. The report always has CAM at 0.2 too,
    and every localizer at the threshold that is best on these very boxes (oracle)"""
    cam_class: CamClass = "truth"
    """whose map is boxed. truth: the true class's, as the paper does; predicted: what a user without labels gets. Of
    --maps it says what they are"""
    wsoleval: bool = False
    """add the protocol of the older WSOL evaluator (needs OpenCV; tens of milliseconds an image and localizer)"""
    all_tables: bool = False
    """print every table, and not just the summary"""
    per_class: bool = False
    """print every table and the results of every class, which the report holds anyway"""
    threads: int = 0
    """threads of the CPU's part of the work in each process; 0: all cores, divided among the processes"""


def main(arguments: Sequence[str]) -> int:
    """Evaluate the newest checkpoint of a run on a split, or score maps; print the tables, and write them to a file."""
    with joined() as world:
        flags = world.together(lambda: read_flags(arguments))
        if flags.score_maps.maps is not None:
            world.together(lambda: refuse_several(world.size, "--maps"))
            evaluate_maps(flags, flags.score_maps.maps)
        elif flags.reviewed_predictions.predictions:
            world.together(lambda: refuse_several(world.size, "--predictions"))
            evaluate_predictions(flags)
        else:
            evaluate_run(flags, world)
    return 0


Kind = Literal["run", "maps", "predictions"]
"""What an evaluation is of."""


def read_flags(arguments: Sequence[str]) -> Flags:
    """The command line. Raises UserError where it asks for two kinds of evaluation, or for none."""
    flags = parse_flags(Flags, arguments, PROG, DESCRIPTION)
    kind = kind_of(flags)
    refuse_flags_of_others(flags, kind)
    refuse_incomplete(flags, kind)
    if flags.wsoleval:
        choe2020.require_opencv()
    return flags


def kind_of(flags: Flags) -> Kind:
    """What is evaluated. Raises UserError where that is nothing, or two things."""
    of_maps, of_predictions = flags.score_maps.maps is not None, bool(flags.reviewed_predictions.predictions)
    if flags.score_maps.boxes is not None and not of_maps and flags.run is None:
        raise UserError(
            "--boxes: needs the maps it is about; give them with --maps (known boxes of --predictions: --reviewed)"
        )
    if of_maps and of_predictions:
        raise UserError("--maps: is another evaluation than --predictions; leave one of them out")
    if flags.run is None:
        if not of_maps and not of_predictions:
            raise UserError(
                "nothing to evaluate; name the folder of a run, score maps with --maps and --boxes, or predictions "
                "with --predictions and --reviewed"
            )
        return "maps" if of_maps else "predictions"
    if of_maps:
        raise UserError(f"--maps: evaluates score maps without a run; leave out {flags.run}, or --maps")
    if of_predictions:
        raise UserError(f"--predictions: evaluates predictions without a run; leave out {flags.run}, or --predictions")
    return "run"


def refuse_flags_of_others(flags: Flags, kind: Kind) -> None:
    """Raise UserError for a flag that says nothing of what is evaluated."""
    if kind == "predictions":
        kinds = ("run", "trained_run", "score_maps", "reviewed_predictions", "out")
        for name, value in vars(flags).items():
            if name not in kinds and value != getattr(Flags(), name):
                raise UserError(f"{flag(name)}: says nothing of predictions; leave it out")
    groups: dict[Kind, tuple[Any, Any, str]] = {
        "run": (flags.trained_run, OfRun(), "a run"),
        "maps": (flags.score_maps, OfMaps(), "--maps"),
        "predictions": (flags.reviewed_predictions, OfPredictions(), "--predictions"),
    }
    for other, (given, default, needs) in groups.items():
        for name, value in vars(given).items():
            if other != kind and value != getattr(default, name):
                raise UserError(f"{flag(name)}: goes with {needs}; leave it out")


def refuse_incomplete(flags: Flags, kind: Kind) -> None:
    """Raise UserError where there is nothing to measure by, or a threshold is to be found and there is nothing to find
    it on.
    """
    if kind == "run" and flags.trained_run.localizer is not None and flags.trained_run.export_maps is None:
        name = flags.trained_run.localizer
        raise UserError(f"--localizer {name}: says whose maps --export-maps writes; tables show every localizer")
    if kind == "predictions" and flags.reviewed_predictions.reviewed is None:
        raise UserError("--predictions: needs what is known of the images; give it with --reviewed FILE")
    if kind == "maps" and flags.score_maps.boxes is None:
        raise UserError("--maps: needs the ground truth; give it with --boxes FILE")
    if (side := flags.score_maps.square) is not None and not 1 <= side <= LARGEST_SQUARE:
        raise UserError(f"--square {side}: must be from 1 to {LARGEST_SQUARE:,} pixels")
    if kind == "maps" and flags.threshold in ("auto", "box-free"):
        raise UserError(
            f"--threshold {flags.threshold}: needs a run; choose on the maps of images kept apart, by the "
            "oracle that their own evaluation prints, and give that number"
        )


def question_of(flags: Flags) -> Question:
    """What is asked beyond the rates at the thresholds that are taken anyway."""
    threshold = None if flags.threshold == "own" else flags.threshold
    return Question(threshold, flags.wsoleval, flags.cam_class)


def refuse_several(processes: int, name: str) -> None:
    """Raise UserError where several processes would each do the same. name: of the flag."""
    if processes > 1:
        raise UserError(f"{name}: is the work of one process, and there are {processes}; start it without torchrun")


def evaluate_predictions(flags: Flags) -> None:
    """Evaluate predictions by reviewed images."""
    assert flags.reviewed_predictions.reviewed is not None
    require_new_folder("--out", flags.out)
    judged = judge(flags.reviewed_predictions.predictions, flags.reviewed_predictions.reviewed)
    with DeferredErrors() as deferred:
        if flags.out is not None:
            with deferred.caught(), folder_when_whole(flags.out) as out:
                if (calibrated := judged.calibrated) is not None:
                    write_durably(out / "predictions.json", lambda file: write_coco(file, calibrated, judged.about))
                write_json(out / "report.json", judged.report)
        print_judged(judged.report)
    if flags.out is None:
        certainties = ", and the predictions with their certainties" if judged.calibrated else ""
        print(f"nothing is written; --out NEW_FOLDER keeps the report{certainties}")
    else:
        print(f"{flags.out}: report.json" + (", predictions.json with certainties" if judged.calibrated else ""))


def evaluate_run(flags: Flags, world: World) -> None:
    """Evaluate a run; all processes of `world` share the forward pass."""
    assert flags.run is not None
    of_run, run = flags.trained_run, RunDir(flags.run)
    world.lead_does(lambda: require_new_folder("--export-maps", of_run.export_maps))
    world.lead_does(lambda: require_new_folder("--out", flags.out))
    world.lead_does(lambda: require_apart({"--out": flags.out, "--export-maps": of_run.export_maps}))
    info, saved, model = read_together(run, world)
    if info.config.views.fit == "crop":
        world.together(lambda: refuse_what_wants_whole_images(flags))
    all_shards, shards = shards_to_evaluate(run, info, of_run, world)
    device = world.together(lambda: take_device(of_run.device, world.local_rank, world.local_size))
    trained_in = saved.scalars["precision"]
    autocast = world.together(lambda: autocast_of_run(of_run.precision, trained_in, device))
    cuts = world.from_lead(run.read_cuts)
    question = question_of(flags)
    choices = {"--split": of_run.split, "--cam-class": flags.cam_class, "--threshold": flags.threshold}
    world.agree_on({**choices, "--precision": autocast.precision})
    threads = world.together(lambda: use_threads(flags.threads, world.local_size))
    model.to(autocast.device)
    process, tuning = Process(autocast, threads, world), None
    if (rule := question.tuning_rule) is not None:
        tuning = world.together(lambda: tuning_images(shards, of_run.split, rule))
    shown = [shards.splits[of_run.split], *([tuning.split] if tuning is not None else [])]
    if model.directions is None:
        shown.append(shards.splits["train"])
    packed = dict.fromkeys(split.packed_name for split in shown)
    feed = open_feed(of_run, all_shards, [*packed], process, builds=False)
    setup = EvaluationSetup(info.config, shards, feed, info.statistics, process)
    last_step = Timetable(info.config, len(shards.splits["train"])).total_steps
    if model.directions is None:
        model.directions = find_directions(model, setup)
        found = model.directions
        if saved.step == last_step and flags.out is None:  # with --out nothing is written into the run's folder
            world.lead_does(lambda: store_directions(run, found, saved.scalars["sha256"]))
    world.together(lambda: chosen_localizer(of_run.localizer, model))
    of = ReportOf(
        of_run.split,
        question,
        autocast.precision if autocast.precision != trained_in else None,
        saved.step if saved.step != last_step or not run.finished(info.config) else None,
        all_shards.digest if all_shards.digest != info.shards_digest else None,
    )
    evaluation = evaluate_model(model, of_run.split, saved.step, setup, question, cuts, tuning)
    world.lead_does(lambda: tell(run, of, evaluation, flags, shards) if evaluation is not None else None)


def store_directions(run: RunDir, directions: DdtDirections, sha256: str) -> None:
    """Store the directions of a finished run that has none, unless another process is at work in its folder, or nothing
    can be written there.
    """
    with contextlib.suppress(UserError, OSError), sole_worker(run.folder):
        run.write_directions(directions, sha256)


def refuse_what_wants_whole_images(flags: Flags) -> None:
    """Raise UserError where maps of middle squares are asked to be what covers whole images."""
    for name, asked in (("--export-maps", flags.trained_run.export_maps is not None), ("--wsoleval", flags.wsoleval)):
        if asked:
            raise UserError(
                f"{name}: wants maps of whole images, and the run sees the middle square of each (--fit crop); leave "
                f"it out, or train with --fit stretch"
            )


def shards_to_evaluate(run: RunDir, info: RunInfo, flags: OfRun, world: World) -> tuple[Shards, Shards]:
    """The packed set that is evaluated, whole and with the run's holdout apart. Raises UserError where it is not the
    run's, or lacks the split.
    """
    whole = world.machine_lead_first(
        lambda verify: shards_of_run(run.folder, info, flags.shards, verify, with_other_boxes=True)
    )
    apart = world.together(lambda: hold_out_of(run, whole, info, flags))
    if "holdout" in apart.splits:
        world.lead_does(lambda: run.check_holdout(apart.splits["holdout"]))
    return whole, apart


def hold_out_of(run: RunDir, shards: Shards, info: RunInfo, flags: OfRun) -> Shards:
    """The shards with the run's holdout apart; raises UserError where the split asked for is not there."""
    shards = hold_out(shards, info.config.data.holdout)
    if flags.split not in shards.splits:
        remedies = {
            "holdout": f"{run.folder} held out no images; train with --holdout N",
            FULLSUP: f"{shards.folder} has no such images; pack the WSOL benchmark with --fullsup",
        }
        raise UserError(f"--split {flags.split}: {remedies[flags.split]}")
    return shards


def tell(run: RunDir, of: ReportOf, evaluation: Evaluation, flags: Flags, shards: Shards) -> None:
    """Print the report, store it where there is none for this question yet, or in --out, and export the maps where
    asked. Raises OSError where the report cannot be stored, once all else is done.
    """
    report, path, earlier, exported = evaluation.report, run.report_file(of), None, ""
    with DeferredErrors() as deferred:  # as of a folder that is only to be read
        with deferred.caught():
            if flags.out is None:
                earlier = run.write_report(report, evaluation.rows, of)
            else:
                path = flags.out / "report.json"
                keep(flags.out, report, evaluation.rows)
        is_there = not deferred.failures
        if flags.trained_run.export_maps is not None:
            with deferred.caught():
                exported = export_maps(flags.trained_run.export_maps, evaluation, flags, shards)
        how = differences(earlier, report) if earlier is not None else ""
        print_tables(report, path if is_there and not how else None, flags)
        if earlier is not None:
            is_own = of == ReportOf(run.read_info().config.eval_split)
            remedy = f"; move that file away to have this one{_HOW_OF_OWN if is_own else ''}" if how else ""
        if earlier is not None and (how or flags.trained_run.export_maps is None):
            print(f"{path}: holds this report already and was not replaced{how}{remedy}")
        if exported:
            print(exported)


_HOW_OF_OWN = ", and give the run's train command again, which makes its own report"


def export_maps(folder: Path, evaluation: Evaluation, flags: Flags, shards: Shards) -> str:
    """Write a localizer's maps as others' score maps are read. Returns a line that says how to measure them."""
    truths = Truths.of_split(shards.splits[flags.trained_run.split])
    of = {each["name"]: each for each in evaluation.report["localizers"]}
    name = LOCALIZERS[flags.trained_run.localizer or preferred_row(evaluation.report)["name"]].name
    maps = NetworkMaps(evaluation.outputs.maps[name], evaluation.report["square"], of[name]["scale"])
    write_maps(folder, evaluation.rows.of(name), truths, maps, name)
    whose = "" if flags.cam_class == "truth" else f" --cam-class {flags.cam_class}"
    cut, where = of[name]["cut"]["value"], ""
    if cut != CAM_THRESHOLD or maps.scale == "own":
        where = f" --threshold {'otsu' if cut is None else repr(cut)}"
    place, boxes = (shlex.quote(str(path)) for path in (folder, folder / "boxes.csv"))
    return f"maps of {name}, and boxes, in {folder}: {PROG} --maps {place} --boxes {boxes}{whose}{where}"


def print_tables(report: RunReport, path: Path | None, flags: Flags) -> None:
    """Print the tables that are asked for. path: the file of the report, where it is in one."""
    if flags.all_tables or flags.per_class:
        print_report(report, flags.per_class)
        if path is not None and flags.out is not None:
            print(f"{path} holds all of it.")
    else:
        print_summary(report, path, heading_of(report))


def differences(earlier: RunReport, report: RunReport) -> str:
    """How an earlier report differs from the one just made; empty where the counts are the same."""
    now: RunReport = json.loads(json.dumps(report))  # as a file holds it
    if counts_of(earlier) == counts_of(now):
        return ""
    how = [name for name in ("precision", "device", "versions", "machine") if earlier.get(name) != now[name]]
    return f"; its counts are others than those above ({', '.join(how) or 'the same'} of another evaluation)"


def keep(folder: Path, report: Report, rows: ReportRows) -> None:
    """Write a report, and what it says of each image, into a new folder."""
    with folder_when_whole(folder) as new:
        for file, each in rows.files(new / "report.json"):
            each.write(file)
        write_json(new / "report.json", report)


def evaluate_maps(flags: Flags, folder: Path) -> None:
    """Evaluate score maps against a boxes file, print the tables, and write the report where that is asked for."""
    of, out = flags.score_maps, flags.out
    assert of.boxes is not None
    require_new_folder("--out", out)
    threads = use_threads(flags.threads)
    report, rows = report_of_maps(
        folder, of.boxes, of.masks, of.train_boxes, question_of(flags), threads, of.scale, of.square
    )
    with DeferredErrors() as deferred:
        if out is not None:
            with deferred.caught():
                keep(out, report, rows)
        print_of_maps(report, f"{folder}: {report['images']:,} maps, {of.boxes}", flags, is_kept=not deferred.failures)
    if out is None:
        print("nothing is written; --out NEW_FOLDER keeps the report, for python -m fastwsol.compare too")


def print_of_maps(report: MapsReport, heading: str, flags: Flags, is_kept: bool) -> None:
    """Print the tables of a report of score maps. is_kept: whether it is in --out, where there is one."""
    why_no_fixed_box = "they are found on those of --train-boxes"
    if flags.all_tables or flags.per_class:
        print_numbers(report, heading, "maps", flags.per_class, why_no_fixed_box)
    else:
        file = flags.out / "report.json" if flags.out is not None and is_kept else None
        print_summary(report, file, heading, why_no_fixed_box)
    if report["images_with_boxes"]:
        side = report["square"]
        enlarged = f"a {side} x {side} square, as a run's are" if report["on_square"] else "the size of their image"
        print(
            f"Maps were enlarged to {enlarged}, and boxed there; fixed boxes are in pixels of a {side} x {side} square "
            f"that every image is stretched to."
        )
    if flags.out is not None and is_kept and (flags.all_tables or flags.per_class):
        print(f"{flags.out / 'report.json'} holds all of it.")
