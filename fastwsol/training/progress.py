"""What a run says while it goes: its cost before it starts, then a line and a row now and then."""

import math
import sys
import time
from collections.abc import Callable
from typing import Any

import torch

from fastwsol.host.device import Autocast
from fastwsol.host.errors import RunFailure
from fastwsol.host.words import duration
from fastwsol.network.networks import network_name
from fastwsol.training.course import Course
from fastwsol.training.job import Job
from fastwsol.training.presets import PRESETS
from fastwsol.training.step import ClassifierState, State, check_finite, make_loss, new_state, train_step

_LEAST_LOSS_SCALE = 2.0**-10
"""Below it the loss scaler has halved 26 times and more: the gradients are not finite, whatever the scale."""


class Progress:
    """Turns the totals into rows of metrics.jsonl and lines on the console."""

    def __init__(self, course: Course, train_images: int, step: int) -> None:
        self._course, self._train_images = course, train_images
        self.restart_clock(step)

    def restart_clock(self, step: int) -> None:
        """Count images a second from here on: what lies before was not training."""
        self._clock, self._clock_step = time.perf_counter(), step

    def row(self, state: State, lr: float) -> dict[str, Any]:
        """Read the totals since the last row, print a line, return the row.

        Raises RunFailure where fp16 training has come to a halt.
        """
        totals, batch_size, course = state.totals, self._course.batch_size, self._course
        if state.scaler.is_enabled() and state.scaler.get_scale() < _LEAST_LOSS_SCALE:
            raise RunFailure(
                f"step {state.step}: every step's gradients overflow fp16; use --precision fp32, or lower --lr"
            )
        images = int(totals.steps) * batch_size
        loss = float(totals.loss) / images
        clas = 100 * int(totals.counts["correct"]) / images
        seconds = time.perf_counter() - self._clock
        images_per_second = (state.step - self._clock_step) * batch_size / seconds
        self.restart_clock(state.step)
        epoch = (state.step - course.first) * batch_size / self._train_images
        left = self._images_left(state.step) * batch_size / images_per_second
        skipped = None if totals.skipped is None else int(totals.skipped)
        # The last batch may be more than what is left of the epochs.
        told = "" if course.epochs is None else f"epoch {min(epoch, course.epochs):.2f}  "
        print(
            f"{course.name}step {state.step - course.first}/{course.last - course.first}  {told}"
            f"loss {loss:.3f}  train clas {clas:.1f} %  "
            f"lr {lr:.4g}  {images_per_second:.0f} images/s  {duration(left)} left"
            + (f"  {skipped} skipped, whose gradients overflowed" if skipped else ""),
            flush=True,
        )
        return {
            "kind": course.kind,
            "step": state.step,
            "epoch": round(epoch, 4),
            "loss": loss,
            "train_top1_clas": clas,
            "lr": lr,
            "images_per_second": float(f"{images_per_second:.5g}"),
            **({"skipped_steps": skipped} if skipped is not None else {}),
        }

    def _images_left(self, step: int) -> float:
        """The steps behind `step`, counted in steps of images as large as the last: larger ones take longer."""
        left, first, side = 0.0, step, None
        for end, each in self._course.sizes:
            if end >= step:
                side = side or each  # of the last step
                left += (end - first) * (each / side) ** 2
                first = end
        return left


def announce(job: Job, state: State, offer_fast: bool, continued: bool) -> None:
    """Say what will be done and what it will cost here, measured on a few images, and what is faster.

    continued: whether the run goes on from a checkpoint of its own. All processes measure together, and the leading one
    says it.
    """
    config, shards, autocast, world = job.config, job.setup.shards, job.process.autocast, job.world
    images, batch_size = len(job.split), config.optimizer.batch_size
    share = batch_size // world.size
    classifier_steps = job.timetable.classifier_steps
    is_whole = (
        config.network.train_part == "all" and state.step < classifier_steps
    )  # else what a step costs depends on what is kept of the frozen part
    rate = math.inf
    if is_whole:
        throw_away = new_state(config, len(shards.manifest.classes), autocast)
        own_rate = mean_rate(
            job.timetable.phases, state.step, lambda side: probe_seconds(throw_away, side, autocast, share)
        )
        rate = float(world.add_up(torch.tensor(own_rate, dtype=torch.float64)))
    if not world.leads:
        return
    seconds = max(0, classifier_steps - state.step) * batch_size / rate
    processes = f", {world.size} processes of {share} images a step" if world.size > 1 else ""
    print(
        f"{network_name(config.network)}, aug {config.views.aug}, batch {batch_size}, "
        f"{config.schedule.epochs:g} epochs of {images:,} images in {classifier_steps:,} steps, "
        f"{autocast.precision} on {autocast.device.type}{processes}"
    )
    if (head := config.localizer).trains_mask:
        print(f"and behind it a mask head, batch {head.head_batch_size}, in {head.head_steps:,} steps")
    if "holdout" in shards.splits:
        per_class = config.data.holdout
        print(f"held out and evaluated on: {len(shards.splits['holdout']):,} images of train, {per_class} a class")
    elif config.eval_split != "val":
        print(f"evaluated on: {len(shards.splits[config.eval_split]):,} images of {config.eval_split}, and not on val")
    if share < _LEAST_SHARE and world.size > 1:
        print(
            f"warning: each process has {share} images a step, and batch normalisation learns from those alone; use "
            f"fewer processes, or a larger --batch-size",
            file=sys.stderr,
        )
    print(f"run {job.run.folder}" + (f", continued at step {state.step:,}" if continued else ""))
    if is_whole:
        what = "the classifier: " if config.localizer.trains_mask else ""
        print(f"cost: {what}about {duration(seconds)} at {rate:.0f} images/s, by a short uncompiled trial of the step")
    if seconds > _LONG_SECONDS:
        fast = PRESETS["fast"]().config.schedule
        cheaper = {
            f"--preset fast ({fast.epochs:g} epochs)": offer_fast and config.schedule.epochs > fast.epochs,
            "--stem C (a quarter of the work, coarser maps)": config.network.is_ours and config.network.stem != "C",
            "--depth 18 (half the work)": config.network.is_ours and config.network.depth != 18,
            "a GPU": autocast.device.type == "cpu",
        }
        if any(cheaper.values()):
            print(f"faster: {', '.join(name for name, is_cheaper in cheaper.items() if is_cheaper)}")
        print("it may be stopped at any time, and the same command continues", flush=True)


_LONG_SECONDS = 2 * 3600
_LEAST_SHARE = 16
_PROBE_IMAGES_ON_CPU = 32


def mean_rate(sizes: list[tuple[int, int]], step: int, seconds_of: Callable[[int], float]) -> float:
    """Images a second from `step` on, over images of all sides. sizes: as of a course; seconds_of: measures the seconds
    of an image of a side. The smallest and the largest are measured; between them the time follows the pixels.
    """
    steps_of: dict[int, int] = {}
    for end, side in sizes:
        if end > step:
            steps_of[side], step = end - step, end
    smallest, largest = min(steps_of), max(steps_of)
    seconds = {side: seconds_of(side) for side in {smallest, largest}}
    slope = (seconds[largest] - seconds[smallest]) / max(1, largest**2 - smallest**2)
    total = sum(count * (seconds[smallest] + slope * (side**2 - smallest**2)) for side, count in steps_of.items())
    return sum(steps_of.values()) / total


def probe_seconds(state: ClassifierState, side: int, autocast: Autocast, batch_size: int) -> float:
    """Time a few training steps of a throw-away network on a batch of noise in this process; the seconds of an image.
    (Of a blank image the gradients of some networks are not finite.)
    """
    # A GPU's rate depends on the batch; a CPU's hardly does, and a small one says so sooner.
    on_cpu = autocast.device.type == "cpu"
    count = min(_PROBE_IMAGES_ON_CPU, batch_size) if on_cpu else batch_size
    loss_of = make_loss(state.model, autocast, compiled=False)
    shape = (count, 3, side, side)
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    images = noise.to(autocast.device).contiguous(memory_format=torch.channels_last)
    labels = torch.zeros(count, dtype=torch.int64, device=autocast.device)
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        train_step(state, loss_of, images, labels, lr=0.0)
        check_finite(state)
        seconds.append(time.perf_counter() - start)
    return min(seconds) / count
