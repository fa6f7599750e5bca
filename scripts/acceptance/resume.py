"""Phase `resume`: the real commands. A training stopped by SIGTERM and continued, against one that nothing disturbed.

With --deterministic the last checkpoints are equal to the bit; without, they are close: a GPU's sums may change their
order from run to run, and a training enlarges that.
"""

import functools
import json
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import torch

from acceptance.commands import STOPPED_PROPERLY, run_module
from acceptance.record import Bound, Check, Finding
from acceptance.setting import Setting, opened
from fastwsol.host.errors import RunFailure
from fastwsol.runs import checkpoint
from fastwsol.runs.checkpoint import Checkpoint

CLOSE_WEIGHTS = 0.1
CLOSE_LOSSES = 0.05


def checks(setting: Setting) -> list[Check]:
    """Exact first. Each command takes some 10 to 30 s on a GPU, most of it to start and to compile."""
    runs = Runs(setting)
    return [
        Check("stopped and continued, --deterministic", partial(runs.compare, True), 90),
        Check("evaluated again, the report is the same", runs.evaluate_again, 15),
        Check("stopped and continued", partial(runs.compare, False), 70, needs_cuda=True),
    ]


class Runs:
    """The run folders of this phase, in a folder that goes when they do."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self._folder = tempfile.TemporaryDirectory(prefix="accept-")
        self._steps = setting.sized(60, 4)

    def _train(self, name: str, deterministic: bool, stop_at: int | None = None) -> Path:
        setting, run = self._setting, Path(self._folder.name) / name
        size = setting.sized(128, 4)
        flags = {
            "--aug": "gr-hns",
            "--depth": 18,
            "--stem": "C",
            "--batch-size": size,
            "--epochs": self._steps * size / len(opened(setting.shards).splits["train"]),
            "--lr": 0.02,
            "--log-steps": setting.sized(10, 1),
            "--eval-epochs": 1000,
            "--threads": setting.threads,
            "--device": setting.device,
            "--shards": setting.shards,
            "--run-dir": run,
        }
        arguments = [str(word) for pair in flags.items() for word in pair]
        arguments += ["--deterministic"] * deterministic + ["--step", "eager"] * setting.dry_run
        line = None if stop_at is None else f"step {stop_at}/"
        ended = run_module("fastwsol.train", arguments, setting.seconds_left, line)
        if ended.status != (0 if stop_at is None else STOPPED_PROPERLY):
            raise RunFailure(f"{name}: {ended}")
        return run

    @functools.cached_property
    def unbroken(self) -> Path:
        """A finished run that nothing disturbed, deterministic."""
        return self._train("unbroken", True)

    def compare(self, deterministic: bool) -> Finding:
        """The last checkpoints and the rows of losses of two runs."""
        unbroken = self.unbroken if deterministic else self._train("unbroken-free", False)
        name = "stopped" if deterministic else "stopped-free"
        self._train(name, deterministic, stop_at=self._steps // 2)
        stopped = self._train(name, deterministic)
        ours, theirs = (_last(run) for run in (stopped, unbroken))
        figures = {"steps": theirs.step, "stopped at": self._steps // 2}
        if deterministic:
            differ = sum(int((ours.tensors[each] != theirs.tensors[each]).sum()) for each in theirs.tensors)
            return Finding((Bound("values that differ", differ, 0),), figures)
        return Finding(
            (
                Bound("weights", _weights_apart(ours, theirs), CLOSE_WEIGHTS),
                Bound("last loss", abs(_last_loss(stopped) / _last_loss(unbroken) - 1), CLOSE_LOSSES),
            ),
            figures,
        )

    def evaluate_again(self) -> Finding:
        """`evaluate` in a new process against the report that training ended with."""
        report = self.unbroken / "report.json"
        before = json.loads(report.read_bytes())
        report.rename(report.with_name("report-of-training.json"))
        arguments = [str(self.unbroken), "--threads", str(self._setting.threads), "--device", str(self._setting.device)]
        ended = run_module("fastwsol.evaluate", arguments, self._setting.seconds_left)
        if ended.status != 0:
            raise RunFailure(str(ended))
        (again,) = self.unbroken.glob("report-step-*.json")
        after = json.loads(again.read_bytes())
        differ = sum(before[name] != after[name] for name in ("counts", "rates", "baselines", "step"))
        return Finding((Bound("parts that differ", differ, 0),), {"rates": after["rates"]})


def _last(run: Path) -> Checkpoint:
    saved = checkpoint.newest_valid(run / "checkpoints")
    if saved is None:
        raise RunFailure(f"{run}: no checkpoint")
    return saved


def _weights_apart(ours: Checkpoint, theirs: Checkpoint) -> float:
    names = sorted(name for name in theirs.tensors if name.startswith("model."))  # loading keeps no order

    def flat(saved: Checkpoint) -> torch.Tensor:
        return torch.cat([saved.tensors[name].double().ravel() for name in names])

    return float((flat(ours) - flat(theirs)).norm() / flat(theirs).norm())


def _last_loss(run: Path) -> float:
    rows: list[dict[str, Any]] = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return float([row["loss"] for row in rows if row["kind"] == "train"][-1])
