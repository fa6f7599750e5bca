"""python -m fastwsol.train --aug gr --depth 34: train one classifier on the labels of packed shards.

`torchrun --nproc-per-node 8 -m fastwsol.train ...` is the same run on eight GPUs: batches hold the same images.

Of Tiny ImageNet the paper's recipe is the default: 1500 epochs, days on two cores. `--preset fast` is hours there and a
minute on a GPU. Of photographs `--preset photos` is.
The same command over its own unfinished run continues it, on the step, in the middle of an epoch.
"""

if __name__ == "__main__":  # before the imports, which take seconds
    from fastwsol.host.starting import run

    run("train")

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fastwsol.batches.feed import open_feed
from fastwsol.batches.stream import training_plan
from fastwsol.config import Config, Statistics, flag
from fastwsol.dataset.holdout import hold_out
from fastwsol.dataset.shards import Shards, open_shards, read_manifest
from fastwsol.evaluation.forward import EvaluationSetup
from fastwsol.host.command_line import parse_flags
from fastwsol.host.device import Autocast, compute_deterministically, pick_autocast, take_device, use_threads
from fastwsol.host.environment import versions
from fastwsol.host.errors import RunFailure, UserError
from fastwsol.host.process import Process
from fastwsol.host.stop_signals import StopSignals, stop_at_once_if_repeated
from fastwsol.host.words import first_few
from fastwsol.host.world import World, joined
from fastwsol.localizer.box_supervision import boxes_of_few
from fastwsol.localizer.localizing import LocalizingModel
from fastwsol.localizer.mask_head import MaskHead
from fastwsol.network.networks import input_statistics, network_versions
from fastwsol.network.timm_backbone import require_timm
from fastwsol.runs.checkpoint import Checkpoint
from fastwsol.runs.folder import RunDir
from fastwsol.runs.info import RunInfo
from fastwsol.runs.tensorboard_curves import Curves, require_tensorboard
from fastwsol.timetable import Timetable
from fastwsol.training.behind import config_behind, refuse_other_classifier, refuse_unfinished
from fastwsol.training.conclusion import conclude, tell_finished
from fastwsol.training.course import classifier_course, head_plan, mask_course
from fastwsol.training.feasibility import check_training
from fastwsol.training.fit_to_data import with_batches_of_photos, with_store_size
from fastwsol.training.frozen_part import before_classifiers_part, before_head
from fastwsol.training.job import Job
from fastwsol.training.launch import OneRun, run_folder
from fastwsol.training.launch_flags import (
    NamedFlags,
    began_by,
    flags_named,
    note_on_photographs,
    photographs_want_photos,
    refuse_useless,
    shards_named,
)
from fastwsol.training.loop import train_to_the_end
from fastwsol.training.mask_phase import head_state
from fastwsol.training.presets import PresetName, preset_at
from fastwsol.training.progress import announce
from fastwsol.training.resume import (
    StartWeights,
    decisive_environment,
    decisive_source_digest,
    decisive_versions,
    refuse_another,
    take_up,
)
from fastwsol.training.start import start_of
from fastwsol.training.step import BadStep, ClassifierState, new_state, share_state
from fastwsol.training.step_mode import can_compile, refuse_impossible

PROG = "python -m fastwsol.train"
DESCRIPTION = (
    "Train a classifier on image labels alone, and behind it, with --localizer mask, a head that masks objects. "
    "The defaults below are those of the preset that is named (paper where none is): photographs take --preset photos "
    "by themselves, and train --preset photos --help shows its."
)


@dataclass(frozen=True)
class Flags:
    """The command line."""

    config: Config = field(default_factory=Config)
    launch: OneRun = field(default_factory=OneRun)


def main(arguments: Sequence[str]) -> int:
    """Train the run that `arguments` describe, or continue it; then evaluate it and print the table."""
    with joined() as world:
        flags = world.together(lambda: read_flags(arguments))
        config, start = start_of(flags.config, flags.launch, world)
        folder_named = run_folder(flags.config, flags.launch)
        place = world.together(lambda: shards_named(flags.launch.shards, folder_named))
        shards = world.machine_lead_first(lambda verify: open_shards(place, verify))
        if flags.launch.behind is not None:  # in every process, though the leading one alone has read that run
            world.lead_does(lambda: refuse_other_start(start, shards, RunDir(folder_named)))
        if flags.launch.preset == "photos":
            config = world.together(lambda: with_batches_of_photos(config, images_to_train_on(config, shards), world))
        folder = run_folder(config, flags.launch)
        asked = config
        config = world.from_lead(lambda: with_store_size(asked, flags.launch, shards, folder))
        train(config, flags.launch, shards, folder, world, start)
    return 0


def refuse_other_start(start: StartWeights, shards: Shards, run: RunDir) -> None:
    """Raise UserError where the run that is started behind cannot be, or not with these shards; a run that has begun on
    them was compared then. In the leading process.
    """
    assert start.behind is not None
    has_begun = run.has_info() and run.read_info().shards_digest == shards.digest
    refuse_unfinished(start.behind, shards, compare=not has_begun)


def images_to_train_on(config: Config, shards: Shards) -> int:
    """How many are left where some are held out. Raises UserError where those are too many."""
    return len(hold_out(shards, config.data.holdout).splits["train"])


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
    """Photographs take the preset photos where no preset and no network of ours is named, unless they were begun
    without.
    """
    preset = named.preset_name
    flags = _flags_over(preset, named, arguments)
    was_begun = began_by(flags.config, RunDir(run_folder(flags.config, flags.launch)))
    if not was_begun and photographs_want_photos(named):
        preset = "photos"
        flags = _flags_over(preset, named, arguments)
    elif not was_begun and (note := note_on_photographs(named)):
        print(note)
    if not RunDir(run_folder(flags.config, flags.launch)).has_info():
        try:
            refuse_useless(flags.config, flags.launch.features, preset_at(preset, named.image_size).config)
        except UserError:
            # First what is told of a set that is not there: without it flags have other defaults.
            read_manifest(shards_named(flags.launch.shards, flags.launch.run_dir))
            raise
    if not flags.config.network.is_ours:
        by_preset = "--preset photos (which photographs take; --preset paper does without)"
        require_timm(by_preset if preset == "photos" else f"--backbone {flags.config.network.backbone}")
    return flags


def _flags_over(name: PresetName, named: NamedFlags, arguments: Sequence[str]) -> Flags:
    preset = preset_at(name, named.image_size)
    default = Flags(preset.config, OneRun(preset=name, log=preset.log, weights=preset.weights))
    return parse_flags(Flags, arguments, PROG, DESCRIPTION, default)


def train(
    config: Config, launch: OneRun, shards: Shards, folder: Path, world: World, start: StartWeights | None = None
) -> None:
    """Train the run in `folder` from where it stands to its end, evaluate it, and print and store the report; of one
    that is finished print the report alone. start: the leading process's initial weights, which the configuration names
    by their hash. The leading process of `world` alone touches the folder. Raises UserError for a folder or shards that
    are not this run's, Interrupted after a signal, RunFailure on NaN.
    """
    described = world.together(lambda: run_info(config, shards))
    world.agree_on({flag(name): value for name, value in config.flat().items()} | {"shards": shards.digest})
    all_shards, shards = shards, world.together(lambda: hold_out(shards, config.data.holdout))
    check_training(config, all_shards, shards, world)
    run = RunDir(folder)
    world.lead_does(lambda: refuse_another(run, described, launch.resume))
    if world.from_lead(lambda: run.finished(config)):
        world.lead_does(lambda: tell_finished(run, config.eval_split))
        return
    autocast, threads = means_of(config, launch, world)
    names = ["train"] if config.data.holdout else ["train", config.eval_split]  # the holdout is a part of train
    signals = StopSignals("stopping after this step" if world.leads else "", stop_at_once_if_repeated)
    with signals as stop, contextlib.ExitStack() as resources:
        compiles_views = launch.step not in ("eager", "captured") and can_compile(autocast.device)
        compiles_views &= config.network.train_part == "all"  # those of a frozen part are not, anyway
        process = Process(autocast, threads, world, gives_up=lambda: stop.requested)
        feed = open_feed(launch, all_shards, names, process, compiled=compiles_views, train_views=config.views)
        world.lead_does(lambda: resources.enter_context(run.opened(described)))
        info = world.from_lead(lambda: run.as_stored(described))
        state = world.together(lambda: new_state(config, len(info.classes), autocast))
        setup = EvaluationSetup(config, shards, feed, info.statistics, process)
        here = decisive_environment(config, setup, launch.deterministic)
        job = Job(run, info, setup, all_shards, launch, here)
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


def train_both_parts(job: Job, state: ClassifierState, saved: Checkpoint | None, stop: StopSignals) -> MaskHead | None:
    """Train the classifier, then the mask head behind it where there is one, each from where it stands; gives the head.

    saved: the leading process's checkpoint. Raises BadStep for a step that is not finite.
    """
    config = job.config
    if state.step < job.timetable.classifier_steps:
        frozen = before_classifiers_part(job, state)
        train_to_the_end(job, state, classifier_course(job, state, frozen), stop)
    if not config.localizer.trains_mask:
        return None
    of_head = head_state(job, state.evaluated, saved)
    course = mask_course(job, of_head.model, before_head(job, of_head.model.network, of_head.step))
    train_to_the_end(job, of_head, course, stop)
    return of_head.model.head


def run_info(config: Config, shards: Shards) -> RunInfo:
    """What the run of `config` on `shards` is."""
    manifest = shards.manifest
    wnids, names = zip(*((each.wnid, each.name) for each in manifest.classes), strict=True)
    mean, std = input_statistics(config.network) or manifest.statistics
    # A channel that is constant over train has std 0: it takes that of a uniform distribution instead.
    red, green, blue = (each or 255 / 12**0.5 for each in std)
    return RunInfo(config, shards.folder, shards.digest, wnids, names, Statistics(mean, (red, green, blue)))


def explain_bad_step(step: int, config: Config, shards: Shards, run: RunDir) -> str:
    """One line: which step was not finite, which images were in it, what to do."""
    split = shards.splits["train"]
    of_head = step - Timetable(config, len(split)).classifier_steps
    if of_head < 0:
        name, lr = "--lr", config.optimizer.lr
        plan = training_plan(config.seed, len(split), config.optimizer.batch_size)
    else:
        few = config.localizer.boxes_per_class
        boxes = boxes_of_few(split, few, config.views.fit) if few else None
        name, lr, plan = "--head-lr", config.localizer.head_lr, head_plan(config, len(split), boxes)[0]
    ids, _ = plan(step if of_head < 0 else of_head)
    images = first_few(split.names(ids), 8)
    return (
        f"{run.folder}: the loss or a gradient of step {step} was not finite (images {images}); no checkpoint was made "
        f"of it; lower {name} (now {lr}) or use --precision fp32, with another --run-dir"
    )
