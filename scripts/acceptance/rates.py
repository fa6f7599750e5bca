"""Phase `rates`: how fast the step is, beside the two ceilings of the machine, which are measured first. No DALI.

Rates of steps are the medians of several rounds by CUDA events, after warming up, on images, not on zeros.
"""

import statistics
import time
from functools import partial
from typing import Any

import torch

from acceptance.record import Check, Finding
from acceptance.setting import Network, Setting, seconds_of, wait
from fastwsol.cam import class_activation_maps
from fastwsol.step import make_loss, train_step

GMAC = {"18A": 0.99, "34A": 1.83, "18C": 0.25, "34C": 0.46}
"""Forward, one image of 64 pixels: 10^9 multiply-adds. A step is three forwards, a multiply-add two operations."""


def checks(setting: Setting) -> list[Check]:
    """The ceilings, then steps in the order of worth: the usual batch, then the launch-bound, then the large one."""
    measured = Ceilings(setting)
    found = [Check("bf16 matrix product", measured.matrix_product), Check("device copy", measured.copy)]
    batches = (4,) if setting.dry_run else (256, 32, 1024)
    for size in batches:
        for network in setting.networks:
            name = f"{network}, batch {size}"
            found.append(Check(f"compiled step, {name}", partial(step_rate, measured, network, size, "compiled"), 60))
            found.append(Check(f"eager step, {name}", partial(step_rate, measured, network, size, "eager")))
            if size == batches[0]:
                found.append(Check(f"evaluation, {name}", partial(evaluation_rate, measured, network, size)))
    for size in batches[1::-1]:
        network = setting.networks[0]
        run = partial(step_rate, measured, network, size, "CUDA graphs")
        found.append(Check(f"step in CUDA graphs, {network}, batch {size}", run, 60, needs_cuda=True))
    return found


class Ceilings:
    """The machine's two ceilings, kept for the shares that the steps reach."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.flop_rate: float | None = None

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
        rate = 2 * source.nbytes / statistics.median(seconds)
        return Finding(figures={"GB/s": rate / 1e9, "bytes copied": source.nbytes, "seconds": seconds})


def step_rate(ceilings: Ceilings, network: Network, size: int, how: str) -> Finding:
    """Images a second of the bf16 training step, its share of the matrix product's rate, its memory."""
    setting = ceilings.setting
    images, labels = setting.batch(size)
    state = setting.state(network, "bf16")
    if how == "CUDA graphs":
        torch.compiler.reset()
        eager = make_loss(state.model, setting.autocast("bf16"), compiled=False)
        loss_of = torch.compile(eager, mode="reduce-overhead")
    else:
        loss_of = setting.loss(state, "bf16", compiled=how == "compiled")

    def step() -> None:
        if how == "CUDA graphs":
            torch.compiler.cudagraph_mark_step_begin()
        train_step(state, loss_of, images, labels, 0.01)

    if setting.device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    step()
    wait(setting.device)
    first = time.perf_counter() - start
    seconds = seconds_of(step, setting.device, setting.sized(7, 1))
    return Finding(figures=_rates(ceilings, network, size, seconds, passes=3) | {"first step s": first})


def evaluation_rate(ceilings: Ceilings, network: Network, size: int) -> Finding:
    """Images a second of an evaluation's forward pass and maps, as `validation` does it: eager."""
    setting = ceilings.setting
    images, labels = setting.batch(size)
    model = setting.state(network, "bf16").model.eval()
    autocast = setting.autocast("bf16")

    def forward() -> None:
        with torch.inference_mode():
            with autocast():
                logits, features = model(images)
            class_activation_maps(features, model.fc.weight, labels)
            logits.argmax(1)

    seconds = seconds_of(forward, setting.device, setting.sized(7, 1))
    return Finding(figures=_rates(ceilings, network, size, seconds, passes=1))


def _rates(ceilings: Ceilings, network: Network, size: int, seconds: list[float], passes: int) -> dict[str, Any]:
    """The figures of `passes` times the work of a forward pass over `size` images."""
    median = statistics.median(seconds)
    flop_rate = passes * 2 * GMAC[str(network)] * 1e9 * size / median
    on_gpu = ceilings.setting.device.type == "cuda"
    return {
        "images/s": round(size / median, 1),
        "TFLOP/s": flop_rate / 1e12,
        "of the matrix product's": flop_rate / ceilings.flop_rate if ceilings.flop_rate else None,
        "ms": 1000 * median,
        "seconds": seconds,
        "peak bytes": torch.cuda.max_memory_allocated() if on_gpu else None,
    }
