"""Batches as a training takes them: those of an epoch, whole or in parts, from any one on.

`loader.BatchLoader` gives those of clips. `PairedBatches` makes some of whatever gives pairs of inputs and labels, such
as a list or torch's `DataLoader`.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence, Sized
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor


@dataclasses.dataclass(frozen=True)
class MicroBatch:
    """Samples that go through a network at once: a batch, or a part of one.

    Args:
        batch: Number of their batch in its epoch, from 0.
        share: Share of the epoch that was done before that batch.
        weight: Factor on their mean loss, so that the sum over a batch's parts, averaged over processes, is the mean
            over its samples.
        first: Whether the batch begins with them.
        last: Whether it ends with them, here.
        indices: Their numbers, whatever the source counts by.
        names: What to call them where something is wrong with them.
        inputs: Network -> what it reads, (B, ...), on the device of the training.
        labels: (B,) int64.
    """

    batch: int
    share: float
    weight: float
    first: bool
    last: bool
    indices: Sequence[int]
    names: Sequence[str]
    inputs: Mapping[str, Tensor]
    labels: Tensor


class Batches(Protocol):
    """What gives the batches of a training."""

    @property
    def identity(self) -> str:
        """What tells them from other batches: a training does not go on with others than it began with."""

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""

    def epoch(self, epoch: int, first: int = 0) -> Iterator[MicroBatch]:
        """Go through an epoch's batches, the same ones whenever that is done.

        Args:
            epoch: Of the training, from 0.
            first: Batch to begin with.

        Yields:
            The parts of the batches, in order.
        """


class PairedBatches:
    """Batches of what gives pairs (inputs, labels), and can be gone through once an epoch.

    Torch's generator is seeded by (seed, epoch, batch) before each pair is asked for. So what draws of it, as a
    `DataLoader` that shuffles does, gives the same batches each time, and a training may be interrupted.

    Args:
        pairs: A list, a `DataLoader` or the like, with a length. Inputs are a mapping from a network's name to what it
            reads, (B, ...), or one tensor that all networks read; labels are (B,) integers.
        names: Of the networks.
        seed: Of the order and of whatever is random in the pairs.
        device: Where the inputs are wanted.
    """

    def __init__(self, pairs: Any, names: Sequence[str], *, seed: int = 0, device: str = "cpu"):
        """Read nothing yet.

        Raises:
            TypeError: If the pairs have no length, as those of a generator, which can be gone through but once.
        """
        if not isinstance(pairs, Sized):
            raise TypeError(
                f"batches: {type(pairs).__name__} has no length; give a list of (inputs, labels) or a DataLoader, "
                "which can be gone through once an epoch"
            )
        self._pairs, self._names, self._seed, self._device = pairs, tuple(names), seed, device

    @property
    def identity(self) -> str:
        """How many there are, and the seed: what the pairs hold cannot be told without reading them."""
        return f"{len(self)} pairs, seed {self._seed}"

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return len(self._pairs)

    def epoch(self, epoch: int, first: int = 0) -> Iterator[MicroBatch]:
        """Go through an epoch's batches; those before the first are read, too, and left out.

        Args:
            epoch: Of the training, from 0.
            first: Batch to begin with.

        Yields:
            One whole batch after the other.
        """
        begin = 0
        for batch, (inputs, labels) in enumerate(self._seeded(epoch)):
            indices = range(begin, begin := begin + len(labels))
            if batch < first:
                continue
            each = inputs if isinstance(inputs, Mapping) else dict.fromkeys(self._names, inputs)
            yield MicroBatch(
                batch=batch,
                share=batch / len(self),
                weight=1.0,
                first=True,
                last=True,
                indices=indices,
                names=[f"sample {index + 1} of the epoch" for index in indices],
                inputs={name: values.to(self._device) for name, values in each.items()},
                labels=labels,
            )

    def _seeded(self, epoch: int) -> Iterator[tuple[Any, Tensor]]:
        pairs = None
        for batch in range(len(self)):
            torch.manual_seed(int(np.random.default_rng((self._seed, epoch, batch)).integers(2**63)))
            pairs = pairs or iter(self._pairs)  # which may draw the order
            yield next(pairs)
