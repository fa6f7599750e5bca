"""The network: the paper's shapes and sizes, TensorFlow's padding, and maps that lie over the pixels they saw."""

import itertools

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from fastwsol.network.cam import class_activation_maps
from fastwsol.network.preact_resnet import (
    ImageConv2d,
    SameConv2d,
    SameMaxPool2d,
    build_preact_resnet,
    same_padding,
)

pytestmark = pytest.mark.usefixtures("real_width_in_module")


@pytest.mark.parametrize(
    ("depth", "stem", "cells", "gmac"),
    [
        (18, "A", 8, 0.99),
        (18, "B", 16, 3.86),
        (18, "C", 4, 0.25),
        (34, "A", 8, 1.83),
        (34, "B", 16, 7.19),
        (34, "C", 4, 0.46),
    ],
)
def test_networks_have_the_papers_maps_and_work(depth, stem, cells, gmac):
    model = build_preact_resnet(depth, stem, 200, seed=0).eval()
    with FlopCounterMode(display=False) as flops:
        logits, features = model(torch.zeros(1, 3, 64, 64))
    assert logits.shape == (1, 200)
    assert features.shape == (1, 512, cells, cells)
    assert flops.get_total_flops() / 2e9 == pytest.approx(gmac, abs=0.006)


def test_features_carry_no_gradient():
    _, features = build_preact_resnet(18, "C", 5, seed=0)(torch.zeros(2, 3, 64, 64))
    assert not features.requires_grad


def test_weights_come_from_the_seed_alone():
    torch.manual_seed(1)
    first = build_preact_resnet(18, "C", 5, seed=3).state_dict()
    torch.manual_seed(2)
    again = build_preact_resnet(18, "C", 5, seed=3).state_dict()
    other = build_preact_resnet(18, "C", 5, seed=4).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["fc.weight"], other["fc.weight"])


def test_weights_have_the_variance_of_their_fan():
    model = build_preact_resnet(18, "A", 200, seed=0)
    conv = model.groups[3][1].conv1.weight
    assert conv.var().item() == pytest.approx(2 / (512 * 9), rel=0.01)
    assert model.fc.weight.var().item() == pytest.approx(2 / 512, rel=0.03)
    assert not model.fc.bias.any()


def test_blocks_are_preactivated_but_for_the_first_of_a_group():
    model = build_preact_resnet(34, "A", 200, seed=0)
    for group, (count, changes) in zip(model.groups, [(3, False), (4, True), (6, True), (3, True)], strict=True):
        blocks = list(group)[:-1]
        assert len(blocks) == count
        assert isinstance(blocks[0].preactivation, torch.nn.Identity)
        assert isinstance(blocks[0].shortcut, SameConv2d) == changes
        assert all(not isinstance(block.preactivation, torch.nn.Identity) for block in blocks[1:])
    assert all(module.bias is None for module in model.modules() if isinstance(module, torch.nn.Conv2d))


def test_the_strides_of_the_groups_are_1_2_2_1():
    model = build_preact_resnet(18, "A", 10, seed=0)
    assert [group[0].conv1.stride[0] for group in model.groups] == [1, 2, 2, 1]


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "expected"),
    [(64, 3, 2, (0, 1)), (64, 7, 2, (2, 3)), (64, 7, 1, (3, 3)), (64, 1, 2, (0, 0)), (33, 3, 2, (1, 1))],
)
def test_same_padding_is_tensorflows(size, kernel, stride, expected):
    assert same_padding(size, kernel, stride) == expected


@pytest.mark.parametrize("layer", [SameConv2d(1, 1, 3, 2), SameConv2d(1, 1, 7, 2), SameMaxPool2d()])
def test_strided_layers_pad_each_side_as_tensorflow_does(layer):
    """Each output cell's window, read off which pixels it answers to: rows and columns apart, all but the rim."""
    kernel = layer.kernel_size[0] if isinstance(layer, SameConv2d) else 3
    before, _ = same_padding(12, kernel, 2)
    if isinstance(layer, SameConv2d):
        torch.nn.init.ones_(layer.weight)
    for row, column in itertools.product(range(12), repeat=2):
        pixel = torch.zeros(1, 1, 12, 12)
        pixel[0, 0, row, column] = 1
        answers = layer(pixel)[0, 0] > 0
        for y, x in itertools.product(range(6), repeat=2):
            inside = 0 <= row - (2 * y - before) < kernel and 0 <= column - (2 * x - before) < kernel
            assert bool(answers[y, x]) == inside


def test_what_lies_outside_the_image_never_wins_the_maxpool():
    pooled = SameMaxPool2d()(torch.full((1, 1, 4, 4), -5.0))
    assert pooled.shape == (1, 1, 2, 2)
    assert (pooled == -5).all()


def _field_offsets(stem):
    """How far, in pixels, the inner cells' effective fields lie from where half-pixel upsampling draws the cells.

    float [2 axes]: down and right are positive. The effective field of Luo et al. (2016): the size of the gradient of
    a cell's features by each pixel, over random images, weights and weightings of the features, without BN's scaling.
    The mean is over the four cells around the centre, from which the image's edges cut equal parts off all sides.
    """
    stride = {"A": 8, "B": 4, "C": 16}[stem]
    middle = 64 // stride // 2
    pixels = torch.arange(64, dtype=torch.float32)
    offsets = []
    for seed in range(2):
        model = build_preact_resnet(18, stem, 10, seed).eval()
        generator = torch.Generator().manual_seed(seed)
        images = torch.randn(1, 3, 64, 64, generator=generator).requires_grad_()
        features = model.groups(model.stem(images))
        for cell in itertools.product((middle - 1, middle), repeat=2):
            weights = torch.randn(features.shape[1], generator=generator)
            out = (features[:, :, cell[0], cell[1]] * weights).sum()
            (gradient,) = torch.autograd.grad(out, images, retain_graph=True)
            field = gradient.abs().sum((0, 1))
            found = [(field.sum(1 - axis) * pixels).sum() / field.sum() for axis in (0, 1)]
            offsets.append([float(found[axis]) - ((cell[axis] + 0.5) * stride - 0.5) for axis in (0, 1)])
    return np.mean(offsets, axis=0)


TOLERANCE = 0.9
"""Pixels: half a pixel of the maxpool's own (docs/paper.md: within 0.6), and the spread over a few random networks."""


@pytest.mark.parametrize("stem", ["A", "B", "C"])
def test_cells_look_at_the_pixels_they_are_drawn_over(stem):
    assert np.abs(_field_offsets(stem)).max() < TOLERANCE


@pytest.mark.parametrize("stem", ["A", "B", "C"])
def test_symmetric_padding_would_shift_every_cell_up_and_left(stem, monkeypatch):
    """The test above is worth something: with the usual padding the same measurement is far off, on both axes."""
    monkeypatch.setattr(
        "fastwsol.network.preact_resnet.same_padding", lambda size, kernel, stride: (kernel // 2, kernel // 2)
    )
    assert _field_offsets(stem).max() < -TOLERANCE


def test_cam_is_the_class_weights_over_the_features():
    features = torch.randn(3, 4, 2, 5)
    weight = torch.randn(7, 4)
    classes = torch.tensor([6, 0, 6])
    maps = class_activation_maps(features, weight, classes)
    for image in range(3):
        expected = sum(weight[classes[image], c] * features[image, c] for c in range(4))
        assert torch.allclose(maps[image], expected, atol=1e-6)


def test_a_classes_logit_is_the_mean_of_its_map():
    """Averaging commutes with the contraction, so map and logit tell one story (Zhou et al. 2016, equation 2)."""
    model = build_preact_resnet(18, "A", 5, seed=0).eval()
    with torch.no_grad():
        logits, features = model(torch.randn(2, 3, 64, 64))
    maps = class_activation_maps(features, model.fc.weight, torch.tensor([3, 1]))
    assert torch.allclose(maps.mean((1, 2)), logits[[0, 1], [3, 1]], atol=1e-4)


def test_decay_is_on_weights_only_and_the_backbone_ends_before_the_last_group():
    model = build_preact_resnet(18, "A", 5, seed=0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    seen = set()
    for group in model.parameter_groups(weight_decay=0.5, backbone_lr_mult=0.1):
        for parameter in group["params"]:
            name = names[id(parameter)]
            seen.add(name)
            is_weight = name == "fc.weight" or ".conv" in name or ".shortcut" in name or name == "stem.0.weight"
            assert group["weight_decay"] == (0.5 if is_weight else 0.0), name
            assert group["lr_mult"] == (1.0 if name.startswith(("groups.3", "fc")) else 0.1), name
    assert seen == set(names.values())


@pytest.mark.parametrize("stride", [1, 2])
def test_a_fourth_channel_of_zeros_changes_neither_maps_nor_gradients(stride):
    conv = ImageConv2d(8, 7, stride).double()
    images = torch.randn(2, 3, 16, 16, dtype=torch.float64)
    maps = conv(images)
    (expected,) = torch.autograd.grad(maps.square().sum(), conv.weight)
    found = conv.on_four_channels(images)
    torch.testing.assert_close(found, maps)
    torch.testing.assert_close(torch.autograd.grad(found.square().sum(), conv.weight)[0], expected)
