"""What a run is: the content of its config.json, which is written before the first step."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastwsol.config import Config, LogConfig, Statistics, as_channels, is_as_before
from fastwsol.host.errors import UserError
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
    statistics: Statistics
    """What the network's input is normalised by: the training pixels', or what a backbone wants."""
    flat_digest: str | None = None
    """The digest of a run that began before configurations were nested."""

    @property
    def digest(self) -> str:
        """The digest that identifies the run, in its checkpoints too."""
        return self.flat_digest or self.config.digest()

    @property
    def all_classes(self) -> tuple[Class, ...]:
        """The wnids with their names, in label order."""
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
            "mean": list(self.statistics.mean),
            "std": list(self.statistics.std),
        }


def read_info(folder: Path, file: Path) -> RunInfo:
    """What run `folder` is, by its config.json, `file`. Raises UserError naming the file where it is none."""
    try:
        value = json.loads(file.read_bytes())
    except NotADirectoryError:
        raise UserError(f"{folder}: no run, but a file; name a run's folder") from None
    except FileNotFoundError:
        below = sorted(folder.glob("*/config.json"))
        remedy = f"name those in it, as {below[0].parent}" if below else "train one, or name its folder"
        raise UserError(f"{folder}: no run here (it has no config.json); {remedy}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{file}: not JSON ({error}); the run cannot be read") from None
    version = value.get("format_version") if isinstance(value, dict) else None
    if version not in (FORMAT_VERSION, _FLAT_VERSION):
        raise UserError(f"{file}: not a run of this version of fastwsol (format {FORMAT_VERSION})")
    try:
        config, digest = _config(file, value["config"], version == _FLAT_VERSION)
        if value["config_digest"] != digest:
            raise UserError(f"{file}: was changed by hand (its digest differs); the run cannot be read")
        return RunInfo(
            config,
            Path(value["shards"]),
            value["shards_digest"],
            tuple(value["classes"]),
            tuple(value["class_names"]),
            Statistics(as_channels(value["mean"]), as_channels(value["std"])),
            digest if version == _FLAT_VERSION else None,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{file}: damaged ({error!r}); the run cannot be read") from None


def _config(file: Path, value: dict[str, Any], flat: bool) -> tuple[Config, str]:
    """The configuration, and the digest that it had when it was written."""
    try:
        if not flat:
            config = Config.from_json(value)
            return config, config.digest()
        return Config.from_flat(_without_log_options(value)), _flat_digest(value)
    except UserError as error:
        raise UserError(f"{file}: its config cannot be a run's, {error}") from None


def _without_log_options(flat: dict[str, Any]) -> dict[str, Any]:
    if missing := [name for name in _LOG_OPTIONS if name not in flat]:
        raise UserError(f"no field {missing[0]!r}: it was written by another version of fastwsol")
    return {name: value for name, value in flat.items() if name not in _LOG_OPTIONS}


def _flat_digest(flat: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(flat, sort_keys=True).encode()).hexdigest()


def folder_of_run(runs: Path, config: Config, log: LogConfig) -> Path:
    """The folder of a run among `runs`, named after its configuration.

    A run that began before configurations were nested keeps the folder that it has.
    """
    folder = runs / config.name()
    flat = {name: value for name, value in config.flat().items() if name in _LAST_FLAT or not is_as_before(name, value)}
    earlier = runs / config.name_by(_flat_digest(flat | vars(log)))
    return earlier if earlier.exists() and not folder.exists() else folder
