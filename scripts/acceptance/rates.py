"""Phase `rates`: how fast the step is in each mode, beside the machine's two ceilings, measured first. No DALI.

Rates of steps are the medians of several rounds by CUDA events, after warming up, on images, not on zeros. Beside a
step's time stands the least that its convolutions and its optimizer could take at the device copy's rate.
"""

import multiprocessing
import statistics
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity

from acceptance.record import Bound, Check, Finding
from acceptance.setting import IMAGE_SIZE, Kept, Network, Setting, seconds_of, wait
from fastwsol.host.device import use_threads
from fastwsol.network.cam import class_activation_maps
from fastwsol.network.preact_resnet import GMAC, BatchNormReLU, PreActResNet, SameConv2d
from fastwsol.training.step_mode import Mode

CAPTURED_OVER_EAGER, CAPTURED_OVER_COMPILED = 4.0, 1.5
"""What the better captured mode must gain at the batch of 32 that the paper finds best, on the usual network."""
SECONDS_SIDE_BY_SIDE = 5
SECONDS_TO_BEGIN = 60.0
PROFILED = 25
"""Operations of a step that are told."""


def checks(setting: Setting) -> list[Check]:
    """The ceilings, then steps in the order of worth: the usual batch, the paper's best, then the others."""
    ceilings = Ceilings(setting)
    of_phase = [Check("bf16 matrix product", ceilings.matrix_product), Check("device copy", ceilings.copy)]
    networks = setting.networks
    sizes = (4,) if setting.dry_run else (256, 32, 1024, 128)
    for size in sizes:
        for network in networks[:2] if size == sizes[0] else networks[:1]:
            of_phase.append(Check(f"step, {network}, batch {size}", partial(step_rates, ceilings, network, size), 80))
    of_phase.append(Check("BN and ReLU, forward and backward", partial(bn_and_relu, ceilings)))
    run = partial(profile, setting, networks[0], setting.sized(128, 4))
    of_phase.append(Check(f"where an eager step's time goes, {networks[0]}, batch {setting.sized(128, 4)}", run))
    for count in (2,) if setting.dry_run else (1, 2, 4):
        name = f"{count} processes side by side, {networks[0]}, batch {setting.sized(32, 4)}"
        of_phase.append(Check(name, partial(side_by_side, setting, networks[0], count), 40))
    for network in networks:
        run = partial(evaluation_rate, ceilings, network, sizes[0])
        of_phase.append(Check(f"evaluation, {network}, batch {sizes[0]}", run))
    for size in sizes:
        for network in networks[2:] if size == sizes[0] else networks[1:]:
            of_phase.append(Check(f"step, {network}, batch {size}", partial(step_rates, ceilings, network, size), 80))
    return of_phase


class Ceilings:
    """The machine's two ceilings, kept for the shares that the steps reach."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.flop_rate: float | None = None
        self.copy_rate: float | None = None

    def matrix_product(self) -> Finding:
        """bf16, square, of normal numbers."""
        side = self.setting.sized(8192, 256)
        a, b = (torch.randn(side, side, device=self.setting.device).bfloat16() for _ in range(2))
        seconds = seconds_of(lambda: a @ b, self.setting.device, self.setting.sized(10, 2))
        self.flop_rate = 2 * side**3 / statistics.median(seconds)
        return Finding(figures={"TFLOP/s": self.flop_rate / 1e12, "side": side, "seconds": seconds})

    def copy(self) -> Finding:
        """Device memory to device memory; bytes read and bytes written both count."""
        count = self.setting.sized(2**30, 2**20)
        source = torch.randn(count, device=self.setting.device)
        target = torch.empty_like(source)
        seconds = seconds_of(lambda: target.copy_(source), self.setting.device, self.setting.sized(10, 2))
        rate = self.copy_rate = 2 * source.nbytes / statistics.median(seconds)
        return Finding(figures={"GB/s": rate / 1e9, "bytes copied": source.nbytes, "seconds": seconds})


def step_rates(ceilings: Ceilings, network: Network, size: int) -> Finding:
    """The bf16 training step in every mode: images a second, shares of the ceilings, memory, seconds to the first."""
    setting = ceilings.setting
    batches = Kept(*setting.batch(size))
    found: dict[str, dict[str, Any]] = {}
    for mode in setting.modes:
        _forget_peak(setting)
        start = time.perf_counter()
        state = setting.state(network, "bf16")
        stepper = setting.stepper(state, "bf16", mode, batches, batches.take())
        stepper.step(batches.take(), 0.01)
        wait(setting.device)
        first = time.perf_counter() - start
        seconds = seconds_of(partial(stepper.step, batches.take(), 0.01), setting.device, setting.sized(7, 1))
        found[mode] = _rates(ceilings, network, size, seconds, passes=3) | {"until the first step's end s": first}
        del state, stepper  # before the next mode's memory is measured
    figures: dict[str, Any] = {f"{mode} images/s": each["images/s"] for mode, each in found.items()}
    floor = floor_bytes(network, size)
    figures |= {"floor bytes": floor, "floor ms": 1000 * floor / ceilings.copy_rate if ceilings.copy_rate else None}
    captured = max((each["images/s"] for mode, each in found.items() if "captured" in mode), default=0)
    over_eager = captured / found["eager"]["images/s"]
    over_compiled = captured / found["compiled"]["images/s"]
    figures |= {"captured over eager": over_eager, "captured over compiled": over_compiled}
    asked = size == 32 and network == setting.networks[0] and not setting.dry_run
    bounds = (
        Bound("eager's share of captured", 1 / over_eager, 1 / CAPTURED_OVER_EAGER),
        Bound("compiled's share of captured", 1 / over_compiled, 1 / CAPTURED_OVER_COMPILED),
    )
    return Finding(bounds if asked else (), figures | {"modes": found})


BN_SHAPES = ((64, 64), (64, 32), (128, 16), (256, 8), (512, 8))
"""Channels and side of what ResNet-18 with stem A normalises, at 64 pixels."""


def _both_ways(way: Callable[[Tensor], Tensor], images: Tensor, coming: Tensor) -> None:
    torch.autograd.grad(way(images), images, coming)  # kept nowhere: a sum would be three passes more


def bn_and_relu(ceilings: Ceilings) -> Finding:
    """Milliseconds of BN with ReLU in training, bf16, both directions, at each of the network's shapes: as torch has
    them, compiled, and the time of eight passes over the tensor (`bench/step_bound.py`), what one kernel a direction
    would take.
    """
    setting = ceilings.setting
    size, device = setting.sized(256, 2), setting.device
    figures: dict[str, Any] = {"batch": size}
    for channels, side in BN_SHAPES:
        side = setting.sized(side, 4)
        images = torch.randn(size, channels, side, side, device=device).to(memory_format=torch.channels_last)
        images = images.bfloat16().requires_grad_()
        layer = BatchNormReLU(channels).to(device)
        coming = torch.randn_like(images)
        ways: dict[str, Callable[[Tensor], Tensor]] = {"torch": layer}
        if not setting.dry_run:
            ways["compiled"] = torch.compile(layer, dynamic=False)
        found = {}
        for name, way in ways.items():
            _both_ways(way, images, coming)
            seconds = seconds_of(partial(_both_ways, way, images, coming), device, setting.sized(10, 1))
            found[f"{name} ms"] = 1000 * statistics.median(seconds)
        passes = 8 * images.nbytes / ceilings.copy_rate if ceilings.copy_rate else None
        figures[f"{channels} channels, {side} x {side}"] = found | {"eight passes ms": passes and 1000 * passes}
    return Finding(figures=figures)


def floor_bytes(network: Network, size: int) -> int:
    """Bytes that a step must move at the least if all else is fused into the convolutions and the optimizer.

    Each convolution reads its input and writes its output once, and for its two gradients reads what comes back twice
    and its input once, and writes one: three times both, in bf16. The optimizer reads weight, gradient and momentum and
    writes two of them, in float32. Batch normalisation's passes over the whole batch are not in it.
    """
    moved = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal moved
        moved += 3 * 2 * (inputs[0].numel() + output.numel())

    with torch.device("meta"):
        model = PreActResNet(network.depth, network.stem, classes=200)
        for module in model.modules():
            if isinstance(module, SameConv2d):
                module.register_forward_hook(count)
        model(torch.empty(size, 3, IMAGE_SIZE, IMAGE_SIZE))
    return moved + 5 * 4 * sum(parameter.numel() for parameter in model.parameters())


def profile(setting: Setting, network: Network, size: int) -> Finding:
    """Milliseconds and calls of an eager bf16 step's most expensive operations, by torch's profiler.

    On a GPU an operation has the time of its kernels, and they stand there for themselves once more.
    """
    batches = Kept(*setting.batch(size))
    stepper = setting.stepper(setting.state(network, "bf16"), "bf16", "eager", batches, batches.take())
    on_gpu = setting.device.type == "cuda"
    steps = setting.sized(3, 1)
    for _ in range(steps):
        stepper.step(batches.take(), 0.01)
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * on_gpu
    with torch.profiler.profile(activities=activities) as profiler:
        for _ in range(steps):
            stepper.step(batches.take(), 0.01)
        wait(setting.device)
    clock = "self_device_time_total" if on_gpu else "self_cpu_time_total"  # microseconds
    spent = [
        {"name": each.key, "ms": getattr(each, clock) / 1000 / steps, "calls": each.count / steps}
        for each in profiler.key_averages()
    ]
    return Finding(figures={"operations": sorted(spent, key=lambda each: -each["ms"])[:PROFILED]})


def side_by_side(setting: Setting, network: Network, count: int) -> Finding:
    """Images a second of `count` processes that each train a network of their own at a small batch on the one device,
    in the fastest mode without a compiler; one after the other they would each have the rate of a single one.
    """
    size = setting.sized(32, 4)
    mode: Mode = "captured"
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(count, mp_context=context) as processes:
        barrier = manager.Barrier(count, timeout=SECONDS_TO_BEGIN)  # of one that fails, the others learn so
        running = [processes.submit(_train_alone, setting, network, size, mode, barrier) for _ in range(count)]
        rates = [each.result() for each in running]
    return Finding(figures={"images/s": sum(rates), "of each": rates, "processes": count, "mode": mode})


def _train_alone(setting: Setting, network: Network, size: int, mode: Mode, barrier: Any) -> float:
    use_threads(setting.threads)
    batches = Kept(*setting.batch(size))
    stepper = setting.stepper(setting.state(network, "bf16"), "bf16", mode, batches, batches.take())
    stepper.step(batches.take(), 0.01)
    wait(setting.device)
    barrier.wait()
    start, steps = time.perf_counter(), 0
    while time.perf_counter() - start < setting.sized(SECONDS_SIDE_BY_SIDE, 1):
        for _ in range(setting.sized(20, 1)):
            stepper.step(batches.take(), 0.01)
        wait(setting.device)
        steps += setting.sized(20, 1)
    return steps * size / (time.perf_counter() - start)


def evaluation_rate(ceilings: Ceilings, network: Network, size: int) -> Finding:
    """Images a second of an evaluation's forward pass and maps, as `evaluation.forward` does it: eager."""
    setting = ceilings.setting
    images, labels = setting.batch(size)
    model = setting.state(network, "bf16").model.eval()
    autocast = setting.autocast("bf16")

    def forward() -> None:
        with torch.inference_mode():
            with autocast():
                logits, features = model(images)
            class_activation_maps(features, model.classifier.weight, labels)
            logits.argmax(1)

    _forget_peak(setting)
    seconds = seconds_of(forward, setting.device, setting.sized(7, 1))
    return Finding(figures=_rates(ceilings, network, size, seconds, passes=1))


def _forget_peak(setting: Setting) -> None:
    if setting.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def _rates(ceilings: Ceilings, network: Network, size: int, seconds: list[float], passes: int) -> dict[str, Any]:
    """The figures of `passes` times the work of a forward pass over `size` images."""
    median = statistics.median(seconds)
    flop_rate = passes * 2 * GMAC[network.depth, network.stem] * 1e9 * size / median
    on_gpu = ceilings.setting.device.type == "cuda"
    return {
        "images/s": round(size / median, 1),
        "TFLOP/s": flop_rate / 1e12,
        "of the matrix product's": flop_rate / ceilings.flop_rate if ceilings.flop_rate else None,
        "ms": 1000 * median,
        "seconds": seconds,
        "peak bytes": torch.cuda.max_memory_allocated() if on_gpu else None,
    }
