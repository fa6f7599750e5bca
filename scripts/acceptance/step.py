"""Phase `step`: the training step and the maps are right. No DALI.

Number formats are compared where it tells something. The real network has kinks: a rounding that carries a ReLU over
its edge changes a gradient by its whole, and after eighteen layers bf16's gradients are 30 to 60 % off float32's, on a
CPU as well. So gradients are bounded on the network's smooth twin (softplus for ReLU, the mean for the maximum), where
the formats are apart by their own precision, and the real network by its losses.

Bounds are some three times and more what a CPU's arithmetic was seen to give on these networks and images: on the twin
3e-6 in float32, 1.8e-2 in bf16, 1.2e-3 in fp16; 2e-2 between the losses of short trainings in bf16 and float32.
"""

import copy
import functools
import multiprocessing
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from acceptance import recipes
from acceptance.record import Bound, Check, Finding
from acceptance.setting import IMAGE_SIZE, Kept, Network, Setting, full_float32, nothing_waits, opened, prepared
from fastwsol.evaluation.boxes import PROTOCOLS, BoxProtocol, localize
from fastwsol.evaluation.thresholds import CAM_THRESHOLD
from fastwsol.host.device import Autocast, compute_deterministically, use_threads
from fastwsol.network.cam import class_activation_maps
from fastwsol.network.classifier import Classifier
from fastwsol.network.preact_resnet import SameMaxPool2d
from fastwsol.runs import checkpoint
from fastwsol.training.step import ClassifierState, Loss, make_loss, new_state, state_tensors, train_step
from fastwsol.training.step_mode import Mode

TWIN_GRADIENTS = {"fp32": 1e-4, "bf16": 5e-2, "fp16": 1e-2}
LOSS = {"fp32": 1e-5, "bf16": 1e-2, "fp16": 2e-3}
LOSSES_OF_A_TRAINING = 5e-2
RESUMED_WITHIN = 2e-2
MAPS = 1e-3
BOXES_APART = 0.01
LR = 0.02
MOST_SKIPPED = 8
"""Steps that the loss scaler may skip before its scale, halved each time, fits."""

Gradients = dict[str, Tensor]


def checks(setting: Setting) -> list[Check]:
    """The phase's checks in the order of worth: the first network whole, then what differs with the others."""
    first, *others = setting.networks
    of_phase = [
        *(Check(f"{p} gradients and loss, {first}", partial(number_format, setting, first, p)) for p in TWIN_GRADIENTS),
        Check("maxpool and its gradient equal the CPU's", partial(maxpool, setting)),
        *_no_waits(setting, first, compiled=False),
        Check(f"gradients are channels-last, {first}", partial(gradient_layout, setting, first, False)),
        Check(f"compiled losses against eager, {first}", partial(compiled_losses, setting, first), 60),
        *_no_waits(setting, first, compiled=True),
        Check(f"captured steps against eager ones, {first}", partial(captured, setting, first, "captured"), 10),
        Check(
            f"compiled and captured against eager, {first}", partial(captured, setting, first, "compiled-captured"), 60
        ),
        *recipes.checks(setting, first),
        Check(f"channels-last against contiguous, {first}", partial(layouts, setting, first)),
        Check(f"maps and boxes against the CPU, {first}", partial(maps, setting, first)),
        Check(f"resumed exactly, --deterministic, {first}", partial(resumed_exactly, setting, first), 90),
        Check(f"resumed closely, {first}", partial(resumed, setting, first, False, RESUMED_WITHIN)),
        Check(f"fp16 step under the scaler, {first}", partial(scaled_step, setting, first)),
        Check(f"compiled gradients against float64, {first}", partial(compiled_gradients, setting, first), 60),
        Check(f"compiled gradients are channels-last, {first}", partial(gradient_layout, setting, first, True), 60),
    ]
    for network in others:
        of_phase += [
            Check(f"fp32 gradients and loss, {network}", partial(number_format, setting, network, "fp32")),
            Check(f"bf16 gradients and loss, {network}", partial(number_format, setting, network, "bf16")),
            Check(f"maps and boxes against the CPU, {network}", partial(maps, setting, network)),
            Check(f"compiled losses against eager, {network}", partial(compiled_losses, setting, network), 90),
        ]
    if not setting.dry_run:
        stem_b = Network(18, "B")
        of_phase.append(
            Check(f"bf16 gradients and loss, {stem_b}", partial(number_format, setting, stem_b, "bf16"), 20)
        )
    return of_phase


def _no_waits(setting: Setting, network: Network, compiled: bool) -> Iterator[Check]:
    how = "compiled" if compiled else "eager"
    for precision in ("bf16", "fp16"):
        name = f"no {precision} step waits for the host, {how}, {network}"
        run = partial(no_wait, setting, network, precision, compiled)
        yield Check(name, run, 60 if compiled else 5, needs_cuda=True)


def number_format(setting: Setting, network: Network, precision: str) -> Finding:
    """The twin's gradients against float64 on the CPU; the real network's loss against float32."""
    images, labels = _batch(setting)
    with full_float32():
        twin = setting.state(network, precision)
        smooth(twin.model)
        _, gradients = backward(twin, setting.loss(twin, precision, compiled=False), images, labels)
        loss, real = {}, {}
        for each in ("fp32", precision):
            state = setting.state(network, each)
            loss[each], real[each] = backward(state, setting.loss(state, each, compiled=False), images, labels)
    exact = exact_gradients(setting, network)
    off = abs(loss[precision] - loss["fp32"]) / loss["fp32"]
    return Finding(
        (
            Bound("twin's gradients", apart(gradients, exact), TWIN_GRADIENTS[precision]),
            Bound("loss", off, LOSS[precision]),
        ),
        {"real gradients against fp32": apart(real[precision], real["fp32"])},
    )


def compiled_gradients(setting: Setting, network: Network) -> Finding:
    """The twin's gradients, compiled in float32, against float64 on the CPU."""
    with full_float32():
        twin = setting.state(network, "fp32")
        smooth(twin.model)
        _, gradients = backward(twin, setting.loss(twin, "fp32", compiled=True), *_batch(setting))
    return Finding(
        (Bound("twin's gradients", apart(gradients, exact_gradients(setting, network)), TWIN_GRADIENTS["fp32"]),)
    )


def layouts(setting: Setting, network: Network) -> Finding:
    """The twin in contiguous memory against the twin in channels-last."""
    images, labels = _batch(setting)
    bounds = []
    with full_float32():
        for layout in (torch.contiguous_format, torch.channels_last):
            twin = setting.state(network, "fp32")
            smooth(twin.model)
            twin.model.to(memory_format=layout)
            loss_of = setting.loss(twin, "fp32", compiled=False)
            bounds.append(backward(twin, loss_of, images.contiguous(memory_format=layout), labels)[1])
    return Finding((Bound("twin's gradients", apart(*bounds), TWIN_GRADIENTS["fp32"]),))


def maxpool(setting: Setting) -> Finding:
    """Forward and backward on input full of ties, in both layouts; whole gradients, so that sums are exact."""
    generator = torch.Generator().manual_seed(0)
    shape = (setting.sized(64, 4), 64, 32, 32)
    values = torch.randint(-4, 5, shape, generator=generator).relu().float()
    upstream = torch.randint(-8, 9, (*shape[:2], 16, 16), generator=generator).float()

    def pooled(device: torch.device, layout: torch.memory_format) -> tuple[Tensor, Tensor]:
        x = values.to(device, memory_format=layout, copy=True).requires_grad_()
        y = SameMaxPool2d()(x)
        y.backward(upstream.to(device, memory_format=layout))
        assert x.grad is not None
        return y.detach().cpu(), x.grad.cpu()

    expected = pooled(torch.device("cpu"), torch.contiguous_format)
    off = 0
    for layout in (torch.contiguous_format, torch.channels_last):
        off += sum(int((a != b).sum()) for a, b in zip(pooled(setting.device, layout), expected, strict=True))
    return Finding((Bound("values that differ", off, 0),))


def no_wait(setting: Setting, network: Network, precision: str, compiled: bool) -> Finding:
    """After warming up, steps under torch's check that raises where the host waits for the device."""
    images, labels = _batch(setting)
    state = setting.state(network, precision)
    loss_of = setting.loss(state, precision, compiled)
    steps = 3
    for _ in range(steps):
        train_step(state, loss_of, images, labels, LR)
    with nothing_waits(setting.device):
        for _ in range(steps):
            train_step(state, loss_of, images, labels, LR)
    return Finding((Bound("waits", 0, 0),), {"steps": steps})


def gradient_layout(setting: Setting, network: Network, compiled: bool) -> Finding:
    """Each convolution's weight, gradient and momentum lie in channels-last memory, or each step would copy them."""
    state = setting.state(network, "bf16")
    backward(state, setting.loss(state, "bf16", compiled), *_batch(setting))
    others = 0
    for parameter in state.model.parameters():
        assert parameter.grad is not None
        momentum = state.optimizer.state[parameter]["momentum_buffer"]
        for tensor in (parameter, parameter.grad, momentum) if parameter.ndim == 4 else ():
            others += not tensor.is_contiguous(memory_format=torch.channels_last)
    return Finding((Bound("tensors in another layout", others, 0),))


def compiled_losses(setting: Setting, network: Network) -> Finding:
    """The losses of a short training in bf16, compiled and eager, and eager float32's beside them."""
    eager = losses(setting, network, "bf16", compiled=False)
    compiled = losses(setting, network, "bf16", compiled=True)
    with full_float32():
        exact = losses(setting, network, "fp32", compiled=False)
    return Finding(
        (
            Bound("compiled against eager", mean_apart(compiled, eager), LOSSES_OF_A_TRAINING),
            Bound("bf16 against fp32", mean_apart(eager, exact), LOSSES_OF_A_TRAINING),
        ),
        {"first loss": exact[0], "last loss": exact[-1]},
    )


def captured(setting: Setting, network: Network, mode: Mode) -> Finding:
    """The losses of a short training in bf16, its steps replayed, and eager; capturing itself changes nothing, and no
    replay waits for the device.
    """
    batches = Kept(*setting.batch(_training_size(setting)))
    eager = losses(setting, network, "bf16", compiled=False)
    state = setting.state(network, "bf16")
    before = {name: tensor.clone() for name, tensor in state_tensors(state).items()}
    stepper = setting.stepper(state, "bf16", mode, batches, batches.take())
    trained = sum(int((tensor != before[name]).sum()) for name, tensor in state_tensors(state).items())

    def step(images: Tensor, labels: Tensor) -> None:
        stepper.step({"images": images, "labels": labels}, LR)

    losses_of_way = train_by(setting, state, len(eager), step)
    with nothing_waits(setting.device):
        stepper.step(batches.take(), LR)
    return Finding(
        (
            Bound("values that capturing changed", trained, 0),
            Bound("losses against eager", mean_apart(losses_of_way, eager), LOSSES_OF_A_TRAINING),
        ),
    )


def scaled_step(setting: Setting, network: Network) -> Finding:
    """One step of the twin in fp16 under the scaler, against float32's; steps that the scaler skips change nothing."""
    images, labels = _batch(setting)
    changes: dict[str, Gradients] = {}
    skipped = MOST_SKIPPED
    with full_float32():
        for precision in ("fp32", "fp16"):
            twin = setting.state(network, precision)
            smooth(twin.model)
            before = {name: parameter.detach().clone() for name, parameter in twin.model.named_parameters()}
            loss_of = setting.loss(twin, precision, compiled=False)
            for attempt in range(MOST_SKIPPED + 1):
                train_step(twin, loss_of, images, labels, LR)
                changes[precision] = {
                    name: (parameter.detach() - before[name]).double().cpu()
                    for name, parameter in twin.model.named_parameters()
                }
                if any(change.any() for change in changes[precision].values()):
                    skipped = attempt
                    break
    return Finding(
        (Bound("twin's change of weights", apart(changes["fp16"], changes["fp32"]), TWIN_GRADIENTS["fp16"]),),
        {"skipped steps": skipped},
    )


def maps(setting: Setting, network: Network) -> Finding:
    """Maps and boxes of a network that has trained a little, in float32 on the device against the CPU's; bf16's too."""
    state = setting.state(network, "fp32")
    losses(setting, network, "fp32", compiled=False, state=state)
    model = state.model.eval()
    on_cpu = copy.deepcopy(model).to("cpu", memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    images, labels = _batch(setting)
    with full_float32():
        expected = cams(on_cpu, images.cpu().contiguous(), labels.cpu(), Autocast(torch.device("cpu"), "fp32"))
        own_maps = cams(model, images, labels, setting.autocast("fp32"))
    in_bf16 = cams(model, images, labels, setting.autocast("bf16"))
    return Finding(
        (
            Bound("maps", float((own_maps - expected).norm() / expected.norm()), MAPS),
            *(Bound(f"boxes apart, {each}", boxes_apart(own_maps, expected, each), BOXES_APART) for each in PROTOCOLS),
        ),
        {
            "bf16 maps": float((in_bf16 - expected).norm() / expected.norm()),
            **{f"bf16 boxes apart, {each}": boxes_apart(in_bf16, expected, each) for each in PROTOCOLS},
        },
    )


def resumed_exactly(setting: Setting, network: Network) -> Finding:
    """Eager and compiled under --deterministic, which is a process's from its start: in one of their own, but of a dry
    run, whose network is narrow in its own process alone.
    """
    if setting.dry_run:
        return _resumed_deterministically(setting, network)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(_resumed_deterministically, setting, network).result()


def _resumed_deterministically(setting: Setting, network: Network) -> Finding:
    use_threads(setting.threads)
    compute_deterministically()
    ends = [resumed(setting, network, compiled, 0.0) for compiled in (False, True)]
    return Finding(
        tuple(
            Bound(f"{how}: {bound.what}", bound.value, 0)
            for how, finding in zip(("eager", "compiled"), ends, strict=True)
            for bound in finding.bounds
        )
    )


def resumed(setting: Setting, network: Network, compiled: bool, within: float) -> Finding:
    """Steps, a checkpoint on disk, a fresh state that goes on from it, against the state that went on by itself."""
    steps = setting.sized(10, 1)
    unbroken, continued = (setting.state(network, "bf16") for _ in range(2))
    train(setting, unbroken, "bf16", compiled, steps)
    with tempfile.TemporaryDirectory() as folder:
        saved = checkpoint.load(checkpoint.save(Path(folder), unbroken.step, state_tensors(unbroken), {}))
    train(setting, unbroken, "bf16", compiled, steps)
    for name, tensor in state_tensors(continued).items():
        tensor.copy_(saved.tensors[name])
    continued.step = saved.step
    train(setting, continued, "bf16", compiled, steps)
    ours, theirs = ({n: t.double().cpu() for n, t in state_tensors(each).items()} for each in (continued, unbroken))
    weights = [name for name in ours if name.startswith("model.")]
    off = apart({n: ours[n] for n in weights}, {n: theirs[n] for n in weights})
    differ = sum(int((ours[name] != theirs[name]).sum()) for name in ours)
    if within == 0:
        return Finding((Bound("values that differ", differ, 0),))
    return Finding((Bound("weights", off, within),), {"values that differ": differ})


def train(setting: Setting, state: ClassifierState, precision: str, compiled: bool, steps: int) -> list[float]:
    """Take `steps` steps from where `state` stands, over a few batches in turn, and give their losses."""
    return train_by(setting, state, steps, partial(train_step, state, setting.loss(state, precision, compiled), lr=LR))


def train_by(
    setting: Setting, state: ClassifierState, steps: int, step: Callable[[Tensor, Tensor], None]
) -> list[float]:
    """The same, each step taken by `step`."""
    images, labels = setting.batch(4 * _training_size(setting))
    size = _training_size(setting)
    found, before = [], float(state.totals.loss)
    for _ in range(steps):
        at = slice(state.step % 4 * size, (state.step % 4 + 1) * size)
        step(images[at], labels[at])
        total = float(state.totals.loss)  # summed over images
        found.append((total - before) / size)
        before = total
    return found


def _training_size(setting: Setting) -> int:
    return setting.sized(64, 4)


def losses(
    setting: Setting, network: Network, precision: str, compiled: bool, state: ClassifierState | None = None
) -> list[float]:
    """The losses of a short training from the network's first state."""
    state = setting.state(network, precision) if state is None else state
    return train(setting, state, precision, compiled, setting.sized(20, 2))


def mean_apart(ours: list[float], theirs: list[float]) -> float:
    """The mean distance of two rows of losses, as a share of the second's mean."""
    return sum(abs(a - b) for a, b in zip(ours, theirs, strict=True)) / sum(theirs)


def _batch(setting: Setting) -> tuple[Tensor, Tensor]:
    return setting.batch(setting.sized(32, 2))


def backward(state: ClassifierState, loss_of: Loss, images: Tensor, labels: Tensor) -> tuple[float, Gradients]:
    """The loss, and the gradients in float64 on the CPU, unscaled."""
    state.optimizer.zero_grad()
    loss, _ = loss_of(images, labels)
    state.scaler.scale(loss).backward()
    scale = state.scaler.get_scale()
    named = state.model.named_parameters()
    return float(loss.detach()), {name: p.grad.double().cpu() / scale for name, p in named if p.grad is not None}


@functools.lru_cache(maxsize=2)
def exact_gradients(setting: Setting, network: Network) -> Gradients:
    """The twin's gradients in float64, on the CPU."""
    autocast = Autocast(torch.device("cpu"), "fp32")
    twin = new_state(network.config, len(opened(setting.shards).manifest.classes), autocast)
    smooth(twin.model)
    twin.model.double()
    images, labels = prepared(setting.shards, setting.sized(32, 2))
    return backward(twin, make_loss(twin.model, autocast, compiled=False), images.double(), labels)[1]


def smooth(module: nn.Module) -> None:
    """Take the kinks off: softplus for ReLU, the mean of 2x2 for the maximum of 3x3."""
    for name, child in module.named_children():
        if isinstance(child, nn.ReLU):
            setattr(module, name, nn.Softplus())
        elif isinstance(child, SameMaxPool2d):
            setattr(module, name, nn.AvgPool2d(2))
        else:
            smooth(child)


def apart(ours: Gradients, theirs: Gradients) -> float:
    """||ours - theirs|| / ||theirs|| over all tensors; NaN where one holds it."""
    assert ours.keys() == theirs.keys()
    off = sum(float((ours[name] - theirs[name]).square().sum()) for name in theirs)
    return float(np.sqrt(off / sum(float(each.square().sum()) for each in theirs.values())))


def cams(model: Classifier, images: Tensor, labels: Tensor, autocast: Autocast) -> Tensor:
    """The true classes' maps, float32 [N, h, w] on the CPU."""
    with torch.inference_mode(), autocast():
        _, features = model(images)
        return class_activation_maps(features, model.classifier.weight, labels).cpu()


def boxes_apart(ours: Tensor, theirs: Tensor, protocol: BoxProtocol) -> float:
    """The share of images whose boxes differ."""
    side = IMAGE_SIZE
    both = (localize(each.numpy(), protocol, side, side, side, CAM_THRESHOLD, "min-max") for each in (ours, theirs))
    return float(np.not_equal(*both).any(axis=1).mean())
