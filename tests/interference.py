"""What tests do to a command in this process: they act around a training's steps, fill the disk, or end it at a write.

Tests that need none of our insides use the operating system's calls and torch's hooks; the one inside is a step.
"""

import errno
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from fastwsol.training.step import State
from fastwsol.training.step_mode import Stepper

Act = Callable[[State], object]


class Killed(BaseException):
    """Stands for a kill: nothing catches it."""


@contextmanager
def around_steps(before: Act | None = None, after: Act | None = None) -> Iterator[None]:
    """Trainings call `before` and `after` with the state at each of their steps; `state.step` counts steps done."""
    step = Stepper.step

    def acted_around(stepper: Stepper, *inputs) -> None:
        if before is not None:
            before(stepper.state)
        step(stepper, *inputs)
        if after is not None:
            after(stepper.state)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stepper, "step", acted_around)
        yield


def signalled_after(steps: int, signal_number: int):
    """Trainings get a signal when so many steps are done, as a scheduler would send it."""
    return around_steps(after=lambda state: state.step == steps and os.kill(os.getpid(), signal_number))


@contextmanager
def compiler_ended_by_a_signal() -> Iterator[None]:
    """The first step of a training's second stepper ends as where Ctrl-C reaches the compiler too, in mid-step."""
    step, steppers = Stepper.step, []

    def ended(stepper: Stepper, *inputs) -> None:
        if stepper not in steppers:
            steppers.append(stepper)
            if len(steppers) == 2:
                for parameter in stepper.state.model.parameters():
                    parameter.data.add_(1)
                os.kill(os.getpid(), signal.SIGINT)
                raise RuntimeError("Command 'g++' died with <Signals.SIGINT: 2>.")
        step(stepper, *inputs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stepper, "step", ended)
        yield


@contextmanager
def bad_images(bad_step: int, value: float = float("nan")) -> Iterator[None]:
    """A value of the first image of step `bad_step` (from 0) is `value`."""

    def spoil(_module: torch.nn.Module, inputs: tuple[torch.Tensor]) -> torch.Tensor:
        images = inputs[0].clone()
        images[0, 0, 0, 0] = value
        return images

    hooks = []

    def before(state: State) -> None:
        if state.step == bad_step:
            hooks.append(state.model.register_forward_pre_hook(spoil))

    def after(_state: State) -> None:
        while hooks:
            hooks.pop().remove()

    with around_steps(before, after):
        yield


@contextmanager
def full_disk(name: str = "") -> Iterator[None]:
    """The system has no space for files whose names begin with `name`: it says so when they are made durable."""
    fsync = os.fsync

    def full(descriptor: int) -> None:
        if Path(f"/proc/self/fd/{descriptor}").readlink().name.startswith(name):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(descriptor)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", full)
        yield


@contextmanager
def ended_at_write(
    name: str, number: int = 0, put_in_place: bool = False, end: type[BaseException] = Killed
) -> Iterator[None]:
    """Raise `end` at write `number` (from 0) of the file `name`: before it is in its place, or just after."""
    replace, seen = os.replace, [0]

    def replaced(source: Path, target: Path) -> None:
        ends = Path(target).name == name and seen[0] == number
        seen[0] += Path(target).name == name
        if ends and not put_in_place:
            raise end
        replace(source, target)
        if ends:
            raise end

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "replace", replaced)
        yield
