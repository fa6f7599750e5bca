"""Promise 13: of two processes at the same folder one works, and the other waits or is told; no file is of both."""

import shutil
from pathlib import Path

import pytest
from equal import contents, end_of

from fastwsol.batches.decoded_store import Store, default_folder
from fastwsol.dataset.shards import open_shards

from .dying import Trial
from .tally import Tally
from .works import STEPS, build_store, pack_small, train_small

PROMISE = "13 two at once"
AT_WORK = "another process is at work here"


def both(*trials: Trial) -> list[int | None]:
    return [trial.wait() for trial in trials]


@pytest.mark.parametrize("trial", range(2))
def test_two_packings_into_one_folder(trial: int, tmp_path: Path, tally: Tally) -> None:
    assert Trial(pack_small, tmp_path / "alone", output=tmp_path / "log").wait() == 0
    logs = [tmp_path / "a.log", tmp_path / "b.log"]
    ends = both(*(Trial(pack_small, tmp_path / "out", output=log) for log in logs))
    count = tally.of(PROMISE, "two packings into one folder")
    said = "".join(log.read_text() for log in logs)
    told = sorted(ends) == [0, 2] and (AT_WORK in said or "is packed already, and whole" in said)
    count(f"{ends}: {said}", told and contents(tmp_path / "out") == contents(tmp_path / "alone"))
    assert count.lost == []


def test_two_trainings_in_one_folder(synthetic_shards: Path, tmp_path: Path, tally: Tally) -> None:
    assert Trial(train_small, synthetic_shards, tmp_path / "alone", output=tmp_path / "log").wait() == 0
    logs = [tmp_path / "a.log", tmp_path / "b.log"]
    ends = both(*(Trial(train_small, synthetic_shards, tmp_path / "run", output=log) for log in logs))
    count = tally.of(PROMISE, "two trainings in one folder")
    said = "".join(log.read_text() for log in logs)
    told = sorted(ends) == [0, 2] and (AT_WORK in said or "another process has finished this run" in said)
    told = told or (ends == [0, 0] and "this run is finished" in said)
    count(f"{ends}: {said}", told and end_of(tmp_path / "run", STEPS) == end_of(tmp_path / "alone", STEPS))
    assert count.lost == []


@pytest.mark.parametrize("trial", range(3))
def test_two_builds_of_one_store(trial: int, synthetic_shards: Path, tmp_path: Path, tally: Tally) -> None:
    """Both work on, since one waits for the other."""
    whole = shutil.copytree(synthetic_shards, tmp_path / "whole", ignore=shutil.ignore_patterns("decoded"))
    shards = shutil.copytree(whole, tmp_path / "shards")
    ends = both(*(Trial(build_store, shards, output=tmp_path / f"{number}.log") for number in range(2)))
    opened, alone = open_shards(shards), open_shards(whole)
    folder = default_folder(opened)
    built = Store(opened, "train", folder).is_built()
    count = tally.of(PROMISE, "two builds of one store")
    same = (
        Store(opened, "train", folder).open(1).values == Store(alone, "train", default_folder(alone)).open(1).values
    ).all()
    count(f"{ends}", ends == [0, 0] and built and bool(same))
    assert sorted(path.name for path in folder.iterdir()) == ["train.json", "train.lock", "train.npy"]
    assert count.lost == []
