"""Faults counted: how many were injected, and after how many nothing was lost."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fastwsol.host.environment import environment

ROWS = "fault rows"
"""Under which a test's report carries its own."""
Row = tuple[str, str, int, int]
"""Promise, kind of fault, injected, lost."""


@dataclass
class Count:
    """Of one kind of fault."""

    injected: int = 0
    lost: list[str] = field(default_factory=list)
    """What was lost, and to which fault."""

    def __call__(self, fault: str, survived: bool) -> None:
        """Note a fault."""
        self.injected += 1
        if not survived:
            self.lost.append(fault)


@dataclass
class Tally:
    """By promise and kind of fault."""

    counts: dict[tuple[str, str], Count] = field(default_factory=dict)

    def of(self, promise: str, kind: str) -> Count:
        """The count of a kind."""
        return self.counts.setdefault((promise, kind), Count())

    def rows(self) -> list[Row]:
        """What a test's report can carry from one process to another."""
        return [(*key, count.injected, len(count.lost)) for key, count in self.counts.items()]


class Table:
    """A plugin of pytest that gathers the rows of all tests, whichever process they ran in, and writes the table."""

    def __init__(self, path: Path, command: str) -> None:
        self._path, self._command = path, command
        self._rows: list[Row] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test's rows are complete when its fixtures are torn down."""
        if report.when == "teardown":
            self._rows += [row for name, rows in report.user_properties if name == ROWS for row in rows]

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """All tests have run; of some that failed there is nothing to show."""
        if exitstatus == 0:
            self._path.write_text(as_markdown(self._rows, self._command))


def as_markdown(rows: Iterable[Row], command: str) -> str:
    """The table of all tests' rows, in the order of the promises, and what it was made by and on."""
    totals: dict[tuple[str, str], tuple[int, int]] = {}
    for promise, kind, injected, lost in rows:
        before = totals.get((promise, kind), (0, 0))
        totals[promise, kind] = before[0] + injected, before[1] + lost
    made = environment()
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    machine = f"{made['machine']['processor']}, {made['machine']['cores']} cores"
    lines = [f"Made by `{command}` at commit {made['git']}, on {machine}; {versions}.", ""]
    lines += ["| promise | fault | injected | survived | lost |", "|---|---|---:|---:|---:|"]
    for (promise, kind), (injected, lost) in sorted(totals.items(), key=lambda each: _number(each[0][0])):
        lines.append(f"| {promise} | {kind} | {injected:,} | {injected - lost:,} | {lost:,} |")
    return "\n".join(lines) + "\n"


def _number(promise: str) -> int:
    return int(promise.split()[0])
