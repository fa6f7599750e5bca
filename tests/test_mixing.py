"""Images mixed in pairs: every path's batches are the plain twin's, and a training by them is exact and resumable."""

import dataclasses
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from fastwsol import train
from fastwsol.batches import views_reference as reference
from fastwsol.batches.dali_batches import DaliBatches
from fastwsol.batches.feed import Feed
from fastwsol.batches.mixing import MixedBatches
from fastwsol.batches.store_batches import DeviceBatches, StoreBatches
from fastwsol.batches.stream import Stream, training_plan
from fastwsol.config import Augmentation, Config
from fastwsol.draws import draw_mixes
from fastwsol.host.command_line import run_command
from fastwsol.host.device import Autocast
from fastwsol.host.errors import UserError
from fastwsol.training.feasibility import check_batch_sizes
from fastwsol.training.frozen_part import mask_views

CPU = torch.device("cpu")
BATCH, CLASSES, SEED = 16, 4, 7
CUTMIX = Augmentation("gr", flip=True, mix="cutmix", mix_share=0.75)
MIXUP = dataclasses.replace(CUTMIX, mix="mixup")
BOTH = pytest.mark.parametrize("augmentation", [CUTMIX, MIXUP], ids=["cutmix", "mixup"])


def stream_of(shards, augmentation, size=BATCH, rank=0, world_size=1) -> Stream:
    split = shards.splits["train"]
    plan = training_plan(SEED, len(split), size, rank, world_size)
    return Stream(split, plan, size // world_size, augmentation, SEED, shards.manifest.statistics)


def made_by(kind, stream, store, start=0, dtype=torch.float32):
    if kind == "dali":
        inner = DaliBatches(stream, CPU, 1, start)
    elif kind == "kernel":
        inner = StoreBatches(stream, store, dtype, 1, start)
    else:
        inner = DeviceBatches(stream, torch.from_numpy(np.array(store.values)), dtype, False, start)
    return MixedBatches(inner, stream, CLASSES, CPU, start)


def plain(stream, store, start=0):
    """The batch as it is before it is mixed."""
    return next(StoreBatches(stream, store, torch.float32, 1, start))


def expected(stream, store, step):
    batch, (ids, epochs) = plain(stream, store, step), stream.plan(step)
    images = batch.images.permute(0, 2, 3, 1).numpy()
    mixes = draw_mixes(stream.augmentation, SEED, ids, epochs)
    return reference.mixed(images, batch.labels.numpy(), CLASSES, mixes, stream.augmentation.mix)


@BOTH
@pytest.mark.parametrize("kind", ["dali", "kernel", "torch"])
def test_every_path_mixes_as_the_plain_twin_does(shards, store, augmentation, kind):
    """Where the views before are equal to the bit, so are the mixed ones under CutMix; labels always."""
    stream = stream_of(shards, augmentation)
    batches = made_by(kind, stream, store)
    for step in range(3):
        batch, (images, shares) = next(batches), expected(stream, store, step)
        assert np.array_equal(batch.labels.numpy(), shares)
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        found = batch.images.permute(0, 2, 3, 1).numpy()
        if kind != "torch" and augmentation.mix == "cutmix":
            assert np.array_equal(found, images)
        levels = np.abs(found - images) * np.array(shards.manifest.statistics.std)
        assert levels.max() < 1.001
        assert (levels > 0.5).mean() < 1e-3


@BOTH
@pytest.mark.parametrize("kind", ["kernel", "torch"])
def test_a_batch_taken_in_two_parts_is_the_same_batch_whatever_step_it_begins_at(shards, store, augmentation, kind):
    stream = stream_of(shards, augmentation)
    whole, parts = made_by(kind, stream, store), made_by(kind, stream, store, start=5)
    taken = [parts.take() for _ in range(4)]
    assert len({frozenset(each) for each in taken}) == 1
    batches = [next(whole) for _ in range(9)][5:]
    for each, batch in zip(taken, batches, strict=True):
        shown = parts.show(each)
        assert torch.equal(shown.images, batch.images)
        assert torch.equal(shown.labels, batch.labels)


@BOTH
def test_processes_together_mix_the_batch_of_one(shards, store, augmentation):
    one = next(made_by("kernel", stream_of(shards, augmentation), store))
    parts = [next(made_by("kernel", stream_of(shards, augmentation, BATCH, rank, 4), store)) for rank in range(4)]
    assert torch.equal(torch.cat([each.images for each in parts]), one.images)
    assert torch.equal(torch.cat([each.labels for each in parts]), one.labels)


@BOTH
def test_the_forward_pass_number_format_stays(shards, store, augmentation):
    stream = stream_of(shards, augmentation)
    coarse = next(made_by("kernel", stream, store, dtype=torch.bfloat16))
    assert coarse.images.dtype == torch.bfloat16
    assert coarse.labels.dtype == torch.float32
    fine = next(made_by("kernel", stream, store))
    assert (coarse.images.float() - fine.images).abs().max() < 0.03


def test_draws_are_what_the_papers_say():
    ids, epochs = np.arange(20_000), np.zeros(20_000, np.int64)
    for augmentation in (CUTMIX, MIXUP):
        mixes = draw_mixes(augmentation, SEED, ids, epochs)
        assert ((mixes.kept >= 0) & (mixes.kept <= 1)).all()
        x, y, width, height = mixes.windows.T
        assert (mixes.windows >= 0).all()
        assert (x + width <= 64).all()
        assert (y + height <= 64).all()
        if augmentation.mix == "cutmix":
            assert np.allclose(mixes.kept, 1 - width * height / 64**2, atol=1e-6)
            whole = (width == height) & (width > 0)
            assert whole.mean() > 0.1, "windows that no edge cuts off are squares, as the image is"
        else:
            assert abs((mixes.kept == 1).mean() - 0.25) < 0.01
            assert abs(mixes.kept[mixes.kept < 1].mean() - 0.5) < 0.01
            assert not mixes.windows.any()
    again = draw_mixes(CUTMIX, SEED, ids[::-1], epochs)
    assert np.array_equal(again.windows[::-1], draw_mixes(CUTMIX, SEED, ids, epochs).windows)
    assert not np.array_equal(draw_mixes(CUTMIX, SEED, ids, epochs + 1).windows, again.windows[::-1])


def test_a_share_of_one_mixes_every_view():
    mixes = draw_mixes(dataclasses.replace(MIXUP, mix_share=1), SEED, np.arange(1000), np.zeros(1000, np.int64))
    assert (mixes.kept < 1).all()


def test_windows_are_of_the_square_that_is_shown():
    small = dataclasses.replace(CUTMIX, image_size=32)
    mixes = draw_mixes(small, SEED, np.arange(1000), np.zeros(1000, np.int64))
    assert (mixes.windows[:, :2] + mixes.windows[:, 2:]).max() == 32


@BOTH
def test_neither_evaluations_nor_mask_heads_see_mixed_images(augmentation):
    assert augmentation.plain.mix == "none"
    assert mask_views(augmentation).mix == "none"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"mix": "cutmix", "batch_size": 7},
            "--batch-size 7: --mix cutmix mixes a batch in pairs; give an even",
        ),
        ({"mix": "blend"}, "--mix blend: choose from none, cutmix, mixup"),
        ({"mix_share": 0.0}, "--mix-share 0.0: is a share of the views; give more than 0, and 1 at most"),
        ({"mix_share": 1.5}, "--mix-share 1.5: is a share of the views"),
    ],
)
def test_what_cannot_be_is_refused(values, message):
    with pytest.raises(UserError) as refused:
        Config.of(**values)
    assert str(refused.value).startswith(message)


def test_processes_with_half_a_pair_each_are_refused():
    world = SimpleNamespace(size=2)
    with pytest.raises(UserError, match="use a multiple of 4"):
        check_batch_sizes(Config.of(mix="cutmix", batch_size=6), 100, world)
    check_batch_sizes(Config.of(mix="cutmix", batch_size=8), 100, world)


def test_without_mixing_a_run_is_the_one_that_it_was():
    assert Config.of(mix="none").digest() == Config().digest()
    assert Config.of(mix="cutmix").digest() != Config().digest()
    assert "mix" in Config().to_json()["views"]


@BOTH
def test_a_run_is_trained_by_mixed_images(synthetic_shards, tmp_path, augmentation):
    flags = [
        *("--preset", "demo", "--localizer", "cam", "--stem", "C", "--batch-size", "8", "--lr", "0.02"),
        *("--mix", augmentation.mix, "--epochs", "0.5", "--log-steps", "1", "--step", "eager"),
        *("--shards", str(synthetic_shards), "--run-dir", str(tmp_path / "run")),
    ]
    assert run_command(train.main, flags) == 0
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [row["loss"] for row in rows if row["kind"] == "train"]
    assert np.isfinite(losses).all()
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["config"]["views"]["mix"] == augmentation.mix


@BOTH
def test_what_is_decoded_each_time_is_mixed_to_the_stores_bits_in_bf16_too(shards, store, augmentation):
    """Views are rounded before they are mixed, wherever they come from."""
    stream, kept = stream_of(shards, augmentation), {("train", 0): store}
    autocast = Autocast(CPU, "bf16")
    feeds = [Feed(autocast, 1, False, stores, CLASSES) for stores in (kept, {})]
    ours, theirs = (next(feed.batches(stream)) for feed in feeds)
    assert ours.images.dtype == theirs.images.dtype == torch.bfloat16
    assert torch.equal(ours.images, theirs.images)
