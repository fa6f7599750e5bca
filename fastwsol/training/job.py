"""A run and what it is carried out with, in this process."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastwsol.config import Config, LogConfig
from fastwsol.dataset.shards import Shards, Split
from fastwsol.evaluation.forward import EvaluationSetup
from fastwsol.features.kept_features import FrozenPart
from fastwsol.host.processes import World
from fastwsol.runs.folder import RunDir, RunInfo
from fastwsol.training.step_mode import AskedMode


@dataclass(frozen=True)
class Job:
    """A run and what it is carried out with, in this process."""

    run: RunDir
    info: RunInfo
    setup: EvaluationSetup
    """The images, and where they and the network's arithmetic are from."""
    packed: Shards
    """The set as it was packed, no image held out."""
    log: LogConfig
    asked_mode: AskedMode
    inexact: bool
    """Whether a run may continue although it will not reach the bits of an unbroken one."""
    checkpoint_minutes: float
    features_folder: Path | None
    """Where features of a frozen part are kept; None: beside the shards."""
    gives_up: Callable[[], bool]
    """Whether the work is to end: asked while features are computed, and while ways of a step are tried."""
    environment: dict[str, Any]
    """What decides the run's bits here, but for the mode: an entry of environment.json."""
    frozen: FrozenPart | None = None
    """The part of the network that is not trained, and its features; None where all of it is."""

    @property
    def config(self) -> Config:
        """The run's configuration."""
        return self.info.config

    @property
    def world(self) -> World:
        """The processes that do this work together."""
        return self.setup.world

    @property
    def split(self) -> Split:
        """The images trained on."""
        return self.setup.shards.splits["train"]

    @property
    def total_steps(self) -> int:
        """Steps in the whole run."""
        return self.config.total_steps(len(self.split))
