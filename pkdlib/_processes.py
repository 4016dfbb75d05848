"""Processes beside this one: they end with it, and find a folder whose path leaves room for a socket's."""

import os
import signal
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import current_process, get_context, parent_process
from pathlib import Path
from threading import Thread
from typing import Any

# A socket's path may have 107 bytes on Linux and 103 on macOS; those made here take up to 40 behind their folder's.
_LONGEST_FOLDER = 60


class ProcessError(Exception):
    """Processes that cannot be started, or were killed; the message says what to do."""


def pool(
    workers: int, method: str | None, begin: Callable[..., None] | None = None, *arguments: Any
) -> ProcessPoolExecutor:
    """Prepare processes that work for this one, leave Ctrl-C to it, and end with it, however it ends.

    Args:
        workers: Their number.
        method: How they are started, as `multiprocessing` names it; None for the system's own way.
        begin: Called in each before its first work.
        *arguments: What it is called with.

    Returns:
        The pool.

    Raises:
        ProcessError: If the system lacks what they would be watched over with.
    """
    try:
        return ProcessPoolExecutor(workers, get_context(method), _begin, (begin, arguments))
    except OSError as error:  # of the semaphores, which Linux keeps there
        raise ProcessError(
            f"no process can be started beside this one: /dev/shm cannot be used ({error.strerror}); make room there, "
            "or ask for no more processes (workers = 0 to train, threads = 1, `pkd data --workers 1`)"
        ) from error


def refuse_if_starting() -> None:
    """Refuse to work in a process of a pool that only reads the program that started it, which is what it begins with.

    Raises:
        ProcessError: If it is such a process: the program's own work stands outside `if __name__ == "__main__":`, and
            would wait here for what the program itself is at.
    """
    if getattr(current_process(), "_inheriting", False):  # as multiprocessing itself asks before it starts another
        raise ProcessError(
            "a process that works for this program would begin it again: put its own work under "
            '`if __name__ == "__main__":`'
        )


def killed(what: str) -> ProcessError:
    """Say that a process of a pool was killed.

    Args:
        what: It did.

    Returns:
        The error, not raised.
    """
    return ProcessError(
        f"a process that {what} was killed (too little memory, or too little room in /dev/shm?); run again to go on, "
        "with fewer workers if it happens again"
    )


def socket_folder() -> str:
    """Choose a folder for temporary folders that hold sockets.

    Returns:
        That of all temporary files, as TMPDIR names it, if its path is short enough; else the first of /tmp and
        /var/tmp that can be written, or else that of all temporary files after all.
    """
    usual = Path(tempfile.gettempdir())
    for folder in (usual, Path("/tmp"), Path("/var/tmp")):
        if len(os.fsencode(folder)) <= _LONGEST_FOLDER and os.access(folder, os.W_OK | os.X_OK):
            return str(folder)
    return str(usual)


def _begin(begin: Callable[..., None] | None, arguments: tuple) -> None:
    # Ctrl-C reaches every process of the terminal, and only the parent is to answer. A parent that is killed
    # cannot say so, and an idle worker would outlive it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def leave_with_parent() -> None:
        parent_process().join()
        os._exit(1)

    Thread(target=leave_with_parent, daemon=True).start()
    tempfile.tempdir = socket_folder()  # where tensors are handed over, through a socket
    if begin is not None:
        begin(*arguments)
