"""Ways to carry out a step: one result, nothing that waits or changes from step to step, the fastest by measurement."""

import json
import os
import shutil
import signal

import pytest
import torch
import torch._dynamo.testing
from interference import around_steps, signalled_after
from torch.utils._python_dispatch import TorchDispatchMode

from fastwsol import train
from fastwsol.batches.stream import Batch, Batches
from fastwsol.config import Config
from fastwsol.host.command_line import run_command
from fastwsol.host.device import Autocast
from fastwsol.host.errors import Interrupted
from fastwsol.host.world import ALONE
from fastwsol.network.attention_dropout import PLACES
from fastwsol.training import step_mode
from fastwsol.training.step import make_loss, new_state, state_tensors, train_step, unchanged
from fastwsol.training.step_mode import Choice, Stepper, choose_mode, possible_modes

CPU = torch.device("cpu")
CLASSES, SIZE = 4, 32
ALL = Config.of(depth=18, stem="C", average_steps=3, label_smoothing=0.1, attention_dropout=0.5)


class Noise(Batches):
    """Batches of noise, some of whose attention is dropped; equal ones each time."""

    def __init__(self):
        self._generator = torch.Generator().manual_seed(0)

    def take(self):
        images = torch.randn(4, 3, SIZE, SIZE, generator=self._generator).contiguous(memory_format=torch.channels_last)
        labels = torch.randint(0, CLASSES, (4,), generator=self._generator)
        drops = torch.rand(4, PLACES, generator=self._generator) < ALL.network.attention_dropout
        return {"images": images, "labels": labels, "drops": drops}

    def show(self, taken):
        return Batch(taken["images"], taken["labels"], taken["drops"])


def fresh(config=ALL, precision="fp32"):
    return new_state(config, CLASSES, Autocast(CPU, precision))


def stepper(mode, state, batches, sample, precision="fp32"):
    loss_of = make_loss(
        state.model, Autocast(CPU, precision), "compiled" in mode, label_smoothing=ALL.optimizer.label_smoothing
    )
    return Stepper(mode, state, loss_of, batches, sample)


def plain_step(state, loss_of, batches, taken, lr):
    batch = batches.show(taken)
    train_step(state, loss_of, batch.images, batch.labels, lr, batch.extra)


def all_of(state):
    tensors = {name: tensor.clone() for name, tensor in state_tensors(state).items()}
    return tensors, state.scaler.state_dict(), state.step


def assert_same(ours, theirs):
    assert ours[1:] == theirs[1:]
    assert ours[0].keys() == theirs[0].keys()
    for name, tensor in ours[0].items():
        assert torch.equal(tensor, theirs[0][name]), name


def after_steps(mode, count, precision="fp32"):
    """The state after `count` steps at rates that differ, all on batches that do."""
    state, batches = fresh(precision=precision), Noise()
    taken = batches.take()
    way = stepper(mode, state, batches, taken, precision)
    for number in range(count):
        way.step(taken, 0.01 * (number + 1))
        taken = batches.take()
    return all_of(state)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_captured_step_changes_what_an_eager_one_does(precision):
    assert_same(after_steps("captured", 3, precision), after_steps("eager", 3, precision))


def test_capturing_trains_nothing():
    """Weights, momentum, BN statistics, average, totals and the scaler stay as they are."""
    state, batches = fresh(precision="fp16"), Noise()
    plain_step(state, make_loss(state.model, Autocast(CPU, "fp16"), False), batches, batches.take(), 0.01)
    before = all_of(state)
    stepper("captured", state, batches, batches.take(), "fp16")
    assert_same(all_of(state), before)


def test_what_is_loaded_after_the_capture_is_what_the_next_step_starts_from():
    """A graph goes on reading the addresses it was captured with."""
    batches = Noise()
    taken = batches.take()
    state = fresh()
    way = stepper("captured", state, batches, taken)
    addresses = {name: tensor.data_ptr() for name, tensor in state_tensors(state).items()}
    other = fresh()
    loss_of = make_loss(other.model, Autocast(CPU, "fp32"), False, label_smoothing=0.1)
    plain_step(other, loss_of, batches, taken, 0.1)
    for name, tensor in state_tensors(state).items():
        tensor.copy_(state_tensors(other)[name])
    state.step = other.step
    way.step(taken, 0.02)
    plain_step(other, loss_of, batches, taken, 0.02)
    assert_same(all_of(state), all_of(other))
    assert {name: tensor.data_ptr() for name, tensor in state_tensors(state).items()} == addresses


def test_what_is_tried_leaves_no_trace():
    state, batches = fresh(), Noise()
    before = all_of(state)
    way = stepper("eager", state, batches, batches.take())
    with unchanged(state):
        way.step(batches.take(), 0.1)
        assert not torch.equal(state.model.fc.bias, before[0]["model.fc.bias"])
    assert_same(all_of(state), before)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_trial_that_breaks_off_in_mid_step_leaves_no_trace_either(precision):
    """Gradients that nobody took would be added to the next step's; and the scaler would take that one for taken."""
    state, batches = fresh(precision=precision), Noise()
    taken = batches.take()
    way = stepper("eager", state, batches, taken, precision)
    before = all_of(state)

    def broken(*_):
        raise RuntimeError("operation not permitted when stream is capturing")

    for name in ("optimizer", "scaler"):  # before the update of the weights, and after
        owner = getattr(state, name)
        method = "step" if name == "optimizer" else "update"
        original = getattr(owner, method)
        setattr(owner, method, broken)
        with pytest.raises(RuntimeError), unchanged(state):
            way.step(taken, 0.1)
        setattr(owner, method, original)
        assert_same(all_of(state), before)
    way.step(taken, 0.1)
    other = fresh(precision=precision)
    stepper("eager", other, batches, taken, precision).step(taken, 0.1)
    assert_same(all_of(state), all_of(other))


class Recorded(TorchDispatchMode):
    """Every operation that is dispatched, with those of its arguments that are no tensors."""

    def __init__(self):
        super().__init__()
        self.operations = []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        leaves = torch.utils._pytree.tree_leaves((args, kwargs or {}))
        self.operations.append((str(function), [each for each in leaves if isinstance(each, int | float | str)]))
        return function(*args, **(kwargs or {}))


def test_a_step_does_the_same_operations_with_the_same_numbers_each_time_and_reads_nothing_back():
    """What differs from step to step is in tensors: a graph has no other way to learn of it."""
    state, batches = fresh(), Noise()
    loss_of = make_loss(state.model, Autocast(CPU, "bf16"), False, label_smoothing=0.1)
    seen = []
    for lr in (0.1, 0.2, 0.3):
        step_mode.set_rate(state, lr)
        taken = batches.take()
        batch = batches.show(taken)
        with Recorded() as recorded:
            step_mode.change(state, loss_of, batch.images, batch.labels, batch.extra)
        seen.append(recorded.operations)
    assert seen[1] == seen[0]
    assert seen[2] == seen[0]
    names = {name for name, _ in seen[0]}
    assert "aten._fused_sgd_.tensor_lr" in names
    assert not names & {"aten._local_scalar_dense.default", "aten.nonzero.default", "aten.is_nonzero.default"}
    assert not any("Scalar" in name and "where" in name for name in names)


def test_the_step_is_one_graph_that_is_compiled_once_for_each_size():
    """Evaluations between steps, another rate and another batch compile nothing; another size does, once."""
    torch._dynamo.reset()
    state, autocast = fresh(), Autocast(CPU, "bf16")
    counter = torch._dynamo.testing.CompileCounter()
    loss_of = make_loss(state.model, autocast, False)
    loss_of.compile(backend=counter, fullgraph=True, dynamic=False)
    for size in (32, 48, 32):
        for lr in (0.1, 0.2):
            images = torch.randn(4, 3, size, size).contiguous(memory_format=torch.channels_last)
            train_step(state, loss_of, images, torch.tensor([0, 1, 2, 3]), lr)
            state.model.eval()
            with torch.inference_mode(), autocast():
                state.model(images)
            state.model.train()
    assert counter.frame_count == 2


TIMES = {"eager": 1.0, "compiled": 0.5, "captured": 0.6, "compiled-captured": 0.4}


def choose(monkeypatch, times, steps_left, device="cpu"):
    """The choice among the modes of `times` if steps took so long; which of them were made."""
    made = []

    def make(mode):
        made.append(mode)
        if times[mode] is None:
            raise RuntimeError("operation not permitted when stream is capturing\nmore")
        return mode

    monkeypatch.setattr(step_mode, "_seconds_a_step", lambda stepper, *_: times[stepper])
    for of_device in (step_mode._HOPED_GAIN, step_mode._COMPILE_SECONDS):
        monkeypatch.setitem(of_device, "cpu", of_device[device])
    choice, chosen = choose_mode(list(times), make, fresh(), {}, steps_left, ALONE)
    assert chosen == choice.mode
    return choice, made


def test_the_fastest_mode_is_chosen(monkeypatch):
    choice, made = choose(monkeypatch, TIMES, 10_000)
    assert choice == Choice("compiled-captured", TIMES)
    assert made == [*TIMES]
    assert choose(monkeypatch, TIMES | {"compiled-captured": 0.7}, 10_000)[0].mode == "compiled"


def test_a_run_too_short_to_repay_a_trial_has_none(monkeypatch):
    assert choose(monkeypatch, TIMES, 10)[1] == ["eager"]
    assert choose(monkeypatch, TIMES, 60, "cuda")[1] == ["eager", "captured"]


def test_thirty_epochs_of_small_steps_on_a_gpu_repay_compiling(monkeypatch):
    milliseconds = {"eager": 6.7, "compiled": 7.6, "captured": 5.2, "compiled-captured": 4.0}  # as on an H200
    times = {mode: each / 1000 for mode, each in milliseconds.items()}
    assert choose(monkeypatch, times, 23_438, "cuda")[0].mode == "compiled-captured"


def test_a_mode_that_cannot_be_captured_is_left_out_and_told(monkeypatch, capsys):
    choice, _ = choose(monkeypatch, TIMES | {"captured": None, "compiled-captured": None}, 10_000)
    assert choice.mode == "compiled"
    assert "cannot be captured here (operation not permitted when stream is capturing)" in capsys.readouterr().err


def test_graphs_are_for_one_process_on_a_gpu(monkeypatch):
    cuda = torch.device("cuda")
    monkeypatch.setattr(shutil, "which", lambda name: name)
    assert possible_modes(CPU, 1) == ["eager", "compiled"]
    assert possible_modes(cuda, 1) == ["eager", "compiled", "captured", "compiled-captured"]
    assert possible_modes(cuda, 2) == ["eager", "compiled"]
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert possible_modes(CPU, 1) == ["eager"]


def run_flags(shards, run, *more):
    return [
        *("--aug", "gr", "--depth", "18", "--stem", "C", "--batch-size", "16", "--epochs", "0.6", "--lr", "0.02"),
        *("--log-steps", "1", "--threads", "1", "--shards", str(shards), "--run-dir", str(run), *more),
    ]


def starts_of(run):
    return json.loads((run / "environment.json").read_text())["starts"]


def test_the_choice_is_recorded_and_a_continued_run_keeps_it(synthetic_shards, tmp_path, capsys):
    """Another mode would give other bits."""
    run = tmp_path / "run"

    def stop_once_it_is_chosen(state):
        if state.step == 1 and (run / "environment.json").is_file():
            os.kill(os.getpid(), signal.SIGTERM)

    with around_steps(after=stop_once_it_is_chosen):
        assert run_command(train.main, run_flags(synthetic_shards, run)) == 75
    first = starts_of(run)[0]
    assert first["step_mode"] == "eager"
    assert (
        f"step: eager (measured: eager {1000 * first['step_mode_seconds']['eager']:.3g} ms)" in capsys.readouterr().out
    )
    assert run_command(train.main, run_flags(synthetic_shards, run)) == 0
    assert [start["step_mode_seconds"] for start in starts_of(run)] == [first["step_mode_seconds"]] * 2


def test_a_stop_during_the_trial_ends_it_and_nothing_is_chosen(synthetic_shards, tmp_path, capsys):
    run = tmp_path / "run"
    with signalled_after(1, signal.SIGTERM):
        assert run_command(train.main, run_flags(synthetic_shards, run)) == 75
    assert f"stopped: {run}: before step 1; the same command goes on" in capsys.readouterr().err
    assert not (run / "environment.json").exists()
    assert run_command(train.main, run_flags(synthetic_shards, run)) == 0


def test_a_compiler_that_a_signal_ends_is_not_called_broken(monkeypatch, capsys):
    """The signal goes to all processes of a group, and is seen here once the compiler is gone."""
    asked = []

    def make(mode):
        if mode == "compiled":
            asked.append(True)
            raise RuntimeError("Command 'g++' died with <Signals.SIGTERM: 15>.")
        return mode

    monkeypatch.setattr(step_mode, "_seconds_a_step", lambda stepper, *_: 1.0)
    with pytest.raises(Interrupted):
        choose_mode(["eager", "compiled"], make, fresh(), {}, 10_000, ALONE, lambda: bool(asked))
    assert "warning" not in capsys.readouterr().err


@pytest.mark.parametrize("mode", ["captured", "compiled-captured"])
def test_graphs_asked_for_on_a_cpu_are_refused(synthetic_shards, tmp_path, capsys, mode):
    assert run_command(train.main, run_flags(synthetic_shards, tmp_path / "run", "--step", mode)) == 2
    assert f"--step {mode}: needs a CUDA device" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_compiling_asked_for_without_a_compiler_is_refused(synthetic_shards, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert run_command(train.main, run_flags(synthetic_shards, tmp_path / "run", "--step", "compiled")) == 2
    assert "needs a compiler (g++, for a GPU gcc)" in capsys.readouterr().err
