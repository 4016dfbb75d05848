"""Batches of training clips, epoch by epoch: read ahead by a thread or by processes, whole or in parts.

A batch may be cut into parts, whose gradients are added up: to fit a GPU's memory, or to be spread over processes that
train together. Each part has batch statistics of its own, so the number of parts decides the result; who computes
them does not.
"""

import collections
import functools
import itertools
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool

import numpy as np
import torch
from torch import Tensor

from pkdlib import _processes
from pkdlib.data import sampling
from pkdlib.data.batches import MicroBatch
from pkdlib.data.frame_cache import Frames
from pkdlib.data.sampling import Drawn

_AHEAD = 2  # batches for each reader, read or being read
_PATIENCE = 600.0  # seconds for one batch, hundreds of times what the slowest takes

_Key = tuple[int, list[int]]  # an epoch, and clips


class FeedError(Exception):
    """Batches that cannot be cut as asked, or do not come; the message says what to change."""


class BatchLoader:
    """The batches of a training on clips, as `batches.Batches` are to be.

    Args:
        frames: The clips.
        indices: Which of them train.
        modalities: What to read, keys of `frame_cache.PLANES`.
        size: Side of the input.
        segments: TSN segments.
        batch_size: Clips a batch.
        parts: Parts that a batch is cut into.
        seed: Of the order, the segments' frames, the crops and flips.
        device: Where the batches are wanted.
        workers: Processes that read ahead; 0 to let a thread of this one do it, to the same bits.
        together: Processes that train together, each on its share of every batch.
        number: This one's number among them, from 0.
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
        together: int = 1,
        number: int = 0,
    ):
        """Start no process yet.

        Raises:
            FeedError: If the batches cannot be cut so.
        """
        if parts % together:
            raise FeedError(f"batch_parts = {parts} must be a multiple of the {together} processes that train together")
        if min(batch_size, len(indices)) < parts:
            least = min(batch_size, len(indices))
            raise FeedError(f"batch_parts = {parts} is more than the {least} clips of a batch: lower it")
        self._indices, self._batch_size, self._parts, self._seed = list(indices), batch_size, parts, seed
        self._frames, self._size, self._device = frames, size, device
        # Who reads the clips decides nothing, nor do the places where they lie.
        self.identity = f"{self._indices} {list(modalities)} {size} {segments} {batch_size} {parts} {seed}"
        self._together, self._number = together, number
        read = functools.partial(_read, frames, list(modalities), segments, seed)
        pinned = torch.device(device).type == "cuda"
        self._read = _Ahead(read, workers, pinned) if workers else functools.partial(_read_here, read, pinned)

    def __len__(self) -> int:
        """Return the number of batches in an epoch."""
        return len(list(self._batches(0)))

    def epoch(self, epoch: int, first: int = 0) -> Iterator[MicroBatch]:
        """Go through an epoch's batches, in an order that is a function of (seed, epoch).

        Args:
            epoch: Of the training, from 0.
            first: Batch to begin with.

        Yields:
            The parts that are this process's, batch after batch.

        Raises:
            FeedError: If a batch cannot be handed over by the process that read it, or none comes.
            ProcessError: If no process can be started, or one is killed.
            VideoError: If a clip cannot be read.
        """  # noqa: DOC502
        batches = list(self._batches(epoch))
        own = self._parts // self._together
        begin = own * self._number
        cut = [
            (number, len(batch), [part.tolist() for part in np.array_split(batch, self._parts)[begin : begin + own]])
            for number, batch in enumerate(batches)
            if number >= first
        ]
        read = self._read([(epoch, part) for _, _, parts in cut for part in parts])
        for number, clips_in_batch, parts in cut:
            for place, part in enumerate(parts):
                yield MicroBatch(
                    batch=number,
                    share=number / len(batches),
                    weight=len(part) / clips_in_batch * self._together,
                    first=place == 0,
                    last=place == len(parts) - 1,
                    indices=part,
                    names=[self._frames.paths[index].stem for index in part],
                    labels=self._frames.labels[part],
                    inputs=sampling.finish(next(read), self._size, self._device),
                )

    def _batches(self, epoch: int) -> Iterator[list[int]]:
        return shuffled_batches(self._indices, self._batch_size, self._seed, epoch, fewest=max(2, self._parts))


class EvaluationLoader:
    """Pairs (inputs, labels) of clips in their own order, by test sampling: what a network is judged on.

    Args:
        frames: The clips.
        indices: Which of them.
        modalities: What to read, keys of `frame_cache.PLANES`.
        size: Side of the input.
        segments: TSN segments.
        batch_size: Clips a batch.
        device: Where the inputs are wanted.
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
        device: str,
    ):
        """Read nothing yet."""
        self._frames, self._batches = frames, list(ordered_batches(indices, batch_size))
        self._shape = {"modalities": list(modalities), "size": size, "segments": segments, "device": device}

    def __len__(self) -> int:
        """Return the number of batches."""
        return len(self._batches)

    def __iter__(self) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
        """Read the clips.

        Yields:
            Modality -> (B, segments, C, size, size) float32, and (B,) int64.
        """
        for batch in self._batches:
            yield sampling.evaluation_batch(self._frames, batch, **self._shape), self._frames.labels[batch]


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


def _read(frames: Frames, modalities: list[str], segments: int, seed: int, key: _Key) -> Drawn:
    epoch, indices = key
    return sampling.draw(frames, indices, modalities=modalities, segments=segments, seed=seed, epoch=epoch)


def _read_here(read: Callable[[_Key], Drawn], pinned: bool, keys: list[_Key]) -> Iterator[Drawn]:
    # Reading does without Python's lock for most of its time: a thread reads while a network works.
    with futures.ThreadPoolExecutor(1) as thread:
        for batch in _asked_ahead(functools.partial(thread.submit, read), keys, _AHEAD):
            yield _pin(batch.result()) if pinned else batch.result()


def _asked_ahead(ask: Callable[[_Key], futures.Future], keys: list[_Key], ahead: int) -> Iterator[futures.Future]:
    following = iter(keys)
    asked = collections.deque(map(ask, itertools.islice(following, ahead)))
    try:
        while asked:
            yield asked.popleft()
            asked.extend(map(ask, itertools.islice(following, 1)))
    finally:
        for batch in asked:
            batch.cancel()


class _Ahead:
    """Processes that read batches ahead, started when the first batch is asked for, and kept."""

    def __init__(self, read: Callable[[_Key], Drawn], workers: int, pinned: bool):
        self._read, self._workers, self._pinned = read, workers, pinned

    def __call__(self, keys: list[_Key]) -> Iterator[Drawn]:
        try:
            for batch in _asked_ahead(self._ask, keys, _AHEAD * self._workers):
                if not futures.wait([batch], _PATIENCE).done:
                    self._give_up()
                yield batch.result()
        except BrokenProcessPool as error:
            raise _processes.killed("reads batches ahead") from error

    def _ask(self, key: _Key) -> futures.Future:
        batch = self._pool.submit(_read_and_share, key)
        return self._pinning.submit(lambda: _pin(batch.result())) if self._pinned else batch

    def _give_up(self) -> None:
        for process in set(multiprocessing.active_children()) - self._others:
            process.kill()  # this process's own end would wait for them
        raise FeedError(
            f"no batch came within {_PATIENCE:.0f} s from the processes that read ahead: does the disk answer? run "
            "again to go on; workers = 0 reads without them"
        )

    @functools.cached_property
    def _pool(self) -> futures.ProcessPoolExecutor:
        self._others = set(multiprocessing.active_children())
        # They begin as copies of this process where the system's own way is such: torch need not be loaded again.
        return _processes.pool(self._workers, None, _begin, self._read)

    @functools.cached_property
    def _pinning(self) -> futures.ThreadPoolExecutor:
        return futures.ThreadPoolExecutor(1)


def _pin(drawn: Drawn) -> Drawn:
    return drawn.pin_memory()


def _begin(read: Callable[[_Key], Drawn]) -> None:
    # In a process that reads ahead: what it reads with stays there, since it may name many thousand files.
    global _own_read
    _own_read = read
    torch.set_num_threads(1)


def _read_and_share(key: _Key) -> Drawn:
    drawn = _own_read(key)
    try:
        for planes in drawn.planes.values():
            planes.share_memory_()
    except RuntimeError as error:
        size = sum(planes.nbytes for planes in drawn.planes.values()) / 1e6
        raise FeedError(
            f"a process that reads ahead cannot hand over a batch of {size:.0f} MB ({error}): give /dev/shm more room "
            "(docker run --shm-size 8g; in a pod, an emptyDir of medium Memory), or set workers = 0, or fewer"
        ) from error
    return drawn
