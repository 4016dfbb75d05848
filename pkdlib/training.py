"""One loop for backbones, and the epochs of any training: resumable, with the same bits as an uninterrupted run."""

import dataclasses
import fnmatch
import functools
import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from pkdlib import architectures, clips, devices, pretrained, runs
from pkdlib.clips import FrameBank
from pkdlib.datasets import Split
from pkdlib.networks import Staged
from pkdlib.plans import Tuning

CHECKPOINT = "checkpoint.pt"
# The reference's Adam and SGD. What is particular to some parameters stands in their group.
OPTIMISERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": functools.partial(torch.optim.Adam, eps=1e-3),
    "sgd": functools.partial(torch.optim.SGD, momentum=0.9),
}
# From a network in eval mode after an epoch, and the epoch's row of the curves, to how much its weights are wanted.
Preference = Callable[[Staged, dict[str, float]], tuple[float, float]]
WARM_UP = 0.1
LR_DECAY = 0.1
CHECKPOINT_SPACING = 9  # seconds of training for each that a checkpoint takes
# With fewer validation clips than this, one clip is worth too much to choose an epoch by: the last one counts.
FEWEST_VALIDATION_CLIPS = 40


class TrainingError(Exception):
    """A training that cannot go on; the message says where."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to train: the same for every network of a backbone.

    Args:
        size: Of the networks, a key of `networks.BACKBONES`.
        input_size: Side of the input, in pixels.
        segments: TSN segments.
        batch_size: Clips a batch.
        epochs: Passes over the training clips.
        lr: Peak learning rate.
        tuning: The optimiser, and how the learning rate moves.
        seed: Of the initial weights, the order of clips, the crops and flips.
        device: Where to train, as `devices.prepare` takes it; what is trained stays there.
        precision: Of matrix products and convolutions, a key of `devices.PRECISIONS`.
    """

    size: str
    input_size: int
    segments: int
    batch_size: int
    epochs: int
    lr: float
    tuning: Tuning
    seed: int
    device: str = "cpu"
    precision: str = "float32"


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained backbone and how it came to be.

    Args:
        backbone: In eval mode.
        curves: A row an epoch: epoch, train_loss, train_accuracy, validation_loss, validation_accuracy.
        epoch: The epoch, from 0, whose weights were kept.
    """

    backbone: Staged
    curves: list[dict[str, float]]
    epoch: int


def train_backbone(
    modality: str,
    bank: FrameBank,
    split: Split,
    recipe: Recipe,
    *,
    num_classes: int,
    folder: Path,
    weights: str = "",
    preference: Preference | None = None,
) -> Trained:
    """Train one network of a backbone by cross-entropy.

    Args:
        modality: What it reads, a key of `networks.CHANNELS`.
        bank: Decoded frames.
        split: Which clips train and validate; the test clips are not read.
        recipe: How to train.
        num_classes: Classes.
        folder: Where the checkpoint lies; a training killed before resumes from its last whole epoch.
        weights: What the network begins from, as `pretrained.begin` takes it.
        preference: From the network in eval mode after an epoch, and that epoch's row of the curves, to how much its
            weights are wanted; by default the validation accuracy, and the lower validation loss among equals, or
            the last epoch where the validation clips are fewer than FEWEST_VALIDATION_CLIPS.

    Returns:
        The weights of the epoch that is most wanted, the first among equals.

    Raises:
        TrainingError: If the loss is not finite.
    """  # noqa: DOC502
    torch.manual_seed(recipe.seed)
    backbone = architectures.backbone(reads=modality, size=recipe.size, num_classes=num_classes)
    pretrained.begin(backbone, modality, weights)
    devices.place(backbone, recipe.device)
    optimiser = OPTIMISERS[recipe.tuning.optimiser](parameter_groups(backbone, recipe.tuning))
    best: dict[str, Any] = {"key": (-1.0, 0.0), "epoch": -1, "weights": {}}
    peak = recipe.lr * recipe.tuning.network_factors.get(modality, 1.0)
    preference = preference or (_validated if len(split.validation) >= FEWEST_VALIDATION_CLIPS else _late)

    def run_epoch(epoch: int) -> dict[str, float]:
        seed_dropout(recipe.seed, epoch)
        backbone.train()
        losses, correct, count = 0.0, 0, 0
        batches = list(shuffled_batches(split.train, recipe.batch_size, recipe.seed, epoch))
        for step, indices in enumerate(batches):
            progress = (epoch + step / len(batches)) / recipe.epochs
            set_lr(optimiser, peak * lr_share(recipe.tuning, progress))
            batch = clips.training_batch(
                bank,
                indices,
                modalities=[modality],
                size=recipe.input_size,
                segments=recipe.segments,
                seed=recipe.seed,
                epoch=epoch,
                device=recipe.device,
            )[modality]
            labels = bank.labels[indices].to(recipe.device)
            with devices.autocast(recipe.device, recipe.precision):
                logits = backbone(batch)
            loss = functional.cross_entropy(logits.float(), labels)
            check_finite(loss, f"{modality} backbone, epoch {epoch + 1}, batch {step + 1}", bank, indices)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses += loss.item() * len(indices)
            correct += int((logits.argmax(1) == labels).sum())
            count += len(indices)
        validation = predict(backbone, modality, bank, split.validation, recipe)
        labels = bank.labels[list(split.validation)]
        row = {
            "epoch": epoch,
            "train_loss": losses / count,
            "train_accuracy": correct / count,
            "validation_loss": functional.cross_entropy(validation, labels).item(),
            "validation_accuracy": (validation.argmax(1) == labels).double().mean().item(),
        }
        key = preference(backbone, row)
        if key > tuple(best["key"]):
            weights = {name: value.clone() for name, value in backbone.state_dict().items()}
            best.update(key=key, epoch=epoch, weights=weights)
        return row

    curves = resumable_epochs(
        run_epoch,
        recipe.epochs,
        {"backbone": backbone, "optimiser": optimiser},
        best,
        folder / CHECKPOINT,
        description=f"{modality} backbone",
    )
    backbone.load_state_dict(best["weights"])
    (folder / CHECKPOINT).unlink()
    return Trained(backbone.eval(), curves, best["epoch"])


def resumable_epochs(
    run_epoch: Callable[[int], dict[str, float]],
    epochs: int,
    modules: Mapping[str, Any],
    notes: dict[str, Any],
    checkpoint: Path,
    *,
    description: str,
) -> list[dict[str, float]]:
    """Run epochs, saving all state after them, and go on after the last one saved if there is a checkpoint.

    State is saved after an epoch unless that would take more than a tenth of the time: then after a later one.

    An epoch must draw all that is random from (seed, epoch), so that a resumed run ends with the same bits.

    Args:
        run_epoch: Called with the epoch, from 0; returns its row of the curves.
        epochs: How many in all.
        modules: What has a `state_dict` to save.
        notes: Plain values and tensors to save beside; changed in place on resuming.
        checkpoint: The file.
        description: For the progress bar.

    Returns:
        The rows of all epochs.
    """
    curves: list[dict[str, float]] = []
    due = 0.0
    if checkpoint.is_file():
        state = torch.load(checkpoint, weights_only=True)
        for name, module in modules.items():
            module.load_state_dict(state["modules"][name])
        notes.update(state["notes"])
        curves = state["curves"]
    for epoch in tqdm(range(len(curves), epochs), desc=description, unit="epoch", disable=None):
        curves.append(run_epoch(epoch))
        began = time.perf_counter()
        if began < due:
            continue
        states = {name: module.state_dict() for name, module in modules.items()}
        state = {"modules": states, "notes": notes, "curves": curves}
        buffer = io.BytesIO()  # on a full disk torch's own writer fails with a riddle, Python's with a reason
        torch.save(state, buffer)
        runs.write_atomically(checkpoint, lambda path, buffer=buffer: path.write_bytes(buffer.getbuffer()))
        saved = time.perf_counter()
        due = saved + CHECKPOINT_SPACING * (saved - began)
    return curves


@torch.no_grad()
def predict(backbone: nn.Module, modality: str, bank: FrameBank, indices: Sequence[int], recipe: Recipe) -> Tensor:
    """Compute a backbone's logits of clips by test sampling.

    Args:
        backbone: The network; put in eval mode.
        modality: What it reads.
        bank: Decoded frames.
        indices: Clips.
        recipe: Gives input size, segments and batch size.

    Returns:
        (clips, classes), on the CPU.
    """
    backbone.eval()
    logits = []
    for batch in ordered_batches(indices, recipe.batch_size):
        inputs = clips.test_batch(
            bank,
            batch,
            modalities=[modality],
            size=recipe.input_size,
            segments=recipe.segments,
            device=recipe.device,
        )
        with devices.autocast(recipe.device, recipe.precision):
            logits.append(backbone(inputs[modality]).float().cpu())
    return torch.cat(logits)


def shuffled_batches(indices: Sequence[int], size: int, seed: int, epoch: int) -> Iterator[list[int]]:
    """Cut the clips into batches in an order that is a function of (seed, epoch).

    Args:
        indices: Clips.
        size: Clips a batch. A last batch of one clip joins the one before: batch norm needs two values.
        seed: Of the run.
        epoch: Of the training.

    Yields:
        Clips of a batch.
    """
    order = np.random.default_rng((seed, epoch)).permutation(np.asarray(indices)).tolist()
    starts = list(range(0, len(order), size))
    if len(starts) > 1 and len(order) - starts[-1] == 1:
        starts.pop()
    for start, end in zip(starts, [*starts[1:], len(order)], strict=True):
        yield order[start:end]


def ordered_batches(indices: Sequence[int], size: int) -> Iterator[list[int]]:
    """Cut the clips into batches in their own order.

    Args:
        indices: Clips.
        size: Clips a batch.

    Yields:
        Clips of a batch.
    """
    for start in range(0, len(indices), size):
        yield list(indices[start : start + size])


def parameter_groups(module: nn.Module, tuning: Tuning) -> list[dict[str, Any]]:
    """Split parameters by weight decay (that of matrices and kernels, none for biases and norms) and learning rate.

    Args:
        module: The network.
        tuning: Gives both.

    Returns:
        Groups for a torch optimiser, each with the `factor` of its learning rate.
    """
    alike: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        decay = tuning.weight_decay if parameter.ndim > 1 else 0.0
        factor = next((own for pattern, own in tuning.factors.items() if fnmatch.fnmatchcase(name, pattern)), 1.0)
        alike.setdefault((decay, factor), []).append(parameter)
    return [{"params": members, "weight_decay": decay, "factor": factor} for (decay, factor), members in alike.items()]


def seed_dropout(seed: int, epoch: int) -> None:
    """Make what an epoch draws of torch's own generator, as dropout does, a function of (seed, epoch).

    Args:
        seed: Of the run.
        epoch: Of the training.
    """
    torch.manual_seed(int(np.random.default_rng((seed, epoch)).integers(2**63)))


def lr_share(tuning: Tuning, progress: float) -> float:
    """Return the learning rate's share of its peak.

    Args:
        tuning: Gives the milestones at which it falls tenfold; where there are none it is `warm_cosine`'s.
        progress: Share of the epochs done, 0..1.

    Returns:
        0..1.
    """
    if not tuning.milestones:
        return warm_cosine(progress)
    return LR_DECAY ** sum(progress >= milestone - 1e-9 for milestone in tuning.milestones)


def warm_cosine(progress: float) -> float:
    """Return the learning rate's share of its peak: a linear warm-up, then a half cosine to 0.

    Args:
        progress: Share of the steps done, 0..1.

    Returns:
        0..1.
    """
    if progress < WARM_UP:
        return (progress + 0.01) / (WARM_UP + 0.01)
    return 0.5 * (1 + float(np.cos(np.pi * (progress - WARM_UP) / (1 - WARM_UP))))


def set_lr(optimiser: torch.optim.Optimizer, lr: float) -> None:
    """Set the learning rate of all groups.

    Args:
        optimiser: Of groups that `parameter_groups` made.
        lr: The rate, to be multiplied by a group's factor.
    """
    for group in optimiser.param_groups:
        group["lr"] = lr * group["factor"]


def _validated(_: Staged, row: dict[str, float]) -> tuple[float, float]:
    return row["validation_accuracy"], -row["validation_loss"]


def _late(_: Staged, row: dict[str, float]) -> tuple[float, float]:
    return row["epoch"], 0.0


def check_finite(loss: Tensor, where: str, bank: FrameBank, indices: Sequence[int]) -> None:
    """Stop at a loss that is not a number.

    Args:
        loss: A scalar.
        where: Names the network, epoch and batch.
        bank: The clips.
        indices: Those of the batch.

    Raises:
        TrainingError: If it is not finite.
    """
    if not torch.isfinite(loss):
        names = ", ".join(bank.paths[index].stem for index in indices)
        raise TrainingError(
            f"{where}: the loss is {loss.item()}; lower the learning rate, or look at the clips: {names}"
        )
