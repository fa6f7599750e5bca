"""Attention dropout: the network's is the plain twin's, draws follow from the image alone, runs are trained by it."""

import json
import math

import numpy as np
import pytest
import torch

from fastwsol import train
from fastwsol.batches.drawn_ahead import BatchesWithExtra
from fastwsol.batches.mixing import MixedBatches
from fastwsol.batches.store_batches import StoreBatches
from fastwsol.batches.stream import Stream, training_plan
from fastwsol.config import Augmentation, Config
from fastwsol.draws import draw_drops
from fastwsol.host.command_line import run_command
from fastwsol.host.device import Autocast
from fastwsol.host.errors import UserError
from fastwsol.network.attention_dropout import PLACES, STRONGEST, without_strongest
from fastwsol.network.preact_resnet import build_preact_resnet
from fastwsol.training.step import make_loss

CPU = torch.device("cpu")
BATCH, CLASSES, SEED, RATE = 16, 4, 7, 0.75
CUTMIX = Augmentation("gr", mix="cutmix")


def twin(features, dropped):
    """Image by image and cell by cell, as its paper says it. features: [N, C, h, w]."""
    found = np.empty_like(features)
    for n, image in enumerate(features):
        attention = image.mean(axis=0)
        for y, x in np.ndindex(attention.shape):
            if dropped[n]:
                factor = 0.0 if attention[y, x] > STRONGEST * attention.max() else 1.0
            else:
                factor = 1 / (1 + math.exp(-attention[y, x]))
            found[n, :, y, x] = factor * image[:, y, x]
    return found


@pytest.mark.parametrize("shape", [(4, 8, 8, 8), (3, 5, 1, 1), (2, 1, 4, 7)])
def test_features_are_the_plain_twins(shape):
    features = np.random.default_rng(0).standard_normal(shape).clip(0)
    features[0] = 0  # an image that nothing was found in keeps its zeros
    dropped = np.arange(shape[0]) % 2 == 0
    found = without_strongest(torch.from_numpy(features), torch.from_numpy(dropped))
    np.testing.assert_allclose(found.numpy(), twin(features, dropped), rtol=1e-12)


def test_the_network_hides_behind_its_last_three_groups_alone():
    model = build_preact_resnet(18, "C", CLASSES, 0).double()
    images = torch.randn(2, 3, 64, 64, dtype=torch.float64)
    drops = torch.tensor([[True, False, True], [False, True, False]])
    features = model.groups[0](model.stem(images))
    for place, group in enumerate(model.groups[1:]):
        given = group(features).detach().numpy()
        features = torch.from_numpy(twin(given, drops[:, place].numpy()))
    logits, found = model(images, drops)
    np.testing.assert_allclose(found.numpy(), features.numpy(), rtol=1e-9, atol=1e-12)
    assert torch.allclose(logits, model.fc(features.mean(dim=(2, 3))))
    assert not torch.allclose(logits, model(images)[0])


def test_draws_follow_from_the_image_alone_at_their_rate():
    ids, epochs = np.arange(40_000), np.zeros(40_000, np.int64)
    drops = draw_drops(RATE, PLACES, SEED, ids, epochs)
    assert drops.shape == (40_000, PLACES)
    assert np.abs(drops.mean(axis=0) - RATE).max() < 0.01
    assert np.abs(np.corrcoef(drops.T) - np.eye(PLACES)).max() < 0.02
    assert np.array_equal(draw_drops(RATE, PLACES, SEED, ids[::-1], epochs)[::-1], drops)
    assert not np.array_equal(draw_drops(RATE, PLACES, SEED, ids, epochs + 1), drops)


def batches_of(shards, store, augmentation, start=0, rank=0, world_size=1):
    split = shards.splits["train"]
    plan = training_plan(SEED, len(split), BATCH, rank, world_size)
    size = BATCH // world_size
    stream = Stream(split, plan, size, augmentation, SEED, shards.manifest.statistics)
    without = batches_without(stream, store, start)
    return BatchesWithExtra(without, draw, stream, CPU, start), batches_without(stream, store, start), stream


def draw(ids, epochs):
    return draw_drops(RATE, PLACES, SEED, ids, epochs)


def batches_without(stream, store, start):
    batches = StoreBatches(stream, store, torch.float32, 1, start)
    return batches if stream.augmentation.mix == "none" else MixedBatches(batches, stream, CLASSES, CPU, start)


@pytest.mark.parametrize("augmentation", [Augmentation("gr"), CUTMIX], ids=["gr", "cutmix"])
def test_batches_carry_the_draws_beside_labels_that_stay(shards, store, augmentation):
    batches, without, stream = batches_of(shards, store, augmentation)
    later = batches_of(shards, store, augmentation, start=2)[0]
    for step in range(4):
        batch, plain = next(batches), next(without)
        assert torch.equal(batch.labels, plain.labels)
        assert torch.equal(batch.images, plain.images)
        assert np.array_equal(batch.extra.numpy(), draw_drops(RATE, PLACES, SEED, *stream.plan(step)))
        if step >= 2:
            shown = later.show(later.take())
            assert torch.equal(shown.images, batch.images)
            assert torch.equal(shown.labels, batch.labels)
            assert torch.equal(shown.extra, batch.extra)


def test_processes_together_draw_the_batch_of_one(shards, store):
    one = next(batches_of(shards, store, CUTMIX)[0])
    parts = [next(batches_of(shards, store, CUTMIX, rank=rank, world_size=4)[0]) for rank in range(4)]
    assert torch.equal(torch.cat([each.labels for each in parts]), one.labels)
    assert torch.equal(torch.cat([each.extra for each in parts]), one.extra)


def test_the_loss_is_of_the_network_with_its_drops():
    model = build_preact_resnet(18, "C", CLASSES, 0).eval()
    images, labels = torch.randn(4, 3, 64, 64), torch.tensor([0, 1, 2, 3])
    drops = torch.tensor([[True, False, True], [False, True, False], [True, True, True], [False, False, False]])
    loss, counts = make_loss(model, Autocast(CPU, "fp32"), compiled=False)(images, labels, drops)
    logits, _ = model(images, drops)
    assert torch.equal(loss, torch.nn.functional.cross_entropy(logits, labels))
    assert counts["correct"] == (logits.argmax(1) == labels).sum()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"attention_dropout": 1.0}, "--attention-dropout 1.0: is a share of the views; give 0, or more and less"),
        ({"attention_dropout": -0.1}, "--attention-dropout -0.1: is a share of the views"),
        ({"attention_dropout": math.nan}, "--attention-dropout nan: is a share of the views"),
        (
            {"attention_dropout": 0.5, "backbone": "tf_efficientnet_lite0"},
            "--attention-dropout 0.5: is for preact-resnet, all of it trained; leave it out",
        ),
        ({"attention_dropout": 0.5, "train_part": "tail"}, "--attention-dropout 0.5: is for preact-resnet"),
    ],
)
def test_what_cannot_be_is_refused(values, message):
    with pytest.raises(UserError) as refused:
        Config.of(**values)
    assert str(refused.value).startswith(message)


def test_without_it_a_run_is_the_one_that_it_was():
    assert Config.of(attention_dropout=0).digest() == Config().digest()
    assert Config.of(attention_dropout=RATE).digest() != Config().digest()


def test_a_run_is_trained_by_it(synthetic_shards, tmp_path):
    flags = [
        *("--preset", "demo", "--localizer", "cam", "--stem", "C", "--batch-size", "8", "--lr", "0.02"),
        *("--attention-dropout", str(RATE), "--mix", "cutmix", "--epochs", "0.5", "--log-steps", "1"),
        *("--step", "eager", "--threads", "1", "--shards", str(synthetic_shards)),
    ]
    losses = {}
    for name, more in {"with": [], "without": ["--attention-dropout", "0"]}.items():
        assert run_command(train.main, [*flags, *more, "--run-dir", str(tmp_path / name)]) == 0
        rows = [json.loads(line) for line in (tmp_path / name / "metrics.jsonl").read_text().splitlines()]
        losses[name] = [row["loss"] for row in rows if row["kind"] == "train"]
        assert np.isfinite(losses[name]).all()
    assert losses["with"] != losses["without"]
    report = json.loads((tmp_path / "with" / "report.json").read_text())
    assert report["config"]["network"]["attention_dropout"] == RATE
