"""Streams joined, repeated and shifted in time: random access is the pass, or an error, never another picture."""

from fractions import Fraction
from functools import cache
from typing import NamedTuple

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, event, given
from hypothesis import strategies as st

from pkdlib.video.reader import CompressedVideo, VideoError
from tests.extent import examples
from tests.video.test_formats import added, plain_pass

HEIGHT, WIDTH, COUNT = 48, 64, 14
# What tells the segments of a codec apart: options, B-frames, and whether their headers are sent once or with each key
# frame. A picture that is decoded by another segment's headers is another picture.
VARIANTS = {
    "mpeg4": [({}, 0, False), ({}, 2, False), ({"flags": "+qpel"}, 0, False), ({"mpeg_quant": "1"}, 0, True)],
    "mpeg2video": [({}, 0, False), ({}, 2, False), ({"flags": "+ildct+ilme"}, 2, False)],
    "libx264": [
        ({"x264-params": "ref=1:bframes=0:cqm=jvt:qp=40"}, 0, True),
        ({"x264-params": "ref=1:bframes=0:qp=40"}, 0, False),
        ({"x264-params": "bframes=2:b-adapt=0"}, 2, False),
        ({"x264-params": "bframes=0:ref=3:qp=40:aud=1"}, 0, True),
    ],
}
# File ending -> codecs, and PyAV's name of the muxer.
KINDS = {
    "ts": (("mpeg2video", "libx264", "mpeg4"), "mpegts"),
    "mpg": (("mpeg2video",), "mpeg"),
    "vob": (("mpeg2video",), "vob"),
    "mkv": (("mpeg4", "mpeg2video", "libx264"), "matroska"),
    "avi": (("mpeg4", "libx264"), "avi"),
    "mp4": (("mpeg4", "libx264"), "mp4"),
    "m4v": (("mpeg4",), "m4v"),
    "m2v": (("mpeg2video",), "mpeg2video"),
    "h264": (("libx264",), "h264"),
}
BY_BYTES = ("ts", "mpg", "vob", "m4v", "m2v", "h264")  # what people join by `cat`


class Segment(NamedTuple):
    """One way to encode a content, and when its first picture is shown."""

    variant: int
    content: int
    shift: int


def pictures(content):
    """A fade from black into a texture that moves; its first pictures are small packets, much alike in all contents."""
    texture = np.kron(np.random.default_rng(content).integers(0, 255, (12, 36, 3)), np.ones((4, 4, 1)))
    for index in range(COUNT):
        yield (texture[:HEIGHT, 2 * index : 2 * index + WIDTH] * min(1, max(0, index - 2) / 5)).astype(np.uint8)


@cache
def encoded(codec, variant, content):
    """Packets of a segment as (bytes, pts, dts, is key), its headers in them, and the encoder's own header."""
    options, bframes, once = VARIANTS[codec][variant % len(VARIANTS[codec])]
    encoder = av.CodecContext.create(codec, "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.thread_count = WIDTH, HEIGHT, "yuv420p", 1
    encoder.framerate, encoder.time_base, encoder.gop_size = 25, Fraction(1, 25), 6
    encoder.max_b_frames = bframes
    flags = options.get("flags", "") + "+global_header" * once
    encoder.options = {**options, "g": "6", **({"flags": flags} if flags else {})}
    packets = []
    for index, picture in enumerate([*pictures(content), None]):
        frame = picture if picture is None else av.VideoFrame.from_ndarray(picture, format="rgb24")
        if frame is not None:
            frame.pts, frame.time_base = index, Fraction(1, 25)
        packets += [(bytes(packet), packet.pts, packet.dts, packet.is_keyframe) for packet in encoder.encode(frame)]
    if once:
        packets[0] = (encoder.extradata + packets[0][0], *packets[0][1:])
    return packets


def muxed(path, codec, muxer, packets):
    with av.open(str(path), "w", format=muxer) as container:
        stream = added(container, codec, {}, height=HEIGHT, width=WIDTH)
        for data, pts, dts, is_key in packets:
            packet = av.Packet(data)
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 25), is_key
            packet.pts, packet.dts = pts, dts
            container.mux(packet)
    return path.read_bytes()


def joined(folder, suffix, codec, segments, by_bytes):
    """A file of segments: files joined byte by byte, or their packets in one container, one after the other."""
    muxer = KINDS[suffix][1]
    path = folder / f"joined.{suffix}"
    if by_bytes:
        files = []
        for variant, content, shift in segments:
            packets = [
                (data, pts + shift, dts + shift, key) for data, pts, dts, key in encoded(codec, variant, content)
            ]
            files.append(muxed(folder / f"one.{suffix}", codec, muxer, packets))
        path.write_bytes(b"".join(files))
    else:
        packets, after = [], 0
        for variant, content, shift in segments:
            own = encoded(codec, variant, content)
            by = after - own[0][2] + shift
            packets += [(data, pts + by, dts + by, key) for data, pts, dts, key in own]
            after = packets[-1][2] + 1
        muxed(path, codec, muxer, packets)
    return path


def assert_every_access_is_the_pass(path):
    """Compare all ways of reading with PyAV's own pass; return whether the file was read."""
    try:
        shown = list(plain_pass(path))
    except (av.FFmpegError, IndexError):  # not a video any more
        shown = []
    while shown and not shown[0].is_key:
        del shown[0]
    try:
        with CompressedVideo(path) as video:
            frames = list(video.frames())
            assert len(frames) == len(shown) == video.num_frames
            for frame, expected in zip(frames, shown, strict=True):
                np.testing.assert_array_equal(frame.image, expected.image)
            for number in reversed(range(len(video.gops))):
                start, length = video.gops[number]
                np.testing.assert_array_equal(video.iframe(number), shown[start].image)
                for ours, frame in zip(video.frames(gops=number), frames[start : start + length], strict=True):
                    assert ours[:5] == frame[:5]
                    for one, other in zip(ours[5:], frame[5:], strict=True):
                        np.testing.assert_array_equal(one, other)
    except VideoError as error:
        assert str(error).startswith(f"{path}: ")
        return False
    return True


@pytest.mark.parametrize("suffix", sorted(KINDS))
def test_a_stream_joined_to_itself_is_read(tmp_path, suffix):
    """The same stream again, with other pictures and at the same time: no reason to refuse it."""
    for codec in KINDS[suffix][0]:
        segments = [Segment(0, 0, 0), Segment(0, 1, 0), Segment(0, 0, 0)]
        path = joined(tmp_path, suffix, codec, segments, by_bytes=suffix in BY_BYTES)
        assert assert_every_access_is_the_pass(path)
        with CompressedVideo(path) as video:
            assert video.num_frames == 3 * COUNT


cases = st.sampled_from(sorted(KINDS)).flatmap(
    lambda suffix: st.tuples(
        st.just(suffix),
        st.sampled_from(KINDS[suffix][0]),
        st.lists(
            st.builds(Segment, st.integers(0, 3), st.integers(0, 2), st.sampled_from([0, 0, 0, 1, 5, COUNT, 1000])),
            min_size=1,
            max_size=4,
        ),
        st.just(True) if suffix in BY_BYTES else st.booleans(),
        st.sampled_from([0, 0, 0, 188, 1000, 5555]),
    )
)


@pytest.mark.slow
@examples(40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cases)
def test_random_access_to_joined_streams_is_the_pass_or_an_error(tmp_path, case):
    suffix, codec, segments, by_bytes, cut = case
    path = joined(tmp_path, suffix, codec, segments, by_bytes)
    if cut:  # a capture that begins anywhere
        path.write_bytes(path.read_bytes()[cut:])
    event(f"{suffix} {'read' if assert_every_access_is_the_pass(path) else 'refused'}")
