"""`python -m fastwsol.sweep`: runs that are trained, fail, are stopped, are skipped; and what it prints of them."""

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path

import pytest

from fastwsol.config import FLAT_NAMES, Setting
from fastwsol.dataset.first_classes import folder_of_first_classes, with_first_classes
from fastwsol.dataset.packer import pack
from fastwsol.dataset.shards import open_shards
from fastwsol.experiments.local_runs import Children
from fastwsol.experiments.over_seeds import SettingRuns, notes_below, tables_over_seeds
from fastwsol.experiments.paper_numbers import CLASSES
from fastwsol.experiments.table_files import check_table, write_table
from fastwsol.experiments.tables import against_first, print_over_seeds
from fastwsol.experiments.trainings import Run, why_failed
from fastwsol.experiments.workload import Workload, seconds_left
from fastwsol.host.command_line import run_command
from fastwsol.host.errors import UserError
from fastwsol.runs.folder import RunDir
from fastwsol.sources.tiny_imagenet import TinyImageNet
from fastwsol.sweep import command_of, is_given, main, read_flags
from fastwsol.train import read_flags as read_train_flags
from fastwsol.train import run_info
from fastwsol.training.launch import Launch
from fastwsol.training.presets import PRESETS

SMALL = ["--preset", "demo", "--stem", "C", "--batch-size", "8", "--epochs", "0.3", "--step", "eager", "--seeds", "1"]
SMALL += ["--localizer", "cam", "--image-size", "32"]


def sweep(*arguments: object) -> int:
    return run_command(main, [str(each) for each in arguments])


@pytest.mark.usefixtures("narrow_children")
def test_one_runs_failure_leaves_the_others_alone_and_what_is_finished_stays(tmp_path, synthetic_shards, capsys):
    (tmp_path / "settings.toml").write_text("[[settings]]\nlr = 1e30\n[[settings]]\nlr = 0.01\n")
    runs, out = tmp_path / "runs", tmp_path / "results.json"
    what = [tmp_path / "settings.toml", *SMALL, "--shards", synthetic_shards, "--runs", runs]
    table = ("--table", tmp_path / "table.md")
    assert sweep(*what, "--store", tmp_path / "store", "--out", out, *table) == 1
    said = capsys.readouterr()
    assert "1 of 2 runs" in said.err
    assert "was not finite" in said.err, "what the failed run said"
    assert "--lr 0.01" in said.out
    results = json.loads(out.read_text())
    assert [each["config"]["optimizer"]["lr"] for each in results["runs"]] == [0.01]
    assert results["baselines"]
    (row, *_) = results["runs"][0]["localizers"]
    assert (row["name"], "curve" in row) == ("cam", False)
    assert "| strict | " in (tmp_path / "table.md").read_text()
    finished = [{"name": "--lr 1e+30", "finished": 0}, {"name": "--lr 0.01", "finished": 1}]
    assert (results["settings"], results["seeds"]) == (finished, [0])
    (failure,) = results["failures"]
    assert "was not finite" in failure
    before = {path: path.stat().st_mtime_ns for path in runs.rglob("report.json")}
    assert len(before) == 1
    assert sweep(*what, "--list") == 0
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed[1:]] == ["not", "finished"]
    (tmp_path / "settings.toml").write_text("[[settings]]\nlr = 0.01\n")
    with next(runs.glob("*/report.json")).with_name("metrics.jsonl").open("a") as rows:
        rows.write("damaged\n")
    assert sweep(*what) == 0, "nothing is left to train, and the tables need no rows"
    assert {path: path.stat().st_mtime_ns for path in runs.rglob("report.json")} == before


def test_runs_of_other_shards_are_not_taken_for_the_sweeps_own(tmp_path, synthetic_shards, good_layout, capsys):
    setting = PRESETS["demo"]().config.changed(aug="none")
    pack(TinyImageNet(good_layout), tmp_path / "other")
    with RunDir(tmp_path / "runs" / setting.name()).opened(run_info(setting, open_shards(tmp_path / "other"))):
        pass
    what = ["table1", "--preset", "demo", "--depth", "18", "--shards", synthetic_shards, "--runs", tmp_path / "runs"]
    assert sweep(*what, "--list") == 2
    assert "trained on other shards" in capsys.readouterr().err


@pytest.mark.parametrize(("part", "has_features"), [("tail", True), ("all", False)])
def test_a_folder_for_features_is_for_the_runs_that_have_some(tmp_path, part, has_features):
    config = PRESETS["paper"]().config.changed(train_part=part)
    command = command_of(Run(config, tmp_path / "run"), Launch(features=tmp_path / "kept"))
    assert ("--features" in command) == has_features
    assert read_train_flags(command[3:]).config == config


def test_images_that_grow_have_no_features_to_keep(tmp_path):
    config = PRESETS["paper"]().config.changed(train_part="tail", start_size=48)
    command = command_of(Run(config, tmp_path / "run"), Launch(features=tmp_path / "kept"))
    assert "--features" not in command
    assert read_train_flags(command[3:]).config == config


def test_a_sweep_of_fewer_classes_is_of_shards_of_their_own(tmp_path, synthetic_shards, capsys):
    shutil.copytree(synthetic_shards, tmp_path / "shards", ignore=shutil.ignore_patterns("decoded"))
    what = ["table1", "--classes", "2", "--shards", tmp_path / "shards", "--runs", tmp_path / "runs", "--list"]
    assert sweep(*what) == 0
    assert not folder_of_first_classes(tmp_path / "shards", 2).exists(), "a list makes nothing"
    with_first_classes(tmp_path / "shards", 2)
    assert sweep(*what) == 0
    assert len(open_shards(folder_of_first_classes(tmp_path / "shards", 2)).manifest.classes) == 2
    assert capsys.readouterr().out.count("10 settings, 3 seeds: 30 runs") == 2


def test_a_depth_in_the_networks_name_narrows_a_table(tmp_path, synthetic_shards, capsys):
    place = ["--shards", synthetic_shards, "--runs", tmp_path / "runs", "--list"]
    assert sweep("table1", "--backbone", "preact-resnet-18", *place) == 0
    said = capsys.readouterr().out
    assert "5 settings, 3 seeds: 15 runs" in said
    assert "--depth 34" not in said


@pytest.mark.parametrize(
    ("preset", "changes"),
    [
        ("demo", {"aug": "hns-gr", "flip": False, "epochs": 2.5, "seed": 3}),
        ("fast", {"image_size": 64}),
        ("strong", {"image_size": 128, "end_size": 96, "mix": "none"}),
    ],
)
def test_a_run_is_a_training_that_can_be_given_by_hand(tmp_path, preset, changes):
    setting = PRESETS[preset]().config.changed(**changes)
    launch = Launch(preset=preset, shards=Path("here"), step="eager", deterministic=True, checkpoint_minutes=1.5)
    command = command_of(Run(setting, tmp_path / "run"), launch)
    assert command[:3] == [sys.executable, "-m", "fastwsol.train"]
    flags = read_train_flags(command[3:])
    assert flags.config == setting
    assert flags.launch.run_dir == tmp_path / "run"
    assert flags.launch.shards == Path("here").absolute()
    assert (flags.launch.step, flags.launch.deterministic, flags.launch.checkpoint_minutes) == ("eager", True, 1.5)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing is named"),
        (["table1", "--seeds", "0"], "--seeds 0: must be at least 1"),
        (["table1", "--jobs", "0"], "--jobs 0: must be at least 1"),
        (["table1", "--shards", "nowhere"], "nowhere: no packed data set"),
        (["tabel1"], "tabel1: cannot be read"),
        (["table1", "--ray", "local", "--jobs", "2"], "--jobs 2: with --ray"),
        (["table1", "--cpus-per-run", "0"], "has to claim something"),
        (["table1", "--gpus-per-run", "-1"], "--gpus-per-run -1.0: must be at least 0"),
        (["table1", "--run-dir", "x"], "--run-dir"),
    ],
)
def test_mistakes_are_told_in_a_line(arguments, said, capsys):
    assert sweep(*arguments) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_the_fields_that_a_command_line_names():
    words = ["table1", "--depth=18", "--no-flip", "--batch_size", "64", "--shards", "x"]
    assert {name for name in FLAT_NAMES if is_given(name, words)} == {"depth", "flip", "batch_size"}
    assert read_flags(["table1", "--preset", "fast"]).config.schedule.schedule == "one-cycle"


def test_a_signal_stops_every_run_and_begins_no_other(tmp_path):
    waits = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: sys.exit(75)); print('up', flush=True)"
    command = [sys.executable, "-c", f"{waits}; time.sleep(600)"]
    statuses = []
    with Children(2) as children:
        threads = [
            threading.Thread(target=lambda log=tmp_path / f"{k}.log": statuses.append(children.run(command, log)))
            for k in range(2)
        ]
        for thread in threads:
            thread.start()
        logs = [tmp_path / f"{k}.log" for k in range(2)]
        wait_until(lambda: all(log.exists() and "\nup" in log.read_text() for log in logs))
        os.kill(os.getpid(), signal.SIGTERM)
        for thread in threads:
            thread.join(60)
        assert children.stopped
    assert statuses == [75, 75]


def test_image_sizes_are_varied_with_the_sizes_of_the_images_trained_on(tmp_path, synthetic_shards, capsys):
    file = tmp_path / "settings.toml"
    what = [file, "--preset", "fast", "--shards", synthetic_shards, "--runs", tmp_path / "runs", "--list"]
    file.write_text("[grid]\nimage-size = [64, 96]\n")
    assert sweep(*what) == 2
    assert "image_size: images grow from 32 to 64 pixels here; name start_size and end_size" in capsys.readouterr().err
    file.write_text("[[settings]]\nimage-size = 96\nstart-size = 32\nend-size = 80\n")
    assert sweep(*what) == 0


def test_where_a_sweep_is_killed_its_runs_are_asked_to_stop(tmp_path):
    told, log = tmp_path / "told", tmp_path / "log"
    tells = f"lambda *_: sys.exit(pathlib.Path({str(told)!r}).touch())"
    waits = f"import pathlib, signal, sys, time; signal.signal(signal.SIGTERM, {tells}); print('up', flush=True)"
    run = f"run([{sys.executable!r}, '-c', {waits + '; time.sleep(600)'!r}], Path({str(log)!r}))"
    killed = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"from pathlib import Path; from fastwsol.experiments.local_runs import Children; Children(1).{run}",
        ]
    )
    wait_until(lambda: log.exists() and "\nup" in log.read_text())
    killed.kill()
    killed.wait()
    wait_until(told.exists)


def wait_until(holds):
    deadline = time.monotonic() + 60
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_what_is_left_is_told_by_the_rate_of_what_was_done():
    workload, setting = Workload(images=1000, classes=10), Setting.of(depth=18, batch_size=100, epochs=2, holdout=50)
    rows = [{"kind": "train", "step": 5, "images_per_second": 50.0}, {"kind": "eval", "step": 5}]
    assert workload.total_steps(setting) == 10, "500 images are held out"
    assert workload.share_done(setting, rows) == 0.5
    spent = workload.spent(setting, rows)
    assert spent[1] == 10
    assert seconds_left([workload.left(setting, rows)], [spent], jobs=1) == pytest.approx(10)
    assert seconds_left([workload.left(setting, [])] * 2, [spent], jobs=2) == pytest.approx(20)
    assert seconds_left([workload.left(setting, [])], [spent], jobs=4) == pytest.approx(20), "one run has one process"
    deeper = setting.changed(depth=34)
    assert seconds_left([workload.left(deeper, [])], [spent], jobs=1) == pytest.approx(20 * 1.83 / 0.99)
    assert seconds_left([1.0], [(0.0, 0.0)], jobs=1) is None
    ended = [(workload.left(setting, []), 30.0)]
    assert seconds_left([workload.left(setting, [])], ended, jobs=1) == pytest.approx(30), "by a whole run"
    stood_still = [{"kind": "train", "step": 5, "images_per_second": 0.0}]
    assert workload.spent(setting, stood_still) == (0.0, 0.0)


def localizer(name: str, rates: dict, rule: str, cut: float) -> dict:
    of_oracle = {"max_box_acc": 70.0, "max_box_acc_v2": 72.0, "max_box_acc_v2_single": 71.0}
    cut_row = {"rule": rule, "value": cut, "chosen_on": "images"}
    return {
        "name": name,
        "scale": "min-max",
        "rates": rates,
        "cut": cut_row,
        "max_box_acc": {"strict": {"rates": of_oracle}},
    }


def made_report(source: str, top1_loc: float, classes: int) -> dict:
    rates = dict.fromkeys(("top1_clas", *(f"gt_known_loc@{t}" for t in (0.3, 0.5, 0.7))), 50.0)
    rates["top1_loc@0.5"] = top1_loc
    of_protocols = {"strict": rates, "paper2018": rates}
    return {
        "source": source,
        "split": "val",
        "images": 10,
        "images_with_boxes": 10,
        "images_cut": 0,
        "classes": classes,
        "cam_class": "truth",
        "cam_threshold": 0.2,
        "rates": of_protocols,
        "localizers": [localizer("cam", rates, "fixed", 0.2)],
        "baselines": [
            {
                "kind": "whole-image",
                "name": "whole image",
                "iou_threshold": None,
                "box": [0, 0, 64, 64],
                "rates": of_protocols,
            }
        ],
    }


def test_the_tables_show_spread_the_paper_the_baselines_and_the_verdicts(capsys):
    settings = tuple(Setting.of(aug=aug, depth=18) for aug in ("none", "hns", "gr"))
    values = {"none": (27.0, 27.4), "hns": (27.2, 27.3), "gr": (34.0, 34.4)}
    tiny = "tiny-imagenet-200"
    for source, classes, has_paper in ((tiny, 200, True), (tiny, 20, False), ("cub", 200, False)):
        print_over_seeds(
            [
                SettingRuns(aug, each, [made_report(source, value, classes) for value in values[aug]])
                for each in settings
                for aug in [each.views.aug]
            ]
        )
        said = capsys.readouterr().out
        assert "27.20 ± 0.28" in said
        assert ("27.13" in said) is has_paper, "the paper's number stands beside its own images alone"
        assert "whole image" in said
        assert "gr - none" in said
        assert "+7.30" in said, "what the paper has for gr - none"
        assert "not separable" in said
        assert "holds" in said


def test_settings_of_ones_own_are_compared_with_the_first(capsys):
    """By what predictions take, over seeds, all rows at once."""

    def runs(name, smoothing, values):
        reports = [made_report("birds", value, 10) for value in values]
        for each, value in zip(reports, values, strict=True):
            each["localizers"][0]["rates"] = each["rates"]["strict"] | {"gt_known_loc@0.5": 2 * value}
        return SettingRuns(name, Setting.of(label_smoothing=smoothing), reports)

    settings = [runs("none", 0.0, (20, 21, 22)), runs("some", 0.1, (21, 22, 23)), runs("much", 0.2, (30, 31, 32))]
    found = against_first(settings)
    assert (found.localizer, found.rates[:2]) == ("cam", ["top1_clas", "top1_loc@0.5"])
    (_, (some, half), *_), (_, (much, _), *_) = found.rows.values()
    assert (some.points, much.points) == (1, 10)
    assert half == pytest.approx(2.969 * (2 / 3) ** 0.5, rel=1e-3)  # Student's, 6 degrees of freedom, 1 - .025 / 2
    print_over_seeds(settings)
    said = capsys.readouterr().out
    assert "against none: cam at the runs' own cuts" in said
    assert "+10.00" in said
    of_paper = [SettingRuns(aug, Setting.of(aug=aug, depth=18), settings[0].reports) for aug in ("none", "gr")]
    assert against_first(of_paper) is None, "the claims say it"
    own = SettingRuns("own", Setting.of(aug="gr", depth=18, label_smoothing=0.1), settings[2].reports)
    assert [*against_first([*of_paper, own]).rows] == ["gr", "own"], "no claim says it"
    assert against_first(settings[:1]) is None


def test_a_localizer_that_not_every_seed_has_is_named(capsys):
    """As where one run was made before it was written."""
    reports = [made_report("birds", value, 10) for value in (20, 21)]
    reports[0]["localizers"].append(reports[0]["localizers"][0] | {"name": "cam-positive"})
    print_over_seeds([SettingRuns("gr", Setting.of(aug="gr"), reports)])
    assert "Not shown, as not every seed has it: cam-positive of gr." in capsys.readouterr().out


def test_seeds_that_all_agree_decide_nothing(capsys):
    """As on a few images, where most seeds hit the same number."""
    settings = [
        SettingRuns(aug, Setting.of(aug=aug, depth=18), [made_report("birds", value, 10)] * 2)
        for aug, value in (("none", 20), ("gr", 30))
    ]
    print_over_seeds(settings)
    said = " ".join(capsys.readouterr().out.split())
    assert "+10.00, no spread" in said
    assert "not separable" in said
    assert "holds" not in said.partition("claim 1")[2].partition("± half")[0]


def test_what_does_not_count_and_what_looks_wrong_is_told_over_seeds(tmp_path, capsys):
    report = made_report("birds", 30.0, 10) | {"images": 1000, "images_with_boxes": 700, "images_cut": 30}
    report["config"] = {"seed": 3}
    mask = localizer("mask", report["rates"]["strict"], "box-free", 0.4)
    report["localizers"].append(mask | {"scale": "own", "maps": {"mean_value": 0.001}})
    settings = [SettingRuns("gr", Setting.of(aug="gr"), [report])]
    print_over_seeds(settings)
    said = " ".join(capsys.readouterr().out.split())
    assert "1,000 images of val, 700 of them with a box" in said
    assert "300 images have no ground-truth box and do not count for localization" in said
    assert "30 images have a box that reaches out of the middle square" in said
    assert "warning: gr, seed 3, mask: masks have collapsed (their mean is 0.001)" in said
    write_table(tmp_path / "t.md", settings)
    assert "700 of them with a box" in (tmp_path / "t.md").read_text()


def test_a_damaged_row_is_named(tmp_path):
    """As after a power cut: with the remedy, and in one line."""
    run = RunDir(tmp_path)
    (tmp_path / "metrics.jsonl").write_bytes(b'{"kind": "train", "step": 1}\n\0\0\0\n{"kind": "tra')
    with pytest.raises(UserError, match=r"metrics.jsonl line 2: is damaged; restore the file from a copy"):
        run.rows()
    (tmp_path / "metrics.jsonl").write_bytes(b'{"kind": "train", "step": 1}\n{"kind": "tra')
    assert run.rows() == [{"kind": "train", "step": 1}]


def test_the_tables_are_written_as_csv_markdown_and_latex(tmp_path):
    reports = [made_report("birds & more", value, 10) for value in (34.0, 34.4)]
    for each, cut in zip(reports, (0.44, 0.47), strict=True):
        each["localizers"].append(localizer("mask", each["rates"]["strict"], "box-free", cut))
    settings = [SettingRuns("gr_1 | --lr 1", Setting.of(aug="gr"), reports)]
    for name in ("t.csv", "t.md", "t.tex"):
        write_table(tmp_path / name, settings)
    rows = [*csv.DictReader((tmp_path / "t.csv").open(newline=""))]
    mask, cam, whole, paper2018, *_ = rows
    assert (mask["protocol"], mask["setting"], mask["cut"]) == (
        "strict",
        "gr_1 | --lr 1, mask",
        "at .44 to .47 (box-free)",
    )
    assert (cam["setting"], cam["cut"], cam["seeds"]) == ("gr_1 | --lr 1, cam", "at .2", "2")
    assert (cam["Top-1 Loc .5 %"], cam["Top-1 Loc .5 % deviation"]) == ("34.20", "0.28")
    assert (cam["MaxBoxAccV2 % (oracle)"], cam["V2 with one box % (oracle) deviation"]) == ("72.00", "0.00")
    assert (whole["setting"], whole["cut"], whole["seeds"]) == ("whole image (0,0,64,64)", "", "")
    assert (whole["GT-known Loc .5 %"], whole["GT-known Loc .5 % deviation"], whole["Top-1 Clas %"]) == (
        "50.00",
        "",
        "",
    )
    assert whole["MaxBoxAcc % (oracle)"] == "50.00"
    assert (paper2018["protocol"], paper2018["MaxBoxAccV2 % (oracle)"]) == ("paper2018", "")
    about, _, *lines = (tmp_path / "t.md").read_text().splitlines()
    assert about == "birds & more, 10 classes, 10 images of val"
    assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1
    assert "| strict | gr_1 \\| --lr 1, cam | at .2 | 2 | 50.00 ± 0.00 | 34.20 ± 0.28 |" in lines[3]
    of_paper = (tmp_path / "t.tex").read_text()
    assert of_paper.startswith("% birds & more, 10 classes, 10 images of val\n\\begin{tabular}")
    assert r"strict & gr\_1 | -{}-lr 1, cam & at .2 & 2 & 50.00 $\pm$ 0.00 & 34.20 $\pm$ 0.28" in of_paper
    assert of_paper.count(r" \\") == len(lines) - 1


def test_without_boxes_classification_stands_once_in_tables(tmp_path, capsys):
    report = made_report("birds", 0.0, 10) | {"images_with_boxes": 0}
    report["localizers"].append(localizer("mask", report["rates"]["strict"], "box-free", 0.4))
    settings = [SettingRuns("gr", Setting.of(aug="gr"), [report])]
    write_table(tmp_path / "t.csv", settings)
    (row,) = csv.DictReader((tmp_path / "t.csv").open(newline=""))
    assert [*row.items()] == [
        *{"protocol": "strict", "setting": "gr", "cut": "", "seeds": "1"}.items(),
        *{"Top-1 Clas %": "50.00", "Top-1 Clas % deviation": ""}.items(),
    ]
    print_over_seeds(settings)
    said = capsys.readouterr().out
    assert "classification, percent" in said
    assert "None of these images has a ground-truth box" in said
    assert "Loc" not in said


def test_masks_without_boxes_have_their_cuts_in_a_table(tmp_path):
    """As OpenImages. A setting that was not measured by masks has dashes in its own lines."""

    def runs(name: str, with_masks: bool) -> SettingRuns:
        report = made_report("open images", 0.0, 10) | {"images_with_boxes": 0}
        report["localizers"].append(localizer("mask", report["rates"]["strict"], "box-free", 0.4))
        for each in report["localizers"]:
            each["pixels"] = {"pxap": 60.0, "iou": {"mean": 30.0}}
        if with_masks:
            report["masks"] = {"baselines": [{"name": "best ellipse", "pxap": 40.0, "iou": 20.0}]}
        return SettingRuns(name, Setting.of(aug="gr"), [report])

    write_table(tmp_path / "t.md", [runs("gr", True), runs("hns", False)])
    _, _, heading, _, *lines = (tmp_path / "t.md").read_text().splitlines()
    assert heading == "| protocol | setting | cut | seeds | Top-1 Clas % | PxAP % | mean IoU % |"
    assert lines == [
        "| strict | gr, mask | at .4 (box-free) | 1 | 50.00 | 60.00 | 30.00 |",
        "| strict | gr, cam | at .2 | 1 | 50.00 | 60.00 | 30.00 |",
        "| strict | hns, mask | at .4 (box-free) | 1 | 50.00 | – | – |",
        "| strict | hns, cam | at .2 | 1 | 50.00 | – | – |",
        "|  | best ellipse |  |  |  | 40.00 | 20.00 |",
    ]


def test_a_table_takes_an_ending_that_says_its_form():
    with pytest.raises(UserError, match=r"--table t.xlsx: name a file that ends in .csv, .md, .tex"):
        check_table(Path("t.xlsx"))


def test_without_a_finished_run_the_table_says_so(capsys):
    print_over_seeds([SettingRuns("gr", Setting(), [])])
    assert "no run is finished yet" in capsys.readouterr().out


def test_a_run_that_cannot_be_begun_fails_alone(tmp_path):
    future = Future()
    future.set_exception(PermissionError(13, "Permission denied", "runs/a.log"))
    run = Run(PRESETS["demo"]().config, tmp_path / "a")
    assert why_failed(run, future) == "cannot be run ([Errno 13] Permission denied: 'runs/a.log')"


def test_what_is_missing_is_said_once_below_the_first_table():
    reports = [made_report("birds", value, 10) for value in (20, 21)]
    reports[0]["localizers"].append(localizer("mask", reports[0]["rates"]["strict"], "box-free", 0.4))
    first, *others = tables_over_seeds([SettingRuns("gr", Setting.of(aug="gr"), reports)])
    assert first.note == "Not shown, as not every seed has it: mask of gr."
    assert not any("Not shown" in each.note for each in others)


def test_settings_that_the_paper_does_not_tell_apart_have_one_row_of_its():
    settings = [
        SettingRuns(name, Setting.of(aug="gr", depth=18, **more), [made_report("tiny-imagenet-200", 34.0, CLASSES)])
        for name, more in (("plain", {}), ("smooth", {"label_smoothing": 0.1}))
    ]
    assert [row.kind for row in tables_over_seeds(settings[:1])[0].rows].count("paper") == 1
    for table in tables_over_seeds(settings)[:2]:
        assert [row.name for row in table.rows if row.kind != "baseline"].count("plain") == 1
        assert [row.kind for row in table.rows].count("paper") == 1


def test_a_setting_without_a_run_has_a_row_of_dashes():
    settings = [
        SettingRuns("none", Setting.of(aug="none"), [made_report("birds", 20.0, 10)]),
        SettingRuns("gr", Setting.of(aug="gr"), []),
    ]
    for table in tables_over_seeds(settings)[:2]:
        (row,) = [row for row in table.rows if row.name == "gr"]
        assert (row.texts, row.seeds_text) == (["–"] * 5, "0")


@pytest.mark.parametrize("names", [["cam"], ["cam", "mask"]])
def test_a_title_says_where_maps_were_cut(names):
    report = made_report("birds", 20.0, 10)
    report["localizers"] = [localizer(name, report["rates"]["strict"], "fixed", 0.2) for name in names]
    strict, paper2018, *_ = tables_over_seeds([SettingRuns("gr", Setting.of(aug="gr"), [report])])
    alone = "percent, maps kept at 0.2 of the maximum"
    assert strict.title == (
        f"strict, {alone}"
        if names == ["cam"]
        else "strict, percent, maps of cam kept at 0.2 of the maximum, others' at the run's own cuts"
    )
    assert paper2018.title == f"paper2018, {alone}"


def test_cam_stands_at_the_papers_threshold_under_each_protocol_and_others_at_their_own_cuts():
    report = made_report("birds", 20.0, 10)
    rates = report["rates"]["strict"]
    report["rates"] = {"strict": rates, "paper2018": rates | {"top1_loc@0.5": 19.0}}
    report["localizers"] = [
        localizer("cam", rates | {"top1_loc@0.5": 25.0}, "asked", 0.4),
        localizer("mask", rates | {"top1_loc@0.5": 30.0}, "box-free", 0.4),
    ]
    runs = SettingRuns("gr", Setting.of(aug="gr"), [report])
    strict, paper2018, *_ = tables_over_seeds([runs])
    assert {row.name: row.texts[1] for row in strict.rows if row.is_own} == {"gr, mask": "30.00", "gr, cam": "20.00"}
    assert {row.name: row.texts[1] for row in paper2018.rows if row.is_own} == {"gr, cam": "19.00"}
    assert (runs.cut_under("cam"), runs.cut_under("mask")) == ("at .2", "at .4 (box-free)")


def test_cuts_of_several_seeds_are_told_from_the_lowest_to_the_highest():
    reports = [made_report("birds", 20.0, 10) for _ in range(3)]
    for each, cut, rule in zip(reports, (0.47, 0.44, 0.5), ("box-free", "auto", "box-free"), strict=True):
        each["localizers"].append(localizer("mask", each["rates"]["strict"], rule, cut))
    assert SettingRuns("gr", Setting.of(aug="gr"), reports).cut_of("mask") == "at .44 to .5 (box-free, auto)"


def test_pixels_have_a_mean_only_where_every_seed_was_measured_by_masks():
    """As where masks came later, and one run was evaluated again."""
    reports = [made_report("birds", 20.0, 10) for _ in range(2)]
    for each, pxap in zip(reports, (60.0, 70.0), strict=True):
        each["localizers"][0]["pixels"] = {"pxap": pxap, "iou": {"mean": 30.0}}
        each["masks"] = {"baselines": []}
    runs = SettingRuns("gr", Setting.of(aug="gr"), reports)
    assert runs.values_of_pixels("cam", "pxap") == [60, 70]
    del reports[1]["masks"], reports[1]["localizers"][0]["pixels"]
    assert runs.values_of_pixels("cam", "pxap") == []


def test_fixed_boxes_of_each_side_of_square_are_told_apart():
    """They are found and measured in the square that networks see."""
    settings = []
    for size, rate in ((128, 50.0), (224, 52.0)):
        report = made_report("birds", 20.0, 10)
        for each in report["baselines"]:
            each["rates"] = {name: dict.fromkeys(rates, rate) for name, rates in each["rates"].items()}
        report["images_cut"] = size - 128
        settings.append(SettingRuns(str(size), Setting.of(aug="gr", image_size=size), [report]))
    for given in (settings, settings[::-1]):
        table = tables_over_seeds(given)[0]
        rows = {row.name: row.texts for row in table.rows if row.kind == "baseline"}
        sides = {name.rpartition(", in squares of ")[2] for name in rows}
        assert sides == {"128 pixels", "224 pixels"}
        assert {texts[2] for name, texts in rows.items() if name.endswith(" 224 pixels")} == {"52.00"}
        assert sum("96 images have a box that reaches out" in note for note in notes_below(given)) == 1
    alone = [row.name for row in tables_over_seeds(settings[:1])[0].rows if row.kind == "baseline"]
    assert alone
    assert not any("in squares of" in name for name in alone)
