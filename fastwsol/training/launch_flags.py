"""Where and how trainings are carried out: the flags of both `train` and `sweep` that do not belong to a `Config`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fastwsol.batches.feed import DataFlags
from fastwsol.config import LogConfig, PresetName
from fastwsol.host.command_line import parse_some_flags
from fastwsol.host.device import Precision
from fastwsol.training.step_mode import AskedMode


@dataclass(frozen=True)
class Launch(DataFlags):
    """Where and how a training runs. Nothing here is part of the run's identity."""

    preset: PresetName = "paper"
    """paper: 1500 epochs; fast: tens of epochs under one cycle; demo: minutes, for the synthetic set. Flags that are
    given beside it win"""
    shards: Path = Path("data/shards")
    """folder that pack.py wrote"""
    step: AskedMode = "auto"
    """how a step is carried out: eager; compiled by torch.compile; captured as a CUDA graph, which spares a small batch
    its launches; auto: the fastest here by a measurement, if the run is long enough to repay it"""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N"""
    precision: Precision = "auto"
    """auto: bf16 where the device has it, else fp16 on CUDA and fp32 on a CPU. On a GPU fp32 convolutions use TF32"""
    threads: int = 0
    """threads of the CPU's part of the work in each process; 0: all cores, divided among the processes"""
    deterministic: bool = False
    """on a GPU, compute slower but to the same bits each time: a run that was stopped and continued then equals an
    unbroken one exactly. A CPU does so anyway"""
    inexact: bool = False
    """go on with a run although what decides its bits has changed since: on a CPU the threads and the processor, on a
    GPU with --deterministic its kind, on both the number of processes, the way of the step, versions and source.
    Without it that is refused"""
    checkpoint_minutes: float = 5.0
    """minutes between two checkpoints; 0: after every step"""
    log: LogConfig = field(default_factory=LogConfig)
    tensorboard: bool = False
    """also write the run's curves for TensorBoard, into the folder tensorboard of the run's"""


@dataclass(frozen=True)
class _PresetAlone:
    preset: PresetName = "paper"


def preset_of(arguments: Sequence[str], prog: str) -> PresetName:
    """The preset that a command line names, whose values are the defaults of its other flags.

    Raises UserError for one that there is not.
    """
    preset, _ = parse_some_flags(_PresetAlone, arguments, prog)
    return preset.preset
