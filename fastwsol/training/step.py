"""One training step, and all that it changes. Eager, compiled and captured runs share it."""

import contextlib
import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fastwsol.config import Config
from fastwsol.host.device import Autocast, let_compile_many
from fastwsol.host.world import ALONE, World
from fastwsol.network.classifier import Classifier
from fastwsol.network.networks import build_network
from fastwsol.training.totals import NO_STEP, Counts, Totals


@dataclass
class State:
    """All that a step changes, and so all that a checkpoint holds."""

    prefix: ClassVar[str]
    """Of the names of `model`'s tensors in a checkpoint."""

    model: nn.Module
    """What is trained."""
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    """Scales the loss under fp16; switched off otherwise."""
    totals: Totals
    step: int
    """Steps done; `totals` counts them on the device too."""

    def after_step(self, counts: Counts) -> None:
        """Change what follows from a step's counts. It does not wait for the device."""

    def tensors_beside(self) -> dict[str, Tensor]:
        """The tensors that a step changes beside those of model and optimizer, by name."""
        return {}


@dataclass
class ClassifierState(State):
    """That of a classifier's training."""

    prefix = "model."

    model: Classifier
    average: Classifier | None = None
    """The network whose weights are the running average of `model`'s, where one is kept."""
    average_steps: int = 0
    """Over about how many steps it runs."""

    @property
    def evaluated(self) -> Classifier:
        """The network that evaluations look at."""
        return self.model if self.average is None else self.average

    @torch.no_grad()
    def after_step(self, counts: Counts) -> None:
        """Move the average to the weights and BN statistics as they stand now: the plain mean of all steps so far, and
        from `average_steps` steps on the exponential one.
        """
        if self.average is None:
            return
        weight = (1 / self.totals.step).clamp(min=1 / self.average_steps).float()
        pairs = zip(self.average.state_dict().values(), self.model.state_dict().values(), strict=True)
        means, values = zip(*((mean, value) for mean, value in pairs if mean.is_floating_point()), strict=True)
        distances = torch._foreach_sub(values, means)
        torch._foreach_mul_(distances, weight)
        torch._foreach_add_(means, distances)

    def tensors_beside(self) -> dict[str, Tensor]:
        """Those of the average."""
        if self.average is None:
            return {}
        return {f"average.{name}": tensor for name, tensor in self.average.state_dict().items()}


def share_state(state: State, world: World) -> None:
    """Give every process the leading one's state. The sums stay in the leading process alone."""
    if world.size == 1:
        return
    world.share_from_lead(state_tensors(state).values())
    state.totals.leave_to_lead(world)
    state.step = world.value_of_lead(state.step)
    scaler = world.value_of_lead(state.scaler.state_dict())
    if state.scaler.is_enabled():
        state.scaler.load_state_dict(scaler)


def new_state(config: Config, classes: int, autocast: Autocast) -> ClassifierState:
    """A classifier's state before the first step: weights from the seed, momentum of zeros."""
    device = autocast.device
    model = build_network(config, classes).to(device)
    optimizing = config.optimizer
    groups = model.parameter_groups(optimizing.weight_decay, optimizing.backbone_lr_mult)
    for group in groups:  # a tensor, so that a captured step reads what `set_rate` wrote
        group["lr"] = torch.tensor(optimizing.lr, dtype=torch.float32, device=device)
    optimizer = torch.optim.SGD(groups, lr=optimizing.lr, momentum=optimizing.momentum, nesterov=True, fused=True)
    for parameter in trained_parameters(model).values():
        optimizer.state[parameter]["momentum_buffer"] = torch.zeros_like(parameter)
    scaler = torch.amp.GradScaler(device.type, enabled=autocast.precision == "fp16")
    average = copy.deepcopy(model).requires_grad_(False) if optimizing.average_steps else None
    totals = Totals.new(device, scaler.is_enabled())
    return ClassifierState(model, optimizer, scaler, totals, 0, average, optimizing.average_steps)


def state_tensors(state: State) -> dict[str, Tensor]:
    """Every tensor of the state by name; a checkpoint is written from these and loaded into them."""
    tensors = {f"{state.prefix}{name}": tensor for name, tensor in state.model.state_dict().items()}
    for name, parameter in trained_parameters(state.model).items():
        for kind, tensor in state.optimizer.state[parameter].items():
            tensors[f"{kind.removesuffix('_buffer')}.{name}"] = tensor
    return tensors | state.tensors_beside() | state.totals.tensors()


def trained_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """Those that get a gradient, by name."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


@contextlib.contextmanager
def unchanged(state: State) -> Iterator[None]:
    """Whatever steps are taken inside, the state afterwards is the one before."""
    put_back = remember(state)
    try:
        yield
    finally:
        put_back()


def remember(state: State) -> Callable[[], None]:
    """Keep the state as it is now; what is returned puts it back, also from the middle of a step."""
    tensors = {name: tensor.clone() for name, tensor in state_tensors(state).items()}
    scaler, step = state.scaler.state_dict(), state.step

    def put_back() -> None:
        with torch.no_grad():
            for name, tensor in state_tensors(state).items():
                tensor.copy_(tensors[name])
        # Where it broke off in mid-step, gradients are left, and a scaler that takes the step for taken.
        state.optimizer.zero_grad(set_to_none=True)
        for name in ("grad_scale", "found_inf"):
            vars(state.optimizer).pop(name, None)
        if state.scaler.is_enabled():
            state.scaler._per_optimizer_states.clear()
            state.scaler.load_state_dict(scaler)
        state.step = step

    return put_back


class BadStep(Exception):
    """A loss or gradient was NaN or infinite in step `step` (from 0)."""

    def __init__(self, step: int) -> None:
        super().__init__(step)
        self.step = step


def check_finite(state: State) -> None:
    """Wait for the device; raise BadStep if a step so far was bad."""
    if (bad := int(state.totals.bad_step)) < NO_STEP:
        raise BadStep(bad)


class Loss(Protocol):
    """The mean loss of a batch of images (or features of the frozen part), with its labels and what else is known of
    them (`Batch`), and what is counted of it.
    """

    def __call__(self, images: Tensor, labels: Tensor, extra: Tensor | None = None, /) -> tuple[Tensor, Counts]: ...


class _ModelAndLoss(nn.Module):
    """Forward pass of the trained part, and loss, as one module, so that they are compiled together.

    drops: of attention dropout, bool [B, PLACES]; None without it.
    """

    def __init__(self, model: Classifier, autocast: Autocast, label_smoothing: float) -> None:
        super().__init__()
        self.model, self._autocast, self._label_smoothing = model, autocast, label_smoothing

    def forward(self, inputs: Tensor, labels: Tensor, drops: Tensor | None = None) -> tuple[Tensor, Counts]:
        with self._autocast():
            logits = self._logits(inputs, drops).float()
        loss = F.cross_entropy(logits, labels, label_smoothing=self._label_smoothing)
        return loss, {"correct": (logits.argmax(1) == _largest_share(labels)).sum()}

    def _logits(self, inputs: Tensor, drops: Tensor | None) -> Tensor:
        """inputs: images, or what stands before the part that is trained."""
        if self.model.trained_part == "classifier":
            return self.model.logits_of_pooled(inputs.float())
        if self.model.trained_part == "tail":
            return self.model.tail(inputs.float())[0]
        return (self.model(inputs) if drops is None else self.model(inputs, drops))[0]


def _largest_share(labels: Tensor) -> Tensor:
    """The class of each image, int64 [N]: its label, or of mixed images, whose labels are shares [N, classes], the one
    with the largest share.
    """
    return labels if labels.ndim == 1 else labels.argmax(1)


def make_loss(
    model: Classifier,
    autocast: Autocast,
    compiled: bool,
    world: World = ALONE,
    label_smoothing: float = 0.0,
) -> Loss:
    """The classifier's loss of a batch; its gradients are averaged over the processes of `world`. The
    optional third input holds the draws of attention dropout.
    """
    return as_loss(_ModelAndLoss(model, autocast, label_smoothing), autocast, compiled, world)


def as_loss(loss: nn.Module, autocast: Autocast, compiled: bool, world: World = ALONE) -> Loss:
    """A module that is called as a `Loss` is, compiled where asked, its gradients averaged over the processes of
    `world`.
    """
    if compiled:
        let_compile_many()
        loss.compile(fullgraph=True, dynamic=False)  # a network of several sizes is compiled for each of them
    return world.averaging_gradients(loss, autocast.device)


def train_step(
    state: State, loss_of: Loss, images: Tensor, labels: Tensor, lr: float, extra: Tensor | None = None
) -> None:
    """One step of Nesterov SGD at rate `lr`; nothing in it waits for the device."""
    set_rate(state, lr)
    change(state, loss_of, images, labels, extra)
    state.step += 1


def set_rate(state: State, lr: float) -> None:
    """Let the next step take the learning rate `lr`."""
    for group in state.optimizer.param_groups:
        group["lr"].fill_(lr * group["lr_mult"])


def change(state: State, loss_of: Loss, images: Tensor, labels: Tensor, extra: Tensor | None = None) -> None:
    """What a step does to the state's tensors, at the rate that was set: the same operations on the same tensors in
    every step, so that they can be captured once and replayed.
    """
    loss, counts = loss_of(images, labels, extra)
    state.scaler.scale(loss).backward()
    finite = torch.isfinite(loss)
    gradients = [p.grad for p in state.model.parameters() if p.grad is not None]
    gradients_finite = torch.isfinite(torch.nn.utils.get_total_norm(gradients, foreach=True))
    if state.totals.skipped is not None:  # the scaler skips steps with infinite gradients, and that is no failure
        state.totals.skipped.add_(~gradients_finite)
    else:
        finite = finite & gradients_finite
    state.scaler.step(state.optimizer)
    state.scaler.update()
    state.optimizer.zero_grad(set_to_none=True)

    state.totals.add(loss.detach() * len(labels), counts, finite)
    state.after_step(counts)
