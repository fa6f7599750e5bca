"""What every command shares: flags from a dataclass, mistakes in one line, one meaning of the exit status."""

import codecs
import contextlib
import io
import os
import re
import signal
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tyro
from tyro import _strings as tyro_strings

from fastwsol.host.errors import Interrupted, RunFailure, UserError
from fastwsol.host.starting import INTERRUPTED, begin_work, tell_of_compiling
from fastwsol.host.words import plain

Flags = TypeVar("Flags")


_OF_TYRO = "--tyro-"  # what its own flags begin with, which print the completions of all flags
_SCRIPTS = "fastwsol-"  # what the installed scripts' names begin with

# Exit statuses (0 is done).
FAILURE = 1
USER_ERROR = 2
DONE_WITH_SKIPS = 3


def _in_paragraphs(text: str) -> str:
    """A docstring without the line ends inside its paragraphs."""
    return "\n\n".join(" ".join(part.split()) for part in re.split(r"\n\s*\n", text.strip()))


@contextlib.contextmanager
def _paragraphs_in_help() -> Iterator[None]:
    """Have tyro take the docstrings of attributes in paragraphs. They come to it with their indentation, and it keeps
    the line ends before indented lines.
    """
    name = "remove_single_line_breaks"
    of_tyro = getattr(tyro_strings, name, None)
    if of_tyro is None:  # another version's
        yield
        return
    setattr(tyro_strings, name, _in_paragraphs)
    try:
        yield
    finally:
        setattr(tyro_strings, name, of_tyro)


_ENDS: dict[type[Exception], tuple[str, int]] = {
    UserError: ("error", USER_ERROR),
    RunFailure: ("failed", FAILURE),
    Interrupted: ("stopped", INTERRUPTED),
}


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
        with contextlib.redirect_stderr(complaint), _paragraphs_in_help():
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


def _write_plainly_where_needed() -> None:
    """Have the outputs write plain characters where their encoding lacks others, in place of failing."""
    codecs.register_error("fastwsol-plain", _plainly)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
            stream.reconfigure(errors="fastwsol-plain")


def drop_output() -> None:
    """Give up the output that nobody reads any more: what is still held back for it would fail once more at the end."""
    with contextlib.suppress(OSError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def run_command(
    command: Callable[[Sequence[str]], int], arguments: Sequence[str] | None = None, by_several: bool = False
) -> int:
    """Run `command` on `arguments` (default: the process's own) and give its exit status, printing errors as a line.

    by_several: whether processes that torchrun starts share the command's work; else they are refused.
    """
    begin_work()
    tell_of_compiling()
    _write_plainly_where_needed()
    # A command that knows no better stops on SIGTERM as it does on Ctrl-C.
    terminate = signal.signal(signal.SIGTERM, signal.default_int_handler)
    # What Pillow warns of in a damaged image is told as our own reason, where it is one.
    warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
    warnings.filterwarnings("ignore", message="Image size .* decompression bomb")
    try:
        if not by_several:
            _refuse_torchrun()
        status = command(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()  # here a pipe that nobody reads any more can still be told of
        return status
    except (UserError, RunFailure, Interrupted) as end:
        word, status = _ENDS[type(end)]
        if str(end):  # without a message, another process of the same work has said it
            _complain(f"{word}: {end}")
        return status
    except BrokenPipeError:
        drop_output()
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


def _refuse_torchrun() -> None:
    """Raise UserError where torchrun has started this process and others: each would do the same. One of them says so.
    (Not every command imports torch, which tells it too.)
    """
    count = int(os.environ.get("WORLD_SIZE", "1")) if "TORCHELASTIC_RUN_ID" in os.environ else 1
    if count > 1:
        said = f"this command is the work of one process, and torchrun has started {count}; start it without torchrun"
        raise UserError(said if os.environ.get("RANK") == "0" else "")


def _out_of_memory(error: Exception) -> bool:
    """Of Python, of torch on a GPU, or on a CPU, or of DALI. (Not every command imports torch.)"""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return any(text in str(error) for text in _TEXTS_OF_ALLOCATORS)


_TEXTS_OF_ALLOCATORS = ("DefaultCPUAllocator: can't allocate memory", "CUDA allocation failed", "Can't allocate ")
"""Torch's on a CPU, and DALI's two."""


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
