"""Data sets of compressed clips: what a clip, a split and a data set are.

Each module makes one: `marionette` draws and encodes a procedural one, `folder` takes one's own clips,
`ut_interaction` is a named use of `folder`, and `ucf101` and `hmdb51` are the paper's, with their official splits.
All give a `Dataset`, whose clips are in the paper's form (MPEG-4 Part 2, 340x256, GOP 12) and whose train, validation
and test parts share no group, except where published lists do and the data set says so.
"""

import contextlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path


class DatasetError(Exception):
    """A data set cannot be made or read; the message names the file or parameter and what to do."""


@dataclass(frozen=True)
class Clip:
    """One labelled clip.

    Attributes:
        name: Unique within the data set, without a suffix.
        path: The clip in the paper's form.
        label: Index into `Dataset.classes`.
        group: What must not be divided between train, validation and test (an actor, a source film).
    """

    name: str
    path: Path
    label: int
    group: str


@dataclass(frozen=True)
class Split:
    """Indices into `Dataset.clips` of the three parts; none shares a group, but for `Dataset.shared_groups`."""

    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]


@dataclass(frozen=True)
class Dataset:
    """A data set of labelled clips with its splits.

    Attributes:
        name: For folders and tables.
        classes: Names, in the order of the labels.
        clips: All clips.
        splits: At least one.
        checksum: SHA-256 (hexadecimal) over the names and the SHA-256 of all clip files; of clips that are drawn, over
            what they are drawn from.
        citation: How to cite the data, empty if there is nothing to cite.
        licence: Under which terms the data may be used.
        shared_groups: Groups that published lists have both for training and for test. They are the only ones that
            may be in the test part and in another; training and validation never share any.
        make: Makes those of the clips of these indices whose files are missing; None where all files are there.
        lend: Gives files of the clips of these indices for the time of a block, likewise.
    """

    name: str
    classes: tuple[str, ...]
    clips: tuple[Clip, ...]
    splits: tuple[Split, ...]
    checksum: str
    citation: str
    licence: str
    shared_groups: frozenset[str] = frozenset()
    make: Callable[[Sequence[int]], None] | None = field(default=None, compare=False, repr=False)
    lend: Callable[[Sequence[int]], contextlib.AbstractContextManager[Sequence[Path]]] | None = field(
        default=None, compare=False, repr=False
    )

    def __post_init__(self) -> None:
        """Check that no split leaks a group from one part to another.

        Raises:
            DatasetError: If a split has an empty part, or a group in two parts.
        """
        for number, split in enumerate(self.splits):
            parts = {"train": split.train, "validation": split.validation, "test": split.test}
            seen: dict[str, str] = {}
            for part, indices in parts.items():
                if not indices:
                    raise DatasetError(f"data set {self.name}: split {number} has no {part} clips")
                for group in {self.clips[index].group for index in indices}:
                    if group in seen and (part != "test" or group not in self.shared_groups):
                        raise DatasetError(
                            f"data set {self.name}: split {number} has group {group!r} "
                            f"both in {seen[group]} and in {part}"
                        )
                    seen[group] = part

    def files(self, indices: Iterable[int] | None = None) -> tuple[Path, ...]:
        """Return the files of clips, made first where they are missing and can be made.

        Args:
            indices: Which of the clips; all where none are named.

        Returns:
            A path a clip, in the order asked for.

        Raises:
            DatasetError: If a file cannot be made.
        """  # noqa: DOC502
        wanted = range(len(self.clips)) if indices is None else list(indices)
        if self.make is not None:
            self.make(wanted)
        return tuple(self.clips[index].path for index in wanted)

    def lent(self, indices: Iterable[int]) -> contextlib.AbstractContextManager[Sequence[Path]]:
        """Lend the files of clips for the time of a block; those that are made for it go afterwards.

        Args:
            indices: Which of the clips.

        Returns:
            What gives, to a `with`, a path a clip, in the order asked for.

        Raises:
            DatasetError: If a file cannot be made.
        """  # noqa: DOC502
        if self.lend is None:
            return contextlib.nullcontext(self.files(indices))
        return self.lend(list(indices))


def split_by_group(clips: tuple[Clip, ...], *, validation: set[str], test: set[str]) -> Split:
    """Divide clips by their groups; whatever is in neither set is for training.

    Args:
        clips: All clips of the data set.
        validation: Groups to validate on.
        test: Groups to test on.

    Returns:
        The split, each part in the order of the clips.
    """
    parts: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for index, clip in enumerate(clips):
        part = "test" if clip.group in test else "validation" if clip.group in validation else "train"
        parts[part].append(index)
    return Split(**{part: tuple(indices) for part, indices in parts.items()})
