"""Checks, what they found, and the record of a phase: one JSON that is whole after every check, whatever kills it."""

import math
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from fastwsol.host.files import write_json

Outcome = Literal["passed", "failed", "measured", "skipped", "not reached"]


@dataclass(frozen=True)
class Bound:
    """A number and the most it may be; NaN is within no bound."""

    what: str
    value: float
    at_most: float

    @property
    def holds(self) -> bool:
        """Whether the number is within it."""
        return self.value <= self.at_most


@dataclass(frozen=True)
class Finding:
    """What a check found: passed where every bound holds, failed where one does not, measured where it has none."""

    bounds: tuple[Bound, ...] = ()
    figures: dict[str, Any] = field(default_factory=dict)
    """What is worth knowing and has no bound; JSON values. The first ones stand in the table."""

    @property
    def outcome(self) -> Outcome:
        """By the bounds alone."""
        if not self.bounds:
            return "measured"
        return "passed" if all(bound.holds for bound in self.bounds) else "failed"


@dataclass(frozen=True)
class Check:
    """One claim to be tried, or one rate to be measured. An exception fails it."""

    name: str
    run: Callable[[], Finding]
    seconds: float = 5.0
    """About what it takes on a GPU: with less left before the phase's deadline it is not begun."""
    needs_cuda: bool = False


class Record:
    """The checks of one phase as rows, in `path` from the first moment: what was not reached says so."""

    def __init__(self, phase: str, names: Sequence[str], path: Path, about: dict[str, Any]) -> None:
        self.rows: list[dict[str, Any]] = [{"phase": phase, "check": name, "outcome": "not reached"} for name in names]
        self._path, self._about = path, about
        self._write()

    def put(self, index: int, **values: Any) -> None:
        """Add `values` to row `index`, durably."""
        self.rows[index] |= _for_json(values)
        self._write()

    def _write(self) -> None:
        write_json(self._path, {**self._about, "checks": self.rows})


def run_checks(checks: Sequence[Check], record: Record, deadline: float, dry_run: bool) -> None:
    """Carry out `checks` in their order until `deadline` (of time.monotonic) and record each."""
    for index, check in enumerate(checks):
        if check.needs_cuda and (dry_run or not torch.cuda.is_available()):  # a dry run is the CPU's
            record.put(index, outcome="skipped", why="needs CUDA")
        elif time.monotonic() + (0 if dry_run else check.seconds) < deadline:
            start = time.monotonic()
            record.put(index, **_try(check), seconds=round(time.monotonic() - start, 2))
        print(line_of(record.rows[index]), flush=True)


def _try(check: Check) -> dict[str, Any]:
    try:
        finding = check.run()
    except Exception as error:  # of any kind: the checks after it are worth having
        return {"outcome": "failed", "why": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
    bounds = [{"what": each.what, "value": each.value, "at_most": each.at_most} for each in finding.bounds]
    return {"outcome": finding.outcome, "bounds": bounds, "figures": finding.figures}


def _for_json(value: Any) -> Any:
    """`value` with NaN and infinity as words, which JSON has no numbers for."""
    if isinstance(value, dict):
        return {key: _for_json(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_for_json(each) for each in value]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


_SHOWN_FIGURES = 3
_LINE_LENGTH = 120


def line_of(row: dict[str, Any]) -> str:
    """A row as a line: outcome, check, then why, the bounds or the first figures."""
    said = [f"{each['what']} {_short(each['value'])} <= {_short(each['at_most'])}" for each in row.get("bounds", [])]
    if not said:
        figures = {name: value for name, value in row.get("figures", {}).items() if isinstance(value, int | float)}
        said = [f"{name} {_short(value)}" for name, value in figures.items()][:_SHOWN_FIGURES]
    said = [row["why"].splitlines()[0]] if row.get("why") else said
    line = f"{row['outcome']:12}{row['phase']:9}{row['check']}"
    return f"{line}: {'; '.join(said)}"[:_LINE_LENGTH] if said else line


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
