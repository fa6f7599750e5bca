"""The one place where steppers are made. A stepper takes a run's steps on images of one size, in the mode chosen for
the run.
"""

from typing import Any

from fastwsol.batches.stream import Batches, Inputs
from fastwsol.host.errors import Interrupted
from fastwsol.runs.folder import RunDir
from fastwsol.training.course import Course
from fastwsol.training.job import Job
from fastwsol.training.resume import changes, check_environment
from fastwsol.training.step import State, unchanged
from fastwsol.training.step_mode import Choice, Mode, Stepper, choose_mode, possible_modes, tell_failure


class StepperMaker:
    """Makes the steppers of a course. The mode is chosen with the first of them, once, and noted in the run's
    folder.
    """

    def __init__(self, job: Job, state: State, course: Course) -> None:
        self._job, self._state, self._course = job, state, course
        self._mode: Mode | None = None

    def stepper(self, batches: Batches, sample: Inputs) -> Stepper:
        """The stepper for `batches`; `sample` is what they gave for one step. The state stays as it is.

        Where images are larger than before and the mode that was measured cannot be captured now, the steps are taken
        uncaptured, with a warning.
        """
        measured = None
        if self._mode is None:
            self._mode, measured = self._begin(batches, sample)
        if measured is not None:
            return measured
        try:
            return self._make(self._mode, batches, sample)
        except RuntimeError as error:
            if "captured" not in self._mode or self._job.launch.step != "auto":
                raise
            tell_failure(self._mode, error)
            self._mode = "compiled" if self._mode == "compiled-captured" else "eager"
            return self._make(self._mode, batches, sample)

    def _begin(self, batches: Batches, sample: Inputs) -> tuple[Mode, Stepper | None]:
        """Choose the mode, print it, and record the start in the run's folder. Returns the mode, and the stepper if one
        was made.
        """
        job, state, world = self._job, self._state, self._job.world
        # The mask head's step is another computation, so that its mode is chosen anew where it starts.
        goes_on = state.step > self._course.first or self._course.first == 0
        here = self._course.environment
        stepper = None
        if job.launch.step == "auto":
            possible = world.values_of_all(possible_modes(job.process.autocast.device, world.size))
            modes = [mode for mode in possible[0] if all(mode in each for each in possible)]
            choice = world.value_of_lead(
                choice_before(job.run, state.step, here, modes) if world.leads and goes_on else None
            )
            if choice is None:
                steps_left = self._course.last - state.step
                try:
                    choice, stepper = choose_mode(
                        modes,
                        lambda mode: self._make(mode, batches, sample),
                        state,
                        sample,
                        steps_left,
                        world,
                        self._job.process.gives_up,
                        sum(end > state.step for end, _ in self._course.sizes),
                    )
                except Interrupted:
                    where = f"{job.run.folder}: before step {state.step + 1:,}"
                    raise world.of_lead(Interrupted(f"{where}; the same command goes on")) from None
            mode_alone = {"step_mode": choice.mode}
            if goes_on:
                world.lead_does(lambda: check_environment(job.run, state.step, mode_alone, job.launch.inexact))
        else:
            choice = Choice(job.launch.step, {})
        mode = {"step_mode": choice.mode, "step_mode_seconds": choice.seconds}
        world.lead_does(lambda: job.run.record_start(state.step, here | mode))
        if world.leads:
            compiles = stepper is None and "compiled" in choice.mode
            print(f"{choice}" + ("; compiling takes up to a minute or so" if compiles else ""), flush=True)
        return choice.mode, stepper

    def _make(self, mode: Mode, batches: Batches, sample: Inputs) -> Stepper:
        state = self._state
        stepper = Stepper(mode, state, self._course.loss("compiled" in mode), batches, sample)
        if self._job.world.size > 1:
            # After a first pass DistributedDataParallel lays gradients out anew, by the order they came in. In which
            # order three processes or more are summed depends on the place, so a run taken up has to be past that too.
            with unchanged(state):
                stepper.step(sample, 0.0)
        return stepper


def choice_before(run: RunDir, step: int, here: dict[str, Any], modes: list[Mode]) -> Choice | None:
    """The mode of `modes` in which the run reached `step`, where nothing else that decides bits has changed; it is
    kept.
    """
    last = run.last_start(step)
    if last is None or changes(last, here) or last.get("step_mode") not in modes:
        return None
    return Choice(last["step_mode"], last["step_mode_seconds"])
