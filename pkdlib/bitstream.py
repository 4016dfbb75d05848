"""Open a compressed video, index its GOPs, and decode its I-frames, motion vectors and residuals."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av


class VideoError(Exception):
    """A video that cannot be read: the message names the file and the reason."""


@contextmanager
def open_stream(path) -> Iterator[tuple]:
    """Open a file's first video stream, and close it at the end.

    Args:
        path: Path of a video file.

    Yields:
        PyAV's container and its first video stream.

    Raises:
        VideoError: If the path is no readable file, or holds no video.
    """
    path = Path(path)
    if not path.exists():
        raise VideoError(f"{path}: no such file")
    if path.is_dir():
        raise VideoError(f"{path}: is a folder, not a video file")
    if path.stat().st_size == 0:
        raise VideoError(f"{path}: the file is empty")
    try:
        # Metadata need not be UTF-8 (a clip of HMDB-51's is not), and nothing here needs it.
        container = av.open(str(path), metadata_errors="ignore")
    except (av.FFmpegError, OSError) as error:
        reason = error.strerror or type(error).__name__
        raise VideoError(f"{path}: cannot be opened as a video ({reason})") from error
    with container:
        if not container.streams.video:
            raise VideoError(f"{path}: holds no video stream")
        yield container, container.streams.video[0]
