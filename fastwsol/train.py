"""python -m fastwsol.train --aug gr --depth 34: train one classifier on the labels of packed shards.

`torchrun --nproc-per-node 8 -m fastwsol.train ...` is the same run on eight GPUs: batches hold the same images.

The paper's recipe is the default: 1500 epochs, days on two cores. `--preset fast` is hours there and a minute on a GPU.
The same command over its own unfinished run continues it, on the step, in the middle of an epoch.
"""

if __name__ == "__main__":  # before the imports, which take seconds
    from fastwsol.host.starting import prepare_imports

    prepare_imports()

import contextlib
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from fastwsol.batches.decoded_store import default_square, is_built
from fastwsol.batches.feed import open_feed
from fastwsol.batches.stores import folder_of, no_room, require_dali
from fastwsol.batches.stream import of_one_size, training_plan
from fastwsol.config import Config, flag
from fastwsol.dataset.holdout import hold_out
from fastwsol.dataset.shards import Shards, open_shards
from fastwsol.evaluation.forward import EvaluationSetup
from fastwsol.evaluation.of_network import Evaluation, evaluate_model
from fastwsol.evaluation.of_training_images import find_directions, own_cuts
from fastwsol.evaluation.report_words import heading_of
from fastwsol.evaluation.summary_table import print_summary
from fastwsol.evaluation.thresholds import Cut
from fastwsol.features.kept_features import views_kept
from fastwsol.host.command_line import OptionalPath, parse_flags, run_command
from fastwsol.host.device import Autocast, compute_deterministically, pick_autocast, take_device, use_threads
from fastwsol.host.environment import versions
from fastwsol.host.errors import Interrupted, RunFailure, UserError
from fastwsol.host.kept_files import can_be_written
from fastwsol.host.processes import World, joined
from fastwsol.host.stop_signals import StopSignals, stop_at_once_if_repeated
from fastwsol.host.words import first_few
from fastwsol.localizer.localizing import LocalizingModel
from fastwsol.localizer.mask_head import MaskHead
from fastwsol.network.backbone_weights import BackboneWeights, read_weights
from fastwsol.network.initial_weights import Initial, read_initial
from fastwsol.network.networks import input_statistics, network_versions
from fastwsol.network.timm_backbone import require_timm
from fastwsol.runs.checkpoint import Checkpoint, newest_valid
from fastwsol.runs.folder import ReportOf, RunDir, RunInfo, folder_of_run
from fastwsol.runs.tensorboard_curves import Curves, require_tensorboard
from fastwsol.training.behind import Behind, config_behind, read_behind, refuse_other_classifier, refuse_unfinished
from fastwsol.training.course import classifier_course
from fastwsol.training.feasibility import check_batch_sizes, check_network, refuse_no_split, with_fitting_batches
from fastwsol.training.frozen_part import with_features
from fastwsol.training.job import Job
from fastwsol.training.launch_flags import (
    Launch,
    NamedFlags,
    class_folders_want_photos,
    flags_named,
    note_on_class_folders,
    refuse_useless,
    shards_named,
)
from fastwsol.training.loop import train_to_the_end
from fastwsol.training.mask_phase import begin_mask_phase, refuse_no_mask
from fastwsol.training.presets import PRESETS, PresetName, preset_at
from fastwsol.training.progress import announce
from fastwsol.training.resume import (
    Resume,
    StartWeights,
    decisive_environment,
    decisive_source_digest,
    decisive_versions,
    refuse_another,
    take_up,
)
from fastwsol.training.step import BadStep, State, new_state, share_state
from fastwsol.training.step_mode import can_compile, refuse_impossible

PROG = "python -m fastwsol.train"
Start = TypeVar("Start", Initial, BackboneWeights)
DESCRIPTION = (
    "Train a classifier on image labels alone, and behind it, with --localizer mask, a head that masks objects."
)


@dataclass(frozen=True)
class OneRun(Launch):
    """Which folder the run is in, and how it begins there."""

    run_dir: OptionalPath = None  # not `run`, which torchrun takes for a short form of a flag of its own
    """folder of the run; default data/runs/NAME, named after the configuration"""
    init: OptionalPath = None
    """start from the weights of an earlier run, a .safetensors file in its checkpoints folder, as far as they fit"""
    behind: OptionalPath = None
    """folder of an earlier run, whose classifier is taken as it is and a mask head trained behind it; flags that are
    left out are that run's"""
    resume: Resume = "auto"
    """auto: continue this run if it is unfinished; never: refuse to; require: refuse to begin anew"""


@dataclass(frozen=True)
class Flags:
    """The command line."""

    config: Config = field(default_factory=Config)
    launch: OneRun = field(default_factory=OneRun)


def main(arguments: Sequence[str]) -> int:
    """Train the run that `arguments` describe, or continue it; then evaluate it and print the table."""
    with joined() as world:
        flags = world.together(lambda: read_flags(arguments))
        config, start = start_of(flags, world)
        folder_named = run_folder(flags.config, flags.launch)
        place = world.together(lambda: shards_named(flags.launch.shards, folder_named))
        shards = world.machine_lead_first(lambda verify: open_shards(place, verify))
        if (behind := start.behind) is not None:
            world.lead_does(lambda: refuse_unfinished(behind, shards))
        if flags.launch.preset == "photos":
            config = world.together(lambda: with_batches_of_photos(config, shards, world))
        folder = run_folder(config, flags.launch)
        asked = config
        config = world.from_lead(lambda: with_store_size(asked, flags.launch, shards, folder))
        train(config, flags.launch, shards, folder, world, start)
    return 0


def with_batches_of_photos(config: Config, shards: Shards, world: World) -> Config:
    """The configuration with batches that a small set of photographs fills, unless another size was named."""
    train_images = len(hold_out(shards, config.data.holdout).splits["train"])
    return with_fitting_batches(config, PRESETS["photos"]().config, train_images, world)


def start_of(flags: Flags, world: World) -> tuple[Config, StartWeights]:
    """What the run starts from, in the leading process, and the configuration, which names it by its hash. Raises
    UserError where that cannot be had.
    """
    launch = flags.launch
    if launch.behind is not None:
        folder = launch.behind
        behind = world.lead_does(lambda: read_behind(folder))
        sha256 = world.from_lead(lambda: classifier_digest(flags, behind) if behind is not None else "")
        return flags.config.changed(behind_sha256=sha256), StartWeights(behind=behind)
    missing: list[str] = []

    def read() -> tuple[StartWeights, dict[str, str]]:
        path, asked = launch.init, launch.weights
        initial, init_sha256 = or_known(
            lambda: None if path is None else read_initial(path), "init_sha256", launch, missing
        )
        weights, weights_sha256 = or_known(
            lambda: read_weights(asked, flags.config.network), "weights_sha256", launch, missing
        )
        hashes = {"init_sha256": init_sha256, "weights_sha256": weights_sha256}
        return StartWeights(initial, weights, missing=tuple(missing)), hashes

    start, hashes = world.lead_does(read) or (StartWeights(), {})
    return flags.config.changed(**world.value_of_lead(hashes)), start


def or_known(
    read: Callable[[], Start | None], name: str, launch: OneRun, missing: list[str]
) -> tuple[Start | None, str]:
    """What `read` gives, and its hash. Where it cannot be had, as on a machine without network, and the run in the
    folder that was named has a checkpoint to go on from: nothing, and the hash `name` that the run was begun with; why
    goes to `missing`.
    """
    try:
        found = read()
    except UserError as error:
        run = RunDir(launch.run_dir) if launch.run_dir is not None else None
        known = run.read_info().config.flat()[name] if run is not None and run.has_info() else ""
        if run is None or not known or newest_valid(run.checkpoints) is None:
            raise
        missing.append(str(error))
        return None, known
    return found, found.sha256 if found is not None else ""


def classifier_digest(flags: Flags, behind: Behind) -> str:
    """The digest that the run stores for --behind: of the classifier's tensors, or of its checkpoint where an older
    version began the run so.
    """
    earlier = flags.config.changed(behind_sha256=behind.checkpoint_sha256)
    run = RunDir(run_folder(earlier, flags.launch))
    was_begun = run.has_info() and run.read_info().config.localizer.behind_sha256 == behind.checkpoint_sha256
    return behind.checkpoint_sha256 if was_begun else behind.sha256


def read_flags(arguments: Sequence[str]) -> Flags:
    """Flags from the command line over the defaults of the preset that it names, or of the run that it goes behind."""
    named = flags_named(arguments, PROG)
    return _flags_behind(named.behind, arguments) if named.behind is not None else _flags_of_preset(named, arguments)


def _flags_behind(behind: Path, arguments: Sequence[str]) -> Flags:
    config, shards = config_behind(behind)
    default = Flags(config, OneRun(shards=shards, behind=behind))
    flags = parse_flags(Flags, arguments, PROG, DESCRIPTION, default)
    refuse_other_classifier(flags.config, behind)
    if flags.launch.init is not None or flags.launch.weights != default.launch.weights:
        name = "--init" if flags.launch.init is not None else "--weights"
        raise UserError(f"{name}: --behind takes the classifier of {behind} as it is; leave one of the two out")
    return flags


def _flags_of_preset(named: NamedFlags, arguments: Sequence[str]) -> Flags:
    """Class folders take the preset photos where no preset and no network is named, unless they were begun without."""
    preset = named.preset_name
    flags = _flags_over(preset, named, arguments)
    was_begun = flags.launch.run_dir is None and run_folder(flags.config, flags.launch).exists()
    if not was_begun and class_folders_want_photos(named):
        preset = "photos"
        flags = _flags_over(preset, named, arguments)
    elif not was_begun and (note := note_on_class_folders(named)):
        print(note)
    if not RunDir(run_folder(flags.config, flags.launch)).has_info():
        refuse_useless(flags.config, flags.launch.features, preset_at(preset, named.image_size).config)
    if not flags.config.network.is_ours:
        by_preset = "--preset photos (which class folders take; --preset paper does without)"
        require_timm(by_preset if preset == "photos" else f"--backbone {flags.config.network.backbone}")
    return flags


def _flags_over(name: PresetName, named: NamedFlags, arguments: Sequence[str]) -> Flags:
    preset = preset_at(name, named.image_size)
    default = Flags(preset.config, OneRun(preset=name, log=preset.log, weights=preset.weights))
    return parse_flags(Flags, arguments, PROG, DESCRIPTION, default)


def run_folder(config: Config, launch: OneRun) -> Path:
    """The run's folder: the one named, or one named after the configuration."""
    return launch.run_dir if launch.run_dir is not None else folder_of_run(Path("data/runs"), config, launch.log)


def with_store_size(config: Config, launch: OneRun, shards: Shards, folder: Path) -> Config:
    """The configuration with the side of the square that training images are brought to, where that is not named: the
    one of the run in `folder`, or else the default where images of many sizes are shown in many epochs, and a store of
    them has room. Raises UserError where a side is named that nothing can be brought to.
    """
    named, split, run = config.views.store_size, shards.splits["train"], RunDir(folder)
    if named and of_one_size(split):
        raise UserError(f"--store-size {named}: the images of {shards.folder} have one size already; leave it out")
    if named and launch.data == "dali":
        raise UserError(f"--store-size {named}: --data dali decodes images in every epoch; leave one of the two out")
    if named or of_one_size(split):
        return config
    if run.has_info():
        stored = run.read_info().config
        is_same_run = stored.flat() | {"store_size": 0} == config.flat()
        return stored if is_same_run else config  # what else differs is said when the run is opened
    kept = config.network.train_part != "all" and views_kept(config.views) and not config.schedule.has_own_sizes
    worth_it = launch.data == "resident" or not (kept or config.schedule.epochs < _EPOCHS_WORTH_A_STORE)
    if launch.data == "dali" or not worth_it:
        return config
    fit, square, where = config.views.fit, default_square(config.views.image_size), folder_of(launch, shards)
    why = no_room(shards, "train", square, fit, where, take_device(launch.device))
    if why is None and not (can_be_written(where) or is_built(shards, "train", where, square, fit)):
        why = f"{where} cannot be written"
    if why is not None and launch.data == "resident":
        raise UserError(f"--data resident: train: {why}; use --data dali, or another folder with --store")
    if why is not None:
        print(f"train: not brought to a square ({why})", flush=True)
    return config if why is not None else config.changed(store_size=square)


_EPOCHS_WORTH_A_STORE = 3


def train(
    config: Config, launch: OneRun, shards: Shards, folder: Path, world: World, start: StartWeights | None = None
) -> None:
    """Train the run in `folder` from where it stands to its end, evaluate it, and print and store the report. start:
    the leading process's initial weights, which the configuration names by their hash. The leading process of `world`
    alone touches the folder. Raises UserError for a folder or shards that are not this run's, Interrupted after a
    signal, RunFailure on NaN.
    """
    described = world.together(lambda: run_info(config, shards))
    world.agree_on({flag(name): value for name, value in config.flat().items()} | {"shards": shards.digest})
    all_shards, shards = shards, world.together(lambda: hold_out(shards, config.data.holdout))
    world.together(lambda: refuse_no_split(config, shards.splits, shards.folder))
    refuse_what_cannot_be(config, all_shards, shards, world)
    world.lead_does(lambda: refuse_another(RunDir(folder), config, launch.resume))
    autocast, threads = means_of(config, launch, world)
    run = RunDir(folder)
    names = ["train"] if config.data.holdout else ["train", config.eval_split]  # the holdout is a part of train
    signals = StopSignals("stopping after this step" if world.leads else "", stop_at_once_if_repeated)
    with signals as stop, contextlib.ExitStack() as resources:
        compiles_views = launch.step not in ("eager", "captured") and can_compile(autocast.device)
        feed = open_feed(
            launch,
            all_shards,
            names,
            autocast,
            threads,
            compiles_views,
            world,
            gives_up=lambda: stop.requested,
            train_views=config.views,
        )
        world.lead_does(lambda: resources.enter_context(run.opened(described)))
        info = world.from_lead(lambda: run.as_stored(described))
        state = world.together(lambda: new_state(config, len(info.classes), autocast))
        setup = EvaluationSetup(
            config, shards, feed, autocast, threads, world, info.statistics, gives_up=lambda: stop.requested
        )
        here = decisive_environment(config, setup, launch.deterministic)
        job = Job(
            run,
            info,
            setup,
            packed=all_shards,
            log=launch.log,
            asked_mode=launch.step,
            inexact=launch.inexact,
            checkpoint_minutes=launch.checkpoint_minutes,
            features_folder=launch.features,
            gives_up=lambda: stop.requested,
            environment=here,
        )
        saved = world.lead_does(lambda: take_up(job, state, launch.resume, start or StartWeights()))
        if launch.tensorboard and world.leads:
            run.listeners.append(resources.enter_context(contextlib.closing(Curves(run))).add)
        share_state(state, world)
        announce(job, state, offer_fast=launch.preset == "paper", continued=saved is not None)
        try:
            head = train_both_parts(job, state, saved, stop)
        except BadStep as bad:
            raise world.of_lead(RunFailure(explain_bad_step(bad.step, config, shards, run))) from None
        conclude(job, LocalizingModel(state.evaluated, head))


def refuse_what_cannot_be(config: Config, all_shards: Shards, shards: Shards, world: World) -> None:
    """Raise UserError for a configuration that these shards, or this machine, cannot have. shards: the same as
    all_shards, with the holdout apart.
    """
    train, classes = shards.splits["train"], len(shards.manifest.classes)
    evaluated = shards.splits[config.eval_split]
    world.together(lambda: check_batch_sizes(config, len(train), world))
    world.together(lambda: check_network(config, classes, len(train), world))
    world.together(lambda: refuse_no_mask(config, classes, train))
    if config.views.store_size and not of_one_size(all_shards.splits[evaluated.packed_name]):
        # Evaluations see the images' own pixels: said now, and not after epochs of training.
        world.together(lambda: require_dali(evaluated, "its images have many sizes"))
    if config.views.store_size:  # so does what is found on the images trained on when the training is done
        world.together(lambda: require_dali(train, "its images have many sizes"))


def means_of(config: Config, launch: OneRun, world: World) -> tuple[Autocast, int]:
    """What this process computes with: device, number format, threads. Raises UserError where there is no such thing,
    or where processes differ in what decides a run's bits.
    """
    if launch.deterministic:
        compute_deterministically()
    device = world.together(lambda: take_device(launch.device, world.local_rank, world.local_size))
    world.together(lambda: refuse_impossible(launch.step, device, world.size))
    autocast = world.together(lambda: pick_autocast(launch.precision, device))
    if launch.tensorboard:
        world.together(require_tensorboard)
    facts = {"--precision": autocast.precision, "--deterministic": launch.deterministic, "--step": launch.step}
    facts |= {flag(name): value for name, value in vars(launch.log).items()}
    sources = decisive_versions(versions(), data=None) | network_versions(config.network)
    world.agree_on(facts | sources | {"fastwsol's source": decisive_source_digest()})
    return autocast, world.together(lambda: use_threads(launch.threads, world.local_size))


def train_both_parts(job: Job, state: State, saved: Checkpoint | None, stop: StopSignals) -> MaskHead | None:
    """Train the classifier, then the mask head behind it where there is one, each from where it stands; gives the head.

    saved: the leading process's checkpoint. Raises BadStep for a step that is not finite.
    """
    config = job.config
    if state.step < config.classifier_steps(len(job.split)):
        of_classifier = with_features(job, state)
        train_to_the_end(of_classifier, state, classifier_course(of_classifier, state), stop)
    if not config.localizer.trains_mask:
        return None
    phase = begin_mask_phase(job, state.evaluated, saved)
    train_to_the_end(phase.job, phase.state, phase.course, stop)
    return phase.training.head


def conclude(job: Job, model: LocalizingModel) -> None:
    """Find what predictions need beside the trained networks, evaluate them, and store and print all that. Raises
    Interrupted where a signal asks for a stop: all that was trained is saved.
    """
    config, setup, run = job.config, job.setup, job.run
    last = config.total_steps(len(job.split))
    try:
        model.directions = find_directions(model, setup)
        cuts = own_cuts(model, setup)
        setup.world.lead_does(lambda: store_findings(run, model, cuts))
        evaluate_model(model, config.eval_split, last, setup, lambda evaluation: finish(run, evaluation), cuts=cuts)
    except Interrupted:
        done = f"all {last:,} steps are done and saved in {run.folder}"
        raise Interrupted(f"{done}; the same command evaluates them") from None


def store_findings(run: RunDir, model: LocalizingModel, cuts: dict[str, Cut]) -> None:
    """Store what was found on the images trained on once the training was done."""
    saved = newest_valid(run.checkpoints)
    assert saved is not None
    assert model.directions is not None
    run.write_directions(model.directions, saved.scalars["sha256"])
    run.write_cuts(cuts)


def finish(run: RunDir, evaluation: Evaluation) -> None:
    """Store and print the report of a run that came to its end."""
    report = evaluation.report
    last_row = {"kind": "eval", "split": report["split"], "step": report["step"], **report["rates"]}
    if last_row not in run.rows():  # a run killed just before its report has written it already
        run.append_row(last_row)
    of = ReportOf(report["split"])
    run.write_report(report, evaluation.rows, of)
    print_summary(report, run.report_file(of), heading_of(report))


def run_info(config: Config, shards: Shards) -> RunInfo:
    """What the run of `config` on `shards` is."""
    manifest = shards.manifest
    wnids, names = zip(*((each.wnid, each.name) for each in manifest.classes), strict=True)
    mean, std = input_statistics(config.network) or (manifest.mean, manifest.std)
    # A channel that is constant over train has std 0: it takes that of a uniform distribution instead.
    red, green, blue = (each or 255 / 12**0.5 for each in std)
    return RunInfo(config, shards.folder, shards.digest, wnids, names, mean, (red, green, blue))


def explain_bad_step(step: int, config: Config, shards: Shards, run: RunDir) -> str:
    """One line: which step was not finite, which images were in it, what to do."""
    split = shards.splits["train"]
    of_head = step - config.classifier_steps(len(split))
    batch_size = config.optimizer.batch_size if of_head < 0 else config.localizer.head_batch_size
    name, lr = ("--lr", config.optimizer.lr) if of_head < 0 else ("--head-lr", config.localizer.head_lr)
    ids, _ = training_plan(config.seed, len(split), batch_size)(step if of_head < 0 else of_head)
    images = first_few(split.names(ids), 8)
    return (
        f"{run.folder}: the loss or a gradient of step {step} was not finite (images {images}); no checkpoint was made "
        f"of it; lower {name} (now {lr}) or use --precision fp32, with another --run-dir"
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
