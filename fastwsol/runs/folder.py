"""The run directory: config.json, environment.json, metrics.jsonl, checkpoints/, and when it is finished cuts.json,
directions.safetensors and report.json; holdout.txt and report-holdout.json where images are held out;
report-fullsup.json where it evaluates itself on those.

config.json is written before the first step and says what the run is; evaluation reads everything from there.
"""

import contextlib
import hashlib
import json
import os
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
from safetensors import SafetensorError

from fastwsol.config import Channels, Config, LogConfig, Statistics, as_channels, is_as_before
from fastwsol.dataset.shards import Split
from fastwsol.evaluation.per_image import ImageRows
from fastwsol.evaluation.question import NOTHING_MORE, Question
from fastwsol.evaluation.report_rows import ReportRows
from fastwsol.evaluation.report_types import REPORT_FORMAT_VERSION, RunReport
from fastwsol.evaluation.thresholds import Cut
from fastwsol.host.environment import environment
from fastwsol.host.errors import UserError
from fastwsol.host.files import PARTIAL_SUFFIX, naming, sole_worker, write_bytes, write_json
from fastwsol.localizer.ddt import DdtDirections
from fastwsol.runs.checkpoint import Checkpoint
from fastwsol.sources import Class

FORMAT_VERSION = 4
_FLAT_VERSION = 3
"""The version of config.json before configurations were nested. It is read as well, and its runs keep their digests."""
_LAST_FLAT = ("init_sha256",)
"""Options with an `as_before` value that this version stored already."""
_LOG_OPTIONS = ("eval_epochs", "log_steps")
"""Options that were part of what a run is, up to that version."""


@dataclass(frozen=True)
class RunInfo:
    """What a run is: the content of config.json."""

    config: Config
    shards: Path
    """The shard folder it was started with."""
    shards_digest: str
    """SHA-256 of the shards' manifest."""
    classes: tuple[str, ...]
    """wnids in label order."""
    class_names: tuple[str, ...]
    """What a person calls them, in the same order."""
    mean: Channels
    std: Channels
    """R, G, B in 0..255: what the network's input is normalised by; the training pixels', or what a backbone wants."""
    flat_digest: str | None = None
    """The digest of a run that began before configurations were nested."""

    @property
    def statistics(self) -> Statistics:
        """Mean and deviation."""
        return Statistics(self.mean, self.std)

    @property
    def digest(self) -> str:
        """The digest that identifies the run, in its checkpoints too."""
        return self.flat_digest or self.config.digest()

    @property
    def all_classes(self) -> tuple[Class, ...]:
        """Both, in label order."""
        return tuple(map(Class, self.classes, self.class_names))

    def check_checkpoint(self, saved: Checkpoint) -> None:
        """Raise UserError where a checkpoint is of another configuration, other shards or another label order."""
        expected = {
            "config_digest": self.digest,
            "shards_digest": self.shards_digest,
            "classes": list(self.classes),
        }
        for name, value in expected.items():
            if saved.scalars.get(name) != value:
                raise UserError(f"{saved.path}: its {name} is not this run's; restore the checkpoints that belong here")
        if saved.scalars.get("precision") not in ("bf16", "fp16", "fp32"):
            raise UserError(f"{saved.path}: has no precision; restore the checkpoints that belong here")

    def to_json(self) -> dict[str, Any]:
        """As the JSON object that config.json holds."""
        return {
            "format_version": FORMAT_VERSION,
            "config": self.config.to_json(),
            "config_digest": self.config.digest(),
            "shards": str(self.shards),
            "shards_digest": self.shards_digest,
            "classes": list(self.classes),
            "class_names": list(self.class_names),
            "mean": list(self.mean),
            "std": list(self.std),
        }


@dataclass(frozen=True)
class ReportOf:
    """Which report: `report.json` is on val, asked for nothing more, by the run's last checkpoint, in the number format
    it was trained in. Every other one has a file of its own, named after what is different.
    """

    split: str
    question: Question = NOTHING_MORE
    precision: str | None = None
    """Where it is not the one trained in."""
    step: int | None = None
    """Where it is not the run's last."""
    shards_digest: str | None = None
    """Of the packed set, where its boxes are not those of the run's own."""

    @property
    def name(self) -> str:
        """The file's name, without its ending."""
        parts, asked = ["report"], self.question
        parts += [self.split] if self.split != "val" else []
        parts += [asked.cam_class] if asked.cam_class != "truth" else []
        parts += [f"threshold-{asked.threshold}"] if asked.threshold is not None else []
        parts += ["wsoleval"] if asked.wsoleval else []
        parts += [self.precision] if self.precision is not None else []
        parts += [f"step-{self.step:09d}"] if self.step is not None else []
        parts += [f"boxes-{self.shards_digest[:8]}"] if self.shards_digest is not None else []
        return "-".join(parts)

    @property
    def flags(self) -> str:
        """The flags of `evaluate` that ask this question, of the checkpoint that is the newest."""
        parts, asked = [f"--split {self.split}"], self.question
        parts += [f"--cam-class {asked.cam_class}"] if asked.cam_class != "truth" else []
        parts += [f"--threshold {asked.threshold}"] if asked.threshold is not None else []
        parts += ["--wsoleval"] if asked.wsoleval else []
        parts += [f"--precision {self.precision}"] if self.precision is not None else []
        return " ".join(parts)


class RunDir:
    """A run's folder on disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.checkpoints = folder / "checkpoints"
        self.listeners: list[Callable[[dict[str, Any]], None]] = []
        """Called with each row once it is in metrics.jsonl."""
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
            if not self._config_file.is_file():
                write_json(self._config_file, info.to_json())
            yield

    def as_stored(self, info: RunInfo) -> RunInfo:
        """`info` with the digest that config.json holds, where a version of flat configurations has begun the run."""
        stored = self.read_info()
        return replace(info, flat_digest=stored.flat_digest) if stored.config == info.config else info

    def report_file(self, of: "ReportOf") -> Path:
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

    def read_report(self, of: "ReportOf") -> RunReport:
        """A report. Raises UserError for one that is damaged or of another version."""
        path = self.report_file(of)
        report = _read_report(path)
        if report is None:
            raise UserError(
                f"{path}: is not a report of this version; make it again with: "
                f"python -m fastwsol.evaluate {shlex.quote(str(self.folder))} {of.flags}"
            )
        return report

    def write_report(self, report: RunReport, rows: ReportRows, of: "ReportOf") -> RunReport | None:
        """Write a report and its localizers' `rows` where there is none of this version, and return None. Otherwise
        return the report that is there, which stays as it is. If a CSV file of it is missing, damaged or has fewer
        columns, and the counts are the same, that file is written again. Raises UserError for a report of a later
        version.
        """
        path = self.report_file(of)
        if (there := _read_report(path)) is not None:
            if counts_of(there) == counts_of(json.loads(json.dumps(report))):
                for file, each in rows.files(path):
                    _mend_rows(each, file)
            return there
        for file, each in rows.files(path):
            each.write(file)
        write_json(path, report)  # last: it says that the run is finished
        return None

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
        try:
            value = json.loads(self._config_file.read_bytes())
        except NotADirectoryError:
            raise UserError(f"{self.folder}: no run, but a file; name a run's folder") from None
        except FileNotFoundError:
            below = sorted(self.folder.glob("*/config.json"))
            remedy = f"name those in it, as {below[0].parent}" if below else "train one, or name its folder"
            raise UserError(f"{self.folder}: no run here (it has no config.json); {remedy}") from None
        except (ValueError, RecursionError) as error:
            raise UserError(f"{self._config_file}: not JSON ({error}); the run cannot be read") from None
        version = value.get("format_version") if isinstance(value, dict) else None
        if version not in (FORMAT_VERSION, _FLAT_VERSION):
            raise UserError(f"{self._config_file}: not a run of this version of fastwsol (format {FORMAT_VERSION})")
        try:
            config, digest = self._config(value["config"], version == _FLAT_VERSION)
            if value["config_digest"] != digest:
                raise UserError(
                    f"{self._config_file}: was changed by hand (its digest differs); the run cannot be read"
                )
            return RunInfo(
                config,
                Path(value["shards"]),
                value["shards_digest"],
                tuple(value["classes"]),
                tuple(value["class_names"]),
                as_channels(value["mean"]),
                as_channels(value["std"]),
                digest if version == _FLAT_VERSION else None,
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{self._config_file}: damaged ({error!r}); the run cannot be read") from None

    def _config(self, value: dict[str, Any], flat: bool) -> tuple[Config, str]:
        """The configuration, and the digest that it had when it was written."""
        try:
            if not flat:
                config = Config.from_json(value)
                return config, config.digest()
            return Config.from_flat(_without_log_options(value)), _flat_digest(value)
        except UserError as error:
            raise UserError(f"{self._config_file}: its config cannot be a run's, {error}") from None

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


def _read_report(path: Path) -> RunReport | None:
    """A report of this version, or None where there is none. Raises UserError for one of a later version."""
    try:
        report: RunReport = json.loads(path.read_bytes())
        version: object = report["format_version"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    if type(version) is int and version > REPORT_FORMAT_VERSION:
        raise UserError(f"{path}: was written by a later version of fastwsol (format {version}); use that version")
    return report if version == REPORT_FORMAT_VERSION else None


def counts_of(report: RunReport) -> dict[str, Mapping[str, Any]]:
    """The counts of a report, of each localizer: two evaluations with equal ones say the same."""
    return {"": report["counts"]} | {each["name"]: each["counts"] for each in report["localizers"]}


def _mend_rows(rows: ImageRows, path: Path) -> None:
    """Write the rows of a report where its file is missing, damaged, or of a version that had fewer columns."""
    try:
        is_older = ImageRows.read(path).best_hits is None and rows.best_hits is not None
    except UserError:
        rows.write(path)
        return
    if is_older:
        with contextlib.suppress(OSError):  # as of a folder that is only to be read: the file is whole
            rows.write(path)


def _without_log_options(flat: dict[str, Any]) -> dict[str, Any]:
    if missing := [name for name in _LOG_OPTIONS if name not in flat]:
        raise UserError(f"no field {missing[0]!r}: it was written by another version of fastwsol")
    return {name: value for name, value in flat.items() if name not in _LOG_OPTIONS}


def _flat_digest(flat: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(flat, sort_keys=True).encode()).hexdigest()


def folder_of_run(runs: Path, config: Config, log: LogConfig) -> Path:
    """The folder of a run among `runs`, named after its configuration.

    Of a run that began before configurations were nested it is the one that it has.
    """
    folder = runs / config.name()
    flat = {name: value for name, value in config.flat().items() if name in _LAST_FLAT or not is_as_before(name, value)}
    earlier = runs / config.name_by(_flat_digest(flat | vars(log)))
    return earlier if earlier.exists() and not folder.exists() else folder
