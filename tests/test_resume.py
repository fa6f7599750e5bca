"""What a checkpoint holds is put back, or refused; and what a run begins with."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fastwsol.config import Config, Statistics
from fastwsol.host.device import Autocast
from fastwsol.host.environment import DALI_PACKAGES
from fastwsol.host.errors import RunFailure, UserError
from fastwsol.network.initial_weights import Initial
from fastwsol.runs.checkpoint import Checkpoint, newest_valid
from fastwsol.runs.folder import RunDir
from fastwsol.runs.info import RunInfo
from fastwsol.training.resume import (
    StartWeights,
    begin,
    changes,
    check_environment,
    decisive_environment,
    decisive_versions,
    go_on,
    refuse_another,
    restore,
    restore_classifier,
    save,
    take_up,
)
from fastwsol.training.step import ClassifierState, new_state, state_tensors

CPU, CLASSES = torch.device("cpu"), ("a", "b", "c")


def state_of(precision: Any = "fp32", **options: Any) -> tuple[ClassifierState, RunInfo]:
    config = Config.of(depth=18, stem="C", **options)
    info = RunInfo(config, Path("shards"), "digest", CLASSES, CLASSES, Statistics((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))
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


def test_what_a_checkpoint_lacks_is_named_and_what_it_has_beside_is_ignored(tmp_path: Path) -> None:
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


BEFORE = {"device": "cpu", "step_mode": "eager", "threads": 1}


class HeldRun:
    """A run's folder as far as going on looks at one."""

    def __init__(self, folder: Path, last: dict[str, Any] | None = BEFORE) -> None:
        self.folder, self.checkpoints, self.last = folder, folder / "checkpoints", last
        self.checked: list[Any] = []
        self.stored: list[Any] = []
        self.kept: list[int] = []

    def last_start(self, step: int) -> dict[str, Any] | None:
        return self.last

    def check_holdout(self, holdout: Any) -> None:
        self.checked.append(holdout)

    def store_holdout(self, holdout: Any) -> None:
        self.stored.append(holdout)

    def drop_rows_after(self, step: int) -> None:
        self.kept.append(step)


def going_on(run: Any, info: RunInfo, step: str, holdout: object = None) -> Any:
    """A job whose classifier is trained for three steps, on one thread."""
    splits = {} if holdout is None else {"holdout": holdout}
    return SimpleNamespace(
        run=run,
        info=info,
        setup=SimpleNamespace(shards=SimpleNamespace(splits=splits)),
        timetable=SimpleNamespace(classifier_steps=3),
        process=SimpleNamespace(autocast=SimpleNamespace(precision="fp32")),
        launch=SimpleNamespace(step=step, inexact=False),
        environment={"device": "cpu", "threads": 1},
    )


def test_a_classifier_that_is_trained_asks_for_its_number_format_and_for_no_mode_of_steps(tmp_path: Path) -> None:
    state, info = state_of()
    for step, precision, words in ((3, "bf16", "was trained in bf16"), (2, "fp32", "step_mode eager -> compiled")):
        state.step = step
        saved = saved_of(state, info, tmp_path / str(step), precision)
        with pytest.raises(UserError, match=words):
            go_on(going_on(HeldRun(tmp_path), info, "compiled"), state, saved)
    state.step = 3
    saved = saved_of(state, info, tmp_path / "whole")
    fresh, _ = state_of()
    go_on(going_on(HeldRun(tmp_path), info, "compiled"), fresh, saved)
    assert fresh.step == 3


@pytest.mark.parametrize("begun", [False, True])
def test_images_held_out_are_noted_at_the_start_and_compared_afterwards(
    begun: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state, info = state_of()
    state.step = 2 * begun
    run, holdout = HeldRun(tmp_path), object()
    saved = saved_of(state, info, tmp_path) if begun else None
    monkeypatch.setattr("fastwsol.training.resume.find_own_work", lambda *_: saved)
    job = going_on(run, info, "eager", holdout)
    assert take_up(job, state, "auto", StartWeights()) is saved
    assert (run.stored, run.checked) == (([], [holdout]) if begun else ([holdout], []))
    assert run.kept == [state.step], "rows of steps that are done again go"


def folder_of(config: Config) -> tuple[Any, RunInfo]:
    info = RunInfo(config, Path("shards"), "digest", CLASSES, CLASSES, Statistics((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)))  # type: ignore[arg-type]
    return SimpleNamespace(folder="run", read_info=lambda: info, has_info=lambda: True, finished=lambda _: False), info


@pytest.mark.parametrize(
    ("theirs", "ours", "words"),
    [
        ({"lr": 0.01, "depth": 18}, {"lr": 0.02, "depth": 34}, "--depth 18, not 34; --lr 0.01, not 0.02"),
        ({"init_sha256": "0" * 64}, {}, "began with the weights of another file; name its --init"),
        ({}, {"init_sha256": "0" * 64}, "began with weights that were drawn; name its --init"),
        (
            {"localizer": "mask"},
            {"localizer": "mask", "behind_sha256": "0" * 64},
            "a run that trained its own classifier",
        ),
        ({"localizer": "mask", "behind_sha256": "0" * 64}, {"localizer": "mask"}, "a run behind another classifier"),
        ({"store_size": 64}, {"store_size": 96}, "--store-size 64, not 96"),
        ({"store_size": 64, "lr": 0.01}, {"store_size": 96, "lr": 0.02}, r"another run \(--lr 0.01, not 0.02\)"),
    ],
)
def test_what_tells_another_run_apart_is_named(theirs: dict[str, Any], ours: dict[str, Any], words: str) -> None:
    run, _ = folder_of(Config.of(**theirs))
    _, info = folder_of(Config.of(**ours))
    with pytest.raises(UserError, match=words):
        refuse_another(run, info, "auto")


def test_whether_bits_were_promised_is_asked_of_the_last_start(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A run of a GPU promised none, and may go on with a CPU; one of a CPU may not with a GPU."""
    gpu, cpu = {"device": "cuda", "deterministic": False}, {"device": "cpu", "deterministic": False}
    check_environment(HeldRun(tmp_path, gpu), 5, cpu, False)  # type: ignore[arg-type]
    assert "continued with device cuda -> cpu" in capsys.readouterr().err
    with pytest.raises(UserError, match="device cpu -> cuda"):
        check_environment(HeldRun(tmp_path, cpu), 5, gpu, False)  # type: ignore[arg-type]


def test_before_the_first_step_nothing_has_changed(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    check_environment(HeldRun(tmp_path, None), 0, BEFORE, False)  # type: ignore[arg-type]
    assert capsys.readouterr().err == ""
    with pytest.raises(UserError, match=r"environment\.json is gone"):
        check_environment(HeldRun(tmp_path, None), 1, BEFORE, False)  # type: ignore[arg-type]


def test_rows_of_steps_that_are_done_again_go_and_those_of_the_checkpoints_own_stay(tmp_path: Path) -> None:
    run = RunDir(tmp_path)
    for kind, step in (("train", 1), ("train", 2), ("eval", 2), ("train", 3)):
        run.append_row({"kind": kind, "step": step})
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "tra')
    run.drop_rows_after(2)
    assert [(row["kind"], row["step"]) for row in run.rows()] == [("train", 1), ("train", 2), ("eval", 2)]
    assert (tmp_path / "metrics.jsonl").read_text().count("\n") == 3


def test_what_processes_do_not_share_is_listed_in_one_order() -> None:
    """Whichever of them is the first."""
    config, found = Config.of(), []
    for threads in ((2, 1), (1, 2)):
        world = SimpleNamespace(
            size=2, values_of_all=lambda mine, of=threads: [mine | {"threads": each} for each in of]
        )
        setup: Any = SimpleNamespace(
            process=SimpleNamespace(autocast=Autocast(CPU, "fp32"), threads=threads[0], world=world),
            feed=SimpleNamespace(views_by=lambda *_: "kernel", data=lambda *_: "resident"),
            shards=SimpleNamespace(splits={"train": None}),
        )
        found.append(decisive_environment(config, setup, deterministic=False))
    assert found[0] == found[1]
    assert (found[0]["threads"], found[0]["views"]) == ([1, 2], "kernel")
