"""What those who read a report ask of it: which localizer's boxes count, and where they stand."""

from pathlib import Path

from fastwsol.evaluation.report_types import LocalizerRow, Numbers
from fastwsol.localizer.localizers import preferred


def taken_of(report: Numbers) -> LocalizerRow:
    """The localizer whose boxes predictions take; anyone's score maps are the only one."""
    of = {each["name"]: each for each in report["localizers"]}
    return of.get(preferred(of), report["localizers"][0])


def rows_of(report: Numbers, localizer: str) -> str:
    """Which of a report's rows, and of its files' endings, has the boxes of a localizer at its cut: its name, or none
    where that is the paper's threshold.
    """
    first = report["localizers"][0]
    return "" if localizer == first["name"] and first["cut"]["value"] == report["cam_threshold"] else localizer


def rows_file(report: Path, rows: str) -> Path:
    """The CSV file beside a report's with such rows."""
    return report.with_name(f"{report.stem}{f'-{rows}' if rows else ''}.csv")
