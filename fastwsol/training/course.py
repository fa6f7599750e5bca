"""The two parts of a run, each a course of steps: the classifier's, and that of the mask head behind it."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from fastwsol.batches.drawn_ahead import BatchesWithExtra, DrawExtra
from fastwsol.batches.stream import Batches, BatchPlan, Stream, training_plan
from fastwsol.config import Augmentation, Config
from fastwsol.draws import draw_drops
from fastwsol.features.feature_batches import FrozenPart
from fastwsol.localizer.box_supervision import boxes_of_few, boxes_of_views, plan_with_boxes
from fastwsol.localizer.mask_training import MaskLoss, MaskTraining
from fastwsol.network.attention_dropout import PLACES
from fastwsol.network.classifier import Classifier
from fastwsol.timetable import one_cycle
from fastwsol.training.frozen_part import mask_views
from fastwsol.training.job import Job
from fastwsol.training.step import ClassifierState, Loss, as_loss, make_loss


@dataclass(frozen=True)
class Course:
    """Which steps are taken, on which batches, at which rates, for which loss."""

    name: str
    """In messages, before the step; empty for the classifier."""
    kind: Literal["train", "head"]
    """Of its rows in metrics.jsonl."""
    first: int
    """Steps of the run done before it."""
    last: int
    """And after it."""
    sizes: list[tuple[int, int]]
    """Sides of the network's square, each with the step before which it ends."""
    batch_size: int
    rate: Callable[[int], float]
    """The learning rate of a step."""
    batches: Callable[[int, int], Batches]
    """This process's batches of images of a side from a step on."""
    loss: Callable[[bool], Loss]
    """The loss, compiled where asked."""
    epochs: float | None
    """How many there are; None: it has steps alone."""
    evaluated: Classifier | None
    """The network that evaluations in its course look at; None: there are none."""
    environment: dict[str, Any]
    """What decides the bits of its steps here, but for the mode: an entry of environment.json."""


def classifier_course(job: Job, state: ClassifierState, frozen: FrozenPart | None) -> Course:
    """The course of the classifier, on the features of the `frozen` part, where it has one."""
    config, timetable = job.config, job.timetable
    drop_rate = config.network.attention_dropout

    def drops(ids: NDArray[np.int64], epochs: NDArray[np.int64]) -> NDArray[np.bool_]:
        return draw_drops(drop_rate, PLACES, config.seed, ids, epochs)

    def batches(size: int, start: int) -> Batches:
        batch_size = config.optimizer.batch_size
        plan = training_plan(config.seed, len(job.split), batch_size, job.world.rank, job.world.size)
        stream = _stream(job, replace(config.views, image_size=size), batch_size, plan)
        return _batches(job, stream, start, frozen, drops if drop_rate else None)

    def loss(compiled: bool) -> Loss:
        autocast, smoothing = job.process.autocast, config.optimizer.label_smoothing
        return make_loss(state.model, autocast, compiled, job.world, smoothing)

    return Course(
        name="",
        kind="train",
        first=0,
        last=timetable.classifier_steps,
        sizes=timetable.phases,
        batch_size=config.optimizer.batch_size,
        rate=timetable.learning_rate,
        batches=batches,
        loss=loss,
        epochs=config.schedule.epochs,
        evaluated=state.evaluated,
        environment=job.environment | (frozen.environment if frozen is not None else {}),
    )


def mask_course(job: Job, training: MaskTraining, frozen: FrozenPart) -> Course:
    """The course of the mask head, on the features of the `frozen` part."""
    config = job.config
    settings, first, last = config.localizer, job.timetable.classifier_steps, job.timetable.total_steps
    views = mask_views(config.views)
    boxes = boxes_of_few(job.split, settings.boxes_per_class, views.fit) if settings.boxes_per_class else None
    plan, share = head_plan(config, len(job.split), boxes, job.world.rank, job.world.size)

    def batches(size: int, start: int) -> Batches:
        stream = _stream(job, views, settings.head_batch_size, plan)
        extra = boxes_of_views(boxes, stream) if boxes is not None else None
        return _batches(job, stream, start - first, frozen, extra)

    def loss(compiled: bool) -> Loss:
        return as_loss(MaskLoss(training, job.process.autocast, share), job.process.autocast, compiled, job.world)

    return Course(
        name="mask head ",
        kind="head",
        first=first,
        last=last,
        sizes=[(last, views.image_size)],
        batch_size=settings.head_batch_size,
        rate=lambda step: settings.head_lr * one_cycle((step - first + 1) / (settings.head_steps + 1)),
        batches=batches,
        loss=loss,
        epochs=None,
        evaluated=None,
        environment=job.environment | frozen.environment,
    )


def head_plan(
    config: Config, count: int, boxes_N4: NDArray[np.float32] | None, rank: int = 0, world_size: int = 1
) -> tuple[BatchPlan, float]:
    """Which of `count` images a head's batches hold, and the share of these that has boxes (1 without any). boxes: see
    `boxes_of_few`.
    """
    batch_size = config.localizer.head_batch_size
    if boxes_N4 is None:
        return training_plan(config.seed, count, batch_size, rank, world_size), 1.0
    return plan_with_boxes(config.seed, boxes_N4, batch_size, rank, world_size)


def _stream(job: Job, views: Augmentation, batch_size: int, plan: BatchPlan) -> Stream:
    """This process's part of a course's batches, whose images are those of its `plan`."""
    return Stream(job.split, plan, batch_size // job.world.size, views, job.config.seed, job.setup.statistics)


def _batches(job: Job, stream: Stream, start: int, frozen: FrozenPart | None, extra: DrawExtra | None) -> Batches:
    """The batches of a stream from its step `start` on: of images, or of a frozen part's features; with what else is
    drawn of each.
    """
    # On a CPU the network needs the cores more.
    threads = job.process.threads if job.process.autocast.device.type == "cuda" else max(1, job.process.threads // 2)
    if frozen is not None:
        batches = frozen.batches(stream, job.setup.feed, start, threads)
    else:
        batches = job.setup.feed.batches(stream, start, threads)
    if extra is None:
        return batches
    return BatchesWithExtra(batches, extra, stream, job.process.autocast.device, start)
