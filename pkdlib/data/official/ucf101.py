"""UCF-101: 13,320 clips of 101 actions, from YouTube, with three official splits.

A class's clips are in 25 groups, each from one background or person: `v_SoccerJuggling_g23_c01.avi` is of group 23.
Groups are numbered within a class, so a group here is the pair of class and number. No official split divides one.
"""

import re
from pathlib import Path

from pkdlib.data.datasets import DatasetError
from pkdlib.data.official.official import Lists, Official, OfficialSplit, Source, action_of, read_lines

_NAME = re.compile(r"[^/]+/v_\w+_(g\d\d)_c\d\d")


def read_lists(folder: Path, splits: int) -> Lists:
    """Read `classInd.txt`, and each split's `trainlist0K.txt` and `testlist0K.txt`.

    Args:
        folder: Where the lists lie.
        splits: Number of splits.

    Returns:
        What they say; the labels are the official class indices, less one.

    Raises:
        DatasetError: If a list is missing or damaged, or a class index is not the class's.
    """
    indices = {}
    for place, words in read_lines(folder, "classInd.txt"):
        if len(words) != 2 or words[0] != str(len(indices) + 1):
            raise DatasetError(f"{place}: expected class index {len(indices) + 1} and a class")
        indices[words[1]] = words[0]
    found = []
    for number in range(1, splits + 1):
        parts = []
        for file in (f"trainlist{number:02d}.txt", f"testlist{number:02d}.txt"):
            parts.append(tuple(_clip(place, words, indices) for place, words in read_lines(folder, file)))
        found.append(OfficialSplit(*parts))
    names = {name for split in found for name in (*split.train, *split.test)}
    return Lists(tuple(indices), tuple(sorted(names)), tuple(found))


def group(name: str) -> str:
    """Return a clip's group.

    Args:
        name: Class/clip.

    Returns:
        Class/gNN.

    Raises:
        DatasetError: If the name is not of UCF-101's form.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise DatasetError(f"{name} is not named as UCF-101's clips are (v_<class>_gNN_cNN)")
    return f"{action_of(name)}/{match[1]}"


def _clip(place: str, words: list[str], indices: dict[str, str]) -> str:
    name, dot, _ = words[0].rpartition(".")
    if not dot or action_of(name) not in indices:
        raise DatasetError(f"{place}: expected <class>/<clip>.avi of a class in classInd.txt")
    if words[1:] not in ([], [indices[action_of(name)]]):
        raise DatasetError(f"{place}: class index {words[1]}, but {action_of(name)} has {indices[action_of(name)]}")
    return name


SPEC = Official(
    name="ucf101",
    title="UCF-101",
    classes=101,
    clips=13_320,
    splits=((9_537, 3_783), (9_586, 3_734), (9_624, 3_696)),
    videos=Source("https://www.crcv.ucf.edu/data/UCF101/UCF101.rar", 6_932_971_618),
    lists=Source("https://www.crcv.ucf.edu/data/UCF101/UCF101TrainTestSplits-RecognitionTask.zip", 114_000),
    unpacked=7_000_000_000,
    transcoded=15_000_000_000,
    core_minutes=27,
    read_lists=read_lists,
    group=group,
    citation=(
        "K. Soomro, A. R. Zamir and M. Shah, UCF101: A Dataset of 101 Human Actions Classes From Videos in The Wild, "
        "2012. arXiv:1212.0402"
    ),
    licence="No licence text known to us; clips from YouTube, given out for research; not part of this project.",
)
