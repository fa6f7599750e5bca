"""The run directory: config.json, environment.json, metrics.jsonl, checkpoints/, and report.json when it is finished;
holdout.txt and report-holdout.json where images are held out.

config.json is written before the first step and says what the run is; evaluation reads everything from there.
"""

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastwsol.config import Config
from fastwsol.dataset.shards import Split
from fastwsol.evaluation.measure import REPORT_FORMAT_VERSION
from fastwsol.evaluation.metrics import CamClass
from fastwsol.evaluation.per_image import ImageRows
from fastwsol.host.environment import DALI_PACKAGES, environment, source_digest, versions
from fastwsol.host.errors import UserError
from fastwsol.host.files import PARTIAL_SUFFIX, sole_worker, write_bytes, write_json
from fastwsol.runs.checkpoint import Checkpoint

FORMAT_VERSION = 3
_IN_THE_BITS = {
    "cpu": ("device", "processes", "threads", "views", "step_mode", "processor"),
    "cuda": ("device", "processes", "deterministic", "views", "step_mode", "GPU"),
}
"""Of how a run is carried out on a device: what its numbers depend on to the bit. (The number format too, which a
checkpoint holds and no flag overrides.)"""
_PACKAGES_IN_THE_BITS = ("torch", "numpy", "numba")
Channels = tuple[float, float, float]


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
    """Of the training pixels, R, G, B in 0..255: what the network's input is normalised by."""

    def check_checkpoint(self, saved: Checkpoint) -> None:
        """Raise UserError where a checkpoint is of another configuration, other shards or another label order."""
        expected = {
            "config_digest": self.config.digest(),
            "shards_digest": self.shards_digest,
            "classes": list(self.classes),
        }
        for name, value in expected.items():
            if saved.scalars.get(name) != value:
                raise UserError(f"{saved.path}: its {name} is not this run's; restore the checkpoints that belong here")

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

    def report_file(self, split: str, cam_class: CamClass = "truth", unfinished_step: int | None = None) -> Path:
        """The file of a report: report.json is on val, of the true classes' maps, at the run's end.

        Beside it, with the ending .csv, stands what it says of each image.
        """
        parts = ["report"]
        parts += [split] if split != "val" else []
        parts += [cam_class] if cam_class != "truth" else []
        parts += [f"step-{unfinished_step:09d}"] if unfinished_step is not None else []
        return self.folder / f"{'-'.join(parts)}.json"

    def finished(self, config: Config) -> bool:
        """Whether the run came to its end: it then has the report on its own split."""
        return self.report_file(config.eval_split).is_file()

    def read_report(self, split: str) -> dict[str, Any]:
        """The finished run's report on `split`, of the true classes' maps. Raises UserError for one that is damaged or
        of another version.
        """
        path = self.report_file(split)
        try:
            report: dict[str, Any] = json.loads(path.read_bytes())
            version = report["format_version"]
        except (ValueError, KeyError, TypeError):
            version = None
        if version != REPORT_FORMAT_VERSION:
            raise UserError(
                f"{path}: is not a report of this version; make it again with: "
                f"python -m fastwsol.evaluate {self.folder} --split {split}"
            )
        return report

    def write_report(self, report: dict[str, Any], rows: ImageRows, of_finished_run: bool) -> Path:
        """Write a report, in place of an older one of the same split, maps and step, and return its path."""
        step = None if of_finished_run else report["step"]
        path = self.report_file(report["split"], report["cam_class"], step)
        rows.write(path.with_suffix(".csv"))
        write_json(path, report)  # last: it says that the run is finished
        return path

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

    def read_info(self) -> RunInfo:
        """Read what run this is; raises UserError naming the file where it is none."""
        try:
            value = json.loads(self._config_file.read_bytes())
        except FileNotFoundError:
            raise UserError(
                f"{self.folder}: no run here (it has no config.json); train one, or name its folder"
            ) from None
        except ValueError as error:
            raise UserError(f"{self._config_file}: not JSON ({error}); the run cannot be read") from None
        if not isinstance(value, dict) or value.get("format_version") != FORMAT_VERSION:
            raise UserError(f"{self._config_file}: not a run of this version of fastwsol (format {FORMAT_VERSION})")
        try:
            config = self._config(value["config"])
            if value["config_digest"] != config.digest():
                raise UserError(
                    f"{self._config_file}: was changed by hand (its digest differs); the run cannot be read"
                )
            return RunInfo(
                config,
                Path(value["shards"]),
                value["shards_digest"],
                tuple(value["classes"]),
                tuple(value["class_names"]),
                _channels(value["mean"]),
                _channels(value["std"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{self._config_file}: damaged ({error!r}); the run cannot be read") from None

    def _config(self, value: dict[str, Any]) -> Config:
        try:
            return Config.from_json(value)
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
        """The newest entry of `starts` that had a part in the state after `step` steps; at step 0 the newest of those
        that began there.
        """
        taken = [start for start in self.starts() if start["step"] < max(step, 1)]
        return taken[-1] if taken else None

    def check_start(self, step: int, here: dict[str, Any], inexact: bool) -> None:
        """Warn that this process, going on after `step` steps, will not come to the bits of an unbroken run, and why;
        raises UserError instead where that is not asked for by `inexact`, and there were bits to keep.

        here: as `here_and_now` gives it, or a part of it.
        """
        if step == 0:
            return
        last = self.last_start(step)
        changed = changes(last, here) if last is not None else ["environment.json is gone"]
        if changed and not inexact and promises_bits(last or here):
            raise UserError(
                f"{self.folder}: since step {step} was saved: {', '.join(changed)}; "
                f"undo that to go on to the same bits, or go on to others with --inexact"
            )
        if changed:
            print(f"warning: continued with {', '.join(changed)}: equal to the bit no longer", file=sys.stderr)

    def record_start(self, step: int, here: dict[str, Any]) -> None:
        """Add this process to environment.json: the step it starts from, `here_and_now`, and its command."""
        write_json(self._environment_file, {"starts": [*self.starts(), {"step": step, **here, **environment()}]})

    def append_row(self, row: dict[str, Any]) -> None:
        """Append a row to metrics.jsonl, durably: a later checkpoint counts on it. Rows hold `kind` and `step`."""
        with self._metrics_file.open("a") as file:
            file.write(json.dumps(row, allow_nan=False) + "\n")
            file.flush()
            os.fsync(file.fileno())
        for listener in self.listeners:
            listener(row)

    def rows(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl; a last line that a kill cut short is left out."""
        if not self._metrics_file.is_file():
            return []
        lines = self._metrics_file.read_text().splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith("\n")]

    def drop_rows_after(self, step: int) -> None:
        """Rewrite metrics.jsonl without the rows of steps that will be done again, and without a line cut short."""
        kept = "".join(json.dumps(row) + "\n" for row in self.rows() if row["step"] <= step).encode()
        write_bytes(self._metrics_file, kept)


def _channels(values: list[float]) -> Channels:
    red, green, blue = map(float, values)
    return red, green, blue


def _names(split: Split) -> bytes:
    return "".join(f"{name}\n" for name in split.names(range(len(split)))).encode()


def here_and_now(how: dict[str, Any]) -> dict[str, Any]:
    """`how` a run is carried out, with the versions and the source that carry it out."""
    return {**how, "versions": versions(), "source": source_digest()}


def changes(last: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """What decides bits and is another now than in an entry of `RunDir.starts`: "threads 1 -> 2".

    What one of the two does not tell is no change.
    """
    device, data = here.get("device", last.get("device")), here.get("data", last.get("data"))
    before, now = _decisive(last, device, data), _decisive(here, device, data)
    return [f"{name} {before[name]} -> {now[name]}" for name in now if name in before and before[name] != now[name]]


def promises_bits(start: dict[str, Any]) -> bool:
    """Whether what is carried out so comes to the same bits each time: a GPU does where it is told to."""
    return start.get("device") != "cuda" or bool(start.get("deterministic"))


def _decisive(start: dict[str, Any], device: str | None, data: str | None) -> dict[str, Any]:
    # Older entries have the processor in `machine` alone.
    known = ({"processor": start["machine"]["processor"]} if "machine" in start else {}) | start
    facts = {name: known[name] for name in _IN_THE_BITS.get(device or "", ()) if name in known}
    if "source" in start:
        facts["fastwsol's source"] = start["source"]
    if "versions" in start:
        facts |= decisive_versions(start["versions"], data)
    return facts


def decisive_versions(of: dict[str, str], data: str | None) -> dict[str, str]:
    """Those of `versions()` that decide bits, where the images come from `data`."""
    decoders = DALI_PACKAGES if data == "dali" else ("simplejpeg",)
    found = {name: of[name] for name in _PACKAGES_IN_THE_BITS if name in of}
    if decoder := " and ".join(f"{name} {of[name]}" for name in decoders if name in of):
        found["decoder"] = decoder
    return found
