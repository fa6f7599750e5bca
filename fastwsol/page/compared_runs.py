"""The runs that a report sets side by side, by setting: runs that differ in their seed alone are one setting's."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from fastwsol.config import Config
from fastwsol.evaluation.metrics import percent
from fastwsol.evaluation.per_image import ImageRows
from fastwsol.host.errors import UserError
from fastwsol.runs.folder import RunDir, RunInfo
from fastwsol.runs.trained import read_run


@dataclass(frozen=True)
class Side:
    """One finished run."""

    folder: Path
    info: RunInfo
    report: dict[str, Any]
    """Of the images that the run itself was evaluated on."""
    images: ImageRows
    """The same images, one by one."""
    rows: list[dict[str, Any]]
    """Of metrics.jsonl."""
    start: dict[str, Any]
    """How it was last started: command, commit, versions."""


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

    def rates(self, protocol: str, rate: str) -> list[float]:
        """A rate, one value a run, in percent; empty where it could not be measured."""
        found = [side.report["rates"][protocol].get(rate) for side in self.sides]
        return [value for value in found if value is not None]

    def of_size(self, share: Sequence[float]) -> list[float | None]:
        """GT-known Loc at IoU 0.5 of images whose object covers such a share of them, one value a run."""
        rows = [next(row for row in side.report["sizes"] if row["share"] == share) for side in self.sides]
        return [percent(*row["counts"]["gt_known_loc@0.5"]) for row in rows]

    def of_class(self, label: int) -> list[float | None]:
        """Top-1 Loc at IoU 0.5 of a class, one value a run; None without ground truth."""
        return [percent(*side.report["classes"][label]["counts"]["top1_loc@0.5"]) for side in self.sides]

    @property
    def config(self) -> Config:
        """Of its runs, with seed 0."""
        return replace(self.sides[0].info.config, seed=0)


def read_side(folder: Path) -> Side:
    """A finished run. Raises UserError where it is none, or a part of it cannot be read."""
    run = RunDir(folder)
    info = run.read_info()
    if not run.finished(info.config):
        raise UserError(f"{folder}: not finished; let it train to its end first")
    split = info.config.eval_split
    report = run.read_report(split)
    images = ImageRows.read(run.report_file(split).with_suffix(".csv"))
    try:
        rows, starts = run.rows(), run.starts()
    except (ValueError, KeyError, TypeError):
        starts = []
    if not starts:
        raise UserError(f"{folder}: environment.json or metrics.jsonl is missing or damaged; restore it from a copy")
    return Side(folder, info, report, images, rows, starts[-1])


def read_weights(side: Side) -> dict[str, Tensor]:
    """The tensors of a run's newest checkpoint, by the names of `step.state_tensors`. Raises UserError where there is
    none, or the report is of another.
    """
    run = RunDir(side.folder)
    _, saved = read_run(run)
    if saved.step != side.report["step"]:
        raise UserError(
            f"{run.checkpoints}: the newest whole checkpoint is of step {saved.step}, the report of step "
            f"{side.report['step']}; restore the checkpoint from a copy, or evaluate again"
        )
    return saved.tensors


def check_alike(sides: Sequence[Side]) -> None:
    """Raise UserError where a run is named twice, was evaluated on other images, or trained on other shards."""
    first = sides[0]
    folders = [side.folder.resolve() for side in sides]
    for number, side in enumerate(sides):
        if folders[number] in folders[:number]:
            raise UserError(f"{side.folder}: is named twice; leave it out once")
        same = side.info.shards_digest == first.info.shards_digest and side.images.names == first.images.names
        if not same:
            raise UserError(f"{side.folder}: was evaluated on other images than {first.folder}; report on it alone")


def settings_of(sides: Sequence[Side]) -> list[Setting]:
    """The settings of `sides`, in the order of their first runs; of two copies of a run each is named by its folder."""
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


def short_names(names: Sequence[str]) -> list[str]:
    """Classes' names up to the first comma, and whole where two would be the same."""
    short = [name.partition(",")[0] for name in names]
    return [name if short.count(start) > 1 else start for name, start in zip(names, short, strict=True)]
