"""The WSOL benchmark's metadata files beside its images: read as they stand, every mistake named."""

import dataclasses
import errno
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from layouts import FOLDERS, draw_benchmark

from fastwsol import compare, convert, evaluate, sweep, train
from fastwsol import pack as pack_command
from fastwsol.dataset import packer
from fastwsol.dataset.first_classes import FirstClasses
from fastwsol.dataset.holdout import hold_out
from fastwsol.dataset.shards import open_shards
from fastwsol.evaluation.tuning import tuning_images
from fastwsol.host.command_line import run_command
from fastwsol.runs.folder import RunDir
from fastwsol.sources import Record
from fastwsol.sources.wsol_metadata import WsolEval


@pytest.fixture
def benchmark_set(tmp_path: Path) -> Path:
    root = tmp_path / "ILSVRC"
    draw_benchmark(root)
    return root


def test_the_benchmarks_files_are_read_with_inclusive_ends_made_half_open(benchmark_set: Path) -> None:
    source = WsolEval(benchmark_set)
    assert [each.wnid for each in source.classes] == [*FOLDERS]
    train, test = ([*source.records(split)] for split in ("train", "val"))
    assert [record.name for record in train] == [f"train/{folder}/{k}.JPEG" for folder in FOLDERS for k in range(2)]
    assert [record.name for record in test] == ["val/n01_0.JPEG", "val/n02_0.JPEG"]
    assert isinstance(train[0], Record)
    assert isinstance(test[0], Record)
    assert train[0].boxes.shape == (0, 4)
    np.testing.assert_array_equal(test[0].boxes, [[0, 1, 70, 50], [0, 2, 31, 41]])
    assert source.labels("train").tolist() == [0, 0, 1, 1]
    assert re.search(r"image_ids\.txt line 2$", source.origin("train", 1))


def test_an_end_that_is_the_images_own_stays_there(benchmark_set: Path) -> None:
    (benchmark_set / "metadata/test/localization.txt").write_text(
        "val/n01_0.JPEG,0,1,70,50\nval/n02_0.JPEG,0,1,69,49\n"
    )
    one, other = WsolEval(benchmark_set).records("val")
    assert isinstance(one, Record)
    assert isinstance(other, Record)
    np.testing.assert_array_equal(one.boxes, other.boxes)


def test_metadata_may_lie_elsewhere_and_images_in_a_zip(
    benchmark_set: Path, as_zip: Callable[..., Path], tmp_path: Path
) -> None:
    expected = [record.name for record in WsolEval(benchmark_set).records("train")]
    metadata = shutil.move(benchmark_set / "metadata", tmp_path / "texts")
    for place in (benchmark_set, as_zip(benchmark_set, "")):
        assert [record.name for record in WsolEval(place, metadata=metadata).records("train")] == expected


def test_it_packs(benchmark_set: Path, tmp_path: Path) -> None:
    flags = ["--layout", "wsoleval", "--source", str(benchmark_set), "--out", str(tmp_path / "shards")]
    assert run_command(pack_command.main, flags) == 0
    shards = open_shards(tmp_path / "shards")
    assert [len(shards.splits[split].boxes) for split in ("train", "val")] == [0, 4]


def test_its_val_is_packed_as_fullsup_where_asked_and_thresholds_are_chosen_on_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, run = tmp_path / "ILSVRC", tmp_path / "run"
    draw_benchmark(root, fullsup=True)
    flags = ["--layout", "wsoleval", "--source", str(root), "--out"]
    assert run_command(pack_command.main, [*flags, str(tmp_path / "plain")]) == 0
    assert [*open_shards(tmp_path / "plain").splits] == ["train", "val"]
    assert run_command(pack_command.main, [*flags, str(tmp_path / "shards"), "--fullsup"]) == 0
    assert "6 fullsup" in capsys.readouterr().out
    splits = open_shards(tmp_path / "shards").splits
    assert {name: (len(split), len(split.boxes)) for name, split in splits.items()} == {
        "train": (4, 0),
        "val": (2, 4),
        "fullsup": (6, 12),
    }
    assert splits["fullsup"].names([0]) == ["v2/n01_0.JPEG"]
    small = ["--stem", "C", "--batch-size", "4", "--epochs", "1", "--step", "eager", "--threads", "1", "--localizer"]
    small += ["cam", "--image-size", "32", "--shards", str(tmp_path / "shards"), "--run-dir", str(run)]
    assert run_command(train.main, small) == 0
    assert run_command(evaluate.main, [str(run), "--split", "fullsup"]) == 0
    assert "2 classes, 6 images of fullsup;" in " ".join(capsys.readouterr().out.split())
    assert json.loads((run / "report-fullsup.json").read_text())["images_with_boxes"] == 6
    assert run_command(evaluate.main, [str(run), "--threshold", "auto"]) == 0
    (cam, *_) = json.loads((run / "report-threshold-auto.json").read_text())["localizers"]
    assert cam["cut"]["chosen_on"] == "6 images of fullsup, by their boxes"


def test_a_run_and_a_sweep_evaluate_themselves_on_it_where_asked(
    with_fullsup: Path, synthetic_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    small = ["--stem", "C", "--batch-size", "4", "--epochs", "2", "--eval-epochs", "1", "--step", "eager"]
    small += ["--threads", "1", "--localizer", "cam", "--image-size", "32", "--eval-on", "fullsup"]
    here = [*small, "--shards", str(with_fullsup)]
    assert run_command(train.main, [*here, "--run-dir", str(run)]) == 0
    assert "evaluated on: 6 images of fullsup, and not on val" in capsys.readouterr().out
    assert [path.name for path in run.glob("report*.json")] == ["report-fullsup.json"]
    assert {row["split"] for row in RunDir(run).rows() if row["kind"] == "eval"} == {"fullsup"}
    capsys.readouterr()
    assert run_command(train.main, [*here, "--run-dir", str(run)]) == 0
    assert "6 images of fullsup" in capsys.readouterr().out, "its report again"
    assert run_command(compare.main, [str(run), str(run)]) == 0
    assert "report-fullsup.json" in (said := capsys.readouterr().out)
    assert "6 images, the same" in said
    head = ["--behind", str(run), "--head-steps", "2", "--head-batch-size", "2", "--threads", "1"]
    head += ["--shards", str(with_fullsup)]
    assert run_command(train.main, [*head, "--run-dir", str(tmp_path / "head")]) == 0
    assert [path.name for path in (tmp_path / "head").glob("report*.json")] == ["report-fullsup.json"]
    assert run_command(train.main, [*head, "--eval-on", "val", "--run-dir", str(tmp_path / "on-val")]) == 0
    assert (tmp_path / "on-val" / "report.json").is_file()
    (tmp_path / "one.toml").write_text("[grid]\nflip = [true]\n")
    swept = [str(tmp_path / "one.toml"), "--seeds", "1", *small]
    kept = ["--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "a.json")]
    assert run_command(sweep.main, [*swept, "--shards", str(with_fullsup), *kept]) == 0
    assert json.loads((tmp_path / "a.json").read_text())["split"] == "fullsup"
    nowhere = ["--shards", str(synthetic_shards), "--runs", str(tmp_path / "none")]
    assert run_command(sweep.main, [*swept, *nowhere]) == 2
    assert "--eval-on fullsup: " in capsys.readouterr().err
    assert not (tmp_path / "none").exists()
    assert run_command(evaluate.main, [str(run)]) == 0, "val, once"
    assert run_command(train.main, [*here, "--holdout", "1", "--run-dir", str(tmp_path / "never")]) == 2
    assert "--eval-on fullsup: with --holdout" in capsys.readouterr().err
    assert run_command(train.main, [*small, "--shards", str(synthetic_shards), "--run-dir", str(tmp_path / "no")]) == 2
    assert "--eval-on fullsup: " in (said := capsys.readouterr().err)
    assert "has no such images" in said
    assert not (tmp_path / "no").exists()


@pytest.fixture
def with_fullsup(tmp_path: Path) -> Path:
    """Shards with a split fullsup."""
    draw_benchmark(tmp_path / "ILSVRC", fullsup=True)
    flags = ["--layout", "wsoleval", "--source", str(tmp_path / "ILSVRC"), "--out", str(tmp_path / "shards")]
    assert run_command(pack_command.main, [*flags, "--fullsup"]) == 0
    return tmp_path / "shards"


def test_nothing_is_chosen_on_the_images_that_it_is_reported_on(with_fullsup: Path) -> None:
    shards = hold_out(open_shards(with_fullsup), 1)
    fullsup, holdout = shards.splits["fullsup"], shards.splits["holdout"]
    assert tuning_images(shards, "val")[0] is tuning_images(shards, "holdout")[0] is fullsup
    assert tuning_images(shards, "fullsup")[0] is holdout
    found, name = tuning_images(shards, "val", "box-free")
    assert (found.packed_name, name) == ("train", "2 images trained on")
    without_boxes = fullsup.subset("fullsup", np.empty(0, np.int64))
    shards = dataclasses.replace(shards, splits={**shards.splits, "fullsup": without_boxes})
    assert tuning_images(shards, "val")[0] is holdout


def test_an_image_of_val_in_fullsup_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = tmp_path / "ILSVRC"
    draw_benchmark(root, fullsup=True)
    shutil.copy(root / "v2" / "n01_0.JPEG", root / "val" / "n01_0.JPEG")
    flags = ["--layout", "wsoleval", "--source", str(root), "--fullsup", "--out", str(tmp_path / "shards")]
    assert run_command(pack_command.main, flags) == 0
    said = capsys.readouterr().out
    assert "in another split, so that what is measured there was trained on: 1 (" in said, "as it is drawn"
    assert "in another split than that, and in none that is trained on: 1 (" in said


def test_an_unfinished_packing_with_fullsup_is_no_other_packings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_benchmark(tmp_path / "ILSVRC", fullsup=True)
    flags = ["--layout", "wsoleval", "--source", str(tmp_path / "ILSVRC"), "--out", str(tmp_path / "shards")]

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "manifest.json")

    with monkeypatch.context() as patch:
        patch.setattr(packer, "write_manifest", full)
        assert run_command(pack_command.main, [*flags, "--fullsup"]) == 1
    assert run_command(pack_command.main, flags) == 2
    assert "holds an unfinished packing of fullsup too; finish that with its own command" in capsys.readouterr().err
    assert run_command(pack_command.main, [*flags, "--fullsup"]) == 0


def test_fullsup_is_left_out_where_readers_know_train_and_val(
    with_fullsup: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = [str(with_fullsup), "--format", "yolo", "--out"]
    assert run_command(convert.main, [*flags, str(tmp_path / "yolo")]) == 0
    said = "6 images of fullsup left out, as readers know train and val; --split fullsup writes them"
    assert said in " ".join(capsys.readouterr().out.split())
    assert not (tmp_path / "yolo" / "labels" / "fullsup").exists()
    assert run_command(convert.main, [*flags, str(tmp_path / "alone"), "--split", "fullsup"]) == 0
    assert len([*(tmp_path / "alone" / "labels" / "fullsup").rglob("*.txt")]) == 6


def test_first_classes_may_have_no_image_of_fullsup(
    with_fullsup: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = tmp_path / "ILSVRC" / "metadata" / "val"
    for path in texts.iterdir():
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(line for line in lines if "n02" in line))
    flags = ["--layout", "wsoleval", "--source", str(tmp_path / "ILSVRC"), "--fullsup", "--out"]
    assert run_command(pack_command.main, [*flags, str(tmp_path / "one"), "--classes", "1"]) == 2
    assert "--fullsup: no image of" in capsys.readouterr().err
    assert run_command(pack_command.main, [*flags, str(tmp_path / "both")]) == 0
    assert FirstClasses(open_shards(tmp_path / "both"), 1).splits == ("train", "val")
    assert FirstClasses(open_shards(with_fullsup), 1).splits == ("train", "val", "fullsup")


def test_fullsup_is_the_benchmarks_alone(
    benchmark_set: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "shards"), "--fullsup"]
    assert run_command(pack_command.main, ["--synthetic", *out]) == 2
    assert "--fullsup: goes with --layout wsoleval; leave it out" in capsys.readouterr().err
    assert run_command(pack_command.main, ["--layout", "wsoleval", "--source", str(benchmark_set), *out]) == 2
    assert "metadata/val/image_ids.txt: missing" in capsys.readouterr().err
    assert run_command(pack_command.main, ["--synthetic", "--classes", "2", "--out", str(tmp_path / "shards")]) == 0
    flags = ["--preset", "demo", "--stem", "C", "--epochs", "0.1", "--step", "eager", "--shards", out[1]]
    assert run_command(train.main, [*flags, "--run-dir", str(tmp_path / "run")]) == 0
    assert run_command(evaluate.main, [str(tmp_path / "run"), "--split", "fullsup"]) == 2
    assert f"--split fullsup: {out[1]} has no such images; pack the WSOL" in capsys.readouterr().err


def test_classes_without_folders_of_their_own_are_numbered(benchmark_set: Path) -> None:
    text = benchmark_set / "metadata" / "train" / "class_labels.txt"
    text.write_text(text.read_text().replace("n01/1.JPEG,0", "n01/1.JPEG,1"))
    assert [each.wnid for each in WsolEval(benchmark_set).classes] == ["class-0", "class-1"]


def change(file: str, line: int, to: str) -> Callable[[Path], None]:
    """Another text for a line, from 1; an empty one takes it out."""

    def spoil(root: Path) -> None:
        path = root / "metadata" / file
        lines = path.read_text().split("\n")
        lines[line - 1 : line] = [to] if to else []
        path.write_text("\n".join(lines))

    return spoil


A = "train/n01/0.JPEG"


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda root: shutil.rmtree(root / "metadata"), "metadata: no such folder"),
        (lambda root: (root / "metadata/test/localization.txt").unlink(), "test/localization.txt: missing"),
        (lambda root: (root / "metadata/train/image_ids.txt").write_text("\n"), "image_ids.txt: names no image"),
        (change("train/image_ids.txt", 2, f"{A}"), f"image_ids.txt line 2: {A} stands in line 1 already"),
        (change("train/class_labels.txt", 1, f"{A}"), "class_labels.txt line 1: found"),
        (change("train/class_labels.txt", 1, f"{A},zero"), "class_labels.txt line 1: label 'zero'"),
        (change("train/class_labels.txt", 1, f"{A},7"), "no image of label 2"),
        (change("train/class_labels.txt", 1, "x.JPEG,0"), "class_labels.txt line 1: 'x.JPEG' is not in image_ids.txt"),
        (change("train/class_labels.txt", 2, f"{A},0"), f"class_labels.txt line 2: {A} stands there twice"),
        (change("train/class_labels.txt", 1, ""), f"class_labels.txt: has no line for {A}"),
        (change("train/image_sizes.txt", 1, f"{A},0,50"), "image_sizes.txt line 1: size '0' x '50'"),
        (change("train/image_sizes.txt", 1, ""), f"image_sizes.txt: has no line for {A}"),
        (change("train/image_sizes.txt", 1, f"{A},50,70"), "has 70x50 pixels, and its annotation says 50x70"),
        (change("test/localization.txt", 1, "val/n01_0.JPEG,0,1,2"), "localization.txt line 1: found"),
        (change("test/localization.txt", 1, "val/n01_0.JPEG,0,1,2,x"), "localization.txt line 1: box '0,1,2,x'"),
        (change("test/localization.txt", 1, "val/no.JPEG,0,1,2,3"), "localization.txt line 1: 'val/no.JPEG' is not in"),
        (
            change("test/localization.txt", 1, "val/n01_0.JPEG,0,1,72,49"),
            "outside the 70x50 pixels or is empty (FILE line 1)",
        ),
        (change("train/class_labels.txt", 1, f"{A},100000"), "class_labels.txt line 1: label '100000'"),
        (change("train/image_sizes.txt", 2, f"{A},70,50"), f"image_sizes.txt line 2: {A} stands there twice"),
        (change("test/class_labels.txt", 1, "val/n01_0.JPEG,2"), "no image of label 2, and 2 is the highest"),
        (lambda root: (root / A).unlink(), f"{A}: no such image"),
    ],
)
def test_every_mistake_is_named_by_file_and_line(
    benchmark_set: Path, tmp_path: Path, spoil, words: str, capsys
) -> None:
    spoil(benchmark_set)
    flags = ["--layout", "wsoleval", "--source", str(benchmark_set), "--out", str(tmp_path / "shards")]
    assert run_command(pack_command.main, flags) == 2
    said = capsys.readouterr().err
    assert words.replace("FILE", str(benchmark_set / "metadata/test/localization.txt")) in said
    assert said.count("\n") == 1
    assert not (tmp_path / "shards" / "manifest.json").exists()


def test_classes_whose_folders_are_called_alike_are_numbered(benchmark_set: Path) -> None:
    (benchmark_set / "train/more").mkdir()
    shutil.move(benchmark_set / "train/n02", benchmark_set / "train/more/n01")
    for path in (benchmark_set / "metadata/train").iterdir():
        path.write_text(path.read_text().replace("train/n02/", "train/more/n01/"))
    assert [each.wnid for each in WsolEval(benchmark_set).classes] == ["class-0", "class-1"]


def test_a_class_with_images_in_two_folders_is_numbered(benchmark_set: Path) -> None:
    (benchmark_set / "train/n03").mkdir()
    shutil.move(benchmark_set / "train/n02/1.JPEG", benchmark_set / "train/n03/1.JPEG")
    for path in (benchmark_set / "metadata/train").iterdir():
        path.write_text(path.read_text().replace("train/n02/1", "train/n03/1"))
    assert [each.wnid for each in WsolEval(benchmark_set).classes] == ["class-0", "class-1"]
