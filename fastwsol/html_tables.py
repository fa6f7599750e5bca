"""The tables of a report's page."""

import html
from collections.abc import Sequence

from fastwsol.claims import CLAIMS, judge, overall
from fastwsol.localize import PROTOCOLS
from fastwsol.published import CLASSES, published
from fastwsol.sides import Setting, Side
from fastwsol.sweep_tables import (
    COLUMNS,
    DECIDES,
    HOW_JUDGED,
    difference_text,
    mean_and_spread,
    papers_cells,
    papers_difference,
)
from fastwsol.tables import percent_text

Cells = Sequence[str]


def numbers(settings: Sequence[Setting]) -> str:
    """The rates under each protocol: mean and spread over seeds, the fixed boxes, and the paper's numbers where they
    are of the same images.
    """
    report = settings[0].sides[0].report
    several = any(len(setting.sides) > 1 for setting in settings)
    shows_paper = len(report["classes"]) == CLASSES
    heads = ["", *(["seeds"] if several else []), *(title.replace("\n", " ") for title in COLUMNS.values())]
    found = []
    for protocol in PROTOCOLS:
        rows, below = [], []
        for setting in settings:
            cells = [mean_and_spread(_values(setting, protocol, rate)) for rate in COLUMNS]
            rows.append([setting.name, *([str(len(setting.sides))] if several else []), *cells])
            said = published(setting.config.depth, setting.config.aug, setting.config.batch_size)
            if said is not None and shows_paper:
                below.append([f"the paper: {setting.name}", *(["1"] if several else []), *papers_cells(said)])
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


def _each_run(settings: Sequence[Setting]) -> str:
    rows = [
        [
            setting.name,
            str(side.info.config.seed),
            *(percent_text(_value(side, PROTOCOLS[0], rate)) for rate in COLUMNS),
        ]
        for setting in settings
        for side in setting.sides
    ]
    heads = ["", "seed", *(title.replace("\n", " ") for title in COLUMNS.values())]
    return f"<details><summary>Every run, {PROTOCOLS[0]}</summary>{table('', heads, rows)}</details>"


def claims(settings: Sequence[Setting]) -> str:
    """What becomes of the paper's claims, as far as these settings test them; empty where they test none."""
    words_of = {setting.config: setting.words for setting in settings}
    if len(words_of) < len(settings):
        return ""  # runs that cannot be told apart
    judged = {
        protocol: judge({setting.config: _values(setting, protocol, DECIDES) for setting in settings})
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
            shared = ", ".join(word for word in words_of[each.worse] if word not in each.sides)
            what = " − ".join(each.sides) + (f" ({shared})" if shared else "")
            rows.append([what, papers_difference(each), *cells])
        verdicts = [overall([judged[protocol][each] for each in ours]) for protocol in PROTOCOLS]
        title = f"Claim {claim}: {text} (Top-1 Loc, IoU 0.5, points)"
        found.append(table(title, ["first − second", "the paper", *PROTOCOLS], rows, [["overall", "", *verdicts]]))
    if not found:
        return ""
    return "".join(found) + f'<p class="note">{html.escape(HOW_JUDGED)}</p>'


def _values(setting: Setting, protocol: str, rate: str) -> list[float]:
    """A rate of a setting, one value a run, in percent; empty where it could not be measured."""
    found = [_value(side, protocol, rate) for side in setting.sides]
    return [value for value in found if value is not None]


def _value(side: Side, protocol: str, rate: str) -> float | None:
    value: float | None = side.report["rates"][protocol].get(rate)
    return value


def runs(settings: Sequence[Setting]) -> str:
    """What was run and how: a row for each run, and the commands below."""
    rows, commands = [], []
    for setting in settings:
        for side in setting.sides:
            config, last = side.info.config, side.starts[-1]
            trained = f"{config.epochs:g} epochs, batch {config.batch_size}, seed {config.seed}"
            rows.append(
                [
                    setting.name,
                    f"ResNet-{config.depth}, stem {config.stem}, {config.aug}",
                    trained,
                    f"{side.report['precision']} on {side.report['device']}",
                    str(last["git"])[:12],
                ]
            )
            commands.append(f"# {setting.name}, seed {config.seed}\n{last['command']}")
    heads = ["run", "network", "training", "evaluated", "commit"]
    written = html.escape("\n".join(commands))
    return table("", heads, rows, style="words") + f"<details><summary>Commands</summary><pre>{written}</pre></details>"


def table(
    caption: str, heads: Cells, rows: Sequence[Cells], below: Sequence[Cells] = (), style: str = "numbers"
) -> str:
    """An HTML table, its caption above what scrolls; the rows `below` are set apart. style: numbers or words."""
    head = "".join(f'<th scope="col">{html.escape(each)}</th>' for each in heads)
    body = "".join(_row(each, "") for each in rows) + "".join(_row(each, ' class="baseline"') for each in below)
    title = f"<h3>{html.escape(caption)}</h3>" if caption else ""
    label = html.escape(caption or heads[0], quote=True)
    inner = f'<table class="{style}"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'
    return f'{title}<div class="scroll" role="region" aria-label="{label}" tabindex="0">{inner}</div>'


def _row(cells: Cells, style: str) -> str:
    first, *others = (html.escape(each) for each in cells)
    return f'<tr{style}><th scope="row">{first}</th>{"".join(f"<td>{each}</td>" for each in others)}</tr>'
