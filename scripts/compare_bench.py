"""Compare two result files of the benchmarks: which ratios moved, and by more than their spread.

    pytest bench --benchmark-only --results new.json
    python scripts/compare_bench.py old.json new.json

A ratio, ours over another way to do the same, is worse when its new 95 % interval lies wholly below the old one and
its median fell by more than --slack percent; better is the same upwards. The slack stands for what the rounds of one
run have in common and two runs do not: where memory came to lie, the clock, the neighbours. Ratios are compared and
not images/s, since both sides of a ratio saw the same machine.

Exit status: 0 nothing worse, 1 something worse, 2 a file that is no result file.
"""

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.console import Console
from rich.table import Table

from fastwsol.host.command_line import FAILURE, parse_flags, run_command
from fastwsol.host.errors import UserError

FORMAT_VERSION = 1
CONTEXT = ("machine", "versions")
BUSY = 0.5  # a load average above this, before a run started, came from something else

Key = tuple[str, str]
"""Name of a benchmark, and of the side that ours is set against."""


@dataclass(frozen=True)
class Flags:
    """The command line."""

    old: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OLD")]
    """result file of before"""
    new: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="NEW")]
    """result file of after"""
    slack: float = 5.0
    """percent that a ratio may move whatever the intervals say"""


@dataclass(frozen=True)
class Ratio:
    """Median and 95 % interval of the rounds' ratios."""

    ratio: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.ratio:.2f} ({self.low:.2f} .. {self.high:.2f})"


def main(arguments: Sequence[str]) -> int:
    """Print the table and what limits its meaning."""
    flags = parse_flags(Flags, arguments, "scripts/compare_bench.py", "Compare two result files of the benchmarks.")
    if not (math.isfinite(flags.slack) and flags.slack >= 0):
        raise UserError(f"--slack {flags.slack}: must be at least 0")
    old_file, new_file = read_results(flags.old), read_results(flags.new)
    old, new = ratios_of(old_file, flags.old), ratios_of(new_file, flags.new)
    both = [key for key in new if key in old]
    if not both:
        raise UserError(f"{flags.old} and {flags.new} have no benchmark in common: nothing to compare")
    verdicts = {key: verdict(old[key], new[key], flags.slack / 100) for key in both}

    console = Console(highlight=False, width=None if Console().is_terminal else 120)
    for line in differences(old_file, new_file):
        console.print(f"warning: {line}", style="yellow", markup=False)
    console.print(comparison(old, new, verdicts))
    for word, keys in (("vanished", old.keys() - new.keys()), ("appeared", new.keys() - old.keys())):
        for name, other in sorted(keys):
            console.print(f"{word}: {name}, over {other}", markup=False)
    count = {word: list(verdicts.values()).count(word) for word in ("worse", "better", "same")}
    console.print(
        f"{count['worse']} worse, {count['better']} better, {count['same']} within the intervals or {flags.slack:g} %"
    )
    return FAILURE if count["worse"] else 0


def read_results(path: Path) -> dict[str, Any]:
    """The result file at `path`. Raises UserError where it is none."""
    try:
        results = json.loads(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); name a file of `pytest bench --results`") from None
    except ValueError:
        raise UserError(f"{path}: is not JSON; name a file of `pytest bench --benchmark-only --results`") from None
    version = results.get("format_version") if isinstance(results, dict) else None
    if version != FORMAT_VERSION or "benchmarks" not in results:
        raise UserError(
            f"{path}: is no result file of format {FORMAT_VERSION} (found {version!r}); make it anew with "
            f"`pytest bench --benchmark-only --results FILE`"
        )
    benchmarks, load = results["benchmarks"], results.get("load_average", [0])
    is_list = isinstance(benchmarks, list) and all(isinstance(each, dict) and "name" in each for each in benchmarks)
    has_load = isinstance(load, list) and load and all(isinstance(each, int | float) for each in load)
    if not (is_list and has_load and all(isinstance(results.get(part), dict) for part in CONTEXT)):
        raise UserError(f"{path}: damaged (its parts are of other types); measure anew, or name another")
    return results


def ratios_of(results: dict[str, Any], path: Path) -> dict[Key, Ratio]:
    """All ratios of a result file. Raises UserError for one that is incomplete or no positive numbers in order."""
    ratios = {}
    try:
        for benchmark in results["benchmarks"]:
            for each in benchmark["ratios"]:
                ratio = Ratio(float(each["ratio"]), float(each["low"]), float(each["high"]))
                if not 0 < ratio.low <= ratio.ratio <= ratio.high < math.inf:
                    raise ValueError(f"a ratio of {ratio}")
                ratios[benchmark["name"], each["other"]] = ratio
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{path}: damaged ({type(error).__name__}: {error}); measure anew, or name another") from None
    return ratios


def verdict(old: Ratio, new: Ratio, slack: float) -> str:
    """The rule of this file's docstring."""
    if new.high < old.low and new.ratio < old.ratio * (1 - slack):
        return "worse"
    if new.low > old.high and new.ratio > old.ratio * (1 + slack):
        return "better"
    return "same"


def differences(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    """What keeps the two files from being comparable, a line each."""
    lines = []
    for part in CONTEXT:
        before, after = old[part], new[part]
        names = [name for name in {**before, **after} if before.get(name) != after.get(name)]
        lines += [f"another {part}: {name} {before.get(name)} -> {after.get(name)}" for name in names]
    of_old = {each["name"]: each for each in old["benchmarks"]}
    for benchmark in new["benchmarks"]:
        before = of_old.get(benchmark["name"], benchmark)
        for part in ("cores", "data", "parameters"):
            if before.get(part) != benchmark.get(part):
                lines.append(f"another {part} in {benchmark['name']}: {before.get(part)} -> {benchmark.get(part)}")
    for name, results in (("old", old), ("new", new)):
        if (load := max(results.get("load_average", [0]))) > BUSY:
            lines.append(f"the machine was busy before the {name} run (load average {load:.1f})")
    return lines


def comparison(old: dict[Key, Ratio], new: dict[Key, Ratio], verdicts: dict[Key, str]) -> Table:
    """A row a ratio that both files have, in the new file's order."""
    table = Table(title="ours over the others: median (95 % interval)", title_justify="left", title_style="bold")
    for column in ("benchmark", "over"):
        table.add_column(column)
    for column in ("old", "new", "change"):
        table.add_column(column, justify="right")
    table.add_column("")
    styles = {"worse": "bold red", "better": "green", "same": None}
    for (name, other), word in verdicts.items():
        before, after = old[name, other], new[name, other]
        change = f"{100 * (after.ratio / before.ratio - 1):+.0f} %"
        words = (name, other, str(before), str(after), change, word)
        table.add_row(*(word.replace("[", r"\[") for word in words), style=styles[word])
    return table


if __name__ == "__main__":
    sys.exit(run_command(main))
