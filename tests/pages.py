"""What the pages of README and docs say: their tables, and the numbers in a text."""

import re
from pathlib import Path

ROOT = Path(__file__).parent.parent
NUMBER = re.compile(r"(?<![\w.])[+-]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?!\w)")


def plain(text: str) -> str:
    """A cell or a line without its markup."""
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text).replace("*", "").replace("`", "").strip()


def tables_of(page: str, heading: str) -> list[dict[str, str]]:
    """The tables under a heading, before the next one: the first cell of each row, and the others' text.

    A row that leaves its first cell to the row above is named by that one's and its own second.
    """
    lines = (ROOT / page).read_text().splitlines()
    begin = next(k for k, line in enumerate(lines) if line.startswith("#") and line.lstrip("# ").startswith(heading))
    tables: list[dict[str, str]] = []
    inside, above = False, ""
    for line in lines[begin + 1 :]:
        if line.startswith("#"):
            break
        if line.startswith("|"):
            if not inside:
                tables.append({})
            first, *cells = (plain(cell) for cell in line.strip().removeprefix("|").removesuffix("|").split("|"))
            above = first or above
            title = first if first and first not in tables[-1] else f"{above}, {cells[0]}"
            tables[-1][title] = " | ".join(cells)
        inside = line.startswith("|")
    return tables
