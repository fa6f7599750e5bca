"""The errors a user sees as one line. Anything else that escapes a command is a defect, and shows its traceback."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Self


class UserError(Exception):
    """The user's mistake. The message is one line naming the file, flag or class and the remedy; exit status 2."""


class RunFailure(Exception):
    """Work that was asked for rightly and still failed (NaN, a disk that is full); one line, exit status 1."""


class Interrupted(Exception):
    """A signal asked the work to stop, and it stopped with its state saved; one line, exit status 75."""


def line_of(error: UnicodeDecodeError) -> int:
    """The line (from 1) of a text's first byte that is no UTF-8; the text must have been decoded whole."""
    return error.object.count(b"\n", 0, error.start) + 1


def first_line(error: BaseException) -> str:
    """Of an error's message; the error's name where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


class DeferredErrors:
    """Work that is written before its tables are printed, since whoever reads these may close the pipe; and tables that
    are printed also where it cannot be written. The first failure is raised at the end, the others are told.
    """

    def __init__(self) -> None:
        self.failures: list[OSError] = []

    @contextlib.contextmanager
    def caught(self) -> Iterator[None]:
        """Around what writes: an OSError is kept for the end."""
        try:
            yield
        except OSError as error:
            self.failures.append(error)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self.failures and (kind is None or issubclass(kind, BrokenPipeError)):
            for more in self.failures[1:]:
                print(f"failed: {more.filename}: {more.strerror}", file=sys.stderr)
            raise self.failures[0]
