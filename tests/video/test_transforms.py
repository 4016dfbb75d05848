"""Views of pictures, motion and residuals: equal to full-size output, cropped, resized and normalised afterwards."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pkdlib.video import transcode, transforms
from pkdlib.video.reader import CompressedVideo
from pkdlib.video.transforms import View
from tests.extent import examples

HEIGHT, WIDTH = 50, 68


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    rng = np.random.default_rng(0)
    ground = np.kron(rng.integers(0, 256, (HEIGHT // 2, 60, 3)), np.ones((2, 2, 1))).astype(np.uint8)
    transcode.encode((ground[:, 3 * index : 3 * index + WIDTH] for index in range(12)), path, gop=6)
    return path


def resized(array, size):
    """The same by torch, which takes the same pixel centres."""
    planes = torch.from_numpy(array.astype(np.float32)).permute(2, 0, 1)[None]
    planes = torch.nn.functional.interpolate(planes, size, mode="bilinear", align_corners=False)
    return planes[0].permute(1, 2, 0).numpy()


def shown(view, kind, full):
    """What a view says of a full-size array, step by step and by other means."""
    array = full
    if view.crop:
        top, left, height, width = view.crop
        array = array[top : top + height, left : left + width]
    if kind == "motion" and view.flip:
        array = array * [-1, 1]
    if view.normalise and kind == "motion":
        array = np.clip(np.trunc(array * 127.5 / 20) + 128, 0, 255)
    if view.normalise and kind == "residual":
        array = np.clip(array + 128.0, 0, 255)
    if view.size:
        array = resized(array, view.size)
    if view.flip:
        array = array[:, ::-1]
    if view.normalise:
        mean = {"image": transforms.IMAGENET_MEAN, "motion": 0.5, "residual": 0.5}[kind]
        array = (array / 255 - mean) / (1 if kind == "motion" else np.array(transforms.IMAGENET_STD))
    return array


@pytest.mark.parametrize("accumulate", [True, False])
@pytest.mark.parametrize(
    "view",
    [
        View(),
        View(crop=(3, 7, 31, 40)),
        View(crop=(0, 0, 1, 1), flip=True),
        View(flip=True),
        View(normalise=True),
        View(size=(24, 90)),
        View(crop=(3, 7, 31, 40), size=(31, 40)),
        View(crop=(18, 27, 32, 41), size=(28, 28), flip=True, normalise=True),
    ],
    ids=str,
)
def test_a_view_is_the_full_output_cut_and_changed(clip, view, accumulate):
    exact = view.size in (None, (31, 40)) and not view.normalise
    kinds = ("image", "motion", "residual")
    with CompressedVideo(clip) as video:
        full = list(video.frames(accumulate))
        assert any(frame.motion.any() for frame in full)
        for frame, other in zip(video.frames(accumulate, view=view), full, strict=True):
            for kind in kinds:
                array, expected = getattr(frame, kind), shown(view, kind, getattr(other, kind))
                assert array.dtype == (getattr(other, kind).dtype if exact else np.float32)
                if exact:
                    np.testing.assert_array_equal(array, expected)
                else:
                    np.testing.assert_allclose(array, expected, atol=2e-3, rtol=1e-5)
                read = getattr(video, kind)
                again = read(
                    frame.gop, frame.position, view=view, **({} if kind == "image" else {"accumulate": accumulate})
                )
                np.testing.assert_array_equal(again, array)
        batch = video.samples([(1, 4), (0, 2)], accumulate, view=view)
        frames = {(frame.gop, frame.position): frame for frame in video.frames(accumulate, view=view)}
        for number, place in enumerate([(1, 4), (0, 2)]):
            np.testing.assert_array_equal(batch.motion[number], frames[place].motion)
            np.testing.assert_array_equal(batch.residual[number], frames[place].residual)
            np.testing.assert_array_equal(batch.iframe[number], frames[place[0], 0].image)


@examples(60)
@given(*[st.integers(1, 40)] * 4, st.integers(1, 4), st.sampled_from([np.uint8, np.int16, np.float32]))
def test_resizing_is_torch_s(high, wide, height, width, channels, dtype):
    array = np.random.default_rng(high * wide).integers(0, 200, (high, wide, channels)).astype(dtype)
    result = transforms.resize(array, height, width)
    assert (result.dtype, result.shape) == (np.float32, (height, width, channels))
    np.testing.assert_allclose(result, resized(array, (height, width)), atol=1e-3)


def test_bytes_are_the_paper_s():
    motion = np.arange(-(2**15), 2**15, dtype=np.int16)
    expected = np.clip(np.trunc(127.5 / 20 * motion.astype(float)) + 128, 0, 255)
    np.testing.assert_array_equal(transforms.motion_bytes(motion), expected)
    assert transforms.motion_bytes(motion[::3]).dtype == np.uint8
    residual = np.arange(-255, 256, dtype=np.int16)
    np.testing.assert_array_equal(transforms.residual_bytes(residual), np.clip(residual.astype(int) + 128, 0, 255))


def test_flipping_twice_changes_nothing():
    motion = np.random.default_rng(0).integers(-90, 90, (7, 9, 2)).astype(np.int16)
    flip = View(flip=True)
    before = motion.copy()
    np.testing.assert_array_equal(flip.motion(flip.motion(motion)), motion)
    np.testing.assert_array_equal(motion, before)
