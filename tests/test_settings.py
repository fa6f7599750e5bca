"""What a sweep trains, from the names of tables and from files."""

import pytest

from fastwsol.config import Setting, differing_options
from fastwsol.experiments.paper_claims import comparisons, overall_name
from fastwsol.experiments.settings import only_useful, plan_sweep
from fastwsol.host.errors import UserError


def nothing_given(name):
    return False


def file(tmp_path, text):
    path = tmp_path / "settings.toml"
    path.write_text(text)
    return str(path)


def test_a_given_flag_narrows_a_table():
    found = plan_sweep(["table1"], Setting.of(depth=18), "depth".__eq__)
    assert [each.views.aug for each in found.settings] == ["none", "hns", "gr", "gr-hns", "hns-gr"]
    assert found.varied == ("aug",)


def test_a_grid_is_every_combination_of_every_setting_of_its_own(tmp_path):
    text = '[grid]\naug = ["none", "gr"]\n[[settings]]\n[[settings]]\nlabel-smoothing = 0.1\nepochs = 3\n'
    found = plan_sweep([file(tmp_path, text)], Setting(), nothing_given).settings
    assert [(each.views.aug, each.optimizer.label_smoothing, each.schedule.epochs) for each in found] == [
        ("none", 0.0, 1500.0),
        ("gr", 0.0, 1500.0),
        ("none", 0.1, 3.0),
        ("gr", 0.1, 3.0),
    ]


def test_a_setting_is_named_by_what_varies(tmp_path):
    found = plan_sweep([file(tmp_path, "[grid]\nbatch_size = [32, 64]\n")], Setting(), nothing_given)
    assert [found.name(each) for each in found.settings] == ["--batch-size 32", "--batch-size 64"]


def planned(names, base, begun=()):
    return only_useful(plan_sweep(names, base, nothing_given), Setting(), lambda setting: setting in begun)


def test_an_option_has_its_default_where_it_changes_nothing(tmp_path):
    text = '[grid]\nmix = ["none", "cutmix"]\nmix-share = [0.25, 0.75]\n'
    found = planned([file(tmp_path, text)], Setting())
    assert [(each.views.mix, each.views.mix_share) for each in found.settings] == [
        ("none", 0.5),
        ("cutmix", 0.25),
        ("cutmix", 0.75),
    ]
    names = ["--mix none", "--mix cutmix --mix-share 0.25", "--mix cutmix --mix-share 0.75"]
    assert [found.name(each) for each in found.settings] == names
    earlier = Setting.of(mix_share=0.25)
    assert planned([file(tmp_path, text)], Setting(), begun=[earlier]).settings[0] == earlier


def test_an_option_that_changes_nothing_anywhere_is_refused_unless_it_is_begun():
    base = Setting.of(head_steps=500)
    with pytest.raises(UserError, match="--head-steps 500: --localizer cam trains no mask head; use --localizer mask"):
        planned(["table1"], base)
    assert base.changed(aug="none") in planned(["table1"], base, begun=[base.changed(aug="none")]).settings


def test_what_changes_nothing_on_one_side_keeps_no_claim_from_being_judged():
    plain, bounded = (plan.settings for plan in (planned(["table1"], Setting()), planned(["table1"], CROPS)))
    assert {each.views.crops_per_image for each in bounded if each.views.crops} == {4}
    assert {each.views.crops_per_image for each in bounded if not each.views.crops} == {0}
    of_plain, of_bounded = comparisons(plain), comparisons(bounded)
    assert [each.sides for each in of_bounded] == [each.sides for each in of_plain]
    assert len(of_bounded) > 10


def test_settings_that_no_run_can_have_are_not_asked_for():
    """A mixed batch is even; the other setting's is not."""
    mixed, odd = Setting.of(mix="cutmix", batch_size=32), Setting.of(batch_size=33)
    assert comparisons([mixed, odd]) == []
    (found,) = comparisons([mixed, odd, odd.changed(batch_size=31)])
    assert found.sides == ("batch 31", "batch 33")
    assert overall_name([found]) == "overall"


CROPS = Setting.of(crops_per_image=4)


def test_a_network_without_depths_does_not_vary_in_them():
    found = plan_sweep(["table1", "table2"], Setting.of(backbone="resnet18"), nothing_given)
    assert {each.network.depth for each in found.settings} == {34}
    assert found.varied == ("aug", "batch_size")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("aug = 3", "aug: belongs below"),
        ("[grid", "not TOML"),
        ("", "nothing to train"),
        ("[grid]\nagu = ['gr']", "agu: no setting"),
        ("[grid]\nseed = [1, 2]", "use --seeds"),
        ("[grid]\naug = 'gr'", "[grid] aug: must be a list"),
        ("[grid]\naug = ['gr', 'rg']", "--aug rg: choose from none, hns"),
        ("[grid]\nlr = ['high']", "--lr high: must be of type float"),
        ("[grid]\ndepth = [18]", "--depth: "),
        ("[grid]\nlr = [0.1, 0.2, 0.1]", "[grid] lr: 0.1 stands there twice; leave one out"),
        ("settings = 3", "write [grid] once"),
        ("[grid]\nholdout = [0, 50]", "--holdout 0 and 50: such runs are measured on different images"),
        ('[grid]\neval-on = ["val", "fullsup"]', "--eval-on fullsup and val: such runs are measured on different"),
        ("[grid]\nstem = ['A', 'C']\n[[settings]]\nstem = 'B'", "stem: stands in [grid] and in a [[settings]]"),
        ("[grid]\nlabel-smoothing = [0.1]\nlabel_smoothing = [0.2]", "label_smoothing: stands there twice"),
        ("[grid]\nlr = [[1]]", "--lr [1]: must be of type float"),
    ],
)
def test_a_file_that_is_none_is_told_in_a_line(tmp_path, text, said):
    with pytest.raises(UserError) as error:
        plan_sweep([file(tmp_path, text)], Setting(), "depth".__eq__)
    assert said in str(error.value)
    assert "settings.toml" in str(error.value) or "holdout" in text or "eval-on" in text
    assert "\n" not in str(error.value)


def test_what_is_no_file_and_no_table_is_told():
    with pytest.raises(UserError, match=r"table3: cannot be read .*table1 and table2"):
        plan_sweep(["table3"], Setting(), nothing_given)


def test_the_hash_of_weights_names_settings_only_where_a_backbone_has_several():
    of_x, of_y = {"backbone": "x", "weights_sha256": "1"}, {"backbone": "y", "weights_sha256": "2"}
    assert differing_options([of_x, of_y]) == ("backbone",)
    assert differing_options([of_x, of_x | {"weights_sha256": "3"}]) == ("weights_sha256",)
    assert differing_options([of_x, of_y, of_y | {"weights_sha256": "3"}]) == ("backbone", "weights_sha256")
    drawn, of_file = {"backbone": "x", "seed": 0, "init_sha256": ""}, {"backbone": "x", "seed": 1, "init_sha256": "4"}
    assert differing_options([drawn, of_file]) == ("seed", "init_sha256")
