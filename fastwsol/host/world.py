"""Several processes as one training, started by torchrun; the only module that imports torch.distributed.

Small things (flags, errors, counts, wishes) go between the processes' hosts by gloo, so that no step waits for a GPU;
gradients go by DistributedDataParallel, by NCCL between GPUs. A single process is a world of one: nothing is sent.
"""

import contextlib
import inspect
import io
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from fastwsol.host.errors import Interrupted, RunFailure, UserError

T = TypeVar("T")

_LONGEST_WAIT = timedelta(days=30)
"""For what another process does first: a store, features of a whole set. One whose connections break is noticed at
once.
"""


@dataclass(frozen=True)
class World:
    """The processes that do one piece of work together, and which of them this is."""

    rank: int = 0
    size: int = 1
    local_rank: int = 0
    """Among the processes of this machine."""
    local_size: int = 1
    hosts: "dist.ProcessGroup | None" = None
    """The processes as hosts, between which small things go."""

    @property
    def leads(self) -> bool:
        """Whether this process writes the files and speaks to the user."""
        return self.rank == 0

    def together(self, work: Callable[[], T]) -> T:
        """Do `work` in every process and return this process's result. An error in one process is raised in all.

        The user reads everything once: only the first process that failed keeps its message, and the output of all but
        the leading process is dropped. `work` itself must not exchange anything between processes.
        """
        with contextlib.redirect_stdout(sys.stdout if self.leads else io.StringIO()):
            result, failure = _outcome(work)
        self._raise_first(failure)
        return result  # type: ignore[return-value]

    def lead_does(self, work: Callable[[], T]) -> T | None:
        """Do `work` in the leading process alone, None in the others; what it raised is raised in all."""
        return self.together(work if self.leads else lambda: None)

    def machine_lead_first(self, work: Callable[[bool], T]) -> T:
        """Do `work(True)` in one process of each machine, then `work(False)` in the others."""
        leads_machine = self.local_rank == 0
        first = self.together(lambda: work(True) if leads_machine else None)
        rest = self.together(lambda: None if leads_machine else work(False))
        return first if leads_machine else rest  # type: ignore[return-value]

    def agree_on(self, facts: dict[str, Any]) -> None:
        """Raise UserError, in all processes, where one of the `facts`, by name, is not what the leading one has."""
        of_lead = self.value_of_lead(facts)

        def check() -> None:
            for name, value in facts.items():
                if value != of_lead.get(name):
                    raise UserError(
                        f"process {self.rank} has {name} {value} and process 0 has {of_lead.get(name)}; give every "
                        f"machine the same command, shards and versions"
                    )

        self.together(check)

    def of_lead(self, error: Exception) -> Exception:
        """The form in which each process raises an error that all of them meet alike: only the leading one keeps the
        message. For an error that only some may meet, use `together`.
        """
        return error if self.leads else _without_message(error)

    def share_from_lead(self, tensors: Iterable[Tensor]) -> None:
        """Overwrite `tensors` in every process with those of the leading one."""
        if self.size > 1:
            for tensor in tensors:
                copy_on_cpu = tensor.detach().cpu().contiguous()
                dist.broadcast(copy_on_cpu, src=0, group=self.hosts)
                tensor.detach().copy_(copy_on_cpu)

    def value_of_lead(self, value: T) -> T:
        """The leading process's `value`, in every process."""
        if self.size == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0, group=self.hosts)
        return values[0]

    def from_lead(self, work: Callable[[], T]) -> T:
        """Do `work` in the leading process alone; what it gave, or raised, in every process."""
        return cast(T, self.value_of_lead(self.lead_does(work)))

    def values_of_all(self, value: T) -> list[T]:
        """Every process's `value`, in the order of their ranks, in every process."""
        if self.size == 1:
            return [value]
        values: list[T | None] = [None] * self.size
        dist.all_gather_object(values, value, group=self.hosts)
        return values  # type: ignore[return-value]

    def add_up(self, tensor: Tensor) -> Tensor:
        """`tensor` summed in place over all processes."""
        if self.size > 1:
            dist.all_reduce(tensor, group=self.hosts if tensor.device.type == "cpu" else None)
        return tensor

    def least(self, tensor: Tensor) -> Tensor:
        """`tensor`, which lies on the CPU, as the least over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(tensor, dist.ReduceOp.MIN, group=self.hosts)
        return tensor

    def averaging_gradients(self, module: nn.Module, device: torch.device) -> nn.Module:
        """`module`, whose backward pass leaves the average of all processes' gradients in every one of them.

        Buffers (BN statistics) are each process's own while it trains. (When it wraps a module, torch 2.14 makes them
        process 0's; torch 2.11 does not.)
        """
        if self.size == 1:
            return module
        parallel = nn.parallel.DistributedDataParallel
        # One setting under two names: newer versions of torch warn of the older.
        newer = "forward_sync_buffers" in inspect.signature(parallel).parameters
        own_buffers: dict[str, Any] = {"forward_sync_buffers" if newer else "broadcast_buffers": False}
        return parallel(
            module,
            device_ids=[device] if device.type == "cuda" else None,
            gradient_as_bucket_view=True,
            **own_buffers,
        )

    def _raise_first(self, mine: Exception | None) -> None:
        if self.size == 1:
            if mine is not None:
                raise mine
            return
        for rank, failure in enumerate(self.values_of_all(mine)):
            if failure is not None:
                raise failure if rank == self.rank else _without_message(failure)


ALONE = World()


def _outcome(work: Callable[[], T]) -> tuple[T | None, Exception | None]:
    try:
        return work(), None
    except (UserError, RunFailure, Interrupted, OSError) as failure:
        return None, failure


def _without_message(failure: Exception) -> Exception:
    return RunFailure() if isinstance(failure, OSError) else type(failure)()


class SharedFlags:
    """Tells all processes, without waiting, what any of them wishes (to stop, to save). It is asked once a step. A
    world of one has the answer at once, a larger one a step later, when the exchange is over.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        # A group of its own: its order among the gradients' exchanges need not be the same in every process.
        self._group = _group_of_hosts() if world.size > 1 else None
        self._asked: tuple[Tensor, Any] | None = None

    def agree(self, *wishes: bool) -> tuple[bool, ...]:
        """Say what this process wishes, each time as many; returns which wishes any process had a step ago."""
        if self._world.size == 1:
            return wishes
        granted = (False,) * len(wishes)
        if self._asked is not None:
            flags, work = self._asked
            work.wait()
            granted = tuple(bool(flag) for flag in flags.tolist())
        flags = torch.tensor(wishes, dtype=torch.int32)
        self._asked = flags, dist.all_reduce(flags, dist.ReduceOp.MAX, group=self._group, async_op=True)
        return granted


@contextlib.contextmanager
def joined() -> Iterator[World]:
    """The world that torchrun made this process part of, joined while the context lasts; else a world of one.

    A process that loses another in mid-work raises RunFailure without a message: the other one has said why.
    """
    world = _launched_by_torchrun()
    if world.size == 1:
        yield world
        return
    store, rank, size = next(rendezvous("env://"))
    if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True":
        # torchrun's store outlives the processes that it starts again, and they would meet those of the attempt before.
        store = PrefixStore(f"attempt {os.environ['TORCHELASTIC_RESTART_COUNT']}", store)
    backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
    dist.init_process_group(backend, store=store, rank=rank, world_size=size)
    try:
        yield replace(world, hosts=_group_of_hosts())
    except RuntimeError as error:
        if not _lost_another(error):
            raise
        raise RunFailure from error
    # Not where something was raised: it would wait for exchanges that another process has left for good.
    dist.destroy_process_group()


def _group_of_hosts() -> dist.ProcessGroup:
    """All processes, by gloo."""
    return cast(dist.ProcessGroup, dist.new_group(backend="gloo", timeout=_LONGEST_WAIT))


def _launched_by_torchrun() -> World:
    if not dist.is_torchelastic_launched():
        return ALONE
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    rank, size, local_rank, local_size = (int(os.environ[name]) for name in names)
    return World(rank, size, local_rank, local_size)


def _lost_another(error: RuntimeError) -> bool:
    """Whether an exchange broke off because a process ended; torchrun tells which."""
    signs = (
        "Connection closed by peer",
        "Connection reset by peer",
        "remote process exited or there was a network error",
    )
    return any(sign in str(error) for sign in signs)  # gloo's and NCCL's
