"""The command line: mistakes in one line, the list of commands, the wheel's packages."""

import contextlib
import gc
import importlib.util
import io
import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from few_flags import Flags
from tyro import _strings as tyro_strings

import fastwsol.__main__ as listing
from fastwsol import train
from fastwsol.dataset.shards import open_shards
from fastwsol.host.command_line import parse_flags, run_command
from fastwsol.host.environment import without_folders
from fastwsol.host.errors import Interrupted, RunFailure, UserError
from fastwsol.host.flags import OptionalPath
from fastwsol.host.places import require_file, require_new
from fastwsol.host.stop_signals import SIGNALS, StopSignals
from fastwsol.host.words import first_few, number_of

ROOT = Path(__file__).parent.parent


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
        "from fastwsol.host.command_line import *; from few_flags import Flags; import sys;"
        f"sys.exit(run_command(lambda a: print(parse_flags(Flags, a, 'prog', 'does')), {arguments!r}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={"PYTHONIOENCODING": encoding, "PYTHONPATH": str(ROOT / "tests")},
    )
    assert done.returncode == 2
    assert line in done.stderr
    assert done.stderr.count("\n") == 1
    assert "prog --help" in done.stderr


@pytest.mark.parametrize("lines", [1, 100_000])
def test_a_pipe_that_nobody_reads_any_more_is_told_in_a_line(lines):
    code = (
        "from fastwsol.host.command_line import *; import sys;"
        f"sys.exit(run_command(lambda a: print('line\\n' * {lines}), []))"
    )
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([sys.executable, "-c", code], stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert done.returncode == 1
    assert done.stderr == "failed: nothing reads the output any more; run the same command again without that pipe\n"


def test_help_is_no_mistake(capsys):
    with pytest.raises(SystemExit) as stop:
        parse_flags(Flags, ["--help"], "prog", "does")
    assert not stop.value.code
    assert "how large" in capsys.readouterr().out


@dataclass(frozen=True)
class LongFlags:
    """One flag with a long text."""

    place: OptionalPath = None
    """where it
    --lies"""


def test_help_joins_the_lines_of_a_text_and_says_no_default_of_none(capsys):
    with pytest.raises(SystemExit):
        parse_flags(LongFlags, ["--help"], "prog", "does")
    said = capsys.readouterr().out
    assert "--place PATH" in said
    assert "where it --lies" in said
    assert "None" not in said
    assert tyro_strings.remove_single_line_breaks.__module__ == "tyro._strings", "as it was, for others' programs"


@pytest.mark.parametrize(
    ("error", "status"), [(UserError("u"), 2), (RunFailure("f"), 1), (Interrupted("i"), 75), (KeyboardInterrupt(), 75)]
)
def test_errors_have_their_exit_status_and_one_line(error, status, capsys):
    def command(arguments):
        raise error

    assert run_command(command, []) == status
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: can't allocate memory: you tried"),
        RuntimeError("Error in GPU operator `nvidia.dali.fn.resize`: CUDA allocation failed"),
        RuntimeError("Can't allocate 1207959552 bytes on device 0."),
    ],
    ids=["python", "torch", "torch on a CPU", "dali", "dali's pool"],
)
def test_where_memory_ends_the_remedy_is_told(error, capsys):
    def command(arguments):
        raise error

    assert run_command(command, []) == 1
    assert capsys.readouterr().err.startswith("failed: there is not enough memory; free some")


def test_another_error_of_torch_is_no_lack_of_memory():
    def command(arguments):
        raise RuntimeError("shapes differ")

    with pytest.raises(RuntimeError, match="shapes differ"):
        run_command(command, [])


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


def test_the_list_of_commands_names_modules_that_are_there(capsys):
    listing.print_commands()
    said = capsys.readouterr().out
    for group in listing.COMMANDS.values():
        for command, purpose in group.items():
            assert command in said
            assert purpose in said
            if command.startswith("python -m "):
                assert importlib.util.find_spec(command.split()[2]) is not None
            elif command.startswith("python scripts/"):
                assert (ROOT / command.split()[1]).is_file()


def test_folders_above_what_is_written_are_made(tmp_path):
    require_new("--out", tmp_path / "a" / "b" / "file")
    assert (tmp_path / "a" / "b").is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="file is no folder; name another place"):
        require_file("--out", tmp_path / "file" / "c" / "x.json")
    assert number_of(1, "box", "boxes") == "1 box"
    assert number_of(1200, "box", "boxes") == "1,200 boxes"


def test_the_first_few_are_listed_and_the_others_counted():
    assert first_few(["a", "b"], 2) == "a, b"
    assert first_few([*"abcde"], 2, "; ") == "a; b and 3 more"


def test_garbage_is_collected_once_a_command_works():
    code = (
        "import gc; from fastwsol.host.starting import prepare_imports; prepare_imports(); assert not gc.isenabled();"
        "from fastwsol.host.command_line import run_command; import sys;"
        "sys.exit(run_command(lambda a: print(gc.isenabled(), gc.get_freeze_count() > 1000) or 0, []))"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).split() == ["True", "True"]
    before = gc.get_freeze_count()
    assert run_command(lambda arguments: 0, []) == 0
    assert gc.isenabled()
    assert gc.get_freeze_count() == before, "in a process of another program nothing is changed"


def test_a_command_may_be_a_word_behind_fastwsol(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["fastwsol", "compare", "only-one"])
    with pytest.raises(SystemExit) as stop:
        listing.main()
    assert stop.value.code == 2
    assert "python -m fastwsol.compare --help" in capsys.readouterr().err
    monkeypatch.setattr(sys, "argv", ["fastwsol", "trian"])
    with pytest.raises(SystemExit) as stop:
        listing.main()
    assert stop.value.code == 2
    assert capsys.readouterr().err == "error: trian: no such command; perhaps you meant train\n"


@pytest.mark.parametrize("shell", ["bash", "zsh"])
@pytest.mark.parametrize("name", ["pack", "train", "evaluate", "predict", "compare"])
def test_a_shell_can_complete_the_scripts(name, shell, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"/usr/bin/fastwsol-{name}", "--tyro-print-completion", shell])
    with pytest.raises(SystemExit) as stop:
        getattr(listing, name)()
    assert not stop.value.code
    said = capsys.readouterr().out
    assert f"fastwsol-{name}" in said
    assert f"python -m fastwsol.{name}" not in said.partition("--")[0]
    for flag in {"train": ["batch-size", "aug"], "predict": ["class", "overlays"]}.get(name, []):
        assert f"--{flag}" in said


def test_a_shell_that_is_not_served_is_said(capsys):
    assert run_command(train.main, ["--tyro-print-completion", "tcsh"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--batchsize", "3"], "perhaps you meant --batch-size"),
        (["--epoch", "3"], "perhaps you meant --epochs"),
        (["--stem", "D"], "('A','B','C')"),
        (["--aug", "mixup"], "gr-hns"),
    ],
)
def test_a_flag_that_is_nearly_one_is_suggested_and_choices_are_named(arguments, words, capsys):
    assert run_command(train.main, arguments) == 2
    assert words in capsys.readouterr().err.replace(", ", ",")


def test_a_command_is_shown_without_the_folders_of_its_machine():
    command = "python -m fastwsol.train --shards '/a b/shards' --lr 0.1 --run-dir runs/x --init /w/step.safetensors"
    shown = "python -m fastwsol.train --shards SHARDS --lr 0.1 --run-dir RUN --init step.safetensors"
    assert without_folders(command) == shown
    assert without_folders(command.replace("--shards ", "--shards=").replace("--init ", "--init=")) == shown


@pytest.mark.parametrize("closed", ["2>&-", "<&- >&- 2>&-"])
def test_a_closed_output_leads_nowhere(closed, tmp_path):
    out = tmp_path / "shards"
    command = f"{sys.executable} scripts/pack.py --synthetic --classes 2 --out {out} {closed}"
    assert subprocess.run(command, shell=True, cwd=ROOT, check=False).returncode == 0
    assert len(open_shards(out).splits) == 2


def test_a_signal_in_the_middle_of_a_write_still_stops():
    """Python cannot print then; what is asked for holds all the same."""

    class Busy(io.StringIO):
        def write(self, text):
            raise RuntimeError("reentrant call inside <_io.BufferedWriter name='<stdout>'>")

    with contextlib.redirect_stdout(Busy()), StopSignals("stopping", lambda first: None) as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.requested


def test_outside_of_the_main_thread_signals_stay_as_they_are():
    """Python lets no other thread handle them; a training that a program runs in one works."""
    before = [signal.getsignal(each) for each in SIGNALS]

    def enter():
        with StopSignals("stopping", lambda first: None) as stop:
            return stop.requested, [signal.getsignal(each) for each in SIGNALS]

    with ThreadPoolExecutor(1) as thread:
        assert thread.submit(enter).result() == (False, before)
    with StopSignals("stopping", lambda first: None):
        assert [signal.getsignal(each) for each in SIGNALS] != before


@pytest.mark.parametrize("command", [["-m", "fastwsol.train"], ["-m", "fastwsol.evaluate"], ["scripts/pack.py"]])
def test_ctrl_c_while_modules_are_imported_is_a_line(command, tmp_path):
    """A module that a command imports interrupts it."""
    stand_in = "import os, signal, time; os.kill(os.getpid(), signal.SIGINT); time.sleep(60)"
    (tmp_path / "tyro.py").write_text(stand_in)
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    done = subprocess.run(
        [sys.executable, *command],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert (done.returncode, done.stderr) == (75, "stopped: interrupted; run the same command again\n")


@pytest.mark.parametrize(("rank", "said"), [("0", True), ("1", False)])
def test_what_is_the_work_of_one_process_is_refused_under_torchrun(monkeypatch, capsys, rank, said):
    for name, value in {"TORCHELASTIC_RUN_ID": "1", "WORLD_SIZE": "2", "RANK": rank}.items():
        monkeypatch.setenv(name, value)
    assert run_command(lambda _: pytest.fail("it works"), []) == 2
    assert ("torchrun has started 2; start it without" in capsys.readouterr().err) == said
    assert run_command(lambda _: 0, [], by_several=True) == 0
    monkeypatch.setattr(sys, "argv", ["fastwsol", "pack", "--classes", "-3", "--synthetic"])
    with pytest.raises(SystemExit, match="2"):
        listing.main()
    assert ("torchrun has started 2; start it without" in capsys.readouterr().err) == said


def test_an_output_that_lacks_characters_gets_plain_ones():
    code = (
        "from fastwsol.host.command_line import run_command\n"
        "run_command(lambda _: print('4 \\u00b1 1, 64 \\u00d7 64 \\u2192 \\u00e9 \\udce9') or 0, [])\n"
    )
    environment = os.environ | {"PYTHONIOENCODING": "ascii"}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stderr == ""
    assert done.stdout == "4 +- 1, 64 x 64 -> \\xe9 \\udce9\n"
