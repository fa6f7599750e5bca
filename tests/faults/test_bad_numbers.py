"""Promise 10: a number that is not finite stops the run at its step, names it, and reaches no checkpoint."""

from pathlib import Path

import torch
from interference import around_steps, bad_images

from fastwsol import train
from fastwsol.host.command_line import run_command
from fastwsol.host.device import Autocast
from fastwsol.runs.checkpoint import newest_valid
from fastwsol.runs.folder import RunDir

from .tally import Tally
from .works import training_flags

PROMISE = "10 bad numbers"
VALUES = {"nan": float("nan"), "inf": float("inf"), "-inf": -float("inf")}
STEPS = (0, 3, 5)
"""The first, one inside an epoch, and the first of the second epoch."""


def saved_steps(run: Path) -> int:
    """Of the newest checkpoint, which must be finite; 0 where there is none."""
    saved = newest_valid(run / "checkpoints") if (run / "checkpoints").is_dir() else None
    if saved is None:
        return 0
    assert all(torch.isfinite(tensor).all() for tensor in saved.tensors.values())
    return saved.step


def test_in_the_images(synthetic_shards: Path, tmp_path: Path, tally: Tally, full: bool, capsys) -> None:
    """So in the loss and all gradients."""
    count = tally.of(PROMISE, "a value of an image that is not finite, at a step")
    for at, value in [(at, value) for at in STEPS for value in VALUES] if full else [(3, "nan"), (5, "inf")]:
        run = tmp_path / f"{at}{value}"
        with bad_images(at, VALUES[value]):
            status = run_command(train.main, training_flags(synthetic_shards, run))
        said = capsys.readouterr().err
        named = f"step {at} was not finite" in said and said.count("train/synthetic-") >= 8
        count(f"{value} at step {at}: {said}", status == 1 and named and saved_steps(run) == at)
    assert count.lost == []


def test_in_the_weights(synthetic_shards: Path, tmp_path: Path, tally: Tally, full: bool, capsys) -> None:
    count = tally.of(PROMISE, "a weight that is not finite, after a step")
    all_cases = [(tensor, value) for tensor in ("fc.weight", "stem.0.weight", "fc.bias") for value in VALUES]
    for tensor, value in all_cases if full else all_cases[:1]:

        def burst(state, tensor=tensor, value=value) -> None:
            if state.step == 2:
                weights = dict(state.model.named_parameters())[tensor].data
                weights[(0,) * weights.ndim] = VALUES[value]

        run = tmp_path / f"{tensor}{value}"
        with around_steps(after=burst):
            status = run_command(train.main, training_flags(synthetic_shards, run))
        said = capsys.readouterr().err
        count(f"{value} in {tensor}: {said}", status == 1 and "step 2" in said and saved_steps(run) == 1)
    assert count.lost == []


def test_a_step_that_the_loss_scaler_skips_is_counted_and_not_fatal(
    synthetic_shards: Path, tmp_path: Path, tally: Tally, monkeypatch, capsys
) -> None:
    """fp16 on a CPU, which the command does not offer: the scale is made to overflow at some steps."""
    monkeypatch.setattr(train, "pick_autocast", lambda *_: Autocast(torch.device("cpu"), "fp16"))
    at, scales = (3, 4, 6), []

    def overflow(state) -> None:
        if state.step in at:
            scales.append(state.scaler.get_scale())
            state.scaler.update(2.0**120)

    def restore(state) -> None:
        if state.step - 1 in at:
            state.scaler.update(scales.pop())

    few = ("--data", "dali", "--epochs", "1.6", "--eval-epochs", "9")  # 8 steps: fp16 is slow here
    with around_steps(overflow, restore):
        status = run_command(train.main, training_flags(synthetic_shards, tmp_path / "run", *few))
    rows = [row["skipped_steps"] for row in RunDir(tmp_path / "run").rows() if row["kind"] == "train"]
    said = capsys.readouterr().out
    count = tally.of(PROMISE, "gradients that overflow fp16: the step is skipped and counted")
    for each in at:
        count(f"step {each}: {status} {rows}", status == 0 and rows == [1, 2])
    assert "1 skipped, whose gradients overflowed" in said
    assert count.lost == []
