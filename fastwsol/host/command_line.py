"""What every command shares: flags from a dataclass, mistakes in one line, one meaning of the exit status."""

import codecs
import contextlib
import io
import math
import os
import re
import shlex
import signal
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import tyro
from tyro import _strings as tyro_strings

from fastwsol.host.errors import Interrupted, RunFailure, UserError
from fastwsol.host.files import refuse_in_the_way
from fastwsol.host.starting import INTERRUPTED, begin_work, tell_of_compiling
from fastwsol.host.ticker import Ticker
from fastwsol.host.words import plain

Flags = TypeVar("Flags")


def shown_as(metavar: str | None = None, name: str | None = None) -> Any:
    """How the help shows a flag that may be left out: by what it takes, and without a default of None.

    metavar: what it takes, None: as its type says; name: of the flag, where it is not the field's.
    """
    return tyro.conf.arg(name=name, metavar=metavar, help_behavior_hint="")


OptionalPath = Annotated[Path | None, shown_as("PATH")]
"""A flag that may be left out."""

_OF_TYRO = "--tyro-"  # what its own flags begin with, which print the completions of all flags
_SCRIPTS = "fastwsol-"  # what the installed scripts' names begin with

# Exit statuses (0 is done).
FAILURE = 1
USER_ERROR = 2
DONE_WITH_SKIPS = 3


def _in_paragraphs(text: str) -> str:
    """A docstring without the line ends inside its paragraphs."""
    return "\n\n".join(" ".join(part.split()) for part in re.split(r"\n\s*\n", text.strip()))


# The docstrings of attributes come to tyro with their indentation, and it keeps the line ends before indented lines.
if hasattr(tyro_strings, "remove_single_line_breaks"):
    tyro_strings.remove_single_line_breaks = _in_paragraphs  # type: ignore[assignment]

_ENDS: dict[type[Exception], tuple[str, int]] = {
    UserError: ("error", USER_ERROR),
    RunFailure: ("failed", FAILURE),
    Interrupted: ("stopped", INTERRUPTED),
}


def threshold_flag(*rules: str) -> Any:
    """The type of a flag whose value is one of `rules`, or a number from 0 to 1."""

    def value_of(text: str) -> str | float:
        if text in rules:
            return text
        try:
            threshold = float(text)
        except ValueError:
            threshold = math.nan
        if not 0 <= threshold <= 1:
            raise ValueError(f"{text} is neither {', '.join(rules)} nor a number from 0 to 1 (35 % is 0.35)")
        return threshold

    spec = tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="|".join((*rules, "FLOAT")),
        instance_from_str=lambda words: value_of(words[0]),
        is_instance=lambda value: value in rules or isinstance(value, float),
        str_from_instance=lambda value: [str(value)],
    )
    return Annotated[str | float, spec]


def parse_flags(
    flags: type[Flags], arguments: Sequence[str], prog: str, description: str, default: Flags | None = None
) -> Flags:
    """Turn command line `arguments` into the dataclass `flags`, whose fields and docstrings make the help.

    Raises UserError, in one line, for an unknown flag (with the nearest one that exists) or a value out of its range.
    `--help` prints and exits with status 0.
    """
    return _parse(
        prog,
        f=flags,
        args=list(arguments),
        description=description,
        default=tyro.MISSING_NONPROP if default is None else default,
    )


def parse_some_flags(flags: type[Flags], arguments: Sequence[str], prog: str) -> tuple[Flags, list[str]]:
    """Those flags of a command line that the dataclass `flags` has, and the words that it has not.

    Raises UserError for a value out of its range.
    """
    own = [word for word in arguments if not word.startswith(_OF_TYRO)]
    return _parse(prog, f=flags, args=own, return_unknown_args=True, add_help=False)


def _parse(prog: str, **how: Any) -> Any:
    if (script := Path(sys.argv[0]).name).startswith(_SCRIPTS):
        prog = script
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            return tyro.cli(prog=prog, config=(tyro.conf.OmitArgPrefixes,), **how)
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise UserError(_one_line(complaint.getvalue(), prog)) from None
    except ImportError as error:  # a shell for which tyro needs another package
        raise UserError(f"--tyro-print-completion: {error}") from None


_PLAIN = {"±": "+-", "×": "x", "–": "-", "—": "-", "…": "...", "→": "->"}


def _plainly(error: UnicodeError) -> tuple[str, int]:
    """What is written in place of characters that an output's encoding lacks."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    plain = "".join(_PLAIN.get(each) or each.encode("ascii", "backslashreplace").decode() for each in lacking)
    return plain, error.end


codecs.register_error("fastwsol-plain", _plainly)


def _write_plainly_where_needed() -> None:
    """Have the outputs write plain characters where their encoding lacks others, in place of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="fastwsol-plain")


def run_command(command: Callable[[Sequence[str]], int], arguments: Sequence[str] | None = None) -> int:
    """Run `command` on `arguments` (default: the process's own) and give its exit status, printing errors as a line."""
    begin_work()
    tell_of_compiling()
    _write_plainly_where_needed()
    # A command that knows no better stops on SIGTERM as it does on Ctrl-C.
    terminate = signal.signal(signal.SIGTERM, signal.default_int_handler)
    # What Pillow warns of in a damaged image is told as our own reason, where it is one.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    try:
        status = command(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()  # here a pipe that nobody reads any more can still be told of
        return status
    except (UserError, RunFailure, Interrupted) as end:
        word, status = _ENDS[type(end)]
        if str(end):  # without a message, another process of the same work has said it
            _complain(f"{word}: {end}")
        return status
    except BrokenPipeError:
        with contextlib.suppress(OSError):  # what is still held back for it would fail once more at the end
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        print(
            "failed: nothing reads the output any more; run the same command again without that pipe", file=sys.stderr
        )
        return FAILURE
    except OSError as error:
        if error.filename is None and error.errno is None:
            raise
        where = f"{error.filename}: " if error.filename is not None else ""
        print(f"failed: {where}{error.strerror or error}; mend that and run the same command again", file=sys.stderr)
        return FAILURE
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
        print(
            "failed: there is not enough memory; free some, or ask for less of it (as by a smaller --batch-size), and "
            "run the command again",
            file=sys.stderr,
        )
        return FAILURE
    except KeyboardInterrupt:
        print("stopped: interrupted; run the same command again", file=sys.stderr)
        return INTERRUPTED
    finally:
        signal.signal(signal.SIGTERM, terminate)


def _out_of_memory(error: Exception) -> bool:
    """Of Python, of torch on a GPU, or on a CPU. (Not every command imports torch.)"""
    allocator = "DefaultCPUAllocator: can't allocate memory"
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or allocator in str(error)


def require_new(name: str, path: Path | None) -> None:
    """Raise UserError where the flag `name` gives a file or folder to write that exists. The folders that it lies in
    are made; raises UserError where they cannot be.
    """
    if path is None:
        return
    if os.path.lexists(path):
        raise UserError(f"{name} {path}: exists; nothing was changed, name a new one")
    _make_folders_above(name, path)


def require_new_folder(name: str, path: Path | None) -> None:
    """`require_new` for a folder. Raises too where something else has taken its temporary folder, PATH.partial."""
    require_new(name, path)
    if path is not None:
        refuse_in_the_way(path)


def require_file(name: str, path: Path) -> None:
    """Raise UserError where what the flag `name` gives is a folder, and no file, which may be there already. The
    folders that it lies in are made; raises UserError where they cannot be.
    """
    if path.is_dir():
        raise UserError(f"{name} {path}: is a folder; name a file in it")
    _make_folders_above(name, path)


def require_apart(places: Mapping[str, Path | None]) -> None:
    """Raise UserError where of the places that flags give, by their names, one is another or lies in it: each is whole
    before it is put there.
    """
    given = {name: path.absolute() for name, path in places.items() if path is not None}
    for name, path in given.items():
        for other, place in given.items():
            if name != other and (place == path or place in path.parents):
                where = "is also" if place == path else "lies in what is also written,"
                raise UserError(f"{name} {places[name]}: {where} {other} {places[other]}; name another place")


def _make_folders_above(name: str, path: Path) -> None:
    folder = path.absolute().parent
    above = next(each for each in (folder, *folder.parents) if os.path.lexists(each))
    if not above.is_dir():
        raise UserError(f"{name} {path}: {above} is no folder; name another place")
    if not os.access(above, os.W_OK):
        raise UserError(f"{name} {path}: {above} cannot be written; name another place, or correct its permissions")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{name} {path}: {folder} cannot be made ({error.strerror}); name another place") from None


def without_folders(command: str) -> str:
    """A command with the folders of this machine replaced by what they stand for, to be shown elsewhere."""
    words = [
        part for word in shlex.split(command) for part in (word.split("=", 1) if word.startswith("--") else [word])
    ]
    for number, word in enumerate(words):
        before = words[number - 1] if number else ""
        if before in _STANDS_FOR:
            words[number] = _STANDS_FOR[before]
        elif Path(word).is_absolute():
            words[number] = Path(word).name
    return shlex.join(words)


_STANDS_FOR = {"--shards": "SHARDS", "--run-dir": "RUN", "--store": "STORE"}


def duration(seconds: float) -> str:
    """A length of time as people say it: 42s, 7m, 3h20m, 12.5 days."""
    if seconds < 90:
        return f"{seconds:.0f}s"
    if seconds < 90 * 60:
        return f"{seconds / 60:.0f}m"
    if seconds < 48 * 3600:
        return f"{int(seconds // 3600)}h{int(seconds % 3600 // 60):02d}m"
    return f"{seconds / 86400:.1f} days"


def image_ticker(name: str, total: int) -> Ticker:
    """Progress through `total` images."""

    def line(images: int, rate: float, left: float) -> str:
        return f"{name}  {images:,} of {total:,} images  {rate:,.0f} images/s  {duration(left)} left"

    return Ticker(total, line)


def _complain(text: str) -> None:
    """One line on stderr."""
    print(plain(text), file=sys.stderr)


def _one_line(complaint: str, prog: str) -> str:
    """The text of tyro's complaint without frame, title and the flag's help text.

    tyro draws a frame with the title in its upper edge; where the terminal's encoding has no such characters, the
    title is a line above a rule of dashes.
    """
    framed = "╭" in complaint
    sections: list[list[str]] = [[]]
    for line in complaint.splitlines():
        text = line.strip("│ ")
        if not text or text.startswith(("╭", "╰")):
            continue
        if set(text) <= {"─", "-"}:
            sections.append([])
        else:
            sections[-1].append(text)
    first_section, *more = sections if framed or len(sections) == 1 else sections[1:]
    sentence = " ".join(first_section).rstrip(".")
    for section in more:
        if section and section[0].startswith("Perhaps you meant"):
            nearest = ", ".join(line.split()[0].rstrip(",") for line in section[1:] if line.startswith("-"))
            sentence += f"; perhaps you meant {nearest}"
        elif section and section[0].startswith("Unrecognized options"):  # beside one that is missing
            sentence += f"; unrecognized options: {' '.join(section[1:])}"
    return f"{sentence} (flags: {prog} --help)"
