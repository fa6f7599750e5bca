"""python -m fastwsol.compare A B: do two networks differ on the same images, or is the difference chance?

A and B are runs' folders (their report on val is taken, or where there is none, that on what they evaluate themselves
on) or report files; the CSV beside a report says what happened to each image. For each rate: both values, their
difference with its 95 % interval (a bootstrap over images, both networks resampled together) and the exact p value of
the sign test on the images that one of them alone got right (McNemar). Below stand MaxBoxAcc and MaxBoxAccV2 (Choe et
al. 2020) under `strict`, each network's maps cut where it is best on these images, and the mean IoU of masks; of a mean
of other numbers than 0 and 1 p is a permutation test's.

`--localizers cam mask` compares two localizers: A's class activation map with B's mask, which may be of one run.

That holds for these two networks, and not for the recipes that they were trained by. Recipes are compared by several
seeds of each: `compare A0 A1 A2 --b B0 B1 B2`. Interval and p then hold for other seeds and other images.
"""

if __name__ == "__main__":  # before the imports, which take seconds
    from fastwsol.host.starting import run

    run("compare")

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from rich.table import Table
from rich.text import Text

from fastwsol.config import Config, differing_options, flag
from fastwsol.evaluation.paired import Pair, paired_means
from fastwsol.evaluation.recipes import LEAST_SEEDS, RecipePair, recipes_differ
from fastwsol.evaluation.table_cells import console, percent_text, table_of
from fastwsol.host.command_line import parse_flags
from fastwsol.host.environment import environment
from fastwsol.host.errors import DeferredErrors, UserError
from fastwsol.host.files import write_json
from fastwsol.host.flags import OptionalPath, shown_as
from fastwsol.host.places import require_new
from fastwsol.host.words import number_of
from fastwsol.localizer.localizers import LocalizerName
from fastwsol.runs.compared_reports import ComparedReport, Measured, check_same_images, measured, read_compared_report

PROG = "python -m fastwsol.compare"


@dataclass(frozen=True)
class Flags:
    """The command line."""

    reports: Annotated[tuple[Path, ...], tyro.conf.Positional, shown_as("A B")] = ()
    """two folders of runs or of evaluate --out, or reports' JSON files, on the same images; with --b several of A"""
    b: Annotated[tuple[Path, ...], shown_as("B...")] = ()
    """compare recipes: runs of B, of several seeds, whose number may differ from that of A's"""
    localizers: Annotated[tuple[LocalizerName, ...], shown_as()] = ()
    """whose boxes are compared: one name for both sides, or one for A and one for B; default: for each side the one
    that predict takes"""
    out: OptionalPath = None
    """also write the numbers to this JSON file"""


@dataclass(frozen=True)
class PairTable:
    """Some rates of both sides, measured in one way."""

    measured: Measured
    title: str
    pairs: Mapping[str, Pair] | Mapping[str, RecipePair]
    """By the name of the rate."""


Sides = tuple[Sequence[ComparedReport], Sequence[ComparedReport]]
"""The reports of A, and of B."""


def main(arguments: Sequence[str]) -> int:
    """Print a table for each protocol that all were evaluated under."""
    flags = parse_flags(
        Flags,
        arguments,
        PROG,
        "Compare B with A, two networks or localizers on the same images, or two recipes of several seeds each: "
        "differences in points, their 95 % intervals, and p, of a rate by the exact sign test, of a mean by a "
        "permutation test, of recipes by Student's.",
        Flags(),
    )
    require_new("--out", flags.out)
    sides = read_sides(flags)
    if flags.b:
        for name, side in zip("AB", sides, strict=True):
            check_recipe(name, side)
        refuse_same_runs(sides)
    every = [*sides[0], *sides[1]]
    for report in every[1:]:
        check_same_images(every[0], report)
    out = console()
    out.print()
    for name, side in zip("AB", sides, strict=True):
        for report in side:
            seed = f", seed {_config(report).seed}" if flags.b else ""
            out.print(f"{name}: {report.path}, {report.localizer} at {report.cut_at}{seed}")
    out.print(f"{len(every[0].rows.names):,} images, the same")
    if not flags.localizers and any(report.localizer != "maps" for report in every):
        out.print("Each by the localizer that predict takes; --localizers names others.")
    tables, notes = compared(sides, of_recipes=bool(flags.b))
    with DeferredErrors() as deferred:
        if flags.out is not None:
            with deferred.caught():
                write_json(flags.out, as_json(sides, tables, notes, of_recipes=bool(flags.b)))
        for note in notes:
            out.print(note)
        for table in tables:
            out.print(as_shown(table))
        out.print(_ABOUT_RECIPES if flags.b else _ABOUT_NETWORKS)
    if flags.out is not None:
        print(f"written to {flags.out}")
    return 0


_ABOUT_NETWORKS = (
    "Interval and p: over these images, of these two networks, and of each row alone: choose the rate beforehand, "
    "since of several one may differ by chance. Where few images differ the interval is too narrow; p of a rate is "
    "exact, and decides. To tell recipes apart, compare several seeds of each (--b)."
)
_ABOUT_RECIPES = (
    "Interval and p: over seeds and images, and of each row alone: choose the rate beforehand, since of several one "
    "may differ by chance. The columns of errors say what would narrow the interval: more seeds, or more images."
)


def refuse_same_runs(sides: Sides) -> None:
    """Raise UserError where a run counts on both sides, for the same localizer."""
    of_a = {(report.path.resolve(), report.localizer) for report in sides[0]}
    for report in sides[1]:
        if (report.path.resolve(), report.localizer) in of_a:
            raise UserError(f"{report.path}: is on both sides; name each run once, before --b or behind it")


def read_sides(flags: Flags) -> Sides:
    """The reports that the command line names. Raises UserError where those are not two sides."""
    if len(flags.localizers) > 2:
        raise UserError(f"--localizers {' '.join(flags.localizers)}: name one, or one of A and one of B")
    if not flags.b and len(flags.reports) != 2:
        raise UserError(
            f"{number_of(len(flags.reports), 'report')} named: name two, A and B (one run twice for two of its "
            f"--localizers), or several seeds of a recipe and behind --b those of the other; see {PROG} --help"
        )
    a, b = (flags.reports, flags.b) if flags.b else (flags.reports[:1], flags.reports[1:])
    of_a, of_b = (flags.localizers * 2)[:2] if flags.localizers else (None, None)
    return [read_compared_report(path, of_a) for path in a], [read_compared_report(path, of_b) for path in b]


def check_recipe(name: str, side: Sequence[ComparedReport]) -> None:
    """Raise UserError where the runs of a side are not several seeds of one setting."""
    if len(side) < LEAST_SEEDS:
        which = "behind --b" if name == "B" else "before --b"
        runs = number_of(len(side), "run")
        raise UserError(f"{runs} of {name}: several seeds have a spread, one has none; name two runs or more {which}")
    first = _config(side[0])
    known: dict[Any, Path] = {}
    for report in side:
        config = _config(report)
        # A head's classifier is of a seed too: its hash is no setting.
        differing = differing_options([each.setting.flat() | {"behind_sha256": ""} for each in (first, config)])
        if differing:
            option = differing[0]
            ours, theirs = (each.flat()[option] for each in (first, config))
            raise UserError(
                f"{report.path}: has {flag(option)} {theirs}, {side[0].path} {ours}; name runs of {name} that differ "
                f"in their seed alone"
            )
        for what, theirs in report.facts.items():
            if (ours := side[0].facts[what]) != theirs:
                raise UserError(
                    f"{report.path}: has {what} {theirs}, {side[0].path} {ours}; name reports of {name} that are made "
                    f"alike"
                )
        behind = config.localizer.behind_sha256
        key, chance = (behind, "the classifier") if behind else (config.seed, f"seed {config.seed}")
        if key in known:
            raise UserError(
                f"{report.path}: is of {chance} that {known[key]} is of; name runs of {name} whose classifiers are of "
                f"several seeds"
            )
        known[key] = report.path


def _config(report: ComparedReport) -> Config:
    if report.config is None:
        raise UserError(f"{report.path}: is of score maps, of which no seed is known; --b compares runs")
    return report.config


def compared(sides: Sides, of_recipes: bool = False) -> tuple[list[PairTable], list[str]]:
    """What can be compared; and what cannot, or how, in sentences."""
    (a, b), tables = sides, []
    found, notes = measured([*a, *b])
    for each in found:
        title = f"masks, A cut at {_cuts(a)}, B at {_cuts(b)}" if each.name == "masks" else each.title
        pairs: dict[str, Any] = {}
        for name, of_images in each.of_images.items():
            ours, theirs = of_images[: len(a)], of_images[len(a) :]
            pairs[name] = recipes_differ(ours, theirs) if of_recipes else paired_means(ours[0], theirs[0])
        tables.append(PairTable(each, title, pairs))
    return tables, notes


def _cuts(side: Sequence[ComparedReport]) -> str:
    return ", ".join(dict.fromkeys(report.cut_at for report in side))


def as_shown(table: PairTable) -> Table:
    """On the console."""
    title = f"{table.title}: B against A" if table.title else "B against A"
    better = ["A better", "B better"] if table.measured.are_means else ["A alone\nright", "B alone\nright"]
    of_recipes = any(isinstance(pair, RecipePair) for pair in table.pairs.values())
    columns = ["error by\nseeds", "error by\nimages"] if of_recipes else better
    shown = table_of(title, ["A", "B", "B - A", *columns, "p"])
    for name, pair in table.pairs.items():
        cells = _cells_of_recipes(pair) if isinstance(pair, RecipePair) else _cells_of_networks(pair)
        shown.add_row(table.measured.titles[name].replace("\n", " "), *cells)
    return shown


def _cells_of_networks(pair: Pair) -> list[Text]:
    rates = [Text(percent_text(rate)) for rate in pair.rates]
    nothing = "" if any(pair.only) else "no image differs"  # of which resampling can tell nothing
    difference = _difference(pair.difference, pair.interval, nothing)
    return [*rates, difference, *(Text(f"{each:,}") for each in pair.only), _p(pair.p)]


def _cells_of_recipes(pair: RecipePair) -> list[Text]:
    means = [
        Text(percent_text(mean) + ("" if deviation is None else f" ± {deviation:.2f}"))
        for mean, deviation in zip(pair.means, pair.deviations, strict=True)
    ]
    why = "one image" if pair.counted == 1 else "no spread" if pair.difference else "nothing differs"
    difference = _difference(pair.difference, pair.interval, why if pair.counted else "")
    errors = [Text(percent_text(each)) for each in (pair.error_of_seeds, pair.error_of_images)]
    return [*means, difference, *errors, _p(pair.p)]


def _difference(points: float | None, interval: tuple[float, float] | None, nothing: str) -> Text:
    """A difference with its interval; nothing: what is said where there is none."""
    text = Text("–" if points is None else f"{points:+.2f}")
    if interval is not None:
        text.append(" ({:+.2f} .. {:+.2f})".format(*interval), style="dim")
    elif nothing:
        text.append(f" ({nothing})", style="dim")
    return text


def _p(p: float | None) -> Text:
    if p is None:
        return Text("–")
    return Text("< 0.001" if p < 0.001 else f"{p:.3f}")


def as_json(
    sides: Sides, tables: Sequence[PairTable], notes: Sequence[str], of_recipes: bool = False
) -> dict[str, Any]:
    """What `--out` writes (docs/evaluating.md, "Two networks on the same images")."""

    def of_side(side: Sequence[ComparedReport]) -> dict[str, Any]:
        of_each = [
            {"report": str(report.path), "localizer": report.localizer, "cut": report.cut}
            | ({"seed": _config(report).seed} if of_recipes else {})
            for report in side
        ]
        return {"reports": of_each} if of_recipes else of_each[0]

    a, b = map(of_side, sides)
    rates = {each.measured.name: {name: pair.to_json() for name, pair in each.pairs.items()} for each in tables}
    over = "seeds and images" if of_recipes else "images"
    counted = {"over": over, "images": len(sides[0][0].rows.names), "rates": rates, "notes": [*notes]}
    return {"format_version": 1, "a": a, "b": b, **counted, **environment()}
