"""Tables over seeds as files: CSV for a spreadsheet, Markdown for a page, LaTeX (booktabs) for a paper.

All tables are one: a line for each setting and localizer under each protocol; MaxBoxAcc and its kin, and pixels of
masks, stand behind the rates under `strict`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fastwsol.experiments.over_seeds import (
    ORACLE_COLUMNS,
    PIXEL_COLUMNS,
    OverSeeds,
    SeedRow,
    SettingRuns,
    any_report,
    oracle_rows,
    pixel_rows,
    protocols_of,
    rate_columns,
    rows_over_seeds,
)
from fastwsol.host.command_line import require_file
from fastwsol.host.errors import UserError
from fastwsol.host.files import csv_text, write_bytes

Lines = Sequence[Sequence[str]]
"""The heading, and a line for each row."""


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


@dataclass
class _Line:
    """A line of the file, before it takes a form."""

    protocol: str
    row: SeedRow
    """What it begins with."""
    cells: dict[str, OverSeeds | None] = field(default_factory=dict)
    """By heading."""


@dataclass(frozen=True)
class _Table:
    lines: Sequence[_Line]
    columns: Sequence[str]
    """The headings of those measures that a line has."""

    def texts(self, begin: Sequence[str]) -> list[list[str]]:
        """Heading and lines of text, means and standard deviations in one cell."""
        rows = [
            [*_begin(each), *("" if (cell := each.cells.get(name)) is None else cell.text for name in self.columns)]
            for each in self.lines
        ]
        return [[*begin, *self.columns], *rows]


def _table(settings: Sequence[SettingRuns]) -> _Table:
    report = any_report(settings)
    if report is None:
        return _Table([], [])
    lines: list[_Line] = []

    def add(protocol: str, rows: Sequence[SeedRow], columns: Mapping[str, str]) -> None:
        """Add cells to the lines of these rows' settings under `strict`, and new lines where there are none."""
        there = {(each.protocol, each.row.kind, each.row.name): each for each in lines}
        for row in rows:
            line = there.get((protocol or protocols_of(report)[0], row.kind, row.name))
            if line is None:
                line = _Line(protocol, row)
                lines.append(line)
            line.cells |= zip((title.replace("\n", " ") for title in columns.values()), row.cells, strict=True)

    for protocol in protocols_of(report):
        add(protocol, rows_over_seeds(settings, protocol), rate_columns(report))
    add(protocols_of(report)[0], oracle_rows(settings), ORACLE_COLUMNS)
    add("", pixel_rows(settings), PIXEL_COLUMNS)
    said = [name for each in lines for name, cell in each.cells.items() if cell is not None]
    order = [*protocols_of(report), ""]
    return _Table(sorted(lines, key=lambda each: order.index(each.protocol)), [*dict.fromkeys(said)])


_BEGIN = ["protocol", "setting", "cut", "seeds"]


def _begin(line: _Line) -> list[str]:
    return [line.protocol, line.row.title, line.row.cut, line.row.seeds_text]


def _as_csv(table: _Table) -> str:
    """With a column of standard deviations behind that of each measure; empty where there is none."""

    def number(value: float | None) -> str:
        return "" if value is None else f"{value:.2f}"

    heading = [each for name in table.columns for each in (name, f"{name} deviation")]
    rows = []
    for line in table.lines:
        cells = [line.cells.get(name) or OverSeeds(None) for name in table.columns]
        rows.append([*_begin(line), *(number(each) for cell in cells for each in (cell.mean, cell.deviation))])
    return csv_text([[*_BEGIN, *heading], *rows])


def _as_markdown(table: _Table) -> str:
    heading, *rows = ([cell.replace("|", "\\|") for cell in line] for line in table.texts(_BEGIN))
    rule = ["---"] * len(heading)
    return "".join(f"| {' | '.join(line)} |\n" for line in (heading, rule, *rows))


_OF_LATEX = {"\\": r"\textbackslash{}", "±": r"$\pm$", "–": "--", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


def _as_latex(table: _Table) -> str:
    def escaped(text: str) -> str:
        return "".join(_OF_LATEX.get(each) or (f"\\{each}" if each in "&%$#_{}" else each) for each in text)

    def cell(text: str) -> str:
        return "-{}-".join(map(escaped, text.split("--")))  # else two hyphens are a dash

    heading, *rows = (" & ".join(map(cell, line)) + " \\\\" for line in table.texts(_BEGIN))
    columns = "lll" + "r" * (1 + len(table.columns))
    body = [f"\\begin{{tabular}}{{{columns}}}", "\\toprule", heading, "\\midrule", *rows, "\\bottomrule"]
    return "\n".join([*body, "\\end{tabular}", ""])


_FORMS: dict[str, Callable[[_Table], str]] = {".csv": _as_csv, ".md": _as_markdown, ".tex": _as_latex}
