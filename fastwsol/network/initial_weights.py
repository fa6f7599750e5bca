"""Initial weights from an earlier run, as far as they fit this one."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from fastwsol.host.errors import UserError
from fastwsol.host.words import first_few
from fastwsol.network.classifier import Classifier

_PREFIXES = ("average.", "model.", "")
"""Prefixes of a network's tensors in a file; the first one found is taken. They stand for a checkpoint's running
average, which evaluations use, a checkpoint's weights, and a file of weights alone.
"""


@dataclass(frozen=True)
class Initial:
    """A file's weights. `classes`: the wnids in label order, from the JSON beside it; None where there is none."""

    path: Path
    sha256: str
    weights: dict[str, Tensor]
    classes: list[str] | None


def read_initial(path: Path) -> Initial:
    """The weights in a file of safetensors, such as a run's `checkpoints/step-N.safetensors`.

    Raises UserError where it cannot be read, is damaged, or holds no network of ours.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(
            f"--init {path}: cannot be read ({error.strerror}); name a .safetensors file in a run's checkpoints folder"
        ) from None
    try:
        tensors = safetensors.torch.load(content)
    except (SafetensorError, ValueError, KeyError) as error:
        raise UserError(f"--init {path}: is damaged or no safetensors file ({error}); name another") from None
    prefix = next(each for each in _PREFIXES if not each or any(name.startswith(each) for name in tensors))
    if not any(tensor.ndim > 1 for tensor in tensors.values()):
        raise UserError(f"--init {path}: holds no network of fastwsol (it has no layer); name a run's checkpoint")
    weights = {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    return Initial(path, hashlib.sha256(content).hexdigest(), weights, _classes_beside(path))


def _classes_beside(path: Path) -> list[str] | None:
    try:
        classes = json.loads(path.with_suffix(".json").read_bytes())["classes"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return classes if isinstance(classes, list) else None


def start_from(initial: Initial, model: Classifier, classes: tuple[str, ...]) -> str:
    """Put what fits of the file into `model`, and say what did not and why. `classes`: this run's, in label order.

    The layer that decides among the classes fits only where they are the same. Raises UserError where nothing fits.
    """
    state, last_layer = model.state_dict(), set(model.classifier_names)
    other_classes = initial.classes is not None and initial.classes != list(classes)
    taken, left = [], []
    for name, tensor in state.items():
        theirs = initial.weights.get(name)
        if theirs is None:
            left.append(f"{name} (not there)")
        elif theirs.shape != tensor.shape:
            left.append(f"{name} ({list(theirs.shape)} there, {list(tensor.shape)} here)")
        elif name in last_layer and other_classes:
            left.append(f"{name} (of other classes)")
        else:
            tensor.copy_(theirs)
            taken.append(name)
    if not any(state[name].ndim > 1 for name in set(taken) - last_layer):
        raise UserError(f"--init {initial.path}: none of its layers fits this network; name another, or --depth")
    summary = f"--init {initial.path}: {len(taken)} of {len(state)} tensors taken"
    if left:
        summary += f"; drawn anew: {first_few(left, _SHOWN)}"
    if initial.classes is None and last_layer & set(taken):
        summary += f"; no {initial.path.with_suffix('.json').name} beside it says that its classes are in this order"
    if unused := initial.weights.keys() - state.keys():
        summary += f"; {len(unused)} of the file's tensors have no place here"
    return summary


_SHOWN = 4
