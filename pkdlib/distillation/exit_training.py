r"""Train exits (internal classifiers) on frozen backbones: by labels, by progressive distillation, or otherwise.

`train_exits` hangs exits on any backbones and trains them by any schedules of teachers, on any batches. Beneath it,
`train_specs` trains what a study compares: several kinds of exits, learning rates, lengths and temperatures.

A method is data (`schedules`). All methods of all networks, and all kinds of classifiers, train in one pass: the frozen
backbones' activations and the teachers' logits are computed once a batch and shared by every classifier, and
classifiers of one shape are stacked. As Adam works on each parameter by itself and the losses are summed, each
classifier trains as it would alone.

The loss of one classifier with logits z is

.. math:: (1 - w)\, L(z, t, T) + w\, \mathrm{CE}(y, z)

with t the teacher's logits, T the temperature, y the label and w the method's label weight; L is
`losses.soft_cross_entropy` where no other is given.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pkdlib.data.batches import Batches, MicroBatch, PairedBatches
from pkdlib.distillation.losses import Loss, cross_entropy, soft_cross_entropy
from pkdlib.distillation.schedules import LABELS, METHODS, OWN, Method, MethodError, teacher_at
from pkdlib.distillation.specs import ExitSpec
from pkdlib.models import exit_heads
from pkdlib.models.backbones import FeatureBackbone, MultiExitNetwork
from pkdlib.models.exit_heads import Maker, Stack
from pkdlib.training import devices, distributed, loop
from pkdlib.training.optimisers import OPTIMISERS, lr_share, parameter_groups, set_lr
from pkdlib.training.trainer import Recipe

_ONLY = "exits"  # the kind of exits of `train_exits`


@dataclasses.dataclass(frozen=True)
class Distilled:
    """Trained internal classifiers.

    Args:
        exits: ExitSpec -> its classifiers, in eval mode, on the CPU.
        curves: A row an epoch and trial: epoch, the trial's fields, and its mean loss over batches and exits.
        epoch_results: What `after_epoch` gave after each epoch.
    """

    exits: Mapping[ExitSpec, nn.ModuleList]
    curves: list[dict[str, float | str]]
    epoch_results: list[Any]


def train_exits(
    backbones: Mapping[str, FeatureBackbone],
    batches: Any,
    schedules: Mapping[str, Method],
    recipe: Recipe,
    *,
    num_classes: int,
    exits: Maker = exit_heads.light_classifiers,
    loss: Loss = soft_cross_entropy,
    temperature: float = 1.0,
    folder: Path | None = None,
) -> dict[str, dict[str, MultiExitNetwork]]:
    """Hang exits on frozen backbones and train them by several schedules of teachers at equal budget.

    Args:
        backbones: Name -> trained network, such as `models.tapped` makes of any module. They are put in eval mode and
            do not change.
        batches: Pairs (inputs, labels), gone through once an epoch: a list, a `DataLoader`. Inputs are a mapping from a
            network's name to what it reads, (B, ...), or one tensor that all networks read; labels are (B,) integers.
        schedules: Name -> who teaches when, as `labels`, `teacher` and `progressive` make them.
        recipe: Epochs, learning rate and the rest.
        num_classes: Classes.
        exits: From (backbone, num_classes, segments) to new exits: one for each place where the backbone can stop.
        loss: Of the exits' logits beside their teacher's.
        temperature: T, which the loss is given.
        folder: Where a checkpoint is kept, by which a training that was stopped goes on; none is kept without it.

    Returns:
        Schedule -> network -> the backbone with its exits, in eval mode, on the recipe's device.

    Raises:
        MethodError: If a schedule names a teacher that is none of the networks.
        TrainingError: If a loss is not finite.

    Example:
        An exit on a network that was not trained itself, taught by the labels.

        >>> import torch
        >>> from torch import nn
        >>> from pkdlib import Recipe, labels, tapped, train_exits
        >>> _ = torch.manual_seed(0)
        >>> inputs, classes = torch.randn(64, 4), torch.arange(64) % 2
        >>> inputs[:, 0] += 4 * classes
        >>> net = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 2))
        >>> backbones = {"mine": tapped(net, at=["1"], example=inputs)}
        >>> recipe = Recipe(epochs=40, lr=0.1)
        >>> trained = train_exits(backbones, [(inputs, classes)], {"ce": labels()}, recipe, num_classes=2)
        >>> exit_, end = trained["ce"]["mine"](inputs)
        >>> bool((exit_.argmax(1) == classes).float().mean() > 0.9)
        True
    """  # noqa: DOC502
    own = PairedBatches(batches, list(backbones), seed=recipe.seed, device=recipe.device)
    wanted = [ExitSpec(network, _ONLY, schedule) for schedule in schedules for network in backbones]
    shape = {"num_classes": num_classes, "methods": schedules, "kinds": {_ONLY: exits}}
    trained = train_specs(
        backbones, own, recipe, wanted, **shape, loss=loss, temperature=temperature, folder=folder
    ).exits
    return {
        schedule: {
            name: MultiExitNetwork(
                backbone=backbone, exits=devices.place(trained[ExitSpec(name, _ONLY, schedule)], recipe.device)
            ).eval()
            for name, backbone in backbones.items()
        }
        for schedule in schedules
    }


def train_specs(
    backbones: Mapping[str, FeatureBackbone],
    batches: Batches,
    recipe: Recipe,
    wanted: Sequence[ExitSpec],
    *,
    num_classes: int,
    segments: int = 1,
    methods: Mapping[str, Method] = METHODS,
    kinds: Mapping[str, Maker] = exit_heads.KINDS,
    loss: Loss = soft_cross_entropy,
    temperature: float = 1.0,
    folder: Path | None = None,
    name: str = "exits",
    forward: Callable[..., tuple[dict[str, list[Tensor]], dict[str, Tensor]]] | None = None,
    after_epoch: Callable[[Sequence["Group"]], Any] | None = None,
) -> Distilled:
    """Train internal classifiers by several methods at equal budget, in one pass over the frozen backbones.

    The classifiers of one kind and exit start from the same weights, and all trials see the same batches and crops. The
    backbones stay in eval mode, so that their batch-norm statistics do not move. The last epoch counts; nothing is
    selected. Trials of more epochs than others go on alone.

    Args:
        backbones: What each reads -> network, trained; they are moved to the recipe's device.
        batches: Of the training.
        recipe: Epochs, learning rate and the rest.
        wanted: What to train.
        num_classes: Classes.
        segments: Segments a clip.
        methods: What the trials' methods are.
        kinds: What the trials' kinds of classifiers are.
        loss: Of the classifiers' logits beside their teacher's.
        temperature: T, which the loss is given.
        folder: Where the checkpoint lies; a training killed before resumes where it was last saved. It stays there.
            Without a folder none is kept.
        name: Of this training among those that use the folder.
        forward: Computes what `frozen_pass` does, which is the default.
        after_epoch: Called after each epoch with the groups, in eval mode; plain values, which a checkpoint can hold.

    Returns:
        The classifiers.

    Raises:
        MethodError: If a method names a teacher that is none of the networks.
        TrainingError: If a loss is not finite, or the folder holds the checkpoint of another training of this name.
    """  # noqa: DOC502
    for backbone in backbones.values():
        devices.place(backbone, recipe.device).eval().requires_grad_(False)
    shape = {"num_classes": num_classes, "segments": segments, "seed": recipe.seed}
    groups = stacked(backbones, wanted, **shape, kinds=kinds)
    groups = [devices.place(group, recipe.device) for group in groups]
    step_by = OPTIMISERS[recipe.tuning.optimiser]
    optimisers = [step_by(parameter_groups(group, recipe.tuning)) for group in groups]
    epochs = [recipe.epochs * group.epochs_factor for group in groups]

    def parts(epoch: int, first: int) -> Iterator[MicroBatch]:
        for group, optimiser, own in zip(groups, optimisers, epochs, strict=True):
            peak = recipe.lr * group.lr_factor * recipe.tuning.network_factors.get(group.modality, 1.0)
            set_lr(optimiser, peak * lr_share(recipe.tuning, epoch / own))
            group.train()
        return batches.epoch(epoch, first)

    def run_part(epoch: int, part: MicroBatch) -> Tensor:
        if part.first:
            loop.seed_dropout(recipe.seed, epoch, part.batch)
        with devices.autocast(recipe.device, recipe.precision):
            features, finals = (forward or frozen_pass)(backbones, part.inputs)
        _require_teachers(wanted, methods, finals)
        labels = functional.one_hot(part.labels, num_classes).float().to(recipe.device)
        figures = []
        for group, optimiser, own in zip(groups, optimisers, epochs, strict=True):
            share = epoch / own
            if share >= 1:
                figures.append(torch.zeros(len(group.trials), device=recipe.device))
                continue
            with devices.autocast(recipe.device, recipe.precision):
                losses = group.losses(features, finals, labels, share, segments, methods, temperature, loss)
            where = f"internal classifiers, epoch {epoch + 1}, batch {part.batch + 1}"
            loop.check_finite(losses.sum(), where, part.names)
            (losses.sum() * part.weight).backward()
            if part.last:
                distributed.average_gradients(group)
                optimiser.step()
                optimiser.zero_grad()
            figures.append(losses.detach() * part.weight / len(group.stacks))
        return torch.cat(figures)

    def end_epoch(epoch: int, figures: Tensor) -> dict[str, Any]:
        for group in groups:
            distributed.average_statistics(group)
        losses = (distributed.total(figures) / distributed.count() / len(batches)).split(
            [len(group.trials) for group in groups]
        )
        row = {"epoch": epoch, "losses": [own.tolist() for own in losses]}
        return row | {"after_epoch": after_epoch([group.eval() for group in groups]) if after_epoch else None}

    modules = {f"group{n}": group for n, group in enumerate(groups)}
    modules |= {f"optimiser{n}": optimiser for n, optimiser in enumerate(optimisers)} | dict(backbones)
    lessons = {trial.key: methods[trial.method] for trial in wanted}
    of = (recipe, batches.identity, lessons, temperature, getattr(loss, "__name__", type(loss).__name__))
    rows = loop.resumable_epochs(parts, run_part, end_epoch, max(epochs), modules, {}, folder, name=name, of=of)
    curves = [
        {"epoch": row["epoch"], **dataclasses.asdict(trial), "loss": loss}
        for row in rows
        for group, losses, last in zip(groups, row["losses"], epochs, strict=True)
        if row["epoch"] < last
        for trial, loss in zip(group.trials, losses, strict=True)
    ]
    exits = {trial: devices.fetch(exits) for group in groups for trial, exits in group.eval().unstack().items()}
    return Distilled(exits, curves, [row["after_epoch"] for row in rows])


class Group(nn.Module):
    """The trials of one network, kind, learning rate, length and temperature: a stack of classifiers a stage.

    Args:
        trials: They differ in the method alone.
        exits: The first classifiers' weights.
    """

    def __init__(self, trials: Sequence[ExitSpec], exits: nn.ModuleList):
        """Stack one copy of the classifiers for each trial."""
        super().__init__()
        self.trials = tuple(trials)
        self.modality = trials[0].modality
        self.lr_factor = trials[0].lr_factor
        self.epochs_factor = trials[0].epochs_factor
        self.temperature_factor = trials[0].temperature_factor
        self.stacks = nn.ModuleList(Stack([exit_] * len(trials)) for exit_ in exits)

    def losses(
        self,
        features: Mapping[str, Sequence[Tensor]],
        finals: Mapping[str, Tensor],
        labels: Tensor,
        progress: float,
        segments: int,
        methods: Mapping[str, Method],
        temperature: float,
        loss: Loss = soft_cross_entropy,
    ) -> Tensor:
        """Compute every trial's loss, summed over its exits.

        Args:
            features: Of `frozen_pass`.
            finals: Of `frozen_pass`.
            labels: (B, classes), one-hot.
            progress: Share of the epochs done.
            segments: Segments a clip.
            methods: What the trials' methods are.
            temperature: T, of trials whose factor on it is 1.
            loss: Of logits beside their teacher's.

        Returns:
            (trials,).
        """
        temperature = temperature * self.temperature_factor
        teachers = [teacher_at(methods[trial.method].stages, progress) for trial in self.trials]
        teachers = [self.modality if teacher == OWN else teacher for teacher in teachers]
        weights = [
            1.0 if teacher == LABELS else methods[trial.method].label_weight
            for trial, teacher in zip(self.trials, teachers, strict=True)
        ]
        label_weights = labels.new_tensor(weights)
        # Where the labels teach, any logits will do, since their weight is 0.
        taught_by = torch.stack([finals[self.modality if t == LABELS else t].float() for t in teachers])
        total = labels.new_zeros(len(self.trials))
        for stack, stage in zip(self.stacks, features[self.modality], strict=True):
            logits = stack(stage, segments).float()
            taught = loss(logits, taught_by, temperature)
            labelled = cross_entropy(logits, labels.expand_as(logits))
            total = total + (1 - label_weights) * taught + label_weights * labelled
        return total

    def unstack(self) -> dict[ExitSpec, nn.ModuleList]:
        """Take the trials' classifiers out.

        Returns:
            ExitSpec -> its classifiers.
        """
        members = [stack.unstack() for stack in self.stacks]
        return {
            trial: nn.ModuleList(exits) for trial, exits in zip(self.trials, zip(*members, strict=True), strict=True)
        }


def stacked(
    backbones: Mapping[str, FeatureBackbone],
    wanted: Sequence[ExitSpec],
    *,
    num_classes: int,
    segments: int,
    seed: int,
    kinds: Mapping[str, Maker] = exit_heads.KINDS,
) -> list[Group]:
    """Make new classifiers for trials, in groups that can be computed together.

    Args:
        backbones: What each reads -> network.
        wanted: The trials.
        num_classes: Classes.
        segments: Segments a clip.
        seed: Of the weights, which are the same for all trials of a network and kind.
        kinds: What the trials' kinds are.

    Returns:
        The groups.
    """
    alike: dict[tuple, list[ExitSpec]] = {}
    for trial in wanted:
        shape = (trial.modality, trial.kind, trial.lr_factor, trial.epochs_factor, trial.temperature_factor)
        alike.setdefault(shape, []).append(trial)
    groups = []
    for (modality, kind, *_), members in alike.items():
        torch.manual_seed(seed)
        groups.append(Group(members, kinds[kind](backbones[modality], num_classes, segments)))
    return groups


@torch.no_grad()
def frozen_pass(
    backbones: Mapping[str, FeatureBackbone], batch: Mapping[str, Tensor]
) -> tuple[dict[str, list[Tensor]], dict[str, Tensor]]:
    """Compute what the exits read and the final logits of the frozen backbones, once for every classifier.

    Args:
        backbones: What each reads -> network, in eval mode.
        batch: What they read -> (B, ...), for networks of clips (B, segments, C, H, W).

    Returns:
        Of each network what its exits read; and the final logits (B, classes) of each network, and of each
        modality that a network joins: the teachers.
    """
    features, finals = {}, {}
    for modality, backbone in backbones.items():
        rows, segments = backbone.rows(batch[modality])
        *features[modality], last = backbone.features(rows)
        finals |= {modality: backbone.classify(last, segments), **backbone.branches(last, segments)}
    return features, finals


def _require_teachers(wanted: Sequence[ExitSpec], methods: Mapping[str, Method], finals: Mapping[str, Tensor]) -> None:
    for trial in wanted:
        for stage in methods[trial.method].stages:
            if stage.teacher not in (LABELS, OWN, *finals):
                raise MethodError(
                    f"method {trial.method!r}: the teacher {stage.teacher!r} is not known; teachers are "
                    f"{', '.join(finals)}, {OWN} (the student's own network) and {LABELS}"
                )
