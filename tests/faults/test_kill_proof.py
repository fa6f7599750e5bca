"""Promise 1: killed at any write or any moment, packing, training and evaluating lose no more than a checkpoint."""

import json
import random
import re
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from equal import contents, end_of

from fastwsol.dataset.shards import open_shards
from fastwsol.runs.checkpoint import newest_valid

from .dying import Trial
from .tally import Tally
from .works import STEPS, evaluate_small, pack_small, train_small

PROMISE = "1 kill-proof"
MOMENTS = 100
"""Of each command, in full."""


class Work:
    """A command that can be killed: how to carry it out in a folder, and what must hold afterwards."""

    def __init__(self, name: str, begin: Callable[..., Trial], whole: Callable[[Path], bool], folder: Path) -> None:
        self.name, self.begin, self.whole = name, begin, whole
        assert begin(folder / "first", folder / "log").wait() == 0, folder / "log"  # makes what others find made
        start = time.monotonic()
        assert begin(folder / "unbroken", folder / "log", writes=folder / "writes").wait() == 0, folder / "log"
        self.seconds = time.monotonic() - start
        self.unbroken = folder / "unbroken"
        self.boundaries = int((folder / "writes").read_text())


@pytest.fixture(scope="module")
def packing(tmp_path_factory: pytest.TempPathFactory) -> Work:
    def begin(place: Path, output: Path, **how: object) -> Trial:
        return Trial(pack_small, place, output=output, **how)

    def whole(place: Path) -> bool:
        open_shards(place)
        return contents(place) == contents(work.unbroken)

    work = Work("pack", begin, whole, tmp_path_factory.mktemp("packing"))
    return work


@pytest.fixture(scope="module")
def training(tmp_path_factory: pytest.TempPathFactory, synthetic_shards: Path) -> Work:
    def begin(place: Path, output: Path, **how: object) -> Trial:
        return Trial(train_small, synthetic_shards, place, output=output, **how)

    def whole(place: Path) -> bool:
        return end_of(place, STEPS) == end_of(work.unbroken, STEPS)

    work = Work("train", begin, whole, tmp_path_factory.mktemp("training"))
    return work


@pytest.fixture(scope="module")
def evaluating(tmp_path_factory: pytest.TempPathFactory, training: Work) -> Work:
    """Of one finished run, whose report is made again."""

    def begin(place: Path, output: Path, **how: object) -> Trial:
        return Trial(evaluate_small, training.unbroken, output=output, **how)

    def whole(place: Path) -> bool:
        return json.loads((training.unbroken / "report.json").read_text())["counts"] == before

    before = json.loads((training.unbroken / "report.json").read_text())["counts"]
    return Work("evaluate", begin, whole, tmp_path_factory.mktemp("evaluating"))


def survives(work: Work, place: Path, log: Path) -> bool:
    """Whether the same command, once more, comes to the end that an unbroken one comes to, or says that it is there."""
    status = work.begin(place, log).wait()
    if status != 0 and not (status == 2 and PACKED.search(log.read_text())):
        return False
    return work.whole(place)


PACKED = re.compile(r"^error: .*is packed already, and whole", re.MULTILINE)


def lost_steps(place: Path, log: Path) -> int:
    """Steps of a killed training that are said to be done and are in no checkpoint."""
    said = [int(step) for step in re.findall(r"^step (\d+)/", log.read_text(), re.MULTILINE)]
    saved = newest_valid(place / "checkpoints") if (place / "checkpoints").is_dir() else None
    return max(said, default=0) - (saved.step if saved is not None else 0)


@pytest.mark.parametrize("name", ["packing", "training", "evaluating"])
def test_killed_at_a_durable_write(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, tally: Tally, full: bool
) -> None:
    work: Work = request.getfixturevalue(name)
    boundaries = range(work.boundaries)
    count = tally.of(PROMISE, f"{work.name}: SIGKILL at each of its {work.boundaries} write boundaries")
    for boundary in boundaries if full else random.Random(0).sample(boundaries, min(2, len(boundaries))):
        place, log = tmp_path / f"{boundary}", tmp_path / f"{boundary}.log"
        assert work.begin(place, log, dies_at_write=boundary).wait() == -9
        lost = lost_steps(place, log) if name == "training" else 0
        count(f"boundary {boundary}", survives(work, place, log) and lost <= 1)
    assert count.lost == []


@pytest.mark.parametrize("name", ["packing", "training", "evaluating"])
def test_killed_at_any_moment(
    name: str, request: pytest.FixtureRequest, tmp_path: Path, tally: Tally, full: bool
) -> None:
    work: Work = request.getfixturevalue(name)
    count = tally.of(PROMISE, f"{work.name}: SIGKILL at random moments")
    moments = random.Random(1)
    for number in range(MOMENTS if full else 2):
        place, log = tmp_path / f"{number}", tmp_path / f"{number}.log"
        trial = work.begin(place, log)
        trial.wait(moments.uniform(0, work.seconds))
        if trial.kill() == 0:  # it was faster
            continue
        lost = lost_steps(place, log) if name == "training" and log.is_file() else 0
        count(f"moment {number}", survives(work, place, log) and lost <= 1)
    assert count.lost == []
