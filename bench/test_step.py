"""One training step on this machine's cores: compiled beside eager, and beside plain float32 in contiguous memory.

    pytest bench/test_step.py --benchmark-only

Forward, loss, backward and optimizer on one batch of noise; the first step, which compiles, is not counted. The sides'
first losses are compared before they are timed.
"""

import pytest
import torch
from rounds import Side

from fastwsol.config import Config
from fastwsol.machine import Autocast, pick_autocast
from fastwsol.step import make_loss, new_state, train_step

BATCH = 64
ROUNDS = 7
CLASSES = 200
CPU = torch.device("cpu")
SIDES = ("compiled", "eager", "eager fp32 contiguous")


def batch(count, memory_format):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(count, 3, 64, 64, generator=generator)
    return images.contiguous(memory_format=memory_format), torch.randint(0, CLASSES, (count,), generator=generator)


def make_side(name, config, count):
    """A function that does one step and gives the state after it."""
    plain = name == "eager fp32 contiguous"
    autocast = Autocast(CPU, "fp32") if plain else pick_autocast("auto", CPU)
    memory_format = torch.contiguous_format if plain else torch.channels_last
    state = new_state(config, CLASSES, autocast)
    state.model.to(memory_format=memory_format)
    loss_of = make_loss(state.model, autocast, compiled=name == "compiled")
    images, labels = batch(count, memory_format)

    def step():
        train_step(state, loss_of, images, labels, lr=0.0)
        return state

    return step


@pytest.mark.parametrize("stem", ["A", "C"])
def test_step(paired_rounds, pytestconfig, cores, stem):
    config = Config(depth=18, stem=stem)
    if pytestconfig.option.benchmark_only:
        sides = {name: make_side(name, config, BATCH) for name in SIDES}
    else:  # quick: compiling takes a minute, and the tests of training hold the compiled step to the eager one
        sides = {name: make_side(name, config, 8) for name in SIDES if name != "compiled"}
    losses = {name: float(step().totals["loss"]) for name, step in sides.items()}
    for name, loss in losses.items():
        assert loss == pytest.approx(losses["eager fp32 contiguous"], rel=0.02), name
    paired_rounds(
        {name: Side(step) for name, step in sides.items()},
        images=BATCH,
        rounds=ROUNDS,
        data="one batch of noise, seed 0",
        depth=18,
        stem=stem,
        batch_size=BATCH,
        precision=pick_autocast("auto", CPU).precision,
        threads=cores,
    )
