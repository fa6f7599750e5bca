"""The finished runs of a sweep, and the file that holds what they reached."""

import sys
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any

from fastwsol.config import Setting
from fastwsol.evaluation.report_types import RunReport
from fastwsol.experiments.over_seeds import SettingRuns, any_report
from fastwsol.experiments.paper_claims import CLAIMS
from fastwsol.experiments.settings import SweepPlan
from fastwsol.experiments.tables import against_first, claim_tables
from fastwsol.host.environment import without_folders
from fastwsol.runs.folder import RunDir
from fastwsol.runs.reports import ReportOf

FORMAT_VERSION = 4


def finished_runs(plan: SweepPlan, runs: Sequence[tuple[Setting, Path]]) -> list[SettingRuns]:
    """The settings of a sweep, each with the reports of those of its runs that are finished. runs: which of the
    settings each is of, and its folder.
    """
    reports: dict[Setting, list[RunReport]] = {setting: [] for setting in plan.settings}
    folder_of_square: dict[int, Path] = {}
    for setting, folder in runs:
        run = RunDir(folder)
        config = run.read_info().config
        if not setting.views.store_size:
            folder_of_square.setdefault(config.views.store_size, folder)
        reports[setting].append(run.read_report(ReportOf(config.eval_split)))
    if len(folder_of_square) > 1:
        cases = ", ".join(f"{side or 'none'} ({folder.name})" for side, folder in sorted(folder_of_square.items()))
        print(
            f"warning: runs were shown squares of different sides, as there was room: {cases}; name --store-size",
            file=sys.stderr,
        )
    return [SettingRuns(plan.name(setting), setting, of_setting) for setting, of_setting in reports.items()]


def results_json(settings: Sequence[SettingRuns]) -> dict[str, Any]:
    """All of it, with the command (without the folders of this machine), commit and machine of each run."""
    report = any_report(settings)
    names, tables = {runs.setting: runs.name for runs in settings}, claim_tables(settings)
    return {
        "format_version": FORMAT_VERSION,
        "source": report["source"] if report is not None else None,
        "split": report["split"] if report is not None else None,
        "classes": report["classes"] if report is not None else None,
        "images": report["images"] if report is not None else None,
        "images_with_boxes": report["images_with_boxes"] if report is not None else None,
        "baselines": report["baselines"] if report is not None else [],
        "mask_baselines": report["masks"]["baselines"] if report is not None and "masks" in report else [],
        "settings": [{"name": runs.name, "finished": len(runs.reports)} for runs in settings],
        "runs": [{"setting": runs.name, **_of_a_run(report)} for runs in settings for report in runs.reports],
        "claims": [
            {
                "claim": CLAIMS[table.claim],
                "better": comparison.sides[0],
                "worse": comparison.sides[1],
                "setting": names[comparison.worse],
                "protocol": protocol,
                "points": difference.points,
                "half_interval": difference.half_interval if difference.half_interval < float("inf") else None,
                "verdict": difference.verdict,
            }
            for table in tables
            for comparison, differences in zip(table.comparisons, table.differences, strict=True)
            for protocol, difference in differences.items()
        ],
        "verdicts": [
            {"claim": CLAIMS[table.claim], "of": table.verdict_name, "protocol": protocol, "verdict": verdict}
            for table in tables
            for protocol, verdict in table.verdicts.items()
        ],
        "against_first": _against_first(settings),
    }


def _against_first(settings: Sequence[SettingRuns]) -> dict[str, Any] | None:
    """The table of settings of one's own against the first: points, and half of the interval for all rows at once."""
    found = against_first(settings)
    if found is None:
        return None
    return {
        "first": found.first,
        "localizer": found.localizer,
        "rows": [
            {"setting": name, "rate": rate, "points": each.points, "half_interval": half if isfinite(half) else None}
            for name, cells in found.rows.items()
            for rate, (each, half) in zip(found.rates, cells, strict=True)
        ],
    }


def _of_a_run(report: RunReport) -> dict[str, Any]:
    """What is kept of a run's report; curves and classes stay there."""
    return {
        "config": report["config"],
        "step": report["step"],
        "rates": report["rates"],
        "intervals": report["intervals"],
        "localizers": [
            {name: value for name, value in row.items() if name not in ("curve", "classes")}
            for row in report["localizers"]
        ],
        "command": without_folders(report["command"]),
        "versions": report["versions"],
        "git": report["git"],
        "machine": report["machine"],
        "seconds": report["seconds"],
    }
