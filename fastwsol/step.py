"""One training step, and all that it changes. Eager and compiled runs share it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fastwsol.config import Config
from fastwsol.machine import Autocast
from fastwsol.model import PreActResNet, build_model, parameter_groups


@dataclass
class State:
    """All that a step changes, and so all that a checkpoint holds."""

    model: PreActResNet
    optimizer: torch.optim.SGD
    scaler: torch.amp.GradScaler
    """Scales the loss under fp16; switched off otherwise."""
    totals: dict[str, Tensor]
    """Running sums on the device since the last progress line, and the first bad step or -1; see `new_totals`."""
    step: int
    """Steps done."""


def new_totals(device: torch.device) -> dict[str, Tensor]:
    """Sums over steps, kept on the device so that no step waits for the host."""
    return {
        "loss": torch.zeros((), dtype=torch.float64, device=device),
        "correct": torch.zeros((), dtype=torch.int64, device=device),
        "steps": torch.zeros((), dtype=torch.int64, device=device),
        "bad_step": torch.full((), -1, dtype=torch.int64, device=device),
    }


def new_state(config: Config, classes: int, autocast: Autocast) -> State:
    """The state before the first step: weights from the seed, momentum of zeros."""
    device = autocast.device
    model = build_model(config.depth, config.stem, classes, config.seed).to(device)
    groups = parameter_groups(model, config.weight_decay, config.backbone_lr_mult)
    optimizer = torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=True, fused=True)
    for parameter in model.parameters():
        optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    scaler = torch.amp.GradScaler(device.type, enabled=autocast.precision == "fp16")
    return State(model, optimizer, scaler, new_totals(device), step=0)


def state_tensors(state: State) -> dict[str, Tensor]:
    """Every tensor of the state by name; a checkpoint is written from these and loaded into them."""
    tensors = {f"model.{name}": tensor for name, tensor in state.model.state_dict().items()}
    for name, parameter in state.model.named_parameters():
        tensors[f"momentum.{name}"] = state.optimizer.state[parameter]["momentum_buffer"]
    return tensors | {f"totals.{name}": tensor for name, tensor in state.totals.items()}


class BadStep(Exception):
    """A loss or gradient was NaN or infinite in step `step` (from 0)."""

    def __init__(self, step: int) -> None:
        super().__init__(step)
        self.step = step


def check_finite(state: State) -> None:
    """Wait for the device; raise BadStep if a step so far was bad."""
    if (bad := int(state.totals["bad_step"])) >= 0:
        raise BadStep(bad)


Loss = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""images, labels -> mean cross-entropy, number of images classified rightly."""


def make_loss(model: PreActResNet, autocast: Autocast, compiled: bool) -> Loss:
    """Forward pass and loss as one function, so that they are compiled together."""

    def loss(images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        with autocast():
            logits, _ = model(images)
        logits = logits.float()
        return F.cross_entropy(logits, labels), (logits.argmax(1) == labels).sum()

    return torch.compile(loss) if compiled else loss


def train_step(state: State, loss_of: Loss, images: Tensor, labels: Tensor, lr: float) -> None:
    """One step of Nesterov SGD at rate `lr`; nothing in it waits for the device."""
    for group in state.optimizer.param_groups:
        group["lr"] = lr * group["lr_mult"]
    loss, correct = loss_of(images, labels)
    state.scaler.scale(loss).backward()
    finite = torch.isfinite(loss)
    if not state.scaler.is_enabled():  # the scaler skips steps with infinite gradients, and that is no failure
        gradients = [p.grad for p in state.model.parameters() if p.grad is not None]
        finite = finite & torch.isfinite(torch.nn.utils.get_total_norm(gradients, foreach=True))
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.optimizer.zero_grad(set_to_none=True)

    totals = state.totals
    totals["loss"] += loss.detach()
    totals["correct"] += correct
    totals["steps"] += 1
    first_bad = (totals["bad_step"] < 0) & ~finite
    totals["bad_step"].copy_(torch.where(first_bad, state.step, totals["bad_step"]))
    state.step += 1
