"""Promise 8: where the disk is full a command ends in one line, and goes on from what it had once there is room."""

import random
from pathlib import Path

import pytest

from fastwsol.host.files import PARTIAL_SUFFIX

from .tally import Tally
from .test_kill_proof import Work, evaluating, packing, survives, training

__all__ = ["evaluating", "packing", "training"]  # fixtures

PROMISE = "8 disk full"
LIMITS = (0, 100, 1_000, 20_000, 1_000_000)
"""Bytes that a file can have: no file at all, no JSON, no row, no shard, no weights."""


def told(log: Path) -> bool:
    """Whether what was said is one line, and no traceback."""
    said = log.read_text()
    return said.count("failed: ") == 1 and "Traceback" not in said


def leftovers(place: Path) -> list[Path]:
    return list(place.rglob(f"*{PARTIAL_SUFFIX}")) if place.is_dir() else []


@pytest.mark.parametrize("name", ["packing", "training", "evaluating"])
def test_no_room_at_a_durable_write(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, tally: Tally, full: bool
) -> None:
    work: Work = request.getfixturevalue(name)
    count = tally.of(PROMISE, f"{work.name}: no space left at a write boundary")
    boundaries = range(work.boundaries)
    for boundary in boundaries if full else random.Random(2).sample(boundaries, min(2, len(boundaries))):
        place, log = tmp_path / f"{boundary}", tmp_path / f"{boundary}.log"
        status = work.begin(place, log, full_at_write=boundary).wait()
        ended = status == 1 and told(log)
        count(f"boundary {boundary}: {status}", ended and survives(work, place, log) and not leftovers(place))
    assert count.lost == []


@pytest.mark.parametrize("name", ["packing", "training", "evaluating"])
def test_no_file_can_grow(name: str, request: pytest.FixtureRequest, tmp_path: Path, tally: Tally, full: bool) -> None:
    """RLIMIT_FSIZE; the log is a file too, which therefore may lack the line."""
    work: Work = request.getfixturevalue(name)
    count = tally.of(PROMISE, f"{work.name}: files of at most 0 to 1,000,000 bytes")
    for limit in LIMITS if full else LIMITS[3:4]:
        place, log = tmp_path / f"{limit}", tmp_path / f"{limit}.log"
        status = work.begin(place, log, file_bytes=limit).wait()
        log.unlink()
        fits = status == 0 and name != "training"  # small files are small enough
        count(f"{limit} bytes: {status}", (status == 1 or fits) and (fits or survives(work, place, log)))
        assert leftovers(place) == []
    assert count.lost == []
