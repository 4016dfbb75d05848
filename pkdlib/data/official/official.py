"""Data sets with official splits: what each one states about itself, its lists checked, its validation parts.

A folder that `pkd data` has prepared holds::

    root/
        lists/     the official lists of training and test clips, as unpacked
        videos/    the original videos, as unpacked; of no use any more once all clips are made
        clips/     the clips in the paper's form, <class>/<clip>.mp4, with their manifest.json
        part.json  which clips it holds, where that is a part of the data set

Of a part the official splits are what they list of it. The lists name no validation clips, so whole groups are taken
from training for it. Test lists are never altered: where an official split has clips of one group both for training and
for test, that is reported, and the data set says so.
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from pkdlib.data._manifest import Manifest, located
from pkdlib.data.datasets import Clip, Dataset, DatasetError, Split
from pkdlib.data.official import parts
from pkdlib.data.official.archives import readable

VALIDATION_SHARE = 0.15  # of each class's training clips, at most, as far as its groups allow
FEWEST_GROUPS = 2  # of a class's training clips: one to train on, one to validate on
FORM = {"codec": "MPEG-4 Part 2", "width": 340, "height": 256, "gop": 12}


@dataclass(frozen=True)
class Source:
    """A file to download.

    Attributes:
        url: Its address.
        size: Its size in bytes, about.
    """

    url: str
    size: int


@dataclass(frozen=True)
class OfficialSplit:
    """The clips that an official split lists.

    Attributes:
        train: Names of the training clips, class/clip.
        test: Names of the test clips.
    """

    train: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True)
class Lists:
    """What the official lists say.

    Attributes:
        classes: Names of the classes, in the order of the labels.
        names: All clips, class/clip, sorted.
        splits: The splits.
    """

    classes: tuple[str, ...]
    names: tuple[str, ...]
    splits: tuple[OfficialSplit, ...]

    def restricted(self, names: Iterable[str]) -> "Lists":
        """Leave out all other clips, and classes of which none is left.

        Args:
            names: The clips to keep; those that are not listed do not count.

        Returns:
            What the lists say of these clips, in the same order.
        """
        kept = set(names) & set(self.names)
        classes = {action_of(name) for name in kept}
        return Lists(
            classes=tuple(name for name in self.classes if name in classes),
            names=tuple(name for name in self.names if name in kept),
            splits=tuple(
                OfficialSplit(*(tuple(name for name in part if name in kept) for part in (split.train, split.test)))
                for split in self.splits
            ),
        )


@dataclass(frozen=True)
class Official:
    """What is a data set's own.

    Attributes:
        name: For folders, tables and the command line.
        title: As its authors write it.
        classes: Number of classes.
        clips: Number of clips.
        splits: Numbers of training and of test clips, for each split.
        videos: The archive of the videos.
        lists: The archive of the lists.
        unpacked: Bytes of the original videos.
        transcoded: Bytes of the clips in the paper's form, about.
        core_minutes: Minutes that transcoding takes one core, about.
        read_lists: Reads the lists out of the folder that holds them, for so many splits.
        group: Gives the group of a clip by its name, class/clip.
        citation: How to cite it.
        licence: Under which terms it may be used.
    """

    name: str
    title: str
    classes: int
    clips: int
    splits: tuple[tuple[int, int], ...]
    videos: Source
    lists: Source
    unpacked: int
    transcoded: int
    core_minutes: int
    read_lists: Callable[[Path, int], Lists]
    group: Callable[[str], str]
    citation: str
    licence: str


def load(official: Official, root: str | Path) -> Dataset:
    """Read a data set that `pkd data` has prepared.

    Args:
        official: Which one.
        root: The folder that it was prepared in.

    Returns:
        All listed clips with the official splits, or of a part those that it has; validation takes whole groups out of
        training.

    Raises:
        DatasetError: If the folder is not prepared, or clips are missing, which are named.
    """
    root = Path(root)
    part = parts.read(root)
    if part and part.dataset != official.name:
        raise DatasetError(f"{root} holds {part.name}, a part of {part.dataset}, and not of {official.name}")
    prepare = f"{part.command if part else f'pkd data {official.name}'} --root {root}"
    if not (root / "clips").is_dir():
        raise DatasetError(f"{root} holds no prepared {official.title}: run `{prepare}` first")
    lists = official.read_lists(root / "lists", len(official.splits))
    if part:
        lists = lists.restricted(part.clips)
    manifest = Manifest(root / "clips", FORM)
    missing = [name for name in lists.names if not manifest.whole(clip_file(name))]
    if missing:
        raise DatasetError(f"{root / 'clips'} lacks {listing(missing, len(lists.names))}: run `{prepare}` to go on")
    checksum = manifest.checksum([clip_file(name) for name in lists.names])
    return assemble(official, lists, root, checksum, name=part.name if part else official.name)


def assemble(official: Official, lists: Lists, root: Path, checksum: str, *, name: str) -> Dataset:
    """Make a data set of what its lists say, without looking for the clips.

    Args:
        official: Which one.
        lists: What is taken of its lists.
        root: The folder that it is prepared in.
        checksum: Of its clips.
        name: The data set's or the part's.

    Returns:
        The data set.

    Raises:
        DatasetError: If a part of a split is empty.
    """  # noqa: DOC502
    clips = tuple(
        Clip(clip, located(root / "clips", clip_file(clip)), lists.classes.index(action_of(clip)), official.group(clip))
        for clip in lists.names
    )
    splits = tuple(_split(clips, split) for split in lists.splits)
    shared = frozenset().union(*(shared_groups(clips, split) for split in splits))
    return Dataset(name, lists.classes, clips, splits, checksum, official.citation, official.licence, shared)


def unfit_classes(official: Official, lists: Lists) -> dict[str, str]:
    """Find the classes of which too little is there for an official split.

    Args:
        official: Which data set.
        lists: What is there of its lists.

    Returns:
        Class -> what is missing. A class needs in each split clips to test, and clips of two groups to train and to
        validate on.
    """
    unfit: dict[str, str] = {}
    for number, split in enumerate(lists.splits, 1):
        tested = {action_of(name) for name in split.test}
        groups = defaultdict(set)
        for name in split.train:
            groups[action_of(name)].add(official.group(name))
        for action in lists.classes:
            if action not in tested:
                unfit.setdefault(action, f"split {number} has no test clip of it")
            elif len(groups[action]) < FEWEST_GROUPS:
                found = f"training clips of {len(groups[action])} group" if groups[action] else "no training clip"
                unfit.setdefault(action, f"split {number} has {found} of it")
    return unfit


def checked_lists(official: Official, folder: Path) -> Lists:
    """Read the lists and compare their numbers with the published ones.

    Args:
        official: Which data set.
        folder: Where the lists lie.

    Returns:
        The lists.

    Raises:
        DatasetError: If a list is missing, damaged or not the official one, or names a clip in another form.
    """
    lists = official.read_lists(folder, len(official.splits))
    for name in lists.names:
        official.group(name)  # raises where a name is not of the data set's form
    found = {"classes": len(lists.classes), "clips": len(lists.names)}
    wanted = {"classes": official.classes, "clips": official.clips}
    for number, (split, (train, test)) in enumerate(zip(lists.splits, official.splits, strict=True), 1):
        found |= {
            f"training clips in split {number}": len(split.train),
            f"test clips in split {number}": len(split.test),
        }
        wanted |= {f"training clips in split {number}": train, f"test clips in split {number}": test}
        both = sorted(set(split.train) & set(split.test))
        if both:
            raise DatasetError(f"{folder}: split {number} lists {both[0]} both for training and for test")
    wrong = [f"{found[what]:,} {what} instead of {wanted[what]:,}" for what in wanted if found[what] != wanted[what]]
    if wrong:
        raise DatasetError(f"{folder}: not the official lists of {official.title}: {', '.join(wrong)}")
    return lists


def shared_groups(clips: tuple[Clip, ...], split: Split) -> set[str]:
    """Return the groups that a split has in its test part and in another.

    Args:
        clips: All clips of the data set.
        split: The split.

    Returns:
        The groups' names.
    """
    return {clips[i].group for i in split.test} & {clips[i].group for i in (*split.train, *split.validation)}


def validation_groups(clips: tuple[Clip, ...], train: list[int], tested: set[str]) -> set[str]:
    """Choose groups of training clips to validate on.

    Groups are tried in an order that depends on their names alone, those first that the test part does not have, and
    taken if no class then gives more than `VALIDATION_SHARE` of its clips, or its smallest group where that is more.
    So no class loses all its training clips.

    Args:
        clips: All clips of the data set.
        train: Indices of the clips that are listed for training.
        tested: Groups of the test part.

    Returns:
        The chosen groups.
    """
    counts: dict[str, Counter] = defaultdict(Counter)
    for index in train:
        counts[clips[index].group][clips[index].label] += 1
    room = {}
    for label in {clips[index].label for index in train}:
        sizes = [count[label] for count in counts.values() if count[label]]
        room[label] = max(int(VALIDATION_SHARE * sum(sizes)), min(sizes)) if len(sizes) > 1 else 0
    chosen = set()
    for group in sorted(counts, key=lambda group: (group in tested, hashlib.sha256(group.encode()).digest())):
        if all(count <= room[label] for label, count in counts[group].items()):
            chosen.add(group)
            for label, count in counts[group].items():
                room[label] -= count
    return chosen


def action_of(name: str) -> str:
    """Return the class in a clip's name.

    Args:
        name: Class/clip.

    Returns:
        The class.
    """
    return name.partition("/")[0]


def clip_file(name: str) -> str:
    """Return the path of a clip within the folder of clips.

    Args:
        name: Class/clip.

    Returns:
        The path.
    """
    return f"{name}.mp4"


def listing(missing: list[str], total: int, limit: int = 20) -> str:
    """Say which clips are missing, in one line.

    Args:
        missing: Their names, class/clip.
        total: How many there should be.
        limit: How many are named.

    Returns:
        The line.
    """
    rest = f" and {len(missing) - limit:,} more" if len(missing) > limit else ""
    return f"{len(missing):,} of {total:,} clips ({', '.join(missing[:limit])}{rest})"


def read_lines(folder: Path, name: str) -> list[tuple[str, list[str]]]:
    """Read a list, wherever in the folder it lies.

    Args:
        folder: The folder of lists.
        name: The file's name.

    Returns:
        A pair for each line that is not empty. First its place, for messages. Then the text before its last word, and
        that word; a single word stands alone.

    Raises:
        DatasetError: If there is no such file, or two.
    """
    found = sorted(folder.rglob(name))
    if len(found) != 1:
        problem = "there is no file" if not found else "there are several files"
        raise DatasetError(f"{folder}: {problem} {name}, one of the official lists")
    lines = readable(found[0].read_bytes()).splitlines()
    return [
        (f"{found[0]}, line {number}", line.strip().rsplit(None, 1))
        for number, line in enumerate(lines, 1)
        if line.strip()
    ]


def _split(clips: tuple[Clip, ...], listed: OfficialSplit) -> Split:
    index = {clip.name: number for number, clip in enumerate(clips)}
    train, test = (sorted(index[name] for name in names) for names in (listed.train, listed.test))
    chosen = validation_groups(clips, train, {clips[i].group for i in test})
    return Split(
        train=tuple(i for i in train if clips[i].group not in chosen),
        validation=tuple(i for i in train if clips[i].group in chosen),
        test=tuple(test),
    )
