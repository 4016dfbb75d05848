"""Open video files, and say in one clear line why one cannot be read."""

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import av
from av.stream import Disposition

from pkdlib._files import printable

LARGEST_PICTURE = 2**26  # pixels, twice those of 8K; a damaged header can ask for a picture that no memory holds
RAW_FORMATS = frozenset({"m4v", "h264", "mpegvideo", "h263"})  # they hold pictures in order, without times
# Only formats that hold the pictures themselves: a playlist would have any other file or address opened.
_FORMATS = (
    "3g2,3gp,amv,apng,asf,av1,avi,dv,dxa,fli,flv,gif,gxf,h261,h263,h264,hevc,ivf,m4v,matroska,mjpeg,mjpeg_2000,mov,mp4,"
    "mpeg,mpegts,mpegvideo,mpjpeg,mxf,nsv,nut,obu,ogg,rm,roq,smjpeg,swf,vc1,vc1test,vvc,webm,wtv,xmv,yuv4mpegpipe"
)


class VideoError(Exception):
    """A video that cannot be read: the message is one line that names the file and the reason."""

    def __str__(self) -> str:
        """Return the message, in which a name that is not UTF-8 has escapes."""
        return printable(self.args[0])


class UnreadableVideo(VideoError):
    """There is no such file, it is no video, or it holds nothing that can be decoded."""


class UnsupportedVideo(VideoError):
    """A video, but of a kind from which no motion can be read; the message says what to do."""


class DamagedVideo(VideoError):
    """A truncated or damaged video.

    Attributes:
        sound_frames: Number of frames, counted from where reading began, that are sound.
    """

    def __init__(self, message: str, sound_frames: int):
        """Keep the number beside the message."""
        super().__init__(message, sound_frames)
        self.sound_frames = sound_frames


class NoSuchFrame(VideoError, IndexError):
    """The video has no frame, GOP or position of that number."""


class BadRequest(VideoError, ValueError):
    """An argument that makes no sense, or none for this video; the message names it."""


@contextmanager
def open_stream(path, number: int = 0) -> Iterator[tuple]:
    """Open one of a file's video streams, and close it at the end.

    Pictures attached to the file, such as a cover, do not count as video.

    Args:
        path: Path of a video file.
        number: Number of the stream among the file's video streams.

    Yields:
        PyAV's container and the stream.

    Raises:
        UnreadableVideo: If the path is no readable file, or holds no video. Fewer video streams are a `BadRequest`.
    """
    path = Path(path)
    try:
        status = path.stat()
    except (OSError, ValueError) as error:
        raise UnreadableVideo(f"{path}: {getattr(error, 'strerror', None) or error}") from error
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "no ordinary file"
        raise UnreadableVideo(f"{path}: is {kind}, not a video file")
    if status.st_size == 0:
        raise UnreadableVideo(f"{path}: the file is empty")
    # The name is given as an absolute path, so that one with a colon is not taken for an address.
    with open_object(str(path.absolute()), path, number) as opened:
        yield opened


@contextmanager
def open_object(media, name, number: int) -> Iterator[tuple]:
    """Open one of the video streams of what PyAV can read, and close it at the end.

    Args:
        media: An absolute path, or a binary file object.
        name: What it is called in messages.
        number: Number of the stream among the video streams.

    Yields:
        PyAV's container and the stream.

    Raises:
        UnreadableVideo: If it is no video.
        BadRequest: If it holds fewer video streams.
    """
    try:
        # Metadata need not be UTF-8 (a clip of HMDB-51's is not), and nothing here needs it.
        container = av.open(
            media,
            metadata_errors="ignore",
            options={"format_whitelist": _FORMATS, "protocol_whitelist": "file"},
        )
    except av.ArgumentError as error:
        raise UnreadableVideo(f"{name}: cannot be opened as a video (it is in no format of video files)") from error
    except (av.FFmpegError, OSError, ValueError) as error:
        raise UnreadableVideo(f"{name}: cannot be opened as a video ({reason(error)})") from error
    with container:
        videos = [video for video in container.streams.video if not video.disposition & Disposition.attached_pic]
        if not videos:
            raise UnreadableVideo(f"{name}: holds no video stream")
        if not 0 <= number < len(videos):
            raise BadRequest(f"{name}: stream={number}: its video streams are numbered 0 to {len(videos) - 1}")
        yield container, videos[number]


def packets(container, stream) -> Iterator[av.Packet]:
    """Read a stream's packets from where its container stands.

    Args:
        container: PyAV's container.
        stream: One of its streams.

    Yields:
        The packets that hold something.
    """
    while True:
        try:
            for packet in container.demux(stream):
                if packet.size:
                    yield packet
            return
        except IndexError:  # a packet of a stream that appears on the way, which PyAV does not know: go on behind it
            continue


def truncated(file, container, stream, *, listed: int, found: int) -> bool:
    """Tell whether a file ends before all packets that it announces.

    The number in a header may be wrong, and may count what is never shown; it is not believed over a list of packets
    that is whole.

    Args:
        file: The file, open to be read as bytes.
        container: PyAV's container.
        stream: One of its streams.
        listed: Entries in its list of packets, `len(stream.index_entries)`, before the first was read.
        found: Packets that it holds.

    Returns:
        Whether packets are lost.
    """
    name = container.format.name
    if found >= stream.frames:
        return False
    return found != listed or not (name.startswith("mov,") or (name == "avi" and _holds_its_chunks(file)))


def _holds_its_chunks(file) -> bool:
    # Whether the chunks of an AVI file end inside it: libavformat also lists the packets that it meets.
    size, at = file.seek(0, os.SEEK_END), 0
    while at + 8 <= size:
        file.seek(at)
        head = file.read(8)
        if head[:4] != b"RIFF":
            break
        at += 8 + int.from_bytes(head[4:], "little")
    return at <= size


def reason(error: Exception) -> str:
    """Say in one line what an error of libav* is about.

    Args:
        error: What PyAV raised.

    Returns:
        libav*'s own words, or the exception's.
    """
    return " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
