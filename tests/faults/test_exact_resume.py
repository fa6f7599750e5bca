"""Promise 2: a run killed after any step goes on to the very bits of an unbroken one, or is refused where it cannot."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from equal import contents, end_of

from fastwsol.dataset.packer import pack
from fastwsol.sources.synthetic import Synthetic
from fastwsol.training.resume import changes, promises_bits

from .dying import Trial
from .tally import Tally
from .works import STEPS, train_small

PROMISE = "2 exact resume"
WAYS = {
    f"{data}, {precision}": ("--data", data, "--precision", precision)
    for data in ("dali", "resident")
    for precision in ("fp32", "bf16")
}
SOME_STEPS = {"dali, fp32": 5, "resident, bf16": 12}
"""The end of an epoch, and the middle of one: without --full, each of two ways has one of them."""


@pytest.mark.parametrize("way", WAYS)
def test_killed_after_a_step(way: str, synthetic_shards: Path, tmp_path: Path, tally: Tally, full: bool) -> None:
    """Weights, momentum, draws and rows: digests and values are equal."""
    if not full and way not in SOME_STEPS:
        pytest.skip(f"{way}: two other ways are tried; add --full")

    def run(name: str, **how: int) -> Trial:
        return Trial(train_small, synthetic_shards, tmp_path / name, *WAYS[way], output=tmp_path / f"{name}.log", **how)

    assert run("unbroken").wait() == 0
    count = tally.of(PROMISE, f"SIGKILL after each of {STEPS} steps, {way}")
    for step in range(1, STEPS + 1) if full else (SOME_STEPS[way],):
        assert run(f"{step}", dies_after_step=step).wait() == -9
        count(
            f"step {step}",
            run(f"{step}").wait() == 0 and end_of(tmp_path / f"{step}", STEPS) == end_of(tmp_path / "unbroken", STEPS),
        )
    assert count.lost == []


HEAD_STEPS = 6
WITH_HEAD = ("--localizer", "mask", "--head-steps", str(HEAD_STEPS), "--head-batch-size", "8")


def test_killed_in_the_training_of_the_mask_head(
    synthetic_shards: Path, tmp_path: Path, tally: Tally, full: bool
) -> None:
    """Head, moments, what steers the loss, and rows are equal; the classifier is trained once."""

    def run(name: str, **how: int) -> Trial:
        return Trial(train_small, synthetic_shards, tmp_path / name, *WITH_HEAD, output=tmp_path / f"{name}.log", **how)

    assert run("unbroken").wait() == 0
    count = tally.of(PROMISE, f"SIGKILL after each of {HEAD_STEPS} steps of a mask head")
    last = STEPS + HEAD_STEPS
    for step in range(STEPS, last + 1) if full else (STEPS + 3,):
        assert run(f"{step}", dies_after_step=step).wait() == -9
        same = run(f"{step}").wait() == 0 and end_of(tmp_path / f"{step}", last) == end_of(tmp_path / "unbroken", last)
        count(f"step {step}", same)
    assert count.lost == []


CHANGED_FLAGS = {
    "threads 1 -> 2": ("--threads", "2"),
    "step_mode eager -> compiled": ("--step", "compiled"),
    "was trained in fp32 and this would go on in bf16": ("--precision", "bf16"),
    "holds another run (--lr 0.02, not 0.01)": ("--lr", "0.01"),
    "holds another run (--aug gr-hns, not none)": ("--aug", "none"),
}
BEFORE: dict[str, dict[str, Any]] = {
    "torch 2.0.0 -> ": {"versions": {"torch": "2.0.0"}},
    "numba 0.1 -> ": {"versions": {"numba": "0.1"}},
    "decoder simplejpeg 0.1 -> ": {"versions": {"simplejpeg": "0.1"}},
    "fastwsol's source 0123 -> ": {"source": "0123"},
    "processor an abacus -> ": {"processor": "an abacus"},
    "processor ['an abacus', 'another'] -> ": {"processor": ["an abacus", "another"]},
    "processes 2 -> 1": {"processes": 2},
    "environment.json is gone": {},
}
"""As if the run had been begun with other packages or elsewhere."""
OTHER_SHARDS = "was begun on other shards"
GO_ON = ("threads 1 -> 2", "environment.json is gone")


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory, synthetic_shards: Path) -> tuple[Path, Path]:
    """A run killed after its seventh step, in the middle of an epoch, and one that was not. Shared: copy them."""
    folder = tmp_path_factory.mktemp("stopped")
    assert Trial(train_small, synthetic_shards, folder / "unbroken", *FP32, output=folder / "log").wait() == 0
    died = Trial(train_small, synthetic_shards, folder / "run", *FP32, output=folder / "log", dies_after_step=7)
    assert died.wait() == -9
    return folder / "run", folder / "unbroken"


FP32 = ("--precision", "fp32")


def refused(run: Path, shards: Path, log: Path, change: str, *more: str) -> bool:
    """Whether a training is refused that names the change, and leaves the run as it is."""
    before = contents(run)
    status = Trial(train_small, shards, run, *FP32, *more, output=log).wait()
    said = log.read_text()
    named = said.count("error: ") == 1 and change in said
    return status == 2 and named and contents(run) == before


@pytest.mark.parametrize("change", [*CHANGED_FLAGS, *BEFORE, OTHER_SHARDS])
def test_what_would_change_the_bits_is_refused_by_name(
    change: str, stopped: tuple[Path, Path], synthetic_shards: Path, tmp_path: Path, tally: Tally, full: bool
) -> None:
    """And where it is undone, the run goes on to the very bits (without --full a few do: all are the same run then)."""
    run, log, shards = shutil.copytree(stopped[0], tmp_path / "run"), tmp_path / "log", synthetic_shards
    environment = run / "environment.json"
    original = environment.read_text()
    if BEFORE.get(change):
        (start,) = json.loads(original)["starts"]
        versions = start["versions"] | BEFORE[change].get("versions", {})
        environment.write_text(json.dumps({"starts": [start | BEFORE[change] | {"versions": versions}]}))
    elif change in BEFORE:
        environment.unlink()
    elif change == OTHER_SHARDS:
        shards = tmp_path / "shards"
        pack(Synthetic(class_count=4, train_count=20, val_count=10, seed=1), shards)
    count = tally.of(PROMISE, "a changed environment, configuration or data set: refused by name")
    was_refused = refused(run, shards, log, change, *CHANGED_FLAGS.get(change, ()))
    environment.write_text(original)
    if full or change in GO_ON:
        goes_on = Trial(train_small, synthetic_shards, run, *FP32, output=log).wait() == 0
        was_refused = was_refused and goes_on and end_of(run, STEPS) == end_of(stopped[1], STEPS)
    count(change, was_refused)
    assert count.lost == [], log.read_text()


def test_told_so_it_goes_on_with_a_warning(stopped: tuple[Path, Path], synthetic_shards: Path, tmp_path: Path) -> None:
    run, log = shutil.copytree(stopped[0], tmp_path / "run"), tmp_path / "log"
    flags = (*FP32, "--threads", "2", "--inexact")
    assert Trial(train_small, synthetic_shards, run, *flags, output=log).wait() == 0
    assert "warning: continued with threads 1 -> 2: equal to the bit no longer" in log.read_text()
    assert [start["threads"] for start in json.loads((run / "environment.json").read_text())["starts"]] == [1, 2]


def test_a_start_whose_work_is_lost_decides_nothing(
    stopped: tuple[Path, Path], synthetic_shards: Path, tmp_path: Path
) -> None:
    """One with two threads that was killed before its first checkpoint."""
    run, log = shutil.copytree(stopped[0], tmp_path / "run"), tmp_path / "log"
    environment = run / "environment.json"
    starts = json.loads(environment.read_text())["starts"]
    environment.write_text(json.dumps({"starts": [*starts, starts[0] | {"step": saved_step(run), "threads": 2}]}))
    assert Trial(train_small, synthetic_shards, run, *FP32, output=log).wait() == 0
    assert end_of(run, STEPS) == end_of(stopped[1], STEPS)
    assert refused(shutil.copytree(stopped[0], tmp_path / "again"), synthetic_shards, log, "threads", "--threads", "2")


def saved_step(run: Path) -> int:
    return max(json.loads(path.read_text())["step"] for path in (run / "checkpoints").glob("*.json"))


def test_a_damaged_environment_is_one_line(stopped: tuple[Path, Path], synthetic_shards: Path, tmp_path: Path) -> None:
    run, log = shutil.copytree(stopped[0], tmp_path / "run"), tmp_path / "log"
    for content in ("", "{", '{"starts": [{"threads": 1}]}'):
        (run / "environment.json").write_text(content)
        log.unlink(missing_ok=True)
        assert refused(run, synthetic_shards, log, "environment.json: damaged")


def test_all_steps_done_and_no_report_is_checked_too(synthetic_shards: Path, tmp_path: Path) -> None:
    """What comes is the evaluation alone, whose numbers another machine would round otherwise."""
    run, log = tmp_path / "run", tmp_path / "log"
    assert Trial(train_small, synthetic_shards, run, *FP32, output=log).wait() == 0
    for report in run.glob("report.*"):
        report.unlink()
    log.unlink()
    assert refused(run, synthetic_shards, log, "threads 1 -> 2", "--threads", "2")
    assert Trial(train_small, synthetic_shards, run, *FP32, output=log).wait() == 0


def test_a_gpu_that_promises_no_bits_refuses_nothing() -> None:
    """Without --deterministic; its CPU threads decide nothing in any case."""
    gpu = {"device": "cuda", "deterministic": False, "threads": 8, "GPU": "A", "processes": 1}
    assert changes(gpu, gpu | {"threads": 16}) == []
    assert changes(gpu, gpu | {"GPU": "B"}) == ["GPU A -> B"]
    assert not promises_bits(gpu)
    assert promises_bits(gpu | {"deterministic": True})
