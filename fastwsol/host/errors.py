"""The errors a user sees as one line. Anything else that escapes a command is a defect, and shows its traceback."""


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
