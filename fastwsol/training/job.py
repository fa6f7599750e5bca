"""A run and what it is carried out with, in this process."""

from dataclasses import dataclass
from typing import Any

from fastwsol.config import Config
from fastwsol.dataset.shards import Shards, Split
from fastwsol.evaluation.forward import EvaluationSetup
from fastwsol.host.process import Process
from fastwsol.host.world import World
from fastwsol.runs.folder import RunDir
from fastwsol.runs.info import RunInfo
from fastwsol.timetable import Timetable
from fastwsol.training.launch import Launch


@dataclass(frozen=True)
class Job:
    """A run and what it is carried out with, in this process."""

    run: RunDir
    info: RunInfo
    setup: EvaluationSetup
    """The images, and where they and the network's arithmetic are from."""
    packed: Shards
    """The set as it was packed, no image held out."""
    launch: Launch
    """Where and how it is carried out."""
    environment: dict[str, Any]
    """What decides the run's bits here, but for the mode: an entry of environment.json."""

    @property
    def config(self) -> Config:
        """The run's configuration."""
        return self.info.config

    @property
    def process(self) -> Process:
        """What this process computes with."""
        return self.setup.process

    @property
    def world(self) -> World:
        """The processes that do this work together."""
        return self.process.world

    @property
    def split(self) -> Split:
        """The images trained on."""
        return self.setup.shards.splits["train"]

    @property
    def timetable(self) -> Timetable:
        """When it does what."""
        return Timetable(self.config, len(self.split))
