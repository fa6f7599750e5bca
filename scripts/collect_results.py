"""Collect finished runs into one result file, and print their table with mean and spread over seeds.

    python scripts/collect_results.py data/runs/A data/runs/B ... --out bench/results/NAME.json

The file holds, for each run, its configuration, the commands that made it with commits, versions and machine, its
learning curve and its rates beside the baselines. Folders in commands are replaced by SHARDS and RUN.
"""

import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from fastwsol.config import flag
from fastwsol.experiments.tables import mean_and_spread
from fastwsol.host.command_line import parse_flags, run_command, without_folders
from fastwsol.host.errors import UserError
from fastwsol.host.files import write_json
from fastwsol.runs.folder import RunDir

SHOWN = ("top1_clas", "top1_loc@0.5", "gt_known_loc@0.3", "gt_known_loc@0.5", "gt_known_loc@0.7")


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
    results = [collect(folder) for folder in flags.runs]
    flags.out.parent.mkdir(parents=True, exist_ok=True)
    write_json(flags.out, {"runs": results})
    print(table(results))
    return 0


def collect(folder: Path) -> dict[str, Any]:
    """What is kept of one run. Raises UserError where it is not finished."""
    run = RunDir(folder)
    config = run.read_info().config
    if not run.finished(config):
        raise UserError(f"{folder}: not finished; let it train to its end first")
    report = run.read_report(config.eval_split)
    for large in ("curve", "classes"):  # they stay in the run's own report
        report.pop(large, None)
    starts = json.loads((folder / "environment.json").read_bytes())["starts"]
    for each in (report, *starts):
        each["command"] = without_folders(each["command"])
    return {"run": folder.name, "report": report, "starts": starts, "metrics": run.rows()}


def table(results: list[dict[str, Any]]) -> str:
    """Markdown: a row for each protocol and setting, mean and standard deviation over seeds; then baselines.

    A setting is what differs between the runs, their seeds apart.
    """
    configs = [result["report"]["config"] for result in results]
    differing = [name for name in configs[0] if name != "seed" and len({config[name] for config in configs}) > 1]
    groups: dict[tuple[str, str], list[dict[str, float]]] = defaultdict(list)
    for result, config in zip(results, configs, strict=True):
        setting = ", ".join(f"{flag(name)} {config[name]}" for name in differing or ["aug"])
        for protocol, rates in result["report"]["rates"].items():
            groups[protocol, setting].append(rates)
    split = ", ".join(sorted({result["report"]["split"] for result in results}))
    lines = [f"| {split}, protocol | setting | seeds | " + " | ".join(SHOWN) + " |", "|" + "---|" * (3 + len(SHOWN))]
    for (protocol, setting), rates in sorted(groups.items()):
        cells = " | ".join(mean_and_spread([each[name] for each in rates]) for name in SHOWN)
        lines.append(f"| {protocol} | {setting} | {len(rates)} | {cells} |")
    for baseline in results[0]["report"]["baselines"]:
        for protocol, rates in baseline["rates"].items():
            cells = " | ".join(f"{rates[name]:.2f}" if name.startswith("gt_known") else "" for name in SHOWN)
            lines.append(f"| {protocol} | {baseline['name']} {tuple(baseline['box'])} | | {cells} |")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(run_command(main))
