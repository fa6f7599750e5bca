"""How a run continues from its last checkpoint, and what must not have changed since: a run reaches the same bits, or
says that it does not.
"""

import sys
from dataclasses import dataclass
from typing import Any

import torch

from fastwsol.config import Config, flag
from fastwsol.evaluation.forward import EvaluationSetup
from fastwsol.features.kept_features import SOURCES_OF_FEATURES
from fastwsol.host.environment import DALI_PACKAGES, machine, versions
from fastwsol.host.errors import RunFailure, UserError
from fastwsol.host.source_code import digest_of_code
from fastwsol.host.words import first_few
from fastwsol.network.backbone_weights import BackboneWeights, put_weights
from fastwsol.network.initial_weights import Initial, start_from
from fastwsol.network.networks import network_versions
from fastwsol.runs import checkpoint
from fastwsol.runs.folder import RunDir
from fastwsol.runs.info import RunInfo
from fastwsol.training.behind import Behind
from fastwsol.training.job import Job
from fastwsol.training.launch import Resume
from fastwsol.training.step import ClassifierState, State, state_tensors

_DECISIVE = {
    "cpu": ("device", "processes", "threads", "views", "squares", "features", "step_mode", "processor", "timm"),
    "cuda": ("device", "processes", "deterministic", "views", "squares", "features", "step_mode", "GPU", "timm"),
}
"""By device, what a run's numbers depend on to the bit. They depend on the number format too; a checkpoint holds it,
and no flag overrides it.
"""
_DECISIVE_PACKAGES = ("torch", "numpy", "numba")
_DECISIVE_SOURCES = (
    *SOURCES_OF_FEATURES,
    "fastwsol/timetable.py",
    "fastwsol/host/world.py",
    "fastwsol/localizer/box_supervision.py",
    "fastwsol/localizer/mask_head.py",
    "fastwsol/localizer/mask_training.py",
    "fastwsol/training/course.py",
    "fastwsol/training/frozen_part.py",
    "fastwsol/training/mask_phase.py",
    "fastwsol/training/step.py",
    "fastwsol/training/cuda_graph.py",
    "fastwsol/training/step_mode.py",
    "fastwsol/training/stepper.py",
    "fastwsol/training/totals.py",
    "fastwsol/training/loop.py",
)
"""The modules that a step's bits follow from. What evaluates, reports or predicts is none of them."""


def save(run: RunDir, info: RunInfo, state: State, precision: str) -> None:
    """Write a checkpoint, unless the state is not finite (RunFailure). The steps up to here have been checked."""
    tensors = state_tensors(state)
    if bad := [name for name, tensor in tensors.items() if not torch.isfinite(tensor).all()]:
        raise RunFailure(
            f"{run.folder}: {bad[0]} is not finite after step {state.step}; lower --lr, in another --run-dir"
        )
    scalars = {
        "precision": precision,
        "scaler": state.scaler.state_dict(),
        "config_digest": info.digest,
        "shards_digest": info.shards_digest,
        "classes": list(info.classes),
    }
    checkpoint.save(run.checkpoints, state.step, tensors, scalars)


def restore(state: State, saved: checkpoint.Checkpoint, info: RunInfo, precision: str) -> None:
    """Put a checkpoint into `state`. Raises UserError where it is another run's or in another number format."""
    info.check_checkpoint(saved)
    if saved.scalars["precision"] != precision:
        raise UserError(
            f"{saved.path}: was trained in {saved.scalars['precision']} and this would go on in {precision}; "
            f"pass --precision {saved.scalars['precision']}, or another --run-dir"
        )
    tensors = state_tensors(state)
    if missing := tensors.keys() - saved.tensors.keys():
        raise UserError(
            f"{saved.path}: has no {min(missing)!r}, so no training can go on from it; start another run from its "
            f"weights with --init {saved.path.with_suffix('.safetensors')}"
        )
    for name, tensor in tensors.items():
        tensor.copy_(saved.tensors[name])
    if state.scaler.is_enabled():
        state.scaler.load_state_dict(saved.scalars["scaler"])
    state.step = saved.step


def restore_classifier(state: ClassifierState, saved: checkpoint.Checkpoint, info: RunInfo) -> None:
    """Put the trained classifier of a checkpoint into `state`, and no more: where it stands is the caller's to say."""
    info.check_checkpoint(saved)
    prefix = f"{info.config.optimizer.evaluated}."
    with torch.no_grad():
        for name, tensor in state.evaluated.state_dict().items():
            tensor.copy_(saved.tensors[prefix + name])


@dataclass(frozen=True)
class StartWeights:
    """What a run begins with in place of random weights: those of an earlier run, or published ones of its backbone, or
    the whole classifier of an earlier run.
    """

    initial: Initial | None = None
    backbone: BackboneWeights | None = None
    behind: Behind | None = None
    missing: tuple[str, ...] = ()
    """What could not be had, and why: the run goes on from its own checkpoint."""


def take_up(job: Job, state: ClassifierState, resume: Resume, start: StartWeights) -> checkpoint.Checkpoint | None:
    """Put into `state` what the run's folder holds, or else the weights to start from. Returns the checkpoint that the
    run goes on from.
    """
    saved = find_own_work(job.run, job.info, resume)
    if saved is None:
        begin(job, state, start)
    else:
        for why in start.missing:
            print(f"warning: {why}; the run goes on from its checkpoint", file=sys.stderr)
        go_on(job, state, saved)
    job.run.drop_rows_after(state.step)
    return saved


def begin(job: Job, state: ClassifierState, start: StartWeights) -> None:
    """Put the weights to start from into `state`, and note which images are held out."""
    if start.missing:  # a checkpoint to do without them was there a moment ago
        raise UserError(start.missing[0])
    if (behind := start.behind) is not None:
        restore_classifier(state, behind.saved, behind.info)
        state.step = job.timetable.classifier_steps
        print(f"behind the classifier of {behind.folder}, step {behind.saved.step:,}", flush=True)
    else:
        if start.backbone is not None:
            print(put_weights(start.backbone, state.model), flush=True)
        if start.initial is not None:
            print(start_from(start.initial, state.model, job.info.classes), flush=True)
        if state.average is not None:
            state.average.load_state_dict(state.model.state_dict())
    if (holdout := job.setup.shards.splits.get("holdout")) is not None:
        job.run.store_holdout(holdout)


def go_on(job: Job, state: ClassifierState, saved: checkpoint.Checkpoint) -> None:
    """Put a checkpoint into `state`; of one of the mask head's training the trained classifier's weights. Raises
    UserError where other images are held out now, or the run would go on to other bits and is to stay exact.
    """
    if (holdout := job.setup.shards.splits.get("holdout")) is not None:
        job.run.check_holdout(holdout)
    of_classifier = job.timetable.classifier_steps
    if saved.step > of_classifier:
        restore_classifier(state, saved, job.info)
        state.step = saved.step
    else:
        restore(state, saved, job.info, job.process.autocast.precision)
    # After the classifier's last step the mode is the mask head's, and not chosen yet.
    is_chosen = saved.step != of_classifier
    choice = {"step_mode": job.launch.step} if is_chosen and job.launch.step != "auto" else {}
    check_environment(job.run, saved.step, job.environment | choice, job.launch.inexact)


def find_own_work(run: RunDir, info: RunInfo, resume: Resume) -> checkpoint.Checkpoint | None:
    """The checkpoint that this run continues from; None at its start. Raises UserError where the run is finished or the
    folder is another run's.
    """
    _refuse_other_info(run, info)
    if run.finished(info.config):  # since it was looked at before
        raise UserError(f"{run.folder}: another process has finished this run; the same command prints its report")
    saved = checkpoint.newest_valid(run.checkpoints)
    if resume == "never" and saved is not None:
        raise UserError(f"--resume never: {run.folder} holds this run, unfinished; leave the flag out to continue it")
    if resume == "require" and saved is None:
        raise UserError(f"--resume require: {run.folder} holds no checkpoint to continue from")
    return saved


def _refuse_other_info(run: RunDir, info: RunInfo) -> None:
    """Raise UserError where the folder holds the run of another configuration, or on other shards."""
    earlier = run.read_info()
    if earlier.config != info.config:
        raise UserError(_difference(run, earlier.config, info.config))
    if earlier.shards_digest != info.shards_digest:
        raise UserError(
            f"{run.folder}: was begun on other shards ({earlier.shards}), not {info.shards}; choose another --run-dir"
        )


def _difference(run: RunDir, earlier: Config, asked: Config) -> str:
    """The options in which the run in the folder differs from the one asked for, those of the network first."""
    ours, theirs = asked.flat(), earlier.flat()
    differing = [name for name in ours if ours[name] != theirs[name]]
    if len(differing) > 1 and "store_size" in differing:
        differing.remove("store_size")  # which follows from others, and from the room that there is
    differing.sort(key=lambda name: name not in ("backbone", "depth", "stem"))
    name = differing[0]
    if name == "behind_sha256":
        what = "behind another classifier" if theirs[name] else "that trained its own classifier"
        return f"{run.folder}: holds a run {what}; name its --behind, or another --run-dir"
    if name == "init_sha256":
        began = "with the weights of another file" if theirs[name] else "with weights that were drawn"
        return f"{run.folder}: holds a run that began {began}; name its --init, or another --run-dir"
    if name == "weights_sha256":
        return f"{run.folder}: holds a run that began with other weights; name its --weights, or another --run-dir"
    shown = [f"{flag(each)} {theirs[each]}, not {ours[each]}" for each in differing if not each.endswith("_sha256")]
    trained = max(run.checkpoints.glob("step-*.safetensors"), default=None) if run.finished(earlier) else None
    on = f" (--init {trained} there begins with its weights)" if trained is not None else ""
    return f"{run.folder}: holds another run ({first_few(shown, _MOST_SHOWN, '; ')}); choose another --run-dir{on}"


_MOST_SHOWN = 4


def refuse_another(run: RunDir, info: RunInfo, resume: Resume) -> None:
    """Raise UserError where the folder holds another run, this one finished where it must be begun, or none where one
    has to be there. It is asked before anything is decoded for the run.
    """
    if not run.has_info():
        if resume == "require":
            raise UserError(f"--resume require: {run.folder} holds no checkpoint to continue from")
        return
    _refuse_other_info(run, info)
    if resume == "never" and run.finished(info.config):
        raise UserError(
            f"--resume never: {run.folder} holds this run, finished; leave the flag out to have its report printed, or "
            f"choose another --run-dir or --seed"
        )


def decisive_environment(config: Config, setup: EvaluationSetup, deterministic: bool) -> dict[str, Any]:
    """What decides a run's bits here, as environment.json holds it. Where processes differ, a list of all theirs."""
    autocast, feed, world = setup.process.autocast, setup.feed, setup.process.world
    split, square = setup.shards.splits["train"], config.views.store_size
    device, views = autocast.device, feed.views_by(split, square)
    mine: dict[str, Any] = {"threads": setup.process.threads, "views": views, "processor": machine()["processor"]}
    if square:
        mine["squares"] = feed.squares_sha256(split, square)
    if device.type == "cuda":
        mine["GPU"] = torch.cuda.get_device_name(device)
    of_all = world.values_of_all(mine)
    same_or_list = {
        name: mine[name] if all(each[name] == mine[name] for each in of_all) else sorted(each[name] for each in of_all)
        for name in mine
    }
    return {
        "precision": autocast.precision,
        "device": device.type,
        "processes": world.size,
        "deterministic": deterministic,
        "data": feed.data(split, square),
        **same_or_list,
        **network_versions(config.network),
        "versions": versions(),
        "source": decisive_source_digest(),
    }


def check_environment(run: RunDir, step: int, here: dict[str, Any], inexact: bool) -> None:
    """Warn that this process, which continues after `step` steps, will not reach the bits of an unbroken run, and say
    why.

    here: as `decisive_environment` gives it, or a part of it. Raises UserError instead where the run was exact so far
    and `inexact` is false.
    """
    if step == 0:
        return
    last = run.last_start(step)
    changed = changes(last, here) if last is not None else ["environment.json is gone"]
    if changed and not inexact and promises_bits(last or here):
        raise UserError(
            f"{run.folder}: since step {step} was saved: {', '.join(changed)}; "
            f"undo that to go on to the same bits, or go on to others with --inexact"
        )
    if changed:
        print(f"warning: continued with {', '.join(changed)}: equal to the bit no longer", file=sys.stderr)


def changes(last: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """What decides bits and differs from an entry of `RunDir.starts`, such as "threads 1 -> 2". A value that one of the
    two lacks is no change.
    """
    device, data = here.get("device", last.get("device")), here.get("data", last.get("data"))
    before, now = _decisive_part(last, device, data), _decisive_part(here, device, data)
    return [f"{name} {before[name]} -> {now[name]}" for name in now if name in before and before[name] != now[name]]


def promises_bits(start: dict[str, Any]) -> bool:
    """Whether such a start gives the same bits each time. A CPU does; a GPU does with --deterministic."""
    return start.get("device") != "cuda" or bool(start.get("deterministic"))


def _decisive_part(start: dict[str, Any], device: str | None, data: str | None) -> dict[str, Any]:
    facts = {name: start[name] for name in _DECISIVE.get(device or "", ()) if name in start}
    if "source" in start:
        facts["fastwsol's source"] = start["source"]
    if "versions" in start:
        facts |= decisive_versions(start["versions"], data)
    return facts


def decisive_versions(of: dict[str, str], data: str | None) -> dict[str, str]:
    """Those of `versions()` that decide bits, where the images come from `data`."""
    decoders = DALI_PACKAGES if data == "dali" else ("simplejpeg",)
    decisive = {name: of[name] for name in _DECISIVE_PACKAGES if name in of}
    if decoder := " and ".join(f"{name} {of[name]}" for name in decoders if name in of):
        decisive["decoder"] = decoder
    return decisive


def decisive_source_digest() -> str:
    """The beginning of the SHA-256 of the code that decides a step's bits, without its comments and docstrings."""
    return digest_of_code(_DECISIVE_SOURCES)
