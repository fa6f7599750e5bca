"""Settings over seeds as rows: mean and spread of each measure, beside the paper's numbers and the fixed boxes. The
console, the page and files of tables show these same rows.
"""

import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from fastwsol.config import Setting
from fastwsol.evaluation.boxes import PROTOCOLS, ProtocolName
from fastwsol.evaluation.reading import fixed_box_oracles
from fastwsol.evaluation.report_types import LocalizerRow, RunReport
from fastwsol.evaluation.report_words import NO_TRUTH, left_out
from fastwsol.evaluation.table_cells import at_text, cut_text, localizer_name, percent_text, threshold_text
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
ORACLE_COLUMNS = {
    "max_box_acc": "MaxBoxAcc",
    "max_box_acc_v2": "MaxBoxAccV2",
    "max_box_acc_v2_single": "V2 with\none box",
}
PIXEL_COLUMNS = {"pxap": "PxAP", "iou": "mean IoU"}

ABOUT_BASELINES = "Baselines answer one box for every image, found on the boxes of train."
ABOUT_THE_PAPER = "The paper's numbers are of Tiny ImageNet's val after 1500 epochs, under paper2018."
ABOUT_PIXELS = "PxAP is of maps scaled each by its own extremes, the mean IoU of masks at the runs' own cuts."
ABOUT_ORACLES = (
    "MaxBoxAcc is the best GT-known Loc at IoU .5, MaxBoxAccV2 the mean of the best at .3, .5 and .7, where any "
    "component's box counts. Those of a mask are of thresholds on its own scale."
)

_PAPERS = {"top1_clas": "top1_clas", "top1_loc@0.5": "top1_loc", "gt_known_loc@0.5": "gt_known_loc"}


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
        return _known(report["rates"][protocol].get(rate) for report in self.reports)

    def localizers(self) -> list[str]:
        """The names of those that all its runs have, first the one that predictions take. Empty without a run."""
        names: list[set[str]] = [{each["name"] for each in report["localizers"]} for report in self.reports]
        common = {"cam"}.union(set.intersection(*names)) if names else set()
        return sorted((name for name in LOCALIZERS if name in common), key=lambda name: name != preferred(common))

    def not_of_all(self) -> list[str]:
        """The names of localizers that some of its runs have, and not all: no row shows them."""
        some = {each["name"] for report in self.reports for each in report["localizers"]}
        return sorted(some - {*self.localizers()})

    def title_of(self, name: str) -> str:
        """What a row of a localizer is called: by the setting, and by the localizer unless predictions take `cam`, with
        the boxes that it was trained with, where it was.
        """
        if name == "cam" == preferred(self.localizers()):
            return self.name
        row = next(row for row in self.reports[0]["localizers"] if row["name"] == name)
        return f"{self.name}, {localizer_name(row)}"

    def rows_of(self, localizer: str) -> list[LocalizerRow]:
        """What its reports say of a localizer."""
        return [each for report in self.reports for each in report["localizers"] if each["name"] == localizer]

    def values_of_localizer(self, name: str, rate: str) -> list[float]:
        """A rate of a localizer at the runs' own cuts, under strict: one value a seed, in percent."""
        return _known(row["rates"].get(rate) for row in self.rows_of(name))

    def values_under(self, protocol: str, name: str, rate: str) -> list[float]:
        """A rate of a localizer under a protocol, where tables have it: `cam` at the paper's threshold, others at the
        runs' own cuts.
        """
        return self.values(protocol, rate) if name == "cam" else self.values_of_localizer(name, rate)

    def cut_under(self, name: str) -> str:
        """Where that is, in a few words."""
        return at_text([self.reports[0]["cam_threshold"]]) if name == "cam" else self.cut_of(name)

    def values_of_oracle(self, name: str, measure: str) -> list[float]:
        """MaxBoxAcc or one of its kin of a localizer, under strict: one value a seed, in percent."""
        return _known(row["max_box_acc"]["strict"]["rates"][measure] for row in self.rows_of(name))

    def values_of_pixels(self, name: str, measure: str) -> list[float]:
        """PxAP, or the mean IoU of masks at the runs' own cuts, of a localizer: one value a seed, in percent; empty
        where a run was not measured so.
        """
        if not all("masks" in each for each in self.reports):
            return []
        of_each = [row["pixels"] for row in self.rows_of(name)]
        return [each["pxap"] if measure == "pxap" else each["iou"]["mean"] for each in of_each]

    def cut_of(self, name: str) -> str:
        """Where its runs cut the maps of a localizer, in a few words."""
        texts = [*dict.fromkeys(map(cut_text, self.rows_of(name)))]
        if len(texts) < 2:
            return "".join(texts)
        cuts = [row["cut"] for row in self.rows_of(name)]
        values = sorted(_known(cut["value"] for cut in cuts))
        rules = ", ".join(dict.fromkeys(cut["rule"] for cut in cuts))
        ends = [*dict.fromkeys(threshold_text(value) for value in (values[:1] + values[-1:]))]
        return f"at {' to '.join(ends)} ({rules})" if values else rules


def _known(values: Iterable[float | None]) -> list[float]:
    return [each for each in values if each is not None]


RowKind = Literal["setting", "localizer", "paper", "baseline"]


def _kind_of(localizer: str) -> RowKind:
    return "setting" if localizer == "cam" else "localizer"


@dataclass(frozen=True)
class OverSeeds:
    """A measure over the seeds of a setting, or one of the paper's or of a fixed box, in percent."""

    mean: float | None
    """None where it could not be measured."""
    deviation: float | None = None
    """The standard deviation, of several seeds."""

    @staticmethod
    def of(values: Sequence[float]) -> "OverSeeds":
        """Of one value a seed; there may be none."""
        if not values:
            return OverSeeds(None)
        return OverSeeds(statistics.mean(values), statistics.stdev(values) if len(values) > 1 else None)

    @property
    def text(self) -> str:
        """The mean, with the standard deviation where there is one; a dash of none."""
        return percent_text(self.mean) + ("" if self.deviation is None else f" ± {self.deviation:.2f}")


@dataclass(frozen=True)
class SeedRow:
    """A row of a table over seeds."""

    kind: RowKind
    name: str
    cells: tuple[OverSeeds | None, ...]
    """In the order of the table's columns; None where nothing is said."""
    seeds: int | None = None
    box: str = ""
    """Its edges, of a fixed box."""

    @property
    def texts(self) -> list[str]:
        """Its cells, in words."""
        return ["" if each is None else each.text for each in self.cells]

    @property
    def title(self) -> str:
        """What it begins with."""
        return f"{self.name} ({self.box})" if self.box else self.name

    @property
    def is_own(self) -> bool:
        """Whether it is of a setting, and not of the paper or a fixed box."""
        return self.kind in ("setting", "localizer")

    @property
    def seeds_text(self) -> str:
        """How many there are, nothing of a fixed box."""
        return "" if self.seeds is None else str(self.seeds)


@dataclass(frozen=True)
class SeedTable:
    """What was measured of settings, one table of several."""

    protocol: str
    """Empty where the protocols do not tell it apart, as of pixels."""
    title: str
    columns: dict[str, str]
    """The measures by name, with their headings."""
    rows: list[SeedRow]
    note: str = ""
    """What has to be said below it."""


def tables_over_seeds(settings: Sequence[SettingRuns]) -> list[SeedTable]:
    """All that tables show of settings: rates under each protocol, and where they were measured MaxBoxAcc and its kin,
    and pixels of masks. None where no run is finished.
    """
    report = any_report(settings)
    if report is None:
        return []
    tables = []
    for protocol in protocols_of(report):
        rows = _rate_rows(settings, protocol)
        title = _title_of_rates(protocol, rows, report)
        note = _note_of_missing(settings) if protocol == PROTOCOLS[0] else ""
        tables.append(SeedTable(protocol, title, rate_columns(report), rows, note))
    if rows := _oracle_rows(settings):
        title = "strict, percent, at the thresholds that are best on these very images (an oracle), of each run"
        tables.append(SeedTable("strict", title + _spread_note(rows), ORACLE_COLUMNS, rows, ABOUT_ORACLES))
    if rows := pixel_rows(settings):
        tables.append(SeedTable("", "pixels of masks, percent" + _spread_note(rows), PIXEL_COLUMNS, rows, ABOUT_PIXELS))
    return tables


def any_report(settings: Sequence[SettingRuns]) -> RunReport | None:
    """One of the reports: source, split and images are the same in all of them."""
    return next((report for runs in settings for report in runs.reports), None)


def _one_of_each_square(settings: Sequence[SettingRuns]) -> dict[str, RunReport]:
    """A report for each side of the square that networks see, which fixed boxes are found and measured in, by what to
    say of it behind the name of such a box: nothing where there is one side alone.
    """
    of_square: dict[int, RunReport] = {}
    for runs in settings:
        for report in runs.reports:
            of_square.setdefault(runs.setting.views.image_size, report)
    several = len(of_square) > 1
    return {f", in squares of {side} pixels" if several else "": report for side, report in of_square.items()}


def rate_columns(report: RunReport) -> dict[str, str]:
    """The rates that tables show, by name, and their headings: classification alone where no image has a box."""
    return {name: title for name, title in COLUMNS.items() if report["images_with_boxes"] or name == "top1_clas"}


def protocols_of(report: RunReport) -> Sequence[ProtocolName]:
    """The protocols that have a table; one where no image has a box, since classes are the same under each."""
    return PROTOCOLS if report["images_with_boxes"] else PROTOCOLS[:1]


def _rate_rows(settings: Sequence[SettingRuns], protocol: ProtocolName) -> list[SeedRow]:
    """A row for each setting, of its localizers too under `strict`, with the cells of `rate_columns`; behind it the
    paper's where it has the same one; then the fixed boxes'.
    """
    report = any_report(settings)
    if report is None:
        return []
    columns, rows = rate_columns(report), []
    for runs in settings:
        if not report["images_with_boxes"]:
            clas = OverSeeds.of(runs.values(protocol, "top1_clas"))
            rows.append(SeedRow("setting", runs.name, (clas,), len(runs.reports)))
            continue
        for name in [each for each in runs.localizers() if each == "cam" or protocol == "strict"]:
            cells = tuple(OverSeeds.of(runs.values_under(protocol, name, rate)) for rate in columns)
            rows.append(SeedRow(_kind_of(name), runs.title_of(name), cells, len(runs.reports)))
        if not runs.reports:
            rows.append(SeedRow("setting", runs.name, (OverSeeds(None),) * len(columns), 0))
        if stands_beside(report) and (numbers := published(runs.setting)) is not None:
            rows.append(SeedRow("paper", f"the paper: {_paper_name(runs.setting)}", _papers_cells(numbers), 1))
    rows = list(dict.fromkeys(rows))  # settings that the paper does not tell apart have one row of its
    if not report["images_with_boxes"]:
        return rows
    for square, of_square in _one_of_each_square(settings).items():
        for baseline in of_square["baselines"]:
            rates, box = baseline["rates"][protocol], ",".join(map(str, baseline["box"]))
            localized = [rates.get(rate) if rate.startswith("gt_known") else None for rate in columns]
            of_box = tuple(None if rate is None else OverSeeds(rate) for rate in localized)
            rows.append(SeedRow("baseline", baseline["name"] + square, of_box, box=box))
    return rows


def _title_of_rates(protocol: str, rows: Sequence[SeedRow], report: RunReport) -> str:
    """What a table of `_rate_rows` is of: where maps were cut, and what its cells are."""
    others = any(row.kind == "localizer" for row in rows)
    at_fixed = f"maps{' of cam' if others else ''} kept at {report['cam_threshold']:g} of the maximum"
    title = f"{protocol}, percent, {at_fixed}" if report["images_with_boxes"] else "classification, percent"
    title += ", others' at the run's own cuts" if others else ""
    return title + _spread_note(rows)


def _note_of_missing(settings: Sequence[SettingRuns]) -> str:
    """Which localizers have no rows, since some runs of their setting lack them; empty where none is missing."""
    missing = [f"{', '.join(names)} of {runs.name}" for runs in settings if (names := runs.not_of_all())]
    return f"Not shown, as not every seed has it: {'; '.join(missing)}." if missing else ""


def _spread_note(rows: Sequence[SeedRow]) -> str:
    several = any((row.seeds or 0) > 1 for row in rows)
    return "; mean ± standard deviation over seeds" if several else ""


def _oracle_rows(settings: Sequence[SettingRuns]) -> list[SeedRow]:
    """A row for each setting's localizers, of MaxBoxAcc and its kin under `strict`, with the cells of
    `ORACLE_COLUMNS`; then the fixed boxes'. None where no image has a box.
    """
    report = any_report(settings)
    if report is None or not report["images_with_boxes"]:
        return []
    rows = _rows_of_localizers(settings, ORACLE_COLUMNS, SettingRuns.values_of_oracle)
    for square, of_square in _one_of_each_square(settings).items():
        for name, rates in fixed_box_oracles(of_square, "strict"):
            cells = tuple(OverSeeds(rates[measure]) for measure in ORACLE_COLUMNS)
            rows.append(SeedRow("baseline", name + square, cells))
    return rows


def pixel_rows(settings: Sequence[SettingRuns]) -> list[SeedRow]:
    """A row for each setting's localizers, of their maps against masks, a dash where a run of it was not measured so;
    then the fixed masks'. None where no run was. The cells are in the order of `PIXEL_COLUMNS`.
    """
    measured = [each for runs in settings for each in runs.reports if "masks" in each]
    if not measured:
        return []
    rows = _rows_of_localizers(settings, PIXEL_COLUMNS, SettingRuns.values_of_pixels)
    for fixed in measured[0]["masks"]["baselines"]:
        rows.append(SeedRow("baseline", fixed["name"], (OverSeeds(fixed["pxap"]), OverSeeds(fixed["iou"]))))
    return rows


def _rows_of_localizers(
    settings: Sequence[SettingRuns], columns: Iterable[str], values: Callable[[SettingRuns, str, str], list[float]]
) -> list[SeedRow]:
    """A row for each setting's localizers. values: of a setting, a localizer and a measure, one a seed, in percent."""
    return [
        SeedRow(
            _kind_of(name),
            runs.title_of(name),
            tuple(OverSeeds.of(values(runs, name, measure)) for measure in columns),
            len(runs.reports),
        )
        for runs in settings
        for name in runs.localizers()
    ]


def _paper_name(setting: Setting) -> str:
    return f"{setting.views.aug}, depth {setting.network.depth}, batch {setting.optimizer.batch_size}"


def _papers_cells(numbers: Published) -> tuple[OverSeeds | None, ...]:
    return tuple(OverSeeds(getattr(numbers, _PAPERS[rate])) if rate in _PAPERS else None for rate in COLUMNS)


def notes_below(settings: Sequence[SettingRuns]) -> list[str]:
    """What has to be said of images that do not count, and of the rows that are no setting's; there is a report."""
    reports = [report for runs in settings for report in runs.reports]
    report = reports[0]
    if not report["images_with_boxes"]:
        return [NO_TRUTH]
    return [
        *dict.fromkeys(f"{note}." for each in reports for note in left_out(each)),
        ABOUT_BASELINES,
        *([ABOUT_THE_PAPER] if stands_beside(report) else []),
    ]
