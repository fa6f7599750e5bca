"""python -m fastwsol.compare A B: do two networks differ on the same images, or is the difference chance?

A and B are runs' folders (their report on val is taken, or where there is none, that on what they evaluate themselves
on) or report files; the CSV beside a report says what happened to each image. For each rate: both values, their
difference with its 95 % interval (a bootstrap over images, both networks resampled together) and the exact p value of
the sign test on the images that one of them alone got right (McNemar). Below stand MaxBoxAcc and MaxBoxAccV2 (Choe et
al. 2020) under `strict`, each network's maps cut where it is best on these images, and the mean IoU of masks; of a mean
of other numbers than 0 and 1 p is a permutation test's.

`--localizers cam mask` compares two localizers: A's class activation map with B's mask, which may be of one run.

The result holds for these two networks. It does not say that the same two recipes differ with other seeds: for that,
train several seeds.
"""

if __name__ == "__main__":  # before the imports, which take seconds
    from fastwsol.host.starting import prepare_imports

    prepare_imports()

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from fastwsol.evaluation.boxes import ProtocolName, hits_of
from fastwsol.evaluation.console_tables import ORACLE_TITLES
from fastwsol.evaluation.metrics import IOU_THRESHOLDS, TOP, CamClass, Outcomes, outcomes, ranks
from fastwsol.evaluation.paired import Pair, paired, paired_means
from fastwsol.evaluation.per_image import ImageRows
from fastwsol.evaluation.reading import rows_file, rows_of, taken_of
from fastwsol.evaluation.report_types import REPORT_FORMAT_VERSION, LocalizerRow, Report
from fastwsol.evaluation.table_cells import console, table_of, title_of
from fastwsol.evaluation.thresholds import BestHits
from fastwsol.host.command_line import OptionalPath, parse_flags, require_new, run_command, shown_as
from fastwsol.host.environment import environment
from fastwsol.host.errors import UserError
from fastwsol.host.files import write_json
from fastwsol.localizer.localizers import LocalizerName
from fastwsol.runs.folder import ReportOf, RunDir

PROG = "python -m fastwsol.compare"


@dataclass(frozen=True)
class Flags:
    """The command line."""

    a: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="A")]
    """folder of a run or of evaluate --out, or a report's JSON file"""
    b: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="B")]
    """another one, evaluated on the same images"""
    localizers: Annotated[tuple[LocalizerName, ...], shown_as()] = ()
    """what made the maps, of A and of B where two are named; default: of each what predict takes"""
    out: OptionalPath = None
    """also write the numbers to this JSON file"""


@dataclass(frozen=True)
class ComparedReport:
    """One of the two reports."""

    path: Path
    cam_class: CamClass
    classes: int
    truths_digest: str
    masks_digest: str | None
    rows_file: Path
    rows: ImageRows
    localizer: str
    """Its name, or `maps`."""
    cut: float | None
    """Where its maps were cut; None where each has a threshold of its own."""
    cut_for_each_iou: bool
    """Whether `rows` have the boxes of one cut, that for IoU .5, and the report's rates are of another at each IoU."""

    @property
    def cut_at(self) -> str:
        """The cut in words."""
        return "a threshold for each image" if self.cut is None else f"{self.cut:.2g}"


@dataclass(frozen=True)
class PairTable:
    """Some rates of both, measured in one way."""

    name: str
    """A protocol, `max_box_acc_strict` or `masks`, as files have it."""
    title: str
    titles: Mapping[str, str]
    """Of the rates, by name."""
    pairs: Mapping[str, Pair]
    are_means: bool = False
    """Whether they are means over images, and no rates of right ones."""


def main(arguments: Sequence[str]) -> int:
    """Print a table for each protocol that both were evaluated under."""
    flags = parse_flags(
        Flags,
        arguments,
        PROG,
        "Compare B with A, two networks or localizers on the same images: differences in points, their "
        "95 % intervals, and p, of a rate by the exact sign test, of a mean by a permutation test.",
    )
    require_new("--out", flags.out)
    if len(flags.localizers) > 2:
        raise UserError(f"--localizers {' '.join(flags.localizers)}: name one, or one of A and one of B")
    of_a, of_b = (flags.localizers * 2)[:2] if flags.localizers else (None, None)
    a, b = read_report(flags.a, of_a), read_report(flags.b, of_b)
    check_same_images(a, b)
    out = console()
    for name, side in (("\nA", a), ("B", b)):
        out.print(f"{name}: {side.path}, {side.localizer} at {side.cut_at}")
    out.print(f"{len(a.rows.names):,} images, the same")
    if not flags.localizers and (a.localizer, b.localizer) != ("maps", "maps"):
        out.print("Each by the localizer that predict takes; --localizers names others.")
    tables, notes = compared(a, b)
    for note in notes:
        out.print(note)
    for table in tables:
        out.print(as_shown(table))
    out.print(
        "Interval and p: over these images, of these two networks, and of each row alone: choose the rate beforehand, "
        "since of several one may differ by chance. To tell recipes apart, train several seeds."
    )
    if flags.out is not None:
        write_json(flags.out, as_json(a, b, tables, notes))
        print(f"written to {flags.out}")
    return 0


def compared(a: ComparedReport, b: ComparedReport) -> tuple[list[PairTable], list[str]]:
    """What can be compared; and what cannot, or how, in sentences."""
    tables, notes = of_rates(a, b)
    for table, note in (of_oracles(a, b), of_masks(a, b)):
        tables += [table] if table is not None else []
        notes += [note] if note else []
    return tables, notes


def of_rates(a: ComparedReport, b: ComparedReport) -> tuple[list[PairTable], list[str]]:
    """A table for each protocol that both were evaluated under."""
    has_boxes, notes = bool(a.rows.box_counts.any()), []
    protocols = [name for name in a.rows.boxes if name in b.rows.boxes]
    if not has_boxes:  # classes are the same under each
        protocols = protocols[:1]
        notes.append("None of these images has a box: boxes are not compared.")
    left_out: tuple[str, ...] = ()
    if a.cut_for_each_iou or b.cut_for_each_iou:
        left_out = tuple(f"@{each}" for each in IOU_THRESHOLDS if each != 0.5)
        notes.append("Under auto each IoU has a cut of its own: of rates at the cut those at IoU 0.5 are compared.")
    tables = []
    for protocol in protocols:
        pairs = paired(outcomes_of(a, protocol), outcomes_of(b, protocol))
        pairs = {name: pair for name, pair in pairs.items() if not name.endswith(left_out)}
        if pairs:
            titles = {name: title_of(name) for name in pairs}
            tables.append(PairTable(protocol, protocol if has_boxes else "", titles, pairs))
    return tables, notes


def of_oracles(a: ComparedReport, b: ComparedReport) -> tuple[PairTable | None, str]:
    """MaxBoxAcc and MaxBoxAccV2 under `strict`, where images have boxes; and what is to be known of them."""
    has_box = a.rows.box_counts > 0
    if not has_box.any():
        return None, ""
    if lacking := [str(side.rows_file) for side in (a, b) if side.rows.best_hits is None]:
        files = " and ".join(dict.fromkeys(lacking))
        return None, f"MaxBoxAcc is not compared: its columns are missing in {files}; evaluate again."
    ours, theirs = (oracle_hits(side.rows.best_hits) for side in (a, b))
    pairs = {}
    for name in ours:
        of_a, of_b = (np.where(has_box, hits[name].sum(axis=1), np.nan) for hits in (ours, theirs))
        pairs[name] = paired_means(of_a, of_b, whole=ours[name].shape[1])
    title = "strict, each cut where it is best on these very images (an oracle)"
    note = "MaxBoxAcc: cuts are chosen on these images and held; its intervals and p leave out that choice."
    return PairTable("max_box_acc_strict", title, ORACLE_TITLES, pairs, are_means=True), note


def oracle_hits(best: BestHits | None) -> dict[str, NDArray[np.bool_]]:
    """The hits that each oracle counts, by its name: [N, IoU thresholds], .5 alone for MaxBoxAcc."""
    assert best is not None
    half = IOU_THRESHOLDS.index(0.5)
    return {
        "max_box_acc": best.single[:, [half]],
        "max_box_acc_v2": best.multiple,
        "max_box_acc_v2_single": best.single,
    }


def of_masks(a: ComparedReport, b: ComparedReport) -> tuple[PairTable | None, str]:
    """The IoU of masks at the cuts, where both were measured against the same; else why not."""
    ours, theirs = a.rows.mask_ious, b.rows.mask_ious
    if ours is None and theirs is None:
        return None, ""
    if ours is None or theirs is None or a.masks_digest != b.masks_digest:
        return None, "Masks are not compared: one of the two was measured without them, or against others."
    title = f"masks, A cut at {a.cut_at}, B at {b.cut_at}"
    pairs = {"mean_iou": paired_means(ours, theirs)}
    return PairTable("masks", title, {"mean_iou": "mean IoU"}, pairs, are_means=True), ""


def as_shown(pairs: PairTable) -> Table:
    """On the console."""
    title = f"{pairs.title}: B against A" if pairs.title else "B against A"
    better = ["A better", "B better"] if pairs.are_means else ["A alone\nright", "B alone\nright"]
    table = table_of(title, ["A", "B", "B - A", *better, "p"])
    for name, pair in pairs.pairs.items():
        table.add_row(pairs.titles[name].replace("\n", " "), *cells(pair))
    return table


def as_json(a: ComparedReport, b: ComparedReport, tables: Sequence[PairTable], notes: Sequence[str]) -> dict[str, Any]:
    """What `--out` writes (docs/evaluating.md, "Two networks on the same images")."""
    sides = {
        name: {"report": str(side.path), "localizer": side.localizer, "cut": side.cut}
        for name, side in (("a", a), ("b", b))
    }
    rates = {each.name: {name: pair.to_json() for name, pair in each.pairs.items()} for each in tables}
    counted = {"images": len(a.rows.names), "rates": rates, "notes": [*notes]}
    return {"format_version": 1, **sides, **counted, **environment()}


def read_report(path: Path, localizer: str | None = None) -> ComparedReport:
    """What a report, of a run's folder or a file, says of a localizer, by default the one that predictions take. Raises
    UserError where there is none.
    """
    file = _report_in(path) if path.is_dir() else path
    if not path.exists():
        raise UserError(f"{path}: no such folder or file; name a run's folder, or one that evaluate --out wrote")
    try:
        report: Report = json.loads(file.read_bytes())
        if report["format_version"] != REPORT_FORMAT_VERSION:
            raise ValueError("of another version")
        localizers = {each["name"]: each for each in report["localizers"]}
        name = taken_of(report)["name"]
        if localizer is not None and name != "maps":  # score maps are what they are
            name = localizer
        if name not in localizers:
            raise UserError(f"--localizers {name}: {file} has {', '.join(localizers)}; name one of them")
        return _side_of(report, file, localizers[name])
    except OSError as error:
        raise UserError(
            f"{file}: cannot be read ({error.strerror}); let the run finish, or make a report with "
            f"python -m fastwsol.evaluate"
        ) from None
    except (ValueError, KeyError, TypeError, IndexError):
        raise UserError(
            f"{file}: is not a report of this version; name a run's folder or report.json, or evaluate again"
        ) from None


def _report_in(folder: Path) -> Path:
    """A folder's report: on val, or of a run without one, as on images held out, that on what the run evaluates itself
    on.
    """
    run, on_val = RunDir(folder), folder / "report.json"
    if on_val.exists() or not run.has_info():
        return on_val
    return run.report_file(ReportOf(run.read_info().config.eval_split))


def _side_of(report: Report, file: Path, localizer: LocalizerRow) -> ComparedReport:
    """One side of the comparison: what a report in `file` says of one of its localizers."""
    masks = report.get("masks")
    images = rows_file(file, rows_of(report, localizer["name"]))
    return ComparedReport(
        file,
        report["cam_class"],
        report["classes"],
        report["truths_digest"],
        masks["digest"] if masks is not None else None,
        images,
        ImageRows.read(images),
        localizer["name"],
        localizer["cut"]["value"],
        "thresholds" in localizer,
    )


def check_same_images(a: ComparedReport, b: ComparedReport) -> None:
    """Raise UserError where the two reports are not on the same images, or not on maps of the same class."""
    if a.cam_class != b.cam_class:
        raise UserError(
            f"{b.path}: boxes maps of the {b.cam_class} class, {a.path} of the {a.cam_class} class; evaluate both alike"
        )
    for what, ours, theirs in (
        ("image", np.array(a.rows.names), np.array(b.rows.names)),
        ("label", a.rows.labels, b.rows.labels),
        ("number of boxes", a.rows.box_counts, b.rows.box_counts),
    ):
        if len(ours) != len(theirs):
            raise UserError(
                f"{b.path}: is about {len(theirs):,} images, {a.path} about {len(ours):,}; evaluate both on the same"
            )
        if len(different := np.flatnonzero(ours != theirs)):
            row = different[0]
            raise UserError(
                f"{b.path}: image {row + 1} has another {what} than in {a.path} ({theirs[row]}, not {ours[row]}); "
                f"evaluate both on the same images"
            )
    if a.truths_digest != b.truths_digest:
        raise UserError(f"{b.path}: was measured against other boxes than {a.path}; evaluate both on the same")


def outcomes_of(side: ComparedReport, protocol: ProtocolName) -> Outcomes:
    """What happened to each image."""
    rows = side.rows
    of_labels = None
    if rows.predicted.shape[1] and rows.labels.astype(bool).all():
        of_labels = ranks(rows.predicted, rows.labels)
    five = rows.predicted.shape[1] == min(TOP, side.classes) and bool(rows.predicted.astype(bool).all())
    return outcomes(hits_of(rows.boxes[protocol].ious, protocol), rows.box_counts > 0, of_labels, side.cam_class, five)


def cells(pair: Pair) -> list[Text]:
    """The table's cells of a rate."""
    rates = [Text("–" if rate is None else f"{rate:.2f}") for rate in pair.rates]
    difference = Text("–" if pair.difference is None else f"{pair.difference:+.2f}")
    if not any(pair.only):
        difference.append(" (no image differs)", style="dim")  # of which resampling can tell nothing
    elif pair.interval is not None:
        difference.append(" ({:+.2f} .. {:+.2f})".format(*pair.interval), style="dim")
    p = "< 0.001" if pair.p < 0.001 else f"{pair.p:.3f}"
    return [*rates, difference, *(Text(f"{each:,}") for each in pair.only), Text(p)]


if __name__ == "__main__":
    sys.exit(run_command(main))
