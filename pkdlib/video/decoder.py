"""Decode a stream's packets to pictures with their motion vectors, one by one, until the first damaged one.

Each use has a decoder of its own, with one thread: nothing is shared between threads or processes, and vectors are the
same in every run (with threads for frames, those of H.264 B-frames are not).
"""

import threading
from collections.abc import Container, Iterator
from contextlib import suppress
from itertools import chain
from typing import NamedTuple

import av
import numpy as np
from av.codec.context import Flags
from av.sidedata.motionvectors import MotionVectors
from av.sidedata.sidedata import SideDataContainer
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter

from pkdlib.video.blocks import VECTOR
from pkdlib.video.container import LARGEST_PICTURE, DamagedVideo, UnsupportedVideo, reason
from pkdlib.video.motion import MOST_WAITING

# glibc hands memory above a bound back to the system at once, and getting it again costs more than the arithmetic on
# it. A block that is freed raises the bound to its size; this one is never touched, so that it costs nothing.
np.empty(2**24, np.uint8)

_local = threading.local()

_TYPES = {kind.value: kind.name for kind in PictureType}
# libavcodec's AVMotionVector, as `MotionVectors.to_ndarray` reads it, which makes it up anew for each frame.
_FIELDS = [(name, VECTOR[name]) for name in VECTOR.names]
_EXPORTED = np.dtype([*_FIELDS[:7], ("flags", np.uint64), *_FIELDS[7:]], align=True)
# Vectors do not depend on what these leave out. (MPEG-4's pictures could be made smaller, too, which is faster still,
# but then libavcodec does not tell a damaged one.)
_VECTORS_ALONE = {"skip_idct": "all", "skip_loop_filter": "all"}


class Coding(NamedTuple):
    """What a decoder must know of a stream before its first packet.

    Attributes:
        codec: Name of the codec.
        tag: The container's four letters for it, by which libavcodec knows an encoder's faults; may be empty.
        extradata: The stream's global header.
        width: Width of the pictures, pixels.
        height: Height of the pictures, pixels.
        reorder: Pictures that the decoder holds back to put them in display order.
        left: Columns cut from the coded pictures' left, by which vectors must be moved.
        top: Rows cut from their top.
    """

    codec: str
    tag: str
    extradata: bytes
    width: int
    height: int
    reorder: int
    left: int = 0
    top: int = 0


class Picture:
    """A decoded picture, whose RGB form is computed once, if at all.

    Attributes:
        packet: Number of the packet that it came in.
        is_key: Whether decoding can begin here.
        type: "I", "P", "B" or another of libavcodec's picture types.
    """

    def __init__(self, frame: av.VideoFrame, coding: Coding):
        """Keep the frame."""
        self._frame, self._coding, self._image = frame, coding, None
        self.packet, self.is_key, self.type = frame.pts, frame.key_frame, _TYPES[frame.pict_type]

    @property
    def is_interlaced(self) -> bool:
        """Whether it consists of two fields."""
        return self._frame.interlaced_frame

    @property
    def image(self) -> np.ndarray:
        """The picture, uint8 (H, W, 3) RGB."""
        # Of PyAV's packed formats only rgb24 and bgr24 are right at every width. One reformatter for all frames of a
        # thread: setting one up anew for each frame costs more than the conversion.
        if self._image is None:
            if not hasattr(_local, "reformatter"):
                _local.reformatter = VideoReformatter()
            self._image = _local.reformatter.reformat(self._frame, format="rgb24", threads=1).to_ndarray()
        return self._image

    @property
    def vectors(self) -> np.ndarray | None:
        """The motion vectors as PyAV exports them, or None."""
        # `frame.side_data` would tie frame and container in a circle, and no frame's memory be free for the next one.
        for data in SideDataContainer(self._frame):
            if isinstance(data, MotionVectors):
                vectors = np.frombuffer(data, _EXPORTED)
                return _moved(vectors, self._coding) if self._coding.left or self._coding.top else vectors
        return None


def _moved(vectors: np.ndarray, coding: Coding) -> np.ndarray:
    vectors = vectors.copy()
    for side in ("src", "dst"):
        vectors[f"{side}_x"] -= coding.left
        vectors[f"{side}_y"] -= coding.top
    return vectors


def decode(
    packets: Iterator[av.Packet],
    coding: Coding,
    source: object,
    *,
    start: int = 0,
    hidden: Container[int] = (),
    gap: int | None = None,
    vectors_alone: bool = False,
) -> Iterator[Picture]:
    """Decode packets from a key frame on.

    Args:
        packets: The packets in decoding order; each one's pts is its number, which its picture then bears.
        coding: The stream's coding.
        source: What the video is called in messages.
        start: Number of the first picture in the video, for messages.
        hidden: Packets whose pictures are not shown, and do not count in messages.
        gap: The first packet before which pictures are missing, or None.
        vectors_alone: Leave out what only the pictures need; their images are not to be used then.

    Yields:
        The pictures in display order, from the first key frame on.

    Raises:
        DamagedVideo: At the first picture that is not sound, or comes after the gap.
        UnsupportedVideo: If a picture has another size.
    """
    count, before = 0, "precede it" if start == 0 else f"precede it since frame {start}"
    begun, waiting = False, []  # B-frames, until the next frame, which they may refer to, is known to be sound
    context = _context(coding, _VECTORS_ALONE if vectors_alone else {})
    try:
        for frame in chain.from_iterable(map(context.decode, chain(packets, [None]))):
            picture = Picture(frame, coding)
            begun = begun or picture.is_key
            if not begun:
                continue
            follows_gap = gap is not None and picture.packet is not None and picture.packet >= gap
            if follows_gap or frame.is_corrupt:
                here = start + count + len(waiting)
                what = f"a frame is missing before frame {here}, which may refer to it"
                what = what if follows_gap else f"frame {here} is corrupt"
                raise DamagedVideo(f"{source}: damaged: {what}; {count} sound frames {before}", count)
            waiting.append(picture)
            resized = (frame.width, frame.height) != (coding.width, coding.height)
            if picture.type != "B" or resized or len(waiting) > MOST_WAITING:
                for ready in waiting[: -1 if resized else None]:
                    yield ready
                    count += ready.packet not in hidden
                waiting.clear()
            if resized:
                raise UnsupportedVideo(
                    f"{source}: the picture size changes at frame {start + count} from {coding.width}x{coding.height} "
                    f"to {frame.width}x{frame.height}; transcode the file to one size with "
                    "pkdlib.video.transcode.transcode"
                )
        yield from waiting
    except (av.FFmpegError, ValueError) as error:
        for ready in waiting if _goes_on_soundly(context) else []:
            yield ready
            count += ready.packet not in hidden
        raise DamagedVideo(
            f"{source}: damaged: decoding stops at frame {start + count} ({reason(error)}); "
            f"{count} sound frames {before}",
            count,
        ) from error


def _context(coding: Coding, options: dict) -> av.CodecContext:
    context = av.CodecContext.create(coding.codec, "r")
    context.thread_type, context.thread_count = "SLICE", 1
    context.options = {"flags2": "+export_mvs", "max_pixels": str(LARGEST_PICTURE), **options}
    context.width, context.height = coding.width, coding.height  # some codecs' streams do not tell
    if coding.tag:
        context.codec_tag = coding.tag
    if coding.extradata:
        context.extradata = coding.extradata
    context.flags |= Flags.unaligned  # else a cut at the left would be shifted to where memory is aligned
    context.reorder_depth = coding.reorder
    return context


def _goes_on_soundly(context: av.CodecContext) -> bool:
    # Whether the next frame that a decoder holds back, after decoding has stopped, is sound.
    with suppress(av.FFmpegError, ValueError):
        return not any(frame.is_corrupt for frame in context.decode(None)[:1])
    return False
