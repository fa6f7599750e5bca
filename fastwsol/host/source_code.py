"""Which code and packages a number or a kept file follows from, so that those of another version are told apart."""

import ast
import functools
import hashlib
from pathlib import Path
from typing import Any

from fastwsol.host.environment import versions

_ROOT = Path(__file__).parents[2]


def made_by(patterns: tuple[str, ...], packages: tuple[str, ...]) -> dict[str, Any]:
    """What a file follows from that is made here by the modules of `patterns`, besides what it is made of: a digest of
    their code, and the versions of those of `packages` that are installed.
    """
    here = {name: version for name, version in versions().items() if name in packages}
    return {"source": digest_of_code(patterns), "versions": here}


def source_digest() -> str:
    """The beginning of the SHA-256 of this package's and the kernels' modules, as they are, comments and all."""
    digest = hashlib.sha256()
    for path in sorted([*_ROOT.glob("fastwsol/**/*.py"), *_ROOT.glob("kernels/*.py")]):
        digest.update(f"{path.relative_to(_ROOT)}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def digest_of_code(patterns: tuple[str, ...]) -> str:
    """The beginning of the SHA-256 of modules, without their comments and docstrings. patterns: from the folder on that
    holds `fastwsol` and `kernels`, as of `Path.glob`.
    """
    digest = hashlib.sha256()
    for path in sorted({path for pattern in patterns for path in _ROOT.glob(pattern)}):
        digest.update(f"{path.relative_to(_ROOT)}\0{_code_of(path)}\0".encode())
    return digest.hexdigest()[:12]


@functools.cache  # a hundredth of a second each, and a start asks for many of them several times
def _code_of(module: Path) -> str:
    return _canonical(ast.parse(module.read_bytes()))


def _canonical(node: Any) -> str:
    """A syntax tree as text, without docstrings. (`ast.dump` shows empty fields, which differ between Pythons.)"""
    if isinstance(node, list):
        return f"[{','.join(_canonical(each) for each in node if not _is_text(each))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = [
        f"{name}={_canonical(value)}" for name, value in ast.iter_fields(node) if value is not None and value != []
    ]
    return f"{type(node).__name__}({','.join(fields)})"


def _is_text(statement: Any) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
