"""python -m fastwsol.compare A B: do two networks differ on the same images, or is the difference chance?

A and B are runs' folders (their report on val is taken) or report files; the CSV beside a report says what happened to
each image. For each rate: both values, their difference with its 95 % interval (a bootstrap over images, both networks
resampled together) and the exact p value of the sign test on the images that one of them alone got right (McNemar).
Below stand MaxBoxAcc and MaxBoxAccV2 (Choe et al. 2020), each network's maps cut where it is best on these images: of
MaxBoxAccV2, a mean over three IoUs, the sign test is of the images that one of them hits at more of these.

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
from typing import Annotated, Any, Literal

import numpy as np
import tyro
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from fastwsol.evaluation.boxes import ProtocolName, hits_of
from fastwsol.evaluation.console_tables import ORACLE_TITLES
from fastwsol.evaluation.metrics import BEYOND_TOP_5, IOU_THRESHOLDS, CamClass, Outcomes, outcomes, ranks
from fastwsol.evaluation.paired import Pair, paired, paired_means
from fastwsol.evaluation.per_image import ImageRows
from fastwsol.evaluation.reading import rows_file, rows_of, taken_of
from fastwsol.evaluation.report_types import REPORT_FORMAT_VERSION, LocalizerRow, Report
from fastwsol.evaluation.table_cells import console, table_of, title_of
from fastwsol.host.command_line import OptionalPath, parse_flags, require_file, run_command, shown_as
from fastwsol.host.errors import UserError
from fastwsol.host.files import write_json
from fastwsol.localizer.localizers import LocalizerName

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
    truths_digest: str
    masks_digest: str | None
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
    """A protocol, `max_box_acc` or `masks`, as files have it."""
    title: str
    titles: Mapping[str, str]
    """Of the rates, by name."""
    pairs: Mapping[str, Pair]
    by: Literal["right", "better"] = "right"
    """What an image is that one of the two has alone."""


def main(arguments: Sequence[str]) -> int:
    """Print a table for each protocol that both were evaluated under."""
    flags = parse_flags(
        Flags,
        arguments,
        PROG,
        "Compare B with A, two networks or localizers on the same images: differences in points, their "
        "95 % intervals, and p of the exact sign test on the images that one of them alone got right.",
    )
    if flags.out is not None:
        require_file("--out", flags.out)
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
    """What can be compared; and what cannot, in sentences."""
    has_boxes, notes = bool(a.rows.box_counts.any()), []
    protocols = [name for name in a.rows.boxes if name in b.rows.boxes]
    if not has_boxes:  # classes are the same under each
        protocols = protocols[:1]
        notes.append("None of these images has a box: classes alone are compared.")
    left_out: tuple[str, ...] = ()
    if a.cut_for_each_iou or b.cut_for_each_iou:
        left_out = tuple(f"@{each}" for each in IOU_THRESHOLDS if each != 0.5)
        notes.append("Under auto each IoU has a threshold of its own: rates at IoU 0.5 alone are compared.")
    tables = []
    for protocol in protocols:
        pairs = paired(outcomes_of(a, protocol), outcomes_of(b, protocol))
        pairs = {name: pair for name, pair in pairs.items() if not name.endswith(left_out)}
        tables.append(
            PairTable(protocol, protocol if has_boxes else "", {name: title_of(name) for name in pairs}, pairs)
        )
    if has_boxes:
        ours, theirs = oracles_of(a), oracles_of(b)
        if ours is not None and theirs is not None:
            pairs = {name: paired_means(ours[name], theirs[name]) for name in ours}
            title = "strict, each cut where it is best on these images"
            tables.append(PairTable("max_box_acc", title, ORACLE_TITLES, pairs, "better"))
        else:
            older = (a if ours is None else b).path
            notes.append(f"MaxBoxAcc is not compared: {older} was written without it; remove it, evaluate again.")
    if a.rows.mask_ious is not None and b.rows.mask_ious is not None and a.masks_digest == b.masks_digest:
        title = f"masks, A cut at {a.cut_at}, B at {b.cut_at}"
        pairs = {"mean_iou": paired_means(a.rows.mask_ious, b.rows.mask_ious)}
        tables.append(PairTable("masks", title, {"mean_iou": "mean IoU"}, pairs, "better"))
    elif a.rows.mask_ious is not None or b.rows.mask_ious is not None:
        notes.append("Masks are not compared: one of the two was measured without them, or against others.")
    return tables, notes


def oracles_of(side: ComparedReport) -> dict[str, NDArray[np.float64]] | None:
    """At how many of the IoU thresholds each image is hit, as a share, by the oracle's name: [N], NaN without a box."""
    best = side.rows.best_hits
    if best is None:
        return None
    shares = {
        "max_box_acc": best.single[:, IOU_THRESHOLDS.index(0.5)].astype(np.float64),
        "max_box_acc_v2": best.multiple.mean(axis=1),
        "max_box_acc_v2_single": best.single.mean(axis=1),
    }
    return {name: np.where(side.rows.box_counts > 0, each, np.nan) for name, each in shares.items()}


def as_shown(pairs: PairTable) -> Table:
    """On the console."""
    title = f"{pairs.title}: B against A" if pairs.title else "B against A"
    table = table_of(title, ["A", "B", "B - A", f"A alone\n{pairs.by}", f"B alone\n{pairs.by}", "p"])
    for name, pair in pairs.pairs.items():
        table.add_row(pairs.titles[name].replace("\n", " "), *cells(pair))
    return table


def as_json(a: ComparedReport, b: ComparedReport, tables: Sequence[PairTable], notes: Sequence[str]) -> dict[str, Any]:
    """What `--out` writes: numbers in percent, differences and their intervals in points."""
    sides = {
        name: {"report": str(side.path), "localizer": side.localizer, "cut": side.cut}
        for name, side in (("a", a), ("b", b))
    }
    rates = {each.name: {name: pair.to_json() for name, pair in each.pairs.items()} for each in tables}
    return {"format_version": 1, **sides, "images": len(a.rows.names), "rates": rates, "notes": [*notes]}


def read_report(path: Path, localizer: str | None = None) -> ComparedReport:
    """What a report, of a run's folder or a file, says of a localizer, by default the one that predictions take. Raises
    UserError where there is none.
    """
    file = path / "report.json" if path.is_dir() else path
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


def _side_of(report: Report, file: Path, localizer: LocalizerRow) -> ComparedReport:
    """One side of the comparison: what a report in `file` says of one of its localizers."""
    masks = report.get("masks")
    return ComparedReport(
        file,
        report["cam_class"],
        report["truths_digest"],
        masks["digest"] if masks is not None else None,
        ImageRows.read(rows_file(file, rows_of(report, localizer["name"]))),
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
    five = rows.predicted.shape[1] == BEYOND_TOP_5 and bool(rows.predicted.astype(bool).all())
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
