r"""Record a run small enough for a page: what light exits read, what networks and exits answer, in few bytes.

The backbones are frozen, so that a light exit is a linear map of its stage's output, averaged over places and segments:
all that its training needs of a clip is that vector, the teachers' logits and the label. A recording holds these by
test sampling, features as bytes and logits in steps of 1/128, and with them the validation and test logits of the exits
that the run has trained itself. Whatever trains on a recording sees each clip in one crop, the same in every epoch.

A feature is `low + step * byte`, with a `low` and a `step` of each channel.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from pkdlib import _files, _resources, distillation
from pkdlib.companion import workspace
from pkdlib.companion.experiments import backbones, exits
from pkdlib.companion.experiments.exits import COMPARED, Exits
from pkdlib.companion.presets import PLANS
from pkdlib.companion.runs import store
from pkdlib.companion.workspace import Run
from pkdlib.data import loader
from pkdlib.distillation.schedules import METHODS, Method
from pkdlib.models import exit_heads
from pkdlib.models.backbones import NUM_EXITS, FeatureBackbone
from pkdlib.models.exit_heads import GlobalPool
from pkdlib.training import devices
from pkdlib.training.trainer import Recipe

ARRAYS, ACCURACY, RECORD = "recording.npz", "accuracy.csv", "run.json"
LOGIT_STEP = 1 / 128
_LEVELS = 255


class RecordingError(ValueError):
    """A run that cannot be recorded; the message says why."""


@dataclasses.dataclass(frozen=True)
class Recording:
    """What a run's clips are to light exits.

    Args:
        arrays: `part` (clips,) 0 to 2, of PARTS; `label` (clips,); `features/<network>/<exit>` (clips, width) uint8,
            with `low` and `step` behind it, (width,) float32; `ends/<network>` (clips, classes) int16;
            `exits/<method>/<network>/<exit>` the same of the clips that are no training clips; `gmac/<network>` (4,).
            Training clips are in the order in which they are gone through.
        about: Data, parameters and code that it was made of.
    """

    arrays: Mapping[str, np.ndarray]
    about: Mapping[str, Any]

    @property
    def networks(self) -> tuple[str, ...]:
        """What the networks read."""
        return tuple(name.split("/")[1] for name in self.arrays if name.startswith("ends/"))

    def rows(self, part: str) -> np.ndarray:
        """Say which clips are of a part.

        Args:
            part: One of `backbones.PARTS`.

        Returns:
            Their numbers.
        """
        return np.flatnonzero(self.arrays["part"] == backbones.PARTS.index(part))

    def labels(self, part: str) -> np.ndarray:
        """Read the labels.

        Args:
            part: As in `rows`.

        Returns:
            (clips,) int64.
        """
        return self.arrays["label"][self.rows(part)].astype(np.int64)

    def features(self, part: str, network: str, exit_: int) -> np.ndarray:
        """Read what a light exit reads.

        Args:
            part: As in `rows`.
            network: Which.
            exit_: Its number, from 1.

        Returns:
            (clips, width) float32.
        """
        name = f"features/{network}/{exit_}"
        low, step = self.arrays[f"{name}/low"], self.arrays[f"{name}/step"]
        return low + step * self.arrays[name][self.rows(part)].astype(np.float32)

    def ends(self, part: str, network: str) -> np.ndarray:
        """Read the logits of a network's own end, which teach.

        Args:
            part: As in `rows`.
            network: Which.

        Returns:
            (clips, classes) float32.
        """
        return self.arrays[f"ends/{network}"][self.rows(part)].astype(np.float32) * np.float32(LOGIT_STEP)

    def stacked(self, part: str, method: str, order: Sequence[str]) -> np.ndarray:
        """Stack the logits of all exits of the run's own light classifiers, in the order of a cascade.

        Args:
            part: `validation` or `test`.
            method: What trained them.
            order: The networks, in the order in which they are visited.

        Returns:
            (clips, exits, classes) float64.
        """
        kept = self.rows(part) - len(self.rows("train"))
        columns = []
        for network in order:
            own = [self.arrays[f"exits/{method}/{network}/{number}"][kept] for number in range(1, NUM_EXITS)]
            columns += [*own, self.arrays[f"ends/{network}"][self.rows(part)]]
        return np.stack(columns, axis=1) * LOGIT_STEP

    def costs(self, order: Sequence[str]) -> np.ndarray:
        """Say what leaving at each exit of a cascade of light classifiers costs.

        Args:
            order: As in `stacked`.

        Returns:
            (exits,) GMAC a clip.
        """
        spent, found = 0.0, []
        for network in order:
            found += list(spent + self.arrays[f"gmac/{network}"])
            spent = found[-1]
        return np.array(found)


def record(run: Run) -> Recording:
    """Record a run.

    Args:
        run: Which; what it lacks is trained.

    Returns:
        The recording.

    Raises:
        RecordingError: If its light exits are no linear maps of features averaged over segments.
    """
    if run.parameters.plan.light != "light":
        raise RecordingError(
            f"backbone = {run.parameters.backbone}: its exits read the segments of a clip one by one, so that no "
            "recording holds what they read; record a run of backbone = coviar"
        )
    own, data = exits.of(run), workspace.dataset(run.parameters)
    split = data.splits[run.split]
    train = np.random.default_rng(run.training_seed).permutation(np.asarray(split.train))
    indices = [*train.tolist(), *split.validation, *split.test]
    sizes = [len(split.train), len(split.validation), len(split.test)]
    arrays = {
        "part": np.repeat(np.arange(len(sizes), dtype=np.uint8), sizes),
        "label": np.array([data.clips[index].label for index in indices], dtype=np.uint8),
    }
    for name, values in _seen(run, own, indices).items():
        if name.startswith("features/"):
            low, step = values.min(axis=0), np.maximum(np.ptp(values, axis=0) / _LEVELS, 1e-12)
            arrays |= {name: np.round((values - low) / step).astype(np.uint8), f"{name}/low": low, f"{name}/step": step}
        else:
            arrays[name] = _quantised(values)
    for method in COMPARED:
        for network in own.backbones.networks:
            key = own.spec(network, run.parameters.plan.light, method).key
            for number in range(1, NUM_EXITS):
                parts = [own.logits[f"{part}/{key}/{number}"] for part in backbones.PARTS[1:]]
                arrays[f"exits/{method}/{network}/{number}"] = _quantised(np.concatenate(parts))
    for network in own.backbones.networks:
        arrays[f"gmac/{network}"] = own.cascade_costs(run.parameters.plan.light, (network,))
    return Recording(arrays, _about(run))


def save(recording: Recording, target: Path) -> None:
    """Write a recording to a folder, and what all methods train on it; each file whole or not at all.

    Args:
        recording: What to write.
        target: The folder.
    """

    def write(path: Path) -> None:
        with path.open("wb") as file:
            np.savez_compressed(file, **recording.arrays)

    found = accuracies(recording, METHODS)
    _files.write_atomically(target / ARRAYS, write)
    _files.write_atomically(target / ACCURACY, lambda path: found.to_csv(path, index=False))
    _files.write_json(target / RECORD, dict(recording.about))


def committed() -> dict[str, Path]:
    """List the recordings that come with the library.

    Returns:
        Name, such as `ucf101-25` -> folder.
    """
    places = _resources.folder("results").glob(f"recording/*/{ARRAYS}")
    return {place.parent.name: place.parent for place in sorted(places)}


def load(folder: Path) -> Recording:
    """Read a recording.

    Args:
        folder: As `save` wrote it.

    Returns:
        The recording.
    """
    with np.load(folder / ARRAYS) as held:
        return Recording({name: held[name] for name in held.files}, _files.read_json(folder / RECORD))


def train(recording: Recording, schedules: Mapping[str, Method]) -> dict[str, dict[tuple[str, int], np.ndarray]]:
    """Train light exits on a recording as the run trained its own, but from weights of 0 and on one crop of each clip.

    Args:
        recording: What they read.
        schedules: Name -> who teaches when.

    Returns:
        Schedule -> (network, exit) -> (test clips, classes) logits.
    """
    settings = recording.about["training"]
    classes = len(recording.about["data"]["classes"])
    frozen = {name: _Recorded(_widths(recording, name), classes) for name in recording.networks}
    labels, size = torch.from_numpy(recording.labels("train")), settings["batch_size"]
    inputs = {name: _inputs(recording, "train", name) for name in recording.networks}
    batches = [
        ({name: values[first : first + size] for name, values in inputs.items()}, labels[first : first + size])
        for first in range(0, len(labels), size)
    ]
    plan = PLANS[settings["backbone"]]
    recipe = Recipe(epochs=settings["epochs"], lr=settings["lr"], tuning=plan.exit_tuning)
    trained = distillation.train_exits(
        frozen,
        batches,
        schedules,
        recipe,
        num_classes=classes,
        exits=_from_nothing,
        temperature=settings["temperature"],
    )
    answers = {}
    for schedule, networks in trained.items():
        with torch.no_grad():
            given = {name: net(_inputs(recording, "test", name)) for name, net in networks.items()}
        answers[schedule] = {
            (name, number): logits.numpy() for name, own in given.items() for number, logits in enumerate(own[:-1], 1)
        }
    return answers


def accuracies(recording: Recording, schedules: Mapping[str, Method]) -> pd.DataFrame:
    """Count what exits trained on a recording answer rightly.

    Args:
        recording: What they read.
        schedules: As in `train`.

    Returns:
        method, modality, exit, clips, correct; of the test clips.
    """
    truth = recording.labels("test")
    rows = [
        {"method": method, "modality": network, "exit": number, "clips": len(truth), "correct": int(right.sum())}
        for method, answers in train(recording, schedules).items()
        for (network, number), logits in answers.items()
        for right in [logits.argmax(axis=1) == truth]
    ]
    return pd.DataFrame(rows)


class _Recorded(FeatureBackbone):
    """A frozen network whose stages' outputs are its input, one after the other, the logits of its end the last."""

    def __init__(self, widths: Sequence[int], classes: int):
        super().__init__()
        self.widths = (*widths, classes)

    def rows(self, clips: Tensor) -> tuple[Tensor, int]:
        return clips, 1

    def features(self, rows: Tensor) -> Iterator[Tensor]:
        yield from rows.split(self.widths, dim=1)

    def classify(self, last: Tensor, segments: int) -> Tensor:
        return last


def _from_nothing(backbone: FeatureBackbone, num_classes: int, segments: int) -> nn.ModuleList:
    made = exit_heads.light_classifiers(backbone, num_classes, segments)
    for parameter in made.parameters():
        nn.init.zeros_(parameter)
    return made


def _inputs(recording: Recording, part: str, network: str) -> Tensor:
    own = [recording.features(part, network, number) for number in range(1, NUM_EXITS)]
    return torch.from_numpy(np.concatenate([*own, recording.ends(part, network)], axis=1))


def _widths(recording: Recording, network: str) -> list[int]:
    return [recording.arrays[f"features/{network}/{number}"].shape[1] for number in range(1, NUM_EXITS)]


@torch.no_grad()
def _seen(run: Run, own: Exits, indices: Sequence[int]) -> dict[str, np.ndarray]:
    p, pool = run.parameters, GlobalPool()
    nets = {name: devices.place(net, p.device) for name, net in own.backbones.load().items()}
    gathered: dict[str, list[np.ndarray]] = {}
    for batch in loader.ordered_batches(indices, p.batch_size):
        inputs = backbones.evaluation_inputs(run, batch, p.segments)
        for name, net in nets.items():
            rows, segments = net.rows(inputs[name])
            *stages, last = net.features(rows)
            found = {f"features/{name}/{n}": _mean(pool(stage), segments) for n, stage in enumerate(stages, 1)}
            for key, values in (found | {f"ends/{name}": net.classify(last, segments)}).items():
                gathered.setdefault(key, []).append(values.float().cpu().numpy())
    return {key: np.concatenate(parts) for key, parts in gathered.items()}


def _mean(rows: Tensor, segments: int) -> Tensor:
    return rows.flatten(1).unflatten(0, (-1, segments)).mean(dim=1)


def _quantised(logits: np.ndarray) -> np.ndarray:
    return np.clip(np.round(logits / LOGIT_STEP), -(2**15), 2**15 - 1).astype(np.int16)


def _about(run: Run) -> dict[str, Any]:
    p, data = run.parameters, workspace.dataset(run.parameters)
    training = {"epochs": p.exit_epochs, "lr": p.exit_lr, "temperature": p.exit_temperature}
    training |= {"batch_size": p.batch_size, "backbone": p.backbone}
    return {
        "data": {"name": data.name, "checksum": data.checksum, "classes": list(data.classes)},
        "profile": p.variant,
        "run": {"split": run.split, "seed": run.seed},
        "training": training,
        "parameters": {
            name: value for name, value in p.flat().items() if name not in ("root", "runs", "cache", "clip")
        },
        **store.provenance(),
    }
