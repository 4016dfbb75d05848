"""One loop for backbones, and the epochs of any training: resumable, with the same bits as an uninterrupted run."""

import dataclasses
import fnmatch
import functools
import hashlib
import io
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from pkdlib import _files
from pkdlib.data.batches import Batches, MicroBatch
from pkdlib.models.backbones import FeatureBackbone
from pkdlib.training import devices, distributed, levels
from pkdlib.training.tuning import Tuning

ENDED = "ended"  # the note of a training that needs no more epochs
# The reference's Adam and SGD, and for fine-tuning AdamW. What is particular to some parameters stands in their group.
OPTIMISERS: Mapping[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": functools.partial(torch.optim.Adam, eps=1e-3),
    "adamw": torch.optim.AdamW,
    "sgd": functools.partial(torch.optim.SGD, momentum=0.9),
}
WARM_UP = 0.1
LR_DECAY = 0.1
CHECKPOINT_SPACING = 9  # seconds of training for each that a checkpoint takes
CHECKPOINT_INTERVAL = 60  # seconds, at least, between checkpoints within an epoch
# With fewer validation clips than this, one clip is worth too much to choose an epoch by: the last one counts.
FEWEST_VALIDATION_CLIPS = 40


class TrainingError(Exception):
    """A training that cannot go on; the message says where."""


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
    until: levels.Level | None = None,
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
    optimiser = OPTIMISERS[recipe.tuning.optimiser](parameter_groups(backbone, recipe.tuning))
    best: dict[str, Any] = {"key": (-1.0, 0.0), "epoch": -1, "weights": {}, ENDED: False}
    peak = recipe.lr * recipe.tuning.network_factors.get(reads, 1.0)

    # Shared outside, so that `distributed.holding` finds what it holds.
    forward = distributed.shared(torch.compile(backbone) if recipe.compiled else backbone)
    descent = levels.Descent(backbone, until) if until else None

    def parts(epoch: int, first: int) -> Iterator[MicroBatch]:
        backbone.train()
        if descent:
            descent.stand()
        return batches.epoch(epoch, first)

    def run_part(epoch: int, part: MicroBatch) -> Tensor:
        if part.first:
            seed_dropout(recipe.seed, epoch, part.batch)
            progress = (epoch + part.share) / recipe.epochs
            set_lr(optimiser, peak * lr_share(recipe.tuning, progress))
            if descent:
                descent.begin_step()
        labels = part.labels.to(recipe.device)
        with distributed.holding(forward, part.last):
            with devices.autocast(recipe.device, recipe.precision):
                logits = forward(part.inputs[reads])
            loss = functional.cross_entropy(logits.float(), labels)
            check_finite(loss, f"{reads} backbone, epoch {epoch + 1}, batch {part.batch + 1}", part.names)
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
        best[ENDED] = descent is not None and descent.is_down
        chosen = not until and len(labels) >= FEWEST_VALIDATION_CLIPS
        key = (row["validation_accuracy"], -row["validation_loss"]) if chosen else (epoch, 0.0)
        came_down = best[ENDED] and best["epoch"] == epoch  # kept in the step that did
        if key > tuple(best["key"]) and not came_down:
            weights = {name: value.clone() for name, value in backbone.state_dict().items()}
            best.update(key=key, epoch=epoch, weights=weights)
        return row

    curves = resumable_epochs(
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


def resumable_epochs(
    parts: Callable[[int, int], Iterator[MicroBatch]],
    run_part: Callable[[int, MicroBatch], Tensor],
    end_epoch: Callable[[int, Tensor], dict[str, Any]],
    epochs: int,
    modules: Mapping[str, Any],
    notes: dict[str, Any],
    folder: Path | None,
    *,
    name: str,
    of: Any,
) -> list[dict[str, Any]]:
    """Run epochs, saving all state now and then, and go on where it was saved last if there is a checkpoint.

    State is saved after an epoch, and within one where CHECKPOINT_INTERVAL seconds have passed, unless that would take
    more than a tenth of the time: then later. The checkpoint stays: whoever keeps what was trained removes it then.

    What is random in a batch must be drawn from (seed, epoch, batch), so that a resumed run ends with the same bits.

    Args:
        parts: From an epoch, and the number of the batch to begin with, to the parts of its batches.
        run_part: Trains on a part; returns figures to be added up over the epoch.
        end_epoch: From an epoch and its figures to its row of the curves.
        epochs: How many in all.
        modules: What has a `state_dict` to save, as it is before any training.
        notes: Plain values and tensors to save beside; changed in place on resuming. Where `end_epoch` sets ENDED in
            them, no other epoch is run.
        folder: Where the checkpoint lies, in `_files.RESUME`. Of processes that train together, the first one writes
            it. Without a folder there is none.
        name: Of this training among those that use the folder; also for the progress bar.
        of: All that decides the training but how `modules` begin, such as the recipe and the clips; its `repr` counts.

    Returns:
        The rows of all epochs that were run.

    Raises:
        TrainingError: If the checkpoint is of another training.
    """  # noqa: DOC502
    checkpoint = None
    if folder is not None:
        identity = _identity({**modules, "epochs": epochs, "of": of})
        checkpoint = Checkpoint(folder / _files.RESUME / f"{name.replace(' ', '-')}.pt", identity)
    curves: list[dict[str, Any]] = []
    first, figures = 0, None
    if checkpoint and (state := checkpoint.load()):
        for module in modules:
            modules[module].load_state_dict(state["modules"][module])
        notes.update(state["notes"])
        curves, first = state["curves"], state["batch"]
        own = state["by_rank"][distributed.number()]
        figures = own["figures"]
        for module, buffers in own["buffers"].items():
            modules[module].load_state_dict(buffers, strict=False)
    distributed.tell(None)  # none goes on, and writes, before all have read
    saved, due = time.perf_counter(), 0.0 if checkpoint else math.inf

    def save(batch: int) -> None:
        nonlocal saved, due
        began = time.perf_counter()
        by_rank = distributed.gathered(
            {"figures": figures, "buffers": _buffers(modules) if distributed.count() > 1 else {}}
        )
        states = {module: own.state_dict() for module, own in modules.items()}
        checkpoint.save({"modules": states, "notes": notes, "curves": curves, "batch": batch, "by_rank": by_rank})
        saved = time.perf_counter()
        due = saved + CHECKPOINT_SPACING * (saved - began)

    hidden = True if distributed.number() else None  # None: where standard error is no terminal
    for epoch in tqdm(range(len(curves), epochs), desc=name, unit="epoch", disable=hidden):
        if notes.get(ENDED):
            break
        for part in parts(epoch, first):
            own = run_part(epoch, part)
            figures = own if figures is None else figures.to(own.device) + own  # a checkpoint's are on the processor
            # The first process's clock counts, since all must save together.
            if part.last and distributed.tell(time.perf_counter() >= max(due, saved + CHECKPOINT_INTERVAL)):
                save(part.batch + 1)
        curves.append(end_epoch(epoch, figures))
        first, figures = 0, None
        if distributed.tell(time.perf_counter() >= due):
            save(0)
    return curves


@dataclasses.dataclass(frozen=True)
class Checkpoint:
    """The saved state of one training, and of no other.

    Args:
        path: The file.
        identity: What is trained: a checkpoint of something else is refused.
    """

    path: Path
    identity: str

    def load(self) -> dict[str, Any]:
        """Read the state.

        Returns:
            What was saved last, its tensors on the processor; empty where nothing was.

        Raises:
            TrainingError: If it is of another training, or of another number of processes.
        """
        if not self.path.is_file():
            return {}
        # The modules that take it copy it to where they are; read as it was saved, all processes would use one GPU.
        state = torch.load(self.path, map_location="cpu", weights_only=True)
        if state["identity"] != self.identity:
            raise TrainingError(f"{self.path}: is the checkpoint of another training; remove it to begin anew")
        if len(state["by_rank"]) != distributed.count():
            raise TrainingError(
                f"{self.path}: {len(state['by_rank'])} processes saved it, and {distributed.count()} cannot go on from "
                "it; start as many, or remove it to begin anew"
            )
        return state

    def save(self, state: Mapping[str, Any]) -> None:
        """Write the state, whole or not at all; of several processes the first one does.

        Args:
            state: What `torch.load` reads with `weights_only`.
        """
        if distributed.number() == 0:
            buffer = io.BytesIO()  # on a full disk torch's own writer fails with a riddle, Python's with a reason
            torch.save({"identity": self.identity, **state}, buffer)
            _files.write_atomically(self.path, lambda path: path.write_bytes(buffer.getbuffer()))


def _identity(parts: Mapping[str, Any]) -> str:
    # A training is told by what it begins with: weights, frozen ones too, and optimisers with their settings.
    found = hashlib.sha256()

    def absorb(part: Any) -> None:
        if isinstance(part, Tensor):
            found.update(f"{part.dtype} {tuple(part.shape)}".encode())
            found.update(part.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
        elif isinstance(part, Mapping):
            for name, inner in part.items():
                found.update(str(name).encode())
                absorb(inner)
        elif hasattr(part, "state_dict"):
            absorb(part.state_dict())
        else:
            found.update(repr(part).encode())

    absorb(parts)
    return found.hexdigest()


def _buffers(modules: Mapping[str, Any]) -> dict[str, dict[str, Tensor]]:
    # What each process holds by itself: the statistics of batch norm.
    networks = {name: module for name, module in modules.items() if isinstance(module, nn.Module)}
    return {
        name: {key: value.detach().cpu().clone() for key, value in network.named_buffers()}
        for name, network in networks.items()
    }


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


def seed_dropout(seed: int, epoch: int, batch: int) -> None:
    """Make what a batch draws of torch's own generator, as dropout does, a function of (seed, epoch, batch).

    Args:
        seed: Of the run.
        epoch: Of the training.
        batch: Its number in the epoch; each of several processes draws for its part.
    """
    torch.manual_seed(int(np.random.default_rng((seed, epoch, batch, distributed.number())).integers(2**63)))


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


def check_finite(loss: Tensor, where: str, names: Sequence[str]) -> None:
    """Stop at a loss that is not a number.

    Args:
        loss: A scalar.
        where: Names the network, epoch and batch.
        names: Of the samples.

    Raises:
        TrainingError: If it is not finite.
    """
    if not torch.isfinite(loss):
        raise TrainingError(
            f"{where}: the loss is {loss.item()}; lower the learning rate, or look at the clips: {', '.join(names)}"
        )
