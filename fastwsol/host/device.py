"""Which device, how many threads, which number format, how exactly: decided once, from the flags and the machine."""

import contextlib
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numba
import torch
from numpy.typing import NDArray
from torch import Tensor

from fastwsol.host.errors import UserError
from fastwsol.host.limits import usable_cores

Precision = Literal["auto", "bf16", "fp16", "fp32"]

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


@dataclass(frozen=True)
class Autocast:
    """How the forward pass computes: bf16, fp16, or fp32 without autocast."""

    device: torch.device
    precision: Literal["bf16", "fp16", "fp32"]

    @property
    def dtype(self) -> torch.dtype:
        """The number format as torch names it."""
        return _DTYPES[self.precision]

    def __call__(self) -> AbstractContextManager[object]:
        """The context in which to run the forward pass."""
        return torch.autocast(self.device.type, dtype=_DTYPES[self.precision], enabled=self.precision != "fp32")


def upload(array: NDArray[Any], device: torch.device) -> Tensor:
    """An array on a device, for which nothing waits; on a CPU it keeps its memory."""
    tensor = torch.from_numpy(array)
    if device.type == "cuda":  # pinned, or the copy would wait for the device
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


_MOST_SHAPES = 64


def let_compile_many() -> None:
    """Let torch compile a function of ours for as many shapes in one process as images may have sizes: beyond its own
    limit of 8 it goes on uncompiled.
    """
    torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, _MOST_SHAPES)


def gpu_count() -> int:
    """How many GPUs torch can use. Those that the driver counts may be more: none starts where it is older than torch's
    CUDA.
    """
    return torch.cuda.device_count() if torch.cuda.is_available() else 0


def _gpus_text() -> str:
    counted, usable = torch.cuda.device_count(), gpu_count()
    if counted > usable:
        return f"torch can use none of this machine's {counted} CUDA devices (their driver may be too old for it)"
    return f"this machine has {usable} CUDA devices"


def pick_device(name: str, local_rank: int = 0, processes: int = 1) -> torch.device:
    """Return the device of `--device`: auto takes a GPU where there is one. Raises UserError where it is not.

    Of several `processes` on this machine each takes the GPU of its own number, `local_rank`.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and processes > 1:
        name = f"cuda:{local_rank}"
        if processes > gpu_count():
            or_fewer = "start that many processes, or " if gpu_count() else ""
            raise UserError(f"--nproc-per-node {processes}: {_gpus_text()}; {or_fewer}use --device cpu")
    elif name.startswith("cuda:") and processes > 1:
        raise UserError(f"--device {name}: {processes} processes need a GPU each; use --device auto")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"--device {name}: no such device; use auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"--device {name}: fastwsol runs on cpu or cuda; use --device auto")
    if device.type == "cuda" and (device.index or 0) >= gpu_count():
        raise UserError(f"--device {name}: {_gpus_text()}; use --device auto")
    return torch.device("cuda", device.index or 0) if device.type == "cuda" else device


def take_device(name: str, local_rank: int = 0, processes: int = 1) -> torch.device:
    """`pick_device`, and where it is a GPU it becomes the one this process works on."""
    device = pick_device(name, local_rank, processes)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def pick_autocast(precision: Precision, device: torch.device) -> Autocast:
    """Return the number format of `--precision` on `device`: auto is bf16 where the hardware has it."""
    if precision not in get_args(Precision):
        raise UserError(f"--precision {precision}: choose from {', '.join(get_args(Precision))}")
    if precision == "auto":
        if device.type == "cuda":
            return Autocast(device, "bf16" if torch.cuda.get_device_capability(device) >= (8, 0) else "fp16")
        return Autocast(device, "bf16" if torch.cpu._is_avx512_bf16_supported() else "fp32")
    if precision == "fp16" and device.type == "cpu":
        raise UserError("--precision fp16: needs a CUDA device; use bf16 or fp32 on a CPU")
    return Autocast(device, precision)


def autocast_of_run(precision: Precision, trained_in: Precision, device: torch.device) -> Autocast:
    """The number format of a trained network: `auto` is the one it was trained in, where the device has it.

    A network that was trained in fp16, on a GPU, computes in fp32 on a CPU.
    """
    if precision != "auto":
        return pick_autocast(precision, device)
    return pick_autocast("fp32" if trained_in == "fp16" and device.type == "cpu" else trained_in, device)


def use_threads(threads: int, processes: int = 1) -> int:
    """Give the CPU's work `threads` threads and return how many.

    0: all cores this process may use, divided among the `processes` on this machine.
    """
    if type(threads) is not int or threads < 0:
        raise UserError(f"--threads {threads}: must be at least 0, a whole number")
    count = threads or max(1, usable_cores() // processes)
    # Numba first: its OpenMP layer sets the number of threads of the whole process at every launch, torch's with it,
    # and sums of floats depend on that number.
    numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))
    torch.set_num_threads(count)
    return count


@contextlib.contextmanager
def kernel_threads(most: int) -> Iterator[None]:
    """Let kernels use at most `most` threads inside the context. Waking more threads than there are maps costs time and
    gains nothing.
    """
    before = numba.get_num_threads()
    numba.set_num_threads(min(most, before))
    try:
        yield
    finally:
        numba.set_num_threads(before)


def compute_deterministically() -> None:
    """Have a GPU give the same bits for the same work on the same machine, at some cost in speed; a CPU does so anyway.
    It holds for the whole process, and must come before its first work on a GPU, since cuBLAS reads its setting once.
    An operation that has no deterministic form then raises RuntimeError; the model has none (max_pool2d's backward
    gathers, and the loss is the one-dimensional one).
    """
    os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"
    torch.backends.cudnn.benchmark = False  # which times algorithms, and so may choose differently each time
    torch.backends.cudnn.deterministic = True
    torch.use_deterministic_algorithms(True)  # the compiler's too: it no longer times its reductions
