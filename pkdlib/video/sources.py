"""Where a video's bytes are: in a file, in memory, or behind a file object; all are read at any place, in any order.

What a source is called in messages is its `str()`: the path, or such as `<bytes, 71,000 bytes>`.
"""

import hashlib
import os
import threading
import weakref
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cached_property
from pathlib import Path

from pkdlib.video.container import BadRequest, UnreadableVideo, open_object, open_stream

_PIECE = 2**20  # bytes


class Source:
    """Bytes that can be read at any place, by several readers at a time.

    Attributes:
        path: Path of the file, or None.
        ending: The ending of the file's name, where it is told apart from the path; may be empty.
        size: Number of bytes.
    """

    path: Path | None = None
    ending = ""
    size: int

    def read(self, size: int, place: int) -> bytes:
        """Read bytes.

        Args:
            size: How many.
            place: Where they begin in the source.

        Returns:
            The bytes; fewer only at the end.

        Raises:
            UnreadableVideo: If the source was closed, or cannot be read.
        """
        raise NotImplementedError

    def fill(self, buffer, place: int) -> int:
        """Read bytes into a buffer.

        Args:
            buffer: What is written into.
            place: Where the bytes begin in the source.

        Returns:
            How many were read; fewer than the buffer holds only at the end.
        """
        into = memoryview(buffer)
        data = self.read(len(into), place)
        into[: len(data)] = data
        return len(data)

    @contextmanager
    def open_stream(self, number: int) -> Iterator[tuple]:
        """Open one of the video streams, as `pkdlib.video.container.open_stream` does.

        Args:
            number: Number of the stream among the video streams.

        Yields:
            PyAV's container and the stream, which are closed at the end of the `with` statement.
        """
        cursor = Cursor(self)
        try:
            with open_object(cursor, self, number) as opened:
                yield opened
        except Exception:
            if cursor.error:  # then what followed from it does not matter
                raise cursor.error from None
            raise
        if cursor.error:
            raise cursor.error

    def identity(self) -> tuple[bytes, list[int]]:
        """Tell by what a kept index is found, and by what it is known to be of this content.

        Returns:
            Of a file its absolute path, and its size and time stamp; of all else the SHA-256 of the content, and its
            size.
        """
        return self._digest, [self.size]

    @cached_property
    def _digest(self) -> bytes:
        digest = hashlib.sha256()
        for place in range(0, self.size, _PIECE):
            digest.update(self.read(_PIECE, place))
        return digest.digest()

    def close(self) -> None:
        """Let go of what this object opened or holds; a file object that was given stays open."""
        raise NotImplementedError

    def _closed(self) -> UnreadableVideo:
        return UnreadableVideo(f"{self}: was closed; open it again to read on")


class _File(Source):
    # A file by its path, of which each process has its own position, or none.

    def __init__(self, path: Path):
        self.path = path
        try:
            self._file = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0))
        except (OSError, ValueError) as error:
            raise UnreadableVideo(f"{path}: {getattr(error, 'strerror', None) or error}") from error
        self._closing = weakref.finalize(self, os.close, self._file)

    def __str__(self) -> str:
        return str(self.path)

    def __reduce__(self) -> tuple:
        return _File, (self.path,)

    @property
    def size(self) -> int:
        return os.fstat(self._file).st_size

    def read(self, size: int, place: int) -> bytes:
        return self._tried(os.pread, size, place)

    def fill(self, buffer, place: int) -> int:
        return self._tried(os.preadv, [buffer], place)

    def open_stream(self, number: int) -> AbstractContextManager[tuple]:
        self._check()
        return open_stream(self.path, number)  # libavformat reads the file by itself

    def identity(self) -> tuple[bytes, list[int]]:
        status = self.path.stat()
        return os.fsencode(self.path.absolute()), [status.st_size, status.st_mtime_ns]

    def close(self) -> None:
        self._closing()

    def _tried(self, read, what, place: int):
        self._check()
        try:
            return read(self._file, what, place)
        except OSError as error:
            raise UnreadableVideo(f"{self}: cannot be read ({error.strerror or error})") from error

    def _check(self) -> None:
        if not self._closing.alive:
            raise self._closed()


class _Memory(Source):
    # A buffer, which is not copied but for another process that does not share this one's memory.

    def __init__(self, given):
        kind, view = type(given).__name__, memoryview(given)
        if view.itemsize != 1 or not view.c_contiguous:
            raise BadRequest(f"<{kind}>: must hold bytes in one piece, as numpy.ascontiguousarray(x, numpy.uint8) does")
        self._view: memoryview | None = view.cast("B")
        self.size = len(self._view)
        self._name = f"<{kind}, {self.size:,} bytes>"
        if self.size == 0:
            raise UnreadableVideo(f"{self}: is empty")

    def __str__(self) -> str:
        return self._name

    def __reduce__(self) -> tuple:
        return _Memory, (self.read(self.size, 0),)

    def read(self, size: int, place: int) -> bytes:
        if self._view is None:
            raise self._closed()
        return bytes(self._view[place : place + size])

    def close(self) -> None:
        self._view = None


class _FileObject(Source):
    # Somebody else's object, which may raise anything. A forked process would move its position in the file for this
    # one too, so that either could read what is elsewhere.

    def __init__(self, given):
        self._file, self._lock, self._process = given, threading.Lock(), os.getpid()
        name = getattr(given, "name", None)
        self.ending = os.path.splitext(name)[1] if isinstance(name, str) else ""
        self._name = f"{type(given).__name__} {name!r}" if isinstance(name, str) else type(given).__name__
        try:
            is_seekable = getattr(given, "seekable", lambda: True)()
            if is_seekable:
                given.seek(0, os.SEEK_END)
                self.size = given.tell()
            is_binary = not isinstance(given.read(0), str)
        except Exception as error:
            raise self._failed(error) from error
        if not is_seekable:
            raise UnreadableVideo(f"{self}: is not seekable; give the bytes that its read() returns instead")
        if not is_binary:
            raise UnreadableVideo(f"{self}: gives text; open it in binary mode, 'rb'")
        self._name += f", {self.size:,} bytes"
        if self.size == 0:
            raise UnreadableVideo(f"{self}: is empty")

    def __str__(self) -> str:
        return f"<{self._name}>"

    def __reduce__(self) -> tuple:
        raise BadRequest(f"{self}: a file object cannot be given to another process; give a path or bytes instead")

    def read(self, size: int, place: int) -> bytes:
        if self._file is None:
            raise self._closed()
        if os.getpid() != self._process:
            raise UnreadableVideo(f"{self}: a forked process cannot share a file object; give a path or bytes instead")
        pieces, left = [], size
        try:
            with self._lock:
                self._file.seek(place)
                while left > 0 and (piece := self._file.read(left)):
                    pieces.append(piece)
                    left -= len(piece)
            return b"".join(pieces)
        except Exception as error:
            raise self._failed(error) from error

    def close(self) -> None:
        self._file = None

    def _failed(self, error: Exception) -> UnreadableVideo:
        return UnreadableVideo(f"{self}: cannot be read ({' '.join(str(error).split()) or type(error).__name__})")


class Cursor:
    """A place of its own in a source, as a binary file object.

    PyAV cannot take more than one exception on the way through libavformat. So a source that fails ends there, and the
    error is kept.

    Args:
        source: The source.

    Attributes:
        error: Why the source could not be read, or None.
        name: The ending of the file's name, if there is one: libavformat may tell its kind by it.
    """

    def __init__(self, source: Source):
        """Begin at the beginning."""
        self._source, self._place = source, 0
        self.name, self.error = source.ending, None

    def read(self, size: int) -> bytes:
        """Read bytes, and go on behind them.

        Args:
            size: How many.

        Returns:
            The bytes; fewer only at the end.
        """
        try:
            data = b"" if self.error else self._source.read(size, self._place)
        except UnreadableVideo as error:
            data, self.error = b"", error
        self._place += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go to a place.

        Args:
            offset: How far.
            whence: From where, as `io` numbers it.

        Returns:
            The place.
        """
        self._place = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._source.size}[whence]
        return self._place

    def tell(self) -> int:
        """Return the place."""
        return self._place


def of(given) -> Source:
    """Tell what kind of source a caller gave.

    A file can be shared by forked processes, and pickled, as its path. So can bytes; but pickling copies them. A file
    object serves the threads of one process.

    Args:
        given: A path; or `bytes` or another buffer in one piece, such as a memoryview or a numpy array of uint8, which
            is not copied and must not change; or a binary file object that can be sought in, whose position is moved
            with each read, and which stays open.

    Returns:
        The source.

    Raises:
        BadRequest: If it is none of these. What cannot be read, or not at any place, raises `UnreadableVideo`.
    """
    if isinstance(given, (str, os.PathLike)):
        return _File(Path(given))
    try:
        memoryview(given)
    except TypeError:
        if hasattr(given, "read"):
            return _FileObject(given)
    else:
        return _Memory(given)
    raise BadRequest(f"<{type(given).__name__}>: must be a path, bytes or another buffer, or a binary file object")
