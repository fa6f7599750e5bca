"""The state of a mask head's training: what it begins with, what steers it, what is refused."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fastwsol.config import Config
from fastwsol.host.device import Autocast
from fastwsol.host.world import ALONE
from fastwsol.network.networks import build_network
from fastwsol.training.mask_phase import head_state, new_head_state, refuse_no_mask
from fastwsol.training.step import trained_parameters

CPU, CLASSES = torch.device("cpu"), 3
CONFIG = Config.of(localizer="mask", depth=18, stem="C", image_size=32)


@dataclass
class TwoProcesses:
    """A world in which the leading process has sevens, and of its 4 images the rest tells 3, and F too."""

    size: int = 2
    leads: bool = False

    def share_from_lead(self, tensors: Any) -> None:
        for tensor in tensors:
            tensor.detach().fill_(7)

    def value_of_lead(self, value: Any) -> Any:
        return value

    def add_up(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.add_(torch.tensor([3, 3, 4]))


def state_of(config: Config = CONFIG, world: Any = ALONE, step: int = 5) -> Any:
    return new_head_state(config, build_network(config, CLASSES), CLASSES, Autocast(CPU, "fp32"), world, step)


def test_every_process_trains_the_leading_ones_head_behind_the_leading_ones_network() -> None:
    network = build_network(CONFIG, CLASSES)
    job = SimpleNamespace(
        world=TwoProcesses(),
        timetable=SimpleNamespace(classifier_steps=5),
        config=CONFIG,
        info=SimpleNamespace(classes=range(CLASSES)),
        process=SimpleNamespace(autocast=Autocast(CPU, "fp32")),
    )
    state = head_state(job, network, None)
    assert state.step == 5
    assert all((buffer == 7).all() for buffer in network.buffers())
    assert all((parameter == 7).all() for parameter in state.model.head.parameters())


def test_the_loss_is_steered_by_the_counts_of_all_processes() -> None:
    alone, together = state_of(), state_of(world=TwoProcesses())
    alone.after_step(counts_of(rest=1 + 3, whole=2 + 3, images=4 + 4))
    together.after_step(counts_of(rest=1, whole=2, images=4))
    for name, tensor in together.model.steering.state_dict().items():
        assert torch.equal(tensor, alone.model.steering.state_dict()[name]), name


def counts_of(rest: int, whole: int, images: int) -> dict[str, torch.Tensor]:
    counts = {"correct": whole, "rest_correct": rest, "whole_correct": whole, "images": images}
    return {name: torch.tensor(count) for name, count in counts.items()}


def test_a_head_begins_by_the_seed() -> None:
    first, again, other = (state_of(CONFIG.changed(seed=seed)).model.head.conv1.weight for seed in (3, 3, 4))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_weights_of_a_head_without_a_gradient_decay() -> None:
    state = state_of(CONFIG.changed(head_lr=0.5))
    weight = state.model.head.conv1.weight
    before = weight.detach().clone()
    for parameter in trained_parameters(state.model).values():
        parameter.grad = torch.zeros_like(parameter)
    state.optimizer.step()
    torch.testing.assert_close(weight.detach(), before * (1 - 0.5 * 0.01))


def test_boxes_for_no_mask_head_are_refused() -> None:
    with pytest.raises(Exception, match="--boxes-per-class 1: supervises a mask head; add --localizer mask"):
        refuse_no_mask(Config.of(localizer="cam", boxes_per_class=1), CLASSES, SimpleNamespace())  # type: ignore[arg-type]
