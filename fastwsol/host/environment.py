"""What this process is: its command, versions, commit and machine. Every number that is kept names them."""

import platform
import shlex
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any, TypedDict

import torch

from fastwsol.host.device import gpu_count
from fastwsol.host.limits import usable_cores

PACKAGES = (
    "fastwsol",
    "torch",
    "numpy",
    "numba",
    "pyarrow",
    "pillow",
    "pillow-heif",
    "simplejpeg",
    "safetensors",
    "timm",
)
DALI_PACKAGES = ("nvidia-dali-cuda120", "nvidia-dali-cuda130")


class Environment(TypedDict):
    """What a process is, as JSON."""

    command: str
    versions: dict[str, str]
    """By package, and of `python`."""
    git: str | None
    """See `git_state`."""
    machine: dict[str, Any]
    """See `machine`."""


def environment() -> Environment:
    """Command, package versions, git state and machine of this process."""
    return {
        "command": shlex.join([Path(sys.executable).name, *sys.orig_argv[1:]]),
        "versions": versions(),
        "git": git_state(),
        "machine": machine(),
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that decide numbers."""
    version_of = {"python": platform.python_version()}
    for package in (*PACKAGES, *DALI_PACKAGES):
        try:
            version_of[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return version_of


def git_state() -> str | None:
    """The source tree's commit, with `+changes` where it has uncommitted ones; None outside a git checkout of it."""
    root = Path(__file__).parents[2]

    def git(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    try:
        # Installed below another project, it is none of that one's files.
        git("ls-files", "--error-unmatch", __file__)
        return git("rev-parse", "HEAD") + ("+changes" if git("status", "--porcelain", "-uno") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def machine() -> dict[str, Any]:
    """What the numbers were made on: processor, cores, GPU."""
    return {
        "processor": _processor(),
        "cores": usable_cores(),
        "gpus": [torch.cuda.get_device_name(k) for k in range(gpu_count())],
        "system": platform.platform(),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


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
