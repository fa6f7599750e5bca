"""Tables over seeds on the console, and what becomes of the paper's claims and of settings of one's own."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite

from rich.console import Console
from rich.text import Text

from fastwsol.config import differing_options
from fastwsol.evaluation.boxes import PROTOCOLS, BoxProtocol
from fastwsol.evaluation.report_words import images_of, warnings_of
from fastwsol.evaluation.table_cells import console, table_of, title_of
from fastwsol.experiments.over_seeds import RowKind, SettingRuns, any_report, notes_below, tables_over_seeds
from fastwsol.experiments.paper_claims import (
    CLAIMS,
    OPTIONS,
    Comparison,
    Difference,
    Verdict,
    difference,
    judge,
    overall,
    overall_name,
    pooled_spread,
)
from fastwsol.experiments.paper_numbers import published, stands_beside
from fastwsol.localizer.localizers import preferred

DECISIVE_RATE = "top1_loc@0.5"
"""The rate that the claims are about."""

HOW_JUDGED = (
    "± half of the 95 % interval of a difference of means over seeds (Student's, the spread pooled over the settings "
    "that its claim compares). A claim holds where every comparison made does, and fails where any is worse by an "
    "interval for all of them at once (Bonferroni's). The paper's differences are of all of Tiny ImageNet after 1500 "
    "epochs."
)


# Claims


@dataclass(frozen=True)
class ClaimTable:
    """What becomes of one of the paper's claims, under each protocol in turn."""

    claim: int
    title: str
    comparisons: list[Comparison]
    differences: list[dict[BoxProtocol, Difference]]
    """Of each comparison, by protocol."""
    verdict_name: str
    verdicts: dict[BoxProtocol, Verdict]
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
    return f"{beside_text((difference, difference.half_interval))}\n{difference.verdict}"


def beside_text(found: tuple[Difference, float], separator: str = " ") -> str:
    """A difference in points with half of an interval, or why it has none."""
    difference, half = found
    if isfinite(half):
        return f"{difference.points:+.2f}{separator}± {half:.2f}"
    return f"{difference.points:+.2f},{separator}{'no spread' if difference.freedom else 'one seed'}"


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

    first: str
    """Its name."""
    localizer: str
    rows: dict[str, list[tuple[Difference, float]]]
    """By the setting's name: for each of `RATES_COMPARED` that was measured the difference, and half of its interval
    among the rows."""
    rates: list[str]


def against_first(settings: Sequence[SettingRuns]) -> AgainstFirst | None:
    """The settings beside the first, under `strict`; None where there are not two of several seeds, or the paper's
    claims are about all that they differ in.
    """
    finished = [each for each in settings if each.reports]
    if len(finished) < 2 or all(len(each.reports) < 2 for each in finished):
        return None
    if claim_tables(finished) and {*differing_options([each.setting.flat() for each in finished])} <= {*OPTIONS}:
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
    return AgainstFirst(finished[0].name, localizer, rows, rates) if rates else None


# The console


_STYLES: dict[RowKind, str] = {"setting": "bold", "localizer": "bold", "paper": "dim", "baseline": ""}


def print_over_seeds(settings: Sequence[SettingRuns]) -> None:
    """Print a table for each protocol, and the verdicts on the paper's claims; nothing where no run is finished."""
    out, report = console(), any_report(settings)
    if report is None:
        out.print("no run is finished yet")
        return
    out.print(f"\n{report['source']}, {images_of(report)}")
    _print_warnings(settings, out)
    for each in tables_over_seeds(settings):
        table = table_of(each.title, ["seeds", *each.columns.values()], "%")
        for row, following in zip(each.rows, [*each.rows[1:], None], strict=True):
            before_baselines = row.kind != "baseline" and following is not None and following.kind == "baseline"
            style = _STYLES[row.kind]
            table.add_row(row.title, row.seeds_text, *row.texts, style=style, end_section=before_baselines)
        out.print(table)
        if each.note:
            out.print(each.note)
    for note in notes_below(settings):
        out.print(note)
    if not stands_beside(report):
        out.print("The paper's numbers are of val of all 200 classes of Tiny ImageNet, and do not stand beside others.")
    _print_claims(settings)
    if (found := against_first(settings)) is not None:
        title = f"against {found.first}: {found.localizer} at the runs' own cuts, strict, points"
        table = table_of(title, [title_of(rate) for rate in found.rates], "setting")
        for name, cells in found.rows.items():
            table.add_row(name, *(_beside_zero(each, half) for each, half in cells))
        out.print(table)
        out.print(HOW_COMPARED)


def _print_warnings(settings: Sequence[SettingRuns], out: Console) -> None:
    for runs in settings:
        for report in runs.reports:
            for each in warnings_of(report):
                out.print(f"warning: {runs.name}, seed {report['config']['seed']}, {each}")


def _beside_zero(found: Difference, half: float) -> Text:
    """A difference with half of its interval below it, bold where 0 lies beyond it."""
    return Text(beside_text((found, half), "\n"), style="bold" if abs(found.points) > half else "")


def _print_claims(settings: Sequence[SettingRuns]) -> None:
    out, names = console(), {runs.setting: runs.name for runs in settings}
    tables = claim_tables(settings)
    for each in tables:
        title = f"claim {each.claim}: {each.title} (Top-1 Loc of cam, IoU 0.5)"
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
