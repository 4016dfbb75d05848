"""The epochs of any training: resumable, with the same bits as those of an uninterrupted run."""

import dataclasses
import hashlib
import io
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pkdlib import _files
from pkdlib._progress import tqdm
from pkdlib.data.batches import MicroBatch
from pkdlib.training import distributed

ENDED = "ended"  # the note of a training that needs no more epochs
CHECKPOINT_SPACING = 9  # seconds of training for each that a checkpoint takes
CHECKPOINT_INTERVAL = 60  # seconds, at least, between checkpoints within an epoch


class TrainingError(Exception):
    """A training that cannot go on; the message says where."""


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


def seed_dropout(seed: int, epoch: int, batch: int) -> None:
    """Make what a batch draws of torch's own generator, as dropout does, a function of (seed, epoch, batch).

    Args:
        seed: Of the run.
        epoch: Of the training.
        batch: Its number in the epoch; each of several processes draws for its part.
    """
    torch.manual_seed(int(np.random.default_rng((seed, epoch, batch, distributed.number())).integers(2**63)))


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
