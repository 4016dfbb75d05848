"""The paper's form: what is written, that it is whole, and that it is the same each time."""

import av
import numpy as np
import pytest

from pkdlib.video import transcode
from pkdlib.video.reader import CompressedVideo, VideoError


def pictures(count=15, height=48, width=64, seed=0):
    """A textured square that moves over a textured ground."""
    rng = np.random.default_rng(seed)
    ground = np.kron(rng.integers(60, 190, (height // 8, width // 8, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    square = rng.integers(0, 255, (16, 16, 3), np.uint8)
    for index in range(count):
        picture = ground.copy()
        left = 4 + 2 * index % (width - 24)
        picture[10:26, left : left + 16] = square
        yield picture


def test_encode_writes_the_form_of_the_paper(tmp_path):
    target = tmp_path / "clip.mp4"
    transcode.encode(pictures(30), target, rate=30)
    with CompressedVideo(target) as video:
        assert (video.codec, video.width, video.height, video.num_frames) == ("mpeg4", 64, 48, 30)
        assert [tuple(gop) for gop in video.gops] == [(0, 12), (12, 12), (24, 6)]
        assert video.frame_types == "IPPPPPPPPPPP" * 2 + "IPPPPP"
        assert video.frame_rate == 30
        for frame, original in zip(video.frames(), pictures(30), strict=True):
            # What 4:2:0 colour loses is in the edges of the coloured noise; the ground must be close.
            assert np.abs(frame.image.astype(int) - original).mean() < 12


def test_encode_keeps_its_gop_across_a_cut(tmp_path):
    frames = [*pictures(7), *pictures(9, seed=5)]
    transcode.encode(frames, tmp_path / "clip.mp4", gop=5)
    with CompressedVideo(tmp_path / "clip.mp4") as video:
        assert [gop.length for gop in video.gops] == [5, 5, 5, 1]


def test_a_larger_quantiser_makes_a_smaller_file(tmp_path):
    sizes = []
    for factor in (1, 6, 20):
        target = tmp_path / f"{factor}.mp4"
        transcode.encode(pictures(), target, qscale=factor * transcode.FF_QP2LAMBDA)
        sizes.append(target.stat().st_size)
    assert sizes[0] > sizes[1] > sizes[2]


def test_two_encodings_are_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        transcode.encode(pictures(), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_a_failing_source_leaves_the_target_as_it_was(tmp_path):
    def failing():
        yield from pictures(3)
        raise RuntimeError("no more")

    target = tmp_path / "clip.mp4"
    target.write_bytes(b"before")
    with pytest.raises(RuntimeError, match="no more"):
        transcode.encode(failing(), target)
    assert target.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [target]


def test_frames_of_different_sizes_and_no_frames_are_refused(tmp_path):
    with pytest.raises(VideoError, match=r"frame 2 is 32x48, the first was 64x48"):
        transcode.encode([*pictures(2), *pictures(1, width=32)], tmp_path / "clip.mp4")
    with pytest.raises(VideoError, match="no frames"):
        transcode.encode([], tmp_path / "clip.mp4")
    assert not list(tmp_path.iterdir())


def test_a_target_that_cannot_be_written_is_named(tmp_path):
    target = tmp_path / "absent" / "clip.mp4"
    with pytest.raises(OSError, match=r"clip\.mp4") as caught:
        transcode.encode(pictures(1), target)
    assert caught.value.filename == str(target)


@pytest.mark.parametrize(("codec", "suffix"), [("libx264", "mp4"), ("libx265", "mkv"), ("mpeg2video", "mkv")])
def test_transcode_keeps_every_frame_of_any_codec(tmp_path, codec, suffix):
    if codec not in av.codecs_available:
        pytest.skip(f"this PyAV cannot write {codec}")
    source, target = tmp_path / f"source.{suffix}", tmp_path / "target.mp4"
    with av.open(str(source), "w") as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt, stream.thread_count = 64, 48, "yuv420p", 1
        for picture in pictures(15):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    transcode.transcode(source, target, width=40, height=32, gop=6)
    with CompressedVideo(target) as video:
        assert (video.codec, video.width, video.height) == ("mpeg4", 40, 32)
        assert [gop.length for gop in video.gops] == [6, 6, 3]
        assert set(video.frame_types) == {"I", "P"}
        assert video.frame_rate == 25


def test_transcode_names_a_source_that_it_cannot_read(tmp_path):
    source = tmp_path / "notes.mp4"
    source.write_text("no video\n" * 50, encoding="utf-8")
    with pytest.raises(VideoError, match=r"notes\.mp4: cannot be opened"):
        transcode.transcode(source, tmp_path / "target.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.mp4"]


def test_transcode_refuses_a_damaged_source(tmp_path):
    source = tmp_path / "source.mp4"
    transcode.encode(pictures(), source)
    source.write_bytes(source.read_bytes()[:-60])
    with pytest.raises(VideoError, match=r"source\.mp4: damaged: frame 14 is corrupt; 14 sound"):
        transcode.transcode(source, tmp_path / "target.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["source.mp4"]


def test_transcode_turns_a_picture_that_asks_for_it(shared_clips, tmp_path):
    transcode.transcode(shared_clips / "formats" / "rotated_90.mov", tmp_path / "clip.mp4", width=64, height=96)
    with (
        CompressedVideo(tmp_path / "clip.mp4") as video,
        av.open(str(shared_clips / "formats" / "rotated_90.mov")) as container,
    ):
        stored = next(container.decode(video=0))
        small = stored.reformat(width=96, height=64).to_ndarray(format="rgb24")
        turned = np.rot90(small, -1).astype(int)  # a quarter to the right
        assert np.abs(video.iframe(0) - turned).mean() < 6 < np.abs(video.iframe(0) - turned[::-1]).mean()


def test_transcode_reads_metadata_that_is_not_utf8(shared_clips, tmp_path):
    (source,) = (shared_clips / "paper_datasets").glob("hmdb51*cartwheel*.avi")
    transcode.transcode(source, tmp_path / "clip.mp4", width=32, height=32)
    with CompressedVideo(tmp_path / "clip.mp4") as video, CompressedVideo(source) as original:
        assert video.num_frames == original.num_frames


def test_rates_that_mpeg4_cannot_tell_are_brought_near(tmp_path):
    for rate in (1e-9, 1e5):
        transcode.encode(pictures(3), tmp_path / "clip.mp4", rate=rate)
        with CompressedVideo(tmp_path / "clip.mp4") as video:
            assert video.num_frames == 3
    with pytest.raises(VideoError, match="rate=0: must be positive"):
        transcode.encode(pictures(3), tmp_path / "clip.mp4", rate=0)
