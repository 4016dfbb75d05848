"""The codec's own lists of blocks: those of PyAV's side data, in every pass and at every place."""

import av
import numpy as np
import pytest
from numpy.lib.recfunctions import structured_to_unstructured

from pkdlib.video import transcode
from pkdlib.video.blocks import VECTOR
from pkdlib.video.container import UnsupportedVideo
from pkdlib.video.reader import CompressedVideo
from tests.video.test_formats import pictures, write
from tests.video.test_inputs import edit

FIELDS = ["source", "w", "h", "src_x", "src_y", "dst_x", "dst_y", "motion_x", "motion_y", "motion_scale"]
# File -> encoder, options, and how PyAV's stream is set up.
FILES = {
    "mpeg4.m4v": ("mpeg4", {"g": "7", "flags": "+mv4"}, {}),
    "mpeg4_b_qpel.avi": ("mpeg4", {"g": "9", "flags": "+qpel+mv4"}, {"bframes": 2}),
    "h264.mp4": ("libx264", {"g": "8", "bf": "0"}, {}),
    "h264_b.mp4": ("libx264", {"g": "9", "bf": "3", "refs": "4"}, {}),
    "mpeg2_b.ts": ("mpeg2video", {"g": "9"}, {"bframes": 2}),
}


def exported(path):
    """The ten fields of each frame's blocks, by the simplest PyAV loop, as an oracle."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.thread_count = 1
        stream.codec_context.options = {"flags2": "+export_mvs"}
        for frame in container.decode(stream):
            data = frame.side_data.get("MOTION_VECTORS")
            yield [] if data is None else data.to_ndarray()[FIELDS].tolist()


@pytest.fixture(scope="module", params=FILES)
def clip(request, tmp_path_factory):
    codec, options, settings = FILES[request.param]
    path = tmp_path_factory.mktemp("vectors") / request.param
    return write(path, codec, options, frames=pictures(12), **settings)


def test_a_pass_gives_what_pyav_exports(clip):
    expected = list(exported(clip))
    with CompressedVideo(clip) as video:
        alone = list(video.frames(image=False, motion=False, residual=False, vectors=True))
        beside = list(video.frames(vectors=True))
    assert [frame.vectors.tolist() for frame in alone] == expected == [frame.vectors.tolist() for frame in beside]
    assert len(expected) == 12 and sum(map(len, expected)) > 50
    for frame in alone:
        assert frame.vectors.dtype == VECTOR and VECTOR.names == tuple(FIELDS)
        assert frame.image is None and frame.motion is None and frame.residual is None
        assert frame.position > 0 or len(frame.vectors) == 0
    types = "".join(frame.type for frame in alone)
    assert ("B" in types) == ("_b" in clip.name) == any((frame.vectors["source"] > 0).any() for frame in alone)


def test_any_place_gives_what_the_pass_gives(clip):
    with CompressedVideo(clip) as video:
        frames = list(video.frames(vectors=True))
        assert len(video.gops) > 1
        for frame in reversed(frames):
            np.testing.assert_array_equal(video.vectors(frame.gop, frame.position), frame.vectors)
        last = [frame.vectors.tolist() for frame in frames if frame.gop == len(video.gops) - 1]
        found = video.vectors(-1, slice(None, None, -1))
        assert [array.tolist() for array in found] == last[::-1] and video.vectors(0, slice(5, 5)) == []
        once = [frame.vectors.tolist() for frame in video.frames(gops=-1, image=False, vectors=True)]
        assert once == last


def test_a_frame_without_vectors_was_not_asked_for_them(clip):
    with CompressedVideo(clip) as video:
        assert all(frame.vectors is None for frame in video.frames(image=False, residual=False))


def test_places_and_displacement_are_those_that_the_fields_say(clip):
    """The source is the target moved by the displacement, without what is behind the point."""
    moved = fractions = 0
    with CompressedVideo(clip) as video:
        for frame in video.frames(image=False, vectors=True, accumulate=False, residual=False):
            blocks = frame.vectors
            for axis in "xy":
                parts, scale = blocks[f"motion_{axis}"], blocks["motion_scale"].astype(int)
                whole = np.trunc(parts / np.maximum(scale, 1)).astype(int)
                np.testing.assert_array_equal(blocks[f"dst_{axis}"] + whole, blocks[f"src_{axis}"])
                moved, fractions = moved + (whole != 0).sum(), fractions + (parts % np.maximum(scale, 1) != 0).sum()
            past = blocks[blocks["source"] < 0]
            # The middle of a block that is copied whole moves by its vector, the other way round.
            for block in past:
                x, y = int(block["dst_x"]), int(block["dst_y"])
                inside = min(block["src_x"], block["src_y"], x, y) >= 8
                if inside and max(x, block["src_x"]) < video.width - 8 and max(y, block["src_y"]) < video.height - 8:
                    assert tuple(frame.motion[y, x]) == (x - block["src_x"], y - block["src_y"])
    assert moved and fractions


def test_arrays_are_the_reader_s_own(clip):
    with CompressedVideo(clip) as video:
        frames = video.frames(image=False, motion=False, residual=False, vectors=True)
        kept = [(frame.vectors, frame.vectors.tolist()) for frame in frames]
    for array, told in kept:
        assert array.flags.owndata and array.flags.writeable and array.tolist() == told


def test_the_columns_of_motion_vector_extractor_are_one_call_away(clip):
    expected = list(exported(clip))
    with CompressedVideo(clip) as video:
        for frame, rows in zip(video.frames(vectors=True), expected, strict=True):
            columns = structured_to_unstructured(frame.vectors)
            assert columns.dtype == np.int32 and columns.tolist() == [list(row) for row in rows]


def test_frames_that_the_container_hides_have_none_to_give(tmp_path):
    path = write(tmp_path / "clip.mp4", "mpeg4", {"g": "7"}, frames=pictures(12))
    whole = list(exported(path))
    path.write_bytes(edit(path.read_bytes(), 3, 6))
    shown = list(exported(path))
    assert shown == whole[3:9]
    with CompressedVideo(path) as video:
        found = [video.vectors(*video.locate(number)).tolist() for number in range(6)]
        assert found == [frame.vectors.tolist() for frame in video.frames(vectors=True)] == shown


def test_blocks_are_those_of_a_picture_that_is_cut_at_the_left(tmp_path):
    options = {"g": "9", "bf": "0", "x264-params": "crop-rect=8,4,0,0"}
    path = write(tmp_path / "clip.h264", "libx264", options, frames=pictures(6))
    with CompressedVideo(path) as video:
        frames = list(video.frames(vectors=True))
    assert len(frames) == 6
    for frame, rows in zip(frames, exported(path), strict=True):
        moved = [(s, w, h, a - 8, b - 4, x - 8, y - 4, *rest) for s, w, h, a, b, x, y, *rest in rows]
        assert frame.vectors.tolist() == moved


def test_a_codec_without_vectors_is_refused_at_once_and_read_once_transcoded(tmp_path):
    path = write(tmp_path / "clip.mkv", "libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}, frames=pictures(4))
    with pytest.raises(UnsupportedVideo, match=r"clip\.mkv: the codec vp9 exports no motion vectors; .*transcode"):
        CompressedVideo(path)
    transcode.transcode(path, tmp_path / "clip.m4v", width=68, height=48)
    with CompressedVideo(tmp_path / "clip.m4v") as video:
        assert len(video.vectors(0, 1))
