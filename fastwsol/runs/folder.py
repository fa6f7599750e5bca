"""The run directory: config.json, environment.json, metrics.jsonl, checkpoints/, and when it is finished cuts.json,
directions.safetensors and report.json; holdout.txt and report-holdout.json where images are held out;
report-fullsup.json where the run evaluates itself on the split fullsup.

config.json is written before the first step and says what the run is; evaluation reads everything from there.
"""

import contextlib
import json
import os
import shlex
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from safetensors import SafetensorError

from fastwsol.config import Config
from fastwsol.dataset.shards import Split
from fastwsol.evaluation.report_rows import ReportRows
from fastwsol.evaluation.report_types import RunReport
from fastwsol.evaluation.thresholds import Cut
from fastwsol.host.environment import environment
from fastwsol.host.errors import UserError
from fastwsol.host.files import PARTIAL_SUFFIX, naming, sole_worker, write_bytes, write_json
from fastwsol.localizer.ddt import DdtDirections
from fastwsol.runs.info import RunInfo, read_info
from fastwsol.runs.reports import ReportOf, report_in, write_report


class RunDir:
    """A run's folder on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoints = folder / "checkpoints"
        self.listeners: list[Callable[[dict[str, Any]], None]] = []
        """Called with each row once it is in metrics.jsonl."""
        self.tensorboard = folder / "tensorboard"
        self._holdout_file = folder / "holdout.txt"
        self._config_file = folder / "config.json"
        self._environment_file = folder / "environment.json"
        self._metrics_file = folder / "metrics.jsonl"
        self._cuts_file = folder / "cuts.json"
        self._directions_file = folder / "directions.safetensors"

    @contextlib.contextmanager
    def opened(self, info: RunInfo) -> Iterator[None]:
        """Hold the folder for this process; it is made for `info` where there is none.

        Raises UserError where another process works in it, or something else lies there.
        """
        if not self._config_file.is_file():
            self._check_free()
            self.folder.mkdir(parents=True, exist_ok=True)
        with sole_worker(self.folder):
            is_new = not self._config_file.is_file()
            if is_new:
                write_json(self._config_file, info.to_json())
            try:
                yield
            except UserError:
                if is_new and not self.checkpoints.exists() and not self.rows():
                    self._forget()
                raise

    def _forget(self) -> None:
        """Leave nothing of a run that was refused before its first step: the command that is mended begins it."""
        for file in (self._environment_file, self._holdout_file, self._metrics_file, self._config_file):
            file.unlink(missing_ok=True)
        shutil.rmtree(self.tensorboard, ignore_errors=True)
        with contextlib.suppress(OSError):  # what else is in it is somebody's own
            self.folder.rmdir()

    def as_stored(self, info: RunInfo) -> RunInfo:
        """`info` with the digest that config.json holds, where a version of flat configurations has begun the run."""
        stored = self.read_info()
        return replace(info, flat_digest=stored.flat_digest) if stored.config == info.config else info

    def report_file(self, of: ReportOf) -> Path:
        """The file of a report. Beside it, with the ending .csv, stands what it says of each image."""
        return self.folder / f"{of.name}.json"

    def finished(self, config: Config) -> bool:
        """Whether the run came to its end: it then has the report on its own split."""
        return self.report_file(ReportOf(config.eval_split)).is_file()

    def write_cuts(self, cuts: Mapping[str, Cut]) -> None:
        """Store where the run cuts the maps of its localizers, by their names."""
        write_json(self._cuts_file, {"cuts": {name: cut.to_json() for name, cut in cuts.items()}})

    def read_cuts(self) -> dict[str, Cut]:
        """What `write_cuts` wrote; nothing where the run stores none. Raises UserError where it is damaged."""
        try:
            cuts = json.loads(self._cuts_file.read_bytes())["cuts"]
            read = {
                name: Cut(each["rule"], None if each["value"] is None else float(each["value"]), each["chosen_on"])
                for name, each in cuts.items()
            }
            if all(cut.value is None or 0 <= cut.value <= 1 for cut in read.values()):
                return read
            raise ValueError
        except FileNotFoundError:
            return {}
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            raise UserError(
                f"{self._cuts_file}: damaged; restore it from a copy, or remove it, and maps are cut at the numbers "
                f"that all runs share"
            ) from None

    def write_directions(self, directions: DdtDirections, checkpoint_sha256: str) -> None:
        """Store the directions of the classes under the weights of a checkpoint."""
        encoded = safetensors.torch.save(directions._asdict(), {"checkpoint": checkpoint_sha256})
        write_bytes(self._directions_file, encoded)

    def read_directions(self, checkpoint_sha256: str) -> DdtDirections | None:
        """What `write_directions` wrote; None where there is nothing, or it is of other weights or damaged: then it can
        be made again.
        """
        try:
            with safetensors.safe_open(self._directions_file, "pt") as file:
                if file.metadata()["checkpoint"] == checkpoint_sha256:
                    return DdtDirections(*(file.get_tensor(name) for name in DdtDirections._fields))
        except (OSError, SafetensorError, KeyError, TypeError):
            pass
        return None

    def read_report(self, of: ReportOf) -> RunReport:
        """A report. Raises UserError for one that is damaged or of another version."""
        path = self.report_file(of)
        report = report_in(path)
        if report is None:
            raise UserError(
                f"{path}: is not a report of this version; make it again with: "
                f"python -m fastwsol.evaluate {shlex.quote(str(self.folder))} {of.flags}"
            )
        return report

    def write_report(self, report: RunReport, rows: ReportRows, of: ReportOf) -> RunReport | None:
        """See `reports.write_report`."""
        return write_report(self.report_file(of), report, rows)

    def store_holdout(self, holdout: Split) -> None:
        """Store the names of the images held out of a run that has not begun."""
        write_bytes(self._holdout_file, _names(holdout))

    def check_holdout(self, holdout: Split) -> None:
        """Raise UserError where the images held out are not those stored."""
        stored = self._holdout_file.read_bytes() if self._holdout_file.is_file() else None
        if stored != _names(holdout):
            what = "missing" if stored is None else "names other images than this version holds out"
            raise UserError(
                f"{self._holdout_file}: {what}, so none is known to be untrained on; restore the file, or train anew "
                f"with this version"
            )

    def _check_free(self) -> None:
        if not self.folder.exists():
            return
        leftover = self._config_file.name + PARTIAL_SUFFIX  # of a process killed right here
        if not self.folder.is_dir() or any(each.name != leftover for each in self.folder.iterdir()):
            raise UserError(
                f"{self.folder}: exists and is no run of fastwsol; nothing was touched, choose another --run-dir"
            )

    def has_info(self) -> bool:
        """Whether a run was begun here."""
        return self._config_file.is_file()

    def read_info(self) -> RunInfo:
        """Read what run this is; raises UserError naming the file where it is none."""
        return read_info(self.folder, self._config_file)

    def starts(self) -> list[dict[str, Any]]:
        """What `record_start` noted so far. Raises UserError where that is damaged."""
        if not self._environment_file.is_file():
            return []
        try:
            starts: list[dict[str, Any]] = json.loads(self._environment_file.read_bytes())["starts"]
            if all(isinstance(start["step"], int) for start in starts):
                return starts
        except (ValueError, KeyError, TypeError):
            pass
        raise UserError(f"{self._environment_file}: damaged; restore it from a copy, or remove it and pass --inexact")

    def last_start(self, step: int) -> dict[str, Any] | None:
        """The newest entry of `starts` that contributed to the state after `step` steps; at step 0 the newest that
        began there.
        """
        starts = [start for start in self.starts() if start["step"] < max(step, 1)]
        return starts[-1] if starts else None

    def record_start(self, step: int, here: dict[str, Any]) -> None:
        """Add this process to environment.json: the step it starts from, how it is carried out, and its command."""
        write_json(self._environment_file, {"starts": [*self.starts(), {"step": step, **here, **environment()}]})

    def append_row(self, row: dict[str, Any]) -> None:
        """Append a row to metrics.jsonl, durably: a later checkpoint counts on it. Rows hold `kind` and `step`."""
        with naming(self._metrics_file), self._metrics_file.open("a") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        for listener in self.listeners:
            listener(row)

    def rows(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl; a last line that a kill cut short is left out. Raises UserError, naming it, for
        another that is no row.
        """
        if not self._metrics_file.is_file():
            return []
        rows = []
        for number, line in enumerate(self._metrics_file.read_bytes().splitlines(keepends=True), 1):
            if not line.endswith(b"\n"):
                continue
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not (isinstance(row, dict) and "kind" in row and isinstance(row.get("step"), int)):
                raise UserError(
                    f"{self._metrics_file} line {number}: is damaged; restore the file from a copy, or take that line "
                    f"out (the curves then lack it)"
                )
            rows.append(row)
        return rows

    def drop_rows_after(self, step: int) -> None:
        """Rewrite metrics.jsonl without the rows of steps that will be done again, and without a line cut short."""
        lines = "".join(json.dumps(row) + "\n" for row in self.rows() if row["step"] <= step).encode()
        write_bytes(self._metrics_file, lines)


def _names(split: Split) -> bytes:
    return "".join(f"{name}\n" for name in split.names(range(len(split)))).encode()
