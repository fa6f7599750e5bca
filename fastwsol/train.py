"""python -m fastwsol.train --aug gr --depth 34: train one classifier on the labels of packed shards.

`torchrun --nproc-per-node 8 -m fastwsol.train ...` is the same run on eight GPUs: batches hold the same images.

The paper's recipe is the default: 1500 epochs, days on two cores. `--preset fast` is hours there and minutes on a GPU.
The same command over its own unfinished run continues it, on the step, in the middle of an epoch.
"""

import contextlib
import math
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import torch

from fastwsol.batches.feed import open_feed
from fastwsol.batches.stream import training_plan
from fastwsol.config import PRESETS, Config, flag
from fastwsol.dataset.holdout import hold_out
from fastwsol.dataset.shards import Shards, open_shards
from fastwsol.evaluation.console_tables import print_report, summary_line
from fastwsol.evaluation.forward import Evaluation, evaluate_model, forward_split, rates_of
from fastwsol.host.command_line import OptionalPath, parse_flags, run_command
from fastwsol.host.device import compute_deterministically, pick_autocast, take_device, use_threads
from fastwsol.host.environment import source_digest, versions
from fastwsol.host.errors import Interrupted, RunFailure, UserError
from fastwsol.host.processes import Wishes, World, joined
from fastwsol.host.stop_signals import StopSignals, stop_at_once_if_repeated
from fastwsol.network.initial_weights import Initial, read_initial, start_from
from fastwsol.runs import checkpoint
from fastwsol.runs.folder import RunDir, RunInfo, decisive_versions, here_and_now
from fastwsol.runs.tensorboard_curves import Curves, require_tensorboard
from fastwsol.training.launch_flags import Launch, preset_of
from fastwsol.training.loop import Job, carried_out, steps_taken
from fastwsol.training.progress import Progress, announce
from fastwsol.training.step import (
    SKIPPED,
    BadStep,
    State,
    check_finite,
    gather_totals,
    new_state,
    reset_totals,
    share_state,
    state_tensors,
)
from fastwsol.training.step_mode import can_compile, refuse_impossible

PROG = "python -m fastwsol.train"
Resume = Literal["auto", "never", "require"]


@dataclass(frozen=True)
class OneRun(Launch):
    """Which folder the run is in, and how it begins there."""

    run_dir: OptionalPath = None  # not `run`, which torchrun takes for a short form of a flag of its own
    """folder of the run; default data/runs/NAME, named after the configuration"""
    init: OptionalPath = None
    """start from the weights of an earlier run, a .safetensors file in its checkpoints folder, as far as they fit"""
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
        path = flags.launch.init
        initial = world.lead_does(lambda: read_initial(path)) if path is not None else None
        sha256 = world.value_of_lead(initial.sha256 if initial is not None else "")
        config = replace(flags.config, init_sha256=sha256)
        shards = world.machine_lead_first(lambda verify: open_shards(flags.launch.shards, verify))
        train(config, flags.launch, shards, run_folder(config, flags.launch), world, initial)
    return 0


def read_flags(arguments: Sequence[str]) -> Flags:
    """Flags from the command line over the defaults of the preset that it names."""
    preset = preset_of(arguments)
    default = Flags(PRESETS[preset](), OneRun(preset=preset))
    return parse_flags(Flags, arguments, PROG, "Train a classifier on image labels alone.", default)


def run_folder(config: Config, launch: OneRun) -> Path:
    """The run's folder: the one named, or one named after the configuration."""
    return launch.run_dir if launch.run_dir is not None else Path("data/runs") / config.name()


def save(run: RunDir, info: RunInfo, state: State, precision: str) -> None:
    """Write a checkpoint, unless the state is not finite (RunFailure); the steps up to here have been checked."""
    tensors = state_tensors(state)
    if bad := [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]:
        raise RunFailure(
            f"{run.folder}: {bad[0]} is not finite after step {state.step}; lower --lr, in another --run-dir"
        )
    scalars = {
        "precision": precision,
        "scaler": state.scaler.state_dict(),
        "config_digest": info.config.digest(),
        "shards_digest": info.shards_digest,
        "classes": list(info.classes),
    }
    checkpoint.save(run.checkpoints, state.step, tensors, scalars)


def restore(state: State, saved: checkpoint.Checkpoint, info: RunInfo, precision: str) -> None:
    """Put a checkpoint into `state`; raises UserError where it is another run's or in another number format."""
    info.check_checkpoint(saved)
    if saved.scalars["precision"] != precision:
        raise UserError(
            f"{saved.path}: was trained in {saved.scalars['precision']} and this would go on in {precision}; "
            f"pass --precision {saved.scalars['precision']}, or another --run-dir"
        )
    for name, tensor in state_tensors(state).items():
        if name in saved.tensors or name != f"totals.{SKIPPED}":  # which older versions did not count
            tensor.copy_(saved.tensors[name])
    if state.scaler.is_enabled():
        state.scaler.load_state_dict(saved.scalars["scaler"])
    state.step = saved.step


def train(
    config: Config, launch: OneRun, shards: Shards, folder: Path, world: World, initial: Initial | None = None
) -> None:
    """Carry the run in `folder` from where it stands to its end, evaluate it, and print and store the report.

    initial: the leading process's weights to start from, which the configuration names by their hash.
    The leading process of `world` alone touches the folder. Raises UserError for a folder or shards that are not this
    run's, Interrupted after a signal, RunFailure on NaN.
    """
    info = run_info(config, shards)
    world.agree_on({flag(name): value for name, value in config.to_json().items()} | {"shards": shards.digest})
    packed, shards = shards, world.together(lambda: hold_out(shards, config.holdout))
    world.together(lambda: check_batch_size(config.batch_size, len(shards.splits["train"]), world))
    if launch.deterministic:
        compute_deterministically()
    device = world.together(lambda: take_device(launch.device, world.local_rank, world.local_size))
    world.together(lambda: refuse_impossible(launch.step, device, world.size))
    autocast = world.together(lambda: pick_autocast(launch.precision, device))
    if launch.tensorboard:
        world.together(require_tensorboard)
    facts = {"--precision": autocast.precision, "--deterministic": launch.deterministic, "--step": launch.step}
    world.agree_on(facts | decisive_versions(versions(), data=None) | {"fastwsol's source": source_digest()})
    threads = world.together(lambda: use_threads(launch.threads, world.local_size))
    run = RunDir(folder)
    names = ["train"] if config.holdout else ["train", config.eval_split]  # the holdout is a part of train
    with (
        StopSignals("stopping after this step" if world.leads else "", stop_at_once_if_repeated) as stop,
        contextlib.ExitStack() as held,
    ):
        compiles_views = launch.step not in ("eager", "captured") and can_compile(device)
        feed = open_feed(
            launch, packed, names, autocast, threads, compiles_views, world, gives_up=lambda: stop.requested
        )
        world.lead_does(lambda: held.enter_context(run.opened(info)))
        state = new_state(config, len(info.classes), autocast)
        split = shards.splits["train"]
        here = here_and_now(carried_out(autocast, threads, launch.deterministic, feed, split, world))
        job = Job(run, info, shards, launch.step, launch.inexact, here, autocast, threads, feed, world)
        world.lead_does(lambda: take_up(job, state, launch.resume, initial))
        if launch.tensorboard and world.leads:
            run.listeners.append(held.enter_context(contextlib.closing(Curves(run))).add)
        share_state(state, world)
        announce(config, shards, run.folder, state, autocast, world, offer_fast=launch.preset == "paper")
        try:
            train_steps(job, state, launch.checkpoint_minutes, stop)
        except BadStep as bad:
            raise world.of_lead(RunFailure(explain_bad_step(bad.step, config, shards, run))) from None
        evaluation = evaluate_model(
            state.evaluated, shards, config, autocast, feed, threads, state.step, world, split_name=config.eval_split
        )
        world.lead_does(lambda: finish(run, evaluation))  # type: ignore[arg-type]


def check_batch_size(batch_size: int, train_images: int, world: World) -> None:
    """Raise UserError where no batch can be made, or not be divided among the processes."""
    if batch_size > train_images:
        raise UserError(f"--batch-size {batch_size}: there are {train_images} images to train on")
    if batch_size % world.size:
        raise UserError(
            f"--batch-size {batch_size}: {world.size} processes cannot share it evenly; use a multiple of {world.size}"
        )


def take_up(job: Job, state: State, resume: Resume, initial: Initial | None) -> None:
    """Put into `state` what the run's folder holds, or else the weights to start from."""
    saved = find_own_work(job.run, job.info, resume)
    if saved is None and initial is not None:
        print(start_from(initial, state.model, job.info.classes), flush=True)
        if state.average is not None:
            state.average.load_state_dict(state.model.state_dict())
    if "holdout" in job.shards.splits:
        (job.run.store_holdout if saved is None else job.run.check_holdout)(job.shards.splits["holdout"])
    if saved is not None:
        restore(state, saved, job.info, job.autocast.precision)
        asked = {} if job.asked_mode == "auto" else {"step_mode": job.asked_mode}
        job.run.check_start(saved.step, job.here | asked, job.inexact)
    job.run.drop_rows_after(state.step)


def finish(run: RunDir, evaluation: Evaluation) -> None:
    """Store and print the report of a run that came to its end."""
    report = evaluation.report
    last_row = {"kind": "eval", "split": report["split"], "step": report["step"], **report["rates"]}
    if last_row not in run.rows():  # a run killed just before its report has written it already
        run.append_row(last_row)
    path = run.write_report(report, evaluation.rows, of_finished_run=True)
    print_report(report)
    print(f"written to {path}")


def train_steps(job: Job, state: State, checkpoint_minutes: float, stop: StopSignals) -> None:
    """Take the run's remaining steps: progress, evaluations and checkpoints as they fall due.

    Raises BadStep where a loss or gradient was not finite, Interrupted, with the state saved, when `stop` was asked.
    """
    config, world, run, train_images = job.config, job.world, job.run, len(job.split)
    wishes = Wishes(world, 2)
    progress = Progress(config, train_images, job.total_steps, state.step)
    last_checkpoint = time.monotonic()
    for lr, warm in steps_taken(job, state):
        last = state.step == job.total_steps
        if state.step % config.log_steps == 0 or last:
            gather_totals(state, world)
            check_finite(state)
            world.lead_does(lambda lr=lr: run.append_row(progress.row(state, lr)))  # type: ignore[misc]
            reset_totals(state)
        if not warm:
            progress.restart_clock(state.step)
        if evaluation_is_due(state.step, config, train_images) and not last:
            gather_totals(state, world)
            check_finite(state)
            row = evaluation_row(job, state)
            world.lead_does(lambda row=row: run.append_row(row))  # type: ignore[misc]
            progress.restart_clock(state.step)
        save_is_due = world.leads and time.monotonic() - last_checkpoint >= 60 * checkpoint_minutes
        if save_is_due:  # from here on: the wish may take a step to be granted, and is not to be repeated
            last_checkpoint = time.monotonic()
        stop_now, save_now = wishes.agree(stop.requested, save_is_due)
        if stop_now or save_now or last:
            gather_totals(state, world)
            check_finite(state)
            world.lead_does(lambda: save(run, job.info, state, job.autocast.precision))
        if stop_now and not last:
            raise world.of_lead(
                Interrupted(
                    f"step {state.step} of {job.total_steps} is saved in {run.folder}; the same command continues"
                )
            )


def run_info(config: Config, shards: Shards) -> RunInfo:
    """What the run of `config` on `shards` is."""
    manifest = shards.manifest
    wnids, names = zip(*((each.wnid, each.name) for each in manifest.classes), strict=True)
    return RunInfo(config, shards.folder, shards.digest, wnids, names, manifest.mean, manifest.std)


def find_own_work(run: RunDir, info: RunInfo, resume: Resume) -> checkpoint.Checkpoint | None:
    """Find where this run was left, None at its start; raises UserError where it is done or the folder another's."""
    there = run.read_info()
    if there.config != info.config:
        ours, theirs = info.config.to_json(), there.config.to_json()
        name = next(name for name in ours if ours[name] != theirs[name])
        if name == "init_sha256":
            began = "with the weights of another file" if theirs[name] else "with weights that were drawn"
            raise UserError(f"{run.folder}: holds a run that began {began}; name its --init, or another --run-dir")
        raise UserError(
            f"{run.folder}: holds another run ({flag(name)} {theirs[name]}, not {ours[name]}); choose another --run-dir"
        )
    if there.shards_digest != info.shards_digest:
        raise UserError(
            f"{run.folder}: was begun on other shards ({there.shards}), not {info.shards}; choose another --run-dir"
        )
    if run.finished(info.config):
        raise UserError(
            f"{run.folder}: this run is finished; look at it with: python -m fastwsol.evaluate {run.folder}"
            f"{' --split holdout' if info.config.holdout else ''}, "
            f"or choose another --run-dir or --seed"
        )
    saved = checkpoint.newest_valid(run.checkpoints)
    if resume == "never" and saved is not None:
        raise UserError(f"--resume never: {run.folder} holds this run, unfinished; leave the flag out to continue it")
    if resume == "require" and saved is None:
        raise UserError(f"--resume require: {run.folder} holds no checkpoint to continue from")
    return saved


def evaluation_is_due(step: int, config: Config, train_images: int) -> bool:
    """Whether step `step` (steps done) is the first at or past a multiple of eval_epochs."""

    def evaluations(steps: int) -> int:
        return math.floor(steps * config.batch_size / train_images / config.eval_epochs)

    return evaluations(step) > evaluations(step - 1)


def evaluation_row(job: Job, state: State) -> dict[str, Any]:
    """Evaluate on the run's split in mid-run, print a line, and return the row for metrics.jsonl."""
    config, split = job.config, job.shards.splits[job.config.eval_split]
    outputs = forward_split(state.evaluated, job.shards, split, config, job.autocast, job.feed, job.world)
    rates = rates_of(outputs, split, config.image_size)
    if job.world.leads:
        print(f"step {state.step}  {split.name}: {summary_line(rates)}", flush=True)
    return {"kind": "eval", "split": split.name, "step": state.step, **rates}


def explain_bad_step(step: int, config: Config, shards: Shards, run: RunDir) -> str:
    """One line: which step was not finite, which images were in it, what to do."""
    split = shards.splits["train"]
    ids, _ = training_plan(config.seed, len(split), config.batch_size)(step)
    names = split.names(ids)
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return (
        f"{run.folder}: the loss or a gradient of step {step} was not finite (images {shown}); no checkpoint was made "
        f"of it; lower --lr (now {config.lr}) or use --precision fp32, with another --run-dir"
    )


if __name__ == "__main__":
    sys.exit(run_command(main))
