"""Collect finished runs into one result file, and print their table with mean and spread over seeds.

    python scripts/collect_results.py data/runs/A data/runs/B ... --out bench/results/NAME.json

The file holds, for each run, its configuration, the commands that made it with commits, versions and machine, its
learning curve and its rates beside the baselines. Folders in commands are replaced by SHARDS and RUN.
"""

if __name__ == "__main__":
    from fastwsol.host.starting import prepare_imports

    prepare_imports()

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from fastwsol.config import Config
from fastwsol.experiments.settings import plan_of
from fastwsol.experiments.sweep_results import finished_runs
from fastwsol.experiments.table_files import markdown_over_seeds
from fastwsol.host.command_line import parse_flags, run_command
from fastwsol.host.environment import without_folders
from fastwsol.host.errors import UserError
from fastwsol.host.files import write_json
from fastwsol.runs.folder import RunDir
from fastwsol.runs.reports import ReportOf


@dataclass(frozen=True)
class Flags:
    """The command line."""

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional]
    """folders of finished runs"""
    out: Path
    """JSON file to write; one that is there is not replaced"""


def main(arguments: Sequence[str]) -> int:
    """Write the file and print the table."""
    flags = parse_flags(Flags, arguments, "scripts/collect_results.py", "Collect finished runs into a result file.")
    if not flags.runs:
        raise UserError("no run is named; give the folders of finished runs")
    if flags.out.exists():
        raise UserError(f"{flags.out}: exists; nothing was changed, name another --out")
    _refuse_unlike(flags.runs)
    results = [collect(folder) for folder in flags.runs]
    settings = [Config.from_json(result["report"]["config"]).setting for result in results]
    plan = plan_of(settings)
    flags.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(flags.out, {"runs": results})
    print(markdown_over_seeds(finished_runs(plan, [*zip(settings, flags.runs, strict=True)])))
    return 0


def _refuse_unlike(folders: Sequence[Path]) -> None:
    """Raise UserError for a run that is named twice, also as a copy, and for runs of different shards."""
    first = RunDir(folders[0]).read_info()
    runs: dict[Config, Path] = {}
    for folder in folders:
        info = RunDir(folder).read_info()
        if (other := runs.setdefault(info.config, folder)) is not folder:
            raise UserError(f"{folder}: is of the setting and seed of {other}; leave one of them out")
        if info.shards_digest != first.shards_digest:
            raise UserError(f"{folder}: is of other shards than {folders[0]}; collect it alone")


def collect(folder: Path) -> dict[str, Any]:
    """What is kept of one run. Raises UserError where it is not finished."""
    run = RunDir(folder)
    config = run.read_info().config
    if not run.finished(config):
        raise UserError(f"{folder}: not finished; let it train to its end first")
    report: dict[str, Any] = {**run.read_report(ReportOf(config.eval_split))}
    for each in report["localizers"]:
        for large in ("curve", "classes"):  # they stay in the run's own report
            del each[large]
    starts = run.starts()
    for each in (report, *starts):
        each["command"] = without_folders(each["command"])
    return {"run": folder.name, "report": report, "starts": starts, "metrics": run.rows()}


if __name__ == "__main__":
    sys.exit(run_command(main))
