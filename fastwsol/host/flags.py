"""Types of flags that more than one command has."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import tyro


def shown_as(metavar: str | None = None, name: str | None = None) -> Any:
    """How the help shows a flag that may be left out: by what it takes, and without a default of None.

    metavar: what it takes, None: as its type says; name: of the flag, where it is not the field's.
    """
    return tyro.conf.arg(name=name, metavar=metavar, help_behavior_hint="")


def one_of(names: Sequence[str]) -> str:
    """The metavar of a flag that takes one of `names`."""
    return "{" + ",".join(names) + "}"


OptionalPath = Annotated[Path | None, shown_as("PATH")]
"""A flag that may be left out."""


def threshold_spec(*rules: str) -> tyro.constructors.PrimitiveConstructorSpec[Any]:
    """How a flag is read whose value is one of `rules`, or a number from 0 to 1."""

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

    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="|".join((*rules, "FLOAT")),
        instance_from_str=lambda words: value_of(words[0]),
        is_instance=lambda value: value in rules or isinstance(value, float),
        str_from_instance=lambda value: [str(value)],
    )
