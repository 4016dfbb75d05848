"""From parameters to cached artefacts: one function a step; notebooks and the command line call these.

Each step of a run (one split, one seed) is computed once and kept under
`runs/<profile>/<dataset>/split<k>/seed<s>/<step>/`; whatever a step needs, it asks for itself. `tables` turns the
artefacts into tidy tables without training anything.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import nn

from pkdlib import (
    architectures,
    cascades,
    classifiers,
    clips,
    cost,
    devices,
    distillation,
    early_exit,
    feeding,
    methods,
    ranks,
    runs,
    training,
)
from pkdlib.banks import FrameBank
from pkdlib.distillation import Trial
from pkdlib.levels import Level
from pkdlib.networks import CHANNELS, NUM_EXITS, MultiExitNetwork, Staged
from pkdlib.parameters import Parameters
from pkdlib.study import Run, dataset, frame_bank

PROTOCOL = "clean"
PARTS = ("train", "validation", "test")
# The sensitivity page trains these methods, with light classifiers, at these factors on the learning rate, too.
SENSITIVE_METHODS, OTHER_LR_FACTORS = ("ce", "pkd"), (1 / 3, 3.0)
# Beginnings of the names of the parameters that decide a step: any, a backbone, and its internal classifiers.
SHARED = (
    *("profile", "dataset", "threads", "device", "precision", "deterministic", "compiled"),
    *("size", "input_size", "segments", "candidates", "batch_size", "batch_parts"),
)
BACKBONE = ("backbone",)
EXITS = (*BACKBONE, "exit_", "light_methods", "paper_methods")
FLATNESS = (*BACKBONE, "flatness_clips", "flatness_batch", "flatness_probes")


def step(run: Run, name: str, make: Callable[[Path], None], *decided_by: str) -> Path:
    """Make a step of a run, or find it made; with it are recorded the data and the parameters that decide it.

    Args:
        run: Which.
        name: Of the step.
        make: Writes the step's files into a folder.
        *decided_by: Beginnings of the names of those parameters, beside SHARED.

    Returns:
        The step's folder.
    """
    p, data = run.parameters, dataset(run.parameters)
    devices.prepare(p.device, p.threads, deterministic=p.deterministic)
    settings = p.only(*SHARED, *decided_by) | {"split": run.split, "seed": run.seed}
    return run.store.step(name, make, settings | {"protocol": PROTOCOL, "data": data.checksum})


def backbones(run: Run) -> dict[str, Staged]:
    """Train the backbone's networks, or load them.

    Args:
        run: Which.

    Returns:
        What each reads -> network, in eval mode.
    """
    wanted = run.parameters.plan.networks
    return {name: load_backbone(run, name, backbone_step(run, name), run.parameters.size) for name in wanted}


def backbone_step(run: Run, modality: str) -> Path:
    """Train one network of the backbone: with all processes of `ranks`, which must call this together.

    Args:
        run: Which.
        modality: What it reads, one of the plan's networks.

    Returns:
        A folder with `weights.safetensors` and `curves.json`.
    """
    p = run.parameters

    def make(target: Path) -> None:
        train_into(target, run, modality, size=p.size, lr=p.backbone_lr)

    return _step_together(run, f"backbone-{modality}", make, *BACKBONE)


def train_into(
    target: Path,
    run: Run,
    modality: str,
    *,
    size: str,
    lr: float,
    until: Level | None = None,
) -> None:
    """Train one network and write its `weights.safetensors` and `curves.json`.

    Args:
        target: The folder, which also holds the checkpoint meanwhile.
        run: Which.
        modality: What it reads.
        size: Of the network, a key of `networks.BACKBONES`.
        lr: Peak learning rate.
        until: A loss at which the training ends, as `training.train_backbone` takes it.
    """
    p, data = run.parameters, dataset(run.parameters)
    recipe = run.recipe(epochs=p.backbone_epochs, lr=lr, tuning=p.tuning)
    trained = training.train_backbone(
        modality,
        frame_bank(p),
        data.splits[run.split],
        dataclasses.replace(recipe, size=size),
        num_classes=len(data.classes),
        folder=target,
        weights=p.backbone_weights,
        until=until,
    )
    if ranks.number():
        return
    (target / "weights.safetensors").write_bytes(save(devices.fetch(trained.backbone).state_dict()))
    runs.write_json(target / "curves.json", {"curves": trained.curves, "kept_epoch": trained.epoch})


def load_backbone(run: Run, modality: str, folder: Path, size: str) -> Staged:
    """Load a trained network.

    Args:
        run: Which.
        modality: What it reads.
        folder: Of `weights.safetensors`.
        size: Of the network, a key of `networks.BACKBONES`.

    Returns:
        The network, in eval mode.
    """
    network = architectures.backbone(reads=modality, size=size, num_classes=len(dataset(run.parameters).classes))
    network.load_state_dict(load_file(folder / "weights.safetensors"))
    return network.eval()


def exits_step(run: Run) -> Path:
    """Train the internal classifiers of all networks: every trial of `trials`, in one pass.

    All processes of `ranks` take part, and must call this together.

    Args:
        run: Which.

    Returns:
        A folder with `weights.safetensors` (keys `modality/kind/method/x1/exit...`) and `curves.json`.
    """
    p, data = run.parameters, dataset(run.parameters)

    def make(target: Path) -> None:
        distilled = distillation.train_exits(
            backbones(run),
            frame_bank(p),
            data.splits[run.split],
            run.recipe(epochs=p.exit_epochs, lr=p.exit_lr, tuning=p.exit_tuning),
            trials(p),
            num_classes=len(data.classes),
            folder=target,
            methods=p.plan.methods,
            temperature=p.exit_temperature,
        )
        if ranks.number():
            return
        tensors = {
            f"{trial.key}/{name}": value
            for trial, exits in distilled.exits.items()
            for name, value in exits.state_dict().items()
        }
        (target / "weights.safetensors").write_bytes(save(tensors))
        runs.write_json(target / "curves.json", distilled.curves)

    return _step_together(run, "exits", make, *EXITS)


def trials(p: Parameters) -> list[Trial]:
    """List what the parameters train of internal classifiers.

    Args:
        p: The parameters.

    Returns:
        The methods of both kinds, and of the light kind `ce` and `pkd` at other learning rates; each once.
    """
    light, paper = methods.selected(p.light_methods), methods.selected(p.paper_methods)
    sensitive = [method for method in SENSITIVE_METHODS if method in light]
    wanted = [
        *distillation.trials(p.plan.light, light, networks=p.plan.networks),
        *distillation.trials(p.plan.paper, paper, networks=p.plan.networks),
        *distillation.trials(p.plan.light, sensitive, OTHER_LR_FACTORS, networks=p.plan.networks),
    ]
    return list(dict.fromkeys(wanted))


def networks_of(run: Run, kind: str, method: str) -> dict[str, MultiExitNetwork]:
    """Join a run's backbones with the internal classifiers of one kind and method.

    Args:
        run: Which.
        kind: A key of `classifiers.KINDS`.
        method: A key of `methods.METHODS`.

    Returns:
        What each reads -> network, in eval mode.
    """
    weights = load_file(exits_step(run) / "weights.safetensors")
    return {
        modality: cascades.assemble(
            backbone,
            _load_exits(run, backbone, weights, Trial(modality, kind, methods.canonical(method, modality))),
        )
        for modality, backbone in backbones(run).items()
    }


def logits_step(run: Run) -> Path:
    """Compute the logits of every exit on all parts of the data; the test clips are read here only.

    Args:
        run: Which.

    Returns:
        A folder with `logits.safetensors`: float32 (clips, classes) under `part/modality/kind/method/x1/exit`, the bare
        backbones' with fewer segments under `part/modality/backbone/segmentsN`.
    """
    p, data = run.parameters, dataset(run.parameters)

    def make(target: Path) -> None:
        bank, split = frame_bank(p), data.splits[run.split]
        nets = {modality: devices.place(net, p.device) for modality, net in backbones(run).items()}
        weights = load_file(exits_step(run) / "weights.safetensors")
        exits = {trial: _load_exits(run, nets[trial.modality], weights, trial).to(p.device) for trial in trials(p)}
        tensors = {}
        for part in PARTS:
            gathered: dict[str, list[torch.Tensor]] = {}
            for batch in feeding.ordered_batches(getattr(split, part), p.batch_size):
                for key, logits in _batch_logits(nets, exits, bank, batch, p):
                    gathered.setdefault(f"{part}/{key}", []).append(logits.float().cpu())
            tensors |= {key: torch.cat(values).contiguous() for key, values in gathered.items()}
        (target / "logits.safetensors").write_bytes(save(tensors))

    return step(run, "logits", make, *EXITS)


@functools.lru_cache(maxsize=2)
def logits(run: Run) -> dict[str, np.ndarray]:
    """Read a run's logits.

    Args:
        run: Which.

    Returns:
        The keys of `logits_step` -> (clips, classes) float64.
    """
    tensors = load_file(logits_step(run) / "logits.safetensors")
    return {key: value.double().numpy() for key, value in tensors.items()}


def costs(run: Run, kind: str) -> dict[str, cost.ExitCosts]:
    """Measure what leaving at each exit costs for a clip of the run's segments and size.

    Args:
        run: Which.
        kind: Of the internal classifiers.

    Returns:
        What each network reads -> costs, in multiply-accumulates.
    """
    p = run.parameters
    return exit_costs(p.plan.networks, kind, p.size, len(dataset(p).classes), p.segments, p.input_size)


@functools.cache
def exit_costs(
    wanted: tuple[str, ...], kind: str, size: str, num_classes: int, segments: int, input_size: int
) -> dict[str, cost.ExitCosts]:
    """Measure what leaving at each exit of some networks costs.

    Args:
        wanted: The networks, named by what they read.
        kind: Of the internal classifiers.
        size: Of the networks, a key of `networks.BACKBONES`.
        num_classes: Classes.
        segments: TSN segments.
        input_size: Side of the input, in pixels.

    Returns:
        What each network reads -> costs of a clip, in multiply-accumulates.
    """
    shape = {"size": size, "kind": kind, "segments": segments, "num_classes": num_classes}
    with torch.device("meta"):  # nothing is computed: shapes suffice to count
        return {
            reads: cost.exit_costs(
                architectures.network(reads=reads, **shape),
                torch.zeros(1, segments, CHANNELS[reads], input_size, input_size),
            )
            for reads in wanted
        }


def cascade_logits(
    values: dict[str, np.ndarray], part: str, kind: str, method: str, order: Sequence[str]
) -> np.ndarray:
    """Stack the logits of all exits in the order in which a cascade visits them.

    Args:
        values: Of `logits`.
        part: `train`, `validation` or `test`.
        kind: Of the internal classifiers.
        method: What trained them.
        order: Names of the exits, as `wise.visiting_order` gives.

    Returns:
        (clips, exits, classes).
    """
    keys = []
    for member in order:
        modality, number = member.rsplit("-", 1)
        trial = Trial(modality, kind, methods.canonical(method, modality))
        keys.append(f"{modality}/backbone/{number}" if int(number) == NUM_EXITS else f"{trial.key}/{number}")
    return np.stack([values[f"{part}/{key}"] for key in keys], axis=1)


def labels(run: Run, part: str) -> np.ndarray:
    """Return the labels of a part's clips.

    Args:
        run: Which.
        part: `train`, `validation` or `test`.

    Returns:
        (clips,) integers.
    """
    data = dataset(run.parameters)
    return np.array([data.clips[index].label for index in getattr(data.splits[run.split], part)])


def cascade_costs(run: Run, kind: str, order: Sequence[str]) -> np.ndarray:
    """Return what leaving at each exit of the cascade costs.

    Args:
        run: Which.
        kind: Of the internal classifiers.
        order: The networks, in the order in which they are visited.

    Returns:
        (exits,) GMAC a clip.
    """
    measured = {modality: figures.cumulative for modality, figures in costs(run, kind).items()}
    return early_exit.cascade_costs(measured, order) / cost.GMAC


def _load_exits(run: Run, backbone: Staged, weights: dict[str, torch.Tensor], trial: Trial) -> nn.ModuleList:
    shape = {"num_classes": len(dataset(run.parameters).classes), "segments": run.parameters.segments}
    exits = classifiers.internal_classifiers(trial.kind, backbone=backbone, **shape)
    prefix = f"{trial.key}/"
    exits.load_state_dict({k.removeprefix(prefix): v for k, v in weights.items() if k.startswith(prefix)})
    return exits.eval()


@torch.no_grad()
def _batch_logits(
    nets: dict[str, Staged],
    exits: dict[Trial, nn.ModuleList],
    bank: FrameBank,
    batch: list[int],
    p: Parameters,
) -> Iterator[tuple[str, torch.Tensor]]:
    wanted = list(nets)
    for segments in range(1, p.segments):
        inputs = clips.test_batch(bank, batch, modalities=wanted, size=p.input_size, segments=segments, device=p.device)
        for modality, net in nets.items():
            yield f"{modality}/backbone/segments{segments}", net(inputs[modality])
    inputs = clips.test_batch(bank, batch, modalities=wanted, size=p.input_size, segments=p.segments, device=p.device)
    features, finals = distillation.frozen_pass(nets, inputs)
    for modality in nets:
        yield f"{modality}/backbone/segments{p.segments}", finals[modality]
        yield f"{modality}/backbone/{NUM_EXITS}", finals[modality]
    for trial, members in exits.items():
        for number, (exit_, stage) in enumerate(zip(members, features[trial.modality], strict=True), start=1):
            yield f"{trial.key}/{number}", exit_(stage, p.segments)


def _step_together(run: Run, name: str, make: Callable[[Path], None], *decided_by: str) -> Path:
    # `step` for what all processes of `ranks` make together.
    def make_together(target: Path) -> None:
        ranks.tell(target)
        make(target)

    if ranks.number() == 0:
        return ranks.tell(step(run, name, make_together, *decided_by))
    # The first process alone minds the folder; the others help where there is something to make.
    p = run.parameters
    devices.prepare(p.device, p.threads, deterministic=p.deterministic)
    told = ranks.tell(None)
    if not (told / runs.RECORD).is_file():
        make(told)
        told = ranks.tell(None)
    return told
