"""Promise 14: files of another version are read, or refused by name; nothing in between."""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fastwsol import evaluate, train
from fastwsol import pack as pack_command
from fastwsol.batches.decoded_store import Store, default_folder
from fastwsol.config import LogConfig, is_as_before
from fastwsol.dataset.packing_journal import Journal
from fastwsol.dataset.shards import JOURNAL_NAME, MANIFEST_NAME, open_shards
from fastwsol.host.command_line import run_command
from fastwsol.host.device import Autocast
from fastwsol.host.errors import UserError
from fastwsol.runs import checkpoint
from fastwsol.runs.checkpoint import newest_valid
from fastwsol.runs.folder import RunDir
from fastwsol.runs.info import folder_of_run
from fastwsol.runs.reports import ReportOf
from fastwsol.runs.trained import trained_model
from fastwsol.training.resume import find_own_work, save
from fastwsol.training.step import new_state

from .run_cases import make_run
from .tally import Tally
from .works import training_flags

PROMISE = "14 old files"
VERSIONS = (0, 99, None, "1", "lacking")


def with_version(path: Path, key: str, version: object) -> None:
    fields: dict[str, Any] = json.loads(path.read_text())
    if version == "lacking":
        del fields[key]
    else:
        fields[key] = version
    path.write_text(json.dumps(fields))


@pytest.fixture
def run(tmp_path: Path, synthetic_shards: Path) -> Path:
    make_run(tmp_path / "run", synthetic_shards)
    return tmp_path / "run"


@pytest.fixture
def shards(tmp_path: Path, synthetic_shards: Path) -> Path:
    return shutil.copytree(synthetic_shards, tmp_path / "shards", ignore=shutil.ignore_patterns("decoded"))


def refused(read: Callable[[], object], name: str) -> bool:
    """Whether `read` ends in a line that names the file."""
    try:
        read()
    except UserError as error:
        return name in str(error) and "\n" not in str(error)
    return False


@pytest.mark.parametrize("version", VERSIONS)
def test_shards(version: object, shards: Path, tally: Tally) -> None:
    with_version(shards / MANIFEST_NAME, "schema_version", version)
    count = tally.of(PROMISE, "shards of another version: refused")
    count(str(version), refused(lambda: open_shards(shards), MANIFEST_NAME))
    assert count.lost == []


@pytest.mark.parametrize("version", VERSIONS)
def test_a_journal_of_a_packing(version: object, tmp_path: Path, tally: Tally, capsys) -> None:
    out = tmp_path / "out"
    out.mkdir()
    Journal(out, {}, []).write()
    with_version(out / JOURNAL_NAME, "format_version", version)
    before = (out / JOURNAL_NAME).read_bytes()
    count = tally.of(PROMISE, "a packing begun by another version: refused")
    status = run_command(pack_command.main, ["--synthetic", "--out", str(out)])
    said = capsys.readouterr().err
    count(str(version), status == 2 and JOURNAL_NAME in said and (out / JOURNAL_NAME).read_bytes() == before)
    assert count.lost == []


@pytest.mark.parametrize("version", VERSIONS)
def test_a_store(version: object, shards: Path, tally: Tally) -> None:
    opened = open_shards(shards)
    folder = default_folder(opened)
    whole = Store(opened, "val", folder).open(1).values.copy()
    about = json.loads((folder / "val.json").read_text())
    (folder / "key.json").write_text(json.dumps(about["key"]))
    with_version(folder / "key.json", "format_version", version)
    about["key"] = json.loads((folder / "key.json").read_text())
    (folder / "val.json").write_text(json.dumps(about))
    count = tally.of(PROMISE, "a store of another version: decoded anew")
    noticed = not Store(opened, "val", folder).is_built()
    count(str(version), noticed and (Store(opened, "val", folder).open(1).values == whole).all())
    assert count.lost == []


@pytest.mark.parametrize("version", VERSIONS)
def test_a_run(version: object, run: Path, tally: Tally) -> None:
    with_version(run / "config.json", "format_version", version)
    count = tally.of(PROMISE, "a run of another version: refused")
    count(str(version), refused(RunDir(run).read_info, "config.json"))
    assert count.lost == []


@pytest.mark.parametrize("version", VERSIONS)
def test_a_checkpoint(version: object, run: Path, tally: Tally) -> None:
    (path,) = (run / "checkpoints").glob("*.json")
    with_version(path, "format_version", version)
    count = tally.of(PROMISE, "a checkpoint of another version: refused")
    count(str(version), refused(lambda: checkpoint.load(path), path.name))
    assert count.lost == []


@pytest.mark.parametrize("version", VERSIONS)
def test_a_report(version: object, run: Path, tally: Tally) -> None:
    (run / "report.json").write_text('{"format_version": 3}')
    with_version(run / "report.json", "format_version", version)
    count = tally.of(PROMISE, "a report of another version: refused")
    count(str(version), refused(lambda: RunDir(run).read_report(ReportOf("val")), "report.json"))
    assert count.lost == []


B242878 = Path(__file__).parents[1] / "golden" / "run-b242878"
"""A run's config.json as that commit wrote it: its configuration is flat, and holds how often it told of itself."""


def test_a_run_of_b242878_is_read_and_keeps_its_digest_and_its_folder(tmp_path: Path, tally: Tally) -> None:
    written = json.loads((B242878 / "config.json").read_text())
    info = RunDir(B242878).read_info()
    count = tally.of(PROMISE, "a run of b242878: read")
    flat = written["config"]
    log = LogConfig(flat.pop("eval_epochs"), flat.pop("log_steps"))
    options = info.config.flat()
    count(
        "its options", options == options | flat and all(is_as_before(*each) for each in options.items() - flat.items())
    )
    count("its digest", info.digest == written["config_digest"] != info.config.digest())
    name = info.config.name_by(written["config_digest"])
    count("a new folder", folder_of_run(tmp_path, info.config, log).name == info.config.name())
    (tmp_path / name).mkdir()
    count("its folder", folder_of_run(tmp_path, info.config, log).name == name)
    assert count.lost == []


def test_a_checkpoint_of_a_run_of_b242878_is_taken_up(tmp_path: Path, synthetic_shards: Path, tally: Tally) -> None:
    folder = shutil.copytree(B242878, tmp_path / "run")
    run, info = RunDir(folder), RunDir(folder).read_info()
    state = new_state(info.config, len(info.classes), Autocast(torch.device("cpu"), "fp32"))
    state.step = 7
    save(run, info, state, "fp32")
    count = tally.of(PROMISE, "a run of b242878: read")
    saved = find_own_work(run, info, "auto")
    count("its checkpoint", saved is not None and saved.scalars["config_digest"] == info.digest)
    count("its network", trained_model(info, saved.tensors) is not None)
    assert count.lost == []


def test_a_run_that_was_flat_goes_on_to_its_end(tmp_path: Path, synthetic_shards: Path, tally: Tally) -> None:
    folder = tmp_path / "run"
    flags = training_flags(synthetic_shards, folder, "--epochs", "0.4", "--precision", "fp32")
    given = train.read_flags(flags)
    info = train.run_info(given.config, open_shards(synthetic_shards))
    flat = given.config.flat() | vars(given.launch.log)
    digest = hashlib.sha256(json.dumps(flat, sort_keys=True).encode()).hexdigest()
    folder.mkdir()
    fields = info.to_json() | {"format_version": 3, "config": flat, "config_digest": digest}
    (folder / "config.json").write_text(json.dumps(fields))
    run = RunDir(folder)
    state = new_state(given.config, len(info.classes), Autocast(torch.device("cpu"), "fp32"))
    state.step = 1
    save(run, run.read_info(), state, "fp32")
    count = tally.of(PROMISE, "a run of b242878: read")
    count("goes on", run_command(train.main, [*flags, "--inexact"]) == 0)
    saved = newest_valid(run.checkpoints)
    count("under its own digest", saved is not None and saved.scalars["config_digest"] == digest)
    count("is evaluated", run_command(evaluate.main, [str(folder)]) == 0)
    assert count.lost == []


@pytest.mark.parametrize("change", ["digest", "option"])
def test_a_config_of_b242878_that_was_changed_is_refused(change: str, tmp_path: Path, tally: Tally) -> None:
    folder = shutil.copytree(B242878, tmp_path / "run")
    fields = json.loads((folder / "config.json").read_text())
    if change == "digest":
        fields["config"]["lr"] = 0.7
    else:
        del fields["config"]["log_steps"]
    (folder / "config.json").write_text(json.dumps(fields))
    count = tally.of(PROMISE, "a run of b242878, changed: refused")
    count(change, refused(RunDir(folder).read_info, "config.json"))
    assert count.lost == []
