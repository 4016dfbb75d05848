"""HMDB-51: 6,766 clips of 51 actions, mostly from films, with three official splits.

A clip is named by its film, its class and what it shows: `TrumanShow_wave_f_nm_np1_fr_med_26.avi`. A group is a film,
across the classes. Films that were cut into parts (`Pirates_3`, `Pirates_5`) count as one, and so does what differs in
capitals only: a group that is too large is safe, one that is too small puts a film in training and validation at once.
The official splits divide films: a film's clips of one class train while those of another are tested.
"""

import re
from pathlib import Path

from pkdlib.data.datasets import DatasetError
from pkdlib.data.official.official import Lists, Official, OfficialSplit, Source, read_lines

_UNUSED, _TRAIN, _TEST = "0", "1", "2"
# Visible body (head, upper, full, lower), camera motion, number of people, viewpoint, quality, and a number.
_TAGS = re.compile(r"_[hufl]_[cn]m_np\d+_(?:fr|ba|le|ri)_(?:bad|med|goo)_\d+$")
_PART = re.compile(r"[\W_]*(?:part)?[\W_]*\d+[\W_]*$", re.IGNORECASE)


def read_lists(folder: Path, splits: int) -> Lists:
    """Read each class's and each split's `<class>_test_splitK.txt`.

    Args:
        folder: Where the lists lie.
        splits: Number of splits.

    Returns:
        What they say; the labels are in the alphabetical order of the classes.

    Raises:
        DatasetError: If a list is missing or damaged.
    """
    endings = [f"_test_split{number}.txt" for number in range(1, splits + 1)]
    files = {path.name for path in folder.rglob("*_test_split*.txt") if not path.name.startswith(".")}
    classes = sorted({name.removesuffix(ending) for name in files for ending in endings if name.endswith(ending)})
    if not classes:
        raise DatasetError(f"{folder}: there are no files <class>_test_split1.txt, the official lists")
    names, found = set(), []
    for ending in endings:
        flagged: dict[str, list[str]] = {_UNUSED: [], _TRAIN: [], _TEST: []}
        for action in classes:
            for place, words in read_lines(folder, action + ending):
                if len(words) != 2 or words[1] not in flagged or "." not in words[0]:
                    raise DatasetError(f"{place}: expected <clip>.avi and 0 (unused), 1 (training) or 2 (test)")
                flagged[words[1]].append(f"{action}/{words[0].rpartition('.')[0]}")
        names.update(*flagged.values())
        found.append(OfficialSplit(tuple(flagged[_TRAIN]), tuple(flagged[_TEST])))
    return Lists(tuple(classes), tuple(sorted(names)), tuple(found))


def group(name: str) -> str:
    """Return the film that a clip is from.

    Args:
        name: Class/clip.

    Returns:
        The film, in small letters and without the number of a part.

    Raises:
        DatasetError: If the name is not of HMDB-51's form.
    """
    action, _, clip = name.partition("/")
    film, tags, _ = _TAGS.sub("/", clip).partition("/")
    if not tags:
        raise DatasetError(f"{name} is not named as HMDB-51's clips are (<film>_<class>_f_nm_np1_fr_med_0)")
    film = film.removesuffix(f"_{action}").casefold()
    return _PART.sub("", film) or film


SPEC = Official(
    name="hmdb51",
    title="HMDB-51",
    classes=51,
    clips=6_766,
    splits=((3_570, 1_530),) * 3,
    videos=Source("https://serre-lab.clps.brown.edu/wp-content/uploads/2013/10/hmdb51_org.rar", 2_100_000_000),
    lists=Source("https://serre-lab.clps.brown.edu/wp-content/uploads/2013/10/test_train_splits.rar", 200_000),
    unpacked=2_200_000_000,
    transcoded=5_500_000_000,
    core_minutes=10,
    read_lists=read_lists,
    group=group,
    citation=(
        "H. Kuehne, H. Jhuang, E. Garrote, T. Poggio and T. Serre, HMDB: A Large Video Database for Human Motion "
        "Recognition, ICCV 2011."
    ),
    licence="Creative Commons Attribution 4.0, says its page; not part of this project.",
)
