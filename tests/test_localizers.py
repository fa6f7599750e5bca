"""Localizers against their plain twins, and what each says of itself."""

import itertools

import numpy as np
import pytest
import slow_localizers as slow
import torch
from torch.nn import functional as F

from fastwsol.evaluation.thresholds import box_free_threshold, otsu_thresholds
from fastwsol.localizer.ddt import DdtDirections, direction_of
from fastwsol.localizer.localizers import LOCALIZERS
from fastwsol.localizer.localizing import LocalizingModel
from fastwsol.localizer.mask_head import build_mask_head
from fastwsol.localizer.mask_training import REST_TELLS, Steering, ratio_of_rest
from fastwsol.network import preact_resnet
from fastwsol.network.preact_resnet import build_preact_resnet
from kernels import reference


@pytest.fixture(scope="module")
def model():
    """A network with random weights, and a head behind its cut whose BN has seen something."""
    network = build_preact_resnet(18, "A", 5, seed=1)
    head = build_mask_head(preact_resnet.WIDTHS[2], seed=2)
    with torch.no_grad():
        generator = torch.Generator().manual_seed(3)
        head.bn.running_mean.uniform_(-0.5, 0.5, generator=generator)
        head.bn.running_var.uniform_(0.5, 2, generator=generator)
        head.conv2.bias.fill_(0.3)
    return LocalizingModel(network, head).eval()


@pytest.fixture(scope="module")
def passed(model):
    images = torch.randn(6, 3, 64, 64, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        return model(images)


CLASSES = torch.tensor([0, 1, 2, 3, 4, 0])


def test_each_localizer_gives_its_twins_maps(model, passed):
    features, weights = passed.features.numpy(), model.network.classifier.weight.detach().numpy()
    masks = slow.mask(
        passed.trunk_features.numpy(), {name: each.numpy() for name, each in model.head.state_dict().items()}
    )
    expected = {
        "cam": slow.cam(features, weights, CLASSES),
        "cam-positive": slow.cam_positive(features, weights, CLASSES),
        "mask": masks,
        "mask-cam": slow.mask_cam(masks, features, weights, CLASSES),
    }
    assert [each.name for each in model.localizers] == [*expected]
    for name, twin in expected.items():
        ours = model.maps(name, passed, CLASSES)
        assert ours.dtype == torch.float32
        np.testing.assert_allclose(ours.detach().numpy(), twin, rtol=1e-4, atol=1e-4, err_msg=name)


@pytest.mark.parametrize("seed", range(4))
def test_a_classes_direction_is_its_twins_and_its_sign_follows_the_positive_weights(seed):
    rng = np.random.default_rng(seed)
    spread = rng.standard_normal((6, 1, 4, 4)) * rng.standard_normal((1, 9, 1, 1)) * 3
    features = (spread + rng.standard_normal((6, 9, 4, 4)) + 2).astype(np.float32)
    for sign in (1, -1):
        positive = (sign * spread[:, 0] + rng.standard_normal((6, 4, 4))).astype(np.float32)
        mean, direction = direction_of(torch.from_numpy(features), torch.from_numpy(positive))
        expected_mean, expected = slow.direction(features, positive)
        np.testing.assert_allclose(mean, expected_mean, atol=1e-5)
        np.testing.assert_allclose(direction, expected, atol=1e-4)
    classes = np.array([0, 1, 0, 1, 1, 0])
    means, directions = (rng.standard_normal((2, 9)).astype(np.float32) for _ in range(2))
    ours = DdtDirections(torch.from_numpy(means), torch.from_numpy(directions))
    maps = ours.maps(torch.from_numpy(features), torch.from_numpy(classes))
    np.testing.assert_allclose(maps, slow.ddt(features, means, directions, classes), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels", [40, 400], ids=["fewer than cells", "more than cells"])
def test_a_direction_is_found_to_the_last_digits_where_the_next_one_is_almost_as_long(channels):
    rng = np.random.default_rng(0)
    features = rng.standard_normal((6, channels, 5, 5)).astype(np.float32)
    positive = rng.standard_normal((6, 5, 5)).astype(np.float32)
    _, direction = direction_of(torch.from_numpy(features), torch.from_numpy(positive))
    _, expected = slow.direction(features, positive)
    np.testing.assert_allclose(direction, expected, atol=2e-7)


def test_features_that_are_all_alike_have_no_direction():
    mean, direction = direction_of(torch.ones(3, 5, 2, 2), torch.rand(3, 2, 2))
    assert mean.tolist() == [1] * 5
    assert not direction.any()


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_features_that_are_not_finite_have_a_direction_that_is_not(value, capfd):
    features = torch.rand(3, 5, 2, 2)
    features[1, 2, 0, 0] = value
    _, direction = direction_of(features, torch.rand(3, 2, 2))
    assert torch.isnan(direction).all()
    assert capfd.readouterr() == ("", "")


def test_maps_differ_by_class_where_the_localizer_says_so(model, passed):
    for each in model.localizers:
        ours, others = (model.maps(each.name, passed, CLASSES.roll(shift)) for shift in (0, 1))
        assert torch.equal(ours, others) != each.class_specific, each.name


def test_maps_on_their_own_scale_are_shares(model, passed):
    for each in model.localizers:
        maps = model.maps(each.name, passed, CLASSES)
        assert (each.scale == "own") == bool(((maps >= 0) & (maps <= 1)).all()), each.name
        assert model.map_sizes(64, torch.device("cpu"))[each.name] == tuple(maps.shape[1:])


def test_a_constant_class_map_leaves_half_of_the_mask(model, passed):
    flat = passed._replace(features=torch.zeros_like(passed.features))
    assert torch.equal(model.maps("mask-cam", flat, CLASSES), passed.mask / 2)


def test_without_a_head_there_are_the_maps_of_the_classifier_alone(model):
    bare = LocalizingModel(model.network)
    assert [each.name for each in bare.localizers] == ["cam", "cam-positive"]
    assert all(LOCALIZERS[each.name] is each for each in model.localizers)


def test_the_ratio_of_the_rest_is_nothing_where_the_network_is_wrong_or_the_rest_says_more():
    labels = torch.tensor([0, 0, 0, 0])
    whole = torch.tensor([[3.0, 0, 0], [0, 3.0, 0], [1.0, 0, 0], [3.0, 0, 0]])
    rest = torch.tensor([[1.5, 0, 0], [1.5, 0, 0], [2.0, 0, 0], [-1.0, 0, 0]])
    assert ratio_of_rest(whole, rest, labels).tolist() == pytest.approx([0.5, 0, 0, 0])


def test_steering_makes_masks_dearer_while_the_rest_tells_too_little():
    """The mask may shrink then; where the rest tells more than it should, the mask has to grow."""
    for rest, direction in ((0, 1), (10, -1)):
        steering = Steering(classes=10)
        weights = []
        for _ in range(50):
            steering.follow(torch.tensor(rest), torch.tensor(10), torch.tensor(10))
            weights.append(float(steering.area_weight))
        assert all(direction * (later - earlier) >= 0 for earlier, later in itertools.pairwise(weights))
        assert direction * (weights[-1] - 1) > 0


@pytest.mark.parametrize("classes", [2, 10, 200])
def test_steering_rests_where_the_share_is_reached_whatever_the_classes_and_the_accuracy(classes):
    steering, chance, whole = Steering(classes), 1 / classes, 0.8
    share = chance + REST_TELLS * (whole - chance)
    for _ in range(200):
        steering.follow(torch.tensor(share * 1000.0), torch.tensor(whole * 1000.0), torch.tensor(1000.0))
    before = float(steering.lasting)
    steering.follow(torch.tensor(share * 1000.0), torch.tensor(whole * 1000.0), torch.tensor(1000.0))
    assert float(steering.lasting) == pytest.approx(before, abs=1e-4)


def test_otsus_threshold_is_its_twins():
    rng = np.random.default_rng(0)
    maps = np.concatenate([rng.random((8, 7, 7)) ** power for power in (0.5, 1, 4)]).astype(np.float32)
    maps[0], maps[1], maps[2] = 0, 1, 0.25
    levels = reference.cam_levels(maps, 12, "own")
    expected = [slow.otsu(each) / 255 for each in levels]
    assert expected[0] == 0
    found = otsu_thresholds(maps, 12, "own")
    np.testing.assert_allclose(found[1:], expected[1:])
    assert box_free_threshold(maps, 12, "own") == pytest.approx(slow.otsu(levels) / 255)
    assert found[0] == box_free_threshold(maps[:1], 12, "own") == 1 / 255, "of a map that names nothing nothing is kept"
    assert otsu_thresholds(maps[:1], 12, "min-max").tolist() == [0]


def test_the_tail_under_a_whole_mask_says_what_the_network_says(model, passed):
    whole = model.classes_inside(passed.trunk_features, torch.ones_like(passed.mask))
    torch.testing.assert_close(whole, F.softmax(passed.logits.double(), dim=1), rtol=1e-4, atol=1e-5)
