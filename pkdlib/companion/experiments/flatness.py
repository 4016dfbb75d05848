"""The study of flatness: in what minima the networks of each modality end, and do their internal classifiers.

Networks are compared under `flatness_controls`. Everything is measured on the same training clips, spread over the
classes, by test sampling.
"""

import dataclasses
import functools
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pkdlib import _files
from pkdlib.companion import presets, workspace
from pkdlib.companion.experiments import backbones, steps
from pkdlib.companion.experiments.counts import Rows
from pkdlib.companion.experiments.exits import Exits
from pkdlib.companion.flatness_controls import CONTROLS, MIX, SAME, selected
from pkdlib.companion.parameters import Parameters
from pkdlib.companion.workspace import Run
from pkdlib.data import frame_cache
from pkdlib.distillation import exit_training
from pkdlib.flatness import landscape, spectra
from pkdlib.flatness import measures as flatness
from pkdlib.flatness.objective import Batch, Objective
from pkdlib.flatness.operators import Hessian
from pkdlib.models.backbones import FeatureBackbone
from pkdlib.training import devices, trainer
from pkdlib.training.target_loss import Level

# The spectral density's iterations and vectors; positions and directions of slices, and of the surface.
QUADRATURE_STEPS, QUADRATURE_PROBES = 15, 2
SLICE_POSITIONS, SLICE_DIRECTIONS = tuple(np.linspace(-1, 1, 11).round(3).tolist()), 5
SURFACE_POSITIONS = SLICE_POSITIONS
# Internal classifiers whose flatness is compared.
EXIT_METHODS = ("ce", "pkd")


def deciding(control: str, modality: str) -> tuple[str, ...]:
    """Say which parameters decide a network under a control, and its measures, beside `steps.SHARED`.

    Args:
        control: A key of CONTROLS.
        modality: What it reads.

    Returns:
        Beginnings of their names, as `steps.step` takes them.
    """
    # Where losses are matched, every network of the run decides what each is matched to.
    network = steps.deciding("iframe" if CONTROLS[control].matched else modality)
    return (*network, *steps.FLATNESS)


def network_step(run: Run, control: str, modality: str) -> Path:
    """Train a network under a control; where that changes nothing for it, it is the run's backbone.

    Args:
        run: Which.
        control: A key of CONTROLS.
        modality: What it reads, one of the plan's networks.

    Returns:
        A folder with `weights.safetensors` and `curves.json`.
    """
    own = CONTROLS[control]
    if _is_unchanged(run, control, modality):
        return backbones.backbone_step(run, modality)

    def make(target: Path) -> None:
        backbones.train_into(
            target,
            run,
            modality,
            _trained(run, control, modality),
            until=Level(_level(run), _samples(run, modality)) if own.matched else None,
        )

    return steps.step(run, f"minimum-{control}-{modality}", make, *deciding(control, modality))


def measures_step(run: Run, control: str, modality: str) -> Path:
    """Measure the minimum of a network: every measure of flatness, its fit, and the deviation of its inputs.

    Args:
        run: Which.
        control: A key of CONTROLS.
        modality: What it reads, one of the plan's networks.

    Returns:
        A folder with `measures.json`.
    """
    p = run.parameters
    if control != SAME and _is_unchanged(run, control, modality):
        return measures_step(run, SAME, modality)

    def make(target: Path) -> None:
        network = _network(run, control, modality)
        objective = Objective(network, _samples(run, modality))
        deviation = input_deviation(p, run.split, modality)
        settings = {"probes": p.flatness_probes, "seed": run.training_seed, "input_deviation": deviation}
        found = [
            *flatness.flatness_measures(objective, **settings),
            *_fit(run, modality, network),
            {"measure": "input_deviation", "value": deviation, "standard_error": 0.0},
        ]
        _files.write_json(target / "measures.json", found)

    return steps.step(run, f"flatness-{control}-{modality}", make, *deciding(control, modality))


def landscape_step(run: Run, modality: str) -> Path:
    """Look around a run's own network: the spectrum of its Hessian, and the loss along random directions.

    Args:
        run: Which.
        modality: What it reads, one of the plan's networks.

    Returns:
        A folder with `landscape.json`.
    """

    def make(target: Path) -> None:
        objective = Objective(_network(run, SAME, modality), _samples(run, modality))
        seeded = {"seed": run.training_seed}
        density = spectra.lanczos_quadrature(
            Hessian(objective), steps=QUADRATURE_STEPS, probes=QUADRATURE_PROBES, **seeded
        )
        found = {
            "nodes": density.nodes.tolist(),
            "weights": density.weights.tolist(),
            "slices": landscape.slices(objective, SLICE_POSITIONS, directions=SLICE_DIRECTIONS, **seeded).tolist(),
        }
        _files.write_json(target / "landscape.json", found)

    return steps.step(run, f"landscape-{modality}", make, *deciding(SAME, modality))


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
        _files.write_json(target / "surface.json", losses.tolist())

    return steps.step(run, f"surface-{modality}", make, *deciding(SAME, modality))


def exits_step(exits: Exits) -> Path:
    """Measure the flatness of each light internal classifier by itself, its network frozen, by method.

    Args:
        exits: The exits.

    Returns:
        A folder with `exits.json`.
    """
    run, p = exits.run, exits.run.parameters

    def make(target: Path) -> None:
        rows = []
        for method in EXIT_METHODS:
            for modality, net in exits.load(p.plan.light, method).items():
                devices.place(net, p.device)
                for number, batches in enumerate(_exit_samples(run, modality, net.backbone, net.exits), start=1):
                    objective = Objective(_Alone(net.exits[number - 1]), batches)  # methods share their inputs
                    for row in flatness.flatness_measures(objective, probes=p.flatness_probes, seed=run.training_seed):
                        rows.append({"modality": modality, "method": method, "exit": number, **row})
        _files.write_json(target / "exits.json", rows)

    return exits.step("flatness-exits", make, "flatness_clips", "flatness_batch", "flatness_probes")


def controls(p: Parameters) -> tuple[str, ...]:
    """Say under which controls the networks of the parameters are compared.

    Args:
        p: The parameters.

    Returns:
        Those of `flatness_controls`. With an I-frame network of its own a run's networks are in the paper's proportions
        as they are: then it is `mix` alone, as no control makes them alike.
    """
    return (MIX,) if p.iframe_network else selected(p.flatness_controls)


def measures(run: Run, control: str, modality: str) -> Rows:
    """Yield every measure of the minimum of a network that is trained under a control.

    Args:
        run: Which.
        control: One of `controls`.
        modality: What the network reads.

    Yields:
        control, modality, measure, value, standard_error, with the run; measures are those of `flatness_measures`, the
        loss and accuracy on all training and test clips, and the standard deviation of the inputs.
    """
    for row in _measured(run, SAME if run.parameters.iframe_network else control, modality):
        yield {**run.columns, "control": control, "modality": modality, **row}


@functools.cache
def input_deviation(p: Parameters, split: int, modality: str) -> float:
    """Compute the standard deviation of all values that a network reads of the training clips, by test sampling.

    Modalities are not normalised alike: motion is not divided by a deviation, so that its values are small, and the
    curvature by them large.

    Args:
        p: The parameters.
        split: Whose training clips.
        modality: What the network reads.

    Returns:
        The standard deviation; one number, whatever the channels.
    """
    train = workspace.dataset(p).splits[split].train
    count, total, squares = 0, 0.0, 0.0
    for inputs, _ in Run(p, split, seed=0).evaluation(train, [modality]):
        values = inputs[modality].double()
        count, total = count + values.numel(), total + values.sum().item()
        squares += values.square().sum().item()
    return math.sqrt(squares / count - (total / count) ** 2)


def spectrum(run: Run) -> Rows:
    """Yield the spectra of the run's own networks' Hessians, as Lanczos quadrature sees them.

    Args:
        run: Which.

    Yields:
        modality, probe, node, weight.
    """
    for modality, found in _landscapes(run):
        for probe, (nodes, weights) in enumerate(zip(found["nodes"], found["weights"], strict=True)):
            for node, weight in zip(nodes, weights, strict=True):
                yield {"modality": modality, "probe": probe, "node": node, "weight": weight}


def slices(run: Run) -> Rows:
    """Yield the loss along random directions from each of the run's own networks.

    Args:
        run: Which.

    Yields:
        modality, direction, position (in norms of the network's filters), loss.
    """
    for modality, found in _landscapes(run):
        for direction, losses in enumerate(found["slices"]):
            for position, loss in zip(SLICE_POSITIONS, losses, strict=True):
                yield {"modality": modality, "direction": direction, "position": position, "loss": loss}


def surface(run: Run) -> Rows:
    """Yield the loss on a plane around the networks of split 0, seed 0; of other runs nothing.

    Args:
        run: Which.

    Yields:
        modality, first, second (positions along both directions), loss.
    """
    for modality in run.parameters.plan.networks if (run.split, run.seed) == (0, 0) else ():
        losses = _files.read_json(surface_step(run, modality) / "surface.json")
        for first, row in zip(SURFACE_POSITIONS, losses, strict=True):
            for second, loss in zip(SURFACE_POSITIONS, row, strict=True):
                yield {"modality": modality, "first": first, "second": second, "loss": loss}


def exits(own: Exits) -> Rows:
    """Yield every measure of each light internal classifier.

    Args:
        own: The exits.

    Yields:
        modality, method, exit, measure, value, standard_error.
    """
    yield from _files.read_json(exits_step(own) / "exits.json")


def biases(run: Run) -> Rows:
    """Yield the measures of networks trained on scenes that tell more or less of the action, the run's own among them.

    Nothing but of split 0, and where the parameters name other scene biases.

    Args:
        run: Which.

    Yields:
        scene_bias, modality, measure, value, standard_error.
    """
    p = run.parameters
    wanted = {*p.scene_biases, p.marionette_scene_bias} if p.scene_biases and run.split == 0 else set()
    for bias in sorted(wanted):
        other = dataclasses.replace(run, parameters=p.replace(marionette_scene_bias=bias))
        for modality in p.plan.networks:
            for row in _measured(other, SAME, modality):
                yield {"scene_bias": bias, "modality": modality, **row}


def _measured(run: Run, control: str, modality: str) -> list[dict[str, Any]]:
    return _files.read_json(measures_step(run, control, modality) / "measures.json")


def _landscapes(run: Run) -> Iterator[tuple[str, dict[str, Any]]]:
    for modality in run.parameters.plan.networks:
        yield modality, _files.read_json(landscape_step(run, modality) / "landscape.json")


def _trained(run: Run, control: str, modality: str) -> presets.Network:
    # Which network a control trains, and how: one of another size is trained as the common ones are.
    own, p = CONTROLS[control], run.parameters
    if modality in own.unchanged:
        return p.network_of(modality)
    network = dataclasses.replace(p.common_network, size=own.size) if own.size else p.network_of(modality)
    return dataclasses.replace(network, lr=network.lr * own.lr_factors.get(modality, 1.0))


def _network(run: Run, control: str, modality: str) -> FeatureBackbone:
    size = _trained(run, control, modality).size
    network = backbones.load_backbone(run, modality, network_step(run, control, modality), size)
    return devices.place(network, run.parameters.device)


def _is_unchanged(run: Run, control: str, modality: str) -> bool:
    own = CONTROLS[control]
    return modality in own.unchanged or (own.matched and _own_loss(run, modality) == _level(run))


def _level(run: Run) -> float:
    # The highest loss of the run's own networks, on the samples that flatness is measured on.
    return max(_own_loss(run, modality) for modality in run.parameters.plan.networks)


def _own_loss(run: Run, modality: str) -> float:
    return next(row["value"] for row in _measured(run, SAME, modality) if row["measure"] == "loss")


@functools.lru_cache(maxsize=4)
def _samples(run: Run, modality: str) -> list[Batch]:
    p, train = run.parameters, workspace.dataset(run.parameters).splits[run.split].train
    # Spread over the training clips, whose order goes by class.
    chosen = [train[i] for i in frame_cache.segment_centres(len(train), min(p.flatness_clips, len(train)))]
    clips = run.evaluation(chosen, [modality], batch_size=p.flatness_batch)
    return [(inputs[modality], labels.to(p.device)) for inputs, labels in clips]


def _fit(run: Run, modality: str, network: FeatureBackbone) -> Iterator[dict[str, str | float]]:
    p, split = run.parameters, workspace.dataset(run.parameters).splits[run.split]
    recipe = run.recipe(epochs=1, lr=p.backbone_lr, tuning=p.tuning)
    recipe = dataclasses.replace(recipe, precision="float32")
    for part in ("train", "test"):
        clips = run.evaluation(getattr(split, part), [modality])
        logits, labels = trainer.predict(network, modality, clips, recipe)
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
def _exit_samples(run: Run, modality: str, backbone: FeatureBackbone, exits_: Iterable[nn.Module]) -> list[list[Batch]]:
    # A light classifier's body has nothing to learn, so it is done with once.
    found: list[list[Batch]] = [[] for _ in exits_]
    for inputs, labels in _samples(run, modality):
        features, _ = exit_training.frozen_pass({modality: backbone}, {modality: inputs})
        for own, exit_, stage in zip(found, exits_, features[modality], strict=True):
            own.append((exit_.body(stage).unflatten(0, (len(labels), -1)), labels))
    return found
