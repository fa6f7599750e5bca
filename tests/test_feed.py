"""Which path the data takes, what is said of it, and that a run is the same on either."""

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from interference import signalled_after
from small_sources import OtherSizes
from two_processes import two_commands

from fastwsol import evaluate, train
from fastwsol.batches import feed, stores
from fastwsol.batches.feed import open_feed
from fastwsol.batches.stores import DataFlags
from fastwsol.batches.stream import Stream, training_plan
from fastwsol.config import Augmentation, Statistics
from fastwsol.dataset.packer import pack
from fastwsol.dataset.shards import Shards, open_shards
from fastwsol.host.command_line import run_command
from fastwsol.host.device import Autocast
from fastwsol.host.errors import UserError
from fastwsol.host.kept_arrays import KeptArray
from fastwsol.host.limits import memory_available
from fastwsol.host.process import Process
from fastwsol.runs.checkpoint import newest_valid
from fastwsol.runs.folder import RunDir
from fastwsol.runs.reports import ReportOf
from fastwsol.sources.synthetic import Synthetic

FP32 = Autocast(torch.device("cpu"), "fp32")


@pytest.fixture
def shards(tmp_path) -> Shards:
    pack(Synthetic(class_count=4, train_count=20, val_count=10), tmp_path / "shards")
    return open_shards(tmp_path / "shards")


@pytest.fixture(scope="module")
def mixed(tmp_path_factory) -> Shards:
    folder = tmp_path_factory.mktemp("mixed") / "shards"
    pack(OtherSizes([(50, 100), (81, 100), (112, 100)]), folder)
    return open_shards(folder)


def opened(shards, data="auto", store=None, builds=True):
    return open_feed(DataFlags(data, store), shards, ["train", "val"], Process(FP32, 1), builds=builds)


def sources(found, shards):
    return {name: found.data(shards.splits[name]) for name in ("train", "val")}


def test_auto_decodes_once_where_that_fits_and_says_so(shards, capsys):
    assert sources(opened(shards), shards) == {"train": "resident", "val": "resident"}
    said = capsys.readouterr().out
    assert f"train: decoded once, {shards.folder}/decoded/train.npy (1.0 MB)" in said
    assert "val: decoded once" in said


def test_dali_as_asked(shards, capsys):
    assert sources(opened(shards, "dali"), shards) == {"train": "dali", "val": "dali"}
    assert "train: decoded whenever it is read (as asked)" in capsys.readouterr().out
    assert not (shards.folder / "decoded").exists()


@pytest.mark.parametrize("data", ["auto", "resident"])
def test_images_of_many_sizes_come_from_their_own_pixels_or_from_squares(mixed, tmp_path, capsys, data):
    cold = opened(mixed, "auto", tmp_path)
    assert sources(cold, mixed) == {"train": "dali", "val": "dali"}
    assert cold.views_by(mixed.splits["train"]) == "kernel"
    assert "train: decoded whenever it is read (its images have 3 sizes)" in capsys.readouterr().out
    flags = DataFlags(data, tmp_path)
    views = Augmentation(store_size=64)
    warm = open_feed(flags, mixed, ["train", "val"], Process(FP32, 1), train_views=views)
    train, val = mixed.splits["train"], mixed.splits["val"]
    assert warm.data(train, 64) == "resident"
    assert warm.views_by(train, 64) == "kernel"
    assert warm.data(train) == warm.data(val) == "dali"
    assert "train: decoded once, brought to 64 x 64 pixels" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"--data resident: train: its images have 3 sizes, and only a training"):
        opened(mixed, "resident", tmp_path)


def test_what_does_not_fit_into_memory_is_decoded_in_every_epoch(shards, monkeypatch, capsys):
    monkeypatch.setattr(stores, "memory_available", lambda: 2_000_000)
    assert sources(opened(shards), shards) == {"train": "resident", "val": "dali"}  # 0.98 MB of half of 2 MB; no more
    assert "2.0 MB of memory are free" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"--data resident: val: takes 0\.5 MB"):
        opened(shards, "resident")


def test_what_does_not_fit_on_the_disk_is_decoded_in_every_epoch(shards, monkeypatch, capsys):
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=600_000))
    assert sources(opened(shards), shards) == {"train": "dali", "val": "resident"}
    assert "needs 1.0 MB in" in capsys.readouterr().out
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=0))
    assert sources(opened(shards), shards) == {"train": "dali", "val": "resident"}, "what is built needs no room"


def test_a_store_that_cannot_be_written_is_no_obstacle_but_to_who_asks_for_it(shards, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert sources(opened(shards, store=tmp_path / "file"), shards) == {"train": "dali", "val": "dali"}
    assert f"{tmp_path / 'file'} cannot be written (File exists)" in capsys.readouterr().out
    with pytest.raises(UserError, match="another folder with --store"):
        opened(shards, "resident", tmp_path / "file")


def test_an_evaluation_builds_no_store_for_itself(shards):
    assert sources(opened(shards, builds=False), shards) == {"train": "dali", "val": "dali"}
    opened(shards)
    assert sources(opened(shards, builds=False), shards) == {"train": "resident", "val": "resident"}


def test_without_dali_the_store_serves_and_the_rest_is_refused(shards, mixed, monkeypatch):
    monkeypatch.setattr(stores.importlib.util, "find_spec", lambda name: None)
    assert sources(opened(shards), shards) == {"train": "resident", "val": "resident"}
    with pytest.raises(UserError, match="DALI is not installed"):
        opened(shards, "dali")
    with pytest.raises(UserError, match=r"3 sizes.*DALI is not installed"):
        opened(mixed)


def test_memory_available_is_a_machines():
    assert 2**26 < memory_available() < 2**50


def flags(shards: Shards, run: Path, *more: str) -> list[str]:
    return [
        *("--aug", "gr-hns", "--depth", "18", "--stem", "C", "--batch-size", "16", "--epochs", "0.6", "--flip"),
        *("--lr", "0.02", "--threads", "1", "--step", "eager", "--log-steps", "1"),
        *("--shards", str(shards.folder), "--run-dir", str(run), *more),
    ]


def last_tensors(run: Path) -> dict[str, torch.Tensor]:
    return newest_valid(run / "checkpoints").tensors


def test_a_run_that_changes_its_path_in_the_middle_ends_with_the_same_bits(shards, tmp_path, capsys):
    """And nothing is said of bits that differ."""
    more = ("--precision", "fp32", "--color")
    assert run_command(train.main, flags(shards, tmp_path / "cold", *more, "--data", "dali")) == 0
    with signalled_after(1, signal.SIGTERM):
        assert run_command(train.main, flags(shards, tmp_path / "mixed", *more, "--data", "dali")) == 75
    assert run_command(train.main, flags(shards, tmp_path / "mixed", *more, "--data", "resident")) == 0
    starts = json.loads((tmp_path / "mixed" / "environment.json").read_text())["starts"]
    assert [each["data"] for each in starts] == ["dali", "resident"]
    assert "equal to the bit no longer" not in capsys.readouterr().err
    cold, warm = last_tensors(tmp_path / "cold"), last_tensors(tmp_path / "mixed")
    assert all(torch.equal(cold[name], warm[name]) for name in cold)
    reports = [json.loads((tmp_path / name / "report.json").read_text()) for name in ("cold", "mixed")]
    assert [each["data"] for each in reports] == ["dali", "resident"]
    assert reports[0]["counts"] == reports[1]["counts"]


def test_evaluations_of_either_path_give_the_same_report(shards, tmp_path):
    run = tmp_path / "run"
    assert run_command(train.main, flags(shards, run, "--holdout", "5", "--epochs", "0.5")) == 0
    counts = []
    for data in ("dali", "resident"):
        for split in ("val", "holdout", "train"):
            store = ("--store", str(tmp_path / "s")) if data == "resident" else ()
            arguments = [str(run), "--split", split, "--threads", "1", "--data", data, *store]
            assert run_command(evaluate.main, arguments) == 0
            file = RunDir(run).report_file(ReportOf(split))
            report = json.loads(file.read_text())
            if split != "holdout":  # of which training itself has written the final report
                assert report["data"] == data
                file.unlink()
            counts.append((split, report["counts"], report["localizers"][0]["curve"]))
    assert counts[:3] == counts[3:]


TRAIN_WITHOUT_DALI = (
    "import sys; sys.modules['nvidia'] = sys.modules['nvidia.dali'] = None; "
    "import importlib.util; importlib.util.find_spec = lambda name, package=None: None; "
    "from fastwsol import train; from fastwsol.host.command_line import run_command; sys.exit(run_command(train.main))"
)


def test_a_machine_without_dali_trains(shards, tmp_path):
    command = [sys.executable, "-c", TRAIN_WITHOUT_DALI, *flags(shards, tmp_path / "run", "--epochs", "0.2")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "report.json").is_file()


def test_two_processes_share_one_store(shards, tmp_path):
    """It is built once, and two processes with it train as two that decode."""
    said = []
    for data in ("resident", "dali"):
        arguments = flags(shards, tmp_path / data, "--data", data)
        done = two_commands(train.main, arguments)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    assert said[0].count("train: decoded once") == 1
    resident, dali = last_tensors(tmp_path / "resident"), last_tensors(tmp_path / "dali")
    assert all(torch.equal(resident[name], dali[name]) for name in resident)


def test_a_store_in_a_folder_of_its_own(shards, tmp_path):
    shutil.rmtree(shards.folder / "decoded", ignore_errors=True)
    found = opened(shards, "resident", tmp_path / "fast disk" / "decoded")
    assert sources(found, shards) == {"train": "resident", "val": "resident"}
    assert np.load(tmp_path / "fast disk" / "decoded" / "val.npy", mmap_mode="r").shape == (40, 64, 64, 3)
    assert not (shards.folder / "decoded").exists()


def test_a_gpu_gets_the_pixels_that_were_verified_whatever_lies_at_their_path_now(tmp_path):
    """Another run, of other shards, may have built its store there since."""
    path = tmp_path / "val.npy"
    np.save(path, np.full((4, 2, 2, 3), 1, np.uint8))
    stores = {("val", 0): KeptArray(path, np.load(path, mmap_mode="r"), "")}
    opened = feed.Feed(Autocast(torch.device("cpu"), "fp32"), 1, False, stores, 4)
    np.save(tmp_path / "other.npy", np.full((2, 2, 2, 3), 9, np.uint8))
    os.replace(tmp_path / "other.npy", path)
    pixels = opened._pixels(("val", 0))
    assert pixels.shape == (4, 2, 2, 3)
    assert (pixels == 1).all()


@pytest.mark.parametrize("steps", [None, 3], ids=["training", "evaluation"])
def test_views_of_evaluations_are_never_compiled(shards, tmp_path, monkeypatch, steps):
    """They are a few passes, each of which would be compiled for; and `evaluate` shows the same images uncompiled."""
    compiled = []
    monkeypatch.setattr(feed, "DeviceBatches", lambda stream, pixels, dtype, compiles, start: compiled.append(compiles))
    monkeypatch.setattr(feed.Feed, "_pixels", lambda self, key: None)
    split = shards.splits["val"]
    gpu = Autocast(torch.device("cuda"), "bf16")
    opened = feed.Feed(gpu, 1, True, {("val", 0): KeptArray(tmp_path, np.empty(0, np.uint8), "")}, 4)
    stream = Stream(split, training_plan(0, len(split), 8), 8, Augmentation(), 0, Statistics((0,) * 3, (1,) * 3), steps)
    opened.batches(stream)
    opened.batches(stream, may_compile=False)
    assert compiled == [steps is None, False]
    assert opened.views_by(split) == "torch, compiled"
    assert opened.views_by(split, may_compile=False) == "torch"
