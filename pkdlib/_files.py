"""Files that appear whole or not at all, and their names: one to write under until then, and one to show."""

import contextlib
import json
import os
import secrets
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

RESUME = "resume"  # the folder within a step that holds what an interrupted one goes on from
_LONGEST_NAME = 255  # bytes, of most file systems


@contextlib.contextmanager
def appearing(target: Path) -> Iterator[Path]:
    """Give a name beside a file's to write under; it becomes the file's if the block ends without an error.

    Args:
        target: The file that is to appear whole or not at all.

    Yields:
        The temporary path. It is short however long the file's name is, and one that no other process chooses, on no
        machine that shares the folder: ids of processes are shared by pods.
    """
    temporary = target.with_name(f".{secrets.token_hex(8)}.tmp")
    try:
        yield temporary
        os.replace(temporary, target)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def printable(text) -> str:
    r"""Show a name that need not be UTF-8.

    Args:
        text: A path, or a text with one in it.

    Returns:
        The text, with bytes that are not UTF-8 as escapes such as `\xe9`.
    """
    return str(text).encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def derived(stem: str, ending: str) -> str:
    """Name a file after another.

    Args:
        stem: The other's name, without its ending.
        ending: What to append.

    Returns:
        Both together; where that is longer than file systems allow, the stem is cut, and a checksum tells it apart.
    """
    name, room = stem.encode("utf-8", "surrogateescape"), _LONGEST_NAME - len(ending)
    if len(name) <= room:
        return stem + ending
    mark = f"-{zlib.crc32(name):08x}"
    return name[: room - len(mark)].decode("utf-8", "ignore") + mark + ending


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Write a file under a temporary name beside its place, then rename it.

    Args:
        path: The file that is to appear whole or not at all.
        write: Called with the temporary path; it writes the file there.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with appearing(path) as temporary:
        write(temporary)


def write_json(path: Path, content: Any) -> None:
    """Write JSON atomically, with sorted keys, so that equal contents are equal bytes.

    Args:
        path: The file.
        content: Anything JSON-compatible.
    """
    text = json.dumps(content, indent=2, sort_keys=True) + "\n"
    write_atomically(path, lambda temporary: temporary.write_text(text, encoding="utf-8"))


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Args:
        path: The file.

    Returns:
        Its content.
    """
    return json.loads(Path(path).read_text(encoding="utf-8"))
