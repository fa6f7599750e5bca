"""The training loop: a straight line that one reads downward."""

import time
from typing import Any

from fastwsol.batches.stream import Inputs
from fastwsol.evaluation.forward import forward_split
from fastwsol.evaluation.of_network import rates_of
from fastwsol.evaluation.table_cells import summary_line
from fastwsol.host.errors import Interrupted
from fastwsol.host.stop_signals import StopSignals
from fastwsol.host.world import SharedFlags, World
from fastwsol.localizer.localizing import LocalizingModel
from fastwsol.network.classifier import Classifier
from fastwsol.training.course import Course
from fastwsol.training.job import Job
from fastwsol.training.progress import Progress
from fastwsol.training.resume import save
from fastwsol.training.step import State, check_finite, remember
from fastwsol.training.step_mode import Stepper
from fastwsol.training.stepper import StepperMaker


def train_to_the_end(job: Job, state: State, course: Course, stop: StopSignals) -> None:
    """Take the remaining steps of a course: progress lines, evaluations and checkpoints as they fall due.

    Raises BadStep where a loss or gradient was not finite, Interrupted, with the state saved, when `stop` was asked.
    """
    log, world, run = job.launch.log, job.world, job.run
    steppers = StepperMaker(job, state, course)
    wishes = SharedFlags(world)
    progress = Progress(course, len(job.split), state.step)
    last_checkpoint = time.monotonic()
    make_up_evaluation(job, state, course)
    for end, size in course.sizes:
        if state.step >= end:
            continue
        batches = course.batches(size, state.step)
        inputs = batches.take()
        stepper = steppers.stepper(batches, inputs)
        set_up = True  # in this iteration: its time is not a step's
        while state.step < end:
            if not set_up:
                inputs = batches.take()
            lr = course.rate(state.step)
            take_step(job, state, course, stepper, inputs, stop if set_up else None)
            last = state.step == course.last

            if state.step % log.log_steps == 0 or last:
                settle(state, world)
                world.lead_does(lambda lr=lr: run.append_row(progress.row(state, lr)))  # type: ignore[misc]
                state.totals.begin_line()
            if set_up:
                progress.restart_clock(state.step)
                set_up = False

            if (network := evaluated_now(job, state, course)) is not None:
                settle(state, world)
                evaluate_in_mid_run(job, state, network)
                progress.restart_clock(state.step)

            save_is_due = world.leads and time.monotonic() - last_checkpoint >= 60 * job.launch.checkpoint_minutes
            if save_is_due:  # from here on: the wish may take a step to be granted, and is not to be repeated
                last_checkpoint = time.monotonic()
            stop_now, save_now = wishes.agree(stop.requested, save_is_due)
            if stop_now or save_now or last:
                settle(state, world)
                world.lead_does(lambda: save(run, job.info, state, job.process.autocast.precision))
            if stop_now and state.step < job.timetable.total_steps:
                raise world.of_lead(_interrupted(job, state))
        del inputs, batches, stepper  # before the next size's: a GPU need not hold what was captured for both


def take_step(
    job: Job, state: State, course: Course, stepper: Stepper, inputs: Inputs, stop: StopSignals | None
) -> None:
    """A step. stop: given with a stepper's first, which may compile it. Raises Interrupted then, with the state of
    before saved, where a signal has ended the compiler too: a terminal sends it to all processes of a group.
    """
    lr = course.rate(state.step)
    if stop is None:
        stepper.step(inputs, lr)
        return
    put_back = remember(state)
    try:
        stepper.step(inputs, lr)
    except RuntimeError:
        if not stop.requested or job.world.size > 1:
            raise
        put_back()
        if state.step == course.first:  # what was before it is saved, or there is nothing
            where = f"{job.run.folder}: before step {state.step + 1:,}"
            raise Interrupted(f"{where}; the same command goes on") from None
        settle(state, job.world)
        save(job.run, job.info, state, job.process.autocast.precision)
        raise _interrupted(job, state) from None


def settle(state: State, world: World) -> None:
    """Add up the totals of all processes. Raises BadStep where a step was not finite."""
    state.totals.gather(world)
    check_finite(state)


def _interrupted(job: Job, state: State) -> Interrupted:
    step = f"step {state.step} of {job.timetable.total_steps}"
    return Interrupted(f"{step} is saved in {job.run.folder}; the same command continues")


def evaluate_in_mid_run(job: Job, state: State, network: Classifier) -> None:
    """Evaluate in mid-run, and store what was found. Raises Interrupted, with the state saved, where it is left; the
    run goes on with this evaluation.
    """
    try:
        row = evaluation_row(job, state.step, network)
    except Interrupted:
        save(job.run, job.info, state, job.process.autocast.precision)
        raise _interrupted(job, state) from None
    job.world.lead_does(lambda: job.run.append_row(row))


def make_up_evaluation(job: Job, state: State, course: Course) -> None:
    """Evaluate where the run goes on from an evaluation that was left."""

    def is_missing() -> bool:
        return not any(row["kind"] == "eval" and row["step"] == state.step for row in job.run.rows())

    network = evaluated_now(job, state, course)
    if network is not None and job.world.from_lead(is_missing):
        evaluate_in_mid_run(job, state, network)


def evaluated_now(job: Job, state: State, course: Course) -> Classifier | None:
    """The network, where an evaluation is due after the steps that are done. Behind the last step the run evaluates
    anyway.
    """
    return course.evaluated if 0 < state.step < course.last and evaluation_is_due(job, state.step) else None


def evaluation_is_due(job: Job, step: int) -> bool:
    """Whether step `step` (steps done) is the first at or past a multiple of eval_epochs."""
    timetable, epochs = job.timetable, job.launch.log.eval_epochs
    return timetable.times_passed(step, epochs) > timetable.times_passed(step - 1, epochs)


def evaluation_row(job: Job, step: int, network: Classifier) -> dict[str, Any]:
    """Evaluate on the run's split in mid-run, after `step` steps; print a line, and return metrics.jsonl's row."""
    split = job.setup.shards.splits[job.config.eval_split]
    outputs = forward_split(LocalizingModel(network), split, job.setup)
    rates = rates_of(outputs, split, job.config.views)
    if job.world.leads:
        print(f"step {step}  {split.name}: {summary_line(rates)}", flush=True)
    return {"kind": "eval", "split": split.name, "step": step, **rates}
