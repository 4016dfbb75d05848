"""A part of an official data set: which clips of it a prepared folder holds, and under which name.

A file `part.json` in the folder remembers it. A folder without one holds the whole data set, or is to hold it.
"""

import dataclasses
import json
from pathlib import Path

from pkdlib import _files
from pkdlib.data.datasets import DatasetError

_NAME = "part.json"


@dataclasses.dataclass(frozen=True)
class Part:
    """What a prepared folder holds of a data set.

    Attributes:
        dataset: The data set's name on the command line.
        name: The part's own, for folders and tables.
        clips: Names of its clips, class/clip, sorted.
        command: What prepares it, but for `--root`.
    """

    dataset: str
    name: str
    clips: tuple[str, ...]
    command: str


def read(root: Path) -> Part | None:
    """Read which part a prepared folder holds.

    Args:
        root: The folder.

    Returns:
        The part; None if the folder does not say that it holds one.

    Raises:
        DatasetError: If what it says cannot be read.
    """
    path = root / _NAME
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return Part(**found | {"clips": tuple(found["clips"])})
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DatasetError(f"{path} cannot be read ({error}): run `pkd data` with --clips again to write it") from error


def record(root: Path, part: Part | None) -> None:
    """Remember which part a folder holds.

    Args:
        root: The folder.
        part: None for the whole data set.
    """
    if part is None:
        (root / _NAME).unlink(missing_ok=True)
    else:
        _files.write_json(root / _NAME, dataclasses.asdict(part))


def name_of(dataset: str, root: str) -> str:
    """Name the data that a data set's parameters stand for, without reading any.

    Args:
        dataset: The data set, as the parameter of that name says.
        root: Where its clips lie, or empty.

    Returns:
        The part's name where the folder holds a part of this data set, else the data set's.
    """
    part = read(Path(root)) if root else None
    return part.name if part and part.dataset == dataset else dataset
