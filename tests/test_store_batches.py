"""Batches from a store, by the kernel and by torch: the cold path's batches, whatever step they begin at."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from small_sources import OtherSizes

from fastwsol.batches import drawn_ahead, views_gpu
from fastwsol.batches import views_reference as reference
from fastwsol.batches.dali_batches import DaliBatches
from fastwsol.batches.decoded_store import Store
from fastwsol.batches.store_batches import CHUNK_BYTES, DeviceBatches, StoreBatches
from fastwsol.batches.stream import Stream, evaluation_plan, training_plan, valid_images
from fastwsol.batches.views_cpu import ViewRenderer
from fastwsol.batches.views_gpu import make_show
from fastwsol.config import Augmentation
from fastwsol.dataset.holdout import hold_out
from fastwsol.dataset.packer import pack
from fastwsol.dataset.shards import open_shards
from fastwsol.draws import draw_views
from fastwsol.host.device import Autocast
from fastwsol.host.kept_arrays import KeptArray
from fastwsol.network.preact_resnet import build_preact_resnet

CPU = torch.device("cpu")
BATCH = 16
AUGS = ("none", "hns", "gr", "hns-gr", "gr-hns")
GR_HNS = Augmentation("gr-hns", flip=True, color=False, resampler="bicubic", image_size=64)


def stream_of(shards, augmentation, split=None, size=BATCH) -> Stream:
    split = split or shards.splits["train"]
    plan = training_plan(7, len(split), size)
    return Stream(split, plan, size, augmentation, 7, shards.manifest.statistics)


def pixels_of(store: KeptArray) -> torch.Tensor:
    return torch.from_numpy(np.array(store.values))


def made_by(kind, stream, store, dtype=torch.float32, start=0, threads=1, compiled=False):
    if kind == "kernel":
        return StoreBatches(stream, store, dtype, threads, start)
    return DeviceBatches(stream, pixels_of(store), dtype, compiled, start)


KINDS = ("kernel", "torch")


def levels_apart(shards, a, b) -> torch.Tensor:
    return (a.images - b.images).abs() * torch.tensor(shards.manifest.statistics.std)[:, None, None]


def assert_same(shards, batch, expected) -> None:
    """Masks exactly, pixels within a level and nearly all equal."""
    assert torch.equal(batch.labels, expected.labels)
    assert batch.images.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(batch.images == 0, expected.images == 0)
    apart = levels_apart(shards, batch, expected)
    assert apart.max() < 1.001
    assert (apart > 0.5).float().mean() < 1e-3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("aug", ["gr-hns", "hns-gr"])
def test_a_batch_taken_in_two_parts_is_the_same_batch(shards, store, kind, aug):
    """Shown late, and after others were taken, as where the showing is captured with the step."""
    stream = stream_of(shards, Augmentation(aug, True, True, "bilinear", 64))
    whole, parts = (made_by(kind, stream, store) for _ in range(2))
    taken = [parts.take() for _ in range(12)]
    assert len({frozenset(each) for each in taken}) == 1
    for each in taken:
        batch, shown = next(whole), parts.show(each)
        assert torch.equal(shown.images, batch.images)
        assert torch.equal(shown.labels, batch.labels)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("color", [False, True])
@pytest.mark.parametrize("resampler", ["bicubic", "bilinear"])
@pytest.mark.parametrize("aug", AUGS)
def test_batches_are_those_of_the_cold_path(shards, store, kind, aug, resampler, color):
    """On the CPU to the bit, since the same kernel shows the same pixels; the set has 5 batches, so one straddles."""
    stream = stream_of(shards, Augmentation(aug, True, color, resampler, 64))
    warm, cold = made_by(kind, stream, store), DaliBatches(stream, CPU, threads=1)
    for _ in range(7):
        batch, expected = next(warm), next(cold)
        if kind == "kernel":
            assert torch.equal(batch.images, expected.images)
        if not color:
            assert_same(shards, batch, expected)
        else:  # a level's difference grows through the four steps
            assert levels_apart(shards, batch, expected).max() < 1 + 1.4 + 1.4**2 + 1.4**3


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("aug", AUGS)
@pytest.mark.parametrize("image_size", [64, 48, 32])
def test_batches_equal_the_reference(shards, store, kind, aug, image_size):
    for resampler in ("bicubic", "bilinear"):
        augmentation = Augmentation(aug, True, False, resampler, image_size)
        stream = stream_of(shards, augmentation)
        batch = next(made_by(kind, stream, store, start=4))
        ids, epochs = stream.plan(4)
        views = draw_views(augmentation, 7, ids, epochs, stream.split.widths[ids], stream.split.heights[ids])
        encoded = [stream.split.image(index) for index in ids]
        expected = reference.batch(encoded, views, augmentation, shards.manifest.statistics)
        apart = np.abs(batch.images.permute(0, 2, 3, 1).numpy() - expected) * np.array(shards.manifest.statistics.std)
        assert apart.max() < (1.001 if augmentation.crops or image_size < 64 else 1e-3)


@pytest.mark.parametrize("bicubic", [True, False])
@pytest.mark.parametrize(("length", "size"), [(1, 16), (20, 32), (33, 16), (64, 48)])
def test_weights_that_are_looked_up_are_those_that_are_computed(length, size, bicubic):
    nothing = torch.zeros(3)
    options = views_gpu._ViewOptions(size, True, bicubic, False, nothing, nothing, nothing, torch.float32)
    starts, lengths = torch.tensor([(k, each) for each in range(1, length + 1) for k in range(length + 1 - each)]).T
    mixed = torch.randperm(len(starts), generator=torch.Generator().manual_seed(0))
    computed = views_gpu._weights(starts[mixed], lengths[mixed], length, options)
    options.tables[length] = views_gpu._table(length, options, torch.device("cpu"))
    assert options.tables[length].nbytes == views_gpu._table_bytes(length, size)
    assert torch.equal(views_gpu._weights(starts[mixed], lengths[mixed], length, options), computed)


@pytest.mark.parametrize(
    ("aug", "color", "image_size"), [("hns-gr", False, 64), ("gr-hns", True, 64), ("gr", False, 32)]
)
def test_compiled_views_are_the_eager_ones_and_compiled_once(shards, store, aug, color, image_size, full):
    if not full and aug != "hns-gr":
        pytest.skip("one of three compiled: the others take half a minute each; add --full")
    stream = stream_of(shards, Augmentation(aug, True, color, "bicubic", image_size))
    make_show.cache_clear()
    torch._dynamo.reset()
    compiled, eager = made_by("torch", stream, store, compiled=True), made_by("torch", stream, store)
    counters = torch._dynamo.utils.counters
    counters.clear()
    for _ in range(7):  # across blocks of draws
        apart = levels_apart(shards, next(compiled), next(eager))
        assert apart.max() < (1.001 if not color else 8)
        assert (apart > 0.5).float().mean() < 1e-3
    again = made_by("torch", stream, store, compiled=True)  # as each evaluation in mid-run has its own
    next(again)
    assert counters["stats"]["unique_graphs"] == 1
    assert not counters["graph_break"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [16, 60, 80])
def test_started_at_step_k_the_batches_are_those_of_an_unbroken_stream(shards, store, kind, size):
    stream = stream_of(shards, GR_HNS, size=size)
    unbroken = made_by(kind, stream, store, threads=2)
    expected = [next(unbroken) for _ in range(12)]
    resumed = made_by(kind, stream, store, start=5)
    for k in range(5, 12):
        batch = next(resumed)
        assert torch.equal(batch.images, expected[k].images)
        assert torch.equal(batch.labels, expected[k].labels)


@pytest.mark.parametrize(
    ("kind", "dtype"), [("kernel", torch.bfloat16), ("torch", torch.bfloat16), ("torch", torch.float16)]
)
def test_half_precision_is_what_autocast_would_round_to(shards, store, kind, dtype):
    stream = stream_of(shards, GR_HNS)
    half, full = next(made_by(kind, stream, store, dtype)), next(made_by(kind, stream, store))
    assert half.images.dtype == dtype
    assert torch.equal(half.images, full.images.to(dtype))
    assert half.images.is_contiguous(memory_format=torch.channels_last)


def test_a_network_under_autocast_sees_no_difference_between_halves_and_what_it_rounds_itself(shards, store):
    stream, model = stream_of(shards, GR_HNS, size=2), build_preact_resnet(18, "C", 4, seed=0).eval()
    logits = []
    for dtype in (torch.float32, torch.bfloat16):
        with torch.inference_mode(), Autocast(CPU, "bf16")():
            logits.append(model(next(made_by("kernel", stream, store, dtype)).images)[0])
    assert torch.equal(*logits)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_batch_stays_as_it_is_while_anything_of_it_is_kept(shards, store, dtype):
    """Memory is used again when no tensor looks at it, a view, a detached one or one that autograd keeps included."""
    batches = StoreBatches(stream_of(shards, GR_HNS), store, dtype, threads=2)
    weight = torch.ones(1, 3, 1, 1, dtype=dtype, requires_grad=True)
    kept = [next(batches).images[3:5], next(batches).images.detach().flatten()[100:], next(batches)]
    loss = (next(batches).images * weight).sum()
    copies = [kept[0].clone(), kept[1].clone(), kept[2].images.clone()]
    for _ in range(60):
        next(batches)
    assert torch.equal(kept[0], copies[0])
    assert torch.equal(kept[1], copies[1])
    assert torch.equal(kept[2].images, copies[2])
    loss.backward()
    whole = StoreBatches(stream_of(shards, GR_HNS), store, dtype, threads=1, start=3)
    assert torch.allclose(weight.grad.float().flatten(), next(whole).images.float().sum((0, 2, 3)), rtol=0.02)


def test_memory_is_used_again(shards, store):
    batches = StoreBatches(stream_of(shards, GR_HNS, size=80), store, torch.float32, threads=2)
    places = {next(batches).images.untyped_storage().data_ptr() for _ in range(50)}
    # Being made or ready; the consumer's last and next; and one that its thread has not let go of yet.
    assert len(places) <= 2 + 2 + 1


@pytest.mark.parametrize("kind", KINDS)
def test_images_held_out_are_found_in_the_store_of_the_split_they_were_packed_in(shards, store, kind):
    apart = hold_out(shards, 5)
    for name in ("train", "holdout"):
        stream = stream_of(apart, GR_HNS, apart.splits[name])
        assert stream.split.packed_name == "train"
        assert_same(shards, next(made_by(kind, stream, store)), next(DaliBatches(stream, CPU, threads=1)))


@pytest.mark.parametrize("kind", KINDS)
def test_an_evaluation_shows_every_image_once(shards, kind, tmp_path):
    split, size = shards.splits["val"], 12
    store = Store(shards, "val", tmp_path).open(threads=1)
    plain = dataclasses.replace(GR_HNS, aug="none", flip=False)
    plan = evaluation_plan(len(split), size)
    stream = Stream(split, plan, size, plain, 7, shards.manifest.statistics)
    batches, cold = made_by(kind, stream, store), DaliBatches(stream, CPU, threads=1)
    seen = []
    for step in range(-(-len(split) // size)):
        batch, expected = next(batches), next(cold)
        assert_same(shards, batch, expected)
        seen += batch.labels[: valid_images(step, len(split), size)].tolist()
    assert seen == split.labels.tolist()


def test_no_view_is_made_that_an_evaluation_does_not_ask_for(shards, tmp_path, monkeypatch):
    split, shown = shards.splits["val"], []
    show = ViewRenderer.show
    monkeypatch.setattr(ViewRenderer, "show", lambda *given: (shown.append(given[4].stop), show(*given)))
    store = Store(shards, "val", tmp_path).open(threads=1)
    stream = dataclasses.replace(stream_of(shards, GR_HNS, split, 12), plan=evaluation_plan(len(split), 12), steps=4)
    batches = StoreBatches(stream, store, torch.float32, threads=4)
    assert [len(batch.labels) for batch in batches] == [12] * 4
    assert sum(shown) == 48


def test_large_views_are_made_few_at_a_time(shards, store):
    large = dataclasses.replace(GR_HNS, image_size=512)
    batches = StoreBatches(stream_of(shards, large, size=2), store, torch.float32, threads=1)
    assert next(batches).images.untyped_storage().nbytes() <= CHUNK_BYTES


@pytest.fixture(scope="module")
def oblong(tmp_path_factory) -> Path:
    """Packed images of 50x100 pixels, whose sides 16 cells do not divide."""
    folder = tmp_path_factory.mktemp("oblong") / "shards"
    pack(OtherSizes([(50, 100)]), folder)
    return folder


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("aug", AUGS)
def test_images_of_another_shape_are_stretched_to_the_square(oblong, tmp_path, kind, aug):
    shards = open_shards(oblong)
    store = Store(shards, "train", tmp_path).open(threads=1)
    stream = stream_of(shards, dataclasses.replace(GR_HNS, aug=aug))
    assert_same(shards, next(made_by(kind, stream, store)), next(DaliBatches(stream, CPU, threads=1)))


def test_an_error_of_a_thread_reaches_the_consumer(shards, store):
    stream = stream_of(shards, GR_HNS)
    short = dataclasses.replace(store, values=store.values[:3])
    with pytest.raises(ValueError, match="outside the 3 images"):
        next(StoreBatches(stream, short, torch.float32, threads=1))


@pytest.mark.parametrize("steps", [1, 3, 7])
def test_draws_end_where_the_stream_does(shards, store, monkeypatch, steps):
    """And are those of a stream without end."""
    drawn, whole = [], drawn_ahead._drawn
    monkeypatch.setattr(drawn_ahead, "BLOCK_IMAGES", 3 * BATCH)
    endless = made_by("torch", stream_of(shards, GR_HNS), store, start=2)
    expected = [next(endless) for _ in range(steps)]
    monkeypatch.setattr(drawn_ahead, "_drawn", lambda *what: drawn.append(what[-1]) or whole(*what))
    found = [*made_by("torch", dataclasses.replace(stream_of(shards, GR_HNS), steps=steps), store, start=2)]
    assert [step for each in drawn for step in each] == [*range(2, 2 + steps)]
    for batch, other in zip(found, expected, strict=True):
        assert torch.equal(batch.images, other.images)
        assert torch.equal(batch.labels, other.labels)
