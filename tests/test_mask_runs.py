"""Runs that train a mask head: one run in two parts, exactly resumable; or behind the classifier of another run."""

import json
import shlex
import shutil
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from equal import contents, end_of
from interference import around_steps, compiler_ended_by_a_signal, signalled_after
from PIL import Image
from two_processes import two_commands

import fastwsol
from fastwsol import compare, evaluate, predict
from fastwsol import train as training
from fastwsol.dataset.packer import pack
from fastwsol.dataset.shards import open_shards
from fastwsol.evaluation.per_image import ImageRows
from fastwsol.evaluation.report_rows import rows_file
from fastwsol.evaluation.summary_table import print_summary
from fastwsol.host.command_line import run_command
from fastwsol.localizer.localizers import LOCALIZERS
from fastwsol.runs.checkpoint import newest_valid
from fastwsol.runs.folder import RunDir
from fastwsol.sources.synthetic import Synthetic
from fastwsol.training.behind import read_behind
from fastwsol.training.start import classifier_digest
from fastwsol.training.step import State

CLASSIFIER_STEPS, HEAD_STEPS = 5, 6
STEPS = CLASSIFIER_STEPS + HEAD_STEPS


HEAD = ("--localizer", "mask", "--head-steps", str(HEAD_STEPS), "--head-batch-size", "8")


def flags(shards: Path, run: Path, *more: object) -> list[str]:
    return [
        *("--aug", "gr", "--depth", "18", "--stem", "C", "--batch-size", "16", "--epochs", "1", "--lr", "0.02"),
        *("--log-steps", "3", "--threads", "1", "--step", "eager", "--shards", str(shards), "--run-dir", str(run)),
        *map(str, more),
    ]


def run_train(*arguments: object) -> int:
    return run_command(training.main, [str(each) for each in arguments])


@pytest.fixture(scope="module")
def whole(synthetic_shards, tmp_path_factory) -> Path:
    """Both parts in one run that nothing disturbed."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert run_train(*flags(synthetic_shards, run, *HEAD)) == 0
    return run


@pytest.fixture(scope="module")
def classifier(synthetic_shards, tmp_path_factory) -> Path:
    run = tmp_path_factory.mktemp("classifier") / "run"
    assert run_train(*flags(synthetic_shards, run)) == 0
    return run


@pytest.mark.parametrize("last", [3, CLASSIFIER_STEPS, 8], ids=["classifier", "between the two", "head"])
def test_a_run_stopped_in_either_part_equals_an_unbroken_one(whole, synthetic_shards, tmp_path, last):
    run = tmp_path / "run"
    with signalled_after(last, signal.SIGTERM):
        assert run_train(*flags(synthetic_shards, run, *HEAD)) == 75
    assert newest_valid(run / "checkpoints").step == last
    assert run_train(*flags(synthetic_shards, run, *HEAD)) == 0
    assert end_of(run, STEPS) == end_of(whole, STEPS)


def test_a_signal_that_ends_the_heads_compiler_leaves_the_classifier_as_it_is(
    whole, synthetic_shards, tmp_path, capsys
):
    """Nothing of the head is done yet, and the classifier's last step is saved."""
    run = tmp_path / "run"
    with compiler_ended_by_a_signal():
        assert run_train(*flags(synthetic_shards, run, *HEAD)) == 75
    assert f"before step {CLASSIFIER_STEPS + 1}; the same command goes on" in capsys.readouterr().err
    assert run_train(*flags(synthetic_shards, run, *HEAD)) == 0
    assert end_of(run, STEPS) == end_of(whole, STEPS)


@pytest.mark.parametrize(("last", "status"), [(3, 2), (CLASSIFIER_STEPS, 0), (8, 2)])
def test_between_the_two_parts_another_way_to_step_may_be_asked_for(synthetic_shards, tmp_path, last, status):
    run = tmp_path / "run"
    with signalled_after(last, signal.SIGTERM):
        assert run_train(*flags(synthetic_shards, run, *HEAD)) == 75
    environment = json.loads((run / "environment.json").read_text())
    for start in environment["starts"]:
        start["step_mode"] = "compiled"
    (run / "environment.json").write_text(json.dumps(environment))
    assert run_train(*flags(synthetic_shards, run, *HEAD)) == status


def test_all_that_steers_the_head_is_in_the_checkpoint(whole):
    tensors = newest_valid(whole / "checkpoints").tensors
    steering = {name.partition(".")[2] for name in tensors if name.startswith("steering.")}
    assert steering == {"area_weight", "lasting", "rest_tells", "whole_tells"}
    assert {"head.conv1.weight", "exp_avg.head.conv1.weight", "step.head.conv1.weight"} <= set(tensors)


def test_the_head_leaves_the_classifier_as_it_was(whole, classifier):
    ours, theirs = (newest_valid(run / "checkpoints").tensors for run in (whole, classifier))
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items() if name.startswith("model."))


def test_behind_another_run_the_head_is_the_same_and_that_run_is_untouched(
    whole, classifier, synthetic_shards, tmp_path, capsys
):
    before = contents(classifier)
    behind = (*HEAD, "--behind", classifier, "--run-dir", tmp_path / "run", "--log-steps", "3")
    alike = ("--threads", "1", "--step", "eager")
    assert run_train(*behind, *alike) == 0
    assert contents(classifier) == before
    ours, theirs = (newest_valid(run / "checkpoints").tensors for run in (tmp_path / "run", whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs if name.startswith("head."))
    config = RunDir(tmp_path / "run").read_info().config
    assert config.localizer.behind_sha256 == read_behind(classifier).sha256
    capsys.readouterr()
    for wrong, named in (
        (("--lr", "0.5"), "--lr 0.5: the classifier of"),
        (("--localizer", "cam"), "without --localizer mask"),
        (("--init", "x.safetensors"), "--init: --behind takes the classifier"),
        (("--behind", tmp_path / "nothing"), "no run here"),
    ):
        assert run_train(*behind[:-2], *alike, "--run-dir", tmp_path / "other", *wrong) == 2
        assert named in capsys.readouterr().err
    assert not (tmp_path / "other").exists()


def test_a_classifier_is_named_alike_while_a_head_is_trained_behind_it(whole, classifier):
    """So a run behind it goes on, whatever that run has done since."""
    before, after = read_behind(classifier), read_behind(whole)
    assert after.sha256 == before.sha256
    assert after.checkpoint_sha256 != before.checkpoint_sha256


def test_a_run_that_names_the_checkpoint_it_goes_behind_goes_on(classifier, tmp_path):
    """As an earlier version named it."""
    behind = read_behind(classifier)
    flags = training.read_flags([str(each) for each in (*HEAD, "--behind", classifier, "--run-dir", tmp_path / "run")])
    assert classifier_digest(flags.config, flags.launch, behind) == behind.sha256
    config = flags.config.changed(behind_sha256=behind.checkpoint_sha256)
    (tmp_path / "run").mkdir()
    info = replace(RunDir(classifier).read_info(), config=config)
    (tmp_path / "run" / "config.json").write_text(json.dumps(info.to_json()))
    assert classifier_digest(flags.config, flags.launch, behind) == behind.checkpoint_sha256


def test_a_report_has_a_row_and_a_file_for_each_localizer(whole, capsys):
    report = json.loads((whole / "report.json").read_text())
    names = ["cam", "cam-positive", "ddt", "mask", "mask-cam"]
    assert [each["name"] for each in report["localizers"]] == names
    for each in report["localizers"]:
        assert {"class_specific", "scale", "cut", "rates", "counts", "intervals", "max_box_acc", "curve"} <= set(each)
        assert {"mean_area", "empty", "three_edges"} <= set(each["maps"])
    of = dict(zip(names, report["localizers"], strict=True))
    assert of["cam"]["rates"] == report["rates"]["strict"]
    assert of["cam"]["counts"] == report["counts"]["strict"]
    assert of["cam"]["cut"]["value"] == 0.2
    assert of["mask"]["cut"]["rule"] == "box-free"
    assert of["mask"]["cut"]["value"] == json.loads((whole / "cuts.json").read_text())["cuts"]["mask"]["value"]
    assert set(of["mask"]["class_probability"]) == {"images", "inside", "outside"}
    assert (
        sum(row["counts"]["gt_known_loc@0.5"][0] for row in of["mask"]["classes"])
        == (of["mask"]["counts"]["gt_known_loc@0.5"][0])
    )
    assert sum(row["images"] for row in of["mask"]["sizes"]) == report["images_with_boxes"]
    assert all((whole / f"report-{name}.csv").is_file() for name in names[1:])
    before = contents(whole)
    assert run_command(evaluate.main, [str(whole), "--threads", "1", "--all-tables"]) == 0
    assert contents(whole) == before
    out = capsys.readouterr().out
    assert all(name in out for name in names)
    assert "gap" in out
    for title in ("strict: the threshold that is best on these very images", "strict, GT-known Loc .5 at the cuts, by"):
        table = out[out.index(title) :].split("└")[0]
        assert all(name in table for name in names), title
    assert run_command(evaluate.main, [str(whole), "--threads", "1"]) == 0
    out = capsys.readouterr().out
    assert out.index("│ mask, at") < out.index("│ cam, at .2, strict") < out.index("│ mask-cam, at")
    assert "The first row is of the localizer that predict takes." in out


def test_the_files_of_images_have_the_hits_that_max_box_acc_counts(whole):
    report = json.loads((whole / "report.json").read_text())
    for each in report["localizers"]:
        rows = ImageRows.read(rows_file(whole / "report.json", report, each["name"]))
        single, multiple = (hits[rows.box_counts > 0] for hits in rows.best_hits)
        rates = each["max_box_acc"]["strict"]["rates"]
        assert 100 * single[:, 1].mean() == pytest.approx(rates["max_box_acc"])
        assert 100 * multiple.mean() == pytest.approx(rates["max_box_acc_v2"])
        assert 100 * single.mean() == pytest.approx(rates["max_box_acc_v2_single"])


def test_two_runs_are_compared_by_the_localizers_that_predict_takes(whole, classifier, capsys):
    assert run_command(compare.main, [str(whole), str(classifier)]) == 0
    said = capsys.readouterr().out
    assert f"A: {whole / 'report.json'}, mask at" in said
    assert f"B: {classifier / 'report.json'}, cam at 0.2" in said
    assert "Each by the localizer that predict takes" in said
    assert run_command(compare.main, [str(whole), str(whole), "--localizers", "ddt"]) == 0
    said = capsys.readouterr().out
    assert said.count("ddt at") == 2
    assert "that predict takes" not in said
    assert run_command(compare.main, [str(whole), str(whole), "--localizers", "ddt", "cam", "mask"]) == 2
    assert "--localizers ddt cam mask: name one, or one of A and one of B" in capsys.readouterr().err


def test_a_run_that_is_named_from_another_folder_finds_its_shards(synthetic_shards, tmp_path, monkeypatch, capsys):
    """When it goes on, when it is finished, and when a head is trained behind it."""
    shutil.copytree(
        synthetic_shards, tmp_path / "data" / "shards", ignore=shutil.ignore_patterns("decoded", "features")
    )
    (tmp_path / "elsewhere").mkdir()
    arguments = flags(Path("data/shards"), Path("data/runs/one"), "--epochs", "0.6")
    at = arguments.index("--shards")
    asked = [*arguments[:at], *arguments[at + 2 :]]
    monkeypatch.chdir(tmp_path)
    with signalled_after(1, signal.SIGTERM):
        assert run_train(*asked) == 75
    monkeypatch.chdir(tmp_path / "elsewhere")
    there = [each.replace("data/runs/one", "../data/runs/one") for each in asked]
    assert run_train(*there) == 0
    assert RunDir(tmp_path / "data" / "runs" / "one").read_info().shards == Path("data/shards")
    assert run_train(*there) == 0
    assert "is finished" in capsys.readouterr().out
    head = ("--behind", "../data/runs/one", "--run-dir", "head", "--head-steps", "2", "--head-batch-size", "8")
    assert run_train(*head, "--threads", "1") == 0
    assert not (tmp_path / "elsewhere" / "data").exists()


def test_a_prediction_says_that_its_run_is_not_finished(whole, tmp_path, capsys):
    run = tmp_path / "run"
    shutil.copytree(whole, run)
    (run / "report.json").unlink()
    Image.new("RGB", (64, 64)).save(tmp_path / "a.png")
    for folder, said in ((whole, False), (run, True)):
        flags = [folder, tmp_path / "a.png", "--out", tmp_path / f"{folder.name}-{said}.json", "--threads", "1"]
        assert run_command(predict.main, [str(each) for each in flags]) == 0
        why = "since it was not evaluated or its training is not finished"
        note = f"{folder}: has no report, {why}; boxes are of mask at step {STEPS}"
        assert (note in capsys.readouterr().out) == said


@pytest.mark.parametrize("threshold", ["otsu", "box-free", "0.35", "auto"])
def test_other_cuts_are_reported_in_files_of_their_own(whole, threshold):
    assert run_command(evaluate.main, [str(whole), "--threads", "1", "--threshold", threshold]) == 0
    report = json.loads((whole / f"report-threshold-{threshold}.json").read_text())
    rules = {each["cut"]["rule"] for each in report["localizers"]}
    assert rules == {"asked" if threshold == "0.35" else threshold}


@pytest.mark.parametrize(
    ("name", "threshold"),
    [
        ("cam", "own"),
        ("cam", "0.3"),
        ("cam", "otsu"),
        ("ddt", "0.3"),
        ("mask", "own"),
        ("mask", "otsu"),
        ("mask-cam", "own"),
    ],
)
def test_exported_maps_measured_as_is_printed_give_the_same_numbers(whole, tmp_path, capsys, name, threshold):
    export = ("--export-maps", str(tmp_path / "maps"), "--localizer", name, "--threshold", threshold)
    assert run_command(evaluate.main, [str(whole), "--threads", "1", *export]) == 0
    printed = shlex.split(capsys.readouterr().out.splitlines()[-1].split("fastwsol.evaluate ")[1])
    assert run_command(evaluate.main, [*printed, "--threads", "1", "--out", str(tmp_path / "out")]) == 0
    said = " ".join(capsys.readouterr().out.split())
    kept = "report" if (name, threshold) == ("cam", "own") else "report-maps"
    assert f"{kept}.csv each image" in said
    assert f"A threshold is a share of {'1' if name.startswith('mask') else 'the map' + chr(39) + 's maximum'}." in said
    (of_maps,) = json.loads((tmp_path / "out" / "report.json").read_text())["localizers"]
    file = "report.json" if threshold == "own" else f"report-threshold-{threshold}.json"
    of_run = json.loads((whole / file).read_text())["localizers"]
    ours = next(each for each in of_run if each["name"] == name)
    for key in ("rates", "counts", "oracle", "maps", "scale", "class_specific"):
        assert of_maps[key] == ours[key], key
    assert of_maps["cut"]["value"] == ours["cut"]["value"]


def test_exported_masks_want_the_threshold_that_is_printed(whole, tmp_path, capsys):
    assert run_command(evaluate.main, [str(whole), "--threads", "1", "--export-maps", str(tmp_path / "maps")]) == 0
    capsys.readouterr()
    maps = ["--maps", str(tmp_path / "maps"), "--boxes", str(tmp_path / "maps" / "boxes.csv")]
    assert run_command(evaluate.main, maps) == 2
    assert f"--maps {tmp_path / 'maps'}: the values of these maps are shares of 1; name a" in capsys.readouterr().err
    assert run_command(evaluate.main, [*maps, "--threshold", "0.4", "--all-tables"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "of the maximum" not in said
    assert "these maps, at .2" not in said
    assert "inclusive" not in said


def test_a_head_step_that_is_not_finite_names_its_images_and_flag(synthetic_shards, tmp_path, capsys):
    def spoil(state: State) -> None:
        if state.step == CLASSIFIER_STEPS + 2:
            state.model.head.conv1.weight.data.fill_(float("nan"))

    with around_steps(before=spoil):
        assert run_train(*flags(synthetic_shards, tmp_path / "run", *HEAD)) == 1
    said = capsys.readouterr().err
    assert f"step {CLASSIFIER_STEPS + 2} was not finite" in said
    assert "lower --head-lr (now 0.002)" in said
    assert newest_valid(tmp_path / "run" / "checkpoints").step == CLASSIFIER_STEPS


def test_two_processes_train_one_head(synthetic_shards, tmp_path):
    ended = two_commands(training.main, flags(synthetic_shards, tmp_path / "run", *HEAD))
    assert ended.returncode == 0, ended.stderr
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["world_size"] == 2
    assert len(report["localizers"]) == 5


def test_a_network_without_a_cut_is_refused_before_anything_is_trained(synthetic_shards, tmp_path, capsys):
    pytest.importorskip("timm")
    words = [*flags(synthetic_shards, tmp_path / "run", "--localizer", "mask", "--backbone", "regnetx_002")]
    at = words.index("--depth")
    del words[at : at + 4]
    assert run_train(*words) == 2
    assert (
        "--localizer mask: --backbone regnetx_002 is of a family that cannot be split in two" in capsys.readouterr().err
    )
    assert not (tmp_path / "run").exists()


def test_one_class_alone_is_refused(tmp_path, capsys):
    pack(Synthetic(class_count=1, train_count=20, val_count=4), tmp_path / "shards")
    assert run_train(*flags(tmp_path / "shards", tmp_path / "run", *HEAD)) == 2
    assert "--localizer mask: the set has one class" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("name", [*LOCALIZERS])
def test_every_localizer_predicts_what_its_evaluation_boxed(whole, synthetic_shards, tmp_path, name, precision):
    split = open_shards(synthetic_shards).splits["val"]
    images = [split.image(k) for k in range(8)]
    predictor = fastwsol.load(whole, "cpu", threads=1, precision=precision, localizer=name)
    for prediction in predictor.predict(images, top=2):
        assert prediction.maps.dtype == np.float32
        assert np.isfinite(prediction.maps).all()
    if precision == "fp32" and name in ("mask", "ddt"):
        copy = shutil.copytree(whole, tmp_path / "run")
        assert run_command(evaluate.main, [str(copy), "--cam-class", "predicted", "--threads", "1"]) == 0
        rows = ImageRows.read(copy / f"report-predicted-{name}.csv").boxes["strict"].boxes[:8]
        for expected, prediction in zip(rows, predictor.predict(images), strict=True):
            boxes = [(box.x0, box.y0, box.x1, box.y1) for box in prediction.boxes] or [(0, 0, 0, 0)]
            np.testing.assert_allclose(boxes[0], expected, atol=1.01)


def test_of_a_few_images_a_summary_says_what_100_percent_are_worth(whole, capsys):
    report = json.loads((whole / "report.json").read_text()) | {"images_with_boxes": 5}
    print_summary(report, None, "these masks")
    said = " ".join(capsys.readouterr().out.split())
    assert "5 images alone: a rate of 100 % says that it is 48 % at least, one of 0 % that it is 52 % at most" in said
    print_summary(report | {"images_with_boxes": 30}, None, "these masks")
    assert "alone: a rate" not in capsys.readouterr().out


def test_masks_that_collapse_or_fill_the_image_are_warned_of(whole, capsys):
    report = json.loads((whole / "report.json").read_text())
    for mean, words in ((0.01, "have collapsed"), (0.97, "are nearly the whole image"), (0.3, "")):
        for each in report["localizers"]:
            if "mean_value" in each["maps"]:
                each["maps"]["mean_value"] = mean
        print_summary(report, None, "these masks")
        said = " ".join(capsys.readouterr().out.split())
        assert (words in said) if words else ("warning" not in said)


@pytest.mark.parametrize("last", [CLASSIFIER_STEPS, CLASSIFIER_STEPS + 2])
def test_a_head_behind_averaged_weights_continues_to_the_same_bits(synthetic_shards, tmp_path, last):
    averaged = (*HEAD, "--average-steps", "3")
    assert run_train(*flags(synthetic_shards, tmp_path / "whole", *averaged)) == 0
    with signalled_after(last, signal.SIGTERM):
        assert run_train(*flags(synthetic_shards, tmp_path / "run", *averaged)) == 75
    assert run_train(*flags(synthetic_shards, tmp_path / "run", *averaged)) == 0
    steps = CLASSIFIER_STEPS + HEAD_STEPS
    assert end_of(tmp_path / "run", steps) == end_of(tmp_path / "whole", steps)
    assert "average.fc.weight" in newest_valid(tmp_path / "run" / "checkpoints").tensors
