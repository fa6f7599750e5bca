"""Sets as users have them: without boxes, of many sizes, with few images a class."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import noise_jpeg
from faults.run_cases import make_run

from fastwsol import compare, evaluate, predict, train
from fastwsol import pack as pack_command
from fastwsol.dataset.packer import pack
from fastwsol.host.command_line import run_command
from fastwsol.sources import Fault, Record
from fastwsol.sources.synthetic import Synthetic

ON_CPU = ["--device", "cpu", "--threads", "2"]
TRAIN = [*ON_CPU, "--step", "eager", "--precision", "fp32", "--depth", "18", "--stem", "C", "--lr", "0.01"]
CANNOT = "None of these images has a ground-truth box"


class WithoutBoxes(Synthetic):
    """The synthetic set, whose images in `splits_without` have no boxes."""

    splits_without: tuple[str, ...] = ()

    def records(self, split: str, start: int = 0) -> Iterator[Record | Fault]:
        for record in super().records(split, start):
            if split in self.splits_without and isinstance(record, Record):
                record = replace(record, boxes=np.empty((0, 4), np.float32))
            yield record


@pytest.fixture(scope="module")
def run_on(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that makes a run at its first step, on a set some of whose splits have no boxes."""

    def make(*splits_without: str) -> Path:
        folder = tmp_path_factory.mktemp("set")
        source = WithoutBoxes(class_count=6, train_count=8, val_count=4)
        source.splits_without = splits_without
        pack(source, folder / "shards")
        make_run(folder / "run", folder / "shards")
        return folder / "run"

    return make


def evaluated(run: Path, capsys: pytest.CaptureFixture[str], *arguments: str, status: int = 0) -> str:
    assert run_command(evaluate.main, [str(run), *arguments, *ON_CPU]) == status
    shown = capsys.readouterr()
    return shown.out if status == 0 else shown.err


def test_an_evaluation_without_boxes_tells_of_classes_and_says_what_it_cannot(
    run_on: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_on("train", "val")
    said = evaluated(run, capsys, "--per-class")
    assert said.count("Clas") == 3  # Top-1 and Top-5 of all, Top-1 by class
    assert CANNOT in said
    assert "Loc" not in said
    assert "–" not in said
    (path,) = run.glob("report-step*.json")
    report = json.loads(path.read_text())
    assert report["rates"]["strict"]["gt_known_loc@0.5"] is None
    assert report["rates"]["strict"]["top1_clas"] is not None
    assert run_command(compare.main, [str(path), str(path)]) == 0
    said = capsys.readouterr().out
    assert "Top-1 Clas" in said
    assert "Loc" not in said
    assert "no boxes" not in said
    assert "none of" in evaluated(run, capsys, "--threshold", "auto", status=2)


def test_boxes_in_val_alone_are_measured_on_and_no_fixed_box_stands_beside(
    run_on: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    said = evaluated(run_on("train"), capsys)
    assert "GT-known" in said
    assert "whole image" in said
    assert "best box" not in said
    assert "No best fixed box can stand here: none of train's images has a box." in said


def test_boxes_in_train_alone_leave_val_unmeasured(
    run_on: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_on("val")
    assert CANNOT in evaluated(run, capsys)
    assert "GT-known" in evaluated(run, capsys, "--split", "train")


def test_score_maps_without_boxes_tell_of_classes_or_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "maps.npy", np.random.default_rng(0).random((2, 8, 8)).astype(np.float32))
    boxes, bare = tmp_path / "boxes.csv", tmp_path / "bare.csv"
    header = "name,width,height,x0,y0,x1,y1"
    boxes.write_text(f"{header},label,predicted\na.jpg,8,8,,,,,cat,cat\nb.jpg,8,8,,,,,dog,cat\n")
    bare.write_text(f"{header}\na.jpg,8,8,,,,\nb.jpg,8,8,,,,\n")
    maps = ["--maps", str(tmp_path / "maps.npy"), "--threads", "1"]
    assert run_command(evaluate.main, [*maps, "--boxes", str(boxes)]) == 0
    said = capsys.readouterr().out
    assert "50.00" in said
    assert CANNOT in said
    assert "Loc" not in said
    assert run_command(evaluate.main, [*maps, "--boxes", str(bare)]) == 2
    assert "bare.csv: has neither a box nor both labels and predictions" in capsys.readouterr().err
    whole = tmp_path / "whole.csv"
    whole.write_text(f"{header}\na.jpg,8,8,0,0,8,8\nb.jpg,8,8,,,,\n")
    assert run_command(evaluate.main, [*maps, "--boxes", str(whole), "--train-boxes", str(bare)]) == 2
    assert "--train-boxes" in capsys.readouterr().err


SIZES = [(300, 200), (90, 170), (64, 64), (224, 224), (65, 33)]


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of class folders with images of many sizes, two classes, a box in each image."""
    root = tmp_path_factory.mktemp("mixed")
    lines = ["name,x0,y0,x1,y1"]
    for name in ("cat", "dog"):
        (root / "photos" / name).mkdir(parents=True)
        for k in range(10):
            width, height = SIZES[k % 5]
            (root / "photos" / name / f"{name}{k}.jpg").write_bytes(noise_jpeg(k, size=(width, height)))
            lines.append(f"{name}{k}.jpg,0,0,{width},{height / 2}")
    (root / "boxes.csv").write_text("\n".join(lines))
    flags = ["--layout", "imagefolder", "--source", root / "photos", "--boxes", root / "boxes.csv"]
    flags += ["--val-fraction", 0.4, "--out", root / "shards"]
    assert run_command(pack_command.main, [*map(str, flags)]) == 0
    return root / "shards"


@pytest.mark.parametrize("image_size", ["64", "128"])
def test_images_of_many_sizes_are_trained_on_evaluated_and_boxed(
    mixed: Path, tmp_path: Path, image_size: str, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--shards", mixed, "--run-dir", tmp_path / "run", "--batch-size", 4, "--epochs", 0.7, *TRAIN]
    assert run_command(train.main, [*map(str, flags), "--image-size", image_size, "--aug", "gr-hns"]) == 0
    said = capsys.readouterr().out
    assert "train: decoded whenever it is read (its images have 5 sizes)" in said
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    # The upper half of each image, in its own pixels, is what one box of the input frame is mapped to.
    assert report["baselines"][3]["rates"]["strict"]["gt_known_loc@0.7"] == 100
    photos = mixed.parent / "photos"
    boxes = ["--out", str(tmp_path / "boxes.jsonl"), *ON_CPU]
    assert run_command(predict.main, [str(tmp_path / "run"), str(photos), *boxes]) == 0
    lines = [json.loads(line) for line in (tmp_path / "boxes.jsonl").read_text().splitlines()]
    assert [(line["width"], line["height"]) for line in lines] == SIZES * 4
    for line in lines:
        for box in line["boxes"]:
            x0, y0, x1, y1 = box["box"]
            assert 0 <= x0 < x1 <= line["width"]
            assert 0 <= y0 < y1 <= line["height"]


def test_a_run_says_in_its_lines_when_there_is_no_box_to_measure_by(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = WithoutBoxes(class_count=2, train_count=8, val_count=2)
    source.splits_without = ("train", "val")
    pack(source, tmp_path / "shards")
    flags = ["--shards", tmp_path / "shards", "--run-dir", tmp_path / "run", "--batch-size", 8, "--epochs", 3]
    assert run_command(train.main, [*map(str, flags), "--eval-epochs", "1", *TRAIN]) == 0
    said = capsys.readouterr().out
    assert "no boxes to measure localization on" in said
    assert "GT-known" not in said
