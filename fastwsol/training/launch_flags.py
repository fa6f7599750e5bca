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
from fastwsol.runs.folder import RunDir
from fastwsol.runs.trained import place_of_shards
from fastwsol.runs.useless_options import why_no_features, without_use
from fastwsol.sources.imagefolder import holds_class_folders
from fastwsol.training.presets import PRESETS, PresetName
from fastwsol.training.step_mode import AskedMode

DEFAULT_SHARDS = Path("data/shards")


@dataclass(frozen=True)
class Launch(DataFlags):
    """Where and how a training runs. Nothing here is part of the run's identity."""

    preset: PresetName = "paper"
    """paper: 1500 epochs; fast: the fewest seconds to the paper's best, tested at 80 pixels; strong: ten minutes of a
    large GPU; demo: minutes, for the synthetic set; photos: the last layer of a pretrained backbone, what `train` takes
    for a set of class folders. Flags that are given beside it win"""
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
class _Choice:
    """The flags that a preset is chosen by; None: not given."""

    preset: str | None = None
    backbone: str | None = None
    depth: str | None = None
    stem: str | None = None
    image_size: int | None = None
    shards: Path = DEFAULT_SHARDS
    run_dir: OptionalPath = None


def preset_of(arguments: Sequence[str], prog: str) -> tuple[PresetName, int | None]:
    """The preset whose values are the defaults of a command line's other flags: the one that it names, or paper. And
    the image size that it is for, where one is given.

    One that there is not is left to the parsing of all flags. Raises UserError for --depth or --stem beside a backbone
    that has none.
    """
    choice, _ = parse_some_flags(_Choice, arguments, prog)
    preset: PresetName = next((name for name in PRESETS if name == choice.preset), "paper")
    backbone = choice.backbone or PRESETS[preset]().config.network.backbone
    for name, value in (("--depth", choice.depth), ("--stem", choice.stem)):
        has_it = backbone == PREACT_RESNET or (name == "--stem" and backbone.startswith(PREACT_RESNET))
        if value is not None and not has_it:
            raise UserError(f"{name} {value}: is of --backbone {PREACT_RESNET}, not of {backbone}; leave it out")
    return preset, choice.image_size


@dataclass(frozen=True)
class _Behind:
    """The flag that names the run whose values are the defaults of the others."""

    behind: OptionalPath = None


def behind_of(arguments: Sequence[str], prog: str) -> Path | None:
    """The run behind whose classifier a head is to be trained, where the command line names one. Raises UserError where
    it names a preset too.
    """
    behind = parse_some_flags(_Behind, arguments, prog)[0].behind
    if behind is not None and (preset := parse_some_flags(_Choice, arguments, prog)[0].preset) is not None:
        raise UserError(
            f"--preset {preset}: --behind takes the classifier of {behind} as it is; leave one of the two out"
        )
    return behind


def class_folders_want_photos(arguments: Sequence[str], prog: str) -> bool:
    """Whether a training takes the preset photos of itself: its shards hold class folders, the command line names no
    preset and no network, and no run with another network is in the folder that it names.
    """
    choice, _ = parse_some_flags(_Choice, arguments, prog)
    if choice.preset is not None or _network_named(choice) or not _of_class_folders(choice):
        return False
    run = RunDir(choice.run_dir) if choice.run_dir is not None else None
    began_otherwise = run is not None and run.has_info() and run.read_info().config.network.is_ours
    return not began_otherwise


def note_on_class_folders(arguments: Sequence[str], prog: str) -> str:
    """What to say where class folders are trained on by the preset paper, which the command line does not name; else an
    empty text.
    """
    choice, _ = parse_some_flags(_Choice, arguments, prog)
    if choice.preset is not None or not _of_class_folders(choice):
        return ""
    why = f"{named}: a network is named" if (named := _network_named(choice)) else "no preset is named"
    return f"{why}, so all else is of --preset paper; --preset photos has settings for photographs in class folders"


def _network_named(choice: _Choice) -> str:
    """The flag that names the network, or a part of it; empty where there is none."""
    flags = {"--backbone": choice.backbone, "--depth": choice.depth, "--stem": choice.stem}
    return next((f"{name} {value}" for name, value in flags.items() if value is not None), "")


def _of_class_folders(choice: _Choice) -> bool:
    try:
        manifest, _ = read_manifest(shards_named(choice.shards, choice.run_dir))
    except UserError:  # which is said when they are opened
        return False
    return holds_class_folders(manifest.source)


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
