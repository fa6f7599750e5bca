"""python -m fastwsol.compare A B: do two networks differ on the same images, or is the difference chance?

A and B are runs' folders (their report on val is taken) or report files; the CSV beside a report says what happened to
each image. For each rate: both values, their difference with its 95 % interval (a bootstrap over images, both networks
resampled together) and the exact p value of the sign test on the images that one of them alone got right (McNemar).

`--localizers cam mask` compares two localizers: A's class activation map with B's mask, which may be of one run.

The result holds for these two networks. It does not say that the same two recipes differ with other seeds: for that,
train several seeds.
"""

if __name__ == "__main__":  # before the imports, which take seconds
    from fastwsol.host.starting import prepare_imports

    prepare_imports()

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro
from numpy.typing import NDArray
from rich.text import Text

from fastwsol.evaluation.boxes import ProtocolName, hits_of
from fastwsol.evaluation.metrics import (
    BEYOND_TOP_5,
    IOU_THRESHOLDS,
    CamClass,
    Outcome,
    Outcomes,
    interval,
    outcomes,
    percent,
    ranks,
    sign_test,
)
from fastwsol.evaluation.per_image import ImageRows
from fastwsol.evaluation.reading import rows_file, rows_of, taken_of
from fastwsol.evaluation.report_types import REPORT_FORMAT_VERSION, LocalizerRow, Report
from fastwsol.evaluation.resampling import resampled_counts
from fastwsol.evaluation.table_cells import console, table_of, title_of
from fastwsol.host.command_line import parse_flags, run_command, shown_as
from fastwsol.host.errors import UserError
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


def main(arguments: Sequence[str]) -> int:
    """Print a table for each protocol that both were evaluated under."""
    flags = parse_flags(
        Flags,
        arguments,
        PROG,
        "Compare B with A, two networks or localizers on the same images: differences in points, their "
        "95 % intervals, and p of the exact sign test on the images that one of them alone got right.",
    )
    if len(flags.localizers) > 2:
        raise UserError(f"--localizers {' '.join(flags.localizers)}: name one, or one of A and one of B")
    of_a, of_b = (flags.localizers * 2)[:2] if flags.localizers else (None, None)
    a, b = read_report(flags.a, of_a), read_report(flags.b, of_b)
    check_same_images(a, b)
    out = console()
    out.print(f"\nA: {a.path}, {a.what}\nB: {b.path}, {b.what}\n{len(a.rows.names):,} images, the same")
    if not flags.localizers and (a.has_localizers or b.has_localizers):
        out.print("Each by the localizer that predict takes; --localizers names others.")
    protocols = [name for name in a.rows.boxes if name in b.rows.boxes]
    if not a.rows.box_counts.any():  # classes are the same under each
        protocols = protocols[:1]
        out.print("None of these images has a box: classes alone are compared.")
    at_others = tuple(f"@{each}" for each in IOU_THRESHOLDS if each != 0.5)
    left_out = at_others if a.cut_for_each_iou or b.cut_for_each_iou else ()
    if left_out:
        out.print("Under auto each IoU has a threshold of its own: rates at IoU 0.5 alone are compared.")
    for protocol in protocols:
        title = f"{protocol}: B against A" if a.rows.box_counts.any() else "B against A"
        table = table_of(title, ["A", "B", "B - A", "A alone\nright", "B alone\nright", "p"])
        for name, pair in paired(outcomes_of(a, protocol), outcomes_of(b, protocol)).items():
            if not name.endswith(left_out):
                table.add_row(title_of(name).replace("\n", " "), *cells(pair))
        out.print(table)
    if a.rows.mask_ious is not None and b.rows.mask_ious is not None and a.masks_digest == b.masks_digest:
        title = f"masks, A cut {a.mask_cut}, B cut {b.mask_cut}: B against A"
        table = table_of(title, ["A", "B", "B - A", "A alone\nbetter", "B alone\nbetter", "p"])
        table.add_row("mean IoU", *cells(paired_ious(a.rows.mask_ious, b.rows.mask_ious)))
        out.print(table)
    elif a.rows.mask_ious is not None or b.rows.mask_ious is not None:
        out.print("Masks are not compared: one of the two was measured without them, or against others.")
    out.print(
        "Interval and p: over these images, of these two networks, and of each row alone: choose the rate beforehand, "
        "since of several one may differ by chance. To tell recipes apart, train several seeds."
    )
    return 0


@dataclass(frozen=True)
class ComparedReport:
    """One of the two reports."""

    path: Path
    cam_class: CamClass
    truths_digest: str
    masks_digest: str | None
    mask_cut: str
    """Where the maps were cut that masks are compared with."""
    rows: ImageRows
    what: str
    """Which localizer, and where its maps were cut."""
    has_localizers: bool
    """Whether it is of a run, whose localizers it measures."""
    cut_for_each_iou: bool
    """Whether `rows` have the boxes of one cut, that for IoU .5, and the report's rates are of another at each IoU."""


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
    name, cut, masks = localizer["name"], localizer["cut"]["value"], report.get("masks")
    return ComparedReport(
        file,
        report["cam_class"],
        report["truths_digest"],
        masks["digest"] if masks is not None else None,
        "for each image" if cut is None else f"at {cut:.2g}",
        ImageRows.read(rows_file(file, rows_of(report, name))),
        f"{name} at {'a threshold for each image' if cut is None else f'{cut:.2g}'}",
        name != "maps",
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


@dataclass(frozen=True)
class Pair:
    """A rate of both, or the mean IoU of their masks, in percent."""

    rates: tuple[float | None, float | None]
    difference: float | None
    """B - A, in points."""
    interval: tuple[float, float] | None
    """The difference's 95 % interval."""
    only: tuple[int, int]
    """Images that one alone got right, or better: A, and B."""

    @property
    def p(self) -> float:
        """The sign test's p value."""
        return sign_test(*self.only)


def paired(a: Outcomes, b: Outcomes) -> dict[str, Pair]:
    """Each rate that both have, by its name."""
    names = [name for name in a if name in b and a[name].counted.any()]
    flags = [flag for name in names for flag in (*_discordant(a[name], b[name]), a[name].counted)]
    resampled = resampled_counts(np.column_stack(flags)).astype(np.float64)
    pairs = {}
    for k, name in enumerate(names):
        only_a, only_b = (int(each.sum()) for each in flags[3 * k : 3 * k + 2])
        counted = int(a[name].counted.sum())
        with np.errstate(invalid="ignore"):
            in_resamples = 100 * (resampled[:, 3 * k + 1] - resampled[:, 3 * k]) / resampled[:, 3 * k + 2]
        rate_a, rate_b = (percent(int(each[name].succeeded.sum()), counted) for each in (a, b))
        points = percent(only_b - only_a, counted)
        pairs[name] = Pair((rate_a, rate_b), points, interval(in_resamples), (only_a, only_b))
    return pairs


def paired_ious(a: NDArray[np.float64], b: NDArray[np.float64]) -> Pair:
    """The means of two masks' IoUs [N] in 0..1, NaN without a mask."""
    both = ~np.isnan(a) & ~np.isnan(b)
    ours, theirs = a[both], b[both]
    resampled = resampled_counts(np.stack([theirs - ours, np.ones_like(ours)], axis=1)).astype(np.float64)
    only_a, only_b = int((ours > theirs).sum()), int((theirs > ours).sum())
    with np.errstate(invalid="ignore"):
        in_resamples = 100 * resampled[:, 0] / resampled[:, 1]
    means = 100 * float(ours.mean()), 100 * float(theirs.mean())
    return Pair(means, 100 * float((theirs - ours).mean()), interval(in_resamples), (only_a, only_b))


def _discordant(a: Outcome, b: Outcome) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    return a.succeeded & ~b.succeeded, b.succeeded & ~a.succeeded


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
