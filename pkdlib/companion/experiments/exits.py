"""Train a run's exits, the internal classifiers of its frozen backbones, by schedules of teachers; what they answer.

An experiment says which exits (`ExitSpec`) are trained by which schedules. All of them train in one pass over the
frozen backbones, and each is kept by itself: one more trains alone, and those that are there are loaded.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import nn

from pkdlib import _files
from pkdlib.companion.experiments import backbones, costs, steps
from pkdlib.companion.experiments.backbones import Backbones
from pkdlib.companion.experiments.counts import Rows, count
from pkdlib.companion.parameters import Parameters
from pkdlib.companion.runs import fingerprints, store
from pkdlib.companion.workspace import Run, dataset
from pkdlib.distillation import exit_training, schedules
from pkdlib.distillation.losses import Loss, soft_cross_entropy
from pkdlib.distillation.schedules import Method
from pkdlib.distillation.specs import ExitSpec, exit_specs
from pkdlib.early_exit import predictor
from pkdlib.models import exit_heads
from pkdlib.models.backbones import NUM_EXITS, FeatureBackbone, MultiExitNetwork
from pkdlib.models.exit_heads import Maker
from pkdlib.training import devices, distributed

# Cross-entropy and PKD are trained with light classifiers at these factors on the learning rate, too.
SENSITIVE_METHODS, OTHER_LR_FACTORS = ("ce", "pkd"), (1 / 3, 3.0)
# These learn, with both kinds of classifiers, at further temperatures, too: the soft targets of others are the labels.
TEMPERED_METHODS = ("pkd", "self", "iframe")
# The methods of internal classifiers that steps which are built on them take.
COMPARED = ("ce", "pkd")


@dataclasses.dataclass(frozen=True, eq=False)
class Exits:
    """The exits of a run's backbones, trained when they are first needed.

    Args:
        backbones: The frozen backbones that they hang on.
        specs: What is trained, as `exit_specs` lists it.
        methods: Name -> schedule of teachers, of all methods that the specs name.
        kinds: Name -> what makes exits of a kind, of all kinds that the specs name.
        loss: Of the exits' logits beside their teacher's.
    """

    backbones: Backbones
    specs: Sequence[ExitSpec]
    methods: Mapping[str, Method]
    kinds: Mapping[str, Maker] = dataclasses.field(default_factory=lambda: exit_heads.KINDS)
    loss: Loss = soft_cross_entropy

    def __post_init__(self):
        """Train each once, where the paper's exits are light ones and both are asked for."""
        object.__setattr__(self, "specs", tuple(dict.fromkeys(self.specs)))

    @property
    def run(self) -> Run:
        """Which split and seed of which data."""
        return self.backbones.run

    def spec(self, modality: str, kind: str, method: str) -> ExitSpec:
        """Return the spec that trains a network's exits by a method.

        Args:
            modality: What the network reads.
            kind: Of the exits.
            method: A key of `methods`.

        Returns:
            The spec, under the name of the first method that coincides with it for the network.
        """
        return ExitSpec(modality, kind, schedules.canonical(method, modality, self.methods))

    def steps(self) -> dict[ExitSpec, Path]:
        """Train the exits, in one pass: those that no finished step holds yet.

        All processes of `distributed` take part, and must call this together.

        Returns:
            Spec -> the folder that holds it: `weights.safetensors` (keys `modality/kind/method/x1/exit...`) and
            `curves.json`.
        """
        held = _held(self)
        if missing := distributed.tell([spec for spec in self.specs if spec not in held]):
            _train(self, missing)
            held = _held(self)
        return {spec: held[spec] for spec in self.specs}

    def load(self, kind: str, method: str) -> dict[str, MultiExitNetwork]:
        """Join the backbones with their exits of one kind and method.

        Args:
            kind: A key of `exit_heads.KINDS`.
            method: A key of `methods`.

        Returns:
            What each reads -> network, in eval mode.
        """
        places, nets = self.steps(), self.backbones.load()
        wanted = {modality: self.spec(modality, kind, method) for modality in nets}
        heads = _load(self, nets, {spec: places[spec] for spec in wanted.values()})
        return {modality: predictor.assemble(net, heads[wanted[modality]]) for modality, net in nets.items()}

    def tensors(self) -> dict[str, torch.Tensor]:
        """Read all logits; the test clips are read for them, and for nothing else but the audit of the protocol.

        Returns:
            The keys of `backbones.logits_step`, and of `logits_step` -> (clips, classes) float32.
        """
        found = load_file(backbones.logits_step(self.backbones) / "logits.safetensors")
        places = self.steps()
        for place in dict.fromkeys(places.values()):
            own = tuple(f"{spec.key}/" for spec in places if places[spec] == place)
            read = load_file(logits_step(self, place) / "logits.safetensors")
            found |= {key: value for key, value in read.items() if key.partition("/")[2].startswith(own)}
        return found

    @property
    def logits(self) -> dict[str, np.ndarray]:
        """All logits, as `tensors`, in float64 for arithmetic."""
        return _read(self)

    def stacked(self, part: str, kind: str, method: str, order: Sequence[str]) -> np.ndarray:
        """Stack the logits of all exits in the order in which a cascade visits them.

        Args:
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
            own = f"{modality}/backbone" if int(number) == NUM_EXITS else self.spec(modality, kind, method).key
            keys.append(f"{own}/{number}")
        return np.stack([self.logits[f"{part}/{key}"] for key in keys], axis=1)

    def accuracy(self, specs: Sequence[ExitSpec] | None = None, parts: Sequence[str] = ("test",)) -> Rows:
        """Yield how many clips each exit answers rightly, by group.

        Args:
            specs: Whose; all without it.
            parts: Of the data.

        Yields:
            modality, kind, method, lr_factor, epochs_factor, temperature_factor, exit, part, group, clips, correct;
            with the run. Methods that coincide for a network stand under one name.
        """
        for part in parts:
            for spec in self.specs if specs is None else specs:
                for number in range(1, NUM_EXITS):
                    where = dataclasses.asdict(spec) | {"exit": number}
                    yield from count(self.run, part, self.logits[f"{part}/{spec.key}/{number}"], where)

    def cascade_costs(self, kind: str, order: Sequence[str]) -> np.ndarray:
        """Return what leaving at each exit of the cascade costs.

        Args:
            kind: Of the internal classifiers.
            order: The networks, in the order in which they are visited.

        Returns:
            (exits,) GMAC a clip.
        """
        return costs.cascade_costs(self.run, self.kinds[kind], order, self.backbones.networks)

    def step(self, name: str, make: Callable[[Path], None], *decided_by: str) -> Path:
        """Make a step of the run that is built on the exits, or find it made.

        Args:
            name: Of the step.
            make: Writes the step's files into a folder.
            *decided_by: Beginnings of the names of parameters that decide it, beside those that decide exits.

        Returns:
            The step's folder.
        """
        plan = self.run.parameters.plan
        taken = _decided(self) | {
            "plan": {"orders": plan.orders, "chosen": plan.chosen, "kinds": plan.kinds},
            "methods": {name: dataclasses.asdict(self.methods[name]) for name in COMPARED if name in self.methods},
        }
        return steps.step(self.run, f"{name}{self.backbones.suffix}", make, *steps.EXITS, *decided_by, taken=taken)


@functools.lru_cache(maxsize=2)  # a study's runs are gone through one by one, and the logits of all would fill memory
def _read(exits: Exits) -> dict[str, np.ndarray]:
    return {key: value.double().numpy() for key, value in exits.tensors().items()}


@functools.lru_cache(maxsize=8)
def of(run: Run) -> Exits:
    """Return the exits that the parameters name.

    Args:
        run: Which split and seed.

    Returns:
        The exits.
    """
    p = run.parameters
    return Exits(backbones.of(run), specs(p), p.plan.methods)


def specs(p: Parameters) -> list[ExitSpec]:
    """List what the parameters train of internal classifiers.

    Args:
        p: The parameters.

    Returns:
        The methods of both kinds; of the light kind `ce` and `pkd` at other learning rates; and those that have a
        teacher to soften at further temperatures.
    """
    light, paper = schedules.selected(p.light_methods), schedules.selected(p.paper_methods)
    sensitive = [method for method in SENSITIVE_METHODS if method in light]
    networks = p.plan.networks
    return [
        *exit_specs(p.plan.light, light, networks=networks),
        *exit_specs(p.plan.paper, paper, networks=networks),
        *exit_specs(p.plan.light, sensitive, networks=networks, lr_factors=OTHER_LR_FACTORS),
        *tempered(p),
    ]


def tempered(p: Parameters) -> list[ExitSpec]:
    """List what the parameters train of internal classifiers at further temperatures.

    Args:
        p: The parameters.

    Returns:
        TEMPERED_METHODS of both kinds, as far as they are trained at all.
    """
    return [
        spec
        for factor in p.temperature_factors
        for kind, names in ((p.plan.light, p.light_methods), (p.plan.paper, p.paper_methods))
        for spec in exit_specs(
            kind,
            [method for method in TEMPERED_METHODS if method in schedules.selected(names)],
            networks=p.plan.networks,
            temperature_factor=factor,
        )
    ]


def record(exits: Exits, wanted: Sequence[ExitSpec]) -> dict[str, Any]:
    """Say what decides a training of exits beside the parameters, as it is recorded.

    Args:
        exits: The exits.
        wanted: Which of them are trained.

    Returns:
        JSON-compatible; `logits_step` reads it.
    """
    return _decided(exits) | {"trials": _lessons(exits, wanted)}


def write(target: Path, distilled: exit_training.Distilled) -> None:
    """Write trained exits as `weights.safetensors` and `curves.json`.

    Args:
        target: The folder.
        distilled: The exits.
    """
    tensors = {
        f"{spec.key}/{name}": value
        for spec, heads in distilled.exits.items()
        for name, value in heads.state_dict().items()
    }
    (target / "weights.safetensors").write_bytes(save(tensors))
    _files.write_json(target / "curves.json", distilled.curves)


def logits_step(exits: Exits, place: Path) -> Path:
    """Compute the logits of exits on all parts of the data.

    Args:
        exits: The exits.
        place: A folder of trained exits, as of `Exits.steps`.

    Returns:
        A folder with `logits.safetensors`: float32 (clips, classes) under `part/modality/kind/method/x1/exit`.
    """
    run = exits.run
    recorded = _files.read_json(place / store.RECORD)["made_by"]

    def make(target: Path) -> None:
        nets = {name: devices.place(net, run.parameters.device) for name, net in exits.backbones.load().items()}
        held = {ExitSpec(**lesson["trial"]): place for lesson in recorded["trials"].values()}
        heads = {spec: own.to(run.parameters.device) for spec, own in _load(exits, nets, held).items()}
        backbones.write_logits(run, target, lambda batch: _logits(run, nets, heads, batch))

    return steps.step(run, f"logits-{place.name}", make, *steps.EXITS, taken={"exits": recorded})


def _train(exits: Exits, wanted: Sequence[ExitSpec]) -> Path:
    run, p, data = exits.run, exits.run.parameters, dataset(exits.run.parameters)

    def make(target: Path) -> None:
        distilled = exit_training.train_specs(
            exits.backbones.load(),
            run.batches(data.splits[run.split].train, p.plan.networks),
            run.recipe(epochs=p.exit_epochs, lr=p.exit_lr, tuning=p.exit_tuning),
            wanted,
            num_classes=len(data.classes),
            segments=p.segments,
            methods=exits.methods,
            kinds=exits.kinds,
            loss=exits.loss,
            folder=target,
            temperature=p.exit_temperature,
        )
        if not distributed.number():
            write(target, distilled)

    decided = record(exits, wanted)
    named = {name: decided[name] for name in ("trials", "networks", "loss") if name in decided}
    named = named["trials"] if len(named) == 1 else named
    return steps.step_together(run, f"exits-{store.digest(named)[:8]}", make, *steps.EXITS, taken=decided)


def _decided(exits: Exits) -> dict[str, Any]:
    decided = steps.tunings(exits.run.parameters, *steps.EXITS) | exits.backbones.taken
    if exits.loss is not soft_cross_entropy:
        decided["loss"] = fingerprints.of_argument(exits.loss)
    return decided


def _lessons(exits: Exits, wanted: Sequence[ExitSpec]) -> dict[str, Any]:
    # A kind of exit that is the reader's own is told by its code.
    own = {kind: make for kind, make in exits.kinds.items() if exit_heads.KINDS.get(kind) is not make}
    return {
        spec.key: {"trial": dataclasses.asdict(spec), "method": dataclasses.asdict(exits.methods[spec.method])}
        | ({"kind": fingerprints.of_argument(own[spec.kind])} if spec.kind in own else {})
        for spec in wanted
    }


def _held(exits: Exits) -> dict[ExitSpec, Path]:
    # What finished steps hold of the specs, trained by this code and these settings and taught as they are now.
    run = exits.run
    lessons = _lessons(exits, exits.specs)
    decided = steps.made_by(_train, run.parameters) | _decided(exits)
    wanted = store.as_json({"settings": steps.settings(run, *steps.EXITS), "made_by": decided})
    found: dict[str, Path] = {}
    finished = [
        (folder, record, record["made_by"].pop("trials", {})) for folder, record in run.store.finished("exits-*")
    ]
    for agreement in (store.SAME, store.KEPT, store.SHIPPED):
        for folder, record, held in finished:
            if run.store.agreement(folder, record, wanted) != agreement:
                continue
            for key, lesson in store.as_json(lessons).items():
                if key not in found and (held.get(key) == lesson or (agreement == store.KEPT and key in held)):
                    run.store.tell(folder, record, wanted)
                    found[key] = folder
    return {spec: found[spec.key] for spec in exits.specs if spec.key in found}


def _load(
    exits: Exits, nets: Mapping[str, FeatureBackbone], places: Mapping[ExitSpec, Path]
) -> dict[ExitSpec, nn.ModuleList]:
    run = exits.run
    shape = (len(dataset(run.parameters).classes), run.parameters.segments)
    weights = {place: load_file(place / "weights.safetensors") for place in set(places.values())}
    loaded = {}
    for spec, place in places.items():
        heads = exits.kinds[spec.kind](nets[spec.modality], *shape)
        prefix = f"{spec.key}/"
        own = {k.removeprefix(prefix): v for k, v in weights[place].items() if k.startswith(prefix)}
        heads.load_state_dict(own)
        loaded[spec] = heads.eval()
    return loaded


@torch.no_grad()
def _logits(
    run: Run, nets: Mapping[str, FeatureBackbone], exits: Mapping[ExitSpec, nn.ModuleList], batch: list[int]
) -> Iterator[tuple[str, torch.Tensor]]:
    segments = run.parameters.segments
    features, _ = exit_training.frozen_pass(nets, backbones.evaluation_inputs(run, batch, segments))
    for spec, members in exits.items():
        for number, (exit_, stage) in enumerate(zip(members, features[spec.modality], strict=True), start=1):
            yield f"{spec.key}/{number}", exit_(stage, segments)
