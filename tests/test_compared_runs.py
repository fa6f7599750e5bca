"""How a report names runs, puts seeds together, and sets them beside the paper."""

import re
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fastwsol.config import Config
from fastwsol.evaluation.boxes import PROTOCOLS
from fastwsol.experiments.paper_numbers import CLASSES
from fastwsol.page.compared_runs import ComparedSetting, settings_of, short_names
from fastwsol.page.figures import _ticks
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
