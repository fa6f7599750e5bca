"""A sweep's trainings as tasks of a Ray cluster: Ray decides where each runs, and how many at a time.

Every machine of the cluster needs fastwsol, the shards and the runs' folder under the same paths.
"""

import importlib.util
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastwsol.experiments.local_runs import Stoppable, run_logged
from fastwsol.host.command_line import FAILURE
from fastwsol.host.errors import UserError, first_line
from fastwsol.host.starting import INTERRUPTED


@dataclass(frozen=True)
class RayFlags:
    """Where trainings run, if on Ray, and what each takes."""

    ray: str = ""
    """run the trainings as tasks of a Ray cluster: its address; auto: the cluster that this machine is part of; local:
    Ray on this machine alone"""
    cpus_per_run: float = 1.0
    """cores that a task of --ray claims"""
    gpus_per_run: float = 0.0
    """GPUs that a task of --ray claims; a fraction lets several share one"""


class RayChildren(Stoppable):
    """The trainings that are running on a cluster. SIGINT and SIGTERM ask each of them to stop, which saves its state.

    Raises UserError where Ray is not installed, or has no cluster at the address, or none of its machines has what a
    task claims.
    """

    def __init__(self, flags: RayFlags) -> None:
        super().__init__(at_once=1)
        if importlib.util.find_spec("ray") is None:
            raise UserError("--ray: Ray is not installed; pip install 'fastwsol[ray]', or leave the flag out")
        import ray

        self._ray, self._flags = ray, flags

    def __enter__(self) -> "RayChildren":
        ray, flags = self._ray, self._flags
        try:
            ray.init(flags.ray, log_to_driver=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UserError(
                f"--ray {flags.ray}: no cluster answers ({first_line(error)}); start one, or use --ray local"
            ) from None
        try:
            self.at_once = self._how_many_at_once()
        except UserError:
            ray.shutdown()
            raise
        resources = {"num_cpus": flags.cpus_per_run, "num_gpus": flags.gpus_per_run}
        # Not tried again by Ray: the sweep's command goes on with what a lost machine left.
        self._task = ray.remote(**resources, max_retries=0)(run_until_stopped)
        self._wish = ray.remote(num_cpus=0)(StopWish).remote()
        super().__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        super().__exit__(*exception)
        self._ray.shutdown()

    def run(self, command: list[str], log: Path) -> int:
        """Run a command on the cluster to its end and give its exit status; 1 where its machine was lost. Raises
        OSError where the log cannot be written.
        """
        try:
            return int(self._ray.get(self._task.remote(command, log, self._wish)))
        except self._ray.exceptions.RayError as error:
            with log.open("a") as file:
                file.write(f"{type(error).__name__}: {first_line(error)}\n")
            return FAILURE

    def stop_all(self) -> None:
        """Ask every task to stop, and those that wait not to begin."""
        self._wish.ask.remote()

    def _how_many_at_once(self) -> int:
        """How many tasks the cluster can carry out as it stands."""
        wanted = {"CPU": self._flags.cpus_per_run, "GPU": self._flags.gpus_per_run}
        machines = [each["Resources"] for each in self._ray.nodes() if each["Alive"]]
        for name, count in wanted.items():
            most = max((each.get(name, 0.0) for each in machines), default=0.0)
            if count > most:
                flag = f"--{name.lower()}s-per-run"
                raise UserError(f"{flag} {count:g}: no machine of the cluster has more than {most:g}; claim less")
        claims = {name: count for name, count in wanted.items() if count}
        at_once = sum(min(int(each.get(name, 0.0) / count) for name, count in claims.items()) for each in machines)
        if not at_once:
            given = f"--cpus-per-run {wanted['CPU']:g} --gpus-per-run {wanted['GPU']:g}"
            raise UserError(f"{given}: no machine of the cluster has both; claim less")
        return at_once


class StopWish:
    """An actor that knows whether the sweep was asked to stop. (Ray's own cancelling would not wait for the task.)"""

    def __init__(self) -> None:
        self._asked = False

    def ask(self) -> None:
        self._asked = True

    def is_asked(self) -> bool:
        return self._asked


def run_until_stopped(command: list[str], log: Path, wish: Any) -> int:
    """Run a command in a task, to its end, and return its exit status. Where a stop is asked for, the command gets
    SIGTERM and ends sooner; a command that has not begun does not begin.
    """
    import ray

    if ray.get(wish.is_asked.remote()):
        return INTERRUPTED
    with run_logged(command, log) as child:
        asked = False
        while child.poll() is None:
            time.sleep(_SECONDS_A_LOOK)
            if not asked and (asked := ray.get(wish.is_asked.remote())):
                child.terminate()
        return child.returncode


_SECONDS_A_LOOK = 0.5
