"""`--init`: an earlier run's weights, taken whole or but for the last layer, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
from faults.run_cases import CHECKPOINT, FLAGS, HERE, make_run

from fastwsol import train
from fastwsol.host.command_line import run_command
from fastwsol.host.errors import UserError
from fastwsol.network.initial_weights import read_initial, start_from
from fastwsol.network.preact_resnet import PreActResNet, build_preact_resnet
from fastwsol.runs.folder import RunDir
from fastwsol.runs.trained import read_run

CLASSES = ("synthetic-0", "synthetic-1", "synthetic-2", "synthetic-3")


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory, synthetic_shards: Path) -> Path:
    """The tensors of an earlier run on the synthetic set, with their JSON beside."""
    folder = tmp_path_factory.mktemp("earlier") / "run"
    make_run(folder, synthetic_shards)
    return folder / f"{CHECKPOINT}.safetensors"


def model_of(classes: int = 4, depth: int = 18) -> PreActResNet:
    return build_preact_resnet(depth, "A", classes, seed=7)


def test_an_earlier_runs_weights_are_taken_whole(weights: Path) -> None:
    model = model_of()
    said = start_from(read_initial(weights), model, CLASSES)
    assert said.endswith(f": {len(model.state_dict())} of {len(model.state_dict())} tensors taken")
    saved = safetensors.torch.load_file(weights)
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, saved[f"model.{name}"]), name


def test_another_number_of_classes_draws_the_last_layer_anew(weights: Path) -> None:
    model, fresh = model_of(9), model_of(9)
    said = start_from(read_initial(weights), model, tuple(map(str, range(9))))
    assert "drawn anew: fc.weight ([4, 64] there, [9, 64] here), fc.bias ([4] there, [9] here)" in said
    assert torch.equal(model.fc.weight, fresh.fc.weight)
    assert not torch.equal(model.stem[0].weight, fresh.stem[0].weight)


def test_other_classes_of_the_same_number_draw_it_anew_too(weights: Path) -> None:
    model, fresh = model_of(), model_of()
    said = start_from(read_initial(weights), model, CLASSES[::-1])
    assert "fc.weight (of other classes)" in said
    assert torch.equal(model.fc.weight, fresh.fc.weight)


def test_without_its_json_the_order_of_the_classes_is_taken_on_trust_and_that_is_said(
    weights: Path, tmp_path: Path
) -> None:
    alone = shutil.copy(weights, tmp_path / "weights.safetensors")
    model, fresh = model_of(), model_of()
    said = start_from(read_initial(Path(alone)), model, CLASSES[::-1])
    assert "no weights.json beside it says that its classes are in this order" in said
    assert not torch.equal(model.fc.weight, fresh.fc.weight)


def test_a_running_average_is_what_is_taken_where_there_is_one(weights: Path, tmp_path: Path) -> None:
    saved = safetensors.torch.load_file(weights)
    saved |= {name.replace("model.", "average."): tensor + 1 for name, tensor in saved.items() if "model." in name}
    safetensors.torch.save_file(saved, tmp_path / "a.safetensors")
    model = model_of()
    start_from(read_initial(tmp_path / "a.safetensors"), model, CLASSES)
    assert torch.equal(model.fc.bias, saved["model.fc.bias"] + 1)


def test_a_file_of_nothing_but_weights_will_do(tmp_path: Path) -> None:
    theirs = build_preact_resnet(18, "A", 4, seed=1).state_dict()
    safetensors.torch.save_file({name: each.contiguous() for name, each in theirs.items()}, tmp_path / "w.safetensors")
    model = model_of()
    start_from(read_initial(tmp_path / "w.safetensors"), model, CLASSES)
    assert torch.equal(model.fc.weight, theirs["fc.weight"])


def test_a_deeper_network_takes_what_fits_and_names_what_does_not(weights: Path) -> None:
    model = model_of(depth=34)
    said = start_from(read_initial(weights), model, CLASSES)
    assert "(not there)" in said
    assert "more" in said


def test_a_network_of_which_nothing_fits_is_refused(tmp_path: Path) -> None:
    safetensors.torch.save_file({"fc.weight": torch.zeros(4, 512)}, tmp_path / "w.safetensors")
    with pytest.raises(UserError, match="none of its layers fits"):
        start_from(read_initial(tmp_path / "w.safetensors"), model_of(), CLASSES)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, r"cannot be read \(No such file"),
        (b"", "is damaged or no safetensors file"),
        (b"\x80\x04\x95pickle", "is damaged or no safetensors file"),
        (safetensors.torch.save({"weight": torch.zeros(1)}), "holds no network of fastwsol"),
    ],
)
def test_files_that_are_no_weights_are_named(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "w.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UserError, match=rf"--init .*w\.safetensors: {words}"):
        read_initial(path)


# Runs


def test_a_run_starts_from_the_file_continues_with_it_and_is_no_other_files_run(
    weights: Path, synthetic_shards: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    flags = ["--shards", str(synthetic_shards), "--run-dir", str(run), *FLAGS, *HERE, "--stem", "C", "--lr", "1e-12"]
    mine = Path(shutil.copy(weights, tmp_path / "mine.safetensors"))
    shutil.copy(weights.with_suffix(".json"), tmp_path / "mine.json")
    assert run_command(train.main, [*flags, "--init", str(mine)]) == 0
    assert "tensors taken" in capsys.readouterr().out
    info, saved = read_run(RunDir(run))
    assert len(info.config.network.init_sha256) == 64
    assert torch.allclose(saved.tensors["model.fc.weight"], safetensors.torch.load_file(mine)["model.fc.weight"])
    # Cut back to before its end, it goes on without taking the file's weights again.
    for path in run.glob("report*"):
        path.unlink()
    assert run_command(train.main, [*flags, "--init", str(mine)]) == 0
    assert "tensors taken" not in capsys.readouterr().out
    for path in run.glob("report*"):
        path.unlink()
    assert run_command(train.main, flags) == 2
    assert "holds a run that began with the weights of another file" in capsys.readouterr().err
    tensors = safetensors.torch.load_file(mine)
    mine.unlink()  # as the run does that it came from, when it goes on
    assert run_command(train.main, [*flags, "--init", str(mine)]) == 0
    assert "mine.safetensors: cannot be read" in (said := capsys.readouterr().err)
    assert "the run goes on from its checkpoint" in said
    for path in run.glob("report*"):
        path.unlink()
    other = ["--run-dir", str(tmp_path / "other"), "--init", str(mine)]
    assert run_command(train.main, [*flags, *other]) == 2, "no run to go on"
    safetensors.torch.save_file(tensors | {"model.fc.bias": tensors["model.fc.bias"] + 1}, mine)
    assert run_command(train.main, [*flags, "--init", str(mine)]) == 2
    assert "began with the weights of another file; name its --init" in capsys.readouterr().err
    config = json.loads((run / "config.json").read_text())["config"]
    assert config["network"]["init_sha256"] == info.config.network.init_sha256
