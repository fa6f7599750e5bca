"""`python -m fastwsol.report`: what stands in the file it writes."""

import json
import re

import pytest

from fastwsol import train
from fastwsol.command import run_command
from fastwsol.report import main

SMALL = ["--preset", "demo", "--stem", "C", "--batch-size", "8", "--epochs", "0.3", "--step", "eager"]


@pytest.fixture(scope="module")
def runs(tmp_path_factory, synthetic_shards):
    folder = tmp_path_factory.mktemp("report")
    where = ["--shards", str(synthetic_shards), "--store", str(folder / "store")]
    for aug in ("none", "gr"):
        assert run_command(train.main, [*SMALL, *where, "--aug", aug, "--run-dir", str(folder / aug)]) == 0
    return folder


def report(*arguments: object) -> int:
    return run_command(main, [str(each) for each in arguments])


def data_in(page: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def test_a_page_holds_both_runs_and_asks_the_network_for_nothing(tmp_path, runs):
    out = tmp_path / "page.html"
    assert report(runs / "none", runs / "gr", "--out", out, "--gallery", "12", "--store", runs / "store") == 0
    page = out.read_text()
    data = data_in(page)
    assert [run["name"] for run in data["runs"]] == ["aug none", "aug gr"]
    assert len(data["images"]) == 12
    assert all(len(run["images"]) == 12 for run in data["runs"])
    own = page.replace(page[page.index("<script>") : page.rindex("</script>")], "")  # without Plotly
    assert not re.search(r'(src|href)="(?!data:|#)', own)
    for run in data["runs"]:
        written = json.loads((runs / run["name"].split()[1] / "report.json").read_bytes())
        assert run["curve"] == written["curve"]["single"], "counts at the slider are the report's own"
        assert f"{written['rates']['strict']['top1_clas']:.2f}" in page
    assert "whole frame" in page


def test_without_a_gallery_there_is_none(tmp_path, runs):
    out = tmp_path / "page.html"
    assert report(runs / "gr", "--out", out, "--gallery", "0", "--store", runs / "store") == 0
    assert data_in(out.read_text())["images"] == []


def test_mistakes_are_told_in_a_line_and_nothing_is_written(tmp_path, runs, capsys):
    (tmp_path / "there.html").write_text("mine")
    for arguments, said in (
        ([], "no run is named"),
        ([tmp_path / "nowhere"], "no run here"),
        ([runs / "gr", "--gallery", "601"], "--gallery 601: must lie in 0 .. 600"),
        ([runs / "gr", "--out", tmp_path / "there.html"], "exists"),
    ):
        out = [] if "--out" in arguments else ["--out", tmp_path / "new.html"]
        capsys.readouterr()
        assert report(*arguments, *out) == 2
        err = capsys.readouterr().err
        assert said in err
        assert err.count("\n") == 1
    assert (tmp_path / "there.html").read_text() == "mine"
    assert not (tmp_path / "new.html").exists()
