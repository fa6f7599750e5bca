"""How the kernels are compiled: without the GIL, and kept on disk until any of their files changes."""

import functools
import hashlib
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core import event
from numba.core.caching import FunctionCache, IndexDataCacheFile

_PRANGE_ALONE = dict.fromkeys(
    ("comprehension", "fusion", "inplace_binop", "numpy", "reduction", "setitem", "stencil"), False
)
"""What else Numba would run in parallel, as the filling of an array: not worth a thread here, seconds to compile."""


def njit(*, parallel: bool = False, **options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`numba.njit` with the GIL released and the machine code cached. options: more of Numba's.

    parallel: loops over `prange` are shared among the threads, and no other expression is.

    Numba's own cache looks at the file of the outermost function alone. After a change in another file that this
    function takes functions or constants from, it would keep the old machine code. This cache looks at all files of
    this folder.
    """

    def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
        shared = {"prange": True, **_PRANGE_ALONE} if parallel else False
        dispatcher = numba.njit(nogil=True, parallel=shared, **options)(function)
        if hasattr(dispatcher, "_cache") and _has_place():  # there is no cache under NUMBA_DISABLE_JIT
            dispatcher._cache = _Cache(function)
        return dispatcher

    return compiled


@functools.cache
def _has_place() -> bool:
    """Whether machine code can be kept somewhere.

    Numba's own places are beside the source, and a folder in the user's home. Where neither can be written to, as in a
    container whose user has no home, it is a folder of ours among the temporary ones; Numba itself would make one that
    is called `~`.
    """
    if numba.config.CACHE_DIR or _takes_files(Path(__file__).parent / "__pycache__"):
        return True
    of_user = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    if of_user.is_absolute() and _takes_files(of_user / "numba"):
        return True
    temporary = Path(tempfile.gettempdir()) / f"fastwsol-kernels-{os.getuid()}"
    # What lies there is executed: nobody else may have put it there.
    if not _takes_files(temporary) or temporary.is_symlink() or temporary.stat().st_uid != os.getuid():
        return False
    temporary.chmod(0o700)
    numba.config.CACHE_DIR = str(temporary)
    return True


def _takes_files(folder: Path) -> bool:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


class _Cache(FunctionCache):
    """Numba's cache of one function, valid as long as its own file and every file of this folder stay the same."""

    def __init__(self, function: Callable[..., Any]) -> None:
        super().__init__(function)
        stamp = (self._impl.locator.get_source_stamp(), _digest_of_kernels())
        self._cache_file = IndexDataCacheFile(
            cache_path=self._cache_path, filename_base=self._impl.filename_base, source_stamp=stamp
        )

    def save_overload(self, sig: Any, data: Any) -> None:
        """Keep machine code. Where there is no room for it, it is compiled anew next time, which is warned of once."""
        try:
            super().save_overload(sig, data)
        except OSError as error:
            _warn_not_kept(str(self._cache_path), str(error.strerror))


@functools.cache
def _warn_not_kept(folder: str, why: str) -> None:
    print(f"warning: {folder}: compiled kernels cannot be kept ({why}): they are compiled each time", file=sys.stderr)


@functools.cache
def _digest_of_kernels() -> str:
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(f"{path.name}\0".encode() + path.read_bytes())
    return digest.hexdigest()


_OURS = ("kernels", "fastwsol")


class _Listener(event.Listener):
    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell

    def on_start(self, event: Any) -> None:
        function = event.data["dispatcher"].py_func
        if function.__module__.partition(".")[0] in _OURS:
            self._tell(function.__name__)

    def on_end(self, event: Any) -> None:
        pass


def tell_compiling(tell: Callable[[str], None]) -> None:
    """Call `tell` with the name of each of our functions that is compiled from here on. Those in the cache are not."""
    event.register("numba:compile", _Listener(tell))
