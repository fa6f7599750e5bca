"""Python's garbage collector, which takes a good part of the seconds of importing torch to find nothing."""

import atexit
import contextlib
import gc
from collections.abc import Iterator

_waits: list[bool] = []
"""Something, where the collector waits for `collect_again`."""


def wait_with_garbage() -> None:
    """Do not look for garbage until `collect_again`, nor at the end of the process."""
    gc.disable()
    atexit.register(gc.freeze)
    _waits.append(True)


def collect_again() -> None:
    """Look for garbage again, where `wait_with_garbage` was called, but not among what was imported."""
    if _waits:
        _waits.clear()
        gc.freeze()
        gc.enable()


@contextlib.contextmanager
def no_garbage() -> Iterator[None]:
    """For an import of many modules: garbage is not looked for meanwhile."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
