"""The wheel: it holds all files, names all packages that it imports, and its commands work where it is installed."""

import ast
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from email.parser import Parser
from importlib.metadata import Distribution, distribution, packages_distributions, version
from pathlib import Path

import pytest
from layouts import draw_birds
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from pages import ROOT, WORKS_OFFLINE

OF_DEVELOPERS = {"test", "dev", "docs"}
"""Extras that a user does not install."""

OF_USERS = {"timm", "heic", "onnx", "supervision", "wsoleval", "ray", "tensorboard", "plots"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy of the sources."""
    pytest.importorskip("build", reason="NOT TESTED: pip install build")
    root = tmp_path_factory.mktemp("wheel")
    copy = root / "copy"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, copy)
    for name in ("fastwsol", "kernels"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(root), str(copy)]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = root.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The programs' folder of a new environment that has the wheel, what it needs and what its extra timm needs.

    The wheel is installed. The others are links to the files of this environment: torch and its libraries are 7 GB.
    """
    environment = tmp_path_factory.mktemp("installed") / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    programs = environment / "bin"
    done = run_pip("install", "--quiet", "--no-compile", "--no-deps", str(wheel), of=programs)
    assert done.returncode == 0, done.stderr
    (site,) = environment.glob("lib/python*/site-packages")
    for each in what_is_needed(requirements(wheel, extras={"timm"})):
        link_files(each, site)
    take_compiled_kernels(site)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("PYTHONPATH", raising=False)
        yield programs
    shutil.rmtree(environment)


def take_compiled_kernels(site: Path) -> None:
    """Spare the installed package the minute in which kernels are compiled, which Numba has kept beside the sources.
    It knows them by the sources' sizes and times.
    """
    kept = [path for name in ("fastwsol", "kernels") for path in (ROOT / name).rglob("__pycache__/*.nb[ic]")]
    for folder in {path.parent for path in kept}:
        for source in folder.parent.glob("*.py"):
            shutil.copystat(source, site / source.relative_to(ROOT))
    for path in kept:
        place = site / path.relative_to(ROOT)
        place.parent.mkdir(exist_ok=True)
        shutil.copy(path, place)


def run_pip(*arguments: str, of: Path) -> subprocess.CompletedProcess[str]:
    """Run this environment's pip for the environment of these programs."""
    command = [sys.executable, "-m", "pip", "--python", str(of / "python"), *arguments]
    return subprocess.run(command, capture_output=True, text=True)


def what_is_needed(by: list[Requirement]) -> list[Distribution]:
    """The installed packages that meet these requirements, with what they need themselves."""
    extras_of: dict[str, set[str]] = {}
    left = list(by)
    while left:
        requirement = left.pop()
        name = canonicalize_name(requirement.name)
        new = {"", *requirement.extras} - extras_of.setdefault(name, set())
        extras_of[name] |= new
        lines = [Requirement(line) for line in distribution(name).requires or []]
        left += [each for each in lines if new and is_wanted(each, new)]
    return [distribution(name) for name in extras_of]


def is_wanted(requirement: Requirement, extras: set[str]) -> bool:
    """Whether a package's requirement holds here, with these extras of the package; "" is none of them."""
    return requirement.marker is None or any(requirement.marker.evaluate({"extra": each}) for each in extras)


def link_files(of: Distribution, to: Path) -> None:
    """Link a package's files to a folder of packages, but for its programs, which lie elsewhere. Some packages share a
    file: NVIDIA's have one `nvidia/__init__.py`.
    """
    assert of.files is not None
    for file in of.files:
        if ".." not in file.parts and not (to / file).is_symlink():
            (to / file).parent.mkdir(parents=True, exist_ok=True)
            (to / file).symlink_to(Path(str(of.locate_file(file))).resolve())


def requirements(wheel: Path, extras: set[str]) -> list[Requirement]:
    """What the wheel says that it needs, with what these extras of it need."""
    with zipfile.ZipFile(wheel) as archive:
        (about,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(about).decode())
    assert set(metadata.get_all("Provides-Extra", [])) == OF_DEVELOPERS | OF_USERS
    found = [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]
    return [each for each in found if is_wanted(each, {"", *extras})]


def imported_packages(always: bool) -> set[str]:
    """The packages whose modules the sources import, by the names that they are installed by. always: where a file is
    imported itself, and not in a function alone.
    """
    modules = set()
    for path in [*(ROOT / "fastwsol").rglob("*.py"), *(ROOT / "kernels").rglob("*.py")]:
        tree = ast.parse(path.read_text())
        for node in tree.body if always else ast.walk(tree):
            if isinstance(node, ast.Import):
                modules |= {each.name.partition(".")[0] for each in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module is not None and not node.level:
                modules.add(node.module.partition(".")[0])
    modules -= {*sys.stdlib_module_names, "fastwsol", "kernels"}
    # `nvidia` is a folder that several packages share; llvmlite is Numba's, which says the version.
    known = packages_distributions() | {"nvidia": ["nvidia-dali-cuda120"], "llvmlite": ["numba"]}
    return {canonicalize_name(known[name][0]) for name in modules}


def test_the_wheel_holds_what_is_no_module_too(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {"fastwsol/py.typed", "kernels/py.typed"} <= names
    for folder in ("fastwsol", "kernels"):
        files = {path.relative_to(ROOT).as_posix() for path in (ROOT / folder).rglob("*") if path.is_file()}
        assert {each for each in files if "__pycache__" not in each} <= names


def test_all_that_is_imported_is_named(wheel: Path) -> None:
    named = {canonicalize_name(each.name) for each in requirements(wheel, OF_USERS)}
    assert imported_packages(always=False) <= named


def test_what_is_always_imported_is_no_extra(wheel: Path) -> None:
    always = imported_packages(always=True)
    assert {"numpy", "torch", "tyro"} <= always
    assert always <= {canonicalize_name(each.name) for each in requirements(wheel, extras=set())}


def test_the_versions_of_development_are_within_the_ranges(wheel: Path) -> None:
    tried = 0
    for each in requirements(wheel, OF_USERS):
        try:
            here = version(each.name)
        except ModuleNotFoundError:  # an extra that development does not install
            continue
        tried += 1
        assert each.specifier.contains(here.partition("+")[0]), f"{each}: {here}"
    assert tried > 15


def test_it_is_imported_from_where_it_is_installed(installed: Path, tmp_path: Path) -> None:
    code = "import fastwsol, kernels; print(fastwsol.__file__, fastwsol.__version__, kernels.__file__)"
    where = subprocess.run([installed / "python", "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert where.stdout.count(str(installed.parent)) == 2
    assert sorted(path.name for path in installed.glob("fastwsol*")) == sorted(
        ["fastwsol", *(f"fastwsol-{name}" for name in WORKS_OFFLINE)]
    )


def test_what_it_needs_is_there(installed: Path) -> None:
    """pip reads each package's requirements: those of the wheel, and those of what was linked."""
    checked = run_pip("check", of=installed)
    assert checked.returncode == 0, checked.stdout
    there = run_pip("freeze", of=installed).stdout
    assert "torch==" in there
    assert "pytest==" not in there


ALL_HELP = """
import runpy, sys
for script in sys.argv[1:]:
    sys.argv = [script, "--help"]
    try:
        runpy.run_path(script, run_name="__main__")
    except SystemExit as ended:
        assert not ended.code, script
"""


def test_every_command_helps(installed: Path, tmp_path: Path) -> None:
    """In one process, which imports torch once."""
    scripts = [str(installed / f"fastwsol-{name}") for name in WORKS_OFFLINE]
    command = [installed / "python", "-c", ALL_HELP, *scripts]
    shown = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert shown.returncode == 0, shown.stderr
    assert all(f"fastwsol-{name}" in shown.stdout for name in WORKS_OFFLINE)
    assert not re.search(r"default:\s*(None)?\)", shown.stdout)


def test_the_commands_pack_and_predict_with_the_extra_timm(installed: Path, tmp_path: Path) -> None:
    pytest.importorskip("timm", reason="NOT TESTED: pip install .[timm]")
    draw_birds(tmp_path / "birds")
    predicted = ["--backbone", "tf_efficientnet_lite0", "birds/images", "--out", "boxes.json"]
    for name, arguments in {"pack": ["--layout", "cub", "--source", "birds"], "predict": predicted}.items():
        done = subprocess.run(
            [installed / f"fastwsol-{name}", *arguments], capture_output=True, text=True, cwd=tmp_path
        )
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "data" / "shards" / "manifest.json").is_file()
    assert (tmp_path / "boxes.json").is_file()
