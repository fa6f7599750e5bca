"""README, docs and results: their commands are ones that there are, links lead somewhere, every result is listed."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from pages import COMMANDS, PAGES, ROOT, WORKS_OFFLINE

import fastwsol.__main__


def test_pages_have_commands() -> None:
    assert len(COMMANDS) > 60
    assert {command[0] for _, command in COMMANDS} == {*WORKS_OFFLINE}


def test_every_command_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    fastwsol.__main__.main()
    listed = capsys.readouterr().out
    readme = (ROOT / "README.md").read_text()
    for name in WORKS_OFFLINE:
        assert re.search(rf"fastwsol\.{name}|scripts/{name}\.py", listed), name
        assert re.search(rf"fastwsol\.{name}|scripts/{name}\.py", readme), name
        assert callable(getattr(fastwsol.__main__, name))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130


def test_every_result_is_in_the_index() -> None:
    index = (ROOT / "bench" / "results" / "README.md").read_text()
    listed = set(re.findall(r"`([^`]+)`", "".join(line.split("|")[1] for line in index.splitlines() if "|" in line)))
    for path in (ROOT / "bench" / "results").iterdir():
        if path.name == "README.md":
            continue
        names = {path.name, f"{path.name}/", path.suffix}
        # A second file of a row is named by what differs: `a-one.json`, `-two.json`.
        shortened = any(name.startswith(("-", ".")) and path.name.endswith(name) for name in listed)
        assert names & listed or shortened, path.name


def test_the_documentation_is_built_without_a_warning(tmp_path: Path) -> None:
    pytest.importorskip("sphinx", reason="NOT TESTED: pip install sphinx myst-parser furo")
    command = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html"]
    done = subprocess.run([*command, str(ROOT / "docs"), str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "index.html").is_file()


def test_a_wheel_has_all_that_the_commands_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Built from a copy of the sources, installed alone into a new environment, whose other packages are this one's."""
    monkeypatch.delenv("PYTHONPATH", raising=False)
    build = pytest.importorskip("build", reason="NOT TESTED: pip install build")
    assert build
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in ("pyproject.toml", "README.md"):
        shutil.copy(ROOT / name, copy)
    for name in ("fastwsol", "kernels"):
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__"))
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(copy)]
    subprocess.run(command, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (about,) = (name for name in names if name.endswith(".dist-info/METADATA"))
        extras = set(re.findall(r"(?m)^Provides-Extra: (\S+)$", archive.read(about).decode()))
    assert {"fastwsol/py.typed", "kernels/py.typed"} <= names
    assert {"timm", "heic", "onnx", "supervision", "wsoleval", "ray", "tensorboard", "plots"} <= extras
    environment = tmp_path / "environment"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = environment / "bin" / "python"
    site = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])"], capture_output=True, text=True
    ).stdout.strip()
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", str(wheel)], check=True)
    Path(site, "others.pth").write_text(str(Path(pytest.__file__).parent.parent) + "\n")
    where = subprocess.run(
        [python, "-c", "import fastwsol, kernels; print(fastwsol.__file__, fastwsol.__version__, kernels.__file__)"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    ).stdout
    assert where.count(str(environment)) == 2
    scripts = sorted(path.name for path in (environment / "bin").glob("fastwsol*"))
    assert scripts == sorted(["fastwsol", *(f"fastwsol-{name}" for name in WORKS_OFFLINE)])
    for name in ("pack", "convert", "review"):
        shown = subprocess.run(
            [environment / "bin" / f"fastwsol-{name}", "--help"], capture_output=True, text=True, cwd=tmp_path
        )
        assert shown.returncode == 0, shown.stderr
        assert f"fastwsol-{name}" in shown.stdout
    made = subprocess.run(
        [environment / "bin" / "fastwsol-pack", "--synthetic", "--classes", "2", "--out", "shards"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert made.returncode == 0, made.stderr
    pages = Path(site) / "fastwsol" / "page"
    assert {path.name for path in pages.iterdir() if path.suffix in (".html", ".css", ".js")} == {
        *(f"{name}.{ending}" for name in ("page", "review") for ending in ("html", "css", "js"))
    }
