"""One training step on this machine's cores: compiled beside eager, and beside plain float32 in contiguous memory.

    pytest bench/test_step.py --benchmark-only

Forward, loss, backward and optimizer on one batch of noise; the first step, which compiles, is not counted. The sides'
first losses are compared before they are timed.
"""

import pytest
import torch
from rounds import Side
from step_cost import CLASSES, CPU, noise

from fastwsol.config import Config
from fastwsol.host.device import Autocast, pick_autocast
from fastwsol.network.preact_resnet import build_preact_resnet
from fastwsol.training.step import make_loss, new_state, train_step

BATCH = 32
ROUNDS = 7
LONG, LIKE_ANOTHER = pytest.mark.long, pytest.mark.like_another
SIDES = ("compiled", "eager", "eager fp32 contiguous")


def make_side(name, config, count):
    """A function that does one step and gives the state after it."""
    plain = name == "eager fp32 contiguous"
    autocast = Autocast(CPU, "fp32") if plain else pick_autocast("auto", CPU)
    memory_format = torch.contiguous_format if plain else torch.channels_last
    state = new_state(config, CLASSES, autocast)
    state.model.to(memory_format=memory_format)
    loss_of = make_loss(state.model, autocast, compiled=name == "compiled")
    images, labels = noise(count)
    images = images.contiguous(memory_format=memory_format)

    def step():
        train_step(state, loss_of, images, labels, lr=0.0)
        return state

    return step


@pytest.mark.parametrize(
    ("depth", "stem"),
    [
        (18, "C"),
        *(pytest.param(*network, marks=[LONG, LIKE_ANOTHER]) for network in ((18, "A"), (34, "C"))),
        pytest.param(34, "A", marks=LONG),
    ],
)
def test_step(paired_rounds, pytestconfig, cores, depth, stem):
    config = Config.of(depth=depth, stem=stem)
    if pytestconfig.option.benchmark_only:
        sides = {name: make_side(name, config, BATCH) for name in SIDES}
    else:  # quick: compiling takes a minute, and the tests of training hold the compiled step to the eager one
        sides = {name: make_side(name, config, 4) for name in SIDES if name != "compiled"}
    losses = {name: float(step().totals.loss) for name, step in sides.items()}
    for name, loss in losses.items():
        assert loss == pytest.approx(losses["eager fp32 contiguous"], rel=0.02), name
    paired_rounds(
        {name: Side(step) for name, step in sides.items()},
        images=BATCH,
        rounds=ROUNDS,
        data="one batch of noise, seed 0",
        depth=depth,
        stem=stem,
        batch_size=BATCH,
        precision=pick_autocast("auto", CPU).precision,
        threads=cores,
    )


OPTIMIZERS = {"fused": {"fused": True}, "foreach": {"foreach": True}, "loop over tensors": {"foreach": False}}
"""What torch.optim.SGD is asked for on each side; ours is the first."""


def optimizer_side(config, options):
    """A function that updates all weights of the network once, by gradients that stay, and gives the network."""
    model = build_preact_resnet(config.network.depth, config.network.stem, CLASSES, 0)
    groups = model.parameter_groups(config.optimizer.weight_decay, 1.0)
    optimizer = torch.optim.SGD(groups, lr=0.01, momentum=config.optimizer.momentum, nesterov=True, **options)
    generator = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator).to(memory_format=layout(parameter))

    def step():
        optimizer.step()
        return model

    return step


def layout(parameter):
    return torch.channels_last if parameter.ndim == 4 else torch.contiguous_format


@pytest.mark.parametrize("depth", [18, pytest.param(34, marks=LIKE_ANOTHER)])
def test_optimizer(paired_rounds, cores, depth):
    """The update alone, the same whatever the batch: an image is its share of a batch of 32."""
    sides = {name: optimizer_side(Config.of(depth=depth), options) for name, options in OPTIMIZERS.items()}
    weights = {name: step().fc.weight.detach().clone() for name, step in sides.items()}
    for name, weight in weights.items():
        assert torch.allclose(weight, weights["fused"], rtol=1e-5, atol=1e-7), name
    paired_rounds(
        {name: Side(step) for name, step in sides.items()},
        images=BATCH,
        rounds=ROUNDS,
        data="gradients of noise, seed 0",
        depth=depth,
        batch_size=BATCH,
        threads=cores,
    )
