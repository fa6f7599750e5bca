"""Two networks on the same images."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fastwsol import compare
from fastwsol.config import Config
from fastwsol.evaluation.evaluated_images import EvaluatedImages
from fastwsol.evaluation.maps import MeasuredBoxes
from fastwsol.evaluation.metrics import sign_test
from fastwsol.evaluation.paired import paired_means, sign_flip_test
from fastwsol.evaluation.per_image import ImageRows, split_classes
from fastwsol.evaluation.recipes import recipes_differ
from fastwsol.evaluation.report_types import REPORT_FORMAT_VERSION
from fastwsol.evaluation.thresholds import BestHits
from fastwsol.evaluation.truths import Truths
from fastwsol.host.command_line import run_command
from fastwsol.runs.compared_reports import check_same_images, read_compared_report

COUNT = 400


def report(folder, ious, right, cam_class="truth", names=None, labels=None, truths="boxes of these"):
    """A report of COUNT images with their IoUs under `strict`, and whether they were classified right."""
    folder.mkdir()
    labels = np.full(COUNT, "cat") if labels is None else labels
    predicted = np.stack([np.where(right, labels, "dog"), np.where(right, "dog", "cow")], axis=1)
    boxes = MeasuredBoxes(np.tile(np.float32([1.5, 0, 2 / 3, 4]), (COUNT, 1)), ious)
    rows = ImageRows(
        names or [f"{n}.jpg" for n in range(COUNT)], labels, predicted, ~np.isnan(ious) * 1, {"strict": boxes}
    )
    rows.write(folder / "report.csv")
    cam = {"name": "cam", "cut": {"rule": "fixed", "value": 0.2, "chosen_on": "the same for all runs"}}
    about = {"cam_class": cam_class, "classes": 3, "truths_digest": truths, "cam_threshold": 0.2, "localizers": [cam]}
    (folder / "report.json").write_text(json.dumps({"format_version": REPORT_FORMAT_VERSION} | about))
    return folder


def with_best_hits(folder, single, multiple):
    """The same report with the hits bool [COUNT, T] at the best thresholds."""
    rows = ImageRows.read(folder / "report.csv")
    replace(rows, best_hits=BestHits(single, multiple)).write(folder / "report.csv")


@pytest.fixture
def sides(tmp_path):
    """B hits what A hits and 40 images more; A classifies 10 right that B does not, and the other way round."""
    ious = np.full(COUNT, 0.4)
    ious[:100] = 0.6
    ious[-20:] = np.nan
    right = np.arange(COUNT) < 200
    a = report(tmp_path / "a", ious, right)
    ious = np.where(np.arange(COUNT) < 140, 0.5, ious)
    b = report(tmp_path / "b", ious, np.roll(right, 10))
    return a, b


def run_compare(*arguments):
    return run_command(compare.main, [str(argument) for argument in arguments])


def test_differences_are_paired(sides):
    a, b = (read_compared_report(side) for side in sides)
    check_same_images(a, b)
    tables, _ = compare.compared(([a], [b]))
    found = tables[0].pairs
    hits = found["gt_known_loc@0.5"]
    assert hits.rates == (100 * 100 / 380, 100 * 140 / 380)
    assert hits.difference == pytest.approx(100 * 40 / 380)
    assert hits.only == (0, 40)
    assert hits.p == 2 / 2**40
    assert 0 < hits.interval[0] < hits.difference < hits.interval[1]
    # 40 of 380: the standard error of a mean of independent 0 and 1
    assert hits.interval[1] - hits.interval[0] == pytest.approx(2 * 1.96 * 1.575, rel=0.1)
    clas = found["top1_clas"]
    assert clas.only == (10, 10)
    assert clas.difference == 0
    assert clas.p == 1
    assert found["gt_known_loc@0.7"].p == 1


def test_a_network_does_not_differ_from_itself(sides, capsys):
    assert run_compare(sides[0], sides[0] / "report.json") == 0
    printed = capsys.readouterr().out
    assert "+0.00 (no image differs)" in printed
    assert "strict: B against A" in printed
    assert "400 images, the same" in printed


def test_max_box_acc_is_compared_image_by_image(sides, tmp_path, capsys):
    hits = np.zeros((COUNT, 3), bool)
    hits[:100] = True
    with_best_hits(sides[0], hits, hits)
    at_one_more, of_all = hits.copy(), hits.copy()
    at_one_more[100:150, 1] = True
    of_all[100:130, :2] = True
    with_best_hits(sides[1], at_one_more, of_all)
    assert run_compare(*sides, "--out", tmp_path / "numbers.json") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "MaxBoxAccV2 best of all boxes" in said
    assert "cuts are chosen on these images and held" in said
    written = json.loads((tmp_path / "numbers.json").read_text())
    assert written["a"] == {"report": str(sides[0] / "report.json"), "localizer": "cam", "cut": 0.2}
    assert [*written["rates"]] == ["strict", "max_box_acc_strict"]
    assert written["rates"]["strict"]["gt_known_loc@0.5"]["difference"] == pytest.approx(100 * 40 / 380)
    of = written["rates"]["max_box_acc_strict"]
    assert (of["max_box_acc"]["a_alone"], of["max_box_acc"]["b_alone"], of["max_box_acc"]["counted"]) == (0, 50, 380)
    assert of["max_box_acc"]["difference"] == pytest.approx(100 * 50 / 380)
    assert of["max_box_acc_v2"]["a"] == pytest.approx(100 * 100 / 380)
    assert of["max_box_acc_v2"]["difference"] == pytest.approx(100 * 60 / 3 / 380)
    assert of["max_box_acc_v2"]["b_alone"] == 30
    assert of["max_box_acc_v2"]["p"] == 1 / 10_000
    assert of["max_box_acc_v2_single"]["difference"] == pytest.approx(100 * 50 / 3 / 380)
    low, high = of["max_box_acc_v2"]["interval"]
    assert 0 < low < of["max_box_acc_v2"]["difference"] < high
    assert run_compare(*sides, "--out", sides[1] / "report.csv") == 2, "no file is replaced, and no report"
    assert "exists; nothing was changed" in capsys.readouterr().err


def test_a_means_p_is_of_the_mean_and_not_of_how_often_one_is_better():
    """A is better on twice as many images, B by more: nothing tells them apart."""
    a, b = np.zeros(400), np.zeros(400)
    a[:60], b[60:90] = 1, 3
    pair = paired_means(a / 3, b / 3)
    assert pair.only == (60, 30)
    assert pair.difference == pytest.approx(2.5)
    assert pair.interval[0] < 0 < pair.interval[1]
    assert 0.05 < pair.p < 0.2


def test_the_sign_flip_test_is_the_sign_test_where_numbers_are_0_and_1():
    """But for the drawing: a p of 0.02 is within 0.005 of what 9,999 draws give."""
    flips = np.r_[np.ones(40), -np.ones(21), np.zeros(300)]
    assert sign_flip_test(flips) == pytest.approx(sign_test(40, 21), abs=0.005)
    assert sign_flip_test(np.zeros(5)) == 1
    assert sign_flip_test(flips) == sign_flip_test(flips)


def test_images_that_do_not_count_leave_the_resamples_of_the_others_as_they_are(sides):
    """MaxBoxAcc of the very hits that GT-known Loc counts has its interval and its p, but for the drawing."""
    for side in sides:
        hits = (ImageRows.read(side / "report.csv").boxes["strict"].ious >= 0.5)[:, None].repeat(3, axis=1)
        with_best_hits(side, hits, hits)
    tables, _ = compare.compared(([read_compared_report(sides[0])], [read_compared_report(sides[1])]))
    (at_cut, oracle), name = tables, "gt_known_loc@0.5"
    assert oracle.pairs["max_box_acc"].interval == pytest.approx(at_cut.pairs[name].interval, abs=1e-4)
    assert oracle.pairs["max_box_acc"].rates == pytest.approx(at_cut.pairs[name].rates)


def test_columns_that_an_older_file_lacks_are_named(sides, capsys):
    with_best_hits(sides[0], *np.zeros((2, COUNT, 3), bool))
    assert run_compare(*sides) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"its columns are missing in {sides[1] / 'report.csv'}; evaluate again." in said


@pytest.mark.parametrize("cell", ["1.0", "TRUE", "", "x"])
def test_hits_that_are_none_are_refused_and_not_counted_as_misses(sides, cell, capsys):
    with_best_hits(sides[0], *np.ones((2, COUNT, 3), bool))
    file = sides[0] / "report.csv"
    head, first, *others = file.read_text().splitlines()
    file.write_text("\n".join([head, f"{first[:-1]}{cell}", *others]))
    assert run_compare(*sides) == 2
    assert f"{file}: not the images of a report (0.jpg: hits" in capsys.readouterr().err


def test_masks_are_compared_where_there_is_nothing_else(tmp_path, capsys):
    """No box, no label: as of score maps with masks alone."""
    labels, nothing = np.full(COUNT, ""), np.full(COUNT, np.nan)
    for name, iou in (("a", 0.25), ("b", 0.5)):
        folder = report(tmp_path / name, nothing, np.ones(COUNT, bool), labels=labels)
        rows = ImageRows.read(folder / "report.csv")
        rows = replace(rows, predicted=np.empty((COUNT, 0), np.str_), mask_ious=np.full(COUNT, iou))
        rows.write(folder / "report.csv")
        written = json.loads((folder / "report.json").read_text()) | {"masks": {"digest": "of these"}}
        (folder / "report.json").write_text(json.dumps(written))
    assert run_compare(tmp_path / "a", tmp_path / "b", "--out", tmp_path / "numbers.json") == 0
    assert "None of these images has a box: boxes are not compared." in capsys.readouterr().out
    assert [*json.loads((tmp_path / "numbers.json").read_text())["rates"]] == ["masks"]


def test_without_boxes_classes_are_compared_once(tmp_path, capsys):
    nothing, right = np.full(COUNT, np.nan), np.arange(COUNT) < 200
    a, b = (report(tmp_path / name, nothing, right) for name in "ab")
    for folder in (a, b):
        rows = ImageRows.read(folder / "report.csv")
        both = dict.fromkeys(("strict", "paper2018"), rows.boxes["strict"])
        replace(rows, boxes=both).write(folder / "report.csv")
    (a / "report-boxes-12345678.json").write_text("{}")
    assert run_compare(a, b) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "None of these images has a box: boxes are not compared." in said
    assert f"to be named in place of the runs: {a / 'report-boxes-12345678.json'}." in said
    assert said.count("B against A") == 1


def test_rows_are_read_as_they_were_written(sides):
    rows = ImageRows.read(sides[0] / "report.csv")
    assert rows.names[3] == "3.jpg"
    assert rows.predicted.shape == (COUNT, 2)
    np.testing.assert_array_equal(rows.boxes["strict"].boxes[0], np.float32([1.5, 0, 2 / 3, 4]))
    assert np.isnan(rows.boxes["strict"].ious[-1])


def test_what_cannot_be_compared_is_refused(sides, tmp_path, capsys):
    a, _ = sides
    ious, right = np.full(COUNT, 0.4), np.ones(COUNT, bool)
    names = [f"{n}.jpg" for n in range(COUNT)]
    labels = np.full(COUNT, "cat")
    labels[7] = "cow"
    a_ious = np.where(np.arange(COUNT) < 380, 0.4, np.nan)
    damaged = report(tmp_path / "damaged", ious, right)
    (damaged / "report.csv").write_text("name,label\n1,2,3\n")
    earlier = report(tmp_path / "earlier", ious, right)
    (earlier / "report.json").write_text((a / "report.json").read_text().replace(": 6,", ": 5,"))
    no_report = tmp_path / "empty"
    no_report.mkdir()
    for other, words in (
        (report(tmp_path / "1", ious, right, cam_class="predicted"), "of the predicted class"),
        (report(tmp_path / "2", ious, right, names=[*names[:-1], "x.jpg"]), "image 400 has another image"),
        (report(tmp_path / "3", ious, right, labels=labels), "image 8 has another label"),
        (report(tmp_path / "4", ious, right), "image 381 has another number of boxes"),
        (report(tmp_path / "5", a_ious, right, truths="others"), "was measured against other boxes"),
        (damaged, "report.csv: not the images of a report"),
        (earlier, "is not a report of this version"),
        (no_report, "report.json: cannot be read"),
    ):
        assert run_compare(a, other) == 2
        message = capsys.readouterr().err
        assert message.startswith("error: ")
        assert message.count("\n") == 1
        assert words in message


NAMES = ["a;b", "a", "b", "back\\slash", "ends in \\", "two\rlines", "new\nline", 'quo"te', "c,d"]


def test_names_that_hold_separators_come_back_as_they_were(tmp_path):
    count = len(NAMES)
    boxes = MeasuredBoxes(np.zeros((count, 4), np.float32), np.full(count, 0.5))
    order = np.arange(count)
    predicted = np.stack([order, (order + 1) % count], axis=1)
    images = [f"{name}.jpg" for name in NAMES]
    sides = np.full(count, 9, np.int32)
    truths = Truths(sides, sides, np.tile(np.float32([0, 0, 9, 9]), (count, 1)), np.arange(count + 1))
    ImageRows.of(EvaluatedImages(images, truths, order, predicted, NAMES), {"strict": boxes}).write(tmp_path / "r.csv")
    rows = ImageRows.read(tmp_path / "r.csv")
    assert rows.names == images
    assert rows.labels.tolist() == NAMES
    assert rows.predicted.tolist() == [[NAMES[k], NAMES[(k + 1) % count]] for k in range(count)]


def test_a_backslash_that_escapes_nothing_stands_for_itself():
    assert split_classes("C:\\x;y") == ["C:\\x", "y"]
    assert split_classes("") == []


def drawn(generator, seeds, images, of_seed, of_image, shift=0.0):
    """A measure of each seed and image, `of_image` [N] being what all seeds of both recipes have in common."""
    of_seeds = generator.normal(shift, of_seed, (seeds, 1))
    return list(of_image + of_seeds + generator.normal(0, 0.3, (seeds, images)))


@pytest.mark.parametrize(
    ("of_seed", "images", "seeds"), [(0.05, 300, (3, 3)), (0.0, 300, (3, 5)), (0.05, 40, (2, 4)), (0.01, 100, (5, 5))]
)
def test_the_interval_of_recipes_holds_the_difference_as_often_as_it_says(of_seed, images, seeds):
    """Seeds and images are drawn anew each time, and images move one recipe more than the other."""
    generator, inside, significant, repeats = np.random.default_rng(0), 0, 0, 1500
    for _ in range(repeats):
        common, own = generator.normal(0.5, 0.3, images), generator.normal(0, 0.2, images)
        a = drawn(generator, seeds[0], images, of_seed, common)
        pair = recipes_differ(a, drawn(generator, seeds[1], images, of_seed, common + own, shift=0.1))
        inside += pair.interval[0] <= 10 <= pair.interval[1]
        significant += (pair.p < 0.05) != (pair.interval[0] <= 0 <= pair.interval[1])
    assert 0.935 < inside / repeats <= 0.99
    assert significant == repeats, "p and the interval say the same"


def test_an_interval_over_images_alone_holds_a_recipes_difference_seldom():
    """Which is why one run of each tells nothing about recipes."""
    generator, inside = np.random.default_rng(0), 0
    for _ in range(60):
        common = generator.normal(0.5, 0.3, 400)
        a, b = (drawn(generator, 1, 400, 0.05, common)[0] for _ in "ab")
        pair = paired_means(a, b)
        inside += pair.interval[0] <= 0 <= pair.interval[1]
    assert inside / 60 < 0.6


def test_the_errors_of_recipes_are_those_of_seeds_and_of_images():
    a = [np.array([1.0, 0, 0, 0]), np.array([1.0, 1, 0, 0])]
    b = [np.array([1.0, 1, 1, 0]), np.array([1.0, 1, 1, 0])]
    pair = recipes_differ([np.append(each, np.nan) for each in a], [np.append(each, 1) for each in b])
    assert pair.counted == 4
    assert pair.means == (37.5, 75.0)
    assert pair.deviations == (pytest.approx(25 / 2**0.5), 0)
    assert pair.difference == 37.5
    assert pair.error_of_seeds == pytest.approx(12.5)
    assert pair.error_of_images == pytest.approx(100 * np.std([0, 0.5, 1, 0], ddof=1) / 2)
    same = recipes_differ(a[:1] * 2, a[:1] * 2)
    assert (same.difference, same.interval, same.p) == (0, None, None)
    nothing = recipes_differ([np.full(4, np.nan)] * 2, a)
    assert (nothing.means, nothing.deviations, nothing.counted) == ((None, None), (None, None), 0)


def test_without_a_spread_there_is_no_interval():
    whole = recipes_differ([np.zeros(5)] * 2, [np.ones(5)] * 2)
    assert (whole.difference, whole.interval, whole.p) == (100, None, None)
    values = np.random.default_rng(0).random(50)
    same = recipes_differ([values] * 2, [values] * 3)
    assert (same.difference, same.error_of_seeds, same.interval, same.p) == (0, 0, None, None), "but for rounding"
    one = recipes_differ([np.zeros(1), np.ones(1)], [np.ones(1)] * 2)
    assert (one.difference, one.error_of_images, one.interval, one.p) == (50, None, None, None)


def with_config(folder, **options):
    """The same report, of a run of this configuration."""
    written = json.loads((folder / "report.json").read_text())
    (folder / "report.json").write_text(json.dumps(written | {"config": Config.of(**options).to_json()}))
    return folder


@pytest.fixture
def recipes(tmp_path):
    """Three seeds of `none`, two of `gr`, which hits more."""
    generator = np.random.default_rng(0)
    folders = []
    for aug, share, seeds in (("none", 0.3, 3), ("gr", 0.5, 2)):
        folders.append([])
        for seed in range(seeds):
            ious = np.where(generator.random(COUNT) < share, 0.6, 0.4)
            folder = report(tmp_path / f"{aug}-{seed}", ious, generator.random(COUNT) < 0.5)
            folders[-1].append(with_config(folder, aug=aug, seed=seed))
    return folders


def test_recipes_are_compared_over_seeds_and_images(recipes, tmp_path, capsys):
    a, b = recipes
    assert run_compare(*a, "--b", *b, "--out", tmp_path / "numbers.json") == 0
    said = capsys.readouterr().out
    assert f"A: {a[2] / 'report.json'}, cam at 0.2, seed 2" in said.replace("\n", "").replace("  ", " ")
    assert "error by" in said
    written = json.loads((tmp_path / "numbers.json").read_text())
    assert written["over"] == "seeds and images"
    assert [each["seed"] for each in written["a"]["reports"]] == [0, 1, 2]
    hits = written["rates"]["strict"]["gt_known_loc@0.5"]
    assert hits["difference"] == pytest.approx(hits["b"] - hits["a"])
    assert 10 < hits["interval"][0] < hits["difference"] < hits["interval"][1] < 30
    assert hits["p"] < 0.01
    assert hits["error_of_images"] > 0 < hits["a_deviation"]


def test_what_is_no_recipe_is_refused(recipes, sides, capsys):
    a, b = recipes
    other = with_config(a[2], aug="none", seed=2, lr=0.05)
    again = with_config(b[1], aug="gr", seed=0)
    for arguments, words in (
        ((a[0], "--b", *b), "1 run of A: several seeds have a spread, one has none; name two runs or more before --b"),
        (("--b", *a), "0 runs of A"),
        ((*a[:2], "--b", b[0]), "1 run of B"),
        ((*a[:2], other, "--b", *b), f"{other / 'report.json'}: has --lr 0.05, {a[0] / 'report.json'} 0."),
        ((*a[:2], "--b", b[0], again), f"{again / 'report.json'}: is of seed 0 that {b[0] / 'report.json'} is of"),
        ((*a[:2], "--b", *a[:2]), f"{a[0] / 'report.json'}: is on both sides; name each run once"),
        ((*a[:2], "--b", *sides), "is of score maps, of which no seed is known; --b compares runs"),
        (a, "3 reports named: name two, A and B (one run twice for two of its --localizers), or several seeds"),
        ((), "0 reports named"),
    ):
        assert run_compare(*arguments) == 2
        message = capsys.readouterr().err
        assert message.count("\n") == 1
        assert words in message


@pytest.mark.parametrize(
    ("change", "words"),
    [({"precision": "bf16"}, "has precision bf16, "), ({"step": 7, "total_steps": 9}, "has step 7, ")],
)
def test_a_recipes_reports_are_made_alike(recipes, change, words, capsys):
    a, b = recipes
    made = {"precision": "fp32", "step": 9, "total_steps": 9}
    for folder in (*a, *b):
        written = json.loads((folder / "report.json").read_text()) | made | (change if folder == a[1] else {})
        (folder / "report.json").write_text(json.dumps(written))
    assert run_compare(*a, "--b", *b) == 2
    said = capsys.readouterr().err
    assert f"{a[1] / 'report.json'}: {words}" in said
    assert "made alike" in said


def test_heads_behind_one_classifier_are_no_several_seeds(recipes, capsys):
    a, b = recipes
    for seed, folder in enumerate(b):
        with_config(folder, aug="gr", seed=seed, localizer="mask", behind_sha256="0" * 64)
    assert run_compare(*a, "--b", *b) == 2
    assert f"is of the classifier that {b[0] / 'report.json'} is of" in capsys.readouterr().err


def test_runs_of_other_classes_are_told_apart(recipes, capsys):
    (a, *_), (b, *_) = recipes
    written = json.loads((b / "report.json").read_text())
    (b / "report.json").write_text(json.dumps(written | {"classes": 4}))
    assert run_compare(a, b) == 2
    assert "is of a set of 4 classes, " in capsys.readouterr().err


def test_a_permutation_test_is_the_same_however_many_images_are_taken_at_once():
    differences = np.random.default_rng(0).integers(-3, 5, 60) / 4
    assert sign_flip_test(differences, images_at_once=16) == sign_flip_test(differences)


def test_sums_that_are_equal_but_for_rounding_are_as_far():
    """Of three numbers of one sign a quarter of all flips are as far apart: none or all."""
    assert sign_flip_test(np.array([0.1, 0.2, 0.3])) == pytest.approx(2 / 8, abs=0.02)


def test_an_image_that_does_not_count_on_either_side_is_left_out():
    assert paired_means(np.array([1, 0, 1.0]), np.array([1, np.nan, 0.0])).counted == 2
    assert paired_means(np.array([np.nan, 0, 1.0]), np.array([1, 0, 0.0])).counted == 2


def test_reports_of_predictions_are_told_from_those_of_runs(tmp_path, capsys):
    (tmp_path / "report.json").write_text(json.dumps({"looked_at": 3, "format_version": 2}))
    assert run_command(compare.main, [str(tmp_path / "report.json")] * 2) == 2
    assert "is of predictions; compare takes reports of runs, and of evaluate --maps" in capsys.readouterr().err


def changed_report(folder, **changes):
    """The same report, in which this is said otherwise."""
    written = json.loads((folder / "report.json").read_text())
    (folder / "report.json").write_text(json.dumps(written | changes))
    return folder


def test_protocols_that_one_side_lacks_are_left_out(sides, tmp_path):
    rows = ImageRows.read(sides[0] / "report.csv")
    both = dict.fromkeys(("strict", "paper2018"), rows.boxes["strict"])
    replace(rows, boxes=both).write(sides[0] / "report.csv")
    for k, order in enumerate((sides, sides[::-1])):
        assert run_compare(*order, "--out", tmp_path / f"{k}.json") == 0
        assert [*json.loads((tmp_path / f"{k}.json").read_text())["rates"]] == ["strict"]


def test_of_a_report_with_a_cut_for_each_iou_the_rates_at_half_are_compared(sides, tmp_path, capsys):
    written = json.loads((sides[1] / "report.json").read_text())
    (cam,) = written["localizers"]
    changed_report(sides[1], localizers=[cam | {"thresholds": {"0.3": 0.1, "0.5": 0.2, "0.7": 0.3}}])
    assert run_compare(*sides, "--out", tmp_path / "numbers.json") == 0
    names = {*json.loads((tmp_path / "numbers.json").read_text())["rates"]["strict"]}
    assert {name.partition("@")[2] for name in names} == {"", "0.5"}
    assert "those at IoU 0.5 are compared" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("ours", [{"classes": 2}, {"classes": 30}])
def test_score_maps_know_fewer_classes_than_the_run_that_they_are_compared_with(sides, ours):
    run, maps = with_config(sides[0], aug="gr"), changed_report(sides[1], **ours)
    assert run_compare(run, maps) == 0
    assert run_compare(maps, run) == 0


def with_masks(folder, digest, iou):
    """The same report, of masks too, all with this IoU; None: its rows are of none."""
    if iou is not None:
        rows = ImageRows.read(folder / "report.csv")
        replace(rows, mask_ious=np.full(COUNT, iou)).write(folder / "report.csv")
    return changed_report(folder, masks={"digest": digest})


@pytest.mark.parametrize(
    ("digest", "iou", "compared"), [("these", 0.5, True), ("others", 0.5, False), ("these", None, False)]
)
def test_masks_are_compared_where_both_were_measured_against_the_same(sides, tmp_path, capsys, digest, iou, compared):
    with_masks(sides[0], "these", 0.25)
    with_masks(sides[1], digest, iou)
    assert run_compare(*sides, "--out", tmp_path / "numbers.json") == 0
    said = " ".join(capsys.readouterr().out.split())
    assert ("Masks are not compared: one of the two was measured without them, or against others." in said) != compared
    rates = json.loads((tmp_path / "numbers.json").read_text())["rates"]
    assert ("masks" in rates) == compared
    if compared:
        assert rates["masks"]["mean_iou"]["difference"] == pytest.approx(25)


def test_classes_are_not_compared_where_no_label_is_known(tmp_path):
    ious, wrong = np.full(COUNT, 0.6), np.zeros(COUNT, bool)
    a, b = (report(tmp_path / name, ious, wrong, labels=np.full(COUNT, "")) for name in "ab")
    assert run_compare(a, b, "--out", tmp_path / "numbers.json") == 0
    names = {*json.loads((tmp_path / "numbers.json").read_text())["rates"]["strict"]}
    assert names == {f"gt_known_loc@{iou}" for iou in (0.3, 0.5, 0.7)}


def test_of_a_set_of_two_classes_all_that_is_predicted_is_the_first_five(sides, tmp_path):
    for side, classes in ((sides[0], 2), (sides[1], 2)):
        changed_report(side, classes=classes)
    assert run_compare(*sides, "--out", tmp_path / "two.json") == 0
    assert "top5_clas" in json.loads((tmp_path / "two.json").read_text())["rates"]["strict"]
    for side in sides:
        changed_report(side, classes=3)
    assert run_compare(*sides, "--out", tmp_path / "three.json") == 0
    assert "top5_clas" not in json.loads((tmp_path / "three.json").read_text())["rates"]["strict"]


def test_a_recipes_reports_are_cut_by_one_rule(recipes, capsys):
    a, b = recipes
    (cam,) = json.loads((a[1] / "report.json").read_text())["localizers"]
    changed_report(a[1], localizers=[cam | {"cut": cam["cut"] | {"rule": "asked"}}])
    assert run_compare(*a, "--b", *b) == 2
    assert f"{a[1] / 'report.json'}: has a cut by the rule asked, " in capsys.readouterr().err


def test_a_refusal_says_what_each_side_has(sides, tmp_path, capsys):
    a, b = sides
    labels = np.full(COUNT, "cat")
    labels[7] = "cow"
    other = report(tmp_path / "other", np.full(COUNT, 0.4), np.ones(COUNT, bool), labels=labels)
    assert run_compare(a, other) == 2
    said = capsys.readouterr().err
    assert f"{other / 'report.json'}: image 8 has another label than in {a / 'report.json'} (cow, not cat)" in said
    (b / "report.csv").write_text("".join((b / "report.csv").read_text().splitlines(keepends=True)[:-1]))
    assert run_compare(a, b) == 2
    assert f"{b / 'report.json'}: is about 399 images, {a / 'report.json'} about 400;" in capsys.readouterr().err


def test_score_maps_are_compared_whichever_localizer_is_asked_for(sides):
    """They are what they are; a run's have names."""
    (cam,) = json.loads((sides[1] / "report.json").read_text())["localizers"]
    changed_report(sides[1], localizers=[cam | {"name": "maps"}])
    assert read_compared_report(sides[1], "cam").localizer == "maps"
    assert run_compare(*sides, "--localizers", "cam") == 0


def test_of_several_reports_some_may_be_without_masks(recipes, capsys):
    a, b = recipes
    for folder in (*a, b[0]):
        with_masks(folder, "these", 0.25)
    assert run_compare(*a, "--b", *b) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "Masks are not compared: some were measured without them, or against others." in said
