"""The tables of a report's page."""

import html
import statistics
from collections.abc import Sequence

from fastwsol.evaluation.boxes import PROTOCOLS
from fastwsol.evaluation.table_cells import percent_text, share_text, title_of
from fastwsol.experiments.over_seeds import SeedRow, SeedTable, SettingRuns, notes_below, tables_over_seeds
from fastwsol.experiments.tables import (
    HOW_COMPARED,
    HOW_JUDGED,
    against_first,
    beside_text,
    claim_tables,
    difference_text,
    papers_difference,
)
from fastwsol.host.environment import without_folders
from fastwsol.network.networks import network_name
from fastwsol.page.compared_runs import ComparedSetting, of_what, short_names

Cells = Sequence[str]


def numbers(settings: Sequence[ComparedSetting]) -> str:
    """The rates under each protocol: mean and spread over seeds, the fixed boxes, and the paper's numbers where they
    are of the same images.
    """
    several = any(len(setting.runs) > 1 for setting in settings)
    over_seeds = [setting.over_seeds for setting in settings]
    parts = [_of_rows(each, several) for each in tables_over_seeds(over_seeds)]
    parts.append(_note(" ".join(notes_below(over_seeds))))
    if several:
        parts += [_against_first(settings), _each_run(settings)]
    return "".join(parts)


def _of_rows(of: SeedTable, several: bool) -> str:
    """A table over seeds, with its note. several: whether a setting has several, so that their number is told."""
    heads = ["", *(["seeds"] if several else []), *(each.replace("\n", " ") for each in of.columns.values())]

    def cells(row: SeedRow) -> Cells:
        return [row.title, *([row.seeds_text] if several else []), *row.texts]

    own, below = ([*filter(lambda row: row.is_own is is_own, of.rows)] for is_own in (True, False))
    return table(of.title, heads, [*map(cells, own)], [*map(cells, below)]) + (_note(of.note) if of.note else "")


def _note(text: str) -> str:
    return f'<p class="note">{html.escape(text)}</p>'


def _against_first(settings: Sequence[ComparedSetting]) -> str:
    """How far settings of one's own lie from the first; empty where that is not told."""
    found = against_first([setting.over_seeds for setting in settings])
    if found is None:
        return ""
    rows = [[name, *map(beside_text, cells)] for name, cells in found.rows.items()]
    heads = ["", *(title_of(rate).replace("\n", " ") for rate in found.rates)]
    title = f"against {settings[0].name}: {found.localizer} at the runs' own cuts, strict, points"
    return table(title, heads, rows) + _note(HOW_COMPARED)


def _each_run(settings: Sequence[ComparedSetting]) -> str:
    """The runs one by one, each as its setting stands in the first table."""
    of_runs = [
        (run, tables_over_seeds([SettingRuns(setting.name, setting.setting, [run.report])])[0])
        for setting in settings
        for run in setting.runs
    ]
    rows = [[row.title, str(run.info.config.seed), *row.texts] for run, of in of_runs for row in of.rows if row.is_own]
    first = of_runs[0][1]
    heads = ["", "seed", *(title.replace("\n", " ") for title in first.columns.values())]
    title = f"Every run: {first.title}"
    return f"<details><summary>{title}</summary>{table('', heads, rows, label=title)}</details>"


def by_size_and_class(settings: Sequence[ComparedSetting]) -> str:
    """The charts by object size and by class as tables, of the means over seeds."""
    first = settings[0].runs[0]
    if not first.report["images_with_boxes"]:
        return ""
    names = [setting.name for setting in settings]
    shares = [row["share"] for row in first.taken["sizes"] if row["images"]]
    sizes = [[share_text(share), *(_mean_cell(each.of_size(share)) for each in settings)] for share in shares]
    classes = [
        [name, *(_mean_cell(each.of_class(label)) for each in settings)]
        for label, name in enumerate(short_names(first.info.all_classes))
    ]
    title = f"By object size (GT-known Loc) and by class (Top-1 Loc), as tables{of_what(settings)}"
    return (
        f"<details><summary>{title}</summary>"
        f"{table('GT-known Loc at IoU 0.5 by the share of the image that the object covers', ['', *names], sizes)}"
        f"{table('Top-1 Loc at IoU 0.5 by class', ['', *names], classes)}</details>"
    )


def _mean_cell(rates: Sequence[float | None]) -> str:
    values = [each for each in rates if each is not None]
    return percent_text(statistics.mean(values) if values else None)


def claims(settings: Sequence[ComparedSetting]) -> str:
    """What becomes of the paper's claims, as far as these settings test them; empty where they test none."""
    words_of = {setting.setting: setting.words for setting in settings}
    if len(words_of) < len(settings):
        return ""  # runs that cannot be told apart
    tables = []
    for each in claim_tables([setting.over_seeds for setting in settings]):
        rows = []
        for comparison, of_protocol in zip(each.comparisons, each.differences, strict=True):
            cells = [difference_text(of_protocol[protocol]).replace("\n", ", ") for protocol in PROTOCOLS]
            better, worse = words_of[comparison.better], words_of[comparison.worse]
            shared = ", ".join(word for word in worse if word in better)
            name = " − ".join(comparison.sides) + (f" ({shared})" if shared else "")
            rows.append([name, papers_difference(comparison), *cells])
        title = f"Claim {each.claim}: {each.title} (Top-1 Loc of cam, IoU 0.5, points)"
        verdicts = [each.verdicts[protocol] for protocol in PROTOCOLS]
        tables.append(
            table(title, ["first − second", "the paper", *PROTOCOLS], rows, [[each.verdict_name, "", *verdicts]])
        )
    if not tables:
        return ""
    return "".join(tables) + f'<p class="note">{html.escape(HOW_JUDGED)}</p>'


def runs(settings: Sequence[ComparedSetting]) -> str:
    """What was run and how: a row for each run, and the commands below."""
    rows, commands = [], []
    for setting in settings:
        for run in setting.runs:
            config = run.info.config
            batch_size = config.optimizer.batch_size
            trained = f"{config.schedule.epochs:g} epochs, batch {batch_size}, seed {config.seed}"
            rows.append(
                [
                    setting.name,
                    f"{network_name(config.network)}, {config.views.aug}",
                    trained,
                    f"{run.report['precision']} on {run.report['device']}",
                    _commit(run.start["git"]),
                ]
            )
            commands.append(f"# {setting.name}, seed {config.seed}\n{without_folders(run.start['command'])}")
    heads = ["run", "network", "training", "evaluated", "commit"]
    text = html.escape("\n".join(commands))
    return (
        table("", heads, rows, style="words", label="What was run")
        + f"<details><summary>Commands</summary><pre>{text}</pre></details>"
    )


def _commit(git: str | None) -> str:
    if git is None:
        return "–"
    commit, changed, _ = git.partition("+")
    return commit[:12] + (" and changes" if changed else "")


def table(
    caption: str,
    heads: Cells,
    rows: Sequence[Cells],
    below: Sequence[Cells] = (),
    style: str = "numbers",
    label: str = "",
) -> str:
    """An HTML table, its caption above what scrolls; the rows `below` are set apart.

    style: numbers or words; label: what it is, to who does not see it, where it has no caption.
    """
    head = "".join(f'<th scope="col">{html.escape(each)}</th>' for each in heads)
    body = "".join(_row(each, "") for each in rows) + "".join(_row(each, ' class="baseline"') for each in below)
    title = f"<h3>{html.escape(caption)}</h3>" if caption else ""
    label = html.escape(caption or label, quote=True)
    inner = f'<table class="{style}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'{title}<div class="scroll" role="region" aria-label="{label}" tabindex="0">{inner}</div>'


def _row(cells: Cells, style: str) -> str:
    first, *others = (html.escape(each) for each in cells)
    return f'<tr{style}><th scope="row">{first}</th>{"".join(f"<td>{each}</td>" for each in others)}</tr>'
