"""python -m fastwsol.evaluate RUN: the tables of a trained run, under both protocols, beside the trivial baselines."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from fastwsol import checkpoint
from fastwsol.command import parse_flags, run_command
from fastwsol.errors import UserError
from fastwsol.machine import Precision, pick_autocast, pick_device, use_threads
from fastwsol.model import build_model
from fastwsol.rundir import RunDir
from fastwsol.shards import open_shards
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
    device: str = "auto"
    """auto, cpu, cuda or cuda:N"""
    precision: Precision = "auto"
    """auto: the number format the run was trained in"""
    threads: int = 0
    """threads of the CPU's part of the work; 0: all cores"""


def main(arguments: Sequence[str]) -> int:
    """Evaluate the newest checkpoint of a run on val, print the table, and write it to the run's report.json."""
    flags = parse_flags(Flags, arguments, PROG, "Evaluate a trained run on val: tables, both protocols, baselines.")
    run = RunDir(flags.run)
    info = run.read_info()
    shards = open_shards(flags.shards if flags.shards is not None else info.shards)
    if shards.digest != info.shards_digest:
        raise UserError(
            f"{shards.folder}: not the shards that {run.folder} was trained on (their manifest differs); "
            f"name those with --shards"
        )
    saved = checkpoint.newest_valid(run.checkpoints)
    if saved is None:
        raise UserError(f"{run.folder}: has no checkpoint yet; let it train, then evaluate again")

    info.check_checkpoint(saved)
    threads = use_threads(flags.threads)
    trained_in = saved.scalars["precision"]
    autocast = pick_autocast(trained_in if flags.precision == "auto" else flags.precision, pick_device(flags.device))
    model = build_model(info.config.depth, info.config.stem, len(info.classes), info.config.seed)
    model.load_state_dict({name: saved.tensors[f"model.{name}"] for name in model.state_dict()})
    report = evaluate_model(model.to(autocast.device), shards, info, autocast, threads, saved.step)
    print_report(report)
    print(f"written to {run.write_report(report)}")
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
