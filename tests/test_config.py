"""The configuration: defaults and presets, what is refused, and what follows from it for each step."""

import hashlib
import itertools
import json
import re

import pytest

from fastwsol import train as training
from fastwsol.config import FLAT_NAMES, Config, Setting, is_as_before
from fastwsol.host.errors import UserError
from fastwsol.timetable import Timetable


def test_the_bare_command_is_the_papers_recipe():
    config = training.read_flags(["--aug", "gr", "--depth", "34"]).config
    assert config == Config()
    assert (
        config.schedule.epochs,
        config.optimizer.batch_size,
        config.optimizer.lr,
        config.optimizer.weight_decay,
    ) == (1500, 256, 0.1, 1e-4)
    rates = [Timetable(config, 2560).learning_rate(step) for step in (0, 2499, 2500, 14_999)]
    assert rates == pytest.approx([0.1, 0.1, 0.01, 1e-6])


def test_flags_beside_a_preset_win():
    read = training.read_flags(["--epochs", "3", "--preset=demo"])
    assert read.config.schedule.epochs == 3
    assert read.config.schedule.schedule == "one-cycle"
    assert read.config.optimizer.batch_size == 32


def test_equal_configurations_have_equal_digests_however_they_are_written():
    written, meant = (
        training.read_flags(arguments).config
        for arguments in (["--epochs", "19", "--preset", "fast"], ["--preset", "fast"])
    )
    assert written.digest() == meant.digest()
    assert Timetable(Config.of(epochs=1.1, batch_size=10), 100).total_steps == 11


@pytest.mark.parametrize(
    ("size", "start", "end"), [(80, 32, 64), (64, 32, 48), (32, 16, 32), (16, 16, 16), (128, 48, 96), (224, 96, 176)]
)
def test_a_preset_keeps_the_share_of_its_sizes_at_another_image_size(size, start, end):
    config = training.read_flags(["--preset", "strong", "--image-size", str(size)]).config
    assert (config.views.image_size, config.schedule.start_size, config.schedule.end_size) == (size, start, end)
    named = ["--preset", "fast", "--image-size", "128", "--end-size", "64", "--start-size", "0"]
    assert Timetable(training.read_flags(named).config, 256).phases == [(19, 64)]
    assert training.read_flags(["--preset", "demo", "--image-size", "96"]).config.schedule.end_size == 0


@pytest.mark.parametrize("wrong", [{"depth": 50}, {"aug": "mixup"}, {"flip": 1}, {"batch_size": 1.5}, {"no_such": 1}])
def test_a_config_that_no_run_can_have_is_refused(wrong):
    with pytest.raises(UserError):
        Config.from_json({**Config().to_json(), **wrong})


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"start_size": 40}, "--start-size 40: must be a multiple of 16"),
        ({"start_size": 80}, "--start-size 80: images grow, up to --image-size 64"),
        ({"end_size": 80}, "--end-size 80: a network is trained on smaller images than --image-size 64"),
        ({"end_size": 40}, "--end-size 40: must be a multiple of 16"),
        ({"start_size": 64, "end_size": 48}, "--start-size 64: images grow, up to --end-size 48"),
        ({"start_size": -16}, "--start-size -16: must be at least 0"),
        ({"label_smoothing": 1.0}, "--label-smoothing 1.0: is a share of the label"),
        ({"average_steps": -1}, "--average-steps -1: must be at least 0"),
    ],
)
def test_settings_that_cannot_be_are_refused_by_name(wrong, said):
    with pytest.raises(UserError, match=re.escape(said)):
        Config.of(**wrong)


def test_a_choice_is_the_member_that_it_equals():
    assert json.dumps(Config.of(depth=18.0).flat()) == json.dumps(Config.of(depth=18).flat())


def test_one_cycle_rises_to_the_rate_and_falls_to_nothing():
    config = Config.of(schedule="one-cycle", lr=0.5, epochs=10, batch_size=10)
    rates = [Timetable(config, 100).learning_rate(step) for step in range(100)]
    assert max(rates) == pytest.approx(0.5, rel=0.05)
    assert rates.index(max(rates)) == pytest.approx(20, abs=1)
    assert rates[0] < 0.05
    assert rates[-1] < 0.01


def test_images_grow_by_sixteen_in_equal_parts():
    grown = Config.of(start_size=32, epochs=1, batch_size=10)
    assert Timetable(grown, 90).phases == [(3, 32), (6, 48), (9, 64)]
    assert Timetable(Config.of(epochs=1, batch_size=10), 90).phases == [(9, 64)]
    assert Timetable(Config.of(start_size=32, epochs=1, batch_size=10), 20).phases == [(1, 48), (2, 64)]
    ended = Config.of(start_size=32, end_size=48, epochs=1, batch_size=10)
    assert Timetable(ended, 80).phases == [(4, 32), (8, 48)]
    assert Timetable(Config.of(end_size=48, epochs=1, batch_size=10), 90).phases == [(9, 48)]


@pytest.mark.parametrize(("epochs", "times"), [(0.1, 10), (0.3, 3), (1 / 3, 3), (0.25, 4), (2.0, 0)])
def test_what_falls_due_every_so_many_epochs_is_never_left_out(epochs, times):
    """In one epoch of 60 steps. Of floats 0.3 / 0.1 is less than 3."""
    config = Config.of(batch_size=10)
    passed = [Timetable(config, 600).times_passed(step, epochs) for step in range(61)]
    assert passed[-1] == times
    assert sum(now > before for before, now in itertools.pairwise(passed)) == times


def test_every_option_is_said_once():
    assert len(set(FLAT_NAMES)) == len(FLAT_NAMES) == len(Config().flat())
    assert Config.of(**Config().flat()) == Config()


def test_a_setting_is_a_configuration_without_its_seed():
    one, other = Config.of(lr=0.3, seed=1), Config.of(lr=0.3, seed=2)
    assert one.setting == other.setting != Config.of(lr=0.2).setting
    assert Config.of_setting(one.setting, 2) == other
    assert one.setting != one, "a setting is no configuration"


def test_an_option_added_later_orphans_no_run():
    """At the value that means what was done before, the run is the one that it was: here before all later options."""
    now = Config.of(lr=0.3)
    before = {name: value for name, value in now.flat().items() if not is_as_before(name, value)}
    assert now.flat().keys() - before.keys() >= {"init_sha256", "backbone", "train_part"}
    assert now.digest() == hashlib.sha256(json.dumps(before, sort_keys=True).encode()).hexdigest()
    assert Config.of(lr=0.3, init_sha256="ab").digest() != now.digest()
    without = now.to_json()
    del without["network"]["init_sha256"]
    assert Config.from_json(without) == now


def test_how_often_a_run_tells_of_itself_is_no_part_of_what_it_is():
    often, seldom = (training.read_flags(["--log-steps", steps, "--eval-epochs", steps]) for steps in ("1", "90"))
    assert often.config == seldom.config
    assert often.launch.log != seldom.launch.log


def test_a_file_from_before_there_were_localizers_is_read_under_its_own_digest():
    config = Config.of(depth=18, batch_size=64, epochs=3, seed=5)
    written = config.to_json()
    del written["localizer"]
    assert Config.from_json(written) == config
    assert Config.from_json(written).digest() == config.digest()
    del written["optimizer"]
    with pytest.raises(UserError, match="no field 'optimizer'"):
        Config.from_json(written)


def test_a_network_that_says_its_depth_has_no_other():
    assert Setting.of(backbone="preact-resnet-18", depth=18).network.depth == 18
    assert Setting.of(backbone="preact-resnet-18").changed(depth=34).network.depth == 34
    with pytest.raises(UserError):
        Setting.of(backbone=["preact-resnet-18"])
    with pytest.raises(UserError, match="--depth 34: --backbone preact-resnet-18 says the depth"):
        Setting.of(backbone="preact-resnet-18", depth=34)


@pytest.mark.parametrize(("name", "value"), [("epochs", 1e308), ("lr_step_epochs", 1e-310), ("lr_step_epochs", 1e99)])
def test_lengths_that_no_number_of_steps_has_are_refused(name, value):
    with pytest.raises(UserError, match="must be from"):
        Setting.of(**{name: value})
