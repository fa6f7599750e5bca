"""Photographs of many sizes at 224 pixels and a network of timm: our paths beside what people write with timm, torch,
torchcam and grad-cam.

    pytest bench/test_photographs.py --benchmark-only --long

The photographs are JPEGs of many sizes, made of the val images of --shards. Each test names its sides. They have the
same images, network, number format and cores, and what they give is compared before anything is timed. torchcam and
grad-cam are of the extra `test`.
"""

import io
import time
from functools import partial
from typing import Any

import numpy as np
import pytest
import rounds
import torch
import torch.nn.functional as F
from PIL import Image
from rounds import Side
from test_pipeline import CPU, started, take, wait_until_idle
from test_predict import make_photos

from fastwsol import pack as pack_command
from fastwsol.batches.dali_batches import DaliBatches
from fastwsol.batches.decoded_store import Store, default_square
from fastwsol.batches.store_batches import StoreBatches
from fastwsol.batches.stream import Batches, Stream, training_plan
from fastwsol.config import Augmentation, Config, Statistics
from fastwsol.dataset.shards import open_shards
from fastwsol.features.feature_batches import FeatureBatches
from fastwsol.features.frozen_network import frozen_features
from fastwsol.host.command_line import run_command
from fastwsol.host.device import pick_autocast
from fastwsol.host.kept_arrays import KeptArray
from fastwsol.localizer.localizing import LocalizingModel
from fastwsol.localizer.mask_head import build_mask_head
from fastwsol.network.networks import build_network
from fastwsol.prediction.predictions import Prediction, Request
from fastwsol.prediction.predictor import Predictor
from fastwsol.prediction.user_images import find_images
from fastwsol.runs.info import RunInfo
from fastwsol.training.step import make_loss, new_state, train_step

pytest.importorskip("timm", reason="NOT MEASURED: needs timm")
pytestmark = pytest.mark.long

BACKBONE, SIZE, BATCH, CLASSES = "tf_efficientnet_lite0", 224, 32, 10
PHOTOS, ROUNDS = 128, 7
TURN = 2
"""Batches of a turn of a network."""
VIEWS_TURN, VIEWS_AHEAD = 32, 16
"""Batches of a turn of views, and those that a side may have made before it: they are used up first."""


@pytest.fixture(scope="session")
def photos(shards, pytestconfig, tmp_path_factory):
    """A folder of two classes of photographs."""
    folder = tmp_path_factory.mktemp("photographs")
    for name in ("a", "b"):
        (folder / name).mkdir()
    make_photos(folder, shards, PHOTOS if pytestconfig.option.benchmark_only else BATCH + 8)
    for k, path in enumerate(sorted(folder.glob("*.jpg"))):
        path.rename(folder / "ab"[k % 2] / path.name)
    return folder


@pytest.fixture(scope="session")
def mixed(photos, tmp_path_factory):
    """The photographs packed."""
    out = tmp_path_factory.mktemp("mixed") / "shards"
    flags = ["--layout", "imagefolder", "--source", str(photos), "--out", str(out)]
    assert run_command(pack_command.main, flags) == 0
    return open_shards(out)


def what(shards):
    return f"{len(shards.splits['train'])} JPEGs of 8 sizes, made of val images"


def stream_of(shards, augmentation):
    split = shards.splits["train"]
    plan = training_plan(0, len(split), BATCH)
    return Stream(split, plan, BATCH, augmentation, 0, shards.manifest.statistics)


class TimmViews(torch.utils.data.Dataset):
    """The views of a stream's positions, by the parts that timm's transforms are made of."""

    def __init__(self, stream, batches):
        from timm.data.transforms import MaybeToTensor, str_to_interp_mode
        from torchvision.transforms import Normalize

        self._split = stream.split
        # Drawn here, so that workers, which are forked, need none of our kernels.
        self._ids, epochs = stream.plans(range(batches))
        self._views = stream.views(self._ids, epochs)
        self._filter = str_to_interp_mode("bicubic")
        self._to_tensor = MaybeToTensor()
        self._normalize = Normalize(*(np.array(each) / 255 for each in stream.statistics))

    def __len__(self):
        return len(self._ids)

    def __getitem__(self, position):
        from torchvision.transforms import functional

        with Image.open(io.BytesIO(self._split.image(int(self._ids[position])))) as opened:
            image = opened.convert("RGB")
        x, y, width, height = self._views.windows[position].tolist()
        image = functional.resized_crop(image, y, x, height, width, (SIZE, SIZE), self._filter)
        if self._views.flips[position]:
            image = functional.hflip(image)
        return self._normalize(self._to_tensor(image))


def timm_loader(shards, augmentation, cores, turn):
    """A turn is the middle of an epoch of a torch DataLoader, whose workers stay alive."""
    views = TimmViews(stream_of(shards, augmentation), 2 + turn + 2 * cores)
    return torch.utils.data.DataLoader(views, BATCH, num_workers=cores, persistent_workers=True, prefetch_factor=2)


def endless(batches, turn):
    """A side that goes on for ever. What it makes ahead is ready before another side's turn begins, and used up before
    its own.
    """
    return Side(lambda: take(batches, turn), lambda: take(batches, VIEWS_AHEAD), wait_until_idle)


@pytest.mark.parametrize("aug", ["gr", pytest.param("none", marks=pytest.mark.like_another)])
def test_views_of_many_sizes(paired_rounds, pytestconfig, mixed, cores, tmp_path, aug):
    """squares: images brought to a square and decoded once. dali: decoded in each epoch. timm dataloader: torch's
    DataLoader, a worker a core, with timm's transforms. A pixel of a square's view is filtered twice.
    """
    exact = Augmentation(aug, flip=True, image_size=SIZE)
    square = default_square(SIZE)
    store = Store(mixed, "train", tmp_path, square).open(cores)
    of_squares = Augmentation(aug, flip=True, image_size=SIZE, store_size=square)
    warm = StoreBatches(stream_of(mixed, of_squares), store, torch.float32, cores)
    cold = DaliBatches(stream_of(mixed, exact), CPU, cores)
    turn = VIEWS_TURN if pytestconfig.option.benchmark_only else 1
    loader = timm_loader(mixed, exact, cores, turn)
    theirs = iter(started(loader))
    firsts = {"squares": next(warm).images, "dali": next(cold).images, "timm dataloader": next(theirs)}
    for _ in theirs:
        pass
    std = torch.tensor(mixed.manifest.statistics.std)[:, None, None]
    apart = {name: float(((images - firsts["dali"]).abs() * std).mean()) for name, images in firsts.items()}
    assert apart["timm dataloader"] < 1.0
    assert apart["squares"] < 4.0
    epoch = iter(())

    def before():
        nonlocal epoch
        torch.set_num_threads(1)
        epoch = iter(loader)
        take(epoch, 2)

    def after():
        for _ in epoch:
            pass
        torch.set_num_threads(cores)

    paired_rounds(
        {
            "squares": endless(warm, turn),
            "dali": endless(cold, turn),
            "timm dataloader": Side(lambda: take(epoch, turn), before, after),
        },
        images=turn * BATCH,
        rounds=ROUNDS,
        data=what(mixed),
        square=square,
        levels_from_dali=apart,
        batch_size=BATCH,
        **vars(exact),
    )


class Given(Batches):
    """The same batches again and again."""

    def __init__(self, images, labels):
        self._taken = {"images": images, "labels": labels}

    def take(self):
        return self._taken


def some_images(count=BATCH):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, 3, SIZE, SIZE, generator=generator).contiguous(memory_format=torch.channels_last)
    return images, torch.randint(CLASSES, (count,), generator=generator)


def test_features(paired_rounds, mixed, cores, tmp_path):
    """first epoch: features of a frozen trunk computed in our parts of eight. timm forward: the bare network's features
    of the same batch. kept: batches of features that were computed before.
    """
    config = Config.of(backbone=BACKBONE, train_part="classifier", image_size=SIZE)
    autocast, (images, _) = pick_autocast("auto", CPU), some_images()
    model = build_network(config, CLASSES).eval()
    net: Any = model.net
    split = mixed.splits["train"]
    values = np.lib.format.open_memmap(tmp_path / "kept.npy", "w+", np.uint16, (2, len(split), 1280, 1, 1))
    kept_stream = stream_of(mixed, Augmentation("none", flip=True, image_size=SIZE))
    kept = FeatureBatches(kept_stream, KeptArray(tmp_path / "kept.npy", values, ""), CPU)

    def ours():
        for _ in range(TURN):
            features = frozen_features(model, images, "classifier", autocast)
        return features

    @torch.no_grad()
    def theirs():
        for _ in range(TURN):
            with autocast():
                features = net.forward_head(net.forward_features(images), pre_logits=True)
        return features

    a, b = ours().flatten(1).float(), theirs().float()
    assert F.cosine_similarity(a, b).min() > 0.999
    paired_rounds(
        {"first epoch": Side(ours), "timm forward": Side(theirs)},
        images=TURN * BATCH,
        rounds=ROUNDS,
        data="a batch of noise",
        backbone=BACKBONE,
        image_size=SIZE,
        precision=autocast.precision,
        kept_batches_per_second=rate_of(kept, 200 if rounds.timed else 2),
        kept_bytes_per_view=values[0, 0].nbytes,
    )


def rate_of(batches, count):
    """Images a second of batches that cost so little that they are timed many at once."""
    take(batches, 10)
    start = time.perf_counter()
    take(batches, count)
    return count * BATCH / (time.perf_counter() - start)


STEP_BATCH, STEP_SIZE = 16, 128


def our_step(config, compiled):
    """A step of ours on one batch; gives the loss so far."""
    autocast = pick_autocast("auto", CPU)
    state = new_state(config, CLASSES, autocast)
    loss_of = make_loss(state.model, autocast, compiled)
    images, labels = step_images()

    def step():
        train_step(state, loss_of, images, labels, 0.001)
        return state.totals.loss

    return step


def timm_step(config, compiled):
    """The same work as a script has it: timm, autocast, torch.optim."""
    autocast = pick_autocast("auto", CPU)
    net: Any = build_network(config, CLASSES).net
    model = net.train()
    decayed = [each for each in model.parameters() if each.ndim > 1]
    others = [each for each in model.parameters() if each.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": config.optimizer.weight_decay}, {"params": others}]
    optimizer = torch.optim.SGD(groups, lr=0.001, momentum=config.optimizer.momentum, nesterov=True)
    forward = torch.compile(model) if compiled else model
    images, labels = step_images()
    total = torch.zeros(())

    def step():
        nonlocal total
        with autocast():
            logits = forward(images)
        loss = F.cross_entropy(logits.float(), labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        total = total + loss.detach() * len(labels)
        return total

    return step


def step_images():
    images, labels = some_images(STEP_BATCH)
    return images[:, :, :STEP_SIZE, :STEP_SIZE].contiguous(memory_format=torch.channels_last), labels


@pytest.mark.parametrize("compiled", [False, pytest.param(True, marks=pytest.mark.like_another)])
def test_fine_tuning_step(paired_rounds, pytestconfig, cores, compiled):
    """ours: a step of the whole network, which also looks for what is not finite. timm loop: a plain one."""
    config = Config.of(backbone=BACKBONE, image_size=STEP_SIZE, batch_size=STEP_BATCH)
    compiled = compiled and pytestconfig.option.benchmark_only  # which takes a minute
    sides = {"ours": our_step(config, compiled), "timm loop": timm_step(config, compiled)}
    losses = {name: [float(step()) for _ in range(2)] for name, step in sides.items()}
    assert losses["ours"] == pytest.approx(losses["timm loop"], rel=0.02)
    paired_rounds(
        {name: Side(step) for name, step in sides.items()},
        images=STEP_BATCH,
        rounds=2 * ROUNDS,
        data="one batch of noise",
        backbone=BACKBONE,
        image_size=STEP_SIZE,
        batch_size=STEP_BATCH,
        compiled=compiled,
        precision=pick_autocast("auto", CPU).precision,
        threads=cores,
    )


def scaled(maps):
    """After ReLU, each map from 0 to 1."""
    maps = maps.clamp(min=0).flatten(1)
    low, high = maps.min(1, keepdim=True).values, maps.max(1, keepdim=True).values
    return (maps - low) / (high - low).clamp(min=1e-12)


def files_to_batches(paths, info):
    """As a script does it: Pillow, a resize, a tensor, a batch."""
    mean, std = map(torch.tensor, info.statistics)
    for first in range(0, len(paths), BATCH):
        pixels = []
        for path in paths[first : first + BATCH]:
            with Image.open(path) as opened:
                image = opened.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BICUBIC)
            pixels.append((torch.from_numpy(np.asarray(image).copy()).float() - mean) / std)
        yield torch.stack(pixels).permute(0, 3, 1, 2)


def test_maps_of_files(paired_rounds, pytestconfig, photos, cores):
    """From files to the map of each image's likeliest class. ours: `Predictor`. torchcam batched: its `CAM`. grad-cam:
    `GradCAM`, batched. torchcam, an image at a time: the loop that its page shows.
    """
    torchcam = pytest.importorskip("torchcam.methods", reason="NOT MEASURED beside torchcam, which is not installed")
    grad_cam = pytest.importorskip("pytorch_grad_cam", reason="NOT MEASURED beside grad-cam, which is not installed")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    config = Config.of(backbone=BACKBONE, image_size=SIZE)
    model = build_network(config, CLASSES).eval()
    names = tuple(f"class {k}" for k in range(CLASSES))
    info = RunInfo(config, photos, "", names, names, Statistics((127.5,) * 3, (127.5,) * 3))
    paths = sorted(photos.rglob("*.jpg"))[: TURN * BATCH if pytestconfig.option.benchmark_only else 8]
    autocast = pick_autocast("fp32", CPU)
    predictor = Predictor(info, LocalizingModel(model), 0, autocast, cores)
    net: Any = build_network(config, CLASSES).eval().net
    net = net.to(memory_format=torch.channels_last)

    def ours():
        predictions = predictor.stream(find_images(paths).images, Request())
        return torch.stack([torch.from_numpy(each.maps[0]) for each in predictions if isinstance(each, Prediction)])

    def torchcam_maps(paths, at_once):
        maps = []
        with torchcam.CAM(net, "bn2", "classifier") as extractor:
            for batch in files_to_batches(paths, info):
                for images in batch.split(at_once):
                    with torch.no_grad():
                        labels = net(images).argmax(1)
                    maps.append(extractor(labels.tolist(), normalized=False)[0])
        return torch.cat(maps)

    def grad_cam_maps():
        maps = []
        with grad_cam.GradCAM(net, [net.bn2]) as extractor:
            for images in files_to_batches(paths, info):
                with torch.no_grad():
                    labels = net(images).argmax(1)
                extractor(images, [ClassifierOutputTarget(label) for label in labels.tolist()])
                activations = extractor.activations_and_grads
                weights = activations.gradients[0].mean((2, 3))
                maps.append(torch.einsum("nchw,nc->nhw", activations.activations[0], weights))
        return torch.cat(maps)

    sides = {
        "ours": ours,
        "torchcam batched": lambda: torchcam_maps(paths, BATCH),
        "torchcam one by one": lambda: torchcam_maps(paths, 1),
        "grad-cam": grad_cam_maps,
    }
    expected = scaled(ours())
    for name, maps in sides.items():
        # Files are resized by two libraries, which a network that has learnt nothing amplifies.
        assert (scaled(maps()) - expected).abs().mean() < 0.05, name
    paired_rounds(
        {name: Side(maps) for name, maps in sides.items()},
        images=len(paths),
        rounds=ROUNDS,
        data=f"{len(paths)} JPEGs of 8 sizes",
        backbone=BACKBONE,
        image_size=SIZE,
        precision="fp32",
        threads=cores,
    )


def test_boxes_by_a_mask(paired_rounds, pytestconfig, photos, cores):
    """From files to the box of each image's likeliest class, by one network with a mask head behind it. mask: by the
    head; mask-cam: by both; cam: by the class activation map alone, the head not asked.
    """
    config = Config.of(backbone=BACKBONE, image_size=SIZE)
    network = build_network(config, CLASSES).eval()
    names = tuple(f"class {k}" for k in range(CLASSES))
    info = RunInfo(config, photos, "", names, names, Statistics((127.5,) * 3, (127.5,) * 3))
    paths = sorted(photos.rglob("*.jpg"))[: TURN * BATCH if pytestconfig.option.benchmark_only else 8]
    autocast = pick_autocast("fp32", CPU)
    with torch.no_grad():
        channels = network.trunk(torch.zeros(1, 3, SIZE, SIZE)).shape[1]
    head = build_mask_head(channels, 0).eval()
    predictors = {
        "mask": Predictor(info, LocalizingModel(network, head), 0, autocast, cores, "mask"),
        "mask-cam": Predictor(info, LocalizingModel(network, head), 0, autocast, cores, "mask-cam"),
        "cam": Predictor(info, LocalizingModel(network), 0, autocast, cores, "cam"),
    }
    images = find_images(paths).images

    def predictions(name):
        found = predictors[name].stream(images, Request())
        return [each.classes[0].wnid for each in found if isinstance(each, Prediction)]

    assert predictions("mask") == predictions("mask-cam") == predictions("cam")
    paired_rounds(
        {name: Side(partial(predictions, name)) for name in predictors},
        images=len(paths),
        rounds=ROUNDS,
        data=f"{len(paths)} JPEGs of 8 sizes",
        backbone=BACKBONE,
        image_size=SIZE,
        precision="fp32",
        threads=cores,
    )
