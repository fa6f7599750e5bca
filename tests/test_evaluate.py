"""Evaluation: the table of a run, its counts against a slow evaluator, and what it refuses."""

import copy
import csv
import dataclasses
import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from slow_evaluator import evaluate_slowly

from fastwsol import compare, evaluate, train
from fastwsol.batches.feed import Feed
from fastwsol.config import Augmentation, Config
from fastwsol.dataset.holdout import hold_out
from fastwsol.dataset.shards import open_shards
from fastwsol.evaluation import tuning
from fastwsol.evaluation.annotations_file import read_annotations
from fastwsol.evaluation.boxes import PROTOCOLS, localize
from fastwsol.evaluation.evaluated_images import EvaluatedImages
from fastwsol.evaluation.fixed_boxes import FixedBox, fixed_box_hits, fixed_boxes
from fastwsol.evaluation.forward import EvaluationSetup, SplitOutputs, forward_split, images_at_once
from fastwsol.evaluation.maps import NetworkMaps
from fastwsol.evaluation.measure import measure
from fastwsol.evaluation.metrics import IOU_THRESHOLDS, outcomes, rates
from fastwsol.evaluation.of_localizer import CutMaps
from fastwsol.evaluation.of_network import rates_of
from fastwsol.evaluation.per_image import ImageRows
from fastwsol.evaluation.report_words import print_classes_apart
from fastwsol.evaluation.score_map_files import ScoreMaps, write_maps
from fastwsol.evaluation.table_cells import console
from fastwsol.evaluation.thresholds import Cut
from fastwsol.evaluation.truths import Truths
from fastwsol.evaluation.tuning import tuning_images
from fastwsol.host.command_line import run_command
from fastwsol.host.device import Autocast
from fastwsol.host.errors import UserError
from fastwsol.host.process import Process
from fastwsol.localizer.localizing import LocalizingModel
from fastwsol.network.preact_resnet import build_preact_resnet
from fastwsol.prediction.components import boxes_of_maps
from fastwsol.runs import checkpoint
from fastwsol.runs.folder import RunDir
from fastwsol.runs.trained import shards_of_run


@pytest.fixture(scope="module")
def run(synthetic_shards, tmp_path_factory):
    """A finished run of three steps."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    arguments = ["--depth", "18", "--stem", "A", "--batch-size", "20", "--epochs", "0.75", "--step", "eager"]
    arguments += ["--shards", str(synthetic_shards), "--run-dir", str(folder), "--threads", "1"]
    assert run_command(train.main, arguments) == 0
    return folder


def setup_of(shards):
    config, autocast = Config.of(depth=18, stem="C"), Autocast(torch.device("cpu"), "fp32")
    statistics = shards.manifest.statistics
    return EvaluationSetup(config, shards, Feed(autocast, 1, False, {}, 4), statistics, Process(autocast, 1))


def run_evaluate(*arguments):
    return run_command(evaluate.main, [str(argument) for argument in arguments])


def test_evaluate_gives_the_numbers_that_training_ended_with(run, capsys):
    trained = json.loads((run / "report.json").read_text())
    assert run_evaluate(run, "--threads", "1", "--all-tables") == 0
    printed = capsys.readouterr().out
    assert json.loads((run / "report.json").read_text()) == trained
    assert f"{run / 'report.json'}: holds this report already and was not replaced\n" in printed
    for wanted in ("strict", "paper2018", "whole image (0,0,64,64)", "best box at IoU 0.5", "Top-1", "GT-known"):
        assert wanted in printed


def test_the_report_says_what_it_was_made_of(run):
    report = json.loads((run / "report.json").read_text())
    assert report["seeds"] == 1
    assert report["split"] == "val"
    assert report["images"] == 40
    assert report["step"] == report["total_steps"] == 3
    assert set(report["rates"]) == set(PROTOCOLS)
    assert [baseline["key"] for baseline in report["baselines"]] == [
        "whole-image",
        *(f"best-box@{t}" for t in IOU_THRESHOLDS),
    ]
    assert {"command", "versions", "git", "machine"} <= set(report)


def test_fast_and_slow_evaluators_count_the_same(synthetic_shards):
    """From the same maps and predictions: SciPy labelling and plain loops against kernels and arrays."""
    split = open_shards(synthetic_shards).splits["val"]
    rng = np.random.default_rng(0)
    predicted = np.stack([rng.permutation(4) for _ in range(len(split))])
    outputs = SplitOutputs(predicted, {"cam": rng.standard_normal((len(split), 8, 8)).astype(np.float32)})
    truths = [
        split.boxes[start:stop].tolist() for start, stop in zip(split.box_offsets, split.box_offsets[1:], strict=False)
    ]
    sizes = split.widths.tolist(), split.heights.tolist()
    for protocol, fast in rates_of(outputs, split, Augmentation(image_size=64)).items():
        slow = evaluate_slowly(outputs.cams, predicted, split.labels, truths, *sizes, 64, protocol, IOU_THRESHOLDS)
        assert fast == {name: 100 * succeeded / counted for name, (succeeded, counted) in slow.items()}


def test_padding_and_batches_do_not_show(synthetic_shards):
    """40 images in a batch, or many times in batches of 256, the last of them padded: the same predictions and maps."""
    shards = open_shards(synthetic_shards)
    split, rows = shards.splits["val"], np.arange(300) % 40
    setup = setup_of(shards)
    model = LocalizingModel(build_preact_resnet(18, "C", 4, seed=0))
    whole = forward_split(model, split, setup)
    padded = forward_split(model, split.subset("val", rows), setup)
    assert np.array_equal(whole.predicted[rows], padded.predicted)
    assert np.allclose(whole.cams[rows], padded.cams, atol=1e-4)
    assert model.training, "the mode is restored"


def test_maps_are_of_the_true_class(synthetic_shards):
    shards = open_shards(synthetic_shards)
    split = shards.splits["val"]
    setup = setup_of(shards)
    network = build_preact_resnet(18, "C", 4, seed=0)
    model = LocalizingModel(network)
    outputs = forward_split(model, split, setup)
    kept = network.fc.weight.detach().clone()
    with torch.no_grad():
        network.fc.weight[0] = 0
    changed = forward_split(model, split, setup)
    assert kept[0].any()
    assert (changed.cams[split.labels == 0] == 0).all()
    assert np.array_equal(changed.cams[split.labels != 0], outputs.cams[split.labels != 0])


def test_baselines_lend_the_runs_classification(run):
    report = json.loads((run / "report.json").read_text())
    assert len(report["baselines"]) == 1 + len(IOU_THRESHOLDS)
    for baseline in report["baselines"]:
        rates = baseline["rates"]["strict"]
        assert rates["top1_clas"] == report["rates"]["strict"]["top1_clas"] > 0
        assert rates["top1_loc@0.3"] <= min(rates["top1_clas"], rates["gt_known_loc@0.3"])


@pytest.mark.parametrize("damage", ["no run", "no checkpoint", "config is not JSON", "config of another version"])
def test_a_folder_that_is_no_whole_run_gets_one_line(run, tmp_path, capsys, damage):
    folder = tmp_path / "copy"
    if damage != "no run":
        shutil.copytree(run, folder)
    if damage == "no checkpoint":
        shutil.rmtree(folder / "checkpoints")
    if damage == "config is not JSON":
        (folder / "config.json").write_text("{")
    if damage == "config of another version":
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "format_version": 99}))
    assert run_evaluate(folder) == 2
    message = capsys.readouterr().err
    assert str(folder) in message
    assert message.startswith("error: ")
    assert message.count("\n") == 1


def test_shards_named_by_a_relative_path_are_found_from_anywhere(run, synthetic_shards, tmp_path, monkeypatch):
    """Where the run's folder and they were named from a folder that is not the current one."""
    project = tmp_path / "project"
    shutil.copytree(run, project / "data" / "runs" / "one")
    shutil.copytree(synthetic_shards, project / "data" / "shards")
    folder = project / "data" / "runs" / "one"
    info = replace(RunDir(run).read_info(), shards=Path("data/shards"))
    monkeypatch.chdir(project)
    assert shards_of_run(folder, info, None).folder == Path("data/shards")
    monkeypatch.chdir(tmp_path)
    assert shards_of_run(Path("project/data/runs/one"), info, None).folder == project / "data" / "shards"
    shutil.rmtree(project / "data" / "shards")
    with pytest.raises(UserError, match="not there, neither from this folder nor from one above the run's; name them"):
        shards_of_run(folder, info, None)


def test_shards_of_another_set_are_refused(run, tmp_path, capsys):
    from fastwsol.dataset.packer import pack
    from fastwsol.sources.synthetic import Synthetic

    pack(Synthetic(class_count=4, train_count=5, val_count=5, seed=9), tmp_path / "other")
    assert run_evaluate(run, "--shards", tmp_path / "other") == 2
    assert "not the shards" in capsys.readouterr().err


def test_real_baselines_are_the_known_ones(real_source):
    """The whole image on all of val: 52.11 % at IoU >= .5, 51.70 % above .5, 34.2 % at .7 (Tiny ImageNet's boxes)."""
    from fastwsol.sources.tiny_imagenet import TinyImageNet

    source = TinyImageNet(real_source)

    def truths_of(split: str) -> Truths:
        """Of the source itself: to pack it would decode 110,000 images."""
        boxes = [record.boxes for record in source.records(split)]
        sizes = np.full(len(boxes), 64, np.int32)
        return Truths(sizes, sizes, np.concatenate(boxes), np.cumsum([0, *map(len, boxes)]))

    truths = truths_of("val")
    assert len(truths) == 10_000

    def gt_known(fixed: FixedBox, protocol: str, iou_threshold: float) -> float:
        hits = fixed_box_hits(fixed, truths, 64, protocol)
        return rates(outcomes(hits, truths.has_boxes, None))[f"gt_known_loc@{iou_threshold}"]

    frame, *best = fixed_boxes(truths_of("train"), 64)
    assert gt_known(frame, "strict", 0.5) == pytest.approx(52.11, abs=0.005)
    assert gt_known(frame, "paper2018", 0.5) == pytest.approx(51.70, abs=0.005)
    assert gt_known(frame, "strict", 0.7) == pytest.approx(34.2, abs=0.05)
    assert gt_known(best[1], "strict", 0.5) == pytest.approx(58.00, abs=0.005)


def test_exported_maps_are_measured_as_the_run_was(run, tmp_path, capsys):
    flags = ["--threshold", "0.3", "--wsoleval"]
    assert run_evaluate(run, "--export-maps", tmp_path / "maps", *flags, "--threads", "1") == 0
    name = "report-threshold-0.3-wsoleval"
    of_run = json.loads((run / f"{name}.json").read_text())
    files = ["--maps", tmp_path / "maps" / "maps.npy", "--boxes", tmp_path / "maps" / "boxes.csv"]
    assert run_evaluate(*files, *flags, "--out", tmp_path / "out") == 0
    of_maps = json.loads((tmp_path / "out" / "report.json").read_text())
    for part in ("counts", "rates", "intervals", "classes", "truths_digest"):
        assert of_maps[part] == of_run[part], part
    (maps,), cam = of_maps["localizers"], of_run["localizers"][0]
    assert cam.pop("above_best_box")  # the best box is known where there are training boxes alone
    assert maps == cam | {"name": "maps", "title": "these maps"}
    (tmp_path / "maps" / "about.json").unlink()
    for side, out in ((64, "square"), (None, "image")):
        square = [] if side is None else ["--square", side]
        assert run_evaluate(*files, *flags, *square, "--out", tmp_path / out) == 0
        assert json.loads((tmp_path / out / "report.json").read_text())["on_square"] == (side is not None)
    assert (tmp_path / "square" / "report.csv").read_text() == (tmp_path / "out" / "report.csv").read_text()
    said = capsys.readouterr().out
    assert said.count("Maps were enlarged to a 64 x 64 square, as a run's are") == 2
    assert said.count("Maps were enlarged to the size of their image") == 1
    assert of_maps["baselines"][0] == of_run["baselines"][0]
    for ours, theirs in (("", ""), ("-cam", "-maps")):
        assert (run / f"{name}{ours}.csv").read_text() == (tmp_path / "out" / f"report{theirs}.csv").read_text()


def test_a_runs_report_goes_where_it_is_asked_for(run, tmp_path, capsys):
    """As of a run in a folder that is only to be read."""
    run = Path(shutil.copytree(run, tmp_path / "run"))
    (run / "directions.safetensors").unlink()
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    out = tmp_path / "out"
    assert run_evaluate(run, "--cam-class", "predicted", "--out", out, "--threads", "1") == 0
    assert f"{out / 'report.json'} holds the rest" in " ".join(capsys.readouterr().out.split())
    assert json.loads((out / "report.json").read_text())["cam_class"] == "predicted"
    assert (out / "report.csv").is_file()
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    assert run_evaluate(run, "--out", out, "--threads", "1") == 2
    assert f"--out {out}: exists" in capsys.readouterr().err
    for inside in (tmp_path / "maps", tmp_path / "maps" / "report"):
        assert run_evaluate(run, "--out", inside, "--export-maps", tmp_path / "maps") == 2
        assert f"--out {inside}: " in capsys.readouterr().err


def test_a_threshold_is_chosen_on_trained_images_where_none_are_held_out(run, capsys):
    assert run_evaluate(run, "--threshold", "auto", "--threads", "1") == 0
    assert "80 images trained on, by their boxes" in " ".join(capsys.readouterr().out.replace("│", " ").split())
    cam = json.loads((run / "report-threshold-auto.json").read_text())["localizers"][0]
    assert cam["cut"]["chosen_on"] == "80 images trained on, by their boxes"
    assert cam["cut"]["value"] == cam["thresholds"]["0.5"]
    assert cam["rates"]["gt_known_loc@0.5"] <= cam["oracle"]["rates"]["gt_known_loc@0.5"]


def test_maps_are_compared_where_they_were_cut(run, tmp_path, capsys):
    """And not at the paper's threshold; under auto at IoU .5 alone, whose boxes the file of each image has."""
    for name, threshold in (("low", "0.05"), ("high", "0.7"), ("auto", "auto")):
        folder = shutil.copytree(run, tmp_path / name)
        assert run_evaluate(folder, "--threshold", threshold, "--threads", "1") == 0
    low, high = (tmp_path / name / f"report-threshold-{at}.json" for name, at in (("low", "0.05"), ("high", "0.7")))
    auto = tmp_path / "auto" / "report-threshold-auto.json"
    capsys.readouterr()
    assert run_command(compare.main, [str(low), str(high), "--localizers", "cam"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"{low}, cam at 0.05 B: {high}, cam at 0.7" in said
    sides = [json.loads(each.read_text())["localizers"][0]["rates"] for each in (low, high)]
    for name, title in (("gt_known_loc@0.3", "GT-known Loc .3"), ("gt_known_loc@0.5", "GT-known Loc .5")):
        ours, theirs = (f"{each[name]:.2f}" for each in sides)
        assert f"{title} │ {ours} │ {theirs}" in said
    assert run_command(compare.main, [str(low), str(auto), "--localizers", "cam"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "of rates at the cut those at IoU 0.5 are compared" in said
    assert "MaxBoxAccV2" in said
    assert "GT-known Loc .5" in said
    assert "GT-known Loc .3" not in said


def test_a_threshold_is_chosen_on_the_holdout_and_not_on_what_is_evaluated(synthetic_shards):
    shards = hold_out(open_shards(synthetic_shards), 3)
    holdout, name = tuning_images(shards, "val")
    assert (holdout.name, name) == ("holdout", "12 images held out of train")
    assert tuning_images(shards, "train")[0] is shards.splits["holdout"]
    trained_on, name = tuning_images(shards, "holdout")
    assert (len(trained_on), name) == (68, "68 images trained on")


def test_a_threshold_is_not_chosen_on_the_very_images_that_are_evaluated(run, capsys):
    assert run_evaluate(run, "--split", "train", "--threshold", "auto", "--threads", "1") == 2
    assert "the run has no holdout" in capsys.readouterr().err


def test_exported_maps_of_the_predicted_class_are_not_called_gt_known(run, tmp_path, capsys):
    flags = ["--cam-class", "predicted"]
    assert run_evaluate(run, *flags, "--export-maps", tmp_path / "maps", "--threads", "1") == 0
    assert "--cam-class predicted" in capsys.readouterr().out
    files = ["--maps", tmp_path / "maps" / "maps.npy", "--boxes", tmp_path / "maps" / "boxes.csv"]
    assert run_evaluate(*files, *flags, "--out", tmp_path / "out") == 0
    of_maps = json.loads((tmp_path / "out" / "report.json").read_text())
    of_run = json.loads((run / "report-predicted.json").read_text())
    assert of_maps["rates"] == of_run["rates"]
    assert "predicted_loc@0.5" in of_maps["rates"]["strict"]


def test_many_trained_images_are_thinned_out_evenly(synthetic_shards, monkeypatch):
    monkeypatch.setattr(tuning, "MOST_BY_BOXES", 20)
    split, _ = tuning_images(open_shards(synthetic_shards), "val")
    assert np.bincount(split.labels).tolist() == [5, 5, 5, 5]


def test_the_protocol_of_the_older_evaluator_stands_beside_the_others(run, capsys):
    assert run_evaluate(run, "--wsoleval", "--threads", "1") == 0
    report = json.loads((run / "report-wsoleval.json").read_text())
    assert set(report["rates"]) == {*PROTOCOLS, "wsoleval"}
    assert all("wsoleval" in baseline["rates"] for baseline in report["baselines"])
    of = {each["name"]: each["max_box_acc"]["wsoleval"]["rates"] for each in report["localizers"]}
    assert report["rates"]["wsoleval"]["gt_known_loc@0.5"] <= of["cam"]["max_box_acc"]
    for best in of.values():
        assert best["max_box_acc"] <= 100
        assert best["max_box_acc_v2_single"] <= best["max_box_acc_v2"]


@pytest.mark.parametrize(("image_size", "images"), [(32, 256), (64, 256), (128, 64), (224, 20), (4096, 1)])
def test_batches_of_larger_images_are_smaller(image_size, images):
    assert images_at_once(image_size) == images


OF_LOCALIZERS = ("", "-cam-positive", "-ddt")
"""What the names of the files with each image end in."""


def files_of(folder):
    return {path.name: path.read_bytes() for path in folder.glob("report*")}


def test_files_of_images_that_a_report_lacks_are_written_again(run, tmp_path):
    """One is missing, one damaged, one of a version without the columns of MaxBoxAcc."""
    folder = shutil.copytree(run, tmp_path / "run")
    before = files_of(folder)
    earlier = folder / "report.csv"
    with earlier.open(newline="") as file:
        rows = [row[:-6] for row in csv.reader(file)]
    with earlier.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    assert ImageRows.read(earlier).best_hits is None
    (folder / "report-ddt.csv").unlink()
    (folder / "report-cam-positive.csv").write_text("nothing")
    assert run_evaluate(folder, "--threads", "1") == 0
    assert files_of(folder) == before


def test_another_question_never_replaces_the_final_report(run, tmp_path, capsys):
    folder = shutil.copytree(run, tmp_path / "run")
    for old in folder.glob("report-*.json"):
        for path in folder.glob(f"{old.stem}*"):
            path.unlink()
    before = files_of(folder)
    assert set(before) == {"report.json", *(f"report{of}.csv" for of in OF_LOCALIZERS)}
    trained_in = json.loads((folder / "report.json").read_text())["precision"]
    other = "fp32" if trained_in == "bf16" else "bf16"
    assert run_evaluate(folder, "--precision", other, "--threads", "1") == 0
    assert run_evaluate(folder, "--threshold", "0.5", "--threads", "1") == 0
    after = files_of(folder)
    assert {name: after[name] for name in before} == before
    assert set(after) == {
        *before,
        *(f"report-{what}.json" for what in (other, "threshold-0.5")),
        *(f"report-{what}{of}.csv" for what in (other, "threshold-0.5") for of in OF_LOCALIZERS),
        "report-threshold-0.5-cam.csv",
    }


def test_an_older_checkpoints_report_is_no_final_one(run, tmp_path):
    """Where the newest is damaged, its report still stands."""
    folder = shutil.copytree(run, tmp_path / "run")
    (newest,) = sorted((folder / "checkpoints").glob("step-*.json"))
    fields = json.loads(newest.read_text())
    scalars = {name: fields[name] for name in ("precision", "scaler", "config_digest", "shards_digest", "classes")}
    tensors = safetensors.torch.load_file(newest.with_suffix(".safetensors"))
    checkpoint.save(folder / "checkpoints", 2, tensors, scalars)
    newest.write_text("{}")
    before = files_of(folder)
    assert run_evaluate(folder, "--threads", "1") == 0
    after = files_of(folder)
    assert {name: after[name] for name in before} == before
    rows = {f"report-step-000000002{of}.csv" for of in OF_LOCALIZERS}
    assert set(after) - set(before) == {"report-step-000000002.json", *rows}


def test_a_report_of_another_version_may_be_made_anew(run, tmp_path, capsys):
    folder = shutil.copytree(run, tmp_path / "run")
    written = json.loads((folder / "report.json").read_text())
    (folder / "report.json").write_text(json.dumps({**written, "format_version": 3}))
    assert run_evaluate(folder, "--threads", "1") == 0
    assert json.loads((folder / "report.json").read_text())["counts"] == written["counts"]
    assert "was not replaced" not in capsys.readouterr().out


def test_by_default_one_table_of_a_hundred_columns_is_printed(run, capsys):
    assert run_evaluate(run, "--threads", "1") == 0
    lines = capsys.readouterr().out.splitlines()
    table = [line for line in lines if line.startswith(("│", "┏", "├", "└", "┡", "┃"))]
    assert len(table) <= 12
    assert max(map(len, table)) <= 100
    assert sum(line.startswith("┏") for line in lines) == 1
    assert any("report.json holds the rest" in line for line in lines)
    for title in ("Top-1 Clas", "Top-1 Loc .5", "GT-known Loc .5", "GT-known Loc .7"):
        assert title in "\n".join(table)


def test_evaluate_and_predict_cut_alike():
    cams = np.random.default_rng(0).standard_normal((500, 8, 8)).astype(np.float32)
    for threshold in (0.2, 0.5, 0.35, 0.77):
        evaluated = localize(cams, "strict", 64, 64, 64, threshold, "min-max")
        owners, boxes, *_ = boxes_of_maps(cams, 64, threshold, "largest", "min-max")
        assert owners.tolist() == list(range(500))
        np.testing.assert_array_equal(evaluated, boxes)


def test_exported_maps_of_images_of_many_sizes_give_the_same_boxes(tmp_path):
    """The maps cover the network's square, whatever size an image has."""
    rng = np.random.default_rng(1)
    sizes = rng.integers(30, 300, (24, 2)).astype(np.int32)
    corners = rng.uniform(0, 10, (24, 2)).astype(np.float32)
    boxes = np.concatenate([corners, sizes - 5], axis=1).astype(np.float32)
    truths = Truths(sizes[:, 0], sizes[:, 1], boxes, np.arange(25))
    maps = NetworkMaps(rng.standard_normal((24, 8, 8)).astype(np.float32), 64)
    names, classes = [f"{n}.jpg" for n in range(24)], ["a", "b"]
    images = EvaluatedImages(names, truths, np.zeros(24, np.int64), np.tile(np.array([[0, 1]]), (24, 1)), classes)
    cut = Cut("asked", 0.4, "the command line")
    ours = measure(images, [CutMaps("maps", "these maps", True, maps, cut)], train=truths)
    write_maps(tmp_path / "maps", ours.rows.of("maps"), truths, maps, "cam")
    again = read_annotations(tmp_path / "maps" / "boxes.csv")
    of_files = ScoreMaps(tmp_path / "maps" / "maps.npy", again, tmp_path / "maps" / "boxes.csv")
    theirs = measure(again, [CutMaps("maps", "these maps", True, of_files, cut)], train=truths)
    for protocol in PROTOCOLS:
        boxes_of_both = (each.rows.at_papers.boxes[protocol].boxes for each in (ours, theirs))
        np.testing.assert_array_equal(*boxes_of_both)
    assert ours.numbers == theirs.numbers


def test_of_a_run_that_is_only_to_be_read_the_table_is_printed_all_the_same(run, synthetic_shards, monkeypatch, capsys):
    def refuse(self, report, rows, of):
        raise PermissionError(errno.EACCES, "Permission denied", str(self.report_file(of)))

    monkeypatch.setattr(RunDir, "write_report", refuse)
    assert run_command(evaluate.main, [str(run), "--split", "train", "--device", "cpu", "--precision", "fp32"]) == 1
    said = capsys.readouterr()
    assert "GT-known Loc .5" in said.out
    assert "report-train" in said.err
    assert "Permission denied" in said.err
    monkeypatch.setattr(os, "access", lambda path, how: False)
    assert run_command(evaluate.main, [str(run), "--export-maps", str(run / "maps")]) == 2
    assert f"--export-maps {run / 'maps'}: {run} cannot be written; name another place" in capsys.readouterr().err


def test_a_threshold_by_boxes_needs_some(synthetic_shards):
    shards = open_shards(synthetic_shards)
    for count, said in ((0, "the images trained on"), (3, "3 images trained on")):
        train = copy.copy(shards.splits["train"])
        train.boxes, train.box_offsets = train.boxes[:count], train.box_offsets.clip(max=count)
        split, name = tuning_images(dataclasses.replace(shards, splits={**shards.splits, "train": train}), "val")
        assert (len(split), name) == (count, said)


def test_where_classes_are_unequal_what_the_rate_over_all_images_hides_is_said(capsys) -> None:
    def said(*classes: tuple[str, int, int]) -> str:
        rows = [{"class": name, "images": count, "counts": {"top1_clas": [n, count]}} for name, n, count in classes]
        report: Any = {"localizers": [{"classes": rows}]}
        print_classes_apart(report, console())
        return " ".join(capsys.readouterr().out.split())

    assert said(("cat", 6, 6), ("dog", 1, 2), ("owl", 0, 1)) == (
        "Classes have 1 to 6 images. Top-1 Clas, mean over classes: 50.00; least: owl, 0.00 of 1 image; the commonest "
        "class for every image: 66.67."
    )
    assert said(("cat", 6, 6), ("dog", 1, 3)) == said(("cat", 6, 6)) == said() == ""
