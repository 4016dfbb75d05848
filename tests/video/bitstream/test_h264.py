"""What is read of an H.264 stream's own bytes, against streams written with known settings."""

import itertools

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pkdlib.video.bitstream import h264
from pkdlib.video.bitstream.h264 import Sequence
from pkdlib.video.reader import CompressedVideo
from tests.video.test_formats import pictures, plain_pass, write

SIZE = {"width": 128, "height": 96}
# What x264 is told, its pixel format, and what its stream must say; without B-frames but where they are asked for.
SETTINGS = {
    "ref=1": ("yuv420p", Sequence(1, True, 0, 0)),
    "ref=3": ("yuv420p", Sequence(3, True, 0, 0)),
    "ref=1:bframes=1:b-pyramid=none:weightp=0": ("yuv420p", Sequence(2, True, 0, 0)),
    "ref=1:tff=1": ("yuv420p", Sequence(1, False, 0, 0)),
    "ref=1:cqm=jvt:qp=20": ("yuv420p", Sequence(1, True, 0, 0)),
    "ref=1:qp=0": ("yuv420p", Sequence(1, True, 0, 0)),
    "ref=1:crop-rect=6,4,2,8": ("yuv420p", Sequence(1, True, 6, 4)),
    "ref=1:tff=1:crop-rect=6,4,2,8": ("yuv420p", Sequence(1, False, 6, 4)),
    "ref=1:crop-rect=4,5,2,7": ("yuv422p", Sequence(1, True, 4, 5)),
    "ref=1:crop-rect=3,5,2,8": ("yuv444p", Sequence(1, True, 3, 5)),
    "ref=1:crop-rect=3,5,2,8:cqm4=" + ",".join(map(str, range(6, 22))): ("yuv444p", Sequence(1, True, 3, 5)),
}


def encoded(path, settings, form="yuv420p", count=6, **options):
    if "bframes" not in settings:
        settings += ":bframes=0"
    frames = pictures(count, **SIZE)
    return write(path, "libx264", {**options, "x264-params": settings}, frames=frames, form=form)


def header_and_packets(path):
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.codec_context.extradata, [bytes(packet) for packet in container.demux(stream) if packet.size]


@pytest.mark.parametrize("settings", SETTINGS)
def test_the_header_says_what_the_encoder_was_told(tmp_path, settings):
    form, expected = SETTINGS[settings]
    for name in ("clip.mp4", "clip.mkv", "clip.h264", "clip.ts"):
        header, packets = header_and_packets(encoded(tmp_path / name, settings, form))
        assert (header[:1] == b"\1") == (name in ("clip.mp4", "clip.mkv"))  # both forms of the header are met
        assert h264.sequence(header)[:4] == expected[:4]
        if name in ("clip.h264", "clip.ts"):
            assert h264.sequence(packets[0]) == h264.sequence(header)  # and the same in the stream itself


@pytest.mark.parametrize("name", ["clip.mp4", "clip.h264"])
@pytest.mark.parametrize(("crop", "form"), [((6, 4, 2, 8), "yuv420p"), ((3, 2, 5, 4), "yuv444p")])
def test_a_cut_picture_is_the_window_of_the_whole_one_and_so_is_its_motion(tmp_path, name, crop, form):
    """The coded picture is the same either way; only what of it is shown differs."""
    left, top, right, bottom = crop
    whole = encoded(tmp_path / f"whole_{name}", "ref=1", form)
    cut = encoded(tmp_path / name, "ref=1:crop-rect=" + ",".join(map(str, crop)), form)
    window = np.s_[top : SIZE["height"] - bottom, left : SIZE["width"] - right]
    with CompressedVideo(whole) as whole, CompressedVideo(cut) as cut:
        assert (cut.width, cut.height) == (SIZE["width"] - left - right, SIZE["height"] - top - bottom)
        y, x = np.mgrid[: cut.height, : cut.width]
        for large, small in zip(whole.frames(False), cut.frames(False), strict=True):
            np.testing.assert_array_equal(small.image, large.image[window])
            # Where the whole one's source lies inside the window, the cut one's is the same.
            dx, dy = np.moveaxis(large.motion[window], -1, 0)
            inside = (x >= dx) & (x - dx < cut.width) & (y >= dy) & (y - dy < cut.height)
            assert inside.mean() > 0.9
            np.testing.assert_array_equal(small.motion[inside], large.motion[window][inside])
        assert small.motion.any()
        np.testing.assert_array_equal(cut.sample(0, -1, False).residual, small.residual)


KEYS = {
    "closed.mp4": ("ref=1:keyint=4", [0, 4, 8]),
    "open.mkv": ("ref=1:keyint=4:bframes=2:b-adapt=0:open-gop=1", None),
    "open.ts": ("ref=1:keyint=4:bframes=2:b-adapt=0:open-gop=1", None),
    "refresh.mp4": ("ref=1:keyint=6:intra-refresh=1", [0]),
    "refresh.ts": ("ref=1:keyint=6:intra-refresh=1", [0]),
}


@pytest.mark.parametrize("name", KEYS)
def test_key_packets_are_those_that_a_decoder_calls_so(tmp_path, name):
    settings, expected = KEYS[name]
    path = encoded(tmp_path / name, settings, count=12)
    header, packets = header_and_packets(path)
    keys = [frame.is_key for frame in plain_pass(path)]
    assert sum(h264.is_key(packet, header) for packet in packets) == sum(keys)
    with CompressedVideo(path) as video:
        starts = [gop.start for gop in video.gops]
        assert starts == [index for index, is_key in enumerate(keys) if is_key]
        assert expected is None or starts == expected
        with av.open(str(path)) as container:
            marked = sum(packet.is_keyframe for packet in container.demux(video=0) if packet.size)
        assert marked > len(starts) if "refresh" in name else marked == len(starts) == 3


def test_several_slices_are_in_each_packet(tmp_path):
    """The clip of the formats' test with four slices has them."""
    path = write(tmp_path / "clip.h264", "libx264", {"bf": "0", "refs": "1", "slices": "4"}, height=80)
    for packet in header_and_packets(path)[1]:
        kinds = [unit[0] & 31 for unit in packet.split(b"\0\0\1")[1:]]
        assert sum(kind in (1, 5) for kind in kinds) == 4


@given(st.binary(max_size=80), st.sampled_from([b"", b"\1", b"\1\x64\0\x0a\xff\xe1\0\x20\x67\x64", b"\0\0\1\x67\x64"]))
def test_random_bytes_are_no_header_and_no_failure(data, before):
    found = h264.sequence(before + data)
    assert found is None or isinstance(found, Sequence)
    for header in (b"", b"\1\0\0\0\3", before + data):
        assert h264.is_key(before + data, header) in (True, False)


def test_a_header_cut_short_is_none(tmp_path):
    for name, settings in itertools.product(("a.mp4", "a.ts"), ("ref=1", "ref=3:crop-rect=6,4,2,8")):
        header, packets = header_and_packets(encoded(tmp_path / name, settings))
        whole, results = h264.sequence(header), []
        for end in range(len(header)):
            results.append(h264.sequence(header[:end]))
            h264.is_key(packets[0][:end], header)
        first = next(index for index, result in enumerate(results) if result)
        # Once all that is asked for is there, the rest of the header does not matter.
        assert set(results[:first]) == {None} and set(results[first:]) == {whole} and first > 10
