"""From parameters to cached artefacts: one function a step; notebooks and the command line call these.

Each step of a run (one split, one seed) is computed once and kept under
`runs/<profile>/<dataset>/split<k>/seed<s>/<step>/`; whatever a step needs, it asks for itself. `tables` turns the
artefacts into tidy tables without training anything.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import nn

from pkdlib import _files
from pkdlib.companion import fingerprints, store, workspace
from pkdlib.companion.parameters import Parameters
from pkdlib.companion.presets import Network
from pkdlib.companion.workspace import Run, dataset, frame_bank
from pkdlib.data import loader, sampling
from pkdlib.distillation import schedules, train_exits
from pkdlib.distillation.train_exits import ExitSpec
from pkdlib.early_exit import policies, predictor
from pkdlib.models import cost, exit_heads, pretrained, registry
from pkdlib.models.backbones import CHANNELS, NUM_EXITS, FeatureBackbone, MultiExitNetwork
from pkdlib.training import devices, distributed, trainer
from pkdlib.training.levels import Level

PROTOCOL = "clean"
PARTS = ("train", "validation", "test")
# The sensitivity page trains these methods, with light classifiers, at these factors on the learning rate, too.
SENSITIVE_METHODS, OTHER_LR_FACTORS = ("ce", "pkd"), (1 / 3, 3.0)
# These learn, with both kinds of classifiers, at further temperatures, too: the soft targets of others are the labels.
TEMPERED_METHODS = ("pkd", "self", "iframe")
# Beginnings of the names of the parameters that decide a step: any, a backbone, and its internal classifiers.
SHARED = (
    *("profile", "dataset", "threads", "device", "precision", "deterministic", "compiled"),
    *("size", "input_size", "segments", "candidates", "batch_size", "batch_parts"),
)
BACKBONE = ("backbone",)
# Code that decides no bit of a step, or that is told apart otherwise: parameters and data are in its settings, and what
# a step takes of the registries stands beside the code in its record.
UNDECIDING = (
    *(
        "companion.parameters",
        "companion.presets:PLANS",
        "companion.presets:IFRAME_NETWORKS",
        "distillation.schedules:METHODS",
        "distillation.schedules:TEAM_METHODS",
    ),
    *("companion.experiments.training:step", "companion.experiments.training:_step_together"),
    *workspace.UNDECIDING,
)
# The methods of internal classifiers that steps which are built on them take.
COMPARED = ("ce", "pkd")
IFRAME = ("iframe_",)
EXITS = (*BACKBONE, *IFRAME, "exit_")
FLATNESS = (*BACKBONE, "flatness_clips", "flatness_batch", "flatness_probes")


def step(
    run: Run, name: str, make: Callable[[Path], None], *decided_by: str, taken: Mapping[str, Any] | None = None
) -> Path:
    """Make a step of a run, or find it made; with it are recorded the data, the parameters and the code that decide it.

    A step that the I-frame network does not decide lies in the run that has none of its own, so that all share it.

    Args:
        run: Which.
        name: Of the step.
        make: Writes the step's files into a folder.
        *decided_by: Beginnings of the names of those parameters, beside SHARED.
        taken: What it takes of the registries of methods and plans, where that is not what the parameters say.

    Returns:
        The step's folder.
    """
    if not set(IFRAME) <= set(decided_by):
        run = run.without_iframe_network
    p = run.parameters
    devices.prepare(p.device, p.threads, deterministic=p.deterministic)
    made_by = _made_by(make) | (_taken(p, *decided_by) if taken is None else taken)
    return run.store.step(name, make, settings(run, *decided_by), made_by)


def settings(run: Run, *decided_by: str) -> dict[str, Any]:
    """List what the user chose that decides a step: parameters, split, seed and data.

    Args:
        run: Which.
        *decided_by: Beginnings of the parameters' names, beside SHARED.

    Returns:
        Name -> value.
    """
    p, data = run.parameters, dataset(run.parameters)
    own = p.only(*SHARED, *decided_by) | {"split": run.split, "seed": run.seed}
    return own | {"protocol": PROTOCOL, "data": data.checksum}


def deciding(modality: str) -> tuple[str, ...]:
    """Say which parameters decide a network, beside SHARED.

    Args:
        modality: What it reads.

    Returns:
        Beginnings of their names, as `step` takes them.
    """
    return (*BACKBONE, *IFRAME) if modality == "iframe" else BACKBONE


def backbones(run: Run) -> dict[str, FeatureBackbone]:
    """Train the backbone's networks, or load them.

    Args:
        run: Which.

    Returns:
        What each reads -> network, in eval mode.
    """
    return {name: load_backbone(run, name, backbone_step(run, name), size) for name, size in sizes(run.parameters)}


def backbone_step(run: Run, modality: str) -> Path:
    """Train one network of the backbone: with all processes of `distributed`, which must call this together.

    Args:
        run: Which.
        modality: What it reads, one of the plan's networks.

    Returns:
        A folder with `weights.safetensors` and `curves.json`.
    """
    p = run.parameters

    def make(target: Path) -> None:
        train_into(target, run, modality, p.network_of(modality))

    return _step_together(run, f"backbone-{modality}", make, *deciding(modality))


def train_into(
    target: Path,
    run: Run,
    modality: str,
    network: Network,
    *,
    until: Level | None = None,
) -> None:
    """Train one network and write its `weights.safetensors` and `curves.json`.

    Args:
        target: The folder, which also holds the checkpoint meanwhile.
        run: Which.
        modality: What it reads.
        network: Which, and how it is trained.
        until: A loss at which the training ends, as `trainer.train_backbone` takes it.
    """
    p, data = run.parameters, dataset(run.parameters)
    recipe = run.recipe(epochs=network.epochs, lr=network.lr, tuning=network.tuning)
    trained = trainer.train_backbone(
        modality,
        frame_bank(p),
        data.splits[run.split],
        dataclasses.replace(recipe, size=network.size),
        num_classes=len(data.classes),
        folder=target,
        weights=network.weights,
        until=until,
    )
    if distributed.number():
        return
    (target / "weights.safetensors").write_bytes(save(devices.fetch(trained.backbone).state_dict()))
    _files.write_json(target / "curves.json", {"curves": trained.curves, "kept_epoch": trained.epoch})


def load_backbone(run: Run, modality: str, folder: Path, size: str) -> FeatureBackbone:
    """Load a trained network.

    Args:
        run: Which.
        modality: What it reads.
        folder: Of `weights.safetensors`.
        size: Of the network, a key of `backbones.BACKBONES`.

    Returns:
        The network, in eval mode.
    """
    network = registry.backbone(reads=modality, size=size, num_classes=len(dataset(run.parameters).classes))
    network.load_state_dict(load_file(folder / "weights.safetensors"))
    return network.eval()


def exits_steps(run: Run) -> dict[ExitSpec, Path]:
    """Train the internal classifiers of all networks, in one pass: those of `trials` that no finished step holds yet.

    All processes of `distributed` take part, and must call this together.

    Args:
        run: Which.

    Returns:
        ExitSpec -> the folder that holds it: `weights.safetensors` (keys `modality/kind/method/x1/exit...`) and
        `curves.json`.
    """
    wanted = trials(run.parameters)
    held = _held(run)
    missing = distributed.tell([trial for trial in wanted if trial not in held])
    if missing:
        _train_exits(run, missing)
        held = _held(run)
    return {trial: held[trial] for trial in wanted}


def trials(p: Parameters) -> list[ExitSpec]:
    """List what the parameters train of internal classifiers.

    Args:
        p: The parameters.

    Returns:
        The methods of both kinds; of the light kind `ce` and `pkd` at other learning rates; and those that have a
        teacher to soften at further temperatures; each once.
    """
    light, paper = schedules.selected(p.light_methods), schedules.selected(p.paper_methods)
    sensitive = [method for method in SENSITIVE_METHODS if method in light]
    wanted = [
        *train_exits.trials(p.plan.light, light, networks=p.plan.networks),
        *train_exits.trials(p.plan.paper, paper, networks=p.plan.networks),
        *train_exits.trials(p.plan.light, sensitive, OTHER_LR_FACTORS, networks=p.plan.networks),
        *tempered(p),
    ]
    return list(dict.fromkeys(wanted))


def tempered(p: Parameters) -> list[ExitSpec]:
    """List what the parameters train of internal classifiers at further temperatures.

    Args:
        p: The parameters.

    Returns:
        TEMPERED_METHODS of both kinds, as far as they are trained at all.
    """
    return [
        trial
        for factor in p.temperature_factors
        for kind, names in ((p.plan.light, p.light_methods), (p.plan.paper, p.paper_methods))
        for trial in train_exits.trials(
            kind,
            [method for method in TEMPERED_METHODS if method in schedules.selected(names)],
            networks=p.plan.networks,
            temperature_factor=factor,
        )
    ]


def exits_record(p: Parameters, wanted: Sequence[ExitSpec]) -> dict[str, Any]:
    """Say what a training of internal classifiers takes of the registries of methods and plans.

    Args:
        p: The parameters.
        wanted: What is trained.

    Returns:
        What `step` records of it, and `exit_logits_step` reads there.
    """
    return _tunings(p, *EXITS) | {"trials": _lessons(p, wanted)}


def networks_of(run: Run, kind: str, method: str) -> dict[str, MultiExitNetwork]:
    """Join a run's backbones with the internal classifiers of one kind and method.

    Args:
        run: Which.
        kind: A key of `exit_heads.KINDS`.
        method: A key of `schedules.METHODS`.

    Returns:
        What each reads -> network, in eval mode.
    """
    places = exits_steps(run)
    nets = backbones(run)
    wanted = {modality: ExitSpec(modality, kind, schedules.canonical(method, modality)) for modality in nets}
    exits = _load_exits(run, nets, {trial: places[trial] for trial in wanted.values()})
    return {modality: predictor.assemble(net, exits[wanted[modality]]) for modality, net in nets.items()}


def backbone_logits_step(run: Run) -> Path:
    """Compute the logits of the bare backbones on all parts of the data.

    Args:
        run: Which.

    Returns:
        A folder with `logits.safetensors`: float32 (clips, classes) under `part/modality/backbone/4`, and with 1 to all
        segments under `part/modality/backbone/segmentsN`.
    """
    p = run.parameters

    def make(target: Path) -> None:
        nets = {modality: devices.place(net, p.device) for modality, net in backbones(run).items()}
        _write_logits(run, target, lambda batch: _backbone_logits(run, nets, batch))

    return step(run, "logits-backbones", make, *BACKBONE, *IFRAME)


def exit_logits_step(run: Run, place: Path) -> Path:
    """Compute the logits of internal classifiers on all parts of the data.

    Args:
        run: Which.
        place: One of the folders of `exits_steps`.

    Returns:
        A folder with `logits.safetensors`: float32 (clips, classes) under `part/modality/kind/method/x1/exit`.
    """
    p = run.parameters
    record = _files.read_json(place / store.RECORD)["made_by"]

    def make(target: Path) -> None:
        nets = {modality: devices.place(net, p.device) for modality, net in backbones(run).items()}
        held = {ExitSpec(**lesson["trial"]): place for lesson in record["trials"].values()}
        exits = {trial: own.to(p.device) for trial, own in _load_exits(run, nets, held).items()}
        _write_logits(run, target, lambda batch: _exit_logits(run, nets, exits, batch))

    return step(run, f"logits-{place.name}", make, *EXITS, taken={"exits": record})


def all_logits(run: Run) -> dict[str, torch.Tensor]:
    """Read a run's logits; the test clips are read for them, and for nothing else but `audit`.

    Args:
        run: Which.

    Returns:
        The keys of `backbone_logits_step`, and of `exit_logits_step` for all `trials` -> (clips, classes) float32.
    """
    found = load_file(backbone_logits_step(run) / "logits.safetensors")
    places = exits_steps(run)
    for place in dict.fromkeys(places.values()):
        own = tuple(f"{trial.key}/" for trial in places if places[trial] == place)
        tensors = load_file(exit_logits_step(run, place) / "logits.safetensors")
        found |= {key: value for key, value in tensors.items() if key.partition("/")[2].startswith(own)}
    return found


@functools.lru_cache(maxsize=2)
def logits(run: Run) -> dict[str, np.ndarray]:
    """Read a run's logits for arithmetic.

    Args:
        run: Which.

    Returns:
        As `all_logits`, in float64.
    """
    return {key: value.double().numpy() for key, value in all_logits(run).items()}


def costs(run: Run, kind: str) -> dict[str, cost.ExitCosts]:
    """Measure what leaving at each exit costs for a clip of the run's segments and size.

    Args:
        run: Which.
        kind: Of the internal classifiers.

    Returns:
        What each network reads -> costs, in multiply-accumulates.
    """
    p = run.parameters
    return exit_costs(sizes(p), kind, len(dataset(p).classes), p.segments, p.input_size)


def sizes(p: Parameters) -> tuple[tuple[str, str], ...]:
    """List the networks of a run.

    Args:
        p: The parameters.

    Returns:
        What each reads, and its size, a key of `backbones.BACKBONES`.
    """
    return tuple((name, p.network_of(name).size) for name in p.plan.networks)


@functools.cache
def exit_costs(
    wanted: tuple[tuple[str, str], ...], kind: str, num_classes: int, segments: int, input_size: int
) -> dict[str, cost.ExitCosts]:
    """Measure what leaving at each exit of some networks costs.

    Args:
        wanted: What each network reads, and its size, a key of `backbones.BACKBONES`.
        kind: Of the internal classifiers.
        num_classes: Classes.
        segments: TSN segments.
        input_size: Side of the input, in pixels.

    Returns:
        What each network reads -> costs of a clip, in multiply-accumulates.
    """
    shape = {"kind": kind, "segments": segments, "num_classes": num_classes}
    with torch.device("meta"):  # nothing is computed: shapes suffice to count
        return {
            reads: cost.exit_costs(
                registry.network(reads=reads, size=size, **shape),
                torch.zeros(1, segments, CHANNELS[reads], input_size, input_size),
            )
            for reads, size in wanted
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
        trial = ExitSpec(modality, kind, schedules.canonical(method, modality))
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
    return policies.cascade_costs(measured, order) / cost.GMAC


def _made_by(make: Callable) -> dict[str, Any]:
    return dict(fingerprints.fingerprint(make, without=UNDECIDING))


def _taken(p: Parameters, *decided_by: str) -> dict[str, Any]:
    # What a step takes of the registries, whose other entries do not concern it.
    taken = _tunings(p, *decided_by)
    if set(EXITS) <= set(decided_by):
        taken["plan"] = {"orders": p.plan.orders, "chosen": p.plan.chosen, "kinds": p.plan.kinds}
        taken["methods"] = {name: dataclasses.asdict(p.plan.methods[name]) for name in COMPARED}
    return taken


def _tunings(p: Parameters, *decided_by: str) -> dict[str, Any]:
    tunings = {"tuning": p.tuning}
    if set(IFRAME) <= set(decided_by) and p.iframe_network:
        tunings["iframe_tuning"] = p.network_of("iframe").tuning
    if set(EXITS) <= set(decided_by):
        tunings["exit_tuning"] = p.exit_tuning
    taken = {name: dataclasses.asdict(tuning) for name, tuning in tunings.items()}
    if sums := {name: pretrained.checksum(p.backbone_weights, name) for name in p.plan.networks if p.backbone_weights}:
        taken["backbone_weights"] = sums
    return taken


def _lessons(p: Parameters, wanted: Sequence[ExitSpec]) -> dict[str, Any]:
    return {
        trial.key: {"trial": dataclasses.asdict(trial), "method": dataclasses.asdict(p.plan.methods[trial.method])}
        for trial in wanted
    }


def _train_exits(run: Run, wanted: Sequence[ExitSpec]) -> Path:
    p, data = run.parameters, dataset(run.parameters)

    def make(target: Path) -> None:
        distilled = train_exits.train_exits(
            backbones(run),
            frame_bank(p),
            data.splits[run.split],
            run.recipe(epochs=p.exit_epochs, lr=p.exit_lr, tuning=p.exit_tuning),
            wanted,
            num_classes=len(data.classes),
            folder=target,
            methods=p.plan.methods,
            temperature=p.exit_temperature,
        )
        if distributed.number():
            return
        tensors = {
            f"{trial.key}/{name}": value
            for trial, exits in distilled.exits.items()
            for name, value in exits.state_dict().items()
        }
        (target / "weights.safetensors").write_bytes(save(tensors))
        _files.write_json(target / "curves.json", distilled.curves)

    lessons = _lessons(p, wanted)
    taken = _tunings(p, *EXITS) | {"trials": lessons}
    return _step_together(run, f"exits-{store.digest(lessons)[:8]}", make, *EXITS, taken=taken)


def _held(run: Run) -> dict[ExitSpec, Path]:
    # What finished steps hold of the trials, trained by this code and these settings and taught as they are now.
    p = run.parameters
    lessons = _lessons(p, trials(p))
    wanted = store.as_json({"settings": settings(run, *EXITS), "made_by": _made_by(_train_exits) | _tunings(p, *EXITS)})
    found: dict[str, Path] = {}
    for folder, record in run.store.finished("exits-*"):
        held = record.get("made_by", {}).pop("trials", {})
        own = {name: record.get(name) for name in wanted}
        for key, lesson in store.as_json(lessons).items():
            if own == wanted and held.get(key) == lesson:
                found[key] = folder
            elif p.keep and key in held and own["settings"] == wanted["settings"] and key not in found:
                store.tell_kept(folder, record)
                found[key] = folder
    return {trial: found[trial.key] for trial in trials(p) if trial.key in found}


def _load_exits(
    run: Run, nets: Mapping[str, FeatureBackbone], places: Mapping[ExitSpec, Path]
) -> dict[ExitSpec, nn.ModuleList]:
    shape = {"num_classes": len(dataset(run.parameters).classes), "segments": run.parameters.segments}
    weights = {place: load_file(place / "weights.safetensors") for place in set(places.values())}
    loaded = {}
    for trial, place in places.items():
        exits = exit_heads.internal_classifiers(trial.kind, backbone=nets[trial.modality], **shape)
        prefix = f"{trial.key}/"
        own = {k.removeprefix(prefix): v for k, v in weights[place].items() if k.startswith(prefix)}
        exits.load_state_dict(own)
        loaded[trial] = exits.eval()
    return loaded


def _write_logits(run: Run, target: Path, compute: Callable[[list[int]], Iterable[tuple[str, torch.Tensor]]]) -> None:
    p, split = run.parameters, dataset(run.parameters).splits[run.split]
    tensors = {}
    for part in PARTS:
        gathered: dict[str, list[torch.Tensor]] = {}
        for batch in loader.ordered_batches(getattr(split, part), p.batch_size):
            for key, values in compute(batch):
                gathered.setdefault(f"{part}/{key}", []).append(values.float().cpu())
        tensors |= {key: torch.cat(parts).contiguous() for key, parts in gathered.items()}
    (target / "logits.safetensors").write_bytes(save(tensors))


def _test_inputs(run: Run, batch: list[int], segments: int) -> dict[str, torch.Tensor]:
    p = run.parameters
    shape = {"modalities": p.plan.networks, "size": p.input_size, "segments": segments, "device": p.device}
    return sampling.evaluation_batch(frame_bank(p), batch, **shape)


@torch.no_grad()
def _backbone_logits(
    run: Run, nets: Mapping[str, FeatureBackbone], batch: list[int]
) -> Iterator[tuple[str, torch.Tensor]]:
    for segments in range(1, run.parameters.segments + 1):
        inputs = _test_inputs(run, batch, segments)
        finals = {modality: net(inputs[modality]) for modality, net in nets.items()}
        for modality, final in finals.items():
            yield f"{modality}/backbone/segments{segments}", final
    for modality, final in finals.items():
        yield f"{modality}/backbone/{NUM_EXITS}", final


@torch.no_grad()
def _exit_logits(
    run: Run, nets: Mapping[str, FeatureBackbone], exits: Mapping[ExitSpec, nn.ModuleList], batch: list[int]
) -> Iterator[tuple[str, torch.Tensor]]:
    segments = run.parameters.segments
    features, _ = train_exits.frozen_pass(nets, _test_inputs(run, batch, segments))
    for trial, members in exits.items():
        for number, (exit_, stage) in enumerate(zip(members, features[trial.modality], strict=True), start=1):
            yield f"{trial.key}/{number}", exit_(stage, segments)


def _step_together(
    run: Run, name: str, make: Callable[[Path], None], *decided_by: str, taken: Mapping[str, Any] | None = None
) -> Path:
    # `step` for what all processes of `distributed` make together.
    def make_together(target: Path) -> None:
        distributed.tell(target)
        make(target)

    if distributed.number() == 0:
        return distributed.tell(step(run, name, functools.wraps(make)(make_together), *decided_by, taken=taken))
    # The first process alone minds the folder; the others help where there is something to make.
    p = run.parameters
    devices.prepare(p.device, p.threads, deterministic=p.deterministic)
    told = distributed.tell(None)
    if not (told / store.RECORD).is_file():
        make(told)
        told = distributed.tell(None)
    return told
