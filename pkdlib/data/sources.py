"""The videos in a folder of classes, as they were found: which are clips, and what is left out, and why.

Nothing is made here, and no more is needed than the base install.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pkdlib._files import derived, printable
from pkdlib.data.datasets import DatasetError
from pkdlib.video.container import VideoError, open_stream

# Endings that promise a video, so that a file that cannot be read is a fault; any other file is looked into first.
SUFFIXES = (
    *(".avi", ".divx", ".mp4", ".m4v", ".mov", ".3gp", ".3g2", ".mkv", ".webm", ".ogv", ".wmv", ".asf", ".flv"),
    *(".mpg", ".mpeg", ".m2v", ".vob", ".mts", ".m2ts", ".mxf"),
)


@dataclass(frozen=True)
class Source:
    """One video as it was found, before transcoding.

    Attributes:
        path: The video.
        action: Its class: its folder's name.
        group: Which it belongs to, by its file's name.
    """

    path: Path
    action: str
    group: str

    @property
    def name(self) -> str:
        """The clip's name in the data set: class/stem, with bytes that are not UTF-8 as escapes."""
        return f"{self.action}/{_text(self.path.stem)}"

    @property
    def clip_file(self) -> str:
        """The path of the transcoded clip within its folder; no part is longer than a file system allows."""
        action, _, stem = self.name.partition("/")
        return f"{derived(action, '')}/{derived(stem, '.mp4')}"

    @property
    def origin(self) -> dict:
        """What tells this file from a changed one."""
        state = self.path.stat()
        return {"file": _text(self.path.name), "bytes": state.st_size, "modified_ns": state.st_mtime_ns}


@dataclass(frozen=True)
class Found:
    """What a folder holds.

    Attributes:
        sources: The videos, at least one, in the order of classes and names.
        left_out: Reason -> all other files and folders in it, by their paths within it.
    """

    sources: list[Source]
    left_out: dict[str, list[str]]

    def told(self) -> Iterator[str]:
        """Say what is left out.

        Yields:
            A line for each reason.
        """
        for reason, names in self.left_out.items():
            yield f"{', '.join(names)} ({reason})"


def find(root: str | Path, pattern: str) -> Found:
    """List the videos of a folder with their classes and groups.

    Files are known by their endings; only one of another ending is opened, to see whether it is a video after all.

    Args:
        root: Folder with one folder for each class.
        pattern: Regular expression with one group, searched for in each file name.

    Returns:
        Its videos, and what else is in it.

    Raises:
        DatasetError: If the pattern is not one with one group, if it does not match a file's name, or if the
            folder cannot be read, or holds no clips or two of the same name.
    """
    root, expression = Path(root), _expression(pattern)
    if not root.is_dir():
        raise DatasetError(f"there is no folder {printable(root)}")
    sources: dict[str, Source] = {}
    left_out: dict[str, list[str]] = {}
    try:
        for path, reason in _entries(root):
            if reason:
                name = _text(path.relative_to(root))
                left_out.setdefault(reason, []).append(f"{name}/" if path.is_dir() else name)
                continue
            match = expression.search(_text(path.name))
            if match is None or match[1] is None:
                raise DatasetError(
                    f"{printable(path)}: the file name has no match of the pattern {pattern!r} for its group"
                )
            source = Source(path, _text(path.parent.name), match[1])
            if source.name in sources:
                other = _text(sources[source.name].path.name)
                raise DatasetError(f"{printable(path)} and {other} have the same name; rename one")
            sources[source.name] = source
    except OSError as error:
        raise DatasetError(f"cannot read the folder {printable(root)}: {error}") from error
    found = Found(list(sources.values()), left_out)
    if not sources:
        others = "".join(f"; left out: {line}" for line in found.told())
        raise DatasetError(f"{printable(root)} has no clips: expected <class>/<clip>, in any format of videos{others}")
    return found


def _text(path: str | Path) -> str:
    # A name as UTF-8, whatever the locale: the same files make the same data set everywhere.
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _expression(pattern: str) -> re.Pattern:
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise DatasetError(f"pattern {pattern!r} is not a regular expression: {error}") from error
    if expression.groups != 1:
        raise DatasetError(
            f"pattern {pattern!r} has {expression.groups} groups in parentheses; it needs exactly one, "
            "around the part of the file name that tells a clip's group"
        )
    return expression


def _entries(root: Path) -> Iterator[tuple[Path, str]]:
    # Everything in the folder, with the reason why it is no clip, empty if it is one.
    for entry in sorted(root.iterdir()):
        if entry.name.startswith("."):
            yield entry, "hidden"
        elif not entry.is_dir():
            yield entry, "not in the folder of a class"
        else:
            inside = sorted(entry.iterdir())
            if not inside:
                yield entry, "an empty folder"
            for path in inside:
                yield path, _reason_against(path)


def _reason_against(path: Path) -> str:
    if path.name.startswith("."):
        return "hidden"
    if path.is_dir():
        return "a folder in the folder of a class"
    if not path.is_file():
        return "no ordinary file"
    if path.suffix.lower() in SUFFIXES:
        return ""
    try:
        with open_stream(path):
            return ""
    except VideoError as error:
        return str(error).removeprefix(f"{printable(path)}: ").removeprefix(f"{path}: ")
