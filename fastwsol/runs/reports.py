"""The reports in a run's folder: which there are, and how they are written beside those that are there."""

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fastwsol.evaluation.per_image import ImageRows
from fastwsol.evaluation.question import NOTHING_MORE, Question
from fastwsol.evaluation.report_rows import ReportRows
from fastwsol.evaluation.report_types import REPORT_FORMAT_VERSION, RunReport
from fastwsol.host.errors import UserError
from fastwsol.host.files import write_json


@dataclass(frozen=True)
class ReportOf:
    """Which report. `report.json` is the report on val, with nothing more asked for, of the run's last checkpoint, in
    the number format that the run was trained in. Every other one has a file of its own, named after what is different.
    """

    split: str
    question: Question = NOTHING_MORE
    precision: str | None = None
    """Where it is not the one trained in."""
    step: int | None = None
    """Where it is not the run's last."""
    shards_digest: str | None = None
    """Of the packed set, where its boxes are not those of the run's own."""

    @property
    def name(self) -> str:
        """The file's name, without its ending."""
        parts, asked = ["report"], self.question
        parts += [self.split] if self.split != "val" else []
        parts += [asked.cam_class] if asked.cam_class != "truth" else []
        parts += [f"threshold-{asked.threshold}"] if asked.threshold is not None else []
        parts += ["wsoleval"] if asked.wsoleval else []
        parts += [self.precision] if self.precision is not None else []
        parts += [f"step-{self.step:09d}"] if self.step is not None else []
        parts += [f"boxes-{self.shards_digest[:8]}"] if self.shards_digest is not None else []
        return "-".join(parts)

    @property
    def flags(self) -> str:
        """The flags with which `evaluate` asks this question of the newest checkpoint."""
        parts, asked = [f"--split {self.split}"], self.question
        parts += [f"--cam-class {asked.cam_class}"] if asked.cam_class != "truth" else []
        parts += [f"--threshold {asked.threshold}"] if asked.threshold is not None else []
        parts += ["--wsoleval"] if asked.wsoleval else []
        parts += [f"--precision {self.precision}"] if self.precision is not None else []
        return " ".join(parts)


def report_in(path: Path) -> RunReport | None:
    """A report of this version, or None where there is none. Raises UserError for one of a later version."""
    try:
        report: RunReport = json.loads(path.read_bytes())
        version: object = report["format_version"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    if type(version) is int and version > REPORT_FORMAT_VERSION:
        raise UserError(f"{path}: was written by a later version of fastwsol (format {version}); use that version")
    return report if version == REPORT_FORMAT_VERSION else None


def write_report(path: Path, report: RunReport, rows: ReportRows) -> RunReport | None:
    """Write a report and its localizers' `rows` where there is none of this version, and return None. Otherwise
    return the report that is there, which stays as it is. If a CSV file of it is missing, damaged or has fewer
    columns, and the counts are the same, that file is written again. Raises UserError for a report of a later
    version.
    """
    if (there := report_in(path)) is not None:
        if counts_of(there) == counts_of(json.loads(json.dumps(report))):
            for file, each in rows.files(path):
                _mend_rows(each, file)
        return there
    for file, each in rows.files(path):
        each.write(file)
    write_json(path, report)  # last: it says that the run is finished
    return None


def counts_of(report: RunReport) -> dict[str, Any]:
    """The counts of a report, of each localizer, and which masks were measured against, in which ways: two evaluations
    with equal ones say the same.
    """
    masks = report.get("masks")
    of_masks = None if masks is None else masks["digest"]
    ways = sorted({name for each in report["localizers"] for name in each.get("pixels", ())})
    counts = {each["name"]: each["counts"] for each in report["localizers"]}
    return {"": report["counts"], "masks": of_masks, "ways": ways, **counts}


def _mend_rows(rows: ImageRows, path: Path) -> None:
    """Write the rows of a report where its file is missing, damaged, or of a version that had fewer columns."""
    try:
        is_older = ImageRows.read(path).best_hits is None and rows.best_hits is not None
    except UserError:
        rows.write(path)
        return
    if is_older:
        with contextlib.suppress(OSError):  # as of a folder that is only to be read: the file is whole
            rows.write(path)
