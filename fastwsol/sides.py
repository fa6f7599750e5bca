"""The runs that a report sets side by side, by setting: runs that differ in their seed alone are one setting's."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fastwsol.checkpoint import Checkpoint
from fastwsol.config import Config
from fastwsol.errors import UserError
from fastwsol.image_rows import ImageRows
from fastwsol.rundir import RunDir, RunInfo
from fastwsol.trained import read_run


@dataclass(frozen=True)
class Side:
    """One finished run."""

    folder: Path
    info: RunInfo
    saved: Checkpoint
    report: dict[str, Any]
    """Of the images that the run itself was evaluated on."""
    images: ImageRows
    """The same images, one by one."""
    rows: list[dict[str, Any]]
    """Of metrics.jsonl."""
    starts: list[dict[str, Any]]


@dataclass(frozen=True)
class Setting:
    """One run, or several that differ in their seed alone."""

    words: tuple[str, ...]
    """What tells it apart from the others of the report, one for each thing in which they differ."""
    sides: tuple[Side, ...]

    @property
    def name(self) -> str:
        """What tells it apart, as one."""
        return ", ".join(self.words)

    @property
    def config(self) -> Config:
        """Of its runs, with seed 0."""
        return replace(self.sides[0].info.config, seed=0)


def read_side(folder: Path) -> Side:
    """A finished run. Raises UserError where it is none."""
    run = RunDir(folder)
    info, saved = read_run(run)
    if not run.finished(info.config):
        raise UserError(f"{folder}: not finished; let it train to its end first")
    split = info.config.eval_split
    images = ImageRows.read(run.report_file(split).with_suffix(".csv"))
    return Side(folder, info, saved, run.read_report(split), images, run.rows(), run.starts())


def check_same_images(sides: Sequence[Side]) -> None:
    """Raise UserError where two runs were evaluated on different images, or trained on different shards."""
    first = sides[0]
    for side in sides[1:]:
        same = side.info.shards_digest == first.info.shards_digest and side.images.names == first.images.names
        if not same:
            raise UserError(f"{side.folder}: was evaluated on other images than {first.folder}; report on it alone")


def settings_of(sides: Sequence[Side]) -> list[Setting]:
    """The settings of `sides`, in the order of their first runs; runs that cannot be told apart are each their own."""
    configs = [side.info.config for side in sides]
    if len(set(configs)) < len(configs):
        return [Setting((str(side.folder),), (side,)) for side in sides]
    of_config: dict[Config, list[Side]] = {}
    for side in sides:
        of_config.setdefault(replace(side.info.config, seed=0), []).append(side)
    if len(of_config) == len(sides):  # then a seed may be what tells two runs apart
        of_config = {side.info.config: [side] for side in sides}
    words = differences(list(of_config))
    return [Setting(each, tuple(found)) for each, found in zip(words, of_config.values(), strict=True)]


def differences(configs: Sequence[Config]) -> list[tuple[str, ...]]:
    """What tells configurations apart, a word for each field in which they differ; of a single one its augmentation."""
    if len(configs) == 1:
        return [(configs[0].aug,)]
    fields = [config.to_json() for config in configs]
    differing = [name for name in fields[0] if len({str(each[name]) for each in fields}) > 1]
    return [tuple(_word(name, each[name]) for name in differing) for each in fields]


def _word(name: str, value: Any) -> str:
    words = "batch" if name == "batch_size" else name.replace("_", " ")
    if name == "aug":
        return str(value)
    if isinstance(value, bool):
        return words if value else f"no {words}"
    return f"{words} {value[:8] or 'drawn'}" if name == "init_sha256" else f"{words} {value}"
