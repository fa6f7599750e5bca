"""What the flags of `train` and `sweep` mean together: presets, photographs, options without use."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from fastwsol.config import PREACT_RESNET, Config, flag
from fastwsol.dataset.shards import read_manifest
from fastwsol.host.command_line import parse_some_flags
from fastwsol.host.errors import UserError
from fastwsol.host.flags import OptionalPath
from fastwsol.runs.folder import RunDir
from fastwsol.runs.trained import place_of_shards
from fastwsol.sources import holds_photographs
from fastwsol.training.launch import DEFAULT_SHARDS
from fastwsol.training.presets import PRESETS, PresetName
from fastwsol.useless_options import why_no_features, without_use


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

    @property
    def of_our_network(self) -> bool:
        """Whether the network that is named is ours."""
        return bool(self.network) and (self.backbone is None or self.backbone.startswith(PREACT_RESNET))

    def of_photographs(self) -> bool:
        """Whether the shards hold photographs, and neither Tiny ImageNet nor the synthetic set."""
        try:
            manifest, _ = read_manifest(shards_named(self.shards, self.run_dir))
        except UserError:  # which is said when they are opened
            return False
        return holds_photographs(manifest.source)


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


def photographs_want_photos(named: NamedFlags) -> bool:
    """Whether a training takes the preset photos of itself: its shards hold photographs, the command line names no
    preset and no network of ours, and no run of our own network is in the folder that it names.
    """
    if named.preset is not None or named.of_our_network or not named.of_photographs():
        return False
    run = RunDir(named.run_dir) if named.run_dir is not None else None
    return not (run is not None and run.has_info() and run.read_info().config.network.is_ours)


def note_on_photographs(named: NamedFlags) -> str:
    """What to say where photographs are trained on by the preset paper, which the command line does not name; else an
    empty text.
    """
    if named.preset is not None or not named.of_photographs():
        return ""
    why = f"{named.network}: a network is named" if named.network else "no preset is named"
    return f"{why}, so all else is of --preset paper; --preset photos has settings for photographs"


def refuse_useless(config: Config, features: Path | None, default: Config) -> None:
    """Raise UserError where an option is given that changes nothing beside the others. default: of the preset."""
    of_default = default.flat()
    for name, why in without_use(config).items():
        if (value := config.flat()[name]) != of_default[name]:
            raise UserError(f"{flag(name)} {value}: {why}, or leave it out")
    if features is not None and (why := why_no_features(config)):
        raise UserError(f"--features {features}: {why}, so that none are kept; leave it out")


def began_by(config: Config, run: RunDir) -> bool:
    """Whether the run was begun by this configuration, but for what a start fills in: hashes of weights, and the side
    of a store.
    """
    if not run.has_info():
        return False
    filled_in = {name: None for name in config.flat() if name.endswith("_sha256") or name == "store_size"}
    return run.read_info().config.flat() | filled_in == config.flat() | filled_in


def shards_named(shards: Path, run_dir: Path | None) -> Path:
    """The folder of the shards: of a run that has begun its own, where the default one is not there."""
    if run_dir is not None and shards == DEFAULT_SHARDS and not shards.exists() and (run := RunDir(run_dir)).has_info():
        return place_of_shards(run_dir, run.read_info())
    return shards
