"""The study of flatness: in what minima the networks of each modality end, and do their internal classifiers.

Networks are compared under the controls of `controls`. Everything is measured on the same training clips, spread over
the classes, by test sampling.
"""

import dataclasses
import functools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pkdlib import clips, devices, distillation, experiments, flatness, landscape, runs, spectra, study, training
from pkdlib.controls import CONTROLS, SAME, selected
from pkdlib.networks import Staged
from pkdlib.objective import Batch, Objective, mean_loss
from pkdlib.operators import Hessian
from pkdlib.study import Run
from pkdlib.tallies import Rows
from pkdlib.training import Preference

# The spectral density's iterations and vectors; positions and directions of slices, and of the surface.
QUADRATURE_STEPS, QUADRATURE_PROBES = 15, 2
SLICE_POSITIONS, SLICE_DIRECTIONS = tuple(np.linspace(-1, 1, 11).round(3).tolist()), 5
SURFACE_POSITIONS = SLICE_POSITIONS
# Internal classifiers whose flatness is compared.
EXIT_METHODS = ("ce", "pkd")


def network_step(run: Run, control: str, modality: str) -> Path:
    """Train a network under a control; under `same` it is the run's backbone.

    Args:
        run: Which.
        control: A key of CONTROLS.
        modality: What it reads, one of the plan's networks.

    Returns:
        A folder with `weights.safetensors` and `curves.json`.
    """
    if control == SAME:
        return experiments.backbone_step(run, modality)
    own, p = CONTROLS[control], run.parameters

    def make(target: Path) -> None:
        experiments.train_into(
            target,
            run,
            modality,
            size=own.size or p.size,
            lr=p.backbone_lr * own.lr_factors.get(modality, 1.0),
            preference=_first_below(_level(run), _samples(run, modality)) if own.matched else None,
        )

    return experiments.step(run, f"minimum-{control}-{modality}", make, *experiments.FLATNESS)


def measures_step(run: Run, control: str, modality: str) -> Path:
    """Measure the minimum of a network: every measure of flatness, its fit, its spectrum, and slices of the loss.

    Args:
        run: Which.
        control: A key of CONTROLS.
        modality: What it reads, one of the plan's networks.

    Returns:
        A folder with `minimum.json`.
    """
    p = run.parameters

    def make(target: Path) -> None:
        network = _network(run, control, modality)
        objective = Objective(network, _samples(run, modality))
        seeded = {"seed": run.training_seed}
        density = spectra.lanczos_quadrature(
            Hessian(objective), steps=QUADRATURE_STEPS, probes=QUADRATURE_PROBES, **seeded
        )
        found = {
            "measures": [
                *flatness.measures(objective, probes=p.flatness_probes, **seeded),
                *_fit(run, modality, network),
            ],
            "nodes": density.nodes.tolist(),
            "weights": density.weights.tolist(),
            "slices": landscape.slices(objective, SLICE_POSITIONS, directions=SLICE_DIRECTIONS, **seeded).tolist(),
        }
        runs.write_json(target / "minimum.json", found)

    return experiments.step(run, f"flatness-{control}-{modality}", make, *experiments.FLATNESS)


def surface_step(run: Run, modality: str) -> Path:
    """Compute the loss on a plane of two random directions around a run's own network.

    Args:
        run: Which.
        modality: What it reads, one of the plan's networks.

    Returns:
        A folder with `surface.json`.
    """

    def make(target: Path) -> None:
        objective = Objective(_network(run, SAME, modality), _samples(run, modality))
        losses = landscape.surface(objective, SURFACE_POSITIONS, seed=run.training_seed)
        runs.write_json(target / "surface.json", losses.tolist())

    return experiments.step(run, f"surface-{modality}", make, *experiments.FLATNESS)


def exits_step(run: Run) -> Path:
    """Measure the flatness of each light internal classifier by itself, its network frozen, by method.

    Args:
        run: Which.

    Returns:
        A folder with `exits.json`.
    """
    p = run.parameters

    def make(target: Path) -> None:
        rows = []
        for method in EXIT_METHODS:
            for modality, net in experiments.networks_of(run, p.plan.light, method).items():
                devices.place(net, p.device)
                for number, batches in enumerate(_exit_samples(run, modality, net.backbone, net.exits), start=1):
                    objective = Objective(_Alone(net.exits[number - 1]), batches)
                    for row in flatness.measures(objective, probes=p.flatness_probes, seed=run.training_seed):
                        rows.append({"modality": modality, "method": method, "exit": number, **row})
        runs.write_json(target / "exits.json", rows)

    return experiments.step(
        run, "flatness-exits", make, *experiments.EXITS, "flatness_clips", "flatness_batch", "flatness_probes"
    )


def measures(run: Run) -> Rows:
    """Yield every measure of every network's minimum.

    Args:
        run: Which.

    Yields:
        control, modality, measure, value, standard_error; measures are those of `flatness.measures`, and the loss and
        accuracy on all training and test clips.
    """
    for control, modality, found in _found(run):
        for row in found["measures"]:
            yield {"control": control, "modality": modality, **row}


def spectrum(run: Run) -> Rows:
    """Yield the spectra of the networks' Hessians, as Lanczos quadrature sees them.

    Args:
        run: Which.

    Yields:
        control, modality, probe, node, weight.
    """
    for control, modality, found in _found(run):
        for probe, (nodes, weights) in enumerate(zip(found["nodes"], found["weights"], strict=True)):
            for node, weight in zip(nodes, weights, strict=True):
                yield {"control": control, "modality": modality, "probe": probe, "node": node, "weight": weight}


def slices(run: Run) -> Rows:
    """Yield the loss along random directions from each network.

    Args:
        run: Which.

    Yields:
        control, modality, direction, position (in norms of the network's filters), loss.
    """
    for control, modality, found in _found(run):
        for direction, losses in enumerate(found["slices"]):
            for position, loss in zip(SLICE_POSITIONS, losses, strict=True):
                where = {"direction": direction, "position": position}
                yield {"control": control, "modality": modality, **where, "loss": loss}


def surface(run: Run) -> Rows:
    """Yield the loss on a plane around the networks of split 0, seed 0; of other runs nothing.

    Args:
        run: Which.

    Yields:
        modality, first, second (positions along both directions), loss.
    """
    for modality in run.parameters.plan.networks if (run.split, run.seed) == (0, 0) else ():
        losses = runs.read_json(surface_step(run, modality) / "surface.json")
        for first, row in zip(SURFACE_POSITIONS, losses, strict=True):
            for second, loss in zip(SURFACE_POSITIONS, row, strict=True):
                yield {"modality": modality, "first": first, "second": second, "loss": loss}


def exits(run: Run) -> Rows:
    """Yield every measure of each light internal classifier.

    Args:
        run: Which.

    Yields:
        modality, method, exit, measure, value, standard_error.
    """
    yield from runs.read_json(exits_step(run) / "exits.json")


def biases(run: Run) -> Rows:
    """Yield the measures of networks trained on scenes that tell more or less of the action; of split 0 alone.

    Args:
        run: Which.

    Yields:
        scene_bias, modality, measure, value, standard_error.
    """
    p = run.parameters
    for bias in p.scene_biases if run.split == 0 else ():
        other = dataclasses.replace(run, parameters=dataclasses.replace(p, marionette_scene_bias=bias))
        for modality in p.plan.networks:
            for row in runs.read_json(measures_step(other, SAME, modality) / "minimum.json")["measures"]:
                yield {"scene_bias": bias, "modality": modality, **row}


def _found(run: Run) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for control in selected(run.parameters.flatness_controls):
        for modality in run.parameters.plan.networks:
            yield control, modality, runs.read_json(measures_step(run, control, modality) / "minimum.json")


def _network(run: Run, control: str, modality: str) -> Staged:
    size = CONTROLS[control].size or run.parameters.size
    network = experiments.load_backbone(run, modality, network_step(run, control, modality), size)
    return devices.place(network, run.parameters.device)


def _level(run: Run) -> float:
    # The highest loss of the run's own networks, on the samples that flatness is measured on.
    def loss(modality: str) -> float:
        rows = runs.read_json(measures_step(run, SAME, modality) / "minimum.json")["measures"]
        return next(row["value"] for row in rows if row["measure"] == "loss")

    return max(map(loss, run.parameters.plan.networks))


def _first_below(level: float, samples: list[Batch]) -> Preference:
    def preference(network: Staged, row: dict[str, float]) -> tuple[float, float]:
        # The network whose own loss is the level reaches it up to rounding.
        reached = mean_loss(network, samples, {}) <= level * (1 + 1e-6)
        return (1.0, -row["epoch"]) if reached else (0.0, row["epoch"])

    return preference


@functools.lru_cache(maxsize=4)
def _samples(run: Run, modality: str) -> list[Batch]:
    p, train = run.parameters, study.dataset(run.parameters).splits[run.split].train
    # Spread over the training clips, whose order goes by class.
    chosen = [train[i] for i in clips.segment_centres(len(train), min(p.flatness_clips, len(train)))]
    bank = study.frame_bank(p)
    batches = []
    for indices in training.ordered_batches(chosen, p.flatness_batch):
        inputs = clips.test_batch(
            bank, indices, modalities=[modality], size=p.input_size, segments=p.segments, device=p.device
        )
        batches.append((inputs[modality], bank.labels[indices].to(p.device)))
    return batches


def _fit(run: Run, modality: str, network: Staged) -> Iterator[dict[str, str | float]]:
    p, split = run.parameters, study.dataset(run.parameters).splits[run.split]
    bank, recipe = study.frame_bank(p), run.recipe(epochs=1, lr=p.backbone_lr, tuning=p.tuning)
    recipe = dataclasses.replace(recipe, precision="float32")
    for part in ("train", "test"):
        indices = list(getattr(split, part))
        logits, labels = training.predict(network, modality, bank, indices, recipe), bank.labels[indices]
        accuracy = (logits.argmax(1) == labels).double().mean().item()
        loss = functional.cross_entropy(logits, labels).item()
        for name, value in (("loss", loss), ("accuracy", accuracy)):
            yield {"measure": f"{part}_{name}", "value": value, "standard_error": 0.0}


class _Alone(nn.Module):
    # An internal classifier as a network of its own: its input is what its body makes of a stage.
    def __init__(self, exit_: nn.Module):
        super().__init__()
        self.exit = exit_
        self.eval()

    def forward(self, reduced: Tensor) -> Tensor:
        return self.exit(reduced.flatten(0, 1), reduced.shape[1])


@torch.no_grad()
def _exit_samples(run: Run, modality: str, backbone: Staged, exits_: Iterable[nn.Module]) -> list[list[Batch]]:
    # A light classifier's body has nothing to learn, so it is done with once.
    found: list[list[Batch]] = [[] for _ in exits_]
    for inputs, labels in _samples(run, modality):
        features, _ = distillation.frozen_pass({modality: backbone}, {modality: inputs})
        for own, exit_, stage in zip(found, exits_, features[modality], strict=True):
            own.append((exit_.body(stage).unflatten(0, (len(labels), -1)), labels))
    return found
