"""python -m fastwsol.train --aug gr --depth 34: train one classifier on the labels of packed shards.

The paper's recipe is the default: 1500 epochs, days on two cores. `--preset fast` is hours there and minutes on a GPU.
The same command over its own unfinished run continues it, on the step, in the middle of an epoch.
"""

import math
import shutil
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from fastwsol import checkpoint
from fastwsol.command import parse_flags, run_command
from fastwsol.config import PRESETS, Config, PresetName, flag
from fastwsol.errors import Interrupted, RunFailure, UserError
from fastwsol.machine import Autocast, Precision, pick_autocast, pick_device, use_threads
from fastwsol.model import PreActResNet, build_model, parameter_groups
from fastwsol.pipeline import Batches, training_plan
from fastwsol.rundir import RunDir, RunInfo
from fastwsol.shards import Shards, open_shards
from fastwsol.tables import print_report, summary_line
from fastwsol.validation import count_hits, evaluate_model, forward_split

PROG = "python -m fastwsol.train"


@dataclass(frozen=True)
class Launch:
    """Where and how the run is carried out: nothing here is part of what the run is."""

    preset: PresetName = "paper"
    """paper: 1500 epochs; fast: tens of epochs under one cycle; demo: minutes, for the synthetic set. Flags that are
    given beside it win"""
    shards: Path = Path("data/shards")
    """folder that pack.py wrote"""
    run: Path | None = None
    """folder of the run; default data/runs/NAME, named after the configuration"""
    resume: Literal["auto", "never", "require"] = "auto"
    """auto: continue this run if it is unfinished; never: refuse to; require: refuse to begin anew"""
    compile: bool = True
    """torch.compile the step"""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N"""
    precision: Precision = "auto"
    """auto: bf16 where the device has it, else fp16 on CUDA and fp32 on a CPU"""
    threads: int = 0
    """threads of the CPU's part of the work; 0: all cores"""
    checkpoint_minutes: float = 5.0
    """minutes between two checkpoints; 0: after every step"""


@dataclass(frozen=True)
class Flags:
    """The command line."""

    config: Config = field(default_factory=Config)
    launch: Launch = field(default_factory=Launch)


def main(arguments: Sequence[str]) -> int:
    """Train the run that `arguments` describe, or continue it; then evaluate it and print the table."""
    flags = read_flags(arguments)
    shards = open_shards(flags.launch.shards)
    train(flags.config, flags.launch, shards, run_folder(flags.config, flags.launch))
    return 0


def read_flags(arguments: Sequence[str]) -> Flags:
    """Flags from the command line over the defaults of the preset that it names."""
    preset: PresetName = "paper"
    for k, argument in enumerate(arguments):
        name, equals, value = argument.partition("=")
        if name == "--preset":
            value = value if equals else "".join(arguments[k + 1 : k + 2])
            if value in PRESETS:
                preset = value  # type: ignore[assignment]
    default = Flags(PRESETS[preset](), Launch(preset=preset))
    return parse_flags(Flags, arguments, PROG, "Train a classifier on image labels alone.", default)


def run_folder(config: Config, launch: Launch) -> Path:
    """The run's folder: the one named, or one named after the configuration."""
    return launch.run if launch.run is not None else Path("data/runs") / config.name()


@dataclass
class State:
    """All that a step changes, and so all that a checkpoint holds."""

    model: PreActResNet
    optimizer: torch.optim.SGD
    scaler: torch.amp.GradScaler
    """Scales the loss under fp16; switched off otherwise."""
    totals: dict[str, Tensor]
    """Running sums on the device since the last progress line, and the first bad step or -1; see `new_totals`."""
    step: int
    """Steps done."""


def new_totals(device: torch.device) -> dict[str, Tensor]:
    """Sums over steps, kept on the device so that no step waits for the host."""
    return {
        "loss": torch.zeros((), dtype=torch.float64, device=device),
        "correct": torch.zeros((), dtype=torch.int64, device=device),
        "steps": torch.zeros((), dtype=torch.int64, device=device),
        "bad_step": torch.full((), -1, dtype=torch.int64, device=device),
    }


def new_state(config: Config, classes: int, autocast: Autocast) -> State:
    """The state before the first step: weights from the seed, momentum of zeros."""
    device = autocast.device
    model = build_model(config.depth, config.stem, classes, config.seed).to(device)
    groups = parameter_groups(model, config.weight_decay, config.backbone_lr_mult)
    optimizer = torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=True, fused=True)
    for parameter in model.parameters():
        optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    scaler = torch.amp.GradScaler(device.type, enabled=autocast.precision == "fp16")
    return State(model, optimizer, scaler, new_totals(device), step=0)


def state_tensors(state: State) -> dict[str, Tensor]:
    """Every tensor of the state by name; a checkpoint is written from these and loaded into them."""
    tensors = {f"model.{name}": tensor for name, tensor in state.model.state_dict().items()}
    for name, parameter in state.model.named_parameters():
        tensors[f"momentum.{name}"] = state.optimizer.state[parameter]["momentum_buffer"]
    return tensors | {f"totals.{name}": tensor for name, tensor in state.totals.items()}


def restore(state: State, saved: checkpoint.Checkpoint, precision: str) -> None:
    """Put a checkpoint into `state`; raises UserError where it was made in another number format."""
    if saved.scalars["precision"] != precision:
        raise UserError(
            f"{saved.path}: was trained in {saved.scalars['precision']} and this would go on in {precision}; "
            f"pass --precision {saved.scalars['precision']}, or another --run"
        )
    for name, tensor in state_tensors(state).items():
        tensor.copy_(saved.tensors[name])
    if state.scaler.is_enabled():
        state.scaler.load_state_dict(saved.scalars["scaler"])
    state.step = saved.step


def save(run: RunDir, state: State, precision: str) -> None:
    """Write a checkpoint, unless a step up to here was bad: then raise BadStep."""
    check_finite(state)
    scalars = {"precision": precision, "scaler": state.scaler.state_dict()}
    checkpoint.save(run.checkpoints, state.step, state_tensors(state), scalars)


class BadStep(Exception):
    """A loss or gradient was NaN or infinite in step `step` (from 0)."""

    def __init__(self, step: int) -> None:
        super().__init__(step)
        self.step = step


def check_finite(state: State) -> None:
    """Wait for the device; raise BadStep if a step so far was bad."""
    if (bad := int(state.totals["bad_step"])) >= 0:
        raise BadStep(bad)


Loss = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""images, labels -> mean cross-entropy, number of images classified rightly."""


def make_loss(model: PreActResNet, autocast: Autocast, compiled: bool) -> Loss:
    """Forward pass and loss as one function, so that they are compiled together."""

    def loss(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        with autocast():
            logits, _ = model(images)
        logits = logits.float()
        return F.cross_entropy(logits, labels), (logits.argmax(1) == labels).sum()

    return torch.compile(loss) if compiled else loss


def train_step(state: State, loss_of: Loss, images: Tensor, labels: Tensor, lr: float) -> None:
    """One step of Nesterov SGD at rate `lr`; nothing in it waits for the device."""
    for group in state.optimizer.param_groups:
        group["lr"] = lr * group["lr_mult"]
    loss, correct = loss_of(images, labels)
    state.scaler.scale(loss).backward()
    finite = torch.isfinite(loss)
    if not state.scaler.is_enabled():  # the scaler skips steps with infinite gradients, and that is no failure
        gradients = [p.grad for p in state.model.parameters() if p.grad is not None]
        finite = finite & torch.isfinite(torch.nn.utils.get_total_norm(gradients, foreach=True))
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.optimizer.zero_grad(set_to_none=True)

    totals = state.totals
    totals["loss"] += loss.detach()
    totals["correct"] += correct
    totals["steps"] += 1
    first_bad = (totals["bad_step"] < 0) & ~finite
    totals["bad_step"].copy_(torch.where(first_bad, state.step, totals["bad_step"]))
    state.step += 1


def train(config: Config, launch: Launch, shards: Shards, folder: Path) -> None:
    """Carry the run in `folder` from where it stands to its end, evaluate it, and print and store the report.

    Raises UserError for a folder or shards that are not this run's, Interrupted after a signal, RunFailure on NaN.
    """
    threads = use_threads(launch.threads)
    device = pick_device(launch.device)
    autocast = pick_autocast(launch.precision, device)
    split = shards.splits["train"]
    if config.batch_size > len(split):
        raise UserError(
            f"--batch-size {config.batch_size}: the training set in {shards.folder} has {len(split)} images"
        )
    total_steps = config.total_steps(len(split))
    info = RunInfo(config, shards.folder, shards.digest, tuple(each.wnid for each in shards.manifest.classes))

    run = RunDir(folder)
    saved = find_own_work(run, info, launch, total_steps)
    state = new_state(config, len(info.classes), autocast)
    if saved is not None:
        restore(state, saved, autocast.precision)
    run.drop_rows_after(state.step)
    run.record_start(state.step, autocast.precision, str(device))
    announce(config, launch, shards, run, state, autocast, total_steps)

    loss_of = make_loss(state.model, autocast, launch.compile and can_compile(device))
    batches = Batches(
        split,
        training_plan(config.seed, len(split), config.batch_size),
        config.batch_size,
        config.augmentation,
        config.seed,
        shards.manifest.mean,
        shards.manifest.std,
        device,
        threads if device.type == "cuda" else max(1, threads // 2),
        start=state.step,
    )
    progress = Progress(config, len(split), total_steps, state.step)
    last_checkpoint = time.monotonic()
    with StopSignals() as stop:
        try:
            while state.step < total_steps:
                batch = next(batches)
                lr = config.learning_rate(state.step, len(split))
                train_step(state, loss_of, batch.images, batch.labels, lr)
                if state.step % config.log_steps == 0 or state.step == total_steps:
                    check_finite(state)
                    run.append_row(progress.row(state, lr))
                if evaluation_is_due(state.step, config, len(split)) and state.step < total_steps:
                    run.append_row(evaluation_row(state, shards, config, autocast, threads))
                    progress.restart_clock(state.step)
                minutes = (time.monotonic() - last_checkpoint) / 60
                if stop.requested or minutes >= launch.checkpoint_minutes or state.step == total_steps:
                    save(run, state, autocast.precision)
                    last_checkpoint = time.monotonic()
                if stop.requested and state.step < total_steps:
                    raise Interrupted(
                        f"step {state.step} of {total_steps} is saved in {folder}; the same command continues"
                    )
        except BadStep as bad:
            raise RunFailure(explain_bad_step(bad.step, config, shards, run)) from None

    report = evaluate_model(state.model, shards, info, autocast, threads, state.step)
    run.append_row({"kind": "eval", "step": state.step, **report["rates"]})
    run.write_report(report)
    print_report(report)


def find_own_work(run: RunDir, info: RunInfo, launch: Launch, total_steps: int) -> checkpoint.Checkpoint | None:
    """Create the run's folder, or find where this same run was left; raises UserError where it is another's or done."""
    if not run.exists:
        if launch.resume == "require":
            raise UserError(f"--resume require: there is no run in {run.folder} to continue")
        run.create(info)
        return None
    there = run.read_info()
    if there.config != info.config:
        ours, theirs = info.config.to_json(), there.config.to_json()
        name = next(name for name in ours if ours[name] != theirs[name])
        raise UserError(
            f"{run.folder}: holds another run ({flag(name)} {theirs[name]}, not {ours[name]}); choose another --run"
        )
    if there.shards_digest != info.shards_digest:
        raise UserError(
            f"{run.folder}: was begun on other shards ({there.shards}), not {info.shards}; choose another --run"
        )
    if run.finished_step() >= total_steps:
        raise UserError(
            f"{run.folder}: this run is finished; look at it with: python -m fastwsol.evaluate {run.folder}, "
            f"or choose another --run or --seed"
        )
    if launch.resume == "never":
        raise UserError(f"--resume never: {run.folder} holds this run, unfinished; leave the flag out to continue it")
    return checkpoint.newest_valid(run.checkpoints)


def evaluation_is_due(step: int, config: Config, train_images: int) -> bool:
    """Whether step `step` (steps done) is the first at or past a multiple of eval_epochs."""

    def evaluations(steps: int) -> int:
        return math.floor(steps * config.batch_size / train_images / config.eval_epochs)

    return evaluations(step) > evaluations(step - 1)


def evaluation_row(state: State, shards: Shards, config: Config, autocast: Autocast, threads: int) -> dict[str, Any]:
    """Evaluate on val in mid-run, print a line, and return the row for metrics.jsonl."""
    split = shards.splits["val"]
    outputs = forward_split(state.model, shards, split, config, autocast, threads)
    rates = {name: counts.rates() for name, counts in count_hits(outputs, split, config.image_size).items()}
    print(f"step {state.step}  val: {summary_line(rates)}", flush=True)
    return {"kind": "eval", "step": state.step, **rates}


def explain_bad_step(step: int, config: Config, shards: Shards, run: RunDir) -> str:
    """One line: which step was not finite, which images were in it, what to do."""
    split = shards.splits["train"]
    ids, _ = training_plan(config.seed, len(split), config.batch_size)(step)
    names = split.names(ids)
    shown = ", ".join(names[:8]) + (f" and {len(names) - 8} more" if len(names) > 8 else "")
    return (
        f"{run.folder}: the loss or a gradient of step {step} was not finite (images {shown}); no checkpoint was made "
        f"of it; lower --lr (now {config.lr}) or use --precision fp32, with another --run"
    )


class Progress:
    """Turns the totals into rows of metrics.jsonl and lines on the console."""

    def __init__(self, config: Config, train_images: int, total_steps: int, step: int) -> None:
        self._config, self._train_images, self._total_steps = config, train_images, total_steps
        self.restart_clock(step)

    def restart_clock(self, step: int) -> None:
        """Count images a second from here on: what lies before was not training."""
        self._clock, self._clock_step = time.perf_counter(), step

    def row(self, state: State, lr: float) -> dict[str, Any]:
        """Read the totals since the last row, print a line, start new totals, return the row."""
        totals, batch_size = state.totals, self._config.batch_size
        steps = int(totals["steps"])
        loss = float(totals["loss"]) / steps
        clas = 100 * int(totals["correct"]) / (steps * batch_size)
        for name in ("loss", "correct", "steps"):
            totals[name].zero_()
        seconds = time.perf_counter() - self._clock
        images_per_second = (state.step - self._clock_step) * batch_size / seconds
        self.restart_clock(state.step)
        epoch = state.step * batch_size / self._train_images
        left = (self._total_steps - state.step) * batch_size / images_per_second
        print(
            f"step {state.step}/{self._total_steps}  epoch {epoch:.2f}  loss {loss:.3f}  train clas {clas:.1f} %  "
            f"lr {lr:.4g}  {images_per_second:.0f} images/s  {duration(left)} left",
            flush=True,
        )
        return {
            "kind": "train",
            "step": state.step,
            "epoch": round(epoch, 4),
            "loss": loss,
            "train_top1_clas": clas,
            "lr": lr,
            "images_per_second": round(images_per_second, 1),
        }


class StopSignals:
    """While it lasts, SIGINT, SIGTERM and SIGUSR1 (a scheduler's warning) ask for a stop instead of killing."""

    _SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)

    def __enter__(self) -> "StopSignals":
        self.requested = False
        self._previous = [signal.signal(each, self._request) for each in self._SIGNALS]
        return self

    def __exit__(self, *exception: object) -> None:
        for each, handler in zip(self._SIGNALS, self._previous, strict=True):
            signal.signal(each, handler)

    def _request(self, number: int, frame: object) -> None:
        if self.requested:  # asked twice: stop now; what was saved last stands
            raise KeyboardInterrupt
        self.requested = True
        print(f"{signal.Signals(number).name}: stopping after this step", flush=True)


def can_compile(device: torch.device) -> bool:
    """Whether torch.compile can work here; says so where it cannot. On a CPU it needs a C++ compiler."""
    if device.type == "cpu" and not any(shutil.which(each) for each in ("g++", "c++", "clang++")):
        print("not compiling: torch.compile needs a C++ compiler (g++) on a CPU; training works without, slower")
        return False
    return True


def announce(
    config: Config, launch: Launch, shards: Shards, run: RunDir, state: State, autocast: Autocast, total_steps: int
) -> None:
    """Say what will be done and what it will cost here, measured on a few images, and what is faster."""
    images = len(shards.splits["train"])
    rate = probe_images_per_second(config, len(shards.manifest.classes), autocast)
    left = (total_steps - state.step) * config.batch_size / rate
    print(
        f"ResNet-{config.depth}, stem {config.stem}, aug {config.aug}, batch {config.batch_size}, "
        f"{config.epochs:g} epochs of {images:,} images in {total_steps:,} steps, "
        f"{autocast.precision} on {autocast.device}"
    )
    print(f"run {run.folder}" + (f", continued at step {state.step:,}" if state.step else ""))
    print(f"cost: about {duration(left)} at {rate:.0f} images/s (a short uncompiled trial on this machine)")
    if left > _LONG_SECONDS:
        cheaper = [] if launch.preset != "paper" else [f"--preset fast ({PRESETS['fast']().epochs:g} epochs)"]
        if config.stem != "C":
            cheaper.append("--stem C (a quarter of the work, coarser maps)")
        if config.depth != 18:
            cheaper.append("--depth 18 (half the work)")
        if autocast.device.type == "cpu":
            cheaper.append("a GPU")
        print(
            f"faster: {', '.join(cheaper)}; it may be stopped at any time, and the same command continues", flush=True
        )


_LONG_SECONDS = 2 * 3600
_PROBE_IMAGES = 32


def probe_images_per_second(config: Config, classes: int, autocast: Autocast) -> float:
    """Time a few training steps of a throw-away network on noise; images a second."""
    count = min(_PROBE_IMAGES, config.batch_size)
    state = new_state(config, classes, autocast)
    loss_of = make_loss(state.model, autocast, compiled=False)
    shape = (count, 3, config.image_size, config.image_size)
    images = torch.zeros(shape, device=autocast.device).contiguous(memory_format=torch.channels_last)
    labels = torch.zeros(count, dtype=torch.int64, device=autocast.device)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        train_step(state, loss_of, images, labels, lr=0.0)
        check_finite(state)
        seconds.append(time.perf_counter() - start)
    return count / min(seconds)


def duration(seconds: float) -> str:
    """A length of time as people say it: 42s, 7m, 3h20m, 12.5 days."""
    if seconds < 90:
        return f"{seconds:.0f}s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f}m"
    if seconds < 48 * 3600:
        return f"{int(seconds // 3600)}h{int(seconds % 3600 // 60):02d}m"
    return f"{seconds / 86400:.1f} days"


if __name__ == "__main__":
    sys.exit(run_command(main))
