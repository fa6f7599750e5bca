"""How a report names runs, puts seeds together, and sets them beside the paper."""

import re
import statistics
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fastwsol.config import Config
from fastwsol.evaluation.boxes import PROTOCOLS
from fastwsol.experiments.paper_numbers import CLASSES
from fastwsol.page import figures as figures_module
from fastwsol.page.compared_runs import ComparedSetting, settings_of, short_names
from fastwsol.page.figures import COLOURS, _ticks, figures
from fastwsol.page.tables import claims, numbers, table
from fastwsol.sources import Class
from fastwsol.training.presets import demo


def side(config: Config, top1_loc: float = 30.0, classes: int = 4) -> Any:
    """A finished run as far as names and tables look at one."""
    gt_known = {f"gt_known_loc@{t}": 51.25 for t in (0.3, 0.5, 0.7)}
    rates = {"top1_clas": 50.0, "top1_loc@0.5": top1_loc, **gt_known}
    report = {
        "source": "tiny-imagenet-200",
        "split": "val",
        "images": 40,
        "images_with_boxes": 40,
        "images_cut": 0,
        "rates": dict.fromkeys(PROTOCOLS, rates),
        "localizers": [],
        "baselines": [
            {
                "kind": "whole-image",
                "name": "whole image",
                "iou_threshold": None,
                "box": [0, 0, 64, 64],
                "rates": dict.fromkeys(PROTOCOLS, rates),
            }
        ],
        "classes": classes,
        "cam_class": "truth",
        "cam_threshold": 0.2,
    }
    return SimpleNamespace(folder=Path(f"runs/{config.name()}"), info=SimpleNamespace(config=config), report=report)


def names(*configs: Config) -> list[str]:
    return [setting.name for setting in settings_of([side(config) for config in configs])]


def rows_of(page: str) -> dict[str, list[str]]:
    """The first row of every name."""
    found: dict[str, list[str]] = {}
    for name, cells in re.findall(r'<tr[^>]*><th scope="row">(.*?)</th>(.*?)</tr>', page):
        found.setdefault(name, re.findall("<td>(.*?)</td>", cells))
    return found


def test_runs_are_named_by_what_tells_them_apart():
    gr = demo().config
    assert names(gr) == ["gr"]
    assert names(gr, gr.changed(aug="none")) == ["gr", "none"]
    assert names(gr, gr.changed(aug="none", batch_size=64)) == ["gr, batch 32", "none, batch 64"]
    assert names(gr, gr.changed(flip=False)) == ["flip", "no flip"]
    assert names(gr.changed(depth=34), gr) == ["depth 34", "depth 18"]


def test_runs_that_differ_in_their_seed_alone_are_one_setting_beside_others():
    gr, none = demo().config, demo().config.changed(aug="none")
    found = settings_of([side(each) for each in (gr, none, gr.changed(seed=1))])
    assert [(setting.name, len(setting.runs)) for setting in found] == [("gr", 2), ("none", 1)]
    alone = settings_of([side(gr), side(gr.changed(seed=1))])
    assert [(setting.name, len(setting.runs)) for setting in alone] == [("gr", 2)]


def test_where_every_setting_has_one_run_its_seed_is_a_difference():
    assert names(demo().config, demo().config.changed(aug="none", seed=3)) == ["gr, seed 0", "none, seed 3"]


@pytest.mark.parametrize(("classes", "shown"), [(CLASSES, True), (4, False)])
def test_the_papers_numbers_stand_beside_those_of_all_its_classes_alone(classes, shown):
    config = Config.of(aug="gr", depth=18, batch_size=256)
    rows = rows_of(numbers([ComparedSetting(("gr",), (side(config, classes=classes),))]))
    assert ("the paper: gr, depth 18, batch 256" in rows) is shown
    if shown:
        assert rows["the paper: gr, depth 18, batch 256"] == ["52.23", "34.43", "", "57.00", ""]


def test_a_fixed_box_has_no_numbers_of_classification():
    rows = rows_of(numbers([ComparedSetting(("gr",), (side(demo().config),))]))
    assert rows["whole image (0,0,64,64)"] == ["", "", "51.25", "51.25", "51.25"]


def test_claims_are_judged_setting_by_setting():
    gr, none = demo().config, demo().config.changed(aug="none")
    settings = [
        ComparedSetting(("gr", "x"), tuple(side(gr.changed(seed=k), 40.0 + k / 10) for k in range(3))),
        ComparedSetting(("none", "x"), tuple(side(none.changed(seed=k), 30.0 + k / 10) for k in range(3))),
    ]
    rows = rows_of(claims(settings))
    assert rows["gr − none (x)"][1].startswith("+10.00 ± ")
    assert rows["gr − none (x)"][1].endswith("holds")
    assert rows["overall, of 1 of 3 comparisons"][1] == "holds"
    assert claims(settings[:1]) == ""


def test_what_names_hold_is_text_on_the_page():
    page = table("<b>", ["<i>"], [["<script>", "&"]])
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "<b>" not in page


def test_a_claim_is_whole_only_where_every_comparison_is_made():
    settings = [ComparedSetting((aug,), (side(demo().config.changed(aug=aug)),)) for aug in ("none", "hns", "gr")]
    assert rows_of(claims(settings))["overall"][1] == "not separable", "one seed"


def test_seeds_of_other_numbers_are_no_shared_word():
    settings = settings_of([side(demo().config), side(demo().config.changed(aug="none", seed=3))])
    assert "gr − none" in rows_of(claims(settings))


def test_classes_of_one_short_name_are_named_whole():
    names = ["crane, bird", "crane, machine", "tench, fish"]
    of_imagenet = [Class(f"n{number:08}", name) for number, name in enumerate(names)]
    assert short_names(of_imagenet) == ["crane, bird", "crane, machine", "tench"]
    assert short_names([Class(name, name) for name in names]) == names  # as of folders
    twice = [Class("n02012849", "crane"), Class("n03126707", "crane"), Class("n1", "tench")]
    assert short_names(twice) == ["crane (n02012849)", "crane (n03126707)", "tench"]


def test_long_names_leave_room_for_the_chart_and_are_no_markup():
    long = "a species with a very long name, of the north"
    assert _ticks([long, f"{long} and south", "a <b>bold", "cat"]) == [
        "a species with a very long na…",
        "a species with a very long na… 2",
        "a &lt;b>bold",
        "cat",
    ]


def test_a_page_compares_settings_of_ones_own_with_the_first():
    settings = []
    for name, smoothing, values in (("none", 0.0, (30.0, 31.0)), ("<much>", 0.2, (40.0, 41.0))):
        runs = tuple(
            side(Config.of(depth=18, label_smoothing=smoothing, seed=seed), value) for seed, value in enumerate(values)
        )
        for each in runs:
            oracle = dict.fromkeys(("max_box_acc", "max_box_acc_v2", "max_box_acc_v2_single"), 60.0)
            cam = {"name": "cam", "rates": each.report["rates"]["strict"], "cut": {"rule": "fixed", "value": 0.2}}
            each.report["localizers"] = [cam | {"max_box_acc": {"strict": {"rates": oracle}}}]
        settings.append(ComparedSetting((name,), runs))
    page = numbers(settings)
    start = page.index("against none: cam at the runs")
    assert rows_of(page[start:])["&lt;much&gt;"][1] == "+10.00 ± 3.04"  # Student's 4.303, 2 degrees of freedom
    assert "against" not in numbers(settings[:1])


SHARES = ((0.0, 0.1), (0.1, 0.5), (0.5, 1.0))


def charted(config: Config, hits: tuple[int, ...] = (1, 3, 2), evaluated: tuple[int, ...] = (50, 100)) -> Any:
    """A finished run as far as charts look at one: two of its three groups by size have images, each class has as many
    hits of ten as `hits` says, and it was evaluated after these steps.
    """
    run = side(config)

    def sizes(*counts: int) -> list[dict[str, Any]]:
        return [
            {"share": share, "images": 10 * (count > 0), "counts": {"gt_known_loc@0.5": (count, 10 * (count > 0))}}
            for share, count in zip(SHARES, counts, strict=True)
        ]

    run.report |= {"total_steps": 100 + config.localizer.trains_mask * config.localizer.head_steps, "images": 50}
    run.report["baselines"][0]["sizes"] = sizes(4, 0, 6)
    cam = {
        "name": "cam",
        "cut": {"value": 0.2},
        "oracle": {"thresholds": {"0.5": 0.4}},
        "curve": {"single": {"0.5": [20] * 256}},
        "sizes": sizes(hits[0], 0, hits[1]),
        "classes": [{"counts": {"top1_loc@0.5": (count, 10)}} for count in hits],
    }
    run.taken, run.chosen, run.report["localizers"] = cam, None, [cam]
    run.rows = [
        {"kind": "eval", "step": step, "top1_clas": 50, "strict": run.report["rates"]["strict"]} for step in evaluated
    ]
    run.rows.append({"kind": "train", "step": 1, "epoch": 0.1, "loss": 1.0, "train_top1_clas": 10.0})
    for row in run.rows:
        row.setdefault("strict", {})
    run.info.all_classes = tuple(Class(f"n{k}", name) for k, name in enumerate("abc"))
    return run


def traces_of(settings: list[ComparedSetting], chart: str) -> list[dict[str, Any]]:
    return [dict(each) for each in figures(settings)[chart]["data"]]


def test_a_masks_steps_are_no_epochs_of_the_course() -> None:
    """Its classifier is trained before, and is no other afterwards."""
    config = Config.of(depth=18, localizer="mask", head_steps=25, epochs=4)
    (line, _) = traces_of([ComparedSetting(("mask",), (charted(config, evaluated=(50, 100, 125)),))], "chart-loc")
    assert list(line["x"]) == [2, 4, 4]
    (trained, *_) = traces_of([ComparedSetting(("mask",), (charted(config),))], "chart-loss")
    assert list(trained["x"]) == [4 / 100], "on the same axis"


def test_a_curve_is_of_the_images_with_a_box_and_settings_have_marks_of_their_colours() -> None:
    settings = [ComparedSetting((name,), (charted(Config.of(depth=18, seed=seed)),)) for seed, name in enumerate("ab")]
    line, *others = traces_of(settings, "chart-thresholds")
    assert set(line["y"]) == {100 * 20 / 40}
    marks = [each for each in others if each.get("hovertemplate")]
    assert [list(each["marker"]["color"]) for each in marks] == [[*COLOURS[:2]]] * 2, "own cuts and oracles"
    assert {*marks[0]["y"]} == {50}


def test_lines_beyond_the_colours_are_dashed_and_a_setting_stands_in_the_legend_once() -> None:
    settings = [
        ComparedSetting((f"s{number}",), tuple(charted(Config.of(depth=18, seed=seed)) for seed in range(2)))
        for number in range(len(COLOURS) + 1)
    ]
    lines = traces_of(settings, "chart-loss")
    shown = [each for each in lines if each.get("showlegend") is not False]
    assert [each["name"] for each in shown] == [setting.name for setting in settings]
    dashes = [each["line"]["dash"] for each in shown]
    assert dashes == ["solid"] * len(COLOURS) + ["dash"]


def test_bars_are_means_with_the_spread_of_seeds_by_sizes_that_have_images() -> None:
    runs = tuple(charted(Config.of(depth=18, seed=seed), (hits, 3, 2)) for seed, hits in enumerate((1, 5)))
    bar, whole = traces_of([ComparedSetting(("gr",), runs)], "chart-sizes")
    assert [*bar["x"]] == [*whole["x"]]
    assert [*bar["y"]] == [30, 30]
    assert [*bar["error_y"]["array"]] == [pytest.approx(statistics.stdev([10, 50])), 0]
    assert [*whole["y"]] == [40, 60], "its own of these sizes"


def test_classes_stand_by_the_first_settings_loc_the_highest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = [
        ComparedSetting(("a",), (charted(Config.of(depth=18)),)),
        ComparedSetting(("b",), tuple(charted(Config.of(depth=18, seed=seed), (9, 1, 5)) for seed in (1, 2))),
    ]
    first, second = traces_of(settings, "chart-classes")
    assert [*first["x"]] == [*second["x"]] == ["b", "c", "a"]
    assert ([*first["y"]], [*second["y"]]) == ([30, 20, 10], [10, 50, 90])
    assert first.get("error_y") is None
    assert first["marker"]["size"] == 9
    monkeypatch.setattr(figures_module, "FEW_CLASSES", 2)
    assert traces_of(settings, "chart-classes")[0]["marker"]["size"] == 5


def test_classes_that_one_seed_lacks_have_the_spread_of_the_others() -> None:
    runs = tuple(charted(Config.of(depth=18, seed=seed)) for seed in range(2))
    runs[1].taken["classes"][0]["counts"]["top1_loc@0.5"] = (0, 0)
    (points,) = traces_of([ComparedSetting(("gr",), runs)], "chart-classes")
    assert [*points["error_y"]["array"]] == [0, 0, 0]
