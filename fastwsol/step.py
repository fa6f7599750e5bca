"""One training step, and all that it changes. Eager and compiled runs share it."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastwsol.config import Config
from fastwsol.distributed import ALONE, World
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
    """Running sums on the device since the last progress line, and the first bad step; see `new_totals`."""
    step: int
    """Steps done."""


NO_STEP = 2**62
"""Where `bad_step` stands while every step was good: behind all that there are."""


def new_totals(device: torch.device) -> dict[str, Tensor]:
    """Sums over the steps' images, kept on the device so that no step waits for the host, and over this process's
    share of each batch, until `gather_totals`.
    """
    return {
        "loss": torch.zeros((), dtype=torch.float64, device=device),
        "correct": torch.zeros((), dtype=torch.int64, device=device),
        "steps": torch.zeros((), dtype=torch.int64, device=device),
        "bad_step": torch.full((), NO_STEP, dtype=torch.int64, device=device),
    }


def gather_totals(state: State, world: World) -> None:
    """Put all processes' sums into the leading one's and zeros into the others'; all learn of the first bad step."""
    if world.size == 1:
        return
    totals = state.totals
    sums = world.add_up(torch.stack([totals["loss"], totals["correct"].double()]).cpu())
    for name, total in zip(("loss", "correct"), sums, strict=True):
        totals[name].copy_(total if world.leads else torch.zeros(()))
    totals["bad_step"].copy_(world.least(totals["bad_step"].cpu()))


def reset_totals(state: State) -> None:
    """Begin new sums."""
    for name in ("loss", "correct", "steps"):
        state.totals[name].zero_()


def share_state(state: State, world: World) -> None:
    """Give every process the leading one's state, but leave the sums to that one alone."""
    if world.size == 1:
        return
    world.share_from_lead(state_tensors(state).values())
    if not world.leads:
        state.totals["loss"].zero_()
        state.totals["correct"].zero_()
    state.step = world.value_of_lead(state.step)
    scaler = world.value_of_lead(state.scaler.state_dict())
    if state.scaler.is_enabled():
        state.scaler.load_state_dict(scaler)


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
    if (bad := int(state.totals["bad_step"])) < NO_STEP:
        raise BadStep(bad)


Loss = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""images, labels -> mean cross-entropy, number of images classified rightly."""


class _ModelAndLoss(nn.Module):
    """Forward pass and loss as one module, so that they are compiled together."""

    def __init__(self, model: PreActResNet, autocast: Autocast) -> None:
        super().__init__()
        self.model, self._autocast = model, autocast

    def forward(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        with self._autocast():
            logits, _ = self.model(images)
        logits = logits.float()
        return F.cross_entropy(logits, labels), (logits.argmax(1) == labels).sum()


def make_loss(model: PreActResNet, autocast: Autocast, compiled: bool, world: World = ALONE) -> Loss:
    """The loss of a batch; its gradients are averaged over the processes of `world`."""
    loss = _ModelAndLoss(model, autocast)
    if compiled:
        loss.compile()
    return world.averaging_gradients(loss, autocast.device)


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
    totals["loss"] += loss.detach() * len(labels)
    totals["correct"] += correct
    totals["steps"] += 1
    step = torch.where(finite, NO_STEP, state.step)
    totals["bad_step"].copy_(torch.minimum(totals["bad_step"], step))
    state.step += 1
