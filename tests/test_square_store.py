"""Images of many sizes, brought to a square and decoded once: what is shown of them, and which runs do so."""

import json
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from interference import signalled_after
from PIL import Image
from two_processes import two_commands

from fastwsol import evaluate, sweep, train
from fastwsol.batches import stores
from fastwsol.batches.dali_batches import DaliBatches
from fastwsol.batches.decoded_store import Store, default_square, in_square
from fastwsol.batches.store_batches import DeviceBatches, StoreBatches
from fastwsol.batches.stream import Stream, training_plan
from fastwsol.batches.views_reference import batch as reference_batch
from fastwsol.config import Augmentation
from fastwsol.dataset.shards import Shards, open_shards
from fastwsol.geometry import shown_windows, windows_in_square
from fastwsol.host import kept_files
from fastwsol.host.command_line import run_command
from fastwsol.host.kept_arrays import KeptArray
from fastwsol.runs.checkpoint import newest_valid
from fastwsol.runs.folder import RunDir

CPU = torch.device("cpu")
BATCH, SIDE, SQUARE = 8, 64, 96
FEW = [
    "--preset",
    "demo",
    "--localizer",
    "cam",
    "--stem",
    "C",
    "--image-size",
    "64",
    "--epochs",
    "3",
    "--batch-size",
    "8",
]
ALONE = ["--threads", "1", "--device", "cpu", "--step", "eager"]


@pytest.fixture(scope="module")
def shards(picture_shards) -> Shards:
    return open_shards(picture_shards)


@pytest.fixture(scope="module")
def store_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("decoded")


@pytest.fixture(scope="module")
def store(shards, store_folder) -> KeptArray:
    return Store(shards, "train", store_folder, SQUARE).open(threads=1)


def stream_of(shards, augmentation) -> Stream:
    split = shards.splits["train"]
    return Stream(split, training_plan(3, len(split), BATCH), BATCH, augmentation, 3, shards.manifest.statistics)


def levels_apart(shards, a, b) -> np.ndarray:
    return (a - b).abs().permute(0, 2, 3, 1).numpy() * np.array(shards.manifest.statistics.std)


def test_images_are_stretched_to_squares_and_filtered(shards, store):
    split = shards.splits["train"]
    assert store.values.shape == (len(split), SQUARE, SQUARE, 3)
    fine = np.zeros((400, 640, 3), np.uint8)
    fine[::2] = 255  # lines of one pixel: unfiltered, a square of them would be black, white, or striped
    assert np.abs(in_square(fine, 100)[2:-2].astype(int) - 127).max() <= 3


def test_windows_in_a_square_lie_where_they_lay_and_none_is_empty():
    draw = np.random.default_rng(0)
    widths, heights = draw.integers(1, 2000, (2, 5000)).astype(np.int32)
    x, y = draw.integers(0, widths), draw.integers(0, heights)
    windows = np.stack([x, y, draw.integers(0, widths - x) + 1, draw.integers(0, heights - y) + 1], axis=1)
    whole = shown_windows("stretch", widths, heights)
    moved = windows_in_square(windows.astype(np.int32), whole, 256)
    assert moved.min() >= 0
    assert moved[:, 2:].min() >= 1
    assert (moved[:, :2] + moved[:, 2:]).max() <= 256
    lengths = np.stack([widths, heights], axis=1)
    begins, ends = windows[:, :2] * 256 / lengths, (windows[:, :2] + windows[:, 2:]) * 256 / lengths
    assert np.abs(moved[:, :2] - begins).max() <= 1
    assert np.abs(moved[:, :2] + moved[:, 2:] - ends).max() <= 1.5  # where an empty one was made a pixel wide
    for shown in (whole, shown_windows("crop", widths, heights)):
        assert (windows_in_square(shown, shown, 256) == [0, 0, 256, 256]).all()


@pytest.mark.parametrize("kind", ["kernel", "torch"])
@pytest.mark.parametrize(("fit", "square"), [("stretch", SQUARE), ("crop", SQUARE), ("crop", SIDE)])
@pytest.mark.parametrize("aug", ["none", "gr", "gr-hns", "hns-gr"])
def test_views_of_the_squares_equal_the_reference(shards, store_folder, tmp_path, kind, fit, square, aug):
    """The slow twin is given the squares as images of their own."""
    store = Store(shards, "train", store_folder, square, fit).open(threads=1)
    augmentation = Augmentation(aug, flip=True, image_size=SIDE, fit=fit, store_size=square)
    stream = stream_of(shards, augmentation)
    if kind == "kernel":
        batches = StoreBatches(stream, store, torch.float32, threads=1)
    else:
        batches = DeviceBatches(stream, torch.from_numpy(np.array(store.values)), torch.float32, compiled=False)
    for step in range(4):
        ids, epochs = stream.plan(step)
        squares = []
        for row in stream.split.rows[ids]:
            Image.fromarray(store.values[row]).save(tmp_path / "square.png")
            squares.append((tmp_path / "square.png").read_bytes())
        expected = reference_batch(squares, stream.views(ids, epochs), augmentation, stream.statistics)
        shown = next(batches).images.permute(0, 2, 3, 1).numpy()
        apart = np.abs(shown - expected) * np.array(stream.statistics.std)
        assert apart.max() < 1.001


@pytest.mark.parametrize("fit", ["stretch", "crop"])
@pytest.mark.parametrize("aug", ["none", "gr"])
def test_squares_show_what_the_images_own_pixels_show(shards, store_folder, aug, fit):
    """They are filtered twice, so noise is smoother; on average a pixel is a few levels off."""
    store = Store(shards, "train", store_folder, SQUARE, fit).open(threads=1)
    exact = Augmentation(aug, flip=True, image_size=SIDE, fit=fit)
    warm = StoreBatches(stream_of(shards, replace(exact, store_size=SQUARE)), store, torch.float32, threads=1)
    cold = DaliBatches(stream_of(shards, exact), CPU, threads=1)
    for _ in range(3):
        a, b = next(warm), next(cold)
        assert torch.equal(a.labels, b.labels)
        assert levels_apart(shards, a.images, b.images).mean() < 8


def test_a_store_of_squares_lies_beside_others_and_is_made_anew_where_damaged(shards, tmp_path, capsys):
    first = Store(shards, "train", tmp_path, 64).open(threads=1)
    other = Store(shards, "train", tmp_path, 96).open(threads=1)
    assert {first.path.name, other.path.name} == {"train-64.npy", "train-96.npy"}
    with first.path.open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"?")
    assert Store(shards, "train", tmp_path, 64).open(threads=1).sha256 == first.sha256
    assert "train-64.npy: is of other shards or damaged, and is built anew" in capsys.readouterr().out


@pytest.mark.parametrize(("image_size", "square"), [(224, 256), (64, 64), (128, 160), (288, 320), (448, 512)])
def test_the_default_side_is_a_little_more_than_the_networks(image_size, square):
    assert default_square(image_size) == square


def trained(picture_shards, folder, *more) -> int:
    return run_command(
        train.main, ["--shards", str(picture_shards), "--run-dir", str(folder), *FEW, *ALONE, *map(str, more)]
    )


def test_a_training_of_many_epochs_brings_its_images_to_squares_and_goes_on_exactly(
    picture_shards, tmp_path, capsys, monkeypatch
):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert trained(picture_shards, whole, "--aug", "gr") == 0
    assert "train: decoded once, brought to 64 x 64 pixels" in capsys.readouterr().out
    assert RunDir(whole).read_info().config.views.store_size == 64
    (start,) = json.loads((whole / "environment.json").read_text())["starts"]
    assert len(start["squares"]) == 64
    # One that is stopped, and goes on where squares of now would not be the default.
    with signalled_after(4, signal.SIGTERM):
        assert trained(picture_shards, parts, "--aug", "gr") == 75
    monkeypatch.setattr(kept_files, "SHARE_OF_MEMORY", 1.0)
    assert trained(picture_shards, parts, "--aug", "gr") == 0
    expected, continued = (newest_valid(each / "checkpoints").tensors for each in (whole, parts))
    assert all(torch.equal(expected[name], continued[name]) for name in expected)
    assert run_command(evaluate.main, [str(whole), "--threads", "1"]) == 0


def test_what_decides_whether_images_are_brought_to_squares(picture_shards, synthetic_shards, tmp_path, capsys):
    def squares_of(folder) -> int:
        return RunDir(folder).read_info().config.views.store_size

    assert trained(picture_shards, tmp_path / "named", "--store-size", "96", "--epochs", "1") == 0
    assert squares_of(tmp_path / "named") == 96
    assert trained(picture_shards, tmp_path / "short", "--epochs", "1") == 0
    assert squares_of(tmp_path / "short") == 0
    assert trained(picture_shards, tmp_path / "asked", "--epochs", "1", "--data", "resident") == 0
    assert squares_of(tmp_path / "asked") == 64
    assert trained(picture_shards, tmp_path / "cold", "--data", "dali") == 0
    assert squares_of(tmp_path / "cold") == 0
    assert trained(synthetic_shards, tmp_path / "alike", "--epochs", "0.2") == 0
    assert squares_of(tmp_path / "alike") == 0
    capsys.readouterr()
    for more, reason in [
        (["--store-size", "32"], "--store-size 32: images would be enlarged again; give at least --image-size 64"),
        (["--store-size", "96", "--data", "dali"], "--store-size 96: --data dali decodes images in every epoch"),
    ]:
        assert trained(picture_shards, tmp_path / "new", *more) == 2
        assert reason in capsys.readouterr().err
    assert trained(synthetic_shards, tmp_path / "new", "--store-size", "96") == 2
    assert "have one size already; leave it out" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_run_keeps_to_its_squares(picture_shards, tmp_path, capsys, monkeypatch):
    """Named or not: a run that began without them goes on without, and one with them does not lose them in silence."""
    for folder, more in ((tmp_path / "cold", ["--data", "dali"]), (tmp_path / "warm", [])):
        with signalled_after(4, signal.SIGTERM):
            assert trained(picture_shards, folder, *more) == 75
    capsys.readouterr()
    assert trained(picture_shards, tmp_path / "cold") == 0
    assert RunDir(tmp_path / "cold").read_info().config.views.store_size == 0
    assert trained(picture_shards, tmp_path / "warm", "--data", "dali") == 2
    assert "--data dali: the run's images were brought to squares of 64 pixels; leave" in capsys.readouterr().err
    assert trained(picture_shards, tmp_path / "warm", "--image-size", "96") == 2
    assert "holds another run (--image-size 64, not 96)" in capsys.readouterr().err
    monkeypatch.setattr(stores, "memory_available", lambda: 1)  # its file is mapped all the same
    assert trained(picture_shards, tmp_path / "warm") == 0


def test_without_room_images_are_decoded_in_every_epoch_and_that_is_said(picture_shards, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(stores, "memory_available", lambda: 1)
    assert trained(picture_shards, tmp_path / "run") == 0
    assert "train: not brought to a square (takes" in capsys.readouterr().out
    assert trained(picture_shards, tmp_path / "other", "--data", "resident") == 2
    assert "--data resident: train: takes" in capsys.readouterr().err
    monkeypatch.undo()
    (tmp_path / "file").write_text("")
    assert trained(picture_shards, tmp_path / "third", "--store", tmp_path / "file" / "decoded") == 0
    assert "file/decoded cannot be written)" in capsys.readouterr().out


@pytest.mark.usefixtures("narrow_children")
def test_a_sweep_counts_runs_that_chose_squares_themselves(picture_shards, tmp_path, capsys):
    flags = ["--runs", str(tmp_path / "runs"), "--shards", str(picture_shards), "--seeds", "1", *FEW, *ALONE]
    (tmp_path / "one.toml").write_text('[grid]\naug = ["none"]\n')
    assert run_command(sweep.main, [str(tmp_path / "one.toml"), *flags, "--threads", "1"]) == 0
    (config,) = (RunDir(each).read_info().config for each in (tmp_path / "runs").iterdir() if each.is_dir())
    assert config.views.store_size == 64
    said = capsys.readouterr().out
    assert "paper2018" in said
    assert "--aug none" in said


def test_two_processes_share_the_squares(picture_shards, tmp_path):
    arguments = ["--shards", picture_shards, "--run-dir", tmp_path / "run", *FEW, *ALONE, "--store", tmp_path / "store"]
    ended = two_commands(train.main, [str(each) for each in arguments])
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("train: decoded once, brought to 64 x 64 pixels") == 1
    assert RunDir(tmp_path / "run").read_info().config.views.store_size == 64
