"""Where and how trainings are carried out: the flags of both `train` and `sweep` that do not belong to a `Config`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fastwsol.batches.stores import DataFlags
from fastwsol.config import PREACT_RESNET, Config, LogConfig, flag
from fastwsol.dataset.shards import read_manifest
from fastwsol.host.command_line import OptionalPath, parse_some_flags
from fastwsol.host.device import Precision
from fastwsol.host.errors import UserError
from fastwsol.runs.folder import RunDir, folder_of_run
from fastwsol.runs.trained import place_of_shards
from fastwsol.sources.imagefolder import holds_class_folders
from fastwsol.training.presets import PRESETS, PresetName
from fastwsol.training.resume import Resume
from fastwsol.training.step_mode import AskedMode
from fastwsol.useless_options import why_no_features, without_use

DEFAULT_SHARDS = Path("data/shards")


@dataclass(frozen=True)
class Launch(DataFlags):
    """Where and how a training runs. Nothing here is part of the run's identity."""

    preset: PresetName = "paper"
    """paper: 1500 epochs; fast: the fewest seconds to the paper's best, tested at 80 pixels; strong: ten minutes of a
    large GPU; demo: minutes, for the synthetic set; photos: the last layer of a pretrained backbone, what `train` takes
    for a set of class folders. Flags that are given beside it win. This help beside it (--preset photos --help) shows
    its defaults"""
    weights: str = "none"
    """what a backbone of timm starts from. pretrained: its published weights, of an installed package or by timm's
    download; a .safetensors or .pth file; none: drawn weights"""
    features: OptionalPath = None
    """folder for the features of a frozen part; default: `features` beside the shards"""
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
    """go on with a run although what decides its bits has changed since: on a CPU the threads and the processor, on a
    GPU with --deterministic its kind, on both the number of processes, the way of the step, versions and source.
    Without it that is refused"""
    checkpoint_minutes: float = 5.0
    """minutes between two checkpoints; 0: after every step"""
    log: LogConfig = field(default_factory=LogConfig)
    tensorboard: bool = False
    """also write the run's curves for TensorBoard, into the folder tensorboard of the run's"""

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
    """auto: continue this run if it is unfinished; never: refuse to; require: refuse to begin anew"""


@dataclass(frozen=True)
class NamedFlags:
    """The flags of a command line that say where the defaults of all others are from; None: not given."""

    preset: str | None = None
    backbone: str | None = None
    depth: str | None = None
    stem: str | None = None
    image_size: int | None = None
    shards: Path = DEFAULT_SHARDS
    run_dir: OptionalPath = None
    behind: OptionalPath = None

    @property
    def preset_name(self) -> PresetName:
        """The preset that is named, or else paper. One that there is not is left to the parsing of all flags."""
        return next((name for name in PRESETS if name == self.preset), "paper")

    @property
    def network(self) -> str:
        """The flag that names the network, or a part of it; empty where there is none."""
        flags = {"--backbone": self.backbone, "--depth": self.depth, "--stem": self.stem}
        return next((f"{name} {value}" for name, value in flags.items() if value is not None), "")

    def of_class_folders(self) -> bool:
        """Whether the shards hold a packed set of class folders."""
        try:
            manifest, _ = read_manifest(shards_named(self.shards, self.run_dir))
        except UserError:  # which is said when they are opened
            return False
        return holds_class_folders(manifest.source)


def flags_named(arguments: Sequence[str], prog: str) -> NamedFlags:
    """These flags of a command line. Raises UserError for --preset beside --behind, and for --depth or --stem beside a
    backbone that has none.
    """
    named, _ = parse_some_flags(NamedFlags, arguments, prog)
    if named.behind is not None:
        if named.preset is not None:
            raise UserError(
                f"--preset {named.preset}: --behind takes the classifier of {named.behind} as it is; leave one of the "
                f"two out"
            )
        return named
    backbone = named.backbone or PRESETS[named.preset_name]().config.network.backbone
    for name, value in (("--depth", named.depth), ("--stem", named.stem)):
        has_it = backbone == PREACT_RESNET or (name == "--stem" and backbone.startswith(PREACT_RESNET))
        if value is not None and not has_it:
            raise UserError(f"{name} {value}: is of --backbone {PREACT_RESNET}, not of {backbone}; leave it out")
    return named


def class_folders_want_photos(named: NamedFlags) -> bool:
    """Whether a training takes the preset photos of itself: its shards hold class folders, the command line names no
    preset and no network, and no run of our own network is in the folder that it names.
    """
    if named.preset is not None or named.network or not named.of_class_folders():
        return False
    run = RunDir(named.run_dir) if named.run_dir is not None else None
    return not (run is not None and run.has_info() and run.read_info().config.network.is_ours)


def note_on_class_folders(named: NamedFlags) -> str:
    """What to say where class folders are trained on by the preset paper, which the command line does not name; else an
    empty text.
    """
    if named.preset is not None or not named.of_class_folders():
        return ""
    why = f"{named.network}: a network is named" if named.network else "no preset is named"
    return f"{why}, so all else is of --preset paper; --preset photos has settings for photographs in class folders"


def refuse_useless(config: Config, features: Path | None, default: Config) -> None:
    """Raise UserError where an option is given that changes nothing beside the others. default: of the preset."""
    of_default = default.flat()
    for name, why in without_use(config).items():
        if (value := config.flat()[name]) != of_default[name]:
            raise UserError(f"{flag(name)} {value}: {why}, or leave it out")
    if features is not None and (why := why_no_features(config)):
        raise UserError(f"--features {features}: {why}, so that none are kept; leave it out")


def shards_named(shards: Path, run_dir: Path | None) -> Path:
    """The folder of the shards: of a run that has begun its own, where the default one is not there."""
    if run_dir is not None and shards == DEFAULT_SHARDS and not shards.exists() and (run := RunDir(run_dir)).has_info():
        return place_of_shards(run_dir, run.read_info())
    return shards


def run_folder(config: Config, launch: OneRun) -> Path:
    """The run's folder: the one named, or one named after the configuration."""
    return launch.run_dir if launch.run_dir is not None else folder_of_run(Path("data/runs"), config, launch.log)
