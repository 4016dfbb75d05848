"""What the parameters name: the frame bank of the data set, and the runs with their folders."""

import contextlib
import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path

import torch

from pkdlib.companion import folders
from pkdlib.companion.data import dataset, drawn
from pkdlib.companion.parameters import Parameters
from pkdlib.companion.runs import fingerprints, store
from pkdlib.companion.runs.store import Store
from pkdlib.data import frame_cache, sampling
from pkdlib.data.datasets import DatasetError
from pkdlib.data.frame_cache import ClipFiles, Frames
from pkdlib.data.loader import BatchLoader, EvaluationLoader
from pkdlib.training import distributed, trainer
from pkdlib.training.tuning import Tuning

# Code that decides no result: it keeps and reports them; and data sets, which are told apart by their checksums.
UNDECIDING = (
    *("companion.runs", "companion.data", "companion.folders"),
    *("_files", "_processes", "_progress", "_resources", "data.datasets"),
)


@dataclasses.dataclass(frozen=True)
class Run:
    """One split and one seed of the parameters.

    Args:
        parameters: Of all runs together.
        split: From 0.
        seed: From 0.
    """

    parameters: Parameters
    split: int
    seed: int

    @property
    def store(self) -> Store:
        """Where the run's steps live, and where those that come with the library do."""
        p, place = self.parameters, Path(f"split{self.split}") / f"seed{self.seed}"
        shipped = None if p.recompute else folders.shipped_folder(p) / place
        return Store(folders.run_folder(p) / place, keep=p.keep, shipped=shipped)

    @property
    def columns(self) -> dict[str, int | str]:
        """What a row of a table says of the run: split, seed and backbone."""
        return {"split": self.split, "seed": self.seed, "backbone": self.parameters.backbone}

    @property
    def without_iframe_network(self) -> "Run":
        """The run of the same split and seed whose I-frame network is as the others."""
        return dataclasses.replace(self, parameters=self.parameters.replace(iframe_network=""))

    @property
    def training_seed(self) -> int:
        """A seed of its own for each split, so that no two runs share a backbone's beginning."""
        return 1000 * self.split + self.seed

    def recipe(self, *, epochs: int, lr: float, tuning: Tuning) -> trainer.Recipe:
        """Say how the run trains.

        Args:
            epochs: Passes over the training clips.
            lr: Peak learning rate.
            tuning: How weights are stepped.

        Returns:
            The recipe.
        """
        p = self.parameters
        return trainer.Recipe(
            epochs=epochs,
            lr=lr,
            tuning=tuning,
            seed=self.training_seed,
            device=distributed.own_device(p.device),
            precision=p.precision,
            compiled=p.compiled,
        )

    def batches(self, indices: Sequence[int], modalities: Sequence[str]) -> BatchLoader:
        """Prepare the batches of a training.

        Args:
            indices: Which clips train.
            modalities: What to read.

        Returns:
            The batches, this process's share of them.
        """
        p = self.parameters
        return BatchLoader(
            frame_bank(p),
            indices,
            modalities,
            size=p.input_size,
            segments=p.segments,
            batch_size=p.batch_size,
            parts=p.batch_parts,
            seed=self.training_seed,
            device=distributed.own_device(p.device),
            workers=p.workers,
            together=distributed.count(),
            number=distributed.number(),
        )

    def evaluation(
        self, indices: Sequence[int], modalities: Sequence[str], *, batch_size: int | None = None
    ) -> EvaluationLoader:
        """Prepare clips to judge a network on, by test sampling.

        Args:
            indices: Which clips.
            modalities: What to read.
            batch_size: Clips a batch; as many as in training if None.

        Returns:
            Pairs of inputs and labels.
        """
        p = self.parameters
        shape = {"size": p.input_size, "segments": p.segments, "batch_size": batch_size or p.batch_size}
        return EvaluationLoader(frame_bank(p), indices, modalities, **shape, device=distributed.own_device(p.device))


@functools.cache
def frame_bank(p: Parameters) -> Frames:
    """Decode the data set into its frame bank, once, or prepare to decode clips whenever they are read.

    Args:
        p: The parameters; `frames` says which.

    Returns:
        The clips' frames, the same bytes either way.
    """
    data, short_side = dataset(p), _short_side(p)
    made = store.digest(fingerprints.fingerprint(frame_cache.frame_bank, without=UNDECIDING) | drawn(p))
    if p.frames == "decode":
        labels = torch.as_tensor([clip.label for clip in data.clips], dtype=torch.int64)
        indices = folders.cache_folder(p) / f"indices-{data.checksum[:16]}-{made}"
        return ClipFiles(data.files(), labels, p.candidates, short_side, indices)
    place = folders.cache_folder(p) / f"frames-{data.checksum[:16]}-{p.candidates}-{short_side}-{made}"
    return frame_cache.frame_bank(
        [clip.path for clip in data.clips],
        [clip.label for clip in data.clips],
        place,
        candidates=p.candidates,
        short_side=short_side,
        workers=p.threads,
        packed=p.frames == "packed",
        lend=data.lent if p.frames == "packed" else lambda indices: contextlib.nullcontext(data.files(indices)),
    )


def bank_size(p: Parameters) -> int:
    """Say how large the data set's frame bank is, or will be.

    Args:
        p: The parameters.

    Returns:
        Bytes, about.
    """
    data = dataset(p)
    packed = p.frames == "packed"
    return len(data.clips) * frame_cache.size_of(data.files([0]), p.candidates, _short_side(p), packed=packed)


def example_clip(p: Parameters) -> Path:
    """Choose the clip that a page looks at.

    Args:
        p: The parameters; `clip` names one's own.

    Returns:
        That clip, or the data set's first test clip.
    """
    if p.clip:
        return Path(p.clip)
    data = dataset(p)
    (path,) = data.files([data.splits[max(p.split, 0)].test[0]])
    return path


def selected_runs(p: Parameters) -> list[Run]:
    """List the runs that the parameters name.

    Args:
        p: The parameters; -1 as split or seed stands for all that the profile runs.

    Returns:
        Runs, by seed, then split.

    Raises:
        DatasetError: If the data set has no such split.
    """
    available = len(dataset(p).splits)
    if p.split >= available:
        raise DatasetError(f"split = {p.split}: the data set {p.dataset} has splits 0 to {available - 1}")
    count = available if p.dataset == "folder" else p.splits
    splits = range(min(count, available)) if p.split == -1 else [p.split]
    seeds = range(p.seeds) if p.seed == -1 else [p.seed]
    return [Run(p, split, seed) for seed in seeds for split in splits]


def _short_side(p: Parameters) -> int:
    return round(p.input_size * sampling.CROP_FROM)
