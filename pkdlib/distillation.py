"""Train internal classifiers on frozen backbones: cross-entropy, progressive knowledge distillation, and others.

A method is data: a schedule of teachers. All methods of all modalities train in one pass: the frozen backbones'
activations and the teachers' logits are computed once a batch and shared by every classifier. As Adam works on each
parameter by itself and the losses are summed, each classifier trains exactly as it would alone.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from pkdlib import clips, networks, training
from pkdlib.clips import FrameBank
from pkdlib.datasets import Split
from pkdlib.networks import MODALITIES

LABELS = "labels"
# The reference divides the learning rate by 10 at 150, 200 and 250 of PKD's 300 epochs.
LR_MILESTONES = (1 / 2, 2 / 3, 5 / 6)
LR_DECAY = 0.1


@dataclasses.dataclass(frozen=True)
class Stage:
    """A part of a schedule.

    Args:
        teacher: A modality, whose network's final logits teach; or `labels`.
        share: Its share of the epochs.
    """

    teacher: str
    share: float


# PKD's stages take 50, 50 and 200 of the reference's 300 epochs. (There the third teacher is the student's own final
# exit; the paper's abstract names the I-frame network, and so does this schedule.)
METHODS: dict[str, tuple[Stage, ...]] = {
    "ce": (Stage(LABELS, 1),),
    "pkd": (Stage("motion", 1 / 6), Stage("residual", 1 / 6), Stage("iframe", 4 / 6)),
}


@dataclasses.dataclass(frozen=True)
class Distilled:
    """Trained internal classifiers.

    Args:
        exits: Modality -> method -> three classifiers, in eval mode.
        curves: A row an epoch: epoch, and the mean loss of each (modality, method) over exits.
    """

    exits: Mapping[str, Mapping[str, nn.ModuleList]]
    curves: list[dict[str, float]]


def train_exits(
    backbones: Mapping[str, networks.Backbone],
    bank: FrameBank,
    split: Split,
    recipe: training.Recipe,
    *,
    num_classes: int,
    folder: Path,
    methods: Sequence[str] = tuple(METHODS),
    temperature: float = 1.0,
) -> Distilled:
    """Train internal classifiers by several methods at equal budget, in one pass over the frozen backbones.

    Every method starts from the same weights and sees the same batches, crops and learning rates. The backbones stay
    in eval mode, so that their batch-norm statistics do not move. The last epoch counts; nothing is selected.

    Args:
        backbones: One for each modality, trained.
        bank: Decoded frames.
        split: Which clips train.
        recipe: Epochs, learning rate and the rest; the rate falls tenfold at LR_MILESTONES.
        num_classes: Classes.
        folder: Where the checkpoint lies; a training killed before resumes from its last whole epoch.
        methods: Keys of METHODS.
        temperature: Of the soft targets.

    Returns:
        The classifiers.

    Raises:
        TrainingError: If a loss is not finite.
    """  # noqa: DOC502
    for backbone in backbones.values():
        backbone.eval().requires_grad_(False)
    exits = new_exits(backbones, methods, num_classes=num_classes, seed=recipe.seed)
    parameters = [parameter for name in exits for parameter in exits[name].parameters()]
    optimiser = torch.optim.Adam(parameters, lr=recipe.lr, eps=training.ADAM_EPS)

    def run_epoch(epoch: int) -> dict[str, float]:
        teachers = {method: teacher_at(METHODS[method], epoch / recipe.epochs) for method in methods}
        training.set_lr(optimiser, recipe.lr * step_decay(epoch / recipe.epochs))
        for module in exits.values():
            module.train()
        sums = dict.fromkeys(exits, 0.0)
        batches = list(training.shuffled_batches(split.train, recipe.batch_size, recipe.seed, epoch))
        for step, indices in enumerate(batches):
            batch = clips.training_batch(
                bank,
                indices,
                modalities=MODALITIES,
                size=recipe.input_size,
                segments=recipe.segments,
                seed=recipe.seed,
                epoch=epoch,
            )
            features, finals = frozen_pass(backbones, batch)
            targets = {LABELS: functional.one_hot(bank.labels[indices], num_classes).float()}
            targets |= {name: functional.softmax(final / temperature, dim=1) for name, final in finals.items()}
            losses = {}
            for key, module in exits.items():
                modality, method = key.split("-")
                teacher = teachers[method]
                heat = 1.0 if teacher == LABELS else temperature
                losses[key] = sum(
                    soft_cross_entropy(exit_(stage, recipe.segments), targets[teacher], heat)
                    for exit_, stage in zip(module, features[modality], strict=True)
                )
            total = sum(losses.values())
            training.check_finite(total, f"internal classifiers, epoch {epoch + 1}, batch {step + 1}")
            optimiser.zero_grad()
            total.backward()
            optimiser.step()
            for key, loss in losses.items():
                sums[key] += loss.item() / len(exits[key])
        return {"epoch": epoch, **{key: value / len(batches) for key, value in sums.items()}}

    checkpoint = folder / training.CHECKPOINT
    curves = training.resumable_epochs(
        run_epoch, recipe.epochs, {**exits, "optimiser": optimiser}, {}, checkpoint, description="exits"
    )
    checkpoint.unlink()
    nested = {m: {method: exits[f"{m}-{method}"].eval() for method in methods} for m in backbones}
    return Distilled(nested, curves)


def new_exits(
    backbones: Mapping[str, networks.Backbone], methods: Sequence[str], *, num_classes: int, seed: int
) -> dict[str, nn.ModuleList]:
    """Make new classifiers, the same initial weights for every method of a modality.

    Args:
        backbones: One for each modality.
        methods: Keys of METHODS.
        num_classes: Classes.
        seed: Of the weights.

    Returns:
        `modality-method` -> three classifiers.
    """
    exits = {}
    for modality, backbone in backbones.items():
        for method in methods:
            torch.manual_seed(seed)
            exits[f"{modality}-{method}"] = networks.internal_classifiers(backbone=backbone, num_classes=num_classes)
    return exits


@torch.no_grad()
def frozen_pass(
    backbones: Mapping[str, networks.Backbone], batch: Mapping[str, Tensor]
) -> tuple[dict[str, list[Tensor]], dict[str, Tensor]]:
    """Compute all stages' outputs and the final logits of the frozen backbones, once for every classifier.

    Args:
        backbones: One for each modality, in eval mode.
        batch: Modality -> (B, segments, C, H, W).

    Returns:
        Modality -> the outputs of stages 1 to 3, and modality -> final logits (B, classes).
    """
    features, finals = {}, {}
    for modality, backbone in backbones.items():
        inputs = batch[modality]
        *first_three, last = backbone.features(inputs.flatten(0, 1))
        features[modality] = first_three
        finals[modality] = backbone.classify(last, inputs.shape[1])
    return features, finals


def soft_cross_entropy(logits: Tensor, targets: Tensor, temperature: float = 1.0) -> Tensor:
    r"""Compute the distillation loss :math:`-T^2 \frac{1}{B} \sum_b \sum_c p_{bc} \log \mathrm{softmax}(z_b / T)_c`.

    The factor :math:`T^2` keeps the gradient's size (Hinton et al., 2015); the reference trains at T = 1.

    Args:
        logits: z, (B, classes), the student's.
        targets: p, (B, classes), the teacher's probabilities at the same temperature.
        temperature: T.

    Returns:
        A scalar.
    """
    log_probabilities = functional.log_softmax(logits / temperature, dim=1)
    return -(targets * log_probabilities).sum(dim=1).mean() * temperature**2


def teacher_at(schedule: Sequence[Stage], progress: float) -> str:
    """Say who teaches at a point of the training.

    Args:
        schedule: A method's stages; their shares sum to 1.
        progress: Share of the epochs done, 0 <= progress < 1.

    Returns:
        A modality, or `labels`.
    """
    end = 0.0
    for stage in schedule:
        end += stage.share
        # The tolerance keeps a boundary that falls on a whole epoch there, whatever the rounding of the shares.
        if progress < end - 1e-9:
            return stage.teacher
    return schedule[-1].teacher


def step_decay(progress: float) -> float:
    """Return the learning rate's share of its start: a tenth less at each milestone passed.

    Args:
        progress: Share of the epochs done.

    Returns:
        1, 0.1, 0.01 or 0.001.
    """
    return LR_DECAY ** sum(progress >= milestone - 1e-9 for milestone in LR_MILESTONES)
