"""What is measured over seeds as one table in a file: CSV for a spreadsheet, Markdown for a page, LaTeX (booktabs) for
a paper.

A line is a localizer of a setting under a protocol, with where its maps are cut. Behind the rates under `strict` stand
MaxBoxAcc and its kin, which are oracles' and of no cut, and pixels of masks.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from fastwsol.evaluation.boxes import ProtocolName
from fastwsol.evaluation.report_types import RunReport
from fastwsol.evaluation.report_words import images_of
from fastwsol.experiments.over_seeds import (
    ORACLE_COLUMNS,
    PIXEL_COLUMNS,
    OverSeeds,
    SeedTable,
    SettingRuns,
    any_report,
    protocols_of,
    rate_columns,
    tables_over_seeds,
)
from fastwsol.host.errors import UserError
from fastwsol.host.files import csv_text, write_bytes
from fastwsol.host.places import require_file


def check_table(path: Path | None) -> None:
    """Raise UserError where the file that --table names has an ending that says no form, or cannot be written."""
    if path is None:
        return
    if path.suffix not in _FORMS:
        raise UserError(f"--table {path}: name a file that ends in {', '.join(_FORMS)}")
    require_file("--table", path)


def write_table(path: Path, settings: Sequence[SettingRuns]) -> None:
    """Write what is measured of `settings`, in percent, in the form that the ending says. A file that is there is
    replaced.
    """
    write_bytes(path, _FORMS[path.suffix](_table(settings)).encode())


def markdown_over_seeds(settings: Sequence[SettingRuns]) -> str:
    """The same as Markdown."""
    return _as_markdown(_table(settings))


_BEGIN = ("protocol", "setting", "cut", "seeds")
_Cells = dict[str, OverSeeds | None]
"""By heading; None where nothing is said."""


@dataclass(frozen=True)
class _Line:
    """A line of the file, before it takes a form."""

    begin: tuple[str, str, str, str]
    """In the order of `_BEGIN`."""
    cells: _Cells


@dataclass(frozen=True)
class _Table:
    about: str
    """What it was measured on."""
    columns: Sequence[str]
    """The headings of those measures that a line has."""
    lines: Sequence[_Line]

    def texts(self) -> list[list[str]]:
        """Heading and lines, means and standard deviations in one cell."""
        rows = [
            [*each.begin, *("" if (cell := each.cells.get(name)) is None else cell.text for name in self.columns)]
            for each in self.lines
        ]
        return [[*_BEGIN, *self.columns], *rows]


def _table(settings: Sequence[SettingRuns]) -> _Table:
    report, tables = any_report(settings), tables_over_seeds(settings)
    if report is None:
        return _Table("no run is finished yet", [], [])
    lines: list[_Line] = []
    for protocol in protocols_of(report):
        lines += [line for runs in settings for line in _lines_of(runs, protocol, report, tables)]
        lines += _lines_of_others([each for each in tables if each.protocol == protocol], protocol)
    lines += _lines_of_others([each for each in tables if not each.protocol], "")
    said = [name for each in lines for name, cell in each.cells.items() if cell is not None]
    about = f"{report['source']}, {images_of(report)}"
    return _Table(about, [*dict.fromkeys(said)], lines)


def _lines_of(
    runs: SettingRuns, protocol: ProtocolName, report: RunReport, tables: Sequence[SeedTable]
) -> Iterator[_Line]:
    """A setting's lines under a protocol: of its localizers under `strict`, where they are told apart, else of one."""
    has_boxes, has_masks = bool(report["images_with_boxes"]), any(not each.protocol for each in tables)
    apart = has_boxes or has_masks
    names = [each for each in runs.localizers() if each == "cam" or (protocol == "strict" and apart)]
    for name in names:
        cells: _Cells = {
            _heading(title): OverSeeds.of(runs.values_under(protocol, name, rate))
            for rate, title in rate_columns(report).items()
        }
        if protocol == "strict" and has_boxes:
            for measure, title in ORACLE_COLUMNS.items():
                cells[_heading(title, " (oracle)")] = OverSeeds.of(runs.values_of_oracle(name, measure))
        if protocol == "strict" and has_masks:
            for measure, title in PIXEL_COLUMNS.items():
                cells[_heading(title)] = OverSeeds.of(runs.values_of_pixels(name, measure))
        title, cut = (runs.title_of(name), runs.cut_under(name)) if apart else (runs.name, "")
        yield _Line((protocol, title, cut, str(len(runs.reports))), cells)
    if not names:
        yield _Line((protocol, runs.name, "", "0"), {})


def _lines_of_others(tables: Sequence[SeedTable], protocol: str) -> list[_Line]:
    """The lines of what is no setting's, as fixed boxes: those of one name are one."""
    lines: dict[str, _Line] = {}
    for table in tables:
        ending = " (oracle)" if table.columns is ORACLE_COLUMNS else ""
        headings = [_heading(title, ending) for title in table.columns.values()]
        for row in table.rows:
            if not row.is_own:
                line = lines.setdefault(row.name, _Line((protocol, row.title, "", row.seeds_text), {}))
                line.cells.update(zip(headings, row.cells, strict=True))
    return [*lines.values()]


def _heading(title: str, ending: str = "") -> str:
    return f"{title} %{ending}".replace("\n", " ")


def _as_csv(table: _Table) -> str:
    """With a column of standard deviations behind that of each measure; empty where there is none."""

    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.2f}"

    heading = [each for name in table.columns for each in (name, f"{name} deviation")]
    rows = []
    for line in table.lines:
        cells = [line.cells.get(name) or OverSeeds(None) for name in table.columns]
        rows.append([*line.begin, *(number(each) for cell in cells for each in (cell.mean, cell.deviation))])
    return csv_text([[*_BEGIN, *heading], *rows])


def _as_markdown(table: _Table) -> str:
    heading, *rows = ([cell.replace("|", "\\|") for cell in line] for line in table.texts())
    rule = ["---"] * len(heading)
    return f"{table.about}\n\n" + "".join(f"| {' | '.join(line)} |\n" for line in (heading, rule, *rows))


_OF_LATEX = {"\\": r"\textbackslash{}", "±": r"$\pm$", "–": "--", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


def _as_latex(table: _Table) -> str:
    def escaped(text: str) -> str:
        return "".join(_OF_LATEX.get(each) or (f"\\{each}" if each in "&%$#_{}" else each) for each in text)

    def cell(text: str) -> str:
        return "-{}-".join(map(escaped, text.split("--")))  # else two hyphens are a dash

    heading, *rows = (" & ".join(map(cell, line)) + " \\\\" for line in table.texts())
    columns = "lll" + "r" * (1 + len(table.columns))
    body = [f"\\begin{{tabular}}{{{columns}}}", "\\toprule", heading, "\\midrule", *rows, "\\bottomrule"]
    about = " ".join(table.about.split())
    return "\n".join([f"% {about}", *body, "\\end{tabular}", ""])


_FORMS: dict[str, Callable[[_Table], str]] = {".csv": _as_csv, ".md": _as_markdown, ".tex": _as_latex}
