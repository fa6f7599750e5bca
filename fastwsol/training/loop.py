"""The steps of a run in this process: batches of the size that is due, and the mode, chosen once and noted in the run's
folder.
"""

import functools
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch

from fastwsol.batches.feed import Feed
from fastwsol.batches.stream import Batches, Inputs, Stream, training_plan
from fastwsol.config import Config
from fastwsol.dataset.shards import Shards, Split
from fastwsol.host.device import Autocast
from fastwsol.host.environment import machine
from fastwsol.host.processes import World
from fastwsol.runs.folder import RunDir, RunInfo, changes
from fastwsol.training.step import State, make_loss, unchanged
from fastwsol.training.step_mode import AskedMode, Choice, Mode, Stepper, choose_mode, possible_modes, tell_failure


@dataclass(frozen=True)
class Job:
    """A run and what it is carried out with, in this process."""

    run: RunDir
    info: RunInfo
    shards: Shards
    """With the images held out apart."""
    asked_mode: AskedMode
    inexact: bool
    """Whether a run may go on where it will not come to the bits of an unbroken one."""
    here: dict[str, Any]
    """How and by what it is carried out, but for the mode."""
    autocast: Autocast
    threads: int
    feed: Feed
    world: World

    @property
    def config(self) -> Config:
        """The run's configuration."""
        return self.info.config

    @property
    def split(self) -> Split:
        """The images trained on."""
        return self.shards.splits["train"]

    @property
    def total_steps(self) -> int:
        """Steps in the whole run."""
        return self.config.total_steps(len(self.split))


def steps_taken(job: Job, state: State) -> Iterator[tuple[float, bool]]:
    """Take the remaining steps, and yield after each its learning rate, and whether nothing was set up in it."""
    mode: Mode | None = None
    for end, size in job.config.phases(len(job.split)):
        if state.step < end:
            mode = yield from steps_of_size(job, state, size, end, mode)


def steps_of_size(
    job: Job, state: State, size: int, end: int, mode: Mode | None
) -> Generator[tuple[float, bool], None, Mode]:
    """`steps_taken` up to step `end`, on images of `size` pixels a side, in `mode` if one has been chosen; returns it.

    What was captured goes at its end.
    """
    batches = training_batches(job, size, state.step)
    taken = batches.take()
    make = functools.partial(make_stepper, job, state, batches, taken)
    mode, stepper = begin(job, state, make, taken) if mode is None else made(job, make, mode)
    warm = False
    while state.step < end:
        if warm:
            taken = batches.take()
        lr = job.config.learning_rate(state.step, len(job.split))
        stepper.step(taken, lr)
        yield lr, warm
        warm = True
    return mode


def made(job: Job, make: Callable[[Mode], Stepper], mode: Mode) -> tuple[Mode, Stepper]:
    """A stepper in `mode`; where that was chosen and cannot be captured now, of larger images, in the same uncaptured,
    with a warning.
    """
    try:
        return mode, make(mode)
    except RuntimeError as error:
        if "captured" not in mode or job.asked_mode != "auto":
            raise
        tell_failure(mode, error)
        fallback: Mode = "compiled" if mode == "compiled-captured" else "eager"
        return fallback, make(fallback)


def make_stepper(job: Job, state: State, batches: Batches, sample: Inputs, mode: Mode) -> Stepper:
    """What takes steps in `mode`."""
    compiled = "compiled" in mode
    loss_of = make_loss(state.model, job.autocast, compiled, job.world, job.config.label_smoothing)
    stepper = Stepper(mode, state, loss_of, batches, sample)
    if job.world.size > 1:
        # After a first pass DistributedDataParallel lays gradients out anew, by the order they came in. In which order
        # three processes or more are summed depends on the place, so a run taken up has to be past that too.
        with unchanged(state):
            stepper.step(sample, 0.0)
    return stepper


def training_batches(job: Job, size: int, start: int) -> Batches:
    """This process's batches of images of `size` pixels a side from step `start` on."""
    config, world, split = job.config, job.world, job.split
    stream = Stream(
        split,
        training_plan(config.seed, len(split), config.batch_size, world.rank, world.size),
        config.batch_size // world.size,
        replace(config.augmentation, image_size=size),
        config.seed,
        job.shards.manifest.mean,
        job.shards.manifest.std,
    )
    # On a CPU the network needs the cores more.
    threads = job.threads if job.autocast.device.type == "cuda" else max(1, job.threads // 2)
    return job.feed.batches(stream, start, threads)


def carried_out(
    autocast: Autocast, threads: int, deterministic: bool, feed: Feed, split: Split, world: World
) -> dict[str, Any]:
    """How a run is carried out, by all processes, as its folder notes it; of what they do not do alike a list."""
    device = autocast.device
    mine: dict[str, Any] = {"threads": threads, "views": feed.views_by(split), "processor": machine()["processor"]}
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
        "data": feed.data(split),
        **same_or_list,
    }


def begin(job: Job, state: State, make: Callable[[Mode], Stepper], sample: Inputs) -> tuple[Mode, Stepper]:
    """Choose how the steps are carried out, say so, and note in the run's folder that work begins, and how."""
    world, device = job.world, job.autocast.device
    stepper = None
    if job.asked_mode == "auto":
        possible = world.values_of_all(possible_modes(device, world.size))
        modes = [mode for mode in possible[0] if all(mode in each for each in possible)]
        choice = world.value_of_lead(chosen_before(job.run, state.step, job.here, modes) if world.leads else None)
        if choice is None:
            choice, stepper = choose_mode(modes, make, state, sample, job.total_steps - state.step, world)
        chosen = {"step_mode": choice.mode}
        world.lead_does(lambda: job.run.check_start(state.step, chosen, job.inexact))
    else:
        choice = Choice(job.asked_mode, {})
    mode = {"step_mode": choice.mode, "step_mode_seconds": choice.seconds}
    world.lead_does(lambda: job.run.record_start(state.step, job.here | mode))
    if world.leads:
        compiles = stepper is None and "compiled" in choice.mode
        print(f"{choice}" + ("; compiling takes up to a minute or so" if compiles else ""), flush=True)
    return made(job, make, choice.mode) if stepper is None else (choice.mode, stepper)


def chosen_before(run: RunDir, step: int, here: dict[str, Any], modes: list[Mode]) -> Choice | None:
    """Which of `modes` took the run to `step`, where nothing else that decides bits has changed: it gives the same."""
    last = run.last_start(step)
    if last is None or changes(last, here) or last.get("step_mode") not in modes:
        return None
    return Choice(last["step_mode"], last["step_mode_seconds"])
