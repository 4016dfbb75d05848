import resource

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pkdlib.data import frame_cache, sampling
from pkdlib.data.datasets import DatasetError
from pkdlib.data.frame_cache import FrameBank
from pkdlib.data.sampling import Geometry
from pkdlib.video import reader
from pkdlib.video.transcode import encode
from tests.extent import examples

MODALITIES = ("iframe", "motion", "residual")


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """A textured square that moves 3 pixels a frame before a textured ground."""
    rng = np.random.default_rng(0)
    ground = np.kron(rng.integers(40, 200, (16, 24, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    square = rng.integers(0, 255, (40, 40, 3), dtype=np.uint8)
    frames = []
    for t in range(24):
        frame = ground.copy()
        frame[40:80, 20 + 3 * t : 60 + 3 * t] = square
        frames.append(frame)
    path = tmp_path_factory.mktemp("video") / "square.mp4"
    encode(frames, path)
    return path


@pytest.fixture(scope="module")
def bank(video, tmp_path_factory):
    folder = tmp_path_factory.mktemp("bank")
    return frame_cache.frame_bank([video, video], [1, 0], folder, candidates=8, short_side=64)


def test_bytes_follow_the_papers_loader_in_plain_loops():
    rng = np.random.default_rng(1)
    motion = rng.integers(-60, 60, (5, 6, 2)).astype(np.int16)
    residual = rng.integers(-255, 256, (5, 6, 3)).astype(np.int16)
    iframe = rng.integers(0, 256, (5, 6, 3)).astype(np.uint8)
    same, moved, shifted = frame_cache.to_bytes(iframe, motion, residual)
    for y, x, c in np.ndindex(5, 6, 2):
        expected = min(max(int(motion[y, x, c] * 127.5 / 20) + 128, 0), 255)  # int() truncates towards zero, as C does
        assert moved[y, x, c] == expected
    for y, x, c in np.ndindex(5, 6, 3):
        assert shifted[y, x, c] == min(max(int(residual[y, x, c]) + 128, 0), 255)
    assert same is iframe
    assert moved.dtype == shifted.dtype == np.uint8


@pytest.mark.parametrize("modality", frame_cache.PLANES)
def test_what_a_network_reads_alone_is_the_banks(video, bank, modality):
    alone = sampling.read_clip(video, modality, candidates=8, size=56, segments=3)
    batch = sampling.evaluation_batch(bank, [0], modalities=[modality], size=56, segments=3)[modality]
    assert torch.equal(alone, batch[0])


def test_candidates_are_the_files_p_frames(video):
    with reader.CompressedVideo(video) as opened:
        height = opened.height
    frames = frame_cache.decode_candidates(video, 100, height)
    assert frames.shape == (22, 8, 128, 192)  # 24 frames less 2 I-frames
    with reader.CompressedVideo(video) as opened:
        sample = opened.sample(1, 3)
    # P-frames 1..11 and 13..23; GOP 1, position 3 is the 14th of them.
    np.testing.assert_array_equal(frames[13, :3].transpose(1, 2, 0), sample.iframe)
    _, moved, shifted = frame_cache.to_bytes(sample.iframe, sample.motion, sample.residual)
    np.testing.assert_array_equal(frames[13, 3:5].transpose(1, 2, 0), moved)
    np.testing.assert_array_equal(frames[13, 5:].transpose(1, 2, 0), shifted)


def test_a_bank_is_decoded_once(bank, video, monkeypatch):
    monkeypatch.setattr(frame_cache, "decode_candidates", lambda *_: pytest.fail("decoded again"))
    again = frame_cache.frame_bank([video, video], [1, 0], bank.paths[0].parent, candidates=8, short_side=64)
    assert again.paths == bank.paths
    assert len(bank.open(0)) == 8
    assert bank.labels.tolist() == [1, 0]


def test_a_disk_without_room_for_frames_is_told(video, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        with pytest.raises(DatasetError, match=r"cannot write decoded frames to .*choose another cache"):
            frame_cache.frame_bank([video], [0], tmp_path / "bank", candidates=8, short_side=64)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list((tmp_path / "bank").iterdir()) == []  # nothing half written


def test_a_video_without_p_frames_is_refused(tmp_path):
    path = tmp_path / "still.mp4"
    encode([np.zeros((32, 32, 3), np.uint8)] * 3, path, gop=1)
    with pytest.raises(reader.VideoError, match=r"still\.mp4.*no P-frame"):
        frame_cache.decode_candidates(path, 4, 32)


@pytest.mark.parametrize(("modality", "byte", "expected"), [("motion", 128, 128 / 255 - 0.5), ("motion", 255, 0.5)])
def test_motion_is_centred_but_not_scaled(modality, byte, expected):
    value = sampling.normalise(torch.full((1, 2, 4, 4), float(byte)), modality)
    torch.testing.assert_close(value, torch.full((1, 2, 4, 4), expected))


def test_iframes_and_residuals_are_scaled_by_imagenets_deviation():
    planes = torch.full((3, 1, 1), 255.0)
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    np.testing.assert_allclose(sampling.normalise(planes, "iframe").numpy()[:, 0, 0], (1 - mean) / std, rtol=1e-5)
    np.testing.assert_allclose(sampling.normalise(planes, "residual").numpy()[:, 0, 0], 0.5 / std, rtol=1e-5)


@given(num_frames=st.integers(1, 60), segments=st.integers(1, 8), seed=st.integers(0, 99))
def test_every_segment_gives_a_frame_of_its_own(num_frames, segments, seed):
    rng = np.random.default_rng(seed)
    for frames in (
        frame_cache.segment_centres(num_frames, segments),
        sampling.segment_draws(num_frames, segments, rng),
    ):
        assert len(frames) == segments
        assert frames == sorted(frames)
        assert all(0 <= frame < num_frames for frame in frames)
        for i, frame in enumerate(frames):
            assert int(i * num_frames / segments) <= frame <= (i + 1) * num_frames / segments


@examples(50)
@given(height=st.integers(32, 128), width=st.integers(32, 192), seed=st.integers(0, 999))
def test_crops_lie_inside_the_frame(height, width, seed):
    g = sampling.draw_geometry(height, width, np.random.default_rng(seed))
    assert 0 <= g.top <= height - g.height and 0 <= g.left <= width - g.width
    assert {round(g.height / min(height, width), 1), round(g.width / min(height, width), 1)} <= {0.7, 0.8, 0.9, 1.0}


def test_a_crop_is_the_pixels_and_a_flip_mirrors_them():
    planes = torch.randint(0, 256, (1, 2, 3, 40, 50), dtype=torch.uint8)
    cut = planes[..., 8:32, 10:34].float()
    whole = Geometry(8, 10, 24, 24, False)
    mirrored = Geometry(8, 10, 24, 24, True)
    torch.testing.assert_close(sampling.apply_geometry(planes, [whole], 24, "iframe"), cut, atol=2e-2, rtol=0)
    torch.testing.assert_close(
        sampling.apply_geometry(planes, [mirrored], 24, "iframe"), cut.flip(-1), atol=2e-2, rtol=0
    )


def test_a_flip_negates_the_motions_x_only():
    planes = torch.randint(0, 256, (2, 1, 2, 24, 24), dtype=torch.uint8)
    geometries = [Geometry(0, 0, 24, 24, False), Geometry(0, 0, 24, 24, True)]
    result = sampling.apply_geometry(planes, geometries, 24, "motion")
    torch.testing.assert_close(result[0], planes[0].float(), atol=2e-2, rtol=0)
    torch.testing.assert_close(result[1, :, 0], 256 - planes[1, :, 0].float().flip(-1), atol=2e-2, rtol=0)
    torch.testing.assert_close(result[1, :, 1], planes[1, :, 1].float().flip(-1), atol=2e-2, rtol=0)


def test_all_modalities_get_one_geometry(tmp_path):
    # Three modalities that hold the same picture must come out the same, whatever was drawn.
    ramp = np.random.default_rng(0).integers(0, 256, (4, 1, 70, 90), dtype=np.uint8).repeat(8, axis=1)
    np.save(tmp_path / "clip.npy", ramp)
    bank = FrameBank((tmp_path / "clip.npy",), torch.zeros(1, dtype=torch.int64))
    flips = 0
    for epoch in range(6):
        drawn = sampling.draw(bank, [0], modalities=MODALITIES, segments=2, seed=1, epoch=epoch)
        batch = sampling.finish(drawn, 48)
        std = torch.tensor(sampling.IMAGENET_STD).view(3, 1, 1)
        residual = batch["residual"] * std + 0.5
        iframe = batch["iframe"] * std + torch.tensor(sampling.IMAGENET_MEAN).view(3, 1, 1)
        motion = batch["motion"] + 0.5
        torch.testing.assert_close(residual, iframe, atol=1e-5, rtol=0)
        torch.testing.assert_close(motion[:, :, 1], iframe[:, :, 0], atol=1e-5, rtol=0)
        flipped = not torch.allclose(motion[:, :, 0], iframe[:, :, 0], atol=1e-3)
        if flipped:
            torch.testing.assert_close(motion[:, :, 0], 256 / 255 - iframe[:, :, 0], atol=1e-5, rtol=0)
        flips += flipped
    assert 0 < flips < 6


def test_joint_clips_are_the_modalities_one_after_the_other(bank):
    wanted = {"modalities": [*MODALITIES, "joint"], "segments": 3}
    for epoch in range(4):  # some of which flip
        batch = sampling.finish(sampling.draw(bank, [0, 1], **wanted, seed=0, epoch=epoch), 32)
        assert torch.equal(batch["joint"], torch.cat([batch[modality] for modality in MODALITIES], dim=2))
    batch = sampling.evaluation_batch(bank, [0, 1], **wanted, size=32)
    assert torch.equal(batch["joint"], torch.cat([batch[modality] for modality in MODALITIES], dim=2))


def test_a_sample_is_a_function_of_seed_epoch_and_clip(bank):
    def draw(indices, **changes):
        wanted = {"modalities": ["residual"], "segments": 3, "seed": 0, "epoch": 0} | changes
        return sampling.finish(sampling.draw(bank, indices, **wanted), 32)["residual"]

    alone, together = draw([1]), draw([0, 1])
    torch.testing.assert_close(alone[0], together[1], atol=0, rtol=0)
    assert not torch.equal(draw([0]), draw([0], epoch=1))
    assert not torch.equal(draw([0]), draw([0], seed=1))


def test_the_test_batch_is_the_central_crop(bank):
    shape = {"modalities": ["iframe"], "size": 56, "segments": 2}
    batch = sampling.evaluation_batch(bank, [0], **shape)["iframe"]
    assert batch.shape == (1, 2, 3, 56, 56)
    frames = torch.from_numpy(bank.open(0)[frame_cache.segment_centres(8, 2), :3])
    expected = sampling.normalise(frames[..., 4:60, 20:76].float(), "iframe")
    torch.testing.assert_close(batch[0], expected, atol=2e-3, rtol=0)
