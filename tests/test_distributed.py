"""Several processes: the same batches, gradients and numbers as one, whatever their number; real torchrun, on gloo."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import world_trial
from faults.test_rank_death import NOBODY, TESTS
from two_processes import Ended, two_commands, two_processes

from fastwsol import evaluate
from fastwsol import train as training
from fastwsol.batches.dali_batches import DaliBatches
from fastwsol.batches.stream import Stream, evaluation_plan, training_plan, valid_images
from fastwsol.dataset.packer import pack
from fastwsol.dataset.shards import open_shards
from fastwsol.draws import draw_drops
from fastwsol.host.command_line import run_command
from fastwsol.host.device import Autocast, use_threads
from fastwsol.network.attention_dropout import PLACES
from fastwsol.network.networks import input_statistics
from fastwsol.runs.checkpoint import newest_valid
from fastwsol.runs.folder import RunDir
from fastwsol.sources.synthetic import Synthetic
from fastwsol.timetable import Timetable
from fastwsol.training.step import make_loss, new_state, state_tensors

CPU = torch.device("cpu")
STEPS = 12
TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "-m", "faults.rank", *NOBODY]
"""The real thing, whose processes train with a narrow network."""


@pytest.mark.parametrize("world_size", [1, 2, 4, 8])
def test_the_processes_parts_end_to_end_are_the_same_batch(world_size):
    whole = training_plan(3, 100, 32)
    parts = [training_plan(3, 100, 32, rank, world_size) for rank in range(world_size)]
    for step in (0, 2, 3, 40):  # 2 and 3 straddle an epoch's edge
        ids, epochs = whole(step)
        assert np.concatenate([part(step)[0] for part in parts]).tolist() == ids.tolist()
        assert np.concatenate([part(step)[1] for part in parts]).tolist() == epochs.tolist()


@pytest.mark.parametrize("world_size", [1, 2, 3, 5])
def test_evaluation_takes_each_image_once_in_the_same_batches_whatever_the_world_size(world_size):
    count, size = 70, 16
    seen, batches = [], set()
    for rank in range(world_size):
        plan = evaluation_plan(count, size, rank, world_size)
        for number in range(rank, -(-count // size), world_size):
            ids, _ = plan((number - rank) // world_size)
            batches.add(tuple(ids.tolist()))
            seen += ids[: valid_images(number, count, size)].tolist()
    assert sorted(seen) == list(range(count))
    assert batches == {tuple(evaluation_plan(count, size)(number)[0].tolist()) for number in range(5)}


@pytest.fixture(scope="module")
def shards(tmp_path_factory) -> Path:
    """80 train images, and 320 val images: two batches of an evaluation."""
    folder = tmp_path_factory.mktemp("distributed") / "shards"
    pack(Synthetic(class_count=4, train_count=20, val_count=80), folder)
    return folder


OURS = ("--depth", "18", "--stem", "C", "--attention-dropout", "0.5")
BACKBONE = ("--backbone", "mobilenetv2_035")


def flags(shards: Path, run: Path, *more: str, network: tuple[str, ...] = OURS) -> list[str]:
    return [
        *("--aug", "gr-hns", *network, "--batch-size", "16", "--epochs", str(STEPS * 16 / 80)),
        *("--lr", "0.02", "--flip", "--log-steps", "4", "--eval-epochs", "1", "--threads", "1", "--step", "eager"),
        *("--precision", "fp32", "--shards", str(shards), "--run-dir", str(run), *more),
    ]


@pytest.fixture(scope="module")
def run_of_two(shards, tmp_path_factory) -> tuple[Path, Ended]:
    """A finished run of two processes, and what they said."""
    run = tmp_path_factory.mktemp("two") / "run"
    process = two_commands(training.main, flags(shards, run, "--step", "auto"))
    assert process.returncode == 0, process.stderr
    return run, process


def in_turn(shards: Path, parts_of_step, network: tuple[str, ...] = OURS):
    """The run by one process that takes each step's parts in turn and averages their gradients. State, losses, hits."""
    use_threads(1)  # as many as each of the two has: sums of floats depend on it
    opened = open_shards(shards)
    split = opened.splits["train"]
    config = training.read_flags(flags(shards, Path("unused"), network=network)).config
    moments = input_statistics(config.network) or opened.manifest.statistics
    autocast = Autocast(CPU, "fp32")
    state = new_state(config, 4, autocast)
    loss_of = make_loss(state.model, autocast, compiled=False)
    parts: list[DaliBatches] = []
    losses, corrects = [0.0] * STEPS, [0] * STEPS
    for step in range(STEPS):
        count = parts_of_step(step)
        if len(parts) != count:
            size = config.optimizer.batch_size // count
            plans = [
                training_plan(config.seed, len(split), config.optimizer.batch_size, rank, count)
                for rank in range(count)
            ]
            view = config.views, config.seed, moments
            parts = [DaliBatches(Stream(split, plan, size, *view), CPU, threads=1, start=step) for plan in plans]
        for rank, batch in enumerate(map(next, parts)):
            drops = None
            if rate := config.network.attention_dropout:
                drops = torch.from_numpy(draw_drops(rate, PLACES, config.seed, *plans[rank](step)))
            loss, counts = loss_of(batch.images, batch.labels, drops)
            (loss / count).backward()
            losses[step] += loss.item() / count
            corrects[step] += int(counts["correct"])
            if rank == 0:  # its BN statistics are the model's
                kept = [buffer.clone() for buffer in state.model.buffers()]
        for buffer, held in zip(state.model.buffers(), kept, strict=True):
            buffer.copy_(held)
        for group in state.optimizer.param_groups:
            group["lr"] = Timetable(config, len(split)).learning_rate(step)
        state.optimizer.step()
        state.optimizer.zero_grad()
    return state_tensors(state), losses, corrects


def assert_close(run: Path, expected) -> None:
    """Weights, BN statistics and momentum, each to 1e-5 of its norm."""
    saved = newest_valid(run / "checkpoints")
    assert saved.step == STEPS
    for name, tensor in expected.items():
        if not name.startswith("totals."):
            apart = (saved.tensors[name].double() - tensor.double()).norm()
            assert apart <= 1e-5 * tensor.double().norm(), name


def test_two_processes_train_as_one_that_takes_the_halves_in_turn(run_of_two, shards):
    assert_close(run_of_two[0], in_turn(shards, lambda step: 2)[0])


def test_two_processes_fine_tune_a_backbone_of_timm_as_one_does(shards, tmp_path):
    pytest.importorskip("timm", reason="NOT TESTED with timm, which is not installed")
    ended = two_commands(training.main, flags(shards, tmp_path / "run", network=BACKBONE))
    assert ended.returncode == 0, ended.stderr
    assert_close(tmp_path / "run", in_turn(shards, lambda step: 2, BACKBONE)[0])


def test_a_run_of_two_processes_goes_on_with_one(shards, tmp_path):
    """Stopped by torchrun's SIGTERM in mid-epoch; the stream goes on where it was, BN over whole batches from there."""
    run = tmp_path / "run"
    command = [*TORCHRUN, *flags(shards, run, "--log-steps", "1")]
    env = os.environ | {"PYTHONPATH": str(TESTS), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
    for line in process.stdout:
        if line.startswith("step 3/"):
            process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=60) != 0
    stopped_at = newest_valid(run / "checkpoints").step
    assert 3 <= stopped_at < STEPS
    assert len(re.findall("^stopped: ", process.stderr.read(), re.MULTILINE)) == 1
    assert run_command(training.main, flags(shards, run, "--log-steps", "1", "--inexact")) == 0
    assert_close(run, in_turn(shards, lambda step: 2 if step < stopped_at else 1)[0])
    assert [row["step"] for row in RunDir(run).rows() if row["kind"] == "train"] == list(range(1, STEPS + 1))


def test_a_row_counts_all_processes_images(run_of_two, shards):
    rows = [row for row in RunDir(run_of_two[0]).rows() if row["kind"] == "train"]
    assert [row["step"] for row in rows] == [4, 8, 12]
    _, losses, corrects = in_turn(shards, lambda step: 2)
    for row, first in zip(rows, (0, 4, 8), strict=True):
        assert row["loss"] == pytest.approx(np.mean(losses[first : first + 4]), rel=1e-5)
        assert row["train_top1_clas"] == pytest.approx(100 * sum(corrects[first : first + 4]) / 64)


def test_two_processes_train_a_head_behind_a_run(run_of_two, tmp_path):
    head = tmp_path / "head"
    flags = ["--behind", run_of_two[0], "--head-steps", "4", "--head-batch-size", "8", "--run-dir", head]
    ended = two_commands(training.main, [*map(str, flags), "--threads", "1", "--step", "eager"])
    assert ended.returncode == 0, ended.stderr
    names = [each["name"] for each in json.loads((head / "report.json").read_text())["localizers"]]
    assert "mask" in names
    missing = ["--behind", run_of_two[0], "--shards", tmp_path / "none", "--run-dir", tmp_path / "other"]
    ended = two_commands(training.main, [*map(str, missing)])
    assert ended.returncode == 2
    assert ended.stderr.count("error: ") == 1


def test_an_evaluations_numbers_do_not_depend_on_the_world_size(run_of_two, tmp_path):
    run = shutil.copytree(run_of_two[0], tmp_path / "run")
    of_two = json.loads((run / "report.json").read_text())
    (run / "report.json").unlink()
    assert of_two["world_size"] == 2
    assert of_two["images"] == 320
    assert run_command(evaluate.main, [str(run), "--threads", "1"]) == 0
    (again,) = run.glob("report-step-*.json")
    of_one = json.loads(again.read_text())
    assert of_one["world_size"] == 1
    for name in ("counts", "rates", "baselines"):
        assert of_one[name] == of_two[name]
    command = [str(run), "--threads", "1", "--split", "train", "--cam-class", "predicted"]
    process = two_commands(evaluate.main, command)
    assert process.returncode == 0, process.stderr
    (report,) = run.glob("report-train-predicted-step-*.json")
    assert process.stdout.replace("\n", "").count(f"{report.name} holds") == 1, "a long path is folded"
    of_two = json.loads(report.read_text())["counts"]
    report.unlink()
    assert run_command(evaluate.main, command) == 0
    assert json.loads(report.read_text())["counts"] == of_two


def test_each_thing_is_said_once_and_a_small_share_is_warned_of(run_of_two):
    _, process = run_of_two
    assert process.stdout.count("cost: about") == 1
    assert process.stdout.count("step 12/12") == 1
    assert process.stdout.count("│ cam, at .2, strict ") == 1
    assert process.stderr.count("warning: each process has 8 images a step") == 1
    assert "2 processes of 8 images a step" in process.stdout


@pytest.mark.parametrize(
    ("more", "line"),
    [
        (("--batch-size", "15"), "error: --batch-size 15: 2 processes cannot share it evenly; use a multiple of 2"),
        (("--shards", "nowhere"), "error: nowhere: no packed data set"),
        (("--depth", "50"), "error: "),
    ],
)
def test_a_mistake_is_told_once(shards, tmp_path, more, line):
    process = two_commands(training.main, flags(shards, tmp_path / "run", *more))
    assert process.returncode != 0
    told = [each for each in process.stderr.splitlines() if each.startswith("error: ")]
    assert len(told) == 1
    assert told[0].startswith(line)
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def trial(tmp_path_factory) -> list[dict]:
    folder = tmp_path_factory.mktemp("trial")
    process = two_processes(world_trial.main, folder)
    assert process.returncode == 0, process.stderr
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in range(2)]


def test_one_process_of_a_machine_verifies_the_shards(trial):
    (first, _, first_end), (other, other_start, _) = (each["verified"] for each in trial)
    assert (first, other) == (True, False)
    assert other_start >= first_end, "it waited"


def test_processes_of_different_settings_do_not_train_together(trial):
    assert trial[0]["agreed"] is trial[1]["agreed"] is None
    assert trial[0]["disagreed"] == ""
    assert trial[1]["disagreed"].startswith("process 1 has --lr 1 and process 0 has 0; ")


def test_the_others_wait_for_days_for_what_one_does_first(trial):
    assert all(each["hours"] > 24 for each in trial)


def test_the_lead_shares_and_all_add_up(trial):
    for each in trial:
        assert each["value"] == "of 0"
        assert each["sum"] == [3.0, 0.5]
        assert each["least"] == 4
        assert set(each["shared"]) == {0.0}
        assert each["kept_layout"]
    assert [each["done_by"] for each in trial] == [0, None]


def test_an_error_of_one_is_raised_by_all_and_said_by_one(trial):
    assert [each["lead_fails"] for each in trial] == [["UserError", "a mistake"], ["UserError", ""]]
    assert [each["other_fails"] for each in trial] == [["RunFailure", ""], ["RunFailure", "a failure"]]
    assert trial[0]["disk_full"] == ["RunFailure", ""]
    assert trial[1]["disk_full"][0] == "OSError"


def test_wishes_are_granted_to_all_a_step_later(trial):
    granted = [[False, False]] * 6
    granted[3], granted[5] = [True, False], [False, True]
    assert [each["wishes"] for each in trial] == [granted, granted]
