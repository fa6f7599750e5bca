"""Features of a frozen part, kept or not: the same bits, of the views that epochs show, and known again at a resume."""

import copy
import json
import shutil
import signal
from dataclasses import replace
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from interference import signalled_after
from two_processes import two_commands, two_machines

from fastwsol import train
from fastwsol.batches.feed import Feed
from fastwsol.batches.numbered_views import view_count, view_numbers
from fastwsol.batches.stream import Stream, decoded_at_once, training_plan
from fastwsol.config import Augmentation, Config
from fastwsol.dataset.holdout import hold_out
from fastwsol.dataset.packer import pack
from fastwsol.dataset.shards import Shards, open_shards
from fastwsol.features.feature_batches import FrozenPart
from fastwsol.features.frozen_network import FrozenNetwork, frozen_features
from fastwsol.features.kept_features import open_features
from fastwsol.host.command_line import run_command
from fastwsol.host.device import Autocast
from fastwsol.network.networks import build_network
from fastwsol.runs.checkpoint import newest_valid
from fastwsol.sources.synthetic import Synthetic
from fastwsol.training import frozen_part

CPU = torch.device("cpu")
BATCH = 12
CROPS = Augmentation("gr", True, False, "bicubic", 64, crops_per_image=3)


@pytest.fixture
def shards(tmp_path) -> Shards:
    pack(Synthetic(class_count=4, train_count=20, val_count=10), tmp_path / "shards")
    return open_shards(tmp_path / "shards")


def frozen(part: str, precision: str = "fp32") -> FrozenNetwork:
    config = Config.of(depth=18, stem="C", train_part=part)
    return FrozenNetwork(build_network(config, 4), part, Autocast(CPU, precision), "ours")


def stream_of(shards: Shards, augmentation: Augmentation) -> Stream:
    split, manifest = shards.splits["train"], shards.manifest
    return Stream(split, training_plan(7, len(split), BATCH), BATCH, augmentation, 7, manifest.statistics)


def feed(network: FrozenNetwork) -> Feed:
    return Feed(network.autocast, 1, False, {}, 4)


def opened(shards: Shards, network: FrozenNetwork, augmentation: Augmentation = CROPS):
    return open_features(shards, stream_of(shards, augmentation), feed(network), network, None)


@pytest.mark.parametrize("part", ["tail", "classifier"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_kept_features_are_the_very_bits_of_those_computed_in_each_step(shards, part, precision):
    """Over two rounds of the crops, from any step on; batches hold other images than the keeping had together."""
    network, stream = frozen(part, precision), stream_of(shards, CROPS)
    kept = opened(shards, network)
    assert kept.values.shape[:2] == (6, 80)
    for start in (0, 3):
        ours = FrozenPart(network, kept).batches(stream, feed(network), start, 1)
        computed = FrozenPart(network, None).batches(stream, feed(network), start, 1)
        for _ in range(40):  # 80 images are some seven batches
            mine, theirs = next(ours), next(computed)
            assert mine.images.dtype == torch.bfloat16
            assert torch.equal(mine.images, theirs.images)
            assert torch.equal(mine.labels, theirs.labels)
        taken = computed.take()
        assert torch.equal(computed.show(taken).images, next(ours).images)


@pytest.mark.parametrize(
    ("width", "height", "count"), [(64, 64, 65536), (4000, 3000, 22), (8000, 6000, 5), (16384, 16384, 1)]
)
def test_large_photographs_are_decoded_a_few_at_a_time(shards, width, height, count):
    """At three bytes a pixel they take less than a gigabyte."""
    split = copy.copy(shards.splits["train"])
    split.widths, split.heights = (np.full(len(split), side, np.int32) for side in (width, height))
    assert decoded_at_once(split) == count


def test_features_are_the_same_bits_however_many_images_are_decoded_at_a_time(shards):
    network, stream = frozen("tail"), stream_of(shards, CROPS)
    few = replace(stream, plan=training_plan(7, len(stream.split), 5), batch_size=5)
    at_once, five_at_a_time = (
        open_features(shards, each, feed(network), network, shards.folder / str(each.batch_size))
        for each in (stream, few)
    )
    assert np.array_equal(at_once.values, five_at_a_time.values)


def test_a_training_decodes_as_few_at_a_time_as_they_are_large(shards, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(frozen_part, "decoded_at_once", lambda split: 5)
    monkeypatch.setattr(frozen_part, "open_features", lambda _, stream, *rest: asked.append(stream.batch_size))
    flags = ["--preset", "demo", "--stem", "C", "--depth", "18", "--train-part", "classifier", "--aug", "none"]
    flags += ["--localizer", "cam", "--epochs", "0.2", "--step", "eager", "--threads", "1"]
    flags += ["--shards", str(shards.folder), "--run-dir", str(tmp_path / "run")]
    assert run_command(train.main, flags) == 0
    assert asked == [5]


def test_of_a_part_of_what_was_packed_they_are_those_of_the_same_crops(shards):
    """Images that are not held out are numbered anew; kept features are of all that was packed."""
    part = hold_out(shards, 5)
    network, stream = frozen("tail"), stream_of(part, CROPS)
    kept = open_features(shards, stream, feed(network), network, None)
    assert kept.values.shape[1] == 80 > len(stream.split)
    ours, computed = (FrozenPart(network, each).batches(stream, feed(network), 0, 1) for each in (kept, None))
    for _ in range(20):
        assert torch.equal(next(ours).images, next(computed).images)


def test_an_images_features_do_not_depend_on_its_neighbours(shards):
    network = frozen("tail")
    images = torch.randn(20, 3, 64, 64)
    whole = frozen_features(network.model, images, "tail", network.autocast)
    for rows in ([3], [19, 0, 7], range(5, 16)):
        part = frozen_features(network.model, images[list(rows)], "tail", network.autocast)
        assert torch.equal(part, whole[list(rows)])


@pytest.mark.parametrize(
    ("augmentation", "views"),
    [
        (Augmentation("none", False), 1),
        (Augmentation("none", True), 2),
        (Augmentation("gr", False, crops_per_image=5), 5),
        (CROPS, 6),
        (Augmentation("gr", True), 0),
        (Augmentation("gr-hns", True, crops_per_image=5), 0),
        (Augmentation("none", True, color=True), 0),
    ],
)
def test_the_views_that_can_be_kept_are_counted(augmentation, views):
    assert view_count(augmentation) == views


def test_every_kept_view_is_shown_and_crops_come_in_turn(shards):
    stream = stream_of(shards, CROPS)
    ids, seen = np.zeros(60, np.int64) + 5, np.arange(60)
    views = stream.views(ids, seen)
    numbers = view_numbers(CROPS, views, seen)
    assert set(numbers.tolist()) == set(range(6))
    assert np.array_equal(views.windows[:57], views.windows[3:]), "the fourth epoch has the first one's crop again"
    assert len({tuple(each) for each in views.windows.tolist()}) == 3
    assert np.array_equal(numbers % 2, views.flips)


def test_what_is_kept_is_found_again_and_anything_else_is_computed_anew(shards, capsys):
    network = frozen("tail")
    first = opened(shards, network)
    assert "80 images, 6 views each" in capsys.readouterr().out
    before = first.path.stat().st_mtime_ns
    assert opened(shards, network).sha256 == first.sha256
    assert "kept from before" in capsys.readouterr().out
    assert first.path.stat().st_mtime_ns == before
    first.path.unlink()
    assert opened(shards, network).sha256 == first.sha256
    assert "computed once" in capsys.readouterr().out, "what was deleted is not damaged"
    content = bytearray(first.path.read_bytes())
    content[-1] ^= 1
    first.path.write_bytes(content)
    assert opened(shards, network).sha256 == first.sha256
    assert "computed anew, since the file is damaged" in capsys.readouterr().out
    with torch.no_grad():
        next(network.model.groups[0].parameters()).add_(0.01)
    others = opened(shards, network)
    assert others.path != first.path
    assert opened(shards, network, replace(CROPS, image_size=48)).path not in (first.path, others.path)


@pytest.mark.parametrize("option", [{"color": True}, {"mix": "cutmix"}, {"aug": "gr-hns"}, {"crops_per_image": 0}])
def test_views_without_end_are_not_taken_from_what_is_kept_of_plain_ones(shards, option, capsys):
    """All else, the folder too, is as it was when the plain views were kept."""
    assert opened(shards, frozen("tail")) is not None
    assert opened(shards, frozen("tail"), replace(CROPS, **option)) is None
    assert "each epoch has views of its own" in capsys.readouterr().out


def test_features_that_another_version_made_are_computed_anew(shards, monkeypatch, capsys):
    first = opened(shards, frozen("tail"))
    installed = metadata.version
    with monkeypatch.context() as patched:
        patched.setattr(metadata, "version", lambda name: "0.1" if name == "torch" else installed(name))
        other = opened(shards, frozen("tail"))
    assert "computed anew, since another version made them" in capsys.readouterr().out
    assert (other.path, other.sha256) == (first.path, first.sha256), "in the same place, here to the same bits"
    assert np.array_equal(first.values, other.values), "whoever has the old ones open keeps them"
    assert "torch" in json.loads(first.path.with_suffix(".json").read_text())["made_by"]["versions"]


def test_without_room_they_are_computed_in_every_epoch_and_that_is_said(shards, capsys):
    assert opened(shards, frozen("tail"), Augmentation("gr", True)) is None
    assert "each epoch has views of its own; --crops-per-image bounds them" in capsys.readouterr().out
    (shards.folder / "features").write_text("")
    assert opened(shards, frozen("tail")) is None
    assert "cannot be written" in capsys.readouterr().out


def run_flags(shards: Path, run: Path, *more: str) -> list[str]:
    return [
        *("--depth", "18", "--stem", "C", "--batch-size", "16", "--epochs", "2.4", "--aug", "gr", "--flip"),
        *("--crops-per-image", "2", "--train-part", "tail", "--lr", "0.02", "--threads", "1", "--step", "eager"),
        *("--precision", "fp32", "--log-steps", "1", "--shards", str(shards), "--run-dir", str(run), *more),
    ]


@pytest.mark.parametrize("holdout", ["0", "3"])
def test_a_run_is_the_same_to_the_bit_whether_features_are_kept_or_not_and_after_a_stop(
    shards, tmp_path, capsys, holdout
):
    whole, stopped, none = tmp_path / "whole", tmp_path / "stopped", tmp_path / "none"
    assert run_command(train.main, run_flags(shards.folder, whole, "--holdout", holdout)) == 0
    with signalled_after(5, signal.SIGTERM):
        assert run_command(train.main, run_flags(shards.folder, stopped, "--holdout", holdout)) == 75
    assert run_command(train.main, run_flags(shards.folder, stopped, "--holdout", holdout)) == 0
    shutil.rmtree(shards.folder / "features")
    (shards.folder / "features").write_text("")  # in the way
    assert run_command(train.main, run_flags(shards.folder, none, "--holdout", holdout)) == 0
    assert "features cannot be written: File exists" in capsys.readouterr().out
    ends = [newest_valid(run / "checkpoints").tensors for run in (whole, stopped, none)]
    for other in ends[1:]:
        assert other.keys() == ends[0].keys()
        assert all(torch.equal(ends[0][name], other[name]) for name in ends[0])
    momenta = {name for name in ends[0] if name.startswith("momentum.")}
    assert momenta
    assert all(name.startswith(("momentum.groups.3.", "momentum.fc.")) for name in momenta)


def test_a_mask_head_is_the_same_to_the_bit_where_features_cannot_be_kept_or_no_longer(shards, tmp_path, capsys):
    whole, later, none = tmp_path / "whole", tmp_path / "later", tmp_path / "none"

    def flags(run: Path) -> list[str]:
        network = ["--depth", "18", "--stem", "C", "--train-part", "classifier", "--localizer", "mask", "--lr", "0.02"]
        how = ["--threads", "1", "--step", "eager", "--precision", "fp32", "--log-steps", "1", "--batch-size", "16"]
        course = ["--aug", "none", "--flip", "--epochs", "1", "--head-steps", "20", "--head-batch-size", "16"]
        return [*network, *how, *course, "--shards", str(shards.folder), "--run-dir", str(run)]

    assert run_command(train.main, flags(whole)) == 0
    said = capsys.readouterr()
    assert "before the tail" not in said.out
    assert "--train-part classifier: what is not trained has random weights and stays so" in said.err
    with signalled_after(12, signal.SIGTERM):  # 5 steps of the classifier, and 7 of the head
        assert run_command(train.main, flags(later)) == 75
    shutil.rmtree(shards.folder / "features")
    (shards.folder / "features").write_text("")  # in the way
    for run in (later, none):
        assert run_command(train.main, flags(run)) == 0
        assert "features cannot be written: File exists" in capsys.readouterr().out
    ends = [newest_valid(run / "checkpoints").tensors for run in (whole, later, none)]
    assert any(name.startswith("head.") for name in ends[0])
    for other in ends[1:]:
        assert [name for name in ends[0] if not torch.equal(ends[0][name], other[name])] == []


def test_what_is_not_kept_is_told_where_a_folder_was_named(shards, tmp_path, capsys):
    flags = ["--depth", "18", "--stem", "C", "--train-part", "tail", "--localizer", "mask", "--head-steps", "1"]
    flags += ["--threads", "1", "--step", "eager", "--batch-size", "16", "--aug", "none", "--epochs", "0.2"]
    flags += ["--features", str(tmp_path / "features"), "--shards", str(shards.folder)]
    assert run_command(train.main, [*flags, "--run-dir", str(tmp_path / "run")]) == 0
    said = capsys.readouterr().out
    why = "none is kept before the mask head, as its steps show fewer views than there are"
    assert said.count(f"--features {tmp_path / 'features'}: ") == said.count(why) == 1
    assert said.count("computed once") == 1


def test_of_two_machines_one_of_which_cannot_keep_them_none_does(shards, tmp_path):
    """Both go on, to the bits of a training that keeps them."""
    kept, apart = tmp_path / "kept", tmp_path / "apart"
    both = two_commands(train.main, run_flags(shards.folder, kept))
    assert (both.returncode, "computed once" in both.stdout) == (0, True), both.stderr
    machines = [tmp_path / "machine-0", tmp_path / "machine-1"]
    for folder in machines:
        shutil.copytree(shards.folder, folder, ignore=shutil.ignore_patterns("features"))
    (machines[1] / "features").write_text("")  # in the way
    ended = two_machines(train.main, *(run_flags(folder, apart) for folder in machines))
    assert ended.returncode == 0, ended.stderr
    assert "computed in every epoch (process 1 cannot keep them)" in ended.stdout
    ends = [newest_valid(run / "checkpoints").tensors for run in (kept, apart)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_a_network_of_timm_is_known_by_its_version_too(shards, tmp_path, monkeypatch, capsys):
    """By those who find kept features, and by a run that goes on."""
    pytest.importorskip("timm", reason="NOT TESTED with timm, which is not installed")
    run = tmp_path / "run"
    flags = ["--backbone", "mobilenetv2_035", *run_flags(shards.folder, run, "--train-part", "classifier")[4:]]
    with signalled_after(5, signal.SIGTERM):
        assert run_command(train.main, flags) == 75
    there, installed = metadata.version("timm"), metadata.version
    assert json.loads((run / "environment.json").read_text())["starts"][0]["timm"] == there
    monkeypatch.setattr(metadata, "version", lambda name: "0.1" if name == "timm" else installed(name))
    capsys.readouterr()
    assert run_command(train.main, flags) == 2
    assert f"since step 5 was saved: timm {there} -> 0.1;" in capsys.readouterr().err
    assert run_command(train.main, [*flags, "--inexact"]) == 0
    assert "computed once" in capsys.readouterr().out, "not found among those of the other version"


def test_a_run_that_finds_other_features_is_refused(shards, tmp_path, capsys):
    run = tmp_path / "run"
    with signalled_after(5, signal.SIGTERM):
        assert run_command(train.main, run_flags(shards.folder, run)) == 75
    environment = json.loads((run / "environment.json").read_text())
    environment["starts"][0]["features"] = "0" * 64
    (run / "environment.json").write_text(json.dumps(environment))
    assert run_command(train.main, run_flags(shards.folder, run)) == 2
    assert f"features {'0' * 64} -> " in capsys.readouterr().err


def test_crops_of_nothing_are_refused(shards, tmp_path, capsys):
    flags = [
        "--aug",
        "none",
        "--crops-per-image",
        "3",
        "--shards",
        str(shards.folder),
        "--run-dir",
        str(tmp_path / "r"),
    ]
    assert run_command(train.main, flags) == 2
    assert "--crops-per-image 3: --aug none crops nothing; use --aug gr" in capsys.readouterr().err
