"""The trainings of a sweep: how far they are, and how what is left of them is carried out."""

import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from fastwsol.config import Config
from fastwsol.experiments.local_runs import Stoppable
from fastwsol.experiments.workload import Workload, seconds_left
from fastwsol.host.errors import UserError
from fastwsol.host.words import duration
from fastwsol.runs.folder import RunDir

_SECONDS_A_LINE = 60.0


@dataclass(frozen=True)
class Run:
    """One training of a sweep."""

    config: Config
    folder: Path

    @property
    def log(self) -> Path:
        """What the training says, beside its folder."""
        return self.folder.with_name(f"{self.folder.name}.log")

    def finished(self) -> bool:
        """Whether it came to its end."""
        return RunDir(self.folder).finished(self.config)

    def rows(self) -> list[dict[str, Any]]:
        """The rows of its metrics.jsonl, by which time is estimated; none where that is damaged, which its training
        says itself where it goes on.
        """
        try:
            return RunDir(self.folder).rows()
        except UserError:
            return []


class _Begun(NamedTuple):
    """A run that is at work: what was left of it when it was begun here, and the time then."""

    left: float
    at: float


class Trainings:
    """Carries out what is left of `runs`. command_of: what trains a run; at_work: how many commands are handed over at
    a time, by default as many as can run; waits_elsewhere: whether a command may wait after it was handed over, so that
    its time says nothing of its work.
    """

    def __init__(
        self,
        runs: Sequence[Run],
        workload: Workload,
        command_of: Callable[[Run], list[str]],
        at_work: int | None = None,
        waits_elsewhere: bool = False,
    ) -> None:
        self._runs, self._workload, self._command_of = runs, workload, command_of
        self._at_work, self._waits_elsewhere = at_work, waits_elsewhere
        self._waiting = [run for run in runs if not run.finished()]
        self._working: dict[Future[int], Run] = {}
        self._begun: dict[Run, _Begun] = {}
        self._ended: list[tuple[float, float]] = []
        """The work of runs that came to their end here, and the seconds that they took in all."""
        self._failures: dict[Run, str] = {}

    def state_of(self, run: Run) -> str:
        """How far a run is, in a word."""
        if run.finished():
            return "finished"
        share = self._workload.share_done(run.config, run.rows())
        return f"{100 * share:.0f} % done" if share else "not begun"

    def carry_out(self, children: Stoppable) -> list[str]:
        """Train what is left, and give what the runs that failed have said. A signal that stops `children` ends it,
        once these have saved their state.
        """
        at_work = max(1, len(self._waiting)) if self._at_work is None else self._at_work
        with children, ThreadPoolExecutor(at_work) as pool:
            print(self._line(children.at_once), flush=True)
            while self._working or (self._waiting and not children.stopped):
                while self._waiting and len(self._working) < at_work and not children.stopped:
                    self._begin(self._waiting.pop(0), children, pool)
                done, _ = wait(self._working, timeout=_SECONDS_A_LINE, return_when=FIRST_COMPLETED)
                for future in done:
                    self._end(self._working.pop(future), future, children)
                if not children.stopped and (self._working or self._waiting):
                    print(self._line(children.at_once), flush=True)
        return [*self._failures.values()]

    def _begin(self, run: Run, children: Stoppable, pool: ThreadPoolExecutor) -> None:
        verb = "handed to Ray" if self._waits_elsewhere else "goes on" if run.folder.exists() else "begins"
        print(f"{run.folder.name}: {verb}, log in {run.log}", flush=True)
        self._begun[run] = _Begun(self._workload.left(run.config, run.rows()), time.monotonic())
        self._working[pool.submit(children.run, self._command_of(run), run.log.absolute())] = run

    def _end(self, run: Run, future: Future[int], children: Stoppable) -> None:
        if run.finished():
            begun = self._begun[run]
            if not self._waits_elsewhere:
                self._ended.append((begun.left, time.monotonic() - begun.at))
            print(f"{run.folder.name}: finished", flush=True)
        elif not children.stopped:
            self._failures[run] = f"{run.folder.name}: {why_failed(run, future)}"
            print(self._failures[run], file=sys.stderr, flush=True)

    def _line(self, at_once: int) -> str:
        """One line: the runs that are done, how far the others are, and the time that is left: by whole runs, where
        some have ended, since steps are not all that a run takes; else by the steps that were done.
        """
        rows = {run: run.rows() for run in self._runs}
        finished = [run for run in self._runs if run.finished()]
        unfinished = [run for run in self._runs if run not in finished and run not in self._failures]
        spent = self._ended or [self._workload.spent(run.config, rows[run]) for run in self._runs]
        seconds = seconds_left([self._workload.left(run.config, rows[run]) for run in unfinished], spent, at_once)
        working = ", ".join(f"{run.folder.name} {self.state_of(run)}" for run in self._working.values())
        return (
            f"{len(finished)} of {len(self._runs)} runs finished"
            + (f", {len(self._failures)} failed" if self._failures else "")
            + (f"; {working}" if working else "")
            + (f"; about {duration(seconds)} left" if seconds else "")
        )


def why_failed(run: Run, future: Future[int]) -> str:
    """What a run's command has said last, or why it could not be started."""
    try:
        status = future.result()
    except OSError as error:  # as where its log cannot be written
        return f"cannot be run ({error})"
    return f"{_last_line(run.log)} (status {status})"


def _last_line(log: Path) -> str:
    text = log.read_text(errors="replace") if log.is_file() else ""
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("$ ")]  # `$` is before commands
    return lines[-1].strip() if lines else "said nothing"
