"""What a checkpoint holds is put back, or refused; and what a run begins with."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fastwsol.config import Config
from fastwsol.host.device import Autocast
from fastwsol.host.environment import DALI_PACKAGES
from fastwsol.host.errors import RunFailure, UserError
from fastwsol.network.initial_weights import Initial
from fastwsol.runs.checkpoint import Checkpoint, newest_valid
from fastwsol.runs.info import RunInfo
from fastwsol.training.resume import (
    StartWeights,
    begin,
    changes,
    decisive_versions,
    restore,
    restore_classifier,
    save,
)
from fastwsol.training.step import ClassifierState, new_state, state_tensors

CPU, CLASSES = torch.device("cpu"), ("a", "b", "c")


def state_of(precision: Any = "fp32", **options: Any) -> tuple[ClassifierState, RunInfo]:
    config = Config.of(depth=18, stem="C", **options)
    info = RunInfo(config, Path("shards"), "digest", CLASSES, CLASSES, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    return new_state(config, len(CLASSES), Autocast(CPU, precision)), info


def saved_of(state: ClassifierState, info: RunInfo, folder: Path, precision: str = "fp32") -> Checkpoint:
    save(SimpleNamespace(folder=folder, checkpoints=folder / "checkpoints"), info, state, precision)  # type: ignore[arg-type]
    saved = newest_valid(folder / "checkpoints")
    assert saved is not None
    return saved


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_a_state_that_is_not_finite_is_not_saved(tmp_path: Path, value: float) -> None:
    state, info = state_of()
    state.model.fc.bias.data[1] = value
    state.step = 7
    with pytest.raises(RunFailure, match=r"model\.fc\.bias is not finite after step 7; lower --lr"):
        saved_of(state, info, tmp_path)
    assert not (tmp_path / "checkpoints").exists()


def test_what_a_checkpoint_lacks_is_named_and_what_it_has_beside_is_passed_over(tmp_path: Path) -> None:
    state, info = state_of()
    saved = saved_of(state, info, tmp_path)
    restore(state, Checkpoint(saved.path, 3, saved.scalars, saved.tensors | {"more": torch.zeros(1)}), info, "fp32")
    assert state.step == 3
    fewer = {name: tensor for name, tensor in saved.tensors.items() if name != "momentum.fc.bias"}
    with pytest.raises(UserError, match=r"has no 'momentum\.fc\.bias', so no training can go on .*\.safetensors"):
        restore(state, Checkpoint(saved.path, 3, saved.scalars, fewer), info, "fp32")


def test_the_loss_scale_of_fp16_goes_on(tmp_path: Path) -> None:
    state, info = state_of("fp16")
    state.scaler.load_state_dict(state.scaler.state_dict() | {"scale": 128.0, "_growth_tracker": 5})
    saved = saved_of(state, info, tmp_path, "fp16")
    fresh, _ = state_of("fp16")
    restore(fresh, saved, info, "fp16")
    assert fresh.scaler.state_dict() == state.scaler.state_dict()


@pytest.mark.parametrize("put", [lambda *a: restore(*a, "fp32"), restore_classifier], ids=["training", "classifier"])
def test_a_checkpoint_of_another_run_is_refused(tmp_path: Path, put: Any) -> None:
    state, info = state_of(seed=1)
    saved = saved_of(state, info, tmp_path)
    other, of_other = state_of(seed=2)
    before = {name: tensor.clone() for name, tensor in state_tensors(other).items()}
    with pytest.raises(UserError, match="its config_digest is not this run's"):
        put(other, saved, of_other)
    assert all(torch.equal(before[name], tensor) for name, tensor in state_tensors(other).items())


def test_a_trained_classifier_is_the_average_where_one_is_kept(tmp_path: Path) -> None:
    state, info = state_of(average_steps=3)
    assert state.average is not None
    state.average.fc.bias.data.fill_(5)
    saved = saved_of(state, info, tmp_path)
    fresh, _ = state_of(average_steps=3)
    restore_classifier(fresh, saved, info)
    assert (fresh.evaluated.fc.bias == 5).all()
    assert not (fresh.model.fc.bias == 5).any()


def job_of(info: RunInfo) -> Any:
    return SimpleNamespace(info=info, setup=SimpleNamespace(shards=SimpleNamespace(splits={})))


def test_an_average_begins_with_the_weights_that_a_run_begins_with() -> None:
    (state, info), (earlier, _) = state_of(average_steps=3), state_of(seed=9)
    initial = Initial(Path("w.safetensors"), "", earlier.model.state_dict(), [*CLASSES])
    begin(job_of(info), state, StartWeights(initial=initial))
    assert state.average is not None
    for network in (state.model, state.average):
        for name, tensor in network.state_dict().items():
            assert torch.equal(tensor, earlier.model.state_dict()[name]), name


def test_weights_that_cannot_be_had_are_told_where_there_is_no_checkpoint() -> None:
    state, info = state_of()
    with pytest.raises(UserError, match="no such file"):
        begin(job_of(info), state, StartWeights(missing=("w.safetensors: no such file",)))


def test_a_start_is_compared_by_what_both_know() -> None:
    last = {"device": "cpu", "data": "dali", "threads": 2, "views": "kernel", "processor": "A", "source": "1"}
    assert changes(last, {"step_mode": "eager"}) == []
    assert changes(last | {"step_mode": "compiled"}, {"step_mode": "eager"}) == ["step_mode compiled -> eager"]
    assert changes(last, {"source": "2", "threads": 2}) == ["fastwsol's source 1 -> 2"]
    others = ["threads 2 -> 1", "views kernel -> torch", "processor A -> B"]
    assert changes(last, {"processor": "B", "views": "torch", "threads": 1}) == others
    gpu = {"device": "cuda", "deterministic": True, "processor": "A", "threads": 2}
    assert changes(gpu, gpu | {"processor": "B", "threads": 1}) == []
    assert changes(gpu, gpu | {"deterministic": False}) == ["deterministic True -> False"]


@pytest.mark.parametrize(("data", "decoders"), [("dali", DALI_PACKAGES), ("resident", ("simplejpeg",))])
def test_the_version_of_what_decodes_the_images_decides(data: str, decoders: tuple[str, ...]) -> None:
    of = dict.fromkeys(("torch", "numpy", "numba", "simplejpeg", "rich", *DALI_PACKAGES), "1")
    assert decisive_versions(of, data) == {
        **dict.fromkeys(("torch", "numpy", "numba"), "1"),
        "decoder": " and ".join(f"{name} 1" for name in decoders),
    }
