"""How steps are carried out: eager, compiled, captured as a CUDA graph, or both. All run the same step; which of them
is the fastest here is measured, on the run's own batch.
"""

import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

import torch

from fastwsol.batches.stream import Batches, Inputs
from fastwsol.host.errors import Interrupted, UserError
from fastwsol.host.stop_signals import never
from fastwsol.host.world import ALONE, World
from fastwsol.training.cuda_graph import Captured
from fastwsol.training.step import Loss, State, change, set_rate, unchanged

Mode = Literal["eager", "compiled", "captured", "compiled-captured"]
AskedMode = Literal["auto", "eager", "compiled", "captured", "compiled-captured"]

TIMED_STEPS = 3
_TIMED_SECONDS = 0.2
_COMPILE_SECONDS = {"cpu": 60.0, "cuda": 20.0}
"""What compiling costs, by device; on an H200 with 16 cores 11 to 19 s were measured (bench/results/h200)."""
_CAPTURE_SECONDS = 2.0
_HOPED_GAIN = {"cpu": 0.05, "cuda": 0.3}
"""The share of a step that compiling can be expected to save at best, by device. A trial must promise more than it
costs.
"""


class Stepper:
    """Takes the steps of a run, in one mode, on one stream's batches."""

    def __init__(self, mode: Mode, state: State, loss_of: Loss, batches: Batches, sample: Inputs) -> None:
        """`loss_of`: compiled where the mode is. `sample`: what `batches` gave for a step, to warm up on. The state
        stays as it is.
        """
        self.state = state

        def work(inputs: Inputs) -> None:
            batch = batches.show(inputs)
            change(state, loss_of, batch.images, batch.labels, batch.extra)

        self._work: Callable[[Inputs], None] = work
        if "captured" in mode:
            with unchanged(state):
                self._work = Captured(work, sample)

    def step(self, inputs: Inputs, lr: float) -> None:
        """One step at rate `lr`; nothing in it waits for the device."""
        set_rate(self.state, lr)
        self._work(inputs)
        self.state.step += 1


@dataclass(frozen=True)
class Choice:
    """A mode, and the measurement that led to it."""

    mode: Mode
    seconds: dict[Mode, float]
    """Of a step, in each mode tried; empty where nothing was measured."""

    def __str__(self) -> str:
        rounded = {mode: float(f"{1000 * seconds:.3g}") for mode, seconds in self.seconds.items()}
        times = ", ".join(f"{mode} {milliseconds:,g} ms" for mode, milliseconds in rounded.items())
        return f"step: {self.mode}" + (f" (measured: {times})" if times else "")


def refuse_impossible(asked: AskedMode, device: torch.device, processes: int) -> None:
    """Raise UserError where the mode asked for cannot be had."""
    if asked == "auto" or asked in possible_modes(device, processes):
        return
    if "captured" in asked:
        what = "a CUDA device" if device.type != "cuda" else "to be the only process"
        raise UserError(f"--step {asked}: needs {what}; use --step auto")
    raise UserError(
        f"--step {asked}: torch.compile needs a compiler (g++, for a GPU gcc); install one, or use --step auto"
    )


def can_compile(device: torch.device) -> bool:
    """Whether torch.compile can work here: it needs a C++ compiler on a CPU, one of C for a GPU."""
    compilers = ("g++", "c++", "clang++") if device.type == "cpu" else ("gcc", "cc", "clang")
    return any(shutil.which(each) for each in compilers)


def possible_modes(device: torch.device, processes: int) -> list[Mode]:
    """The modes that work here. A graph needs a GPU and a single process: several exchange gradients within a step."""
    compiles = can_compile(device)
    return [
        mode
        for mode in get_args(Mode)
        if (compiles or "compiled" not in mode)
        and (device.type == "cuda" or "captured" not in mode)
        and (processes == 1 or "captured" not in mode)
    ]


def choose_mode(
    modes: list[Mode],
    make: Callable[[Mode], Stepper],
    state: State,
    sample: Inputs,
    steps_left: int,
    world: World,
    gives_up: Callable[[], bool] = never,
    sizes_left: int = 1,
) -> tuple[Choice, Stepper]:
    """Time a few steps in each of `modes` whose trial the steps left can repay; the fastest, and its stepper. `state`
    stays as it is. sizes_left: of images, each of which is compiled. Several processes time together and go by the
    leading one's clock. Raises Interrupted, without a message, where `gives_up` returns true in any of them.
    """

    def stop_where_asked() -> None:
        if any(world.values_of_all(gives_up())):
            raise Interrupted

    device = state.totals.step.device
    seconds: dict[Mode, float] = {}
    fastest: tuple[Mode, Stepper] | None = None
    for mode in modes:
        if seconds and not _worth_a_trial(mode, min(seconds.values()), steps_left, sizes_left, device):
            continue
        stop_where_asked()
        if "compiled" in mode and world.leads:
            print(f"trying the step {mode}: that takes up to a minute or so", flush=True)
        try:
            stepper = make(mode)
            seconds[mode] = world.value_of_lead(
                _seconds_a_step(stepper, state, sample, device, world, stop_where_asked)
            )
        except RuntimeError as error:  # of a compiler, or of an operation that this version of torch cannot capture
            if world.size == 1:
                stop_where_asked()  # a signal to all processes of a group ends the compiler
            if not seconds or world.size > 1:
                raise
            tell_failure(mode, error)
            continue
        if fastest is None or seconds[mode] < seconds[fastest[0]]:
            fastest = mode, stepper
    assert fastest is not None
    return Choice(fastest[0], seconds), fastest[1]


def tell_failure(mode: Mode, error: Exception) -> None:
    """Warn that a step cannot be carried out in `mode`; of several errors the first says why."""
    first: BaseException = error
    while first.__context__ is not None:
        first = first.__context__
    print(f"warning: the step cannot be {mode} here ({(str(first).splitlines() or [''])[0]})", file=sys.stderr)


def _worth_a_trial(mode: Mode, best: float, steps_left: int, sizes_left: int, device: torch.device) -> bool:
    """Whether what `mode` may save of steps that take `best` seconds so far is more than what trying and taking it
    costs.
    """
    compiling, capturing = "compiled" in mode, "captured" in mode
    made = _COMPILE_SECONDS[device.type] * compiling + _CAPTURE_SECONDS * capturing
    cost = made * sizes_left + TIMED_STEPS * best
    return cost < _HOPED_GAIN[device.type] * best * steps_left


def _seconds_a_step(
    stepper: Stepper,
    state: State,
    sample: Inputs,
    device: torch.device,
    world: World = ALONE,
    stop_where_asked: Callable[[], None] = lambda: None,
) -> float:
    """The shortest of some steps, in seconds. Every process takes as many. The first step is not counted, since it
    compiles. stop_where_asked: is called behind each step.
    """

    def seconds() -> float:
        start = time.perf_counter()
        stepper.step(sample, 0.0)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        took = time.perf_counter() - start
        stop_where_asked()
        return took

    with unchanged(state):
        seconds()
        times = [seconds() for _ in range(TIMED_STEPS)]
        more = world.value_of_lead(int(_TIMED_SECONDS / min(times)))  # the steps of all wait for each other
        times += [seconds() for _ in range(more)]
    return min(times)
