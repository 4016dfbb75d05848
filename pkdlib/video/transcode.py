"""Re-encode any decodable video in the form that the paper uses.

The paper's data are MPEG-4 Part 2, 340x256, a GOP of 12, no B-frames, quality `-q:v 1`, as a raw stream in a file
named `.mp4` (CoViAR's `data/re-encode.sh`). This module writes the same by PyAV alone, with one encoder thread,
because libavcodec's output depends on the number of threads: the same versions give the same bytes.
"""

from collections.abc import Iterable, Iterator
from fractions import Fraction
from itertools import chain, islice
from pathlib import Path

import av
import numpy as np
from av.codec.context import Flags
from av.video.reformatter import VideoReformatter

from pkdlib import _files
from pkdlib.video import orientation
from pkdlib.video.bitstream import headers
from pkdlib.video.container import (
    LARGEST_PICTURE,
    BadRequest,
    DamagedVideo,
    UnreadableVideo,
    UnsupportedVideo,
    VideoError,
    open_stream,
    packets,
    reason,
    truncated,
)
from pkdlib.video.orientation import Orientation

FF_QP2LAMBDA = 118  # libavcodec's lambda of one quantiser step; a global quality of 118 is the program's `-q:v 1`
_SLOWEST = 1001  # seconds a frame, and the largest denominator of a rate: television's
_LARGEST_TIME_BASE = 65535  # MPEG-4 Part 2 counts the ticks of a second in 16 bits


def transcode(source, target, *, width: int = 340, height: int = 256, gop: int = 12, fewest: int = 1) -> None:
    """Re-encode a video file in the paper's form.

    Every frame that a player shows is kept, once, in display order (timestamps are not resampled). The picture is
    stretched to the given size whatever its aspect ratio, bicubically, as the paper does; a picture that its file asks
    to be turned or mirrored (a phone's mark) is so first, so that people stand upright. Levels and colours are those
    that a player shows: the result has the limited range and the matrix (ITU-R BT.601) that MPEG-4 is read with. A
    source that cannot be decoded to its end without damage raises `VideoError`, and a target that cannot be written
    OSError.

    Args:
        source: Path of any video file that libavcodec can decode.
        target: Path of the file to write; it appears only when it is whole.
        width: Width of the result, pixels.
        height: Height of the result, pixels.
        gop: Frames from one key frame to the next.
        fewest: Frames that the source must have; motion needs two.

    Raises:
        UnsupportedVideo: If libavcodec has no decoder for the source.

    Example:
        >>> import numpy as np
        >>> from pkdlib import CompressedVideo, transcode
        >>> from pkdlib.video.transcode import encode
        >>> encode((np.full((64, 96, 3), 5 * time, np.uint8) for time in range(24)), "small.avi", gop=24)
        >>> transcode("small.avi", "paper.mp4")
        >>> with CompressedVideo("paper.mp4") as video:
        ...     video.width, video.height, [gop.length for gop in video.gops]
        (340, 256, [12, 12])
    """
    source = Path(source)
    with open_stream(source) as (container, stream):
        if stream.codec_context is None:
            raise UnsupportedVideo(f"{source}: there is no decoder for its codec")
        stream.thread_type = "SLICE"
        stream.codec_context.options = {"max_pixels": str(LARGEST_PICTURE)}
        stream.codec_context.flags |= Flags.unaligned  # else a cut at the left is shifted to where memory is aligned
        pictures = map(_upright, _enough(_decoded(source, container, stream), fewest, source))
        rate = stream.guessed_rate or Fraction(25)
        _write(pictures, target, size=(width, height), rate=rate, gop=gop, qscale=FF_QP2LAMBDA)


def encode(
    frames: Iterable[np.ndarray],
    target,
    *,
    rate: float | Fraction = 25,
    gop: int = 12,
    qscale: int = FF_QP2LAMBDA,
) -> None:
    """Encode RGB pictures as a raw MPEG-4 Part 2 stream.

    Args:
        frames: Pictures of one size, uint8 (H, W, 3) RGB, in display order; at least one.
        target: Path of the file to write; it appears only when it is whole.
        rate: Frames a second.
        gop: Frames from one key frame to the next.
        qscale: Quality as libavcodec's lambda: 118 times the quantiser, so 118 is the paper's `-q:v 1`.

    Raises:
        BadRequest: If the rate is not positive.
    """
    if rate <= 0:
        raise BadRequest(f"{target}: rate={rate}: must be positive")
    pictures = (av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24") for frame in frames)
    _write(pictures, target, size=None, rate=Fraction(rate), gop=gop, qscale=qscale)


def _decoded(source: Path, container, stream) -> Iterator[av.VideoFrame]:
    count, found, listed, announced = 0, 0, len(stream.index_entries), stream.frames
    codec, has_begun, first, undecoded = stream.codec_context.codec.canonical_name, False, None, set()
    gaps = headers.gaps(codec, stream.codec_context.extradata or b"")
    try:
        for packet in chain(packets(container, stream), [None]):  # None asks for what the decoder holds back
            gap = gaps and gaps.before(found, packet and bytes(packet))
            if gap is not None and has_begun:
                message = f"{source}: damaged: a frame is missing; {count} sound frames precede it"
                raise DamagedVideo(message, count)
            if packet is not None:
                found += 1
                has_begun = has_begun or packet.is_keyframe
                if packet.pts is not None and not packet.is_discard:
                    undecoded.add(packet.pts)
            for picture in stream.codec_context.decode(packet):
                if picture.is_corrupt:
                    message = f"{source}: damaged: frame {count} is corrupt; {count} sound frames precede it"
                    raise DamagedVideo(message, count)
                first = picture.pts if count == 0 else first
                undecoded.discard(picture.pts)
                yield picture
                count += 1
    except (av.FFmpegError, ValueError) as error:
        message = f"{source}: damaged: decoding stops after {count} sound frames ({reason(error)})"
        raise DamagedVideo(message, count) from error
    with open(source, "rb") as file:
        is_truncated = truncated(file, container, stream, listed=listed, found=found)
    if is_truncated:
        raise DamagedVideo(f"{source}: truncated: its header announces {announced} frames, {count} are sound", count)
    if count == 0:
        raise UnreadableVideo(f"{source}: no frame can be decoded")
    # Where each packet makes a picture, libavcodec leaves some out without a word if what they refer to is missing.
    if codec == "hevc" or (codec == "h264" and all(sequence.progressive for sequence in gaps.met)):
        lost = sum(first is not None and time > first for time in undecoded)
        if lost:
            raise DamagedVideo(f"{source}: damaged: {lost} frames cannot be decoded; {count} can", count)


def _enough(pictures: Iterator[av.VideoFrame], fewest: int, source: Path) -> Iterator[av.VideoFrame]:
    first = list(islice(pictures, fewest))
    if len(first) < fewest:
        raise UnsupportedVideo(f"{source}: has {len(first)} frame(s), too few to read motion: {fewest} are needed")
    yield from first
    yield from pictures


def _upright(picture: av.VideoFrame) -> av.VideoFrame:
    asked = orientation.of(picture)
    if asked == Orientation():
        return picture
    turned = asked.upright(picture.to_ndarray(format="rgb24"))
    return av.VideoFrame.from_ndarray(np.ascontiguousarray(turned), format="rgb24")


def _write(pictures: Iterable[av.VideoFrame], target, *, size, rate: Fraction, gop: int, qscale: int) -> None:
    target = Path(target)
    try:
        with _files.appearing(target) as temporary, open(temporary, "wb") as file:
            # A raw MPEG-4 stream is nothing but its packets in order, so no muxer is needed.
            for packet in _packets(pictures, target, size=size, rate=rate, gop=gop, qscale=qscale):
                file.write(packet)
    except OSError as error:
        error.filename = str(target)  # the name that the caller knows
        raise


def _packets(pictures, target: Path, *, size, rate: Fraction, gop: int, qscale: int) -> Iterator[bytes]:
    encoder, reformatter = None, VideoReformatter()
    for index, picture in enumerate(pictures):
        if encoder is None:
            width, height = size or (picture.width, picture.height)
            encoder = _encoder(width, height, rate=rate, gop=gop, qscale=qscale)
        elif size is None and (picture.width, picture.height) != (width, height):
            raise VideoError(
                f"{target}: frame {index} is {picture.width}x{picture.height}, the first was {width}x{height}"
            )
        planar = reformatter.reformat(
            picture,
            width,
            height,
            format="yuv420p",
            interpolation="BICUBIC",
            dst_colorspace="ITU601",
            dst_color_range="MPEG",
            threads=1,
        )
        planar.pts = index
        planar.time_base = encoder.time_base
        planar.pict_type = 0  # else the source's own key frames would be forced upon the result
        yield from map(bytes, encoder.encode(planar))
    if encoder is None:
        raise VideoError(f"{target}: there are no frames to encode")
    yield from map(bytes, encoder.encode(None))


def _encoder(width: int, height: int, *, rate: Fraction, gop: int, qscale: int) -> av.CodecContext:
    rate = min(max(rate.limit_denominator(_SLOWEST), Fraction(1, _SLOWEST)), Fraction(_LARGEST_TIME_BASE))
    if rate.numerator > _LARGEST_TIME_BASE:
        rate = Fraction(round(rate))
    encoder = av.CodecContext.create("mpeg4", "w")
    encoder.width, encoder.height, encoder.pix_fmt = width, height, "yuv420p"
    encoder.framerate, encoder.time_base = rate, 1 / rate
    encoder.gop_size, encoder.max_b_frames, encoder.thread_count = gop, 0, 1
    # One lambda for every picture, as the ffmpeg program's `-q:v` sets it on each frame; PyAV cannot, so the rate
    # control is held to it from both sides. At 118 the bytes are those of "flags=+qscale, global_quality=118", a
    # quality that never reaches PyAV's frames. The quantiser stays at or above 2, as by the program's default qmin.
    encoder.options = {"lmin": str(qscale), "lmax": str(qscale), "i_qfactor": "1"}
    return encoder
