"""The acceptance on a GPU, as far as a CPU can try it: every phase's dry run, and that it cannot call bad work good."""

import itertools
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import accept_gpu
import pytest
import safetensors.torch
import torch
from acceptance import data, step, training
from acceptance.record import Bound, Check, Finding, Record, run_checks
from acceptance.setting import Setting

from fastwsol.batches.decoded_store import Store, default_folder
from fastwsol.dataset.shards import open_shards
from fastwsol.host.command_line import run_command
from fastwsol.network import preact_resnet

SCRIPT = Path(accept_gpu.__file__)
WITHOUT_DALI = ("step", "head", "augment", "rates", "resident")
WITH_DALI = ("data", "pipeline", "resume", "training", "recipe")
SLOW = (*WITHOUT_DALI, "pipeline", "resume", "training", "recipe")
"""Tried with --full alone: they do what other phases and tests do, and time it."""


@pytest.fixture(autouse=True)
def as_before():
    """The dry run takes one thread for its process; the tests after this file get theirs back."""
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


def accept(*arguments: str) -> int:
    return run_command(accept_gpu.main, [*arguments, "--dry-run"])


def checks_in(out: Path, phase: str) -> dict[str, dict]:
    rows = json.loads((out / f"{phase}.json").read_text())["checks"]
    return {row["check"]: row for row in rows}


def dry_run(out: Path, phases: tuple[str, ...], block_dali: bool, *more: str) -> subprocess.Popen:
    """The script itself, in a process of its own that goes on; with `block_dali`, where `import nvidia.dali` fails.

    Its own steps are the narrow network's, or they would take minutes in bf16 on a CPU.
    """
    block = "import sys, runpy; sys.modules['nvidia.dali'] = None; " if block_dali else "import sys, runpy; "
    block += f"from fastwsol.network import preact_resnet; preact_resnet.WIDTHS = {preact_resnet.WIDTHS}; "
    start = f"sys.path.insert(0, {str(SCRIPT.parent)!r}); runpy.run_path({str(SCRIPT)!r}, run_name='__main__')"
    arguments = [*phases, "--dry-run", "--out", str(out), *more]
    command = [sys.executable, "-c", block + start, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=SCRIPT.parents[1])


@pytest.fixture(scope="module")
def out(tmp_path_factory, full) -> Path:
    """The folder of a dry run of every phase, those that must not need DALI without it."""
    folder = tmp_path_factory.mktemp("acceptance")
    without, with_dali = (
        tuple(phase for phase in phases if full or phase not in SLOW) for phases in (WITHOUT_DALI, WITH_DALI)
    )
    for phases, block_dali in ((without, True), (with_dali, False)):
        if not phases:
            continue
        process = dry_run(folder, phases, block_dali, "--export-weights")
        said, _ = process.communicate()
        assert process.returncode == 0, said
        assert " passed" in said.splitlines()[-1]
    return folder


@pytest.mark.parametrize("phase", [*WITHOUT_DALI, *WITH_DALI])
def test_every_phase_does_on_a_cpu_what_a_cpu_can(out, phase, full):
    if not full and phase in SLOW:
        pytest.skip("not tried; add --full")
    found = json.loads((out / f"{phase}.json").read_text())
    outcomes = {row["outcome"] for row in found["checks"]}
    assert outcomes <= {"passed", "measured", "skipped"}
    assert outcomes & {"passed", "measured"}
    assert all(row["why"] == "needs CUDA" for row in found["checks"] if row["outcome"] == "skipped")
    assert torch.__version__.partition("+")[0] == found["versions"]["torch"].partition("+")[0]
    assert {"command", "git", "machine", "gpu", "shards"} <= found.keys()


def test_what_a_dry_run_leaves_is_little(out):
    files = [path for path in out.rglob("*") if path.is_file()]
    assert len(files) <= 9 + 2  # one a phase, of which a call has two or so, and the weights in two pieces
    assert all(path.parent == out and path.stat().st_size < 16 * 2**20 for path in files)


def test_claims_of_the_step_are_tried_and_not_skipped(out, full):
    if not full:
        pytest.skip("compiles for a minute; add --full")
    rows = checks_in(out, "step")
    for name in ("fp32 gradients", "bf16 gradients", "fp16 gradients", "compiled losses", "maps and boxes", "resumed"):
        assert {row["outcome"] for check, row in rows.items() if name in check} == {"passed"}


def test_the_training_that_was_accepted_stands_whole_in_its_record(out, full):
    if not full:
        pytest.skip("trains for a minute; add --full")
    row = checks_in(out, "training")["training"]
    assert row["figures"]["finished"]
    assert json.loads(row["figures"]["files"]["report.json"])["step"] > 0
    pieces = sorted(out.glob("weights-*-of-2.safetensors"))
    weights = {k: v for path in pieces for k, v in safetensors.torch.load_file(path).items()}
    assert weights["groups.3.1.conv2.weight"].dtype == torch.bfloat16
    assert sum(tensor.numel() for name, tensor in weights.items() if tensor.ndim > 1) > 11e6


def test_a_training_stopped_at_the_deadline_goes_on_in_the_next_call(synthetic_shards, tmp_path, full):
    if not full:
        pytest.skip("trains for half a minute, as the phase of that name does; add --full")
    flags = training.default_flags(True)
    flags[flags.index("--epochs") + 1] = "1000"
    shards = open_shards(synthetic_shards)
    for name in shards.splits:  # or the first call would be stopped while it builds them
        Store(shards, name, default_folder(shards)).open(threads=1)
    setting = Setting(torch.device("cpu"), synthetic_shards, True, deadline=time.monotonic(), threads=1)
    for call in (1, 2):
        finding = training.train(setting, tmp_path / "run", flags)
        assert finding.outcome == "passed"
        assert not finding.figures["finished"]
        starts = json.loads(finding.figures["files"]["environment.json"])["starts"]
        assert len(starts) == call
    assert starts[1]["step"] > starts[0]["step"] == 0


def scaled_head(setting, network, precision):
    state = whole_state(setting, network, precision)
    state.model.fc.weight.data *= 1.01
    return state


def nan_head(setting, network, precision):
    state = whole_state(setting, network, precision)
    state.model.fc.bias.data[0] = float("nan")
    return state


whole_state = Setting.state


def other_maps(*inputs):
    return whole_cams(*inputs) + 0.1 * next(calls)


def other_views(augmentation, seed, *rest):
    return whole_views(augmentation, seed + 1, *rest)


whole_cams, calls, whole_views = step.cams, itertools.count(), data.draw_views


@pytest.mark.parametrize(
    ("owner", "name", "damaged", "phase", "check"),
    [
        (Setting, "state", scaled_head, "step", "fp32 gradients"),
        (Setting, "state", nan_head, "step", "fp32 gradients"),
        (step, "cams", other_maps, "step", "maps"),
        (data, "draw_views", other_views, "data", "host, gr, bicubic"),
    ],
    ids=["another network", "NaN in the network", "maps of another network", "batches of other views"],
)
def test_what_is_damaged_fails_with_status_1(
    synthetic_shards, tmp_path, monkeypatch, capsys, owner, name, damaged, phase, check
):
    monkeypatch.setattr(owner, name, damaged)
    assert accept(phase, "--out", str(tmp_path), "--shards", str(synthetic_shards), "--only", check) == 1
    assert "failed" in {row["outcome"] for row in checks_in(tmp_path, phase).values()}
    assert " failed" in capsys.readouterr().out.splitlines()[-1]


def test_an_error_fails_its_check_alone(tmp_path):
    def broken() -> Finding:
        raise ValueError("of the worst kind")

    whole = Check("whole", lambda: Finding((Bound("nothing", 0, 0),)))
    record = Record("step", ["broken", "whole"], tmp_path / "step.json", {})
    run_checks([Check("broken", broken), whole], record, time.monotonic() + 60, dry_run=False)
    rows = checks_in(tmp_path, "step")
    assert rows["broken"]["why"] == "ValueError: of the worst kind"
    assert (rows["broken"]["outcome"], rows["whole"]["outcome"]) == ("failed", "passed")


@pytest.mark.parametrize(("value", "outcome"), [(1.0, "passed"), (1.1, "failed"), (float("nan"), "failed")])
def test_a_bound_is_held_by_numbers_alone(value, outcome):
    assert Finding((Bound("number", value, 1.0),)).outcome == outcome


def killed_in_its_second_check(path: Path) -> None:
    checks = [
        Check("first", lambda: Finding(figures={"rate": 1.0})),
        Check("second", lambda: os.kill(os.getpid(), signal.SIGKILL)),
        Check("third", Finding),
    ]
    run_checks(checks, Record("rates", [each.name for each in checks], path, {}), time.monotonic() + 60, False)


def test_a_killed_call_keeps_what_was_done(tmp_path):
    process = multiprocessing.get_context("spawn").Process(
        target=killed_in_its_second_check, args=(tmp_path / "rates.json",)
    )
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    outcomes = [row["outcome"] for row in checks_in(tmp_path, "rates").values()]
    assert outcomes == ["measured", "not reached", "not reached"]


def test_what_does_not_fit_before_the_deadline_is_not_reached(tmp_path):
    record = Record("rates", ["long", "short"], tmp_path / "rates.json", {})
    checks = [Check("long", Finding, seconds=100), Check("short", Finding, seconds=1)]
    run_checks(checks, record, time.monotonic() + 60, dry_run=False)
    assert [row["outcome"] for row in record.rows] == ["not reached", "measured"]


def test_a_deadline_that_is_over_leaves_every_check_not_reached_with_status_3(synthetic_shards, tmp_path, capsys):
    arguments = ("rates", "--out", str(tmp_path), "--shards", str(synthetic_shards), "--phase-minutes", "1e-9")
    assert accept(*arguments) == 3
    assert {row["outcome"] for row in checks_in(tmp_path, "rates").values()} == {"not reached"}
    assert "passed" not in capsys.readouterr().out


def test_a_stopped_call_prints_its_table_and_exits_75(synthetic_shards, tmp_path, monkeypatch, capsys):
    from acceptance import rates

    monkeypatch.setattr(rates.Ceilings, "copy", lambda _: signal.raise_signal(signal.SIGTERM))
    assert accept("rates", "--out", str(tmp_path), "--shards", str(synthetic_shards)) == 75
    said = capsys.readouterr()
    assert "1 measured" in said.out
    assert "stopped: what was found so far is in" in said.err
    assert checks_in(tmp_path, "rates")["device copy"]["outcome"] == "not reached"


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_without_a_gpu_and_without_dry_run_one_line_says_so(tmp_path, capsys):
    assert run_command(accept_gpu.main, ["step", "--out", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert message.startswith("error: no CUDA device here; --dry-run")
    assert message.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_shards_that_are_none_are_named(tmp_path, capsys):
    assert accept("step", "--out", str(tmp_path), "--shards", str(tmp_path / "nowhere")) == 2
    assert "nowhere" in capsys.readouterr().err
