"""Tables over seeds: each setting's mean and spread beside the paper's numbers and the fixed boxes, and what becomes of
the paper's claims. The console, the page and result files show these same rows.
"""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from rich.text import Text

from fastwsol.config import Setting
from fastwsol.evaluation.boxes import PROTOCOLS, ProtocolName
from fastwsol.evaluation.report_types import RunReport
from fastwsol.evaluation.table_cells import console, localizer_name, percent_text, table_of, title_of
from fastwsol.experiments.paper_claims import (
    CLAIMS,
    Comparison,
    Difference,
    Verdict,
    difference,
    judge,
    overall,
    overall_name,
    pooled_spread,
)
from fastwsol.experiments.paper_numbers import Published, published, stands_beside
from fastwsol.localizer.localizers import LOCALIZERS, preferred

COLUMNS = {
    "top1_clas": "Top-1\nClas",
    "top1_loc@0.5": "Top-1\nLoc .5",
    "gt_known_loc@0.3": "GT-known\nLoc .3",
    "gt_known_loc@0.5": "GT-known\nLoc .5",
    "gt_known_loc@0.7": "GT-known\nLoc .7",
}
"""The rates that are shown, over several seeds."""

_PAPERS = {"top1_clas": "top1_clas", "top1_loc@0.5": "top1_loc", "gt_known_loc@0.5": "gt_known_loc"}
DECISIVE_RATE = "top1_loc@0.5"
"""The rate that the claims are about."""

HOW_JUDGED = (
    "± half of the 95 % interval of a difference of means over seeds (Student's, the spread pooled over the settings "
    "that its claim compares). A claim holds where every comparison made does, and fails where any is worse by an "
    "interval for all of them at once (Bonferroni's). The paper's differences are of all of Tiny ImageNet after 1500 "
    "epochs."
)
ABOUT_BASELINES = "Baselines answer one box for every image, found on the boxes of train."
ABOUT_THE_PAPER = "The paper's numbers are of Tiny ImageNet's val after 1500 epochs, under paper2018."


@dataclass(frozen=True)
class SettingRuns:
    """The finished runs of one setting, which differ in their seed alone."""

    name: str
    """What tells the setting apart from the others."""
    setting: Setting
    reports: Sequence[RunReport]
    """One a seed; there may be none yet."""

    def values(self, protocol: str, rate: str) -> list[float]:
        """A rate, one value a seed, in percent; empty where it could not be measured."""
        rates = [report["rates"][protocol].get(rate) for report in self.reports]
        return [value for value in rates if value is not None]

    def localizers(self) -> list[str]:
        """The names of those that all its runs have, first the one that predictions take. Empty without a run."""
        names: list[set[str]] = [{each["name"] for each in report["localizers"]} for report in self.reports]
        common = {"cam"}.union(set.intersection(*names)) if names else set()
        return sorted((name for name in LOCALIZERS if name in common), key=lambda name: name != preferred(common))

    def title_of(self, name: str) -> str:
        """What a row of a localizer is called: by the setting, and by the localizer unless predictions take `cam`, with
        the boxes that it was trained with, where it was.
        """
        if name == "cam" == preferred(self.localizers()):
            return self.name
        row = next(row for row in self.reports[0]["localizers"] if row["name"] == name)
        return f"{self.name}, {localizer_name(row)}"

    def values_of_localizer(self, name: str, rate: str) -> list[float]:
        """A rate of a localizer at the runs' own cuts, under strict: one value a seed, in percent."""
        rows = [next(row for row in report["localizers"] if row["name"] == name) for report in self.reports]
        rates = [row["rates"].get(rate) for row in rows]
        return [value for value in rates if value is not None]

    def values_of_pixels(self, localizer: str, measure: Literal["pxap", "iou"]) -> list[float]:
        """PxAP, or the mean IoU of masks at the runs' own cuts, of a localizer: one value a seed, in percent."""
        rows = [each["pixels"] for report in self.reports for each in report["localizers"] if each["name"] == localizer]
        return [row["pxap"] if measure == "pxap" else row["iou"]["mean"] for row in rows]


PIXEL_COLUMNS: dict[Literal["pxap", "iou"], str] = {"pxap": "PxAP", "iou": "mean IoU"}


RowKind = Literal["setting", "localizer", "paper", "baseline"]


@dataclass(frozen=True)
class SeedRow:
    """A row of a table over seeds."""

    kind: RowKind
    name: str
    seeds: int | None
    cells: tuple[str, ...]
    """In the order of `COLUMNS`."""


def any_report(settings: Sequence[SettingRuns]) -> RunReport | None:
    """One of the reports: baselines, source and split are the same in all of them."""
    return next((report for runs in settings for report in runs.reports), None)


def rows_over_seeds(settings: Sequence[SettingRuns], protocol: str) -> list[SeedRow]:
    """A row for each setting and, behind it, the paper's where it has the same one; then the fixed boxes'."""
    report = any_report(settings)
    if report is None:
        return []
    rows = []
    for runs in settings:
        for name in [each for each in runs.localizers() if each == "cam" or protocol == "strict"]:
            kind: RowKind = "setting" if name == "cam" else "localizer"
            if name != "cam":
                cells = tuple(mean_and_spread(runs.values_of_localizer(name, rate)) for rate in COLUMNS)
            else:
                cells = tuple(mean_and_spread(runs.values(protocol, rate)) for rate in COLUMNS)
            rows.append(SeedRow(kind, runs.title_of(name), len(runs.reports), cells))
        if not runs.reports:
            rows.append(SeedRow("setting", runs.name, 0, (mean_and_spread([]),) * len(COLUMNS)))
        if stands_beside(report) and (numbers := published(runs.setting)) is not None:
            rows.append(SeedRow("paper", f"the paper: {_paper_name(runs.setting)}", 1, _papers_cells(numbers)))
    rows = list(dict.fromkeys(rows))  # settings that the paper does not tell apart have one row of its
    for baseline in report["baselines"]:
        rates = baseline["rates"][protocol]
        localized = [rates.get(rate) if rate.startswith("gt_known") else None for rate in COLUMNS]
        texts = ["" if rate is None else percent_text(rate) for rate in localized]
        box = ",".join(map(str, baseline["box"]))
        rows.append(SeedRow("baseline", f"{baseline['name']} ({box})", None, tuple(texts)))
    return rows


def title_over_seeds(protocol: str, rows: Sequence[SeedRow], report: RunReport) -> str:
    """What a table of `rows_over_seeds` is of: where maps were cut, and what its cells are."""
    others = any(row.kind == "localizer" for row in rows)
    several = any((row.seeds or 0) > 1 for row in rows)
    title = f"{protocol}, percent, maps{' of cam' if others else ''} kept at {report['cam_threshold']:g} of the maximum"
    title += ", others' at the run's own cuts" if others else ""
    return title + ("; mean ± standard deviation over seeds" if several else "")


def pixel_rows(settings: Sequence[SettingRuns]) -> list[SeedRow]:
    """A row for each setting's localizers, of their maps against masks, a dash where a run of it was not measured so;
    then the fixed masks'. None where no run was. The cells are in the order of `PIXEL_COLUMNS`.
    """
    measured = [each for runs in settings for each in runs.reports if "masks" in each]
    if not measured:
        return []
    rows = []
    for runs in settings:
        if not all("masks" in each for each in runs.reports):
            rows.append(SeedRow("setting", runs.name, len(runs.reports), ("–",) * len(PIXEL_COLUMNS)))
            continue
        for name in runs.localizers():
            own = tuple(mean_and_spread(runs.values_of_pixels(name, measure)) for measure in PIXEL_COLUMNS)
            kind: RowKind = "setting" if name == "cam" else "localizer"
            rows.append(SeedRow(kind, runs.title_of(name), len(runs.reports), own))
    for fixed in measured[0]["masks"]["baselines"]:
        cells = (percent_text(fixed["pxap"]), percent_text(fixed["iou"]))
        rows.append(SeedRow("baseline", fixed["name"], None, cells))
    return rows


ABOUT_PIXELS = "PxAP is of maps scaled each by its own extremes, the mean IoU of masks at the runs' own cuts."


def _paper_name(setting: Setting) -> str:
    return f"{setting.views.aug}, depth {setting.network.depth}, batch {setting.optimizer.batch_size}"


def _papers_cells(numbers: Published) -> tuple[str, ...]:
    return tuple(percent_text(getattr(numbers, _PAPERS[rate])) if rate in _PAPERS else "" for rate in COLUMNS)


def mean_and_spread(values: Sequence[float]) -> str:
    """The mean, with the standard deviation where there are several; a dash of none."""
    if len(values) < 2:
        return percent_text(values[0] if values else None)
    return f"{statistics.mean(values):.2f} ± {statistics.stdev(values):.2f}"


def notes_below(report: RunReport) -> list[str]:
    """What has to be said of the rows that are no setting's."""
    return [ABOUT_BASELINES, *([ABOUT_THE_PAPER] if stands_beside(report) else [])]


# Claims


@dataclass(frozen=True)
class ClaimTable:
    """What becomes of one of the paper's claims, under each protocol in turn."""

    claim: int
    title: str
    comparisons: list[Comparison]
    differences: list[dict[ProtocolName, Difference]]
    """Of each comparison, by protocol."""
    verdict_name: str
    verdicts: dict[ProtocolName, Verdict]
    """By protocol."""


def claim_tables(settings: Sequence[SettingRuns]) -> list[ClaimTable]:
    """The paper's claims, as far as `settings`, which differ from each other, can test them."""
    judged = {
        protocol: judge({runs.setting: runs.values(protocol, DECISIVE_RATE) for runs in settings})
        for protocol in PROTOCOLS
    }
    tables = []
    for claim, text in CLAIMS.items():
        comparisons = [each for each in judged[PROTOCOLS[0]] if each.claim == claim]
        if comparisons:
            differences = [{protocol: judged[protocol][each] for protocol in PROTOCOLS} for each in comparisons]
            verdicts = {protocol: overall([each[protocol] for each in differences]) for protocol in PROTOCOLS}
            tables.append(ClaimTable(claim, text, comparisons, differences, overall_name(comparisons), verdicts))
    return tables


def difference_text(difference: Difference) -> str:
    """A difference in points with half of its interval, and below it the verdict."""
    spread = f" ± {difference.half_interval:.2f}" if difference.half_interval < float("inf") else ", one seed"
    return f"{difference.points:+.2f}{spread}\n{difference.verdict}"


def papers_difference(comparison: Comparison) -> str:
    """The same difference in the paper, in points, or a dash where it has none."""
    better, worse = published(comparison.better), published(comparison.worse)
    if better is None or worse is None:
        return "–"
    return f"{better.top1_loc - worse.top1_loc:+.2f}"


# Settings of one's own


RATES_COMPARED = ("top1_clas", "top1_loc@0.5", "gt_known_loc@0.5", "gt_known_loc@0.7")

HOW_COMPARED = (
    "Differences of means over seeds ± half of the interval that holds with 95 % in all rows of a column at once "
    "(Student's, the spread pooled over these settings; Bonferroni's). Choose the rate beforehand."
)


@dataclass(frozen=True)
class AgainstFirst:
    """How far settings lie from the first of them, by the localizer that predictions take of all."""

    localizer: str
    rows: dict[str, list[tuple[Difference, float]]]
    """By the setting's name: for each of `RATES_COMPARED` that was measured the difference, and half of its interval
    among the rows."""
    rates: list[str]


def against_first(settings: Sequence[SettingRuns]) -> AgainstFirst | None:
    """The settings beside the first, under `strict`; None where there are not two of several seeds, or the paper's
    claims are about them.
    """
    finished = [each for each in settings if each.reports]
    if len(finished) < 2 or all(len(each.reports) < 2 for each in finished) or claim_tables(finished):
        return None
    localizer = preferred(set.intersection(*(set(each.localizers()) for each in finished)))
    others = finished[1:]
    rows: dict[str, list[tuple[Difference, float]]] = {each.name: [] for each in others}
    rates = []
    for rate in RATES_COMPARED:
        values = [each.values_of_localizer(localizer, rate) for each in finished]
        if not all(values):  # as of images without a box
            continue
        rates.append(rate)
        spread, freedom = pooled_spread(values)
        for each, own in zip(others, values[1:], strict=True):
            found = difference(own, values[0], spread, freedom)
            rows[each.name].append((found, found.half_interval_among(len(others))))
    return AgainstFirst(localizer, rows, rates) if rates else None


# The console


def print_over_seeds(settings: Sequence[SettingRuns]) -> None:
    """Print a table for each protocol, and the verdicts on the paper's claims; nothing where no run is finished."""
    out, report = console(), any_report(settings)
    if report is None:
        out.print("no run is finished yet")
        return
    out.print(f"\n{report['source']}, {report['classes']} classes, {report['images']:,} images of {report['split']}")
    styles = {"setting": "bold", "localizer": "bold", "paper": "dim", "baseline": ""}
    for protocol in PROTOCOLS:
        rows = rows_over_seeds(settings, protocol)
        table = table_of(title_over_seeds(protocol, rows, report), ["seeds", *COLUMNS.values()], "%")
        for row, following in zip(rows, [*rows[1:], None], strict=True):
            before_baselines = row.kind != "baseline" and following is not None and following.kind == "baseline"
            seeds = "" if row.seeds is None else str(row.seeds)
            table.add_row(row.name, seeds, *row.cells, style=styles[row.kind], end_section=before_baselines)
        out.print(table)
    if rows := pixel_rows(settings):
        table = table_of("pixels of masks", ["seeds", *PIXEL_COLUMNS.values()], "%")
        for row in rows:
            table.add_row(row.name, "" if row.seeds is None else str(row.seeds), *row.cells, style=styles[row.kind])
        out.print(table)
        out.print(ABOUT_PIXELS)
    for note in notes_below(report):
        out.print(note)
    if not stands_beside(report):
        out.print("The paper's numbers are of val of all 200 classes of Tiny ImageNet, and do not stand beside others.")
    _print_claims(settings)
    if (found := against_first(settings)) is not None:
        first = next(each for each in settings if each.reports)
        title = f"against {first.name}: {found.localizer} at the runs' own cuts, strict, points"
        table = table_of(title, [title_of(rate) for rate in found.rates], "setting")
        for name, cells in found.rows.items():
            table.add_row(name, *(_beside_zero(each, half) for each, half in cells))
        out.print(table)
        out.print(HOW_COMPARED)


def _beside_zero(found: Difference, half: float) -> Text:
    """A difference with half of its interval below it, bold where 0 lies beyond it."""
    return Text(f"{found.points:+.2f}\n±{half:.2f}", style="bold" if abs(found.points) > half else "")


def _print_claims(settings: Sequence[SettingRuns]) -> None:
    out, names = console(), {runs.setting: runs.name for runs in settings}
    tables = claim_tables(settings)
    for each in tables:
        title = f"claim {each.claim}: {each.title} (Top-1 Loc, IoU 0.5)"
        table = table_of(title, ["the paper", *PROTOCOLS], "first - second")
        for comparison, differences in zip(each.comparisons, each.differences, strict=True):
            first, second = comparison.sides
            cells = [_styled(differences[protocol]) for protocol in PROTOCOLS]
            row = f"{first} - {second}  ({names[comparison.worse]})"
            table.add_row(row, papers_difference(comparison), *cells)
        table.add_section()
        verdicts = [Text(each.verdicts[protocol], style="bold") for protocol in PROTOCOLS]
        table.add_row(each.verdict_name, "", *verdicts)
        out.print(table)
    if tables:
        out.print(HOW_JUDGED)


def _styled(difference: Difference) -> Text:
    styles: dict[Verdict, str] = {"holds": "green", "fails": "red", "not separable": ""}
    return Text(difference_text(difference), style=styles[difference.verdict])
