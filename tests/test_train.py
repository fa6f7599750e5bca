"""Training: exact resume, honest stops, refusals. On the synthetic set, the shallowest network, a handful of steps."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from equal import end_of
from interference import around_steps, bad_images, compiler_ended_by_a_signal, full_disk, signalled_after
from layouts import png
from torch.nn.modules.module import register_module_forward_pre_hook

from fastwsol import evaluate, report
from fastwsol import train as training
from fastwsol.dataset.packer import pack
from fastwsol.dataset.shards import open_shards
from fastwsol.evaluation.forward import forward_split
from fastwsol.host.command_line import run_command
from fastwsol.host.files import sole_worker
from fastwsol.network import preact_resnet
from fastwsol.runs.checkpoint import hash_of, newest_valid
from fastwsol.runs.folder import RunDir
from fastwsol.sources.imagefolder import ImageFolder
from fastwsol.sources.synthetic import Synthetic

STEPS = 12
"""Of 16 images out of 80: the second epoch begins with step 5, the third with step 10."""


def flags(shards: Path, run: Path, *more: str) -> list[str]:
    return [
        *("--aug", "gr-hns", "--depth", "18", "--stem", "C", "--batch-size", "16", "--epochs", str(STEPS * 16 / 80)),
        *("--lr", "0.02", "--flip", "--log-steps", "4", "--eval-epochs", "1", "--threads", "1", "--step", "eager"),
        *("--shards", str(shards), "--run-dir", str(run), *more),
    ]


def run_train(*arguments: str) -> int:
    return run_command(training.main, list(arguments))


@pytest.fixture(scope="module")
def unbroken(synthetic_shards, tmp_path_factory) -> Path:
    """A run that nothing disturbed."""
    run = tmp_path_factory.mktemp("unbroken") / "run"
    assert run_train(*flags(synthetic_shards, run)) == 0
    return run


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("fastwsol.training.loop.forward_split", "step 5 of 12 is saved in "),
        ("fastwsol.evaluation.of_network.forward_split", "all 12 steps are done and saved in "),
    ],
    ids=["in mid-run", "at the end"],
)
def test_a_stop_is_heeded_in_an_evaluation_which_the_same_command_does_again(
    unbroken, synthetic_shards, tmp_path, monkeypatch, capsys, place, said
):
    def signalled(*arguments, **options):
        os.kill(os.getpid(), signal.SIGTERM)
        return forward_split(*arguments, **options)

    with monkeypatch.context() as patched:
        patched.setattr(place, signalled)
        assert run_train(*flags(synthetic_shards, tmp_path / "run")) == 75
    assert said in capsys.readouterr().err
    assert run_train(*flags(synthetic_shards, tmp_path / "run")) == 0
    assert end_of(tmp_path / "run", STEPS) == end_of(unbroken, STEPS)


def test_an_untrained_network_is_not_evaluated(synthetic_shards, tmp_path):
    """Where an evaluation is due after every step, and would have been before the first."""
    more = ("--epochs", "0.4", "--eval-epochs", "0.1")
    assert run_train(*flags(synthetic_shards, tmp_path / "run", *more)) == 0
    assert [row["step"] for row in RunDir(tmp_path / "run").rows() if row["kind"] == "eval"] == [1, 2]


@pytest.mark.parametrize("last", [5, 7], ids=["at an epoch's edge", "inside an epoch"])
def test_a_run_stopped_and_continued_equals_an_unbroken_one(unbroken, synthetic_shards, tmp_path, last):
    """Weights, momentum, totals and metrics rows, bit for bit."""
    with signalled_after(last, signal.SIGTERM):
        assert run_train(*flags(synthetic_shards, tmp_path / "run")) == 75
    assert newest_valid(tmp_path / "run" / "checkpoints").step == last
    assert run_train(*flags(synthetic_shards, tmp_path / "run")) == 0
    assert end_of(tmp_path / "run", STEPS) == end_of(unbroken, STEPS)


def test_a_killed_run_continues_from_its_last_checkpoint_to_the_same_end(unbroken, synthetic_shards, tmp_path):
    """SIGKILL, so nothing is tidied up; rows written after the checkpoint are done again, not doubled."""
    run = tmp_path / "run"
    narrow = f"from fastwsol.network import preact_resnet; preact_resnet.WIDTHS = {preact_resnet.WIDTHS}"
    train = "import sys; from fastwsol import train; sys.exit(train.main(sys.argv[1:]))"
    command = [sys.executable, "-c", f"{narrow}; {train}"]
    command += flags(synthetic_shards, run, "--checkpoint-minutes", "0")
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    for line in process.stdout:
        if line.startswith("step 8/"):
            process.kill()
    assert process.wait() == -signal.SIGKILL
    killed_at = newest_valid(run / "checkpoints").step
    assert 7 <= killed_at < STEPS
    with (run / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "train", "step": 11, "loss": 0.0}\n{"kind": "tra')  # what a later kill leaves
    assert run_train(*flags(synthetic_shards, run)) == 0
    assert end_of(run, STEPS) == end_of(unbroken, STEPS)
    starts = json.loads((run / "environment.json").read_text())["starts"]
    assert [start["step"] for start in starts] == [0, killed_at]


def test_a_compiled_run_on_two_threads_continues_to_the_same_bits(synthetic_shards, tmp_path, one_block_a_group):
    """As users run it; an evaluation lies on each side of the stop."""

    def compiled(run):
        return run_train(*flags(synthetic_shards, run, "--threads", "2", "--step", "compiled"))

    assert compiled(tmp_path / "unbroken") == 0
    with signalled_after(7, signal.SIGTERM):
        assert compiled(tmp_path / "run") == 75
    assert compiled(tmp_path / "run") == 0
    assert end_of(tmp_path / "run", STEPS) == end_of(tmp_path / "unbroken", STEPS)


@pytest.mark.parametrize("last", [4, 6], ids=["where images grow", "between"])
def test_what_a_recipe_may_add_continues_to_the_same_bits(synthetic_shards, tmp_path, last):
    """Sides 32, 48 and 64, four steps each."""
    more = (
        *("--start-size", "32", "--mix", "cutmix", "--average-steps", "3", "--label-smoothing", "0.1"),
        *("--attention-dropout", "0.5"),
    )
    assert run_train(*flags(synthetic_shards, tmp_path / "unbroken", *more)) == 0
    with signalled_after(last, signal.SIGTERM):
        assert run_train(*flags(synthetic_shards, tmp_path / "run", *more)) == 75
    assert run_train(*flags(synthetic_shards, tmp_path / "run", *more)) == 0
    assert end_of(tmp_path / "run", STEPS) == end_of(tmp_path / "unbroken", STEPS)


def test_a_run_with_averaged_weights_is_evaluated_with_them(synthetic_shards, tmp_path):
    """At its end, and by `evaluate`: the same report, and not the one of the weights themselves."""
    run = tmp_path / "run"
    assert run_train(*flags(synthetic_shards, run, "--average-steps", "3")) == 0
    saved = newest_valid(run / "checkpoints").tensors
    assert not torch.equal(saved["average.fc.weight"], saved["model.fc.weight"])
    seen = []
    before = json.loads((run / "report.json").read_text())
    hook = register_module_forward_pre_hook(lambda module, _: seen.append(module) if hasattr(module, "fc") else None)
    with hook:
        assert run_command(evaluate.main, [str(run), "--threads", "1"]) == 0
    assert json.loads((run / "report.json").read_text())["counts"] == before["counts"]
    for name, tensor in seen[0].state_dict().items():
        assert torch.equal(tensor, saved[f"average.{name}"]), name


@pytest.fixture
def restored_determinism(monkeypatch):
    """`--deterministic` is for the whole process; give the next test its process back."""
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    cudnn = torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic
    yield
    torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = cudnn
    torch.use_deterministic_algorithms(False)


@pytest.mark.usefixtures("restored_determinism")
def test_deterministic_reaches_every_step_and_is_not_part_of_what_the_run_is(
    unbroken, synthetic_shards, tmp_path, capsys
):
    """Begun without and continued with it: the same run, to the same bits on a CPU, and nothing to be told."""
    run = tmp_path / "run"
    with signalled_after(5, signal.SIGTERM):
        assert run_train(*flags(synthetic_shards, run)) == 75
    seen, cudnn = [], torch.backends.cudnn

    def look(_state):
        seen.append((torch.are_deterministic_algorithms_enabled(), cudnn.deterministic, not cudnn.benchmark))

    with around_steps(after=look):
        assert run_train(*flags(synthetic_shards, run, "--deterministic")) == 0
    assert seen == [(True, True, True)] * (STEPS - 5)
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert end_of(run, STEPS) == end_of(unbroken, STEPS)
    assert "to the bit no longer" not in capsys.readouterr().err
    starts = json.loads((run / "environment.json").read_text())["starts"]
    assert [start["deterministic"] for start in starts] == [False, True]


def test_a_run_begun_before_a_setting_was_recorded_continues(unbroken, synthetic_shards, tmp_path, capsys):
    run = tmp_path / "run"
    with signalled_after(5, signal.SIGTERM):
        run_train(*flags(synthetic_shards, run))
    path = run / "environment.json"
    (start,) = json.loads(path.read_text())["starts"]
    del start["deterministic"]
    path.write_text(json.dumps({"starts": [start]}))
    assert run_train(*flags(synthetic_shards, run)) == 0
    assert "to the bit no longer" not in capsys.readouterr().err
    assert end_of(run, STEPS) == end_of(unbroken, STEPS)


def test_a_damaged_checkpoint_falls_back_to_the_one_before(unbroken, synthetic_shards, tmp_path, capsys):
    run = tmp_path / "run"
    with signalled_after(7, signal.SIGTERM):
        run_train(*flags(synthetic_shards, run, "--checkpoint-minutes", "0"))
    newest = run / "checkpoints" / "step-000000007.safetensors"
    content = bytearray(newest.read_bytes())
    content[len(content) // 2] ^= 1
    newest.write_bytes(content)
    capsys.readouterr()
    assert run_train(*flags(synthetic_shards, run)) == 0
    assert re.search(r"warning: .*step-000000007.safetensors.*SHA-256", capsys.readouterr().err)
    assert end_of(run, STEPS) == end_of(unbroken, STEPS)


def test_only_the_newest_checkpoints_are_kept(synthetic_shards, tmp_path):
    with signalled_after(6, signal.SIGTERM):
        run_train(*flags(synthetic_shards, tmp_path / "run", "--checkpoint-minutes", "0"))
    steps = sorted(path.name for path in (tmp_path / "run" / "checkpoints").iterdir())
    assert steps == [f"step-{done:09d}.{kind}" for done in (4, 5, 6) for kind in ("json", "safetensors")]


def test_a_run_killed_before_its_report_only_writes_that(unbroken, synthetic_shards, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(unbroken, run)
    (run / "report.json").unlink()
    assert run_command(evaluate.main, [str(run), "--threads", "1"]) == 0
    assert not (run / "report.json").exists(), "an evaluation does not finish a run"
    metrics = run / "metrics.jsonl"
    metrics.write_text(metrics.read_text()[:-20])  # it may die while it writes its last row
    assert run_train(*flags(synthetic_shards, run)) == 0
    assert end_of(run, STEPS) == end_of(unbroken, STEPS)
    assert (run / "report.json").is_file()


def test_of_a_finished_run_the_report_is_printed_and_nothing_is_touched(
    unbroken, synthetic_shards, tmp_path, capsys, monkeypatch
):
    before = {path: path.stat().st_mtime_ns for path in unbroken.rglob("*")}
    monkeypatch.setattr(training, "open_feed", lambda *_, **__: pytest.fail("nothing is decoded for it"))
    for resume in ("auto", "require"):
        assert run_train(*flags(synthetic_shards, unbroken, "--resume", resume)) == 0
        said = capsys.readouterr().out
        assert f"{unbroken}: this run is finished and was not trained again" in said
        assert "GT-known" in said
        assert str(unbroken / "report.json") in said
    assert run_train(*flags(synthetic_shards, unbroken, "--resume", "never")) == 2
    assert f"--resume never: {unbroken} holds this run, finished" in capsys.readouterr().err
    pack(Synthetic(class_count=4, train_count=20, val_count=10, seed=1), tmp_path / "other")
    assert run_train(*flags(tmp_path / "other", unbroken)) == 2
    assert "was begun on other shards" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in unbroken.rglob("*")} == before


def test_another_configuration_in_a_runs_folder_is_refused_by_name(unbroken, synthetic_shards, capsys):
    assert run_train(*flags(synthetic_shards, unbroken, "--seed", "3")) == 2
    said = capsys.readouterr().err
    assert "--seed 0, not 3" in said
    (newest,) = sorted((unbroken / "checkpoints").glob("*.safetensors"))[-1:]
    assert f"choose another --run-dir (--init {newest} there begins with its weights)" in said


def test_other_shards_under_an_unfinished_run_are_refused(synthetic_shards, tmp_path, capsys):
    with signalled_after(1, signal.SIGTERM):
        run_train(*flags(synthetic_shards, tmp_path / "run"))
    pack(Synthetic(class_count=4, train_count=20, val_count=10, seed=1), tmp_path / "other")
    assert run_train(*flags(tmp_path / "other", tmp_path / "run")) == 2
    assert "was begun on other shards" in capsys.readouterr().err


def test_a_channel_that_is_the_same_everywhere_is_trained_on(tmp_path):
    """As of fluorescence under one filter."""
    random = np.random.default_rng(0)
    for name in "ab":
        (tmp_path / "set" / name).mkdir(parents=True)
        for number in range(12):
            pixels = random.integers(0, 256, (64, 64, 3), np.uint8)
            pixels[..., 2] = 0
            (tmp_path / "set" / name / f"{number}.png").write_bytes(png(pixels))
    pack(ImageFolder(tmp_path / "set"), tmp_path / "shards")
    assert open_shards(tmp_path / "shards").manifest.statistics.std[2] == 0
    assert run_train(*flags(tmp_path / "shards", tmp_path / "run", "--batch-size", "4")) == 0
    info = RunDir(tmp_path / "run").read_info()
    assert info.statistics.std[2] == pytest.approx(255 / 12**0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        assert run_command(report.main, [str(tmp_path / "run"), "--out", str(tmp_path / "page.html")]) == 0


def test_a_folder_with_foreign_files_is_refused(synthetic_shards, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    assert run_train(*flags(synthetic_shards, tmp_path / "run")) == 2
    assert "choose another --run-dir" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["thesis.txt"]


def test_a_signal_that_ends_the_compiler_too_loses_no_step(synthetic_shards, tmp_path, capsys):
    """It comes while images of the next size are compiled; the step was begun."""
    growing = ("--start-size", "32", "--end-size", "64")
    assert run_train(*flags(synthetic_shards, tmp_path / "whole", *growing)) == 0
    with compiler_ended_by_a_signal():
        assert run_train(*flags(synthetic_shards, tmp_path / "run", *growing)) == 75
    assert "the same command continues" in capsys.readouterr().err
    assert run_train(*flags(synthetic_shards, tmp_path / "run", *growing)) == 0
    assert end_of(tmp_path / "run", STEPS) == end_of(tmp_path / "whole", STEPS)


def test_resume_flag_demands_or_forbids_continuing(synthetic_shards, tmp_path, capsys):
    run = tmp_path / "run"
    assert run_train(*flags(synthetic_shards, run, "--resume", "require")) == 2
    assert "no checkpoint to continue from" in capsys.readouterr().err
    with signalled_after(1, signal.SIGTERM):
        assert run_train(*flags(synthetic_shards, run, "--resume", "never")) == 75
    assert run_train(*flags(synthetic_shards, run, "--resume", "never")) == 2
    assert "unfinished" in capsys.readouterr().err


def test_nan_stops_with_step_and_images_and_leaves_no_checkpoint_of_it(synthetic_shards, tmp_path, capsys):
    with bad_images(3):
        assert run_train(*flags(synthetic_shards, tmp_path / "run", "--checkpoint-minutes", "0")) == 1
    message = capsys.readouterr().err
    assert "step 3 was not finite" in message
    assert message.count("train/synthetic-") >= 8
    assert newest_valid(tmp_path / "run" / "checkpoints").step == 3, "three steps were good"


def test_nan_before_an_evaluation_is_told_as_such(synthetic_shards, tmp_path, capsys):
    """The evaluation of step 5 must not meet the NaN of step 4, which no progress line has read yet."""
    with bad_images(4):
        assert run_train(*flags(synthetic_shards, tmp_path / "run", "--log-steps", "50")) == 1
    assert "step 4 was not finite" in capsys.readouterr().err


def test_weights_that_are_not_finite_are_not_saved(synthetic_shards, tmp_path, capsys):
    def burst(state):
        if state.step == 2:
            state.model.fc.bias.data[0] = float("inf")

    with around_steps(after=burst):
        assert run_train(*flags(synthetic_shards, tmp_path / "run", "--checkpoint-minutes", "0")) == 1
    assert "model.fc.bias is not finite after step 2" in capsys.readouterr().err
    assert newest_valid(tmp_path / "run" / "checkpoints").step == 1


def test_checkpoints_none_of_which_can_be_read_stop_the_run_and_stay(synthetic_shards, tmp_path, capsys):
    run = tmp_path / "run"
    with signalled_after(2, signal.SIGTERM):
        run_train(*flags(synthetic_shards, run, "--checkpoint-minutes", "0"))
    for path in (run / "checkpoints").glob("*.safetensors"):
        path.write_bytes(b"")
    before = sorted((run / "checkpoints").iterdir()), (run / "metrics.jsonl").read_bytes()
    assert run_train(*flags(synthetic_shards, run)) == 2
    assert "none of its 2 checkpoints can be read" in capsys.readouterr().err
    assert (sorted((run / "checkpoints").iterdir()), (run / "metrics.jsonl").read_bytes()) == before


def test_a_checkpoint_of_another_label_order_is_refused(synthetic_shards, tmp_path, capsys):
    run = tmp_path / "run"
    with signalled_after(1, signal.SIGTERM):
        run_train(*flags(synthetic_shards, run))
    (path,) = (run / "checkpoints").glob("*.json")
    scalars = json.loads(path.read_text())
    del scalars["fields_sha256"]
    scalars["classes"].reverse()
    path.write_text(json.dumps(scalars | {"fields_sha256": hash_of(scalars)}))
    assert run_train(*flags(synthetic_shards, run)) == 2
    assert "its classes is not this run's" in capsys.readouterr().err


def test_two_processes_do_not_work_in_one_run_folder(synthetic_shards, tmp_path, capsys):
    (tmp_path / "run").mkdir()
    with sole_worker(tmp_path / "run"):
        assert run_train(*flags(synthetic_shards, tmp_path / "run")) == 2
    assert "another process is at work here" in capsys.readouterr().err


def test_a_full_disk_is_one_line_and_status_1(synthetic_shards, tmp_path, capsys):
    with full_disk("step-000000001.safetensors"):
        assert run_train(*flags(synthetic_shards, tmp_path / "run", "--checkpoint-minutes", "0")) == 1
    message = capsys.readouterr().err
    assert message.startswith(f"failed: {tmp_path / 'run' / 'checkpoints' / 'step-000000001.safetensors'}: ")
    assert "No space left on device" in message


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--depth", "50"], "--depth"),
        (["--aug", "mixup"], "--aug"),
        (["--stem", "D"], "--stem"),
        (["--batch-size", "81"], "--batch-size 81: there are 80 images"),
        (["--batch-size", "0"], "--batch-size 0"),
        (["--batch-size", "many"], "--batch-size"),
        (["--epochs", "-1"], "--epochs -1"),
        (["--epochs", "nan"], "--epochs nan"),
        (["--lr", "0"], "--lr 0"),
        (["--seed", "-1"], "--seed -1"),
        (["--preset", "quick"], "--preset"),
        (["--bach-size", "16"], "--batch-size"),
        (["--device", "tpu"], "--device tpu"),
        (["--device", "cuda:9"], "--device cuda:9"),
        (["--precision", "fp16", "--device", "cpu"], "--precision fp16"),
        (["--threads", "-2"], "--threads -2"),
        (["--shards", "nowhere"], "nowhere"),
        (["--momentum", "1"], "--momentum 1"),
        (["--image-size", "50"], "--image-size 50"),
        (["--checkpoint-minutes", "nan"], "--checkpoint-minutes nan: must not be negative"),
        (["--train-part", "tail", "--backbone-lr-mult", "0.1"], "--train-part tail trains no layer that it is of"),
        (
            ["--train-part", "classifier", "--start-size", "32", "--features", "kept"],
            "--features kept: images grow, so that none are kept",
        ),
    ],
)
def test_bad_flags_get_one_line_naming_them_and_nothing_is_made(synthetic_shards, tmp_path, capsys, arguments, named):
    assert run_train(*flags(synthetic_shards, tmp_path / "run"), *arguments) == 2
    message = capsys.readouterr().err
    assert named in message
    assert message.startswith("error: ")
    assert message.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_sigterm_through_the_command_line_exits_75_and_says_how_to_go_on(synthetic_shards, tmp_path):
    command = [sys.executable, "-m", "fastwsol.train", *flags(synthetic_shards, tmp_path / "run")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    for line in process.stdout:
        if line.startswith("step 4/"):
            os.kill(process.pid, signal.SIGTERM)
    assert process.wait() == 75
    assert "the same command continues" in process.stderr.read()
