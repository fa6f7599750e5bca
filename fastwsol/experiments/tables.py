"""A sweep's finished runs as tables: beside the paper's numbers and the fixed boxes, and what becomes of its claims."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.text import Text

from fastwsol.config import Config
from fastwsol.evaluation.boxes import PROTOCOLS
from fastwsol.evaluation.console_tables import console, percent_text, table_of
from fastwsol.experiments.paper_claims import CLAIMS, Comparison, Difference, Verdict, judge, overall, overall_name
from fastwsol.experiments.paper_numbers import Published, published, stands_beside
from fastwsol.experiments.settings import Plan
from fastwsol.host.command_line import without_folders
from fastwsol.runs.folder import RunDir

FORMAT_VERSION = 1

COLUMNS = {
    "top1_clas": "Top-1\nClas",
    "top1_loc@0.5": "Top-1\nLoc .5",
    "gt_known_loc@0.3": "GT-known\nLoc .3",
    "gt_known_loc@0.5": "GT-known\nLoc .5",
    "gt_known_loc@0.7": "GT-known\nLoc .7",
}
"""The rates that are shown, over several seeds."""

_PAPERS = {"top1_clas": "top1_clas", "top1_loc@0.5": "top1_loc", "gt_known_loc@0.5": "gt_known_loc"}
DECIDES = "top1_loc@0.5"
"""The rate that the claims are about."""

HOW_JUDGED = (
    "± half of the 95 % interval of a difference of means over seeds (Student's, the spread pooled over all "
    "settings). A claim holds where every comparison made does, fails where any does. The paper's differences are of "
    "all of Tiny ImageNet after 1500 epochs."
)


@dataclass(frozen=True)
class SweepResults:
    """What the finished runs of a sweep reached."""

    plan: Plan
    reports: dict[Config, list[dict[str, Any]]]
    """By setting, of as many seeds as are finished."""

    @property
    def of_any(self) -> dict[str, Any] | None:
        """Any report: baselines, source and split are the same in all of them."""
        return next((each for reports in self.reports.values() for each in reports), None)

    def values(self, setting: Config, protocol: str, rate: str) -> list[float]:
        """A rate of a setting, one value a seed, in percent; empty where it could not be measured."""
        found = [report["rates"][protocol].get(rate) for report in self.reports[setting]]
        return [value for value in found if value is not None]

    def judged(self, protocol: str) -> dict[Comparison, Difference]:
        """The paper's claims under a protocol, as far as they can be tested."""
        return judge({setting: self.values(setting, protocol, DECIDES) for setting in self.reports})

    def to_json(self) -> dict[str, Any]:
        """All of it, with the command (without the folders of this machine), commit and machine of each run."""
        kept = (
            "config",
            "step",
            "rates",
            "intervals",
            "max_box_acc",
            "command",
            "versions",
            "git",
            "machine",
            "seconds",
        )
        any_report = self.of_any or {}
        return {
            "format_version": FORMAT_VERSION,
            "source": any_report.get("source"),
            "split": any_report.get("split"),
            "images": any_report.get("images"),
            "baselines": any_report.get("baselines", []),
            "runs": [
                {name: report[name] for name in kept} | {"command": without_folders(report["command"])}
                for reports in self.reports.values()
                for report in reports
            ],
            "claims": [
                {
                    "claim": CLAIMS[comparison.claim],
                    "better": comparison.sides[0],
                    "worse": comparison.sides[1],
                    "setting": self.plan.name(comparison.worse),
                    "protocol": protocol,
                    "points": found.points,
                    "half_interval": found.half_interval if found.half_interval < float("inf") else None,
                    "verdict": found.verdict,
                }
                for protocol in PROTOCOLS
                for comparison, found in self.judged(protocol).items()
            ],
        }


def sweep_results(plan: Plan, finished: Sequence[Path]) -> SweepResults:
    """The reports of the runs in the folders `finished`."""
    reports: dict[Config, list[dict[str, Any]]] = {setting: [] for setting in plan.settings}
    for folder in finished:
        run = RunDir(folder)
        config = run.read_info().config
        reports[replace(config, seed=plan.settings[0].seed)].append(run.read_report(config.eval_split))
    return SweepResults(plan, reports)


def print_sweep(results: SweepResults) -> None:
    """Print a table for each protocol, and the verdicts on the paper's claims; nothing where no run is finished."""
    out, any_report = console(), results.of_any
    if any_report is None:
        out.print("no run is finished yet")
        return
    out.print(
        f"\n{any_report['source']}, {len(any_report['classes'])} classes, {any_report['images']:,} images of "
        f"{any_report['split']}; mean ± standard deviation over seeds"
    )
    shows_paper = stands_beside(any_report)
    for protocol in PROTOCOLS:
        table = table_of(protocol, ["seeds", *COLUMNS.values()], "%")
        for setting in results.plan.settings:
            count = len(results.reports[setting])
            cells = [mean_and_spread(results.values(setting, protocol, rate)) for rate in COLUMNS]
            table.add_row(results.plan.name(setting), str(count), *cells, style="bold")
            if shows_paper and (said := published(setting.depth, setting.aug, setting.batch_size)):
                table.add_row("  the paper", "1", *papers_cells(said), style="dim")
        table.add_section()
        for baseline in any_report["baselines"]:
            rates = baseline["rates"][protocol]
            shown = [rates.get(rate) if rate.startswith("gt_known") else None for rate in COLUMNS]
            box = ",".join(map(str, baseline["box"]))
            table.add_row(f"{baseline['name']} ({box})", "", *map(percent_text, shown))
        out.print(table)
    out.print("Baselines answer one box for every image, found on the boxes of train.")
    if shows_paper:
        out.print("The paper's numbers are of Tiny ImageNet's val after 1500 epochs, under paper2018.")
    else:
        out.print("The paper's numbers are of val of all 200 classes of Tiny ImageNet, and do not stand beside others.")
    _print_claims(results)


def mean_and_spread(values: Sequence[float]) -> str:
    """The mean, with the standard deviation where there are several; a dash of none."""
    if len(values) < 2:
        return percent_text(values[0] if values else None)
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"


def papers_cells(said: Published) -> list[str]:
    """The paper's numbers in the columns of COLUMNS."""
    return [percent_text(getattr(said, _PAPERS[rate])) if rate in _PAPERS else "" for rate in COLUMNS]


def _print_claims(results: SweepResults) -> None:
    out = console()
    judged = {protocol: results.judged(protocol) for protocol in PROTOCOLS}
    among = list(judged[PROTOCOLS[0]])
    for claim, text in CLAIMS.items():
        if not (ours := [each for each in among if each.claim == claim]):
            continue
        table = table_of(f"claim {claim}: {text} (Top-1 Loc, IoU 0.5)", ["the paper", *PROTOCOLS], "first - second")
        for each in ours:
            cells = [_difference(judged[protocol][each]) for protocol in PROTOCOLS]
            first, second = each.sides
            rest = results.plan.name(each.worse)
            table.add_row(f"{first} - {second}  ({rest})", papers_difference(each), *cells)
        table.add_section()
        verdicts = [overall([judged[protocol][each] for each in ours]) for protocol in PROTOCOLS]
        table.add_row(overall_name(ours), "", *(Text(verdict, style="bold") for verdict in verdicts))
        out.print(table)
    if among:
        out.print(HOW_JUDGED)


def _difference(found: Difference) -> Text:
    styles: dict[Verdict, str] = {"holds": "green", "fails": "red", "not separable": ""}
    return Text(difference_text(found), style=styles[found.verdict])


def difference_text(found: Difference) -> str:
    """A difference in points with half of its interval, and below it the verdict."""
    spread = f" ± {found.half_interval:.2f}" if found.half_interval < float("inf") else ", one seed"
    return f"{found.points:+.2f}{spread}\n{found.verdict}"


def papers_difference(each: Comparison) -> str:
    """The same difference in the paper, in points, or a dash where it has none."""
    sides = [published(side.depth, side.aug, side.batch_size) for side in (each.better, each.worse)]
    if sides[0] is None or sides[1] is None:
        return "–"
    return f"{sides[0].top1_loc - sides[1].top1_loc:+.2f}"
