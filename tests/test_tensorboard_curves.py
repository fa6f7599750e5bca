"""`--tensorboard`: the curves that TensorBoard shows are the rows of metrics.jsonl, each once."""

import sys
from pathlib import Path

import pytest
from interference import full_disk

from fastwsol import report, train
from fastwsol.host.command_line import run_command
from fastwsol.runs.folder import RunDir
from fastwsol.runs.tensorboard_curves import curves_of

SMALL = ["--preset", "demo", "--stem", "C", "--batch-size", "8", "--epochs", "1", "--eval-epochs", "0.5"]
SMALL += ["--log-steps", "2", "--step", "eager", "--data", "dali"]


def curves_in(run: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard reads: by tag, steps and values."""
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    events = accumulators.EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    return {tag: [(each.step, each.value) for each in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def expected(run: Path) -> dict[str, list[tuple[int, float]]]:
    found: dict[str, list[tuple[int, float]]] = {}
    for row in RunDir(run).rows():
        for tag, value in curves_of(row):
            found.setdefault(tag, []).append((row["step"], pytest.approx(value, rel=1e-6)))
    return found


def test_curves_are_the_rows_also_after_a_stop_and_of_a_run_that_kept_none(tmp_path, synthetic_shards):
    command = [*SMALL, "--shards", str(synthetic_shards), "--run-dir", str(tmp_path / "run")]
    with full_disk("report.json"):  # stopped after the last evaluation, with curves kept to there
        assert run_command(train.main, [*command, "--tensorboard"]) == 1
    assert {"train/loss", "train/lr", "val_strict/top1_clas", "val_paper2018/gt_known_loc_iou_0.5"} <= curves_in(
        tmp_path / "run"
    ).keys()
    assert run_command(train.main, [*command, "--tensorboard"]) == 0
    assert curves_in(tmp_path / "run") == expected(tmp_path / "run")
    for file in (tmp_path / "run" / "tensorboard").iterdir():
        file.unlink()
    arguments = [str(tmp_path / "run"), "--gallery", "0", "--out", str(tmp_path / "page.html"), "--tensorboard"]
    assert run_command(report.main, arguments) == 0
    assert curves_in(tmp_path / "run") == expected(tmp_path / "run")


def test_without_tensorboard_the_flag_is_refused_before_anything_is_made(
    tmp_path, synthetic_shards, monkeypatch, capsys
):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    command = [*SMALL, "--shards", str(synthetic_shards), "--run-dir", str(tmp_path / "run"), "--tensorboard"]
    assert run_command(train.main, command) == 2
    assert capsys.readouterr().err == "error: --tensorboard: TensorBoard is not installed; pip install tensorboard\n"
    assert not (tmp_path / "run").exists()
