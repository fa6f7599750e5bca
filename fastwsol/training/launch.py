"""Where and how trainings are carried out: what is no part of a `Config`, nor of a run's identity."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from fastwsol.batches.stores import DataFlags
from fastwsol.config import Config, LogConfig
from fastwsol.host.device import Precision
from fastwsol.host.errors import UserError
from fastwsol.host.flags import OptionalPath
from fastwsol.runs.info import folder_of_run
from fastwsol.training.presets import PresetName
from fastwsol.training.step_mode import AskedMode

Resume = Literal["auto", "never", "require"]
DEFAULT_SHARDS = Path("data/shards")


@dataclass(frozen=True)
class Launch(DataFlags):
    """Where and how a training runs. Nothing here is part of the run's identity."""

    preset: PresetName = "paper"
    """paper: 1500 epochs; fast: the fewest seconds to the paper's best, tested at 80 pixels; strong: ten minutes of a
    large GPU; demo: minutes, for the synthetic set; photos: the last layer of a pretrained backbone, what `train` takes
    for all sets but Tiny ImageNet and the synthetic one. Flags that are given beside it win. This help beside it
    (--preset photos --help) shows its defaults"""
    weights: str = "none"
    """what a backbone of timm starts from. pretrained: its published weights, of an installed package or by timm's
    download; a .safetensors or .pth file; none: random weights"""
    features: OptionalPath = None
    """folder for the features of a frozen part; default: `features` in the shards' folder"""
    shards: Path = DEFAULT_SHARDS
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
    """continue a run although something that decides its bits has changed: on a CPU the threads or the processor, on a
    GPU its kind, on both the number of processes, the mode of --step, versions or source. Without it such a run is
    refused, except on a GPU without --deterministic: its bits are not repeatable anyway, so there is only a warning"""
    checkpoint_minutes: float = 5.0
    """minutes between two checkpoints; 0: after every step"""
    log: LogConfig = field(default_factory=LogConfig)
    tensorboard: bool = False
    """also write the run's curves for TensorBoard, into RUN/tensorboard"""

    def __post_init__(self) -> None:
        if not self.checkpoint_minutes >= 0:
            raise UserError(f"--checkpoint-minutes {self.checkpoint_minutes}: must not be negative")


@dataclass(frozen=True)
class OneRun(Launch):
    """Which folder the run is in, and how it begins there."""

    run_dir: OptionalPath = None  # not `run`, which torchrun takes for a short form of a flag of its own
    """folder of the run; default data/runs/NAME, named after the configuration"""
    init: OptionalPath = None
    """start from the weights of an earlier run, a .safetensors file in its checkpoints folder, as far as they fit"""
    behind: OptionalPath = None
    """folder of an earlier run, whose classifier is taken as it is and a mask head trained behind it; flags that are
    left out are that run's"""
    resume: Resume = "auto"
    """auto: continue this run, or print its report where it is finished; never: refuse where it is there already;
    require: refuse where there is nothing to continue"""


def run_folder(config: Config, launch: OneRun) -> Path:
    """The run's folder: the one named, or one named after the configuration."""
    return launch.run_dir if launch.run_dir is not None else folder_of_run(Path("data/runs"), config, launch.log)
