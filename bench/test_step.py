"""One training step on this machine's cores: compiled beside eager, and beside plain float32 in contiguous memory.

    pytest bench/test_step.py --benchmark-only

Forward, loss, backward and optimizer on one batch of noise; the first step, which compiles, is not counted. The sides'
first losses are compared before they are timed.
"""

import functools

import pytest
import torch

from fastwsol.config import Config
from fastwsol.machine import Autocast, pick_autocast
from fastwsol.train import make_loss, new_state, train_step

BATCH = 64
ROUNDS = 7
CLASSES = 200
CPU = torch.device("cpu")


def batch(memory_format):
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(BATCH, 3, 64, 64, generator=generator)
    return images.contiguous(memory_format=memory_format), torch.randint(0, CLASSES, (BATCH,), generator=generator)


def side(name, config):
    """The state, the loss function and the batch of one side."""
    channels_last = name != "eager fp32 contiguous"
    autocast = pick_autocast("auto", CPU) if channels_last else Autocast(CPU, "fp32")
    state = new_state(config, CLASSES, autocast)
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    state.model.to(memory_format=memory_format)
    return state, make_loss(state.model, autocast, compiled=name == "compiled"), *batch(memory_format)


@functools.lru_cache(maxsize=1)
def float32_loss(config):
    _, loss_of, images, labels = side("eager fp32 contiguous", config)
    with torch.no_grad():
        return float(loss_of(images, labels)[0])


@pytest.mark.parametrize("name", ["compiled", "eager", "eager fp32 contiguous"])
@pytest.mark.parametrize("stem", ["A", "C"])
def test_step(benchmark, stem, name):
    config = Config(depth=18, stem=stem)
    state, loss_of, images, labels = side(name, config)
    train_step(state, loss_of, images, labels, lr=0.0)
    assert float(state.totals["loss"]) == pytest.approx(float32_loss(config), rel=0.02)

    benchmark.group = f"ResNet-18, stem {stem}, batch {BATCH}, {torch.get_num_threads()} threads"
    benchmark.extra_info["ours"] = name == "compiled"
    benchmark.extra_info["images"] = BATCH
    benchmark.pedantic(
        train_step, args=(state, loss_of, images, labels), kwargs={"lr": 0.0}, rounds=ROUNDS, warmup_rounds=1
    )
    if benchmark.stats is not None:
        benchmark.extra_info["images_per_second"] = BATCH / benchmark.stats.stats.median
