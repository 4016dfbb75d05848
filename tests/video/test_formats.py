"""Streams of every kind: the rules of `pkdlib.video.motion` in plain loops, and random access against the pass."""

from fractions import Fraction
from functools import cache
from itertools import chain
from typing import NamedTuple

import av
import numpy as np
import pytest
from av.stream import Disposition

from pkdlib.video import transcode
from pkdlib.video.container import BadRequest, UnsupportedVideo
from pkdlib.video.motion import reconstruct
from pkdlib.video.reader import CompressedVideo

HEIGHT, WIDTH = 48, 68  # a width that is no multiple of 8


def pictures(count=20, height=HEIGHT, width=WIDTH):
    """A texture behind a square, both of which move, and the square not evenly."""
    rng = np.random.default_rng(0)
    ground = np.kron(rng.integers(40, 200, (height, width, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    square = np.kron(rng.integers(0, 255, (4, 4, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    for index in range(count):
        picture = ground[index : index + height, 2 * index : 2 * index + width].copy()
        top, left = 3 + index % (height - 20), width - 20 - (2 * index + index % 3) % (width - 20)
        picture[top : top + 16, left : left + 16] = square
        yield picture


def filled(container, streams):
    """Write (stream, pictures) one picture after the other."""
    iterators = [(stream, iter(frames)) for stream, frames in streams]
    while iterators:
        for pair in list(iterators):
            stream, frames = pair
            picture = next(frames, None)
            if picture is None:
                container.mux(stream.encode(None))
                iterators.remove(pair)
            elif isinstance(picture, av.AudioFrame):
                container.mux(stream.encode(picture))
            else:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))


def added(container, codec, options, *, height=HEIGHT, width=WIDTH, form="yuv420p", bframes=None, rate=25):
    stream = container.add_stream(codec, rate=rate, options=options or {})
    stream.width, stream.height, stream.pix_fmt, stream.thread_count = width, height, form, 1
    if bframes is not None:
        stream.codec_context.max_b_frames = bframes
    return stream


def write(path, codec, options=None, *, frames=None, muxer=None, sound=None, **settings):
    """Encode a clip by PyAV; the size is the pictures'."""
    height, width = settings.pop("height", HEIGHT), settings.pop("width", WIDTH)
    frames = iter(pictures(height=height, width=width) if frames is None else frames)
    first = next(frames)
    height, width = first.shape[:2]
    with av.open(str(path), "w", format=muxer) as container:
        streams = [(added(container, codec, options, height=height, width=width, **settings), chain([first], frames))]
        if sound:
            streams.append((container.add_stream(sound, rate=44100, layout="mono"), silence()))
        filled(container, streams)
    return path


def silence(count=20):
    for index in range(count):
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 1764), np.float32), format="fltp", layout="mono")
        sound.rate, sound.pts = 44100, 1764 * index
        yield sound


class Shown(NamedTuple):
    """What the simplest PyAV loop tells of a frame."""

    is_key: bool
    type: str
    time: float | None
    image: np.ndarray
    vectors: list


def plain_pass(path, stream=0):
    with av.open(str(path), metadata_errors="ignore") as container:
        video = container.streams.video[stream]
        video.thread_count = 1
        video.codec_context.options = {"flags2": "+export_mvs", "flags": "+unaligned"}
        for frame in container.decode(video):
            vectors = frame.side_data.get("MOTION_VECTORS")
            fields = ("source", "w", "h", "src_x", "src_y", "dst_x", "dst_y", "motion_scale")
            rows = [] if vectors is None else vectors.to_ndarray()[[*fields]].tolist()
            letter = "?IPBS"[frame.pict_type]
            yield Shown(frame.key_frame, letter, frame.time, frame.to_ndarray(format="rgb24"), rows)


# The rules of `pkdlib.video.motion`, pixel by pixel.


def covered(vectors, side, height, width):
    """Where each pixel with a vector to one side comes from, if both lie inside the picture."""
    found = {}
    for source, wide, tall, src_x, src_y, dst_x, dst_y, _ in vectors:
        if source * side < 0:
            continue
        for x in range(dst_x - wide // 2, dst_x - wide // 2 + wide):
            for y in range(dst_y - tall // 2, dst_y - tall // 2 + tall):
                from_x, from_y = x - (dst_x - src_x), y - (dst_y - src_y)
                if 0 <= x < width and 0 <= y < height and 0 <= from_x < width and 0 <= from_y < height:
                    found[x, y] = from_x, from_y
    return found


def looped(gop, accumulate):
    """For each frame of a GOP: its reference, where each pixel comes from, and how many have a future one alone."""
    height, width = gop[0].image.shape[:2]
    own = {(x, y): (x, y) for x in range(width) for y in range(height)}
    references = [position for position, frame in enumerate(gop) if position == 0 or frame.type != "B"]

    def before(position):
        return max(reference for reference in references if reference < position)

    @cache
    def base(position):
        """What is known of a reference: where its pixels come from."""
        return places(position) if accumulate and position else own

    @cache
    def places(position):
        past = covered(gop[position].vectors, -1, height, width)
        return {pixel: base(before(position))[past.get(pixel, pixel)] for pixel in own}

    yield 0, own, 0
    for position, frame in enumerate(gop[1:], start=1):
        start, count = before(position), 0
        if frame.type != "B":
            result = places(position)
        else:
            following = min((reference for reference in references if reference > position), default=None)
            past = covered(frame.vectors, -1, height, width)
            future = covered(frame.vectors, 1, height, width) if following else {}
            result = {}
            for pixel in own:
                if pixel in past:
                    result[pixel] = base(start)[past[pixel]]
                elif pixel in future:
                    result[pixel] = places(following)[future[pixel]]
                    count += 1
                else:
                    result[pixel] = base(start)[pixel]
        yield 0 if accumulate else start, result, count


STREAMS = {
    "mpeg4_b.avi": ("mpeg4", {"g": "9"}, {"bframes": 2}),
    "mpeg4_b_odd.mkv": ("mpeg4", {"g": "9"}, {"bframes": 2, "height": 37, "width": 51}),
    "mpeg4_b_raw.m4v": ("mpeg4", {"g": "9"}, {"bframes": 3, "muxer": "m4v"}),
    "quarter_4mv.avi": ("mpeg4", {"g": "9", "flags": "+qpel+mv4"}, {"bframes": 0}),
    "quarter_4mv_b.mp4": ("mpeg4", {"g": "9", "flags": "+qpel+mv4"}, {"bframes": 2, "height": 37, "width": 51}),
    "mpeg1_b.mpg": ("mpeg1video", {"g": "9"}, {"bframes": 2, "height": 37, "width": 51}),
    "mpeg2_b.ts": ("mpeg2video", {"g": "9"}, {"bframes": 2}),
    "mpeg2_b_odd.mkv": ("mpeg2video", {"g": "9"}, {"bframes": 2, "height": 37, "width": 51}),
    "h264_b.mp4": ("libx264", {"g": "9", "x264-params": "ref=1:bframes=2:b-adapt=0:b-pyramid=none:weightp=0"}, {}),
    "h264_b_open.mkv": ("libx264", {"g": "9", "x264-params": "bframes=3:b-adapt=0:b-pyramid=normal:open-gop=1"}, {}),
    "h264_b_odd.mp4": ("libx264", {"g": "9", "bf": "2"}, {"form": "yuv444p", "height": 37, "width": 51}),
    "h264_slices.h264": ("libx264", {"g": "9", "bf": "0", "refs": "1", "slices": "4"}, {"height": 80}),
    "h263.3gp": ("h263", {"g": "9"}, {"height": 96, "width": 128}),
    "flv1_odd.flv": ("flv1", {"g": "9"}, {"height": 37, "width": 51}),
}


@pytest.mark.parametrize("name", STREAMS)
def test_motion_and_residual_are_the_loops_of_the_rules(tmp_path, name):
    codec, options, settings = STREAMS[name]
    path = write(tmp_path / name, codec, options, **settings)
    shown = list(plain_pass(path))
    starts = [index for index, frame in enumerate(shown) if frame.is_key]
    vectors = [vector for frame in shown for vector in frame.vectors]
    if "quarter" in name:  # the stream has what it is to be tested with
        assert {vector[7] for vector in vectors} == {4} and {vector[1] for vector in vectors} == {8, 16}
    height, width = shown[0].image.shape[:2]
    y, x = np.mgrid[:height, :width]
    for accumulate in (True, False):
        futures = moved = 0
        with CompressedVideo(path) as video:
            assert len(shown) == 20 and [gop.start for gop in video.gops] == starts and len(starts) > 1
            frames = video.frames(accumulate)
            for start, end in zip(starts, [*starts[1:], len(shown)], strict=True):
                gop = shown[start:end]
                for now, (reference, places, count) in zip(gop, looped(gop, accumulate), strict=True):
                    frame, futures = next(frames), futures + count
                    np.testing.assert_array_equal(frame.image, now.image)
                    from_x, from_y = np.array([places[pixel] for pixel in zip(x.flat, y.flat, strict=True)]).T
                    motion = np.stack([x.ravel() - from_x, y.ravel() - from_y], -1).reshape(height, width, 2)
                    np.testing.assert_array_equal(frame.motion, motion)
                    moved += frame.motion.any()
                    source = gop[reference].image
                    predicted = source[from_y, from_x].reshape(now.image.shape).astype(int)
                    expected = now.image - predicted if frame.position else 0
                    np.testing.assert_array_equal(frame.residual, np.broadcast_to(expected, frame.residual.shape))
                    rebuilt = reconstruct(source, frame.motion, frame.residual)
                    if frame.position:
                        np.testing.assert_array_equal(rebuilt, now.image)
            assert next(frames, None) is None
        assert moved > 5
        has_b = any(frame.type == "B" for frame in shown)
        assert has_b == ("_b" in name)
        assert futures if has_b else futures == 0  # else the test would say nothing of them


REAL = ["formats/mmaavi_h264_bf0_g12.mp4", "formats/ntu_h264_bf0_g12.mp4", "formats/pancake_h264_bf0_g12.mp4"]
REAL += ["golden/mmaavi_mpeg4.mp4", "golden/ntu_mpeg4.mp4", "golden/pancake_mpeg4.mp4", "formats/ntu_h264.mp4"]


@pytest.mark.slow
@pytest.mark.parametrize("accumulate", [True, False])
@pytest.mark.parametrize("name", REAL)
def test_real_clips_are_given_back_by_their_motion_and_residual(shared_clips, name, accumulate):
    with CompressedVideo(shared_clips / name) as video:
        reference = moved = None
        for frame in video.frames(accumulate):
            if frame.position:
                rebuilt = reconstruct(reference, frame.motion, frame.residual)
                np.testing.assert_array_equal(rebuilt, frame.image)
                moved = moved or frame.motion.any()
            if frame.position == 0 or (not accumulate and frame.type != "B"):
                reference = frame.image
        assert moved


# Random access. Which are read from their place in the file: all but those that a container cuts up.
OPEN = "open-gop=1:bframes=2:b-adapt=0:scenecut=0"
PLACED = {
    "raw.m4v": ("mpeg4", {}, {"muxer": "m4v"}),
    "raw.mp4": ("mpeg4", {}, {"muxer": "m4v"}),  # as the paper's
    "raw_b.m4v": ("mpeg4", {}, {"muxer": "m4v", "bframes": 2}),
    "mpeg4.avi": ("mpeg4", {}, {}),
    "mpeg4_b.avi": ("mpeg4", {}, {"bframes": 2}),
    "mpeg4_sound.avi": ("mpeg4", {}, {"bframes": 1, "sound": "mp2"}),
    "mpeg4_b.mp4": ("mpeg4", {}, {"bframes": 2}),
    "mpeg4_b_sound.mp4": ("mpeg4", {}, {"bframes": 2, "sound": "aac"}),
    "mpeg4_b.mov": ("mpeg4", {}, {"bframes": 2}),
    "mpeg4_b.mkv": ("mpeg4", {}, {"bframes": 2}),
    "mpeg4_b.nut": ("mpeg4", {}, {"bframes": 2}),
    "quarter_4mv.mkv": ("mpeg4", {"flags": "+qpel+mv4"}, {"bframes": 2}),
    "mpeg2.m2v": ("mpeg2video", {}, {}),
    "mpeg2_b.m2v": ("mpeg2video", {}, {"bframes": 2}),
    "mpeg1_b.m1v": ("mpeg1video", {}, {"bframes": 2}),
    "mpeg2_b.mkv": ("mpeg2video", {}, {"bframes": 2}),
    "h264.h264": ("libx264", {"bf": "0", "refs": "1"}, {}),
    "h264_b.h264": ("libx264", {"bf": "2"}, {}),
    "h264_open.h264": ("libx264", {"x264-params": OPEN}, {}),
    "h264.mp4": ("libx264", {"bf": "0", "refs": "1"}, {}),
    "h264_b_sound.mp4": ("libx264", {"bf": "2"}, {"sound": "aac"}),
    "h264_open.mp4": ("libx264", {"x264-params": OPEN}, {}),
    "h264_open.mkv": ("libx264", {"x264-params": OPEN}, {}),
    "h264_b.mov": ("libx264", {"bf": "2"}, {}),
    "h264_b.flv": ("libx264", {"bf": "2"}, {}),
    "h264_b.avi": ("libx264", {"bf": "2"}, {}),  # AVI does not tell the pictures' order
    "h263.3gp": ("h263", {}, {"height": 96, "width": 128}),
    "h263.avi": ("h263", {}, {"height": 96, "width": 128}),  # every packet is marked as a key frame
    "h263.h263": ("h263", {}, {"height": 96, "width": 128}),
    "h263p.avi": ("h263p", {}, {}),
    "flv1.flv": ("flv1", {}, {}),
    "flv1.avi": ("flv1", {}, {}),
    "msmpeg4v2.avi": ("msmpeg4v2", {}, {}),
    "msmpeg4v3.avi": ("msmpeg4", {}, {}),
    "wmv2.avi": ("wmv2", {}, {}),
}
SEARCHED = {
    "mpeg4_b.ts": ("mpeg4", {}, {"bframes": 2}),
    "mpeg1_b.mpg": ("mpeg1video", {}, {"bframes": 2}),
    "mpeg2_b.mpg": ("mpeg2video", {}, {"bframes": 2}),
    "mpeg2_b.vob": ("mpeg2video", {}, {"bframes": 2}),
    "mpeg2.ts": ("mpeg2video", {}, {}),
    "mpeg2_b_sound.ts": ("mpeg2video", {}, {"bframes": 2, "sound": "mp2"}),
    "h264_b.ts": ("libx264", {"bf": "2"}, {}),
    "h264_open.ts": ("libx264", {"x264-params": OPEN}, {}),
    "msmpeg4v3.asf": ("msmpeg4", {}, {}),
    "wmv1.asf": ("wmv1", {}, {}),
    "wmv2.wmv": ("wmv2", {}, {"muxer": "asf"}),
}


def assert_random_access_is_the_pass(path, accumulate, stream=0):
    shown = list(plain_pass(path, stream))
    with CompressedVideo(path, stream=stream) as video:
        frames = list(video.frames(accumulate))
        assert len(frames) == video.num_frames == len(shown)
        starts = [index for index, frame in enumerate(shown) if frame.is_key]
        assert [gop.start for gop in video.gops] == starts and len(starts) > 1
        for frame, expected in zip(frames, shown, strict=True):
            np.testing.assert_array_equal(frame.image, expected.image)
        for number in reversed(range(len(starts))):  # backwards, so that nothing follows from what was read before
            start, length = video.gops[number]
            gop = frames[start : start + length]
            for ours, frame in zip(video.frames(accumulate, gops=slice(number, number + 1)), gop, strict=True):
                assert ours[:5] == frame[:5]
                for one, other in zip(ours[5:], frame[5:], strict=True):
                    np.testing.assert_array_equal(one, other)
            np.testing.assert_array_equal(video.iframe(number), shown[start].image)
            np.testing.assert_array_equal(video.image(number, -1), gop[-1].image)
            np.testing.assert_array_equal(video.motion(number, length // 2, accumulate), gop[length // 2].motion)
            sample = video.sample(number, -1, accumulate)
            np.testing.assert_array_equal(sample.iframe, shown[start].image)
            np.testing.assert_array_equal(sample.motion, gop[-1].motion)
            np.testing.assert_array_equal(sample.residual, gop[-1].residual)
        order = np.random.default_rng(0).permutation(len(frames))[:6]
        batch = video.samples([video.locate(int(index)) for index in order], accumulate)
        np.testing.assert_array_equal(batch.motion, [frames[index].motion for index in order])
        np.testing.assert_array_equal(batch.residual, [frames[index].residual for index in order])
        # The types last: to tell them the video may be decoded, and indexed, once more.
        assert video.frame_types == "".join(frame.type for frame in shown)
        return not video._index.searched, frames, shown


@pytest.mark.parametrize("name", [*PLACED, *SEARCHED])
def test_random_access_is_the_pass_in_any_container(tmp_path, name):
    codec, options, settings = (PLACED | SEARCHED)[name]
    path = write(tmp_path / name, codec, {"g": "6"} | options, **settings)
    for accumulate in (True, False):
        is_placed, frames, shown = assert_random_access_is_the_pass(path, accumulate)
        assert is_placed == (name in PLACED)
    assert len(frames) == 20
    if "_b" in name or "_open" in name:
        assert any(frame.type == "B" for frame in frames)
    times = np.array([frame.time for frame in frames])
    rate = 30000 / 1001 if name == "h263.h263" else 25  # which has its own clock
    np.testing.assert_allclose(np.diff(times), 1 / rate, atol=2e-3)
    if path.suffix in (".mp4", ".mkv", ".mov", ".nut", ".ts", ".mpg", ".vob", ".flv", ".asf"):
        np.testing.assert_allclose(times, [frame.time for frame in shown])


APPROXIMATE = {
    "refs.mp4": ("libx264", {"refs": "2", "bf": "0"}, {}, True),
    "one_ref.mp4": ("libx264", {"refs": "1", "bf": "0"}, {}, False),
    "one_ref.ts": ("libx264", {"refs": "1", "bf": "0"}, {}, False),
    "b.mp4": ("libx264", {"refs": "1", "bf": "2"}, {}, True),
    "fields.mkv": ("libx264", {"x264-params": "tff=1:ref=1:bframes=0"}, {}, True),
    "mpeg4_b.avi": ("mpeg4", {"flags": "+qpel+mv4"}, {"bframes": 2}, False),
    "mpeg4_fields.avi": ("mpeg4", {"flags": "+ildct+ilme"}, {}, True),
    "mpeg4_fields.m4v": ("mpeg4", {"flags": "+ildct+ilme"}, {"muxer": "m4v"}, True),
    "mpeg1_b.mpg": ("mpeg1video", {}, {"bframes": 2}, False),
    "mpeg2_b.ts": ("mpeg2video", {}, {"bframes": 2}, False),
    "mpeg2_fields.ts": ("mpeg2video", {"flags": "+ildct+ilme"}, {}, True),
    "mpeg2_fields.mp4": ("mpeg2video", {"flags": "+ildct+ilme"}, {}, True),
    "mpeg2_fields.m2v": ("mpeg2video", {"flags": "+ildct+ilme"}, {}, True),
    "h263.avi": ("h263", {}, {"height": 96, "width": 128}, False),
}


@pytest.mark.parametrize("name", APPROXIMATE)
def test_streams_that_leave_a_doubt_are_marked(tmp_path, name):
    codec, options, settings, expected = APPROXIMATE[name]
    with CompressedVideo(write(tmp_path / name, codec, options, **settings)) as video:
        assert video.approximate is expected


# MPEG-4 as DivX packs it into AVI.


def parts(path):
    """Packets of an MPEG-4 clip, and the letter of each one's picture."""
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    return packets, ["IPBS"[packet[packet.find(b"\0\0\1\xb6") + 4] >> 6] for packet in packets]


def not_coded(packet):
    """A P-picture at the time of the packet's that says that nothing is coded."""
    at = packet.find(b"\0\0\1\xb6") + 4
    bits = "".join(f"{byte:08b}" for byte in packet[at : at + 4])
    seconds = bits.index("0", 2)  # modulo_time_base: a 1 for each second
    time = bits[seconds + 1 : seconds + 8]  # a marker, 5 bits for one of 25 ticks, a marker
    written = "010" + time + "0" + "0"
    written += "1" * (-len(written) % 8)
    return b"\0\0\1\xb6" + int(written, 2).to_bytes(len(written) // 8)


def packed(source, target, name=b"DivX503b1393p"):
    packets, letters = parts(source)
    at = packets[0].find(b"\0\0\1\xb6")
    packets[0] = packets[0][:at] + b"\0\0\1\xb2" + name + packets[0][at:]
    written = []
    while packets:
        packet, letter = packets.pop(0), letters.pop(0)
        if letter != "B" and letters[:1] == ["B"]:
            written += [(packet + packets.pop(0), letter), (not_coded(packet), "P")]
            letters.pop(0)
        else:
            written.append((packet, letter))
    with av.open(str(target), "w") as container:
        stream = added(container, "mpeg4", {})
        for index, (data, letter) in enumerate(written):
            packet = av.Packet(data)
            packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 25), letter == "I"
            packet.pts = packet.dts = index
            container.mux(packet)
    return target


def test_a_packed_stream_is_the_stream_unpacked(tmp_path):
    """A B-frame lies in the packet before its own, where a placeholder is, and only the first packet tells so."""
    source = write(tmp_path / "source.avi", "mpeg4", {"g": "6"}, bframes=1)
    path = packed(source, tmp_path / "packed.avi")
    assert min(map(len, parts(path)[0])) < 10
    with CompressedVideo(source) as video, CompressedVideo(path) as other:
        assert (video.num_frames, video.gops) == (other.num_frames, other.gops) and "BP" in other.frame_types
        for ours, expected in zip(other.frames(), video.frames(), strict=True):
            assert ours[:5] == expected[:5]
            for one, another in zip(ours[5:], expected[5:], strict=True):
                np.testing.assert_array_equal(one, another)
    for accumulate in (True, False):
        assert_random_access_is_the_pass(path, accumulate)


# Rotation, sizes, times, streams.


@pytest.mark.parametrize("degrees", [90, 180, 270, None])
def test_rotation_is_told_and_followed_by_transcode_alone(tmp_path, shared_clips, degrees):
    path = tmp_path / "clip.mp4"
    if degrees is None:
        path, degrees = shared_clips / "formats" / "rotated_90.mov", 270  # a quarter to the right, to be upright
    else:
        with av.open(str(path), "w") as container:
            stream = added(container, "mpeg4", {}, height=48, width=64)
            stream.set_display_rotation(degrees)
            filled(container, [(stream, pictures(3, 48, 64))])
    stored = [frame.image for frame in plain_pass(path)]
    upright = np.rot90(stored[0], degrees // 90)  # counterclockwise
    transcode.transcode(path, tmp_path / "upright.mp4", width=upright.shape[1], height=upright.shape[0])
    with CompressedVideo(path) as video, CompressedVideo(tmp_path / "upright.mp4") as result:
        assert (video.rotation, result.rotation) == (degrees, 0)
        for frame, image in zip(video.frames(), stored, strict=True):
            np.testing.assert_array_equal(frame.image, image)
        difference = [np.abs(result.iframe(0) - turned.astype(int)).mean() for turned in (upright, upright[::-1])]
        assert difference[0] < 8 and difference[0] < difference[1] / 2


RESIZED = {  # and how many frames a decoder gives before
    "a.m4v": ("mpeg4", {}, {"muxer": "m4v"}, 9),
    "b.m4v": ("mpeg4", {}, {"muxer": "m4v", "bframes": 2}, 8),  # libavcodec drops the one that it holds back
    "a.h264": ("libx264", {"bf": "0", "refs": "1"}, {}, 9),
    "b.h264": ("libx264", {"bf": "2"}, {}, 9),
    "b.ts": ("libx264", {"bf": "2"}, {}, 9),
    "a.m2v": ("mpeg2video", {}, {}, 8),
    "b.mpg": ("mpeg2video", {}, {"bframes": 2}, 8),
}


@pytest.mark.parametrize("name", RESIZED)
def test_a_size_that_changes_is_refused_where_it_does(tmp_path, name):
    codec, options, settings, count = RESIZED[name]
    wide = 96
    halves = [
        write(tmp_path / f"{width}_{name}", codec, {"g": "6"} | options, frames=pictures(9, HEIGHT, width), **settings)
        for width in (WIDTH, wide)
    ]
    path = tmp_path / name
    path.write_bytes(b"".join(half.read_bytes() for half in halves))
    refusal = rf"{name}: the picture size changes at frame {count} from 68x48 to {wide}x48; transcode"
    whole = list(plain_pass(halves[0]))
    for image in (True, False):
        read = []
        with pytest.raises(UnsupportedVideo, match=refusal), CompressedVideo(path) as video:
            read.extend(video.frames(image=image, residual=image))
        if name == "a.m4v":  # the others are decoded when they are opened
            assert len(read) == count
    with CompressedVideo(path, on_error="keep", cache=tmp_path) as video:
        assert str(path) in video.damage and video.num_frames == count
        for frame, expected in zip(video.frames(), whole[:count], strict=True):
            np.testing.assert_array_equal(frame.image, expected.image)
        np.testing.assert_array_equal(video.sample(-1, -1).motion, frame.motion)
    with pytest.raises(UnsupportedVideo, match=refusal):
        CompressedVideo(path, cache=tmp_path)
    transcode.transcode(path, tmp_path / "one_size.mp4", width=64, height=48)
    with CompressedVideo(tmp_path / "one_size.mp4") as video:
        assert video.num_frames == count + 9 == sum(1 for _ in video.frames())


VARIABLE = {
    "b.mp4": ("libx264", {"bf": "2"}, {}),
    "b.mkv": ("mpeg4", {}, {"bframes": 1}),
    "a.avi": ("mpeg4", {}, {"bframes": 0}),  # as pictures left out, of which it keeps count
}


@pytest.mark.parametrize("name", VARIABLE)
def test_times_are_the_container_s(tmp_path, name):
    codec, options, settings = VARIABLE[name]
    times = np.cumsum([0, 40, 80, 33, 7, 100, 40, 40, 250, 40, 40, 40])
    with av.open(str(tmp_path / name), "w") as container:
        stream = added(container, codec, {"g": "6"} | options, **settings)
        stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        for time, picture in zip(times, pictures(12), strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = int(time), Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with CompressedVideo(tmp_path / name) as video:
        np.testing.assert_allclose(video.times, times / 1000)
        assert [frame.time for frame in video.frames()] == video.times.tolist()
    assert_random_access_is_the_pass(tmp_path / name, True)


@pytest.mark.parametrize("name", ["raw.m4v", "b.avi"])
def test_without_times_a_frame_s_is_its_number_by_the_rate(tmp_path, name):
    settings = {"muxer": "m4v"} if name == "raw.m4v" else {"bframes": 2}
    with CompressedVideo(write(tmp_path / name, "mpeg4", {"g": "6"}, rate=10, **settings)) as video:
        assert video.frame_rate == 10
        np.testing.assert_allclose(video.times, np.arange(20) / 10)


def test_metadata_that_is_not_utf8_is_no_hindrance(tmp_path, shared_clips):
    path = tmp_path / "clip.avi"
    with av.open(str(path), "w") as container:
        container.metadata["title"] = "TITLETITLE"
        filled(container, [(added(container, "mpeg4", {"g": "6"}), pictures())])
    data = path.read_bytes()
    assert data.count(b"TITLETITLE") == 1
    path.write_bytes(data.replace(b"TITLETITLE", b"\xe4\xf6\xfc\xff\xfeTITLE"))
    (real,) = (shared_clips / "paper_datasets").glob("hmdb51*cartwheel*.avi")
    for clip in (path, real):
        with pytest.raises(UnicodeDecodeError):
            av.open(str(clip))
    assert_random_access_is_the_pass(path, True)
    transcode.transcode(path, tmp_path / "clip.mp4")
    with CompressedVideo(real) as video:
        images = [frame.image for frame in video.frames()]
        for image, expected in zip(images, plain_pass(real), strict=True):
            np.testing.assert_array_equal(image, expected.image)


@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv"])
def test_a_cover_is_no_video(tmp_path, name):
    cover = np.full((32, 32, 3), 90, np.uint8)
    with av.open(str(tmp_path / name), "w") as container:
        streams = [(added(container, "mpeg4", {"g": "6"}), pictures())]
        if name == "clip.mp4":
            picture = added(container, "png", {}, height=32, width=32, form="rgb24")
            picture.disposition = Disposition.attached_pic
            streams.insert(0, (picture, [cover]))
        else:
            codec = av.CodecContext.create("png", "w")
            codec.width, codec.height, codec.pix_fmt, codec.time_base = 32, 32, "rgb24", Fraction(1, 25)
            (data,) = codec.encode(av.VideoFrame.from_ndarray(cover, format="rgb24"))
            container.add_attachment("cover.png", "image/png", bytes(data))
        filled(container, streams)
    with av.open(str(tmp_path / name)) as container:
        kinds = [video.codec_context.name for video in container.streams.video]
    assert sorted(kinds) == ["mpeg4", "png"]
    with CompressedVideo(tmp_path / name) as video:
        assert (video.codec, video.num_frames) == ("mpeg4", 20)
    with pytest.raises(BadRequest, match=rf"{name}: stream=1: its video streams are numbered 0 to 0"):
        CompressedVideo(tmp_path / name, stream=1)


@pytest.mark.parametrize("suffix", ["mp4", "mkv", "ts", "avi"])
def test_any_of_several_streams_can_be_read(tmp_path, suffix):
    path = tmp_path / f"clip.{suffix}"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("mp2", rate=44100, layout="mono")
        first = added(container, "mpeg4", {"g": "6"}, bframes=2)
        second = added(container, "libx264", {"g": "5", "bf": "2"}, height=64, width=96)
        filled(container, [(sound, silence()), (first, pictures()), (second, pictures(20, 64, 96))])
    for stream, told in enumerate([("mpeg4", 68, 48), ("h264", 96, 64)]):
        with CompressedVideo(path, stream=stream) as video:
            assert (video.codec, video.width, video.height) == told
        assert_random_access_is_the_pass(path, True, stream)
    for stream in (2, -1):
        with pytest.raises(BadRequest, match=rf"clip.{suffix}: stream={stream}: its video streams are numbered 0 to 1"):
            CompressedVideo(path, stream=stream)


# Codecs whose vectors libavcodec does not export.

REFUSED = {
    "hevc": ("libx265", {"x265-params": "log-level=none"}, "mp4"),
    "vp8": ("libvpx", {"deadline": "realtime", "cpu-used": "8"}, "mkv"),
    "vp9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}, "webm"),
    "av1": ("libsvtav1", {"preset": "12", "svtav1-params": "lp=1"}, "mkv"),
    "av1 of others": (None, "av1_video.mkv", "av1"),
    "hevc of others": (None, "h265_video.mp4", "hevc"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_codec_without_vectors_is_refused_and_transcoded(tmp_path, shared_clips, name):
    encoder, options, suffix = REFUSED[name]
    codec = name.split()[0]
    if encoder is None:
        path = shared_clips / "formats" / options
    elif encoder in av.codecs_available:
        path = write(tmp_path / f"clip.{suffix}", encoder, options, height=64, width=96)
    else:
        pytest.skip(f"this PyAV cannot write {codec}")
    with pytest.raises(UnsupportedVideo, match=rf"codec (lib\w+)?{codec}\S* exports no .*transcode\.transcode\(source"):
        CompressedVideo(path)
    shown = list(plain_pass(path))
    height, width = shown[0].image.shape[:2]
    transcode.transcode(path, tmp_path / "clip.mp4", width=width, height=height)
    with CompressedVideo(tmp_path / "clip.mp4") as video:
        assert (video.codec, video.num_frames) == ("mpeg4", len(shown))
        for frame, expected in zip(video.frames(), shown, strict=True):
            assert np.abs(frame.image - expected.image.astype(int)).mean() < 6
        assert video.sample(-1, -1).motion.shape == (height, width, 2)
