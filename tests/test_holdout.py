"""Images held out of train: the same ones always, never trained on, evaluated on in place of val."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from fastwsol import evaluate, train
from fastwsol.dataset.holdout import hold_out
from fastwsol.dataset.packer import pack
from fastwsol.dataset.shards import open_shards
from fastwsol.draws import ids_of_each_class
from fastwsol.evaluation.fixed_boxes import fixed_boxes
from fastwsol.evaluation.question import Question
from fastwsol.evaluation.truths import Truths
from fastwsol.host.command_line import run_command
from fastwsol.host.errors import UserError
from fastwsol.runs.checkpoint import newest_valid
from fastwsol.runs.compared_reports import read_compared_report
from fastwsol.runs.folder import RunDir
from fastwsol.runs.reports import ReportOf
from fastwsol.sources.synthetic import Synthetic


@pytest.fixture(scope="module")
def run(synthetic_shards, tmp_path_factory):
    """A finished run of three steps that held 3 of each class's 20 images out."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    arguments = ["--depth", "18", "--stem", "C", "--batch-size", "16", "--epochs", "0.7", "--step", "eager"]
    arguments += ["--holdout", "3", "--shards", str(synthetic_shards), "--run-dir", str(folder), "--threads", "1"]
    assert run_command(train.main, arguments) == 0
    return folder


def run_evaluate(*arguments):
    return run_command(evaluate.main, [str(argument) for argument in arguments])


def test_the_last_n_of_each_class_in_a_seeded_order_are_held_out():
    labels = np.random.default_rng(0).integers(0, 5, 300)
    few, more = ids_of_each_class(labels, 4), ids_of_each_class(labels, 9)
    assert np.bincount(labels[few]).tolist() == [4] * 5
    assert np.bincount(labels[more]).tolist() == [9] * 5
    assert set(few) < set(more), "a larger holdout keeps the smaller one's images"
    assert few.tolist() == sorted(set(few.tolist()))
    assert ids_of_each_class(np.arange(40) % 2, 3).tolist() == [5, 8, 10, 13, 27, 34], (
        "runs of older versions held these out"
    )
    assert not np.array_equal(few, np.sort(np.concatenate([np.flatnonzero(labels == c)[-4:] for c in range(5)])))


def test_train_and_holdout_are_the_whole_and_share_nothing(synthetic_shards):
    whole = open_shards(synthetic_shards)
    parted = hold_out(whole, 3)
    train_names, holdout_names = (
        parted.splits[name].names(range(len(parted.splits[name]))) for name in ("train", "holdout")
    )
    all_names = whole.splits["train"].names(range(80))
    assert len(holdout_names) == 12
    assert sorted(train_names + holdout_names) == sorted(all_names)
    assert parted.splits["val"] is whole.splits["val"]
    assert hold_out(whole, 0) is whole


def test_a_subset_has_its_rows_images_labels_sizes_and_boxes(tmp_path):
    class ManyBoxes(Synthetic):
        """0, 1 or 2 boxes an image."""

        def records(self, split, start=0):
            for index, record in enumerate(super().records(split, start), start):
                yield replace(record, boxes=record.boxes.repeat(index % 3, axis=0))

    pack(ManyBoxes(class_count=3, train_count=10, val_count=2), tmp_path / "shards", max_shard_bytes=64 * 1024)
    whole = open_shards(tmp_path / "shards").splits["train"]
    ids = np.array([17, 2, 29, 5, 9])
    part = whole.subset("part", ids)
    assert len(part) == 5
    assert part.names(range(5)) == whole.names(ids)
    assert part.labels.tolist() == whole.labels[ids].tolist()
    assert [part.image(k) for k in range(5)] == [whole.image(k) for k in ids]
    for gathered, expected in zip(part.gather(np.arange(5)), whole.gather(ids), strict=True):
        np.testing.assert_array_equal(gathered, expected)
    for k, index in enumerate(ids):
        mine = part.boxes[part.box_offsets[k] : part.box_offsets[k + 1]]
        np.testing.assert_array_equal(mine, whole.boxes[whole.box_offsets[index] : whole.box_offsets[index + 1]])


class Changed(Synthetic):
    """A set whose val is of other images, or whose held-out images have changed places: the pixel statistics stay."""

    def __init__(self, what: str) -> None:
        super().__init__(class_count=4, train_count=20, val_count=10)
        self._what, self._others = what, Synthetic(class_count=4, train_count=20, val_count=10, seed=1)

    def records(self, split, start=0):
        if (split, self._what) == ("val", "val"):
            return self._others.records(split, start)
        records = list(super().records(split))
        if (split, self._what) == ("train", "holdout"):
            held_out = ids_of_each_class(np.array([record.label for record in records]), 3)
            whole = list(records)
            for to, of in zip(held_out, np.roll(held_out, 5), strict=True):
                records[to] = replace(records[to], image=whole[of].image)
        return iter(records[start:])


@pytest.mark.parametrize("data", ["dali", "resident"])
def test_training_never_sees_a_held_out_image_nor_val(tmp_path, data):
    """Whatever they are, the weights are equal to the bit; and who tunes does not look at val."""
    ends, reports = [], []
    for what in ("nothing", "val", "holdout"):
        pack(Changed(what), tmp_path / what)
        arguments = ["--depth", "18", "--stem", "C", "--batch-size", "17", "--epochs", "2", "--step", "eager"]
        arguments += ["--data", data, "--holdout", "3", "--precision", "fp32", "--threads", "1"]
        arguments += ["--shards", str(tmp_path / what), "--run-dir", str(tmp_path / f"{what}-run")]
        assert run_command(train.main, arguments) == 0
        ends.append(newest_valid(tmp_path / f"{what}-run" / "checkpoints").tensors)
        reports.append((tmp_path / f"{what}-run" / "report-holdout.csv").read_text())
    for other in ends[1:]:
        assert all(torch.equal(ends[0][name], other[name]) for name in ends[0])
    assert reports[0] == reports[1] != reports[2]


def test_the_run_stores_what_it_held_out_and_is_evaluated_on_it(run, synthetic_shards):
    held_out = hold_out(open_shards(synthetic_shards), 3).splits["holdout"]
    assert (run / "holdout.txt").read_text().splitlines() == held_out.names(range(12))
    report = json.loads((run / "report-holdout.json").read_text())
    assert (report["split"], report["images"]) == ("holdout", 12)
    assert not (run / "report.json").exists()
    assert [row["split"] for row in RunDir(run).rows() if row["kind"] == "eval"] == ["holdout"]


def test_each_split_has_its_report(run, capsys):
    for split, images in (("val", 40), ("holdout", 12), ("train", 68)):
        assert run_evaluate(run, "--split", split, "--threads", "1", "--all-tables") == 0
        report = json.loads(RunDir(run).report_file(ReportOf(split)).read_text())
        assert (report["split"], report["images"]) == (split, images)
    printed = capsys.readouterr().out
    assert "40 val images" in printed
    assert "12 images held out of train" in printed
    assert "68 training images, which the network has seen" in printed


def test_the_baselines_boxes_are_not_found_on_held_out_images(run, synthetic_shards):
    assert run_evaluate(run, "--split", "holdout", "--threads", "1") == 0
    boxes = [each["box"] for each in json.loads((run / "report-holdout.json").read_text())["baselines"]]
    shards = hold_out(open_shards(synthetic_shards), 3)
    without, whole = (
        fixed_boxes(Truths.of_split(each.splits["train"]), 64) for each in (shards, open_shards(synthetic_shards))
    )
    assert boxes == [fixed.box.tolist() for fixed in without]
    assert boxes != [fixed.box.tolist() for fixed in whole]


def test_the_predicted_classs_map_changes_no_top1_loc(run, capsys):
    """Where the prediction is right the two maps are the same one, and elsewhere Top-1 Loc counts nothing."""
    reports = {}
    for cam_class in ("truth", "predicted"):
        assert run_evaluate(run, "--cam-class", cam_class, "--threads", "1", "--all-tables") == 0
        of = ReportOf("val", Question(cam_class=cam_class))
        reports[cam_class] = json.loads(RunDir(run).report_file(of).read_text())
    truth, predicted = (reports[name]["rates"]["strict"] for name in ("truth", "predicted"))
    for name in truth:
        if not name.startswith(("gt_known", "top5_loc")):
            assert predicted[name] == truth[name]
    assert "predicted_loc@0.5" in predicted
    assert "gt_known_loc@0.5" not in predicted
    assert "map of the predicted class" in capsys.readouterr().out


def test_a_holdout_that_was_not_made_is_refused(synthetic_shards, tmp_path, capsys):
    arguments = ["--depth", "18", "--stem", "C", "--batch-size", "16", "--epochs", "0.2", "--step", "eager"]
    arguments += ["--shards", str(synthetic_shards), "--run-dir", str(tmp_path / "run"), "--threads", "1"]
    assert run_command(train.main, arguments) == 0
    capsys.readouterr()
    assert run_evaluate(tmp_path / "run", "--split", "holdout") == 2
    assert "train with --holdout N" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["changed", "missing"])
def test_a_changed_or_missing_holdout_list_is_refused(run, tmp_path, capsys, damage):
    shutil.copytree(run, tmp_path / "run")
    listed = tmp_path / "run" / "holdout.txt"
    if damage == "changed":
        listed.write_text(listed.read_text().replace("00", "01", 1))
    else:
        listed.unlink()
    capsys.readouterr()
    assert run_evaluate(tmp_path / "run", "--split", "holdout") == 2
    assert "holdout.txt" in capsys.readouterr().err


def test_of_a_finished_run_the_report_on_its_holdout_is_printed(run, synthetic_shards, capsys):
    arguments = ["--depth", "18", "--stem", "C", "--batch-size", "16", "--epochs", "0.7", "--step", "eager"]
    arguments += ["--holdout", "3", "--shards", str(synthetic_shards), "--run-dir", str(run), "--threads", "1"]
    assert run_command(train.main, arguments) == 0
    assert "images held out of train" in (said := capsys.readouterr().out)
    assert "this run is finished" in said


def test_a_class_keeps_images_to_train_on(synthetic_shards):
    with pytest.raises(UserError, match=r"--holdout 20: class synthetic-0 has 20 training images"):
        hold_out(open_shards(synthetic_shards), 20)


@pytest.mark.parametrize("counts", [(2, 9), (9, 2), (3, 3)])
def test_of_a_class_with_fewer_images_all_are_held_out(counts):
    labels = np.repeat([0, 1], counts)
    assert np.bincount(labels[ids_of_each_class(labels, 4)]).tolist() == [min(4, count) for count in counts]


def test_compare_takes_the_report_on_val_where_there_is_one(run, tmp_path):
    folder = shutil.copytree(run, tmp_path / "run")
    (folder / "report.json").unlink(missing_ok=True)
    assert read_compared_report(folder).path == folder / "report-holdout.json"
    assert run_evaluate(folder, "--split", "val", "--threads", "1") == 0
    assert read_compared_report(folder).path == folder / "report.json"


def test_a_run_does_not_go_on_with_other_images_held_out(run, synthetic_shards, tmp_path, capsys):
    folder = shutil.copytree(run, tmp_path / "run")
    (folder / "report-holdout.json").unlink()
    listed = (folder / "holdout.txt").read_text()
    (folder / "holdout.txt").write_text(listed.replace("00", "01", 1))
    arguments = ["--depth", "18", "--stem", "C", "--batch-size", "16", "--epochs", "0.7", "--step", "eager"]
    arguments += ["--holdout", "3", "--shards", str(synthetic_shards), "--run-dir", str(folder), "--threads", "1"]
    assert run_command(train.main, arguments) == 2
    assert "names other images than this version holds out" in capsys.readouterr().err
    (folder / "holdout.txt").write_text(listed)
    assert run_command(train.main, arguments) == 0
