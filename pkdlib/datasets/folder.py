"""One's own clips as a data set: a folder with one folder of videos for each class.

The layout is::

    root/
        running/   anna_1.mp4  anna_2.mp4  ben_1.avi ...
        jumping/   anna_1.mp4  ben_1.mp4 ...

A regular expression takes each clip's group out of its file name, here `^([a-z]+)_`; clips of a group (a
person, a recording, a film) never part. Every clip is transcoded once into a cache, in the paper's form.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from pkdlib.bitstream import VideoError
from pkdlib.datasets import Clip, Dataset, DatasetError, Split, split_by_group
from pkdlib.datasets._manifest import Manifest
from pkdlib.transcode import transcode

SUFFIXES = (".avi", ".mp4", ".mkv", ".mov", ".webm", ".mpg", ".mpeg", ".m4v")
FEWEST_FOLDS = 3  # one to test, one to validate, one to train

_FORM = {"codec": "MPEG-4 Part 2", "width": 340, "height": 256, "gop": 12}


@dataclass(frozen=True)
class Source:
    """One video as it was found, before transcoding."""

    path: Path
    action: str
    group: str

    @property
    def name(self) -> str:
        """The clip's name in the data set: class/stem."""
        return f"{self.action}/{self.path.stem}"

    @property
    def origin(self) -> dict:
        """What tells this file from a changed one."""
        state = self.path.stat()
        return {"file": self.path.name, "bytes": state.st_size, "modified_ns": state.st_mtime_ns}


def load(
    root: str | Path,
    cache: str | Path,
    *,
    pattern: str,
    name: str = "folder",
    num_folds: int = 5,
    seed: int = 0,
    citation: str = "",
    licence: str = "",
) -> Dataset:
    """Read a folder of clips, transcoding into the cache what is not there yet.

    The groups are cut into `num_folds` disjoint test sets, as equal in clips and in classes as whole groups
    allow. Split k tests on fold k, validates on the next fold, and trains on the rest.

    Args:
        root: Folder with one folder for each class; class folders without a video are passed over.
        cache: Folder for the transcoded clips and their `manifest.json`.
        pattern: Regular expression with one group, searched for in each file name: the clip's group.
        name: The data set's name, for folders and tables.
        num_folds: Number of splits, at least 3.
        seed: Decides which of several equally good divisions into folds is taken.
        citation: How to cite the data.
        licence: Under which terms the data may be used.

    Returns:
        The data set; its labels are in the alphabetical order of the class folders.

    Raises:
        DatasetError: If the folder, the pattern or the number of folds does not make a data set, if videos
            cannot be read (all of them are named, the others stay in the cache), or if the cache cannot be
            written.
    """
    sources = find(root, pattern)
    classes = tuple(sorted({source.action for source in sources}))
    if len(classes) < 2:
        raise DatasetError(f"{root} has clips of one class only ({classes[0]}), at least two are needed")
    folds = _folds(sources, num_folds, seed)
    manifest = Manifest(Path(cache), _FORM)
    _transcode_missing(sources, manifest, name)
    clips = tuple(
        Clip(source.name, manifest.folder / _target(source), classes.index(source.action), source.group)
        for source in sources
    )
    splits = fold_splits(clips, folds)
    _require_training_clips(classes, clips, splits)
    checksum = manifest.checksum([_target(source) for source in sources])
    return Dataset(name, classes, clips, splits, checksum, citation, licence)


def find(root: str | Path, pattern: str) -> list[Source]:
    """List the videos of a folder with their classes and groups, without opening them.

    Args:
        root: Folder with one folder for each class.
        pattern: Regular expression with one group, searched for in each file name.

    Returns:
        At least one source, in the order of classes and names.

    Raises:
        DatasetError: If the pattern is not one with one group, if it does not match a file's name, or if the
            folder holds no clips or two of the same name.
    """
    root = Path(root)
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise DatasetError(f"pattern {pattern!r} is not a regular expression: {error}") from error
    if expression.groups != 1:
        raise DatasetError(
            f"pattern {pattern!r} has {expression.groups} groups in parentheses; it needs exactly one, "
            "around the part of the file name that tells a clip's group"
        )
    if not root.is_dir():
        raise DatasetError(f"there is no folder {root}")
    sources: dict[str, Source] = {}
    for path in sorted(root.glob("*/*")):
        if path.suffix.lower() not in SUFFIXES or path.name.startswith(".") or not path.is_file():
            continue
        match = expression.search(path.name)
        if match is None or match[1] is None:
            raise DatasetError(f"{path}: the file name has no match of the pattern {pattern!r} for its group")
        source = Source(path, path.parent.name, match[1])
        if source.name in sources:
            raise DatasetError(f"{path} and {sources[source.name].path.name} have the same name; rename one")
        sources[source.name] = source
    if not sources:
        kinds = ", ".join(suffix[1:] for suffix in SUFFIXES)
        raise DatasetError(f"{root} has no clips: expected <class>/<clip> with one of the endings {kinds}")
    return list(sources.values())


def fold_splits(clips: tuple[Clip, ...], folds: Sequence[Sequence[str]]) -> tuple[Split, ...]:
    """Make the splits of disjoint folds: test on one, validate on the next, train on the rest.

    Args:
        clips: All clips of the data set.
        folds: The groups of each fold.

    Returns:
        As many splits as folds.
    """
    following = [*folds[1:], folds[0]]
    return tuple(
        split_by_group(clips, validation=set(validation), test=set(test))
        for test, validation in zip(folds, following, strict=True)
    )


def _folds(sources: list[Source], num_folds: int, seed: int) -> list[list[str]]:
    # Greedy: the largest groups first, each to the fold that has fewest clips of its classes so far.
    if num_folds < FEWEST_FOLDS:
        raise DatasetError(f"num_folds is {num_folds}, must be at least {FEWEST_FOLDS}")
    classes = sorted({source.action for source in sources})
    groups = sorted({source.group for source in sources})
    if len(groups) < num_folds:
        raise DatasetError(
            f"{len(groups)} groups ({', '.join(groups)}) are too few for {num_folds} folds; "
            "take fewer folds or a pattern that tells more groups apart"
        )
    counts = np.zeros((len(groups), len(classes)), np.int64)
    for source in sources:
        counts[groups.index(source.group), classes.index(source.action)] += 1
    order = np.random.default_rng(seed).permutation(len(groups))
    order = order[np.argsort(-counts[order].sum(axis=1), kind="stable")]
    filled = np.zeros((num_folds, len(classes)), np.int64)
    folds: list[list[str]] = [[] for _ in range(num_folds)]
    for group in order:
        overlap = filled @ counts[group]
        fold = min(range(num_folds), key=lambda k: (overlap[k], filled[k].sum()))
        filled[fold] += counts[group]
        folds[fold].append(groups[group])
    return [sorted(fold) for fold in folds]


def _transcode_missing(sources: list[Source], manifest: Manifest, name: str) -> None:
    missing = [source for source in sources if not manifest.holds(_target(source), source.origin)]
    if not missing:
        return
    broken = []
    manifest.save()
    try:
        for source in tqdm(missing, desc=f"transcoding {name}", unit="clip", disable=None):
            target = manifest.folder / _target(source)
            try:
                target.parent.mkdir(exist_ok=True)
                transcode(source.path, target, fewest=2)
            except VideoError as error:
                broken.append(str(error))
            except OSError as error:
                raise DatasetError(f"cannot write {target}: {error}") from error
            else:
                manifest.add(_target(source), source.origin)
    finally:
        manifest.save()
    if broken:
        raise DatasetError(
            f"{len(broken)} of {len(sources)} clips cannot be read, mend or remove them: {'; '.join(broken)}"
        )


def _require_training_clips(classes: tuple[str, ...], clips: tuple[Clip, ...], splits: tuple[Split, ...]) -> None:
    for number, split in enumerate(splits):
        trained = {clips[index].label for index in split.train}
        lacking = [name for label, name in enumerate(classes) if label not in trained]
        if lacking:
            raise DatasetError(
                f"split {number} has no training clips of {', '.join(lacking)}: "
                "these classes need clips of at least three groups"
            )


def _target(source: Source) -> str:
    return f"{source.name}.mp4"
