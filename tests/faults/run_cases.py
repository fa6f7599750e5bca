"""Bad inputs of python -m fastwsol.train and python -m fastwsol.evaluate: all end before a step is taken."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from fastwsol import train
from fastwsol.config import Config
from fastwsol.dataset.holdout import hold_out
from fastwsol.dataset.shards import open_shards
from fastwsol.host.device import Autocast
from fastwsol.host.files import sole_worker
from fastwsol.runs.checkpoint import hash_of
from fastwsol.runs.folder import RunDir
from fastwsol.training.resume import save
from fastwsol.training.step import new_state

from .case import Case, Place

CONFIG = Config.of(depth=18, batch_size=20, epochs=0.75, holdout=2)
FLAGS = ["--depth", "18", "--batch-size", "20", "--epochs", "0.75", "--holdout", "2"]
HERE = ["--step", "eager", "--threads", "1", "--device", "cpu", "--precision", "fp32"]
UNKNOWN_OPTION = {**CONFIG.to_json(), "network": {"deepness": 3}}
CHECKPOINT = "checkpoints/step-000000001"


def make_run(folder: Path, shard_folder: Path, config: Config = CONFIG) -> None:
    """An unfinished run of `FLAGS` at its first step, as training leaves it."""
    shards = open_shards(shard_folder)
    info = train.run_info(config, shards)
    run = RunDir(folder)
    with run.opened(info):
        run.store_holdout(hold_out(shards, config.data.holdout).splits["holdout"])
        state = new_state(config, len(info.classes), Autocast(torch.device("cpu"), "fp32"))
        state.step = 1
        save(run, info, state, "fp32")


# Training


def train_flags(name: str, arguments: list[str], *words: str) -> Case:
    def make(place: Place) -> list[object]:
        return ["--shards", place.shared["shards"], "--run-dir", place.out, *FLAGS, *HERE, *arguments]

    return Case("flags", name, make, words, command="train")


def on_shards(command: str, name: str, spoil: Callable[[Path], object], *words: str) -> Case:
    def make(place: Place) -> list[object]:
        folder = place.copy("shards")
        spoil(folder)
        if command == "train":
            return ["--shards", folder, "--run-dir", place.out, *FLAGS, *HERE]
        return [place.shared["run"], "--shards", folder]

    return Case("shards", name, make, words, command=command)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.unlink()  # it may be a link to all cases' own
    path.write_bytes(content)


def edit(path: Path, change: Callable[[dict], object]) -> None:
    fields = json.loads(path.read_text())
    change(fields)
    path.write_text(json.dumps(fields))


def put(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes(content)


def folder_instead(folder: Path) -> None:
    (folder / "val-00000.arrow").unlink()
    (folder / "val-00000.arrow").mkdir()


def shard_cases(command: str) -> list[Case]:
    def case(name: str, spoil: Callable[[Path], object], *words: str) -> Case:
        return on_shards(command, name, spoil, *words)

    shard = "train-00000.arrow"
    return [
        case(
            "no manifest", lambda folder: (folder / "manifest.json").unlink(), "no packed data set", "scripts/pack.py"
        ),
        case("no folder", shutil.rmtree, "no packed data set", "scripts/pack.py"),
        case("an empty manifest", put("manifest.json", b""), "manifest.json: not a manifest", "scripts/pack.py"),
        case("a manifest that is a list", put("manifest.json", b"[]"), "manifest.json: not a manifest"),
        case(
            "a manifest of a later version",
            lambda folder: edit(folder / "manifest.json", lambda fields: fields.update(schema_version=99)),
            "schema version 99",
        ),
        case(
            "a shard elsewhere",
            lambda folder: edit(
                folder / "manifest.json",
                lambda fields: fields["splits"]["train"]["shards"][0].update(file="../train-00000.arrow"),
            ),
            "a shard outside the folder",
        ),
        case(
            "a count that does not add up",
            lambda folder: edit(folder / "manifest.json", lambda fields: fields["splits"]["val"].update(images=7)),
            "shards with another number of rows",
        ),
        case("a shard missing", lambda folder: (folder / shard).unlink(), shard, "names this shard and it is missing"),
        case(
            "a shard cut short", lambda folder: (folder / shard).write_bytes(b"ARROW1"), shard, "6 bytes, the manifest"
        ),
        case(
            "a shard with a flipped bit",
            lambda folder: flip(folder / shard),
            shard,
            "its SHA-256 is not the manifest's",
        ),
        case("a folder for a shard", folder_instead, "val-00000.arrow", "cannot be read (Is a directory)"),
    ]


def on_run(
    command: str, name: str, spoil: Callable[[Path], object], *words: str, flags: list[str] | None = None
) -> Case:
    def make(place: Place) -> list[object]:
        folder = place.copy("run")
        spoil(folder)
        if command == "train":
            return [
                "--shards",
                place.shared["shards"],
                "--run-dir",
                folder,
                *(FLAGS if flags is None else flags),
                *HERE,
            ]
        return [folder, *(flags or ())]

    return Case("run folder", name, make, words, command=command)


def config_as(**changes: object) -> Callable[[Path], object]:
    return lambda folder: edit(folder / "config.json", lambda fields: fields.update(changes))


def rewrite_tensors(folder: Path, content: bytes) -> None:
    """In a new file: the old one is a link to all cases' own."""
    path = folder / f"{CHECKPOINT}.safetensors"
    path.unlink()
    path.write_bytes(content)


def checkpoint_as(**changes: object) -> Callable[[Path], object]:
    """Another checkpoint that is whole."""

    def change(fields: dict) -> None:
        fields.update(changes)
        del fields["fields_sha256"]
        fields["fields_sha256"] = hash_of(fields)

    return lambda folder: edit(folder / f"{CHECKPOINT}.json", change)


def run_cases(command: str) -> list[Case]:
    """What is wrong with the run's folder itself, whoever reads it."""

    def case(name: str, spoil: Callable[[Path], object], *words: str) -> Case:
        return on_run(command, name, spoil, *words)

    unreadable = ("none of its 1 checkpoints can be read",)
    return [
        case("config.json empty", put("config.json", b""), "config.json: not JSON"),
        case("config.json a number", put("config.json", b"3"), "config.json: not a run of this version"),
        case("config.json not text", put("config.json", b"\xff"), "config.json: not JSON"),
        case("config.json of a later version", config_as(format_version=99), "not a run of this version of fastwsol"),
        case("config.json without its configuration", config_as(config=None), "config.json"),
        case("config.json with an unknown setting", config_as(config=UNKNOWN_OPTION), "deepness"),
        case("config.json changed by hand", config_as(config_digest="0"), "was changed by hand"),
        case("checkpoint's JSON empty", put(f"{CHECKPOINT}.json", b""), *unreadable),
        case("checkpoint's JSON a list", put(f"{CHECKPOINT}.json", b"[]"), *unreadable),
        case("checkpoint of a later version", checkpoint_as(format_version=99), *unreadable),
        case(
            "checkpoint without its tensors",
            lambda folder: (folder / f"{CHECKPOINT}.safetensors").unlink(),
            *unreadable,
        ),
        case("checkpoint's tensors cut short", lambda folder: rewrite_tensors(folder, b"\0" * 100), *unreadable),
        case(
            "checkpoint of another configuration",
            checkpoint_as(config_digest="0"),
            "its config_digest is not this run's",
        ),
        case("checkpoint of other shards", checkpoint_as(shards_digest="0"), "its shards_digest is not this run's"),
        case("checkpoint of other classes", checkpoint_as(classes=["a"]), "its classes is not this run's"),
    ]


CHECKPOINTS_TRAIN_TRIES = ("checkpoint's tensors cut short", "checkpoint of another configuration")


def foreign(place: Place) -> list[object]:
    place.out.mkdir()
    (place.out / "thesis.tex").write_text("years of work")
    return ["--shards", place.shared["shards"], "--run-dir", place.out, *FLAGS, *HERE]


def file_for_run(place: Place) -> list[object]:
    place.out.touch()
    return ["--shards", place.shared["shards"], "--run-dir", place.out, *FLAGS, *HERE]


def held(place: Place) -> Iterator[list[object]]:
    folder = place.copy("run")
    with sole_worker(folder):
        yield ["--shards", place.shared["shards"], "--run-dir", folder, *FLAGS, *HERE]


def store_is_a_file(place: Place) -> list[object]:
    path = place.root / "file"
    path.write_text("of someone's")
    data = ["--data", "resident", "--store", path]
    return ["--shards", place.shared["shards"], "--run-dir", place.out, *FLAGS, *HERE, *data]


TRAIN = [
    train_flags("an unknown flag", ["--dept", "18"], "--dept", "perhaps you meant", "--depth"),
    train_flags("a stray argument", ["now"], "now"),
    train_flags("a depth beside a backbone", ["--backbone", "resnet18"], "--depth 18: is of --backbone preact-resnet"),
    train_flags("weights of our own network", ["--weights", "pretrained"], "preact-resnet has no published weights"),
    train_flags("crops of nothing", ["--aug", "none", "--crops-per-image", "2"], "--aug none crops nothing"),
    train_flags("a square for images of one size", ["--store-size", "96"], "--store-size 96", "have one size already"),
    train_flags("a square that is too small", ["--store-size", "32"], "--store-size 32", "give at least --image-size"),
    train_flags("a square of less than nothing", ["--store-size", "-1"], "--store-size -1: must be at least 0"),
    train_flags("a fit that is none", ["--fit", "squeeze"], "--fit"),
    train_flags("maps of one cell", ["--stem", "C", "--image-size", "16"], "--image-size 16", "have one cell there"),
    train_flags(
        "a single value for batch normalisation",
        ["--stem", "C", "--batch-size", "1", "--image-size", "32", "--start-size", "16"],
        "--batch-size 1: batch normalisation in ResNet-18, stem C has one value a channel of a single image of 16",
    ),
    train_flags("a depth that is none", ["--depth", "17"], "--depth"),
    train_flags("an augmentation that is none", ["--aug", "mixup"], "--aug"),
    train_flags("a preset that is none", ["--preset", "slow"], "--preset"),
    train_flags("an empty batch", ["--batch-size", "0"], "--batch-size 0: must be greater than 0"),
    train_flags("a batch larger than the set", ["--batch-size", "5000"], "--batch-size 5000: there are 72 images"),
    train_flags("a learning rate that is no number", ["--lr", "nan"], "--lr nan"),
    train_flags("fewer epochs than none", ["--epochs", "-1"], "--epochs -1.0: must be greater than 0"),
    train_flags("a momentum of 1", ["--momentum", "1"], "--momentum 1.0"),
    train_flags("an image size off the grid", ["--image-size", "60"], "--image-size 60: must be a multiple of 16"),
    train_flags("a seed below 0", ["--seed", "-1"], "--seed -1"),
    train_flags(
        "an evaluation on what is not there",
        ["--eval-on", "fullsup", "--holdout", "0"],
        "--eval-on fullsup",
        "has no such images",
    ),
    train_flags(
        "two splits to be evaluated on",
        ["--eval-on", "fullsup", "--holdout", "2"],
        "--eval-on fullsup: with --holdout the run is evaluated on that",
    ),
    train_flags("all images held out", ["--holdout", "20"], "--holdout 20"),
    train_flags("fewer threads than none", ["--threads", "-1"], "--threads -1: must be at least 0"),
    train_flags("a device that is none", ["--device", "tpu0"], "--device tpu0"),
    train_flags("a GPU too many", ["--device", "cuda:99"], "--device cuda:99: this machine has"),
    train_flags("fp16 on a CPU", ["--precision", "fp16"], "--precision fp16: needs a CUDA device"),
    train_flags("a path of the data that is none", ["--data", "warm"], "--data"),
    train_flags("a CUDA graph on a CPU", ["--step", "captured"], "--step captured: needs a CUDA device"),
    train_flags("a way to step that is none", ["--step", "fast"], "--step"),
    train_flags("first images off the grid", ["--start-size", "40"], "--start-size 40: must be a multiple of 16"),
    train_flags("images that would shrink", ["--start-size", "80"], "--start-size 80", "up to --image-size 64"),
    train_flags("pairs of an odd batch", ["--mix", "mixup", "--batch-size", "7"], "--batch-size 7: --mix mixup mixes"),
    train_flags("no view mixed", ["--mix", "mixup", "--mix-share", "0"], "--mix-share 0.0"),
    train_flags("a share of no mixing", ["--mix-share", "0.3"], "--mix-share 0.3: --mix none mixes nothing"),
    train_flags("steps of no head", ["--head-steps", "9"], "--head-steps 9: --localizer cam trains no mask head"),
    train_flags(
        "drops of no steps", ["--schedule", "one-cycle", "--lr-step-epochs", "2"], "--schedule one-cycle has no"
    ),
    train_flags("a stride beside a stem", ["--output-stride", "16"], "--output-stride 16", "another --stem"),
    train_flags(
        "a rate for what is not trained",
        ["--train-part", "classifier", "--backbone-lr-mult", "0.1"],
        "--backbone-lr-mult 0.1: --train-part classifier trains no other layer",
    ),
    train_flags("features of nothing frozen", ["--features", "f"], "--features f: all of the network is trained"),
    train_flags("a store beside DALI", ["--data", "dali", "--store", "s"], "--store s: --data dali keeps no decoded"),
    train_flags("a label smoothed away", ["--label-smoothing", "1"], "--label-smoothing 1.0"),
    train_flags("an average over fewer steps than none", ["--average-steps", "-1"], "--average-steps -1"),
    Case(
        "flags",
        "a file for a store",
        store_is_a_file,
        ("--data resident: train: ", "file cannot be written (File exists)", "--data dali", "--store"),
        command="train",
    ),
    train_flags("nothing to resume", ["--resume", "require"], "--resume require", "no checkpoint to continue from"),
    *shard_cases("train"),
    # Reading a run's folder is the same code as evaluation's; these are of training's own way to it.
    *(case for case in run_cases("train") if case.name in ("config.json empty", *CHECKPOINTS_TRAIN_TRIES)),
    on_run(
        "train",
        "another run",
        lambda folder: None,
        "holds another run (--lr 0.1, not 0.2)",
        flags=[*FLAGS, "--lr", "0.2"],
    ),
    on_run("train", "never to resume", lambda folder: None, "--resume never", flags=[*FLAGS, "--resume", "never"]),
    on_run(
        "train",
        "finished, its report damaged",
        put("report-holdout.json", b"{}"),
        "report-holdout.json: is not a report of this version",
        "--split holdout",
    ),
    on_run(
        "train",
        "finished, never to resume",
        put("report-holdout.json", b"{}"),
        "--resume never: ",
        "holds this run, finished",
        flags=[*FLAGS, "--resume", "never"],
    ),
    on_run("train", "begun on other shards", config_as(shards_digest="0"), "was begun on other shards"),
    on_run(
        "train",
        "other images held out",
        put("holdout.txt", b"train/x.jpg\n"),
        "holdout.txt: names other images",
    ),
    on_run(
        "train",
        "trained in another number format",
        checkpoint_as(precision="bf16"),
        "was trained in bf16",
        "pass --precision bf16",
    ),
    Case(
        "run folder",
        "a folder of someone's",
        foreign,
        ("out: exists and is no run of fastwsol", "--run-dir"),
        command="train",
    ),
    Case("run folder", "a file", file_for_run, ("out: exists and is no run of fastwsol",), command="train"),
    Case("run folder", "another process is at work", held, ("another process is at work here",), command="train"),
]

EVALUATE = [
    Case("flags", "no run", lambda place: [], ("nothing to evaluate; name the folder of a run",), command="evaluate"),
    Case(
        "flags",
        "a run that is not there",
        lambda place: [place.root / "none"],
        ("none: no run here",),
        command="evaluate",
    ),
    Case(
        "flags",
        "shards for a run",
        lambda place: [place.shared["shards"]],
        ("no run here (it has no config.json)",),
        command="evaluate",
    ),
    on_run("evaluate", "a split that is none", lambda folder: None, "--split", flags=["--split", "test"]),
    on_run("evaluate", "boxes for a run", lambda folder: None, "--boxes: goes with --maps", flags=["--boxes", "x.csv"]),
    on_run(
        "evaluate",
        "a file for a store",
        lambda folder: None,
        "--data resident: val: ",
        "cannot be written",
        flags=["--data", "resident", "--store", "/dev/null"],
    ),
    on_run("evaluate", "maps that exist", lambda folder: None, "exists; nothing", flags=["--export-maps", "."]),
    on_run("evaluate", "a device that is none", lambda folder: None, "--device tpu0", flags=["--device", "tpu0"]),
    on_run(
        "evaluate",
        "fp16 on a CPU",
        lambda folder: None,
        "--precision fp16",
        flags=["--device", "cpu", "--precision", "fp16"],
    ),
    on_run(
        "evaluate", "no checkpoint yet", lambda folder: shutil.rmtree(folder / "checkpoints"), "has no checkpoint yet"
    ),
    on_run(
        "evaluate",
        "its shards are gone",
        config_as(shards="/nowhere/shards"),
        "was trained on the shards in /nowhere/shards, which is not there; name them with",
    ),
    on_run(
        "evaluate",
        "other images held out",
        put("holdout.txt", b"train/x.jpg\n"),
        "holdout.txt: names other images",
    ),
    *shard_cases("evaluate"),
    *run_cases("evaluate"),
]

CASES = [*TRAIN, *EVALUATE]
