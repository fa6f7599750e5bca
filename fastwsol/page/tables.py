"""The tables of a report's page."""

import html
import statistics
from collections.abc import Sequence

from fastwsol.config import AugName
from fastwsol.evaluation.boxes import PROTOCOLS
from fastwsol.evaluation.console_tables import percent_text, share_text
from fastwsol.experiments.paper_claims import CLAIMS, judge, overall, overall_name
from fastwsol.experiments.paper_numbers import published, stands_beside
from fastwsol.experiments.tables import (
    COLUMNS,
    DECIDES,
    HOW_JUDGED,
    difference_text,
    mean_and_spread,
    papers_cells,
    papers_difference,
)
from fastwsol.host.command_line import without_folders
from fastwsol.page.compared_runs import Setting

Cells = Sequence[str]


def numbers(settings: Sequence[Setting]) -> str:
    """The rates under each protocol: mean and spread over seeds, the fixed boxes, and the paper's numbers where they
    are of the same images.
    """
    report = settings[0].sides[0].report
    if not report["images_with_boxes"]:
        return _classification(settings)
    several = any(len(setting.sides) > 1 for setting in settings)
    shows_paper = stands_beside(report)
    heads = ["", *(["seeds"] if several else []), *(title.replace("\n", " ") for title in COLUMNS.values())]
    found = []
    for protocol in PROTOCOLS:
        rows, below = [], []
        for setting in settings:
            cells = [mean_and_spread(setting.rates(protocol, rate)) for rate in COLUMNS]
            rows.append([setting.name, *([str(len(setting.sides))] if several else []), *cells])
        for aug, depth, batch_size in dict.fromkeys(_as_the_paper_names(setting) for setting in settings):
            if shows_paper and (said := published(depth, aug, batch_size)) is not None:
                name = f"the paper: {aug}, depth {depth}, batch {batch_size}"
                below.append([name, *(["1"] if several else []), *papers_cells(said)])
        for baseline in report["baselines"]:
            rates = baseline["rates"][protocol]
            shown = [rates.get(rate) if rate.startswith("gt_known") else None for rate in COLUMNS]
            box = ",".join(map(str, baseline["box"]))
            cells = ["" if each is None else percent_text(each) for each in shown]
            below.append([f"{baseline['name']} ({box})", *([""] if several else []), *cells])
        title = f"{protocol}, percent, maps kept at {report['cam_threshold']:g} of the maximum"
        found.append(table(title + ("; mean ± standard deviation over seeds" if several else ""), heads, rows, below))
    note = "Baselines answer one box for every image, found on the boxes of train."
    if shows_paper:
        note += " The paper's numbers are of Tiny ImageNet's val after 1500 epochs, under paper2018."
    return "".join(found) + f'<p class="note">{html.escape(note)}</p>' + (_each_run(settings) if several else "")


def _as_the_paper_names(setting: Setting) -> tuple[AugName, int, int]:
    return setting.config.aug, setting.config.depth, setting.config.batch_size


def _classification(settings: Sequence[Setting]) -> str:
    """What can be told of images without ground-truth boxes."""
    rows = [[each.name, mean_and_spread(each.rates(PROTOCOLS[0], "top1_clas"))] for each in settings]
    note = "None of these images has a ground-truth box: how well objects are localized cannot be measured."
    return table("classification, percent", ["", "Top-1 Clas"], rows) + f'<p class="note">{note}</p>'


def _each_run(settings: Sequence[Setting]) -> str:
    rows = [
        [
            setting.name,
            str(side.info.config.seed),
            *(percent_text(side.report["rates"][PROTOCOLS[0]].get(rate)) for rate in COLUMNS),
        ]
        for setting in settings
        for side in setting.sides
    ]
    heads = ["", "seed", *(title.replace("\n", " ") for title in COLUMNS.values())]
    title = f"Every run, {PROTOCOLS[0]}"
    return f"<details><summary>{title}</summary>{table('', heads, rows, label=title)}</details>"


def by_size_and_class(settings: Sequence[Setting]) -> str:
    """The charts by object size and by class as tables, of the means over seeds."""
    report = settings[0].sides[0].report
    if not report["images_with_boxes"]:
        return ""
    names = [setting.name for setting in settings]
    shares = [row["share"] for row in report["sizes"] if row["images"]]
    sizes = [[share_text(share), *(_mean_cell(each.of_size(share)) for each in settings)] for share in shares]
    classes = [
        [row["class"], *(_mean_cell(each.of_class(label)) for each in settings)]
        for label, row in enumerate(report["classes"])
    ]
    title = "By object size (GT-known Loc) and by class (Top-1 Loc), as tables"
    return (
        f"<details><summary>{title}</summary>"
        f"{table('GT-known Loc at IoU 0.5 by the share of the image that the object covers', ['', *names], sizes)}"
        f"{table('Top-1 Loc at IoU 0.5 by class', ['', *names], classes)}</details>"
    )


def _mean_cell(rates: Sequence[float | None]) -> str:
    known = [each for each in rates if each is not None]
    return percent_text(statistics.mean(known) if known else None)


def claims(settings: Sequence[Setting]) -> str:
    """What becomes of the paper's claims, as far as these settings test them; empty where they test none."""
    words_of = {setting.config: setting.words for setting in settings}
    if len(words_of) < len(settings):
        return ""  # runs that cannot be told apart
    judged = {
        protocol: judge({setting.config: setting.rates(protocol, DECIDES) for setting in settings})
        for protocol in PROTOCOLS
    }
    found = []
    for claim, text in CLAIMS.items():
        ours = [each for each in judged[PROTOCOLS[0]] if each.claim == claim]
        if not ours:
            continue
        rows = []
        for each in ours:
            cells = [difference_text(judged[protocol][each]).replace("\n", ", ") for protocol in PROTOCOLS]
            shared = ", ".join(word for word in words_of[each.worse] if word in words_of[each.better])
            what = " − ".join(each.sides) + (f" ({shared})" if shared else "")
            rows.append([what, papers_difference(each), *cells])
        verdicts = [overall([judged[protocol][each] for each in ours]) for protocol in PROTOCOLS]
        title = f"Claim {claim}: {text} (Top-1 Loc, IoU 0.5, points)"
        found.append(
            table(title, ["first − second", "the paper", *PROTOCOLS], rows, [[overall_name(ours), "", *verdicts]])
        )
    if not found:
        return ""
    return "".join(found) + f'<p class="note">{html.escape(HOW_JUDGED)}</p>'


def runs(settings: Sequence[Setting]) -> str:
    """What was run and how: a row for each run, and the commands below."""
    rows, commands = [], []
    for setting in settings:
        for side in setting.sides:
            config, last = side.info.config, side.start
            trained = f"{config.epochs:g} epochs, batch {config.batch_size}, seed {config.seed}"
            rows.append(
                [
                    setting.name,
                    f"ResNet-{config.depth}, stem {config.stem}, {config.aug}",
                    trained,
                    f"{side.report['precision']} on {side.report['device']}",
                    _commit(last["git"]),
                ]
            )
            commands.append(f"# {setting.name}, seed {config.seed}\n{without_folders(last['command'])}")
    heads = ["run", "network", "training", "evaluated", "commit"]
    written = html.escape("\n".join(commands))
    return (
        table("", heads, rows, style="words", label="What was run")
        + f"<details><summary>Commands</summary><pre>{written}</pre></details>"
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
