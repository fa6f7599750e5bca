"""A run as one graph for other runtimes: from an image's pixels to logits and maps.

    pixels  uint8   [N, S, S, 3]     RGB in 0..255, what is shown of each image stretched to the network's square
    logits  float32 [N, classes]
    maps    float32 [N, K, h, w]     as the localizer gives them: of each class, or one (K = 1) for all

N is any number. `description` is what else a program needs: classes, scale, cut; it lies in an ONNX file's metadata.
"""

import io
import json
import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fastwsol.config import Statistics
from fastwsol.host.errors import RunFailure, UserError
from fastwsol.localizer.localizers import Localizer
from fastwsol.localizer.localizing import LocalizingModel
from fastwsol.prediction.predictor import Predictor

INPUT, OUTPUTS = "pixels", ("logits", "maps")
_EXTRA = "pip install 'fastwsol[onnx]'"
_TOLERANCE = 1e-3
"""How far outputs of a written graph may be from the network's: a share of the largest, or of 1 where that is less."""


class Graph(nn.Module):
    """The network of a run with its statistics in front, and the maps of one localizer behind it."""

    mean: Tensor
    std: Tensor

    def __init__(self, model: LocalizingModel, localizer: Localizer, statistics: Statistics) -> None:
        """statistics: of the images that the network was trained on."""
        super().__init__()
        self.model, self.localizer = model, localizer
        mean, std = (torch.tensor(each, dtype=torch.float32).view(1, 3, 1, 1) for each in statistics)
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)

    def forward(self, pixels_NHWC: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and maps, without gradients."""
        images = (pixels_NHWC.permute(0, 3, 1, 2).float() - self.mean) / self.std
        passed = self.model(images)
        return passed.logits.float().detach(), self.model.maps(self.localizer.name, passed, None).detach()


def description(predictor: Predictor, name: str) -> dict[str, Any]:
    """What a program that runs the graph needs to know. name: of the run."""
    info, localizer = predictor.info, predictor.localizer
    return {
        "run": name,
        "step": predictor.step,
        "image_size": info.config.views.image_size,
        "fit": info.config.views.fit,
        "resampler": info.config.views.resampler,
        "classes": [*info.classes],
        "class_names": [*info.class_names],
        "mean": [*info.statistics.mean],
        "std": [*info.statistics.std],
        "localizer": localizer.name,
        "class_specific": localizer.class_specific,
        "scale": localizer.scale,
        "cut": predictor.cut.to_json(),
    }


def exported_torch(predictor: Predictor, about: dict[str, Any]) -> bytes:
    """A file with the graph as `torch.export` has it, for `torch.export.load(path).module()`; `about` lies beside it in
    the file as `fastwsol.json`. Raises RunFailure where it gives something else than the network.
    """
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of how weights lie in memory; the file is proved below
        torch.export.save(_exported(predictor), file, extra_files={"fastwsol.json": json.dumps(about)})
    file.seek(0)
    program = torch.export.load(file).module()
    _prove(predictor, lambda pixels: [each.detach().numpy() for each in program(torch.from_numpy(pixels))], "PyTorch")
    return file.getvalue()


def exported_onnx(predictor: Predictor, about: dict[str, Any]) -> bytes:
    """A file with the graph as ONNX, with `about` in its metadata, a JSON text a key.

    Raises UserError where the packages are missing, RunFailure where onnxruntime finds something else than the network.
    """
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  torch needs it
    except ImportError as error:
        raise UserError(f"--onnx: needs {error.name}, which is not installed; {_EXTRA}") from None
    program = torch.onnx.export(
        _exported(predictor), dynamo=True, input_names=[INPUT], output_names=[*OUTPUTS], verbose=False
    )
    assert program is not None
    model = program.model_proto
    for name, value in about.items():
        entry = model.metadata_props.add()
        entry.key, entry.value = name, json.dumps(value)
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    _prove(predictor, lambda pixels: session.run(OUTPUTS, {INPUT: pixels}), "onnxruntime")
    return content


def _graph(predictor: Predictor) -> Graph:
    return Graph(predictor.model, predictor.localizer, predictor.info.statistics).eval()


def _exported(predictor: Predictor) -> torch.export.ExportedProgram:
    """The graph for any number of images."""
    size = predictor.info.config.views.image_size
    pixels = torch.zeros((2, size, size, 3), dtype=torch.uint8)
    shapes = {"pixels_NHWC": {0: torch.export.Dim("N", min=1)}}
    with torch.no_grad():
        return torch.export.export(_graph(predictor), (pixels,), dynamic_shapes=shapes)


def _prove(predictor: Predictor, run: Any, runtime: str) -> None:
    """Raise RunFailure where a graph gives something else than the network, for one image or for several."""
    size, random = predictor.info.config.views.image_size, np.random.default_rng(0)
    for count in (1, 3):
        pixels = random.integers(0, 256, (count, size, size, 3), np.uint8)
        for name, ours, theirs in zip(OUTPUTS, _by_the_network(predictor, pixels), run(pixels), strict=True):
            same_shape = ours.shape == theirs.shape
            apart = float(np.abs(ours - theirs).max()) if same_shape else np.inf
            if not apart <= _TOLERANCE * max(1.0, float(np.abs(ours).max())):
                raise RunFailure(
                    f"the graph's {name} in {runtime} differ from the network's by {apart:g}, so nothing was written"
                )


def _by_the_network(predictor: Predictor, pixels: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    """Logits and maps as predictions have them: of each class by itself."""
    mean, std = (torch.tensor(each).view(1, 3, 1, 1) for each in predictor.info.statistics)
    labels = range(len(predictor.info.classes) if predictor.localizer.class_specific else 1)
    with torch.no_grad():
        passed = predictor.model((torch.from_numpy(pixels).permute(0, 3, 1, 2).float() - mean) / std)
        maps = [
            predictor.model.maps(predictor.localizer.name, passed, torch.full((len(pixels),), label))
            for label in labels
        ]
    return [passed.logits.float().numpy(), torch.stack(maps, dim=1).float().numpy()]
