"""Weights that a network begins from: torchvision's of ImageNet, or a file's in torchvision's layout of a ResNet.

The reference's own checkpoints (CoViAR's) have that layout behind prefixes, with the input's batch norm as `data_bn`
and the classifier as `fc`. A classifier of other classes is left out, and stays new.
"""

import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pkdlib.networks import Backbone

IMAGENET = "imagenet"
# What a key is called here. Wrappers' prefixes (DataParallel's, CoViAR's) come before it.
_PREFIXES = re.compile(r"^(module\.|base_model\.)*")
_NAMES = (
    (re.compile(r"^data_bn\."), "stem.0."),
    (re.compile(r"^conv1\."), "stem.1."),
    (re.compile(r"^bn1\."), "stem.2."),
    (re.compile(r"^layer([1-4])\."), lambda found: f"stages.{int(found[1]) - 1}."),
    (re.compile(r"^(fc|new_fc)\."), "head."),
)


class WeightsError(Exception):
    """Weights that a network cannot begin from; the message names the file and says why."""


def begin(backbone: nn.Module, modality: str, source: str) -> None:
    """Give a newly made network weights to begin from.

    Args:
        backbone: The network; its weights are overwritten.
        modality: What it reads.
        source: Empty for its own new weights; `imagenet` for torchvision's, which torchvision downloads; or a file,
            `.safetensors` or of `torch.save`, in whose name `{modality}` stands for what the network reads.

    Raises:
        WeightsError: If the weights cannot be had or do not fit.
    """
    if not source:
        return
    if not isinstance(backbone, Backbone):
        raise WeightsError(f"backbone_weights = {source!r}: only a ResNet for one modality can begin from weights")
    if source == IMAGENET:
        found, where = _imagenet(backbone), "torchvision's ImageNet weights"
    else:
        path = Path(source.replace("{modality}", modality))
        found, where = _read(path), str(path)
    load(backbone, found, where)


def load(backbone: Backbone, found: Mapping[str, Tensor], where: str) -> None:
    """Copy a ResNet's weights into a network.

    Args:
        backbone: The network.
        found: In torchvision's or CoViAR's layout.
        where: For messages.

    Raises:
        WeightsError: If a weight is missing, left over or of another shape. Of another shape may be the classifier
            and, where ImageNet's pictures meet two planes of motion, the first convolution; and ImageNet has no batch
            norm of the input.
    """
    own = backbone.state_dict()
    renamed = {_here(name): value for name, value in found.items()}
    may_stay_new = {"head.weight", "head.bias"}
    if not any(name.startswith("stem.0.") for name in renamed):
        may_stay_new |= {name for name in own if name.startswith("stem.0.")}
        if "stem.1.weight" in renamed and renamed["stem.1.weight"].shape != own["stem.1.weight"].shape:
            may_stay_new.add("stem.1.weight")
    fitting = {name: value for name, value in renamed.items() if name in own and value.shape == own[name].shape}
    missing = sorted(own.keys() - fitting.keys() - may_stay_new)
    extra = sorted(renamed.keys() - own.keys())
    if missing or extra:
        first = f"{missing[0]!r} is missing or of another shape" if missing else f"{extra[0]!r} is not a weight of it"
        raise WeightsError(f"{where} does not hold this network ({len(missing)} missing, {len(extra)} more): {first}")
    backbone.load_state_dict(own | fitting)


def _here(name: str) -> str:
    name = _PREFIXES.sub("", name, count=1)
    for pattern, ours in _NAMES:
        if pattern.match(name):
            return pattern.sub(ours, name, count=1)
    return name


def _imagenet(backbone: Backbone) -> Mapping[str, Tensor]:
    from torchvision.models import resnet  # 160 MB of memory that only this needs

    deep = backbone.widths[-1] == 2048
    weights = (resnet.ResNet50_Weights if deep else resnet.ResNet18_Weights).IMAGENET1K_V1
    try:
        return weights.get_state_dict(progress=False, check_hash=True)
    except OSError as error:
        raise WeightsError(
            f"cannot download {weights.url} ({error}); fetch it by other means and name the file in backbone_weights"
        ) from error


def _read(path: Path) -> Mapping[str, Tensor]:
    if not path.is_file():
        raise WeightsError(f"backbone_weights: there is no file {path}")
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        found = torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, ValueError) as error:
        raise WeightsError(f"{path} holds no weights that can be read safely: {str(error).splitlines()[0]}") from error
    found = found.get("state_dict", found) if isinstance(found, dict) else found
    if not isinstance(found, dict) or not all(isinstance(value, Tensor) for value in found.values()):
        raise WeightsError(f"{path} holds no state dict")
    return found
