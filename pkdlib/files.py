"""Names of files: one to write under until a file is whole, and one to show."""

import contextlib
import os
import secrets
import zlib
from collections.abc import Iterator
from pathlib import Path

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
