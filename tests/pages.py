"""What the pages of README and docs say: their commands, their tables, and the numbers in a text."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
DOCS = sorted((ROOT / "docs").glob("*.md"))
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS]
WITH_COMMANDS = [page for page in PAGES if page.name != "results.md"]
"""Those of results are of the commits that they name."""
STAND_INS = {"DEPTH": "18", "AUG": "gr", "SEED": "0", "SPLIT": "val"}
NUMBER = re.compile(r"(?<![\w.])[+-]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?!\w)")
BLOCK = re.compile(r"^```[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)
WORKS_OFFLINE = ("pack", "train", "evaluate", "predict", "convert", "review", "export", "sweep", "report", "compare")


def commands_of(page: Path) -> Iterator[list[str]]:
    """The words of each command of ours in a page: those of its blocks, and those in its text that have flags."""
    for line in code_of(page):
        yield from ours(line)


def code_of(page: Path) -> Iterator[str]:
    """The lines of a page's blocks, continued ones joined, and the code in its text."""
    text = page.read_text()
    for block in BLOCK.findall(text):
        yield from block.replace("\\\n", " ").splitlines()
    yield from re.findall(r"`([^`\n]+)`", BLOCK.sub("", text))


def ours(line: str) -> Iterator[list[str]]:
    line = line.partition("  #")[0].partition(" # ")[0]
    found = re.search(r"(?:python -m fastwsol\.(\w+)|-m fastwsol\.(\w+)|python scripts/(pack)\.py)(.*)", line)
    if found is None or "..." in found[4] or "[--" in found[4]:
        return
    name = found[1] or found[2] or found[3]
    words = [STAND_INS.get(word, word) for word in shlex.split(found[4])]
    if name in WORKS_OFFLINE and words:
        yield [name, *words]


def plain(text: str) -> str:
    """A cell or a line without its markup."""
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text).replace("*", "").replace("`", "").strip()


def tables_of(page: str, heading: str) -> list[dict[str, str]]:
    """The tables under a heading, before the next one: the first cell of each row, and the others' text.

    A row that leaves its first cell to the row above is named by that one's and its own first that is not empty.
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
            title = first if first and first not in tables[-1] else f"{above}, {next(filter(None, cells), '')}"
            assert title not in tables[-1], f"{page}, {heading}: two rows {title!r}"
            tables[-1][title] = " | ".join(cells)
        inside = line.startswith("|")
    return tables


COMMANDS = [(page.name, command) for page in WITH_COMMANDS for command in commands_of(page)]
