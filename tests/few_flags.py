"""A command line for tests of the parser, which imports next to nothing: processes that parse it start at once."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Flags:
    """One flag."""

    size: int = 3
    """how large"""
