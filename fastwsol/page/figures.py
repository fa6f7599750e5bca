"""The figures of a report, drawn by Plotly from what runs and their reports hold.

A setting has a colour of its own; of several seeds each is a line, and a bar or a point is their mean with its spread.
"""

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from plotly import graph_objects as go

from fastwsol.evaluation.console_tables import beside_gt_known
from fastwsol.evaluation.metrics import percent
from fastwsol.evaluation.table_cells import share_text
from fastwsol.page.compared_runs import ComparedRun, ComparedSetting, of_what, short_names
from kernels.levels import LEVELS, level_of, threshold_of

COLOURS = ("#3b82f6", "#d97706", "#059669", "#ef4444", "#8b5cf6", "#0891b2", "#ec4899", "#65a30d")
"""Of the settings, in turn. Where there are more, lines, bars and points of one colour differ in one of these: each is
for as many settings as there are colours.
"""
_DASHES = ("solid", "dash", "longdash", "dashdot")
_PATTERNS = ("", "/", "x", ".")
_SYMBOLS = ("circle", "square", "diamond", "cross")
_GREY = "#8a929b"
FEW_CLASSES = 40
"""Up to so many classes their points are drawn large."""

Points = tuple[list[float], list[float]]


def figures(settings: Sequence[ComparedSetting]) -> dict[str, dict[str, Any]]:
    """By the id of its place on the page: the figure as Plotly's JSON. Without ground truth those on boxes are left
    out, and where each run was evaluated once that over its course, which tables hold.
    """
    charts = {"chart-loss": _loss(settings), "chart-clas": _classification(settings)}
    runs = [run for setting in settings for run in setting.runs]
    if all(run.report["images_with_boxes"] for run in runs):
        if any(len(_evaluated(run, "top1_loc@0.5")[0]) > 1 for run in runs):
            charts["chart-loc"] = _localization(settings)
        charts |= {
            "chart-thresholds": _thresholds(settings),
            "chart-sizes": _sizes(settings),
            "chart-classes": _classes(settings),
        }
    return {name: figure.to_plotly_json() for name, figure in charts.items()}


def _figure(title: str, x: str, y: str, hovermode: str = "closest") -> go.Figure:
    figure = go.Figure()
    figure.update_layout(
        title={"text": title},
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 48, "r": 12, "t": 12, "b": 44},
        # How wide its columns are and how high the figure is decides the page, which knows its width.
        legend={
            "orientation": "h",
            "yref": "container",
            "y": 0,
            "yanchor": "bottom",
            "x": 0,
            "entrywidthmode": "fraction",
            "tracegroupgap": 0,
        },
        hovermode=hovermode,
    )
    figure.update_xaxes(title=x)
    figure.update_yaxes(title=y, rangemode="nonnegative" if y == "%" else "normal")
    return figure


def _add_lines(
    figure: go.Figure,
    settings: Sequence[ComparedSetting],
    points: Callable[[ComparedRun], Points],
    of_legend: bool = True,
    **how: Any,
) -> None:
    """A line for each run, in the colour of its setting, which stands in the legend once."""
    for number, setting in enumerate(settings):
        for k, run in enumerate(setting.runs):
            x, y = points(run)
            line = {"color": _colour(number), "dash": _of_round(_DASHES, number), "width": 2} | how.get("line", {})
            several = len(setting.runs) > 1
            figure.add_scatter(
                x=x,
                y=y,
                name=f"{setting.name}, seed {run.info.config.seed}" if several else setting.name,
                mode=how.get("mode", "lines" if len(x) > 1 else "markers"),
                line=line,
                opacity=0.7 if several else 1,
                legendgroup=setting.name,
                showlegend=False,
            )
            if of_legend and k == 0:  # an empty line, for the legend: it names the setting without the seed
                figure.add_scatter(
                    x=[None], y=[None], name=setting.name, mode="lines", line=line, legendgroup=setting.name
                )


def _loss(settings: Sequence[ComparedSetting]) -> go.Figure:
    figure = _figure("Training loss", "epoch", "loss")
    _add_lines(figure, settings, lambda run: _trained(run, "loss"))
    return figure


def _classification(settings: Sequence[ComparedSetting]) -> go.Figure:
    figure = _figure("Top-1 Clas: on the training views (dotted) and on the evaluated images", "epoch", "%")
    thin = {"dash": "dot", "width": 1.5}
    _add_lines(figure, settings, lambda run: _trained(run, "train_top1_clas"), of_legend=False, line=thin)
    _add_lines(figure, settings, lambda run: _evaluated(run, "top1_clas"), mode="lines+markers")
    return figure


def _localization(settings: Sequence[ComparedSetting]) -> go.Figure:
    title = "Top-1 Loc at IoU 0.5 on the evaluated images"
    figure = _figure(title + (", of cam" if of_what(settings) else ""), "epoch", "%")
    _add_lines(figure, settings, lambda run: _evaluated(run, "top1_loc@0.5"), mode="lines+markers")
    return figure


def _trained(run: ComparedRun, column: str) -> Points:
    rows = [row for row in run.rows if row["kind"] == "train"]
    return _epochs(run, rows), [row[column] for row in rows]


def _evaluated(run: ComparedRun, rate: str) -> Points:
    rows = [row for row in run.rows if row["kind"] == "eval"]
    return _epochs(run, rows), [row["strict"][rate] for row in rows]


def _epochs(run: ComparedRun, rows: Sequence[Mapping[str, Any]]) -> list[float]:
    """Where rows of metrics.jsonl stand in the classifier's epochs: a last batch may be more than what is left of
    them, and a mask head's steps come behind.
    """
    config = run.info.config
    of_head = config.localizer.head_steps if config.localizer.trains_mask else 0
    epochs_a_step = config.schedule.epochs / (run.report["total_steps"] - of_head)
    return [min(row["step"] * epochs_a_step, config.schedule.epochs) for row in rows]


def _thresholds(settings: Sequence[ComparedSetting]) -> go.Figure:
    title = f"GT-known Loc at IoU 0.5 against the map's threshold{of_what(settings)}"
    figure = _figure(title, "share of the map's maximum (of a mask: of 1)", "%")
    thresholds = [threshold_of(level) for level in range(LEVELS)]
    _add_lines(figure, settings, lambda run: (thresholds, _curve(run)))
    for kind, (name, symbol) in _MARKS.items():
        marks = [
            (setting.name, _colour(number), at, _curve(run)[level_of(at)])
            for number, setting in enumerate(settings)
            for run in setting.runs
            if (at := _marked(run, kind)) is not None
        ]
        if marks:
            figure.add_scatter(
                x=[at for *_, at, _ in marks],
                y=[rate for *_, rate in marks],
                text=[f"{of}, {name}: at {at:.2f}" for of, _, at, _ in marks],
                hovertemplate="%{text}, %{y:.2f} %<extra></extra>",
                mode="markers",
                marker={"color": [colour for _, colour, *_ in marks], "size": 11, "symbol": symbol},
                showlegend=False,
            )
            figure.add_scatter(
                x=[None], y=[None], mode="markers", marker={"color": _GREY, "size": 10, "symbol": symbol}, name=name
            )
    for baseline, dash in zip(beside_gt_known(settings[0].runs[0].report), ("dash", "dot"), strict=False):
        rate = baseline["rates"]["strict"]["gt_known_loc@0.5"]
        figure.add_scatter(
            x=[0, 1], y=[rate, rate], name=baseline["name"], mode="lines", line={"dash": dash, "color": _GREY}
        )
    return figure


def _curve(run: ComparedRun) -> list[float]:
    return [100 * hits / run.report["images_with_boxes"] for hits in run.taken["curve"]["single"]["0.5"]]


_MARKS = {
    "own": ("the run's own cut", "circle"),
    "chosen": ("chosen", "diamond"),
    "oracle": ("oracle", "star"),
}
"""By the kind of a threshold: its name in the legend, and its symbol."""


def _marked(run: ComparedRun, kind: str) -> float | None:
    """The threshold of a kind that a run's curve is marked at, where it has one."""
    oracle = run.taken["oracle"]["thresholds"]["0.5"]
    return {"own": run.taken["cut"]["value"], "chosen": run.chosen, "oracle": oracle}[kind]


def _sizes(settings: Sequence[ComparedSetting]) -> go.Figure:
    title = f"GT-known Loc at IoU 0.5 by the share of the image that the object covers{of_what(settings)}"
    figure = _figure(title, "", "%")
    groups = [k for k, row in enumerate(settings[0].runs[0].taken["sizes"]) if row["images"]]
    shares = [settings[0].runs[0].taken["sizes"][k]["share"] for k in groups]
    names = [share_text(share) for share in shares]

    for number, setting in enumerate(settings):
        mean, spread = _mean_and_spread([setting.of_size(share) for share in shares])
        marker = {"color": _colour(number), "pattern": {"shape": _of_round(_PATTERNS, number)}}
        figure.add_bar(x=names, y=mean, error_y=spread, name=setting.name, marker=marker)
    for baseline in beside_gt_known(settings[0].runs[0].report):
        figure.add_scatter(
            x=names,
            y=[percent(*baseline["sizes"][k]["counts"]["gt_known_loc@0.5"]) for k in groups],
            name=baseline["name"],
            mode="markers",
            marker={
                "symbol": "line-ew-open" if baseline["kind"] == "whole-image" else "x-thin-open",
                "size": 20,
                "color": _GREY,
                "line": {"width": 3},
            },
        )
    return figure


def _classes(settings: Sequence[ComparedSetting]) -> go.Figure:
    """Classes in the order of the first setting's Top-1 Loc; those without a ground-truth box are left out."""
    figure = _figure(f"Top-1 Loc at IoU 0.5 by class{of_what(settings)}", "", "%", "x unified")
    names = _ticks(short_names(settings[0].runs[0].info.all_classes))
    means, _ = _mean_and_spread([settings[0].of_class(label) for label in range(len(names))])
    first = {label: mean for label, mean in enumerate(means) if mean is not None}
    order = sorted(first, key=lambda label: -first[label])
    size = 9 if len(order) <= FEW_CLASSES else 5
    for number, setting in enumerate(settings):
        mean, spread = _mean_and_spread([setting.of_class(label) for label in order])
        figure.add_scatter(
            x=[names[label] for label in order],
            y=mean,
            error_y=spread,
            name=setting.name,
            mode="markers",
            marker={"color": _colour(number), "size": size, "symbol": _of_round(_SYMBOLS, number)},
        )
    figure.update_xaxes(type="category", automargin=True)
    figure.update_layout(legend={"y": 1, "yanchor": "top"})  # below lie the names, however long
    return figure


def _ticks(names: Sequence[str]) -> list[str]:
    """Names as an axis shows them: shortened, still each told from the others, and none read as markup."""
    shown: dict[str, int] = {}
    for name in names:
        short = name if len(name) <= _LONGEST_TICK else f"{name[: _LONGEST_TICK - 1]}…"
        shown[f"{short} {len(shown) + 1}" if short in shown else short] = len(shown)
    return [name.replace("&", "&amp;").replace("<", "&lt;") for name in shown]


_LONGEST_TICK = 30
"""Characters: longer names would leave no room for the chart."""


def _mean_and_spread(points: Sequence[Sequence[float | None]]) -> tuple[list[float | None], dict[str, Any] | None]:
    """Of points with a value a run: the means, and Plotly's error bars of the standard deviations of several runs."""
    numbers = [[each for each in values if each is not None] for values in points]
    means = [statistics.mean(values) if values else None for values in numbers]
    if all(len(values) < 2 for values in numbers):
        return means, None
    spreads = [statistics.stdev(values) if len(values) > 1 else 0.0 for values in numbers]
    return means, {"type": "data", "array": spreads, "thickness": 1.2, "width": 3}


def _colour(number: int) -> str:
    return COLOURS[number % len(COLOURS)]


def _of_round(marks: Sequence[str], number: int) -> str:
    """The mark of a setting: the next one whenever the colours begin again."""
    return marks[number // len(COLOURS) % len(marks)]
