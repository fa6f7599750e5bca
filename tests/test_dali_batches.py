"""The DALI pipeline against its twin in Pillow and NumPy, and its place in the endless stream."""

import dataclasses
import gc
import time
import weakref

import numpy as np
import pytest
import torch
from conftest import with_damaged_images
from small_sources import OtherSizes

from fastwsol.batches import dali_batches as pipeline
from fastwsol.batches import views_reference as reference
from fastwsol.batches.dali_batches import DaliBatches
from fastwsol.batches.image_checksums import ImageChecksums, dies_of_bad_images
from fastwsol.batches.stream import Stream, evaluation_plan, training_plan, valid_images
from fastwsol.config import Augmentation
from fastwsol.dataset.packer import pack
from fastwsol.dataset.shards import open_shards
from fastwsol.draws import draw_views
from fastwsol.host.errors import RunFailure

CPU = torch.device("cpu")
BATCH = 16
AUGS = ("none", "hns", "gr", "hns-gr", "gr-hns")
GR_HNS = Augmentation("gr-hns", flip=True, color=False, resampler="bicubic", image_size=64)


def batches_of(shards, augmentation, start=0, plan=None, threads=1):
    split = shards.splits["train"]
    plan = plan or training_plan(7, len(split), BATCH)
    return DaliBatches(Stream(split, plan, BATCH, augmentation, 7, shards.manifest.statistics), CPU, threads, start)


def test_a_pipeline_goes_with_its_batches(shards):
    """And not when Python next looks for cycles: its threads and memory would stay until then."""
    batches = batches_of(shards, GR_HNS)
    next(batches)
    pipeline_of = weakref.ref(batches._pipeline)
    gc.disable()
    try:
        del batches
        end = time.monotonic() + 10  # a thread of it may be feeding, and holds it until it has fed
        while pipeline_of() is not None and time.monotonic() < end:
            time.sleep(0.01)
        assert pipeline_of() is None
    finally:
        gc.enable()


def reference_batch(shards, augmentation, step):
    split = shards.splits["train"]
    ids, epochs = training_plan(7, len(split), BATCH)(step)
    views = draw_views(augmentation, 7, ids, epochs, split.widths[ids], split.heights[ids])
    images = [split.image(index) for index in ids]
    return reference.batch(images, views, augmentation, shards.manifest.statistics), views


def levels_apart(shards, batch, expected):
    """The difference in 8-bit levels, [N, S, S, 3]."""
    return np.abs(batch.images.permute(0, 2, 3, 1).numpy() - expected) * np.array(shards.manifest.statistics.std)


@pytest.fixture(params=["kernel", "operators"])
def form(request, monkeypatch):
    """The two forms of what comes after decoding; DALI's operators otherwise run on a CPU in rare cases alone."""
    if request.param == "operators":
        monkeypatch.setattr(pipeline, "kernel_serves", lambda device: False)
    return request.param


@pytest.mark.parametrize("aug", AUGS)
@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("resampler", ["bicubic", "bilinear"])
def test_batches_equal_the_reference(shards, form, aug, flip, resampler):
    """Within one level where pixels are resampled (few are even that far off), else but for float rounding."""
    augmentation = Augmentation(aug, flip, False, resampler, 64)
    batches = batches_of(shards, augmentation)
    assert (batches._show is not None) == (form == "kernel")
    for step in range(6):  # the set has 5 batches: one step lies in the second epoch
        expected, _ = reference_batch(shards, augmentation, step)
        apart = levels_apart(shards, next(batches), expected)
        assert apart.max() < (1.001 if augmentation.crops else 1e-3)
        assert (apart > 0.5).mean() < 0.02


@pytest.mark.parametrize("aug", AUGS)
def test_colour_jitter_follows_the_reference(shards, form, aug):
    """A level's difference grows through the four steps (by 1.4 a step at most), and stays rare."""
    augmentation = Augmentation(aug, True, True, "bicubic", 64)
    batch = next(batches_of(shards, augmentation))
    apart = levels_apart(shards, batch, reference_batch(shards, augmentation, 0)[0])
    assert apart.max() < 1 + 1.4 + 1.4**2 + 1.4**3
    assert (apart > 0.5).mean() < 0.02


def test_hidden_cells_hold_the_mean_exactly(shards, form):
    batch = next(batches_of(shards, GR_HNS))
    _, views = reference_batch(shards, GR_HNS, 0)
    hidden = views.cells.repeat(4, 1).repeat(4, 2) == 0
    assert hidden.any()
    images = batch.images.permute(0, 2, 3, 1).numpy()
    assert (images[hidden] == 0).all()
    assert (images[~hidden] != 0).mean() > 0.99


def test_images_that_are_not_padded_give_the_same_batches(shards, form, monkeypatch):
    padded = next(batches_of(shards, GR_HNS)).images
    monkeypatch.setattr("fastwsol.dataset.shards._MOST_PADDED", 100)
    torch.testing.assert_close(next(batches_of(shards, GR_HNS)).images, padded, rtol=0, atol=0)


def test_batches_are_channels_last_and_labelled(shards):
    split = shards.splits["train"]
    batches = batches_of(shards, GR_HNS)
    ids, _ = batches._stream.plan(0)
    batch = next(batches)
    assert batch.images.shape == (BATCH, 3, 64, 64)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert batch.images.dtype == torch.float32
    assert np.array_equal(batch.labels.numpy(), split.labels[ids])


def test_a_batch_stays_as_it_is_while_later_ones_are_made(shards, form):
    batches = batches_of(shards, GR_HNS)
    first = next(batches)
    copy = first.images.clone()
    for _ in range(8):
        next(batches)
    assert torch.equal(first.images, copy)


def test_a_pipeline_started_at_step_k_gives_what_an_unbroken_one_gives(shards, form):
    unbroken = batches_of(shards, GR_HNS, threads=2)
    expected = [next(unbroken) for _ in range(9)]
    resumed = batches_of(shards, GR_HNS, start=4)
    for step in range(4, 9):
        batch = next(resumed)
        assert torch.equal(batch.labels, expected[step].labels)
        assert torch.equal(batch.images, expected[step].images)


def test_images_of_other_sizes_are_stretched_to_the_square(tmp_path, form):
    pack(OtherSizes([(50, 100), (81, 100), (112, 100)]), tmp_path / "shards")
    shards = open_shards(tmp_path / "shards")
    for aug in ("none", "gr", "hns-gr"):
        augmentation = dataclasses.replace(GR_HNS, aug=aug)
        apart = levels_apart(
            shards, next(batches_of(shards, augmentation)), reference_batch(shards, augmentation, 0)[0]
        )
        assert apart.max() < 1.001


def test_evaluation_shows_every_image_once_and_marks_padding(shards):
    count = len(shards.splits["val"])
    plan = evaluation_plan(count, 12)
    shown = [plan(step)[0][: valid_images(step, count, 12)] for step in range(-(-count // 12))]
    assert np.array_equal(np.concatenate(shown), np.arange(count))
    assert all(len(plan(step)[0]) == 12 for step in range(5)), "shapes are static"


def test_an_image_that_does_not_decode_is_named(shards, form):
    split = shards.splits["train"]
    ids, _ = training_plan(7, len(split), BATCH)(0)
    bad = int(ids[3])
    with pytest.raises(RunFailure, match=split.names([bad])[0]):
        next(batches_of(with_damaged_images(shards, "train", [bad]), GR_HNS))


def test_where_dali_would_end_the_process_an_image_that_changed_never_reaches_it(shards, form, monkeypatch):
    monkeypatch.setattr(pipeline, "dies_of_bad_images", lambda *_: True)
    decoded = []
    monkeypatch.setattr(pipeline, "decode", decoded.append)
    damaged = with_damaged_images(shards, "train", [])
    split = damaged.splits["train"]
    batches, whole = batches_of(damaged, GR_HNS), batches_of(shards, GR_HNS)
    assert torch.equal(next(batches).images, next(whole).images)
    ids, _ = training_plan(7, len(split), BATCH)(4)
    split.damaged.append(int(ids[3]))
    name = split.names([ids[3]])[0]
    with pytest.raises(RunFailure, match=f"step 4 of train cannot be decoded: {name} changed since this command"):
        [next(batches) for _ in range(5)]
    assert not decoded, "nothing asks DALI, nor a decoder, about it"


def test_an_image_that_changed_before_a_later_phase_of_the_run_does_not_reach_it_either(shards, monkeypatch):
    """What it was is known from when the run began; a run's own part of the split is held to the same."""
    monkeypatch.setattr(pipeline, "dies_of_bad_images", lambda *_: True)
    damaged = with_damaged_images(shards, "train", [])
    split = damaged.splits["train"]
    checksums = ImageChecksums(split, threads=2)
    split.damaged += [13, 40]
    part = split.subset("train", np.arange(10, 60))
    part.damaged = [3, 30]
    plan = training_plan(7, len(part), BATCH)
    stream = Stream(part, plan, BATCH, GR_HNS, 7, shards.manifest.statistics)
    with pytest.raises(RunFailure) as failed:
        [next(DaliBatches(stream, CPU, 1, step, checksums=checksums)) for step in range(4)]
    assert any(name in str(failed.value) for name in split.names([13, 40]))
    checksums = ImageChecksums(part, threads=2)
    next(DaliBatches(stream, CPU, 1, checksums=checksums))


@pytest.mark.parametrize("color", [False, True])
@pytest.mark.parametrize("decoding", ["host", "mixed"])
def test_the_process_is_in_danger_on_a_gpu_where_the_host_decodes(color, decoding):
    augmentation = Augmentation("gr", color=color)
    expected = decoding == "host" or color
    assert dies_of_bad_images(torch.device("cuda"), augmentation, decoding) == expected
    assert not dies_of_bad_images(CPU, augmentation, decoding)


def test_real_images_equal_the_reference(real_source, tmp_path):
    """Grey ones among them; windows, masks, flips and decoded pixels of 400 images."""
    from fastwsol.sources.tiny_imagenet import TinyImageNet

    pack(TinyImageNet(real_source, class_count=1), tmp_path / "shards")
    shards = open_shards(tmp_path / "shards")
    for aug in AUGS:
        augmentation = Augmentation(aug, True, False, "bicubic", 64)
        batches = batches_of(shards, augmentation)
        for step in range(5):
            expected, _ = reference_batch(shards, augmentation, step)
            apart = levels_apart(shards, next(batches), expected)
            assert apart.max() < (1.001 if augmentation.crops else 1e-3)
