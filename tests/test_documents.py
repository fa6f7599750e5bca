"""README, docs and results: their commands are ones that there are, links lead somewhere, every result is listed."""

import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
from pages import COMMANDS, PAGES, ROOT, WORKS_OFFLINE

import fastwsol.__main__


def test_pages_have_commands() -> None:
    assert len(COMMANDS) > 60
    assert {command[0] for _, command in COMMANDS} == {*WORKS_OFFLINE}


def test_every_command_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    fastwsol.__main__.print_commands()
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


def test_the_members_of_the_reference_are_there() -> None:
    listed = re.findall(r"auto\w+:: ([\w.]+)\n   :members: (.+)", (ROOT / "docs" / "api.md").read_text())
    assert len(listed) > 8
    for name, members in listed:
        module, _, within = name.rpartition(".")
        of = getattr(importlib.import_module(module), within) if within[0].isupper() else importlib.import_module(name)
        assert [member for member in members.split(", ") if not hasattr(of, member)] == [], name


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


def test_every_pinned_package_has_its_licence_listed() -> None:
    def plain(name: str) -> str:
        return re.sub(r"[-_.]+", "-", name).lower()

    lines = (ROOT / "bench/results/licences.md").read_text().splitlines()
    listed = {plain(line.split("|")[1].strip()): line.split("|")[2].strip() for line in lines[2:]}
    pins = (line.partition("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    assert {plain(name): version for name, _, version in pins} == listed, "make supply"
