"""The figures of a report, drawn by Plotly from what runs and their reports hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from plotly import graph_objects as go

from fastwsol.localize import CAM_THRESHOLD
from fastwsol.metrics import LEVELS

COLOURS = ("#3b82f6", "#f59e0b", "#10b981", "#ef4444", "#8b5cf6", "#06b6d4", "#ec4899", "#84cc16")
"""Of the runs, in turn."""


@dataclass(frozen=True)
class Drawn:
    """What the figures need of a run."""

    name: str
    report: dict[str, Any]
    rows: Sequence[dict[str, Any]]
    """Of metrics.jsonl."""
    class_names: Sequence[str]


def figures(runs: Sequence[Drawn]) -> dict[str, dict[str, Any]]:
    """By the id of its place on the page: the figure as Plotly's JSON. Without ground truth those on boxes are left
    out.
    """
    found = {"chart-loss": _training(runs, "loss", "loss"), "chart-clas": _classification(runs)}
    if all(run.report["images_with_boxes"] for run in runs):
        found |= {
            "chart-thresholds": _thresholds(runs),
            "chart-sizes": _sizes(runs),
            "chart-classes": _classes(runs),
        }
    return {name: figure.to_plotly_json() for name, figure in found.items()}


def _figure(title: str, x: str, y: str) -> go.Figure:
    figure = go.Figure()
    figure.update_layout(
        title={"text": title, "x": 0, "xref": "paper"},
        template="none",
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        margin={"l": 56, "r": 16, "t": 12, "b": 48},
        legend={"orientation": "h", "y": -0.25, "yanchor": "top"},
        height=400,
        hovermode="x unified",
        hoverlabel={"bgcolor": "rgba(40,46,52,.92)", "font": {"color": "#fff"}},
    )
    figure.update_xaxes(title=x)
    figure.update_yaxes(title=y)
    return figure


def _training(runs: Sequence[Drawn], column: str, title: str) -> go.Figure:
    figure = _figure(f"Training {title}", "epoch", title)
    for run, colour in zip(runs, _colours(runs), strict=True):
        rows = [row for row in run.rows if row["kind"] == "train"]
        figure.add_scatter(
            x=[row["epoch"] for row in rows], y=[row[column] for row in rows], name=run.name, line={"color": colour}
        )
    return figure


def _classification(runs: Sequence[Drawn]) -> go.Figure:
    figure = _figure("Top-1 Clas: on training views (dotted) and on the evaluated images", "step", "%")
    for run, colour in zip(runs, _colours(runs), strict=True):
        trained = [row for row in run.rows if row["kind"] == "train"]
        measured = [row for row in run.rows if row["kind"] == "eval"]
        figure.add_scatter(
            x=[row["step"] for row in trained],
            y=[row["train_top1_clas"] for row in trained],
            name=f"{run.name}, training",
            line={"color": colour, "dash": "dot"},
        )
        figure.add_scatter(
            x=[row["step"] for row in measured],
            y=[row["strict"]["top1_clas"] for row in measured],
            name=run.name,
            mode="lines+markers",
            line={"color": colour},
        )
    return figure


def _thresholds(runs: Sequence[Drawn]) -> go.Figure:
    figure = _figure("GT-known Loc at IoU 0.5 against the map's threshold", "share of the map's maximum", "%")
    levels = [level / (LEVELS - 1) for level in range(LEVELS)]
    for run, colour in zip(runs, _colours(runs), strict=True):
        report = run.report
        curve = [100 * hits / report["images_with_boxes"] for hits in report["curve"]["single"]["0.5"]]
        figure.add_scatter(x=levels, y=curve, name=run.name, line={"color": colour})
        marks = [("the paper's", CAM_THRESHOLD, "circle")]
        for other in report["strict_at"]:
            is_oracle = other["name"].startswith("oracle")
            name, symbol = ("oracle", "star") if is_oracle else (other["name"], "diamond")
            marks.append((name, other["thresholds"]["0.5"], symbol))
        figure.add_scatter(
            x=[at for _, at, _ in marks],
            y=[curve[round(at * (LEVELS - 1))] for _, at, _ in marks],
            text=[f"{name}: {at:.2f}" for name, at, _ in marks],
            hovertemplate="%{text}, %{y:.2f} %<extra></extra>",
            mode="markers",
            marker={"color": colour, "size": 11, "symbol": [symbol for *_, symbol in marks]},
            name=f"{run.name}: 0.2 (●), chosen (◆), oracle (★)",
        )
    for baseline in runs[0].report["baselines"]:
        if baseline["name"].endswith(("frame", "0.5")):
            rate = baseline["rates"]["strict"]["gt_known_loc@0.5"]
            figure.add_scatter(
                x=[0, 1], y=[rate, rate], name=baseline["name"], mode="lines", line={"dash": "dash", "color": "#888"}
            )
    return figure


def _sizes(runs: Sequence[Drawn]) -> go.Figure:
    figure = _figure("GT-known Loc at IoU 0.5 by the share of the image that the object covers", "", "%")
    for run, colour in zip(runs, _colours(runs), strict=True):
        rows = [row for row in run.report["sizes"] if row["images"]]
        names = ["{:.0f} to {:.0f} %".format(*(100 * each for each in row["share"])) for row in rows]
        figure.add_bar(
            x=names, y=[_rate(row["counts"]["gt_known_loc@0.5"]) for row in rows], name=run.name, marker_color=colour
        )
    rows = [row for row in runs[0].report["sizes"] if row["images"]]
    names = ["{:.0f} to {:.0f} %".format(*(100 * each for each in row["share"])) for row in rows]
    for name in rows[0]["baselines"]:
        if name.endswith(("frame", "0.5")):
            figure.add_scatter(
                x=names,
                y=[_rate(row["baselines"][name]["gt_known_loc@0.5"]) for row in rows],
                name=name,
                mode="markers",
                marker={"symbol": "line-ew-open", "size": 26, "color": "#888", "line": {"width": 3}},
            )
    return figure


def _classes(runs: Sequence[Drawn]) -> go.Figure:
    """Classes in the order of the first run's Top-1 Loc."""
    figure = _figure("Top-1 Loc at IoU 0.5 by class", "", "%")
    first = [_rate(row["counts"]["top1_loc@0.5"]) for row in runs[0].report["classes"]]
    order = sorted(range(len(first)), key=lambda label: -first[label])
    for run, colour in zip(runs, _colours(runs), strict=True):
        rates = [_rate(run.report["classes"][label]["counts"]["top1_loc@0.5"]) for label in order]
        figure.add_scatter(
            x=[run.class_names[label].partition(",")[0] for label in order],
            y=rates,
            name=run.name,
            mode="markers",
            marker={"color": colour, "size": 8},
        )
    return figure


def _rate(count: Sequence[int]) -> float:
    succeeded, counted = count
    return 100 * succeeded / counted if counted else 0.0


def _colours(runs: Sequence[Drawn]) -> list[str]:
    return [COLOURS[k % len(COLOURS)] for k in range(len(runs))]
