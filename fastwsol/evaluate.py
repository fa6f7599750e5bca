"""python -m fastwsol.evaluate RUN: the tables of a trained run, under both protocols, beside the trivial baselines.

`torchrun --nproc-per-node 8 -m fastwsol.evaluate RUN` shares the images out; the numbers are the same.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from fastwsol import checkpoint
from fastwsol.command import parse_flags, run_command
from fastwsol.distributed import joined
from fastwsol.errors import UserError
from fastwsol.holdout import hold_out
from fastwsol.machine import Precision, pick_autocast, take_device, use_threads
from fastwsol.metrics import CamClass
from fastwsol.model import build_model
from fastwsol.rundir import RunDir, RunInfo
from fastwsol.shards import Shards, open_shards
from fastwsol.tables import print_report
from fastwsol.validation import evaluate_model

PROG = "python -m fastwsol.evaluate"


@dataclass(frozen=True)
class Flags:
    """The command line."""

    run: Annotated[Path, tyro.conf.Positional]
    """folder of the run"""
    shards: Path | None = None
    """folder that pack.py wrote; default: the one the run was trained on"""
    split: Literal["val", "holdout", "train"] = "val"
    """val: what results are reported on; holdout: what --holdout kept from training, to choose settings on; train: the
    images trained on"""
    cam_class: CamClass = "truth"
    """whose map is boxed. truth: the true class's, as the paper does; predicted: what a user without labels gets"""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N"""
    precision: Precision = "auto"
    """auto: the number format the run was trained in"""
    threads: int = 0
    """threads of the CPU's part of the work in each process; 0: all cores, divided among the processes"""


def main(arguments: Sequence[str]) -> int:
    """Evaluate the newest checkpoint of a run on a split, print the table, and write it to the run's folder."""
    with joined() as world:
        flags = world.together(
            lambda: parse_flags(Flags, arguments, PROG, "Evaluate a trained run: tables, both protocols, baselines.")
        )
        run = RunDir(flags.run)
        # The leading process chooses the checkpoint: of a run in training there may be a newer one a moment later.
        read = world.lead_does(lambda: read_run(run))
        without_tensors = None if read is None else (read[0], replace(read[1], tensors={}))
        info, saved = world.value_of_lead(without_tensors)  # type: ignore[misc]
        shards = world.machine_lead_first(lambda verify: open_shards_of(run, info, flags, verify))
        if "holdout" in shards.splits:
            world.lead_does(lambda: run.check_holdout(shards.splits["holdout"]))
        device = world.together(lambda: take_device(flags.device, world.local_rank, world.local_size))
        precision = saved.scalars["precision"] if flags.precision == "auto" else flags.precision
        autocast = world.together(lambda: pick_autocast(precision, device))
        world.agree_on({"--split": flags.split, "--cam-class": flags.cam_class, "--precision": autocast.precision})
        threads = world.together(lambda: use_threads(flags.threads, world.local_size))
        model = build_model(info.config.depth, info.config.stem, len(info.classes), info.config.seed)
        if read is not None:
            model.load_state_dict({name: read[1].tensors[f"model.{name}"] for name in model.state_dict()})
        world.share_from_lead(model.state_dict().values())
        model.to(autocast.device)
        report = evaluate_model(model, shards, info, autocast, threads, saved.step, world, flags.split, flags.cam_class)
        world.lead_does(lambda: tell(run, info, report))
    return 0


def read_run(run: RunDir) -> tuple[RunInfo, checkpoint.Checkpoint]:
    """What the run is, and its newest checkpoint; raises UserError where there is none."""
    info = run.read_info()
    saved = checkpoint.newest_valid(run.checkpoints)
    if saved is None:
        raise UserError(f"{run.folder}: has no checkpoint yet; let it train, then evaluate again")
    info.check_checkpoint(saved)
    return info, saved


def open_shards_of(run: RunDir, info: RunInfo, flags: Flags, verify: bool) -> Shards:
    """The shards that the run was trained on, its holdout apart; raises UserError for others."""
    shards = open_shards(flags.shards if flags.shards is not None else info.shards, verify)
    if shards.digest != info.shards_digest:
        raise UserError(
            f"{shards.folder}: not the shards that {run.folder} was trained on (their manifest differs); "
            f"name those with --shards"
        )
    shards = hold_out(shards, info.config.holdout)
    if flags.split not in shards.splits:
        raise UserError(f"--split {flags.split}: {run.folder} held out no images; train with --holdout N")
    return shards


def tell(run: RunDir, info: RunInfo, report: dict[str, Any]) -> None:
    """Print the report and store it."""
    print_report(report)
    print(f"written to {run.write_report(report, of_finished_run=run.finished(info.config))}")


if __name__ == "__main__":
    sys.exit(run_command(main))
