"""Tables over seeds as files: CSV for a spreadsheet, Markdown for a page, LaTeX (booktabs) for a paper."""

from collections.abc import Callable, Sequence
from pathlib import Path

from fastwsol.evaluation.boxes import PROTOCOLS
from fastwsol.experiments.tables import COLUMNS, PIXEL_COLUMNS, SeedRow, SettingRuns, pixel_rows, rows_over_seeds
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
    """Write the rows of each protocol, and those of pixels where there are masks, in the form that the ending says. A
    file that is there is replaced.
    """
    write_bytes(path, _FORMS[path.suffix](_lines(settings)).encode())


def _lines(settings: Sequence[SettingRuns]) -> list[list[str]]:
    of_pixels = pixel_rows(settings)
    pixel_titles = [*PIXEL_COLUMNS.values()] if of_pixels else []
    lines = [["protocol", "percent", "seeds", *(title.replace("\n", " ") for title in COLUMNS.values()), *pixel_titles]]
    for protocol in PROTOCOLS:
        for row in rows_over_seeds(settings, protocol):
            lines.append([protocol, *_begin(row), *row.cells, *([""] * len(pixel_titles))])
    for row in of_pixels:
        lines.append(["pixels", *_begin(row), *([""] * len(COLUMNS)), *row.cells])
    return lines


def _begin(row: SeedRow) -> list[str]:
    return [row.name, "" if row.seeds is None else str(row.seeds)]


def _as_csv(lines: Lines) -> str:
    return csv_text(lines)


def _as_markdown(lines: Lines) -> str:
    heading, *rows = ([cell.replace("|", "\\|") for cell in line] for line in lines)
    rule = ["---"] * len(heading)
    return "".join(f"| {' | '.join(line)} |\n" for line in (heading, rule, *rows))


_OF_LATEX = {"\\": r"\textbackslash{}", "±": r"$\pm$", "–": "--", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


def _as_latex(lines: Lines) -> str:
    def cell(text: str) -> str:
        return "".join(_OF_LATEX.get(each) or (f"\\{each}" if each in "&%$#_{}" else each) for each in text)

    heading, *rows = (" & ".join(map(cell, line)) + " \\\\" for line in lines)
    columns = "ll" + "r" * (len(lines[0]) - 2)
    body = [f"\\begin{{tabular}}{{{columns}}}", "\\toprule", heading, "\\midrule", *rows, "\\bottomrule"]
    return "\n".join([*body, "\\end{tabular}", ""])


_FORMS: dict[str, Callable[[Lines], str]] = {".csv": _as_csv, ".md": _as_markdown, ".tex": _as_latex}
