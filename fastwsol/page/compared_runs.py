"""The runs that a page sets side by side, by setting: runs that differ in their seed alone are one setting's."""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fastwsol.config import PREACT_RESNET, Setting, differing_options
from fastwsol.dataset.shards import read_manifest
from fastwsol.evaluation.metrics import percent
from fastwsol.evaluation.per_image import ImageRows
from fastwsol.evaluation.question import Question
from fastwsol.evaluation.reading import preferred_row
from fastwsol.evaluation.report_rows import rows_file
from fastwsol.evaluation.report_types import LocalizerRow, RunReport
from fastwsol.experiments.over_seeds import SettingRuns
from fastwsol.host.errors import UserError
from fastwsol.localizer.localizing import LocalizingModel
from fastwsol.runs.folder import RunDir
from fastwsol.runs.info import RunInfo
from fastwsol.runs.reports import ReportOf
from fastwsol.runs.trained import read_trained
from fastwsol.sources import Class


@dataclass(frozen=True)
class ComparedRun:
    """One finished run."""

    folder: Path
    info: RunInfo
    report: RunReport
    """Of the images that the run itself was evaluated on."""
    images: ImageRows
    """The same images, one by one, with the boxes of `taken`."""
    rows: list[dict[str, Any]]
    """Of metrics.jsonl."""
    start: dict[str, Any]
    """How it was last started: command, commit, versions."""
    chosen: float | None
    """Where `taken` is cut in its report with --threshold auto, where there is one: chosen on other images."""

    @property
    def taken(self) -> LocalizerRow:
        """What its report says of the localizer that predictions take."""
        return preferred_row(self.report)


@dataclass(frozen=True)
class ComparedSetting:
    """One run, or several that differ in their seed alone."""

    words: tuple[str, ...]
    """What tells it apart from the others of the page, one for each option in which they differ."""
    runs: tuple[ComparedRun, ...]

    @property
    def name(self) -> str:
        """What tells it apart, as one."""
        return ", ".join(self.words)

    @property
    def setting(self) -> Setting:
        """What its runs have in common."""
        return self.runs[0].info.config.setting

    @property
    def over_seeds(self) -> SettingRuns:
        """Its reports, as tables over seeds take them."""
        return SettingRuns(self.name, self.setting, [run.report for run in self.runs])

    def of_size(self, share: Sequence[float]) -> list[float | None]:
        """GT-known Loc at IoU 0.5 of images whose object covers such a share of them, one value a run."""
        rows = [next(row for row in run.taken["sizes"] if row["share"] == share) for run in self.runs]
        return [percent(*row["counts"]["gt_known_loc@0.5"]) for row in rows]

    def of_class(self, label: int) -> list[float | None]:
        """Top-1 Loc at IoU 0.5 of a class, one value a run; None without ground truth."""
        return [percent(*run.taken["classes"][label]["counts"]["top1_loc@0.5"]) for run in self.runs]


def read_compared_run(folder: Path, shards: Path | None = None) -> ComparedRun:
    """A finished run. shards: a packed set; where that is not the run's own, its report is the one on the boxes of that
    set. Raises UserError where it is no such run, has no such report, or a part of it cannot be read.
    """
    run = RunDir(folder)
    info = run.read_info()
    if not run.finished(info.config):
        raise UserError(f"{folder}: not finished; let it train to its end first")
    of = ReportOf(info.config.eval_split)
    if shards is not None and (digest := read_manifest(shards)[1]) != info.shards_digest:
        of = replace(of, shards_digest=digest)
        if not run.report_file(of).is_file():
            raise UserError(
                f"{folder}: has no report on the boxes of {shards}; python -m fastwsol.evaluate {folder} --shards "
                f"{shards} makes it, where these are the same images"
            )
    report = run.read_report(of)
    images = ImageRows.read(rows_file(run.report_file(of), report, preferred_row(report)["name"]))
    try:
        rows, starts = run.rows(), run.starts()
    except (ValueError, KeyError, TypeError):
        starts = []
    if not starts:
        raise UserError(f"{folder}: environment.json or metrics.jsonl is missing or damaged; restore it from a copy")
    if not report["images_with_boxes"] and (later := [each.name for each in folder.glob(f"{of.name}-boxes-*.json")]):
        print(f"{folder}: {', '.join(sorted(later))}: on boxes that came later; --shards with that set shows it")
    return ComparedRun(folder, info, report, images, rows, starts[-1], _chosen_cut(run, of))


def _chosen_cut(run: RunDir, of: ReportOf) -> float | None:
    """Of the report on the same images with --threshold auto; None where there is no such report. Warns of one that is
    damaged or of another version.
    """
    with_choice = replace(of, question=Question("auto"))
    if not run.report_file(with_choice).is_file():
        return None
    try:
        report = run.read_report(with_choice)
    except UserError as error:
        print(f"warning: the threshold chosen on other images is not shown. {error}", file=sys.stderr)
        return None
    return preferred_row(report)["cut"]["value"]


def read_model(compared: ComparedRun) -> LocalizingModel:
    """A run's network with the weights of its newest checkpoint, and what was trained or found behind it. Raises
    UserError where there is no checkpoint, or the report is of another.
    """
    run = RunDir(compared.folder)
    _, saved, model = read_trained(run)
    if saved.step != compared.report["step"]:
        raise UserError(
            f"{run.checkpoints}: the newest whole checkpoint is of step {saved.step}, the report of step "
            f"{compared.report['step']}; restore the checkpoint from a copy, or evaluate again"
        )
    return model


def check_alike(runs: Sequence[ComparedRun]) -> None:
    """Raise UserError where a run is named twice, was evaluated on other images, trained on other shards, or shown
    another part of the images.
    """
    first = runs[0]
    folders = [run.folder.resolve() for run in runs]
    for number, run in enumerate(runs):
        if folders[number] in folders[:number]:
            raise UserError(f"{run.folder}: is named twice; leave it out once")
        if run.images.names != first.images.names:
            raise UserError(f"{run.folder}: was evaluated on other images than {first.folder}; report on it alone")
        if run.info.shards_digest != first.info.shards_digest:
            raise UserError(
                f"{run.folder}: was trained on another packed set than {first.folder}; report on it alone, and compare "
                f"their reports on the same boxes with python -m fastwsol.compare"
            )
        if run.info.config.views.fit != first.info.config.views.fit:
            raise UserError(
                f"{run.folder}: sees another part of each image than {first.folder} (--fit); report on it alone"
            )


def settings_of(runs: Sequence[ComparedRun]) -> list[ComparedSetting]:
    """The settings of `runs`, in the order of their first runs. Copies of one run are told apart by their folders."""
    configs = [run.info.config for run in runs]
    if len(set(configs)) < len(configs):
        return [ComparedSetting((str(run.folder),), (run,)) for run in runs]
    of_setting: dict[Setting, list[ComparedRun]] = {}
    for run in runs:
        of_setting.setdefault(run.info.config.setting, []).append(run)
    if len(of_setting) == len(runs):  # then a seed may be what tells two runs apart
        words = differences([config.flat() for config in configs])
        return [ComparedSetting(each, (run,)) for each, run in zip(words, runs, strict=True)]
    words = differences([setting.flat() for setting in of_setting])
    return [ComparedSetting(each, tuple(own)) for each, own in zip(words, of_setting.values(), strict=True)]


def differences(options: Sequence[dict[str, Any]]) -> list[tuple[str, ...]]:
    """What tells runs apart: a word for each option in which they differ, and for a single run its augmentation, after
    the network where it is one of timm.

    options: of each run the values of `Config.flat` or `Setting.flat`.
    """
    if len(options) == 1:
        backbone, aug = options[0]["backbone"], options[0]["aug"]
        return [(aug,) if backbone == PREACT_RESNET else (backbone, aug)]
    differing = differing_options(options)
    return [tuple(_word(name, each[name]) for name in differing) for each in options]


def _word(name: str, value: Any) -> str:
    words = "batch" if name == "batch_size" else name.replace("_", " ")
    if name in ("aug", "backbone"):
        return str(value)
    if isinstance(value, bool):
        return words if value else f"no {words}"
    if name.endswith("_sha256"):
        nothing = "own" if name == "behind_sha256" else "drawn"
        return f"{words.removesuffix(' sha256')} {value[:8] or nothing}"
    return f"{words} {value}"


def of_what(settings: Sequence[ComparedSetting]) -> str:
    """Whose boxes charts and lists are of, to stand behind their titles; nothing where all are of `cam`."""
    names = dict.fromkeys(run.taken["name"] for setting in settings for run in setting.runs)
    if len(names) > 1:
        return ", each by the localizer that predict takes"
    return "" if "cam" in names else f", of {next(iter(names))}"


def short_names(classes: Sequence[Class]) -> list[str]:
    """Classes' short names, whole ones where two would be the same, and with their ids where these are the same too."""
    short, whole = Counter(one.short_name for one in classes), Counter(one.name for one in classes)

    def name_of(one: Class) -> str:
        if short[one.short_name] == 1:
            return one.short_name
        return one.name if whole[one.name] == 1 else f"{one.name} ({one.wnid})"

    return [name_of(one) for one in classes]
