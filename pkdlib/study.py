"""What the parameters name: the data set, its frame bank, and the runs with their folders."""

import dataclasses
import functools
from pathlib import Path

import torch

from pkdlib import banks, clips, devices, fingerprints, places, ranks, runs, training
from pkdlib.banks import ClipFiles, Frames
from pkdlib.datasets import Dataset, DatasetError, folder, hmdb51, marionette, official, ucf101, ut_interaction
from pkdlib.parameters import Parameters
from pkdlib.plans import Tuning
from pkdlib.runs import Store
from pkdlib.transcode import transcode

# Code that decides no result: it keeps and reports them; and data sets, which are told apart by their checksums.
UNDECIDING = ("runs", "measure", "resources", "fingerprints", "datasets", "places")

_OFFICIAL = {spec.name: spec for spec in (ucf101.SPEC, hmdb51.SPEC)}


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
        """Where the run's steps live."""
        place = places.run_folder(self.parameters) / f"split{self.split}" / f"seed{self.seed}"
        return Store(place, keep=self.parameters.keep)

    @property
    def without_iframe_network(self) -> "Run":
        """The run of the same split and seed whose I-frame network is as the others."""
        return dataclasses.replace(self, parameters=dataclasses.replace(self.parameters, iframe_network=""))

    @property
    def training_seed(self) -> int:
        """A seed of its own for each split, so that no two runs share a backbone's beginning."""
        return 1000 * self.split + self.seed

    def recipe(self, *, epochs: int, lr: float, tuning: Tuning) -> training.Recipe:
        """Say how the run trains.

        Args:
            epochs: Passes over the training clips.
            lr: Peak learning rate.
            tuning: How weights are stepped.

        Returns:
            The recipe.
        """
        p = self.parameters
        return training.Recipe(
            size=p.size,
            input_size=p.input_size,
            segments=p.segments,
            batch_size=p.batch_size,
            epochs=epochs,
            lr=lr,
            tuning=tuning,
            batch_parts=p.batch_parts,
            seed=self.training_seed,
            device=ranks.own_device(p.device),
            precision=p.precision,
            compiled=p.compiled,
            workers=p.workers,
        )


@functools.cache
def dataset(p: Parameters) -> Dataset:
    """Generate or load the data set, once; what is made of clips lies in the cache under the code that makes it.

    Args:
        p: The parameters.

    Returns:
        The data set, its clips in the paper's form.

    Raises:
        DatasetError: If the name is unknown, or the data cannot be used.
    """
    cache = places.cache_folder(p)
    if p.dataset == "marionette":
        shape = {name.removeprefix("marionette_"): value for name, value in p.only("marionette_").items()}
        del shape["splits"]
        made = fingerprints.fingerprint(marionette.generate, without=("runs",))
        return marionette.generate(cache / f"marionette-{runs.digest([shape, made])}", **shape, workers=p.threads)
    if p.dataset not in ("ut_interaction", "folder", *_OFFICIAL):
        known = ", ".join(("marionette", "ut_interaction", *_OFFICIAL, "folder"))
        raise DatasetError(f"dataset = {p.dataset!r} is not known; the data sets are: {known}")
    if not p.root:
        raise DatasetError(f"dataset = {p.dataset!r} needs the parameter root: the folder that holds its clips")
    if p.dataset in _OFFICIAL:
        return official.load(_OFFICIAL[p.dataset], Path(p.root))
    made = fingerprints.fingerprint(transcode)
    place = cache / f"{p.dataset}-{runs.digest([str(Path(p.root).resolve()), made])}"
    if p.dataset == "ut_interaction":
        return ut_interaction.load(Path(p.root), place)
    if not p.pattern:
        raise DatasetError("dataset = 'folder' needs the parameter pattern: a regular expression with one group")
    return folder.load(Path(p.root), place, pattern=p.pattern, num_folds=p.folds)


@functools.cache
def frame_bank(p: Parameters) -> Frames:
    """Decode the data set into its frame bank, once, or prepare to decode clips whenever they are read.

    Args:
        p: The parameters; `frames` says which.

    Returns:
        The clips' frames, the same bytes either way.
    """
    data, short_side = dataset(p), _short_side(p)
    made = runs.digest(fingerprints.fingerprint(banks.frame_bank, without=UNDECIDING))
    if p.frames == "decode":
        labels = torch.as_tensor([clip.label for clip in data.clips], dtype=torch.int64)
        indices = places.cache_folder(p) / f"indices-{data.checksum[:16]}-{made}"
        return ClipFiles(tuple(clip.path for clip in data.clips), labels, p.candidates, short_side, indices)
    place = places.cache_folder(p) / f"frames-{data.checksum[:16]}-{p.candidates}-{short_side}-{made}"
    return banks.frame_bank(
        [clip.path for clip in data.clips],
        [clip.label for clip in data.clips],
        place,
        candidates=p.candidates,
        short_side=short_side,
        workers=p.threads,
    )


def bank_size(p: Parameters) -> int:
    """Say how large the data set's frame bank is, or will be.

    Args:
        p: The parameters.

    Returns:
        Bytes, about.
    """
    return banks.size_of([clip.path for clip in dataset(p).clips], p.candidates, _short_side(p))


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
    return data.clips[data.splits[max(p.split, 0)].test[0]].path


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
    count = p.marionette_splits if p.dataset == "marionette" else available
    splits = range(min(count, available)) if p.split == -1 else [p.split]
    seeds = range(p.seeds) if p.seed == -1 else [p.seed]
    return [Run(p, split, seed) for seed in seeds for split in splits]


def run_sentence(p: Parameters) -> str:
    """Say where a page computes: on which device; and in which folder, outside a checkout.

    Args:
        p: The parameters.

    Returns:
        A sentence or two.
    """
    return " ".join(filter(None, [f"This run computes on {devices.told(p.device)}.", places.sentence(p)]))


def _short_side(p: Parameters) -> int:
    return round(p.input_size * clips.CROP_FROM)
