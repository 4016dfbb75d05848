"""A cascade of multi-exit networks: kept in a folder, and at work on any video.

A folder holds `model.safetensors` (the networks) and `model.json` (classes, sizes, WISE weights, threshold, costs).
"""

import dataclasses
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as serialise
from torch import Tensor, nn

from pkdlib import _files, _resources
from pkdlib.data import sampling
from pkdlib.early_exit import policies
from pkdlib.early_exit.policies import Policy
from pkdlib.ensemble import wise
from pkdlib.models import registry
from pkdlib.models.backbones import FeatureBackbone, MultiExitNetwork
from pkdlib.video.transcode import transcode

WEIGHTS, DESCRIPTION = "model.safetensors", "model.json"


class CascadeError(Exception):
    """A cascade that cannot be read or shipped; the message names its folder."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cascade:
    """Multi-exit networks, visited one after the other: three of one modality each, or one that joins them.

    Args:
        networks: What each reads -> network.
        classes: Names of the labels.
        kind: Of the internal classifiers, a key of `exit_heads.KINDS`.
        sizes: What each reads -> size of the network, a key of `backbones.BACKBONES`.
        input_size: Side of their input, in pixels.
        segments: TSN segments.
        candidates: Frames decoded of a clip.
        policy: The order in which they are visited, the weights of their exits, and when to stop.
        costs: (exits,) GMAC to leave at each exit, in the policy's order.
        origin: What it was trained on.
    """

    networks: Mapping[str, MultiExitNetwork]
    classes: tuple[str, ...]
    kind: str
    sizes: Mapping[str, str]
    input_size: int
    segments: int
    candidates: int
    policy: Policy
    costs: np.ndarray
    origin: Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Prediction:
    """What `predict` says of a video.

    Args:
        label: The class.
        confidence: How sure the exit was, by the policy's criterion.
        exit: The exit that answered, as `modality-exit`.
        gmac: What was spent until then, decoding apart.
        labels: All classes that the networks know.
        trained_on: The name of the data set whose clips they learned from.
        tested: How often the model was right before, on clips of groups that it did not learn from: how many it was
            asked, and how many of its answers were right; None where its maker did not say.
    """

    label: str
    confidence: float
    exit: str
    gmac: float
    labels: tuple[str, ...]
    trained_on: str
    tested: tuple[int, int] | None


def save(cascade: Cascade, folder: Path, *, dtype: torch.dtype = torch.float32) -> None:
    """Write a cascade.

    Args:
        cascade: What to write.
        folder: Where; made if missing.
        dtype: Of the weights on disk; float16 halves a file that is to be shipped.

    Raises:
        CascadeError: If a weight is infinite in that type, or not a number; nothing is written then.
    """
    tensors = {}
    for name, network in cascade.networks.items():
        for key, value in network.state_dict().items():
            kept = tensors[f"{name}.{key}"] = value.to(dtype) if value.is_floating_point() else value
            if not kept.isfinite().all():
                raise CascadeError(f"{folder} is not written: the weight {name}.{key} does not fit into {dtype}")
    description = {
        "classes": cascade.classes,
        "kind": cascade.kind,
        "sizes": dict(cascade.sizes),
        "input_size": cascade.input_size,
        "segments": cascade.segments,
        "candidates": cascade.candidates,
        "policy": dataclasses.asdict(cascade.policy) | {"weights": [list(vector) for vector in cascade.policy.weights]},
        "costs": list(cascade.costs),
        "origin": dict(cascade.origin),
    }
    _files.write_atomically(folder / WEIGHTS, lambda path: path.write_bytes(serialise(tensors)))
    _files.write_json(folder / DESCRIPTION, description)


def load(folder: Path | str) -> Cascade:
    """Read a cascade.

    Args:
        folder: Where `save` wrote it, or the name of one that comes with the library.

    Returns:
        The cascade, its networks in eval mode and float32.

    Raises:
        CascadeError: If the folder holds none, or a damaged one.
    """
    folder = _resources.models().get(str(folder), Path(folder))
    for name in (WEIGHTS, DESCRIPTION):
        if not (folder / name).is_file():
            known = ", ".join(_resources.models())
            raise CascadeError(
                f"{folder} holds no model ({name} is missing): name one that comes with pkdlib ({known}), or a folder "
                "that `pkd export` wrote"
            )
    try:
        description = _files.read_json(folder / DESCRIPTION)
        tensors = load_file(folder / WEIGHTS)
        policy = description["policy"]
        policy["weights"] = tuple(np.array(vector) for vector in policy["weights"])
        description["policy"] = Policy(**policy | {"order": tuple(policy["order"])})
        description["costs"] = np.array(description["costs"])
        description["classes"] = tuple(description["classes"])
        shape = {name: description[name] for name in ("kind", "segments")}
        shape["num_classes"] = len(description["classes"])
        nets = {
            reads: _rebuild(tensors, reads, size=description["sizes"][reads], **shape)
            for reads in description["policy"].order
        }
        policies.exit_counts(nets, description["policy"])
        return Cascade(networks=nets, **description)
    except (ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise CascadeError(f"{folder} holds a damaged model: {str(error).splitlines()[0]}") from error


def predict(path: Path | str, model: Path | str) -> Prediction:
    """Recognise the action in a video, stopping at the first sure exit.

    A video that is not in the paper's form is transcoded first, as training clips are, into a temporary file. What no
    exit asks for is not decoded: a policy that begins with motion and leaves there reads no picture.

    Args:
        path: Any decodable video.
        model: Of a cascade: a folder, such as a run's `model` step, or the name of one that comes with the library.

    Returns:
        The prediction.

    Raises:
        VideoError: If the video cannot be read.
        CascadeError: If the folder holds no cascade.

    Example:
        Any model knows its own classes alone, whatever is shown.

        >>> import numpy as np
        >>> from pkdlib import predict
        >>> from pkdlib.video.transcode import encode
        >>> encode((np.full((64, 96, 3), 5 * time, np.uint8) for time in range(24)), "mine.avi")
        >>> found = predict("mine.avi", "marionette")
        >>> found.label in found.labels
        True
    """  # noqa: DOC502
    cascade = load(model)
    with tempfile.TemporaryDirectory() as temporary:
        source = Path(temporary) / "clip.mp4"
        transcode(path, source, fewest=2)

        def read(modality: str, _: np.ndarray) -> torch.Tensor:
            shape = {"size": cascade.input_size, "segments": cascade.segments, "candidates": cascade.candidates}
            return sampling.read_clip(source, modality, **shape)[None]

        answers = policies.execute(cascade.networks, read, 1, cascade.policy)
    exit_ = int(answers.exits[0])
    tested = cascade.origin.get("test") or cascade.origin.get("validation")
    return Prediction(
        label=cascade.classes[answers.labels[0]],
        confidence=float(answers.confidences[0]),
        exit=wise.visiting_order(cascade.policy.order)[exit_],
        gmac=float(cascade.costs[exit_]),
        labels=cascade.classes,
        trained_on=cascade.origin["dataset"],
        tested=(tested["clips"], tested["right"]) if tested else None,
    )


def assemble(backbone: FeatureBackbone, exits: nn.ModuleList) -> MultiExitNetwork:
    """Join a backbone and its internal classifiers for use.

    Args:
        backbone: Trained.
        exits: Trained.

    Returns:
        The network, in eval mode.
    """
    return MultiExitNetwork(backbone=backbone, exits=exits).eval()


def _rebuild(tensors: Mapping[str, Tensor], reads: str, **shape: Any) -> MultiExitNetwork:
    network = registry.network(reads=reads, **shape)
    prefix = f"{reads}."
    own = {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}
    network.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in own.items()})
    return network
