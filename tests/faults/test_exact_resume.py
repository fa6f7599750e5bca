"""Promise 2: a run killed after any step goes on to the very bits of an unbroken one."""

from pathlib import Path

import pytest

from .dying import Trial
from .tally import Tally
from .test_kill_proof import end_of
from .works import STEPS, train_small

PROMISE = "2 exact resume"
WAYS = {
    f"{data}, {precision}": ("--data", data, "--precision", precision)
    for data in ("dali", "resident")
    for precision in ("fp32", "bf16")
}
SOME_STEPS = (1, 5, 12)
"""The first, the end of an epoch, and the middle of one: what is tried where not all steps are."""


@pytest.mark.parametrize("way", WAYS)
def test_killed_after_a_step(way: str, synthetic_shards: Path, tmp_path: Path, tally: Tally, full: bool) -> None:
    """Weights, momentum, draws and rows: digests and values are equal."""

    def run(name: str, **how: int) -> Trial:
        return Trial(train_small, synthetic_shards, tmp_path / name, *WAYS[way], output=tmp_path / f"{name}.log", **how)

    assert run("unbroken").wait() == 0
    count = tally.of(PROMISE, f"SIGKILL after each of {STEPS} steps, {way}")
    for step in range(1, STEPS + 1) if full else SOME_STEPS:
        assert run(f"{step}", dies_after_step=step).wait() == -9
        count(
            f"step {step}", run(f"{step}").wait() == 0 and end_of(tmp_path / f"{step}") == end_of(tmp_path / "unbroken")
        )
    assert count.lost == []
