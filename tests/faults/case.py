"""What a case is, the place it works in, and how it is tried: the same for every command."""

import contextlib
import hashlib
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from fastwsol.host.command_line import run_command


@dataclass
class Place:
    """A folder of its own for one case. `layout` is a good one in the official form, made on first use."""

    root: Path
    good_layout: Path
    shared: dict[str, Path] = field(default_factory=dict)
    """Good things made once for all cases (shards, runs): copy them, never write to them."""

    @property
    def layout(self) -> Path:
        """A good layout that the case may spoil."""
        folder = self.root / "tiny-imagenet-200"
        if not folder.exists():
            shutil.copytree(self.good_layout, folder)
        return folder

    @property
    def out(self) -> Path:
        """Where the case packs to."""
        return self.root / "out"

    def copy(self, name: str) -> Path:
        """A copy of the good `name`, to spoil."""
        folder = self.root / name
        if not folder.exists():
            shutil.copytree(self.shared[name], folder, copy_function=_copy)
        return folder


def _copy(source: str, target: str) -> None:
    """Tensors are large, and linked: a case that spoils them writes a new file."""
    if source.endswith(".safetensors"):
        os.link(source, target)
    else:
        shutil.copyfile(source, target)


@dataclass(frozen=True)
class Case:
    """One bad input.

    make: puts the input into a place and gives the command's arguments; it may be a context manager's generator, whose
    end puts right what it changed about the process. words: what the one line on stderr must contain. mend: puts the
    input right; the same command then has to come to its end.
    """

    group: str
    name: str
    make: Callable[[Place], object]
    words: tuple[str, ...]
    status: int = 2
    command: str = "pack"
    mend: Callable[[Place], object] | None = None
    quarantined: int | None = None
    """How many images `--quarantine` takes out for it; None where that is no way out, and it is refused as well."""

    @property
    def id(self) -> str:
        """Its name in the test report."""
        return f"{self.command}-{self.group}-{self.name}"


@dataclass(frozen=True)
class Outcome:
    """What a command did: exit status, and the line it ended with on stderr."""

    status: int
    line: str


def try_command(main: Callable[[list[str]], int], arguments: list[object], capsys) -> Outcome:
    """Run a command as its script would, and check what holds for every ending: one line, and no traceback."""
    capsys.readouterr()
    status = run_command(main, [str(argument) for argument in arguments])
    complaints = [line for line in capsys.readouterr().err.splitlines() if not _is_progress(line)]
    if status in (0, 3):
        assert complaints == []
        return Outcome(status, "")
    assert len(complaints) == 1, complaints
    assert complaints[0].startswith({1: "failed: ", 2: "error: "}[status])
    assert complaints[0].isprintable()
    return Outcome(status, complaints[0])


def _is_progress(line: str) -> bool:
    if line.startswith("compiling kernels"):
        return True
    return " images/s " in line or ": an earlier packing did not finish; " in line or line.startswith("warning: ")


def snapshot(root: Path, without: Path) -> dict[str, str]:
    """Every file below `root`, with all that a careless command could have changed, but what is in `without`."""
    seen = {}
    for folder, folders, files in os.walk(root):
        if Path(folder) == without:
            folders.clear()
            continue
        for name in (*folders, *files):
            path = Path(folder) / name
            status = path.lstat()
            if path == without:
                continue
            content = ""
            if stat.S_ISREG(status.st_mode) and status.st_size < 2**24:
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            elif stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            seen[str(path.relative_to(root))] = f"{status.st_mode:o} {status.st_size} {content}"
    return seen


@contextlib.contextmanager
def made(case: Case, place: Place) -> Iterator[list[object]]:
    """The arguments of a case whose input lies in `place`, as long as the context lasts."""
    result = case.make(place)
    if isinstance(result, Iterator):
        with contextlib.contextmanager(lambda: result)() as arguments:
            yield arguments
    else:
        yield result


def as_markdown(seen: list[tuple[Case, Outcome]]) -> str:
    """The table of what was seen: command, case, status, line; folders of the machine left out."""
    lines = [
        f"{len(seen)} bad inputs, each tried on the real command by `pytest tests/test_bad_inputs.py`, which also "
        f"checks that nothing is lost and, for most, that the same command comes to its end once the input is mended. "
        f"*Quarantined*: what `--quarantine` makes of it; where that is empty, it refuses as well.",
        "",
        "`pytest tests/test_bad_inputs.py --bad-inputs-table=bench/results/bad-inputs.md` writes this page.",
        "",
        "| command | | bad input | status | quarantined | what the command says |",
        "|---|---|---|---|---|---|",
    ]
    for case, outcome in seen:
        said = re.sub(r"/[^\s:,;()']*/pytest-\d+/[^/\s:,;()']+", "FOLDER", outcome.line).replace("FOLDER/", "")
        said = said.replace(f"{Path.cwd()}/", "")
        said = said.replace("|", "\\|").replace("`", "'")
        aside = "" if case.quarantined is None else f"{case.quarantined} image"
        lines.append(f"| {case.command} | {case.group} | {case.name} | {outcome.status} | {aside} | {said} |")
    return "\n".join(lines) + "\n"
