"""Measure how much of a gain is protocol: repeat the reference's choices one at a time, and all together.

The choices: the best epoch by test accuracy, twice the epochs for PKD, backbones whose batch-norm statistics drift
while classifiers train, weights fitted on training logits, WISE compared with one network alone, and cost counted for
right answers only. For the first three, classifiers (light ones, or the paper's: `audit_classifiers`) are trained anew,
with the test clips answered after every epoch; those answers are read nowhere else.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor

from pkdlib.companion import workspace
from pkdlib.companion.experiments import fusion, operating_points
from pkdlib.companion.experiments.counts import Rows, by_group, labels
from pkdlib.companion.experiments.exits import Exits
from pkdlib.companion.parameters import Parameters
from pkdlib.companion.workspace import Run
from pkdlib.distillation import exit_training
from pkdlib.distillation.exit_training import Group
from pkdlib.distillation.specs import ExitSpec
from pkdlib.early_exit import policies
from pkdlib.models.backbones import FeatureBackbone
from pkdlib.models.exit_heads import Fixed, Unchanged, internal_classifiers
from pkdlib.training import devices

# From the choices that are on to each test clip's part in a gain.
Gain = Callable[[Sequence[str]], np.ndarray]
ANSWERS = "answers.safetensors"
DOUBLE = 2  # PKD's epochs in the reference, as a multiple of cross-entropy's
CONFIDENCE = 0.9  # at which the reference's cascade leaves where its cost is counted
METHOD = "pkd"

# Gain -> switch -> the reference's choices that it turns on.
SWITCHES = {
    "PKD - CE": {
        "clean": (),
        "selection on test": ("test",),
        "double epochs for PKD": ("double",),
        "drifting batch norm": ("drift",),
        "all together": ("test", "double", "drift"),
    },
    "WISE - fusion": {
        "clean": (),
        "weights fitted on training logits": ("train",),
        "compared with one network": ("alone",),
        "all together": ("train", "alone"),
    },
    "cost saved": {"clean": (), "cost of right answers only": ("right",)},
}


def audit_step(exits: Exits) -> Path:
    """Train classifiers under the reference's choices, looking at the test clips after every epoch.

    Args:
        exits: Of whose networks, and by whose methods.

    Returns:
        A folder with `answers.safetensors`: uint8 (epochs, exits, clips), 1 where a test clip was right, under
        `clean/` or `drift/` and the trial's key.
    """
    run, p, data = exits.run, exits.run.parameters, workspace.dataset(exits.run.parameters)
    lengths = (("ce", 1), ("pkd", 1), ("pkd", DOUBLE))
    kind = _audited(p)
    trials = [ExitSpec(name, kind, method, epochs_factor=n) for name in p.plan.networks for method, n in lengths]

    def make(target: Path) -> None:
        seen = {}
        for name, forward in (("clean", exit_training.frozen_pass), ("drift", drifting_pass)):
            backbones = {m: devices.place(net, p.device) for m, net in exits.backbones.load().items()}
            answers = _TestAnswers(run, backbones, moving=name == "drift")
            distilled = exit_training.train_specs(
                backbones,
                run.batches(data.splits[run.split].train, p.plan.networks),
                run.recipe(epochs=p.audit_epochs, lr=p.exit_lr, tuning=p.exit_tuning),
                trials,
                num_classes=len(data.classes),
                segments=p.segments,
                folder=target,
                methods=exits.methods,
                temperature=p.exit_temperature,
                name=f"{name} exits",
                forward=forward,
                after_epoch=answers,
            )
            for trial in trials:
                answered = distilled.epoch_results[: p.audit_epochs * trial.epochs_factor]
                seen[f"{name}/{trial.key}"] = torch.stack([own[trial.key] for own in answered])
        (target / ANSWERS).write_bytes(save(seen))

    return exits.step("audit", make, "audit_")


@torch.no_grad()
def drifting_pass(
    backbones: Mapping[str, FeatureBackbone], batch: Mapping[str, Tensor]
) -> tuple[dict[str, list[Tensor]], dict[str, Tensor]]:
    """Compute what `exit_training.frozen_pass` does in training mode, as the reference: batch-norm statistics move.

    Args:
        backbones: As `exit_training.frozen_pass` takes them; in eval mode again afterwards.
        batch: As there.

    Returns:
        As `exit_training.frozen_pass`.
    """
    for backbone in backbones.values():
        backbone.train()
    outputs = exit_training.frozen_pass(backbones, batch)
    for backbone in backbones.values():
        backbone.eval()
    return outputs


def audit(exits: Exits, switches: Mapping[str, Mapping[str, Sequence[str]]] = MappingProxyType(SWITCHES)) -> Rows:
    """Yield each gain under each switch.

    Args:
        exits: The exits.
        switches: Gain -> switch -> the reference's choices that it turns on.

    Yields:
        gain, switch, group, clips, difference: percentage points of accuracy (for `PKD - CE` the mean over the internal
        classifiers), or of the cost of running everything for `cost saved`; with the run.
    """
    run = exits.run
    measured = {"PKD - CE": _distillation, "WISE - fusion": _wise, "cost saved": _saving}
    for gain, own in switches.items():
        gained = measured[gain](exits)
        for switch, choices in own.items():
            values = gained(choices)
            for group, members in by_group(run, "test"):
                difference = float(values[members].mean())
                where = {**run.columns, "gain": gain, "switch": switch, "group": group}
                yield {**where, "clips": len(members), "difference": difference}


def _distillation(exits: Exits) -> Gain:
    p = exits.run.parameters
    seen = {key: value.numpy() for key, value in load_file(audit_step(exits) / ANSWERS).items()}

    def gain(choices: Sequence[str]) -> np.ndarray:
        name = "drift" if "drift" in choices else "clean"
        longer = DOUBLE if "double" in choices else 1

        def right(method: str, factor: int) -> np.ndarray:
            trials = [ExitSpec(reads, _audited(p), method, epochs_factor=factor) for reads in p.plan.networks]
            answered = [seen[f"{name}/{trial.key}"] for trial in trials]
            epochs, count, _ = np.concatenate(answered, axis=1).shape
            answered = np.concatenate(answered, axis=1)
            best = answered.mean(axis=2).argmax(axis=0) if "test" in choices else np.full(count, epochs - 1)
            return answered[best, np.arange(count)].mean(axis=0)

        return 100 * (right("pkd", longer) - right("ce", 1))

    return gain


def _wise(exits: Exits) -> Gain:
    truth, p = labels(exits.run, "test"), exits.run.parameters
    cascade = (p.plan.paper, METHOD)
    logits = fusion.stacked(exits, "test", *cascade)

    def right(scores: np.ndarray) -> np.ndarray:
        return (scores.argmax(axis=1) == truth).astype(float)

    def gain(choices: Sequence[str]) -> np.ndarray:
        weights = fusion.weights(exits, *cascade, part="train" if "train" in choices else "validation")[-1]
        fused = fusion.late_fusion(exits, p.segments)
        baseline = logits[:, -1] if "alone" in choices else fused
        return 100 * (right(np.einsum("nkc,k->nc", logits, weights)) - right(baseline))

    return gain


def _saving(exits: Exits) -> Gain:
    plan = exits.run.parameters.plan
    system = operating_points.System(plan.paper, METHOD, plan.orders[0])
    scores, prices = system.scores(exits, "test"), system.costs(exits)
    left = policies.leave_at(scores, CONFIDENCE)
    right = scores[np.arange(len(left)), left].argmax(axis=1) == labels(exits.run, "test")

    def gain(choices: Sequence[str]) -> np.ndarray:
        # The reference multiplies an exit's cost by the number of its right answers: a wrong one is free.
        paid = np.where(right | ("right" not in choices), prices[left], 0)
        return 100 * (1 - paid / prices[-1])

    return gain


def _audited(p: Parameters) -> str:
    return {"light": p.plan.light, "paper": p.plan.paper}[p.audit_classifiers]


class _TestAnswers:
    # Looks at the test clips: from groups of classifiers to each trial's uint8 (exits, clips). Light classifiers see
    # nothing of a stage but what their body makes of it, which has nothing to learn; of backbones that do not move
    # that is computed once. The paper's see the stage, which is too large to keep.
    def __init__(self, run: Run, backbones: Mapping[str, FeatureBackbone], *, moving: bool):
        self.run, self.backbones = run, backbones
        p = run.parameters
        shape = {"num_classes": 1, "segments": p.segments}
        exits = {name: internal_classifiers(_audited(p), backbone=net, **shape) for name, net in backbones.items()}
        bodies = {name: [exit_.body for exit_ in own] for name, own in exits.items()}
        light = all(isinstance(body, Fixed) for own in bodies.values() for body in own)
        self.bodies = bodies if light else {name: [Unchanged() for _ in own] for name, own in bodies.items()}
        self.kept = list(self._reduced()) if light and not moving else None

    @torch.no_grad()
    def __call__(self, groups: Sequence[Group]) -> dict[str, Tensor]:
        found: dict[str, list[Tensor]] = {}
        for reduced, truth in self.kept or self._reduced():
            for group in groups:
                stages = zip(group.stacks, reduced[group.modality], strict=True)
                logits = [stack(stage, self.run.parameters.segments) for stack, stage in stages]
                answers = torch.stack(logits, dim=1).argmax(dim=-1)  # (trials, exits, clips)
                for trial, own in zip(group.trials, answers, strict=True):
                    found.setdefault(trial.key, []).append((own.cpu() == truth).to(torch.uint8))
        return {key: torch.cat(parts, dim=1) for key, parts in found.items()}

    def _reduced(self) -> Iterator[tuple[dict[str, list[Tensor]], Tensor]]:
        p, test = self.run.parameters, workspace.dataset(self.run.parameters).splits[self.run.split].test
        for batch, truth in self.run.evaluation(test, p.plan.networks):
            features, _ = exit_training.frozen_pass(self.backbones, batch)
            reduced = {
                name: [body(stage) for body, stage in zip(self.bodies[name], stages, strict=True)]
                for name, stages in features.items()
            }
            yield reduced, truth
