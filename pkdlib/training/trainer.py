"""How one network is trained by a recipe, on any batches."""

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from pkdlib.data.batches import Batches, MicroBatch
from pkdlib.models.backbones import FeatureBackbone
from pkdlib.training import devices, distributed, loop, optimisers, target_loss
from pkdlib.training.loop import TrainingError as TrainingError
from pkdlib.training.tuning import Tuning

# With fewer validation clips than this, one clip is worth too much to choose an epoch by: the last one counts.
FEWEST_VALIDATION_CLIPS = 40


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train, on any batches.

    Args:
        epochs: Passes over the training samples.
        lr: Peak learning rate.
        tuning: The optimiser, and how the learning rate moves.
        seed: Of initial weights and of dropout.
        device: Where to train, as `devices.prepare` takes it; what is trained stays there.
        precision: Of matrix products and convolutions, a key of `devices.PRECISIONS`.
        compiled: Whether a backbone's passes are compiled, which takes a minute and a C++ compiler.

    Example:
        >>> from pkdlib import Recipe
        >>> from pkdlib.training import Tuning
        >>> recipe = Recipe(epochs=30, lr=0.01, tuning=Tuning(optimiser="sgd", milestones=(0.5,)), device="cpu")
        >>> recipe.tuning.optimiser, recipe.seed
        ('sgd', 0)
    """

    epochs: int
    lr: float
    tuning: Tuning = dataclasses.field(default_factory=Tuning)
    seed: int = 0
    device: str = "cpu"
    precision: str = "float32"
    compiled: bool = False


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained backbone and how it came to be.

    Args:
        backbone: In eval mode.
        curves: A row an epoch: epoch, train_loss, train_accuracy, validation_loss, validation_accuracy.
        epoch: The epoch, from 0, whose weights were kept.
    """

    backbone: FeatureBackbone
    curves: list[dict[str, float]]
    epoch: int


def train_backbone(
    backbone: FeatureBackbone,
    reads: str,
    batches: Batches,
    validation: Iterable[tuple[Mapping[str, Tensor], Tensor]],
    recipe: Recipe,
    *,
    folder: Path | None = None,
    until: target_loss.Level | None = None,
) -> Trained:
    """Train one network by cross-entropy.

    Args:
        backbone: The network as it begins; it is trained in place, on the recipe's device.
        reads: What it reads of a batch's inputs.
        batches: Of the training.
        validation: Pairs (inputs, labels), which are gone through after each epoch.
        recipe: How to train.
        folder: Where the checkpoint lies; a training killed before resumes where it was last saved. It stays there.
            Without a folder none is kept.
        until: A loss at which the training ends: in the first epoch that comes to its end there or below. All of one
            process.

    Returns:
        The weights of the epoch of the highest validation accuracy, and the lower validation loss among equals; of the
        last epoch where the validation samples are fewer than FEWEST_VALIDATION_CLIPS; where a loss is given, those at
        which the last epoch came down to it for good, or the last epoch's if none did.

    Raises:
        TrainingError: If the loss is not finite, or the folder holds the checkpoint of another such training.
    """  # noqa: DOC502
    devices.place(backbone, recipe.device)
    optimiser = optimisers.OPTIMISERS[recipe.tuning.optimiser](optimisers.parameter_groups(backbone, recipe.tuning))
    best: dict[str, Any] = {"key": (-1.0, 0.0), "epoch": -1, "weights": {}, loop.ENDED: False}
    peak = recipe.lr * recipe.tuning.network_factors.get(reads, 1.0)

    # Shared outside, so that `distributed.holding` finds what it holds.
    forward = distributed.shared(torch.compile(backbone) if recipe.compiled else backbone)
    descent = target_loss.Descent(backbone, until) if until else None

    def parts(epoch: int, first: int) -> Iterator[MicroBatch]:
        backbone.train()
        if descent:
            descent.stand()
        return batches.epoch(epoch, first)

    def run_part(epoch: int, part: MicroBatch) -> Tensor:
        if part.first:
            loop.seed_dropout(recipe.seed, epoch, part.batch)
            progress = (epoch + part.share) / recipe.epochs
            optimisers.set_lr(optimiser, peak * optimisers.lr_share(recipe.tuning, progress))
            if descent:
                descent.begin_step()
        labels = part.labels.to(recipe.device)
        with distributed.holding(forward, part.last):
            with devices.autocast(recipe.device, recipe.precision):
                logits = forward(part.inputs[reads])
            loss = functional.cross_entropy(logits.float(), labels)
            loop.check_finite(loss, f"{reads} backbone, epoch {epoch + 1}, batch {part.batch + 1}", part.names)
            (loss * part.weight).backward()
        if part.last:
            optimiser.step()
            optimiser.zero_grad()
            if descent and (weights := descent.end_step()):
                best.update(epoch=epoch, weights=weights)
        count, correct = len(labels), int((logits.argmax(1) == labels).sum())
        return torch.tensor([loss.item() * count, correct, count], dtype=torch.float64)

    def end_epoch(epoch: int, figures: Tensor) -> dict[str, float]:
        distributed.average_statistics(backbone)
        losses, correct, count = distributed.total(figures.to(recipe.device)).tolist()
        logits, labels = predict(backbone, reads, validation, recipe)
        row = {
            "epoch": epoch,
            "train_loss": losses / count,
            "train_accuracy": correct / count,
            "validation_loss": functional.cross_entropy(logits, labels).item(),
            "validation_accuracy": (logits.argmax(1) == labels).double().mean().item(),
        }
        best[loop.ENDED] = descent is not None and descent.is_down
        chosen = not until and len(labels) >= FEWEST_VALIDATION_CLIPS
        key = (row["validation_accuracy"], -row["validation_loss"]) if chosen else (epoch, 0.0)
        came_down = best[loop.ENDED] and best["epoch"] == epoch  # kept in the step that did
        if key > tuple(best["key"]) and not came_down:
            weights = {name: value.clone() for name, value in backbone.state_dict().items()}
            best.update(key=key, epoch=epoch, weights=weights)
        return row

    curves = loop.resumable_epochs(
        parts,
        run_part,
        end_epoch,
        recipe.epochs,
        {"backbone": backbone, "optimiser": optimiser},
        best,
        folder,
        name=f"{reads} backbone",
        of=(recipe, batches.identity, until and until.loss),
    )
    backbone.load_state_dict(best["weights"])
    return Trained(backbone.eval(), curves, best["epoch"])


@torch.no_grad()
def predict(
    backbone: nn.Module, reads: str, pairs: Iterable[tuple[Mapping[str, Tensor], Tensor]], recipe: Recipe
) -> tuple[Tensor, Tensor]:
    """Compute a network's logits of samples.

    Args:
        backbone: The network; put in eval mode.
        reads: What it reads of the inputs.
        pairs: Inputs and labels, batch by batch.
        recipe: Gives device and precision.

    Returns:
        (samples, classes) and (samples,), on the CPU.
    """
    backbone.eval()
    logits, labels = [], []
    for inputs, own in pairs:
        with devices.autocast(recipe.device, recipe.precision):
            logits.append(backbone(inputs[reads]).float().cpu())
        labels.append(own)
    return torch.cat(logits), torch.cat(labels)
