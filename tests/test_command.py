"""The command line: mistakes in one line, the list of commands, the wheel's packages."""

import signal
import subprocess
import sys
from dataclasses import dataclass

import pytest

from fastwsol.command import parse_flags, run_command
from fastwsol.errors import Interrupted, RunFailure, UserError


@dataclass(frozen=True)
class Flags:
    size: int = 3
    """how large"""


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--siez", "4"], "perhaps you meant --size"),
        (["--size", "big"], "--size"),
        (["--size"], "--size"),
        (["stray"], "stray"),
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_a_mistake_is_one_line_naming_the_flag(arguments, line, encoding):
    """In a subprocess, since the frame around the complaint depends on the terminal's encoding."""
    code = (
        "from fastwsol.command import *; from tests.test_command import Flags; import sys;"
        f"sys.exit(run_command(lambda a: print(parse_flags(Flags, a, 'prog', 'does')), {arguments!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"PYTHONIOENCODING": encoding, "PYTHONPATH": "."},
    )
    assert done.returncode == 2
    assert line in done.stderr
    assert done.stderr.count("\n") == 1
    assert "prog --help" in done.stderr


def test_help_is_no_mistake(capsys):
    with pytest.raises(SystemExit) as stop:
        parse_flags(Flags, ["--help"], "prog", "does")
    assert not stop.value.code
    assert "how large" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("error", "status"), [(UserError("u"), 2), (RunFailure("f"), 1), (Interrupted("i"), 75), (KeyboardInterrupt(), 75)]
)
def test_errors_have_their_exit_status_and_one_line(error, status, capsys):
    def command(arguments):
        raise error

    assert run_command(command, []) == status
    assert capsys.readouterr().err.count("\n") == 1


def test_what_a_name_holds_stays_on_the_line(capsys):
    def command(arguments):
        raise UserError("a\nb\x1b[31m\udcff größe: missing")

    assert run_command(command, []) == 2
    assert capsys.readouterr().err == "error: a\\nb\\x1b[31m\\udcff größe: missing\n"


def test_sigterm_stops_a_command_as_the_keyboard_does(capsys):
    assert run_command(lambda arguments: signal.raise_signal(signal.SIGTERM), []) == 75
    assert capsys.readouterr().err.count("\n") == 1
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_a_defect_shows_its_traceback():
    def command(arguments):
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        run_command(command, [])


def test_the_package_lists_its_commands():
    done = subprocess.run([sys.executable, "-m", "fastwsol"], capture_output=True, text=True, check=True)
    for command in ("scripts/pack.py", "fastwsol.train", "fastwsol.evaluate", "pytest bench"):
        assert command in done.stdout
