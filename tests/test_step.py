"""One training step: its gradients, its rates, its loss, its average."""

import pytest
import torch

from fastwsol.config import Config
from fastwsol.host.device import Autocast
from fastwsol.training import step
from fastwsol.training.totals import Totals


def test_the_compiled_step_equals_the_eager_one(one_block_a_group):
    """The loss to float32 rounding, and every gradient but for what that rounding may tip over."""
    config = Config.of(depth=18, stem="C")
    autocast = Autocast(torch.device("cpu"), "fp32")
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(8, 3, 64, 64, generator=generator).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 4, (8,), generator=generator)
    states = []
    for compiled in (False, True):
        state = step.new_state(config, 4, autocast)
        step.train_step(state, step.make_loss(state.model, autocast, compiled), images, labels, lr=0.01)
        states.append(state)
    eager, compiled = (step.state_tensors(state) for state in states)
    assert float(compiled["totals.loss"]) == pytest.approx(float(eager["totals.loss"]), rel=1e-5)
    for name in eager:
        if name.startswith("momentum."):  # after one step, the gradient
            # Another order of sums may carry a ReLU or a maxpool over its edge: a per cent of a small batch's gradient.
            apart = (eager[name] - compiled[name]).norm() / eager[name].norm()
            assert apart < 0.05, name


def test_a_gradient_that_is_not_finite_is_caught_when_the_loss_is():
    state = step.new_state(Config.of(depth=18, stem="C"), 4, Autocast(torch.device("cpu"), "fp32"))

    def loss_of(images, labels, _beside):
        logits, _ = state.model(images)
        zero = logits.sum() * 0
        return 1 + torch.sqrt(zero * zero), {"correct": torch.tensor(0)}  # 1, with the gradient 0/0

    step.train_step(state, loss_of, torch.zeros(2, 3, 64, 64), torch.zeros(2, dtype=torch.int64), 0.1)
    with pytest.raises(step.BadStep):
        step.check_finite(state)


def test_the_average_is_the_mean_of_all_steps_and_then_an_exponential_one():
    """BN statistics included."""
    autocast = Autocast(torch.device("cpu"), "fp32")
    state = step.new_state(Config.of(depth=18, stem="C", average_steps=3), 4, autocast)
    loss_of = step.make_loss(state.model, autocast, compiled=False)
    names = ("fc.weight", "stem.1.0.running_var")
    expected = dict.fromkeys(names, torch.zeros(()))
    for number in range(1, 6):
        images = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(number))
        step.train_step(state, loss_of, images, torch.tensor([0, 1, 2, 3]), lr=0.01)
        weight = max(1 / number, 1 / 3)
        for name in names:
            value = state.model.state_dict()[name].double()
            expected[name] = expected[name] + weight * (value - expected[name])
    for name in names:
        assert torch.allclose(state.average.state_dict()[name].double(), expected[name], rtol=1e-5, atol=1e-7), name
    assert state.evaluated is state.average


def test_smoothed_labels_spread_their_share_over_all_classes():
    autocast = Autocast(torch.device("cpu"), "fp32")
    model = step.new_state(Config.of(depth=18, stem="C"), 4, autocast).model.eval()
    images, labels = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0)), torch.tensor([1, 3])
    loss, _ = step.make_loss(model, autocast, compiled=False, label_smoothing=0.2)(images, labels)
    logs = model(images)[0].log_softmax(1)
    expected = -(0.8 * logs[[0, 1], labels] + 0.2 * logs.mean(1)).mean()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-6)


def test_the_backbones_rate_is_scaled():
    state = step.new_state(
        Config.of(depth=18, stem="C", backbone_lr_mult=0.1, weight_decay=0), 4, Autocast(torch.device("cpu"), "fp32")
    )
    before = {name: parameter.detach().clone() for name, parameter in state.model.named_parameters()}
    loss_of = step.make_loss(state.model, Autocast(torch.device("cpu"), "fp32"), compiled=False)
    images = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    step.train_step(state, loss_of, images, torch.tensor([0, 1, 2, 3]), lr=0.01)
    for name, parameter in state.model.named_parameters():
        momentum = state.optimizer.state[parameter]["momentum_buffer"]
        scale = 0.01 if name.startswith(("groups.3", "fc")) else 0.001
        # The first Nesterov step is (1 + momentum) times the gradient.
        assert torch.allclose(before[name] - parameter, 1.9 * scale * momentum, atol=1e-6, rtol=1e-3), name


def test_a_mixed_image_is_right_where_its_largest_share_is_answered():
    labels = torch.tensor([[0.7, 0.3, 0.0], [0.1, 0.2, 0.7]])
    logits = torch.tensor([[2.0, 1.0, 0.0], [0.0, 1.0, 2.0]])
    assert (logits.argmax(1) == step._largest_share(labels)).sum() == 2


def test_skipped_steps_are_counted_anew_in_each_line():
    state = step.new_state(Config.of(depth=18), 2, Autocast(torch.device("cpu"), "fp32"))
    state.totals = Totals.new(torch.device("cpu"), scaled=True)
    assert state.totals.skipped is not None
    state.totals.skipped.add_(3)
    state.totals.begin_line()
    assert state.totals.skipped == 0
