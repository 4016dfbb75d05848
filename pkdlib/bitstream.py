"""Open a compressed video, index its GOPs, and decode its I-frames, motion vectors and residuals.

The semantics are those of CoViAR's loader (Wu et al., Compressed Video Action Recognition, CVPR 2018), and equal to
it bit for bit where it is defined. They differ, on purpose, in four things: the last frame is not lost; a P-frame
without vectors keeps the accumulated motion (the stream says that all is still); any GOP length, container and
codec whose vectors libavcodec exports will do; and what cannot be read raises one `VideoError`.

Motion is taken against the picture that a frame is predicted from. In a stream of I- and P-frames with one reference,
as the paper's, that is the frame before. Two cases are approximate, and `CompressedVideo.exact` is False there. A
B-frame uses its vectors to the past alone, against the last I- or P-frame before it in display order, and no other
frame is traced through it. H.264 may predict from older frames, which libavcodec's export does not tell apart: all
are taken to be the last I- or P-frame.
"""

import operator
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from pkdlib.motion import Trace, Tracer

# Decoders that fill in AV_FRAME_DATA_MOTION_VECTORS; hevc, vp8, vp9 and av1 do not.
_WITH_VECTORS = frozenset(
    "mpeg4 h264 mpeg1video mpeg2video h263 flv1 msmpeg4v1 msmpeg4v2 msmpeg4v3 wmv1 wmv2".split()  # noqa: SIM905
)
_RAW_FORMATS = frozenset({"m4v", "h264", "mpegvideo", "h263"})  # they hold pictures in order, without times
_LARGEST_UNCODED = 19  # bytes; a smaller packet may stand for no picture of its own (libavcodec's MAX_NVOP_SIZE)


class VideoError(Exception):
    """A video that cannot be read: the message names the file and the reason."""


class Gop(NamedTuple):
    """A group of pictures: its key frame's index in display order, and its number of frames."""

    start: int
    length: int


class Sample(NamedTuple):
    """The three modalities at one position of a GOP.

    Attributes:
        iframe: The GOP's I-frame, uint8 (H, W, 3) RGB.
        motion: Displacement (x, y) in whole pixels, current minus reference, int16 (H, W, 2).
        residual: Picture minus compensated reference, int16 (H, W, 3) RGB.
    """

    iframe: np.ndarray
    motion: np.ndarray
    residual: np.ndarray


@dataclass(frozen=True, eq=False)
class Frame:
    """One frame of a pass over a video.

    Attributes:
        index: Number of the frame in display order, from 0.
        gop: Number of its GOP, from 0.
        position: Its place in the GOP; 0 is the key frame.
        type: "I", "P", "B" or another of libavcodec's picture types.
        time: Seconds since the start of the stream's clock.
        image: The decoded picture, uint8 (H, W, 3) RGB, or None if not asked for.
        motion: Displacement (x, y), int16 (H, W, 2); zeros at position 0.
        residual: Difference, int16 (H, W, 3) RGB, zeros at position 0; or None if not asked for.
    """

    index: int
    gop: int
    position: int
    type: str
    time: float
    image: np.ndarray | None
    motion: np.ndarray
    residual: np.ndarray | None


class CompressedVideo:
    """A compressed video whose GOPs can be read in any order.

    Opening it reads the file once, to index the key frames; a sample then costs one seek and the decoding from its
    key frame on. Use one object in one thread at a
    time, and close it or use it in a `with` statement. All that fails, here and later, raises `VideoError`.

    Args:
        path: Path of a video file.

    Attributes:
        path: The path.
        codec: Name of the codec, such as "mpeg4" or "h264".
        width: Width of the pictures, pixels, as stored (a rotation mark is not followed).
        height: Height of the pictures, pixels.
        num_frames: Number of frames.
        frame_rate: Frames a second, a Fraction.
        gops: The groups of pictures, in display order, of any length.
        exact: Whether the accumulated motion is exactly the stream's (see the module's text).
    """

    def __init__(self, path):
        """Open the file and index its GOPs.

        Raises:
            VideoError: If the file cannot be read or exports no motion vectors.
        """
        self.path = Path(path)
        self._stack = ExitStack()
        with self._stack:  # closes the file if anything below fails
            self._container, self._stream = self._stack.enter_context(open_stream(self.path))
            context = self._stream.codec_context
            self.codec = context.codec.canonical_name
            if self.codec not in _WITH_VECTORS:
                raise VideoError(
                    f"{self.path}: the codec {self.codec} exports no motion vectors; re-encode the file as MPEG-4 "
                    "with pkdlib.transcode.transcode(source, target)"
                )
            _prepare(self._stream)
            self.width, self.height = context.width, context.height
            self.frame_rate = self._stream.guessed_rate or Fraction(25)
            self._tracer = Tracer(self.height, self.width)
            self._reformatter = VideoReformatter()
            # AVI counts packets; neither it nor a raw stream knows when a picture is shown.
            self._timeless = self._container.format.name in {"avi", *_RAW_FORMATS}
            self.gops, self._key_times = self._index()
            self.num_frames = sum(gop.length for gop in self.gops)
            self.exact = self.codec != "h264" and not context.has_b_frames
            self._stack = self._stack.pop_all()

    def close(self) -> None:
        """Close the file; doing so twice does no harm."""
        self._stack.close()

    def __enter__(self):
        """Return the video itself."""
        return self

    def __exit__(self, *exception):
        """Close the file."""
        self.close()

    @cached_property
    def frame_types(self) -> tuple[str, ...]:
        """Picture type of each frame, in display order; asking for it decodes the whole video once."""
        return tuple(picture.type for picture in self._pass())

    def iframe(self, gop: int) -> np.ndarray:
        """Decode the key frame of a GOP.

        Args:
            gop: Number of the GOP; negative numbers count from the end.

        Returns:
            The picture, uint8 (H, W, 3) RGB.
        """
        return self.image(gop, 0)

    def image(self, gop: int, position: int) -> np.ndarray:
        """Decode the picture at a position of a GOP.

        Args:
            gop: Number of the GOP; negative numbers count from the end.
            position: Place in the GOP; negative numbers count from its end.

        Returns:
            The picture, uint8 (H, W, 3) RGB.
        """
        return self._read(gop, position, accumulate=False)[1].image

    def motion(self, gop: int, position: int, accumulate: bool = True) -> np.ndarray:
        """Read the motion at a position of a GOP.

        Args:
            gop: Number of the GOP; negative numbers count from the end.
            position: Place in the GOP; negative numbers count from its end.
            accumulate: Since the I-frame, not since the reference frame alone.

        Returns:
            Displacement (x, y) in whole pixels, current minus reference, int16 (H, W, 2); zeros at position 0.
        """
        return self._tracer.motion(self._read(gop, position, accumulate)[2])

    def residual(self, gop: int, position: int, accumulate: bool = True) -> np.ndarray:
        """Compute the residual at a position of a GOP.

        Args:
            gop: Number of the GOP; negative numbers count from the end.
            position: Place in the GOP; negative numbers count from its end.
            accumulate: Against the I-frame, not against the reference frame.

        Returns:
            Picture minus compensated reference, int16 (H, W, 3) RGB; zeros at position 0.
        """
        return self.sample(gop, position, accumulate).residual

    def sample(self, gop: int, position: int, accumulate: bool = True) -> Sample:
        """Read the three modalities at a position of a GOP, with one seek.

        Args:
            gop: Number of the GOP; negative numbers count from the end.
            position: Place in the GOP; negative numbers count from its end.
            accumulate: Since the I-frame, not since the reference frame alone.

        Returns:
            The I-frame, the motion and the residual.
        """
        key, picture, source, reference = self._read(gop, position, accumulate)
        return Sample(key.image, self._tracer.motion(source), self._residual(picture, reference, source))

    def frames(self, accumulate: bool = True, *, image: bool = True, residual: bool = True) -> Iterator[Frame]:
        """Decode all frames in display order, in one pass that does the work once.

        The pass has its own file handle, so that samples can be read meanwhile. Its arrays serve it for later frames
        too: copy one before writing into it.

        Args:
            accumulate: Motion and residual since the I-frame, not since the reference frame alone.
            image: Give the decoded pictures.
            residual: Give the residuals; without them and the pictures, no RGB is computed.

        Yields:
            One `Frame` after the other.
        """
        starts = {gop.start for gop in self.gops}
        number, trace = -1, Trace(self._tracer, accumulate)
        for index, picture in enumerate(self._pass()):
            if index in starts:
                number, position = number + 1, 0
                source, reference = trace.start(picture)
            else:
                position += 1
                source, reference = trace.step(picture)
            yield Frame(
                index=index,
                gop=number,
                position=position,
                type=picture.type,
                time=float(index / self.frame_rate) if self._timeless else picture.time,
                image=picture.image if image else None,
                motion=self._tracer.motion(source),
                residual=self._residual(picture, reference, source) if residual else None,
            )

    def _residual(self, picture: "_Picture", reference: "_Picture", source: np.ndarray) -> np.ndarray:
        if picture is reference:  # position 0
            return np.zeros((self.height, self.width, 3), np.int16)
        if reference.words is None:
            reference.words = self._tracer.words(reference.image)
        return self._tracer.residual(picture.image, reference.words, source)

    def _read(self, gop: int, position: int, accumulate: bool) -> tuple:
        # The key picture, the picture asked for, its source map, and the picture that this leads to.
        gop = self._checked(gop, len(self.gops), "GOP")
        position = self._checked(position, self.gops[gop].length, f"position in GOP {gop}")
        trace = Trace(self._tracer, accumulate)
        for offset, picture in enumerate(self._from_key(gop)):
            source, reference = trace.step(picture) if offset else trace.start(picture)
            if offset == position:
                return trace.key, picture, source, reference
        raise VideoError(f"{self.path}: the stream ends before position {position} of GOP {gop}; it is damaged")

    def _checked(self, number: int, count: int, what: str) -> int:
        number = operator.index(number)
        if not -count <= number < count:
            raise VideoError(f"{self.path}: no {what} {number}: there are {count}")
        return number % count

    def _from_key(self, gop: int) -> Iterator["_Picture"]:
        # Pictures from a GOP's key frame on, wherever the container's own index makes a seek land.
        if self._key_times is not None:
            wanted = self._key_times[gop]
            # An index that is off by a packet can lead past the key frame: then one GOP earlier will do.
            for anchor in self._key_times[max(gop - 1, 0) : gop + 1][::-1]:
                self._container.seek(anchor, stream=self._stream)
                pictures = self._decode(self._container, self._stream)
                for picture in pictures:
                    if picture.is_key and picture.pts == wanted:
                        yield picture
                        yield from pictures
                        return
                    if picture.pts is None or picture.pts > wanted:
                        break
        yield from self._pass(start=self.gops[gop].start)

    def _pass(self, start: int = 0) -> Iterator["_Picture"]:
        # All pictures from a frame on, decoded from the file's beginning with a handle of its own.
        with open_stream(self.path) as (container, stream):
            _prepare(stream)
            count = 0
            for count, picture in enumerate(self._decode(container, stream), start=1):
                if count > start:
                    yield picture
            if count < self.num_frames:
                raise VideoError(
                    f"{self.path}: damaged: {count} of {self.num_frames} frames can be decoded; these are sound"
                )

    def _decode(self, container, stream) -> Iterator["_Picture"]:
        # Pictures from the first key frame on, until the first damaged one.
        count = 0
        try:
            for frame in container.decode(stream):
                if count == 0 and not frame.key_frame:
                    continue
                if frame.is_corrupt:
                    raise VideoError(f"{self.path}: damaged: frame {count} is corrupt; {count} sound frames precede it")
                if (frame.width, frame.height) != (self.width, self.height):
                    raise VideoError(
                        f"{self.path}: the picture size changes at frame {count} to {frame.width}x{frame.height}"
                    )
                yield _Picture(frame, self._reformatter)
                count += 1
        except av.FFmpegError as error:
            raise VideoError(
                f"{self.path}: damaged: decoding stops after {count} sound frames ({error.strerror})"
            ) from error

    def _index(self) -> tuple[tuple[Gop, ...], tuple[int, ...] | None]:
        # The GOPs and their key frames' times (None where pictures have none). The packets alone tell, unless
        # something in them leaves a doubt how many pictures they make and which; then the video is decoded once.
        try:
            packets = [packet for packet in self._container.demux(self._stream) if packet.size]
        except av.FFmpegError as error:
            raise VideoError(f"{self.path}: damaged: it cannot be read to its end ({error.strerror})") from error
        if len(packets) < self._stream.frames:
            sound = self._count_sound()
            raise VideoError(
                f"{self.path}: truncated: its header announces {self._stream.frames} frames, {sound} are sound"
            )
        if self._in_doubt(packets):
            with open_stream(self.path) as (container, stream):
                _prepare(stream)
                shown = [(picture.pts, picture.is_key) for picture in self._decode(container, stream)]
        else:
            shown = sorted((packet.pts, packet.is_keyframe) for packet in packets)
        starts = [index for index, (_, is_key) in enumerate(shown) if is_key]
        if not starts:
            raise VideoError(f"{self.path}: no key frame can be decoded")
        gops = tuple(Gop(start, end - start) for start, end in pairwise([*starts, len(shown)]))
        times = tuple(shown[start][0] for start in starts)
        return gops, None if None in times else times

    def _in_doubt(self, packets) -> bool:
        times = [packet.pts for packet in packets]
        if not times or None in times or len(set(times)) < len(times):
            return True
        if not min(packets, key=lambda packet: packet.pts).is_keyframe:
            return True
        if self._container.format.name in _RAW_FORMATS and self._stream.codec_context.has_b_frames:
            return True
        if self.codec == "mpeg4" and min(packet.size for packet in packets) <= _LARGEST_UNCODED:
            return True
        return any(packet.is_discard or packet.is_corrupt for packet in packets)

    def _count_sound(self) -> int:
        count = 0
        with suppress(VideoError), open_stream(self.path) as (container, stream):
            for _ in self._decode(container, stream):
                count += 1
        return count


class _Picture:
    """A decoded frame whose RGB form is computed once, if at all."""

    def __init__(self, frame: av.VideoFrame, reformatter: VideoReformatter):
        self._frame, self._reformatter = frame, reformatter
        self.pts, self.time, self.is_key = frame.pts, frame.time, bool(frame.key_frame)
        self.words = None  # for the tracer, where this is a reference
        self.type = av.video.frame.PictureType(frame.pict_type).name

    @cached_property
    def image(self) -> np.ndarray:
        # Of PyAV's packed formats only rgb24 and bgr24 are right at every width. One reformatter with one thread for
        # all frames: setting one up anew for each frame costs more than the conversion.
        return self._reformatter.reformat(self._frame, format="rgb24", threads=1).to_ndarray()

    @property
    def vectors(self) -> np.ndarray | None:
        data = self._frame.side_data.get("MOTION_VECTORS")
        return None if data is None else data.to_ndarray()


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
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise VideoError(f"{path}: {error.strerror or error}") from error
    if not stat.S_ISREG(mode):
        raise VideoError(f"{path}: is {'a folder' if stat.S_ISDIR(mode) else 'no ordinary file'}, not a video file")
    if path.stat().st_size == 0:
        raise VideoError(f"{path}: the file is empty")
    try:
        # Metadata need not be UTF-8 (a clip of HMDB-51's is not), and nothing here needs it.
        container = av.open(str(path.absolute()), metadata_errors="ignore")
    except (av.FFmpegError, OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise VideoError(f"{path}: cannot be opened as a video ({reason})") from error
    with container:
        if not container.streams.video or container.format.name == "tty":  # "tty" draws any text as a picture
            raise VideoError(f"{path}: holds no video stream")
        yield container, container.streams.video[0]


def _prepare(stream) -> None:
    # Under frame threading the vectors of H.264 B-frames differ from run to run; one thread never does.
    stream.thread_type, stream.thread_count = "SLICE", 1
    stream.codec_context.options = {"flags2": "+export_mvs"}
