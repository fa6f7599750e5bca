"""Two processes of one world, as torchrun starts them, but forked from the server of `faults.dying`, which has imported
everything: a start costs no imports. What torchrun itself does is tried in test_distributed and in tests/faults.
"""

import os
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from faults.dying import context
from faults.works import run_small

SECONDS = 300
"""After which they are given up."""


@dataclass(frozen=True)
class Ended:
    """What the two said, one after the other, and the greater of their exit statuses."""

    returncode: int
    stdout: str
    stderr: str


def two_processes(work: Callable[..., object], *arguments: object) -> Ended:
    """`work(*arguments)`, a function of a module, in both processes; what it returns is the exit status (None: 0)."""
    return _started([(work, arguments)] * 2, machines=1)


def two_commands(command: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> Ended:
    """A command's `main` in both processes, with a narrow network."""
    return two_processes(run_small, command, [str(each) for each in arguments])


def two_machines(command: Callable[[Sequence[str]], int], *arguments_of_each: Sequence[str]) -> Ended:
    """A command's `main` in two processes, each of which is its machine's only one and has arguments of its own."""
    return _started([(run_small, (command, list(arguments))) for arguments in arguments_of_each], machines=2)


def _started(works: list[tuple[Callable[..., object], tuple[object, ...]]], machines: int) -> Ended:
    with socket.socket() as free, tempfile.TemporaryDirectory() as folder:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        free.close()
        children = [
            context.Process(target=_child, args=(*work, rank, machines, port, Path(folder)))
            for rank, work in enumerate(works)
        ]
        for child in children:
            child.start()
        for child in children:
            child.join(SECONDS)
            if child.is_alive():
                child.kill()
        status = max(1 if child.exitcode is None or child.exitcode < 0 else child.exitcode for child in children)
        said = [
            "".join((Path(folder) / f"{name}-{rank}").read_text() for rank in range(2)) for name in ("stdout", "stderr")
        ]
    return Ended(status, *said)


def _child(
    work: Callable[..., object], arguments: tuple[object, ...], rank: int, machines: int, port: int, folder: Path
) -> None:
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(folder / f"{name}-{rank}", os.O_CREAT | os.O_WRONLY)
        os.dup2(file, descriptor)
    of_machine = 2 // machines
    names = {"RANK": rank, "LOCAL_RANK": rank % of_machine, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": of_machine}
    names["MASTER_PORT"] = port
    names |= {"MASTER_ADDR": "127.0.0.1", "TORCHELASTIC_RUN_ID": "test", "TORCHELASTIC_RESTART_COUNT": 0}
    os.environ.update({name: str(value) for name, value in names.items()})
    status = work(*arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(int(status) if isinstance(status, int) else 0)
