"""Equality with the reference loader's own outputs on real clips, and every real file of the test data opened once."""

import numpy as np
import pytest

from pkdlib.video.reader import CompressedVideo, VideoError

GOLDEN = ("mmaavi_mpeg4", "ntu_mpeg4", "pancake_mpeg4")
IMAGE, MOTION, RESIDUAL = 0, 1, 2  # the reference's `rep`


def compare(video, key, golden):
    """Largest difference where the golden array is valid, and the number of values compared."""
    gop, position, representation, accumulate = (int(part[1:]) for part in key.split("_"))
    if representation == IMAGE:
        ours = video.image(gop, position)[..., ::-1]  # the reference gives BGR
    elif representation == MOTION:
        ours = video.motion(gop, position, bool(accumulate))
    else:
        ours = video.residual(gop, position, bool(accumulate))[..., ::-1]
    difference = np.abs(ours.astype(int) - golden[key])
    if f"{key}_valid" in golden:
        height, width = difference.shape[:2]
        mask = np.unpackbits(golden[f"{key}_valid"])[: height * width].reshape(height, width).astype(bool)
        difference = difference[mask]
    return difference.max(), difference.size


@pytest.mark.parametrize("name", GOLDEN)
def test_every_golden_array_is_equalled(shared_clips, name, record_property, capsys):
    golden = dict(np.load(shared_clips / "golden" / f"{name}.npz"))
    keys = [key for key in golden if not key.endswith("_valid")]
    with CompressedVideo(shared_clips / "golden" / f"{name}.mp4") as video:
        results = {key: compare(video, key, golden) for key in keys}
    largest = max(difference for difference, _ in results.values())
    values = sum(size for _, size in results.values())
    record_property("largest_difference", int(largest))
    with capsys.disabled():
        print(f"\n{name}: {len(keys)} golden arrays, {values:,} values, largest difference {largest}")
    assert len(keys) == 75 and values > 10_000_000
    assert largest == 0, {key: int(difference) for key, (difference, _) in results.items() if difference}


@pytest.mark.parametrize(("name", "frames"), [*zip(GOLDEN, (165, 103, 310), strict=True)])
def test_the_last_frame_is_there(shared_clips, name, frames):
    with CompressedVideo(shared_clips / "golden" / f"{name}.mp4") as video:
        assert video.num_frames == frames == sum(1 for _ in video.frames(image=False, residual=False))
        assert {gop.length for gop in video.gops[:-1]} == {12}


PAPER = [
    "SchoolRulesHowTheyHelpUs_wave_f_nm_np1_ba_med_0.avi",
    "TrumanShow_wave_f_nm_np1_fr_med_26.avi",
    "hmdb51_Turnk_r_Pippi_Michel_cartwheel_f_cm_np2_le_med_6.avi",
    "v_SoccerJuggling_g23_c01.avi",
    "v_SoccerJuggling_g24_c01.avi",
]


@pytest.mark.parametrize("name", PAPER)
def test_the_original_clips_of_the_papers_data_are_read(shared_clips, name):
    with CompressedVideo(shared_clips / "paper_datasets" / name) as video:
        count = moved = 0
        for frame in video.frames():
            count += 1
            moved += frame.motion.any()
        assert count == video.num_frames and moved > count // 2
        for gop in (0, -1):  # whatever the AVI's index is worth
            sample = video.sample(gop, -1)
        np.testing.assert_array_equal(sample.motion, frame.motion)
        np.testing.assert_array_equal(sample.residual, frame.residual)


def test_every_other_format_works_or_says_why_not(shared_clips):
    refused = {}
    for path in sorted((shared_clips / "formats").iterdir()):
        try:
            with CompressedVideo(path) as video:
                frames = sum(1 for _ in video.frames())
                assert frames == video.num_frames
                video.sample(-1, -1)
        except VideoError as error:
            assert str(error).startswith(str(path))
            refused[path.name] = str(error)
    assert set(refused) == {"av1_video.mkv", "corrupted.mp4", "h265_video.mp4"}
    assert "28 sound frames" in refused["corrupted.mp4"]
    assert "transcode" in refused["av1_video.mkv"] and "transcode" in refused["h265_video.mp4"]


@pytest.mark.parametrize("name", ["mmaavi_h264_bf0_g12.mp4", "ntu_h264_bf0_g12.mp4", "pancake_h264_bf0_g12.mp4"])
def test_h264_motion_predicts_better_than_stillness(shared_clips, name):
    with CompressedVideo(shared_clips / "formats" / name) as video:
        moved = still = 0
        for frame in video.frames():
            if frame.position == 0:
                iframe = frame.image.astype(np.int16)
            moved += np.abs(frame.residual).mean()
            still += np.abs(frame.image - iframe).mean()
        assert moved < still
