"""Batches of training clips, epoch by epoch: read here or by processes that read ahead, whole or in parts.

A batch may be cut into parts, whose gradients are added up: to fit a GPU's memory, or to be spread over the processes
of `ranks`. Each part has batch statistics of its own, so the number of parts decides the result; who computes them does
not.
"""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from pkdlib import clips, ranks
from pkdlib.banks import Frames
from pkdlib.bitstream import VideoError
from pkdlib.clips import Drawn


class FeedError(Exception):
    """Batches that cannot be cut as asked; the message says what to change."""


@dataclasses.dataclass(frozen=True)
class Part:
    """Clips that go through a network at once.

    Args:
        batch: Number of their batch in its epoch, from 0.
        share: Share of the epoch that was done before that batch.
        weight: Factor on their mean loss, so that the sum over a batch's parts, averaged over processes, is the mean
            over its clips.
        first: Whether the batch begins with them.
        last: Whether it ends with them, here.
        indices: The clips.
        inputs: Modality -> (B, segments, C, size, size) float32.
    """

    batch: int
    share: float
    weight: float
    first: bool
    last: bool
    indices: list[int]
    inputs: dict[str, Tensor]


class Feed:
    """The batches of a training.

    Args:
        frames: The clips.
        indices: Which of them train.
        modalities: What to read, keys of `banks.PLANES`.
        size: Side of the input.
        segments: TSN segments.
        batch_size: Clips a batch.
        parts: Parts that a batch is cut into.
        seed: Of the order, the segments' frames, the crops and flips.
        device: Where the batches are wanted.
        workers: Processes that read ahead; 0 to read here, to the same bits.
    """

    def __init__(
        self,
        frames: Frames,
        indices: Sequence[int],
        modalities: Sequence[str],
        *,
        size: int,
        segments: int,
        batch_size: int,
        parts: int,
        seed: int,
        device: str,
        workers: int = 0,
    ):
        """Start no process yet.

        Raises:
            FeedError: If the batches cannot be cut so.
        """
        together = ranks.count()
        if parts % together:
            raise FeedError(f"batch_parts = {parts} must be a multiple of the {together} processes that train together")
        if min(batch_size, len(indices)) < parts:
            least = min(batch_size, len(indices))
            raise FeedError(f"batch_parts = {parts} is more than the {least} clips of a batch: lower it")
        self._indices, self._batch_size, self._parts, self._seed = list(indices), batch_size, parts, seed
        self._size, self._device = size, device
        self._keys: list[tuple[int, list[int]]] = []
        # A generator of its own, since the loader's draws would shift those of dropout.
        self._loader = DataLoader(
            _Reader(frames, list(modalities), segments, seed),
            batch_size=None,
            sampler=self._keys,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.device(device).type == "cuda",
            generator=torch.Generator(),
        )

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return len(list(self._batches(0)))

    def epoch(self, epoch: int, first: int = 0) -> Iterator[Part]:
        """Go through an epoch's batches, in an order that is a function of (seed, epoch).

        Args:
            epoch: Of the training, from 0.
            first: Batch to begin with.

        Yields:
            The parts that are this process's, batch after batch.
        """
        batches = list(self._batches(epoch))
        own = self._parts // ranks.count()
        begin = own * ranks.number()
        cut = [
            (number, len(batch), [part.tolist() for part in np.array_split(batch, self._parts)[begin : begin + own]])
            for number, batch in enumerate(batches)
            if number >= first
        ]
        self._keys[:] = [(epoch, part) for _, _, parts in cut for part in parts]
        read = iter(self._loader) if cut else iter(())
        for number, clips_in_batch, parts in cut:
            for place, part in enumerate(parts):
                drawn = next(read)
                if isinstance(drawn, VideoError):
                    raise drawn
                yield Part(
                    batch=number,
                    share=number / len(batches),
                    weight=len(part) / clips_in_batch * ranks.count(),
                    first=place == 0,
                    last=place == len(parts) - 1,
                    indices=part,
                    inputs=clips.finish(drawn, self._size, self._device),
                )

    def _batches(self, epoch: int) -> Iterator[list[int]]:
        return shuffled_batches(self._indices, self._batch_size, self._seed, epoch, fewest=max(2, self._parts))


def shuffled_batches(
    indices: Sequence[int], size: int, seed: int, epoch: int, *, fewest: int = 2
) -> Iterator[list[int]]:
    """Cut the clips into batches in an order that is a function of (seed, epoch).

    Args:
        indices: Clips.
        size: Clips a batch.
        seed: Of the run.
        epoch: Of the training.
        fewest: A last batch of fewer clips joins the one before: batch norm needs two values.

    Yields:
        Clips of a batch.
    """
    order = np.random.default_rng((seed, epoch)).permutation(np.asarray(indices)).tolist()
    starts = list(range(0, len(order), size))
    if len(starts) > 1 and len(order) - starts[-1] < fewest:
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


@dataclasses.dataclass
class _Reader:
    # A map from (epoch, clips) to what is read of them, as a DataLoader wants it.
    frames: Frames
    modalities: list[str]
    segments: int
    seed: int

    def __getitem__(self, key: tuple[int, list[int]]) -> Drawn | VideoError:
        epoch, indices = key
        shape = {"modalities": self.modalities, "segments": self.segments}
        try:
            return clips.draw(self.frames, indices, **shape, seed=self.seed, epoch=epoch)
        except VideoError as error:  # raised where it is met, a worker's error would be buried in its traceback
            return error
